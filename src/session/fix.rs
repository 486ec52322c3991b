//! FIX 4.2 for orders. [`FixEncoder`]: an [`Order`] to its message, a limit order of the day, handled without a broker.
//! [`FixClient`]: the client's end of a session. [`response`]: what a message means for an order. Keeps no state of an
//! order, opens nothing, sends nothing.
//!
//! Numbers begin at 1 with the process (ResetSeqNumFlag) and go on after a break. Each logon is followed by a Test Request:
//! once that is answered, everything sent before has been answered or asked for again. What the exchange asks for again is
//! not repeated, because its time is over, but filled with a Sequence Reset: those orders were never received. What we
//! missed is asked for, and what comes twice (PossDupFlag) is ignored.

use super::client::{Broken, Credentials, Happening, LONGEST_SENT, Phase, Presence, Received, Silences, WallClock};
use super::live::{Live, LiveOrder};
use super::ouch::{Response, about, one, stands, taken_off, unknown};
use super::protocol::CompIds;
use crate::market::{Order, OrderEvent, OrderEventKind, OrderKind, OrderLimits, Price, Side, Symbol};
use crate::wire::Error;
use crate::wire::fix42::{self, Message, TIME, Utc, Writer, tag};
use arrayvec::{ArrayString, ArrayVec};

/// Longest message: 47 bytes around two CompIDs of 16 and a time, 130 of a replacement, 12 of the symbol, the sum.
const LONGEST: usize = 256;
/// Digits of an id, a quantity, and of a price in front of its point.
const ID: usize = 12;
const QTY: usize = 6;
/// Characters of a cancel's own id: the order's, `C`, the time of day in ms.
const CANCEL_ID: usize = ID + 10;

/// Writes order messages; MsgSeqNum is left at 0. Their SendingTime and TransactTime are the arrival of what caused them.
#[derive(Debug)]
pub struct FixEncoder {
    templates: [Template; 3],
    utc: Utc,
}

/// A message up to its symbol, every number in it to be written over.
#[derive(Clone, Copy, Debug)]
struct Template {
    bytes: [u8; LONGEST],
    length: usize,
    /// Where SendingTime's value begins; the others follow.
    sent_at: usize,
}

impl FixEncoder {
    /// What is written here: twelve digits of id, six of shares, and prices below a million.
    pub const LIMITS: OrderLimits =
        OrderLimits { id: fix42::MAX_ID, qty: fix42::MAX_QTY, price: Price(fix42::MAX_PRICE as i64) };

    /// Bytes of the longest message.
    pub const MAX_MESSAGE: usize = LONGEST;

    /// An encoder for these two.
    pub fn new(ids: &CompIds) -> FixEncoder {
        FixEncoder { templates: [b'D', b'G', b'F'].map(|kind| Template::new(kind, ids)), utc: Utc::default() }
    }

    /// Write the message of `order` at the front of `out`, which has [`FixEncoder::MAX_MESSAGE`] bytes or more; its length.
    /// `None` when it cannot be said: an id, a price or shares beyond the limits, or a cancel that shall leave shares.
    #[inline]
    pub fn encode(&mut self, order: &Order, out: &mut [u8]) -> Option<usize> {
        let price = u64::try_from(order.price.0).ok().filter(|&price| price <= fix42::MAX_PRICE)?;
        if order.id > fix42::MAX_ID || order.replaced_id > fix42::MAX_ID || order.qty > fix42::MAX_QTY {
            return None;
        }
        let out: &mut [u8; LONGEST] = out.first_chunk_mut()?;
        let template = &self.templates[order.kind as usize];
        *out = template.bytes;
        let time = self.utc.text(order.arrival_ns);
        let mut fields = Values { out, at: template.sent_at };
        fields.text(&time);
        match order.kind {
            OrderKind::Cancel => {
                if order.qty > 0 {
                    return None;
                }
                fields.cancel_id(order.id, &time);
                fields.number(order.id, ID);
            }
            OrderKind::Enter => fields.number(order.id, ID),
            OrderKind::Replace => {
                fields.number(order.id, ID);
                fields.number(order.replaced_id, ID);
            }
        }
        if order.kind != OrderKind::Cancel {
            fields.number(order.qty.into(), QTY);
            fields.price(price);
        }
        fields.text(&[side(order.side)]);
        fields.text(&time);
        Some(finish(out, template.length, &order.symbol.0))
    }
}

impl Template {
    fn new(kind: u8, ids: &CompIds) -> Template {
        let mut bytes = [0; LONGEST];
        let mut writer = Writer::new(kind, &mut bytes);
        writer.field(tag::SENDER_COMP_ID, ids.sender.as_bytes()).field(tag::TARGET_COMP_ID, ids.target.as_bytes());
        let sent_at = writer.length() + 3;
        writer.field(tag::SENDING_TIME, &[b'0'; TIME]);
        match kind {
            b'F' => {
                writer.field(tag::CL_ORD_ID, &[b'0'; CANCEL_ID]).field(tag::ORIG_CL_ORD_ID, &[b'0'; ID]);
            }
            _ => {
                writer.field(tag::CL_ORD_ID, &[b'0'; ID]);
                if kind == b'G' {
                    writer.field(tag::ORIG_CL_ORD_ID, &[b'0'; ID]);
                }
                writer.field(tag::ORDER_QTY, &[b'0'; QTY]).field(tag::PRICE, b"000000.0000");
            }
        }
        writer.field(tag::SIDE, b"0").field(tag::TRANSACT_TIME, &[b'0'; TIME]);
        if kind != b'F' {
            // Automated, without a broker; limit; day.
            writer.field(tag::HANDL_INST, b"1").field(tag::ORD_TYPE, b"2").field(tag::TIME_IN_FORCE, b"0");
        }
        let length = writer.length();
        Template { bytes, length, sent_at }
    }
}

/// Writes values over a template's, one after the other; each stands between a `tag=` of two digits and a SOH.
struct Values<'a> {
    out: &'a mut [u8; LONGEST],
    at: usize,
}

impl Values<'_> {
    /// The room of the next value.
    #[inline]
    fn next(&mut self, length: usize) -> &mut [u8] {
        let at = self.at;
        self.at += length + 4;
        &mut self.out[at..at + length]
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        self.next(text.len()).copy_from_slice(text);
    }

    #[inline]
    fn number(&mut self, value: u64, digits: usize) {
        fix42::fixed(value, self.next(digits));
    }

    #[inline]
    fn price(&mut self, price: u64) {
        let field = self.next(11);
        fix42::fixed(price / 10_000, &mut field[..6]);
        fix42::fixed(price % 10_000, &mut field[7..]);
    }

    #[inline]
    fn cancel_id(&mut self, id: u64, time: &[u8; TIME]) {
        cancel_id(id, time, self.next(CANCEL_ID));
    }
}

/// A cancel's own id: the order's and the time of day, so that another cancel of the order has another.
#[inline]
fn cancel_id(id: u64, time: &[u8; TIME], out: &mut [u8]) {
    fix42::fixed(id, &mut out[..ID]);
    out[ID] = b'C';
    for (to, from) in out[ID + 1..].iter_mut().zip([9, 10, 12, 13, 15, 16, 18, 19, 20]) {
        *to = time[from];
    }
}

/// The symbol, the length, and the sum; bytes of the message.
#[inline]
fn finish(out: &mut [u8; LONGEST], at: usize, symbol: &[u8; 8]) -> usize {
    let length = 8 - (u64::from_be_bytes(*symbol) ^ u64::from_be_bytes([b' '; 8])).trailing_zeros() as usize / 8;
    out[at..at + 3].copy_from_slice(b"55=");
    out[at + 3..at + 11].copy_from_slice(symbol);
    out[at + 3 + length] = fix42::SOH;
    let end = at + 4 + length;
    fix42::seal(out, end);
    end + 7
}

const fn side(side: Side) -> u8 {
    match side {
        Side::Buy => b'1',
        Side::Sell => b'2',
    }
}

/// The client's end of a session.
#[derive(Debug)]
pub struct FixClient {
    ids: CompIds,
    credentials: Credentials,
    pub(super) presence: Presence,
    clock: WallClock,
    utc: Utc,
    /// A logon was answered, once, and in this connection.
    known: bool,
    logged_on: bool,
    /// Of the last message of ours; the same before the last logon.
    number: u32,
    before: u32,
    /// Of the next message of theirs.
    next: u32,
    /// What was missed has been asked for.
    resend_asked: bool,
    /// From here on they have not received what was sent before the logon, or before an earlier one that came to nothing.
    lost_from: Option<u32>,
    /// Test Requests so far; the last is the one that is waited for.
    tests: u32,
    owed: ArrayVec<Owed, 8>,
    /// By instrument, for cancels of the session's own.
    symbols: Box<[Symbol]>,
}

/// What is to be said.
#[derive(Clone, Copy, Debug)]
enum Owed {
    /// Test Request.
    Test,
    /// Heartbeat, in answer to a Test Request.
    Answer(ArrayString<32>),
    /// Resend Request, from what comes next on.
    Resend,
    /// Sequence Reset over everything from this number on.
    Fill(u32),
}

/// See [`Client`](super::client::Client) for what is not explained here.
impl FixClient {
    /// A client that has never logged on.
    pub fn new(
        ids: CompIds,
        credentials: Credentials,
        silences: Silences,
        instruments: u32,
        clock: WallClock,
    ) -> FixClient {
        FixClient {
            ids,
            credentials,
            presence: Presence::new(silences),
            clock,
            utc: Utc::default(),
            known: false,
            logged_on: false,
            number: 0,
            before: 0,
            next: 1,
            resend_asked: false,
            lost_from: None,
            tests: 0,
            owed: ArrayVec::new(),
            symbols: vec![Symbol([b' '; 8]); instruments as usize].into(),
        }
    }

    /// The logon to send: user as SenderSubID, password as RawData.
    pub fn login(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        (self.presence.phase, self.logged_on, self.resend_asked) = (Phase::LoggingIn, false, false);
        self.owed.clear();
        self.presence.heard_at = now;
        if !self.known {
            (self.number, self.next) = (0, 1);
        }
        self.before = self.number;
        let Credentials { user, password } = self.credentials.clone();
        let (reset, seconds) = (!self.known, (self.presence.silences.ours as f64 / self.clock.hz).max(1.0) as u64);
        self.say(b'A', now, out, |writer| {
            let password = password.trim_ascii_end();
            writer.field(tag::SENDER_SUB_ID, user.trim_ascii_end()).field(tag::ENCRYPT_METHOD, b"0");
            writer.number(tag::HEART_BT_INT, seconds);
            writer.number(tag::RAW_DATA_LENGTH, password.len() as u64).field(tag::RAW_DATA, password);
            if reset {
                writer.field(tag::RESET_SEQ_NUM_FLAG, b"Y");
            }
        })
    }

    /// The heartbeat to send now, if one is due.
    pub fn heartbeat(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        self.presence.heartbeat_is_due(now).then(|| self.say(b'0', now, out, |_| {}))
    }

    /// The logout to send.
    pub fn logout(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        self.presence.phase = Phase::Over;
        self.say(b'5', now, out, |_| {})
    }

    /// What has to be said to what was taken.
    pub fn owed(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        Some(match self.owed.pop_at(0)? {
            Owed::Test => {
                self.tests += 1;
                let id = self.tests.into();
                self.say(b'1', now, out, |writer| {
                    writer.number(tag::TEST_REQ_ID, id);
                })
            }
            Owed::Answer(id) => self.say(b'0', now, out, |writer| {
                writer.field(tag::TEST_REQ_ID, id.as_bytes());
            }),
            Owed::Resend => {
                let next = self.next.into();
                self.say(b'2', now, out, |writer| {
                    writer.number(tag::BEGIN_SEQ_NO, next).number(tag::END_SEQ_NO, 0);
                })
            }
            Owed::Fill(from) => {
                let after = self.number + 1;
                let length = self.say(b'4', now, out, |writer| {
                    writer.field(tag::POSS_DUP_FLAG, b"Y").field(tag::GAP_FILL_FLAG, b"Y");
                    writer.number(tag::NEW_SEQ_NO, after.into());
                });
                // It stands in the place of the first that it fills, and takes no number of its own.
                self.number = after - 1;
                fix42::number(&mut out[..length], from);
                length
            }
        })
    }

    /// The message at the front of the stream.
    ///
    /// # Errors
    /// [`Broken`]: the connection has to go.
    #[inline]
    pub fn take<'s>(&mut self, stream: &'s [u8], now: u64) -> Result<Option<(Happening<'s>, usize)>, Broken> {
        let message = match Message::parse(stream) {
            Ok(message) => message,
            Err(Error::Truncated { .. }) => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        self.presence.heard_at = now;
        let happening = self.heard(&message, stream)?;
        Ok(Some((happening, message.length())))
    }

    fn heard<'s>(&mut self, message: &Message<'_>, stream: &'s [u8]) -> Result<Happening<'s>, Broken> {
        let kind = message.kind();
        let ours = message.field(tag::SENDER_COMP_ID) == Some(self.ids.target.as_bytes())
            && message.field(tag::TARGET_COMP_ID) == Some(self.ids.sender.as_bytes());
        let found = message.number(tag::MSG_SEQ_NUM).and_then(|n| u32::try_from(n).ok()).filter(|_| ours);
        let found = found.ok_or(Broken::Packet(kind))?;
        if !self.logged_on {
            return self.answered(message, found);
        }
        if found < self.next {
            return match message.is_set(tag::POSS_DUP_FLAG) {
                true => Ok(Happening::Nothing),
                false => Err(Broken::Sequence { expected: self.next.into(), found: found.into() }),
            };
        }
        let is_next = found == self.next;
        if kind == b'4' && (is_next || !message.is_set(tag::GAP_FILL_FLAG)) {
            let next = message.number(tag::NEW_SEQ_NO).and_then(|n| u32::try_from(n).ok());
            self.next = next.filter(|&next| next > self.next).ok_or(Broken::Packet(kind))?;
            return Ok(Happening::Nothing);
        }
        if kind == b'2' {
            let from = message.number(tag::BEGIN_SEQ_NO).and_then(|n| u32::try_from(n).ok());
            let from = from.filter(|from| (1..=self.number).contains(from)).ok_or(Broken::Packet(kind))?;
            // What was sent since the logon arrives as it was sent, or the connection breaks.
            if self.presence.phase == Phase::Up {
                return Err(Broken::Packet(kind));
            }
            self.lost_from = Some(self.lost_from.map_or(from, |lost| lost.min(from)));
            // The test is among what is filled.
            self.owe(Owed::Fill(from))?;
            self.owe(Owed::Test)?;
        }
        if !is_next {
            if !std::mem::replace(&mut self.resend_asked, true) {
                self.owe(Owed::Resend)?;
            }
            return Ok(Happening::Nothing);
        }
        self.next += 1;
        self.resend_asked = false;
        match kind {
            b'0' => {
                let tested = message.number(tag::TEST_REQ_ID) == Some(self.tests.into());
                if tested && self.presence.phase == Phase::LoggingIn && self.owed.is_empty() {
                    self.presence.phase = Phase::Up;
                    return Ok(Happening::Up);
                }
            }
            b'1' => {
                let id = message.field(tag::TEST_REQ_ID).and_then(|id| std::str::from_utf8(id).ok());
                let id = id.and_then(|id| ArrayString::from(id).ok()).ok_or(Broken::Packet(kind))?;
                self.owe(Owed::Answer(id))?;
            }
            b'5' => {
                self.presence.phase = Phase::Over;
                return Ok(Happening::Ended);
            }
            b'A' => return Err(Broken::Packet(kind)),
            b'2' | b'4' => {}
            _ => return Ok(Happening::Message(&stream[..message.length()])),
        }
        Ok(Happening::Nothing)
    }

    /// The first message of a connection.
    fn answered<'s>(&mut self, message: &Message<'_>, found: u32) -> Result<Happening<'s>, Broken> {
        match message.kind() {
            b'A' if self.presence.phase == Phase::LoggingIn => {}
            kind @ (b'3' | b'5') => {
                self.presence.phase = Phase::Over;
                return Ok(Happening::Refused(kind));
            }
            kind => return Err(Broken::Early(kind)),
        }
        if found < self.next {
            return Err(Broken::Sequence { expected: self.next.into(), found: found.into() });
        }
        (self.known, self.logged_on) = (true, true);
        if found == self.next {
            self.next += 1;
        } else {
            self.resend_asked = true;
            self.owe(Owed::Resend)?;
        }
        self.owe(Owed::Test)?;
        Ok(Happening::Nothing)
    }

    fn owe(&mut self, owed: Owed) -> Result<(), Broken> {
        self.owed.try_push(owed).map_err(|_| Broken::Packet(b'1'))
    }

    /// What became of what was sent before the logon.
    pub fn received(&self) -> Received {
        Received::AllBut { lost: self.lost_from.unwrap_or(u32::MAX)..=self.before, refusals_too: false }
    }

    /// Number an order's message.
    #[inline]
    pub fn finish(&self, message: &mut [u8]) {
        fix42::number(message, self.number + 1);
    }

    /// It was sent: its number.
    #[inline]
    pub fn sent(&mut self, order: &Order, now: u64) -> u32 {
        self.lost_from = None;
        if let Some(symbol) = self.symbols.get_mut(order.instrument.0 as usize) {
            *symbol = order.symbol;
        }
        self.presence.sent_at = now;
        self.number += 1;
        self.number
    }

    /// The message that cancels an order: its bytes and its number.
    pub fn cancel(
        &mut self,
        id: u64,
        order: &LiveOrder,
        now: u64,
        out: &mut [u8; LONGEST_SENT],
    ) -> Option<(usize, u32)> {
        if id > fix42::MAX_ID {
            return None;
        }
        let symbol = *self.symbols.get(order.instrument.0 as usize)?;
        self.lost_from = None;
        let time = self.utc.text(self.clock.ns(now));
        let (mut own, mut original) = ([0; CANCEL_ID], [0; ID]);
        cancel_id(id, &time, &mut own);
        fix42::fixed(id, &mut original);
        let length = self.say(b'F', now, out, |writer| {
            writer.field(tag::CL_ORD_ID, &own).field(tag::ORIG_CL_ORD_ID, &original);
            writer.field(tag::SIDE, &[side(order.side)]).field(tag::TRANSACT_TIME, &time);
            writer.field(tag::SYMBOL, symbol.0.trim_ascii_end());
        });
        Some((length, self.number))
    }

    /// A message of the session's own, with the next number.
    fn say(&mut self, kind: u8, now: u64, out: &mut [u8; LONGEST_SENT], fields: impl FnOnce(&mut Writer<'_>)) -> usize {
        self.presence.sent_at = now;
        self.number += 1;
        let mut writer = Writer::new(kind, out);
        writer.field(tag::SENDER_COMP_ID, self.ids.sender.as_bytes());
        writer.field(tag::TARGET_COMP_ID, self.ids.target.as_bytes());
        writer.field(tag::SENDING_TIME, &self.utc.text(self.clock.ns(now)));
        fields(&mut writer);
        // A logon or a cancel is the longest of them, and fits.
        let length = writer.finish().expect("a logon has room");
        fix42::number(&mut out[..length], self.number);
        length
    }
}

/// What `message`, which arrived at `rx_tsc`, means for the orders of `live`.
pub fn response(message: &[u8], rx_tsc: u64, live: &mut Live) -> Response {
    let Ok(message) = Message::parse(message) else { return Response::Malformed };
    match message.kind() {
        b'8' => report(&message, rx_tsc, live),
        b'9' => cancel_reject(&message, rx_tsc, live),
        b'3' | b'j' => reject(&message, rx_tsc, live),
        _ => Some(Response::Other),
    }
    .unwrap_or(Response::Malformed)
}

/// Execution Report.
fn report(message: &Message<'_>, rx_tsc: u64, live: &mut Live) -> Option<Response> {
    use OrderEventKind::{Accepted, CancelPending, Cancelled, Filled, Rejected, Replaced};
    match message.field(tag::EXEC_TRANS_TYPE) {
        None | Some(b"0") => {}
        // An execution undone or corrected: positions are not what they are thought to be.
        Some(b"1" | b"2") => {
            return Some(Response::Unknown { id: message.number(tag::CL_ORD_ID).unwrap_or(0), executed: true });
        }
        // A status.
        Some(_) => return Some(Response::Other),
    }
    let exec_type = match message.field(tag::EXEC_TYPE)? {
        &[exec_type] => exec_type,
        _ => return Some(Response::Other),
    };
    let kind = match exec_type {
        b'0' => Accepted,
        b'1' | b'2' => Filled,
        b'3' | b'4' | b'C' | b'D' => Cancelled,
        b'5' => Replaced,
        b'6' => CancelPending,
        b'8' => Rejected,
        _ => return Some(Response::Other),
    };
    // The answer to a cancel has that request's own id, and names the order as the original.
    let original = message.number(tag::ORIG_CL_ORD_ID);
    let id = original.filter(|_| matches!(kind, Cancelled | CancelPending)).or(message.number(tag::CL_ORD_ID));
    let exchange_ns = message.time_of_day_ns(tag::TRANSACT_TIME).unwrap_or(0);
    let known = id.and_then(|id| Some((live.order(id)?, about(id, rx_tsc, exchange_ns, kind, live)?)));
    let Some((order, event)) = known else { return Some(unknown(id.unwrap_or(0), kind == Filled, live)) };
    let qty = |tag| message.number(tag).and_then(|n| u32::try_from(n).ok());
    let stood = OrderEvent {
        qty: qty(tag::LEAVES_QTY).unwrap_or(order.qty),
        price: Price(message.price(tag::PRICE).unwrap_or(0)),
        ..event
    };
    let reason = message.number(tag::ORD_REJ_REASON).unwrap_or(0) as u16;
    let (events, answer) = match kind {
        Accepted => (stands(stood, b'L', live), true),
        Replaced => {
            let replaced_id = original?;
            live.remove(replaced_id);
            (stands(OrderEvent { replaced_id, ..stood }, b'L', live), true)
        }
        Filled => {
            let qty = qty(tag::LAST_SHARES)?;
            live.reduce(event.id, qty);
            let (price, match_id) = (Price(message.price(tag::LAST_PX)?), execution(message)?);
            (one(OrderEvent { qty, price, match_id, ..event }), false)
        }
        Cancelled => {
            // A restatement may leave some.
            let leaves = if exec_type == b'D' { stood.qty } else { 0 };
            let qty = order.qty.saturating_sub(leaves);
            if qty == 0 {
                return Some(Response::Other);
            }
            taken_off(OrderEvent { qty, reason, ..event }, live)
        }
        Rejected => {
            live.ended(event.id);
            (one(OrderEvent { reason, ..event }), true)
        }
        _ => (one(event), true),
    };
    Some(Response::Order { events, answer })
}

/// Order Cancel Reject: of a cancel, or of a replacement.
fn cancel_reject(message: &Message<'_>, rx_tsc: u64, live: &mut Live) -> Option<Response> {
    let of_cancel = message.field(tag::CXL_REJ_RESPONSE_TO) != Some(b"2");
    let id = message.number(if of_cancel { tag::ORIG_CL_ORD_ID } else { tag::CL_ORD_ID })?;
    let exchange_ns = message.time_of_day_ns(tag::TRANSACT_TIME).unwrap_or(0);
    let Some(event) = about(id, rx_tsc, exchange_ns, OrderEventKind::CancelRejected, live) else {
        return Some(unknown(id, false, live));
    };
    if of_cancel {
        live.cancel_refused(id);
        return Some(Response::Order { events: one(event), answer: true });
    }
    let reason = message.number(tag::CXL_REJ_REASON).unwrap_or(0) as u16;
    live.ended(id);
    Some(Response::Order { events: one(OrderEvent { kind: OrderEventKind::Rejected, reason, ..event }), answer: true })
}

/// Reject and Business Message Reject: the message of ours with that number was not understood.
fn reject(message: &Message<'_>, rx_tsc: u64, live: &mut Live) -> Option<Response> {
    let number = u32::try_from(message.number(tag::REF_SEQ_NUM)?).ok()?;
    let Some((id, is_cancel)) = live.numbered(number) else { return Some(Response::Other) };
    let kind = if is_cancel { OrderEventKind::CancelRejected } else { OrderEventKind::Rejected };
    let event = about(id, rx_tsc, 0, kind, live)?;
    if is_cancel {
        live.cancel_refused(id);
    } else {
        live.ended(id);
    }
    Some(Response::Order { events: one(event), answer: true })
}

/// ExecID as a number: its own, if it is one, or FNV-1a of its text.
fn execution(message: &Message<'_>) -> Option<u64> {
    let text = message.field(tag::EXEC_ID)?;
    let hash =
        || text.iter().fold(0xcbf2_9ce4_8422_2325, |n: u64, &b| (n ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    Some(message.number(tag::EXEC_ID).unwrap_or_else(hash))
}

#[cfg(test)]
mod tests {
    use super::super::encoder::tests::order;
    use super::*;

    fn encode(order: &Order) -> Option<String> {
        let ids = CompIds { sender: "TICKPATH".parse().unwrap(), target: "EXCH".parse().unwrap() };
        let mut out = [0xee; FixEncoder::MAX_MESSAGE];
        let length = FixEncoder::new(&ids).encode(order, &mut out)?;
        let text = std::str::from_utf8(&out[..length]).unwrap().replace('\x01', "|");
        // Length and sum, by the specification's words.
        let body = text.len() - "8=FIX.4.2|9=NNN|".len() - "10=NNN|".len();
        assert_eq!(text[12..15], format!("{body:03}"));
        let sum: u32 = out[..length - 7].iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(text[text.len() - 7..], format!("10={:03}|", sum % 256));
        Some(text[16..text.len() - 7].to_owned())
    }

    fn at(kind: OrderKind, id: u64) -> Order {
        Order { arrival_ns: 1_409_537_237_077_786_000, ..order(kind, id) }
    }

    const HEAD: &str = "34=000000000|49=TICKPATH|56=EXCH|52=20140901-02:07:17.077|";

    #[test]
    fn an_order_is_laid_out_as_the_specification_says() {
        let expected = format!(
            "35=D|{HEAD}11=000000000113|38=000300|44=000123.4500|54=2|60=20140901-02:07:17.077|21=1|40=2|59=0|55=CVLT|"
        );
        assert_eq!(encode(&at(OrderKind::Enter, 113)).unwrap(), expected);
        for (symbol, text) in [(*b"A       ", "A"), (*b"BRK A   ", "BRK A"), (*b"ABCDEFGH", "ABCDEFGH")] {
            let found = encode(&Order { symbol: Symbol(symbol), ..at(OrderKind::Enter, 1) }).unwrap();
            assert!(found.ends_with(&format!("|55={text}|")), "{found}");
        }
    }

    #[test]
    fn a_replacement_and_a_cancel_name_the_order_that_goes() {
        let expected = format!(
            "35=G|{HEAD}11=000000000008|41=000000000007|38=000300|44=000123.4500|54=2|60=20140901-02:07:17.077|21=1|40=2|59=0|55=CVLT|"
        );
        assert_eq!(encode(&at(OrderKind::Replace, 8)).unwrap(), expected);
        let cancel = Order { qty: 0, price: Price(0), ..at(OrderKind::Cancel, 8) };
        let expected =
            format!("35=F|{HEAD}11=000000000008C020717077|41=000000000008|54=2|60=20140901-02:07:17.077|55=CVLT|");
        assert_eq!(encode(&cancel).unwrap(), expected);
        assert_eq!(encode(&Order { qty: 1, ..cancel }), None, "a cancel takes off all of an order");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert_eq!(encode(&at(OrderKind::Enter, fix42::MAX_ID + 1)), None);
        assert_eq!(encode(&Order { price: Price(-1), ..at(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { price: Price(10_000_000_000), ..at(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { qty: 1_000_000, ..at(OrderKind::Enter, 1) }), None);
    }

    fn client() -> FixClient {
        let ids = CompIds { sender: "TICKPATH".parse().unwrap(), target: "EXCH".parse().unwrap() };
        let credentials = Credentials { user: *b"ALICE   ", password: *b"secret    " };
        let clock = WallClock { at: 0, epoch_ns: 1_409_537_237_077_786_000, hz: 1000.0 };
        FixClient::new(ids, credentials, Silences { ours: 2000, theirs: 15_000 }, 2, clock)
    }

    /// A message of the exchange's.
    fn theirs(kind: char, number: u32, fields: &str) -> Vec<u8> {
        let body = format!("35={kind}|34={number}|49=EXCH|56=TICKPATH|52=20140901-02:07:17.077|{fields}");
        let text = format!("8=FIX.4.2|9={}|{body}", body.len()).replace('|', "\x01");
        let sum = text.bytes().fold(0u32, |sum, byte| sum + u32::from(byte)) % 256;
        format!("{text}10={sum:03}\x01").into_bytes()
    }

    fn take(client: &mut FixClient, bytes: &[u8]) -> Result<String, Broken> {
        let (happening, length) = client.take(bytes, 7)?.expect("it is whole");
        assert_eq!(length, bytes.len());
        Ok(format!("{happening:?}"))
    }

    /// Type, number, and what follows the time.
    fn owed(client: &mut FixClient) -> Vec<String> {
        let mut out = [0; LONGEST_SENT];
        let mut said = Vec::new();
        while let Some(n) = client.owed(0, &mut out) {
            said.push(short(&out[..n]));
        }
        said
    }

    fn short(message: &[u8]) -> String {
        let text = std::str::from_utf8(message).unwrap().replace('\x01', "|");
        let fields: Vec<&str> = text.split('|').collect();
        let rest = fields[7..fields.len() - 2].join("|");
        format!("{} {} {rest}", &fields[2][3..], &fields[3][3..].trim_start_matches('0'))
    }

    fn logged_on() -> FixClient {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        take(&mut client, &theirs('A', 1, "98=0|108=2|141=Y|")).unwrap();
        assert_eq!(owed(&mut client), ["1 2 112=1"]);
        assert_eq!(take(&mut client, &theirs('0', 2, "112=1|")).unwrap(), "Up");
        client
    }

    #[test]
    fn a_logon_begins_with_number_one_and_goes_on_after_a_break() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        let n = client.login(0, &mut out);
        assert_eq!(short(&out[..n]), "A 1 50=ALICE|98=0|108=2|95=6|96=secret|141=Y");
        let mut client = logged_on();
        let number = client.sent(&order(OrderKind::Enter, 1), 0);
        assert_eq!(number, 3);
        client.presence.lost();
        let n = client.login(0, &mut out);
        assert_eq!(short(&out[..n]), "A 4 50=ALICE|98=0|108=2|95=6|96=secret");
        // They have missed number 3, and we their number 3: what they ask for is filled, and tested after that.
        take(&mut client, &theirs('A', 4, "98=0|108=2|")).unwrap();
        take(&mut client, &theirs('2', 5, "7=3|16=0|")).unwrap();
        let said = owed(&mut client);
        assert_eq!(said, ["2 5 7=3|16=0", "1 6 112=2", "4 3 43=Y|123=Y|36=7", "1 7 112=3"]);
        assert_eq!(take(&mut client, &theirs('4', 3, "43=Y|123=Y|36=6|")).unwrap(), "Nothing");
        assert_eq!(take(&mut client, &theirs('0', 6, "112=2|")).unwrap(), "Nothing", "it is not the last test");
        assert_eq!(take(&mut client, &theirs('0', 7, "112=3|")).unwrap(), "Up");
        assert_eq!(client.received(), Received::AllBut { lost: 3..=3, refusals_too: false });
    }

    #[test]
    fn what_an_unfinished_logon_found_lost_is_lost_at_the_next() {
        let mut client = logged_on();
        assert_eq!(client.sent(&order(OrderKind::Enter, 1), 0), 3);
        client.presence.lost();
        client.login(0, &mut [0; LONGEST_SENT]);
        take(&mut client, &theirs('A', 3, "98=0|108=2|")).unwrap();
        take(&mut client, &theirs('2', 4, "7=3|16=0|")).unwrap();
        assert_eq!(owed(&mut client), ["1 5 112=2", "4 3 43=Y|123=Y|36=6", "1 6 112=3"]);
        // It breaks before the test is answered, and what was filled is not asked for again.
        client.presence.lost();
        client.login(0, &mut [0; LONGEST_SENT]);
        take(&mut client, &theirs('A', 5, "98=0|108=2|")).unwrap();
        assert_eq!(owed(&mut client), ["1 8 112=4"]);
        assert_eq!(take(&mut client, &theirs('0', 6, "112=4|")).unwrap(), "Up");
        assert_eq!(client.received(), Received::AllBut { lost: 3..=6, refusals_too: false });
        client.sent(&order(OrderKind::Enter, 2), 0);
        client.presence.lost();
        client.login(0, &mut [0; LONGEST_SENT]);
        assert!(matches!(client.received(), Received::AllBut { lost, .. } if lost.is_empty()), "it was settled");
    }

    #[test]
    fn repeats_are_ignored_and_a_gap_is_asked_for_once() {
        let mut client = logged_on();
        assert_eq!(take(&mut client, &theirs('8', 2, "43=Y|11=1|150=0|")).unwrap(), "Nothing");
        assert_eq!(take(&mut client, &theirs('8', 4, "11=1|150=0|")).unwrap(), "Nothing");
        assert_eq!(take(&mut client, &theirs('8', 5, "11=1|150=0|")).unwrap(), "Nothing");
        assert_eq!(owed(&mut client), ["2 3 7=3|16=0"]);
        for number in 3..=5 {
            assert!(take(&mut client, &theirs('8', number, "43=Y|11=1|150=0|")).unwrap().starts_with("Message"));
        }
        take(&mut client, &theirs('1', 6, "112=ARE YOU THERE|")).unwrap();
        assert_eq!(owed(&mut client), ["0 4 112=ARE YOU THERE"]);
        let low = take(&mut client, &theirs('8', 6, "11=1|150=0|"));
        assert_eq!(low, Err(Broken::Sequence { expected: 7, found: 6 }));
    }

    const STANDING: LiveOrder = LiveOrder {
        instrument: crate::market::Instrument(1),
        side: Side::Buy,
        qty: 100,
        leaving: true,
        known: true,
        replaced_by: 0,
        sent: 3,
        left: 5,
    };

    #[test]
    fn an_execution_that_is_undone_or_corrected_is_no_fill() {
        let mut live = Live::new(4);
        assert!(live.insert(7, STANDING));
        let mut told = |trans_type: char| {
            let fields = format!("11=7|17=5|20={trans_type}|150=2|151=0|32=100|31=1.0|60=20140901-02:07:17.077|");
            response(&theirs('8', 9, &fields), 1, &mut live)
        };
        assert_eq!(told('1'), Response::Unknown { id: 7, executed: true });
        assert_eq!(told('2'), Response::Unknown { id: 7, executed: true });
        assert_eq!(told('3'), Response::Other);
        assert!(matches!(told('0'), Response::Order { .. }));
        assert!(live.is_empty());
    }

    #[test]
    fn what_was_not_understood_was_refused() {
        let mut live = Live::new(4);
        assert!(live.insert(7, STANDING) && live.insert(8, LiveOrder { sent: 4, left: 0, ..STANDING }));
        let mut told = |bytes: Vec<u8>| match response(&bytes, 1, &mut live) {
            Response::Order { events, .. } => events.iter().map(|e| (e.kind, e.id)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(theirs('3', 9, "45=5|58=no|")), [(OrderEventKind::CancelRejected, 7)]);
        assert_eq!(told(theirs('j', 9, "45=4|380=3|")), [(OrderEventKind::Rejected, 8)]);
        assert_eq!(response(&theirs('3', 9, "45=99|"), 1, &mut live), Response::Other);
        assert_eq!(response(b"8=FIX", 1, &mut live), Response::Malformed);
    }
}
