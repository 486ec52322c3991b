//! One megabyte of packets: what a helper thread and an lcore hand each other, whole, in place of single packets.
//!
//! A record is two words, `stamp_ns` and `len | caplen << 32 | flags << 56`, then the bytes padded to a word. Blocks
//! are allocated and freed by helper threads and control only; the lcore fills or walks them and passes them on.

/// Words in a block: 1 MiB.
const WORDS: usize = 1 << 17;
/// Words in front of a record's bytes.
const HEAD: usize = 2;
/// The longest packet a record may hold: what libpcap takes for the largest sensible snapshot length.
pub const PACKET_MAX: usize = 1 << 18;

/// First record of a file.
pub const FILE_START: u8 = 1;

/// Packets back to back.
pub struct Block {
    words: Vec<u64>,
    /// Words in use, from 0. Everything below holds whole records.
    used: usize,
    /// Nothing follows it in this lap.
    pub last: bool,
}

/// One packet in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, or the packet that caused it: ns since 1970.
    pub stamp_ns: u64,
    /// Its length on the wire; more than `bytes` when the capture cut it.
    pub len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// [`FILE_START`] or nothing.
    pub flags: u8,
}

impl Block {
    /// An empty block whose pages have been touched, so that filling it faults nothing in.
    pub fn touched() -> Box<Block> {
        Box::new(Block { words: vec![u64::MAX; WORDS], used: 0, last: false })
    }

    /// An empty block whose pages come with their first use.
    pub fn untouched() -> Box<Block> {
        Box::new(Block { words: vec![0; WORDS], used: 0, last: false })
    }

    /// Empty again.
    pub fn clear(&mut self) {
        self.used = 0;
        self.last = false;
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Words in use: where its last record ends.
    #[inline(always)]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Append a record of at most [`PACKET_MAX`] bytes; false when there is no room (an empty block has room for any).
    #[inline]
    pub fn push(&mut self, record: Record<'_>) -> bool {
        let caplen = record.bytes.len();
        debug_assert!(caplen <= PACKET_MAX);
        let (start, end) = (self.used + HEAD, self.used + HEAD + caplen.div_ceil(8));
        if end > WORDS || caplen > PACKET_MAX {
            return false;
        }
        self.words[self.used] = record.stamp_ns;
        self.words[self.used + 1] = u64::from(record.len) | (caplen as u64) << 32 | u64::from(record.flags) << 56;
        bytemuck::cast_slice_mut(&mut self.words[start..end])[..caplen].copy_from_slice(record.bytes);
        self.used = end;
        true
    }

    /// The record at word `at` and the word where the next begins; `None` at the end. Start with 0.
    #[inline(always)]
    pub fn record(&self, at: usize) -> Option<(Record<'_>, usize)> {
        if at >= self.used {
            return None;
        }
        let head = self.words[at + 1];
        let caplen = (head >> 32) as usize & 0xff_ffff;
        let (start, end) = (at + HEAD, at + HEAD + caplen.div_ceil(8));
        let bytes = &bytemuck::cast_slice(&self.words[start..end])[..caplen];
        Some((Record { stamp_ns: self.words[at], len: head as u32, bytes, flags: (head >> 56) as u8 }, end))
    }

    /// The words themselves, to prefetch from.
    #[inline(always)]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in_until_the_block_is_full() {
        let mut block = Block::touched();
        let bytes: Vec<u8> = (0..=255).cycle().take(1500).collect();
        let sent = |i: usize| Record {
            stamp_ns: 1 << 60 | i as u64,
            len: u32::MAX - i as u32,
            bytes: &bytes[..i % 1500],
            flags: (i % 2) as u8,
        };
        let count = (0..).take_while(|&i| block.push(sent(i))).count();
        assert!(count > 1000);
        for _ in 0..2 {
            let (mut at, mut seen) = (0, 0);
            while let Some((record, next)) = block.record(at) {
                assert_eq!(record, sent(seen));
                (at, seen) = (next, seen + 1);
            }
            assert_eq!(seen, count);
        }
        block.clear();
        assert!(block.is_empty() && block.record(0).is_none());
        let largest = vec![7; PACKET_MAX];
        assert!(block.push(Record { stamp_ns: 0, len: 0, bytes: &largest, flags: 0 }));
    }
}
