//! Which venue a packet is for, where feeds of several arrive on one port: an exact match of its destination.
//!
//! In, once: groups and whose they are. Out: the owner of an address and port, found in one or two cache lines. Allocates
//! nothing after that, and knows no venue by name.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Who listens to a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its place among the venues of the port.
    pub venue: u16,
    /// What [`super::Arrival::port`] is to say to it.
    pub line: u8,
}

/// Destinations by open addressing; at least half of the slots are free, so a search is short.
#[derive(Clone, Debug)]
pub struct Groups {
    slots: Box<[Slot]>,
    /// Bits of the hash that are no slot's number.
    shift: u32,
}

/// Four to a cache line. Key 0, which is no multicast group, is a free slot.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    owner: Owner,
}

impl Groups {
    /// A table of these groups; of one that is there twice, the first counts.
    pub fn new(groups: &[(SocketAddrV4, Owner)]) -> Groups {
        let size = (2 * groups.len()).next_power_of_two().max(2);
        let mut table = Groups { slots: vec![Slot::default(); size].into(), shift: 64 - size.trailing_zeros() };
        for (group, owner) in groups {
            let key = key(*group.ip(), group.port());
            let at = table.place(key);
            if table.slots[at].key == 0 {
                table.slots[at] = Slot { key, owner: *owner };
            }
        }
        table
    }

    /// Who listens to this destination.
    #[inline]
    pub fn owner(&self, address: Ipv4Addr, port: u16) -> Option<Owner> {
        let slot = &self.slots[self.place(key(address, port))];
        (slot.key != 0).then_some(slot.owner)
    }

    /// The slot of `key`, or the free one where it would be.
    #[inline]
    fn place(&self, key: u64) -> usize {
        // Fibonacci hashing: groups of one feed differ in few low bits, and these decide the product's high ones.
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[at].key != 0 && self.slots[at].key != key {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }
}

#[inline]
fn key(address: Ipv4Addr, port: u16) -> u64 {
    u64::from(u32::from(address)) << 16 | u64::from(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_group_has_its_owner_and_no_other_destination_has_one() {
        for n in [0, 1, 2, 3, 12, 100, 513] {
            let group =
                |i: u16| SocketAddrV4::new(Ipv4Addr::new(233, 54, (i >> 6) as u8, (i & 63) as u8), 26_400 + i % 7);
            let all: Vec<_> = (0..n).map(|i| (group(i), Owner { venue: i, line: (i % 3) as u8 })).collect();
            let table = Groups::new(&all);
            let known: BTreeMap<SocketAddrV4, Owner> = all.into_iter().collect();
            for i in 0..2 * n + 16 {
                for port in 26_398..26_410 {
                    let at = SocketAddrV4::new(*group(i).ip(), port);
                    assert_eq!(table.owner(*at.ip(), port), known.get(&at).copied(), "{at} of {n}");
                }
            }
        }
    }

    #[test]
    fn a_slot_is_a_quarter_of_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 16);
    }
}
