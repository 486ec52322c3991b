//! The metrics of one process: times of hops as they are observed, everything else from the last snapshot.
//!
//! In: [`Metrics::observe`] for every hop of every record and [`Metrics::publish`] once an interval, both from the
//! recorder. Out: the text that Prometheus reads. An observation is a few uncontended atomic additions and never waits
//! for a scrape.

use super::families::{self, View};
use super::totals::Totals;
use crate::latency::hop::Hop;
use crate::latency::snapshot::Snapshot;
use crate::version;
use arc_swap::ArcSwap;
use prometheus::core::Metric;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, HistogramVec, TextEncoder};
use std::sync::Arc;

/// Upper bounds of the hop histograms in seconds: five a decade (the R5 series of ISO 3) from 25 ns to 10 ms, so that a
/// quantile is known within 30 %; then two a decade to 1 s.
pub const BUCKETS: [f64; 33] = [
    25e-9, 40e-9, 63e-9, 100e-9, 160e-9, 250e-9, 400e-9, 630e-9, 1e-6, 1.6e-6, 2.5e-6, 4e-6, 6.3e-6, 10e-6, 16e-6,
    25e-6, 40e-6, 63e-6, 100e-6, 160e-6, 250e-6, 400e-6, 630e-6, 1e-3, 1.6e-3, 2.5e-3, 4e-3, 6.3e-3, 10e-3, 30e-3,
    100e-3, 300e-3, 1.0,
];

/// See the module.
pub struct Metrics {
    /// Of every venue, by [`Hop::index`]: handles, so that nobody looks a label up while records are drained.
    hops: Vec<[Histogram; Hop::ALL.len()]>,
    published: ArcSwap<Published>,
}

#[derive(Clone, Default)]
struct Published {
    snapshot: Arc<Snapshot>,
    totals: Totals,
}

impl Metrics {
    /// Metrics of a pipeline with these venues, in its file's order. Every hop of every venue is there from the start,
    /// with nothing in it.
    pub fn new<V: AsRef<str>>(venues: &[V]) -> Metrics {
        let (name, help, labels) = families::HOP;
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        // Two conditions: a valid name with as many label values as labels, and rising bounds. Both are constants here.
        let all = HistogramVec::new(options, &labels).expect("the name and the bounds above are valid");
        let of_venue = |venue: &V| Hop::ALL.map(|hop| all.with_label_values(&[venue.as_ref(), hop.key()]));
        let version = format!("tickpath {}", version::LONG.lines().next().unwrap_or_default());
        let snapshot = Snapshot { version, ..Snapshot::default() };
        Metrics {
            hops: venues.iter().map(of_venue).collect(),
            published: ArcSwap::from_pointee(Published { snapshot: Arc::new(snapshot), totals: Totals::default() }),
        }
    }

    /// A hop of a record of the venue with this index took so long. An index beyond the venues is ignored, and so is
    /// what is no time: a negative number or NaN would spoil the sum for good.
    pub fn observe(&self, venue: usize, hop: Hop, nanoseconds: f64) {
        if nanoseconds >= 0.0
            && let Some(hops) = self.hops.get(venue)
        {
            // A division, because it rounds correctly: 100 ns is the bound 1e-7, and times 1e-9 it would be above.
            hops[hop.index()].observe(nanoseconds / 1e9);
        }
    }

    /// The state at the end of an interval. The same interval published again replaces the state and counts once.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.published.rcu(|before| {
            let mut totals = before.totals.clone();
            totals.add(&snapshot.interval);
            Published { snapshot: snapshot.clone(), totals }
        });
    }

    /// What was published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load().snapshot.clone()
    }

    /// Everything in Prometheus's text format, version 0.0.4.
    pub fn exposition(&self) -> String {
        let published = self.published.load_full();
        let view = View { snapshot: &published.snapshot, totals: &published.totals };
        let mut all = vec![self.hop_family()];
        all.extend(families::all(&view).into_iter().map(MetricFamily::from));
        // The format has no place for a family without samples, and the encoder refuses one.
        all.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&all).expect("every family has samples and a String takes them")
    }

    fn hop_family(&self) -> MetricFamily {
        let (name, help, _) = families::HOP;
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(self.hops.iter().flatten().map(Histogram::metric).collect());
        family
    }
}
