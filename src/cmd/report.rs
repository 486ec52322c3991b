//! `tickpath report`: what traces say, as text, JSON, a page, or rows for other tools. It starts nothing and needs no EAL.

use super::output::{self, Whole};
use super::{Failure, print};
use crate::cli::ReportArgs;
use crate::latency::drift::{Runs, Verdict};
use crate::latency::trace::{ClockFit, Found, Run, TraceError, runs};
use crate::report::against::profiles;
use crate::report::rows::RowsError;
use crate::report::{self, Report, html, rows, text};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Read the traces, write the files asked for, print the report.
pub fn execute(args: ReportArgs) -> Result<ExitCode, Failure> {
    let found = runs(&args.traces)?;
    if !args.against.is_empty() {
        return compare(&found, &runs(&args.against)?, args.json);
    }
    let standard_output = args.csv.as_deref() == Some(Path::new("-"));
    if standard_output && args.json {
        return Err(Failure::input(
            "both --json and --csv - would go to standard output",
            "give --csv a file".to_owned(),
        ));
    }
    let csv_file = args.csv.as_deref().filter(|_| !standard_output);
    let files: Vec<&Path> = found.runs.iter().flat_map(|run| &run.files).map(|file| file.path.as_path()).collect();
    let outputs: Vec<PathBuf> =
        [csv_file, args.html.as_deref(), args.parquet.as_deref()].into_iter().flatten().map(Path::to_owned).collect();
    output::check(&files, &outputs)?;
    let [csv, page, parquet] =
        [csv_file, args.html.as_deref(), args.parquet.as_deref()].map(|path| path.map(Whole::create).transpose());
    let (csv, page, parquet) = (csv?, page?, parquet?);

    let report = report::read(&found, args.slowest)?;
    if let Some(file) = page {
        file.write(html::render(&report).as_bytes())?;
    }
    if let (Some(mut file), Some(path)) = (csv, csv_file) {
        rows::csv(clocked(&found, &report), file.file()).map_err(|err| failed(path, err))?;
        file.complete()?;
    }
    if let (Some(file), Some(path)) = (parquet, args.parquet.as_deref()) {
        write_parquet(&found, &report, file, path)?;
    }
    if standard_output {
        let out = BufWriter::new(std::io::stdout().lock());
        return match rows::csv(clocked(&found, &report), out) {
            // A reader that has had enough (`| head`) is no failure.
            Err(RowsError::Write(err)) if err.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            done => done.map(|()| ExitCode::SUCCESS).map_err(|err| failed(Path::new("standard output"), err)),
        };
    }
    match args.json {
        // Plain data with string keys: nothing in it can fail to become JSON.
        true => print(&(serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n")),
        false => print(&text::render(&report)),
    }
}

/// What CI asks for: the traces against a baseline, the verdict as the exit code.
fn compare(now: &Found, baseline: &Found, json: bool) -> Result<ExitCode, Failure> {
    if let Some(run) = now.runs.iter().find(|run| baseline.runs.iter().any(|old| old.id == run.id)) {
        return Err(Failure::input(
            format!("run {} is on both sides of the comparison", run.id),
            "give --against the traces of other runs".to_owned(),
        ));
    }
    for refused in now.refused.iter().chain(&baseline.refused) {
        log::warn!("{refused}");
    }
    let [baseline, now] = [baseline, now].map(profiles);
    let (baseline, now) = (baseline?.into_iter().collect::<Runs>(), now?.into_iter().collect::<Runs>());
    let (comparison, budget) = (now.against(&baseline, 1.0), now.against_budget());
    if json {
        let both = serde_json::json!({ "comparison": comparison, "budget": budget });
        print(&format!("{both:#}\n"))?;
    } else if budget.verdict == Verdict::Regression {
        print(&format!("{comparison}\n{budget}"))?;
    } else {
        print(&comparison.to_string())?;
    }
    Ok(ExitCode::from(comparison.verdict.exit_code()))
}

#[cfg(feature = "parquet")]
fn write_parquet(found: &Found, report: &Report, mut file: Whole, path: &Path) -> Result<(), Failure> {
    rows::parquet(clocked(found, report), file.file()).map_err(|err| failed(path, err))?;
    file.complete()
}

#[cfg(not(feature = "parquet"))]
fn write_parquet(_: &Found, _: &Report, _: Whole, _: &Path) -> Result<(), Failure> {
    let help = "build it with Parquet: cargo build --release --features parquet; or take --csv";
    Err(Failure::input("this program was built without Parquet", help.to_owned()))
}

/// Each run with the clock that its report was made with.
fn clocked<'r>(found: &'r Found, report: &'r Report) -> impl Iterator<Item = (&'r Run, ClockFit)> {
    found.runs.iter().zip(&report.runs).map(|(run, report)| (run, report.clock))
}

fn failed(path: &Path, err: RowsError) -> Failure {
    match err {
        RowsError::Trace(err) => err.into(),
        RowsError::Write(err) => output::unwritable(path, &err),
    }
}

impl From<TraceError> for Failure {
    fn from(err: TraceError) -> Failure {
        Failure::input(err.to_string(), err.help().to_owned())
    }
}
