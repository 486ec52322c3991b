//! What recorder and trace files are told of a run before it begins: which run it is, of what, on which host.

use super::file::Driver;
use super::launch::Options;
use super::plan::{Link, Mode, Plan, Stage, VenuePlan};
use crate::dpdk::Region;
use crate::host::fingerprint::{Fingerprint, Subject};
use crate::host::placement::{maps, usual_page};
use crate::latency::clock::Clock;
use crate::latency::snapshot::Snapshot;
use crate::latency::trace::{CaptureId, Header, VenueHeader};
use crate::port::Device;
use crate::sys::{affinity, thread, time};
use crate::version;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a capture that its checksum is of.
const IDENTIFIED: u64 = 1_000_000;

/// The head of this run's trace files.
pub fn header(plan: &Plan, options: &Options, clock: &Clock, fingerprint: Fingerprint) -> Header {
    let started_ns = time::realtime_ns();
    Header {
        run: format!("{}-{}", time::utc(started_ns), std::process::id()),
        file: 0,
        started_ns,
        command: command(plan).to_owned(),
        plan_hash: format!("{:016x}", plan.hash),
        clock: clock.fitted(),
        venues: plan.venues.iter().map(venue).collect(),
        sample_every: plan.record.sample_every,
        captures: match plan.mode {
            Mode::Replay => captures(options),
            Mode::Run => Vec::new(),
        },
        speed: match plan.mode {
            Mode::Replay => options.pace.speed.to_string(),
            Mode::Run => String::new(),
        },
        oversubscribed: plan.oversubscribed,
        fingerprint,
        journal: None,
    }
}

/// Everything about program and host that can make a run of this plan slower than another: of the host as the files under
/// `root` have it. `regions` are the memory of the lcores, `devices` the ports' by their names.
pub fn fingerprint(
    plan: &Plan,
    root: &Path,
    eal_argv: &[String],
    regions: &[Region],
    devices: &[(String, Device)],
) -> Fingerprint {
    let subject = Subject {
        hot_cpus: plan.lcores.iter().flat_map(|l| l.cpus.iter().copied()).collect(),
        devices: plan
            .ports
            .iter()
            .filter(|port| port.driver == Driver::Ethdev)
            .filter_map(|port| Some((port.name.clone(), port.device.clone()?)))
            .collect(),
    };
    let mut facts = Fingerprint::read(root, &subject);
    facts.insert("tickpath.version", env!("CARGO_PKG_VERSION"));
    facts.insert("tickpath.revision", version::REVISION);
    facts.insert("dpdk.version", version::DPDK);
    facts.insert("plan.hash", format!("{:016x}", plan.hash));
    facts.insert("plan.oversubscribed", plan.oversubscribed.to_string());
    // The prefix has the process id in it.
    let argv = eal_argv.iter().skip(1).filter(|arg| !arg.starts_with("--file-prefix=tickpath-"));
    facts.insert("eal.arguments", argv.map(String::as_str).collect::<Vec<_>>().join(" "));
    for lcore in &plan.lcores {
        let cpus: Vec<String> = lcore.cpus.iter().map(u32::to_string).collect();
        facts.insert(format!("lcore{}.cpus", lcore.id), cpus.join(","));
    }
    for (port, device) in devices {
        if let Some(firmware) = device.firmware() {
            facts.insert(format!("port.{port}.firmware"), firmware);
        }
    }
    let mappings = maps::read(Path::new("/"), "self").unwrap_or_default();
    for region in regions {
        if let Some(bytes) = usual_page(&mappings, super::placement::arena(region).1) {
            facts.insert(format!("memory.{}.page_kb", region.name()), (bytes / 1024).to_string());
        }
        // A kernel that does not tell leaves the fact out.
        let Ok(nodes) = region.nodes() else { continue };
        let nodes: Vec<String> = nodes.keys().map(u32::to_string).collect();
        facts.insert(format!("memory.{}.nodes", region.name()), nodes.join(","));
    }
    facts
}

/// What snapshots of this run all say.
pub fn snapshot(plan: &Plan, header: &Header) -> Snapshot {
    Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run: header.run.clone(),
        command: header.command.clone(),
        plan_hash: header.plan_hash.clone(),
        oversubscribed: plan.oversubscribed,
        ..Snapshot::default()
    }
}

/// What the recorder's thread does first: move to its CPUs, and step back behind everything else there.
pub fn background(plan: &Plan) -> impl Fn() + Send + Clone + 'static {
    let cpus: affinity::CpuSet = plan.record.cpus.iter().map(|&cpu| cpu as usize).collect();
    move || {
        if let Err(err) = affinity::set(&cpus) {
            log::warn!("the recorder stays where it is: CPUs {cpus:?} are refused: {err}");
        }
        thread::step_back();
    }
}

fn command(plan: &Plan) -> &'static str {
    match plan.mode {
        Mode::Replay => "replay",
        Mode::Run => "run",
    }
}

fn venue(venue: &VenuePlan) -> VenueHeader {
    let depth = |link: &Link| match link {
        Link::Fused => None,
        Link::Ring(ring) => Some(ring.depth),
    };
    let links = &venue.links;
    VenueHeader {
        name: venue.name.clone(),
        rings: [&links.rx_parse, &links.parse_strategy, &links.strategy_encode, &links.encode_tx].map(depth),
        lcores: Stage::ALL.map(|stage| venue.stage(stage).lcore),
        budget: venue.budget.clone(),
    }
}

/// A file that cannot be read any more is left out: opening it as a capture says what is wrong with it.
fn captures(options: &Options) -> Vec<CaptureId> {
    let files = options.captures.iter().flat_map(|(port, files)| files.iter().map(move |file| (port, file)));
    files.filter_map(|(port, file)| identify(port, file).ok()).collect()
}

fn identify(port: &str, path: &PathBuf) -> io::Result<CaptureId> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(IDENTIFIED).read_to_end(&mut head)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(CaptureId { port: port.to_owned(), name, bytes, crc32: crc32fast::hash(&head) })
}
