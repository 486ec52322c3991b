//! The hop table: how long each hop of each order took, from the stamps its `Order` carried, as HDR histograms in
//! TSC ticks. Lives on the tx lcore, is filled after the doorbell, and allocates nothing after launch.

use super::clock::Clock;
use crate::market::Order;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Names of the hops, in packet order; the last is the whole way.
pub const HOPS: [&str; 6] =
    ["rx→parsed", "parsed→book", "book→decided", "decided→encoded", "encoded→doorbell", "rx→doorbell"];

/// Longest span told apart, in ticks: over a minute at any clock rate.
const MAX_TICKS: u64 = 1 << 38;

/// One histogram for each of [`HOPS`].
#[derive(Clone, Debug)]
pub struct HopTable {
    spans: [Histogram<u64>; 6],
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
}

impl Default for HopTable {
    fn default() -> Self {
        let span = || {
            // Bounds are constants within what the histogram accepts (1 ≤ low, 2·low ≤ high, digits ≤ 5).
            Histogram::new_with_bounds(1, MAX_TICKS, 3).expect("constant bounds are valid")
        };
        HopTable { spans: std::array::from_fn(|_| span()), negative: 0, bursts: 0 }
    }
}

impl HopTable {
    /// Record one order whose doorbell rang at `doorbell_tsc`. An order without stamps (`--no-stamps`), or that no packet
    /// caused, is not recorded.
    #[inline]
    pub fn record(&mut self, order: &Order, doorbell_tsc: u64) {
        if order.encoded_tsc == 0 || order.rx_tsc == 0 {
            return;
        }
        let stamps =
            [order.rx_tsc, order.parsed_tsc, order.book_tsc, order.decided_tsc, order.encoded_tsc, doorbell_tsc];
        if !stamps.is_sorted() {
            self.negative += 1;
            return;
        }
        for (i, pair) in stamps.windows(2).enumerate() {
            self.spans[i].saturating_record(pair[1] - pair[0]);
        }
        self.spans[5].saturating_record(doorbell_tsc - order.rx_tsc);
        self.bursts += u64::from(order.burst_size);
    }

    /// Add another table's orders to this one.
    pub fn merge(&mut self, other: &HopTable) {
        for (mine, theirs) in self.spans.iter_mut().zip(&other.spans) {
            // Same bounds on both sides, so addition cannot fail.
            let _ = mine.add(theirs);
        }
        self.negative += other.negative;
        self.bursts += other.bursts;
    }

    /// Mean receive burst of the packets that caused orders: a time without it says little.
    pub fn mean_burst(&self) -> f64 {
        let n = self.spans[5].len();
        if n == 0 { 0.0 } else { self.bursts as f64 / n as f64 }
    }

    /// The table in ns. Empty when nothing was measured.
    pub fn rows(&self, clock: &Clock) -> Vec<HopRow> {
        if self.spans[5].is_empty() {
            return Vec::new();
        }
        let row = |(hop, h): (&&'static str, &Histogram<u64>)| {
            let at = |q: f64| ns_of(clock, h.value_at_quantile(q));
            HopRow {
                hop,
                count: h.len(),
                min_ns: ns_of(clock, h.min()),
                p50_ns: at(0.5),
                p90_ns: at(0.9),
                p99_ns: at(0.99),
                p999_ns: at(0.999),
                max_ns: ns_of(clock, h.max()),
            }
        };
        HOPS.iter().zip(&self.spans).map(row).collect()
    }
}
