//! The binary as a person meets it: what it prints, where, and its exit code. Nothing here starts EAL.
#![cfg(feature = "dpdk")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn tickpath(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickpath"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("the binary was built with the test")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn plan_prints_the_table_and_its_json_is_the_same_plan() {
    let table = tickpath(&["plan", "pipelines/deep-5-lcores.json"]);
    assert!(table.status.success(), "{}", stderr(&table));
    let json = tickpath(&["plan", "--json", "pipelines/deep-5-lcores.json"]);
    let plan: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let first = format!("plan {}, replay\n", plan["hash"].as_str().unwrap());
    assert!(stdout(&table).starts_with(&first), "{}", stdout(&table));
    assert_eq!(plan["venues"][0]["stages"][4]["stage"], "tx");
    assert_eq!(plan["venues"][0]["feed"]["udp_checksum"], "count");
}

#[test]
fn schema_prints_a_schema_with_the_strategies_of_the_program() {
    let output = tickpath(&["schema"]);
    assert!(output.status.success());
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Tickpath pipeline");
    let strategy = &schema["properties"]["venues"]["items"]["properties"]["strategy"];
    assert_eq!(strategy["properties"]["name"]["enum"][0], "quoter");
}

#[test]
fn errors_are_one_line_with_a_remedy_and_exit_code_2() {
    let broken = tempfile::NamedTempFile::new().unwrap();
    let path = broken.path().to_str().unwrap();
    let original = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines/itch-1-lcore.json");
    let text = std::fs::read_to_string(original).unwrap().replace("\"burst\"", "\"brust\"");
    std::fs::write(path, text).unwrap();
    let output = tickpath(&["plan", path]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "error: {path}: venues[0].stages.rx.brust: unknown key `brust`\n\
         help: did you mean `burst`? known here: lcore, burst\n"
    );
    assert_eq!(stderr(&output), expected);
    assert!(output.stdout.is_empty());

    let missing = tickpath(&["plan", "no/such.json"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).starts_with("error: cannot read the pipeline file no/such.json: "));

    let capture_in_run = tickpath(&["plan", "--for", "run", "pipelines/itch-1-lcore.json"]);
    assert_eq!(capture_in_run.status.code(), Some(2));
}

#[test]
fn eal_arguments_come_from_files_and_after_two_dashes_untouched() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# no hugepages here\n--no-huge\n").unwrap();
    let eal_file = format!("--eal-file={}", file.path().display());
    let output =
        tickpath(&["plan", "--json", &eal_file, "pipelines/itch-1-lcore.json", "--", "--no-pci", "--log-level=x:y"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let args: Vec<_> = plan["eal_args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert_eq!(args[args.len() - 3..], ["--no-huge", "--no-pci", "--log-level=x:y"]);
    assert!(!args.iter().any(|a| a.starts_with("--file-prefix")), "{args:?}");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    assert_eq!(tickpath(&["reply"]).status.code(), Some(2));
    assert_eq!(tickpath(&[]).status.code(), Some(2));
    let version = tickpath(&["--version"]);
    assert!(version.status.success());
    assert!(stdout(&version).starts_with(concat!("tickpath ", env!("CARGO_PKG_VERSION"))), "{}", stdout(&version));
}
