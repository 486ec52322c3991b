//! How long each hop took: records come in, HDR histograms in TSC ticks and the printed table come out. Kept by the
//! recorder, off the packet's path.

use super::budget::Budget;
use super::clock::Clock;
use super::hop::{self, Hop};
use super::record::{Kind, Record};
use super::snapshot::Percentiles;
use hdrhistogram::Histogram;
use serde::Serialize;

/// One histogram for each of [`Hop::ALL`].
#[derive(Clone, Debug)]
pub struct HopTable {
    spans: [Histogram<u64>; Hop::ALL.len()],
    /// Orders one of whose spans came out negative (stamps of two TSCs that disagree): not in the histograms.
    pub negative: u64,
    bursts: u64,
}

/// Ticks in ns, with the fraction that percentiles of a few ns need.
pub fn ns_of(clock: &Clock, ticks: u64) -> f64 {
    ticks as f64 / clock.hz() * 1e9
}

/// One line of the printed table. Times in ns.
#[derive(Clone, Debug, Serialize)]
pub struct HopRow {
    /// Which hop.
    pub hop: &'static str,
    /// Orders measured.
    pub count: u64,
    /// Fastest.
    pub min_ns: f64,
    /// Median.
    pub p50_ns: f64,
    /// 90th percentile.
    pub p90_ns: f64,
    /// 99th percentile.
    pub p99_ns: f64,
    /// 99.9th percentile.
    #[serde(rename = "p99.9_ns")]
    pub p999_ns: f64,
    /// Slowest.
    pub max_ns: f64,
    /// What p50 and p99 may be.
    pub budget_ns: Option<[f64; 2]>,
    /// One of them is more.
    pub over_budget: bool,
}

impl Default for HopTable {
    fn default() -> Self {
        // Three digits are within what the histogram accepts (0 to 5); it grows as far as its values go.
        let span = || Histogram::new(3).expect("three digits are valid");
        HopTable { spans: std::array::from_fn(|_| span()), negative: 0, bursts: 0 }
    }
}

impl HopTable {
    /// Count one record; `each` gets every hop it tells of, in ticks. An order that no packet caused tells of none.
    #[inline]
    pub fn record(&mut self, record: &Record, mut each: impl FnMut(Hop, u64)) {
        if record.kind() != Some(Kind::Sent) || record.rx_tsc == 0 {
            return;
        }
        if hop::unstamped(record) {
            let _ = self.spans[Hop::RxDoorbell.index()].record(record.doorbell_tsc - record.rx_tsc);
            return each(Hop::RxDoorbell, record.doorbell_tsc - record.rx_tsc);
        }
        let Some(spans) = hop::software(record) else {
            self.negative += 1;
            return;
        };
        let mut note = |hop: Hop, ticks: u64| {
            // Histograms that grow take any value.
            let _ = self.spans[hop.index()].record(ticks);
            each(hop, ticks);
        };
        Hop::SOFTWARE.into_iter().zip(spans).for_each(|(hop, ticks)| note(hop, ticks));
        note(Hop::RxDoorbell, spans.iter().sum());
        if let Some(ticks) = hop::wire(record) {
            note(Hop::WireRx, ticks);
        }
        self.bursts += u64::from(record.burst_size);
    }

    /// Add another table's orders to this one.
    pub fn merge(&mut self, other: &HopTable) {
        for (mine, theirs) in self.spans.iter_mut().zip(&other.spans) {
            // A histogram that grows takes any other.
            let _ = mine.add(theirs);
        }
        self.negative += other.negative;
        self.bursts += other.bursts;
    }

    /// Forget everything, keep the memory.
    pub fn clear(&mut self) {
        self.spans.iter_mut().for_each(Histogram::reset);
        (self.negative, self.bursts) = (0, 0);
    }

    /// Mean receive burst of the packets that caused orders: a time without it says little.
    pub fn mean_burst(&self) -> f64 {
        let n = self.span(Hop::RxDoorbell).len();
        if n == 0 { 0.0 } else { self.bursts as f64 / n as f64 }
    }

    /// The histogram of one hop, in ticks.
    pub fn span(&self, hop: Hop) -> &Histogram<u64> {
        &self.spans[hop.index()]
    }

    /// Count one order's first answer, so many ticks after its doorbell.
    pub fn answered(&mut self, ticks: u64) {
        // As above.
        let _ = self.spans[Hop::DoorbellAck.index()].record(ticks);
    }

    /// One hop in a few numbers.
    pub fn percentiles(&self, hop: Hop, clock: &Clock) -> Percentiles {
        percentiles(self.span(hop), clock.hz())
    }

    /// The table in ns: the hops that were measured, in packet order, beside what they may take.
    pub fn rows(&self, clock: &Clock, budget: &Budget) -> Vec<HopRow> {
        let measured = Hop::ALL.into_iter().map(|hop| (hop, self.percentiles(hop, clock))).filter(|(_, p)| p.count > 0);
        let row = |(hop, p): (Hop, Percentiles)| HopRow {
            hop: hop.name(),
            count: p.count,
            min_ns: p.min,
            p50_ns: p.p50,
            p90_ns: p.p90,
            p99_ns: p.p99,
            p999_ns: p.p999,
            max_ns: p.max,
            budget_ns: budget.of(hop).map(|a| [a.p50_ns, a.p99_ns]),
            over_budget: budget.of(hop).is_some_and(|a| p.p50 > a.p50_ns || p.p99 > a.p99_ns),
        };
        measured.map(row).collect()
    }
}

/// A histogram of ticks in a few numbers of ns; `hz` is the ticks of a second.
pub fn percentiles(ticks: &Histogram<u64>, hz: f64) -> Percentiles {
    if ticks.is_empty() {
        return Percentiles::default();
    }
    let ns = |ticks: u64| ticks as f64 / hz * 1e9;
    let at = |q: f64| ns(ticks.value_at_quantile(q));
    Percentiles {
        count: ticks.len(),
        min: ns(ticks.min()),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: ns(ticks.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(stamps: [u64; 6]) -> Record {
        let [rx_tsc, parsed_tsc, book_tsc, decided_tsc, encoded_tsc, doorbell_tsc] = stamps;
        let kind = Kind::Sent as u8;
        Record { kind, rx_tsc, parsed_tsc, book_tsc, decided_tsc, encoded_tsc, doorbell_tsc, ..Record::default() }
    }

    #[test]
    fn every_hop_of_an_order_is_counted_once() {
        let mut table = HopTable::default();
        let mut told = Vec::new();
        table.record(&sent([100, 110, 130, 160, 200, 250]), |hop, ticks| told.push((hop, ticks)));
        let expected = Hop::SOFTWARE.into_iter().zip([10, 20, 30, 40, 50]).chain([(Hop::RxDoorbell, 150)]);
        assert_eq!(told, expected.collect::<Vec<_>>());
        let due = Record { stamp: 93, stamp_domain: 2, ..sent([100, 110, 130, 160, 200, 250]) };
        table.record(&due, |_, _| {});
        assert_eq!((table.span(Hop::WireRx).len(), table.span(Hop::WireRx).max()), (1, 7));
        assert_eq!(table.span(Hop::RxDoorbell).len(), 2);
    }

    #[test]
    fn stamps_that_disagree_and_orders_without_a_cause_are_kept_apart() {
        let mut table = HopTable::default();
        let none = |_, _| panic!("no hop can be told");
        table.record(&sent([100, 90, 130, 160, 200, 250]), none);
        table.record(&sent([0, 0, 0, 160, 200, 250]), none);
        table.record(&Record { kind: Kind::Sampled as u8, ..sent([100, 110, 130, 160, 0, 0]) }, none);
        assert_eq!(table.negative, 1);
        assert!(table.rows(&Clock::fit(), &Budget::default()).is_empty());
    }
}
