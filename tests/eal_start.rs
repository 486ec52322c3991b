//! Starting EAL: what it says when it refuses, and that it needs no privileges. EAL starts once in a process, so each
//! case runs in a process of its own.

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;
use tickpath::dpdk::{Eal, Mempool, Socket, eal_file};

const QUIET: [&str; 5] = ["--no-huge", "-m", "128", "--no-pci", "--lcores=0@0"];

/// What a start with these arguments ends in: `started` or the error's text.
fn outcome(test: &str, args: &[&str]) -> String {
    let mut child = common::again(test);
    said(child.env(ARGS, args.join("\n")))
}

const ARGS: &str = "TICKPATH_TEST_EAL_ARGS";

/// The child's part; `None` in the parent.
fn child() -> Option<()> {
    let args: Vec<String> = std::env::var(ARGS).ok()?.lines().map(str::to_owned).collect();
    match Eal::init("tickpath", &args) {
        Ok(eal) => {
            assert_eq!(eal.argv()[1..], args);
            println!("<started{}>", if eal.has_hugepages() { " with hugepages" } else { "" });
        }
        Err(err) => println!("<{err}>"),
    }
    Some(())
}

fn said(child: &mut Command) -> String {
    let output = child.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let begin = out.find('<').unwrap_or_else(|| panic!("{out}{err}"));
    assert!(!out.contains("EAL common options"), "the usage text buries the error: {out}");
    out[begin + 1..].rsplit_once('>').unwrap().0.to_owned()
}

#[test]
fn a_refused_argument_comes_with_eals_own_words_and_the_arguments() {
    if child().is_some() {
        return;
    }
    let name = "a_refused_argument_comes_with_eals_own_words_and_the_arguments";
    let cores = outcome(name, &["--no-huge", "--no-pci", "-l", "4000"]);
    assert!(cores.contains("EAL: ") && cores.contains("-l 4000"), "{cores}");
    let unknown = outcome(name, &["--no-huge", "--bogus"]);
    assert!(unknown.contains("EAL: ") && unknown.contains("--bogus"), "{unknown}");
    let device = outcome(name, &[&QUIET[..], &["--vdev=net_nonesuch0"]].concat());
    assert!(device.contains("net_nonesuch0"), "{device}");
    let left = outcome(name, &[&QUIET[..], &["pipeline.json"]].concat());
    assert!(left.contains("did not take `pipeline.json`"), "{left}");
}

#[test]
fn the_ci_arguments_start_without_privileges() {
    if child().is_some() {
        return;
    }
    let name = "the_ci_arguments_start_without_privileges";
    let ci = eal_file::parse(include_str!("../dpdk-config/ci.eal")).unwrap();
    let ci: Vec<&str> = ci.iter().map(String::as_str).chain(["--lcores=0@0"]).collect();
    assert_eq!(outcome(name, &ci), "started");
    // As somebody else, where this test is root. The build may lie where only its owner reads: then a copy runs.
    // SAFETY: reads this process's user.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let folder = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let program = folder.unwrap().keep().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut nobody = Command::new(&program);
    nobody.args([name, "--exact", "--nocapture"]).uid(65534).gid(65534).current_dir("/");
    let outcome = said(nobody.env(ARGS, ci.join("\n")).env_remove("XDG_RUNTIME_DIR").env_remove("HOME"));
    std::fs::remove_dir_all(program.parent().unwrap()).unwrap();
    assert_eq!(outcome, "started");
}

#[test]
fn frames_of_a_dropped_pool_keep_eal_alive_until_the_end() {
    if std::env::var_os(ARGS).is_none() {
        let name = "frames_of_a_dropped_pool_keep_eal_alive_until_the_end";
        assert_eq!(said(common::again(name).env(ARGS, "")), "still there");
        return;
    }
    let prefix = format!("--file-prefix=tickpath-start-{}", std::process::id());
    let args: Vec<String> = QUIET.into_iter().chain([prefix.as_str()]).map(str::to_owned).collect();
    let eal = Eal::init("tickpath", &args).unwrap();
    let pool = Mempool::frames(&eal, "kept", 3, 0, 64, Socket::Any).unwrap();
    let mut frame = pool.alloc().unwrap();
    drop((eal, pool));
    frame.append(64).unwrap().fill(1);
    drop(frame);
    println!("<still there>");
}
