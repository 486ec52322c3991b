//! Trace files: a head, then blocks with checksums, of records or of evidence. `docs/trace.md` describes the bytes.
//!
//! A file is only ever appended to, a block at a time by one write, so a crash costs the last block at most; a reader
//! finds its way past whatever is damaged and says what that cost.

mod error;
mod format;
mod header;
mod reader;
mod run;
mod writer;

pub use error::TraceError;
pub use header::{CaptureId, ClockFit, Header, JournalHeader, VenueBeginning, VenueHeader};
pub use reader::{Block, Damage, Reader};
pub use run::{Found, Losses, Run, RunFile, RunReader, journal_of, journals, runs};
pub use writer::{Counters, HOLD, Rotation, Writer};
