//! Cboe BOE 2 for orders. [`BoeEncoder`]: an [`Order`] to its message, a limit order of the day, not routed away, for the
//! firm's own account. [`BoeClient`]: the client's end of a session, which counts what each matching unit sent and knows
//! from the login what of ours was received. [`response`]: what a message means for an order. Keeps no state of an
//! order, opens nothing, sends nothing.

use super::client::{Broken, Credentials, Happening, LONGEST, LONGEST_SENT, Phase, Presence, Received, Silences};
use super::live::Live;
use super::ouch::{Response, about, one, stands, taken_off, unknown};
use crate::arena::{Arena, ArenaFull, bytes};
use crate::market::{Order, OrderEvent, OrderEventKind, OrderKind, OrderLimits, Price, Side};
use crate::wire::Error;
use crate::wire::boe20::{self, HEADER, Message, RETURN_FIELDS, kind, returned};
use bytemuck::{Pod, Zeroable};

/// New Order: header, fixed part, two bitfields and their count, and the fields of [`FIELDS`].
const NEW: usize = HEADER + boe20::NewOrder::LENGTH + 1 + FIELDS.len() + 23;
/// Modify Order: header, fixed part, one bitfield and its count, OrderQty and Price.
const MODIFY: usize = HEADER + boe20::ModifyOrder::LENGTH + 2 + 12;
/// Cancel Order: header, fixed part, and no bitfields.
const CANCEL: usize = HEADER + boe20::CancelOrder::LENGTH + 1;

/// Price, OrdType, TimeInForce; Symbol, Capacity, RoutingInst.
const FIELDS: [u8; 2] = [0x34, 0xc1];
/// OrderQty, Price.
const MODIFY_FIELDS: u8 = 0x0c;
/// Where the price of a New Order is, and what follows it up to the symbol: limit, day.
const PRICE_AT: usize = HEADER + boe20::NewOrder::LENGTH + 1 + FIELDS.len();
const LIMIT_DAY: [u8; 2] = *b"20";
/// Own account; book only.
const PRINCIPAL_BOOK_ONLY: [u8; 5] = *b"PB\0\0\0";

/// A prebuilt New Order: one cache line an instrument.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Entry {
    message: [u8; NEW],
    ready: u8,
    unused: [u8; 64 - NEW - 1],
}

/// Writes order messages; SequenceNumber is left at 0.
#[derive(Debug)]
pub struct BoeEncoder<'m> {
    table: &'m mut [Entry],
}

impl<'m> BoeEncoder<'m> {
    /// What BOE can say: ids of 20 characters, so any of 64 bits (the last is kept for "all are used"), fewer than 1,000,000
    /// shares.
    pub const LIMITS: OrderLimits =
        OrderLimits { id: u64::MAX - 1, qty: boe20::MAX_QTY, price: Price(boe20::MAX_PRICE) };

    /// Bytes of the longest message.
    pub const MAX_MESSAGE: usize = MODIFY;

    /// Bytes that an encoder takes from the arena.
    pub const fn bytes(instruments: u32) -> usize {
        bytes::<Entry>(instruments as usize)
    }

    /// An encoder for instruments `0 .. instruments`.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`BoeEncoder::bytes`] left.
    pub fn new(instruments: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        Ok(BoeEncoder { table: arena.slice("encoder table", instruments as usize)? })
    }

    /// Write the message of `order` at the front of `out`, which has [`BoeEncoder::MAX_MESSAGE`] bytes or more; its length.
    /// `None` when BOE cannot say it: a price below 0, more shares or a higher price than the limits, an instrument
    /// beyond the table, or a cancel that shall leave shares.
    #[inline]
    pub fn encode(&mut self, order: &Order, out: &mut [u8]) -> Option<usize> {
        if !(0..=boe20::MAX_PRICE).contains(&order.price.0) || order.qty > boe20::MAX_QTY {
            return None;
        }
        match order.kind {
            OrderKind::Enter => {
                let entry = self.table.get_mut(order.instrument.0 as usize)?;
                if entry.ready == 0 {
                    prepare(entry, order);
                }
                let message: &mut [u8; NEW] = out.first_chunk_mut()?;
                *message = entry.message;
                message[HEADER..HEADER + 20].copy_from_slice(&boe20::client_id(order.id));
                message[HEADER + 20] = side(order.side);
                message[HEADER + 21..HEADER + 25].copy_from_slice(&order.qty.to_le_bytes());
                message[PRICE_AT..PRICE_AT + 8].copy_from_slice(&order.price.0.to_le_bytes());
                Some(NEW)
            }
            OrderKind::Replace => {
                let message: &mut [u8; MODIFY] = out.first_chunk_mut()?;
                let (header, body) = message.split_first_chunk_mut::<HEADER>()?;
                *header = boe20::header(kind::MODIFY_ORDER, 0, 0, MODIFY - HEADER)?;
                body[..20].copy_from_slice(&boe20::client_id(order.id));
                body[20..40].copy_from_slice(&boe20::client_id(order.replaced_id));
                body[40..42].copy_from_slice(&[1, MODIFY_FIELDS]);
                body[42..46].copy_from_slice(&order.qty.to_le_bytes());
                body[46..].copy_from_slice(&order.price.0.to_le_bytes());
                Some(MODIFY)
            }
            OrderKind::Cancel if order.qty > 0 => None,
            OrderKind::Cancel => {
                *out.first_chunk_mut()? = cancel(order.id)?;
                Some(CANCEL)
            }
        }
    }
}

/// The message that cancels order `id`.
pub fn cancel(id: u64) -> Option<[u8; CANCEL]> {
    let mut message = [0; CANCEL];
    message[..HEADER].copy_from_slice(&boe20::header(kind::CANCEL_ORDER, 0, 0, CANCEL - HEADER)?);
    message[HEADER..HEADER + 20].copy_from_slice(&boe20::client_id(id));
    Some(message)
}

/// Fill an instrument's entry from its first order: everything but id, side, quantity and price.
#[cold]
fn prepare(entry: &mut Entry, order: &Order) {
    let message = &mut entry.message;
    // The length of a New Order fits its field.
    message[..HEADER].copy_from_slice(&boe20::header(kind::NEW_ORDER, 0, 0, NEW - HEADER).unwrap_or_default());
    let (options, fields) = message[HEADER + boe20::NewOrder::LENGTH..].split_at_mut(1 + FIELDS.len());
    options.copy_from_slice(&[2, FIELDS[0], FIELDS[1]]);
    fields[8..10].copy_from_slice(&LIMIT_DAY);
    fields[10..18].copy_from_slice(&boe20::padded::<8>(&order.symbol.0));
    fields[18..].copy_from_slice(&PRINCIPAL_BOOK_ONLY);
    entry.ready = 1;
}

const fn side(side: Side) -> u8 {
    match side {
        Side::Buy => b'1',
        Side::Sell => b'2',
    }
}

/// Matching units that are kept track of, from 1 on.
const UNITS: usize = 64;
/// Optional fields that are asked for: the price and what stands, in acknowledgements; those and the order that went, in
/// modifications; what stands, in restatements.
const WANTED: [(u8, [u8; 5]); 3] = [
    (kind::ACKNOWLEDGED, [0x04, 0, 0, 0, 0x02]),
    (kind::MODIFIED, [0x04, 0, 0, 0, 0x03]),
    (kind::RESTATED, [0, 0, 0, 0, 0x02]),
];
/// Why a cancel is refused of an order that the exchange does not know.
const NOT_FOUND: u8 = b'O';
/// Bytes of one such parameter group.
const GROUP: usize = 5 + 5;

/// The client's end of a session.
#[derive(Debug)]
pub struct BoeClient {
    credentials: Credentials,
    pub(super) presence: Presence,
    /// The login was accepted, and what was missed is on its way.
    accepted: bool,
    /// Of the last message of ours.
    number: u32,
    /// The same at the last login, and of the last that the exchange had received then.
    before: u32,
    received: u32,
    /// Of the last message of each unit; `None` for one that the exchange has not named.
    units: [Option<u32>; UNITS],
}

/// See [`Client`](super::client::Client) for what is not explained here.
impl BoeClient {
    /// A client that has never logged in.
    pub fn new(credentials: Credentials, silences: Silences) -> BoeClient {
        BoeClient {
            credentials,
            presence: Presence::new(silences),
            accepted: false,
            number: 0,
            before: 0,
            received: 0,
            units: [None; UNITS],
        }
    }

    /// Names each unit with the last message that came, so that the rest is replayed; the first time none, so that nothing
    /// is.
    pub fn login(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        (self.presence.phase, self.accepted, self.before) = (Phase::LoggingIn, false, self.number);
        (self.presence.sent_at, self.presence.heard_at) = (now, now);
        let (user, sub_id) = self.credentials.user.split_at(4);
        let login = boe20::LoginRequestRepr {
            sub_id: boe20::padded(sub_id),
            user: boe20::padded(user),
            password: boe20::padded(&self.credentials.password),
            groups: 1 + WANTED.len() as u8,
        };
        let mut at = HEADER;
        let mut put = |bytes: &[u8]| {
            // 64 units at most: it fits.
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&login.to_bytes());
        let known = || (1u8..).zip(&self.units).filter_map(|(unit, last)| Some((unit, (*last)?)));
        let count = known().count();
        put(&((5 + 5 * count) as u16).to_le_bytes());
        put(&[boe20::UNITS, 1, count as u8]);
        for (unit, last) in known() {
            put(&[unit]);
            put(&last.to_le_bytes());
        }
        for (kind, bitfields) in WANTED {
            put(&[GROUP as u8, 0, boe20::RETURN_BITFIELDS, kind, bitfields.len() as u8]);
            put(&bitfields);
        }
        out[..HEADER].copy_from_slice(&header(kind::LOGIN_REQUEST, at - HEADER));
        at
    }

    /// The heartbeat to send now, if one is due.
    pub fn heartbeat(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        self.presence.heartbeat_is_due(now).then(|| self.bare(kind::CLIENT_HEARTBEAT, now, out))
    }

    /// The logout to send.
    pub fn logout(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        self.presence.phase = Phase::Over;
        self.bare(kind::LOGOUT_REQUEST, now, out)
    }

    fn bare(&mut self, kind: u8, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        self.presence.sent_at = now;
        out[..HEADER].copy_from_slice(&header(kind, 0));
        HEADER
    }

    /// The message at the front of the stream.
    ///
    /// # Errors
    /// [`Broken`]: the connection has to go.
    #[inline]
    pub fn take<'s>(&mut self, stream: &'s [u8], now: u64) -> Result<Option<(Happening<'s>, usize)>, Broken> {
        let message = match Message::parse(stream) {
            Ok(message) => message,
            Err(Error::Truncated { needed, .. }) if usize::from(needed) > LONGEST => {
                return Err(Broken::Length(needed.into()));
            }
            Err(Error::Truncated { .. }) => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        self.presence.heard_at = now;
        let header = message.header();
        let happening = match header.kind() {
            kind::LOGIN_RESPONSE if self.presence.phase == Phase::LoggingIn && !self.accepted => {
                self.logged_in(&message)?
            }
            kind::LOGOUT => {
                self.presence.phase = Phase::Over;
                Happening::Ended
            }
            kind::SERVER_HEARTBEAT => Happening::Nothing,
            early if !self.accepted => return Err(Broken::Early(early)),
            kind::REPLAY_COMPLETE if self.presence.phase == Phase::LoggingIn => {
                self.presence.phase = Phase::Up;
                Happening::Up
            }
            kind @ (kind::REPLAY_COMPLETE | kind::LOGIN_RESPONSE) => return Err(Broken::Packet(kind)),
            // What is not sequenced.
            _ if header.unit() == 0 => Happening::Message(&stream[..message.length()]),
            kind => {
                let unit = self.units.get_mut(usize::from(header.unit()) - 1).ok_or(Broken::Packet(kind))?;
                let (last, found) = (unit.unwrap_or(0), header.sequence());
                if found > last.saturating_add(1) {
                    return Err(Broken::Sequence { expected: u64::from(last) + 1, found: found.into() });
                }
                *unit = Some(found.max(last));
                if found > last { Happening::Message(&stream[..message.length()]) } else { Happening::Nothing }
            }
        };
        Ok(Some((happening, message.length())))
    }

    fn logged_in<'s>(&mut self, message: &Message<'s>) -> Result<Happening<'s>, Broken> {
        let login = boe20::LoginResponse::prefix(message.body())?;
        if login.status() != b'A' {
            self.presence.phase = Phase::Over;
            return Ok(Happening::Refused(login.status()));
        }
        let units = message.body()[boe20::LoginResponse::LENGTH..].chunks_exact(5).take(login.units().into());
        for unit in units {
            let last = u32::from_le_bytes([unit[1], unit[2], unit[3], unit[4]]);
            if let Some(known) = self.units.get_mut(usize::from(unit[0]).wrapping_sub(1)) {
                // What is known stays: the rest is replayed. An exchange that has sent less than came begins anew.
                let known = *known.get_or_insert(last);
                if last < known {
                    return Err(Broken::Sequence { expected: known.into(), found: last.into() });
                }
            }
        }
        self.received = login.last_received();
        self.number = self.number.max(self.received);
        self.accepted = true;
        Ok(Happening::Nothing)
    }

    /// What became of what was sent before the login.
    pub fn received(&self) -> Received {
        Received::AllBut { lost: self.received.saturating_add(1)..=self.before, refusals_too: true }
    }

    /// Number an order's message.
    #[inline]
    pub fn finish(&self, message: &mut [u8]) {
        boe20::number(message, self.number + 1);
    }

    /// It was sent: its number.
    #[inline]
    pub fn sent(&mut self, now: u64) -> u32 {
        self.presence.sent_at = now;
        self.number += 1;
        self.number
    }

    /// The message that cancels an order: its bytes and its number.
    pub fn cancel(&mut self, id: u64, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<(usize, u32)> {
        out[..CANCEL].copy_from_slice(&cancel(id)?);
        self.finish(&mut out[..CANCEL]);
        Some((CANCEL, self.sent(now)))
    }
}

/// The header of a message of ours that is not numbered, and short enough.
fn header(kind: u8, body: usize) -> [u8; HEADER] {
    boe20::header(kind, 0, 0, body).unwrap_or_default()
}

/// What `message`, which arrived at `rx_tsc`, means for the orders of `live`.
pub fn response(message: &[u8], rx_tsc: u64, live: &mut Live) -> Response {
    read(message, rx_tsc, live).unwrap_or(Response::Malformed)
}

fn read(message: &[u8], rx_tsc: u64, live: &mut Live) -> Option<Response> {
    use OrderEventKind::{Accepted, CancelRejected, Cancelled, Filled, Rejected, Replaced};
    let message = Message::parse(message).ok()?;
    let (kind, body) = (message.header().kind(), message.body());
    let event_kind = match kind {
        kind::ACKNOWLEDGED => Accepted,
        kind::MODIFIED => Replaced,
        kind::CANCELLED | kind::RESTATED => Cancelled,
        kind::EXECUTED => Filled,
        kind::REJECTED | kind::MODIFY_REJECTED => Rejected,
        kind::CANCEL_REJECTED => CancelRejected,
        _ => return Some(Response::Other),
    };
    // All of them begin with the time and the client order id.
    let (time, rest) = body.split_first_chunk()?;
    let id = boe20::parse_client_id(rest.first_chunk()?);
    let exchange_ns = u64::from_le_bytes(*time) % 86_400_000_000_000;
    let known = id.and_then(|id| Some((live.order(id)?, about(id, rx_tsc, exchange_ns, event_kind, live)?)));
    let Some((order, event)) = known else { return Some(unknown(id.unwrap_or(0), event_kind == Filled, live)) };
    let stood = |fixed: usize| {
        let options = message.options(fixed, RETURN_FIELDS).ok()?;
        let (qty, price) = (options.u32(returned::LEAVES).unwrap_or(order.qty), options.i64(returned::PRICE));
        Some((OrderEvent { qty, price: Price(price.unwrap_or(0)), ..event }, options))
    };
    let (events, answer) = match kind {
        kind::ACKNOWLEDGED => (stands(stood(boe20::Acknowledged::LENGTH)?.0, b'L', live), true),
        kind::MODIFIED => {
            let (event, options) = stood(boe20::Acknowledged::LENGTH)?;
            let replaced_id = boe20::parse_client_id(options.field(returned::ORIGINAL_ID)?.try_into().ok()?)?;
            live.remove(replaced_id);
            (stands(OrderEvent { replaced_id, ..event }, b'L', live), true)
        }
        kind::RESTATED => {
            let (event, _) = stood(boe20::Restated::LENGTH)?;
            let qty = order.qty.saturating_sub(event.qty);
            if qty == 0 {
                return Some(Response::Other);
            }
            taken_off(OrderEvent { qty, price: Price(0), ..event }, live)
        }
        kind::CANCELLED => {
            let reason = boe20::Cancelled::prefix(body).ok()?.reason().into();
            taken_off(OrderEvent { qty: order.qty, reason, ..event }, live)
        }
        kind::EXECUTED => {
            let m = boe20::Executed::prefix(body).ok()?;
            live.reduce(event.id, m.qty());
            let (price, match_id) = (Price(m.price()), m.execution());
            (one(OrderEvent { qty: m.qty(), price, match_id, ..event }), false)
        }
        _ => {
            let reason = boe20::Rejected::prefix(body).ok()?.reason();
            // An order whose acknowledgement would have come before: it never stood, and its refusal was lost.
            let never_stood = !order.known && reason == NOT_FOUND;
            if kind == kind::CANCEL_REJECTED && !never_stood {
                live.cancel_refused(event.id);
                (one(event), true)
            } else {
                live.ended(event.id);
                (one(OrderEvent { kind: Rejected, reason: reason.into(), ..event }), true)
            }
        }
    };
    Some(Response::Order { events, answer })
}

#[cfg(test)]
mod tests {
    use super::super::encoder::tests::order;
    use super::super::live::LiveOrder;
    use super::*;
    use crate::arena::heap;
    use crate::market::Instrument;

    fn encode(order: &Order) -> Option<Vec<u8>> {
        let mut region = heap(BoeEncoder::bytes(2));
        let mut encoder = BoeEncoder::new(2, &mut Arena::new(&mut region)).unwrap();
        let mut out = [0xee; BoeEncoder::MAX_MESSAGE];
        let length = encoder.encode(order, &mut out)?;
        Some(out[..length].to_vec())
    }

    #[test]
    fn a_new_order_is_laid_out_as_the_specification_says() {
        let expected = [
            b"\xba\xba\x3b\0\x38\0\0\0\0\0".as_slice(),
            b"113\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"2\x2c\x01\0\0\x02\x34\xc1",
            b"\x44\xd6\x12\0\0\0\0\x0020CVLT\0\0\0\0PB\0\0\0",
        ]
        .concat();
        assert_eq!(encode(&order(OrderKind::Enter, 113)).unwrap(), expected);
    }

    #[test]
    fn a_modify_is_the_captured_one_but_for_its_clearing_firm() {
        let captured = b"\xba\xba\x43\0\x3a\0\0\0\0\x001409538419471689\0\0\0\x001409538419471687\0\0\0\0\x02\x0d\0BATS\xc8\0\0\0\x40\x0d\x03\0\0\0\0\0";
        let modify = Order {
            replaced_id: 1_409_538_419_471_687,
            qty: 200,
            price: Price(200_000),
            ..order(OrderKind::Replace, 1_409_538_419_471_689)
        };
        let expected = [b"\xba\xba\x3e\0", &captured[4..50], b"\x01\x0c", &captured[57..]].concat();
        assert_eq!(encode(&modify).unwrap(), expected);
    }

    #[test]
    fn a_cancel_is_the_captured_one_but_for_its_clearing_firm() {
        let cancel = Order { qty: 0, price: Price(0), ..order(OrderKind::Cancel, 1_409_538_419_471_693) };
        let expected = b"\xba\xba\x1d\0\x39\0\0\0\0\x001409538419471693\0\0\0\0\0";
        assert_eq!(encode(&cancel).unwrap(), expected);
        assert_eq!(encode(&Order { qty: 1, ..cancel }), None, "BOE takes off all of an order");
    }

    #[test]
    fn what_the_protocol_cannot_say_is_refused() {
        assert_eq!(encode(&Order { price: Price(-1), ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { price: Price(10_000_000_000), ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { qty: 1_000_000, ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { instrument: Instrument(2), ..order(OrderKind::Enter, 1) }), None);
    }

    fn client() -> BoeClient {
        let credentials = Credentials { user: *b"BATS0010", password: *b"test      " };
        BoeClient::new(credentials, Silences { ours: 100, theirs: 1500 })
    }

    fn message(kind: u8, unit: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
        [&boe20::header(kind, unit, sequence, body.len()).unwrap()[..], body].concat()
    }

    /// The captured one, cut down: 30 received of ours, and unit 1 at 46.
    fn login_response() -> Vec<u8> {
        let head = [&b"A"[..], &[0; 61], &30u32.to_le_bytes(), b"\x02\x01\x2e\0\0\0\x02\0\0\0\0\0"].concat();
        message(kind::LOGIN_RESPONSE, 0, 0, &head)
    }

    fn take(client: &mut BoeClient, bytes: &[u8]) -> Result<String, Broken> {
        let (happening, length) = client.take(bytes, 7)?.expect("it is whole");
        assert_eq!(length, bytes.len());
        Ok(format!("{happening:?}"))
    }

    #[test]
    fn a_login_is_laid_out_as_the_captured_one_and_names_what_came_last() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        let n = client.login(0, &mut out);
        let groups = b"\x0a\0\x81\x25\x05\x04\0\0\0\x02\x0a\0\x81\x27\x05\x04\0\0\0\x03\x0a\0\x81\x28\x05\0\0\0\0\x02";
        let head = b"\x37\0\0\0\0\x000010BATStest\0\0\0\0\0\0\x04";
        assert_eq!(out[..n], [&b"\xba\xba\x3e\0"[..], head, b"\x05\0\x80\x01\0", groups].concat());
        assert_eq!(take(&mut client, &login_response()).unwrap(), "Nothing");
        assert_eq!(client.presence.phase, Phase::LoggingIn, "what was missed comes first");
        assert_eq!(take(&mut client, &message(kind::REPLAY_COMPLETE, 0, 0, b"")).unwrap(), "Up");
        assert!(take(&mut client, &message(kind::EXECUTED, 1, 47, b"")).unwrap().starts_with("Message"));
        client.presence.lost();
        let n = client.login(5, &mut out);
        let units = b"\x0f\0\x80\x01\x02\x01\x2f\0\0\0\x02\0\0\0\0";
        assert_eq!(out[..n], [&b"\xba\xba\x48\0"[..], head, units, groups].concat());
        let behind = take(&mut client, &login_response());
        assert_eq!(behind, Err(Broken::Sequence { expected: 47, found: 46 }), "it would number 47 again");
    }

    #[test]
    fn our_numbers_go_on_after_what_was_received() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        take(&mut client, &login_response()).unwrap();
        let (length, number) = client.cancel(7, 1, &mut out).unwrap();
        assert_eq!((number, &out[6..10], length), (31, &[31, 0, 0, 0][..], CANCEL));
        client.login(0, &mut out);
        take(&mut client, &login_response()).unwrap();
        assert_eq!(client.received(), Received::AllBut { lost: 31..=31, refusals_too: true });
    }

    #[test]
    fn a_refused_cancel_ends_only_an_order_that_the_exchange_never_had() {
        let (instrument, side, qty) = (Instrument(1), Side::Buy, 100);
        let asked = LiveOrder { instrument, side, qty, leaving: true, known: false, replaced_by: 0, sent: 3, left: 5 };
        let mut live = Live::new(4);
        assert!(live.insert(7, asked));
        let mut told = |reason: u8| {
            let body = [&[0u8; 8][..], &boe20::client_id(7), &[reason], &[0; 61]].concat();
            match response(&message(kind::CANCEL_REJECTED, 0, 0, &body), 1, &mut live) {
                Response::Order { events, .. } => (events[0].kind, live.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(b'J'), (OrderEventKind::CancelRejected, 1), "too late to cancel");
        assert_eq!(told(b'O'), (OrderEventKind::Rejected, 0));
    }

    #[test]
    fn what_no_exchange_sends_breaks_the_session() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        assert_eq!(take(&mut client, &message(kind::EXECUTED, 1, 47, b"")), Err(Broken::Early(kind::EXECUTED)));
        take(&mut client, &login_response()).unwrap();
        assert_eq!(take(&mut client, &message(kind::EXECUTED, 1, 46, b"")).unwrap(), "Nothing", "it has come before");
        let gap = take(&mut client, &message(kind::EXECUTED, 1, 48, b""));
        assert_eq!(gap, Err(Broken::Sequence { expected: 47, found: 48 }));
        assert_eq!(take(&mut client, &message(kind::EXECUTED, 65, 1, b"")), Err(Broken::Packet(kind::EXECUTED)));
        assert_eq!(client.take(b"\xba\xba\xff\xff\x25\x01\0\0\0\0", 7), Err(Broken::Length(65_535)));
        let refusal = message(kind::LOGIN_RESPONSE, 0, 0, &[&b"N"[..], &[0; 67]].concat());
        client.login(0, &mut out);
        assert_eq!(
            (take(&mut client, &refusal).unwrap(), client.presence.phase),
            ("Refused(78)".to_owned(), Phase::Over)
        );
    }
}
