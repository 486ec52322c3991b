//! Where an lcore's segments lie, so that the control thread can take them away and put others there.
//!
//! The lcore holds the lock for as long as it polls, and gives it up between two rounds when control wants it: one load a
//! round of a word that nobody writes otherwise, and no system call.

use super::{Idle, Padded, Receiver, Segment};
use crate::dpdk::Mempool;
use crate::host::placement::{Span, lines::span};
use crate::latency::board::Board;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Longer than any round of an lcore that is not stuck, on a host that is not overloaded beyond use.
const ROUND: Duration = Duration::from_millis(500);

/// One lcore's place.
pub struct Dock<'m> {
    wanted: Padded<AtomicBool>,
    berth: Mutex<Berth<'m>>,
}

/// What lies there.
pub struct Berth<'m> {
    /// What the lcore does without work.
    pub idle: Idle,
    /// Ports that it receives for several venues. They stay.
    pub receivers: Vec<Receiver>,
    /// What it polls after them, in this order.
    pub placed: Vec<Placed<'m>>,
    /// Pools whose stages have left: the lcore gives back what its caches of them keep.
    pub left: Vec<Mempool>,
    /// The lcore has returned: it had nothing to poll, or all of it had drained. It has to be launched again.
    pub asleep: bool,
}

/// A segment in its place.
pub struct Placed<'m> {
    /// Index of its venue.
    pub venue: usize,
    /// The segment.
    pub segment: Box<dyn Segment<'m> + 'm>,
    /// Where its numbers are shown.
    pub board: Arc<Board>,
    /// It is polled no more: it was told to give up, or panicked twice.
    pub over: bool,
}

impl<'m> Placed<'m> {
    /// Where the segment and its numbers lie.
    pub fn memory(&self) -> [Span; 2] {
        [span(&*self.segment), self.board.lines()]
    }

    /// Segment of venue number `venue`, with a board that shows its numbers.
    pub fn new(venue: usize, segment: Box<dyn Segment<'m> + 'm>) -> Self {
        let board = Arc::new(Board::new(&*segment));
        board.publish(&*segment);
        Placed { venue, segment, board, over: false }
    }
}

impl<'m> Dock<'m> {
    /// A dock with these receivers and segments, for an lcore that is about to be launched.
    pub fn new(idle: Idle, receivers: Vec<Receiver>, placed: Vec<Placed<'m>>) -> Dock<'m> {
        let berth = Berth { idle, receivers, placed, left: Vec::new(), asleep: false };
        Dock { wanted: Padded::default(), berth: Mutex::new(berth) }
    }

    /// For control: what lies there, taken from the lcore at the end of its round, for as long as the answer lives. Every
    /// venue on the lcore waits meanwhile, so be short. `None` when the round does not end: the lcore is stuck.
    pub fn hold(&self) -> Option<Held<'_, 'm>> {
        let until = Instant::now() + ROUND;
        self.wanted.0.store(true, Ordering::Relaxed);
        loop {
            match self.berth.try_lock() {
                Ok(berth) => return Some(Held { dock: self, berth: Some(berth) }),
                Err(TryLockError::Poisoned(berth)) => {
                    return Some(Held { dock: self, berth: Some(berth.into_inner()) });
                }
                Err(TryLockError::WouldBlock) if Instant::now() > until => {
                    self.wanted.0.store(false, Ordering::Relaxed);
                    return None;
                }
                // Waiting in the kernel would make the lcore's unlocking a system call.
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }

    /// For the lcore: take its place, as soon as control leaves it.
    pub(super) fn enter(&self) -> MutexGuard<'_, Berth<'m>> {
        loop {
            if !self.is_wanted()
                && let Ok(berth) = self.berth.try_lock()
            {
                return berth;
            }
            if self.berth.is_poisoned() {
                return self.berth.lock().unwrap_or_else(PoisonError::into_inner);
            }
            crate::cpu::pause();
        }
    }

    /// For the lcore: control waits.
    #[inline(always)]
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.0.load(Ordering::Relaxed)
    }

    /// What is left there when the lcore has returned.
    pub fn into_berth(self) -> Berth<'m> {
        self.berth.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Dock::hold`].
pub struct Held<'d, 'm> {
    dock: &'d Dock<'m>,
    /// `None` only while it is dropped.
    berth: Option<MutexGuard<'d, Berth<'m>>>,
}

impl<'m> Deref for Held<'_, 'm> {
    type Target = Berth<'m>;

    fn deref(&self) -> &Berth<'m> {
        self.berth.as_ref().expect("a held berth is there until it is dropped")
    }
}

impl<'m> DerefMut for Held<'_, 'm> {
    fn deref_mut(&mut self) -> &mut Berth<'m> {
        self.berth.as_mut().expect("a held berth is there until it is dropped")
    }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        self.berth = None;
        // Before this the lcore does not look at the lock, so that it never meets control there.
        self.dock.wanted.0.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Dock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dock").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
