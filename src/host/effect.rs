//! What settings cannot prove: how long a hot CPU is taken away and by what, what a hop between two of them takes, whether
//! their counters agree, what memory costs from where they are.
//!
//! In: CPUs and a time. Out: an [`Effect`]. It pins a thread of its own to each CPU and keeps it busy for that time; it
//! needs neither EAL nor privileges. A ring here is `rtrb` in ordinary memory, of the shape of the path's links and not
//! the same code.

use super::evidence::{Sampler, Thread};
use crate::cpu::rdtsc;
use crate::sys::affinity::{self, CpuSet};
use crate::sys::{thread, time};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Gaps are counted from each of these lengths on, in ns.
pub const GAPS_NS: [u64; 6] = [300, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// How long the CPUs were watched, in seconds.
    pub seconds: u32,
    /// Each CPU, watched at the same time as the others.
    pub gaps: Vec<Gaps>,
    /// Each pair of CPUs, one pair at a time.
    pub hops: Vec<Hop>,
    /// Reads of memory, by node and reader.
    pub reads: Vec<Read>,
    /// Two CPUs that count side by side; `None` with one CPU.
    pub counting: Option<Counting>,
}

/// When a thread that did nothing but read the counter was kept from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gaps {
    /// Its CPU.
    pub cpu: u32,
    /// Gaps of at least [`GAPS_NS`].
    pub at_least: [u64; GAPS_NS.len()],
    /// The longest, in ns.
    pub longest_ns: u64,
    /// All of at least the first length together, in ns.
    pub lost_ns: u64,
    /// Interrupts meanwhile, the timer's left out, and how often it ticked; `None` where the kernel does not tell.
    pub interrupts: Option<u64>,
    /// Ticks of the timer.
    pub timer_ticks: Option<u64>,
    /// How often another thread took the CPU.
    pub involuntary_switches: Option<u64>,
    /// The most frequent interrupts.
    pub interrupt_names: BTreeMap<String, u64>,
}

/// Elements sent to and fro between two CPUs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// The two CPUs.
    pub cpus: [u32; 2],
    /// Half of the median round trip of a 64-byte element through two rings, in ns; `None` when none came back.
    pub median_ns: Option<f64>,
    /// Half of the fastest.
    pub fastest_ns: Option<f64>,
    /// By how much the second CPU's counter is ahead of the first's, in ns: known to half of the fastest round trip.
    pub tsc_offset_ns: Option<f64>,
}

/// Reads that each wait for the one before, all over 64 MiB of pages of 4 kB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Read {
    /// Who reads.
    pub cpu: u32,
    /// Node of the CPU that touched the memory first.
    pub node: u32,
    /// Mean time of a read, in ns.
    pub ns: f64,
}

/// What a line that two CPUs write costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counting {
    /// An increment of a counter that shares its line with the other CPU's, in ns.
    pub shared_ns: f64,
    /// The same on lines of their own.
    pub apart_ns: f64,
}

/// Measure for `seconds`, and some tenths of a second more for each pair of CPUs. `nodes` is the node of each CPU of the
/// host.
///
/// # Errors
/// A CPU that no thread may be pinned to.
pub fn measure(cpus: &[u32], nodes: &BTreeMap<u32, u32>, seconds: u32) -> io::Result<Effect> {
    for cpu in cpus {
        on(*cpu, || ())?;
    }
    let scale = Scale::fit();
    let gaps = watch(cpus, Duration::from_secs(seconds.into()), scale)?;
    let pairs = cpus.iter().enumerate().flat_map(|(i, a)| cpus[i + 1..].iter().map(|b| [*a, *b]));
    let hops = pairs.map(|pair| hop(pair, scale)).collect::<io::Result<_>>()?;
    let counting = match cpus {
        [a, b, ..] => Some(counting([*a, *b], scale)?),
        _ => None,
    };
    Ok(Effect { seconds, gaps, hops, reads: reads(cpus, nodes, scale)?, counting })
}

/// ns of a tick.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    /// From 20 ms of the kernel's clock, read within some 100 ns: good to a part in 10,000.
    fn fit() -> Scale {
        let (began_ns, began) = (time::monotonic_raw_ns(), rdtsc());
        std::thread::sleep(Duration::from_millis(20));
        let (ended_ns, ended) = (time::monotonic_raw_ns(), rdtsc());
        Scale((ended_ns - began_ns).max(1) as f64 / ended.wrapping_sub(began).max(1) as f64)
    }

    fn ns(self, ticks: u64) -> f64 {
        ticks as f64 * self.0
    }
}

/// `work` on a thread pinned to `cpu`.
fn on<T: Send>(cpu: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let pinned = move || affinity::set(&CpuSet::from([cpu as usize])).map(|()| work());
        scope.spawn(pinned).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

// ---- gaps ---------------------------------------------------------------------------------------------------------

fn watch(cpus: &[u32], length: Duration, scale: Scale) -> io::Result<Vec<Gaps>> {
    let stop = AtomicBool::new(false);
    let [ready, ended] = [(); 2].map(|()| Barrier::new(cpus.len() + 1));
    std::thread::scope(|scope| {
        let (tell, ids) = mpsc::channel();
        let mut probes = Vec::new();
        for (place, &cpu) in cpus.iter().enumerate() {
            let (tell, stop, ready, ended) = (tell.clone(), &stop, &ready, &ended);
            probes.push(scope.spawn(move || {
                let pinned = affinity::set(&CpuSet::from([cpu as usize]));
                // The receiver lives until all have told.
                let _ = tell.send((place, thread::id()));
                ready.wait();
                let gaps = probe(cpu, stop, scale);
                ended.wait();
                pinned.map(|()| gaps)
            }));
        }
        let mut threads: Vec<(usize, i32)> = ids.iter().take(cpus.len()).collect();
        threads.sort_unstable();
        let thread = |(place, tid): (usize, i32)| Thread { lcore: place as u32, tid, cpus: vec![cpus[place]] };
        let mut sampler = Sampler::new(Path::new("/"), threads.into_iter().map(thread).collect());
        sampler.sample();
        ready.wait();
        std::thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
        // A thread's files are gone with it.
        let evidence = sampler.sample();
        ended.wait();
        let gaps = probes.into_iter().map(|probe| probe.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        let with_evidence = gaps.zip(evidence).map(|(gaps, evidence)| {
            Ok(Gaps {
                interrupts: evidence.interrupts,
                timer_ticks: evidence.timer_ticks,
                involuntary_switches: evidence.involuntary_switches,
                interrupt_names: evidence.interrupt_names,
                ..gaps?
            })
        });
        with_evidence.collect()
    })
}

fn probe(cpu: u32, stop: &AtomicBool, scale: Scale) -> Gaps {
    let limits = GAPS_NS.map(|ns| (ns as f64 / scale.0) as u64);
    let (mut at_least, mut longest, mut lost, mut last) = ([0; GAPS_NS.len()], 0, 0, rdtsc());
    while !stop.load(Ordering::Relaxed) {
        let now = rdtsc();
        // A counter that went back is no gap.
        let gap = now.saturating_sub(last);
        last = now;
        if gap >= limits[0] {
            count(&mut at_least, &limits, gap);
            longest = longest.max(gap);
            lost += gap;
        }
    }
    Gaps {
        cpu,
        at_least,
        longest_ns: scale.ns(longest) as u64,
        lost_ns: scale.ns(lost) as u64,
        interrupts: None,
        timer_ticks: None,
        involuntary_switches: None,
        interrupt_names: BTreeMap::new(),
    }
}

/// Count a gap at each limit that it reaches.
fn count(at_least: &mut [u64; GAPS_NS.len()], limits: &[u64; GAPS_NS.len()], gap: u64) {
    for (count, _) in at_least.iter_mut().zip(limits).filter(|(_, limit)| gap >= **limit) {
        *count += 1;
    }
}

// ---- hops ---------------------------------------------------------------------------------------------------------

/// An element of the size that the path's links carry; its first word is a stamp.
type Element = [u64; 8];

const ROUND_TRIPS: usize = 20_000;
/// Longest that a pair of CPUs is measured, in ns: one of them may not get to run.
const PAIR_NS: f64 = 300e6;

fn hop([a, b]: [u32; 2], scale: Scale) -> io::Result<Hop> {
    let (mut to_b, mut from_a) = rtrb::RingBuffer::<Element>::new(64);
    let (mut to_a, mut from_b) = rtrb::RingBuffer::<Element>::new(64);
    let (stop, started) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut trips = Vec::with_capacity(ROUND_TRIPS);
    let (first, second) = std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            on(b, || {
                started.store(true, Ordering::Release);
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(mut element) = from_a.pop() {
                        element[1] = rdtsc();
                        // At most one element is on its way.
                        let _ = to_a.push(element);
                    }
                }
            })
        });
        let asked = on(a, || {
            let began = rdtsc();
            let late = || scale.ns(rdtsc().wrapping_sub(began)) > PAIR_NS;
            while !started.load(Ordering::Acquire) && !late() {
                std::hint::spin_loop();
            }
            'trips: for _ in 0..ROUND_TRIPS {
                let sent = rdtsc();
                let _ = to_b.push([sent; 8]);
                let element = loop {
                    match from_b.pop() {
                        Ok(element) => break element,
                        Err(_) if late() => break 'trips,
                        Err(_) => {}
                    }
                };
                trips.push((rdtsc().wrapping_sub(sent), sent, element[1]));
            }
            stop.store(true, Ordering::Relaxed);
        });
        // A thread that could not be pinned has not told the other to stop.
        stop.store(true, Ordering::Relaxed);
        (asked, echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    first.and(second)?;
    trips.sort_unstable();
    let half = |ticks: u64| scale.ns(ticks) / 2.0;
    Ok(Hop {
        cpus: [a, b],
        median_ns: trips.get(trips.len() / 2).map(|trip| half(trip.0)),
        fastest_ns: trips.first().map(|trip| half(trip.0)),
        tsc_offset_ns: trips.first().map(|&(trip, sent, there)| {
            let middle = sent.wrapping_add(trip / 2);
            there.wrapping_sub(middle).cast_signed() as f64 * scale.0
        }),
    })
}

// ---- one line, two writers ----------------------------------------------------------------------------------------

/// Two lines of a pair that prefetchers fetch together, and two counters: on one line, or a pair of lines apart.
#[repr(align(128))]
struct Lines([AtomicU64; 32]);

const INCREMENTS: u64 = 500_000;

fn counting([a, b]: [u32; 2], scale: Scale) -> io::Result<Counting> {
    // Both CPUs were found to take threads: neither waits for the other in vain.
    let time = |second: usize| {
        let lines = Lines([const { AtomicU64::new(0) }; 32]);
        let (counters, both) = (&lines.0, &Barrier::new(2));
        let increment = move |place: usize| {
            both.wait();
            let began = rdtsc();
            for _ in 0..INCREMENTS {
                // As the path's counters: each has one writer.
                counters[place].store(counters[place].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            scale.ns(rdtsc().wrapping_sub(began)) / INCREMENTS as f64
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(move || on(b, move || increment(second)));
            let mine = on(a, move || increment(0));
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, io::Error>((mine? + other?) / 2.0)
        })
    };
    Ok(Counting { shared_ns: time(1)?, apart_ns: time(16)? })
}

// ---- memory -------------------------------------------------------------------------------------------------------

/// More than any CPU's own caches, in lines of 64 bytes.
const MEMORY_LINES: usize = 1 << 20;
const READS: usize = 200_000;

/// One reader of each node, memory of each node.
fn reads(cpus: &[u32], nodes: &BTreeMap<u32, u32>, scale: Scale) -> io::Result<Vec<Read>> {
    let mut readers: BTreeMap<u32, u32> = BTreeMap::new();
    for cpu in cpus {
        readers.entry(nodes.get(cpu).copied().unwrap_or(0)).or_insert(*cpu);
    }
    let mut homes: BTreeMap<u32, u32> = BTreeMap::new();
    for (cpu, node) in nodes.iter().filter(|(cpu, _)| on(**cpu, || ()).is_ok()) {
        homes.entry(*node).or_insert(*cpu);
    }
    let mut found = Vec::new();
    for (node, home) in homes {
        let lines = on(home, circle)?;
        for cpu in readers.values() {
            let ns = on(*cpu, || {
                let (mut at, began) = (0, rdtsc());
                for _ in 0..READS {
                    at = lines[at as usize][0];
                }
                let took = rdtsc().wrapping_sub(began);
                std::hint::black_box(at);
                scale.ns(took) / READS as f64
            })?;
            found.push(Read { cpu: *cpu, node, ns });
        }
    }
    Ok(found)
}

/// Lines that name one another in one circle, in an order that no prefetcher guesses (Sattolo's shuffle).
fn circle() -> Vec<[u32; 16]> {
    let mut order: Vec<u32> = (0..MEMORY_LINES as u32).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..order.len()).rev() {
        // xorshift64: any order does.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % i as u64) as usize);
    }
    let mut lines = vec![[0; 16]; MEMORY_LINES];
    for (line, next) in lines.iter_mut().zip(order) {
        // Written in full, so that this thread touches every page first.
        *line = [next; 16];
    }
    lines
}

// ---- text ---------------------------------------------------------------------------------------------------------

impl Display for Effect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\neffect: each CPU did nothing but read its counter for {} s; gaps of at least", self.seconds)?;
        write!(f, "  {:>4}", "CPU")?;
        for heading in ["300 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "longest ns", "lost ppm"] {
            write!(f, " {heading:>10}")?;
        }
        writeln!(f, "  interrupts, ticks, switches")?;
        for gaps in &self.gaps {
            write!(f, "  {:>4}", gaps.cpu)?;
            let ppm = gaps.lost_ns / (1000 * u64::from(self.seconds)).max(1);
            for count in gaps.at_least.iter().chain([&gaps.longest_ns, &ppm]) {
                write!(f, " {count:>10}")?;
            }
            let told = |count: Option<u64>| count.map_or("?".into(), |count| count.to_string());
            let (interrupts, ticks) = (told(gaps.interrupts), told(gaps.timer_ticks));
            write!(f, "  {interrupts}, {ticks}, {}", told(gaps.involuntary_switches))?;
            for (name, count) in &gaps.interrupt_names {
                write!(f, "; {name} {count}")?;
            }
            writeln!(f)?;
        }
        for hop in &self.hops {
            let [a, b] = hop.cpus;
            write!(f, "  CPU {a} to {b}: ")?;
            match (hop.median_ns, hop.fastest_ns, hop.tsc_offset_ns) {
                (Some(median), Some(fastest), Some(offset)) => writeln!(
                    f,
                    "a ring's hop {median:.0} ns (fastest {fastest:.0}); TSC offset {offset:+.0} ns, known to ±{fastest:.0}"
                )?,
                _ => writeln!(f, "nothing came back: one of them was not running")?,
            }
        }
        for read in &self.reads {
            writeln!(f, "  CPU {} reads memory of node {}: {:.0} ns", read.cpu, read.node, read.ns)?;
        }
        if let Some(Counting { shared_ns, apart_ns }) = self.counting {
            writeln!(
                f,
                "  a counter on a line that another CPU writes: {shared_ns:.1} ns; on its own: {apart_ns:.1} ns"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_from_each_length_on() {
        let mut at_least = [0; GAPS_NS.len()];
        for gap in [300, 999, 1_000, 15_000, 20_000_000] {
            count(&mut at_least, &GAPS_NS, gap);
        }
        assert_eq!(at_least, [5, 3, 2, 1, 1, 1]);
    }

    #[test]
    fn the_lines_name_one_another_in_one_circle() {
        let lines = circle();
        let (mut at, mut steps) = (lines[0][0], 1);
        while at != 0 {
            at = lines[at as usize][0];
            steps += 1;
        }
        assert_eq!(steps, MEMORY_LINES);
    }

    #[test]
    fn every_cpu_and_pair_is_measured_and_a_cpu_that_is_not_there_is_refused() {
        let cpus: Vec<u32> = affinity::current().unwrap().into_iter().take(2).map(|cpu| cpu as u32).collect();
        let nodes = cpus.iter().map(|cpu| (*cpu, 0)).collect();
        let effect = measure(&cpus, &nodes, 1).unwrap();
        assert_eq!(effect.gaps.iter().map(|gaps| gaps.cpu).collect::<Vec<_>>(), cpus);
        assert_eq!(effect.hops.len(), cpus.len() - 1);
        assert_eq!(effect.counting.is_some(), cpus.len() > 1);
        assert!(effect.reads.iter().all(|read| read.ns > 0.0) && effect.reads.len() == 1);
        for hop in &effect.hops {
            assert!(hop.fastest_ns <= hop.median_ns, "{hop:?}");
        }
        println!("{effect}");
        assert!(measure(&[8000], &BTreeMap::new(), 1).is_err());
    }
}
