//! The test double of ef_vi keeps its own promises, and the shim over it loses no frame: self-test and shim in both shapes of the
//! headers, under AddressSanitizer and UndefinedBehaviorSanitizer where the compiler has them.

use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn compile(shape: &str, sources: &[&str], program: &Path, sanitized: bool) -> std::io::Result<Output> {
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]);
    cc.args(["-Itests/efvi/include", "-Itests/efvi", "-Iefvi-sys/shim", "tests/efvi/double.c"]);
    if sanitized {
        cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    }
    cc.arg(format!("-DEFVI_DOUBLE_SHAPE={shape}")).args(sources).arg("-o").arg(program);
    cc.current_dir(ROOT).output()
}

/// What a program of these sources and the double prints, with sanitizers if it can be; `None` after saying why not.
fn run(shape: &str, sources: &[&str], argument: Option<&str>, sanitized: bool) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("test");
    let compiled = match compile(shape, sources, &program, sanitized) {
        Ok(compiled) if compiled.status.success() || !sanitized => compiled,
        Ok(_) => {
            println!("sanitizers skipped: the compiler cannot build with them");
            compile(shape, sources, &program, false).unwrap()
        }
        Err(err) => {
            println!("skipped: no C compiler here: {err}");
            return None;
        }
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program)
        .args(argument)
        .env_remove("TICKPATH_EFVI_DOUBLE")
        .env_remove("EF_VI_COMPAT_MODE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[test]
fn the_double_keeps_its_promises_with_headers_like_those_of_release_8_and_of_9() {
    for shape in ["8", "9"] {
        let said = run(shape, &["tests/efvi/selftest.c"], None, true);
        // The last of the list: it ran to its end.
        assert!(said.is_none_or(|said| said.ends_with("aborts: release_of_nothing\n")));
    }
}

const SHIM: [&str; 2] = ["tests/efvi/shimtest.c", "efvi-sys/shim/shim.c"];

#[test]
fn a_million_frames_go_each_way_through_the_shim_with_faults_on() {
    let said = run("9", &SHIM, Some("1000000"), false);
    assert!(said.is_none_or(|said| said.starts_with("1000000 frames each way: ")));
}

#[test]
fn the_shim_is_clean_under_sanitizers_over_either_release() {
    for shape in ["8", "9"] {
        let said = run(shape, &SHIM, Some("50000"), true);
        assert!(said.is_none_or(|said| said.starts_with("50000 frames each way: ")));
    }
}
