//! A comparison as a person reads it in ten seconds: what changed on the host, the verdict, what it means, and the table
//! behind it.

use super::cause::{Cited, FactChange, Finding};
use super::{BudgetReport, Comparison, HopComparison, Shift, State, VenueComparison, Verdict};
use crate::sys::time;
use std::fmt::{self, Display, Formatter};

/// Changed facts, evidence and reasons that are printed; JSON has all.
const MOST: usize = 6;

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Same => "same",
            Verdict::Regression => "REGRESSION",
            Verdict::CannotTell => "cannot tell",
        })
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.fingerprint.len() {
            0 => writeln!(f, "fingerprint: the same")?,
            1 => writeln!(f, "fingerprint: 1 fact differs")?,
            n => writeln!(f, "fingerprint: {n} facts differ")?,
        }
        for change in self.fingerprint.iter().take(MOST) {
            writeln!(f, "  {change}")?;
        }
        more(f, self.fingerprint.len())?;
        writeln!(f, "verdict: {}", self.verdict)?;
        let findings = || self.venues.iter().flat_map(|venue| venue.findings.iter().map(move |at| (&venue.name, at)));
        for (venue, finding) in findings() {
            writeln!(f, "  {venue}: {}", finding.text)?;
            if let Some(share) = finding.share {
                writeln!(
                    f,
                    "    {:.0} % of what was added to medians; {:.2} times its baseline",
                    share * 100.0,
                    finding.times
                )?;
            }
            for cited in finding.evidence.iter().take(3) {
                writeln!(f, "    evidence: {cited}")?;
            }
            for change in finding.host.iter().filter(|_| finding.slower).take(3) {
                writeln!(f, "    host, {}: {change}", time::utc(change.at_ns))?;
            }
            if finding.slower && !finding.changed.is_empty() {
                let changed = finding.changed.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
                writeln!(f, "    changed with it: {changed}")?;
            }
        }
        for why in self.cannot_tell.iter().take(MOST) {
            writeln!(f, "  {why}")?;
        }
        more(f, self.cannot_tell.len())?;
        for caution in &self.cautions {
            writeln!(f, "  note: {caution}")?;
        }
        let runs = |n: usize| if n == 1 { "1 run".to_owned() } else { format!("{n} runs") };
        let (now, baseline) = (runs(self.now_runs), runs(self.baseline_runs));
        for venue in &self.venues {
            writeln!(
                f,
                "\n{}: {now} against {baseline}, times in ns; p50 without waiting for other orders",
                venue.name
            )?;
            write!(f, "{venue}")?;
        }
        Ok(())
    }
}

impl Display for VenueComparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(common) = self.common {
            let [now, low, high] = [common.now, 1.0 + common.low, 1.0 + common.high];
            writeln!(f, "common factor of the medians {now:.2} ({low:.2} to {high:.2}), taken out of \"own\"")?;
        }
        writeln!(
            f,
            "{:<17} {:>3} {:>10} {:>10} {:>9} {:>8} {:>9} {:>21}",
            "hop", "", "baseline", "now", "shift", "", "own", "interval"
        )?;
        for at in &self.hops {
            row(f, at, "p50", &at.p50)?;
            if let Some(p99) = &at.p99 {
                row(f, at, "p99", p99)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, at: &HopComparison, figure: &str, shift: &Shift) -> fmt::Result {
    let name = if figure == "p50" { at.hop.name() } else { "" };
    let moved = shift.now - shift.baseline;
    let percent = 100.0 * moved / shift.baseline.max(1.0);
    let interval = format!("{:+.0} to {:+.0}", shift.low, shift.high);
    let state = match shift.state {
        State::Same | State::Sum => "",
        State::Slower => "slower",
        State::Faster => "faster",
        State::Undecided => "perhaps slower",
    };
    let line = format!(
        "{name:<17} {figure:>3} {:>10.0} {:>10.0} {moved:>+9.0} {percent:>+7.1}% {:>+9.0} {interval:>21}  {state}",
        shift.baseline, shift.now, shift.own
    );
    writeln!(f, "{}", line.trim_end())
}

impl Display for FactChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let side = |values: &[String]| if values.is_empty() { "unknown".to_owned() } else { values.join(" or ") };
        write!(f, "{}: {} → {}", self.fact, side(&self.baseline), side(&self.now))
    }
}

impl Display for Cited {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, lcore) = (self.evidence.name(), self.lcore);
        if self.evidence.is_time() {
            let [before, now] = [self.baseline, self.now].map(|rate| rate / 1e7);
            write!(f, "{name} of lcore {lcore} {before:.2} % → {now:.2} % of the time")?;
        } else {
            write!(f, "{name} of lcore {lcore} {:.1} → {:.1} a second", self.baseline, self.now)?;
        }
        if let Some(name) = &self.name {
            write!(f, ", most of them {name}")?;
        }
        match self.correlation {
            Some(r) if r > 0.2 => write!(f, ", in the slow slices (r = {r:.2})"),
            _ => Ok(()),
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Display for BudgetReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.verdict, self.over.len()) {
            (Verdict::Same, _) => writeln!(f, "budget: kept, {} figures", self.checked)?,
            (Verdict::CannotTell, _) => writeln!(f, "budget: cannot tell")?,
            (Verdict::Regression, n) => writeln!(f, "budget: OVER, {n} of {} figures", self.checked)?,
        }
        for over in &self.over {
            let (venue, hop, percentile) = (&over.venue, over.hop.name(), over.percentile);
            let (measured, budget, times) = (over.measured_ns, over.budget_ns, over.times);
            writeln!(f, "  {venue} {hop} p{percentile}: {measured:.0} ns, may take {budget:.0}: {times:.1} times")?;
        }
        self.cannot_tell.iter().try_for_each(|why| writeln!(f, "  {why}"))
    }
}

fn more(f: &mut Formatter<'_>, n: usize) -> fmt::Result {
    if n > MOST { writeln!(f, "  and {} more", n - MOST) } else { Ok(()) }
}
