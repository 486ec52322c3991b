//! UDP (RFC 768): the payload of an IPv4 packet comes in; ports and the datagram's payload go out.
//! The checksum is computed only when asked for, over the pseudo header of the packet that carried it.

use super::Error;
use super::checksum::Checksum;
use super::ipv4;
use std::net::Ipv4Addr;

/// Bytes of the header.
pub const HEADER: usize = 8;

layout! {
    /// The header.
    be Header, HeaderRepr: 8 {
        /// Source port.
        0 src_port: u16,
        /// Destination port.
        2 dst_port: u16,
        /// Header and payload, bytes.
        4 length: u16,
        /// Checksum over pseudo header, header and payload; 0 when the sender computed none.
        6 checksum: u16,
    }
}

/// What the checksum field says about a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// The sender computed none (the field is 0).
    Absent,
    /// It fits.
    Fits,
    /// It does not fit.
    Wrong,
}

/// A datagram whose length fits the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    header: Header<'a>,
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Checks the length. Bytes behind it are dropped.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Datagram<'a>, Error> {
        let header = Header::prefix(bytes)?;
        let length = usize::from(header.length());
        if length < HEADER {
            return Err(Error::BadLength { least: HEADER as u16, found: length as u16 });
        }
        match bytes.get(..length) {
            Some(bytes) => Ok(Datagram { header, bytes }),
            None => Err(Error::truncated(length, bytes.len())),
        }
    }

    /// Source port.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        self.header.src_port()
    }

    /// Destination port.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        self.header.dst_port()
    }

    /// The checksum against the addresses of the packet that carried the datagram.
    #[inline]
    pub fn checksum(&self, src: Ipv4Addr, dst: Ipv4Addr) -> ChecksumState {
        if self.header.checksum() == 0 {
            return ChecksumState::Absent;
        }
        match pseudo_header(src, dst, self.header.length()).with(self.bytes).finish() {
            0 => ChecksumState::Fits,
            _ => ChecksumState::Wrong,
        }
    }

    /// What the datagram carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }
}

/// A header to emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl Repr {
    /// Writes the header of a datagram with `payload_length` bytes behind it, without a checksum (0), and returns its
    /// length; or `NoRoom`, also for a payload that UDP cannot carry.
    #[inline]
    pub fn emit(&self, payload_length: usize, out: &mut [u8]) -> Result<usize, Error> {
        let total = HEADER + payload_length;
        let Ok(length) = u16::try_from(total) else {
            return Err(Error::no_room(total, usize::from(u16::MAX)));
        };
        HeaderRepr { src_port: self.src_port, dst_port: self.dst_port, length, checksum: 0 }.emit(out)
    }
}

/// Computes and writes the checksum of a whole datagram (header as emitted, and payload). Nothing is written when
/// `datagram` is shorter than a header or longer than UDP can carry.
#[inline]
pub fn fill_checksum(datagram: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) {
    let Ok(length) = u16::try_from(datagram.len()) else { return };
    if datagram.len() < HEADER {
        return;
    }
    datagram[6..8].fill(0);
    let checksum = match pseudo_header(src, dst, length).with(datagram).finish() {
        // RFC 768: a computed 0 is sent as all ones, because 0 says that there is none.
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 768: source, destination, zero and protocol, UDP length.
#[inline]
fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, length: u16) -> Checksum {
    let [l0, l1] = length.to_be_bytes();
    Checksum::new().with(&src.octets()).with(&dst.octets()).with(&[0, ipv4::UDP, l0, l1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    // Words: 0a00 0001 0a00 0002 0011 000b | 1388 1389 000b 4142 4300 sum to bf7d by hand, complement 4082.
    const BYTES: [u8; 11] = [0x13, 0x88, 0x13, 0x89, 0x00, 0x0b, 0x40, 0x82, b'A', b'B', b'C'];

    #[test]
    fn a_datagram_shows_its_fields() {
        let datagram = Datagram::parse(&BYTES).unwrap();
        assert_eq!((datagram.src_port(), datagram.dst_port()), (5000, 5001));
        assert_eq!(datagram.payload(), b"ABC");
        assert_eq!(datagram.checksum(SRC, DST), ChecksumState::Fits);
        assert_eq!(datagram.checksum(SRC, SRC), ChecksumState::Wrong);
    }

    #[test]
    fn an_emitted_datagram_equals_the_literal_one() {
        let mut out = [0; 11];
        assert_eq!(Repr { src_port: 5000, dst_port: 5001 }.emit(3, &mut out), Ok(8));
        out[8..].copy_from_slice(b"ABC");
        assert_eq!(Datagram::parse(&out).unwrap().checksum(SRC, DST), ChecksumState::Absent);
        fill_checksum(&mut out, SRC, DST);
        assert_eq!(out, BYTES);
    }

    #[test]
    fn a_computed_zero_is_sent_as_all_ones() {
        // The payload is chosen so that everything sums to ffff: the checksum before plus the field.
        let mut out = [0; 10];
        Repr { src_port: 0, dst_port: 0 }.emit(2, &mut out).unwrap();
        fill_checksum(&mut out, SRC, DST);
        let sum = [out[6], out[7]];
        out[8..10].copy_from_slice(&sum);
        fill_checksum(&mut out, SRC, DST);
        assert_eq!(out[6..8], [0xff, 0xff]);
        assert_eq!(Datagram::parse(&out).unwrap().checksum(SRC, DST), ChecksumState::Fits);
    }

    #[test]
    fn contradictory_lengths_are_refused() {
        let mut bytes = BYTES;
        bytes[5] = 7;
        assert_eq!(Datagram::parse(&bytes), Err(Error::BadLength { least: 8, found: 7 }));
        for length in 0..BYTES.len() {
            assert!(matches!(Datagram::parse(&BYTES[..length]), Err(Error::Truncated { .. })), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(datagram) = Datagram::parse(&bytes) {
                prop_assert!(datagram.payload().len() + HEADER <= bytes.len());
                datagram.checksum(SRC, DST);
            }
        }

        #[test]
        fn what_is_emitted_parses_back(src_port: u16, dst_port: u16, src: u32, dst: u32, payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = vec![0; HEADER + payload.len()];
            Repr { src_port, dst_port }.emit(payload.len(), &mut bytes).unwrap();
            bytes[HEADER..].copy_from_slice(&payload);
            fill_checksum(&mut bytes, src.into(), dst.into());
            let datagram = Datagram::parse(&bytes).unwrap();
            prop_assert_eq!((datagram.src_port(), datagram.dst_port(), datagram.payload()), (src_port, dst_port, &payload[..]));
            prop_assert_eq!(datagram.checksum(src.into(), dst.into()), ChecksumState::Fits);
        }
    }
}
