//! Queues as the path has them, and how they go on when the card was reset or their events overflowed.
//!
//! A ring whose virtual interface is of no use any more goes onto the queue's desk. Whoever sets up closes it, and lays another
//! there, on a new virtual interface, with which the queue goes on. The path waits for nothing meanwhile: a queue without a ring
//! neither brings nor takes frames. What the card had of a lost ring is freed with it, and counted where it was to be sent.

use super::receive::RxRing;
use super::transmit::{Sent, TxRing};
use super::{EfviError, Port, QueueInfo};
use crate::dpdk::Burst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One receiving queue.
pub type RxQueue = Queue<RxRing>;

/// One transmitting queue.
pub type TxQueue = Queue<TxRing>;

/// A queue: a place for one ring after the other.
pub struct Queue<R: Ring> {
    ring: Option<Box<R>>,
    /// What the last ring had counted.
    before: R::Counters,
    info: QueueInfo,
    desk: Arc<Desk<R>>,
    port: Port,
}

/// How a ring ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// The card was reset, or gave the ring up.
    pub resets: u32,
    /// Its events overflowed.
    pub overflows: u32,
    /// Frames that it had and has not told of.
    pub unsent: u64,
}

/// What a queue needs of its rings.
pub trait Ring: Send {
    /// What it counts.
    type Counters: Copy + Default;
    /// How it ended, once it has, and everything that came of it was taken.
    fn ended(&self) -> Option<Ended>;
    /// What it has counted in the end.
    fn last(&self) -> Self::Counters;
    /// Count on from there.
    fn go_on_from(&mut self, before: Self::Counters);
    /// What came of asking for it.
    fn info(&self) -> QueueInfo;
    /// What it has counted so far.
    fn counters(&self) -> &Self::Counters;
    /// Buffers, or frames to send, that the card has, by its own account.
    fn fill_level(&self) -> u32;
}

/// What opens new rings.
pub(super) trait Renew: Send + Sync {
    /// Close a ring that is lost. Whether a new one is wanted.
    fn clear(&self) -> bool;
    /// Open it, for the queue to take.
    fn renew(&self, port: &Port) -> Result<(), EfviError>;
}

/// How a ring is opened, with everything it needs.
type Open<R> = dyn Fn(&Port) -> Result<R, EfviError> + Send + Sync;

/// Between a queue and whoever sets up.
struct Desk<R> {
    open: Box<Open<R>>,
    on_it: Mutex<OnIt<R>>,
}

struct OnIt<R> {
    lost: Option<Box<R>>,
    new: Option<Box<R>>,
    wanted: bool,
}

impl<R> Desk<R> {
    fn on_it(&self) -> MutexGuard<'_, OnIt<R>> {
        self.on_it.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Ring> Renew for Desk<R> {
    fn clear(&self) -> bool {
        let mut on_it = self.on_it();
        let (lost, wanted) = (on_it.lost.take(), on_it.wanted);
        drop(on_it);
        // Its queue does not wait for this.
        drop(lost);
        wanted
    }

    fn renew(&self, port: &Port) -> Result<(), EfviError> {
        let ring = Box::new((self.open)(port)?);
        let mut on_it = self.on_it();
        (on_it.new, on_it.wanted) = (Some(ring), false);
        Ok(())
    }
}

impl<R: Ring + 'static> Queue<R> {
    pub(super) fn open(
        port: &Port,
        open: impl Fn(&Port) -> Result<R, EfviError> + Send + Sync + 'static,
    ) -> Result<Self, EfviError> {
        let ring = Box::new(open(port)?);
        let on_it = Mutex::new(OnIt { lost: None, new: None, wanted: false });
        let desk = Arc::new(Desk { open: Box::new(open), on_it });
        let weak = Arc::downgrade(&desk);
        port.shared().add_desk(weak);
        Ok(Queue { info: ring.info(), ring: Some(ring), before: R::Counters::default(), desk, port: port.clone() })
    }

    /// Leave a ring that has ended to whoever sets up.
    #[cold]
    fn leave(&mut self) {
        let Some((ended, last)) = self.ring.as_ref().and_then(|ring| Some((ring.ended()?, ring.last()))) else {
            return;
        };
        // Somebody looks at the desk: next time.
        let Ok(mut on_it) = self.desk.on_it.try_lock() else { return };
        (on_it.lost, on_it.wanted) = (self.ring.take(), true);
        drop(on_it);
        self.before = last;
        self.port.shared().ended(ended);
    }

    /// Go on with a new ring, if there is one.
    #[cold]
    fn go_on(&mut self) {
        let Ok(mut on_it) = self.desk.on_it.try_lock() else { return };
        let Some(mut ring) = on_it.new.take() else { return };
        drop(on_it);
        ring.go_on_from(self.before);
        self.info = ring.info();
        self.ring = Some(ring);
        self.port.shared().went_on();
    }
}

impl<R: Ring> Queue<R> {
    /// The port it belongs to.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// What came of asking for it.
    pub fn info(&self) -> QueueInfo {
        self.info
    }

    /// What it counted.
    pub fn counters(&self) -> &R::Counters {
        self.ring.as_ref().map_or(&self.before, |ring| ring.counters())
    }

    /// Buffers, or frames to send, that the card has, by its own account.
    pub fn fill_level(&self) -> u32 {
        self.ring.as_ref().map_or(0, |ring| ring.fill_level())
    }
}

impl RxQueue {
    /// Receive at most `max` frames into the spare room of `burst`. Returns how many came.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let Some(ring) = &mut self.ring else {
            self.go_on();
            return 0;
        };
        let received = ring.burst(burst, max);
        if received == 0 && ring.is_over() {
            self.leave();
        }
        received
    }
}

impl TxQueue {
    /// Hand frames to the card, from the front; those it has no room for stay in the burst. Returns how many went.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        self.ring.as_mut().map_or(0, |ring| ring.burst(burst))
    }

    /// Take completions, and keep the way to the card warm.
    #[inline]
    pub fn poll(&mut self) {
        match &mut self.ring {
            None => self.go_on(),
            // Once the stamps of what left have been asked for.
            Some(ring) if ring.is_over() => self.leave(),
            Some(ring) => ring.poll(),
        }
    }

    /// The next frame that left with a stamp of use.
    #[inline]
    pub fn stamped(&mut self) -> Option<Sent> {
        self.ring.as_mut()?.stamped()
    }

    /// Whether it takes nothing, because its virtual interface is lost.
    #[inline]
    pub fn rests(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.is_over())
    }

    /// Whether the card has told of every frame, and its stamp was asked for; or it will never tell.
    pub fn is_settled(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.is_settled())
    }

    /// Wait, not for long, until what was handed over has left.
    pub fn finish(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.finish();
        }
    }
}
