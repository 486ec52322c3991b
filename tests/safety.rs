//! What stands at the exchange when something of ours has gone wrong: a strategy that hangs or panics, a process that is
//! killed, a session or a feed that is lost. Over veth, by the script that `make demo` runs.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/day.rs"]
mod day;

use day::{Day, namespaces, program, standing, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tickpath::book::Book;
use tickpath::control::ask;
use tickpath::market::{Instrument, OrderEvent, OrderEventKind, Price, Side};
use tickpath::program::Program;
use tickpath::strategy::{BooksLost, Orders, Strategy};
use tickpath::wire::ouch50::{Outbound, parse_outbound};

/// The words of a command line, one a line, for the child process that is to be the program.
const WORDS: &str = "TICKPATH_TEST_WORDS";
/// The folder that tells [`Moody`] its mood.
const MOOD: &str = "TICKPATH_TEST_MOOD";
/// Where the child process that reads an exchange's day leaves it.
const DAY: &str = "TICKPATH_TEST_DAY";

/// Ids that each start reserves.
const BLOCK: u64 = 4_194_304;

const TICKPATH: &str = env!("CARGO_BIN_EXE_tickpath");

/// tickpath with [`Moody`] as a strategy.
fn moody(folder: &Path) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let again = format!("exec {} child_that_is_the_program --exact --nocapture", test.display());
    program(folder, &format!("export {MOOD}={} {WORDS}=$(printf '%s\\n' \"$@\")\n{again}", folder.display()))
}

/// Types and ids of the OUCH messages that the exchange got over its first connection, in order.
fn heard(day: &Day) -> Vec<(u8, u32)> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(day.path("orders-exchange.pcap")).args(["-q", "-z", "follow,tcp,raw,0"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // What the server said begins with a tab.
    let ours = text.lines().filter(|line| !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()));
    let stream: Vec<u8> = ours
        .flat_map(|line| {
            (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect::<Vec<_>>()
        })
        .collect();
    let (mut rest, mut messages) = (&stream[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (packet, behind) = behind.split_at(u16::from_be_bytes(*length).into());
        if packet[0] == b'U' {
            messages.push((packet[1], u32::from_be_bytes(packet[2..6].try_into().unwrap())));
        }
        rest = behind;
    }
    messages
}

#[test]
fn what_stands_is_cancelled_though_the_strategy_hangs() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        file["venues"][0]["strategy"]["name"] = json!("moody");
        file["venues"][0]["risk"] = json!({ "kill_when": { "lcore_stuck_ms": 300 } });
        for stage in ["encode", "tx"] {
            file["venues"][0]["stages"][stage]["lcore"] = json!(2);
        }
        // It shares its CPU with control.
        file["lcores"] = json!([{ "lcore": 1, "idle": "yield" }]);
    });
    let variables = [
        ("TICKPATH_DEMO_PIPELINE", file.as_str()),
        ("TICKPATH_DEMO_EAL", "--lcores=0@0,1@0,2@1"),
        ("TICKPATH_DEMO_STATUS", "1"),
    ];
    let day = Day::trade_with(&moody(folder.path()), 8, &variables, |at| {
        let before = until(at, "forty orders stand", |state| standing(state) >= 40);
        assert!(before.killed.is_empty(), "an lcore that shares a CPU is not stuck: {before:?}");
        std::fs::write(folder.path().join("hang"), "").unwrap();
        let after = until(at, "nothing stands", |state| !state.killed.is_empty() && standing(state) == 0);
        assert_eq!(after.killed, ["lcore stuck"]);
        assert!(after.session.unwrap().up, "the session lives on");
    });
    let log = day.log();
    assert!(log.contains("kill switch: lcore stuck") && log.contains("did not return when told to: lcore 1"), "{log}");
    let messages = heard(&day);
    let first_cancel = messages.iter().position(|message| message.0 == b'X').unwrap();
    assert!(messages[first_cancel..].iter().all(|message| message.0 == b'X'), "{messages:?}");
}

#[test]
fn what_stands_is_cancelled_by_the_lcore_whose_strategy_panicked() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| file["venues"][0]["strategy"]["name"] = json!("moody"));
    let variables = [("TICKPATH_DEMO_PIPELINE", file.as_str()), ("TICKPATH_DEMO_STATUS", "1")];
    let day = Day::trade_with(&moody(folder.path()), 5, &variables, |at| {
        until(at, "forty orders stand", |state| standing(state) >= 40);
        std::fs::write(folder.path().join("panic"), "").unwrap();
    });
    let log = day.log();
    assert!(log.contains("kill switch: lcore panicked") && log.contains("lcore 1 panicked: in a mood"), "{log}");
    assert!(!log.contains("may still stand"), "{log}");
    let exchange = day.json("exchange.json");
    assert_eq!(exchange["order_session"]["logouts"], 1, "it takes leave: {exchange}");
    let messages = heard(&day);
    let ids = |kind: u8| messages.iter().filter(|message| message.0 == kind).map(|message| message.1).collect();
    let (entered, cancelled): (BTreeSet<u32>, BTreeSet<u32>) = (ids(b'O'), ids(b'X'));
    let filled = day.filled();
    let left = entered.difference(&cancelled).filter(|id| !filled.contains_key(&u64::from(**id)));
    assert_eq!(left.count(), 0, "{messages:?}");
    assert!(cancelled.len() >= 30 && messages.last().unwrap().0 == b'X');
}

#[test]
fn a_lost_session_and_a_silent_feed_trip_the_switch_where_that_is_wanted() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = day::pipeline(folder.path(), |file| {
        file["venues"][0]["feed"]["silent_after_ms"] = json!(1500);
        file["venues"][0]["risk"] = json!({ "kill_when": { "session_lost_ms": 0, "alarms": ["feed"] } });
    });
    let variables = [
        ("TICKPATH_DEMO_PIPELINE", file.as_str()),
        ("TICKPATH_DEMO_EXCHANGE", "--disconnect-at 50 --silent-at 160000 --silent-for 8s"),
    ];
    let day = Day::trade_and(18, &variables, |at| {
        let state = until(at, "the session was lost", |state| !state.killed.is_empty());
        assert_eq!(state.killed, ["session lost"]);
        assert!(ask(&at.join("control"), "clear").unwrap().error.is_none());
        until(at, "the feed is silent", |state| state.killed.iter().any(|reason| reason == "alarm"));
    });
    let log = day.log();
    assert!(log.contains("kill switch cleared") && log.contains("alarm: venue demo: the feed is silent"), "{log}");
    day.agrees_on_orders(&day.json("exchange.json"), &day.json("host.json"));
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_beside_its_successor_and_no_id_is_used_twice() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("day");
    let test = std::env::current_exe().unwrap();
    // Moments are random: between the start and four seconds after it.
    let moments: Vec<String> = (0..4)
        .map(|_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 4_000)
        .map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000))
        .chain(["3.5".to_owned()])
        .collect();
    let run = format!(
        "trap 'kill -9 $pid 2>/dev/null' EXIT\npause=5\nfor moment in {}; do\n  {TICKPATH} \"$@\" & pid=$!\n  sleep $moment\n  \
         kill -9 $pid\n  wait $pid 2>/dev/null\n  sleep $pause\n  pause=0\ndone\ntrap - EXIT\n\
         {DAY}={} {} child_that_reads_the_day --exact >&2\nexec {TICKPATH} \"$@\"",
        ["3.5".to_owned()].iter().chain(&moments).cloned().collect::<Vec<_>>().join(" "),
        kept.display(),
        test.display(),
    );
    let variables = [("TICKPATH_DEMO_EXCHANGE", "--idle 3s")];
    let day = Day::trade_with(&program(folder.path(), &run), 30, &variables, |_| {});
    let messages: Vec<Vec<u8>> = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();

    // A block of ids is a run's.
    let block = |id: u32| (u64::from(id) - 1) / BLOCK;
    let (mut live, mut last, mut runs) = (BTreeMap::<u32, u32>::new(), 0, BTreeSet::new());
    let mut stood = 0;
    for message in &messages {
        let (entered, qty) = match parse_outbound(message).unwrap() {
            Outbound::Accepted(m, _) => (m.user_ref(), m.qty()),
            Outbound::Replaced(m, _) => {
                live.remove(&m.original_ref());
                (m.user_ref(), m.qty())
            }
            Outbound::Executed(m, _) => {
                take(&mut live, m.user_ref(), m.qty());
                continue;
            }
            Outbound::Canceled(m, _) => {
                // The exchange's word for a connection that was lost.
                stood += usize::from(m.reason() == b'Z');
                take(&mut live, m.user_ref(), m.qty());
                continue;
            }
            _ => continue,
        };
        assert!(entered > last, "id {entered} after {last}");
        last = entered;
        runs.insert(block(entered));
        live.insert(entered, qty);
        let left: Vec<_> = live.keys().filter(|id| block(**id) < block(entered)).collect();
        assert!(left.is_empty(), "{left:?} of a run that was killed stand beside {entered}; moments {moments:?}");
    }
    assert!(runs.len() >= 2 && stood > 0, "{runs:?}, {stood} orders cancelled; moments {moments:?}");
    let exchange = day.json("exchange.json");
    assert!(exchange["order_session"]["timeouts"].as_u64() >= Some(1), "it was silent for too long: {exchange}");
    assert_eq!(exchange["orders"]["repeats"], 0);
}

fn take(live: &mut BTreeMap<u32, u32>, id: u32, qty: u32) {
    let left = live[&id] - qty;
    live.insert(id, left);
    live.retain(|_, left| *left > 0);
}

#[test]
fn child_that_is_the_program() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words = ["tickpath"].into_iter().chain(words.lines()).map(Into::into);
    let code = Program::new().strategy::<Moody>().main_with(words);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

#[test]
fn child_that_reads_the_day() {
    let Ok(file) = std::env::var(DAY) else { return };
    let mut stream = std::net::TcpStream::connect("10.77.1.1:26400").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let login = format!("L{:6}{:10}{:10}{:>20}", "demo", "demo", "", 1);
    stream.write_all(&(login.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(login.as_bytes()).unwrap();
    let mut messages = Vec::new();
    let mut length = [0; 2];
    // It says nothing itself, so it is heard out and then closed.
    while stream.read_exact(&mut length).is_ok() {
        let mut packet = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut packet).unwrap();
        if packet[0] == b'S' {
            messages.push(packet[1..].to_vec());
        }
    }
    std::fs::write(file, serde_json::to_vec(&messages).unwrap()).unwrap();
}

/// Bids far below the market, so that orders stand, and does what the files in its folder tell it.
struct Moody {
    folder: PathBuf,
    bids: Vec<u64>,
    books: u32,
}

impl Strategy for Moody {
    const NAME: &'static str = "moody";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, instruments: usize) -> Result<Self, String> {
        Ok(Moody { folder: std::env::var_os(MOOD).unwrap().into(), bids: vec![0; instruments], books: 0 })
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        self.books += 1;
        if self.books.is_multiple_of(16) {
            assert!(!self.folder.join("panic").exists(), "in a mood");
            while self.folder.join("hang").exists() {
                std::hint::spin_loop();
            }
        }
        let bid = &mut self.bids[book.instrument().0 as usize];
        if let Some(best) = book.best_bid().filter(|_| *bid == 0 && !book.stale()) {
            let price = Price((best.price.0 / 200 + 1) * 100);
            *bid = orders.enter(book.instrument(), Side::Buy, 100, price).unwrap_or(0);
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _: &mut Orders) {
        if event.kind == OrderEventKind::LocalReject {
            self.bids[event.instrument.0 as usize] = 0;
        }
    }

    fn on_stop(&mut self, orders: &mut Orders) {
        for (i, bid) in self.bids.iter_mut().enumerate().filter(|(_, bid)| **bid != 0) {
            if orders.cancel(Instrument(i as u32), Side::Buy, *bid).is_some() {
                *bid = 0;
            }
        }
    }

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}
