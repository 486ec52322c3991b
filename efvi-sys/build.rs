//! Finds ef_vi and compiles shim/shim.c over its headers.
//!
//! In this order: `EFVI_INCLUDE_DIR` with `EFVI_LIB_DIR`; `ONLOAD_ROOT` (a source tree that was built, or a folder it was
//! installed to); the system's folders; and else the test double of tests/efvi, loudly. `EFVI_DOUBLE_SHAPE` (8 or 9: whose
//! headers it imitates) asks for the double whatever is installed. Headers and library change their structs together with every
//! release, so only the static library goes with them. Passes `backend` on to the top-level build script
//! (`DEP_EFVI_BACKEND`), and sets the cfg `efvi_double` on the double.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

const VARIABLES: [&str; 4] = ["EFVI_INCLUDE_DIR", "EFVI_LIB_DIR", "ONLOAD_ROOT", "EFVI_DOUBLE_SHAPE"];
const LIBRARY: &str = "libciul1.a";
const LIBRARY_FOLDERS: [&str; 5] =
    ["/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/local/lib64", "/usr/local/lib"];
const REMEDY: &str = "install the onload-devel package (headers and libciul1.a), set EFVI_INCLUDE_DIR and EFVI_LIB_DIR, or \
                      point ONLOAD_ROOT at an Onload source tree that was built";

/// Headers and library of one release.
struct Installed {
    include: PathBuf,
    library: PathBuf,
}

fn main() {
    println!("cargo:rerun-if-changed=shim");
    VARIABLES.iter().for_each(|name| println!("cargo:rerun-if-env-changed={name}"));
    println!("cargo:rustc-check-cfg=cfg(efvi_double)");

    let installed = if env::var_os("EFVI_DOUBLE_SHAPE").is_some() { None } else { installed() };
    let backend = match &installed {
        Some(Installed { include, .. }) => {
            compile_shim(include, None);
            format!("{}.x real", generation(include))
        }
        None => {
            compile_double();
            println!("cargo:rustc-cfg=efvi_double");
            println!("cargo:warning=efvi-sys: ef_vi is the TEST DOUBLE: this build drives no card; {REMEDY}");
            "TEST DOUBLE".to_owned()
        }
    };
    // Behind the shim, which needs it.
    if let Some(Installed { library, .. }) = installed {
        println!("cargo:rerun-if-changed={}", library.join(LIBRARY).display());
        println!("cargo:rustc-link-search=native={}", library.display());
        println!("cargo:rustc-link-lib=static=ciul1");
    }
    println!("cargo:backend={backend}");
}

/// What is asked for, or what is there.
fn installed() -> Option<Installed> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from);
    match (folder("EFVI_INCLUDE_DIR"), folder("EFVI_LIB_DIR"), folder("ONLOAD_ROOT")) {
        (Some(include), Some(library), _) => Some(complete(include, vec![library]).unwrap_or_else(|why| fail(&why))),
        (Some(_), None, _) | (None, Some(_), _) => {
            fail("of EFVI_INCLUDE_DIR and EFVI_LIB_DIR one is set; both are needed, of one release")
        }
        (None, None, Some(root)) => Some(under(&root).unwrap_or_else(|why| fail(&format!("ONLOAD_ROOT: {why}")))),
        (None, None, None) => complete("/usr/include".into(), LIBRARY_FOLDERS.iter().map(PathBuf::from).collect()).ok(),
    }
}

/// A source tree keeps its libraries in build/MACHINE/lib/ciul, an installation in lib64 or lib.
fn under(root: &Path) -> Result<Installed, String> {
    let machines = fs::read_dir(root.join("build")).into_iter().flatten().flatten();
    let built: Vec<PathBuf> = machines.map(|machine| machine.path().join("lib/ciul")).collect();
    let put = ["usr/lib64", "usr/lib", "lib64", "lib"].map(|folder| root.join(folder));
    complete(root.join("src/include"), built)
        .or_else(|_| complete(root.join("usr/include"), put.to_vec()))
        .or_else(|_| complete(root.join("include"), put.to_vec()))
}

/// Headers and library, if both are there.
fn complete(include: PathBuf, libraries: Vec<PathBuf>) -> Result<Installed, String> {
    let header = include.join("etherfabric/ef_vi.h");
    if !header.exists() {
        return Err(format!("{} is not there", header.display()));
    }
    let searched: Vec<_> = libraries.iter().map(|folder| folder.display().to_string()).collect();
    match libraries.into_iter().find(|folder| folder.join(LIBRARY).exists()) {
        Some(library) => Ok(Installed { include, library }),
        None => Err(format!("{LIBRARY} is in none of: {}", searched.join(", "))),
    }
}

/// Which releases these headers are of: they have no number, but each generation brought macros of its own.
fn generation(include: &Path) -> u32 {
    let expanded = shim(include, None).file("shim/generation.c").try_expand();
    let expanded = expanded.unwrap_or_else(|err| fail(&format!("the headers of ef_vi cannot be read: {err}")));
    let text = String::from_utf8_lossy(&expanded);
    let found = [9, 8, 7].into_iter().find(|n| text.lines().any(|line| line.trim() == format!("generation {n}")));
    found.unwrap_or_else(|| fail("the headers of ef_vi are of no generation that is known (7.x to 9.x)"))
}

fn shim(include: &Path, shape: Option<&str>) -> cc::Build {
    let mut build = cc::Build::new();
    build.opt_level(3).warnings(true).flag("-isystem").flag(include.to_string_lossy().as_ref());
    if let Some(shape) = shape {
        build.define("EFVI_DOUBLE_SHAPE", shape);
    }
    build
}

fn compile_shim(include: &Path, shape: Option<&str>) {
    if let Err(err) = shim(include, shape).file("shim/shim.c").try_compile("tickpath_efvi_shim") {
        fail(&format!("the shim over ef_vi's headers in {} did not compile: {err}", include.display()));
    }
}

fn compile_double() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts"));
    let double = root.join("../tests/efvi");
    println!("cargo:rerun-if-changed={}", double.display());
    let shape = env::var("EFVI_DOUBLE_SHAPE").unwrap_or_else(|_| "9".to_owned());
    let include = double.join("include");
    compile_shim(&include, Some(&shape));
    let mut build = shim(&include, Some(&shape));
    if let Err(err) = build.include(&double).file(double.join("double.c")).try_compile("tickpath_efvi_double") {
        fail(&format!("the test double did not compile: {err}"));
    }
}

fn fail(what: &str) -> ! {
    println!("cargo:warning=efvi-sys: {what}");
    eprintln!("efvi-sys: {what}\nefvi-sys: remedy: {REMEDY}");
    exit(1)
}
