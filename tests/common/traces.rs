//! Traces whose content is known: made here, with the program's own writer, for tests of what reads them.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tickpath::latency::budget::{Allowance, Budget};
use tickpath::latency::hop::Hop;
use tickpath::latency::interval::{Interval, LcoreEvidence, LinkEvidence};
use tickpath::latency::record::Record;
use tickpath::latency::trace::{CaptureId, ClockFit, Header, Rotation, VenueHeader, Writer};

/// Ticks of a microsecond: the traces' TSC runs at 2 GHz.
pub const US: u64 = 2_000;
/// TSC at the start.
pub const START: u64 = 1 << 40;

pub const SENT: u8 = 1;
pub const WIRE: u8 = 2;
pub const ACKNOWLEDGED: u8 = 3;
pub const FILLED: u8 = 4;
pub const SAMPLED: u8 = 5;

/// A header of one venue, its clock verified, with a budget of `p50` and `p99` ns for each hop.
pub fn header(budget: &[(Hop, f64, f64)]) -> Header {
    let budget = budget.iter().map(|(hop, p50_ns, p99_ns)| (*hop, Allowance { p50_ns: *p50_ns, p99_ns: *p99_ns }));
    Header {
        run: "20260102T030405Z-7".into(),
        started_ns: 1_767_322_645_000_000_000,
        command: "replay".into(),
        plan_hash: "00ff00ff00ff00ff".into(),
        clock: ClockFit {
            tsc_hz: 2e9,
            error_ppm: 0.5,
            anchor_tsc: START,
            anchor_ns: 1_767_322_645_000_000_000,
            verified: true,
        },
        venues: vec![VenueHeader {
            name: "nasdaq".into(),
            rings: [Some(1024), None, None, None],
            lcores: [2, 3, 3, 3, 3],
            budget: Budget(budget.collect::<BTreeMap<_, _>>()),
        }],
        sample_every: 64,
        captures: vec![CaptureId { port: "feed".into(), name: "itch.pcap".into(), bytes: 1, crc32: 2 }],
        speed: "1x".into(),
        ..Header::default()
    }
}

/// An order received at `rx_tsc`, its hops as long as `spans`.
pub fn order(order_id: u64, rx_tsc: u64, spans: [u64; 5]) -> Record {
    let mut at = rx_tsc;
    let [parsed_tsc, book_tsc, decided_tsc, encoded_tsc, doorbell_tsc] = spans.map(|span| {
        at += span;
        at
    });
    Record {
        kind: SENT,
        order_id,
        sequence: order_id * 10,
        arrival_ns: 1_767_322_645_000_000_000 + (rx_tsc - START) / 2,
        rx_tsc,
        parsed_tsc,
        book_tsc,
        decided_tsc,
        encoded_tsc,
        doorbell_tsc,
        symbol: *b"AAPL    ",
        price: 1_872_300,
        qty: 100,
        burst_size: 4,
        burst_position: 1,
        ..Record::default()
    }
}

/// A folder with one run of these records and intervals, ended in order.
pub fn trace(header: Header, records: &[Record], intervals: &[Interval]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), header, Rotation::default()).unwrap();
    writer.records(records);
    intervals.iter().for_each(|interval| writer.interval(interval));
    writer.finish();
    folder
}

/// A run as a host gives it: `orders` orders and one sampled packet for each, a second for a hundred thousand, evidence every second, and in the
/// seventh second someone who takes the CPU away. The same for the same arguments.
pub fn natural(folder: &Path, orders: u64, venues: usize) -> PathBuf {
    let budget = [
        (Hop::RxParsed, 300.0, 1500.0),
        (Hop::ParsedBook, 250.0, 900.0),
        (Hop::BookDecided, 250.0, 700.0),
        (Hop::DecidedEncoded, 150.0, 400.0),
        (Hop::EncodedDoorbell, 300.0, 800.0),
        (Hop::RxDoorbell, 1250.0, 4000.0),
    ];
    let mut header = header(&budget);
    let names = ["nasdaq", "iex", "bats", "arca"];
    header.venues =
        (0..venues).map(|i| VenueHeader { name: names[i % 4].into(), ..header.venues[0].clone() }).collect();
    header.clock.verified = false;
    let facts = [("kernel.release", "6.1.0-18-amd64"), ("cpu.model", "a model"), ("cpu2.governor", "performance")];
    header.fingerprint.0.extend(facts.map(|(fact, value)| (fact.to_owned(), value.to_owned())));
    let rotation = Rotation { max_bytes: 1 << 40, max_age: Duration::MAX };
    let mut writer = Writer::create(folder, header, rotation).unwrap();
    let path = writer.path();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let typical = [640, 380, 410, 210, 460];
    let mut block = Vec::with_capacity(2);
    for i in 0..orders {
        let second = i / 100_000;
        let rx_tsc = START + i * 10 * US;
        let mut spans = typical.map(|ticks| random.about(ticks));
        // One order in two hundred waits in its burst; in the seventh second the book's lcore is taken away now and then.
        if random.next().is_multiple_of(200) {
            spans[0] += random.about(6 * US);
        }
        if second == 6 && random.next().is_multiple_of(100) {
            spans[1] += random.about(60 * US);
        }
        let venue = (i % venues as u64) as u16;
        let burst_size = 1 + (random.next() % 8) as u16;
        let burst_position = (random.next() % u64::from(burst_size)) as u16;
        let occupancy = [(random.next() % 12) as u16, 0, 0, 0];
        block.clear();
        block.push(Record { venue, burst_size, burst_position, occupancy, ..order(i + 1, rx_tsc, spans) });
        block.push(Record { kind: SAMPLED, order_id: 0, venue, burst_size: 1, ..order(0, rx_tsc + US, spans) });
        writer.records(&block);
        if (i + 1) % 100_000 == 0 {
            let noisy = second == 6;
            let lcore = |lcore| LcoreEvidence {
                lcore,
                cpu: Some(lcore),
                polls: 9_000_000,
                timer_ticks: Some(250),
                interrupts: Some(if noisy { 180 } else { second % 3 }),
                interrupt_names: BTreeMap::from([("eth0-TxRx-3".to_owned(), if noisy { 170 } else { 1 })]),
                involuntary_switches: Some(if noisy && lcore == 3 { 41 } else { 0 }),
                run_queue_wait_ns: Some(if noisy && lcore == 3 { 9_800_000 } else { 0 }),
                ..LcoreEvidence::default()
            };
            let link =
                LinkEvidence { venue: names[0].into(), link: "rx_parse".into(), depth: 1024, fill: 3, high_water: 31 };
            writer.interval(&Interval {
                from_tsc: START + second * 1_000_000 * US,
                to_tsc: START + (second + 1) * 1_000_000 * US,
                lcores: vec![lcore(2), lcore(3)],
                links: vec![link],
                records: 200_000,
                ..Interval::default()
            });
        }
    }
    writer.finish();
    path
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between four fifths and about twice `ticks`, mostly near it.
    fn about(&mut self, ticks: u64) -> u64 {
        let tail = 64 - (self.next() | 1).leading_zeros().min(6);
        ticks * 4 / 5 + self.next() % (ticks / 2) + ticks * u64::from(64 - tail) / 6
    }
}
