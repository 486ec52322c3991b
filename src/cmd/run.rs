//! `tickpath run`.

use super::Failure;
use crate::cli::RunArgs;
use crate::program::Program;
use std::process::ExitCode;

/// Not part of this build.
pub fn execute(_args: RunArgs, _program: &Program) -> Result<ExitCode, Failure> {
    Err(Failure::failed("`run` is not part of this build", None))
}
