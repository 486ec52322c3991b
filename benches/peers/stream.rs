//! Generated feeds in memory: UDP payloads back to back, as parse hands them to a feed.

use std::ops::Range;
use tickpath::synth::{Config, Generator};
use tickpath::wire::{ethernet, ipv4, moldudp64, udp};

/// Payloads of one line.
pub struct Stream {
    bytes: Vec<u8>,
    payloads: Vec<Range<usize>>,
    /// Messages before each payload.
    before: Vec<u64>,
    messages: u64,
}

impl Stream {
    /// The stream that `config` describes.
    pub fn new(config: &Config) -> Stream {
        let mut generator = Generator::new(config).expect("the configurations of the benches can be made");
        let mut stream = Stream { bytes: Vec::new(), payloads: Vec::new(), before: Vec::new(), messages: 0 };
        while let Some(packet) = generator.next_packet() {
            stream.push(payload(packet.bytes));
        }
        stream
    }

    fn push(&mut self, payload: &[u8]) {
        let packet = moldudp64::Packet::parse(payload).expect("generated packets are whole");
        self.payloads.push(self.bytes.len()..self.bytes.len() + payload.len());
        self.before.push(self.messages);
        self.bytes.extend_from_slice(payload);
        self.messages += u64::from(packet.count());
    }

    /// Payloads of the packets that begin at message `from` or later and before `to`.
    pub fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &[u8]> + Clone {
        let at = |message: u64| self.before.partition_point(|&before| before < message);
        self.payloads[at(from)..at(to)].iter().map(|range| &self.bytes[range.clone()])
    }

    /// All payloads.
    #[allow(dead_code)] // not every bench asks
    pub fn all(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.between(0, u64::MAX)
    }

    /// Messages in all.
    #[allow(dead_code)]
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

/// Messages in these payloads.
pub fn count<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> u64 {
    payloads.filter_map(|p| moldudp64::Packet::parse(p).ok()).map(|p| u64::from(p.count())).sum()
}

fn payload(frame: &[u8]) -> &[u8] {
    const WHOLE: &str = "generated frames are whole";
    let ip = ipv4::Packet::parse(ethernet::Frame::parse(frame).expect(WHOLE).payload()).expect(WHOLE);
    udp::Datagram::parse(ip.payload()).expect(WHOLE).payload()
}
