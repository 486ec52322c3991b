//! The files of a command line in, runs out: each with its files in order, and read as one.

use super::{Block, Damage, Header, Reader, TraceError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the name of a trace file ends with.
pub(super) const TRACE: &str = "tptrace";
/// What that of a journal's does.
pub(super) const JOURNAL: &str = "tpjournal";

/// What a command line named.
#[derive(Debug, Default)]
pub struct Found {
    /// By id, which is by time.
    pub runs: Vec<Run>,
    /// Files of a named folder that end with `.tptrace` and cannot be read.
    pub refused: Vec<TraceError>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its files, by their place in it.
    pub files: Vec<RunFile>,
    /// Places in between that have no file.
    pub missing: Vec<u32>,
    /// The header of the first file that is there.
    pub header: Header,
}

/// A file of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its place in the run.
    pub file: u32,
    /// Index in the run of its first record.
    pub first_index: u64,
}

/// What a run lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// In the files that are there.
    pub damage: Damage,
    /// Records in files that are missing, or that lost whole blocks at their end.
    pub records_missing: u64,
    /// The run did not end in order: it was killed, is still going, or its last file is missing.
    pub unfinished: bool,
}

/// Traces at `paths`: files, and folders with files called `*.tptrace`. The same file named twice counts once.
///
/// # Errors
/// A path that is not there, a named file that is no trace, or a folder without one.
pub fn runs(paths: &[PathBuf]) -> Result<Found, TraceError> {
    let mut found = Found::default();
    let mut files: BTreeMap<(String, u32), (RunFile, Header)> = BTreeMap::new();
    for path in paths {
        let here = if path.is_dir() { inside(path, TRACE)? } else { vec![path.clone()] };
        for file in here {
            if file.extension().is_some_and(|extension| extension == JOURNAL) {
                return Err(TraceError::Foreign { path: file, found: "it is a journal".to_owned() });
            }
            match Reader::open(&file) {
                Ok(reader) => {
                    let header = reader.header().clone();
                    let place = RunFile { path: file, file: header.file, first_index: reader.first_index() };
                    files.entry((header.run.clone(), header.file)).or_insert((place, header));
                }
                Err(err) if path.is_dir() => found.refused.push(err),
                Err(err) => return Err(err),
            }
        }
    }
    for ((id, _), (file, header)) in files {
        match found.runs.last_mut() {
            Some(run) if run.id == id => run.files.push(file),
            _ => found.runs.push(Run { id, files: vec![file], missing: Vec::new(), header }),
        }
    }
    for run in &mut found.runs {
        let mut next = 0;
        for file in &run.files {
            // No run has more files than there could be in a folder: what lies in a damaged number is not listed.
            run.missing.extend((next..file.file).take(1000));
            next = file.file.saturating_add(1);
        }
    }
    Ok(found)
}

/// The run whose journal `path` is: one of its files, or a folder with that of one run.
///
/// # Errors
/// What is there is no journal, cannot be read, or is of several runs.
pub fn journals(path: &Path) -> Result<Run, TraceError> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let wanted = if path.is_dir() { None } else { Some(Reader::open(path)?.header().run.clone()) };
    let mut run: Option<Run> = None;
    let files = match inside(folder, JOURNAL) {
        Err(TraceError::Nothing { .. }) => Vec::new(),
        found => found?,
    };
    for path in files {
        let reader = match Reader::open(&path) {
            Err(_) if wanted.is_some() => continue,
            opened => opened?,
        };
        let header = reader.header();
        if wanted.as_ref().is_some_and(|wanted| *wanted != header.run) {
            continue;
        }
        let file = RunFile { path, file: header.file, first_index: reader.first_index() };
        match &mut run {
            Some(run) if run.id == header.run => run.files.push(file),
            Some(_) => return Err(TraceError::Several { path: folder.to_owned() }),
            None => {
                let header = header.clone();
                run = Some(Run { id: header.run.clone(), files: vec![file], missing: Vec::new(), header });
            }
        }
    }
    run.filter(|run| run.header.journal.is_some()).ok_or_else(|| TraceError::NoJournal { path: path.to_owned() })
}

/// The first file of the journal that lies beside a trace, if there is one.
pub fn journal_of(trace: &Run) -> Option<PathBuf> {
    let folder = trace.files.first()?.path.parent()?;
    Some(folder.join(format!("{}-0000.{JOURNAL}", trace.id))).filter(|path| path.is_file())
}

fn inside(folder: &Path, wanted: &str) -> Result<Vec<PathBuf>, TraceError> {
    let refused = |err| TraceError::Io { doing: "read", path: folder.to_owned(), err };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        if path.extension().is_some_and(|extension| extension == wanted) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(TraceError::Nothing { path: folder.to_owned() });
    }
    paths.sort();
    Ok(paths)
}

impl Run {
    /// Read all its files as one.
    pub fn read(&self) -> RunReader {
        RunReader {
            files: self.files.clone().into_iter(),
            reader: None,
            expected: 0,
            losses: Losses { unfinished: true, ..Losses::default() },
        }
    }
}

/// Reads a run. See [`Run::read`].
#[derive(Debug)]
pub struct RunReader {
    files: std::vec::IntoIter<RunFile>,
    reader: Option<Reader>,
    /// Index that the next file's first record should have.
    expected: u64,
    losses: Losses,
}

impl RunReader {
    /// The next good block; `None` behind the last.
    ///
    /// # Errors
    /// A file that cannot be opened or read any longer.
    #[expect(clippy::should_implement_trait, reason = "a block borrows the reader's buffer")]
    pub fn next(&mut self) -> Result<Option<Block<'_>>, TraceError> {
        while !self.step()? {
            let Some(next) = self.files.next() else { return Ok(None) };
            let reader = Reader::open(&next.path)?;
            let missing = reader.first_index().saturating_sub(self.expected);
            self.losses.records_missing = self.losses.records_missing.saturating_add(missing);
            self.reader = Some(reader);
        }
        Ok(self.reader.as_mut().map(Reader::block))
    }

    /// What was lost in the files that were read to their ends; of the whole run when everything was read.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Go to the next block of the open file; `false` when there is none, or no file.
    fn step(&mut self) -> Result<bool, TraceError> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        if reader.step()? {
            return Ok(true);
        }
        self.expected = self.expected.max(reader.next_index());
        self.losses.damage = self.losses.damage.and(reader.damage());
        self.losses.unfinished &= !reader.ended();
        self.reader = None;
        Ok(false)
    }
}
