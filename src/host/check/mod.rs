//! Is this host fit for the path? Each check looks at one fact that costs nanoseconds and makes no error, says what was
//! read where, and how it is mended.
//!
//! In: the files of `/proc`, `/sys`, `/dev` and `/etc` under a root, and the [`Subject`]: which CPUs, nodes and ports the
//! path uses. Out: a [`Report`]. It reads and never changes anything, needs no privileges for what can be read without,
//! and never guesses: what this host does not show is listed as not readable.
//!
//! One file a group of checks, each opening with its table: a check's id, what it is about, whether it is made again while
//! a pipeline runs, why it matters, which profile of tuned would settle it, and the function that looks. `docs/check.md`
//! lists them all.

mod boot;
mod clock;
mod cpus;
mod host;
mod irqs;
mod kernel;
mod memory;
mod nics;
mod pci;
mod ports;
mod power;
mod rights;
mod script;
mod solarflare;
mod tasks;
#[cfg(test)]
pub(in crate::host) mod tests;
mod text;
mod tuned;

pub use boot::Boot;
pub use script::script;
pub use tuned::{Profile, Tuned};

use super::effect::Effect;
use crate::sys::ethtool::LinkSettings;
use host::{Host, Processor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What of the host is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The pipeline file; `None`: the host as such, without what only a plan needs.
    pub pipeline: Option<String>,
    /// This process is about to become the path: its own limits and capabilities count.
    #[serde(skip)]
    pub starting: bool,
    /// It is the path already: it has the hugepages that it needs.
    #[serde(skip)]
    pub running: bool,
    /// CPUs of the stages, ascending.
    pub hot_cpus: Vec<u32>,
    /// Lcores under SCHED_FIFO, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fifo: Option<Fifo>,
    /// The venues.
    pub venues: Vec<Venue>,
    /// The ports.
    pub ports: Vec<Port>,
    /// Hugepages that EAL needs, by node; empty without.
    pub memory: Vec<Memory>,
    /// EAL maps hugepages as files and needs a hugetlbfs mount.
    pub hugepage_files: bool,
}

/// Lcores under SCHED_FIFO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fifo {
    /// The highest of their priorities.
    pub priority: u32,
    /// Their CPUs, ascending.
    pub cpus: Vec<u32>,
}

/// A venue of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Venue {
    /// Its name.
    pub name: String,
    /// CPUs of its stages, ascending.
    pub cpus: Vec<u32>,
}

/// A port of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// EAL's name of the device: a PCI address or a vdev; of a port on ef_vi its interface.
    pub device: String,
    /// Network interface of the kernel, where the kernel keeps the port (net_af_packet, net_af_xdp, ef_vi).
    pub interface: Option<String>,
    /// CPUs that poll it, ascending.
    pub cpus: Vec<u32>,
}

/// Hugepages on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The node.
    pub node: u32,
    /// Bytes that the plan and EAL take there.
    pub bytes: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing to do if it is meant.
    #[default]
    Information,
    /// Costs latency.
    Warning,
    /// Defeats the purpose, or keeps the plan from starting.
    Error,
}

/// Something that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Where.
    pub path: String,
    /// What it said, on one line.
    pub value: String,
}

/// One fact that costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's id.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Which of several of its check it is: the port, node, venue, mount or CPUs that it is about. Empty where the check finds one.
    #[serde(skip)]
    pub of: String,
    /// What was found, a sentence.
    pub found: String,
    /// What was read, and where.
    pub evidence: Vec<Evidence>,
    /// What it costs, in ns.
    pub why: &'static str,
    /// The command that mends it until the next boot.
    pub until_reboot: Option<String>,
    /// The file's line or the command that mends it for good.
    pub permanent: Option<String>,
    /// Profiles of tuned that would settle it.
    pub tuned: &'static [Profile],
}

/// A check that this host gives nothing to judge by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The check's id.
    pub id: &'static str,
    /// What could not be read.
    pub what: String,
}

/// What a host was found to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was judged.
    pub subject: Subject,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What was not readable here.
    pub unread: Vec<Unread>,
    /// The kernel's parameters for this subject; `None` without hot CPUs.
    pub boot: Option<Boot>,
    /// What tuned does here, and what it would.
    pub tuned: Tuned,
    /// What was measured, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What is not in any file: settings of the kernel's network interfaces, and what this program was linked with.
#[derive(Clone, Copy, Debug)]
pub struct Sensors {
    /// Settings of an interface.
    pub link: fn(&str) -> LinkSettings,
    /// Version of ef_vi's library; `None` without one.
    pub ef_vi: fn() -> Option<String>,
}

impl Sensors {
    /// This host's.
    pub fn here() -> Sensors {
        Sensors { link: LinkSettings::read, ef_vi: solarflare::library }
    }

    /// None: for another root than this host's.
    pub fn none() -> Sensors {
        Sensors { link: |_| LinkSettings::default(), ef_vi: || None }
    }
}

impl Subject {
    /// The host as such: its isolated CPUs count as hot, and all of its network devices as ports.
    pub fn host(root: &Path) -> Subject {
        Subject {
            hot_cpus: host::isolated(root),
            ports: nics::all(root)
                .into_iter()
                .map(|(name, device)| Port { name, device, interface: None, cpus: Vec::new() })
                .collect(),
            ..Subject::default()
        }
    }
}

/// Node of each CPU of the host under `root`.
pub fn cpu_nodes(root: &Path) -> BTreeMap<u32, u32> {
    host::nodes(root)
}

impl Report {
    /// The worst finding's severity.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl Severity {
    /// `error`, `warning`, `information`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Information => "information",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Every check on the host under `root`: `/`, or a test's folder.
pub fn check(root: &Path, sensors: Sensors, subject: &Subject) -> Report {
    let host = Host::read(root, sensors, subject, &Processor::read(root));
    let (findings, unread) = look(&host, all());
    let boot = (!subject.hot_cpus.is_empty()).then(|| Boot::of(&host, &findings));
    let tuned = Tuned::of(&host, &findings);
    Report { subject: subject.clone(), findings, unread, boot, tuned, effect: None }
}

/// The checks that are made again while a pipeline runs: those that cost little, interrupt no CPU, and look at what may
/// change.
pub(super) struct Repeated {
    root: PathBuf,
    subject: Subject,
    /// Not read again: before Linux 5.18 that asked CPUs for their frequency, by an interrupt.
    processor: Processor,
}

impl Repeated {
    /// Those for `subject`, on the host under `root`.
    pub fn new(root: &Path, subject: Subject) -> Repeated {
        let subject = Subject { running: true, starting: false, ..subject };
        Repeated { root: root.to_owned(), subject, processor: Processor::read(root) }
    }

    /// What is found now, the worst first, and what could not be read now.
    pub fn look(&self) -> (Vec<Finding>, Vec<Unread>) {
        let host = Host::read(&self.root, Sensors::none(), &self.subject, &self.processor);
        look(&host, all().filter(|check| check.again != Again::Never))
    }

    /// Whether it is news when the sentence of a finding changes, and not only when it comes or goes.
    pub fn is_news(id: &str) -> bool {
        all().any(|check| check.id == id && check.again == Again::Words)
    }
}

fn look<'c>(host: &Host<'_>, checks: impl Iterator<Item = &'c Check>) -> (Vec<Finding>, Vec<Unread>) {
    let (mut findings, mut unread) = (Vec::new(), Vec::new());
    for check in checks.filter(|check| check.applies(host.subject)) {
        match (check.look)(host) {
            Ok(found) => findings.extend(found.into_iter().map(|found| check.finding(found, host.subject))),
            Err(what) => unread.push(Unread { id: check.id, what }),
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    (findings, unread)
}

/// Id and what it costs, of every check.
pub fn ids() -> impl Iterator<Item = (&'static str, &'static str)> {
    all().map(|check| (check.id, check.why))
}

fn all() -> impl Iterator<Item = &'static Check> {
    let groups: [&[Check]; 12] = [
        cpus::CHECKS,
        tasks::CHECKS,
        power::CHECKS,
        irqs::CHECKS,
        kernel::CHECKS,
        memory::CHECKS,
        clock::CHECKS,
        nics::CHECKS,
        ports::CHECKS,
        solarflare::CHECKS,
        rights::CHECKS,
        tuned::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// One check.
struct Check {
    id: &'static str,
    about: About,
    again: Again,
    why: &'static str,
    tuned: &'static [Profile],
    look: fn(&Host<'_>) -> Look,
}

/// What a check judges, and does not run without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    HotCpus,
    Host,
    Ports,
    Hugepages,
    Fifo,
}

/// Whether a check is made again while a pipeline runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// What it looks at cannot change by then, or looking is dear, or interrupts a CPU, as reading `scaling_cur_freq` does.
    Never,
    /// That it finds something is news, and that it does no longer.
    Whether,
    /// So is every other sentence that it says.
    Words,
}

/// What was found; or what would have to be readable.
type Look = Result<Vec<Found>, String>;

/// What a look brings; see [`Finding`].
struct Found {
    severity: Severity,
    of: String,
    found: String,
    evidence: Vec<Evidence>,
    until_reboot: Option<String>,
    permanent: Option<String>,
}

impl Check {
    fn applies(&self, subject: &Subject) -> bool {
        match self.about {
            About::HotCpus => !subject.hot_cpus.is_empty(),
            About::Host => true,
            About::Ports => !subject.ports.is_empty(),
            About::Hugepages => !subject.memory.is_empty(),
            About::Fifo => subject.fifo.is_some(),
        }
    }

    fn finding(&self, found: Found, subject: &Subject) -> Finding {
        // Without a plan nobody knows which ports trade.
        let known = self.about != About::Ports || subject.pipeline.is_some();
        Finding {
            id: self.id,
            severity: if known { found.severity } else { Severity::Information },
            of: found.of,
            found: found.found,
            evidence: found.evidence,
            why: self.why,
            until_reboot: found.until_reboot,
            permanent: found.permanent,
            tuned: self.tuned,
        }
    }
}

impl Found {
    fn new(severity: Severity, found: impl Into<String>) -> Found {
        let (evidence, of) = (Vec::new(), String::new());
        Found { severity, of, found: found.into(), evidence, until_reboot: None, permanent: None }
    }

    fn error(found: impl Into<String>) -> Found {
        Found::new(Severity::Error, found)
    }

    fn warning(found: impl Into<String>) -> Found {
        Found::new(Severity::Warning, found)
    }

    fn information(found: impl Into<String>) -> Found {
        Found::new(Severity::Information, found)
    }

    /// It is about this one, and another may be found of the same check.
    fn of(mut self, one: &str) -> Found {
        self.of = one.to_owned();
        self
    }

    /// `value` was read from the file `path` under the root.
    fn read(mut self, path: impl AsRef<str>, value: impl AsRef<str>) -> Found {
        const VALUE_CHARS: usize = 240;
        let value = value.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        let printable = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.evidence
            .push(Evidence { path: format!("/{}", path.as_ref()), value: printable.take(VALUE_CHARS).collect() });
        self
    }

    fn now(mut self, command: impl Into<String>) -> Found {
        self.until_reboot = Some(command.into());
        self
    }

    fn for_good(mut self, line: impl Into<String>) -> Found {
        self.permanent = Some(line.into());
        self
    }

    /// Mended for good by a parameter of the kernel.
    fn boot(self, parameter: impl std::fmt::Display) -> Found {
        self.for_good(format!("kernel parameter {parameter}"))
    }

    /// Mended by a sysctl.
    fn sysctl(self, name: &str, value: &str) -> Found {
        self.now(format!("sudo sysctl -w {name}={value}"))
            .for_good(format!("/etc/sysctl.d/99-tickpath.conf: {name} = {value}"))
    }
}

/// A rule of systemd-tmpfiles that writes a file at every boot.
fn tmpfile(path: &str, value: &str) -> String {
    format!("/etc/tmpfiles.d/tickpath.conf: w {path} - - - - {value}")
}
