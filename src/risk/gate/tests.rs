use super::super::KillReason;
use super::*;
use crate::market::{OrderEvent, OrderEventKind};
use crate::session::exchange::{Act, Exchange, Live, acts, order};
use crate::session::{StatesConfig, Verdict};
use OrderKind::{Cancel, Enter, Replace};
use proptest::prelude::*;

const AAPL: Instrument = Instrument(0);
/// 100.00 bid, 100.01 asked.
const MARKET: Touch = Touch { bid: Some(Price(1_000_000)), ask: Some(Price(1_000_100)), stale: false };

/// A gate over two instruments with lots of 100 and ticks of 0.01, and order states of four slots each.
fn with<R>(config: RiskConfig, test: impl FnOnce(&mut Gate<'_>, &mut OrderStates<'_>) -> R) -> R {
    let states = StatesConfig { instruments: 2, slots: 4, assumed: false };
    let mut region = arena::heap(states.bytes() + Gate::bytes(2));
    let mut arena = Arena::new(&mut region);
    let mut states = OrderStates::new(&states, &mut arena).unwrap();
    let mut gate = Gate::new(config, Kill::default(), 2, &mut arena).unwrap();
    assert_eq!(arena.left(), 0, "the bytes are exact");
    for (i, symbol) in [*b"AAPL    ", *b"MSFT    "].into_iter().enumerate() {
        gate.define(Instrument(i as u32), Symbol(symbol), 100, Price(100));
    }
    test(&mut gate, &mut states)
}

fn limited(limits: Limits) -> RiskConfig {
    RiskConfig { limits, ..RiskConfig::default() }
}

fn buy(price: i64, qty: u32) -> Live {
    Live { instrument: AAPL, side: Side::Buy, price: Price(price), leaves: qty }
}

fn sell(price: i64, qty: u32) -> Live {
    Live { side: Side::Sell, ..buy(price, qty) }
}

fn stand(states: &mut OrderStates<'_>, id: u64, live: Live) {
    states.sent(&order(Enter, id, 0, &live));
    tell(states, OrderEventKind::Accepted, id, live.leaves);
}

fn fill(states: &mut OrderStates<'_>, id: u64, live: Live) {
    stand(states, id, live);
    tell(states, OrderEventKind::Filled, id, live.leaves);
}

fn tell(states: &mut OrderStates<'_>, kind: OrderEventKind, id: u64, qty: u32) {
    let event = OrderEvent {
        id,
        replaced_id: 0,
        price: Price(0),
        rx_tsc: 0,
        exchange_ns: 0,
        match_id: id,
        instrument: AAPL,
        qty,
        reason: 0,
        kind,
        side: Side::Buy,
    };
    assert!(matches!(states.apply(&event), Verdict::Real | Verdict::Ended));
}

/// A limit: how it is set, what stands before, and the orders just within it and just beyond.
struct Case {
    config: RiskConfig,
    before: fn(&mut Gate<'_>, &mut OrderStates<'_>),
    touch: Touch,
    within: Live,
    beyond: Live,
    refusal: Refusal,
}

fn case(limits: Limits, within: Live, beyond: Live, refusal: Refusal) -> Case {
    Case { config: limited(limits), before: |_, _| {}, touch: MARKET, within, beyond, refusal }
}

#[test]
fn each_limit_passes_what_is_just_within_and_refuses_what_is_just_beyond() {
    let none = Limits::default();
    let collar = Limits { collar_bp: Some(100), ..none };
    let one_sided = Touch { ask: None, ..MARKET };
    let cases = [
        case(none, buy(1_000_000, 100), buy(1_000_050, 100), Refusal::Tick),
        case(none, buy(1_000_000, 200), buy(1_000_000, 150), Refusal::Lot),
        case(none, buy(1_000_000, 100), buy(1_000_000, 0), Refusal::Shares),
        case(Limits { shares: Some(500), ..none }, buy(1_000_000, 500), buy(1_000_000, 600), Refusal::Shares),
        case(
            // 100 shares at 100.00.
            Limits { notional: Some(100_000_000), ..none },
            sell(1_000_000, 100),
            sell(1_000_100, 100),
            Refusal::Notional,
        ),
        // 1 % above 100.01 is 101.0101, 1 % below 100.00 is 99.00.
        case(collar, buy(1_010_100, 100), buy(1_010_200, 100), Refusal::PriceCollar),
        case(collar, sell(990_000, 100), sell(989_900, 100), Refusal::PriceCollar),
        Case { touch: one_sided, ..case(collar, buy(1_010_000, 100), buy(1_010_100, 100), Refusal::PriceCollar) },
        Case {
            before: |_, states| {
                fill(states, 1, buy(1_000_000, 100));
                stand(states, 2, buy(1_000_000, 100));
                stand(states, 3, sell(1_000_100, 200));
            },
            ..case(Limits { position: Some(300), ..none }, buy(999_900, 100), buy(999_900, 200), Refusal::Position)
        },
        Case {
            before: |_, states| {
                fill(states, 1, sell(1_000_000, 100));
                stand(states, 2, sell(1_000_100, 100));
            },
            ..case(
                Limits { position: Some(300), ..none },
                sell(1_000_200, 100),
                sell(1_000_200, 200),
                Refusal::Position,
            )
        },
        Case {
            // 200 shares at 100.00 held, 100 at 100.00 in flight, 100 more at 100.01 make 40,001.00.
            config: RiskConfig { gross_notional: Some(400_010_000), ..RiskConfig::default() },
            before: |_, states| {
                fill(states, 1, buy(1_000_000, 200));
                stand(states, 2, buy(1_000_000, 100));
            },
            ..case(none, sell(1_000_100, 100), sell(1_000_200, 100), Refusal::GrossNotional)
        },
        Case {
            before: |_, states| stand(states, 1, sell(1_000_100, 100)),
            ..case(none, buy(1_000_000, 100), buy(1_000_100, 100), Refusal::SelfMatch)
        },
        Case {
            before: |_, states| stand(states, 1, buy(1_000_000, 100)),
            ..case(none, sell(1_000_100, 100), sell(1_000_000, 100), Refusal::SelfMatch)
        },
        Case {
            before: |gate, _| {
                gate.status(AAPL, Status::QuoteOnly);
                gate.collar(AAPL, Price(990_000), Price(1_010_000));
            },
            ..case(none, buy(1_010_000, 100), buy(1_010_100, 100), Refusal::AuctionCollar)
        },
        Case {
            before: |gate, _| {
                gate.status(AAPL, Status::QuoteOnly);
                gate.collar(AAPL, Price(990_000), Price(1_010_000));
            },
            ..case(none, sell(990_000, 100), sell(989_900, 100), Refusal::AuctionCollar)
        },
        Case {
            // A short sale above the best bid, and one at it.
            before: |gate, _| gate.status(AAPL, Status::ShortSaleRestricted),
            ..case(none, sell(1_000_100, 100), sell(1_000_000, 100), Refusal::ShortSale)
        },
        Case {
            // At the bid: what is held may be sold, what would go short may not.
            before: |gate, states| {
                gate.status(AAPL, Status::ShortSaleRestricted);
                fill(states, 1, buy(1_000_000, 300));
                stand(states, 2, sell(1_000_100, 100));
            },
            ..case(none, sell(1_000_000, 200), sell(1_000_000, 300), Refusal::ShortSale)
        },
    ];
    for Case { config, before, touch, within, beyond, refusal } in cases {
        with(config, |gate, states| {
            before(gate, states);
            let within = gate.check(&order(Enter, 9, 0, &within), &touch, states);
            let beyond = gate.check(&order(Enter, 9, 0, &beyond), &touch, states);
            assert_eq!((within, beyond), (Ok(()), Err(refusal)));
        });
    }
}

#[test]
fn as_many_orders_stand_as_may_and_a_replacement_is_no_more() {
    let one = limited(Limits { open_orders: Some(1), ..Limits::default() });
    for config in [one, RiskConfig { open_orders: Some(1), ..RiskConfig::default() }] {
        with(config, |gate, states| {
            let enter = order(Enter, 1, 0, &buy(1_000_000, 100));
            assert_eq!(gate.check(&enter, &MARKET, states), Ok(()));
            stand(states, 1, buy(1_000_000, 100));
            let another = order(Enter, 2, 0, &buy(999_900, 100));
            assert_eq!(gate.check(&another, &MARKET, states), Err(Refusal::OpenOrders));
            let replace = order(Replace, 2, 1, &buy(999_900, 100));
            assert_eq!(gate.check(&replace, &MARKET, states), Ok(()));
        });
    }
}

#[test]
fn the_same_order_is_refused_until_its_time_is_over_or_it_is_gone() {
    with(limited(Limits { duplicate_ns: Some(1_000), ..Limits::default() }), |gate, states| {
        let at = |ns, live: &Live| Order { arrival_ns: ns, ..order(Enter, 2, 0, live) };
        states.sent(&at(5_000, &buy(1_000_000, 100)));
        let mut check = |ns, live| gate.check(&at(ns, &live), &MARKET, states);
        assert_eq!(check(5_999, buy(1_000_000, 100)), Err(Refusal::Duplicate));
        assert_eq!(check(6_000, buy(1_000_000, 100)), Ok(()));
        assert_eq!(check(5_999, buy(999_900, 100)), Ok(()));
        assert_eq!(check(5_999, buy(1_000_000, 200)), Ok(()));
        assert_eq!(check(5_999, sell(1_000_100, 100)), Ok(()));
        tell(states, OrderEventKind::Rejected, 2, 0);
        assert_eq!(gate.check(&at(5_999, &buy(1_000_000, 100)), &MARKET, states), Ok(()));
    });
}

#[test]
fn orders_come_at_their_rate_and_in_bursts_of_their_size_by_arrival_time() {
    // One in 100 ms, two at once.
    let config = RiskConfig { rate: Some(Rate { per_second: 10, burst: 2 }), ..RiskConfig::default() };
    with(config, |gate, states| {
        let mut check = |ns, kind| {
            let order = Order { arrival_ns: ns, ..order(kind, 1, 0, &buy(1_000_000, 100)) };
            gate.check(&order, &MARKET, states)
        };
        let start = 1_000_000_000_000;
        assert_eq!([check(start, Enter), check(start, Enter)], [Ok(()), Ok(())]);
        assert_eq!(check(start, Enter), Err(Refusal::Rate));
        assert_eq!(check(start + 99_999_999, Enter), Err(Refusal::Rate));
        assert_eq!(check(start + 100_000_000, Enter), Ok(()), "a refused order used up nothing");
        // Cancels pass, and leave an empty bucket: the next order waits its 100 ms, not longer.
        for _ in 0..50 {
            assert_eq!(check(start + 200_000_000, Cancel), Ok(()));
        }
        assert_eq!(check(start + 299_999_999, Enter), Err(Refusal::Rate));
        assert_eq!(check(start + 300_000_000, Enter), Ok(()));
        // Time that runs backward, as between two lines, earns nothing.
        assert_eq!(check(start, Enter), Err(Refusal::Rate));
        // Unless it begins anew: then with an empty bucket.
        gate.session(5_000);
        let mut check = |ns| {
            let order = Order { arrival_ns: ns, ..order(Enter, 1, 0, &buy(1_000_000, 100)) };
            gate.check(&order, &MARKET, states)
        };
        assert_eq!([check(100_004_999), check(100_005_000)], [Err(Refusal::Rate), Ok(())]);
    });
}

#[test]
fn without_a_rate_time_may_run_as_it_likes() {
    with(RiskConfig::default(), |gate, states| {
        for ns in [u64::MAX, 5, 0, 7] {
            let order = Order { arrival_ns: ns, ..order(Enter, 1, 0, &buy(1_000_000, 100)) };
            assert_eq!(gate.check(&order, &MARKET, states), Ok(()));
        }
    });
}

#[test]
fn a_cancel_passes_whatever_forbids_orders() {
    let config = RiskConfig {
        limits: Limits { shares: Some(0), position: Some(0), ..Limits::default() },
        restricted: vec![Symbol(*b"AAPL    ")],
        open_orders: Some(0),
        gross_notional: Some(0),
        rate: Some(Rate { per_second: 1, burst: 1 }),
        ..RiskConfig::default()
    };
    with(config, |gate, states| {
        gate.kill().trip(KillReason::Command);
        gate.status(AAPL, Status::Halted);
        let stale = Touch { stale: true, ..Touch::default() };
        for _ in 0..3 {
            assert_eq!(gate.check(&order(Cancel, 1, 0, &buy(0, 0)), &stale, states), Ok(()));
        }
    });
}

#[test]
fn a_tripped_switch_a_stale_book_a_halt_and_the_list_refuse_until_they_do_not() {
    let restricted = RiskConfig { restricted: vec![Symbol(*b"MSFT    ")], ..RiskConfig::default() };
    with(restricted, |gate, states| {
        let enter = order(Enter, 1, 0, &buy(1_000_000, 100));
        let is = |gate: &mut Gate<'_>, touch: &Touch| gate.check(&enter, touch, states);
        assert_eq!(is(gate, &MARKET), Ok(()));
        gate.kill().trip(KillReason::Command);
        assert_eq!(is(gate, &MARKET), Err(Refusal::Killed));
        gate.kill().clear();
        assert_eq!(is(gate, &Touch { stale: true, ..MARKET }), Err(Refusal::Stale));
        gate.status(AAPL, Status::Halted);
        assert_eq!(is(gate, &MARKET), Err(Refusal::Halted));
        gate.status(AAPL, Status::QuoteOnly);
        assert_eq!(is(gate, &MARKET), Ok(()), "the exchange holds it for the auction");
        gate.status(AAPL, Status::Halted);
        gate.collar(AAPL, Price(1), Price(2));
        gate.status(AAPL, Status::Trading);
        assert_eq!(is(gate, &MARKET), Ok(()), "trading ends the collar too");
        gate.collar(AAPL, Price(1), Price(2));
        assert_eq!(is(gate, &MARKET), Ok(()), "a collar is of an auction");
        let other = Live { instrument: Instrument(1), ..buy(1_000_000, 100) };
        assert_eq!(gate.check(&order(Enter, 1, 0, &other), &MARKET, states), Err(Refusal::Restricted));
        let nowhere = Live { instrument: Instrument(2), ..other };
        assert_eq!(gate.check(&order(Enter, 1, 0, &nowhere), &MARKET, states), Err(Refusal::Restricted));
        gate.status(Instrument(2), Status::Halted);
    });
}

#[test]
fn a_short_sale_test_ends_and_without_a_bid_nothing_is_above_it() {
    with(RiskConfig::default(), |gate, states| {
        let short = order(Enter, 1, 0, &sell(1_000_000, 100));
        gate.status(AAPL, Status::ShortSaleRestricted);
        let no_bid = Touch { bid: None, ..MARKET };
        let higher = order(Enter, 1, 0, &sell(2_000_000, 100));
        assert_eq!(gate.check(&higher, &no_bid, states), Err(Refusal::ShortSale));
        gate.status(AAPL, Status::ShortSaleFree);
        assert_eq!(gate.check(&short, &MARKET, states), Ok(()));
    });
}

#[test]
fn a_collar_needs_a_book() {
    with(limited(Limits { collar_bp: Some(100), ..Limits::default() }), |gate, states| {
        let enter = order(Enter, 1, 0, &buy(1_000_000, 100));
        assert_eq!(gate.check(&enter, &Touch::default(), states), Err(Refusal::PriceCollar));
    });
}

#[test]
fn only_what_stands_and_is_left_alone_is_replaced() {
    with(RiskConfig::default(), |gate, states| {
        let replace = order(Replace, 9, 1, &buy(999_900, 100));
        assert_eq!(gate.check(&replace, &MARKET, states), Err(Refusal::NotStanding));
        stand(states, 1, buy(1_000_000, 100));
        assert_eq!(gate.check(&replace, &MARKET, states), Ok(()));
        let other_side = order(Replace, 9, 1, &sell(1_000_100, 100));
        assert_eq!(gate.check(&other_side, &MARKET, states), Err(Refusal::NotStanding));
        states.sent(&order(Cancel, 1, 0, &buy(0, 0)));
        assert_eq!(gate.check(&replace, &MARKET, states), Err(Refusal::NotStanding));
    });
}

#[test]
fn an_order_without_a_slot_is_refused() {
    with(RiskConfig::default(), |gate, states| {
        (1..=4).for_each(|id| stand(states, id, buy(1_000_000, 100)));
        let enter = order(Enter, 9, 0, &buy(999_900, 100));
        assert_eq!(gate.check(&enter, &MARKET, states), Err(Refusal::NoSlot));
        let replace = order(Replace, 9, 1, &buy(999_900, 100));
        assert_eq!(gate.check(&replace, &MARKET, states), Err(Refusal::NoSlot), "both may stand for a while");
    });
}

#[test]
fn a_replacement_counts_beside_what_it_replaces_unless_nobody_answers() {
    let limits = Limits { position: Some(100), ..Limits::default() };
    let config = RiskConfig { gross_notional: Some(100_000_000), ..limited(limits) };
    let replace = order(Replace, 2, 1, &buy(999_900, 100));
    with(config.clone(), |gate, states| {
        stand(states, 1, buy(1_000_000, 100));
        assert_eq!(gate.check(&replace, &MARKET, states), Err(Refusal::Position));
    });
    let states = StatesConfig { instruments: 1, slots: 1, assumed: true };
    let mut region = arena::heap(states.bytes() + Gate::bytes(1));
    let mut arena = Arena::new(&mut region);
    let mut states = OrderStates::new(&states, &mut arena).unwrap();
    let mut gate = Gate::new(config, Kill::default(), 1, &mut arena).unwrap();
    gate.define(AAPL, Symbol(*b"AAPL    "), 100, Price(100));
    states.sent(&order(Enter, 1, 0, &buy(1_000_000, 100)));
    assert_eq!(gate.check(&replace, &MARKET, &states), Ok(()), "in its slot too");
    let more = order(Replace, 2, 1, &buy(999_900, 200));
    assert_eq!(gate.check(&more, &MARKET, &states), Err(Refusal::Position));
}

#[test]
fn an_instrument_has_its_own_limits_or_those_of_all() {
    let own = Limits { shares: Some(100), ..Limits::default() };
    let config = RiskConfig {
        limits: Limits { shares: Some(200), ..Limits::default() },
        instruments: vec![(Symbol(*b"MSFT    "), own)],
        ..RiskConfig::default()
    };
    with(config, |gate, states| {
        for (instrument, most) in [(AAPL, 200), (Instrument(1), 100)] {
            let enter = |qty| order(Enter, 1, 0, &Live { instrument, ..buy(1_000_000, qty) });
            assert_eq!(gate.check(&enter(most), &MARKET, states), Ok(()));
            assert_eq!(gate.check(&enter(most + 100), &MARKET, states), Err(Refusal::Shares));
        }
    });
}

#[test]
fn odd_lots_and_any_price_pass_where_they_are_not_checked() {
    with(RiskConfig { tick: false, lot: false, ..RiskConfig::default() }, |gate, states| {
        assert_eq!(gate.check(&order(Enter, 1, 0, &buy(1_000_001, 7)), &MARKET, states), Ok(()));
    });
}

#[test]
fn a_position_that_an_exchange_filled_beyond_the_limit_is_noticed() {
    with(limited(Limits { position: Some(100), ..Limits::default() }), |gate, states| {
        stand(states, 1, sell(1_000_000, 100));
        tell(states, OrderEventKind::Filled, 1, 100);
        assert!(!gate.exceeded(AAPL, states));
        stand(states, 2, sell(1_000_000, 100));
        tell(states, OrderEventKind::Filled, 2, 101);
        assert!(gate.exceeded(AAPL, states));
    });
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let limits = Limits {
        collar_bp: Some(100_000),
        shares: Some(u32::MAX),
        notional: Some(u64::MAX),
        position: Some(u64::MAX),
        open_orders: Some(u32::MAX),
        duplicate_ns: Some(u64::MAX),
    };
    let config = RiskConfig {
        limits,
        gross_notional: Some(u64::MAX),
        rate: Some(Rate { per_second: 1, burst: u32::MAX }),
        tick: false,
        lot: false,
        ..RiskConfig::default()
    };
    with(config, |gate, states| {
        let huge = Live { leaves: u32::MAX, ..buy(i64::MAX, 0) };
        let late = Order { arrival_ns: u64::MAX, ..order(Enter, 1, 0, &huge) };
        let touch = Touch { bid: Some(Price(1)), ask: Some(Price(i64::MAX)), stale: false };
        assert_eq!(gate.check(&late, &touch, states), Err(Refusal::Notional));
        for id in 1..4 {
            fill(states, id, huge);
        }
        let small = Order { arrival_ns: 0, ..order(Enter, 4, 0, &buy(1, 1)) };
        assert_eq!(gate.check(&small, &touch, states), Err(Refusal::GrossNotional));
    });
}

/// What a strategy may ask for, in its ignorance.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Order { kind: OrderKind, instrument: u32, side: Side, price: i64, lots: u32, pick: u8 },
    Wait(u64),
    Exchange(Act),
}

fn asks() -> impl Strategy<Value = Ask> {
    let kind = prop_oneof![3 => Just(Enter), 3 => Just(Replace), 1 => Just(Cancel)];
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    prop_oneof![
        6 => (kind, 0u32..2, side, 1i64..20, 1u32..6, any::<u8>())
            .prop_map(|(kind, instrument, side, price, lots, pick)| Ask::Order { kind, instrument, side, price, lots, pick }),
        1 => (0u64..400_000_000).prop_map(Ask::Wait),
        10 => acts().prop_map(Ask::Exchange),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_asked_and_answered_no_limit_is_exceeded(script in prop::collection::vec(asks(), 0..200)) {
        const POSITION: u64 = 700;
        const ORDERS: usize = 2;
        const GROSS: u64 = 9_000_000;
        const RATE: Rate = Rate { per_second: 20, burst: 5 };
        let config = RiskConfig {
            gross_notional: Some(GROSS),
            rate: Some(RATE),
            ..limited(Limits { position: Some(POSITION), open_orders: Some(ORDERS as u32), ..Limits::default() })
        };
        with(config, |gate, states| {
            let mut exchange = Exchange::default();
            let (mut next, mut now, mut sent) = (1, 0, Vec::new());
            for ask in script {
                match ask {
                    Ask::Wait(ns) => now += ns,
                    Ask::Order { kind, instrument, side, price, lots, pick } => {
                        let instrument = Instrument(instrument);
                        let live = Live { instrument, side, price: Price(price * 1_000), leaves: lots * 100 };
                        let standing: Vec<u64> = states.standing(instrument).map(|s| s.id()).collect();
                        let picked = standing.get(usize::from(pick) % standing.len().max(1)).copied().unwrap_or(77);
                        let asked = match kind {
                            Enter => order(Enter, next, 0, &live),
                            Replace => order(Replace, next, picked, &live),
                            Cancel => order(Cancel, picked, 0, &Live { leaves: 0, ..live }),
                        };
                        let asked = Order { arrival_ns: now, ..asked };
                        next += u64::from(kind != Cancel);
                        if gate.check(&asked, &Touch::default(), states).is_ok() {
                            states.sent(&asked);
                            exchange.send(asked);
                            if kind != Cancel {
                                sent.push(now);
                            }
                        }
                    }
                    Ask::Exchange(act) => {
                        if let Some((event, _)) = exchange.act(act)
                            && states.apply(&event) == Verdict::Ended
                        {
                            while states.orphan(event.instrument).is_some() {}
                        }
                    }
                }
                // By what the exchange holds, not by what we think that it does.
                for i in 0..2 {
                    let instrument = Instrument(i);
                    let position = exchange.position.get(&i).copied().unwrap_or(0);
                    let long = position + exchange.exposure(instrument, Side::Buy) as i64;
                    let short = exchange.exposure(instrument, Side::Sell) as i64 - position;
                    prop_assert!(long <= POSITION as i64 && short <= POSITION as i64, "{long} long, {short} short");
                    let live: Vec<&Live> = exchange.live.values().filter(|live| live.instrument == instrument).collect();
                    prop_assert!(live.len() <= ORDERS);
                    let best = |side| live.iter().filter(move |l| l.side == side).map(|l| l.price);
                    if let (Some(bid), Some(ask)) = (best(Side::Buy).max(), best(Side::Sell).min()) {
                        prop_assert!(bid < ask, "our own orders never trade with each other");
                    }
                }
                let worth: u128 = exchange.live.values().map(|l| u128::from(l.leaves) * l.price.0 as u128).sum();
                prop_assert!(worth <= u128::from(GROSS) && states.venue().gross <= u128::from(GROSS));
                prop_assert_eq!(states.counters().untracked, 0);
            }
            for (i, from) in sent.iter().enumerate() {
                for (j, to) in sent.iter().enumerate().skip(i) {
                    let beyond_burst = (j - i + 1).saturating_sub(RATE.burst as usize) as u64;
                    prop_assert!(beyond_burst * 1_000_000_000 <= (to - from) * u64::from(RATE.per_second));
                }
            }
            Ok(())
        })?;
    }
}

proptest! {
    #[test]
    fn a_step_knows_its_multiples_without_dividing(step in prop_oneof![0u32..5, any::<u32>()], n in any::<u32>(), k in any::<u32>()) {
        let multiple = k / step.max(1) * step;
        for n in [n, multiple, multiple.saturating_add(1), 0, 1, step, u32::MAX] {
            prop_assert_eq!(Step::of(step).divides(n), step != 0 && n % step == 0, "{} of {}", n, step);
        }
    }
}

#[test]
fn prices_beyond_32_bits_keep_to_their_tick() {
    let terms = Terms { tick_units: 100, tick: Step::of(100), ..Terms::zeroed() };
    let told = [7_000_000_100, 7_000_000_150, 4_294_967_300, -100].map(|price| terms.is_on_tick(price));
    assert_eq!(told, [true, false, true, false]);
}
