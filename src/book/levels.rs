//! Sorted price levels of every side, in one array: `depth` in place for each side, deeper sides in a shared pool.
//!
//! A level is one word: a 34-bit key above 29 bits of shares, so that words of a side sort by price. The key of a bid is
//! its price and that of an ask the complement of its price: better is greater on both sides. A side is a contiguous,
//! ascending run of words, best last, because most changes are near the touch and only better levels move for them.
//! A side that outgrows its run moves to one twice as long, from the pool, and back when it is a quarter full.

use super::view::Level;
use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Price, Side};
use bytemuck::{Pod, Zeroable};

/// Levels in a cache line, and the unit of `depth`.
const LINE: usize = 8;
const QTY_BITS: u32 = 29;
/// Most shares in a level.
pub const MAX_QTY: u64 = (1 << QTY_BITS) - 1;
/// Greatest key, and so the greatest price.
pub const MAX_KEY: u64 = (1 << 34) - 1;
/// Runs of `depth << class` words; `depth << 20` levels on one side are more than any pool holds.
const CLASSES: usize = 20;
/// Its line from `LINE - n` on counts the first `n` words of a line.
const COUNTS: [u64; 2 * LINE] = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// No run: end of a free list.
const NONE: u32 = u32::MAX;

/// Every side's levels.
#[derive(Debug)]
pub struct LevelPool<'m> {
    words: &'m mut [u64],
    depth: u32,
    /// Where the pool begins, behind the runs in place.
    pool: u32,
    /// Where the never-used part of the pool begins.
    unused: u32,
    /// Where the pool ends.
    end: u32,
    /// Freed runs of each class; the first word of one holds the position of the next.
    free: [u32; CLASSES],
}

/// Where a side's run is, how long, and of which class.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SideHead {
    at: u32,
    len: u32,
    class: u32,
}

/// Position of a level in the array, or where it belongs.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    found: bool,
}

/// Why a level could not be changed. The side is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The side is full and the pool has no longer run.
    PoolFull,
    /// More than [`MAX_QTY`] shares.
    LevelOverflow,
}

/// The sort key of a price; `None` when out of range.
#[inline]
pub fn key(side: Side, price: Price) -> Option<u64> {
    let price = price.0 as u64;
    if price > MAX_KEY {
        return None;
    }
    Some(match side {
        Side::Buy => price,
        Side::Sell => MAX_KEY - price,
    })
}

/// A word as a level.
#[inline]
pub fn level(side: Side, word: u64) -> Level {
    let key = word >> QTY_BITS;
    let price = match side {
        Side::Buy => key,
        Side::Sell => MAX_KEY - key,
    };
    Level { price: Price(price as i64), qty: word & MAX_QTY }
}

impl<'m> LevelPool<'m> {
    /// Bytes it takes from the arena.
    pub fn bytes(instruments: u32, depth_levels: u32, spill: u32) -> usize {
        arena::bytes::<u64>(words(instruments, depth(depth_levels), spill))
    }

    pub fn new(instruments: u32, depth_levels: u32, spill: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let depth = depth(depth_levels);
        let words = arena.slice::<u64>("book levels", words(instruments, depth, spill))?;
        let pool = instruments * 2 * depth;
        Ok(LevelPool { words, depth, pool, unused: pool, end: pool + spill, free: [NONE; CLASSES] })
    }

    /// The empty side of a book.
    #[inline]
    pub fn empty(&self, instrument: Instrument, side: Side) -> SideHead {
        SideHead { at: self.in_place(instrument, side), len: 0, class: 0 }
    }

    /// Give the whole pool back. Every side must be made [`empty`](Self::empty) before it is used again.
    pub fn clear(&mut self) {
        self.unused = self.pool;
        self.free = [NONE; CLASSES];
    }

    /// The words of a side, best last.
    #[inline]
    pub fn words(&self, side: &SideHead) -> &[u64] {
        &self.words[side.at as usize..][..side.len as usize]
    }

    /// Ask for the lines at the touch.
    #[inline]
    pub fn prefetch(&self, side: &SideHead) {
        let end = (side.at + side.len) as usize;
        let base = self.words.as_ptr();
        cpu::prefetch(base.wrapping_add(end));
        cpu::prefetch(base.wrapping_add(end.saturating_sub(8)));
    }

    /// `qty` more shares at `key`.
    #[inline]
    pub fn add(
        &mut self,
        head: &mut SideHead,
        instrument: Instrument,
        side: Side,
        key: u64,
        qty: u32,
    ) -> Result<(), Refused> {
        let place = self.search(head, key);
        if !place.found {
            return self.insert(head, instrument, side, place, key, qty);
        }
        let word = &mut self.words[place.at];
        if (*word & MAX_QTY) + u64::from(qty) > MAX_QTY {
            return Err(Refused::LevelOverflow);
        }
        *word += u64::from(qty);
        Ok(())
    }

    /// Exactly `qty` shares at `key`; 0 removes the level.
    #[inline]
    pub fn set(
        &mut self,
        head: &mut SideHead,
        instrument: Instrument,
        side: Side,
        key: u64,
        qty: u32,
    ) -> Result<(), Refused> {
        if u64::from(qty) > MAX_QTY {
            return Err(Refused::LevelOverflow);
        }
        let place = self.search(head, key);
        match (place.found, qty) {
            (true, 0) => self.remove(head, instrument, side, place),
            (true, _) => self.words[place.at] = key << QTY_BITS | u64::from(qty),
            (false, 0) => {}
            (false, _) => return self.insert(head, instrument, side, place, key, qty),
        }
        Ok(())
    }

    /// `qty` shares fewer at `key`; the last ones take the level with them. Orders that stand are the sum of their
    /// levels, so it has that many, unless a feed mixes order and level events: then what is there goes.
    #[inline]
    pub fn take(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, key: u64, qty: u32) {
        let place = self.search(head, key);
        if !place.found {
            return;
        }
        let word = &mut self.words[place.at];
        if *word & MAX_QTY > u64::from(qty) {
            *word -= u64::from(qty);
        } else {
            self.remove(head, instrument, side, place);
        }
    }

    /// Where `key` stands, or where it would. Nearly every search ends within a line of the touch, at a place no
    /// branch predictor can guess: all eight words are compared, without a branch.
    #[inline]
    fn search(&self, head: &SideHead, key: u64) -> Place {
        let lowest = key << QTY_BITS;
        let (start, len) = (head.at as usize, head.len as usize);
        let (window, valid) = (start + len.saturating_sub(LINE), len.min(LINE));
        let words: &[u64; LINE] = self.words[window..].first_chunk().expect("the array ends in a spare line");
        let counts: &[u64; LINE] = COUNTS[LINE - valid..].first_chunk().expect("valid is at most a line");
        // Words have 63 bits: a difference has the 64th exactly when it is negative.
        let worse: u64 = words.iter().zip(counts).map(|(word, count)| word.wrapping_sub(lowest) >> 63 & count).sum();
        let worse = worse as usize;
        let mut at = window + worse;
        if worse == 0 && window > start {
            at = start + self.words[start..window].partition_point(|&word| word < lowest);
        }
        // Behind the last word there may be anything, its key even.
        Place { at, found: at < start + len && self.words[at] >> QTY_BITS == key }
    }

    #[inline]
    fn insert(
        &mut self,
        head: &mut SideHead,
        instrument: Instrument,
        side: Side,
        place: Place,
        key: u64,
        qty: u32,
    ) -> Result<(), Refused> {
        if u64::from(qty) > MAX_QTY {
            return Err(Refused::LevelOverflow);
        }
        let mut at = place.at;
        if head.len == self.capacity(head.class) {
            let class = head.class + 1;
            let to = self.allocate(class).ok_or(Refused::PoolFull)?;
            at = at - head.at as usize + to as usize;
            self.relocate(head, instrument, side, to, class);
        }
        let end = (head.at + head.len) as usize;
        self.words.copy_within(at..end, at + 1);
        self.words[at] = key << QTY_BITS | u64::from(qty);
        head.len += 1;
        Ok(())
    }

    #[inline]
    fn remove(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, place: Place) {
        let end = (head.at + head.len) as usize;
        self.words.copy_within(place.at + 1..end, place.at);
        head.len -= 1;
        if head.class > 0 && head.len <= self.capacity(head.class) / 4 {
            let class = head.class - 1;
            let to = if class == 0 { Some(self.in_place(instrument, side)) } else { self.allocate(class) };
            if let Some(to) = to {
                self.relocate(head, instrument, side, to, class);
            }
        }
    }

    #[cold]
    fn relocate(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, to: u32, class: u32) {
        let from = head.at as usize;
        self.words.copy_within(from..from + head.len as usize, to as usize);
        if head.at != self.in_place(instrument, side) {
            self.release(head.at, head.class);
        }
        head.at = to;
        head.class = class;
    }

    /// A run of `class`: a freed one, a fresh one, or half of a freed longer one.
    fn allocate(&mut self, class: u32) -> Option<u32> {
        if let Some(at) = self.pop(class) {
            return Some(at);
        }
        let length = u64::from(self.depth) << class;
        if u64::from(self.unused) + length <= u64::from(self.end) {
            let at = self.unused;
            self.unused += length as u32;
            return Some(at);
        }
        let mut longer = (class + 1..CLASSES as u32).find(|&c| self.free[c as usize] != NONE)?;
        let at = self.pop(longer)?;
        while longer > class {
            longer -= 1;
            self.release(at + self.capacity(longer), longer);
        }
        Some(at)
    }

    fn pop(&mut self, class: u32) -> Option<u32> {
        let at = *self.free.get(class as usize)?;
        if at == NONE {
            return None;
        }
        self.free[class as usize] = self.words[at as usize] as u32;
        Some(at)
    }

    fn release(&mut self, at: u32, class: u32) {
        self.words[at as usize] = u64::from(self.free[class as usize]);
        self.free[class as usize] = at;
    }

    #[inline]
    fn capacity(&self, class: u32) -> u32 {
        self.depth << class
    }

    #[inline]
    fn in_place(&self, instrument: Instrument, side: Side) -> u32 {
        (instrument.0 * 2 + side as u32) * self.depth
    }
}

/// Words of the array, with a spare line behind the last run.
fn words(instruments: u32, depth: u32, spill: u32) -> usize {
    instruments as usize * 2 * depth as usize + spill as usize + LINE
}

/// Whole lines.
fn depth(levels: u32) -> u32 {
    levels.max(1).next_multiple_of(LINE as u32)
}
