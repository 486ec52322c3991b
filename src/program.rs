//! A program: the strategies it knows, and its `main`.
//!
//! The shipped binary is [`Program::shipped`]`().main()`. A strategy of one's own needs a crate with three lines more:
//! `Program::shipped().strategy::<Mine>().main()`.

use crate::cli::{Cli, Command};
use crate::cmd::{self, Failure};
use crate::cpu;
use crate::pipeline::file::{FileError, KnownStrategy, parse_parameters};
use crate::pipeline::launch::SegmentParts;
use crate::stages::Segment;
use crate::strategy::{Quoter, Strategy};
use clap::Parser;
use serde_json::Value;
use std::any::Any;
use std::ffi::OsString;
use std::process::ExitCode;

/// The strategies a program can run.
#[derive(Clone)]
pub struct Program {
    strategies: Vec<StrategyEntry>,
}

/// A strategy, its type erased.
#[derive(Clone, Copy)]
pub struct StrategyEntry {
    /// Its `NAME`.
    pub name: &'static str,
    /// Says what is wrong with parameters, the path relative to them.
    pub validate: fn(&Value) -> Result<(), FileError>,
    /// The JSON Schema of its parameters.
    pub schema: fn() -> Value,
    /// Its parameters, for [`Strategy::reconfigure`].
    pub parse: fn(&Value) -> Result<Box<dyn Any + Send>, String>,
    /// Makes a segment of its parts, the strategy with these parameters in it if it runs that stage.
    pub build: Build,
}

/// See [`StrategyEntry::build`].
pub type Build = for<'m> fn(&Value, SegmentParts<'m>) -> Result<Box<dyn Segment<'m> + 'm>, String>;

impl Program {
    /// A program that knows no strategy. On a CPU without the instructions it was built with it says so and ends with
    /// exit code 2: here, because anything after this may use them.
    pub fn new() -> Program {
        if let Some(feature) = cpu::lacks() {
            refuse(feature);
        }
        Program { strategies: Vec::new() }
    }

    /// A program with the shipped strategies.
    pub fn shipped() -> Program {
        Program::new().strategy::<Quoter>()
    }

    /// The same program with `S` too. A strategy of a name already taken replaces the other.
    #[must_use]
    pub fn strategy<S: Strategy>(mut self) -> Program {
        self.strategies.retain(|known| known.name != S::NAME);
        self.strategies.push(StrategyEntry {
            name: S::NAME,
            validate: validate::<S>,
            schema: || schemars::schema_for!(S::Parameters).to_value(),
            parse: parse::<S>,
            build: build::<S>,
        });
        self
    }

    /// The strategies, in the order they were added.
    pub fn strategies(&self) -> &[StrategyEntry] {
        &self.strategies
    }

    /// The strategy called `name`.
    pub fn named(&self, name: &str) -> Option<&StrategyEntry> {
        self.strategies.iter().find(|known| known.name == name)
    }

    /// What the check of a pipeline file needs to know of them.
    pub fn known(&self) -> Vec<KnownStrategy<'static>> {
        self.strategies.iter().map(|s| KnownStrategy { name: s.name, validate: s.validate }).collect()
    }

    /// Do what the command line says: 0 when it was done, 2 when the command line or its input cannot be used, 1 when
    /// something else went wrong.
    pub fn main(&self) -> ExitCode {
        self.main_with(std::env::args_os())
    }

    /// The same with these words in place of the command line; the first is the program's name.
    pub fn main_with(&self, words: impl IntoIterator<Item = OsString>) -> ExitCode {
        let level = env_logger::Env::default().filter_or("TICKPATH_LOG", "warn,dpdk=error");
        // A host program may have a logger already: then its own is used.
        let _ = env_logger::Builder::from_env(level).try_init();
        let done = match Cli::parse_from(words).command {
            Command::Replay(args) => cmd::replay::execute(args, self),
            Command::Run(args) => cmd::run::execute(args, self),
            Command::Plan(args) => cmd::plan::execute(args, self),
            Command::Check(args) => cmd::check::execute(args, self),
            Command::Schema(args) => cmd::schema::execute(args, self),
            Command::Synth(args) => cmd::synth::execute(args, self),
            Command::Exchange(args) => cmd::exchange::execute(*args),
            Command::Pingpong(args) => cmd::pingpong::execute(args),
            Command::Report(args) => cmd::report::execute(args),
            Command::Top(args) => cmd::top::execute(args),
            Command::Ctl(args) => cmd::ctl::execute(args),
        };
        done.unwrap_or_else(|failure| report(&failure))
    }
}

impl Default for Program {
    fn default() -> Program {
        Program::new()
    }
}

fn build<'m, S: Strategy>(parameters: &Value, parts: SegmentParts<'m>) -> Result<Box<dyn Segment<'m> + 'm>, String> {
    let parsed = parse_parameters::<S::Parameters>(parameters).map_err(|err| err.to_string())?;
    parts.segment(|instruments| S::new(parsed, instruments))
}

fn parse<S: Strategy>(parameters: &Value) -> Result<Box<dyn Any + Send>, String> {
    Ok(Box::new(parse_parameters::<S::Parameters>(parameters).map_err(|err| err.to_string())?))
}

fn validate<S: Strategy>(parameters: &Value) -> Result<(), FileError> {
    let parsed = parse_parameters::<S::Parameters>(parameters)?;
    let made = S::new(parsed, 1).map(drop);
    made.map_err(|found| FileError::Invalid { at: String::new(), found, remedy: String::new() })
}

#[cold]
#[inline(never)]
fn refuse(feature: &str) -> ! {
    eprintln!("error: this program was built for x86-64-v3 and this CPU lacks {feature}");
    eprintln!("help: build it for this CPU: RUSTFLAGS=\"-C target-cpu=native\" cargo build --release");
    std::process::exit(2)
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("error: {failure}");
    if let Some(help) = failure.help() {
        eprintln!("help: {help}");
    }
    failure.exit_code()
}
