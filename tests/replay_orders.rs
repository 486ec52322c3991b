//! What the program makes of a capture, against opinions that are not its own: tshark, the oracle's books, an order
//! reader written from the specifications, and the known truths of the real captures.

#![cfg(feature = "dpdk")]

mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/orders.rs"]
mod orders;
#[path = "common/replay.rs"]
mod replay;

use oracle::{Oracle, be};
use orders::Order;
use replay::{number, replay, shipped, synth};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Levels a side that `--books` writes.
const DEPTH: usize = 10;

/// The orders of a replay, from its file.
fn orders_of(run: &replay::Replayed) -> Vec<Order> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.pcap");
    std::fs::write(&path, run.orders()).unwrap();
    orders::read(&path)
}

/// The final books are the oracle's. An instrument without a level may be listed or not.
#[track_caller]
fn assert_books(run: &replay::Replayed, oracle: &Oracle, venue: &str) {
    let with_levels = |books: &BTreeMap<String, serde_json::Value>| {
        let empty = |side: &serde_json::Value| side.as_array().unwrap().is_empty();
        let mut books = books.clone();
        books.retain(|_, book| !empty(&book["bids"]) || !empty(&book["asks"]));
        books
    };
    let expected = with_levels(&oracle.books_json(venue, DEPTH));
    assert!(!expected.is_empty());
    let found = with_levels(&run.books);
    for symbol in expected.keys().chain(found.keys()) {
        assert_eq!(found.get(symbol), expected.get(symbol), "{symbol}");
    }
}

#[test]
fn every_order_answers_its_packet_and_never_crosses_the_book_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "day.pcap", "--seed 21 --messages 40000 --symbols 60 --mix all");
    let run = replay(&shipped("itch-1-lcore"), &capture);
    let orders = orders_of(&run);
    assert!(orders.len() > 1000, "{}", orders.len());
    let mut by_stamp: HashMap<u64, Vec<&Order>> = HashMap::new();
    orders.iter().for_each(|order| by_stamp.entry(order.stamp_ns).or_default().push(order));

    let mut oracle = Oracle::default();
    let (mut halted, mut answered) = (BTreeSet::new(), 0);
    let frames = oracle::frames(&capture);
    let stamps: BTreeSet<u64> = frames.iter().map(|frame| frame.stamp_ns).collect();
    assert_eq!(stamps.len(), frames.len(), "a stamp names its packet");
    for frame in &frames {
        let (_, _, payload) = oracle::udp_payload(&frame.bytes, true).unwrap();
        let mut named = BTreeSet::new();
        oracle.mold(payload, &mut |oracle, message, _| {
            let Some(symbol) = oracle.symbol(be(message, 1, 2) as u16).map(str::to_owned) else { return };
            let trading = match message[0] {
                b'H' => Some(message[19] == b'T'),
                b'h' if message[19] == b'Q' => Some(message[20] == b'T'),
                _ => None,
            };
            match trading {
                Some(true) => drop(halted.remove(&symbol)),
                Some(false) => drop(halted.insert(symbol.clone())),
                None => {}
            }
            named.insert(symbol);
        });
        for order in by_stamp.remove(&frame.stamp_ns).unwrap_or_default() {
            answered += 1;
            assert!(named.contains(&order.symbol), "{order:?}: the packet does not name it");
            if order.kind == b'X' {
                continue;
            }
            assert!(!halted.contains(&order.symbol), "{order:?}: a halted instrument is not quoted");
            assert_eq!(order.price % 100, 0, "{order:?}: on the tick");
            assert_eq!(order.qty % 100, 0, "{order:?}: in lots");
            let book = &oracle.books[&order.symbol];
            let (bid, ask) = (book.bids.last_key_value().unwrap().0, book.asks.first_key_value().unwrap().0);
            assert!(bid < ask, "{order:?}: a crossed book is not quoted");
            let makes = if order.side == b'B' { order.price < *ask } else { order.price > *bid };
            assert!(makes, "{order:?} would trade at {bid}/{ask}");
        }
    }
    assert_eq!(answered, orders.len(), "every stamp is that of a packet");
    assert_books(&run, &oracle, "nasdaq");
}

#[test]
fn a_generated_markets_books_and_counts_are_the_oracles() {
    let folder = tempfile::tempdir().unwrap();
    let harm = "--seed 9 --messages 60000 --symbols 300 --mix all --live-orders 20000 --session-change 0.3 --gaps 1";
    for options in ["--seed 8 --messages 60000 --symbols 300 --live-orders 20000", harm] {
        let (capture, _) = synth(folder.path(), "market.pcap", options);
        let run = replay(&shipped("itch-5-lcores"), &capture);
        let oracle = Oracle::of_capture(&capture, true);
        let counts = oracle.messages.iter().map(|(kind, n)| ((*kind as char).to_string(), *n)).collect();
        assert_eq!(run.messages(), counts);
        assert_books(&run, &oracle, "nasdaq");
    }
}

#[test]
fn tshark_finds_nothing_wrong_with_the_orders() {
    if !tool("tshark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "day.pcap", "--seed 4 --messages 15000 --symbols 30");
    let run = replay(&shipped("itch-2-lcores"), &capture);
    let path = folder.path().join("orders.pcap");
    std::fs::write(&path, run.orders()).unwrap();
    let fields = ["frame.time_epoch", "ip.checksum.status", "udp.checksum.status", "_ws.malformed"];
    let rows = tshark(&path, "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE", &fields);
    let sent: u64 = run.summary["orders"].as_object().unwrap().values().map(number).sum();
    assert_eq!(rows.len() as u64, sent);
    assert!(sent > 300, "{sent}");
    for (row, order) in rows.iter().zip(orders::read(&path)) {
        let stamp = format!("{}.{:09}", order.stamp_ns / 1_000_000_000, order.stamp_ns % 1_000_000_000);
        assert_eq!(row[..], [stamp.as_str(), "1", "1", ""], "a stamp in ns, good checksums");
    }
    if !tool("text2pcap") {
        return;
    }
    let tcp = as_tcp(folder.path(), &path);
    let fields = ["soupbintcp.packet_type", "soupbintcp.packet_length", "tcp.len"];
    let rows = tshark(&tcp, "-d tcp.port==26400,soupbintcp", &fields);
    assert_eq!(rows.len() as u64, sent);
    for row in rows {
        let [kind, length, bytes] = &row[..] else { panic!("{row:?}") };
        assert!(kind.contains('U'), "unsequenced data: {row:?}");
        assert_eq!(length.parse::<u64>().unwrap() + 2, bytes.parse::<u64>().unwrap(), "{row:?}");
    }
}

#[test]
fn a_capture_gives_the_same_orders_in_every_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "day.pcap", "--seed 14 --messages 20000 --symbols 40");
    let [ouch, boe, fix] = ["itch-1-lcore", "itch-1-lcore-boe", "itch-1-lcore-fix"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, replay(&shipped(name), &capture).orders()).unwrap();
        path
    });
    let expected = format!("{:?}", orders::read(&ouch));
    assert!(orders::read(&ouch).len() > 400);
    for path in [&boe, &fix] {
        assert!(format!("{:?}", orders::read(path)) == expected, "{}", path.display());
    }
    // And as the exchange that the program trades with hears them.
    let heard = |path: &Path, read: fn(&[u8]) -> Option<tickpath::exchange::orders::Request>| {
        let frames = oracle::frames(path);
        let requests = frames.iter().map(|frame| read(&frame.bytes[42..]).expect("a request"));
        requests.map(|request| same_in_every_protocol(&request)).collect::<Vec<_>>()
    };
    let theirs = heard(&ouch, |bytes| tickpath::exchange::orders::Request::read(&bytes[3..]).ok());
    assert!(heard(&boe, tickpath::exchange::boe::request) == theirs);
    assert!(heard(&fix, tickpath::exchange::fix::request) == theirs);
    if !tool("tshark") || !tool("text2pcap") {
        return;
    }
    let fields = ["fix.checksum_good", "_ws.malformed", "fix.ClOrdID", "fix.OrigClOrdID", "fix.OrderQty", "fix.Price"];
    let rows = tshark(&as_tcp(folder.path(), &fix), "-d tcp.port==26400,fix", &fields);
    let read = orders::read(&fix);
    assert_eq!(rows.len(), read.len());
    for (row, order) in rows.iter().zip(read) {
        assert_eq!(row[..2], ["1", ""], "a good sum");
        let number = |at: usize| row[at].parse::<f64>().unwrap_or(0.0);
        let id = if order.kind == b'X' { number(3) } else { number(2) };
        let price = (number(5) * 10_000.0).round() as i64;
        assert_eq!((id as u64, number(4) as u64, price), (order.id, order.qty, order.price));
    }
}

#[test]
fn live_captures_give_as_many_messages_as_tshark_counts() {
    let Some(captures) = common::captures() else { return };
    if !tool("tshark") {
        return;
    }
    let mut file = shipped("itch-1-lcore");
    let mut seen = 0;
    for path in pcaps(&captures.join("nasdaq-itch50"), "live-") {
        let rows = tshark(&path, "-d udp.port==26477,moldudp64", &["moldudp64.sequence", "moldudp64.count"]);
        let rows: Vec<[u64; 2]> = rows.iter().map(|row| [row[0].parse().unwrap(), row[1].parse().unwrap()]).collect();
        assert!(rows.iter().all(|[_, count]| *count != 0xFFFF), "an end of session is no message");
        let counted: u64 = rows.iter().map(|[_, count]| count).sum();
        let gaps = rows.windows(2).filter(|pair| pair[0][0] + pair[0][1] < pair[1][0]).count();
        file["about"] = json!(path.display().to_string());
        let run = replay(&file, &path);
        assert_eq!(run.messages().values().sum::<u64>(), counted, "{}", path.display());
        assert_eq!(run.summary["packets"], rows.len(), "{}", path.display());
        assert_eq!(run.counter("nasdaq", "feed gaps"), gaps as u64, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen} files");
}

#[test]
fn anonymous_captures_decode_with_the_checks_off() {
    let Some(captures) = common::captures() else { return };
    let mut file = shipped("itch-1-lcore");
    for (key, value) in [("addressing", "off"), ("sequence", "off"), ("ip_checksum", "off"), ("udp_checksum", "off")] {
        file["venues"][0]["feed"][key] = json!(value);
    }
    let strict = shipped("itch-1-lcore");
    for path in pcaps(&captures.join("nasdaq-itch50"), "anon-") {
        let oracle = by_hand(&path);
        let run = replay(&file, &path);
        assert_eq!(run.messages(), oracle, "{}", path.display());
        assert!(run.messages().values().sum::<u64>() > 0, "{}", path.display());
        assert!(replay(&strict, &path).messages().is_empty(), "{}: another group", path.display());
    }
}

/// Messages by type of MoldUDP64 in UDP in IPv4, nothing checked.
fn by_hand(path: &Path) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for frame in oracle::frames(path) {
        let ip = if be(&frame.bytes, 12, 2) == 0x8100 { 18 } else { 14 };
        let mold = ip + usize::from(frame.bytes[ip] & 0xF) * 4 + 8;
        let mut at = mold + 20;
        for _ in 0..be(&frame.bytes, mold + 18, 2) {
            *counts.entry((frame.bytes[at + 2] as char).to_string()).or_default() += 1;
            at += 2 + be(&frame.bytes, at, 2) as usize;
        }
    }
    counts
}

#[test]
fn the_deep_sample_is_read_to_its_known_totals_and_its_crossed_books_are_not_quoted() {
    let Some(captures) = common::captures() else { return };
    let capture = captures.join("iex-deep10/sample-first-60000.pcap.gz");
    let run = replay(&shipped("deep-1-lcore"), &capture);
    let known = [
        ("H", 93_638),
        ("O", 93_638),
        ("P", 93_636),
        ("T", 29_970),
        ("5", 9_597),
        ("8", 9_318),
        ("E", 59),
        ("S", 43),
        ("B", 37),
    ];
    assert_eq!(run.messages(), known.into_iter().map(|(kind, n)| (kind.to_owned(), n)).collect());
    assert_eq!(run.summary["packets"], 60_000);
    assert_eq!(run.counter("iex", "feed gaps"), 0);
    assert_eq!(run.counter("iex", "feed session_starts"), 11);
    assert_eq!(run.counter("iex", "feed udp_checksum_wrong_passed"), 59_999);
    let oracle = Oracle::of_capture(&capture, false);
    assert_books(&run, &oracle, "iex");

    // Crossed nearly always: what was quoted was pulled for it, and the summary says so.
    let pulled = run.counter("iex", "quoter pulled_crossed");
    assert!(pulled > 0, "{:#}", run.summary["counters"]);
    assert!(run.stdout.contains("crossed"), "{}", run.stdout);
    let orders = orders_of(&run);
    let stamps: BTreeSet<u64> = orders.iter().map(|order| order.stamp_ns).collect();
    // Symbols that could be quoted after some packet of a stamp: stamps are of µs there, so packets may share one.
    let mut quotable: BTreeSet<(u64, String)> = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut oracle = Oracle::default();
    for frame in oracle::frames(&capture) {
        oracle.frame(&frame.bytes);
        if stamps.contains(&frame.stamp_ns) {
            seen.insert(frame.stamp_ns);
            let sound = oracle.books.iter().filter(|(_, book)| !book.crosses());
            quotable.extend(sound.map(|(symbol, _)| (frame.stamp_ns, symbol.clone())));
        }
    }
    assert_eq!(seen, stamps, "every stamp is that of a packet");
    for order in orders {
        let sound = quotable.contains(&(order.stamp_ns, order.symbol.clone()));
        assert!(order.kind == b'X' || sound, "{order:?} quotes a crossed book");
    }
}

#[test]
fn after_a_gap_nothing_is_quoted_until_the_session_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let options = "--seed 31 --messages 40000 --symbols 40 --session-change 0.5 --gaps 2";
    let (capture, account) = synth(folder.path(), "gap.pcap", options);
    let injected = account["injected"].as_array().unwrap();
    assert_eq!(injected.iter().map(|i| number(&i["session"])).collect::<Vec<_>>(), [0, 1], "a gap in each session");
    let mut oracle = Oracle::default();
    // Times from which the books are stale, and from which they are good again.
    let mut turns = Vec::new();
    for frame in oracle::frames(&capture) {
        oracle.frame(&frame.bytes);
        if turns.len() % 2 != usize::from(oracle.is_stale()) {
            turns.push(frame.stamp_ns);
        }
    }
    let [lost, restarted, lost_again] = turns[..] else { panic!("{turns:?}") };
    for layout in ["itch-1-lcore", "itch-5-lcores"] {
        let run = replay(&shipped(layout), &capture);
        let orders = orders_of(&run);
        let of = |kind: &[u8], from: u64, to: u64| {
            orders.iter().filter(|o| kind.contains(&o.kind) && (from..to).contains(&o.stamp_ns)).count()
        };
        assert!(of(b"O", 0, lost) > 0 && of(b"O", restarted, lost_again) > 0, "quoted while the books are good");
        assert_eq!(of(b"OU", lost, restarted), 0);
        assert_eq!(of(b"OU", lost_again, u64::MAX), 0);
        // Everything that stood was pulled: what was entered has been cancelled, side by side.
        assert_eq!(of(b"O", 0, restarted), of(b"X", 0, restarted), "nothing stands on lost books");
        assert_eq!(of(b"O", 0, u64::MAX), of(b"X", 0, u64::MAX));
        assert!(of(b"X", lost, restarted) > 10, "pulled because of the gap");
        assert_eq!(run.counter("nasdaq", "feed gaps"), 2);
        assert!(run.books.values().all(|book| book["stale"] == true));
    }
}

#[test]
fn without_captures_a_test_says_that_it_is_skipped() {
    let skipping = |required: Option<&str>| {
        let mut child = common::again("anonymous_captures_decode_with_the_checks_off");
        child.env_remove("TICKPATH_CAPTURES").env_remove("TICKPATH_CAPTURES_REQUIRED");
        child.envs(required.map(|value| ("TICKPATH_CAPTURES_REQUIRED", value)));
        let output = replay::finish(child);
        (output.status.success(), replay::text(&output.stdout))
    };
    let (passed, said) = skipping(None);
    assert!(passed && said.contains("skipped: TICKPATH_CAPTURES is not set"), "{said}");
    let (passed, said) = skipping(Some("1"));
    assert!(!passed && !said.contains("skipped"), "where captures are required a skip is a failure: {said}");
}

/// Whether a tool is here; says so when not.
/// The payloads of a capture of datagrams once more in TCP segments, where tshark looks for session protocols.
fn as_tcp(folder: &Path, path: &Path) -> PathBuf {
    let dump: String = oracle::frames(path)
        .iter()
        .map(|frame| {
            frame.bytes[42..].iter().fold("000000".to_owned(), |line, byte| format!("{line} {byte:02x}")) + "\n"
        })
        .collect();
    let [text, tcp] = ["payloads.txt", "tcp.pcap"].map(|name| folder.join(name));
    std::fs::write(&text, dump).unwrap();
    let made = Command::new("text2pcap").args(["-q", "-T", "40000,26400"]).args([&text, &tcp]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    tcp
}

/// A request without what only some protocols say.
fn same_in_every_protocol(request: &tickpath::exchange::orders::Request) -> String {
    use tickpath::exchange::orders::Request;
    match *request {
        Request::Enter { urn, terms } => {
            format!("enter {urn} {} {} {} {:?}", terms.side, terms.qty, terms.price, terms.symbol.escape_ascii())
        }
        Request::Replace { original, urn, qty, price, .. } => format!("replace {original} {urn} {qty} {price}"),
        Request::Cancel { urn, qty } => format!("cancel {urn} {qty}"),
        ref other => panic!("{other:?}"),
    }
}

fn tool(name: &str) -> bool {
    if Command::new(name).arg("--version").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_none_or(|value| value != "1"),
        "TICKPATH_CAPTURES_REQUIRED=1 and there is no {name}"
    );
    println!("skipped: there is no {name}");
    false
}

/// The fields of every packet.
fn tshark(path: &Path, options: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(path).args(options.split_whitespace()).args(["-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines().map(|row| row.split('|').map(str::to_owned).collect()).collect()
}

/// The captures of a folder whose names begin so.
fn pcaps(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(prefix) && name.ends_with(".pcap")
    };
    let mut found: Vec<_> = paths.filter(wanted).collect();
    found.sort();
    assert!(!found.is_empty(), "{}", folder.display());
    found
}
