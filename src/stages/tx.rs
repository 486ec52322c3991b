//! tx: frames onto the order port.
//!
//! In: frames from encode, fused or by ring, their first 42 bytes blank. Out: complete frames at the port's doorbell.
//! Owns the port's transmit side and everything below the protocol message: Ethernet, IPv4 and UDP headers patched
//! from a template (the TCP session takes this place later). Copies the order's record out before the call, because
//! accepted frames are the driver's. A frame that the port refuses stays here and is tried again; none is dropped.

use super::encode::HEADERS;
use super::{Ledger, Shared};
use crate::cpu::rdtsc;
use crate::dpdk::ring::{Consumer, Producer};
use crate::dpdk::{Burst, Frame};
use crate::latency::hops::HopTable;
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
    /// Take the doorbell stamp and keep the hop table.
    pub stamps: bool,
}

/// The stage.
pub struct Tx {
    parts: TxParts,
    frames: Burst,
    records: ArrayVec<Order, 64>,
    stamps_ns: ArrayVec<u64, 64>,
    hops: HopTable,
    incoming: u64,
    sent: u64,
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
            hops: HopTable::default(),
            incoming: 0,
            sent: 0,
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
            let Some(frame) = self.parts.input.as_mut().and_then(Consumer::pop) else { break };
            self.queue(frame);
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
        let doorbell_tsc = if parts.stamps { rdtsc() } else { 0 };
        self.stamps_ns.drain(..n);
        for record in self.records.drain(..n) {
            self.kinds[record.kind as usize] += 1;
            if parts.stamps {
                self.hops.record(&record, doorbell_tsc);
            }
        }
        self.refusals += self.frames.len() as u64;
        self.sent += n as u64;
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
        Ledger::new("tx", "frames", self.incoming)
            .out(self.sent)
            .dropped("no order record", self.foreign)
            .held(self.frames.len() as u64)
    }

    /// Times a frame was offered to the port and refused for the moment.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Messages sent of one kind.
    pub fn sent(&self, kind: OrderKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// Time of each hop of each order sent.
    pub fn hops(&self) -> &HopTable {
        &self.hops
    }

    /// The port, to finish it.
    pub fn into_port(self) -> OrderPort {
        self.parts.port
    }
}
