//! The shipped pipeline files, the plans they make and the errors that broken ones give.

use std::collections::BTreeMap;
use std::path::PathBuf;
use tickpath::pipeline::file::PipelineFile;
use tickpath::pipeline::host::{Cpu, HostFacts};
use tickpath::pipeline::plan::{Mode, Plan, Request};

fn shipped() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn host(cpus: u32) -> HostFacts {
    HostFacts {
        cpus: (0..cpus).map(|id| Cpu { id, node: 0 }).collect(),
        available_bytes: Some(8 << 30),
        hugepages: Vec::new(),
        device_nodes: BTreeMap::new(),
        process: 77,
    }
}

fn replay() -> Request {
    Request { mode: Mode::Replay, eal_args: Vec::new(), capture_ports: Vec::new() }
}

#[test]
fn every_shipped_file_plans_on_a_laptop_and_on_a_host() {
    let files = shipped();
    assert_eq!(files.len(), 7);
    for (name, text) in files {
        let file = PipelineFile::parse(&text).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert!(file.about.is_some(), "{name} says what it is for");
        for cpus in [1, 2, 8] {
            let plan = Plan::new(&file, &host(cpus), &replay()).unwrap();
            assert_eq!(plan.oversubscribed, cpus as usize <= plan.lcores.len(), "{name} on {cpus} CPUs");
            plan.ready().unwrap();
            println!("{name} {:?} {} MiB", plan.eal_args, plan.eal_bytes() >> 20);
        }
    }
}
