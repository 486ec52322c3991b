//! The kill switch at the last place before the wire: after one poll of tx nothing but cancels leaves, whatever waited in
//! the ring, in the burst, or for a port that took nothing. One process, one test: EAL starts once.

#![cfg(feature = "dpdk")]

use std::sync::Arc;
use tickpath::dpdk::ethdev::{Offload, PortConfig, RxConfig};
use tickpath::dpdk::ring::{Producer, spsc};
use tickpath::dpdk::{BURST, Burst, Eal, Frame, Mempool, Port, RxQueue, Socket, free_burst};
use tickpath::market::{Order, OrderEventKind, OrderKind, Price, Refusal, Symbol};
use tickpath::port::OrderPort;
use tickpath::risk::KillReason;
use tickpath::session::{Endpoint, Protocol, UDP_HEADERS, UdpTransport};
use tickpath::stages::{Shared, Stamps, Transport, Tx, TxParts};

/// Frames that a net_ring device holds: one less than it has slots.
const DEVICE: u64 = 1023;

#[test]
fn after_one_poll_nothing_but_cancels_leaves() {
    let prefix = format!("--file-prefix=tickpath-kill-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores=0@0", &prefix, "--vdev=net_ring0"].map(String::from);
    let eal = Eal::init("tickpath", &args).unwrap();
    let pool = Mempool::frames(&eal, "frames", 8191, 0, 2048, Socket::Any).unwrap();
    let config = PortConfig {
        rx: vec![RxConfig { pool: pool.clone(), descriptors: 256 }],
        tx: vec![256],
        checksum: Offload::IfAvailable,
        timestamp: Offload::IfAvailable,
        ..PortConfig::default()
    };
    let mut port = Port::open(&eal, "net_ring0").unwrap().start(&config).unwrap();
    // What the device is sent comes out here: the wire.
    let mut wire = port.rx.remove(0);
    let (mut down, input) = spsc::<Frame>(&eal, "orders", 4096, Socket::Any).unwrap();
    let shared = Arc::<Shared>::default();
    let end = |host: u8| Endpoint { mac: [2, 0, 0, 0, 0, host], address: format!("10.0.0.{host}:1").parse().unwrap() };
    let parts = TxParts {
        input: Some(input),
        events: None,
        port: OrderPort::Ethdev(port.tx.remove(0)),
        transport: Transport::Udp(UdpTransport::new(end(1), end(2), &Protocol::Ouch50)),
        burst: 32,
        stamps: Stamps::OFF,
        recorder: None,
        kill: shared.kill().clone(),
        line: 1,
    };
    let mut tx = Tx::new(parts, shared.clone());

    // More than the device holds, a cancel after every nine orders.
    let sent: Vec<OrderKind> = (0..2000)
        .map(|i| if i % 10 == 9 { OrderKind::Cancel } else { [OrderKind::Enter, OrderKind::Replace][i % 2] })
        .collect();
    sent.iter().enumerate().for_each(|(i, kind)| hand_down(&mut down, &pool, i as u64, *kind));
    for _ in 0..100 {
        tx.poll();
    }
    assert!(tx.refusals() > 0, "the port takes no more");
    let before = leave(&mut wire);
    assert_eq!(before, (0..DEVICE).collect::<Vec<_>>(), "everything left, in order");

    shared.kill().trip(KillReason::Command);
    let mut refused = Vec::new();
    let mut after = Vec::new();
    for _ in 0..2000 {
        tx.poll();
        after.extend(leave(&mut wire));
        while let Some(event) = tx.event() {
            assert_eq!((event.kind, event.reason), (OrderEventKind::LocalReject, Refusal::Killed as u16));
            refused.push(event.id);
        }
    }
    let is_cancel = |id: &u64| sent[*id as usize] == OrderKind::Cancel;
    let (cancels, others): (Vec<u64>, Vec<u64>) = (DEVICE..2000).partition(is_cancel);
    assert_eq!(after, cancels, "every cancel left, and nothing else did");
    refused.sort_unstable();
    assert_eq!(refused, others, "strategy is told of every other");
    assert!(tx.ledger().balances() && tx.is_idle());
}

/// A frame as encode makes it; its message is the order's id.
fn hand_down(down: &mut Producer<Frame>, pool: &Mempool, id: u64, kind: OrderKind) {
    let mut frame = pool.alloc().unwrap();
    let bytes = frame.append(UDP_HEADERS + 8).unwrap();
    bytes[UDP_HEADERS..].copy_from_slice(&id.to_be_bytes());
    frame.set_private(Order {
        price: Price(10_000),
        symbol: Symbol(*b"CVLT    "),
        qty: 100,
        burst_size: 1,
        ..Order::uncaused(kind, id)
    });
    assert!(down.push(frame).is_ok());
}

/// Ids of what is on the wire.
fn leave(wire: &mut RxQueue) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut burst = Burst::new();
    while wire.burst(&mut burst, BURST) > 0 {
        ids.extend(burst.iter().map(|frame| u64::from_be_bytes(*frame.bytes().last_chunk().unwrap())));
        free_burst(&mut burst);
    }
    ids
}
