//! What each hop may take: `budget` of the pipeline file, or the reference figures of a well-tuned host.

use super::hop::Hop;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Promised times by hop. A hop that is not here is not held to anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget(pub BTreeMap<Hop, Allowance>);

/// What one hop may take, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allowance {
    /// Median.
    pub p50_ns: f64,
    /// 99th percentile.
    pub p99_ns: f64,
}

impl Budget {
    /// What `hop` may take.
    pub fn of(&self, hop: Hop) -> Option<Allowance> {
        self.0.get(&hop).copied()
    }
}
