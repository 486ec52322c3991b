//! Sorted price levels of every side, in one array: `depth` in place for each side, deeper sides in a shared pool.
//!
//! A level is one word: a 34-bit key above 29 bits of shares, so that words of a side sort by price. The key of a bid is
//! its price and that of an ask the complement of its price, each from 1: better is greater on both sides. A side is a
//! contiguous, ascending run of words, best last, because most changes are near the touch and only better levels move
//! for them. A side that outgrows its run moves to one twice as long, from the pool, and back when it is a quarter full.
//!
//! Zeros, which are worse than any level, lie around every run: a line before it and at least a word behind it. So the
//! best eight words and the one behind them can always be looked at and rewritten whole, with no branch on how many
//! levels there are, where among them the change falls, or whether a level comes, goes or stays: no predictor knows
//! that, and nearly every change falls there.

use super::view::Level;
use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Price, Side};
use bytemuck::{Pod, Zeroable};
use std::hint::select_unpredictable;

/// Levels in a cache line, the unit of `depth`, and the zeros before a run.
pub const LINE: usize = 8;
/// Bits of shares in a word.
pub const QTY_BITS: u32 = 29;
/// Bits of the key above them.
pub const KEY_BITS: u32 = 34;
/// Most shares in a level.
pub const MAX_QTY: u64 = (1 << QTY_BITS) - 1;
/// Greatest price.
pub const MAX_PRICE: u64 = (1 << KEY_BITS) - 2;
/// A run of class `c` is `2^c` times as long as one in place, up to 65,535 words.
const CLASSES: usize = 16;
/// Its line from `LINE - at` on selects the words of a line from `at` on.
const FROM: [u64; 2 * LINE] = {
    let mut words = [0; 2 * LINE];
    let mut i = LINE;
    while i < 2 * LINE {
        words[i] = u64::MAX;
        i += 1;
    }
    words
};
/// Words before the first run, so that what lies before any line can be looked at.
const FRONT: u32 = LINE as u32;
/// No run: end of a free list.
const NONE: u32 = u32::MAX;

/// Every side's levels.
#[derive(Debug)]
pub struct LevelPool<'m> {
    words: &'m mut [u64],
    /// Words of a run in place, the zeros before it included.
    unit: u32,
    /// Where the pool begins, behind the runs in place.
    pool: u32,
    /// Where the never-used part of the pool begins.
    unused: u32,
    /// Where the pool ends.
    end: u32,
    /// Freed runs of each class; the second word of one holds the position of the next.
    free: [u32; CLASSES],
}

/// Where a side ends and how many levels it has; how few and how many its run is for, and the run's class.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SideHead {
    end: u32,
    len: u16,
    least: u16,
    most: u16,
    class: u16,
}

/// Why a level could not be changed. The side is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The side is full and the pool has no longer run.
    PoolFull,
    /// More than [`MAX_QTY`] shares.
    LevelOverflow,
}

/// The sort key of a price, 1 to 2^34 - 1; `None` when out of range.
#[inline]
pub fn key(side: Side, price: Price) -> Option<u64> {
    let price = price.0 as u64;
    if price > MAX_PRICE {
        return None;
    }
    Some(match side {
        Side::Buy => price + 1,
        Side::Sell => MAX_PRICE + 1 - price,
    })
}

/// A word as a level.
#[inline]
pub fn level(side: Side, word: u64) -> Level {
    let key = word >> QTY_BITS;
    let price = match side {
        Side::Buy => key - 1,
        Side::Sell => MAX_PRICE + 1 - key,
    };
    Level { price: Price(price as i64), qty: word & MAX_QTY }
}

impl<'m> LevelPool<'m> {
    /// Bytes it takes from the arena.
    pub fn bytes(instruments: u32, depth_levels: u32, spill: u32) -> usize {
        arena::bytes::<u64>(words(instruments, depth_levels, spill))
    }

    pub fn new(instruments: u32, depth_levels: u32, spill: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let words = arena.slice::<u64>("book levels", words(instruments, depth_levels, spill))?;
        let unit = unit(depth_levels);
        let pool = FRONT + instruments * 2 * unit;
        let end = (words.len() - LINE) as u32;
        Ok(LevelPool { words, unit, pool, unused: pool, end, free: [NONE; CLASSES] })
    }

    /// The empty side of a book, whatever its run held.
    #[cold]
    pub fn empty(&mut self, instrument: Instrument, side: Side) -> SideHead {
        let start = self.in_place(instrument, side);
        self.words[start as usize..][..self.unit as usize].fill(0);
        self.head(start, 0, 0)
    }

    /// Give the whole pool back. Every side must be made [`empty`](Self::empty) before it is used again.
    pub fn clear(&mut self) {
        self.unused = self.pool;
        self.free = [NONE; CLASSES];
    }

    /// The words of a side, best last, behind a line of zeros.
    #[inline(always)]
    pub fn words(&self, side: &SideHead) -> &[u64] {
        &self.words[side.start() - LINE..side.end as usize]
    }

    /// Ask for the lines at the touch: those of the best eight words, and of one more to either side.
    #[inline(always)]
    pub fn prefetch(&self, side: &SideHead) {
        let end = self.words.as_ptr().wrapping_add(side.end as usize);
        cpu::prefetch(end);
        cpu::prefetch(end.wrapping_sub(LINE));
        cpu::prefetch(end.wrapping_sub(LINE + 1));
    }

    /// The shares at `key`, 0 where no level is, become what `change` makes of them. The one way in which levels change.
    #[inline(always)]
    pub fn update(
        &mut self,
        head: &mut SideHead,
        instrument: Instrument,
        side: Side,
        key: u64,
        change: impl Fn(u64) -> Result<u64, Refused>,
    ) -> Result<(), Refused> {
        // A run begins behind a line of zeros and ends before one.
        let around = self.around(head.end as usize);
        let line: [u64; LINE] = *around[1..].first_chunk().expect("in the middle");
        let at = worse(&line, key);
        let word = around[1 + at];
        let stands = word >> QTY_BITS == key;
        let shares = change(select_unpredictable(stands, word & MAX_QTY, 0))?;
        let comes = usize::from(!stands) & usize::from(shares > 0);
        let goes = usize::from(stands) & usize::from(shares == 0);
        let len = head.len + comes as u16 - goes as u16;
        let deeper = usize::from(stands) | at == 0;
        if deeper || !(head.least..=head.most).contains(&len) {
            return self.update_deep(head, instrument, side, key, change);
        }
        // From `at` on, words move up when a level comes, down when one goes, and stay otherwise.
        let moved: [u64; LINE] = *around[1 + goes - comes..].first_chunk().expect("one to either side");
        let from: &[u64; LINE] = FROM[LINE - at..].first_chunk().expect("at is at most a line");
        let instead = around[1 + at + goes];
        for i in 0..LINE {
            around[1 + i] = line[i] & !from[i] | moved[i] & from[i];
        }
        around[1 + LINE] = select_unpredictable(comes == 1, line[LINE - 1], 0);
        around[1 + at] = select_unpredictable(shares > 0, key << QTY_BITS | shares, instead);
        head.end = head.end + comes as u32 - goes as u32;
        head.len = len;
        Ok(())
    }

    /// The same, for a level that is not among the best eight or needs a longer run.
    #[cold]
    #[inline(never)]
    fn update_deep(
        &mut self,
        head: &mut SideHead,
        instrument: Instrument,
        side: Side,
        key: u64,
        change: impl Fn(u64) -> Result<u64, Refused>,
    ) -> Result<(), Refused> {
        // Line by line away from the touch: what is deeper is rarely much deeper, and ends at the zeros before the run.
        let mut line = head.end as usize - LINE;
        let mut at = loop {
            let worse = worse(self.words[line..].first_chunk().expect("as long as what was behind"), key);
            if worse > 0 {
                break line + worse;
            }
            line -= LINE;
        };
        let word = self.words[at];
        let stands = word >> QTY_BITS == key;
        let shares = change(if stands { word & MAX_QTY } else { 0 })?;
        match (stands, shares) {
            (false, 0) => {}
            (true, 0) => {
                // With the zero behind the best.
                self.words.copy_within(at + 1..=head.end as usize, at);
                head.end -= 1;
                head.len -= 1;
                if head.len < head.least {
                    self.shrink(head, instrument, side);
                }
            }
            (true, _) => self.words[at] = key << QTY_BITS | shares,
            (false, _) => {
                if head.len == head.most {
                    let class = head.class + 1;
                    let to = self.allocate(class).ok_or(Refused::PoolFull)?;
                    let better = head.end as usize - at;
                    self.relocate(head, instrument, side, to, class);
                    at = head.end as usize - better;
                }
                self.words.copy_within(at..head.end as usize, at + 1);
                self.words[at] = key << QTY_BITS | shares;
                head.end += 1;
                head.len += 1;
            }
        }
        Ok(())
    }

    /// The best eight words of a run that ends at `end`, and one more to either side.
    #[inline(always)]
    fn around(&mut self, end: usize) -> &mut [u64; LINE + 2] {
        self.words[end - LINE - 1..].first_chunk_mut().expect("zeros lie around every run")
    }

    #[cold]
    fn shrink(&mut self, head: &mut SideHead, instrument: Instrument, side: Side) {
        let class = head.class - 1;
        let to = if class == 0 { Some(self.in_place(instrument, side)) } else { self.allocate(class) };
        if let Some(to) = to {
            self.relocate(head, instrument, side, to, class);
        }
    }

    /// Move a side to the run at `to`, which holds anything.
    #[cold]
    fn relocate(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, to: u32, class: u16) {
        self.words[to as usize..][..(self.unit << class) as usize].fill(0);
        let start = to as usize + LINE;
        self.words.copy_within(head.start()..head.end as usize, start);
        let from = (head.start() - LINE) as u32;
        if from != self.in_place(instrument, side) {
            self.release(from, head.class);
        }
        *head = self.head(to, head.len, class);
    }

    /// A run of `class`: a freed one, a fresh one, or half of a freed longer one.
    fn allocate(&mut self, class: u16) -> Option<u32> {
        let length = u64::from(self.unit) << class;
        if length > u64::from(u16::MAX) {
            return None;
        }
        if let Some(at) = self.pop(class) {
            return Some(at);
        }
        if u64::from(self.unused) + length <= u64::from(self.end) {
            let at = self.unused;
            self.unused += length as u32;
            // What another session left there.
            self.words[self.unused as usize] = 0;
            return Some(at);
        }
        let mut longer = (class + 1..CLASSES as u16).find(|&c| self.free[c as usize] != NONE)?;
        let at = self.pop(longer)?;
        while longer > class {
            longer -= 1;
            self.release(at + (self.unit << longer), longer);
        }
        Some(at)
    }

    fn pop(&mut self, class: u16) -> Option<u32> {
        let at = *self.free.get(class as usize)?;
        if at == NONE {
            return None;
        }
        self.free[class as usize] = self.words[at as usize + 1] as u32;
        Some(at)
    }

    fn release(&mut self, at: u32, class: u16) {
        // The first word stays zero: it may lie behind the best level of the run before.
        self.words[at as usize..][..2].copy_from_slice(&[0, u64::from(self.free[class as usize])]);
        self.free[class as usize] = at;
    }

    /// The head of a side of `len` levels in the run of `class` at `run`.
    fn head(&self, run: u32, len: u16, class: u16) -> SideHead {
        let most = ((self.unit << class) - LINE as u32) as u16;
        let least = if class == 0 { 0 } else { most / 4 + 1 };
        SideHead { end: run + LINE as u32 + u32::from(len), len, least, most, class }
    }

    #[inline]
    fn in_place(&self, instrument: Instrument, side: Side) -> u32 {
        FRONT + (instrument.0 * 2 + side as u32) * self.unit
    }
}

impl SideHead {
    #[inline(always)]
    fn start(&self) -> usize {
        self.end as usize - usize::from(self.len)
    }
}

/// How many of a side's best eight are worse than `key`: where it stands among them, or would. 0 as well when it is
/// deeper.
#[inline(always)]
fn worse(window: &[u64; LINE], key: u64) -> usize {
    // Signed, as vectors compare: a word has 63 bits.
    let lowest = (key << QTY_BITS) as i64;
    window.iter().map(|&word| u64::from((word as i64) < lowest)).sum::<u64>() as usize
}

/// Words of a run in place: whole lines of levels, and the zeros before them.
fn unit(depth_levels: u32) -> u32 {
    depth_levels.max(1).next_multiple_of(LINE as u32) + LINE as u32
}

/// Words of the array: the front, the runs in place, the pool with the zeros of its runs, and zeros behind the last.
fn words(instruments: u32, depth_levels: u32, spill: u32) -> usize {
    let unit = unit(depth_levels) as usize;
    let spill = (spill as usize).div_ceil(unit - LINE) * unit;
    FRONT as usize + instruments as usize * 2 * unit + spill + LINE
}
