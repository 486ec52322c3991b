//! rx: frames from the feed ports, stamped on arrival, to parse.
//!
//! In: bursts of the venue's feed queues. Out: the same frames with an [`Arrival`] in their private area.
//! The only place of the path that may drop for want of room, and only when the pipeline file says so; a replay waits.
//! What a poll returns, and in which order captures of several lines come, is the port's affair.

use super::{Ledger, Links, Shared};
use crate::dpdk::{Burst, Frame, Mempool, ring::Producer};
use crate::latency::board::{Account, Count, Entry};
use crate::port::{Arrival, Feed};
use std::sync::Arc;

/// What rx does with frames that do not fit into its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Receive, and drop the newest.
    Drop,
    /// Leave them in the port.
    Wait,
}

/// Settings of one rx stage.
pub struct RxParts {
    /// The lines to poll.
    pub feed: Feed,
    /// Where a replay's frames come from; a device's queue has its own.
    pub pool: Mempool,
    /// Towards parse on another lcore; `None` when fused.
    pub out: Option<Producer<Frame>>,
    /// Most frames a poll, 1 to 64.
    pub burst: usize,
    /// What to do when `out` is full.
    pub when_full: WhenFull,
    /// Take `rx_tsc`.
    pub stamps: bool,
}

/// The stage.
pub struct Rx {
    parts: RxParts,
    spill: Burst,
    frames: u64,
    bursts: u64,
    ring_full: u64,
    first_tsc: u64,
    closed: bool,
    shared: Arc<Shared>,
}

impl Rx {
    /// A stage over its parts.
    pub fn new(parts: RxParts, shared: Arc<Shared>) -> Self {
        Rx { parts, spill: Burst::new(), frames: 0, bursts: 0, ring_full: 0, first_tsc: 0, closed: false, shared }
    }

    /// Fused: receive into `out` (empty), at most one burst. Returns the frames received.
    #[inline]
    pub fn receive(&mut self, out: &mut Burst) -> usize {
        let burst = self.parts.burst;
        self.burst(burst, out)
    }

    /// Alone: receive one burst into the ring. Returns the frames received.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let Some(ring) = &self.parts.out else { return 0 };
        let room = match self.parts.when_full {
            WhenFull::Wait => self.parts.burst.min(ring.free()),
            WhenFull::Drop => self.parts.burst,
        };
        if room == 0 {
            return 0;
        }
        let mut frames = std::mem::take(&mut self.spill);
        let n = self.burst(room, &mut frames);
        if let Some(ring) = &mut self.parts.out {
            ring.push_burst(&mut frames);
        }
        self.ring_full += frames.len() as u64;
        frames.clear();
        self.spill = frames;
        n
    }

    /// Whether no frame will come any more: captures delivered, or the intake closed and nothing left that was received
    /// for this venue before.
    pub fn finished(&mut self) -> bool {
        self.closed |= self.shared.intake_closed();
        match self.closed {
            true => self.parts.feed.is_emptied(),
            false => self.parts.feed.finished(),
        }
    }

    /// See [`super::Segment::swap_ends`].
    pub fn swap_ends(&mut self, links: &mut Links) {
        std::mem::swap(&mut self.parts.out, &mut links.rx_parse.0);
    }

    /// Most frames a poll from now on, 1 to 64.
    pub fn set_burst(&mut self, burst: usize) {
        self.parts.burst = burst;
    }

    /// Frames in = out + dropped.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// The lines, for their counters.
    pub fn feed(&self) -> &Feed {
        &self.parts.feed
    }

    /// TSC of the first burst with a frame; 0 before it, and without stamps.
    pub fn first_tsc(&self) -> u64 {
        self.first_tsc
    }

    #[inline]
    fn burst(&mut self, max: usize, out: &mut Burst) -> usize {
        let parts = &mut self.parts;
        let n = match self.closed || !self.shared.intake_open() {
            true if self.closed || self.shared.intake_closed() => parts.feed.rest(max, out),
            true => 0,
            false => parts.feed.burst(&parts.pool, max, parts.stamps, out),
        };
        if self.frames == 0 && n > 0 {
            let first: Option<Arrival> = out.first().and_then(Frame::private);
            self.first_tsc = first.map_or(0, |arrival| arrival.rx_tsc);
        }
        self.frames += n as u64;
        self.bursts += u64::from(n > 0);
        n
    }
}

impl Account for Rx {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "rx", unit: "frames", count }, n);
        let feed = &self.parts.feed;
        let too_long: u64 = (0..feed.lines()).map(|line| feed.counters(line).too_long).sum();
        let share_full = feed.share_full();
        each(Count::In, self.frames + too_long + share_full + feed.discarded());
        each(Count::Out, self.frames - self.ring_full);
        each(Count::Dropped("ring full"), self.ring_full);
        each(Count::Dropped("too long for an mbuf"), too_long);
        each(Count::Dropped("share full"), share_full);
        feed.account(&mut each);
        each(Count::Bursts, self.bursts);
        if let Some(ring) = &self.parts.out {
            each(Count::HighWater("rx_parse"), ring.high_water() as u64);
        }
    }
}
