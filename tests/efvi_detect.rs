//! Which ef_vi a build is on, over folders made for it: the rules are those that the build script of efvi-sys runs.

#[path = "../efvi-sys/detect.rs"]
mod detect;

use detect::{Found, LIBRARY};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NINE: &str = "#define   ef_vi_start_transmit_warm(vi, saved_state, warm_ctpio_mmap_ptr) \\\n";
const SEVEN: &str = "# define ef_vi_transmit_ctpio_fallback(vi, dma_addr, len, dma_id) \\\n";
/// Speaks of both without defining either.
const SIX: &str =
    "** ef_vi_start_transmit_warm() and ef_vi_transmit_ctpio_fallback() are for later\n#define ef_vi_transmit(vi)\n";

struct Machine(TempDir);

impl Machine {
    fn new() -> Machine {
        Machine(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(self, path: &str, text: &str) -> Machine {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn headers(self, include: &str, text: &str) -> Machine {
        self.put(&format!("{include}/etherfabric/ef_vi.h"), text)
    }

    fn library(self, folder: &str) -> Machine {
        self.put(&format!("{folder}/{LIBRARY}"), "")
    }

    /// What is found there with these variables, whose folders are of this machine.
    fn find(&self, variables: &[(&str, &str)]) -> Result<Found, String> {
        let value = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value);
        detect::find(
            |name| value(name).map(|value| if name.ends_with("SHAPE") { value.into() } else { self.at(value).into() }),
            self.0.path(),
        )
    }

    fn found(&self, include: &str, library: &str, generation: u32) -> Result<Found, String> {
        Ok(Found::Installed { include: self.at(include), library: self.at(library), generation })
    }
}

/// Why the double was taken.
#[track_caller]
fn double(found: Result<Found, String>) -> String {
    match found {
        Ok(Found::Double { shape: 9, why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_and_library_of_one_prefix_are_taken_with_their_generation() {
    for (prefix, folder) in [("usr", "lib64"), ("usr", "lib/x86_64-linux-gnu"), ("usr/local", "lib")] {
        let (include, library) = (format!("{prefix}/include"), format!("{prefix}/{folder}"));
        let machine = Machine::new().headers(&include, SEVEN).library(&library);
        assert_eq!(machine.find(&[]), machine.found(&include, &library, 7));
        let machine = machine.put(&format!("{include}/etherfabric/efct_vi.h"), "");
        assert_eq!(machine.find(&[]), machine.found(&include, &library, 8));
        let machine = machine.headers(&include, &(SEVEN.to_owned() + NINE));
        assert_eq!(machine.find(&[]), machine.found(&include, &library, 9));
    }
}

#[test]
fn what_a_system_has_by_halves_is_why_the_double_is_taken() {
    let nothing = double(Machine::new().find(&[]));
    assert!(nothing.contains("ef_vi.h is in none of: ") && nothing.contains("usr/local/include"), "{nothing}");
    let library_alone = double(Machine::new().library("usr/lib64").find(&[]));
    assert!(library_alone.contains("ef_vi.h is in none of: "), "{library_alone}");
    let headers_alone = double(Machine::new().headers("usr/include", NINE).find(&[]));
    assert!(
        headers_alone.contains("libciul1.a is in none of: ") && headers_alone.contains("usr/lib64"),
        "{headers_alone}"
    );
    // They may be of two releases.
    let of_two_prefixes = Machine::new().headers("usr/include", NINE).library("usr/local/lib64");
    assert!(double(of_two_prefixes.find(&[])).contains("libciul1.a is in none of: "));
    let old = double(Machine::new().headers("usr/include", SIX).library("usr/lib64").find(&[]));
    assert!(old.contains("usr/include/etherfabric/ef_vi.h is too old"), "{old}");
    // The other prefix is whole.
    let two = Machine::new().headers("usr/include", SIX).headers("usr/local/include", NINE).library("usr/local/lib64");
    assert_eq!(two.find(&[]), two.found("usr/local/include", "usr/local/lib64", 9));
}

#[test]
fn what_variables_name_goes_before_the_system_and_is_an_error_by_halves() {
    let machine = Machine::new().headers("usr/include", NINE).library("usr/lib64").headers("h", SEVEN).library("l");
    let machine = machine.headers("old", SIX).put("empty/nothing", "");
    let named = |include, library| machine.find(&[("EFVI_INCLUDE_DIR", include), ("EFVI_LIB_DIR", library)]);
    assert_eq!(named("h", "l"), machine.found("h", "l", 7));
    for (include, library, said) in [("h", "empty", LIBRARY), ("empty", "l", "ef_vi.h"), ("old", "l", "too old")] {
        let why = named(include, library).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    for one in [("EFVI_INCLUDE_DIR", "h"), ("EFVI_LIB_DIR", "l")] {
        assert!(machine.find(&[one]).unwrap_err().contains("both are needed, of one release"));
    }
}

#[test]
fn a_root_of_onload_is_a_tree_that_was_built_or_an_installation() {
    for (include, library) in
        [("r/src/include", "r/build/gnu_x86_64/lib/ciul"), ("r/usr/include", "r/usr/lib64"), ("r/include", "r/lib")]
    {
        let root = [("ONLOAD_ROOT", "r")];
        let machine = Machine::new().headers(include, NINE);
        let why = machine.find(&root).unwrap_err();
        assert!(why.starts_with("ONLOAD_ROOT: headers are in ") && why.contains(include), "{why}");
        let machine = machine.library(library);
        assert_eq!(machine.find(&root), machine.found(include, library, 9));
    }
    let why = Machine::new().find(&[("ONLOAD_ROOT", "r")]).unwrap_err();
    assert!(why.contains("ef_vi.h is in none of: "), "{why}");
}

#[test]
fn the_double_can_be_asked_for_in_either_shape() {
    let machine = Machine::new().headers("usr/include", NINE).library("usr/lib64");
    for shape in [8, 9] {
        let found = machine.find(&[("EFVI_DOUBLE_SHAPE", &shape.to_string())]);
        assert!(matches!(found, Ok(Found::Double { shape: taken, .. }) if taken == shape), "{found:?}");
    }
    assert_eq!(
        machine.find(&[("EFVI_DOUBLE_SHAPE", "7")]),
        Err("EFVI_DOUBLE_SHAPE is \"7\": 8 or 9 expected".to_owned())
    );
}

#[test]
fn the_doubles_own_headers_are_of_the_generation_they_imitate() {
    let machine = Machine::new().library("l");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/efvi/include");
    let found = machine.find(&[("EFVI_INCLUDE_DIR", include.to_str().unwrap()), ("EFVI_LIB_DIR", "l")]);
    assert!(matches!(found, Ok(Found::Installed { generation: 9, .. })), "{found:?}");
}
