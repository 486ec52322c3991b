//! The exchange as its clients meet it, on real sockets: what is written here by hand goes in, what comes out is read by the
//! offsets of the specifications, by `tickpath::wire` and by the oracle.

mod oracle;

use oracle::{Oracle, be};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tickpath::exchange::batch::Batch;
use tickpath::exchange::matching::{Market, Output};
use tickpath::exchange::orders::{Request, Terms};
use tickpath::exchange::{Addresses, Config, Credentials, Exchange, Odds, OrderHarm, Report};
use tickpath::port::capture::Speed;
use tickpath::synth::{self, Messages, Mix};
use tickpath::wire::{itch50, moldudp64, ouch50};

/// Longer than anything here takes: a test that waits for what never comes fails.
const PATIENCE: Duration = Duration::from_secs(30);
const SESSION: &[u8; 10] = b"TICKPATH01";

/// An exchange in a thread of its own.
struct Running {
    addresses: Addresses,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

impl Running {
    fn start(config: Config) -> Running {
        let exchange = Exchange::bind(config).unwrap();
        let addresses = exchange.addresses().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || exchange.run(&told).unwrap());
        Running { addresses, stop, thread: Some(thread) }
    }

    /// Until it ends by itself.
    fn end(mut self) -> Report {
        self.thread.take().unwrap().join().unwrap()
    }

    fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.end()
    }

    /// Messages 1 to `last`, by the re-request server.
    fn published(&self, last: u64) -> Vec<Vec<u8>> {
        self.published_until(|messages| messages.len() as u64 >= last)
    }

    /// Everything to the end of the day.
    fn published_to_the_end(&self) -> Vec<Vec<u8>> {
        self.published_until(|messages| messages.last().is_some_and(|last| last[0] == b'S' && last[11] == b'C'))
    }

    fn published_until(&self, done: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        published_until(self.addresses.rerequest, done)
    }

    fn snapshot(&self) -> (Vec<Vec<u8>>, u64) {
        let mut client = Client::connect(self.addresses.snapshot);
        client.login(1);
        assert_eq!(client.packet(), Some((b'A', b"TICKPATH01                   1".to_vec())));
        let mut messages = client.sequenced();
        let last = messages.pop().unwrap();
        assert_eq!((last.len(), last[0]), (21, b'G'));
        (messages, std::str::from_utf8(&last[1..]).unwrap().parse().unwrap())
    }
}

/// Messages from the first on, by a re-request server, until there are enough.
fn published_until(server: SocketAddr, done: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut packet = [0; 2048];
    let mut requests = 0;
    while !done(&messages) {
        requests += 1;
        assert!(requests < 10_000, "{} messages were published", messages.len());
        let sequence = messages.len() as u64 + 1;
        let request = [&SESSION[..], &sequence.to_be_bytes(), &1000u16.to_be_bytes()].concat();
        socket.send_to(&request, server).unwrap();
        // What is not published yet is not answered.
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let answer = moldudp64::Packet::parse(&packet[..length]).unwrap();
        assert_eq!(answer.session(), *SESSION);
        if answer.sequence() == sequence {
            messages.extend(answer.messages().map(|message| message.unwrap().to_vec()));
        }
    }
    messages
}

/// A client by plain TCP.
struct Client {
    stream: TcpStream,
    /// Sequenced messages it has had, with those before its login.
    seen: u64,
}

impl Client {
    fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, seen: 0 }
    }

    /// Connected and logged in, wanting the response numbered `sequence`.
    fn logged_in(exchange: &Running, sequence: u64) -> Client {
        let mut client = Client::connect(exchange.addresses.orders);
        client.login(sequence);
        let (kind, payload) = client.packet().unwrap();
        assert_eq!((kind, &payload[..10]), (b'A', &SESSION[..]));
        assert_eq!(std::str::from_utf8(&payload[10..]).unwrap(), format!("{sequence:>20}"));
        client.seen = sequence - 1;
        client
    }

    fn login(&mut self, sequence: u64) {
        self.send(b'L', format!("USER01PASSWORD  {:10}{sequence:>20}", "").as_bytes());
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        let packet = [&(payload.len() as u16 + 1).to_be_bytes()[..], &[kind], payload].concat();
        self.stream.write_all(&packet).unwrap();
    }

    fn enter(&mut self, order: &Enter) {
        self.send(b'U', &order.bytes());
    }

    fn cancel(&mut self, urn: u32, remain: u32) {
        self.send(b'U', &[&b"X"[..], &urn.to_be_bytes(), &remain.to_be_bytes()].concat());
    }

    fn replace(&mut self, original: u32, urn: u32, qty: u32, price: u64) {
        let numbers = [original.to_be_bytes(), urn.to_be_bytes(), qty.to_be_bytes()].concat();
        self.send(b'U', &[&b"U"[..], &numbers, &price.to_be_bytes(), b"0YN", b"CLIENT00000002", &[0, 0]].concat());
    }

    /// The next packet, `None` at the end of the stream.
    fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut length = [0; 2];
        match self.stream.read(&mut length[..1]) {
            Ok(0) => return None,
            Ok(_) => self.stream.read_exact(&mut length[1..]).unwrap(),
            Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(err) => panic!("nothing came: {err}"),
        }
        let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut body).unwrap();
        let payload = body.split_off(1);
        Some((body[0], payload))
    }

    /// The next sequenced message; heartbeats are passed over.
    fn response(&mut self) -> Vec<u8> {
        loop {
            match self.packet() {
                Some((b'S', payload)) => {
                    self.seen += 1;
                    return payload;
                }
                Some((b'H', _)) => {}
                other => panic!("expected a response, found {other:?}"),
            }
        }
    }

    /// The sequenced messages to the end of the stream.
    fn sequenced(&mut self) -> Vec<Vec<u8>> {
        let packets = std::iter::from_fn(|| self.packet());
        packets.filter(|(kind, _)| *kind == b'S').map(|(_, payload)| payload).collect()
    }

    /// Logs out; whatever came before the stream ended.
    fn log_out(mut self) -> Vec<Vec<u8>> {
        self.send(b'O', b"");
        self.sequenced()
    }
}

/// A new order.
#[derive(Clone, Copy)]
struct Enter {
    urn: u32,
    side: u8,
    qty: u32,
    symbol: [u8; 8],
    price: u64,
}

impl Enter {
    fn bytes(&self) -> Vec<u8> {
        let head = [&b"O"[..], &self.urn.to_be_bytes(), &[self.side], &self.qty.to_be_bytes()].concat();
        [&head[..], &self.symbol, &self.price.to_be_bytes(), b"0YPNN", b"CLIENT00000001", &[0, 0]].concat()
    }
}

/// Type, number, and what matters of the rest, read by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    System(u8),
    Accepted { urn: u32, qty: u32, price: u64 },
    Replaced { original: u32, urn: u32, qty: u32, price: u64 },
    Canceled { urn: u32, qty: u32, reason: u8 },
    Executed { urn: u32, qty: u32, price: u64, liquidity: u8 },
    Rejected { urn: u32, reason: u16 },
}

fn said(response: &[u8]) -> Said {
    // Ours reads it too.
    ouch50::parse_outbound(response).unwrap();
    let u32_at = |at| be(response, at, 4) as u32;
    match response[0] {
        b'S' => Said::System(response[9]),
        b'A' => Said::Accepted { urn: u32_at(9), qty: u32_at(14), price: be(response, 26, 8) },
        b'U' => Said::Replaced { original: u32_at(9), urn: u32_at(13), qty: u32_at(18), price: be(response, 30, 8) },
        b'C' => Said::Canceled { urn: u32_at(9), qty: u32_at(13), reason: response[17] },
        b'E' => Said::Executed { urn: u32_at(9), qty: u32_at(13), price: be(response, 17, 8), liquidity: response[25] },
        b'J' => Said::Rejected { urn: u32_at(9), reason: be(response, 13, 2) as u16 },
        other => panic!("{other}"),
    }
}

/// A small market at once, held open before its close, on a line that nobody hears.
fn config(messages: u64, symbols: u32) -> Config {
    let nobody = SocketAddrV4::new([127, 0, 0, 1].into(), 9);
    Config {
        market: synth::Config { seed: 5, messages, symbols, ..synth::Config::default() },
        speed: Speed::Max,
        hold: true,
        line_a: nobody,
        line_b: Some(nobody),
        linger: Duration::ZERO,
        ..Config::new(Credentials::new("USER01", "PASSWORD").unwrap())
    }
}

/// Messages before the market's close: M, E and C are the last three.
const CLOSING: u64 = 3;

/// The symbol of the book with the most on both sides, its best bid and its best ask.
fn touch(oracle: &Oracle) -> ([u8; 8], (i64, u64), (i64, u64)) {
    let depth = |book: &oracle::Book| book.bids.len().min(book.asks.len());
    let (symbol, book) = oracle.books.iter().max_by_key(|(_, book)| depth(book)).unwrap();
    let mut padded = [b' '; 8];
    padded[..symbol.len()].copy_from_slice(symbol.as_bytes());
    (padded, book.top_bids(1)[0], book.top_asks(1)[0])
}

fn told<'m>(messages: impl IntoIterator<Item = &'m Vec<u8>>) -> Oracle {
    let mut oracle = Oracle::default();
    messages.into_iter().for_each(|message| {
        oracle.itch(message);
    });
    oracle
}

#[test]
fn a_client_trades_breaks_off_and_gets_exactly_what_it_missed() {
    let exchange = Running::start(config(3_000, 4));
    let (symbol, bid, ask) = touch(&told(&exchange.published(3_000 - CLOSING)));
    let (low, high) = (bid.0 as u64 - 100, ask.0 as u64);
    let order = |urn, side, qty, price| Enter { urn, side, qty, symbol, price };

    let mut client = Client::logged_in(&exchange, 1);
    let expect = |client: &mut Client, expected: &[Said]| {
        for expected in expected {
            assert_eq!(said(&client.response()), *expected);
        }
    };
    expect(&mut client, &[Said::System(b'S')]);
    client.enter(&order(1, b'B', 300, low));
    expect(&mut client, &[Said::Accepted { urn: 1, qty: 300, price: low }]);
    client.cancel(1, 100);
    expect(&mut client, &[Said::Canceled { urn: 1, qty: 200, reason: b'U' }]);
    client.replace(1, 2, 500, low - 100);
    expect(&mut client, &[Said::Replaced { original: 1, urn: 2, qty: 500, price: low - 100 }]);
    // One share more than the best ask has in all: the last executions leave one share standing at its price.
    let all = ask.1 as u32;
    client.enter(&order(3, b'B', all + 1, high));
    expect(&mut client, &[Said::Accepted { urn: 3, qty: all + 1, price: high }]);
    let mut bought = 0;
    while bought < all {
        let Said::Executed { urn: 3, qty, price, liquidity: b'R' } = said(&client.response()) else { panic!("a fill") };
        assert_eq!(price, high);
        bought += qty;
    }
    assert_eq!(bought, all);
    client.enter(&order(4, b'B', 0, low));
    expect(&mut client, &[Said::Rejected { urn: 4, reason: 0x13 }]);
    let seen = client.seen;
    drop(client);

    // Orders of a client that is gone are cancelled at once: that is what it missed.
    let mut again = Client::logged_in(&exchange, seen + 1);
    let missed = [2, 3].map(|urn| Said::Canceled { urn, qty: if urn == 2 { 500 } else { 1 }, reason: b'Z' });
    expect(&mut again, &missed);
    again.enter(&order(3, b'B', 100, low));
    again.enter(&order(5, b'B', 100, low));
    // The third is a repeat; the fifth stands until the logout.
    expect(&mut again, &[Said::Accepted { urn: 5, qty: 100, price: low }]);
    let rest = again.log_out();
    assert_eq!(rest, Vec::<Vec<u8>>::new());

    let report = exchange.end();
    let states: BTreeMap<u32, (String, u32)> =
        report.orders.iter().map(|order| (order.urn, (order.state.to_string(), order.filled))).collect();
    let expected =
        [(1, "replaced", 0), (2, "cancelled", 0), (3, "cancelled", all), (4, "rejected", 0), (5, "cancelled", 0)];
    assert_eq!(states, expected.map(|(urn, state, filled)| (urn, (state.to_owned(), filled))).into());
    assert_eq!(report.summary.positions.values().copied().collect::<Vec<_>>(), [i64::from(all)]);
    assert_eq!((report.summary.orders.repeats, report.summary.order_session.disconnects), (1, 1));
    assert_eq!((report.summary.order_session.logins, report.summary.order_session.logouts), (2, 1));
}

#[test]
fn a_login_is_refused_for_a_reason_and_replays_from_any_number() {
    let exchange = Running::start(config(3_000, 4));
    let (symbol, bid, _) = touch(&told(&exchange.published(3_000 - CLOSING)));
    let attempt = |text: &str| {
        let mut client = Client::connect(exchange.addresses.orders);
        client.send(b'L', text.as_bytes());
        client.packet()
    };
    let refused = |reason: u8| Some((b'J', vec![reason]));
    assert_eq!(attempt("USER01WRONG     TICKPATH01                   1"), refused(b'A'));
    assert_eq!(attempt("USER02PASSWORD  TICKPATH01                   1"), refused(b'A'));
    assert_eq!(attempt("USER01PASSWORD  OTHER                        1"), refused(b'S'));
    assert_eq!(attempt("USER01PASSWORD  TICKPATH01                   3"), refused(b'S'));

    let mut client = Client::logged_in(&exchange, 1);
    let all: Vec<Vec<u8>> = (1..=4u32)
        .map(|urn| {
            if urn > 1 {
                client.enter(&Enter { urn, side: b'B', qty: 100, symbol, price: bid.0 as u64 - 100 });
            }
            client.response()
        })
        .collect();
    let mut before = vec![client];
    for from in 1..=4 {
        // A new login takes the place of the one before, and what stands is not touched.
        let mut again = Client::logged_in(&exchange, from);
        let replayed: Vec<Vec<u8>> = (from..=4).map(|_| again.response()).collect();
        assert_eq!(replayed, all[from as usize - 1..], "from {from}");
        before.push(again);
    }
    let report = exchange.stop();
    assert_eq!((report.summary.order_session.logins_refused, report.summary.order_session.taken_over), (4, 4));
    assert_eq!(report.summary.orders.cancel_reasons, BTreeMap::from([('T', 3)]));
}

#[test]
fn garbage_and_oversized_packets_drop_their_session_and_nothing_else() {
    let exchange = Running::start(config(3_000, 4));
    let (symbol, bid, _) = touch(&told(&exchange.published(3_000 - CLOSING)));
    let order = |urn| Enter { urn, side: b'B', qty: 100, symbol, price: bid.0 as u64 - 100 };
    let mut client = Client::logged_in(&exchange, 1);
    client.response();
    let strangers: [&[u8]; 6] =
        [b"\0\0", b"\xff\xffU", b"\0\x02UX", b"\0\x01?", b"\0\x02LX", b"GET / HTTP/1.0\r\n\r\n"];
    for garbage in strangers {
        for to in [exchange.addresses.orders, exchange.addresses.snapshot] {
            let mut stranger = Client::connect(to);
            stranger.stream.write_all(garbage).unwrap();
            assert_eq!(stranger.packet(), None, "{garbage:?}");
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.send_to(garbage, exchange.addresses.rerequest).unwrap();
    }
    client.enter(&order(1));
    assert!(matches!(said(&client.response()), Said::Accepted { urn: 1, .. }));

    // Packets that are whole and hold no OUCH cost the client its session, once each, and its orders with it.
    let mut seen = client.seen;
    drop(client);
    for (urn, broken) in (2..).zip([&b"O"[..], b"", b"Z", &order(9).bytes()[..46]]) {
        let mut client = Client::logged_in(&exchange, seen + 1);
        assert_eq!(said(&client.response()), Said::Canceled { urn: urn - 1, qty: 100, reason: b'Z' });
        client.enter(&order(urn));
        client.response();
        seen = client.seen;
        client.send(b'U', broken);
        assert_eq!(client.packet(), None);
    }
    let report = exchange.stop();
    let session = report.summary.order_session;
    assert_eq!((session.broken, session.logins), (6 + 4, 5));
    assert_eq!(report.summary.rerequests.refused, 6);
    assert_eq!((report.summary.orders.accepted, report.orders.len()), (5, 5));
}

#[test]
fn both_lines_decode_and_what_they_dropped_can_be_asked_for() {
    const MESSAGES: u64 = 20_000;
    let lines = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = lines.each_ref().map(|line| match line.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("an IPv4 socket"),
    });
    let harm = "drop=0.1,duplicate=0.05,reorder=0.05,delay=0.02,delay-by=2ms";
    let market = synth::Config {
        seed: 6,
        messages: MESSAGES,
        symbols: 20,
        mix: Mix::all(),
        rate: 60_000,
        ..synth::Config::default()
    };
    let exchange = Running::start(Config {
        market: market.clone(),
        speed: Speed::Factor(1.0),
        hold: false,
        line_a: to[0],
        line_b: Some(to[1]),
        line_harm: [harm.parse().unwrap(), harm.parse().unwrap()],
        heartbeat: Duration::from_millis(20),
        linger: Duration::from_secs(3600),
        ..config(MESSAGES, 20)
    });
    let heard = lines.map(|line| std::thread::spawn(move || hear(&line)));
    let heard = heard.map(|thread| thread.join().unwrap());
    let everything = exchange.published(MESSAGES);
    let report = exchange.stop();

    let mut source = Messages::new(&market).unwrap();
    for (sequence, message) in (1..).zip(&everything) {
        assert_eq!(source.next_message(), Some(&message[..]), "{sequence}");
        itch50::parse(message).unwrap();
    }
    assert_eq!((source.next_message(), report.summary.messages), (None, MESSAGES));
    for (line, counts) in heard.iter().zip(&report.summary.lines) {
        assert!(
            counts.dropped > 100 && counts.duplicated > 50 && counts.reordered > 50 && counts.delayed > 10,
            "{counts:?}"
        );
        for (sequence, message) in line {
            assert_eq!(*message, everything[*sequence as usize - 1], "{sequence}");
        }
        assert!(line.len() < MESSAGES as usize);
    }
    // The oracle reads packets as it reads those of a capture, and misses what the line dropped.
    assert_eq!(told(&everything).messages.values().sum::<u64>(), MESSAGES);
}

/// Messages of a line by sequence number, until it says that the session is over.
fn hear(line: &UdpSocket) -> BTreeMap<u64, Vec<u8>> {
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut messages = BTreeMap::new();
    let mut oracle = Oracle::default();
    let mut bytes = [0; 2048];
    loop {
        let length = line.recv(&mut bytes).unwrap();
        let packet = moldudp64::Packet::parse(&bytes[..length]).unwrap();
        oracle.mold(&bytes[..length], &mut |_, _, _| {});
        match packet.kind() {
            moldudp64::Kind::EndOfSession => break,
            moldudp64::Kind::Heartbeat => {}
            moldudp64::Kind::Messages => {
                messages.extend((packet.sequence()..).zip(packet.messages().map(|message| message.unwrap().to_vec())));
            }
        }
    }
    assert_eq!((oracle.sessions, oracle.ends_of_session), (1, 1));
    messages
}

#[test]
fn a_snapshot_and_the_feed_from_its_sequence_give_the_book_of_the_whole_feed() {
    const MESSAGES: u64 = 30_000;
    let exchange =
        Running::start(Config { venue: "here".to_owned(), linger: Duration::from_secs(3600), ..config(MESSAGES, 8) });
    let opened = told(&exchange.published(MESSAGES - CLOSING));
    let (symbol, bid, ask) = touch(&opened);
    let mut client = Client::logged_in(&exchange, 1);
    client.response();
    let mut trade = |urns: std::ops::Range<u32>| {
        for urn in urns {
            let (side, price) = if urn % 2 == 0 { (b'B', bid.0 as u64 - 100) } else { (b'S', bid.0 as u64) };
            client.enter(&Enter { urn, side, qty: 10 + urn, symbol, price });
        }
        // Answered when everything before it is.
        client.enter(&Enter { urn: 1_000, side: b'B', qty: 1, symbol, price: ask.0 as u64 - 100 });
    };
    trade(1..20);
    while !matches!(said(&client.response()), Said::Accepted { urn: 1_000, .. }) {}
    let (snapshot, next) = exchange.snapshot();
    let mut oracle = told(&snapshot);
    assert!(next > MESSAGES - CLOSING + 20);
    assert_eq!(snapshot.iter().filter(|message| message[0] == b'R').count(), 8);
    for urn in 1_001..1_020 {
        client.enter(&Enter { urn, side: b'S', qty: 7, symbol, price: bid.0 as u64 + 100 * u64::from(urn - 1_001) });
    }
    drop(client.log_out());
    let everything = exchange.published_to_the_end();
    for message in &everything[next as usize - 1..] {
        oracle.itch(message);
    }
    let whole = told(&everything);
    assert_eq!(oracle.books, whole.books);
    let report = exchange.stop();
    let books = report.books.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let books: BTreeMap<_, _> = books.map(|book| (book["symbol"].as_str().unwrap().to_owned(), book)).collect();
    assert_eq!(books, whole.books_json("here", 10));
    assert_eq!(report.summary.snapshots, 1);
}

#[test]
fn the_same_seed_and_orders_give_the_same_bytes() {
    let harm = OrderHarm {
        reject: "0.1".parse().unwrap(),
        partial_fill: "0.3".parse().unwrap(),
        cross_replace: "0.3".parse().unwrap(),
        ..OrderHarm::default()
    };
    let run = |seed| {
        let market = synth::Config { seed, ..config(5_000, 4).market };
        let linger = Duration::from_secs(3600);
        let exchange = Running::start(Config { market, order_harm: harm.clone(), linger, ..config(5_000, 4) });
        let (symbol, bid, ask) = touch(&told(&exchange.published(5_000 - CLOSING)));
        let mut client = Client::logged_in(&exchange, 1);
        for urn in (1..200).step_by(2) {
            let (side, price) = if urn % 4 == 1 { (b'B', bid.0) } else { (b'S', ask.0) };
            client.enter(&Enter { urn, side, qty: 100 + urn, symbol, price: price as u64 });
            client.replace(urn, urn + 1, 90, price as u64);
            if urn % 3 == 0 {
                client.cancel(urn + 1, 10);
            }
        }
        let responses = client.log_out();
        (exchange.published_to_the_end(), responses, exchange.stop())
    };
    let (first, second) = (run(8), run(8));
    assert!(first.0 == second.0, "the feeds differ");
    assert!(first.1 == second.1, "the responses differ");
    assert_eq!(first.2.orders, second.2.orders);
    let counts = &first.2.summary.orders;
    assert!(
        counts.accepted > 50 && counts.rejected > 2 && counts.crossed_replaces > 5 && counts.fills > 20,
        "{counts:?}"
    );
    assert!(run(9).0 != first.0, "another seed is another market");
}

#[test]
fn a_disconnect_on_request_withholds_the_last_responses_until_the_next_login() {
    let order_harm =
        OrderHarm { disconnect_at: vec![2], garbage_at: vec![3], oversize_at: vec![4], ..OrderHarm::default() };
    let exchange = Running::start(Config { order_harm, cancel_after: None, ..config(3_000, 4) });
    let (symbol, bid, _) = touch(&told(&exchange.published(3_000 - CLOSING)));
    let order = |urn| Enter { urn, side: b'B', qty: 100, symbol, price: bid.0 as u64 - 100 };
    let accepted =
        |response: &[u8], urn| assert!(matches!(said(response), Said::Accepted { urn: found, .. } if found == urn));
    let mut client = Client::logged_in(&exchange, 1);
    client.response();
    client.enter(&order(1));
    accepted(&client.response(), 1);
    client.enter(&order(2));
    assert_eq!(client.packet(), None);

    let mut client = Client::logged_in(&exchange, 3);
    accepted(&client.response(), 2);
    client.enter(&order(3));
    accepted(&client.response(), 3);
    let mut garbage = [0; 64];
    client.stream.read_exact(&mut garbage).unwrap();
    assert!(garbage.iter().any(|byte| *byte != 0));
    client.enter(&order(4));
    accepted(&client.response(), 4);
    let mut header = [0; 3];
    client.stream.read_exact(&mut header).unwrap();
    assert_eq!(&header, b"\xff\xffS");
    let report = exchange.stop();
    assert_eq!((report.summary.order_session.cut_off, report.summary.orders.accepted), (1, 4));
}

#[test]
fn a_silent_client_is_let_go_and_a_quiet_one_hears_heartbeats() {
    let (heartbeat, idle) = (Duration::from_millis(10), Duration::from_millis(300));
    let exchange = Running::start(Config { heartbeat, idle, ..config(3_000, 4) });
    exchange.published(3_000 - CLOSING);
    let mut client = Client::logged_in(&exchange, 1);
    let packets: Vec<u8> = std::iter::from_fn(|| client.packet()).map(|(kind, _)| kind).collect();
    assert_eq!(packets[0], b'S');
    assert!(packets.len() > 2 && packets[1..].iter().all(|kind| *kind == b'H'), "{packets:?}");
    assert_eq!(exchange.stop().summary.order_session.timeouts, 1);
}

#[test]
fn orders_in_datagrams_are_answered_in_datagrams() {
    let exchange = Running::start(Config { orders_udp_port: Some(0), ..config(3_000, 4) });
    let (symbol, bid, _) = touch(&told(&exchange.published(3_000 - CLOSING)));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(exchange.addresses.orders_udp.unwrap()).unwrap();
    let order = Enter { urn: 1, side: b'B', qty: 100, symbol, price: bid.0 as u64 - 100 }.bytes();
    client.send(&[&[0, order.len() as u8 + 1, b'U'], &order[..]].concat()).unwrap();
    let mut datagram = [0; 2048];
    let length = client.recv(&mut datagram).unwrap();
    assert_eq!((usize::from(datagram[1]) + 2, datagram[2]), (length, b'S'));
    assert!(matches!(said(&datagram[3..length]), Said::Accepted { urn: 1, .. }));
    assert_eq!(exchange.stop().summary.orders.accepted, 1);
}

#[test]
fn captures_of_two_lines_are_published_message_by_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.pcap");
    // Everything that may happen to a line, and a second one that has what the first lost.
    let market = synth::Config {
        seed: 9,
        messages: 12_000,
        symbols: 10,
        second_line: Some(synth::SecondLine { loss: 3, ..synth::SecondLine::default() }),
        damage: synth::Damage { gaps: 3, duplicates: 3, reorder: 3, ..synth::Damage::default() },
        ..synth::Config::default()
    };
    synth::write_pcap(&market, std::fs::File::create(&path).unwrap()).unwrap();
    let linger = Duration::from_secs(3600);
    let exchange = Running::start(Config { captures: vec![path], hold: false, linger, ..config(1_000, 1) });
    let everything = exchange.published_to_the_end();
    exchange.stop();
    let mut source = Messages::new(&market).unwrap();
    for (sequence, message) in (1..).zip(&everything) {
        assert_eq!(source.next_message(), Some(&message[..]), "{sequence}");
    }
    assert_eq!(source.next_message(), None);
}

/// The program, as a script meets it.
#[cfg(feature = "dpdk")]
#[test]
fn the_program_says_where_it_is_and_at_a_signal_what_it_came_to() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_tickpath"))
        .args([
            "exchange",
            "--messages",
            "3000",
            "--symbols",
            "4",
            "--speed",
            "max",
            "--hold",
            "--line-a",
            "127.0.0.1:9",
        ])
        .args(["--one-line", "--summary", &path("s"), "--order-states", &path("o"), "--books", &path("b")])
        .env("TICKPATH_EXCHANGE_USER", "USER01")
        .env("TICKPATH_EXCHANGE_PASSWORD", "PASSWORD")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(program.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((addresses["session"].as_str(), addresses["line_b"].as_str()), (Some("TICKPATH01"), None));
    published_until(addresses["rerequest"].as_str().unwrap().parse().unwrap(), |messages| messages.len() == 2997);
    let mut client = Client::connect(addresses["orders"].as_str().unwrap().parse().unwrap());
    client.login(1);
    assert_eq!(client.packet().map(|(kind, _)| kind), Some(b'A'));
    client.response();
    client.enter(&Enter { urn: 1, side: b'B', qty: 1, symbol: *b"NOTHERE ", price: 1 });
    assert_eq!(said(&client.response()), Said::Rejected { urn: 1, reason: 0x17 });

    assert!(std::process::Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
    let rest = client.sequenced();
    assert_eq!(rest.last().map(|last| said(last)), Some(Said::System(b'E')));
    assert!(program.wait().unwrap().success());
    let mut account = String::new();
    out.read_to_string(&mut account).unwrap();
    assert!(account.contains("orders           0 accepted, 0 replaced, 1 rejected"), "{account}");
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(path("s")).unwrap()).unwrap();
    assert_eq!((&summary["messages"], &summary["orders"]["reject_reasons"]["0x17"]), (&2997.into(), &1.into()));
    let order = r#"{"urn":1,"symbol":"NOTHERE","side":"B","qty":1,"price":1,"filled":0,"leaves":0,"state":"rejected"}"#;
    assert_eq!(std::fs::read_to_string(path("o")).unwrap(), format!("{order}\n"));
    let books = std::fs::read_to_string(path("b")).unwrap();
    assert!(books.starts_with("{\"venue\":\"exchange\",\"symbol\":\"") && books.lines().count() == 4, "{books}");
}

#[test]
fn the_public_book_never_crosses_whatever_clients_do() {
    let config = synth::Config {
        seed: 21,
        messages: 60_000,
        symbols: 3,
        mix: Mix::all(),
        live_orders: Some(400),
        ..synth::Config::default()
    };
    let mut source = Messages::new(&config).unwrap();
    let partial: Odds = "0.2".parse().unwrap();
    let mut market =
        Market::new(21, OrderHarm { partial_fill: partial, cross_replace: partial, ..OrderHarm::default() });
    let (mut output, mut oracle) = (Output::default(), Oracle::default());
    // Not random, but unlike anything in the market: multiples of a prime.
    let mut state = 1u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut urn = 0;
    let see = |oracle: &mut Oracle, feed: &Batch| {
        for message in feed.iter() {
            if let Some(symbol) = oracle.itch(message) {
                assert!(!oracle.books[&symbol].crosses(), "{symbol}: {message:02x?}");
            }
        }
    };
    while let Some(message) = source.next_message() {
        output.begin(1);
        market.generated(message, &mut output);
        see(&mut oracle, &output.feed);
        if draw(4) > 0 {
            continue;
        }
        let Some((symbol, book)) = oracle.books.iter().nth(draw(3) as usize) else { continue };
        let (Some(bid), Some(ask)) = (book.top_bids(1).first().copied(), book.top_asks(1).first().copied()) else {
            continue;
        };
        let mut padded = [b' '; 8];
        padded[..symbol.len()].copy_from_slice(symbol.as_bytes());
        let price = (bid.0 - 300 + 100 * draw(((ask.0 - bid.0) / 100 + 6) as u64) as i64).max(100) as u64;
        let (side, qty) = (if draw(2) == 0 { b'B' } else { b'S' }, 1 + draw(400) as u32);
        let (time_in_force, display, sweep, client_id) =
            (if draw(8) == 0 { b'3' } else { b'0' }, b'Y', b'N', [b' '; 14]);
        let back = urn - urn.min(draw(12) as u32);
        let request = match draw(4) {
            0 => Request::Cancel { urn: back, qty: draw(50) as u32 },
            1 => {
                urn += 1;
                Request::Replace { original: back, urn, qty, price, time_in_force, display, sweep, client_id }
            }
            _ => {
                urn += 1;
                let (capacity, cross) = (b'P', b'N');
                let terms = Terms {
                    side,
                    qty,
                    symbol: padded,
                    price,
                    time_in_force,
                    display,
                    capacity,
                    sweep,
                    cross,
                    client_id,
                };
                Request::Enter { urn, terms }
            }
        };
        output.begin(2);
        market.request(&request, &mut output);
        see(&mut oracle, &output.feed);
        for response in &output.responses {
            said(&response.bytes(2));
        }
    }
    let counts = market.counts();
    assert!(counts.fills > 2_000 && counts.left_out > 1_000 && counts.rewritten > 100, "{counts:?}");
    assert_eq!(oracle.live_orders(), market.book().len());
    for (locate, instrument) in market.book().instruments() {
        let symbol = std::str::from_utf8(instrument.symbol.trim_ascii_end()).unwrap();
        let truth = &oracle.books[symbol];
        let ours =
            |side| market.book().levels(locate, side).into_iter().map(|(p, q)| (i64::from(p), q)).collect::<Vec<_>>();
        assert_eq!(ours(tickpath::market::Side::Buy), truth.top_bids(usize::MAX));
        assert_eq!(ours(tickpath::market::Side::Sell), truth.top_asks(usize::MAX));
    }
    let shares: u64 = market.orders().values().map(|order| u64::from(order.filled)).sum();
    assert_eq!(shares, counts.filled_shares);
}
