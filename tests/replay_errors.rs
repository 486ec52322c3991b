//! What cannot be done is refused: one `error:` that names the thing, a `help:` or a remedy, an exit code that is not 0,
//! and no file left that could be taken for a result.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{check, finish, shipped, synth, text, tickpath, write_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with a good pipeline file and a good capture.
struct Bench {
    folder: TempDir,
    pipeline: String,
    capture: String,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = write_json(folder.path(), "pipeline.json", &shipped("itch-1-lcore"));
        let (capture, _) = synth(folder.path(), "good.pcap", "--messages 3000 --symbols 10");
        let [pipeline, capture] = [pipeline, capture].map(|path| path.to_str().unwrap().to_owned());
        Bench { folder, pipeline, capture }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn variant(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut file = shipped("itch-1-lcore");
        change(&mut file);
        write_json(self.folder.path(), "variant.json", &file).to_str().unwrap().to_owned()
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        list(self.folder.path())
    }

    /// The refusal of a replay that would write all there is to write.
    #[track_caller]
    fn replay_refused(&self, pipeline: &str, captures: &[&str], words: &[&str]) -> String {
        let [orders, summary, books] = ["out.pcap", "out.json", "out.jsonl"].map(|name| self.path(name));
        let outputs = ["--orders", orders.to_str().unwrap(), "--summary", summary.to_str().unwrap(), "--books"];
        let (captures, eal) = match captures.iter().position(|word| *word == "--") {
            Some(at) => captures.split_at(at),
            None => (captures, &[][..]),
        };
        let line = [&["replay", pipeline], captures, &outputs, &[books.to_str().unwrap()], eal].concat();
        self.refused(&line, words)
    }

    /// The refusal of a command, which leaves every file as it was.
    #[track_caller]
    fn refused(&self, line: &[&str], words: &[&str]) -> String {
        let before = self.files();
        let mut command = tickpath();
        command.args(line).current_dir(self.folder.path());
        let output = finish(command);
        let said = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line:?}: {:?}\n{said}", output.status);
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{line:?}: one error\n{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(text(&output.stdout), "", "{line:?}: nothing that looks like a result");
        for word in words {
            assert!(said.contains(word), "{line:?}: {word:?} is missing in\n{said}");
        }
        assert_eq!(self.files(), before, "{line:?}: no file is left behind");
        said
    }
}

fn list(folder: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_capture_that_is_none_is_refused_by_name() {
    let bench = Bench::new();
    let p = bench.pipeline.as_str();
    bench.replay_refused(p, &["absent.pcap"], &["absent.pcap", "No such file"]);
    bench.replay_refused(p, &[&bench.file("empty.pcap", b"")], &["empty.pcap", "empty"]);
    bench.replay_refused(p, &[&bench.file("notes.txt", b"not a capture at all, just words\n")], &["notes.txt", "pcap"]);
    bench.replay_refused(p, &[bench.folder.path().to_str().unwrap()], &["directory"]);
    let good = std::fs::read(&bench.capture).unwrap();
    let mut cooked = good.clone();
    cooked[20..24].copy_from_slice(&113u32.to_le_bytes());
    bench.replay_refused(p, &[&bench.file("cooked.pcap", &cooked)], &["cooked.pcap", "Ethernet"]);
    bench.replay_refused(p, &[&bench.file("stub.pcap", &good[..13])], &["stub.pcap"]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, b"words in a gzip file").unwrap();
    bench.replay_refused(p, &[&bench.file("words.pcap.gz", &gz.finish().unwrap())], &["words.pcap.gz"]);
    // The second of two, and one of a list bound by name.
    bench.replay_refused(p, &[&bench.capture, "absent.pcap"], &["absent.pcap"]);
    bench.replay_refused(p, &[&format!("feed={},absent.pcap", bench.capture)], &["absent.pcap"]);
}

#[test]
fn a_truncated_capture_is_replayed_as_far_as_it_goes_with_a_warning() {
    let bench = Bench::new();
    let good = std::fs::read(&bench.capture).unwrap();
    for (name, bytes) in [("body.pcap", &good[..good.len() - 7]), ("head.pcap", &good[..good.len() - 200])] {
        let cut = bench.file(name, bytes);
        let run = replay::replay(&shipped("itch-1-lcore"), Path::new(&cut));
        let warnings = run.summary["warnings"].to_string();
        assert!(warnings.contains(name), "{warnings}");
        assert!(run.stdout.contains(name) || run.stderr.contains(name), "{}{}", run.stdout, run.stderr);
        assert!(run.summary["packets"].as_u64().unwrap() > 100);
    }
    let whole = replay::replay(&shipped("itch-1-lcore"), Path::new(&bench.capture));
    assert_eq!(whole.summary["warnings"], json!([]));
}

#[test]
fn a_pipeline_file_that_is_wrong_is_refused_with_its_json_path() {
    let bench = Bench::new();
    let c = bench.capture.as_str();
    bench.replay_refused("absent.json", &[c], &["absent.json", "help: "]);
    bench.replay_refused(&bench.file("broken.json", b"{ \"ports\": [,] }"), &[c], &["broken.json", "line 1"]);
    let variant = bench.variant(|file| file["venues"][0]["feed"]["protocoll"] = json!("itch50"));
    bench.replay_refused(&variant, &[c], &["venues[0].feed", "`protocoll`", "help: did you mean `protocol`?"]);
    let variant = bench.variant(|file| file["venues"][0]["strategy"]["parameters"] = json!({ "half_spread": 2 }));
    let words = ["venues[0].strategy.parameters", "`half_spread`", "half_spread_ticks"];
    bench.replay_refused(&variant, &[c], &words);
    let variant = bench.variant(|file| file["venues"][0]["strategy"]["name"] = json!("qouter"));
    bench.replay_refused(&variant, &[c], &["venues[0].strategy.name", "`qouter`", "did you mean `quoter`?"]);
    let variant = bench.variant(|file| file["venues"][0]["feed"]["lines"][0]["port"] = json!("fed"));
    bench.replay_refused(&variant, &[c], &["venues[0].feed.lines[0].port", "`fed`", "did you mean `feed`?"]);
    let variant = bench.variant(|file| file["venues"][0]["orders"]["port"] = json!("feed"));
    bench.replay_refused(&variant, &[c], &["venues[0].orders.queue", "already polled by rx", "help: "]);
    let variant = bench.variant(|file| file["venues"][0]["stages"]["rx"]["burst"] = json!(65));
    bench.replay_refused(&variant, &[c], &["venues[0].stages.rx.burst", "65", "64"]);
    let variant = bench.variant(|file| file["venues"][0]["stages"].as_object_mut().unwrap().clear());
    bench.replay_refused(&variant, &[c], &["venues[0].stages", "rx"]);
}

#[test]
fn a_capture_for_a_port_that_is_not_there_is_refused() {
    let bench = Bench::new();
    let p = bench.pipeline.as_str();
    bench.replay_refused(p, &[&format!("fed={}", bench.capture)], &["\"fed\"", "feed, orders", "help: "]);
    let variant = bench.variant(|file| {
        file["ports"][0] = json!({ "name": "feed", "driver": "ethdev", "device": "net_null0" });
    });
    bench.replay_refused(&variant, &[&bench.capture], &["\"capture\"", "NAME=FILE"]);
    let two = write_json(bench.folder.path(), "two.json", &shipped("two-venues"));
    let one_only = format!("nasdaq-feed={}", bench.capture);
    bench.replay_refused(two.to_str().unwrap(), &[&one_only], &["iex-feed", "iex-feed=FILE"]);
    // An order port takes no capture.
    let orders = format!("orders={}", bench.capture);
    bench.replay_refused(p, &[&orders, &bench.capture], &["orders"]);
}

#[test]
fn eal_arguments_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let (p, c) = (bench.pipeline.as_str(), bench.capture.as_str());
    let safe = ["--", "--no-huge", "-m", "512", "--no-pci"];
    let with = |more: &[&'static str]| [&[c], &safe[..], more].concat();
    bench.replay_refused(p, &with(&["-l", "0,200-201"]), &["lcore 1", "help: "]);
    bench.replay_refused(p, &with(&["-l", "1,2"]), &["lcore 1", "main lcore", "help: "]);
    bench.replay_refused(p, &with(&["--lcores", "0@0,1@4000"]), &["CPUs", "help: "]);
    bench.replay_refused(p, &with(&["--lcores", "0@"]), &["--lcores", "help: "]);
    bench.replay_refused(p, &with(&["--bogus"]), &["--bogus", "EAL"]);
    bench.replay_refused(p, &[c, "--", "--no-huge", "-m", "8", "--no-pci"], &["-m", "help: "]);
    bench.replay_refused(p, &[c, "--eal-file", "absent.eal"], &["absent.eal", "help: "]);
    // Five lcores of one's own on fewer CPUs: nothing is shared behind one's back.
    let five = write_json(bench.folder.path(), "five.json", &shipped("itch-5-lcores"));
    bench.replay_refused(five.to_str().unwrap(), &with(&["--lcores", "0@0,(1-5)@(0-1)"]), &["CPUs", "help: "]);
}

#[test]
fn output_that_cannot_be_written_is_refused_before_the_work() {
    let bench = Bench::new();
    for option in ["--orders", "--summary", "--books"] {
        let line = ["replay", &bench.pipeline, &bench.capture, option, "absent-folder/out"];
        bench.refused(&line, &["absent-folder/out", "No such file"]);
        std::fs::create_dir_all(bench.path("folder")).unwrap();
        bench.refused(&["replay", &bench.pipeline, &bench.capture, option, "folder"], &["folder"]);
    }
    bench.refused(&["synth", "absent-folder/out.pcap"], &["absent-folder/out.pcap"]);
}

#[test]
fn a_capture_is_not_overwritten_by_the_orders_it_causes() {
    let bench = Bench::new();
    let before = std::fs::read(&bench.capture).unwrap();
    bench.refused(&["replay", &bench.pipeline, &bench.capture, "--orders", &bench.capture], &["good.pcap"]);
    bench.refused(&["replay", &bench.pipeline, &bench.capture, "--summary", "good.pcap"], &["good.pcap"]);
    bench.refused(&["replay", &bench.pipeline, &bench.capture, "--books", "./good.pcap"], &["good.pcap"]);
    bench.refused(&["replay", &bench.pipeline, &bench.capture, "--books", "x", "--summary", "x"], &["x"]);
    assert!(before == std::fs::read(&bench.capture).unwrap());
}

#[test]
fn run_refuses_what_is_not_live() {
    let bench = Bench::new();
    bench.refused(&["run", &bench.pipeline], &["`feed`", "capture", "help: "]);
    let ethdev = |name: &str, device: &str| json!({ "name": name, "driver": "ethdev", "device": device });
    let missing =
        bench.variant(|file| file["ports"] = json!([ethdev("feed", "net_nonesuch0"), ethdev("orders", "net_null1")]));
    let eal = ["--", "--no-huge", "-m", "512", "--no-pci", "--vdev=net_null1"];
    bench.refused(&[&["run", missing.as_str()], &eal[..]].concat(), &["net_nonesuch0"]);
    let five = |file: &mut Value| {
        *file = shipped("itch-5-lcores");
        file["ports"] = json!([ethdev("feed", "net_null0"), ethdev("orders", "net_null1")]);
    };
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus <= 5 {
        let eal = ["--", "--no-huge", "-m", "512", "--no-pci", "--vdev=net_null0", "--vdev=net_null1"];
        bench.refused(&[&["run", bench.variant(five).as_str()], &eal[..]].concat(), &["CPUs", "help: "]);
    }
}

#[test]
fn a_frame_of_any_kind_costs_a_counter() {
    // Frames of every length from nothing to a full one, cut out of good ones, between good ones.
    let bench = Bench::new();
    let good = std::fs::read(&bench.capture).unwrap();
    let mut odd = good[..24].to_vec();
    let (mut rest, mut length) = (&good[24..], 0);
    while rest.len() >= 16 {
        let body = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (record, next) = rest.split_at(16 + body);
        odd.extend(record);
        let cut = length % (body + 1);
        odd.extend(&record[..8]);
        odd.extend((cut as u32).to_le_bytes());
        odd.extend(&record[12..16 + cut]);
        (rest, length) = (next, length + 1);
    }
    let path = bench.file("odd.pcap", &odd);
    let run = replay::replay(&shipped("itch-2-lcores"), Path::new(&path));
    assert_eq!(run.summary["packets"], 2 * length);
    check(&run.summary);
    let messages: u64 = run.messages().values().sum();
    assert_eq!(messages, 3000, "what is good is taken");
    assert!(run.dropped("nasdaq", "parse", "malformed") > 0);
}
