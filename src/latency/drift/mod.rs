//! Is it slower than it was, and what does that mean? Profiles of a baseline and of now come in; a verdict, its reasons
//! and what they point at go out. Pure: reads no file, no clock, no host. `docs/verdict.md` says how often it is right.
//!
//! What moved is told apart by comparing hops with each other. A machine that runs 10 % slower today slows every hop by
//! one factor; that factor is estimated from most hops (their median) and taken out, so that a hop that moved by itself
//! stands out even where the machine's speed does not stand still. Medians are of orders that waited for no other, so that
//! what one stage takes is not found in another; 99th percentiles, where waiting is the point, are of all. Whether either is real is judged by what runs of the
//! baseline differ by among each other.

mod budget;
mod cause;
mod live;
mod sample;
mod spread;
mod text;

pub use budget::{BudgetReport, Overrun, against_budget};
pub use cause::{Cited, FactChange, Finding, Meaning};
pub use live::Live;

use super::hop::Hop;
use super::profile::{MAX_SLICES, Profile};
use sample::{LEAST_SLICES, Point, Sampled};
use serde::{Deserialize, Serialize};
use spread::{Difference, Figures, KNOWN_RUNS, variance};

/// A shift below this share of the baseline is nobody's business,
pub const LEAST_SHARE: f64 = 0.03;
/// and neither is one of fewer ns.
pub const LEAST_NS: f64 = 20.0;
/// Chance that a figure that did not move is called a shift, over all figures of one kind: medians of hops, 99th
/// percentiles, the common factor.
const ALPHA: f64 = 0.015;
/// A figure that would be a shift at so many times this chance is undecided.
const UNDECIDED: f64 = 6.0;
/// The same of the common factor, which is what differs most from run to run where nothing changed.
const ALPHA_FACTOR: f64 = 0.005;
/// Least standard deviation that the speed of a host is believed to have from run to run; the second where nothing is
/// known of it, and it may be a virtual machine.
const FACTOR_FLOOR: [f64; 2] = [0.01, 0.03];
/// Hops this short say nothing about a common factor: a tick of the clock would.
const LEAST_FACTOR_NS: f64 = 20.0;
/// "The same" is not said when a hop's median could have grown by this factor unseen, …
const BLIND_P50: f64 = 1.5;
/// … when all could, …
const BLIND_FACTOR: f64 = 2.0;
/// … or when the 99th percentile of the whole way could.
const BLIND_P99: f64 = 4.0;
/// The speed of a host wanders: runs differ by more than the parts of one, in variance by this factor.
const WANDER: f64 = 4.0;
/// Runs whose rate of orders, or whose mean burst, differs by these factors are not compared, where nothing says that they
/// were given the same.
const OTHER_LOAD: [f64; 2] = [2.0, 1.25];

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing got slower by more than it says it would have seen.
    Same,
    /// Something did.
    Regression,
    /// The runs cannot be compared, or not closely enough.
    CannotTell,
}

/// A comparison of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What it came to.
    pub verdict: Verdict,
    /// Facts of program and host that are not what they were.
    pub fingerprint: Vec<FactChange>,
    /// Why it cannot tell; may also stand beside a regression, for what it cannot tell besides.
    pub cannot_tell: Vec<String>,
    /// What a reader must know to weigh it.
    pub cautions: Vec<String>,
    /// Runs of the baseline.
    pub baseline_runs: usize,
    /// Runs of now.
    pub now_runs: usize,
    /// By venue that both have.
    pub venues: Vec<VenueComparison>,
}

/// One venue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VenueComparison {
    /// Its name.
    pub name: String,
    /// The factor that most of the software's hops moved by; `None` where they did not move together, or are too few.
    pub common: Option<Shift>,
    /// Hops that were measured on both sides, in packet order.
    pub hops: Vec<HopComparison>,
    /// What the shifts mean, the gravest first.
    pub findings: Vec<Finding>,
}

/// One hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopComparison {
    /// Which.
    pub hop: Hop,
    /// Its median, of the orders that waited for no other.
    pub p50: Shift,
    /// Its 99th percentile, of all orders; `None` with too few samples.
    pub p99: Option<Shift>,
}

/// How a figure moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Of the baseline, in ns; 1 for a factor.
    pub baseline: f64,
    /// Now.
    pub now: f64,
    /// By how much it moved beyond what other findings explain (the common factor; for a 99th percentile, what was added
    /// to the median), in ns.
    pub own: f64,
    /// Least that `own` may be, by the interval that all figures of its kind share.
    pub low: f64,
    /// Most that it may be.
    pub high: f64,
    /// What that makes it.
    pub state: State,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not distinguishable from the baseline, or by too little to matter.
    Same,
    /// Slower.
    Slower,
    /// Faster.
    Faster,
    /// Perhaps slower.
    Undecided,
    /// Shown, and judged by its parts.
    Sum,
}

impl Verdict {
    /// All.
    pub const ALL: [Verdict; 3] = [Verdict::Same, Verdict::Regression, Verdict::CannotTell];

    /// For CI: 0 the same, 1 a regression, 2 cannot tell.
    pub const fn exit_code(self) -> u8 {
        match self {
            Verdict::Same => 0,
            Verdict::Regression => 1,
            Verdict::CannotTell => 2,
        }
    }
}

/// Runs, resampled once for many comparisons.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    profiles: Vec<Profile>,
    /// By profile, by venue.
    sampled: Vec<Vec<Sampled>>,
}

/// Compare runs with those of a baseline.
pub fn compare(baseline: &[Profile], now: &[Profile]) -> Comparison {
    let [baseline, now] = [baseline, now].map(|side| side.iter().cloned().collect::<Runs>());
    now.against(&baseline, 1.0)
}

impl FromIterator<Profile> for Runs {
    fn from_iter<I: IntoIterator<Item = Profile>>(profiles: I) -> Runs {
        let mut runs = Runs::default();
        profiles.into_iter().for_each(|profile| runs.push(profile));
        runs
    }
}

impl Runs {
    /// Add a run.
    pub fn push(&mut self, profile: Profile) {
        self.sampled.push((0..profile.venues.len()).map(|venue| Sampled::new(&profile, venue)).collect());
        self.profiles.push(profile);
    }

    /// Forget the first runs, but for the last `most`.
    pub fn keep_last(&mut self, most: usize) {
        let gone = self.profiles.len().saturating_sub(most);
        self.profiles.drain(..gone);
        self.sampled.drain(..gone);
    }

    /// The runs.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Compare these runs with a baseline. Who compares again and again makes the `chance` of a false claim smaller than
    /// 1, the usual one.
    pub fn against(&self, baseline: &Runs, chance: f64) -> Comparison {
        let (old, now) = (&baseline.profiles, &self.profiles);
        let mut comparison = Comparison {
            verdict: Verdict::CannotTell,
            fingerprint: cause::fact_changes(old, now),
            cannot_tell: incomparable(old, now),
            cautions: cautions(old, now),
            baseline_runs: old.len(),
            now_runs: now.len(),
            venues: Vec::new(),
        };
        if !comparison.cannot_tell.is_empty() {
            return comparison;
        }
        let names: Vec<&str> = old[0].venues.iter().map(|venue| venue.header.name.as_str()).collect();
        let mut pairs = Vec::new();
        for name in &names {
            match Pair::new(name, [baseline, self]) {
                Ok(pair) => pairs.push(pair),
                Err(why) => comparison.cannot_tell.push(why),
            }
        }
        for name in now.iter().flat_map(|run| &run.venues).map(|venue| venue.header.name.as_str()) {
            if !names.contains(&name) {
                comparison.cannot_tell.push(format!("{name}: the baseline has no such venue"));
            }
        }
        let tests = Tests::of(&pairs, chance);
        for pair in &pairs {
            let (venue, doubts) = pair.judge(&tests, &comparison.fingerprint);
            comparison.cannot_tell.extend(doubts);
            comparison.venues.push(venue);
        }
        comparison.cannot_tell.dedup();
        let regressed = comparison.venues.iter().flat_map(|venue| &venue.findings).any(Finding::is_regression);
        comparison.verdict = match () {
            () if regressed => Verdict::Regression,
            () if comparison.cannot_tell.is_empty() => Verdict::Same,
            () => Verdict::CannotTell,
        };
        comparison
    }
}

/// Why the runs cannot be compared at all.
fn incomparable(baseline: &[Profile], now: &[Profile]) -> Vec<String> {
    let (Some(first), true) = (baseline.first(), !now.is_empty()) else {
        return vec!["there is nothing to compare: one side has no run".into()];
    };
    let mut why = Vec::new();
    let all = || baseline.iter().chain(now);
    if let Some(run) = all().find(|run| run.oversubscribed) {
        why.push(format!("run {} had fewer CPUs than lcores, so its times say nothing", run.run));
    }
    if let Some(other) = all().find(|run| run.command != first.command) {
        why.push(format!("a {} is compared with a {}", other.command, first.command));
    }
    if let Some(other) = all().find(|run| run.captures != first.captures) {
        let names = |run: &Profile| {
            let captures = run.captures.iter().map(|c| format!("{} ({} bytes, crc {:08x})", c.name, c.bytes, c.crc32));
            captures.collect::<Vec<_>>().join(", ")
        };
        let (theirs, ours) = (names(other), names(first));
        why.push(format!("different captures: {theirs} in run {}, {ours} in run {}", other.run, first.run));
    }
    if let Some(other) = all().find(|run| run.speed != first.speed) {
        let (theirs, ours) = (&other.speed, &first.speed);
        why.push(format!("replayed at different speeds: {theirs} in run {}, {ours} in run {}", other.run, first.run));
    }
    why
}

fn cautions(baseline: &[Profile], now: &[Profile]) -> Vec<String> {
    let mut cautions = Vec::new();
    if baseline.len() < KNOWN_RUNS {
        let runs = if baseline.len() == 1 { "one run".into() } else { format!("{} runs", baseline.len()) };
        cautions.push(format!(
            "the baseline is {runs}: what its runs differ by is unknown and taken to be large; {KNOWN_RUNS} or more say it"
        ));
    }
    let lost: u64 = now.iter().chain(baseline).map(|run| run.lost).sum();
    if lost > 0 {
        cautions.push(format!("{lost} records were lost, most likely of the busiest moments"));
    }
    let negative: u64 = now.iter().chain(baseline).map(|run| run.negative).sum();
    if negative > 0 {
        cautions.push(format!("{negative} records have stamps out of order and were left out: TSCs that disagree"));
    }
    for warning in now.iter().chain(baseline).flat_map(|run| &run.clock_warnings) {
        if !cautions.contains(warning) {
            cautions.push(warning.clone());
        }
    }
    cautions
}

/// One venue on both sides.
struct Pair<'a> {
    name: &'a str,
    /// By side, by run: the run and the venue's place in it.
    runs: [Vec<(&'a Profile, usize)>; 2],
    figures: [Figures; FIGURES],
    /// The baseline's figures in ns, by [`Hop::index`]: the geometric mean of its runs.
    base: Point,
    /// The same of now.
    now: Point,
    /// Software hops long enough to tell a common factor.
    long: Vec<usize>,
}

/// Figures of a run, as logarithms relative to the baseline: the common factor, then by hop the median beyond that
/// factor, the median, the 99th percentile.
const FIGURES: usize = 25;
const FACTOR: usize = 0;
const OWN: usize = 1;
const P50: usize = 9;
const P99: usize = 17;

/// Chance of a false claim that each figure of a kind may have, so that all of the kind together, over all venues, have
/// theirs.
struct Tests {
    p50: f64,
    p99: f64,
    factor: f64,
}

impl Tests {
    fn of(pairs: &[Pair<'_>], chance: f64) -> Tests {
        let count = |point: fn(&Pair<'_>) -> [f64; 8]| -> f64 {
            pairs.iter().map(|pair| point(pair).iter().filter(|v| v.is_finite()).count() as f64).sum::<f64>().max(1.0)
        };
        Tests {
            p50: chance * ALPHA / count(|pair| pair.base.p50),
            p99: chance * ALPHA / count(|pair| pair.base.p99),
            factor: chance * ALPHA_FACTOR / pairs.len().max(1) as f64,
        }
    }
}

impl<'a> Pair<'a> {
    fn new(name: &'a str, sides: [&'a Runs; 2]) -> Result<Pair<'a>, String> {
        let mut runs: [Vec<(&Profile, usize)>; 2] = [Vec::new(), Vec::new()];
        let mut sampled: [Vec<&Sampled>; 2] = [Vec::new(), Vec::new()];
        for (side, (runs, sampled)) in sides.iter().zip(runs.iter_mut().zip(&mut sampled)) {
            for (run, venues) in side.profiles.iter().zip(&side.sampled) {
                let Some(index) = run.venues.iter().position(|venue| venue.header.name == name) else {
                    return Err(format!("{name}: run {} has no such venue", run.run));
                };
                let venue = &venues[index];
                if !venue.whole.p50[Hop::RxDoorbell.index()].is_finite() {
                    let (orders, slices, max) = (venue.orders, venue.slices, MAX_SLICES);
                    return Err(format!(
                        "{name}: too few samples: {orders} packets with orders and none before them in their burst, in {slices} of {max} slices of run {}; at least 200 in \
                         {LEAST_SLICES} are needed",
                        run.run
                    ));
                }
                runs.push((run, index));
                sampled.push(venue);
            }
        }
        if let Some(why) = other_load(name, &runs, &sampled) {
            return Err(why);
        }
        let mean = |side: &[&Sampled], of: fn(&Point) -> &[f64; 8]| -> [f64; 8] {
            std::array::from_fn(|hop| {
                let logs: f64 = side.iter().map(|venue| log(of(&venue.whole)[hop])).sum();
                (logs / side.len() as f64).exp() - LEAST_NS
            })
        };
        let [base, now] = [&sampled[0], &sampled[1]]
            .map(|side| {
                [mean(side, |point| &point.p50), mean(side, |point| &point.all50), mean(side, |point| &point.p99)]
            })
            .map(|[p50, all50, p99]| Point { p50, all50, p99 });
        let long = Hop::SOFTWARE.map(Hop::index);
        let long: Vec<usize> =
            long.into_iter().filter(|&hop| base.p50[hop] >= LEAST_FACTOR_NS && now.p50[hop] > 1.0).collect();
        let of = |point: &Point| figures_of(point, &base, &long);
        let mut figures: [Figures; FIGURES] = std::array::from_fn(|_| Figures::default());
        let sides = sampled.map(|side| side.iter().map(|venue| Estimated::new(venue, of)).collect::<Vec<_>>());
        for (i, figure) in figures.iter_mut().enumerate() {
            let within = |side: &[Estimated]| side.iter().map(|run| run.within[i]).sum::<f64>() / side.len() as f64;
            let [k, m] = &sides;
            figure.baseline = k.iter().map(|run| run.whole[i]).collect();
            figure.now = m.iter().map(|run| run.whole[i]).collect();
            figure.wander = if (OWN..P50).contains(&i) || i >= P99 { 1.0 } else { WANDER };
            figure.within_baseline = within(k);
            figure.within_now = within(m);
            figure.among_parts = k.iter().chain(m).map(|run| run.among[i]).sum::<f64>() / (k.len() + m.len()) as f64;
        }
        Ok(Pair { name, runs, figures, base, now, long })
    }

    /// What became of every figure, what that means, and what cannot be told.
    fn judge(&self, tests: &Tests, facts: &[FactChange]) -> (VenueComparison, Vec<String>) {
        let mut cannot_tell = Vec::new();
        let common = self.common(tests);
        let factor = common.map_or(1.0, |shift| shift.now);
        let claimed = common.filter(|shift| matches!(shift.state, State::Slower | State::Faster));
        let mut hops = Vec::new();
        for hop in Hop::ALL.into_iter().filter(|hop| self.measured(*hop)) {
            let factor = if Hop::SOFTWARE.contains(&hop) { factor } else { 1.0 };
            let mut p50 = self.median(hop, common.is_some(), factor, tests);
            if p50.state == State::Faster && p50.now >= p50.baseline {
                p50.state = State::Same;
            }
            hops.push(HopComparison { hop, p50, p99: None });
        }
        let explained = |hop: Hop| -> f64 {
            let added = hops.iter().filter(|at| at.hop == hop && at.p50.state == State::Slower).map(|at| at.p50.own);
            let software = Hop::SOFTWARE.contains(&hop) || hop == Hop::RxDoorbell;
            let factor = claimed.map_or(1.0, |shift| shift.now);
            let common = if software { (factor - 1.0) * self.base.p99[hop.index()] } else { 0.0 };
            common.max(0.0) + added.sum::<f64>()
        };
        let p99: Vec<Option<Shift>> = hops
            .iter()
            .map(|at| {
                let whole = Hop::SOFTWARE.iter().map(|hop| explained(*hop)).sum::<f64>();
                let explained =
                    if at.hop == Hop::RxDoorbell { whole.max(explained(at.hop)) } else { explained(at.hop) };
                self.tail(at.hop, explained, tests)
            })
            .collect();
        for (at, p99) in hops.iter_mut().zip(p99) {
            at.p99 = p99;
        }
        let mut venue = VenueComparison { name: self.name.to_owned(), common, hops, findings: Vec::new() };
        venue.findings = cause::findings(&venue, claimed, [&self.runs[0], &self.runs[1]], facts);
        if !venue.findings.iter().any(Finding::is_regression) {
            cannot_tell.extend(self.doubts(&venue));
        }
        (venue, cannot_tell)
    }

    /// The factor of most of the software's hops; `None` where most did not move together.
    fn common(&self, tests: &Tests) -> Option<Shift> {
        let known = self.runs[0].len() >= KNOWN_RUNS;
        let difference = self.figures[FACTOR].difference(FACTOR_FLOOR[usize::from(!known)]);
        let near = |&&hop: &&usize| {
            let own = self.own(hop, 0.01);
            own.value.abs() <= (2.0 * own.error).max(0.05).max(0.3 * difference.value.abs())
        };
        let together = self.long.iter().filter(near).count();
        if self.long.len() < 3 || together * 3 < self.long.len() * 2 {
            return None;
        }
        let whole = self.base.p50[Hop::RxDoorbell.index()];
        let scale = |log: f64| log.exp_m1();
        let judged = judged(difference, scale, tests.factor, |share| {
            share.abs() >= LEAST_SHARE && share.abs() * whole >= LEAST_NS
        });
        Some(Shift { baseline: 1.0, now: 1.0 + judged.own, ..judged })
    }

    fn median(&self, hop: Hop, factored: bool, factor: f64, tests: &Tests) -> Shift {
        let i = hop.index();
        let (base, now) = (self.base.p50[i], self.now.p50[i]);
        let floor = floor(base, 0.01);
        let difference = if factored && Hop::SOFTWARE.contains(&hop) {
            self.own(i, floor)
        } else {
            self.figures[P50 + i].difference(floor)
        };
        let scale = |log: f64| (base * factor + LEAST_NS) * log.exp_m1();
        let matters = |ns: f64| ns.abs() >= LEAST_NS && ns.abs() >= LEAST_SHARE * base;
        let judged = judged(difference, scale, tests.p50, matters);
        let state = if hop == Hop::RxDoorbell { State::Sum } else { judged.state };
        Shift { baseline: base, now, state, ..judged }
    }

    fn tail(&self, hop: Hop, explained: f64, tests: &Tests) -> Option<Shift> {
        let i = hop.index();
        let (base, now) = (self.base.p99[i], self.now.p99[i]);
        if !base.is_finite() || !now.is_finite() {
            return None;
        }
        let mut difference = self.figures[P99 + i].difference(floor(base, 0.02));
        difference.value -= log(base + explained) - log(base);
        let scale = |log: f64| (base + explained + LEAST_NS) * log.exp_m1();
        let matters = |ns: f64| ns.abs() >= LEAST_NS && ns.abs() >= LEAST_SHARE * base;
        let judged = judged(difference, scale, tests.p99, matters);
        Some(Shift { baseline: base, now, ..judged })
    }

    /// A hop's median beyond the common factor. The hops know their spread better together than each alone.
    fn own(&self, hop: usize, floor: f64) -> Difference {
        let figures = &self.figures[OWN + hop];
        let others = self.long.iter().map(|&hop| self.figures[OWN + hop].among_parts);
        let mean = others.clone().sum::<f64>() / others.count().max(1) as f64;
        let mut figures = figures.clone();
        figures.among_parts = figures.among_parts.max(mean / 2.0);
        figures.difference(floor)
    }

    fn measured(&self, hop: Hop) -> bool {
        self.base.p50[hop.index()].is_finite() && self.now.p50[hop.index()].is_finite()
    }

    /// Why "the same" cannot be said though no shift was found.
    fn doubts(&self, venue: &VenueComparison) -> Vec<String> {
        let name = self.name;
        let mut doubts = Vec::new();
        if let Some(common) = venue.common {
            let (percent, most) = ((common.now - 1.0) * 100.0, common.high * 100.0);
            if common.state == State::Undecided {
                doubts.push(format!(
                    "{name}: all hops are slower by {percent:.0} %, which is between what runs differ by and a shift"
                ));
            } else if common.high - common.own > BLIND_FACTOR - 1.0 {
                doubts.push(format!("{name}: too noisy: all hops could be slower by {most:.0} % unseen"));
            }
        }
        let whole = self.base.p50[Hop::RxDoorbell.index()];
        for at in venue.hops.iter().filter(|at| at.hop != Hop::RxDoorbell) {
            let (hop, p50) = (at.hop.name(), at.p50);
            if p50.state == State::Undecided {
                doubts.push(format!(
                    "{name} {hop}: the median may be slower by {:.0} ns, and may not: {:.0} to {:.0} ns",
                    p50.own, p50.low, p50.high
                ));
            } else if Hop::SOFTWARE.contains(&at.hop)
                && p50.baseline > whole / 10.0
                && p50.high - p50.own > (BLIND_P50 - 1.0) * p50.baseline + LEAST_NS
            {
                doubts.push(format!("{name} {hop}: too noisy: {:.0} ns more would not be seen", p50.high - p50.own));
            }
        }
        for at in &venue.hops {
            let Some(p99) = at.p99 else { continue };
            let blind = p99.high - p99.own > (BLIND_P99 - 1.0) * (p99.baseline + LEAST_NS);
            if p99.state == State::Undecided {
                doubts.push(format!(
                    "{name} {}: the 99th percentile may be slower by {:.0} ns, and may not: {:.0} to {:.0} ns",
                    at.hop.name(),
                    p99.own,
                    p99.low,
                    p99.high
                ));
            } else if at.hop == Hop::RxDoorbell && blind {
                let most = (p99.high - p99.own) / p99.baseline;
                doubts
                    .push(format!("{name}: too noisy: a 99th percentile of {:.1} times would not be seen", 1.0 + most));
            }
        }
        doubts
    }
}

/// Figures of one run of one venue.
struct Estimated {
    whole: [f64; FIGURES],
    /// Variance by resampling.
    within: [f64; FIGURES],
    /// Variance among the run's parts.
    among: [f64; FIGURES],
}

impl Estimated {
    fn new(venue: &Sampled, of: impl Fn(&Point) -> [f64; FIGURES]) -> Estimated {
        let replicates: Vec<[f64; FIGURES]> = venue.replicates.iter().map(&of).collect();
        let parts: Vec<[f64; FIGURES]> = venue.parts.iter().map(&of).collect();
        Estimated {
            whole: of(&venue.whole),
            within: std::array::from_fn(|i| variance(replicates.iter().map(|figures| figures[i]))),
            among: std::array::from_fn(|i| variance(parts.iter().map(|figures| figures[i]))),
        }
    }
}

fn figures_of(point: &Point, base: &Point, long: &[usize]) -> [f64; FIGURES] {
    let factor = middle(long.iter().map(|&hop| (point.p50[hop] / base.p50[hop]).ln()).collect());
    let mut figures = [f64::NAN; FIGURES];
    figures[FACTOR] = factor;
    for hop in 0..8 {
        figures[OWN + hop] = log(point.p50[hop]) - log(base.p50[hop] * factor.exp());
        figures[P50 + hop] = log(point.p50[hop]) - log(base.p50[hop]);
        figures[P99 + hop] = log(point.p99[hop]) - log(base.p99[hop]);
    }
    figures
}

/// The median; of an even number the value nearest to 0 between the two in the middle, which blames the machine least.
fn middle(mut values: Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    0.0f64.clamp(values[(n - 1) / 2], values[n / 2])
}

/// A started logarithm: ratios for long hops, ns for those shorter than what matters, and defined at 0.
fn log(ns: f64) -> f64 {
    (ns + LEAST_NS).ln()
}

/// Least standard deviation that runs are believed to have: a share, and two ns.
fn floor(base: f64, share: f64) -> f64 {
    (share * share + (2.0 / (base + LEAST_NS)).powi(2)).sqrt()
}

/// Judge a difference: `scale` makes ns of logarithms, `matters` says whether as many are worth a word.
fn judged(difference: Difference, scale: impl Fn(f64) -> f64, alpha: f64, matters: impl Fn(f64) -> bool) -> Shift {
    let [sure, undecided] = [alpha, UNDECIDED * alpha].map(|alpha| difference.half_width(alpha));
    let value = difference.value;
    let (own, low, high) = (scale(value), scale(value - sure), scale(value + sure));
    let state = match () {
        () if !matters(own) => State::Same,
        () if low > 0.0 => State::Slower,
        () if high < 0.0 => State::Faster,
        () if scale(value - undecided) > 0.0 => State::Undecided,
        () => State::Same,
    };
    Shift { baseline: 0.0, now: 0.0, own, low, high, state }
}

/// Runs that were not given the same work say nothing about the host. A replay of the same capture at the same speed was
/// given the same; a `run` takes what comes.
fn other_load(name: &str, runs: &[Vec<(&Profile, usize)>; 2], sampled: &[Vec<&Sampled>; 2]) -> Option<String> {
    if runs.iter().flatten().all(|(run, _)| !run.captures.is_empty()) {
        return None;
    }
    let mean = |side: usize, of: fn(&Sampled) -> f64| -> f64 {
        sampled[side].iter().map(|venue| of(venue)).sum::<f64>() / sampled[side].len() as f64
    };
    let differ = |[a, b]: [f64; 2], factor: f64| a > b * factor || b > a * factor;
    let [rate, burst] =
        [|venue: &Sampled| venue.rate, |venue: &Sampled| venue.burst].map(|of| [mean(0, of), mean(1, of)]);
    if differ(rate, OTHER_LOAD[0]) {
        return Some(format!("{name}: not comparable: {:.0} orders a second, {:.0} in the baseline", rate[1], rate[0]));
    }
    if differ(burst, OTHER_LOAD[1]) {
        return Some(format!(
            "{name}: not comparable: a mean burst of {:.1}, {:.1} in the baseline",
            burst[1], burst[0]
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::budget::{Allowance, Budget};
    use crate::latency::profile::ProfileBuilder;
    use crate::latency::record::{Kind, Record};
    use crate::latency::trace::{ClockFit, Header, VenueHeader};

    /// A calm host: 3000 orders in 3 s, each hop between 100 and 140 ns, and `added` to the fourth.
    fn run(header: &Header, added: u64) -> Profile {
        let mut builder = ProfileBuilder::new(header);
        for order in 0..3000u64 {
            let rx_tsc = 1 + order * 1_000_000;
            let at = |hops: u64| rx_tsc + (0..hops).map(|hop| 100 + order * (hop + 3) % 41).sum::<u64>();
            builder.record(&Record {
                kind: Kind::Sent as u8,
                rx_tsc,
                parsed_tsc: at(1),
                book_tsc: at(2),
                decided_tsc: at(3),
                encoded_tsc: at(4) + added,
                doorbell_tsc: at(5) + added,
                burst_size: 1,
                ..Record::default()
            });
        }
        builder.finish()
    }

    fn header() -> Header {
        let budget = Budget([(Hop::DecidedEncoded, Allowance { p50_ns: 200.0, p99_ns: 400.0 })].into());
        let venue = VenueHeader { name: "v".into(), lcores: [1, 2, 3, 4, 5], budget, ..VenueHeader::default() };
        Header {
            run: "r".into(),
            command: "run".into(),
            clock: ClockFit { tsc_hz: 1e9, ..ClockFit::default() },
            venues: vec![venue],
            ..Header::default()
        }
    }

    #[test]
    fn an_added_delay_is_measured_and_all_of_it_is_that_hop_s() {
        let baseline: Vec<Profile> = (0..3).map(|_| run(&header(), 0)).collect();
        let comparison = compare(&baseline, &[run(&header(), 500)]);
        assert_eq!(comparison.verdict, Verdict::Regression, "{comparison}");
        let [finding] = &comparison.venues[0].findings[..] else { panic!("{comparison}") };
        assert_eq!((finding.meaning, finding.hop), (Meaning::Stage, Some(Hop::DecidedEncoded)));
        assert!((finding.added_ns - 500.0).abs() < 10.0 && finding.share == Some(1.0), "{finding:?}");
        assert!(finding.text.contains("encode on lcore 4"), "{finding}");
        assert_eq!(compare(&baseline, &baseline).verdict, Verdict::Same);
        assert_eq!(Verdict::ALL.map(Verdict::exit_code), [0, 1, 2]);
    }

    #[test]
    fn a_comparison_is_read_back_from_its_json() {
        let baseline: Vec<Profile> = (0..3).map(|_| run(&header(), 0)).collect();
        let comparison = compare(&baseline, &[run(&header(), 500)]);
        let json = serde_json::to_string(&comparison).unwrap();
        let back: Comparison = serde_json::from_str(&json).unwrap();
        assert_eq!(back.verdict, comparison.verdict);
        assert_eq!(back.venues[0].findings.len(), comparison.venues[0].findings.len());
    }

    #[test]
    fn what_was_not_given_the_same_work_is_not_compared() {
        let baseline = [run(&header(), 0)];
        let told = |header: Header, now: fn(Profile) -> Profile| {
            let comparison = compare(&baseline, &[now(run(&header, 500))]);
            assert_eq!(comparison.verdict, Verdict::CannotTell, "{comparison}");
            comparison.cannot_tell.join("\n")
        };
        assert!(told(Header { oversubscribed: true, ..header() }, |p| p).contains("fewer CPUs than lcores"));
        assert!(told(Header { command: "replay".into(), ..header() }, |p| p).contains("compared with"));
        assert!(told(Header { speed: "2x".into(), ..header() }, |p| p).contains("different speeds"));
        let busier = |mut profile: Profile| {
            profile.venues[0].load.iter_mut().for_each(|slice| slice.bursts *= 4);
            profile
        };
        assert!(told(header(), busier).contains("a mean burst of 4.0, 1.0 in the baseline"));
        assert!(compare(&[], &baseline).cannot_tell[0].contains("nothing to compare"));
    }

    #[test]
    fn a_hop_over_its_budget_needs_no_baseline() {
        let within = against_budget(&[run(&header(), 0)]);
        assert_eq!((within.verdict, within.checked), (Verdict::Same, 2), "{within}");
        let over = against_budget(&[run(&header(), 290)]);
        assert_eq!(over.verdict, Verdict::Regression);
        // 410 ns of 200; of its 99th percentile, 429 of 400.
        assert_eq!(over.over.iter().map(|at| at.percentile).collect::<Vec<_>>(), [50, 99], "{over}");
        assert!((over.over[0].times - 2.05).abs() < 0.05, "{over}");
        let none = Header {
            venues: vec![VenueHeader { budget: Budget::default(), ..header().venues[0].clone() }],
            ..header()
        };
        assert_eq!(against_budget(&[run(&none, 0)]).verdict, Verdict::CannotTell);
        let crowded = Header { oversubscribed: true, ..header() };
        assert_eq!(against_budget(&[run(&crowded, 290)]).verdict, Verdict::CannotTell);
    }

    #[test]
    fn two_fits_of_one_tsc_are_no_difference_and_another_governor_is() {
        let facts = |facts: &[(&str, &str)]| {
            let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let fingerprint = crate::host::fingerprint::Fingerprint(facts.collect());
            run(&Header { fingerprint, ..header() }, 0)
        };
        let before = facts(&[("tsc.hz", "2445429512.1"), ("cpu4.governor", "performance"), ("thp", "never")]);
        let after = facts(&[("tsc.hz", "2445430012.7"), ("cpu4.governor", "powersave"), ("turbo", "on")]);
        let changes = cause::fact_changes(&[before], &[after]);
        let texts: Vec<String> = changes.iter().map(FactChange::to_string).collect();
        assert_eq!(texts, ["cpu4.governor: performance → powersave", "thp: never → unknown", "turbo: unknown → on"]);
    }
}
