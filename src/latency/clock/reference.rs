//! Clocks that the TSC is held against: each is read together with the TSC, in a sandwich of two TSC reads.
//!
//! Not here: the HPET, because opening `/dev/hpet` reroutes one of its interrupts, and the ACPI PM timer, because its port
//! can be read by a privileged thread only. Where the kernel's clocksource is one of them, [`KernelRaw`] is that clock.

use crate::cpu::rdtsc;
use crate::sys::time;
use std::path::{Path, PathBuf};

/// The TSC and another clock at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The TSC, in the middle of the sandwich.
    pub tsc: u64,
    /// The other clock, in ns since whenever.
    pub ns: u64,
    /// Ticks between the TSC reads around it: `tsc` is at most half of it wrong.
    pub width: u64,
    /// How wrong the other clock itself may be, in ns.
    pub error_ns: f64,
    /// Rises when the other clock was set: readings of two epochs are not compared.
    pub epoch: u64,
}

/// A clock beside the TSC.
pub trait Reference: Send {
    /// What a warning calls it.
    fn name(&self) -> &str;

    /// Both clocks now; `None` while this one cannot be read or is not to be trusted.
    fn read(&mut self) -> Option<Reading>;
}

/// CLOCK_MONOTONIC_RAW: the TSC itself as the kernel scales it, where the kernel's clocksource is the TSC.
#[derive(Debug, Default)]
pub struct KernelRaw;

impl Reference for KernelRaw {
    fn name(&self) -> &str {
        "CLOCK_MONOTONIC_RAW"
    }

    fn read(&mut self) -> Option<Reading> {
        Some(sandwich(50, time::monotonic_raw_ns))
    }
}

/// The kernel's time while a daemon disciplines it by NTP or PTP. The TSC is behind it too, but over minutes its slope is
/// that of the daemon's source.
///
/// CLOCK_MONOTONIC is read, which is slewed as CLOCK_REALTIME is and never set; what the kernel still has to slew is
/// added. When CLOCK_REALTIME is set, the daemon has given up a phase, and a new epoch begins.
#[derive(Debug, Default)]
pub struct Disciplined {
    epoch: u64,
    /// CLOCK_REALTIME less CLOCK_MONOTONIC at the last reading.
    apart_ns: Option<u64>,
}

impl Reference for Disciplined {
    fn name(&self) -> &str {
        "the clock that NTP or PTP disciplines"
    }

    fn read(&mut self) -> Option<Reading> {
        let Some(said) = time::discipline() else {
            self.apart_ns = None;
            return None;
        };
        let apart = time::realtime_ns().wrapping_sub(time::monotonic_ns());
        // Between the two reads this thread may have been taken off its CPU.
        if self.apart_ns.is_none_or(|last| last.abs_diff(apart) > SET_NS) {
            self.epoch += 1;
        }
        self.apart_ns = Some(apart);
        let reading = sandwich(50, time::monotonic_ns);
        let ns = reading.ns.wrapping_add_signed(said.offset_ns);
        Some(Reading { ns, error_ns: said.error_ns as f64, epoch: self.epoch, ..reading })
    }
}

/// CLOCK_REALTIME that moves by so much at once was set. An interruption that looks like it costs a new epoch, no more.
const SET_NS: u64 = 100_000;

/// A device's clock, by the kernel's PTP interface: a crystal of its own.
#[derive(Debug)]
pub struct Phc {
    name: String,
    clock: time::DeviceClock,
}

impl Phc {
    /// Every one of this host that can be read.
    pub fn all() -> Vec<Phc> {
        let open = |n: u32| {
            let name = format!("/dev/ptp{n}");
            time::DeviceClock::open(Path::new(&name)).ok().map(|clock| Phc { name, clock })
        };
        (0..MAX_PHCS).filter_map(open).collect()
    }
}

/// More than a host has ports.
const MAX_PHCS: u32 = 32;

impl Reference for Phc {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self) -> Option<Reading> {
        let mut readable = true;
        // Each try crosses PCIe, at about a microsecond.
        let reading = sandwich(10, || {
            self.clock.ns().unwrap_or_else(|_| {
                readable = false;
                0
            })
        });
        readable.then_some(reading)
    }
}

/// CLOCK_MONOTONIC_RAW as many ppm too fast as a file says at the moment: for tests of the watch.
#[derive(Debug)]
pub struct Injected {
    file: PathBuf,
    /// CLOCK_MONOTONIC_RAW at the last reading, and how far this clock was ahead of it, in ns.
    last: Option<(u64, f64)>,
}

impl Injected {
    /// One that does as `file` says.
    pub fn new(file: &Path) -> Injected {
        Injected { file: file.to_owned(), last: None }
    }
}

impl Reference for Injected {
    fn name(&self) -> &str {
        "the injected clock"
    }

    fn read(&mut self) -> Option<Reading> {
        let ppm: f64 = std::fs::read_to_string(&self.file).ok()?.trim().parse().ok()?;
        let reading = sandwich(50, time::monotonic_raw_ns);
        let (before_ns, ahead_ns) = self.last.unwrap_or((reading.ns, 0.0));
        let ahead_ns = ahead_ns + reading.ns.wrapping_sub(before_ns) as f64 * ppm / 1e6;
        self.last = Some((reading.ns, ahead_ns));
        Some(Reading { ns: reading.ns.wrapping_add_signed(ahead_ns as i64), ..reading })
    }
}

/// Read `clock_ns` between two TSC reads so many times, and keep the tightest.
pub(super) fn sandwich(tries: u32, mut clock_ns: impl FnMut() -> u64) -> Reading {
    let mut once = || {
        let before = rdtsc();
        let ns = clock_ns();
        let width = rdtsc().saturating_sub(before);
        Reading { tsc: before + width / 2, ns, width, error_ns: 0.0, epoch: 0 }
    };
    let mut best = once();
    for _ in 1..tries {
        let next = once();
        if next.width < best.width {
            best = next;
        }
    }
    best
}
