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
    /// The order that is to take its place; 0 for none.
    pub replaced_by: u64,
    /// Number of the message that asked for it, and of the last that asked for its cancel; 0 where the protocol has none
    /// in its messages.
    pub sent: u32,
    /// See `sent`.
    pub left: u32,
}

/// A table by order id: open addressing with linear probing.
#[derive(Debug)]
pub struct Live {
    slots: Box<[Slot]>,
    held: usize,
    most: usize,
    /// Where the next sweep goes on.
    cursor: usize,
    /// Orders whose cancel was refused, since that was forgotten last.
    refused: Vec<u64>,
    /// The last replacements that had nothing left to replace: an answer to one is no stranger.
    orphans: [u64; ORPHANS],
    orphaned: usize,
}

/// Orphans that are remembered.
const ORPHANS: usize = 256;
/// Refused cancels that are remembered; of more, the orders stay as they are until the connection is made anew.
const REFUSED: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 0: nobody.
    id: u64,
    order: LiveOrder,
}

const NOBODY: Slot = Slot {
    id: 0,
    order: LiveOrder {
        instrument: Instrument(0),
        side: Side::Buy,
        qty: 0,
        leaving: false,
        known: false,
        replaced_by: 0,
        sent: 0,
        left: 0,
    },
};

impl Live {
    /// A table for `orders` orders. Allocates; nothing after this does.
    pub fn new(orders: usize) -> Live {
        // Half empty at most, so that probes stay short.
        let slots = vec![NOBODY; (orders.max(1) * 2).next_power_of_two()].into_boxed_slice();
        Live {
            slots,
            held: 0,
            most: orders,
            cursor: 0,
            refused: Vec::with_capacity(REFUSED),
            orphans: [0; ORPHANS],
            orphaned: 0,
        }
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

    /// `id` is to take the place of `original`.
    pub fn replacing(&mut self, original: u64, id: u64) {
        if let Some(order) = self.order_mut(original) {
            order.replaced_by = id;
        }
    }

    /// Take shares off an order; with the last of them it is gone, and so is what was to take its place: an exchange
    /// may drop that request without a word (OUCH 5.0 does).
    pub fn reduce(&mut self, id: u64, qty: u32) {
        let Some(order) = self.order_mut(id) else { return };
        order.qty = order.qty.saturating_sub(qty);
        if order.qty == 0 {
            self.ended(id);
        }
    }

    /// It is gone, and what was to take its place with it, unless the exchange has said that it has that.
    pub fn ended(&mut self, id: u64) {
        let mut next = self.order(id).map_or(0, |order| order.replaced_by);
        self.remove(id);
        // A chain of replacements ends with one that nothing replaces; ids rise along it.
        while let Some(orphan) = self.order(next).filter(|order| !order.known) {
            self.remove(next);
            self.orphans[self.orphaned % ORPHANS] = next;
            self.orphaned += 1;
            next = orphan.replaced_by;
        }
    }

    /// Whether `id` was a replacement that had nothing left to replace.
    pub fn is_orphan(&self, id: u64) -> bool {
        id != 0 && self.orphans.contains(&id)
    }

    /// The cancel of `id` was refused: not to be asked for again at once.
    pub fn cancel_refused(&mut self, id: u64) {
        if self.refused.len() < REFUSED {
            self.refused.push(id);
        }
    }

    /// Cancels that were refused may be asked for again.
    pub fn forget_refused_cancels(&mut self) {
        while let Some(id) = self.refused.pop() {
            if let Some(order) = self.order_mut(id) {
                order.leaving = false;
            }
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

    /// The order that the message with this number was about, and whether that was its cancel. 0 is no message's.
    #[cold]
    pub fn numbered(&self, number: u32) -> Option<(u64, bool)> {
        let mut slots = self.slots.iter().filter(|slot| slot.id != 0 && number != 0);
        let slot = slots.find(|slot| [slot.order.sent, slot.order.left].contains(&number))?;
        Some((slot.id, slot.order.left == number))
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
        LiveOrder {
            instrument: Instrument(qty % 7),
            side: Side::Sell,
            qty,
            leaving: false,
            known: true,
            replaced_by: 0,
            sent: 0,
            left: 0,
        }
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
    fn a_replacement_goes_with_what_it_was_to_replace() {
        let mut live = Live::new(8);
        let pending = LiveOrder { known: false, ..order(5) };
        assert!(
            live.insert(1, order(5)) && live.insert(2, pending) && live.insert(3, pending) && live.insert(4, pending)
        );
        live.replacing(1, 2);
        live.replacing(2, 3);
        live.reduce(1, 5);
        assert_eq!((live.len(), live.order(4).is_some()), (1, true));
        assert!(live.is_orphan(2) && live.is_orphan(3) && !live.is_orphan(4) && !live.is_orphan(1));
    }

    #[test]
    fn a_refused_cancel_is_asked_for_again_when_it_is_forgotten() {
        let mut live = Live::new(8);
        assert!(live.insert(1, LiveOrder { leaving: true, ..order(5) }));
        live.cancel_refused(1);
        assert_eq!(live.next_to_cancel(), None);
        live.forget_refused_cancels();
        assert_eq!(live.next_to_cancel(), Some(1));
    }

    #[test]
    fn an_order_is_found_by_the_number_of_its_message_and_none_by_0() {
        let mut live = Live::new(8);
        assert!(live.insert(1, LiveOrder { sent: 3, ..order(5) }));
        assert_eq!((live.numbered(3), live.numbered(0)), (Some((1, false)), None));
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
