//! Bytes to fields and back, one protocol a file: borrowed bytes come in, checked views and written bytes go out.
//! Nothing here does I/O, allocates, panics on input or knows what a field means to a book.
//!
//! Every file has the same shape: the tables of the specification as [`layout!`](layout) blocks (a view with one
//! accessor a field, and a `…Repr` that emits), the container that frames messages, then tests against literal bytes.
//! A view exists only where the bytes suffice, so accessors cannot fail. Prices are integers with four implied decimals.

#[macro_use]
mod layout;

pub mod boe20;
pub mod checksum;
pub mod deep10;
pub mod ethernet;
pub mod fix42;
pub mod iextp;
pub mod igmp;
pub mod ipv4;
pub mod itch50;
pub mod moldudp64;
pub mod ouch50;
pub mod soupbin;
pub mod udp;

/// Why bytes were refused, or could not be written. Small and `Copy`: the packet's path counts it and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than a header, or a length field in it, calls for.
    #[error("{needed} bytes expected, {found} found; the packet was cut short or its length field is wrong")]
    Truncated {
        /// Bytes called for.
        needed: u16,
        /// Bytes present.
        found: u16,
    },
    /// The output buffer is too short.
    #[error("{needed} bytes are to be written, the buffer has {found}; give it a larger one")]
    NoRoom {
        /// Bytes to write.
        needed: u16,
        /// Bytes available.
        found: u16,
    },
    /// A message type the specification does not have.
    #[error("a message type of the specification expected, {:?} found; skip it by its length", char::from(*.0))]
    UnknownType(u8),
    /// A known message in a length the specification does not give it.
    #[error("message {:?} of {expected} bytes expected, {found} found; the sender speaks another version", char::from(*.message))]
    WrongLength {
        /// Message type.
        message: u8,
        /// Bytes of the specification.
        expected: u16,
        /// Bytes found.
        found: u16,
    },
    /// A version or format field with another value than this codec decodes.
    #[error("version or format {expected} expected, {found} found; choose the codec that fits the feed")]
    Version {
        /// Value this codec decodes.
        expected: u16,
        /// Value found.
        found: u16,
    },
    /// A length field contradicts the header that holds it.
    #[error("a length of at least {least} expected, {found} found; the header is damaged")]
    BadLength {
        /// Smallest possible value.
        least: u16,
        /// Value found.
        found: u16,
    },
    /// A sum that is not that of the bytes it stands for.
    #[error("a sum of {expected:03} expected, {found:03} found; the message is damaged")]
    Checksum {
        /// Sum of the bytes.
        expected: u8,
        /// Sum that the message says.
        found: u16,
    },
    /// Text where a field, `tag=value`, is expected.
    #[error("a field `tag=value` expected, something else found; the message is damaged")]
    Field,
    /// More 802.1Q tags than the two of QinQ.
    #[error("at most two VLAN tags expected, a third found; strip the outer ones at the switch")]
    TooManyTags,
}

impl Error {
    /// `Truncated` with both lengths clipped to 16 bits.
    #[inline]
    pub(crate) const fn truncated(needed: usize, found: usize) -> Error {
        Error::Truncated { needed: clip(needed), found: clip(found) }
    }

    /// `NoRoom` with both lengths clipped to 16 bits.
    #[inline]
    pub(crate) const fn no_room(needed: usize, found: usize) -> Error {
        Error::NoRoom { needed: clip(needed), found: clip(found) }
    }

    /// `WrongLength` with both lengths clipped to 16 bits.
    #[inline]
    pub(crate) const fn wrong_length(message: u8, expected: usize, found: usize) -> Error {
        Error::WrongLength { message, expected: clip(expected), found: clip(found) }
    }
}

const fn clip(length: usize) -> u16 {
    if length > u16::MAX as usize { u16::MAX } else { length as u16 }
}

const _: () = assert!(size_of::<Error>() <= 8, "errors travel in registers");
