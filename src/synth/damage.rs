//! Which packets of a stream come to harm. Numbers of each kind of damage go in, a plan by message position comes out;
//! the plan is the same for the same seed and keeps its victims far enough apart that each is seen as one event.

use super::draw::Draw;
use super::{Config, Error};
use serde::Serialize;
use std::ops::Range;

/// Messages that each damaged packet needs around it. Damage falls into the middle half of its share, so two damaged
/// packets are at least 256 messages, and so two packets, apart.
const SHARE: u64 = 512;

/// What can happen to a packet of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// It never arrives.
    Gap,
    /// It arrives twice.
    Duplicate,
    /// It arrives after its successor.
    Reorder,
    /// Its frame is cut short.
    Truncate,
    /// Its IPv4 header checksum is wrong.
    BadIpChecksum,
    /// Its UDP checksum is wrong.
    BadUdpChecksum,
    /// It never arrives on the second line.
    SecondLineLoss,
}

/// How many packets of each kind of damage to inject. All but the last befall the first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Packets that never arrive.
    pub gaps: u32,
    /// Packets that arrive twice.
    pub duplicates: u32,
    /// Packets that arrive after their successor.
    pub reorder: u32,
    /// Packets whose frame is cut short.
    pub truncate: u32,
    /// Packets with a wrong IPv4 header checksum.
    pub bad_ip_checksum: u32,
    /// Packets with a wrong UDP checksum.
    pub bad_udp_checksum: u32,
}

/// Damage still to come, in order of message position.
pub(super) struct Plan {
    steps: std::iter::Peekable<std::vec::IntoIter<(u64, DamageKind)>>,
}

impl Plan {
    /// Spreads what `config` asks for over the open markets (`open`: their positions).
    pub fn new(config: &Config, open: &[Range<u64>]) -> Result<Plan, Error> {
        let d = &config.damage;
        let second = config.second_line.as_ref().map_or(0, |line| line.loss);
        let mut kinds: Vec<DamageKind> = [
            (DamageKind::Gap, d.gaps),
            (DamageKind::Duplicate, d.duplicates),
            (DamageKind::Reorder, d.reorder),
            (DamageKind::Truncate, d.truncate),
            (DamageKind::BadIpChecksum, d.bad_ip_checksum),
            (DamageKind::BadUdpChecksum, d.bad_udp_checksum),
            (DamageKind::SecondLineLoss, second),
        ]
        .into_iter()
        .flat_map(|(kind, n)| std::iter::repeat_n(kind, n as usize))
        .collect();
        let room: u64 = open.iter().map(|range| (range.end - range.start) / SHARE).sum();
        if kinds.len() as u64 > room {
            return Err(Error::TooMuchDamage { asked: kinds.len(), room, share: SHARE });
        }
        let mut draw = Draw::new(config.seed, 2);
        for i in (1..kinds.len()).rev() {
            kinds.swap(i, draw.below(i as u64 + 1) as usize);
        }
        let mut steps = Vec::with_capacity(kinds.len());
        let mut left = kinds.len() as u64;
        let mut room = room;
        for range in open {
            let here = (range.end - range.start) / SHARE;
            let n = (left * here).checked_div(room).unwrap_or(0);
            // Rounding down leaves the last range with what is left, and that fits: n/here never exceeds left/room.
            let n = if std::ptr::eq(range, &open[open.len() - 1]) { left } else { n };
            left -= n;
            room -= here;
            for i in 0..n {
                let share = (range.end - range.start) / n;
                let position = range.start + i * share + share / 4 + draw.below(share / 2);
                steps.push(position);
            }
        }
        let steps: Vec<_> = steps.into_iter().zip(kinds).collect();
        Ok(Plan { steps: steps.into_iter().peekable() })
    }

    /// The damage of the packet that holds the messages up to position `end`, if there is one.
    pub fn strikes(&mut self, end: u64) -> Option<DamageKind> {
        self.steps.next_if(|&(position, _)| position < end).map(|(_, kind)| kind)
    }
}
