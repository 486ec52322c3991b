//! The state of a running pipeline as plain data: what the recorder publishes once an interval, `/status` serves as JSON,
//! `top` draws and the metrics are made of. Cumulative since the start unless a field says otherwise.

use super::hop::Hop;
use super::interval::Interval;
use crate::host::check::Severity;
use crate::sys::time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where a run serves it and `top` looks for it, unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Everything there is to see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// `tickpath --version`, first line.
    pub version: String,
    /// The run's id: that of its trace files.
    pub run: String,
    /// `replay` or `run`.
    pub command: String,
    /// Hash of the plan.
    pub plan_hash: String,
    /// What became of the process's privileges; empty in a replay.
    pub privileges: String,
    /// Pages of the path that lay on another node than wanted before the first poll, by kind of region; empty where nobody
    /// asked.
    pub misplaced: BTreeMap<String, u64>,
    /// Since the first poll.
    pub uptime_seconds: f64,
    /// Length of the last interval.
    pub interval_seconds: f64,
    /// Fewer CPUs than lcores: times say nothing.
    pub oversubscribed: bool,
    /// The run has ended; this is its last state.
    pub ended: bool,
    /// By venue, in the pipeline file's order.
    pub venues: Vec<VenueSnapshot>,
    /// What the host did in the last interval.
    pub interval: Interval,
    /// The recorder's own account.
    pub recorder: RecorderSnapshot,
    /// What is wrong now.
    pub alarms: Vec<Alarm>,
    /// What the checks of the host say that are made again.
    pub host: HostSnapshot,
}

/// One venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VenueSnapshot {
    /// Its name.
    pub name: String,
    /// Frames that parse is done with.
    pub frames: u64,
    /// Order messages sent.
    pub orders: u64,
    /// The stages in packet order.
    pub stages: Vec<StageSnapshot>,
    /// Hops that have been measured, in packet order. `wire_rx` is there with nothing in it while there are stamps whose
    /// clock is not fitted yet.
    pub hops: Vec<HopSnapshot>,
    /// Records whose stamps were out of order.
    pub negative: u64,
    /// Why only cancels leave; empty while it trades.
    pub killed: Vec<String>,
    /// Shares held, short negative, by symbol: the largest of them, by the fills that the recorder was told of.
    pub positions: BTreeMap<String, i64>,
    /// Instruments with a position, all of them.
    pub held_instruments: u64,
}

impl VenueSnapshot {
    /// A figure of a stage; `None` where it has no such figure.
    pub fn figure(&self, stage: &str, group: &str, name: &str) -> Option<u64> {
        self.figures(stage, group).find(|(of, _)| *of == name).map(|(_, n)| n)
    }

    /// All figures of a group.
    pub fn figures<'a>(&'a self, stage: &str, group: &str) -> impl Iterator<Item = (&'a str, u64)> {
        let stage = self.stages.iter().find(|s| s.stage == stage);
        let figures = stage.and_then(|s| s.figures.get(group)).into_iter().flatten();
        figures.map(|(name, n)| (name.as_str(), *n))
    }
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageSnapshot {
    /// `rx`, `parse`, `strategy`, `encode` or `tx`.
    pub stage: String,
    /// Its lcore.
    pub lcore: u32,
    /// What is counted: `frames` or `orders`.
    pub unit: String,
    /// What came in.
    pub incoming: u64,
    /// What was passed on.
    pub outgoing: u64,
    /// What was dropped, by reason; every reason is there, also those that never happened.
    pub dropped: BTreeMap<String, u64>,
    /// What it holds.
    pub held: u64,
    /// Bursts that were not empty: `incoming / bursts` is the mean burst. 0 for stages without bursts.
    pub bursts: u64,
    /// What it has beside the ledger, by group and name.
    pub figures: BTreeMap<String, BTreeMap<String, u64>>,
}

/// One hop: all since the start, and the last interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopSnapshot {
    /// Which.
    pub hop: Hop,
    /// Since the start.
    pub total: Percentiles,
    /// In the last interval.
    pub interval: Percentiles,
    /// Budget of the median, in ns.
    pub budget_p50_ns: Option<f64>,
    /// Budget of the 99th percentile, in ns.
    pub budget_p99_ns: Option<f64>,
}

/// A distribution in a few numbers, in ns. All 0 when `count` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    /// Values.
    pub count: u64,
    /// Least.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th.
    pub p99: f64,
    /// 99.9th.
    pub p999: f64,
    /// 99.99th.
    pub p9999: f64,
    /// Greatest.
    pub max: f64,
}

/// The recorder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecorderSnapshot {
    /// Records taken from the rings.
    pub records: u64,
    /// Records that found their ring full.
    pub lost_ring: u64,
    /// Records that could not be written.
    pub lost_disk: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
}

/// Something that a person should look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alarm {
    /// `budget`, `drift`, `clock`, `recorder`, `feed`: stable, for labels.
    pub kind: String,
    /// Whose; empty for the whole program.
    pub venue: String,
    /// Which hop, if any.
    pub hop: Option<Hop>,
    /// A sentence.
    pub text: String,
}

/// The host, as the checks see it that are made again while a pipeline runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSnapshot {
    /// Looks so far; 0 where none are made.
    pub looks: u64,
    /// CPU time of the last one, in ns.
    pub look_cpu_ns: u64,
    /// What is found, and what was found since the start and is gone.
    pub facts: Vec<HostFact>,
}

/// A finding of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFact {
    /// The check's id.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// A sentence; of one that is gone, the last.
    pub found: String,
    /// It is found now.
    pub stands: bool,
    /// When that changed last, in ns since 1970; `None`: it has been so since the start.
    pub changed_ns: Option<u64>,
}

impl fmt::Display for HostFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostFact { id, severity, found, changed_ns, .. } = self;
        let since = changed_ns.map_or("from the start".to_owned(), |ns| format!("since {}", time::utc(ns)));
        write!(f, "{} {id} {since}: {found}", severity.name())
    }
}

impl HostSnapshot {
    /// What costs latency now, the worst first.
    pub fn faults(&self) -> impl Iterator<Item = &HostFact> {
        self.facts.iter().filter(|fact| fact.stands && fact.severity > Severity::Information)
    }
}
