//! `tickpath pingpong`: a loop within the process, both ends over a veth pair, and nobody at the other end.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;
#[path = "common/net.rs"]
mod net;
#[path = "common/replay.rs"]
mod replay;

use net::{Net, until};
use replay::text;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const TICKPATH: &str = env!("CARGO_BIN_EXE_tickpath");

fn played(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

#[test]
fn a_loop_is_played_to_its_end_and_every_payload_comes_back_whole() {
    let mut command = Command::new(TICKPATH);
    command.args(["pingpong", "--port", "net_ring0", "--count", "5000", "--warmup", "100", "--bytes", "200", "--json"]);
    command.arg("--").args(replay::eal()).args(["--lcores=0@0", "--vdev=net_ring0"]);
    let output = replay::finish(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = played(&output);
    assert_eq!((&report["role"], &report["driver"]), (&"loop".into(), &"net_ring".into()));
    for (field, expected) in [("rounds", 5000), ("payload_bytes", 200), ("lost", 0), ("late", 0), ("damaged", 0)] {
        assert_eq!(report[field], expected, "{field}: {report}");
    }
    let half = &report["half_round_trip_ns"];
    let figures = ["min", "p50", "p90", "p99", "p999", "max"].map(|figure| half[figure].as_u64().unwrap());
    assert!(figures.is_sorted() && figures[0] > 0, "{half}");
}

#[test]
fn frames_of_others_are_no_answer_and_silence_is_a_failure_with_a_question() {
    let mut command = Command::new(TICKPATH);
    command.args(["pingpong", "--port", "net_null0", "--role", "ping", "--"]);
    command.args(replay::eal()).args(["--lcores=0@0", "--vdev=net_null0"]);
    let output = replay::finish(command);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("does the other end run (--role pong)?"), "{}", text(&output.stderr));
}

#[test]
fn a_wire_has_two_ends_and_each_its_lcore() {
    let refused = |ports: &[&str], expected: &str| {
        let mut command = Command::new(TICKPATH);
        command.arg("pingpong").args(ports.iter().flat_map(|port| ["--port", port])).arg("--");
        command.args(replay::eal()).args(["--lcores=0@0", "--vdev=net_ring0", "--vdev=net_ring1"]);
        let output = replay::finish(command);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    };
    refused(&["net_ring0", "net_ring1", "net_ring2"], "a wire has two ends");
    refused(&["net_ring0", "net_ring1"], "two ends need two lcores");
}

#[cfg(feature = "ef_vi")]
#[test]
fn both_ends_play_over_the_wire_of_the_test_double_and_it_is_said_to_be_one() {
    if !tickpath::efvi::IS_DOUBLE || !replay::two_cpus() {
        println!("skipped: on the library of a card, or one CPU");
        return;
    }
    let script = tempfile::NamedTempFile::new().unwrap();
    let wired = "interface double0 ef10 101 0 02:00:00:00:00:01\ninterface double1 ef10 102 0 02:00:00:00:00:02\n\
                 wire double0 double1\nset double0 ctpio-lose-every 10\nset double1 ctpio-poison-every 20\n";
    std::fs::write(script.path(), wired).unwrap();
    let mut command = Command::new(TICKPATH);
    command.args(["pingpong", "--driver", "ef_vi", "--interface", "double0", "--interface", "double1", "--json"]);
    command.args(["--count", "2000", "--warmup", "0", "--bytes", "200", "--"]).args(replay::eal());
    command.args(["--lcores=(0,1)@(0,1)"]).env(tickpath::efvi::DOUBLE_SCRIPT, script.path());
    let output = replay::finish(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("TEST DOUBLE"));
    let report = played(&output);
    for (field, expected) in [("rounds", 2000), ("answered", 2000), ("lost", 0), ("damaged", 0)] {
        assert_eq!(report[field], expected, "{field}: {report}");
    }
    assert_eq!((&report["test_double"], &report["ctpio"]["fallbacks"]), (&true.into(), &300.into()), "{report}");
    assert_eq!(report["ctpio"]["won"], 3700, "{report}");
}

#[test]
fn two_programs_play_over_a_wire() {
    if !day::namespaces() || !replay::two_cpus() {
        return;
    }
    let net = Net::new("pp");
    let end = |namespace: &str, cpu: u32, interface: &str, role: &str| {
        let mut command = net.exec(namespace, Path::new(TICKPATH));
        command.args([
            "pingpong",
            "--port",
            "net_af_packet0",
            "--count",
            "500",
            "--warmup",
            "10",
            "--json",
            "--role",
            role,
        ]);
        command.arg("--").args(replay::eal());
        command.args([format!("--lcores=0@{cpu}"), format!("--vdev=net_af_packet0,iface={interface}")]);
        command
    };
    let pong = end(&net.router, 0, "x0", "pong").spawn().unwrap();
    let mut pinged = None;
    // The other end starts when it starts.
    until("both ends play", || {
        let output = replay::finish(end(&net.host, 1, "h0", "ping"));
        let done = !output.stdout.is_empty();
        pinged = Some(output);
        done
    });
    // SAFETY: a signal to a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pong.id() as i32, libc::SIGTERM) }, 0);
    let (ping, pong) = (played(&pinged.unwrap()), played(&pong.wait_with_output().unwrap()));
    assert_eq!((ping["rounds"].as_u64(), ping["damaged"].as_u64()), (Some(500), Some(0)), "{ping}");
    assert!(pong["answered"].as_u64() >= Some(510) && pong["damaged"] == 0, "{pong}");
}
