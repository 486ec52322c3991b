//! A venue trades against the simulated exchange over veth, in namespaces of their own, by the script that `make demo`
//! runs. Two programs with two TCP stacks and two parsers have to agree on everything.

#![cfg(feature = "dpdk")]

mod common;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Whether namespaces can be made here, after saying why not: that is root's business, and not every container's.
///
/// # Panics
/// When a tool is missing and TICKPATH_CAPTURES_REQUIRED is 1: a skip is a failure there.
fn namespaces() -> bool {
    for (tool, package) in [("ip", "iproute2"), ("ethtool", "ethtool"), ("tcpdump", "tcpdump"), ("tshark", "tshark")] {
        let mut command = Command::new(tool);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        match common::tool(&mut command, package) {
            Some(mut child) => drop(child.wait()),
            None => return false,
        }
    }
    static TRIES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let name = format!("tpt{}-{}", std::process::id(), TRIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
    if made.status.success() {
        assert!(Command::new("ip").args(["netns", "del", &name]).status().unwrap().success());
        return true;
    }
    println!("skipped: no network namespace: {}", String::from_utf8_lossy(&made.stderr));
    false
}

struct Day {
    folder: tempfile::TempDir,
    text: String,
}

impl Day {
    fn trade(seconds: u32, variables: &[(&str, &str)]) -> Day {
        Day::trade_and(seconds, variables, |_| {})
    }

    /// The same, and something done to it meanwhile.
    fn trade_and(seconds: u32, variables: &[(&str, &str)], during: impl FnOnce(&Path)) -> Day {
        // One at a time: each has an lcore that spins.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo"));
        command.arg(env!("CARGO_BIN_EXE_tickpath")).arg(folder.path()).arg(seconds.to_string());
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        during(folder.path());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        Day { folder, text }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// These columns of the trace's rows.
    fn rows<const N: usize>(&self, columns: [&str; N]) -> Vec<[String; N]> {
        let csv = self.path("rows.csv");
        let mut report = Command::new(env!("CARGO_BIN_EXE_tickpath"));
        let status = report.arg("report").arg(self.path("trace")).arg("--csv").arg(&csv).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
        let text = std::fs::read_to_string(csv).unwrap();
        let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = rows.next().unwrap();
        let places = columns.map(|name| header.iter().position(|column| *column == name).unwrap());
        rows.map(|row| places.map(|at| row[at].to_owned())).collect()
    }

    /// Shares filled of each order, as the venue's trace has them.
    fn filled(&self) -> BTreeMap<u64, u64> {
        let mut filled = BTreeMap::new();
        for [_, id, qty] in self.rows(["kind", "order_id", "qty"]).iter().filter(|[kind, ..]| kind == "filled") {
            *filled.entry(id.parse().unwrap()).or_default() += qty.parse::<u64>().unwrap();
        }
        filled
    }

    /// Nothing stands; every share filled is filled on both sides; and so are the positions.
    fn agrees_on_orders(&self, exchange: &Value, host: &Value) {
        let orders = self.lines("exchange-orders.jsonl");
        assert!(orders.iter().all(|order| order["leaves"] == 0), "an order stands after the venue has stopped");
        let theirs: BTreeMap<u64, u64> = orders
            .iter()
            .map(|order| (order["urn"].as_u64().unwrap(), order["filled"].as_u64().unwrap()))
            .filter(|(_, filled)| *filled > 0)
            .collect();
        assert_eq!(self.filled(), theirs);
        let mut positions = exchange["positions"].as_object().unwrap().clone();
        positions.retain(|_, shares| *shares != 0);
        assert_eq!(host["positions"]["demo"].as_object(), Some(&positions));
    }

    /// Books are fresh, and the same.
    fn agrees_on_books(&self) {
        let (ours, theirs) = (self.lines("host-books.jsonl"), self.lines("exchange-books.jsonl"));
        assert!(ours.iter().all(|book| book["stale"] == false), "a book is stale at the end: {}", self.text);
        let top = |books: Vec<Value>| -> BTreeMap<String, [Vec<Value>; 2]> {
            let best = |book: &Value, side: &str| book[side].as_array().unwrap().iter().take(5).cloned().collect();
            let named = |book: Value| {
                (book["symbol"].as_str().unwrap().to_owned(), ["bids", "asks"].map(|side| best(&book, side)))
            };
            books.into_iter().map(named).collect()
        };
        let (ours, theirs) = (top(ours), top(theirs));
        for (symbol, book) in &theirs {
            assert_eq!(ours.get(symbol), Some(book), "{symbol}");
        }
    }
}

/// Frames of a capture that a display filter of tshark finds.
fn frames(capture: &Path, filter: &str) -> usize {
    let mut command = Command::new("tshark");
    command.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-d", "tcp.port==26400,soupbintcp"]);
    let output = command.arg("-r").arg(capture).args(["-Y", filter]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn a_venue_and_an_exchange_agree_on_every_order_and_every_book() {
    if !namespaces() {
        return;
    }
    let day = Day::trade(4, &[]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    let sent: u64 = ["enter", "replace", "cancel"].iter().map(|kind| host["orders"][kind].as_u64().unwrap()).sum();
    assert!(sent > 100, "{}", day.text);
    assert_eq!(exchange["order_messages"].as_u64(), Some(sent));
    assert_eq!(exchange["order_session"]["logouts"], 1);

    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();

    for capture in ["orders-exchange.pcap", "orders-host.pcap"] {
        let capture = day.path(capture);
        assert_eq!(
            frames(&capture, "_ws.malformed || tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\""),
            0
        );
        assert!(frames(&capture, "soupbintcp") > 100);
    }
    assert!(day.text.contains("ledger balanced"), "{}", day.text);
    assert!(day.text.contains("doorbell→ack"), "{}", day.text);
}

#[test]
fn loss_on_both_lines_and_broken_connections_change_nothing_of_that() {
    if !namespaces() {
        return;
    }
    let day = Day::trade(5, &[("TICKPATH_DEMO_HARM", "1")]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert_eq!(exchange["order_session"]["cut_off"], 2, "{}", day.text);
    assert!(exchange["rerequests"]["answered"].as_u64().unwrap() > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
}

#[test]
fn after_a_kill_nothing_but_cancels_leaves() {
    if !namespaces() {
        return;
    }
    let ctl = |folder: &Path, command: &str| {
        let mut ctl = Command::new(env!("CARGO_BIN_EXE_tickpath"));
        ctl.arg("ctl").arg(folder.join("control")).arg(command).output().unwrap()
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut killed = 0;
    let day = Day::trade_and(5, &[], |folder| {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let traded = |output: &std::process::Output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.contains(": trading;") && !text.contains(" 0 orders")
        };
        while !traded(&ctl(folder, "status")) {
            assert!(std::time::Instant::now() < patience, "no order in a minute");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let output = ctl(folder, "kill");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("KILLED (command)"));
        killed = now();
    });
    let sent: Vec<(u64, String)> = day
        .rows(["kind", "order", "rx_ns"])
        .into_iter()
        .filter(|[kind, ..]| kind == "sent")
        .map(|[_, order, rx_ns]| (rx_ns.parse().unwrap_or(u64::MAX), order))
        .collect();
    assert!(sent.iter().any(|(at, order)| *at < killed && order == "enter"), "{}", day.text);
    let late = sent.iter().filter(|(at, order)| *at > killed && order != "cancel").count();
    assert_eq!(late, 0, "{}", day.text);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert!(host["counters"]["demo"]["swept"].as_u64().unwrap() > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
}
