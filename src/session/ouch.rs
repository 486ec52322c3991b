//! What OUCH 5.0 responses mean: a message comes in, what became of the order goes out, and the list of orders that may
//! stand is kept. An order that nobody here sent is told from one that is.

use super::live::Live;
use crate::market::{OrderEvent, OrderEventKind, Price};
use crate::wire::ouch50::{self, CancelOrderRepr, Outbound};
use crate::wire::soupbin;
use arrayvec::ArrayVec;

/// Bytes of a cancel, in its SoupBinTCP packet.
pub const CANCEL: usize = soupbin::HEADER + 9;

/// Bytes of an account query, in its SoupBinTCP packet.
const QUERY: usize = soupbin::HEADER + 1;

/// Most events that a message is told as.
pub const MOST_EVENTS: usize = 2;

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// What became of an order: one event, or acceptance and the end at once.
    Order {
        /// In the order in which they happened.
        events: ArrayVec<OrderEvent, MOST_EVENTS>,
        /// It answers what was sent: a new order, a replacement, a cancel.
        answer: bool,
    },
    /// About an order that is not known here: of another session, or over.
    Unknown {
        /// Its reference.
        id: u64,
        /// Shares of it were executed: positions are not what they are thought to be.
        executed: bool,
    },
    /// Everything that was sent before the question of [`query`] has been answered, or never will be.
    Caught,
    /// About no order, or nothing that changes one: a system event, a priority update.
    Other,
    /// No message of the protocol.
    Malformed,
}

/// The packet that cancels all of order `id`; `None` for an id that OUCH cannot say.
pub fn cancel(id: u64) -> Option<[u8; CANCEL]> {
    let mut packet = [0; CANCEL];
    let message = CancelOrderRepr { user_ref: u32::try_from(id).ok()?, qty: 0 };
    let length = message.emit(&[], &mut packet[soupbin::HEADER..]).ok()?;
    packet[..soupbin::HEADER].copy_from_slice(&soupbin::header(b'U', length)?);
    Some(packet)
}

/// The packet that asks which reference comes next. Its answer comes after those to everything sent before it.
pub fn query() -> [u8; QUERY] {
    let mut packet = [0; QUERY];
    // Two bytes of length, one of type, one of message: it fits.
    packet[..soupbin::HEADER].copy_from_slice(&soupbin::header(b'U', 1).unwrap_or_default());
    packet[soupbin::HEADER] = b'Q';
    packet
}

/// What `message`, which arrived at `rx_tsc`, means for the orders of `live`.
pub fn response(message: &[u8], rx_tsc: u64, live: &mut Live) -> Response {
    let Ok(message) = ouch50::parse_outbound(message) else { return Response::Malformed };
    let about = |id: u32, exchange_ns: u64, kind: OrderEventKind| about(id.into(), rx_tsc, exchange_ns, kind, live);
    let (id, event) = match &message {
        Outbound::Accepted(m, _) => (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Accepted)),
        Outbound::Replaced(m, _) => (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Replaced)),
        Outbound::Canceled(m, _) => (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Cancelled)),
        Outbound::SelfMatchCanceled(m, _) => {
            (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Cancelled))
        }
        Outbound::Executed(m, _) => (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Filled)),
        Outbound::Rejected(m, _) => (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::Rejected)),
        Outbound::CancelRejected(m, _) => {
            (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::CancelRejected))
        }
        Outbound::CancelPending(m, _) => {
            (m.user_ref(), about(m.user_ref(), m.timestamp(), OrderEventKind::CancelPending))
        }
        Outbound::QueryResponse(..) => return Response::Caught,
        _ => return Response::Other,
    };
    let Some(event) = event else {
        return unknown(id.into(), matches!(message, Outbound::Executed(..)), live);
    };
    let (events, answer) = match message {
        Outbound::Accepted(m, _) => {
            (stands(OrderEvent { qty: m.qty(), price: price(m.price()), ..event }, m.state(), live), true)
        }
        Outbound::Replaced(m, _) => {
            let replaced_id = m.original_ref().into();
            live.remove(replaced_id);
            let event = OrderEvent { qty: m.qty(), price: price(m.price()), replaced_id, ..event };
            (stands(event, m.state(), live), true)
        }
        Outbound::Canceled(m, _) => taken_off(OrderEvent { qty: m.qty(), reason: m.reason().into(), ..event }, live),
        Outbound::SelfMatchCanceled(m, _) => {
            taken_off(OrderEvent { qty: m.qty(), reason: m.reason().into(), ..event }, live)
        }
        Outbound::Executed(m, _) => {
            live.reduce(event.id, m.qty());
            let (price, match_id) = (price(m.price()), m.match_number());
            (one(OrderEvent { qty: m.qty(), price, match_id, ..event }), false)
        }
        Outbound::Rejected(m, _) => {
            live.ended(event.id);
            (one(OrderEvent { reason: m.reason(), ..event }), true)
        }
        Outbound::CancelRejected(..) => {
            live.cancel_refused(event.id);
            (one(event), true)
        }
        _ => (one(event), true),
    };
    Response::Order { events, answer }
}

/// An event of an order that is known here.
pub(super) fn about(id: u64, rx_tsc: u64, exchange_ns: u64, kind: OrderEventKind, live: &Live) -> Option<OrderEvent> {
    let order = live.order(id)?;
    Some(OrderEvent { rx_tsc, exchange_ns, ..OrderEvent::local(id, order.instrument, order.side, kind, 0) })
}

/// Said of an order that is not.
pub(super) fn unknown(id: u64, executed: bool, live: &Live) -> Response {
    if live.is_orphan(id) { Response::Other } else { Response::Unknown { id, executed } }
}

/// It stands, or is dead already.
pub(super) fn stands(event: OrderEvent, state: u8, live: &mut Live) -> ArrayVec<OrderEvent, MOST_EVENTS> {
    let mut events = one(event);
    if state == b'D' {
        live.ended(event.id);
        let kind = OrderEventKind::Cancelled;
        events.push(OrderEvent { kind, price: Price(0), replaced_id: 0, ..event });
    } else if let Some(order) = live.order_mut(event.id) {
        (order.qty, order.known) = (event.qty, true);
    }
    events
}

/// Shares were taken off; whether because it was asked for.
pub(super) fn taken_off(event: OrderEvent, live: &mut Live) -> (ArrayVec<OrderEvent, MOST_EVENTS>, bool) {
    let asked = live.order(event.id).is_some_and(|order| order.leaving);
    live.reduce(event.id, event.qty);
    (one(event), asked)
}

pub(super) fn one(event: OrderEvent) -> ArrayVec<OrderEvent, MOST_EVENTS> {
    [event].into_iter().collect()
}

fn price(wire: u64) -> Price {
    Price(i64::try_from(wire).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::live::LiveOrder;
    use super::*;
    use crate::market::{Instrument, Side};

    fn live(orders: &[(u64, u32)]) -> Live {
        let mut live = Live::new(16);
        for &(id, qty) in orders {
            assert!(live.insert(
                id,
                LiveOrder {
                    instrument: Instrument(3),
                    side: Side::Sell,
                    qty,
                    leaving: false,
                    known: false,
                    replaced_by: 0,
                    sent: 0,
                    left: 0
                }
            ));
        }
        live
    }

    fn events(response: Response) -> Vec<(OrderEventKind, u64, u32)> {
        match response {
            Response::Order { events, .. } => events.iter().map(|e| (e.kind, e.id, e.qty)).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The layouts are written out from the specification's tables.
    fn accepted(id: u32, qty: u32, state: u8) -> Vec<u8> {
        let mut m = [b"A".as_slice(), &9u64.to_be_bytes(), &id.to_be_bytes(), b"S", &qty.to_be_bytes()].concat();
        m.extend([b"CVLT    ".as_slice(), &1_234_500u64.to_be_bytes(), b"0Y", &77u64.to_be_bytes(), b"PNN"].concat());
        m.extend([&[state][..], b"113           ", &[0, 0]].concat());
        m
    }

    #[test]
    fn an_accepted_order_stands_and_a_dead_one_is_gone_at_once() {
        let mut live = live(&[(113, 300), (114, 300)]);
        let response = response(&accepted(113, 200, b'L'), 5, &mut live);
        let Response::Order { events: seen, answer: true } = &response else { panic!("{response:?}") };
        assert_eq!((seen[0].price, seen[0].exchange_ns, seen[0].rx_tsc), (Price(1_234_500), 9, 5));
        assert_eq!((seen[0].instrument, seen[0].side), (Instrument(3), Side::Sell));
        assert_eq!(live.order(113).unwrap().qty, 200);
        let dead = super::response(&accepted(114, 300, b'D'), 5, &mut live);
        assert_eq!(events(dead), [(OrderEventKind::Accepted, 114, 300), (OrderEventKind::Cancelled, 114, 300)]);
        assert_eq!(live.order(114), None);
    }

    #[test]
    fn a_fill_takes_shares_off_until_none_are_left() {
        let mut live = live(&[(7, 100)]);
        let fill = |qty: u32| {
            let mut m = [b"E".as_slice(), &9u64.to_be_bytes(), &7u32.to_be_bytes(), &qty.to_be_bytes()].concat();
            m.extend([&10_000u64.to_be_bytes()[..], b"A", &55u64.to_be_bytes(), &[0, 0]].concat());
            m
        };
        assert_eq!(events(response(&fill(60), 1, &mut live)), [(OrderEventKind::Filled, 7, 60)]);
        assert_eq!(live.order(7).unwrap().qty, 40);
        assert_eq!(events(response(&fill(40), 1, &mut live)), [(OrderEventKind::Filled, 7, 40)]);
        assert_eq!(response(&fill(1), 1, &mut live), Response::Unknown { id: 7, executed: true });
    }

    #[test]
    fn a_refused_replacement_leaves_the_order_it_was_to_replace() {
        let mut live = live(&[(7, 100), (8, 50)]);
        let rejected =
            [b"J".as_slice(), &9u64.to_be_bytes(), &8u32.to_be_bytes(), &7u16.to_be_bytes(), b"8             "]
                .concat();
        assert_eq!(events(response(&rejected, 1, &mut live)), [(OrderEventKind::Rejected, 8, 0)]);
        assert!(live.order(8).is_none() && live.order(7).is_some());
    }

    #[test]
    fn a_cancel_answers_when_it_was_asked_for() {
        let mut live = live(&[(7, 100)]);
        let cancelled =
            |qty: u32| [b"C".as_slice(), &9u64.to_be_bytes(), &7u32.to_be_bytes(), &qty.to_be_bytes(), b"U"].concat();
        let Response::Order { answer, .. } = response(&cancelled(30), 1, &mut live) else { panic!() };
        assert!(!answer);
        live.order_mut(7).unwrap().leaving = true;
        let Response::Order { answer, .. } = response(&cancelled(70), 1, &mut live) else { panic!() };
        assert!(answer && live.is_empty());
    }

    #[test]
    fn a_cancel_is_the_captured_one() {
        assert_eq!(cancel(0x0075_2e71).unwrap(), *b"\x00\x0aUX\x00\x75\x2e\x71\x00\x00\x00\x00");
        assert_eq!(cancel(1 << 32), None);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for bytes in [&b""[..], b"?", b"A", b"E123"] {
            assert_eq!(response(bytes, 1, &mut live(&[])), Response::Malformed);
        }
    }
}
