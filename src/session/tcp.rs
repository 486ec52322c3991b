//! One TCP connection in user space: frames and the time come in; frames, and the bytes of the stream, go out.
//!
//! The stack is `smoltcp` (ARP, IPv4, TCP with retransmission; Nagle off, no delayed acknowledgement). Its way from bytes
//! to a segment is the longest part of sending an order, so a message can go **ahead** of it: [`Tcp::ahead`] writes the
//! finished segment from the headers of the last one the stack made, the same bytes are queued in the stack, and the
//! segment that the stack makes of them is swallowed here, or shrunk to the acknowledgement it carries. What the stack
//! repeats after a loss passes. Never waits, never allocates after [`Tcp::new`].

use crate::wire::checksum::{Checksum, checksum};
use crate::wire::{ethernet, ipv4};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of the headers in front of a message: Ethernet, IPv4 and TCP without options.
pub const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + TCP;
/// Longest frame.
const FRAME: usize = ethernet::HEADER + 1500;
const TCP: usize = 20;
/// Where the TCP header begins.
const AT: usize = ethernet::HEADER + ipv4::HEADER;

/// Bytes of an ARP packet in an untagged frame.
const ARP: usize = ethernet::HEADER + 28;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The two ends.
#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// Our address and the first local port; each connection takes the next,
    pub source: SocketAddrV4,
    /// and after this one the first again.
    pub last_port: u16,
    /// Bits of our network's prefix.
    pub prefix: u8,
    /// Where to send what is not for our network.
    pub gateway: Option<Ipv4Addr>,
    /// Ethernet address that every frame goes to: then no ARP leaves, and prefix and gateway do not matter. `None`: it is asked for.
    pub next_hop: Option<[u8; 6]>,
    /// The server.
    pub destination: SocketAddrV4,
    /// Bytes of each direction that are kept.
    pub buffer: usize,
    /// First sequence numbers follow from it.
    pub seed: u64,
    /// Send messages ahead of the stack.
    pub ahead: bool,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Messages that left ahead of the stack.
    pub ahead: u64,
    /// Messages that the stack sent.
    pub by_stack: u64,
    /// Segments of the stack that were swallowed because their bytes had left.
    pub swallowed: u64,
    /// Of those, how many were shrunk to the acknowledgement they carried.
    pub shrunk: u64,
    /// Segments that the stack sent again.
    pub repeated: u64,
    /// Frames of the stack that found no buffer; it sends them again when nobody acknowledges them.
    pub no_frame: u64,
}

impl TcpCounters {
    /// Each counter with its name.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("sent_ahead", self.ahead),
            ("sent_by_stack", self.by_stack),
            ("segments_swallowed", self.swallowed),
            ("segments_repeated", self.repeated),
            ("session_frames_without_buffer", self.no_frame),
        ]
    }
}

/// The connection.
pub struct Tcp {
    config: TcpConfig,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    link: Link,
    port: u16,
}

/// What lies between the stack and the port.
struct Link {
    /// A frame of the stack, before it goes where frames go.
    scratch: Box<[u8; FRAME]>,
    destination: SocketAddrV4,
    next_hop: Option<[u8; 6]>,
    /// What the stack has asked by ARP, while we know the answer.
    asked: Option<[u8; ARP]>,
    /// Our port of this connection.
    local: u16,
    /// Headers of the stack's last segment of an open connection.
    template: [u8; HEADERS],
    /// The template holds this connection's headers.
    open: bool,
    /// Sequence number of the byte after the last that left, either way,
    left: u32,
    /// after the last that the stack has made a segment of,
    made: u32,
    /// and after the last that was queued in the stack.
    queued: u32,
    /// Acknowledgement that has left last.
    acknowledged: u32,
    /// Up to where the server takes bytes.
    limit: u32,
    /// Shift of the windows it announces.
    scale: u8,
    counters: TcpCounters,
}

impl Tcp {
    /// A stack without a connection.
    pub fn new(config: TcpConfig) -> Tcp {
        let mut link = Link {
            scratch: Box::new([0; FRAME]),
            destination: config.destination,
            next_hop: config.next_hop,
            asked: None,
            local: 0,
            template: [0; HEADERS],
            open: false,
            left: 0,
            made: 0,
            queued: 0,
            acknowledged: 0,
            limit: 0,
            scale: 0,
            counters: TcpCounters::default(),
        };
        let mut settings = Config::new(HardwareAddress::Ethernet(EthernetAddress(config.mac)));
        settings.random_seed = config.seed;
        let mut nowhere = Device { link: &mut link, frame: None, emit: &mut |_| true };
        let mut interface = Interface::new(settings, &mut nowhere, Instant::ZERO);
        // With a next hop all the world is on our network.
        let prefix = if config.next_hop.is_some() { 0 } else { config.prefix };
        let address = Ipv4Cidr::new(*config.source.ip(), prefix);
        // One address, one route: each has room.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::Ipv4(address));
        });
        if let (Some(gateway), None) = (config.gateway, config.next_hop) {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; config.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let storage: Vec<SocketStorage<'static>> = vec![SocketStorage::EMPTY];
        let mut sockets = SocketSet::new(storage);
        let handle = sockets.add(socket);
        Tcp { port: config.source.port(), config, interface, sockets, handle, link }
    }

    /// Begin to connect. False when a connection is still on its way out: ask again later.
    pub fn connect(&mut self) -> bool {
        let Tcp { config, interface, sockets, handle, link, port } = self;
        let socket = sockets.get_mut::<tcp::Socket>(*handle);
        if socket.is_open() {
            return false;
        }
        link.open = false;
        // A port a connection, so that a segment of the last one is not taken for one of this.
        let local = *port;
        link.local = local;
        *port = if local < config.last_port { local + 1 } else { config.source.port() };
        let server = (*config.destination.ip(), config.destination.port());
        socket.connect(interface.context(), server, local).is_ok()
    }

    /// Whether bytes can be sent and received.
    #[inline]
    pub fn is_up(&self) -> bool {
        let socket = self.socket();
        socket.state() == tcp::State::Established
    }

    /// Whether there is no connection, nor one on its way in or out.
    pub fn is_closed(&self) -> bool {
        !self.socket().is_open()
    }

    /// Whether the server has said that it will send no more, and all it sent was read.
    pub fn is_ended(&self) -> bool {
        !self.socket().may_recv() && self.socket().state() != tcp::State::SynSent
    }

    /// Whether everything sent was acknowledged after [`Tcp::close`].
    pub fn is_flushed(&self) -> bool {
        matches!(self.socket().state(), tcp::State::FinWait2 | tcp::State::TimeWait | tcp::State::Closed)
    }

    /// Send what is queued, then close.
    pub fn close(&mut self) {
        self.socket_mut().close();
    }

    /// Drop the connection at once.
    pub fn abort(&mut self) {
        self.socket_mut().abort();
    }

    /// A frame that arrived. `emit` gets the frames to send, as they are to be on the wire, and says whether it could take
    /// them.
    pub fn receive(&mut self, frame: &[u8], now_us: i64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        self.link.heard(frame);
        let Tcp { interface, sockets, link, .. } = self;
        let mut device = Device { link, frame: Some(frame), emit };
        interface.poll_ingress_single(Instant::from_micros(now_us), &mut device, sockets);
    }

    /// Let the stack send what it has to: what is queued, acknowledgements, what was lost.
    pub fn poll(&mut self, now_us: i64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        let Tcp { interface, sockets, link, .. } = self;
        let now = Instant::from_micros(now_us);
        loop {
            let mut device = Device { link, frame: None, emit };
            while interface.poll_egress(now, &mut device, sockets) != PollResult::None {}
            let Some(answer) = link.answer() else { return };
            interface.poll_ingress_single(now, &mut Device { link, frame: Some(&answer), emit }, sockets);
        }
    }

    /// Whether the stack has yet to make segments of what went ahead of it.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.link.made != self.link.queued
    }

    /// Queue `bytes`, wholly or not at all; false when there is no room. [`Tcp::poll`] sends them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.queue(bytes) {
            return false;
        }
        self.link.counters.by_stack += 1;
        true
    }

    /// Whether so many bytes could be queued.
    pub fn has_room(&self, bytes: usize) -> bool {
        let socket = self.socket();
        socket.may_send() && socket.send_capacity() - socket.send_queue() >= bytes
    }

    /// Make `frame` a finished segment that may leave at once: its message begins at [`HEADERS`], and what lies before is
    /// written here. False, and nothing done, when the stack has to send it: nothing may overtake what waits, the server
    /// has no room, or the connection is not open.
    #[inline]
    pub fn ahead(&mut self, frame: &mut [u8]) -> bool {
        let Some(length) = frame.len().checked_sub(HEADERS).filter(|_| self.config.ahead) else { return false };
        let link = &self.link;
        let room = link.limit.wrapping_sub(link.left) as i32;
        if !link.open || link.queued != link.left || room < length as i32 || !self.is_up() {
            return false;
        }
        let (headers, message) = frame.split_at_mut(HEADERS);
        if !self.queue(message) {
            return false;
        }
        let link = &mut self.link;
        headers.copy_from_slice(&link.template);
        complete(headers, message, link.left, PSH | ACK);
        link.left = link.left.wrapping_add(length as u32);
        link.counters.ahead += 1;
        true
    }

    /// Take the bytes of the stream that have arrived, as far as `into` has room; how many.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        self.socket_mut().recv_slice(into).unwrap_or(0)
    }

    /// What was counted.
    pub fn counters(&self) -> &TcpCounters {
        &self.link.counters
    }

    fn queue(&mut self, bytes: &[u8]) -> bool {
        if !self.has_room(bytes.len()) {
            return false;
        }
        // It has room for all of them.
        let queued = self.socket_mut().send_slice(bytes).is_ok_and(|n| n == bytes.len());
        self.link.queued = self.link.queued.wrapping_add(bytes.len() as u32);
        queued
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get::<tcp::Socket>(self.handle)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut::<tcp::Socket>(self.handle)
    }
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tcp {{ {} to {}, {} }}", self.config.source, self.config.destination, self.socket().state())
    }
}

impl Link {
    /// A frame arrived: what it says of the server's window.
    #[inline]
    fn heard(&mut self, frame: &[u8]) {
        let Some(segment) = Segment::parse(frame) else { return };
        let server = segment.source == *self.destination.ip() && segment.source_port == self.destination.port();
        if !server || segment.destination_port != self.local {
            return;
        }
        if segment.flags & SYN != 0 {
            if self.open {
                return;
            }
            self.scale = window_scale(&frame[AT..]).min(14);
            self.limit = segment.acknowledged.wrapping_add(segment.window.into());
            return;
        }
        if segment.flags & (ACK | RST) == ACK {
            let limit = segment.acknowledged.wrapping_add(u32::from(segment.window) << self.scale);
            // An old segment must not make it larger than it is; a window does not shrink.
            if limit.wrapping_sub(self.limit) as i32 > 0 {
                self.limit = limit;
            }
        }
    }

    /// A frame that the stack has made, in `scratch`: send it, or what of it has not left yet.
    fn pass(&mut self, length: usize, emit: &mut dyn FnMut(&[u8]) -> bool) {
        let Some(segment) = Segment::parse(&self.scratch[..length]) else {
            match self.scratch.first_chunk() {
                // Who knows the next hop shares the port with somebody who answers ARP.
                Some(frame) if self.next_hop.is_some() && frame[12..14] == ETHERTYPE_ARP => {
                    self.asked = Some(*frame).filter(|frame| frame[20..22] == ARP_REQUEST);
                }
                _ => self.emit(length, emit),
            }
            return;
        };
        let end = segment.sequence.wrapping_add(segment.payload as u32);
        if segment.flags & SYN != 0 {
            let next = segment.sequence.wrapping_add(1);
            (self.left, self.made, self.queued, self.open) = (next, next, next, false);
            self.emit(length, emit);
            return;
        }
        if segment.flags & RST == 0 && segment.header == TCP {
            self.template.copy_from_slice(&self.scratch[..HEADERS]);
            self.open = segment.flags & FIN == 0;
        }
        // After a loss the stack may put bytes into a segment that have left, or that it had not made one of before.
        let new = segment.payload > 0 && after(end, self.made);
        let whole = !after(self.made, segment.sequence);
        if new {
            self.made = end;
        }
        // What has options passes: an acknowledgement without them would not say the same.
        let plain = segment.header == TCP && segment.flags & FIN == 0;
        if new && whole && !after(end, self.left) && plain {
            self.counters.swallowed += 1;
            if segment.acknowledged == self.acknowledged {
                return;
            }
            self.counters.shrunk += 1;
            self.acknowledged = segment.acknowledged;
            let mut bare = [0; HEADERS];
            bare.copy_from_slice(&self.scratch[..HEADERS]);
            complete(&mut bare, &[], self.left, ACK);
            self.scratch[..HEADERS].copy_from_slice(&bare);
            self.emit(HEADERS, emit);
            return;
        }
        self.counters.repeated += u64::from(segment.payload > 0 && !(new && whole));
        if after(end, self.left) {
            self.left = end;
        }
        self.acknowledged = segment.acknowledged;
        self.emit(length, emit);
    }

    /// The answer to what the stack has asked: whoever it is about has the next hop's Ethernet address.
    fn answer(&mut self) -> Option<[u8; ARP]> {
        let (asked, next_hop) = (self.asked.take()?, self.next_hop?);
        let mut answer = asked;
        answer[..6].copy_from_slice(&asked[6..12]);
        answer[6..12].copy_from_slice(&next_hop);
        // RFC 826: the operation; the sender's two addresses; the target's.
        answer[20..22].copy_from_slice(&ARP_REPLY);
        answer[22..28].copy_from_slice(&next_hop);
        answer[28..32].copy_from_slice(&asked[38..42]);
        answer[32..42].copy_from_slice(&asked[22..32]);
        Some(answer)
    }

    fn emit(&mut self, length: usize, emit: &mut dyn FnMut(&[u8]) -> bool) {
        if !emit(&self.scratch[..length]) {
            self.counters.no_frame += 1;
        }
    }
}

/// Whether one sequence number comes after another.
#[inline]
fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// Finish the headers of a segment, which are a template's, in front of `payload`.
#[inline]
fn complete(headers: &mut [u8], payload: &[u8], sequence: u32, flags: u8) {
    let ip = ethernet::HEADER;
    let length = (HEADERS - ip + payload.len()) as u16;
    headers[ip + 2..ip + 4].copy_from_slice(&length.to_be_bytes());
    headers[ip + 10..ip + 12].fill(0);
    let sum = checksum(&headers[ip..AT]);
    headers[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    headers[AT + 4..AT + 8].copy_from_slice(&sequence.to_be_bytes());
    headers[AT + 13] = flags;
    headers[AT + 16..AT + 18].fill(0);
    let [high, low] = (length - ipv4::HEADER as u16).to_be_bytes();
    let pseudo = Checksum::new().with(&headers[ip + 12..AT]).with(&[0, ipv4::TCP, high, low]);
    let sum = pseudo.with(&headers[AT..]).with(payload).finish();
    headers[AT + 16..AT + 18].copy_from_slice(&sum.to_be_bytes());
}

/// The fields of a TCP segment that matter here.
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    window: u16,
    /// Bytes of the TCP header.
    header: usize,
    payload: usize,
}

impl Segment {
    /// `None` when it is no whole TCP segment in an untagged frame, with an IPv4 header without options.
    #[inline]
    fn parse(frame: &[u8]) -> Option<Segment> {
        let headers: &[u8; HEADERS] = frame.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        let double = |at: usize| u32::from_be_bytes([headers[at], headers[at + 1], headers[at + 2], headers[at + 3]]);
        let ip = ethernet::HEADER;
        if word(12) != ethernet::IPV4 || headers[ip] != 0x45 || headers[ip + 9] != ipv4::TCP {
            return None;
        }
        let header = usize::from(headers[AT + 12] >> 4) * 4;
        let payload = usize::from(word(ip + 2)).checked_sub(ipv4::HEADER + header).filter(|_| header >= TCP)?;
        if frame.len() < AT + header + payload {
            return None;
        }
        Some(Segment {
            source: Ipv4Addr::from(double(ip + 12)),
            source_port: word(AT),
            destination_port: word(AT + 2),
            sequence: double(AT + 4),
            acknowledged: double(AT + 8),
            flags: headers[AT + 13],
            window: word(AT + 14),
            header,
            payload,
        })
    }
}

/// The window scale that a SYN offers; 0 when it offers none. RFC 7323, section 2.2.
fn window_scale(segment: &[u8]) -> u8 {
    let header = segment.get(12).map_or(TCP, |offset| usize::from(offset >> 4) * 4);
    let mut options = segment.get(TCP..header).unwrap_or(&[]);
    loop {
        match *options {
            [3, 3, scale, ..] => return scale,
            [1, ref rest @ ..] => options = rest,
            [0, ..] | [] | [_] => return 0,
            [_, length, ..] => match options.get(usize::from(length.max(2))..) {
                Some(rest) => options = rest,
                None => return 0,
            },
        }
    }
}

/// The stack's view of the port for one call.
struct Device<'a> {
    link: &'a mut Link,
    frame: Option<&'a [u8]>,
    emit: &'a mut dyn FnMut(&[u8]) -> bool,
}

/// A frame in.
struct Received<'t>(&'t [u8]);

/// A frame out.
struct Sending<'t> {
    link: &'t mut Link,
    emit: &'t mut dyn FnMut(&[u8]) -> bool,
}

impl phy::Device for Device<'_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Sending<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        Some((Received(frame), Sending { link: self.link, emit: self.emit }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending { link: self.link, emit: self.emit })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The stack keeps to the capabilities above.
        let result = f(&mut self.link.scratch[..len]);
        self.link.pass(len, self.emit);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::{self, Peer};
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// A server on an unmodified stack of its own, and the wire between: frames may be lost on the way.
    struct Net {
        client: Tcp,
        server: Peer,
        to_server: VecDeque<Vec<u8>>,
        received: Vec<u8>,
        now_us: i64,
        /// One frame in so many is lost, in either direction; 0: none.
        lose_every: u64,
        carried: u64,
        /// Frames of the client that are no IPv4.
        others: usize,
    }

    impl Net {
        fn new(ahead: bool, window: usize) -> Net {
            Net::of(TcpConfig { ahead, ..peer::tcp() }, window)
        }

        fn of(config: TcpConfig, window: usize) -> Net {
            let mut client = Tcp::new(config);
            assert!(client.connect());
            Net {
                client,
                server: Peer::new(window),
                to_server: VecDeque::new(),
                received: Vec::new(),
                now_us: 0,
                lose_every: 0,
                carried: 0,
                others: 0,
            }
        }

        fn lost(&mut self) -> bool {
            // In no rhythm: a stack that repeats itself in the same one would lose the same frame for ever.
            self.carried = self.carried.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.lose_every > 0 && (self.carried >> 33).is_multiple_of(self.lose_every)
        }

        /// Half a millisecond of both ends.
        fn turn(&mut self, server_reads: bool) {
            self.now_us += 500;
            let Net { client, to_server, .. } = self;
            client.poll(self.now_us, &mut |frame| {
                to_server.push_back(frame.to_vec());
                true
            });
            while let Some(frame) = self.to_server.pop_front() {
                if self.lost() {
                    continue;
                }
                self.others += usize::from(frame[12..14] != [8, 0]);
                self.server.poll(self.now_us, Some(frame));
            }
            self.server.poll(self.now_us, None);
            if server_reads {
                self.received.extend(self.server.read());
            }
            while let Some(frame) = self.server.out.pop_front() {
                if self.lost() {
                    continue;
                }
                let Net { client, to_server, .. } = self;
                client.receive(&frame, self.now_us, &mut |frame| {
                    to_server.push_back(frame.to_vec());
                    true
                });
            }
        }

        fn connected(mut self) -> Net {
            for _ in 0..2000 {
                self.turn(true);
                if self.client.is_up() && self.client.link.open {
                    return self;
                }
            }
            panic!("no connection: {:?}", self.client);
        }

        /// Ahead where it can be, as tx does it; else by the stack.
        fn send(&mut self, message: &[u8]) -> bool {
            let mut frame = [&[0; HEADERS][..], message].concat();
            if self.client.ahead(&mut frame) {
                self.to_server.push_back(frame);
                return true;
            }
            self.client.send(message)
        }

        fn reply(&mut self, bytes: &[u8]) {
            self.server.send(bytes);
        }
    }

    fn message(i: usize) -> Vec<u8> {
        (0..30 + i % 40).map(|at| (i * 7 + at) as u8).collect()
    }

    #[test]
    fn what_goes_ahead_is_the_segment_the_stack_would_send_and_is_sent_once() {
        let mut net = Net::new(true, 1 << 16).connected();
        let mut sent = Vec::new();
        for i in 0..50 {
            assert!(net.send(&message(i)));
            sent.extend(message(i));
            net.turn(true);
        }
        assert_eq!(net.received, sent);
        let counters = *net.client.counters();
        assert_eq!((counters.ahead, counters.swallowed, counters.by_stack, counters.repeated), (50, 50, 0, 0));
    }

    #[test]
    fn several_at_once_leave_ahead_and_the_stack_catches_up() {
        let mut net = Net::new(true, 1 << 16).connected();
        let mut sent = Vec::new();
        for burst in 0..20 {
            for i in 0..burst {
                assert!(net.send(&message(i)));
                sent.extend(message(i));
            }
            net.turn(true);
        }
        net.turn(true);
        assert_eq!(net.received, sent);
        assert_eq!(net.client.counters().repeated, 0);
    }

    #[test]
    fn an_acknowledgement_that_a_swallowed_segment_carried_still_leaves() {
        let mut net = Net::new(true, 1 << 16).connected();
        let mut read = [0; 4096];
        for i in 0..20 {
            net.reply(b"heard you");
            // The reply arrives, and an order leaves before the stack has acknowledged it.
            net.server.poll(net.now_us, None);
            assert!(net.send(&message(i)));
            net.turn(true);
            assert_eq!(net.client.read(&mut read), 9);
        }
        for _ in 0..4 {
            net.turn(true);
        }
        // Nothing is left unacknowledged on either side.
        assert_eq!(net.server.unacknowledged(), 0);
        assert_eq!(net.client.socket().send_queue(), 0);
        assert_eq!(net.client.counters().repeated, 0);
    }

    #[test]
    fn a_segment_with_options_is_not_swallowed() {
        let mut net = Net::new(true, 1 << 16).connected();
        assert!(net.send(b"order"));
        let link = &mut net.client.link;
        // The stack's own segment of what went ahead, with four bytes of padding as options.
        let mut made = [&link.template[..], &[1; 4], b"order"].concat();
        made[16..18].copy_from_slice(&49u16.to_be_bytes());
        made[AT + 4..AT + 8].copy_from_slice(&link.made.to_be_bytes());
        made[AT + 12] = 6 << 4;
        link.scratch[..made.len()].copy_from_slice(&made);
        let mut passed = Vec::new();
        link.pass(made.len(), &mut |frame| {
            passed.extend_from_slice(frame);
            true
        });
        assert_eq!(passed, made);
    }

    #[test]
    fn a_full_window_stops_what_goes_ahead() {
        let mut net = Net::new(true, 500).connected();
        let (mut sent, mut i) = (Vec::new(), 0);
        while net.client.link.limit.wrapping_sub(net.client.link.left) >= 70 {
            assert!(net.send(&message(i)));
            sent.extend(message(i));
            i += 1;
        }
        let ahead = net.client.counters().ahead;
        for _ in 0..10 {
            let more = [9; 100];
            assert!(net.send(&more));
            sent.extend(more);
            net.turn(false);
        }
        assert_eq!(net.client.counters().ahead, ahead, "nothing overtakes what waits");
        for _ in 0..20_000 {
            net.turn(true);
        }
        assert_eq!(net.received, sent);
    }

    #[test]
    fn a_closed_connection_is_closed_and_another_can_be_made() {
        let mut net = Net::new(true, 1 << 16).connected();
        net.client.abort();
        net.turn(true);
        assert!(net.client.is_closed() && !net.client.ahead(&mut [0; 80]));
        net.server.cut(net.now_us);
        assert!(net.client.connect());
        let mut net = net.connected();
        assert!(net.send(b"again"));
        net.turn(true);
        assert_eq!(net.received, b"again");
        assert_eq!(net.client.counters().ahead, 1);
    }

    #[test]
    fn with_a_next_hop_no_arp_leaves_and_all_the_world_is_next_to_us() {
        let (next_hop, prefix) = (Some([2, 0, 0, 0, 0, 2]), 31);
        let mut net = Net::of(TcpConfig { next_hop, prefix, last_port: 40_001, ..peer::tcp() }, 1 << 16);
        // What the kernel of our port answers for us: the client is where it is.
        let told = |net: &mut Net| {
            let mut answer = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat();
            answer.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
            net.server.poll(net.now_us, Some(answer));
        };
        let mut ports = Vec::new();
        for _ in 0..3 {
            told(&mut net);
            net = net.connected();
            ports.push(net.client.link.local);
            // Longer than a stack remembers a neighbour.
            net.now_us += 100_000_000;
            told(&mut net);
            net.received.clear();
            assert!(net.client.send(b"still here"));
            (0..10_000).for_each(|_| net.turn(true));
            assert_eq!((&net.received[..], net.others), (&b"still here"[..], 0));
            net.client.abort();
            net.turn(true);
            net.server.cut(net.now_us);
            assert!(net.client.connect());
        }
        assert_eq!(ports, [40_000, 40_001, 40_000]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_stream_is_whole_whatever_is_lost(
            lose_every in 4u64..12,
            ahead in any::<bool>(),
            steps in prop::collection::vec((0usize..6, any::<bool>()), 1..60),
        ) {
            let mut net = Net::new(ahead, 4000).connected();
            net.lose_every = lose_every;
            let (mut sent, mut replied, mut heard) = (Vec::new(), Vec::<u8>::new(), Vec::<u8>::new());
            let mut read = [0; 4096];
            for (n, reply) in steps {
                for i in 0..n {
                    if net.send(&message(i)) {
                        sent.extend(message(i));
                    }
                }
                if reply {
                    net.reply(b"reply");
                    replied.extend(b"reply");
                }
                net.turn(true);
                let n = net.client.read(&mut read);
                heard.extend(&read[..n]);
            }
            // A segment that is lost again and again is repeated after ever longer, a minute in the end.
            for _ in 0..4_000_000 {
                if net.received.len() >= sent.len() && heard.len() >= replied.len() {
                    break;
                }
                net.turn(true);
                let n = net.client.read(&mut read);
                heard.extend(&read[..n]);
            }
            prop_assert!(sent.starts_with(&net.received), "bytes are as they were sent");
            prop_assert_eq!(net.received.len(), sent.len());
            prop_assert_eq!(heard, replied);
            // When the loss is over, orders go ahead again.
            net.lose_every = 0;
            for _ in 0..20_000 {
                net.turn(true);
            }
            prop_assert!(!net.client.is_behind());
            let before = net.client.counters().ahead;
            prop_assert!(net.send(b"last"));
            net.turn(true);
            prop_assert_eq!(net.client.counters().ahead - before, u64::from(ahead));
            prop_assert!(net.received.ends_with(b"last"));
        }

        #[test]
        fn frames_of_any_bytes_do_no_harm(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20), keep in 0usize..60) {
            let mut net = Net::new(true, 1 << 16).connected();
            for bytes in frames {
                // The front of a real frame, so that some get further than the first check.
                let mut frame = net.client.link.template.to_vec();
                frame.truncate(keep);
                frame.extend(bytes);
                net.client.receive(&frame, net.now_us, &mut |_| true);
            }
            net.turn(true);
        }
    }
}
