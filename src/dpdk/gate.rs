//! A gate before each queue of a port: shut while its device is started anew, or is gone.
//!
//! Whoever polls the queue passes it at every burst, by two stores and a load of a line of the queue's own. The barrier that
//! this lacks is made by who shuts the gate, on every thread at once.

use crate::sys::barrier;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, compiler_fence};
use std::time::{Duration, Instant};

/// Longer than a burst lasts, also of a thread that has lost its CPU.
const BURST: Duration = Duration::from_secs(1);

/// Before one queue.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gate {
    shut: AtomicBool,
    /// A burst is under way.
    busy: AtomicBool,
    /// EAL's number of the port behind it; changes while it is shut.
    port: AtomicU16,
    /// Frames that the device took from this queue. Only the queue's owner writes it.
    handed: AtomicU64,
}

impl Gate {
    /// Begin a burst, which [`Gate::leave`] ends. False: the device is not to be touched.
    #[inline(always)]
    pub fn enter(&self) -> bool {
        self.busy.store(true, Ordering::Relaxed);
        // Between the store and the load; the processor's share is `barrier::everywhere`.
        compiler_fence(Ordering::SeqCst);
        let open = !self.shut.load(Ordering::Acquire);
        if !open {
            self.leave();
        }
        open
    }

    /// EAL's number of the port behind it, for a burst.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The port behind it. Nobody is in a burst.
    pub fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// The burst is over.
    #[inline(always)]
    pub fn leave(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// The device took so many frames more.
    #[inline(always)]
    pub fn count(&self, frames: usize) {
        self.handed.store(self.handed.load(Ordering::Relaxed) + frames as u64, Ordering::Relaxed);
    }

    /// Frames that the device took.
    pub fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Whether it is shut.
    #[inline]
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Let bursts through again.
    pub fn open(&self) {
        self.shut.store(false, Ordering::Release);
    }
}

/// Shut the gates: after this no burst is under way, and none begins before they are open again.
///
/// # Errors
/// A kernel without the barrier; a burst that does not end. The gates stay shut.
pub(super) fn shut(gates: &[Arc<Gate>]) -> io::Result<()> {
    gates.iter().for_each(|gate| gate.shut.store(true, Ordering::Relaxed));
    barrier::everywhere()?;
    let until = Instant::now() + BURST;
    while gates.iter().any(|gate| gate.busy.load(Ordering::Acquire)) {
        if Instant::now() > until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "an lcore is stuck in a burst"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_burst_is_under_way_while_a_gate_is_shut() {
        let (gate, [resting, over]) = (Arc::new(Gate::default()), [const { AtomicBool::new(false) }; 2]);
        std::thread::scope(|scope| {
            let polls = scope.spawn(|| {
                let mut seen = [0u64; 2];
                while !over.load(Ordering::Relaxed) {
                    let open = gate.enter();
                    if open {
                        assert!(!resting.load(Ordering::Relaxed), "a burst while the device rests");
                        gate.leave();
                    }
                    seen[usize::from(open)] += 1;
                }
                seen
            });
            while !polls.is_finished() && gate.handed() < 2_000 {
                shut(std::slice::from_ref(&gate)).unwrap();
                resting.store(true, Ordering::Relaxed);
                std::thread::yield_now();
                resting.store(false, Ordering::Relaxed);
                gate.open();
                gate.count(1);
            }
            over.store(true, Ordering::Relaxed);
            let [turned_back, through] = polls.join().unwrap();
            assert!(turned_back > 0 && through > 0, "{turned_back} {through}");
        });
    }
}
