//! Order ids that no run has used: they are reserved in blocks, and a block is on disk before its first id is used, so
//! that a restart, however it came about, goes on beyond it. Control only; the path counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ids of a block. OUCH has 2^32 of them: a thousand starts a day.
pub const BLOCK: u64 = 1 << 22;

/// Ids that this run may use.
#[derive(Debug)]
pub struct OrderIds {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Held while the run lasts: nobody else takes ids from the file.
    _lock: File,
}

/// Why no ids could be reserved.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// The file or its folder does not let itself be used.
    #[error("cannot {doing} {}: {err}; order ids must outlive a restart, so give a folder that this user may write", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        err: io::Error,
    },
    /// Somebody else uses it.
    #[error("{} is in use by another run; two runs of one session would use the same order ids", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It holds no number.
    #[error("{} holds {found:?} where the next free order id is expected; write it, or remove the file if no order of today was sent", path.display())]
    NoNumber {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// All ids are used up.
    #[error("{} says that all {last} order ids are used; remove it when the exchange's next day begins", path.display())]
    UsedUp {
        /// The file.
        path: PathBuf,
        /// The last id there is.
        last: u64,
    },
}

impl OrderIds {
    /// Reserve the next block of the file at `path`, which is made when it is not there; no id is beyond `last`.
    ///
    /// # Errors
    /// See [`IdsError`].
    pub fn reserve(path: &Path, last: u64) -> Result<OrderIds, IdsError> {
        let io = |doing, err| IdsError::Io { doing, path: path.to_owned(), err };
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|err| IdsError::Io { doing: "make", path: lock_path, err })?;
        if lock.try_lock().is_err() {
            return Err(IdsError::InUse { path: path.to_owned() });
        }
        let next = match fs::read_to_string(path) {
            Ok(text) => match text.trim().parse::<u64>() {
                Ok(next) if next > 0 => next,
                _ => return Err(IdsError::NoNumber { path: path.to_owned(), found: text }),
            },
            Err(err) if err.kind() == io::ErrorKind::NotFound => 1,
            Err(err) => return Err(io("read", err)),
        };
        if next > last {
            return Err(IdsError::UsedUp { path: path.to_owned(), last });
        }
        let end = last.min(next.saturating_add(BLOCK - 1));
        let temporary = path.with_extension("new");
        let written = File::create(&temporary).and_then(|mut file| {
            writeln!(file, "{}", end + 1)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&temporary, path)).map_err(|err| io("write", err))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|err| io("write", err))?;
        Ok(OrderIds { first: next, last: end, _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_uses_no_id_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        let mut before = 0;
        for _ in 0..3 {
            let ids = OrderIds::reserve(&path, u64::MAX).unwrap();
            assert!(ids.first > before && ids.last >= ids.first);
            before = ids.last;
        }
    }

    #[test]
    fn two_runs_do_not_share_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        let first = OrderIds::reserve(&path, u64::MAX).unwrap();
        assert!(matches!(OrderIds::reserve(&path, u64::MAX), Err(IdsError::InUse { .. })));
        drop(first);
        assert!(OrderIds::reserve(&path, u64::MAX).is_ok());
    }

    #[test]
    fn what_cannot_be_reserved_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        fs::write(&path, "many").unwrap();
        assert!(OrderIds::reserve(&path, 100).unwrap_err().to_string().contains("\"many\""));
        fs::write(&path, "101").unwrap();
        assert!(OrderIds::reserve(&path, 100).unwrap_err().to_string().contains("all 100 order ids are used"));
        fs::write(&path, "99").unwrap();
        let ids = OrderIds::reserve(&path, 100).unwrap();
        assert_eq!((ids.first, ids.last), (99, 100));
        assert!(OrderIds::reserve(&folder.path().join("no/ids"), 9).unwrap_err().to_string().contains("no/ids"));
    }
}
