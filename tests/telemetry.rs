//! `/tickpath/...` on DPDK's telemetry socket, asked by its protocol and by DPDK's own client.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/state.rs"]
mod state;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use tickpath::dpdk::Eal;
use tickpath::latency::snapshot::Snapshot;
use tickpath::serve::{Metrics, telemetry};

const CASE: &str = "TICKPATH_TEST_TELEMETRY";
/// Never that of another process: the folder is the test's own.
const PREFIX: &str = "tickpath-telemetry";

/// A process with EAL running that shows a state until its standard input ends.
struct Instance {
    child: Child,
    /// Open as long as the child writes.
    _lines: Lines<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

impl Instance {
    fn start(test: &str, case: &str) -> Instance {
        let folder = tempfile::tempdir().unwrap();
        // Where EAL and DPDK's client put and look for sockets, instead of /var/run.
        let mut command = common::again(test);
        command.env(CASE, case).env("RUNTIME_DIRECTORY", folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains("<shown>")), "the child ended early");
        Instance { child, _lines: lines, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("dpdk").join(PREFIX).join("dpdk_telemetry.v2")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = self.child.wait().unwrap();
        assert!(std::thread::panicking() || ended.success(), "{ended}");
    }
}

/// The child's part: shows a state, and ends with its standard input. `None` in the parent.
fn child() -> Option<()> {
    let case = std::env::var(CASE).ok()?;
    let prefix = format!("--file-prefix={PREFIX}");
    let args = ["--no-huge", "-m", "64", "--no-pci", "--lcores=0@0", &prefix].map(str::to_owned);
    let eal = Eal::init("tickpath", &args).unwrap();
    let metrics = Arc::new(Metrics::new(&["nasdaq", "iex"]));
    metrics.publish(Arc::new(match case.as_str() {
        "many" => many(),
        _ => state::running(),
    }));
    let shown = telemetry::show(&eal, metrics.clone()).unwrap();
    let shown = match case.as_str() {
        "gone" => {
            drop(shown);
            None
        }
        // As a second run in one process would.
        "again" => {
            drop(shown);
            Some(telemetry::show(&eal, metrics).unwrap())
        }
        _ => Some(shown),
    };
    println!("<shown>");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(shown);
    Some(())
}

/// More venues, reasons and alarms than an answer holds.
fn many() -> Snapshot {
    let mut snapshot = state::running();
    let venue = snapshot.venues[0].clone();
    snapshot.venues = (0..60).map(|_| venue.clone()).collect();
    snapshot.venues.iter_mut().enumerate().for_each(|(i, v)| v.name = format!("venue-{i}"));
    snapshot.venues[7].stages[0].dropped = (0..400).map(|i| (format!("\"reason\" {i}"), i)).collect();
    let alarm = snapshot.alarms[0].clone();
    snapshot.alarms = vec![alarm; 1000];
    snapshot.alarms[1].text = format!("\"a\\b\"\n{}", "é".repeat(300));
    snapshot
}

/// A connection to the socket, past its greeting.
struct Client {
    stream: UnixStream,
    room: usize,
}

impl Client {
    fn connect(path: &Path) -> Client {
        let path = path.as_os_str().as_bytes();
        // SAFETY: plain calls with no memory of ours but the address below, which is as long as we say.
        let stream = unsafe {
            let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);
            assert!(fd >= 0);
            let fd = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_un = std::mem::zeroed();
            address.sun_family = libc::AF_UNIX as libc::sa_family_t;
            assert!(path.len() < address.sun_path.len());
            address.sun_path.iter_mut().zip(path).for_each(|(to, from)| *to = *from as libc::c_char);
            let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            let rc = libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length);
            assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
            UnixStream::from(fd)
        };
        let mut client = Client { stream, room: 1024 };
        let greeting = client.receive();
        client.room = greeting["max_output_len"].as_u64().unwrap() as usize;
        client
    }

    fn receive(&mut self) -> Value {
        let mut answer = vec![0; self.room];
        let length = self.stream.read(&mut answer).unwrap();
        let text = std::str::from_utf8(&answer[..length]).unwrap();
        serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"))
    }

    /// What `command` is answered with.
    fn ask(&mut self, command: &str) -> Value {
        self.stream.write_all(command.as_bytes()).unwrap();
        let name = command.split(',').next().unwrap();
        self.receive()[name].take()
    }
}

#[test]
fn the_commands_are_listed_and_answer_with_the_state() {
    if child().is_some() {
        return;
    }
    let instance = Instance::start("the_commands_are_listed_and_answer_with_the_state", "running");
    let mut client = Client::connect(&instance.socket());
    let listed = client.ask("/");
    for command in ["/tickpath/info", "/tickpath/stages", "/tickpath/links", "/tickpath/hops"] {
        assert!(listed.as_array().unwrap().contains(&command.into()), "{listed}");
        assert!(client.ask(&format!("/help,{command}")).to_string().contains("arameter"));
    }
    let info = client.ask("/tickpath/info");
    assert_eq!(info["run"], "20261123T032338Z-1234");
    assert_eq!((&info["uptime_seconds"], &info["records_lost"]), (&json!(3725), &json!(12)));
    assert_eq!(info["venues"], json!(["nasdaq", "iex"]));
    assert_eq!(info["alarms"][4], "the rate is unverified");

    let stages = client.ask("/tickpath/stages");
    assert_eq!(stages.as_object().unwrap().len(), 10);
    let expected = json!({ "lcore": 8, "in": 61_050, "out": 61_006, "held": 3, "bursts": 0, "dropped": 41 });
    assert_eq!(stages["iex/strategy"], expected);
    let stages = client.ask("/tickpath/stages,iex");
    assert_eq!(stages.as_object().unwrap().len(), 5);
    assert_eq!(stages["strategy"]["dropped"], json!({ "risk": 41, "no_room": 0 }));

    let links = client.ask("/tickpath/links");
    assert_eq!(links["iex/rx_parse"], json!({ "slots": 1023, "fill": 900, "high_water": 1023 }));
    assert_eq!(client.ask("/tickpath/links,iex").as_object().unwrap().len(), 2);

    let hops = client.ask("/tickpath/hops,nasdaq");
    let hop = &hops["rx_doorbell"];
    assert_eq!((&hop["count"], &hop["p50_ns"], &hop["budget_p99_ns"]), (&json!(500), &json!(18_000), &json!(36_000)));
    let unknown = client.ask("/tickpath/hops,nyse");
    assert_eq!(unknown, json!({ "error": "no venue nyse; there are nasdaq, iex" }));
}

#[test]
fn what_an_answer_cannot_hold_is_counted_and_never_breaks_it() {
    if child().is_some() {
        return;
    }
    let instance = Instance::start("what_an_answer_cannot_hold_is_counted_and_never_breaks_it", "many");
    let mut client = Client::connect(&instance.socket());
    for command in ["/tickpath/stages", "/tickpath/hops"] {
        let answer = client.ask(command);
        let shown = answer.as_object().unwrap().len() - 1;
        let all = if command.ends_with("stages") { 60 * 5 } else { 60 * 6 };
        assert_eq!(answer["left_out"], json!(all - shown), "{command}: {shown} are shown");
        assert!(shown > 60, "{command}: {shown} are shown");
    }
    assert_eq!(client.ask("/tickpath/stages,venue-59").as_object().unwrap().len(), 5);
    let dropped = &client.ask("/tickpath/stages,venue-7")["rx"]["dropped"];
    assert_eq!(dropped["left_out"], json!(400 - 255), "{dropped}");
    assert_eq!(dropped["_reason__0"], json!(0));
    let info = client.ask("/tickpath/info");
    assert_eq!(info["alarms"][32], "and 968 more");
    let text = info["alarms"][1].as_str().unwrap();
    assert_eq!(text, format!("\"a\\b\" {}", "?".repeat(127 - 6)));
}

#[test]
fn a_run_that_is_over_is_told_and_the_next_one_shown() {
    if child().is_some() {
        return;
    }
    let test = "a_run_that_is_over_is_told_and_the_next_one_shown";
    let gone = Instance::start(test, "gone");
    let mut client = Client::connect(&gone.socket());
    assert_eq!(client.ask("/tickpath/stages"), json!({ "error": "nothing runs now" }));
    let again = Instance::start(test, "again");
    let mut client = Client::connect(&again.socket());
    assert_eq!(client.ask("/tickpath/info")["command"], "run");
    let commands = client.ask("/");
    let named = |command: &&Value| command.as_str().unwrap().starts_with("/tickpath/");
    assert_eq!(commands.as_array().unwrap().iter().filter(named).count(), 4, "{commands}");
}

#[test]
fn dpdks_own_client_lists_and_asks() {
    if child().is_some() {
        return;
    }
    let instance = Instance::start("dpdks_own_client_lists_and_asks", "running");
    let mut command = Command::new("dpdk-telemetry.py");
    command.args(["-f", PREFIX]).env("RUNTIME_DIRECTORY", instance.folder.path());
    let Some(mut client) = common::tool(command.stdin(Stdio::piped()).stdout(Stdio::piped()), "dpdk") else { return };
    client.stdin.take().unwrap().write_all(b"/\n/tickpath/links,iex\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let listed = answers.iter().find_map(|answer| answer["/"].as_array()).unwrap_or_else(|| panic!("{said}"));
    assert!(listed.contains(&"/tickpath/hops".into()), "{said}");
    let links =
        answers.iter().find_map(|answer| answer["/tickpath/links"].as_object()).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(links["encode_tx"], json!({ "slots": 1023, "fill": 1, "high_water": 2 }));
}
