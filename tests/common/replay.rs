//! Runs the built program on captures and pipeline files of a test's own, and holds every run against what must always
//! be true of one: it ends, each stage's ledger balances and joins the next one's, and no mbuf is missing.

#![allow(dead_code)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tickpath::pipeline::launch::{Options, Stamping};
use tickpath::port::capture::{Pace, SourceOptions};

/// No run of these tests takes a tenth of it on a slow machine: whatever is still there then hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a replay left behind.
pub struct Replayed {
    /// `--summary`.
    pub summary: Value,
    /// The `--orders` file of each venue, whole, in the order of the pipeline file.
    pub orders: Vec<Vec<u8>>,
    /// `--books`, by symbol.
    pub books: BTreeMap<String, Value>,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

/// The program.
pub fn tickpath() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickpath"));
    command.env_remove("TICKPATH_LOG");
    super::common::dies_with_its_test(&mut command);
    command
}

/// A shipped pipeline file as JSON, its books sized for a test.
pub fn shipped(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let mut file: Value = serde_json::from_str(&text).unwrap();
    for venue in file["venues"].as_array_mut().unwrap() {
        venue["book"] = match venue["feed"]["protocol"].as_str() {
            Some("itch50") => json!({"instruments": 512, "orders": 65536, "depth_levels": 16, "spill_levels": 65536}),
            // The sample of captures names thousands of symbols.
            _ => json!({"depth_levels": 16, "spill_levels": 65536}),
        };
    }
    file
}

/// The same file, its first venue's stages on these lcores, in packet order.
pub fn on_lcores(mut file: Value, lcores: [u32; 5]) -> Value {
    for (stage, lcore) in ["rx", "parse", "strategy", "encode", "tx"].into_iter().zip(lcores) {
        file["venues"][0]["stages"][stage]["lcore"] = json!(lcore);
    }
    file
}

/// The same file, rx and tx of all venues with this burst.
pub fn in_bursts(mut file: Value, burst: u32) -> Value {
    for venue in file["venues"].as_array_mut().unwrap() {
        venue["stages"]["rx"]["burst"] = json!(burst);
        venue["stages"]["tx"]["burst"] = json!(burst);
    }
    file
}

/// The same file, every ring of all venues with this depth.
pub fn with_rings(mut file: Value, depth: u32) -> Value {
    for venue in file["venues"].as_array_mut().unwrap() {
        for ring in ["rx_parse", "parse_strategy", "strategy_encode", "encode_tx", "tx_strategy"] {
            venue["rings"][ring] = json!({ "depth": depth });
        }
    }
    file
}

/// The same file, the pools of all venues with so many mbufs.
pub fn with_pools(mut file: Value, feed: u32, orders: u32) -> Value {
    for venue in file["venues"].as_array_mut().unwrap() {
        venue["pools"] = json!({ "feed": feed, "orders": orders });
    }
    file
}

/// One venue of a file, with the ports it uses.
pub fn alone(file: &Value, venue: usize) -> Value {
    let mut file = file.clone();
    let mut venue = file["venues"][venue].clone();
    venue["orders"]["queue"] = json!(0);
    let used = [venue["feed"]["lines"][0]["port"].clone(), venue["orders"]["port"].clone()];
    file["ports"].as_array_mut().unwrap().retain(|port| used.contains(&port["name"]));
    file["venues"] = json!([venue]);
    file
}

/// `file` under `folder`.
pub fn write_json(folder: &Path, name: &str, file: &Value) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, serde_json::to_vec_pretty(file).unwrap()).unwrap();
    path
}

/// A generated capture and what `synth` says of it.
pub fn synth(folder: &Path, name: &str, options: &str) -> (PathBuf, Value) {
    let (path, account) = (folder.join(name), folder.join(format!("{name}.json")));
    let mut command = tickpath();
    command.arg("synth").arg(&path).args(options.split_whitespace()).arg("--summary").arg(&account);
    let output = finish(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let account = serde_json::from_slice(&std::fs::read(account).unwrap()).unwrap();
    (path, account)
}

/// The packets of several captures as they come on one wire; how many there are.
pub fn merge(captures: &[PathBuf], into: &Path) -> u64 {
    let mut head = Vec::new();
    let mut packets: Vec<([u8; 8], Vec<u8>)> = Vec::new();
    for capture in captures {
        let bytes = std::fs::read(capture).unwrap();
        head = bytes[..24].to_vec();
        let mut rest = &bytes[24..];
        while let Some(length) = rest.get(8..12) {
            let (packet, behind) = rest.split_at(16 + u32::from_le_bytes(length.try_into().unwrap()) as usize);
            let mut stamp: [u8; 8] = packet[..8].try_into().unwrap();
            stamp[..4].reverse();
            stamp[4..].reverse();
            packets.push((stamp, packet.to_vec()));
            rest = behind;
        }
    }
    packets.sort_by_key(|packet| packet.0);
    let bytes: Vec<u8> = head.into_iter().chain(packets.iter().flat_map(|packet| packet.1.iter().copied())).collect();
    std::fs::write(into, bytes).unwrap();
    packets.len() as u64
}

/// Replay a capture through a pipeline, and check what every replay promises.
pub fn replay(file: &Value, capture: &Path) -> Replayed {
    replay_with(file, &[capture.to_str().unwrap()], &[])
}

/// Replay captures as the command line names them, with more options.
pub fn replay_with(file: &Value, captures: &[&str], options: &[&str]) -> Replayed {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut command = tickpath();
    command.arg("replay").arg(write_json(folder.path(), "pipeline.json", file)).args(captures);
    command.arg("--orders").arg(at("orders.pcap")).arg("--summary").arg(at("summary.json"));
    command.arg("--books").arg(at("books.jsonl")).args(options);
    let output = finish(command);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{:?}\n{stdout}{stderr}", output.status);

    let venues: Vec<&str> = file["venues"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    let orders_file = |venue: &&str| match venues.len() {
        1 => at("orders.pcap"),
        _ => at(&format!("orders.{venue}.pcap")),
    };
    let orders = venues.iter().map(|venue| std::fs::read(orders_file(venue)).unwrap()).collect();
    let line = |line: &str| -> (String, Value) {
        let book: Value = serde_json::from_str(line).unwrap();
        (book["symbol"].as_str().unwrap().to_owned(), book)
    };
    let books = std::fs::read_to_string(at("books.jsonl")).unwrap().lines().map(line).collect();
    let summary: Value = serde_json::from_slice(&std::fs::read(at("summary.json")).unwrap()).unwrap();
    check(&summary);
    for stages in summary["ledger"].as_object().unwrap().values() {
        assert_eq!(stages[2]["dropped"], json!({}), "a replay is lossless: no order is without room");
        assert_eq!(stages[0]["dropped"], json!({}), "a replay is lossless: no frame is without room");
    }
    for path in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(path.extension().is_none_or(|e| e != "part"), "{} was left behind", path.display());
    }
    Replayed { summary, orders, books, stdout, stderr }
}

/// What every run promises, recomputed from the summary's numbers.
pub fn check(summary: &Value) {
    assert_eq!(summary["conserved"], true, "{summary:#}");
    assert_eq!(summary["mbufs_in_use"], 0, "{summary:#}");
    let mut packets = 0;
    for (venue, stages) in summary["ledger"].as_object().unwrap() {
        let stages = stages.as_array().unwrap();
        let names: Vec<&str> = stages.iter().map(|s| s["stage"].as_str().unwrap()).collect();
        assert_eq!(names, ["rx", "parse", "strategy", "encode", "tx"], "{venue}");
        for stage in stages {
            let dropped: u64 = stage["dropped"].as_object().unwrap().values().map(number).sum();
            assert_eq!(
                number(&stage["in"]),
                number(&stage["out"]) + dropped,
                "{venue}: nothing is held at the end: {stage}"
            );
            assert_eq!(stage["held"], 0, "{venue}: {stage}");
        }
        let joined = |from: usize, to: usize| assert_eq!(stages[from]["out"], stages[to]["in"], "{venue}: {stages:#?}");
        joined(0, 1);
        joined(2, 3);
        joined(3, 4);
        packets += number(&stages[0]["in"]);
    }
    assert_eq!(number(&summary["packets"]), packets);
    let sent: u64 = summary["orders"].as_object().unwrap().values().map(number).sum();
    let tx: u64 = summary["ledger"].as_object().unwrap().values().map(|stages| number(&stages[4]["out"])).sum();
    assert_eq!(sent, tx);
}

impl Replayed {
    /// The orders file of the only venue.
    pub fn orders(&self) -> &[u8] {
        let [orders] = &self.orders[..] else { panic!("several venues") };
        orders
    }

    /// A counter of a venue; 0 when it is not there.
    pub fn counter(&self, venue: &str, name: &str) -> u64 {
        self.summary["counters"][venue].get(name).map_or(0, number)
    }

    /// Frames that a stage dropped for a reason.
    pub fn dropped(&self, venue: &str, stage: &str, reason: &str) -> u64 {
        let stages = self.summary["ledger"][venue].as_array().unwrap();
        let stage = stages.iter().find(|s| s["stage"] == stage).unwrap();
        stage["dropped"].get(reason).map_or(0, number)
    }

    /// Accepted messages by type.
    pub fn messages(&self) -> BTreeMap<String, u64> {
        self.summary["messages"].as_object().unwrap().iter().map(|(kind, n)| (kind.clone(), number(n))).collect()
    }
}

/// EAL for one lcore on a CPU of its own, without privileges, beside whatever else runs on this machine.
pub fn eal() -> Vec<String> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("--file-prefix=tickpath-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    ["--no-huge", "-m", "256", "--no-pci", &prefix].map(str::to_owned).into()
}

/// Run a command to its end, or fail when it hangs. One at a time: lcores that share a CPU yield it, and beside another
/// replay that spins each yield costs a time slice.
pub fn finish(mut command: Command) -> Output {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child).unwrap_or_else(|| panic!("hangs: {said}"))
}

/// What a child left, or `None` (and it is killed) when it does not end.
pub fn wait(mut child: Child) -> Option<Output> {
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Let `program`, given words for tickpath, run a pipeline with these EAL arguments more, and stop it with `signal` after it
/// has polled for `time`; its summary, checked.
pub fn run_for(
    program: &dyn Fn(&[String]) -> Command,
    file: &Value,
    more: &[String],
    time: Duration,
    signal: libc::c_int,
) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.json");
    let mut words = ["run", "--metrics", "off", "--summary"].map(str::to_owned).to_vec();
    words.push(summary.display().to_string());
    words.push(write_json(folder.path(), "pipeline.json", file).display().to_string());
    words.push("--".to_owned());
    words.extend(eal());
    words.extend(more.iter().cloned());
    let mut command = program(&words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let polling = wait_until_polling(&mut child);
    std::thread::sleep(time);
    if polling {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    }
    let output = wait(child).expect("it hangs after the signal");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(polling, "it never polled: {said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(text(&output.stdout).contains("ledger balanced"), "{said}");
    let summary = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    check(&summary);
    summary
}

/// Whether a worker of the child has come to poll: it takes CPU time, which a waiting one does not.
pub fn wait_until_polling(child: &mut Child) -> bool {
    let tasks = format!("/proc/{}/task", child.id());
    let busy = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        // After the name: state, then 10 fields, then user time in ticks of 10 ms.
        let user = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(11)?.parse::<u64>().ok());
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.contains("worker") && user.is_some_and(|ticks| ticks >= 5)
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let Ok(tasks) = std::fs::read_dir(&tasks) else { return false };
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if tasks.flatten().any(|task| busy(&task.path())) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// Whether there is a CPU for an lcore and one for control, without which a test of `run` says that it is skipped.
pub fn two_cpus() -> bool {
    let enough = std::thread::available_parallelism().unwrap().get() >= 2;
    if !enough {
        println!("skipped: needs a CPU for the lcore and one for control");
    }
    enough
}

/// Everything recorded and nothing written, as fast as it goes.
pub fn options(captures: BTreeMap<String, Vec<PathBuf>>) -> Options {
    Options {
        captures,
        source: SourceOptions::default(),
        pace: Pace::default(),
        orders: None,
        reloads: Vec::new(),
        book_levels: 0,
        stamps: Stamping::All,
        baseline: Vec::new(),
        pipeline: Default::default(),
        follow: None,
        host_root: "/".into(),
        injected_clock: None,
        delays: BTreeMap::new(),
    }
}
