//! The orders that may stand at the exchange, as tx knows them: enough to match a response to its order, and to cancel
//! everything without asking strategy.
//!
//! In: what was sent, what the exchange answered. Out: who an order is. Holds no prices and decides nothing; the state
//! of an order, its races and the position are strategy's. Bounded: a full table takes no further order.

use crate::market::{Instrument, Side};

/// An order that may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveOrder {
    /// Its instrument.
    pub instrument: Instrument,
    /// Its side.
    pub side: Side,
    /// Shares that may still be executed.
    pub qty: u32,
    /// A cancel of all of it has left, and nothing has come of it.
    pub leaving: bool,
    /// The exchange has said that it has it.
    pub known: bool,
}

/// A table by order id: open addressing with linear probing.
#[derive(Debug)]
pub struct Live {
    slots: Box<[Slot]>,
    held: usize,
    most: usize,
    /// Where the next sweep goes on.
    cursor: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 0: nobody.
    id: u64,
    order: LiveOrder,
}

const NOBODY: Slot = Slot {
    id: 0,
    order: LiveOrder { instrument: Instrument(0), side: Side::Buy, qty: 0, leaving: false, known: false },
};

impl Live {
    /// A table for `orders` orders. Allocates; nothing after this does.
    pub fn new(orders: usize) -> Live {
        // Half empty at most, so that probes stay short.
        let slots = vec![NOBODY; (orders.max(1) * 2).next_power_of_two()].into_boxed_slice();
        Live { slots, held: 0, most: orders, cursor: 0 }
    }

    /// Orders in it.
    pub fn len(&self) -> usize {
        self.held
    }

    /// None in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether another order finds room.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.held < self.most
    }

    /// Take an order in. False, and nothing done, when there is no room, or its id is 0 or here already.
    #[inline]
    pub fn insert(&mut self, id: u64, order: LiveOrder) -> bool {
        if id == 0 || !self.has_room() {
            return false;
        }
        let at = self.place(id);
        if self.slots[at].id == id {
            return false;
        }
        self.slots[at] = Slot { id, order };
        self.held += 1;
        true
    }

    /// Who `id` is.
    #[inline]
    pub fn order(&self, id: u64) -> Option<LiveOrder> {
        let slot = &self.slots[self.place(id)];
        (id != 0 && slot.id == id).then_some(slot.order)
    }

    /// The same, to be changed.
    #[inline]
    pub fn order_mut(&mut self, id: u64) -> Option<&mut LiveOrder> {
        let at = self.place(id);
        (id != 0 && self.slots[at].id == id).then_some(&mut self.slots[at].order)
    }

    /// Take shares off an order; with the last of them it is gone.
    pub fn reduce(&mut self, id: u64, qty: u32) {
        let Some(order) = self.order_mut(id) else { return };
        order.qty = order.qty.saturating_sub(qty);
        if order.qty == 0 {
            self.remove(id);
        }
    }

    /// It is gone.
    pub fn remove(&mut self, id: u64) {
        let mut hole = self.place(id);
        if id == 0 || self.slots[hole].id != id {
            return;
        }
        self.held -= 1;
        // Move back whoever was pushed past the hole.
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.id == 0 {
                break;
            }
            let home = self.home(slot.id);
            // It may move into the hole unless its home lies between the hole and it.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = NOBODY;
    }

    /// The next order that has not been asked to leave, going round; `None` when there is none.
    pub fn next_to_cancel(&mut self) -> Option<u64> {
        if self.held == 0 {
            return None;
        }
        for _ in 0..self.slots.len() {
            self.cursor = (self.cursor + 1) & (self.slots.len() - 1);
            let slot = &self.slots[self.cursor];
            if slot.id != 0 && !slot.order.leaving {
                return Some(slot.id);
            }
        }
        None
    }

    /// The greatest id in it; 0 when it is empty.
    pub fn last(&self) -> u64 {
        self.slots.iter().map(|slot| slot.id).max().unwrap_or(0)
    }

    /// The next order from slot `from` on that a lost connection left in doubt, of those up to id `last`: the exchange may
    /// not have it, or not its cancel. And the slot it is in.
    pub fn next_in_doubt(&self, from: usize, last: u64) -> Option<(usize, u64, LiveOrder)> {
        let slots = self.slots.iter().enumerate().skip(from);
        let doubtful = |slot: &Slot| slot.id != 0 && slot.id <= last && (!slot.order.known || slot.order.leaving);
        slots.map(|(at, slot)| (at, *slot)).find(|(_, slot)| doubtful(slot)).map(|(at, slot)| (at, slot.id, slot.order))
    }

    /// Where `id` is, or would be.
    #[inline]
    fn place(&self, id: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(id);
        // Half of the slots are empty, so this ends.
        while self.slots[at].id != id && self.slots[at].id != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn home(&self, id: u64) -> usize {
        // Ids rise by one, so their low bits spread them as well as anything.
        id as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn order(qty: u32) -> LiveOrder {
        LiveOrder { instrument: Instrument(qty % 7), side: Side::Sell, qty, leaving: false, known: true }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0u8..4, 1u64..40, 1u32..9), 0..300)) {
            let (mut live, mut map) = (Live::new(16), HashMap::new());
            for (what, id, qty) in steps {
                // Ids far apart that share a home, and neighbours.
                let id = if id > 20 { id * 32 } else { id };
                match what {
                    0 | 1 => {
                        let fits = map.len() < 16 && !map.contains_key(&id);
                        prop_assert_eq!(live.insert(id, order(qty)), fits);
                        if fits {
                            map.insert(id, qty);
                        }
                    }
                    2 => {
                        live.reduce(id, qty);
                        if let Some(left) = map.get_mut(&id) {
                            *left = left.saturating_sub(qty);
                            if *left == 0 {
                                map.remove(&id);
                            }
                        }
                    }
                    _ => {
                        live.remove(id);
                        map.remove(&id);
                    }
                }
                prop_assert_eq!(live.len(), map.len());
                for id in (1..=20).chain((21..40).map(|id| id * 32)) {
                    prop_assert_eq!(live.order(id).map(|order| order.qty), map.get(&id).copied());
                }
            }
        }
    }

    #[test]
    fn a_sweep_meets_every_order_once() {
        let mut live = Live::new(100);
        (1..=100).for_each(|id| assert!(live.insert(id, order(1))));
        assert!(!live.insert(101, order(1)));
        let mut met = Vec::new();
        while let Some(id) = live.next_to_cancel() {
            live.order_mut(id).unwrap().leaving = true;
            met.push(id);
        }
        met.sort_unstable();
        assert_eq!(met, (1..=100).collect::<Vec<_>>());
        assert_eq!(live.last(), 100);
        let (mut at, mut doubtful) = (0, 0);
        while let Some((slot, id, _)) = live.next_in_doubt(at, 60) {
            live.order_mut(id).unwrap().leaving = false;
            (at, doubtful) = (slot, doubtful + 1);
        }
        assert_eq!(doubtful, 60);
        assert!(live.next_to_cancel().is_some());
    }
}
