//! encode: orders to protocol messages.
//!
//! In: orders from strategy, fused or by ring. Out: frames with room for tx's headers in front, followed by the finished protocol message; the order rides in the frame's private area. Writes a message into a copy of the
//! instrument's prebuilt one. Never drops: it takes no order while it has no frame or no room behind it.

use super::{Ledger, Links, Stamps, Tx};
use crate::dpdk::ring::{Consumer, Producer};
use crate::dpdk::{Frame, Mempool};
use crate::latency::board::{Account, Count, Entry};
use crate::market::Order;
use crate::session::Encoder;

/// Settings of one encode stage.
#[derive(Debug)]
pub struct EncodeParts<'m> {
    /// From strategy on another lcore; `None` when fused.
    pub input: Option<Consumer<Order>>,
    /// Towards tx on another lcore; `None` when fused.
    pub out: Option<Producer<Frame>>,
    /// Where frames come from.
    pub pool: Mempool,
    /// Bytes before the protocol message, for tx.
    pub headers: usize,
    /// The protocol and its table.
    pub encoder: Encoder<'m>,
    /// How `encoded_tsc` is taken.
    pub stamps: Stamps,
}

/// The stage.
#[derive(Debug)]
pub struct Encode<'m> {
    parts: EncodeParts<'m>,
    /// An order taken from the ring that found no frame or no room.
    held: Option<Order>,
    /// The one encoded last, for rehearsals.
    last: Option<Order>,
    orders: u64,
    encoded: u64,
    pool_empty: u64,
    unencodable: u64,
}

impl<'m> Encode<'m> {
    /// A stage over its parts.
    pub fn new(parts: EncodeParts<'m>) -> Self {
        Encode { parts, held: None, last: None, orders: 0, encoded: 0, pool_empty: 0, unencodable: 0 }
    }

    /// Alone: encode what the ring holds while there is room, at most one burst. Returns the orders encoded.
    pub fn poll(&mut self, mut tx: Option<&mut Tx>) -> usize {
        let mut n = 0;
        while n < 32 {
            let order = match self.held.take() {
                Some(order) => order,
                None => match self.pop() {
                    Some(order) => order,
                    None => break,
                },
            };
            if !self.encode(&order, tx.as_deref_mut()) {
                self.held = Some(order);
                break;
            }
            n += 1;
        }
        if n > 0
            && let Some(tx) = tx
        {
            tx.doorbell();
        }
        n
    }

    /// Encode one order and pass it on. False, and nothing done, when there is no frame or no room.
    #[inline]
    pub fn encode(&mut self, order: &Order, mut tx: Option<&mut Tx>) -> bool {
        let room = match (&self.parts.out, &mut tx) {
            (Some(ring), _) => ring.free() > 0,
            (None, Some(tx)) => tx.make_room(),
            (None, None) => false,
        };
        if !room {
            return false;
        }
        let Some(frame) = self.parts.pool.alloc() else {
            self.pool_empty += 1;
            return false;
        };
        self.orders += 1;
        let Some(frame) = self.write(frame, order) else {
            // An order that cannot be written is counted, not sent.
            self.unencodable += 1;
            return true;
        };
        match (&mut self.parts.out, tx) {
            (Some(ring), _) => {
                // There was room above, and this lcore is the ring's only producer.
                let _ = ring.push(frame);
            }
            (None, Some(tx)) => tx.queue(frame),
            (None, None) => return true,
        }
        self.encoded += 1;
        self.last = Some(*order);
        true
    }

    /// The frame of one order; `None` when the protocol cannot say it.
    // Not inlined, so that what a rehearsal brings into the caches is the code that writes an order.
    #[inline(never)]
    fn write(&mut self, mut frame: Frame, order: &Order) -> Option<Frame> {
        // A pool of ours has room for the longest message.
        let bytes = frame.append(self.parts.headers + self.parts.encoder.max_message())?;
        let len = self.parts.encoder.encode(order, &mut bytes[self.parts.headers..])?;
        // Shorter than what was appended, so it fits.
        let _ = frame.set_len(self.parts.headers + len);
        let encoded_tsc = self.parts.stamps.take();
        frame.set_private(Order { encoded_tsc, ..*order });
        Some(frame)
    }

    /// Write the last order once more, into a frame that goes nowhere.
    #[inline(never)]
    pub fn rehearse(&mut self, tx: Option<&mut Tx>) {
        let Some(order) = self.last else { return };
        let Some(frame) = self.parts.pool.alloc().and_then(|frame| self.write(frame, &order)) else { return };
        if let Some(tx) = tx {
            tx.rehearse(&order, frame);
        }
    }

    /// See [`super::Segment::swap_ends`].
    pub fn swap_ends(&mut self, links: &mut Links) {
        std::mem::swap(&mut self.parts.input, &mut links.strategy_encode.1);
        std::mem::swap(&mut self.parts.out, &mut links.encode_tx.0);
    }

    fn pop(&mut self) -> Option<Order> {
        let ring = self.parts.input.as_mut()?;
        let mut order = ring.pop()?;
        order.waiting[2] = u16::try_from(1 + ring.len()).unwrap_or(u16::MAX);
        Some(order)
    }

    /// Nothing held and nothing to be had.
    pub fn is_idle(&self) -> bool {
        self.held.is_none() && self.parts.input.as_ref().is_none_or(Consumer::is_empty)
    }

    /// Orders in = frames out + dropped + held.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// Times that no frame was to be had.
    pub fn pool_empty(&self) -> u64 {
        self.pool_empty
    }

    /// Messages written, by kind.
    pub fn encoder(&self) -> &Encoder<'m> {
        &self.parts.encoder
    }
}

impl Account for Encode<'_> {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "encode", unit: "orders", count }, n);
        let held = u64::from(self.held.is_some());
        each(Count::In, self.orders + held);
        each(Count::Out, self.encoded);
        each(Count::Dropped("not encodable"), self.unencodable);
        each(Count::Held, held);
        if let Some(ring) = &self.parts.out {
            each(Count::HighWater("encode_tx"), ring.high_water() as u64);
        }
    }
}
