//! Where the market comes from: a seeded generator, or captures of a real feed. Out come the messages of one packet at a
//! time, and when they are due. Nothing is generated or read ahead of what was asked for.

use super::batch::Batch;
use crate::port::capture::CaptureError;
use crate::port::capture::format::Reader;
use crate::synth;
use crate::wire::{ethernet, ipv4, moldudp64, udp};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::vec::IntoIter;

/// A market being told.
pub enum Source {
    /// From a seed.
    Synth(Box<synth::Messages>),
    /// From files.
    Captures(Box<Captures>),
}

impl Source {
    /// Fills `batch` with the messages of the next packet and says when they are due, in ns since some beginning; `None`
    /// at the end.
    pub fn next(&mut self, batch: &mut Batch) -> Option<u64> {
        batch.clear();
        match self {
            Source::Synth(messages) => {
                let mut due_ns = None;
                while let Some(message) = messages.next_message() {
                    due_ns = Some(timestamp(message));
                    batch.push(message);
                    if messages.is_packet_over() {
                        break;
                    }
                }
                due_ns
            }
            Source::Captures(captures) => captures.next(batch),
        }
    }
}

/// The MoldUDP64 packets of capture files, one file after another; of several lines each message once, in order. The first
/// session found is told, and packets of others are passed over.
pub struct Captures {
    files: IntoIter<PathBuf>,
    reader: Option<Reader>,
    session: Option<[u8; 10]>,
    /// Sequence number of the message to come; 0 before the first.
    expected: u64,
    /// Messages that came before their turn, and when.
    early: BTreeMap<u64, (u64, Vec<u8>)>,
}

/// Messages that may wait for an earlier one; with more, what is missing is given up.
const EARLY_MAX: usize = 4096;

impl Captures {
    /// The captures, the first of them open.
    ///
    /// # Errors
    /// No file, or a first file that is no capture.
    pub fn open(files: Vec<PathBuf>) -> Result<Captures, CaptureError> {
        let mut files = files.into_iter();
        let first = files.next().ok_or(CaptureError::NoFiles)?;
        let reader = Some(Reader::open(&first)?);
        Ok(Captures { reader, files, session: None, expected: 0, early: BTreeMap::new() })
    }

    fn next(&mut self, batch: &mut Batch) -> Option<u64> {
        loop {
            let due_ns = self.take_early(batch);
            if due_ns.is_some() {
                return due_ns;
            }
            let Some(reader) = &mut self.reader else { return None };
            match reader.next() {
                Ok(Some(packet)) => {
                    let due_ns = packet.stamp_ns;
                    take(packet.bytes, &mut self.session, |sequence, message| {
                        if sequence > self.expected && self.expected > 0 {
                            self.early.insert(sequence, (due_ns, message.to_vec()));
                        } else if sequence == self.expected || self.expected == 0 {
                            batch.push(message);
                            self.expected = sequence + 1;
                        }
                    });
                    if !batch.is_empty() {
                        return Some(due_ns);
                    }
                }
                Ok(None) => self.reader = self.open_next(),
                Err(stop) => {
                    log::warn!("a capture {stop}; what came before it was published");
                    self.reader = self.open_next();
                }
            }
        }
    }

    /// The message that waits first, if its turn has come: because those before it did, or because they never will.
    fn take_early(&mut self, batch: &mut Batch) -> Option<u64> {
        let is_late = self.early.len() > EARLY_MAX || self.reader.is_none();
        loop {
            let first = self.early.first_entry().filter(|first| *first.key() <= self.expected || is_late)?;
            let (sequence, (due_ns, message)) = first.remove_entry();
            // Unless the other line has brought it meanwhile.
            if sequence >= self.expected {
                batch.push(&message);
                self.expected = sequence + 1;
                return Some(due_ns);
            }
        }
    }

    fn open_next(&mut self) -> Option<Reader> {
        let opened = Reader::open(&self.files.next()?);
        opened.inspect_err(|err| log::warn!("{err}")).ok()
    }
}

/// Hands on the messages of a frame with their sequence numbers.
fn take(frame: &[u8], session: &mut Option<[u8; 10]>, mut see: impl FnMut(u64, &[u8])) {
    let Some(payload) = udp_payload(frame) else { return };
    let Ok(packet) = moldudp64::Packet::parse(payload) else { return };
    if packet.count() == 0 || *session.get_or_insert(packet.session()) != packet.session() {
        return;
    }
    for (message, sequence) in packet.messages().zip(packet.sequence()..) {
        let Ok(message) = message else { return };
        see(sequence, message);
    }
}

fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    const IPV4: u16 = 0x0800;
    const UDP: u8 = 17;
    let frame = ethernet::Frame::parse(frame).ok().filter(|frame| frame.ethertype() == IPV4)?;
    let packet = ipv4::Packet::parse(frame.payload()).ok().filter(|packet| packet.protocol() == UDP)?;
    udp::Datagram::parse(packet.payload()).ok().map(|datagram| datagram.payload())
}

/// Time of an ITCH message, ns since midnight.
fn timestamp(message: &[u8]) -> u64 {
    message.get(5..11).map_or(0, |time| time.iter().fold(0, |ns, &byte| ns << 8 | u64::from(byte)))
}
