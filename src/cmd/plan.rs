//! `tickpath plan`: what a pipeline file means on this host. It starts nothing.

use super::{Failure, load_pipeline, print};
use crate::cli::{PlanArgs, PlanFor};
use crate::pipeline::diff::Diff;
use crate::pipeline::file::{Driver, PipelineFile, PortFile};
use crate::pipeline::host::HostFacts;
use crate::pipeline::plan::{Mode, Plan, Request};
use crate::pipeline::table;
use crate::program::Program;
use std::process::ExitCode;

/// Print the plan. A plan that lacks memory is printed too, and then is a failure.
pub fn execute(args: PlanArgs, program: &Program) -> Result<ExitCode, Failure> {
    let (file, _) = load_pipeline(&args.pipeline, program)?;
    let request = Request { mode: mode(args.mode, &file), eal_args: args.eal.gather()?, capture_ports: Vec::new() };
    let plan = Plan::new(&file, &host_facts(&file), &request)?;
    if let Some(from) = &args.from {
        let (from, _) = load_pipeline(from, program)?;
        let diff = Diff::new(&Plan::new(&from, &host_facts(&from), &request)?, &plan);
        print(&match args.json {
            // Strings and lists of them.
            true => serde_json::to_string_pretty(&diff).expect("a diff is plain data") + "\n",
            false => diff.to_string(),
        })?;
        return Ok(if diff.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let text = match args.json {
        // Plain data with string keys: nothing in it can fail to become JSON.
        true => serde_json::to_string_pretty(&plan).expect("a plan is plain data") + "\n",
        false => table::render(&plan),
    };
    print(&text)?;
    plan.ready()?;
    Ok(ExitCode::SUCCESS)
}

/// What a plan of `file` is for.
pub(super) fn mode(asked: Option<PlanFor>, file: &PipelineFile) -> Mode {
    match asked {
        Some(PlanFor::Replay) => Mode::Replay,
        Some(PlanFor::Run) => Mode::Run,
        None if file.ports.iter().any(|p| p.driver == Driver::Capture) => Mode::Replay,
        None => Mode::Run,
    }
}

/// The facts of this host that a plan of `file` depends on.
pub fn host_facts(file: &PipelineFile) -> HostFacts {
    HostFacts::read(file.ports.iter().filter_map(PortFile::hardware))
}
