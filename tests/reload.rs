//! A pipeline file that changes while it runs: parameters, limits and layouts, in replays where every byte can be
//! compared and in a run that is told by signal and by command.

#![cfg(feature = "dpdk")]

mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use oracle::{be, udp_payload};
use replay::{
    Replayed, finish, number, on_lcores, replay_with, shipped, synth, text, tickpath, with_pools, write_json,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const FUSED: [u32; 5] = [1, 1, 1, 1, 1];
const LAYOUTS: [[u32; 5]; 6] =
    [[1, 2, 3, 4, 5], FUSED, [1, 1, 2, 2, 2], [5, 4, 3, 2, 1], [2, 2, 2, 3, 3], [1, 2, 3, 2, 1]];

/// The quoter on one lcore, with four more in reserve and frames enough for any layout.
fn pipeline(lcores: [u32; 5], half_spread: u32) -> Value {
    let mut file = with_pools(on_lcores(shipped("itch-1-lcore"), lcores), 8191, 8191);
    file["lcores"] = (1..=5).map(|lcore| json!({ "lcore": lcore, "idle": "pause" })).collect();
    file["venues"][0]["strategy"]["parameters"] =
        json!({ "half_spread_ticks": half_spread, "quote_lots": half_spread });
    file
}

fn reload_at(sequence: u64, file: &Path) -> [String; 2] {
    ["--reload-at".to_owned(), format!("{sequence}={}", file.display())]
}

fn replayed(file: &Value, capture: &Path, options: &[String]) -> Replayed {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    replay_with(file, &[capture.to_str().unwrap()], &options)
}

/// Stamp of the first packet of the capture whose MoldUDP64 sequence is this or a later one.
fn stamp_of(capture: &Path, sequence: u64) -> u64 {
    let frames = oracle::frames(capture);
    let found = frames.iter().find(|frame| {
        let (_, _, payload) = udp_payload(&frame.bytes, true).unwrap();
        // Session, sequence, count; heartbeats and the end of the session bring no message.
        be(payload, 10, 8) >= sequence && (1..0xFFFF).contains(&be(payload, 18, 2))
    });
    found.unwrap().stamp_ns
}

fn moves(replayed: &Replayed) -> usize {
    replayed.stderr.matches("moved; its intake paused for").count()
}

/// The orders of a replay, and what its gate refused, by reason.
fn refused(file: &Path, capture: &Path, options: &[String]) -> (Vec<u8>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let [orders, summary] = ["orders.pcap", "summary.json"].map(|name| folder.path().join(name));
    let mut command = tickpath();
    command.arg("replay").arg(file).arg(capture).arg("--orders").arg(&orders).arg("--summary").arg(&summary);
    command.args(options);
    let output = finish(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    replay::check(&summary);
    (std::fs::read(orders).unwrap(), summary["ledger"]["nasdaq"][2]["dropped"].clone())
}

#[test]
fn a_file_that_holds_from_the_first_packet_makes_the_orders_of_its_own_replay() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 21 --messages 20000 --symbols 40");
    let symbols: Vec<String> = replayed(&pipeline(FUSED, 1), &capture, &[]).books.into_keys().collect();
    let mut other = pipeline(FUSED, 2);
    other["venues"][0]["risk"] = json!({
        "limits": { "shares": 200, "collar_percent": 5 },
        "instruments": [{ "symbol": symbols[0], "limits": { "shares": 100 } }],
        "restricted": [symbols[1]],
        "orders_per_second": 2000,
    });
    let [first, other] = [("first.json", pipeline(FUSED, 1)), ("other.json", other)]
        .map(|(name, file)| write_json(folder.path(), name, &file));
    let own = refused(&other, &capture, &[]);
    assert!(refused(&first, &capture, &reload_at(1, &other)) == own, "orders or refusals differ");
    for reason in ["risk: shares", "risk: restricted", "risk: rate"] {
        assert!(number(&own.1[reason]) > 0, "{reason}: {}", own.1);
    }
}

#[test]
fn a_change_holds_from_its_packet_on_whatever_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 22 --messages 20000 --symbols 40");
    let sequence = 9_000;
    let at = stamp_of(&capture, sequence);
    let other = write_json(folder.path(), "other.json", &pipeline(FUSED, 3));
    let unchanged = replayed(&pipeline(FUSED, 1), &capture, &[]);
    let changed = replayed(&pipeline(FUSED, 1), &capture, &reload_at(sequence, &other));
    // A pcap record is its 16-byte head (seconds, nanoseconds, lengths) and the frame.
    let before = |orders: &[u8]| -> usize {
        let mut end = 24;
        while let Some(head) = orders.get(end..end + 16) {
            let word = |at: usize| u64::from(u32::from_le_bytes(head[at..at + 4].try_into().unwrap()));
            if word(0) * 1_000_000_000 + word(4) >= at {
                break;
            }
            end += 16 + word(8) as usize;
        }
        end
    };
    let (ours, theirs) = (&changed.orders[0], &unchanged.orders[0]);
    let end = before(ours);
    assert!(end > 10_000 && end == before(theirs) && ours[..end] == theirs[..end], "the orders before it differ");
    let size = |orders: &[u8], from: usize| be(orders, from + 16 + 45 + 6, 4);
    assert!(ours[end..] != theirs[end..], "the orders after it are the same");
    assert!(size(ours, 24) == 100, "one lot before the change");
    for lcores in [[1, 2, 3, 4, 5], [1, 1, 2, 2, 2]] {
        let other = write_json(folder.path(), "other.json", &pipeline(lcores, 3));
        let elsewhere = replayed(&pipeline(lcores, 1), &capture, &reload_at(sequence, &other));
        assert!(elsewhere.orders == changed.orders, "the orders differ on lcores {lcores:?}");
    }
}

#[test]
fn a_thousand_changes_and_fifty_layouts_lose_nothing_and_change_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let last = 120_000;
    let (capture, account) = synth(folder.path(), "in.pcap", &format!("--seed 23 --messages {last} --symbols 100"));
    let script = |lay_out: bool| -> Vec<String> {
        let (mut layout, mut options) = (0, Vec::new());
        for change in 1..=1000_u64 {
            layout += usize::from(lay_out && change % 20 == 0);
            let spread = 1 + (change % 3) as u32;
            let name = format!("{}-{spread}.json", layout % LAYOUTS.len());
            let lcores = if lay_out { LAYOUTS[layout % LAYOUTS.len()] } else { FUSED };
            let path = folder.path().join(format!("{lay_out}-{name}"));
            if !path.exists() {
                std::fs::write(&path, pipeline(lcores, spread).to_string()).unwrap();
            }
            options.extend(reload_at(change * last / 1010, &path));
        }
        options
    };
    let still = replayed(&pipeline(FUSED, 1), &capture, &script(false));
    let moving = replayed(&pipeline(LAYOUTS[0], 1), &capture, &script(true));
    assert_eq!((moves(&still), moves(&moving)), (0, 50), "{}", moving.stderr);
    assert!(!still.stderr.contains("waited") && !moving.stderr.contains("waited"), "{}", moving.stderr);
    assert_eq!(moving.summary["packets"], account["packets"][0], "a packet that the port took is never lost");
    assert!(moving.orders == still.orders, "the orders differ");
    assert_eq!(moving.books, still.books);
    assert!(still.orders != replayed(&pipeline(FUSED, 1), &capture, &[]).orders, "the changes change nothing");
}

#[test]
fn two_venues_on_the_same_lcores_do_not_notice_each_others_moves() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 24 --messages 40000 --symbols 50");
    let file = |first: [u32; 5]| {
        let mut file = pipeline(first, 1);
        let mut second = on_lcores(file.clone(), [5, 1, 2, 3, 4])["venues"][0].clone();
        second["name"] = json!("second");
        second["feed"]["lines"][0]["queue"] = json!(1);
        second["orders"]["queue"] = json!(1);
        file["venues"].as_array_mut().unwrap().push(second);
        file
    };
    let paths: Vec<PathBuf> =
        (0..6).map(|i| write_json(folder.path(), &format!("{i}.json"), &file(LAYOUTS[i]))).collect();
    let options: Vec<String> =
        (1..=20_u64).flat_map(|i| reload_at(i * 1900, &paths[i as usize % paths.len()])).collect();
    let still = replayed(&file(LAYOUTS[0]), &capture, &[]);
    let moving = replayed(&file(LAYOUTS[0]), &capture, &options);
    assert_eq!(moves(&moving), 20, "{}", moving.stderr);
    assert!(!moving.stderr.contains("venue second: moved"), "{}", moving.stderr);
    assert!(moving.orders == still.orders, "the orders differ");
}

#[test]
fn what_needs_a_restart_is_refused_by_its_name_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 2000 --symbols 10");
    type Edit = fn(&mut Value);
    let changes: [(&str, Edit); 5] = [
        ("instruments", |file| file["venues"][0]["instruments"] = json!(["S00001"])),
        ("lcore 6 is none of this run's (1-5)", |file| file["venues"][0]["stages"]["tx"]["lcore"] = json!(6)),
        ("book.instruments", |file| file["venues"][0]["book"]["instruments"] = json!(600)),
        ("mbufs: 8191 → 9000", |file| file["venues"][0]["pools"]["feed"] = json!(9000)),
        ("venues come and go", |file| file["venues"][0]["name"] = json!("iex")),
    ];
    let first = write_json(folder.path(), "first.json", &pipeline(FUSED, 1));
    for (said, change) in changes {
        let mut file = pipeline(FUSED, 2);
        change(&mut file);
        let other = write_json(folder.path(), "other.json", &file);
        let orders = folder.path().join("orders.pcap");
        let mut command = tickpath();
        command.arg("replay").arg(&first).arg(&capture).arg("--orders").arg(&orders).args(reload_at(100, &other));
        let output = finish(command);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(text(&output.stderr).contains(said), "{said}: {}", text(&output.stderr));
        assert!(!orders.exists());
        // The same without starting anything.
        let mut command = tickpath();
        command.arg("plan").arg(&other).arg("--from").arg(&first);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(text(&output.stdout).contains(said), "{said}: {}", text(&output.stdout));
    }
}

/// Wait until `done` says so.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < replay::PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A child that does not outlive a test that fails.
struct Started(Option<Child>);

impl Started {
    fn signal(&self, signal: libc::c_int) {
        let child = self.0.as_ref().unwrap();
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    }

    fn wait(mut self) -> std::process::Output {
        replay::wait(self.0.take().unwrap()).expect("it hangs")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_hangup_has_the_file_read_again_and_one_with_an_error_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 25 --messages 8000 --symbols 20 --rate 4000");
    let expected = replayed(&pipeline(FUSED, 1), &capture, &[]);
    let file = write_json(folder.path(), "p.json", &pipeline(FUSED, 1));
    let [orders, said] = ["orders.pcap", "said"].map(|name| folder.path().join(name));
    let mut command = tickpath();
    command.arg("replay").arg(&file).arg(&capture).arg("--orders").arg(&orders).args(["--speed", "1x"]);
    let log = std::fs::File::create(&said).unwrap();
    let child = Started(Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()));
    let has_said = |words: &str| std::fs::read_to_string(&said).unwrap().matches(words).count();
    // The handler is there once EAL's arguments have been printed and something is written.
    until("it starts", || has_said("EAL arguments") == 1 && folder.path().join("orders.pcap.part").exists());
    std::thread::sleep(Duration::from_millis(300));
    for (turn, lcores) in LAYOUTS.into_iter().enumerate().take(5) {
        write_json(folder.path(), "p.json", &pipeline(lcores, 1));
        child.signal(libc::SIGHUP);
        until("it moves", || {
            assert_eq!(has_said("nothing changed"), 0, "{}", std::fs::read_to_string(&said).unwrap());
            has_said("moved; its intake paused for") == turn + 1
        });
    }
    std::fs::write(&file, "{ \"ports\": [").unwrap();
    child.signal(libc::SIGHUP);
    until("it refuses", || has_said("nothing changed") == 1);
    let output = child.wait();
    assert!(output.status.success(), "{}", std::fs::read_to_string(&said).unwrap());
    assert!(std::fs::read(orders).unwrap() == expected.orders[0], "the orders differ");
}

#[test]
fn a_run_pauses_resumes_and_takes_new_parameters_by_command() {
    if !replay::two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 26 --messages 12000 --symbols 40");
    let [socket, out] = ["ctl", "out.pcap"].map(|name| folder.path().join(name));
    let live = |spread: u32| {
        let mut file = pipeline(FUSED, spread);
        file["lcores"] = json!([]);
        file["control"] = json!(socket);
        file["ports"] = json!([
            { "name": "feed", "driver": "ethdev", "device": "net_pcap0" },
            { "name": "orders", "driver": "ethdev", "device": "net_pcap1" },
        ]);
        file
    };
    let path = write_json(folder.path(), "p.json", &live(1));
    let mut command = tickpath();
    command.args(["run", "--metrics", "off"]).arg(&path).arg("--").args(replay::eal());
    command.arg(format!("--vdev=net_pcap0,rx_pcap={}", capture.display()));
    command.arg(format!("--vdev=net_pcap1,tx_pcap={}", out.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Started(Some(command.spawn().unwrap()));
    let ctl = |words: &[&str]| {
        let mut command = tickpath();
        command.arg("ctl").arg("--json").arg(&socket).args(words);
        let output = finish(command);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), answer, text(&output.stderr))
    };
    until("it listens", || ctl(&["status"]).0 == Some(0));
    let sent = || number(&ctl(&["status"]).1["venues"][0]["orders"]);
    // The whole capture comes at once.
    let mut before = 0;
    until("it has sent what it sends", || std::mem::replace(&mut before, sent()) == sent() && before > 100);

    assert_eq!(ctl(&["pause", "nasdaq"]).1["venues"][0]["paused"], true);
    until("what stands is pulled", || sent() > before);
    until("all of it", || std::mem::replace(&mut before, sent()) == sent());
    assert_eq!(ctl(&["resume"]).1["venues"][0]["paused"], false);

    let (_, unchanged, said) = ctl(&["reload"]);
    assert_eq!(unchanged["changes"], json!(["nothing changes"]), "{said}");
    write_json(folder.path(), "p.json", &live(2));
    let changes = ctl(&["reload"]).1["changes"].to_string();
    assert!(changes.contains("reconfigure parameters.half_spread_ticks: 1 → 2"), "{changes}");
    let mut other = live(2);
    other["venues"][0]["orders"]["source"]["address"] = json!("10.0.0.1:40001");
    write_json(folder.path(), "p.json", &other);
    let (code, _, said) = ctl(&["reload"]);
    assert!(code == Some(2) && said.contains("nothing changed") && said.contains("venues[0].orders.source"), "{said}");
    std::fs::write(&path, "[]").unwrap();
    let (code, _, said) = ctl(&["reload"]);
    assert!(code == Some(2) && said.contains("nothing changed"), "{said}");

    child.signal(libc::SIGTERM);
    let output = child.wait();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    // Ethernet, IPv4 and UDP take 42 bytes, the head of a SoupBinTCP packet 3; then the type of the OUCH message.
    let kinds: Vec<u8> = oracle::frames(&out).iter().map(|frame| frame.bytes[45]).collect();
    let pulled = kinds.iter().rev().take_while(|kind| **kind == b'X').count();
    assert!(pulled > 10, "the last orders are the cancels of the pause: {pulled}");
}
