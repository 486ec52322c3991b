//! The same market told as price levels: packets of ITCH over MoldUDP64 in, segments of DEEP 1.0 over IEX-TP out.
//!
//! An order event becomes the new size of its level, a replacement two levels of which only the second completes the event,
//! an execution a trade and then its level. What DEEP has no message for is left out. Written by hand from the IEX-TP and
//! DEEP specifications, not with `wire`, for the reason given in `message`.

use super::packer::{Datagram, Kind, PAYLOAD_MAX};
use std::collections::HashMap;

const HEADER: usize = 40;
/// Message protocol of DEEP 1.0.
const DEEP: u16 = 0x8004;
const CHANNEL: u32 = 1;
const FIRST_SESSION: u32 = 1_132_527_616;
const COMPLETE: u8 = 1;

/// Turns one protocol into the other; keeps the book that this needs.
pub(super) struct Translator {
    midnight_ns: u64,
    symbols: HashMap<u16, [u8; 8]>,
    orders: HashMap<u64, Standing>,
    levels: HashMap<Place, u32>,
    session: u64,
    sequence: u64,
    offset: u64,
    /// Segments made of the last packet; the buffers are used again.
    segments: Vec<Segment>,
    used: usize,
    kind: Kind,
    stamp_ns: u64,
    last_stamp_ns: u64,
    trade: u64,
}

/// One segment: its payload, and what the generator needs to know of it.
pub(super) struct Segment {
    pub payload: Vec<u8>,
    pub datagram: Datagram,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    locate: u16,
    side: u8,
    price: u32,
}

struct Standing {
    place: Place,
    qty: u32,
}

impl Translator {
    pub fn new(midnight_ns: u64) -> Translator {
        Translator {
            midnight_ns,
            symbols: HashMap::new(),
            orders: HashMap::new(),
            levels: HashMap::new(),
            session: 0,
            sequence: 1,
            offset: 0,
            segments: Vec::new(),
            used: 0,
            kind: Kind::Data,
            stamp_ns: 0,
            last_stamp_ns: 0,
            trade: 0,
        }
    }

    /// The segments that say what a packet says: none when DEEP has nothing to say of it.
    pub fn translate(&mut self, datagram: &Datagram, packet: &[u8]) -> &[Segment] {
        if datagram.session != self.session {
            let segments = std::mem::take(&mut self.segments);
            let session = datagram.session;
            *self = Translator { session, segments, last_stamp_ns: self.last_stamp_ns, ..Self::new(self.midnight_ns) };
        }
        self.used = 0;
        self.kind = datagram.kind;
        self.stamp_ns = datagram.stamp_ns;
        match datagram.kind {
            Kind::Heartbeat => self.begin(),
            Kind::EndOfSession => {}
            Kind::Data => {
                let mut at = 20;
                for _ in 0..datagram.messages {
                    let len = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
                    self.message(&packet[at + 2..at + 2 + len]);
                    at += 2 + len;
                }
            }
        }
        &self.segments[..self.used]
    }

    fn message(&mut self, itch: &[u8]) {
        let kind = itch[0];
        let locate = be(itch, 1, 2) as u16;
        let time = self.midnight_ns + be(itch, 5, 6);
        match kind {
            b'S' => {
                let event = if itch[11] == b'Q' { b'R' } else { itch[11] };
                self.say(b'S', event, time, &[]);
            }
            b'R' => {
                let mut symbol = [0; 8];
                symbol.copy_from_slice(&itch[11..19]);
                self.symbols.insert(locate, symbol);
                let mut body = [0; 21];
                body[..8].copy_from_slice(&symbol);
                body[8..12].copy_from_slice(&100u32.to_le_bytes());
                body[20] = 1;
                self.say(b'D', 0, time, &body);
            }
            b'H' => {
                let state = if itch[19] == b'T' { b'T' } else { b'H' };
                let body = [&itch[11..19], &itch[21..25]].concat();
                self.say(b'H', state, time, &body);
            }
            b'Y' => {
                let body = [&itch[11..19], b" "].concat();
                self.say(b'P', u8::from(itch[19] != b'0'), time, &body);
            }
            b'A' | b'F' => {
                let place = Place { locate, side: itch[19], price: be(itch, 32, 4) as u32 };
                self.add(be(itch, 11, 8), place, be(itch, 20, 4) as u32);
                self.level(place, COMPLETE, time);
            }
            b'E' | b'C' => {
                let qty = be(itch, 19, 4) as u32;
                if let Some(place) = self.reduce(be(itch, 11, 8), qty) {
                    self.trade(locate, qty, place.price, time);
                    self.level(place, COMPLETE, time);
                }
            }
            b'P' => self.trade(locate, be(itch, 20, 4) as u32, be(itch, 32, 4) as u32, time),
            b'X' | b'D' => {
                let qty = if kind == b'X' { be(itch, 19, 4) as u32 } else { u32::MAX };
                if let Some(place) = self.reduce(be(itch, 11, 8), qty) {
                    self.level(place, COMPLETE, time);
                }
            }
            b'U' => {
                let Some(old) = self.reduce(be(itch, 11, 8), u32::MAX) else { return };
                let new = Place { price: be(itch, 31, 4) as u32, ..old };
                self.add(be(itch, 19, 8), new, be(itch, 27, 4) as u32);
                if new != old {
                    self.level(old, 0, time);
                }
                self.level(new, COMPLETE, time);
            }
            _ => {}
        }
    }

    fn add(&mut self, reference: u64, place: Place, qty: u32) {
        self.orders.insert(reference, Standing { place, qty });
        *self.levels.entry(place).or_default() += qty;
    }

    fn reduce(&mut self, reference: u64, qty: u32) -> Option<Place> {
        let order = self.orders.get_mut(&reference)?;
        let qty = qty.min(order.qty);
        let place = order.place;
        order.qty -= qty;
        if order.qty == 0 {
            self.orders.remove(&reference);
        }
        if let Some(level) = self.levels.get_mut(&place) {
            *level -= qty;
            if *level == 0 {
                self.levels.remove(&place);
            }
        }
        Some(place)
    }

    /// The size that a level has now.
    fn level(&mut self, place: Place, flags: u8, time: u64) {
        let Some(symbol) = self.symbols.get(&place.locate) else { return };
        let mut body = [0; 20];
        body[..8].copy_from_slice(symbol);
        body[8..12].copy_from_slice(&self.levels.get(&place).copied().unwrap_or(0).to_le_bytes());
        body[12..].copy_from_slice(&u64::from(place.price).to_le_bytes());
        self.say(if place.side == b'B' { b'8' } else { b'5' }, flags, time, &body);
    }

    fn trade(&mut self, locate: u16, qty: u32, price: u32, time: u64) {
        let Some(symbol) = self.symbols.get(&locate) else { return };
        self.trade += 1;
        let mut body = [0; 28];
        body[..8].copy_from_slice(symbol);
        body[8..12].copy_from_slice(&qty.to_le_bytes());
        body[12..20].copy_from_slice(&u64::from(price).to_le_bytes());
        body[20..].copy_from_slice(&self.trade.to_le_bytes());
        self.say(b'T', 0, time, &body);
    }

    /// Appends a message (type, one byte, time, the rest) to the segment, or to a new one when it is full.
    fn say(&mut self, kind: u8, second: u8, time: u64, rest: &[u8]) {
        let len = 10 + rest.len();
        let full = |segment: &Segment| segment.payload.len() + 2 + len > PAYLOAD_MAX;
        if self.used == 0 || full(&self.segments[self.used - 1]) {
            self.begin();
        }
        let Segment { payload, datagram } = &mut self.segments[self.used - 1];
        payload.extend((len as u16).to_le_bytes());
        payload.extend([kind, second]);
        payload.extend(time.to_le_bytes());
        payload.extend(rest);
        datagram.messages += 1;
        let length = (payload.len() - HEADER) as u16;
        payload[12..14].copy_from_slice(&length.to_le_bytes());
        payload[14..16].copy_from_slice(&datagram.messages.to_le_bytes());
        self.sequence += 1;
        self.offset += 2 + len as u64;
    }

    fn begin(&mut self) {
        // A segment that was split off takes its time on the wire.
        self.last_stamp_ns = self.stamp_ns.max(self.last_stamp_ns + 100);
        let datagram = Datagram {
            stamp_ns: self.last_stamp_ns,
            session: self.session,
            sequence: self.sequence,
            messages: 0,
            position: 0, // DEEP counts no positions of its own
            kind: self.kind,
        };
        if self.used == self.segments.len() {
            self.segments.push(Segment { payload: Vec::with_capacity(PAYLOAD_MAX), datagram });
        }
        let segment = &mut self.segments[self.used];
        segment.datagram = datagram;
        segment.payload.clear();
        segment.payload.extend([1, 0]);
        segment.payload.extend(DEEP.to_le_bytes());
        segment.payload.extend(CHANNEL.to_le_bytes());
        segment.payload.extend((FIRST_SESSION + self.session as u32).to_le_bytes());
        segment.payload.extend([0; 4]);
        segment.payload.extend(self.offset.to_le_bytes());
        segment.payload.extend(self.sequence.to_le_bytes());
        segment.payload.extend(self.last_stamp_ns.to_le_bytes());
        self.used += 1;
    }
}

fn be(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
