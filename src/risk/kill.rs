//! The kill switch: one word that says whether a venue may trade, and the file that remembers it across a restart.
//!
//! Anyone with a handle may trip it: the control thread, a stage, an lcore that unwinds. The gate reads it for every
//! order and tx once a frame, before the doorbell; neither ever waits for it. Once tripped it stays so until it is
//! cleared by hand. Nothing on the path touches the file: the control thread does, by [`KillFile::keep`].

use crate::host::placement::{Span, lines::span};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A handle on a venue's kill word; clones are handles on the same word.
#[derive(Clone, Default)]
pub struct Kill(Arc<Word>);

/// On lines of its own, since every lcore reads it and next to nobody writes: two lines, because the adjacent-line
/// prefetcher pulls pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Word(AtomicU32);

/// Why trading was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KillReason {
    /// A person asked for it.
    Command = 1,
    /// A signal asked for it.
    Signal = 1 << 1,
    /// A limit was found exceeded.
    Limit = 1 << 2,
    /// The order session was lost.
    SessionLost = 1 << 3,
    /// An lcore has not polled for too long.
    LcoreStuck = 1 << 4,
    /// An lcore panicked.
    LcorePanic = 1 << 5,
    /// An alarm that the user chose for it.
    Alarm = 1 << 6,
    /// It was tripped in an earlier run and not cleared since.
    Before = 1 << 7,
}

impl KillReason {
    /// All of them.
    pub const ALL: [KillReason; 8] = [
        KillReason::Command,
        KillReason::Signal,
        KillReason::Limit,
        KillReason::SessionLost,
        KillReason::LcoreStuck,
        KillReason::LcorePanic,
        KillReason::Alarm,
        KillReason::Before,
    ];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            KillReason::Command => "command",
            KillReason::Signal => "signal",
            KillReason::Limit => "limit exceeded",
            KillReason::SessionLost => "session lost",
            KillReason::LcoreStuck => "lcore stuck",
            KillReason::LcorePanic => "lcore panicked",
            KillReason::Alarm => "alarm",
            KillReason::Before => "tripped before this run",
        }
    }
}

impl Kill {
    /// Where the word lies.
    pub fn lines(&self) -> Span {
        span(&*self.0)
    }

    /// Whether only cancels may leave. A relaxed load: the word carries no other data with it, and a store is seen
    /// within the time that a cache line takes.
    #[inline(always)]
    pub fn is_tripped(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) != 0
    }

    /// Stop trading. True when this call is what stopped it.
    pub fn trip(&self, reason: KillReason) -> bool {
        self.0.0.fetch_or(reason as u32, Ordering::AcqRel) == 0
    }

    /// Every reason it was tripped for since it was cleared last.
    pub fn reasons(&self) -> impl Iterator<Item = KillReason> {
        let word = self.0.0.load(Ordering::Acquire);
        KillReason::ALL.into_iter().filter(move |reason| word & *reason as u32 != 0)
    }

    /// Allow trading again. Does not remove the file: see [`KillFile::clear`].
    pub fn clear(&self) {
        self.0.0.store(0, Ordering::Release);
    }
}

impl fmt::Debug for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.reasons()).finish()
    }
}

/// The file that keeps a kill switch tripped across a restart. It holds the reasons, a line each, for who reads it.
#[derive(Debug)]
pub struct KillFile {
    path: PathBuf,
    written: bool,
}

impl KillFile {
    /// The file at `path`. If there is one, whatever it holds, `kill` is tripped: it was not cleared since.
    ///
    /// # Errors
    /// It cannot be told whether there is one.
    pub fn open(path: &Path, kill: &Kill) -> io::Result<KillFile> {
        let written = path.try_exists()?;
        if written {
            kill.trip(KillReason::Before);
        }
        Ok(KillFile { path: path.to_owned(), written })
    }

    /// Write the file if `kill` is tripped and it is not written yet. True when this call wrote it.
    ///
    /// # Errors
    /// It cannot be written; the next call tries again.
    pub fn keep(&mut self, kill: &Kill) -> io::Result<bool> {
        if self.written || !kill.is_tripped() {
            return Ok(false);
        }
        let reasons: String = kill.reasons().map(|reason| format!("{}\n", reason.name())).collect();
        let file = std::fs::File::create(&self.path)?;
        io::Write::write_all(&mut &file, reasons.as_bytes())?;
        file.sync_all()?;
        self.written = true;
        Ok(true)
    }

    /// Remove the file and allow trading again, in this order: what cannot be removed stays tripped.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(&mut self, kill: &Kill) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.written = false;
        kill.clear();
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tripped_switch_stays_tripped_and_remembers_every_reason() {
        let kill = Kill::default();
        let elsewhere = kill.clone();
        assert!(!kill.is_tripped());
        assert!(elsewhere.trip(KillReason::SessionLost));
        assert!(!elsewhere.trip(KillReason::Command), "the second reason stops nothing new");
        assert!(kill.is_tripped());
        assert_eq!(kill.reasons().collect::<Vec<_>>(), [KillReason::Command, KillReason::SessionLost]);
        kill.clear();
        assert!(!elsewhere.is_tripped());
        assert_eq!(kill.reasons().count(), 0);
    }

    #[test]
    fn the_word_shares_no_line_with_anyone() {
        assert_eq!((size_of::<Word>(), align_of::<Word>()), (128, 128));
    }

    #[test]
    fn a_trip_survives_a_restart_until_it_is_cleared_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("venue.kill");
        let kill = Kill::default();
        let mut file = KillFile::open(&path, &kill).unwrap();
        assert!(!file.keep(&kill).unwrap() && !path.exists());
        kill.trip(KillReason::LcorePanic);
        assert!(file.keep(&kill).unwrap());
        assert!(!file.keep(&kill).unwrap(), "once");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "lcore panicked\n");

        let restarted = Kill::default();
        KillFile::open(&path, &restarted).unwrap();
        assert_eq!(restarted.reasons().collect::<Vec<_>>(), [KillReason::Before]);

        std::fs::remove_file(&path).unwrap();
        let cleared = Kill::default();
        KillFile::open(&path, &cleared).unwrap();
        assert!(!cleared.is_tripped());
    }

    #[test]
    fn clearing_removes_the_file_and_a_file_that_cannot_go_keeps_it_tripped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("venue.kill");
        let kill = Kill::default();
        let mut file = KillFile::open(&path, &kill).unwrap();
        kill.trip(KillReason::Command);
        file.keep(&kill).unwrap();
        file.clear(&kill).unwrap();
        assert!(!path.exists() && !kill.is_tripped());
        kill.trip(KillReason::Command);
        assert!(file.keep(&kill).unwrap(), "and it is written again");

        // A folder in its place cannot be removed as a file.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(file.clear(&kill).is_err());
        assert!(kill.is_tripped());
    }
}
