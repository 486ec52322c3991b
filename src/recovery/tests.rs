//! A feed with losses, the thread, and small servers on loopback that answer well, badly or not at all.

use super::*;
use crate::arena::{Arena, heap};
use crate::feed::session_mark;
use crate::feed::{Arbitration, Carried, Feed, FeedConfig, HealConfig, MAX_LINES, Moment, Protocol, Verdict, Window};
use crate::journal::is_kept;
use crate::market::{Element, Instrument, Packet};
use crate::wire::{moldudp64, soupbin};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SESSION: [u8; 10] = *b"SESSION-AA";

/// Whatever takes longer on loopback hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time a step of a test takes for the feed, in ns.
const STEP: u64 = 1000;

const STALE_AFTER: u64 = 50 * STEP;

/// ITCH 5.0 `A`: message n of the session adds order n.
fn message(n: u64) -> Vec<u8> {
    [&b"A\0\x01\0\0\0\0\0\0\0\0"[..], &n.to_be_bytes(), b"B\0\0\0\x64AAPL    \0\x01\x86\xa0"].concat()
}

fn packet_of(session: [u8; 10], first: u64, count: u64) -> Vec<u8> {
    let mut bytes = [0; ROOM];
    let mut builder = moldudp64::Builder::new(&mut bytes, session, first).unwrap();
    (first..first + count).for_each(|n| builder.push(&message(n)).unwrap());
    let length = builder.finish();
    bytes[..length].to_vec()
}

fn packet(first: u64, count: u64) -> Vec<u8> {
    packet_of(SESSION, first, count)
}

/// A thread that serves until it is dropped.
struct Served {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let served = self.thread.take().unwrap().join();
        assert!(served.is_ok() || std::thread::panicking());
    }
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

/// A re-request server: `answer` makes datagrams of a request's first message and count.
fn rerequests(mut answer: impl FnMut(u64, u64) -> Vec<Vec<u8>> + Send + 'static) -> Served {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (address, stop) = (v4(socket.local_addr().unwrap()), Arc::<AtomicBool>::default());
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut bytes = [0; 100];
        while !stopped.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
            assert_eq!((length, &bytes[..10]), (20, &SESSION[..]), "a request packet of the session");
            let first = u64::from_be_bytes(bytes[10..18].try_into().unwrap());
            let count = u16::from_be_bytes(bytes[18..20].try_into().unwrap());
            for datagram in answer(first, count.into()) {
                socket.send_to(&datagram, from).unwrap();
            }
        }
    });
    Served { address, stop, thread: Some(thread) }
}

/// A snapshot server: what the nth connection (from 0) is told once it has logged in; then it is closed.
fn snapshots(mut told: impl FnMut(usize) -> Vec<u8> + Send + 'static) -> Served {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (address, stop) = (v4(listener.local_addr().unwrap()), Arc::<AtomicBool>::default());
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut n = 0;
        while !stopped.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut login = [0; 49];
            stream.read_exact(&mut login).unwrap();
            // User, password, blanks for the session and before the number.
            assert_eq!(login[..], [&b"\0\x2fLME    SECRET    "[..], &[b' '; 29], b"1"].concat());
            // In pieces, as TCP likes to.
            for piece in told(n).chunks(700) {
                if stream.write_all(piece).is_err() {
                    break;
                }
            }
            n += 1;
        }
    });
    Served { address, stop, thread: Some(thread) }
}

fn sequenced(payload: &[u8]) -> Vec<u8> {
    [&soupbin::header(b'S', payload.len()).unwrap()[..], payload].concat()
}

/// Orders 1 .. next, one message each.
fn snapshot(next: u64) -> Vec<u8> {
    let mut bytes = b"\0\x1fASESSION001                   1".to_vec();
    (1..next).for_each(|n| bytes.extend(sequenced(&message(n))));
    bytes.extend(sequenced(&[&b"G"[..], &soupbin::number(next)].concat()));
    bytes
}

/// What strategy is told, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Order(u64),
    Gap(u64, u64),
    Start,
    Late,
    Healed,
}

/// A feed that heals, and its clock.
struct Bench<'m> {
    feed: Feed<'m>,
    window: Window,
    now: u64,
    said: Vec<Said>,
    elements: Vec<Element>,
    /// Messages of the packets that lines brought, by session and number.
    captured: HashMap<(u16, u64), Vec<u8>>,
    frames: [u64; 2],
}

impl Bench<'_> {
    fn packet(&mut self, payload: &[u8]) {
        self.settle();
        let Carried { session, sequence, messages, .. } = Carried::by(Protocol::Itch50, payload).unwrap();
        for (message, n) in messages.into_iter().zip(sequence..) {
            self.captured.insert((session_mark(session, 0), n), message.to_vec());
        }
        let head = Packet { arrival_ns: self.now, ..Packet::default() };
        let verdict = self.feed.packet(payload, &head, &mut self.window, |_, _| {});
        self.frames[0] += 1;
        self.frames[1] += u64::from(matches!(verdict, Verdict::Elements | Verdict::Nothing));
        self.settle();
    }

    fn settle(&mut self) {
        self.now += STEP;
        let frames = &mut self.frames;
        let each = |verdict| frames[1] += u64::from(matches!(verdict, Verdict::Elements | Verdict::Nothing));
        self.feed.settle(Moment::Packet(self.now), &mut self.window, |_, _| {}, each);
        self.said.extend(self.window.rest().iter().filter_map(|element| match *element {
            Element::Add { order, .. } => Some(Said::Order(order)),
            Element::Gap { expected, found } => Some(Said::Gap(expected, found)),
            Element::SessionStart => Some(Said::Start),
            Element::Late => Some(Said::Late),
            Element::Healed => Some(Said::Healed),
            _ => None,
        }));
        self.elements.extend(self.window.rest());
        self.window.take(self.window.rest().len());
    }

    /// A journal and a capture give the same elements: what the one has not, the other has.
    fn is_found_again(&self, feed: &mut Feed<'_>) {
        let (mut window, mut rest) = (Window::new(0), &self.elements[..]);
        while let Some((Element::Packet(head), behind)) = rest.split_first() {
            let (events, behind) = behind.split_at(head.count.into());
            let (mut decoded, mut next) = (VecDeque::new(), head.sequence);
            for event in events {
                if head.line == MAX_LINES as u8 || is_kept(event) {
                    feed.learn(event);
                    continue;
                }
                while decoded.is_empty() {
                    feed.message(&self.captured[&(head.session, next)], &mut window);
                    next += 1;
                    decoded.extend(window.rest().iter().filter(|element| !is_kept(element)));
                    window.take(window.rest().len());
                }
                assert_eq!(decoded.pop_front(), Some(*event), "message {next}");
            }
            assert!(decoded.is_empty(), "message {next}");
            rest = behind;
        }
        assert!(rest.is_empty());
    }

    /// Let time pass until this was said.
    fn until(&mut self, wanted: Said) {
        let began = Instant::now();
        while !self.said.contains(&wanted) {
            assert!(began.elapsed() < PATIENCE, "{wanted:?} is not among {:?}", self.said);
            std::thread::sleep(Duration::from_micros(200));
            self.settle();
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let servers = self.feed.recovery().unwrap().named();
        servers.chain(self.feed.counters().named()).find(|(known, _)| *known == name).unwrap().1
    }

    fn orders(&self) -> Vec<u64> {
        self.said.iter().filter_map(|said| if let Said::Order(n) = said { Some(*n) } else { None }).collect()
    }

    /// Every frame became elements, or was dropped for a reason, or is held.
    fn balances(&self) {
        let dropped: u64 =
            ["duplicate_packets", "late_packets", "held_dropped", "heartbeats"].map(|n| self.counter(n)).iter().sum();
        assert_eq!(self.frames[0], self.frames[1] + dropped + self.feed.held() as u64);
    }
}

/// Limits of a test.
#[derive(Clone, Copy)]
struct Limits {
    packets: usize,
    largest_gap: u64,
    retries: u32,
}

const ROOMY: Limits = Limits { packets: 64, largest_gap: 1000, retries: 2 };

fn with(limits: Limits, servers: &[&Served], snapshot: Option<&Served>, test: impl FnOnce(&mut Bench<'_>)) {
    let config = FeedConfig {
        protocol: Protocol::Itch50,
        channels: 1,
        sequence: true,
        symbols: None,
        limit: 4,
        arbitration: Arbitration { window_ns: 2 * STEP, packets: limits.packets },
    };
    let mut region = heap(Feed::bytes(&config));
    let (link, desk) = link(32);
    let settings = Settings {
        interface: Ipv4Addr::LOCALHOST,
        servers: servers.iter().map(|served| served.address).collect(),
        snapshot: snapshot.map(|served| served.address),
        login: Login::new("ME", "SECRET").unwrap(),
        timeout: Duration::from_millis(60),
        retries: limits.retries,
    };
    let thread = Recovery::start(settings, desk, || {}).unwrap();
    let heal =
        HealConfig { stale_after_ns: STALE_AFTER, largest_gap: limits.largest_gap, snapshot: snapshot.is_some() };
    let feed = Feed::new(&config, &mut Arena::new(&mut region)).unwrap().healed_by(link, heal);
    let mut desk = Bench {
        feed,
        window: Window::new(0),
        now: 0,
        said: Vec::new(),
        elements: Vec::new(),
        captured: HashMap::new(),
        frames: [0; 2],
    };
    test(&mut desk);
    desk.balances();
    let mut region = heap(Feed::bytes(&config));
    desk.is_found_again(&mut Feed::new(&config, &mut Arena::new(&mut region)).unwrap());
    drop(thread);
}

#[test]
fn what_no_line_brought_is_asked_for_and_takes_its_place() {
    // Three messages an answer: the rest is asked for again.
    let server = rerequests(|first, count| vec![packet(first, count.min(3))]);
    with(ROOMY, &[&server], None, |desk| {
        desk.packet(&packet(1, 2));
        desk.packet(&packet(10, 2));
        desk.packet(&packet(12, 1));
        desk.until(Said::Order(12));
        assert_eq!(desk.orders(), Vec::from_iter(1..=12));
        assert_eq!((desk.counter("recovered_messages"), desk.counter("recovery_requests")), (7, 3));
        assert_eq!((desk.counter("gaps"), desk.counter("recovery_refused")), (0, 0));
    });
}

#[test]
fn a_locate_that_only_a_server_named_is_told() {
    let server = rerequests(|first, count| vec![packet(first, count)]);
    with(ROOMY, &[&server], None, |desk| {
        // An execution has the locate alone.
        let executed = [&b"E\0\x01\0\0\0\0\0\0\0\0"[..], &2u64.to_be_bytes(), &[0, 0, 0, 5], &[0; 8]].concat();
        let mut bytes = [0; ROOM];
        let mut builder = moldudp64::Builder::new(&mut bytes, SESSION, 3).unwrap();
        builder.push(&executed).unwrap();
        let length = builder.finish();
        desk.packet(&bytes[..length]);
        desk.until(Said::Healed);
        let instrument = Instrument(0);
        assert!(desk.elements.contains(&Element::Named { instrument, locate: 1 }));
        assert!(desk.elements.contains(&Element::Execute { order: 2, instrument, qty: 5 }));
    });
}

#[test]
fn books_are_late_only_while_messages_are_missing_for_long() {
    let open = Arc::<AtomicBool>::default();
    let opened = open.clone();
    let server = rerequests(move |first, count| match opened.load(Ordering::Relaxed) {
        true => vec![packet(first, count)],
        false => Vec::new(),
    });
    with(Limits { retries: 100, ..ROOMY }, &[&server], None, |desk| {
        desk.packet(&packet(1, 2));
        desk.packet(&packet(4, 1));
        desk.until(Said::Late);
        assert_eq!(desk.orders(), [1, 2], "what is late is not applied out of its order");
        open.store(true, Ordering::Relaxed);
        desk.until(Said::Healed);
        use Said::{Healed, Late, Order};
        assert_eq!(desk.said, [Order(1), Order(2), Late, Order(3), Order(4), Healed]);
        assert_eq!((desk.counter("late"), desk.counter("gaps")), (1, 0));
        desk.said.clear();
        desk.packet(&packet(5, 1));
        assert_eq!(desk.said, [Order(5)]);
    });
}

#[test]
fn a_line_that_brings_it_after_all_is_as_good_as_a_server() {
    let server = rerequests(|_, _| Vec::new());
    with(Limits { retries: 100, ..ROOMY }, &[&server], None, |desk| {
        for (first, count) in [(1, 2), (5, 1), (6, 1), (7, 1), (3, 2)] {
            desk.packet(&packet(first, count));
        }
        desk.until(Said::Order(7));
        assert_eq!(desk.orders(), Vec::from_iter(1..=7));
        assert_eq!(desk.feed.held(), 0);
    });
}

#[test]
fn servers_that_lie_are_counted_and_the_next_one_is_asked() {
    let liar = rerequests(|first, count| {
        vec![
            packet_of(*b"SESSION-BB", first, count),
            packet(first + 1, count),
            packet(first, 0),
            b"garbage".to_vec(),
            [&SESSION[..], &first.to_be_bytes(), &[0, 2, 0, 200, 1]].concat(),
            [&SESSION[..], &first.to_be_bytes(), &[0, 1, 0, 3], b"A??"].concat(),
            vec![0; 20_000],
        ]
    });
    let honest = rerequests(|first, count| vec![packet(first, count)]);
    with(ROOMY, &[&liar, &honest], None, |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(4, 1));
        desk.until(Said::Order(4));
        assert_eq!(desk.orders(), [1, 2, 3, 4]);
        assert_eq!((desk.counter("recovery_refused"), desk.counter("recovery_timeouts")), (7, 1));
    });
}

#[test]
fn answers_that_come_twice_are_applied_once() {
    let server =
        rerequests(|first, count| vec![packet(first, count.min(2)), packet(first, count.min(2)), packet(first, 1)]);
    with(ROOMY, &[&server], None, |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(8, 1));
        desk.until(Said::Order(8));
        assert_eq!(desk.orders(), Vec::from_iter(1..=8));
        assert_eq!(desk.counter("recovery_refused"), 0);
    });
}

#[test]
fn what_nobody_has_is_lost_and_the_feed_goes_on() {
    let silent = [rerequests(|_, _| Vec::new()), rerequests(|_, _| Vec::new())];
    with(Limits { retries: 1, ..ROOMY }, &[&silent[0], &silent[1]], None, |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(4, 1));
        desk.packet(&packet(5, 1));
        desk.until(Said::Order(5));
        desk.until(Said::Healed);
        use Said::{Gap, Healed, Late, Order};
        assert_eq!(desk.said, [Order(1), Late, Gap(2, 4), Order(4), Order(5), Healed]);
        assert_eq!((desk.counter("lost_messages"), desk.counter("recovery_timeouts")), (2, 2));
        assert_eq!(desk.counter("recovery_failed"), 1);
    });
}

#[test]
fn a_gap_that_is_too_large_is_left_to_a_snapshot() {
    let server = rerequests(|_, _| panic!("not to be asked"));
    let glimpse = snapshots(|_| snapshot(103));
    with(Limits { largest_gap: 50, ..ROOMY }, &[&server], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 2));
        // Of these two the snapshot has one.
        desk.packet(&packet(100, 3));
        desk.packet(&packet(103, 1));
        desk.until(Said::Healed);
        let Some(start) = desk.said.iter().position(|said| *said == Said::Start) else { panic!("{:?}", desk.said) };
        assert_eq!(desk.said[..start], [Said::Order(1), Said::Order(2), Said::Late], "late before empty");
        let rest: Vec<Said> = (1..=103).map(Said::Order).chain([Said::Healed]).collect();
        assert_eq!(desk.said[start + 1..], rest);
        assert_eq!((desk.counter("snapshots"), desk.counter("recovery_snapshot_messages")), (1, 102));
        assert_eq!(desk.counter("duplicate_packets"), 1);
    });
}

#[test]
fn a_gap_during_a_snapshot_is_asked_for_after_it() {
    let server = rerequests(|first, count| vec![packet(first, count)]);
    let glimpse = snapshots(|_| snapshot(90));
    with(Limits { largest_gap: 50, ..ROOMY }, &[&server], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 2));
        desk.packet(&packet(100, 1));
        desk.packet(&packet(105, 1));
        desk.until(Said::Healed);
        let start = desk.said.iter().position(|said| *said == Said::Start).unwrap();
        let orders: Vec<Said> = (1..=105).map(Said::Order).chain([Said::Healed]).collect();
        assert_eq!(desk.said[start + 1..], orders);
        assert_eq!(desk.counter("recovered_messages"), 10 + 4);
    });
}

#[test]
fn when_no_more_can_be_held_a_snapshot_makes_room() {
    let server = rerequests(|_, _| Vec::new());
    let glimpse = snapshots(|_| {
        std::thread::sleep(Duration::from_millis(20));
        snapshot(60)
    });
    with(Limits { packets: 8, retries: 100, ..ROOMY }, &[&server], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 1));
        (3..=60).for_each(|n| desk.packet(&packet(n, 1)));
        assert!(desk.feed.held() <= 8);
        desk.until(Said::Healed);
        let start = desk.said.iter().position(|said| *said == Said::Start).unwrap();
        let orders: Vec<u64> = (1..=60).collect();
        assert_eq!(desk.said[start + 1..desk.said.len() - 1], orders.into_iter().map(Said::Order).collect::<Vec<_>>());
        assert!(desk.counter("held_dropped") > 0);
    });
}

#[test]
fn a_snapshot_that_breaks_off_is_fetched_again() {
    let glimpse = snapshots(|n| match n {
        0 => snapshot(100)[..1000].to_vec(),
        1 => b"\0\x02JA".to_vec(),
        _ => snapshot(100),
    });
    with(Limits { largest_gap: 1, ..ROOMY }, &[], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(100, 1));
        desk.until(Said::Healed);
        let start = desk.said.iter().rposition(|said| *said == Said::Start).unwrap();
        let rest: Vec<Said> = (1..=100).map(Said::Order).chain([Said::Healed]).collect();
        assert_eq!(desk.said[start + 1..], rest, "the last snapshot is whole, and what came before it is void");
        assert_eq!(desk.counter("recovery_snapshots_broken"), 2);
    });
}

#[test]
fn without_any_snapshot_what_is_missing_is_lost() {
    let glimpse = snapshots(|_| b"\0\x02JS".to_vec());
    with(Limits { largest_gap: 1, retries: 1, ..ROOMY }, &[], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(100, 1));
        desk.until(Said::Order(100));
        assert!(desk.said.contains(&Said::Gap(2, 100)));
        assert_eq!(desk.counter("recovery_failed"), 1);
    });
}

#[test]
fn a_snapshot_that_goes_on_where_the_feed_has_never_been_is_not_believed() {
    let lie = |_| {
        let mut bytes = snapshot(5);
        let end = bytes.len() - 20;
        bytes[end..].copy_from_slice(&soupbin::number(u64::MAX));
        bytes
    };
    let glimpse = snapshots(lie);
    with(Limits { largest_gap: 1, ..ROOMY }, &[], Some(&glimpse), |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(100, 1));
        desk.until(Said::Order(100));
        let gap = desk.said.iter().position(|said| *said == Said::Gap(2, 100)).unwrap();
        assert!(desk.said[..gap].contains(&Said::Start) && desk.said[gap..].contains(&Said::Order(100)));
        assert_eq!((desk.counter("snapshots"), desk.counter("lost_messages")), (0, 98));
    });
}

#[test]
fn who_comes_late_begins_with_a_snapshot() {
    let glimpse = snapshots(|_| snapshot(5001));
    with(ROOMY, &[], Some(&glimpse), |desk| {
        desk.packet(&packet(5000, 2));
        assert_eq!(desk.said, [Said::Late], "at once");
        desk.until(Said::Healed);
        assert_eq!(desk.orders(), Vec::from_iter(1..=5001));
    });
}

#[test]
fn a_new_session_leaves_what_was_missing_in_the_last_one() {
    let server = rerequests(|_, _| Vec::new());
    with(Limits { retries: 100, ..ROOMY }, &[&server], None, |desk| {
        desk.packet(&packet(1, 1));
        desk.packet(&packet(3, 1));
        desk.until(Said::Late);
        desk.packet(&packet_of(*b"SESSION-BB", 1, 2));
        desk.settle();
        use Said::{Healed, Late, Order, Start};
        assert_eq!(desk.said, [Order(1), Late, Start, Order(1), Order(2), Healed]);
    });
}

#[test]
fn a_silent_feed_is_late_until_it_speaks() {
    with(ROOMY, &[], None, |desk| {
        desk.packet(&packet(1, 1));
        desk.feed.fell_silent(desk.now, &mut desk.window);
        desk.feed.fell_silent(desk.now, &mut desk.window);
        desk.settle();
        desk.packet(&packet(2, 0));
        use Said::{Healed, Late, Order};
        assert_eq!(desk.said, [Order(1), Late, Healed], "a heartbeat will do");
        assert_eq!((desk.counter("silences"), desk.counter("late")), (1, 1));
    });
}
