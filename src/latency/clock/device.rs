//! A device's clock against the TSC: pairs of both come in, a line is fitted, a stamp of the device becomes a TSC.
//!
//! Until the line is known well enough nothing becomes anything: a stamp of another domain is not compared with the TSC.
//! The unit of the device's ticks need not be known. For the recorder and for readers, never on the packet's path.

use std::collections::VecDeque;

/// The fit of one device's clock.
#[derive(Clone, Debug)]
pub struct DeviceClock {
    /// Largest error of a stamp that still counts as synchronised, in TSC ticks.
    bound: u64,
    pairs: VecDeque<Pair>,
    line: Option<Line>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Pair {
    device: u64,
    tsc: u64,
    /// Half the sandwich, in TSC ticks.
    error: f64,
}

/// TSC = `at.tsc` + `offset` + `slope` × (device − `at.device`).
#[derive(Clone, Copy, Debug)]
struct Line {
    at: Pair,
    offset: f64,
    slope: f64,
    /// Furthest that any pair may lie from it, its own error included, in TSC ticks.
    residual: f64,
}

/// Pairs of a fit.
const PAIRS: usize = 64;
/// Pairs that a fit needs.
const ENOUGH: usize = 8;
/// Stamps may be so many times the fitted stretch away from it: beyond, the slope's error grows too large.
const REACH: f64 = 2.0;

impl DeviceClock {
    /// A fit that is synchronised while no stamp is more than `bound_ticks` of the TSC wrong: about a microsecond's.
    pub fn new(bound_ticks: u64) -> DeviceClock {
        DeviceClock { bound: bound_ticks, pairs: VecDeque::with_capacity(PAIRS), line: None }
    }

    /// A pair: the device's clock, and the TSC before and after it was read. Wanted about once a second. A pair too wide
    /// to tell anything is passed over; one that the fit did not foresee (the device was set, reset, or changed its
    /// rate) ends the fit, and a new one begins with it.
    pub fn add(&mut self, device: u64, before_tsc: u64, after_tsc: u64) {
        let Some(width) = after_tsc.checked_sub(before_tsc).filter(|width| *width / 2 <= self.bound) else { return };
        let pair = Pair { device, tsc: before_tsc + width / 2, error: width as f64 / 2.0 };
        if !self.expects(&pair) {
            self.pairs.clear();
        }
        if self.pairs.len() == PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(pair);
        self.line = fit(&self.pairs);
    }

    /// TSC when the device's clock stood at `stamp`; `None` until synchronised, and for a stamp that is not of the time
    /// that the fit knows.
    pub fn to_tsc(&self, stamp: u64) -> Option<u64> {
        let line = self.synchronised()?;
        let span = self.pairs.back()?.device.wrapping_sub(self.pairs.front()?.device) as f64;
        let since = stamp.wrapping_sub(line.at.device) as i64 as f64;
        if since.abs() > span * (1.0 + REACH) {
            return None;
        }
        let ticks = (line.offset + line.slope * since).round();
        line.at.tsc.checked_add_signed(ticks as i64)
    }

    /// Whether stamps become TSCs.
    pub fn is_synchronised(&self) -> bool {
        self.synchronised().is_some()
    }

    /// How wrong a stamp may come out, in TSC ticks; `None` until synchronised.
    pub fn residual_ticks(&self) -> Option<u64> {
        self.synchronised().map(|line| line.residual.ceil() as u64)
    }

    /// TSC ticks in one tick of the device; `None` until synchronised.
    pub fn rate(&self) -> Option<f64> {
        self.synchronised().map(|line| line.slope)
    }

    fn synchronised(&self) -> Option<&Line> {
        self.line.as_ref().filter(|line| self.pairs.len() >= ENOUGH && line.residual <= self.bound as f64)
    }

    /// Whether the pair is where the fit so far puts it, as far as that can be told; both clocks must have moved on.
    fn expects(&self, pair: &Pair) -> bool {
        let Some(last) = self.pairs.back() else { return true };
        let since = pair.device.wrapping_sub(last.device) as i64;
        if since <= 0 || pair.tsc <= last.tsc {
            return false;
        }
        let Some(line) = self.synchronised() else { return true };
        let found = pair.tsc.wrapping_sub(line.at.tsc) as i64 as f64;
        let expected = line.offset + line.slope * pair.device.wrapping_sub(line.at.device) as i64 as f64;
        // Far from the fitted stretch its slope's own error counts: what its residual is over the stretch.
        let span = self.pairs.back().map_or(0, |b| b.tsc.wrapping_sub(self.pairs[0].tsc)) as f64;
        let beyond = (pair.tsc - last.tsc) as f64 / span.max(1.0);
        (found - expected).abs() <= self.bound as f64 + pair.error + 2.0 * line.residual * beyond
    }
}

/// Least squares through the pairs, seen from the latest, so that nothing large is squared.
fn fit(pairs: &VecDeque<Pair>) -> Option<Line> {
    let at = *pairs.back()?;
    let seen = |pair: &Pair| {
        let x = pair.device.wrapping_sub(at.device) as i64 as f64;
        (x, pair.tsc.wrapping_sub(at.tsc) as i64 as f64)
    };
    let n = pairs.len() as f64;
    let (sum_x, sum_y) = pairs.iter().map(seen).fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut xx, mut xy) = (0.0, 0.0);
    for (x, y) in pairs.iter().map(seen) {
        xx += (x - mean_x) * (x - mean_x);
        xy += (x - mean_x) * (y - mean_y);
    }
    let slope = xy / xx;
    if !(slope.is_finite() && slope > 0.0) {
        return None;
    }
    let offset = mean_y - slope * mean_x;
    let off = |pair: &Pair| {
        let (x, y) = seen(pair);
        (y - offset - slope * x).abs() + pair.error
    };
    let residual = pairs.iter().map(off).fold(0.0, f64::max);
    Some(Line { at, offset, slope, residual })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TSC_HZ: f64 = 2.5e9;
    /// A microsecond.
    const BOUND: u64 = 2_500;

    /// Pairs once a second of a device that counts `hz` from `from`, read at a width of up to 1,000 ticks.
    struct Device {
        hz: f64,
        from: u64,
    }

    impl Device {
        fn at(&self, second: f64) -> u64 {
            self.from.wrapping_add((second * self.hz) as u64)
        }

        fn pair(&self, clock: &mut DeviceClock, second: u64) {
            let middle = tsc(second as f64);
            // As if the read took place early or late in its sandwich.
            let skew = (second * 7919) % 400;
            clock.add(self.at(second as f64), middle - 500 + skew, middle + 300 + skew);
        }
    }

    fn tsc(second: f64) -> u64 {
        1_000_000_000_000 + (second * TSC_HZ) as u64
    }

    fn synced(device: &Device) -> DeviceClock {
        let mut clock = DeviceClock::new(BOUND);
        (0..20).for_each(|second| device.pair(&mut clock, second));
        clock
    }

    #[test]
    fn a_stamp_becomes_the_tsc_of_its_moment_within_the_residual() {
        // Nanoseconds of an epoch, a mlx5's ticks, a slow counter close to its end.
        for (hz, from) in [(1e9, 1_700_000_000_000_000_000), (156.25e6, 77), (1e9, u64::MAX - 5_000_000_000)] {
            let device = Device { hz, from };
            let clock = synced(&device);
            let residual = clock.residual_ticks().unwrap();
            assert!(residual <= 1_000, "{residual}");
            for second in [0.5, 7.25, 18.9, 19.7, 25.0] {
                let found = clock.to_tsc(device.at(second)).unwrap();
                // A tick of the slow device is 16 of the TSC.
                assert!(found.abs_diff(tsc(second)) <= residual + 16, "{hz}: {second} s: {found}");
            }
            assert!((clock.rate().unwrap() * hz / TSC_HZ - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_stamp_is_nothing_until_there_are_enough_pairs() {
        let device = Device { hz: 1e9, from: 5 };
        let mut clock = DeviceClock::new(BOUND);
        for second in 0..ENOUGH as u64 {
            assert_eq!(clock.to_tsc(device.at(0.5)), None);
            device.pair(&mut clock, second);
        }
        assert!(clock.is_synchronised());
        assert_eq!(clock.to_tsc(device.at(3_000.0)), None, "a stamp of another time");
        assert_eq!(clock.to_tsc(0x7fff_ffff_ffff_ffff), None);
    }

    #[test]
    fn a_step_ends_the_fit_and_a_new_one_begins() {
        let device = Device { hz: 1e9, from: 1 << 40 };
        for moved in [10_000_000u64, 10_000, 10_000u64.wrapping_neg(), 10_000_000_000u64.wrapping_neg()] {
            let mut clock = synced(&device);
            let set = Device { hz: 1e9, from: device.from.wrapping_add(moved) };
            set.pair(&mut clock, 20);
            assert!(!clock.is_synchronised() && clock.to_tsc(set.at(20.5)).is_none(), "{moved}");
            (21..30).for_each(|second| set.pair(&mut clock, second));
            let found = clock.to_tsc(set.at(29.5)).unwrap();
            assert!(found.abs_diff(tsc(29.5)) <= clock.residual_ticks().unwrap());
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_staggers_never_syncs() {
        let mut frozen = DeviceClock::new(BOUND);
        (0..50).for_each(|second| frozen.add(77, tsc(second as f64), tsc(second as f64) + 10));
        assert!(!frozen.is_synchronised());
        let mut staggering = DeviceClock::new(BOUND);
        for second in 0..50u64 {
            let off = second * 7919 % 100 * 1_000;
            staggering.add(second * 1_000_000_000 + off, tsc(second as f64), tsc(second as f64) + 10);
            assert!(!staggering.is_synchronised(), "100 µs of stagger");
        }
    }

    #[test]
    fn a_crystal_that_wanders_slowly_is_followed() {
        let mut clock = DeviceClock::new(BOUND);
        // 1 ppm in ten minutes.
        let device = |t: f64| (t * 1e9 + t * t * 1e9 * 1e-6 / 1_200.0) as u64;
        for second in 0..600 {
            let t = f64::from(second);
            clock.add(device(t), tsc(t) - 400, tsc(t) + 400);
            if second > 60 {
                let found = clock.to_tsc(device(t + 0.5)).unwrap();
                assert!(found.abs_diff(tsc(t + 0.5)) <= BOUND, "{second}");
            }
        }
    }

    #[test]
    fn pairs_too_wide_or_backwards_are_passed_over() {
        let device = Device { hz: 1e9, from: 5 };
        let mut clock = synced(&device);
        clock.add(device.at(20.0), tsc(20.0), tsc(20.0) + 50_000_000);
        clock.add(device.at(20.0), tsc(20.0), tsc(20.0) - 1);
        assert!(clock.is_synchronised());
    }

    proptest! {
        #[test]
        fn any_pairs_are_taken_without_harm(pairs in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..100), stamp: u64) {
            let mut clock = DeviceClock::new(BOUND);
            for (device, before, width) in pairs {
                clock.add(device, before, before.saturating_add(width % 10_000));
                let _ = clock.to_tsc(stamp);
            }
        }
    }
}
