//! One file a subcommand: wiring only. Arguments in, an exit code or a [`Failure`] out.

pub mod check;
pub mod ctl;
pub mod exchange;
mod output;
pub mod pingpong;
pub mod plan;
pub mod replay;
pub mod report;
pub mod run;
pub mod schema;
pub mod synth;
pub mod top;

use crate::cli::{EalOptions, RecordOptions};
use crate::dpdk::eal_file;
use crate::latency::profile::Profile;
use crate::latency::trace::runs;
use crate::pipeline::file::Listen;
use crate::pipeline::launch::Stamping;
use crate::pipeline::{FileError, PipelineFile, Plan, PlanError};
use crate::program::Program;
use crate::report::against::profiles;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Why a command did not do what it was asked: printed as `error: …`, and `help: …` where there is a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The command line or a file it names cannot be used: exit code 2.
    #[error("{what}")]
    Input {
        /// What was found and what was expected.
        what: String,
        /// What to do.
        help: Option<String>,
    },
    /// Something else went wrong: exit code 1.
    #[error("{what}")]
    Failed {
        /// What happened.
        what: String,
        /// What to do.
        help: Option<String>,
    },
}

impl Failure {
    /// An unusable command line or file.
    pub fn input(what: impl Into<String>, help: impl Into<Option<String>>) -> Failure {
        Failure::Input { what: what.into(), help: help.into() }
    }

    /// Anything else.
    pub fn failed(what: impl Into<String>, help: impl Into<Option<String>>) -> Failure {
        Failure::Failed { what: what.into(), help: help.into() }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        let (Failure::Input { help, .. } | Failure::Failed { help, .. }) = self;
        help.as_deref()
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Input { .. } => ExitCode::from(2),
            Failure::Failed { .. } => ExitCode::from(1),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(err: PlanError) -> Failure {
        Failure::input(err.to_string(), err.help())
    }
}

/// The pipeline file at `path`, checked with the strategies of `program`; its name and its text.
///
/// # Errors
/// A file that cannot be read, or that is wrong: its name and the JSON path.
pub fn load_pipeline(path: &Path, program: &Program) -> Result<(PipelineFile, (String, String)), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|err| Failure::input(format!("cannot read the pipeline file {name}: {err}"), start_from()))?;
    let wrong = |err: FileError| Failure::input(format!("{name}: {err}"), err.help());
    let file = PipelineFile::parse(&text).map_err(wrong)?;
    file.check_strategies(&program.known()).map_err(wrong)?;
    Ok((file, (name, text)))
}

fn start_from() -> String {
    "start from one of the files in pipelines/".into()
}

impl EalOptions {
    /// The arguments of the files, then those of the command line.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not an argument.
    pub fn gather(&self) -> Result<Vec<String>, Failure> {
        let mut args = Vec::new();
        for path in &self.eal_files {
            let name = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|err| Failure::input(format!("cannot read the EAL file {name}: {err}"), start_from_eal()))?;
            let parsed = eal_file::parse(&text);
            args.extend(parsed.map_err(|err| Failure::input(format!("{name}: {err}"), start_from_eal()))?);
        }
        args.extend(self.eal_args.iter().cloned());
        Ok(args)
    }
}

impl RecordOptions {
    /// The runs to be held against.
    fn baseline(&self) -> Result<Vec<Profile>, Failure> {
        if self.against.is_empty() {
            return Ok(Vec::new());
        }
        Ok(profiles(&runs(&self.against)?)?)
    }

    /// Which stamps are taken.
    fn stamps(&self) -> Stamping {
        match (self.no_stamps, self.end_stamps) {
            (true, _) => Stamping::Off,
            (_, true) => Stamping::Ends,
            _ => Stamping::All,
        }
    }

    /// Whether a journal is kept: to be known before the plan is made, which has room for it.
    ///
    /// # Errors
    /// There is no folder for it.
    fn keep_journal(&self, file: &mut PipelineFile) -> Result<(), Failure> {
        file.record.journal |= self.write_journal;
        if file.record.journal && self.trace.is_none() && file.record.trace.is_none() {
            let remedy = "name a folder: --trace DIR, or record.trace in the pipeline file".to_owned();
            return Err(Failure::input("a journal lies beside the trace, and there is none", remedy));
        }
        Ok(())
    }

    /// What the command line says goes before what the pipeline file says.
    fn apply(&self, plan: &mut Plan) {
        if let Some(folder) = &self.trace {
            plan.record.trace = Some(folder.to_string_lossy().into_owned());
        }
        match self.metrics {
            Some(Listen::At(address)) => plan.record.metrics = Some(address),
            Some(Listen::Off) => plan.record.metrics = None,
            None => {}
        }
        for (id, node) in &self.inject_node {
            plan.lcores.iter_mut().filter(|lcore| lcore.id == *id).for_each(|lcore| lcore.node = *node);
        }
    }
}

fn start_from_eal() -> String {
    "the files in dpdk-config/ are examples".into()
}

/// `text` to standard output. A reader that has had enough (`| head`) is no failure.
fn print(text: &str) -> Result<ExitCode, Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(format!("cannot write: {err}"), None)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eal_arguments_of_files_come_before_those_of_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ci.eal");
        std::fs::write(&path, "# comment\n--no-huge\n\n-m 512\n").unwrap();
        let options = EalOptions { eal_files: vec![path.clone()], eal_args: vec!["--no-pci".into()] };
        assert_eq!(options.gather().unwrap(), ["--no-huge", "-m", "512", "--no-pci"]);
        std::fs::write(&path, "--no-huge\nno-pci\n").unwrap();
        let err = options.gather().unwrap_err().to_string();
        assert!(err.contains("ci.eal: line 2"), "{err}");
    }
}
