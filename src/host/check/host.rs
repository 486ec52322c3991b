//! What several checks read: CPUs, nodes, the kernel's parameters; and the files themselves, by their path under the
//! root.

use super::tasks::Thread;
use super::{Sensors, Subject};
use crate::host::files;
use crate::host::ranges::{parse_mask, parse_ranges, ranges};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The host that is judged, and by what.
pub(super) struct Host<'a> {
    pub root: &'a Path,
    pub sensors: Sensors,
    pub subject: &'a Subject,
    /// CPUs online, ascending.
    pub online: Vec<u32>,
    /// CPUs without scheduler balancing, ascending.
    pub isolated: Vec<u32>,
    /// CPUs without ticks, ascending.
    pub nohz_full: Vec<u32>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// Node of each CPU.
    pub nodes: BTreeMap<u32, u32>,
    /// A virtual machine.
    pub guest: bool,
    pub intel: bool,
    /// Flags of the CPUs; empty when they cannot be read.
    pub flags: BTreeSet<String>,
    /// Process ids and their names, once a check has asked.
    processes: OnceCell<Vec<(u64, String)>>,
    /// Threads that ran last on a hot CPU; an error where there is nothing to read.
    pub(super) threads: OnceCell<Result<Vec<Thread>, String>>,
}

/// What `/proc/cpuinfo` says of the CPUs.
pub(super) struct Processor {
    intel: bool,
    flags: BTreeSet<String>,
}

impl Processor {
    pub fn read(root: &Path) -> Processor {
        let info = files::text(root, "proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            info.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name).map(|(_, v)| v)
        };
        Processor {
            intel: field("vendor_id").is_some_and(|vendor| vendor.trim() == "GenuineIntel"),
            flags: field("flags").unwrap_or_default().split_whitespace().map(String::from).collect(),
        }
    }
}

impl<'a> Host<'a> {
    pub fn read(root: &'a Path, sensors: Sensors, subject: &'a Subject, processor: &Processor) -> Host<'a> {
        Host {
            sensors,
            subject,
            online: cpu_list(root, "sys/devices/system/cpu/online").unwrap_or_default(),
            isolated: isolated(root),
            nohz_full: cpu_list(root, "sys/devices/system/cpu/nohz_full").unwrap_or_default(),
            command_line: files::text(root, "proc/cmdline").map(|text| text.trim().to_owned()),
            nodes: nodes(root),
            guest: processor.flags.contains("hypervisor"),
            intel: processor.intel,
            flags: processor.flags.clone(),
            processes: OnceCell::new(),
            threads: OnceCell::new(),
            root,
        }
    }

    /// The process that bears this name, if any.
    pub fn process(&self, name: &str) -> Option<u64> {
        let read = || {
            let comm = |(pid, folder): (u64, String)| Some((pid, self.line(&format!("{folder}/comm"))?));
            self.numbered("proc", "").into_iter().filter_map(comm).collect()
        };
        self.processes.get_or_init(read).iter().find(|(_, comm)| comm == name).map(|(pid, _)| *pid)
    }

    /// The hot CPUs.
    pub fn hot(&self) -> &[u32] {
        &self.subject.hot_cpus
    }

    /// CPUs online that are not hot.
    pub fn housekeeping(&self) -> Vec<u32> {
        self.online.iter().copied().filter(|cpu| !self.hot().contains(cpu)).collect()
    }

    /// The file's text on one line; `None` when it is missing, unreadable or blank.
    pub fn line(&self, path: &str) -> Option<String> {
        files::text(self.root, path).and_then(|text| files::line(&text))
    }

    /// The same, or that the file is not readable.
    pub fn must(&self, path: &str) -> Result<String, String> {
        self.line(path).ok_or_else(|| format!("/{path}"))
    }

    /// The file's number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// The choice in brackets.
    pub fn chosen(&self, path: &str) -> Result<String, String> {
        files::text(self.root, path).and_then(|text| files::chosen(&text)).ok_or_else(|| format!("/{path}"))
    }

    /// A list of CPUs, empty where the kernel says so.
    pub fn cpus(&self, path: &str) -> Option<Vec<u32>> {
        cpu_list(self.root, path)
    }

    /// A mask of CPUs, in hexadecimal words of 32.
    pub fn mask(&self, path: &str) -> Option<Vec<u32>> {
        parse_mask(&self.line(path)?)
    }

    /// Entries of a folder that are `prefix` and a number.
    pub fn numbered(&self, folder: &str, prefix: &str) -> Vec<(u64, String)> {
        let found = files::numbered(&self.root.join(folder), prefix);
        found.into_iter().filter_map(|(n, path)| Some((n, self.relative(&path)?))).collect()
    }

    /// Names in a folder, sorted.
    pub fn entries(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The last value of a parameter of the kernel's: `Some("")` for one that stands alone.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let words = self.command_line.as_deref()?.split_whitespace();
        let value = |word: &'_ str| -> Option<usize> {
            let rest = word.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('=')).then_some(word.len() - rest.len())
        };
        words.filter_map(|word| value(word).map(|at| word[at..].trim_start_matches('=').trim_matches('"'))).next_back()
    }

    /// The CPUs that a parameter names, flags before them left out; `None` when it is not given or not understood.
    pub fn parameter_cpus(&self, name: &str) -> Option<Vec<u32>> {
        let value = self.parameter(name)?;
        if value == "all" || value.is_empty() {
            return Some(self.online.clone());
        }
        let last = self.online.last().copied().unwrap_or(0).to_string();
        let listed = value.split(',').filter(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        parse_ranges(&listed.collect::<Vec<_>>().join(",").replace('N', &last))
    }

    /// Number of nodes with CPUs.
    pub fn node_count(&self) -> usize {
        self.nodes.values().collect::<BTreeSet<_>>().len()
    }

    fn relative(&self, path: &Path) -> Option<String> {
        Some(path.strip_prefix(self.root).ok()?.to_string_lossy().into_owned())
    }

    /// A folder's real place under the root, where a link leads to one.
    pub fn real(&self, path: &str) -> Option<PathBuf> {
        self.root.join(path).canonicalize().ok()
    }
}

/// Node of each CPU.
pub(super) fn nodes(root: &Path) -> BTreeMap<u32, u32> {
    let nodes = files::numbered(&root.join("sys/devices/system/node"), "node").into_iter();
    let cpus = nodes.flat_map(|(node, at)| {
        let cpus = files::text(&at, "cpulist").and_then(|list| parse_ranges(list.trim()));
        let node = u32::try_from(node).unwrap_or(0);
        cpus.unwrap_or_default().into_iter().map(move |cpu| (cpu, node))
    });
    cpus.collect()
}

/// CPUs isolated at boot, or by a cpuset partition.
pub(super) fn isolated(root: &Path) -> Vec<u32> {
    let mut cpus = cpu_list(root, "sys/devices/system/cpu/isolated").unwrap_or_default();
    cpus.extend(cpu_list(root, "sys/fs/cgroup/cpuset.cpus.isolated").unwrap_or_default());
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

fn cpu_list(root: &Path, path: &str) -> Option<Vec<u32>> {
    let text = files::text(root, path)?;
    match text.trim() {
        "" | "(null)" => Some(Vec::new()),
        list => parse_ranges(list),
    }
}

/// `CPU 2 is`, `CPUs 2-6 are`.
pub(super) fn are(cpus: &[u32]) -> String {
    let verb = if cpus.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", named(cpus))
}

/// `CPU 2`, `CPUs 2-6`.
pub(super) fn named(cpus: &[u32]) -> String {
    let noun = if cpus.len() == 1 { "CPU" } else { "CPUs" };
    format!("{noun} {}", ranges(cpus))
}

/// What a shell expands to each of the CPUs: `2`, `{2..6}`, `{{2..5},7}`.
pub(super) fn braces(cpus: &[u32]) -> String {
    let text = ranges(cpus);
    let parts: Vec<String> = text
        .split(',')
        .map(|part| match part.split_once('-') {
            Some((first, last)) => format!("{{{first}..{last}}}"),
            None => part.to_owned(),
        })
        .collect();
    match &parts[..] {
        [one] => one.clone(),
        _ => format!("{{{}}}", parts.join(",")),
    }
}

/// Those of `cpus` that are not among `others`.
pub(super) fn without(cpus: &[u32], others: &[u32]) -> Vec<u32> {
    cpus.iter().copied().filter(|cpu| !others.contains(cpu)).collect()
}

/// Those of `cpus` that are among `others`.
pub(super) fn among(cpus: &[u32], others: &[u32]) -> Vec<u32> {
    cpus.iter().copied().filter(|cpu| others.contains(cpu)).collect()
}
