//! The order session: clients connect, log in and send order messages, which come out one by one; responses go in, are
//! numbered and kept, and reach the client now or when it logs in again and asks for them.
//!
//! One stream of responses, one client at a time: a new login takes the place of the old one. A connection that sends
//! what is no SoupBinTCP packet, or is silent for too long, is closed; nothing else comes of it.

use super::batch::Batch;
use super::connection::Connection;
use super::soup::{self, Login};
use serde::Serialize;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most connections at a time; others are closed as they come.
const CONNECTIONS: usize = 64;
/// Longest datagram.
const DATAGRAM: usize = 1 << 16;

/// Who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: [u8; 6],
    password: [u8; 10],
}

impl Credentials {
    /// A user of at most 6 and a password of at most 10 printable characters; `None` when they are not.
    pub fn new(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials { user: soup::field(user)?, password: soup::field(password)? })
    }

    /// Whether these are the ones of a login.
    pub fn admit(&self, login: &Login) -> bool {
        // SoupBinTCP compares user and password without regard to case.
        self.user.eq_ignore_ascii_case(&login.user) && self.password.eq_ignore_ascii_case(&login.password)
    }
}

/// What sessions go by.
#[derive(Clone)]
pub struct SessionConfig {
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
    /// Connections closed because what they sent is no SoupBinTCP or no OUCH.
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
    responses: Batch,
    /// Since when nobody is logged in who was.
    gone: Option<Instant>,
    has_logged_out: bool,
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
        OrderSession {
            config,
            listener,
            udp: udp.map(Arc::new),
            peers: Vec::new(),
            responses: Batch::default(),
            gone: None,
            has_logged_out: false,
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

    /// The next order message. Logins, heartbeats and logouts are dealt with on the way to it.
    pub fn next_order(&mut self, now: Instant) -> Option<Vec<u8>> {
        for at in 0..self.peers.len() {
            loop {
                match self.peers[at].connection.next_packet() {
                    Ok(Some((kind, payload))) => match self.packet(at, kind, payload, now) {
                        Ok(Some(order)) => return Some(order),
                        Ok(None) => {}
                        Err(parting) => {
                            self.part(at, &parting);
                            break;
                        }
                    },
                    Ok(None) => break,
                    Err(_) => {
                        self.part(at, &Parting::Broken);
                        break;
                    }
                }
            }
        }
        None
    }

    /// The order message given last was no OUCH: its sender is cut off.
    pub fn last_order_was_broken(&mut self) {
        if let Some(at) = self.peers.iter().position(|peer| peer.is_logged_in) {
            self.part(at, &Parting::Broken);
        }
    }

    /// Numbers and keeps a response and sends it to the client, if there is one.
    pub fn respond(&mut self, response: &[u8], now: Instant) {
        self.responses.push(response);
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.is_logged_in) {
            peer.connection.send(b'S', response, now);
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
                peer.connection.send(b'H', b"", now);
            }
            peer.connection.flush();
        }
        let was_in = self.is_logged_in();
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

    /// Says that the session is over and closes every connection when that has left.
    pub fn end(&mut self, now: Instant) {
        for peer in &mut self.peers {
            if peer.is_logged_in {
                peer.connection.send(b'Z', b"", now);
            }
            peer.connection.close_when_sent();
        }
    }

    /// Whether a client is logged in.
    pub fn is_logged_in(&self) -> bool {
        self.peers.iter().any(|peer| peer.is_logged_in)
    }

    /// Whether the client that was logged in last has logged out and no other came.
    pub fn has_logged_out(&self) -> bool {
        self.has_logged_out
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
    pub fn responses(&self) -> &Batch {
        &self.responses
    }

    /// What became of logins and connections.
    pub fn counts(&self) -> SessionCounts {
        self.counts
    }

    fn receive_datagrams(&mut self, now: Instant) {
        let Some(socket) = &self.udp else { return };
        let mut bytes = [0; DATAGRAM];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.connection.is_peer(from)) {
                peer.connection.datagram(&bytes[..length], now);
                continue;
            }
            self.counts.connections += 1;
            if self.peers.len() < CONNECTIONS {
                let mut connection = Connection::udp(Arc::clone(socket), from, now);
                connection.datagram(&bytes[..length], now);
                self.peers.push(Peer { connection, is_logged_in: false });
            }
        }
    }

    /// One packet of peer number `at`.
    fn packet(&mut self, at: usize, kind: u8, payload: Vec<u8>, now: Instant) -> Result<Option<Vec<u8>>, Parting> {
        let is_in = self.peers[at].is_logged_in;
        match kind {
            b'L' if !is_in => {
                self.login(at, &Login::read(&payload).ok_or(Parting::Broken)?, now);
                Ok(None)
            }
            // A lab's datagrams may come without a login.
            b'U' if !is_in && self.peers[at].connection.is_udp() => {
                self.admit(at, now);
                Ok(Some(payload))
            }
            b'U' if is_in => Ok(Some(payload)),
            b'R' if payload.is_empty() => Ok(None),
            b'O' if payload.is_empty() => Err(Parting::Logout),
            b'+' => Ok(None),
            _ => Err(Parting::Broken),
        }
    }

    fn login(&mut self, at: usize, login: &Login, now: Instant) {
        let next = self.responses.len() as u64 + 1;
        let wanted = if login.sequence == 0 { next } else { login.sequence };
        let is_ours = login.session == [b' '; 10] || login.session == self.config.session;
        let refusal = match (self.config.credentials.admit(login), is_ours && wanted <= next) {
            (false, _) => Some(b'A'),
            (true, false) => Some(b'S'),
            (true, true) => None,
        };
        let connection = &mut self.peers[at].connection;
        if let Some(reason) = refusal {
            self.counts.logins_refused += 1;
            connection.send(b'J', &[reason], now);
            connection.close_when_sent();
            return;
        }
        let mut accepted = Vec::new();
        soup::accept(&mut accepted, self.config.session, wanted);
        connection.send_raw(&accepted, now);
        for response in (wanted - 1..next - 1).filter_map(|position| self.responses.message(position as usize)) {
            connection.send(b'S', response, now);
        }
        connection.flush();
        self.counts.replayed += next - wanted;
        self.admit(at, now);
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
