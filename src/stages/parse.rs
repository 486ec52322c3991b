//! parse: frames to elements.
//!
//! In: frames from rx, fused or by ring. Out: for each accepted packet one `Packet` element and its events. Decodes
//! Ethernet, VLAN tags, IPv4 and UDP, matches the destination to a line and channel, and hands the payload to the
//! feed, which owns sequence state and the symbol filter. The frame is freed here, once what was decoded has been
//! handed on as far as there was room. Never drops for want of room: it stops taking frames while a packet's worth of elements may not fit.

use super::{Ledger, Links, Rx, Shared, Stamps};
use crate::cpu::rdtsc;
use crate::dpdk::{Burst, Checksum, Frame, free_burst, ring::Consumer, ring::Producer};
use crate::feed::{Feed, Moment, Verdict, Window};
use crate::latency::board::{Account, Count, Entry};
use crate::latency::clock::Scale;
use crate::market::{Element, Instrument, Packet};
use crate::port::{Arrival, Groups};
use crate::wire::{ethernet, igmp, ipv4, udp};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How a checksum is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A wrong one drops the packet, counted.
    Drop,
    /// A wrong one is counted and the packet goes on.
    Count,
    /// It is not looked at.
    Off,
}

/// One destination that the venue listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Index of the port and queue within the venue.
    pub port: u8,
    /// Destination address.
    pub address: Ipv4Addr,
    /// Destination UDP port.
    pub udp_port: u16,
    /// Line (A = 0 …).
    pub line: u8,
    /// Sequence domain.
    pub channel: u8,
}

/// Settings of one parse stage.
#[derive(Debug)]
pub struct ParseParts<'m> {
    /// From rx on another lcore; `None` when fused.
    pub input: Option<Consumer<Frame>>,
    /// Towards strategy on another lcore; `None` when fused.
    pub out: Option<Producer<Element>>,
    /// Sequence state, symbol filter, decoder.
    pub feed: Feed<'m>,
    /// Destinations.
    pub groups: Vec<Group>,
    /// What the port's other queues are for, where the device sorts packets into queues: none of it is to arrive here.
    pub elsewhere: Groups,
    /// Match destinations at all; off: everything is line 0 of its port, channel 0.
    pub addressing: bool,
    /// IPv4 header checksum.
    pub ip_checksum: Verify,
    /// UDP checksum; 0 in the packet means absent and passes.
    pub udp_checksum: Verify,
    /// How `parsed_tsc` is taken.
    pub stamps: Stamps,
    /// Elements decoded ahead of the book.
    pub window: usize,
    /// The clock that a live feed is heard by; `None` in a replay, where time passes with packets only.
    pub live: Option<Listening>,
}

/// Groups of the figures of a line.
const LINES: [&str; 8] = ["line A", "line B", "line C", "line D", "line E", "line F", "line G", "line H"];

/// How time passes between the packets of a live feed.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// TSC to ns of arrival.
    pub scale: Scale,
    /// A feed that has brought nothing on any line for so long is silent, in ns; 0 for never.
    pub silent_after_ns: u64,
}

/// Why frames were dropped, and what was merely counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParseCounters {
    frames: u64,
    bursts: u64,
    accepted: u64,
    segmented: u64,
    not_ipv4: u64,
    malformed: u64,
    fragment: u64,
    not_udp: u64,
    igmp_query: u64,
    ip_checksum: u64,
    udp_checksum: u64,
    other_group: u64,
    wrong_queue: u64,
    empty: u64,
    /// Packets whose wrong IPv4 checksum was counted and let through.
    pub ip_checksum_passed: u64,
    /// Packets whose wrong UDP checksum was counted and let through.
    pub udp_checksum_passed: u64,
}

/// The stage.
#[derive(Debug)]
pub struct Parse<'m> {
    parts: ParseParts<'m>,
    frames: Burst,
    /// How many of them are decoded.
    decoded: usize,
    window: Window,
    /// Frames that waited in the ring when this burst was taken.
    waiting: u16,
    last_group: usize,
    lap: u32,
    /// Nothing comes after what is here: packets that are held wait for nothing.
    ended: bool,
    /// When the last burst was taken, or the first poll; 0 before.
    heard_ns: u64,
    counters: ParseCounters,
    shared: Arc<Shared>,
}

/// Why a frame did not reach the feed.
enum Refused {
    NotIpv4,
    Malformed,
    Fragment,
    NotUdp,
    IgmpQuery,
    IpChecksum,
    UdpChecksum,
    OtherGroup,
    WrongQueue,
}

impl<'m> Parse<'m> {
    /// A stage over its parts.
    pub fn new(parts: ParseParts<'m>, shared: Arc<Shared>) -> Self {
        let window = Window::new(parts.window);
        Parse {
            parts,
            frames: Burst::new(),
            decoded: 0,
            window,
            waiting: 0,
            last_group: 0,
            lap: 0,
            ended: false,
            heard_ns: 0,
            counters: ParseCounters::default(),
            shared,
        }
    }

    /// Take a burst from rx (fused) or from the ring, once the last one is decoded. Returns the frames taken.
    #[inline]
    pub fn take(&mut self, rx: Option<&mut Rx>) -> usize {
        if !self.frames.is_empty() {
            return 0;
        }
        let n = match (rx, &mut self.parts.input) {
            (Some(rx), _) => rx.receive(&mut self.frames),
            (None, Some(ring)) => {
                let n = ring.pop_burst(&mut self.frames);
                if n > 0 {
                    self.waiting = u16::try_from(n + ring.len()).unwrap_or(u16::MAX);
                }
                n
            }
            (None, None) => 0,
        };
        self.counters.frames += n as u64;
        self.counters.bursts += u64::from(n > 0);
        if n > 0 && self.parts.live.is_some() {
            let first: Option<Arrival> = self.frames.first().and_then(Frame::private);
            self.heard_ns = first.map_or(self.heard_ns, |arrival| arrival.arrival_ns);
        }
        n
    }

    /// Decode held frames into the window as far as it has room. `ahead` is told of each event, as [`Feed::packet`] says.
    #[inline]
    pub fn decode(&mut self, mut ahead: impl FnMut(Instrument, u64)) -> usize {
        let parsed_from = self.window.mark();
        if self.frames.is_empty() {
            let moment = self.between();
            if self.window.mark() == parsed_from && !self.parts.feed.is_unsettled() {
                return 0;
            }
            settle(&mut self.parts.feed, moment, &mut self.window, &mut self.counters, &mut ahead);
        }
        for i in 0..self.frames.len() {
            if !self.window.has_room() || !self.frame(i, &mut ahead) {
                break;
            }
            self.decoded += 1;
        }
        if self.parts.stamps.on() {
            let parsed_tsc = self.parts.stamps.take();
            self.window.stamp(parsed_from, parsed_tsc);
        }
        self.decoded
    }

    /// What time it is while no frame is here. Tells a silent feed.
    #[inline]
    fn between(&mut self) -> Moment {
        match self.parts.live {
            _ if self.ended => Moment::End,
            None => Moment::Idle,
            Some(Listening { scale, silent_after_ns }) => {
                let now = scale.ns(rdtsc());
                if self.heard_ns == 0 {
                    self.heard_ns = now;
                }
                let silence = now.saturating_sub(self.heard_ns);
                if silence > silent_after_ns && silent_after_ns > 0 && self.window.has_room() {
                    self.parts.feed.fell_silent(now, &mut self.window);
                }
                Moment::Packet(now)
            }
        }
    }

    /// Free what is decoded: after the decisions, which need not wait for it.
    #[inline]
    pub fn release(&mut self) {
        let done = std::mem::take(&mut self.decoded);
        if done == 0 {
            return;
        }
        if done == self.frames.len() {
            // Home with one call.
            free_burst(&mut self.frames);
        } else {
            self.frames.drain(..done);
        }
        self.shared.count_frames(done as u64);
    }

    /// What is decoded and not yet handed on.
    #[inline]
    pub fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Alone: move decoded elements into the ring. Returns how many.
    #[inline]
    pub fn push(&mut self) -> usize {
        let Some(ring) = &mut self.parts.out else { return 0 };
        if self.window.is_empty() {
            return 0;
        }
        let n = ring.push_slice(self.window.rest());
        self.window.take(n);
        n
    }

    /// Rx has drained, and its ring is as full as it will be.
    pub fn upstream_ended(&mut self) {
        self.ended = self.frames.is_empty() && self.parts.input.as_ref().is_none_or(|r| r.is_empty());
    }

    /// Nothing held and nothing to be had.
    pub fn is_idle(&self) -> bool {
        self.is_settled() && self.parts.feed.held() == 0
    }

    /// Nothing on its way from rx or to strategy: at most packets that wait for what is missing.
    pub fn is_settled(&self) -> bool {
        self.frames.is_empty() && self.window.is_empty() && self.parts.input.as_ref().is_none_or(|r| r.is_empty())
    }

    /// See [`super::Segment::swap_ends`].
    pub fn swap_ends(&mut self, links: &mut Links) {
        std::mem::swap(&mut self.parts.input, &mut links.rx_parse.1);
        std::mem::swap(&mut self.parts.out, &mut links.parse_strategy.0);
    }

    /// Frames in = accepted + dropped + held.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// The feed, for its counters.
    pub fn feed(&self) -> &Feed<'m> {
        &self.parts.feed
    }

    /// Lines of the feed.
    pub fn lines(&self) -> usize {
        self.parts.groups.iter().map(|group| usize::from(group.line) + 1).max().unwrap_or(0)
    }

    /// What was counted without dropping.
    pub fn counters(&self) -> &ParseCounters {
        &self.counters
    }

    /// Decode one frame. False, and nothing done, when what has to come before it fills the window.
    #[inline]
    fn frame(&mut self, at: usize, ahead: &mut impl FnMut(Instrument, u64)) -> bool {
        let Parse { parts, frames, window, counters, last_group, lap, waiting, shared, .. } = self;
        let frame = &frames[at];
        // rx writes it into every frame; without it the frame did not come through rx.
        let arrival: Arrival = frame.private().unwrap_or_default();
        if parts.feed.is_unsettled() || arrival.lap != *lap {
            let moment = if arrival.lap == *lap { Moment::Packet(arrival.arrival_ns) } else { Moment::End };
            if !settle(&mut parts.feed, moment, window, counters, ahead) {
                return false;
            }
            if arrival.lap != *lap {
                *lap = arrival.lap;
                parts.feed.new_session();
            }
        }
        if frame.segments() > 1 {
            counters.segmented += 1;
            return true;
        }
        let (payload, line, channel) = match payload(parts, counters, last_group, frame, arrival.port) {
            Ok(found) => found,
            Err(refused) => {
                *match refused {
                    Refused::NotIpv4 => &mut counters.not_ipv4,
                    Refused::Malformed => &mut counters.malformed,
                    Refused::Fragment => &mut counters.fragment,
                    Refused::NotUdp => &mut counters.not_udp,
                    Refused::IgmpQuery => {
                        shared.count_query();
                        &mut counters.igmp_query
                    }
                    Refused::IpChecksum => &mut counters.ip_checksum,
                    Refused::UdpChecksum => &mut counters.udp_checksum,
                    Refused::OtherGroup => &mut counters.other_group,
                    Refused::WrongQueue => {
                        shared.count_misdirected();
                        &mut counters.wrong_queue
                    }
                } += 1;
                return true;
            }
        };
        let head = Packet {
            arrival_ns: arrival.arrival_ns,
            rx_tsc: arrival.rx_tsc,
            parsed_tsc: 0,
            sequence: 0,
            count: 0,
            burst_size: arrival.burst_size,
            burst_position: arrival.burst_position,
            line,
            channel: channel.into(),
            stamp: arrival.stamp,
            stamp_domain: arrival.stamp_domain,
            waiting: *waiting,
            session: 0,
        };
        counters.tally(parts.feed.packet(payload, &head, window, ahead));
        true
    }
}

impl ParseCounters {
    #[inline(always)]
    fn tally(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Elements => self.accepted += 1,
            Verdict::Nothing => self.empty += 1,
            Verdict::Dropped | Verdict::Held => {}
        }
    }
}

/// See [`Feed::settle`].
#[cold]
#[inline(never)]
fn settle(
    feed: &mut Feed<'_>,
    moment: Moment,
    window: &mut Window,
    counters: &mut ParseCounters,
    ahead: &mut impl FnMut(Instrument, u64),
) -> bool {
    feed.settle(moment, window, ahead, |verdict| counters.tally(verdict))
}

impl Account for Parse<'_> {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "parse", unit: "frames", count }, n);
        let c = &self.counters;
        let f = self.feed().counters();
        each(Count::In, c.frames);
        each(Count::Out, c.accepted);
        let dropped = [
            ("several segments", c.segmented),
            ("not IPv4", c.not_ipv4),
            ("malformed", c.malformed),
            ("IP fragment", c.fragment),
            ("not UDP", c.not_udp),
            ("IGMP query", c.igmp_query),
            ("IP checksum", c.ip_checksum),
            ("UDP checksum", c.udp_checksum),
            ("other group", c.other_group),
            ("wrong queue", c.wrong_queue),
            ("heartbeat", f.heartbeats),
            ("end of session", f.ends_of_session),
            ("duplicate", f.duplicate_packets),
            ("session left", f.late_packets),
            ("no room to hold", f.held_dropped),
            ("bad feed header", f.bad_header),
            ("no event", c.empty),
        ];
        dropped.into_iter().for_each(|(reason, n)| each(Count::Dropped(reason), n));
        each(Count::Held, (self.frames.len() + self.feed().held()) as u64);
        each(Count::Bursts, c.bursts);
        each(Count::Figure("state", "silent"), self.feed().is_silent().into());
        let recovery = self.feed().recovery().into_iter().flat_map(|counters| counters.named());
        for (name, n) in f.named().chain(recovery) {
            each(Count::Figure("feed", name), n);
        }
        for (line, name) in LINES.into_iter().enumerate().take(self.lines()) {
            let line = self.feed().line(line);
            each(Count::Figure(name, "packets"), line.packets);
            each(Count::Figure(name, "won"), line.won);
            each(Count::Figure(name, "lost"), line.lost);
            each(Count::Figure(name, "leads"), line.leads);
            each(Count::Figure(name, "lead_ns"), line.lead_ns);
        }
        if let Some(ring) = &self.parts.out {
            each(Count::HighWater("parse_strategy"), ring.high_water() as u64);
        }
    }
}

/// The UDP payload of a frame and where it belongs.
#[inline]
fn payload<'f>(
    parts: &ParseParts<'_>,
    counters: &mut ParseCounters,
    last_group: &mut usize,
    frame: &'f Frame,
    port: u8,
) -> Result<(&'f [u8], u8, u8), Refused> {
    let ethernet = ethernet::Frame::parse(frame.bytes()).map_err(|_| Refused::Malformed)?;
    if ethernet.ethertype() != ethernet::IPV4 {
        return Err(Refused::NotIpv4);
    }
    let ip = ipv4::Packet::parse(ethernet.payload()).map_err(|_| Refused::Malformed)?;
    if parts.ip_checksum != Verify::Off && !good(frame.ip_checksum(), || ip.checksum_fits()) {
        if parts.ip_checksum == Verify::Drop {
            return Err(Refused::IpChecksum);
        }
        counters.ip_checksum_passed += 1;
    }
    if ip.is_fragment() {
        return Err(Refused::Fragment);
    }
    if ip.protocol() != ipv4::UDP {
        let query = ip.protocol() == igmp::PROTOCOL && igmp::is_query(ip.payload());
        return Err(if query { Refused::IgmpQuery } else { Refused::NotUdp });
    }
    let udp = udp::Datagram::parse(ip.payload()).map_err(|_| Refused::Malformed)?;
    let (line, channel) = if parts.addressing {
        let wanted = |g: &Group| g.address == ip.dst() && g.udp_port == udp.dst_port() && g.port == port;
        match parts.groups.get(*last_group).filter(|g| wanted(g)) {
            Some(group) => (group.line, group.channel),
            None => {
                let Some(at) = parts.groups.iter().position(wanted) else {
                    let known = parts.elsewhere.owner(ip.dst(), udp.dst_port()).is_some();
                    return Err(if known { Refused::WrongQueue } else { Refused::OtherGroup });
                };
                *last_group = at;
                (parts.groups[at].line, parts.groups[at].channel)
            }
        }
    } else {
        (parts.groups.iter().find(|g| g.port == port).map_or(0, |g| g.line), 0)
    };
    // Last, because it reads the whole packet: frames of other groups need not be summed.
    if parts.udp_checksum != Verify::Off
        && !good(frame.l4_checksum(), || udp.checksum(ip.src(), ip.dst()) != udp::ChecksumState::Wrong)
    {
        if parts.udp_checksum == Verify::Drop {
            return Err(Refused::UdpChecksum);
        }
        counters.udp_checksum_passed += 1;
    }
    Ok((udp.payload(), line, channel))
}

/// The device's verdict where it has one, ours otherwise.
#[inline]
fn good(device: Checksum, ours: impl FnOnce() -> bool) -> bool {
    match device {
        Checksum::Good => true,
        Checksum::Bad => false,
        Checksum::Unknown | Checksum::None => ours(),
    }
}
