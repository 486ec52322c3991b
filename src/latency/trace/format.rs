//! The bytes of a trace file: its head and the heads of its blocks, to and from plain structs. No I/O; what is not valid
//! is `None` or says what it is. `docs/trace.md` is the same as text.

use super::Header;
use crate::latency::record::{self, Record};

/// First bytes of every file. The first is no text, and line ends that a text transfer would change follow.
pub const MAGIC: [u8; 8] = *b"\x89TPT\r\n\x1a\n";
/// Version that this program writes. It reads every minor version of this major one.
pub const VERSION: (u16, u16) = (1, 0);
/// First bytes of every block.
pub const BLOCK_MAGIC: [u8; 4] = *b"\xb7TPB";
/// Bytes of either head.
pub const HEAD_BYTES: usize = 32;
/// Longest payload of a block: 1 MiB. A longer one is damage.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Longest JSON of a file's head: 4 MiB.
pub const MAX_HEADER: usize = 4 << 20;
/// Bytes of a record.
pub const RECORD_BYTES: usize = size_of::<Record>();

/// A file's head without its JSON.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 8 | [`MAGIC`] |
/// | 8 | 2 | major version |
/// | 10 | 2 | minor version |
/// | 12 | 2 | version of the record's layout |
/// | 14 | 2 | bytes of a record |
/// | 16 | 8 | index in the run of the file's first record |
/// | 24 | 4 | bytes of the JSON that follows |
/// | 28 | 4 | CRC-32 of bytes 0–27 and the JSON |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    pub major: u16,
    pub minor: u16,
    pub record_version: u16,
    pub record_bytes: u16,
    pub first_index: u64,
    pub json_bytes: u32,
    pub crc: u32,
}

impl FileHead {
    /// The head in `bytes`, its checksum not yet verified; `None` without the magic.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<FileHead> {
        (bytes[..8] == MAGIC).then(|| FileHead {
            major: u16_at(bytes, 8),
            minor: u16_at(bytes, 10),
            record_version: u16_at(bytes, 12),
            record_bytes: u16_at(bytes, 14),
            first_index: u64_at(bytes, 16),
            json_bytes: u32_at(bytes, 24),
            crc: u32_at(bytes, 28),
        })
    }
}

/// The head of a file of this version, JSON included.
pub fn file_head(header: &Header, first_index: u64) -> Vec<u8> {
    // Strings, numbers and maps with string keys: nothing in it can fail to become JSON.
    let json = serde_json::to_vec(header).expect("a header is plain data");
    let mut out = Vec::with_capacity(HEAD_BYTES + json.len());
    out.extend(MAGIC);
    out.extend(VERSION.0.to_le_bytes());
    out.extend(VERSION.1.to_le_bytes());
    out.extend((record::VERSION as u16).to_le_bytes());
    out.extend((RECORD_BYTES as u16).to_le_bytes());
    out.extend(first_index.to_le_bytes());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend(file_crc(&out, &json).to_le_bytes());
    out.extend(json);
    out
}

/// Checksum of a file's head: its first 28 bytes, then its JSON.
pub fn file_crc(head: &[u8], json: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..28]);
    crc.update(json);
    crc.finalize()
}

/// Kinds of block. Others are skipped by a reader.
pub mod kind {
    /// Records as they lie in memory.
    pub const RECORDS: u16 = 1;
    /// An `Interval` as JSON.
    pub const INTERVAL: u16 = 2;
    /// The run ended in order; its index is the number of records of the whole run. No payload.
    pub const END: u16 = 3;
    /// A `ClockFit` as JSON that replaces the header's.
    pub const CLOCK: u16 = 4;
    /// Entries of a journal: `docs/journal.md`.
    pub const JOURNAL: u16 = 5;
}

/// A block's head.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 4 | [`BLOCK_MAGIC`] |
/// | 4 | 2 | kind |
/// | 6 | 2 | zero |
/// | 8 | 8 | index in the run of the block's first record; of other kinds, records before the block |
/// | 16 | 4 | bytes of the payload |
/// | 20 | 4 | records in it; 0 of other kinds |
/// | 24 | 4 | CRC-32 of the payload |
/// | 28 | 4 | CRC-32 of bytes 0–27 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    pub kind: u16,
    pub index: u64,
    pub payload_bytes: u32,
    pub count: u32,
    pub payload_crc: u32,
}

impl BlockHead {
    /// The head of a block of `count` records, or of another kind, with `payload`.
    pub fn of(kind: u16, index: u64, count: u32, payload: &[u8]) -> BlockHead {
        BlockHead { kind, index, payload_bytes: payload.len() as u32, count, payload_crc: crc32fast::hash(payload) }
    }

    /// The head in `bytes`; `None` unless its checksum is good and its lengths are possible.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<BlockHead> {
        if bytes[..4] != BLOCK_MAGIC || crc32fast::hash(&bytes[..28]) != u32_at(bytes, 28) {
            return None;
        }
        let head = BlockHead {
            kind: u16_at(bytes, 4),
            index: u64_at(bytes, 8),
            payload_bytes: u32_at(bytes, 16),
            count: u32_at(bytes, 20),
            payload_crc: u32_at(bytes, 24),
        };
        let fits =
            head.kind != kind::RECORDS || u64::from(head.payload_bytes) == u64::from(head.count) * RECORD_BYTES as u64;
        (fits && head.payload_bytes as usize <= MAX_PAYLOAD).then_some(head)
    }

    /// As it lies in the file.
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..4].copy_from_slice(&BLOCK_MAGIC);
        out[4..6].copy_from_slice(&self.kind.to_le_bytes());
        out[8..16].copy_from_slice(&self.index.to_le_bytes());
        out[16..20].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[20..24].copy_from_slice(&self.count.to_le_bytes());
        out[24..28].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

fn u16_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
