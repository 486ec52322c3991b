//! The vocabulary of the packet's path: what a feed says, what a strategy asks for, what comes back.
//!
//! Plain values, no I/O, no allocation. [`Element`] is what travels from parse to strategy, [`Order`] from strategy
//! to encode, [`OrderEvent`] from tx back to strategy; each has a fixed size because it travels by value in a ring.

mod element;
mod order;

pub use element::{Element, Packet, Status};
pub use order::{Order, OrderEvent, OrderEventKind, OrderKind, OrderLimits, Refusal};

use bytemuck::{Pod, Zeroable};
use std::fmt;

/// Price in 1/10,000 of the currency unit (four implied decimals, the unit of ITCH, OUCH and DEEP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Price(pub i64);

/// Position of an instrument in its venue's tables: dense, from 0, given out by parse at first sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Instrument(pub u32);

/// Symbol as the feed writes it: eight ASCII bytes, left-justified, space-padded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Symbol(pub [u8; 8]);

/// Side of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Bids.
    Buy = 0,
    /// Asks.
    Sell = 1,
}

impl Side {
    /// The other side.
    pub const fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

impl Symbol {
    /// A symbol from text of at most eight bytes, padded with spaces; `None` when it is empty, longer, or not printable ASCII.
    pub fn new(text: &str) -> Option<Symbol> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > 8 || !bytes.iter().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let mut padded = [b' '; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Symbol(padded))
    }

    /// The bytes without padding, or `None` when they are not UTF-8.
    pub fn trimmed(&self) -> Option<&str> {
        let end = self.0.iter().rposition(|&b| b != b' ').map_or(0, |i| i + 1);
        std::str::from_utf8(&self.0[..end]).ok()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trimmed() {
            Some(text) => f.pad(text),
            None => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol({self})")
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:04}", abs / 10_000, abs % 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_pad_and_trim() {
        let s = Symbol::new("AAPL").unwrap();
        assert_eq!(s.0, *b"AAPL    ");
        assert_eq!(s.to_string(), "AAPL");
        assert_eq!(Symbol::new(""), None);
        assert_eq!(Symbol::new("NINECHARS"), None);
    }

    #[test]
    fn prices_print_four_decimals() {
        assert_eq!(Price(1_234_567).to_string(), "123.4567");
        assert_eq!(Price(-5).to_string(), "-0.0005");
    }
}
