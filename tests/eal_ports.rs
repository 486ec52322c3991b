//! Ports on a real EAL, driven by the virtual devices every DPDK has: one process, one test.

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use tickpath::cpu::rdtsc;
use tickpath::dpdk::ethdev::{Offload, PortConfig, RxConfig, Started};
use tickpath::dpdk::{BURST, Burst, Eal, Mempool, Port, RxQueue, Socket, ethdev, free_burst};
use tickpath::latency::clock::DeviceClock;

#[test]
fn ports_keep_their_promises() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let packets: Vec<Vec<u8>> = (0..100).map(|i| (0..60 + i * 13).map(|b| (b + i) as u8).collect()).collect();
    write_pcap(&input, &packets);
    let args = [
        "--no-huge",
        "-m",
        "256",
        "--no-pci",
        "--lcores=0@0",
        &format!("--file-prefix=tickpath-ports-{}", std::process::id()),
        "--vdev=net_null0,size=64",
        "--vdev=net_ring0",
        &format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display()),
    ]
    .map(String::from);
    let eal = Eal::init("tickpath", &args).unwrap();
    let pool = Mempool::frames(&eal, "frames", 4095, 0, 2048, Socket::Any).unwrap();
    let mut names = ethdev::names(&eal);
    names.sort();
    assert_eq!(names, ["net_null0", "net_pcap0", "net_ring0"]);

    a_port_has_one_owner_and_a_known_name(&eal);
    what_a_device_lacks_is_an_error(&eal, &pool);
    net_null_fills_bursts_and_swallows_them(&eal, &pool);
    net_ring_returns_what_was_sent(&eal, &pool);
    net_pcap_delivers_a_capture_and_writes_one(&eal, &pool, &packets);
    assert_eq!(pool.in_use(), 0, "closed ports hold no frames");
    // The writer flushes when the port is closed, which the last queue's drop has done.
    assert_eq!(read_pcap(&output), packets);
}

fn start(eal: &Eal, name: &str, pool: &Mempool) -> Started {
    let rx = vec![RxConfig { pool: pool.clone(), descriptors: 256 }];
    let config = PortConfig {
        rx,
        tx: vec![256],
        checksum: Offload::IfAvailable,
        timestamp: Offload::IfAvailable,
        ..PortConfig::default()
    };
    Port::open(eal, name).unwrap().start(&config).unwrap()
}

fn a_port_has_one_owner_and_a_known_name(eal: &Eal) {
    let port = Port::open(eal, "net_null0").unwrap();
    assert_eq!((port.name(), port.driver().as_str()), ("net_null0", "net_null"));
    let taken = Port::open(eal, "net_null0").unwrap_err().to_string();
    assert!(taken.contains("in use already"), "{taken}");
    let missing = Port::open(eal, "0000:01:00.0").unwrap_err().to_string();
    for word in ["`0000:01:00.0`", "net_null0", "net_pcap0", "net_ring0", "--vdev"] {
        assert!(missing.contains(word), "{missing}");
    }
}

fn what_a_device_lacks_is_an_error(eal: &Eal, pool: &Mempool) {
    let rx = || vec![RxConfig { pool: pool.clone(), descriptors: 256 }];
    let refuse = |config| Port::open(eal, "net_ring0").unwrap().start(&config).unwrap_err().to_string();
    let checksum = refuse(PortConfig { rx: rx(), checksum: Offload::Required, ..PortConfig::default() });
    assert!(checksum.contains("net_ring0") && checksum.contains("does not verify"), "{checksum}");
    let queues = refuse(PortConfig { rx: rx(), tx: vec![256; 99], ..PortConfig::default() });
    assert!(queues.contains("99 are wanted"), "{queues}");
    let stamps = refuse(PortConfig { rx: rx(), timestamp: Offload::Required, ..PortConfig::default() });
    assert!(stamps.contains("net_ring0") && stamps.contains("does not stamp"), "{stamps}");
}

fn net_null_fills_bursts_and_swallows_them(eal: &Eal, pool: &Mempool) {
    let mut started = start(eal, "net_null0", pool);
    let (rx, tx) = (&mut started.rx[0], &mut started.tx[0]);
    let mut burst = Burst::new();
    assert_eq!(rx.burst(&mut burst, BURST), 64);
    assert_eq!(rx.burst(&mut burst, BURST), 0, "a full burst takes no more");
    free_burst(&mut burst);
    assert_eq!(rx.burst(&mut burst, 8), 8, "no more than asked for");
    assert_eq!(rx.burst(&mut burst, BURST), 56);
    assert_eq!((burst[0].len(), burst[0].segments(), burst[0].port()), (64, 1, rx.port().id()));
    assert!(burst.iter().all(|frame| frame.stamp().is_none()), "net_null stamps nothing");
    burst.truncate(10);
    assert_eq!(rx.burst(&mut burst, BURST), 54);
    assert_eq!(tx.burst(&mut burst), 64);
    assert!(burst.is_empty());
    let stats = started.port.stats().unwrap();
    assert_eq!((stats.ipackets, stats.opackets, stats.imissed, stats.rx_nombuf), (182, 64, 0, 0));
    drop(started);
    assert_eq!(pool.in_use(), 0);
}

fn net_ring_returns_what_was_sent(eal: &Eal, pool: &Mempool) {
    let mut started = start(eal, "net_ring0", pool);
    assert!(!started.checksum, "net_ring verifies nothing, and says so");
    let (rx, tx) = (&mut started.rx[0], &mut started.tx[0]);
    let mut burst = Burst::new();
    assert_eq!(rx.burst(&mut burst, BURST), 0);
    let mut sent = 0u32;
    // Until the ring is full: what it does not take stays, in order.
    while burst.is_empty() {
        assert!(pool.alloc_bulk(&mut burst, 48));
        for (i, frame) in (sent..).zip(&mut burst) {
            frame.append(4).unwrap().copy_from_slice(&i.to_be_bytes());
        }
        sent += tx.burst(&mut burst) as u32;
    }
    assert_eq!(burst[0].bytes(), sent.to_be_bytes());
    free_burst(&mut burst);
    let mut received = 0u32;
    while rx.burst(&mut burst, BURST) > 0 {
        for frame in burst.drain(..) {
            assert_eq!(frame.bytes(), received.to_be_bytes());
            received += 1;
        }
    }
    assert_eq!(received, sent);
}

fn net_pcap_delivers_a_capture_and_writes_one(eal: &Eal, pool: &Mempool, packets: &[Vec<u8>]) {
    let Started { port, mut rx, mut tx, timestamp, .. } = start(eal, "net_pcap0", pool);
    assert_eq!((port.driver().as_str(), timestamp, port.firmware()), ("net_pcap", false, None));
    let mut received = Vec::new();
    let mut stamps = Vec::new();
    let mut burst = Burst::new();
    while received.len() < packets.len() && wait(&mut rx[0], &mut burst) {
        received.extend(burst.iter().map(|frame| frame.bytes().to_vec()));
        stamps.extend(burst.iter().map(|frame| frame.stamp()));
        while !burst.is_empty() {
            tx[0].burst(&mut burst);
        }
    }
    assert_eq!(received, packets);
    captured_stamps_are_of_a_clock_that_nobody_can_read(&port, &stamps);
    let stats = port.stats().unwrap();
    assert_eq!((stats.ipackets, stats.opackets), (100, 100));
    drop(port);
    drop(rx);
    let taken = Port::open(eal, "net_pcap0").unwrap_err().to_string();
    assert!(taken.contains("in use already"), "a queue still holds the port: {taken}");
}

/// net_pcap puts the capture's µs on every frame, unasked, and has no clock to fit them by.
fn captured_stamps_are_of_a_clock_that_nobody_can_read(port: &Port, stamps: &[Option<u64>]) {
    let written: Vec<_> = (0..stamps.len() as u64).map(Some).collect();
    assert_eq!(stamps, written, "write_pcap stamps packet i with i µs");
    let mut clock = DeviceClock::new(2_500);
    for _ in 0..20 {
        let before = rdtsc();
        if let Some(ticks) = port.read_clock() {
            clock.add(ticks, before, rdtsc());
        }
    }
    assert!(!clock.is_synchronised());
    assert!(stamps.iter().flatten().all(|stamp| clock.to_tsc(*stamp).is_none()), "unsynchronised, so no number");
}

fn wait(rx: &mut RxQueue, burst: &mut Burst) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    while rx.burst(burst, BURST) == 0 {
        if Instant::now() > until {
            return false;
        }
    }
    true
}

fn write_pcap(path: &Path, packets: &[Vec<u8>]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (i, packet) in packets.iter().enumerate() {
        writer.write_packet(&PcapPacket::new(Duration::from_micros(i as u64), packet.len() as u32, packet)).unwrap();
    }
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet() {
        packets.push(packet.unwrap().data.into_owned());
    }
    packets
}
