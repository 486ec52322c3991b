//! Fixed work on the hot path, for counting its instructions: `benches/instructions` runs it under callgrind.
//!
//! `hot_path PART` does the seeded work of one part and prints how many units of it there were. Only what runs inside
//! `measured` is to be counted. Without a part, and when run by `cargo bench`, it prints the parts' names.

#[path = "peers/driver.rs"]
mod driver;
#[path = "peers/stream.rs"]
mod stream;

use driver::{Driver, Nothing, Sizes};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use stream::{Stream, count};
use tickpath::arena::{self, Arena};
use tickpath::book::Books;
use tickpath::feed::{Feed, Window};
use tickpath::market::{Instrument, Order, OrderKind, Packet, Price, Side, Symbol};
use tickpath::session::{Encoder, EncoderConfig, Endpoint, Protocol, UdpTransport};
use tickpath::strategy::{InstrumentSpec, Orders, Quoter, QuoterParameters, Strategy};
use tickpath::synth::Config;
use tickpath::wire::udp;

/// A part's name, and its work, which says how many units it did.
type Part = (&'static str, fn() -> u64);

const PARTS: [Part; 7] = [
    ("decode", decode),
    ("decode_and_book", || decode_and_book(None, 32)),
    ("decode_and_book_full_packets", || decode_and_book(Some(40), 32)),
    ("decode_and_book_alone", || decode_and_book(Some(1), 1)),
    ("on_book", on_book),
    ("encode_and_finish", encode_and_finish),
    ("udp_checksum_1472_bytes", udp_checksum),
];

/// Messages that fill the books, not counted.
const WARM: u64 = 20_000;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match PARTS.iter().find(|(name, _)| *name == wanted) {
        Some((_, part)) => println!("{}", part()),
        None => PARTS.iter().for_each(|(name, _)| println!("{name}")),
    }
}

/// What callgrind counts.
#[inline(never)]
fn measured<R>(work: impl FnOnce() -> R) -> R {
    work()
}

fn config(messages_per_packet: Option<u16>) -> Config {
    Config { messages: 60_000, symbols: 1_000, live_orders: Some(12_000), messages_per_packet, ..Config::default() }
}

fn decode() -> u64 {
    let stream = Stream::new(&config(None));
    let sizes = Sizes::new(1_000);
    let mut region = arena::heap(sizes.bytes());
    let mut feed = Feed::new(sizes.feed(), &mut Arena::new(&mut region)).expect("the region was sized for it");
    let mut window = Window::new(512);
    let mut all = |payloads: &[&[u8]]| {
        for payload in payloads {
            black_box(feed.packet(payload, &Packet::default(), &mut window, |_, _| {}));
            let n = window.rest().len();
            window.take(n);
        }
    };
    all(&stream.between(0, WARM).collect::<Vec<_>>());
    let payloads: Vec<&[u8]> = stream.between(WARM, u64::MAX).collect();
    measured(|| all(&payloads));
    count(payloads.into_iter())
}

fn decode_and_book(messages_per_packet: Option<u16>, burst: usize) -> u64 {
    let stream = Stream::new(&config(messages_per_packet));
    let sizes = Sizes::new(1_000);
    let mut region = arena::heap(sizes.bytes());
    let mut driver = Driver::new(&sizes, &mut Arena::new(&mut region), Nothing).expect("the region was sized for it");
    let mut all = |payloads: &[&[u8]]| payloads.chunks(burst).for_each(|b| driver.burst(b.iter().copied()));
    all(&stream.between(0, WARM).collect::<Vec<_>>());
    let payloads: Vec<&[u8]> = stream.between(WARM, u64::MAX).collect();
    measured(|| all(&payloads));
    assert_eq!(driver.books().counters().unknown_order, 0);
    count(payloads.into_iter())
}

fn on_book() -> u64 {
    const INSTRUMENTS: u32 = 64;
    const LAPS: u64 = 500;
    let sizes = Sizes::new(INSTRUMENTS);
    let mut region = arena::heap(sizes.bytes());
    let mut books = Books::new(sizes.books(), &mut Arena::new(&mut region)).expect("the region was sized for it");
    let mut quoter = Quoter::new(QuoterParameters::default(), INSTRUMENTS as usize).expect("defaults are valid");
    let mut orders = Orders::new(1_024, INSTRUMENTS as usize);
    for i in 0..INSTRUMENTS {
        let instrument = Instrument(i);
        let spec = InstrumentSpec { symbol: Symbol(*b"X       "), lot: 100, tick: Price(100) };
        quoter.on_instrument(instrument, &spec);
        for level in 1..=8 {
            for (side, price) in [(Side::Buy, 10_000 - level * 100), (Side::Sell, 10_000 + level * 100)] {
                let qty = 100 * (1 + (i + level as u32) % 7);
                let order = u64::from(i) << 8 | (level as u64) << 1 | side as u64;
                let price = Price(price);
                books.apply(&tickpath::market::Element::Add { instrument, side, qty, order, price });
            }
        }
    }
    measured(|| {
        for _ in 0..LAPS {
            for i in 0..INSTRUMENTS {
                quoter.on_book(&books.book(Instrument(i)), &mut orders);
                black_box(orders.pending());
                orders.clear();
            }
        }
    });
    LAPS * u64::from(INSTRUMENTS)
}

fn encode_and_finish() -> u64 {
    const ORDERS: u64 = 20_000;
    let config = EncoderConfig { protocol: Protocol::Ouch50, instruments: 16 };
    let mut region = arena::heap(Encoder::bytes(&config));
    let mut encoder = Encoder::new(&config, &mut Arena::new(&mut region)).expect("the region was sized for it");
    let end = |last| Endpoint {
        mac: [2, 0, 0, 0, 0, last],
        address: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 40_000),
    };
    let mut transport = UdpTransport::new(end(1), end(2), &config.protocol);
    let mut frame = [0u8; 128];
    let mut orders = Orders::new(4, 16);
    // The mix of a quoter: mostly replaces.
    let kinds = [OrderKind::Replace, OrderKind::Replace, OrderKind::Replace, OrderKind::Enter, OrderKind::Cancel];
    let mut made = Vec::new();
    for (i, kind) in (1..=ORDERS).zip(kinds.iter().cycle()) {
        let instrument = Instrument((i % 16) as u32);
        let _ = orders.enter(instrument, Side::Buy, 100, Price(10_000 + i as i64));
        let order = orders.pending()[0];
        made.push(Order { kind: *kind, id: i + 1, replaced_id: i, ..order });
        orders.clear();
    }
    measured(|| {
        for order in &made {
            if let Some(len) = encoder.encode(black_box(order), &mut frame[42..]) {
                transport.finish(&mut frame[..42 + len], 42);
            }
            black_box(&frame);
        }
    });
    ORDERS
}

fn udp_checksum() -> u64 {
    const DATAGRAMS: u64 = 2_000;
    let mut bytes = vec![0x5a; 1_472];
    let (from, to) = (Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(233, 54, 12, 111));
    let repr = udp::Repr { src_port: 1, dst_port: 2 };
    repr.emit(bytes.len() - udp::HEADER, &mut bytes).expect("a datagram fits");
    udp::fill_checksum(&mut bytes, from, to);
    measured(|| {
        for _ in 0..DATAGRAMS {
            let datagram = udp::Datagram::parse(black_box(&bytes)).expect("it was just made");
            assert_eq!(datagram.checksum(from, to), udp::ChecksumState::Fits);
        }
    });
    DATAGRAMS
}
