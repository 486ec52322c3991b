//! IPv4 (RFC 791): the payload of an Ethernet frame comes in; addresses, protocol and the datagram's payload go out.
//! Fragments are recognised and never reassembled; options are stepped over; the header checksum is computed only
//! when asked for.

use super::Error;
use super::checksum::checksum;
use std::net::Ipv4Addr;

/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Bytes of a header without options.
pub const HEADER: usize = 20;

pub(super) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

layout! {
    /// The fixed part of the header, RFC 791 section 3.1.
    be Header, HeaderRepr: 20 {
        /// Version (4) in the high nibble, header length in words of four bytes in the low one.
        0 version_words: u8,
        /// Type of service: DSCP and ECN.
        1 service: u8,
        /// Header and payload, bytes.
        2 total_length: u16,
        /// Identification of the fragments of one datagram.
        4 identification: u16,
        /// Three bits of flags (reserved, don't fragment, more fragments), then the offset in units of eight bytes.
        6 fragment: u16,
        /// Time to live, hops.
        8 ttl: u8,
        /// Protocol of the payload.
        9 protocol: u8,
        /// Checksum of the header.
        10 checksum: u16,
        /// Source address.
        12 src: [u8; 4],
        /// Destination address.
        16 dst: [u8; 4],
    }
}

/// A packet whose header and total length fit the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header<'a>,
    with_options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, header length and total length. Bytes behind the total length are padding and dropped.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Error> {
        let header = Header::prefix(bytes)?;
        let version = header.version_words() >> 4;
        if version != 4 {
            return Err(Error::Version { expected: 4, found: version.into() });
        }
        let header_length = usize::from(header.version_words() & 0xf) * 4;
        if header_length < HEADER {
            return Err(Error::BadLength { least: HEADER as u16, found: header_length as u16 });
        }
        let total = usize::from(header.total_length());
        if total < header_length {
            return Err(Error::BadLength { least: header_length as u16, found: total as u16 });
        }
        let Some(packet) = bytes.get(..total) else {
            return Err(Error::truncated(total, bytes.len()));
        };
        let (with_options, payload) = packet.split_at(header_length);
        Ok(Packet { header, with_options, payload })
    }

    /// The fixed part of the header.
    #[inline]
    pub const fn header(&self) -> Header<'a> {
        self.header
    }

    /// Source address.
    #[inline]
    pub const fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.header.src())
    }

    /// Destination address.
    #[inline]
    pub const fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.header.dst())
    }

    /// Protocol of the payload.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.header.protocol()
    }

    /// Is it part of a larger datagram (more fragments follow, or the offset is not 0)?
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.header.fragment() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Does the header checksum, options included, fit?
    #[inline]
    pub fn checksum_fits(&self) -> bool {
        checksum(self.with_options) == 0
    }

    /// What the header carries, without padding.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A header without options to emit: never fragmented, "don't fragment" set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live, hops.
    pub ttl: u8,
    /// Type of service: DSCP and ECN.
    pub service: u8,
    /// Identification.
    pub identification: u16,
}

impl Repr {
    /// Writes the header of a packet with `payload_length` bytes behind it, checksum filled in, and returns its
    /// length; or `NoRoom`, also for a payload that IPv4 cannot carry.
    #[inline]
    pub fn emit(&self, payload_length: usize, out: &mut [u8]) -> Result<usize, Error> {
        let total = HEADER + payload_length;
        let Ok(total_length) = u16::try_from(total) else {
            return Err(Error::no_room(total, usize::from(u16::MAX)));
        };
        let mut header = HeaderRepr {
            version_words: 0x45,
            service: self.service,
            total_length,
            identification: self.identification,
            fragment: DONT_FRAGMENT,
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: 0,
            src: self.src.octets(),
            dst: self.dst.octets(),
        };
        header.checksum = checksum(&header.to_bytes());
        header.emit(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // 192.168.0.1 → 192.168.0.199, UDP, 115 bytes: the worked example of the checksum in common use, b861.
    const HEADER_BYTES: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];

    fn packet() -> [u8; 120] {
        let mut bytes = [0x5a; 120];
        bytes[..20].copy_from_slice(&HEADER_BYTES);
        bytes
    }

    #[test]
    fn a_header_shows_its_fields() {
        let bytes = packet();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.src(), Ipv4Addr::new(192, 168, 0, 1));
        assert_eq!(packet.dst(), Ipv4Addr::new(192, 168, 0, 199));
        assert_eq!(packet.protocol(), UDP);
        assert_eq!(packet.header().ttl(), 64);
        assert_eq!(packet.payload().len(), 95, "padding is dropped");
        assert!(!packet.is_fragment());
        assert!(packet.checksum_fits());
    }

    #[test]
    fn an_emitted_header_equals_the_worked_example() {
        let repr = Repr {
            src: Ipv4Addr::new(192, 168, 0, 1),
            dst: Ipv4Addr::new(192, 168, 0, 199),
            protocol: UDP,
            ttl: 64,
            service: 0,
            identification: 0,
        };
        let mut out = [0; 20];
        assert_eq!(repr.emit(95, &mut out), Ok(20));
        assert_eq!(out, HEADER_BYTES);
        assert_eq!(repr.emit(95, &mut out[..19]), Err(Error::no_room(20, 19)));
        assert_eq!(repr.emit(65_516, &mut out), Err(Error::no_room(65_536, 65_535)));
    }

    #[test]
    fn one_flipped_bit_breaks_the_checksum() {
        let mut bytes = packet();
        bytes[8] ^= 1;
        assert!(!Packet::parse(&bytes).unwrap().checksum_fits());
    }

    #[test]
    fn fragments_are_recognised_and_dont_fragment_is_none() {
        for (flags, fragment) in [(0x0000u16, false), (0x4000, false), (0x2000, true), (0x0001, true), (0x3fff, true)] {
            let mut bytes = packet();
            bytes[6..8].copy_from_slice(&flags.to_be_bytes());
            assert_eq!(Packet::parse(&bytes).unwrap().is_fragment(), fragment, "{flags:#06x}");
        }
    }

    #[test]
    fn options_are_stepped_over_and_summed() {
        let mut bytes = packet();
        bytes[0] = 0x46;
        bytes[10..12].fill(0);
        bytes[20..24].copy_from_slice(&[1, 1, 1, 0]);
        let sum = checksum(&bytes[..24]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.checksum_fits());
        assert_eq!(packet.payload().len(), 91);
    }

    #[test]
    fn contradictory_lengths_are_refused() {
        let mut bytes = packet();
        bytes[0] = 0x44;
        assert_eq!(Packet::parse(&bytes), Err(Error::BadLength { least: 20, found: 16 }));
        bytes[0] = 0x65;
        assert_eq!(Packet::parse(&bytes), Err(Error::Version { expected: 4, found: 6 }));
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&[0, 19]);
        assert_eq!(Packet::parse(&bytes), Err(Error::BadLength { least: 20, found: 19 }));
        bytes[2..4].copy_from_slice(&[0, 121]);
        assert_eq!(Packet::parse(&bytes), Err(Error::truncated(121, 120)));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = packet();
        for length in 0..115 {
            assert!(matches!(Packet::parse(&bytes[..length]), Err(Error::Truncated { .. })), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..96), four in any::<bool>()) {
            if four && !bytes.is_empty() {
                bytes[0] = 0x40 | (bytes[0] & 0xf);
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload().len() + HEADER <= bytes.len());
                packet.checksum_fits();
            }
        }

        #[test]
        fn what_is_emitted_parses_back(src: u32, dst: u32, protocol: u8, ttl: u8, service: u8, identification: u16, payload in 0usize..64) {
            let repr = Repr { src: src.into(), dst: dst.into(), protocol, ttl, service, identification };
            let mut bytes = [0; 84];
            repr.emit(payload, &mut bytes).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            prop_assert!(packet.checksum_fits());
            prop_assert!(!packet.is_fragment());
            prop_assert_eq!(packet.payload().len(), payload);
            prop_assert_eq!(
                (packet.src(), packet.dst(), packet.protocol(), packet.header().ttl()),
                (repr.src, repr.dst, protocol, ttl)
            );
            prop_assert_eq!((packet.header().service(), packet.header().identification()), (service, identification));
        }
    }
}
