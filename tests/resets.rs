//! Devices that say they were reset or removed are started anew while the pipeline runs: files in the place of wires, which are
//! taken away and put back, and the event that a driver raises.

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
/// Its order port,
const DEVICE: &str = "TICKPATH_TEST_DEVICE";
/// which was reset, and is without a link while this file is there.
const TROUBLE: &str = "TICKPATH_TEST_TROUBLE";

static STOP: AtomicBool = AtomicBool::new(false);

// What drivers have for this; the symbols are there for drivers outside DPDK.
unsafe extern "C" {
    fn rte_eth_dev_allocated(name: *const c_char) -> *mut c_void;
    fn rte_eth_dev_get_port_by_name(name: *const c_char, number: *mut u16) -> c_int;
    fn rte_dev_event_callback_process(name: *const c_char, event: c_uint);
    fn rte_eth_dev_callback_process(device: *mut c_void, event: c_uint, ret: *mut c_void) -> c_int;
}

/// RTE_ETH_EVENT_INTR_RESET
const RESET: c_uint = 3;
/// RTE_ETH_EVENT_INTR_RMV
const REMOVED: c_uint = 6;
/// RTE_DEV_EVENT_REMOVE
const ASKED_BACK: c_uint = 1;

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

/// Raise the event by which the bus of this device asks for it.
fn ask_back(device: &str) {
    let name = CString::new(device).unwrap();
    // SAFETY: a name that ends with NUL.
    unsafe { rte_dev_event_callback_process(name.as_ptr(), ASKED_BACK) }
}

/// EAL's number of this device.
fn number_of(device: &str) -> u16 {
    let (name, mut number) = (CString::new(device).unwrap(), 0);
    // SAFETY: a name that ends with NUL and a place for the number.
    assert_eq!(unsafe { rte_eth_dev_get_port_by_name(name.as_ptr(), &mut number) }, 0, "no device {device}");
    number
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

/// As [`ended`], with the summary checked.
fn launched(folder: &Path, file: Value, vdevs: &[String], during: impl FnOnce(&Seen) + Send) -> Value {
    let summary = ended(folder, file, vdevs, during);
    replay::check(&summary);
    summary
}

/// Run `file` on these devices, with `during` beside it; the summary.
fn ended(folder: &Path, mut file: Value, vdevs: &[String], during: impl FnOnce(&Seen) + Send) -> Value {
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
    serde_json::to_value(outcome.unwrap().summary).unwrap()
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

/// Whether this is the child process that is to run `test`; it is started where it is not.
fn is_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    if two_cpus() {
        let mut child = common::again(test);
        child.env(CHILD, "1");
        let output = replay::finish(child);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    false
}

#[test]
fn devices_that_were_reset_are_started_anew_and_orders_go_on() {
    if !is_child("devices_that_were_reset_are_started_anew_and_orders_go_on") {
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
fn a_device_that_was_removed_is_started_when_it_is_there_again_and_other_venues_go_on() {
    if !is_child("a_device_that_was_removed_is_started_when_it_is_there_again_and_other_venues_go_on") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut file = shipped("twelve-venues");
    file["ports"] = json!([
        { "name": "feed-0", "driver": "ethdev", "device": "net_pcap0" },
        { "name": "feed-1", "driver": "ethdev", "device": "net_pcap1" },
        { "name": "orders", "driver": "ethdev", "device": "net_null2" },
    ]);
    file["lcores"] = json!([]);
    let venues = file["venues"].as_array_mut().unwrap();
    venues.remove(1);
    venues.truncate(2);
    let mut vdevs = vec!["net_null2".to_owned()];
    let mut halves = [0; 2];
    for (n, venue) in venues.iter_mut().enumerate() {
        let line = &mut venue["feed"]["lines"][0];
        let options = format!("--seed 13 --messages 6000 --symbols 20 --group {}", line["groups"][0].as_str().unwrap());
        let (capture, _) = synth(folder.path(), &format!("{n}.pcap"), &options);
        let frames = oracle::frames(&capture);
        let (first, second) = frames.split_at(frames.len() / 2);
        halves = [first.len() as u64, second.len() as u64];
        write(&at(&format!("{n}-first.pcap")), first);
        write(&at(&format!("{n}-second.pcap")), second);
        point(&at(&format!("in-{n}.pcap")), &at(&format!("{n}-first.pcap")));
        vdevs.push(format!("net_pcap{n},rx_pcap={}", at(&format!("in-{n}.pcap")).display()));
        line["port"] = json!(format!("feed-{n}"));
        line["queue"] = json!(0);
        venue["orders"]["queue"] = json!(n);
        for stage in ["rx", "parse", "strategy", "encode", "tx"] {
            venue["stages"][stage]["lcore"] = json!(1);
        }
    }
    let all = halves[0] + halves[1];
    let summary = launched(folder.path(), file, &vdevs, |seen| {
        let venues = || ask(&seen.control, "status").map(|answer| answer.venues).unwrap_or_default();
        let inputs = [0, 1].map(|n| at(&format!("in-{n}.pcap")));
        let come =
            |frames: [u64; 2]| move |_: &Seen| (0..2).all(|n| venues().get(n).is_some_and(|v| v.frames == frames[n]));
        seen.until("the first halves have come", come([halves[0]; 2]));

        // Both at once, so that each gets the number in EAL that the other had.
        let numbers = ["net_pcap0", "net_pcap1"].map(number_of);
        inputs.iter().for_each(|input| point(input, &at("none/there")));
        raise("net_pcap0", REMOVED);
        ask_back("net_pcap1");
        for port in ["feed-0", "feed-1"] {
            seen.until("it was tried in vain", |seen| seen.port("restarts_failed", port) >= Some(2));
            assert_eq!((seen.port("removals", port), seen.port("restarts", port)), (Some(1), Some(0)));
        }
        assert!(venues().iter().all(|venue| venue.paused));
        point(&inputs[1], &at("1-second.pcap"));
        seen.until("the second half has come", come([halves[0], all]));
        seen.until("its venue trades", |_| !venues()[1].paused);
        assert!(venues()[0].paused);
        point(&inputs[0], &at("0-second.pcap"));
        seen.until("the second half has come", come([all; 2]));
        seen.until("its venue trades", |_| !venues()[0].paused);
        assert_eq!(["net_pcap1", "net_pcap0"].map(number_of), numbers);

        // A device that was put in again tells of resets and removals as the first did.
        point(&inputs[1], &at("1-first.pcap"));
        raise("net_pcap1", RESET);
        seen.until("it has come again", come([all, all + halves[0]]));
        raise("net_pcap1", REMOVED);
        seen.until("it has come again", come([all, all + 2 * halves[0]]));
        seen.until("what became of it is shown", |seen| seen.port("restarts", "feed-1") == Some(3));
        assert_eq!([seen.port("resets", "feed-1"), seen.port("removals", "feed-1")], [Some(1), Some(2)]);
        assert_eq!([seen.port("resets", "feed-0"), seen.port("removals", "feed-0")], [Some(0), Some(1)]);
    });
    let warnings: Vec<_> = summary["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let told = |words: &[&str]| warnings.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(told(&["port feed-0: ", "resets 0, removals 1, started anew 1, "]), "{warnings:?}");
    assert!(told(&["port feed-1: ", "resets 1, removals 2, started anew 3, "]), "{warnings:?}");
}

#[test]
fn orders_wait_for_a_device_that_was_removed_and_a_run_ends_without_it() {
    if !is_child("orders_wait_for_a_device_that_was_removed_and_a_run_ends_without_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (capture, _) = synth(folder.path(), "all.pcap", "--seed 13 --messages 6000 --symbols 40");
    let output = at("out.pcap");
    point(&output, &at("before.pcap"));
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": "net_pcap0" },
        { "name": "orders", "driver": "ethdev", "device": "net_pcap1" },
    ]);
    let vdevs = [format!("net_pcap0,rx_pcap={}", capture.display()), format!("net_pcap1,tx_pcap={}", output.display())];
    let frames = oracle::frames(&capture).len() as u64;
    let summary = ended(folder.path(), file, &vdevs, |seen| {
        seen.until("all has come", |seen| seen.venue().is_some_and(|venue| venue.frames == frames));
        point(&output, &at("none/there"));
        raise("net_pcap1", REMOVED);
        seen.until("it was tried in vain", |seen| seen.port("restarts_failed", "orders") >= Some(2));
        assert!(seen.venue().unwrap().paused);
    });
    // What stood could not be cancelled, and the run says so.
    assert_eq!((&summary["undrained"], &summary["conserved"]), (&json!(true), &json!(true)), "{summary:#}");
    let warnings = summary["warnings"].as_array().unwrap();
    let told = |line: &&str| line.starts_with("port orders: ") && line.ends_with(", not back at the end");
    assert!(warnings.iter().filter_map(Value::as_str).any(|line| told(&line)), "{warnings:?}");
    let sent: u64 = summary["orders"].as_object().unwrap().values().map(replay::number).sum();
    assert_eq!(oracle::frames(&at("before.pcap")).len() as u64, sent);
}

#[test]
fn an_order_session_outlives_the_reset_of_its_device() {
    if namespaces() {
        // One that is stopped and started, and one that is taken out of EAL and put in again.
        // Without a link the one does not start, and the other does.
        a_session_outlives_the_reset_of("net_pcap2", "did not start anew");
        a_session_outlives_the_reset_of("net_af_packet2", "started anew in");
    }
}

/// Of that device, with what is said of it while its link is down.
fn a_session_outlives_the_reset_of(device: &str, said: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        file["ports"][2]["device"] = json!(device);
        // It opens a socket when it is started.
        file["privileges"] = json!("keep");
    });
    let (test, trouble) = (std::env::current_exe().unwrap(), folder.path().join("trouble"));
    let again = format!("exec {} child_that_is_the_program --exact --nocapture", test.display());
    let exports = format!("export {DEVICE}={device} {TROUBLE}={}", trouble.display());
    let run = format!("{exports} {WORDS}=$(printf '%s\\n' \"$@\")\n{again}");
    let day = Day::trade_with(&program(folder.path(), &run), 8, &[("TICKPATH_DEMO_PIPELINE", &file)], |at| {
        day::until(at, "forty orders stand", |state| standing(state) >= 40);
        std::fs::write(&trouble, "").unwrap();
        let log = || std::fs::read_to_string(at.join("host.log")).unwrap();
        let then = day::until(at, said, |_| log().contains(&format!("port orders: {said}")));
        assert!(then.killed.is_empty() && log().contains("venue demo pauses"), "{}", log());
        std::fs::remove_file(&trouble).unwrap();
        day::until(at, "it trades", |state| !state.paused && state.orders > then.orders + 100);
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

/// The program, with this device for the order port of the demo.
#[test]
fn child_that_is_the_program() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let trouble = PathBuf::from(std::env::var_os(TROUBLE).unwrap());
    let device = std::env::var(DEVICE).unwrap();
    let named = device.clone();
    std::thread::spawn(move || {
        let until = |there| {
            while trouble.exists() != there {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(true);
        net::ip("link set h3 down");
        raise(&named, RESET);
        until(false);
        net::ip("link set h3 up");
    });
    let words = match device.as_str() {
        "net_pcap2" => words.replace("net_af_packet2,iface=h3", "net_pcap2,rx_iface=h3,tx_iface=h3"),
        _ => words,
    };
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
