//! Feeds of several venues on one device: one lcore receives and gives each venue its packets, and none can take from another.

#![cfg(feature = "dpdk")]

mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use replay::{alone, merge, number, shipped, synth, two_cpus};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tickpath::book::Book;
use tickpath::market::OrderEvent;
use tickpath::program::Program;
use tickpath::strategy::{BooksLost, Orders, Quoter, Strategy};

/// The words of a command line, one a line, for the child process that is to be the program.
const WORDS: &str = "TICKPATH_TEST_WORDS";

/// Three venues of the shipped file on queue 0 of one device, all on lcore 1.
fn three_venues() -> Value {
    let mut file = shipped("twelve-venues");
    file["ports"] = json!([
        { "name": "feeds", "driver": "ethdev", "device": "net_pcap0" },
        { "name": "orders", "driver": "ethdev", "device": "net_pcap1" },
    ]);
    file["lcores"] = json!([]);
    let venues = file["venues"].as_array_mut().unwrap();
    venues.truncate(3);
    for venue in venues {
        venue["feed"]["lines"][0]["port"] = json!("feeds");
        for stage in ["rx", "parse", "strategy", "encode", "tx"] {
            venue["stages"][stage]["lcore"] = json!(1);
        }
    }
    file
}

/// What the device receives, and what each venue makes of it.
struct Bench {
    folder: tempfile::TempDir,
    file: Value,
    wire: PathBuf,
    packets: u64,
    strays: u64,
    /// Frames of each venue's orders when it replays its feed alone.
    expected: Vec<Vec<Vec<u8>>>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let file = three_venues();
        let market = |seed: usize, protocol: &str, group: &str| {
            let options = format!("--protocol {protocol} --seed {seed} --messages 6000 --symbols 20 --group {group}");
            synth(folder.path(), &format!("{seed}.pcap"), &options).0
        };
        let mut captures = Vec::new();
        let mut expected = Vec::new();
        for (at, venue) in file["venues"].as_array().unwrap().iter().enumerate() {
            let feed = &venue["feed"];
            let (protocol, group) =
                (feed["protocol"].as_str().unwrap(), feed["lines"][0]["groups"][0].as_str().unwrap());
            let capture = market(at, protocol, group);
            let mut single = alone(&file, at);
            single["ports"] = json!([{"name": "feeds", "driver": "capture"}, {"name": "orders", "driver": "capture"}]);
            let orders = folder.path().join("alone.pcap");
            std::fs::write(&orders, replay::replay(&single, &capture).orders()).unwrap();
            expected.push(frames(&orders));
            assert!(expected[at].len() > 50, "{} orders", expected[at].len());
            captures.push(capture);
        }
        // The right group on another port, and another group.
        let strays = [market(3, "itch50", "233.54.12.111:26478"), market(4, "itch50", "239.1.1.1:26477")];
        let stray_frames: usize = strays.iter().map(|path| frames(path).len()).sum();
        captures.extend(strays);
        let wire = folder.path().join("wire.pcap");
        let packets = merge(&captures, &wire);
        Bench { file, wire, packets, strays: stray_frames as u64, expected, folder }
    }

    fn orders(&self, venue: usize) -> PathBuf {
        self.folder.path().join(format!("orders-{venue}.pcap"))
    }

    /// Run on the wire until everything on it was received; the summary.
    fn run(&self, program: &dyn Fn(&[String]) -> Command, file: &Value, lcores: Option<&str>) -> Value {
        self.run_until(program, file, lcores, &|summary| summary["ports"][0]["ledger"]["in"] == self.packets)
    }

    fn run_until(
        &self,
        program: &dyn Fn(&[String]) -> Command,
        file: &Value,
        lcores: Option<&str>,
        received: &dyn Fn(&Value) -> bool,
    ) -> Value {
        let tx: String = (0..3).map(|venue| format!(",tx_pcap={}", self.orders(venue).display())).collect();
        let mut eal =
            vec![format!("--vdev=net_pcap0,rx_pcap={}", self.wire.display()), format!("--vdev=net_pcap1{tx}")];
        eal.extend(lcores.map(|lcores| format!("--lcores={lcores}")));
        // The device has no end of file, so the time it takes is a guess: a longer one when a slow machine proves it wrong.
        for time in [500, 5_000, 30_000] {
            let summary = replay::run_for(program, file, &eal, Duration::from_millis(time), libc::SIGINT);
            if received(&summary) {
                return summary;
            }
        }
        panic!("it does not receive what is on the wire");
    }

    /// A venue made the orders that it makes alone, and at the end cancelled what stood.
    #[track_caller]
    fn assert_as_alone(&self, venue: usize) {
        let found = frames(&self.orders(venue));
        let expected = &self.expected[venue];
        assert!(found.len() >= expected.len() && found[..expected.len()] == expected[..], "venue {venue}");
        // Behind 42 bytes of headers and 3 of a SoupBinTCP packet: Cancel.
        assert!(found[expected.len()..].iter().all(|frame| frame[45] == b'X'), "venue {venue}");
    }
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    oracle::frames(path).into_iter().map(|frame| frame.bytes).collect()
}

fn tickpath(words: &[String]) -> Command {
    let mut command = replay::tickpath();
    command.args(words);
    command
}

#[test]
fn venues_on_one_queue_make_the_orders_that_each_makes_alone() {
    if !two_cpus() {
        return;
    }
    let bench = Bench::new();
    let summary = bench.run(&tickpath, &bench.file, None);
    (0..3).for_each(|venue| bench.assert_as_alone(venue));
    let ledger = &summary["ports"][0]["ledger"];
    assert_eq!(ledger["dropped"], json!({ "no venue listens": bench.strays }));
    assert_eq!(number(&ledger["out"]), number(&summary["packets"]), "every other packet is some venue's");
    for (venue, stages) in summary["ledger"].as_object().unwrap() {
        assert_eq!(stages[0]["dropped"], json!({}), "{venue}");
        assert!(stages[1]["dropped"].get("other group").is_none(), "{venue}");
    }
}

#[test]
fn venues_on_queues_of_their_own_are_found_in_whatever_queue_their_packets_are() {
    if !two_cpus() {
        return;
    }
    let bench = Bench::new();
    let mut file = bench.file.clone();
    for (queue, venue) in file["venues"].as_array_mut().unwrap().iter_mut().enumerate() {
        venue["feed"]["lines"][0]["queue"] = json!(queue);
    }
    // The device has one.
    let summary = bench.run(&tickpath, &file, None);
    (0..3).for_each(|venue| bench.assert_as_alone(venue));
    assert_eq!(summary["ports"][0]["ledger"]["dropped"], json!({ "no venue listens": bench.strays }));
}

#[test]
fn lines_of_one_venue_on_two_queues_are_found_in_the_one_that_the_device_has() {
    if !two_cpus() {
        return;
    }
    let bench = Bench::new();
    let mut file = alone(&bench.file, 0);
    let group = "233.200.1.1:26477";
    let lines = file["venues"][0]["feed"]["lines"].as_array_mut().unwrap();
    let own = lines[0]["groups"][0].as_str().unwrap().to_owned();
    lines.push(json!({ "port": "feeds", "queue": 1, "groups": [group] }));
    let line = |name, group: &str| {
        let options = format!("--protocol itch50 --seed 0 --messages 6000 --symbols 20 --group {group}");
        synth(bench.folder.path(), name, &options).0
    };
    let bench = {
        let captures = [line("a.pcap", &own), line("b.pcap", group)];
        let packets = merge(&captures, &bench.wire);
        Bench { packets, strays: 0, ..bench }
    };
    let name = file["venues"][0]["name"].as_str().unwrap().to_owned();
    let summary =
        bench.run_until(&tickpath, &file, None, &|summary| summary["ledger"][&name][0]["in"] == bench.packets);
    bench.assert_as_alone(0);
    assert!(summary.get("ports").is_none(), "nobody stands before the venue");
    let parse = &summary["ledger"][&name][1]["dropped"];
    assert!(parse.get("other group").is_none() && parse.get("wrong queue").is_none(), "{parse}");
    assert!(number(&parse["duplicate"]) > bench.packets / 3, "what came on one line came on the other: {parse}");
}

#[test]
fn a_venue_that_stalls_loses_its_own_packets_and_nobody_elses() {
    if !two_cpus() {
        return;
    }
    let bench = Bench::new();
    let mut file = bench.file.clone();
    file["ports"][0]["receiver"] = json!({ "depth": 128 });
    let stalled = &mut file["venues"][2];
    let name = stalled["name"].as_str().unwrap().to_owned();
    stalled["strategy"]["name"] = json!(Asleep::NAME);
    for stage in ["rx", "parse", "strategy", "encode", "tx"] {
        stalled["stages"][stage]["lcore"] = json!(2);
    }
    let program = |words: &[String]| {
        let mut command = common::again("child_that_is_the_program");
        command.env(WORDS, words.join("\n"));
        command
    };
    // Main shares a CPU with the lcore that receives.
    let summary = bench.run(&program, &file, Some("0@0,1@0,2@1"));
    (0..2).for_each(|venue| bench.assert_as_alone(venue));
    for (venue, stages) in summary["ledger"].as_object().unwrap() {
        let lost = stages[0]["dropped"].get("share full").map_or(0, number);
        assert_eq!(lost > 0, *venue == name, "{venue}: {}", stages[0]);
    }
    assert_eq!(summary["ports"][0]["ledger"]["dropped"], json!({ "no venue listens": bench.strays }));
}

#[test]
fn child_that_is_the_program() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words = ["tickpath"].into_iter().chain(words.lines()).map(Into::into);
    let code = Program::new().strategy::<Quoter>().strategy::<Asleep>().main_with(words);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// Keeps its lcore to itself for a tenth of a second at its first book.
struct Asleep(bool);

impl Strategy for Asleep {
    const NAME: &'static str = "asleep";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, _: usize) -> Result<Self, String> {
        Ok(Asleep(false))
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, _: &Book<'_>, _: &mut Orders) {
        if !std::mem::replace(&mut self.0, true) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}
