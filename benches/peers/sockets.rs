//! What one would write without DPDK: the pipeline's decoder, books, strategy, gate, encoder and session in one loop over
//! kernel sockets that never sleeps, `recvmmsg` in and one `write` a burst out. The peer of the part `veth`, in a process of
//! its own. Records nothing and recovers nothing.

use super::Failure;
use super::driver::{Driver, Sizes};
use super::process::no_privilege;
use socket2::{Domain, Protocol, Socket, Type};
use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};
use tickpath::arena::{self, Arena};
use tickpath::cpu::rdtsc;
use tickpath::dpdk::ring::{Consumer, spsc};
use tickpath::dpdk::{self, Eal};
use tickpath::latency::clock::Clock;
use tickpath::market::{Order, OrderKind, Packet};
use tickpath::session::{self, Client, Credentials, Happening, LONGEST_SENT, Live, LiveOrder, Response, Silences};
use tickpath::strategy::{Quoter, Strategy};
use tickpath::sys::affinity::{self, CpuSet};

/// The argument that makes a process this peer; the CPU follows.
pub const WORD: &str = "--kernel-sockets";

/// Lines of the feed: group, port, and our address on the line.
const LINES: [(SocketAddrV4, Ipv4Addr); 2] = [
    (SocketAddrV4::new(Ipv4Addr::new(233, 54, 12, 111), 26477), Ipv4Addr::new(10, 77, 1, 2)),
    (SocketAddrV4::new(Ipv4Addr::new(233, 49, 196, 111), 26477), Ipv4Addr::new(10, 77, 2, 2)),
];
/// Order entry.
const ORDERS: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 1, 1), 26400);
const INSTRUMENTS: u32 = 12_288;
/// Datagrams taken at a time, as in the pipeline.
const BURST: usize = 32;
const ROOM: usize = 2048;

/// Trade until killed.
pub fn trade(cpu: &str) -> Result<Infallible, Failure> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |err| Failure::Io(what, err)
    };
    let cpu = cpu.parse().map_err(|_| Failure::Other(format!("{cpu:?} is no CPU")))?;
    // For the ring of orders alone; it leaves this thread on some CPU.
    let eal = Eal::init("sockets", &no_privilege(64, &format!("tickpath-sockets-{}", std::process::id())))?;
    affinity::set(&CpuSet::from_iter([cpu])).map_err(io("CPU affinity"))?;
    let (orders, taken) = spsc(&eal, "orders", 1024, dpdk::Socket::Any)?;

    let sizes = Sizes::new(INSTRUMENTS);
    let encoder = session::EncoderConfig { protocol: session::Protocol::Ouch50, instruments: INSTRUMENTS };
    let mut memory = arena::heap(sizes.bytes() + session::Encoder::bytes(&encoder));
    let mut arena = Arena::new(&mut memory);
    let full = |err: arena::ArenaFull| Failure::Other(err.to_string());
    let quoter = Quoter::new(Default::default(), INSTRUMENTS as usize).map_err(Failure::Other)?;
    let mut driver = Driver::trading(&sizes, &mut arena, quoter, orders).map_err(full)?;
    let encoder = session::Encoder::new(&encoder, &mut arena).map_err(full)?;

    let lines = LINES.map(|(group, interface)| line(group, interface));
    let mut stream = TcpStream::connect(ORDERS).map_err(io("order entry"))?;
    stream.set_nodelay(true).map_err(io("order entry"))?;
    let mut session = log_in(&mut stream).map_err(io("login"))?;
    stream.set_nonblocking(true).map_err(io("order entry"))?;
    let mut out = Outgoing { encoder, taken, bytes: Vec::with_capacity(1 << 16) };
    let mut buffers = Box::new([[0u8; ROOM]; BURST]);
    loop {
        for line in &lines {
            let lengths = receive(line.as_ref().map_err(|err| Failure::Other(err.to_string()))?, &mut buffers)
                .map_err(io("a line"))?;
            if lengths.is_empty() {
                continue;
            }
            let head = Packet { arrival_ns: wall_ns(), ..Packet::default() };
            driver.burst_at(&head, buffers.iter().zip(lengths).map(|(bytes, length)| &bytes[..length]));
            out.send(&mut stream, &mut session).map_err(io("order entry"))?;
        }
        if session.read(&mut stream, |event| driver.event(event)).map_err(io("order entry"))? {
            out.send(&mut stream, &mut session).map_err(io("order entry"))?;
        }
    }
}

/// A socket of one line, in non-blocking mode.
fn line(group: SocketAddrV4, interface: Ipv4Addr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&group.into())?;
    socket.join_multicast_v4(group.ip(), &interface)?;
    socket.set_recv_buffer_size(8 << 20)?;
    Ok(socket)
}

/// What waits at a line, at most a burst: the length of each datagram.
fn receive(socket: &Socket, buffers: &mut [[u8; ROOM]; BURST]) -> std::io::Result<arrayvec::ArrayVec<usize, BURST>> {
    let mut pieces =
        buffers.each_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: ROOM });
    let mut messages = pieces.each_mut().map(|piece| {
        // SAFETY: a message header of zeroes is a header without address, data and control.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (piece, 1);
        header
    });
    // SAFETY: an open descriptor, and as many headers as said, each with one piece of memory that outlives the call.
    let n = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            BURST as u32,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    if n < 0 {
        let err = std::io::Error::last_os_error();
        return if err.kind() == ErrorKind::WouldBlock { Ok(Default::default()) } else { Err(err) };
    }
    Ok(messages[..n as usize].iter().map(|message| message.msg_len as usize).collect())
}

/// Orders on their way out.
struct Outgoing<'m> {
    encoder: session::Encoder<'m>,
    taken: Consumer<Order>,
    bytes: Vec<u8>,
}

impl Outgoing<'_> {
    /// Everything that strategy has asked for, in one call.
    fn send(&mut self, stream: &mut TcpStream, session: &mut Session) -> std::io::Result<()> {
        self.bytes.clear();
        while let Some(order) = self.taken.pop() {
            let at = self.bytes.len();
            self.bytes.resize(at + self.encoder.max_message(), 0);
            let length = self.encoder.encode(&order, &mut self.bytes[at..]).unwrap_or(0);
            self.bytes.truncate(at + length);
            session.sent(&order);
        }
        write(stream, &self.bytes)
    }
}

/// The client and what stands.
struct Session {
    client: Client,
    live: Live,
    heard: Vec<u8>,
}

/// Log in, and wait for the answer.
fn log_in(stream: &mut TcpStream) -> std::io::Result<Session> {
    let clock = Clock::fit();
    let second = clock.ns_to_ticks(1_000_000_000);
    let now = rdtsc();
    let clock = session::WallClock { at: now, epoch_ns: wall_ns(), hz: clock.hz() };
    let credentials = Credentials { user: *b"demo    ", password: *b"demo      " };
    let silences = Silences { ours: second, theirs: 15 * second };
    let client = Client::new(&session::Protocol::Ouch50, credentials, silences, INSTRUMENTS, clock);
    let mut session = Session { client, live: Live::new(1 << 16), heard: Vec::new() };
    let mut out = [0; LONGEST_SENT];
    let n = session.client.login(now, &mut out);
    stream.write_all(&out[..n])?;
    while session.client.phase() != session::Phase::Up {
        session.read(stream, |_| ())?;
    }
    Ok(session)
}

impl Session {
    fn sent(&mut self, order: &Order) {
        let number = self.client.sent(order, rdtsc());
        let Order { id, instrument, side, qty, .. } = *order;
        match order.kind {
            OrderKind::Cancel => return,
            OrderKind::Replace => self.live.replacing(order.replaced_id, id),
            OrderKind::Enter => {}
        }
        let new =
            LiveOrder { instrument, side, qty, leaving: false, known: false, replaced_by: 0, sent: number, left: 0 };
        self.live.insert(id, new);
    }

    /// What the exchange says, and the heartbeat that is due. Whether there was an event.
    fn read(
        &mut self,
        stream: &mut TcpStream,
        mut tell: impl FnMut(&tickpath::market::OrderEvent),
    ) -> std::io::Result<bool> {
        let now = rdtsc();
        let mut out = [0; LONGEST_SENT];
        if let Some(n) = self.client.heartbeat(now, &mut out) {
            write(stream, &out[..n])?;
        }
        let mut bytes = [0; 8192];
        match stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.heard.extend_from_slice(&bytes[..n]),
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(err) => return Err(err),
        }
        let (mut taken, mut told) = (0, false);
        while let Some((happening, length)) =
            self.client.take(&self.heard[taken..], now).map_err(std::io::Error::other)?
        {
            if let Happening::Message(message) = happening
                && let Response::Order { events, .. } = self.client.response(message, now, &mut self.live)
            {
                events.iter().for_each(&mut tell);
                told = true;
            }
            taken += length;
        }
        self.heard.drain(..taken);
        Ok(told)
    }
}

/// All of it, though the socket does not block.
fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(err) if err.kind() == ErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
