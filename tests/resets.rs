//! Devices that say they were reset are started anew while the pipeline runs: files in the place of wires, which are taken away
//! and put back, and the event that a driver raises.

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

use day::{Day, namespaces, program, standing};
use pcap_file::pcap::{PcapPacket, PcapWriter};
use replay::{options, shipped, synth, text, two_cpus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tickpath::control::{VenueState, ask};
use tickpath::pipeline::file::PipelineFile;
use tickpath::pipeline::host::HostFacts;
use tickpath::pipeline::launch::{Controls, launch};
use tickpath::pipeline::plan::{Mode, Plan, Request};
use tickpath::program::Program;

/// Says to the child process that it is one: EAL starts once in a process.
const CHILD: &str = "TICKPATH_TEST_CHILD";

/// The words of a command line, one a line, for the child process that is to be the program.
const WORDS: &str = "TICKPATH_TEST_WORDS";
/// While this file is there, the order port of that program is without a link, and was reset.
const TROUBLE: &str = "TICKPATH_TEST_TROUBLE";

static STOP: AtomicBool = AtomicBool::new(false);

// What drivers have for this; the symbols are there for drivers outside DPDK.
unsafe extern "C" {
    fn rte_eth_dev_allocated(name: *const c_char) -> *mut c_void;
    fn rte_eth_dev_callback_process(device: *mut c_void, event: c_uint, ret: *mut c_void) -> c_int;
}

/// RTE_ETH_EVENT_INTR_RESET
const RESET: c_uint = 3;

/// Raise an event as the driver of this device would.
fn raise(device: &str, event: c_uint) {
    let name = CString::new(device).unwrap();
    // SAFETY: a name that ends with NUL, a device that is there until the run is over, an event without an answer.
    unsafe {
        let found = rte_eth_dev_allocated(name.as_ptr());
        assert!(!found.is_null(), "no device {device}");
        rte_eth_dev_callback_process(found, event, std::ptr::null_mut());
    }
}

/// A run in this process, as those see it that do something to it meanwhile.
struct Seen {
    control: PathBuf,
    metrics: SocketAddr,
}

impl Seen {
    fn venue(&self) -> Option<VenueState> {
        ask(&self.control, "status").ok()?.venues.pop()
    }

    /// A metric of a port; `None` before there are any.
    fn port(&self, metric: &str, port: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        let start = format!("tickpath_port_{metric}_total{{port=\"{port}\"}} ");
        said.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    #[track_caller]
    fn until(&self, what: &str, mut reached: impl FnMut(&Seen) -> bool) {
        let began = Instant::now();
        while !reached(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "not in a minute: {what}; {:?}", self.venue());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Run `file` on these devices, with `during` beside it; the summary, checked.
fn launched(folder: &Path, mut file: Value, vdevs: &[String], during: impl FnOnce(&Seen) + Send) -> Value {
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seen = Seen { control: folder.join("control"), metrics };
    file["control"] = json!(seen.control);
    file["record"] = json!({ "metrics": metrics, "interval_ms": 100 });
    let file = PipelineFile::parse(&file.to_string()).unwrap();
    let eal_args = replay::eal().into_iter().chain(vdevs.iter().map(|vdev| format!("--vdev={vdev}"))).collect();
    let request = Request { mode: Mode::Run, eal_args, capture_ports: Vec::new() };
    let plan = Plan::new(&file, &HostFacts::read([]), &request).unwrap();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _stop = Stop;
            during(&seen);
        });
        launch(&plan, &Program::shipped(), &options(BTreeMap::new()), &Controls::only(&STOP), |_| {})
    });
    let summary = serde_json::to_value(outcome.unwrap().summary).unwrap();
    replay::check(&summary);
    summary
}

/// Ends the run, also when what was done to it panics.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        STOP.store(true, Ordering::Relaxed);
    }
}

/// Have `path` lead to `target`.
fn point(path: &Path, target: &Path) {
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(target, path).unwrap();
}

fn write(path: &Path, frames: &[oracle::Frame]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for frame in frames {
        let stamp = Duration::from_nanos(frame.stamp_ns);
        writer.write_packet(&PcapPacket::new(stamp, frame.bytes.len() as u32, &frame.bytes)).unwrap();
    }
}

/// References of OUCH 5.0 orders in these frames: entered, and ended by a cancel or a replacement.
fn entered_and_ended(paths: [&Path; 2]) -> [HashSet<u32>; 2] {
    let mut sets = [HashSet::new(), HashSet::new()];
    for frame in paths.iter().flat_map(|path| oracle::frames(path)) {
        // Ethernet, IPv4 and UDP take 42 bytes, the head of a SoupBinTCP packet 3.
        let message = &frame.bytes[45..];
        let reference = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        match message[0] {
            b'O' => assert!(sets[0].insert(reference(1)), "entered twice"),
            b'U' => assert!(sets[1].insert(reference(1)) && sets[0].insert(reference(5)), "replaced twice"),
            b'X' => assert!(sets[1].insert(reference(1)), "cancelled twice"),
            other => panic!("{other}"),
        }
    }
    sets
}

#[test]
fn devices_that_were_reset_are_started_anew_and_orders_go_on() {
    if std::env::var_os(CHILD).is_none() {
        if two_cpus() {
            let mut child = common::again("devices_that_were_reset_are_started_anew_and_orders_go_on");
            child.env(CHILD, "1");
            let output = replay::finish(child);
            assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (capture, _) = synth(folder.path(), "all.pcap", "--seed 13 --messages 24000 --symbols 40");
    let frames = oracle::frames(&capture);
    let (first, second) = frames.split_at(frames.len() / 2);
    write(&at("first.pcap"), first);
    write(&at("second.pcap"), second);
    // What net_pcap opens when it is started.
    let (input, output, nowhere) = (at("in.pcap"), at("out.pcap"), at("none/there"));
    point(&input, &at("first.pcap"));
    point(&output, &at("before.pcap"));

    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": "net_pcap0" },
        { "name": "silent", "driver": "ethdev", "device": "net_ring0" },
        { "name": "orders", "driver": "ethdev", "device": "net_pcap1" },
    ]);
    let group = file["venues"][0]["feed"]["lines"][0]["groups"].clone();
    let lines = [json!({ "port": "feed", "groups": group }), json!({ "port": "silent", "groups": group })];
    file["venues"][0]["feed"]["lines"] = json!(lines);
    let vdevs = [
        format!("net_pcap0,rx_pcap={}", input.display()),
        "net_ring0".to_owned(),
        format!("net_pcap1,tx_pcap={}", output.display()),
    ];
    let summary = launched(folder.path(), file, &vdevs, |seen| {
        let come = |n: usize| move |seen: &Seen| seen.venue().is_some_and(|venue| venue.frames == n as u64);
        let paused = |seen: &Seen| seen.venue().unwrap().paused;
        seen.until("the first half has come", come(first.len()));

        point(&output, &nowhere);
        raise("net_pcap1", RESET);
        seen.until("the order port was tried in vain", |seen| seen.port("restarts_failed", "orders") >= Some(2));
        assert!(paused(seen) && seen.port("restarts", "orders") == Some(0));
        point(&output, &at("after.pcap"));
        seen.until("the order port runs", |seen| seen.port("restarts", "orders") == Some(1));
        seen.until("the venue trades", |seen| !paused(seen));

        point(&input, &nowhere);
        raise("net_pcap0", RESET);
        seen.until("the feed was tried in vain", |seen| seen.port("restarts_failed", "feed") >= Some(2));
        assert!(!paused(seen), "there is another line");
        point(&input, &at("second.pcap"));
        seen.until("the second half has come", come(frames.len()));
        seen.until("what became of the feed is shown", |seen| seen.port("restarts", "feed") == Some(1));
        assert_eq!([seen.port("resets", "feed"), seen.port("resets", "orders")], [Some(1); 2]);
    });
    assert_eq!(summary["messages"], messages(&capture));
    let [before, after] = [at("before.pcap"), at("after.pcap")];
    let sent: u64 = summary["orders"].as_object().unwrap().values().map(replay::number).sum();
    let written = [&before, &after].map(|path| oracle::frames(path).len() as u64);
    assert_eq!(written[0] + written[1], sent, "each in one of the files");
    assert!(written[0] > 100 && written[1] > 100, "{written:?}");
    let [entered, ended] = entered_and_ended([&before, &after]);
    assert_eq!(entered, ended, "nothing stands at the end");
    let warnings = summary["warnings"].as_array().unwrap();
    let told = |port: &str| warnings.iter().filter_map(Value::as_str).find(|line| line.starts_with(port)).unwrap();
    for port in ["port feed: ", "port orders: "] {
        let line = told(port);
        assert!(
            line.contains("resets 1, started anew 1, attempts that failed ") && line.ends_with("unsent 0"),
            "{line}"
        );
    }
}

#[test]
fn an_order_session_outlives_the_reset_of_its_device() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        file["ports"][2]["device"] = json!("net_pcap2");
        // It opens a socket when it is started.
        file["privileges"] = json!("keep");
    });
    let (test, trouble) = (std::env::current_exe().unwrap(), folder.path().join("trouble"));
    let again = format!("exec {} child_that_is_the_program --exact --nocapture", test.display());
    let run = format!("export {TROUBLE}={} {WORDS}=$(printf '%s\\n' \"$@\")\n{again}", trouble.display());
    let day = Day::trade_with(&program(folder.path(), &run), 8, &[("TICKPATH_DEMO_PIPELINE", &file)], |at| {
        day::until(at, "forty orders stand", |state| standing(state) >= 40);
        std::fs::write(&trouble, "").unwrap();
        let log = || std::fs::read_to_string(at.join("host.log")).unwrap();
        let paused = day::until(at, "it was tried in vain", |_| log().contains("port orders: did not start anew"));
        assert!(paused.paused && paused.killed.is_empty());
        std::fs::remove_file(&trouble).unwrap();
        day::until(at, "it trades", |state| !state.paused && state.orders > paused.orders + 100);
    });
    let (host, exchange) = (day.json("host.json"), day.json("exchange.json"));
    assert_eq!(
        (&host["conserved"], &host["mbufs_in_use"], &host["undrained"]),
        (&json!(true), &json!(0), &json!(false))
    );
    day.agrees_on_orders(&exchange, &host);
    day.agrees_on_books();
    let log = day.log();
    assert!(log.contains("port orders: started anew in ") && log.contains("venue demo resumes"), "{log}");
}

/// The program, with net_pcap for the order port of the demo: a driver that is up to a stop and a start.
#[test]
fn child_that_is_the_program() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let trouble = PathBuf::from(std::env::var_os(TROUBLE).unwrap());
    std::thread::spawn(move || {
        let until = |there| {
            while trouble.exists() != there {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(true);
        net::ip("link set h3 down");
        raise("net_pcap2", RESET);
        until(false);
        net::ip("link set h3 up");
    });
    let words = words.replace("net_af_packet2,iface=h3", "net_pcap2,rx_iface=h3,tx_iface=h3");
    let words = ["tickpath"].into_iter().chain(words.lines()).map(Into::into);
    let code = Program::shipped().main_with(words);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// Messages by type of a capture.
fn messages(capture: &Path) -> Value {
    let oracle = oracle::Oracle::of_capture(capture, true);
    let name = |(kind, n): (&u8, &u64)| ((*kind as char).to_string(), *n);
    json!(oracle.messages.iter().map(name).collect::<BTreeMap<_, _>>())
}
