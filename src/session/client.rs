//! The client's end of a session in whatever protocol, one enum over the adapters: bytes of the stream and the time come
//! in; messages to send and what happened go out. Opens nothing, sends nothing.

use super::boe::BoeClient;
use super::fix::FixClient;
use super::live::{Live, LiveOrder};
use super::ouch::{self, Response};
use super::protocol::Protocol;
use super::soup::SoupClient;
use crate::market::Order;
use crate::wire::Error;
use std::ops::RangeInclusive;

/// Longest packet that is taken, FIX apart, which has a limit of its own; no order protocol here has one half as long.
pub const LONGEST: usize = 1024;
/// Room for the longest message that is sent by itself: a login.
pub const LONGEST_SENT: usize = 512;

/// Who logs in. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, space-padded; SoupBinTCP takes six characters. BOE: four of user, then four of session sub-id.
    pub user: [u8; 8],
    /// Password, space-padded.
    pub password: [u8; 10],
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials {{ user: {:?}, password: hidden }}", self.user.escape_ascii().to_string())
    }
}

/// How long silences last, in ticks of the clock that the calls below are given.
#[derive(Clone, Copy, Debug)]
pub struct Silences {
    /// After so long without having sent anything a heartbeat is due (the specifications: 1 s).
    pub ours: u64,
    /// After so long without having received anything the session is lost (typically 15 s).
    pub theirs: u64,
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection.
    Down,
    /// A login is on its way, or what was missed.
    LoggingIn,
    /// Orders may be sent.
    Up,
    /// The server said that the session is over, or refused the login.
    Over,
}

/// What a client of any protocol keeps of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence {
    pub phase: Phase,
    /// When we, and the server, were last heard.
    pub sent_at: u64,
    pub heard_at: u64,
    pub silences: Silences,
}

impl Presence {
    pub fn new(silences: Silences) -> Presence {
        Presence { phase: Phase::Down, sent_at: 0, heard_at: 0, silences }
    }

    /// See [`Client`], here and below.
    pub fn lost(&mut self) {
        if self.phase != Phase::Over {
            self.phase = Phase::Down;
        }
    }

    pub fn again(&mut self) {
        self.phase = Phase::Down;
    }

    pub fn is_dead(&self, now: u64) -> bool {
        let waits = matches!(self.phase, Phase::LoggingIn | Phase::Up);
        waits && now.saturating_sub(self.heard_at) >= self.silences.theirs
    }

    pub fn heartbeat_is_due(&self, now: u64) -> bool {
        self.phase == Phase::Up && now.saturating_sub(self.sent_at) >= self.silences.ours
    }
}

/// What the stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening<'a> {
    /// Logged in.
    Up,
    /// A message about orders.
    Message(&'a [u8]),
    /// The login was refused, with the protocol's code.
    Refused(u8),
    /// The session is over for today.
    Ended,
    /// A heartbeat, a text for a human.
    Nothing,
}

/// Why a stream cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// No packet has this length.
    #[error("a packet of {0} bytes; at least 1 and at most {LONGEST} are expected")]
    Length(usize),
    /// A packet of a type that no server sends, or with a length that is not its type's.
    #[error("a packet of type {0:#04x} that no server sends, or with another type's length")]
    Packet(u8),
    /// Something other than the answer to a login came first.
    #[error("a packet of type {0:#04x} before the login was answered")]
    Early(u8),
    /// The server goes on elsewhere than it has to.
    #[error("sequence {found} where {expected} is expected")]
    Sequence {
        /// What comes next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// These bytes are no message.
    #[error(transparent)]
    Wire(#[from] Error),
}

/// What is known of the messages sent before a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing: the exchange has to be asked.
    Unknown,
    /// All but those with these numbers.
    AllBut {
        /// They were never received.
        lost: RangeInclusive<u32>,
        /// Refusals are not repeated: an order that nobody answered may have been refused.
        refusals_too: bool,
    },
}

/// The client's end.
#[derive(Debug)]
pub enum Client {
    /// OUCH 5.0 in SoupBinTCP packets.
    Soup(SoupClient),
    /// BOE 2.
    Boe(Box<BoeClient>),
    /// FIX 4.2.
    Fix(Box<FixClient>),
}

/// The same call of whichever it is.
macro_rules! each {
    ($client:expr, $it:ident => $call:expr) => {
        match $client {
            Client::Soup($it) => $call,
            Client::Boe($it) => $call,
            Client::Fix($it) => $call,
        }
    };
}

impl Client {
    /// A client that has never logged in. `hz`: rate of the clock; `epoch_ns`: ns since 1970 when it stood at `now`.
    /// Orders will be for instruments `0 .. instruments`.
    pub fn new(
        protocol: &Protocol,
        credentials: Credentials,
        silences: Silences,
        instruments: u32,
        clock: WallClock,
    ) -> Client {
        match protocol {
            Protocol::Ouch50 => Client::Soup(SoupClient::new(credentials, silences)),
            Protocol::Boe20 => Client::Boe(Box::new(BoeClient::new(credentials, silences))),
            Protocol::Fix42(ids) => {
                Client::Fix(Box::new(FixClient::new(*ids, credentials, silences, instruments, clock)))
            }
        }
    }

    /// Where it stands.
    #[inline]
    pub fn phase(&self) -> Phase {
        each!(self, it => it.presence.phase)
    }

    /// There is a connection: the login to send. It asks for what was missed since the last one.
    pub fn login(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        each!(self, it => it.login(now, out))
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        each!(self, it => it.presence.lost())
    }

    /// The server may be asked again, though it had ended the session or refused the login.
    pub fn again(&mut self) {
        each!(self, it => it.presence.again())
    }

    /// The server has been silent for too long.
    pub fn is_dead(&self, now: u64) -> bool {
        each!(self, it => it.presence.is_dead(now))
    }

    /// The heartbeat to send now, if one is due.
    pub fn heartbeat(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        each!(self, it => it.heartbeat(now, out))
    }

    /// The logout to send.
    pub fn logout(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> usize {
        each!(self, it => it.logout(now, out))
    }

    /// The packet at the front of the stream: what it says and how many bytes it took. `None`: it is not whole yet.
    ///
    /// # Errors
    /// [`Broken`]: the connection has to go.
    #[inline]
    pub fn take<'s>(&mut self, stream: &'s [u8], now: u64) -> Result<Option<(Happening<'s>, usize)>, Broken> {
        each!(self, it => it.take(stream, now))
    }

    /// What has to be said to what was taken; to be asked until there is nothing.
    pub fn owed(&mut self, now: u64, out: &mut [u8; LONGEST_SENT]) -> Option<usize> {
        match self {
            Client::Fix(it) => it.owed(now, out),
            Client::Soup(_) | Client::Boe(_) => None,
        }
    }

    /// After [`Happening::Up`]: what became of what was sent before.
    pub fn received(&self) -> Received {
        match self {
            Client::Soup(_) => Received::Unknown,
            Client::Boe(it) => it.received(),
            Client::Fix(it) => it.received(),
        }
    }

    /// Write into an order's message what it gets when it leaves: the next number.
    #[inline]
    pub fn finish(&self, message: &mut [u8]) {
        match self {
            Client::Soup(_) => {}
            Client::Boe(it) => it.finish(message),
            Client::Fix(it) => it.finish(message),
        }
    }

    /// The message of `order` was sent: its number.
    #[inline]
    pub fn sent(&mut self, order: &Order, now: u64) -> u32 {
        match self {
            Client::Soup(it) => {
                it.sent(now);
                0
            }
            Client::Boe(it) => it.sent(now),
            Client::Fix(it) => it.sent(order, now),
        }
    }

    /// The message that cancels all of an order: its bytes and its number. `None` for an id that the protocol cannot say.
    pub fn cancel(
        &mut self,
        id: u64,
        order: &LiveOrder,
        now: u64,
        out: &mut [u8; LONGEST_SENT],
    ) -> Option<(usize, u32)> {
        match self {
            Client::Soup(it) => {
                let packet = ouch::cancel(id)?;
                out[..packet.len()].copy_from_slice(&packet);
                it.sent(now);
                Some((packet.len(), 0))
            }
            Client::Boe(it) => it.cancel(id, now, out),
            Client::Fix(it) => it.cancel(id, order, now, out),
        }
    }

    /// What a message, which arrived at `rx_tsc`, means for the orders of `live`.
    #[inline]
    pub fn response(&self, message: &[u8], rx_tsc: u64, live: &mut Live) -> Response {
        match self {
            Client::Soup(_) => ouch::response(message, rx_tsc, live),
            Client::Boe(_) => super::boe::response(message, rx_tsc, live),
            Client::Fix(_) => super::fix::response(message, rx_tsc, live),
        }
    }
}

/// How a clock's ticks become times of day.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// A tick,
    pub at: u64,
    /// ns since 1970 then,
    pub epoch_ns: u64,
    /// and ticks a second.
    pub hz: f64,
}

impl WallClock {
    /// ns since 1970 at tick `now`.
    pub fn ns(&self, now: u64) -> u64 {
        self.epoch_ns + (now.saturating_sub(self.at) as f64 * 1e9 / self.hz) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: *b"ALICE   ", password: *b"secret    " };
        assert_eq!(format!("{credentials:?}"), "Credentials { user: \"ALICE   \", password: hidden }");
    }
}
