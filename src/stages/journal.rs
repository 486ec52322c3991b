//! Strategy's end of the journal: entries by value into a ring to the recorder, or, where a journal is followed, kept for
//! comparison. Never blocks: live, the first entry without room ends the journal, counted; a replay stops the intake instead.

use crate::dpdk::ring::Producer;
use crate::journal::{self, Slot};
use crate::latency::outlet::Lost;
use crate::market::{Element, Order, OrderEvent, Packet, Refusal};
use std::collections::VecDeque;
use std::sync::Arc;

/// Slots that gather between two looks at the ring: what a packet can cause twice over.
const GATHERED: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    gathered: Vec<Slot>,
    /// Most of them.
    most: usize,
    ring: Option<Producer<Slot>>,
    lost: Arc<Lost>,
    entries: u64,
    /// What became of the orders to come in the run that is followed.
    told: VecDeque<Option<Refusal>>,
}

impl Journal {
    /// Into `ring`, and what will be lost; `lossless`: who writes asks for [room](Self::has_room).
    pub fn new(ring: Producer<Slot>, lossless: bool) -> (Journal, Arc<Lost>) {
        let lost = Arc::<Lost>::default();
        let most = if lossless { usize::MAX } else { GATHERED };
        (Journal { most, ring: Some(ring), lost: lost.clone(), ..Journal::kept() }, lost)
    }

    /// Kept, to be [taken](Self::take).
    pub fn kept() -> Journal {
        Journal {
            gathered: Vec::with_capacity(GATHERED),
            most: usize::MAX,
            ring: None,
            lost: Arc::default(),
            entries: 0,
            told: VecDeque::new(),
        }
    }

    /// A packet's head.
    #[inline(always)]
    pub fn packet(&mut self, head: &Packet) {
        self.put(&journal::packet(head));
    }

    /// An element, `remaining` before the packet's end.
    pub fn element(&mut self, remaining: u16, element: &Element) {
        self.put(&journal::element(remaining, element));
    }

    /// An order event, `remaining` elements before the packet's end.
    pub fn event(&mut self, remaining: u16, event: &OrderEvent) {
        self.put(&journal::event(remaining, event));
    }

    /// An order and what became of it.
    #[inline]
    pub fn decision(&mut self, order: &Order, refused: Option<Refusal>) {
        self.put(&journal::decision(order, refused));
    }

    /// Asked to cancel what stands.
    pub fn stop(&mut self) {
        self.put(&journal::stop());
    }

    /// Change `number` of the parameters, to those in `json`, `remaining` elements before the packet's end.
    pub fn parameters(&mut self, remaining: u16, number: u32, json: &[u8]) {
        journal::parameters(remaining, number, json).for_each(|entry| self.put(&entry));
    }

    /// Pass on what was gathered, as far as there is room.
    #[inline]
    pub fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        if let Some(ring) = &mut self.ring {
            let n = ring.push_slice(&self.gathered);
            self.gathered.drain(..n);
        }
    }

    /// Nothing is gathered that has somewhere to go.
    pub fn is_flushed(&self) -> bool {
        self.ring.is_none() || self.gathered.is_empty()
    }

    /// Whether another burst may be journaled without loss.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.gathered.len() > GATHERED / 2 {
            self.flush();
        }
        // What has ended waits for nothing.
        self.is_flushed() || self.gathered.len() <= GATHERED / 2 || self.lost.count() > 0
    }

    /// Entries taken, and entries that found no room.
    pub fn entries(&self) -> (u64, u64) {
        (self.entries, self.lost.count())
    }

    /// Following: what was kept since the last call, into `into`, which is empty.
    pub fn take(&mut self, into: &mut Vec<Slot>) {
        std::mem::swap(&mut self.gathered, into);
    }

    /// Following: what became of the orders to come.
    pub fn tell(&mut self, verdicts: impl Iterator<Item = Option<Refusal>>) {
        self.told.clear();
        self.told.extend(verdicts);
    }

    /// Following: what became of the next order, if the run had one.
    #[inline]
    pub fn told(&mut self) -> Option<Option<Refusal>> {
        self.told.pop_front()
    }

    #[inline(always)]
    fn put(&mut self, entry: &[Slot]) {
        if self.gathered.len() + entry.len() > self.most && !self.make_room(entry.len()) {
            return;
        }
        self.entries += 1;
        self.gathered.extend_from_slice(entry);
    }

    /// After the first loss there is no room for anything: what came behind a hole would decide nothing.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, slots: usize) -> bool {
        if self.lost.count() == 0 {
            self.flush();
            if self.gathered.len() + slots <= self.most {
                return true;
            }
            self.most = 0;
        }
        self.lost.add();
        false
    }
}
