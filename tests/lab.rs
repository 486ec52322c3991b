//! The fault lab. Failures that make no error are put into hosts and runs, blind and in random order, trials without any among
//! them, and what the program then says is held against what was done. `TICKPATH_LAB=5` sets how often each is (`make lab`), and
//! TICKPATH_LAB_SEED the order. An ordinary run of the tests does each once, but for the verdict's part, which `verdict_replay.rs` has.
//!
//! The judge is [`diagnosis`]: it is told what the program said, and neither what was done nor where. docs/lab.md says how
//! each failure is put in.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/host.rs"]
mod host;
#[path = "common/replay.rs"]
mod replay;
#[path = "common/verdict.rs"]
mod verdict;

use host::{CARD, tuned, write};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use replay::{finish, shipped, text, tickpath, write_json};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickpath::control::ask;
use tickpath::host::check::{Memory, Port, Severity, Subject};
use tickpath::host::placement::lines::{Block, shared, span};
use tickpath::host::watch::Watch;
use tickpath::latency::drift::{Comparison, Meaning, Verdict};
use tickpath::latency::hop::Hop;
use tickpath::latency::interval::News;
use tickpath::latency::snapshot::Snapshot;
use tickpath::top::Client;
use verdict::{BASELINE, Bench, NOW, Neighbour, delays, findings};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    WrongNode,
    MovedIrq,
    Irqbalance,
    Clock,
    NoHugepages,
    SmallPages,
    SharedLine,
    SlowLink,
    Governor,
    Noise,
}

use Fault::*;

impl Fault {
    const ALL: [Fault; 10] =
        [WrongNode, MovedIrq, Irqbalance, Clock, NoHugepages, SmallPages, SharedLine, SlowLink, Governor, Noise];

    fn name(self) -> &'static str {
        match self {
            WrongNode => "a table on the wrong node",
            MovedIrq => "an IRQ moved to a hot CPU",
            Irqbalance => "irqbalance started",
            Clock => "a clock fault",
            NoHugepages => "hugepages missing",
            SmallPages => "hugepages silently 4 KB",
            SharedLine => "false sharing",
            SlowLink => "a PCIe link downgraded",
            Governor => "the governor changed",
            Noise => "a noisy process on a hot CPU",
        }
    }
}

/// What a thing that the program says points at: the id of a check, `clock` for the watch over the clocks, or a finding of the
/// verdict. `None`: at nothing that is done here.
fn diagnosis(said: &str) -> Option<Fault> {
    Some(match said {
        "placement.node" | "slower: decided_encoded" => WrongNode,
        "irq.delivered" => MovedIrq,
        "irq.irqbalance" => Irqbalance,
        "clock.source" | "clock" => Clock,
        "memory.hugepages" | "memory.hugetlbfs" => NoHugepages,
        "placement.page_size" => SmallPages,
        "placement.shared_line" => SharedLine,
        "nic.link" => SlowLink,
        "power.governor" | "slower: all hops, governor changed" => Governor,
        "cpu.processes" | "slower: interrupted" => Noise,
        _ => return None,
    })
}

/// Where a failure can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Before,
    Running,
    Verdict,
}

/// What the program said in a trial.
type Said = BTreeSet<String>;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    trials: usize,
    hits: usize,
    /// Diagnoses of what was not done.
    wrong: usize,
    cannot_tell: usize,
}

/// What was done and what came of it.
struct Lab {
    rng: ChaCha8Rng,
    /// Trials of each fault in each place.
    repetitions: usize,
    tallies: BTreeMap<(Column, Option<Fault>), Tally>,
}

impl Lab {
    fn new() -> Lab {
        let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let seed = number("TICKPATH_LAB_SEED").unwrap_or_else(now);
        println!("TICKPATH_LAB_SEED={seed}");
        let repetitions = number("TICKPATH_LAB").unwrap_or(1) as usize;
        Lab { rng: ChaCha8Rng::seed_from_u64(seed), repetitions, tallies: BTreeMap::new() }
    }

    /// Trials of these faults and, half of all, of none; in random order.
    fn deal(&mut self, faults: &[Fault]) -> Vec<Option<Fault>> {
        let each = |fault: &Fault| std::iter::repeat_n(Some(*fault), self.repetitions);
        let mut trials: Vec<Option<Fault>> = faults.iter().flat_map(each).collect();
        let none = if self.repetitions == 1 { 1 } else { trials.len() };
        trials.extend(std::iter::repeat_n(None, none));
        self.shuffle(&mut trials);
        trials
    }

    fn shuffle<T>(&mut self, these: &mut [T]) {
        for i in (1..these.len()).rev() {
            these.swap(i, (self.rng.next_u64() % (i as u64 + 1)) as usize);
        }
    }

    /// Hold what is to be thought of what was said against what was done.
    fn note(&mut self, column: Column, injected: Option<Fault>, said: &Said) {
        let found: BTreeSet<_> = said.iter().map(|said| diagnosis(said).ok_or(said)).collect();
        let hit = injected.is_some_and(|fault| found.contains(&Ok(fault)));
        let wrong = found.iter().filter(|diagnosis| diagnosis.ok() != injected || injected.is_none()).count();
        let tally = self.tallies.entry((column, injected)).or_default();
        tally.trials += 1;
        tally.hits += usize::from(hit);
        tally.wrong += wrong;
        if wrong > 0 || (injected.is_some() && !hit) {
            println!("{column:?}, {injected:?}: {said:?}");
        }
    }

    fn table(&self) -> String {
        let mut table =
            String::from("| fault | before it starts | while it runs | by the verdict |\n|---|---|---|---|\n");
        let columns = [Column::Before, Column::Running, Column::Verdict];
        for injected in Fault::ALL.into_iter().map(Some).chain([None]) {
            let _ = write!(table, "| {} |", injected.map_or("nothing", Fault::name));
            for column in columns {
                let _ = match self.tallies.get(&(column, injected)) {
                    None => write!(table, " – |"),
                    Some(tally) => write!(table, " {} |", tally.cell(injected)),
                };
            }
            table.push('\n');
        }
        table
    }
}

impl Tally {
    fn cell(&self, injected: Option<Fault>) -> String {
        let mut cell = match injected {
            Some(_) => format!("{} of {}", self.hits, self.trials),
            None => format!("{} false alarms in {}", self.wrong, self.trials),
        };
        if injected.is_some() && self.wrong > 0 {
            let _ = write!(cell, ", {} wrong beside", self.wrong);
        }
        if self.cannot_tell > 0 {
            let _ = write!(cell, ", {} cannot tell", self.cannot_tell);
        }
        cell
    }
}

#[test]
fn what_is_done_to_a_host_is_what_is_said_of_it() {
    if !replay::two_cpus() {
        return;
    }
    let mut lab = Lab::new();
    let began = Instant::now();
    let mut places: Vec<fn(&mut Lab)> =
        vec![checks_of_files, checks_of_this_host, starts, runs_on_files, runs_on_this_host, watches, lines];
    if lab.repetitions > 1 {
        places.push(verdicts);
    }
    lab.shuffle(&mut places);
    places.into_iter().for_each(|place| place(&mut lab));
    println!("\n{}\n{:.0} s", lab.table(), began.elapsed().as_secs_f64());
    for ((column, injected), Tally { trials, hits, wrong, .. }) in &lab.tallies {
        let told = format!("{column:?}, {injected:?}: {hits} hits and {wrong} wrong of {trials}");
        match column {
            // A statistic on a machine that others use, too.
            Column::Verdict => assert!(injected.is_none() || hits * 4 >= trials * 3, "{told}"),
            _ => assert!(*wrong == 0 && (injected.is_none() || hits == trials), "{told}"),
        }
    }
    let verdicts = lab.tallies.iter().filter(|((column, _), _)| *column == Column::Verdict).map(|(_, tally)| tally);
    let (trials, wrong) = verdicts.fold((0, 0), |sum, tally| (sum.0 + tally.trials, sum.1 + tally.wrong));
    assert!(wrong * 10 <= trials, "{wrong} of {trials} verdicts are wrong");
}

// ---- before it starts ---------------------------------------------------------------------------------------------

/// `tickpath check` on hosts made of files.
fn checks_of_files(lab: &mut Lab) {
    for injected in lab.deal(&[MovedIrq, Clock, SlowLink, Governor]) {
        let root = tempfile::tempdir().unwrap();
        tuned(root.path());
        injected.into_iter().for_each(|fault| spoil(root.path(), fault));
        let said = checked(tickpath(), &on_devices(CARD), &["--root", root.path().to_str().unwrap()], &[]);
        lab.note(Column::Before, injected, &said);
    }
}

/// `tickpath check` on this host: what it says that it did not say before anything was done.
fn checks_of_this_host(lab: &mut Lab) {
    let Some(namespace) = Namespace::new() else { return };
    let without = replay::eal();
    let file = on_devices("net_null0");
    let check = |eal: &[String]| checked(namespace.tickpath(), &file, &[], eal);
    let quiet = check(&without);
    for injected in lab.deal(&[Irqbalance, NoHugepages, Noise]) {
        let process = injected.and_then(|fault| namespace.disturb(fault));
        let said = check(if injected == Some(NoHugepages) { &[] } else { &without });
        process.into_iter().for_each(Disturbance::end);
        lab.note(Column::Before, injected, &said.difference(&quiet).cloned().collect());
    }
}

/// The proof of placement that each run begins with, and what the kernel says of the run when it is asked again.
fn starts(lab: &mut Lab) {
    let thp = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let mut faults = vec![WrongNode];
    match thp.is_empty() || thp.contains("[never]") {
        true => println!("skipped: this kernel makes no transparent hugepages that could be missed"),
        false => faults.push(SmallPages),
    }
    for injected in lab.deal(&faults) {
        let root = tempfile::tempdir().unwrap();
        tuned(root.path());
        injected.iter().filter(|fault| **fault == WrongNode).for_each(|fault| spoil(root.path(), *fault));
        let mut command = tickpath();
        if injected == Some(SmallPages) {
            without_hugepages(&mut command);
        }
        let mut session = Session::start(command, root.path());
        session.until(|_| true);
        lab.note(Column::Before, injected, &faults_at_start(&session.log()));
        let mut check = tickpath();
        check.arg("check").arg(session.pipeline()).args(["--json", "--pid", &session.child.id().to_string()]);
        lab.note(Column::Running, injected, &found(check));
        session.drain();
    }
}

/// The check of the addresses of what each lcore writes, given two counters: on one line, or on lines of their own.
fn lines(lab: &mut Lab) {
    #[repr(align(128))]
    struct Lines([AtomicU64; 32]);
    for injected in lab.deal(&[SharedLine]) {
        let lines = Box::new(Lines([const { AtomicU64::new(0) }; 32]));
        let second = if injected.is_some() { 1 } else { 16 };
        let counters = [(1, &lines.0[0]), (2, &lines.0[second])];
        std::thread::scope(|scope| {
            for (lcore, counter) in counters {
                scope.spawn(move || counter.fetch_add(lcore, Ordering::Relaxed));
            }
        });
        let block =
            |(lcore, counter)| Block { name: "counter".into(), owner: format!("lcore {lcore}"), span: span(counter) };
        let said = shared(&counters.map(block)).iter().map(|_| "placement.shared_line".to_owned()).collect();
        lab.note(Column::Before, injected, &said);
    }
}

// ---- while it runs ------------------------------------------------------------------------------------------------

/// One run on a host made of files that change under it.
fn runs_on_files(lab: &mut Lab) {
    let root = tempfile::tempdir().unwrap();
    tuned(root.path());
    let mut session = Session::start(tickpath(), root.path());
    // A clock says nothing before it has shown for some seconds that it runs evenly.
    session.until(|state| state.interval.clock.independent_ppm.is_some());
    session.settle();
    for injected in lab.deal(&[MovedIrq, Clock, Governor]) {
        match injected {
            // Clocks are held against each other, whatever files say.
            Some(Clock) => {
                let ppm = 2_000 + lab.rng.next_u64() % 3_000;
                let slow = if ppm.is_multiple_of(2) { "-" } else { "" };
                session.set_clock(&format!("{slow}{ppm}"));
            }
            Some(fault) => spoil(root.path(), fault),
            None => {}
        }
        let said = session.listen();
        session.set_clock("0");
        tuned(root.path());
        session.settle();
        lab.note(Column::Running, injected, &said);
    }
    session.drain();
}

/// One run on this host.
fn runs_on_this_host(lab: &mut Lab) {
    let Some(namespace) = Namespace::new() else { return };
    let mut session = Session::start(namespace.tickpath(), Path::new("/"));
    session.settle();
    for injected in lab.deal(&[Irqbalance, Noise]) {
        let process = injected.and_then(|fault| namespace.disturb(fault));
        let said = session.listen();
        process.into_iter().for_each(Disturbance::end);
        session.settle();
        lab.note(Column::Running, injected, &said);
    }
    session.drain();
}

/// The watch of a run, without the run: of what this machine cannot have while one goes on, a card and hugepages.
fn watches(lab: &mut Lab) {
    let port = Port { name: "feed".into(), device: CARD.into(), interface: None, cpus: vec![1] };
    let subject = Subject {
        pipeline: Some("p.json".into()),
        running: true,
        hot_cpus: vec![1],
        ports: vec![port],
        memory: vec![Memory { node: 0, bytes: 1 << 30 }],
        ..Subject::default()
    };
    for injected in lab.deal(&[NoHugepages, SlowLink]) {
        let root = tempfile::tempdir().unwrap();
        tuned(root.path());
        let mut watch = Watch::new(root.path(), subject.clone());
        watch.look(1);
        injected.into_iter().for_each(|fault| spoil(root.path(), fault));
        let news = watch.look(2).into_iter();
        let news = news.filter(|at| at.severity > Severity::Information && at.news != News::Gone);
        lab.note(Column::Running, injected, &news.map(|at| at.id).collect());
    }
}

// ---- by the verdict -----------------------------------------------------------------------------------------------

/// Paced replays against a baseline, all made in turns.
fn verdicts(lab: &mut Lab) {
    // So few that a path at half its speed keeps up: bursts that grow are a cost of their own, and rightly named as one.
    let bench = Bench::new(60_000);
    let roots = [(); 2].map(|()| tempfile::tempdir().unwrap());
    roots.iter().for_each(|root| tuned(root.path()));
    spoil(roots[1].path(), Governor);
    let on = |root: usize, of: &[(Hop, f64)]| {
        let root = ["--host-root".to_owned(), roots[root].path().to_str().unwrap().to_owned()];
        [&root[..], &delays(of)].concat()
    };
    let medians = bench.medians();
    let run = |injected: Option<Fault>| {
        let _neighbour = (injected == Some(Noise)).then(Neighbour::new);
        let options = match injected {
            Some(WrongNode) => on(0, &[(Hop::DecidedEncoded, 1000.0)]),
            Some(Governor) => on(1, &medians),
            _ => on(0, &[]),
        };
        bench.run(&verdict::pipeline(), &options)
    };
    for _ in 0..lab.repetitions {
        let mut sides: Vec<(Option<Fault>, Vec<PathBuf>)> =
            [None, Some(WrongNode), Some(Governor), Some(Noise)].map(|injected| (injected, Vec::new())).into();
        let mut baseline = Vec::new();
        for turn in 0..BASELINE {
            baseline.push(run(None));
            if turn % (BASELINE / NOW) == 0 {
                lab.shuffle(&mut sides);
                sides.iter_mut().for_each(|(injected, traces)| traces.push(run(*injected)));
            }
        }
        for (injected, traces) in &sides {
            let (comparison, _, text) = verdict::report(traces, &baseline);
            let said = claims(&comparison);
            lab.note(Column::Verdict, *injected, &said);
            let tally = lab.tallies.entry((Column::Verdict, *injected)).or_default();
            tally.cannot_tell += usize::from(said.is_empty() && comparison.verdict == Verdict::CannotTell);
            if said.iter().any(|said| diagnosis(said) != *injected) {
                println!("{text}");
            }
        }
        for folder in baseline.iter().chain(sides.iter().flat_map(|(_, traces)| traces)) {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

/// What got slower, and what it points at.
fn claims(comparison: &Comparison) -> Said {
    let claim = |at: &tickpath::latency::drift::Finding| match (at.meaning, at.hop) {
        (Meaning::Stage, Some(hop)) => format!("slower: {}", hop.key()),
        (Meaning::Frequency, _) if at.changed.iter().any(|fact| fact.ends_with(".governor")) => {
            "slower: all hops, governor changed".to_owned()
        }
        (Meaning::Frequency, _) => "slower: all hops".to_owned(),
        (Meaning::Interruption, _) if !at.evidence.is_empty() => "slower: interrupted".to_owned(),
        (meaning, _) => format!("slower: {meaning:?}"),
    };
    findings(comparison).filter(|at| at.slower).map(claim).collect()
}

// ---- injections ---------------------------------------------------------------------------------------------------

/// Put a fault into a host made of files.
fn spoil(root: &Path, fault: Fault) {
    let card = format!("sys/bus/pci/devices/{CARD}");
    let node = "sys/devices/system/node";
    let pages = format!("{node}/node0/hugepages/hugepages-2048kB");
    let files: &[(String, &str)] = &match fault {
        // All memory of this machine is on the node that then has no hot CPU.
        WrongNode => vec![(format!("{node}/node0/cpulist"), "0,2-3"), (format!("{node}/node1/cpulist"), "1")],
        MovedIrq => vec![("proc/irq/24/effective_affinity_list".into(), "1")],
        Clock => vec![("sys/devices/system/clocksource/clocksource0/current_clocksource".into(), "hpet")],
        NoHugepages => vec![(format!("{pages}/nr_hugepages"), "8"), (format!("{pages}/free_hugepages"), "0")],
        SlowLink => vec![(format!("{card}/current_link_width"), "4")],
        Governor => vec![("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor".into(), "powersave")],
        Irqbalance | SmallPages | SharedLine | Noise => unreachable!("{fault:?} is done to this machine"),
    };
    files.iter().for_each(|(path, content)| write(root, path, &format!("{content}\n")));
}

/// The kernel makes no hugepages for this process, and says nothing.
fn without_hugepages(command: &mut Command) {
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

/// A namespace of processes on this host: what others run on this machine is not seen from there.
struct Namespace {
    holder: Child,
    init: String,
    folder: tempfile::TempDir,
}

impl Namespace {
    /// `None`, after saying so, where this user may not make one.
    fn new() -> Option<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "infinity"]);
        common::dies_with_its_test(&mut command);
        let mut holder = command.stderr(Stdio::null()).spawn().ok()?;
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        loop {
            let init = std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
            // Its own /proc is there once it is the program that was named.
            let ready = std::fs::read_to_string(format!("/proc/{init}/comm")).is_ok_and(|name| name == "sleep\n");
            if ready {
                return Some(Namespace { holder, init, folder: tempfile::tempdir().unwrap() });
            }
            if holder.try_wait().unwrap().is_some() {
                println!("skipped: a namespace of processes needs root");
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--pid", "--mount", "--target", &self.init, "--"]).arg(program).env_remove("TICKPATH_LOG");
        common::dies_with_its_test(&mut command);
        command
    }

    fn tickpath(&self) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_tickpath")))
    }

    /// Start the process that this fault is; `None` for a fault that is none.
    fn disturb(&self, fault: Fault) -> Option<Disturbance> {
        let [going, there] = ["going", "there"].map(|name| self.folder.path().join(name));
        let _ = std::fs::remove_file(&there);
        std::fs::write(&going, "").unwrap();
        let script = |work: &str| format!(": >{}; while [ -e {} ]; do {work}; done", there.display(), going.display());
        let mut command = match fault {
            Noise => {
                let mut command = self.command(Path::new("taskset"));
                command.args(["-c", "1", "sh", "-c", &script(":")]);
                command
            }
            Irqbalance => {
                let named = self.folder.path().join("irqbalance");
                std::fs::copy("/bin/sh", &named).unwrap();
                let mut command = self.command(&named);
                command.args(["-c", &script("sleep 0.1")]);
                command
            }
            _ => return None,
        };
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        while !there.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Disturbance { process, going })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // With it everything in it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A process that goes on as long as its file is there.
struct Disturbance {
    process: Child,
    going: PathBuf,
}

impl Disturbance {
    fn end(mut self) {
        std::fs::remove_file(&self.going).unwrap();
        self.process.wait().unwrap();
    }
}

// ---- what the program says ----------------------------------------------------------------------------------------

/// The fused pipeline on lcore 1 of two devices.
fn on_devices(feed: &str) -> Value {
    let mut file = shipped("itch-1-lcore");
    file["ports"] = json!([
        { "name": "feed", "driver": "ethdev", "device": feed },
        { "name": "orders", "driver": "ethdev", "device": "net_null1" },
    ]);
    file
}

/// Errors and warnings that a command prints as JSON.
fn found(command: Command) -> Said {
    let output = finish(command);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.filter(|finding| finding["severity"] != "information");
    findings.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
}

fn checked(mut command: Command, file: &Value, options: &[&str], eal: &[String]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    command.arg("check").arg(write_json(folder.path(), "pipeline.json", file)).arg("--json").args(options);
    found({
        command.arg("--").args(eal);
        command
    })
}

/// Errors and warnings that a run names at its start, a line each.
fn faults_at_start(log: &str) -> Said {
    let severities = ["error: ", "warning: "];
    let faults = log.lines().filter_map(|line| severities.iter().find_map(|severity| line.strip_prefix(severity)));
    let ids = faults.filter_map(|line| line.split_once(": ")).map(|(id, _)| id);
    ids.filter(|id| id.contains('.') && !id.contains(' ')).map(str::to_owned).collect()
}

/// What came up since: lines of the log by the watch over the host, and by the one over the clocks.
fn news(log: &str) -> Said {
    let new = |line: &str| match (line.split_once("] host: "), line.contains("] clock: ")) {
        (_, true) => Some("clock".to_owned()),
        (Some((_, news)), _) => {
            let (id, rest) = news.split_once(' ')?;
            ["appeared", "changed"].iter().any(|word| rest.starts_with(word)).then(|| id.to_owned())
        }
        _ => None,
    };
    log.lines().filter_map(new).collect()
}

/// A run that is asked.
struct Session {
    child: Child,
    folder: tempfile::TempDir,
    client: Client,
    /// Bytes of its log that were listened to.
    heard: usize,
}

impl Session {
    /// A run, checked every second, on the host under `root`.
    fn start(mut command: Command, root: &Path) -> Session {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut file = on_devices("net_null0");
        file["control"] = json!(at("control"));
        file["record"] = json!({ "interval_ms": 200, "check_seconds": 1 });
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        std::fs::write(at("clock"), "0").unwrap();
        command.args(["run", "--metrics", &address]).arg(write_json(folder.path(), "pipeline.json", &file));
        command.arg("--host-root").arg(root).arg("--inject-clock").arg(at("clock"));
        command.arg("--").args(replay::eal()).args(["--vdev=net_null0", "--vdev=net_null1"]);
        let log = std::fs::File::create(at("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Session { child, folder, client: Client::new(&address), heard: 0 }
    }

    fn pipeline(&self) -> PathBuf {
        self.folder.path().join("pipeline.json")
    }

    fn log(&self) -> String {
        text(&std::fs::read(self.folder.path().join("log")).unwrap())
    }

    /// Wait until its state is so.
    fn until(&mut self, reached: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let began = Instant::now();
        loop {
            match self.client.ask() {
                // Before its first interval it has no state.
                Ok(state) if state.uptime_seconds > 0.0 && reached(&state) => return state,
                state => {
                    let ended = self.child.try_wait().unwrap();
                    let waiting = began.elapsed() < replay::PATIENCE && ended.is_none();
                    assert!(waiting, "{ended:?} {state:?} {}", self.log());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Wait for two looks at the host, which one that was under way cannot be both of, and leave unheard what they say.
    fn settle(&mut self) {
        let at = self.until(|state| state.host.looks > 0);
        self.until(|state| state.host.looks >= at.host.looks + 2);
        self.heard = self.log().len();
    }

    /// What it says until it has looked twice at the host, and three times at the clocks, which it does once a second.
    fn listen(&mut self) -> Said {
        let mut at = self.until(|_| true);
        let looks = at.host.looks + 2;
        for _ in 0..3 {
            at = self.until(|state| state.uptime_seconds >= at.uptime_seconds + 1.2);
        }
        self.until(|state| state.host.looks >= looks);
        news(&self.log()[self.heard..])
    }

    /// The clock that the TSC is held against is so many ppm fast.
    fn set_clock(&self, ppm: &str) {
        write(self.folder.path(), "clock", ppm);
    }

    fn drain(self) {
        ask(&self.folder.path().join("control"), "drain").unwrap();
        let log = self.folder.path().join("log");
        let output = replay::wait(self.child).expect("it hangs after the drain");
        assert!(output.status.success(), "{}", std::fs::read_to_string(log).unwrap());
    }
}
