//! Records and evidence in, trace files out: the recorder's end.
//!
//! Records gather for at most [`HOLD`], or until a block is full, and then lie in the file by one write. A disk that is
//! full or fails costs the block that it refused, counted; the next block is tried again. Nothing is synced: a killed
//! process loses the block that was gathering, a host without power what the kernel had not written yet.

use super::format::{BlockHead, HEAD_BYTES, MAX_HEADER, MAX_PAYLOAD, RECORD_BYTES, file_head, kind};
use super::run::{JOURNAL, TRACE};
use super::{ClockFit, Header, TraceError};
use crate::latency::interval::Interval;
use crate::latency::record::Record;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time that a record waits for its block to fill.
pub const HOLD: Duration = Duration::from_millis(100);
/// Records of a full block: 256 KiB.
pub const BLOCK_RECORDS: usize = 2048;

/// When a file is followed by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that no file exceeds, unless its head and one block do.
    pub max_bytes: u64,
    /// Age at which a file is followed by the next as soon as there is something to write.
    pub max_age: Duration,
}

impl Default for Rotation {
    /// A gibibyte, 8 million records; an hour.
    fn default() -> Rotation {
        Rotation { max_bytes: 1 << 30, max_age: Duration::from_secs(3600) }
    }
}

/// What became of everything handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written.
    pub records: u64,
    /// Bytes written, heads included.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Records that could not be written.
    pub lost: u64,
    /// Intervals, clock fits and pieces of a journal that could not be written.
    pub evidence_lost: u64,
}

/// Writes the files of one run into one folder. Dropped, it writes what it holds, without the end of the run.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    extension: &'static str,
    header: Header,
    rotation: Rotation,
    file: File,
    /// Bytes of `file` up to the end of its last whole block; what lies behind is cut off.
    length: u64,
    /// Bytes of its head.
    head_bytes: u64,
    begun: Instant,
    /// Room for a block's head, then the records that wait.
    block: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Records handed in: the index of the next.
    index: u64,
    /// Index that a reader expects behind the last block written: where the next file begins, so that what was lost
    /// between two files is missed in the second.
    accounted: u64,
    counters: Counters,
    failure: Option<io::Error>,
}

impl Writer {
    /// The writer of the run `header.run`. Makes `folder` if there is none, and the run's first file: `header.file` is
    /// set for each file.
    ///
    /// # Errors
    /// The folder or the file cannot be made, or holds a file of this run already.
    pub fn create(folder: &Path, header: Header, rotation: Rotation) -> Result<Writer, TraceError> {
        Writer::files(folder, TRACE, header, rotation)
    }

    /// The same, of the run's journal: files of their own beside the trace.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn journal(folder: &Path, header: Header, rotation: Rotation) -> Result<Writer, TraceError> {
        Writer::files(folder, JOURNAL, header, rotation)
    }

    fn files(folder: &Path, extension: &'static str, header: Header, rotation: Rotation) -> Result<Writer, TraceError> {
        let refused = |doing, path: &Path| {
            let path = path.to_owned();
            move |err| TraceError::Io { doing, path, err }
        };
        std::fs::create_dir_all(folder).map_err(refused("create", folder))?;
        let header = Header { file: 0, ..header };
        let path = folder.join(file_name(&header, extension));
        let (file, head_bytes) = begin(&path, &header, 0).map_err(refused("create", &path))?;
        let mut block = Vec::with_capacity(HEAD_BYTES + BLOCK_RECORDS * RECORD_BYTES);
        block.resize(HEAD_BYTES, 0);
        Ok(Writer {
            folder: folder.to_owned(),
            extension,
            header,
            rotation,
            file,
            length: head_bytes,
            head_bytes,
            begun: Instant::now(),
            block,
            since: None,
            index: 0,
            accounted: 0,
            counters: Counters { bytes: head_bytes, files: 1, ..Counters::default() },
            failure: None,
        })
    }

    /// Take `records`, in the order in which they came.
    pub fn records(&mut self, records: &[Record]) {
        let mut rest = records;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK_RECORDS - self.waiting()));
            self.block.extend_from_slice(bytemuck::cast_slice(now));
            self.index += now.len() as u64;
            rest = later;
            if self.waiting() == BLOCK_RECORDS {
                self.flush();
            }
        }
        if self.waiting() > 0 && self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Take the evidence of an interval, behind every record taken so far.
    pub fn interval(&mut self, interval: &Interval) {
        // Strings, numbers and maps with string keys: nothing in it can fail to become JSON.
        self.block(kind::INTERVAL, &serde_json::to_vec(interval).expect("an interval is plain data"));
    }

    /// Take a better fit of the clock: readers use the last of the run.
    pub fn clock(&mut self, fit: &ClockFit) {
        // As above.
        self.block(kind::CLOCK, &serde_json::to_vec(fit).expect("a fit is plain data"));
        // The files to come begin with it.
        self.header.clock = *fit;
    }

    /// Write what has waited for [`HOLD`]. To be called a few times in that time.
    pub fn tick(&mut self) {
        self.tick_at(Instant::now());
    }

    /// Write what waits, and the end of the run.
    pub fn finish(mut self) -> Counters {
        self.flush();
        self.write(&BlockHead::of(kind::END, self.index, 0, &[]).bytes(), self.index);
        self.counters
    }

    /// So far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the last block could not be written; `None` when it was.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// The file that is being written.
    pub fn path(&self) -> PathBuf {
        self.folder.join(file_name(&self.header, self.extension))
    }

    fn tick_at(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= HOLD) {
            self.flush();
        }
    }

    fn waiting(&self) -> usize {
        (self.block.len() - HEAD_BYTES) / RECORD_BYTES
    }

    fn flush(&mut self) {
        let count = self.waiting();
        self.since = None;
        if count == 0 {
            return;
        }
        let first = self.index - count as u64;
        let head = BlockHead::of(kind::RECORDS, first, count as u32, &self.block[HEAD_BYTES..]);
        self.block[..HEAD_BYTES].copy_from_slice(&head.bytes());
        let mut block = std::mem::take(&mut self.block);
        match self.write(&block, self.index) {
            true => self.counters.records += count as u64,
            false => self.counters.lost += count as u64,
        }
        block.truncate(HEAD_BYTES);
        self.block = block;
    }

    /// Take a piece of a journal, behind everything taken so far. False when it is not in the file.
    pub fn entries(&mut self, payload: &[u8]) -> bool {
        self.block(kind::JOURNAL, payload)
    }

    /// A block of another kind than records, behind every record taken so far.
    fn block(&mut self, kind: u16, payload: &[u8]) -> bool {
        self.flush();
        let mut block = BlockHead::of(kind, self.index, 0, payload).bytes().to_vec();
        block.extend_from_slice(payload);
        // A reader would take a longer one for damage.
        let written = payload.len() <= MAX_PAYLOAD && self.write(&block, self.index);
        self.counters.evidence_lost += u64::from(!written);
        written
    }

    /// One block, whole or not at all: whether it lies in the file. `behind` is the index behind its last record.
    fn write(&mut self, block: &[u8], behind: u64) -> bool {
        let full = self.length + block.len() as u64 > self.rotation.max_bytes && self.length > self.head_bytes;
        if full || self.begun.elapsed() >= self.rotation.max_age {
            self.rotate();
        }
        match write_once(&mut self.file, block) {
            Ok(written) if written == block.len() => {
                self.length += written as u64;
                self.counters.bytes += written as u64;
                self.accounted = behind;
                self.failure = None;
                true
            }
            outcome => {
                let torn = outcome.as_ref().map_or(0, |written| *written as u64);
                // What cannot be cut off stays, and a reader finds its way past it.
                if torn > 0 && self.file.set_len(self.length).is_err() {
                    self.length += torn;
                }
                self.failure = Some(outcome.err().unwrap_or_else(|| ErrorKind::StorageFull.into()));
                false
            }
        }
    }

    /// The next file. Where none can be made, the one that is there goes on, and the next block tries again.
    fn rotate(&mut self) {
        let header = Header { file: self.header.file + 1, ..self.header.clone() };
        let path = self.folder.join(file_name(&header, self.extension));
        let Ok((file, head_bytes)) = begin(&path, &header, self.accounted) else { return };
        self.header = header;
        self.file = file;
        self.length = head_bytes;
        self.head_bytes = head_bytes;
        self.begun = Instant::now();
        self.counters.files += 1;
        self.counters.bytes += head_bytes;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `<run>-<file>.tptrace`, or `.tpjournal`.
fn file_name(header: &Header, extension: &str) -> String {
    format!("{}-{:04}.{extension}", header.run, header.file)
}

/// A new file with its head, or none.
fn begin(path: &Path, header: &Header, first_index: u64) -> io::Result<(File, u64)> {
    let head = file_head(header, first_index);
    if head.len() > HEAD_BYTES + MAX_HEADER {
        return Err(io::Error::new(ErrorKind::InvalidInput, "its header is longer than 4 MiB"));
    }
    // Appending: a write begins where the file ends, also after a torn block was cut off.
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    match write_once(&mut file, &head) {
        Ok(written) if written == head.len() => Ok((file, head.len() as u64)),
        outcome => {
            // A file without a whole head is of no use to anybody.
            let _ = std::fs::remove_file(path);
            Err(outcome.err().unwrap_or_else(|| ErrorKind::StorageFull.into()))
        }
    }
}

/// One write(2). Less than everything means that there is no room for the rest.
fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Reader, runs};
    use super::*;

    fn header() -> Header {
        Header { run: "20260102T030405Z-7".into(), ..Header::default() }
    }

    fn records(from: u64, count: u64) -> Vec<Record> {
        (from..from + count).map(|order_id| Record { order_id, ..Record::default() }).collect()
    }

    #[test]
    fn a_record_is_held_for_a_tenth_of_a_second_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), header(), Rotation::default()).unwrap();
        writer.records(&records(0, 3));
        let since = writer.since.unwrap();
        writer.tick_at(since + HOLD - Duration::from_nanos(1));
        assert_eq!(writer.counters().records, 0);
        writer.tick_at(since + HOLD);
        assert_eq!(writer.counters().records, 3);
        assert_eq!(writer.since, None);
    }

    #[test]
    fn a_file_that_is_old_is_followed_by_the_next_when_there_is_something_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_age: Duration::ZERO, ..Rotation::default() };
        let mut writer = Writer::create(folder.path(), header(), rotation).unwrap();
        writer.flush();
        assert_eq!(writer.counters().files, 1);
        for first in 0..3 {
            writer.records(&records(first, 1));
            writer.flush();
        }
        assert_eq!(writer.counters().files, 4);
    }

    #[test]
    fn a_folder_that_goes_away_costs_nothing_that_still_fits_into_the_file_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        let traces = folder.path().join("traces");
        let rotation = Rotation { max_bytes: 1000, ..Rotation::default() };
        let mut writer = Writer::create(&traces, header(), rotation).unwrap();
        let away = folder.path().join("away");
        std::fs::rename(&traces, &away).unwrap();
        writer.records(&records(0, 100));
        writer.flush();
        writer.records(&records(100, 1));
        writer.flush();
        assert_eq!((writer.counters().files, writer.counters().records), (1, 101));
        std::fs::rename(&away, &traces).unwrap();
        writer.records(&records(101, 1));
        writer.flush();
        assert_eq!((writer.counters().files, writer.counters().lost), (2, 0));
        drop(writer);
        let found = runs(&[traces]).unwrap();
        assert_eq!(found.runs[0].files.len(), 2);
        let mut second = Reader::open(&found.runs[0].files[1].path).unwrap();
        assert_eq!((second.first_index(), second.header().file), (101, 1));
        assert!(matches!(second.next().unwrap(), Some(Block::Records([record])) if record.order_id == 101));
    }

    #[test]
    fn a_run_never_writes_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = Writer::create(folder.path(), header(), Rotation::default()).unwrap();
        let err = Writer::create(folder.path(), header(), Rotation::default()).unwrap_err().to_string();
        assert!(err.contains("20260102T030405Z-7-0000.tptrace"), "{err}");
        assert!(first.path().is_file());
    }
}
