//! Between launch and drain the lcores of the stages are alone with their data: they make no system call while they spin
//! and never allocate, whatever port they poll. System calls are watched by strace, allocations by the allocator.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{number, on_lcores, options, shipped, synth, text, two_cpus, write_json};
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickpath::book::Book;
use tickpath::dpdk::lcore;
use tickpath::market::OrderEvent;
use tickpath::pipeline::file::PipelineFile;
use tickpath::pipeline::host::HostFacts;
use tickpath::pipeline::launch::{Controls, Options, launch};
use tickpath::pipeline::plan::{Mode, Plan, Request};
use tickpath::port::capture::{Pace, Speed};
use tickpath::program::Program;
use tickpath::strategy::{BooksLost, Orders, Strategy};

/// Market of a second and a half, and quotes on it.
const MARKET: &str = "--seed 3 --messages 30000 --symbols 30 --rate 20000 --live-orders 2000";

/// A pipeline, what it listens to, and the EAL devices it wants.
struct Case {
    file: Value,
    mode: Mode,
    vdevs: &'static [&'static str],
}

fn case(name: &str) -> Case {
    let device = |name: &str, device: &str| json!({ "name": name, "driver": "ethdev", "device": device });
    let live = |feed, orders, vdevs| {
        let mut file = shipped("itch-1-lcore");
        file["ports"] = json!([device("feed", feed), device("orders", orders)]);
        Case { file, mode: Mode::Run, vdevs }
    };
    match name {
        "capture" => Case { file: shipped("itch-1-lcore"), mode: Mode::Replay, vdevs: &[] },
        // Where there are fewer CPUs than lcores these yield, which is a system call: for allocations only.
        "capture, five lcores" => Case { file: shipped("itch-5-lcores"), mode: Mode::Replay, vdevs: &[] },
        // Proves that the watch sees: its strategy allocates.
        "capture, wasteful" => Case { file: shipped("itch-1-lcore"), mode: Mode::Replay, vdevs: &[] },
        "capture, in turn" => {
            Case { file: on_lcores(shipped("itch-1-lcore"), [1, 2, 1, 2, 1]), mode: Mode::Replay, vdevs: &[] }
        }
        "net_null" => live("net_null0", "net_null1", &["--vdev=net_null0,size=64", "--vdev=net_null1"]),
        "net_ring" => live("net_ring0", "net_ring1", &["--vdev=net_ring0", "--vdev=net_ring1"]),
        other => panic!("{other}"),
    }
}

// ---- system calls -------------------------------------------------------------------------------------------------

#[test]
fn a_spinning_worker_makes_no_system_call() {
    if !two_cpus() || !strace_works() {
        return;
    }
    for name in ["capture", "net_null", "net_ring"] {
        let folder = tempfile::tempdir().unwrap();
        let calls = traced(folder.path(), &case(name));
        // What the worker did: EAL's launch is read from a pipe and answered on another; then it is ours until it asks
        // the pipe again.
        let launched = calls.iter().rposition(|(_, call)| call.starts_with("write(")).expect("a launch is answered");
        let asks = calls[launched..].iter().position(|(_, call)| call.starts_with("read(")).expect("it comes back");
        let (began, ended) = (calls[launched].0, calls[launched + asks].0);
        assert!(ended - began > 0.9, "{name}: it polled for {} s", ended - began);
        // Launch and end may allocate and free; between them there is nothing.
        let quiet = (began + 0.1, ended - 0.1);
        let loud: Vec<_> = calls.iter().filter(|(at, _)| (quiet.0..quiet.1).contains(at)).collect();
        assert!(loud.is_empty(), "{name}: {loud:?}");
    }
}

/// The worker's system calls with their times, from a run of at least a second.
fn traced(folder: &Path, case: &Case) -> Vec<(f64, String)> {
    let trace = folder.join("trace");
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-ttt", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_tickpath"));
    let pipeline = write_json(folder, "pipeline.json", &case.file);
    match case.mode {
        Mode::Replay => {
            let (capture, _) = synth(folder, "in.pcap", MARKET);
            command.arg("replay").arg(pipeline).arg(capture).args(["--speed", "1x", "--orders"]);
            command.arg(folder.join("out.pcap"));
        }
        Mode::Run => drop(command.args(["run", "--metrics", "off"]).arg(pipeline)),
    }
    command.arg("--").args(replay::eal()).args(case.vdevs);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    if case.mode == Mode::Run {
        let program = wait_for(|| worker_of(&trace).map(|(program, _)| program)).expect("the worker starts");
        std::thread::sleep(Duration::from_millis(2500));
        // SAFETY: a signal to a process that its parent, strace, has not waited for.
        unsafe { libc::kill(program as libc::pid_t, libc::SIGINT) };
    }
    let output = replay::wait(child).unwrap_or_else(|| panic!("strace {id} hangs"));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let (_, worker) = worker_of(&trace).expect("the program names its worker");
    let said = std::fs::read_to_string(trace.with_extension(worker.to_string())).unwrap();
    let line = |line: &str| line.split_once(' ').map(|(at, call)| (at.parse().unwrap(), call.to_owned()));
    said.lines().filter_map(line).collect()
}

/// Process and worker thread, once the trace shows that the worker has got its name.
fn worker_of(trace: &Path) -> Option<(u32, u32)> {
    let folder = trace.parent().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let Some(process) = path.extension().and_then(|e| e.to_str()?.parse().ok()) else { continue };
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        let mut named = None;
        for call in calls.lines() {
            if let Some((_, rest)) = call.split_once("/proc/self/task/") {
                named = rest.split('/').next().and_then(|thread| thread.parse().ok());
            }
            if let (Some(thread), true) = (named, call.contains("write(") && call.contains("worker")) {
                return Some((process, thread));
            }
        }
    }
    None
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    while began.elapsed() < replay::PATIENCE {
        if let Some(found) = what() {
            return Some(found);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

fn strace_works() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let problem = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("strace cannot trace here: {}", text(&output.stderr).trim()),
        Err(_) => "strace is not installed".to_owned(),
    };
    let required = std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "TICKPATH_CAPTURES_REQUIRED=1 and {problem}");
    println!("skipped: {problem}");
    false
}

// ---- allocations --------------------------------------------------------------------------------------------------

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Workers are watched.
static ARMED: AtomicBool = AtomicBool::new(false);
/// Calls of the allocator that workers made while they were watched.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator; calls on EAL's worker lcores are counted while [`ARMED`].
struct Watching;

/// The main lcore's id in these plans: the free one below the stages'.
const MAIN_LCORE: u32 = 0;

fn watch() {
    if ARMED.load(Ordering::Relaxed) && lcore::current().is_some_and(|lcore| lcore.id() != MAIN_LCORE) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watch();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        watch();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Names the case for the child process.
const CASE: &str = "TICKPATH_TEST_QUIET_CASE";

#[test]
fn workers_allocate_nothing() {
    if let Ok(name) = std::env::var(CASE) {
        return watched(&name);
    }
    // EAL starts once in a process.
    for name in ["capture", "capture, wasteful", "capture, five lcores", "capture, in turn", "net_null", "net_ring"] {
        if case(name).mode == Mode::Run && !two_cpus() {
            continue;
        }
        let mut child = common::again("workers_allocate_nothing");
        child.env(CASE, name);
        let output = replay::finish(child);
        assert!(output.status.success(), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

/// Launch a case in this process and watch its workers in the middle of it.
fn watched(name: &str) {
    let Case { file, mode, vdevs } = case(name);
    let folder = tempfile::tempdir().unwrap();
    let file = PipelineFile::parse(&file.to_string()).unwrap();
    let live = mode == Mode::Run;
    let eal_args = if live {
        replay::eal().into_iter().chain(vdevs.iter().map(ToString::to_string)).collect()
    } else {
        Vec::new()
    };
    let request = Request { mode, eal_args, capture_ports: Vec::new() };
    let plan = Plan::new(&file, &HostFacts::read([]), &request).unwrap();
    assert_eq!(plan.main_lcore, MAIN_LCORE);
    let captures = match mode {
        Mode::Replay => BTreeMap::from([("feed".to_owned(), vec![synth(folder.path(), "in.pcap", MARKET).0])]),
        Mode::Run => BTreeMap::new(),
    };
    let options = Options {
        pace: Pace { speed: Speed::Factor(1.0), max_idle_ns: None },
        orders: Some(folder.path().join("out.pcap")).filter(|_| !live),
        ..options(captures)
    };
    let stop: &'static AtomicBool = Box::leak(Box::default());
    let (mut from, mut to) = (None, None);
    let wasteful = name.ends_with("wasteful");
    let program = if wasteful { Program::new().strategy::<Wasteful>() } else { Program::shipped() };
    let outcome = launch(&plan, &program, &options, &Controls::only(stop), |now| {
        // Every lcore has worked by the time an order is out; without input each has had time to.
        let running = if live {
            now.elapsed > Duration::from_millis(300)
        } else {
            now.orders > 20 || wasteful && now.frames > 100
        };
        if running && from.is_none() {
            from = Some(*now);
            ARMED.store(true, Ordering::SeqCst);
        }
        if let Some(from) = &from
            && to.is_none()
            && now.elapsed - from.elapsed > Duration::from_millis(500)
        {
            ARMED.store(false, Ordering::SeqCst);
            to = Some(*now);
            stop.store(true, Ordering::Relaxed);
        }
    });
    ARMED.store(false, Ordering::SeqCst);
    let outcome = outcome.unwrap();
    let (from, to) = (from.expect("it runs"), to.expect("it runs for half a second"));
    let calls = CALLS.load(Ordering::SeqCst);
    if wasteful {
        assert!(calls > 100, "{calls} allocations seen");
        return;
    }
    assert_eq!(calls, 0, "{name}: workers called the allocator");
    if !live {
        assert!(
            to.frames > from.frames + 100 && to.orders > from.orders + 10,
            "{name}: work was watched: {from:?} {to:?}"
        );
    }
    if name == "net_null" {
        assert!(to.frames > from.frames + 1000, "{from:?} {to:?}");
    }
    let summary = serde_json::to_value(&outcome.summary).unwrap();
    replay::check(&summary);
    assert!(number(&summary["packets"]) >= to.frames);
}

/// Allocates for every book, and gives nothing.
struct Wasteful;

impl Strategy for Wasteful {
    const NAME: &'static str = "quoter";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, _: usize) -> Result<Self, String> {
        Ok(Wasteful)
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, book: &Book<'_>, _: &mut Orders) {
        drop(std::hint::black_box(Box::new(book.instrument())));
    }

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}
