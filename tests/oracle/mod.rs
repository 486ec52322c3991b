//! An independent opinion: captures in; message counts, gaps and final books out. Reads bytes by the offsets of the
//! specifications (TotalView-ITCH 5.0, MoldUDP64 1.0, IEX-TP 1.25, DEEP 1.06) into `BTreeMap`s, as plainly as can be, and
//! shares no line with `tickpath::wire`, `tickpath::port` or `tickpath::book`.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

/// What a receiver of one line knows after some packets.
#[derive(Default)]
pub struct Oracle {
    /// Refuse frames with a wrong UDP checksum. (Those of the DEEP sample are wrong.)
    verify_udp: bool,
    /// Frames seen.
    pub frames: u64,
    /// Frames refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages taken, by type.
    pub messages: BTreeMap<u8, u64>,
    /// Messages seen before.
    pub duplicates: u64,
    /// Missing sequence numbers: first missing, first found.
    pub gaps: Vec<(u64, u64)>,
    /// Sessions begun, the first included.
    pub sessions: u64,
    pub heartbeats: u64,
    pub ends_of_session: u64,
    /// Books of every symbol that was named in the session, by symbol without padding.
    pub books: BTreeMap<String, Book>,
    session: Option<Vec<u8>>,
    expected: u64,
    /// Messages were lost in this session.
    lost: bool,
    symbols: HashMap<u16, String>,
    orders: HashMap<u64, Order>,
}

/// Sees each message once it is in the books, and the symbol whose book it may have changed.
pub type Visitor<'v> = dyn FnMut(&Oracle, &[u8], Option<&str>) + 'v;

/// One instrument's book. Asks rise, bids rise too: read bids backwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub bids: BTreeMap<i64, u64>,
    pub asks: BTreeMap<i64, u64>,
}

struct Order {
    symbol: String,
    side: u8,
    qty: u64,
    price: i64,
}

impl Oracle {
    /// A receiver that refuses frames with a wrong UDP checksum.
    pub fn verifying() -> Oracle {
        Oracle { verify_udp: true, ..Oracle::default() }
    }

    /// Everything of a capture file.
    pub fn of_capture(path: &Path, verify_udp: bool) -> Oracle {
        let mut oracle = Oracle { verify_udp, ..Oracle::default() };
        for frame in frames(path) {
            oracle.frame(&frame.bytes);
        }
        oracle
    }

    /// One frame.
    pub fn frame(&mut self, frame: &[u8]) {
        self.frames += 1;
        match udp_payload(frame, self.verify_udp) {
            Ok((_, 26_477, payload)) => self.mold(payload, &mut |_, _, _| {}),
            Ok((_, _, payload)) => self.iex(payload, &mut |_, _, _| {}),
            Err(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }

    /// A MoldUDP64 packet.
    pub fn mold(&mut self, payload: &[u8], after: &mut Visitor<'_>) {
        if payload.len() < 20 {
            return;
        }
        let count = be(payload, 18, 2);
        let restart = self.session.as_deref() != Some(&payload[..10]);
        let messages = if count == 0xFFFF { 0 } else { count };
        self.heartbeats += u64::from(count == 0);
        self.ends_of_session += u64::from(count == 0xFFFF);
        self.arrive(&payload[..10], restart, be(payload, 10, 8), messages);
        self.blocks(&payload[20..], be(payload, 10, 8), messages, true, after);
    }

    /// An IEX-TP segment.
    pub fn iex(&mut self, payload: &[u8], after: &mut Visitor<'_>) {
        if payload.len() < 40 {
            return;
        }
        let (count, sequence) = (le(payload, 14, 2), le(payload, 24, 8));
        let other = self.session.as_deref() != Some(&payload[8..12]);
        // The test facility starts over with sequence 1 in the same session.
        let restart = other || (sequence == 1 && self.expected > 1);
        self.heartbeats += u64::from(count == 0);
        self.arrive(&payload[8..12], restart, sequence, count);
        self.blocks(&payload[40..], sequence, count, false, after);
    }

    /// A bare ITCH message, for streams without packets; the symbol whose book it may have changed.
    pub fn itch(&mut self, message: &[u8]) -> Option<String> {
        *self.messages.entry(message[0]).or_default() += 1;
        let locate = be(message, 1, 2) as u16;
        let stock_at = match message[0] {
            b'R' | b'H' | b'Y' | b'K' | b'J' | b'h' | b'N' | b'O' => Some(11),
            b'L' => Some(15),
            b'A' | b'F' | b'P' => Some(24),
            b'Q' => Some(19),
            b'I' => Some(28),
            _ => None,
        };
        if let Some(at) = stock_at {
            let symbol = text(&message[at..at + 8]);
            self.books.entry(symbol.clone()).or_default();
            self.symbols.insert(locate, symbol);
        }
        let order = be(message, 11, 8.min(message.len() - 11));
        match message[0] {
            b'A' | b'F' => {
                let symbol = text(&message[24..32]);
                self.add(order, symbol.clone(), message[19], be(message, 20, 4), be(message, 32, 4) as i64);
                Some(symbol)
            }
            b'E' | b'C' | b'X' => self.reduce(order, be(message, 19, 4)),
            b'D' => self.reduce(order, u64::MAX),
            b'U' => {
                let side = self.orders.get(&order).map(|o| o.side)?;
                let symbol = self.reduce(order, u64::MAX)?;
                self.add(be(message, 19, 8), symbol.clone(), side, be(message, 27, 4), be(message, 31, 4) as i64);
                Some(symbol)
            }
            _ => None,
        }
    }

    /// A bare DEEP message; the symbol whose book it may have changed.
    pub fn deep(&mut self, message: &[u8]) -> Option<String> {
        *self.messages.entry(message[0]).or_default() += 1;
        if message[0] == b'S' || message.len() < 18 {
            return None;
        }
        let symbol = text(&message[10..18]);
        let book = self.books.entry(symbol.clone()).or_default();
        if !matches!(message[0], b'8' | b'5') {
            return None;
        }
        let side = if message[0] == b'8' { &mut book.bids } else { &mut book.asks };
        match (le(message, 18, 4), le(message, 22, 8) as i64) {
            (0, price) => side.remove(&price),
            (qty, price) => side.insert(price, qty),
        };
        Some(symbol)
    }

    /// Whether messages were lost in this session.
    pub fn is_stale(&self) -> bool {
        self.lost
    }

    /// The symbol of a locate code, once a message has named it.
    pub fn symbol(&self, locate: u16) -> Option<&str> {
        self.symbols.get(&locate).map(String::as_str)
    }

    pub fn live_orders(&self) -> usize {
        self.orders.len()
    }

    /// What `--books` writes, with `depth` levels a side, by symbol.
    pub fn books_json(&self, venue: &str, depth: usize) -> BTreeMap<String, serde_json::Value> {
        let levels =
            |side: Vec<(i64, u64)>| side.into_iter().map(|(p, q)| serde_json::json!([p, q])).collect::<Vec<_>>();
        let line = |(symbol, book): (&String, &Book)| {
            let (bids, asks) = (levels(book.top_bids(depth)), levels(book.top_asks(depth)));
            let value =
                serde_json::json!({"venue": venue, "symbol": symbol, "bids": bids, "asks": asks, "stale": self.lost});
            (symbol.clone(), value)
        };
        self.books.iter().map(line).collect()
    }

    fn arrive(&mut self, session: &[u8], restart: bool, sequence: u64, count: u64) {
        if restart {
            self.sessions += 1;
            self.session = Some(session.to_vec());
            self.expected = sequence;
            self.lost = false;
            self.books.clear();
            self.symbols.clear();
            self.orders.clear();
        }
        if sequence > self.expected {
            self.gaps.push((self.expected, sequence));
            self.lost = true;
            self.expected = sequence;
        }
        let end = sequence + count;
        self.duplicates += end.min(self.expected).saturating_sub(sequence);
    }

    fn blocks(&mut self, mut blocks: &[u8], mut sequence: u64, count: u64, itch: bool, after: &mut Visitor<'_>) {
        for _ in 0..count {
            let len = if itch { be(blocks, 0, 2) } else { le(blocks, 0, 2) } as usize;
            let message = &blocks[2..2 + len];
            blocks = &blocks[2 + len..];
            if sequence >= self.expected {
                let touched = if itch { self.itch(message) } else { self.deep(message) };
                after(self, message, touched.as_deref());
            }
            sequence += 1;
        }
        self.expected = self.expected.max(sequence);
    }

    fn add(&mut self, reference: u64, symbol: String, side: u8, qty: u64, price: i64) {
        if qty == 0 || self.orders.contains_key(&reference) {
            return;
        }
        *self.books.entry(symbol.clone()).or_default().side(side).entry(price).or_default() += qty;
        self.orders.insert(reference, Order { symbol, side, qty, price });
    }

    fn reduce(&mut self, reference: u64, qty: u64) -> Option<String> {
        let order = self.orders.get_mut(&reference)?;
        let qty = qty.min(order.qty);
        order.qty -= qty;
        let symbol = order.symbol.clone();
        let side = self.books.get_mut(&symbol).expect("an order's symbol has a book").side(order.side);
        let level = side.get_mut(&order.price).expect("a standing order has a level");
        *level -= qty;
        if *level == 0 {
            side.remove(&order.price);
        }
        if order.qty == 0 {
            self.orders.remove(&reference);
        }
        Some(symbol)
    }
}

impl Book {
    /// Highest bids first.
    pub fn top_bids(&self, depth: usize) -> Vec<(i64, u64)> {
        self.bids.iter().rev().take(depth).map(|(&p, &q)| (p, q)).collect()
    }

    /// Lowest asks first.
    pub fn top_asks(&self, depth: usize) -> Vec<(i64, u64)> {
        self.asks.iter().take(depth).map(|(&p, &q)| (p, q)).collect()
    }

    /// The best bid is at or above the best ask.
    pub fn crosses(&self) -> bool {
        matches!((self.bids.last_key_value(), self.asks.first_key_value()), (Some((bid, _)), Some((ask, _))) if bid >= ask)
    }

    fn side(&mut self, side: u8) -> &mut BTreeMap<i64, u64> {
        if side == b'B' { &mut self.bids } else { &mut self.asks }
    }
}

/// A captured frame.
pub struct Frame {
    pub stamp_ns: u64,
    pub bytes: Vec<u8>,
    pub wire_len: usize,
}

/// The frames of a little-endian pcap file, plain or gzipped, µs or ns.
pub fn frames(path: &Path) -> Vec<Frame> {
    let mut bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let packed = std::mem::take(&mut bytes);
        flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("a whole gzip file");
    }
    let unit = match le(&bytes, 0, 4) {
        0xA1B2_C3D4 => 1000,
        0xA1B2_3C4D => 1,
        magic => panic!("{}: {magic:#x} is no little-endian pcap", path.display()),
    };
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while !rest.is_empty() {
        let len = le(rest, 8, 4) as usize;
        frames.push(Frame {
            stamp_ns: le(rest, 0, 4) * 1_000_000_000 + le(rest, 4, 4) * unit,
            bytes: rest[16..16 + len].to_vec(),
            wire_len: le(rest, 12, 4) as usize,
        });
        rest = &rest[16 + len..];
    }
    frames
}

/// Destination address and port and the payload of a frame that is whole and right, or why it is not.
pub fn udp_payload(frame: &[u8], verify_udp: bool) -> Result<([u8; 4], u16, &[u8]), &'static str> {
    let mut at = 12;
    while frame.len() > at + 2 && matches!(be(frame, at, 2), 0x8100 | 0x88A8) {
        at += 4;
    }
    if frame.len() < at + 2 + 20 {
        return Err("short");
    }
    if be(frame, at, 2) != 0x0800 {
        return Err("not IPv4");
    }
    let ip = &frame[at + 2..];
    let header = usize::from(ip[0] & 0xF) * 4;
    let total = be(ip, 2, 2) as usize;
    if ip.len() < total || total < header + 8 {
        return Err("short");
    }
    if ones_complement(&[&ip[..header]]) != 0xFFFF {
        return Err("IP checksum");
    }
    if ip[9] != 17 {
        return Err("not UDP");
    }
    let udp = &ip[header..total];
    let len = be(udp, 4, 2) as usize;
    if len < 8 || len > udp.len() {
        return Err("short");
    }
    let pseudo = [&[0, 17][..], &udp[4..6]].concat();
    if verify_udp && be(udp, 6, 2) != 0 && ones_complement(&[&ip[12..20], &pseudo, &udp[..len]]) != 0xFFFF {
        return Err("UDP checksum");
    }
    Ok(([ip[16], ip[17], ip[18], ip[19]], be(udp, 2, 2) as u16, &udp[8..len]))
}

fn ones_complement(parts: &[&[u8]]) -> u32 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
    }
    sum
}

pub fn be(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

pub fn le(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end().to_owned()
}
