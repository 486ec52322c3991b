//! Captures of a feed in, its messages out, by channel, session and sequence number, from whatever line has them. Reads
//! as far as it is asked to and keeps what may still be asked for; messages before the last one asked for are gone.

use crate::feed::{Carried, MAX_LINES, Protocol, session_mark};
use crate::port::capture::CaptureError;
use crate::port::capture::format::Reader;
use crate::wire::{ethernet, ipv4, udp};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;
use std::path::PathBuf;

/// A line that falls back to sequence 1, or further than this, has restarted: as `feed` has it.
const REORDERED: u64 = 4096;

/// What is listened to.
#[derive(Clone, Debug)]
pub struct Listen {
    /// What the feed speaks.
    pub protocol: Protocol,
    /// Each group with its line and channel; empty when everything is line 0, channel 0.
    pub groups: Vec<(SocketAddrV4, u8, u8)>,
    /// Packets with a wrong IPv4 header checksum are not taken.
    pub ip_checksum: bool,
    /// Nor those with a wrong UDP checksum.
    pub udp_checksum: bool,
}

/// The messages of a feed.
pub struct Messages {
    listen: Listen,
    chains: Vec<Chain>,
    sessions: HashMap<(u16, u16), Session>,
    lines: HashMap<(u8, u8), Line>,
    warnings: Vec<String>,
}

/// Files that follow each other.
struct Chain {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, Reader)>,
    /// The next packet and its stamp.
    next: Option<(u64, Vec<u8>)>,
}

/// Messages of one session of a channel.
#[derive(Default)]
struct Session {
    /// Those before it will not be asked for.
    from: u64,
    messages: BTreeMap<u64, Box<[u8]>>,
}

/// What a line showed last.
#[derive(Clone, Copy, Default)]
struct Line {
    session: u128,
    next: u64,
    restarts: u32,
}

impl Messages {
    /// The messages in `captures`: each a list of files that follow each other, the lists side by side.
    ///
    /// # Errors
    /// The first file of a list cannot be read, or is no capture.
    pub fn open(captures: Vec<Vec<PathBuf>>, listen: Listen) -> Result<Messages, CaptureError> {
        let mut chains = Vec::new();
        for files in captures {
            let mut chain = Chain { files: files.into_iter(), open: None, next: None };
            chain.open()?;
            chains.push(chain);
        }
        let (sessions, lines) = (HashMap::new(), HashMap::new());
        let mut messages = Messages { listen, chains, sessions, lines, warnings: Vec::new() };
        for at in 0..messages.chains.len() {
            messages.advance(at);
        }
        Ok(messages)
    }

    /// The message of this number; `None` when no capture has it.
    pub fn find(&mut self, channel: u16, session: u16, sequence: u64) -> Option<&[u8]> {
        let key = (channel, session);
        let kept = self.sessions.entry(key).or_default();
        kept.from = kept.from.max(sequence);
        while kept.messages.first_key_value().is_some_and(|(first, _)| *first < sequence) {
            kept.messages.pop_first();
        }
        while !self.sessions.get(&key)?.messages.contains_key(&sequence) {
            if !self.read() {
                return None;
            }
        }
        self.sessions.get(&key)?.messages.get(&sequence).map(Box::as_ref)
    }

    /// What was wrong with the captures so far.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Take the packet that was captured first. False when there is none.
    fn read(&mut self) -> bool {
        let stamps = self.chains.iter().enumerate().filter_map(|(at, chain)| Some((chain.next.as_ref()?.0, at)));
        let Some((_, at)) = stamps.min() else { return false };
        if let Some((_, bytes)) = self.chains[at].next.take() {
            self.frame(&bytes);
        }
        self.advance(at);
        true
    }

    /// Have the next packet of a chain, if there is one.
    fn advance(&mut self, at: usize) {
        let Messages { chains, warnings, .. } = self;
        let chain = &mut chains[at];
        while let Some((path, reader)) = &mut chain.open {
            match reader.next() {
                Ok(Some(packet)) => {
                    chain.next = Some((packet.stamp_ns, packet.bytes.to_vec()));
                    return;
                }
                Ok(None) => {}
                Err(stop) => warnings.push(format!("{} {stop}", path.display())),
            }
            if let Err(err) = chain.open() {
                warnings.push(err.to_string());
            }
        }
    }

    fn frame(&mut self, bytes: &[u8]) {
        let Some((line, channel, payload)) = payload(&self.listen, bytes) else { return };
        let Some(carried) = Carried::by(self.listen.protocol, payload) else { return };
        let Carried { session, sequence, restarts_at_one, messages } = carried;
        let of_channel = (0..MAX_LINES as u8).filter_map(|line| self.lines.get(&(channel, line)));
        let restarts = of_channel.filter(|line| line.session == session).map(|line| line.restarts).max().unwrap_or(0);
        let of_line = self.lines.entry((channel, line)).or_default();
        if of_line.next == 0 || of_line.session != session {
            *of_line = Line { session, next: sequence.max(1), restarts };
        }
        let fell_back = of_line.next > 1 && (sequence == 1 || of_line.next > sequence.saturating_add(REORDERED));
        if restarts_at_one && fell_back {
            of_line.next = 1;
            of_line.restarts += 1;
        }
        of_line.next = of_line.next.max(sequence.saturating_add(messages.len() as u64));
        let kept = self.sessions.entry((channel.into(), session_mark(session, of_line.restarts))).or_default();
        for (message, at) in messages.into_iter().zip(sequence..) {
            if at >= kept.from {
                kept.messages.entry(at).or_insert_with(|| message.into());
            }
        }
    }
}

impl Chain {
    /// Open the next file; none behind the last.
    fn open(&mut self) -> Result<(), CaptureError> {
        self.open = None;
        if let Some(path) = self.files.next() {
            let reader = Reader::open(&path)?;
            self.open = Some((path, reader));
        }
        Ok(())
    }
}

/// Line, channel and UDP payload of a frame that is listened to.
fn payload<'f>(listen: &Listen, frame: &'f [u8]) -> Option<(u8, u8, &'f [u8])> {
    let ethernet = ethernet::Frame::parse(frame).ok().filter(|frame| frame.ethertype() == ethernet::IPV4)?;
    let ip = ipv4::Packet::parse(ethernet.payload()).ok()?;
    if ip.is_fragment() || ip.protocol() != ipv4::UDP || (listen.ip_checksum && !ip.checksum_fits()) {
        return None;
    }
    let udp = udp::Datagram::parse(ip.payload()).ok()?;
    let to = SocketAddrV4::new(ip.dst(), udp.dst_port());
    let (line, channel) = match listen.groups.is_empty() {
        true => (0, 0),
        false => listen.groups.iter().find(|(group, ..)| *group == to).map(|&(_, line, channel)| (line, channel))?,
    };
    if listen.udp_checksum && udp.checksum(ip.src(), ip.dst()) == udp::ChecksumState::Wrong {
        return None;
    }
    Some((line, channel, udp.payload()))
}
