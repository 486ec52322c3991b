//! `tickpath run`: a pipeline on live ports until SIGINT or SIGTERM, then a clean drain.

use super::check::before_run;
use super::replay::{Reader, conclude};
use super::{Failure, load_pipeline};
use crate::cli::RunArgs;
use crate::pipeline::launch::Options;
use crate::pipeline::plan::{Mode, Request};
use crate::port::capture::{Pace, SourceOptions};
use crate::program::Program;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Levels a side that `--books` writes.
const BOOK_LEVELS: usize = 10;

/// Run, and print the summary when it has drained.
pub fn execute(args: RunArgs, program: &Program) -> Result<ExitCode, Failure> {
    let (_, pipeline) = load_pipeline(&args.pipeline, program)?;
    let request = Request { mode: Mode::Run, eal_args: args.eal.gather()?, capture_ports: Vec::new() };
    let reader = Reader::new(program, request, &args.record);
    let plan = reader.plan(&args.pipeline)?;
    plan.ready()?;
    before_run(&plan, &args.pipeline, &args.record.host_root)?;
    let options = Options {
        captures: BTreeMap::new(),
        source: SourceOptions::default(),
        pace: Pace::default(),
        orders: None,
        reloads: Vec::new(),
        book_levels: if args.books.is_some() { BOOK_LEVELS } else { 0 },
        stamps: args.record.stamps(),
        baseline: args.record.baseline()?,
        pipeline,
        follow: None,
        host_root: args.record.host_root.clone(),
        injected_clock: args.record.inject_clock.clone(),
        delays: args.record.inject_delay.iter().copied().collect(),
    };
    crate::sys::signals::heed_kill();
    conclude(&plan, program, &options, &|| reader.plan(&args.pipeline), args.books.as_deref(), args.summary.as_deref())
}
