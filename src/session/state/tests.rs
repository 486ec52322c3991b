use super::exchange::{Act, Exchange, Live, acts, order};
use super::*;
use OrderEventKind::{Accepted, CancelPending, CancelRejected, Cancelled, Filled, LocalReject, Rejected, Replaced};
use OrderKind::{Cancel, Enter, Replace};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const AAPL: Instrument = Instrument(0);

fn with(assumed: bool, test: impl FnOnce(&mut OrderStates<'_>)) {
    let config = StatesConfig { instruments: 2, slots: 4, assumed };
    let mut region = arena::heap(config.bytes());
    let mut arena = Arena::new(&mut region);
    let mut states = OrderStates::new(&config, &mut arena).unwrap();
    assert_eq!(arena.left(), 0, "the bytes are exact");
    test(&mut states);
}

fn buy(price: i64, qty: u32) -> Live {
    Live { instrument: AAPL, side: Side::Buy, price: Price(price), leaves: qty }
}

fn sell(price: i64, qty: u32) -> Live {
    Live { side: Side::Sell, ..buy(price, qty) }
}

fn event(kind: OrderEventKind, id: u64, qty: u32) -> OrderEvent {
    OrderEvent { qty, ..blank(id, AAPL, Side::Buy, kind) }
}

fn replaced(id: u64, replaced_id: u64, qty: u32) -> OrderEvent {
    OrderEvent { replaced_id, ..event(Replaced, id, qty) }
}

fn fill(id: u64, qty: u32, match_id: u64) -> OrderEvent {
    OrderEvent { match_id, ..event(Filled, id, qty) }
}

fn view(states: &OrderStates<'_>) -> Vec<(u64, OrderState, u32)> {
    let mut all: Vec<_> = states.standing(AAPL).map(|o| (o.id(), o.state(), o.leaves())).collect();
    all.sort_by_key(|order| order.0);
    all
}

use OrderState::*;

#[test]
fn an_order_is_pending_then_live_then_gone_with_its_last_share() {
    with(false, |states| {
        assert_eq!(states.sent(&order(Enter, 1, 0, &buy(10_000, 300))), None);
        assert_eq!(view(states), [(1, PendingNew, 300)]);
        assert_eq!(states.apply(&event(Accepted, 1, 300)), Verdict::Real);
        assert_eq!(view(states), [(1, Live, 300)]);
        assert_eq!(states.apply(&fill(1, 100, 7)), Verdict::Real);
        assert_eq!(view(states), [(1, Live, 200)]);
        let holding = states.holding(AAPL).unwrap();
        assert_eq!((holding.position(), holding.open(Side::Buy), holding.orders()), (100, 200, 1));
        assert_eq!(states.venue().gross, 300 * 10_000);
        assert_eq!(states.apply(&fill(1, 200, 8)), Verdict::Ended);
        assert_eq!((view(states), states.orphan(AAPL)), (vec![], None));
        assert_eq!(states.venue(), &Totals { open: [0; 2], gross: 300 * 10_000, orders: 0 });
        assert_eq!(states.counters(), &StateCounters::default());
    });
}

#[test]
fn a_fill_while_cancelling_is_a_fill() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &sell(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        states.sent(&order(Cancel, 1, 0, &sell(0, 0)));
        assert_eq!(view(states), [(1, PendingCancel, 100)]);
        assert_eq!(states.apply(&fill(1, 40, 7)), Verdict::Real);
        assert_eq!(view(states), [(1, PendingCancel, 60)]);
        assert_eq!(states.apply(&event(Cancelled, 1, 60)), Verdict::Ended);
        assert_eq!(states.holding(AAPL).unwrap().position(), -40);
    });
}

#[test]
fn a_refused_cancel_and_one_that_never_left_leave_the_order_standing() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &buy(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        for kind in [CancelRejected, LocalReject] {
            states.sent(&order(Cancel, 1, 0, &buy(0, 0)));
            assert_eq!(states.apply(&event(kind, 1, 0)), Verdict::Real);
            assert_eq!(view(states), [(1, Live, 100)]);
        }
        assert_eq!(states.apply(&event(CancelRejected, 1, 0)), Verdict::Late, "said again");
        assert_eq!(states.apply(&event(CancelPending, 1, 0)), Verdict::Real);
    });
}

#[test]
fn a_replacement_counts_beside_the_old_order_and_then_takes_its_place() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &buy(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        states.sent(&order(Replace, 2, 1, &buy(11_000, 200)));
        assert_eq!(view(states), [(1, PendingReplace, 100), (2, PendingNew, 200)]);
        let Holding { open, orders, .. } = *states.holding(AAPL).unwrap();
        assert_eq!((open, orders), ([300, 0], 1));
        // A fill of the old order on the way.
        assert_eq!(states.apply(&fill(1, 30, 7)), Verdict::Real);
        assert_eq!(states.holding(AAPL).unwrap().open(Side::Buy), 270);
        assert_eq!(states.apply(&replaced(2, 1, 170)), Verdict::Real);
        assert_eq!(view(states), [(2, Live, 170)]);
        assert_eq!(states.venue(), &Totals { open: [170, 0], gross: 30 * 10_000 + 170 * 11_000, orders: 1 });
    });
}

#[test]
fn a_refused_replacement_leaves_the_old_order_as_it_was() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &buy(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        for (id, kind) in [(2, Rejected), (3, LocalReject)] {
            states.sent(&order(Replace, id, 1, &buy(11_000, 200)));
            states.apply(&fill(1, 10, id));
            assert_eq!(states.apply(&event(kind, id, 0)), Verdict::Ended);
            assert_eq!(states.orphan(AAPL), None);
        }
        assert_eq!(view(states), [(1, Live, 80)]);
        assert!(states.find(AAPL, 1).unwrap().may_be_replaced());
    });
}

#[test]
fn a_replacement_with_nothing_left_to_replace_is_gone_and_told_of() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &sell(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        states.sent(&order(Replace, 2, 1, &sell(9_900, 100)));
        states.sent(&order(Replace, 3, 2, &sell(9_800, 100)));
        assert_eq!(states.apply(&fill(1, 100, 7)), Verdict::Ended);
        let orphans: Vec<_> = std::iter::from_fn(|| states.orphan(AAPL)).collect();
        let told: Vec<_> = orphans.iter().map(|e| (e.kind, e.id, e.instrument, e.side)).collect();
        assert_eq!(told, [(Rejected, 2, AAPL, Side::Sell), (Rejected, 3, AAPL, Side::Sell)]);
        assert_eq!((view(states), states.venue().open), (vec![], [0; 2]));
        // An exchange that does say no comes too late for it.
        assert_eq!(states.apply(&event(Rejected, 2, 0)), Verdict::Late);
        assert_eq!(states.counters(), &StateCounters { orphans: 2, late: 1, ..StateCounters::default() });
    });
}

#[test]
fn what_comes_again_after_a_new_login_changes_nothing() {
    with(false, |states| {
        let said = [
            event(Accepted, 1, 300),
            fill(1, 50, 7),
            fill(1, 50, 8),
            OrderEvent { exchange_ns: 5, ..event(Cancelled, 1, 20) },
            replaced(2, 1, 100),
            fill(2, 10, 9),
        ];
        states.sent(&order(Enter, 1, 0, &buy(10_000, 300)));
        states.sent(&order(Replace, 2, 1, &buy(10_000, 100)));
        said.iter().for_each(|event| assert!(matches!(states.apply(event), Verdict::Real | Verdict::Ended)));
        let before = (view(states), *states.venue(), *states.holding(AAPL).unwrap());
        for event in &said {
            assert_eq!(states.apply(event), Verdict::Late, "{event:?}");
        }
        assert_eq!((view(states), *states.venue(), *states.holding(AAPL).unwrap()), before);
        assert_eq!(before.2.position(), 110);
        assert_eq!(states.counters().impossible(), 0);
    });
}

#[test]
fn a_partial_cancel_that_comes_again_is_known_by_its_time() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &buy(10_000, 300)));
        states.apply(&event(Accepted, 1, 300));
        let cancel = |ns| OrderEvent { exchange_ns: ns, ..event(Cancelled, 1, 100) };
        assert_eq!(
            [5, 5, 4, 6].map(|ns| states.apply(&cancel(ns))),
            [Verdict::Real, Verdict::Late, Verdict::Late, Verdict::Real]
        );
        assert_eq!(view(states), [(1, Live, 100)]);
    });
}

#[test]
fn what_cannot_be_is_counted_by_kind() {
    let count = |send: &[Order], events: &[OrderEvent]| {
        let mut counters = StateCounters::default();
        with(false, |states| {
            send.iter().for_each(|order| assert_eq!(states.sent(order), None));
            for event in events {
                states.apply(event);
            }
            counters = *states.counters();
        });
        counters
    };
    let none = StateCounters::default();
    let one = order(Enter, 1, 0, &buy(10_000, 100));
    let two = order(Replace, 2, 1, &buy(10_000, 100));
    let accepted = event(Accepted, 1, 100);
    assert_eq!(count(&[one], &[event(Accepted, 9, 100)]), StateCounters { unknown_order: 1, ..none });
    let elsewhere = OrderEvent { instrument: Instrument(99), ..event(Accepted, 9, 100) };
    assert_eq!(count(&[one], &[elsewhere]), StateCounters { unknown_order: 1, ..none });
    let gone = [accepted, fill(1, 100, 7), fill(1, 100, 8)];
    assert_eq!(count(&[one], &gone), StateCounters { late_fill: 1, ..none });
    assert_eq!(count(&[one], &[accepted, fill(1, 101, 7)]), StateCounters { overfill: 1, ..none });
    assert_eq!(count(&[one], &[accepted, event(Cancelled, 1, 101)]), StateCounters { overcancel: 1, ..none });
    assert_eq!(count(&[one], &[accepted, fill(1, 0, 7)]), StateCounters { nothing: 1, ..none });
    assert_eq!(count(&[one], &[accepted, event(Cancelled, 1, 0)]), StateCounters { nothing: 1, ..none });
    assert_eq!(count(&[one], &[event(Accepted, 1, 101)]), StateCounters { grown: 1, ..none });
    assert_eq!(count(&[one], &[fill(1, 10, 7)]), StateCounters { early: 1, ..none });
    assert_eq!(count(&[one, two], &[accepted, fill(2, 10, 7)]), StateCounters { early: 1, ..none });
    assert_eq!(count(&[one], &[accepted, event(Rejected, 1, 0)]), StateCounters { misfit: 1, ..none });
    assert_eq!(count(&[one, two], &[event(Accepted, 2, 100)]), StateCounters { misfit: 1, ..none });
    assert_eq!(count(&[one, two], &[replaced(2, 7, 100)]), StateCounters { misfit: 1, ..none });
    assert_eq!(count(&[two], &[]), StateCounters { untracked: 1, ..none });
}

#[test]
fn an_overfill_moves_the_position_by_what_was_said() {
    with(false, |states| {
        states.sent(&order(Enter, 1, 0, &sell(10_000, 100)));
        states.apply(&event(Accepted, 1, 100));
        assert_eq!(states.apply(&fill(1, 150, 7)), Verdict::Ended);
        assert_eq!(states.holding(AAPL).unwrap().position(), -150);
        assert_eq!(states.venue().open, [0; 2]);
    });
}

#[test]
fn a_position_costs_what_its_shares_cost_and_nothing_when_it_is_closed() {
    with(false, |states| {
        let mut id = 0;
        let mut trade = |states: &mut OrderStates<'_>, live: Live| {
            id += 1;
            states.sent(&order(Enter, id, 0, &live));
            states.apply(&event(Accepted, id, live.leaves));
            states.apply(&fill(id, live.leaves, id));
            (states.holding(AAPL).unwrap().position(), states.holding(AAPL).unwrap().cost())
        };
        assert_eq!(trade(states, buy(100, 10)), (10, 1_000));
        assert_eq!(trade(states, buy(200, 10)), (20, 3_000));
        assert_eq!(trade(states, sell(500, 5)), (15, 2_250), "a quarter of the position, a quarter of its cost");
        assert_eq!(trade(states, sell(300, 25)), (-10, 3_000), "what goes through zero is new");
        assert_eq!(trade(states, buy(1, 10)), (0, 0));
        assert_eq!(states.venue().gross, 0);
    });
}

#[test]
fn without_answers_everything_is_done_when_it_is_handed_down() {
    with(true, |states| {
        let entered = states.sent(&order(Enter, 1, 0, &buy(10_000, 100))).unwrap();
        assert_eq!((entered.kind, entered.id, entered.qty, entered.price.0), (Accepted, 1, 100, 10_000));
        assert_eq!(view(states), [(1, Live, 100)]);
        let moved = states.sent(&order(Replace, 2, 1, &buy(11_000, 200))).unwrap();
        assert_eq!((moved.kind, moved.id, moved.replaced_id, moved.qty), (Replaced, 2, 1, 200));
        assert_eq!(view(states), [(2, Live, 200)]);
        let less = states.sent(&order(Cancel, 2, 0, &buy(0, 50))).unwrap();
        assert_eq!((less.kind, less.qty), (Cancelled, 150));
        let gone = states.sent(&order(Cancel, 2, 0, &buy(0, 0))).unwrap();
        assert_eq!((gone.kind, gone.qty), (Cancelled, 50));
        assert_eq!(states.venue(), &Totals::default());
        assert_eq!(states.sent(&order(Cancel, 2, 0, &buy(0, 0))), None, "it is gone");
    });
}

#[test]
fn the_slots_of_an_instrument_are_its_own_and_bounded() {
    with(false, |states| {
        (1..=4).for_each(|id| assert_eq!(states.sent(&order(Enter, id, 0, &buy(10_000, 1))), None));
        assert!(!states.room(AAPL) && states.room(Instrument(1)) && !states.room(Instrument(2)));
        states.sent(&order(Enter, 5, 0, &buy(10_000, 1)));
        assert_eq!((states.counters().untracked, states.venue().orders), (1, 4));
        states.apply(&event(Rejected, 2, 0));
        assert!(states.room(AAPL));
    });
}

/// What a strategy may ask for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Enter { instrument: u32, side: Side, price: i64, qty: u32 },
    Replace { pick: u8, price: i64, qty: u32 },
    Cancel { pick: u8 },
    Exchange(Act),
}

fn asks() -> impl Strategy<Value = Ask> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    prop_oneof![
        3 => (0u32..2, side, 1i64..50, 1u32..300)
            .prop_map(|(instrument, side, price, qty)| Ask::Enter { instrument, side, price, qty }),
        3 => (any::<u8>(), 1i64..50, 1u32..300).prop_map(|(pick, price, qty)| Ask::Replace { pick, price, qty }),
        2 => any::<u8>().prop_map(|pick| Ask::Cancel { pick }),
        12 => acts().prop_map(Ask::Exchange),
    ]
}

/// The same state kept in another way: every order by id in a map, sums made from all of it each time.
#[derive(Default)]
struct Model {
    orders: HashMap<u64, Modelled>,
    position: HashMap<u32, i64>,
}

#[derive(Clone, Copy)]
struct Modelled {
    live: Live,
    replaces: Option<u64>,
}

impl Model {
    fn sent(&mut self, order: &Order) {
        let live = Live { instrument: order.instrument, side: order.side, price: order.price, leaves: order.qty };
        let replaces = (order.kind == Replace).then_some(order.replaced_id);
        if order.kind != Cancel {
            self.orders.insert(order.id, Modelled { live, replaces });
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        let Some(order) = self.orders.get_mut(&event.id) else { return };
        match event.kind {
            Accepted => order.live.leaves = event.qty,
            Replaced => {
                (order.live.leaves, order.replaces) = (event.qty, None);
                self.orders.remove(&event.replaced_id);
            }
            Filled | Cancelled => {
                order.live.leaves -= event.qty;
                if event.kind == Filled {
                    let signed = i64::from(event.qty) * if order.live.side == Side::Buy { 1 } else { -1 };
                    *self.position.entry(order.live.instrument.0).or_default() += signed;
                }
            }
            Rejected => order.live.leaves = 0,
            _ => {}
        }
        self.orders.retain(|_, order| order.live.leaves > 0);
        // Until nothing changes: a replacement goes with what it replaces.
        loop {
            let ids: Vec<u64> = self.orders.keys().copied().collect();
            self.orders.retain(|_, order| order.replaces.is_none_or(|old| ids.contains(&old)));
            if self.orders.len() == ids.len() {
                return;
            }
        }
    }
}

/// Totals and holdings are the sums of what stands.
fn check_sums(states: &OrderStates<'_>) {
    let mut venue = Totals::default();
    for instrument in [0, 1].map(Instrument) {
        let holding = states.holding(instrument).unwrap();
        let mut open = [0; 2];
        for standing in states.standing(instrument) {
            assert!(standing.leaves() > 0);
            open[standing.side() as usize] += u64::from(standing.leaves());
            venue.gross += u128::from(standing.leaves()) * standing.price().0 as u128;
        }
        assert_eq!(open, [holding.open(Side::Buy), holding.open(Side::Sell)]);
        assert_eq!(holding.cost() == 0, holding.position() == 0);
        venue.gross += holding.cost();
        venue.open = [venue.open[0] + open[0], venue.open[1] + open[1]];
        venue.orders += holding.orders();
    }
    assert_eq!(*states.venue(), venue);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_a_lawful_exchange_does_nothing_is_impossible_and_both_sides_end_alike(script in prop::collection::vec(asks(), 0..150)) {
        with(false, |states| {
            let (mut exchange, mut model, mut next) = (Exchange::default(), Model::default(), 1);
            let sent = |order: Order, states: &mut OrderStates<'_>, exchange: &mut Exchange, model: &mut Model| {
                states.sent(&order);
                model.sent(&order);
                exchange.send(order);
            };
            let tell = |event: &OrderEvent, known: bool, states: &mut OrderStates<'_>, model: &mut Model| {
                let before = *states.venue();
                let verdict = states.apply(event);
                if known {
                    let flag = matches!(event.kind, CancelRejected | CancelPending);
                    assert!(verdict == Verdict::Late || flag, "{event:?}: {verdict:?}");
                    assert_eq!(before, *states.venue());
                } else {
                    assert_ne!(verdict, Verdict::Impossible, "{event:?}");
                    model.apply(event);
                }
                if verdict == Verdict::Ended {
                    while states.orphan(event.instrument).is_some() {}
                }
                for instrument in [0, 1].map(Instrument) {
                    assert_eq!(states.orphan(instrument), None, "only an end makes orphans");
                }
            };
            for ask in script {
                let any = |pick: u8, states: &OrderStates<'_>| {
                    let all: Vec<Standing> = [0, 1].iter().flat_map(|&i| states.standing(Instrument(i)).copied().map(move |s| (i, s)))
                        .map(|(_, s)| s).collect();
                    (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
                };
                let place = |standing: &Standing, states: &OrderStates<'_>| {
                    [0, 1].map(Instrument).into_iter().find(|i| states.find(*i, standing.id()).is_some()).unwrap()
                };
                match ask {
                    Ask::Enter { instrument, side, price, qty } if states.room(Instrument(instrument)) => {
                        let live = Live { instrument: Instrument(instrument), side, price: Price(price), leaves: qty };
                        sent(order(Enter, next, 0, &live), states, &mut exchange, &mut model);
                        next += 1;
                    }
                    Ask::Replace { pick, price, qty } => {
                        let Some(old) = any(pick, states).filter(Standing::may_be_replaced) else { continue };
                        let instrument = place(&old, states);
                        if states.room(instrument) {
                            let live = Live { instrument, side: old.side(), price: Price(price), leaves: qty };
                            sent(order(Replace, next, old.id(), &live), states, &mut exchange, &mut model);
                            next += 1;
                        }
                    }
                    Ask::Cancel { pick } => {
                        let Some(old) = any(pick, states) else { continue };
                        let instrument = place(&old, states);
                        let live = Live { instrument, side: old.side(), price: Price(0), leaves: 0 };
                        sent(order(Cancel, old.id(), 0, &live), states, &mut exchange, &mut model);
                    }
                    Ask::Exchange(act) => {
                        if let Some((event, known)) = exchange.act(act) {
                            tell(&event, known, states, &mut model);
                        }
                    }
                    Ask::Enter { .. } => {}
                }
                check_sums(states);
                // We never think that less may trade than may.
                for (instrument, side) in [(0, Side::Buy), (0, Side::Sell), (1, Side::Buy), (1, Side::Sell)] {
                    let holding = states.holding(Instrument(instrument)).unwrap();
                    let sign = if side == Side::Buy { 1 } else { -1 };
                    let ours = sign * holding.position() + holding.open(side) as i64;
                    let theirs = sign * exchange.position.get(&instrument).copied().unwrap_or(0)
                        + exchange.exposure(Instrument(instrument), side) as i64;
                    assert!(ours >= theirs, "{ours} shares may trade by us, {theirs} by the exchange");
                }
                // And we know what the map knows.
                let mut ours: Vec<_> = [0, 1].iter()
                    .flat_map(|&i| states.standing(Instrument(i)).map(move |s| (s.id(), i, s.side(), s.price(), s.leaves())))
                    .collect();
                let mut map: Vec<_> = model.orders.iter()
                    .map(|(id, m)| (*id, m.live.instrument.0, m.live.side, m.live.price, m.live.leaves))
                    .collect();
                ours.sort_by_key(|order| order.0);
                map.sort_by_key(|order| order.0);
                assert_eq!(ours, map);
                for instrument in 0..2 {
                    let position = states.holding(Instrument(instrument)).unwrap().position();
                    assert_eq!(position, model.position.get(&instrument).copied().unwrap_or(0));
                }
            }
            for event in exchange.settle() {
                tell(&event, false, states, &mut model);
            }
            let stands: BTreeMap<u64, u32> = exchange.live.iter().map(|(id, live)| (*id, live.leaves)).collect();
            let known: BTreeMap<u64, u32> = [0, 1].iter()
                .flat_map(|&i| states.standing(Instrument(i)).map(|s| (s.id(), s.leaves())))
                .collect();
            assert_eq!(known, stands);
            assert_eq!(states.venue().orders as usize, stands.len());
            assert_eq!((states.counters().impossible(), states.counters().untracked), (0, 0));
        });
    }

    #[test]
    fn whatever_anyone_says_sums_stay_sums_and_nothing_panics(
        script in prop::collection::vec((any::<bool>(), 0u8..8, 0u64..12, 0u64..12, 0u32..3, any::<bool>(), 0u32..400), 0..200),
        assumed: bool,
    ) {
        with(assumed, |states| {
            for (speak, kind, id, other, instrument, buys, qty) in script {
                let side = if buys { Side::Buy } else { Side::Sell };
                let live = Live { instrument: Instrument(instrument), side, price: Price(qty.into()), leaves: qty };
                if speak {
                    let kinds =
                        [Accepted, Replaced, Filled, Cancelled, Rejected, CancelRejected, CancelPending, LocalReject];
                    let before = states.counters().impossible();
                    let event = OrderEvent {
                        replaced_id: other,
                        match_id: other,
                        exchange_ns: other,
                        qty,
                        ..blank(id, Instrument(instrument), side, kinds[usize::from(kind)])
                    };
                    let verdict = states.apply(&event);
                    let after = states.counters().impossible();
                    assert!(verdict != Verdict::Impossible || after > before, "the impossible is counted");
                } else if qty > 0 {
                    let kind = [Enter, Replace, Cancel][usize::from(kind) % 3];
                    // An id is given out once.
                    let taken = kind != Cancel && (0..2).any(|i| states.find(Instrument(i), id).is_some());
                    let twice = kind == Replace
                        && states.find(Instrument(instrument), other).is_some_and(|old| !old.may_be_replaced());
                    if id > 0 && !taken && !twice {
                        states.sent(&order(kind, id, other, &live));
                    }
                }
                while (0..2).any(|i| states.orphan(Instrument(i)).is_some()) {}
                check_loose_sums(states);
            }
        });
    }
}

/// Sums where orders at a price of 0 and overfills are about.
fn check_loose_sums(states: &OrderStates<'_>) {
    let mut gross = 0;
    let mut orders = 0;
    for instrument in [0, 1].map(Instrument) {
        let holding = states.holding(instrument).unwrap();
        let open = |side| {
            states.standing(instrument).filter(move |s| s.side() == side).map(|s| u64::from(s.leaves())).sum::<u64>()
        };
        assert_eq!([open(Side::Buy), open(Side::Sell)], [holding.open(Side::Buy), holding.open(Side::Sell)]);
        gross += holding.cost();
        gross += states.standing(instrument).map(|s| u128::from(s.leaves()) * s.price().0 as u128).sum::<u128>();
        orders += holding.orders();
    }
    assert_eq!((states.venue().gross, states.venue().orders), (gross, orders));
}
