//! What the host did over the run: intervals come in, points for charts go out. At most [`MOST`]: then every two become one.

use super::EvidencePoint;
use crate::latency::interval::{Interval, LcoreEvidence};

/// Most points.
const MOST: usize = 512;

/// See the module. The points' times are TSCs until [`Evidence::points`].
#[derive(Clone, Debug)]
pub struct Evidence {
    points: Vec<(u64, u64, EvidencePoint)>,
    /// Intervals in a point.
    each: usize,
    /// Intervals in the last one.
    held: usize,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence { points: Vec::new(), each: 1, held: 0 }
    }
}

impl Evidence {
    /// One interval.
    pub fn record(&mut self, interval: &Interval) {
        let point = (interval.from_tsc, interval.to_tsc, point(interval));
        match self.points.last_mut() {
            Some(last) if self.held < self.each => {
                *last = join(last, &point);
                self.held += 1;
            }
            _ => {
                self.points.push(point);
                self.held = 1;
            }
        }
        if self.points.len() > MOST {
            let pairs = self.points.chunks(2).map(|pair| if let [a, b] = pair { join(a, b) } else { pair[0] });
            self.points = pairs.collect();
            // The last point was alone: MOST is even.
            self.each *= 2;
        }
    }

    /// The points; `seconds` turns a TSC into seconds of the run.
    pub fn points(&self, seconds: impl Fn(u64) -> f64) -> Vec<EvidencePoint> {
        let timed = |(from, to, point): &(u64, u64, EvidencePoint)| EvidencePoint {
            from_seconds: seconds(*from),
            to_seconds: seconds(*to),
            ..*point
        };
        self.points.iter().map(timed).collect()
    }
}

fn point(interval: &Interval) -> EvidencePoint {
    let sum = |of: fn(&LcoreEvidence) -> Option<u64>| interval.lcores.iter().filter_map(of).reduce(u64::saturating_add);
    let fill = |fill: u64, depth: u64| if depth == 0 { 0.0 } else { fill as f64 / depth as f64 };
    EvidencePoint {
        timer_ticks: sum(|l| l.timer_ticks),
        interrupts: sum(|l| l.interrupts),
        involuntary_switches: sum(|l| l.involuntary_switches),
        run_queue_wait_ns: sum(|l| l.run_queue_wait_ns),
        page_faults: sum(|l| l.page_faults),
        steal_ns: sum(|l| l.steal_ns),
        cache_misses: sum(|l| l.cache_misses),
        ring_fill: interval.links.iter().map(|link| fill(link.fill, link.depth)).fold(0.0, f64::max),
        frames_lost: interval.ports.iter().map(|port| port.missed + port.no_mbuf).sum(),
        records: interval.records,
        records_lost: interval.records_lost,
        ..EvidencePoint::default()
    }
}

fn join(a: &(u64, u64, EvidencePoint), b: &(u64, u64, EvidencePoint)) -> (u64, u64, EvidencePoint) {
    let (x, y) = (&a.2, &b.2);
    let sum = |x: Option<u64>, y: Option<u64>| x.into_iter().chain(y).reduce(u64::saturating_add);
    let point = EvidencePoint {
        timer_ticks: sum(x.timer_ticks, y.timer_ticks),
        interrupts: sum(x.interrupts, y.interrupts),
        involuntary_switches: sum(x.involuntary_switches, y.involuntary_switches),
        run_queue_wait_ns: sum(x.run_queue_wait_ns, y.run_queue_wait_ns),
        page_faults: sum(x.page_faults, y.page_faults),
        steal_ns: sum(x.steal_ns, y.steal_ns),
        cache_misses: sum(x.cache_misses, y.cache_misses),
        ring_fill: x.ring_fill.max(y.ring_fill),
        frames_lost: x.frames_lost.saturating_add(y.frames_lost),
        records: x.records.saturating_add(y.records),
        records_lost: x.records_lost.saturating_add(y.records_lost),
        ..EvidencePoint::default()
    };
    (a.0.min(b.0), a.1.max(b.1), point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_at_most_512_points_and_their_counts_add_up() {
        let mut evidence = Evidence::default();
        for i in 0..5_000 {
            let lcores = (0..2).map(|lcore| LcoreEvidence { lcore, interrupts: Some(i), ..LcoreEvidence::default() });
            let (from_tsc, to_tsc) = (i * 10, i * 10 + 10);
            evidence.record(&Interval { from_tsc, to_tsc, lcores: lcores.collect(), ..Interval::default() });
        }
        let points = evidence.points(|tsc| tsc as f64);
        assert!((256..=512).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().filter_map(|point| point.interrupts).sum::<u64>(), 5_000 * 4_999);
        assert!(points.windows(2).all(|pair| pair[0].to_seconds == pair[1].from_seconds));
        assert_eq!(points.last().unwrap().to_seconds, 50_000.0);
        assert_eq!(points[0].steal_ns, None);
    }
}
