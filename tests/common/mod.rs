//! What several tests need: where the real captures are, and which tools.

#![allow(dead_code)]

use std::path::PathBuf;

/// The folder of real captures that TICKPATH_CAPTURES names, or `None` after saying so.
///
/// # Panics
/// When it is unset or wrong and TICKPATH_CAPTURES_REQUIRED is 1: a skip is a failure there.
pub fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("TICKPATH_CAPTURES").map(PathBuf::from);
    match folder {
        Some(folder) if folder.is_dir() => return Some(folder),
        Some(folder) => panic!("TICKPATH_CAPTURES={} is not a folder", folder.display()),
        None => {}
    }
    assert!(
        std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_none_or(|value| value != "1"),
        "TICKPATH_CAPTURES_REQUIRED=1 and TICKPATH_CAPTURES is not set"
    );
    println!("skipped: TICKPATH_CAPTURES is not set");
    None
}

/// `command` started, or `None` after saying that its program is missing and which Debian package has it.
///
/// # Panics
/// When it is missing and TICKPATH_CAPTURES_REQUIRED is 1: a skip is a failure there.
pub fn tool(command: &mut std::process::Command, package: &str) -> Option<std::process::Child> {
    match command.spawn() {
        Ok(child) => Some(child),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            let missing = format!("{:?} is not installed: apt-get install {package}", command.get_program());
            let required = std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_some_and(|value| value == "1");
            assert!(!required, "TICKPATH_CAPTURES_REQUIRED=1 and {missing}");
            println!("skipped: {missing}");
            None
        }
        Err(err) => panic!("{command:?}: {err}"),
    }
}

/// This test program once more, running one test: for what a process can do only once, such as starting EAL.
pub fn again(test: &str) -> std::process::Command {
    // The test harness knows where it is.
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    command
}

/// What this starts is killed when the thread that started it ends, also by a panic.
pub fn dies_with_its_test(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
}
