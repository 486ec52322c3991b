//! `tickpath run` on virtual devices: it runs until it is told to stop, drains, accounts for everything, and makes the
//! same orders as a replay.

#![cfg(feature = "dpdk")]

#[cfg(feature = "ef_vi")]
#[path = "common/cards.rs"]
mod cards;
mod common;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "common/replay.rs"]
mod replay;

use replay::{check, number, shipped, synth, text, tickpath, two_cpus, wait_until_polling, write_json};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Run a pipeline with these virtual devices, stop it with `signal` after it has polled for `time`; its summary.
fn run_for(file: &Value, vdevs: &[String], time: Duration, signal: libc::c_int) -> Value {
    let program = |words: &[String]| {
        let mut command = tickpath();
        command.args(words);
        command
    };
    let eal: Vec<String> = vdevs.iter().map(|vdev| format!("--vdev={vdev}")).collect();
    replay::run_for(&program, file, &eal, time, signal)
}

/// The fused ITCH pipeline on two devices.
fn on_devices(feed: &str, orders: &str) -> Value {
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": feed },
        { "name": "orders", "driver": "ethdev", "device": orders },
    ]);
    file
}

#[test]
fn a_run_on_null_devices_drains_and_balances_when_stopped() {
    if !two_cpus() {
        return;
    }
    let file = on_devices("net_null0", "net_null1");
    let vdevs = ["net_null0,size=64".to_owned(), "net_null1".to_owned()];
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let summary = run_for(&file, &vdevs, Duration::from_millis(100), signal);
        assert!(number(&summary["packets"]) > 0);
        assert_eq!(number(&summary["ledger"]["nasdaq"][1]["dropped"]["not IPv4"]), number(&summary["packets"]));
    }
}

#[test]
fn a_run_on_ring_devices_drains_and_balances_when_stopped() {
    if !two_cpus() {
        return;
    }
    let file = on_devices("net_ring0", "net_ring1");
    let vdevs = ["net_ring0".to_owned(), "net_ring1".to_owned()];
    let summary = run_for(&file, &vdevs, Duration::from_millis(100), libc::SIGINT);
    assert_eq!(number(&summary["packets"]), 0);
}

#[test]
fn a_second_run_of_the_same_name_is_told_to_take_another() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pipeline = write_json(folder.path(), "pipeline.json", &on_devices("net_ring0", "net_ring1"));
    let eal = replay::eal();
    let run = || {
        let mut command = tickpath();
        command
            .args(["run", "--metrics", "off"])
            .arg(&pipeline)
            .arg("--")
            .args(&eal)
            .args(["--vdev=net_ring0", "--vdev=net_ring1"]);
        command
    };
    let mut first = run().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let polling = wait_until_polling(&mut first);
    let second = replay::finish(run());
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(first.id() as libc::pid_t, libc::SIGINT) };
    let first = replay::wait(first).expect("it hangs after the signal");
    assert!(polling && first.status.success(), "{}", text(&first.stderr));
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("--file-prefix=NAME"), "{}", text(&second.stderr));
}

#[test]
fn a_device_makes_the_same_orders_as_a_replay() {
    makes_the_same_orders_as_a_replay(|capture, out, time| {
        let vdevs =
            [format!("net_pcap0,rx_pcap={}", capture.display()), format!("net_pcap1,tx_pcap={}", out.display())];
        run_for(&on_devices("net_pcap0", "net_pcap1"), &vdevs, time, libc::SIGINT)
    });
}

#[cfg(feature = "ef_vi")]
#[test]
fn a_card_makes_the_same_orders_as_a_replay() {
    if !cards::are_doubles() {
        return;
    }
    let faults = "set tick1 ctpio-lose-every 3\nset tick1 ctpio-poison-every 5\nset tick1 completion-polls 3\n";
    for (kind, settings) in [("ef10", ""), ("ef10", faults), ("efct", "")] {
        makes_the_same_orders_as_a_replay(|capture, out, time| {
            let summary = cards::run_on(kind, &on_cards(), Some(capture), out, settings, time);
            assert_eq!(summary["ledger"]["nasdaq"][0]["dropped"], json!({}));
            summary
        });
    }
}

#[cfg(feature = "ef_vi")]
#[test]
fn a_program_on_the_double_runs_no_live_port() {
    if !cards::are_doubles() || !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = tickpath();
    command.args(["run", "--metrics", "off"]).arg(write_json(folder.path(), "p.json", &on_cards())).arg("--");
    command.args(replay::eal()).env_remove("TICKPATH_EFVI_DOUBLE");
    let output = replay::finish(command);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("test double of ef_vi") && said.contains("onload-devel"),
        "{said}"
    );
}

/// The fused ITCH pipeline on two ports of a card.
#[cfg(feature = "ef_vi")]
fn on_cards() -> Value {
    let mut file = shipped("itch-1-lcore");
    file["ports"] = cards::ports("feed", "orders");
    file
}

/// `run` runs the pipeline on this capture for about so long, with its orders in that file; its summary.
fn makes_the_same_orders_as_a_replay(run: impl Fn(&Path, &Path, Duration) -> Value) {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = "--seed 13 --messages 12000 --symbols 40 --mix all --gaps 1 --session-change 0.6 --duplicates 1";
    let (capture, account) = synth(folder.path(), "in.pcap", options);
    let replayed = replay::replay(&shipped("itch-1-lcore"), &capture);
    let expected = folder.path().join("replayed.pcap");
    std::fs::write(&expected, replayed.orders()).unwrap();

    let out = folder.path().join("out.pcap");
    let packets = number(&account["packets"][0]);
    // The device has no end of file, so the time it takes is a guess: a longer one when a slow machine proves it wrong.
    let mut summary = Value::Null;
    for time in [300, 3_000, 30_000] {
        summary = run(&capture, &out, Duration::from_millis(time));
        if summary["packets"] == packets {
            break;
        }
    }
    assert_eq!(summary["packets"], packets);
    assert_eq!(summary["messages"], replayed.summary["messages"]);
    let [ours, theirs] = [&summary["orders"], &replayed.summary["orders"]];
    assert_eq!((&ours["enter"], &ours["replace"]), (&theirs["enter"], &theirs["replace"]));
    assert!(number(&ours["enter"]) > 50);
    let bytes = |path: &Path| oracle::frames(path).into_iter().map(|frame| frame.bytes).collect::<Vec<_>>();
    let (expected, out) = (bytes(&expected), bytes(&out));
    let (same, at_end) = out.split_at(expected.len());
    assert!(expected == same, "the frames differ");
    // What still stood when it was told to stop is cancelled, and nothing else.
    let stood = standing(&expected);
    assert!(!stood.is_empty() && at_end.len() == stood.len());
    assert!(standing(&out).is_empty());
    assert_eq!(summary["counters"]["nasdaq"]["quoter pulled_stop"], stood.len());
}

#[test]
fn a_run_whose_order_link_takes_nothing_ends_all_the_same_and_says_so() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 13 --messages 12000 --symbols 40");
    // Nobody reads from this ring, which holds 1,024 frames.
    let vdevs = [format!("net_pcap0,rx_pcap={}", capture.display()), "net_ring1".to_owned()];
    let mut command = tickpath();
    command
        .args(["run", "--metrics", "off"])
        .arg(write_json(folder.path(), "p.json", &on_devices("net_pcap0", "net_ring1")))
        .arg("--");
    command.args(replay::eal()).args(vdevs.iter().map(|vdev| format!("--vdev={vdev}")));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until_polling(&mut child));
    std::thread::sleep(Duration::from_secs(1));
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let output = replay::wait(child).expect("it hangs after the signal");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not drained: ") && said.contains("cancel at the exchange"), "{said}");
}

#[test]
fn a_second_signal_ends_a_run_that_drains_at_once() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--seed 13 --messages 12000 --symbols 40");
    // It cannot drain: nobody reads from this ring, which holds 1,024 frames.
    let vdevs = [format!("--vdev=net_pcap0,rx_pcap={}", capture.display()), "--vdev=net_ring1".to_owned()];
    let mut command = tickpath();
    command
        .args(["run", "--metrics", "off"])
        .arg(write_json(folder.path(), "p.json", &on_devices("net_pcap0", "net_ring1")))
        .arg("--");
    command.args(replay::eal()).args(vdevs);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until_polling(&mut child));
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..2 {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = replay::wait(child).expect("it hangs after the signals");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(libc::SIGTERM), "{output:?}");
}

#[test]
fn a_signal_trips_every_kill_switch_and_the_log_says_so() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut file = on_devices("net_ring0", "net_ring1");
    let control = folder.path().join("control");
    file["control"] = json!(control);
    let mut command = tickpath();
    command.args(["run", "--metrics", "off"]).arg(write_json(folder.path(), "pipeline.json", &file)).arg("--");
    command.args(replay::eal()).args(["--vdev=net_ring0", "--vdev=net_ring1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until_polling(&mut child));
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGUSR1) };
    let began = Instant::now();
    let killed = || tickpath::control::ask(&control, "status").unwrap().venues[0].killed.clone();
    while killed().is_empty() && began.elapsed() < replay::PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let reasons = killed();
    // SAFETY: as above.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let output = replay::wait(child).expect("it hangs after the signal");
    assert_eq!(reasons, ["signal"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("kill switch: signal; only cancels leave"), "{}", text(&output.stderr));
}

/// References of the orders that stand after these frames: OUCH 5.0 Enter, Replace and Cancel.
fn standing(frames: &[Vec<u8>]) -> HashSet<u32> {
    let mut standing = HashSet::new();
    for frame in frames {
        // Ethernet, IPv4 and UDP take 42 bytes, the head of a SoupBinTCP packet 3.
        let message = &frame[45..];
        let reference = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        let done = match message[0] {
            b'O' => standing.insert(reference(1)),
            b'U' => standing.remove(&reference(1)) && standing.insert(reference(5)),
            b'X' => standing.remove(&reference(1)),
            other => panic!("{other}"),
        };
        assert!(done, "a reference that is not new, or does not stand");
    }
    standing
}

#[test]
fn a_replay_may_send_its_orders_to_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 6000 --symbols 20");
    let replayed = replay::replay(&shipped("itch-1-lcore"), &capture);
    let mut file = shipped("itch-1-lcore");
    file["ports"][1] = json!({ "name": "orders", "driver": "ethdev", "device": "net_pcap1" });
    let out = folder.path().join("out.pcap");
    let summary = folder.path().join("summary.json");
    let mut command = tickpath();
    command.arg("replay").arg(write_json(folder.path(), "p.json", &file)).arg(&capture).arg("--summary").arg(&summary);
    command.arg("--").args(replay::eal()).arg(format!("--vdev=net_pcap1,tx_pcap={}", out.display()));
    let output = replay::finish(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    check(&summary);
    assert_eq!(summary["orders"], replayed.summary["orders"]);
    let expected = folder.path().join("replayed.pcap");
    std::fs::write(&expected, replayed.orders()).unwrap();
    let bytes = |path: &Path| oracle::frames(path).into_iter().map(|frame| frame.bytes).collect::<Vec<_>>();
    assert!(bytes(&expected) == bytes(&out), "the frames differ");
}

#[test]
fn a_replay_stopped_by_a_signal_drains_says_so_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = synth(folder.path(), "in.pcap", "--messages 20000 --symbols 20 --rate 1000");
    let [orders, summary] = ["orders.pcap", "summary.json"].map(|name| folder.path().join(name));
    let mut command = tickpath();
    command.arg("replay").arg(write_json(folder.path(), "p.json", &shipped("itch-1-lcore"))).arg(&capture);
    command.arg("--orders").arg(&orders).arg("--summary").arg(&summary).args(["--speed", "1x"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until_polling(&mut child) || !two_cpus());
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = replay::wait(child).expect("it hangs after the signal");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("interrupted: ") && said.contains("ledger balanced"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !orders.exists() && !summary.exists() && !left.iter().any(|f| f.to_string_lossy().contains("part")),
        "{left:?}"
    );
}
