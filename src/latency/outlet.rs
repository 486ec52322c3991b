//! The way of a record from a stage to the recorder: an SPSC ring. A full ring loses the record and counts it; the order
//! it tells of is already on its way.

use super::record::Record;
use crate::dpdk::ring::Producer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The stage's end.
#[derive(Debug)]
pub struct Outlet {
    ring: Producer<Record>,
    lost: Arc<Lost>,
}

/// Records that found the ring full.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Lost(AtomicU64);

impl Outlet {
    /// An outlet into `ring`, and what it will have lost.
    pub fn new(ring: Producer<Record>) -> (Outlet, Arc<Lost>) {
        let lost = Arc::<Lost>::default();
        (Outlet { ring, lost: lost.clone() }, lost)
    }

    /// Hand over one record, or count it as lost.
    #[inline]
    pub fn push(&mut self, record: Record) {
        if self.ring.push(record).is_err() {
            self.lost.add();
        }
    }
}

impl Lost {
    /// One more. Its stage alone counts: a load and a store suffice.
    #[inline]
    pub(crate) fn add(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
