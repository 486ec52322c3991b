//! A journal and captures of the feed make every decision again, byte for byte; what was tampered with, changed or is missing
//! is noticed and named.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{Replayed, finish, number, on_lcores, replay_with, shipped, synth, text, tickpath, write_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Enough of everything: halts, all message types, gaps, a restart, broken packets.
const EVENTFUL: &str = "--seed 7 --messages 20000 --symbols 40 --rate 30000 --mix all --gaps 1 --session-change 0.6 \
                        --duplicates 2 --reorder 1 --truncate 1 --bad-ip-checksums 1 --bad-udp-checksums 1";

/// A replay and its journal.
struct Journaled {
    folder: tempfile::TempDir,
    file: Value,
    run: Replayed,
}

/// A journal followed.
struct Again {
    output: Output,
    summary: Value,
    orders: Vec<u8>,
}

fn journaled(file: &Value, captures: &[&str]) -> Journaled {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let run = replay_with(file, captures, &["--trace", trace.to_str().unwrap(), "--write-journal"]);
    let sent: u64 = run.summary["orders"].as_object().unwrap().values().map(number).sum();
    assert!(sent > 200, "{}", run.summary["orders"]);
    Journaled { folder, file: file.clone(), run }
}

impl Journaled {
    fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// The journal's only file.
    fn journal(&self) -> PathBuf {
        let files = std::fs::read_dir(self.trace()).unwrap().map(|entry| entry.unwrap().path());
        let mut journals = files.filter(|path| path.extension().is_some_and(|end| end == "tpjournal"));
        let journal = journals.next().unwrap();
        assert!(journals.next().is_none());
        journal
    }

    fn follow(&self, captures: &[&str]) -> Again {
        follow(&self.file, captures, &self.trace(), &[])
    }
}

fn follow(file: &Value, captures: &[&str], journal: &Path, options: &[&str]) -> Again {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut command = tickpath();
    command.arg("replay").arg(write_json(folder.path(), "pipeline.json", file)).args(captures);
    command.arg("--journal").arg(journal).arg("--orders").arg(at("orders.pcap"));
    command.arg("--summary").arg(at("summary.json")).args(options);
    let output = finish(command);
    let summary = std::fs::read(at("summary.json")).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    Again { summary, orders: std::fs::read(at("orders.pcap")).unwrap_or_default(), output }
}

impl Again {
    fn said(&self) -> String {
        text(&self.output.stdout) + &text(&self.output.stderr)
    }

    #[track_caller]
    fn assert_same(&self, run: &Journaled, venue: &str) {
        assert!(self.output.status.success(), "{}", self.said());
        assert!(self.said().contains("all identical"), "{}", self.said());
        let followed = &self.summary["journal"][venue];
        let orders: u64 = run.run.summary["orders"].as_object().unwrap().values().map(number).sum();
        assert_eq!((&followed["difference"], number(&followed["orders"])), (&Value::Null, orders));
        assert!(self.orders == run.run.orders(), "the order messages differ");
    }

    /// Exit code 1 and these words.
    #[track_caller]
    fn assert_noticed(&self, words: &[&str]) {
        assert_eq!(self.output.status.code(), Some(1), "{}", self.said());
        for word in words {
            assert!(self.said().contains(word), "{word:?} in {}", self.said());
        }
    }
}

#[test]
fn itch_orders_are_made_again_byte_for_byte_from_any_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "eventful.pcap", EVENTFUL);
    let capture = capture.to_str().unwrap();
    for layout in [[1; 5], [1, 1, 2, 2, 2], [1, 2, 3, 4, 5]] {
        let run = journaled(&on_lcores(shipped("itch-1-lcore"), layout), &[capture]);
        run.follow(&[capture]).assert_same(&run, "nasdaq");
    }
}

#[test]
fn deep_orders_are_made_again_byte_for_byte_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        "--protocol deep10 --seed 5 --messages 20000 --symbols 40 --gaps 1 --session-change 0.6 --duplicates 2";
    let (capture, _) = synth(folder.path(), "deep.pcap", options);
    let capture = capture.to_str().unwrap();
    let run = journaled(&shipped("deep-1-lcore"), &[capture]);
    assert!(run.run.counter("iex", "feed session_starts") > 0);
    run.follow(&[capture]).assert_same(&run, "iex");
}

#[test]
fn a_message_is_taken_from_whatever_capture_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("{EVENTFUL} --second-line=233.49.196.111:26477 --second-line-loss 20");
    let (both, _) = synth(folder.path(), "both.pcap", &options);
    let both = both.to_str().unwrap();
    let mut file = shipped("itch-1-lcore");
    file["venues"][0]["feed"]["lines"] = json!([
        { "port": "feed", "groups": ["233.54.12.111:26477"] },
        { "port": "feed", "groups": ["233.49.196.111:26477"] },
    ]);
    let run = journaled(&file, &[both]);
    run.follow(&[both]).assert_same(&run, "nasdaq");
    // Another order of the same packets: the journal knows which message was taken when.
    run.follow(&[&format!("feed={both}"), &format!("again={both}")]).assert_same(&run, "nasdaq");
}

#[test]
fn changed_parameters_are_noticed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "eventful.pcap", EVENTFUL);
    let capture = capture.to_str().unwrap();
    let limited = |shares: u32| {
        let mut file = shipped("itch-1-lcore");
        file["venues"][0]["risk"]["limits"] = json!({ "shares": shares });
        file
    };
    let mut run = journaled(&limited(100_000), &[capture]);
    run.file = limited(1);
    run.follow(&[capture]).assert_noticed(&[
        "NOT THE SAME after 0 orders",
        "handed down; now",
        "refused: risk: shares",
        "risk.limits.shares was 100000 and is 1",
    ]);
}

#[test]
fn a_capture_that_lacks_a_packet_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 3 --messages 20000 --symbols 20 --rate 30000");
    let run = journaled(&shipped("itch-1-lcore"), &[capture.to_str().unwrap()]);
    let bytes = std::fs::read(&capture).unwrap();
    // A classic pcap: 24 bytes, then records with their length at 8.
    let mut at = 24;
    for _ in 0..2000 {
        at += 16 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    let next = at + 16 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let holed = folder.path().join("holed.pcap");
    std::fs::write(&holed, [&bytes[..at], &bytes[next..]].concat()).unwrap();
    run.follow(&[holed.to_str().unwrap()]).assert_noticed(&["NOT THE SAME", "is in no capture"]);
}

#[test]
fn a_journal_cut_anywhere_is_followed_to_its_last_whole_block() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "eventful.pcap", EVENTFUL);
    let capture = capture.to_str().unwrap();
    let run = journaled(&shipped("itch-1-lcore"), &[capture]);
    let whole = std::fs::read(run.journal()).unwrap();
    let cut = folder.path().join("cut.tpjournal");
    for length in [whole.len() - 1, whole.len() / 2] {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let again = follow(&run.file, &[capture], &cut, &[]);
        assert!(again.output.status.success(), "{}", again.said());
        assert!(again.said().contains("killed, or is still going"), "{}", again.said());
        assert!(run.run.orders().starts_with(&again.orders), "the beginning of the same orders");
    }
    std::fs::write(&cut, &whole[..40]).unwrap();
    let again = follow(&run.file, &[capture], &cut, &[]);
    assert_eq!(again.output.status.code(), Some(2), "{}", again.said());
}

#[test]
fn a_tampered_decision_is_noticed_though_its_checksums_are_good() {
    use tickpath::journal::{Coder, Item, code::decode, slots};
    use tickpath::latency::trace::{Block, Reader, Rotation, Writer};
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "eventful.pcap", EVENTFUL);
    let capture = capture.to_str().unwrap();
    let run = journaled(&shipped("itch-1-lcore"), &[capture]);
    let mut reader = Reader::open(&run.journal()).unwrap();
    let forged = folder.path().join("forged");
    let mut writer = Writer::journal(&forged, reader.header().clone(), Rotation::default()).unwrap();
    let (mut coder, mut orders) = (Coder::new(0), 0);
    while let Some(block) = reader.next().unwrap() {
        let Block::Journal(block) = block else { continue };
        let mut entries = decode(&block).unwrap().slots;
        let mut at = 0;
        while at < entries.len() {
            let length = slots(&entries[at]).unwrap();
            if let Some(Item::Order(_)) = Item::of(&entries[at..at + length]) {
                orders += 1;
                if orders == 100 {
                    // The price, by a ten-thousandth.
                    entries[at][3] += 1;
                }
            }
            at += length;
        }
        coder.take(&entries);
        writer.entries(&coder.block(false));
    }
    writer.finish();
    follow(&run.file, &[capture], &forged, &[]).assert_noticed(&["NOT THE SAME after 9", "order "]);
}

#[test]
fn a_journal_that_lost_entries_says_where_and_is_followed_to_there() {
    use tickpath::journal::{Coder, code::decode};
    use tickpath::latency::trace::{Block, Reader, Rotation, Writer};
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "eventful.pcap", EVENTFUL);
    let capture = capture.to_str().unwrap();
    let run = journaled(&shipped("itch-1-lcore"), &[capture]);
    let entries = |block: &[u8]| decode(block).unwrap().slots;
    for (lost, hole, word) in
        [(true, false, "was full after entry"), (false, true, "1 entries are missing after entry")]
    {
        let mut reader = Reader::open(&run.journal()).unwrap();
        let forged = folder.path().join(word);
        let mut writer = Writer::journal(&forged, reader.header().clone(), Rotation::default()).unwrap();
        let mut coder = Coder::new(0);
        let first = std::iter::from_fn(|| match reader.next().unwrap()? {
            Block::Journal(block) => Some(block),
            _ => None,
        })
        .next()
        .unwrap();
        coder.take(&entries(&first));
        writer.entries(&coder.block(lost));
        if hole {
            coder.take(&tickpath::journal::stop());
            let _ = coder.block(false);
            coder.take(&tickpath::journal::stop());
            writer.entries(&coder.block(false));
        }
        writer.finish();
        let again = follow(&run.file, &[capture], &forged, &[]);
        assert!(again.output.status.success(), "{}", again.said());
        assert!(again.said().contains(word) && again.said().contains("before the run did"), "{}", again.said());
        assert!(run.run.orders().starts_with(&again.orders), "the beginning of the same orders");
    }
}

#[test]
fn the_report_names_the_command_that_decides_a_slow_trade_again() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", EVENTFUL);
    let run = journaled(&shipped("itch-1-lcore"), &[capture.to_str().unwrap()]);
    let report = |options: &[&str]| {
        let mut command = tickpath();
        command.arg("report").arg(run.trace()).args(["--slowest", "1"]).args(options);
        let output = finish(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let report_json: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    let trade = &report_json["runs"][0]["slowest"][0];
    let command = trade["replay"].as_str().unwrap();
    assert!(report(&[]).contains(command));
    let page = folder.path().join("page.html");
    report(&["--html", page.to_str().unwrap()]);
    assert!(std::fs::read_to_string(page).unwrap().contains(command), "{command}");

    // As a person would: in the capture's folder, with the pipeline file of the run.
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[..2], ["tickpath", "replay"]);
    let pipeline = write_json(folder.path(), "pipeline.json", &run.file);
    let mut again = tickpath();
    again.current_dir(folder.path()).arg("replay").arg(pipeline).args(&words[3..]);
    let output = finish(again);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let id = trade["order_id"].as_u64().unwrap();
    assert!(said.contains(&format!("order {id}")) && said.contains("decided on packet of channel 0"), "{said}");
}

#[test]
fn without_a_folder_or_over_laps_there_is_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 1000");
    let pipeline = write_json(folder.path(), "pipeline.json", &shipped("itch-1-lcore"));
    for (options, word) in
        [(&["--write-journal"][..], "there is none"), (&["--write-journal", "--trace", "t", "--loop", "2"], "one lap")]
    {
        let mut command = tickpath();
        command.current_dir(folder.path()).arg("replay").arg(&pipeline).arg(&capture).args(options);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
}
