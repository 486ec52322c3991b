//! Counters of stages and lcores where another thread can see them while they run.
//!
//! Stages count in plain integers of their own. When an observer asks ([`Ask::refresh`]), each lcore copies them, at the
//! end of its round, to atomics on lines of their own. An lcore that nobody asks reads one word a round, which stays
//! in its cache.

use crate::host::placement::{Span, lines::span};
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What one number of a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// What came in.
    In,
    /// What was passed on.
    Out,
    /// What was dropped, for this reason.
    Dropped(&'static str),
    /// What is held.
    Held,
    /// Bursts that were not empty.
    Bursts,
    /// Most elements ever seen in this ring.
    HighWater(&'static str),
    /// A figure that the ledger knows nothing of: its group and its name.
    Figure(&'static str, &'static str),
}

/// A number of a stage: whose and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `rx`, `parse`, `strategy`, `encode` or `tx`.
    pub stage: &'static str,
    /// What is counted: `frames` or `orders`.
    pub unit: &'static str,
    /// Which of its numbers.
    pub count: Count,
}

/// Something with numbers: calls `each` with all of them, always the same ones in the same order.
pub trait Account {
    /// See the trait.
    fn account(&self, each: &mut dyn FnMut(Entry, u64));
}

/// The numbers of one segment.
pub struct Board {
    entries: Vec<Entry>,
    values: Box<[Line]>,
}

/// Two lines, because the adjacent-line prefetcher pulls pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line([AtomicU64; 16]);

/// Asks every lcore for fresh numbers.
#[derive(Clone, Debug, Default)]
pub struct Ask(Arc<Padded>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// The boards of an lcore's segments, in their order: index of the venue, and the board.
pub type Shown = Vec<(usize, Arc<Board>)>;

/// Where an lcore shows its numbers to who asks.
#[derive(Clone, Debug, Default)]
pub struct Boards {
    /// Its own.
    pub lcore: Arc<LcoreBoard>,
    /// Those of its segments. They change when stages move.
    pub segments: Arc<ArcSwap<Shown>>,
}

/// One lcore's numbers and thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LcoreBoard {
    polls: AtomicU64,
    empty_polls: AtomicU64,
    thread: AtomicI32,
    beat: AtomicU64,
}

const _: () = assert!(size_of::<Line>() == 128 && size_of::<LcoreBoard>() == 128 && size_of::<Padded>() == 128);

/// The heartbeat of an lcore that has returned.
const ENDED: u64 = u64::MAX;

impl Board {
    /// A board with room for what `of` counts.
    pub fn new(of: &dyn Account) -> Board {
        let mut entries = Vec::new();
        of.account(&mut |entry, _| entries.push(entry));
        let values = (0..entries.len().div_ceil(16)).map(|_| Line::default()).collect();
        Board { entries, values }
    }

    /// Where the numbers lie.
    pub fn lines(&self) -> Span {
        span(&*self.values)
    }

    /// Copy the numbers of `of`, for which the board was made.
    pub fn publish(&self, of: &dyn Account) {
        let mut places = self.values.iter().flat_map(|line| &line.0);
        of.account(&mut |_, n| {
            if let Some(place) = places.next() {
                place.store(n, Ordering::Relaxed);
            }
        });
    }

    /// What was copied last, number by number: each is true, all together are of about one moment.
    pub fn read(&self) -> impl Iterator<Item = (Entry, u64)> {
        let values = self.values.iter().flat_map(|line| &line.0);
        self.entries.iter().zip(values).map(|(entry, value)| (*entry, value.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read()).finish()
    }
}

impl Ask {
    /// Where the question lies.
    pub fn lines(&self) -> Span {
        span(&*self.0)
    }

    /// Ask. The answers come when each lcore's round ends.
    pub fn refresh(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes when fresh numbers are wanted.
    #[inline(always)]
    pub fn turn(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

impl LcoreBoard {
    /// The lcore begins its loop on the thread with this id.
    pub fn begin(&self, thread: i32) {
        self.thread.store(thread, Ordering::Release);
    }

    /// Its kernel thread, once it runs.
    pub fn thread(&self) -> Option<i32> {
        Some(self.thread.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    /// A round begins; `beat` differs from the last one's.
    #[inline(always)]
    pub fn beat(&self, beat: u64) {
        self.beat.store(beat, Ordering::Relaxed);
    }

    /// The lcore has left its loop.
    pub fn end(&self) {
        self.beat(ENDED);
    }

    /// The thread and its last heartbeat, while it is in its loop.
    pub fn heartbeat(&self) -> Option<(i32, u64)> {
        let beat = self.beat.load(Ordering::Relaxed);
        self.thread().filter(|_| beat != ENDED).map(|thread| (thread, beat))
    }

    /// It has finished its first round.
    pub fn has_polled(&self) -> bool {
        self.beat.load(Ordering::Relaxed) > 1
    }

    /// Rounds so far, and those that found nothing.
    pub fn publish(&self, polls: u64, empty_polls: u64) {
        self.polls.store(polls, Ordering::Relaxed);
        self.empty_polls.store(empty_polls, Ordering::Relaxed);
    }

    /// What was published last: rounds, and empty ones.
    pub fn polls(&self) -> (u64, u64) {
        (self.polls.load(Ordering::Relaxed), self.empty_polls.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Twenty(u64);

    impl Account for Twenty {
        fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
            for n in 0..20 {
                let count = if n == 0 { Count::In } else { Count::Dropped("why") };
                each(Entry { stage: "rx", unit: "frames", count }, self.0 + n);
            }
        }
    }

    #[test]
    fn a_board_shows_every_number_in_its_place() {
        let board = Board::new(&Twenty(0));
        assert!(board.read().all(|(_, n)| n == 0));
        board.publish(&Twenty(100));
        let read: Vec<_> = board.read().collect();
        assert_eq!(read.iter().map(|r| r.1).collect::<Vec<_>>(), (100..120).collect::<Vec<_>>());
        assert_eq!(read[0].0.count, Count::In);
    }

    #[test]
    fn boards_share_no_line_with_anyone() {
        let board = Board::new(&Twenty(0));
        assert_eq!((board.lines().from % 128, board.lines().bytes % 128), (0, 0));
    }
}
