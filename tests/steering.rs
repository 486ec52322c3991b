//! Queues and links of a device that is not ours alone: a tap of the kernel, which takes flow rules apart and then has no
//! classifier for them.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;
#[path = "common/net.rs"]
mod net;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use day::namespaces;
use net::{Net, ip, until};
use replay::{number, shipped, synth, text, two_cpus, wait_until_polling, write_json};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Output};
use tickpath::control::ask;

/// The captures that the child process sends into the tap, one a line.
const SEND: &str = "TICKPATH_TEST_SEND";

/// Two venues of the shipped file, each on a queue of its own of one tap.
fn two_venues(folder: &Path) -> Value {
    let mut file = shipped("twelve-venues");
    file["ports"] = json!([
        { "name": "feeds", "driver": "ethdev", "device": "net_tap0" },
        { "name": "orders", "driver": "ethdev", "device": "net_null1" },
    ]);
    file["lcores"] = json!([]);
    file["control"] = json!(folder.join("control"));
    let venues = file["venues"].as_array_mut().unwrap();
    venues.remove(1);
    venues.truncate(2);
    for (queue, venue) in venues.iter_mut().enumerate() {
        venue["feed"]["lines"][0]["port"] = json!("feeds");
        venue["feed"]["lines"][0]["queue"] = json!(queue);
        venue["orders"]["queue"] = json!(queue);
        for stage in ["rx", "parse", "strategy", "encode", "tx"] {
            venue["stages"][stage]["lcore"] = json!(1);
        }
    }
    file
}

/// The program, polling the tap `t0` in the host's namespace.
fn start(net: &Net, folder: &Path, file: &Value) -> Child {
    let mut run = net.exec(&net.host, Path::new(env!("CARGO_BIN_EXE_tickpath")));
    run.args(["run", "--metrics", "off", "--summary"]).arg(folder.join("summary.json"));
    run.arg(write_json(folder, "p.json", file)).arg("--").args(replay::eal());
    run.args(["--vdev=net_tap0,iface=t0", "--vdev=net_null1"]);
    let mut child = run.spawn().unwrap();
    if !wait_until_polling(&mut child) {
        let output = replay::wait(child).unwrap();
        panic!("it never polled: {}", text(&output.stderr));
    }
    child
}

fn stop(child: Child) -> Output {
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = replay::wait(child).expect("it hangs after the signal");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    output
}

#[test]
fn a_device_that_refuses_flow_rules_is_named_and_its_packets_are_sorted_here() {
    if !namespaces() || !two_cpus() {
        return;
    }
    let (net, folder) = (Net::new("s"), tempfile::tempdir().unwrap());
    let file = two_venues(folder.path());
    let market = |(seed, venue): (usize, &Value)| {
        let group = venue["feed"]["lines"][0]["groups"][0].as_str().unwrap();
        let options = format!("--seed {seed} --messages 3000 --symbols 20 --group {group}");
        synth(folder.path(), &format!("{seed}.pcap"), &options).0
    };
    let captures: Vec<_> = file["venues"].as_array().unwrap().iter().enumerate().map(market).collect();
    let child = start(&net, folder.path(), &file);
    let mut sends = net.exec(&net.host, &std::env::current_exe().unwrap());
    let list: Vec<&str> = captures.iter().map(|path| path.to_str().unwrap()).collect();
    sends.args(["child_that_sends", "--exact", "--nocapture"]).env(SEND, list.join("\n"));
    let sent = sends.output().unwrap();
    assert!(sent.status.success(), "{}{}", text(&sent.stdout), text(&sent.stderr));
    let expected: Vec<u64> = captures.iter().map(|capture| oracle::frames(capture).len() as u64).collect();
    until("every frame has come", || {
        let status = ask(&folder.path().join("control"), "status").unwrap();
        status.venues.iter().map(|venue| venue.frames).collect::<Vec<_>>() == expected
    });
    let output = stop(child);
    let said = text(&output.stderr);
    assert!(said.contains("port feeds: net_tap0 does not steer: "), "{said}");
    assert!(said.contains("port feeds: net_tap0 (net_tap): checksums verified in the device, "), "{said}");
    assert!(said.contains("lcore 1 receives for itch-1, itch-2"), "{said}");
    let summary: Value = serde_json::from_slice(&std::fs::read(folder.path().join("summary.json")).unwrap()).unwrap();
    replay::check(&summary);
    for (venue, frames) in file["venues"].as_array().unwrap().iter().zip(expected) {
        let stages = &summary["ledger"][venue["name"].as_str().unwrap()];
        assert_eq!(number(&stages[0]["in"]), frames, "{summary:#}");
        assert!(stages[1]["dropped"].get("other group").is_none(), "{stages}");
    }
}

#[test]
fn a_venue_pauses_while_its_feed_has_no_link_and_resumes_after() {
    if !namespaces() || !two_cpus() {
        return;
    }
    let (net, folder) = (Net::new("l"), tempfile::tempdir().unwrap());
    let child = start(&net, folder.path(), &two_venues(folder.path()));
    let paused = || {
        let status = ask(&folder.path().join("control"), "status").unwrap();
        status.venues.iter().map(|venue| venue.paused).collect::<Vec<_>>()
    };
    until("it trades", || paused() == [false, false]);
    ip(&format!("-n {} link set t0 down", net.host));
    until("both pause", || paused() == [true, true]);
    // A person's word does not bring the link back.
    ask(&folder.path().join("control"), "resume").unwrap();
    assert_eq!(paused(), [true, true]);
    ip(&format!("-n {} link set t0 up", net.host));
    until("both resume", || paused() == [false, false]);
    let output = stop(child);
    let said = text(&output.stderr) + &text(&output.stdout);
    for line in ["port feeds: link down", "venue itch-1 pauses: no link", "port feeds: link up", "venue itch-2 resumes"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("warning: port feeds: losses of its link 1, resets 0"), "{said}");
}

#[test]
fn child_that_sends() {
    let Ok(captures) = std::env::var(SEND) else { return };
    let frames = captures.lines().flat_map(|path| oracle::frames(Path::new(path)));
    net::send("t0", frames.map(|frame| frame.bytes));
}
