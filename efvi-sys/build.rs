//! Finds ef_vi by the rules of detect.rs, and compiles shim/shim.c over its headers; without it, over those of the test double
//! of tests/efvi, loudly. Passes `backend`, and `double` on the double, on to the top-level build script (`DEP_EFVI_BACKEND`,
//! `DEP_EFVI_DOUBLE`), and sets the cfg `efvi_double` there.

mod detect;

use detect::Found;
use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

const REMEDY: &str = "install the onload-devel package (headers and libciul1.a), set EFVI_INCLUDE_DIR and EFVI_LIB_DIR, or \
                      point ONLOAD_ROOT at an Onload source tree that was built";

fn main() {
    println!("cargo:rerun-if-changed=detect.rs");
    println!("cargo:rerun-if-changed=shim");
    detect::VARIABLES.iter().for_each(|name| println!("cargo:rerun-if-env-changed={name}"));
    println!("cargo:rustc-check-cfg=cfg(efvi_double)");
    match detect::find(|name| env::var_os(name), Path::new("/")).unwrap_or_else(|why| fail(&why)) {
        Found::Installed { include, library, generation } => {
            compile_shim(&include, None);
            // Behind the shim, which needs it.
            println!("cargo:rerun-if-changed={}", library.join(detect::LIBRARY).display());
            println!("cargo:rustc-link-search=native={}", library.display());
            println!("cargo:rustc-link-lib=static=ciul1");
            println!("cargo:backend={generation}.x real");
        }
        Found::Double { shape, why } => {
            compile_double(shape);
            println!("cargo:rustc-cfg=efvi_double");
            println!("cargo:warning=efvi-sys: ef_vi is the TEST DOUBLE: this build drives no card: {why}; {REMEDY}");
            println!("cargo:backend={shape}.x TEST DOUBLE");
            println!("cargo:double=1");
        }
    }
}

fn shim(include: &Path, shape: Option<u32>) -> cc::Build {
    let mut build = cc::Build::new();
    build.opt_level(3).warnings(true).flag("-isystem").flag(include.to_string_lossy().as_ref());
    if let Some(shape) = shape {
        build.define("EFVI_DOUBLE_SHAPE", shape.to_string().as_str());
    }
    build
}

fn compile_shim(include: &Path, shape: Option<u32>) {
    if let Err(err) = shim(include, shape).file("shim/shim.c").try_compile("tickpath_efvi_shim") {
        fail(&format!("the shim over ef_vi's headers in {} did not compile: {err}", include.display()));
    }
}

fn compile_double(shape: u32) {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts"));
    let double = root.join("../tests/efvi");
    println!("cargo:rerun-if-changed={}", double.display());
    let include = double.join("include");
    compile_shim(&include, Some(shape));
    let mut build = shim(&include, Some(shape));
    if let Err(err) = build.include(&double).file(double.join("double.c")).try_compile("tickpath_efvi_double") {
        fail(&format!("the test double did not compile: {err}"));
    }
}

fn fail(what: &str) -> ! {
    println!("cargo:warning=efvi-sys: {what}");
    eprintln!("efvi-sys: {what}\nefvi-sys: remedy: {REMEDY}");
    exit(1)
}
