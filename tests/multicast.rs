//! Groups of a port that the kernel does not own are joined, kept when a router asks, and left: seen by tshark at the other
//! end of a veth pair.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;
#[path = "common/net.rs"]
mod net;
#[path = "common/replay.rs"]
mod replay;

use day::namespaces;
use net::{Net, until};
use replay::{shipped, text, two_cpus, wait_until_polling, write_json};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command};

/// The interface on which the child process asks.
const ASK_ON: &str = "TICKPATH_TEST_ASK_ON";

/// A child that is ended with what started it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What tshark says of every IGMP message: addresses, time to live, whether a Router Alert is there, type, whether the checksum is
/// right, kinds of its records, groups.
fn messages(capture: &Path) -> Vec<[String; 8]> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args([
        "-Y",
        "igmp",
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-o",
        "ip.check_checksum:TRUE",
    ]);
    let fields = ["eth.dst", "ip.dst", "ip.ttl", "ip.opt.ra", "igmp.type", "igmp.checksum.status", "igmp.record_type"];
    for field in fields.iter().chain(["igmp.maddr", "ip.checksum.status"].iter()) {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().unwrap();
    let line = |line: &str| {
        let mut cells: Vec<String> = line.split(';').map(str::to_owned).collect();
        assert_eq!(cells.pop().as_deref(), Some("1"), "the header's checksum is right: {line}");
        cells.try_into().unwrap()
    };
    text(&output.stdout).lines().map(line).collect()
}

/// Run a venue on the host's end; what the other end saw, once it joined, was asked, and left.
fn seen(test: &str, igmp: Value) -> Vec<[String; 8]> {
    let net = Net::new(test);
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("igmp.pcap");
    let mut tcpdump = net.exec(&net.router, Path::new("tcpdump"));
    tcpdump.args(["-U", "-i", "x0", "-w"]).arg(&capture).arg("igmp");
    let _tcpdump = Ended(tcpdump.spawn().unwrap());
    until("tcpdump listens", || capture.exists());

    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": "net_af_packet0", "igmp": igmp },
        { "name": "orders", "driver": "ethdev", "device": "net_null0" },
    ]);
    let second = json!({ "port": "feed", "groups": ["233.49.196.111:26477"] });
    file["venues"][0]["feed"]["lines"].as_array_mut().unwrap().push(second);
    let mut run = net.exec(&net.host, Path::new(env!("CARGO_BIN_EXE_tickpath")));
    run.args(["run", "--metrics", "off"]).arg(write_json(folder.path(), "p.json", &file)).arg("--");
    run.args(replay::eal()).args(["--vdev=net_af_packet0,iface=h0", "--vdev=net_null0"]);
    let mut child = run.spawn().unwrap();
    let polling = wait_until_polling(&mut child);
    if polling {
        until("it joins twice", || messages(&capture).len() >= if igmp["version"] == 2 { 4 } else { 2 });
        let before = messages(&capture).len();
        let mut asks = net.exec(&net.router, &std::env::current_exe().unwrap());
        asks.args(["child_that_asks", "--exact", "--nocapture"]).env(ASK_ON, "x0");
        let asked = asks.output().unwrap();
        assert!(asked.status.success(), "{}{}", text(&asked.stdout), text(&asked.stderr));
        until("it answers", || messages(&capture).len() > before + 1);
    }
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = replay::wait(child).expect("it hangs after the signal");
    assert!(polling && output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("IGMP query 1"), "{}", text(&output.stdout));
    until("it leaves", || {
        let messages = messages(&capture);
        messages.last().is_some_and(|last| last[4] == "0x17" || last[6].starts_with('3'))
    });
    messages(&capture)
}

const GROUPS: [&str; 2] = ["233.49.196.111", "233.54.12.111"];

#[test]
fn version_3_joins_answers_and_leaves_with_all_groups_in_one_report() {
    if !namespaces() || !two_cpus() {
        return;
    }
    let messages = seen("a", json!({ "address": "10.9.0.2" }));
    let (queries, reports): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message[4] == "0x11");
    assert_eq!(queries.len(), 1);
    let kinds: Vec<&str> = reports.iter().map(|report| report[6].as_str()).collect();
    assert_eq!(kinds, ["4,4", "4,4", "2,2", "3,3"], "joined twice, answered, left");
    for [mac, to, ttl, alert, kind, checksum, _, groups] in &reports {
        assert_eq!([mac.as_str(), to, ttl, kind, checksum], ["01:00:5e:00:00:16", "224.0.0.22", "1", "0x22", "1"]);
        assert_eq!((alert.as_str(), groups), ("0", &GROUPS.join(",")));
    }
}

#[test]
fn version_2_joins_answers_and_leaves_group_by_group() {
    if !namespaces() || !two_cpus() {
        return;
    }
    let messages = seen("b", json!({ "version": 2, "address": "10.9.0.2" }));
    let reports: Vec<_> = messages.into_iter().filter(|message| message[4] != "0x11").collect();
    let said: Vec<(&str, &str)> = reports.iter().map(|r| (r[4].as_str(), r[7].as_str())).collect();
    let each = |kind| GROUPS.map(|group| (kind, group));
    assert_eq!(said, [each("0x16"), each("0x16"), each("0x16"), each("0x17")].concat());
    for [_, to, ttl, alert, kind, checksum, _, group] in &reports {
        assert_eq!(to, if kind == "0x16" { group } else { "224.0.0.2" });
        assert_eq!([ttl.as_str(), alert, checksum], ["1", "0", "1"]);
    }
}

/// A router's query to all groups, RFC 2236: the sums were taken by an independent program.
#[test]
fn child_that_asks() {
    let Ok(interface) = std::env::var(ASK_ON) else { return };
    let query = [
        0x01, 0x00, 0x5e, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00, 0x46, 0xc0, 0x00, 0x20,
        0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xfa, 0x0c, 0x0a, 0x09, 0x00, 0x01, 0xe0, 0x00, 0x00, 0x01, 0x94, 0x04,
        0x00, 0x00, 0x11, 0x64, 0xee, 0x9b, 0x00, 0x00, 0x00, 0x00,
    ];
    net::send(&interface, std::iter::once(query.to_vec()));
}
