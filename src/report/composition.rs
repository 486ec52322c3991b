//! Of what the end-to-end time consists, by how long it was: orders come in, and the mean order between two quantiles comes
//! out, so that its hops add up. Medians of hops do not.

use std::ops::Range;

/// Bits of a value that tell two buckets apart: a bucket is at most 1/32 of its value wide.
const BITS: u32 = 5;
const BUCKETS: usize = ((64 - BITS + 1) << BITS) as usize;

/// See the module. 1,920 buckets of 48 bytes.
#[derive(Clone, Debug)]
pub struct Composition {
    buckets: Vec<Bucket>,
    count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    count: u64,
    spans: [u64; 5],
}

impl Default for Composition {
    fn default() -> Composition {
        Composition { buckets: vec![Bucket::default(); BUCKETS], count: 0 }
    }
}

impl Composition {
    /// One order's hops, in ticks.
    pub fn record(&mut self, spans: [u64; 5]) {
        let total = spans.iter().fold(0u64, |sum, span| sum.saturating_add(*span));
        let bucket = &mut self.buckets[place(total)];
        bucket.count += 1;
        for (sum, span) in bucket.spans.iter_mut().zip(spans) {
            *sum = sum.saturating_add(span);
        }
        self.count += 1;
    }

    /// Mean hops, in ticks, of the orders between two quantiles of the end-to-end time; `None` without orders. A bucket
    /// that lies partly between them counts by that part.
    pub fn mean(&self, quantiles: Range<f64>) -> Option<[f64; 5]> {
        let (from, to) = (quantiles.start * self.count as f64, quantiles.end * self.count as f64);
        let (mut before, mut weight, mut sums) = (0.0, 0.0, [0.0; 5]);
        for bucket in self.buckets.iter().filter(|bucket| bucket.count > 0) {
            let count = bucket.count as f64;
            let inside = to.min(before + count) - from.max(before);
            if inside > 0.0 {
                weight += inside;
                for (sum, span) in sums.iter_mut().zip(bucket.spans) {
                    *sum += span as f64 * inside / count;
                }
            }
            before += count;
        }
        (weight > 0.0).then(|| sums.map(|sum| sum / weight))
    }
}

/// Values below 2^BITS have a bucket each; above, the leading bits choose.
fn place(value: u64) -> usize {
    let shift = (63 - (value | 1).leading_zeros()).saturating_sub(BITS);
    ((shift as usize) << BITS) + (value >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_and_greater_ones_have_later_buckets() {
        let values = (0..64).flat_map(|bit| [0u64, 1, 2].map(|more| (1u64 << bit).saturating_add(more << (bit / 2))));
        let mut values: Vec<u64> = values.chain([0, u64::MAX]).collect();
        values.sort_unstable();
        let places: Vec<usize> = values.iter().map(|value| place(*value)).collect();
        assert!(places.is_sorted() && *places.last().unwrap() < BUCKETS);
        assert_eq!((place(0), place(31), place(63)), (0, 31, 63));
    }

    #[test]
    fn the_hops_of_a_stretch_add_up_to_its_orders() {
        let mut composition = Composition::default();
        assert_eq!(composition.mean(0.0..1.0), None);
        // 98 quick orders; two slow ones that wait in the third hop.
        for _ in 0..98 {
            composition.record([1, 2, 3, 4, 5]);
        }
        composition.record([1, 2, 10_003, 4, 5]);
        composition.record([1, 2, 10_003, 4, 5]);
        let median = composition.mean(0.45..0.55).unwrap();
        assert!(median.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]).all(|(ns, is)| (ns - is).abs() < 1e-9), "{median:?}");
        let slow = composition.mean(0.985..0.995).unwrap();
        assert!((slow[2] - 10_003.0).abs() < 1e-6, "{slow:?}");
        let all = composition.mean(0.0..1.0).unwrap();
        assert!((all[2] - 203.0).abs() < 1e-6, "{all:?}");
    }
}
