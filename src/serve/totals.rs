//! Intervals added up: what a host did since the start, as counters need it.
//!
//! In: one [`Interval`] after the other. Out: sums by lcore and by port. Something that could not be read in any
//! interval stays absent.

use crate::latency::interval::{Interval, LcoreEvidence, PortEvidence};
use std::collections::BTreeMap;

/// Sums since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By lcore id; `cpu` is the last one known.
    pub lcores: BTreeMap<u32, LcoreEvidence>,
    /// By port name.
    pub ports: BTreeMap<String, PortEvidence>,
    /// End of the last interval that was added.
    until_tsc: Option<u64>,
}

impl Totals {
    /// Add an interval. The one added last is not added again: a last state may be published twice.
    pub fn add(&mut self, interval: &Interval) {
        if self.until_tsc.replace(interval.to_tsc) == Some(interval.to_tsc) {
            return;
        }
        for more in &interval.lcores {
            let sum = self.lcores.entry(more.lcore).or_default();
            sum.lcore = more.lcore;
            sum.cpu = more.cpu.or(sum.cpu);
            sum.polls += more.polls;
            sum.empty_polls += more.empty_polls;
            for (name, n) in &more.interrupt_names {
                *sum.interrupt_names.entry(name.clone()).or_default() += n;
            }
            for (sum, more) in [
                (&mut sum.timer_ticks, more.timer_ticks),
                (&mut sum.interrupts, more.interrupts),
                (&mut sum.voluntary_switches, more.voluntary_switches),
                (&mut sum.involuntary_switches, more.involuntary_switches),
                (&mut sum.run_queue_wait_ns, more.run_queue_wait_ns),
                (&mut sum.page_faults, more.page_faults),
                (&mut sum.steal_ns, more.steal_ns),
                (&mut sum.cache_misses, more.cache_misses),
            ] {
                if let Some(n) = more {
                    *sum.get_or_insert(0) += n;
                }
            }
        }
        for more in &interval.ports {
            let sum = self.ports.entry(more.port.clone()).or_default();
            sum.missed += more.missed;
            sum.no_mbuf += more.no_mbuf;
            sum.errors += more.errors;
            sum.resets += more.resets;
            sum.restarts += more.restarts;
            sum.restarts_failed += more.restarts_failed;
            sum.unsent += more.unsent;
            sum.removals += more.removals;
            for (name, n) in &more.ctpio {
                *sum.ctpio.entry(name.clone()).or_default() += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(to_tsc: u64, polls: u64, interrupts: Option<u64>, missed: u64) -> Interval {
        let named = interrupts.map(|n| ("LOC".to_owned(), n)).into_iter().collect();
        Interval {
            to_tsc,
            lcores: vec![LcoreEvidence { lcore: 3, polls, interrupts, interrupt_names: named, ..Default::default() }],
            ports: vec![PortEvidence { port: "feed".into(), missed, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn intervals_add_up_and_none_counts_twice() {
        let mut totals = Totals::default();
        for next in [interval(10, 5, None, 1), interval(20, 7, Some(2), 0), interval(30, 1, None, 4)] {
            totals.add(&next);
            totals.add(&next);
        }
        let lcore = &totals.lcores[&3];
        assert_eq!((lcore.polls, lcore.interrupts, lcore.interrupt_names["LOC"]), (13, Some(2), 2));
        assert_eq!(lcore.steal_ns, None);
        assert_eq!(totals.ports["feed"].missed, 5);
    }
}
