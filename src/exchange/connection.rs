//! A client's connection: bytes that arrived, bytes that have yet to leave, never waiting for either. TCP, or one peer of
//! a UDP socket, whose datagrams hold whole packets.
//!
//! A datagram of a session begins with its number, eight bytes, from 1 on in each direction. One that comes again is dropped;
//! one that is missing ends the connection. Number 0 says to the client that there is no such connection. No packet of an order
//! protocol begins with two zero bytes, so a peer whose first datagram has no number needs no session.

use super::harm::Odds;
use super::soup;
use crate::synth::draw::Draw;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

/// Most bytes that wait to leave: a client that reads more slowly than that is cut off.
const BACKLOG_MAX: usize = 256 << 20;
/// Bytes taken in at a time.
const CHUNK: usize = 1 << 16;

/// One client.
pub struct Connection {
    path: Path,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// The peer may send no more, we may not, or one of us broke the protocol.
    is_closed: bool,
    /// To be closed when `outgoing` is empty.
    is_closing: bool,
    /// When something arrived last, and when something was sent last.
    pub heard: Instant,
    /// See `heard`.
    pub said: Instant,
}

/// What arrived cannot be cut into packets, or says what no client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What the front of a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A message of so many bytes.
    Message(usize),
    /// The beginning of one.
    Incomplete,
    /// Something else.
    Broken,
}

enum Path {
    Tcp(TcpStream),
    Udp(Box<Datagrams>),
}

/// One peer of a UDP socket.
struct Datagrams {
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    /// Of the last datagram heard and the last said; `None` for a peer without a session.
    numbers: Option<[u64; 2]>,
    loss: Odds,
    draw: Draw,
}

impl Datagrams {
    fn send(&mut self, packet: &[u8]) {
        let mut datagram = Vec::new();
        if let Some([_, said]) = &mut self.numbers {
            *said += 1;
            datagram.extend(said.to_be_bytes());
        }
        datagram.extend(packet);
        if !self.loss.strike(&mut self.draw) {
            let _lost = self.socket.send_to(&datagram, self.peer);
        }
    }

    /// What a datagram brings; `None`: one before it is missing.
    fn take<'d>(&mut self, datagram: &'d [u8]) -> Option<&'d [u8]> {
        if self.loss.strike(&mut self.draw) {
            return Some(b"");
        }
        let Some([heard, _]) = &mut self.numbers else { return Some(datagram) };
        match number(datagram)? {
            0 => None,
            number if number <= *heard => Some(b""),
            number if number == *heard + 1 => {
                *heard = number;
                Some(&datagram[8..])
            }
            _ => None,
        }
    }
}

/// The number of a session's datagram; `None` for one that has none.
pub fn number(datagram: &[u8]) -> Option<u64> {
    datagram.first_chunk().map(|number| u64::from_be_bytes(*number)).filter(|number| number >> 48 == 0)
}

/// Tells a peer that it has no connection.
pub fn disown(socket: &UdpSocket, peer: SocketAddr) {
    // If it gets lost, the peer asks again.
    let _ = socket.send_to(&[0; 8], peer);
}

impl Connection {
    /// A TCP connection just accepted.
    ///
    /// # Errors
    /// What the kernel says of its options.
    pub fn tcp(stream: TcpStream, now: Instant) -> std::io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(Path::Tcp(stream), now))
    }

    /// A peer of a UDP socket, with or without a session. `loss` of its datagrams, either way, are lost.
    pub(super) fn udp(
        socket: Arc<UdpSocket>,
        peer: SocketAddr,
        has_session: bool,
        (loss, draw): (Odds, Draw),
        now: Instant,
    ) -> Connection {
        let numbers = has_session.then_some([0; 2]);
        Connection::new(Path::Udp(Box::new(Datagrams { socket, peer, numbers, loss, draw })), now)
    }

    fn new(path: Path, now: Instant) -> Connection {
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Connection { path, incoming, outgoing, is_closed: false, is_closing: false, heard: now, said: now }
    }

    /// The stream to wait for, and whether to wait for room too; `None` for UDP.
    pub fn stream(&self) -> Option<(&TcpStream, bool)> {
        match &self.path {
            Path::Tcp(stream) => Some((stream, !self.outgoing.is_empty())),
            Path::Udp(..) => None,
        }
    }

    /// Whether this is UDP peer `peer`.
    pub fn is_peer(&self, peer: SocketAddr) -> bool {
        matches!(&self.path, Path::Udp(datagrams) if datagrams.peer == peer)
    }

    /// Whether its datagrams need no session.
    pub fn is_bare(&self) -> bool {
        matches!(&self.path, Path::Udp(datagrams) if datagrams.numbers.is_none())
    }

    fn is_udp(&self) -> bool {
        matches!(self.path, Path::Udp(..))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether it is over as soon as everything has left.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Takes in what has arrived by TCP.
    pub fn receive(&mut self, now: Instant) {
        let Path::Tcp(stream) = &mut self.path else { return };
        let mut chunk = [0; CHUNK];
        // What is taken in is parsed before more is, so a fast sender cannot make this grow.
        if self.is_closed || self.incoming.len() > CHUNK {
            return;
        }
        match stream.read(&mut chunk) {
            Ok(0) => self.is_closed = true,
            Ok(count) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                self.heard = now;
            }
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.is_closed = true,
        }
    }

    /// A datagram of this peer has arrived.
    pub fn datagram(&mut self, bytes: &[u8], now: Instant) {
        let Path::Udp(datagrams) = &mut self.path else { return };
        match datagrams.take(bytes) {
            Some([]) => {}
            Some(packet) => {
                self.incoming.extend_from_slice(packet);
                self.heard = now;
            }
            None => self.close(),
        }
    }

    /// The next message, as `cut` finds it. A closed connection is read to its end.
    ///
    /// # Errors
    /// The stream is broken, or a datagram ended inside a message.
    pub fn next(&mut self, cut: impl FnOnce(&[u8]) -> Cut) -> Result<Option<Vec<u8>>, Broken> {
        if self.incoming.is_empty() {
            return Ok(None);
        }
        match cut(&self.incoming) {
            Cut::Message(length) => Ok(Some(self.incoming.drain(..length).collect())),
            Cut::Incomplete if self.is_udp() => Err(Broken),
            Cut::Incomplete => Ok(None),
            Cut::Broken => Err(Broken),
        }
    }

    /// The next SoupBinTCP packet, type and payload.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_packet(&mut self) -> Result<Option<(u8, Vec<u8>)>, Broken> {
        let packet = self.next(soup::length)?;
        Ok(packet.map(|packet| (packet[2], packet[3..].to_vec())))
    }

    /// Sends a packet, now or as soon as there is room.
    pub fn send(&mut self, kind: u8, payload: &[u8], now: Instant) {
        let mut packet = Vec::new();
        soup::put(&mut packet, kind, payload);
        self.send_raw(&packet, now);
    }

    /// Sends bytes that need not be a packet; over UDP in a datagram of their own.
    pub fn send_raw(&mut self, bytes: &[u8], now: Instant) {
        self.outgoing.extend_from_slice(bytes);
        self.said = now;
        if self.is_udp() {
            self.flush();
        }
    }

    /// Hands the kernel what it has room for. Over UDP a datagram that it refuses is lost.
    pub fn flush(&mut self) {
        if self.is_closed {
            self.outgoing.clear();
            return;
        }
        match &mut self.path {
            Path::Udp(datagrams) => {
                if !self.outgoing.is_empty() {
                    datagrams.send(&self.outgoing);
                    self.outgoing.clear();
                }
            }
            Path::Tcp(stream) => {
                let mut sent = 0;
                while sent < self.outgoing.len() {
                    match stream.write(&self.outgoing[sent..]) {
                        Ok(count) if count > 0 => sent += count,
                        Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                        Err(err) if err.kind() == ErrorKind::Interrupted => {}
                        _ => {
                            self.is_closed = true;
                            break;
                        }
                    }
                }
                self.outgoing.drain(..sent);
            }
        }
        if self.outgoing.len() > BACKLOG_MAX || (self.is_closing && self.outgoing.is_empty()) {
            self.close();
        }
    }

    /// Closes when everything has left.
    pub fn close_when_sent(&mut self) {
        self.is_closing = true;
        self.flush();
    }

    /// Closes at once: what has not left never will, what has not been read is forgotten.
    pub fn close(&mut self) {
        let was_closed = std::mem::replace(&mut self.is_closed, true);
        self.incoming.clear();
        self.outgoing.clear();
        match &self.path {
            Path::Tcp(stream) => {
                // It may be gone already.
                let _ = stream.shutdown(Shutdown::Both);
            }
            Path::Udp(datagrams) if datagrams.numbers.is_some() && !was_closed => {
                disown(&datagrams.socket, datagrams.peer);
            }
            Path::Udp(_) => {}
        }
    }

    /// Whether something waits to leave.
    pub fn has_backlog(&self) -> bool {
        !self.is_closed && !self.outgoing.is_empty()
    }
}
