//! Collects what a strategy asks for while it looks at one packet, stamped with the packet that caused it.

use crate::market::{Instrument, Order, OrderKind, OrderLimits, Packet, Price, Side, Symbol};

/// The orders of one packet, in the order they were asked for. Its capacity is fixed: what does not fit is refused at
/// once, with `None`, and counted.
#[derive(Debug)]
pub struct Orders {
    pending: Vec<Order>,
    /// Orders of this packet that have been handed on already.
    handed_on: usize,
    capacity: usize,
    symbols: Box<[Symbol]>,
    next_id: u64,
    refused: u64,
    limits: OrderLimits,
    unsayable: u64,
    cause: Packet,
    book_tsc: u64,
    waiting: u16,
}

impl Orders {
    /// A collector for at most `capacity` orders a packet on instruments `0..instruments`. Allocates; nothing after
    /// this does. The first order has id 1.
    pub fn new(capacity: usize, instruments: usize) -> Orders {
        Orders {
            pending: Vec::with_capacity(capacity),
            handed_on: 0,
            capacity,
            symbols: vec![Symbol([b' '; 8]); instruments].into_boxed_slice(),
            next_id: 1,
            refused: 0,
            limits: OrderLimits { id: u64::MAX, qty: u32::MAX, price: Price(i64::MAX) },
            unsayable: 0,
            cause: Packet::default(),
            book_tsc: 0,
            waiting: 0,
        }
    }

    /// The same, which takes only what an order session can say: the first of an id, a quantity or a price beyond it is
    /// refused here, where the strategy is told, and not on the way out.
    #[must_use]
    pub fn within(mut self, limits: OrderLimits) -> Orders {
        self.limits = limits;
        self
    }

    /// The same, whose first order has this id.
    #[must_use]
    pub fn from(mut self, first: u64) -> Orders {
        self.next_id = first;
        self
    }

    /// Arrival of the packet being looked at, in ns: the only time a strategy may use.
    #[inline]
    pub fn arrival_ns(&self) -> u64 {
        self.cause.arrival_ns
    }

    /// Sequence number of the packet's first message.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.cause.sequence
    }

    /// Orders one packet may cause.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many more orders this packet may cause.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.handed_on - self.pending.len()
    }

    /// A new order for `qty` shares; its id, or `None` when there is no room for it, or the order session cannot say it.
    #[inline]
    #[must_use = "an order without room does not stand"]
    pub fn enter(&mut self, instrument: Instrument, side: Side, qty: u32, price: Price) -> Option<u64> {
        let id = self.next_id;
        self.push(OrderKind::Enter, id, 0, instrument, side, qty, price)?;
        self.next_id += 1;
        Some(id)
    }

    /// Replace the standing order `id` of `side`; the id of the order in its place, or `None` when there is no room for it,
    /// or the order session cannot say it.
    #[inline]
    #[must_use = "without room the old order stands"]
    pub fn replace(&mut self, instrument: Instrument, side: Side, id: u64, qty: u32, price: Price) -> Option<u64> {
        let new_id = self.next_id;
        self.push(OrderKind::Replace, new_id, id, instrument, side, qty, price)?;
        self.next_id += 1;
        Some(new_id)
    }

    /// Cancel all of the standing order `id` of `side`; `None` when there is no room.
    #[inline]
    #[must_use = "without room the order stands"]
    pub fn cancel(&mut self, instrument: Instrument, side: Side, id: u64) -> Option<()> {
        self.push(OrderKind::Cancel, id, 0, instrument, side, 0, Price(0))
    }

    /// For the stage: `instrument` goes by this symbol.
    pub fn define(&mut self, instrument: Instrument, symbol: Symbol) {
        if let Some(slot) = self.symbols.get_mut(instrument.0 as usize) {
            *slot = symbol;
        }
    }

    /// For the stage: orders from now on are caused by `packet`, with all of the capacity.
    #[inline(always)]
    pub fn begin(&mut self, packet: &Packet) {
        self.cause = *packet;
        self.book_tsc = 0;
        self.clear();
    }

    /// For the stage: the packet's last event was in the book at `tsc`; 0 for orders that no book causes.
    #[inline(always)]
    pub fn booked(&mut self, tsc: u64) {
        self.book_tsc = tsc;
    }

    /// For the stage: so many elements waited in the ring from parse when these were taken.
    pub fn waited(&mut self, elements: u16) {
        self.waiting = elements;
    }

    /// For the stage: what [`Orders::waited`] said last.
    pub fn waiting(&self) -> u16 {
        self.waiting
    }

    /// For the stage: the packet being looked at.
    #[inline(always)]
    pub fn cause(&self) -> &Packet {
        &self.cause
    }

    /// For the stage: what [`Orders::booked`] said of it; 0 until then.
    #[inline(always)]
    pub fn book_tsc(&self) -> u64 {
        self.book_tsc
    }

    /// For the stage: what was asked for and not yet [cleared](Self::clear).
    #[inline]
    pub fn pending(&mut self) -> &mut [Order] {
        &mut self.pending
    }

    /// For the stage: everything pending was handed on. It still counts among the packet's.
    #[inline]
    pub fn hand_on(&mut self) {
        self.handed_on += self.pending.len();
        self.pending.clear();
    }

    /// For the stage: nothing is pending, and there is all of the capacity.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.handed_on = 0;
        self.pending.clear();
    }

    /// For the stage: refuse whatever `during` asks for.
    pub fn closed(&mut self, during: impl FnOnce(&mut Orders)) {
        debug_assert!(self.pending.is_empty());
        let handed_on = std::mem::replace(&mut self.handed_on, self.capacity);
        during(self);
        self.handed_on = handed_on;
    }

    /// Orders refused because the order session cannot say them.
    pub fn unsayable(&self) -> u64 {
        self.unsayable
    }

    /// Orders refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // the fields of an order, in its own order
    fn push(
        &mut self,
        kind: OrderKind,
        id: u64,
        replaced_id: u64,
        instrument: Instrument,
        side: Side,
        qty: u32,
        price: Price,
    ) -> Option<()> {
        let OrderLimits { id: last, qty: most, price: highest } = self.limits;
        let limits = (1..=most).contains(&qty) && (1..=highest.0).contains(&price.0);
        if id > last || !(limits || kind == OrderKind::Cancel) {
            self.unsayable += 1;
            return None;
        }
        let symbol = self.symbols.get(instrument.0 as usize);
        let (Some(&symbol), true) = (symbol, self.room() > 0) else {
            self.refused += 1;
            return None;
        };
        self.pending.push(Order {
            id,
            replaced_id,
            price,
            arrival_ns: self.cause.arrival_ns,
            rx_tsc: self.cause.rx_tsc,
            parsed_tsc: self.cause.parsed_tsc,
            book_tsc: self.book_tsc,
            decided_tsc: 0,
            encoded_tsc: 0,
            sequence: self.cause.sequence,
            stamp: self.cause.stamp,
            symbol,
            instrument,
            qty,
            burst_size: self.cause.burst_size,
            burst_position: self.cause.burst_position,
            waiting: [self.cause.waiting, self.waiting, 0, 0],
            line: self.cause.line,
            channel: self.cause.channel as u8,
            kind,
            side,
            stamp_domain: self.cause.stamp_domain,
        });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_session_cannot_say_is_refused_where_the_strategy_is_told() {
        let limits = OrderLimits { id: 3, qty: 1_000, price: Price(50_000) };
        let mut orders = Orders::new(9, 1).within(limits);
        let mut enter = |qty, price| orders.enter(Instrument(0), Side::Buy, qty, Price(price));
        for (qty, price) in [(0, 100), (1_001, 100), (1, 0), (1, -1), (1, 50_001)] {
            assert_eq!(enter(qty, price), None);
        }
        assert_eq!((enter(1_000, 50_000), enter(1, 1), enter(1, 1), enter(1, 1)), (Some(1), Some(2), Some(3), None));
        assert_eq!(orders.replace(Instrument(0), Side::Buy, 2, 1, Price(1)), None);
        assert_eq!(orders.cancel(Instrument(0), Side::Buy, 2), Some(()));
        assert_eq!((orders.unsayable(), orders.refused(), orders.pending().len()), (7, 0, 4));
    }

    #[test]
    fn orders_carry_their_cause_and_rising_ids() {
        let mut orders = Orders::new(4, 2);
        orders.define(Instrument(1), Symbol(*b"AAPL    "));
        let packet =
            Packet { arrival_ns: 7, rx_tsc: 1, parsed_tsc: 2, sequence: 99, burst_size: 8, ..Packet::default() };
        orders.begin(&packet);
        orders.booked(3);
        let a = orders.enter(Instrument(1), Side::Sell, 100, Price(10_000)).unwrap();
        let b = orders.replace(Instrument(1), Side::Sell, a, 200, Price(10_100)).unwrap();
        orders.cancel(Instrument(1), Side::Sell, b).unwrap();
        assert_eq!((a, b), (1, 2));
        let pending = orders.pending();
        assert_eq!(pending[0].symbol, Symbol(*b"AAPL    "));
        assert_eq!((pending[0].arrival_ns, pending[0].book_tsc, pending[0].sequence), (7, 3, 99));
        assert_eq!((pending[1].kind, pending[1].id, pending[1].replaced_id), (OrderKind::Replace, 2, 1));
        assert_eq!((pending[2].kind, pending[2].id, pending[2].qty), (OrderKind::Cancel, 2, 0));
    }

    #[test]
    fn a_full_collector_refuses_counts_and_burns_no_id() {
        let mut orders = Orders::new(1, 1);
        assert_eq!(orders.enter(Instrument(0), Side::Buy, 1, Price(1)), Some(1));
        assert_eq!(orders.enter(Instrument(0), Side::Buy, 1, Price(1)), None);
        assert_eq!((orders.room(), orders.refused()), (0, 1));
        orders.clear();
        assert_eq!(orders.enter(Instrument(0), Side::Buy, 1, Price(1)), Some(2));
    }

    #[test]
    fn the_capacity_is_that_of_a_packet_however_often_its_orders_are_handed_on() {
        let mut orders = Orders::new(2, 1);
        let enter = |orders: &mut Orders| orders.enter(Instrument(0), Side::Buy, 1, Price(1));
        assert_eq!(enter(&mut orders), Some(1));
        orders.hand_on();
        assert!(orders.pending().is_empty());
        orders.closed(|orders| assert_eq!(enter(orders), None));
        assert_eq!(enter(&mut orders), Some(2));
        assert_eq!((enter(&mut orders), orders.room()), (None, 0));
        orders.clear();
        assert_eq!((enter(&mut orders), orders.refused()), (Some(3), 2));
    }

    #[test]
    fn an_instrument_out_of_range_is_refused() {
        let mut orders = Orders::new(4, 1);
        assert_eq!(orders.enter(Instrument(1), Side::Buy, 1, Price(1)), None);
    }
}
