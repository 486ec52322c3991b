//! The same capture and parameters give the same orders, byte for byte, whatever the layout, burst, pace, rings and pools.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{Replayed, alone, in_bursts, number, on_lcores, replay_with, shipped, synth, with_pools, with_rings};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const LAYOUTS: [&str; 3] = ["1-lcore", "2-lcores", "5-lcores"];

/// Every stage changes lcores, two lcores take turns: segments of one venue above and below each other on one lcore.
const ZIGZAG: [u32; 5] = [1, 2, 1, 2, 1];

fn replayed(file: &Value, capture: &Path) -> Replayed {
    replay::replay(file, capture)
}

/// Orders enough that their equality says something.
#[track_caller]
fn assert_lively(run: &Replayed) {
    let orders = &run.summary["orders"];
    assert!(number(&orders["enter"]) >= 50 && number(&orders["replace"]) >= 100, "{orders}");
}

#[track_caller]
fn assert_same(expected: &Replayed, found: &Replayed, how: &str) {
    assert_eq!(expected.orders.len(), found.orders.len(), "{how}");
    for (expected, found) in expected.orders.iter().zip(&found.orders) {
        let at = expected.iter().zip(found).position(|(e, f)| e != f);
        assert!(expected == found, "{how}: {} and {} bytes, differ first at {at:?}", expected.len(), found.len());
    }
    assert_eq!(expected.books, found.books, "{how}");
    assert_eq!(expected.summary["messages"], found.summary["messages"], "{how}");
    assert_eq!(expected.summary["orders"], found.summary["orders"], "{how}");
}

/// Two thirds of a second of market with halts, all message types, a gap, a restart.
fn eventful(folder: &Path) -> PathBuf {
    let options = "--seed 7 --messages 20000 --symbols 40 --rate 30000 --mix all --gaps 1 --session-change 0.6 \
                   --duplicates 2 --reorder 1 --truncate 1 --bad-ip-checksums 1 --bad-udp-checksums 1";
    synth(folder, "eventful.pcap", options).0
}

#[test]
fn itch_orders_are_the_same_in_every_layout_and_burst() {
    let folder = tempfile::tempdir().unwrap();
    same_everywhere("itch", &eventful(folder.path()));
}

#[test]
fn deep_orders_are_the_same_in_every_layout_and_burst() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        "--protocol deep10 --seed 5 --messages 20000 --symbols 40 --gaps 1 --session-change 0.6 --duplicates 2";
    same_everywhere("deep", &synth(folder.path(), "deep.pcap", options).0);
}

fn same_everywhere(feed: &str, capture: &Path) {
    let shipped = |layout: &str| shipped(&format!("{feed}-{layout}"));
    let first = replayed(&shipped("1-lcore"), capture);
    assert_lively(&first);
    assert_same(&first, &replayed(&shipped("1-lcore"), capture), "again");
    for layout in LAYOUTS {
        for burst in [1, 8, 32] {
            let file = in_bursts(shipped(layout), burst);
            assert_same(&first, &replayed(&file, capture), &format!("{layout}, bursts of {burst}"));
        }
    }
    let zigzag = on_lcores(shipped("1-lcore"), ZIGZAG);
    assert_same(&first, &replayed(&zigzag, capture), "every stage changes lcores");
}

#[test]
fn orders_are_the_same_however_small_rings_and_pools_are() {
    let folder = tempfile::tempdir().unwrap();
    // Short: where lcores share CPUs, a ring of one takes turns for every element.
    let options = "--seed 7 --messages 2500 --symbols 5 --mix all --gaps 1 --session-change 0.6 --live-orders 100";
    let (capture, _) = synth(folder.path(), "short.pcap", options);
    let first = replayed(&shipped("itch-1-lcore"), &capture);
    assert!(number(&first.summary["orders"]["replace"]) > 10, "{}", first.summary["orders"]);
    for (layout, depth) in [("2-lcores", 1), ("5-lcores", 3), ("5-lcores", 31)] {
        let file = with_rings(shipped(&format!("itch-{layout}")), depth);
        assert_same(&first, &replayed(&file, &capture), &format!("{layout}, rings of {depth}"));
    }
    for (layout, feed, orders) in
        [("1-lcore", 1, 1), ("2-lcores", 1, 1), ("2-lcores", 40, 7), ("5-lcores", 2, 3), ("5-lcores", 64, 64)]
    {
        let file = with_pools(shipped(&format!("itch-{layout}")), feed, orders);
        assert_same(&first, &replayed(&file, &capture), &format!("{layout}, pools of {feed} and {orders}"));
    }
    let worst = with_pools(with_rings(on_lcores(shipped("itch-1-lcore"), ZIGZAG), 1), 1, 1);
    assert_same(&first, &replayed(&worst, &capture), "one of everything, on two lcores in turn");
}

#[test]
fn orders_are_the_same_paced_and_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = "--seed 3 --messages 30000 --symbols 30 --rate 15000 --live-orders 2000";
    let (capture, account) = synth(folder.path(), "paced.pcap", options);
    let span = number(&account["last_stamp_ns"]) - number(&account["first_stamp_ns"]);
    assert!((1_500_000_000..3_000_000_000).contains(&span), "about two seconds of market: {span} ns");
    let first = replayed(&shipped("itch-1-lcore"), &capture);
    assert_lively(&first);
    let capture = capture.to_str().unwrap();
    for (layout, options) in [
        ("1-lcore", &["--speed", "1x"][..]),
        ("2-lcores", &["--speed", "2x"]),
        ("5-lcores", &["--speed", "4x", "--max-idle", "1ms"]),
    ] {
        let paced = replay_with(&shipped(&format!("itch-{layout}")), &[capture], options);
        assert_same(&first, &paced, &format!("{layout} {options:?}"));
        if options[1] == "1x" {
            // `seconds` goes from the first packet to the last order.
            let market = last_stamp(first.orders()) - number(&account["first_stamp_ns"]);
            let took = paced.summary["seconds"].as_f64().unwrap() * 1e9;
            assert!(took >= market as f64 * 0.99, "{took} ns for {market} ns of market");
        }
    }
    // A strategy's time is the packet's, so stamps do not matter either.
    assert_same(&first, &replay_with(&shipped("itch-1-lcore"), &[capture], &["--no-stamps"]), "--no-stamps");
}

#[test]
fn files_in_sequence_are_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let capture = eventful(folder.path());
    let whole = replayed(&shipped("itch-1-lcore"), &capture);
    let pieces = cut(folder.path(), &capture, |at, _| (at / 1000).min(3));
    let pieces: Vec<&str> = pieces.iter().map(|p| p.to_str().unwrap()).collect();
    assert!(pieces.len() > 1);
    let single = |layout: &str| shipped(&format!("itch-{layout}"));
    assert_same(&whole, &replay_with(&single("1-lcore"), &pieces, &[]), "bare files");
    let bound = format!("feed={}", pieces.join(","));
    assert_same(
        &whole,
        &replay_with(&single("5-lcores"), &[&bound], &["--speed", "20x"]),
        "a list bound by name, paced",
    );
}

#[test]
fn laps_are_sessions_and_the_same_in_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, account) = synth(folder.path(), "laps.pcap", "--messages 6000 --symbols 20 --mix all");
    let capture = capture.to_str().unwrap();
    let once = replay_with(&shipped("itch-1-lcore"), &[capture], &[]);
    let thrice = replay_with(&shipped("itch-1-lcore"), &[capture], &["--loop", "3"]);
    let all: u64 = account["messages"].as_object().unwrap().values().map(number).sum();
    assert_eq!(once.messages().values().sum::<u64>(), all);
    assert_eq!(thrice.messages().values().sum::<u64>(), 3 * all);
    assert_eq!(thrice.counter("nasdaq", "line 0 laps"), 3);
    assert_eq!(thrice.counter("nasdaq", "feed session_starts"), 2, "the first lap is no restart");
    assert_eq!(thrice.counter("nasdaq", "feed gaps"), 0);
    assert_eq!(thrice.counter("nasdaq", "feed duplicate_packets"), 0);
    assert!(thrice.orders().starts_with(once.orders()), "the first lap is the whole of a single one");
    assert_eq!(once.books, thrice.books, "every lap ends in the same books");
    for layout in ["2-lcores", "5-lcores"] {
        let file = in_bursts(shipped(&format!("itch-{layout}")), 8);
        assert_same(&thrice, &replay_with(&file, &[capture], &["--loop", "3"]), layout);
    }
}

/// The ITCH pipeline with line B beside A: on A's port, or on one of its own.
fn both_lines(layout: &str, ports: [&str; 2]) -> Value {
    let mut file = shipped(&format!("itch-{layout}"));
    file["venues"][0]["feed"]["lines"] = json!([
        { "port": ports[0], "groups": ["233.54.12.111:26477"] },
        { "port": ports[1], "groups": ["233.49.196.111:26477"] },
    ]);
    if ports[0] != ports[1] {
        file["ports"].as_array_mut().unwrap().push(json!({ "name": ports[1], "driver": "capture" }));
    }
    file
}

#[test]
fn a_second_line_heals_what_befell_the_first_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let stream = "--seed 11 --messages 20000 --symbols 40 --mix all";
    let (clean, _) = synth(folder.path(), "clean.pcap", stream);
    let harmed = format!(
        "{stream} --second-line --second-line-delay 0 --gaps 3 --duplicates 3 --reorder 3 --truncate 3 \
         --bad-ip-checksums 3 --bad-udp-checksums 3 --second-line-loss 3"
    );
    let (two_lines, _) = synth(folder.path(), "two-lines.pcap", &harmed);
    let alone = replayed(&shipped("itch-1-lcore"), &clean);
    assert_lively(&alone);
    for layout in LAYOUTS {
        let one_port = replayed(&both_lines(layout, ["feed", "feed"]), &two_lines);
        assert_same(&alone, &one_port, &format!("both lines on one port, {layout}"));
        assert_eq!(one_port.counter("nasdaq", "feed lost_messages"), 0);
    }
    // The VLAN tag (141 or 142) tells the lines apart.
    let lines = cut(folder.path(), &two_lines, |_, frame| usize::from(frame[15] == 142));
    let bound: Vec<String> =
        ["feed", "feed-b"].iter().zip(&lines).map(|(port, path)| format!("{port}={}", path.display())).collect();
    let bound: Vec<&str> = bound.iter().map(String::as_str).collect();
    for layout in LAYOUTS {
        let two_ports = replay_with(&both_lines(layout, ["feed", "feed-b"]), &bound, &[]);
        assert_same(&alone, &two_ports, &format!("a port for each line, {layout}"));
    }
}

#[test]
fn the_deep_samples_orders_are_the_same_in_every_layout_and_burst() {
    let Some(captures) = common::captures() else { return };
    let capture = captures.join("iex-deep10/sample-first-60000.pcap.gz");
    let first = replayed(&shipped("deep-1-lcore"), &capture);
    assert!(number(&first.summary["orders"]["enter"]) > 0, "{}", first.summary["orders"]);
    for (layout, burst) in [("1-lcore", 1), ("1-lcore", 8), ("2-lcores", 32), ("5-lcores", 1), ("5-lcores", 32)] {
        let file = in_bursts(shipped(&format!("deep-{layout}")), burst);
        assert_same(&first, &replayed(&file, &capture), &format!("{layout}, bursts of {burst}"));
    }
    let tight = with_rings(with_pools(shipped("deep-5-lcores"), 3, 3), 2);
    assert_same(&first, &replayed(&tight, &capture), "rings of 2, pools of 3");
}

#[test]
fn venues_share_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, _) = synth(folder.path(), "one.pcap", "--seed 1 --messages 12000 --symbols 30");
    let (other, _) = synth(folder.path(), "other.pcap", "--seed 2 --messages 9000 --symbols 20");
    let mut file = shipped("two-venues");
    for key in ["feed", "book"] {
        let of_nasdaq = file["venues"][0][key].clone();
        file["venues"][1][key] = of_nasdaq;
    }
    file["venues"][1]["feed"]["lines"][0]["port"] = json!("iex-feed");
    let bound = [format!("nasdaq-feed={}", one.display()), format!("iex-feed={}", other.display())];
    let both = replay_with(&file, &[&bound[0], &bound[1]], &[]);
    let singles = [replayed(&alone(&file, 0), &one), replayed(&alone(&file, 1), &other)];
    for (venue, single) in singles.iter().enumerate() {
        assert_lively(single);
        assert!(both.orders[venue] == single.orders(), "venue {venue}");
    }
    // All on one lcore, taking turns.
    for stage in ["rx", "parse", "strategy", "encode", "tx"] {
        file["venues"][0]["stages"][stage]["lcore"] = json!(1);
        file["venues"][1]["stages"][stage]["lcore"] = json!(1);
    }
    let in_turn = replay_with(&file, &[&bound[0], &bound[1]], &[]);
    assert_same(&both, &in_turn, "both venues on one lcore");
}

#[test]
fn the_shipped_venues_share_nothing() {
    let Some(captures) = common::captures() else { return };
    let deep = captures.join("iex-deep10/sample-first-60000.pcap.gz");
    let folder = tempfile::tempdir().unwrap();
    let (itch, _) = synth(folder.path(), "itch.pcap", "--seed 5 --messages 12000 --symbols 30");
    let file = shipped("two-venues");
    let bound = [format!("nasdaq-feed={}", itch.display()), format!("iex-feed={}", deep.display())];
    let both = replay_with(&file, &[&bound[0], &bound[1]], &[]);
    assert!(both.orders[0] == replayed(&shipped("itch-1-lcore"), &itch).orders());
    assert!(both.orders[1] == replayed(&alone(&file, 1), &deep).orders());
}

/// Stamp of the last frame of a ns pcap, in ns.
fn last_stamp(pcap: &[u8]) -> u64 {
    let word = |at: usize| u64::from(u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap()));
    let (mut at, mut stamp) = (24, 0);
    while at < pcap.len() {
        stamp = word(at) * 1_000_000_000 + word(at + 4);
        at += 16 + word(at + 8) as usize;
    }
    stamp
}

/// The frames of a pcap file dealt out to several: `of` says which (index and bytes of the frame in).
fn cut(folder: &Path, capture: &Path, of: impl Fn(usize, &[u8]) -> usize) -> Vec<PathBuf> {
    let bytes = std::fs::read(capture).unwrap();
    let (header, mut rest) = bytes.split_at(24);
    let mut files: Vec<Vec<u8>> = Vec::new();
    for at in 0.. {
        let Some(length) = rest.get(8..12) else { break };
        let length = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let file = of(at, &rest[16..length]);
        files.resize_with(files.len().max(file + 1), || header.to_vec());
        files[file].extend(&rest[..length]);
        rest = &rest[length..];
    }
    let name = |i: usize| folder.join(format!("piece-{i}.pcap"));
    files.iter().enumerate().for_each(|(i, file)| std::fs::write(name(i), file).unwrap());
    (0..files.len()).map(name).collect()
}
