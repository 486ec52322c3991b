//! What the risk gate costs an order with every limit set: one instrument that stays in the cache, and a whole market's at
//! random. No peer: what is held against is the aim.

use super::table::{Rounds, Row, Target, row};
use super::{Context, Failure};
use std::hint::black_box;
use std::time::Instant;
use tickpath::arena::{self, Arena};
use tickpath::market::{Instrument, Order, OrderKind, Price, Side, Symbol};
use tickpath::risk::{Gate, Kill, Limits, Rate, RiskConfig, Touch};
use tickpath::session::{OrderStates, StatesConfig};

/// Orders in a piece: under 2 ms.
const PIECE: u64 = 20_000;

const MARKET: Touch = Touch { bid: Some(Price(1_000_000)), ask: Some(Price(1_000_200)), stale: false };

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let rounds = if context.quick { 5 } else { 15 };
    for (what, instruments, target) in [
        ("a replacement checked, its instrument in the cache", 1, Some(Target::AtMost(30.0))),
        ("the same, of 12,288 instruments at random", 12_288, None),
    ] {
        row(&Row { what, unit: "ns", ours: checks(instruments, rounds), peer: None, target });
    }
    Ok(())
}

fn checks(instruments: u32, rounds: usize) -> Rounds {
    let states = StatesConfig { instruments, slots: 8, assumed: true };
    let mut region = arena::heap(states.bytes() + Gate::bytes(instruments));
    let mut arena = Arena::new(&mut region);
    let mut states = OrderStates::new(&states, &mut arena).expect("the region was sized for it");
    let mut gate = Gate::new(config(), Kill::default(), instruments, &mut arena).expect("likewise");
    for i in 0..instruments {
        gate.define(Instrument(i), Symbol(*b"TEST    "), 100, Price(100));
        // Both quotes stand.
        states.sent(&order(OrderKind::Enter, i, u64::from(2 * i + 1), Side::Buy, 999_900));
        states.sent(&order(OrderKind::Enter, i, u64::from(2 * i + 2), Side::Sell, 1_000_300));
    }
    let mut random = 1u64;
    let mut rounds_of = Rounds::default();
    for _ in 0..rounds {
        let pieces = (0..20).map(|_| {
            let mut passed = 0;
            let began = Instant::now();
            for n in 0..PIECE {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let i = (((random >> 32) * u64::from(instruments)) >> 32) as u32;
                let price = 1_000_000 - 100 * (n as i64 % 4);
                let replace = Order {
                    replaced_id: u64::from(2 * i + 1),
                    ..order(OrderKind::Replace, i, 1_000_000, Side::Buy, price)
                };
                passed += u64::from(gate.check(black_box(&replace), black_box(&MARKET), &states).is_ok());
            }
            assert_eq!(passed, PIECE, "nothing here is refused");
            began.elapsed().as_nanos() as f64 / PIECE as f64
        });
        rounds_of.push(pieces.collect());
    }
    rounds_of
}

fn config() -> RiskConfig {
    RiskConfig {
        limits: Limits {
            collar_bp: Some(500),
            shares: Some(10_000),
            notional: Some(u64::MAX),
            position: Some(1_000_000),
            open_orders: Some(16),
            duplicate_ns: Some(1),
        },
        open_orders: Some(u32::MAX),
        gross_notional: Some(u64::MAX),
        rate: Some(Rate { per_second: 1_000_000_000, burst: u32::MAX }),
        ..RiskConfig::default()
    }
}

fn order(kind: OrderKind, instrument: u32, id: u64, side: Side, price: i64) -> Order {
    Order {
        price: Price(price),
        symbol: Symbol(*b"TEST    "),
        instrument: Instrument(instrument),
        qty: 100,
        burst_size: 1,
        side,
        ..Order::uncaused(kind, id)
    }
}
