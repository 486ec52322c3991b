//! One record of the trace: 128 bytes, little-endian, fixed. What stages push through their rings and what lies in files
//! is the same. `docs/trace.md` is the published description; a change of any field is a new [`VERSION`].

use bytemuck::{Pod, Zeroable};

/// Version of the layout below.
pub const VERSION: u32 = 1;

/// What happened to an order, or to a packet that caused none. Keyed by (venue, order id); what does not apply is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Record {
    /// See [`Kind`].
    pub kind: u8,
    /// [`StampDomain`] of `stamp`.
    pub stamp_domain: u8,
    /// Index in the header's list of venues.
    pub venue: u16,
    /// The instrument's index.
    pub instrument: u32,
    /// Client order id; 0 for a sampled packet.
    pub order_id: u64,
    /// First sequence number of the causing packet.
    pub sequence: u64,
    /// Its arrival in ns since 1970: the capture's stamp, or the receive burst's TSC scaled.
    pub arrival_ns: u64,
    /// When it was on the wire, in the domain that `stamp_domain` says; 0 without one.
    pub stamp: u64,
    /// TSC of the receive burst; of the response's in the records that follow *sent*.
    pub rx_tsc: u64,
    /// TSC when the burst was parsed.
    pub parsed_tsc: u64,
    /// TSC when the packet's last event was in the book.
    pub book_tsc: u64,
    /// TSC when the strategy had decided.
    pub decided_tsc: u64,
    /// TSC when the message was encoded.
    pub encoded_tsc: u64,
    /// TSC after the transmit doorbell.
    pub doorbell_tsc: u64,
    /// Symbol, space-padded.
    pub symbol: [u8; 8],
    /// Limit, or the price of a fill, in 1/10,000.
    pub price: i64,
    /// Shares.
    pub qty: u32,
    /// Packets in the causing receive burst.
    pub burst_size: u16,
    /// The causing packet's position in it, from 0.
    pub burst_position: u16,
    /// Elements waiting in the rings rx→parse, parse→strategy, strategy→encode, encode→tx when this was taken from
    /// them; 0 where the stages are fused.
    pub occupancy: [u16; 4],
    /// Line that delivered the packet.
    pub line: u8,
    /// Channel that delivered it.
    pub channel: u8,
    /// `market::OrderKind` as a number: enter, replace, cancel.
    pub order_kind: u8,
    /// `market::Side` as a number: buy, sell.
    pub side: u8,
    /// Zero.
    pub reserved: [u8; 4],
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An order left: every stamp from receive to doorbell.
    Sent = 1,
    /// Its transmit stamp by the hardware.
    Wire = 2,
    /// The exchange acknowledged it.
    Acknowledged = 3,
    /// It was filled, wholly or in part.
    Filled = 4,
    /// A packet that caused no order, one of many.
    Sampled = 5,
}

/// Which clock a record's `stamp` is of. Stamps of two domains are never subtracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum StampDomain {
    /// There is no stamp.
    #[default]
    None = 0,
    /// The device's clock, in its own ticks.
    Device = 1,
    /// The host's TSC: the moment at which a paced replay was due to deliver the packet.
    DueTsc = 2,
    /// The device's clock, as the recorder has fitted it to the host's TSC; the interval's evidence has the residual.
    FittedTsc = 3,
}

impl Record {
    /// What it tells; `None` for a kind that this version does not know.
    pub fn kind(&self) -> Option<Kind> {
        [Kind::Sent, Kind::Wire, Kind::Acknowledged, Kind::Filled, Kind::Sampled]
            .into_iter()
            .find(|kind| *kind as u8 == self.kind)
    }

    /// Whose clock `stamp` is; none for a domain that this version does not know.
    pub fn domain(&self) -> StampDomain {
        match self.stamp_domain {
            1 => StampDomain::Device,
            2 => StampDomain::DueTsc,
            3 => StampDomain::FittedTsc,
            _ => StampDomain::None,
        }
    }
}

const _: () = assert!(size_of::<Record>() == 128);
#[cfg(not(target_endian = "little"))]
compile_error!("records are written as they lie in memory, which must be little-endian");
