//! Launching a plan from a program of one's own: what a strategy that misbehaves does to the rest.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{options, shipped, synth, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use tickpath::book::Book;
use tickpath::market::{OrderEvent, Price, Side};
use tickpath::pipeline::file::PipelineFile;
use tickpath::pipeline::host::HostFacts;
use tickpath::pipeline::launch::{Controls, LaunchError, Options, Outcome, launch};
use tickpath::pipeline::plan::{Mode, Plan, Request};
use tickpath::program::Program;
use tickpath::strategy::{BooksLost, Orders, Strategy};

/// Names the layout for the child process: EAL starts once in a process.
const LAYOUT: &str = "TICKPATH_TEST_LAYOUT";

const LAYOUTS: [&str; 3] = ["itch-1-lcore", "itch-2-lcores", "itch-5-lcores"];

/// Names the file that a child process leaves its orders in.
const ORDERS: &str = "TICKPATH_TEST_ORDERS";

/// Run `test` again for each layout: the orders that it left are the same.
fn for_each_layout(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let orders = LAYOUTS.map(|layout| {
        let path = folder.path().join(layout);
        let mut child = common::again(test);
        child.env(LAYOUT, layout).env(ORDERS, &path);
        let output = replay::finish(child);
        assert!(output.status.success(), "{layout}: {}{}", text(&output.stdout), text(&output.stderr));
        std::fs::read(path).unwrap_or_default()
    });
    assert!(orders[1] == orders[0] && orders[2] == orders[0], "{:?} bytes", orders.each_ref().map(Vec::len));
}

/// Replay a generated market with a strategy in the quoter's place; what came of it, and the files it left.
fn launched<S: Strategy>(layout: &str) -> (Result<Outcome, LaunchError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 8000 --symbols 100");
    let file = PipelineFile::parse(&shipped(layout).to_string()).unwrap();
    let request = Request { mode: Mode::Replay, eal_args: Vec::new(), capture_ports: Vec::new() };
    let plan = Plan::new(&file, &HostFacts::read([]), &request).unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let captures = BTreeMap::from([("feed".to_owned(), vec![capture])]);
    let options = Options { orders: Some(out.join("orders.pcap")), ..options(captures) };
    static STOP: AtomicBool = AtomicBool::new(false);
    let outcome = launch(&plan, &Program::new().strategy::<S>(), &options, &Controls::only(&STOP), |_| {});
    if let (Ok(_), Some(path)) = (&outcome, std::env::var_os(ORDERS)) {
        std::fs::copy(out.join("orders.pcap"), path).unwrap();
    }
    let left = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    (outcome, left.collect())
}

#[test]
fn a_strategy_that_panics_ends_the_run_with_an_error_and_leaves_no_file() {
    let Ok(layout) = std::env::var(LAYOUT) else {
        return for_each_layout("a_strategy_that_panics_ends_the_run_with_an_error_and_leaves_no_file");
    };
    let (outcome, left) = launched::<Clumsy>(&layout);
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("panicked: the hundredth book"), "{said}");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_strategy_that_asks_for_more_orders_than_fit_is_refused_and_everything_balances() {
    let Ok(layout) = std::env::var(LAYOUT) else {
        return for_each_layout("a_strategy_that_asks_for_more_orders_than_fit_is_refused_and_everything_balances");
    };
    let (outcome, left) = launched::<Greedy>(&layout);
    let outcome = outcome.unwrap();
    let summary = serde_json::to_value(&outcome.summary).unwrap();
    replay::check(&summary);
    let sent = |kind: &str| summary["orders"][kind].as_u64().unwrap();
    assert!(sent("enter") + sent("cancel") > 20_000, "{}", summary["orders"]);
    assert!(summary["counters"]["nasdaq"]["orders refused by collector"].as_u64().unwrap() > 0);
    assert_eq!(left, ["orders.pcap"]);
}

/// Panics after a while.
#[derive(Default)]
struct Clumsy {
    books: u32,
}

impl Strategy for Clumsy {
    const NAME: &'static str = "quoter";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, _: usize) -> Result<Self, String> {
        Ok(Clumsy::default())
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        self.books += 1;
        assert!(orders.enter(book.instrument(), Side::Buy, 100, Price(10_000)).is_some());
        assert!(self.books < 100, "the hundredth book");
    }

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}

/// Wants all the orders it can get, for some packets.
struct Greedy;

impl Strategy for Greedy {
    const NAME: &'static str = "quoter";
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, _: usize) -> Result<Self, String> {
        Ok(Greedy)
    }

    fn reconfigure(&mut self, _: &Self::Parameters) {}

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        if orders.sequence().is_multiple_of(64) {
            let instrument = book.instrument();
            while let Some(id) = orders.enter(instrument, Side::Sell, 100, Price(10_000)) {
                let _ = orders.cancel(instrument, Side::Sell, id);
            }
        }
    }

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}
