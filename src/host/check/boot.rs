//! The kernel's parameters for a subject: the whole line to paste, and what of it the running kernel was not given.

use super::Finding;
use super::host::{Host, without};
use crate::host::ranges::ranges;
use serde::Serialize;

/// Parameters of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// All of them, for `GRUB_CMDLINE_LINUX`.
    pub line: String,
    /// Those that the running kernel was not given.
    pub missing: Vec<String>,
}

impl Boot {
    pub(super) fn of(host: &Host<'_>, findings: &[Finding]) -> Boot {
        // Not to be declared reliable where it is known not to be.
        let trusted = !findings.iter().any(|finding| matches!(finding.id, "clock.tsc_flags" | "clock.unstable"));
        let wanted = wanted(host, trusted);
        let missing = wanted.iter().filter(|(name, value, kind)| !given(host, name, value, *kind));
        Boot {
            missing: missing.map(|(name, value, _)| written(name, value)).collect(),
            line: wanted.iter().map(|(name, value, _)| written(name, value)).collect::<Vec<_>>().join(" "),
        }
    }
}

/// How a parameter that was given is held against one that is wanted.
#[derive(Clone, Copy)]
enum Kind {
    /// The same text.
    Text,
    /// The hot CPUs, or more of them.
    Cpus,
    /// Anything.
    Any,
}

/// `trusted`: nothing speaks against the TSC.
fn wanted(host: &Host<'_>, trusted: bool) -> Vec<(&'static str, String, Kind)> {
    let hot = ranges(host.hot());
    let mut wanted = vec![
        ("isolcpus", format!("managed_irq,domain,{hot}"), Kind::Cpus),
        ("nohz_full", hot.clone(), Kind::Cpus),
        ("rcu_nocbs", hot, Kind::Cpus),
        ("irqaffinity", ranges(&host.housekeeping()), Kind::Text),
    ];
    // A guest's C-states are its hypervisor's.
    if !host.guest {
        if host.intel {
            wanted.push(("intel_idle.max_cstate", "0".into(), Kind::Text));
        }
        wanted.push(("processor.max_cstate", "0".into(), Kind::Text));
        wanted.push(("idle", "poll".into(), Kind::Text));
    }
    let plain = [
        ("transparent_hugepage", "never"),
        ("numa_balancing", "disable"),
        ("skew_tick", "1"),
        ("nosoftlockup", ""),
        ("nmi_watchdog", "0"),
        ("audit", "0"),
        ("mce", "ignore_ce"),
    ];
    wanted.extend(plain.map(|(name, value)| (name, value.to_owned(), Kind::Text)));
    if trusted {
        wanted.push(("tsc", "reliable".into(), Kind::Text));
        wanted.push(("clocksource", "tsc".into(), Kind::Text));
    }
    if host.subject.ports.iter().any(|port| crate::host::files::pci_address(&port.device).is_some()) {
        if host.intel {
            wanted.push(("intel_iommu", "on".into(), Kind::Text));
        }
        wanted.push(("iommu", "pt".into(), Kind::Text));
    }
    if !host.subject.memory.is_empty() {
        let pages = host.subject.memory.iter().map(|need| format!("{}:{}", need.node, need.bytes.div_ceil(2 << 20)));
        wanted.push(("default_hugepagesz", "2M".into(), Kind::Any));
        wanted.push(("hugepages", pages.collect::<Vec<_>>().join(","), Kind::Any));
    }
    wanted
}

fn given(host: &Host<'_>, name: &str, value: &str, kind: Kind) -> bool {
    match kind {
        Kind::Text => host.parameter(name) == Some(value),
        Kind::Cpus => host.parameter_cpus(name).is_some_and(|cpus| without(host.hot(), &cpus).is_empty()),
        Kind::Any => host.parameter(name).is_some(),
    }
}

fn written(name: &str, value: &str) -> String {
    if value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
}
