//! The owners over ef_vi on its test double, and a real EAL: frames, their account, and what goes wrong. One process, one test.

#![cfg(efvi_double)]

use efvi_sys::double;
use std::net::SocketAddrV4;
use tickpath::dpdk::ethdev::{Link, Offload};
use tickpath::dpdk::{Burst, Eal, Frame, Mempool, Socket, free_burst, sizes};
use tickpath::efvi::{self, Ctpio, Filter, Port, Protocol, RxQueue, TxQueue};

const GROUP: &str = "233.54.12.111:26477";
const SLOTS: u32 = 512;

#[test]
fn frames_cross_a_card_and_every_one_is_accounted_for() {
    // Which headers the build was asked to imitate.
    assert!(efvi::version().starts_with(option_env!("EFVI_DOUBLE_SHAPE").unwrap_or("9")), "{}", efvi::version());
    let prefix = format!("--file-prefix=tickpath-efvi-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores", "0@0", &prefix].map(String::from);
    let eal = Eal::init("tickpath", &args).unwrap();
    a_pool_in_pages_has_no_frame_across_two(&eal);
    what_the_plan_counts_is_what_a_pool_in_pages_takes(&eal);
    frames_arrive_in_order_and_intact_without_a_copy(&eal);
    what_the_card_discards_is_counted_by_its_reason(&eal);
    only_what_a_filter_matches_arrives(&eal);
    a_packet_longer_than_a_buffer_is_counted_once_and_its_buffers_come_back(&eal);
    stamps_are_passed_on_only_from_a_clock_in_sync(&eal);
    an_empty_pool_is_counted_and_receiving_goes_on(&eal);
    a_reset_or_an_overflow_ends_a_queue_and_shows_as_a_lost_device(&eal);
    a_frame_that_cannot_be_sent_is_counted_freed_and_ends_its_queue(&eal);
    a_card_that_cannot_be_used_is_told_with_its_remedy(&eal);
    a_card_with_buffers_of_its_own_runs_in_compatibility_mode(&eal);
}

fn script(lines: &str) {
    double::reset();
    double::script(lines).unwrap();
}

fn two_ports(settings: &str) {
    two_cards("ef10", settings);
}

fn two_cards(kind: &str, settings: &str) {
    script(&format!(
        "interface a {kind} 101 0 02:00:00:00:00:0a\ninterface b {kind} 102 0 02:00:00:00:00:0b\nwire a b\n{settings}"
    ));
}

/// The release whose headers the double imitates.
fn is_9() -> bool {
    efvi::version().starts_with('9')
}

fn port(name: &str, ctpio: Offload) -> Port {
    Port::new(name, Ctpio { mode: ctpio, threshold: 64 }, Offload::IfAvailable)
}

fn pool(eal: &Eal, name: &str, frames: u32) -> Mempool {
    Mempool::frames_in_pages(eal, name, frames, 0, 2048, Socket::Any).unwrap()
}

fn to(group: &str) -> Filter {
    Filter { protocol: Protocol::Udp, local: group.parse().unwrap(), peer: None, vlan: None }
}

/// A UDP datagram with this number and as many bytes behind it.
fn datagram(frame: &mut Frame, to: &str, number: u64, bytes: usize) {
    let to: SocketAddrV4 = to.parse().unwrap();
    let room = frame.append(42 + 8 + bytes).unwrap();
    room[..14].copy_from_slice(&[1, 0, 0x5e, 0x36, 12, 111, 2, 0, 0, 0, 0, 0x0a, 8, 0]);
    room[14..42].fill(0);
    room[14] = 0x45;
    room[16..18].copy_from_slice(&(36 + bytes as u16).to_be_bytes());
    (room[22], room[23]) = (16, 17);
    room[26..30].copy_from_slice(&[10, 0, 0, 1]);
    room[30..34].copy_from_slice(&to.ip().octets());
    // By CTPIO the card sends what it is given, and a wrong sum is discarded at the other end.
    let sum = tickpath::wire::checksum::checksum(&room[14..34]);
    room[24..26].copy_from_slice(&sum.to_be_bytes());
    room[34..36].copy_from_slice(&9u16.to_be_bytes());
    room[36..38].copy_from_slice(&to.port().to_be_bytes());
    room[38..40].copy_from_slice(&(16 + bytes as u16).to_be_bytes());
    room[42..50].copy_from_slice(&number.to_be_bytes());
    room[50..].fill(number as u8);
}

/// The same with a VLAN tag.
fn tagged(frame: &mut Frame, to: &str, number: u64, vlan: u16) {
    datagram(frame, to, number, 10);
    let len = frame.len();
    frame.append(4).unwrap();
    let bytes = frame.bytes_mut().unwrap();
    bytes.copy_within(12..len, 16);
    bytes[12..14].copy_from_slice(&[0x81, 0]);
    bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
}

/// Of the datagram with this number: none is so short that it would be padded.
fn bytes_of(number: u64) -> usize {
    10 + (number % 1390) as usize
}

fn number(frame: &Frame) -> u64 {
    u64::from_be_bytes(frame.bytes()[42..50].try_into().unwrap())
}

/// Send `n` datagrams and hand every one that arrives to `each`, until nothing moves any more.
fn cross(pool: &Mempool, tx: &mut TxQueue, rx: &mut RxQueue, n: u64, mut each: impl FnMut(&Frame)) {
    let (mut next, mut waiting, mut arrived, mut quiet) = (0, Burst::new(), Burst::new(), 0);
    while quiet < 2_000 {
        while next < n && waiting.len() < 32 {
            let Some(mut frame) = pool.alloc() else { break };
            datagram(&mut frame, GROUP, next, bytes_of(next));
            waiting.push(frame);
            next += 1;
        }
        let sent = tx.burst(&mut waiting);
        tx.poll();
        let received = rx.burst(&mut arrived, 32);
        arrived.iter().for_each(&mut each);
        free_burst(&mut arrived);
        quiet = if sent + received > 0 { 0 } else { quiet + 1 };
    }
    assert!(waiting.is_empty() && next == n, "{next} of {n} sent: {:?}", tx.counters());
}

fn a_pool_in_pages_has_no_frame_across_two(eal: &Eal) {
    let pool = pool(eal, "pages", 500);
    let frames: Vec<Frame> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((frames.len(), pool.available()), (500, 0));
    let chunks = pool.chunks();
    let mut starts = std::collections::BTreeSet::new();
    for frame in &frames {
        let from = frame.data_at().addr();
        assert_eq!(from / 4096, (from + frame.tailroom() - 1) / 4096, "{from:x}");
        assert!(chunks.iter().any(|(at, bytes)| *at <= from && from + frame.tailroom() <= at + bytes));
        starts.insert(from % 4096);
    }
    assert!(starts.len() > 10, "their headers would compete for the same sets of the cache: {starts:?}");
}

fn what_the_plan_counts_is_what_a_pool_in_pages_takes(eal: &Eal) {
    let in_use = || {
        let mut stats = dpdk_sys::rte_malloc_socket_stats::default();
        // SAFETY: EAL is running.
        assert_eq!(unsafe { dpdk_sys::rte_malloc_get_socket_stats(0, &mut stats) }, 0);
        stats.heap_allocsz_bytes
    };
    let before = in_use();
    let pool = pool(eal, "sized", 8191);
    let (taken, planned) = (in_use() - before, sizes::pool_bytes_in_pages(8191, 2048));
    assert!(planned >= taken && planned < taken * 5 / 4, "planned {planned}, taken {taken}");
    drop(pool);
    assert_eq!(in_use(), before);
}

fn frames_arrive_in_order_and_intact_without_a_copy(eal: &Eal) {
    const N: u64 = 20_000;
    let faults =
        "set a ctpio-lose-every 3\nset a ctpio-poison-every 7\nset a eagain-every 11\nset a completion-polls 2\n";
    for (ctpio, settings) in [(Offload::Required, faults), (Offload::Required, ""), (Offload::Off, faults)] {
        two_ports(settings);
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let (a, b) = (port("a", ctpio), port("b", Offload::Off));
        let mut tx = a.transmitter(&out, SLOTS).unwrap();
        let mut rx = b.receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
        let (chunks, mut expected) = (into.chunks(), 0);
        cross(&out, &mut tx, &mut rx, N, |frame| {
            assert_eq!(number(frame), expected);
            assert_eq!(frame.len(), 50 + bytes_of(expected));
            assert!(frame.bytes()[50..].iter().all(|byte| *byte == expected as u8));
            let at = frame.data_at().addr();
            assert!(chunks.iter().any(|(from, bytes)| (*from..from + bytes).contains(&at)));
            expected += 1;
        });
        assert_eq!(expected, N);
        let counters = *tx.counters();
        let card = double::counters("a").unwrap();
        assert_eq!((counters.sent, counters.failed, counters.outstanding), (N, 0, 0));
        match ctpio {
            Offload::Off => assert_eq!((counters.ctpio, counters.fallbacks), (0, 0)),
            _ => {
                assert_eq!(counters.ctpio, card.ctpio_won);
                assert_eq!(counters.fallbacks, card.ctpio_lost + card.ctpio_poisoned);
                assert_eq!(counters.fallbacks > 0, !settings.is_empty());
            }
        }
        assert!(counters.lag_ticks > 0);
        // What is poisoned arrives twice: once with a wrong CRC.
        let discarded = rx.counters().dropped();
        assert_eq!((discarded, discarded, rx.counters().unsynced), (rx.counters().discards[2], card.ctpio_poisoned, 0));
        // Nobody has lost a descriptor: what is posted is what is out.
        assert_eq!(u64::from(rx.fill_level()), rx.counters().posted);
        assert!(rx.counters().posted + 8 > u64::from(SLOTS) / 2);
        drop((tx, rx));
        assert_eq!((out.in_use(), into.in_use()), (0, 0));
        let [a, b] = ["a", "b"].map(|name| double::counters(name).unwrap());
        assert_eq!((a.tx_held, b.rx_held), (0, 0));
    }
}

fn what_the_card_discards_is_counted_by_its_reason(eal: &Eal) {
    const N: u64 = 10_000;
    for merge in ["", "capability b force-merge 1\n"] {
        two_ports(&format!("set b crc-every 10\nset b csum-every 13\nset b trunc-every 17\n{merge}"));
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let mut tx = port("a", Offload::IfAvailable).transmitter(&out, SLOTS).unwrap();
        let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
        assert_eq!(rx.info().merges, !merge.is_empty());
        let mut delivered = 0;
        cross(&out, &mut tx, &mut rx, N, |_| delivered += 1);
        let (counters, card) = (*rx.counters(), double::counters("b").unwrap());
        assert_eq!(delivered + counters.dropped(), N);
        let [csum, _, crc, trunc, ..] = counters.discards;
        assert_eq!((crc, csum, trunc), (card.discarded_crc, card.discarded_csum, card.discarded_trunc));
        assert!(crc > 0 && csum > 0 && trunc > 0);
        assert_eq!(counters.discards.iter().sum::<u64>(), crc + csum + trunc);
        drop((tx, rx));
        assert_eq!((out.in_use(), into.in_use()), (0, 0));
    }
}

fn only_what_a_filter_matches_arrives(eal: &Eal) {
    let sent = [
        (GROUP, None),
        ("233.54.12.111:26478", None),
        ("233.54.12.112:26477", None),
        ("233.54.12.112:1", None),
        (GROUP, Some(7)),
        (GROUP, Some(8)),
    ];
    let of_vlan = Filter { vlan: Some(7), ..to(GROUP) };
    let from = |peer: &str| Filter { peer: Some(peer.parse().unwrap()), ..to(GROUP) };
    for (filters, expected) in [
        (vec![to(GROUP), to("233.54.12.112:1")], vec![0, 3, 4, 5]),
        (vec![of_vlan], vec![4]),
        (vec![of_vlan, to("233.54.12.112:1")], vec![3, 4]),
        (vec![from("10.0.0.1:9")], vec![0, 4, 5]),
        (vec![from("10.0.0.1:10"), from("10.0.0.2:9")], vec![]),
    ] {
        two_ports("");
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let mut tx = port("a", Offload::Off).transmitter(&out, SLOTS).unwrap();
        let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &filters).unwrap();
        let mut burst = Burst::new();
        for (number, (group, vlan)) in sent.iter().enumerate() {
            let mut frame = out.alloc().unwrap();
            match vlan {
                Some(vlan) => tagged(&mut frame, group, number as u64, *vlan),
                None => datagram(&mut frame, group, number as u64, 10),
            }
            burst.push(frame);
        }
        assert_eq!(tx.burst(&mut burst), sent.len());
        let mut arrived = Vec::new();
        cross(&out, &mut tx, &mut rx, 0, |frame| {
            let payload = &frame.bytes()[frame.len() - 18..];
            arrived.push(u64::from_be_bytes(payload[..8].try_into().unwrap()));
        });
        assert_eq!(arrived, expected, "{filters:?}");
        assert_eq!(double::counters("b").unwrap().filtered, (sent.len() - expected.len()) as u64);
    }
}

fn a_packet_longer_than_a_buffer_is_counted_once_and_its_buffers_come_back(eal: &Eal) {
    const N: u64 = 60;
    for settings in ["", "capability b force-merge 1\n", "set b crc-every 4\n"] {
        two_ports(settings);
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let mut tx = port("a", Offload::Off).transmitter(&out, SLOTS).unwrap();
        let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
        let mut frame = into.alloc().unwrap();
        let mut arrived = 0;
        for number in 0..N {
            // In two buffers and in five, between packets that need one.
            datagram(&mut frame, GROUP, number, 10);
            let mut bytes = frame.bytes().to_vec();
            bytes.resize([60, 3_000, 60, 9_000][number as usize % 4], 0);
            assert!(double::offer("b", &bytes, 1_000 + number));
            assert!(frame.set_len(0));
            cross(&out, &mut tx, &mut rx, 0, |frame| {
                assert_eq!((frame.len(), frame.stamp(), self::number(frame)), (60, Some(1_000 + number), number));
                arrived += 1;
            });
        }
        drop(frame);
        let (counters, card) = (*rx.counters(), double::counters("b").unwrap());
        // Every other one; and of the others the damaged, each at the end of four.
        assert_eq!((counters.split, arrived), (N / 2, N / 2));
        assert_eq!((counters.dropped(), card.discarded_crc), (N / 2, if settings.contains("crc") { N / 4 } else { 0 }));
        assert_eq!(u64::from(rx.fill_level()), counters.posted);
        assert!(counters.posted + 8 >= u64::from(SLOTS));
        drop((tx, rx));
        assert_eq!((out.in_use(), into.in_use()), (0, 0));
    }
}

fn stamps_are_passed_on_only_from_a_clock_in_sync(eal: &Eal) {
    const N: u64 = 100;
    for in_sync in [true, false] {
        two_ports(if in_sync { "" } else { "set a clock-in-sync 0\nset b clock-in-sync 0\n" });
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let mut tx = port("a", Offload::IfAvailable).transmitter(&out, SLOTS).unwrap();
        let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
        assert!(tx.info().tx_stamps && rx.info().rx_stamps);
        let mut arrived = Vec::new();
        cross(&out, &mut tx, &mut rx, N, |frame| arrived.push(frame.stamp()));
        let left: Vec<(u64, u64)> =
            std::iter::from_fn(|| tx.stamped()).map(|sent| (number(&sent.frame), sent.stamp_ns)).collect();
        if in_sync {
            assert_eq!(left.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..N).collect::<Vec<_>>());
            assert!(left.windows(2).all(|pair| pair[0].1 <= pair[1].1) && left[0].1 > 0);
            // That wire takes no time: both cards say the same of a frame.
            assert_eq!(arrived, left.iter().map(|(_, ns)| Some(*ns)).collect::<Vec<_>>());
            assert_eq!((rx.counters().unsynced, tx.counters().unsynced), (0, 0));
        } else {
            assert!(left.is_empty() && arrived.iter().all(Option::is_none));
            assert_eq!((rx.counters().unsynced, tx.counters().unsynced), (N, N));
        }
    }
}

fn an_empty_pool_is_counted_and_receiving_goes_on(eal: &Eal) {
    const N: u64 = 2_000;
    two_ports("set b drop 0\n");
    // Fewer frames than the ring would take.
    let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 100));
    let mut tx = port("a", Offload::Off).transmitter(&out, SLOTS).unwrap();
    let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
    assert_eq!((rx.counters().posted, rx.counters().pool_empty), (96, 1));
    let mut next = 0;
    cross(&out, &mut tx, &mut rx, N, |frame| {
        assert_eq!(number(frame), next);
        next += 1;
    });
    assert_eq!(next, N);
}

fn a_reset_or_an_overflow_ends_a_queue_and_shows_as_a_lost_device(eal: &Eal) {
    for (setting, resets, overflows) in [("reset-after", 1, 0), ("overflow-after", 0, 1)] {
        two_ports(&format!("set b drop 1\nset b {setting} 100\n"));
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        let b = port("b", Offload::Off);
        let mut tx = port("a", Offload::Off).transmitter(&out, SLOTS).unwrap();
        let mut rx = b.receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
        assert_eq!(b.link(), Link::Untold);
        let mut delivered = 0;
        cross(&out, &mut tx, &mut rx, 1_000, |_| delivered += 1);
        assert!((1..=100).contains(&delivered), "{delivered}");
        assert_eq!((b.resets(), b.overflows(), b.link()), (resets, overflows, Link::Gone));
        drop((tx, rx));
        assert_eq!((out.in_use(), into.in_use()), (0, 0));
    }
}

/// Run with a card that keeps receive buffers of its own, in the mode in which the library hides them.
fn in_compatibility_mode(run: impl FnOnce()) {
    // SAFETY: no other thread of this process reads or writes the environment.
    unsafe { std::env::set_var("EF_VI_COMPAT_MODE", "ef10") };
    run();
    // SAFETY: as above.
    unsafe { std::env::remove_var("EF_VI_COMPAT_MODE") };
}

fn a_frame_that_cannot_be_sent_is_counted_freed_and_ends_its_queue(eal: &Eal) {
    if !is_9() {
        return;
    }
    in_compatibility_mode(|| {
        two_cards("efct", "set a tx-error-after 100\nset a completion-polls 2\n");
        let out = pool(eal, "out", 1500);
        let a = port("a", Offload::Required);
        let mut tx = a.transmitter(&out, SLOTS).unwrap();
        let mut burst = Burst::new();
        for number in 0..200 {
            let mut frame = out.alloc().unwrap();
            datagram(&mut frame, GROUP, number, 10);
            burst.push(frame);
            tx.burst(&mut burst);
            tx.poll();
            while tx.stamped().is_some() {}
            if a.link() == Link::Gone {
                break;
            }
        }
        tx.finish();
        while tx.stamped().is_some() {}
        let counters = *tx.counters();
        assert_eq!((a.link(), a.resets(), counters.failed), (Link::Gone, 1, 1));
        assert_eq!((counters.ctpio, double::counters("a").unwrap().sent), (100, 100));
        // What was sent behind it is never told of.
        assert_eq!(counters.sent, 101 + counters.unsent);
        assert_eq!(out.in_use() as u64, 1 + counters.unsent + burst.len() as u64);
        drop((tx, burst));
        assert_eq!(out.in_use(), 0);
    });
}

fn a_card_with_buffers_of_its_own_runs_in_compatibility_mode(eal: &Eal) {
    const N: u64 = 20_000;
    in_compatibility_mode(|| {
        two_cards("efct", "set a eagain-every 11\nset b crc-every 10\n");
        let (out, into) = (pool(eal, "out", 1500), pool(eal, "into", 1500));
        if !is_9() {
            // That release knows no such mode.
            let refused = port("b", Offload::Off).receiver(&into, SLOTS, &[]).err().unwrap().to_string();
            assert!(refused.contains("Onload 9.1 or later"), "{refused}");
            return;
        }
        for ctpio in [Offload::Required, Offload::Off] {
            let mut tx = port("a", ctpio).transmitter(&out, SLOTS).unwrap();
            let mut rx = port("b", Offload::Off).receiver(&into, SLOTS, &[to(GROUP)]).unwrap();
            assert!(tx.info().ctpio, "it has no other way out");
            let before = double::counters("b").unwrap();
            let (mut arrived, mut next) = (0, 0);
            cross(&out, &mut tx, &mut rx, N, |frame| {
                let got = number(frame);
                assert!(got >= next && frame.stamp().is_some_and(|ns| ns > 0));
                assert_eq!(frame.len(), 50 + bytes_of(got));
                assert!(frame.bytes()[50..].iter().all(|byte| *byte == got as u8));
                (next, arrived) = (got + 1, arrived + 1);
            });
            let (sent, card) = (*tx.counters(), double::counters("b").unwrap());
            assert_eq!((sent.sent, sent.ctpio, sent.fallbacks, sent.outstanding), (N, N, 0, 0));
            let crc = card.discarded_crc - before.discarded_crc;
            assert_eq!((arrived + crc, rx.counters().discards[2], crc), (N, crc, N / 10));
            assert_eq!((card.no_descriptor, card.unreleased), (0, 0));
            drop((tx, rx));
            assert_eq!((out.in_use(), into.in_use()), (0, 0));
        }
    });
}

fn a_card_that_cannot_be_used_is_told_with_its_remedy(eal: &Eal) {
    let into = pool(eal, "into", 1000);
    let refused = |name: &str| match port(name, Offload::Off).receiver(&into, SLOTS, &[]) {
        Ok(_) => panic!("{name} is there"),
        Err(why) => why.to_string(),
    };
    script(
        "interface x3 efct 103 0 02:00:00:00:00:03\ninterface a ef10 101 0 02:00:00:00:00:0a\ncapability a ctpio absent\n",
    );
    assert!(refused("nobody").contains("name an interface of a Solarflare or AMD card"), "{}", refused("nobody"));
    assert!(refused("x3").contains("EF_VI_COMPAT_MODE=ef10"), "{}", refused("x3"));
    assert!(refused("a-name-that-is-too-long").contains("1 to 15 characters"));
    let required = port("a", Offload::Required).transmitter(&into, SLOTS).err().unwrap().to_string();
    assert!(required.contains("CTPIO"), "{required}");
    script("interface a ef10 101 0 02:00:00:00:00:0a\ndriver refuse 2\n");
    assert!(refused("a").contains("modprobe sfc_char"));
    assert_eq!(into.in_use(), 0);
}
