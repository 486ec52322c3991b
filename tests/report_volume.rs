//! Ten million records: the report's time and memory, printed. Not a test of the clock: run it where nothing else runs.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/traces.rs"]
mod traces;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `cargo test --release --test report_volume ten -- --ignored --nocapture`; TICKPATH_VOLUME keeps the trace.
#[test]
#[ignore = "writes 1.3 GB"]
fn ten_million_records_are_reported_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("TICKPATH_VOLUME").map(PathBuf::from);
    let path = traces::natural(kept.as_deref().unwrap_or(folder.path()), 5_000_000, 4);
    for argument in ["--json", "--slowest=100"] {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickpath"));
        let mut child = command.args(["report", argument]).arg(&path).stdout(Stdio::null()).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let kib =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(kib.unwrap_or(0u64));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(child.wait().unwrap().success());
        println!("report {argument}: {:.2} s, {} MiB at most", began.elapsed().as_secs_f64(), peak / 1024);
        assert!(peak < 256 * 1024, "{peak} KiB");
    }
}

/// The trace that docs/report.png shows: `TICKPATH_VOLUME=DIR cargo test --test report_volume picture -- --ignored`.
#[test]
#[ignore = "writes 250 MB into TICKPATH_VOLUME"]
fn trace_of_the_picture() {
    let folder = std::env::var_os("TICKPATH_VOLUME").expect("TICKPATH_VOLUME names a folder");
    traces::natural(&PathBuf::from(folder), 1_000_000, 1);
}
