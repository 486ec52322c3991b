//! What parse says to strategy: one [`Packet`] and then the market events it carried, 64 bytes each.

use super::{Instrument, Price, Side, Symbol};

/// One 64-byte element of the parse → strategy link. A `Packet` comes first and says how many of the elements
/// after it belong to it; strategy decides when the last of them has been applied, never at the end of a burst.
///
/// Heads and book events have their channel or instrument at the same offset (`repr(u8)` keeps the order in which fields
/// are written), so that [`Element::hint`] does not branch on what comes next, which no predictor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8, align(64))]
pub enum Element {
    /// Head of a packet: `count` elements follow.
    Packet(Packet),
    /// An order was added to the book.
    Add {
        /// The exchange's reference, unique within a session.
        order: u64,
        /// Whose book.
        instrument: Instrument,
        /// Shares.
        qty: u32,
        /// Limit.
        price: Price,
        /// Its side.
        side: Side,
    },
    /// An order lost `qty` shares to an execution (ITCH E and C, printable or not).
    Execute {
        /// The order that stood.
        order: u64,
        /// Whose book.
        instrument: Instrument,
        /// Shares executed.
        qty: u32,
    },
    /// An order lost `qty` shares to a partial cancel (ITCH X).
    Reduce {
        /// The order.
        order: u64,
        /// Whose book.
        instrument: Instrument,
        /// Shares cancelled.
        qty: u32,
    },
    /// An order left the book (ITCH D).
    Delete {
        /// The order.
        order: u64,
        /// Whose book.
        instrument: Instrument,
    },
    /// An order was replaced; side and instrument are kept (ITCH U).
    Replace {
        /// The order that goes.
        order: u64,
        /// Whose book.
        instrument: Instrument,
        /// New shares.
        qty: u32,
        /// New limit.
        price: Price,
        /// The order that comes.
        new_order: u64,
    },
    /// A price level now holds `qty` shares; 0 removes it (DEEP 8 and 5).
    Level {
        /// The level.
        price: Price,
        /// Whose book.
        instrument: Instrument,
        /// Shares at the level.
        qty: u32,
        /// Its side.
        side: Side,
        /// The last update of an atomic event: only now is the book consistent.
        complete: bool,
    },
    /// A new session: every book of the venue is empty and fresh again.
    SessionStart,
    /// Messages `expected..found` of a channel were lost: every book of the venue is stale until the session restarts.
    Gap {
        /// First missing sequence number.
        expected: u64,
        /// First sequence number that arrived instead.
        found: u64,
    },
    /// Every book of the venue is behind the market: messages are missing that may still come, or the feed is silent. Not to
    /// be quoted on until [`Element::Healed`].
    Late,
    /// Nothing is missing any more: books that no [`Element::Gap`] made stale are fresh.
    Healed,
    /// First sight of an instrument: its index and symbol. Precedes every other event of that instrument.
    Define {
        /// Index given to it.
        instrument: Instrument,
        /// Its symbol.
        symbol: Symbol,
    },
    /// The feed's own number of an instrument, in a packet that no line brought: so that who finds the packets that lines
    /// brought in a capture knows what those say of it.
    Named {
        /// Whose.
        instrument: Instrument,
        /// ITCH: its locate.
        locate: u16,
    },
    /// A trade that does not touch the book (ITCH P and Q, DEEP T).
    Trade {
        /// Whose trade.
        instrument: Instrument,
        /// Shares.
        qty: u32,
        /// Price.
        price: Price,
    },
    /// The instrument's trading state changed.
    Status {
        /// Whose.
        instrument: Instrument,
        /// The new state.
        status: Status,
    },
    /// The prices of an instrument's next auction lie in this collar, after a limit-up limit-down pause (ITCH J).
    Collar {
        /// Whose.
        instrument: Instrument,
        /// Lowest price.
        lower: Price,
        /// Highest price.
        upper: Price,
    },
}

impl Element {
    /// An instrument whose memory this element may want: that of a book event, and any for a packet's head.
    #[inline(always)]
    pub fn hint(&self) -> Option<Instrument> {
        match *self {
            Element::Packet(Packet { channel, .. }) => Some(Instrument(channel)),
            Element::Add { instrument, .. }
            | Element::Execute { instrument, .. }
            | Element::Reduce { instrument, .. }
            | Element::Delete { instrument, .. }
            | Element::Replace { instrument, .. }
            | Element::Level { instrument, .. } => Some(instrument),
            _ => None,
        }
    }
}

/// Head of a packet on the parse → strategy link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// The one time that strategy and risk know, in ns: the capture stamp, or rx TSC scaled once a burst.
    pub arrival_ns: u64,
    /// Which sequence domain of the feed. In an element, where an event has its instrument.
    pub channel: u32,
    /// Elements that follow.
    pub count: u16,
    /// Packets in the receive burst.
    pub burst_size: u16,
    /// TSC when the burst was received.
    pub rx_tsc: u64,
    /// TSC when the burst was parsed.
    pub parsed_tsc: u64,
    /// Sequence number of the packet's first message.
    pub sequence: u64,
    /// This packet's position in the burst, from 0.
    pub burst_position: u16,
    /// Which line (A = 0, B = 1 …) delivered it.
    pub line: u8,
    /// Whose clock `stamp` is, as in a record of the trace; 0 for none.
    pub stamp_domain: u8,
    /// Frames that waited in the ring from rx when its burst was taken; 0 where rx and parse are fused.
    pub waiting: u16,
    /// Which session of its channel it is of, as [`session_mark`](crate::feed::session_mark) tells them apart.
    pub session: u16,
    /// When it was on the wire.
    pub stamp: u64,
}

/// Trading state of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Continuous trading.
    Trading,
    /// Halted (ITCH H state H or P, operational halt, DEEP H/P states).
    Halted,
    /// Quotation only.
    QuoteOnly,
    /// A short-sale price test is in force (Reg SHO actions 1 and 2).
    ShortSaleRestricted,
    /// The short-sale price test was lifted (Reg SHO action 0).
    ShortSaleFree,
}

const _: () = assert!(size_of::<Element>() == 64 && align_of::<Element>() == 64);
