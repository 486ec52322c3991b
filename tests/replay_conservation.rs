//! Every packet, message and order is somewhere: injected harm shows in exactly the counters it should, and nothing that
//! runs out of room loses anything in silence. (That ledgers balance is checked in every replay of these tests.)

#![cfg(feature = "dpdk")]

mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use oracle::Oracle;
use replay::{number, replay, shipped, synth};
use serde_json::{Value, json};

const HARM: &str = "--seed 17 --messages 40000 --symbols 60 --mix all --session-change 0.5 --gaps 4 --duplicates 5 \
                    --reorder 3 --truncate 6 --bad-ip-checksums 2 --bad-udp-checksums 7";

/// Packets with one kind of harm, and the messages in them.
fn injected(account: &Value, kind: &str) -> (u64, u64) {
    let of_kind = account["injected"].as_array().unwrap().iter().filter(|harm| harm["kind"] == kind);
    of_kind.fold((0, 0), |(packets, messages), harm| (packets + 1, messages + number(&harm["messages"])))
}

/// Packets with any of these kinds of harm, and the messages in them.
fn injected_of(account: &Value, kinds: &[&str]) -> (u64, u64) {
    kinds
        .iter()
        .map(|kind| injected(account, kind))
        .fold((0, 0), |(p, m), (packets, messages)| (p + packets, m + messages))
}

fn total(messages: &Value) -> u64 {
    messages.as_object().unwrap().values().map(number).sum()
}

#[test]
fn injected_harm_is_counted_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, account) = synth(folder.path(), "harm.pcap", HARM);
    let asked = [
        ("gap", 4),
        ("duplicate", 5),
        ("reorder", 3),
        ("truncate", 6),
        ("bad_ip_checksum", 2),
        ("bad_udp_checksum", 7),
    ];
    for (kind, n) in asked {
        assert_eq!(injected(&account, kind).0, n, "{kind}");
    }
    // Checksums: wrong ones drop the packet, or are counted and pass, or are not looked at.
    for (policy, refused) in [("verify", true), ("count", false), ("off", false)] {
        let mut file = shipped("itch-2-lcores");
        file["venues"][0]["feed"]["ip_checksum"] = json!(policy);
        file["venues"][0]["feed"]["udp_checksum"] = json!(policy);
        let run = replay(&file, &capture);
        let parse = |reason| run.dropped("nasdaq", "parse", reason);
        let feed = |name: &str| run.counter("nasdaq", &format!("feed {name}"));
        assert_eq!(run.summary["packets"], account["packets"][0]);
        assert_eq!(parse("malformed"), 6, "a frame shorter than its IPv4 header says");
        assert_eq!(run.counter("nasdaq", "line 0 cut by the capture"), 6);
        assert_eq!(parse("IP checksum"), if refused { 2 } else { 0 });
        assert_eq!(parse("UDP checksum"), if refused { 7 } else { 0 });
        let counted = |n| if policy == "count" { n } else { 0 };
        assert_eq!((feed("ip_checksum_wrong_passed"), feed("udp_checksum_wrong_passed")), (counted(2), counted(7)));
        // A packet that comes after its successor was missed, and is a repetition when it comes.
        assert_eq!(parse("duplicate"), 5 + 3);
        assert_eq!(feed("duplicate_messages"), injected_of(&account, &["duplicate", "reorder"]).1);
        let lost: &[&str] = match refused {
            true => &["gap", "reorder", "truncate", "bad_ip_checksum", "bad_udp_checksum"],
            false => &["gap", "reorder", "truncate"],
        };
        assert_eq!((feed("gaps"), feed("lost_messages")), injected_of(&account, lost));
        assert_eq!(total(&run.summary["messages"]), total(&account["messages"]) - feed("lost_messages"));
        assert_eq!(parse("heartbeat"), number(&account["heartbeats"]));
        assert_eq!(parse("end of session"), number(&account["ends_of_session"]));
        assert_eq!(feed("session_starts"), number(&account["sessions"]) - 1);
        for never in ["late_packets", "bad_header", "truncated_packets", "unknown_types", "wrong_length", "window_full"]
        {
            assert_eq!(feed(never), 0, "{never}");
        }
    }
}

#[test]
fn two_lines_count_what_an_independent_receiver_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = shipped("itch-1-lcore");
    file["venues"][0]["feed"]["lines"] = json!([
        { "port": "feed", "groups": ["233.54.12.111:26477"] },
        { "port": "feed", "groups": ["233.49.196.111:26477"] },
    ]);
    // The independent receiver waits for nothing.
    file["venues"][0]["feed"]["arbitration"] = json!({ "window_us": 0 });
    // A line that runs behind by nothing, by less than a packet, by many packets.
    for delay in [0, 5_000, 3_000_000] {
        let options = format!("{HARM} --second-line --second-line-delay {delay} --second-line-loss 4");
        // The oracle takes a session that comes late for a new one.
        let options = if delay > 5_000 { options.replace("--session-change 0.5", "") } else { options };
        let (capture, account) = synth(folder.path(), "lines.pcap", &options);
        let oracle = Oracle::of_capture(&capture, true);
        let run = replay(&file, &capture);
        let feed = |name: &str| run.counter("nasdaq", &format!("feed {name}"));
        assert_eq!(run.summary["packets"], number(&account["packets"][0]) + number(&account["packets"][1]));
        let counts = oracle.messages.iter().map(|(kind, n)| ((*kind as char).to_string(), *n)).collect();
        assert_eq!(run.messages(), counts, "delay {delay}");
        let lost: u64 = oracle.gaps.iter().map(|(first, found)| found - first).sum();
        assert_eq!((feed("gaps"), feed("lost_messages")), (oracle.gaps.len() as u64, lost), "delay {delay}");
        assert_eq!(total(&run.summary["messages"]) + lost, total(&account["messages"]), "delay {delay}");
        assert_eq!(lost > 0, delay > 0, "a second line without delay heals everything");
        // With a window that is longer than the delay nothing is lost, since no message is lost on both lines.
        let mut patient = file.clone();
        patient["venues"][0]["feed"]["arbitration"] = json!({ "window_us": 10_000, "packets": 4096 });
        let run = replay(&patient, &capture);
        let feed = |name: &str| run.counter("nasdaq", &format!("feed {name}"));
        assert_eq!((feed("gaps"), feed("lost_messages"), feed("held_full")), (0, 0, 0), "delay {delay}");
        assert_eq!(total(&run.summary["messages"]), total(&account["messages"]), "delay {delay}");
        let line = |letter: char, what: &str| run.counter("nasdaq", &format!("line {letter} {what}"));
        assert_eq!(line('A', "won") + line('B', "won"), total(&account["messages"]), "delay {delay}");
        assert!(line('A', "lost") > 0 && line('B', "lost") > 0, "delay {delay}");
        assert_eq!(feed("held_packets") > 0, delay > 0, "delay {delay}");
    }
    // A line that is still in the session that the other has left is not listened to.
    let options =
        "--seed 3 --messages 20000 --symbols 30 --session-change 0.5 --second-line --second-line-delay 3000000";
    let (capture, account) = synth(folder.path(), "late.pcap", options);
    let run = replay(&file, &capture);
    assert!(run.dropped("nasdaq", "parse", "session left") > 0);
    assert_eq!(run.counter("nasdaq", "feed session_starts"), 1);
    assert_eq!(total(&run.summary["messages"]), total(&account["messages"]));
}

#[test]
fn books_without_room_go_stale_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, account) =
        synth(folder.path(), "full.pcap", "--seed 23 --messages 30000 --symbols 50 --live-orders 3000");
    let roomy = replay(&shipped("itch-1-lcore"), &capture);
    assert!(roomy.books.values().all(|book| book["stale"] == false));
    let with_book = |book: Value| {
        let mut file = shipped("itch-1-lcore");
        file["venues"][0]["book"] = book;
        replay(&file, &capture)
    };
    let few_orders = with_book(json!({"instruments": 64, "orders": 256, "depth_levels": 16, "spill_levels": 4096}));
    let few_levels = with_book(json!({"instruments": 64, "orders": 65536, "depth_levels": 1, "spill_levels": 0}));
    let few_instruments =
        with_book(json!({"instruments": 7, "orders": 65536, "depth_levels": 16, "spill_levels": 4096}));
    for (run, full) in [(&few_orders, "book order_table_full"), (&few_levels, "book level_pool_full")] {
        assert!(run.counter("nasdaq", full) > 0, "{full}: {:#}", run.summary["counters"]);
        assert!(run.books.values().any(|book| book["stale"] == true), "{full}");
        assert!(run.counter("nasdaq", "quoter pulled_stale") > 0, "{full}");
    }
    // Books that did not go stale are right.
    for run in [&few_orders, &few_levels] {
        for (symbol, book) in run.books.iter().filter(|(_, book)| book["stale"] == false) {
            assert_eq!(book, &roomy.books[symbol]);
        }
    }
    assert_eq!(few_instruments.books.len(), 7);
    assert!(few_instruments.counter("nasdaq", "feed instruments_full") > 0);
    for (symbol, book) in &few_instruments.books {
        assert_eq!(book, &roomy.books[symbol]);
    }
    for run in [&roomy, &few_orders, &few_levels, &few_instruments] {
        assert_eq!(total(&run.summary["messages"]), total(&account["messages"]), "every message was read");
    }
}

#[test]
fn only_subscribed_instruments_are_booked_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, account) = synth(folder.path(), "day.pcap", "--seed 29 --messages 20000 --symbols 30");
    let every = replay(&shipped("itch-1-lcore"), &capture);
    let some: Vec<&String> = every.books.keys().step_by(7).collect();
    let mut file = shipped("itch-2-lcores");
    file["venues"][0]["instruments"] = json!(some);
    let run = replay(&file, &capture);
    assert_eq!(run.books.keys().collect::<Vec<_>>(), some);
    for (symbol, book) in &run.books {
        assert_eq!(book, &every.books[symbol], "the same book, alone or among all");
    }
    assert_eq!(total(&run.summary["messages"]), total(&account["messages"]));
    assert!(run.counter("nasdaq", "feed unwanted") > 10_000);
}
