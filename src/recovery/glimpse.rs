//! A snapshot as GLIMPSE 5.0 serves it: bytes of a SoupBinTCP stream come in, ITCH messages of what stands and the
//! sequence number that the feed goes on with go out. Opens no socket; holds at most one packet and what follows it.

use super::mold::looks_right;
use crate::wire::soupbin::{self, Frame, ServerPacket};
use crate::wire::{self, moldudp64};

/// Bytes held: a longest packet, and as much again so that reading on need not wait.
const HELD: usize = 2 * (soupbin::HEADER + soupbin::MAX_PAYLOAD);

/// End of snapshot: `G` and the sequence number as 20 digits.
const END: u8 = b'G';

/// What a stream says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The login was accepted.
    LoggedIn,
    /// A message of the snapshot.
    Message(&'a [u8]),
    /// The snapshot is complete; the feed goes on with this message.
    End(u64),
}

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is not SoupBinTCP, or a message in it is none of ITCH 5.0.
    #[error("{0}")]
    Bytes(wire::Error),
    /// The login was refused.
    #[error("the login was refused: {:?}; see the credentials of the snapshot server", char::from(*.0))]
    Refused(u8),
    /// Messages came before the login was accepted, or the login was accepted twice.
    #[error("a login answer expected first and once")]
    Order,
    /// The session ended before the snapshot.
    #[error("the session ended before the snapshot did")]
    Ended,
    /// The end of the snapshot does not say where the feed goes on.
    #[error("a sequence number expected at the end of the snapshot")]
    NoSequence,
}

/// Reads one snapshot.
#[derive(Debug)]
pub struct Reader {
    bytes: Box<[u8]>,
    taken: usize,
    filled: usize,
    logged_in: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { bytes: vec![0; HELD].into_boxed_slice(), taken: 0, filled: 0, logged_in: false }
    }
}

impl Reader {
    /// Where the next bytes of the stream go; never empty after [`next`](Self::next) had nothing.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.taken..self.filled, 0);
        (self.taken, self.filled) = (0, self.filled - self.taken);
        &mut self.bytes[self.filled..]
    }

    /// So many bytes were written there.
    pub fn wrote(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    /// What the stream says next; `None` until more of it has come.
    ///
    /// # Errors
    /// Why it is not to be read on.
    #[allow(clippy::should_implement_trait)] // an event borrows the reader
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Broken> {
        loop {
            let frame = match Frame::parse(&self.bytes[self.taken..self.filled]) {
                Ok(frame) => frame,
                Err(wire::Error::Truncated { .. }) => return Ok(None),
                Err(why) => return Err(Broken::Bytes(why)),
            };
            let (from, length) = (self.taken + soupbin::HEADER, frame.length());
            let packet = ServerPacket::parse(frame).map_err(Broken::Bytes)?;
            match packet {
                ServerPacket::Heartbeat | ServerPacket::Debug(_) => {}
                ServerPacket::Accepted(_) if !self.logged_in => {
                    self.logged_in = true;
                    self.taken += length;
                    return Ok(Some(Event::LoggedIn));
                }
                ServerPacket::Rejected(rejected) => return Err(Broken::Refused(rejected.reason)),
                ServerPacket::EndOfSession => return Err(Broken::Ended),
                ServerPacket::Sequenced(_) | ServerPacket::Unsequenced(_) if self.logged_in => {
                    self.taken += length;
                    let message = &self.bytes[from..from + length - soupbin::HEADER];
                    return event(message).map(Some);
                }
                _ => return Err(Broken::Order),
            }
            self.taken += length;
        }
    }
}

fn event(message: &[u8]) -> Result<Event<'_>, Broken> {
    if let Some((&END, digits)) = message.split_first() {
        let digits = digits.as_array().and_then(soupbin::parse_number);
        return digits.map(Event::End).ok_or(Broken::NoSequence);
    }
    looks_right(message).map_err(Broken::Bytes)?;
    Ok(Event::Message(message))
}

/// Messages of a snapshot gathered into MoldUDP64 packets, which is how parse takes messages.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: [u8; super::ROOM],
    length: usize,
    count: u16,
}

impl Batch {
    pub fn new() -> Self {
        Batch { bytes: [0; super::ROOM], length: moldudp64::HEADER, count: 0 }
    }

    /// Append a message; false when there is no room for it.
    pub fn push(&mut self, message: &[u8]) -> bool {
        let end = self.length + 2 + message.len();
        let Some(block) = self.bytes.get_mut(self.length..end) else { return false };
        // A message that fits the packet fits 16 bits.
        block[..2].copy_from_slice(&(message.len() as u16).to_be_bytes());
        block[2..].copy_from_slice(message);
        (self.length, self.count) = (end, self.count + 1);
        true
    }

    /// The packet, if it has messages: its length in the first bytes, and how many messages.
    pub fn take(&mut self, session: [u8; 10], sequence: u64) -> Option<(&[u8; super::ROOM], u16, u16)> {
        if self.count == 0 {
            return None;
        }
        let header = moldudp64::HeaderRepr { session, sequence, count: self.count }.to_bytes();
        self.bytes[..moldudp64::HEADER].copy_from_slice(&header);
        let (length, count) = (self.length as u16, self.count);
        (self.length, self.count) = (moldudp64::HEADER, 0);
        Some((&self.bytes, length, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCEPTED: &[u8] = b"\0\x1fASESSION001                   1";
    const EVENT: &[u8] = b"\0\x0dSS\0\0\0\0\0\0\0\0\0\0O";
    const DONE: &[u8] = b"\0\x16SG                1001";

    /// All that a stream says, given in pieces of so many bytes.
    fn read(stream: &[u8], piece: usize) -> Result<Vec<String>, Broken> {
        let mut reader = Reader::default();
        let mut said = Vec::new();
        for piece in stream.chunks(piece) {
            let room = reader.room();
            room[..piece.len()].copy_from_slice(piece);
            reader.wrote(piece.len());
            while let Some(event) = reader.next()? {
                said.push(format!("{event:?}"));
            }
        }
        Ok(said)
    }

    #[test]
    fn a_snapshot_is_a_login_messages_and_where_the_feed_goes_on() {
        let stream = [ACCEPTED, b"\0\x01H", EVENT, b"\0\x03+hi", EVENT, DONE].concat();
        let message = format!("{:?}", Event::Message(&EVENT[3..]));
        let all = ["LoggedIn".to_owned(), message.clone(), message, "End(1001)".to_owned()];
        for piece in [1, 2, 7, 1000] {
            assert_eq!(read(&stream, piece).as_deref(), Ok(&all[..]), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_stream_that_is_no_snapshot_is_given_up() {
        assert_eq!(read(b"\0\x02JA", 9), Err(Broken::Refused(b'A')));
        assert_eq!(read(EVENT, 99), Err(Broken::Order));
        assert_eq!(read(&[ACCEPTED, ACCEPTED].concat(), 99), Err(Broken::Order));
        assert_eq!(read(&[ACCEPTED, b"\0\x01Z"].concat(), 99), Err(Broken::Ended));
        assert_eq!(read(&[ACCEPTED, b"\0\x04SGxy"].concat(), 99), Err(Broken::NoSequence));
        assert!(matches!(read(b"\0\0", 9), Err(Broken::Bytes(wire::Error::BadLength { .. }))));
        assert!(matches!(
            read(&[ACCEPTED, b"\0\x03SAB"].concat(), 99),
            Err(Broken::Bytes(wire::Error::WrongLength { .. }))
        ));
    }

    #[test]
    fn a_batch_is_a_packet_of_its_messages() {
        let mut batch = Batch::new();
        assert!(batch.take(*b"0123456789", 7).is_none());
        let many = std::iter::repeat_n(&EVENT[3..], 200).take_while(|message| batch.push(message)).count();
        assert_eq!(many, (super::super::ROOM - 20) / 14);
        let (bytes, length, count) = batch.take(*b"0123456789", 7).unwrap();
        let packet = moldudp64::Packet::parse(&bytes[..usize::from(length)]).unwrap();
        assert_eq!((usize::from(count), packet.sequence()), (many, 7));
        assert!(packet.messages().all(|message| message == Ok(&EVENT[3..])));
        assert!(batch.take(*b"0123456789", 7).is_none());
    }

    proptest! {
        #[test]
        fn any_stream_is_read_or_given_up(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1usize..50,
            accepted: bool,
        ) {
            let stream = if accepted { [ACCEPTED, &bytes].concat() } else { bytes };
            let _ = read(&stream, piece);
        }
    }
}
