//! A market made up from a seed: Nasdaq TotalView-ITCH 5.0 over MoldUDP64, UDP and VLAN-tagged Ethernet, as realistic as
//! our captures taught us, with damage on request and an account of it. The same market can be told as price levels: IEX
//! DEEP 1.0 over IEX-TP.
//!
//! A [`Config`] goes in. [`Messages`] gives the bare ITCH messages, [`Generator`] the packets of one or two lines with
//! their capture stamps, [`write_pcap`] a capture file. The same configuration gives the same bytes on every machine, and
//! [`Summary`] says what was sent and what harm was done, so that a test can hold a receiver's counters against it.
//! Memory is bounded by `live_orders`, `symbols` and the second line's delay, not by the length of the stream. Never
//! reads anything.

mod damage;
mod deep;
pub(crate) mod draw;
mod frame;
mod market;
mod message;
mod mix;
mod packer;
mod summary;

pub use damage::{Damage, DamageKind};
pub use mix::{Mix, MixError};
pub use summary::{Injected, Summary};

use damage::Plan;
use deep::Translator;
use packer::{Datagram, Kind, Packer};
use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use pcap_file::{DataLink, Endianness, TsResolution};
use std::collections::VecDeque;
use std::io::Write;
use std::net::Ipv4Addr;

/// What to make. Start from [`Config::default`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the packets speak. [`Messages`] are ITCH in any case.
    pub protocol: Protocol,
    /// Everything follows from it.
    pub seed: u64,
    /// ITCH messages of the whole stream, opening and closing ones included.
    pub messages: u64,
    /// Symbols, 1 to 65,535.
    pub symbols: u32,
    /// Message types of the open market.
    pub mix: Mix,
    /// Most orders that may stand at one time; the opening fills the books to seven eighths of it. `None`: a twentieth of
    /// the messages, at most a million.
    pub live_orders: Option<u32>,
    /// Mean messages a second.
    pub rate: u64,
    /// Messages in every packet; `None`: few in most, up to a full packet in some.
    pub messages_per_packet: Option<u16>,
    /// Silence after which a heartbeat is sent. A real line waits a second; the default is shorter, so that a short
    /// capture has some.
    pub heartbeat_ns: u64,
    /// First message, ns since midnight of the exchange.
    pub start_ns: u64,
    /// Midnight of the exchange, ns since the Unix epoch.
    pub midnight_ns: u64,
    /// Where packets go.
    pub line: Line,
    /// A copy of everything on another line.
    pub second_line: Option<SecondLine>,
    /// After this share of the messages (0 to 1) the session breaks off without a farewell and another begins: new
    /// session name, sequence 1, empty books, other locates.
    pub session_change: Option<f64>,
    /// Harm to packets.
    pub damage: Damage,
}

/// What the packets speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Nasdaq TotalView-ITCH 5.0 over MoldUDP64.
    #[default]
    Itch50,
    /// IEX DEEP 1.0 over IEX-TP. It has no end-of-session packet; a session change is another session id.
    Deep10,
}

/// Addressing of a multicast line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Group.
    pub group: Ipv4Addr,
    /// UDP port.
    pub port: u16,
    /// VLAN id of the tag.
    pub vlan: u16,
}

/// A second line with the same messages in the same packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondLine {
    /// Addressing.
    pub line: Line,
    /// How far it runs behind the first.
    pub delay_ns: u64,
    /// Packets that it loses; never one that the first line loses too.
    pub loss: u32,
}

/// A configuration that cannot be made, or a capture that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not enough messages for the symbols' opening.
    #[error(
        "{symbols} symbols need at least {needed} messages to open and close a session, found {found}; ask for more messages or fewer symbols"
    )]
    TooFewMessages {
        /// Fewest messages.
        needed: u64,
        /// What a session would have.
        found: u64,
        /// Symbols asked for.
        symbols: u32,
    },
    /// More damage than the stream has room for.
    #[error(
        "{asked} damaged packets were asked for and there is room for {room} (one in {share} messages of the open market); ask for less damage or more messages"
    )]
    TooMuchDamage {
        /// Damaged packets asked for.
        asked: usize,
        /// Damaged packets that fit.
        room: u64,
        /// Messages that each needs.
        share: u64,
    },
    /// A number out of its range.
    #[error("{what} is {found}; expected {expected}")]
    Range {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// The range.
        expected: &'static str,
    },
    /// The capture could not be written.
    #[error("the capture could not be written: {0}")]
    Write(#[from] pcap_file::PcapError),
}

/// A frame as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Capture stamp, ns since the Unix epoch; never falls.
    pub stamp_ns: u64,
    /// The frame from its destination MAC on, without frame check sequence.
    pub bytes: &'a [u8],
    /// Its length on the wire; more than `bytes` has when it is cut short.
    pub wire_len: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            protocol: Protocol::Itch50,
            seed: 1,
            messages: 1_000_000,
            symbols: 100,
            mix: Mix::day(),
            live_orders: None,
            rate: 100_000,
            messages_per_packet: None,
            heartbeat_ns: 50_000_000,
            start_ns: 34_200_000_000_000,           // 09:30:00
            midnight_ns: 1_692_676_800_000_000_000, // 2023-08-22 00:00 in New York
            line: Line::of(Protocol::Itch50),
            second_line: None,
            session_change: None,
            damage: Damage::default(),
        }
    }
}

impl Line {
    /// The group and port that a protocol's real feed was captured on, in VLAN 141.
    pub fn of(protocol: Protocol) -> Line {
        let (group, port) = match protocol {
            Protocol::Itch50 => (Ipv4Addr::new(233, 54, 12, 111), 26_477),
            Protocol::Deep10 => (Ipv4Addr::new(224, 2, 3, 10), 16_648),
        };
        Line { group, port, vlan: 141 }
    }
}

impl Default for SecondLine {
    fn default() -> SecondLine {
        let line = Line { group: Ipv4Addr::new(233, 49, 196, 111), port: 26_477, vlan: 142 };
        SecondLine { line, delay_ns: 5_000, loss: 0 }
    }
}

impl Config {
    /// Whether this can be made.
    fn check(&self) -> Result<(), Error> {
        let range = |ok: bool, what, found: &dyn ToString, expected| {
            if ok { Ok(()) } else { Err(Error::Range { what, found: found.to_string(), expected }) }
        };
        range((1..=65_535).contains(&self.symbols), "symbols", &self.symbols, "1 to 65535")?;
        range((1..=1_000_000_000).contains(&self.rate), "the rate", &self.rate, "1 to 1000000000 messages a second")?;
        range(self.live_orders != Some(0), "live orders", &0, "at least 1")?;
        range(self.messages_per_packet != Some(0), "messages per packet", &0, "at least 1")?;
        range(self.heartbeat_ns > 0, "the heartbeat interval", &0, "more than 0")?;
        if let Some(share) = self.session_change {
            range(share > 0.0 && share < 1.0, "the session change", &share, "a share of the messages between 0 and 1")?;
        }
        let lines = std::iter::once(&self.line).chain(self.second_line.as_ref().map(|second| &second.line));
        for line in lines {
            range(line.group.is_multicast(), "the group", &line.group, "a multicast address")?;
            range(line.vlan < 4096, "the VLAN id", &line.vlan, "0 to 4095")?;
        }
        let needed = market::fewest_messages(self.symbols);
        match self.sessions().into_iter().min() {
            Some(found) if found < needed => Err(Error::TooFewMessages { needed, found, symbols: self.symbols }),
            _ => Ok(()),
        }
    }

    /// Messages of each session.
    fn sessions(&self) -> Vec<u64> {
        let Some(share) = self.session_change else { return vec![self.messages] };
        let first = (self.messages as f64 * share) as u64;
        vec![first, self.messages - first]
    }

    fn live_limit(&self) -> u32 {
        self.live_orders.unwrap_or_else(|| (self.messages / 20).clamp(1, 1_000_000) as u32)
    }
}

/// The bare messages of a stream, one after another: what [`Generator`] would put into its packets.
pub struct Messages {
    packer: Packer,
    /// Where the next message of the packer's payload starts, and how many are left of it.
    at: usize,
    left: u16,
}

impl Messages {
    /// The messages that `config` describes. Damage does not touch them.
    ///
    /// # Errors
    /// When the configuration cannot be made.
    pub fn new(config: &Config) -> Result<Messages, Error> {
        Ok(Messages { packer: Packer::new(config)?, at: 0, left: 0 })
    }

    /// The next ITCH message, `None` after the last.
    pub fn next_message(&mut self) -> Option<&[u8]> {
        while self.left == 0 {
            self.left = self.packer.next()?.messages;
            self.at = 20;
        }
        let payload = &self.packer.payload;
        let start = self.at + 2;
        let end = start + usize::from(u16::from_be_bytes([payload[self.at], payload[self.at + 1]]));
        self.at = end;
        self.left -= 1;
        Some(&payload[start..end])
    }

    /// Whether the message given last is the last of its packet.
    pub fn is_packet_over(&self) -> bool {
        self.left == 0
    }
}

/// The packets of a stream, in order of their stamps.
pub struct Generator {
    packer: Packer,
    deep: Option<Translator>,
    plan: Plan,
    lines: Vec<LineState>,
    second_delay_ns: u64,
    /// Frames ready to go, of each line.
    ready: [VecDeque<Frame>; 2],
    /// A frame of the first line that waits for its successor to go first.
    held: Option<Frame>,
    /// The frame handed out last; its memory is used again.
    current: Frame,
    spare: Vec<Vec<u8>>,
    draw: draw::Draw,
    over: bool,
    summary: Summary,
}

struct LineState {
    line: Line,
    ip_id: u16,
}

#[derive(Default)]
struct Frame {
    stamp_ns: u64,
    bytes: Vec<u8>,
    wire_len: usize,
}

impl Generator {
    /// The packets that `config` describes.
    ///
    /// # Errors
    /// When the configuration cannot be made.
    pub fn new(config: &Config) -> Result<Generator, Error> {
        let packer = Packer::new(config)?;
        let lines = std::iter::once(&config.line).chain(config.second_line.as_ref().map(|second| &second.line));
        Ok(Generator {
            packer,
            deep: (config.protocol == Protocol::Deep10).then(|| Translator::new(config.midnight_ns)),
            plan: Plan::new(config, &Packer::open(config))?,
            lines: lines.map(|line| LineState { line: line.clone(), ip_id: 0 }).collect(),
            second_delay_ns: config.second_line.as_ref().map_or(0, |second| second.delay_ns),
            ready: [VecDeque::new(), VecDeque::new()],
            held: None,
            current: Frame::default(),
            spare: Vec::new(),
            draw: draw::Draw::new(config.seed, 3),
            over: false,
            summary: Summary::new(config),
        })
    }

    /// The next packet, `None` after the last.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        while self.ready[0].is_empty() && !self.over {
            self.advance();
        }
        let line = match (self.ready[0].front(), self.ready[1].front()) {
            (None, None) => return None,
            (Some(first), Some(second)) => usize::from(second.stamp_ns < first.stamp_ns),
            (first, _) => usize::from(first.is_none()),
        };
        let frame = self.ready[line].pop_front().unwrap_or_default(); // not empty: `line` was chosen for its front
        let last = std::mem::replace(&mut self.current, frame);
        if last.bytes.capacity() > 0 {
            self.spare.push(last.bytes);
        }
        let Frame { stamp_ns, ref bytes, wire_len } = self.current;
        self.summary.count_packet(line, stamp_ns);
        Some(Packet { stamp_ns, bytes, wire_len })
    }

    /// What was sent so far and what harm was done; complete after the last packet.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Takes one packet from the exchange and lets happen to it what is planned.
    fn advance(&mut self) {
        let Some(datagram) = self.packer.next() else {
            self.over = true;
            self.release_held();
            self.summary.live_orders = self.packer.live_orders() as u64;
            return;
        };
        let end = datagram.position + u64::from(datagram.messages);
        let payload = std::mem::take(&mut self.packer.payload);
        match self.deep.take() {
            None => self.send(&datagram, end, &payload),
            Some(mut deep) => {
                for segment in deep.translate(&datagram, &payload) {
                    self.send(&segment.datagram, end, &segment.payload);
                }
                self.deep = Some(deep);
            }
        }
        self.packer.payload = payload;
    }

    /// One packet on its way; `end` is the position behind the messages it stands for.
    fn send(&mut self, datagram: &Datagram, end: u64, payload: &[u8]) {
        self.summary.count_datagram(datagram, payload);
        let harm = match datagram.kind {
            Kind::Data => self.plan.strikes(end),
            Kind::Heartbeat | Kind::EndOfSession => None,
        };
        if let Some(kind) = harm {
            self.summary.injected.push(Injected {
                kind,
                session: datagram.session,
                sequence: datagram.sequence,
                messages: datagram.messages,
            });
        }
        self.first_line(datagram.stamp_ns, payload, harm);
        if self.lines.len() > 1 && harm != Some(DamageKind::SecondLineLoss) {
            let frame = self.frame(1, datagram.stamp_ns + self.second_delay_ns, payload);
            self.ready[1].push_back(frame);
        }
    }

    fn first_line(&mut self, stamp_ns: u64, payload: &[u8], harm: Option<DamageKind>) {
        let mut frame = self.frame(0, stamp_ns, payload);
        match harm {
            Some(DamageKind::Gap) => {
                self.spare.push(frame.bytes);
                return;
            }
            Some(DamageKind::Reorder) => {
                self.held = Some(frame);
                return;
            }
            Some(DamageKind::Duplicate) => {
                let mut again = self.spare.pop().unwrap_or_default();
                again.clone_from(&frame.bytes);
                self.ready[0].push_back(Frame { bytes: again, ..frame });
            }
            Some(DamageKind::Truncate) => {
                let kept = 1 + self.draw.below(frame.wire_len as u64 - 1) as usize;
                frame.bytes.truncate(kept);
            }
            Some(DamageKind::BadIpChecksum) => frame::spoil_checksum(&mut frame.bytes, frame::IP_CHECKSUM),
            Some(DamageKind::BadUdpChecksum) => frame::spoil_checksum(&mut frame.bytes, frame::UDP_CHECKSUM),
            Some(DamageKind::SecondLineLoss) | None => {}
        }
        self.ready[0].push_back(frame);
        self.release_held();
    }

    /// A held frame follows the one that overtook it, at the same time.
    fn release_held(&mut self) {
        if let Some(mut late) = self.held.take() {
            late.stamp_ns = self.ready[0].back().map_or(late.stamp_ns, |frame| frame.stamp_ns);
            self.ready[0].push_back(late);
        }
    }

    fn frame(&mut self, line: usize, stamp_ns: u64, payload: &[u8]) -> Frame {
        let state = &mut self.lines[line];
        let mut bytes = self.spare.pop().unwrap_or_default();
        frame::write(&state.line, state.ip_id, payload, &mut bytes);
        state.ip_id = state.ip_id.wrapping_add(1);
        Frame { stamp_ns, wire_len: bytes.len(), bytes }
    }
}

/// Writes the whole stream as a pcap file (nanosecond stamps, little-endian).
///
/// # Errors
/// When the configuration cannot be made or `out` fails.
pub fn write_pcap<W: Write>(config: &Config, out: W) -> Result<Summary, Error> {
    let mut generator = Generator::new(config)?;
    let header = PcapHeader {
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    };
    let mut pcap = PcapWriter::with_header(out, header)?;
    while let Some(packet) = generator.next_packet() {
        pcap.write_raw_packet(&RawPcapPacket {
            ts_sec: (packet.stamp_ns / 1_000_000_000) as u32,
            ts_frac: (packet.stamp_ns % 1_000_000_000) as u32,
            incl_len: packet.bytes.len() as u32,
            orig_len: packet.wire_len as u32,
            data: packet.bytes.into(),
        })?;
    }
    pcap.into_writer().flush().map_err(pcap_file::PcapError::IoError)?;
    Ok(generator.summary)
}
