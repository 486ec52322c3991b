//! The generated stream against the oracle: same seed, same bytes; what the summary says is what a receiver finds.

mod common;
mod oracle;

use oracle::{Frame, Oracle};
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tickpath::synth::{
    Config, Damage, DamageKind, Error, Generator, Line, Messages, Mix, SecondLine, Summary, write_pcap,
};

fn small() -> Config {
    Config { messages: 60_000, symbols: 40, ..Config::default() }
}

fn damaged() -> Config {
    let damage = Damage { gaps: 7, duplicates: 6, reorder: 5, truncate: 4, bad_ip_checksum: 3, bad_udp_checksum: 2 };
    Config { damage, ..small() }
}

fn packets(config: &Config) -> (Vec<Frame>, Summary) {
    let mut generator = Generator::new(config).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = generator.next_packet() {
        frames.push(Frame { stamp_ns: packet.stamp_ns, bytes: packet.bytes.to_vec(), wire_len: packet.wire_len });
    }
    (frames, generator.summary().clone())
}

fn receive(frames: &[Frame], group: [u8; 4]) -> Oracle {
    let mut oracle = Oracle::verifying();
    for frame in frames {
        if !matches!(oracle::udp_payload(&frame.bytes, true), Ok((to, _, _)) if to != group) {
            oracle.frame(&frame.bytes);
        }
    }
    oracle
}

fn capture(folder: &TempDir, config: &Config) -> (PathBuf, Summary) {
    let path = folder.path().join("synth.pcap");
    let summary = write_pcap(config, BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
    (path, summary)
}

const GROUP_A: [u8; 4] = [233, 54, 12, 111];
const GROUP_B: [u8; 4] = [233, 49, 196, 111];

#[test]
fn a_seed_gives_the_same_bytes_on_every_machine() {
    let digest = |config: &Config| {
        let (frames, _) = packets(config);
        // FNV-1a over stamps and bytes.
        frames
            .iter()
            .flat_map(|f| f.stamp_ns.to_le_bytes().into_iter().chain(f.bytes.iter().copied()))
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
    };
    let config = Config { second_line: Some(SecondLine::default()), session_change: Some(0.5), ..damaged() };
    assert_eq!(digest(&config), digest(&config));
    assert_ne!(digest(&config), digest(&Config { seed: 2, ..config.clone() }));
    assert_eq!(
        digest(&config),
        0xdc9302802632e6c2,
        "recorded once: a change here changes every capture that anyone has generated"
    );
}

#[test]
fn an_undamaged_stream_arrives_whole() {
    let (frames, summary) = packets(&small());
    let oracle = receive(&frames, GROUP_A);
    assert_eq!(oracle.messages, summary.messages);
    assert_eq!(summary.total_messages(), 60_000);
    assert_eq!((oracle.gaps.len(), oracle.duplicates, oracle.refused.len()), (0, 0, 0));
    assert_eq!((oracle.sessions, summary.sessions), (1, 1));
    assert_eq!((oracle.heartbeats, oracle.ends_of_session), (summary.heartbeats, summary.ends_of_session));
    assert_eq!(oracle.live_orders() as u64, summary.live_orders);
    assert_eq!(oracle.frames, summary.packets[0]);
    assert_eq!(oracle.books.len(), 40);
    assert!(oracle.books.values().all(|book| !book.crosses()));
    assert_eq!(
        (frames[0].stamp_ns, frames[frames.len() - 1].stamp_ns),
        (summary.first_stamp_ns, summary.last_stamp_ns)
    );
}

#[test]
fn messages_alone_are_those_of_the_packets() {
    let config = Config { mix: Mix::all(), ..small() };
    let mut in_packets = Vec::new();
    let mut oracle = Oracle::default();
    for frame in packets(&config).0 {
        let (_, _, payload) = oracle::udp_payload(&frame.bytes, true).unwrap();
        oracle.mold(payload, &mut |_, message, _| in_packets.push(message.to_vec()));
    }
    let mut messages = Messages::new(&config).unwrap();
    for packed in &in_packets {
        assert_eq!(messages.next_message(), Some(&packed[..]));
    }
    assert_eq!(messages.next_message(), None);
    assert_eq!(in_packets.len(), 60_000);
}

#[test]
fn the_open_market_has_the_mix_of_the_real_day() {
    // Percent of Nasdaq's day of 2019-10-30.
    let day =
        [(b'A', 43.3), (b'D', 41.9), (b'U', 8.7), (b'E', 2.5), (b'I', 1.3), (b'X', 1.2), (b'P', 0.5), (b'F', 0.5)];
    let config = Config { messages: 500_000, symbols: 100, ..Config::default() };
    let mut messages = Messages::new(&config).unwrap();
    let mut counts = BTreeMap::new();
    let mut open = false;
    while let Some(message) = messages.next_message() {
        if open {
            *counts.entry(message[0]).or_insert(0u32) += 1;
        }
        open |= message[0] == b'S' && message[11] == b'Q';
    }
    let total: u32 = counts.values().sum();
    for (kind, percent) in day {
        let found = f64::from(counts[&kind]) * 100.0 / f64::from(total);
        assert!((found - percent).abs() < 0.7, "{}: {found:.2} % instead of {percent} %", kind as char);
    }
}

#[test]
fn references_come_in_monotone_streams_told_apart_by_the_symbol() {
    let mut messages = Messages::new(&Config { messages: 200_000, ..Config::default() }).unwrap();
    let mut partition_of = BTreeMap::new();
    let mut falls = 0;
    let mut newest = [0; 4];
    let mut latest = 0;
    while let Some(message) = messages.next_message() {
        let reference = match message[0] {
            b'A' | b'F' => oracle::be(message, 11, 8),
            b'U' => oracle::be(message, 19, 8),
            _ => continue,
        };
        let partition = reference % 4;
        assert_eq!(*partition_of.entry(oracle::be(message, 1, 2)).or_insert(partition), partition);
        falls += u32::from(reference < latest);
        latest = reference;
        newest[partition as usize] = reference.max(newest[partition as usize]);
    }
    assert!(falls > 10_000, "one global monotone stream");
    assert_eq!(partition_of.values().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn packets_are_sized_and_spaced_like_the_real_feed() {
    let (frames, summary) = packets(&Config { messages: 300_000, ..Config::default() });
    let counts: Vec<u64> = frames.iter().map(|f| oracle::be(&f.bytes, 46 + 18, 2)).filter(|&c| c != 0xFFFF).collect();
    let share = |few: fn(u64) -> bool| counts.iter().filter(|&&c| few(c)).count() as f64 / counts.len() as f64;
    assert!(share(|c| c <= 3) > 0.7 && share(|c| c >= 38) > 0.0005);
    assert_eq!(frames.iter().map(|f| f.bytes.len() - 46).max(), Some(1472));

    let mut gaps: Vec<u64> = frames.windows(2).map(|pair| pair[1].stamp_ns - pair[0].stamp_ns).collect();
    gaps.sort_unstable();
    let below_300 = gaps.partition_point(|&gap| gap < 300) as f64 / gaps.len() as f64;
    assert!((0.005..0.03).contains(&below_300), "{below_300}");
    let (p50, p99) = (gaps[gaps.len() / 2], gaps[gaps.len() * 99 / 100]);
    assert!(p99 > 20 * p50, "not bursty: {p50} and {p99}");
    let rate = summary.total_messages() as f64 * 1e9 / (summary.last_stamp_ns - summary.first_stamp_ns) as f64;
    assert!((80_000.0..120_000.0).contains(&rate), "{rate}");

    for frame in frames.iter().filter(|f| oracle::be(&f.bytes, 46 + 18, 2) == 1) {
        let behind = frame.stamp_ns - Config::default().midnight_ns - oracle::be(&frame.bytes, 46 + 20 + 2 + 5, 6);
        assert!((150_000..200_000).contains(&behind), "captured {behind} ns after its time");
    }
}

#[test]
fn one_message_a_packet_is_one_message_a_packet() {
    let (frames, summary) = packets(&Config { messages_per_packet: Some(1), ..small() });
    assert_eq!(summary.data_packets, 60_000);
    assert!(frames.iter().all(|f| matches!(oracle::be(&f.bytes, 46 + 18, 2), 0 | 1 | 0xFFFF)));
}

#[test]
fn live_orders_stay_within_the_limit() {
    let mut messages = Messages::new(&Config { live_orders: Some(500), ..small() }).unwrap();
    let mut oracle = Oracle::default();
    let mut most = 0;
    while let Some(message) = messages.next_message() {
        oracle.itch(message);
        most = most.max(oracle.live_orders());
    }
    assert!((450..=500).contains(&most), "{most}");
}

#[test]
fn a_receiver_finds_the_damage_that_the_summary_reports() {
    let (frames, summary) = packets(&damaged());
    let oracle = receive(&frames, GROUP_A);
    let of = |kind| summary.injected_of(kind).0;
    assert_eq!(summary.injected.len(), 27);
    assert_eq!(of(DamageKind::Gap), 7);
    assert_eq!(oracle.refused.get("IP checksum"), Some(&3));
    assert_eq!(oracle.refused.get("UDP checksum"), Some(&2));
    assert_eq!(oracle.refused.get("short"), Some(&4));
    assert_eq!(frames.iter().filter(|f| f.bytes.len() < f.wire_len).count(), 4);

    let (gaps, missing) = summary.first_line_gaps();
    assert_eq!((oracle.gaps.len() as u64, gaps), (21, 21));
    assert_eq!(oracle.gaps.iter().map(|(expected, found)| found - expected).sum::<u64>(), missing);
    let mut injected: Vec<(u64, u64)> = summary
        .injected
        .iter()
        .filter(|i| i.kind != DamageKind::Duplicate)
        .map(|i| (i.sequence, i.sequence + u64::from(i.messages)))
        .collect();
    injected.sort_unstable();
    assert_eq!(oracle.gaps, injected);

    let late = summary.injected_of(DamageKind::Reorder).1;
    assert_eq!(oracle.duplicates, summary.injected_of(DamageKind::Duplicate).1 + late);
    assert_eq!(oracle.messages.values().sum::<u64>() + missing, summary.total_messages());
    assert_eq!(oracle.frames, summary.packets[0]);
    assert!(frames.is_sorted_by_key(|f| f.stamp_ns));
}

#[test]
fn a_second_line_heals_the_first() {
    let second = SecondLine { loss: 9, ..SecondLine::default() };
    let (frames, summary) = packets(&Config { second_line: Some(second), ..damaged() });
    assert!(frames.is_sorted_by_key(|f| f.stamp_ns));
    let line_b = receive(&frames.iter().filter(|f| f.bytes[15] == 142).map(copy).collect::<Vec<_>>(), GROUP_B);
    assert_eq!(line_b.frames, summary.packets[1]);
    assert_eq!(line_b.gaps.len(), 9);
    assert_eq!(line_b.refused.len(), 0);
    assert_eq!(receive(&frames, GROUP_A).gaps.len(), 21);

    // Everything that A lost arrived on B.
    let missing_on_b: Vec<_> = line_b.gaps.iter().map(|gap| gap.0).collect();
    let lost_on_a = summary.injected.iter().filter(|i| i.kind != DamageKind::SecondLineLoss);
    assert!(lost_on_a.into_iter().all(|i| !missing_on_b.contains(&i.sequence)));
}

#[test]
fn a_session_change_starts_over_with_other_locates() {
    let (frames, summary) = packets(&Config { session_change: Some(0.25), ..damaged() });
    let mut oracle = Oracle::verifying();
    let mut first_locate = Vec::new();
    let mut in_sessions = Vec::new();
    for frame in &frames {
        let before = oracle.sessions;
        oracle.frame(&frame.bytes);
        if oracle.sessions != before {
            in_sessions.push(oracle.messages.values().sum::<u64>());
            first_locate.push(oracle.symbol(1).unwrap().to_owned());
        }
    }
    assert_eq!((oracle.sessions, summary.sessions), (2, 2));
    assert_ne!(first_locate[0], first_locate[1]);
    assert_eq!(oracle.gaps.len() as u64, summary.first_line_gaps().0);
    let lost_before: u64 = summary
        .injected
        .iter()
        .filter(|i| i.session == 0 && i.kind != DamageKind::Duplicate)
        .map(|i| u64::from(i.messages))
        .sum();
    let first_packet_of_second = in_sessions[0];
    assert_eq!(in_sessions[1] - first_packet_of_second, 15_000 - lost_before);
    assert_eq!(oracle.live_orders() > 0, summary.live_orders > 0);
}

#[test]
fn a_capture_file_holds_the_generated_packets() {
    let folder = tempfile::tempdir().unwrap();
    let (path, summary) = capture(&folder, &damaged());
    let (packets, in_memory) = packets(&damaged());
    assert_eq!(summary, in_memory);
    let frames = oracle::frames(&path);
    assert_eq!(frames.len(), packets.len());
    for (a, b) in frames.iter().zip(&packets) {
        assert_eq!((a.stamp_ns, &a.bytes, a.wire_len), (b.stamp_ns, &b.bytes, b.wire_len));
    }
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let error = |config| Generator::new(&config).err().expect("refused").to_string();
    let message = error(Config { messages: 1_000, symbols: 1_000, ..Config::default() });
    assert_eq!(
        message,
        "1000 symbols need at least 4007 messages to open and close a session, found 1000; ask for more messages or fewer symbols"
    );
    let damage = Damage { gaps: 1_000, ..Damage::default() };
    assert!(
        error(Config { damage, ..small() }).starts_with("1000 damaged packets were asked for and there is room for")
    );
    assert_eq!(error(Config { symbols: 0, ..small() }), "symbols is 0; expected 1 to 65535");
    assert!(error(Config { session_change: Some(1.0), ..small() }).starts_with("the session change is 1; expected"));
    let line = Line { group: [10, 0, 0, 1].into(), port: 1, vlan: 1 };
    assert!(error(Config { line, ..small() }).starts_with("the group is 10.0.0.1; expected a multicast address"));
    assert!(matches!(Messages::new(&Config { rate: 0, ..small() }), Err(Error::Range { what: "the rate", .. })));
}

#[test]
fn tshark_counts_the_same_messages() {
    let config = Config { mix: Mix::all(), messages: 20_000, symbols: 40, ..Config::default() };
    let folder = tempfile::tempdir().unwrap();
    let (path, summary) = capture(&folder, &config);
    let Some(fields) = tshark(&path) else {
        println!("skipped: tshark is not installed");
        return;
    };
    let mut found = BTreeMap::new();
    for line in fields.lines() {
        let mut columns = line.split('\t');
        let [ip, udp, count] = std::array::from_fn(|_| columns.next().unwrap());
        assert_eq!((ip, udp), ("1", "1"), "a checksum that tshark finds wrong: {line}");
        let messages: Vec<&str> = columns.next().unwrap().split(',').filter(|data| !data.is_empty()).collect();
        assert_eq!(messages.len(), if count == "65535" { 0 } else { count.parse().unwrap() });
        for message in messages {
            *found.entry(u8::from_str_radix(&message[..2], 16).unwrap()).or_insert(0) += 1;
        }
    }
    assert_eq!(found, summary.messages);
}

fn tshark(capture: &Path) -> Option<String> {
    let options =
        "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -d udp.port==26477,moldudp64 -T fields -E aggregator=,";
    let output = Command::new("tshark")
        .args(options.split(' '))
        .args(["-e", "ip.checksum.status", "-e", "udp.checksum.status"])
        .args(["-e", "moldudp64.count", "-e", "moldudp64.msgdata", "-r"])
        .arg(capture)
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn copy(frame: &Frame) -> Frame {
    Frame { stamp_ns: frame.stamp_ns, bytes: frame.bytes.clone(), wire_len: frame.wire_len }
}
