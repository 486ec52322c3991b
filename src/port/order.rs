//! Where order frames go: a transmit queue, a file, or a count. What the tx stage hands its bursts to.

use super::capture::{CaptureError, CaptureSink};
use crate::dpdk::{Burst, TxQueue, free_burst};

/// The order port of one venue.
pub enum OrderPort {
    /// A queue of a DPDK port.
    Ethdev(TxQueue),
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
            OrderPort::Capture(sink) => sink.finish(),
        }
    }

    /// Take frames from the front of `frames`; those that are not taken stay, and are not lost. `stamps_ns` are the
    /// frames' stamps in a file, in the same order: the arrival of the packet that caused each. Returns how many went.
    #[inline]
    pub fn burst(&mut self, frames: &mut Burst, stamps_ns: &[u64]) -> usize {
        let sink = match self {
            OrderPort::Ethdev(queue) => return queue.burst(frames),
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
}
