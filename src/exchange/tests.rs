//! The program's order session against the exchange's end of each protocol, over two TCP stacks in memory. What the market
//! says is said by the test.

use super::batch::Batch;
use super::boe::Boe;
use super::connection::Cut;
use super::fix::Fix;
use super::orders::{Request, Response, Terms, cancel, reject};
use super::session::{Credentials, Dialect, Heard};
use super::soup::Soup;
use crate::arena::{Arena, heap};
use crate::market::{Order, OrderEvent, OrderEventKind, OrderKind, Price, Side, Symbol};
use crate::session::peer::{self, Peer};
use crate::session::{
    CompIds, Encoder, EncoderConfig, OrderSession, Protocol, SessionConfig, TCP_HEADERS, Trouble, Way, order,
};
use OrderEventKind::{Accepted, CancelRejected, Cancelled, Filled, LocalReject, Rejected, Replaced};
use OrderKind::{Cancel, Enter, Replace};
use proptest::prelude::*;

fn protocols() -> [Protocol; 3] {
    let ids = CompIds { sender: "TICKPATH".parse().unwrap(), target: "EXCHANGE".parse().unwrap() };
    [Protocol::Ouch50, Protocol::Boe20, Protocol::Fix42(ids)]
}

/// A session and an exchange that a test speaks for. A tick is a microsecond.
struct Day {
    protocol: Protocol,
    session: OrderSession,
    peer: Peer,
    now: u64,
    to_peer: Vec<Vec<u8>>,
    dialect: Box<dyn Dialect>,
    stream: Vec<u8>,
    is_in: bool,
    logouts: usize,
    heard: Vec<Request>,
    events: Vec<OrderEvent>,
}

impl Day {
    fn new(protocol: Protocol) -> Day {
        let config = SessionConfig { epoch_ns: 1_409_537_237_077_786_000, ..peer::session(protocol) };
        let dialect: Box<dyn Dialect> = match protocol {
            Protocol::Ouch50 => Box::new(Soup::new(*b"SESSION001")),
            Protocol::Boe20 => Box::<Boe>::default(),
            Protocol::Fix42(_) => Box::<Fix>::default(),
        };
        Day {
            protocol,
            session: OrderSession::new(&config, 0),
            peer: Peer::new(1 << 16),
            now: 0,
            to_peer: Vec::new(),
            dialect,
            stream: Vec::new(),
            is_in: false,
            logouts: 0,
            heard: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Half a millisecond.
    fn turn(&mut self) {
        self.now += 500;
        let Day { session, to_peer, now, events, .. } = self;
        let mut emit = |frame: &[u8]| {
            to_peer.push(frame.to_vec());
            true
        };
        session.poll(*now, &mut emit);
        while let Some(frame) = self.peer.out.pop_front() {
            session.receive(&frame, *now, &mut emit);
        }
        session.read(*now, 64, |answered| events.push(answered.event));
        for frame in self.to_peer.drain(..) {
            self.peer.poll(self.now as i64, Some(frame));
        }
        self.peer.poll(self.now as i64, None);
        self.stream.extend(self.peer.read());
        self.listen();
    }

    /// What the exchange makes of what it has heard.
    fn listen(&mut self) {
        let credentials = Credentials::new("ALICE", "secret").unwrap();
        while let Cut::Message(length) = self.dialect.cut(&self.stream) {
            if self.stream.is_empty() {
                return;
            }
            let message: Vec<u8> = self.stream.drain(..length).collect();
            let mut out = Batch::default();
            let heard = self.dialect.hear(&message, self.is_in, self.is_in, &credentials, &mut out);
            out.iter().for_each(|message| self.peer.send(message));
            match heard.unwrap_or_else(|_| panic!("{:?} refuses {}", self.protocol, message.escape_ascii())) {
                Heard::Admitted { .. } => self.is_in = true,
                Heard::Order(Request::Query) => self.says(Response::Query { next: 1 }),
                Heard::Order(request) => self.heard.push(request),
                Heard::Logout => self.logouts += 1,
                Heard::Refused => panic!("{:?}: the login is refused", self.protocol),
                Heard::Nothing | Heard::Replayed(_) => {}
            }
        }
    }

    fn turns(&mut self, n: usize) {
        (0..n).for_each(|_| self.turn());
    }

    /// Until it is logged in, again if the connection has been cut.
    fn comes_up(&mut self) {
        self.turns(4);
        for _ in 0..10_000 {
            if self.session.is_up() {
                // What was in doubt is settled after that.
                return self.turns(20);
            }
            self.turn();
        }
        panic!("{:?}: no login", self.protocol);
    }

    /// The order is sent; whether it arrives is another question.
    fn sends(&mut self, kind: OrderKind, id: u64, replaced_id: u64) {
        let order =
            Order { replaced_id, qty: if kind == Cancel { 0 } else { 100 }, arrival_ns: self.now, ..order(kind, id) };
        let message = encoded(self.protocol, &order).unwrap();
        let mut frame = [&[0; TCP_HEADERS][..], &message].concat();
        assert_eq!(self.session.send(&order, &mut frame, self.now), Way::Ahead, "{:?}", self.protocol);
        self.to_peer.push(frame);
    }

    /// What the exchange has heard since.
    fn heard(&mut self) -> Vec<(&'static str, u32)> {
        self.turns(4);
        let told = |request| match request {
            Request::Enter { urn, terms } => {
                assert_eq!((terms.side, terms.qty, terms.price, &terms.symbol), (b'S', 100, 1_234_500, b"CVLT    "));
                ("enter", urn)
            }
            Request::Replace { urn, .. } => ("replace", urn),
            Request::Cancel { urn, qty: 0 } => ("cancel", urn),
            other => panic!("{other:?}"),
        };
        self.heard.drain(..).map(told).collect()
    }

    /// A response of the market; it is kept when nobody is there.
    fn says(&mut self, response: Response) {
        let mut out = Batch::default();
        self.dialect.respond(&response, 34_200_000_000_000, &mut out);
        if self.is_in {
            out.iter().for_each(|message| self.peer.send(message));
        }
    }

    /// The market ignores a request.
    fn ignores(&mut self, request: Request) {
        let mut out = Batch::default();
        self.dialect.ignored(&request, 34_200_000_000_000, &mut out);
        out.iter().for_each(|message| self.peer.send(message));
    }

    fn told(&mut self) -> Vec<(OrderEventKind, u64, u32)> {
        self.turns(4);
        self.events.drain(..).map(|event| (event.kind, event.id, event.qty)).collect()
    }

    /// The connection breaks: what the peer has not heard it never will.
    fn cut(&mut self) {
        self.peer.cut(self.now as i64);
        self.is_in = false;
        self.stream.clear();
    }
}

fn terms(qty: u32) -> Terms {
    Terms {
        side: b'S',
        qty,
        symbol: *b"CVLT    ",
        price: 1_234_500,
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        sweep: b'N',
        cross: b'N',
        client_id: [b' '; 14],
    }
}

fn accepted(urn: u32) -> Response {
    Response::Accepted { urn, terms: terms(100), reference: 7 }
}

fn executed(urn: u32, qty: u32, match_number: u64) -> Response {
    Response::Executed { urn, qty, price: 1_234_500, liquidity: b'A', match_number }
}

fn cancelled(urn: u32, qty: u32) -> Response {
    Response::Canceled { urn, qty, reason: cancel::USER }
}

fn rejected(urn: u32) -> Response {
    Response::Rejected { urn, reason: reject::HALTED, client_id: [b' '; 14] }
}

#[test]
fn an_order_lives_and_ends_alike_in_every_protocol() {
    for protocol in protocols() {
        let mut day = Day::new(protocol);
        day.comes_up();
        day.sends(Enter, 1, 0);
        assert_eq!(day.heard(), [("enter", 1)]);
        day.says(accepted(1));
        day.says(executed(1, 40, 11));
        day.turns(4);
        let [stands, fill] = day.events[..] else { panic!("{protocol:?}: {:?}", day.events) };
        assert_eq!((stands.kind, stands.qty, stands.price), (Accepted, 100, Price(1_234_500)), "{protocol:?}");
        assert_eq!(
            (fill.kind, fill.qty, fill.price, fill.match_id),
            (Filled, 40, Price(1_234_500), 11),
            "{protocol:?}"
        );
        // OUCH has it to the ns; what day it is does not matter to the others.
        assert_eq!(fill.exchange_ns, 34_200_000_000_000, "{protocol:?}");
        day.events.clear();

        day.sends(Replace, 2, 1);
        assert_eq!(day.heard(), [("replace", 2)]);
        // OUCH: what shall stand. BOE and FIX: the whole order, 40 shares of which are executed.
        let qty = if protocol == Protocol::Ouch50 { 100 } else { 60 };
        day.says(Response::Replaced { original: 1, urn: 2, terms: terms(qty), reference: 8 });
        day.turns(4);
        let replaced = day.events[0];
        assert_eq!((replaced.kind, replaced.id, replaced.replaced_id, replaced.qty), (Replaced, 2, 1, qty));
        day.events.clear();

        day.sends(Cancel, 2, 0);
        assert_eq!(day.heard(), [("cancel", 2)]);
        day.says(cancelled(2, qty));
        assert_eq!(day.told(), [(Cancelled, 2, qty)], "{protocol:?}");

        day.sends(Enter, 3, 0);
        day.sends(Enter, 4, 0);
        assert_eq!(day.heard().len(), 2);
        day.says(rejected(4));
        assert_eq!(day.told(), [(Rejected, 4, 0)], "{protocol:?}");
        day.says(accepted(3));
        day.says(executed(3, 100, 12));
        assert_eq!(day.told(), [(Accepted, 3, 100), (Filled, 3, 100)], "{protocol:?}");

        assert!(!day.session.close());
        day.turns(100);
        assert_eq!((day.session.standing(), day.logouts), (0, 1), "{protocol:?}");
        let (counters, _) = day.session.counters();
        assert_eq!((counters.malformed, counters.unknown_orders, counters.connections_lost), (0, 0, 0), "{protocol:?}");
    }
}

#[test]
fn a_refused_replacement_and_a_refused_cancel_leave_the_order() {
    for protocol in &protocols()[1..] {
        let mut day = Day::new(*protocol);
        day.comes_up();
        day.sends(Enter, 1, 0);
        day.says_after_hearing(accepted(1));
        day.sends(Replace, 2, 1);
        day.says_after_hearing(rejected(2));
        day.sends(Cancel, 1, 0);
        day.heard();
        day.ignores(Request::Cancel { urn: 1, qty: 0 });
        assert_eq!(day.told(), [(Accepted, 1, 100), (Rejected, 2, 0), (CancelRejected, 1, 0)], "{protocol:?}");
        assert_eq!(day.session.standing(), 1);
    }
}

impl Day {
    fn says_after_hearing(&mut self, response: Response) {
        assert_eq!(self.heard().len(), 1, "{:?}", self.protocol);
        self.says(response);
        self.turns(4);
    }
}

#[test]
fn after_a_break_answers_come_again_and_what_never_arrived_is_told() {
    for protocol in protocols() {
        let mut day = Day::new(protocol);
        day.comes_up();
        for id in 1..=2 {
            day.sends(Enter, id, 0);
        }
        assert_eq!(day.heard().len(), 2);
        day.says(accepted(1));
        assert_eq!(day.told(), [(Accepted, 1, 100)]);
        day.cut();
        // While nobody is there: the answer to 2, and a fill. Order 3 and the cancel of 1 do not arrive.
        day.says(accepted(2));
        day.says(executed(1, 30, 11));
        day.sends(Enter, 3, 0);
        day.sends(Cancel, 1, 0);
        day.comes_up();
        let mut told = day.told();
        told.sort_by_key(|event| event.1);
        let expected = [(Filled, 1, 30), (CancelRejected, 1, 0), (Accepted, 2, 100), (LocalReject, 3, 0)];
        assert_eq!(told, expected, "{protocol:?}");
        assert_eq!((day.session.standing(), day.session.counters().0.lost_on_the_way), (2, 2), "{protocol:?}");
        assert!(day.heard().is_empty(), "{protocol:?}");

        // And it goes on, with the same numbers on both sides.
        day.sends(Enter, 4, 0);
        assert_eq!(day.heard(), [("enter", 4)], "{protocol:?}");
        day.says(accepted(4));
        day.says(cancelled(2, 100));
        assert_eq!(day.told(), [(Accepted, 4, 100), (Cancelled, 2, 100)], "{protocol:?}");
        day.cut();
        day.comes_up();
        assert_eq!(day.told(), [], "{protocol:?}: nothing is told twice");
    }
}

#[test]
fn a_refusal_that_was_lost_is_found_out() {
    for protocol in protocols() {
        let mut day = Day::new(protocol);
        day.comes_up();
        day.sends(Enter, 1, 0);
        assert_eq!(day.heard(), [("enter", 1)]);
        day.cut();
        day.says(rejected(1));
        day.comes_up();
        if protocol == Protocol::Boe20 {
            // It is not said again: only the answer to a cancel tells.
            assert_eq!(day.heard(), [("cancel", 1)]);
            day.ignores(Request::Cancel { urn: 1, qty: 0 });
        }
        assert_eq!(day.told(), [(Rejected, 1, 0)], "{protocol:?}");
        assert_eq!(day.session.standing(), 0, "{protocol:?}");
    }
}

#[test]
fn a_sweep_cancels_what_stands() {
    for protocol in protocols() {
        let mut day = Day::new(protocol);
        day.comes_up();
        for id in 1..=2 {
            day.sends(Enter, id, 0);
        }
        assert_eq!(day.heard().len(), 2);
        (1..=2).for_each(|urn| day.says(accepted(urn)));
        day.told();
        let Day { session, to_peer, now, .. } = &mut day;
        let mut emit = |frame: &[u8]| {
            to_peer.push(frame.to_vec());
            true
        };
        let mut swept = Vec::new();
        session.sweep(9, *now, &mut emit, |id, _| swept.push(id));
        assert_eq!(swept.len(), 2);
        let mut heard = day.heard();
        heard.sort_unstable();
        assert_eq!(heard, [("cancel", 1), ("cancel", 2)], "{protocol:?}");
    }
}

#[test]
fn silence_is_kept_away_by_heartbeats_and_garbage_breaks_the_connection() {
    for protocol in protocols() {
        let mut day = Day::new(protocol);
        day.comes_up();
        for _ in 0..20 {
            day.turns(2000);
            let mut out = Batch::default();
            day.dialect.heartbeat(&mut out);
            out.iter().for_each(|message| day.peer.send(message));
        }
        let (counters, _) = day.session.counters();
        assert!(counters.heartbeats >= 15 && counters.connections_lost == 0, "{protocol:?}: {counters:?}");
        let oversize = day.dialect.oversize();
        day.peer.send(oversize);
        day.turns(10);
        assert!(!day.session.is_up(), "{protocol:?}");
        day.cut();
        day.comes_up();
        assert_eq!(day.session.counters().0.broken_stream, 1, "{protocol:?}");
    }
}

fn encoded(protocol: Protocol, order: &Order) -> Option<Vec<u8>> {
    let config = EncoderConfig { protocol, instruments: 8 };
    let mut region = heap(Encoder::bytes(&config));
    let mut encoder = Encoder::new(&config, &mut Arena::new(&mut region)).unwrap();
    let mut message = vec![0; encoder.max_message()];
    let length = encoder.encode(order, &mut message)?;
    message.truncate(length);
    Some(message)
}

proptest! {
    #[test]
    fn whatever_is_sent_is_heard(
        id in 1u32..,
        replaced_id in 1u32..,
        qty in 1u32..1_000_000,
        units in 1i64..2_000_000_000,
        symbol in "[A-Z][A-Z.+]{0,7}",
        is_buy: bool,
        arrival_ns: u64,
        number in 0u32..1_000_000_000,
    ) {
        let side = if is_buy { Side::Buy } else { Side::Sell };
        let base = Order {
            replaced_id: replaced_id.into(),
            qty,
            price: Price(units),
            symbol: Symbol::new(&symbol).unwrap(),
            side,
            arrival_ns,
            ..order(Enter, id.into())
        };
        for protocol in &protocols()[1..] {
            for kind in [Enter, Replace, Cancel] {
                let sent = Order { kind, qty: if kind == Cancel { 0 } else { qty }, ..base };
                let mut message = encoded(*protocol, &sent).unwrap();
                let request = match protocol {
                    Protocol::Boe20 => {
                        crate::wire::boe20::number(&mut message, number);
                        super::boe::request(&message)
                    }
                    _ => {
                        crate::wire::fix42::number(&mut message, number);
                        prop_assert_eq!(super::fix::cut(&message), Cut::Message(message.len()));
                        super::fix::request(&message)
                    }
                };
                match request.unwrap() {
                    Request::Enter { urn, terms } => {
                        prop_assert_eq!((kind, urn, terms.qty, terms.price as i64), (Enter, id, qty, units));
                        prop_assert_eq!((terms.symbol, terms.side == b'B'), (base.symbol.0, is_buy));
                    }
                    Request::Replace { original, urn, qty: shares, price, .. } => {
                        prop_assert_eq!((kind, original, urn), (Replace, replaced_id, id));
                        prop_assert_eq!((shares, price as i64), (qty, units));
                    }
                    Request::Cancel { urn, qty } => prop_assert_eq!((kind, urn, qty), (Cancel, id, 0)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn an_exchange_that_has_forgotten_what_it_said_is_named() {
    let mut day = Day::new(Protocol::Boe20);
    day.comes_up();
    day.sends(Enter, 1, 0);
    assert_eq!(day.heard(), [("enter", 1)]);
    day.says(Response::Accepted { urn: 1, terms: terms(100), reference: 1 });
    assert_eq!(day.told(), [(Accepted, 1, 100)]);
    day.cut();
    day.dialect = Box::<Boe>::default();
    day.turns(400);
    let counters = *day.session.counters().0;
    assert_eq!((counters.numbers_reset, counters.logins, day.session.is_up()), (1, 1, false));
    assert_eq!(day.session.trouble(), Some(Trouble::NumbersReset { expected: 1, found: 0 }));
}
