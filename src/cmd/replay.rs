//! `tickpath replay`.

use super::Failure;
use crate::cli::ReplayArgs;
use crate::program::Program;
use std::process::ExitCode;

/// Not part of this build.
pub fn execute(_args: ReplayArgs, _program: &Program) -> Result<ExitCode, Failure> {
    Err(Failure::failed("`replay` is not part of this build", None))
}
