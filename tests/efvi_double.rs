//! The test double of ef_vi keeps its own promises: its self-test, in both shapes of the headers, under AddressSanitizer and
//! UndefinedBehaviorSanitizer where the compiler has them.

use std::path::Path;
use std::process::Command;

const DOUBLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/efvi");

fn compile(shape: &str, program: &Path, sanitized: bool) -> std::io::Result<std::process::Output> {
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-Iinclude", "-I."]);
    if sanitized {
        cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    }
    cc.arg(format!("-DEFVI_DOUBLE_SHAPE={shape}")).args(["double.c", "selftest.c", "-o"]).arg(program);
    cc.current_dir(DOUBLE).output()
}

fn keeps_its_promises(shape: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("selftest");
    let compiled = match compile(shape, &program, true) {
        Ok(compiled) if compiled.status.success() => compiled,
        Ok(_) => {
            println!("sanitizers skipped: the compiler cannot build with them");
            compile(shape, &program, false).unwrap()
        }
        Err(err) => {
            println!("skipped: no C compiler here: {err}");
            return;
        }
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(&program).env_remove("TICKPATH_EFVI_DOUBLE").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    // The last of the list: it ran to its end.
    assert!(said.ends_with("aborts: release_of_nothing\n"), "{said}");
}

#[test]
fn the_double_with_headers_like_release_9_keeps_its_promises() {
    keeps_its_promises("9");
}

#[test]
fn the_double_with_headers_like_release_8_keeps_its_promises() {
    keeps_its_promises("8");
}
