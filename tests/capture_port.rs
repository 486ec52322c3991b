//! Captures as ports, without EAL: what is in the files arrives, in order, with its stamps; damage costs a warning; the
//! lcore's side allocates nothing. Files are written by hand after the specifications or by the `pcap-file` crate.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;
use tickpath::port::capture::format::Reader;
use tickpath::port::capture::{
    CaptureError, CaptureSink, CaptureSource, Head, Next, Pace, Pacer, Replay, SourceOptions, Speed, Warning,
};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Stamp in ns, length on the wire, bytes.
type Packet = (u64, u32, Vec<u8>);

const START_NS: u64 = 1_692_705_600_000_000_000;

/// Packets of all sorts of lengths, µs stamps, every seventh cut by the capture.
fn packets(count: u64) -> Vec<Packet> {
    let packet = |i: u64| {
        let len = (i * 37 % 1500) as usize;
        let bytes = (0..len).map(|b| (b as u64 + i) as u8).collect();
        (START_NS + i * 1_234_000, len as u32 + if i % 7 == 3 { 100 } else { 0 }, bytes)
    };
    (0..count).map(packet).collect()
}

fn pcap(packets: &[Packet], ts_resolution: TsResolution, endianness: Endianness) -> Vec<u8> {
    let header = PcapHeader { ts_resolution, endianness, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    let unit = if ts_resolution == TsResolution::NanoSecond { 1 } else { 1000 };
    for (stamp, len, bytes) in packets {
        let raw = RawPcapPacket {
            ts_sec: (stamp / 1_000_000_000) as u32,
            ts_frac: (stamp % 1_000_000_000 / unit) as u32,
            incl_len: bytes.len() as u32,
            orig_len: *len,
            data: Cow::Borrowed(bytes),
        };
        writer.write_raw_packet(&raw).unwrap();
    }
    writer.into_writer()
}

/// Three interfaces in turn: µs by default, ns by `if_tsresol` 9, 2^-20 s by `if_tsresol` 0x94.
fn pcapng(packets: &[Packet], endianness: Endianness) -> Vec<u8> {
    let section = SectionHeaderBlock { endianness, ..SectionHeaderBlock::default() };
    let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
    for resolution in [None, Some(9), Some(0x94)] {
        let options = resolution.map(InterfaceDescriptionOption::IfTsResol).into_iter().collect();
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        writer.write_pcapng_block(interface).unwrap();
    }
    for (i, (stamp, len, bytes)) in packets.iter().enumerate() {
        let ticks = match i % 3 {
            0 => stamp / 1000,
            1 => *stamp,
            // Rounded up, so that rounding down gives the ns back to within a tick.
            _ => ((u128::from(*stamp) << 20).div_ceil(1_000_000_000)) as u64,
        };
        let packet = EnhancedPacketBlock {
            interface_id: i as u32 % 3,
            // The crate writes the duration's nanoseconds as they are: ticks of any unit.
            timestamp: Duration::from_nanos(ticks),
            original_len: *len,
            data: Cow::Borrowed(bytes),
            options: vec![],
        };
        writer.write_pcapng_block(packet).unwrap();
    }
    writer.into_inner()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn open(files: &[PathBuf], laps: u32, window_blocks: usize) -> CaptureSource {
    CaptureSource::open(files, SourceOptions { laps, window_blocks }, || {}).unwrap()
}

/// Everything a source delivers, with its lap; and its warnings.
fn drain(mut source: CaptureSource) -> (Vec<(u32, Packet)>, Vec<Warning>) {
    let mut all = Vec::new();
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match source.head() {
            Head::End => return (all, source.warnings()),
            Head::Starved => {
                assert!(Instant::now() < patience, "starved for a minute");
                std::thread::yield_now();
            }
            Head::At(key) => {
                let starts = all.last().is_none_or(|&(lap, _)| lap != key.lap);
                let next = source.peek().unwrap();
                assert_eq!((next.lap_start, next.key()), (starts, key));
                let record = next.record;
                all.push((key.lap, (record.stamp_ns, record.len, record.bytes.to_vec())));
                source.advance();
            }
        }
    }
}

/// One lap of one file.
fn read(path: &Path) -> (Vec<Packet>, Vec<Warning>) {
    let (all, warnings) = drain(open(&[path.into()], 1, 4));
    (all.into_iter().map(|(_, packet)| packet).collect(), warnings)
}

#[test]
fn every_form_of_pcap_delivers_the_same_packets() {
    let folder = folder();
    let sent = packets(500);
    for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
        for endianness in [Endianness::Little, Endianness::Big] {
            let plain = pcap(&sent, resolution, endianness);
            // Told by content, not by name.
            for (name, bytes) in [("a.gz", plain.clone()), ("b.pcap", gz(&plain))] {
                let (got, warnings) = read(&file(&folder, name, &bytes));
                assert!(got == sent, "{resolution:?} {endianness:?} {name}");
                assert_eq!(warnings, []);
            }
        }
    }
}

#[test]
fn a_pcap_written_by_hand_reads_as_the_specification_says() {
    // Big-endian ns magic, version 2.4, snaplen 65535, link type 1 with a frame check sequence of four bytes (0x5000…).
    let mut bytes = vec![0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x50, 0, 0, 1];
    bytes.extend([0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 60, 9, 8, 7]);
    let folder = folder();
    assert_eq!(read(&file(&folder, "hand.pcap", &bytes)).0, [(2_000_000_007, 60, vec![9, 8, 7])]);
}

#[test]
fn pcapng_stamps_have_each_interfaces_resolution() {
    let folder = folder();
    let sent = packets(300);
    for endianness in [Endianness::Little, Endianness::Big] {
        let plain = pcapng(&sent, endianness);
        for bytes in [plain.clone(), gz(&plain)] {
            let (got, warnings) = read(&file(&folder, "a.pcapng", &bytes));
            assert_eq!(warnings, []);
            assert_eq!(got.len(), sent.len());
            for (i, (got, sent)) in got.iter().zip(&sent).enumerate() {
                assert_eq!((got.1, &got.2), (sent.1, &sent.2));
                // A tick of 2^-20 s is 953.7 ns.
                let tolerance = if i % 3 == 2 { 954 } else { 0 };
                assert!(got.0 >= sent.0 && got.0 - sent.0 <= tolerance, "{i}: {} for {}", got.0, sent.0);
            }
        }
    }
}

/// A little-endian pcapng block around `body`.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = (body.len() as u32 + 12).next_multiple_of(4);
    let mut bytes = [kind.to_le_bytes(), total.to_le_bytes()].concat();
    bytes.extend(body);
    bytes.resize(total as usize - 4, 0);
    bytes.extend(total.to_le_bytes());
    bytes
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255])
}

#[test]
fn a_pcapng_written_by_hand_reads_as_the_specification_says() {
    // Options without an end mark: if_tzone (10) of four bytes, if_tsresol (9) = 9, if_tsoffset (14) = 100 s.
    let options = [10, 0, 4, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 100, 0, 0, 0, 0, 0, 0, 0];
    let ethernet = block(1, &[&[1, 0, 0xff, 0xff, 4, 0, 0, 0][..], &options].concat());
    let wifi = block(1, &[105, 0, 0, 0, 0, 0, 0, 0]);
    // Interface, stamp 1 << 32 | 5, captured length, length, bytes.
    let enhanced = |interface: u8, data: &[u8]| {
        block(
            6,
            &[&[interface, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, data.len() as u8, 0, 0, 0, 99, 0, 0, 0], data].concat(),
        )
    };
    let obsolete = block(2, &[0, 0, 7, 7, 1, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 4]);
    let simple = block(3, &[6, 0, 0, 0, 1, 2, 3, 4]);
    let statistics = block(5, &[0; 12]);
    let other_section = [section(), block(1, &[1, 0, 0, 0, 0, 0, 0, 0]), enhanced(0, &[5])].concat();
    let bytes = [
        section(),
        wifi,
        ethernet.clone(),
        enhanced(1, &[1, 2, 3]),
        enhanced(0, &[9; 9]),
        statistics,
        section(),
        ethernet,
        obsolete,
        simple,
        other_section,
    ]
    .concat();
    let folder = folder();
    let (got, warnings) = read(&file(&folder, "hand.pcapng", &bytes));
    let stamp = 100_000_000_000 + (1 << 32);
    // The simple packet has no stamp of its own, and the interface's snaplen of 4 cut it; the last section is in µs.
    let expected: [Packet; 4] = [
        (stamp + 5, 99, vec![1, 2, 3]),
        (stamp + 6, 2, vec![3, 4]),
        (stamp + 6, 6, vec![1, 2, 3, 4]),
        (((1 << 32) + 5) * 1000, 99, vec![5]),
    ];
    assert_eq!(got, expected);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("holds 1 packets that are not Ethernet"), "{}", warnings[0]);
}

#[test]
fn a_file_cut_anywhere_delivers_what_came_before_the_cut() {
    let folder = folder();
    let sent: Vec<Packet> =
        packets(7).into_iter().map(|(stamp, len, bytes)| (stamp, len, bytes[..bytes.len().min(40)].to_vec())).collect();
    let forms = [
        ("pcap", pcap(&sent, TsResolution::NanoSecond, Endianness::Little), 24),
        ("pcapng", pcapng(&sent, Endianness::Little), 28),
    ];
    for (name, whole, header) in forms {
        // Where each packet ends: behind it the file is whole again.
        let ends: Vec<usize> = (0..=sent.len())
            .map(|n| {
                if name == "pcap" {
                    pcap(&sent[..n], TsResolution::NanoSecond, Endianness::Little).len()
                } else {
                    pcapng(&sent[..n], Endianness::Little).len()
                }
            })
            .collect();
        for cut in 0..whole.len() {
            let path = file(&folder, name, &whole[..cut]);
            if cut < header {
                let error = CaptureSource::open(&[path], SourceOptions::default(), || {}).err().unwrap();
                assert!(matches!(error, CaptureError::Empty { .. } | CaptureError::Foreign { .. }), "{cut}: {error}");
                continue;
            }
            let whole_packets = ends[1..].iter().filter(|&&end| end <= cut).count();
            let (got, warnings) = read(&path);
            let expected = &sent[..whole_packets];
            assert!(
                got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| a.2 == b.2),
                "{name} cut at {cut}"
            );
            if ends.contains(&cut) {
                assert_eq!(warnings, [], "{name} cut at {cut}");
            } else if cut > ends[0] || name == "pcap" {
                assert_eq!(warnings.len(), 1, "{name} cut at {cut}");
                assert!(!warnings[0].damage && warnings[0].packets == whole_packets as u64, "{:?}", warnings[0]);
            }
        }
    }
}

#[test]
fn a_gzip_cut_anywhere_delivers_a_beginning_of_the_packets_and_says_so() {
    let folder = folder();
    let sent = packets(40);
    let whole = gz(&pcap(&sent, TsResolution::MicroSecond, Endianness::Big));
    let mut most = 0;
    for cut in (0..whole.len()).step_by(3) {
        let path = file(&folder, "cut.gz", &whole[..cut]);
        let Ok(source) = CaptureSource::open(&[path], SourceOptions::default(), || {}) else {
            assert!(cut < 300, "refused at {cut} of {}", whole.len());
            continue;
        };
        let (got, warnings) = drain(source);
        assert!(got.iter().map(|(_, packet)| packet).eq(sent[..got.len()].iter()), "cut at {cut}");
        assert_eq!(warnings.len(), 1, "cut at {cut}");
        assert!(!warnings[0].damage, "cut at {cut}: {}", warnings[0]);
        assert!(got.len() >= most);
        most = got.len();
    }
    assert_eq!(most, sent.len());
}

#[test]
fn a_damaged_gzip_is_told_from_a_cut_one() {
    let folder = folder();
    let sent = packets(400);
    let mut bytes = gz(&pcap(&sent, TsResolution::MicroSecond, Endianness::Little));
    // The checksum in the trailer: all packets are fine as far as anyone can tell.
    let trailer = bytes.len() - 8;
    bytes[trailer] ^= 1;
    let (got, warnings) = read(&file(&folder, "crc.gz", &bytes));
    assert!(got == sent);
    assert!(warnings.len() == 1 && warnings[0].damage, "{warnings:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        form in 0..3usize,
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<proptest::sample::Index>(),
    ) {
        let sent = packets(12);
        let mut bytes = match form {
            0 => pcap(&sent, TsResolution::NanoSecond, Endianness::Little),
            1 => pcapng(&sent, Endianness::Big),
            _ => gz(&pcapng(&sent, Endianness::Little)),
        };
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        let folder = folder();
        if let Ok(mut reader) = Reader::open(&file(&folder, "mutated", &bytes)) {
            while let Ok(Some(packet)) = reader.next() {
                prop_assert!(packet.bytes.len() <= 1 << 18);
            }
        }
    }

    #[test]
    fn random_bytes_behind_a_magic_never_panic(
        magic in 0..3usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let magic: &[u8] = [&[0xd4, 0xc3, 0xb2, 0xa1][..], &[0x0a, 0x0d, 0x0d, 0x0a], &[0x1f, 0x8b, 8]][magic];
        let folder = folder();
        if let Ok(mut reader) = Reader::open(&file(&folder, "random", &[magic, &bytes].concat())) {
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}

#[test]
fn wrong_files_are_refused_at_open_with_their_name_and_a_remedy() {
    let folder = folder();
    let refused = |files: &[PathBuf]| {
        CaptureSource::open(files, SourceOptions::default(), || {}).err().expect("refused").to_string()
    };
    assert!(refused(&[]).contains("name at least one"));
    let missing = folder.path().join("missing.pcap");
    assert!(refused(std::slice::from_ref(&missing)).contains("missing.pcap: No such file"));
    assert!(refused(&[folder.path().into()]).contains("Is a directory"));
    assert!(refused(&[file(&folder, "empty.pcap", b"")]).contains("empty.pcap is empty"));
    let foreign = refused(&[file(&folder, "notes.txt", b"# not a capture")]);
    assert!(foreign.contains("notes.txt is not a capture") && foreign.contains("editcap"), "{foreign}");
    assert!(refused(&[file(&folder, "gz.txt", &gz(b"# not a capture"))]).contains("gz.txt is not a capture"));
    let mut cooked = pcap(&[], TsResolution::MicroSecond, Endianness::Little);
    cooked[20] = 113;
    let linux_cooked = refused(&[file(&folder, "any.pcap", &cooked)]);
    assert!(linux_cooked.contains("any.pcap") && linux_cooked.contains("113"), "{linux_cooked}");
    let cooked = [section(), block(1, &[113, 0, 0, 0, 0, 0, 0, 0])].concat();
    assert!(refused(&[file(&folder, "any.pcapng", &cooked)]).contains("113"));
    // The second of two is looked at before the first is replayed.
    let good = file(&folder, "good.pcap", &pcap(&packets(1), TsResolution::MicroSecond, Endianness::Little));
    assert!(refused(&[good, missing]).contains("missing.pcap"));
}

#[test]
fn a_capture_without_packets_ends_at_once_however_often_it_loops() {
    let folder = folder();
    let none = file(&folder, "none.pcap", &pcap(&[], TsResolution::MicroSecond, Endianness::Little));
    for laps in [1, u32::MAX] {
        assert_eq!(drain(open(std::slice::from_ref(&none), laps, 4)), (vec![], vec![]));
    }
}

#[test]
fn several_files_follow_each_other_and_a_bad_one_does_not_stop_the_next() {
    let folder = folder();
    let sent = packets(90);
    let parts: Vec<PathBuf> = (0..3)
        .map(|i| {
            let mut bytes = pcap(&sent[i * 30..][..30], TsResolution::NanoSecond, Endianness::Little);
            if i == 1 {
                bytes.truncate(bytes.len() - 1);
            }
            file(&folder, &format!("{i}.pcap"), &bytes)
        })
        .collect();
    let (got, warnings) = drain(open(&parts, 1, 4));
    let whole: Vec<&Packet> = sent[..59].iter().chain(&sent[60..]).collect();
    assert!(got.iter().map(|(_, packet)| packet).eq(whole));
    assert_eq!(warnings.len(), 1);
    assert_eq!((&warnings[0].file, warnings[0].packets), (&parts[1], 29));
}

#[test]
fn resident_laps_equal_laps_read_again() {
    let folder = folder();
    // 4,000 packets are three blocks: all of them in a window of 8, not in one of 2.
    let sent = packets(4000);
    let path = file(&folder, "laps.pcap", &pcap(&sent, TsResolution::NanoSecond, Endianness::Little));
    for window in [8, 3, 2] {
        let (got, warnings) = drain(open(std::slice::from_ref(&path), 5, window));
        assert_eq!(warnings, []);
        assert_eq!(got.len(), 5 * sent.len(), "window {window}");
        for (i, (lap, packet)) in got.iter().enumerate() {
            assert!(*lap == (i / sent.len()) as u32 && *packet == sent[i % sent.len()], "window {window}, packet {i}");
        }
    }
}

/// What a replay delivers: line, lap, stamp.
fn replay(sources: Vec<CaptureSource>, max: usize) -> Vec<(usize, u32, u64)> {
    let mut replay = Replay::new(sources, Pace::default(), 1e9);
    let mut all = Vec::new();
    while !replay.ended() {
        let before = all.len();
        let taken = replay.burst(max, 0, |line, next, _| {
            // Every fifth time there is no room.
            let room = (all.len() + before) % 5 != 4 || all.len() == before;
            if room {
                all.push((line, next.lap, next.record.stamp_ns));
            }
            room
        });
        assert!(taken <= max && taken == all.len() - before);
        if taken == 0 {
            std::thread::yield_now();
        }
    }
    all
}

#[test]
fn lines_are_merged_by_lap_and_stamp_whoever_is_faster() {
    let folder = folder();
    let line = |name: &str, stamps: &[u64]| {
        let packets: Vec<Packet> = stamps.iter().map(|&stamp| (stamp, 1, vec![0])).collect();
        file(&folder, name, &pcap(&packets, TsResolution::NanoSecond, Endianness::Little))
    };
    // B's stamp falls back once, as captures' stamps do; C is empty.
    let files = [line("a", &[10, 20, 20, 30, 90]), line("b", &[5, 20, 15, 40]), line("c", &[])];
    let lap = [(1, 5), (0, 10), (0, 20), (0, 20), (1, 20), (1, 15), (0, 30), (1, 40), (0, 90)];
    let expected: Vec<_> = (0..3).flat_map(|n| lap.map(|(line, stamp)| (line, n, stamp))).collect();
    for max in [1, 2, 64] {
        let sources = files.iter().map(|file| open(std::slice::from_ref(file), 3, 4)).collect();
        assert_eq!(replay(sources, max), expected, "bursts of {max}");
    }
    // Two lines over the same large file, one with a window so small that its loader is often behind.
    let large = file(&folder, "large", &pcap(&packets(6000), TsResolution::NanoSecond, Endianness::Little));
    let both = |window| vec![open(std::slice::from_ref(&large), 2, window), open(std::slice::from_ref(&large), 2, 2)];
    let merged = replay(both(16), 32);
    assert_eq!(merged.len(), 2 * 2 * 6000);
    assert!(merged.chunks(2).all(|pair| pair[0].0 == 0 && pair[1].0 == 1 && pair[0].2 == pair[1].2));
    assert_eq!(replay(both(2), 5), merged);
}

#[test]
fn a_paced_replay_hands_out_what_is_due_and_nothing_else() {
    let folder = folder();
    let sent: Vec<Packet> = (0..10).map(|i| (START_NS + i * 100, 1, vec![0])).collect();
    let path = file(&folder, "due", &pcap(&sent, TsResolution::NanoSecond, Endianness::Little));
    // A TSC of 1 GHz: a tick a nanosecond.
    let pace = Pace { speed: Speed::Factor(1.0), max_idle_ns: None };
    let mut replay = Replay::new(vec![open(&[path], 2, 4)], pace, 1e9);
    while !replay.primed() {
        std::thread::yield_now();
    }
    let mut due_at = |tsc| replay.burst(64, tsc, |_, _, _| true);
    assert_eq!([due_at(5000), due_at(5000), due_at(5099), due_at(5100)], [1, 0, 0, 1]);
    assert_eq!(due_at(5350), 2);
    // The second lap follows the first at once.
    assert_eq!([due_at(5900), due_at(6799), due_at(6800)], [7, 8, 1]);
    assert!(replay.ended());
    assert_eq!((replay.lateness().max_ticks, replay.lateness().over_1us), (799, 0));
}

#[test]
fn dropping_a_source_stops_its_loader() {
    let folder = folder();
    let path = file(&folder, "long.pcap", &pcap(&packets(8000), TsResolution::NanoSecond, Endianness::Little));
    let mut source = open(&[path], u32::MAX, 2);
    while !source.primed() {
        std::thread::yield_now();
    }
    assert!(source.peek().is_some());
    let before = Instant::now();
    drop(source);
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_lcores_side_allocates_nothing() {
    let folder = folder();
    let path = file(&folder, "quiet.pcap", &pcap(&packets(8000), TsResolution::NanoSecond, Endianness::Little));
    let out = folder.path().join("out.pcap");
    let mut sink = CaptureSink::create(&out, || {}).unwrap();
    for window in [16, 2] {
        let mut source = open(std::slice::from_ref(&path), 3, window);
        while !source.primed() {
            std::thread::yield_now();
        }
        let (calls, mut count) = (allocations::calls(), 0);
        while !source.ended() {
            let Some(Next { record, .. }) = source.peek() else {
                std::thread::yield_now();
                continue;
            };
            if sink.push(record.stamp_ns, record.bytes) {
                source.advance();
                count += 1;
            }
        }
        assert_eq!(allocations::calls(), calls, "window {window}");
        assert_eq!(count, 24_000);
    }
    sink.finish().unwrap();
}

#[test]
fn a_paced_packet_is_never_early() {
    let folder = folder();
    // 40 packets, 1 ms apart: at double speed 19.5 ms.
    let sent: Vec<Packet> = (0..40).map(|i| (START_NS + i * 1_000_000, 60, vec![0; 60])).collect();
    let path = file(&folder, "paced.pcap", &pcap(&sent, TsResolution::NanoSecond, Endianness::Little));
    let clock = tickpath::latency::clock::Clock::fit();
    let mut pacer = Pacer::new(Pace { speed: Speed::Factor(2.0), max_idle_ns: None }, clock.hz()).unwrap();
    let mut source = open(&[path], 1, 4);
    let (mut start, mut count) = (None, 0);
    while !source.ended() {
        let Some(next) = source.peek() else { continue };
        let before = *start.get_or_insert_with(Instant::now);
        let due = pacer.due(next.record.stamp_ns, next.restarts(), tickpath::cpu::rdtsc());
        while tickpath::cpu::rdtsc() < due.tsc {
            tickpath::cpu::pause();
        }
        // The kernel's clock as judge; 1 % for its slewing and our fit.
        let elapsed = before.elapsed().as_nanos() as u64;
        assert!(elapsed >= count * 500_000 * 99 / 100, "packet {count} after {elapsed} ns");
        pacer.release(due, tickpath::cpu::rdtsc());
        source.advance();
        count += 1;
    }
    assert_eq!(count, 40);
}

#[test]
fn a_sink_writes_what_it_was_given() {
    let folder = folder();
    // 30 MB: more than the sink's window, so it has to refuse now and then and nothing may be lost.
    let sent: Vec<Packet> =
        packets(40_000).into_iter().map(|(stamp, _, bytes)| (stamp + 7, bytes.len() as u32, bytes)).collect();
    let out = folder.path().join("orders.pcap");
    let mut sink = CaptureSink::create(&out, || {}).unwrap();
    for (stamp, _, bytes) in &sent {
        while !sink.push(*stamp, bytes) {
            std::thread::yield_now();
        }
    }
    assert!(!out.exists(), "it has its name only when it is complete");
    assert_eq!(sink.frames(), sent.len() as u64);
    assert_eq!(sink.bytes(), sent.iter().map(|(_, len, _)| u64::from(*len)).sum::<u64>());
    sink.finish().unwrap();
    // Byte for byte what the other writer writes.
    let header = PcapHeader {
        snaplen: 1 << 18,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut expected = pcap(&sent, TsResolution::NanoSecond, Endianness::Little);
    expected[16..20].copy_from_slice(&header.snaplen.to_le_bytes());
    assert!(fs::read(&out).unwrap() == expected);
    assert!(read(&out).0 == sent);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no .part is left");
}

#[test]
fn a_sink_that_was_not_finished_leaves_nothing() {
    let folder = folder();
    let mut sink = CaptureSink::create(&folder.path().join("orders.pcap"), || {}).unwrap();
    assert!(sink.push(1, &[1, 2, 3]));
    drop(sink);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_sink_that_cannot_write_says_so_and_names_the_file() {
    let folder = folder();
    let nowhere = folder.path().join("no/such/folder/orders.pcap");
    let error = CaptureSink::create(&nowhere, || {}).err().unwrap().to_string();
    assert!(error.contains("no/such/folder/orders.pcap"), "{error}");
    // A full disk: /dev/full takes the place of the .part file.
    let full = folder.path().join("full.pcap");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.pcap.part")).unwrap();
    let mut sink = CaptureSink::create(&full, || {}).unwrap();
    for i in 0..30_000 {
        while !sink.push(i, &[0; 1000]) {
            std::thread::yield_now();
        }
    }
    assert!(sink.failed());
    let error = sink.finish().unwrap_err().to_string();
    assert!(error.contains("full.pcap") && error.contains("No space left"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_counting_sink_only_counts() {
    let mut sink = CaptureSink::counting();
    assert!(sink.push(1, &[0; 60]) && sink.push(2, &[0; 40]));
    assert_eq!((sink.frames(), sink.bytes(), sink.failed()), (2, 100, false));
    sink.finish().unwrap();
}

#[test]
fn the_deep_sample_arrives_whole() {
    let Some(captures) = common::captures() else { return };
    let (got, warnings) = read(&captures.join("iex-deep10/sample-first-60000.pcap.gz"));
    assert_eq!(warnings, []);
    assert_eq!(got.len(), 60_000);
    // An independent count of the inflated file: a 24-byte header and 16 bytes a record beside the packets.
    let inflated = std::process::Command::new("gzip")
        .args(["-dc", captures.join("iex-deep10/sample-first-60000.pcap.gz").to_str().unwrap()])
        .output()
        .unwrap()
        .stdout
        .len();
    assert_eq!(got.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>(), inflated - 24 - 16 * 60_000);
    let live = read(&captures.join("nasdaq-itch50/live-Multiple.Packets.pcap")).0;
    // 14 Ethernet, 4 VLAN, 20 IPv4, 8 UDP, 1,472 payload.
    assert!(live.iter().any(|(_, _, bytes)| bytes.len() == 14 + 4 + 20 + 8 + 1472));
}
