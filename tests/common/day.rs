//! A day of trading by the script that `make demo` runs: two network namespaces, the simulated exchange on kernel
//! sockets in one, a venue over net_af_packet in the other; and what both leave behind.

#![allow(dead_code)]

use super::common;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tickpath::control::{VenueState, ask};

/// Whether namespaces can be made here, after saying why not: that is root's business, and not every container's.
///
/// # Panics
/// When a tool is missing and TICKPATH_CAPTURES_REQUIRED is 1: a skip is a failure there.
pub fn namespaces() -> bool {
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

/// Waits for a state of the venue, for a minute at most.
pub fn until(folder: &Path, what: &str, mut reached: impl FnMut(&VenueState) -> bool) -> VenueState {
    let (began, mut last) = (Instant::now(), None);
    while began.elapsed() < Duration::from_secs(60) {
        match ask(&folder.join("control"), "status").ok().and_then(|mut answer| answer.venues.pop()) {
            Some(state) if reached(&state) => return state,
            state => last = state.or(last),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = std::fs::read_to_string(folder.join("host.log")).unwrap_or_default();
    panic!("not in a minute: {what}, but {last:?}; {log}");
}

/// Orders that may stand at the exchange.
pub fn standing(state: &VenueState) -> u64 {
    state.session.map_or(0, |session| session.standing)
}

/// A program in tickpath's place: for `run` it does `run`, else it is tickpath.
pub fn program(folder: &Path, run: &str) -> PathBuf {
    let path = folder.join("program");
    std::fs::write(
        &path,
        format!("#!/bin/bash\n[ \"$1\" = run ] || exec {} \"$@\"\n{run}\n", env!("CARGO_BIN_EXE_tickpath")),
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub struct Day {
    folder: tempfile::TempDir,
    /// What the script printed.
    pub text: String,
}

/// The demo's pipeline file, changed: its path.
pub fn pipeline(folder: &Path, change: impl FnOnce(&mut Value)) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/demo.json")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    change(&mut file);
    let path = folder.join("pipeline.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

impl Day {
    pub fn trade(seconds: u32, variables: &[(&str, &str)]) -> Day {
        Day::trade_and(seconds, variables, |_| {})
    }

    /// The same, and something done to it meanwhile.
    pub fn trade_and(seconds: u32, variables: &[(&str, &str)], during: impl FnOnce(&Path)) -> Day {
        Day::trade_with(Path::new(env!("CARGO_BIN_EXE_tickpath")), seconds, variables, during)
    }

    /// The same, with another program in tickpath's place.
    pub fn trade_with(program: &Path, seconds: u32, variables: &[(&str, &str)], during: impl FnOnce(&Path)) -> Day {
        // One at a time: each has an lcore that spins.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo"));
        command.arg(program).arg(folder.path()).arg(seconds.to_string());
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        during(folder.path());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        Day { folder, text }
    }

    /// What the venue said beside its account.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("host.log")).unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// These columns of the trace's rows.
    pub fn rows<const N: usize>(&self, columns: [&str; N]) -> Vec<[String; N]> {
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
    pub fn filled(&self) -> BTreeMap<u64, u64> {
        let mut filled = BTreeMap::new();
        for [_, id, qty] in self.rows(["kind", "order_id", "qty"]).iter().filter(|[kind, ..]| kind == "filled") {
            *filled.entry(id.parse().unwrap()).or_default() += qty.parse::<u64>().unwrap();
        }
        filled
    }

    /// Nothing stands; every share filled is filled on both sides; and so are the positions.
    pub fn agrees_on_orders(&self, exchange: &Value, host: &Value) {
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
    pub fn agrees_on_books(&self) {
        let ours = self.lines("host-books.jsonl");
        assert!(ours.iter().all(|book| book["stale"] == false), "a book is stale at the end: {}", self.text);
        self.agrees_on_fresh_books();
    }

    /// Books that are fresh are the same; without loss at the very end all are.
    pub fn agrees_on_fresh_books(&self) {
        let (mut ours, theirs) = (self.lines("host-books.jsonl"), self.lines("exchange-books.jsonl"));
        let stale: BTreeSet<String> = ours
            .extract_if(.., |book| book["stale"] == true)
            .map(|book| book["symbol"].as_str().unwrap().to_owned())
            .collect();
        let top = |books: Vec<Value>| -> BTreeMap<String, [Vec<Value>; 2]> {
            let best = |book: &Value, side: &str| book[side].as_array().unwrap().iter().take(5).cloned().collect();
            let named = |book: Value| {
                (book["symbol"].as_str().unwrap().to_owned(), ["bids", "asks"].map(|side| best(&book, side)))
            };
            books.into_iter().map(named).collect()
        };
        let (ours, theirs) = (top(ours), top(theirs));
        for (symbol, book) in theirs.iter().filter(|(symbol, _)| !stale.contains(*symbol)) {
            assert_eq!(ours.get(symbol), Some(book), "{symbol}");
        }
    }
}
