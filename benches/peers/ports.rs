//! A packet received and freed: our capture port beside net_pcap, which copies from memory too (`infinite_rx`).

use super::table::{Rounds, Row, note, row};
use super::{Context, Failure};
use std::time::{Duration, Instant};
use tickpath::dpdk::{Burst, Eal, Mempool, Socket, ethdev, free_burst};
use tickpath::latency::clock::Clock;
use tickpath::port::capture::{CaptureSource, Pace, SourceOptions};
use tickpath::port::{Feed, FeedPort};

const BURST: usize = 32;

/// Packets in a piece.
const PIECE: usize = 10_000;

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let (capture, packets) = context.itch_capture()?;
    let eal = context.eal()?;
    let rounds = if context.quick { 5 } else { 15 };
    // The driver keeps the whole file in mbufs of this pool.
    let held = Mempool::frames(&eal, "bench-pcap", packets as u32 + 8_192, 256, 2048, Socket::Any)?;
    let pool = Mempool::frames(&eal, "bench-capture", 8_191, 256, 2048, Socket::Any)?;
    let mut queue = open(&eal, held)?;
    let laps = SourceOptions { laps: u32::MAX, ..SourceOptions::default() };
    let source = CaptureSource::open(&[capture], laps, || {}).map_err(|e| Failure::Other(e.to_string()))?;
    let mut feed = Feed::new(vec![FeedPort::Capture(source)], Pace::default(), &Clock::fit());
    while !feed.primed() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut burst = Burst::new();
    let [mut ours, mut theirs] = [(); 2].map(|()| Rounds::default());
    for _ in 0..rounds {
        ours.push(pieces(&mut burst, |burst| feed.burst(&pool, BURST, true, burst)));
        theirs.push(pieces(&mut burst, |burst| queue.burst(burst, BURST)));
    }
    row(&Row {
        what: "receive and free one packet, bursts of 32",
        unit: "ns/pkt",
        ours,
        peer: Some(("net_pcap infinite_rx", theirs)),
        target: None,
    });
    note("ours merges lines, stamps each frame with its arrival and reports laps");
    drop(feed);
    drop(queue);
    Ok(())
}

fn open(eal: &Eal, pool: Mempool) -> Result<ethdev::RxQueue, Failure> {
    let config = ethdev::PortConfig {
        rx: vec![ethdev::RxConfig { pool, descriptors: 512 }],
        tx: vec![512],
        ..ethdev::PortConfig::default()
    };
    let started = ethdev::Port::open(eal, "net_pcap0")?.start(&config)?;
    started.rx.into_iter().next().ok_or_else(|| Failure::Other("net_pcap0 has no receive queue".into()))
}

fn pieces(burst: &mut Burst, mut receive: impl FnMut(&mut Burst) -> usize) -> Vec<f64> {
    (0..10)
        .map(|_| {
            let start = Instant::now();
            let mut n = 0;
            while n < PIECE {
                n += receive(burst);
                free_burst(burst);
            }
            start.elapsed().as_nanos() as f64 / n as f64
        })
        .collect()
}
