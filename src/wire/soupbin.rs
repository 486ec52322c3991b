//! SoupBinTCP 3.00 (2017-02-22): bytes of a TCP stream come in; packets of either direction go out.
//! It reassembles nothing, counts no sequence (both sides count `S` packets from 1) and times no heartbeat.
//!
//! A packet is `{ length: u16, type: u8, payload }`, big-endian; the length counts type and payload.

use super::Error;

/// Bytes in front of the payload: length and type.
pub const HEADER: usize = 3;
/// Longest payload a packet can carry.
pub const MAX_PAYLOAD: usize = u16::MAX as usize - 1;

layout! {
    /// Login request, client to server.
    be Login, LoginRepr: 47 = b'L' {
        /// User name, space-padded.
        1 user: [u8; 6],
        /// Password, space-padded.
        7 password: [u8; 10],
        /// Wanted session, blank for the current one.
        17 session: [u8; 10],
        /// Wanted sequence number, see [`number`]; 0 for the next message.
        27 sequence: [u8; 20],
    }
}

layout! {
    /// Login accepted, server to client.
    be Accepted, AcceptedRepr: 31 = b'A' {
        /// Session logged into.
        1 session: [u8; 10],
        /// Sequence number of the next sequenced packet, see [`number`].
        11 sequence: [u8; 20],
    }
}

layout! {
    /// Login rejected, server to client.
    be Rejected, RejectedRepr: 2 = b'J' {
        /// `A` not authorised, `S` session not available.
        1 reason: u8,
    }
}

/// One packet of the stream, direction unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    kind: u8,
    /// Type and payload.
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The packet at the front of a stream. `Truncated` says how many bytes it needs: wait for them. `BadLength` for a
    /// length of 0, which leaves no room for a type: the stream is lost.
    #[inline]
    pub fn parse(stream: &'a [u8]) -> Result<Frame<'a>, Error> {
        let Some((length, rest)) = stream.split_first_chunk() else {
            return Err(Error::truncated(HEADER, stream.len()));
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 {
            return Err(Error::BadLength { least: 1, found: 0 });
        }
        match rest.get(..length) {
            Some(body) => Ok(Frame { kind: body[0], body }),
            None => Err(Error::truncated(2 + length, stream.len())),
        }
    }

    /// Its type byte.
    #[inline]
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// What follows the type.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.body[1..]
    }

    /// Bytes it took of the stream.
    #[inline]
    pub const fn length(&self) -> usize {
        2 + self.body.len()
    }
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPacket<'a> {
    /// `L` login request.
    Login(LoginRepr),
    /// `U` unsequenced data: an order message.
    Unsequenced(&'a [u8]),
    /// `R` heartbeat, when nothing was sent for a second.
    Heartbeat,
    /// `O` logout request.
    Logout,
    /// `+` text for a human.
    Debug(&'a [u8]),
}

impl<'a> ClientPacket<'a> {
    /// The packet of a frame a client sent. `UnknownType`, or `WrongLength` for a packet that has one length only.
    #[inline]
    pub fn parse(frame: Frame<'a>) -> Result<ClientPacket<'a>, Error> {
        match frame.kind {
            b'U' => Ok(ClientPacket::Unsequenced(frame.payload())),
            b'L' => Ok(ClientPacket::Login(Login::new(fixed(frame)?).repr())),
            b'R' => fixed::<1>(frame).map(|_| ClientPacket::Heartbeat),
            b'O' => fixed::<1>(frame).map(|_| ClientPacket::Logout),
            b'+' => Ok(ClientPacket::Debug(frame.payload())),
            unknown => Err(Error::UnknownType(unknown)),
        }
    }

    /// Writes the packet at the front of `out` and returns its length, or `NoRoom`.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        match self {
            ClientPacket::Unsequenced(payload) => emit(b'U', payload, out),
            ClientPacket::Login(login) => emit(b'L', &login.to_bytes()[1..], out),
            ClientPacket::Heartbeat => emit(b'R', &[], out),
            ClientPacket::Logout => emit(b'O', &[], out),
            ClientPacket::Debug(payload) => emit(b'+', payload, out),
        }
    }
}

/// What a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPacket<'a> {
    /// `A` login accepted.
    Accepted(AcceptedRepr),
    /// `J` login rejected.
    Rejected(RejectedRepr),
    /// `S` sequenced data: it takes the next sequence number.
    Sequenced(&'a [u8]),
    /// `U` unsequenced data.
    Unsequenced(&'a [u8]),
    /// `H` heartbeat, when nothing was sent for a second.
    Heartbeat,
    /// `Z` end of session.
    EndOfSession,
    /// `+` text for a human.
    Debug(&'a [u8]),
}

impl<'a> ServerPacket<'a> {
    /// The packet of a frame a server sent. `UnknownType`, or `WrongLength` for a packet that has one length only.
    #[inline]
    pub fn parse(frame: Frame<'a>) -> Result<ServerPacket<'a>, Error> {
        match frame.kind {
            b'S' => Ok(ServerPacket::Sequenced(frame.payload())),
            b'U' => Ok(ServerPacket::Unsequenced(frame.payload())),
            b'H' => fixed::<1>(frame).map(|_| ServerPacket::Heartbeat),
            b'A' => Ok(ServerPacket::Accepted(Accepted::new(fixed(frame)?).repr())),
            b'J' => Ok(ServerPacket::Rejected(Rejected::new(fixed(frame)?).repr())),
            b'Z' => fixed::<1>(frame).map(|_| ServerPacket::EndOfSession),
            b'+' => Ok(ServerPacket::Debug(frame.payload())),
            unknown => Err(Error::UnknownType(unknown)),
        }
    }

    /// Writes the packet at the front of `out` and returns its length, or `NoRoom`.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        match self {
            ServerPacket::Sequenced(payload) => emit(b'S', payload, out),
            ServerPacket::Unsequenced(payload) => emit(b'U', payload, out),
            ServerPacket::Heartbeat => emit(b'H', &[], out),
            ServerPacket::Accepted(accepted) => emit(b'A', &accepted.to_bytes()[1..], out),
            ServerPacket::Rejected(rejected) => emit(b'J', &rejected.to_bytes()[1..], out),
            ServerPacket::EndOfSession => emit(b'Z', &[], out),
            ServerPacket::Debug(payload) => emit(b'+', payload, out),
        }
    }
}

/// Length and type in front of a payload of `payload_length` bytes that is already in place; `None` beyond
/// [`MAX_PAYLOAD`].
#[inline]
pub const fn header(kind: u8, payload_length: usize) -> Option<[u8; HEADER]> {
    if payload_length > MAX_PAYLOAD {
        return None;
    }
    let [l0, l1] = (payload_length as u16 + 1).to_be_bytes();
    Some([l0, l1, kind])
}

/// A number as SoupBinTCP writes it: 20 ASCII digits at most, right-justified, padded with spaces on the left.
pub const fn number(mut value: u64) -> [u8; 20] {
    let mut text = [b' '; 20];
    let mut at = text.len();
    loop {
        // u64::MAX has 20 digits: `at` ends at 0 with the last of them.
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return text;
        }
    }
}

/// The value of a [`number`] field, padded on either side; `None` when it is blank, no number, or beyond 64 bits.
pub fn parse_number(text: &[u8; 20]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.bytes().try_fold(None, |value: Option<u64>, digit| {
        let digit = char::from(digit).to_digit(10)?;
        Some(Some(value.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?))
    })?
}

#[inline]
fn emit(kind: u8, payload: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let length = HEADER + payload.len();
    let room = out.len();
    let (Some(header), Some(out)) = (header(kind, payload.len()), out.get_mut(..length)) else {
        return Err(Error::no_room(length, room));
    };
    out[..HEADER].copy_from_slice(&header);
    out[HEADER..].copy_from_slice(payload);
    Ok(length)
}

/// The body of a packet that has one length only.
fn fixed<const N: usize>(frame: Frame<'_>) -> Result<&[u8; N], Error> {
    frame.body.as_array().ok_or(Error::wrong_length(frame.kind, N, frame.body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOGIN: &[u8] = b"\0\x2fLUSER01PASSWORD  SESSION001                  42";
    const ACCEPTED: &[u8] = b"\0\x1fASESSION001                  42";

    fn client(bytes: &[u8]) -> Result<ClientPacket<'_>, Error> {
        ClientPacket::parse(Frame::parse(bytes)?)
    }

    fn server(bytes: &[u8]) -> Result<ServerPacket<'_>, Error> {
        ServerPacket::parse(Frame::parse(bytes)?)
    }

    #[test]
    fn each_client_packet_equals_its_literal_bytes() {
        let login =
            LoginRepr { user: *b"USER01", password: *b"PASSWORD  ", session: *b"SESSION001", sequence: number(42) };
        for (packet, bytes) in [
            (ClientPacket::Login(login), LOGIN),
            (ClientPacket::Unsequenced(b"X"), b"\0\x02UX"),
            (ClientPacket::Heartbeat, b"\0\x01R"),
            (ClientPacket::Logout, b"\0\x01O"),
            (ClientPacket::Debug(b"hi"), b"\0\x03+hi"),
        ] {
            let mut out = [0; 64];
            let length = packet.emit(&mut out).unwrap();
            assert_eq!(&out[..length], bytes);
            assert_eq!(client(bytes), Ok(packet));
            assert_eq!(packet.emit(&mut out[..length - 1]), Err(Error::no_room(length, length - 1)));
        }
    }

    #[test]
    fn each_server_packet_equals_its_literal_bytes() {
        let accepted = AcceptedRepr { session: *b"SESSION001", sequence: number(42) };
        for (packet, bytes) in [
            (ServerPacket::Accepted(accepted), ACCEPTED),
            (ServerPacket::Rejected(RejectedRepr { reason: b'S' }), b"\0\x02JS"),
            (ServerPacket::Sequenced(b"E"), b"\0\x02SE"),
            (ServerPacket::Unsequenced(b"E"), b"\0\x02UE"),
            (ServerPacket::Heartbeat, b"\0\x01H"),
            (ServerPacket::EndOfSession, b"\0\x01Z"),
            (ServerPacket::Debug(b"hi"), b"\0\x03+hi"),
        ] {
            let mut out = [0; 64];
            let length = packet.emit(&mut out).unwrap();
            assert_eq!(&out[..length], bytes);
            assert_eq!(server(bytes), Ok(packet));
        }
    }

    #[test]
    fn packets_follow_each_other_in_a_stream() {
        let stream = b"\0\x01H\0\x03SAB\0\x02";
        let first = Frame::parse(stream).unwrap();
        assert_eq!((first.kind(), first.payload(), first.length()), (b'H', &b""[..], 3));
        let second = Frame::parse(&stream[3..]).unwrap();
        assert_eq!((second.kind(), second.payload(), second.length()), (b'S', &b"AB"[..], 5));
        assert_eq!(Frame::parse(&stream[8..]), Err(Error::truncated(4, 2)));
    }

    #[test]
    fn incomplete_damaged_and_foreign_packets_are_told_apart() {
        for length in 0..LOGIN.len() {
            assert!(matches!(Frame::parse(&LOGIN[..length]), Err(Error::Truncated { .. })), "{length}");
        }
        assert_eq!(Frame::parse(b"\0\0"), Err(Error::BadLength { least: 1, found: 0 }));
        assert_eq!(client(b"\0\x01L"), Err(Error::wrong_length(b'L', 47, 1)));
        assert_eq!(server(b"\0\x01A"), Err(Error::wrong_length(b'A', 31, 1)));
        assert_eq!(client(b"\0\x02RR"), Err(Error::wrong_length(b'R', 1, 2)));
        assert_eq!(server(b"\0\x02ZZ"), Err(Error::wrong_length(b'Z', 1, 2)));
        assert_eq!(client(b"\0\x01H"), Err(Error::UnknownType(b'H')));
        assert_eq!(server(b"\0\x01R"), Err(Error::UnknownType(b'R')));
    }

    #[test]
    fn numbers_are_padded_text() {
        assert_eq!(&number(0), b"                   0");
        assert_eq!(&number(u64::MAX), b"18446744073709551615");
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_number(b"18446744073709551616"), None);
        assert_eq!(parse_number(b"42                  "), Some(42));
        assert_eq!(parse_number(b"                    "), None);
        assert_eq!(parse_number(b"                 4 2"), None);
        assert_eq!(parse_number(b"                 \xff42"), None);
    }

    #[test]
    fn a_payload_beyond_the_length_field_is_refused() {
        let payload = vec![0; MAX_PAYLOAD + 1];
        let mut out = vec![0; MAX_PAYLOAD + 8];
        assert!(ClientPacket::Unsequenced(&payload).emit(&mut out).is_err());
        assert_eq!(ClientPacket::Unsequenced(&payload[1..]).emit(&mut out), Ok(MAX_PAYLOAD + 3));
        assert_eq!(header(b'U', MAX_PAYLOAD), Some([0xff, 0xff, b'U']));
        assert_eq!(header(b'U', MAX_PAYLOAD + 1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64), length in 0u8..64) {
            let framed = [&[0, length][..], &bytes].concat();
            for bytes in [&bytes, &framed] {
                let _ = (client(bytes), server(bytes));
                if let Ok(frame) = Frame::parse(bytes) {
                    prop_assert_eq!(frame.length(), HEADER + frame.payload().len());
                }
            }
        }

        #[test]
        fn numbers_parse_back(value: u64) {
            prop_assert_eq!(parse_number(&number(value)), Some(value));
        }

        #[test]
        fn data_parses_back(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = [0; 67];
            let length = ClientPacket::Unsequenced(&payload).emit(&mut out).unwrap();
            prop_assert_eq!(client(&out[..length]), Ok(ClientPacket::Unsequenced(&payload)));
            let length = ServerPacket::Sequenced(&payload).emit(&mut out).unwrap();
            prop_assert_eq!(server(&out[..length]), Ok(ServerPacket::Sequenced(&payload)));
        }
    }
}
