//! receiver: what rx is to one venue, for a port that feeds of several venues arrive on.
//!
//! In: bursts of the port's queues, in whichever of them a packet is. Out: every frame, with its [`Arrival`], to the venue
//! that listens to its destination, in the order of arrival. Looks no further than the UDP port, and never waits: a venue
//! whose ring is full loses what comes for it, counted by its rx, and nobody else loses anything by that; only who holds up the receiving lcore itself holds up
//! all of them. Frames for nobody are freed and counted.

use super::{Ledger, Shared};
use crate::cpu::rdtsc;
use crate::dpdk::{Burst, RxQueue, free_burst};
use crate::latency::clock::Scale;
use crate::port::{Arrival, Device, Groups, Owner, Portion, mark};
use crate::risk::KillReason;
use crate::wire::{ethernet, igmp, ipv4};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Settings of one receiver.
pub struct ReceiverParts {
    /// Name of its port in the pipeline file.
    pub port: String,
    /// The queues to poll.
    pub queues: Vec<RxQueue>,
    /// Who listens to what: [`Owner::venue`] is a place in `venues`.
    pub groups: Groups,
    /// Where each venue's frames go, and its control.
    pub venues: Vec<(Portion, Arc<Shared>)>,
    /// Most frames a poll, 1 to 64.
    pub burst: usize,
    /// TSC to ns of arrival.
    pub scale: Scale,
    /// Take `rx_tsc`.
    pub stamps: bool,
}

/// The receiver of one port.
pub struct Receiver {
    port: String,
    queues: Vec<RxQueue>,
    /// The queue that is polled first, so that a busy one does not starve the others.
    turn: usize,
    groups: Groups,
    venues: Vec<Venue>,
    burst: usize,
    scale: Scale,
    stamps: bool,
    frames: Burst,
    /// Frames for nobody.
    stray: Burst,
    received: u64,
    strays: u64,
    queries: u64,
    /// Frames for venues whose intake was closed.
    late: u64,
}

struct Venue {
    portion: Portion,
    shared: Arc<Shared>,
    /// This burst's.
    frames: Burst,
    ended: bool,
}

impl Receiver {
    /// A receiver of its parts.
    pub fn new(parts: ReceiverParts) -> Receiver {
        let ReceiverParts { port, queues, groups, venues, burst, scale, stamps } = parts;
        let venue = |(portion, shared)| Venue { portion, shared, frames: Burst::new(), ended: false };
        Receiver {
            port,
            queues,
            turn: 0,
            groups,
            venues: venues.into_iter().map(venue).collect(),
            burst,
            scale,
            stamps,
            frames: Burst::new(),
            stray: Burst::new(),
            received: 0,
            strays: 0,
            queries: 0,
            late: 0,
        }
    }

    /// Receive one burst and give every frame to its venue. Returns the frames received.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let mut open = false;
        for venue in &mut self.venues {
            open |= venue.is_open();
        }
        if !open {
            return 0;
        }
        for _ in 0..self.queues.len() {
            let turn = self.turn;
            self.turn = if turn + 1 == self.queues.len() { 0 } else { turn + 1 };
            let received = self.queues[turn].burst(&mut self.frames, self.burst);
            if received > 0 {
                self.deal();
                return received;
            }
        }
        0
    }

    /// Whether it will receive nothing more: the intake of every venue is closed.
    pub fn has_ended(&mut self) -> bool {
        self.venues.iter_mut().all(|venue| !venue.is_open())
    }

    /// It panicked: the venues it serves get nothing any more, and their kill switches are tripped.
    pub fn fail(&mut self) {
        for Venue { portion, shared, ended, .. } in &mut self.venues {
            shared.kill().trip(KillReason::LcorePanic);
            shared.failed.0.store(true, Ordering::Release);
            portion.end();
            *ended = true;
        }
    }

    /// Name of its port in the pipeline file.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// The device.
    pub fn device(&self) -> Option<Device> {
        self.queues.first().map(|queue| Device::Ethdev(queue.port().clone()))
    }

    /// Frames in = given to venues, with what found no room there, + dropped.
    pub fn ledger(&self) -> Ledger {
        let given = self.received - self.strays - self.queries - self.late;
        Ledger::new("receive", "frames", self.received)
            .out(given)
            .dropped("no venue listens", self.strays)
            .dropped("IGMP query", self.queries)
            .dropped("venue stopped", self.late)
    }

    #[inline]
    fn deal(&mut self) {
        let tsc = rdtsc();
        let arrival = Arrival {
            arrival_ns: self.scale.ns(tsc),
            rx_tsc: if self.stamps { tsc } else { 0 },
            burst_size: self.frames.len() as u16,
            ..Arrival::default()
        };
        self.received += self.frames.len() as u64;
        for (position, mut frame) in self.frames.drain(..).enumerate() {
            let owner = match destination(frame.bytes()) {
                Destination::Udp(address, port) => self.groups.owner(address, port),
                Destination::Other => None,
                Destination::Query => {
                    // Whoever keeps the port's groups asks every venue of it.
                    self.venues[0].shared.count_query();
                    self.queries += 1;
                    continue;
                }
            };
            let Some(Owner { venue, line }) = owner else {
                self.stray.push(frame);
                continue;
            };
            mark(&mut frame, Arrival { burst_position: position as u16, port: line, ..arrival });
            self.venues[usize::from(venue)].frames.push(frame);
        }
        if !self.stray.is_empty() {
            self.strays += self.stray.len() as u64;
            free_burst(&mut self.stray);
        }
        for Venue { portion, frames, ended, .. } in &mut self.venues {
            if frames.is_empty() {
                continue;
            }
            if *ended {
                self.late += frames.len() as u64;
                free_burst(frames);
            } else {
                portion.give(frames);
            }
        }
    }
}

impl Venue {
    /// Whether it still takes frames; once it does not, it is told that none will come.
    #[inline]
    fn is_open(&mut self) -> bool {
        if !self.ended && self.shared.intake_closed() {
            self.portion.end();
            self.ended = true;
        }
        !self.ended
    }
}

/// Where a packet goes.
enum Destination {
    /// Of a UDP datagram, or of its first fragment.
    Udp(Ipv4Addr, u16),
    /// A multicast router's query.
    Query,
    /// Nothing of ours.
    Other,
}

#[inline]
fn destination(frame: &[u8]) -> Destination {
    let ethernet = ethernet::Frame::parse(frame).ok().filter(|frame| frame.ethertype() == ethernet::IPV4);
    let Some(ip) = ethernet.and_then(|ethernet| ipv4::Packet::parse(ethernet.payload()).ok()) else {
        return Destination::Other;
    };
    match (ip.protocol(), ip.payload().get(2..4)) {
        (ipv4::UDP, Some(port)) => Destination::Udp(ip.dst(), u16::from_be_bytes([port[0], port[1]])),
        (igmp::PROTOCOL, _) if igmp::is_query(ip.payload()) => Destination::Query,
        _ => Destination::Other,
    }
}
