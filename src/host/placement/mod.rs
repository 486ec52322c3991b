//! Where the memory of the packet's path lies: on which NUMA node and in pages of which size, as the kernel tells it, and
//! not as an allocator was asked for it.
//!
//! In: the [`Region`]s that the path touches with the nodes and the page size that each was meant for; the mappings of the
//! process that has them ([`maps`]). Out: a [`Report`] of what lies where, and a finding for each region that lies elsewhere.
//! Reads only.

pub mod instance;
pub mod lines;
pub mod maps;
mod text;

use super::check::{Evidence, Finding, Severity};
use super::files;
use crate::sys::pages::{self, Lying};
use maps::Mapping;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Something that the path touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where: address and bytes of each part.
    pub spans: Vec<Span>,
    /// The nodes that it may lie on; empty: any.
    pub nodes: Vec<u32>,
    /// Least bytes of its pages, as far as whole pages of that size fit; 0: any.
    pub page_bytes: u64,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First address.
    pub from: usize,
    /// Length.
    pub bytes: usize,
}

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Frames.
    Pool,
    /// Elements between two lcores.
    Ring,
    /// Descriptors and queues of a device's driver.
    Device,
    /// Books, tables, templates and maps of an lcore.
    Arena,
    /// The stages themselves, their counters, and what lcores tell each other.
    State,
    /// Stack of an lcore's thread.
    Stack,
    /// What the stages of an lcore have on the heap.
    Heap,
    /// The program's instructions.
    Text,
    /// The program's constants.
    Rodata,
    /// The program's variables.
    Data,
    /// A shared library: instructions, constants, variables.
    Library,
    /// Memory of EAL, without saying what for.
    Eal,
}

/// A region as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Nodes that it was meant for; empty: any.
    pub wanted_nodes: Vec<u32>,
    /// Least page size that it was meant for, in bytes; 0: any.
    pub wanted_page_bytes: u64,
    /// Bytes by node.
    pub nodes: BTreeMap<u32, u64>,
    /// Bytes by size of page, as the mappings they are in have them.
    pub pages: BTreeMap<u64, u64>,
    /// Bytes on no node: never touched.
    pub absent_bytes: u64,
    /// Pages on other nodes than it was meant for.
    pub misplaced_pages: u64,
    /// Those of them that are of files in the page cache which other processes map too.
    pub shared_pages: u64,
    /// Bytes that whole pages of the size it was meant for would hold, and smaller ones do.
    pub small_bytes: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The process.
    pub pid: u32,
    /// NUMA nodes of the host.
    pub host_nodes: u32,
    /// Why nodes are not known, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Every region.
    pub regions: Vec<Placed>,
    /// What lies where it should not, the worst first.
    pub findings: Vec<Finding>,
}

/// Where the pages of a process's range lie: process, first address, bytes, bytes of a page.
pub type Ask = fn(u32, usize, usize, usize) -> io::Result<Lying>;

/// Ask the kernel.
pub const KERNEL: Ask = pages::lying;

impl Kind {
    /// As it is written in tables, and as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Ring => "ring",
            Kind::Device => "device",
            Kind::Arena => "arena",
            Kind::State => "state",
            Kind::Stack => "stack",
            Kind::Heap => "heap",
            Kind::Text => "text",
            Kind::Rodata => "rodata",
            Kind::Data => "data",
            Kind::Library => "library",
            Kind::Eal => "eal",
        }
    }

    /// What a wrong node is: what the plan places, and was placed elsewhere, defeats the plan; the rest costs.
    const fn severity(self) -> Severity {
        match self {
            Kind::Pool | Kind::Ring | Kind::Device | Kind::Arena | Kind::State | Kind::Stack => Severity::Error,
            Kind::Heap | Kind::Text | Kind::Rodata | Kind::Data | Kind::Library | Kind::Eal => Severity::Warning,
        }
    }

    /// How its pages come to lie where they should.
    fn remedy(self, node: u32) -> String {
        match self {
            Kind::Pool | Kind::Ring | Kind::Device | Kind::Arena | Kind::Eal => format!(
                "reserve hugepages on node {node} and let EAL have them (--socket-mem); `tickpath plan` says how many"
            ),
            Kind::State | Kind::Stack | Kind::Heap | Kind::Data => {
                format!("start it with numactl --preferred={node}; a container's cpuset must allow the node's memory")
            }
            Kind::Text | Kind::Rodata => {
                format!(
                    "\"text\": \"huge\" in the pipeline file, or start it with numactl --preferred={node} from a fresh copy"
                )
            }
            Kind::Library => format!(
                "start it with numactl --preferred={node} when nothing else has read the file (echo 1 > /proc/sys/vm/drop_caches); what \
                 other processes map too stays where it is"
            ),
        }
    }
}

impl Placed {
    /// Bytes that are in memory.
    pub fn present_bytes(&self) -> u64 {
        if self.nodes.is_empty() { self.pages.values().sum() } else { self.nodes.values().sum() }
    }
}

impl Report {
    /// The worst finding's severity.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Pages on wrong nodes, by kind of region: every kind that is there.
    pub fn misplaced(&self) -> BTreeMap<Kind, u64> {
        let mut pages = BTreeMap::new();
        for region in &self.regions {
            *pages.entry(region.kind).or_insert(0) += region.misplaced_pages;
        }
        pages
    }
}

/// NUMA nodes of the host under `root`; 1 where it does not say.
pub fn host_nodes(root: &Path) -> u32 {
    files::numbered(&root.join("sys/devices/system/node"), "node").len().max(1) as u32
}

/// Bytes of the pages that most of a span lies in; `None` where nothing of it is in memory.
pub fn usual_page(mappings: &[Mapping], span: Span) -> Option<u64> {
    let mut sizes = BTreeMap::new();
    for (mapping, part) in parts(mappings, span) {
        share(mapping, part, None).for_each(|(size, bytes)| *sizes.entry(size).or_insert(0) += bytes);
    }
    sizes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(size, _)| size)
}

/// What lies where in process `pid`, whose mappings are `mappings`, on a host of `host_nodes` nodes.
pub fn look(pid: u32, host_nodes: u32, mappings: &[Mapping], regions: &[Region], ask: Ask) -> Report {
    let mut unknown = None;
    let mut placed: Vec<Placed> =
        regions.iter().map(|region| place(pid, mappings, region, ask, &mut unknown)).collect();
    placed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let mut findings: Vec<Finding> = placed.iter().flat_map(|region| findings(pid, region)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Report { pid, host_nodes, unknown, regions: placed, findings }
}

/// What its mappings and, for a part of one, the kernel say of a region.
fn place(pid: u32, mappings: &[Mapping], region: &Region, ask: Ask, unknown: &mut Option<String>) -> Placed {
    let (mut nodes, mut sizes) = (BTreeMap::new(), BTreeMap::new());
    let (mut absent, mut misplaced, mut shared, mut small) = (0, 0, 0, 0);
    let strays = |node: &u32| !region.nodes.is_empty() && !region.nodes.contains(node);
    for span in &region.spans {
        if parts(mappings, *span).map(|(_, part)| part.bytes).sum::<usize>() < span.bytes {
            unknown.get_or_insert_with(|| format!("{} {} is not among the mappings", region.kind.name(), region.name));
        }
        for (mapping, part) in parts(mappings, *span) {
            let whole = part.bytes as u64 == mapping.bytes();
            let here = match whole && !mapping.nodes.is_empty() {
                true => mapping.nodes.clone(),
                false => match ask(pid, part.from, part.bytes, mapping.page_bytes as usize) {
                    Ok(lying) => {
                        let bytes = |pages: usize| (pages as u64).saturating_mul(mapping.page_bytes);
                        absent += bytes(lying.absent);
                        lying.nodes.into_iter().map(|(node, pages)| (node, bytes(pages))).collect()
                    }
                    Err(err) => {
                        unknown.get_or_insert_with(|| err.to_string());
                        BTreeMap::new()
                    }
                },
            };
            let known = Some(here.values().sum::<u64>()).filter(|present| *present > 0);
            for (node, bytes) in here {
                if strays(&node) {
                    let pages = bytes.div_ceil(mapping.page_bytes.max(1));
                    misplaced += pages;
                    shared += if mapping.is_shared() { pages } else { 0 };
                }
                *nodes.entry(node).or_insert(0) += bytes;
            }
            let mut large = 0;
            for (size, bytes) in share(mapping, part, known) {
                *sizes.entry(size).or_insert(0) += bytes;
                large += if size >= region.page_bytes { bytes } else { 0 };
            }
            small += whole_pages(part, region.page_bytes).saturating_sub(large);
        }
    }
    Placed {
        name: region.name.clone(),
        kind: region.kind,
        wanted_nodes: region.nodes.clone(),
        wanted_page_bytes: region.page_bytes,
        nodes,
        pages: sizes,
        absent_bytes: absent,
        misplaced_pages: misplaced,
        shared_pages: shared,
        // Less than a page is the rounding of a part.
        small_bytes: if small >= region.page_bytes { small } else { 0 },
    }
}

/// The mappings that a span lies in, each with what of the span is there. Mappings are ascending and apart.
fn parts(mappings: &[Mapping], span: Span) -> impl Iterator<Item = (&Mapping, Span)> {
    let end = span.from.saturating_add(span.bytes);
    let first = mappings.partition_point(|mapping| mapping.to <= span.from);
    mappings[first..].iter().take_while(move |mapping| mapping.from < end).map(move |mapping| {
        let from = mapping.from.max(span.from);
        (mapping, Span { from, bytes: mapping.to.min(end) - from })
    })
}

/// Bytes of a part of a mapping by size of page, in the proportions of the whole. `present`: how much of it is in memory,
/// where that is known.
fn share(mapping: &Mapping, part: Span, present: Option<u64>) -> impl Iterator<Item = (u64, u64)> {
    let (these, of) = match present {
        Some(present) => (present, mapping.present_bytes),
        None => (part.bytes as u64, mapping.bytes()),
    };
    let share = move |bytes: u64| (u128::from(bytes) * u128::from(these) / u128::from(of.max(1))) as u64;
    mapping.page_sizes().into_iter().map(move |(size, bytes)| (size, share(bytes)))
}

/// Bytes of a span that lie in whole pages of `page` bytes; 0 for no page size.
fn whole_pages(span: Span, page: u64) -> u64 {
    let (from, end) = (span.from as u64, (span.from as u64).saturating_add(span.bytes as u64));
    match from.checked_next_multiple_of(page) {
        Some(first) if page > 0 => (end / page * page).saturating_sub(first),
        _ => 0,
    }
}

fn findings(pid: u32, region: &Placed) -> Vec<Finding> {
    let mut found = Vec::new();
    let evidence = |file: &str, value: String| vec![Evidence { path: format!("/proc/{pid}/{file}"), value }];
    let Placed { kind, name, .. } = region;
    if let (1.., Some(first)) = (region.misplaced_pages, region.wanted_nodes.first()) {
        let wanted = text::list(&region.wanted_nodes);
        let lies = text::nodes(&region.nodes);
        // A library came into the page cache with whoever read it first, and is not this process's to move.
        let theirs = *kind == Kind::Library && region.shared_pages == region.misplaced_pages;
        let mut evidence = evidence("numa_maps and move_pages(2)", lies.clone());
        if region.shared_pages > 0 {
            let value =
                format!("mapmax above 1: {} of these pages are of a file that others map too", region.shared_pages);
            evidence.push(Evidence { path: format!("/proc/{pid}/numa_maps"), value });
        }
        found.push(Finding {
            id: "placement.node",
            severity: if theirs { Severity::Information } else { kind.severity() },
            of: name.clone(),
            found: format!("{} {name}: {} pages are not on node {wanted}: {lies}", kind.name(), region.misplaced_pages),
            evidence,
            why: "each access that misses the caches goes to the other socket: 50 to 150 ns more, as long as the program runs \
                  (order of magnitude; `tickpath check --effect` measures this host)",
            until_reboot: None,
            permanent: Some(kind.remedy(*first)),
            tuned: &[],
        });
    }
    if region.small_bytes > 0 {
        let (wanted, sizes) = (text::size(region.wanted_page_bytes), text::pages(&region.pages));
        // EAL's own hugepages are all or nothing; elsewhere the kernel had none to spare.
        let error = matches!(kind, Kind::Pool | Kind::Ring | Kind::Device);
        let compact = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled; \
                       echo 1 | sudo tee /proc/sys/vm/compact_memory";
        found.push(Finding {
            id: "placement.page_size",
            severity: if error { Severity::Error } else { Severity::Warning },
            of: name.clone(),
            found: format!(
                "{} {name}: {} were to lie in pages of {wanted}: {sizes}",
                kind.name(),
                text::size(region.small_bytes)
            ),
            evidence: evidence("smaps", sizes),
            why: "a TLB miss on each page touched anew: 20 to 50 ns, several a message (order of magnitude)",
            until_reboot: (!error).then(|| compact.to_owned()),
            permanent: Some(
                "reserve hugepages at boot (hugepages= of the kernel) and run without --no-huge".to_owned(),
            ),
            tuned: &[],
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn mapping(from: usize, bytes: usize, page: u64, huge: u64) -> Mapping {
        let page_bytes = page;
        let present_bytes = bytes as u64;
        Mapping { from, to: from + bytes, page_bytes, present_bytes, huge_bytes: huge, ..Mapping::default() }
    }

    fn region(kind: Kind, from: usize, bytes: usize, nodes: &[u32], page_bytes: u64) -> Region {
        Region { name: "it".into(), kind, spans: vec![Span { from, bytes }], nodes: nodes.to_vec(), page_bytes }
    }

    /// All on node 0 but the last page of what is asked for, which is on node 1.
    fn mixed(_: u32, _: usize, bytes: usize, page: usize) -> io::Result<Lying> {
        Ok(Lying { nodes: BTreeMap::from([(0, bytes / page - 1), (1, 1)]), absent: 0 })
    }

    fn refuses(_: u32, _: usize, _: usize, _: usize) -> io::Result<Lying> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[test]
    fn a_page_on_another_node_than_meant_is_named_with_its_region() {
        let mappings = [mapping(64 * MB, 8 * MB, 4096, 0)];
        let inside = region(Kind::Arena, 65 * MB, MB, &[0], 0);
        let report = look(7, 2, &mappings, std::slice::from_ref(&inside), mixed);
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((finding.id, finding.severity), ("placement.node", Severity::Error));
        assert_eq!(finding.found, "arena it: 1 pages are not on node 0: node 0: 1020 KiB, node 1: 4 KiB");
        assert_eq!(report.misplaced(), BTreeMap::from([(Kind::Arena, 1)]));
        let anywhere = Region { nodes: vec![], ..inside.clone() };
        assert!(look(7, 2, &mappings, &[anywhere], mixed).findings.is_empty());
        let either = Region { nodes: vec![0, 1], ..inside };
        assert!(look(7, 2, &mappings, &[either], mixed).findings.is_empty());
    }

    #[test]
    fn a_kernel_that_does_not_tell_is_not_a_fault_of_the_region() {
        let mappings = [mapping(64 * MB, 8 * MB, 4096, 0)];
        let report = look(7, 1, &mappings, &[region(Kind::Ring, 65 * MB, MB, &[0], 0)], refuses);
        assert!(report.findings.is_empty() && report.unknown.is_some());
    }

    #[test]
    fn whole_mappings_need_no_question() {
        let nodes = BTreeMap::from([(1, 8 * MB as u64)]);
        let mappings = [Mapping { nodes, ..mapping(64 * MB, 8 * MB, 4096, 0) }];
        let report = look(7, 2, &mappings, &[region(Kind::Library, 64 * MB, 8 * MB, &[0], 0)], refuses);
        assert_eq!(report.unknown, None);
        assert_eq!((report.findings.len(), report.findings[0].severity), (1, Severity::Warning));
        assert_eq!(report.regions[0].misplaced_pages, 2048);
    }

    #[test]
    fn a_library_that_others_map_too_is_nobodys_fault_and_the_programs_own_text_is() {
        let file = |write, mapped_by| Mapping {
            nodes: BTreeMap::from([(1, 8 * MB as u64)]),
            path: "/lib/it.so".into(),
            write,
            mapped_by,
            ..mapping(64 * MB, 8 * MB, 4096, 0)
        };
        let found = |kind, mapping| {
            let report = look(7, 2, &[mapping], &[region(kind, 64 * MB, 8 * MB, &[0], 0)], refuses);
            let [finding] = &report.findings[..] else { panic!("{report:?}") };
            let said = "2048 of these pages are of a file that others map too";
            (finding.severity, finding.evidence.iter().any(|evidence| evidence.value.ends_with(said)))
        };
        assert_eq!(found(Kind::Library, file(false, 2)), (Severity::Information, true));
        assert_eq!(found(Kind::Library, file(false, 1)), (Severity::Warning, false));
        assert_eq!(found(Kind::Library, file(true, 2)), (Severity::Warning, false));
        assert_eq!(found(Kind::Text, file(false, 2)), (Severity::Warning, true));
    }

    #[test]
    fn hugepages_that_became_small_ones_are_found_and_an_edge_that_cannot_be_huge_is_not() {
        let wanted = 2 << 20;
        let small = |kind, from, bytes, huge: usize| {
            let mappings = [mapping(64 * MB, 8 * MB, 4096, huge as u64)];
            let report = look(7, 1, &mappings, &[region(kind, from, bytes, &[], wanted)], mixed);
            report.findings.iter().map(|finding| (finding.id, finding.severity)).collect::<Vec<_>>()
        };
        assert_eq!(small(Kind::Arena, 64 * MB, 8 * MB, 8 * MB), []);
        assert_eq!(small(Kind::Arena, 64 * MB, 8 * MB, 4 * MB), [("placement.page_size", Severity::Warning)]);
        assert_eq!(small(Kind::Pool, 64 * MB, 8 * MB, 0), [("placement.page_size", Severity::Error)]);
        // From 65 to 67 MB there is no whole page of 2 MB.
        assert_eq!(small(Kind::Pool, 65 * MB, 2 * MB, 0), []);
        let hugetlb = [mapping(64 * MB, 8 * MB, wanted, 0)];
        assert!(look(7, 1, &hugetlb, &[region(Kind::Pool, 64 * MB, 8 * MB, &[], wanted)], mixed).findings.is_empty());
    }

    #[test]
    fn the_kernel_says_of_this_process_where_memory_lies() {
        let memory = vec![1u8; 4 * MB];
        let span = Span { from: memory.as_ptr().addr(), bytes: memory.len() };
        let Some(mappings) = maps::read(Path::new("/"), "self") else { return println!("skipped: no /proc") };
        let near = |nodes: &[u32]| {
            let region =
                Region { name: "it".into(), kind: Kind::Heap, spans: vec![span], nodes: nodes.to_vec(), page_bytes: 0 };
            look(0, host_nodes(Path::new("/")), &mappings, &[region], KERNEL)
        };
        let report = near(&[]);
        if let Some(why) = report.unknown {
            return println!("skipped: the kernel does not tell nodes of pages: {why}");
        }
        let on: Vec<u32> = report.regions[0].nodes.keys().copied().collect();
        assert!(near(&on).findings.is_empty());
        // No host has so many nodes.
        let elsewhere = near(&[999]);
        assert_eq!(elsewhere.findings.len(), 1);
        assert!(elsewhere.regions[0].misplaced_pages >= 1024, "{elsewhere:?}");
        drop(memory);
    }
}
