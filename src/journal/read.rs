//! A journal's files in, the entries of one venue out, in order, up to the first that is missing: what comes behind a hole
//! decides nothing.

use super::code::decode;
use super::{Entry, Slot, VERSION, slots};
use crate::latency::trace::{Block, Header, JournalHeader, Run, RunReader, TraceError, journals};
use std::collections::VecDeque;
use std::path::Path;

/// The journal of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    run: Run,
}

/// How a journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As the run did, in order.
    InOrder,
    /// The run was killed or is still going: the last input may lack its outcome.
    Unfinished,
    /// What follows is missing, for this reason.
    Broken(String),
}

/// Reads the entries of a venue.
#[derive(Debug)]
pub struct Entries {
    reader: RunReader,
    venue: u16,
    slots: VecDeque<Slot>,
    /// Entries whose slots were taken over.
    known: u64,
    /// What comes after them found no room on its way.
    lost: bool,
    end: Option<End>,
}

impl Journal {
    /// The journal at `path`: one of its files, or a folder with that of one run.
    ///
    /// # Errors
    /// There is none, or several, or it cannot be read.
    pub fn open(path: &Path) -> Result<Journal, TraceError> {
        let journal = Journal { run: journals(path)? };
        match journal.beginning().version {
            VERSION => Ok(journal),
            other => Err(TraceError::Newer { path: path.to_owned(), version: (other as u16, 0) }),
        }
    }

    /// Which run it is of.
    pub fn header(&self) -> &Header {
        &self.run.header
    }

    /// How that run began.
    pub fn beginning(&self) -> &JournalHeader {
        static NONE: JournalHeader =
            JournalHeader { version: 0, file: String::new(), pipeline: String::new(), venues: Vec::new() };
        self.run.header.journal.as_ref().unwrap_or(&NONE)
    }

    /// The entries of a venue.
    pub fn entries(&self, venue: u16) -> Entries {
        Entries { reader: self.run.read(), venue, slots: VecDeque::new(), known: 0, lost: false, end: None }
    }
}

impl Entries {
    /// The next entry; `None` behind the last.
    ///
    /// # Errors
    /// A file cannot be opened or read any longer.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        while self.slots.is_empty() {
            if self.end.is_some() || !self.refill()? {
                return Ok(None);
            }
        }
        // Decoding has seen to it that whole entries are here.
        let length = self.slots.front().and_then(slots).unwrap_or(1).min(self.slots.len());
        Ok(Some(self.slots.drain(..length).collect()))
    }

    /// How the journal ends: known behind the last entry.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Take the next block over. False when there is none that can be used.
    fn refill(&mut self) -> Result<bool, TraceError> {
        loop {
            let block = match self.reader.next()? {
                Some(Block::Journal(block)) => block,
                Some(_) => continue,
                None => {
                    self.end = Some(match (self.lost, self.reader.losses().unfinished) {
                        (true, _) => {
                            End::Broken(format!("the way to the recorder was full after entry {}", self.known))
                        }
                        (_, true) => End::Unfinished,
                        _ => End::InOrder,
                    });
                    return Ok(false);
                }
            };
            let broken = match decode(&block) {
                Some(decoded) if decoded.venue != self.venue => continue,
                Some(decoded) if decoded.before == self.known => {
                    self.known += decoded.entries;
                    self.lost |= decoded.lost;
                    self.slots.extend(decoded.slots);
                    return Ok(true);
                }
                Some(decoded) => {
                    let missing = decoded.before.saturating_sub(self.known);
                    format!("{missing} entries are missing after entry {}: a block of them is gone", self.known)
                }
                None => format!("the block behind entry {} makes no sense", self.known),
            };
            self.end = Some(End::Broken(broken));
            return Ok(false);
        }
    }
}
