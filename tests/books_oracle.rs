//! Feed and books, as parse and strategy run them, against the oracle after every message: synthetic ITCH, whole and
//! damaged, and the whole DEEP capture.

mod common;
mod oracle;

use oracle::Oracle;
use std::collections::HashMap;
use tickpath::arena::{self, Arena};
use tickpath::book::{Book, BookConfig, BookCounters, Books};
use tickpath::feed::{Arbitration, Feed, FeedConfig, Protocol, Window};
use tickpath::market::{Element, Instrument, Packet, Side};
use tickpath::synth::{self, Config, Damage, Generator, Mix};

/// Levels of each side compared after every message; all of them now and then.
const DEPTH: usize = 8;
const PACKETS_BETWEEN_FULL_COMPARISONS: u64 = 50_000;

#[test]
fn itch_books_equal_the_oracle_after_every_message_of_a_day() {
    let config = Config { seed: 11, messages: 700_000, symbols: 400, ..Config::default() };
    let books = BookConfig { instruments: 400, orders: 50_000, depth_levels: 8, spill_levels: 100_000 };
    let compared = compare_itch(&config, books);
    assert!(compared > 650_000, "{compared}");
}

#[test]
fn itch_books_equal_the_oracle_on_few_deep_books_amid_every_message_type() {
    let mix = Mix::all();
    let config =
        Config { seed: 12, messages: 500_000, symbols: 5, mix, live_orders: Some(40_000), ..Config::default() };
    let books = BookConfig { instruments: 5, orders: 60_000, depth_levels: 8, spill_levels: 60_000 };
    let compared = compare_itch(&config, books);
    assert!(compared > 350_000, "{compared}");
}

#[test]
fn itch_books_equal_the_oracle_through_damage_and_a_session_change() {
    let damage =
        Damage { gaps: 10, duplicates: 10, reorder: 10, truncate: 10, bad_ip_checksum: 5, bad_udp_checksum: 5 };
    let config = Config { seed: 13, messages: 200_000, damage, session_change: Some(0.7), ..Config::default() };
    let books = BookConfig { instruments: 100, orders: 40_000, depth_levels: 8, spill_levels: 60_000 };
    let mut memory = Memory::new(&books, Protocol::Itch50);
    let mut pair = Pair::new(&books, Protocol::Itch50, &mut memory);
    let mut generator = Generator::new(&config).unwrap();
    while let Some(packet) = generator.next_packet() {
        if let Ok((_, _, payload)) = oracle::udp_payload(packet.bytes, true) {
            pair.packet(payload);
        }
    }
    pair.compare_everything();
    let (gaps, missing) = generator.summary().first_line_gaps();
    let counters = pair.feed.counters();
    assert_eq!((counters.gaps, counters.lost_messages, counters.session_starts), (gaps, missing, 1));
    assert_eq!(counters.duplicate_messages, pair.oracle.duplicates);
    assert!(pair.oracle.is_stale());
}

#[test]
fn deep_books_equal_the_oracle_after_every_message_of_the_capture() {
    let Some(captures) = common::captures() else { return };
    let books = BookConfig { instruments: 20_000, orders: 0, depth_levels: 8, spill_levels: 10_000 };
    let mut memory = Memory::new(&books, Protocol::Deep10);
    let mut pair = Pair::new(&books, Protocol::Deep10, &mut memory);
    for frame in oracle::frames(&captures.join("iex-deep10/sample-first-60000.pcap.gz")) {
        let (_, _, segment) = oracle::udp_payload(&frame.bytes, false).unwrap();
        pair.packet(segment);
    }
    pair.compare_everything();
    // The known truth of the capture.
    let truth = [(b'H', 93_638), (b'O', 93_638), (b'P', 93_636), (b'T', 29_970), (b'5', 9_597), (b'8', 9_318)];
    let rest = [(b'E', 59), (b'S', 43), (b'B', 37)];
    assert_eq!(pair.oracle.messages, truth.into_iter().chain(rest).collect());
    assert_eq!((pair.compared, pair.oracle.sessions, pair.oracle.gaps.len()), (9_318 + 9_597, 12, 0));
    assert_eq!(pair.feed.counters().session_starts, 11);
    assert_eq!(pair.books.counters(), &BookCounters { session_starts: 11, ..BookCounters::default() });
}

#[test]
fn deep_books_equal_the_oracle_on_a_made_up_market() {
    let damage = Damage { gaps: 4, duplicates: 4, reorder: 4, truncate: 4, bad_ip_checksum: 4, bad_udp_checksum: 4 };
    let deep = Config { protocol: synth::Protocol::Deep10, seed: 14, messages: 150_000, ..Config::default() };
    for config in [deep.clone(), Config { damage, session_change: Some(0.7), ..deep }] {
        let books = BookConfig { instruments: 100, orders: 0, depth_levels: 8, spill_levels: 60_000 };
        let mut memory = Memory::new(&books, Protocol::Deep10);
        let mut pair = Pair::new(&books, Protocol::Deep10, &mut memory);
        let mut generator = Generator::new(&config).unwrap();
        while let Some(packet) = generator.next_packet() {
            if let Ok((_, _, segment)) = oracle::udp_payload(packet.bytes, true) {
                pair.packet(segment);
            }
        }
        pair.compare_everything();
        let summary = generator.summary();
        let (gaps, missing) = summary.first_line_gaps();
        let counters = pair.feed.counters();
        assert_eq!((counters.gaps, counters.lost_messages), (gaps, missing));
        assert_eq!(counters.session_starts + 1, summary.sessions);
        assert_eq!(pair.oracle.messages.values().sum::<u64>() + missing, summary.total_messages());
        assert!(pair.oracle.is_stale() || pair.oracle.books.values().all(|book| !book.crosses()));
        assert!(pair.compared > 100_000, "{}", pair.compared);
    }
}

/// An undamaged stream; returns the messages that touched a book.
fn compare_itch(config: &Config, books: BookConfig) -> u64 {
    let mut memory = Memory::new(&books, Protocol::Itch50);
    let mut pair = Pair::new(&books, Protocol::Itch50, &mut memory);
    let mut generator = Generator::new(config).unwrap();
    while let Some(packet) = generator.next_packet() {
        let (_, _, payload) = oracle::udp_payload(packet.bytes, true).unwrap();
        pair.packet(payload);
    }
    pair.compare_everything();
    assert_eq!(pair.oracle.messages.values().sum::<u64>(), config.messages);
    assert_eq!(pair.books.live_orders() as usize, pair.oracle.live_orders());
    assert_eq!(pair.books.counters(), &BookCounters::default());
    assert!(pair.oracle.books.values().all(|book| !book.crosses()));
    pair.compared
}

struct Memory {
    books: Vec<arena::Line>,
    feed: Vec<arena::Line>,
}

/// Ours and the oracle, in step.
struct Pair<'m> {
    protocol: Protocol,
    feed: Feed<'m>,
    books: Books<'m>,
    window: Window,
    oracle: Oracle,
    /// Instruments as the feed defined them.
    directory: HashMap<String, Instrument>,
    compared: u64,
    packets: u64,
}

impl Memory {
    fn new(books: &BookConfig, protocol: Protocol) -> Memory {
        Memory { books: arena::heap(books.bytes()), feed: arena::heap(Feed::bytes(&feed_config(books, protocol))) }
    }
}

fn feed_config(books: &BookConfig, protocol: Protocol) -> FeedConfig {
    FeedConfig {
        protocol,
        channels: 1,
        sequence: true,
        symbols: None,
        limit: books.instruments,
        arbitration: Arbitration::default(),
    }
}

impl<'m> Pair<'m> {
    fn new(books: &BookConfig, protocol: Protocol, memory: &'m mut Memory) -> Pair<'m> {
        Pair {
            protocol,
            feed: Feed::new(&feed_config(books, protocol), &mut Arena::new(&mut memory.feed)).unwrap(),
            books: Books::new(books, &mut Arena::new(&mut memory.books)).unwrap(),
            window: Window::new(0),
            oracle: if protocol == Protocol::Itch50 { Oracle::verifying() } else { Oracle::default() },
            directory: HashMap::new(),
            compared: 0,
            packets: 0,
        }
    }

    /// One packet into both. Each message that touches one of the oracle's books must be the next element that touches
    /// one of ours, and leave the same book.
    fn packet(&mut self, payload: &[u8]) {
        let Pair { protocol, feed, books, window, oracle, directory, compared, .. } = self;
        feed.packet(payload, &Packet::default(), window, |_, _| {});
        let mut elements = window.rest().iter();
        let mut advance = |books: &mut Books<'_>, directory: &mut HashMap<String, Instrument>| {
            elements.find_map(|element| {
                if let Element::Define { instrument, symbol } = element {
                    directory.insert(symbol.to_string(), *instrument);
                }
                books.apply(element)
            })
        };
        let mut after = |oracle: &Oracle, message: &[u8], touched: Option<&str>| {
            let Some(symbol) = touched else { return };
            let instrument = advance(books, directory);
            assert_eq!(instrument, directory.get(symbol).copied(), "{symbol}: {message:02x?}");
            let Some(instrument) = instrument else { panic!("nothing of {message:02x?} reached the books") };
            let book = books.book(instrument);
            assert_equal(&book, &oracle.books[symbol], DEPTH, symbol);
            assert_eq!(book.stale(), oracle.is_stale());
            if matches!(message[0], b'8' | b'5') {
                assert_eq!(book.complete(), message[1] & 1 != 0);
            }
            *compared += 1;
        };
        match protocol {
            Protocol::Itch50 => oracle.mold(payload, &mut after),
            Protocol::Deep10 => oracle.iex(payload, &mut after),
        }
        assert_eq!(advance(books, directory), None, "more of the packet reached our books than the oracle's");
        let drained = window.rest().len();
        window.take(drained);
        self.packets += 1;
        if self.packets.is_multiple_of(PACKETS_BETWEEN_FULL_COMPARISONS) {
            self.compare_everything();
        }
    }

    /// All symbols at full depth, and the counts.
    fn compare_everything(&self) {
        for (symbol, truth) in &self.oracle.books {
            let book = self.directory.get(symbol).map(|&instrument| self.books.book(instrument));
            match book {
                Some(book) => assert_equal(&book, truth, usize::MAX, symbol),
                None => assert_eq!(truth, &oracle::Book::default(), "{symbol} was never defined"),
            }
        }
        let counts: HashMap<String, u64> =
            self.oracle.messages.iter().map(|(&kind, &count)| ((kind as char).to_string(), count)).collect();
        assert_eq!(self.feed.messages().into_iter().collect::<HashMap<_, _>>(), counts);
    }
}

#[track_caller]
fn assert_equal(ours: &Book<'_>, truth: &oracle::Book, depth: usize, symbol: &str) {
    let ours = |side| ours.side(side).take(depth).map(|level| (level.price.0, level.qty));
    let same = ours(Side::Buy).eq(truth.bids.iter().rev().take(depth).map(|(&p, &q)| (p, q)))
        && ours(Side::Sell).eq(truth.asks.iter().take(depth).map(|(&p, &q)| (p, q)));
    if !same {
        let ours = [Side::Buy, Side::Sell].map(|side| ours(side).collect::<Vec<_>>());
        panic!("the book of {symbol} is {ours:?}, the oracle's {truth:?}");
    }
}
