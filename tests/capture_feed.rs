//! A feed and an order port over captures, on a real EAL: frames and their arrivals, a pool that runs dry, nothing
//! leaked. One process, one test.

#[path = "common/allocations.rs"]
mod allocations;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tickpath::dpdk::{Burst, Eal, Frame, Mempool, Socket};
use tickpath::latency::clock::Clock;
use tickpath::port::capture::format::{self, Packet};
use tickpath::port::capture::{CaptureSink, CaptureSource, Pace, SourceOptions};
use tickpath::port::{Arrival, Feed, FeedPort, OrderPort};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

#[test]
fn captures_become_frames_and_frames_become_captures() {
    let prefix = format!("--file-prefix=tickpath-feed-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores", "0@0", &prefix].map(String::from);
    let eal = Eal::init("tickpath", &args).unwrap();
    let clock = Clock::fit();
    let folder = tempfile::tempdir().unwrap();
    every_frame_says_where_it_came_from(&eal, &clock, folder.path());
    an_empty_pool_delays_packets_and_loses_none(&eal, &clock, folder.path());
    what_is_too_long_or_was_cut_is_counted(&eal, &clock, folder.path());
    frames_leave_for_the_file_with_their_stamps(&eal, &clock, folder.path());
    the_feed_allocates_nothing(&eal, &clock, folder.path());
}

/// `count` packets of 60 + `i` % `spread` bytes, a microsecond apart from `start_ns` on.
fn capture(folder: &Path, name: &str, start_ns: u64, count: u64, spread: u64) -> PathBuf {
    let path = folder.join(name);
    let mut out = BufWriter::new(File::create(&path).unwrap());
    format::write_header(&mut out).unwrap();
    for i in 0..count {
        let bytes = vec![i as u8; (60 + i % spread) as usize];
        let packet = Packet { stamp_ns: start_ns + i * 1000, len: bytes.len() as u32, bytes: &bytes };
        format::write_packet(&mut out, packet).unwrap();
    }
    out.flush().unwrap();
    path
}

fn feed(clock: &Clock, files: &[PathBuf], laps: u32) -> Feed {
    let line = |file: &PathBuf| {
        let options = SourceOptions { laps, window_blocks: 16 };
        FeedPort::Capture(CaptureSource::open(std::slice::from_ref(file), options, || {}).unwrap())
    };
    let feed = Feed::new(files.iter().map(line).collect(), Pace::default(), clock);
    while !feed.primed() {
        std::thread::yield_now();
    }
    feed
}

/// Everything a feed delivers, by bursts.
fn bursts(feed: &mut Feed, pool: &Mempool, max: usize, mut each: impl FnMut(&mut Burst)) {
    let mut burst = Burst::new();
    let patience = Instant::now() + Duration::from_secs(60);
    while !feed.finished() {
        feed.burst(pool, max, true, &mut burst);
        each(&mut burst);
        assert!(burst.is_empty() && Instant::now() < patience);
    }
    assert_eq!(feed.burst(pool, max, true, &mut burst), 0);
}

fn arrival(frame: &Frame) -> Arrival {
    frame.private().unwrap()
}

fn every_frame_says_where_it_came_from(eal: &Eal, clock: &Clock, folder: &Path) {
    let pool = Mempool::frames(eal, "arrivals", 127, 0, 2048, Socket::Any).unwrap();
    // Line B is half a microsecond behind line A.
    let files = [capture(folder, "a.pcap", 1_000_000, 100, 7), capture(folder, "b.pcap", 1_000_500, 100, 7)];
    let mut feed = feed(clock, &files, 3);
    let mut count = 0;
    bursts(&mut feed, &pool, 8, |burst| {
        let size = burst.len();
        for (position, frame) in burst.drain(..).enumerate() {
            let (lap, within) = (count / 200, count % 200);
            let (line, packet) = (within % 2, within / 2);
            let said = arrival(&frame);
            assert_eq!(said.arrival_ns, 1_000_000 + packet * 1000 + line * 500);
            assert_eq!((u64::from(said.port), u64::from(said.lap)), (line, lap));
            assert_eq!((usize::from(said.burst_position), usize::from(said.burst_size)), (position, size));
            assert_eq!(said.flags == Arrival::NEW_SESSION, lap > 0 && packet == 0);
            assert!(said.rx_tsc > 0);
            assert_eq!(frame.bytes(), vec![packet as u8; (60 + packet % 7) as usize]);
            count += 1;
        }
    });
    assert_eq!(count, 600);
    for line in 0..2 {
        let counters = feed.counters(line);
        assert_eq!((counters.packets, counters.laps, counters.too_long, counters.truncated), (300, 3, 0, 0));
        assert_eq!(counters.bytes, 3 * (0..100).map(|i| 60 + i % 7).sum::<u64>());
    }
    assert_eq!(feed.warnings(), []);
    assert_eq!(pool.in_use(), 0, "spare frames went back");
}

fn an_empty_pool_delays_packets_and_loses_none(eal: &Eal, clock: &Clock, folder: &Path) {
    let pool = Mempool::frames(eal, "tiny", 10, 0, 2048, Socket::Any).unwrap();
    let mut feed = feed(clock, &[capture(folder, "dry.pcap", 0, 500, 7)], 1);
    let (mut held, mut seen) = (Vec::new(), 0u64);
    bursts(&mut feed, &pool, 32, |burst| {
        for frame in burst.drain(..) {
            assert_eq!(arrival(&frame).arrival_ns, seen * 1000);
            seen += 1;
            held.push(frame);
        }
        if held.len() == 10 {
            held.clear();
        }
    });
    drop(held);
    assert_eq!((seen, feed.counters(0).packets), (500, 500));
    assert!(feed.counters(0).pool_empty >= 49, "{:?}", feed.counters(0));
    assert_eq!(pool.in_use(), 0);
}

fn what_is_too_long_or_was_cut_is_counted(eal: &Eal, clock: &Clock, folder: &Path) {
    let pool = Mempool::frames(eal, "short", 63, 0, 100, Socket::Any).unwrap();
    let path = folder.join("lengths.pcap");
    let mut out = File::create(&path).unwrap();
    format::write_header(&mut out).unwrap();
    for (caplen, len) in [(100, 100), (101, 101), (60, 1500), (5000, 5000), (0, 0)] {
        format::write_packet(&mut out, Packet { stamp_ns: 1, len, bytes: &vec![1; caplen] }).unwrap();
    }
    let mut feed = feed(clock, &[path], 1);
    let mut lengths = Vec::new();
    bursts(&mut feed, &pool, 1, |burst| lengths.extend(burst.drain(..).map(|frame| frame.len())));
    assert_eq!(lengths, [100, 60, 0]);
    let counters = feed.counters(0);
    assert_eq!((counters.packets, counters.too_long, counters.truncated, counters.bytes), (3, 2, 1, 160));
    assert_eq!(pool.in_use(), 0);
}

fn frames_leave_for_the_file_with_their_stamps(eal: &Eal, clock: &Clock, folder: &Path) {
    let pool = Mempool::frames(eal, "orders", 127, 0, 2048, Socket::Any).unwrap();
    // 20 MB: more than the window of the sink.
    let (from, to) = (capture(folder, "from.pcap", 77, 30_000, 1400), folder.join("to.pcap"));
    let mut feed = feed(clock, std::slice::from_ref(&from), 1);
    let mut port = OrderPort::Capture(CaptureSink::create(&to, || {}).unwrap());
    let mut count = OrderPort::Capture(CaptureSink::counting());
    bursts(&mut feed, &pool, 32, |burst| {
        let mut stamps: Vec<u64> = burst.iter().map(|frame| arrival(frame).arrival_ns).collect();
        while !burst.is_empty() {
            let taken = port.burst(burst, &stamps);
            stamps.drain(..taken);
            assert_eq!(burst.len(), stamps.len());
        }
        if let Some(frame) = pool.alloc() {
            burst.push(frame);
            assert_eq!(count.burst(burst, &[0]), 1);
        }
    });
    let OrderPort::Capture(sink) = port else { unreachable!() };
    assert_eq!(sink.frames(), 30_000);
    sink.finish().unwrap();
    assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
    assert_eq!(pool.in_use(), 0);
}

fn the_feed_allocates_nothing(eal: &Eal, clock: &Clock, folder: &Path) {
    let pool = Mempool::frames(eal, "quiet", 255, 32, 2048, Socket::Any).unwrap();
    let mut feed = feed(clock, &[capture(folder, "quiet.pcap", 0, 20_000, 240)], 5);
    let mut port = OrderPort::Capture(CaptureSink::counting());
    let (mut burst, stamps) = (Burst::new(), [0; 64]);
    let calls = allocations::calls();
    while !feed.finished() {
        let received = feed.burst(&pool, 32, true, &mut burst);
        port.burst(&mut burst, &stamps[..received]);
    }
    assert_eq!(allocations::calls(), calls);
    assert_eq!(feed.counters(0).packets, 100_000);
}
