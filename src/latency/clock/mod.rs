//! The TSC's rate, fitted: raw TSC stamps come in, nanoseconds go out.
//!
//! DPDK 22.11 rounds `rte_get_tsc_hz` to 10 MHz where it has to measure, 0.15 % wrong on some hosts, so the rate is
//! fitted here against CLOCK_MONOTONIC_RAW: both are read at two moments, each read sandwiched between two TSC reads, and
//! the tightest of many sandwiches is kept. On a TSC host that clock *is* the TSC, so this finds the kernel's idea of the
//! rate; it cannot show the TSC wrong: that is what [`Watch`] is for. Never called on the packet's path, except for
//! [`Scale::ns`].

mod device;
mod reference;
mod watch;

pub use device::DeviceClock;
pub use reference::{Disciplined, Injected, KernelRaw, Phc, Reading, Reference};
pub use watch::{Cores, Sources, Watch};

use crate::latency::trace::ClockFit;
use crate::sys::time;
use reference::sandwich;
use std::time::Duration;

/// Length of the first baseline. Half the two sandwiches' widths over it is the error: about 1 ppm.
const BASELINE: Duration = Duration::from_millis(50);
/// Sandwiches tried at each end; one free of interrupts is enough.
const TRIES: u32 = 200;
/// Fraction bits of a nanosecond in [`Scale`]'s multiplier: 1e-12 ns a tick of rounding.
const SHIFT: u32 = 40;

/// TSC rate and its error.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: f64,
    error_ppm: f64,
    start: Reading,
    /// CLOCK_REALTIME when the TSC stood at `start.tsc`.
    realtime_ns: u64,
}

/// TSC ticks to nanoseconds since 1970 by one multiplication and a shift.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    anchor_tsc: u64,
    anchor_ns: u64,
    /// Nanoseconds a tick, with [`SHIFT`] fraction bits.
    multiplier: u64,
}

impl Clock {
    /// Fit the TSC against CLOCK_MONOTONIC_RAW. Sleeps for 50 ms.
    pub fn fit() -> Clock {
        let start = sandwich(TRIES, time::monotonic_raw_ns);
        let wall = sandwich(TRIES, time::realtime_ns);
        std::thread::sleep(BASELINE);
        let mut clock = Clock { hz: 0.0, error_ppm: 0.0, start, realtime_ns: 0 };
        clock.refine();
        clock.realtime_ns = wall.ns - clock.ticks_to_ns(wall.tsc - start.tsc);
        clock
    }

    /// Fit again over everything since [`Clock::fit`]: the error shrinks as the run grows. For the figures printed at
    /// the end; a [`Scale`] already handed out keeps its rate.
    pub fn refine(&mut self) {
        let end = sandwich(TRIES, time::monotonic_raw_ns);
        let ticks = (end.tsc - self.start.tsc) as f64;
        self.hz = ticks * 1e9 / (end.ns - self.start.ns) as f64;
        self.error_ppm = (self.start.width + end.width) as f64 / 2.0 / ticks * 1e6;
    }

    /// Ticks a second.
    pub fn hz(&self) -> f64 {
        self.hz
    }

    /// How far off the rate may be against CLOCK_MONOTONIC_RAW, in parts per million.
    pub fn error_ppm(&self) -> f64 {
        self.error_ppm
    }

    /// The fit as trace files keep it. Not verified: only an independent clock can.
    pub fn fitted(&self) -> ClockFit {
        let Clock { hz, error_ppm, start, realtime_ns } = *self;
        ClockFit { tsc_hz: hz, error_ppm, anchor_tsc: start.tsc, anchor_ns: realtime_ns, verified: false }
    }

    /// Nanoseconds that `ticks` take.
    pub fn ticks_to_ns(&self, ticks: u64) -> u64 {
        self.scale().ticks_to_ns(ticks)
    }

    /// Ticks in `ns` nanoseconds.
    pub fn ns_to_ticks(&self, ns: u64) -> u64 {
        (ns as f64 * self.hz / 1e9) as u64
    }

    /// TSC to CLOCK_REALTIME, anchored where the fit began.
    pub fn scale(&self) -> Scale {
        Scale {
            anchor_tsc: self.start.tsc,
            anchor_ns: self.realtime_ns,
            multiplier: (1e9 / self.hz * (1u64 << SHIFT) as f64).round() as u64,
        }
    }
}

impl Scale {
    /// Nanoseconds since 1970 when the TSC stood at `tsc`; an earlier TSC than the anchor's gives the anchor.
    #[inline(always)]
    pub fn ns(&self, tsc: u64) -> u64 {
        self.anchor_ns + self.ticks_to_ns(tsc.saturating_sub(self.anchor_tsc))
    }

    /// Nanoseconds that `ticks` take.
    #[inline(always)]
    pub fn ticks_to_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.multiplier)) >> SHIFT) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::rdtsc;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    #[test]
    fn a_stretch_of_ticks_is_as_long_as_the_kernel_says() {
        let mut clock = Clock::fit();
        assert!(clock.error_ppm() < 1000.0, "{clock:?}");
        // Whoever preempts us between two lines makes the outside longer, never the inside.
        let (outside, tsc) = (Instant::now(), rdtsc());
        std::thread::sleep(Duration::from_millis(20));
        let (ticks, outside) = (rdtsc() - tsc, outside.elapsed().as_nanos() as f64);
        // 1 %: NTP slews the kernel's clock by at most 500 ppm.
        let ns = clock.ticks_to_ns(ticks) as f64;
        assert!(ns >= 20e6 * 0.99 && ns <= outside * 1.01, "{ns} ns inside {outside} ns");
        let before = clock.hz();
        clock.refine();
        assert!((clock.hz() / before - 1.0).abs() < 1e-3);
        assert!(clock.ticks_to_ns(clock.ns_to_ticks(1_000_000_000)).abs_diff(1_000_000_000) <= 2);
    }

    #[test]
    fn a_scale_tells_the_wall_time_and_never_wraps() {
        let scale = Clock::fit().scale();
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let (before, now, after) = (wall(), scale.ns(rdtsc()), wall());
        assert!(now + 1_000_000 >= before && now <= after + 1_000_000, "{now} between {before} and {after}");
        assert_eq!(scale.ns(0), scale.anchor_ns);
        let year = 3_000_000_000 * 86_400 * 365;
        assert!(scale.ticks_to_ns(year) > 86_400_000_000_000);
    }
}
