//! Why a trace cannot be read or written: what was found and what to do.

use std::io;
use std::path::PathBuf;

/// A file that is no trace of ours, or one that cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The kernel refuses.
    #[error("cannot {doing} {}: {err}", path.display())]
    Io {
        /// `read`, `create` …
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        err: io::Error,
    },
    /// Something else.
    #[error("{} is not a trace: {found}; a trace begins with 89 54 50 54 0d 0a 1a 0a", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// A format that came later.
    #[error("{} is a trace in format {}.{}; this program reads 1.x", path.display(), version.0, version.1)]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its major and minor version.
        version: (u16, u16),
    },
    /// Ours, but its head cannot be trusted.
    #[error("the head of {} is damaged: {found}", path.display())]
    Head {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// There is nothing to read.
    #[error("no trace in {}", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// There is no journal.
    #[error("no journal in {}", path.display())]
    NoJournal {
        /// The file or folder.
        path: PathBuf,
    },
    /// Journals of several runs where one was expected.
    #[error("{} has journals of several runs", path.display())]
    Several {
        /// The folder.
        path: PathBuf,
    },
}

impl TraceError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            TraceError::Io { doing: "read", .. } => "name trace files (*.tptrace) or the folder that --trace wrote",
            TraceError::Io { .. } => "name a folder that can be written to and has room",
            TraceError::Foreign { .. } | TraceError::Nothing { .. } => {
                "name trace files (*.tptrace) or the folder that --trace wrote"
            }
            TraceError::NoJournal { .. } => "name a journal (*.tpjournal), or the folder of one",
            TraceError::Several { .. } => "name a file of the run that is meant (*.tpjournal)",
            TraceError::Newer { .. } => "read it with the tickpath that wrote it, or a later one",
            TraceError::Head { .. } => {
                "every file of a run has a head of its own: leave this one out and read the others"
            }
        }
    }
}

/// What `head`, the first bytes of a file that is no trace, looks like.
pub(super) fn guess(head: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
        (b"\xd4\xc3\xb2\xa1", "it is a pcap capture"),
        (b"\x4d\x3c\xb2\xa1", "it is a pcap capture"),
        (b"\xa1\xb2\xc3\xd4", "it is a pcap capture"),
        (b"\xa1\xb2\x3c\x4d", "it is a pcap capture"),
        (b"\x0a\x0d\x0d\x0a", "it is a pcapng capture"),
        (b"PAR1", "it is a Parquet file"),
        (b"{", "it is JSON"),
    ];
    let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| (*what).to_owned());
    known.unwrap_or_else(|| match head {
        [] => "it is empty".into(),
        _ => {
            format!("it begins with {}", head.iter().take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "))
        }
    })
}
