//! How a stage takes its stamp: not at all, plainly, or after a wait that a test asked for.

use crate::cpu::{pause, rdtsc};

/// The way one stage takes its stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stamps {
    on: bool,
    wait: Option<Wait>,
}

/// Time to be lost on purpose, so that a test knows what the measurement must find.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wait {
    /// Ticks before the stamp.
    pub ticks: u64,
    /// Share of the time since the stage before, 0.2 for a fifth more.
    pub share: f64,
}

impl Stamps {
    /// No stamps, and no reading of the TSC.
    pub const OFF: Stamps = Stamps { on: false, wait: None };
    /// Plain stamps.
    pub const ON: Stamps = Stamps { on: true, wait: None };

    /// Stamps after `wait`.
    pub const fn after(wait: Wait) -> Stamps {
        Stamps { on: true, wait: Some(wait) }
    }

    /// Whether any are taken.
    #[inline(always)]
    pub const fn on(self) -> bool {
        self.on
    }

    /// The TSC now, or 0 without stamps. `since` is the stamp before this one.
    #[inline(always)]
    pub fn take(self, since: u64) -> u64 {
        match self {
            Stamps { on: false, .. } => 0,
            Stamps { wait: None, .. } => rdtsc(),
            Stamps { wait: Some(wait), .. } => wait.out(since),
        }
    }
}

impl Wait {
    #[cold]
    #[inline(never)]
    fn out(self, since: u64) -> u64 {
        let now = rdtsc();
        let longer = (now.saturating_sub(since) as f64 * self.share) as u64;
        let until = now + self.ticks + if since == 0 { 0 } else { longer };
        while rdtsc() < until {
            pause();
        }
        rdtsc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_lasts_at_least_what_was_asked() {
        assert_eq!(Stamps::OFF.take(1), 0);
        let before = rdtsc();
        assert!(Stamps::after(Wait { ticks: 100_000, share: 0.0 }).take(before) - before >= 100_000);
        let since = rdtsc();
        while rdtsc() - since < 50_000 {}
        assert!(Stamps::after(Wait { ticks: 0, share: 1.0 }).take(since) - since >= 100_000);
        assert!(Stamps::ON.take(0) >= since);
    }
}
