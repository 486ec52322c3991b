//! An exchange to trade against: a market's ITCH 5.0 feed over MoldUDP64 on two lines, a re-request server, a snapshot server
//! and order entry by OUCH 5.0 over SoupBinTCP, BOE 2 or FIX 4.2, on ordinary kernel sockets, with misbehaviour on request.
//!
//! A [`Config`] goes in, [`Exchange::bind`] takes the sockets and says where they are, [`Exchange::run`] trades until it is
//! told to stop or the day is over, and a [`Report`] comes out. One thread serves everything: it waits for whichever
//! socket or time comes first and never for one client. It knows nothing of EAL, and of our own codecs it uses those of
//! the feed alone: what it hears from a client is parsed here, apart from the code that wrote it.
//!
//! Reading order: [`source`] (what the market says), [`matching`] (what becomes of it and of orders), [`book`], [`feed`],
//! [`session`] with [`orders`] and [`soup`], or [`boe`], or [`fix`] ([`blotter`]), [`rerequest`] with [`mold`], [`snapshot`], [`harm`], [`summary`].

pub mod batch;
pub mod blotter;
pub mod boe;
pub mod book;
pub mod clock;
pub mod connection;
pub mod feed;
pub mod fix;
pub mod harm;
pub mod matching;
pub mod mold;
pub mod orders;
pub mod rerequest;
pub mod session;
pub mod snapshot;
pub mod soup;
pub mod source;
pub mod summary;
#[cfg(test)]
mod tests;

pub use harm::{LineHarm, Odds, OrderHarm, RerequestLies, Silence};
pub use session::{Credentials, Protocol};
pub use summary::{OrderLine, Report, Summary};

use crate::port::capture::{CaptureError, Speed};
use crate::synth;
use crate::synth::draw::Draw;
use crate::sys::poll::Interests;
use batch::Batch;
use clock::SessionClock;
use feed::{Feed, Line, line_socket};
use harm::Blow;
use matching::{Market, Output};
use orders::{Response, cancel};
use rerequest::Rerequests;
use serde::Serialize;
use session::{OrderSession, SessionConfig};
use snapshot::Snapshots;
use source::{Captures, Source};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait: how long a stop may go unnoticed.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Packets of the market published before other things have their turn.
const TURN: usize = 64;
/// How long the last bytes may take to reach the clients.
const PARTING: Duration = Duration::from_secs(2);
/// Packets that say the session is over, at least.
const FAREWELLS: u32 = 3;
/// Stream of draws of garbage.
const DRAWS: u64 = 1 << 32 | 4;

/// What exchange to be. Start from [`Config::new`].
#[derive(Clone)]
pub struct Config {
    /// The market, unless captures tell it. Its seed is the seed of everything.
    pub market: synth::Config,
    /// Captures of a real feed, in order; none: the market is generated.
    pub captures: Vec<PathBuf>,
    /// How fast the market is told.
    pub speed: Speed,
    /// Name of the feed's and of the orders' session, ASCII, padded on the right.
    pub session: [u8; 10],
    /// What the books are said to be of.
    pub venue: String,
    /// Address that the feed leaves by.
    pub interface: Ipv4Addr,
    /// The same for line B, if it has one of its own.
    pub interface_b: Option<Ipv4Addr>,
    /// Address of the servers, if it is not that of the feed.
    pub listen: Option<Ipv4Addr>,
    /// Routers that multicast may pass, and one.
    pub ttl: u32,
    /// Where line A goes.
    pub line_a: SocketAddrV4,
    /// Where line B goes; `None`: there is none.
    pub line_b: Option<SocketAddrV4>,
    /// UDP port of the re-request server, 0 for any.
    pub rerequest_port: u16,
    /// TCP port of the snapshot server, 0 for any.
    pub snapshot_port: u16,
    /// TCP port of order entry, 0 for any.
    pub orders_port: u16,
    /// UDP port of order entry for labs, with sessions and without, 0 for any; `None`: there is none.
    pub orders_udp_port: Option<u16>,
    /// Share of the datagrams of order entry that are lost, either way.
    pub orders_udp_loss: Odds,
    /// What order entry speaks.
    pub orders_protocol: Protocol,
    /// Who may log in.
    pub credentials: Credentials,
    /// Heartbeats are sent after this time without a packet, on the feed and on the order session.
    pub heartbeat: Duration,
    /// A client that is silent for this long is gone.
    pub idle: Duration,
    /// How long after a client is gone its orders are cancelled; `None`: they stand.
    pub cancel_after: Option<Duration>,
    /// When the market begins.
    pub start: Start,
    /// The market is not closed before a client has logged in and out, or is gone for as long as `idle`.
    pub hold: bool,
    /// How long the end of the session is said, and how long a client that broke off is waited for.
    pub linger: Duration,
    /// The run ends after this many order messages.
    pub max_orders: Option<u64>,
    /// Harm to line A and to line B.
    pub line_harm: [LineHarm; 2],
    /// A silence of the feed.
    pub silence: Option<Silence>,
    /// Share of re-requests that are not answered.
    pub rerequest_loss: Odds,
    /// What it answers that is not true.
    pub rerequest_lies: RerequestLies,
    /// Harm to orders and their session.
    pub order_harm: OrderHarm,
}

/// When the market begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This long after the exchange has started.
    After(Duration),
    /// With the first login.
    Login,
}

impl Config {
    /// A generated market, told at its own pace on loopback, with nothing wrong.
    pub fn new(credentials: Credentials) -> Config {
        Config {
            market: synth::Config::default(),
            captures: Vec::new(),
            speed: Speed::Factor(1.0),
            session: *b"TICKPATH01",
            venue: "exchange".to_owned(),
            interface: Ipv4Addr::LOCALHOST,
            interface_b: None,
            listen: None,
            ttl: 1,
            line_a: SocketAddrV4::new(Ipv4Addr::new(233, 54, 12, 111), 26_477),
            line_b: Some(SocketAddrV4::new(Ipv4Addr::new(233, 49, 196, 111), 26_477)),
            rerequest_port: 0,
            snapshot_port: 0,
            orders_port: 0,
            orders_udp_port: None,
            orders_udp_loss: Odds::NEVER,
            orders_protocol: Protocol::default(),
            credentials,
            heartbeat: Duration::from_secs(1),
            idle: Duration::from_secs(15),
            cancel_after: Some(Duration::ZERO),
            start: Start::After(Duration::ZERO),
            hold: false,
            linger: Duration::from_secs(1),
            max_orders: None,
            line_harm: [LineHarm::default(); 2],
            silence: None,
            rerequest_loss: Odds::NEVER,
            rerequest_lies: RerequestLies::default(),
            order_harm: OrderHarm::default(),
        }
    }
}

/// Where an exchange is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Name of the session.
    pub session: String,
    /// Where line A goes.
    pub line_a: SocketAddrV4,
    /// Where line B goes.
    pub line_b: Option<SocketAddrV4>,
    /// The re-request server, by UDP.
    pub rerequest: SocketAddr,
    /// The snapshot server, by TCP.
    pub snapshot: SocketAddr,
    /// Order entry, by TCP.
    pub orders: SocketAddr,
    /// Order entry, by UDP.
    pub orders_udp: Option<SocketAddr>,
}

/// Why an exchange could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The market cannot be made.
    #[error("the market cannot be made: {0}")]
    Market(#[from] synth::Error),
    /// A capture cannot be read.
    #[error("{0}")]
    Capture(#[from] CaptureError),
    /// A socket cannot be had.
    #[error("no socket for {what} at {address}: {source}; choose a port that is free and an address of this host")]
    Socket {
        /// What it is for.
        what: &'static str,
        /// Where it was to be.
        address: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel refuses to wait.
    #[error("waiting for clients failed: {0}")]
    Wait(#[source] io::Error),
}

/// An exchange that has its sockets.
pub struct Exchange {
    config: Config,
    source: Source,
    /// When the market's next packet, which `batch` holds, is due; `None` when there is none.
    coming: Option<u64>,
    batch: Batch,
    market: Market,
    output: Output,
    clock: SessionClock,
    feed: Feed,
    rerequests: Rerequests,
    snapshots: Snapshots,
    session: OrderSession,
    phase: Phase,
    born: Instant,
    order_messages: u64,
    draw: Draw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The market has not begun.
    Before,
    /// It is told.
    Open,
    /// It is over since then.
    Closed(Instant),
}

impl Exchange {
    /// Takes the sockets.
    ///
    /// # Errors
    /// A market that cannot be made, a capture that cannot be read, a port that is taken.
    pub fn bind(config: Config) -> Result<Exchange, Error> {
        let mut source = match config.captures.is_empty() {
            true => Source::Synth(Box::new(synth::Messages::new(&config.market)?)),
            false => Source::Captures(Box::new(Captures::open(config.captures.clone())?)),
        };
        let mut batch = Batch::default();
        let coming = source.next(&mut batch);
        let seed = config.market.seed;
        let servers = config.listen.unwrap_or(config.interface);
        let tcp = |port, what| {
            let at = SocketAddrV4::new(servers, port);
            let socket = TcpListener::bind(at).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            socket.map_err(|source| Error::Socket { what, address: at.to_string(), source })
        };
        let udp = |port, what| {
            let at = SocketAddrV4::new(servers, port);
            let socket = UdpSocket::bind(at).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            socket.map_err(|source| Error::Socket { what, address: at.to_string(), source })
        };
        let line = |number: u64, interface: Ipv4Addr, to: SocketAddrV4| {
            let failed = |source| Error::Socket { what: "a line of the feed", address: interface.to_string(), source };
            let socket = line_socket(interface, config.ttl).map_err(failed)?;
            Ok::<_, Error>(Line::new(number, socket, to, config.line_harm[number as usize], seed))
        };
        let mut lines = vec![line(0, config.interface, config.line_a)?];
        if let Some(to) = config.line_b {
            lines.push(line(1, config.interface_b.unwrap_or(config.interface), to)?);
        }
        let session = SessionConfig {
            protocol: config.orders_protocol,
            session: config.session,
            credentials: config.credentials.clone(),
            heartbeat: config.heartbeat,
            idle: config.idle,
            cancel_after: config.cancel_after,
            udp_loss: (config.orders_udp_loss, seed),
        };
        let orders_udp = config.orders_udp_port.map(|port| udp(port, "order entry")).transpose()?;
        let snapshot_listener = tcp(config.snapshot_port, "snapshots")?;
        Ok(Exchange {
            market: Market::new(seed, config.order_harm.clone()),
            output: Output::default(),
            clock: SessionClock::new(config.speed, config.market.start_ns),
            feed: Feed::new(config.session, lines, config.heartbeat, config.silence),
            rerequests: Rerequests::new(
                udp(config.rerequest_port, "re-requests")?,
                config.rerequest_loss,
                config.rerequest_lies,
                seed,
            ),
            snapshots: Snapshots::new(config.session, config.credentials.clone(), config.idle, snapshot_listener),
            session: OrderSession::new(session, tcp(config.orders_port, "order entry")?, orders_udp),
            phase: Phase::Before,
            born: Instant::now(),
            order_messages: 0,
            draw: Draw::new(seed, DRAWS),
            source,
            coming,
            batch,
            config,
        })
    }

    /// Where it is reached.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let (orders, orders_udp, _) = self.session.sockets();
        Ok(Addresses {
            session: self.config.session.escape_ascii().to_string(),
            line_a: self.config.line_a,
            line_b: self.config.line_b,
            rerequest: self.rerequests.socket().local_addr()?,
            snapshot: self.snapshots.sockets().0.local_addr()?,
            orders: orders.local_addr()?,
            orders_udp: orders_udp.map(UdpSocket::local_addr).transpose()?,
        })
    }

    /// Trades until `stop` is set, the last order has come, or the day is over and the client has logged out.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn run(mut self, stop: &AtomicBool) -> Result<Report, Error> {
        let mut interests = Interests::default();
        self.respond(&Response::System { event: b'S' });
        while !self.is_over(stop) {
            let now = Instant::now();
            self.begin_if_due(now);
            self.tell_market(now);
            self.take_orders(now);
            self.serve(now);
            self.await_something(&mut interests)?;
        }
        self.part()?;
        let head = (self.config.market.seed, self.config.venue.as_str(), self.order_messages);
        Ok(Report::new(head, &self.market, &self.feed, &self.session, &self.rerequests, &self.snapshots))
    }

    fn begin_if_due(&mut self, now: Instant) {
        let is_due = match self.config.start {
            Start::After(delay) => now.duration_since(self.born) >= delay,
            Start::Login => self.session.counts().logins > 0,
        };
        if self.phase == Phase::Before && is_due {
            self.clock.start(now, self.coming.unwrap_or(0));
            self.phase = Phase::Open;
        }
    }

    /// Publishes the packets of the market that are due; after the last of them closes it.
    fn tell_market(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        for _ in 0..TURN {
            let Some(due_ns) = self.coming else { return self.close(now) };
            if self.clock.due(due_ns) > now || self.is_held(now) {
                return;
            }
            self.clock.told(due_ns);
            self.output.begin(self.clock.now_ns(now));
            for message in self.batch.iter() {
                self.market.generated(message, &mut self.output);
            }
            self.hand_out(now);
            self.coming = self.source.next(&mut self.batch);
        }
    }

    /// Whether the close of the market comes next and has to wait.
    fn is_held(&self, now: Instant) -> bool {
        let closes = self
            .batch
            .message(0)
            .is_some_and(|message| message.first() == Some(&b'S') && message.get(11) == Some(&b'M'));
        self.config.hold && closes && !self.session.has_left(now)
    }

    fn take_orders(&mut self, now: Instant) {
        self.session.receive(now);
        // As many as arrived in one read of each connection, so the market has its turn soon.
        while !self.is_order_limit_reached() {
            let Some(request) = self.session.next_order(now) else { return };
            self.order_messages += 1;
            self.output.begin(self.clock.now_ns(now));
            self.market.request(&request, &mut self.output);
            self.hand_out(now);
            if self.output.responses.is_empty() && !self.output.is_silent {
                self.session.ignored(&request, self.output.now_ns, now);
            }
            match self.config.order_harm.after(self.order_messages) {
                None => {}
                Some(Blow::Disconnect) => self.session.cut_off(),
                Some(Blow::Oversize) => self.session.blurt_oversize(now),
                Some(Blow::Garbage) => {
                    let garbage: Vec<u8> = (0..64).map(|_| self.draw.below(256) as u8).collect();
                    self.session.blurt(&garbage, now);
                }
            }
        }
    }

    /// Everything that is neither market nor order.
    fn serve(&mut self, now: Instant) {
        self.session.tick(now);
        if self.session.is_cancel_due(now) {
            self.output.begin(self.clock.now_ns(now));
            self.market.cancel_all(cancel::SYSTEM, &mut self.output);
            self.hand_out(now);
        }
        self.rerequests.serve(&self.feed);
        self.snapshots.serve(&self.market, self.feed.next_sequence(), self.clock.now_ns(now), now);
        self.feed.tick(now);
    }

    /// Publishes and answers what the last step brought about.
    fn hand_out(&mut self, now: Instant) {
        self.feed.publish(&self.output.feed, now);
        for response in &self.output.responses {
            self.session.respond(response, self.output.now_ns, now);
        }
    }

    fn respond(&mut self, response: &Response) {
        let now = Instant::now();
        self.session.respond(response, self.clock.now_ns(now), now);
    }

    /// The day is over: no order stands, none is taken, the feed says farewell.
    fn close(&mut self, now: Instant) {
        self.output.begin(self.clock.now_ns(now));
        self.market.close(&mut self.output);
        self.hand_out(now);
        self.respond(&Response::System { event: b'E' });
        self.feed.end(now);
        self.phase = Phase::Closed(now);
    }

    fn is_over(&self, stop: &AtomicBool) -> bool {
        if stop.load(Ordering::Relaxed) || self.is_order_limit_reached() {
            return true;
        }
        let Phase::Closed(since) = self.phase else { return false };
        let lingered = since.elapsed() >= self.config.linger;
        lingered && !self.session.is_logged_in()
    }

    fn is_order_limit_reached(&self) -> bool {
        self.config.max_orders.is_some_and(|most| self.order_messages >= most)
    }

    /// Closes the market if it is open, says so to everybody, and lets what waits reach them.
    fn part(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if !matches!(self.phase, Phase::Closed(_)) {
            self.close(now);
            (1..FAREWELLS).for_each(|_| self.feed.end(now));
        }
        self.session.end(now);
        let mut interests = Interests::default();
        while self.session.has_backlog() && now.elapsed() < PARTING {
            self.session.tick(Instant::now());
            self.await_something(&mut interests)?;
        }
        Ok(())
    }

    fn await_something(&self, interests: &mut Interests) -> Result<(), Error> {
        let now = Instant::now();
        let (orders, orders_udp, order_streams) = self.session.sockets();
        let (snapshots, snapshot_streams) = self.snapshots.sockets();
        interests.clear();
        interests.add(orders, false);
        interests.add(snapshots, false);
        interests.add(self.rerequests.socket(), false);
        orders_udp.into_iter().for_each(|socket| interests.add(socket, false));
        order_streams.chain(snapshot_streams).for_each(|(stream, write)| interests.add(stream, write));
        let mut due = (now + WAIT_MAX).min(self.feed.due()).min(self.session.due(now));
        if self.phase == Phase::Open && !self.is_held(now) {
            due = due.min(self.coming.map_or(now, |due_ns| self.clock.due(due_ns)));
        }
        interests.wait(due.saturating_duration_since(now)).map_err(Error::Wait)
    }
}
