//! What handing something to another stage costs: pointers and 64-byte elements, by copy and in place, by burst, beside
//! rtrb; on one core (the instructions), and there and back between two (the cache lines).

use super::process::cpus;
use super::table::{Rounds, Row, note, row};
use super::{Context, Failure};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tickpath::dpdk::{Eal, Lcore, Socket, lcore, ring};
use tickpath::market::{Element, Packet};

const DEPTH: usize = 1024;

/// Elements in a piece: under 2 ms.
const PIECE: usize = 64_000;

const ELEMENT: Element = Element::Packet(Packet {
    arrival_ns: 1,
    rx_tsc: 2,
    parsed_tsc: 3,
    sequence: 4,
    count: 5,
    burst_size: 6,
    burst_position: 7,
    line: 8,
    channel: 9,
    stamp_domain: 0,
    waiting: 10,
    session: 0,
    stamp: 11,
});

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let eal = context.eal()?;
    let rounds = if context.quick { 5 } else { 15 };
    one_core(&eal, rounds)?;
    if cpus()[0] == cpus()[1] {
        note("one CPU: the hop between two is left out");
        return Ok(());
    }
    two_cores(&eal, rounds)
}

/// In and out again on this core, ns an element.
fn one_core(eal: &Eal, rounds: usize) -> Result<(), Failure> {
    let (mut pointer_in, mut pointer_out) = ring::spsc::<usize>(eal, "bench-pointers", DEPTH, Socket::Any)?;
    let (mut element_in, mut element_out) = ring::spsc::<Element>(eal, "bench-elements", DEPTH, Socket::Any)?;
    let (mut peer_pointer_in, mut peer_pointer_out) = rtrb::RingBuffer::<usize>::new(DEPTH);
    let (mut peer_in, mut peer_out) = rtrb::RingBuffer::<Element>::new(DEPTH);
    for burst in [1, 8, 32] {
        let [mut pointers, mut copies, mut places, mut peer_pointers, mut peers] = [(); 5].map(|()| Rounds::default());
        let (words, elements) = ([7usize; 32], [ELEMENT; 32]);
        let (mut words_out, mut elements_out) = ([0usize; 32], [Element::SessionStart; 32]);
        for _ in 0..rounds {
            pointers.push(pieces(burst, || {
                pointer_in.push_slice(black_box(&words[..burst]));
                black_box(pointer_out.pop_slice(&mut words_out[..burst]));
            }));
            copies.push(pieces(burst, || {
                element_in.push_slice(black_box(&elements[..burst]));
                black_box(element_out.pop_slice(&mut elements_out[..burst]));
            }));
            places.push(pieces(burst, || {
                element_in.fill(burst, |slots| {
                    for _ in 0..burst {
                        let _ = slots.push(*black_box(&ELEMENT));
                    }
                });
                element_out.consume(burst, |first, second| {
                    black_box((first, second));
                });
            }));
            peer_pointers.push(pieces(burst, || through(&mut peer_pointer_in, &mut peer_pointer_out, &words[..burst])));
            peers.push(pieces(burst, || through(&mut peer_in, &mut peer_out, &elements[..burst])));
        }
        let what = |of: &str| format!("one core, {of}, {}", by(burst));
        let line = |of: &str, ours, peer| {
            row(&Row { what: &what(of), unit: "ns each", ours, peer: Some(("rtrb", peer)), target: None });
        };
        line("pointers", pointers, peer_pointers);
        line("64 B copied", copies, peers.clone());
        line("64 B built and read in place", places, peers);
    }
    Ok(())
}

fn by(burst: usize) -> String {
    if burst == 1 { "single".into() } else { format!("bursts of {burst}") }
}

/// One burst through rtrb, in chunks where there is more than one element.
fn through<T: Copy>(producer: &mut rtrb::Producer<T>, consumer: &mut rtrb::Consumer<T>, elements: &[T]) {
    if let [one] = elements {
        let _ = producer.push(*black_box(one));
        let _ = black_box(consumer.pop());
        return;
    }
    if let Ok(chunk) = producer.write_chunk_uninit(elements.len()) {
        chunk.fill_from_iter(black_box(elements).iter().copied());
    }
    if let Ok(chunk) = consumer.read_chunk(elements.len()) {
        for element in chunk {
            black_box(&element);
        }
    }
}

/// Each piece moves `PIECE` elements; ns an element.
fn pieces(burst: usize, mut step: impl FnMut()) -> Vec<f64> {
    let piece = |step: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..PIECE / burst {
            step();
        }
        start.elapsed().as_nanos() as f64 / PIECE as f64
    };
    (0..2).map(|_| piece(&mut step)).collect()
}

/// To the other core and back, one element at a time: ns a round trip, two hops.
fn two_cores(eal: &Eal, rounds: usize) -> Result<(), Failure> {
    let trips = 4_000;
    let (mut ping, mut ping_out) = ring::spsc::<Element>(eal, "bench-ping", DEPTH, Socket::Any)?;
    let (mut pong, mut pong_out) = ring::spsc::<Element>(eal, "bench-pong", DEPTH, Socket::Any)?;
    let (mut peer_ping, mut peer_ping_out) = rtrb::RingBuffer::<Element>::new(DEPTH);
    let (mut peer_pong, mut peer_pong_out) = rtrb::RingBuffer::<Element>::new(DEPTH);
    let (mut flow_in, mut flow_out) = ring::spsc::<Element>(eal, "bench-flow", DEPTH, Socket::Any)?;
    let (mut peer_flow_in, mut peer_flow_out) = rtrb::RingBuffer::<Element>::new(DEPTH);
    let stop = AtomicBool::new(false);
    let [mut ours, mut theirs] = [(); 2].map(|()| Rounds::default());
    let mut flows = [8, 32].map(|burst| (burst, Rounds::default(), Rounds::default()));
    let other = Lcore::new(1);
    lcore::scope(eal, |scope| {
        scope.launch(other, || {
            let mut into = [Element::SessionStart; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Some(element) = ping_out.pop() {
                    let _ = pong.push(element);
                }
                if let Ok(element) = peer_ping_out.pop() {
                    let _ = peer_pong.push(element);
                }
                black_box(flow_out.pop_slice(&mut into));
                if let Ok(chunk) = peer_flow_out.read_chunk(peer_flow_out.slots().min(64)) {
                    chunk.into_iter().for_each(|element| {
                        black_box(&element);
                    });
                }
            }
        })?;
        for _ in 0..rounds {
            ours.push(round_trips(trips, || {
                let _ = ping.push(ELEMENT);
                while pong_out.pop().is_none() {}
            }));
            theirs.push(round_trips(trips, || {
                let _ = peer_ping.push(ELEMENT);
                while peer_pong_out.pop().is_err() {}
            }));
            for (burst, ours, theirs) in &mut flows {
                let elements = [ELEMENT; 32];
                let n = *burst;
                ours.push(pieces(n, || {
                    let mut sent = 0;
                    while sent < n {
                        sent += flow_in.push_slice(&elements[sent..n]);
                    }
                }));
                theirs.push(pieces(n, || {
                    loop {
                        if let Ok(chunk) = peer_flow_in.write_chunk_uninit(n) {
                            chunk.fill_from_iter(elements[..n].iter().copied());
                            break;
                        }
                    }
                }));
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok::<(), tickpath::dpdk::DpdkError>(())
    })
    .map_err(|panicked| Failure::Other(panicked.to_string()))??;
    let peer = |rounds| Some(("rtrb", rounds));
    row(&Row { what: "two cores, 64 B there and back", unit: "ns", ours, peer: peer(theirs), target: None });
    for (burst, ours, theirs) in flows {
        let what = format!("two cores, 64 B copied, a steady flow, bursts of {burst}");
        row(&Row { what: &what, unit: "ns each", ours, peer: peer(theirs), target: None });
    }
    note("the answering core polls four rings, ours and rtrb's, in each measurement");
    Ok(())
}

fn round_trips(n: usize, mut trip: impl FnMut()) -> Vec<f64> {
    let mut times: Vec<f64> = (0..n)
        .map(|_| {
            let start = Instant::now();
            trip();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    // The median of many: a trip during which a core was taken away says nothing.
    times.sort_by(f64::total_cmp);
    vec![times[n / 2]]
}
