//! Runs the built program over ef_vi's test double: `tick0` brings feeds, `tick1` takes orders.

#![allow(dead_code)]

use super::replay;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The two cards' Ethernet addresses.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x0a], [2, 0, 0, 0, 0, 0x0b]];

/// Whether the program drives no card, without which a test says that it is skipped.
pub fn are_doubles() -> bool {
    if !tickpath::efvi::IS_DOUBLE {
        println!("skipped: this build is on the library of a card");
    }
    tickpath::efvi::IS_DOUBLE
}

/// A pipeline's ports of these names, on the cards.
pub fn ports(feed: &str, orders: &str) -> Value {
    json!([
        { "name": feed, "driver": "ef_vi", "interface": "tick0" },
        { "name": orders, "driver": "ef_vi", "interface": "tick1" },
    ])
}

/// The program, which will find the cards, and more lines of their script, in `folder`.
pub fn program(folder: &Path, lines: &str) -> impl Fn(&[String]) -> Command {
    program_on("ef10", folder, lines)
}

/// The same on cards of this kind; those with receive buffers of their own (`efct`) in the mode in which the library hides them.
fn program_on(kind: &'static str, folder: &Path, lines: &str) -> impl Fn(&[String]) -> Command {
    let script = folder.join("cards");
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let [feed, orders] = MACS.map(mac);
    let cards = format!("interface tick0 {kind} 101 0 {feed}\ninterface tick1 {kind} 102 0 {orders}\n{lines}\n");
    std::fs::write(&script, cards).unwrap();
    move |words| {
        let mut command = replay::tickpath();
        command.args(words).env(tickpath::efvi::DOUBLE_SCRIPT, &script).env_remove("EF_VI_COMPAT_MODE");
        if kind == "efct" {
            command.env("EF_VI_COMPAT_MODE", "ef10");
        }
        command
    }
}

/// Run a pipeline while `tick0` plays that capture and what `tick1` sends is recorded; its summary.
pub fn run(file: &Value, play: Option<&Path>, record: &Path, settings: &str, time: Duration) -> Value {
    run_on("ef10", file, play, record, settings, time)
}

/// The same on cards of this kind.
pub fn run_on(
    kind: &'static str,
    file: &Value,
    play: Option<&Path>,
    record: &Path,
    settings: &str,
    time: Duration,
) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let plays = play.map(|capture| format!("play tick0 {}\n", capture.display())).unwrap_or_default();
    let lines = format!("{plays}record tick1 {}\n{settings}", record.display());
    replay::run_for(&program_on(kind, folder.path(), &lines), file, &[], time, libc::SIGINT)
}
