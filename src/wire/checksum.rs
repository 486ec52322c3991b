//! The Internet checksum (RFC 1071): bytes come in by slices, the 16-bit ones' complement goes out.
//! It knows no header; `ipv4` and `udp` say which bytes belong to the sum.

/// A ones' complement sum in progress, built over slices: header, pseudo header and payload need not be adjacent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// An empty sum.
    #[inline]
    pub const fn new() -> Checksum {
        Checksum(0)
    }

    /// The sum with `bytes` added. Only the last slice of a sum may have an odd length: it is padded with a zero byte.
    #[inline]
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Checksum {
        // RFC 1071 section 2: the sum may be taken over wider words in the machine's byte order, and folded and
        // swapped at the end. Two 32-bit halves into a 64-bit sum leave the carries room for 2^32 words.
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = self.0;
        for word in words {
            let word = u64::from_ne_bytes(*word);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        // The rest piece by piece: a copy of variable length would cost more than the sum of a whole header.
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            sum += u64::from(u32::from_ne_bytes(*half));
        }
        match *rest {
            [a] => sum += u64::from(u32::from_ne_bytes([a, 0, 0, 0])),
            [a, b] => sum += u64::from(u32::from_ne_bytes([a, b, 0, 0])),
            [a, b, c] => sum += u64::from(u32::from_ne_bytes([a, b, c, 0])),
            _ => {}
        }
        Checksum(sum)
    }

    /// The value of the checksum field: the complement of the sum, 0 over data that holds its own right checksum.
    #[inline]
    pub const fn finish(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16).to_be()
    }
}

/// The checksum of one slice.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Checksum::new().with(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 1, word by word in the order of the wire.
    fn by_the_rfc(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn nothing_sums_to_zero() {
        assert_eq!(checksum(&[]), 0xffff);
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_the_rfc_says(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            prop_assert_eq!(checksum(&bytes), by_the_rfc(&bytes));
        }

        #[test]
        fn a_sum_over_slices_is_the_sum_over_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
            cut in 0usize..256,
        ) {
            let (head, tail) = bytes.split_at((2 * cut).min(bytes.len() & !1));
            prop_assert_eq!(Checksum::new().with(head).with(tail).finish(), checksum(&bytes));
        }
    }
}
