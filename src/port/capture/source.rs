//! Capture files come in, packets go out to one lcore, which never waits, allocates or makes a system call for them.
//!
//! An ordinary thread, the loader, reads and inflates the files and lays their packets into [`Block`]s; two SPSC rings
//! carry filled blocks to the lcore and empty ones back. At most `window_blocks` exist. Several laps over an input that
//! fits the window replay the blocks that are there already; over a larger one the loader reads the files again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use super::block::{Block, FILE_START, PACKET_MAX, Record};
use super::format::{CaptureError, Packet, Reader, Stop};
use crate::cpu;

/// How far ahead of the packet at hand to prefetch, in words: five cache lines.
const PREFETCH_WORDS: usize = 40;
/// How long the loader sleeps when the window is full: the lcore cannot wake it without a system call.
const NAP: Duration = Duration::from_micros(100);

/// What to replay and how much memory to take for it.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions {
    /// Times to deliver the whole input. 0 is taken for 1.
    pub laps: u32,
    /// Blocks of 1 MiB that may exist at once; at least 2.
    pub window_blocks: usize,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions { laps: 1, window_blocks: 256 }
    }
}

/// What the lcore finds at the head of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A packet is there.
    At(Key),
    /// The loader has not caught up.
    Starved,
    /// Every lap has been delivered.
    End,
}

/// Orders the packets of several sources: by lap, then by stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Lap, from 0.
    pub lap: u32,
    /// Capture stamp, ns since 1970.
    pub stamp_ns: u64,
}

/// The packet at the head of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next<'a> {
    /// Stamp, length, bytes.
    pub record: Record<'a>,
    /// Lap, from 0.
    pub lap: u32,
    /// It is the first of its lap.
    pub lap_start: bool,
}

impl Next<'_> {
    /// Its place among the packets of other sources.
    pub fn key(&self) -> Key {
        Key { lap: self.lap, stamp_ns: self.record.stamp_ns }
    }

    /// Whether the capture's time may begin anew here: see [`Pacer::due`](super::Pacer::due).
    pub fn restarts(&self) -> bool {
        self.lap_start || self.record.flags & FILE_START != 0
    }
}

/// Something about a file that the user should hear of when the replay is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub file: PathBuf,
    /// Packets delivered from it in a lap.
    pub packets: u64,
    /// What was found.
    pub what: String,
    /// False when the file was merely cut at its end or holds packets that are not Ethernet; true when it is damaged or
    /// could not be read, so that more than a cut may be missing.
    pub damage: bool,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}; {} packets of it were replayed", self.file.display(), self.what, self.packets)
    }
}

/// Packets of a list of capture files, for one lcore.
pub struct CaptureSource {
    filled: Consumer<Box<Block>>,
    /// Has room for every block there is, so sending one back never fails.
    empty: Producer<Box<Block>>,
    block: Option<Box<Block>>,
    /// Word of `block` where the packet at hand begins.
    at: usize,
    /// Blocks delivered in the first lap, kept for the next ones while the input may fit the window.
    kept: VecDeque<Box<Block>>,
    keep: bool,
    /// The whole input is in `kept` and `block`.
    resident: bool,
    /// Lap of the packet at hand.
    lap: u32,
    laps: u32,
    laps_done: u32,
    /// No packet of this lap has been delivered yet.
    lap_start: bool,
    ended: bool,
    shared: Arc<Shared>,
    loader: Option<JoinHandle<()>>,
}

/// What loader and lcore tell each other beside the rings.
#[derive(Default)]
struct Shared {
    /// lcore → loader: give up.
    stop: AtomicBool,
    /// loader → lcore: the input does not fit the window, send the blocks back.
    overflow: AtomicBool,
    /// loader → control: the window is full or the input is in it.
    primed: AtomicBool,
    warnings: Mutex<Vec<Warning>>,
}

impl CaptureSource {
    /// Check every file's header and start loading. `on_thread` runs first in the loader thread: place to set its
    /// affinity and priority, because a thread started after EAL's init inherits a one-CPU mask.
    ///
    /// # Errors
    /// [`CaptureError`]: a missing, empty or foreign file, one without Ethernet frames, no file at all.
    pub fn open(
        files: &[PathBuf],
        options: SourceOptions,
        on_thread: impl FnOnce() + Send + 'static,
    ) -> Result<CaptureSource, CaptureError> {
        let first = files.first().ok_or(CaptureError::NoFiles)?;
        for file in files {
            Reader::open(file)?;
        }
        let window = options.window_blocks.max(2);
        let (to_lcore, filled) = RingBuffer::new(window);
        let (empty, from_lcore) = RingBuffer::new(window);
        let shared = Arc::new(Shared::default());
        let laps = options.laps.max(1);
        let mut loader = Loader {
            files: files.to_vec(),
            laps,
            to_lcore,
            supply: Supply { from_lcore, made: 0, window, shared: shared.clone() },
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new().name("tickpath-load".into()).spawn(move || {
            on_thread();
            loader.run();
        });
        let thread = thread.map_err(|source| CaptureError::Thread { file: first.clone(), source })?;
        Ok(CaptureSource {
            filled,
            empty,
            block: None,
            at: 0,
            kept: VecDeque::with_capacity(window + 1),
            keep: laps > 1,
            resident: false,
            lap: 0,
            laps,
            laps_done: 0,
            lap_start: true,
            ended: false,
            shared,
            loader: Some(thread),
        })
    }

    /// Whether the window is full or the whole input in it: from here on the loader is ahead if it ever will be.
    pub fn primed(&self) -> bool {
        self.shared.primed.load(Ordering::Acquire) || self.filled.is_abandoned()
    }

    /// Where the packet at hand stands among those of other sources.
    #[inline]
    pub fn head(&mut self) -> Head {
        match self.peek().map(|next| next.key()) {
            Some(key) => Head::At(key),
            None if self.ended => Head::End,
            None => Head::Starved,
        }
    }

    /// The packet at hand, until [`CaptureSource::advance`]; `None` when starved or [`ended`](CaptureSource::ended).
    #[inline]
    pub fn peek(&mut self) -> Option<Next<'_>> {
        if !self.at_record() && !self.next_block() {
            return None;
        }
        let (record, _) = self.block.as_ref()?.record(self.at)?;
        Some(Next { record, lap: self.lap, lap_start: self.lap_start })
    }

    /// Step over the packet at hand.
    #[inline]
    pub fn advance(&mut self) {
        let Some(block) = &self.block else { return };
        if let Some((_, next)) = block.record(self.at) {
            self.at = next;
            self.lap_start = false;
            let ahead = &block.words()[(next + PREFETCH_WORDS).min(block.words().len() - 1)];
            cpu::prefetch(ahead);
        }
    }

    /// Laps delivered to their end.
    pub fn laps_done(&self) -> u32 {
        self.laps_done
    }

    /// Whether every lap has been delivered.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What was wrong with the files so far: complete once the source has ended.
    pub fn warnings(&self) -> Vec<Warning> {
        self.shared.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[inline(always)]
    fn at_record(&self) -> bool {
        self.block.as_ref().is_some_and(|block| self.at < block.used())
    }

    /// Leave the block at hand for the next one that holds a packet. False when there is none yet, or none any more.
    #[cold]
    fn next_block(&mut self) -> bool {
        while !self.ended {
            if let Some(done) = self.block.take() {
                let last = done.last;
                self.put_away(done);
                if last && !self.next_lap() {
                    return false;
                }
            }
            let next = if self.resident { self.kept.pop_front() } else { self.filled.pop().ok() };
            let Some(next) = next else {
                self.starved();
                return false;
            };
            (self.block, self.at) = (Some(next), 0);
            if self.at_record() {
                return true;
            }
        }
        false
    }

    fn put_away(&mut self, done: Box<Block>) {
        if self.keep {
            // Never grows: it has room for every block there is.
            self.kept.push_back(done);
        } else {
            self.send_back(done);
        }
        if self.keep && !self.resident && self.shared.overflow.load(Ordering::Acquire) {
            self.release_kept();
        }
    }

    /// Begin the next lap; false when that was the last, or a lap turned out to hold no packet.
    fn next_lap(&mut self) -> bool {
        self.resident = self.keep;
        self.laps_done += 1;
        if self.laps_done == self.laps || self.lap_start {
            self.ended = true;
            return false;
        }
        self.lap += 1;
        self.lap_start = true;
        true
    }

    fn starved(&mut self) {
        if self.keep && self.shared.overflow.load(Ordering::Acquire) {
            self.release_kept();
        }
        // A loader that died sends no last block. Its end of the ring goes after its last push.
        if self.filled.is_abandoned() {
            self.ended = self.filled.is_empty();
        }
    }

    fn release_kept(&mut self) {
        self.keep = false;
        while let Some(block) = self.kept.pop_front() {
            self.send_back(block);
        }
    }

    fn send_back(&mut self, block: Box<Block>) {
        let sent = self.empty.push(block);
        debug_assert!(sent.is_ok(), "the ring has room for every block there is");
    }
}

impl Drop for CaptureSource {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(loader) = self.loader.take() {
            // A loader that panicked has said so on stderr, and the packets it did deliver stand.
            let _ = loader.join();
        }
    }
}

/// The loader thread.
struct Loader {
    files: Vec<PathBuf>,
    laps: u32,
    /// Has room for every block there is.
    to_lcore: Producer<Box<Block>>,
    supply: Supply,
    shared: Arc<Shared>,
}

/// Where the loader's empty blocks come from.
struct Supply {
    from_lcore: Consumer<Box<Block>>,
    made: usize,
    window: usize,
    shared: Arc<Shared>,
}

impl Loader {
    fn run(&mut self) {
        for lap in 0..self.laps {
            if self.lap(lap).is_none() || !self.shared.overflow.load(Ordering::Relaxed) {
                break;
            }
        }
        self.shared.primed.store(true, Ordering::Release);
    }

    /// All files once; `None` when told to stop.
    fn lap(&mut self, lap: u32) -> Option<()> {
        let mut block = self.supply.next()?;
        for file in self.files.clone() {
            let mut packets = 0;
            let warn = |what: String, damage, packets| {
                if lap == 0 {
                    let mut warnings = self.shared.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                    warnings.push(Warning { file: file.clone(), packets, what, damage });
                }
            };
            let mut reader = match Reader::open(&file) {
                Ok(reader) => reader,
                Err(error) => {
                    warn(format!("could not be read again: {error}"), true, 0);
                    continue;
                }
            };
            loop {
                let Packet { stamp_ns, len, bytes } = match reader.next() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    Err(stop) => {
                        warn(stop.to_string(), matches!(stop, Stop::Damaged(_)), packets);
                        break;
                    }
                };
                debug_assert!(bytes.len() <= PACKET_MAX);
                let record = Record { stamp_ns, len, bytes, flags: if packets == 0 { FILE_START } else { 0 } };
                if !block.push(record) {
                    send(&mut self.to_lcore, std::mem::replace(&mut block, self.supply.next()?));
                    block.push(record);
                }
                packets += 1;
            }
            if reader.foreign_packets() > 0 {
                warn(format!("holds {} packets that are not Ethernet", reader.foreign_packets()), false, packets);
            }
        }
        block.last = true;
        send(&mut self.to_lcore, block);
        Some(())
    }
}

fn send(to_lcore: &mut Producer<Box<Block>>, block: Box<Block>) {
    let sent = to_lcore.push(block);
    debug_assert!(sent.is_ok(), "the ring has room for every block there is");
}

impl Supply {
    /// An empty block: one that came back, a new one while the window allows, or a wait; `None` when told to stop.
    fn next(&mut self) -> Option<Box<Block>> {
        loop {
            if self.shared.stop.load(Ordering::Acquire) {
                return None;
            }
            if let Ok(mut block) = self.from_lcore.pop() {
                block.clear();
                return Some(block);
            }
            if self.made < self.window {
                self.made += 1;
                return Some(Block::untouched());
            }
            self.shared.overflow.store(true, Ordering::Release);
            self.shared.primed.store(true, Ordering::Release);
            std::thread::sleep(NAP);
        }
    }
}
