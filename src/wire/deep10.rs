//! IEX DEEP 1.0 (specification 1.08): one message comes in, as the transport framed it; its fields go out.
//! All its message types. It keeps no state and no book.
//!
//! Integers are little-endian. Symbols are ASCII, left-justified, space-padded. Prices have four implied decimals.
//! Timestamps are ns since 1970. By the specification a message may grow at its end within a version: a longer one is
//! decoded by the fields known here, a shorter one is refused.

use super::Error;

/// Declares the variants of [`Message`] over the layouts above it.
macro_rules! messages {
    ($( $(#[$meta:meta])* $type:literal $Variant:ident($View:ident), )*) => {
        /// A message of any type, checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $( $(#[$meta])* $Variant($View<'a>), )*
        }

        impl Message<'_> {
            /// Its type byte.
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $( Message::$Variant(_) => $type, )* }
            }

            /// ns since 1970.
            #[inline]
            pub const fn timestamp(&self) -> i64 {
                match self { $( Message::$Variant(m) => m.timestamp(), )* }
            }
        }

        /// Checks one message. `UnknownType`, `WrongLength` for one shorter than the specification's, or `Truncated`
        /// when there is no byte at all.
        #[inline]
        pub const fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
            let Some(&kind) = bytes.first() else {
                return Err(Error::truncated(1, 0));
            };
            match kind {
                $(
                    $type => match bytes.first_chunk() {
                        Some(bytes) => Ok(Message::$Variant($View::new(bytes))),
                        None => Err(Error::wrong_length($type, $View::LENGTH, bytes.len())),
                    },
                )*
                unknown => Err(Error::UnknownType(unknown)),
            }
        }

        /// Every message type.
        pub const TYPES: [u8; 13] = [$( $type ),*];

        /// Bytes of the fields known here of a message of this type, `None` for an unknown one.
        #[inline]
        pub const fn length(kind: u8) -> Option<usize> {
            match kind {
                $( $type => Some($View::LENGTH), )*
                _ => None,
            }
        }
    };
}

/// The symbol of a message of any type that has one, at the same place in all; of a system event, which has none, nothing
/// or what follows it.
#[inline]
pub fn symbol(message: &[u8]) -> Option<[u8; 8]> {
    message.get(SYMBOL..)?.first_chunk().copied()
}

/// Where every message but a system event has its symbol.
const SYMBOL: usize = 10;

messages! {
    /// System event.
    b'S' SystemEvent(SystemEvent),
    /// Security directory.
    b'D' SecurityDirectory(SecurityDirectory),
    /// Trading status.
    b'H' TradingStatus(TradingStatus),
    /// Retail liquidity indicator.
    b'I' RetailLiquidity(RetailLiquidity),
    /// Operational halt status.
    b'O' OperationalHalt(OperationalHalt),
    /// Short sale price test status.
    b'P' ShortSaleTest(ShortSaleTest),
    /// Security event.
    b'E' SecurityEvent(SecurityEvent),
    /// A bid level.
    b'8' BuyLevel(PriceLevel),
    /// An ask level.
    b'5' SellLevel(PriceLevel),
    /// A trade.
    b'T' Trade(TradeReport),
    /// A broken trade.
    b'B' TradeBreak(TradeReport),
    /// Official opening or closing price.
    b'X' OfficialPrice(OfficialPrice),
    /// Auction information.
    b'A' Auction(AuctionInformation),
}

layout! {
    /// System event.
    le SystemEvent, SystemEventRepr: 10 = b'S' {
        /// `O` start of messages, `S` start of system hours, `R` start of regular hours, `M` end of regular hours,
        /// `E` end of system hours, `C` end of messages.
        1 event: u8,
        /// ns since 1970.
        2 timestamp: i64,
    }
}

layout! {
    /// Security directory.
    le SecurityDirectory, SecurityDirectoryRepr: 31 = b'D' {
        /// Bit 7 test security, bit 6 when issued, bit 5 exchange-traded product.
        1 flags: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Shares of a round lot.
        18 round_lot: u32,
        /// Corporate-action adjusted price of the previous close.
        22 adjusted_close: i64,
        /// Limit-up limit-down tier, 0 when it has none.
        30 luld_tier: u8,
    }
}

layout! {
    /// Trading status.
    le TradingStatus, TradingStatusRepr: 22 = b'H' {
        /// `H` halted, `O` paused with orders accepted, `P` paused, `T` trading.
        1 status: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Reason code.
        18 reason: [u8; 4],
    }
}

layout! {
    /// Retail liquidity indicator.
    le RetailLiquidity, RetailLiquidityRepr: 18 = b'I' {
        /// Space none, `A` buy, `B` sell, `C` both.
        1 indicator: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
    }
}

layout! {
    /// Operational halt status.
    le OperationalHalt, OperationalHaltRepr: 18 = b'O' {
        /// `O` halted on IEX, `N` not.
        1 status: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
    }
}

layout! {
    /// Short sale price test status.
    le ShortSaleTest, ShortSaleTestRepr: 19 = b'P' {
        /// 0 not in effect, 1 in effect.
        1 status: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Space none, `A` activated, `C` continued, `D` deactivated, `N` not available.
        18 detail: u8,
    }
}

layout! {
    /// Security event.
    le SecurityEvent, SecurityEventRepr: 18 = b'E' {
        /// `O` opening process complete, `C` closing process complete.
        1 event: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
    }
}

layout! {
    /// A price level now holds `size` shares.
    le PriceLevel, PriceLevelRepr: 30 {
        /// `8` bid, `5` ask.
        0 kind: u8,
        /// Bit 0: the event is complete, see [`PriceLevel::complete`].
        1 flags: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Shares at the level; 0 removes it.
        18 size: u32,
        /// The level.
        22 price: i64,
    }
}

impl PriceLevel<'_> {
    /// Is it the last update of its atomic event? Only then is the book consistent.
    #[inline]
    pub const fn complete(&self) -> bool {
        self.flags() & 1 != 0
    }
}

layout! {
    /// A trade, or the trade that was broken.
    le TradeReport, TradeReportRepr: 38 {
        /// `T` trade, `B` break.
        0 kind: u8,
        /// Sale condition flags.
        1 flags: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Shares.
        18 size: u32,
        /// Price.
        22 price: i64,
        /// Trade id, unique within the day.
        30 trade: i64,
    }
}

layout! {
    /// Official opening or closing price.
    le OfficialPrice, OfficialPriceRepr: 26 = b'X' {
        /// `Q` opening, `M` closing.
        1 price_type: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Price.
        18 price: i64,
    }
}

layout! {
    /// Auction information.
    le AuctionInformation, AuctionInformationRepr: 80 = b'A' {
        /// `O` opening, `C` closing, `I` IPO, `H` halt, `V` volatility.
        1 auction: u8,
        /// ns since 1970.
        2 timestamp: i64,
        /// Symbol.
        10 symbol: [u8; 8],
        /// Shares paired at the reference price.
        18 paired: u32,
        /// Reference price.
        22 reference: i64,
        /// Indicative clearing price.
        30 indicative: i64,
        /// Shares not paired at the reference price.
        38 imbalance: u32,
        /// `B` buy, `S` sell, `N` none.
        42 imbalance_side: u8,
        /// Extensions so far.
        43 extension: u8,
        /// Projected time of the auction, seconds since 1970.
        44 scheduled_seconds: u32,
        /// Clearing price of the orders on the auction book.
        48 book_clearing: i64,
        /// Reference price of the collar.
        56 collar_reference: i64,
        /// Lower collar price.
        64 lower: i64,
        /// Upper collar price.
        72 upper: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type and second byte as given, timestamp 0x165d_e23a_1313_7fbe, symbol V, then the rest.
    macro_rules! bytes {
        ($type:literal $second:literal $($rest:expr),*) => {
            [&[$type, $second, 0xbe, 0x7f, 0x13, 0x13, 0x3a, 0xe2, 0x5d, 0x16][..], b"V       ", $(&$rest[..]),*].concat()
        };
    }

    const TIME: i64 = 0x165d_e23a_1313_7fbe;

    #[test]
    fn a_price_level_shows_its_fields() {
        let bytes = bytes!(b'8' 1 [0xbe, 0, 0, 0], [0xb4, 0xf0, 0x1e, 0, 0, 0, 0, 0]);
        let Ok(Message::BuyLevel(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.kind(), m.timestamp(), m.symbol()), (b'8', TIME, *b"V       "));
        assert_eq!((m.complete(), m.size(), m.price()), (true, 190, 2_027_700));

        let bytes = bytes!(b'5' 0 [0, 0, 0, 0], [0xff; 8]);
        let Ok(Message::SellLevel(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.complete(), m.size(), m.price()), (false, 0, -1));
    }

    #[test]
    fn trades_and_breaks_show_their_fields() {
        let bytes = bytes!(b'T' 0x40 [0x64, 0, 0, 0], [0x10, 0x27, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]);
        let Ok(Message::Trade(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.flags(), m.size(), m.price(), m.trade()), (0x40, 100, 10_000, 9));

        let bytes = bytes!(b'B' 0 [0x64, 0, 0, 0], [0x10, 0x27, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]);
        let Ok(Message::TradeBreak(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.kind(), m.trade()), (b'B', 9));
    }

    #[test]
    fn statuses_show_their_fields() {
        let bytes = bytes!(b'H' b'T' b"NA  ");
        let Ok(Message::TradingStatus(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.status(), m.timestamp(), m.symbol(), m.reason()), (b'T', TIME, *b"V       ", *b"NA  "));

        let bytes = bytes!(b'O' b'N');
        let Ok(Message::OperationalHalt(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.status(), m.symbol()), (b'N', *b"V       "));

        let bytes = bytes!(b'P' 1 b"A");
        let Ok(Message::ShortSaleTest(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.status(), m.detail()), (1, b'A'));

        let bytes = bytes!(b'E' b'O');
        let Ok(Message::SecurityEvent(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.event(), m.symbol()), (b'O', *b"V       "));

        let bytes = bytes!(b'I' b'C');
        let Ok(Message::RetailLiquidity(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.indicator(), m.symbol()), (b'C', *b"V       "));

        let bytes = [b'S', b'R', 0xbe, 0x7f, 0x13, 0x13, 0x3a, 0xe2, 0x5d, 0x16];
        let Ok(Message::SystemEvent(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.event(), m.timestamp()), (b'R', TIME));
    }

    #[test]
    fn directories_prices_and_auctions_show_their_fields() {
        let bytes = bytes!(b'D' 0x80 [0x64, 0, 0, 0], [0x10, 0x27, 0, 0, 0, 0, 0, 0], [2]);
        let Ok(Message::SecurityDirectory(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.flags(), m.round_lot(), m.adjusted_close(), m.luld_tier()), (0x80, 100, 10_000, 2));

        let bytes = bytes!(b'X' b'Q' [0x10, 0x27, 0, 0, 0, 0, 0, 0]);
        let Ok(Message::OfficialPrice(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.price_type(), m.price()), (b'Q', 10_000));

        let bytes = bytes!(b'A' b'C' [1, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0], b"B",
            [5], [6, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0],
            [10, 0, 0, 0, 0, 0, 0, 0]);
        let Ok(Message::Auction(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.auction(), m.paired(), m.reference(), m.indicative()), (b'C', 1, 2, 3));
        assert_eq!((m.imbalance(), m.imbalance_side(), m.extension(), m.scheduled_seconds()), (4, b'B', 5, 6));
        assert_eq!((m.book_clearing(), m.collar_reference(), m.lower(), m.upper()), (7, 8, 9, 10));
    }

    #[test]
    fn grown_messages_are_read_and_short_or_unknown_ones_told_apart() {
        assert_eq!(parse(b""), Err(Error::truncated(1, 0)));
        assert_eq!(parse(b"Z....."), Err(Error::UnknownType(b'Z')));
        for kind in TYPES {
            let expected = length(kind).unwrap();
            let mut bytes = [0; 128];
            bytes[0] = kind;
            for found in 1..expected {
                assert_eq!(parse(&bytes[..found]), Err(Error::wrong_length(kind, expected, found)));
            }
            for found in expected..128 {
                assert_eq!(parse(&bytes[..found]).unwrap().kind(), kind);
            }
        }
        assert_eq!(length(b'Z'), None);
    }

    /// Emits the fields of a message anew.
    fn emit(message: Message<'_>, out: &mut [u8]) -> usize {
        macro_rules! each {
            ($($Variant:ident)*) => { match message { $( Message::$Variant(m) => m.repr().emit(out).unwrap(), )* } };
        }
        each!(SystemEvent SecurityDirectory TradingStatus RetailLiquidity OperationalHalt ShortSaleTest SecurityEvent
            BuyLevel SellLevel Trade TradeBreak OfficialPrice Auction)
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn every_type_parses_and_emits_the_same_bytes(kind in proptest::sample::select(&TYPES[..]), mut bytes: [u8; 80]) {
            bytes[0] = kind;
            let length = length(kind).unwrap();
            let message = parse(&bytes).unwrap();
            prop_assert_eq!(message.kind(), kind);
            prop_assert_eq!(message.timestamp(), i64::from_le_bytes(bytes[2..10].try_into().unwrap()));
            let mut out = [0; 80];
            prop_assert_eq!(emit(message, &mut out), length);
            prop_assert_eq!(&out[..length], &bytes[..length]);
        }
    }
}
