//! A transmitting virtual interface: finished frames go to the card by CTPIO or DMA, and stay its own until it says they left.
//!
//! A frame that finds no room stays with the caller. Completions are taken when there is no room, and by [`TxQueue::poll`], so
//! that the ring is never stuck because nobody looks. Checksums are the caller's: by CTPIO the card sends what it is given.
//! With a frame that the card could not send it gives up the ring: nothing behind it leaves, and it has ended, as with a reset of the card: see `queue`.

use super::QueueInfo;
use super::queue::{Ended, Ring};
use super::vi::Vi;
use crate::cpu::rdtsc;
use crate::dpdk::{Burst, Frame, Mempool, free_burst};
use arrayvec::ArrayVec;
use efvi_sys::{efvi_shim_frame, efvi_shim_tx};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Polls between two looks for trouble.
const LOOK: u32 = 256;
/// Polls without anything to do between two warm-up sends, which keep the way to the card in the caches.
const WARM: u32 = 1024;
/// Bytes of a warm-up send: about an order's.
const WARM_BYTES: usize = 128;
/// The longest wait for the last frames to leave.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Handed to the card.
    pub sent: u64,
    /// Left by CTPIO.
    pub ctpio: u64,
    /// Left by DMA, where CTPIO was tried first.
    pub fallbacks: u64,
    /// Did not leave, the card says.
    pub failed: u64,
    /// Stamps that were no use: the card's clock was not set, or not in sync.
    pub unsynced: u64,
    /// The card has now.
    pub outstanding: u64,
    /// The card had when a ring ended: some may have left.
    pub unsent: u64,
    /// The longest from a doorbell to its completion being taken, in TSC ticks.
    pub lag_ticks: u64,
    /// Warm-up sends.
    pub warmed: u64,
}

/// A frame that left, and when by the card's clock.
pub struct Sent {
    /// The frame.
    pub frame: Frame,
    /// ns since 1970.
    pub stamp_ns: u64,
}

/// The ring of a transmitting queue.
pub struct TxRing {
    // Dropped first: then the card has none of the frames any more.
    vi: Vi,
    /// Frames the card has, by their numbers, and the TSC after their doorbell.
    slots: Box<[Option<(Frame, u64)>]>,
    /// Frames sent so far: the next one's number, by the mask of `slots`.
    next: u32,
    told: Box<[efvi_shim_tx; efvi_sys::TX_ROOM]>,
    /// Stamped, and not asked for yet.
    stamped: VecDeque<Sent>,
    warm: Option<Frame>,
    polls: u32,
    idle: u32,
    ended: Option<Ended>,
    counters: TxCounters,
    _pool: Mempool,
}

impl TxRing {
    pub(super) fn new(vi: Vi, pool: Mempool) -> TxRing {
        let slots = (vi.info.tx_capacity as usize + 1).next_power_of_two();
        let mut warm = pool.alloc();
        if let Some(bytes) = warm.as_mut().and_then(|frame| frame.append(WARM_BYTES)) {
            bytes.fill(0);
        }
        TxRing {
            vi,
            slots: (0..slots).map(|_| None).collect(),
            next: 0,
            told: Box::new([efvi_shim_tx::default(); efvi_sys::TX_ROOM]),
            stamped: VecDeque::with_capacity(slots),
            warm,
            polls: 0,
            idle: 0,
            ended: None,
            counters: TxCounters::default(),
            _pool: pool,
        }
    }

    /// Hand frames to the card, from the front; those it has no room for stay in the burst. Returns how many went.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        if self.room() < burst.len() {
            self.reap();
        }
        let room = self.room().min(burst.len());
        let mut frames = ArrayVec::<efvi_shim_frame, { crate::dpdk::BURST }>::new();
        for (n, frame) in burst[..room].iter().enumerate() {
            let at = frame.data_at();
            let id = self.next.wrapping_add(n as u32) & (self.slots.len() as u32 - 1);
            // Frames are of the pool that was registered, and numbers come back in the order in which they were given.
            let Some(dma) = self.vi.dma(at).filter(|_| self.slots[id as usize].is_none()) else { break };
            frames.push(efvi_shim_frame { dma, at: at.cast(), bytes: frame.bytes().len() as u32, id });
        }
        // SAFETY: an open VI; whole frames that nobody touches before they are completed, because they are put into the slots
        // below.
        let sent = unsafe { efvi_sys::efvi_shim_tx_send(self.vi.raw(), frames.as_ptr(), frames.len() as u32) as usize };
        let tsc = rdtsc();
        for (frame, told) in burst.drain(..sent).zip(&frames) {
            self.slots[told.id as usize] = Some((frame, tsc));
        }
        self.next = self.next.wrapping_add(sent as u32);
        self.counters.sent += sent as u64;
        self.counters.outstanding += sent as u64;
        if sent > 0 {
            self.idle = 0;
        }
        sent
    }

    /// Take completions, and keep the way to the card warm.
    #[inline]
    pub fn poll(&mut self) {
        if self.counters.outstanding > 0 {
            self.reap();
            return;
        }
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(WARM) {
            self.warm_up();
        }
    }

    /// The next frame that left with a stamp of use.
    #[inline]
    pub fn stamped(&mut self) -> Option<Sent> {
        self.stamped.pop_front()
    }

    /// Whether the card has told of every frame, and its stamp was asked for; or it will never tell.
    pub fn is_settled(&self) -> bool {
        self.is_over() || self.counters.outstanding == 0 && self.stamped.is_empty()
    }

    /// Wait, not for long, until what was handed over has left.
    pub fn finish(&mut self) {
        let began = Instant::now();
        while self.counters.outstanding > 0 && !self.is_over() && began.elapsed() < PATIENCE {
            self.reap();
        }
    }

    /// Whether the card has ended it.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    #[inline]
    fn room(&self) -> usize {
        match self.is_over() {
            true => 0,
            false => self.vi.info.tx_capacity as usize - self.counters.outstanding as usize,
        }
    }

    fn reap(&mut self) {
        if self.is_over() {
            return;
        }
        // SAFETY: an open VI, used through this one value, and room for as many as it may tell of.
        let n = unsafe { efvi_sys::efvi_shim_tx_poll(self.vi.raw(), self.told.as_mut_ptr()) as usize };
        let tsc = if n > 0 { rdtsc() } else { 0 };
        let (mut done, mut failed) = (Burst::new(), false);
        for at in 0..n {
            let told = self.told[at];
            let slot = told.id as usize & (self.slots.len() - 1);
            let Some((frame, sent_tsc)) = self.slots[slot].take() else { continue };
            let counters = &mut self.counters;
            counters.outstanding -= 1;
            counters.lag_ticks = counters.lag_ticks.max(tsc.saturating_sub(sent_tsc));
            let has = |flag: u8| told.flags & u32::from(flag) != 0;
            failed |= has(efvi_sys::FAILED);
            match (has(efvi_sys::FAILED), has(efvi_sys::CTPIO)) {
                (true, _) => counters.failed += 1,
                (false, true) => counters.ctpio += 1,
                (false, false) => counters.fallbacks += u64::from(self.vi.info.ctpio),
            }
            if has(efvi_sys::STAMPED) && has(efvi_sys::IN_SYNC) && self.stamped.len() < self.slots.len() {
                self.stamped.push_back(Sent { frame, stamp_ns: told.stamp_ns });
                continue;
            }
            counters.unsynced += u64::from(has(efvi_sys::STAMPED) && !has(efvi_sys::IN_SYNC));
            done.push(frame);
            if done.is_full() {
                free_burst(&mut done);
            }
        }
        free_burst(&mut done);
        self.polls = self.polls.wrapping_add(1);
        if failed || self.polls.is_multiple_of(LOOK) {
            self.look();
        }
    }

    #[cold]
    fn warm_up(&mut self) {
        let Some(frame) = &self.warm else { return };
        let at = frame.data_at();
        let Some(dma) = self.vi.dma(at) else { return };
        let frame = efvi_shim_frame { dma, at: at.cast(), bytes: WARM_BYTES as u32, id: 0 };
        // SAFETY: an open VI without a frame outstanding; the frame stays as it is, and the card does not send it.
        let warmed = unsafe { efvi_sys::efvi_shim_tx_warm(self.vi.raw(), &frame) };
        self.counters.warmed += warmed as u64;
        // Some cards tell of what only warmed up; and a reset shows here while nothing is sent.
        self.reap();
        self.look();
    }

    #[cold]
    fn look(&mut self) {
        let trouble = self.vi.trouble();
        // What CTPIO has sent without a fallback leaves the ring of no use, as does a frame that the card could not send.
        let ended = trouble.resets + trouble.no_fallback + trouble.tx_errors;
        if trouble.overflows + ended > 0 && !self.is_over() {
            // Some cards go on telling of it.
            let (resets, overflows) = (ended.min(1), trouble.overflows.min(1));
            self.ended = Some(Ended { resets, overflows, unsent: 0 });
        }
    }
}

impl Ring for TxRing {
    type Counters = TxCounters;

    fn ended(&self) -> Option<Ended> {
        // Stamps of what left are taken first.
        self.ended.filter(|_| self.stamped.is_empty()).map(|ended| Ended { unsent: self.counters.outstanding, ..ended })
    }

    fn last(&self) -> TxCounters {
        let unsent = self.counters.unsent + self.counters.outstanding;
        TxCounters { outstanding: 0, unsent, ..self.counters }
    }

    fn go_on_from(&mut self, before: TxCounters) {
        // Nothing was sent by this one.
        self.counters = before;
    }

    fn info(&self) -> QueueInfo {
        QueueInfo::of(&self.vi)
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn fill_level(&self) -> u32 {
        // SAFETY: an open VI.
        unsafe { efvi_sys::efvi_shim_tx_fill(self.vi.raw()) }
    }
}
