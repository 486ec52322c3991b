//! Paced replays of one capture on a hot CPU, with something done to some of them, and what the verdict makes of them.

use super::replay::{self, finish, shipped, synth, tickpath, write_json};
use serde_json::Value;
use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Child, Command};
use tickpath::latency::drift::{Comparison, Finding};
use tickpath::latency::hop::Hop;

/// Runs of the baseline and of now, made in turns, so that neither side has the quieter minute. Many and short: on a
/// virtual machine a hop's median differs by a fifth and more from run to run, and six runs do not tell how much.
pub const BASELINE: usize = 10;
pub const NOW: usize = 5;

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub capture: PathBuf,
    pub made: Cell<usize>,
}

impl Bench {
    /// A second of so many packets, far more of them with an order than a handful of symbols would cause.
    pub fn new(packets: u32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("--seed 7 --messages {packets} --symbols 500 --rate {packets} --messages-per-packet 1");
        let (capture, _) = synth(folder.path(), "a.pcap", &options);
        Bench { folder, capture, made: Cell::new(0) }
    }

    /// A folder with the trace of one replay.
    pub fn run(&self, file: &Value, options: &[String]) -> PathBuf {
        let number = self.made.replace(self.made.get() + 1);
        let traces = self.folder.path().join(format!("trace-{number}"));
        let pipeline = write_json(self.folder.path(), "pipeline.json", file);
        let mut command = tickpath();
        command.arg("replay").arg(pipeline).arg(&self.capture).args(["--speed", "1x"]);
        command.arg("--trace").arg(&traces).args(options).arg("--").args(replay::eal());
        let output = finish(command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        traces
    }

    /// Medians of the software's hops in two runs made for that, in ns; none where the machine is too busy for them.
    pub fn medians(&self) -> Vec<(Hop, f64)> {
        let pilots = [self.run(&pipeline(), &[]), self.run(&pipeline(), &[])];
        let (comparison, ..) = report(&pilots[..1], &pilots[1..]);
        let hops = comparison.venues.iter().flat_map(|venue| &venue.hops).filter(|at| Hop::SOFTWARE.contains(&at.hop));
        hops.map(|at| (at.hop, at.p50.baseline)).collect()
    }
}

pub fn pipeline() -> Value {
    shipped("itch-1-lcore")
}

/// Options of a replay that loses so many ns in each of these hops.
pub fn delays(of: &[(Hop, f64)]) -> Vec<String> {
    let option = |(hop, ns): &(Hop, f64)| ["--inject-delay".to_owned(), format!("{}={ns:.0}ns", hop.key())];
    of.iter().flat_map(option).collect()
}

/// Spins on the hot CPU until it is dropped.
pub struct Neighbour(Child);

impl Neighbour {
    pub fn new() -> Neighbour {
        let mut command = Command::new("taskset");
        Neighbour(command.args(["-c", "1", "sh", "-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // It ends when it is killed, and was never waited for before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `tickpath report --against` says, and its exit code.
pub fn report(now: &[PathBuf], baseline: &[PathBuf]) -> (Comparison, i32, String) {
    let run = |json: bool| {
        let mut command = tickpath();
        command.arg("report").args(now).arg("--against").args(baseline);
        if json {
            command.arg("--json");
        }
        finish(command)
    };
    let (json, text) = (run(true), run(false));
    let both: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|err| {
        panic!("{err}: {}{}", String::from_utf8_lossy(&json.stdout), String::from_utf8_lossy(&json.stderr))
    });
    let comparison = serde_json::from_value(both["comparison"].clone()).unwrap();
    assert_eq!(json.status.code(), text.status.code(), "the same traces have the same verdict");
    (comparison, json.status.code().unwrap(), String::from_utf8(text.stdout).unwrap())
}

pub fn findings(comparison: &Comparison) -> impl Iterator<Item = &Finding> {
    comparison.venues.iter().flat_map(|venue| &venue.findings)
}
