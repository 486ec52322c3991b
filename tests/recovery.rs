//! A market over two lines that both lose messages, a re-request server and a snapshot server on loopback: in the end our
//! books are the oracle's, which lost nothing.

mod oracle;

use oracle::Oracle;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tickpath::arena::{self, Arena};
use tickpath::book::{BookConfig, Books};
use tickpath::exchange::{self, Credentials, Exchange, Silence};
use tickpath::feed::{Arbitration, Feed, FeedConfig, HealConfig, Moment, Protocol, Window};
use tickpath::market::{Element, Instrument, Packet, Side};
use tickpath::recovery::{self, Login, Recovery, Settings};
use tickpath::synth::{Config, Messages, Mix};

const SESSION: &[u8; 10] = b"000000042A";
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages that neither line brings, in the middle of the day: more than are asked for one by one.
const BLACKOUT: std::ops::Range<u64> = 30_000..33_000;

#[test]
fn after_losses_on_both_lines_books_are_those_of_a_receiver_that_lost_nothing() {
    let config = Config { seed: 5, messages: 60_000, symbols: 50, mix: Mix::all(), ..Config::default() };
    let mut messages = Messages::new(&config).unwrap();
    let mut day: Vec<Vec<u8>> = Vec::new();
    while let Some(message) = messages.next_message() {
        day.push(message.to_vec());
    }
    let day = Arc::new(day);
    let last = day.len() as u64;
    let sent = Arc::new(AtomicU64::new(1));
    let stop = Arc::<AtomicBool>::default();
    let rerequests = rerequests(day.clone(), stop.clone());
    let snapshots = snapshots(day.clone(), sent.clone(), stop.clone());

    let books = BookConfig { instruments: 50, orders: 60_000, depth_levels: 8, spill_levels: 60_000 };
    let config = FeedConfig {
        protocol: Protocol::Itch50,
        channels: 1,
        sequence: true,
        symbols: None,
        limit: 50,
        arbitration: Arbitration { window_ns: 20_000, packets: 2048 },
    };
    let mut memory = (arena::heap(Feed::bytes(&config)), arena::heap(books.bytes()));
    let (link, desk) = recovery::link(256);
    let settings = Settings {
        interface: Ipv4Addr::LOCALHOST,
        servers: vec![rerequests],
        snapshot: Some(snapshots),
        login: Login::new("", "").unwrap(),
        timeout: Duration::from_millis(30),
        retries: 20,
    };
    let servers = Recovery::start(settings, desk, || {}).unwrap();
    let heal = HealConfig { stale_after_ns: 100_000, largest_gap: 1000, snapshot: true };
    let feed = Feed::new(&config, &mut Arena::new(&mut memory.0)).unwrap().healed_by(link, heal);
    let books = Books::new(&books, &mut Arena::new(&mut memory.1)).unwrap();
    let mut desk = Desk { feed, books, window: Window::new(0), directory: HashMap::new(), now: 0 };

    let mut draw = Draw(99);
    let mut first = 1;
    let mut behind = Vec::new();
    while first <= last {
        let count = (1 + draw.below(20)).min(last + 1 - first);
        for line in 0..2 {
            if BLACKOUT.contains(&first) || draw.below(100) < 3 {
                continue;
            }
            let packet = (line, mold(&day, first, count));
            // Now and then one comes after its successor.
            if draw.below(50) == 0 {
                behind.push(packet);
                continue;
            }
            desk.packet(packet);
            behind.drain(..).for_each(|packet| desk.packet(packet));
        }
        first += count;
        sent.store(first, Ordering::Relaxed);
        // So that servers have their say while the day goes on.
        if draw.below(20) == 0 {
            thread::sleep(Duration::from_micros(100));
        }
    }
    // The day ends with heartbeats.
    let began = Instant::now();
    while desk.feed.held() > 0 || desk.feed.is_unsettled() || desk.feed.messages().values().sum::<u64>() < last - 3000 {
        assert!(began.elapsed() < PATIENCE, "{:?}", desk.feed.counters());
        for line in 0..2 {
            desk.packet((line, mold(&day, last + 1, 0)));
        }
        thread::sleep(Duration::from_micros(200));
    }
    drop(servers);
    stop.store(true, Ordering::Relaxed);

    let counters = desk.feed.counters();
    assert_eq!((counters.gaps, counters.lost_messages, counters.window_full), (0, 0, 0));
    assert!(counters.recovered_messages > 0 && counters.snapshots > 0 && counters.held_packets > 0, "{counters:?}");
    let mut truth = Oracle::default();
    day.iter().for_each(|message| drop(truth.itch(message)));
    for (symbol, wanted) in &truth.books {
        let Some(&instrument) = desk.directory.get(symbol) else {
            assert_eq!(wanted, &oracle::Book::default(), "{symbol} was never defined");
            continue;
        };
        let ours = desk.books.book(instrument);
        let side = |side| ours.side(side).map(|level| (level.price.0, level.qty)).collect::<Vec<_>>();
        assert_eq!(side(Side::Buy), wanted.top_bids(usize::MAX), "{symbol}");
        assert_eq!(side(Side::Sell), wanted.top_asks(usize::MAX), "{symbol}");
        assert!(!ours.stale(), "{symbol}: nothing is missing any more");
    }
    assert_eq!(desk.books.live_orders() as usize, truth.live_orders());
}

/// Feed and books as parse and strategy run them.
struct Desk<'m> {
    feed: Feed<'m>,
    books: Books<'m>,
    window: Window,
    directory: HashMap<String, Instrument>,
    now: u64,
}

impl Desk<'_> {
    fn packet(&mut self, (line, payload): (u8, Vec<u8>)) {
        self.now += 5_000;
        while self.feed.is_unsettled() {
            let ready = self.feed.settle(Moment::Packet(self.now), &mut self.window, |_, _| {}, |_| {});
            self.apply();
            if ready {
                break;
            }
        }
        let head = Packet { arrival_ns: self.now, line, ..Packet::default() };
        self.feed.packet(&payload, &head, &mut self.window, |_, _| {});
        self.apply();
    }

    fn apply(&mut self) {
        for element in self.window.rest() {
            if let Element::Define { instrument, symbol } = element {
                self.directory.insert(symbol.to_string(), *instrument);
            }
            self.books.apply(element);
        }
        self.window.take(self.window.rest().len());
    }
}

/// xorshift64*: numbers that only have to be the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// MoldUDP64 by the specification's table: session, sequence, count, then length and message each.
fn mold(day: &[Vec<u8>], first: u64, count: u64) -> Vec<u8> {
    let mut bytes = [&SESSION[..], &first.to_be_bytes(), &(count as u16).to_be_bytes()].concat();
    for message in day.iter().skip(first as usize - 1).take(count as usize) {
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
    }
    bytes
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

/// Answers with at most 25 messages, and now and then not at all.
fn rerequests(day: Arc<Vec<Vec<u8>>>, stop: Arc<AtomicBool>) -> SocketAddrV4 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let address = v4(socket.local_addr().unwrap());
    thread::spawn(move || {
        let (mut bytes, mut draw) = ([0; 64], Draw(7));
        while !stop.load(Ordering::Relaxed) {
            let Ok((_, from)) = socket.recv_from(&mut bytes) else { continue };
            let first = u64::from_be_bytes(bytes[10..18].try_into().unwrap());
            let count = u64::from(u16::from_be_bytes(bytes[18..20].try_into().unwrap()));
            if draw.below(10) > 0 {
                socket.send_to(&mold(&day, first, count.min(25)), from).unwrap();
            }
        }
    });
    address
}

/// Serves what stands after the messages sent so far.
fn snapshots(day: Arc<Vec<Vec<u8>>>, sent: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = v4(listener.local_addr().unwrap());
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.read_exact(&mut [0; 49]).unwrap();
            let next = sent.load(Ordering::Relaxed);
            let mut bytes = b"\0\x1fASESSION001                   1".to_vec();
            for message in standing(&day[..next as usize - 1]) {
                bytes.extend((message.len() as u16 + 1).to_be_bytes());
                bytes.push(b'S');
                bytes.extend(message);
            }
            bytes.extend(format!("\0\x16SG{next:>20}").bytes());
            // The client may have thought better of it.
            let _ = stream.write_all(&bytes);
        }
    });
    address
}

/// The directory, and one `A` for each order that stands, by the offsets of the specification.
fn standing(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let u64_at = |m: &[u8], at: usize| u64::from_be_bytes(m[at..at + 8].try_into().unwrap());
    let u32_at = |m: &[u8], at: usize| u32::from_be_bytes(m[at..at + 4].try_into().unwrap());
    let mut directory = Vec::new();
    let mut orders: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for m in messages {
        match m[0] {
            b'R' => directory.push(m.clone()),
            b'A' | b'F' if u32_at(m, 20) > 0 => {
                let mut add = m[..36].to_vec();
                add[0] = b'A';
                orders.entry(u64_at(m, 11)).or_insert(add);
            }
            b'E' | b'C' | b'X' => {
                let reference = u64_at(m, 11);
                if let Some(order) = orders.get_mut(&reference) {
                    let left = u32_at(order, 20).saturating_sub(u32_at(m, 19));
                    order[20..24].copy_from_slice(&left.to_be_bytes());
                    if left == 0 {
                        orders.remove(&reference);
                    }
                }
            }
            b'D' => drop(orders.remove(&u64_at(m, 11))),
            b'U' => {
                if let Some(mut order) = orders.remove(&u64_at(m, 11)) {
                    order[11..19].copy_from_slice(&m[19..27]);
                    order[20..24].copy_from_slice(&m[27..31]);
                    order[32..36].copy_from_slice(&m[31..35]);
                    if u32_at(&order, 20) > 0 {
                        orders.insert(u64_at(m, 19), order);
                    }
                }
            }
            _ => {}
        }
    }
    directory.into_iter().chain(orders.into_values()).collect()
}

#[test]
fn against_the_exchange_nothing_is_lost_for_good() {
    let lines = [0, 1].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    lines.iter().for_each(|line| line.set_nonblocking(true).unwrap());
    let [a, b] = [0, 1].map(|line: usize| v4(lines[line].local_addr().unwrap()));
    let harm = "drop=0.03,duplicate=0.01,reorder=0.02".parse().unwrap();
    let market = Config { seed: 8, messages: 20_000, symbols: 30, ..Config::default() };
    let exchange = Exchange::bind(exchange::Config {
        market,
        session: *SESSION,
        line_a: a,
        line_b: Some(b),
        line_harm: [harm, harm],
        // More is missing after it than is asked for one by one.
        silence: Some(Silence { at: 10_000, lasts: Duration::from_millis(30) }),
        rerequest_loss: "0.1".parse().unwrap(),
        heartbeat: Duration::from_millis(20),
        linger: PATIENCE,
        ..exchange::Config::new(Credentials::new("USER01", "PASSWORD").unwrap())
    });
    let exchange = exchange.unwrap();
    let addresses = exchange.addresses().unwrap();
    let stop = Arc::<AtomicBool>::default();
    let stopped = stop.clone();
    let running = thread::spawn(move || exchange.run(&stopped).unwrap());

    let books = BookConfig { instruments: 30, orders: 60_000, depth_levels: 8, spill_levels: 60_000 };
    let config = FeedConfig {
        protocol: Protocol::Itch50,
        channels: 1,
        sequence: true,
        symbols: None,
        limit: 30,
        arbitration: Arbitration { window_ns: 200_000, packets: 8192 },
    };
    let mut memory = (arena::heap(Feed::bytes(&config)), arena::heap(books.bytes()));
    let (link, desk) = recovery::link(256);
    let settings = Settings {
        interface: Ipv4Addr::LOCALHOST,
        servers: vec![v4(addresses.rerequest)],
        snapshot: Some(v4(addresses.snapshot)),
        login: Login::new("USER01", "PASSWORD").unwrap(),
        timeout: Duration::from_millis(30),
        retries: 20,
    };
    let servers = Recovery::start(settings, desk, || {}).unwrap();
    let heal = HealConfig { stale_after_ns: 1_000_000, largest_gap: 200, snapshot: true };
    let feed = Feed::new(&config, &mut Arena::new(&mut memory.0)).unwrap().healed_by(link, heal);
    let books = Books::new(&books, &mut Arena::new(&mut memory.1)).unwrap();
    let mut desk = Desk { feed, books, window: Window::new(0), directory: HashMap::new(), now: 0 };

    // Until the end of the session has been said and nothing is missing.
    let (began, mut bytes) = (Instant::now(), [0; 2048]);
    while desk.feed.counters().ends_of_session == 0 || desk.feed.held() > 0 {
        assert!(began.elapsed() < PATIENCE, "{:?}", desk.feed.counters());
        for (line, socket) in (0..).zip(&lines) {
            while let Ok(length) = socket.recv(&mut bytes) {
                desk.now = began.elapsed().as_nanos() as u64;
                desk.packet((line, bytes[..length].to_vec()));
            }
        }
        desk.now = began.elapsed().as_nanos() as u64;
        desk.feed.settle(Moment::Packet(desk.now), &mut desk.window, |_, _| {}, |_| {});
        desk.apply();
        thread::yield_now();
    }
    drop(servers);
    let published = all_messages(v4(addresses.rerequest), desk.feed.counters());
    stop.store(true, Ordering::Relaxed);
    running.join().unwrap();

    let counters = desk.feed.counters();
    assert_eq!((counters.gaps, counters.lost_messages, counters.window_full), (0, 0, 0));
    assert!(counters.recovered_messages > 0 && counters.snapshots > 0, "{counters:?}");
    let mut truth = Oracle::default();
    published.iter().for_each(|message| drop(truth.itch(message)));
    for (symbol, wanted) in &truth.books {
        let Some(&instrument) = desk.directory.get(symbol) else {
            assert_eq!(wanted, &oracle::Book::default(), "{symbol} was never defined");
            continue;
        };
        let ours = desk.books.book(instrument);
        let side = |side| ours.side(side).map(|level| (level.price.0, level.qty)).collect::<Vec<_>>();
        assert_eq!(side(Side::Buy), wanted.top_bids(usize::MAX), "{symbol}");
        assert_eq!(side(Side::Sell), wanted.top_asks(usize::MAX), "{symbol}");
    }
}

/// What the exchange published, asked of it message by message until it has no more.
fn all_messages(server: SocketAddrV4, counters: &tickpath::feed::Counters) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut messages, mut bytes, mut silent): (Vec<Vec<u8>>, _, _) = (Vec::new(), [0; 2048], 0);
    // One in ten requests is lost on purpose.
    while silent < 20 {
        let first = messages.len() as u64 + 1;
        let request = [&SESSION[..], &first.to_be_bytes(), &1000u16.to_be_bytes()].concat();
        socket.send_to(&request, server).unwrap();
        silent += 1;
        let Ok(length) = socket.recv(&mut bytes) else { continue };
        let mut rest = &bytes[20..length];
        if bytes[10..18] != first.to_be_bytes() || rest.is_empty() {
            continue;
        }
        silent = 0;
        while let [high, low, blocks @ ..] = rest {
            let (message, after) = blocks.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            messages.push(message.to_vec());
            rest = after;
        }
    }
    assert!(messages.len() >= 20_000, "{} of {counters:?}", messages.len());
    messages
}
