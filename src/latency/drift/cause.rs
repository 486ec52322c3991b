//! What shifts mean. Judged figures, the evidence of the runs and the difference of their fingerprints come in; findings
//! with the stage, the lcores, the evidence and the changed facts that belong to them go out. Cites only evidence that
//! rose, and names configuration only where a fact of it changed.

use super::{HopComparison, Shift, State, VenueComparison};
use crate::host::fingerprint::{Difference, diff};
use crate::latency::hop::Hop;
use crate::latency::interval::{HostChange, News};
use crate::latency::profile::{Evidence, Profile};
use crate::latency::trace::VenueHeader;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Evidence rose when it comes at this many times its rate, …
const ROSE: f64 = 1.5;
/// … by so many standard errors of its slices, …
const ROSE_ERRORS: f64 = 3.5;
/// … and by a share of the time, or a number a second, that can touch one order in a hundred.
const LEAST_TIME_SHARE: f64 = 0.001;
const LEAST_A_SECOND: f64 = 2.0;
/// An lcore that is off its CPU for this much more of the time moves medians too.
const OFF_CPU: f64 = 0.1;
/// Cache misses an order that are worth a word.
const LEAST_MISSES: f64 = 0.5;

/// A fact of program or host that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactChange {
    /// Its dotted name.
    pub fact: String,
    /// What it was; several values where runs of the baseline differ; empty where it was not known.
    pub baseline: Vec<String>,
    /// What it is.
    pub now: Vec<String>,
}

/// Shifts with one meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing it points at.
    pub meaning: Meaning,
    /// The hop it is about; `None` for all.
    pub hop: Option<Hop>,
    /// Slower; a finding may also be good news.
    pub slower: bool,
    /// Added to the hop's median, or to its 99th percentile where the median stands still, in ns.
    pub added_ns: f64,
    /// The same as a factor on the baseline's figure.
    pub times: f64,
    /// Share of all that was added to the medians of the software's hops; `None` for 99th percentiles.
    pub share: Option<f64>,
    /// A sentence: what happened and where to look.
    pub text: String,
    /// Evidence that rose, the likeliest cause first.
    pub evidence: Vec<Cited>,
    /// Names of changed facts, those nearest to the hop first; empty when the fingerprints are the same.
    pub changed: Vec<String>,
    /// What the checks of the host found while the runs of now went on, or at their start and not at the baseline's, of a
    /// kind that does this.
    pub host: Vec<HostChange>,
}

/// What a shift points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// The median of one hop: its stage, the ring before it, or the memory it uses.
    Stage,
    /// All hops by one factor: the CPU's frequency, or the TSC's rate.
    Frequency,
    /// The hop before the first stage alone: NIC, PCIe, steering.
    Arrival,
    /// The 99th percentile with the median still: something takes the CPU away now and then.
    Interruption,
    /// The answer of the exchange or the network there.
    Exchange,
}

/// Evidence that rose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cited {
    /// Which.
    pub evidence: Evidence,
    /// On which lcore.
    pub lcore: u32,
    /// A second, in the baseline; ns a second for times.
    pub baseline: f64,
    /// A second, now.
    pub now: f64,
    /// Rank correlation of its rate with the share of slow orders, slice by slice, where there are enough slices.
    pub correlation: Option<f64>,
    /// The interrupt that rose most, where it is one.
    pub name: Option<String>,
}

impl Finding {
    /// It makes the verdict a regression.
    pub fn is_regression(&self) -> bool {
        self.slower
    }
}

/// A venue's run and the venue's place in it.
type Run<'a> = (&'a Profile, usize);

/// Facts of a run of now that no run of the baseline shares.
pub fn fact_changes(baseline: &[Profile], now: &[Profile]) -> Vec<FactChange> {
    let mut changes: BTreeMap<String, FactChange> = BTreeMap::new();
    for run in now {
        let mut unlike: BTreeMap<String, Vec<Difference>> = BTreeMap::new();
        for difference in baseline.iter().flat_map(|old| diff(&old.fingerprint, &run.fingerprint)) {
            unlike.entry(difference.key.clone()).or_default().push(difference);
        }
        unlike.retain(|_, differences| differences.len() == baseline.len());
        for (fact, differences) in unlike {
            let change = changes.entry(fact.clone()).or_insert(FactChange { fact, baseline: vec![], now: vec![] });
            for Difference { a, b, .. } in differences {
                change.baseline.extend(a);
                change.now.extend(b);
            }
        }
    }
    let mut changes: Vec<FactChange> = changes.into_values().collect();
    for values in changes.iter_mut().flat_map(|change| [&mut change.baseline, &mut change.now]) {
        values.sort();
        values.dedup();
    }
    changes
}

/// What the shifts of a venue mean.
pub fn findings(
    venue: &VenueComparison,
    factor: Option<Shift>,
    runs: [&[Run<'_>]; 2],
    facts: &[FactChange],
) -> Vec<Finding> {
    let context = Context { venue, header: &runs[1][0].0.venues[runs[1][0].1].header, runs, facts };
    let moved = |state: State| move |at: &&HopComparison| at.p50.state == state && (Hop::SOFTWARE.contains(&at.hop));
    let mut findings = Vec::new();
    findings.extend(factor.map(|shift| context.frequency(shift)));
    let slower: Vec<&HopComparison> = venue.hops.iter().filter(moved(State::Slower)).collect();
    let added: f64 = slower.iter().map(|at| at.p50.own).sum();
    findings.extend(slower.iter().map(|at| context.stage(at, Some(at.p50.own / added))));
    findings.extend(venue.hops.iter().filter(moved(State::Faster)).map(|at| context.stage(at, None)));
    findings.sort_by(|a, b| b.slower.cmp(&a.slower).then(b.added_ns.total_cmp(&a.added_ns)));
    let slow = |hop: Hop| venue.hops.iter().find(|at| at.hop == hop && at.p50.state == State::Slower);
    if let (Some(wire), true) = (slow(Hop::WireRx), slower.is_empty() && factor.is_none()) {
        findings.push(context.arrival(wire));
    }
    findings.extend(slow(Hop::DoorbellAck).map(|ack| context.exchange(ack)));
    let tails = venue.hops.iter().filter(|at| at.p99.is_some_and(|p99| p99.state == State::Slower));
    let tails: Vec<&HopComparison> = tails.filter(|at| at.hop != Hop::DoorbellAck).collect();
    let medians = findings.iter().any(|finding| finding.slower);
    let off_cpu = context.off_cpu();
    if !tails.is_empty() || (medians && off_cpu.is_some()) {
        let interruption = context.interruption(&tails, off_cpu);
        // A median that follows from half of the time being taken away is no finding about a stage.
        if off_cpu.is_some() {
            findings.retain(|finding| !finding.slower || finding.meaning == Meaning::Exchange);
        }
        if off_cpu.is_some() || !medians || !interruption.evidence.is_empty() {
            findings.push(interruption);
        }
    }
    findings
}

struct Context<'a> {
    venue: &'a VenueComparison,
    header: &'a VenueHeader,
    runs: [&'a [Run<'a>]; 2],
    facts: &'a [FactChange],
}

impl Context<'_> {
    fn frequency(&self, factor: Shift) -> Finding {
        let whole = self.venue.hops.iter().find(|at| at.hop == Hop::RxDoorbell);
        let added_ns = (factor.now - 1.0) * whole.map_or(0.0, |at| at.p50.baseline);
        let slower = factor.state == State::Slower;
        let how = if slower { "slower" } else { "faster" };
        let rates = |side: usize| self.runs[side].iter().map(|run| run.0.tsc_hz).collect::<Vec<_>>();
        let [before, after] = [rates(0), rates(1)].map(|r| r.iter().sum::<f64>() / r.len() as f64);
        let tsc = if (after / before - 1.0).abs() > LEAST_TSC_CHANGE {
            format!("; the TSC's rate was fitted as {:.1} MHz, {:.1} MHz before", after / 1e6, before / 1e6)
        } else {
            String::new()
        };
        let percent = (factor.now - 1.0).abs() * 100.0;
        Finding {
            meaning: Meaning::Frequency,
            hop: None,
            slower,
            added_ns,
            times: factor.now,
            share: None,
            text: format!(
                "all hops are {how} by one factor, {percent:.0} %: the CPU's frequency or what shares its core, or the \
                 TSC's rate{tsc}"
            ),
            evidence: if slower { self.evidence(&[Evidence::Steal], Hop::RxDoorbell) } else { Vec::new() },
            changed: self.changed(&self.header.lcores, &FREQUENCY_WORDS),
            host: self.host(&["power.", "clock.", "cpu.siblings"]),
        }
    }

    fn stage(&self, at: &HopComparison, share: Option<f64>) -> Finding {
        let (place, lcores, words) = self.place(at.hop);
        let slower = share.is_some();
        let verb = if slower { "slower" } else { "faster" };
        let text = if slower {
            format!(
                "the median of {} is {verb} by {:.0} ns, beyond what the other hops moved: {place}",
                at.hop.name(),
                at.p50.own
            )
        } else {
            format!("the median of {} is {verb} by {:.0} ns", at.hop.name(), -at.p50.own)
        };
        Finding {
            meaning: Meaning::Stage,
            hop: Some(at.hop),
            slower,
            added_ns: at.p50.own,
            times: at.p50.now / at.p50.baseline.max(1.0),
            share,
            text,
            evidence: if slower { self.evidence(&[Evidence::CacheMisses], at.hop) } else { Vec::new() },
            changed: self.changed(&lcores, &words),
            host: self.host(&["memory.", "power.", "cpu."]),
        }
    }

    fn arrival(&self, at: &HopComparison) -> Finding {
        let replay = self.runs[1].iter().any(|run| !run.0.captures.is_empty());
        let what = if replay {
            "the receive lcore comes to its packets later (a replay has no NIC)"
        } else {
            "NIC, PCIe, or the steering of its queues"
        };
        Finding {
            meaning: Meaning::Arrival,
            hop: Some(at.hop),
            slower: true,
            added_ns: at.p50.own,
            times: at.p50.now / at.p50.baseline.max(1.0),
            share: None,
            text: format!("only wire→rx is slower, by {:.0} ns: {what}, lcore {}", at.p50.own, self.header.lcores[0]),
            evidence: self.evidence(&Evidence::ALL, at.hop),
            changed: self.changed(&self.header.lcores[..1], &["port", "nic", "pci", "driver", "firmware"]),
            host: self.host(&["nic.", "port.", "irq.", "power."]),
        }
    }

    fn exchange(&self, at: &HopComparison) -> Finding {
        Finding {
            meaning: Meaning::Exchange,
            hop: Some(at.hop),
            slower: true,
            added_ns: at.p50.own,
            times: at.p50.now / at.p50.baseline.max(1.0),
            share: None,
            text: format!("the answer comes {:.0} ns later: the exchange, or the network to it", at.p50.own),
            evidence: Vec::new(),
            changed: Vec::new(),
            host: Vec::new(),
        }
    }

    fn interruption(&self, tails: &[&HopComparison], off_cpu: Option<(u32, f64)>) -> Finding {
        let own = |at: &&&HopComparison| at.p99.map_or(0.0, |p99| p99.own);
        let worst = tails.iter().max_by(|a, b| own(a).total_cmp(&own(b)));
        let (hop, added_ns, times) = worst.map_or((None, 0.0, 1.0), |at| {
            let p99 = at.p99.unwrap_or(at.p50);
            (Some(at.hop), p99.own, p99.now / p99.baseline.max(1.0))
        });
        let evidence = self.evidence(&Evidence::ALL, hop.unwrap_or(Hop::RxDoorbell));
        let name = hop.map_or("orders", Hop::name);
        let text = match (off_cpu, evidence.first()) {
            (Some((lcore, share)), _) => {
                format!(
                    "lcore {lcore} was off its CPU for {:.0} % of the time: something else runs there",
                    share * 100.0
                )
            }
            (None, Some(first)) => format!(
                "the 99th percentile of {name} is up by {added_ns:.0} ns beyond what its median explains: see lcore {}",
                first.lcore
            ),
            (None, None) => format!(
                "the 99th percentile of {name} is up by {added_ns:.0} ns beyond what its median explains, and no evidence rose: a \
                 rare path, or an interruption that this host does not show"
            ),
        };
        Finding {
            meaning: Meaning::Interruption,
            hop,
            slower: true,
            added_ns,
            times,
            share: None,
            text,
            evidence,
            changed: self.changed(&self.header.lcores, &["irq", "isol", "nohz", "rcu", "tick", "affinity"]),
            host: self.host(&["irq.", "cpu.", "kernel.", "memory.", "power."]),
        }
    }

    /// Where a hop's time is spent: a clause, its lcores, and words that facts about it have in their names.
    fn place(&self, hop: Hop) -> (String, Vec<u32>, [&'static str; 4]) {
        let VenueHeader { lcores, rings, .. } = self.header;
        let (stage, name, memory, words) = match hop {
            Hop::RxParsed => (1, "parse", "its packets' mbufs", ["port", "pool", "memory", "hugepage"]),
            Hop::ParsedBook => {
                (2, "strategy, applying events", "its books", ["book", "memory", "hugepage", "strategy"])
            }
            Hop::BookDecided => {
                (2, "strategy, deciding", "its state", ["strategy", "memory", "hugepage", "instrument"])
            }
            Hop::DecidedEncoded => (3, "encode", "its table and templates", ["encode", "memory", "hugepage", "table"]),
            _ => (4, "tx", "the order port", ["port", "order", "driver", "pci"]),
        };
        let lcore = lcores[stage];
        let before = lcores[stage - 1];
        let enters = hop != Hop::BookDecided;
        match rings[stage - 1].filter(|_| enters) {
            Some(depth) => (
                format!("{name} on lcore {lcore}, its ring of {depth} from lcore {before}, or {memory}"),
                vec![lcore, before],
                words,
            ),
            None => (format!("{name} on lcore {lcore}, or {memory}"), vec![lcore], words),
        }
    }

    /// Changed facts, those about these CPUs first, then those with one of these words, then the rest.
    fn changed(&self, lcores: &[u32], words: &[&str]) -> Vec<String> {
        let cpus: Vec<u32> = lcores
            .iter()
            .map(|lcore| self.runs[1].iter().find_map(|run| run.0.cpus.get(lcore).copied()).unwrap_or(*lcore))
            .collect();
        let rank = |change: &FactChange| {
            let fact = change.fact.to_lowercase();
            let mut parts = fact.split(['.', ':', '/']);
            let about = |part: &str| ["cpu", "lcore"].iter().find_map(|kind| part.strip_prefix(kind)?.parse().ok());
            let hot = parts.any(|part| about(part).is_some_and(|cpu: u32| cpus.contains(&cpu)));
            let word = words.iter().any(|word| fact.contains(word)) || fact.contains(&self.venue.name.to_lowercase());
            2 - 2 * i32::from(hot) - i32::from(word && !hot)
        };
        let mut changed: Vec<&FactChange> = self.facts.iter().collect();
        changed.sort_by_key(|change| rank(change));
        changed.into_iter().map(|change| change.fact.clone()).collect()
    }

    /// What checks whose ids begin so found in the runs of now. What the baseline has, or began with too, is no news.
    fn host(&self, kinds: &[&str]) -> Vec<HostChange> {
        let known = |at: &HostChange| {
            let baseline = self.runs[0].iter().flat_map(|run| &run.0.host);
            let same = |old: &HostChange| old.id == at.id && old.severity == at.severity;
            baseline.clone().any(|old| old == at || (at.news == News::AtStart && same(old)))
        };
        let now = self.runs[1].iter().flat_map(|run| &run.0.host).filter(|at| at.news != News::Gone);
        let mut found: Vec<HostChange> =
            now.filter(|at| kinds.iter().any(|kind| at.id.starts_with(kind)) && !known(at)).cloned().collect();
        found.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.at_ns.cmp(&b.at_ns)).then(a.id.cmp(&b.id)));
        found.dedup();
        found
    }

    /// The lcore that is off its CPU for much more of the time than it was, and the share of the time now.
    fn off_cpu(&self) -> Option<(u32, f64)> {
        let share = |lcore: u32| {
            // What one side's host does not tell is no difference between them.
            let told = [Evidence::RunQueueWait, Evidence::Steal]
                .into_iter()
                .filter_map(|evidence| rate(self.runs[0], lcore, evidence).zip(rate(self.runs[1], lcore, evidence)));
            told.fold((lcore, 0.0, 0.0), |(lcore, before, now), (b, n)| (lcore, before + b / 1e9, now + n / 1e9))
        };
        let lcores: BTreeSet<u32> = self.header.lcores.into_iter().collect();
        let off = lcores.into_iter().map(share);
        off.filter(|(_, before, now)| now - before > OFF_CPU && *now > 2.0 * before)
            .map(|(lcore, _, now)| (lcore, now))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// What of these kinds rose on the venue's lcores, the likeliest cause of slow `hop`s first.
    fn evidence(&self, kinds: &[Evidence], hop: Hop) -> Vec<Cited> {
        let lcores: BTreeSet<u32> = self.header.lcores.into_iter().collect();
        let limit = self
            .venue
            .hops
            .iter()
            .find(|at| at.hop == hop)
            .map_or(f64::INFINITY, |at| at.p99.map_or(at.p50.baseline, |p99| p99.baseline));
        let mut cited: Vec<Cited> = Vec::new();
        for lcore in lcores {
            for &evidence in kinds {
                cited.extend(self.rose(lcore, evidence, hop, limit));
            }
        }
        // Time taken from the CPU is the cause itself; of counts, what goes with slow slices, then what grew most.
        let weight = |cited: &Cited| {
            let time = if cited.evidence.is_time() { (cited.now - cited.baseline) / 1e9 * 100.0 } else { 0.0 };
            let growth = ((cited.now + 1.0) / (cited.baseline + 1.0)).ln();
            time.min(3.0) + (1.0 + 3.0 * cited.correlation.unwrap_or(0.0).max(0.0)) * growth.min(3.0)
        };
        cited.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        cited
    }

    fn rose(&self, lcore: u32, evidence: Evidence, hop: Hop, limit: f64) -> Option<Cited> {
        let [baseline, now] = [0, 1].map(|side| rate(self.runs[side], lcore, evidence));
        let (baseline, now) = (baseline?, now?);
        let least = match evidence {
            Evidence::CacheMisses => LEAST_MISSES * self.orders_a_second(),
            _ if evidence.is_time() => LEAST_TIME_SHARE * 1e9,
            _ => LEAST_A_SECOND,
        };
        let most = self.runs[0].iter().filter_map(|run| rate(&[*run], lcore, evidence)).fold(0.0, f64::max);
        let [before, after] = [0, 1].map(|side| slice_rates(self.runs[side], lcore, evidence));
        let error = (error_of_mean(&before).powi(2) + error_of_mean(&after).powi(2)).sqrt();
        let sure = now - baseline > ROSE_ERRORS * error;
        if now < ROSE * baseline || now < 1.2 * most || now - baseline < least || !sure {
            return None;
        }
        Some(Cited {
            evidence,
            lcore,
            baseline,
            now,
            correlation: self.correlation(lcore, evidence, hop, limit),
            name: (evidence == Evidence::Interrupts).then(|| self.interrupt_name(lcore)).flatten(),
        })
    }

    fn orders_a_second(&self) -> f64 {
        let runs = self.runs[1];
        runs.iter().map(|(run, venue)| run.venues[*venue].orders() as f64 / run.seconds().max(1e-9)).sum::<f64>()
            / runs.len() as f64
    }

    /// The interrupt whose rate grew most.
    fn interrupt_name(&self, lcore: u32) -> Option<String> {
        let rates = |side: usize| {
            let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
            let runs = self.runs[side];
            let seconds: f64 = runs.iter().map(|run| run.0.seconds()).sum();
            for (name, n) in runs.iter().filter_map(|run| run.0.interrupt_names.get(&lcore)).flatten() {
                *rates.entry(name).or_default() += *n as f64 / seconds.max(1e-9);
            }
            rates
        };
        let (before, after) = (rates(0), rates(1));
        let growth = |name: &str| after[name] - before.get(name).copied().unwrap_or(0.0);
        after.keys().max_by(|a, b| growth(a).total_cmp(&growth(b))).map(|name| (*name).to_owned())
    }

    /// Spearman's rank correlation, slice by slice of the runs of now, between the evidence and orders beyond `limit`.
    fn correlation(&self, lcore: u32, evidence: Evidence, hop: Hop, limit: f64) -> Option<f64> {
        let mut pairs = Vec::new();
        for (run, venue) in self.runs[1] {
            let Some(slices) = run.lcores.get(&lcore) else { continue };
            for (slice, counts) in slices.iter().zip(&run.venues[*venue].hops[hop.index()]) {
                let (amount, total) = (slice.amount[evidence.index()], counts.total());
                if slice.covered_ns <= 0.0 || !amount.is_finite() || total == 0 {
                    continue;
                }
                let slow = counts.buckets().iter().filter(|(bucket, _)| slice_bound(*bucket) > limit);
                let slow: u64 = slow.map(|&(_, n)| u64::from(n)).sum();
                pairs.push((amount / slice.covered_ns, slow as f64 / total as f64));
            }
        }
        (pairs.len() >= 12).then(|| spearman(&pairs)).filter(|r| r.is_finite())
    }
}

const FREQUENCY_WORDS: [&str; 8] = ["governor", "turbo", "freq", "cstate", "idle", "clocksource", "tsc", "cpu"];
/// A change of the fitted rate that no fit's error explains.
const LEAST_TSC_CHANGE: f64 = 0.005;

fn slice_bound(bucket: u16) -> f64 {
    crate::latency::profile::Counts::bounds_ns(bucket).0
}

/// Amount a second over the runs; `None` where the host does not tell.
fn rate(runs: &[Run<'_>], lcore: u32, evidence: Evidence) -> Option<f64> {
    let slices = || runs.iter().filter_map(|run| run.0.lcores.get(&lcore)).flatten();
    let told = || slices().filter(|slice| slice.amount[evidence.index()].is_finite() && slice.covered_ns > 0.0);
    let covered: f64 = told().map(|slice| slice.covered_ns).sum();
    (covered > 0.0).then(|| told().map(|slice| slice.amount[evidence.index()]).sum::<f64>() / covered * 1e9)
}

/// Amounts a second of the slices.
fn slice_rates(runs: &[Run<'_>], lcore: u32, evidence: Evidence) -> Vec<f64> {
    let slices = runs.iter().filter_map(|run| run.0.lcores.get(&lcore)).flatten();
    let rates = slices.map(|slice| slice.amount[evidence.index()] / slice.covered_ns * 1e9);
    rates.filter(|rate| rate.is_finite()).collect()
}

/// Standard error of a mean of neighbours that resemble each other: of the means of eight blocks.
fn error_of_mean(values: &[f64]) -> f64 {
    let block = values.len().div_ceil(8).max(1);
    let means: Vec<f64> = values.chunks(block).map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64).collect();
    (super::variance(means.iter().copied()) / means.len().max(1) as f64).sqrt()
}

fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |of: fn(&(f64, f64)) -> f64| {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|a, b| of(&pairs[*a]).total_cmp(&of(&pairs[*b])));
        let mut ranks = vec![0.0; pairs.len()];
        for tied in order.chunk_by(|a, b| of(&pairs[*a]) == of(&pairs[*b])) {
            let first = order.iter().position(|at| *at == tied[0]).unwrap_or(0);
            tied.iter().for_each(|at| ranks[*at] = first as f64 + (tied.len() - 1) as f64 / 2.0);
        }
        ranks
    };
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    let mean = (pairs.len() - 1) as f64 / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}
