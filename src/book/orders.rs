//! The table of live orders: reference → side, price, shares, instrument. Open addressing, linear probing, removal by
//! shifting back, so that no tombstones pile up over a day of adds and deletes.

use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Side};
use bytemuck::{Pod, Zeroable};

/// Farthest an order may stand from its home slot.
const MAX_PROBE: usize = 128;

const KEY_BITS: u32 = 34;
const SIDE_BIT: u64 = 1 << KEY_BITS;
const SESSION_SHIFT: u32 = KEY_BITS + 1;
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

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    order: u64,
    standing: Standing,
}

/// What the table knows of an order.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Standing {
    /// Key, side, session.
    packed: u64,
    qty: u32,
    instrument: Instrument,
}

/// Why an order cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Its reference stands already.
    Duplicate,
    /// As many orders stand as the table is for.
    Full,
    /// All slots near its home are taken.
    ProbeTooLong,
}

impl Standing {
    #[inline]
    pub fn new(key: u64, side: Side, qty: u32, instrument: Instrument) -> Self {
        let side = if side == Side::Sell { SIDE_BIT } else { 0 };
        Standing { packed: key | side, qty, instrument }
    }

    #[inline]
    pub fn key(&self) -> u64 {
        self.packed & (SIDE_BIT - 1)
    }

    #[inline]
    pub fn side(&self) -> Side {
        if self.packed & SIDE_BIT == 0 { Side::Buy } else { Side::Sell }
    }

    #[inline]
    pub fn qty(&self) -> u32 {
        self.qty
    }

    #[inline]
    pub fn instrument(&self) -> Instrument {
        self.instrument
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
    #[inline]
    pub fn prefetch(&self, order: u64) {
        let slot = self.slots.as_ptr().wrapping_add(self.home(order));
        cpu::prefetch(slot);
        // Two slots in eight lie across two lines.
        cpu::prefetch(slot.cast::<u64>().wrapping_add(2));
    }

    /// The slot of `order` and what it holds.
    #[inline]
    pub fn find(&self, order: u64) -> Option<(usize, Standing)> {
        let mut at = self.home(order);
        for _ in 0..=MAX_PROBE {
            let slot = self.slots.get(at)?;
            if !self.taken(slot) {
                return None;
            }
            if slot.order == order {
                return Some((at, slot.standing));
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// An empty slot for `order`.
    #[inline]
    pub fn vacancy(&self, order: u64) -> Result<usize, NoRoom> {
        let mut at = self.home(order);
        for _ in 0..=MAX_PROBE {
            let Some(slot) = self.slots.get(at) else { return Err(NoRoom::Full) };
            if !self.taken(slot) {
                return if self.live < self.capacity { Ok(at) } else { Err(NoRoom::Full) };
            }
            if slot.order == order {
                return Err(NoRoom::Duplicate);
            }
            at = (at + 1) & self.mask;
        }
        Err(NoRoom::ProbeTooLong)
    }

    /// Put `order` into a slot that [`vacancy`](Self::vacancy) found.
    #[inline]
    pub fn fill(&mut self, at: usize, order: u64, mut standing: Standing) {
        standing.packed |= self.session << SESSION_SHIFT;
        self.slots[at] = Slot { order, standing };
        self.live += 1;
    }

    /// `qty` shares fewer, of more.
    #[inline]
    pub fn reduce(&mut self, at: usize, qty: u32) {
        self.slots[at].standing.qty -= qty;
    }

    /// Empty a slot and move back what was displaced by it.
    #[inline]
    pub fn remove(&mut self, at: usize) {
        let mut hole = at;
        let mut next = (at + 1) & self.mask;
        while self.taken(&self.slots[next]) {
            let displaced = next.wrapping_sub(self.home(self.slots[next].order)) & self.mask;
            if displaced >= next.wrapping_sub(hole) & self.mask {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & self.mask;
        }
        self.slots[hole] = Slot::zeroed();
        self.live -= 1;
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

    #[inline]
    fn taken(&self, slot: &Slot) -> bool {
        slot.standing.packed >> SESSION_SHIFT == self.session
    }

    #[inline]
    fn home(&self, order: u64) -> usize {
        order as usize & self.mask
    }
}

/// Slots for `orders` live ones: at most a third are taken. Every operation misses the cache once however large the table
/// is, but at two thirds every other probe goes astray, and each costs a branch that no predictor guesses.
fn slots(orders: u32) -> usize {
    match orders as usize {
        0 => 0,
        n => (3 * n).next_power_of_two().max(8),
    }
}
