//! The feed: messages come in, MoldUDP64 packets leave on one or two lines, each line with its own misfortunes. Every
//! message is kept, for those who ask again.

use super::batch::Batch;
use super::harm::{LineHarm, Silence};
use super::mold::{self, END_OF_SESSION};
use crate::synth::draw::Draw;
use serde::Serialize;
use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Stream of draws of line A; line B has the next.
const DRAWS: u64 = 1 << 32;

/// The lines and everything that was ever published on them.
pub struct Feed {
    session: [u8; 10],
    published: Batch,
    lines: Vec<Line>,
    heartbeat: Duration,
    silence: Option<Silence>,
    silent_until: Option<Instant>,
    /// When a packet or a heartbeat was due last.
    last: Instant,
    packet: Vec<u8>,
    is_over: bool,
    packets: u64,
    heartbeats: u64,
}

/// One line.
pub struct Line {
    socket: UdpSocket,
    to: SocketAddrV4,
    harm: LineHarm,
    draw: Draw,
    /// A packet that waits for its successor to go first.
    held: Option<Vec<u8>>,
    /// Packets that go late, the first due first.
    late: Vec<(Instant, Vec<u8>)>,
    counts: LineCounts,
}

/// What became of the packets of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineCounts {
    /// Datagrams handed to the kernel, heartbeats, late ones and duplicates included.
    pub sent: u64,
    /// Data packets never sent.
    pub dropped: u64,
    /// Data packets sent twice.
    pub duplicated: u64,
    /// Data packets sent after their successor.
    pub reordered: u64,
    /// Data packets sent late.
    pub delayed: u64,
    /// Data packets that fell into a silence.
    pub silenced: u64,
    /// Datagrams that the kernel refused, such as to a port where nobody listens.
    pub refused: u64,
}

impl Line {
    /// Line number `number` to `to`, out of `socket`.
    pub fn new(number: u64, socket: UdpSocket, to: SocketAddrV4, harm: LineHarm, seed: u64) -> Line {
        let draw = Draw::new(seed, DRAWS + number);
        Line { socket, to, harm, draw, held: None, late: Vec::new(), counts: LineCounts::default() }
    }

    fn data(&mut self, packet: &[u8], now: Instant) {
        let LineHarm { drop, duplicate, reorder, delay, delay_by } = self.harm;
        let [drop, duplicate, reorder, delay] =
            [drop, duplicate, reorder, delay].map(|odds| odds.strike(&mut self.draw));
        if drop {
            self.counts.dropped += 1;
            return;
        }
        if delay {
            self.counts.delayed += 1;
            self.late.push((now + delay_by, packet.to_vec()));
            return;
        }
        if reorder && self.held.is_none() {
            self.counts.reordered += 1;
            self.held = Some(packet.to_vec());
            return;
        }
        self.send(packet);
        if duplicate {
            self.counts.duplicated += 1;
            self.send(packet);
        }
        self.release_held();
    }

    fn release_held(&mut self) {
        if let Some(packet) = self.held.take() {
            self.send(&packet);
        }
    }

    fn release_late(&mut self, now: Instant) {
        let due = self.late.iter().take_while(|(due, _)| *due <= now).count();
        for (_, packet) in self.late.drain(..due).collect::<Vec<_>>() {
            self.send(&packet);
        }
    }

    fn send(&mut self, packet: &[u8]) {
        match self.socket.send_to(packet, self.to) {
            Ok(_) => self.counts.sent += 1,
            Err(err) => {
                // Another datagram's ICMP answer may be reported here; this one then did not leave.
                log::debug!("line to {}: {err}", self.to);
                self.counts.refused += 1;
            }
        }
    }
}

impl Feed {
    /// A feed that has said nothing yet. After `heartbeat` without a packet it sends a heartbeat.
    pub fn new(session: [u8; 10], lines: Vec<Line>, heartbeat: Duration, silence: Option<Silence>) -> Feed {
        Feed {
            session,
            published: Batch::default(),
            lines,
            heartbeat,
            silence,
            silent_until: None,
            last: Instant::now(),
            packet: Vec::with_capacity(mold::PAYLOAD_MAX),
            is_over: false,
            packets: 0,
            heartbeats: 0,
        }
    }

    /// Publishes messages, in as few packets as hold them.
    pub fn publish(&mut self, messages: &Batch, now: Instant) {
        let mut from = self.published.len();
        messages.iter().for_each(|message| self.published.push(message));
        while from < self.published.len() {
            from += mold::fill(&mut self.packet, self.session, &self.published, from, usize::MAX);
            self.packets += 1;
            self.fall_silent(now);
            let silent = self.is_silent();
            for line in &mut self.lines {
                match silent {
                    true => line.counts.silenced += 1,
                    false => line.data(&self.packet, now),
                }
            }
            self.last = now;
        }
    }

    /// Sends what is due by now: late packets, a heartbeat, the end of the session once more.
    pub fn tick(&mut self, now: Instant) {
        if self.silent_until.is_some_and(|until| until <= now) {
            self.silent_until = None;
        }
        if self.is_silent() {
            return;
        }
        for line in &mut self.lines {
            line.release_late(now);
        }
        if now.duration_since(self.last) >= self.heartbeat {
            self.say(if self.is_over { END_OF_SESSION } else { 0 }, now);
        }
    }

    /// From now on the end of the session is said in place of heartbeats, at once for the first time.
    pub fn end(&mut self, now: Instant) {
        self.is_over = true;
        self.silent_until = None;
        self.say(END_OF_SESSION, now);
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Instant {
        let late = self.lines.iter().filter_map(|line| line.late.first()).map(|&(due, _)| due);
        let beat = self.silent_until.unwrap_or(self.last + self.heartbeat);
        late.filter(|_| !self.is_silent()).min().map_or(beat, |late| late.min(beat))
    }

    /// Everything that was published; position 0 has sequence number 1.
    pub fn published(&self) -> &Batch {
        &self.published
    }

    /// Session, ASCII.
    pub fn session(&self) -> [u8; 10] {
        self.session
    }

    /// Sequence number of the message to come.
    pub fn next_sequence(&self) -> u64 {
        self.published.len() as u64 + 1
    }

    /// Data packets so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Heartbeats so far, ends of session not included.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// Each line's counts.
    pub fn counts(&self) -> Vec<LineCounts> {
        self.lines.iter().map(|line| line.counts).collect()
    }

    /// A packet without messages, on every line, behind whatever was held back.
    fn say(&mut self, count: u16, now: Instant) {
        mold::control(&mut self.packet, self.session, self.published.len() as u64 + 1, count);
        self.heartbeats += u64::from(count == 0);
        for line in &mut self.lines {
            line.release_held();
            line.send(&self.packet);
        }
        self.last = now;
    }

    fn fall_silent(&mut self, now: Instant) {
        if let Some(silence) = self.silence.take_if(|silence| silence.at <= self.published.len() as u64) {
            self.silent_until = Some(now + silence.lasts);
        }
    }

    fn is_silent(&self) -> bool {
        self.silent_until.is_some()
    }
}

/// A socket for a line: bound to the interface's address, its multicast leaving there with this many hops to go.
///
/// # Errors
/// What the kernel says.
pub fn line_socket(interface: std::net::Ipv4Addr, ttl: u32) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((interface, 0))?;
    socket.set_multicast_ttl_v4(ttl)?;
    if !interface.is_unspecified() {
        crate::sys::multicast::set_interface(&socket, interface)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A feed to a socket of ours.
    fn feed(harm: &str, silence: Option<Silence>) -> (Feed, UdpSocket) {
        let to = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        to.set_nonblocking(true).unwrap();
        let std::net::SocketAddr::V4(address) = to.local_addr().unwrap() else { panic!("an IPv4 socket") };
        let harm = if harm.is_empty() { LineHarm::default() } else { harm.parse().unwrap() };
        let line = Line::new(0, line_socket(Ipv4Addr::LOCALHOST, 1).unwrap(), address, harm, 7);
        (Feed::new(*b"SESSION001", vec![line], Duration::from_secs(1), silence), to)
    }

    /// First sequence number and count of each packet that arrived.
    fn arrived(socket: &UdpSocket) -> Vec<(u8, u16)> {
        let mut bytes = [0; 2048];
        let packets = std::iter::from_fn(|| {
            socket.recv(&mut bytes).ok().map(|_| (bytes[17], u16::from_be_bytes([bytes[18], bytes[19]])))
        });
        packets.collect()
    }

    fn publish(feed: &mut Feed, times: u32, now: Instant) {
        let mut one = Batch::default();
        one.push(b"message");
        (0..times).for_each(|_| feed.publish(&one, now));
    }

    #[test]
    fn packets_are_numbered_and_a_quiet_line_has_a_heartbeat() {
        let (mut feed, socket) = feed("", None);
        let now = Instant::now();
        publish(&mut feed, 2, now);
        feed.tick(now);
        feed.tick(now + Duration::from_secs(1));
        feed.end(now + Duration::from_secs(1));
        assert_eq!(arrived(&socket), [(1, 1), (2, 1), (3, 0), (3, 0xFFFF)]);
        assert_eq!((feed.packets(), feed.heartbeats(), feed.next_sequence()), (2, 1, 3));
    }

    #[test]
    fn each_misfortune_does_what_it_is_called() {
        let now = Instant::now();
        let told = |harm, later: Duration| {
            let (mut feed, socket) = feed(harm, None);
            publish(&mut feed, 3, now);
            feed.tick(now + later);
            (arrived(&socket), feed.counts()[0])
        };
        let (none, counts) = told("drop=1", Duration::ZERO);
        assert_eq!((none, counts.dropped, counts.sent), (vec![], 3, 0));
        let (twice, counts) = told("duplicate=1", Duration::ZERO);
        assert_eq!((twice, counts.duplicated), (vec![(1, 1), (1, 1), (2, 1), (2, 1), (3, 1), (3, 1)], 3));
        let (late, counts) = told("delay=1,delay-by=1ms", Duration::from_millis(1));
        assert_eq!((late, counts.delayed), (vec![(1, 1), (2, 1), (3, 1)], 3));
        assert_eq!(told("delay=1,delay-by=2ms", Duration::from_millis(1)).0, []);
        // The first waits for the second, the third for a heartbeat.
        let (overtaken, counts) = told("reorder=1", Duration::from_secs(1));
        assert_eq!((overtaken, counts.reordered), (vec![(2, 1), (1, 1), (3, 1), (4, 0)], 2));
    }

    #[test]
    fn the_same_seed_harms_the_same_packets() {
        let told = |harm| {
            let (mut feed, socket) = feed(harm, None);
            publish(&mut feed, 60, Instant::now());
            arrived(&socket)
        };
        let first = told("drop=0.3,duplicate=0.2,reorder=0.1");
        assert_eq!(first, told("drop=0.3,duplicate=0.2,reorder=0.1"));
        assert!(first.len() > 20 && first.len() < 70, "{first:?}");
        // Another kind of harm besides leaves the lost ones lost.
        let sequences = |packets: &[(u8, u16)]| packets.iter().map(|p| p.0).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sequences(&told("drop=0.3,duplicate=1")), sequences(&told("drop=0.3")));
    }

    #[test]
    fn what_is_published_in_a_silence_is_lost_on_the_line_and_kept() {
        let lasts = Duration::from_secs(5);
        let (mut feed, socket) = feed("", Some(Silence { at: 3, lasts }));
        let now = Instant::now();
        publish(&mut feed, 4, now);
        feed.tick(now + Duration::from_secs(4));
        assert_eq!((arrived(&socket), feed.counts()[0].silenced), (vec![(1, 1), (2, 1)], 2));
        feed.tick(now + lasts);
        publish(&mut feed, 1, now + lasts);
        assert_eq!(arrived(&socket), [(5, 0), (5, 1)]);
        assert_eq!(feed.published().len(), 5);
    }
}
