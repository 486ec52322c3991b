//! What a message costs in the books, alone and announced ahead of its turn: a seeded stream of order events with the
//! mix of a Nasdaq day (2019-10-30), four interleaved reference streams, prices near the touch.
//!
//! `cargo bench --bench book [-- MESSAGES] [NAME]`. Figures are ns a message, minimum and median of interleaved rounds; `copy` is
//! the loop without books, to be subtracted. On 4 KiB pages TLB misses weigh as much as cache misses:
//! `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` shows the difference.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;
use tickpath::arena::{self, Arena};
use tickpath::book::{BookConfig, Books};
use tickpath::market::{Element, Instrument, Price, Side};
use tickpath::strategy::{InstrumentSpec, Orders, Quoter, QuoterParameters, Strategy};

const WINDOW: usize = 32;
const ROUNDS: usize = 7;
/// Rounds are timed in pieces shorter than a time slice, and the least of each piece is kept: a busy machine adds little.
const PIECE: usize = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let messages = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(2_000_000);
    let only: Vec<&String> = arguments.iter().filter(|a| a.parse::<usize>().is_err()).collect();
    println!("{:<34}{:>16}{:>16}{:>16}{:>16}{:>16}", "", "copy", "alone", "ahead 8/4", "ahead 16/8", "+ quoter");
    for (name, symbols, live) in [
        ("day: 9,000 symbols, 0.8 M live", 9_000, 800_000),
        ("hot: 100 symbols, 50,000 live", 100, 50_000),
        ("hot: 100 symbols, 0.8 M live", 100, 800_000),
        ("one symbol, 2,000 live", 1, 2_000),
    ] {
        if !only.is_empty() && !only.iter().any(|only| name.contains(only.as_str())) {
            continue;
        }
        let stream = Stream::new(symbols, live, messages);
        let config = BookConfig { instruments: symbols, orders: 1_000_000, depth_levels: 32, spill_levels: 1 << 20 };
        let ways = [Ahead::Copy, Ahead::None, Ahead::By(8, 4), Ahead::By(16, 8), Ahead::Quoter];
        let wanted = if messages < 500_000 { 1 } else { ROUNDS };
        let mut rounds = [const { Vec::new() }; 5];
        for _ in 0..wanted {
            for (way, rounds) in ways.iter().zip(&mut rounds) {
                rounds.push(stream.run(&config, way));
            }
        }
        print!("{name:<34}");
        for rounds in &rounds {
            let pieces = rounds[0].len();
            let least: f64 = (0..pieces).map(|i| rounds.iter().map(|r| r[i]).fold(f64::MAX, f64::min)).sum();
            let mut whole: Vec<f64> = rounds.iter().map(|r| r.iter().sum::<f64>() / pieces as f64).collect();
            whole.sort_by(f64::total_cmp);
            print!("{:>16}", format!("{:.1} / {:.1}", least / pieces as f64, whole[wanted / 2]));
        }
        println!();
    }
}

enum Ahead {
    Copy,
    None,
    By(usize, usize),
    Quoter,
}

/// 20 bytes a message, so that reading the stream itself costs little.
#[derive(Clone, Copy)]
struct Event {
    order: u32,
    new_order: u32,
    price: u32,
    qty: u32,
    instrument: u16,
    kind: u8,
    side: Side,
}

struct Stream {
    fill: Vec<Event>,
    measured: Vec<Event>,
}

struct Live {
    order: u32,
    price: u32,
    instrument: u16,
    side: Side,
    qty: u32,
}

/// What stands, by age (roughly), by reference and by level.
#[derive(Default)]
struct Standing {
    all: Vec<Live>,
    place: HashMap<u32, usize>,
    levels: HashMap<(u16, Side, u32), Vec<u32>>,
}

impl Standing {
    fn push(&mut self, live: Live) {
        self.place.insert(live.order, self.all.len());
        self.levels.entry((live.instrument, live.side, live.price)).or_default().push(live.order);
        self.all.push(live);
    }

    fn remove(&mut self, at: usize) -> Live {
        let live = self.all.swap_remove(at);
        self.place.remove(&live.order);
        if let Some(moved) = self.all.get(at) {
            self.place.insert(moved.order, at);
        }
        self.levels.get_mut(&(live.instrument, live.side, live.price)).unwrap().retain(|&order| order != live.order);
        live
    }

    fn at(&self, instrument: u16, side: Side, price: u32) -> Option<usize> {
        self.levels.get(&(instrument, side, price))?.last().map(|order| self.place[order])
    }
}

impl Stream {
    fn new(symbols: u32, live: usize, messages: usize) -> Stream {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut unit = move || random.next_u32() as f64 / 4_294_967_296.0;
        let mut weights = Vec::new();
        let mut sum = 0.0;
        for rank in 0..symbols {
            sum += 1.0 / (rank as f64 + 10.0).powf(0.8);
            weights.push(sum);
        }
        let mut mids: Vec<f64> =
            (0..symbols).map(|_| (3.0 + 5.0 * unit() * unit() * 1.2).exp().floor() * 100.0).collect();
        let mut next = [15_108_479u32 - 3, 22_987_054, 34_103_801, 1_000_004];
        let mut standing = Standing::default();
        let moves = 0.02 * f64::min(1.0, 50.0 * f64::from(symbols) / live as f64);
        let mut all = Vec::new();
        let mut fill = 0;
        loop {
            let filling = fill == 0;
            if filling && standing.all.len() >= live {
                fill = all.len();
            }
            if fill > 0 && all.len() >= fill + messages {
                break;
            }
            let what = unit() * 97.6 + if standing.all.len() > live + live / 50 { 1.0 } else { 0.0 };
            let add = if filling { what < 75.0 } else { what < 43.8 } || standing.all.len() < 10;
            let mut reference = |u: f64| {
                let stream = (u * 4.0) as usize;
                next[stream] += 4 * (1 + (u * 4096.0) as u32 % 3);
                next[stream]
            };
            let qty = (1 + (unit() * unit() * 5.0) as u32) * 100;
            let price = |side, mid: f64, a: f64, b: f64| {
                let ticks = if b < 0.05 { (a * 200.0).floor() } else { (-a.max(1e-9).ln() * 3.0).floor() };
                let offset = 1.0 + ticks;
                (if side == Side::Buy { mid - offset } else { mid + offset }).max(1.0) as u32 * 100
            };
            if add {
                let at = unit() * sum;
                let instrument = weights.partition_point(|&w| w < at).min(symbols as usize - 1);
                if unit() < moves {
                    // What the mid moves over leaves first, so that books never cross.
                    let (up, mid) = (unit() < 0.5 || mids[instrument] < 400.0, &mut mids[instrument]);
                    *mid += if up { 1.0 } else { -1.0 };
                    let (side, price) = (if up { Side::Sell } else { Side::Buy }, *mid as u32 * 100);
                    while let Some(gone) = standing.at(instrument as u16, side, price) {
                        let Live { order, instrument, side, .. } = standing.remove(gone);
                        all.push(Event { order, new_order: 0, price: 0, qty: 0, instrument, kind: b'D', side });
                    }
                }
                let side = if unit() < 0.5 { Side::Buy } else { Side::Sell };
                let order = reference(unit());
                let price = price(side, mids[instrument], unit(), unit());
                standing.push(Live { order, price, instrument: instrument as u16, side, qty });
                all.push(Event { order, new_order: 0, price, qty, instrument: instrument as u16, kind: b'A', side });
                continue;
            }
            let n = standing.all.len();
            let age =
                if unit() < 0.7 { (-unit().max(1e-9).ln() * 2_000.0) as usize } else { (unit() * n as f64) as usize };
            let at = n - 1 - age.min(n - 1);
            let Live { order, instrument, side, qty: shares, .. } = standing.all[at];
            let event = Event { order, new_order: 0, price: 0, qty: 0, instrument, kind: b'D', side };
            let what = if filling { 43.8 + (what - 75.0) / 22.6 * 53.8 } else { what };
            match what {
                ..52.5 => {
                    let order = reference(unit());
                    let price = price(side, mids[instrument as usize], unit(), unit());
                    standing.remove(at);
                    standing.push(Live { order, price, instrument, side, qty });
                    all.push(Event { new_order: order, price, qty, kind: b'U', ..event });
                }
                ..55.0 if shares > 100 => {
                    standing.all[at].qty -= 100;
                    all.push(Event { qty: 100, kind: b'E', ..event });
                }
                ..55.0 => {
                    standing.remove(at);
                    all.push(Event { qty: shares, kind: b'E', ..event });
                }
                ..56.2 if shares > 100 => {
                    standing.all[at].qty -= 100;
                    all.push(Event { qty: 100, kind: b'X', ..event });
                }
                _ => {
                    standing.remove(at);
                    all.push(event);
                }
            }
        }
        let measured = all.split_off(fill);
        Stream { fill: all, measured }
    }

    #[inline(never)]
    fn run(&self, config: &BookConfig, ahead: &Ahead) -> Vec<f64> {
        let mut region = arena::heap(config.bytes());
        let mut books = Books::new(config, &mut Arena::new(&mut region)).unwrap();
        let mut quoter = Quoter::new(QuoterParameters::default(), config.instruments as usize).unwrap();
        let mut orders = Orders::new(256, config.instruments as usize);
        for i in 0..config.instruments {
            let spec = InstrumentSpec { symbol: tickpath::market::Symbol(*b"X       "), lot: 100, tick: Price(100) };
            quoter.on_instrument(Instrument(i), &spec);
        }
        if !matches!(ahead, Ahead::Copy) {
            for event in &self.fill {
                books.apply(&element(event));
            }
        }
        let mut times = Vec::with_capacity(self.measured.len() / PIECE);
        for piece in self.measured.chunks_exact(PIECE) {
            let start = Instant::now();
            match *ahead {
                Ahead::Copy => piece.iter().for_each(|event| {
                    black_box(element(event));
                }),
                Ahead::None => alone(piece, &mut books),
                Ahead::By(first, second) => announced(piece, first, second, &mut books),
                Ahead::Quoter => windowed(piece, 8, 4, &mut books, |books, touched| {
                    if let Some(instrument) = touched {
                        quoter.on_book(&books.book(instrument), &mut orders);
                    }
                    black_box(orders.pending());
                    orders.clear();
                }),
            }
            times.push(start.elapsed().as_nanos() as f64 / PIECE as f64);
        }
        assert_eq!(books.counters().unknown_order + books.counters().duplicate_order, 0);
        assert_eq!(books.counters().level_pool_full + books.counters().probe_too_long, 0);
        times
    }
}

#[inline(never)]
fn alone(piece: &[Event], books: &mut Books<'_>) {
    for event in piece {
        black_box(books.apply(black_box(&element(event))));
    }
}

#[inline(never)]
fn announced(piece: &[Event], first: usize, second: usize, books: &mut Books<'_>) {
    windowed(piece, first, second, books, |_, _| {});
}

#[inline]
fn windowed(
    events: &[Event],
    first: usize,
    second: usize,
    books: &mut Books<'_>,
    mut then: impl FnMut(&Books<'_>, Option<Instrument>),
) {
    let mut window = [Element::SessionStart; WINDOW];
    for i in 0..events.len() + first {
        if let Some(event) = events.get(i) {
            window[i % WINDOW] = element(event);
            books.prefetch(&window[i % WINDOW]);
        }
        if i >= first {
            books.prefetch_levels(&window[(i - second) % WINDOW]);
            let touched = books.apply(&window[(i - first) % WINDOW]);
            then(books, touched);
        }
    }
}

#[inline]
fn element(event: &Event) -> Element {
    let instrument = Instrument(event.instrument.into());
    let (order, new_order, price) = (event.order.into(), event.new_order.into(), Price(event.price.into()));
    match event.kind {
        b'A' => Element::Add { instrument, side: event.side, qty: event.qty, order, price },
        b'D' => Element::Delete { instrument, order },
        b'U' => Element::Replace { instrument, qty: event.qty, order, new_order, price },
        b'E' => Element::Execute { instrument, qty: event.qty, order },
        _ => Element::Reduce { instrument, qty: event.qty, order },
    }
}
