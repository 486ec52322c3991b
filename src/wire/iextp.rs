//! IEX-TP version 1 (IEX Transport Specification 1.25): a UDP payload comes in; channel, session, stream position and
//! the message blocks go out. It tracks no sequence. A and B lines carry the same messages, packed differently perhaps.

use super::Error;

/// Bytes of the header.
pub const HEADER: usize = 40;
/// Transport version this codec decodes.
pub const VERSION: u8 = 1;
/// Message protocol of TOPS.
pub const TOPS: u16 = 0x8003;
/// Message protocol of DEEP 1.0.
pub const DEEP: u16 = 0x8004;
/// Message protocol of DEEP+.
pub const DEEP_PLUS: u16 = 0x8005;

layout! {
    /// Segment header; `count` blocks of `{ length: u16, message }` follow. Little-endian, as all of IEX-TP.
    le Header, HeaderRepr: 40 {
        /// Transport version, 1.
        0 version: u8,
        /// Reserved.
        1 reserved: u8,
        /// Which protocol the messages belong to: [`TOPS`], [`DEEP`] or [`DEEP_PLUS`].
        2 protocol: u16,
        /// Channel: one sequenced stream.
        4 channel: u32,
        /// Session, new each day.
        8 session: u32,
        /// Bytes behind the header.
        12 payload_length: u16,
        /// Messages behind the header; 0 in a heartbeat.
        14 count: u16,
        /// Position of the payload in the stream, bytes.
        16 stream_offset: i64,
        /// Sequence number of the first message; in a heartbeat, of the next one.
        24 sequence: i64,
        /// When the segment was sent, ns since 1970.
        32 send_time: i64,
    }
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It carries messages.
    Messages,
    /// It carries none.
    Heartbeat,
}

/// A segment with a complete header, and as much payload as the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    header: Header<'a>,
    blocks: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Checks header, version and payload length; the blocks are checked one by one as they are iterated.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Segment<'a>, Error> {
        let header = Header::prefix(bytes)?;
        if header.version() != VERSION {
            return Err(Error::Version { expected: VERSION.into(), found: header.version().into() });
        }
        let end = HEADER + usize::from(header.payload_length());
        match bytes.get(HEADER..end) {
            Some(blocks) => Ok(Segment { header, blocks }),
            None => Err(Error::truncated(end, bytes.len())),
        }
    }

    /// The header.
    #[inline]
    pub const fn header(&self) -> Header<'a> {
        self.header
    }

    /// What it is.
    #[inline]
    pub const fn kind(&self) -> Kind {
        match self.header.count() {
            0 => Kind::Heartbeat,
            _ => Kind::Messages,
        }
    }

    /// The messages, each without its length. See [`Messages`].
    #[inline]
    pub const fn messages(&self) -> Messages<'a> {
        Messages { blocks: self.blocks, left: self.header.count() }
    }
}

/// Iterates over the messages of a segment, as many as the header announces. A block that runs past the payload is one
/// `Truncated` error and the last item. A message may be empty. Bytes behind the last block are ignored.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    blocks: &'a [u8],
    left: u16,
}

impl<'a> Messages<'a> {
    /// Messages not yet seen, by the header's count.
    #[inline]
    pub const fn left(&self) -> u16 {
        self.left
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Some((length, rest)) = self.blocks.split_first_chunk()
            && let Some((message, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        {
            self.blocks = rest;
            return Some(Ok(message));
        }
        self.left = 0;
        let needed = self.blocks.first_chunk().map_or(2, |length| 2 + usize::from(u16::from_le_bytes(*length)));
        Some(Err(Error::truncated(needed, self.blocks.len())))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left > 0), Some(self.left.into()))
    }
}

/// Where a segment stands in its stream: what a [`Builder`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Message protocol.
    pub protocol: u16,
    /// Channel.
    pub channel: u32,
    /// Session.
    pub session: u32,
    /// Position of the payload in the stream, bytes.
    pub stream_offset: i64,
    /// Sequence number of the first message to come.
    pub sequence: i64,
    /// ns since 1970.
    pub send_time: i64,
}

/// Writes a segment into a buffer, message by message. The buffer's length is the limit.
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut [u8],
    header: HeaderRepr,
}

impl<'a> Builder<'a> {
    /// An empty segment in `out`, or `NoRoom` for its header.
    pub fn new(out: &'a mut [u8], position: Position) -> Result<Builder<'a>, Error> {
        let Position { protocol, channel, session, stream_offset, sequence, send_time } = position;
        let header = HeaderRepr {
            version: VERSION,
            reserved: 0,
            protocol,
            channel,
            session,
            payload_length: 0,
            count: 0,
            stream_offset,
            sequence,
            send_time,
        };
        header.emit(out)?;
        Ok(Builder { out, header })
    }

    /// Appends a message, or `NoRoom`: then the segment is as it was.
    pub fn push(&mut self, message: &[u8]) -> Result<(), Error> {
        let start = HEADER + usize::from(self.header.payload_length);
        let end = start + 2 + message.len();
        let (Some(block), Ok(length), Ok(payload_length), Some(count)) = (
            self.out.get_mut(start..end),
            u16::try_from(message.len()),
            u16::try_from(end - HEADER),
            self.header.count.checked_add(1),
        ) else {
            return Err(Error::no_room(end, self.out.len()));
        };
        block[..2].copy_from_slice(&length.to_le_bytes());
        block[2..].copy_from_slice(message);
        self.header.payload_length = payload_length;
        self.header.count = count;
        Ok(())
    }

    /// Messages so far.
    pub const fn count(&self) -> u16 {
        self.header.count
    }

    /// Bytes so far, header included.
    pub const fn length(&self) -> usize {
        HEADER + self.header.payload_length as usize
    }

    /// Completes the segment and returns its length. Without a message it is a heartbeat.
    pub fn finish(self) -> usize {
        let header = self.header.to_bytes();
        self.out[..HEADER].copy_from_slice(&header);
        self.length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POSITION: Position = Position {
        protocol: DEEP,
        channel: 1,
        session: 0x48dd_0000,
        stream_offset: 0x0102_0304,
        sequence: 0x5678,
        send_time: 0x165d_e223_026a_32af,
    };

    const TWO: [u8; 48] = [
        1, 0, 0x04, 0x80, // version, reserved, protocol
        1, 0, 0, 0, 0, 0, 0xdd, 0x48, // channel, session
        8, 0, 2, 0, // payload length, count
        4, 3, 2, 1, 0, 0, 0, 0, // stream offset
        0x78, 0x56, 0, 0, 0, 0, 0, 0, // sequence
        0xaf, 0x32, 0x6a, 0x02, 0x23, 0xe2, 0x5d, 0x16, // send time
        3, 0, b'a', b'b', b'c', // first block
        1, 0, b'd', // second block
    ];

    fn messages(bytes: &[u8]) -> Vec<Result<&[u8], Error>> {
        Segment::parse(bytes).unwrap().messages().collect()
    }

    #[test]
    fn a_segment_shows_header_and_messages() {
        let segment = Segment::parse(&TWO).unwrap();
        let header = segment.header();
        assert_eq!((header.version(), header.protocol(), header.channel()), (1, DEEP, 1));
        assert_eq!((header.session(), header.payload_length(), header.count()), (0x48dd_0000, 8, 2));
        assert_eq!((header.stream_offset(), header.sequence()), (0x0102_0304, 0x5678));
        assert_eq!(header.send_time(), 0x165d_e223_026a_32af);
        assert_eq!(segment.kind(), Kind::Messages);
        assert_eq!(messages(&TWO), [Ok(&b"abc"[..]), Ok(&b"d"[..])]);
    }

    #[test]
    fn count_0_is_a_heartbeat() {
        let mut bytes = TWO;
        bytes[12..16].fill(0);
        assert_eq!(Segment::parse(&bytes).unwrap().kind(), Kind::Heartbeat);
        assert_eq!(messages(&bytes), []);
    }

    #[test]
    fn truncation_and_foreign_versions_are_errors() {
        for length in 0..TWO.len() {
            assert!(matches!(Segment::parse(&TWO[..length]), Err(Error::Truncated { .. })), "{length}");
        }
        let mut bytes = TWO;
        bytes[0] = 2;
        assert_eq!(Segment::parse(&bytes), Err(Error::Version { expected: 1, found: 2 }));
    }

    #[test]
    fn a_block_past_the_payload_is_one_error_and_the_last_item() {
        let mut bytes = TWO;
        bytes[12] = 7;
        assert_eq!(messages(&bytes), [Ok(&b"abc"[..]), Err(Error::truncated(3, 2))]);
        bytes[12] = 6;
        assert_eq!(messages(&bytes), [Ok(&b"abc"[..]), Err(Error::truncated(2, 1))]);
    }

    #[test]
    fn the_builder_writes_the_literal_segment_up_to_its_limit() {
        let mut out = [0; 48];
        let mut builder = Builder::new(&mut out, POSITION).unwrap();
        builder.push(b"abc").unwrap();
        assert!(matches!(builder.push(b"too long"), Err(Error::NoRoom { .. })));
        builder.push(b"d").unwrap();
        assert_eq!((builder.count(), builder.length()), (2, 48));
        assert_eq!(builder.finish(), 48);
        assert_eq!(out, TWO);
    }

    proptest! {
        #[test]
        fn any_bytes_iterate_to_an_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..256), short: bool) {
            if short && bytes.len() >= HEADER {
                bytes[0] = VERSION;
                bytes[13] = 0;
            }
            if let Ok(segment) = Segment::parse(&bytes) {
                let items: Vec<_> = segment.messages().collect();
                let errors = items.iter().filter(|item| item.is_err()).count();
                prop_assert!(errors <= 1);
                prop_assert!(errors == 1 || items.len() == usize::from(segment.header().count()));
            }
        }

        #[test]
        fn what_is_built_parses_back(
            channel: u32,
            sequence: i64,
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..40),
        ) {
            let mut out = [0; 1472];
            let mut builder = Builder::new(&mut out, Position { channel, sequence, ..POSITION }).unwrap();
            let fitting = sent.iter().take_while(|message| builder.push(message).is_ok()).count();
            let length = builder.finish();
            let segment = Segment::parse(&out[..length]).unwrap();
            prop_assert_eq!((segment.header().channel(), segment.header().sequence()), (channel, sequence));
            let got: Vec<_> = segment.messages().map(Result::unwrap).collect();
            prop_assert_eq!(got, sent[..fitting].iter().map(|m| &m[..]).collect::<Vec<_>>());
        }
    }
}
