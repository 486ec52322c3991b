//! The client's end of a SoupBinTCP session (version 3.00, 2017-02-22), without its connection: bytes of the stream and
//! the time come in; packets to send and what happened go out. Counts sequenced packets, times heartbeats, and knows
//! where to go on after a break. Opens nothing, sends nothing.

use super::client::{Broken, Credentials, Happening, LONGEST, LONGEST_SENT, Phase, Presence, Silences};
use crate::wire::soupbin::{self, ClientPacket, LoginRepr, ServerPacket};

/// The client.
#[derive(Debug)]
pub struct SoupClient {
    credentials: Credentials,
    pub(super) presence: Presence,
    /// As the server calls it; blank before the first login.
    session: [u8; 10],
    /// Of the next sequenced packet; 0 before the first login: whatever comes next.
    next: u64,
}

impl SoupClient {
    /// A client that has never logged in.
    pub fn new(credentials: Credentials, silences: Silences) -> SoupClient {
        SoupClient { credentials, presence: Presence::new(silences), session: [b' '; 10], next: 0 }
    }

    /// Sequence number of the next message; 0 before the first login.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// There is a connection: the login to send. It asks for what was missed since the last one.
    pub fn login(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        let Credentials { user: [user @ .., _, _], password } = self.credentials;
        let login = LoginRepr { user, password, session: self.session, sequence: soupbin::number(self.next) };
        self.presence.phase = Phase::LoggingIn;
        (self.presence.sent_at, self.presence.heard_at) = (now, now);
        emit(ClientPacket::Login(login), out)
    }

    /// Something was sent.
    #[inline]
    pub fn sent(&mut self, now: u64) {
        self.presence.sent_at = now;
    }

    /// The heartbeat to send now, if one is due.
    pub fn heartbeat(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        self.presence.heartbeat_is_due(now).then(|| {
            self.presence.sent_at = now;
            emit(ClientPacket::Heartbeat, out)
        })
    }

    /// The logout to send.
    pub fn logout(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        self.presence.sent_at = now;
        self.presence.phase = Phase::Over;
        emit(ClientPacket::Logout, out)
    }

    /// The packet at the front of the stream: what it says and how many bytes it took. `None`: it is not whole yet.
    ///
    /// # Errors
    /// [`Broken`]: the connection has to go.
    #[inline]
    pub fn take<'s>(&mut self, stream: &'s [u8], now: u64) -> Result<Option<(Happening<'s>, usize)>, Broken> {
        let Some(length) = stream.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) else {
            return Ok(None);
        };
        if !(1..=LONGEST).contains(&length) {
            return Err(Broken::Length(length));
        }
        // Of the two errors that are left, one is a packet that is not whole.
        let Ok(frame) = soupbin::Frame::parse(stream) else { return Ok(None) };
        let kind = frame.kind();
        let packet = ServerPacket::parse(frame).map_err(|_| Broken::Packet(kind))?;
        self.presence.heard_at = now;
        let happening = match packet {
            ServerPacket::Heartbeat | ServerPacket::Debug(_) => Happening::Nothing,
            ServerPacket::EndOfSession => {
                self.presence.phase = Phase::Over;
                Happening::Ended
            }
            ServerPacket::Accepted(accepted) if self.presence.phase == Phase::LoggingIn => {
                let found = soupbin::parse_number(&accepted.sequence).ok_or(Broken::Packet(kind))?;
                let moved = self.session != [b' '; 10] && self.session != accepted.session;
                if self.next != 0 && !moved && found != self.next {
                    return Err(Broken::Sequence { expected: self.next, found });
                }
                self.session = accepted.session;
                self.next = found;
                self.presence.phase = Phase::Up;
                Happening::Up
            }
            ServerPacket::Rejected(rejected) if self.presence.phase == Phase::LoggingIn => {
                self.presence.phase = Phase::Over;
                Happening::Refused(rejected.reason)
            }
            ServerPacket::Sequenced(message) if matches!(self.presence.phase, Phase::Up | Phase::Over) => {
                self.next += 1;
                Happening::Message(message)
            }
            ServerPacket::Unsequenced(_) if self.presence.phase == Phase::Up => Happening::Nothing,
            _ => return Err(Broken::Early(kind)),
        };
        Ok(Some((happening, frame.length())))
    }
}

fn emit(packet: ClientPacket<'_>, out: &mut [u8; LONGEST_SENT]) -> usize {
    // A login is the longest of those that are sent from here, and fits.
    packet.emit(out).expect("a login has room")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> SoupClient {
        let credentials = Credentials { user: *b"ALICE   ", password: *b"secret    " };
        SoupClient::new(credentials, Silences { ours: 100, theirs: 1500 })
    }

    fn server(packets: &[&[u8]]) -> Vec<u8> {
        let whole = packets.iter().flat_map(|p| [&(p.len() as u16).to_be_bytes()[..], p].concat());
        whole.collect()
    }

    fn all(client: &mut SoupClient, mut stream: &[u8], now: u64) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some((happening, length)) = client.take(stream, now).unwrap() {
            seen.push(format!("{happening:?}"));
            stream = &stream[length..];
        }
        seen
    }

    #[test]
    fn a_login_is_laid_out_as_the_specification_says_and_goes_on_after_a_break() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        let n = client.login(0, &mut out);
        assert_eq!(&out[..n], b"\x00\x2fLALICE secret                                 0");
        let stream = server(&[b"ASESSION1                     7", b"Sone", b"H", b"Stwo"]);
        let seen = all(&mut client, &stream, 1);
        assert_eq!(seen, ["Up", "Message([111, 110, 101])", "Nothing", "Message([116, 119, 111])"]);
        client.presence.lost();
        assert_eq!(client.presence.phase, Phase::Down);
        let n = client.login(5, &mut out);
        assert_eq!(&out[..n], b"\x00\x2fLALICE secret    SESSION1                     9");
        let wrong = server(&[b"ASESSION1                     8"]);
        assert_eq!(client.take(&wrong, 6), Err(Broken::Sequence { expected: 9, found: 8 }));
    }

    #[test]
    fn a_packet_in_pieces_waits_for_its_rest() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        let stream = server(&[b"ASESSION1                     1", b"Sabc"]);
        for cut in 0..stream.len() {
            let mut fresh = super::tests::client();
            fresh.login(0, &mut out);
            let mut taken = 0;
            while let Some((_, length)) = fresh.take(&stream[taken..cut], 1).unwrap() {
                taken += length;
            }
            assert!(taken == 0 && cut < 33 || taken == 33, "{cut}");
        }
    }

    #[test]
    fn what_no_server_sends_breaks_the_session() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        assert_eq!(client.take(b"\x00\x00", 1), Err(Broken::Length(0)));
        assert_eq!(client.take(b"\xff\xffS", 1), Err(Broken::Length(65_535)));
        assert_eq!(client.take(b"\x00\x02HH", 1), Err(Broken::Packet(b'H')));
        assert_eq!(client.take(b"\x00\x01?", 1), Err(Broken::Packet(b'?')));
        assert_eq!(client.take(b"\x00\x02Sx", 1), Err(Broken::Early(b'S')));
    }

    #[test]
    fn heartbeats_are_due_after_silence_and_a_silent_server_is_dead() {
        let (mut client, mut out) = (client(), [0; LONGEST_SENT]);
        client.login(0, &mut out);
        assert_eq!(client.heartbeat(500, &mut out), None);
        all(&mut client, &server(&[b"ASESSION1                     1"]), 10);
        assert_eq!(client.heartbeat(99, &mut out), None);
        assert_eq!(client.heartbeat(100, &mut out), Some(3));
        assert_eq!(&out[..3], b"\x00\x01R");
        client.sent(150);
        assert_eq!(client.heartbeat(249, &mut out), None);
        assert!(!client.presence.is_dead(1509) && client.presence.is_dead(1510));
    }
}
