//! The snapshot server, after Nasdaq's GLIMPSE: a client logs in by SoupBinTCP and gets the standing book as ITCH messages,
//! then the sequence number of the feed to go on from, then the end of the session.
//!
//! What it gets: R for each instrument, H where it does not trade, A for each standing order, and `G` with 20 digits. All of
//! it is of one moment, between two messages of the feed.

use super::connection::Connection;
use super::matching::Market;
use super::session::Credentials;
use super::soup::{self, Login};
use crate::market::Side;
use crate::wire::itch50;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Most connections at a time; others are closed as they come.
const CONNECTIONS: usize = 16;

/// See the module's head.
pub struct Snapshots {
    session: [u8; 10],
    credentials: Credentials,
    idle: Duration,
    listener: TcpListener,
    connections: Vec<Connection>,
    served: u64,
    refused: u64,
}

impl Snapshots {
    /// A server that clients reach by a socket in non-blocking mode. A client that is silent for `idle` is gone.
    pub fn new(session: [u8; 10], credentials: Credentials, idle: Duration, listener: TcpListener) -> Snapshots {
        Snapshots { session, credentials, idle, listener, connections: Vec::new(), served: 0, refused: 0 }
    }

    /// Serves whoever has logged in: `market` as it is before the message `next_sequence` of the feed, at `now_ns` since
    /// midnight.
    pub fn serve(&mut self, market: &Market, next_sequence: u64, now_ns: u64, now: Instant) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() < CONNECTIONS {
                self.connections.extend(Connection::tcp(stream, now).ok());
            }
        }
        for connection in &mut self.connections {
            connection.receive(now);
            let packet = if connection.is_closing() { Ok(None) } else { connection.next_packet() };
            match packet {
                Ok(Some((b'L', payload))) => match Login::read(&payload) {
                    Some(login) if self.credentials.admit(&login.user, &login.password) => {
                        self.served += 1;
                        let mut accepted = Vec::new();
                        soup::accept(&mut accepted, self.session, 1);
                        connection.send_raw(&accepted, now);
                        tell(market, next_sequence, now_ns, |message| connection.send(b'S', message, now));
                        connection.send(b'Z', b"", now);
                        connection.close_when_sent();
                    }
                    Some(_) => {
                        self.refused += 1;
                        connection.send(b'J', b"A", now);
                        connection.close_when_sent();
                    }
                    None => connection.close(),
                },
                Ok(Some((b'R', _)) | None) => {}
                Ok(Some(_)) | Err(_) => connection.close(),
            }
            if now.duration_since(connection.heard) >= self.idle {
                connection.close();
            }
            connection.flush();
        }
        self.connections.retain(|connection| !connection.is_closed());
    }

    /// Snapshots told.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Logins refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The listener, and each stream with whether to wait for room in it.
    pub fn sockets(&self) -> (&TcpListener, impl Iterator<Item = (&TcpStream, bool)>) {
        (&self.listener, self.connections.iter().filter_map(Connection::stream))
    }
}

/// The messages of a snapshot, in order.
pub fn tell(market: &Market, next_sequence: u64, now_ns: u64, mut say: impl FnMut(&[u8])) {
    let book = market.book();
    for (_, instrument) in book.instruments() {
        instrument.directory.iter().for_each(|message| say(message));
    }
    for (_, instrument) in book.instruments().filter(|(_, instrument)| !instrument.is_trading()) {
        instrument.action.iter().for_each(|message| say(message));
    }
    for (locate, instrument) in book.instruments() {
        for (order, standing) in book.standing(locate) {
            let add = itch50::AddOrderRepr {
                locate,
                tracking: 0,
                timestamp: now_ns,
                order,
                side: if standing.side == Side::Buy { b'B' } else { b'S' },
                shares: standing.shares,
                stock: instrument.symbol,
                price: standing.price,
            };
            say(&add.to_bytes());
        }
    }
    say(format!("G{next_sequence:020}").as_bytes());
}
