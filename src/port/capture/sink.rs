//! Frames come in from one lcore, a ns pcap comes out, written by a thread of its own.
//!
//! The lcore copies frames into [`Block`]s that two SPSC rings carry to the writer and back; it never waits, allocates
//! or makes a system call. When the writer falls behind by the whole window the sink accepts nothing for a while: the
//! frames stay with the caller and none is lost. The file is written as `OUT.part` and gets its name only when
//! everything is in it; a run that fails leaves neither.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use super::block::{Block, Record};
use super::format::{self, CaptureError, Packet};

/// Blocks of 1 MiB between lcore and writer.
const WINDOW: usize = 8;
/// How long the writer sleeps when there is nothing to write: the lcore cannot wake it without a system call.
const NAP: Duration = Duration::from_micros(200);

/// Takes frames: writes them to a file, or only counts them.
pub struct CaptureSink {
    file: Option<Output>,
    frames: u64,
    bytes: u64,
}

struct Output {
    path: PathBuf,
    /// The block being filled; `None` while the writer has all of them.
    block: Option<Box<Block>>,
    /// Has room for every block there is, so handing one over never fails.
    to_writer: Option<Producer<Box<Block>>>,
    from_writer: Consumer<Box<Block>>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    /// lcore → writer: every frame has been handed over, the file may have its name.
    complete: AtomicBool,
    /// writer → control: writing failed; what comes is thrown away.
    failed: AtomicBool,
}

impl CaptureSink {
    /// Create `path.part` and start its writer. `on_thread` runs first in the writer thread: place to set its affinity.
    ///
    /// # Errors
    /// [`CaptureError::Write`] when the file cannot be created.
    pub fn create(path: &Path, on_thread: impl FnOnce() + Send + 'static) -> Result<CaptureSink, CaptureError> {
        let part = part_of(path);
        let write = |source| CaptureError::Write { file: path.into(), source };
        let file = File::create(&part).map_err(write)?;
        let (to_writer, blocks) = RingBuffer::<Box<Block>>::new(WINDOW);
        let (mut back, from_writer) = RingBuffer::new(WINDOW);
        for _ in 0..WINDOW {
            let pushed = back.push(Block::touched());
            debug_assert!(pushed.is_ok(), "the ring has room for every block there is");
        }
        let shared = Arc::new(Shared::default());
        let mut writer =
            Writer { path: path.into(), part, out: BufWriter::new(file), blocks, back, shared: shared.clone() };
        let thread = std::thread::Builder::new().name("tickpath-write".into()).spawn(move || {
            on_thread();
            writer.run()
        });
        let thread = thread.map_err(|source| CaptureError::Thread { file: path.into(), source })?;
        let file = Output {
            path: path.into(),
            block: None,
            to_writer: Some(to_writer),
            from_writer,
            shared,
            writer: Some(thread),
        };
        Ok(CaptureSink { file: Some(file), frames: 0, bytes: 0 })
    }

    /// A sink that only counts.
    pub fn counting() -> CaptureSink {
        CaptureSink { file: None, frames: 0, bytes: 0 }
    }

    /// Take one frame; false when the window is full: keep it and come again.
    #[inline]
    pub fn push(&mut self, stamp_ns: u64, bytes: &[u8]) -> bool {
        if let Some(output) = &mut self.file
            && !output.push(Record { stamp_ns, len: bytes.len() as u32, bytes, flags: 0 })
        {
            return false;
        }
        self.frames += 1;
        self.bytes += bytes.len() as u64;
        true
    }

    /// Frames taken.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether writing has failed; [`CaptureSink::finish`] tells why. Frames are still taken, and thrown away.
    pub fn failed(&self) -> bool {
        self.file.as_ref().is_some_and(|output| output.shared.failed.load(Ordering::Relaxed))
    }

    /// Write what is left, close the file and give it its name. Waits for the writer: not for an lcore.
    ///
    /// # Errors
    /// [`CaptureError::Write`]: disk full, file not renamed … Nothing is left under either name.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.file.take().map_or(Ok(()), Output::finish)
    }
}

impl Output {
    #[inline]
    fn push(&mut self, record: Record<'_>) -> bool {
        if let Some(block) = &mut self.block {
            if block.push(record) {
                return true;
            }
            self.hand_over();
        }
        self.block = self.from_writer.pop().ok();
        self.block.as_mut().is_some_and(|block| block.push(record))
    }

    fn hand_over(&mut self) {
        if let (Some(block), Some(to_writer)) = (self.block.take(), &mut self.to_writer) {
            let pushed = to_writer.push(block);
            debug_assert!(pushed.is_ok(), "the ring has room for every block there is");
        }
    }

    fn finish(mut self) -> Result<(), CaptureError> {
        self.hand_over();
        self.shared.complete.store(true, Ordering::Release);
        let written = self.join();
        written.map_err(|source| CaptureError::Write { file: self.path.clone(), source })
    }

    /// Closing our end of the ring ends the writer.
    fn join(&mut self) -> io::Result<()> {
        self.to_writer = None;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer thread panicked")))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Not finished: the writer removes what it wrote. Nobody is left to hear of an error.
        let _ = self.join();
    }
}

/// The writer thread.
struct Writer {
    path: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    blocks: Consumer<Box<Block>>,
    /// Has room for every block there is.
    back: Producer<Box<Block>>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(&mut self) -> io::Result<()> {
        let mut result = format::write_header(&mut self.out);
        while let Some(mut block) = self.next_block() {
            if result.is_ok() {
                result = self.write(&block);
            }
            if result.is_err() {
                self.shared.failed.store(true, Ordering::Relaxed);
            }
            block.clear();
            let pushed = self.back.push(block);
            debug_assert!(pushed.is_ok(), "the ring has room for every block there is");
        }
        if !self.shared.complete.load(Ordering::Acquire) {
            return std::fs::remove_file(&self.part);
        }
        let result = result.and_then(|()| self.out.flush()).and_then(|()| std::fs::rename(&self.part, &self.path));
        if result.is_err() {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&self.part);
        }
        result
    }

    /// Waits for a block; `None` when the lcore's side has closed and all are written.
    fn next_block(&mut self) -> Option<Box<Block>> {
        loop {
            let closed = self.blocks.is_abandoned();
            match self.blocks.pop() {
                Ok(block) => return Some(block),
                Err(_) if closed => return None,
                Err(_) => std::thread::sleep(NAP),
            }
        }
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        let mut at = 0;
        while let Some((Record { stamp_ns, len, bytes, .. }, next)) = block.record(at) {
            format::write_packet(&mut self.out, Packet { stamp_ns, len, bytes })?;
            at = next;
        }
        Ok(())
    }
}

/// `OUT.pcap` → `OUT.pcap.part`.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
