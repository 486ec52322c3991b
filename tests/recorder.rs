//! Every order's record reaches the trace, the histograms and whoever asks over HTTP, and none of that changes an order.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{Replayed, number, on_lcores, replay_with, shipped, synth, tickpath, write_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tickpath::latency::hop::{self, Hop};
use tickpath::latency::record::{Kind, Record, StampDomain};
use tickpath::latency::snapshot::Snapshot;
use tickpath::latency::trace::{Block, Header, Losses, runs};

/// What a folder of traces holds: of one run, undamaged, ended.
fn read(folder: &Path) -> (Header, Vec<Record>, usize) {
    let found = runs(&[folder.to_owned()]).unwrap();
    let [run] = &found.runs[..] else { panic!("one run wrote {}", folder.display()) };
    let mut reader = run.read();
    let (mut records, mut intervals) = (Vec::new(), 0);
    while let Some(block) = reader.next().unwrap() {
        match block {
            Block::Records(some) => records.extend_from_slice(some),
            Block::Interval(_) => intervals += 1,
            _ => {}
        }
    }
    assert_eq!(reader.losses(), Losses::default());
    (run.header.clone(), records, intervals)
}

/// Replay with a trace, and what is in it.
fn traced(file: &Value, capture: &Path, options: &[&str]) -> (Replayed, Header, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let traces = folder.path().join("traces");
    let arguments = [&["--trace", traces.to_str().unwrap()], options].concat();
    let run = replay_with(file, &[capture.to_str().unwrap()], &arguments);
    let (header, records, intervals) = read(&traces);
    assert!(intervals >= 1);
    assert_eq!(number(&run.summary["recorder"]["records"]), records.len() as u64);
    assert_eq!(run.summary["recorder"]["lost_ring"], 0, "the ring is deep enough for a test");
    (run, header, records)
}

/// A pipeline whose rings to the recorder hold whatever a test sends.
fn deep(name: &str) -> Value {
    let mut file = shipped(name);
    file["record"] = json!({ "ring_depth": 65536 });
    file
}

#[test]
fn the_trace_has_every_order_once_with_all_its_stamps_in_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 3 --messages 60000 --symbols 50");
    let plain = replay_with(&shipped("itch-1-lcore"), &[capture.to_str().unwrap()], &[]);
    for lcores in [[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 2, 3, 4, 5]] {
        let (run, header, records) = traced(&on_lcores(deep("itch-1-lcore"), lcores), &capture, &[]);
        assert_eq!(run.orders(), plain.orders(), "recording changes no order");
        assert_eq!(header.venues[0].lcores, lcores);
        assert_eq!(header.captures[0].name, "a.pcap");
        assert!(header.fingerprint.0.contains_key("kernel.release"));

        let sent: Vec<&Record> = records.iter().filter(|r| r.kind() == Some(Kind::Sent)).collect();
        let orders: u64 = run.summary["orders"].as_object().unwrap().values().map(number).sum();
        assert_eq!(sent.len() as u64, orders);
        // A cancel names the order that it cancels, so that one has two records.
        let ids: BTreeSet<(u64, u8)> = sent.iter().map(|r| (r.order_id, r.order_kind)).collect();
        assert_eq!(ids.len(), sent.len());
        for record in &sent {
            let spans = hop::software(record).unwrap_or_else(|| panic!("stamps in order: {record:?}"));
            assert!(record.rx_tsc > 0 && record.sequence > 0 && record.arrival_ns > 0, "{record:?}");
            assert!(record.burst_position < record.burst_size, "{record:?}");
            assert_eq!(spans.iter().sum::<u64>(), record.doorbell_tsc - record.rx_tsc);
            for (waiting, ring) in record.occupancy.iter().zip(header.venues[0].rings) {
                match ring {
                    Some(depth) => assert!((1..=depth).contains(&u32::from(*waiting)), "{record:?}"),
                    None => assert_eq!(*waiting, 0, "{record:?}"),
                }
            }
        }
        let whole = run.summary["hops"]["nasdaq"].as_array().unwrap().last().unwrap();
        assert_eq!((whole["hop"].as_str(), number(&whole["count"])), (Some(Hop::RxDoorbell.name()), orders));
    }
}

#[test]
fn one_packet_in_so_many_of_those_without_an_order_is_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 4 --messages 40000 --symbols 50");
    let mut file = deep("itch-1-lcore");
    file["record"]["sample_every"] = json!(16);
    let (run, _, records) = traced(&file, &capture, &[]);
    let sampled: Vec<&Record> = records.iter().filter(|r| r.kind() == Some(Kind::Sampled)).collect();
    let causes: BTreeSet<u64> = records.iter().filter(|r| r.kind() == Some(Kind::Sent)).map(|r| r.sequence).collect();
    let applied = number(&run.summary["ledger"]["nasdaq"][1]["out"]);
    // The countdown runs over all packets and stops at those that cause an order.
    assert!((applied / 16 - causes.len() as u64..=applied / 16).contains(&(sampled.len() as u64)), "{}", sampled.len());
    for record in sampled {
        assert!(!causes.contains(&record.sequence), "{record:?}");
        let stamps = [record.rx_tsc, record.parsed_tsc, record.book_tsc, record.decided_tsc];
        assert!(stamps[0] > 0 && stamps.is_sorted() && record.doorbell_tsc == 0, "{record:?}");
    }
    file["record"]["sample_every"] = json!(0);
    let (_, _, records) = traced(&file, &capture, &[]);
    assert!(records.iter().all(|r| r.kind() == Some(Kind::Sent)));
}

#[test]
fn a_full_ring_loses_records_and_counts_them_and_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 5 --messages 60000 --symbols 50");
    let captures = [capture.to_str().unwrap()];
    let plain = replay_with(&deep("itch-1-lcore"), &captures, &[]);
    let mut shallow = deep("itch-1-lcore");
    shallow["record"]["ring_depth"] = json!(1);
    let run = replay_with(&shallow, &captures, &[]);
    assert_eq!(run.orders(), plain.orders());
    let account = |run: &Replayed, key: &str| number(&run.summary["recorder"][key]);
    assert!(account(&run, "lost_ring") > 0);
    // Which packets are sampled does not depend on what was lost.
    let all = |run: &Replayed| account(run, "records") + account(run, "lost_ring");
    assert_eq!(all(&run), all(&plain));
    assert!(run.stdout.contains("records found their ring full and are lost"), "{}", run.stdout);
}

#[test]
fn a_delay_put_into_one_hop_is_found_in_that_hop() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 6 --messages 20000 --symbols 50 --rate 40000");
    let mut file = deep("itch-1-lcore");
    file["venues"][0]["stages"]["rx"]["burst"] = json!(1);
    const DELAY_NS: f64 = 200_000.0;
    for hop in Hop::SOFTWARE {
        let delay = format!("{}=200us", hop.key());
        let run = replay_with(&file, &[capture.to_str().unwrap()], &["--speed", "1x", "--inject-delay", &delay]);
        let rows = run.summary["hops"]["nasdaq"].as_array().unwrap();
        for row in rows.iter().filter(|row| row["hop"] != "wire→rx" && row["hop"] != "rx→doorbell") {
            let least = row["min_ns"].as_f64().unwrap();
            // The least of a hop that nobody delays is far below the delay, on any machine.
            assert_eq!(least >= DELAY_NS * 0.99, row["hop"] == hop.name(), "{delay}: {row}");
        }
    }
}

#[test]
fn a_paced_replay_measures_from_the_moment_a_packet_was_due() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 7 --messages 20000 --symbols 50");
    // The stage is busy 1 ms with every packet: whoever is due in that time is late, and must be seen to be.
    let mut file = deep("itch-1-lcore");
    file["venues"][0]["stages"]["rx"]["burst"] = json!(1);
    let options = ["--speed", "20x", "--inject-delay", "parsed_book=100us"];
    let (run, _, records) = traced(&file, &capture, &options);
    let late: Vec<u64> = records.iter().filter_map(hop::wire).collect();
    assert_eq!(late.len(), records.len(), "every record of a paced replay says when its packet was due");
    let hz = run.summary["tsc_hz"].as_f64().unwrap();
    let last = *late.last().unwrap() as f64 / hz;
    assert!(last > 0.1, "the queue that built up is in wire→rx: {last} s");
    // At `max` nothing is ever due.
    let (_, _, records) = traced(&deep("itch-1-lcore"), &capture, &[]);
    assert!(records.iter().all(|r| r.domain() == StampDomain::None && r.stamp == 0));
}

#[test]
fn a_long_replay_can_be_watched_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 8 --messages 60000 --symbols 50 --rate 20000");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut file = deep("itch-2-lcores");
    file["record"]["interval_ms"] = json!(100);
    let mut command = tickpath();
    command.arg("replay").arg(write_json(folder.path(), "p.json", &file)).arg(&capture);
    command.args(["--speed", "1x", "--metrics", &address.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let seen = loop {
        let status = get(address, "/status").and_then(|text| serde_json::from_str::<Snapshot>(&text).ok());
        let seen = status.filter(|s| s.venues.first().is_some_and(|v| v.orders > 0 && !v.hops.is_empty()));
        if let Some(seen) = seen {
            break seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "nothing to be seen");
        std::thread::sleep(Duration::from_millis(20));
    };
    let metrics = get(address, "/metrics").unwrap();
    // What this test started, it ends.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(metrics.contains("tickpath_hop_seconds_count{hop=\"rx_doorbell\",venue=\"nasdaq\"}"), "{metrics}");
    let [rx, parse] = [&seen.venues[0].stages[0], &seen.venues[0].stages[1]];
    assert_eq!((rx.stage.as_str(), parse.stage.as_str()), ("rx", "parse"));
    assert!(rx.outgoing >= parse.outgoing && rx.bursts > 0);
    assert!(seen.interval.lcores.iter().all(|lcore| lcore.polls > 0 && lcore.involuntary_switches.is_some()));
    assert_eq!(seen.interval.links.iter().map(|l| l.link.as_str()).collect::<Vec<_>>(), ["parse_strategy"]);
    let whole = seen.venues[0].hops.iter().find(|h| h.hop == Hop::RxDoorbell).unwrap();
    assert!(whole.total.count > 0 && whole.budget_p50_ns == Some(12_000.0));
}

#[test]
fn what_cannot_be_recorded_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "a.pcap", "--seed 9 --messages 1000 --symbols 5");
    let file = write_json(folder.path(), "p.json", &shipped("itch-1-lcore"));
    let refused = |options: &[&str], says: &[&str]| {
        let mut command = tickpath();
        command.arg("replay").arg(&file).arg(&capture).args(options);
        let output = replay::finish(command);
        let said = replay::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        says.iter().for_each(|word| assert!(said.contains(word), "{options:?}: {said}"));
    };
    refused(&["--trace", capture.to_str().unwrap()], &["a.pcap", "help: "]);
    refused(&["--trace", "/tmp/x", "--no-stamps"], &["--trace", "--no-stamps"]);
    refused(&["--metrics", "here"], &["\"here\"", "127.0.0.1:9464"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["--metrics", &address], &[&address, "another process listens there", "help: "]);
}

/// The body of a page, if it is there.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: tickpath\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}
