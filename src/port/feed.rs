//! The lines of one feed: receive queues, shares of them and captures in, bursts of frames out, each with its [`Arrival`].
//!
//! What the rx stage polls. It never waits: a packet without an mbuf, or without its turn, stays where it is.

use arrayvec::ArrayVec;

use super::capture::pace::Lateness;
use super::capture::replay::Replay;
use super::capture::{CaptureSource, Next, Pace, Warning};
use super::device::account;
use super::{Arrival, Device, RxPort, Share};
use crate::cpu::rdtsc;
use crate::dpdk::{BURST, Burst, Frame, Mempool, free_burst};
use crate::latency::board::Count;
use crate::latency::clock::{Clock, Scale};
use crate::latency::record::StampDomain;

/// Frames fetched from the pool at a time for a replay, and so the most that a feed holds beside its packets.
const SPARE: usize = 32;

/// Where the frames of one line come from.
pub enum FeedPort {
    /// A queue of a device.
    Queue(RxPort),
    /// A share of a DPDK port that another receives.
    Shared(Share),
    /// Capture files.
    Capture(CaptureSource),
    /// Nowhere: what it brings is in the queue of another.
    Nothing,
}

/// What became of a line's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounters {
    /// Frames delivered.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Delivered, but shorter than on the wire: the capture had cut them.
    pub truncated: u64,
    /// Dropped: longer than a frame of the pool.
    pub too_long: u64,
    /// Times that the pool was empty; the packet waited.
    pub pool_empty: u64,
    /// Times that a packet was wanted and the capture's loader was behind.
    pub source_late: u64,
    /// Laps delivered to their end.
    pub laps: u64,
}

/// The lines of one venue's feed.
pub struct Feed {
    inlets: Vec<(u8, Inlet)>,
    /// The one that is polled first, so that a busy one does not starve the others.
    turn: usize,
    replay: Replay,
    /// Which line each source of the replay is.
    replayed: Vec<u8>,
    counters: Vec<FeedCounters>,
    scale: Scale,
    /// Empty frames for a replay.
    spare: Burst,
    out_of_frames: bool,
}

/// Where live frames come from.
enum Inlet {
    Queue(RxPort),
    Share(Share),
}

impl Feed {
    /// The lines in the order of the pipeline file, at most 256. `pace` is for the captures among them, which are
    /// delivered merged by lap and stamp; `clock` gives arrival times to frames of real ports.
    pub fn new(lines: Vec<FeedPort>, pace: Pace, clock: &Clock) -> Feed {
        let counters = vec![FeedCounters::default(); lines.len()];
        let (mut inlets, mut replayed, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for (index, line) in lines.into_iter().enumerate() {
            match line {
                FeedPort::Queue(queue) => inlets.push((index as u8, Inlet::Queue(queue))),
                FeedPort::Shared(share) => inlets.push((index as u8, Inlet::Share(share))),
                FeedPort::Nothing => {}
                FeedPort::Capture(source) => {
                    replayed.push(index as u8);
                    sources.push(source);
                }
            }
        }
        Feed {
            inlets,
            turn: 0,
            replay: Replay::new(sources, pace, clock.hz()),
            replayed,
            counters,
            scale: clock.scale(),
            spare: Burst::new(),
            out_of_frames: false,
        }
    }

    /// Receive at most `max` frames into the empty burst `out`, from one queue or share, or from the captures. Each carries a
    /// complete [`Arrival`], with `rx_tsc` if `stamps`. Returns how many came.
    #[inline]
    pub fn burst(&mut self, pool: &Mempool, max: usize, stamps: bool, out: &mut Burst) -> usize {
        debug_assert!(out.is_empty());
        if !self.replayed.is_empty() {
            let received = self.burst_of_captures(pool, max.min(BURST), stamps, out);
            if received > 0 {
                return received;
            }
        }
        for _ in 0..self.inlets.len() {
            let turn = self.turn;
            self.turn = if turn + 1 == self.inlets.len() { 0 } else { turn + 1 };
            let received = self.burst_of_inlet(turn, max, stamps, out);
            if received > 0 {
                return received;
            }
        }
        0
    }

    /// The same from the shares alone: what was received for this venue before its intake closed.
    pub fn rest(&mut self, max: usize, out: &mut Burst) -> usize {
        for (line, inlet) in &mut self.inlets {
            if let Inlet::Share(share) = inlet
                && share.burst(out, max) > 0
            {
                self.counters[usize::from(*line)].add(out);
                break;
            }
        }
        out.len()
    }

    /// Whether no share holds anything, or will.
    pub fn is_emptied(&self) -> bool {
        self.shares().all(Share::is_emptied)
    }

    /// Frames for this venue that found no room in its shares.
    pub fn share_full(&self) -> u64 {
        self.shares().map(Share::full).sum()
    }

    /// Whether nothing will come any more: every line is a capture and all of them have ended.
    pub fn finished(&self) -> bool {
        self.inlets.is_empty() && self.replay.ended()
    }

    /// Whether the captures' loaders are as far ahead as they can be: a good moment to begin.
    pub fn primed(&self) -> bool {
        self.replay.primed()
    }

    /// Counters of one line.
    pub fn counters(&self, line: usize) -> FeedCounters {
        let mut counters = self.counters[line];
        if let Some(source) = self.replayed.iter().position(|&replayed| usize::from(replayed) == line) {
            counters.source_late = self.replay.source_late(source);
            counters.laps = u64::from(self.replay.laps_done(source));
        }
        counters
    }

    /// The devices whose queues are polled here, once for each queue.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        self.queues().map(RxPort::device)
    }

    /// Packets that cards told of and that did not become frames.
    pub fn discarded(&self) -> u64 {
        self.queues().map(RxPort::discarded).sum()
    }

    /// What they were discarded for, and how the cards' rings stand.
    pub fn account(&self, each: &mut dyn FnMut(Count, u64)) {
        account(self.queues(), each);
    }

    fn queues(&self) -> impl Iterator<Item = &RxPort> {
        self.inlets.iter().filter_map(|(_, inlet)| match inlet {
            Inlet::Queue(queue) => Some(queue),
            Inlet::Share(_) => None,
        })
    }

    fn shares(&self) -> impl Iterator<Item = &Share> {
        self.inlets.iter().filter_map(|(_, inlet)| match inlet {
            Inlet::Queue(_) => None,
            Inlet::Share(share) => Some(share),
        })
    }

    /// Number of lines.
    pub fn lines(&self) -> usize {
        self.counters.len()
    }

    /// How late paced packets were.
    pub fn lateness(&self) -> Lateness {
        self.replay.lateness()
    }

    /// What was wrong with the captures; complete once [`Feed::finished`].
    pub fn warnings(&self) -> Vec<Warning> {
        self.replay.warnings()
    }

    #[inline]
    fn burst_of_inlet(&mut self, turn: usize, max: usize, stamps: bool, out: &mut Burst) -> usize {
        let (line, inlet) = &mut self.inlets[turn];
        let queue = match inlet {
            Inlet::Queue(queue) => queue,
            Inlet::Share(share) => {
                // Who received them has marked them.
                let received = share.burst(out, max);
                self.counters[usize::from(*line)].add(out);
                return received;
            }
        };
        let received = queue.burst(out, max);
        if received == 0 {
            return 0;
        }
        let tsc = rdtsc();
        let arrival = Arrival {
            arrival_ns: self.scale.ns(tsc),
            rx_tsc: if stamps { tsc } else { 0 },
            burst_size: received as u16,
            port: *line,
            ..Arrival::default()
        };
        self.counters[usize::from(*line)].add(out);
        for (position, frame) in out.iter_mut().enumerate() {
            mark(frame, Arrival { burst_position: position as u16, ..arrival });
        }
        received
    }

    #[inline]
    fn burst_of_captures(&mut self, pool: &Mempool, max: usize, stamps: bool, out: &mut Burst) -> usize {
        let Feed { replay, replayed, counters, spare, out_of_frames, .. } = self;
        let now_tsc = if replay.is_paced() { rdtsc() } else { 0 };
        let mut arrivals = ArrayVec::<Arrival, BURST>::new();
        replay.burst(max, now_tsc, |source, next, due_tsc| {
            let line = replayed[source];
            let counters = &mut counters[usize::from(line)];
            if spare.is_empty() && !refill(spare, pool) {
                counters.pool_empty += u64::from(!*out_of_frames);
                *out_of_frames = true;
                return false;
            }
            let Some(mut frame) = spare.pop() else { return false };
            *out_of_frames = false;
            let Some(bytes) = frame.append(next.record.bytes.len()) else {
                counters.too_long += 1;
                spare.push(frame);
                return true;
            };
            bytes.copy_from_slice(next.record.bytes);
            counters.packets += 1;
            counters.bytes += next.record.bytes.len() as u64;
            counters.truncated += u64::from((next.record.bytes.len() as u32) < next.record.len);
            arrivals.push(arrival(next, line, due_tsc));
            out.push(frame);
            true
        });
        let received = out.len();
        if received == 0 {
            if replay.ended() && !spare.is_empty() {
                free_burst(spare);
            }
            return 0;
        }
        let tsc = if stamps { rdtsc() } else { 0 };
        for (position, (frame, arrival)) in out.iter_mut().zip(&arrivals).enumerate() {
            frame.set_private(Arrival {
                rx_tsc: tsc,
                burst_size: received as u16,
                burst_position: position as u16,
                ..*arrival
            });
        }
        received
    }
}

impl FeedCounters {
    #[inline(always)]
    fn add(&mut self, frames: &[Frame]) {
        self.packets += frames.len() as u64;
        self.bytes += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
    }
}

/// Let `arrival` travel with the frame, and the device's stamp with it.
#[inline(always)]
pub(crate) fn mark(frame: &mut Frame, arrival: Arrival) {
    let (stamp, domain) = match frame.stamp() {
        Some(stamp) => (stamp, StampDomain::Device),
        None => (0, StampDomain::None),
    };
    frame.set_private(Arrival { stamp, stamp_domain: domain as u8, ..arrival });
}

/// What a captured packet says of itself.
#[inline(always)]
fn arrival(next: &Next<'_>, line: u8, due_tsc: u64) -> Arrival {
    let domain = if due_tsc == 0 { StampDomain::None } else { StampDomain::DueTsc };
    Arrival {
        arrival_ns: next.record.stamp_ns,
        stamp: due_tsc,
        stamp_domain: domain as u8,
        lap: next.lap,
        port: line,
        flags: if next.lap_start && next.lap > 0 { Arrival::NEW_SESSION } else { 0 },
        ..Arrival::default()
    }
}

/// Fetch empty frames: many, or when the pool is nearly empty, one.
#[inline]
fn refill(spare: &mut Burst, pool: &Mempool) -> bool {
    if pool.alloc_bulk(spare, SPARE) {
        return true;
    }
    pool.alloc().map(|frame| spare.push(frame)).is_some()
}
