//! The account of a generated stream: what the exchange sent, what was done to it. Text for a person, JSON for a test.

use super::damage::DamageKind;
use super::packer::{Datagram, Kind};
use super::{Config, Protocol};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What was sent, and what harm was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    #[serde(skip)]
    protocol: Protocol,
    /// The seed.
    pub seed: u64,
    /// Frames of each line that can be received, damaged ones and duplicates included.
    pub packets: Vec<u64>,
    /// Messages by type, as the exchange sent them: before any harm.
    #[serde(serialize_with = "by_letter")]
    pub messages: BTreeMap<u8, u64>,
    /// Data packets, as the exchange sent them.
    pub data_packets: u64,
    /// Heartbeats, as the exchange sent them.
    pub heartbeats: u64,
    /// End-of-session packets, as the exchange sent them.
    pub ends_of_session: u64,
    /// Sessions.
    pub sessions: u64,
    /// Orders that stand at the end of the last session.
    pub live_orders: u64,
    /// First capture stamp, ns since the Unix epoch.
    pub first_stamp_ns: u64,
    /// Last capture stamp, ns since the Unix epoch.
    pub last_stamp_ns: u64,
    /// Every damaged packet, in the order of the stream.
    pub injected: Vec<Injected>,
}

/// One damaged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// What happened to it.
    pub kind: DamageKind,
    /// Its session, from 0.
    pub session: u64,
    /// Sequence number of its first message.
    pub sequence: u64,
    /// Messages in it.
    pub messages: u16,
}

impl Summary {
    pub(super) fn new(config: &Config) -> Summary {
        let lines = if config.second_line.is_some() { 2 } else { 1 };
        Summary { protocol: config.protocol, seed: config.seed, packets: vec![0; lines], ..Summary::default() }
    }

    /// Messages of all types, before any harm.
    pub fn total_messages(&self) -> u64 {
        self.messages.values().sum()
    }

    /// Damaged packets of one kind, and the messages in them.
    pub fn injected_of(&self, kind: DamageKind) -> (u64, u64) {
        let of_kind = self.injected.iter().filter(|injected| injected.kind == kind);
        of_kind.fold((0, 0), |(packets, messages), i| (packets + 1, messages + u64::from(i.messages)))
    }

    /// Gaps, and messages missing in them, that a receiver of the first line alone finds when it refuses damaged frames
    /// and takes a late packet for a repetition.
    pub fn first_line_gaps(&self) -> (u64, u64) {
        use DamageKind::*;
        let kinds = [Gap, Reorder, Truncate, BadIpChecksum, BadUdpChecksum];
        kinds
            .iter()
            .map(|&kind| self.injected_of(kind))
            .fold((0, 0), |(g, m), (gaps, messages)| (g + gaps, m + messages))
    }

    pub(super) fn count_packet(&mut self, line: usize, stamp_ns: u64) {
        if self.first_stamp_ns == 0 {
            self.first_stamp_ns = stamp_ns;
        }
        self.last_stamp_ns = stamp_ns;
        self.packets[line] += 1;
    }

    pub(super) fn count_datagram(&mut self, datagram: &Datagram, payload: &[u8]) {
        self.sessions = datagram.session + 1;
        match datagram.kind {
            Kind::Heartbeat => self.heartbeats += 1,
            Kind::EndOfSession => self.ends_of_session += 1,
            Kind::Data => {
                self.data_packets += 1;
                let mut at = self.protocol.header();
                for _ in 0..datagram.messages {
                    *self.messages.entry(payload[at + 2]).or_default() += 1;
                    at += 2 + self.protocol.length([payload[at], payload[at + 1]]);
                }
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.last_stamp_ns - self.first_stamp_ns) as f64 / 1e9;
        let total = self.total_messages();
        let mean = total as f64 / self.data_packets.max(1) as f64;
        let packets: u64 = self.packets.iter().sum();
        writeln!(f, "packets          {packets} on {} line(s), {seconds:.3} s of market", self.packets.len())?;
        writeln!(f, "messages         {total}, {mean:.1} a packet, {:.0} a second", total as f64 / seconds.max(1e-9))?;
        write!(f, "by type         ")?;
        for (&kind, count) in &self.messages {
            write!(f, " {} {count}", kind as char)?;
        }
        writeln!(f)?;
        writeln!(f, "sessions         {}", self.sessions)?;
        writeln!(f, "heartbeats       {}, end of session {}", self.heartbeats, self.ends_of_session)?;
        writeln!(f, "live orders      {} at the end", self.live_orders)?;
        let kinds = [
            (DamageKind::Gap, "lost"),
            (DamageKind::Duplicate, "duplicated"),
            (DamageKind::Reorder, "overtaken"),
            (DamageKind::Truncate, "truncated"),
            (DamageKind::BadIpChecksum, "bad IP checksum"),
            (DamageKind::BadUdpChecksum, "bad UDP checksum"),
            (DamageKind::SecondLineLoss, "lost on line B"),
        ];
        for (kind, name) in kinds {
            let (packets, messages) = self.injected_of(kind);
            if packets > 0 {
                writeln!(f, "{name:<16} {packets} packets with {messages} messages")?;
            }
        }
        Ok(())
    }
}

impl Protocol {
    /// Bytes in front of the first message of a payload.
    fn header(self) -> usize {
        match self {
            Protocol::Itch50 => 20,
            Protocol::Deep10 => 40,
        }
    }

    /// The length written in front of a message.
    fn length(self, bytes: [u8; 2]) -> usize {
        usize::from(match self {
            Protocol::Itch50 => u16::from_be_bytes(bytes),
            Protocol::Deep10 => u16::from_le_bytes(bytes),
        })
    }
}

fn by_letter<S: serde::Serializer>(messages: &BTreeMap<u8, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(messages.iter().map(|(&kind, count)| ((kind as char).to_string(), count)))
}
