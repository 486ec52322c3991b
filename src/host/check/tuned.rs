//! tuned: which profile is active, whether it knows the hot CPUs, and what its profiles for this purpose would settle.

use super::host::{Host, named, without};
use super::{About, Again, Check, Finding, Found, Look};
use crate::host::files;
use crate::host::ranges::{parse_ranges, ranges};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A profile of tuned that is made for hosts like ours. Which findings each settles stands beside the checks, from
/// tuned's own `profiles/*/tuned.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Profile {
    /// `cpu-partitioning`: nohz_full, thread and interrupt affinity, irqbalance's ban, workqueues, watchdogs. It includes
    /// `network-latency`.
    #[serde(rename = "cpu-partitioning")]
    CpuPartitioning,
    /// `network-latency`: no transparent hugepages or NUMA balancing, shallow C-states, the governor `performance`,
    /// skew_tick.
    #[serde(rename = "network-latency")]
    NetworkLatency,
}

/// What tuned does here, and what it would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tuned {
    /// The active profile; `None` without tuned.
    pub active: Option<String>,
    /// Ids of findings that each profile would settle.
    pub settles: BTreeMap<Profile, BTreeSet<&'static str>>,
}

pub(super) const CHECKS: &[Check] = &[Check {
    id: "tuned.cores",
    about: About::HotCpus,
    again: Again::Never,
    why: "tuned keeps other threads and interrupts on CPUs that it does not know to be hot: 1,000 to 4,000,000 ns each time \
          (order of magnitude)",
    tuned: &[],
    look: cores,
}];

const ACTIVE: &str = "etc/tuned/active_profile";
const VARIABLES: &str = "etc/tuned/cpu-partitioning-variables.conf";

impl Profile {
    /// tuned's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::CpuPartitioning => "cpu-partitioning",
            Profile::NetworkLatency => "network-latency",
        }
    }

    /// Whether all that `other` sets is set by it too.
    fn includes(self, other: Profile) -> bool {
        self == other || self == Profile::CpuPartitioning
    }
}

impl Tuned {
    pub(super) fn of(host: &Host<'_>, findings: &[Finding]) -> Tuned {
        let settles = [Profile::CpuPartitioning, Profile::NetworkLatency].map(|profile| {
            let settled = findings.iter().filter(|finding| finding.tuned.iter().any(|set| profile.includes(*set)));
            (profile, settled.map(|finding| finding.id).collect::<BTreeSet<_>>())
        });
        Tuned { active: host.line(ACTIVE), settles: settles.into_iter().filter(|(_, ids)| !ids.is_empty()).collect() }
    }
}

fn cores(host: &Host<'_>) -> Look {
    let active = host.line(ACTIVE).filter(|names| names.split_whitespace().any(|name| name == "cpu-partitioning"));
    let Some(active) = active else { return Ok(Vec::new()) };
    let text = files::text(host.root, VARIABLES).ok_or_else(|| format!("/{VARIABLES}"))?;
    let value = text.lines().rev().find_map(|line| line.trim().strip_prefix("isolated_cores=")).unwrap_or_default();
    let known = parse_ranges(value.trim()).unwrap_or_default();
    let unknown = without(host.hot(), &known);
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let hot = ranges(host.hot());
    let found = Found::warning(format!("tuned does not know that {} hot", super::host::are(&unknown)))
        .read(ACTIVE, active)
        .read(VARIABLES, format!("isolated_cores={value}"))
        .for_good(format!(
            "/{VARIABLES}: isolated_cores={hot}; then sudo tuned-adm profile cpu-partitioning, and reboot ({} is not \
             enough)",
            named(&known)
        ));
    Ok(vec![found])
}
