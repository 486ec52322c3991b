//! Ethernet II: a frame comes in; addresses, up to two VLAN tags (802.1Q, QinQ), the ethertype and the payload go out.
//! The frame check sequence is the NIC's affair and never part of the bytes here.

use super::Error;

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Tag protocol of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// Tag protocol of an 802.1ad service tag, the outer one of QinQ.
pub const QINQ: u16 = 0x88a8;
/// Tag protocol of an outer tag before 802.1ad.
pub const QINQ_OLD: u16 = 0x9100;

/// Bytes of an untagged header.
pub const HEADER: usize = 14;
/// Bytes of one tag.
pub const TAG: usize = 4;

layout! {
    /// The addresses and the first type field.
    be Header, HeaderRepr: 14 {
        /// Destination address.
        0 dst: [u8; 6],
        /// Source address.
        6 src: [u8; 6],
        /// Ethertype, or the tag protocol of a tag that follows.
        12 ethertype: u16,
    }
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol: [`VLAN`], [`QINQ`] or [`QINQ_OLD`].
    pub protocol: u16,
    /// Tag control: priority (3 bits), drop eligible (1), VLAN id (12).
    pub control: u16,
}

impl Tag {
    /// An 802.1Q tag of priority 0; only the low 12 bits of `id` are used.
    pub const fn vlan(id: u16) -> Tag {
        Tag { protocol: VLAN, control: id & 0xfff }
    }

    /// The VLAN id, 0–4095.
    pub const fn id(&self) -> u16 {
        self.control & 0xfff
    }
}

/// The tags of a frame, outer first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// None.
    #[default]
    None,
    /// One.
    One(Tag),
    /// Two: QinQ.
    Two(Tag, Tag),
}

impl Tags {
    /// Bytes they take.
    pub const fn length(&self) -> usize {
        match self {
            Tags::None => 0,
            Tags::One(_) => TAG,
            Tags::Two(..) => 2 * TAG,
        }
    }
}

/// A frame whose header and tags are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    header: Header<'a>,
    tags: Tags,
    ethertype: u16,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks a frame. `Truncated`, or `TooManyTags` for a third tag.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, Error> {
        let header = Header::prefix(bytes)?;
        let mut frame = Frame { header, tags: Tags::None, ethertype: header.ethertype(), payload: &bytes[HEADER..] };
        while is_tag(frame.ethertype) {
            let Some((&[c0, c1, e0, e1], payload)) = frame.payload.split_first_chunk::<TAG>() else {
                return Err(Error::truncated(bytes.len() - frame.payload.len() + TAG, bytes.len()));
            };
            let tag = Tag { protocol: frame.ethertype, control: u16::from_be_bytes([c0, c1]) };
            frame.tags = match frame.tags {
                Tags::None => Tags::One(tag),
                Tags::One(outer) => Tags::Two(outer, tag),
                Tags::Two(..) => return Err(Error::TooManyTags),
            };
            frame.ethertype = u16::from_be_bytes([e0, e1]);
            frame.payload = payload;
        }
        Ok(frame)
    }

    /// Destination address.
    #[inline]
    pub const fn dst(&self) -> [u8; 6] {
        self.header.dst()
    }

    /// Source address.
    #[inline]
    pub const fn src(&self) -> [u8; 6] {
        self.header.src()
    }

    /// VLAN tags.
    #[inline]
    pub const fn tags(&self) -> Tags {
        self.tags
    }

    /// Ethertype of the payload, behind the tags. Below 0x0600 it is an 802.3 length.
    #[inline]
    pub const fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Everything behind the header and tags, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header by value, to emit.
    pub const fn repr(&self) -> Repr {
        Repr { dst: self.dst(), src: self.src(), tags: self.tags, ethertype: self.ethertype }
    }
}

/// A header to emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// VLAN tags.
    pub tags: Tags,
    /// Ethertype of the payload.
    pub ethertype: u16,
}

impl Repr {
    /// Bytes of header and tags.
    pub const fn length(&self) -> usize {
        HEADER + self.tags.length()
    }

    /// Writes header and tags at the front of `out` and returns their length, or `NoRoom`.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let length = self.length();
        if out.len() < length {
            return Err(Error::no_room(length, out.len()));
        }
        let mut types = [0; 10];
        let (fill, used) = match self.tags {
            Tags::None => ([self.ethertype, 0, 0, 0, 0], 2),
            Tags::One(tag) => ([tag.protocol, tag.control, self.ethertype, 0, 0], 6),
            Tags::Two(outer, inner) => {
                ([outer.protocol, outer.control, inner.protocol, inner.control, self.ethertype], 10)
            }
        };
        for (bytes, value) in types.as_chunks_mut::<2>().0.iter_mut().zip(fill) {
            *bytes = value.to_be_bytes();
        }
        out[0..6].copy_from_slice(&self.dst);
        out[6..12].copy_from_slice(&self.src);
        out[12..length].copy_from_slice(&types[..used]);
        Ok(length)
    }
}

#[inline]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | QINQ | QINQ_OLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNTAGGED: [u8; 16] = [1, 0, 0x5e, 0x36, 0x0c, 0x6f, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0xaa, 0xbb];
    const DOUBLE: [u8; 23] =
        [1, 0, 0x5e, 0x36, 0x0c, 0x6f, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0x60, 0x0a, 0x81, 0x00, 0x00, 0x8d, 0x08, 0x00, 7];

    #[test]
    fn an_untagged_frame_shows_its_fields() {
        let frame = Frame::parse(&UNTAGGED).unwrap();
        assert_eq!(frame.dst(), [1, 0, 0x5e, 0x36, 0x0c, 0x6f]);
        assert_eq!(frame.src(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(frame.tags(), Tags::None);
        assert_eq!(frame.ethertype(), IPV4);
        assert_eq!(frame.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn two_tags_are_stepped_over() {
        let frame = Frame::parse(&DOUBLE).unwrap();
        let outer = Tag { protocol: QINQ, control: 0x600a };
        assert_eq!(frame.tags(), Tags::Two(outer, Tag::vlan(141)));
        assert_eq!(outer.id(), 10);
        assert_eq!(frame.ethertype(), IPV4);
        assert_eq!(frame.payload(), [7]);
    }

    #[test]
    fn a_third_tag_is_refused() {
        let mut frame = [0; 32];
        frame[12..14].copy_from_slice(&VLAN.to_be_bytes());
        frame[16..18].copy_from_slice(&VLAN.to_be_bytes());
        frame[20..22].copy_from_slice(&VLAN.to_be_bytes());
        assert_eq!(Frame::parse(&frame), Err(Error::TooManyTags));
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..22 {
            assert!(matches!(Frame::parse(&DOUBLE[..length]), Err(Error::Truncated { .. })), "{length}");
        }
        assert!(Frame::parse(&DOUBLE[..22]).is_ok());
    }

    #[test]
    fn emitted_headers_are_the_parsed_ones() {
        for bytes in [&UNTAGGED[..], &DOUBLE[..]] {
            let repr = Frame::parse(bytes).unwrap().repr();
            let mut out = [0; 22];
            let length = repr.emit(&mut out).unwrap();
            assert_eq!(out[..length], bytes[..length]);
            assert_eq!(repr.emit(&mut out[..length - 1]), Err(Error::no_room(length, length - 1)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(frame.repr().length() + frame.payload().len(), bytes.len());
            }
        }
    }
}
