//! Messages become MoldUDP64 packets at their times: how many ride together, how long the line is quiet, heartbeats, end
//! of session. Out comes one UDP payload after another, undamaged; knows nothing of lines or frames.
//!
//! What it imitates: most packets hold few messages and some are full; gaps between packets are heavy-tailed and come in
//! bursts, about 1 % of them below 300 ns (published for the real feed); messages are stamped 164 to 181 µs before capture.

use super::draw::{Draw, Heavy};
use super::market::{Day, Market};
use super::message::Message;
use super::{Config, Error};
use std::ops::Range;

/// Largest UDP payload: 1,500 bytes of Ethernet less IPv4 and UDP headers.
pub(super) const PAYLOAD_MAX: usize = 1472;
const MOLD_HEADER: usize = 20;
const END_OF_SESSION: u16 = 0xFFFF;
/// Packets that say a session is over.
const FAREWELLS: u32 = 3;
/// Ten-digit hexadecimal session name of the first session.
const FIRST_SESSION: u64 = 0x10059B;
/// Packets between calm and a burst, and back, on average; within a burst gaps are eight times shorter.
const CALM_PACKETS: u64 = 2000;
const BURST_PACKETS: u64 = 400;

/// A MoldUDP64 packet; its bytes are [`Packer`]'s `payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub stamp_ns: u64,
    /// Which session of the run, from 0.
    pub session: u64,
    pub sequence: u64,
    pub messages: u16,
    /// Position of its first message, counted over all sessions.
    pub position: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Heartbeat,
    EndOfSession,
}

pub(super) struct Packer {
    config: Config,
    /// Messages of each session.
    sessions: Vec<u64>,
    draw: Draw,
    gap: Heavy,
    size: Heavy,
    market: Market,
    session: u64,
    /// Messages of the sessions before this one.
    base: u64,
    /// The packet made last.
    pub payload: Vec<u8>,
    /// A message that no longer fitted into the packet before.
    pending: Message,
    /// Time until the next data packet, once drawn.
    wait_ns: Option<u64>,
    in_burst: bool,
    farewells: u32,
    /// Now, ns since midnight.
    time_ns: u64,
    latency_ns: u64,
    stamp_ns: u64,
}

impl Packer {
    pub fn new(config: &Config) -> Result<Packer, Error> {
        config.check()?;
        let sessions = config.sessions();
        Ok(Packer {
            draw: Draw::new(config.seed, 1),
            gap: Heavy::new(36_000, 13),
            size: Heavy::new(26_000, 6),
            market: Market::new(&day(config, &sessions, 0)),
            session: 0,
            base: 0,
            payload: Vec::with_capacity(PAYLOAD_MAX),
            pending: Message::empty(),
            wait_ns: Some(0),
            in_burst: false,
            farewells: 0,
            time_ns: config.start_ns,
            latency_ns: 172_000,
            stamp_ns: 0,
            config: config.clone(),
            sessions,
        })
    }

    /// Positions of the messages of an open market, of each session.
    pub fn open(config: &Config) -> Vec<Range<u64>> {
        let sessions = config.sessions();
        let mut base = 0;
        (0..sessions.len())
            .map(|i| {
                let open = Market::new(&day(config, &sessions, i as u64)).open();
                let range = base + open.start..base + open.end;
                base += sessions[i];
                range
            })
            .collect()
    }

    pub fn live_orders(&self) -> usize {
        self.market.live_orders()
    }

    /// The next packet, `None` after the last session has ended.
    pub fn next(&mut self) -> Option<Datagram> {
        if self.is_session_over() {
            if self.session + 1 == self.sessions.len() as u64 {
                return self.farewell();
            }
            self.base += self.sessions[self.session as usize];
            self.session += 1;
            self.market = Market::new(&day(&self.config, &self.sessions, self.session));
        }
        let wait = match self.wait_ns.take() {
            Some(wait) => wait,
            None => self.draw_wait(),
        };
        let heartbeat = self.config.heartbeat_ns;
        if wait > heartbeat {
            self.time_ns += heartbeat;
            self.wait_ns = Some(wait - heartbeat);
            return Some(self.control(Kind::Heartbeat, 0));
        }
        self.time_ns += wait;
        Some(self.data())
    }

    fn is_session_over(&self) -> bool {
        self.market.is_over() && self.pending.is_empty()
    }

    fn farewell(&mut self) -> Option<Datagram> {
        if self.farewells == FAREWELLS {
            return None;
        }
        self.farewells += 1;
        self.time_ns += self.config.heartbeat_ns;
        Some(self.control(Kind::EndOfSession, END_OF_SESSION))
    }

    fn data(&mut self) -> Datagram {
        let target = match self.config.messages_per_packet {
            Some(fixed) => u64::from(fixed),
            None if self.market.is_spin() => PAYLOAD_MAX as u64,
            None => self.size.whole(&mut self.draw),
        };
        if target >= 4 && self.draw.one_in(2) {
            self.market.focus();
        }
        let first = self.sent();
        self.header(first + 1);
        let mut count = 0u16;
        while u64::from(count) < target {
            if self.pending.is_empty() {
                // A pause of the line ends a packet; so does the end of the session.
                if self.market.is_over() || (count > 0 && self.market.is_quiet()) {
                    break;
                }
                self.time_ns += self.draw.below(64);
                self.market.next(self.time_ns, &mut self.pending);
            }
            let message = self.pending.bytes();
            if self.payload.len() + 2 + message.len() > PAYLOAD_MAX {
                break;
            }
            self.payload.extend((message.len() as u16).to_be_bytes());
            self.payload.extend(message);
            self.pending = Message::empty();
            count += 1;
        }
        self.market.spread_out();
        self.payload[18..MOLD_HEADER].copy_from_slice(&count.to_be_bytes());
        self.datagram(Kind::Data, first + 1, count, self.base + first)
    }

    fn control(&mut self, kind: Kind, count: u16) -> Datagram {
        let sent = self.sent();
        self.header(sent + 1);
        self.payload[18..MOLD_HEADER].copy_from_slice(&count.to_be_bytes());
        self.datagram(kind, sent + 1, 0, self.base + sent)
    }

    fn header(&mut self, sequence: u64) {
        use std::io::Write;
        self.payload.clear();
        // Writing into a vector cannot fail.
        let _ = write!(self.payload, "{:010X}", FIRST_SESSION + self.session);
        self.payload.extend(sequence.to_be_bytes());
        self.payload.extend([0, 0]);
    }

    fn datagram(&mut self, kind: Kind, sequence: u64, messages: u16, position: u64) -> Datagram {
        // The latency wanders between the bounds measured on captures; a frame (preamble, headers and trailer are 70
        // bytes) takes its time on a 10 Gbit/s wire.
        self.latency_ns = (self.latency_ns + self.draw.below(65)).clamp(164_032, 181_000) - 32;
        let wire_ns = (self.payload.len() as u64 + 70) * 4 / 5;
        let arrival = self.config.midnight_ns + self.time_ns + self.latency_ns;
        self.stamp_ns = arrival.max(self.stamp_ns + wire_ns);
        Datagram { stamp_ns: self.stamp_ns, session: self.session, sequence, messages, position, kind }
    }

    /// Messages of this session in packets so far.
    fn sent(&self) -> u64 {
        self.market.position() - u64::from(!self.pending.is_empty())
    }

    fn draw_wait(&mut self) -> u64 {
        if !self.pending.is_empty() {
            return 0; // the rest of what filled the packet before
        }
        if self.market.is_quiet() {
            return self.config.heartbeat_ns * 5 / 2;
        }
        if self.draw.one_in(100) {
            return 60 + self.draw.below(237);
        }
        let mean_messages = match self.config.messages_per_packet {
            Some(fixed) => u64::from(fixed) << 16,
            None if self.market.is_spin() => 48 << 16,
            None => self.size.mean() - (1 << 15), // whole numbers: half a message less on average
        };
        // Without the bursts a gap would be this long on average: an eighth of it in a burst.
        let calm = CALM_PACKETS + BURST_PACKETS;
        let mean_ns = (mean_messages * 1_000_000_000 / self.config.rate) >> 16;
        let calm_ns = mean_ns * 8 * calm / (8 * CALM_PACKETS + BURST_PACKETS);
        let ns =
            (u128::from(self.gap.fixed(&mut self.draw)) * u128::from(calm_ns) / u128::from(self.gap.mean())) as u64;
        let stay = if self.in_burst { BURST_PACKETS } else { CALM_PACKETS };
        self.in_burst ^= self.draw.one_in(stay);
        if self.in_burst { ns / 8 } else { ns }
    }
}

fn day<'a>(config: &'a Config, sessions: &[u64], number: u64) -> Day<'a> {
    Day {
        seed: config.seed,
        number,
        messages: sessions[number as usize],
        symbols: config.symbols,
        mix: &config.mix,
        live_orders: config.live_limit(),
    }
}
