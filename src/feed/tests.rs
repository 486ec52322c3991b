//! A feed as parse drives it: packets of MoldUDP64 in, elements out.

use super::*;
use crate::arena::heap;
use crate::market::{Price, Side};
use crate::wire::moldudp64;
use proptest::prelude::*;

const SESSION: [u8; 10] = *b"SESSION-AA";

/// Longest wait of these tests, in ns.
const WAIT: u64 = 1000;

fn config(arbitration: Arbitration) -> FeedConfig {
    FeedConfig { protocol: Protocol::Itch50, channels: 1, sequence: true, symbols: None, limit: 4, arbitration }
}

fn waits(packets: usize) -> FeedConfig {
    config(Arbitration { window_ns: WAIT, packets })
}

/// A packet on its way: when, on which line, what.
#[derive(Clone, Debug)]
struct Sent {
    at: u64,
    line: u8,
    payload: Vec<u8>,
}

/// ITCH 5.0 `A`: message n of the session adds order n.
fn message(n: u64) -> Vec<u8> {
    [&b"A\0\x01\0\0\0\0\0\0\0\0"[..], &n.to_be_bytes(), b"B\0\0\0\x64AAPL    \0\x01\x86\xa0"].concat()
}

fn packet(first: u64, count: u64) -> Vec<u8> {
    let mut bytes = [0; 1472];
    let mut builder = moldudp64::Builder::new(&mut bytes, SESSION, first).unwrap();
    (first..first + count).for_each(|n| builder.push(&message(n)).unwrap());
    let length = builder.finish();
    bytes[..length].to_vec()
}

fn sent(at: u64, line: u8, first: u64, count: u64) -> Sent {
    Sent { at, line, payload: packet(first, count) }
}

/// What came out.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Orders added, and the time that was said of each; a gap is `(first missing, first found)` with no time.
    events: Vec<(u64, Option<u64>)>,
    gaps: Vec<(u64, u64)>,
    accepted: u64,
    held: u64,
}

/// Feed packets as parse does, to their end. `drain` says before each packet whether the window is emptied.
fn drive(feed: &mut Feed<'_>, packets: &[Sent], mut drain: impl FnMut() -> bool) -> Told {
    let mut told = Told::default();
    let mut window = Window::new(0);
    for Sent { at, line, payload } in packets {
        loop {
            if drain() {
                told.take(&mut window);
            }
            let ready = match feed.is_unsettled() {
                true => feed.settle(Moment::Packet(*at), &mut window, |_, _| {}, |v| told.accepted += accepted(v)),
                false => window.has_room(),
            };
            if ready {
                break;
            }
        }
        let head = Packet { arrival_ns: *at, line: *line, ..Packet::default() };
        let verdict = feed.packet(payload, &head, &mut window, |_, _| {});
        told.accepted += accepted(verdict);
        told.held = told.held.max(feed.held() as u64);
        if drain() {
            told.take(&mut window);
            feed.settle(Moment::Idle, &mut window, |_, _| {}, |v| told.accepted += accepted(v));
        }
    }
    loop {
        told.take(&mut window);
        if feed.settle(Moment::End, &mut window, |_, _| {}, |v| told.accepted += accepted(v)) {
            break;
        }
    }
    told.take(&mut window);
    assert_eq!(feed.held(), 0);
    told
}

fn accepted(verdict: Verdict) -> u64 {
    u64::from(verdict == Verdict::Elements)
}

impl Told {
    fn take(&mut self, window: &mut Window) {
        let mut now = 0;
        for element in window.rest() {
            match *element {
                Element::Packet(head) => now = head.arrival_ns,
                Element::Add { order, .. } => self.events.push((order, Some(now))),
                Element::Gap { expected, found } => {
                    self.events.push((expected, None));
                    self.gaps.push((expected, found));
                }
                _ => {}
            }
        }
        window.take(window.rest().len());
    }

    fn orders(&self) -> Vec<u64> {
        self.events.iter().filter(|e| e.1.is_some()).map(|e| e.0).collect()
    }
}

fn with<R>(config: &FeedConfig, f: impl FnOnce(&mut Feed<'_>) -> R) -> R {
    let mut region = heap(Feed::bytes(config));
    f(&mut Feed::new(config, &mut Arena::new(&mut region)).unwrap())
}

fn told(config: &FeedConfig, packets: &[Sent]) -> (Told, Counters, [LineCounters; 2]) {
    with(config, |feed| {
        let told = drive(feed, packets, || true);
        (told, feed.counters().clone(), [feed.line(0), feed.line(1)])
    })
}

#[test]
fn a_packet_of_broken_messages_is_one_gap_and_fits_the_window() {
    with(&config(Arbitration::default()), |feed| {
        let mut window = Window::new(0);
        // MoldUDP64: session, first sequence, count, then a thousand messages of no length.
        let payload = [&b"SESSION-AA"[..], &7u64.to_be_bytes(), &1000u16.to_be_bytes(), &[0; 2000]].concat();
        assert_eq!(feed.packet(&payload, &Packet::default(), &mut window, |_, _| {}), Verdict::Elements);
        assert_eq!(window.rest()[1..], [Element::Gap { expected: 7, found: 1007 }]);
        let c = feed.counters();
        assert_eq!((c.wrong_length, c.gaps, c.lost_messages, c.window_full), (1000, 1, 1000, 0));
    });
}

#[test]
fn what_one_line_lost_comes_on_the_other_in_its_place() {
    let packets = [sent(0, 0, 1, 2), sent(10, 0, 5, 2), sent(500, 1, 1, 2), sent(510, 1, 3, 2), sent(520, 1, 5, 2)];
    let (told, counters, [a, b]) = told(&waits(8), &packets);
    assert_eq!(told.orders(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((told.gaps.len(), counters.gaps, counters.held_packets), (0, 0, 1));
    assert_eq!((counters.duplicate_packets, counters.duplicate_messages), (2, 4));
    assert_eq!((a.packets, a.won, a.lost), (2, 4, 2));
    assert_eq!((b.packets, b.won, b.lost), (3, 2, 0));
}

#[test]
fn a_packet_that_was_held_arrives_when_its_turn_comes() {
    let packets = [sent(0, 0, 1, 1), sent(10, 0, 3, 1), sent(700, 1, 2, 1)];
    let told = told(&waits(8), &packets).0;
    assert_eq!(told.events, [(1, Some(0)), (2, Some(700)), (3, Some(700))]);
}

#[test]
fn the_wait_ends_with_the_first_packet_after_the_window() {
    let packets = [sent(0, 0, 1, 1), sent(10, 0, 3, 1), sent(10 + WAIT, 0, 4, 1), sent(11 + WAIT, 0, 5, 1)];
    let told = told(&waits(8), &packets).0;
    let end = 10 + WAIT;
    assert_eq!(told.events, [(1, Some(0)), (2, None), (3, Some(end)), (4, Some(end)), (5, Some(end + 1))]);
    assert_eq!(told.gaps, [(2, 3)]);
}

#[test]
fn each_gap_waits_from_its_own_first_sight() {
    // 2 is missed at 10, 4 at 600.
    let packets = [sent(0, 0, 1, 1), sent(10, 0, 3, 1), sent(600, 0, 5, 1), sent(1_100, 0, 6, 1), sent(1_550, 1, 4, 1)];
    let told = told(&waits(8), &packets).0;
    assert_eq!(told.gaps, [(2, 3)]);
    assert_eq!(told.orders(), [1, 3, 4, 5, 6]);
}

#[test]
fn packets_of_one_line_may_change_places() {
    let (told, counters, [a, _]) = told(&waits(8), &[sent(0, 0, 1, 1), sent(1, 0, 3, 1), sent(2, 0, 2, 1)]);
    assert_eq!(told.orders(), [1, 2, 3]);
    assert_eq!((counters.gaps, a.lost), (0, 0));
}

#[test]
fn without_a_window_a_gap_is_told_at_once() {
    let packets = [sent(0, 0, 1, 1), sent(1, 0, 3, 1), sent(2, 0, 2, 1)];
    let (told, counters, _) = told(&config(Arbitration::default()), &packets);
    assert_eq!(told.events, [(1, Some(0)), (2, None), (3, Some(1))]);
    assert_eq!((counters.held_packets, counters.duplicate_packets), (0, 1));
}

#[test]
fn when_no_more_can_be_held_the_wait_is_over() {
    let packets: Vec<Sent> = std::iter::once(1).chain(3..20).map(|n| sent(n, 0, n, 1)).collect();
    let (told, counters, _) = told(&waits(4), &packets);
    assert_eq!(told.gaps, [(2, 3)]);
    assert_eq!(told.orders(), Vec::from_iter(std::iter::once(1).chain(3..20)));
    assert_eq!((told.held, counters.held_full), (4, 1));
    // 3, 4, 5 and 6 waited; 7 found the place taken.
    assert_eq!(told.events[2], (3, Some(7)));
}

#[test]
fn a_heartbeat_shows_a_loss_that_is_waited_for() {
    let healed = [sent(0, 0, 1, 1), sent(10, 0, 3, 0), sent(20, 1, 2, 1)];
    let (told_healed, counters, _) = told(&waits(8), &healed);
    assert_eq!((told_healed.orders(), told_healed.gaps.len(), counters.heartbeats), (vec![1, 2], 0, 1));
    let lost = [sent(0, 0, 1, 1), sent(10, 0, 3, 0), sent(20 + WAIT, 0, 3, 0)];
    let (told_lost, counters, _) = told(&waits(8), &lost);
    assert_eq!((told_lost.gaps, counters.heartbeats, counters.lost_messages), (vec![(2, 3)], 2, 1));
}

#[test]
fn a_new_session_drops_what_waits_in_the_old_one() {
    let mut other = packet(1, 1);
    other[..10].copy_from_slice(b"SESSION-BB");
    let packets = [sent(0, 0, 1, 1), sent(1, 0, 3, 1), Sent { at: 2, line: 0, payload: other }];
    let (told, counters, _) = told(&waits(8), &packets);
    assert_eq!((told.orders(), told.gaps.len()), (vec![1, 1], 0));
    assert_eq!((counters.session_starts, counters.late_packets), (1, 1));
}

#[test]
fn a_lead_is_the_time_between_two_lines() {
    // B is 300 behind A, but for one packet that is 700 behind: timed are the first and then one of many.
    let mut packets = Vec::new();
    for n in 1..400 {
        packets.push(sent(n * 1000, 0, n, 1));
        packets.push(sent(n * 1000 + if n == 1 { 700 } else { 300 }, 1, n, 1));
    }
    let (_, _, [a, b]) = told(&waits(8), &packets);
    assert_eq!((a.won, b.won, b.leads), (399, 0, 0));
    assert!((5..8).contains(&a.leads), "{a:?}");
    assert_eq!((a.lead_max_ns, a.lead_ns), (700, 700 + (a.leads - 1) * 300));
}

/// Two lines of messages `1 ..= last`, each in packets of its own making, each packet perhaps lost, delayed by less than
/// `spread`. `loses(line, packet)` says which.
fn lines(last: u64, cuts: [&[u64]; 2], delays: &[u64], loses: impl Fn(usize, usize) -> bool) -> (Vec<Sent>, Vec<u64>) {
    let mut packets = Vec::new();
    let mut missing = [const { Vec::new() }; 2];
    for line in 0..2 {
        let (mut first, mut index) = (1, 0);
        while first <= last {
            let count = cuts[line][index % cuts[line].len()].min(last + 1 - first);
            let at = first * 100 + delays[(index * 2 + line) % delays.len()];
            match loses(line, index) {
                false => packets.push(sent(at, line as u8, first, count)),
                true => missing[line].extend(first..first + count),
            }
            (first, index) = (first + count, index + 1);
        }
    }
    packets.sort_by_key(|p| (p.at, p.line));
    let [a, b] = missing;
    let both = a.into_iter().filter(|n| b.contains(n)).collect();
    (packets, both)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_lines_with_losses_are_one_line_without_what_both_lost(
        cuts in [proptest::collection::vec(1u64..6, 1..9), proptest::collection::vec(1u64..6, 1..9)],
        delays in proptest::collection::vec(0u64..300, 1..20),
        losses in proptest::collection::vec(any::<u8>(), 60),
    ) {
        const LAST: u64 = 60;
        // The first packets anchor the sequence, the last ones end it.
        let loses = |line: usize, index: usize| index > 0 && losses[(index * 2 + line) % 60] < 50;
        let (mut packets, mut both) = lines(LAST, [&cuts[0], &cuts[1]], &delays, loses);
        packets.insert(0, sent(0, 0, 1, 1));
        packets.push(sent(LAST * 200, 0, LAST + 1, 1));
        both.retain(|n| *n > 1);
        let wanted: Vec<u64> = (1..=LAST + 1).filter(|n| !both.contains(n)).collect();

        // Longer than any message can be missing: what comes at all comes in time.
        let patient = config(Arbitration { window_ns: 2000, packets: 64 });
        let (told_patient, counters, lines) = told(&patient, &packets);
        prop_assert_eq!(told_patient.orders(), wanted);
        let lost: Vec<u64> = told_patient.gaps.iter().flat_map(|(from, to)| *from..*to).collect();
        prop_assert_eq!(&lost, &both);
        prop_assert_eq!(lines[0].won + lines[1].won, LAST + 1 - both.len() as u64);
        let dropped = counters.duplicate_packets;
        prop_assert_eq!(told_patient.accepted + dropped, packets.len() as u64, "in = out + dropped");

        // Impatient or cramped, the order is kept, nothing is told twice, and every message is told or lost.
        for cramped in [Arbitration { window_ns: 150, packets: 64 }, Arbitration { window_ns: 2000, packets: 2 }] {
            let told = told(&config(cramped), &packets).0;
            let mut all = told.orders();
            prop_assert!(all.is_sorted_by(|a, b| a < b));
            all.extend(told.gaps.iter().flat_map(|(from, to)| *from..*to));
            all.sort_unstable();
            prop_assert_eq!(all, Vec::from_iter(1..=LAST + 1));
        }
    }

    #[test]
    fn how_fast_the_window_is_drained_changes_nothing(
        delays in proptest::collection::vec(0u64..2000, 1..20),
        losses in proptest::collection::vec(any::<u8>(), 40),
        drains in proptest::collection::vec(any::<bool>(), 1..50),
    ) {
        let loses = |line: usize, index: usize| index > 0 && losses[(index * 2 + line) % 40] < 60;
        let (packets, _) = lines(2000, [&[20, 33], &[33, 7]], &delays, loses);
        let config = config(Arbitration { window_ns: 4000, packets: 16 });
        let at_once = with(&config, |feed| drive(feed, &packets, || true));
        // Every other turn at least, or the window would stay full.
        let mut turn = 0;
        let slowly = with(&config, |feed| drive(feed, &packets, || {
            turn += 1;
            turn % 3 == 0 || drains[turn % drains.len()]
        }));
        prop_assert_eq!(at_once.events, slowly.events);
        prop_assert_eq!((at_once.gaps, at_once.accepted), (slowly.gaps, slowly.accepted));
    }
}

#[test]
fn a_level_feed_waits_too() {
    // IEX-TP: version 1, DEEP, channel 1, session 7, then messages of `8` (price level update).
    let segment = |first: u64, count: u16| {
        let level =
            [&b"8\x01"[..], &[0; 8], b"AAPL    ", &100u32.to_le_bytes(), &(first as i64).to_le_bytes()].concat();
        let block = [&(level.len() as u16).to_le_bytes()[..], &level].concat().repeat(count.into());
        let length = (block.len() as u16).to_le_bytes();
        let header = [&[1, 0, 4, 0x80, 1, 0, 0, 0, 7, 0, 0, 0][..], &length, &count.to_le_bytes(), &[0; 8]].concat();
        [&header[..], &first.to_le_bytes(), &[0; 8], &block].concat()
    };
    let config = FeedConfig { protocol: Protocol::Deep10, ..waits(4) };
    with(&config, |feed| {
        let mut window = Window::new(0);
        let (mut told, mut levels) = (Vec::new(), Vec::new());
        let mut drain = |window: &mut Window| {
            levels.extend(window.rest().iter().filter_map(|element| match element {
                Element::Level { price, side: Side::Buy, .. } => Some(*price),
                _ => None,
            }));
            window.take(window.rest().len());
        };
        for (at, line, first) in [(0, 0, 1), (1, 0, 3), (2, 1, 1), (3, 1, 2), (4, 1, 3)] {
            let head = Packet { arrival_ns: at, line, ..Packet::default() };
            told.push(feed.packet(&segment(first, 1), &head, &mut window, |_, _| {}));
            drain(&mut window);
            feed.settle(Moment::Idle, &mut window, |_, _| {}, |verdict| told.push(verdict));
            drain(&mut window);
        }
        use Verdict::{Dropped, Elements, Held};
        assert_eq!(told, [Elements, Held, Dropped, Elements, Elements, Dropped]);
        assert_eq!(levels, [1, 2, 3].map(Price));
    });
}

#[test]
fn an_auction_collar_says_its_lowest_and_highest_price() {
    let config = waits(4);
    let mut region = heap(Feed::bytes(&config));
    let mut feed = Feed::new(&config, &mut Arena::new(&mut region)).unwrap();
    let mut window = Window::new(0);
    // J: locate 9, tracking, time, AAPL, reference 1.0000, upper 1.1000, lower 0.9000, no extension.
    let prices = [10_000u32, 11_000, 9_000, 0].map(u32::to_be_bytes).concat();
    let collar = [&b"J"[..], &9u16.to_be_bytes(), &[0; 8], b"AAPL    ", &prices].concat();
    let head = [&b"SESSION-AA"[..], &1u64.to_be_bytes(), &1u16.to_be_bytes()].concat();
    let payload = [&head[..], &(collar.len() as u16).to_be_bytes(), &collar].concat();
    assert_eq!(feed.packet(&payload, &Packet::default(), &mut window, |_, _| {}), Verdict::Elements);
    let (instrument, [lower, upper]) = (Instrument(0), [9_000, 11_000].map(Price));
    assert_eq!(window.rest().last(), Some(&Element::Collar { instrument, lower, upper }));
}
