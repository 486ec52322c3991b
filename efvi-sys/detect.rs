//! Which ef_vi to build on: rules over folders and variables alone, so that a test tries them on folders of its own.
//!
//! In this order: `EFVI_DOUBLE_SHAPE` (8 or 9: whose headers the double imitates); `EFVI_INCLUDE_DIR` with `EFVI_LIB_DIR`;
//! `ONLOAD_ROOT` (a source tree that was built, or a folder it was installed to); the system's folders; and else the test
//! double. What is asked for and not there is an error; what is there by halves on the system is why the double is taken.
//! Headers and library change their structs together with every release, so both come from one place, and only the static
//! library goes with the headers.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Every variable that is looked at.
pub const VARIABLES: [&str; 4] = ["EFVI_DOUBLE_SHAPE", "EFVI_INCLUDE_DIR", "EFVI_LIB_DIR", "ONLOAD_ROOT"];
pub const LIBRARY: &str = "libciul1.a";
const HEADERS: &str = "etherfabric";

/// What to build on.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Headers and library, and which releases they are of.
    Installed { include: PathBuf, library: PathBuf, generation: u32 },
    /// The test double in this shape, and why.
    Double { shape: u32, why: String },
}

/// Where headers lie, and where their library may.
type Layout = (PathBuf, Vec<PathBuf>);

/// What the variables ask for, or what is under `system` (`/`, but for a test).
pub fn find(variable: impl Fn(&str) -> Option<OsString>, system: &Path) -> Result<Found, String> {
    let [shape, include, library, root] = VARIABLES.map(|name| variable(name).map(PathBuf::from));
    if let Some(shape) = shape {
        let number = [8, 9].into_iter().find(|n| shape == Path::new(&n.to_string()));
        let shape = number.ok_or_else(|| format!("EFVI_DOUBLE_SHAPE is {:?}: 8 or 9 expected", shape.display()))?;
        return Ok(Found::Double { shape, why: "EFVI_DOUBLE_SHAPE asks for it".to_owned() });
    }
    match (include, library, root) {
        (Some(include), Some(library), _) => complete((include, vec![library])),
        (Some(_), None, _) | (None, Some(_), _) => {
            Err("of EFVI_INCLUDE_DIR and EFVI_LIB_DIR one is set; both are needed, of one release".to_owned())
        }
        (None, None, Some(root)) => first(of_tree(&root)).map_err(|why| format!("ONLOAD_ROOT: {why}")),
        (None, None, None) => Ok(first(of_system(system)).unwrap_or_else(|why| Found::Double { shape: 9, why })),
    }
}

fn of_system(system: &Path) -> Vec<Layout> {
    ["usr", "usr/local"].map(|prefix| of_prefix(&system.join(prefix))).to_vec()
}

fn of_prefix(prefix: &Path) -> Layout {
    (prefix.join("include"), ["lib64", "lib/x86_64-linux-gnu", "lib"].map(|folder| prefix.join(folder)).to_vec())
}

/// A source tree keeps its libraries in build/MACHINE/lib/ciul.
fn of_tree(root: &Path) -> Vec<Layout> {
    let machines = fs::read_dir(root.join("build")).into_iter().flatten().flatten();
    let built = machines.map(|machine| machine.path().join("lib/ciul")).collect();
    vec![(root.join("src/include"), built), of_prefix(&root.join("usr")), of_prefix(root)]
}

/// The first that is complete, or what the first lacks whose headers are there.
fn first(layouts: Vec<Layout>) -> Result<Found, String> {
    let searched = list(layouts.iter().map(|(include, _)| include));
    let there = layouts.into_iter().filter(|(include, _)| header(include).exists());
    let tried: Vec<_> = there.map(complete).collect();
    let complete = tried.iter().position(Result::is_ok).unwrap_or(0);
    let found = tried.into_iter().nth(complete);
    found.unwrap_or_else(|| Err(format!("{HEADERS}/ef_vi.h is in none of: {searched}")))
}

fn complete((include, libraries): Layout) -> Result<Found, String> {
    let generation = generation(&include)?;
    let searched = list(libraries.iter());
    let library = libraries.into_iter().find(|folder| folder.join(LIBRARY).exists());
    let library = library
        .ok_or_else(|| format!("headers are in {}, and {LIBRARY} is in none of: {searched}", include.display()))?;
    Ok(Found::Installed { include, library, generation })
}

/// Which releases these headers are of: they have no number, but each generation brought something of its own.
fn generation(include: &Path) -> Result<u32, String> {
    let header = header(include);
    let text = fs::read_to_string(&header).map_err(|err| format!("{}: {err}", header.display()))?;
    let defines = |name: &str| {
        let macros =
            text.lines().filter_map(|line| line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("define"));
        macros.map(str::trim_start).any(|define| define.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    };
    if defines("ef_vi_start_transmit_warm") {
        Ok(9)
    } else if include.join(HEADERS).join("efct_vi.h").exists() {
        Ok(8)
    } else if defines("ef_vi_transmit_ctpio_fallback") {
        Ok(7)
    } else {
        Err(format!("{} is too old: it has no CTPIO; headers of 7.x to 9.x expected", header.display()))
    }
}

fn header(include: &Path) -> PathBuf {
    include.join(HEADERS).join("ef_vi.h")
}

fn list<'a>(folders: impl Iterator<Item = &'a PathBuf>) -> String {
    folders.map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
