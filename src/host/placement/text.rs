//! A report as text: a table of regions and its findings for `tickpath check --pid`, a line or a few for the start of a run.

use super::{Placed, Report};
use crate::host::check::Severity;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "placement of process {}: {}", self.pid, self.sum())?;
        if let Some(why) = &self.unknown {
            writeln!(f, "the kernel does not tell all nodes: {why}")?;
        }
        let name = self.regions.iter().map(|region| region.name.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "\n{:<8} {:<name$} {:>11} {:>9}  {:<8} in pages of, on",
            "kind", "region", "present", "untouched", "wanted"
        )?;
        for region in &self.regions {
            region.write(f, name)?;
        }
        for finding in &self.findings {
            finding.write(f)?;
        }
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        writeln!(f, "\n{} errors, {} warnings", count(Severity::Error), count(Severity::Warning))
    }
}

impl Placed {
    fn write(&self, f: &mut Formatter<'_>, name: usize) -> fmt::Result {
        let absent = if self.absent_bytes > 0 { size(self.absent_bytes) } else { "-".into() };
        let wanted =
            if self.wanted_nodes.is_empty() { "any".into() } else { format!("node {}", list(&self.wanted_nodes)) };
        writeln!(
            f,
            "{:<8} {:<name$} {:>11} {absent:>9}  {wanted:<8} {}; {}",
            self.kind.name(),
            self.name,
            size(self.present_bytes()),
            pages(&self.pages),
            nodes(&self.nodes),
        )
    }
}

impl Report {
    /// All of it in a line.
    fn sum(&self) -> String {
        let (mut by_node, mut by_page) = (BTreeMap::new(), BTreeMap::new());
        for region in &self.regions {
            region.nodes.iter().for_each(|(node, bytes)| *by_node.entry(*node).or_insert(0) += bytes);
            region.pages.iter().for_each(|(page, bytes)| *by_page.entry(*page).or_insert(0) += bytes);
        }
        let wrong = match self.misplaced().values().sum::<u64>() {
            0 if self.unknown.is_some() => "not all known".to_owned(),
            0 if self.host_nodes == 1 => "one node: nothing to misplace".to_owned(),
            0 => "all where they are wanted".to_owned(),
            n => format!("{n} PAGES MISPLACED"),
        };
        format!("{} regions; {}; pages of {}; {wrong}", self.regions.len(), nodes(&by_node), pages(&by_page))
    }

    /// One line, and one for each error and warning.
    pub fn brief(&self) -> String {
        let mut text = format!("placement: {}\n", self.sum());
        for finding in &self.findings {
            text += &format!("{}: {}: {}\n", finding.severity.name(), finding.id, finding.found);
        }
        text
    }
}

/// `0`, `0 or 1`.
pub(super) fn list(nodes: &[u32]) -> String {
    nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ")
}

/// `node 0: 12 MiB, node 1: 4 KiB`.
pub(super) fn nodes(bytes: &BTreeMap<u32, u64>) -> String {
    let node = |(node, bytes): (&u32, &u64)| format!("node {node}: {}", size(*bytes));
    join(bytes.iter().map(node), "no node")
}

/// `4 KiB: 12 MiB, 2 MiB: 128 MiB`.
pub(super) fn pages(bytes: &BTreeMap<u64, u64>) -> String {
    join(bytes.iter().map(|(page, bytes)| format!("{}: {}", size(*page), size(*bytes))), "nothing present")
}

fn join(parts: impl Iterator<Item = String>, none: &str) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(", ") }
}

/// Bytes in whole KiB below 1 MiB, in MiB above.
pub(super) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1024)),
        _ if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}
