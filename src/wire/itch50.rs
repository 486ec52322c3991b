//! Nasdaq TotalView-ITCH 5.0 (specification of 2023-04-28): one message comes in, as the transport framed it; its
//! fields go out. All 23 message types. It keeps no state: what a message does to a book is the book's affair.
//!
//! Integers are big-endian. Text is ASCII, left-justified, space-padded. Prices have four implied decimals (eight where
//! it says so). Timestamps are ns since midnight, US Eastern. `locate` is the instrument's code of the day, 0 when the
//! message belongs to none.
//!
//! A message must have exactly the length of the specification: ITCH adds message types within a version (`h` and `O`
//! came that way) but, unlike DEEP, has no rule by which a known message grows, so another length is a damaged or a
//! foreign stream, and is better counted than half understood.

use super::Error;

/// Declares the messages: each a `layout!` behind the head common to all, then the enum over them.
macro_rules! messages {
    ($(
        $(#[$meta:meta])*
        $type:literal $View:ident, $Repr:ident: $length:literal {
            $( $(#[$doc:meta])* $at:literal $field:ident: $kind:tt, )*
        }
    )*) => {
        $(
            layout! {
                $(#[$meta])*
                be $View, $Repr: $length = $type {
                    /// Locate code of the day, 0 for none.
                    1 locate: u16,
                    /// Nasdaq's internal tracking number.
                    3 tracking: u16,
                    /// ns since midnight.
                    5 timestamp: u48,
                    $( $(#[$doc])* $at $field: $kind, )*
                }
            }
        )*

        /// A message of any type, checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $( $(#[$meta])* $View($View<'a>), )*
        }

        impl<'a> Message<'a> {
            /// Its type byte.
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $( Message::$View(_) => $type, )* }
            }

            /// Locate code of the day, 0 for none.
            #[inline]
            pub const fn locate(&self) -> u16 {
                match self { $( Message::$View(m) => m.locate(), )* }
            }

            /// ns since midnight.
            #[inline]
            pub const fn timestamp(&self) -> u64 {
                match self { $( Message::$View(m) => m.timestamp(), )* }
            }
        }

        /// Checks one message. `UnknownType`, `WrongLength`, or `Truncated` when there is no byte at all.
        ///
        /// Always inlined: then its jump by type and the caller's become one, and a message costs one hard-to-predict
        /// branch instead of two.
        #[inline(always)]
        pub const fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
            let Some(&kind) = bytes.first() else {
                return Err(Error::truncated(1, 0));
            };
            match kind {
                $(
                    $type => match bytes.as_array::<$length>() {
                        Some(bytes) => Ok(Message::$View($View::new(bytes))),
                        None => Err(Error::wrong_length($type, $length, bytes.len())),
                    },
                )*
                unknown => Err(Error::UnknownType(unknown)),
            }
        }

        /// Every message type, in the order of the specification.
        pub const TYPES: [u8; 23] = [$( $type ),*];

        /// Bytes of a message of this type, `None` for an unknown one.
        #[inline]
        pub const fn length(kind: u8) -> Option<usize> {
            match kind {
                $( $type => Some($length), )*
                _ => None,
            }
        }
    };
}

messages! {
    /// System event.
    b'S' SystemEvent, SystemEventRepr: 12 {
        /// `O` start of messages, `S` start of system hours, `Q` start of market hours, `M` end of market hours,
        /// `E` end of system hours, `C` end of messages.
        11 event: u8,
    }

    /// Stock directory: what a locate code means today.
    b'R' StockDirectory, StockDirectoryRepr: 39 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Listing market and tier.
        19 market_category: u8,
        /// Financial status; space for compliant.
        20 financial_status: u8,
        /// Shares of a round lot.
        21 round_lot: u32,
        /// `Y` when only round lots are accepted.
        25 round_lots_only: u8,
        /// Issue classification.
        26 classification: u8,
        /// Issue subtype.
        27 subtype: [u8; 2],
        /// `P` production, `T` test.
        29 authenticity: u8,
        /// Short-sale threshold list: `Y`, `N` or space.
        30 short_sale_threshold: u8,
        /// IPO flag: `Y`, `N` or space.
        31 ipo: u8,
        /// Limit-up limit-down tier: `1`, `2` or space.
        32 luld_tier: u8,
        /// Exchange-traded product: `Y`, `N` or space.
        33 etp: u8,
        /// Leverage of the product, 0 for none.
        34 etp_leverage: u32,
        /// `Y` for an inverse product.
        38 inverse: u8,
    }

    /// Stock trading action.
    b'H' TradingAction, TradingActionRepr: 25 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `H` halted, `P` paused, `Q` quotation only, `T` trading.
        19 state: u8,
        /// Reserved.
        20 reserved: u8,
        /// Reason code.
        21 reason: [u8; 4],
    }

    /// Short-sale price test restriction of Regulation SHO.
    b'Y' RegSho, RegShoRepr: 20 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `0` none, `1` in force from an intraday drop, `2` remains in force.
        19 action: u8,
    }

    /// Market participant position.
    b'L' ParticipantPosition, ParticipantPositionRepr: 26 {
        /// Market participant.
        11 mpid: [u8; 4],
        /// Symbol.
        15 stock: [u8; 8],
        /// `Y` for a primary market maker.
        23 primary: u8,
        /// Market maker mode.
        24 mode: u8,
        /// Participant's state.
        25 state: u8,
    }

    /// Decline levels of the market-wide circuit breaker; prices with eight decimals.
    b'V' BreakerLevels, BreakerLevelsRepr: 35 {
        /// Level 1.
        11 level1: u64,
        /// Level 2.
        19 level2: u64,
        /// Level 3.
        27 level3: u64,
    }

    /// Status of the market-wide circuit breaker.
    b'W' BreakerStatus, BreakerStatusRepr: 12 {
        /// Breached level: `1`, `2` or `3`.
        11 level: u8,
    }

    /// Quoting period of an IPO.
    b'K' IpoQuoting, IpoQuotingRepr: 28 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Release time, seconds since midnight.
        19 release_seconds: u32,
        /// `A` anticipated, `C` cancelled or postponed.
        23 qualifier: u8,
        /// IPO price.
        24 price: u32,
    }

    /// Collar of a limit-up limit-down auction.
    b'J' AuctionCollar, AuctionCollarRepr: 35 {
        /// Symbol.
        11 stock: [u8; 8],
        /// Reference price.
        19 reference: u32,
        /// Upper collar price.
        23 upper: u32,
        /// Lower collar price.
        27 lower: u32,
        /// Extensions so far.
        31 extension: u32,
    }

    /// Operational halt of one market.
    b'h' OperationalHalt, OperationalHaltRepr: 21 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `Q` Nasdaq, `B` BX, `X` PSX.
        19 market: u8,
        /// `H` halted, `T` lifted.
        20 action: u8,
    }

    /// An order without attribution entered the book.
    b'A' AddOrder, AddOrderRepr: 36 {
        /// Order reference, unique within the day.
        11 order: u64,
        /// `B` or `S`.
        19 side: u8,
        /// Shares.
        20 shares: u32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Limit.
        32 price: u32,
    }

    /// An order with attribution entered the book.
    b'F' AddOrderMpid, AddOrderMpidRepr: 40 {
        /// Order reference, unique within the day.
        11 order: u64,
        /// `B` or `S`.
        19 side: u8,
        /// Shares.
        20 shares: u32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Limit.
        32 price: u32,
        /// Market participant.
        36 mpid: [u8; 4],
    }

    /// An order was executed at its limit, wholly or in part.
    b'E' OrderExecuted, OrderExecutedRepr: 31 {
        /// Order reference.
        11 order: u64,
        /// Shares executed now.
        19 shares: u32,
        /// Match number.
        23 match_number: u64,
    }

    /// An order was executed at another price than its limit; it loses the shares also when not printable.
    b'C' OrderExecutedPrice, OrderExecutedPriceRepr: 36 {
        /// Order reference.
        11 order: u64,
        /// Shares executed now.
        19 shares: u32,
        /// Match number.
        23 match_number: u64,
        /// `Y` when the execution counts in volume.
        31 printable: u8,
        /// Execution price.
        32 price: u32,
    }

    /// An order was cancelled in part.
    b'X' OrderCancel, OrderCancelRepr: 23 {
        /// Order reference.
        11 order: u64,
        /// Shares removed now.
        19 shares: u32,
    }

    /// An order left the book.
    b'D' OrderDelete, OrderDeleteRepr: 19 {
        /// Order reference.
        11 order: u64,
    }

    /// An order was replaced: side, symbol and attribution are kept, the queue priority is lost.
    b'U' OrderReplace, OrderReplaceRepr: 35 {
        /// Reference of the order that goes.
        11 order: u64,
        /// Reference of the order that comes.
        19 new_order: u64,
        /// New shares.
        27 shares: u32,
        /// New limit.
        31 price: u32,
    }

    /// A trade against a non-displayed order; it does not touch the book.
    b'P' Trade, TradeRepr: 44 {
        /// Order reference, 0.
        11 order: u64,
        /// Side of the non-displayed order, always `B` since 2014-07-14.
        19 side: u8,
        /// Shares.
        20 shares: u32,
        /// Symbol.
        24 stock: [u8; 8],
        /// Price.
        32 price: u32,
        /// Match number.
        36 match_number: u64,
    }

    /// A cross; it does not touch the book.
    b'Q' CrossTrade, CrossTradeRepr: 40 {
        /// Shares.
        11 shares: u64,
        /// Symbol.
        19 stock: [u8; 8],
        /// Cross price.
        27 price: u32,
        /// Match number.
        31 match_number: u64,
        /// `O` opening, `C` closing, `H` halted or IPO.
        39 cross: u8,
    }

    /// An execution was broken; it does not touch the book.
    b'B' BrokenTrade, BrokenTradeRepr: 19 {
        /// Match number.
        11 match_number: u64,
    }

    /// Net order imbalance before a cross.
    b'I' Imbalance, ImbalanceRepr: 50 {
        /// Shares paired at the reference price.
        11 paired: u64,
        /// Shares not paired.
        19 imbalance: u64,
        /// `B` buy, `S` sell, `N` none, `O` insufficient orders, `P` paused.
        27 direction: u8,
        /// Symbol.
        28 stock: [u8; 8],
        /// Far indicative clearing price.
        36 far: u32,
        /// Near indicative clearing price.
        40 near: u32,
        /// Reference price.
        44 reference: u32,
        /// Cross type.
        48 cross: u8,
        /// Price variation indicator.
        49 variation: u8,
    }

    /// Retail price improvement.
    b'N' RetailInterest, RetailInterestRepr: 20 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `B` buy, `S` sell, `A` both, `N` none.
        19 interest: u8,
    }

    /// Direct listing with capital raise: price discovery.
    b'O' DirectListing, DirectListingRepr: 48 {
        /// Symbol.
        11 stock: [u8; 8],
        /// `Y` when eligible to be released.
        19 open_eligible: u8,
        /// Lowest allowed price.
        20 minimum: u32,
        /// Highest allowed price.
        24 maximum: u32,
        /// Near execution price.
        28 near: u32,
        /// When the near execution price was set, ns since midnight.
        32 near_time: u64,
        /// Lower collar price.
        40 lower: u32,
        /// Upper collar price.
        44 upper: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Head of every literal message below: locate 0x2bce, tracking 2, timestamp 0x1f1a_ce01_02ff.
    macro_rules! bytes {
        ($type:literal $($rest:expr),*) => {
            [&[$type, 0x2b, 0xce, 0x00, 0x02, 0x1f, 0x1a, 0xce, 0x01, 0x02, 0xff][..], $(&$rest[..]),*].concat()
        };
    }

    const HEAD: (u16, u16, u64) = (0x2bce, 2, 0x1f1a_ce01_02ff);

    #[test]
    fn an_add_order_shows_its_fields() {
        let bytes =
            bytes!(b'A' [0, 0, 0, 0, 1, 0x45, 0xd7, 0x57], b"B", [0, 0, 1, 0x2c], b"META    ", [0, 0x2b, 0x5c, 0xd0]);
        let Ok(Message::AddOrder(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.locate(), m.tracking(), m.timestamp()), HEAD);
        assert_eq!((m.order(), m.side(), m.shares()), (21_354_327, b'B', 300));
        assert_eq!((m.stock(), m.price()), (*b"META    ", 2_841_808));
    }

    #[test]
    fn an_attributed_add_order_shows_its_fields() {
        let bytes = bytes!(b'F' [0, 0, 0, 0, 0, 0, 0, 9], b"S", [0, 0, 0, 7], b"A       ", [0, 0, 0, 1], b"NITE");
        let Ok(Message::AddOrderMpid(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.side(), m.shares(), m.price(), m.mpid()), (9, b'S', 7, 1, *b"NITE"));
    }

    #[test]
    fn executions_and_cancels_show_their_fields() {
        let bytes = bytes!(b'E' [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 1, 0]);
        let Ok(Message::OrderExecuted(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.shares(), m.match_number()), (9, 7, 256));

        let bytes = bytes!(b'C' [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 1, 0], b"N", [0, 0, 1, 1]);
        let Ok(Message::OrderExecutedPrice(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.shares(), m.match_number(), m.printable(), m.price()), (9, 7, 256, b'N', 257));

        let bytes = bytes!(b'X' [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 7]);
        let Ok(Message::OrderCancel(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.shares()), (9, 7));

        let bytes = bytes!(b'D' [0, 0, 0, 0, 0, 0, 0, 9]);
        let Ok(Message::OrderDelete(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(m.order(), 9);
    }

    #[test]
    fn a_replace_shows_its_fields() {
        let bytes = bytes!(b'U' [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 0, 0, 10], [0, 0, 0, 7], [0, 0, 0x27, 0x10]);
        let Ok(Message::OrderReplace(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.new_order(), m.shares(), m.price()), (9, 10, 7, 10_000));
    }

    #[test]
    fn trades_crosses_and_breaks_show_their_fields() {
        let bytes = bytes!(b'P' [0; 8], b"B", [0, 0, 0, 7], b"A       ", [0, 0, 0x27, 0x10], [0, 0, 0, 0, 0, 0, 1, 0]);
        let Ok(Message::Trade(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.order(), m.side(), m.shares(), m.price(), m.match_number()), (0, b'B', 7, 10_000, 256));

        let bytes =
            bytes!(b'Q' [0, 0, 0, 0, 0, 1, 0, 0], b"A       ", [0, 0, 0x27, 0x10], [0, 0, 0, 0, 0, 0, 1, 0], b"O");
        let Ok(Message::CrossTrade(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.shares(), m.price(), m.match_number(), m.cross()), (65_536, 10_000, 256, b'O'));

        let bytes = bytes!(b'B' [0, 0, 0, 0, 0, 0, 1, 0]);
        let Ok(Message::BrokenTrade(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(m.match_number(), 256);
    }

    #[test]
    fn an_imbalance_shows_its_fields() {
        let bytes = bytes!(b'I' [0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2], b"S", b"A       ", [0, 0, 0, 3],
            [0, 0, 0, 4], [0, 0, 0, 5], b"CL");
        let Ok(Message::Imbalance(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.paired(), m.imbalance(), m.direction(), m.stock()), (1, 2, b'S', *b"A       "));
        assert_eq!((m.far(), m.near(), m.reference(), m.cross(), m.variation()), (3, 4, 5, b'C', b'L'));
    }

    #[test]
    fn a_directory_entry_shows_its_fields() {
        let bytes = bytes!(b'R' b"A       ", b"N ", [0, 0, 0, 100], b"NCZ ", b"PN 1N", [0, 0, 0, 2], b"Y");
        let Ok(Message::StockDirectory(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        let repr = StockDirectoryRepr {
            locate: HEAD.0,
            tracking: HEAD.1,
            timestamp: HEAD.2,
            stock: *b"A       ",
            market_category: b'N',
            financial_status: b' ',
            round_lot: 100,
            round_lots_only: b'N',
            classification: b'C',
            subtype: *b"Z ",
            authenticity: b'P',
            short_sale_threshold: b'N',
            ipo: b' ',
            luld_tier: b'1',
            etp: b'N',
            etp_leverage: 2,
            inverse: b'Y',
        };
        assert_eq!(m.repr(), repr);
        assert_eq!(repr.to_bytes()[..], bytes);
    }

    #[test]
    fn states_of_instruments_and_participants_show_their_fields() {
        let bytes = bytes!(b'H' b"A       ", b"H ", b"T1  ");
        let Ok(Message::TradingAction(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.stock(), m.state(), m.reason()), (*b"A       ", b'H', *b"T1  "));

        let bytes = bytes!(b'Y' b"A       ", b"2");
        let Ok(Message::RegSho(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.stock(), m.action()), (*b"A       ", b'2'));

        let bytes = bytes!(b'L' b"NITE", b"A       ", b"YNA");
        let Ok(Message::ParticipantPosition(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.mpid(), m.stock()), (*b"NITE", *b"A       "));
        assert_eq!((m.primary(), m.mode(), m.state()), (b'Y', b'N', b'A'));

        let bytes = bytes!(b'h' b"A       ", b"QT");
        let Ok(Message::OperationalHalt(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.stock(), m.market(), m.action()), (*b"A       ", b'Q', b'T'));

        let bytes = bytes!(b'N' b"A       ", b"B");
        let Ok(Message::RetailInterest(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.stock(), m.interest()), (*b"A       ", b'B'));
    }

    #[test]
    fn events_of_the_market_show_their_fields() {
        let bytes = bytes!(b'S' b"Q");
        let Ok(Message::SystemEvent(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(m.event(), b'Q');

        let bytes = bytes!(b'V' [0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0, 0, 3]);
        let Ok(Message::BreakerLevels(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.level1(), m.level2(), m.level3()), (1, 2, 3));

        let bytes = bytes!(b'W' b"1");
        let Ok(Message::BreakerStatus(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(m.level(), b'1');
    }

    #[test]
    fn auctions_and_listings_show_their_fields() {
        let bytes = bytes!(b'K' b"A       ", [0, 0, 0x8c, 0xa0], b"A", [0, 0, 0, 1]);
        let Ok(Message::IpoQuoting(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.stock(), m.release_seconds(), m.qualifier(), m.price()), (*b"A       ", 36_000, b'A', 1));

        let bytes = bytes!(b'J' b"A       ", [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 4]);
        let Ok(Message::AuctionCollar(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.reference(), m.upper(), m.lower(), m.extension()), (1, 2, 3, 4));

        let bytes = bytes!(b'O' b"A       ", b"Y", [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 4],
            [0, 0, 0, 5], [0, 0, 0, 6]);
        let Ok(Message::DirectListing(m)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!((m.open_eligible(), m.minimum(), m.maximum(), m.near()), (b'Y', 1, 2, 3));
        assert_eq!((m.near_time(), m.lower(), m.upper()), (4, 5, 6));
    }

    #[test]
    fn unknown_types_wrong_lengths_and_nothing_are_told_apart() {
        assert_eq!(parse(b""), Err(Error::truncated(1, 0)));
        assert_eq!(parse(b"Z....."), Err(Error::UnknownType(b'Z')));
        for kind in TYPES {
            let expected = length(kind).unwrap();
            for found in (1..64).filter(|&found| found != expected) {
                let mut bytes = [0; 64];
                bytes[0] = kind;
                assert_eq!(parse(&bytes[..found]), Err(Error::wrong_length(kind, expected, found)));
            }
        }
        assert_eq!(length(b'Z'), None);
    }

    /// Emits the fields of a message anew.
    fn emit(message: Message<'_>, out: &mut [u8]) -> usize {
        macro_rules! each {
            ($($View:ident)*) => { match message { $( Message::$View(m) => m.repr().emit(out).unwrap(), )* } };
        }
        each!(SystemEvent StockDirectory TradingAction RegSho ParticipantPosition BreakerLevels BreakerStatus
            IpoQuoting AuctionCollar OperationalHalt AddOrder AddOrderMpid OrderExecuted OrderExecutedPrice
            OrderCancel OrderDelete OrderReplace Trade CrossTrade BrokenTrade Imbalance RetailInterest DirectListing)
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn every_type_parses_and_emits_the_same_bytes(kind in proptest::sample::select(&TYPES[..]), mut bytes: [u8; 50]) {
            bytes[0] = kind;
            let bytes = &bytes[..length(kind).unwrap()];
            let message = parse(bytes).unwrap();
            prop_assert_eq!(message.kind(), kind);
            prop_assert_eq!(message.locate(), u16::from_be_bytes([bytes[1], bytes[2]]));
            let mut out = [0; 50];
            let written = emit(message, &mut out);
            prop_assert_eq!(&out[..written], bytes);
        }
    }
}
