//! MoldUDP64 1.0: a UDP payload comes in; the session, the sequence number of the first message and the message blocks
//! go out. It tracks no sequence and asks for nothing again by itself.

use super::Error;

/// Bytes of the downstream header.
pub const HEADER: usize = 20;
/// Count that says "end of session".
const END_OF_SESSION: u16 = 0xffff;

layout! {
    /// Downstream packet header; `count` blocks of `{ length: u16, message }` follow.
    be Header, HeaderRepr: 20 {
        /// Session, ASCII.
        0 session: [u8; 10],
        /// Sequence number of the first message; without messages, of the next one.
        10 sequence: u64,
        /// Messages; 0 in a heartbeat, 0xffff at the end of the session.
        18 count: u16,
    }
}

layout! {
    /// Request packet, unicast to a re-request server; the answer is a downstream packet, perhaps with fewer messages.
    be Request, RequestRepr: 20 {
        /// Session, ASCII.
        0 session: [u8; 10],
        /// First wanted sequence number.
        10 sequence: u64,
        /// Wanted messages.
        18 count: u16,
    }
}

/// What a downstream packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It carries messages.
    Messages,
    /// It carries none: the session is alive, `sequence` comes next.
    Heartbeat,
    /// The session is over; `sequence` would have come next.
    EndOfSession,
}

/// A downstream packet with a complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header<'a>,
    blocks: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks that the header is there; the blocks are checked one by one as they are iterated.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Error> {
        let header = Header::prefix(bytes)?;
        Ok(Packet { header, blocks: &bytes[HEADER..] })
    }

    /// Session, ASCII.
    #[inline]
    pub const fn session(&self) -> [u8; 10] {
        self.header.session()
    }

    /// Sequence number of the first message, or of the next one when there is none.
    #[inline]
    pub const fn sequence(&self) -> u64 {
        self.header.sequence()
    }

    /// What it is.
    #[inline]
    pub const fn kind(&self) -> Kind {
        match self.header.count() {
            0 => Kind::Heartbeat,
            END_OF_SESSION => Kind::EndOfSession,
            _ => Kind::Messages,
        }
    }

    /// Messages the header announces: 0 in a heartbeat and at the end of the session.
    #[inline]
    pub const fn count(&self) -> u16 {
        match self.header.count() {
            END_OF_SESSION => 0,
            count => count,
        }
    }

    /// The messages, each without its length. See [`Messages`].
    #[inline]
    pub const fn messages(&self) -> Messages<'a> {
        Messages { blocks: self.blocks, left: self.count() }
    }
}

/// Iterates over the messages of a packet, as many as the header announces. A block that runs past the packet is one
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
            && let Some((message, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        {
            self.blocks = rest;
            return Some(Ok(message));
        }
        self.left = 0;
        let needed = self.blocks.first_chunk().map_or(2, |length| 2 + usize::from(u16::from_be_bytes(*length)));
        Some(Err(Error::truncated(needed, self.blocks.len())))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left > 0), Some(self.left.into()))
    }
}

/// Writes a downstream packet into a buffer, message by message. The buffer's length is the payload limit.
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut [u8],
    header: HeaderRepr,
    length: usize,
}

impl<'a> Builder<'a> {
    /// An empty packet in `out`, or `NoRoom` for its header. `sequence` is that of the first message to come.
    pub fn new(out: &'a mut [u8], session: [u8; 10], sequence: u64) -> Result<Builder<'a>, Error> {
        let header = HeaderRepr { session, sequence, count: 0 };
        header.emit(out)?;
        Ok(Builder { out, header, length: HEADER })
    }

    /// Appends a message, or `NoRoom`: then the packet is as it was.
    pub fn push(&mut self, message: &[u8]) -> Result<(), Error> {
        let end = self.length + 2 + message.len();
        let countable = self.header.count < END_OF_SESSION - 1;
        let (Some(block), Ok(length), true) =
            (self.out.get_mut(self.length..end), u16::try_from(message.len()), countable)
        else {
            return Err(Error::no_room(end, self.out.len()));
        };
        block[..2].copy_from_slice(&length.to_be_bytes());
        block[2..].copy_from_slice(message);
        self.length = end;
        self.header.count += 1;
        Ok(())
    }

    /// Messages so far.
    pub const fn count(&self) -> u16 {
        self.header.count
    }

    /// Bytes so far, header included.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Completes the packet and returns its length. Without a message it is a heartbeat.
    pub fn finish(self) -> usize {
        let header = self.header.to_bytes();
        self.out[..HEADER].copy_from_slice(&header);
        self.length
    }

    /// Completes it as an end-of-session packet, without the messages pushed so far, and returns its length.
    pub fn finish_session(mut self) -> usize {
        self.header.count = END_OF_SESSION;
        self.length = HEADER;
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: [u8; 10] = *b"000010059B";
    const TWO: [u8; 28] = [
        b'0', b'0', b'0', b'0', b'1', b'0', b'0', b'5', b'9', b'B', // session
        0, 0, 0, 0, 0, 0xe1, 0x4a, 0x50, // sequence 14,764,624
        0, 2, // count
        0, 3, b'a', b'b', b'c', // first block
        0, 1, b'd', // second block
    ];

    fn messages(packet: &[u8]) -> Vec<Result<&[u8], Error>> {
        Packet::parse(packet).unwrap().messages().collect()
    }

    #[test]
    fn a_packet_shows_header_and_messages() {
        let packet = Packet::parse(&TWO).unwrap();
        assert_eq!((packet.session(), packet.sequence(), packet.count()), (SESSION, 14_764_624, 2));
        assert_eq!(packet.kind(), Kind::Messages);
        assert_eq!(messages(&TWO), [Ok(&b"abc"[..]), Ok(&b"d"[..])]);
    }

    #[test]
    fn count_0_is_a_heartbeat_and_ffff_the_end() {
        let mut bytes = TWO;
        bytes[18..20].fill(0);
        assert_eq!(Packet::parse(&bytes).unwrap().kind(), Kind::Heartbeat);
        assert_eq!(messages(&bytes), []);
        bytes[18..20].fill(0xff);
        assert_eq!(Packet::parse(&bytes).unwrap().kind(), Kind::EndOfSession);
        assert_eq!(Packet::parse(&bytes).unwrap().count(), 0);
        assert_eq!(messages(&bytes), []);
    }

    #[test]
    fn a_truncated_block_is_one_error_and_the_last_item() {
        for length in 0..HEADER {
            assert_eq!(Packet::parse(&TWO[..length]), Err(Error::truncated(20, length)));
        }
        assert_eq!(messages(&TWO[..20]), [Err(Error::truncated(2, 0))]);
        assert_eq!(messages(&TWO[..24]), [Err(Error::truncated(5, 4))]);
        assert_eq!(messages(&TWO[..26]), [Ok(&b"abc"[..]), Err(Error::truncated(2, 1))]);
        assert_eq!(messages(&TWO[..27]), [Ok(&b"abc"[..]), Err(Error::truncated(3, 2))]);
    }

    #[test]
    fn the_builder_writes_the_literal_packet_up_to_its_limit() {
        let mut out = [0; 28];
        let mut builder = Builder::new(&mut out, SESSION, 14_764_624).unwrap();
        builder.push(b"abc").unwrap();
        assert_eq!(builder.push(b"too long"), Err(Error::no_room(35, 28)));
        builder.push(b"d").unwrap();
        assert_eq!((builder.count(), builder.length()), (2, 28));
        assert_eq!(builder.finish(), 28);
        assert_eq!(out, TWO);
        assert!(matches!(Builder::new(&mut out[..19], SESSION, 1), Err(Error::NoRoom { .. })));
    }

    #[test]
    fn the_builder_ends_a_session_without_messages() {
        let mut out = [0; 28];
        let mut builder = Builder::new(&mut out, SESSION, 9).unwrap();
        builder.push(b"abc").unwrap();
        assert_eq!(builder.finish_session(), HEADER);
        assert_eq!(Packet::parse(&out[..HEADER]).unwrap().kind(), Kind::EndOfSession);
    }

    #[test]
    fn a_request_equals_its_literal_bytes() {
        let repr = RequestRepr { session: SESSION, sequence: 0x1234, count: 5 };
        let bytes = *b"000010059B\0\0\0\0\0\0\x12\x34\0\x05";
        assert_eq!(repr.to_bytes(), bytes);
        assert_eq!(Request::new(&bytes).repr(), repr);
    }

    proptest! {
        #[test]
        fn any_bytes_iterate_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                let items: Vec<_> = packet.messages().collect();
                prop_assert!(items.len() <= usize::from(packet.count()));
                let errors = items.iter().filter(|item| item.is_err()).count();
                prop_assert!(errors <= 1);
                prop_assert!(errors == 1 || items.len() == usize::from(packet.count()));
            }
        }

        #[test]
        fn what_is_built_parses_back(
            session: [u8; 10],
            sequence: u64,
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..40),
        ) {
            let mut out = [0; 1472];
            let mut builder = Builder::new(&mut out, session, sequence).unwrap();
            let fitting = sent.iter().take_while(|message| builder.push(message).is_ok()).count();
            let length = builder.finish();
            let packet = Packet::parse(&out[..length]).unwrap();
            prop_assert_eq!((packet.session(), packet.sequence()), (session, sequence));
            let got: Vec<_> = packet.messages().map(Result::unwrap).collect();
            prop_assert_eq!(got, sent[..fitting].iter().map(|m| &m[..]).collect::<Vec<_>>());
        }
    }
}
