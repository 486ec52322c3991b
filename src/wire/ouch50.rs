//! Nasdaq OUCH 5.0: one order message comes in, as SoupBinTCP carried it (inbound in `U`, outbound in `S` packets); its
//! fields and its appendage go out. It keeps no order and no reference number.
//!
//! "Inbound" is from us to the exchange, as Nasdaq writes. Integers are big-endian, text is ASCII, left-justified and
//! space-padded, prices have four implied decimals, timestamps are ns since midnight, US Eastern. Every message may end
//! in an appendage, `{ length: u16, tags }`: some messages always have its length, others got one in later revisions.

use super::Error;

/// Limit that stands for a market order in a cross.
pub const MARKET_PRICE: u64 = 0x7fff_ffff;
/// Most shares of an order: the specification asks for fewer than 1,000,000.
pub const MAX_QTY: u32 = 999_999;
/// Highest limit, 199,999.9900.
pub const MAX_PRICE: u64 = 1_999_999_900;

/// Tags of an appendage known here.
pub mod tag {
    /// Firm, 4 bytes of text.
    pub const FIRM: u8 = 2;
    /// Least shares to execute, u32.
    pub const MIN_QTY: u8 = 3;
    /// Customer type, 1 byte.
    pub const CUSTOMER_TYPE: u8 = 4;
    /// Shares displayed of a reserve order, u32.
    pub const MAX_FLOOR: u8 = 5;
    /// Price type, 1 byte.
    pub const PRICE_TYPE: u8 = 6;
    /// Offset of a pegged order, i32.
    pub const PEG_OFFSET: u8 = 7;
    /// Post only, 1 byte.
    pub const POST_ONLY: u8 = 12;
    /// When the order expires.
    pub const EXPIRE_TIME: u8 = 15;
    /// Trade now, 1 byte.
    pub const TRADE_NOW: u8 = 16;
    /// Weight of the order in the best bid and offer, 1 byte.
    pub const BBO_WEIGHT: u8 = 18;
}

/// One tag of an appendage, `{ length: u8, tag: u8, value }`; the length counts tag and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Which, see [`tag`].
    pub tag: u8,
    /// Its value, at most 254 bytes.
    pub value: &'a [u8],
}

/// The appendage of a message: iterates over its [`Tag`]s. A tag that runs past the appendage, or has no room for its
/// own number, is one error and the last item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appendage<'a>(&'a [u8]);

impl<'a> Appendage<'a> {
    /// Its bytes, without its length.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The value of the first tag of this number.
    pub fn value(&self, tag: u8) -> Option<&'a [u8]> {
        self.filter_map(Result::ok).find(|found| found.tag == tag).map(|found| found.value)
    }

    /// What follows a message of `kind`: nothing, or a length and exactly so many bytes.
    #[inline]
    fn parse(kind: u8, fixed: usize, rest: &'a [u8]) -> Result<Appendage<'a>, Error> {
        let Some((length, tags)) = rest.split_first_chunk() else {
            return match rest {
                [] => Ok(Appendage(&[])),
                _ => Err(Error::wrong_length(kind, fixed, fixed + rest.len())),
            };
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if tags.len() != length {
            return Err(Error::wrong_length(kind, fixed + 2 + length, fixed + rest.len()));
        }
        Ok(Appendage(tags))
    }
}

impl<'a> Iterator for Appendage<'a> {
    type Item = Result<Tag<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&length, rest) = self.0.split_first()?;
        let available = rest.len();
        let item = match rest.split_at_checked(length.into()) {
            Some(([tag, value @ ..], after)) => {
                self.0 = after;
                return Some(Ok(Tag { tag: *tag, value }));
            }
            Some(_) => Error::BadLength { least: 1, found: 0 },
            None => Error::truncated(length.into(), available),
        };
        self.0 = &[];
        Some(Err(item))
    }
}

/// Declares the messages of one direction. `tagged` ones always carry the length of their appendage, `plain` ones
/// only with an appendage.
macro_rules! messages {
    (
        $(#[$enum_meta:meta])*
        enum $Message:ident, $parse:ident;
        $(
            $(#[$meta:meta])*
            $type:literal $style:ident $View:ident, $Repr:ident: $length:literal {
                $( $(#[$doc:meta])* $at:literal $field:ident: $kind:tt, )*
            }
        )*
    ) => {
        $(
            layout! {
                @fields
                $(#[$meta])*
                be $View, $Repr: $length = $type { $( $(#[$doc])* $at $field: $kind, )* }
            }

            impl $Repr {
                /// Writes message and appendage at the front of `out` and returns their length, or `NoRoom`.
                #[inline]
                pub fn emit(&self, tags: &[Tag<'_>], out: &mut [u8]) -> Result<usize, Error> {
                    let room = out.len();
                    let Some((bytes, rest)) = out.split_first_chunk_mut() else {
                        return Err(Error::no_room($length, room));
                    };
                    *bytes = self.to_bytes();
                    Ok($length + emit_appendage(always_has_length!($style), tags, rest)?)
                }
            }
        )*

        $(#[$enum_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Message<'a> {
            $( $(#[$meta])* $View($View<'a>, Appendage<'a>), )*
        }

        impl<'a> $Message<'a> {
            /// Its type byte.
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $( $Message::$View(..) => $type, )* }
            }

            /// Its appendage, empty when it has none.
            #[inline]
            pub const fn appendage(&self) -> Appendage<'a> {
                match self { $( $Message::$View(_, appendage) => *appendage, )* }
            }
        }

        /// Checks one message. `UnknownType`, `WrongLength` also when the appendage does not end where the message
        /// ends, or `Truncated` when there is no byte at all. The tags are checked one by one as they are iterated.
        #[inline]
        pub fn $parse(bytes: &[u8]) -> Result<$Message<'_>, Error> {
            let Some(&kind) = bytes.first() else {
                return Err(Error::truncated(1, 0));
            };
            match kind {
                $(
                    $type => match bytes.split_first_chunk() {
                        Some((fixed, rest)) => {
                            let appendage = Appendage::parse($type, $length, after_fixed::<$type>(rest))?;
                            Ok($Message::$View($View::new(fixed), appendage))
                        }
                        None => Err(Error::wrong_length($type, $length, bytes.len())),
                    },
                )*
                unknown => Err(Error::UnknownType(unknown)),
            }
        }
    };
}

macro_rules! always_has_length {
    (tagged) => {
        true
    };
    (plain) => {
        false
    };
}

messages! {
    /// A message from us to the exchange.
    enum Inbound, parse_inbound;

    /// Enter order.
    b'O' tagged EnterOrder, EnterOrderRepr: 45 {
        /// User reference number, strictly rising on a port and day.
        1 user_ref: u32,
        /// `B` buy, `S` sell, `T` sell short, `E` sell short exempt.
        5 side: u8,
        /// Shares.
        6 qty: u32,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Limit.
        18 price: u64,
        /// `0` day, `3` immediate or cancel, `5` GTX, `6` until the expire time, `E` after hours.
        26 time_in_force: u8,
        /// `Y` visible, `N` hidden, `A` attributable, `P` post-only and others.
        27 display: u8,
        /// `A` agency, `P` principal, `R` riskless, `O` other.
        28 capacity: u8,
        /// `Y` intermarket sweep.
        29 sweep: u8,
        /// `N` continuous market, `O` opening, `C` closing, `H` halt or IPO, and others.
        30 cross: u8,
        /// Client order id.
        31 client_id: [u8; 14],
    }

    /// Replace a standing order.
    b'U' tagged ReplaceOrder, ReplaceOrderRepr: 38 {
        /// Reference of the order that goes.
        1 original_ref: u32,
        /// Reference of the order that comes.
        5 user_ref: u32,
        /// Shares, those executed already included.
        9 qty: u32,
        /// Limit.
        13 price: u64,
        /// As in [`EnterOrder`].
        21 time_in_force: u8,
        /// As in [`EnterOrder`].
        22 display: u8,
        /// `Y` intermarket sweep.
        23 sweep: u8,
        /// Client order id.
        24 client_id: [u8; 14],
    }

    /// Cancel a standing order, wholly or in part.
    b'X' plain CancelOrder, CancelOrderRepr: 9 {
        /// Reference of the order.
        1 user_ref: u32,
        /// Shares it shall have in total, 0 to cancel it.
        5 qty: u32,
    }

    /// Modify side or shares of a standing order.
    b'M' plain ModifyOrder, ModifyOrderRepr: 10 {
        /// Reference of the order.
        1 user_ref: u32,
        /// New side.
        5 side: u8,
        /// New shares.
        6 qty: u32,
    }

    /// Ask for the next user reference number.
    b'Q' plain AccountQuery, AccountQueryRepr: 1 {
    }
}

messages! {
    /// A message from the exchange to us.
    enum Outbound, parse_outbound;

    /// System event.
    b'S' plain SystemEvent, SystemEventRepr: 10 {
        /// ns since midnight.
        1 timestamp: u64,
        /// `S` start of day, `E` end of day.
        9 event: u8,
    }

    /// An order was accepted.
    b'A' tagged Accepted, AcceptedRepr: 62 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Side.
        13 side: u8,
        /// Shares.
        14 qty: u32,
        /// Symbol.
        18 symbol: [u8; 8],
        /// Limit.
        26 price: u64,
        /// As in [`EnterOrder`].
        34 time_in_force: u8,
        /// As in [`EnterOrder`].
        35 display: u8,
        /// The exchange's order reference, as on ITCH.
        36 order: u64,
        /// As in [`EnterOrder`].
        44 capacity: u8,
        /// `Y` intermarket sweep.
        45 sweep: u8,
        /// As in [`EnterOrder`].
        46 cross: u8,
        /// `L` live, `D` dead.
        47 state: u8,
        /// Client order id.
        48 client_id: [u8; 14],
    }

    /// An order was accepted in place of another.
    b'U' tagged Replaced, ReplacedRepr: 66 {
        /// ns since midnight.
        1 timestamp: u64,
        /// Reference of the order that went.
        9 original_ref: u32,
        /// Reference of the order that came.
        13 user_ref: u32,
        /// Side.
        17 side: u8,
        /// Shares.
        18 qty: u32,
        /// Symbol.
        22 symbol: [u8; 8],
        /// Limit.
        30 price: u64,
        /// As in [`EnterOrder`].
        38 time_in_force: u8,
        /// As in [`EnterOrder`].
        39 display: u8,
        /// The exchange's order reference, as on ITCH.
        40 order: u64,
        /// As in [`EnterOrder`].
        48 capacity: u8,
        /// `Y` intermarket sweep.
        49 sweep: u8,
        /// As in [`EnterOrder`].
        50 cross: u8,
        /// `L` live, `D` dead.
        51 state: u8,
        /// Client order id.
        52 client_id: [u8; 14],
    }

    /// An order lost shares, or all of them, to a cancel.
    b'C' plain Canceled, CanceledRepr: 18 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Shares removed now.
        13 qty: u32,
        /// `U` user, `I` immediate or cancel, `T` timeout, `S` supervisory, `D` regulatory, `Q` self-match, `Z` system,
        /// `H` halted, `X` open protection and others.
        17 reason: u8,
    }

    /// An order lost shares because it would have met one of our own. Later revisions add a byte, the anti-internalisation
    /// strategy, which is stepped over.
    b'D' plain SelfMatchCanceled, SelfMatchCanceledRepr: 31 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Shares removed now.
        13 qty: u32,
        /// `Q`.
        17 reason: u8,
        /// Shares that would have been executed.
        18 prevented_qty: u32,
        /// At this price.
        22 price: u64,
        /// Liquidity flag of the trade that did not happen.
        30 liquidity: u8,
    }

    /// An order was executed, wholly or in part.
    b'E' tagged Executed, ExecutedRepr: 34 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Shares executed now.
        13 qty: u32,
        /// Price.
        17 price: u64,
        /// `A` added, `R` removed and others.
        25 liquidity: u8,
        /// Match number, as on ITCH.
        26 match_number: u64,
    }

    /// An execution was broken.
    b'B' plain BrokenTrade, BrokenTradeRepr: 36 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Match number.
        13 match_number: u64,
        /// Why.
        21 reason: u8,
        /// Client order id.
        22 client_id: [u8; 14],
    }

    /// An order message was refused.
    b'J' plain Rejected, RejectedRepr: 29 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// 6 fat finger, 7 halted, 0x13 bad quantity, 0x1d bad price, 0x1e shares over the threshold, 0x1f notional over
        /// the limit and others.
        13 reason: u16,
        /// Client order id.
        15 client_id: [u8; 14],
    }

    /// A cancel waits for a cross to end.
    b'P' plain CancelPending, CancelPendingRepr: 13 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
    }

    /// A cancel was refused.
    b'I' plain CancelRejected, CancelRejectedRepr: 13 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
    }

    /// An order got another priority.
    b'T' plain PriorityUpdate, PriorityUpdateRepr: 30 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Limit.
        13 price: u64,
        /// As in [`EnterOrder`].
        21 display: u8,
        /// The exchange's new order reference.
        22 order: u64,
    }

    /// An order was modified.
    b'M' plain Modified, ModifiedRepr: 18 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Side.
        13 side: u8,
        /// Shares.
        14 qty: u32,
    }

    /// An order was restated; the appendage says what changed.
    b'R' tagged Restated, RestatedRepr: 14 {
        /// ns since midnight.
        1 timestamp: u64,
        /// User reference number.
        9 user_ref: u32,
        /// Why.
        13 reason: u8,
    }

    /// Answer to an account query.
    b'Q' plain QueryResponse, QueryResponseRepr: 13 {
        /// ns since midnight.
        1 timestamp: u64,
        /// Next user reference number that will be taken.
        9 next_ref: u32,
    }
}

/// A client order id as the protocol writes it: the decimal digits of `id`, left-justified, space-padded. Ids beyond 14
/// digits keep their last 14.
#[inline]
pub const fn client_id(mut id: u64) -> [u8; 14] {
    // The digits come last first; each pushes the others one byte up, and the spaces out at the end.
    let mut text = u128::from_le_bytes([b' '; 16]);
    let mut count = 0;
    while count == 0 || (id > 0 && count < 14) {
        text = text << 8 | (b'0' + (id % 10) as u8) as u128;
        id /= 10;
        count += 1;
    }
    let [client_id @ .., _, _] = text.to_le_bytes();
    client_id
}

#[inline]
fn emit_appendage(always: bool, tags: &[Tag<'_>], out: &mut [u8]) -> Result<usize, Error> {
    if tags.is_empty() && !always {
        return Ok(0);
    }
    let room = out.len();
    let mut at = 2;
    for tag in tags {
        let end = at + 2 + tag.value.len();
        let (Ok(length), Some(bytes)) = (u8::try_from(1 + tag.value.len()), out.get_mut(at..end)) else {
            return Err(Error::no_room(end, room));
        };
        bytes[0] = length;
        bytes[1] = tag.tag;
        bytes[2..].copy_from_slice(tag.value);
        at = end;
    }
    let (Ok(length), Some(bytes)) = (u16::try_from(at - 2), out.first_chunk_mut()) else {
        return Err(Error::no_room(at, room));
    };
    *bytes = length.to_be_bytes();
    Ok(at)
}

/// The bytes behind the fixed part of a message that may be an appendage. `D` alone grew by a field of its own.
#[inline]
fn after_fixed<const TYPE: u8>(rest: &[u8]) -> &[u8] {
    match rest {
        [_strategy, after @ ..] if TYPE == SelfMatchCanceled::TYPE => after,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INBOUND: &[(u8, usize, bool)] =
        &[(b'O', 45, true), (b'U', 38, true), (b'X', 9, false), (b'M', 10, false), (b'Q', 1, false)];
    // Total lengths without appendage, from the table of the specification: type byte and fields.
    const OUTBOUND: &[(u8, usize, bool)] = &[
        (b'S', 10, false),
        (b'A', 62, true),
        (b'U', 66, true),
        (b'C', 18, false),
        (b'D', 31, false),
        (b'E', 34, true),
        (b'B', 36, false),
        (b'J', 29, false),
        (b'P', 13, false),
        (b'I', 13, false),
        (b'T', 30, false),
        (b'M', 18, false),
        (b'R', 14, true),
        (b'Q', 13, false),
    ];

    const ENTER: &[u8; 53] =
        b"O\0\0\0\x07B\0\0\0\x64AAPL    \0\0\0\0\0\x12\xd6\x870YPNN1             \0\x06\x05\x02NITE";

    const ENTER_REPR: EnterOrderRepr = EnterOrderRepr {
        user_ref: 7,
        side: b'B',
        qty: 100,
        symbol: *b"AAPL    ",
        price: 1_234_567,
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        sweep: b'N',
        cross: b'N',
        client_id: *b"1             ",
    };

    #[test]
    fn an_enter_order_equals_its_literal_bytes() {
        let mut out = [0; 53];
        let firm = Tag { tag: tag::FIRM, value: b"NITE" };
        assert_eq!(ENTER_REPR.emit(&[firm], &mut out), Ok(53));
        assert_eq!(&out, ENTER);
        let Ok(Inbound::EnterOrder(m, appendage)) = parse_inbound(ENTER) else { panic!("{:?}", parse_inbound(ENTER)) };
        assert_eq!(m.repr(), ENTER_REPR);
        assert_eq!(appendage.collect::<Vec<_>>(), [Ok(firm)]);
        assert_eq!(appendage.value(tag::FIRM), Some(&b"NITE"[..]));
        assert_eq!(appendage.value(tag::MIN_QTY), None);
    }

    #[test]
    fn an_enter_order_without_tags_still_says_so() {
        let mut out = [0; 53];
        assert_eq!(ENTER_REPR.emit(&[], &mut out), Ok(47));
        assert_eq!(out[45..47], [0, 0]);
        for room in 0..47 {
            assert!(matches!(ENTER_REPR.emit(&[], &mut out[..room]), Err(Error::NoRoom { .. })), "{room}");
        }
    }

    #[test]
    fn replace_cancel_and_modify_equal_their_literal_bytes() {
        let mut out = [0; 64];
        let replace = ReplaceOrderRepr {
            original_ref: 7,
            user_ref: 8,
            qty: 200,
            price: 10_000,
            time_in_force: b'3',
            display: b'N',
            sweep: b'Y',
            client_id: *b"2             ",
        };
        let length = replace.emit(&[], &mut out).unwrap();
        assert_eq!(&out[..length], b"U\0\0\0\x07\0\0\0\x08\0\0\0\xc8\0\0\0\0\0\0\x27\x103NY2             \0\0");
        let length = CancelOrderRepr { user_ref: 7, qty: 50 }.emit(&[], &mut out).unwrap();
        assert_eq!(&out[..length], b"X\0\0\0\x07\0\0\0\x32");
        let length = ModifyOrderRepr { user_ref: 7, side: b'T', qty: 50 }.emit(&[], &mut out).unwrap();
        assert_eq!(&out[..length], b"M\0\0\0\x07T\0\0\0\x32");
        let length = AccountQueryRepr {}.emit(&[], &mut out).unwrap();
        assert_eq!(&out[..length], b"Q");
    }

    #[test]
    fn outbound_messages_show_their_fields() {
        let bytes = b"E\0\0\x28\x9b\x4d\x68\x13\x17\0\0\0\x07\0\0\0\x64\0\0\0\0\0\0\x27\x10A\0\0\0\0\0\0\0\x09\0\0";
        let Ok(Outbound::Executed(m, appendage)) = parse_outbound(bytes) else { panic!("{:?}", parse_outbound(bytes)) };
        assert_eq!((m.timestamp(), m.user_ref(), m.qty()), (0x289b_4d68_1317, 7, 100));
        assert_eq!((m.price(), m.liquidity(), m.match_number()), (10_000, b'A', 9));
        assert_eq!(appendage.bytes(), b"");

        let bytes = b"J\0\0\x28\x9b\x4d\x68\x13\x17\0\0\0\x07\0\x1d1             ";
        let Ok(Outbound::Rejected(m, _)) = parse_outbound(bytes) else { panic!("{:?}", parse_outbound(bytes)) };
        assert_eq!((m.user_ref(), m.reason(), m.client_id()), (7, 0x1d, *b"1             "));

        let bytes = b"D\0\0\x28\x9b\x4d\x68\x13\x17\0\0\0\x07\0\0\0\x64Q\0\0\0\x0a\0\0\0\0\0\0\x27\x10R";
        for tail in [&b""[..], b"O"] {
            let bytes = [bytes, tail].concat();
            let Ok(Outbound::SelfMatchCanceled(m, _)) = parse_outbound(&bytes) else { panic!("{tail:?}") };
            assert_eq!(
                (m.qty(), m.reason(), m.prevented_qty(), m.price(), m.liquidity()),
                (100, b'Q', 10, 10_000, b'R')
            );
        }
    }

    #[test]
    fn a_cancel_may_grow_an_appendage() {
        let bytes = b"X\0\0\0\x07\0\0\0\0\0\x03\x02\x1d\x01";
        let Ok(Inbound::CancelOrder(m, appendage)) = parse_inbound(bytes) else { panic!("{:?}", parse_inbound(bytes)) };
        assert_eq!(m.user_ref(), 7);
        assert_eq!(appendage.value(0x1d), Some(&[1][..]));
        let mut out = [0; 14];
        assert_eq!(m.repr().emit(&[Tag { tag: 0x1d, value: &[1] }], &mut out), Ok(14));
        assert_eq!(&out, bytes);
    }

    #[test]
    fn damaged_tags_are_one_error_and_the_last_item() {
        let tags = |bytes: &'static [u8]| Appendage(bytes).collect::<Vec<_>>();
        let fine = Ok(Tag { tag: 2, value: &b"A"[..] });
        assert_eq!(tags(b"\x02\x02A"), [fine]);
        assert_eq!(tags(b"\x02\x02A\x03\x02A"), [fine, Err(Error::truncated(3, 2))]);
        assert_eq!(tags(b"\x02\x02A\0\x02\x02A"), [fine, Err(Error::BadLength { least: 1, found: 0 })]);
    }

    #[test]
    fn unknown_types_and_wrong_lengths_are_told_apart() {
        assert_eq!(parse_inbound(b""), Err(Error::truncated(1, 0)));
        assert_eq!(parse_inbound(b"Z"), Err(Error::UnknownType(b'Z')));
        assert_eq!(parse_outbound(b"Z"), Err(Error::UnknownType(b'Z')));
        for &(kind, fixed, _) in INBOUND {
            for found in 1..fixed {
                let mut bytes = [0; 64];
                bytes[0] = kind;
                assert_eq!(parse_inbound(&bytes[..found]), Err(Error::wrong_length(kind, fixed, found)));
            }
        }
        for &(kind, fixed, _) in OUTBOUND {
            for found in 1..fixed {
                let mut bytes = [0; 80];
                bytes[0] = kind;
                assert_eq!(parse_outbound(&bytes[..found]), Err(Error::wrong_length(kind, fixed, found)));
            }
        }
        for length in 1..ENTER.len() {
            let whole = parse_inbound(&ENTER[..length]);
            assert!(whole.is_err() || length == 45, "{length}: {whole:?}");
        }
    }

    #[test]
    fn client_ids_are_left_justified_digits() {
        assert_eq!(&client_id(0), b"0             ");
        assert_eq!(&client_id(1_234), b"1234          ");
        assert_eq!(&client_id(123_456_789_012_345), b"23456789012345");
    }

    /// Emits fields and tags anew.
    macro_rules! emit {
        ($message:expr, $Enum:ident, $tags:expr, $out:expr, $($View:ident)*) => {
            match $message { $( $Enum::$View(m, _) => m.repr().emit($tags, $out).unwrap(), )* }
        };
    }

    fn emit_inbound(message: Inbound<'_>, out: &mut [u8]) -> usize {
        let tags: Vec<_> = message.appendage().map(Result::unwrap).collect();
        emit!(message, Inbound, &tags, out, EnterOrder ReplaceOrder CancelOrder ModifyOrder AccountQuery)
    }

    fn emit_outbound(message: Outbound<'_>, out: &mut [u8]) -> usize {
        let tags: Vec<_> = message.appendage().map(Result::unwrap).collect();
        emit!(message, Outbound, &tags, out, SystemEvent Accepted Replaced Canceled SelfMatchCanceled Executed BrokenTrade
            Rejected CancelPending CancelRejected PriorityUpdate Modified Restated QueryResponse)
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(message) = parse_inbound(&bytes) {
                message.appendage().count();
            }
            if let Ok(message) = parse_outbound(&bytes) {
                message.appendage().count();
            }
        }

        #[test]
        fn every_type_parses_and_emits_the_same_bytes(
            inbound in proptest::sample::select(INBOUND),
            outbound in proptest::sample::select(OUTBOUND),
            fields: [u8; 66],
            tags in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..8)), 0..4),
        ) {
            for ((kind, fixed, always), is_inbound) in [(inbound, true), (outbound, false)] {
                let mut bytes = fields[..fixed].to_vec();
                bytes[0] = kind;
                // `D` with its later byte would swallow the first byte of an appendage.
                if (always || !tags.is_empty()) && (is_inbound || kind != b'D') {
                    bytes.extend([0, 0]);
                    for (tag, value) in &tags {
                        bytes.extend([1 + value.len() as u8, *tag]);
                        bytes.extend(value);
                    }
                    let length = (bytes.len() - fixed - 2) as u16;
                    bytes[fixed..fixed + 2].copy_from_slice(&length.to_be_bytes());
                }
                let mut out = [0; 128];
                let written = if is_inbound {
                    emit_inbound(parse_inbound(&bytes).unwrap(), &mut out)
                } else {
                    emit_outbound(parse_outbound(&bytes).unwrap(), &mut out)
                };
                prop_assert_eq!(&out[..written], &bytes[..]);
            }
        }
    }
}
