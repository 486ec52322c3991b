//! The order session: clients connect, log in and send order messages, which come out one by one; responses go in, are
//! numbered and kept, and reach the client now or when it logs in again and asks for them.
//!
//! One stream of responses, one client at a time: a new login takes the place of the old one. A connection that sends
//! what is no message of the protocol, or is silent for too long, is closed; nothing else comes of it. What a protocol
//! does of that, its [`Dialect`] does: framing, logins, numbers, what is said again.

use super::batch::Batch;
use super::boe::Boe;
use super::connection::{self, Broken, Connection, Cut};
use super::fix::Fix;
use super::harm::Odds;
use super::orders::{Request, Response};
use super::soup::{self, Soup};
use crate::synth::draw::Draw;
use serde::Serialize;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most connections at a time; others are closed as they come.
const CONNECTIONS: usize = 64;
/// Longest datagram.
const DATAGRAM: usize = 1 << 16;
/// First stream of draws of lost datagrams; each connection has one.
const DRAWS: u64 = 1 << 33;

/// What order entry speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "dpdk", derive(clap::ValueEnum))]
pub enum Protocol {
    /// OUCH 5.0 over SoupBinTCP.
    #[default]
    Ouch50,
    /// BOE 2.
    Boe20,
    /// FIX 4.2.
    Fix42,
}

/// What a message of a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing to anybody else.
    Nothing,
    /// A request for the market.
    Order(Request),
    /// The client is logged in, and was told so many responses again.
    Admitted {
        /// How many.
        replayed: u64,
    },
    /// So many responses were told again.
    Replayed(u64),
    /// The login was refused.
    Refused,
    /// The client goes.
    Logout,
}

/// One protocol at the exchange's end: framing, logins, numbers, responses kept to be said again. `out` takes what is to be
/// sent, a message each.
pub trait Dialect: Send {
    /// Cuts the message at the front of a stream.
    fn cut(&self, stream: &[u8]) -> Cut;

    /// What a whole message means. `is_in`: from the client that is logged in, whose numbers count; `may_order`: from it, or
    /// from one that needs no login.
    ///
    /// # Errors
    /// It is no message of the protocol, or none that may come now.
    fn hear(
        &mut self,
        message: &[u8],
        is_in: bool,
        may_order: bool,
        credentials: &Credentials,
        out: &mut Batch,
    ) -> Result<Heard, Broken>;

    /// Numbers and keeps a response of `now_ns` since midnight.
    fn respond(&mut self, response: &Response, now_ns: u64, out: &mut Batch);

    /// The market has ignored a request.
    fn ignored(&mut self, _request: &Request, _now_ns: u64, _out: &mut Batch) {}

    /// A heartbeat.
    fn heartbeat(&mut self, out: &mut Batch);

    /// The session is over.
    fn end(&mut self, out: &mut Batch);

    /// The beginning of a message that is longer than any.
    fn oversize(&self) -> &'static [u8];

    /// Responses so far.
    fn responses(&self) -> usize;
}

/// Who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: [u8; 8],
    password: [u8; 10],
}

impl Credentials {
    /// A user of at most 8 and a password of at most 10 printable characters; `None` when they are not.
    pub fn new(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials { user: soup::field(user)?, password: soup::field(password)? })
    }

    /// Whether these are the ones of a login, padded or not.
    pub fn admit(&self, user: &[u8], password: &[u8]) -> bool {
        // SoupBinTCP compares user and password without regard to case.
        let same = |ours: &[u8], theirs: &[u8]| ours.trim_ascii_end().eq_ignore_ascii_case(theirs.trim_ascii_end());
        same(&self.user, user) && same(&self.password, password)
    }
}

/// What sessions go by.
#[derive(Clone)]
pub struct SessionConfig {
    /// What is spoken.
    pub protocol: Protocol,
    /// Name of the session, ASCII.
    pub session: [u8; 10],
    /// Who may log in.
    pub credentials: Credentials,
    /// A heartbeat is sent after this time without a packet.
    pub heartbeat: Duration,
    /// A client that is silent for this long is gone.
    pub idle: Duration,
    /// How long after a client is gone its orders are cancelled; `None`: they stand.
    pub cancel_after: Option<Duration>,
    /// Datagrams of order entry that are lost, either way, and the seed of those draws.
    pub udp_loss: (Odds, u64),
}

/// What became of logins and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionCounts {
    /// Connections accepted.
    pub connections: u64,
    /// Logins accepted.
    pub logins: u64,
    /// Logins refused.
    pub logins_refused: u64,
    /// Responses sent again after a login.
    pub replayed: u64,
    /// Logouts.
    pub logouts: u64,
    /// Clients gone without a logout.
    pub disconnects: u64,
    /// Connections closed because what they sent is no message of the protocol.
    pub broken: u64,
    /// Connections closed because they were silent.
    pub timeouts: u64,
    /// Clients whose place another login took.
    pub taken_over: u64,
    /// Connections closed on request of the command line.
    pub cut_off: u64,
}

/// See the module's head.
pub struct OrderSession {
    config: SessionConfig,
    listener: TcpListener,
    udp: Option<Arc<UdpSocket>>,
    peers: Vec<Peer>,
    dialect: Box<dyn Dialect>,
    /// Since when nobody is logged in who was.
    gone: Option<Instant>,
    has_logged_out: bool,
    /// When somebody was logged in last.
    last_in: Option<Instant>,
    counts: SessionCounts,
}

struct Peer {
    connection: Connection,
    is_logged_in: bool,
}

/// Why a peer is let go.
enum Parting {
    Broken,
    Logout,
}

impl OrderSession {
    /// A session that clients reach by these sockets, both in non-blocking mode.
    pub fn new(config: SessionConfig, listener: TcpListener, udp: Option<UdpSocket>) -> OrderSession {
        let dialect: Box<dyn Dialect> = match config.protocol {
            Protocol::Ouch50 => Box::new(Soup::new(config.session)),
            Protocol::Boe20 => Box::<Boe>::default(),
            Protocol::Fix42 => Box::<Fix>::default(),
        };
        OrderSession {
            dialect,
            config,
            listener,
            udp: udp.map(Arc::new),
            peers: Vec::new(),
            gone: None,
            has_logged_out: false,
            last_in: None,
            counts: SessionCounts::default(),
        }
    }

    /// Takes in new connections and what has arrived.
    pub fn receive(&mut self, now: Instant) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.counts.connections += 1;
            if self.peers.len() < CONNECTIONS {
                let connection = Connection::tcp(stream, now).ok();
                self.peers.extend(connection.map(|connection| Peer { connection, is_logged_in: false }));
            }
        }
        self.receive_datagrams(now);
        for peer in &mut self.peers {
            peer.connection.receive(now);
        }
    }

    /// The next request. Logins, heartbeats and logouts are dealt with on the way to it.
    pub fn next_order(&mut self, now: Instant) -> Option<Request> {
        for at in 0..self.peers.len() {
            loop {
                let OrderSession { peers, dialect, .. } = self;
                let heard = match peers[at].connection.next(|stream| dialect.cut(stream)) {
                    Ok(None) => break,
                    Ok(Some(message)) => self.hear(at, &message, now),
                    Err(_) => Err(Parting::Broken),
                };
                match heard {
                    Ok(Some(request)) => return Some(request),
                    Ok(None) => {}
                    Err(parting) => {
                        self.part(at, &parting);
                        break;
                    }
                }
            }
        }
        None
    }

    /// Numbers and keeps a response and sends it to the client, if there is one.
    pub fn respond(&mut self, response: &Response, now_ns: u64, now: Instant) {
        self.say(now, |dialect, out| dialect.respond(response, now_ns, out));
    }

    /// The market has ignored a request: the client is told, if its protocol has words for it.
    pub fn ignored(&mut self, request: &Request, now_ns: u64, now: Instant) {
        self.say(now, |dialect, out| dialect.ignored(request, now_ns, out));
    }

    fn say(&mut self, now: Instant, what: impl FnOnce(&mut dyn Dialect, &mut Batch)) {
        let mut out = Batch::default();
        what(&mut *self.dialect, &mut out);
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.is_logged_in) {
            out.iter().for_each(|message| peer.connection.send_raw(message, now));
        }
    }

    /// Sends what waits, heartbeats where they are due, and lets go of those who are gone.
    pub fn tick(&mut self, now: Instant) {
        for peer in &mut self.peers {
            if now.duration_since(peer.connection.heard) >= self.config.idle {
                self.counts.timeouts += 1;
                peer.connection.close();
            }
            if peer.is_logged_in && now.duration_since(peer.connection.said) >= self.config.heartbeat {
                let mut out = Batch::default();
                self.dialect.heartbeat(&mut out);
                out.iter().for_each(|message| peer.connection.send_raw(message, now));
            }
            peer.connection.flush();
        }
        let was_in = self.is_logged_in();
        if was_in {
            self.last_in = Some(now);
        }
        self.counts.disconnects +=
            self.peers.iter().filter(|peer| peer.is_logged_in && peer.connection.is_closed()).count() as u64;
        self.peers.retain(|peer| !peer.connection.is_closed());
        if was_in && !self.is_logged_in() {
            self.gone = Some(now);
        }
    }

    /// Whether the time has come to cancel the orders of a client that is gone; true once each time.
    pub fn is_cancel_due(&mut self, now: Instant) -> bool {
        let is_due = self.has_been_gone_for_long(now);
        if is_due {
            self.gone = None;
        }
        is_due
    }

    /// When [`tick`](Self::tick) has something to do next, unless something arrives before.
    pub fn due(&self, now: Instant) -> Instant {
        let beats = self.peers.iter().map(|peer| {
            let idle = peer.connection.heard + self.config.idle;
            if peer.is_logged_in { idle.min(peer.connection.said + self.config.heartbeat) } else { idle }
        });
        let cancel = self.gone.zip(self.config.cancel_after).map(|(since, after)| since + after);
        beats.chain(cancel).min().unwrap_or(now + self.config.heartbeat)
    }

    /// Breaks the client's connection off: what has not left is not delivered.
    pub fn cut_off(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.is_logged_in) {
            self.counts.cut_off += 1;
            peer.connection.close();
        }
    }

    /// Sends the client bytes as they are.
    pub fn blurt(&mut self, bytes: &[u8], now: Instant) {
        for peer in self.peers.iter_mut().filter(|peer| peer.is_logged_in) {
            peer.connection.send_raw(bytes, now);
        }
    }

    /// Sends the client the beginning of a message that is longer than any.
    pub fn blurt_oversize(&mut self, now: Instant) {
        self.blurt(self.dialect.oversize(), now);
    }

    /// Says that the session is over and closes every connection when that has left.
    pub fn end(&mut self, now: Instant) {
        self.say(now, |dialect, out| dialect.end(out));
        for peer in &mut self.peers {
            peer.connection.close_when_sent();
        }
    }

    /// Whether a client is logged in.
    pub fn is_logged_in(&self) -> bool {
        self.peers.iter().any(|peer| peer.is_logged_in)
    }

    /// Whether the client that was logged in last has logged out, or is gone for as long as it might be silent, and no other
    /// came.
    pub fn has_left(&self, now: Instant) -> bool {
        self.has_logged_out || self.last_in.is_some_and(|at| now.duration_since(at) >= self.config.idle)
    }

    /// Whether something waits to leave.
    pub fn has_backlog(&self) -> bool {
        self.peers.iter().any(|peer| peer.connection.has_backlog())
    }

    /// The listener, the UDP socket, and each stream with whether to wait for room in it.
    pub fn sockets(&self) -> (&TcpListener, Option<&UdpSocket>, impl Iterator<Item = (&std::net::TcpStream, bool)>) {
        (&self.listener, self.udp.as_deref(), self.peers.iter().filter_map(|peer| peer.connection.stream()))
    }

    /// Responses so far.
    pub fn responses(&self) -> u64 {
        self.dialect.responses() as u64
    }

    /// What became of logins and connections.
    pub fn counts(&self) -> SessionCounts {
        self.counts
    }

    fn receive_datagrams(&mut self, now: Instant) {
        let Some(socket) = &self.udp else { return };
        let mut bytes = [0; DATAGRAM];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let mut open = self.peers.iter_mut().map(|peer| &mut peer.connection).filter(|it| !it.is_closed());
            if let Some(connection) = open.find(|connection| connection.is_peer(from)) {
                connection.datagram(&bytes[..length], now);
                continue;
            }
            let number = connection::number(&bytes[..length]);
            if number.is_some_and(|number| number != 1) {
                connection::disown(socket, from);
                continue;
            }
            self.counts.connections += 1;
            if self.peers.len() < CONNECTIONS {
                let (loss, seed) = self.config.udp_loss;
                let harm = (loss, Draw::new(seed, DRAWS + self.counts.connections));
                let mut connection = Connection::udp(Arc::clone(socket), from, number.is_some(), harm, now);
                connection.datagram(&bytes[..length], now);
                self.peers.push(Peer { connection, is_logged_in: false });
            }
        }
    }

    /// One message of peer number `at`.
    fn hear(&mut self, at: usize, message: &[u8], now: Instant) -> Result<Option<Request>, Parting> {
        let Peer { connection, is_logged_in } = &mut self.peers[at];
        let (is_in, is_bare) = (*is_logged_in, connection.is_bare());
        let mut out = Batch::default();
        // Without a session datagrams come without a login, and some of them not at all: their numbers and names bind nobody.
        let heard = self.dialect.hear(message, is_in && !is_bare, is_in || is_bare, &self.config.credentials, &mut out);
        out.iter().for_each(|message| connection.send_raw(message, now));
        match heard.map_err(|_| Parting::Broken)? {
            Heard::Nothing => {}
            Heard::Order(request) => {
                if !is_in {
                    self.admit(at, now);
                }
                return Ok(Some(request));
            }
            Heard::Admitted { replayed } => {
                connection.flush();
                self.counts.replayed += replayed;
                self.admit(at, now);
            }
            Heard::Replayed(responses) => self.counts.replayed += responses,
            Heard::Refused => {
                self.counts.logins_refused += 1;
                connection.close_when_sent();
            }
            Heard::Logout => return Err(Parting::Logout),
        }
        Ok(None)
    }

    /// Peer number `at` is logged in from now on, and no other.
    fn admit(&mut self, at: usize, now: Instant) {
        for (_, other) in self.peers.iter_mut().enumerate().filter(|(i, peer)| *i != at && peer.is_logged_in) {
            other.is_logged_in = false;
            if other.connection.is_closed() {
                // It broke off before this login, only nobody has looked since.
                self.counts.disconnects += 1;
                self.gone = Some(now);
            } else {
                self.counts.taken_over += 1;
                other.connection.close();
            }
        }
        self.peers[at].is_logged_in = true;
        self.counts.logins += 1;
        self.has_logged_out = false;
        if !self.has_been_gone_for_long(now) {
            self.gone = None;
        }
    }

    /// Whether nobody was logged in for as long as orders stand without a client.
    fn has_been_gone_for_long(&self, now: Instant) -> bool {
        let since = self.gone.zip(self.config.cancel_after);
        since.is_some_and(|(since, after)| now.duration_since(since) >= after)
    }

    fn part(&mut self, at: usize, why: &Parting) {
        let peer = &mut self.peers[at];
        match why {
            Parting::Broken => {
                self.counts.broken += 1;
                peer.connection.close();
            }
            Parting::Logout => {
                self.counts.logouts += 1;
                if peer.is_logged_in {
                    self.has_logged_out = true;
                    peer.is_logged_in = false;
                    self.gone = Some(peer.connection.heard);
                }
                peer.connection.close_when_sent();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_taken_without_a_login_whatever_their_numbers() {
        let boe = [&b"\xba\xba\x1d\0\x39\0\x01\0\0\0"[..], b"7", &[0; 20]].concat();
        let fix = b"8=FIX.4.2\x019=32\x0135=F\x0134=1\x0149=A\x0156=B\x0111=7C1\x0141=7\x0110=185\x01".to_vec();
        for (protocol, message) in [(Protocol::Boe20, boe), (Protocol::Fix42, fix)] {
            let config = SessionConfig {
                protocol,
                session: *b"SESSION1  ",
                credentials: Credentials::new("ALICE", "secret").unwrap(),
                heartbeat: Duration::from_secs(1),
                idle: Duration::from_secs(15),
                cancel_after: None,
                udp_loss: (Odds::NEVER, 0),
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let [udp, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            listener.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            let (address, now) = (udp.local_addr().unwrap(), Instant::now());
            let mut session = OrderSession::new(config, listener, Some(udp));
            for _ in 0..3 {
                client.send_to(&message, address).unwrap();
                let heard = (0..1_000_000).find_map(|_| {
                    session.receive(now);
                    session.next_order(now)
                });
                assert_eq!(heard, Some(Request::Cancel { urn: 7, qty: 0 }), "{protocol:?}");
            }
            assert_eq!((session.counts().logins, session.counts().broken), (1, 0), "{protocol:?}");
        }
    }
}
