//! One ITCH 5.0 message being written, field after field, big-endian (TotalView-ITCH 5.0, section 1).
//!
//! It does not use `wire::itch50`: a layout that is wrong there would be wrong here too, and a decoder tested against this
//! generator would not notice.

/// Longest message the specification has (I, 50 bytes).
const LONGEST: usize = 50;

/// A message under construction, or empty.
#[derive(Clone)]
pub(super) struct Message {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Message {
    pub fn empty() -> Message {
        Message { bytes: [0; LONGEST], len: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts over with the common head: type, locate, tracking number, 48-bit ns since midnight.
    pub fn head(&mut self, kind: u8, locate: u16, tracking: u16, time_ns: u64) -> &mut Self {
        self.len = 0;
        self.u8(kind).u16(locate).u16(tracking).put(&time_ns.to_be_bytes()[2..])
    }

    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }
}
