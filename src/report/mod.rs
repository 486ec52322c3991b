//! What a trace says: files in, by one pass in bounded memory, plain data out, and that as text, HTML or rows for other
//! tools. It opens only the files it is given and judges nothing but the budget that stands in them.

pub mod against;
pub mod html;
pub mod rows;
pub mod text;

mod charts;
mod collect;
mod composition;
mod evidence;
mod series;
mod slowest;

pub use collect::read;

use crate::host::check::Severity;
use crate::latency::budget::Allowance;
use crate::latency::hop::Hop;
use crate::latency::interval::{HostChange, News};
use crate::latency::snapshot::Percentiles;
use crate::latency::trace::{CaptureId, ClockFit};
use crate::sys::time;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Of the program that made it.
    pub version: String,
    /// One for each run, the earliest first.
    pub runs: Vec<RunReport>,
    /// Files in the folders named that could not be read, and why.
    pub refused: Vec<String>,
}

/// One run. Seconds count from its start, which is the header's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// `replay` or `run`.
    pub command: String,
    /// Its start in ns since 1970.
    pub started_ns: u64,
    /// Begin of the first order's or packet's record …
    pub from_seconds: f64,
    /// … and end of the last.
    pub to_seconds: f64,
    /// Hash of the plan.
    pub plan_hash: String,
    /// What was replayed.
    pub captures: Vec<CaptureId>,
    /// How fast.
    pub speed: String,
    /// Files read.
    pub files: usize,
    /// Is it what was promised?
    pub verdict: Verdict,
    /// What to know before believing the figures; empty when nothing stands against them.
    pub caveats: Vec<String>,
    /// What the checks of the host said that are made again while a pipeline runs.
    pub host: Vec<HostNews>,
    /// Fewer CPUs than lcores: times say nothing.
    pub oversubscribed: bool,
    /// How ticks became ns.
    pub clock: ClockFit,
    /// Records by kind.
    pub records: RecordCounts,
    /// What is missing.
    pub losses: LossCounts,
    /// By venue.
    pub venues: Vec<VenueReport>,
    /// The slowest orders of all venues, the slowest first.
    pub slowest: Vec<Trade>,
    /// What the host did, by interval, at most 512; longer runs join neighbours.
    pub evidence: Vec<EvidencePoint>,
    /// Program and host.
    pub fingerprint: BTreeMap<String, String>,
}

/// News of a check of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostNews {
    /// When it was found.
    pub at_seconds: f64,
    /// What.
    #[serde(flatten)]
    pub change: HostChange,
}

impl RunReport {
    /// What became another while it ran, and costs latency or did.
    fn host_changes(&self) -> impl Iterator<Item = String> {
        let news = self
            .host
            .iter()
            .filter(|news| news.change.news != News::AtStart && news.change.severity > Severity::Information);
        news.map(|news| format!("host at {:.3} s, {}: {}", news.at_seconds, time::utc(news.change.at_ns), news.change))
    }
}

/// Whether the run is what was promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// One sentence.
    pub headline: String,
    /// What exceeds its budget, the most time first; hops before the sums that they are part of.
    pub exceeded: Vec<Excess>,
    /// No hop has a budget, or nothing was measured.
    pub unknown: bool,
}

/// One figure beyond its budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Excess {
    /// Whose.
    pub venue: String,
    /// Which hop.
    pub hop: Hop,
    /// `p50` or `p99`.
    pub figure: &'static str,
    /// Measured.
    pub ns: f64,
    /// Promised.
    pub budget_ns: f64,
}

/// Records by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordCounts {
    /// Orders that left.
    pub sent: u64,
    /// Those of them that no packet caused, such as cancels at the end of a run: in no hop.
    pub uncaused: u64,
    /// Transmit stamps of the hardware.
    pub wire: u64,
    /// Acknowledgements.
    pub acknowledged: u64,
    /// Fills.
    pub filled: u64,
    /// Packets that caused no order.
    pub sampled: u64,
    /// Kinds or venues that this version does not know.
    pub unknown: u64,
}

/// Records that are missing, by where they were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LossCounts {
    /// By the recorder, as it says: a ring or the disk was full.
    pub recorder: u64,
    /// Those of them that were not written.
    pub unwritten: u64,
    /// In damaged blocks.
    pub damaged: u64,
    /// Bytes of damage.
    pub damaged_bytes: u64,
    /// In files of the run that are not there.
    pub missing: u64,
}

/// One venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VenueReport {
    /// Its name.
    pub name: String,
    /// Orders measured.
    pub orders: u64,
    /// Mean receive burst of the packets that caused them.
    pub mean_burst: f64,
    /// Orders whose stamps were out of order: in no hop.
    pub negative: u64,
    /// Hops that were measured, in packet order.
    pub hops: Vec<HopReport>,
    /// What is known of the way before rx.
    pub wire: Wire,
    /// Orders and packets whose stamp was of a device's clock that was not fitted to the host's then: not in the hop.
    pub unsynchronised: u64,
    /// Answers whose order was sent too long before, or is not in the trace.
    pub answers_unmatched: u64,
    /// Packets that caused no order.
    pub sampled: Sampled,
    /// Where the time goes: at the median, at p99.
    pub waterfalls: Vec<Waterfall>,
    /// Over the run.
    pub series: Series,
}

/// One hop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HopReport {
    /// Which.
    pub hop: Hop,
    /// In ns.
    #[serde(flatten)]
    pub ns: Percentiles,
    /// What it may take.
    pub budget: Option<Allowance>,
    /// The median is beyond it.
    pub over_p50: bool,
    /// The 99th percentile is; never with fewer than 100 values.
    pub over_p99: bool,
    /// Share of the end-to-end time of the orders around the median; of the hops that add up.
    pub share: Option<f64>,
    /// Values by quantile, denser towards 1: the percentile curve.
    pub curve: Vec<(f64, f64)>,
}

/// What is known of the way from the wire to rx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// No packet had a stamp.
    #[default]
    None,
    /// Stamps on the host's own clock: the hop is among the others.
    Measured,
    /// Stamps of the device's clock alone, which was never fitted to the host's.
    Unsynchronised,
}

/// Packets that caused no order, one of many.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sampled {
    /// One in so many has a record.
    pub every: u32,
    /// Receive burst to the decision that there is nothing to do, in ns.
    pub rx_decided: Percentiles,
    /// Those of its hops that it has.
    pub hops: Vec<(Hop, Percentiles)>,
}

/// The mean order of a stretch of the end-to-end distribution, so that its hops add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Waterfall {
    /// `p50` or `p99`.
    pub figure: &'static str,
    /// Quantiles between which its orders lie.
    pub from: f64,
    /// See `from`.
    pub to: f64,
    /// End to end, in ns.
    pub total_ns: f64,
    /// By hop in packet order, in ns.
    pub hops_ns: [f64; 5],
}

/// Figures over the run. Slices are of equal length, at most 128; a longer run has longer ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Length of a slice.
    pub slice_seconds: f64,
    /// Those in which something was measured.
    pub points: Vec<SeriesPoint>,
}

/// One slice of one venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesPoint {
    /// Its begin.
    pub at_seconds: f64,
    /// By hop.
    pub hops: BTreeMap<Hop, SliceFigures>,
}

/// One hop in one slice, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SliceFigures {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
}

/// One order and what was around it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trade {
    /// Whose.
    pub venue: String,
    /// Client order id.
    pub order_id: u64,
    /// Symbol.
    pub symbol: String,
    /// `enter`, `replace` or `cancel`.
    pub order: &'static str,
    /// `buy` or `sell`.
    pub side: &'static str,
    /// Limit, in 1/10,000.
    pub price: i64,
    /// Shares.
    pub qty: u32,
    /// First sequence number of the packet that caused it.
    pub sequence: u64,
    /// When that packet was received.
    pub at_seconds: f64,
    /// End to end, in ns.
    pub total_ns: f64,
    /// By hop in packet order, in ns; `None` where only its ends were stamped.
    pub hops_ns: Option<[f64; 5]>,
    /// From the wire to rx, where it is known.
    pub wire_ns: Option<f64>,
    /// Packets in the receive burst.
    pub burst_size: u16,
    /// The packet's place in it, from 0.
    pub burst_position: u16,
    /// Rings on its way: name, elements waiting when it was taken out, usable slots.
    pub rings: Vec<(&'static str, u16, u32)>,
    /// What the host did in the interval in which it was sent; `None` where the trace has none.
    pub near: Option<Near>,
    /// The command that decides it again and shows what on; `None` without a journal beside the trace.
    pub replay: Option<String>,
}

/// What happened to the lcores of one order's venue in one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Near {
    /// Begin.
    pub from_seconds: f64,
    /// End.
    pub to_seconds: f64,
    /// Sentences, the most telling first; empty when nothing happened.
    pub facts: Vec<String>,
}

/// What the host did in one interval, all lcores of the pipeline together. `None` where the host cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EvidencePoint {
    /// Begin.
    pub from_seconds: f64,
    /// End.
    pub to_seconds: f64,
    /// Timer interrupts of their CPUs.
    pub timer_ticks: Option<u64>,
    /// Other interrupts of their CPUs.
    pub interrupts: Option<u64>,
    /// Times that a thread was taken off its CPU.
    pub involuntary_switches: Option<u64>,
    /// Time that threads were runnable and did not run.
    pub run_queue_wait_ns: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Time that the hypervisor took.
    pub steal_ns: Option<u64>,
    /// Last-level cache load misses.
    pub cache_misses: Option<u64>,
    /// Fill of the fullest ring at the end of the interval, as a share of its slots.
    pub ring_fill: f64,
    /// Frames that devices lost.
    pub frames_lost: u64,
    /// Records taken.
    pub records: u64,
    /// Records lost.
    pub records_lost: u64,
}
