//! `tickpath synth`.

use super::Failure;
use crate::cli::SynthArgs;
use crate::program::Program;
use std::process::ExitCode;

/// Not part of this build.
pub fn execute(_args: SynthArgs, _program: &Program) -> Result<ExitCode, Failure> {
    Err(Failure::failed("`synth` is not part of this build", None))
}
