//! Where order frames go: a transmit queue, a file, or a count. What the tx stage hands its bursts to.

use super::capture::{CaptureError, CaptureSink};
#[cfg(feature = "ef_vi")]
use super::device::{CARD, CARD_NOW};
use crate::dpdk::{Burst, Frame, TxQueue, free_burst};
#[cfg(feature = "ef_vi")]
use crate::efvi;
use crate::latency::board::Count;

/// The order port of one venue.
pub enum OrderPort {
    /// A queue of a DPDK port.
    Ethdev(TxQueue),
    /// A queue of a card.
    #[cfg(feature = "ef_vi")]
    Efvi(Box<efvi::TxQueue>),
    /// A ns pcap, or a count.
    Capture(CaptureSink),
}

impl OrderPort {
    /// Complete what was written: a file is whole and under its name when this returns.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn finish(self) -> Result<(), CaptureError> {
        match self {
            OrderPort::Ethdev(_) => Ok(()),
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(mut queue) => {
                queue.finish();
                Ok(())
            }
            OrderPort::Capture(sink) => sink.finish(),
        }
    }

    /// Take frames from the front of `frames`; those that are not taken stay, and are not lost. `stamps_ns` are the
    /// frames' stamps in a file, in the same order: the arrival of the packet that caused each. Returns how many went.
    #[inline]
    pub fn burst(&mut self, frames: &mut Burst, stamps_ns: &[u64]) -> usize {
        let sink = match self {
            OrderPort::Ethdev(queue) => return queue.burst(frames),
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(queue) => return queue.burst(frames),
            OrderPort::Capture(sink) => sink,
        };
        debug_assert_eq!(frames.len(), stamps_ns.len());
        let taken = frames.iter().zip(stamps_ns).take_while(|(frame, stamp)| sink.push(**stamp, frame.bytes())).count();
        if taken == frames.len() {
            free_burst(frames);
        } else {
            frames.drain(..taken);
        }
        taken
    }

    /// Whether all that was taken has left, as far as that is ever told.
    pub fn is_settled(&self) -> bool {
        match self {
            OrderPort::Ethdev(_) | OrderPort::Capture(_) => true,
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(queue) => queue.is_settled(),
        }
    }

    /// Whether it takes nothing, because its device is being started anew, or is gone.
    #[inline]
    pub fn rests(&self) -> bool {
        match self {
            OrderPort::Ethdev(queue) => queue.rests(),
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(queue) => queue.rests(),
            OrderPort::Capture(_) => false,
        }
    }

    /// What a card wants done now and then: its completions taken. `left` gets every frame that left with a stamp, and the stamp, in
    /// ns of the card's clock; of a port without such stamps, none.
    #[inline]
    pub fn poll(&mut self, mut left: impl FnMut(&Frame, u64)) {
        match self {
            OrderPort::Ethdev(_) | OrderPort::Capture(_) => {
                let _ = &mut left;
            }
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(queue) => {
                queue.poll();
                while let Some(sent) = queue.stamped() {
                    left(&sent.frame, sent.stamp_ns);
                }
            }
        }
    }

    /// How a card's ring stands, and which way its frames left; nothing of other ports.
    pub fn account(&self, each: &mut dyn FnMut(Count, u64)) {
        match self {
            OrderPort::Ethdev(_) | OrderPort::Capture(_) => {
                let _ = each;
            }
            #[cfg(feature = "ef_vi")]
            OrderPort::Efvi(queue) => {
                let counters = queue.counters();
                let events = [
                    ("sent by CTPIO", counters.ctpio),
                    ("sent by the fallback", counters.fallbacks),
                    ("failed", counters.failed),
                    ("unsent", counters.unsent),
                    ("tx stamp out of sync", counters.unsynced),
                    ("warmed up", counters.warmed),
                ];
                events.into_iter().for_each(|(name, n)| each(Count::Figure(CARD, name), n));
                let now = [("outstanding", counters.outstanding), ("lag_ticks", counters.lag_ticks)];
                now.into_iter().for_each(|(name, n)| each(Count::Figure(CARD_NOW, name), n));
            }
        }
    }
}
