//! What a run says while it goes on: of a host that changes under it, and to the service manager that started it.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/host.rs"]
mod host;
#[path = "common/replay.rs"]
mod replay;

use host::{tuned, write};
use replay::{shipped, synth, text, tickpath, two_cpus, write_json};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tickpath::control::{Answer, ask};

/// The fused ITCH pipeline on two devices, with a control socket.
fn on_devices(folder: &Path, feed: &str) -> Value {
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": feed },
        { "name": "orders", "driver": "ethdev", "device": "net_null1" },
    ]);
    file["control"] = json!(folder.join("control"));
    file["record"] = json!({ "interval_ms": 50, "check_seconds": 1 });
    file
}

/// A run of it with these options.
fn run(folder: &Path, file: &Value, feed: &str, options: &[&str]) -> Command {
    let mut command = tickpath();
    command.args(["run", "--metrics", "127.0.0.1:0"]).args(options).arg(write_json(folder, "pipeline.json", file));
    command.arg("--trace").arg(folder.join("trace")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    let vdevs = [format!("--vdev={feed}"), "--vdev=net_null1".to_owned()];
    // EAL's come last.
    command.arg("--").args(replay::eal()).args(vdevs);
    command
}

/// The control socket's state, once it is as it should be.
fn until(folder: &Path, what: &str, reached: impl Fn(&Answer) -> bool) -> Answer {
    let began = Instant::now();
    loop {
        match ask(&folder.join("control"), "status") {
            Ok(answer) if reached(&answer) => return answer,
            answer => assert!(began.elapsed() < replay::PATIENCE, "{what}: {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn drained(folder: &Path, child: Child) -> String {
    ask(&folder.join("control"), "drain").unwrap();
    let output = replay::wait(child).expect("it hangs after the drain");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_host_that_changes_under_a_run_is_in_its_log_its_state_its_metrics_and_its_trace() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let root = folder.join("host");
    tuned(&root);
    write(&root, "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    let options = ["--host-root", root.to_str().unwrap()];
    let child = run(folder, &on_devices(folder, "net_null0"), "net_null0", &options).spawn().unwrap();
    let ids = |answer: &Answer| answer.host.iter().map(|fact| fact.id.clone()).collect::<Vec<_>>();
    let first = until(folder, "the fault of the start", |answer| !answer.host.is_empty());
    assert_eq!(ids(&first), ["memory.thp"]);
    assert_eq!(first.host[0].changed_ns, None);

    write(&root, "proc/irq/24/effective_affinity_list", "1\n");
    write(&root, "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    let now = until(folder, "the moved interrupt", |answer| ids(answer) == ["irq.delivered"]);
    assert!(now.host[0].found.contains("IRQ 24 is delivered to CPU 1") && now.host[0].changed_ns.is_some());
    write(&root, "proc/irq/24/effective_affinity_list", "0\n");
    until(folder, "the interrupt that went", |answer| answer.host.is_empty());
    let said = drained(folder, child);
    for line in [
        "warning: memory.thp: transparent hugepages are made",
        "host: memory.thp is gone: ",
        "host: irq.delivered appeared: IRQ 24 is delivered to CPU 1",
        "host: irq.delivered is gone: ",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }

    let mut report = tickpath();
    report.arg("report").arg(folder.join("trace")).arg("--json");
    let output = replay::finish(report);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let host = report["runs"][0]["host"].as_array().unwrap();
    let news: Vec<[&str; 2]> = host.iter().map(|at| ["id", "news"].map(|key| at[key].as_str().unwrap())).collect();
    let thp = |news| ["memory.thp", news];
    let irq = |news| ["irq.delivered", news];
    assert!(news.starts_with(&[thp("at_start")]) && news.ends_with(&[irq("gone")]), "{news:?}");
    assert!(news.contains(&thp("gone")) && news.contains(&irq("appeared")), "{news:?}");
    let at: Vec<f64> = host.iter().map(|at| at["at_seconds"].as_f64().unwrap()).collect();
    assert!(at.is_sorted() && at[0] >= 0.0, "{at:?}");
}

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(replay::PATIENCE)).unwrap();
        Manager { socket, path }
    }

    fn next(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        let n = self.socket.recv(&mut bytes).ok()?;
        Some(text(&bytes[..n]))
    }

    /// What comes up to and with the state that begins so.
    fn until(&self, start: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| !last.starts_with(start)) {
            heard.push(self.next().unwrap_or_else(|| panic!("no {start}, but {heard:?}")));
        }
        heard
    }
}

#[test]
fn the_service_manager_hears_that_it_polls_lives_reloads_and_stops() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let manager = Manager::new(folder);
    let mut command = run(folder, &on_devices(folder, "net_null0"), "net_null0", &[]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000");
    let child = command.spawn().unwrap();
    assert_eq!(manager.until("READY=1"), ["READY=1"], "nothing comes before it");
    let heard = manager.until("WATCHDOG=1");
    assert_eq!(heard, ["STATUS=nasdaq trading", "WATCHDOG=1"]);
    for _ in 0..3 {
        assert_eq!(manager.until("WATCHDOG=1"), ["WATCHDOG=1"]);
    }
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGHUP) };
    let reloading = manager.until("RELOADING=1").pop().unwrap();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(since.parse::<u64>().is_ok(), "{reloading}");
    manager.until("READY=1");
    ask(&folder.join("control"), "kill").unwrap();
    manager.until("STATUS=nasdaq killed: command");
    let said = drained(folder, child);
    let heard = manager.until("STOPPING=1");
    assert!(heard.iter().all(|state| state == "WATCHDOG=1" || state == "STOPPING=1"), "{heard:?}");
    assert!(said.contains("every lcore polls, "), "{said}");
}

#[test]
fn the_watchdog_starves_while_an_lcore_is_stuck() {
    if !two_cpus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (capture, _) = synth(folder, "in.pcap", "--seed 3 --messages 20000 --symbols 40");
    let manager = Manager::new(folder);
    let mut file = on_devices(folder, "net_pcap0");
    file["venues"][0]["risk"] = json!({ "kill_when": { "lcore_stuck_ms": 300 } });
    // The first round has no order in it.
    let file = replay::in_bursts(file, 1);
    let feed = format!("net_pcap0,rx_pcap={}", capture.display());
    // The first order is an hour on its way.
    let mut command = run(folder, &file, &feed, &["--inject-delay", "decided_encoded=3600s"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "400000");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    manager.until("READY=1");
    manager.until("STATUS=nasdaq killed: lcore stuck");
    // Ten times as long as it takes to be fed otherwise.
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let fed = std::iter::from_fn(|| manager.next()).filter(|state| state == "WATCHDOG=1").count();
    // What this test started, it ends.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fed, 0);
}
