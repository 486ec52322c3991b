//! Changes of a running venue's parameters, limits and trading, on their way from control to strategy and back.
//!
//! Control makes a [`Change`] and everything in it; strategy swaps it in between two packets and sends what was there
//! before back, so that nothing is allocated or freed on its lcore.

use crate::risk::LimitSet;
use rtrb::RingBuffer;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A change, and where in the feed it is to happen.
pub struct Change {
    /// At the first packet of this sequence or a later one; 0: at once.
    pub from_sequence: u64,
    /// The strategy's `Parameters`.
    pub parameters: Option<Box<dyn Any + Send>>,
    /// New limits; the old ones on the way back.
    pub limits: Option<Box<LimitSet>>,
}

/// Control's end.
#[derive(Debug)]
pub struct Outbox {
    to: rtrb::Producer<Change>,
    done: rtrb::Consumer<Change>,
    sent: u64,
    applied: u64,
    last_sequence: u64,
    trading: Arc<Trading>,
}

/// Strategy's end.
#[derive(Debug)]
pub struct Inbox {
    from: rtrb::Consumer<Change>,
    done: rtrb::Producer<Change>,
    trading: Arc<Trading>,
}

/// Whether a venue is to trade, and whether it does: beside the changes, because it waits for none of them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Trading {
    /// Who wants it paused: bits.
    pause_wanted: AtomicU8,
    paused: AtomicBool,
}

/// A person wants the pause,
const PERSON: u8 = 1;
/// or the link of a port is down.
const LINK: u8 = 2;

impl Trading {
    /// Let it trade, as far as a person is concerned, or not.
    pub fn set(&self, trade: bool) {
        self.vote(PERSON, trade);
    }

    /// Let it trade, as far as its ports are concerned, or not.
    pub fn set_link(&self, up: bool) {
        self.vote(LINK, up);
    }

    fn vote(&self, who: u8, trade: bool) {
        match trade {
            true => self.pause_wanted.fetch_and(!who, Ordering::Relaxed),
            false => self.pause_wanted.fetch_or(who, Ordering::Relaxed),
        };
    }

    /// What strategy heard last.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

/// Both ends, for at most `capacity` changes on their way.
pub fn changes(capacity: usize) -> (Outbox, Inbox) {
    let (to, from) = RingBuffer::new(capacity);
    let (back, done) = RingBuffer::new(capacity);
    let trading = Arc::<Trading>::default();
    let inbox = Inbox { from, done: back, trading: trading.clone() };
    (Outbox { to, done, sent: 0, applied: 0, last_sequence: 0, trading }, inbox)
}

impl Outbox {
    /// Whether the venue is to trade.
    pub fn trading(&self) -> &Arc<Trading> {
        &self.trading
    }

    /// Why a change that is to happen at `from_sequence` cannot be sent: too many are on their way, or one that happens
    /// later.
    ///
    /// # Errors
    /// The reason.
    pub fn refuses(&mut self, from_sequence: u64) -> Result<(), String> {
        let waiting = self.sent - self.applied();
        // What is on its way has room on its way back.
        if waiting == self.to.buffer().capacity() as u64 {
            return Err(format!("{waiting} changes still wait for their packet"));
        }
        if waiting > 0 && from_sequence < self.last_sequence {
            return Err(format!("a change still waits for sequence {}, and none overtakes it", self.last_sequence));
        }
        Ok(())
    }

    /// Send `change`. False, and it is gone, where [`Outbox::refuses`] does.
    pub fn send(&mut self, change: Change) -> bool {
        let from_sequence = change.from_sequence;
        if self.refuses(from_sequence).is_err() || self.to.push(change).is_err() {
            return false;
        }
        self.sent += 1;
        self.last_sequence = from_sequence;
        true
    }

    /// Changes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Changes that have happened so far. What came back is freed here.
    pub fn applied(&mut self) -> u64 {
        while self.done.pop().is_ok() {
            self.applied += 1;
        }
        self.applied
    }
}

impl Inbox {
    /// The next change, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<Change> {
        self.from.pop().ok()
    }

    /// It has happened.
    pub fn done(&mut self, change: Change) {
        // As many fit as can be on their way.
        let _ = self.done.push(change);
    }

    /// Whether the venue is to pause.
    #[inline]
    pub fn pause_wanted(&self) -> bool {
        self.trading.pause_wanted.load(Ordering::Relaxed) != 0
    }

    /// Say that it is paused, or trades.
    pub fn say_paused(&self, paused: bool) {
        self.trading.paused.store(paused, Ordering::Relaxed);
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("from_sequence", &self.from_sequence).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(from_sequence: u64) -> Change {
        Change { from_sequence, parameters: None, limits: None }
    }

    #[test]
    fn no_more_changes_are_on_their_way_than_fit_on_the_way_back() {
        let (mut out, mut inbox) = changes(2);
        assert!(out.send(change(10)) && out.send(change(20)) && !out.send(change(30)));
        let first = inbox.take().unwrap();
        // It is still on its way: taken, and not done.
        assert_eq!((first.from_sequence, out.send(change(30))), (10, false));
        inbox.done(first);
        assert_eq!((out.applied(), out.sent()), (1, 2));
        assert!(out.send(change(30)));
        assert_eq!(inbox.take().map(|c| c.from_sequence), Some(20));
        assert_eq!(inbox.take().map(|c| c.from_sequence), Some(30));
        assert!(inbox.take().is_none());
    }

    #[test]
    fn a_change_never_waits_behind_one_that_happens_later_and_a_pause_behind_none() {
        let (mut out, mut inbox) = changes(8);
        assert!(out.send(change(10)) && out.send(change(10)));
        assert!(!out.send(change(9)) && !out.send(change(0)));
        assert!(out.refuses(0).unwrap_err().contains("sequence 10"));
        out.trading().set(false);
        assert!(inbox.pause_wanted() && !out.trading().is_paused());
        inbox.say_paused(true);
        assert!(out.trading().is_paused());
        for _ in 0..2 {
            let change = inbox.take().unwrap();
            inbox.done(change);
        }
        assert!(out.send(change(0)), "a new session counts from 1 again");
    }
}
