//! Price levels of every side: those near the touch on a grid of ticks, deeper ones in sorted runs.
//!
//! The grid of a side is 63 cells of shares around its touch, one for each tick, and a word that says which of them hold
//! a level. A price says its cell, so a change there is a store and a bit, with no search, nothing moved, and no branch
//! on what no predictor knows: how many levels there are, where among them the change falls, whether a level comes,
//! goes or stays. Cells are taken round in a circle, which a last one that is never taken closes: the grid follows the
//! market by giving up the ticks at one end for as many at the other.
//!
//! A tick is a cent, until a price near the touch is none: then, for a while, what divides both. What is worse than the
//! grid, on ticks or between them, is in the side's run: ascending words of a key above the shares, best last, `depth` of
//! them in place. A run that is full moves to a longer one, from a shared pool, and back when it is a quarter full. Every
//! level of the grid is better than every one of the run.
//!
//! Ticks and keys grow towards the touch on both sides: those of an ask are complements.

use super::view::Level;
use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Price, Side};
use bytemuck::{Pod, Zeroable};

/// Cells of a side's grid.
const CELLS: usize = 64;
/// Ticks that it has: the cell of the one behind, towards the touch, is 0 for ever.
const GRID: u64 = CELLS as u64 - 1;
/// Bits of shares in a word of a run.
pub const QTY_BITS: u32 = 29;
/// Bits of a price, and of the key above the shares.
pub const PRICE_BITS: u32 = 34;
/// Most shares in a level.
pub const MAX_QTY: u64 = (1 << QTY_BITS) - 1;
/// Greatest price.
pub const MAX_PRICE: u64 = (1 << PRICE_BITS) - 1;
/// What a tick is until a price near the touch shows that it is less: a cent, in 1/10,000.
const TICK: u64 = 100;
/// From this price on nobody quotes less than a cent, but for a while: a dollar, in 1/10,000.
const DOLLAR: u64 = 10_000;
/// Of so many changes beside grids one tries whether ticks can be cents again.
const COARSEN: u32 = 256;
/// Ticks better than the touch that a grid has room for when it is placed.
const AHEAD: u64 = 8;
/// Where the grid of a side without one begins: no tick is near.
const NOWHERE: u64 = 1 << 63;
/// Cells in a cache line.
const LINE: u64 = 16;
/// A run of class `c` is `2^c` times as long as one in place, up to 65,535 words.
const CLASSES: usize = 16;
/// No run: end of a free list.
const NONE: u32 = u32::MAX;

/// Every side's levels.
#[derive(Debug)]
pub struct LevelPool<'m> {
    /// Of each book, bids and asks.
    grids: &'m mut [[Grid; 2]],
    /// Of the runs, those in place first.
    words: &'m mut [u64],
    /// Words of a run in place.
    depth: u32,
    /// Where the never-used part of the pool begins.
    unused: u32,
    /// Changes beside grids.
    deep: u32,
    /// Freed runs of each class; the first word of one holds the position of the next.
    free: [u32; CLASSES],
}

/// Shares at each tick of a side's grid, 0 where there is no level.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Grid([u32; CELLS]);

/// Both sides of a book.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ladder {
    /// The tick in the lowest seven bits; as a whole, 2^63 over the tick and so little more that it divides prices exactly.
    tick: u64,
    sides: [SideHead; 2],
}

/// Where a side's levels are.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct SideHead {
    /// Which cells hold a level.
    taken: u64,
    /// First tick of the grid.
    low: u64,
    /// First word of the run.
    run: u32,
    /// Levels in it.
    len: u16,
    class: u16,
}

/// Levels of one side, best first.
#[derive(Clone, Debug)]
pub struct Levels<'b> {
    side: Side,
    /// Which ticks from `end` on hold a level that is to come, `end` in the lowest bit.
    ticks: u64,
    end: u64,
    /// 1/10,000 in a tick.
    tick: u64,
    grid: &'b Grid,
    run: &'b [u64],
}

/// Both sides of a book, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'b> {
    ladder: &'b Ladder,
    grids: &'b [Grid; 2],
    words: &'b [u64],
}

/// Why a level could not be changed. The side is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The side is full and the pool has no longer run.
    PoolFull,
    /// More than [`MAX_QTY`] shares.
    LevelOverflow,
}

/// A price that books hold, in 1/10,000.
#[inline(always)]
pub fn in_range(price: Price) -> Option<u64> {
    let price = price.0 as u64;
    (price <= MAX_PRICE).then_some(price)
}

/// Prices as they sort in runs, better ones greater.
#[inline(always)]
fn key(side: Side, price: u64) -> u64 {
    price ^ (MAX_PRICE * side as u64)
}

/// A level of a run: its price and its shares.
#[inline]
fn of_word(side: Side, word: u64) -> (u64, u64) {
    (key(side, word >> QTY_BITS), word & MAX_QTY)
}

impl Ladder {
    fn set_tick(&mut self, tick: u64) {
        // Rounded up by less than 2^8, which no price of 34 bits lets be seen.
        self.tick = (1_u64 << 63).div_ceil(tick).next_multiple_of(128) | tick;
    }

    #[inline(always)]
    pub fn tick(&self) -> u64 {
        self.tick & 127
    }

    /// Where on the ladder a price is, and how far it is beside a tick.
    #[inline(always)]
    fn at(&self, side: Side, price: u64) -> (u64, u64) {
        let ticks = ((u128::from(price << 1) * u128::from(self.tick)) >> 64) as u64;
        (key(side, ticks), price - ticks * self.tick())
    }
}

impl SideHead {
    /// The tick behind the grid, which is never taken.
    #[inline(always)]
    fn end(&self) -> u64 {
        self.low.wrapping_add(GRID)
    }

    /// Which ticks from the end of the grid on hold a level, the end in the lowest bit.
    #[inline(always)]
    fn ticks(&self) -> u64 {
        self.taken.rotate_right(cell(self.end()) as u32)
    }

    /// The best tick of the grid, that before the grid when it is empty.
    #[inline(always)]
    fn touch(&self) -> u64 {
        self.end().wrapping_sub(self.ticks().trailing_zeros().into())
    }

    fn words(&self) -> std::ops::Range<usize> {
        let start = self.run as usize;
        start..start + usize::from(self.len)
    }
}

impl Sides<'_> {
    /// No levels.
    pub const NONE: Sides<'static> = {
        const SIDE: SideHead = SideHead { taken: 0, low: 0, run: 0, len: 0, class: 0 };
        Sides { ladder: &Ladder { tick: 0, sides: [SIDE; 2] }, grids: &[Grid([0; CELLS]); 2], words: &[] }
    };
}

impl<'b> Sides<'b> {
    /// The levels of `side`, best first.
    #[inline(always)]
    pub fn levels(&self, side: Side) -> Levels<'b> {
        let head = &self.ladder.sides[side as usize];
        Levels {
            side,
            ticks: head.ticks(),
            end: head.end(),
            tick: self.ladder.tick(),
            grid: &self.grids[side as usize],
            run: &self.words[head.words()],
        }
    }

    /// See [`Book::weigh`](super::Book::weigh).
    #[inline(always)]
    pub fn weigh(&self, side: Side, weights: &[u32]) -> u64 {
        let head = &self.ladder.sides[side as usize];
        let Grid(cells) = &self.grids[side as usize];
        let (mut ticks, end) = (head.ticks(), cell(head.end()));
        let on_grid = ticks.count_ones() as usize;
        let mut sum = 0;
        for &weight in weights {
            // No branch on whether there is another, which no predictor knows: behind the last comes the cell of the end.
            let shares = cells[(end + ticks.trailing_zeros() as usize) % CELLS];
            sum += u64::from(weight) * u64::from(shares);
            ticks &= ticks.wrapping_sub(1);
        }
        if on_grid < weights.len() && head.len > 0 {
            let behind = weights[on_grid..].iter().zip(self.words[head.words()].iter().rev());
            sum += behind.map(|(&weight, word)| u64::from(weight) * (word & MAX_QTY)).sum::<u64>();
        }
        sum
    }
}

impl Iterator for Levels<'_> {
    type Item = Level;

    #[inline]
    fn next(&mut self) -> Option<Level> {
        let (price, qty) = if self.ticks > 0 {
            let tick = self.end.wrapping_sub(self.ticks.trailing_zeros().into());
            self.ticks &= self.ticks - 1;
            (key(self.side, tick) * self.tick, self.grid.0[cell(tick)].into())
        } else {
            let (&word, rest) = self.run.split_last()?;
            self.run = rest;
            of_word(self.side, word)
        };
        Some(Level { price: Price(price as i64), qty })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.ticks.count_ones() as usize + self.run.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Levels<'_> {}

impl<'m> LevelPool<'m> {
    /// Bytes it takes from the arena.
    pub fn bytes(instruments: u32, depth_levels: u32, spill: u32) -> usize {
        arena::bytes::<[Grid; 2]>(instruments as usize) + arena::bytes::<u64>(words(instruments, depth_levels, spill))
    }

    pub fn new(instruments: u32, depth_levels: u32, spill: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let grids = arena.slice("book levels", instruments as usize)?;
        let words = arena.slice("deep book levels", words(instruments, depth_levels, spill))?;
        let depth = depth(depth_levels);
        Ok(LevelPool { grids, words, depth, unused: 2 * instruments * depth, deep: 0, free: [NONE; CLASSES] })
    }

    /// The empty sides of a book, whatever they held.
    #[cold]
    pub fn empty(&mut self, instrument: Instrument) -> Ladder {
        let mut ladder = Ladder::zeroed();
        ladder.set_tick(TICK);
        for side in [Side::Buy, Side::Sell] {
            let run = self.in_place(instrument, side);
            self.grids[instrument.0 as usize][side as usize] = Grid::zeroed();
            ladder.sides[side as usize] = SideHead { low: NOWHERE, run, ..SideHead::zeroed() };
        }
        ladder
    }

    /// Give the whole pool back. Every book must be made [`empty`](Self::empty) before it is used again.
    pub fn clear(&mut self) {
        self.unused = self.grids.len() as u32 * 2 * self.depth;
        self.free = [NONE; CLASSES];
    }

    /// Both sides of a book, to be looked at.
    #[inline(always)]
    pub fn sides<'b>(&'b self, ladder: &'b Ladder, instrument: Instrument) -> Sides<'b> {
        Sides { ladder, grids: &self.grids[instrument.0 as usize], words: self.words }
    }

    /// Ask for the cells at the touch of both sides.
    #[inline(always)]
    pub fn prefetch(&self, ladder: &Ladder, instrument: Instrument) {
        for side in [Side::Buy, Side::Sell] {
            let touch = ladder.sides[side as usize].touch();
            let cells = self.grids.as_ptr().wrapping_add(instrument.0 as usize).cast::<Grid>();
            let cells = cells.wrapping_add(side as usize).cast::<u32>();
            cpu::prefetch(cells.wrapping_add(cell(touch)));
            cpu::prefetch(cells.wrapping_add(cell(touch.wrapping_sub(LINE))));
        }
    }

    /// The shares at `price`, 0 where no level is, become what `change` makes of them. The one way in which levels change.
    #[inline(always)]
    pub fn update(
        &mut self,
        ladder: &mut Ladder,
        instrument: Instrument,
        side: Side,
        price: u64,
        change: impl Fn(u64) -> Result<u64, Refused>,
    ) -> Result<(), Refused> {
        let (tick, beside) = ladder.at(side, price);
        let head = &mut ladder.sides[side as usize];
        if tick.wrapping_sub(head.low) >= GRID || beside != 0 {
            return self.update_deep(ladder, instrument, side, price, change);
        }
        let shares = &mut self.grids[instrument.0 as usize][side as usize].0[cell(tick)];
        let now = change((*shares).into())?;
        *shares = now as u32;
        head.taken = head.taken & !(1 << cell(tick)) | u64::from(now > 0) << cell(tick);
        Ok(())
    }

    /// The same, for a price off the grid.
    #[cold]
    #[inline(never)]
    fn update_deep(
        &mut self,
        ladder: &mut Ladder,
        instrument: Instrument,
        side: Side,
        price: u64,
        change: impl Fn(u64) -> Result<u64, Refused>,
    ) -> Result<(), Refused> {
        let found = self.find(&ladder.sides[side as usize], side, price);
        let shares = change(found.map_or(0, |at| self.words[at] & MAX_QTY))?;
        if found.is_err() && shares == 0 {
            return Ok(());
        }
        self.deep = self.deep.wrapping_add(1);
        if self.deep.is_multiple_of(COARSEN) && ladder.tick() < TICK && price >= DOLLAR {
            // Without room it stays as it is.
            let _ = self.regrid(ladder, instrument, TICK);
        }
        match self.follow(ladder, instrument, side, price) {
            Err(why) if found.is_err() => return Err(why),
            // What stands can be changed where it stands.
            _ => {}
        }
        let (tick, beside) = ladder.at(side, price);
        let head = &mut ladder.sides[side as usize];
        if tick >= head.low && beside == 0 {
            // The level, if there was one, is there now.
            self.set(head, instrument, side, tick, shares);
            return Ok(());
        }
        match (self.find(head, side, price), shares) {
            (Ok(at), 0) => {
                self.words.copy_within(at + 1..head.words().end, at);
                head.len -= 1;
                self.shrink(head, instrument, side);
            }
            (Ok(at), _) => self.words[at] = key(side, price) << QTY_BITS | shares,
            (Err(at), _) => {
                let worse = at - head.words().start;
                self.make_room(head, instrument, side, 1)?;
                let at = head.words().start + worse;
                self.words.copy_within(at..head.words().end, at + 1);
                self.words[at] = key(side, price) << QTY_BITS | shares;
                head.len += 1;
            }
        }
        Ok(())
    }

    /// Where in its run the level at `price` is, or would be.
    fn find(&self, head: &SideHead, side: Side, price: u64) -> Result<usize, usize> {
        let start = head.words().start;
        let found = self.words[head.words()].binary_search_by_key(&key(side, price), |word| word >> QTY_BITS);
        found.map(|at| start + at).map_err(|at| start + at)
    }

    fn set(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, tick: u64, shares: u64) {
        self.grids[instrument.0 as usize][side as usize].0[cell(tick)] = shares as u32;
        head.taken = head.taken & !(1 << cell(tick)) | u64::from(shares > 0) << cell(tick);
    }

    /// A book's ticks change. Its grids are empty then; refused, one may be, and no level has changed.
    fn regrid(&mut self, ladder: &mut Ladder, instrument: Instrument, tick: u64) -> Result<(), Refused> {
        for side in [Side::Buy, Side::Sell] {
            self.give_up(ladder, instrument, side, NOWHERE)?;
        }
        ladder.set_tick(tick);
        Ok(())
    }

    /// Move the grid to where the touch is, or will be with a level at `price`, if that is better than the grid, or worse and
    /// the touch far down on it. Ticks become finer if what is near enough is on none. Refused or not, no level changes.
    fn follow(&mut self, ladder: &mut Ladder, instrument: Instrument, side: Side, price: u64) -> Result<(), Refused> {
        loop {
            let (tick, beside) = ladder.at(side, price);
            let head = &ladder.sides[side as usize];
            let best = match (head.taken, self.words[head.words()].last()) {
                (0, None) => 0,
                (0, Some(&word)) => ladder.at(side, of_word(side, word).0).0,
                _ => head.touch(),
            };
            let low = (best.max(tick) + AHEAD + 1).saturating_sub(GRID);
            let mut uneven = None;
            if tick >= head.end() {
                self.give_up(ladder, instrument, side, low)?;
            } else if tick < head.low && low + AHEAD <= head.low {
                uneven = self.take_in(ladder, instrument, side, low);
            }
            if beside != 0 && tick >= ladder.sides[side as usize].low {
                uneven = Some(price);
            }
            match uneven {
                Some(price) => self.regrid(ladder, instrument, common(ladder.tick(), price))?,
                None => return Ok(()),
            }
        }
    }

    /// The grid begins at `low`, higher than now: what is worse goes to the run.
    fn give_up(&mut self, ladder: &mut Ladder, instrument: Instrument, side: Side, low: u64) -> Result<(), Refused> {
        let mut head = ladder.sides[side as usize];
        // The lowest bit is of the best: those that stay.
        let stay = u32::try_from(head.end().saturating_sub(low)).unwrap_or(0) + 1;
        let mut going = head.ticks() & u64::MAX.checked_shl(stay).unwrap_or(0);
        self.make_room(&mut head, instrument, side, going.count_ones() as u16)?;
        while going > 0 {
            let worst = 63 - going.leading_zeros();
            let tick = head.end() - u64::from(worst);
            let shares = self.grids[instrument.0 as usize][side as usize].0[cell(tick)];
            let key = key(side, key(side, tick) * ladder.tick());
            self.words[head.words().end] = key << QTY_BITS | u64::from(shares);
            head.len += 1;
            self.set(&mut head, instrument, side, tick, 0);
            going ^= 1 << worst;
        }
        head.low = low;
        ladder.sides[side as usize] = head;
        Ok(())
    }

    /// The grid begins at `low`, lower than now, and takes what is better from the run, as far as prices are on its ticks. The
    /// first that is not ends it, and is returned.
    fn take_in(&mut self, ladder: &mut Ladder, instrument: Instrument, side: Side, low: u64) -> Option<u64> {
        let mut head = ladder.sides[side as usize];
        let mut uneven = None;
        head.low = low;
        while let Some(&word) = self.words[head.words()].last() {
            let (price, shares) = of_word(side, word);
            let (tick, beside) = ladder.at(side, price);
            if tick < low {
                break;
            }
            if beside != 0 {
                // Beside its tick towards higher prices, which for an ask is the worse side.
                head.low = tick + u64::from(side == Side::Buy);
                uneven = Some(price);
                break;
            }
            head.len -= 1;
            self.set(&mut head, instrument, side, tick, shares);
        }
        self.shrink(&mut head, instrument, side);
        ladder.sides[side as usize] = head;
        uneven
    }

    /// Have the run of a side take so many more levels.
    fn make_room(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, more: u16) -> Result<(), Refused> {
        let mut class = head.class;
        while u32::from(head.len) + u32::from(more) > self.depth << class {
            class += 1;
        }
        if class > head.class {
            let to = self.allocate(class).ok_or(Refused::PoolFull)?;
            self.relocate(head, instrument, side, to, class);
        }
        Ok(())
    }

    fn shrink(&mut self, head: &mut SideHead, instrument: Instrument, side: Side) {
        while head.class > 0 && u32::from(head.len) <= self.depth << head.class >> 2 {
            let class = head.class - 1;
            let to = if class == 0 { Some(self.in_place(instrument, side)) } else { self.allocate(class) };
            let Some(to) = to else { return };
            self.relocate(head, instrument, side, to, class);
        }
    }

    /// Move the run of a side to `to`.
    fn relocate(&mut self, head: &mut SideHead, instrument: Instrument, side: Side, to: u32, class: u16) {
        self.words.copy_within(head.words(), to as usize);
        if head.run != self.in_place(instrument, side) {
            self.release(head.run, head.class);
        }
        (head.run, head.class) = (to, class);
    }

    /// A run of `class`: a freed one, a fresh one, or half of a freed longer one.
    fn allocate(&mut self, class: u16) -> Option<u32> {
        let length = u64::from(self.depth) << class;
        if length > u64::from(u16::MAX) {
            return None;
        }
        if let Some(at) = self.pop(class) {
            return Some(at);
        }
        if u64::from(self.unused) + length <= self.words.len() as u64 {
            let at = self.unused;
            self.unused += length as u32;
            return Some(at);
        }
        let mut longer = (class + 1..CLASSES as u16).find(|&c| self.free[c as usize] != NONE)?;
        let at = self.pop(longer)?;
        while longer > class {
            longer -= 1;
            self.release(at + (self.depth << longer), longer);
        }
        Some(at)
    }

    fn pop(&mut self, class: u16) -> Option<u32> {
        let at = *self.free.get(class as usize)?;
        if at == NONE {
            return None;
        }
        self.free[class as usize] = self.words[at as usize] as u32;
        Some(at)
    }

    fn release(&mut self, at: u32, class: u16) {
        self.words[at as usize] = self.free[class as usize].into();
        self.free[class as usize] = at;
    }

    fn in_place(&self, instrument: Instrument, side: Side) -> u32 {
        (instrument.0 * 2 + side as u32) * self.depth
    }
}

/// The greatest common divisor.
fn common(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The cell of a tick: a better one comes first, and behind the best the worst.
#[inline(always)]
fn cell(tick: u64) -> usize {
    !tick as usize % CELLS
}

/// Words of a run in place.
fn depth(depth_levels: u32) -> u32 {
    depth_levels.max(1).next_multiple_of(8)
}

/// Words of all runs: those in place and the pool.
fn words(instruments: u32, depth_levels: u32, spill: u32) -> usize {
    let depth = depth(depth_levels) as usize;
    instruments as usize * 2 * depth + (spill as usize).next_multiple_of(depth)
}
