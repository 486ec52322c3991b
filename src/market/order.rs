//! What strategy says to encode, and what tx says back.

use super::{Instrument, Price, Side, Symbol};

/// One order message on the strategy → encode link: the instruction and the stamps gathered so far. 128 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(128))]
pub struct Order {
    /// Client order id of this message's subject: rising by one per venue, never reused in a run.
    pub id: u64,
    /// Replace: the standing order that goes. Otherwise 0.
    pub replaced_id: u64,
    /// Limit. Unused in a cancel.
    pub price: Price,
    /// The packet that caused it: its arrival.
    pub arrival_ns: u64,
    /// TSC of its receive burst.
    pub rx_tsc: u64,
    /// TSC when its burst was parsed.
    pub parsed_tsc: u64,
    /// TSC when its last event was in the book.
    pub book_tsc: u64,
    /// TSC when the strategy had decided.
    pub decided_tsc: u64,
    /// TSC when the message was encoded; 0 until then.
    pub encoded_tsc: u64,
    /// First sequence number of the causing packet.
    pub sequence: u64,
    /// When that was on the wire, in the domain that `stamp_domain` says; 0 without a stamp.
    pub stamp: u64,
    /// Symbol, for the encoder's table.
    pub symbol: Symbol,
    /// The instrument.
    pub instrument: Instrument,
    /// Shares. Cancel: the shares that shall remain (0 cancels all).
    pub qty: u32,
    /// Size of the causing packet's receive burst.
    pub burst_size: u16,
    /// Its position in it.
    pub burst_position: u16,
    /// What waited in the rings rx→parse, parse→strategy, strategy→encode, encode→tx; 0 where fused.
    pub waiting: [u16; 4],
    /// Line that delivered it.
    pub line: u8,
    /// Channel that delivered it.
    pub channel: u8,
    /// What to do.
    pub kind: OrderKind,
    /// Side. Unused in a cancel.
    pub side: Side,
    /// Whose clock `stamp` is, as in a record of the trace; 0 for none.
    pub stamp_domain: u8,
}

impl Order {
    /// An order that no packet caused: of instrument 0, without symbol, price and shares, all stamps 0.
    pub const fn uncaused(kind: OrderKind, id: u64) -> Order {
        Order {
            id,
            replaced_id: 0,
            price: Price(0),
            arrival_ns: 0,
            rx_tsc: 0,
            parsed_tsc: 0,
            book_tsc: 0,
            decided_tsc: 0,
            encoded_tsc: 0,
            sequence: 0,
            stamp: 0,
            symbol: Symbol([b' '; 8]),
            instrument: Instrument(0),
            qty: 0,
            burst_size: 0,
            burst_position: 0,
            waiting: [0; 4],
            line: 0,
            channel: 0,
            kind,
            side: Side::Buy,
            stamp_domain: 0,
        }
    }
}

/// The largest values that an order session can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// Order id.
    pub id: u64,
    /// Shares.
    pub qty: u32,
    /// Limit.
    pub price: Price,
}

/// What an [`Order`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OrderKind {
    /// A new order.
    Enter,
    /// Replace a standing order by this one.
    Replace,
    /// Cancel a standing order.
    Cancel,
}

/// What became of an order, on the tx → strategy link. 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct OrderEvent {
    /// Client order id.
    pub id: u64,
    /// Replaced: the order that went. Otherwise 0.
    pub replaced_id: u64,
    /// Filled: price of the fill. Accepted, Replaced: the limit in force. Otherwise 0.
    pub price: Price,
    /// TSC when the response arrived; 0 for local events.
    pub rx_tsc: u64,
    /// When the exchange says it happened, ns since its midnight; 0 for local events.
    pub exchange_ns: u64,
    /// Filled: number of the match. Otherwise 0.
    pub match_id: u64,
    /// The instrument.
    pub instrument: Instrument,
    /// Filled: shares of the fill. Accepted, Replaced: shares that stand. Cancelled: shares that were taken off. Otherwise 0.
    pub qty: u32,
    /// LocalReject, CancelRejected: a [`Refusal`]. Rejected, Cancelled: the exchange's code. Otherwise 0.
    pub reason: u16,
    /// What happened.
    pub kind: OrderEventKind,
    /// Side of the order.
    pub side: Side,
}

impl OrderEvent {
    /// An event of this host's own making: no quantity, no price, no response behind it.
    pub const fn local(id: u64, instrument: Instrument, side: Side, kind: OrderEventKind, reason: u16) -> OrderEvent {
        OrderEvent {
            id,
            replaced_id: 0,
            price: Price(0),
            rx_tsc: 0,
            exchange_ns: 0,
            match_id: 0,
            instrument,
            qty: 0,
            reason,
            kind,
            side,
        }
    }
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OrderEventKind {
    /// It never left this host: [`OrderEvent::reason`] says why. The standing order, if any, is unchanged.
    LocalReject,
    /// The exchange accepted it.
    Accepted,
    /// The exchange accepted it in place of another.
    Replaced,
    /// It was executed, wholly or in part.
    Filled,
    /// Shares of it were taken off; with the last of them it no longer stands.
    Cancelled,
    /// The exchange refused it. A refused replacement leaves the order that it was to replace as it was.
    Rejected,
    /// The exchange refused to cancel it: it stands, or is gone already. With a [`Refusal`] as reason the cancel never left
    /// this host.
    CancelRejected,
    /// The exchange will cancel it as soon as it can.
    CancelPending,
}

/// Why an order never left this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Refusal {
    /// No room on the way to the wire.
    NoRoom,
    /// The kill switch is tripped.
    Killed,
    /// The order session is down.
    SessionDown,
    /// The instrument is on the restricted list.
    Restricted,
    /// The instrument is halted.
    Halted,
    /// The book is stale.
    Stale,
    /// Outside the collar of a limit-up limit-down auction.
    AuctionCollar,
    /// It would sell short, at no more than the best bid, while short sales are restricted.
    ShortSale,
    /// The price is no whole number of ticks.
    Tick,
    /// The shares are no whole number of lots.
    Lot,
    /// More shares than an order may have, or none.
    Shares,
    /// Worth more than an order may be.
    Notional,
    /// Too far through the book, or no book to hold it against.
    PriceCollar,
    /// It is to replace an order that does not stand, or that is being replaced or cancelled.
    NotStanding,
    /// No slot for another order of the instrument.
    NoSlot,
    /// The same order stands, and was sent a moment ago.
    Duplicate,
    /// It would trade with an order of ours.
    SelfMatch,
    /// As many orders stand as may.
    OpenOrders,
    /// It could take the position beyond its limit, together with what is in flight.
    Position,
    /// It could take the worth of positions and orders beyond its limit.
    GrossNotional,
    /// Too many messages in too short a time.
    Rate,
    /// The venue is paused.
    Paused,
}

impl Refusal {
    /// All of them, each at the index of its number.
    pub const ALL: [Refusal; 22] = [
        Refusal::NoRoom,
        Refusal::Killed,
        Refusal::SessionDown,
        Refusal::Restricted,
        Refusal::Halted,
        Refusal::Stale,
        Refusal::AuctionCollar,
        Refusal::ShortSale,
        Refusal::Tick,
        Refusal::Lot,
        Refusal::Shares,
        Refusal::Notional,
        Refusal::PriceCollar,
        Refusal::NotStanding,
        Refusal::NoSlot,
        Refusal::Duplicate,
        Refusal::SelfMatch,
        Refusal::OpenOrders,
        Refusal::Position,
        Refusal::GrossNotional,
        Refusal::Rate,
        Refusal::Paused,
    ];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::NoRoom => "no room (local reject)",
            Refusal::Killed => "killed",
            Refusal::SessionDown => "session down",
            Refusal::Restricted => "risk: restricted",
            Refusal::Halted => "risk: halted",
            Refusal::Stale => "risk: stale book",
            Refusal::AuctionCollar => "risk: auction collar",
            Refusal::ShortSale => "risk: short sale",
            Refusal::Tick => "risk: tick",
            Refusal::Lot => "risk: lot",
            Refusal::Shares => "risk: shares",
            Refusal::Notional => "risk: notional",
            Refusal::PriceCollar => "risk: price collar",
            Refusal::NotStanding => "risk: not standing",
            Refusal::NoSlot => "risk: no slot",
            Refusal::Duplicate => "risk: duplicate",
            Refusal::SelfMatch => "risk: self-match",
            Refusal::OpenOrders => "risk: open orders",
            Refusal::Position => "risk: position",
            Refusal::GrossNotional => "risk: gross notional",
            Refusal::Rate => "risk: rate",
            Refusal::Paused => "paused",
        }
    }
}

const _: () = assert!(size_of::<Order>() == 128 && size_of::<OrderEvent>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_listed_by_number_and_told_apart_by_name() {
        for (i, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, i);
            assert!(Refusal::ALL[..i].iter().all(|other| other.name() != refusal.name()));
        }
    }
}
