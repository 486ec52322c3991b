//! Whether the TSC can still be believed, asked about once a second.
//!
//! In: readings of the kernel's clock and, where there are any, of independent ones, the TSCs of the CPUs that a helper
//! may visit, `/proc/cpuinfo` and the kernel's clocksource under a root. Out: [`ClockEvidence`]: the rate re-fitted over
//! the run, how far an independent clock finds it off, and a sentence for everything that is wrong, with what it does to
//! the figures. It sets nothing and corrects nothing; called by the recorder, never on the packet's path.
//!
//! Each clock is followed alone. An interval that is off by more than the readings' own uncertainty and 50 ppm is held
//! until the next: if that one is off at the same rate, the rate changed; if not, there was a step. A warning of a step so
//! comes one interval late. Slower changes show in a window of thirty readings against the first such window. An independent
//! clock counts for nothing, and nothing is said by it, until it has run evenly and at about the rate of time for some readings.

use super::Clock;
use super::reference::{Disciplined, Injected, KernelRaw, Phc, Reading, Reference};
use crate::cpu::rdtsc;
use crate::latency::interval::ClockEvidence;
use crate::sys::affinity::{self, CpuSet};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// The watch.
pub struct Watch {
    hz: f64,
    error_ppm: f64,
    kernel: Tracker,
    independent: Vec<Tracker>,
    cores: Visits,
    root: PathBuf,
    flags: Vec<String>,
    first_source: Option<String>,
    checks: u64,
}

/// What a watch looks at.
pub struct Sources {
    /// The kernel's clock, which the TSC's rate was fitted against.
    pub kernel: Box<dyn Reference>,
    /// Clocks that are not the TSC, the best first.
    pub independent: Vec<Box<dyn Reference>>,
    /// TSCs of several CPUs.
    pub cores: Option<Box<dyn Cores>>,
    /// Where `/proc` and `/sys` are.
    pub root: PathBuf,
}

/// The TSCs of single CPUs.
pub trait Cores: Send {
    /// CPUs that may be visited; the first is what the others are held against.
    fn cpus(&self) -> &[usize];

    /// The TSC on that CPU; `None` when it cannot be visited.
    fn tsc_on(&mut self, cpu: usize) -> Option<u64>;
}

/// An interval's rate may move by so much before it is an event.
const RATE_PPM: f64 = 50.0;
/// A window's rate may move by so much before the clocks drift.
const DRIFT_PPM: f64 = 20.0;
/// A TSC may be so far off an independent clock: crystals are good to some 100 ppm, time daemons give up at 500.
const WRONG_PPM: f64 = 200.0;
/// An independent clock verifies the rate once it knows it that well.
const VERIFIED_PPM: f64 = 50.0;
/// How far an independent clock may be off before its own rate is learned.
const UNLEARNED_PPM: f64 = 600.0;
/// A first window teaches a rate when it is known that well.
const LEARNED_PPM: f64 = 10.0;
/// Readings in which an independent clock shows that it is one.
const TRIAL: usize = 8;
/// A clock whose second is further from ours counts something else: PTP hardware is steered by less.
const IMPLAUSIBLE_PPM: f64 = 10_000.0;
/// A reading of a clock on trial that is less certain tells too little of it.
const TRIAL_NS: f64 = 1e5;
/// Readings in a window.
const WINDOW: usize = 30;
/// What a reading may be off besides its sandwich.
const FLOOR_NS: f64 = 500.0;
/// A clock that has not moved for so long stands still.
const STILL_NS: f64 = 1e6;
/// Checks between two visits to the CPUs.
const VISIT_EVERY: u64 = 600;
/// CPUs visited at most, and visits each.
const VISITED: usize = 16;
const ROUNDS: usize = 16;

impl Watch {
    /// A watch over this host's clocks, and one that is off as a file says, for tests. A helper thread visits `cpus`, at the
    /// first check and about every ten minutes: only those that no lcore of the path polls on.
    pub fn host(clock: &Clock, cpus: &CpuSet, injected: Option<&Path>) -> Watch {
        let mut independent: Vec<Box<dyn Reference>> = Vec::new();
        independent.extend(injected.map(|file| Box::new(Injected::new(file)) as Box<dyn Reference>));
        independent.extend(Phc::all().into_iter().map(|phc| Box::new(phc) as Box<dyn Reference>));
        independent.push(Box::new(Disciplined::default()));
        let sources = Sources {
            kernel: Box::new(KernelRaw),
            independent,
            cores: Some(Box::new(Visitor(cpus.iter().copied().take(VISITED).collect()))),
            root: PathBuf::from("/"),
        };
        Watch::new(clock.hz(), clock.error_ppm(), sources)
    }

    /// A watch over `sources`, of a TSC whose rate was fitted as `hz` with an error of `error_ppm`.
    pub fn new(hz: f64, error_ppm: f64, sources: Sources) -> Watch {
        let tracker =
            |reference| Tracker { trial: Some(Trial::default()), ..Tracker::new(reference, hz, UNLEARNED_PPM) };
        Watch {
            hz,
            error_ppm,
            kernel: Tracker::new(sources.kernel, hz, error_ppm),
            independent: sources.independent.into_iter().map(tracker).collect(),
            cores: Visits { cores: sources.cores, running: None, warnings: Vec::new() },
            flags: flags(&fs::read_to_string(sources.root.join("proc/cpuinfo")).unwrap_or_default()),
            first_source: None,
            root: sources.root,
            checks: 0,
        }
    }

    /// Read every clock once. Takes tens of microseconds; warnings are about the time since the last call.
    pub fn check(&mut self) -> ClockEvidence {
        let mut warnings = self.flags.clone();
        let source = self.clocksource(&mut warnings);
        self.cores.check(self.checks, self.hz, &mut warnings);
        self.checks += 1;
        warnings.extend(self.kernel.check().into_iter().map(|finding| finding.sentence(self.kernel.name())));
        for tracker in &mut self.independent {
            let findings = tracker.check();
            warnings.extend(findings.into_iter().map(|finding| finding.sentence(tracker.name())));
        }
        if let Some((hz, error_ppm)) = self.kernel.fit().filter(|(_, error_ppm)| *error_ppm < self.error_ppm) {
            (self.hz, self.error_ppm) = (hz, error_ppm);
        }
        let verdict = self.verdict(source.as_deref());
        if let Some((name, ppm, error_ppm)) = verdict.as_ref().filter(|(_, ppm, error)| ppm.abs() - error > WRONG_PPM) {
            let (more, long) = if *ppm > 0.0 { ("fewer", "short") } else { ("more", "long") };
            warnings.push(format!(
                "{name} finds that the TSC makes {:.0} ppm {more} ticks a second than the kernel says (± {error_ppm:.0}): \
                 every span is {:.3} % too {long}",
                ppm.abs(),
                ppm.abs() / 1e4,
            ));
        }
        ClockEvidence {
            tsc_hz: self.hz,
            error_ppm: self.error_ppm,
            independent_ppm: verdict.as_ref().map(|(_, ppm, _)| *ppm),
            independent: verdict.map(|(name, ..)| name),
            warnings,
            devices: Vec::new(),
        }
    }

    /// The independent clock that knows the rate best, how far the fitted rate is above its own in ppm, and the error of
    /// that; `None` until one knows it well enough.
    fn verdict(&self, source: Option<&str>) -> Option<(String, f64, f64)> {
        let named = |tracker: &Tracker, name: String| {
            let (hz, error_ppm) = tracker.fit()?;
            (error_ppm <= VERIFIED_PPM).then(|| (name, (self.hz / hz - 1.0) * 1e6, error_ppm + self.error_ppm))
        };
        let others = self.independent.iter().filter_map(|tracker| named(tracker, tracker.name().to_owned()));
        let timer = source.filter(|source| matches!(*source, "hpet" | "acpi_pm"));
        let kernel = timer.and_then(|source| named(&self.kernel, format!("{} on {source}", self.kernel.name())));
        others.chain(kernel).min_by(|a, b| a.2.total_cmp(&b.2))
    }

    fn clocksource(&mut self, warnings: &mut Vec<String>) -> Option<String> {
        let file = self.root.join("sys/devices/system/clocksource/clocksource0/current_clocksource");
        let source = fs::read_to_string(file).ok()?.trim().to_owned();
        let first = self.first_source.get_or_insert_with(|| source.clone());
        if first == "tsc" && source != "tsc" {
            warnings.push(format!(
                "the kernel has left the TSC for the clocksource {source}, because it found the TSC unstable: spans \
                 between CPUs may be negative or show spikes that never happened"
            ));
        } else if source != "tsc" {
            let why = match source.as_str() {
                "kvm-clock" | "xen" => {
                    "under a hypervisor the TSC may jump or change its rate when the machine is moved"
                }
                text if text.starts_with("hyperv") => {
                    "under a hypervisor the TSC may jump or change its rate when the machine is moved"
                }
                _ => "the kernel does not trust the TSC of this host",
            };
            warnings.push(format!(
                "the kernel's clocksource is {source}, not tsc: {why}, and then spans are negative, show spikes or \
                 stretch by one factor"
            ));
        }
        Some(source)
    }
}

/// What the CPU does not promise of its TSC.
fn flags(cpuinfo: &str) -> Vec<String> {
    let Some((_, flags)) =
        cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "flags")
    else {
        return Vec::new();
    };
    let promises = [
        ("constant_tsc", "its TSC may follow the core's frequency, and then all hops stretch or shrink by one factor"),
        (
            "nonstop_tsc",
            "its TSC may stop while the core sleeps, and then spans across a sleep are too short and spans between CPUs may be negative",
        ),
    ];
    let lacks = promises.iter().filter(|(flag, _)| !flags.split_whitespace().any(|has| has == *flag));
    lacks.map(|(flag, then)| format!("the CPU does not say {flag}: {then}")).collect()
}

/// What was found about the TSC by one clock. Positive: the TSC counted too much by that clock.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finding {
    ClockStill,
    TscStill,
    TscBack { ns: f64 },
    Step { ns: f64 },
    Rate { ppm: f64 },
    Drift { ppm: f64 },
}

impl Finding {
    fn sentence(self, clock: &str) -> String {
        let sign = |x: f64, more: &'static str, less: &'static str| if x > 0.0 { more } else { less };
        match self {
            Finding::ClockStill => format!("{clock} stands still while the TSC counts: it verifies nothing"),
            Finding::TscStill => format!("the TSC stands still while {clock} goes on: every span is 0"),
            Finding::TscBack { ns } => format!(
                "the TSC went back by {} by {clock}: spans across that moment are negative or too short",
                amount(ns)
            ),
            Finding::Step { ns } => format!(
                "the TSC stepped {} by {} against {clock} in the interval before this, or that clock did: if it was the \
                 TSC, spans across that moment are {}",
                sign(ns, "forward", "back"),
                amount(ns.abs()),
                sign(ns, "spikes that never happened", "negative or too short")
            ),
            Finding::Rate { ppm } => format!(
                "the TSC's rate against {clock} changed: it runs {:.0} ppm {} than before: spans are too {} by as much, \
                 all hops by one factor",
                ppm.abs(),
                sign(ppm, "faster", "slower"),
                sign(ppm, "long", "short")
            ),
            Finding::Drift { ppm } => format!(
                "the TSC and {clock} drift apart: the TSC's rate has moved by {ppm:+.0} ppm since the start: spans of \
                 different hours compare less well than the figures suggest",
            ),
        }
    }
}

fn amount(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.1} s", ns / 1e9),
    }
}

/// One clock, followed.
struct Tracker {
    reference: Box<dyn Reference>,
    /// The rate expected and its tolerance, until `learned`.
    nominal_hz: f64,
    nominal_ppm: f64,
    /// The rate in the first whole window.
    learned: Option<f64>,
    /// Begin of the present fit: the first reading, or the first after an event.
    first: Option<Reading>,
    /// Readings since then, the latest last.
    window: VecDeque<Reading>,
    held: Option<Held>,
    /// What it has shown so far; `None` once it is believed.
    trial: Option<Trial>,
}

/// Readings of a clock that is not believed yet.
#[derive(Default)]
struct Trial {
    readings: Vec<Reading>,
    /// It has been said that it is not used.
    told: bool,
}

/// An interval that was off, until the next one tells whether it was a step.
#[derive(Clone, Copy)]
struct Held {
    ns: f64,
    ppm: f64,
    /// It has been reported as a change of rate.
    told: bool,
}

impl Tracker {
    fn new(reference: Box<dyn Reference>, nominal_hz: f64, nominal_ppm: f64) -> Tracker {
        let window = VecDeque::with_capacity(WINDOW + 1);
        Tracker { reference, nominal_hz, nominal_ppm, learned: None, first: None, window, held: None, trial: None }
    }

    fn name(&self) -> &str {
        self.reference.name()
    }

    fn check(&mut self) -> Option<Finding> {
        let Some(now) = self.reference.read() else {
            self.first = None;
            self.window.clear();
            self.held = None;
            return None;
        };
        if self.trial.is_some() {
            self.try_out(now);
            return None;
        }
        let Some(last) = self.window.back().copied().filter(|last| last.epoch == now.epoch) else {
            self.held = None;
            self.begin(now);
            return None;
        };
        let seen = now.ns.wrapping_sub(last.ns) as i64 as f64;
        let noise = self.noise(&last) + self.noise(&now);
        let expected = self.ns(now.tsc.abs_diff(last.tsc));
        if expected <= noise && seen - noise > STILL_NS {
            self.held = None;
            self.begin(now);
            return Some(Finding::TscStill);
        }
        if now.tsc <= last.tsc {
            self.held = None;
            self.begin(now);
            return (expected > noise).then_some(Finding::TscBack { ns: expected });
        }
        if seen == 0.0 && expected > STILL_NS {
            self.held = None;
            self.begin(now);
            return Some(Finding::ClockStill);
        }
        let ns = expected - seen;
        let tolerance = self.tolerance_ppm() * expected / 1e6 + noise;
        if ns.abs() > tolerance {
            return self.off(now, Held { ns, ppm: ns / seen.abs().max(1.0) * 1e6, told: false });
        }
        let step = self.held.take().filter(|held| !held.told).map(|held| Finding::Step { ns: held.ns });
        self.window.push_back(now);
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        step.or_else(|| self.drift())
    }

    /// One more reading of a clock on trial. When there are enough it is believed if they lie on one line, whose slope is about that
    /// of time; if not, the trial begins anew.
    fn try_out(&mut self, now: Reading) {
        let Some(mut trial) = self.trial.take() else { return };
        if self.ns(now.width) / 2.0 > TRIAL_NS {
            self.trial = Some(trial);
            return;
        }
        if trial.readings.last().is_some_and(|last| last.epoch != now.epoch) {
            trial.readings.clear();
        }
        trial.readings.push(now);
        if trial.readings.len() < TRIAL {
            self.trial = Some(trial);
            return;
        }
        let first = trial.readings[0];
        match self.rate(&first, &now).filter(|(hz, _)| (hz / self.nominal_hz - 1.0).abs() * 1e6 < IMPLAUSIBLE_PPM) {
            Some((hz, _)) if self.is_even(&trial.readings, hz) => {
                self.nominal_hz = hz;
                self.begin(now);
                self.first = Some(first);
            }
            _ => {
                if !trial.told {
                    log::warn!(
                        "{} does not run evenly at the rate of time: it is not used to check the TSC",
                        self.name()
                    );
                }
                self.trial = Some(Trial { readings: vec![now], told: true });
            }
        }
    }

    /// Whether none of the readings is further from the line through the first at `hz` than they may be wrong, and the rate may move in
    /// an interval.
    fn is_even(&self, readings: &[Reading], hz: f64) -> bool {
        let first = &readings[0];
        let line = |now: &Reading| now.tsc.wrapping_sub(first.tsc) as i64 as f64 * 1e9 / hz;
        let interval = line(&readings[readings.len() - 1]) / (readings.len() - 1) as f64;
        readings.iter().all(|now| {
            let ns = now.ns.wrapping_sub(first.ns) as i64 as f64;
            (line(now) - ns).abs() <= self.noise(first) + self.noise(now) + interval * RATE_PPM / 1e6
        })
    }

    /// The interval that ends `now` is off.
    fn off(&mut self, now: Reading, found: Held) -> Option<Finding> {
        self.begin(now);
        let held = self.held.replace(found)?;
        // An event within the interval before makes that one look smaller than what goes on.
        let same = held.ppm.signum() == found.ppm.signum() && held.ppm.abs() <= found.ppm.abs() * 1.5;
        if same {
            self.held = Some(Held { told: true, ..found });
            return Some(Finding::Rate { ppm: found.ppm });
        }
        (!held.told).then_some(Finding::Step { ns: held.ns })
    }

    fn drift(&mut self) -> Option<Finding> {
        if self.window.len() < WINDOW {
            return None;
        }
        let (hz, error_ppm) = self.rate(self.window.front()?, self.window.back()?)?;
        let Some(learned) = self.learned else {
            self.learned = (error_ppm <= LEARNED_PPM).then_some(hz);
            return None;
        };
        let ppm = (hz / learned - 1.0) * 1e6;
        (ppm.abs() - error_ppm > DRIFT_PPM).then_some(Finding::Drift { ppm })
    }

    /// Ticks a second by this clock since the fit began, and the error in ppm.
    fn fit(&self) -> Option<(f64, f64)> {
        self.rate(self.first.as_ref()?, self.window.back()?)
    }

    fn rate(&self, from: &Reading, to: &Reading) -> Option<(f64, f64)> {
        let ns = to.ns.wrapping_sub(from.ns) as i64 as f64;
        let ticks = to.tsc.checked_sub(from.tsc)? as f64;
        (ns > 0.0 && ticks > 0.0).then(|| (ticks * 1e9 / ns, (self.noise(from) + self.noise(to)) / ns * 1e6))
    }

    fn begin(&mut self, now: Reading) {
        self.first = Some(now);
        self.window.clear();
        self.window.push_back(now);
    }

    fn hz(&self) -> f64 {
        self.learned.unwrap_or(self.nominal_hz)
    }

    fn tolerance_ppm(&self) -> f64 {
        RATE_PPM + if self.learned.is_some() { 0.0 } else { self.nominal_ppm }
    }

    fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e9 / self.hz()
    }

    fn noise(&self, reading: &Reading) -> f64 {
        FLOOR_NS + self.ns(reading.width) / 2.0 + reading.error_ns
    }
}

/// The visits to the CPUs, by a thread of their own.
struct Visits {
    cores: Option<Box<dyn Cores>>,
    running: Option<JoinHandle<Visit>>,
    /// Of the last visit.
    warnings: Vec<String>,
}

/// The visitor comes back with what it found.
type Visit = (Box<dyn Cores>, Vec<Offset>);

/// How far one CPU's TSC is ahead of the first's, at least and at most, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    first: usize,
    cpu: usize,
    least: i64,
    most: i64,
}

impl Visits {
    fn check(&mut self, checks: u64, hz: f64, warnings: &mut Vec<String>) {
        if let Some(running) = self.running.take_if(|running| running.is_finished())
            && let Ok((cores, offsets)) = running.join()
        {
            self.cores = Some(cores);
            self.warnings = offsets.iter().filter_map(|offset| offset.sentence(hz)).collect();
        }
        if checks.is_multiple_of(VISIT_EVERY)
            && let Some(mut cores) = self.cores.take()
        {
            let visit = move || {
                let offsets = offsets(cores.as_mut());
                (cores, offsets)
            };
            self.running = std::thread::Builder::new().name("tsc-visits".into()).spawn(visit).ok();
        }
        warnings.extend_from_slice(&self.warnings);
    }
}

/// Go from the first CPU to each other one and back, some times. A TSC read on the way lies between the two around it,
/// if the TSCs agree; where it does not, they cannot. Differences below a hop's few microseconds stay unseen.
fn offsets(cores: &mut dyn Cores) -> Vec<Offset> {
    let cpus = cores.cpus().to_vec();
    let Some((&first, others)) = cpus.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for &cpu in others {
        let mut offset = Offset { first, cpu, least: i64::MIN, most: i64::MAX };
        for _ in 0..ROUNDS {
            let (Some(before), Some(there), Some(after)) =
                (cores.tsc_on(first), cores.tsc_on(cpu), cores.tsc_on(first))
            else {
                break;
            };
            offset.least = offset.least.max(there.wrapping_sub(after) as i64);
            offset.most = offset.most.min(there.wrapping_sub(before) as i64);
        }
        found.push(offset);
    }
    found
}

impl Offset {
    fn sentence(&self, hz: f64) -> Option<String> {
        let Offset { first, cpu, least, most } = *self;
        let (ticks, way) = match (least, most) {
            (least, _) if least > 0 => (least, "ahead of"),
            (_, most) if most < 0 => (most.saturating_neg(), "behind"),
            _ => return None,
        };
        Some(format!(
            "the TSC of CPU {cpu} is at least {} {way} that of CPU {first}: spans between stages on different CPUs are \
             wrong by as much and may be negative",
            amount(ticks as f64 * 1e9 / hz)
        ))
    }
}

/// A thread that goes from CPU to CPU.
struct Visitor(Vec<usize>);

impl Cores for Visitor {
    fn cpus(&self) -> &[usize] {
        &self.0
    }

    fn tsc_on(&mut self, cpu: usize) -> Option<u64> {
        affinity::set(&CpuSet::from([cpu])).ok()?;
        Some(rdtsc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: f64 = 2.5e9;

    /// A clock that shows `ns(t)` beside a TSC that shows `ticks(t)`, t in seconds, once a second and with noise.
    struct Fake {
        name: &'static str,
        second: f64,
        seed: u64,
        ticks: fn(f64) -> f64,
        ns: fn(f64) -> f64,
    }

    impl Fake {
        fn boxed(name: &'static str, ticks: fn(f64) -> f64, ns: fn(f64) -> f64) -> Box<dyn Reference> {
            Box::new(Fake { name, second: 0.0, seed: 7, ticks, ns })
        }

        /// From 0 to 1 (Knuth's MMIX generator).
        fn chance(&mut self) -> f64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    impl Reference for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn read(&mut self) -> Option<Reading> {
            // One reading in fifty was interrupted and is as wide as a time slice.
            let wide = if self.chance() < 0.02 { 10e6 } else { 5e3 };
            let width = wide * self.chance();
            let tsc = (self.ticks)(self.second) + width * (self.chance() - 0.5) + 1e12;
            let ns = (self.ns)(self.second) + 1e15;
            self.second += 0.9 + 0.2 * self.chance();
            Some(Reading { tsc: tsc as u64, ns: ns as u64, width: width as u64, ..Reading::default() })
        }
    }

    fn true_ticks(t: f64) -> f64 {
        t * HZ
    }

    fn true_ns(t: f64) -> f64 {
        t * 1e9
    }

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(&root, "proc/cpuinfo", "flags\t\t: fpu constant_tsc nonstop_tsc\n");
        write(&root, SOURCE, "tsc\n");
        root
    }

    const SOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";

    fn write(root: &tempfile::TempDir, file: &str, text: &str) {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn watch(root: &tempfile::TempDir, kernel: Box<dyn Reference>, independent: Option<Box<dyn Reference>>) -> Watch {
        let independent = independent.into_iter().collect();
        Watch::new(HZ, 1.0, Sources { kernel, independent, cores: None, root: root.path().into() })
    }

    fn healthy(root: &tempfile::TempDir) -> Watch {
        watch(root, Fake::boxed("kernel", true_ticks, true_ns), None)
    }

    /// Every warning in so many checks, with the check's number.
    fn warnings(watch: &mut Watch, checks: usize) -> Vec<(usize, String)> {
        (0..checks).flat_map(|i| watch.check().warnings.into_iter().map(move |text| (i, text))).collect()
    }

    /// Warnings of a day's start with an independent clock `ns` beside a TSC `ticks`, the kernel's clock being the TSC.
    fn against(ticks: fn(f64) -> f64, ns: fn(f64) -> f64, checks: usize) -> Vec<(usize, String)> {
        // The kernel's clock is made of the same ticks, so it sees nothing.
        let kernel = Fake::boxed("kernel", true_ticks, true_ns);
        warnings(&mut watch(&host(), kernel, Some(Fake::boxed("phc", ticks, ns))), checks)
    }

    fn all_say(found: &[(usize, String)], words: &[&str]) {
        assert!(!found.is_empty());
        for (check, text) in found {
            assert!(words.iter().all(|word| text.contains(word)), "check {check}: {text}");
        }
    }

    #[test]
    fn healthy_clocks_give_no_warning_over_many_noisy_readings() {
        let root = host();
        let crystal = |t| t * 1e9 * (1.0 + 40e-6);
        let kernel = Fake::boxed("kernel", true_ticks, true_ns);
        let mut watch = watch(&root, kernel, Some(Fake::boxed("phc", true_ticks, crystal)));
        assert_eq!(warnings(&mut watch, 20_000), []);
        let evidence = watch.check();
        assert!((evidence.tsc_hz / HZ - 1.0).abs() < 1e-8 && evidence.error_ppm < 0.1, "{evidence:?}");
        // By a clock that runs 40 ppm fast the TSC makes fewer ticks a second than it does.
        assert!((evidence.independent_ppm.unwrap() - 40.0).abs() < 0.1, "{evidence:?}");
        assert_eq!(evidence.independent.as_deref(), Some("phc"));
    }

    #[test]
    fn without_an_independent_clock_nothing_is_verified() {
        let mut alone = healthy(&host());
        let checks = (0..100).map(|_| alone.check());
        assert!(checks.into_iter().all(|said| said.independent_ppm.is_none() && said.independent.is_none()));
    }

    #[test]
    fn a_step_is_named_with_its_way_and_size() {
        let forward = against(|t| t * HZ + if t > 60.5 { 0.002 * HZ } else { 0.0 }, true_ns, 300);
        assert_eq!(forward.len(), 1, "{forward:?}");
        all_say(&forward, &["phc", "forward by 2.0 ms", "spikes"]);
        let back = against(true_ticks, |t| t * 1e9 + if t > 60.5 { 3e5 } else { 0.0 }, 300);
        assert_eq!(back.len(), 1, "{back:?}");
        all_say(&back, &["back by 300", "µs", "negative"]);
    }

    #[test]
    fn a_tsc_that_goes_far_back_is_named_at_once() {
        let found = against(|t| t * HZ - if t > 20.5 { 5.0 * HZ } else { 0.0 }, true_ns, 60);
        assert_eq!(found.len(), 1, "{found:?}");
        all_say(&found, &["the TSC went back by", " s by phc", "negative"]);
    }

    #[test]
    fn a_change_of_rate_is_named_as_long_as_it_lasts() {
        let faster = |t: f64| t * HZ + (t - 60.0).max(0.0) * HZ * 300e-6;
        let found = against(faster, true_ns, 200);
        // From the second interval on, but for those whose readings were interrupted.
        assert!(found.len() > 100 && found[0].0 >= 60, "{found:?}");
        let rate = found.iter().filter(|(_, text)| text.contains("rate against phc changed"));
        assert!(rate.clone().count() > 100);
        all_say(&rate.take(1).cloned().collect::<Vec<_>>(), &["ppm faster", "too long", "one factor"]);
    }

    #[test]
    fn a_second_clock_that_drifts_is_named() {
        // 0.2 ppm a second: 25 ppm after some two minutes.
        let found = against(true_ticks, |t| t * 1e9 + 0.1e-6 * t * t * 1e9, 220);
        all_say(&found, &["drift apart", "phc"]);
        assert!((100..180).contains(&found[0].0), "{found:?}");
    }

    #[test]
    fn a_clock_that_freezes_verifies_nothing() {
        let root = host();
        let kernel = Fake::boxed("kernel", true_ticks, true_ns);
        let mut watch = watch(&root, kernel, Some(Fake::boxed("phc", true_ticks, |t| t.min(60.0) * 1e9)));
        let found = warnings(&mut watch, 200);
        assert!(found.iter().any(|(_, text)| text.contains("phc stands still")), "{found:?}");
        assert_eq!(watch.check().independent_ppm, None);
    }

    #[test]
    fn a_tsc_that_freezes_is_named_as_long_as_it_stands() {
        let found = against(|t| t.min(60.0) * HZ, true_ns, 100);
        let still = found.iter().filter(|(_, text)| text.contains("the TSC stands still while phc goes on"));
        assert!(still.count() > 30, "{found:?}");
    }

    #[test]
    fn a_device_that_counts_something_else_than_time_alarms_nobody() {
        // Twice as fast; by 2 ms too much or too little; in jumps of some seconds, as of registers that are read half old.
        let staggering = |t: f64| t * 1e9 + if (t as u64).is_multiple_of(2) { 2e6 } else { 0.0 };
        let jumping = |t: f64| (t / 4.0).floor() * 4e9 + (t % 4.0) * 1e8;
        let bad: [fn(f64) -> f64; 3] = [|t| t * 2e9, staggering, jumping];
        for bad in bad {
            let kernel = Fake::boxed("kernel", true_ticks, true_ns);
            let mut watch = watch(&host(), kernel, Some(Fake::boxed("phc", true_ticks, bad)));
            assert_eq!(warnings(&mut watch, 200), []);
            assert_eq!(watch.check().independent, None);
        }
    }

    #[test]
    fn a_device_that_comes_to_its_senses_is_believed() {
        let wild = |t: f64| if t < 60.0 { t * t * 1e8 } else { t * 1e9 };
        let kernel = Fake::boxed("kernel", true_ticks, true_ns);
        let mut watch = watch(&host(), kernel, Some(Fake::boxed("phc", true_ticks, wild)));
        assert_eq!(warnings(&mut watch, 120), []);
        assert_eq!(watch.check().independent.as_deref(), Some("phc"));
    }

    #[test]
    fn a_rate_that_was_wrong_from_the_first_day_is_found() {
        let found = against(true_ticks, |t| t * 1e9 * (1.0 - 400e-6), 120);
        all_say(&found, &["phc", " ppm more ticks a second", "0.040 % too long"]);
        assert!(found.last().unwrap().1.contains("400 ppm"), "{found:?}");
    }

    #[test]
    fn the_kernel_clock_is_watched_like_any_other() {
        let root = host();
        let stepping = |t: f64| t * 1e9 + if t > 60.5 { 1e6 } else { 0.0 };
        let found = warnings(&mut watch(&root, Fake::boxed("raw", true_ticks, stepping), None), 200);
        assert_eq!(found.len(), 1, "{found:?}");
        all_say(&found, &["against raw", "back by 1.0 ms"]);
    }

    #[test]
    fn a_clock_that_is_set_begins_anew_without_a_warning() {
        struct Set(Fake);
        impl Reference for Set {
            fn name(&self) -> &str {
                "ntp"
            }
            fn read(&mut self) -> Option<Reading> {
                let reading = self.0.read()?;
                let set = u64::from(self.0.second > 60.0);
                // Out of reach for a while.
                let gone = self.0.second > 100.0 && self.0.second < 110.0;
                (!gone).then_some(Reading { ns: reading.ns + set * 5_000_000_000, epoch: set, ..reading })
            }
        }
        let root = host();
        let ntp = Set(Fake { name: "", second: 0.0, seed: 1, ticks: true_ticks, ns: true_ns });
        let kernel = Fake::boxed("kernel", true_ticks, true_ns);
        let mut watch = watch(&root, kernel, Some(Box::new(ntp)));
        assert_eq!(warnings(&mut watch, 200), []);
        assert!(watch.check().independent_ppm.unwrap().abs() < 50.0);
    }

    #[test]
    fn what_cpu_and_kernel_say_of_the_tsc_is_told() {
        let root = host();
        write(&root, "proc/cpuinfo", "model name\t: old\nflags\t\t: fpu tsc nonstop_tsc_s3\n");
        let mut bad = healthy(&root);
        let said = |watch: &mut Watch| watch.check().warnings.join("\n");
        let text = said(&mut bad);
        assert!(
            text.contains("constant_tsc") && text.contains("nonstop_tsc") && !text.contains("clocksource"),
            "{text}"
        );
        write(&root, SOURCE, "hpet\n");
        let text = said(&mut bad);
        assert!(text.contains("left the TSC for the clocksource hpet") && text.contains("negative"), "{text}");
        let text = said(&mut healthy(&root));
        assert!(text.contains("clocksource is hpet, not tsc"), "{text}");
        let silent = tempfile::tempdir().unwrap();
        assert_eq!(said(&mut healthy(&silent)), "", "what cannot be read is not warned of");
    }

    #[test]
    fn a_kernel_clock_on_a_timer_chip_is_independent() {
        let root = host();
        write(&root, SOURCE, "hpet\n");
        let mut watch = healthy(&root);
        let last = (0..50).map(|_| watch.check()).last().unwrap();
        assert_eq!(last.independent.as_deref(), Some("kernel on hpet"));
        assert!(last.independent_ppm.unwrap().abs() < 1.0);
    }

    /// CPUs whose TSCs are so many ticks ahead; a hop takes 10,000.
    struct Hops(Vec<usize>, Vec<i64>, u64);

    impl Cores for Hops {
        fn cpus(&self) -> &[usize] {
            &self.0
        }

        fn tsc_on(&mut self, cpu: usize) -> Option<u64> {
            self.2 += 10_000;
            Some(self.2.wrapping_add_signed(self.1[cpu]))
        }
    }

    #[test]
    fn cpus_whose_tscs_disagree_are_named() {
        let sentences = |ahead: &[i64]| {
            let mut hops = Hops((0..ahead.len()).collect(), ahead.to_vec(), 1 << 40);
            offsets(&mut hops).iter().filter_map(|offset| offset.sentence(1e9)).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(sentences(&[0, 9_000, -9_000, 0]), "", "less than a hop cannot be told");
        assert_eq!(sentences(&[5]), "");
        let text = sentences(&[0, 60_000, 0, -30_000]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("CPU 1 is at least 50.0 µs ahead of that of CPU 0"), "{text}");
        assert!(text.contains("CPU 3 is at least 20.0 µs behind that of CPU 0"), "{text}");
    }

    #[test]
    fn this_host_is_watched_without_harm() {
        let clock = Clock::fit();
        let mut watch = Watch::host(&clock, &affinity::current().unwrap(), None);
        let mut said = watch.check();
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            said = watch.check();
        }
        assert!((said.tsc_hz / clock.hz() - 1.0).abs() < 1e-3, "{said:?}");
        println!("{said:#?}");
    }
}
