//! `tickpath::book` against the oracle's books, after every message: synthetic ITCH and the whole DEEP capture.

mod common;
mod oracle;

use oracle::Oracle;
use std::collections::HashMap;
use tickpath::arena::{self, Arena};
use tickpath::book::{Book, BookConfig, Books};
use tickpath::market::{Element, Instrument, Price, Side, Symbol};
use tickpath::synth::{Config, Messages, Mix};
use tickpath::wire::{deep10, itch50};

/// Levels of each side compared after every message; all of them now and then.
const DEPTH: usize = 8;
const EVERYTHING_EVERY: u64 = 100_000;

#[test]
fn itch_books_equal_the_oracle_after_every_message_of_a_day() {
    let config = Config { seed: 11, messages: 700_000, symbols: 400, ..Config::default() };
    let seen =
        compare_itch(&config, BookConfig { instruments: 400, orders: 50_000, depth_levels: 8, spill_levels: 100_000 });
    assert_eq!(seen, 700_000);
}

#[test]
fn itch_books_equal_the_oracle_on_few_deep_books_of_every_message_type() {
    let mix = Mix::all();
    let config =
        Config { seed: 12, messages: 350_000, symbols: 5, mix, live_orders: Some(40_000), ..Config::default() };
    let seen =
        compare_itch(&config, BookConfig { instruments: 5, orders: 60_000, depth_levels: 8, spill_levels: 60_000 });
    assert_eq!(seen, 350_000);
}

#[test]
fn deep_books_equal_the_oracle_after_every_message_of_the_capture() {
    let Some(captures) = common::captures() else { return };
    let config = BookConfig { instruments: 20_000, orders: 0, depth_levels: 8, spill_levels: 10_000 };
    let mut memory = arena::heap(config.bytes());
    let mut books = Books::new(&config, &mut Arena::new(&mut memory)).unwrap();
    let mut directory = Directory::default();
    let mut oracle = Oracle::default();
    let (mut compared, mut sessions) = (0u64, 0);
    for frame in oracle::frames(&captures.join("iex-deep10/sample-first-60000.pcap.gz")) {
        let (_, _, segment) = oracle::udp_payload(&frame.bytes, false).unwrap();
        oracle.iex(segment, &mut |oracle, message, touched| {
            if sessions != oracle.sessions {
                sessions = oracle.sessions;
                books.apply(&Element::SessionStart);
            }
            let (side, level) = match deep10::parse(message) {
                Ok(deep10::Message::BuyLevel(level)) => (Side::Buy, level),
                Ok(deep10::Message::SellLevel(level)) => (Side::Sell, level),
                _ => return assert_eq!(touched, None),
            };
            let symbol = touched.expect("a level update touches a book");
            let instrument = directory.instrument(symbol);
            books.apply(&Element::Level {
                instrument,
                side,
                complete: level.complete(),
                qty: level.size(),
                price: Price(level.price()),
            });
            assert_equal(&books.book(instrument), &oracle.books[symbol], DEPTH, symbol, compared);
            assert_eq!(books.book(instrument).complete(), message[1] & 1 != 0);
            compared += 1;
        });
    }
    assert_eq!(compared, 9_318 + 9_597);
    assert_eq!(sessions, 12);
    for (symbol, book) in &oracle.books {
        let instrument = directory.instrument(symbol);
        assert_equal(&books.book(instrument), book, usize::MAX, symbol, compared);
    }
}

/// Feeds one stream to both and compares; returns the messages compared.
fn compare_itch(config: &Config, books: BookConfig) -> u64 {
    let mut memory = arena::heap(books.bytes());
    let mut books = Books::new(&books, &mut Arena::new(&mut memory)).unwrap();
    let mut messages = Messages::new(config).unwrap();
    let mut directory = Directory::default();
    let mut oracle = Oracle::default();
    let mut seen = 0;
    while let Some(message) = messages.next_message() {
        seen += 1;
        let touched = oracle.itch(message);
        if let Some(element) = element(message, &oracle, &mut directory) {
            let changed = books.apply(&element);
            assert_eq!(changed.is_some(), touched.is_some(), "message {seen}: {element:?}");
        }
        if let Some(symbol) = touched {
            let book = books.book(directory.instrument(&symbol));
            assert!(!book.stale() && !book.crossed() && !book.locked(), "message {seen}: {symbol}");
            assert_equal(&book, &oracle.books[&symbol], DEPTH, &symbol, seen);
        }
        if seen % EVERYTHING_EVERY == 0 {
            assert_all_equal(&books, &oracle, &mut directory, seen);
        }
    }
    assert_all_equal(&books, &oracle, &mut directory, seen);
    assert_eq!(books.live_orders() as usize, oracle.live_orders());
    assert_eq!(books.counters(), &Default::default());
    seen
}

fn assert_all_equal(books: &Books<'_>, oracle: &Oracle, directory: &mut Directory, at: u64) {
    for (symbol, book) in &oracle.books {
        assert_equal(&books.book(directory.instrument(symbol)), book, usize::MAX, symbol, at);
    }
}

#[track_caller]
fn assert_equal(ours: &Book<'_>, truth: &oracle::Book, depth: usize, symbol: &str, at: u64) {
    let ours = |side| ours.side(side).take(depth).map(|level| (level.price.0, level.qty));
    let same = ours(Side::Buy).eq(truth.bids.iter().rev().take(depth).map(|(&p, &q)| (p, q)))
        && ours(Side::Sell).eq(truth.asks.iter().take(depth).map(|(&p, &q)| (p, q)));
    if !same {
        let ours = [Side::Buy, Side::Sell].map(|side| ours(side).collect::<Vec<_>>());
        panic!("message {at}: the book of {symbol} is {ours:?}, the oracle's {truth:?}");
    }
}

/// Indices given out at first sight.
#[derive(Default)]
struct Directory(HashMap<String, Instrument>);

impl Directory {
    fn instrument(&mut self, symbol: &str) -> Instrument {
        let next = Instrument(self.0.len() as u32);
        *self.0.entry(symbol.to_owned()).or_insert(next)
    }
}

/// What parse makes of a message, for the types that matter to books.
fn element(message: &[u8], oracle: &Oracle, directory: &mut Directory) -> Option<Element> {
    use itch50::Message;
    let message = itch50::parse(message).unwrap();
    let instrument = directory.instrument(oracle.symbol(message.locate())?);
    let side = |letter| if letter == b'B' { Side::Buy } else { Side::Sell };
    let price = |price| Price(i64::from(price));
    Some(match message {
        Message::AddOrder(m) => {
            assert!(Symbol(m.stock()).trimmed().is_some_and(|symbol| directory.instrument(symbol) == instrument));
            Element::Add {
                instrument,
                side: side(m.side()),
                qty: m.shares(),
                order: m.order(),
                price: price(m.price()),
            }
        }
        Message::AddOrderMpid(m) => Element::Add {
            instrument,
            side: side(m.side()),
            qty: m.shares(),
            order: m.order(),
            price: price(m.price()),
        },
        Message::OrderExecuted(m) => Element::Execute { instrument, qty: m.shares(), order: m.order() },
        Message::OrderExecutedPrice(m) => Element::Execute { instrument, qty: m.shares(), order: m.order() },
        Message::OrderCancel(m) => Element::Reduce { instrument, qty: m.shares(), order: m.order() },
        Message::OrderDelete(m) => Element::Delete { instrument, order: m.order() },
        Message::OrderReplace(m) => Element::Replace {
            instrument,
            qty: m.shares(),
            order: m.order(),
            new_order: m.new_order(),
            price: price(m.price()),
        },
        _ => return None,
    })
}
