//! A venue trades against the simulated exchange over veth, in namespaces of their own, by the script that `make demo`
//! runs. Two programs with two TCP stacks and two parsers have to agree on everything.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;
mod oracle;

use day::{Day, namespaces};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The journal, followed, sends the same bytes, ends in the same books and positions, and every fill is in it.
fn is_decided_again(day: &Day, host: &Value) {
    is_sent_again(day, host, sent_messages(&day.path("orders-exchange.pcap")));
}

/// The same of a day on which these messages were sent.
fn is_sent_again(day: &Day, host: &Value, wire: Vec<Vec<u8>>) {
    let again = day.json("again.json");
    let journal = &again["journal"]["demo"];
    assert_eq!((&journal["difference"], &journal["end"]), (&Value::Null, &"as the run did, in order".into()));
    let fills = day.rows(["kind"]).iter().filter(|[kind]| kind == "filled").count();
    assert!(journal["order_events"].as_u64().unwrap() > fills as u64, "{}", day.text);
    assert_eq!(again["positions"], host["positions"]);
    let books = |name: &str| std::fs::read_to_string(day.path(name)).unwrap();
    assert_eq!(books("again-books.jsonl"), books("host-books.jsonl"));

    // Orders and replacements on the wire are those made again, in order, but for those that tx refused because the session
    // was down or the kill switch tripped. Cancels between two of them are, but for refused ones and tx's own.
    let again: Vec<Vec<u8>> = oracle::frames(&day.path("again.pcap"))
        .iter()
        .map(|frame| oracle::udp_payload(&frame.bytes, true).unwrap().2[3..].to_vec())
        .collect();
    let enters = |message: &Vec<u8>| matches!(message[0], b'O' | b'U');
    let left: BTreeSet<&Vec<u8>> = wire.iter().filter(|message| enters(message)).collect();
    let came_out = |message: &&Vec<u8>| !enters(message) || left.contains(message);
    let (wire, kept): (Vec<_>, Vec<_>) = (between(wire.iter(), enters), between(again.iter().filter(came_out), enters));
    assert_eq!(wire.len(), kept.len());
    let (mut swept, mut refused) = (0, again.iter().filter(|message| !came_out(message)).count() as u64);
    for ((first, on_wire), (made, cancels)) in wire.iter().zip(&kept) {
        assert_eq!(first, made);
        let more = |these: &BTreeMap<_, u64>, than: &BTreeMap<_, u64>| -> u64 {
            these.iter().map(|(message, n)| n.saturating_sub(than.get(message).copied().unwrap_or(0))).sum()
        };
        swept += more(on_wire, cancels);
        refused += more(cancels, on_wire);
    }
    let counted = |name: &str| host["counters"]["demo"][name].as_u64().unwrap_or(0);
    let dropped: u64 =
        host["ledger"]["demo"][4]["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(swept <= counted("swept"), "{swept} cancels that nobody decided on");
    assert!(refused <= dropped, "{refused} orders of {dropped} that tx refused are not on the wire");
}

/// See [`between`].
type Stretch<'a> = (&'a [u8], BTreeMap<&'a [u8], u64>);

/// Messages that `enters` knows, in order, each with how often each cancel came between it and the next.
fn between<'a>(messages: impl Iterator<Item = &'a Vec<u8>>, enters: impl Fn(&Vec<u8>) -> bool) -> Vec<Stretch<'a>> {
    let mut found: Vec<Stretch<'_>> = vec![(b"", BTreeMap::new())];
    for message in messages {
        match found.last_mut() {
            Some((_, cancels)) if message[0] == b'X' => *cancels.entry(message).or_default() += 1,
            _ if enters(message) => found.push((message, BTreeMap::new())),
            _ => {}
        }
    }
    found
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

/// The same of datagrams: behind a number, which rises by one in each connection, a packet each.
fn sent_datagrams(capture: &Path) -> Vec<Vec<u8>> {
    let (mut messages, mut numbers) = (Vec::new(), BTreeMap::<u16, u64>::new());
    for frame in oracle::frames(capture) {
        let Ok(([10, 77, 1, 1], 26_400, datagram)) = oracle::udp_payload(&frame.bytes, true) else { continue };
        let port = oracle::be(&frame.bytes, 34, 2) as u16;
        let (number, packet) = (oracle::be(datagram, 0, 8), &datagram[8..]);
        let last = numbers.entry(port).or_default();
        assert!(number == *last + 1 || number == *last, "{number} after {last}");
        assert_eq!(packet.len(), 2 + oracle::be(packet, 0, 2) as usize);
        if number > *last && packet[2] == b'U' {
            messages.push(packet[3..].to_vec());
        }
        *last = number;
    }
    messages
}

/// The demo's pipeline file with its orders in datagrams.
fn over_datagrams(folder: &Path) -> String {
    day::pipeline(folder, in_datagrams)
}

fn in_datagrams(file: &mut Value) {
    let orders = &mut file["venues"][0]["orders"];
    orders["transport"] = "udp".into();
    orders["destination"]["mac"] = "02:00:00:00:0a:02".into();
    for (key, ms) in [("heartbeat_ms", 50), ("retry_ms", 50), ("silence_ms", 1_000)] {
        orders["session"][key] = ms.into();
    }
}

/// What the exchange is told of it.
const DATAGRAMS: &str = "--orders-udp-port 26400 --heartbeat 50ms --idle 3s";

/// Frames of ours that are wrong. What the kernel's stack repeats of a connection that was cut off is its own business, and
/// begins in the middle of a packet.
const OURS_BAD: &str =
    "ip.src == 10.77.3.2 && (_ws.malformed || tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\")";

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

    assert_eq!(frames(&day.path("orders-exchange.pcap"), OURS_BAD), 0);
    for capture in ["orders-exchange.pcap", "orders-host.pcap"] {
        assert!(frames(&day.path(capture), "soupbintcp") > 100);
    }
    assert!(day.text.contains("ledger balanced"), "{}", day.text);
    assert!(day.text.contains("doorbell→ack"), "{}", day.text);
}

/// Loss and reordering on both lines, requests that are lost, connections that break, orders that are refused: for
/// five seconds, or for as many as TICKPATH_SOAK says.
#[test]
fn through_loss_and_broken_connections_they_agree_on_everything_and_no_limit_is_passed() {
    if !namespaces() {
        return;
    }
    let long: Option<u32> = std::env::var("TICKPATH_SOAK").ok().map(|seconds| seconds.parse().expect("seconds"));
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        let venue = &mut file["venues"][0];
        // The second request that is lost leaves a gap to the snapshot.
        venue["feed"]["recovery"]["retries"] = json!(1);
        venue["risk"] =
            json!({ "limits": { "shares": SHARES, "notional": NOTIONAL, "position": POSITION, "open_orders": 4 } });
    });
    let variables = [
        ("TICKPATH_DEMO_HARM", "1"),
        ("TICKPATH_DEMO_PIPELINE", &file),
        ("TICKPATH_DEMO_EXCHANGE", "--rerequest-loss 0.6"),
    ];
    let day = Day::trade(long.unwrap_or(5), &variables);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    println!("{}", day.text);
    assert_eq!(exchange["order_session"]["cut_off"], 2, "{}", day.text);
    assert!(exchange["rerequests"]["answered"].as_u64().unwrap() > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
    is_decided_again(&day, &host);
    let decided = nothing_was_decided_on_a_book_with_a_hole(&day);
    // What nobody received took no time.
    let sampled = day.rows(["kind", "rx_ns"]).into_iter().filter(|[kind, _]| kind == "sampled");
    assert_eq!(sampled.filter(|[_, received]| received.is_empty()).count(), 0, "{}", day.text);
    no_limit_was_passed(&day);
    assert_eq!(frames(&day.path("orders-exchange.pcap"), OURS_BAD), 0);
    if long.is_some_and(|seconds| seconds >= 100) {
        let (messages, orders) = (exchange["messages"].as_u64().unwrap(), exchange["order_messages"].as_u64().unwrap());
        assert!(messages >= 1_000_000 && orders >= 50_000, "{messages} messages, {orders} orders");
        assert!(exchange["snapshots"].as_u64().unwrap() > 0, "{}", day.text);
        println!("soak: {messages} messages, {orders} order messages, {decided} decisions held against what had come");
    }
}

const SHARES: u64 = 100;
const NOTIONAL: u64 = 30_000;
const POSITION: i64 = 1_000;

/// By the captures of what came, stamped by the kernel: before the doorbell of an order that a packet caused, everything
/// before that packet had come, by a line, an answer or a snapshot. Returns how many orders that is.
fn nothing_was_decided_on_a_book_with_a_hole(day: &Day) -> usize {
    // The venue's clock is fitted to the kernel's once, at the start.
    const DRIFT_NS: f64 = 3e6;
    let mut came: Vec<u64> = Vec::new();
    let mut streams: BTreeMap<u16, (u32, Vec<u8>)> = BTreeMap::new();
    for name in ["line-1", "line-2", "recovery"] {
        let said = std::fs::read_to_string(day.path(&format!("{name}.log"))).unwrap();
        assert!(said.contains("\n0 packets dropped by kernel"), "tcpdump was too slow to judge by: {said}");
        for frame in oracle::frames(&day.path(&format!("{name}.pcap"))) {
            if let Some((port, sequence, bytes)) = snapshot_segment(&frame.bytes) {
                let (next, stream) = streams.entry(port).or_insert((sequence, Vec::new()));
                // What is repeated has come already.
                let known = next.wrapping_sub(sequence);
                let new = bytes.get(if known < 1 << 31 { known as usize } else { 0 }..).unwrap_or_default();
                *next = next.wrapping_add(new.len() as u32);
                stream.extend_from_slice(new);
                if let Some(next) = end_of_snapshot(stream) {
                    came.iter_mut().take(next).for_each(|at| *at = frame.stamp_ns.min(*at));
                }
                continue;
            }
            let Ok((.., packet)) = oracle::udp_payload(&frame.bytes, true) else { continue };
            // A request is a header alone.
            if packet.len() <= 20 || oracle::be(packet, 18, 2) == 0xFFFF {
                continue;
            }
            let from = oracle::be(packet, 10, 8) as usize;
            for sequence in from..from + oracle::be(packet, 18, 2) as usize {
                came.resize(came.len().max(sequence + 1), u64::MAX);
                came[sequence] = came[sequence].min(frame.stamp_ns);
            }
        }
    }
    // 0 is no sequence.
    came[0] = 0;
    let mut latest = 0;
    for at in &mut came {
        latest = latest.max(*at);
        *at = latest;
    }
    let mut decided = 0;
    for [kind, order, sequence, rx_ns, taken] in day.rows(["kind", "order", "sequence", "rx_ns", "rx_doorbell_ns"]) {
        let sequence: usize = sequence.parse().unwrap();
        if kind != "sent" || order == "cancel" || sequence == 0 {
            continue;
        }
        // Both are blank of an order that no book caused.
        let (Ok(rx_ns), Ok(taken)) = (rx_ns.parse::<u64>(), taken.parse::<f64>()) else { continue };
        let doorbell = rx_ns as f64 + taken;
        let whole = came[sequence - 1];
        assert!(
            whole as f64 <= doorbell + DRIFT_NS,
            "an order of packet {sequence} left at {doorbell}, before {whole}"
        );
        decided += 1;
    }
    assert!(decided > 100, "{}", day.text);
    decided
}

/// Takes the whole SoupBinTCP packets off the front of a snapshot's stream; where the feed goes on, once it says so.
fn end_of_snapshot(stream: &mut Vec<u8>) -> Option<usize> {
    let (mut at, mut next) = (0, None);
    while let Some(packet) = stream.get(at + 2..).filter(|rest| !rest.is_empty()) {
        let length = oracle::be(stream, at, 2) as usize;
        let Some(packet) = packet.get(..length) else { break };
        if let [b'S', b'G', digits @ ..] = packet {
            next = std::str::from_utf8(digits).unwrap().trim().parse().ok();
        }
        at += 2 + length;
    }
    stream.drain(..at);
    next
}

/// A segment from the snapshot server: our port, its sequence number, and its payload.
fn snapshot_segment(frame: &[u8]) -> Option<(u16, u32, &[u8])> {
    let ip = frame.get(14..).filter(|ip| ip.len() >= 40 && oracle::be(frame, 12, 2) == 0x0800 && ip[9] == 6)?;
    let tcp = &ip[usize::from(ip[0] & 0xF) * 4..oracle::be(ip, 2, 2) as usize];
    let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
    // A SYN takes a number.
    let sequence = (oracle::be(tcp, 4, 4) as u32).wrapping_add(u32::from(tcp[13] >> 1 & 1));
    (oracle::be(tcp, 0, 2) == 26402).then(|| (oracle::be(tcp, 2, 2) as u16, sequence, payload))
}

/// By what lay on the wire and by every fill: the sizes of orders, and what was held at any time.
fn no_limit_was_passed(day: &Day) {
    for message in sent_messages(&day.path("orders-exchange.pcap")) {
        // OUCH 5.0, Enter Order and Replace Order Request: shares and price.
        let (shares, price) = match message[0] {
            b'O' => (oracle::be(&message, 6, 4), oracle::be(&message, 18, 8)),
            b'U' => (oracle::be(&message, 9, 4), oracle::be(&message, 13, 8)),
            _ => continue,
        };
        assert!(shares <= SHARES && shares * price <= NOTIONAL * 10_000, "{shares} shares at {price}");
    }
    let mut orders = BTreeMap::new();
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for [kind, id, symbol, side, qty] in day.rows(["kind", "order_id", "symbol", "side", "qty"]) {
        match kind.as_str() {
            "sent" => drop(orders.entry(id).or_insert((symbol, side))),
            "filled" => {
                let (symbol, side) = &orders[&id];
                let position = held.entry(symbol.clone()).or_default();
                *position += qty.parse::<i64>().unwrap() * if side == "buy" { 1 } else { -1 };
                assert!(position.abs() <= POSITION, "{position} shares of {symbol}");
            }
            _ => {}
        }
    }
    assert!(!held.is_empty());
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
    let bad = "ip.src == 10.77.3.2 && tcp.checksum.status == \"Bad\"";
    assert_eq!(frames(&day.path("orders-exchange.pcap"), bad), 0);
    for capture in ["orders-exchange.pcap", "orders-host.pcap"] {
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
fn a_venue_trades_over_xdp_where_the_kernel_has_it() {
    if !namespaces() {
        return;
    }
    // SAFETY: a socket that is closed at once.
    let has_it = unsafe {
        let socket = libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0);
        socket >= 0 && libc::close(socket) == 0
    };
    if !has_it {
        println!("skipped: this kernel has no XDP sockets");
        return;
    }
    let day = Day::trade(4, &[("TICKPATH_DEMO_DRIVER", "net_af_xdp")]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert!(exchange["order_messages"].as_u64() > Some(100), "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    day.agrees_on_books();
    assert!(day.text.contains("ledger balanced"), "{}", day.text);
    assert_eq!(frames(&day.path("orders-exchange.pcap"), OURS_BAD), 0);
}

#[test]
fn a_session_in_datagrams_is_the_one_over_tcp() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = over_datagrams(folder.path());
    let variables = [("TICKPATH_DEMO_PIPELINE", file.as_str()), ("TICKPATH_DEMO_EXCHANGE", DATAGRAMS)];
    let day = Day::trade(4, &variables);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    let sent: u64 = ["enter", "replace", "cancel"].iter().map(|kind| host["orders"][kind].as_u64().unwrap()).sum();
    assert!(sent > 100, "{}", day.text);
    assert_eq!(exchange["order_messages"].as_u64(), Some(sent));
    let session = &exchange["order_session"];
    assert_eq!((&session["logins"], &session["logouts"], &session["disconnects"]), (&1.into(), &1.into(), &0.into()));
    assert!(host["counters"]["demo"]["heartbeats"].as_u64() > Some(0), "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
    day.agrees_on_books();
    assert!(day.text.contains("doorbell→ack"), "{}", day.text);
    is_sent_again(&day, &host, sent_datagrams(&day.path("orders-exchange.pcap")));
}

/// The ports are a card's, by ef_vi on its test double, and the kernel's as well, which answers ARP and finds out the Ethernet
/// address of the exchange.
#[cfg(feature = "ef_vi")]
mod over_cards {
    use super::*;
    use tickpath::latency::record::{Kind, StampDomain};
    use tickpath::latency::trace::{Block, runs};
    use tickpath::market::OrderKind;

    #[test]
    fn a_session_outlives_queues_of_its_card() {
        let Some(day) = trades_on("set h3 reset-after 2000\n", "", &|_| {}) else { return };
        let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
        let told = host["warnings"].as_array().unwrap().iter().filter_map(Value::as_str);
        let told: Vec<&str> = told.filter(|line| line.starts_with("port orders: ")).collect();
        assert!(told.len() == 1 && !told[0].contains("started anew 0"), "{told:?}");
        assert_eq!(exchange["order_session"]["broken"], 0, "{}", day.text);
        day.agrees_on_orders(&exchange, &host);
        assert!(!day.filled().is_empty(), "{}", day.text);
        day.agrees_on_books();
        assert!(day.text.contains("ledger balanced"), "{}", day.text);
        for does in ["pauses: no link", "resumes: its links are back"] {
            assert!(day.log().contains(does), "{}", day.log());
        }
    }

    #[test]
    fn a_venue_trades_by_tcp_and_the_kernel_answers_arp() {
        // Ethernet, IPv4 and TCP.
        let Some(day) = trades("", &|_| {}, &sent_messages, 54) else { return };
        assert_eq!(frames(&day.path("orders-host.pcap"), "tcp.flags.reset == 1 && ip.src == 10.77.3.2"), 0);
        // Who asks for our address is answered once: by the kernel.
        let asked = |opcode| {
            frames(&day.path("orders-host.pcap"), &format!("arp.opcode == {opcode} && eth.dst != ff:ff:ff:ff:ff:ff"))
        };
        assert_eq!(asked(2), frames(&day.path("orders-host.pcap"), "arp.opcode == 1"));
    }

    #[test]
    fn a_venue_trades_in_datagrams() {
        // Ethernet, IPv4, UDP and the number.
        trades(DATAGRAMS, &in_datagrams, &sent_datagrams, 50);
    }

    /// A day whose messages begin so far into their frames.
    fn trades(
        exchange: &str,
        change: &dyn Fn(&mut Value),
        sent: &dyn Fn(&Path) -> Vec<Vec<u8>>,
        headers: usize,
    ) -> Option<Day> {
        let day = trades_on("", exchange, change)?;
        let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
        let orders: u64 =
            ["enter", "replace", "cancel"].iter().map(|kind| host["orders"][kind].as_u64().unwrap()).sum();
        assert!(orders > 100, "{}", day.text);
        assert_eq!(exchange["order_messages"].as_u64(), Some(orders));
        let session = &exchange["order_session"];
        assert_eq!((&session["logins"], &session["logouts"]), (&1.into(), &1.into()));
        day.agrees_on_orders(&exchange, &host);
        assert!(!day.filled().is_empty(), "{}", day.text);
        day.agrees_on_books();
        is_sent_again(&day, &host, sent(&day.path("orders-exchange.pcap")));
        is_stamped_by_the_card(&day, &host, headers);
        assert_eq!(frames(&day.path("orders-exchange.pcap"), OURS_BAD), 0);
        assert!(day.text.contains("ledger balanced"), "{}", day.text);
        Some(day)
    }

    /// A day on cards with these lines of script more.
    fn trades_on(cards: &str, exchange: &str, change: &dyn Fn(&mut Value)) -> Option<Day> {
        if !tickpath::efvi::IS_DOUBLE || !namespaces() {
            println!("skipped: no bridge from a card to a namespace");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = day::pipeline(folder.path(), |file| {
            change(file);
            for end in ["source", "destination"] {
                file["venues"][0]["orders"][end].as_object_mut().unwrap().remove("mac");
            }
        });
        let variables = [
            ("TICKPATH_DEMO_DRIVER", "ef_vi"),
            ("TICKPATH_DEMO_CARDS", cards),
            ("TICKPATH_DEMO_PIPELINE", &file),
            ("TICKPATH_DEMO_EXCHANGE", exchange),
        ];
        Some(Day::trade(4, &variables))
    }

    /// Every order that went ahead of the stack has the card's stamp of when it left, which is about the kernel's of the same
    /// frame behind the bridge; and every fill has the card's stamp of when it came.
    fn is_stamped_by_the_card(day: &Day, host: &Value, headers: usize) {
        let left: BTreeMap<u64, u64> = oracle::frames(&day.path("orders-host.pcap"))
            .iter()
            .filter(|frame| frame.bytes.get(headers + 2..headers + 4) == Some(b"UO"))
            .map(|frame| (oracle::be(&frame.bytes, headers + 4, 4), frame.stamp_ns))
            .collect();
        let (mut wire, mut entered, mut filled) = (0, 0, 0);
        let found = runs(&[day.path("trace")]).unwrap();
        let mut reader = found.runs[0].read();
        while let Some(block) = reader.next().unwrap() {
            let Block::Records(records) = block else { continue };
            for record in records {
                match record.kind() {
                    Some(Kind::Wire) => wire += 1,
                    Some(Kind::Filled) => filled += 1,
                    _ => continue,
                }
                assert_eq!(record.domain(), StampDomain::Device, "{record:?}");
                if record.kind() == Some(Kind::Wire) && record.order_kind == OrderKind::Enter as u8 {
                    entered += 1;
                    let late = left[&record.order_id].abs_diff(record.stamp);
                    assert!(late < 50_000_000, "{late} ns between the card's stamp and the frame's");
                }
            }
        }
        assert!(entered > 50 && filled > 0, "{}", day.text);
        assert_eq!(host["counters"]["demo"]["sent ahead"], wire, "{}", day.text);
    }
}

#[test]
fn lost_datagrams_change_nothing_of_what_became_of_orders() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = over_datagrams(folder.path());
    let variables = [
        ("TICKPATH_DEMO_PIPELINE", file.as_str()),
        ("TICKPATH_DEMO_EXCHANGE", "--orders-udp-port 26400 --orders-udp-loss 0.003 --heartbeat 50ms --idle 3s"),
    ];
    let day = Day::trade(5, &variables);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    assert!(exchange["order_session"]["logins"].as_u64() > Some(1), "{}", day.text);
    assert_eq!(exchange["order_session"]["broken"], 0, "{}", day.text);
    assert!(host["counters"]["demo"]["datagrams missing"].as_u64() > Some(0), "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    assert!(!day.filled().is_empty(), "{}", day.text);
}

#[test]
fn a_rerequest_server_that_lies_makes_no_book_wrong() {
    if !namespaces() {
        return;
    }
    let lies = "--harm-a drop=0.04 --harm-b drop=0.04 --rerequest-lies \
                session=0.1,sequence=0.1,count=0.1,beyond=0.1,elsewhere=0.1,truncate=0.1,garbage=0.1";
    let day = Day::trade(5, &[("TICKPATH_DEMO_EXCHANGE", lies)]);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    let counted = |name: &str| host["counters"]["demo"][name].as_u64().unwrap_or(0);
    assert!(exchange["rerequests"]["lies"].as_u64() > Some(10), "{}", day.text);
    assert!(counted("feed recovery_refused") > 0 && counted("feed recovery_answers") > 0, "{}", day.text);
    day.agrees_on_orders(&exchange, &host);
    day.agrees_on_fresh_books();
}

#[test]
fn requests_that_the_exchange_forgets_are_counted() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        file["venues"][0]["orders"]["session"]["silence_ms"] = 1_000.into();
    });
    let variables = [
        ("TICKPATH_DEMO_PIPELINE", file.as_str()),
        ("TICKPATH_DEMO_EXCHANGE", "--ignore-replace 0.01 --ignore-cancel 0.1 --heartbeat 200ms"),
        // What was never answered is not known to be over.
        ("TICKPATH_DEMO_STATUS", "1"),
    ];
    let day = Day::trade(6, &variables);
    let (exchange, host) = (day.json("exchange.json"), day.json("host.json"));
    let counted = |name: &str| host["counters"]["demo"][name].as_u64().unwrap_or(0);
    assert!(exchange["orders"]["ignored"].as_u64() > Some(0), "{}", day.text);
    assert!(counted("unanswered") > 0, "{}", day.text);
    assert!(day.log().contains("had not drained"), "{}", day.log());
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
