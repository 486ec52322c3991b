//! The table of live orders: reference → side, price, shares, instrument. Open addressing, linear probing; removal shifts
//! back, so that no tombstones pile up over a day of adds and deletes.
//!
//! Orders stand in the order of their home slots: who is farther from home goes first ("Robin Hood"). A slot before one
//! whose order is not at home is marked, so a removal knows without a look at its neighbour, which may lie on another line,
//! that nobody is to be moved back. As references are given out in sequence, nearly every order is at home: each operation
//! looks at one slot and tests what a predictor knows.

use super::levels::{MAX_QTY, PRICE_BITS, QTY_BITS};
use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Side};
use bytemuck::{Pod, Zeroable};

/// Farthest an order may stand from its home slot.
const MAX_PROBE: usize = 128;

const ORDER_BITS: u32 = 40;
/// Greatest reference.
pub const MAX_ORDER: u64 = (1 << ORDER_BITS) - 1;
/// The order in the next slot may be away from home: unmarked, it is not.
const CROWDED: u64 = 1 << (ORDER_BITS + 16);
const SESSION_SHIFT: u32 = ORDER_BITS + 17;
const MAX_SESSION: u64 = (1 << (64 - SESSION_SHIFT)) - 1;

/// Live orders of all instruments.
#[derive(Debug)]
pub struct OrderTable<'m> {
    slots: &'m mut [Slot],
    mask: usize,
    /// Orders of another session count as empty slots: clearing is one addition.
    session: u64,
    live: u32,
    capacity: u32,
}

/// Sixteen bytes: neighbours in the feed are neighbours here, and the more of them a line holds the fewer misses.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    /// Session, [`CROWDED`], instrument, order.
    who: u64,
    standing: Standing,
}

/// What the table knows of an order: its side above the word of its price and shares.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Standing(u64);

/// Where a new order goes: the orders from `at` to the empty slot `until` move one slot on.
#[derive(Clone, Copy, Debug)]
pub struct Vacancy {
    at: usize,
    until: usize,
}

/// Why an order is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such reference stands.
    Unknown,
    /// It stands in another instrument.
    OtherInstrument,
}

/// Why an order cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Its reference stands already.
    Duplicate,
    /// As many orders stand as the table is for.
    Full,
    /// All slots near its home are taken, or its reference is beyond [`MAX_ORDER`].
    ProbeTooLong,
}

impl Standing {
    /// `qty` is at most what a level holds.
    #[inline(always)]
    pub fn new(price: u64, side: Side, qty: u32) -> Self {
        Standing((side as u64) << (PRICE_BITS + QTY_BITS) | price << QTY_BITS | u64::from(qty))
    }

    #[inline(always)]
    pub fn price(&self) -> u64 {
        self.0 >> QTY_BITS & ((1 << PRICE_BITS) - 1)
    }

    #[inline(always)]
    pub fn side(&self) -> Side {
        if self.0 >> (PRICE_BITS + QTY_BITS) == 0 { Side::Buy } else { Side::Sell }
    }

    #[inline(always)]
    pub fn qty(&self) -> u32 {
        (self.0 & MAX_QTY) as u32
    }
}

impl<'m> OrderTable<'m> {
    /// Bytes it takes from the arena.
    pub fn bytes(orders: u32) -> usize {
        arena::bytes::<Slot>(slots(orders))
    }

    pub fn new(orders: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let slots = arena.slice("live orders", slots(orders))?;
        let mask = slots.len().wrapping_sub(1);
        Ok(OrderTable { slots, mask, session: 1, live: 0, capacity: orders })
    }

    #[inline]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Ask for the home slot of `order`.
    #[inline(always)]
    pub fn prefetch(&self, order: u64) {
        cpu::prefetch(self.slots.as_ptr().wrapping_add(self.home(order)));
    }

    /// The slot of `order`.
    #[inline(always)]
    pub fn find(&self, instrument: Instrument, order: u64) -> Result<usize, Missing> {
        let home = self.home(order);
        match self.slots.get(home) {
            Some(slot) if slot.holds(self.who(instrument, order)) && fits(instrument, order) => Ok(home),
            _ => self.find_displaced(instrument, order),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_displaced(&self, instrument: Instrument, order: u64) -> Result<usize, Missing> {
        if order > MAX_ORDER || self.slots.is_empty() {
            return Err(Missing::Unknown);
        }
        for displaced in 0..=MAX_PROBE {
            let at = (self.home(order) + displaced) & self.mask;
            let slot = &self.slots[at];
            if !self.taken(slot) || self.displaced(at) < displaced {
                break;
            }
            if slot.who & MAX_ORDER == order {
                let found = slot.holds(self.who(instrument, order)) && fits(instrument, order);
                return if found { Ok(at) } else { Err(Missing::OtherInstrument) };
            }
        }
        Err(Missing::Unknown)
    }

    /// What stands in a slot that [`find`](Self::find) gave.
    #[inline(always)]
    pub fn standing(&self, at: usize) -> &Standing {
        &self.slots[at].standing
    }

    /// Where to put `order`.
    #[inline(always)]
    pub fn vacancy(&self, order: u64) -> Result<Vacancy, NoRoom> {
        let home = self.home(order);
        let free = self.slots.get(home).is_some_and(|slot| !self.taken(slot));
        if free && self.live < self.capacity && order <= MAX_ORDER {
            return Ok(Vacancy { at: home, until: home });
        }
        self.make_way(order)
    }

    #[cold]
    #[inline(never)]
    fn make_way(&self, order: u64) -> Result<Vacancy, NoRoom> {
        // Of any instrument.
        if self.find_displaced(Instrument(0), order) != Err(Missing::Unknown) {
            return Err(NoRoom::Duplicate);
        }
        if self.live == self.capacity {
            return Err(NoRoom::Full);
        }
        if order > MAX_ORDER {
            return Err(NoRoom::ProbeTooLong);
        }
        let home = self.home(order);
        let mut at = None;
        for displaced in 0..=MAX_PROBE {
            let here = (home + displaced) & self.mask;
            if !self.taken(&self.slots[here]) {
                return Ok(Vacancy { at: at.unwrap_or(here), until: here });
            }
            if self.displaced(here) < displaced {
                at = at.or(Some(here));
            }
        }
        Err(NoRoom::ProbeTooLong)
    }

    /// Put `order` where [`vacancy`](Self::vacancy) said.
    #[inline(always)]
    pub fn fill(&mut self, vacancy: Vacancy, instrument: Instrument, order: u64, standing: Standing) {
        if vacancy.until != self.home(order) {
            self.shift(vacancy);
        }
        let crowded = u64::from(vacancy.at != vacancy.until) * CROWDED;
        self.slots[vacancy.at] = Slot { who: self.who(instrument, order) | crowded, standing };
        self.live += 1;
    }

    /// Move the orders in the way one slot on, into the empty slot behind them. From the slot before the vacancy on, each
    /// then has one behind it that may be away from home.
    #[cold]
    #[inline(never)]
    fn shift(&mut self, vacancy: Vacancy) {
        let mut hole = vacancy.until;
        while hole != vacancy.at {
            let before = hole.wrapping_sub(1) & self.mask;
            self.slots[hole] = self.slots[before];
            self.slots[hole].who |= CROWDED;
            hole = before;
        }
        self.slots[hole.wrapping_sub(1) & self.mask].who |= CROWDED;
    }

    /// `qty` shares fewer, of more.
    #[inline(always)]
    pub fn reduce(&mut self, at: usize, qty: u32) {
        self.slots[at].standing.0 -= u64::from(qty);
    }

    /// Empty a slot.
    #[inline(always)]
    pub fn remove(&mut self, at: usize) {
        if self.slots[at].who & CROWDED != 0 {
            self.remove_and_shift(at);
        } else {
            self.slots[at].who = 0;
        }
        self.live -= 1;
    }

    /// Empty a slot and move back what was displaced by it.
    #[cold]
    #[inline(never)]
    fn remove_and_shift(&mut self, at: usize) {
        let mut hole = at;
        loop {
            let next = (hole + 1) & self.mask;
            if !self.taken(&self.slots[next]) || self.displaced(next) == 0 {
                break;
            }
            self.slots[hole] = self.slots[next];
            hole = next;
        }
        self.slots[hole].who = 0;
    }

    /// No order stands any more.
    pub fn clear(&mut self) {
        self.live = 0;
        self.session += 1;
        if self.session > MAX_SESSION {
            self.slots.fill(Slot::zeroed());
            self.session = 1;
        }
    }

    /// How far the order in a taken slot is from home.
    #[inline(always)]
    fn displaced(&self, at: usize) -> usize {
        at.wrapping_sub(self.home(self.slots[at].who & MAX_ORDER)) & self.mask
    }

    #[inline(always)]
    fn taken(&self, slot: &Slot) -> bool {
        // No order is of a session to come, and a mark alone is less than any session.
        slot.who >= self.session << SESSION_SHIFT
    }

    #[inline(always)]
    fn who(&self, instrument: Instrument, order: u64) -> u64 {
        self.session << SESSION_SHIFT | u64::from(instrument.0) << ORDER_BITS | order
    }

    #[inline(always)]
    fn home(&self, order: u64) -> usize {
        order as usize & self.mask
    }
}

impl Slot {
    #[inline(always)]
    fn holds(&self, who: u64) -> bool {
        self.who & !CROWDED == who
    }
}

/// Whether both have no more bits than a slot has for them.
#[inline(always)]
fn fits(instrument: Instrument, order: u64) -> bool {
    order | u64::from(instrument.0) << (ORDER_BITS - 16) <= MAX_ORDER
}

/// Slots for `orders` live ones: at most a third are taken. Every operation misses the cache once however large the table
/// is, but at two thirds every other probe goes astray, and each costs a branch that no predictor guesses.
fn slots(orders: u32) -> usize {
    match orders as usize {
        0 => 0,
        n => (3 * n).next_power_of_two().max(8),
    }
}
