//! Capture files: bytes of a pcap or pcapng, gzipped or not, become packets with stamps in ns; and a ns pcap is written.
//!
//! Walks records and blocks itself: the `pcap-file` crate (2.0.0) refuses option lists without an end mark and a
//! four-byte `if_tzone`, both legal, and ignores `if_tsresol`. It is the writer elsewhere, and so this reader's test. Layouts:
//! draft-ietf-opsawg-pcap (pcap) and draft-ietf-opsawg-pcapng (pcapng). Damage never panics and never allocates more
//! than [`BLOCK_MAX`]: what came before it is delivered, then [`Stop`] says what was found.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::block::PACKET_MAX;

/// The longest pcapng block that is read; longer ones are taken for damage.
const BLOCK_MAX: usize = 1 << 24;
/// What is read from the file at a time.
const CHUNK: usize = 1 << 20;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Why a capture could not be opened or an output not be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No file was named.
    #[error("no capture file was given: name at least one pcap or pcapng file")]
    NoFiles,
    /// The operating system refused.
    #[error("cannot read the capture {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("the capture {} is empty (0 bytes): expected a pcap or pcapng file, plain or gzipped", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// Something else than a capture.
    #[error(
        "{} is not a capture: expected a pcap or pcapng file, plain or gzipped, found {found}; \
         `editcap -F nsecpcap IN OUT` converts most formats", file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it starts with.
        found: String,
    },
    /// A capture of something else than Ethernet.
    #[error(
        "the capture {} holds frames of link type {found}: only Ethernet (link type 1) is understood; \
         capture on the Ethernet interface itself, not on `any`", file.display()
    )]
    LinkType {
        /// The file.
        file: PathBuf,
        /// The LINKTYPE_ value.
        found: u32,
    },
    /// A helper thread could not be started.
    #[error("cannot start the thread that serves {}: {source}", file.display())]
    Thread {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The output could not be created, written or renamed.
    #[error("cannot write {}: {source}; nothing was left under that name", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Why a file ended before its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends inside a record: cut while it was written or copied.
    Cut(&'static str),
    /// What is there makes no sense.
    Damaged(String),
}

/// One packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Capture stamp, ns since 1970.
    pub stamp_ns: u64,
    /// Length on the wire.
    pub len: u32,
    /// The captured bytes, at most [`PACKET_MAX`].
    pub bytes: &'a [u8],
}

/// A capture file, packet by packet.
pub struct Reader {
    input: Input,
    form: Form,
    big_endian: bool,
    /// Packets of interfaces that are not Ethernet: left out.
    foreign_packets: u64,
}

enum Form {
    /// Nanoseconds a unit of the stamp's fraction.
    Pcap {
        unit_ns: u64,
    },
    PcapNg {
        interfaces: Vec<Interface>,
        last_stamp_ns: u64,
    },
}

/// What a pcapng interface description says about its packets.
#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    snaplen: u32,
    /// Stamp units a second.
    units: u64,
    /// Seconds to add.
    offset_s: i64,
}

/// A packet's place in the input buffer.
struct Span {
    stamp_ns: u64,
    len: u32,
    at: usize,
    caplen: usize,
}

impl Reader {
    /// Open a capture and check its header.
    ///
    /// # Errors
    /// A missing, empty or foreign file, and one without Ethernet frames.
    pub fn open(file: &Path) -> Result<Reader, CaptureError> {
        let read = |source| CaptureError::Read { file: file.into(), source };
        let mut input = Input::open(file).map_err(read)?;
        let foreign = |found: String| CaptureError::Foreign { file: file.into(), found };
        if !input.want(4).map_err(read)? {
            return match input.rest().len() {
                0 => Err(CaptureError::Empty { file: file.into() }),
                n => Err(foreign(format!("{n} bytes"))),
            };
        }
        let magic = [input.rest()[0], input.rest()[1], input.rest()[2], input.rest()[3]];
        let (unit_ns, big_endian) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (1000, true),
            [0xd4, 0xc3, 0xb2, 0xa1] => (1000, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (1, true),
            [0x4d, 0x3c, 0xb2, 0xa1] => (1, false),
            [0x0a, 0x0d, 0x0d, 0x0a] => return Reader::open_pcapng(input, file),
            _ => return Err(foreign(format!("the bytes {magic:02x?}"))),
        };
        if !input.want(24).map_err(read)? {
            return Err(foreign(format!("a pcap header cut after {} of 24 bytes", input.rest().len())));
        }
        // The upper bits of the link type tell the length of the frame check sequence.
        let link = word(input.rest(), 20, big_endian) & 0xffff;
        if link != ETHERNET {
            return Err(CaptureError::LinkType { file: file.into(), found: link });
        }
        input.skip(24);
        Ok(Reader { input, form: Form::Pcap { unit_ns }, big_endian, foreign_packets: 0 })
    }

    fn open_pcapng(input: Input, file: &Path) -> Result<Reader, CaptureError> {
        let form = Form::PcapNg { interfaces: Vec::new(), last_stamp_ns: 0 };
        let mut reader = Reader { input, form, big_endian: false, foreign_packets: 0 };
        if let Err(stop) = reader.pcapng_head() {
            return Err(CaptureError::Foreign { file: file.into(), found: format!("a pcapng file, {stop}") });
        }
        let Form::PcapNg { interfaces, .. } = &reader.form else { return Ok(reader) };
        match interfaces.first() {
            Some(first) if interfaces.iter().all(|i| i.link != ETHERNET) => {
                Err(CaptureError::LinkType { file: file.into(), found: first.link })
            }
            _ => Ok(reader),
        }
    }

    /// The next packet; `None` at the end of the file.
    ///
    /// # Errors
    /// [`Stop`] when the file ends inside a record or is damaged; it stays there.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Stop> {
        let span = match self.form {
            Form::Pcap { unit_ns } => self.pcap_record(unit_ns)?,
            Form::PcapNg { .. } => self.pcapng_packet()?,
        };
        Ok(span.map(|Span { stamp_ns, len, at, caplen }| Packet {
            stamp_ns,
            len,
            bytes: &self.input.bytes[at..at + caplen],
        }))
    }

    /// Packets left out so far because their interface is not Ethernet.
    pub fn foreign_packets(&self) -> u64 {
        self.foreign_packets
    }

    /// Seconds, fraction, captured length, length, bytes.
    fn pcap_record(&mut self, unit_ns: u64) -> Result<Option<Span>, Stop> {
        if !self.want(16)? {
            return if self.input.rest().is_empty() {
                Ok(None)
            } else {
                Err(Stop::Cut("ends inside a record's header"))
            };
        }
        let head = self.input.rest();
        let field = |at| word(head, at, self.big_endian);
        let stamp_ns = u64::from(field(0)) * 1_000_000_000 + u64::from(field(4)) * unit_ns;
        let (caplen, len) = (checked_caplen(field(8))?, field(12));
        if !self.want(16 + caplen)? {
            return Err(Stop::Cut("ends inside a packet"));
        }
        let at = self.input.from + 16;
        self.input.skip(16 + caplen);
        Ok(Some(Span { stamp_ns, len, at, caplen }))
    }

    /// Every block up to the first packet: its section header and interfaces. Damage behind the section header is
    /// left for [`Reader::next`] to meet again, because packets may precede it in later sections.
    fn pcapng_head(&mut self) -> Result<(), Stop> {
        let mut first = true;
        loop {
            match self.block() {
                Ok(Some((kind, total))) if first || !matches!(kind, 2 | 3 | 6) => {
                    if let Err(stop) = self.pcapng_block(kind, total) {
                        return if first { Err(stop) } else { Ok(()) };
                    }
                    self.input.skip(total);
                }
                Err(stop) if first => return Err(stop),
                _ => return Ok(()),
            }
            first = false;
        }
    }

    fn pcapng_packet(&mut self) -> Result<Option<Span>, Stop> {
        while let Some((kind, total)) = self.block()? {
            let span = self.pcapng_block(kind, total)?;
            self.input.skip(total);
            if span.is_some() {
                return Ok(span);
            }
        }
        Ok(None)
    }

    /// Kind and total length of the block at hand, all of it in the buffer; `None` at the end. A section header sets the
    /// byte order that its own length is read in.
    fn block(&mut self) -> Result<Option<(u32, usize)>, Stop> {
        if !self.want(12)? {
            return if self.input.rest().is_empty() {
                Ok(None)
            } else {
                Err(Stop::Cut("ends inside a block's header"))
            };
        }
        let head = self.input.rest();
        if head[..4] == [0x0a, 0x0d, 0x0d, 0x0a] {
            self.big_endian = match head[8..12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                ref other => return Err(Stop::Damaged(format!("a section header with byte-order mark {other:02x?}"))),
            };
        }
        let head = self.input.rest();
        let (kind, total) = (word(head, 0, self.big_endian), word(head, 4, self.big_endian) as usize);
        if total < 12 || !total.is_multiple_of(4) || total > BLOCK_MAX {
            return Err(Stop::Damaged(format!("a block of {total} bytes")));
        }
        if !self.want(total)? {
            return Err(Stop::Cut("ends inside a block"));
        }
        let trailer = word(self.input.rest(), total - 4, self.big_endian) as usize;
        if trailer != total {
            return Err(Stop::Damaged(format!("a block of {total} bytes that ends as one of {trailer}")));
        }
        Ok(Some((kind, total)))
    }

    /// Understand one block: a packet's place, or `None` for every other kind. Does not step over it.
    fn pcapng_block(&mut self, kind: u32, total: usize) -> Result<Option<Span>, Stop> {
        let Form::PcapNg { interfaces, last_stamp_ns } = &mut self.form else { return Ok(None) };
        let body = &self.input.rest()[8..total - 4];
        let big_endian = self.big_endian;
        let field = |at: usize| {
            let bytes = body.get(at..at + 4);
            bytes.map(|b| word(b, 0, big_endian)).ok_or_else(|| Stop::Damaged(format!("a short block of kind {kind}")))
        };
        let (interface, ticks, lengths, data) = match kind {
            0x0a0d_0d0a => {
                interfaces.clear();
                return Ok(None);
            }
            1 => {
                field(4)?;
                interfaces.push(Interface::parse(body, big_endian));
                return Ok(None);
            }
            // Enhanced packet: interface, stamp high, stamp low, captured length, length.
            6 => (field(0)?, Some(u64::from(field(4)?) << 32 | u64::from(field(8)?)), (field(12)?, field(16)?), 20),
            // Packet (obsolete): interface and drop count share the first word.
            2 => {
                let first = field(0)?;
                let interface = if big_endian { first >> 16 } else { first & 0xffff };
                (interface, Some(u64::from(field(4)?) << 32 | u64::from(field(8)?)), (field(12)?, field(16)?), 20)
            }
            // Simple packet: the first interface, no stamp.
            3 => {
                let len = field(0)?;
                let snaplen = interfaces.first().map_or(0, |i| i.snaplen);
                let cut = if snaplen == 0 { len } else { len.min(snaplen) };
                (0, None, (cut, len), 4)
            }
            _ => return Ok(None),
        };
        let Some(about) = interfaces.get(interface as usize) else {
            return Err(Stop::Damaged(format!("a packet of interface {interface}, which is not described")));
        };
        let caplen = checked_caplen(lengths.0)?;
        if caplen > body.len() - data {
            return Err(Stop::Damaged(format!("a packet of {caplen} bytes in a block of {total}")));
        }
        if about.link != ETHERNET {
            self.foreign_packets += 1;
            return Ok(None);
        }
        let stamp_ns = ticks.map_or(*last_stamp_ns, |ticks| about.stamp_ns(ticks));
        *last_stamp_ns = stamp_ns;
        Ok(Some(Span { stamp_ns, len: lengths.1, at: self.input.from + 8 + data, caplen }))
    }

    fn want(&mut self, bytes: usize) -> Result<bool, Stop> {
        self.input.want(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Stop::Cut("ends inside its gzip stream"),
            _ => Stop::Damaged(error.to_string()),
        })
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Cut(what) => f.write_str(what),
            Stop::Damaged(found) => write!(f, "is damaged: found {found}"),
        }
    }
}

impl Interface {
    /// Link type, reserved, snaplen, options. An option list need not have an end mark.
    fn parse(body: &[u8], big_endian: bool) -> Interface {
        let mut interface = Interface {
            link: u32::from(half(body, 0, big_endian)),
            snaplen: word(body, 4, big_endian),
            units: 1_000_000,
            offset_s: 0,
        };
        let mut options = &body[8..];
        while options.len() >= 4 {
            let (code, len) = (half(options, 0, big_endian), usize::from(half(options, 2, big_endian)));
            let Some(value) = options.get(4..4 + len) else { break };
            match (code, value) {
                (0, _) => break,
                (9, &[resolution]) => interface.units = units(resolution),
                (14, &[_, _, _, _, _, _, _, _]) => {
                    let (a, b) = (word(value, 0, big_endian), word(value, 4, big_endian));
                    let (high, low) = if big_endian { (a, b) } else { (b, a) };
                    interface.offset_s = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                _ => {}
            }
            options = options.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        interface
    }

    fn stamp_ns(&self, ticks: u64) -> u64 {
        let ns = i128::from(ticks) * 1_000_000_000 / i128::from(self.units) + i128::from(self.offset_s) * 1_000_000_000;
        ns.clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// `if_tsresol`: a power of ten, or of two with the top bit set. One finer than 64 bits can count has no meaning here.
fn units(resolution: u8) -> u64 {
    let power = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.saturating_pow(power) } else { 1u64.checked_shl(power).unwrap_or(u64::MAX) }
}

fn checked_caplen(caplen: u32) -> Result<usize, Stop> {
    if caplen as usize > PACKET_MAX {
        return Err(Stop::Damaged(format!("a packet of {caplen} bytes")));
    }
    Ok(caplen as usize)
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

fn half(bytes: &[u8], at: usize, big_endian: bool) -> u16 {
    let two = [bytes[at], bytes[at + 1]];
    if big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
}

/// A file, inflated if need be, and the part of it that is in memory.
struct Input {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    /// `bytes[from..to]` is read and not yet consumed.
    from: usize,
    to: usize,
}

impl Input {
    /// Told by the first bytes, not by the name, whether it is gzipped.
    fn open(path: &Path) -> io::Result<Input> {
        let mut file = BufReader::with_capacity(CHUNK / 4, File::open(path)?);
        let gzipped = io::BufRead::fill_buf(&mut file)?.starts_with(&[0x1f, 0x8b]);
        let source: Box<dyn Read + Send> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Input { source, bytes: vec![0; CHUNK], from: 0, to: 0 })
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    fn skip(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Have `bytes` in memory; false when the file has fewer left.
    fn want(&mut self, bytes: usize) -> io::Result<bool> {
        while self.to - self.from < bytes {
            if self.from + bytes > self.bytes.len() {
                self.bytes.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
                self.bytes.resize(self.bytes.len().max(bytes), 0);
            }
            match self.source.read(&mut self.bytes[self.to..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.to += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Write the header of a little-endian ns pcap of Ethernet frames.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    let words = [0xa1b2_3c4d, 2 | 4 << 16, 0, 0, PACKET_MAX as u32, ETHERNET];
    words.iter().try_for_each(|word: &u32| out.write_all(&word.to_le_bytes()))
}

/// Write one record. A stamp after the year 2106 does not fit and wraps.
pub fn write_packet(out: &mut impl Write, packet: Packet<'_>) -> io::Result<()> {
    let (seconds, ns) = (packet.stamp_ns / 1_000_000_000, packet.stamp_ns % 1_000_000_000);
    let words = [seconds as u32, ns as u32, packet.bytes.len() as u32, packet.len];
    words.iter().try_for_each(|word: &u32| out.write_all(&word.to_le_bytes()))?;
    out.write_all(packet.bytes)
}
