//! An exchange for property tests, as contrary as one may lawfully be. It takes requests in the order they were sent and
//! answers each as it is told to; fills and cancels what stands when it likes; and says everything again.

use crate::market::{Instrument, Order, OrderEvent, OrderEventKind, OrderKind, Price, Side};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    pub live: BTreeMap<u64, Live>,
    pub position: BTreeMap<u32, i64>,
    inbox: VecDeque<Order>,
    outbox: VecDeque<OrderEvent>,
    said: Vec<OrderEvent>,
    now: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub instrument: Instrument,
    pub side: Side,
    pub price: Price,
    pub leaves: u32,
}

/// What it does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Takes the next request.
    Take(Answer),
    /// Executes shares of an order.
    Fill(u8, u32),
    /// Cancels shares of an order without being asked.
    Trim(u8, u32),
    /// Its next word reaches us.
    Deliver,
    /// Something it has said reaches us again.
    Repeat(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Willing,
    /// Accepts, with fewer shares or only to cancel at once; cancels later.
    Half,
    /// Refuses.
    Refuse,
    /// Takes the standing order out for an invalid replacement (OUCH 5.0).
    Drop,
}

pub(crate) fn acts() -> impl Strategy<Value = Act> {
    let answer = prop_oneof![4 => Just(Answer::Willing), 1 => Just(Answer::Half), 1 => Just(Answer::Refuse), 1 => Just(Answer::Drop)];
    prop_oneof![
        4 => answer.prop_map(Act::Take),
        3 => (any::<u8>(), 1u32..300).prop_map(|(pick, qty)| Act::Fill(pick, qty)),
        1 => (any::<u8>(), 1u32..300).prop_map(|(pick, qty)| Act::Trim(pick, qty)),
        6 => Just(Act::Deliver),
        1 => any::<u8>().prop_map(Act::Repeat),
    ]
}

impl Exchange {
    pub fn send(&mut self, order: Order) {
        self.inbox.push_back(order);
    }

    /// Act; what reaches us by it, and whether it was said before.
    pub fn act(&mut self, act: Act) -> Option<(OrderEvent, bool)> {
        match act {
            Act::Take(answer) => {
                if let Some(order) = self.inbox.pop_front() {
                    self.take(&order, answer);
                }
                None
            }
            Act::Fill(pick, qty) => {
                let (id, live) = self.pick(pick)?;
                let qty = qty.min(live.leaves);
                let signed = if live.side == Side::Buy { i64::from(qty) } else { -i64::from(qty) };
                *self.position.entry(live.instrument.0).or_default() += signed;
                self.off(id, qty);
                self.say(OrderEventKind::Filled, id, &live, qty);
                None
            }
            Act::Trim(pick, qty) => {
                let (id, live) = self.pick(pick)?;
                self.off(id, qty.min(live.leaves));
                self.say(OrderEventKind::Cancelled, id, &live, qty.min(live.leaves));
                None
            }
            Act::Deliver => {
                let event = self.outbox.pop_front()?;
                self.said.push(event);
                Some((event, false))
            }
            Act::Repeat(pick) => {
                let at = usize::from(pick) % self.said.len().max(1);
                Some((*self.said.get(at)?, true))
            }
        }
    }

    /// Take everything and say everything.
    pub fn settle(&mut self) -> Vec<OrderEvent> {
        while let Some(order) = self.inbox.pop_front() {
            self.take(&order, Answer::Willing);
        }
        let said: Vec<OrderEvent> = self.outbox.drain(..).collect();
        self.said.extend(&said);
        said
    }

    /// Shares of `side` that may still trade by what it holds and what is on its way to it.
    pub fn exposure(&self, instrument: Instrument, side: Side) -> u64 {
        let live = self.live.values().filter(|live| (live.instrument, live.side) == (instrument, side));
        let held: u64 = live.map(|live| u64::from(live.leaves)).sum();
        let mut can_stand: BTreeSet<u64> = self.live.keys().copied().collect();
        let mut coming = 0;
        for order in &self.inbox {
            let entered = match order.kind {
                OrderKind::Enter => true,
                OrderKind::Replace => can_stand.contains(&order.replaced_id),
                OrderKind::Cancel => false,
            };
            if entered {
                can_stand.insert(order.id);
                coming += if (order.instrument, order.side) == (instrument, side) { u64::from(order.qty) } else { 0 };
            }
        }
        held + coming
    }

    fn pick(&self, pick: u8) -> Option<(u64, Live)> {
        let at = usize::from(pick) % self.live.len().max(1);
        self.live.iter().nth(at).map(|(id, live)| (*id, *live))
    }

    fn off(&mut self, id: u64, qty: u32) {
        let live = self.live.get_mut(&id).unwrap();
        live.leaves -= qty;
        if live.leaves == 0 {
            self.live.remove(&id);
        }
    }

    fn take(&mut self, order: &Order, answer: Answer) {
        use OrderEventKind::*;
        let Order { id, replaced_id, instrument, side, price, qty, .. } = *order;
        let new = Live { instrument, side, price, leaves: qty };
        match (order.kind, answer) {
            (OrderKind::Enter, Answer::Refuse | Answer::Drop) => self.say(Rejected, id, &new, 0),
            (OrderKind::Enter, Answer::Willing) => {
                self.live.insert(id, new);
                self.say(Accepted, id, &new, qty);
            }
            (OrderKind::Enter, Answer::Half) => {
                self.say(Accepted, id, &new, qty);
                self.say(Cancelled, id, &new, qty);
            }
            (OrderKind::Replace, _) => match (self.live.get(&replaced_id).copied(), answer) {
                (None, Answer::Refuse) => self.say(Rejected, id, &new, 0),
                (None, _) => {}
                (Some(_), Answer::Refuse) => self.say(Rejected, id, &new, 0),
                (Some(old), Answer::Drop) => {
                    self.live.remove(&replaced_id);
                    self.say(Cancelled, replaced_id, &old, old.leaves);
                }
                (Some(_), _) => {
                    let stands = if matches!(answer, Answer::Half) { qty.div_ceil(2) } else { qty };
                    self.live.remove(&replaced_id);
                    self.live.insert(id, Live { leaves: stands, ..new });
                    self.say(Replaced, id, &new, stands);
                    self.outbox.back_mut().unwrap().replaced_id = replaced_id;
                }
            },
            (OrderKind::Cancel, _) => match (self.live.get(&id).copied(), answer) {
                (None, Answer::Refuse) => self.say(CancelRejected, id, &new, 0),
                (None, _) => {}
                (Some(old), Answer::Willing) => {
                    self.live.remove(&id);
                    self.say(Cancelled, id, &old, old.leaves);
                }
                (Some(old), Answer::Half) => self.say(CancelPending, id, &old, 0),
                (Some(old), _) => self.say(CancelRejected, id, &old, 0),
            },
        }
    }

    fn say(&mut self, kind: OrderEventKind, id: u64, about: &Live, qty: u32) {
        self.now += 1;
        let matched = kind == OrderEventKind::Filled;
        self.outbox.push_back(OrderEvent {
            id,
            replaced_id: 0,
            price: about.price,
            rx_tsc: 0,
            exchange_ns: self.now,
            match_id: if matched { self.now } else { 0 },
            instrument: about.instrument,
            qty,
            reason: 0,
            kind,
            side: about.side,
        });
    }
}

/// An order as a strategy would have it made.
pub(crate) fn order(kind: OrderKind, id: u64, replaced_id: u64, of: &Live) -> Order {
    Order {
        replaced_id,
        price: of.price,
        instrument: of.instrument,
        qty: of.leaves,
        side: of.side,
        ..Order::uncaused(kind, id)
    }
}
