//! A UDP payload becomes an Ethernet frame as a feed handler receives it: 802.1Q tag, IPv4 and UDP with correct
//! checksums, multicast MAC (RFC 1112, section 6.4). Writes whole frames, reads nothing.

use super::Line;
use crate::wire::{ethernet, ipv4, udp};
use std::net::Ipv4Addr;

const IP: usize = ethernet::HEADER + ethernet::TAG;
const UDP: usize = IP + ipv4::HEADER;
const PAYLOAD: usize = UDP + udp::HEADER;
/// Offset of the IPv4 header checksum in a frame of ours (RFC 791).
pub(super) const IP_CHECKSUM: usize = IP + 10;
/// Offset of the UDP checksum in a frame of ours (RFC 768).
pub(super) const UDP_CHECKSUM: usize = UDP + 6;

/// Locally administered.
const SOURCE_MAC: [u8; 6] = [0x02, 0x54, 0x50, 0x00, 0x00, 0x01];
/// TEST-NET-1 (RFC 5737).
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const SOURCE_PORT: u16 = 49_653;
/// As on the captured feed.
const TTL: u8 = 21;

/// Writes the frame of `payload` on `line` over `frame`. The payload fits into a datagram.
pub(super) fn write(line: &Line, identification: u16, payload: &[u8], frame: &mut Vec<u8>) {
    const FITS: &str = "the frame was sized for its headers and the payload for a datagram";
    let [_, a, b, c] = line.group.octets();
    frame.clear();
    frame.resize(PAYLOAD, 0);
    frame.extend_from_slice(payload);
    ethernet::Repr {
        dst: [0x01, 0x00, 0x5E, a & 0x7F, b, c],
        src: SOURCE_MAC,
        tags: ethernet::Tags::One(ethernet::Tag::vlan(line.vlan)),
        ethertype: ethernet::IPV4,
    }
    .emit(frame)
    .expect(FITS);
    ipv4::Repr { src: SOURCE, dst: line.group, protocol: ipv4::UDP, ttl: TTL, service: 0, identification }
        .emit(udp::HEADER + payload.len(), &mut frame[IP..])
        .expect(FITS);
    udp::Repr { src_port: SOURCE_PORT, dst_port: line.port }.emit(payload.len(), &mut frame[UDP..]).expect(FITS);
    udp::fill_checksum(&mut frame[UDP..], SOURCE, line.group);
}

/// Makes the checksum at `offset` wrong, never absent.
pub(super) fn spoil_checksum(frame: &mut [u8], offset: usize) {
    let right = u16::from_be_bytes([frame[offset], frame[offset + 1]]);
    let wrong = if right == 0x0100 { 0x0300 } else { right ^ 0x0100 };
    frame[offset..][..2].copy_from_slice(&wrong.to_be_bytes());
}
