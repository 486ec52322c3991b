//! Any bytes as a pipeline file: refused with an error that can be printed, or planned, on a laptop and on a server.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::pipeline::host::{Cpu, HostFacts};
use tickpath::pipeline::plan::{Mode, Plan, Request};
use tickpath::pipeline::{PipelineFile, table};

fuzz_target!(|text: &str| {
    let file = match PipelineFile::parse(text) {
        Ok(file) => file,
        Err(err) => {
            std::hint::black_box((err.to_string(), err.help()));
            return;
        }
    };
    for (cpus, mode) in [(2, Mode::Replay), (256, Mode::Replay), (256, Mode::Run)] {
        let host = HostFacts {
            cpus: (0..cpus).map(|id| Cpu { id, node: id / 128 }).collect(),
            available_bytes: Some(8 << 30),
            ..HostFacts::default()
        };
        let request = Request { mode, eal_args: Vec::new(), capture_ports: Vec::new() };
        match Plan::new(&file, &host, &request) {
            Ok(plan) => {
                std::hint::black_box(table::render(&plan));
                let stages =
                    plan.lcores.iter().flat_map(|l| &l.segments).map(|s| s.last as usize - s.first as usize + 1);
                assert_eq!(stages.sum::<usize>(), plan.venues.len() * 5);
            }
            Err(err) => drop(std::hint::black_box((err.to_string(), err.help()))),
        }
    }
});
