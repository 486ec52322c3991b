//! What parse does about messages that no line brought: whom it asks for them, when it asks for a snapshot instead, and
//! when it gives up. While anything is missing nothing later is applied, so books are late and never wrong.
//!
//! Plain state; the asking itself is done by a thread at the other end of the [`Link`].

use crate::recovery::{Link, Wanted};

/// Snapshots asked for before what is missing is given up for lost.
const SNAPSHOTS: u32 = 3;

/// How gaps are healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealConfig {
    /// Books are said to be late when messages have been missing for so long, in ns.
    pub stale_after_ns: u64,
    /// Most messages that are asked for; more are left to a snapshot.
    pub largest_gap: u64,
    /// There is a snapshot server.
    pub snapshot: bool,
}

/// The state of healing of a feed of one channel.
#[derive(Debug)]
pub(super) struct Heal {
    pub link: Link,
    pub config: HealConfig,
    phase: Phase,
    /// When the messages that are missing now were missed first.
    pub since: u64,
    snapshots: u32,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is asked for.
    Whole,
    /// Messages before this one are asked for.
    Asked { to: u64 },
    /// A snapshot is asked for, since messages before `to` are missing.
    Wanted { to: u64 },
    /// A snapshot is on its way and books are empty; before that they stood at this message.
    Loading { stood: u64 },
    /// Messages before this one are lost.
    GivenUp { to: u64 },
}

/// What to do about the first packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Wait on.
    Wait,
    /// What is missing before it is lost.
    Announce,
    /// Drop it: a snapshot will have its messages, and room is needed.
    Drop,
}

impl Heal {
    pub fn new(link: Link, config: HealConfig) -> Heal {
        Heal { link, config, phase: Phase::Whole, since: 0, snapshots: 0 }
    }

    /// Whether something is missing.
    pub fn is_busy(&self) -> bool {
        self.phase != Phase::Whole
    }

    /// A new session begins: what was missing belongs to the last one.
    pub fn restart(&mut self) {
        self.link.forget();
        (self.phase, self.snapshots) = (Phase::Whole, 0);
    }

    /// All that was missing has come.
    pub fn healed(&mut self) {
        self.snapshots = 0;
    }

    /// Messages before `next` have been taken.
    pub fn reached(&mut self, next: u64) {
        if let Phase::Asked { to } | Phase::Wanted { to } | Phase::GivenUp { to } = self.phase
            && next >= to
        {
            self.link.forget();
            self.phase = Phase::Whole;
        }
    }

    /// Messages `next .. first` have been missing since `since`; `full`: no other packet can wait.
    pub fn turn(&mut self, session: [u8; 10], next: u64, first: u64, since: u64, full: bool) -> Turn {
        match self.phase {
            Phase::GivenUp { to } if first <= to => return Turn::Announce,
            Phase::Whole | Phase::GivenUp { .. } => {
                self.since = since;
                let wanted = Wanted::Messages { from: next, to: first };
                let asked = first - next <= self.config.largest_gap && self.link.ask(session, wanted);
                self.phase = Phase::Asked { to: first };
                if !asked {
                    self.load(session, first);
                }
            }
            Phase::Asked { .. } if full => self.load(session, first),
            Phase::Asked { .. } | Phase::Wanted { .. } | Phase::Loading { .. } => {}
        }
        match self.phase {
            Phase::GivenUp { .. } => Turn::Announce,
            Phase::Wanted { .. } if full => {
                // Lines cannot bring this one any more.
                self.phase = Phase::Wanted { to: u64::MAX };
                Turn::Drop
            }
            Phase::Loading { .. } if full => Turn::Drop,
            _ => Turn::Wait,
        }
    }

    /// What was asked for cannot be had. `first` is the first message that waits. Returns where books stood, if they have
    /// been emptied.
    pub fn failed(&mut self, session: [u8; 10], first: u64) -> Option<u64> {
        match self.phase {
            Phase::Asked { .. } => self.load(session, first),
            Phase::Loading { stood } => {
                self.phase = Phase::GivenUp { to: first };
                return Some(stood);
            }
            _ => self.phase = Phase::GivenUp { to: first },
        }
        None
    }

    /// A snapshot begins; books stand at `next`.
    pub fn begun(&mut self, next: u64) {
        if !matches!(self.phase, Phase::Loading { .. }) {
            self.phase = Phase::Loading { stood: next };
        }
    }

    /// The snapshot is complete.
    pub fn loaded(&mut self) {
        self.phase = Phase::Whole;
    }

    fn load(&mut self, session: [u8; 10], first: u64) {
        let can = self.config.snapshot && self.snapshots < SNAPSHOTS;
        self.phase = match can && self.link.ask(session, Wanted::Snapshot) {
            true => Phase::Wanted { to: first },
            false => Phase::GivenUp { to: first },
        };
        self.snapshots += 1;
    }
}
