//! Pipelines on ports by ef_vi, over its test double: venues that share a card, tagged feeds, quiet hours, and where a session goes.

#![cfg(feature = "ef_vi")]

#[path = "common/cards.rs"]
mod cards;
mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use replay::{alone, number, shipped, synth, text, two_cpus, wait_until_polling, write_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What goes wrong on the way out and is mended by the fallback.
const FAULTS: &str = "set tick1 ctpio-lose-every 3\nset tick1 ctpio-poison-every 5\nset tick1 completion-polls 3\n";
/// VLAN of the generated feeds, and that of their second lines.
const VLAN: u16 = 141;

/// Two venues on one lcore and one card, each with a queue of its own for its feed and for its orders.
fn two_venues() -> Value {
    let mut file = shipped("twelve-venues");
    file["lcores"] = json!([]);
    let venues = file["venues"].as_array_mut().unwrap();
    venues.truncate(2);
    for (queue, venue) in venues.iter_mut().enumerate() {
        let line = &mut venue["feed"]["lines"][0];
        (line["port"], line["queue"], line["vlan"]) = (json!("feeds"), json!(queue), json!(VLAN));
        for stage in ["rx", "parse", "strategy", "encode", "tx"] {
            venue["stages"][stage]["lcore"] = json!(1);
        }
    }
    file["ports"] = cards::ports("feeds", "orders");
    file
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    oracle::frames(path).into_iter().map(|frame| frame.bytes).collect()
}

/// A capture of a market, and how many packets it has.
fn market(folder: &Path, seed: usize, options: &str) -> (PathBuf, usize) {
    let options = format!("--seed {seed} --messages 6000 --symbols 20 {options}");
    let path = synth(folder, &format!("{seed}.pcap"), &options).0;
    let packets = frames(&path).len();
    (path, packets)
}

#[test]
fn venues_on_one_card_get_what_is_theirs_and_make_the_orders_that_each_makes_alone() {
    if !two_cpus() || !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = two_venues();
    let (mut captures, mut expected) = (Vec::new(), Vec::new());
    for (at, venue) in file["venues"].as_array().unwrap().iter().enumerate() {
        let (feed, group) = (&venue["feed"], venue["feed"]["lines"][0]["groups"][0].as_str().unwrap());
        let options = format!("--protocol {} --group {group}", feed["protocol"].as_str().unwrap());
        let (capture, packets) = market(folder.path(), at, &options);
        let mut single = alone(&file, at);
        single["ports"] = json!([{"name": "feeds", "driver": "capture"}, {"name": "orders", "driver": "capture"}]);
        single["venues"][0]["feed"]["lines"][0]["queue"] = json!(0);
        let orders = folder.path().join("alone.pcap");
        std::fs::write(&orders, replay::replay(&single, &capture).orders()).unwrap();
        expected.push((packets as u64, frames(&orders)));
        captures.push(capture);
    }
    // The first venue's group on another port, another group, and that group and port in another VLAN.
    for (seed, options) in [
        (2, "--group 233.54.12.111:26478"),
        (3, "--group 239.1.1.1:26477"),
        (4, "--group 233.54.12.111:26477 --vlan 77"),
    ] {
        captures.push(market(folder.path(), seed, options).0);
    }
    let wire = folder.path().join("wire.pcap");
    replay::merge(&captures, &wire);
    let own: u64 = expected.iter().map(|(packets, _)| packets).sum();
    for faults in ["", FAULTS] {
        // Both listen before anything comes.
        let settings = format!("set tick0 play-filters 2\n{faults}");
        let out = folder.path().join("out.pcap");
        let summary = until_received(&file, &wire, &out, &settings, own);
        let sent = frames(&out);
        for (venue, (packets, expected)) in file["venues"].as_array().unwrap().iter().zip(&expected) {
            let (name, source) =
                (venue["name"].as_str().unwrap(), venue["orders"]["source"]["address"].as_str().unwrap());
            let ours = |frame: &&Vec<u8>| source.ends_with(&format!(":{}", oracle::be(frame, 34, 2)));
            let found: Vec<&Vec<u8>> = sent.iter().filter(ours).collect();
            let (same, at_end) = found.split_at(expected.len());
            assert!(expected.len() > 50 && expected.iter().eq(same.iter().copied()), "{name}: the frames differ");
            // What still stood is cancelled. Behind 42 bytes of headers and 3 of a SoupBinTCP packet: Cancel.
            assert!(at_end.iter().all(|frame| frame[45] == b'X'), "{name}");
            let ledger = &summary["ledger"][name];
            assert_eq!((&ledger[0]["in"], &ledger[0]["dropped"]), (&json!(packets), &json!({})), "{name}");
            assert!(ledger[1]["dropped"].get("other group").is_none(), "{name}: {}", ledger[1]);
            let counted = |what: &str| number(&summary["counters"][name][format!("card {what}")]);
            let (by_ctpio, by_fallback) = (counted("sent by CTPIO"), counted("sent by the fallback"));
            assert_eq!((by_ctpio + by_fallback, by_fallback > 0), (found.len() as u64, !faults.is_empty()), "{name}");
            // The wire is quiet once it was played.
            assert!(counted("warmed up") > 0, "{name}");
        }
        let all: usize = summary["orders"].as_object().unwrap().values().map(|n| number(n) as usize).sum();
        assert_eq!(sent.len(), all, "what warms up does not leave");
    }
}

/// Run until so many packets were received. The card has no end of file, so the time it takes is a guess.
fn until_received(file: &Value, wire: &Path, out: &Path, settings: &str, packets: u64) -> Value {
    for time in [500, 5_000, 30_000] {
        let summary = cards::run(file, Some(wire), out, settings, Duration::from_millis(time));
        if summary["packets"] == packets {
            return summary;
        }
        println!("{} of {packets} packets", summary["packets"]);
    }
    panic!("it does not receive what is on the wire");
}

#[test]
fn a_quiet_pipeline_keeps_the_way_to_the_card_warm_and_sends_nothing() {
    if !two_cpus() || !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for ctpio in ["required", "off"] {
        let mut file = alone(&two_venues(), 0);
        file["ports"][1]["ctpio"] = json!(ctpio);
        let out = folder.path().join("out.pcap");
        let summary = cards::run(&file, None, &out, "", Duration::from_millis(300));
        let counted = |what: &str| number(&summary["counters"]["itch-1"][format!("card {what}")]);
        assert!(counted("warmed up") > 10, "{ctpio}");
        assert_eq!(
            (counted("sent by CTPIO"), counted("sent by the fallback"), counted("failed")),
            (0, 0, 0),
            "{ctpio}"
        );
        assert_eq!(frames(&out), Vec::<Vec<u8>>::new(), "{ctpio}");
    }
}

/// One venue with a session over TCP, without Ethernet addresses.
fn with_session(folder: &Path) -> Value {
    let mut file = alone(&two_venues(), 0);
    let orders = &mut file["venues"][0]["orders"];
    orders["transport"] = json!("tcp");
    orders["session"] = json!({ "ids": folder.join("ids"), "credentials": folder.join("login"), "retry_ms": 50 });
    for end in ["source", "destination"] {
        orders[end].as_object_mut().unwrap().remove("mac");
    }
    std::fs::write(folder.join("login"), "DEMO:secret").unwrap();
    std::fs::set_permissions(folder.join("login"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// A run of it on cards with these lines of script.
fn run(folder: &Path, file: &Value, lines: &str) -> Command {
    let path = write_json(folder, "pipeline.json", file).display().to_string();
    let words = ["run", "--metrics", "off", &path, "--"].map(str::to_owned);
    cards::program(folder, lines)(&[&words[..], &replay::eal()].concat())
}

#[test]
fn a_session_goes_to_the_next_hop_of_the_file_from_the_cards_address_and_asks_nobody() {
    if !two_cpus() || !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut file = with_session(folder.path());
    // Neither is our network's prefix, nor is there a gateway.
    file["venues"][0]["orders"]["destination"] = json!({ "mac": "02:00:00:00:01:fe", "address": "192.168.0.1:26400" });
    let out = folder.path().join("out.pcap");
    let mut command = run(folder.path(), &file, &format!("record tick1 {}", out.display()));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until_polling(&mut child));
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = frames(&out);
    assert!(!sent.is_empty());
    for frame in sent {
        let (to, from) = (&frame[..6], &frame[6..12]);
        assert_eq!((to, from), (&[2, 0, 0, 0, 1, 0xfe][..], &cards::MACS[1][..]));
        // TCP, to the exchange, and nothing but SYN: nobody answers.
        assert_eq!((oracle::be(&frame, 12, 2), frame[23], &frame[30..34]), (0x0800, 6, &[192, 168, 0, 1][..]));
        assert_eq!((oracle::be(&frame, 36, 2), frame[47]), (26_400, 2));
    }
}

#[test]
fn what_a_session_lacks_is_said_with_its_remedy() {
    if !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = |change: &dyn Fn(&mut Value)| {
        let mut file = with_session(folder.path());
        change(&mut file["venues"][0]["orders"]);
        let output = replay::finish(run(folder.path(), &file, ""));
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let unknown = said(&|_| {});
    assert!(unknown.contains("no interface \"tick1\"") && unknown.contains("orders.destination.mac"), "{unknown}");
    let foreign = said(&|orders| orders["source"]["mac"] = json!("02:00:00:00:00:99"));
    assert!(foreign.contains("the card, which is 02:00:00:00:00:0b: remove the key"), "{foreign}");
}

/// One venue that lost a queue of its card, after so many events; what of it was told of that port, and the summary.
fn after_a_loss(port: &str, settings: &str, out: &Path) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = alone(&two_venues(), 0);
    let options = "--seed 5 --messages 60000 --symbols 20 --group 233.54.12.111:26477";
    let wire = synth(folder.path(), "wire.pcap", options).0;
    let summary = cards::run(&file, Some(&wire), out, settings, Duration::from_millis(1_000));
    let told = summary["warnings"].as_array().unwrap().iter().filter_map(Value::as_str);
    let told = told.filter_map(|line| line.strip_prefix(&format!("port {port}: "))).collect();
    (told, summary)
}

#[test]
fn a_feed_goes_on_with_new_queues_once_its_own_are_lost() {
    if !two_cpus() || !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (loss, away) in [("reset-after", 0), ("overflow-after", 0), ("reset-after", 2)] {
        let settings = format!("set tick0 {loss} 15000\nset tick0 away-opens {away}");
        let (told, summary) = after_a_loss("feeds", &settings, &folder.path().join("out.pcap"));
        let expected = format!("resets 1, started anew 1, attempts that failed {away}, frames unsent 0");
        assert!(told.ends_with(&expected), "{loss}: {told}");
        // What came meanwhile is lost, what came after it is not.
        let (packets, gaps) = (number(&summary["packets"]), &summary["counters"]["itch-1"]["feed gaps"]);
        assert!((15_001..30_000).contains(&packets) && number(gaps) > 0, "{loss}: {packets} packets, {gaps} gaps");
    }
}

#[test]
fn orders_that_a_lost_queue_had_are_counted_and_others_leave_by_the_next() {
    if !two_cpus() || !cards::are_doubles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.pcap");
    for loss in ["reset-after", "overflow-after"] {
        let (told, summary) = after_a_loss("orders", &format!("set tick1 {loss} 400\n{FAULTS}"), &out);
        assert!(told.contains("started anew") && !told.contains("started anew 0"), "{loss}: {told}");
        let counters = &summary["counters"]["itch-1"];
        let counted = |what: &str| number(&counters[format!("card {what}")]);
        let known = counted("sent by CTPIO") + counted("sent by the fallback");
        let sent = number(&summary["ledger"]["itch-1"][4]["out"]);
        assert_eq!(sent, known + counted("unsent"), "{loss}: {told}");
        assert!(known > 200 && counted("unsent") > 0, "{loss}: {known} known, {told}");
        let on_wire = frames(&out).len() as u64;
        assert!((known..=sent).contains(&on_wire), "{loss}: {on_wire} on the wire, {known} known of {sent}");
        // Those that came while there was none went back.
        let refused = &summary["ledger"]["itch-1"][4]["dropped"]["refused (local reject)"];
        assert!(number(refused) > 0, "{loss}: {refused}");
    }
}
