//! What stands at the head of every trace file: which run it is of and on what host.

use crate::host::fingerprint::Fingerprint;
use crate::latency::budget::Budget;
use serde::{Deserialize, Serialize};

/// The head of a trace file, as JSON in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Id of the run: its start in UTC and the process, `20261123T032338Z-1234`. The same in all of its files.
    pub run: String,
    /// Place of the file in the run, from 0.
    pub file: u32,
    /// Start of the run in ns since 1970.
    pub started_ns: u64,
    /// `replay` or `run`.
    pub command: String,
    /// Hash of the plan.
    pub plan_hash: String,
    /// TSC and time at the start.
    pub clock: ClockFit,
    /// Venues; a record's `venue` is an index here.
    pub venues: Vec<VenueHeader>,
    /// One packet in so many, of those that cause no order, has a record.
    pub sample_every: u32,
    /// What was replayed; empty in a run.
    pub captures: Vec<CaptureId>,
    /// How fast it was replayed: `max`, `1x` …; empty in a run.
    pub speed: String,
    /// Fewer CPUs than lcores: times say nothing.
    pub oversubscribed: bool,
    /// Program and host.
    pub fingerprint: Fingerprint,
    /// In a journal's files, what decisions depended on from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalHeader>,
}

/// What the decisions of a run depended on from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalHeader {
    /// Version of the entries: [`crate::journal::VERSION`].
    pub version: u32,
    /// The pipeline file, as it was named on the command line.
    pub file: String,
    /// The pipeline file itself.
    pub pipeline: String,
    /// Of each venue, in the order of `venues`.
    pub venues: Vec<VenueBeginning>,
}

/// How a venue began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VenueBeginning {
    /// Id of its first order.
    pub first_id: u64,
    /// The last id that it might use.
    pub last_id: u64,
    /// Nobody answered its orders: they counted as accepted when they were handed down.
    pub assumed: bool,
}

/// How stamps become time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockFit {
    /// Ticks a second.
    pub tsc_hz: f64,
    /// Error of the rate against CLOCK_MONOTONIC_RAW, in ppm.
    pub error_ppm: f64,
    /// A TSC …
    pub anchor_tsc: u64,
    /// … and the ns since 1970 when it stood there.
    pub anchor_ns: u64,
    /// An independent clock agreed with the rate.
    pub verified: bool,
}

/// A venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VenueHeader {
    /// Its name.
    pub name: String,
    /// Usable slots of the rings rx→parse, parse→strategy, strategy→encode, encode→tx; `None` where fused.
    pub rings: [Option<u32>; 4],
    /// Lcores of rx, parse, strategy, encode, tx.
    pub lcores: [u32; 5],
    /// What its hops may take.
    pub budget: Budget,
}

/// Which capture was replayed, without its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureId {
    /// Port it was bound to.
    pub port: String,
    /// File name without folders.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// CRC-32 of its first megabyte.
    pub crc32: u32,
}
