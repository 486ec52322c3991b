//! One trace file in, its blocks out, in order. What is damaged is passed over and counted: a reader looks for the next
//! block whose checksums are good, and the records' index tells how many are missing. It never panics on any bytes.

use super::error::guess;
use super::format::{
    BLOCK_MAGIC, BlockHead, FileHead, HEAD_BYTES, MAX_HEADER, MAX_PAYLOAD, RECORD_BYTES, VERSION, file_crc, kind,
};
use super::{ClockFit, Header, TraceError};
use crate::latency::interval::Interval;
use crate::latency::record::{self, Record};
use bytemuck::Zeroable;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes read ahead: room for the longest block and as much again.
/// Most venues of a header that are believed: a venue has figures of a tenth of a megabyte in every reader.
const MOST_VENUES: usize = 256;
const WINDOW: usize = 2 * (HEAD_BYTES + MAX_PAYLOAD);

/// What a block holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Block<'a> {
    /// Records, in the order in which they were taken.
    Records(&'a [Record]),
    /// Evidence of an interval that ends here.
    Interval(Box<Interval>),
    /// A better fit of the clock than the header's.
    Clock(ClockFit),
    /// Entries of a journal, as [`crate::journal`] writes them.
    Journal(Vec<u8>),
    /// The run ended in order: nothing follows.
    End,
}

/// What a file lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Bytes that belong to no good block.
    pub bytes_skipped: u64,
    /// Those of them behind the last good block: a crash or a cut in the middle of one.
    pub torn_tail: u64,
    /// Records in damaged blocks, as far as the index tells.
    pub records_damaged: u64,
    /// Records that were not written, because the disk was full or failed.
    pub records_unwritten: u64,
    /// Good blocks of kinds that this version does not know.
    pub unknown_blocks: u64,
}

impl Damage {
    /// Nothing was lost.
    pub fn is_none(&self) -> bool {
        *self == Damage { unknown_blocks: self.unknown_blocks, ..Damage::default() }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Damage) -> Damage {
        Damage {
            bytes_skipped: self.bytes_skipped + other.bytes_skipped,
            torn_tail: self.torn_tail + other.torn_tail,
            records_damaged: self.records_damaged.saturating_add(other.records_damaged),
            records_unwritten: self.records_unwritten.saturating_add(other.records_unwritten),
            unknown_blocks: self.unknown_blocks + other.unknown_blocks,
        }
    }
}

/// Reads one file. Holds a window of two blocks and one block of records, whatever the file's size.
#[derive(Debug)]
pub struct Reader<R = File> {
    path: PathBuf,
    source: R,
    header: Header,
    first_index: u64,
    /// What was read and not yet consumed is `window[start..end]`.
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// The records of the block at hand …
    records: Vec<Record>,
    /// … unless it is evidence.
    evidence: Option<Block<'static>>,
    /// Index that the next record should have.
    expected: u64,
    /// Index behind the last record that a good head spoke of, good payload or not.
    announced: u64,
    /// Bytes skipped since the last good block.
    skipping: u64,
    damage: Damage,
    ended: bool,
}

impl Reader<File> {
    /// The trace file at `path`.
    ///
    /// # Errors
    /// One that cannot be read, is something else, is of a newer format, or whose head is damaged.
    pub fn open(path: &Path) -> Result<Reader<File>, TraceError> {
        let refused = |err| TraceError::Io { doing: "read", path: path.to_owned(), err };
        let file = File::open(path).map_err(refused)?;
        Reader::new(path, file)
    }
}

impl<R: Read> Reader<R> {
    /// The trace in `source`, called `path` in errors.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(path: &Path, mut source: R) -> Result<Reader<R>, TraceError> {
        let path = path.to_owned();
        let refused = |err| TraceError::Io { doing: "read", path: path.clone(), err };
        let damaged = |found: &str| TraceError::Head { path: path.clone(), found: found.to_owned() };
        let mut head = Vec::with_capacity(HEAD_BYTES);
        source.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(refused)?;
        let Some(bytes) = head.first_chunk::<HEAD_BYTES>() else {
            return Err(match super::format::MAGIC.starts_with(&head[..head.len().min(8)]) && !head.is_empty() {
                true => damaged("the file ends within it"),
                false => TraceError::Foreign { found: guess(&head), path },
            });
        };
        let Some(found) = FileHead::parse(bytes) else {
            return Err(TraceError::Foreign { found: guess(&head), path });
        };
        if found.major != VERSION.0 {
            return Err(TraceError::Newer { version: (found.major, found.minor), path });
        }
        if found.json_bytes as usize > MAX_HEADER {
            return Err(damaged("it says that it is longer than a head can be"));
        }
        let mut json = Vec::new();
        source.by_ref().take(u64::from(found.json_bytes)).read_to_end(&mut json).map_err(refused)?;
        if json.len() != found.json_bytes as usize {
            return Err(damaged("the file ends within it"));
        }
        if file_crc(bytes, &json) != found.crc {
            return Err(damaged("its checksum is wrong"));
        }
        let layout = (u32::from(found.record_version), usize::from(found.record_bytes));
        if layout != (record::VERSION, RECORD_BYTES) {
            return Err(damaged(&format!("records of version {} with {} bytes", layout.0, layout.1)));
        }
        let header: Header = serde_json::from_slice(&json).map_err(|err| damaged(&format!("its JSON: {err}")))?;
        let hz = header.clock.tsc_hz;
        if hz != 0.0 && !(1e6..=1e11).contains(&hz) {
            return Err(damaged(&format!("a TSC of {hz} Hz")));
        }
        if header.venues.len() > MOST_VENUES {
            return Err(damaged(&format!("{} venues; at most {MOST_VENUES} are known", header.venues.len())));
        }
        Ok(Reader {
            path,
            source,
            header,
            first_index: found.first_index,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            records: Vec::new(),
            evidence: None,
            expected: found.first_index,
            announced: found.first_index,
            skipping: 0,
            damage: Damage::default(),
            ended: false,
        })
    }

    /// Which run it is of, and on what host.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Index in the run of its first record.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// Index in the run of the record that would come next.
    pub fn next_index(&self) -> u64 {
        self.expected
    }

    /// The run ended in order, in this file. Known when everything was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What was lost up to here; of the whole file when everything was read.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// The next good block; `None` behind the last.
    ///
    /// # Errors
    /// The file can no longer be read. Damage is no error: see [`Reader::damage`].
    #[expect(clippy::should_implement_trait, reason = "a block borrows the reader's buffer")]
    pub fn next(&mut self) -> Result<Option<Block<'_>>, TraceError> {
        Ok(self.step()?.then(|| self.block()))
    }

    /// Go to the next good block; `false` behind the last.
    pub(super) fn step(&mut self) -> Result<bool, TraceError> {
        loop {
            let Some(head) = self.find()? else {
                self.close();
                return Ok(false);
            };
            let payload = self.start + HEAD_BYTES..self.start + HEAD_BYTES + head.payload_bytes as usize;
            self.start = payload.end;
            self.account(&head);
            let bytes = &self.window[payload];
            self.evidence = match head.kind {
                kind::RECORDS => {
                    self.records.resize(head.count as usize, Record::zeroed());
                    bytemuck::cast_slice_mut(&mut self.records).copy_from_slice(bytes);
                    None
                }
                kind::INTERVAL => serde_json::from_slice(bytes).ok().map(Block::Interval),
                kind::CLOCK => serde_json::from_slice(bytes).ok().map(Block::Clock),
                kind::JOURNAL => Some(Block::Journal(bytes.to_vec())),
                kind::END => {
                    self.ended = true;
                    Some(Block::End)
                }
                _ => None,
            };
            if head.kind == kind::RECORDS || self.evidence.is_some() {
                return Ok(true);
            }
            self.damage.unknown_blocks += 1;
        }
    }

    /// The block that the last step went to.
    pub(super) fn block(&mut self) -> Block<'_> {
        self.evidence.take().unwrap_or(Block::Records(&self.records))
    }

    /// Skip to the next block whose checksums are good and have all of it in the window; its head.
    fn find(&mut self) -> Result<Option<BlockHead>, TraceError> {
        while self.fill(HEAD_BYTES)? {
            // `fill` has seen to it that there are as many bytes.
            let bytes: &[u8; HEAD_BYTES] = self.window[self.start..].first_chunk().expect("the window was filled");
            if let Some(head) = BlockHead::parse(bytes) {
                let length = HEAD_BYTES + head.payload_bytes as usize;
                let whole = self.fill(length)?;
                let good = |w: &[u8]| crc32fast::hash(&w[HEAD_BYTES..length]) == head.payload_crc;
                if whole && good(&self.window[self.start..self.end]) {
                    return Ok(Some(head));
                }
                if head.index >= self.expected {
                    self.announced = self.announced.max(head.index.saturating_add(u64::from(head.count)));
                }
            }
            let rest = &self.window[self.start + 1..self.end];
            let next = rest.iter().position(|byte| *byte == BLOCK_MAGIC[0]).unwrap_or(rest.len());
            self.skip(1 + next);
        }
        Ok(None)
    }

    /// Records that should have come before this block and did not.
    fn account(&mut self, head: &BlockHead) {
        let missing = head.index.saturating_sub(self.expected);
        match self.skipping > 0 {
            true => self.damage.records_damaged = self.damage.records_damaged.saturating_add(missing),
            false => self.damage.records_unwritten = self.damage.records_unwritten.saturating_add(missing),
        }
        self.skipping = 0;
        self.expected = self.expected.max(head.index.saturating_add(u64::from(head.count)));
    }

    /// What is left is shorter than a block.
    fn close(&mut self) {
        self.skip(self.end - self.start);
        self.damage.torn_tail = self.skipping;
        let missing = self.announced.saturating_sub(self.expected);
        self.damage.records_damaged = self.damage.records_damaged.saturating_add(missing);
        self.expected = self.expected.max(self.announced);
        self.skipping = 0;
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.skipping += bytes as u64;
        self.damage.bytes_skipped += bytes as u64;
    }

    /// Have `bytes` in the window, at most a block; `false` when the file ends before.
    fn fill(&mut self, bytes: usize) -> Result<bool, TraceError> {
        while self.end - self.start < bytes {
            if self.start + bytes > self.window.len() || self.start == self.end {
                self.window.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            match self.source.read(&mut self.window[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(self.refused(err)),
            }
        }
        Ok(true)
    }

    fn refused(&self, err: io::Error) -> TraceError {
        TraceError::Io { doing: "read", path: self.path.clone(), err }
    }
}
