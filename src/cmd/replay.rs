//! `tickpath replay`: captures through a pipeline, and what became of every packet.

use super::output::{self, Whole};
use super::{Failure, load_pipeline, plan::host_facts};
use crate::cli::{RecordOptions, ReplayArgs};
use crate::host::check::cpu_nodes;
use crate::pipeline::file::{Driver, PipelineFile};
use crate::pipeline::follow::{FollowError, Following};
use crate::pipeline::host::{Cpu, HostFacts};
use crate::pipeline::launch::{Controls, LaunchError, Options, Outcome, Progress, launch, order_files};
use crate::pipeline::plan::{Mode, Plan, Request};
use crate::pipeline::reload::Scripted;
use crate::pipeline::report::Text;
use crate::port::capture::{Pace, SourceOptions};
use crate::program::Program;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Levels a side that `--books` writes.
const BOOK_LEVELS: usize = 10;

/// Replay, print the summary, write the files asked for.
pub fn execute(args: ReplayArgs, program: &Program) -> Result<ExitCode, Failure> {
    let (file, pipeline) = load_pipeline(&args.pipeline, program)?;
    let follow = follow(&args, &file)?;
    let (captures, capture_ports) = match &follow {
        // Nothing goes to a port, and nothing comes from one.
        Some(_) => (BTreeMap::new(), file.ports.iter().map(|port| port.name.to_string()).collect()),
        None => {
            let captures = bind(&file, &args.captures)?;
            let ports = captures.keys().cloned().collect();
            (captures, ports)
        }
    };
    let request = Request { mode: Mode::Replay, eal_args: args.eal.gather()?, capture_ports };
    let reader = Reader { follow: follow.clone(), ..Reader::new(program, request, &args.record) };
    let plan = reader.plan(&args.pipeline)?;
    if plan.record.journal && args.laps > 1 {
        let remedy = "leave out --loop, or the journal".to_owned();
        return Err(Failure::input("a journal is of one lap: the next has the same sequence numbers", remedy));
    }
    plan.ready()?;
    let reload = |(from_sequence, path): &(u64, PathBuf)| -> Result<Scripted, Failure> {
        Ok(Scripted { from_sequence: *from_sequence, plan: reader.plan(path)? })
    };
    let options = Options {
        captures,
        source: SourceOptions { laps: u32::try_from(args.laps).unwrap_or(u32::MAX), ..SourceOptions::default() },
        pace: Pace { speed: args.speed, max_idle_ns: args.max_idle },
        orders: args.orders.clone(),
        reloads: args.reloads.iter().map(reload).collect::<Result<_, _>>()?,
        book_levels: if args.books.is_some() { BOOK_LEVELS } else { 0 },
        stamps: args.record.stamps(),
        baseline: args.record.baseline()?,
        pipeline,
        follow,
        host_root: args.record.host_root.clone(),
        injected_clock: args.record.inject_clock.clone(),
        delays: args.record.inject_delay.iter().copied().collect(),
    };
    conclude(&plan, program, &options, &|| reader.plan(&args.pipeline), args.books.as_deref(), args.summary.as_deref())
}

/// Reads pipeline files for this process, before it runs and while it does.
pub(super) struct Reader<'a> {
    program: &'a Program,
    request: Request,
    record: &'a RecordOptions,
    /// CPUs that the process may use: EAL takes them from this thread for its main lcore.
    cpus: Vec<Cpu>,
    /// What is to be planned for.
    follow: Option<Following>,
}

impl<'a> Reader<'a> {
    /// A reader for what the command line asked for.
    pub fn new(program: &'a Program, request: Request, record: &'a RecordOptions) -> Self {
        let nodes = cpu_nodes(&record.host_root);
        let cpus = HostFacts::read([]).cpus.into_iter();
        let cpus = cpus.map(|cpu| Cpu { node: nodes.get(&cpu.id).copied().unwrap_or(cpu.node), ..cpu });
        Reader { program, request, record, cpus: cpus.collect(), follow: None }
    }

    /// What the file at `path` means here.
    pub fn plan(&self, path: &Path) -> Result<Plan, Failure> {
        let (mut file, _) = load_pipeline(path, self.program)?;
        if self.follow.is_some() {
            file = Following::file(&file);
        }
        self.record.keep_journal(&mut file)?;
        let host = HostFacts { cpus: self.cpus.clone(), ..host_facts(&file) };
        let mut plan = Plan::new(&file, &host, &self.request)?;
        if let Some(follow) = &self.follow {
            follow.apply(&mut plan).map_err(LaunchError::from)?;
        }
        self.record.apply(&mut plan);
        Ok(plan)
    }
}

/// The journal that is to be followed, if one is.
fn follow(args: &ReplayArgs, file: &PipelineFile) -> Result<Option<Following>, Failure> {
    let Some(path) = &args.journal else { return Ok(None) };
    let following = Following::open(path, &args.captures, args.order.clone(), file);
    Ok(Some(following.map_err(LaunchError::from)?))
}

/// Run a plan, print its summary and write the files asked for: what `replay` and `run` share.
pub(super) fn conclude(
    plan: &Plan,
    program: &Program,
    options: &Options,
    read_again: &dyn Fn() -> Result<Plan, Failure>,
    books: Option<&Path>,
    summary: Option<&Path>,
) -> Result<ExitCode, Failure> {
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    let followed = options.follow.iter().flat_map(|follow| follow.captures.iter().flatten());
    let inputs: Vec<&Path> = options.captures.values().flatten().chain(followed).map(PathBuf::as_path).collect();
    let orders = options.orders.iter().flat_map(|out| order_files(plan, out));
    let outputs: Vec<PathBuf> = orders.chain([books, summary].into_iter().flatten().map(Path::to_owned)).collect();
    output::check(&inputs, &outputs)?;
    let books = books.map(Whole::create).transpose()?;
    let summary = summary.map(Whole::create).transpose()?;
    // EAL changes its arguments' order but not their words; said before it starts, because it may not.
    eprintln!("EAL arguments: tickpath {}", plan.eal_args.join(" "));
    let (stop, hangup) = take_signals();
    let bar = progress_bar();
    let read_again = || read_again().map_err(|failure| failure.to_string());
    let controls = Controls { stop, hangup, read_again: &read_again };
    let outcome = launch(plan, program, options, &controls, |now| show(&bar, now));
    bar.finish_and_clear();
    let outcome = outcome?;
    if outcome.summary.interrupted {
        super::print(&Text { summary: &outcome.summary, venues: &outcome.venues }.to_string())?;
        return Ok(ExitCode::from(130));
    }
    if let Some(file) = books {
        let lines: String = outcome.venues.iter().flat_map(|v| &v.books).map(|line| format!("{line}\n")).collect();
        file.write(lines.as_bytes())?;
    }
    if let Some(file) = summary {
        // Plain data with string keys: nothing in it can fail to become JSON.
        let json = serde_json::to_string_pretty(&outcome.summary).expect("a summary is plain data") + "\n";
        file.write(json.as_bytes())?;
    }
    super::print(&Text { summary: &outcome.summary, venues: &outcome.venues }.to_string())?;
    verdict(&outcome)
}

/// An unbalanced ledger or a leaked mbuf is a failure, whatever else went well.
fn verdict(outcome: &Outcome) -> Result<ExitCode, Failure> {
    let s = &outcome.summary;
    if s.undrained {
        let remedy = "see which link was down, and cancel at the exchange what still stands";
        return Err(Failure::failed("it had not drained five seconds after it was told to stop", remedy.to_owned()));
    }
    if let Some(venue) = s.journal.iter().find(|(_, followed)| !followed.is_same()).map(|(venue, _)| venue) {
        let remedy = "captures of every line and the pipeline file of that run are needed, and the same program";
        return Err(Failure::failed(
            format!("venue {venue} did not do again what its journal says"),
            remedy.to_owned(),
        ));
    }
    if s.conserved && s.mbufs_in_use == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::failed("the ledger does not balance, or mbufs leaked; this is a defect of tickpath", None))
}

/// Which files belong to which capture port. `NAME=FILE,FILE` binds to port NAME, whatever drives it in the file; a
/// bare FILE goes to every feed port whose driver is `capture` and that was not bound by name.
fn bind(file: &PipelineFile, captures: &[String]) -> Result<BTreeMap<String, Vec<PathBuf>>, Failure> {
    let mut bound: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut bare = Vec::new();
    let feeds = |name: &str| file.venues.iter().flat_map(|v| &v.feed.lines).any(|l| l.port.as_str() == name);
    for capture in captures {
        match capture.split_once('=').filter(|_| !Path::new(capture).exists()) {
            None => bare.push(PathBuf::from(capture)),
            Some((name, files)) => {
                if !file.ports.iter().any(|p| p.name.as_str() == name) {
                    let known: Vec<&str> = file.ports.iter().map(|p| p.name.as_str()).collect();
                    return Err(Failure::input(
                        format!("{capture:?}: the pipeline has no port {name:?}"),
                        format!("its ports are {}", known.join(", ")),
                    ));
                }
                if !feeds(name) {
                    return Err(Failure::input(
                        format!("{capture:?}: no feed line of the pipeline listens to port {name:?}"),
                        "bind captures to the ports of feed lines".to_owned(),
                    ));
                }
                bound.entry(name.to_owned()).or_default().extend(files.split(',').map(PathBuf::from));
            }
        }
    }
    let mut taken = bare.is_empty();
    for port in file.ports.iter().filter(|p| p.driver == Driver::Capture && feeds(p.name.as_str())) {
        if !bare.is_empty() {
            taken = true;
            bound.entry(port.name.as_str().to_owned()).or_insert_with(|| bare.clone());
        }
    }
    if !taken {
        return Err(Failure::input(
            "the pipeline has no feed port with the driver \"capture\" for a bare file",
            "bind captures by name: NAME=FILE".to_owned(),
        ));
    }
    Ok(bound)
}

/// Set by SIGINT and SIGTERM: a clean drain. A second signal ends the process at once. And set by SIGHUP: read the file
/// again.
fn take_signals() -> (&'static AtomicBool, &'static AtomicBool) {
    static STOP: AtomicBool = AtomicBool::new(false);
    static HANGUP: AtomicBool = AtomicBool::new(false);
    crate::sys::signals::set_on_stop(&STOP);
    crate::sys::signals::set_on_hangup(&HANGUP);
    (&STOP, &HANGUP)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

fn show(bar: &ProgressBar, now: &Progress) {
    let rate = now.frames as f64 / now.elapsed.as_secs_f64().max(1e-9);
    bar.set_message(format!("{} packets, {} orders, {rate:.0} packets/s", now.frames, now.orders));
    bar.tick();
}

impl From<LaunchError> for Failure {
    fn from(err: LaunchError) -> Failure {
        match err {
            LaunchError::Panic { .. } | LaunchError::Arena(_) => Failure::failed(err.to_string(), None),
            LaunchError::Serve(err) => Failure::input(err.to_string(), err.help()),
            LaunchError::Trace(err) | LaunchError::Follow(FollowError::Trace(err)) => {
                Failure::input(err.to_string(), err.help().to_owned())
            }
            err => Failure::input(err.to_string(), None),
        }
    }
}
