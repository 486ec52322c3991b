//! Rings and lcores on a real EAL: one process, one test.

use arrayvec::ArrayVec;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tickpath::dpdk::{Eal, Frame, Lcore, Mempool, Socket, lcore, ring};
use tickpath::market::{Element, Packet};

fn start() -> Eal {
    let prefix = format!("--file-prefix=tickpath-rings-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores", "0@0,(1-2)@(0-1)", &prefix].map(String::from);
    Eal::init("tickpath", &args).unwrap()
}

#[test]
fn rings_and_lcores_keep_their_promises() {
    let eal = start();
    a_ring_holds_exactly_its_depth_in_order(&eal);
    bursts_wrap_around_the_end(&eal);
    every_element_size_survives_the_ring(&eal);
    slots_are_filled_and_read_in_place(&eal);
    elements_left_inside_are_dropped(&eal);
    frames_left_inside_go_home(&eal);
    bad_sizes_and_names_are_refused(&eal);
    a_million_elements_cross_two_lcores(&eal);
    lcores_borrow_run_and_return_their_panics(&eal);
    lcores_that_cannot_run_are_refused(&eal);
}

fn element(i: u64) -> Element {
    Element::Packet(Packet { arrival_ns: i, sequence: !i, count: i as u16, ..Packet::default() })
}

fn a_ring_holds_exactly_its_depth_in_order(eal: &Eal) {
    let (mut tx, mut rx) = ring::spsc::<u64>(eal, "exact", 5, Socket::Any).unwrap();
    assert_eq!((tx.capacity(), tx.free(), rx.len(), rx.capacity()), (5, 5, 0, 5));
    for i in 0..5 {
        tx.push(i).unwrap();
    }
    assert_eq!(tx.push(5), Err(5));
    assert_eq!((tx.free(), rx.len(), tx.high_water()), (0, 5, 5));
    assert_eq!((0..5).map(|_| rx.pop()).collect::<Vec<_>>(), (0..5).map(Some).collect::<Vec<_>>());
    assert_eq!(rx.pop(), None);
    assert_eq!(tx.high_water(), 5);
}

fn bursts_wrap_around_the_end(eal: &Eal) {
    let (mut tx, mut rx) = ring::spsc::<Element>(eal, "wrap", 7, Socket::Any).unwrap();
    let (mut next_in, mut next_out) = (0, 0);
    for round in 0..100 {
        let n = 1 + round % 9;
        let mut burst: ArrayVec<Element, 16> = (next_in..next_in + n).map(element).collect();
        let sent = tx.push_burst(&mut burst);
        assert_eq!(sent, n.min(7) as usize);
        assert_eq!(burst.as_slice(), (next_in + sent as u64..next_in + n).map(element).collect::<Vec<_>>());
        next_in += sent as u64;
        let mut out = ArrayVec::<Element, 16>::new();
        out.push(element(u64::MAX));
        assert_eq!(rx.pop_burst(&mut out), sent);
        assert_eq!(out[1..], (next_out..next_in).map(element).collect::<Vec<_>>());
        next_out = next_in;
    }
    assert_eq!(tx.push_slice(&[element(1), element(2)]), 2);
    let mut out = [element(0); 3];
    assert_eq!(rx.pop_slice(&mut out), 2);
    assert_eq!(out, [element(1), element(2), element(0)]);
    assert_eq!(tx.push_slice(&[]), 0);
    assert_eq!(tx.high_water(), 7);
}

fn every_element_size_survives_the_ring(eal: &Eal) {
    fn check<T: Send + Copy + PartialEq + std::fmt::Debug>(eal: &Eal, name: &str, make: impl Fn(u32) -> T) {
        let (mut tx, mut rx) = ring::spsc::<T>(eal, name, 6, Socket::Any).unwrap();
        let mut next = 0;
        for n in [1, 2, 6, 3, 5, 1, 4, 6] {
            let sent: Vec<T> = (next..next + n).map(&make).collect();
            assert_eq!(tx.push_slice(&sent), n as usize);
            let mut got = vec![make(0); n as usize];
            assert_eq!(rx.pop_slice(&mut got), n as usize);
            assert_eq!(got, sent);
            next += n;
        }
    }
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(128))]
    struct Wide([u32; 32]);
    check(eal, "size4", |i| i);
    check(eal, "size8", u64::from);
    check(eal, "size12", |i| [i, !i, i * 3]);
    check(eal, "size16", u128::from);
    check(eal, "size64", |i| element(i.into()));
    check(eal, "size128", |i| Wide([i; 32]));
}

fn slots_are_filled_and_read_in_place(eal: &Eal) {
    let (mut tx, mut rx) = ring::spsc::<Element>(eal, "slots", 6, Socket::Any).unwrap();
    let (mut next_in, mut next_out) = (0, 0);
    for round in 0..50 {
        let want = 1 + round % 8;
        tx.fill(want, |slots| {
            assert_eq!(slots.room(), want.min(6));
            while slots.push(element(next_in)).is_ok() {
                next_in += 1;
            }
            assert_eq!(slots.room(), 0);
        });
        let n = rx.consume(usize::MAX, |first, second| {
            for got in first.iter().chain(second) {
                assert_eq!(*got, element(next_out));
                next_out += 1;
            }
            first.len() + second.len()
        });
        assert_eq!((n, rx.len()), (want.min(6), 0));
    }
    let built = catch_unwind(AssertUnwindSafe(|| {
        tx.fill(4, |slots| {
            slots.push(element(next_in)).unwrap();
            panic!("in the middle of a reservation");
        })
    }));
    assert!(built.is_err());
    assert_eq!((rx.len(), rx.pop(), tx.free()), (1, Some(element(next_in)), 6));
    tx.fill(3, |_| ());
    assert_eq!((rx.len(), tx.free(), tx.high_water()), (0, 6, 6));
}

fn elements_left_inside_are_dropped(eal: &Eal) {
    let counted = Arc::new(());
    let (mut tx, mut rx) = ring::spsc::<Arc<()>>(eal, "left", 8, Socket::Any).unwrap();
    for _ in 0..6 {
        tx.push(Arc::clone(&counted)).unwrap();
    }
    drop(rx.pop());
    drop(tx);
    assert_eq!(Arc::strong_count(&counted), 6, "the consumer may still read them");
    drop(rx);
    assert_eq!(Arc::strong_count(&counted), 1);
}

fn frames_left_inside_go_home(eal: &Eal) {
    let pool = Mempool::frames(eal, "ringed", 15, 0, 64, Socket::Any).unwrap();
    let (mut tx, rx) = ring::spsc::<Frame>(eal, "frames", 8, Socket::Any).unwrap();
    for _ in 0..8 {
        tx.push(pool.alloc().unwrap()).unwrap();
    }
    let refused = tx.push(pool.alloc().unwrap()).unwrap_err();
    assert_eq!(pool.in_use(), 9);
    drop(refused);
    drop((tx, rx));
    assert_eq!(pool.in_use(), 0);
}

fn bad_sizes_and_names_are_refused(eal: &Eal) {
    for depth in [0, 1 << 30] {
        let err = ring::spsc::<u64>(eal, "depth", depth, Socket::Any).unwrap_err().to_string();
        assert!(err.contains("from 1 to") && err.contains(&depth.to_string()), "{err}");
    }
    let err = ring::spsc::<[u64; 8]>(eal, "memory", 1 << 24, Socket::Any).unwrap_err().to_string();
    assert!(err.contains("`memory`") && err.contains("MB") && err.contains("raise -m"), "{err}");
    let err = ring::spsc::<u64>(eal, "a\0b", 8, Socket::Any).unwrap_err().to_string();
    assert!(err.contains("NUL"), "{err}");
}

fn a_million_elements_cross_two_lcores(eal: &Eal) {
    const N: u64 = 1_000_000;
    let (mut tx, mut rx) = ring::spsc::<Element>(eal, "million", 1024, Socket::Any).unwrap();
    let workers = eal.workers();
    let mut received = 0;
    lcore::scope(eal, |s| {
        s.launch(workers[0], move || {
            let mut next = 0;
            while next < N {
                let mut burst: ArrayVec<Element, 32> = (next..N.min(next + 1 + next % 32)).map(element).collect();
                while !burst.is_empty() {
                    next += tx.push_burst(&mut burst) as u64;
                    if !burst.is_empty() {
                        std::thread::yield_now();
                    }
                }
            }
        })
        .unwrap();
        s.launch(workers[1], || {
            let mut burst = ArrayVec::<Element, 64>::new();
            while received < N {
                if rx.pop_burst(&mut burst) == 0 {
                    std::thread::yield_now();
                }
                for got in burst.drain(..) {
                    assert_eq!(got, element(received));
                    received += 1;
                }
            }
        })
        .unwrap();
    })
    .unwrap();
    assert_eq!(received, N);
}

fn lcores_borrow_run_and_return_their_panics(eal: &Eal) {
    let workers = eal.workers();
    assert_eq!(workers, [Lcore::new(1), Lcore::new(2)]);
    assert_eq!((lcore::current(), eal.main_lcore()), (Some(Lcore::new(0)), Lcore::new(0)));
    assert_eq!(std::thread::spawn(lcore::current).join().unwrap(), None);
    let (runs, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let panicked = lcore::scope(eal, |s| {
        s.launch(workers[0], || {
            assert_eq!(lcore::current(), Some(workers[0]));
            runs.fetch_add(1, Ordering::SeqCst);
            panic!("stage {} broke", "parse");
        })
        .unwrap();
        s.launch(workers[1], || {
            while !stop.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            runs.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        let busy = s.launch(workers[1], || ()).unwrap_err().to_string();
        assert!(busy.contains("running something else"), "{busy}");
        while s.running().contains(&workers[0]) {
            std::thread::yield_now();
        }
        assert_eq!(s.running(), [workers[1]]);
        stop.store(true, Ordering::SeqCst);
    })
    .unwrap_err();
    assert_eq!(panicked.to_string(), "lcore 1 panicked: stage parse broke");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert!(lcore::scope(eal, |s| s.launch(workers[0], || ()).is_ok()).unwrap(), "it may run again");
}

fn lcores_that_cannot_run_are_refused(eal: &Eal) {
    lcore::scope(eal, |s| {
        let main = s.launch(eal.main_lcore(), || ()).unwrap_err().to_string();
        assert!(main.contains("main lcore") && main.contains("1, 2"), "{main}");
        let none = s.launch(Lcore::new(77), || ()).unwrap_err().to_string();
        assert!(none.contains("lcore 77") && none.contains("1, 2"), "{none}");
    })
    .unwrap();
}
