//! ITCH 5.0 messages to fields, ours and the itchy crate's, over the same messages in memory.
//!
//! itchy reads length-prefixed messages from a stream, as in Nasdaq's files; ours reads the same bytes as MoldUDP64
//! packets hold them. `wire` is the fields the stage needs of each message; `feed` is what the parse stage runs:
//! sequence state, the instrument's index, and a 64-byte element a message.

use super::stream::Stream;
use super::table::{Rounds, Row, Target, note, row};
use super::{Context, Failure};
use std::hint::black_box;
use std::time::Instant;
use tickpath::arena::{self, Arena};
use tickpath::feed::{Arbitration, Feed, FeedConfig, Protocol, Window};
use tickpath::market::Packet;
use tickpath::synth::{Config, Mix};
use tickpath::wire::itch50::{self, Message};
use tickpath::wire::moldudp64;

/// Messages in a piece.
const PIECE: usize = 20_000;

/// Packets decoded before the window is drained, as the stage does.
const BURST: usize = 32;

/// Message types that itchy 0.3.4 does not know: a stream with one of them ends there for it.
const UNKNOWN_TO_ITCHY: [u8; 2] = [b'O', b'h'];

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let messages = if context.quick { 200_000 } else { 600_000 };
    let rounds = if context.quick { 5 } else { 11 };
    let day = Config { messages, symbols: 1_000, ..Config::default() };
    let all = Config { messages, symbols: 1_000, mix: Mix::all(), ..Config::default() };
    measure("a day's mix", &messages_of(&Stream::new(&day)), rounds);
    measure("every type, each 1 % or more", &messages_of(&Stream::new(&all)), rounds);
    if let Some(folder) = std::env::var_os("TICKPATH_CAPTURES") {
        let file = std::path::Path::new(&folder).join("nasdaq-itch50/nasdaq-first1000.itch50");
        let bytes = std::fs::read(&file).map_err(|e| Failure::Io(file.display().to_string(), e))?;
        let mut real = Vec::new();
        let mut rest = &bytes[..];
        while let Some((message, more)) = framed(rest) {
            real.push(message.to_vec());
            rest = more;
        }
        let laps = 200_000usize.div_ceil(real.len().max(1));
        let looped: Vec<Vec<u8>> = std::iter::repeat_n(real, laps).flatten().collect();
        measure("the first 1,000 of a Nasdaq day, looped", &looped, rounds);
    } else {
        note("the real file is left out: TICKPATH_CAPTURES is not set");
    }
    Ok(())
}

fn measure(name: &str, messages: &[Vec<u8>], rounds: usize) {
    let known: Vec<Vec<u8>> = messages.iter().filter(|m| !UNKNOWN_TO_ITCHY.contains(&m[0])).cloned().collect();
    let (files, packets) = (pieces(&known, file), pieces(&known, packed));
    let config = FeedConfig {
        protocol: Protocol::Itch50,
        channels: 1,
        sequence: true,
        symbols: None,
        limit: 10_000,
        arbitration: Arbitration::default(),
    };
    let mut region = arena::heap(Feed::bytes(&config));
    let mut feed = Feed::new(&config, &mut Arena::new(&mut region)).expect("the region was sized for it");
    let mut window = Window::new(512);
    let [mut theirs, mut wire, mut elements] = [const { None }; 3].map(|_: Option<()>| Rounds::default());
    for _ in 0..rounds {
        theirs.push(files.iter().map(|piece| time(|| itchy(piece))).collect());
        wire.push(packets.iter().map(|piece| time(|| fields(piece))).collect());
        elements.push(packets.iter().map(|piece| time(|| elements_of(piece, &mut feed, &mut window))).collect());
        feed.new_session();
    }
    let share = known.len() as f64 / messages.len() as f64 * 100.0;
    let peer = |rounds| Some(("itchy 0.3.4", rounds));
    let target = Some(Target::RatioAtMost(0.35));
    let what = format!("{name}: fields (wire)");
    row(&Row { what: &what, unit: "ns/msg", ours: wire, peer: peer(theirs.clone()), target });
    let what = format!("{name}: elements (feed)");
    row(&Row { what: &what, unit: "ns/msg", ours: elements, peer: peer(theirs), target });
    if share < 100.0 {
        note(&format!("without the types that itchy does not know: {share:.1} % of the messages are left"));
    }
}

/// ns a message.
fn time(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    let n = work();
    start.elapsed().as_nanos() as f64 / n.max(1) as f64
}

/// itchy over the messages of `payloads` that it knows, in pieces: what merely decoding costs the peer, on this machine
/// and in this minute.
pub struct Yardstick(Vec<Vec<u8>>);

impl Yardstick {
    pub const NAME: &str = "itchy, decoding alone";

    pub fn new<'p>(payloads: impl Iterator<Item = &'p [u8]>) -> Yardstick {
        let packets = payloads.filter_map(|p| moldudp64::Packet::parse(p).ok());
        let messages: Vec<Vec<u8>> = packets.flat_map(|p| p.messages().flatten().map(<[u8]>::to_vec)).collect();
        let known: Vec<Vec<u8>> = messages.into_iter().filter(|m| !UNKNOWN_TO_ITCHY.contains(&m[0])).collect();
        Yardstick(pieces(&known, file))
    }

    /// ns a message of each piece.
    pub fn round(&self) -> Vec<f64> {
        self.0.iter().map(|piece| time(|| itchy(piece))).collect()
    }
}

fn itchy(file: &[u8]) -> usize {
    let mut n = 0;
    for message in itchy::MessageStream::from_reader(file) {
        match message {
            Ok(message) => black_box(&message),
            Err(err) => panic!("itchy refuses message {n}: {err}"),
        };
        n += 1;
    }
    n
}

fn fields(packets: &[Vec<u8>]) -> usize {
    let mut n = 0;
    for payload in packets {
        let Ok(packet) = moldudp64::Packet::parse(payload) else { continue };
        for message in packet.messages().flatten() {
            if let Ok(message) = itch50::parse(message) {
                take(&message);
                n += 1;
            }
        }
    }
    n
}

/// The fields of each type that the stage uses.
#[inline]
fn take(message: &Message<'_>) {
    match message {
        Message::AddOrder(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.side(), m.shares(), m.stock(), m.price()));
        }
        Message::AddOrderMpid(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.side(), m.shares(), m.stock(), m.price()));
        }
        Message::OrderExecuted(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.shares()));
        }
        Message::OrderExecutedPrice(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.shares(), m.price()));
        }
        Message::OrderCancel(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.shares()));
        }
        Message::OrderDelete(m) => {
            black_box((m.locate(), m.timestamp(), m.order()));
        }
        Message::OrderReplace(m) => {
            black_box((m.locate(), m.timestamp(), m.order(), m.new_order(), m.shares(), m.price()));
        }
        Message::Trade(m) => {
            black_box((m.locate(), m.timestamp(), m.stock(), m.shares(), m.price()));
        }
        Message::CrossTrade(m) => {
            black_box((m.locate(), m.timestamp(), m.stock(), m.shares(), m.price()));
        }
        Message::TradingAction(m) => {
            black_box((m.locate(), m.timestamp(), m.stock(), m.state()));
        }
        Message::RegSho(m) => {
            black_box((m.locate(), m.timestamp(), m.stock(), m.action()));
        }
        Message::StockDirectory(m) => {
            black_box((m.locate(), m.timestamp(), m.stock(), m.round_lot()));
        }
        other => {
            black_box((other.kind(), other.locate(), other.timestamp()));
        }
    }
}

fn elements_of(packets: &[Vec<u8>], feed: &mut Feed<'_>, window: &mut Window) -> usize {
    let mut n = 0;
    for burst in packets.chunks(BURST) {
        for payload in burst {
            if !window.has_room() {
                drain(window);
            }
            black_box(feed.packet(payload, &Packet::default(), window, |_, _| {}));
            n += usize::from(moldudp64::Packet::parse(payload).map_or(0, |p| p.count()));
        }
        drain(window);
    }
    n
}

#[inline]
fn drain(window: &mut Window) {
    let n = black_box(window.rest()).len();
    window.take(n);
}

fn messages_of(stream: &Stream) -> Vec<Vec<u8>> {
    let packets = stream.all().map(|p| moldudp64::Packet::parse(p).expect("generated packets are whole"));
    packets.flat_map(|p| p.messages().flatten().map(<[u8]>::to_vec)).collect()
}

fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn pieces<T>(messages: &[Vec<u8>], lay: impl Fn(&[Vec<u8>], usize) -> T) -> Vec<T> {
    messages.chunks(PIECE).enumerate().map(|(i, piece)| lay(piece, i * PIECE)).collect()
}

/// Length-prefixed messages.
fn file(messages: &[Vec<u8>], _first: usize) -> Vec<u8> {
    messages.iter().flat_map(|m| (m.len() as u16).to_be_bytes().into_iter().chain(m.iter().copied())).collect()
}

/// MoldUDP64 packets of eight messages in sequence.
fn packed(messages: &[Vec<u8>], first: usize) -> Vec<Vec<u8>> {
    let chunks = messages.chunks(8).enumerate();
    chunks
        .map(|(i, chunk)| {
            let mut packet = b"0000000001".to_vec();
            packet.extend((1 + first as u64 + i as u64 * 8).to_be_bytes());
            packet.extend((chunk.len() as u16).to_be_bytes());
            packet.extend(file(chunk, 0));
            packet
        })
        .collect()
}
