//! What a hop costs: `rte_ring` by pointers, by 64-byte and 128-byte elements (copied by DPDK, copied by us into the
//! ring's own memory, built there), and the `rtrb` crate beside it, by burst size.
//!
//! Prints TSC cycles an element for enqueue + dequeue on one core (the least of many rounds), and ns for a round trip
//! between two lcores (the median). Figures are for comparing columns of one run, not runs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickpath::cpu;
use tickpath::dpdk::{Eal, Socket, lcore, ring};

const BURSTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const DEPTH: usize = 1024;

#[derive(Clone, Copy, PartialEq)]
#[repr(align(64))]
struct Element<const WORDS: usize>([u64; WORDS]);

fn main() {
    let prefix = format!("--file-prefix=tickpath-bench-{}", std::process::id());
    let args = ["--no-huge", "-m", "64", "--no-pci", "--no-telemetry", "--no-shconf", "--lcores=0@0,1@0,2@1", &prefix];
    let eal = match Eal::init("ring", &args.map(String::from)) {
        Ok(eal) => eal,
        Err(err) => {
            eprintln!("{err}");
            std::process::exit(1);
        }
    };
    println!("cycles an element, enqueue + dequeue on one core, by burst size");
    print!("{:<34}", "");
    BURSTS.iter().for_each(|n| print!("{n:>7}"));
    println!();
    row("8 B, rte_ring of pointers", |n| raw::<1>(&eal, n, Raw::Pointers));
    row("8 B, ours", |n| ours::<u64>(&eal, n, 7));
    row("8 B, rtrb", |n| beside(n, 7u64));
    row("64 B, rte_ring _burst_elem", |n| raw::<8>(&eal, n, Raw::Elements));
    row("64 B, ours: copied in place", |n| ours(&eal, n, Element([7; 8])));
    row("64 B, ours: built in place", |n| built(&eal, n, Element([7; 8])));
    row("64 B, rtrb", |n| beside(n, Element([7; 8])));
    row("128 B, rte_ring _burst_elem", |n| raw::<16>(&eal, n, Raw::Elements));
    row("128 B, ours: copied in place", |n| ours(&eal, n, Element([7; 16])));
    row("128 B, rtrb", |n| beside(n, Element([7; 16])));
    println!("\nns a round trip of one element between two lcores, median");
    println!("{:<34}{:>7.0}", "64 B, ours", across_ours(&eal));
    println!("{:<34}{:>7.0}", "64 B, rtrb", across_rtrb(&eal));
}

fn row(name: &str, cost: impl Fn(usize) -> f64) {
    print!("{name:<34}");
    BURSTS.iter().for_each(|n| print!("{:>7.1}", cost(*n)));
    println!();
}

/// Cycles an element of `step`, which moves `n`: the least mean of a hundred passes, each of some hundred steps.
fn least(n: usize, mut step: impl FnMut()) -> f64 {
    let steps = (4096 / n).max(64);
    let pass = |step: &mut dyn FnMut()| {
        let start = cpu::rdtsc();
        (0..steps).for_each(|_| step());
        (cpu::rdtsc() - start) as f64 / (steps * n) as f64
    };
    (0..200).map(|_| pass(&mut step)).fold(f64::INFINITY, f64::min)
}

fn ours<T: Copy + Send>(eal: &Eal, n: usize, value: T) -> f64 {
    let (mut tx, mut rx) = ring::spsc::<T>(eal, "ours", DEPTH, Socket::Any).unwrap();
    let (from, mut to) = (vec![value; n], vec![value; n]);
    least(n, || {
        tx.push_slice(black_box(&from));
        rx.pop_slice(black_box(&mut to));
    })
}

fn built<const W: usize>(eal: &Eal, n: usize, value: Element<W>) -> f64 {
    let (mut tx, mut rx) = ring::spsc::<Element<W>>(eal, "built", DEPTH, Socket::Any).unwrap();
    let mut sum = 0;
    let cost = least(n, || {
        tx.fill(n, |slots| while slots.push(*black_box(&value)).is_ok() {});
        sum += rx.consume(n, |a, b| a.iter().chain(b).map(|e| e.0[0] + e.0[W - 1]).sum::<u64>());
    });
    black_box(sum);
    cost
}

fn beside<T: Copy + Send>(n: usize, value: T) -> f64 {
    let (mut tx, mut rx) = rtrb::RingBuffer::<T>::new(DEPTH);
    let (from, mut to) = (vec![value; n], vec![value; n]);
    if n == 1 {
        return least(n, || {
            let _ = tx.push(*black_box(&value));
            black_box(rx.pop().ok());
        });
    }
    least(n, || {
        let _ = tx.push_entire_slice(black_box(&from));
        let _ = rx.pop_entire_slice(black_box(&mut to));
    })
}

#[derive(Clone, Copy)]
enum Raw {
    Pointers,
    Elements,
}

/// DPDK's own calls, as a C program would make them.
fn raw<const W: usize>(_eal: &Eal, n: usize, how: Raw) -> f64 {
    let (esize, n32) = (size_of::<[u64; W]>() as u32, n as u32);
    let (from, mut to) = (vec![[7u64; W]; n], vec![[0u64; W]; n]);
    let mut left = 0;
    // SAFETY: EAL is running; the ring holds elements of `esize` bytes, as both buffers do, and is freed once at the end.
    unsafe {
        let ring = dpdk_sys::rte_ring_create_elem(c"raw".as_ptr(), esize, DEPTH as u32, -1, dpdk_sys::SHIM_RING_SPSC);
        assert!(!ring.is_null());
        let cost = least(n, || {
            let (from, to) = (black_box(from.as_ptr()), black_box(to.as_mut_ptr()));
            match how {
                Raw::Pointers => {
                    dpdk_sys::shim_ring_enqueue_ptrs(ring, from.cast(), n32, &mut left);
                    dpdk_sys::shim_ring_dequeue_ptrs(ring, to.cast(), n32, &mut left);
                }
                Raw::Elements => {
                    dpdk_sys::shim_ring_enqueue(ring, from.cast(), esize, n32, &mut left);
                    dpdk_sys::shim_ring_dequeue(ring, to.cast(), esize, n32, &mut left);
                }
            }
        });
        dpdk_sys::rte_ring_free(ring);
        cost
    }
}

const ROUNDS: u64 = 20_000;

fn across_ours(eal: &Eal) -> f64 {
    let (mut there, mut there_rx) = ring::spsc::<Element<8>>(eal, "there", DEPTH, Socket::Any).unwrap();
    let (mut back, mut back_rx) = ring::spsc::<Element<8>>(eal, "back", DEPTH, Socket::Any).unwrap();
    across(
        eal,
        |value| {
            while there.push(value).is_err() {}
            loop {
                if let Some(value) = back_rx.pop() {
                    return value;
                }
                cpu::pause();
            }
        },
        || match there_rx.pop() {
            Some(value) => back.push(value).is_ok(),
            None => false,
        },
    )
}

fn across_rtrb(eal: &Eal) -> f64 {
    let (mut there, mut there_rx) = rtrb::RingBuffer::<Element<8>>::new(DEPTH);
    let (mut back, mut back_rx) = rtrb::RingBuffer::<Element<8>>::new(DEPTH);
    across(
        eal,
        |value| {
            while there.push(value).is_err() {}
            loop {
                if let Ok(value) = back_rx.pop() {
                    return value;
                }
                cpu::pause();
            }
        },
        || match there_rx.pop() {
            Ok(value) => back.push(value).is_ok(),
            Err(_) => false,
        },
    )
}

/// Median ns of `there_and_back`, with `echo` answering on another lcore.
fn across(
    eal: &Eal,
    mut there_and_back: impl FnMut(Element<8>) -> Element<8> + Send,
    mut echo: impl FnMut() -> bool + Send,
) -> f64 {
    let cycles = AtomicU64::new(0);
    let workers = eal.workers();
    lcore::scope(eal, |s| {
        s.launch(workers[0], || {
            let mut seen: Vec<u64> = (0..ROUNDS)
                .map(|i| {
                    let start = cpu::rdtsc();
                    assert!(there_and_back(Element([i; 8])).0[7] == i);
                    cpu::rdtsc() - start
                })
                .collect();
            seen.sort_unstable();
            cycles.store(seen[seen.len() / 2], Ordering::Relaxed);
        })
        .unwrap();
        s.launch(workers[1], || {
            let mut answered = 0;
            while answered < ROUNDS {
                if echo() {
                    answered += 1;
                } else {
                    cpu::pause();
                }
            }
        })
        .unwrap();
    })
    .unwrap();
    cycles.load(Ordering::Relaxed) as f64 * ns_per_cycle()
}

fn ns_per_cycle() -> f64 {
    let (start, tsc) = (Instant::now(), cpu::rdtsc());
    std::thread::sleep(Duration::from_millis(50));
    start.elapsed().as_nanos() as f64 / (cpu::rdtsc() - tsc) as f64
}
