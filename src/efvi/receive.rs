//! A receiving virtual interface: empty frames go to the card, and come back with packets in them, in order, without a copy.
//!
//! Every packet the card tells of is delivered, or counted by what it was discarded for, and its buffer is posted again.
//! While the pool is empty fewer buffers are posted, which is counted; the card drops what finds none. A ring whose events
//! overflowed, or whose card was reset, brings nothing any more: see `queue`.

use super::port::Filter;
use super::queue::{Ended, Ring};
use super::vi::Vi;
use super::{EfviError, QueueInfo};
use crate::dpdk::{Burst, Frame, Mempool};
use arrayvec::ArrayVec;
use efvi_sys::{efvi_shim_buffer, efvi_shim_rx};

/// Buffers posted at a time: the card's doorbell rings for so many.
const BATCH: usize = 8;
/// Polls between two looks for trouble.
const LOOK: u32 = 256;

/// What became of packets that were not delivered, and of buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Packets discarded by the card, by its reasons, the order of [`RxCounters::REASONS`].
    pub discards: [u64; efvi_sys::DISCARDS],
    /// Packets longer than a buffer, dropped.
    pub split: u64,
    /// Times that the pool had no frames to post.
    pub pool_empty: u64,
    /// Packets cut by the card because no buffer was posted.
    pub no_buffer: u64,
    /// Packets whose stamp was no use: the card's clock was not set, or not in sync.
    pub unsynced: u64,
    /// Buffers the card has now.
    pub posted: u64,
}

impl RxCounters {
    /// Names of the reasons for which cards discard packets.
    pub const REASONS: [&'static str; efvi_sys::DISCARDS] = [
        "checksum wrong (card)",
        "multicast mismatch (card)",
        "CRC wrong (card)",
        "truncated (card)",
        "no rights (card)",
        "event error (card)",
        "other (card)",
        "unknown (card)",
    ];

    /// Those of both.
    #[must_use]
    pub fn with(mut self, other: RxCounters) -> RxCounters {
        self.discards.iter_mut().zip(other.discards).for_each(|(all, n)| *all += n);
        self.split += other.split;
        self.pool_empty += other.pool_empty;
        self.no_buffer += other.no_buffer;
        self.unsynced += other.unsynced;
        self.posted += other.posted;
        self
    }

    /// Packets that were not delivered.
    pub fn dropped(&self) -> u64 {
        self.discards.iter().sum::<u64>() + self.split
    }
}

/// The ring of a receiving queue.
pub struct RxRing {
    // Dropped first: then the card has none of the frames any more.
    vi: Vi,
    /// Frames the card has, by the numbers of their buffers.
    slots: Box<[Option<Frame>]>,
    /// Buffers posted so far: the next one's number, by the mask of `slots`.
    next: u32,
    /// Empty frames to post.
    spare: ArrayVec<Frame, { efvi_sys::RX_ROOM + BATCH }>,
    told: Box<[efvi_shim_rx; efvi_sys::RX_ROOM]>,
    at: usize,
    len: usize,
    polls: u32,
    ended: Option<Ended>,
    starved: bool,
    counters: RxCounters,
    /// Of [`RxCounters::no_buffer`], what rings before this one counted.
    no_buffer_before: u64,
    pool: Mempool,
}

impl RxRing {
    /// Over a VI that has no buffers yet; posts them.
    pub(super) fn new(vi: Vi, pool: Mempool, interface: &str) -> RxRing {
        let slots = (vi.info.rx_capacity as usize + 1).next_power_of_two();
        let mut ring = RxRing {
            vi,
            slots: (0..slots).map(|_| None).collect(),
            next: 0,
            spare: ArrayVec::new(),
            told: Box::new([efvi_shim_rx::default(); efvi_sys::RX_ROOM]),
            at: 0,
            len: 0,
            polls: 0,
            ended: None,
            starved: false,
            counters: RxCounters::default(),
            no_buffer_before: 0,
            pool,
        };
        if ring.vi.info.rx_stamps != 0 {
            // Without room for stamps in mbufs frames go without.
            if let Err(err) = ring.pool.stamped() {
                log::warn!("interface {interface}: {err}");
            }
        }
        ring.post();
        ring
    }

    /// Direct packets here.
    pub fn filter(&mut self, filters: &[Filter]) -> Result<(), EfviError> {
        filters.iter().try_for_each(|filter| self.vi.filter(filter))
    }

    /// Receive at most `max` frames into the spare room of `burst`. Returns how many came.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let room = burst.remaining_capacity().min(max);
        if self.at == self.len {
            if self.is_over() {
                return 0;
            }
            self.poll();
            if self.len == 0 {
                self.idle();
                return 0;
            }
        }
        let mut received = 0;
        while received < room && self.at < self.len {
            let told = self.told[self.at];
            self.at += 1;
            if let Some(frame) = self.frame(&told) {
                burst.push(frame);
                received += 1;
            }
        }
        // A packet in hand is worth more than a buffer for a later one, as long as there are some.
        if self.counters.posted * 2 < u64::from(self.vi.info.rx_capacity) {
            self.post();
        }
        received
    }

    /// Whether the card has ended it.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    #[inline]
    fn poll(&mut self) {
        // SAFETY: an open VI, used through this one value, and room for as many as it may tell of.
        let n = unsafe { efvi_sys::efvi_shim_rx_poll(self.vi.raw(), self.told.as_mut_ptr()) };
        (self.at, self.len) = (0, n as usize);
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(LOOK) {
            self.look();
        }
    }

    /// Nothing came: a good moment for what can wait.
    #[inline]
    fn idle(&mut self) {
        if self.counters.posted + BATCH as u64 <= u64::from(self.vi.info.rx_capacity) {
            self.post();
        }
    }

    /// The packet of a buffer; otherwise the buffer is kept, to be posted again.
    #[inline]
    fn frame(&mut self, told: &efvi_shim_rx) -> Option<Frame> {
        let slot = told.id as usize & (self.slots.len() - 1);
        // The card tells of each buffer once; of one it does not have there is nothing to deliver.
        let mut frame = self.slots[slot].take()?;
        self.counters.posted -= 1;
        let prefix = self.vi.info.prefix_bytes as usize;
        if told.flags & (efvi_sys::SOP | efvi_sys::CONT) == efvi_sys::SOP
            && told.discard == 0
            && frame.received(prefix, told.bytes.into())
        {
            if told.flags & efvi_sys::STAMPED != 0 {
                match told.flags & efvi_sys::IN_SYNC {
                    0 => self.counters.unsynced += 1,
                    _ => frame.set_stamp(told.stamp_ns),
                }
            }
            return Some(frame);
        }
        self.discard(told, frame);
        None
    }

    #[cold]
    fn discard(&mut self, told: &efvi_shim_rx, frame: Frame) {
        // A packet counts by the buffer it begins in.
        match (told.flags & efvi_sys::SOP, told.discard) {
            (0, _) => {}
            (_, 0) => self.counters.split += 1,
            (_, reason) => self.counters.discards[usize::from(reason - 1).min(efvi_sys::DISCARDS - 1)] += 1,
        }
        // Without room it goes back to its pool.
        let _ = self.spare.try_push(frame);
    }

    /// Give the card empty frames, in batches, as long as there are some and it has room.
    fn post(&mut self) {
        let capacity = u64::from(self.vi.info.rx_capacity);
        while self.counters.posted + BATCH as u64 <= capacity {
            if self.spare.len() < BATCH && !self.fetch() {
                return;
            }
            let mut buffers = ArrayVec::<efvi_shim_buffer, BATCH>::new();
            for n in 0..BATCH {
                let frame = &self.spare[self.spare.len() - 1 - n];
                let at = frame.data_at();
                // Every frame of the pool is registered.
                let Some(dma) = self.vi.dma(at) else { break };
                let id = self.next.wrapping_add(n as u32) & (self.slots.len() as u32 - 1);
                if self.slots[id as usize].is_some() {
                    break;
                }
                buffers.push(efvi_shim_buffer { dma, at: at.cast(), id, reserved: 0 });
            }
            // SAFETY: an open VI; empty frames whose buffers nobody else touches before the card tells of them, because they are put
            // into the slots below.
            let posted =
                unsafe { efvi_sys::efvi_shim_rx_post(self.vi.raw(), buffers.as_ptr(), buffers.len() as u32) as usize };
            for buffer in &buffers[..posted] {
                self.slots[buffer.id as usize] = self.spare.pop();
            }
            self.next = self.next.wrapping_add(posted as u32);
            self.counters.posted += posted as u64;
            if posted < BATCH {
                return;
            }
        }
    }

    /// A batch of empty frames; false when the pool has none.
    fn fetch(&mut self) -> bool {
        let mut fresh = Burst::new();
        let got = self.pool.alloc_bulk(&mut fresh, BATCH);
        self.counters.pool_empty += u64::from(!got && !self.starved);
        self.starved = !got;
        self.spare.extend(fresh);
        got
    }

    #[cold]
    fn look(&mut self) {
        let trouble = self.vi.trouble();
        self.counters.no_buffer = self.no_buffer_before + u64::from(trouble.no_buffer);
        if trouble.overflows + trouble.resets > 0 {
            // Some cards go on telling of it.
            let (resets, overflows) = (trouble.resets.min(1), trouble.overflows.min(1));
            self.ended = Some(Ended { resets, overflows, unsent: 0 });
        }
    }
}

impl Ring for RxRing {
    type Counters = RxCounters;

    fn ended(&self) -> Option<Ended> {
        self.ended.filter(|_| self.at == self.len)
    }

    fn last(&self) -> RxCounters {
        RxCounters { posted: 0, ..self.counters }
    }

    fn go_on_from(&mut self, before: RxCounters) {
        self.no_buffer_before = before.no_buffer;
        self.counters = self.counters.with(before);
    }

    fn info(&self) -> QueueInfo {
        QueueInfo::of(&self.vi)
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn fill_level(&self) -> u32 {
        // SAFETY: an open VI.
        unsafe { efvi_sys::efvi_shim_rx_fill(self.vi.raw()) }
    }
}
