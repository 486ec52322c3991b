//! The thread: asks in, requests out, answers checked and handed on in order, a snapshot when one is wanted.

use super::glimpse::{Batch, Event, Reader};
use super::{Ask, Delivery, Desk, ROOM, Refused, Wanted, What, check, count};
use crate::wire::moldudp64::RequestRepr;
use crate::wire::soupbin::{self, ClientPacket, LoginRepr};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the thread sleeps when nothing is asked: what is missing waits at most so much longer.
const NAP: Duration = Duration::from_micros(200);

/// How long it sleeps when parse has no room for a delivery.
const FULL: Duration = Duration::from_micros(50);

/// The longest wait on a socket before the thread looks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(10);

/// Messages that one request can ask for; one more would mean the end of the session.
const MOST: u64 = 0xfffe;

/// SoupBinTCP: a side that has sent nothing for a second sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A snapshot server that says nothing, not even a heartbeat, for so long is gone.
const SILENT: Duration = Duration::from_secs(5);

/// A snapshot that takes longer is given up: the buffer of live packets has long been full.
const LONGEST: Duration = Duration::from_secs(60);

/// Where to ask, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our address: requests leave from it and answers come to it.
    pub interface: Ipv4Addr,
    /// MoldUDP64 re-request servers, the preferred one first.
    pub servers: Vec<SocketAddrV4>,
    /// GLIMPSE server.
    pub snapshot: Option<SocketAddrV4>,
    /// What it wants to know of us.
    pub login: Login,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Requests for the same messages after the first, each to the next server; and attempts at a snapshot after the first.
    pub retries: u32,
}

/// Credentials of the snapshot server, space-padded.
#[derive(Clone, Copy)]
pub struct Login {
    /// User name.
    pub user: [u8; 6],
    /// Password.
    pub password: [u8; 10],
}

impl Login {
    /// A user of at most 6 and a password of at most 10 ASCII characters; `None` when they are longer.
    pub fn new(user: &str, password: &str) -> Option<Login> {
        let mut login = Login { user: [b' '; 6], password: [b' '; 10] };
        let fits = user.is_ascii() && password.is_ascii();
        login.user.get_mut(..user.len()).filter(|_| fits)?.copy_from_slice(user.as_bytes());
        login.password.get_mut(..password.len())?.copy_from_slice(password.as_bytes());
        Some(login)
    }
}

/// They are nobody's business, nor a log's.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Recovery {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recovery {
    /// Start it. `first` is what it does first, such as moving to another CPU.
    ///
    /// # Errors
    /// The interface is not ours, or the kernel gives no socket or thread.
    pub fn start(settings: Settings, desk: Desk, first: impl FnOnce() + Send + 'static) -> io::Result<Recovery> {
        let socket = UdpSocket::bind((settings.interface, 0))?;
        let stop = Arc::<AtomicBool>::default();
        let server = Server { settings, desk, socket, stop: stop.clone(), turn: 0, datagram: vec![0; 65_536].into() };
        let thread = thread::Builder::new().name("recovery".into()).spawn(move || {
            first();
            server.run();
        })?;
        Ok(Recovery { stop, thread: Some(thread) })
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its hook; parse goes on as if every server were silent.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Server {
    settings: Settings,
    desk: Desk,
    socket: UdpSocket,
    stop: Arc<AtomicBool>,
    /// Which server is asked next.
    turn: usize,
    datagram: Box<[u8]>,
}

/// Why an ask came to nothing.
enum Nothing {
    /// It is not wanted any more.
    Void,
    /// No server has it.
    Failed,
}

/// Why one attempt at a snapshot came to nothing.
enum Attempt {
    Void,
    Broken(String),
}

impl From<io::Error> for Attempt {
    fn from(err: io::Error) -> Attempt {
        Attempt::Broken(err.to_string())
    }
}

impl Server {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(ask) = self.desk.asks.pop() else {
                thread::sleep(NAP);
                continue;
            };
            let done = match ask.wanted {
                Wanted::Messages { from, to } => self.messages(&ask, from, to),
                Wanted::Snapshot => self.snapshot(&ask),
            };
            if let Err(Nothing::Failed) = done {
                count(&self.desk.counters.failed, 1);
                let _ = self.deliver(&ask, What::Failed, &[0; ROOM], 0);
            }
        }
    }

    fn is_void(&self, ask: &Ask) -> bool {
        self.stop.load(Ordering::Relaxed) || self.desk.current.load(Ordering::Acquire) != ask.ticket
    }

    /// Ask until all of `from .. to` has come.
    fn messages(&mut self, ask: &Ask, from: u64, to: u64) -> Result<(), Nothing> {
        let (mut next, mut failures) = (from, 0);
        while next < to {
            if self.settings.servers.is_empty() {
                return Err(Nothing::Failed);
            }
            let server = self.settings.servers[self.turn % self.settings.servers.len()];
            let request = RequestRepr { session: ask.session, sequence: next, count: (to - next).min(MOST) as u16 };
            // What cannot be sent has no answer.
            let _ = self.socket.send_to(&request.to_bytes(), server);
            count(&self.desk.counters.requests, 1);
            match self.answer(ask, server, next, to)? {
                Some(after) => (next, failures) = (after, 0),
                None => {
                    count(&self.desk.counters.timeouts, 1);
                    self.turn = self.turn.wrapping_add(1);
                    failures += 1;
                    if failures > self.settings.retries {
                        return Err(Nothing::Failed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Wait for an answer with message `next` and hand it on; the message after its last, or `None` when none came.
    fn answer(&mut self, ask: &Ask, server: SocketAddrV4, next: u64, to: u64) -> Result<Option<u64>, Nothing> {
        let deadline = Instant::now() + self.settings.timeout;
        loop {
            if self.is_void(ask) {
                return Err(Nothing::Void);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Not zero, which would mean for ever.
            let _ = self.socket.set_read_timeout(Some(left.min(LOOK_UP)));
            let (length, sender) = match self.socket.recv_from(&mut self.datagram) {
                Ok(received) => received,
                Err(err) if would_wait(&err) => continue,
                Err(_) => {
                    thread::sleep(left.min(LOOK_UP));
                    continue;
                }
            };
            if sender != SocketAddr::V4(server) {
                count(&self.desk.counters.refused, 1);
                continue;
            }
            let answer = match check(&self.datagram[..length], &ask.session, next, to) {
                Ok(answer) => answer,
                Err(Refused::Known) => continue,
                Err(_) => {
                    count(&self.desk.counters.refused, 1);
                    continue;
                }
            };
            count(&self.desk.counters.answers, 1);
            let (after, mut batch, mut first) = (answer.next, Batch::new(), next);
            let mut packets = Vec::new();
            for message in answer.messages() {
                if !batch.push(message) {
                    packets.extend(batch.take(ask.session, first).map(|(bytes, length, n)| (*bytes, length, n)));
                    first += packets.last().map_or(0, |packet| u64::from(packet.2));
                    // A message that was looked at fits an empty packet.
                    batch.push(message);
                }
            }
            packets.extend(batch.take(ask.session, first).map(|(bytes, length, n)| (*bytes, length, n)));
            for (bytes, length, messages) in packets {
                self.deliver(ask, What::Messages, &bytes, length)?;
                count(&self.desk.counters.messages, messages.into());
            }
            return Ok(Some(after));
        }
    }

    /// Fetch a snapshot, again when it breaks off.
    fn snapshot(&mut self, ask: &Ask) -> Result<(), Nothing> {
        let Some(server) = self.settings.snapshot else { return Err(Nothing::Failed) };
        for _ in 0..=self.settings.retries {
            match self.attempt(ask, server) {
                Ok(()) => return Ok(()),
                Err(Attempt::Void) => return Err(Nothing::Void),
                Err(Attempt::Broken(why)) => {
                    count(&self.desk.counters.snapshots_broken, 1);
                    log::warn!("snapshot from {server}: {why}");
                }
            }
            let again = Instant::now() + self.settings.timeout;
            while Instant::now() < again {
                if self.is_void(ask) {
                    return Err(Nothing::Void);
                }
                thread::sleep(LOOK_UP.min(self.settings.timeout));
            }
        }
        Err(Nothing::Failed)
    }

    fn attempt(&mut self, ask: &Ask, server: SocketAddrV4) -> Result<(), Attempt> {
        let mut stream = self.connect(server)?;
        let Login { user, password } = self.settings.login;
        // Blank: the current session. 1: from its first message.
        let login = LoginRepr { user, password, session: [b' '; 10], sequence: soupbin::number(1) };
        send(&mut stream, &ClientPacket::Login(login))?;
        let began = Instant::now();
        let (mut heard, mut spoke) = (began, began);
        let (mut reader, mut batch) = (Reader::default(), Batch::new());
        loop {
            while let Some(event) = reader.next().map_err(|broken| Attempt::Broken(broken.to_string()))? {
                match event {
                    Event::LoggedIn => {
                        count(&self.desk.counters.snapshots, 1);
                        self.pass(ask, What::SnapshotBegins)?;
                    }
                    Event::Message(message) => {
                        if !batch.push(message) {
                            self.pass_batch(ask, &mut batch)?;
                            // A message that was looked at fits an empty packet.
                            batch.push(message);
                        }
                    }
                    Event::End(sequence) => {
                        self.pass_batch(ask, &mut batch)?;
                        self.pass(ask, What::SnapshotEnds(sequence))?;
                        let _ = send(&mut stream, &ClientPacket::Logout);
                        return Ok(());
                    }
                }
            }
            if self.is_void(ask) {
                return Err(Attempt::Void);
            }
            match stream.read(reader.room()) {
                Ok(0) => return Err(Attempt::Broken("the server closed the connection".into())),
                Ok(n) => {
                    reader.wrote(n);
                    heard = Instant::now();
                }
                Err(err) if would_wait(&err) => {}
                Err(err) => return Err(err.into()),
            }
            if heard.elapsed() > SILENT || began.elapsed() > LONGEST {
                return Err(Attempt::Broken("the server does not come to an end".into()));
            }
            if spoke.elapsed() > HEARTBEAT {
                spoke = Instant::now();
                send(&mut stream, &ClientPacket::Heartbeat)?;
            }
        }
    }

    /// A connection from our address.
    fn connect(&self, server: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(self.settings.interface, 0)))?;
        socket.connect_timeout(&SockAddr::from(server), self.settings.timeout.max(LOOK_UP))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.set_write_timeout(Some(SILENT))?;
        Ok(stream)
    }

    fn pass(&mut self, ask: &Ask, what: What) -> Result<(), Attempt> {
        self.deliver(ask, what, &[0; ROOM], 0).map_err(|_| Attempt::Void)
    }

    fn pass_batch(&mut self, ask: &Ask, batch: &mut Batch) -> Result<(), Attempt> {
        let Some((bytes, length, messages)) = batch.take(ask.session, 0) else { return Ok(()) };
        self.deliver(ask, What::Snapshot, bytes, length).map_err(|_| Attempt::Void)?;
        count(&self.desk.counters.snapshot_messages, messages.into());
        Ok(())
    }

    /// Hand something to parse, as soon as there is room.
    fn deliver(&mut self, ask: &Ask, what: What, bytes: &[u8; ROOM], length: u16) -> Result<(), Nothing> {
        let mut delivery = Delivery { ticket: ask.ticket, what, length, bytes: *bytes };
        loop {
            match self.desk.deliveries.push(delivery) {
                Ok(()) => return Ok(()),
                Err(rtrb::PushError::Full(back)) => delivery = back,
            }
            if self.is_void(ask) {
                return Err(Nothing::Void);
            }
            thread::sleep(FULL);
        }
    }
}

fn send(stream: &mut TcpStream, packet: &ClientPacket<'_>) -> io::Result<()> {
    let mut bytes = [0; 64];
    let length = packet.emit(&mut bytes).map_err(|why| io::Error::new(ErrorKind::InvalidInput, why))?;
    stream.write_all(&bytes[..length])
}

/// Nothing has come in time.
fn would_wait(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
