//! Changes of a running venue's parameters, limits and trading, on their way from control to strategy and back.
//!
//! Control makes a [`Change`] and everything in it; strategy swaps it in between two packets and sends what was there
//! before back, so that nothing is allocated or freed on its lcore.

use crate::risk::LimitSet;
use rtrb::RingBuffer;
use std::any::Any;
use std::fmt;

/// A change, and where in the feed it is to happen.
pub struct Change {
    /// Counts the changes of a venue from 1.
    pub number: u64,
    /// At the first packet of this sequence or a later one; 0: at once.
    pub from_sequence: u64,
    /// The strategy's `Parameters`.
    pub parameters: Option<Box<dyn Any + Send>>,
    /// New limits; the old ones on the way back.
    pub limits: Option<Box<LimitSet>>,
    /// Trade, or pull what stands and send nothing but cancels.
    pub trading: Option<bool>,
}

/// Control's end.
#[derive(Debug)]
pub struct Outbox {
    to: rtrb::Producer<Change>,
    done: rtrb::Consumer<Change>,
    sent: u64,
    applied: u64,
}

/// Strategy's end.
#[derive(Debug)]
pub struct Inbox {
    from: rtrb::Consumer<Change>,
    done: rtrb::Producer<Change>,
}

/// Both ends, for at most `capacity` changes on their way.
pub fn changes(capacity: usize) -> (Outbox, Inbox) {
    let (to, from) = RingBuffer::new(capacity);
    let (back, done) = RingBuffer::new(capacity);
    (Outbox { to, done, sent: 0, applied: 0 }, Inbox { from, done: back })
}

impl Outbox {
    /// Whether another change can be sent: what is on its way has room on its way back.
    pub fn has_room(&mut self) -> bool {
        self.collect();
        self.sent - self.applied < self.to.buffer().capacity() as u64
    }

    /// Send `change`, numbered. False when too many are on their way.
    pub fn send(&mut self, change: Change) -> bool {
        if !self.has_room() || self.to.push(Change { number: self.sent + 1, ..change }).is_err() {
            return false;
        }
        self.sent += 1;
        true
    }

    /// Changes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Changes that have happened so far.
    pub fn applied(&mut self) -> u64 {
        self.collect();
        self.applied
    }

    /// What came back is freed here.
    fn collect(&mut self) {
        while self.done.pop().is_ok() {
            self.applied += 1;
        }
    }
}

impl Inbox {
    /// The next change, if there is one.
    #[inline]
    pub fn next(&mut self) -> Option<Change> {
        self.from.pop().ok()
    }

    /// It has happened.
    pub fn done(&mut self, change: Change) {
        // As many fit as can be on their way.
        let _ = self.done.push(change);
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("number", &self.number)
            .field("from_sequence", &self.from_sequence)
            .field("trading", &self.trading)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(from_sequence: u64) -> Change {
        Change { number: 0, from_sequence, parameters: None, limits: None, trading: Some(true) }
    }

    #[test]
    fn no_more_changes_are_on_their_way_than_fit_on_the_way_back() {
        let (mut out, mut inbox) = changes(2);
        assert!(out.send(change(10)) && out.send(change(20)) && !out.send(change(30)));
        let first = inbox.next().unwrap();
        // It is still on its way: taken, and not done.
        assert_eq!((first.number, first.from_sequence, out.send(change(30))), (1, 10, false));
        inbox.done(first);
        assert_eq!((out.applied(), out.sent()), (1, 2));
        assert!(out.send(change(30)));
        assert_eq!(inbox.next().map(|c| c.number), Some(2));
        assert_eq!(inbox.next().map(|c| c.number), Some(3));
        assert!(inbox.next().is_none());
    }
}
