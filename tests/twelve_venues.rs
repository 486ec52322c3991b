//! Twelve venues at once: each makes the orders that it makes alone, whatever befalls another.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{Replayed, alone, number, replay_with, shipped, synth, text, write_json};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tickpath::book::Book;
use tickpath::market::{OrderEvent, Side};
use tickpath::program::Program;
use tickpath::strategy::{BooksLost, Orders, Quoter, Strategy};

/// The words of a command line, one a line, for the child process that is to be the program.
const WORDS: &str = "TICKPATH_TEST_WORDS";

/// The shipped file and a market for each of its venues: name, capture.
struct Bench {
    folder: tempfile::TempDir,
    file: Value,
    captures: Vec<(String, PathBuf)>,
}

impl Bench {
    fn new(messages: u32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let file = shipped("twelve-venues");
        let venues = file["venues"].as_array().unwrap();
        assert_eq!(venues.len(), 12);
        let capture = |(seed, venue): (usize, &Value)| {
            let name = venue["name"].as_str().unwrap().to_owned();
            let line = &venue["feed"]["lines"][0];
            assert_eq!(line["port"], name.as_str(), "a port of the same name");
            let options = format!(
                "--protocol {} --seed {seed} --messages {messages} --symbols 20 --group {}",
                venue["feed"]["protocol"].as_str().unwrap(),
                line["groups"][0].as_str().unwrap(),
            );
            let (path, _) = synth(folder.path(), &format!("{name}.pcap"), &options);
            (name, path)
        };
        let captures = venues.iter().enumerate().map(capture).collect();
        Bench { folder, file, captures }
    }

    fn bound(&self) -> Vec<String> {
        self.captures.iter().map(|(name, path)| format!("{name}={}", path.display())).collect()
    }

    fn replay(&self) -> Replayed {
        let bound = self.bound();
        replay_with(&self.file, &bound.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    }
}

/// Frames of a pcap after its header of 24 bytes: each behind a header of 16.
fn for_each_frame(pcap: &mut [u8], mut each: impl FnMut(usize, &mut [u8])) {
    let mut rest = &mut pcap[24..];
    for at in 0.. {
        let Some(length) = rest.get(8..12) else { break };
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (frame, behind) = rest[16..].split_at_mut(length);
        each(at, frame);
        rest = behind;
    }
}

/// Every third frame is noise from its first byte on, every other from behind its UDP header.
fn spoil(capture: &Path) {
    let mut pcap = std::fs::read(capture).unwrap();
    let mut state = 1u64;
    let mut noise = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    for_each_frame(&mut pcap, |at, frame| {
        // Ethernet with a VLAN tag, IPv4 and UDP take 46 bytes.
        let from = if at.is_multiple_of(3) { 0 } else { 46.min(frame.len()) };
        frame[from..].fill_with(&mut noise);
    });
    std::fs::write(capture, pcap).unwrap();
}

#[test]
fn twelve_venues_at_once_make_the_orders_that_each_makes_alone() {
    let bench = Bench::new(5_000);
    let all = bench.replay();
    assert_eq!(all.summary["ledger"].as_object().unwrap().len(), 12);
    for (venue, (name, capture)) in bench.captures.iter().enumerate() {
        let single = replay::replay(&alone(&bench.file, venue), capture);
        assert!(number(&single.summary["orders"]["enter"]) >= 20, "{name}: {}", single.summary["orders"]);
        assert!(all.orders[venue] == single.orders(), "{name}: not the orders that it makes alone");
        assert_eq!(all.summary["ledger"][name], single.summary["ledger"][name], "{name}");
    }
}

#[test]
fn a_venue_that_is_fed_noise_changes_nothing_for_the_others() {
    let mut bench = Bench::new(3_000);
    let sound = bench.replay();
    let spoiled = 4;
    spoil(&bench.captures[spoiled].1);
    // So that the noise reaches the decoder.
    for checksum in ["ip_checksum", "udp_checksum"] {
        bench.file["venues"][spoiled]["feed"][checksum] = "off".into();
    }
    let run = bench.replay();
    let name = &bench.captures[spoiled].0;
    assert!(run.dropped(name, "parse", "not IPv4") > 100, "{}", run.summary["ledger"][name]);
    assert!(run.orders[spoiled].len() < sound.orders[spoiled].len(), "what it is fed is not its feed");
    for (venue, (name, _)) in bench.captures.iter().enumerate().filter(|(venue, _)| *venue != spoiled) {
        assert!(run.orders[venue] == sound.orders[venue], "{name}");
        assert_eq!(run.summary["ledger"][name], sound.summary["ledger"][name], "{name}");
    }
}

#[test]
fn a_venue_whose_strategy_stalls_changes_nothing_for_the_others() {
    let mut bench = Bench::new(3_000);
    let sound = bench.replay();
    let stalled = 6;
    bench.file["venues"][stalled]["strategy"]["name"] = Drowsy::NAME.into();
    let out = |name: &str| bench.folder.path().join(name);
    let mut words = vec!["replay".to_owned()];
    words.push(write_json(bench.folder.path(), "pipeline.json", &bench.file).display().to_string());
    words.extend(bench.bound());
    words.extend(["--orders".to_owned(), out("orders.pcap").display().to_string()]);
    words.extend(["--summary".to_owned(), out("summary.json").display().to_string()]);
    let mut child = common::again("child_that_is_the_program");
    child.env(WORDS, words.join("\n"));
    let output = replay::finish(child);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let summary: Value = serde_json::from_slice(&std::fs::read(out("summary.json")).unwrap()).unwrap();
    replay::check(&summary);
    let name = &bench.captures[stalled].0;
    assert!(number(&summary["counters"][name]["drowsy naps"]) > 10, "{}", summary["counters"][name]);
    for (venue, (name, _)) in bench.captures.iter().enumerate().filter(|(venue, _)| *venue != stalled) {
        assert!(std::fs::read(out(&format!("orders.{name}.pcap"))).unwrap() == sound.orders[venue], "{name}");
        assert_eq!(summary["ledger"][name], sound.summary["ledger"][name], "{name}");
    }
}

#[test]
fn child_that_is_the_program() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words = ["tickpath"].into_iter().chain(words.lines()).map(Into::into);
    let code = Program::new().strategy::<Quoter>().strategy::<Drowsy>().main_with(words);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// Bids once an instrument, and keeps its lcore to itself for a while every so often.
struct Drowsy {
    books: u64,
    naps: u64,
    bids: Vec<bool>,
}

impl Strategy for Drowsy {
    const NAME: &'static str = "drowsy";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, instruments: usize) -> Result<Self, String> {
        Ok(Drowsy { books: 0, naps: 0, bids: vec![false; instruments] })
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        self.books += 1;
        if self.books.is_multiple_of(64) {
            self.naps += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        let bid = &mut self.bids[book.instrument().0 as usize];
        if let Some(best) = book.best_bid().filter(|_| !*bid) {
            *bid = orders.enter(book.instrument(), Side::Buy, 100, best.price).is_some();
        }
    }

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}

    fn counters(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("naps", self.naps);
    }
}
