//! A venue's share of a port that feeds of several venues arrive on: a ring from the lcore that receives to the venue's rx.
//!
//! In: frames with their [`super::Arrival`]. Out: the same, in order. What finds no room is freed and counted as the venue's
//! loss; nobody waits.

use crate::dpdk::ring::{Consumer, Producer};
use crate::dpdk::{Burst, Frame, free_burst};
use crate::latency::outlet::Lost;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The venue's end.
pub struct Share {
    ring: Consumer<Frame>,
    full: Arc<Lost>,
    ended: Arc<AtomicBool>,
}

/// The receiver's end.
pub struct Portion {
    ring: Producer<Frame>,
    full: Arc<Lost>,
    ended: Arc<AtomicBool>,
}

/// Both ends over a ring.
pub fn share((producer, consumer): (Producer<Frame>, Consumer<Frame>)) -> (Portion, Share) {
    let (full, ended) = (Arc::<Lost>::default(), Arc::<AtomicBool>::default());
    (Portion { ring: producer, full: full.clone(), ended: ended.clone() }, Share { ring: consumer, full, ended })
}

impl Portion {
    /// Hand these frames over; `frames` is empty after that.
    #[inline]
    pub fn give(&mut self, frames: &mut Burst) {
        self.ring.push_burst(frames);
        if !frames.is_empty() {
            frames.iter().for_each(|_| self.full.add());
            free_burst(frames);
        }
    }

    /// Nothing is given any more.
    pub fn end(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Share {
    /// Take at most `max` frames into the spare room of `out`. Returns how many came.
    #[inline]
    pub fn burst(&mut self, out: &mut Burst, max: usize) -> usize {
        self.ring.pop_at_most(out, max)
    }

    /// Frames for this venue that found the ring full.
    pub fn full(&self) -> u64 {
        self.full.count()
    }

    /// Whether nothing is left and nothing will come.
    pub fn is_emptied(&self) -> bool {
        // The flag first: what was given before it is then visible.
        self.ended.load(Ordering::Acquire) && self.ring.is_empty()
    }
}
