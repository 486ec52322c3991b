//! What carries a session: a TCP connection, or numbered datagrams. One call of whichever it is; opens nothing by itself.

use super::datagrams::{self, Datagrams};
use super::tcp::{self, Tcp, TcpConfig};
use super::udp::Endpoint;
use arrayvec::ArrayVec;

/// Settings of a link.
#[derive(Clone, Copy, Debug)]
pub enum LinkConfig {
    /// TCP.
    Tcp(TcpConfig),
    /// A datagram a message, for labs.
    Datagrams {
        /// Our end; each connection takes the next port,
        from: Endpoint,
        /// and after this one the first again.
        last_port: u16,
        /// The server.
        to: Endpoint,
        /// Bytes of the stream that are kept.
        buffer: usize,
    },
}

/// The link. Its calls are those of [`Tcp`] and [`Datagrams`].
#[derive(Debug)]
pub enum Link {
    /// TCP.
    Tcp(Tcp),
    /// Datagrams.
    Datagrams(Datagrams),
}

/// The same call of whichever it is.
macro_rules! each {
    ($link:expr, $it:ident => $call:expr) => {
        match $link {
            Link::Tcp($it) => $call,
            Link::Datagrams($it) => $call,
        }
    };
}

impl Link {
    /// Without a connection.
    pub fn new(config: LinkConfig) -> Link {
        match config {
            LinkConfig::Tcp(config) => Link::Tcp(Tcp::new(config)),
            LinkConfig::Datagrams { from, last_port, to, buffer } => {
                Link::Datagrams(Datagrams::new(from, to, last_port, buffer))
            }
        }
    }

    /// Bytes in front of a message.
    #[inline]
    pub const fn headers(&self) -> usize {
        match self {
            Link::Tcp(_) => tcp::HEADERS,
            Link::Datagrams(_) => datagrams::HEADERS,
        }
    }

    /// Whether frames have to leave in the order in which they were made: nothing else puts them into it.
    #[inline]
    pub const fn keeps_no_order(&self) -> bool {
        matches!(self, Link::Datagrams(_))
    }

    pub fn connect(&mut self) -> bool {
        each!(self, it => it.connect())
    }

    #[inline]
    pub fn is_up(&self) -> bool {
        each!(self, it => it.is_up())
    }

    pub fn is_closed(&self) -> bool {
        each!(self, it => it.is_closed())
    }

    pub fn is_ended(&self) -> bool {
        each!(self, it => it.is_ended())
    }

    /// Whether everything sent has arrived, after a close.
    pub fn is_flushed(&self) -> bool {
        match self {
            Link::Tcp(it) => it.is_flushed(),
            Link::Datagrams(it) => it.is_closed(),
        }
    }

    pub fn close(&mut self) {
        each!(self, it => it.close());
    }

    pub fn abort(&mut self) {
        each!(self, it => it.abort());
    }

    pub fn receive(&mut self, frame: &[u8], now_us: i64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        match self {
            Link::Tcp(it) => it.receive(frame, now_us, emit),
            Link::Datagrams(it) => it.receive(frame, emit),
        }
    }

    pub fn poll(&mut self, now_us: i64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        each!(self, it => it.poll(now_us, emit));
    }

    #[inline]
    pub fn is_behind(&self) -> bool {
        each!(self, it => it.is_behind())
    }

    pub fn send(&mut self, message: &[u8]) -> bool {
        each!(self, it => it.send(message))
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        each!(self, it => it.has_room(bytes))
    }

    #[inline]
    pub fn ahead(&mut self, frame: &mut [u8]) -> bool {
        each!(self, it => it.ahead(frame))
    }

    pub fn read(&mut self, into: &mut [u8]) -> usize {
        each!(self, it => it.read(into))
    }

    /// What was counted, by name.
    pub fn counters(&self) -> ArrayVec<(&'static str, u64), 5> {
        each!(self, it => it.counters().named().into_iter().collect())
    }
}
