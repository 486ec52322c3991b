//! `tickpath check`: whether this host is fit, for a pipeline or as such. It changes nothing.

use super::plan::mode;
use super::{Failure, load_pipeline, print};
use crate::cli::CheckArgs;
use crate::control::ask;
use crate::host::check::{Sensors, Severity, Subject, check, cpu_nodes, script};
use crate::host::effect::{Effect, measure};
use crate::host::placement::{self, maps};
use crate::host::ranges::ranges;
use crate::pipeline::file::{HostCheck, PortFile};
use crate::pipeline::host::HostFacts;
use crate::pipeline::plan::{Plan, Request};
use crate::pipeline::subject::subject;
use crate::program::Program;
use crate::sys::affinity;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Print what was found. The exit code is the worst of it: 0 nothing but information, 1 a warning, 2 an error.
pub fn execute(args: CheckArgs, program: &Program) -> Result<ExitCode, Failure> {
    let root = args.root.as_path();
    if !root.is_dir() {
        return Err(Failure::input(format!("there is no folder {}", root.display()), None));
    }
    if let Some(pid) = args.pid {
        let file = args.pipeline.as_deref().map(|path| load_pipeline(path, program)).transpose()?;
        let report = instance(root, pid, file.and_then(|(file, _)| file.control).as_deref())?;
        print(&match args.json {
            // Plain data: nothing in it can fail to become JSON.
            true => serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n",
            false => report.to_string(),
        })?;
        return Ok(exit_code(report.worst()));
    }
    let subject = match &args.pipeline {
        None => Subject::host(root),
        Some(path) => {
            let (file, _) = load_pipeline(path, program)?;
            let devices = file.ports.iter().filter_map(PortFile::hardware);
            let host = HostFacts::read_under(root, devices);
            let request = Request { mode: mode(None, &file), eal_args: args.eal.gather()?, capture_ports: Vec::new() };
            subject(&Plan::new(&file, &host, &request)?, &path.to_string_lossy(), false)
        }
    };
    if args.script {
        let help = "its lcores need CPUs of their own here".to_owned();
        let none = || Failure::input("the pipeline has no hot CPU to set up", help);
        print(&script(&subject).ok_or_else(none)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = check(root, sensors(root), &subject);
    if let Some(seconds) = args.effect {
        report.effect = Some(measured(&subject.hot_cpus, seconds)?);
    }
    let text = match args.json {
        // Plain data with string keys: nothing in it can fail to become JSON.
        true => serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n",
        false => report.to_string(),
    };
    print(&text)?;
    Ok(exit_code(report.worst()))
}

/// Interfaces of the kernel are this host's, whatever files are read.
fn sensors(root: &Path) -> Sensors {
    if root == Path::new("/") { Sensors::here() } else { Sensors::none() }
}

/// The effect on the hot CPUs, and on one more, as control and recorder have.
fn measured(hot_cpus: &[u32], seconds: u32) -> Result<Effect, Failure> {
    if hot_cpus.is_empty() {
        let help = "name a pipeline whose lcores have CPUs of their own here".to_owned();
        return Err(Failure::input("there is no hot CPU to measure", help));
    }
    let others = affinity::current().unwrap_or_default().into_iter().filter_map(|cpu| u32::try_from(cpu).ok());
    let mut cpus = hot_cpus.to_vec();
    cpus.extend(others.filter(|cpu| !hot_cpus.contains(cpu)).take(1));
    let refused = |err| Failure::failed(format!("cannot measure CPUs {}: {err}", ranges(&cpus)), None);
    measure(&cpus, &cpu_nodes(Path::new("/")), seconds).map_err(refused)
}

/// Where the memory of a running process lies: what its control socket says that its path uses, or else what can be told
/// from its mappings.
fn instance(root: &Path, pid: u32, control: Option<&str>) -> Result<placement::Report, Failure> {
    let process = pid.to_string();
    let Some(mappings) = maps::read(root, &process) else {
        let help = "name a process that runs, as its user or as root".to_owned();
        return Err(Failure::input(format!("cannot read {}proc/{pid}/smaps", root.display()), help));
    };
    let told = match control {
        Some(path) => {
            let answer = ask(Path::new(path), "memory").map_err(|err| Failure::input(err.to_string(), None))?;
            if let Some((there, _)) = answer.memory.as_ref().filter(|(there, _)| *there != pid) {
                let help = "name that one; or leave the pipeline out, where it numbers processes otherwise".to_owned();
                return Err(Failure::input(format!("{path} is the control socket of process {there}"), help));
            }
            // A run that does not ask where its memory lies names no regions.
            answer.memory.map(|(_, regions)| regions).filter(|regions| !regions.is_empty())
        }
        None => None,
    };
    let regions = told.unwrap_or_else(|| {
        let near = placement::instance::nodes(&placement::instance::lcores(root, &process), &cpu_nodes(root));
        let exe = std::fs::read_link(root.join("proc").join(&process).join("exe")).unwrap_or_default();
        let mut regions = placement::instance::program(&mappings, &exe.to_string_lossy(), &near, &[]);
        regions.extend(placement::instance::eal(&mappings));
        regions
    });
    let kernel =
        if root == Path::new("/") { placement::KERNEL } else { |_, _, _, _| Err(ErrorKind::Unsupported.into()) };
    Ok(placement::look(pid, placement::host_nodes(root), &mappings, &regions, kernel))
}

fn exit_code(worst: Option<Severity>) -> ExitCode {
    ExitCode::from(match worst {
        None | Some(Severity::Information) => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Error) => 2,
    })
}

/// The check before a run, as the pipeline file wants it: errors and warnings go to standard error, a line each.
///
/// # Errors
/// An error was found, and the pipeline file says `strict`.
pub fn before_run(plan: &Plan, pipeline: &Path, root: &Path) -> Result<(), Failure> {
    if plan.check == HostCheck::Off {
        return Ok(());
    }
    let name = pipeline.to_string_lossy();
    let began = Instant::now();
    let report = check(root, sensors(root), &subject(plan, &name, true));
    eprint!("{}", report.brief());
    eprintln!("host checked in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    match report.count(Severity::Error) {
        0 => Ok(()),
        _ if plan.check == HostCheck::Warn => Ok(()),
        errors => {
            let help = format!("`tickpath check {name}` says how to mend it; \"check\": \"warn\" starts all the same");
            Err(Failure::failed(format!("the host is not fit: {errors} of its faults are errors"), help))
        }
    }
}
