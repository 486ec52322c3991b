//! Proof of where a launched plan's memory lies, before its first poll.
//!
//! In: the plan, what EAL has given, what each lcore has built. Out: every region of the path with the node that it is wanted
//! on, and the kernel's answer. Pages of ordinary memory that lie on another node are moved there first; what then still
//! lies elsewhere is a finding.

use super::file::TextPages;
use super::plan::{Link, LinksPlan, Plan, RingPlan};
use crate::dpdk::memzone::{self, Memzone};
use crate::dpdk::{Eal, Region as Memory};
use crate::host::check::{Finding, Severity};
use crate::host::placement::lines::{Block, shared};
use crate::host::placement::maps::{self, Mapping};
use crate::host::placement::{KERNEL, Kind, Region, Report, Span, host_nodes, instance, look};
use crate::sys::text::{self, Part};
use crate::sys::{memory, pages};
use std::collections::BTreeSet;
use std::path::Path;

/// Pages that the path is wanted in.
const HUGE_PAGE: u64 = 2 << 20;

/// What an lcore has of its own.
pub struct Owned {
    /// Its id.
    pub lcore: u32,
    /// The stack of its thread.
    pub stack: Option<Span>,
    /// Its segments.
    pub segments: Vec<Span>,
    /// Numbers that it shows to others.
    pub boards: Vec<Span>,
}

/// What a plan has been launched into.
pub struct Launched<'a> {
    /// The lcores' arenas by their names, in the plan's order.
    pub arenas: Vec<(String, Span)>,
    /// What each lcore has of its own.
    pub owned: Vec<Owned>,
    /// What several write on purpose, each on lines of its own.
    pub common: Vec<Block>,
    /// Parts of the program in hugepages.
    pub text: &'a [Part],
    /// Drivers of the ports.
    pub drivers: Vec<String>,
}

/// The regions of the path, and where they lie.
pub fn prove(plan: &Plan, eal: &Eal, launched: &Launched<'_>) -> (Vec<Region>, Report) {
    let root = Path::new("/");
    let read = || maps::read(root, "self").unwrap_or_default();
    let mappings = read();
    let mut regions = regions(plan, &memzone::all(eal), launched, &mappings);
    for part in launched.text {
        // A copy of a part of the program has no name of its own.
        let kind = if part.execute { Kind::Text } else { Kind::Rodata };
        let copied = regions.iter_mut().filter(|region| region.kind == kind);
        copied.for_each(|region| region.spans.push(Span { from: part.from, bytes: part.len }));
    }
    let ask = |mappings: &[Mapping]| look(std::process::id(), host_nodes(root), mappings, &regions, KERNEL);
    let mut report = ask(&mappings);
    if settle(plan, &regions, &report) {
        report = ask(&read());
    }
    if mappings.is_empty() {
        report.unknown = Some("/proc/self/smaps cannot be read".to_owned());
    }
    let blocks: Vec<Block> = blocks(&launched.owned).chain(launched.common.iter().cloned()).collect();
    for block in &blocks {
        log::debug!("{} ({}): {} bytes at {:#x}", block.name, block.owner, block.span.bytes, block.span.from);
    }
    report.findings.extend(shared(&blocks).into_iter().map(shared_line));
    (regions, report)
}

fn shared_line(found: String) -> Finding {
    Finding {
        id: "placement.shared_line",
        severity: Severity::Warning,
        of: String::new(),
        found,
        evidence: Vec::new(),
        why: "each write takes the line from the other lcore: 50 to 100 ns (`tickpath check --effect` measures this host)",
        until_reboot: None,
        permanent: None,
        tuned: &[],
    }
}

fn blocks(owned: &[Owned]) -> impl Iterator<Item = Block> {
    owned.iter().flat_map(|own| {
        let block =
            |name: &str, span: &Span| Block { name: name.into(), owner: format!("lcore {}", own.lcore), span: *span };
        let segments = own.segments.iter().map(move |span| block("segment", span));
        segments.chain(own.boards.iter().map(move |span| block("board", span)))
    })
}

/// Have the kernel move what lies on another node than it is wanted on, where that is one node and the memory is not a
/// device's or in hugepages of EAL. What an lcore's stages have reserved and not yet touched is taken there too: not on the
/// path. Whether anything was changed.
fn settle(plan: &Plan, regions: &[Region], report: &Report) -> bool {
    let strays = |region: &&Region| {
        let movable = match region.kind {
            Kind::Pool | Kind::Ring | Kind::Arena => plan.no_huge,
            Kind::Device | Kind::Eal => false,
            _ => true,
        };
        let found = report.regions.iter().find(|placed| (placed.kind, &placed.name) == (region.kind, &region.name));
        let wrong = region.kind == Kind::Heap || found.is_some_and(|placed| placed.misplaced_pages > 0);
        movable && region.nodes.len() == 1 && wrong
    };
    let strays: Vec<&Region> = regions.iter().filter(strays).collect();
    for Region { kind, spans, nodes, .. } in &strays {
        for span in spans {
            // What stays where it is will be found.
            let _ = pages::bind(span.from, span.bytes, nodes[0]);
            if *kind == Kind::Heap {
                memory::populate(span.from, span.bytes);
            }
        }
    }
    !strays.is_empty()
}

fn regions(plan: &Plan, zones: &[Memzone], launched: &Launched<'_>, mappings: &[Mapping]) -> Vec<Region> {
    let path: Vec<u32> = plan.lcores.iter().map(|l| l.cpu_node).collect::<BTreeSet<_>>().into_iter().collect();
    // Without hugepages EAL has one block of memory for all nodes.
    let planned = |node: u32| if plan.no_huge { path.clone() } else { vec![node] };
    let eal_page = if plan.no_huge { 0 } else { HUGE_PAGE };
    let mut regions = Vec::new();
    for pool in &plan.pools {
        let of = |name: &str| {
            let chunk = name.strip_prefix("MP_").and_then(|rest| rest.strip_prefix(pool.name.as_str()));
            let number = |rest: &str| rest.strip_prefix('_').is_some_and(|n| n.parse::<u32>().is_ok());
            chunk.is_some_and(|rest| rest.is_empty() || number(rest)) || name.strip_prefix("RG_MP_") == Some(&pool.name)
        };
        regions.push(Region {
            name: pool.name.clone(),
            kind: Kind::Pool,
            spans: spans(zones, of),
            nodes: planned(pool.node),
            page_bytes: eal_page,
        });
    }
    for ring in rings(plan) {
        regions.push(Region {
            name: ring.name.clone(),
            kind: Kind::Ring,
            spans: spans(zones, |name| name.strip_prefix("RG_") == Some(&ring.name)),
            nodes: planned(ring.node),
            page_bytes: eal_page,
        });
    }
    let ports = plan.ports.iter().filter_map(|port| port.node);
    let near_ports: Vec<u32> = path.iter().copied().chain(ports).collect::<BTreeSet<_>>().into_iter().collect();
    regions.push(Region {
        name: "queues".into(),
        kind: Kind::Device,
        spans: spans(zones, |name| name.starts_with("eth_p")),
        nodes: near_ports,
        page_bytes: eal_page,
    });
    for ((name, span), lcore) in launched.arenas.iter().zip(&plan.lcores) {
        regions.push(Region {
            name: name.clone(),
            kind: Kind::Arena,
            spans: vec![*span],
            nodes: vec![lcore.cpu_node],
            page_bytes: HUGE_PAGE,
        });
    }
    for own in &launched.owned {
        let name = format!("lcore {}", own.lcore);
        let nodes: Vec<u32> = plan.lcore(own.lcore).map(|lcore| lcore.cpu_node).into_iter().collect();
        let region = |kind, spans| Region { name: name.clone(), kind, spans, nodes: nodes.clone(), page_bytes: 0 };
        regions.push(region(Kind::State, own.segments.iter().chain(&own.boards).copied().collect()));
        regions.push(region(Kind::Stack, own.stack.into_iter().collect()));
        let addresses: Vec<usize> = own.segments.iter().map(|span| span.from).collect();
        regions.extend(instance::around(mappings, &name, &addresses, &nodes));
    }
    let spans = launched.common.iter().map(|block| block.span).collect();
    regions.push(Region { name: "shared".into(), kind: Kind::State, spans, nodes: path.clone(), page_bytes: 0 });
    let exe = std::env::current_exe().unwrap_or_default();
    let text_page = if plan.text == TextPages::Huge { HUGE_PAGE } else { 0 };
    regions.extend(instance::program(mappings, &exe.to_string_lossy(), &path, &launched.drivers).into_iter().map(
        |region| match region.kind {
            Kind::Text | Kind::Rodata => Region { page_bytes: text_page, ..region },
            _ => region,
        },
    ));
    regions.retain(|region| !region.spans.is_empty());
    regions
}

fn rings(plan: &Plan) -> impl Iterator<Item = &RingPlan> {
    plan.venues.iter().flat_map(|venue| {
        let LinksPlan { rx_parse, parse_strategy, strategy_encode, encode_tx, tx_strategy } = &venue.links;
        let links = [rx_parse, parse_strategy, strategy_encode, encode_tx, tx_strategy].into_iter();
        let links = links.filter_map(|link| match link {
            Link::Ring(ring) => Some(ring),
            Link::Fused => None,
        });
        links.chain(&venue.records).chain(&venue.journal)
    })
}

fn spans(zones: &[Memzone], of: impl Fn(&str) -> bool) -> Vec<Span> {
    let mine = zones.iter().filter(|zone| of(&zone.name));
    mine.map(|zone| Span { from: zone.from, bytes: zone.bytes }).collect()
}

/// The program's instructions and constants in hugepages, on the lcores' node if they have one in common.
pub fn copy_text(plan: &Plan) -> Vec<Part> {
    if plan.text == TextPages::File {
        return Vec::new();
    }
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if enabled.contains("[never]") {
        log::warn!(
            "the program's text stays in pages of its file: transparent_hugepage is `never`; `madvise` is enough"
        );
        return Vec::new();
    }
    let nodes: BTreeSet<u32> = plan.lcores.iter().map(|lcore| lcore.cpu_node).collect();
    let node = nodes.first().copied().filter(|_| nodes.len() == 1);
    text::in_huge_pages(node).unwrap_or_else(|err| {
        log::warn!("the program's text stays in pages of its file: {err}");
        Vec::new()
    })
}

/// Where an arena lies, by its name.
pub fn arena(memory: &Memory) -> (String, Span) {
    (memory.name().to_owned(), Span { from: memory.address(), bytes: memory.bytes() })
}
