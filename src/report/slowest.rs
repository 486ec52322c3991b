//! The slowest orders and what was near them: orders and intervals come in as they stream by, and the slowest N go out,
//! each with the interval in which it was sent. Holds N orders and a few intervals.

use crate::latency::interval::{Interval, LcoreEvidence, News};
use crate::latency::record::Record;
use crate::latency::trace::VenueHeader;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

/// Intervals remembered for records that come behind theirs: the recorder takes records from one ring after another.
const RECENT: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Slowest {
    most: usize,
    /// The fastest of them on top.
    orders: BinaryHeap<Slow>,
    recent: VecDeque<Rc<Interval>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Slow {
    /// End to end, in ticks.
    pub total: u64,
    /// By hop, in ticks; `None` where only its ends were stamped.
    pub spans: Option<[u64; 5]>,
    /// Its record.
    pub record: Record,
    /// The interval in which its doorbell rang.
    pub interval: Option<Rc<Interval>>,
}

impl Slowest {
    /// None yet, and never more than `most`.
    pub fn new(most: usize) -> Slowest {
        Slowest { most, orders: BinaryHeap::new(), recent: VecDeque::new() }
    }

    /// One order and its hops, in ticks.
    #[inline]
    pub fn record(&mut self, record: &Record, spans: Option<[u64; 5]>, total: u64) {
        if self.orders.len() >= self.most && self.orders.peek().is_none_or(|fastest| total <= fastest.total) {
            return;
        }
        if self.orders.len() >= self.most {
            self.orders.pop();
        }
        let interval = self.recent.iter().find(|interval| holds(interval, record)).cloned();
        self.orders.push(Slow { total, spans, record: *record, interval });
    }

    /// The evidence of an interval.
    pub fn interval(&mut self, interval: Interval) {
        let interval = Rc::new(interval);
        // The order of a heap does not depend on what it changes here.
        let mut orders = std::mem::take(&mut self.orders).into_vec();
        for order in orders.iter_mut().filter(|order| order.interval.is_none() && holds(&interval, &order.record)) {
            order.interval = Some(interval.clone());
        }
        self.orders = orders.into();
        self.recent.push_back(interval);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// The slowest first.
    pub fn sorted(self) -> Vec<Slow> {
        self.orders.into_sorted_vec()
    }
}

fn holds(interval: &Interval, record: &Record) -> bool {
    (interval.from_tsc..interval.to_tsc).contains(&record.doorbell_tsc)
}

impl Ord for Slow {
    fn cmp(&self, other: &Slow) -> Ordering {
        other.total.cmp(&self.total)
    }
}

impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Slow) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slow {
    fn eq(&self, other: &Slow) -> bool {
        self.total == other.total
    }
}

impl Eq for Slow {}

/// What happened in `interval` to the lcores of `venue`, as sentences, interruptions first. Timer ticks are named only
/// beside a length that says whether there were many.
pub fn near(interval: &Interval, venue: &VenueHeader, seconds: f64) -> Vec<String> {
    let mut facts = Vec::new();
    let mine = |lcore: &&LcoreEvidence| venue.lcores.contains(&lcore.lcore);
    for lcore in interval.lcores.iter().filter(mine) {
        let mut found = Vec::new();
        let mut note = |count: Option<u64>, one: &str, many: &str| {
            if let Some(count) = count.filter(|count| *count > 0) {
                found.push(format!("{count} {}", if count == 1 { one } else { many }));
            }
        };
        note(lcore.involuntary_switches, "involuntary switch", "involuntary switches");
        note(lcore.voluntary_switches, "sleep of its own", "sleeps of its own");
        note(lcore.interrupts, "interrupt", "interrupts");
        note(lcore.page_faults, "page fault", "page faults");
        note(lcore.timer_ticks, "timer tick", "timer ticks");
        if let Some(ns) = lcore.run_queue_wait_ns.filter(|ns| *ns > 0) {
            found.push(format!("waited {:.3} ms to run", ns as f64 / 1e6));
        }
        if let Some(ns) = lcore.steal_ns.filter(|ns| *ns > 0) {
            found.push(format!("{:.3} ms stolen by the hypervisor", ns as f64 / 1e6));
        }
        let mut names: Vec<(&String, &u64)> = lcore.interrupt_names.iter().collect();
        names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        if !names.is_empty() {
            let list: Vec<String> = names.iter().take(3).map(|(name, count)| format!("{name} {count}")).collect();
            found.push(format!("interrupts by name {}", list.join(", ")));
        }
        if !found.is_empty() {
            let cpu = lcore.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
            facts.push(format!("lcore {}{cpu} in {seconds:.3} s: {}", lcore.lcore, found.join(", ")));
        }
    }
    for link in interval.links.iter().filter(|link| link.venue == venue.name && link.high_water > link.depth / 2) {
        facts.push(format!(
            "ring {} has been up to {} of {} full since the start",
            link.link, link.high_water, link.depth
        ));
    }
    for port in interval.ports.iter().filter(|port| port.missed.saturating_add(port.no_mbuf) > 0) {
        facts.push(format!("port {} lost {} frames", port.port, port.missed.saturating_add(port.no_mbuf)));
    }
    let changes = interval.host.iter().filter(|change| change.news != News::AtStart);
    facts.extend(changes.map(|change| format!("host: {change}")));
    facts.extend(interval.clock.warnings.iter().cloned());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_are_kept_each_with_the_interval_of_its_doorbell() {
        let mut slowest = Slowest::new(3);
        let send = |slowest: &mut Slowest, doorbell_tsc, total| {
            slowest.record(&Record { doorbell_tsc, ..Record::default() }, None, total);
        };
        let interval = |from_tsc, to_tsc| Interval { from_tsc, to_tsc, ..Interval::default() };
        for (tsc, total) in [(10, 5), (20, 90), (30, 7), (40, 80)] {
            send(&mut slowest, tsc, total);
        }
        slowest.interval(interval(0, 35));
        // Sent in the interval before, and taken from its ring after it.
        send(&mut slowest, 34, 70);
        send(&mut slowest, 50, 60);
        let kept: Vec<(u64, Option<u64>)> =
            slowest.sorted().iter().map(|slow| (slow.total, slow.interval.as_ref().map(|i| i.to_tsc))).collect();
        assert_eq!(kept, [(90, Some(35)), (80, None), (70, Some(35))]);
        let mut none = Slowest::new(0);
        send(&mut none, 1, 1);
        assert!(none.sorted().is_empty());
    }
}
