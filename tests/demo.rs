//! A venue trades against the simulated exchange over veth, in namespaces of their own, by the script that `make demo`
//! runs. Two programs with two TCP stacks and two parsers have to agree on everything.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;
mod oracle;

use day::{Day, namespaces};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The journal, followed, sends the same bytes, ends in the same books and positions, and every fill is in it.
fn is_decided_again(day: &Day, host: &Value) {
    let again = day.json("again.json");
    let journal = &again["journal"]["demo"];
    assert_eq!((&journal["difference"], &journal["end"]), (&Value::Null, &"as the run did, in order".into()));
    let fills = day.rows(["kind"]).iter().filter(|[kind]| kind == "filled").count();
    assert!(journal["order_events"].as_u64().unwrap() > fills as u64, "{}", day.text);
    assert_eq!(again["positions"], host["positions"]);
    let books = |name: &str| std::fs::read_to_string(day.path(name)).unwrap();
    assert_eq!(books("again-books.jsonl"), books("host-books.jsonl"));

    // What lies on the wire beside strategy's orders: cancels of tx's own, and queries. What is missing there: what
    // tx refused, because the session was down or the kill switch tripped.
    let (mut swept, mut refused) = (0, 0);
    let mut orders = oracle::frames(&day.path("again.pcap")).into_iter().map(|frame| {
        let (.., packet) = oracle::udp_payload(&frame.bytes, true).unwrap();
        packet[3..].to_vec()
    });
    let mut next = orders.next();
    for message in sent_messages(&day.path("orders-exchange.pcap")) {
        match message[0] {
            b'O' | b'U' => {
                while next.as_ref().is_some_and(|order| *order != message) {
                    refused += 1;
                    next = orders.next();
                }
                assert!(next.is_some(), "{message:02x?} is not among the orders made again");
                next = orders.next();
            }
            b'X' if next.as_ref() == Some(&message) => next = orders.next(),
            b'X' => swept += 1,
            _ => {}
        }
    }
    refused += u64::from(next.is_some()) + orders.count() as u64;
    let counted = |name: &str| host["counters"]["demo"][name].as_u64().unwrap_or(0);
    let dropped: u64 =
        host["ledger"]["demo"][4]["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(swept <= counted("swept"), "{swept} cancels that nobody decided on");
    assert!(refused <= dropped, "{refused} orders of {dropped} that tx refused are not on the wire");
}

/// OUCH messages that the venue sent, as the TCP streams of a capture have them, in order.
fn sent_messages(capture: &Path) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for stream in 0.. {
        let mut command = Command::new("tshark");
        let output =
            command.arg("-r").arg(capture).args(["-q", "-z", &format!("follow,tcp,raw,{stream}")]).output().unwrap();
        // What the exchange sent is indented.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let sent = text.lines().filter(|line| !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex: String = sent.collect();
        if hex.is_empty() {
            break;
        }
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let mut rest = &bytes[..];
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (packet, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
            if packet[0] == b'U' {
                messages.push(packet[1..].to_vec());
            }
            rest = behind;
        }
    }
    messages
}

/// Frames of a capture that a display filter of tshark finds.
fn frames(capture: &Path, filter: &str) -> usize {
    let spoken = if filter.contains("fix") { "tcp.port==26400,fix" } else { "tcp.port==26400,soupbintcp" };
    let mut command = Command::new("tshark");
    command.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-d", spoken]);
    let output = command.arg("-r").arg(capture).args(["-Y", filter]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn a_venue_and_an_exchange_agree_on_every_order_and_every_book() {
    if !namespaces() {
        return;
    }
    let day = Day::trade(4, &[]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    let sent: u64 = ["enter", "replace", "cancel"].iter().map(|kind| host["orders"][kind].as_u64().unwrap()).sum();
    assert!(sent > 100, "{}", day.text);
    assert_eq!(exchange["order_messages"].as_u64(), Some(sent));
    assert_eq!(exchange["order_session"]["logouts"], 1);

    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
    is_decided_again(&day, &host);

    for capture in ["orders-exchange.pcap", "orders-host.pcap"] {
        let capture = day.path(capture);
        assert_eq!(
            frames(&capture, "_ws.malformed || tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\""),
            0
        );
        assert!(frames(&capture, "soupbintcp") > 100);
    }
    assert!(day.text.contains("ledger balanced"), "{}", day.text);
    assert!(day.text.contains("doorbell→ack"), "{}", day.text);
}

#[test]
fn loss_on_both_lines_and_broken_connections_change_nothing_of_that() {
    if !namespaces() {
        return;
    }
    let day = Day::trade(5, &[("TICKPATH_DEMO_HARM", "1")]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert_eq!(exchange["order_session"]["cut_off"], 2, "{}", day.text);
    assert!(exchange["rerequests"]["answered"].as_u64().unwrap() > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
    is_decided_again(&day, &host);
}

/// In a protocol, with connections that break and orders that are refused.
fn trades_in(protocol: &str, filter: &str) {
    if !namespaces() {
        return;
    }
    let day = Day::trade(5, &[("TICKPATH_DEMO_HARM", "1"), ("TICKPATH_DEMO_PROTOCOL", protocol)]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert_eq!((&exchange["order_session"]["cut_off"], &exchange["order_session"]["logouts"]), (&2.into(), &1.into()));
    assert_eq!(exchange["order_session"]["broken"], 0, "{}", day.text);
    assert!(exchange["orders"]["rejected"].as_u64() > Some(0) && exchange["orders"]["replaced"].as_u64() > Some(100));
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
    for capture in ["orders-exchange.pcap", "orders-host.pcap"] {
        assert_eq!(frames(&day.path(capture), "tcp.checksum.status == \"Bad\""), 0);
        assert!(frames(&day.path(capture), filter) > 100);
    }
}

#[test]
fn a_venue_trades_in_boe_through_broken_connections() {
    trades_in("boe20", "tcp.payload[0:2] == ba:ba");
}

#[test]
fn a_venue_trades_in_fix_through_broken_connections() {
    trades_in("fix42", "fix.checksum_good == 1 && !(fix.checksum_bad == 1)");
}

#[test]
fn after_a_kill_nothing_but_cancels_leaves() {
    if !namespaces() {
        return;
    }
    let ctl = |folder: &Path, command: &str| {
        let mut ctl = Command::new(env!("CARGO_BIN_EXE_tickpath"));
        ctl.arg("ctl").arg(folder.join("control")).arg(command).output().unwrap()
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut killed = 0;
    let day = Day::trade_and(5, &[], |folder| {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let traded = |output: &std::process::Output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.contains(": trading;") && !text.contains(" 0 orders")
        };
        while !traded(&ctl(folder, "status")) {
            assert!(std::time::Instant::now() < patience, "no order in a minute");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let output = ctl(folder, "kill");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("KILLED (command)"));
        killed = now();
    });
    let sent: Vec<(u64, String)> = day
        .rows(["kind", "order", "rx_ns"])
        .into_iter()
        .filter(|[kind, ..]| kind == "sent")
        .map(|[_, order, rx_ns]| (rx_ns.parse().unwrap_or(u64::MAX), order))
        .collect();
    assert!(sent.iter().any(|(at, order)| *at < killed && order == "enter"), "{}", day.text);
    let late = sent.iter().filter(|(at, order)| *at > killed && order != "cancel").count();
    assert_eq!(late, 0, "{}", day.text);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert!(host["counters"]["demo"]["swept"].as_u64().unwrap() > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    is_decided_again(&day, &host);
}
