//! Every promise of the books, most of them held against a book of ordered maps that shares no code with them.

use super::*;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The obvious book: a map of orders, and per side a map of price to shares.
#[derive(Default)]
struct Naive {
    orders: HashMap<u64, (u32, Side, i64, u64)>,
    sides: HashMap<(u32, Side), BTreeMap<i64, u64>>,
}

impl Naive {
    fn apply(&mut self, element: &Element) {
        match *element {
            Element::Add { instrument, side, qty, order, price } => self.add(instrument.0, side, qty, order, price.0),
            Element::Execute { instrument, qty, order } | Element::Reduce { instrument, qty, order } => {
                self.take(instrument.0, order, u64::from(qty));
            }
            Element::Delete { instrument, order } => {
                self.take(instrument.0, order, u64::MAX);
            }
            Element::Replace { instrument, qty, order, new_order, price } => {
                if let Some(side) = self.take(instrument.0, order, u64::MAX) {
                    self.add(instrument.0, side, qty, new_order, price.0);
                }
            }
            Element::Level { instrument, side, qty, price, .. } => {
                let levels = self.sides.entry((instrument.0, side)).or_default();
                levels.insert(price.0, u64::from(qty));
                levels.retain(|_, &mut qty| qty > 0);
            }
            Element::SessionStart => *self = Naive::default(),
            _ => {}
        }
    }

    fn add(&mut self, instrument: u32, side: Side, qty: u32, order: u64, price: i64) {
        if qty > 0 && !self.orders.contains_key(&order) {
            self.orders.insert(order, (instrument, side, price, u64::from(qty)));
            *self.sides.entry((instrument, side)).or_default().entry(price).or_default() += u64::from(qty);
        }
    }

    fn take(&mut self, instrument: u32, order: u64, qty: u64) -> Option<Side> {
        let &(whose, side, price, standing) = self.orders.get(&order)?;
        if whose != instrument {
            return None;
        }
        let taken = qty.min(standing);
        if taken == standing {
            self.orders.remove(&order);
        } else {
            self.orders.get_mut(&order).unwrap().3 -= taken;
        }
        let levels = self.sides.get_mut(&(instrument, side)).unwrap();
        let level = levels.get_mut(&price).unwrap();
        *level -= taken;
        if *level == 0 {
            levels.remove(&price);
        }
        Some(side)
    }

    fn check(&self, books: &Books<'_>, instrument: u32) {
        let book = books.book(Instrument(instrument));
        for side in [Side::Buy, Side::Sell] {
            let empty = BTreeMap::new();
            let mine = self.sides.get(&(instrument, side)).unwrap_or(&empty);
            let theirs = book.side(side).map(|level| (level.price.0, level.qty));
            assert_eq!(book.side(side).len(), mine.len(), "{instrument} {side:?}");
            let same = match side {
                Side::Buy => theirs.eq(mine.iter().rev().map(|(&price, &qty)| (price, qty))),
                Side::Sell => theirs.eq(mine.iter().map(|(&price, &qty)| (price, qty))),
            };
            assert!(same, "{instrument} {side:?}: {:?} is not {mine:?}", book.side(side).collect::<Vec<_>>());
            let weights = [256, 153, 91, 54, 32, 19, 11, 6, 0];
            let weight: u64 =
                weights.iter().zip(book.side(side)).map(|(&weight, level)| u64::from(weight) * level.qty).sum();
            assert_eq!(book.weigh(side, &weights), weight);
        }
    }
}

/// SplitMix64: enough randomness for a test, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A stream of order events that knows what stands, and now and then lies.
struct Feed {
    random: Random,
    live: Vec<(u64, u32)>,
    next: [u64; 4],
    instruments: u32,
    /// Orders it keeps standing.
    target: usize,
    /// Distinct prices of each side.
    prices: u64,
    /// Send unknown, duplicate and misplaced references.
    lies: bool,
    /// One price in so many is between two cents; 0 for none.
    uneven: u64,
}

impl Feed {
    fn new(seed: u64, instruments: u32, target: usize, prices: u64, lies: bool) -> Self {
        let next = [15_108_480, 22_987_053, 34_103_802, 1_000_003];
        Feed { random: Random(seed), live: Vec::new(), next, instruments, target, prices, lies, uneven: 0 }
    }

    fn reference(&mut self) -> u64 {
        let stream = self.random.below(4) as usize;
        self.next[stream] += 4 * (1 + self.random.below(3));
        self.next[stream]
    }

    fn price(&mut self, side: Side) -> Price {
        let n = self.prices;
        let away = self.random.below(n).min(self.random.below(n)).min(self.random.below(n)) as i64;
        let between =
            if self.uneven > 0 && self.random.below(self.uneven) == 0 { 5 * self.random.below(20) as i64 } else { 0 };
        match side {
            Side::Buy => Price(1_000_000 - 100 * away - between),
            Side::Sell => Price(1_000_100 + 100 * away + between),
        }
    }

    fn side(&mut self) -> Side {
        if self.random.below(2) == 0 { Side::Buy } else { Side::Sell }
    }

    fn next(&mut self) -> Element {
        let lie = self.lies && self.random.below(50) == 0;
        let what = self.random.below(1000);
        let grow = self.live.len() < self.target / 2 || self.live.len() < self.target && what < 480;
        if grow || self.live.is_empty() {
            let (instrument, side) = (Instrument(self.random.below(u64::from(self.instruments)) as u32), self.side());
            let order = match lie && !self.live.is_empty() {
                true => self.live[self.random.below(self.live.len() as u64) as usize].0,
                false => self.reference(),
            };
            if !lie {
                self.live.push((order, instrument.0));
            }
            let qty = 1 + self.random.below(300) as u32;
            return Element::Add { instrument, side, qty, order, price: self.price(side) };
        }
        let at = self.random.below(self.live.len() as u64) as usize;
        let (mut order, mut instrument) = self.live[at];
        match self.random.below(3) {
            0 if lie => order ^= 1 << 40,
            1 if lie => instrument = (instrument + 1) % self.instruments,
            _ => {}
        }
        let instrument = Instrument(instrument);
        match what % 100 {
            0..10 => Element::Execute { instrument, qty: 1 + self.random.below(200) as u32, order },
            10..20 => Element::Reduce { instrument, qty: 1 + self.random.below(100) as u32, order },
            20..40 => {
                let new_order = self.reference();
                self.live[at].0 = new_order;
                let side = self.side();
                let qty = 1 + self.random.below(300) as u32;
                Element::Replace { instrument, qty, order, new_order, price: self.price(side) }
            }
            _ => {
                self.live.swap_remove(at);
                Element::Delete { instrument, order }
            }
        }
    }
}

fn with_books(config: BookConfig, test: impl FnOnce(&mut Books<'_>)) {
    let mut region = arena::heap(config.bytes());
    let mut arena = Arena::new(&mut region);
    let mut books = Books::new(&config, &mut arena).unwrap();
    test(&mut books);
}

fn add(instrument: u32, side: Side, qty: u32, order: u64, price: i64) -> Element {
    Element::Add { instrument: Instrument(instrument), side, qty, order, price: Price(price) }
}

const SMALL: BookConfig = BookConfig { instruments: 4, orders: 64, depth_levels: 8, spill_levels: 64 };

#[test]
fn books_take_exactly_the_bytes_they_say() {
    for config in [
        SMALL,
        BookConfig { instruments: 1, orders: 0, depth_levels: 0, spill_levels: 0 },
        BookConfig { instruments: 7, orders: 1, depth_levels: 3, spill_levels: 5 },
        BookConfig { instruments: 9_000, orders: 1_000_000, depth_levels: 32, spill_levels: 1 << 20 },
    ] {
        let mut region = arena::heap(config.bytes());
        let mut arena = Arena::new(&mut region);
        Books::new(&config, &mut arena).unwrap();
        assert_eq!(arena.left(), 0, "{config:?}");
        let short = config.bytes() - 64;
        assert!(Books::new(&config, &mut Arena::new(&mut region[..short / 64])).is_err());
    }
}

#[test]
fn a_whole_market_fits_in_half_of_its_256_megabytes() {
    let config = BookConfig { instruments: 9_000, orders: 1_000_000, depth_levels: 32, spill_levels: 1 << 20 };
    assert!(config.bytes() < 128 << 20, "{}", config.bytes());
}

#[test]
fn a_million_events_equal_a_naive_book_after_every_one() {
    let config = BookConfig { instruments: 20, orders: 20_000, depth_levels: 16, spill_levels: 1 << 17 };
    with_books(config, |books| {
        let mut feed = Feed::new(1, config.instruments, 6_000, 600, true);
        let mut naive = Naive::default();
        for i in 0..1_000_000 {
            let element = feed.next();
            naive.apply(&element);
            announce(books, &element);
            if let Some(instrument) = books.apply(&element) {
                assert!(!books.book(instrument).stale());
                naive.check(books, instrument.0);
            }
            if i % 50_000 == 0 {
                (0..config.instruments).for_each(|instrument| naive.check(books, instrument));
                assert_eq!(books.live_orders() as usize, naive.orders.len());
            }
        }
        let counters = books.counters();
        assert!(counters.unknown_order > 0 && counters.duplicate_order > 0 && counters.wrong_instrument > 0);
        assert!(counters.overfilled > 0);
    });
}

#[test]
fn tiny_books_are_exact_or_stale() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let config = BookConfig {
            instruments: 1 + random.below(6) as u32,
            orders: 1 + random.below(120) as u32,
            depth_levels: random.below(20) as u32,
            spill_levels: random.below(100) as u32,
        };
        with_books(config, |books| {
            let mut feed = Feed::new(seed, config.instruments, 1 + random.below(100) as usize, 400, false);
            feed.uneven = [0, 10, 100][random.below(3) as usize];
            let mut naive = Naive::default();
            let (mut stale, mut ever_stale) = (HashSet::new(), false);
            for i in 0..5_000 {
                let element = if i == 3_000 { Element::SessionStart } else { feed.next() };
                if i == 3_000 {
                    ever_stale |= !stale.is_empty();
                    stale.clear();
                }
                naive.apply(&element);
                books.apply(&element);
                for instrument in 0..config.instruments {
                    if books.book(Instrument(instrument)).stale() {
                        stale.insert(instrument);
                    } else {
                        assert!(!stale.contains(&instrument), "stale until the session restarts");
                        naive.check(books, instrument);
                    }
                }
            }
            let counters = books.counters();
            let full = counters.order_table_full + counters.level_pool_full + counters.probe_too_long;
            assert_eq!(full > 0, ever_stale || !stale.is_empty(), "stale and counted go together");
        });
    }
}

#[test]
fn level_feeds_equal_a_naive_book_after_every_update() {
    let config = BookConfig { instruments: 5, orders: 0, depth_levels: 8, spill_levels: 4096 };
    with_books(config, |books| {
        let mut random = Random(7);
        let mut naive = Naive::default();
        for i in 0..200_000u64 {
            let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
            // Crossed books are books too: both sides draw from the same prices.
            let price = Price(7_000_000_000 + 100 * random.below(200) as i64);
            let qty = if random.below(2) == 0 { 0 } else { random.below(1_000_000) as u32 };
            let instrument = Instrument(random.below(5) as u32);
            let element = Element::Level { instrument, side, complete: i % 3 == 0, qty, price };
            naive.apply(&element);
            announce(books, &element);
            assert_eq!(books.apply(&element), Some(instrument));
            assert_eq!(books.book(instrument).complete(), i % 3 == 0);
            assert!(!books.book(instrument).stale());
            naive.check(books, instrument.0);
        }
    });
}

#[test]
fn books_follow_a_market_that_moves() {
    let config = BookConfig { instruments: 1, orders: 4096, depth_levels: 8, spill_levels: 8192 };
    with_books(config, |books| {
        let mut random = Random(11);
        let mut naive = Naive::default();
        let (mut middle, mut live) = (5_000_i64, Vec::new());
        for order in 0..300_000 {
            // Mostly a tick, now and then beyond every grid, and down to the lowest price.
            middle += match random.below(1_000) {
                0 => random.below(1_500) as i64 - 750,
                _ => random.below(3) as i64 - 1,
            };
            middle = middle.clamp(40, 10_000);
            let element = if live.is_empty() || live.len() < 1_500 && random.below(2) == 0 {
                live.push(order);
                let (side, away) = match random.below(2) {
                    0 => (Side::Buy, -1),
                    _ => (Side::Sell, 1),
                };
                let away = away * random.below(40) as i64 * [1, 1, 1, 8][random.below(4) as usize];
                add(0, side, 1 + random.below(500) as u32, order, (middle + away).max(0) * 100)
            } else {
                // The best go more often than others: levels behind them become the touch.
                let best = live.len() - 1 - random.below(live.len().min(20) as u64) as usize;
                let at = if random.below(3) > 0 { best } else { random.below(live.len() as u64) as usize };
                Element::Delete { instrument: Instrument(0), order: live.swap_remove(at) }
            };
            naive.apply(&element);
            announce(books, &element);
            books.apply(&element);
            naive.check(books, 0);
        }
        assert_eq!(*books.counters(), BookCounters::default());
    });
}

#[test]
fn ticks_become_as_small_as_prices_are() {
    let config = BookConfig { instruments: 3, orders: 0, depth_levels: 8, spill_levels: 1 << 14 };
    with_books(config, |books| {
        let mut random = Random(13);
        let mut naive = Naive::default();
        for i in 0..300_000_u64 {
            if i % 100_000 == 99_999 {
                naive.apply(&Element::SessionStart);
                books.apply(&Element::SessionStart);
            }
            // Cents, then half cents, then thirds of a cent that are none, now and then.
            let tick = match (i % 100_000, random.below(20)) {
                (30_000..60_000, 0) => 50,
                (60_000.., 0) => 33,
                _ => 100,
            };
            let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
            let price = Price(20_000 + tick * random.below(10_000 / tick as u64) as i64);
            let qty = random.below(3) as u32 * 100;
            let instrument = Instrument(random.below(3) as u32);
            let element = Element::Level { instrument, side, complete: true, qty, price };
            naive.apply(&element);
            announce(books, &element);
            books.apply(&element);
            assert_eq!(books.counters().level_pool_full, 0);
            naive.check(books, instrument.0);
        }
    });
}

#[test]
fn ticks_are_cents_again_when_what_was_between_them_is_far() {
    with_books(BookConfig { instruments: 1, orders: 1_000, depth_levels: 8, spill_levels: 4096 }, |books| {
        let mut naive = Naive::default();
        let mut apply = |books: &mut Books<'_>, element| {
            naive.apply(&element);
            books.apply(&element);
            naive.check(books, 0);
            books.heads[0].ladder.tick()
        };
        // Nothing else stands yet, and a cent is near enough to it.
        assert_eq!(apply(books, add(0, Side::Buy, 10, 1_000, 1)), 1);
        assert_eq!(apply(books, add(0, Side::Buy, 10, 1_001, 100)), 1);
        let ticks: Vec<u64> =
            (0..400).map(|i| apply(books, add(0, Side::Buy, 10, i, 1_000_000 + 100 * (i as i64 % 60)))).collect();
        assert_eq!((ticks[10], ticks[399]), (1, 100));
        // A half cent at the touch, and below it one that does no harm.
        assert_eq!(apply(books, add(0, Side::Buy, 10, 2_000, 900_050)), 100);
        assert_eq!(apply(books, add(0, Side::Buy, 10, 2_001, 1_003_050)), 50);
        assert_eq!(*books.counters(), BookCounters::default());
    });
}

#[test]
fn what_stands_can_go_where_no_room_is_for_finer_ticks() {
    with_books(BookConfig { instruments: 1, orders: 64, depth_levels: 8, spill_levels: 0 }, |books| {
        let mut naive = Naive::default();
        // The touch, ten levels within its grid, and two behind it, of which the better is between two cents.
        let prices = [1_000_000].into_iter().chain((0..10).map(|i| 996_000 - 100 * i)).chain([993_950, 993_000]);
        let adds = prices.zip(0..).map(|(price, order)| add(0, Side::Buy, 10, order, price));
        // The touch falls; what is behind it would be near enough now, on a grid of half cents.
        let goes = |order| Element::Delete { instrument: Instrument(0), order };
        let less = Element::Reduce { instrument: Instrument(0), qty: 3, order: 12 };
        for element in adds.chain([goes(0), less, goes(12), goes(11)]) {
            naive.apply(&element);
            books.apply(&element);
            naive.check(books, 0);
        }
        assert_eq!((books.heads[0].ladder.tick(), *books.counters()), (100, BookCounters::default()));
    });
}

#[test]
fn deep_levels_come_back_when_the_better_ones_go() {
    let config = BookConfig { instruments: 1, orders: 4096, depth_levels: 4, spill_levels: 8192 };
    with_books(config, |books| {
        let mut naive = Naive::default();
        for i in 0..2_000u64 {
            let element = add(0, Side::Sell, 1 + i as u32, i, 10_000 + (i as i64 * 7919) % 2_003 * 100);
            naive.apply(&element);
            books.apply(&element);
        }
        let mut best_first: Vec<(i64, u64)> =
            naive.orders.iter().map(|(&order, &(_, _, price, _))| (price, order)).collect();
        best_first.sort_unstable();
        for (_, order) in best_first {
            let element = Element::Delete { instrument: Instrument(0), order };
            naive.apply(&element);
            books.apply(&element);
            naive.check(books, 0);
        }
        assert_eq!(books.book(Instrument(0)).asks().len(), 0);
        assert_eq!(*books.counters(), BookCounters::default());
    });
}

#[test]
fn a_full_order_table_makes_the_instrument_stale_and_the_others_not() {
    with_books(BookConfig { orders: 3, ..SMALL }, |books| {
        for order in 0..3 {
            assert!(books.apply(&add(0, Side::Buy, 10, order, 10_000)).is_some());
        }
        assert!(!books.book(Instrument(0)).stale());
        assert_eq!(books.apply(&add(1, Side::Buy, 10, 3, 10_000)), Some(Instrument(1)));
        assert!(books.book(Instrument(1)).stale());
        assert!(!books.book(Instrument(0)).stale());
        assert_eq!(books.counters().order_table_full, 1);
        books.apply(&Element::Delete { instrument: Instrument(0), order: 0 });
        assert!(books.apply(&add(1, Side::Buy, 10, 4, 10_000)).is_some());
        assert!(books.book(Instrument(1)).stale(), "room again does not bring back what was lost");
    });
}

#[test]
fn a_full_level_pool_makes_the_instrument_stale() {
    with_books(BookConfig { instruments: 2, orders: 128, depth_levels: 8, spill_levels: 16 }, |books| {
        // 55 ticks from the touch down, and 16 levels that the pool has room for.
        let fit = 55 + 16;
        for i in 0..=fit {
            books.apply(&add(0, Side::Buy, 10, i, 100_000 - 100 * i as i64));
            assert_eq!(books.book(Instrument(0)).stale(), i == fit);
        }
        assert_eq!(books.counters().level_pool_full, 1);
        assert_eq!(books.book(Instrument(0)).bids().len(), fit as usize);
        // The order that did not fit is unknown to what follows.
        assert_eq!(books.apply(&Element::Delete { instrument: Instrument(0), order: fit }), None);
        assert_eq!(books.counters().unknown_order, 1);
    });
}

#[test]
fn references_that_crowd_one_place_make_the_instrument_stale() {
    with_books(BookConfig { instruments: 2, orders: 100_000, depth_levels: 8, spill_levels: 0 }, |books| {
        // 2^19 slots: these have two homes between them, each with room for 129.
        for order in (0..).step_by(1 << 18).take(400) {
            books.apply(&add(0, Side::Buy, 1, order, 10_000));
        }
        assert_eq!(books.book(Instrument(0)).best_bid().unwrap().qty, 2 * 129);
        assert_eq!(books.counters().probe_too_long, 400 - 2 * 129);
        assert!(books.book(Instrument(0)).stale() && !books.book(Instrument(1)).stale());
    });
}

#[test]
fn a_reference_or_an_instrument_of_too_many_bits_touches_no_other_order() {
    with_books(SMALL, |books| {
        let long = 1 << 40;
        books.apply(&add(0, Side::Buy, 10, 5, 10_000));
        for element in [
            Element::Delete { instrument: Instrument(0), order: long + 5 },
            Element::Delete { instrument: Instrument(1 << 16), order: 5 },
            Element::Delete { instrument: Instrument(1), order: 5 },
        ] {
            assert_eq!(books.apply(&element), None);
        }
        assert_eq!((books.counters().unknown_order, books.counters().wrong_instrument), (1, 2));
        assert!(!books.book(Instrument(1)).stale());
        assert_eq!(books.apply(&add(1, Side::Buy, 10, long + 5, 10_000)), Some(Instrument(1)));
        assert!(books.book(Instrument(1)).stale() && books.book(Instrument(1)).best_bid().is_none());
        assert_eq!((books.counters().probe_too_long, books.live_orders()), (1, 1));
        assert_eq!(books.book(Instrument(0)).best_bid().unwrap().qty, 10);
    });
}

#[test]
fn a_gap_makes_every_book_stale_until_the_session_restarts() {
    with_books(SMALL, |books| {
        books.apply(&add(0, Side::Buy, 10, 1, 10_000));
        assert_eq!(books.apply(&Element::Gap { expected: 5, found: 9 }), None);
        assert!((0..4).all(|i| books.book(Instrument(i)).stale()));
        books.apply(&add(0, Side::Buy, 10, 2, 10_100));
        assert!(books.book(Instrument(0)).stale());
        assert_eq!(books.book(Instrument(0)).best_bid(), Some(Level { price: Price(10_100), qty: 10 }));
        books.apply(&Element::SessionStart);
        for i in 0..4 {
            let book = books.book(Instrument(i));
            assert!(!book.stale() && book.best_bid().is_none() && book.best_ask().is_none());
        }
        assert_eq!(books.live_orders(), 0);
        assert_eq!(books.apply(&Element::Delete { instrument: Instrument(0), order: 1 }), None);
        assert_eq!((books.counters().gaps, books.counters().session_starts), (1, 1));
    });
}

#[test]
fn a_thousand_sessions_leave_nothing_behind() {
    with_books(SMALL, |books| {
        for session in 0..1_000u64 {
            let mut naive = Naive::default();
            let mut feed = Feed::new(session, 4, 40, 12, true);
            for _ in 0..50 {
                let element = feed.next();
                naive.apply(&element);
                books.apply(&element);
            }
            (0..4).for_each(|instrument| naive.check(books, instrument));
            books.apply(&Element::SessionStart);
        }
    });
}

#[test]
fn unknown_orders_are_counted_and_change_nothing() {
    with_books(SMALL, |books| {
        let instrument = Instrument(0);
        for element in [
            Element::Execute { instrument, qty: 1, order: 9 },
            Element::Reduce { instrument, qty: 1, order: 9 },
            Element::Delete { instrument, order: 9 },
            Element::Replace { instrument, qty: 1, order: 9, new_order: 10, price: Price(10_000) },
            Element::Delete { instrument, order: 10 },
        ] {
            assert_eq!(books.apply(&element), None);
        }
        assert_eq!(books.counters().unknown_order, 5);
        assert_eq!(books.live_orders(), 0);
        assert!(!books.book(instrument).stale());
    });
}

#[test]
fn executing_more_than_stands_takes_what_stands() {
    with_books(SMALL, |books| {
        books.apply(&add(0, Side::Sell, 10, 1, 10_000));
        books.apply(&add(0, Side::Sell, 5, 2, 10_000));
        assert!(books.apply(&Element::Execute { instrument: Instrument(0), qty: 11, order: 1 }).is_some());
        assert_eq!(books.book(Instrument(0)).best_ask(), Some(Level { price: Price(10_000), qty: 5 }));
        assert_eq!(books.counters().overfilled, 1);
        assert_eq!(books.live_orders(), 1);
    });
}

#[test]
fn a_reference_that_stands_is_not_added_twice() {
    with_books(SMALL, |books| {
        books.apply(&add(0, Side::Sell, 10, 1, 10_000));
        assert_eq!(books.apply(&add(0, Side::Sell, 10, 1, 10_000)), None);
        assert_eq!(books.book(Instrument(0)).best_ask(), Some(Level { price: Price(10_000), qty: 10 }));
        assert_eq!(books.counters().duplicate_order, 1);
    });
}

#[test]
fn a_replace_keeps_the_side_and_may_keep_the_reference() {
    with_books(SMALL, |books| {
        let instrument = Instrument(2);
        books.apply(&add(2, Side::Sell, 10, 1, 10_000));
        books.apply(&Element::Replace { instrument, qty: 20, order: 1, new_order: 1, price: Price(9_900) });
        assert_eq!(books.book(instrument).best_ask(), Some(Level { price: Price(9_900), qty: 20 }));
        assert_eq!(books.book(instrument).asks().len(), 1);
        books.apply(&Element::Replace { instrument, qty: 0, order: 1, new_order: 2, price: Price(9_900) });
        assert_eq!(books.book(instrument).best_ask(), None);
        assert_eq!((books.counters().zero_qty, books.live_orders()), (1, 0));
    });
}

#[test]
fn what_a_level_cannot_hold_makes_the_instrument_stale() {
    with_books(SMALL, |books| {
        books.apply(&add(0, Side::Buy, 1, 1, MAX_PRICE.0));
        assert_eq!(books.book(Instrument(0)).best_bid(), Some(Level { price: MAX_PRICE, qty: 1 }));
        books.apply(&add(0, Side::Sell, 1, 2, 0));
        assert_eq!(books.book(Instrument(0)).best_ask(), Some(Level { price: Price(0), qty: 1 }));
        assert!(books.book(Instrument(0)).crossed() && !books.book(Instrument(0)).stale());
        books.apply(&add(0, Side::Buy, 1, 3, MAX_PRICE.0 + 1));
        books.apply(&add(1, Side::Buy, 1, 4, -1));
        books.apply(&add(2, Side::Buy, MAX_LEVEL_QTY as u32, 5, 10_000));
        assert!(!books.book(Instrument(2)).stale());
        books.apply(&add(2, Side::Buy, 1, 6, 10_000));
        books.apply(&add(3, Side::Buy, u32::MAX, 7, 10_000));
        assert!((0..4).all(|i| books.book(Instrument(i)).stale()));
        assert_eq!((books.counters().price_out_of_range, books.counters().level_overflow), (2, 2));
    });
}

#[test]
fn crossed_and_locked_are_told_apart() {
    with_books(SMALL, |books| {
        books.apply(&add(0, Side::Buy, 1, 1, 10_000));
        assert!(!books.book(Instrument(0)).crossed() && !books.book(Instrument(0)).locked());
        books.apply(&add(0, Side::Sell, 1, 2, 10_000));
        assert!(!books.book(Instrument(0)).crossed() && books.book(Instrument(0)).locked());
        books.apply(&add(0, Side::Sell, 1, 3, 9_999));
        assert!(books.book(Instrument(0)).crossed() && !books.book(Instrument(0)).locked());
    });
}

#[test]
fn any_elements_in_any_order_never_panic() {
    use proptest::prelude::*;
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let element = (0u8..9, 0u32..6, side, any::<bool>(), 0u64..40, 0u64..40, any::<i64>(), any::<u32>()).prop_map(
        |(kind, instrument, side, small, order, new_order, price, qty)| {
            let instrument = Instrument(instrument);
            let price = match (small, price & 1) {
                (true, 0) => Price(price & 15),
                // Near enough to each other for one grid, or two.
                (_, 0) => Price((price >> 8 & 127) * 100),
                _ => Price(price),
            };
            let qty = if small { qty & 15 } else { qty };
            match kind {
                0 | 1 => Element::Add { instrument, side, qty, order, price },
                2 => Element::Execute { instrument, qty, order },
                3 => Element::Reduce { instrument, qty, order },
                4 => Element::Delete { instrument, order },
                5 => Element::Replace { instrument, qty, order, new_order, price },
                6 => Element::Level { instrument, side, complete: small, qty, price },
                7 => Element::Gap { expected: order, found: new_order },
                _ => Element::SessionStart,
            }
        },
    );
    proptest!(|(elements in prop::collection::vec(element, 0..300), orders in 0u32..20, depth in 0u32..4, spill in 0u32..30)| {
        let config = BookConfig { instruments: 5, orders, depth_levels: depth, spill_levels: spill };
        with_books(config, |books| {
            for element in &elements {
                announce(books, element);
                books.apply(element);
                for i in 0..6 {
                    let book = books.book(Instrument(i));
                    assert!(book.bids().chain(book.asks()).all(|level| level.qty > 0));
                    assert!(book.bids().is_sorted_by(|a, b| a.price > b.price));
                    assert!(book.asks().is_sorted_by(|a, b| a.price < b.price));
                }
            }
        });
    });
}

/// Both announcements, which change nothing, of whatever instrument and order.
fn announce(books: &Books<'_>, element: &Element) {
    let instrument = element.hint().unwrap_or(Instrument(u32::MAX));
    books.prefetch(instrument, u64::MAX - u64::from(instrument.0));
    books.prefetch_levels(element);
}
