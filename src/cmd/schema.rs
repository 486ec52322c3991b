//! `tickpath schema`: the JSON Schema of the pipeline file, with the parameters of the program's strategies.

use super::{Failure, print};
use crate::cli::SchemaArgs;
use crate::pipeline::schema::pipeline_schema;
use crate::program::Program;
use std::process::ExitCode;

/// Print the schema.
pub fn execute(_args: SchemaArgs, program: &Program) -> Result<ExitCode, Failure> {
    let parameters: Vec<_> = program.strategies().iter().map(|s| (s.name, (s.schema)())).collect();
    let schema = pipeline_schema(&parameters);
    // A JSON value always prints.
    print(&(serde_json::to_string_pretty(&schema).expect("a JSON value") + "\n"))
}
