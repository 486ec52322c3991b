//! Files that commands write: whole or absent, never in place of something that was not meant.

use super::Failure;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that is made beside its place before the work, so that one that cannot be written is told before it, and that
/// gets its name when everything is in it. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl Whole {
    /// A file that will be at `path`.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written to.
    pub fn create(path: &Path) -> Result<Whole, Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|err| unwritable(path, &err))?;
        Ok(Whole { path: path.to_owned(), part, file })
    }

    /// Where its bytes go.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Give it its name: everything is in it.
    ///
    /// # Errors
    /// The name cannot be given.
    pub fn complete(self) -> Result<(), Failure> {
        std::fs::rename(&self.part, &self.path).map_err(|err| unwritable(&self.path, &err))
    }

    /// Fill it with `bytes` and give it its name.
    ///
    /// # Errors
    /// Disk full, and the like.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|err| unwritable(&self.path, &err))?;
        self.complete()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Under its own name there is nothing left to remove.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Outputs get their names by a rename, which would replace whatever is there: refuse what is not a plain file (as root
/// even /dev/null would go), an input, and a second output of the same name.
///
/// # Errors
/// The first output that is one of those.
pub fn check(inputs: &[&Path], outputs: &[PathBuf]) -> Result<(), Failure> {
    let mut taken: Vec<(PathBuf, &str)> = inputs.iter().map(|input| (place(input), "read")).collect();
    for output in outputs {
        let (name, here) = (output.display(), place(output));
        if here.metadata().is_ok_and(|found| !found.is_file()) {
            let help = "outputs are plain files: name one that exists already, or none".to_owned();
            return Err(Failure::input(format!("cannot write {name}: it is not a file"), help));
        }
        if let Some((_, used)) = taken.iter().find(|(other, _)| *other == here) {
            let found = format!("{name} is {used} by the same command and would be overwritten");
            return Err(Failure::input(found, "give every output a name of its own".to_owned()));
        }
        taken.push((here, "written"));
    }
    Ok(())
}

/// What to say of a file that cannot be written.
pub fn unwritable(path: &Path, err: &dyn std::fmt::Display) -> Failure {
    let help = "name a file in a folder that exists, can be written to and has room";
    Failure::failed(format!("cannot write {}: {err}", path.display()), help.to_owned())
}

/// Where a path leads, whether something is there yet or not.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absent = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(absent).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let entries = || std::fs::read_dir(folder.path()).unwrap().count();
        drop(Whole::create(&path).unwrap());
        assert_eq!(entries(), 0);
        Whole::create(&path).unwrap().write(b"{}").unwrap();
        assert_eq!((entries(), std::fs::read(&path).unwrap()), (1, b"{}".to_vec()));
        assert!(Whole::create(&folder.path().join("absent/summary.json")).is_err());
    }

    #[test]
    fn nothing_is_written_over_that_was_not_meant() {
        let folder = tempfile::tempdir().unwrap();
        let [capture, out] = ["a.pcap", "out"].map(|name| folder.path().join(name));
        std::fs::write(&capture, "x").unwrap();
        let again = folder.path().join("./a.pcap");
        assert!(check(&[&capture], std::slice::from_ref(&out)).is_ok());
        assert!(check(&[&capture], &[again]).is_err());
        assert!(check(&[], &[out.clone(), out]).is_err());
        assert!(check(&[], &[PathBuf::from("/dev/null")]).is_err());
        assert!(check(&[], &[folder.path().to_owned()]).is_err());
    }
}
