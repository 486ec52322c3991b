//! Decode and book through `Feed::packet`, `Books::prefetch` and `StrategyStage::apply`, on a whole market and on a
//! hundred symbols, in bursts and one message at a time. Beside them what itchy takes to decode the same messages and
//! book nothing: it knows no books, but shows what a ns of this machine is worth.

use super::decode::Yardstick;
use super::driver::{Driver, Nothing, Sizes};
use super::stream::{Stream, count};
use super::table::{Rounds, Row, Target, note, row};
use super::{Context, Failure};
use std::hint::black_box;
use std::time::Instant;
use tickpath::arena::Arena;
use tickpath::dpdk::{Region, Socket};
use tickpath::synth::Config;

/// Messages in a piece, at least.
const PIECE: u64 = 20_000;

/// A receive burst.
const BURST: usize = 32;

/// Messages in a full packet: what remains of the cost is that of messages.
const FULL: u16 = 40;

struct Market {
    name: &'static str,
    symbols: u32,
    live: u32,
    at_most: f64,
}

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let eal = context.eal()?;
    let (rounds, messages) = if context.quick { (3, 400_000) } else { (9, 1_000_000) };
    for market in [
        Market { name: "whole market: 9,000 symbols", symbols: 9_000, live: 800_000, at_most: 60.0 },
        Market { name: "100 symbols", symbols: 100, live: 50_000, at_most: 35.0 },
    ] {
        let sizes = Sizes::new(market.symbols + market.symbols / 8);
        let mut region = Region::new(&eal, "books", sizes.bytes(), Socket::Any)?;
        // The opening, seven eighths of the live orders in it, and some of the open market fill the books unmeasured.
        let warm = u64::from(market.live + market.symbols * 4) + 200_000;
        let config = Config {
            messages: warm + messages,
            symbols: market.symbols,
            live_orders: Some(market.live),
            ..Config::default()
        };
        let packets = Feeder { stream: Stream::new(&config), warm, burst: BURST };
        let full = Config { messages_per_packet: Some(FULL), ..config.clone() };
        let full = Feeder { stream: Stream::new(&full), warm, burst: BURST };
        let alone = Config { messages_per_packet: Some(1), ..config };
        let alone = Feeder { stream: Stream::new(&alone), warm, burst: 1 };
        let yardstick = Yardstick::new(packets.stream.between(warm, u64::MAX));
        let [mut bursts, mut filled, mut single, mut theirs] = [(); 4].map(|()| Rounds::default());
        let mut live = 0;
        for _ in 0..rounds {
            theirs.push(yardstick.round());
            bursts.push(packets.round(&sizes, &mut region, &mut live));
            filled.push(full.round(&sizes, &mut region, &mut live));
            single.push(alone.round(&sizes, &mut region, &mut live));
        }
        let per_packet = packets.stream.messages() as f64 / packets.stream.all().count() as f64;
        let target = Some(Target::AtMost(market.at_most));
        let peer = Some((Yardstick::NAME, theirs));
        let what = format!("{}, {per_packet:.1} a packet", market.name);
        row(&Row { what: &what, unit: "ns/msg", ours: bursts, peer: peer.clone(), target });
        let what = format!("{}, {FULL} a packet", market.name);
        row(&Row { what: &what, unit: "ns/msg", ours: filled, peer: peer.clone(), target });
        let what = format!("{}, 1 a packet, packets one by one", market.name);
        row(&Row { what: &what, unit: "ns/msg", ours: single, peer, target: None });
        note(&format!("{live} live orders; bursts of {BURST} packets unless said otherwise"));
    }
    Ok(())
}

struct Feeder {
    stream: Stream,
    warm: u64,
    burst: usize,
}

impl Feeder {
    /// ns a message of each piece, over books that are filled first.
    fn round(&self, sizes: &Sizes, region: &mut Region, live: &mut u32) -> Vec<f64> {
        // A region is zeroed when it is new; a second round finds the books of the first.
        region.lines_mut().fill(bytemuck::Zeroable::zeroed());
        let mut arena = Arena::new(region.lines_mut());
        let mut driver = Driver::new(sizes, &mut arena, Nothing).expect("the region was sized for it");
        self.feed(&mut driver, 0, self.warm);
        let mut pieces = Vec::new();
        let mut from = self.warm;
        while from + PIECE <= self.stream.messages() {
            pieces.push(self.feed(&mut driver, from, from + PIECE));
            from += PIECE;
        }
        *live = driver.books().live_orders();
        let counters = driver.books().counters();
        assert_eq!((counters.unknown_order, counters.order_table_full, counters.level_pool_full), (0, 0, 0));
        pieces
    }

    #[inline(never)]
    fn feed(&self, driver: &mut Driver<'_, Nothing>, from: u64, to: u64) -> f64 {
        let payloads: Vec<&[u8]> = self.stream.between(from, to).collect();
        let start = Instant::now();
        for burst in payloads.chunks(self.burst) {
            driver.burst(black_box(burst).iter().copied());
        }
        let ns = start.elapsed().as_nanos() as f64;
        ns / count(payloads.iter().copied()) as f64
    }
}
