//! What the host and the program did in one interval: the evidence that stands beside the records, in trace files and in
//! the live view.

use crate::host::check::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One interval. Counts are those of the interval, not totals; what cannot be read here is `None` or absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interval {
    /// TSC at its begin.
    pub from_tsc: u64,
    /// TSC at its end.
    pub to_tsc: u64,
    /// By pipeline lcore.
    pub lcores: Vec<LcoreEvidence>,
    /// By link that is a ring.
    pub links: Vec<LinkEvidence>,
    /// By mbuf pool.
    pub pools: Vec<PoolEvidence>,
    /// By device.
    pub ports: Vec<PortEvidence>,
    /// What the clock's watch found.
    pub clock: ClockEvidence,
    /// News of the checks of the host that are made again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<HostChange>,
    /// Records drained.
    pub records: u64,
    /// Records lost because a ring was full or the disk was.
    pub records_lost: u64,
}

/// What happened to one lcore and its CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LcoreEvidence {
    /// EAL lcore id.
    pub lcore: u32,
    /// CPU it last ran on.
    pub cpu: Option<u32>,
    /// Rounds of its poll loop.
    pub polls: u64,
    /// Rounds that found nothing.
    pub empty_polls: u64,
    /// Timer interrupts of that CPU.
    pub timer_ticks: Option<u64>,
    /// Every other interrupt of that CPU.
    pub interrupts: Option<u64>,
    /// The most frequent of them by name, as `/proc/interrupts` calls them.
    pub interrupt_names: BTreeMap<String, u64>,
    /// Times the thread went to sleep: a poll loop has no reason to, but a page that must be read from disk is one.
    pub voluntary_switches: Option<u64>,
    /// Times the thread was taken off its CPU against its will.
    pub involuntary_switches: Option<u64>,
    /// Time it was runnable and did not run, in ns.
    pub run_queue_wait_ns: Option<u64>,
    /// Page faults without and with I/O.
    pub page_faults: Option<u64>,
    /// Time the hypervisor took from that CPU, in ns.
    pub steal_ns: Option<u64>,
    /// Last-level cache load misses of the thread.
    pub cache_misses: Option<u64>,
}

/// How full one ring was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkEvidence {
    /// Venue's name.
    pub venue: String,
    /// `rx_parse`, `parse_strategy`, `strategy_encode`, `encode_tx` or `tx_strategy`.
    pub link: String,
    /// Usable slots.
    pub depth: u64,
    /// Elements now.
    pub fill: u64,
    /// Most elements ever.
    pub high_water: u64,
}

/// How empty one pool was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolEvidence {
    /// Its name.
    pub pool: String,
    /// Mbufs out.
    pub in_use: u64,
    /// Mbufs of all.
    pub size: u64,
}

/// What a device lost, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortEvidence {
    /// Its name in the pipeline file.
    pub port: String,
    /// Frames that found no descriptor.
    pub missed: u64,
    /// Frames that found no mbuf.
    pub no_mbuf: u64,
    /// Frames with errors.
    pub errors: u64,
    /// Times that the device was reset,
    pub resets: u64,
    /// was started anew,
    pub restarts: u64,
    /// or was to be and did not start.
    pub restarts_failed: u64,
    /// Frames that it held for transmission when it was reset.
    pub unsent: u64,
    /// Times that the device was removed.
    pub removals: u64,
    /// What the driver of a port by ef_vi counted of CTPIO, by its names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ctpio: BTreeMap<String, u64>,
}

/// What is known of the TSC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockEvidence {
    /// Ticks a second, fitted.
    pub tsc_hz: f64,
    /// Error of that fit, in ppm.
    pub error_ppm: f64,
    /// How far the rate is off by an independent clock, in ppm; `None` where none could be asked.
    pub independent_ppm: Option<f64>,
    /// Which clock that was.
    pub independent: Option<String>,
    /// What is wrong, and what it does to the figures; empty when nothing is.
    pub warnings: Vec<String>,
    /// Clocks of devices that stamp frames.
    pub devices: Vec<DeviceClockEvidence>,
}

/// What is known of a device's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceClockEvidence {
    /// The port's name in the pipeline file.
    pub port: String,
    /// How wrong a stamp of it may come out on the TSC, in ns; `None` while it is unsynchronised.
    pub residual_ns: Option<f64>,
}

/// News of a check of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostChange {
    /// When it was found, in ns since 1970: up to the time between two looks after it happened.
    pub at_ns: u64,
    /// The check's id.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What is new.
    pub news: News,
    /// The finding, a sentence; of one that is gone, the last.
    pub found: String,
}

/// What is new about a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It was there at the first look.
    #[default]
    AtStart,
    /// It came.
    Appeared,
    /// It says something else.
    Changed,
    /// It is gone.
    Gone,
}

impl News {
    /// As printed, behind the check's id.
    pub const fn name(self) -> &'static str {
        match self {
            News::AtStart => "from the start",
            News::Appeared => "appeared",
            News::Changed => "changed",
            News::Gone => "is gone",
        }
    }
}

impl fmt::Display for HostChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostChange { id, news, found, .. } = self;
        write!(f, "{id} {}: {found}", news.name())
    }
}
