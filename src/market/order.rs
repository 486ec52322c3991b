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
    /// LocalReject: a [`Refusal`]. Rejected, Cancelled: the exchange's code. Otherwise 0.
    pub reason: u16,
    /// What happened.
    pub kind: OrderEventKind,
    /// Side of the order.
    pub side: Side,
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
    /// The exchange refused to cancel it: it stands, or is gone already.
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
}

const _: () = assert!(size_of::<Order>() == 128 && size_of::<OrderEvent>() == 64);
