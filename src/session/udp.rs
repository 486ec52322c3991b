//! One UDP datagram an order packet: Ethernet, IPv4 and UDP headers patched into frames from a template.
//!
//! Owned by tx. Addresses never change, so the sums of the constant words are taken once.

use super::protocol::{Numbers, Protocol};
use crate::wire::{ethernet, ipv4, udp};
use std::net::{Ipv4Addr, SocketAddrV4};

/// One end of the order path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IPv4 address and UDP port.
    pub address: SocketAddrV4,
}

/// Bytes of the headers: Ethernet, IPv4 and UDP without options.
pub const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + udp::HEADER;

/// The sending end of a UDP transport.
#[derive(Clone, Debug)]
pub struct UdpTransport {
    headers: UdpHeaders,
    numbers: Numbers,
}

impl UdpTransport {
    /// A transport of a protocol's messages from one end to the other; the first datagram has IPv4 identification 0.
    pub fn new(from: Endpoint, to: Endpoint, protocol: &Protocol) -> Self {
        UdpTransport { headers: UdpHeaders::new(from, to), numbers: Numbers::new(protocol) }
    }

    /// Fill in the headers at the front of a frame whose message begins after them, checksums included, and the message's
    /// number.
    #[inline]
    pub fn finish(&mut self, frame: &mut [u8], headers: usize) {
        debug_assert_eq!(headers, HEADERS);
        let Some(message) = frame.get_mut(HEADERS..) else { return };
        self.numbers.give(message);
        self.headers.finish(frame);
    }
}

/// The headers of datagrams from one end to another.
#[derive(Clone, Debug)]
pub struct UdpHeaders {
    template: [u8; HEADERS],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identification: u16,
}

impl UdpHeaders {
    /// The first has IPv4 identification 0.
    pub fn new(from: Endpoint, to: Endpoint) -> Self {
        let mut template = [0; HEADERS];
        let ethernet =
            ethernet::Repr { dst: to.mac, src: from.mac, tags: ethernet::Tags::None, ethertype: ethernet::IPV4 };
        let udp = udp::Repr { src_port: from.address.port(), dst_port: to.address.port() };
        let _ = ethernet.emit(&mut template);
        let _ = udp.emit(0, &mut template[ethernet::HEADER + ipv4::HEADER..]);
        UdpHeaders { template, source: *from.address.ip(), destination: *to.address.ip(), identification: 0 }
    }

    /// Another port of ours from now on.
    pub fn leave_from(&mut self, port: u16) {
        self.template[ethernet::HEADER + ipv4::HEADER..][..2].copy_from_slice(&port.to_be_bytes());
    }

    /// Fill them in at the front of a frame, checksums included.
    #[inline]
    pub fn finish(&mut self, frame: &mut [u8]) {
        let Some(payload) = frame.len().checked_sub(HEADERS) else { return };
        frame[..HEADERS].copy_from_slice(&self.template);
        let ip = ipv4::Repr {
            src: self.source,
            dst: self.destination,
            protocol: ipv4::UDP,
            ttl: 64,
            identification: self.identification,
            service: 0,
        };
        self.identification = self.identification.wrapping_add(1);
        let _ = ip.emit(payload + udp::HEADER, &mut frame[ethernet::HEADER..]);
        let datagram = &mut frame[ethernet::HEADER + ipv4::HEADER..];
        datagram[4..6].copy_from_slice(&((payload + udp::HEADER) as u16).to_be_bytes());
        udp::fill_checksum(datagram, self.source, self.destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { mac: [2, 0, 0, 0, 0, last], address: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port) }
    }

    #[test]
    fn finished_frames_parse_with_good_checksums() {
        let mut transport = UdpTransport::new(end(1, 40000), end(2, 50000), &Protocol::Ouch50);
        for id in 0..3u16 {
            let mut frame = [0xaa; HEADERS + 51];
            transport.finish(&mut frame, HEADERS);
            let ip = ipv4::Packet::parse(ethernet::Frame::parse(&frame).unwrap().payload()).unwrap();
            assert!(ip.checksum_fits());
            assert_eq!(ip.header().identification(), id);
            let datagram = udp::Datagram::parse(ip.payload()).unwrap();
            assert_eq!((datagram.src_port(), datagram.dst_port()), (40000, 50000));
            assert_eq!(datagram.checksum(ip.src(), ip.dst()), udp::ChecksumState::Fits);
            assert_eq!(datagram.payload(), [0xaa; 51]);
        }
    }
}
