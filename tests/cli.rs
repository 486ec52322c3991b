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

#[test]
fn check_judges_a_pipeline_on_the_files_under_a_root() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let run = |more: &[&str]| {
        tickpath(&[&["check", "pipelines/itch-2-lcores.json", "--root", root.path().to_str().unwrap()], more].concat())
    };
    write("proc/self/status", "Cpus_allowed_list:\t0-3\n");
    write("sys/devices/system/cpu/isolated", "1-2\n");
    let fine = run(&[]);
    assert_eq!((fine.status.code(), stderr(&fine)), (Some(0), ""));
    assert!(stdout(&fine).starts_with("checked: pipelines/itch-2-lcores.json; hot CPUs 1-2"), "{}", stdout(&fine));
    write("sys/devices/system/cpu/isolated", "1\n");
    let warned = run(&["--json"]);
    assert_eq!(warned.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&warned.stdout).unwrap();
    assert_eq!(report["findings"][0]["id"], "cpu.isolated");
    assert_eq!(report["findings"][0]["found"], "CPU 2 is not isolated");
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    write("proc/cpuinfo", "flags : tsc\n");
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_strict_run_does_not_start_on_a_host_with_an_error_and_one_that_warns_does() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/demo.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |policy: &str| {
        // No host has this device.
        let text = text.replace("\"control\": \"target/demo/control\"", &format!("\"check\": \"{policy}\""));
        let path = folder.path().join(format!("{policy}.json"));
        std::fs::write(&path, text.replace("net_af_packet2", "0000:ff:1f.7")).unwrap();
        tickpath(&["run", path.to_str().unwrap(), "--", "--no-huge", "--no-pci", "--no-such-argument"])
    };
    let strict = run("strict");
    if stderr(&strict).contains("this process may use") {
        return println!("skipped: a run needs two CPUs");
    }
    assert_eq!(strict.status.code(), Some(1), "{}", stderr(&strict));
    let missing = "error: nic.present: port orders: there is no device 0000:ff:1f.7\n";
    assert!(stderr(&strict).contains(missing), "{}", stderr(&strict));
    assert!(stderr(&strict).contains("error: the host is not fit: "), "{}", stderr(&strict));
    assert!(!stderr(&strict).contains("EAL"), "{}", stderr(&strict));
    let warned = run("warn");
    assert!(stderr(&warned).contains(missing) && stderr(&warned).contains("EAL arguments"), "{}", stderr(&warned));
    let silent = run("off");
    assert!(!stderr(&silent).contains("nic.present") && stderr(&silent).contains("EAL arguments"));
}
