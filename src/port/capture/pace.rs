//! When a replayed packet is due: capture stamps come in, TSC values go out. Stamps that fall back never go back in time.

use std::fmt;
use std::str::FromStr;

/// How fast to replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the pipeline takes it.
    Max,
    /// This many times as fast as it was captured.
    Factor(f64),
}

/// How to pace a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// How fast.
    pub speed: Speed,
    /// Gaps of the capture longer than this are shortened to it, in ns of the capture's time.
    pub max_idle_ns: Option<u64>,
}

/// Paces the packets of one or several sources, merged by stamp.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    ticks_per_ns: f64,
    max_idle_ns: u64,
    /// TSC when the first packet was asked for.
    start_tsc: Option<u64>,
    /// Time that has passed in the replay's own, shortened time.
    elapsed_ns: u64,
    last_stamp_ns: u64,
    microsecond_ticks: u64,
    lateness: Lateness,
}

/// How late paced packets were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// The latest, in TSC ticks.
    pub max_ticks: u64,
    /// Packets more than 1 µs late.
    pub over_1us: u64,
}

/// A packet's due time, to be confirmed with [`Pacer::release`].
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Not before this TSC.
    pub tsc: u64,
    elapsed_ns: u64,
    last_stamp_ns: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { speed: Speed::Max, max_idle_ns: None }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Max => f.write_str("max"),
            Speed::Factor(factor) => write!(f, "{factor}x"),
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    /// `max`, or a factor with or without an `x`: `1x`, `0.5x`, `10`.
    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Factor(factor)),
            _ => Err(format!("expected `max` or a factor such as `1x`, `10x` or `0.5x`, found `{text}`")),
        }
    }
}

impl Pacer {
    /// A pacer on a TSC of `hz`; `None` at [`Speed::Max`], where nothing is to be waited for.
    pub fn new(pace: Pace, hz: f64) -> Option<Pacer> {
        let Speed::Factor(factor) = pace.speed else { return None };
        Some(Pacer {
            ticks_per_ns: hz / 1e9 / factor,
            max_idle_ns: pace.max_idle_ns.unwrap_or(u64::MAX),
            start_tsc: None,
            elapsed_ns: 0,
            last_stamp_ns: 0,
            microsecond_ticks: (hz / 1e6) as u64,
            lateness: Lateness::default(),
        })
    }

    /// When the packet with this stamp is due, the first ever at `now_tsc`. `restart`: it begins a lap or a file, so an
    /// earlier stamp than the last is where the capture's time goes on from.
    #[inline]
    pub fn due(&mut self, stamp_ns: u64, restart: bool, now_tsc: u64) -> Due {
        let start_tsc = *self.start_tsc.get_or_insert_with(|| {
            self.last_stamp_ns = stamp_ns;
            now_tsc
        });
        let gap_ns = stamp_ns.saturating_sub(self.last_stamp_ns).min(self.max_idle_ns);
        let elapsed_ns = self.elapsed_ns + gap_ns;
        let last_stamp_ns = if restart { stamp_ns } else { self.last_stamp_ns.max(stamp_ns) };
        // 53 bits hold 104 days of ns exactly; rounded up, so never early.
        let ticks = (elapsed_ns as f64 * self.ticks_per_ns).ceil() as u64;
        Due { tsc: start_tsc.saturating_add(ticks), elapsed_ns, last_stamp_ns }
    }

    /// The packet was delivered at `now_tsc`.
    #[inline]
    pub fn release(&mut self, due: Due, now_tsc: u64) {
        self.elapsed_ns = due.elapsed_ns;
        self.last_stamp_ns = due.last_stamp_ns;
        let late = now_tsc.saturating_sub(due.tsc);
        self.lateness.max_ticks = self.lateness.max_ticks.max(late);
        self.lateness.over_1us += u64::from(late > self.microsecond_ticks);
    }

    /// How late packets were so far: the pipeline was still busy, or the loader behind.
    pub fn lateness(&self) -> Lateness {
        self.lateness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(factor: f64, max_idle_ns: Option<u64>) -> Pacer {
        Pacer::new(Pace { speed: Speed::Factor(factor), max_idle_ns }, 2e9).unwrap()
    }

    /// Due times, each packet released when due.
    fn dues(pacer: &mut Pacer, stamps: &[(u64, bool)]) -> Vec<u64> {
        let once = |&(stamp, restart): &(u64, bool)| {
            let due = pacer.due(stamp, restart, 1000);
            pacer.release(due, due.tsc);
            due.tsc
        };
        stamps.iter().map(once).collect()
    }

    #[test]
    fn packets_keep_their_distances_divided_by_the_factor() {
        let stamps = [(50, true), (50, false), (60, false), (1050, false)];
        assert_eq!(dues(&mut pacer(1.0, None), &stamps), [1000, 1000, 1020, 3000]);
        assert_eq!(dues(&mut pacer(10.0, None), &stamps), [1000, 1000, 1002, 1200]);
        assert_eq!(dues(&mut pacer(0.5, None), &stamps), [1000, 1000, 1040, 5000]);
    }

    #[test]
    fn long_gaps_are_shortened_and_laps_follow_at_once() {
        let stamps = [(0, true), (1_000_000, false), (1_000_010, false), (0, true), (10, false)];
        assert_eq!(dues(&mut pacer(1.0, Some(100)), &stamps), [1000, 1200, 1220, 1220, 1240]);
    }

    #[test]
    fn a_stamp_that_falls_back_inside_a_file_delays_nothing() {
        let stamps = [(100, true), (200, false), (150, false), (210, false)];
        assert_eq!(dues(&mut pacer(1.0, None), &stamps), [1000, 1200, 1200, 1220]);
    }

    #[test]
    fn lateness_counts_what_was_over_a_microsecond() {
        let mut pacer = pacer(1.0, None);
        for late in [0, 1999, 2000, 2001, 9000] {
            let due = pacer.due(0, false, 1000);
            pacer.release(due, due.tsc + late);
        }
        assert_eq!(pacer.lateness(), Lateness { max_ticks: 9000, over_1us: 2 });
    }

    #[test]
    fn speeds_read_as_people_write_them() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("10x".parse(), Ok(Speed::Factor(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Factor(0.5)));
        assert_eq!(
            [Speed::Max, Speed::Factor(0.5), Speed::Factor(10.0)].map(|s| s.to_string()),
            ["max", "0.5x", "10x"]
        );
        for bad in ["", "x", "0", "-1x", "nan", "inf", "fast"] {
            assert!(bad.parse::<Speed>().unwrap_err().contains("1x"), "{bad}");
        }
    }
}
