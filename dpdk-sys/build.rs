//! Binds the installed DPDK: pkg-config says where it is, `cc` compiles shim/shim.c, bindgen reads shim/shim.h.
//!
//! Every failure says what to install. Passes `version` on to the top-level build script (`DEP_DPDK_VERSION`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const OLDEST: (u32, u32) = (22, 11);
const PACKAGES: &str = "apt-get install libdpdk-dev clang libclang-dev pkg-config";

/// Every function and type the safe layer uses; nothing else is bound.
const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_eal_(init|cleanup|has_hugepages|remote_launch|wait_lcore|get_lcore_state|hotplug_add|hotplug_remove)",
    "rte_(get_main_lcore|get_next_lcore|lcore_count|lcore_to_socket_id|lcore_to_cpu_id)",
    "rte_(strerror|version|log_set_global_level)",
    "rte_socket_(count|id_by_idx)",
    "rte_(zmalloc_socket|free|malloc_get_socket_stats)",
    "rte_mempool_(free|avail_count|in_use_count)",
    "rte_ring_(create_elem|free|get_memsize_elem)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|start|stop|reset|close|adjust_nb_rx_tx_desc|set_mtu|fw_version_get)",
    "rte_telemetry_register_cmd",
    "rte_tel_data_(alloc|free|start_dict|add_dict_string|add_dict_container|add_array_string)",
    "rte_eth_(find_next|stats_get|promiscuous_enable|allmulticast_enable|read_clock)",
];
const TYPES: &[&str] = &["shim_.*", "rte_eth_stats", "rte_malloc_socket_stats"];
const CONSTANTS: &[&str] = &["SHIM_.*", "RTE_LOG_.*", "RTE_TEL_MAX_.*"];
/// Only ever pointed at; declared in src/lib.rs, so that their insides may change between versions.
const OPAQUE: &[&str] = &["rte_mbuf", "rte_mempool", "rte_ring", "rte_tel_data"];

fn main() {
    println!("cargo:rerun-if-changed=shim/shim.c");
    println!("cargo:rerun-if-changed=shim/shim.h");
    println!("cargo:rerun-if-env-changed=LIBCLANG_PATH");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");

    let version = pkg_config(&["--modversion"]).trim().to_owned();
    require(&version);
    let cflags = words(&pkg_config(&["--cflags"]));

    compile_shim(&cflags);
    // The pkg-config crate links what the .pc file lists; --as-needed drops what the shim does not use.
    if let Err(err) = pkg_config::Config::new().atleast_version("22.11").probe("libdpdk") {
        fail(&format!("pkg-config found DPDK {version} but could not list its libraries: {err}"), PACKAGES);
    }
    bind(&cflags);
    println!("cargo:version={version}");
}

/// Output of `pkg-config … libdpdk`. The pkg-config crate drops `-include rte_config.h` and `-march`, so ask the tool.
fn pkg_config(args: &[&str]) -> String {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    match Command::new(&tool).args(args).arg("libdpdk").output() {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).into_owned(),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr);
            let first = said.lines().next().unwrap_or("it gave no reason");
            fail(&format!("DPDK's development files were not found (`{tool} libdpdk`: {first})"), PACKAGES)
        }
        Err(err) => fail(&format!("`{tool}` did not run: {err}"), PACKAGES),
    }
}

fn require(version: &str) {
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        fail(
            &format!("DPDK {version} is installed; {}.{} or newer is needed", OLDEST.0, OLDEST.1),
            "use a distribution that has it (Debian 12, Ubuntu 24.04), or build DPDK and set PKG_CONFIG_PATH",
        );
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").include("shim").opt_level(3).warnings(true).extra_warnings(false);
    // DPDK's own inline functions warn about unused parameters and the like in some versions.
    build.flag_if_supported("-Wno-deprecated-declarations").flag("-DALLOW_EXPERIMENTAL_API");
    for flag in cflags {
        build.flag(flag);
    }
    if let Err(err) = build.try_compile("tickpath_dpdk_shim") {
        fail(&format!("the shim over DPDK's headers did not compile: {err}"), "apt-get install gcc libdpdk-dev");
    }
}

fn bind(cflags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(cflags)
        .clang_args(["-DALLOW_EXPERIMENTAL_API", "-Wno-everything"])
        .rust_edition(bindgen::RustEdition::Edition2024)
        .prepend_enum_name(false)
        .layout_tests(true)
        .generate_comments(false)
        .derive_default(true);
    if env::var_os("LIBCLANG_PATH").is_none()
        && let Some(include) = clang_headers()
    {
        builder = builder.clang_arg(format!("-isystem{}", include.display()));
    }
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.blocklist_type(name);
    }
    // bindgen panics when it finds no libclang; say what to do before it does.
    let generated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()));
    let bindings = match generated {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(err)) => fail(
            &format!("bindgen could not read DPDK's headers: {err}"),
            "libclang must match the clang headers; with several LLVMs installed set LIBCLANG_PATH, \
             for example LIBCLANG_PATH=/usr/lib/llvm-14/lib",
        ),
        Err(_) => fail(
            "bindgen found no libclang",
            &format!("{PACKAGES}, or set LIBCLANG_PATH to the folder that holds libclang.so"),
        ),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts")).join("bindings.rs");
    if let Err(err) = bindings.write_to_file(&out) {
        fail(&format!("{} could not be written: {err}", out.display()), "free some disk space");
    }
}

/// Folder of stddef.h and its kin. libclang looks beside the `clang` program, which a machine with only libclang lacks;
/// GCC's copies serve as well.
fn clang_headers() -> Option<PathBuf> {
    if Command::new("clang").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return None;
    }
    let out = Command::new("cc").arg("-print-file-name=include").output().ok()?;
    let path = String::from_utf8(out.stdout).ok()?;
    let path = Path::new(path.trim());
    path.join("stddef.h").exists().then(|| path.to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn fail(what: &str, remedy: &str) -> ! {
    println!("cargo:warning=dpdk-sys: {what}");
    println!("cargo:warning=dpdk-sys: remedy: {remedy}");
    eprintln!("dpdk-sys: {what}\ndpdk-sys: remedy: {remedy}");
    exit(1)
}
