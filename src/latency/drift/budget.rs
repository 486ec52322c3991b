//! Hops over what they may take, with no baseline at all: a host that was slow from its first day has no better yesterday
//! to be compared with. Profiles come in; overruns and a verdict go out.

use super::sample::{Point, Sampled};
use super::spread::variance;
use super::{Runs, Verdict};
use crate::latency::hop::Hop;
use crate::latency::profile::Profile;
use serde::{Deserialize, Serialize};

/// Standard errors by which a figure must be over: one chance in a hundred.
const SURE: f64 = 2.33;

/// Measured against budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetReport {
    /// Same when every hop with a budget keeps it.
    pub verdict: Verdict,
    /// Figures over their budget, the worst first.
    pub over: Vec<Overrun>,
    /// Figures that were held against one.
    pub checked: usize,
    /// Why it cannot tell.
    pub cannot_tell: Vec<String>,
}

/// A figure over its budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overrun {
    /// Whose.
    pub venue: String,
    /// Which hop.
    pub hop: Hop,
    /// 50 or 99.
    pub percentile: u8,
    /// What it may take, in ns.
    pub budget_ns: f64,
    /// What it takes, in ns.
    pub measured_ns: f64,
    /// How many times its budget.
    pub times: f64,
}

/// Hold runs against the budgets in their headers.
pub fn against_budget(runs: &[Profile]) -> BudgetReport {
    runs.iter().cloned().collect::<Runs>().against_budget()
}

impl Runs {
    /// Hold these runs against the budgets in their headers.
    pub fn against_budget(&self) -> BudgetReport {
        report(&self.profiles, &self.sampled)
    }
}

fn report(runs: &[Profile], sampled: &[Vec<Sampled>]) -> BudgetReport {
    let mut report =
        BudgetReport { verdict: Verdict::CannotTell, over: Vec::new(), checked: 0, cannot_tell: Vec::new() };
    if let Some(run) = runs.iter().find(|run| run.oversubscribed) {
        report.cannot_tell.push(format!("run {} had fewer CPUs than lcores, so its times say nothing", run.run));
        return report;
    }
    let Some(last) = runs.last() else {
        report.cannot_tell.push("there is no run".into());
        return report;
    };
    for venue in &last.venues {
        let name = &venue.header.name;
        let of_run = |(run, sampled): (&Profile, &'_ Vec<Sampled>)| {
            run.venues.iter().position(|at| at.header.name == *name).map(|index| sampled[index].clone())
        };
        let here: Vec<Sampled> = runs.iter().zip(sampled).filter_map(of_run).collect();
        for (&hop, allowance) in &venue.header.budget.0 {
            for (percentile, budget_ns) in [(50, allowance.p50_ns), (99, allowance.p99_ns)] {
                let of =
                    |point: &Point| if percentile == 50 { point.all50[hop.index()] } else { point.p99[hop.index()] };
                let Some((measured_ns, error)) = measured(&here, of) else { continue };
                report.checked += 1;
                if measured_ns - SURE * error > budget_ns {
                    let (venue, times) = (name.clone(), measured_ns / budget_ns);
                    report.over.push(Overrun { venue, hop, percentile, budget_ns, measured_ns, times });
                }
            }
        }
        if !venue.header.budget.0.is_empty() && here.iter().any(|run| run.replicates.is_empty()) {
            report.cannot_tell.push(format!("{name}: too few samples"));
        }
    }
    report.over.sort_by(|a, b| b.times.total_cmp(&a.times));
    report.verdict = match () {
        () if !report.over.is_empty() => Verdict::Regression,
        () if report.checked > 0 && report.cannot_tell.is_empty() => Verdict::Same,
        () => Verdict::CannotTell,
    };
    if report.checked == 0 && report.cannot_tell.is_empty() {
        report.cannot_tell.push("no hop that was measured has a budget".into());
    }
    report
}

/// Mean of the runs and its standard error; `None` where it was not measured.
fn measured(runs: &[Sampled], of: impl Fn(&Point) -> f64) -> Option<(f64, f64)> {
    let figures: Vec<f64> = runs.iter().map(|run| of(&run.whole)).filter(|v| v.is_finite()).collect();
    let n = figures.len() as f64;
    let within = runs.iter().map(|run| variance(run.replicates.iter().map(&of))).sum::<f64>() / n.max(1.0);
    let among = variance(figures.iter().copied());
    (n > 0.0).then(|| (figures.iter().sum::<f64>() / n, (within.max(among) / n).sqrt()))
}
