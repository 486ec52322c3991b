//! Figures over the run: spans come in with their moment, and for each slice of time a few figures come out. At most
//! [`MOST`] slices: when the run outgrows them, every two become one.

use super::{Series, SeriesPoint, SliceFigures};
use crate::latency::hop::Hop;
use hdrhistogram::Histogram;

/// Most slices.
const MOST: usize = 128;
/// Length of a slice of a short run.
const FIRST_SLICE_SECONDS: f64 = 0.01;

/// Slices of one venue.
#[derive(Clone, Debug)]
pub struct Slices {
    /// Begin of the first: that of the first value. What is earlier belongs to it too.
    base_tsc: Option<u64>,
    slice_ticks: u64,
    /// By slice, by hop; two digits are 1 %.
    slices: Vec<[Option<Histogram<u32>>; Hop::ALL.len()]>,
}

impl Slices {
    /// No slice yet.
    pub fn new(hz: f64) -> Slices {
        Slices { base_tsc: None, slice_ticks: ((hz * FIRST_SLICE_SECONDS) as u64).max(1), slices: Vec::new() }
    }

    /// One hop, in ticks, of an order whose packet was received at `tsc`.
    pub fn record(&mut self, tsc: u64, hop: Hop, ticks: u64) {
        let after = tsc.saturating_sub(*self.base_tsc.get_or_insert(tsc));
        while after / self.slice_ticks >= MOST as u64 {
            self.join();
        }
        let place = (after / self.slice_ticks) as usize;
        if self.slices.len() <= place {
            self.slices.resize_with(place + 1, Default::default);
        }
        // Two digits are within what a histogram accepts (0 to 5), and one that grows takes any value.
        let histogram =
            self.slices[place][hop.index()].get_or_insert_with(|| Histogram::new(2).expect("two digits are valid"));
        let _ = histogram.record(ticks);
    }

    /// The figures; `seconds` turns a TSC into seconds of the run, `hz` is the ticks of a second.
    pub fn figures(&self, seconds: impl Fn(u64) -> f64, hz: f64) -> Series {
        let ns = |ticks: u64| ticks as f64 / hz * 1e9;
        let figures = |h: &Histogram<u32>| SliceFigures {
            count: h.len(),
            p50: ns(h.value_at_quantile(0.5)),
            p99: ns(h.value_at_quantile(0.99)),
            max: ns(h.max()),
        };
        let hops = |slice: &[Option<Histogram<u32>>; Hop::ALL.len()]| {
            Hop::ALL.into_iter().zip(slice).filter_map(|(hop, h)| Some((hop, figures(h.as_ref()?)))).collect()
        };
        let points = self.slices.iter().enumerate().map(|(i, slice)| SeriesPoint {
            at_seconds: seconds(self.base_tsc.unwrap_or(0).saturating_add(self.slice_ticks.saturating_mul(i as u64))),
            hops: hops(slice),
        });
        Series {
            slice_seconds: self.slice_ticks as f64 / hz,
            points: points.filter(|point| !point.hops.is_empty()).collect(),
        }
    }

    fn join(&mut self) {
        self.slice_ticks = self.slice_ticks.saturating_mul(2);
        let mut joined = Vec::with_capacity(MOST);
        let mut slices = std::mem::take(&mut self.slices).into_iter();
        while let Some(mut first) = slices.next() {
            for (mine, theirs) in first.iter_mut().zip(slices.next().into_iter().flatten()) {
                match (mine.as_mut(), theirs) {
                    // A histogram that grows takes any other.
                    (Some(mine), Some(theirs)) => drop(mine.add(theirs)),
                    (None, theirs) => *mine = theirs,
                    (Some(_), None) => {}
                }
            }
            joined.push(first);
        }
        self.slices = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_any_length_has_at_most_128_slices_and_loses_no_value() {
        // 1,000 ticks a second: a slice begins with 10 ticks.
        let mut slices = Slices::new(1_000.0);
        for i in 0..100_000 {
            slices.record(5_000 + i, Hop::RxDoorbell, if i < 50_000 { 2 } else { 40 });
        }
        slices.record(0, Hop::RxParsed, 7);
        slices.record(u64::MAX, Hop::RxParsed, u64::MAX);
        let series = slices.figures(|tsc| tsc as f64 / 1_000.0, 1_000.0);
        assert!(series.points.len() <= 128);
        let total = |hop| series.points.iter().filter_map(|p| p.hops.get(&hop)).map(|f| f.count).sum::<u64>();
        assert_eq!((total(Hop::RxDoorbell), total(Hop::RxParsed)), (100_000, 2));
        let mut slices = Slices::new(1_000.0);
        (0..100_000).for_each(|i| slices.record(5_000 + i, Hop::RxDoorbell, if i < 51_200 { 2 } else { 40 }));
        let series = slices.figures(|tsc| tsc as f64 / 1_000.0, 1_000.0);
        // 10 ticks doubled until 128 of them hold 100,000: 1,280.
        assert_eq!((series.slice_seconds, series.points.len()), (1.28, 79));
        let p50: Vec<f64> = series.points.iter().map(|p| p.hops[&Hop::RxDoorbell].p50).collect();
        assert!(p50[..40].iter().all(|ns| *ns == 2e6) && p50[40..].iter().all(|ns| *ns == 40e6), "{p50:?}");
        assert_eq!(series.points[40].at_seconds, 5.0 + 51.2);
    }
}
