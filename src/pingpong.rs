//! Ping-pong: a frame goes to the other end of a wire and comes back, and every byte of it is checked on both sides.
//!
//! In: the queues of a port as a [`Wire`], and how often. Out: a [`Tally`]: half round trips, and the frames that were lost or
//! damaged. There is no stage and no pipeline between the driver and the clock: this is what a path on that driver cannot be
//! faster than. Datagrams go to two multicast groups of the administrative scope, so that neither ARP nor an address is needed.

use crate::cpu::rdtsc;
use crate::dpdk::{BURST, Burst, Mempool, RxQueue, TxQueue, free_burst};
use crate::latency::clock::Scale;
use crate::wire::udp::ChecksumState;
use crate::wire::{ethernet, igmp, ipv4, udp};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};

/// Payload bytes that a frame needs so that no card pads it, and that an MTU of 1500 carries.
pub const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 18..=1472;

/// Headers in front of the payload.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + udp::HEADER;
/// How long a frame may take before it counts as lost: longer than a busy host keeps an lcore waiting for its CPU.
const PATIENCE_NS: u64 = 1_000_000_000;
/// Lost frames in a row after which nobody is taken to be there.
const SILENCE: u64 = 5;
/// The longest round trip that is told apart, ns.
const LONGEST_NS: u64 = 10_000_000_000;

/// Frames in and out of a port, on one lcore.
pub trait Wire {
    /// Hand over frames from the front; how many went. The others stay.
    fn send(&mut self, frames: &mut Burst) -> usize;
    /// Received frames; how many came.
    fn receive(&mut self, frames: &mut Burst) -> usize;
    /// What the driver needs now and then, while nothing is timed.
    fn settle(&mut self) {}
    /// Frames that the processor wrote to the card itself (CTPIO), and those that the card had to fetch instead; `None` where there
    /// is no such way.
    fn ctpio(&mut self) -> Option<(u64, u64)> {
        None
    }
    /// What the port's driver has counted of CTPIO, by its names, up to a second ago; nothing where there is no such way.
    fn driver(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// A port of DPDK.
impl Wire for (RxQueue, TxQueue) {
    fn send(&mut self, frames: &mut Burst) -> usize {
        self.1.burst(frames)
    }

    fn receive(&mut self, frames: &mut Burst) -> usize {
        self.0.burst(frames, BURST)
    }
}

/// A port of a card behind ef_vi.
#[cfg(feature = "ef_vi")]
impl Wire for (crate::efvi::RxQueue, crate::efvi::TxQueue) {
    fn send(&mut self, frames: &mut Burst) -> usize {
        self.1.burst(frames)
    }

    fn receive(&mut self, frames: &mut Burst) -> usize {
        self.0.burst(frames, BURST)
    }

    fn settle(&mut self) {
        self.1.poll();
        while self.1.stamped().is_some() {}
    }

    fn ctpio(&mut self) -> Option<(u64, u64)> {
        self.1.finish();
        let counters = self.1.counters();
        self.1.info().ctpio.then_some((counters.ctpio, counters.fallbacks))
    }

    fn driver(&self) -> BTreeMap<String, u64> {
        self.1.port().ctpio()
    }
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out.
    Ping,
    /// And back.
    Pong,
}

impl Way {
    /// The group it goes to: RFC 2365, section 6.2.
    pub fn group(self) -> SocketAddrV4 {
        match self {
            Way::Ping => SocketAddrV4::new(Ipv4Addr::new(239, 192, 80, 1), 47_010),
            Way::Pong => SocketAddrV4::new(Ipv4Addr::new(239, 192, 80, 2), 47_011),
        }
    }

    /// Where it says it is from: RFC 2544, C.2.2, which keeps these addresses for measurements.
    fn from(self) -> Ipv4Addr {
        match self {
            Way::Ping => Ipv4Addr::new(198, 18, 0, 1),
            Way::Pong => Ipv4Addr::new(198, 18, 0, 2),
        }
    }
}

/// What a received frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Somebody else's.
    Foreign,
    /// Ours, and not as it was sent.
    Damaged,
    /// Ours, and whole.
    Ball(u64),
}

/// What is played with.
#[derive(Clone, Copy, Debug)]
pub struct Ball {
    /// Bytes of the payload, of [`PAYLOAD_BYTES`].
    pub payload: usize,
    /// The sender's address.
    pub mac: [u8; 6],
}

impl Ball {
    fn write(&self, way: Way, number: u64, out: &mut [u8]) {
        let (to, from) = (way.group(), way.from());
        let ethernet = ethernet::Repr {
            dst: igmp::mac(*to.ip()),
            src: self.mac,
            tags: ethernet::Tags::None,
            ethertype: ethernet::IPV4,
        };
        let ip = ipv4::Repr { src: from, dst: *to.ip(), protocol: ipv4::UDP, ttl: 1, service: 0, identification: 0 };
        let datagram = udp::Repr { src_port: to.port(), dst_port: to.port() };
        let [l3, l4, l7] = [ethernet::HEADER, ethernet::HEADER + ipv4::HEADER, HEADERS];
        ethernet.emit(&mut out[..l3]).expect("the frame has room for its headers");
        ip.emit(udp::HEADER + self.payload, &mut out[l3..l4]).expect("and the payload fits IPv4");
        datagram.emit(self.payload, &mut out[l4..l7]).expect("and UDP");
        out[l7..l7 + 8].copy_from_slice(&number.to_be_bytes());
        for (at, byte) in out[l7 + 8..].iter_mut().enumerate() {
            *byte = pattern(number, at);
        }
        udp::fill_checksum(&mut out[l4..], from, *to.ip());
    }

    fn read(&self, way: Way, bytes: &[u8]) -> Seen {
        let Ok(frame) = ethernet::Frame::parse(bytes) else { return Seen::Foreign };
        let Ok(packet) = ipv4::Packet::parse(frame.payload()) else { return Seen::Foreign };
        let Ok(datagram) = udp::Datagram::parse(packet.payload()) else { return Seen::Foreign };
        if frame.ethertype() != ethernet::IPV4
            || packet.protocol() != ipv4::UDP
            || SocketAddrV4::new(packet.dst(), datagram.dst_port()) != way.group()
        {
            return Seen::Foreign;
        }
        let payload = datagram.payload();
        let sums = packet.checksum_fits() && datagram.checksum(packet.src(), packet.dst()) == ChecksumState::Fits;
        let Some((number, rest)) = payload.split_first_chunk().filter(|_| sums && payload.len() == self.payload) else {
            return Seen::Damaged;
        };
        let number = u64::from_be_bytes(*number);
        let whole = rest.iter().enumerate().all(|(at, byte)| *byte == pattern(number, at));
        if whole { Seen::Ball(number) } else { Seen::Damaged }
    }

    /// A frame on its way; false when the pool is empty.
    fn serve(&self, pool: &Mempool, way: Way, number: u64, out: &mut Burst) -> bool {
        let Some(mut frame) = pool.alloc() else { return false };
        let Some(room) = frame.append(HEADERS + self.payload) else { return false };
        self.write(way, number, room);
        out.push(frame);
        true
    }
}

/// A byte of the payload: another one in every frame, and at every place.
fn pattern(number: u64, at: usize) -> u8 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8 ^ (at / 8) as u8
}

/// Why a game ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Nothing came back.
    #[error(
        "{SILENCE} frames in a row did not come back within a second each; are the ports wired together, are both links up, and \
         does the other end run (--role pong)?"
    )]
    Silence,
    /// The pool is empty: the driver has every frame.
    #[error("no frame is left to send: the driver gives none back")]
    NoFrames,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Half round trips, ns; those of a warm-up left out.
    pub half_ns: Histogram<u64>,
    /// Frames that did not come back in time.
    pub lost: u64,
    /// Frames that came back late, or twice.
    pub late: u64,
    /// Frames that were not what was sent.
    pub damaged: u64,
    /// Frames of others.
    pub foreign: u64,
    /// Frames that were answered (of pong).
    pub answered: u64,
    /// See [`Wire::ctpio`].
    pub ctpio: Option<(u64, u64)>,
    /// See [`Wire::driver`]: by how much that grew.
    pub driver: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            half_ns: Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds and three digits are valid"),
            lost: 0,
            late: 0,
            damaged: 0,
            foreign: 0,
            answered: 0,
            ctpio: None,
            driver: BTreeMap::new(),
        }
    }
}

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Not counted.
    pub warmup: u64,
    /// Counted.
    pub count: u64,
    /// Wires that a frame crosses in a round: two there and back, one where the wire leads back to the port itself.
    pub passes: u64,
}

/// Send, wait for the answer, and again. Ends when it is done, when `stop` is set, or broken.
///
/// # Errors
/// [`Broken`].
pub fn ping(
    wire: &mut impl Wire,
    pool: &Mempool,
    ball: Ball,
    rounds: Rounds,
    scale: Scale,
    stop: &AtomicBool,
) -> Result<Tally, Broken> {
    let mut tally = Tally::new();
    let answer = if rounds.passes == 1 { Way::Ping } else { Way::Pong };
    let (mut out, mut back, mut missed) = (Burst::new(), Burst::new(), 0);
    'rounds: for number in 0..rounds.warmup + rounds.count {
        wire.settle();
        if out.is_empty() && !ball.serve(pool, Way::Ping, number, &mut out) {
            return Err(Broken::NoFrames);
        }
        let mut sent = false;
        let began = rdtsc();
        loop {
            sent = sent || wire.send(&mut out) > 0;
            let came = wire.receive(&mut back);
            let now = rdtsc();
            let mut is_back = false;
            for frame in back.iter().take(came) {
                match ball.read(answer, frame.bytes()) {
                    Seen::Ball(found) if found == number => is_back = true,
                    Seen::Ball(_) => tally.late += 1,
                    Seen::Damaged => tally.damaged += 1,
                    Seen::Foreign => tally.foreign += 1,
                }
            }
            free_burst(&mut back);
            let elapsed = scale.ticks_to_ns(now - began);
            if is_back {
                missed = 0;
                if number >= rounds.warmup {
                    tally.half_ns.saturating_record(elapsed / rounds.passes);
                }
                continue 'rounds;
            }
            if stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            if elapsed > PATIENCE_NS {
                break;
            }
        }
        free_burst(&mut out);
        tally.lost += 1;
        missed += 1;
        if missed == SILENCE {
            return Err(Broken::Silence);
        }
    }
    Ok(tally)
}

/// Answer every whole frame until `stop` is set.
///
/// # Errors
/// [`Broken::NoFrames`].
pub fn pong(wire: &mut impl Wire, pool: &Mempool, ball: Ball, stop: &AtomicBool) -> Result<Tally, Broken> {
    let mut tally = Tally::new();
    let (mut out, mut back) = (Burst::new(), Burst::new());
    while !stop.load(Ordering::Relaxed) {
        let came = wire.receive(&mut back);
        if came == 0 && out.is_empty() {
            wire.settle();
            continue;
        }
        for frame in back.iter().take(came) {
            match ball.read(Way::Ping, frame.bytes()) {
                Seen::Ball(number) => {
                    if !out.is_full() && !ball.serve(pool, Way::Pong, number, &mut out) {
                        return Err(Broken::NoFrames);
                    }
                    tally.answered += 1;
                }
                Seen::Damaged => tally.damaged += 1,
                Seen::Foreign => tally.foreign += 1,
            }
        }
        wire.send(&mut out);
        free_burst(&mut back);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALL: Ball = Ball { payload: 18, mac: [2, 0, 0, 0, 0, 1] };

    #[test]
    fn a_ball_is_a_datagram_to_its_group_that_no_card_pads() {
        let mut bytes = [0; 60];
        BALL.write(Way::Ping, 0x0102_0304_0506_0708, &mut bytes);
        // 239.192.80.1 is 01:00:5e:40:50:01 (RFC 1112); IPv4 and UDP of 46 and 26 bytes, to port 47010.
        assert_eq!(bytes[..14], [1, 0, 0x5e, 0x40, 0x50, 1, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!((&bytes[16..18], &bytes[36..40]), (&[0, 46][..], &[0xb7, 0xa2, 0, 26][..]));
        assert_eq!(bytes[42..50], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(BALL.read(Way::Ping, &bytes), Seen::Ball(0x0102_0304_0506_0708));
    }

    #[test]
    fn no_single_bit_can_change_unseen() {
        let mut bytes = [0; HEADERS + 18];
        BALL.write(Way::Pong, 7, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Ethernet addresses are the card's business; what does not reach us as ours is foreign.
            let seen = BALL.read(Way::Pong, &bytes);
            assert_eq!(seen == Seen::Ball(7), bit < 12 * 8, "bit {bit}: {seen:?}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_other_way_and_other_lengths_are_not_taken_for_an_answer() {
        let mut bytes = [0; HEADERS + 18];
        BALL.write(Way::Ping, 7, &mut bytes);
        assert_eq!(BALL.read(Way::Pong, &bytes), Seen::Foreign);
        assert_eq!(Ball { payload: 19, ..BALL }.read(Way::Ping, &bytes), Seen::Damaged);
        assert_eq!(BALL.read(Way::Ping, &bytes[..20]), Seen::Foreign);
    }
}
