//! tx: frames onto the order port.
//!
//! In: frames from encode, fused or by ring, their first 42 bytes blank. Out: complete frames at the port's doorbell.
//! Owns the port's transmit side and everything below the protocol message: Ethernet, IPv4 and UDP headers patched
//! from a template (the TCP session takes this place later). Copies the order out before the call, because accepted
//! frames are the driver's, and hands its record with every stamp to the recorder after it. A frame that the port refuses stays here and is tried again; none is dropped.

use super::encode::HEADERS;
use super::{Ledger, Shared, Stamps};
use crate::dpdk::ring::{Consumer, Producer};
use crate::dpdk::{Burst, Frame};
use crate::latency::board::{Account, Count, Entry};
use crate::latency::outlet::Outlet;
use crate::latency::record::{Kind, Record};
use crate::market::{Order, OrderEvent, OrderKind};
use crate::port::OrderPort;
use crate::session::UdpTransport;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Settings of one tx stage.
pub struct TxParts {
    /// From encode on another lcore; `None` when fused.
    pub input: Option<Consumer<Frame>>,
    /// Responses and local events for strategy on another lcore. Nothing produces them while orders go by plain UDP:
    /// the session does.
    pub events: Option<Producer<OrderEvent>>,
    /// Where frames go.
    pub port: OrderPort,
    /// Headers.
    pub transport: UdpTransport,
    /// Most frames a doorbell, 1 to 64.
    pub burst: usize,
    /// How the doorbell's stamp is taken.
    pub stamps: Stamps,
    /// To the recorder, as this venue.
    pub recorder: Option<(Outlet, u16)>,
}

/// The stage.
pub struct Tx {
    parts: TxParts,
    frames: Burst,
    records: ArrayVec<Order, 64>,
    stamps_ns: ArrayVec<u64, 64>,
    incoming: u64,
    sent: u64,
    bursts: u64,
    refusals: u64,
    foreign: u64,
    /// Sent messages by kind.
    pub kinds: [u64; 3],
    /// TSC of the last doorbell; 0 without stamps.
    pub last_tsc: u64,
    shared: Arc<Shared>,
}

impl Tx {
    /// A stage over its parts.
    pub fn new(parts: TxParts, shared: Arc<Shared>) -> Self {
        Tx {
            parts,
            frames: Burst::new(),
            records: ArrayVec::new(),
            stamps_ns: ArrayVec::new(),
            incoming: 0,
            sent: 0,
            bursts: 0,
            refusals: 0,
            foreign: 0,
            kinds: [0; 3],
            last_tsc: 0,
            shared,
        }
    }

    /// Alone: send what the ring holds, at most one burst; fused: try refused frames again. Returns the frames sent.
    pub fn poll(&mut self) -> usize {
        while self.frames.len() < self.parts.burst {
            let Some(ring) = self.parts.input.as_mut() else { break };
            let Some(frame) = ring.pop() else { break };
            let waiting = u16::try_from(1 + ring.len()).unwrap_or(u16::MAX);
            self.queue(frame);
            if let Some(order) = self.records.last_mut() {
                order.waiting[3] = waiting;
            }
        }
        self.doorbell()
    }

    /// Make room for another frame, by the doorbell if the burst is full. False when the port takes none.
    #[inline]
    pub fn make_room(&mut self) -> bool {
        self.frames.len() < self.parts.burst || self.doorbell() > 0
    }

    /// Finish a frame and queue it for the next doorbell. The caller has asked [`Tx::make_room`].
    #[inline]
    pub fn queue(&mut self, mut frame: Frame) {
        self.incoming += 1;
        let Some(record) = frame.private::<Order>() else {
            // encode writes it into every frame; a frame without it did not come from encode.
            self.foreign += 1;
            return;
        };
        if let Some(bytes) = frame.bytes_mut() {
            self.parts.transport.finish(bytes, HEADERS);
        }
        self.frames.push(frame);
        self.stamps_ns.push(record.arrival_ns);
        self.records.push(record);
    }

    /// Hand queued frames to the port. Returns how many it took.
    #[inline]
    pub fn doorbell(&mut self) -> usize {
        if self.frames.is_empty() {
            return 0;
        }
        let Tx { parts, frames, stamps_ns, .. } = self;
        let n = parts.port.burst(frames, stamps_ns);
        let doorbell_tsc = parts.stamps.take();
        self.stamps_ns.drain(..n);
        for order in self.records.drain(..n) {
            self.kinds[order.kind as usize] += 1;
            if let Some((outlet, venue)) = &mut parts.recorder {
                outlet.push(sent(&order, *venue, doorbell_tsc));
            }
        }
        self.refusals += self.frames.len() as u64;
        self.sent += n as u64;
        self.bursts += u64::from(n > 0);
        if n > 0 {
            self.last_tsc = doorbell_tsc;
            self.shared.count_orders(n as u64);
        }
        n
    }

    /// Nothing held and nothing to be had.
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.parts.input.as_ref().is_none_or(Consumer::is_empty)
    }

    /// Frames in = sent + held.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// Times a frame was offered to the port and refused for the moment.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Messages sent of one kind.
    pub fn sent(&self, kind: OrderKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// The port, to finish it.
    pub fn into_port(self) -> OrderPort {
        self.parts.port
    }
}

impl Account for Tx {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "tx", unit: "frames", count }, n);
        each(Count::In, self.incoming);
        each(Count::Out, self.sent);
        each(Count::Dropped("no order record"), self.foreign);
        each(Count::Held, self.frames.len() as u64);
        each(Count::Bursts, self.bursts);
    }
}

/// What the recorder is told of an order that left.
#[inline]
fn sent(order: &Order, venue: u16, doorbell_tsc: u64) -> Record {
    Record {
        kind: Kind::Sent as u8,
        stamp_domain: order.stamp_domain,
        venue,
        instrument: order.instrument.0,
        order_id: order.id,
        sequence: order.sequence,
        arrival_ns: order.arrival_ns,
        stamp: order.stamp,
        rx_tsc: order.rx_tsc,
        parsed_tsc: order.parsed_tsc,
        book_tsc: order.book_tsc,
        decided_tsc: order.decided_tsc,
        encoded_tsc: order.encoded_tsc,
        doorbell_tsc,
        symbol: order.symbol.0,
        price: order.price.0,
        qty: order.qty,
        burst_size: order.burst_size,
        burst_position: order.burst_position,
        occupancy: order.waiting,
        line: order.line,
        channel: order.channel,
        order_kind: order.kind as u8,
        side: order.side as u8,
        reserved: [0; 4],
    }
}
