//! How a stage takes its stamp: not at all, plainly, or after a wait that a test asked for.

use crate::cpu::{pause, rdtsc};

/// The way one stage takes its stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    on: bool,
    /// Ticks to be lost on purpose before the stamp, so that a test knows what the measurement must find.
    wait: u64,
}

impl Stamps {
    /// No stamps, and no reading of the TSC.
    pub const OFF: Stamps = Stamps { on: false, wait: 0 };
    /// Plain stamps.
    pub const ON: Stamps = Stamps { on: true, wait: 0 };

    /// Stamps after a wait of `ticks`.
    pub const fn after(ticks: u64) -> Stamps {
        Stamps { on: true, wait: ticks }
    }

    /// Whether any are taken.
    #[inline(always)]
    pub const fn on(self) -> bool {
        self.on
    }

    /// The TSC now, or 0 without stamps.
    #[inline(always)]
    pub fn take(self) -> u64 {
        match self {
            Stamps { on: false, .. } => 0,
            Stamps { wait: 0, .. } => rdtsc(),
            Stamps { wait, .. } => later(wait),
        }
    }
}

#[cold]
#[inline(never)]
fn later(ticks: u64) -> u64 {
    let until = rdtsc() + ticks;
    while rdtsc() < until {
        pause();
    }
    rdtsc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_lasts_at_least_what_was_asked() {
        assert_eq!(Stamps::OFF.take(), 0);
        let before = rdtsc();
        assert!(Stamps::after(100_000).take() - before >= 100_000);
        assert!(Stamps::ON.take() - before >= 100_000);
    }
}
