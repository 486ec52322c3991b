//! The hops of an order, from the wire to the exchange's answer, as every table, file and metric names them.

use super::record::{Record, StampDomain};
use serde::{Deserialize, Serialize};

/// A stretch between two neighbouring stamps, or one of the sums over several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// Hardware stamp, or the moment a paced replay was due to deliver the packet, to the receive burst's stamp.
    WireRx,
    /// Receive burst to its last packet parsed.
    RxParsed,
    /// Parsed to the packet's last event in the book: waits behind earlier packets of the burst included.
    ParsedBook,
    /// Book to the strategy's decision.
    BookDecided,
    /// Decision to the finished message.
    DecidedEncoded,
    /// Message to the transmit doorbell.
    EncodedDoorbell,
    /// The whole way through the host that software can see.
    RxDoorbell,
    /// Doorbell to the exchange's first answer.
    DoorbellAck,
}

impl Hop {
    /// All, in packet order.
    pub const ALL: [Hop; 8] = [
        Hop::WireRx,
        Hop::RxParsed,
        Hop::ParsedBook,
        Hop::BookDecided,
        Hop::DecidedEncoded,
        Hop::EncodedDoorbell,
        Hop::RxDoorbell,
        Hop::DoorbellAck,
    ];
    /// The five whose sum is [`Hop::RxDoorbell`].
    pub const SOFTWARE: [Hop; 5] =
        [Hop::RxParsed, Hop::ParsedBook, Hop::BookDecided, Hop::DecidedEncoded, Hop::EncodedDoorbell];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Hop::WireRx => "wire→rx",
            Hop::RxParsed => "rx→parsed",
            Hop::ParsedBook => "parsed→book",
            Hop::BookDecided => "book→decided",
            Hop::DecidedEncoded => "decided→encoded",
            Hop::EncodedDoorbell => "encoded→doorbell",
            Hop::RxDoorbell => "rx→doorbell",
            Hop::DoorbellAck => "doorbell→ack",
        }
    }

    /// As a key of JSON, CSV and metrics.
    pub const fn key(self) -> &'static str {
        match self {
            Hop::WireRx => "wire_rx",
            Hop::RxParsed => "rx_parsed",
            Hop::ParsedBook => "parsed_book",
            Hop::BookDecided => "book_decided",
            Hop::DecidedEncoded => "decided_encoded",
            Hop::EncodedDoorbell => "encoded_doorbell",
            Hop::RxDoorbell => "rx_doorbell",
            Hop::DoorbellAck => "doorbell_ack",
        }
    }

    /// Its place in [`Hop::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Ticks of each of [`Hop::SOFTWARE`] of a *sent* record that a packet caused (`rx_tsc` is not 0). `None` when its stamps
/// are out of order: TSCs that disagree.
pub fn software(record: &Record) -> Option<[u64; 5]> {
    let r = record;
    let stamps = [r.rx_tsc, r.parsed_tsc, r.book_tsc, r.decided_tsc, r.encoded_tsc, r.doorbell_tsc];
    stamps.is_sorted().then(|| std::array::from_fn(|i| stamps[i + 1] - stamps[i]))
}

/// The stamps between receive and doorbell were not asked for: only the sum is known.
pub fn unstamped(record: &Record) -> bool {
    record.parsed_tsc == 0 && record.rx_tsc != 0 && record.doorbell_tsc >= record.rx_tsc
}

/// Ticks of [`Hop::WireRx`] where the stamp is in the TSC's own domain; a device's clock must be fitted first.
pub fn wire(record: &Record) -> Option<u64> {
    let comparable = matches!(record.domain(), StampDomain::DueTsc | StampDomain::FittedTsc);
    comparable.then(|| record.rx_tsc.saturating_sub(record.stamp))
}
