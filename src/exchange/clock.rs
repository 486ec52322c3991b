//! The exchange's time: moments of this host in, ns since the exchange's midnight out. It starts where the market starts and
//! runs as fast as the market is told; a market told without pace carries it along.

use crate::port::capture::Speed;
use std::time::{Duration, Instant};

/// See the module's head.
pub struct SessionClock {
    speed: Speed,
    /// When the market began, on both clocks.
    start: Option<(Instant, u64)>,
    /// Due time of the market's first packet.
    first_due_ns: u64,
    origin_ns: u64,
    told_ns: u64,
}

impl SessionClock {
    /// A clock that stands at `origin_ns` since midnight until the market begins.
    pub fn new(speed: Speed, origin_ns: u64) -> SessionClock {
        SessionClock { speed, start: None, first_due_ns: 0, origin_ns, told_ns: 0 }
    }

    /// The market begins with a packet due at `due_ns` of its own count.
    pub fn start(&mut self, now: Instant, due_ns: u64) {
        self.start = Some((now, due_ns));
        self.first_due_ns = due_ns;
    }

    /// When a packet is due.
    pub fn due(&self, due_ns: u64) -> Instant {
        let Some((start, first)) = self.start else { return Instant::now() };
        match self.speed {
            Speed::Max => start,
            Speed::Factor(factor) => {
                start + Duration::from_nanos((due_ns.saturating_sub(first) as f64 / factor) as u64)
            }
        }
    }

    /// The market has been told up to `due_ns`.
    pub fn told(&mut self, due_ns: u64) {
        self.told_ns = self.told_ns.max(due_ns.saturating_sub(self.first_due_ns));
    }

    /// ns since midnight.
    pub fn now_ns(&self, now: Instant) -> u64 {
        let passed = match (self.start, self.speed) {
            (Some((start, _)), Speed::Factor(factor)) => (now.duration_since(start).as_nanos() as f64 * factor) as u64,
            _ => 0,
        };
        self.origin_ns + passed.max(self.told_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_as_fast_as_the_market() {
        let now = Instant::now();
        let mut clock = SessionClock::new(Speed::Factor(2.0), 1_000);
        assert_eq!(clock.now_ns(now), 1_000);
        clock.start(now, 500);
        assert_eq!(clock.due(900), now + Duration::from_nanos(200));
        assert_eq!(clock.now_ns(now + Duration::from_nanos(200)), 1_400);
        clock.told(1_000);
        assert_eq!(clock.now_ns(now + Duration::from_nanos(200)), 1_500);
    }

    #[test]
    fn without_pace_time_is_what_was_told() {
        let now = Instant::now();
        let mut clock = SessionClock::new(Speed::Max, 1_000);
        clock.start(now, 500);
        assert_eq!(clock.due(900), now);
        clock.told(900);
        assert_eq!(clock.now_ns(now + Duration::from_secs(9)), 1_400);
    }
}
