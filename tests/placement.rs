//! Where memory of the path lies: what a launched plan says of it, what the kernel says of a running process, and the program
//! in hugepages.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{number, options, shipped, synth, text, tickpath, two_cpus, write_json};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tickpath::host::placement::{Kind, Report};
use tickpath::pipeline::file::PipelineFile;
use tickpath::pipeline::host::HostFacts;
use tickpath::pipeline::launch::{Controls, launch};
use tickpath::pipeline::plan::{Mode, Plan, Request};
use tickpath::program::Program;

/// Says to the child process on which node lcore 2's memory is wanted.
const CLAIMED: &str = "TICKPATH_TEST_CLAIMED_NODE";

/// A replay on two lcores, after `claim` has said on which node the second one's CPU is.
fn placed(claimed: Option<u32>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 2000 --symbols 20");
    let file = PipelineFile::parse(&shipped("itch-2-lcores").to_string()).unwrap();
    let request = Request { mode: Mode::Replay, eal_args: Vec::new(), capture_ports: Vec::new() };
    let mut plan = Plan::new(&file, &HostFacts::read([]), &request).unwrap();
    if let Some(node) = claimed {
        plan.lcores[1].cpu_node = node;
    }
    let options = options(BTreeMap::from([("feed".to_owned(), vec![capture])]));
    static STOP: AtomicBool = AtomicBool::new(false);
    let outcome = launch(&plan, &Program::shipped(), &options, &Controls::only(&STOP), |_| {}).unwrap();
    outcome.summary.placement.unwrap()
}

/// In a process of its own: EAL starts once in one.
fn in_a_child(test: &str, claimed: Option<u32>) -> bool {
    if std::env::var_os(CLAIMED).is_some() {
        return false;
    }
    let mut child = common::again(test);
    // With one arena of the C library for all threads no lcore has a heap of its own.
    child.env_remove("MALLOC_ARENA_MAX").env_remove("GLIBC_TUNABLES");
    child.env(CLAIMED, claimed.map_or(String::new(), |node| node.to_string()));
    let output = replay::finish(child);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    print!("{}", text(&output.stdout));
    true
}

#[test]
fn every_kind_of_region_of_a_launched_plan_is_found_and_lies_somewhere() {
    if in_a_child("every_kind_of_region_of_a_launched_plan_is_found_and_lies_somewhere", None) {
        return;
    }
    let report = placed(None);
    if let Some(why) = report.unknown {
        return println!("skipped: the kernel does not tell nodes of pages: {why}");
    }
    let kinds: BTreeSet<Kind> = report.regions.iter().map(|region| region.kind).collect();
    for kind in [
        Kind::Pool,
        Kind::Ring,
        Kind::Arena,
        Kind::State,
        Kind::Stack,
        Kind::Heap,
        Kind::Text,
        Kind::Rodata,
        Kind::Data,
        Kind::Library,
    ] {
        assert!(kinds.contains(&kind), "{kind:?} is not in {kinds:?}");
    }
    for region in &report.regions {
        assert!(region.nodes.values().sum::<u64>() > 0, "{region:?}");
    }
    let names =
        |kind| report.regions.iter().filter(move |region| region.kind == kind).map(|region| region.name.as_str());
    assert_eq!(names(Kind::Arena).collect::<Vec<_>>(), ["arena-1", "arena-2"]);
    assert_eq!(names(Kind::Stack).collect::<Vec<_>>(), ["lcore 1", "lcore 2"]);
    assert_eq!(names(Kind::Heap).collect::<Vec<_>>(), ["lcore 1", "lcore 2"]);
    let shared: Vec<_> = report.findings.iter().filter(|finding| finding.id == "placement.shared_line").collect();
    assert!(shared.is_empty(), "{shared:?}");
    if report.host_nodes == 1 {
        assert!(report.misplaced().values().all(|pages| *pages == 0), "{report:?}");
    }
}

#[test]
fn memory_of_an_lcore_on_another_node_is_named_and_nothing_else_is() {
    let nowhere = 63;
    if in_a_child("memory_of_an_lcore_on_another_node_is_named_and_nothing_else_is", Some(nowhere)) {
        return;
    }
    let report = placed(Some(nowhere));
    if let Some(why) = report.unknown {
        return println!("skipped: the kernel does not tell nodes of pages: {why}");
    }
    let wrong = report.findings.iter().filter(|finding| finding.id == "placement.node");
    let named: Vec<&str> = wrong.map(|finding| finding.found.split(':').next().unwrap()).collect();
    // On a host of several nodes what all lcores share may lie elsewhere too.
    let common = |name: &&str| ["library", "text", "rodata", "data"].contains(&name.split(' ').next().unwrap());
    let own: Vec<&str> = named.iter().copied().filter(|name| !common(name) && *name != "state shared").collect();
    assert_eq!(own, ["arena arena-2", "state lcore 2", "stack lcore 2", "heap lcore 2"], "{named:?}");
    let arena = report.regions.iter().find(|region| region.name == "arena-2").unwrap();
    assert_eq!(arena.wanted_nodes, [nowhere]);
    assert!(arena.misplaced_pages > 0 && !arena.nodes.contains_key(&nowhere));
}

#[test]
fn the_program_in_hugepages_makes_the_same_orders() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 20000 --symbols 50");
    let mut file = shipped("itch-1-lcore");
    let plain = replay::replay(&file, &capture);
    file["text"] = json!("huge");
    let huge = replay::replay(&file, &capture);
    assert_eq!(huge.orders(), plain.orders());
    let in_hugepages = |summary: &Value| -> u64 {
        let regions = summary["placement"]["regions"].as_array().unwrap();
        let text = regions.iter().filter(|region| region["kind"] == "text");
        text.map(|region| region["pages"].get("2097152").map_or(0, number)).sum()
    };
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if setting.is_empty() || setting.contains("[never]") {
        return println!("skipped: this kernel has no transparent hugepages");
    }
    assert_eq!(in_hugepages(&plain.summary), 0);
    let none_left = huge.summary["placement"]["findings"].to_string().contains("text");
    assert!(in_hugepages(&huge.summary) > 0 || none_left, "{}", huge.summary["placement"]);
}

#[test]
fn a_running_instance_is_asked_from_outside() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": "net_null0" },
        { "name": "orders", "driver": "ethdev", "device": "net_null1" },
    ]);
    file["control"] = json!(control);
    file["placement"] = json!("strict");
    let pipeline = write_json(folder.path(), "pipeline.json", &file);
    let mut command = tickpath();
    command.env_remove("MALLOC_ARENA_MAX").env_remove("GLIBC_TUNABLES");
    command.args(["run", "--metrics", "off"]).arg(&pipeline).arg("--").args(replay::eal());
    command.args(["--vdev=net_null0", "--vdev=net_null1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let polls = || std::os::unix::net::UnixStream::connect(&control).is_ok();
    while !polls() && child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let check = |with: &[&str]| {
        let mut command = tickpath();
        command.arg("check").args(with).args(["--json", "--pid", &child.id().to_string()]);
        let output = replay::finish(command);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
    };
    let (by_plan, by_mappings) = (check(&[pipeline.to_str().unwrap()]), check(&[]));
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let output = replay::wait(child).expect("it hangs after the signal");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("\nplacement: "), "{}", text(&output.stderr));
    let kinds = |report: &Value| -> BTreeSet<String> {
        report["regions"].as_array().unwrap().iter().map(|region| region["kind"].as_str().unwrap().to_owned()).collect()
    };
    for kind in ["pool", "arena", "state", "stack", "heap", "text", "rodata", "data", "library"] {
        assert!(kinds(&by_plan).contains(kind), "{kind}: {by_plan}");
    }
    assert_eq!(kinds(&by_mappings), ["data", "eal", "library", "rodata", "text"].map(String::from).into());
    let arena = by_plan["regions"].as_array().unwrap().iter().find(|region| region["kind"] == "arena").unwrap();
    assert!(number(&arena["wanted_page_bytes"]) == 2 << 20 && !arena["pages"].as_object().unwrap().is_empty());
}
