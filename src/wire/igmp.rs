//! IGMP, versions 2 and 3 (RFC 2236, RFC 3376), as a host speaks it: groups come in, whole Ethernet frames that join, keep or
//! leave them go out; a query is recognised. It keeps no state and knows no time.

use super::checksum::checksum;
use super::ethernet::{self, Tags};
use super::{Error, ipv4};
use std::net::Ipv4Addr;

/// Protocol number of IGMP.
pub const PROTOCOL: u8 = 2;
/// Most groups of one version 3 report: records of 8 bytes behind 24 bytes of IPv4 and 8 of IGMP in 1,500.
pub const GROUPS: usize = (1500 - IP_HEADER - 8) / 8;
/// Room for any frame emitted here.
pub const FRAME: usize = ethernet::HEADER + 2 * ethernet::TAG + 1500;

/// The header with its option.
const IP_HEADER: usize = ipv4::HEADER + ROUTER_ALERT.len();
/// RFC 2113: routers look at the packet.
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
/// RFC 3376 section 4: Internetwork Control.
const SERVICE: u8 = 0xc0;
/// Shortest Ethernet frame, without its check sequence.
const SHORTEST: usize = 60;

const QUERY: u8 = 0x11;
const V2_REPORT: u8 = 0x16;
const V2_LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;

const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);

layout! {
    /// A version 2 message, RFC 2236 section 2.
    be V2, V2Repr: 8 {
        /// Type.
        0 kind: u8,
        /// Of a query: tenths of a second within which to answer.
        1 max_response: u8,
        /// Checksum of the message.
        2 checksum: u16,
        /// Group; of a query to all groups 0.
        4 group: [u8; 4],
    }
}

layout! {
    /// Head of a version 3 report, RFC 3376 section 4.2.
    be V3, V3Repr: 8 {
        /// Type.
        0 kind: u8,
        /// Zero.
        1 reserved: u8,
        /// Checksum of the message.
        2 checksum: u16,
        /// Zero.
        4 reserved_too: u16,
        /// Records behind it.
        6 records: u16,
    }
}

layout! {
    /// A record of a version 3 report, without sources.
    be Record, RecordRepr: 8 {
        /// What is said of the group: [`Say`].
        0 kind: u8,
        /// Words of auxiliary data: none.
        1 auxiliary: u8,
        /// Sources: none.
        2 sources: u16,
        /// Group.
        4 group: [u8; 4],
    }
}

/// What a version 3 report says of its groups: RFC 3376 section 4.2.12, always of every source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It is listened to: the answer to a query.
    Listen = 2,
    /// It is not listened to any more.
    Leave = 3,
    /// It is listened to from now on.
    Join = 4,
}

/// Who reports.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IPv4 address.
    pub address: Ipv4Addr,
    /// VLAN of the groups.
    pub tags: Tags,
}

impl Host {
    /// A frame of version 2 that joins, or keeps, a group. Returns its length.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn v2_report(&self, group: Ipv4Addr, out: &mut [u8]) -> Result<usize, Error> {
        self.v2(V2_REPORT, group, group, out)
    }

    /// A frame of version 2 that leaves a group. Returns its length.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn v2_leave(&self, group: Ipv4Addr, out: &mut [u8]) -> Result<usize, Error> {
        self.v2(V2_LEAVE, group, ALL_ROUTERS, out)
    }

    /// A frame of version 3 that says the same of at most [`GROUPS`] groups. Returns its length.
    ///
    /// # Errors
    /// `out` is too short for so many.
    pub fn v3_report(&self, say: Say, groups: &[Ipv4Addr], out: &mut [u8]) -> Result<usize, Error> {
        self.frame(V3_ROUTERS, 8 + 8 * groups.len(), out, |message| {
            let records = groups.len() as u16;
            V3Repr { kind: V3_REPORT, reserved: 0, checksum: 0, reserved_too: 0, records }.emit(message)?;
            for (group, record) in groups.iter().zip(message[8..].chunks_exact_mut(8)) {
                RecordRepr { kind: say as u8, auxiliary: 0, sources: 0, group: group.octets() }.emit(record)?;
            }
            Ok(())
        })
    }

    fn v2(&self, kind: u8, group: Ipv4Addr, to: Ipv4Addr, out: &mut [u8]) -> Result<usize, Error> {
        self.frame(to, 8, out, |message| {
            V2Repr { kind, max_response: 0, checksum: 0, group: group.octets() }.emit(message).map(drop)
        })
    }

    /// A frame to group `dst` with a message of `length` bytes, which `write` puts into zeroes.
    fn frame(
        &self,
        dst: Ipv4Addr,
        length: usize,
        out: &mut [u8],
        write: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let at = ethernet::HEADER + self.tags.length();
        let total = (at + IP_HEADER + length).max(SHORTEST);
        let room = out.len();
        let out = out.get_mut(..total).ok_or(Error::no_room(total, room))?;
        out.fill(0);
        ethernet::Repr { dst: mac(dst), src: self.mac, tags: self.tags, ethertype: ethernet::IPV4 }.emit(out)?;
        let (header, message) = out[at..].split_at_mut(IP_HEADER);
        ipv4::HeaderRepr {
            version_words: 0x40 | (IP_HEADER / 4) as u8,
            service: SERVICE,
            total_length: (IP_HEADER + length) as u16,
            identification: 0,
            fragment: ipv4::DONT_FRAGMENT,
            ttl: 1,
            protocol: PROTOCOL,
            checksum: 0,
            src: self.address.octets(),
            dst: dst.octets(),
        }
        .emit(header)?;
        header[ipv4::HEADER..].copy_from_slice(&ROUTER_ALERT);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let message = &mut message[..length];
        write(message)?;
        let sum = checksum(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Ok(total)
    }
}

/// Whether the payload of an IPv4 packet of [`PROTOCOL`] is a query, of any version, with a right checksum.
pub fn is_query(message: &[u8]) -> bool {
    message.len() >= 8 && message[0] == QUERY && checksum(message) == 0
}

/// Ethernet address of a group: RFC 1112 section 6.4.
pub fn mac(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(10, 0, 0, 2), tags: Tags::None };
    const NASDAQ: Ipv4Addr = Ipv4Addr::new(233, 54, 12, 111);
    const IEX: Ipv4Addr = Ipv4Addr::new(224, 2, 3, 10);

    /// The Ethernet header to this address, these bytes (sums taken by an independent program), zeroes to 60 bytes.
    #[track_caller]
    fn assert_frame(found: &[u8], dst: [u8; 6], packet: &[u8]) {
        let mut expected = [&dst[..], &[2, 0, 0, 0, 0, 1, 8, 0], packet].concat();
        expected.resize(expected.len().max(60), 0);
        assert_eq!(found, expected);
    }

    #[test]
    fn version_2_reports_to_the_group_and_leaves_to_all_routers() {
        let mut out = [0xff; FRAME];
        let n = HOST.v2_report(NASDAQ, &mut out).unwrap();
        let report = [
            0x46, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xe4, 0x70, 0x0a, 0x00, 0x00, 0x02, 0xe9, 0x36,
            0x0c, 0x6f, 0x94, 0x04, 0x00, 0x00, 0x16, 0x00, 0xf4, 0x59, 0xe9, 0x36, 0x0c, 0x6f,
        ];
        assert_frame(&out[..n], [0x01, 0x00, 0x5e, 0x36, 0x0c, 0x6f], &report);
        let n = HOST.v2_leave(NASDAQ, &mut out).unwrap();
        let leave = [
            0x46, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xfa, 0x13, 0x0a, 0x00, 0x00, 0x02, 0xe0, 0x00,
            0x00, 0x02, 0x94, 0x04, 0x00, 0x00, 0x17, 0x00, 0xf3, 0x59, 0xe9, 0x36, 0x0c, 0x6f,
        ];
        assert_frame(&out[..n], [0x01, 0x00, 0x5e, 0, 0, 2], &leave);
    }

    #[test]
    fn version_3_reports_every_group_in_one_packet() {
        let mut out = [0xff; FRAME];
        let n = HOST.v3_report(Say::Join, &[NASDAQ, IEX], &mut out).unwrap();
        let report = [
            0x46, 0xc0, 0x00, 0x30, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xf9, 0xef, 0x0a, 0x00, 0x00, 0x02, 0xe0, 0x00,
            0x00, 0x16, 0x94, 0x04, 0x00, 0x00, 0x22, 0x00, 0xfd, 0x4a, 0x00, 0x00, 0x00, 0x02, 0x04, 0x00, 0x00, 0x00,
            0xe9, 0x36, 0x0c, 0x6f, 0x04, 0x00, 0x00, 0x00, 0xe0, 0x02, 0x03, 0x0a,
        ];
        assert_frame(&out[..n], [0x01, 0x00, 0x5e, 0, 0, 22], &report);
        let full = HOST.v3_report(Say::Listen, &[IEX; GROUPS], &mut out).unwrap();
        assert_eq!(full, 14 + 24 + 8 + 183 * 8);
        assert!(HOST.v3_report(Say::Listen, &[IEX; 2], &mut [0; 61]).is_err());
    }

    #[test]
    fn a_query_is_one_of_any_version_that_arrived_whole() {
        // To all groups, version 2, ten seconds; and version 3, with 125 seconds between queries.
        let v2 = [0x11, 0x64, 0xee, 0x9b, 0, 0, 0, 0];
        let v3 = [0x11, 0x64, 0xec, 0x1e, 0, 0, 0, 0, 0x02, 0x7d, 0, 0];
        assert!(is_query(&v2) && is_query(&v3));
        assert!(!is_query(&[0x11, 0x64, 0xee, 0x9c, 0, 0, 0, 0]), "a bit was lost");
        assert!(!is_query(&v2[..7]) && !is_query(&[0x16, 0, 0xe9, 0xff, 0, 0, 0, 0]));
    }
}
