//! Trace files keep what was put into them: through a crash, a full disk, damage, and a later version of the program.

mod common;

use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tickpath::latency::interval::{ClockEvidence, Interval, LcoreEvidence};
use tickpath::latency::record::Record;
use tickpath::latency::trace::{
    Block, ClockFit, Damage, Header, Reader, Rotation, TraceError, VenueHeader, Writer, runs,
};

/// Bytes of both kinds of head, and of a record, as docs/trace.md says.
const HEAD: usize = 32;
const RECORD: usize = 128;

fn header() -> Header {
    Header {
        run: "20260102T030405Z-7".into(),
        command: "replay".into(),
        clock: ClockFit {
            tsc_hz: 2.5e9,
            anchor_tsc: 1000,
            anchor_ns: 1_767_322_645_000_000_000,
            ..ClockFit::default()
        },
        venues: vec![VenueHeader { name: "nasdaq".into(), ..VenueHeader::default() }],
        ..Header::default()
    }
}

/// Records that are told apart by every field a damaged byte may hit.
fn record(i: u64) -> Record {
    Record {
        kind: 1,
        instrument: i as u32,
        order_id: i,
        sequence: i * 3,
        rx_tsc: 1000 + i * 100,
        doorbell_tsc: 1090 + i * 100,
        symbol: *b"AAPL    ",
        price: -(i as i64),
        qty: 100,
        ..Record::default()
    }
}

fn records(range: Range<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn interval(to_tsc: u64) -> Interval {
    Interval { to_tsc, records: 3, ..Interval::default() }
}

/// A trace of three blocks of records, an interval and an end, and where each of its five blocks lies.
fn small(folder: &Path) -> (PathBuf, Vec<Range<usize>>) {
    let mut writer = Writer::create(folder, header(), Rotation::default()).unwrap();
    let path = writer.path();
    let length = || std::fs::metadata(&path).unwrap().len() as usize;
    let mut ends = vec![length()];
    for (first, count) in [(0, 3), (3, 2), (5, 4)] {
        writer.records(&records(first..first + count));
        // Evidence pushes out what waits before it.
        writer.interval(&interval(first));
        ends.push(length());
    }
    writer.finish();
    // Of each pair the records come first, 32 + 128 bytes each.
    let mut blocks = Vec::new();
    for (pair, count) in ends.windows(2).zip([3, 2, 4]) {
        let middle = pair[0] + HEAD + count * RECORD;
        blocks.extend([pair[0]..middle, middle..pair[1]]);
    }
    blocks.push(ends[3]..ends[3] + HEAD);
    assert_eq!(blocks.last().unwrap().end, length());
    (path, blocks)
}

/// What can be read of some bytes.
fn read(bytes: &[u8]) -> Result<(Vec<Record>, Vec<Interval>, Damage, bool), TraceError> {
    let mut reader = Reader::new(Path::new("trace"), bytes)?;
    let (mut found, mut intervals) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next()? {
        match block {
            Block::Records(records) => found.extend_from_slice(records),
            Block::Interval(interval) => intervals.push(*interval),
            Block::Clock(_) | Block::Journal(_) | Block::End => {}
        }
    }
    Ok((found, intervals, reader.damage(), reader.ended()))
}

#[test]
fn what_was_written_is_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let fit = ClockFit { tsc_hz: 2.500_000_1e9, verified: true, ..header().clock };
    let mut writer = Writer::create(folder.path(), header(), Rotation::default()).unwrap();
    // More than a block holds, in pieces that fit no block.
    for first in (0..9000).step_by(900) {
        writer.records(&records(first..first + 900));
    }
    writer.interval(&interval(5));
    writer.clock(&fit);
    writer.records(&records(9000..9001));
    let path = writer.path();
    let counters = writer.finish();
    assert_eq!((counters.records, counters.lost, counters.files), (9001, 0, 1));
    assert_eq!(counters.bytes, std::fs::metadata(&path).unwrap().len());

    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.header(), &header());
    let (mut next, mut fits, mut intervals) = (0, Vec::new(), Vec::new());
    while let Some(block) = reader.next().unwrap() {
        match block {
            Block::Records(block) => {
                assert_eq!(block, records(next..next + block.len() as u64));
                next += block.len() as u64;
            }
            Block::Interval(interval) => intervals.push((next, *interval)),
            Block::Clock(fit) => fits.push((next, fit)),
            Block::Journal(_) => panic!("a trace has no journal"),
            Block::End => assert_eq!(next, 9001),
        }
    }
    assert_eq!((next, intervals, fits), (9001, vec![(9000, interval(5))], vec![(9000, fit)]));
    assert!(reader.damage().is_none() && reader.ended());
}

#[test]
fn a_file_cut_anywhere_gives_every_block_before_the_cut_and_says_what_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (path, blocks) = small(folder.path());
    let whole = std::fs::read(path).unwrap();
    let counts = [3, 0, 2, 0, 4, 0, 0];
    for length in 0..whole.len() {
        let outcome = read(&whole[..length]);
        if length < blocks[0].start {
            let err = outcome.unwrap_err().to_string();
            assert!(
                if length == 0 { err.contains("it is empty") } else { err.contains("ends within") },
                "{length}: {err}"
            );
            continue;
        }
        let (found, _, damage, ended) = outcome.unwrap();
        let complete = blocks.iter().filter(|block| block.end <= length);
        let count: u64 = complete.clone().zip(counts).map(|(_, count)| count).sum();
        assert_eq!(found, records(0..count), "{length}");
        let tail = length - complete.map(|block| block.end).max().unwrap_or(blocks[0].start);
        assert_eq!((damage.bytes_skipped, damage.torn_tail), (tail as u64, tail as u64), "{length}");
        // A head says how many records it announces; without a head nobody knows.
        let torn = blocks.iter().zip(counts).find(|(block, _)| (block.start..block.end).contains(&length));
        let known = torn.filter(|(block, _)| length >= block.start + HEAD).map_or(0, |(_, count)| count);
        assert_eq!((damage.records_damaged, ended), (known, false), "{length}");
    }
}

#[test]
fn a_flipped_bit_costs_its_block_and_the_loss_is_stated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, blocks) = small(folder.path());
    let mut bytes = std::fs::read(path).unwrap();
    let originals = records(0..9);
    let counts = [3, 0, 2, 0, 4, 0, 0];
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = read(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Some(hit) = blocks.iter().position(|block| block.contains(&(bit / 8))) else {
            assert!(outcome.is_err(), "bit {bit} of the head");
            continue;
        };
        let (found, intervals, damage, ended) = outcome.unwrap();
        let mut before = 0;
        let first: u64 = counts[..hit].iter().sum();
        let expected: Vec<Record> = originals
            .iter()
            .filter(|_| {
                before += 1;
                before <= first || before > first + counts[hit]
            })
            .copied()
            .collect();
        assert_eq!(found, expected, "bit {bit}");
        assert_eq!(intervals.len(), 3 - usize::from([1, 3, 5].contains(&hit)), "bit {bit}");
        let skipped = blocks[hit].len() as u64;
        let torn_tail = if hit == 6 { skipped } else { 0 };
        let stated = Damage { bytes_skipped: skipped, torn_tail, records_damaged: counts[hit], ..Damage::default() };
        assert_eq!((damage, ended), (stated, hit != 6), "bit {bit}");
    }
}

#[test]
fn a_block_of_a_kind_that_is_not_known_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, blocks) = small(folder.path());
    let whole = std::fs::read(path).unwrap();
    // An interval block, its kind changed and its head's checksum made good again.
    let mut strange = whole[blocks[1].clone()].to_vec();
    strange[4..6].copy_from_slice(&900u16.to_le_bytes());
    let crc = crc32fast::hash(&strange[..28]);
    strange[28..32].copy_from_slice(&crc.to_le_bytes());
    let bytes = [&whole[..blocks[1].start], &strange, &whole[blocks[1].end..]].concat();
    let (found, intervals, damage, ended) = read(&bytes).unwrap();
    assert_eq!((found, intervals.len(), ended), (records(0..9), 2, true));
    assert!(damage.is_none());
    assert_eq!(damage.unknown_blocks, 1);
}

#[test]
fn a_file_that_is_no_trace_or_a_later_one_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = small(folder.path());
    let mut bytes = std::fs::read(path).unwrap();
    let refuse = |bytes: &[u8]| {
        let err = read(bytes).unwrap_err();
        (err.to_string(), err.help())
    };
    bytes[8..12].copy_from_slice(&[2, 0, 7, 0]);
    let (newer, help) = refuse(&bytes);
    assert_eq!(newer, "trace is a trace in format 2.7; this program reads 1.x");
    assert_eq!(help, "read it with the tickpath that wrote it, or a later one");
    for (head, found) in [
        (&b"\xd4\xc3\xb2\xa1\x02\0\x04\0"[..], "it is a pcap capture"),
        (b"\x1f\x8b\x08\0", "it is compressed with gzip"),
        (b"{\"venues\": []}", "it is JSON"),
        (b"hello, world; these are more bytes than a head has", "it begins with 68 65 6c 6c 6f 2c 20 77"),
        (b"", "it is empty"),
    ] {
        let (err, _) = refuse(head);
        assert!(err.contains(found), "{err}");
    }
    let err = runs(&[folder.path().join("absent")]).unwrap_err();
    assert!(err.to_string().contains("absent"), "{err}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(runs(&[empty.path().to_owned()]), Err(TraceError::Nothing { .. })));
}

#[test]
fn a_run_of_many_files_is_read_as_one_and_a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Room for the head and two blocks of ten records.
    let rotation = Rotation { max_bytes: 4096, max_age: Duration::MAX };
    let mut writer = Writer::create(folder.path(), header(), rotation).unwrap();
    for first in (0..100).step_by(10) {
        writer.records(&records(first..first + 10));
        writer.interval(&interval(first));
    }
    let counters = writer.finish();
    // A second run in the same folder, that does not end.
    let second = Header { run: "20260102T030406Z-8".into(), ..header() };
    let mut writer = Writer::create(folder.path(), second, Rotation::default()).unwrap();
    writer.records(&records(0..1));
    drop(writer);

    let found = runs(&[folder.path().to_owned()]).unwrap();
    assert_eq!(found.runs.len(), 2);
    let run = &found.runs[0];
    assert_eq!((run.id.as_str(), run.files.len() as u64), ("20260102T030405Z-7", counters.files));
    assert!(run.files.len() > 3 && run.missing.is_empty());
    for file in &run.files {
        assert!(std::fs::metadata(&file.path).unwrap().len() <= 4096);
        assert_eq!(Reader::open(&file.path).unwrap().header(), &Header { file: file.file, ..header() });
    }
    let collect = |run: &tickpath::latency::trace::Run| {
        let (mut reader, mut all) = (run.read(), Vec::new());
        while let Some(block) = reader.next().unwrap() {
            if let Block::Records(records) = block {
                all.extend_from_slice(records);
            }
        }
        (all, reader.losses())
    };
    let (all, losses) = collect(run);
    assert_eq!(all, records(0..100));
    assert_eq!((losses.damage, losses.records_missing, losses.unfinished), (Damage::default(), 0, false));
    assert!(collect(&found.runs[1]).1.unfinished);

    let gone = run.files[2].first_index..run.files[3].first_index;
    std::fs::remove_file(&run.files[2].path).unwrap();
    // Named as files, in any order, one of them twice.
    let mut named: Vec<PathBuf> = run.files.iter().map(|file| file.path.clone()).collect();
    named.remove(2);
    named.reverse();
    named.push(named[0].clone());
    let again = runs(&named).unwrap();
    assert_eq!(again.runs[0].missing, [2]);
    let (all, losses) = collect(&again.runs[0]);
    assert_eq!(losses.records_missing, gone.end - gone.start);
    assert_eq!(all, [records(0..gone.start), records(gone.end..100)].concat());
    // A folder's unreadable file is told beside the others; as a name of the command line it is an error.
    let empty = folder.path().join("20260102T030407Z-9-0000.tptrace");
    std::fs::write(&empty, "").unwrap();
    let found = runs(&[folder.path().to_owned()]).unwrap();
    assert_eq!((found.runs.len(), found.refused.len()), (2, 1));
    assert!(runs(&[empty]).is_err());
}

/// The other end of the next test: hand records to a writer for ever, and say how many before and after.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("TICKPATH_TEST_TRACE") else { return };
    let mut writer = Writer::create(Path::new(&folder), header(), Rotation::default()).unwrap();
    let mut out = std::io::stdout();
    for first in (0..).step_by(700) {
        let mut line = u64::to_le_bytes(first + 700).to_vec();
        line.extend(writer.counters().records.to_le_bytes());
        out.write_all(&line).unwrap();
        writer.records(&records(first..first + 700));
        if first % 2800 == 0 {
            writer.interval(&interval(first));
        }
        writer.tick();
    }
}

#[test]
fn a_killed_process_loses_at_most_the_block_that_was_gathering() {
    // Largest block, in records, as docs/trace.md says.
    const BLOCK: u64 = 2048;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = common::again("child_that_writes_until_it_is_killed")
            .env("TICKPATH_TEST_TRACE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut out = child.stdout.take().unwrap();
        // The harness speaks first; two numbers a round follow. Kill it after a random number of bytes.
        let mut said = vec![0; 500 + (random % 20_000) as usize];
        out.read_exact(&mut said).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_end(&mut said).unwrap();
        let text = said.windows(16).position(|w| w == [700u64.to_le_bytes(), [0; 8]].concat()).unwrap();
        let numbers = said[text..].chunks_exact(16).next_back().unwrap();
        let number = |i: usize| u64::from_le_bytes(numbers[i..i + 8].try_into().unwrap());
        let (handed, written) = (number(0), number(8));

        let found = runs(&[folder.path().to_owned()]).unwrap();
        let (mut reader, mut count) = (found.runs[0].read(), 0);
        while let Some(block) = reader.next().unwrap() {
            if let Block::Records(block) = block {
                assert_eq!(block, records(count..count + block.len() as u64), "round {round}");
                count += block.len() as u64;
            }
        }
        let losses = reader.losses();
        assert!(count >= written && count + BLOCK >= handed - 700, "round {round}: {count} of {handed}, {written}");
        assert_eq!(losses.damage.bytes_skipped, losses.damage.torn_tail, "round {round}");
        assert!(losses.unfinished);
    }
}

/// The other end of the next test: 4096 records and more, into files that may not grow beyond 100 KiB.
#[test]
fn child_whose_disk_is_full() {
    let Some(folder) = std::env::var_os("TICKPATH_TEST_FULL") else { return };
    let mut writer = Writer::create(Path::new(&folder), header(), Rotation::default()).unwrap();
    let length = |writer: &Writer| std::fs::metadata(writer.path()).unwrap().len();
    writer.records(&records(0..100));
    writer.interval(&interval(1));
    assert_eq!((writer.counters().records, writer.counters().lost), (100, 0));
    // A full block is 256 KiB. The kernel takes what fits and refuses the rest.
    let before = length(&writer);
    writer.records(&records(100..100 + 2048));
    assert_eq!((writer.counters().records, writer.counters().lost), (100, 2048));
    assert!(writer.failure().is_some());
    assert_eq!(length(&writer), before);
    // A small one fits again.
    writer.records(&records(2148..2248));
    writer.interval(&interval(2));
    assert_eq!((writer.counters().records, writer.counters().lost), (200, 2048));
    assert!(writer.failure().is_none());
    for first in (2248..).step_by(100).take(20) {
        writer.records(&records(first..first + 100));
        writer.interval(&interval(first));
    }
    let counters = writer.counters();
    assert_eq!(counters.records + counters.lost, 4248);
    assert!(counters.records < 800 && counters.lost > 2048);
    assert_eq!(length(&writer), counters.bytes);
    writer.finish();
    println!("written {}", counters.records);
}

#[test]
fn a_full_disk_costs_the_blocks_it_refuses_and_the_reader_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    // bash counts `ulimit -f` in KiB. The signal that would end the process is ignored, as on a full disk there is none.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" child_whose_disk_is_full --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("TICKPATH_TEST_FULL", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.split("written ").nth(1)).expect("it says how many");
    let written: u64 = line.trim().parse().unwrap();
    let found = runs(&[folder.path().to_owned()]).unwrap();
    let (mut reader, mut all) = (found.runs[0].read(), Vec::new());
    while let Some(block) = reader.next().unwrap() {
        if let Block::Records(block) = block {
            all.extend_from_slice(block);
        }
    }
    assert_eq!(all.len() as u64, written);
    assert_eq!(all[..200], [records(0..100), records(2148..2248)].concat());
    // Those behind the last block of all are not known: the end of the run did not fit either, or it did.
    let losses = reader.losses();
    assert_eq!((losses.damage.bytes_skipped, losses.damage.records_damaged), (0, 0));
    let last = all.last().unwrap().order_id + 1;
    let expected = if losses.unfinished { last } else { 4248 };
    assert_eq!(losses.damage.records_unwritten, expected - written);
}

/// What the golden file of version 1.0 holds. It was written once and is read for ever.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/trace-1.0.tptrace")
}

/// Writes the golden file anew: only for a version that has none yet.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_golden_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = header();
    header.fingerprint.0.insert("kernel.release".into(), "6.1.0".into());
    header.sample_every = 64;
    header.oversubscribed = true;
    let mut writer = Writer::create(folder.path(), header, Rotation::default()).unwrap();
    let path = writer.path();
    let mut list = records(1..4);
    list[0].occupancy = [1, 2, 3, 4];
    list[1].kind = 5;
    list[2].stamp_domain = 2;
    list[2].stamp = 1299;
    writer.records(&list);
    let clock = ClockEvidence { tsc_hz: 2.5e9, independent: Some("hpet".into()), ..ClockEvidence::default() };
    let lcore = LcoreEvidence { lcore: 2, timer_ticks: Some(250), ..LcoreEvidence::default() };
    writer.interval(&Interval {
        from_tsc: 1,
        to_tsc: 2,
        lcores: vec![lcore],
        clock,
        records: 3,
        ..Interval::default()
    });
    writer.clock(&ClockFit { tsc_hz: 2.500_001e9, error_ppm: 0.25, anchor_tsc: 1000, anchor_ns: 5, verified: true });
    writer.finish();
    std::fs::copy(path, golden()).unwrap();
}

#[test]
fn a_trace_of_version_1_0_is_read_for_ever() {
    let mut reader = Reader::open(&golden()).unwrap();
    let header = reader.header().clone();
    assert_eq!((header.run.as_str(), header.file, header.command.as_str()), ("20260102T030405Z-7", 0, "replay"));
    assert_eq!((header.clock.tsc_hz, header.clock.anchor_ns), (2.5e9, 1_767_322_645_000_000_000));
    assert_eq!((header.venues[0].name.as_str(), header.sample_every, header.oversubscribed), ("nasdaq", 64, true));
    assert_eq!(header.fingerprint.0["kernel.release"], "6.1.0");
    let Some(Block::Records([first, second, third])) = reader.next().unwrap() else { panic!("three records") };
    assert_eq!((first.kind, first.order_id, first.sequence, first.rx_tsc, first.doorbell_tsc), (1, 1, 3, 1100, 1190));
    assert_eq!((first.symbol, first.price, first.qty, first.occupancy), (*b"AAPL    ", -1, 100, [1, 2, 3, 4]));
    assert_eq!((second.kind, third.stamp_domain, third.stamp), (5, 2, 1299));
    let Some(Block::Interval(interval)) = reader.next().unwrap() else { panic!("an interval") };
    assert_eq!((interval.from_tsc, interval.to_tsc, interval.records), (1, 2, 3));
    assert_eq!((interval.lcores[0].lcore, interval.lcores[0].timer_ticks), (2, Some(250)));
    assert_eq!(interval.clock.independent.as_deref(), Some("hpet"));
    let Some(Block::Clock(fit)) = reader.next().unwrap() else { panic!("a fit") };
    assert_eq!((fit.tsc_hz, fit.error_ppm, fit.verified), (2.500_001e9, 0.25, true));
    assert_eq!(reader.next().unwrap(), Some(Block::End));
    assert_eq!(reader.next().unwrap(), None);
    assert!(reader.damage().is_none());
}

#[test]
fn the_python_of_the_document_reads_the_golden_file() {
    let document = include_str!("../docs/trace.md");
    let (_, rest) = document.split_once("```python\n").expect("the document shows a reader");
    let script = rest.split("```").next().unwrap();
    let Ok(output) = Command::new("python3").args(["-c", script]).arg(golden()).output() else {
        assert!(std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_none_or(|v| v != "1"), "python3 is missing");
        println!("skipped: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        said,
        "run 20260102T030405Z-7\n1: order 1 rx 1100 doorbell 1190\n1: order 3 rx 1300 doorbell 1390\nend of 3 records\n"
    );
}
