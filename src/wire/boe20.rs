//! Cboe Binary Order Entry, version 2 (US equities): bytes of a TCP stream come in, messages with their fields and
//! optional fields go out, and back. It reassembles nothing, counts no sequence and keeps no order.
//!
//! A message is `{ start: BA BA, length: u16, type: u8, unit: u8, sequence: u32, body }`, little-endian; the length
//! counts all but the start. Text is ASCII, left-justified, NUL-padded; prices have four implied decimals; times are ns
//! since 1970, UTC. Bodies end in optional fields: a count of bitfields, the bitfields, and then, in their order, the
//! fields whose bits are set ([`Options`]).

use super::Error;

/// Bytes in front of the body.
pub const HEADER: usize = 10;
/// How every message starts.
pub const START: [u8; 2] = [0xba, 0xba];
/// Most shares of an order.
pub const MAX_QTY: u32 = 999_999;
/// Highest limit that is sent, 999,999.9999.
pub const MAX_PRICE: i64 = 9_999_999_999;

/// Types of messages.
pub mod kind {
    /// Logout Request, to the exchange; no body.
    pub const LOGOUT_REQUEST: u8 = 0x02;
    /// Client Heartbeat; no body.
    pub const CLIENT_HEARTBEAT: u8 = 0x03;
    /// Logout, from the exchange.
    pub const LOGOUT: u8 = 0x08;
    /// Server Heartbeat; no body.
    pub const SERVER_HEARTBEAT: u8 = 0x09;
    /// Replay Complete; no body.
    pub const REPLAY_COMPLETE: u8 = 0x13;
    /// Login Response V2.
    pub const LOGIN_RESPONSE: u8 = 0x24;
    /// Order Acknowledgement V2.
    pub const ACKNOWLEDGED: u8 = 0x25;
    /// Order Rejected V2.
    pub const REJECTED: u8 = 0x26;
    /// Order Modified V2.
    pub const MODIFIED: u8 = 0x27;
    /// Order Restated V2.
    pub const RESTATED: u8 = 0x28;
    /// User Modify Rejected V2.
    pub const MODIFY_REJECTED: u8 = 0x29;
    /// Order Cancelled V2.
    pub const CANCELLED: u8 = 0x2a;
    /// Cancel Rejected V2.
    pub const CANCEL_REJECTED: u8 = 0x2b;
    /// Order Execution V2.
    pub const EXECUTED: u8 = 0x2c;
    /// Login Request V2.
    pub const LOGIN_REQUEST: u8 = 0x37;
    /// New Order V2.
    pub const NEW_ORDER: u8 = 0x38;
    /// Cancel Order V2.
    pub const CANCEL_ORDER: u8 = 0x39;
    /// Modify Order V2.
    pub const MODIFY_ORDER: u8 = 0x3a;
}

layout! {
    /// What every message begins with.
    le Header, HeaderRepr: 10 {
        /// [`START`].
        0 start: [u8; 2],
        /// Bytes of the message without `start`.
        2 length: u16,
        /// See [`kind`].
        4 kind: u8,
        /// Matching unit; 0 to the exchange, and for what is not sequenced.
        5 unit: u8,
        /// Of the unit's message, or of ours; 0 for what is not sequenced.
        6 sequence: u32,
    }
}

layout! {
    /// Login Request V2. Parameter groups follow, see [`UNITS`] and [`RETURN_BITFIELDS`].
    le LoginRequest, LoginRequestRepr: 19 {
        /// Session sub-id.
        0 sub_id: [u8; 4],
        /// User.
        4 user: [u8; 4],
        /// Password.
        8 password: [u8; 10],
        /// Parameter groups.
        18 groups: u8,
    }
}

/// Parameter group `{ length: u16, type, unit unspecified not replayed: u8, count: u8, count × { unit: u8, sequence: u32 } }`:
/// what was received last of each unit.
pub const UNITS: u8 = 0x80;
/// Parameter group `{ length: u16, type, message type: u8, count: u8, bitfields }`: optional fields wanted in a response.
pub const RETURN_BITFIELDS: u8 = 0x81;

layout! {
    /// Login Response V2. `{ unit: u8, sequence: u32 }` of each unit follow, and the parameter groups of the request.
    le LoginResponse, LoginResponseRepr: 67 {
        /// `A` accepted; anything else is a refusal.
        0 status: u8,
        /// For a human.
        1 text: [u8; 60],
        /// Units that the request did not name are not replayed.
        61 unspecified_not_replayed: u8,
        /// Sequence number of the last message that the exchange has received from us.
        62 last_received: u32,
        /// Units that follow.
        66 units: u8,
    }
}

layout! {
    /// Logout. `{ unit: u8, sequence: u32 }` of each unit follow.
    le Logout, LogoutRepr: 66 {
        /// `U` asked for, `E` end of day, `A` administrative, `!` protocol violation.
        0 reason: u8,
        /// For a human.
        1 text: [u8; 60],
        /// Sequence number of the last message that the exchange has received from us.
        61 last_received: u32,
        /// Units that follow.
        65 units: u8,
    }
}

layout! {
    /// New Order V2; optional fields follow ([`NEW_ORDER_FIELDS`]).
    le NewOrder, NewOrderRepr: 25 {
        /// Client order id.
        0 client_id: [u8; 20],
        /// `1` buy, `2` sell, `5` sell short, `6` sell short exempt.
        20 side: u8,
        /// Shares.
        21 qty: u32,
    }
}

layout! {
    /// Modify Order V2; optional fields follow ([`MODIFY_ORDER_FIELDS`]).
    le ModifyOrder, ModifyOrderRepr: 40 {
        /// Id of the order that comes.
        0 client_id: [u8; 20],
        /// Id of the order that goes.
        20 original_id: [u8; 20],
    }
}

layout! {
    /// Cancel Order V2; optional fields follow ([`CANCEL_ORDER_FIELDS`]).
    le CancelOrder, CancelOrderRepr: 20 {
        /// Id of the order that goes.
        0 client_id: [u8; 20],
    }
}

layout! {
    /// Order Acknowledgement V2, and Order Modified V2.
    le Acknowledged, AcknowledgedRepr: 37 {
        /// When.
        0 time: u64,
        /// Client order id.
        8 client_id: [u8; 20],
        /// The exchange's number.
        28 order_id: u64,
        /// Reserved.
        36 reserved: u8,
    }
}

layout! {
    /// Order Rejected V2, User Modify Rejected V2, and Cancel Rejected V2. Not sequenced: never replayed.
    le Rejected, RejectedRepr: 90 {
        /// When.
        0 time: u64,
        /// Client order id.
        8 client_id: [u8; 20],
        /// Why.
        28 reason: u8,
        /// The same for a human.
        29 text: [u8; 60],
        /// Reserved.
        89 reserved: u8,
    }
}

layout! {
    /// Order Restated V2: the exchange has changed an order by itself.
    le Restated, RestatedRepr: 38 {
        /// When.
        0 time: u64,
        /// Client order id.
        8 client_id: [u8; 20],
        /// The exchange's number.
        28 order_id: u64,
        /// Why.
        36 reason: u8,
        /// Reserved.
        37 reserved: u8,
    }
}

layout! {
    /// Order Cancelled V2: all that was left of it.
    le Cancelled, CancelledRepr: 30 {
        /// When.
        0 time: u64,
        /// Client order id.
        8 client_id: [u8; 20],
        /// Why.
        28 reason: u8,
        /// Reserved.
        29 reserved: u8,
    }
}

layout! {
    /// Order Execution V2.
    le Executed, ExecutedRepr: 59 {
        /// When.
        0 time: u64,
        /// Client order id.
        8 client_id: [u8; 20],
        /// Number of the execution.
        28 execution: u64,
        /// Shares.
        36 qty: u32,
        /// At what price.
        40 price: i64,
        /// Shares that are left.
        48 leaves: u32,
        /// `A` added, `R` removed, `X` routed, `C` auction.
        52 liquidity: u8,
        /// More of that.
        53 sub_liquidity: u8,
        /// Who was on the other side.
        54 contra: [u8; 4],
        /// Reserved.
        58 reserved: u8,
    }
}

/// Bytes of the optional fields of one kind of message: a bitfield a row, its lowest bit first; 0 for a bit of which the
/// length is not known here.
pub type Sizes = [[u8; 8]];

/// Optional fields of a New Order.
pub const NEW_ORDER_FIELDS: &Sizes = &[
    // ClearingFirm, ClearingAccount, Price, ExecInst, OrdType, TimeInForce, MinQty, MaxFloor
    [4, 4, 8, 1, 1, 1, 4, 4],
    // Symbol, SymbolSfx, Currency, IDSource, SecurityID, SecurityExchange, Capacity, RoutingInst
    [8, 8, 3, 1, 16, 4, 1, 4],
    // Account, DisplayIndicator, MaxRemovePct, DiscretionAmount, PegDifference, PreventMatch, LocateReqd, ExpireTime
    [16, 1, 1, 2, 8, 3, 1, 8],
    [0; 8],
    // -, AttributedQuote, -, ExtExecInst
    [0, 1, 0, 1, 0, 0, 0, 0],
];
/// Optional fields of a Modify Order.
pub const MODIFY_ORDER_FIELDS: &Sizes = &[
    // ClearingFirm, -, OrderQty, Price, OrdType, CancelOrigOnReject, ExecInst, Side
    [4, 0, 4, 8, 1, 1, 1, 1],
    // MaxFloor, StopPx
    [4, 8, 0, 0, 0, 0, 0, 0],
];
/// Optional fields of a Cancel Order.
pub const CANCEL_ORDER_FIELDS: &Sizes = &[
    // ClearingFirm
    [4, 0, 0, 0, 0, 0, 0, 0],
];
/// Optional fields of responses.
pub const RETURN_FIELDS: &Sizes = &[
    // Side, PegDifference, Price, ExecInst, OrdType, TimeInForce, MinQty, MaxRemovePct
    [1, 8, 8, 1, 1, 1, 4, 1],
    // Symbol, SymbolSfx, Currency, IDSource, SecurityID, SecurityExchange, Capacity, CrossFlag
    [8, 8, 3, 1, 16, 4, 1, 1],
    // Account, ClearingFirm, ClearingAccount, DisplayIndicator, MaxFloor, DiscretionAmount, OrderQty, PreventMatch
    [16, 4, 4, 1, 4, 2, 4, 3],
    [0; 8],
    // OrigClOrdID, LeavesQty, LastShares, LastPx, DisplayPrice, WorkingPrice, BaseLiquidityIndicator, ExpireTime
    [20, 4, 4, 8, 8, 8, 1, 8],
    // SecondaryOrderID, -, ContraCapacity, AttributedQuote, ExtExecInst
    [8, 0, 1, 1, 1, 0, 0, 0],
    // SubLiquidityIndicator
    [1, 0, 0, 0, 0, 0, 0, 0],
    // -, -, StopPx, RoutingInst, RoutStrategy, RouteDeliveryMethod, ExDestination
    [0, 0, 8, 4, 6, 3, 1, 0],
];

/// Where an optional field is announced: index of the bitfield, number of the bit.
pub type Bit = (usize, u32);

/// Bits of a response that are asked for here.
pub mod returned {
    use super::Bit;

    /// The limit in force, i64.
    pub const PRICE: Bit = (0, 2);
    /// Id of the order that went, 20 bytes.
    pub const ORIGINAL_ID: Bit = (4, 0);
    /// Shares that stand, u32.
    pub const LEAVES: Bit = (4, 1);
}

/// One message, direction unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    header: Header<'a>,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message at the front of a stream. `Truncated` says how many bytes it needs: wait for them. `Version` when it
    /// starts with anything but [`START`], `BadLength` when its length is less than that of a header: the stream is lost.
    #[inline]
    pub fn parse(stream: &'a [u8]) -> Result<Message<'a>, Error> {
        let header = Header::prefix(stream)?;
        if header.start() != START {
            let [expected, found] = [START, header.start()].map(u16::from_le_bytes);
            return Err(Error::Version { expected, found });
        }
        let length = usize::from(header.length()) + START.len();
        if length < HEADER {
            return Err(Error::BadLength { least: (HEADER - START.len()) as u16, found: header.length() });
        }
        match stream.get(HEADER..length) {
            Some(body) => Ok(Message { header, body }),
            None => Err(Error::truncated(length, stream.len())),
        }
    }

    /// Its header.
    #[inline]
    pub const fn header(&self) -> Header<'a> {
        self.header
    }

    /// What follows the header.
    #[inline]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Bytes it took of the stream.
    #[inline]
    pub const fn length(&self) -> usize {
        HEADER + self.body.len()
    }

    /// Its optional fields, behind the first `fixed` bytes of the body. `Truncated` when there is no room for their
    /// bitfields.
    #[inline]
    pub fn options(&self, fixed: usize, sizes: &'static Sizes) -> Result<Options<'a>, Error> {
        let rest = self.body.get(fixed..).unwrap_or_default();
        let Some((&count, rest)) = rest.split_first() else { return Err(Error::truncated(fixed + 1, self.body.len())) };
        match rest.split_at_checked(count.into()) {
            Some((bitfields, values)) => Ok(Options { sizes, bitfields, values }),
            None => Err(Error::truncated(fixed + 1 + usize::from(count), self.body.len())),
        }
    }
}

/// The optional fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    sizes: &'static Sizes,
    bitfields: &'a [u8],
    values: &'a [u8],
}

impl<'a> Options<'a> {
    /// The bytes of a field. `None` when its bit is not set, when the message ends before it (a captured acknowledgement
    /// announces one field more than it carries), or behind a field of unknown length.
    #[inline]
    pub fn field(&self, (bitfield, bit): Bit) -> Option<&'a [u8]> {
        let mut at = 0;
        for (i, &bits) in self.bitfields.iter().enumerate().take(bitfield + 1) {
            let sizes = self.sizes.get(i)?;
            for (n, &size) in sizes.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1) {
                if size == 0 {
                    return None;
                }
                if (i, n as u32) == (bitfield, bit) {
                    return self.values.get(at..at + usize::from(size));
                }
                at += usize::from(size);
            }
        }
        None
    }

    /// A field of four bytes.
    #[inline]
    pub fn u32(&self, bit: Bit) -> Option<u32> {
        Some(u32::from_le_bytes(self.field(bit)?.try_into().ok()?))
    }

    /// A field of eight bytes.
    #[inline]
    pub fn i64(&self, bit: Bit) -> Option<i64> {
        Some(i64::from_le_bytes(self.field(bit)?.try_into().ok()?))
    }
}

/// The header of a message with a body of so many bytes; `None` when no length field can say it.
#[inline]
pub fn header(kind: u8, unit: u8, sequence: u32, body: usize) -> Option<[u8; HEADER]> {
    let length = u16::try_from(HEADER - START.len() + body).ok()?;
    Some(HeaderRepr { start: START, length, kind, unit, sequence }.to_bytes())
}

/// Number a whole message.
#[inline]
pub fn number(message: &mut [u8], sequence: u32) {
    if let Some(field) = message.get_mut(6..HEADER) {
        field.copy_from_slice(&sequence.to_le_bytes());
    }
}

/// A client order id: the decimal digits of `id`, left-justified, NUL-padded.
#[inline]
pub const fn client_id(mut id: u64) -> [u8; 20] {
    let mut digits = [0; 20];
    let mut count = 0;
    while count == 0 || id > 0 {
        digits[count] = b'0' + (id % 10) as u8;
        id /= 10;
        count += 1;
    }
    let mut text = [0; 20];
    let mut at = 0;
    while at < count {
        text[at] = digits[count - 1 - at];
        at += 1;
    }
    text
}

/// The id that a client order id says, if it is one of [`client_id`]'s.
#[inline]
pub fn parse_client_id(text: &[u8; 20]) -> Option<u64> {
    let mut id = 0u64;
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    for &byte in &text[..end] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        id = id.checked_mul(10)?.checked_add(digit.into())?;
    }
    (end > 0 && text[end..].iter().all(|&byte| byte == 0)).then_some(id)
}

/// Text as the protocol pads it: NULs for spaces at the end.
pub fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let text = text.trim_ascii_end();
    let length = text.len().min(N);
    field[..length].copy_from_slice(&text[..length]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_cut_at_its_length() {
        let heartbeat = b"\xba\xba\x08\0\x09\0\0\0\0\0";
        let message = Message::parse(heartbeat).unwrap();
        assert_eq!((message.header().kind(), message.length(), message.body()), (kind::SERVER_HEARTBEAT, 10, &[][..]));
        assert_eq!(header(kind::SERVER_HEARTBEAT, 0, 0, 0).unwrap(), *heartbeat);
        for cut in 0..heartbeat.len() {
            assert_eq!(Message::parse(&heartbeat[..cut]), Err(Error::Truncated { needed: 10, found: cut as u16 }));
        }
        assert_eq!(
            Message::parse(b"\xba\xbb\x08\0\x09\0\0\0\0\0"),
            Err(Error::Version { expected: 0xbaba, found: 0xbbba })
        );
        assert_eq!(Message::parse(b"\xba\xba\x07\0\x09\0\0\0\0\0"), Err(Error::BadLength { least: 8, found: 7 }));
        assert_eq!(header(1, 0, 0, 1 << 16), None);
    }

    #[test]
    fn optional_fields_lie_in_the_order_of_their_bits() {
        // OrigClOrdID and LeavesQty of an Order Modified, with the price before them.
        let mut bytes = header(kind::MODIFIED, 1, 9, 37 + 1 + 5 + 8 + 20 + 4).unwrap().to_vec();
        bytes.extend([0; 37]);
        bytes.extend([5, 0x04, 0, 0, 0, 0x03]);
        bytes.extend(200_000i64.to_le_bytes());
        bytes.extend(client_id(41));
        bytes.extend(7u32.to_le_bytes());
        let options = Message::parse(&bytes).unwrap().options(Acknowledged::LENGTH, RETURN_FIELDS).unwrap();
        assert_eq!(options.i64(returned::PRICE), Some(200_000));
        assert_eq!(options.field(returned::ORIGINAL_ID), Some(&client_id(41)[..]));
        assert_eq!(options.u32(returned::LEAVES), Some(7));
        assert_eq!(options.field((0, 0)), None, "its bit is not set");
        let short = Message::parse(&bytes).map(|m| Message { body: &m.body[..m.body.len() - 1], ..m }).unwrap();
        assert_eq!(short.options(37, RETURN_FIELDS).unwrap().u32(returned::LEAVES), None, "it is cut short");
        let unknown = Options { sizes: RETURN_FIELDS, bitfields: &[0, 0, 0, 1, 1], values: &[0; 64] };
        assert_eq!(unknown.field(returned::ORIGINAL_ID), None, "nobody knows where it is");
    }

    #[test]
    fn ids_are_digits_and_padding() {
        assert_eq!(client_id(0), *b"0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(client_id(u64::MAX), *b"18446744073709551615");
        for wrong in [
            &[0; 20],
            b"12 \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"18446744073709551616",
            b"1\x002\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(parse_client_id(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back(id: u64) {
            prop_assert_eq!(parse_client_id(&client_id(id)), Some(id));
        }

        #[test]
        fn any_bytes_are_read_or_refused(rest in prop::collection::vec(any::<u8>(), 0..120), length in 0u16..140) {
            let bytes = [&START[..], &length.to_le_bytes(), &rest].concat();
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert!(message.length() <= bytes.len());
                for fixed in [0, 20, 37] {
                    if let Ok(options) = message.options(fixed, RETURN_FIELDS) {
                        let _ = (options.u32(returned::LEAVES), options.i64(returned::PRICE));
                    }
                }
            }
        }
    }
}
