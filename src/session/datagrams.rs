//! A connection of numbered UDP datagrams, for labs: what goes over TCP elsewhere goes one message a datagram. Messages
//! and frames from the order port come in; frames to send, and the bytes of the stream, go out.
//!
//! A datagram begins with its number, eight bytes, from 1 on in each direction of each connection. Nothing is repeated: a
//! number that is missing ends the connection, as a broken TCP connection would, and the session logs in again where it
//! left off. What comes twice is dropped. Number 0, without a message, says that the other end has no such connection.
//! Only the last datagram before the end is repeated, until the other end has said that. Frames have to leave in the order
//! in which they were made. ARP requests for our address are answered; none is sent. Never waits, never allocates after
//! [`Datagrams::new`].

use super::client::LONGEST_SENT;
use super::udp::{Endpoint, HEADERS as UDP, UdpHeaders};
use crate::wire::{ethernet, ipv4, udp};
use arrayvec::ArrayVec;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use std::collections::VecDeque;

/// Bytes in front of a message: Ethernet, IPv4 and UDP headers, and the number.
pub const HEADERS: usize = UDP + NUMBER;
const NUMBER: usize = 8;
/// Messages that wait to be sent.
const QUEUE: usize = 256;
/// Between repetitions of the last datagram, in µs, and how many there are.
const REPEAT_US: i64 = 20_000;
const REPEATS: u32 = 50;

/// A whole frame of the session's own.
type Frame = ArrayVec<u8, { HEADERS + LONGEST_SENT }>;

/// The connection.
#[derive(Debug)]
pub struct Datagrams {
    headers: UdpHeaders,
    from: Endpoint,
    to: Endpoint,
    /// Of this connection; each takes the next, so that a datagram of the last one is not taken for one of this,
    port: u16,
    /// and after this one the first again.
    last_port: u16,
    state: State,
    /// Number of the last datagram sent, and of the last that arrived.
    sent: u64,
    heard: u64,
    incoming: VecDeque<u8>,
    outgoing: VecDeque<Frame>,
    last: Frame,
    repeat_at: i64,
    repeats: u32,
    counters: DatagramCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    /// The other end has no such connection any more, or a datagram is missing.
    Ended,
    /// It shall be closed.
    Closing,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounters {
    /// Messages that left at once.
    pub ahead: u64,
    /// Messages that were queued first.
    pub queued: u64,
    /// Connections that ended because a datagram was missing.
    pub missing: u64,
    /// Datagrams that came twice, or after their successor.
    pub repeated: u64,
}

impl DatagramCounters {
    /// Each counter with its name.
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("sent_ahead", self.ahead),
            ("sent_queued", self.queued),
            ("datagrams_missing", self.missing),
            ("datagrams_repeated", self.repeated),
        ]
    }
}

impl Datagrams {
    /// No connection yet, from one end to the other; the first takes the port of `from`, the others those up to `last_port` in
    /// turn. `buffer`: bytes of the stream that are kept.
    pub fn new(from: Endpoint, to: Endpoint, last_port: u16, buffer: usize) -> Datagrams {
        Datagrams {
            headers: UdpHeaders::new(from, to),
            from,
            to,
            port: last_port,
            last_port,
            state: State::Closed,
            sent: 0,
            heard: 0,
            incoming: VecDeque::with_capacity(buffer),
            outgoing: VecDeque::with_capacity(QUEUE),
            last: Frame::new(),
            repeat_at: 0,
            repeats: 0,
            counters: DatagramCounters::default(),
        }
    }

    /// Begin a connection. False while another is being closed.
    pub fn connect(&mut self) -> bool {
        if self.state != State::Closed {
            return false;
        }
        self.port = if self.port < self.last_port { self.port + 1 } else { self.from.address.port() };
        self.headers.leave_from(self.port);
        (self.state, self.sent, self.heard) = (State::Open, 0, 0);
        self.incoming.clear();
        self.outgoing.clear();
        true
    }

    /// Whether messages can be sent and received.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.state == State::Open
    }

    /// Whether there is no connection.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether nothing more will come, and all that came was read.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended && self.incoming.is_empty()
    }

    /// Send what is queued, then close.
    pub fn close(&mut self) {
        match self.state {
            State::Open => (self.state, self.repeats) = (State::Closing, 0),
            State::Ended => self.state = State::Closed,
            State::Closing | State::Closed => {}
        }
    }

    /// Close at once; what was not read is forgotten.
    pub fn abort(&mut self) {
        self.state = State::Closed;
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// A frame that arrived. `emit` gets the frame to send, if it asks for an answer of its own, and says whether it could
    /// take it.
    pub fn receive(&mut self, frame: &[u8], emit: &mut dyn FnMut(&[u8]) -> bool) {
        match ethernet::Frame::parse(frame) {
            Ok(frame) if frame.ethertype() == ARP => self.answer_arp(frame.payload(), emit),
            Ok(frame) if frame.ethertype() == ethernet::IPV4 => {
                if let Some(datagram) = self.addressed(frame.payload()) {
                    self.hear(datagram);
                }
            }
            _ => {}
        }
    }

    /// Send what is queued, as far as `emit` takes it, and repeat the last datagram of a connection that is being closed.
    pub fn poll(&mut self, now_us: i64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        while let Some(frame) = self.outgoing.front() {
            if !emit(frame) {
                return;
            }
            // A frame of the front is there.
            self.last = self.outgoing.pop_front().unwrap_or_default();
        }
        if self.state != State::Closing {
            return;
        }
        if self.repeats == 0 {
            (self.repeats, self.repeat_at) = (1, now_us + REPEAT_US);
        } else if now_us >= self.repeat_at {
            if self.repeats == REPEATS {
                self.state = State::Closed;
                return;
            }
            emit(&self.last);
            (self.repeats, self.repeat_at) = (self.repeats + 1, now_us + REPEAT_US);
        }
    }

    /// Whether something is queued.
    #[inline]
    pub fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Queue a message; false when there is no room. [`Datagrams::poll`] sends it.
    pub fn send(&mut self, message: &[u8]) -> bool {
        if !self.has_room(message.len()) {
            return false;
        }
        let mut frame = Frame::from_iter([0; HEADERS]);
        // Its length was looked at.
        let _ = frame.try_extend_from_slice(message);
        self.finish(&mut frame);
        self.outgoing.push_back(frame);
        self.counters.queued += 1;
        true
    }

    /// Whether a message of so many bytes could be queued.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.is_up() && self.outgoing.len() < QUEUE && bytes <= LONGEST_SENT
    }

    /// Make `frame` a finished one that may leave at once: its message begins at [`HEADERS`], and what lies before is
    /// written here. False, and nothing done, when it may overtake something, or the connection is not open.
    #[inline]
    pub fn ahead(&mut self, frame: &mut [u8]) -> bool {
        if !self.is_up() || self.is_behind() || frame.len() < HEADERS {
            return false;
        }
        self.finish(frame);
        self.counters.ahead += 1;
        true
    }

    /// Take the bytes of the stream that have arrived, as far as `into` has room; how many.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let (front, _) = self.incoming.as_slices();
        let n = front.len().min(into.len());
        into[..n].copy_from_slice(&front[..n]);
        self.incoming.drain(..n);
        n
    }

    /// What was counted.
    pub fn counters(&self) -> &DatagramCounters {
        &self.counters
    }

    /// The next number and the headers, in front of a message.
    #[inline]
    fn finish(&mut self, frame: &mut [u8]) {
        self.sent += 1;
        frame[UDP..HEADERS].copy_from_slice(&self.sent.to_be_bytes());
        self.headers.finish(frame);
    }

    /// What an IPv4 packet carries, if it is a datagram of this connection.
    fn addressed<'f>(&self, packet: &'f [u8]) -> Option<&'f [u8]> {
        let packet = ipv4::Packet::parse(packet).ok()?;
        let ends = (packet.src(), packet.dst()) == (*self.to.address.ip(), *self.from.address.ip());
        if !ends || packet.protocol() != ipv4::UDP || packet.is_fragment() || !packet.checksum_fits() {
            return None;
        }
        let datagram = udp::Datagram::parse(packet.payload()).ok()?;
        let ports = (datagram.src_port(), datagram.dst_port()) == (self.to.address.port(), self.port);
        let whole = datagram.checksum(packet.src(), packet.dst()) != udp::ChecksumState::Wrong;
        (ports && whole).then(|| datagram.payload())
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Some((number, message)) = datagram.split_first_chunk() else { return };
        match u64::from_be_bytes(*number) {
            0 if self.state == State::Closing => self.state = State::Closed,
            _ if self.state != State::Open => {}
            0 => self.state = State::Ended,
            number if number <= self.heard => self.counters.repeated += 1,
            number if number == self.heard + 1 && self.incoming.capacity() - self.incoming.len() >= message.len() => {
                self.heard = number;
                self.incoming.extend(message);
            }
            _ => {
                self.counters.missing += 1;
                self.state = State::Ended;
            }
        }
    }

    #[cold]
    fn answer_arp(&self, packet: &[u8], emit: &mut dyn FnMut(&[u8]) -> bool) {
        let asked = ArpPacket::new_checked(packet).and_then(|packet| ArpRepr::parse(&packet));
        let Ok(ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: asker,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = asked
        else {
            return;
        };
        if target_protocol_addr != *self.from.address.ip() {
            return;
        }
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(self.from.mac),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: asker,
            target_protocol_addr: source_protocol_addr,
        };
        let mut frame = [0; ethernet::HEADER + ARP_PACKET];
        let headers = ethernet::Repr { dst: asker.0, src: self.from.mac, tags: ethernet::Tags::None, ethertype: ARP };
        // It has room for an untagged header.
        let _ = headers.emit(&mut frame);
        answer.emit(&mut ArpPacket::new_unchecked(&mut frame[ethernet::HEADER..]));
        // One that finds no room is asked for again.
        emit(&frame);
    }
}

/// EtherType of ARP, and bytes of a packet of it for IPv4 over Ethernet (RFC 826).
const ARP: u16 = 0x0806;
const ARP_PACKET: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        let address = format!("10.0.0.{last}:{port}").parse().unwrap();
        Endpoint { mac: [2, 0, 0, 0, 0, last], address }
    }

    fn link() -> Datagrams {
        let mut link = Datagrams::new(end(1, 40_000), end(2, 26_400), 40_001, 64);
        assert!(link.connect());
        link
    }

    /// A datagram of the exchange's, to a port.
    fn said(port: u16, number: u64, message: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; UDP][..], &number.to_be_bytes(), message].concat();
        UdpHeaders::new(end(2, 26_400), end(1, port)).finish(&mut frame);
        frame
    }

    fn hear(link: &mut Datagrams, frame: &[u8]) {
        link.receive(frame, &mut |_| panic!("no answer"));
    }

    fn read(link: &mut Datagrams) -> Vec<u8> {
        let mut bytes = [0; 64];
        let mut all = Vec::new();
        while let n @ 1.. = link.read(&mut bytes) {
            all.extend(&bytes[..n]);
        }
        all
    }

    fn polled(link: &mut Datagrams, now_us: i64) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        link.poll(now_us, &mut |frame| {
            frames.push(frame[UDP..].to_vec());
            true
        });
        frames
    }

    #[test]
    fn messages_arrive_in_their_order_and_once() {
        let mut link = link();
        for frame in [said(40_000, 1, b"ab"), said(40_000, 2, b"c"), said(40_000, 2, b"c"), said(40_000, 1, b"ab")] {
            hear(&mut link, &frame);
        }
        assert_eq!((read(&mut link), link.is_up(), link.counters().repeated), (b"abc".to_vec(), true, 2));
    }

    #[test]
    fn a_missing_number_ends_the_connection_after_what_came_before_it() {
        let mut link = link();
        hear(&mut link, &said(40_000, 1, b"ab"));
        hear(&mut link, &said(40_000, 3, b"d"));
        hear(&mut link, &said(40_000, 2, b"c"));
        assert!(!link.is_up() && !link.is_ended() && !link.send(b"x"));
        assert_eq!((read(&mut link), link.is_ended(), link.counters().missing), (b"ab".to_vec(), true, 1));
        link.abort();
        assert!(link.is_closed() && link.connect());
        // The next connection has a port and numbers of its own.
        hear(&mut link, &said(40_000, 1, b"old"));
        hear(&mut link, &said(40_001, 1, b"new"));
        assert_eq!(read(&mut link), b"new");
        // And the one after the last port the first again.
        link.abort();
        assert!(link.connect());
        hear(&mut link, &said(40_000, 1, b"again"));
        assert_eq!(read(&mut link), b"again");
    }

    #[test]
    fn what_finds_no_room_is_missing() {
        let mut link = link();
        let most = link.incoming.capacity();
        hear(&mut link, &said(40_000, 1, &vec![7; most]));
        hear(&mut link, &said(40_000, 2, b"c"));
        assert_eq!((read(&mut link).len(), link.is_ended()), (most, true));
        assert_eq!(link.incoming.capacity(), most);
    }

    #[test]
    fn what_is_not_of_this_connection_is_nothing() {
        let mut link = link();
        let good = said(40_000, 1, b"ab");
        for at in [12, 14, 23, 27, 33, 35, 37, 41, 44] {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            hear(&mut link, &wrong);
        }
        (0..good.len()).for_each(|length| hear(&mut link, &good[..length]));
        assert_eq!((read(&mut link), link.is_up()), (Vec::new(), true));
        hear(&mut link, &good);
        assert_eq!(read(&mut link), b"ab");
    }

    #[test]
    fn nothing_overtakes_what_is_queued() {
        let mut link = link();
        let mut order = [&[0; HEADERS][..], b"order"].concat();
        assert!(link.ahead(&mut order));
        assert_eq!(order[UDP..], *b"\0\0\0\0\0\0\0\x01order");
        assert!(link.send(b"beat") && !link.ahead(&mut order));
        link.poll(0, &mut |_| false);
        assert!(link.is_behind());
        assert_eq!(polled(&mut link, 0), [b"\0\0\0\0\0\0\0\x02beat"]);
        assert!(link.ahead(&mut order));
        let ip = ipv4::Packet::parse(&order[ethernet::HEADER..]).unwrap();
        let datagram = udp::Datagram::parse(ip.payload()).unwrap();
        assert_eq!(datagram.checksum(ip.src(), ip.dst()), udp::ChecksumState::Fits);
        assert_eq!((datagram.src_port(), datagram.payload()), (40_000, &b"\0\0\0\0\0\0\0\x03order"[..]));
    }

    #[test]
    fn the_last_datagram_is_repeated_until_the_other_end_is_gone() {
        let mut link = link();
        assert!(link.send(b"bye"));
        link.close();
        assert_eq!(polled(&mut link, 0), [b"\0\0\0\0\0\0\0\x01bye"]);
        assert!(polled(&mut link, REPEAT_US - 1).is_empty() && !link.is_closed());
        assert_eq!(polled(&mut link, REPEAT_US), [b"\0\0\0\0\0\0\0\x01bye"]);
        hear(&mut link, &said(40_000, 0, b""));
        assert!(link.is_closed());
        // Nor for ever, if nobody says so.
        assert!(link.connect() && link.send(b"bye"));
        link.close();
        let sent: usize = (0..200).map(|n| polled(&mut link, n * REPEAT_US).len()).sum();
        assert!(link.is_closed() && sent == REPEATS as usize, "{sent}");
    }

    #[test]
    fn who_asks_for_our_address_is_answered() {
        let mut link = link();
        let mut asked = [0xff; 42];
        asked[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        // Ethernet, IPv4, lengths, request; who asks, for whom.
        asked[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        asked[22..32].copy_from_slice(&[2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        asked[32..].copy_from_slice(&[0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let mut answers = Vec::new();
        let mut emit = |frame: &[u8]| {
            answers.push(frame.to_vec());
            true
        };
        link.receive(&asked, &mut emit);
        asked[41] = 3;
        link.receive(&asked, &mut emit);
        let mut expected = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2][..]].concat();
        expected.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        assert_eq!(answers, [expected]);
    }
}
