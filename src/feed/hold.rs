//! Packets that wait: the bytes of those ahead of their channel's sequence, by channel and in the order of their
//! sequence, in memory taken at launch.
//!
//! In: a payload and its head, copied. Out: the same, first in sequence first. Bounded in packets, and so in bytes; knows
//! nothing of time beyond when each gap was first seen.

use crate::arena::{Arena, ArenaFull, bytes};
use crate::market::Packet;

/// The longest payload that can be held: the data room of an mbuf, whole cache lines, and no payload is longer than that.
pub const MAX_PAYLOAD: usize = 2176;

/// No slot.
const NONE: u32 = u32::MAX;

/// Held packets of all channels of one feed.
#[derive(Debug)]
pub(super) struct Hold<'m> {
    slots: Box<[Slot]>,
    bytes: &'m mut [u8],
    /// First of the free slots, which are linked by `next`.
    free: u32,
    held: usize,
    channels: Box<[Ends]>,
}

/// First and last of a channel's packets.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// What rx and parse said of it.
    pub head: Packet,
    /// Its first message.
    pub sequence: u64,
    /// The message after its last.
    pub end: u64,
    /// When a message before it was first missed, in ns of `arrival_ns`.
    pub since: u64,
    length: u16,
    next: u32,
    previous: u32,
}

/// What became of a packet that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is held.
    Yes,
    /// A packet that is held already has all of its messages.
    Known,
    /// There is no room for another packet, or not for one as long.
    NoRoom,
}

impl<'m> Hold<'m> {
    /// Bytes that `packets` packets take from the arena.
    pub const fn bytes(packets: usize) -> usize {
        bytes::<u8>(packets * MAX_PAYLOAD)
    }

    /// Room for `packets` packets of `channels` channels.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`Hold::bytes`] left.
    pub fn new(packets: usize, channels: usize, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let slot = |at: usize| Slot {
            head: Packet::default(),
            sequence: 0,
            end: 0,
            since: 0,
            length: 0,
            next: if at + 1 < packets { at as u32 + 1 } else { NONE },
            previous: NONE,
        };
        Ok(Hold {
            slots: (0..packets).map(slot).collect(),
            bytes: arena.slice("held packets", packets * MAX_PAYLOAD)?,
            free: if packets > 0 { 0 } else { NONE },
            held: 0,
            channels: vec![Ends { first: NONE, last: NONE }; channels].into_boxed_slice(),
        })
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether there is no room for another packet.
    pub fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// The first packet of a channel.
    pub fn first(&self, channel: usize) -> Option<&Slot> {
        self.slots.get(self.channels[channel].first as usize)
    }

    /// Copy the packet of messages `sequence .. sequence + count` into its place.
    pub fn insert(&mut self, channel: usize, sequence: u64, count: u64, head: &Packet, payload: &[u8]) -> Kept {
        let end = sequence.saturating_add(count);
        // Nearly always it comes last: a line delivers in order.
        let mut before = self.channels[channel].last;
        while let Some(slot) = self.slots.get(before as usize).filter(|slot| slot.sequence > sequence) {
            before = slot.previous;
        }
        if self.slots.get(before as usize).is_some_and(|slot| slot.end >= end) {
            return Kept::Known;
        }
        let at = self.free;
        let place = at as usize * MAX_PAYLOAD;
        let (true, Some(slot)) = (payload.len() <= MAX_PAYLOAD, self.slots.get_mut(at as usize)) else {
            return Kept::NoRoom;
        };
        self.free = slot.next;
        self.held += 1;
        self.bytes[place..place + payload.len()].copy_from_slice(payload);
        let after = match self.slots.get_mut(before as usize) {
            Some(slot) => std::mem::replace(&mut slot.next, at),
            None => std::mem::replace(&mut self.channels[channel].first, at),
        };
        let mut since = head.arrival_ns;
        match self.slots.get_mut(after as usize) {
            Some(slot) => {
                slot.previous = at;
                since = since.min(slot.since);
            }
            None => self.channels[channel].last = at,
        }
        let length = payload.len() as u16;
        self.slots[at as usize] = Slot { head: *head, sequence, end, since, length, next: after, previous: before };
        Kept::Yes
    }

    /// Take the first packet of a channel out; [`lend`](Self::lend) has its bytes until the next insertion.
    pub fn pop(&mut self, channel: usize) -> Option<Popped> {
        let at = self.channels[channel].first;
        let slot = *self.slots.get(at as usize)?;
        self.channels[channel].first = slot.next;
        match self.slots.get_mut(slot.next as usize) {
            Some(next) => next.previous = NONE,
            None => self.channels[channel].last = NONE,
        }
        self.slots[at as usize].next = self.free;
        self.free = at;
        self.held -= 1;
        let from = at as usize * MAX_PAYLOAD;
        Some(Popped { slot, bytes: (from, from + usize::from(slot.length)) })
    }

    /// Drop all packets of a channel; returns how many there were.
    pub fn clear(&mut self, channel: usize) -> u64 {
        std::iter::from_fn(|| self.pop(channel)).count() as u64
    }

    /// The bytes of all packets, lent out so that one can be read while the rest of the feed changes. Nothing can be
    /// inserted until they are [`returned`](Self::returned).
    pub fn lend(&mut self) -> &'m mut [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// See [`lend`](Self::lend).
    pub fn returned(&mut self, bytes: &'m mut [u8]) {
        self.bytes = bytes;
    }
}

/// A packet that was taken out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Popped {
    pub slot: Slot,
    /// Where its payload is: from, to.
    pub bytes: (usize, usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::heap;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(arrival_ns: u64) -> Packet {
        Packet { arrival_ns, ..Packet::default() }
    }

    fn with<R>(packets: usize, channels: usize, f: impl FnOnce(&mut Hold<'_>) -> R) -> R {
        let mut region = heap(Hold::bytes(packets));
        f(&mut Hold::new(packets, channels, &mut Arena::new(&mut region)).unwrap())
    }

    fn pop(hold: &mut Hold<'_>, channel: usize) -> Option<(u64, Vec<u8>)> {
        let Popped { slot, bytes: (from, to) } = hold.pop(channel)?;
        Some((slot.sequence, hold.bytes[from..to].to_vec()))
    }

    #[test]
    fn what_came_in_any_order_leaves_in_sequence() {
        with(4, 2, |hold| {
            for sequence in [14, 10, 12] {
                assert_eq!(hold.insert(0, sequence, 1, &at(sequence), &[sequence as u8]), Kept::Yes);
            }
            assert_eq!(hold.insert(1, 5, 1, &at(0), &[5]), Kept::Yes);
            assert_eq!(hold.insert(1, 6, 1, &at(0), &[6]), Kept::NoRoom);
            let left: Vec<_> = std::iter::from_fn(|| pop(hold, 0)).collect();
            assert_eq!(left, [(10, vec![10]), (12, vec![12]), (14, vec![14])]);
            assert_eq!((pop(hold, 1), hold.len()), (Some((5, vec![5])), 0));
        });
    }

    #[test]
    fn a_gap_is_as_old_as_the_first_packet_beyond_it() {
        with(4, 1, |hold| {
            hold.insert(0, 20, 1, &at(100), &[]);
            hold.insert(0, 10, 1, &at(150), &[]);
            assert_eq!(hold.first(0).unwrap().since, 100, "9 was missing when 20 came");
            hold.pop(0);
            assert_eq!(hold.first(0).unwrap().since, 100);
        });
    }

    #[test]
    fn what_is_held_already_is_known() {
        with(4, 1, |hold| {
            hold.insert(0, 10, 5, &at(0), &[]);
            assert_eq!(hold.insert(0, 10, 5, &at(0), &[]), Kept::Known);
            assert_eq!(hold.insert(0, 12, 3, &at(0), &[]), Kept::Known);
            assert_eq!(hold.insert(0, 12, 4, &at(0), &[]), Kept::Yes, "one message of it is new");
            assert_eq!(hold.insert(0, 9, 2, &at(0), &[]), Kept::Yes, "and one of this");
            assert_eq!((hold.clear(0), hold.len(), hold.first(0).is_none()), (3, 0, true));
        });
    }

    #[test]
    fn a_payload_longer_than_a_frame_finds_no_room() {
        with(1, 1, |hold| {
            assert_eq!(hold.insert(0, 1, 1, &at(0), &[0; MAX_PAYLOAD + 1]), Kept::NoRoom);
            assert_eq!(hold.insert(0, 1, 1, &at(0), &[0; MAX_PAYLOAD]), Kept::Yes);
        });
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map_of_bounded_size(steps in proptest::collection::vec((0u64..40, any::<bool>()), 0..200)) {
            with(8, 1, |hold| -> Result<(), TestCaseError> {
                let mut model = BTreeMap::new();
                for (sequence, take) in steps {
                    if take {
                        prop_assert_eq!(pop(hold, 0).map(|p| p.0), model.pop_first().map(|p: (u64, ())| p.0));
                        continue;
                    }
                    let expected = match (model.contains_key(&sequence), model.len()) {
                        (true, _) => Kept::Known,
                        (false, 8) => Kept::NoRoom,
                        (false, _) => Kept::Yes,
                    };
                    prop_assert_eq!(hold.insert(0, sequence, 1, &at(0), &[]), expected);
                    if expected == Kept::Yes {
                        model.insert(sequence, ());
                    }
                    prop_assert_eq!((hold.len(), hold.is_full()), (model.len(), model.len() == 8));
                }
                Ok(())
            })?;
        }
    }
}
