//! What a running pipeline may still do: nothing that it does not need.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;

use replay::{shipped, text, tickpath, two_cpus, write_json};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tickpath::control::ask;
use tickpath::sys::privileges::{Capability, Needs, give_up};
use tickpath::sys::thread::run_fifo;

/// Set for the child process that gives its privileges up.
const CHILD: &str = "TICKPATH_TEST_CHILD";
/// CAP_PERFMON, which a run keeps where it had it.
const PERFMON: u64 = 1 << 38;

/// Beside an lcore under SCHED_FIFO another run gets next to nothing of that CPU.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn what_is_given_up_is_gone_in_every_thread_and_the_rest_works() {
    if std::env::var_os(CHILD).is_none() {
        let mut child = common::again("what_is_given_up_is_gone_in_every_thread_and_the_rest_works");
        child.env(CHILD, "1");
        let output = replay::finish(child);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        return;
    }
    let (go, wait) = mpsc::channel::<()>();
    let before = std::thread::spawn(move || wait.recv().unwrap());
    let kept = vec![(Capability::NetRaw, "of the test".to_owned())];
    let had = field("self", "CapEff");
    let given = give_up(&Needs { capabilities: kept, bpf: false }).to_string();
    assert!(given.contains("52 system calls refused") && !given.contains("did not"), "{given}");
    let keeps = had & 1 << 13;
    assert_eq!(given.contains("only CAP_NET_RAW (of the test)"), keeps != 0, "{given}");
    let mut threads = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = format!("self/task/{}", task.unwrap().file_name().to_str().unwrap());
        assert_eq!((field(&thread, "CapEff"), field(&thread, "CapPrm"), field(&thread, "CapInh")), (keeps, keeps, 0));
        assert_eq!((field(&thread, "NoNewPrivs"), field(&thread, "Seccomp")), (1, 2));
        threads += 1;
    }
    assert!(threads >= 2);

    let refused =
        |result: libc::c_long| result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    assert_eq!(Command::new("true").status().unwrap_err().raw_os_error(), Some(libc::EPERM));
    // SAFETY: refused before any of them looks at what it is given.
    unsafe {
        let nothing = std::ptr::null::<libc::c_char>();
        assert!(refused(libc::syscall(libc::SYS_execve, nothing, nothing, nothing)));
        assert!(refused(libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)));
        assert!(refused(libc::syscall(libc::SYS_fork)));
        assert!(refused(libc::syscall(libc::SYS_bpf, 0, nothing, 0)));
        assert!(refused(libc::syscall(libc::SYS_unshare, 0)));
    }
    // What goes on: threads old and new, files, sockets, memory.
    std::thread::spawn(|| assert_eq!(field("thread-self", "Seccomp"), 2)).join().unwrap();
    go.send(()).unwrap();
    before.join().unwrap();
    tempfile::tempfile().unwrap().write_all(&vec![1; 1 << 24]).unwrap();
    std::net::TcpListener::bind("127.0.0.1:0").unwrap();
}

/// A run on rings, with this in its pipeline file besides.
fn run(folder: &Path, key: &str, value: Value) -> Command {
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": "net_ring0" },
        { "name": "orders", "driver": "ethdev", "device": "net_ring1" },
    ]);
    file["control"] = json!(folder.join("control"));
    file["record"] = json!({ "interval_ms": 50 });
    file[key] = value;
    let mut command = tickpath();
    command.args(["run", "--metrics", "127.0.0.1:0"]).arg(write_json(folder, "pipeline.json", &file));
    command.arg("--").args(replay::eal()).args(["--vdev=net_ring0", "--vdev=net_ring1"]);
    command
}

/// The run once it polls, and what it says of its privileges.
fn polling(folder: &Path, mut command: Command) -> (Child, String) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    loop {
        match ask(&folder.join("control"), "status") {
            Ok(answer) if !answer.privileges.is_empty() => return (child, answer.privileges),
            _ => assert!(began.elapsed() < replay::PATIENCE, "no status"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_lcore_runs_under_fifo_before_privileges_are_gone_and_no_other_thread_does() {
    if !two_cpus() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lcores = json!([{ "lcore": 1, "idle": "pause", "fifo": 2 }]);
    let folder = tempfile::tempdir().unwrap();
    let mut poor = run(folder.path(), "lcores", lcores.clone());
    // SAFETY: both calls get plain numbers, or a struct that outlives them, and may be made between fork and exec.
    unsafe {
        poor.pre_exec(|| {
            const CAP_SYS_NICE: libc::c_ulong = 23;
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0);
            libc::setrlimit(libc::RLIMIT_RTPRIO, &libc::rlimit { rlim_cur: 1, rlim_max: 1 });
            Ok(())
        });
    }
    let Output { status, stderr, .. } = replay::finish(poor);
    assert!(!status.success());
    for part in ["rights.fifo", "lcore 1 may not run under SCHED_FIFO at priority 2", "RLIMIT_RTPRIO 2"] {
        assert!(text(&stderr).contains(part), "{part}: {}", text(&stderr));
    }
    if let Err(err) = std::thread::spawn(|| run_fifo(2)).join().unwrap() {
        return println!("skipped: SCHED_FIFO is not permitted here: {err}");
    }
    let (child, _) = polling(folder.path(), run(folder.path(), "lcores", lcores));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let scheduled = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, fields) = stat.rsplit_once(')').unwrap();
        // proc(5): fields 40, the priority, and 41, the policy, of which SCHED_FIFO is 1.
        let fields: Vec<&str> = fields.split_whitespace().skip(37).take(2).collect();
        (name.contains("worker"), fields.join(" "))
    });
    let scheduled: Vec<(bool, String)> = scheduled.collect();
    ask(&folder.path().join("control"), "drain").unwrap();
    let Output { status, stderr, .. } = replay::wait(child).expect("it hangs after the drain");
    assert!(status.success(), "{}", text(&stderr));
    assert!(scheduled.len() >= 4 && scheduled.iter().any(|(lcore, _)| *lcore), "{scheduled:?}");
    for (lcore, how) in &scheduled {
        assert_eq!(how, if *lcore { "2 1" } else { "0 0" }, "{scheduled:?}");
    }
    for part in ["lcores 1: under SCHED_FIFO nothing else runs", "lcore 1 runs under SCHED_FIFO at priority 2\n"] {
        assert!(text(&stderr).contains(part), "{part}: {}", text(&stderr));
    }
}

#[test]
fn a_run_gives_up_what_it_does_not_need_and_says_so() {
    if !two_cpus() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for keep in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let privileges = json!(if keep { "keep" } else { "drop" });
        let (child, said) = polling(folder.path(), run(folder.path(), "privileges", privileges));
        let process = child.id().to_string();
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let threads: Vec<String> =
            tasks.map(|task| format!("{process}/task/{}", task.unwrap().file_name().to_str().unwrap())).collect();
        let states: Vec<[u64; 3]> =
            threads.iter().map(|thread| ["CapEff", "NoNewPrivs", "Seccomp"].map(|key| field(thread, key))).collect();
        ask(&folder.path().join("control"), "drain").unwrap();
        let Output { status, stderr, .. } = replay::wait(child).expect("it hangs after the drain");
        assert!(status.success() && text(&stderr).contains(&format!("privileges: {said}")), "{}", text(&stderr));
        assert!(states.len() >= 4, "{states:?}");
        if keep {
            let ours = field("self", "Seccomp");
            assert!(said.starts_with("kept") && states.iter().all(|state| state[2] == ours), "{said} {states:?}");
        } else {
            assert!(states.iter().all(|[caps, no_new, seccomp]| caps & !PERFMON == 0 && (*no_new, *seccomp) == (1, 2)));
            assert!(said.contains("52 system calls refused"), "{said}");
        }
    }
}

/// A number of a thread's status: proc(5).
fn field(thread: &str, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}
