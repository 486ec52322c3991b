//! Entries to the bytes of a block, and back. A packet that follows the one before it takes some six bytes; everything
//! else lies as it was written. Each block is read by itself.

use super::{Entry, MAX_SLOTS, Slot, slots};

/// Bytes before a block's entries: venue, flags, zero, and how many entries of the venue came before.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 2 | venue |
/// | 2 | 2 | 1: what came after the last entry of this block is lost |
/// | 4 | 4 | zero |
/// | 8 | 8 | entries of this venue before this block |
pub const HEAD: usize = 16;
/// Bytes at which a block is full.
const FULL: usize = 256 << 10;

/// A packet, by what differs from the one before.
const FOLLOWS: u8 = 1;
/// Any entry: its number of slots, then those.
const WHOLE: u8 = 2;

/// Packs the entries of one venue.
#[derive(Debug)]
pub struct Coder {
    venue: u16,
    block: Vec<u8>,
    previous: Slot,
    /// Entries in blocks before this one.
    before: u64,
    /// Entries taken.
    entries: u64,
    /// The beginning of an entry whose end has not come.
    begun: Entry,
}

/// A block's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Whose.
    pub venue: u16,
    /// What came after them is lost.
    pub lost: bool,
    /// Entries before them.
    pub before: u64,
    /// They, one after the other.
    pub slots: Vec<Slot>,
    /// How many.
    pub entries: u64,
}

impl Coder {
    /// Of a venue, with nothing taken.
    pub fn new(venue: u16) -> Coder {
        let block = Vec::with_capacity(FULL + HEAD + 1024);
        let mut coder = Coder { venue, block, previous: [0; 4], before: 0, entries: 0, begun: Entry::new() };
        coder.clear();
        coder
    }

    /// Take slots; an entry may be cut by the end of them.
    pub fn take(&mut self, slots: &[Slot]) {
        let mut rest = slots;
        while let Some((first, behind)) = rest.split_first() {
            if self.begun.is_empty() && super::slots(first) == Some(1) {
                self.one(first);
                rest = behind;
                continue;
            }
            // What strategy writes is well-formed, so an entry's length is known from its first slot.
            let length = super::slots(self.begun.first().unwrap_or(first)).unwrap_or(1).min(MAX_SLOTS);
            let (now, later) = rest.split_at((length - self.begun.len()).min(rest.len()));
            self.begun.extend(now.iter().copied());
            rest = later;
            if self.begun.len() == length {
                self.block.extend([WHOLE, length as u8]);
                self.block.extend_from_slice(bytemuck::cast_slice(&self.begun));
                self.begun.clear();
                self.entries += 1;
            }
        }
    }

    /// A packet, or an entry of one slot.
    fn one(&mut self, slot: &Slot) {
        self.entries += 1;
        // All of the first word but the count, which is in bits 32 to 47.
        let same = |word: u64| word & !(0xffff << 32);
        if slot[0] & 0xff != super::PACKET || same(slot[0]) != same(self.previous[0]) || slot[3] != 0 {
            self.block.extend([WHOLE, 1]);
            self.block.extend_from_slice(bytemuck::cast_slice(slot));
        } else {
            self.block.push(FOLLOWS);
            varint(&mut self.block, slot[0] >> 32 & 0xffff);
            varint(&mut self.block, zigzag(slot[1].wrapping_sub(self.previous[1])));
            varint(&mut self.block, zigzag(slot[2].wrapping_sub(self.previous[2])));
        }
        if slot[0] & 0xff == super::PACKET {
            self.previous = *slot;
        }
    }

    /// Entries taken.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether there is something that is in no block.
    pub fn is_empty(&self) -> bool {
        self.block.len() == HEAD
    }

    /// Whether the block should be written.
    pub fn is_full(&self) -> bool {
        self.block.len() >= FULL
    }

    /// The block of what was taken since the last; `lost`: what would come next is lost.
    pub fn block(&mut self, lost: bool) -> Vec<u8> {
        self.block[..2].copy_from_slice(&self.venue.to_le_bytes());
        self.block[2..4].copy_from_slice(&u16::from(lost).to_le_bytes());
        self.block[8..HEAD].copy_from_slice(&self.before.to_le_bytes());
        let block = self.block.clone();
        self.clear();
        block
    }

    fn clear(&mut self) {
        self.block.clear();
        self.block.resize(HEAD, 0);
        self.previous = [0; 4];
        self.before = self.entries;
    }
}

/// The entries of a block; `None` when it is none.
pub fn decode(block: &[u8]) -> Option<Decoded> {
    let (head, mut rest) = block.split_first_chunk::<HEAD>()?;
    let [venue, flags] = [0, 2].map(|at| u16::from_le_bytes([head[at], head[at + 1]]));
    let (_, before) = head.split_last_chunk()?;
    let before = u64::from_le_bytes(*before);
    let mut decoded = Decoded { venue, lost: flags & 1 != 0, before, ..Decoded::default() };
    let mut previous = [0; 4];
    while let Some((&code, behind)) = rest.split_first() {
        rest = behind;
        match code {
            FOLLOWS => {
                let (count, sequence, arrival) = (unvarint(&mut rest)?, unvarint(&mut rest)?, unvarint(&mut rest)?);
                if previous[0] == 0 || count > 0xffff {
                    return None;
                }
                let first = previous[0] & !(0xffff << 32) | count << 32;
                let moved = |word: u64, by: u64| word.wrapping_add(unzigzag(by));
                previous = [first, moved(previous[1], sequence), moved(previous[2], arrival), 0];
                decoded.slots.push(previous);
            }
            WHOLE => {
                let (&length, behind) = rest.split_first()?;
                let (entry, behind) = behind.split_at_checked(usize::from(length) * size_of::<Slot>())?;
                rest = behind;
                let from = decoded.slots.len();
                decoded.slots.extend(entry.chunks_exact(size_of::<Slot>()).map(bytemuck::pod_read_unaligned::<Slot>));
                let first = decoded.slots.get(from)?;
                if slots(first)? != usize::from(length) {
                    return None;
                }
                if first[0] & 0xff == super::PACKET {
                    previous = *first;
                }
            }
            _ => return None,
        }
        decoded.entries += 1;
    }
    Some(decoded)
}

const fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ (difference as i64 >> 63) as u64
}

const fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

/// Seven bits a byte, the lowest first; the top bit says that another follows.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{element, packet, parameters, stop};
    use super::*;
    use crate::market::{Element, Packet};
    use proptest::prelude::*;

    fn head(sequence: u64, arrival_ns: u64) -> Slot {
        packet(&Packet { sequence, arrival_ns, count: 3, session: 77, channel: 1, ..Packet::default() })[0]
    }

    fn written(slots: &[Slot], at_a_time: usize) -> Vec<u8> {
        let mut coder = Coder::new(5);
        slots.chunks(at_a_time).for_each(|chunk| coder.take(chunk));
        coder.block(false)
    }

    fn some() -> Vec<Slot> {
        let mut slots = vec![head(10, 1000), head(13, 900), head(0, u64::MAX)];
        slots.extend(element(1, &Element::Gap { expected: 1, found: 2 }));
        slots.extend(stop());
        slots.extend(parameters(0, 1, &[b'x'; 700]).flatten());
        slots.push(head(u64::MAX, 0));
        slots.push(head(5, 7));
        slots
    }

    #[test]
    fn entries_come_back_however_they_were_cut() {
        let slots = some();
        for at_a_time in [1, 2, 3, 7, slots.len()] {
            let decoded = decode(&written(&slots, at_a_time)).unwrap();
            assert_eq!((decoded.venue, decoded.before, decoded.entries), (5, 0, 9));
            assert_eq!(decoded.slots, slots);
        }
    }

    #[test]
    fn a_block_is_read_without_the_one_before() {
        let mut coder = Coder::new(0);
        coder.take(&[head(1, 1), head(2, 2)]);
        let _ = coder.block(false);
        coder.take(&[head(3, 3)]);
        let second = decode(&coder.block(true)).unwrap();
        assert_eq!((second.before, second.entries, second.lost, &second.slots[..]), (2, 1, true, &[head(3, 3)][..]));
    }

    #[test]
    fn a_packet_that_follows_takes_few_bytes() {
        let slots: Vec<Slot> = (0..1000).map(|i| head(3 * i, 1_000_000_000_000 + i * 700)).collect();
        // One in full, the others: code, count, 6 in zigzag, and 1,400 in two bytes.
        assert_eq!(written(&slots, 1000).len(), HEAD + 34 + 999 * 5);
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_block_cut_or_changed_never_panics(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let whole = written(&some(), 100);
            let at = at.index(whole.len());
            let _ = decode(&whole[..at]);
            let mut changed = whole.clone();
            changed[at] ^= flip;
            let _ = decode(&changed);
        }
    }
}
