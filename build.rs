//! Stamps what `tickpath --version` prints: git revision (or `unknown` outside a repository), DPDK version, backends. Tests that
//! programme ef_vi's double are compiled with the cfg `efvi_double` alone.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    for path in ["build.rs", "src", "dpdk-sys", "efvi-sys"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rustc-check-cfg=cfg(efvi_double)");
    if env::var_os("DEP_EFVI_DOUBLE").is_some() {
        println!("cargo:rustc-cfg=efvi_double");
    }
    println!("cargo:rustc-env=TICKPATH_REVISION={}", revision());
    // Set by dpdk-sys (`links = "dpdk"`); absent without the `dpdk` feature.
    let dpdk = env::var("DEP_DPDK_VERSION").unwrap_or_else(|_| "none".into());
    // Set by efvi-sys (`links = "efvi"`); absent without the `ef_vi` feature.
    let efvi = env::var("DEP_EFVI_BACKEND").map_or_else(|_| String::new(), |backend| format!(", ef_vi ({backend})"));
    let backends = if dpdk == "none" { "none".to_owned() } else { format!("ethdev, capture{efvi}") };
    println!("cargo:rustc-env=TICKPATH_DPDK={dpdk}");
    println!("cargo:rustc-env=TICKPATH_BACKENDS={backends}");
}

/// Short commit id, with `+` when tracked files differ from it.
fn revision() -> String {
    // An unpacked archive may lie inside somebody else's repository.
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if git(&["rev-parse", "--show-toplevel"]).is_none_or(|top| top != root) {
        return "unknown".into();
    }
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    // Without the optional lock `status` leaves the index alone, so that a build does not cause the next one.
    match git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+",
    }
}

fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git").args(args).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
