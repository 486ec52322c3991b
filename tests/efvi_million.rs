//! A million frames each way at once between two cards of the test double, through the owners, with faults on: in order and whole, each
//! discard in the account, and in the end every buffer where it was. One process, one test.

#![cfg(efvi_double)]

use efvi_sys::double;
use std::net::SocketAddrV4;
use tickpath::dpdk::ethdev::Offload;
use tickpath::dpdk::{BURST, Burst, Eal, Frame, Mempool, Socket, free_burst};
use tickpath::efvi::{Ctpio, Filter, Port, Protocol, RxCounters, RxQueue, TxQueue};
use tickpath::wire::{ethernet, igmp, ipv4, udp};

const FRAMES: u64 = 1_000_000;
const SLOTS: u32 = 512;
const GROUP: &str = "239.192.80.1:47010";

/// Payload of the frame with this number: 8 to 399 bytes.
fn payload_bytes(number: u64) -> usize {
    8 + (number % 392) as usize
}

fn write(frame: &mut Frame, number: u64) {
    let to: SocketAddrV4 = GROUP.parse().unwrap();
    let payload = payload_bytes(number);
    let room = frame.append(42 + payload).unwrap();
    let dst = igmp::mac(*to.ip());
    let tags = ethernet::Tags::None;
    ethernet::Repr { dst, src: [2, 0, 0, 0, 0, 9], tags, ethertype: ethernet::IPV4 }.emit(&mut room[..14]).unwrap();
    let src = [198, 18, 0, 1].into();
    let ip = ipv4::Repr { src, dst: *to.ip(), protocol: ipv4::UDP, ttl: 1, service: 0, identification: 0 };
    ip.emit(8 + payload, &mut room[14..34]).unwrap();
    udp::Repr { src_port: 1, dst_port: to.port() }.emit(payload, &mut room[34..42]).unwrap();
    room[42..50].copy_from_slice(&number.to_be_bytes());
    room[50..].fill(number as u8);
    udp::fill_checksum(&mut room[34..], src, *to.ip());
}

/// The number of a frame that is as it was sent.
fn read(frame: &Frame) -> u64 {
    let bytes = frame.bytes();
    let number = u64::from_be_bytes(bytes[42..50].try_into().unwrap());
    assert_eq!(bytes.len(), 42 + payload_bytes(number));
    assert!(bytes[50..].iter().all(|byte| *byte == number as u8), "frame {number}");
    number
}

struct End {
    tx: TxQueue,
    rx: RxQueue,
    out: Mempool,
    into: Mempool,
    waiting: Burst,
    written: u64,
    next: u64,
    good: u64,
}

impl End {
    fn open(eal: &Eal, name: &str) -> End {
        let pool =
            |way: &str| Mempool::frames_in_pages(eal, &format!("{name} {way}"), 1535, 0, 2048, Socket::Any).unwrap();
        let (out, into) = (pool("out"), pool("into"));
        let port = Port::new(name, Ctpio { mode: Offload::Required, threshold: 64 }, Offload::IfAvailable);
        let filter = Filter { protocol: Protocol::Udp, local: GROUP.parse().unwrap(), peer: None, vlan: None };
        let tx = port.transmitter(&out, SLOTS).unwrap();
        let rx = port.receiver(&into, SLOTS, &[filter]).unwrap();
        End { tx, rx, out, into, waiting: Burst::new(), written: 0, next: 0, good: 0 }
    }

    fn send(&mut self) {
        while self.written < FRAMES && self.waiting.len() < BURST / 2 {
            let Some(mut frame) = self.out.alloc() else { break };
            write(&mut frame, self.written);
            self.written += 1;
            self.waiting.push(frame);
        }
        self.tx.burst(&mut self.waiting);
        self.tx.poll();
        while self.tx.stamped().is_some() {}
    }

    fn receive(&mut self, burst: &mut Burst) {
        self.rx.burst(burst, BURST);
        for frame in burst.iter() {
            let number = read(frame);
            assert!(number >= self.next, "{number} after {}", self.next);
            self.next = number + 1;
            self.good += 1;
        }
        free_burst(burst);
    }

    fn told(&self) -> u64 {
        self.good + self.rx.counters().dropped()
    }
}

#[test]
fn a_million_frames_each_way_are_whole_and_accounted_for() {
    let prefix = format!("--file-prefix=tickpath-million-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores", "0@0", &prefix].map(String::from);
    let eal = Eal::init("tickpath", &args).unwrap();
    double::reset();
    double::script(
        "interface a ef10 101 0 02:00:00:00:00:0a\ninterface b ef10 102 0 02:00:00:00:00:0b\nwire a b\n\
         set a crc-every 997\nset b csum-every 1009\nset b trunc-every 5003\nset a ctpio-lose-every 7\n\
         set b ctpio-poison-every 101\nset a completion-polls 3\nset b eagain-every 13\nset b rx-stamp-absent-every 11\n",
    )
    .unwrap();
    let (mut a, mut b) = (End::open(&eal, "a"), End::open(&eal, "b"));
    let mut burst = Burst::new();
    let card = |name: &str| double::counters(name).unwrap();
    loop {
        a.send();
        b.receive(&mut burst);
        b.send();
        a.receive(&mut burst);
        let sent = |end: &End| end.tx.counters().sent == FRAMES && end.tx.counters().outstanding == 0;
        if sent(&a) && sent(&b) && a.told() == card("a").matched && b.told() == card("b").matched {
            break;
        }
    }
    let [on_a, on_b] = ["a", "b"].map(card);
    assert_eq!((on_a.sent, on_b.sent), (FRAMES, FRAMES));
    assert_eq!((on_b.offered, on_a.offered), (FRAMES, FRAMES + on_b.ctpio_poisoned));
    assert_eq!((a.good, b.good), (on_a.delivered, on_b.delivered));
    let discards = |end: &End, reason: &str| {
        let at = RxCounters::REASONS.iter().position(|name| name.starts_with(reason)).unwrap();
        end.rx.counters().discards[at]
    };
    assert_eq!(discards(&a, "CRC"), on_a.discarded_crc);
    assert_eq!((discards(&b, "checksum"), discards(&b, "truncated")), (on_b.discarded_csum, on_b.discarded_trunc));
    assert_eq!(a.rx.counters().dropped(), on_a.discarded_crc);
    assert_eq!(b.rx.counters().dropped(), on_b.discarded_csum + on_b.discarded_trunc);
    assert!(on_a.discarded_crc > FRAMES / 1000 && on_b.discarded_csum == FRAMES / 1009);
    for (end, card) in [(&a, on_a), (&b, on_b)] {
        let counters = end.tx.counters();
        assert_eq!((counters.ctpio, counters.failed), (card.ctpio_won, 0));
        assert_eq!(counters.fallbacks, card.ctpio_lost + card.ctpio_poisoned);
        assert!(counters.fallbacks > 0);
        assert_eq!((card.filtered, card.no_descriptor, card.lost, card.waiting, card.tx_held), (0, 0, 0, 0, 0));
        assert_eq!((end.tx.fill_level(), u64::from(end.rx.fill_level())), (0, end.rx.counters().posted));
    }
    let pools = [&a.out, &a.into, &b.out, &b.into].map(Mempool::clone);
    drop((a, b));
    assert_eq!(pools.map(|pool| pool.in_use()), [0; 4], "every buffer came back");
}
