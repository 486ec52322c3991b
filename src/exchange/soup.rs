//! SoupBinTCP 3.00 as its server speaks it: a byte stream is cut into packets, packets are appended to a buffer. Written
//! from the specification's tables and apart from `wire::soupbin`, so that each checks the other.
//!
//! [`Soup`] keeps the session's stream of OUCH responses. A packet is a big-endian length that counts all behind it, a type, a payload. A client that breaks that is cut off.

use super::batch::Batch;
use super::connection::{self, Broken};
use super::orders::{Request, Response};
use super::session::{Credentials, Dialect, Heard};

/// Longest packet that a client of ours has reason to send, length field excluded: anything longer breaks the session.
pub const LONGEST: usize = 1024;

/// What the front of a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A packet.
    Packet {
        /// Its type.
        kind: u8,
        /// What follows the type.
        payload: &'a [u8],
        /// Bytes it took of the stream.
        length: usize,
    },
    /// The beginning of one.
    Incomplete,
    /// A length that no packet has: 0, or more than [`LONGEST`].
    Broken,
}

/// Cuts the packet at the front of a stream.
pub fn cut(stream: &[u8]) -> Cut<'_> {
    let &[high, low, ref rest @ ..] = stream else { return Cut::Incomplete };
    let length = usize::from(high) << 8 | usize::from(low);
    if length == 0 || length > LONGEST {
        return Cut::Broken;
    }
    match rest.get(..length) {
        Some(body) => Cut::Packet { kind: body[0], payload: &body[1..], length: 2 + length },
        None => Cut::Incomplete,
    }
}

/// The same as lengths.
pub fn length(stream: &[u8]) -> connection::Cut {
    match cut(stream) {
        Cut::Packet { length, .. } => connection::Cut::Message(length),
        Cut::Incomplete => connection::Cut::Incomplete,
        Cut::Broken => connection::Cut::Broken,
    }
}

/// Appends a packet. The payload must be shorter than 65,535 bytes, as all of ours are.
pub fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    debug_assert!(payload.len() < usize::from(u16::MAX));
    out.extend((payload.len() as u16 + 1).to_be_bytes());
    out.push(kind);
    out.extend(payload);
}

/// OUCH 5.0 over SoupBinTCP: responses are numbered by position, and a login says from where on it wants them.
pub struct Soup {
    session: [u8; 10],
    responses: Batch,
}

impl Soup {
    /// A stream of no responses.
    pub fn new(session: [u8; 10]) -> Soup {
        Soup { session, responses: Batch::default() }
    }

    fn login(&self, login: &Login, credentials: &Credentials, out: &mut Batch) -> Heard {
        let next = self.responses.len() as u64 + 1;
        let wanted = if login.sequence == 0 { next } else { login.sequence };
        let is_ours = login.session == [b' '; 10] || login.session == self.session;
        let refusal = match (credentials.admit(&login.user, &login.password), is_ours && wanted <= next) {
            (false, _) => Some(b'A'),
            (true, false) => Some(b'S'),
            (true, true) => None,
        };
        if let Some(reason) = refusal {
            out.push(&packet(b'J', &[reason]));
            return Heard::Refused;
        }
        let mut accepted = Vec::new();
        accept(&mut accepted, self.session, wanted);
        out.push(&accepted);
        for response in (wanted - 1..next - 1).filter_map(|position| self.responses.message(position as usize)) {
            out.push(&packet(b'S', response));
        }
        Heard::Admitted { replayed: next - wanted }
    }
}

impl Dialect for Soup {
    fn cut(&self, stream: &[u8]) -> connection::Cut {
        length(stream)
    }

    fn hear(
        &mut self,
        message: &[u8],
        is_in: bool,
        may_order: bool,
        credentials: &Credentials,
        out: &mut Batch,
    ) -> Result<Heard, Broken> {
        let (kind, payload) = (message[2], &message[3..]);
        match kind {
            b'L' if !is_in => Ok(self.login(&Login::read(payload).ok_or(Broken)?, credentials, out)),
            b'U' if may_order => Request::read(payload).map(Heard::Order).map_err(|_| Broken),
            b'R' if payload.is_empty() => Ok(Heard::Nothing),
            b'O' if payload.is_empty() => Ok(Heard::Logout),
            b'+' => Ok(Heard::Nothing),
            _ => Err(Broken),
        }
    }

    fn respond(&mut self, response: &Response, now_ns: u64, out: &mut Batch) {
        let response = response.bytes(now_ns);
        out.push(&packet(b'S', &response));
        self.responses.push(&response);
    }

    fn heartbeat(&mut self, out: &mut Batch) {
        out.push(&packet(b'H', b""));
    }

    fn end(&mut self, out: &mut Batch) {
        out.push(&packet(b'Z', b""));
    }

    fn oversize(&self) -> &'static [u8] {
        b"\xff\xffS"
    }

    fn responses(&self) -> usize {
        self.responses.len()
    }
}

fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    put(&mut packet, kind, payload);
    packet
}

/// A login request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// User, space-padded.
    pub user: [u8; 6],
    /// Password, space-padded.
    pub password: [u8; 10],
    /// Wanted session; blank for the current one.
    pub session: [u8; 10],
    /// Wanted sequence number; 0 for the next message.
    pub sequence: u64,
}

impl Login {
    /// The request that a payload of type `L` holds, or `None`.
    pub fn read(payload: &[u8]) -> Option<Login> {
        if payload.len() != 46 {
            return None;
        }
        let (user, rest) = payload.split_first_chunk()?;
        let (password, rest) = rest.split_first_chunk()?;
        let (session, sequence) = rest.split_first_chunk()?;
        let digits = std::str::from_utf8(sequence.trim_ascii()).ok()?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        let sequence = if digits.is_empty() { 0 } else { digits.parse().ok().filter(|_| is_number)? };
        Some(Login { user: *user, password: *password, session: *session, sequence })
    }
}

/// Appends "login accepted": `sequence` is that of the next sequenced packet.
pub fn accept(out: &mut Vec<u8>, session: [u8; 10], sequence: u64) {
    put(out, b'A', &[&session[..], format!("{sequence:>20}").as_bytes()].concat());
}

/// Text as a field of `N` bytes, padded with spaces; `None` when it is empty, longer, or not printable ASCII.
pub fn field<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut field = [b' '; N];
    let fits = !text.is_empty() && text.len() <= N && text.bytes().all(|b| b.is_ascii_graphic());
    field.get_mut(..text.len()).filter(|_| fits)?.copy_from_slice(text.as_bytes());
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_at_its_lengths() {
        let stream = b"\0\x01R\0\x03UAB\0\x05";
        assert_eq!(cut(stream), Cut::Packet { kind: b'R', payload: b"", length: 3 });
        assert_eq!(cut(&stream[3..]), Cut::Packet { kind: b'U', payload: b"AB", length: 5 });
        assert_eq!(cut(&stream[8..]), Cut::Incomplete);
        assert_eq!(cut(&stream[8..9]), Cut::Incomplete);
        assert_eq!(cut(b"\0\0"), Cut::Broken);
        assert_eq!(cut(b"\x04\x01"), Cut::Broken);
    }

    #[test]
    fn a_login_has_padded_fields_and_a_number_of_twenty_characters() {
        let text = b"USER01PASSWORD  SESSION001                  42";
        let login = Login::read(text).unwrap();
        assert_eq!((&login.user, &login.password), (b"USER01", b"PASSWORD  "));
        assert_eq!((&login.session, login.sequence), (b"SESSION001", 42));
        let blank = [&text[..26], &[b' '; 20]].concat();
        assert_eq!(Login::read(&blank).map(|login| login.sequence), Some(0));
        for wrong in [&b"                 4 2"[..], b"                  +2", b"99999999999999999999"] {
            assert!(Login::read(&[&text[..26], wrong].concat()).is_none());
        }
        assert!(Login::read(&text[..45]).is_none());
    }

    #[test]
    fn packets_are_laid_out_as_the_specification_says() {
        let mut out = Vec::new();
        put(&mut out, b'H', b"");
        put(&mut out, b'S', b"E");
        accept(&mut out, *b"SESSION001", 42);
        assert_eq!(out, b"\0\x01H\0\x02SE\0\x1fASESSION001                  42");
    }

    #[test]
    fn fields_are_printable_and_padded() {
        assert_eq!(field::<6>("ABC"), Some(*b"ABC   "));
        assert_eq!(field::<6>("ABCDEFG"), None);
        assert_eq!(field::<6>("A B"), None);
    }
}
