//! Quantiles of one venue of one run, and of what the run could have been: profiles come in, points go out. Whole blocks
//! of neighbouring slices are drawn with replacement, because what makes one packet slow makes the next one slow.

use crate::latency::hop::Hop;
use crate::latency::profile::{Counts, Profile};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Redrawn runs: the spread of so many is known to 6 %.
const REPLICATES: usize = 128;
/// Parts of a run whose spread stands in for that of runs as long as too few of them are known.
pub const PARTS: usize = 4;
/// Samples without which a median, or a 99th percentile, is not looked at.
const LEAST_SAMPLES: [u64; 2] = [200, 2000];
/// Slices without which nothing can be resampled.
pub const LEAST_SLICES: usize = 8;

/// Median and 99th percentile of each hop in ns, by [`Hop::index`]; NaN where there are too few samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Medians of the orders that waited for no other.
    pub p50: [f64; 8],
    /// Medians of all orders.
    pub all50: [f64; 8],
    /// 99th percentiles of all orders.
    pub p99: [f64; 8],
}

/// One venue of one run.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// As measured.
    pub whole: Point,
    /// The run in [`PARTS`] equal parts.
    pub parts: Vec<Point>,
    /// The run redrawn.
    pub replicates: Vec<Point>,
    /// Slices with orders in them.
    pub slices: usize,
    /// Orders that waited for no other.
    pub orders: u64,
    /// Orders a second.
    pub rate: f64,
    /// Mean receive burst.
    pub burst: f64,
}

/// Cumulative counts of one hop, arranged so that a weighted sum over slices is one pass through memory.
struct Cumulative {
    buckets: Vec<u16>,
    /// `sums[bucket × slices + slice]`: samples of the slice up to and including the bucket.
    sums: Vec<u32>,
    slices: usize,
}

impl Sampled {
    /// Look at venue `index` of a run.
    pub fn new(profile: &Profile, index: usize) -> Sampled {
        let venue = &profile.venues[index];
        let whole_way = &venue.clear[Hop::RxDoorbell.index()];
        let live: Vec<usize> = (0..whole_way.len()).filter(|&slice| whole_way[slice].total() > 0).collect();
        let [clear, every] = [&venue.clear, &venue.hops]
            .map(|hops| -> [Option<Cumulative>; 8] { std::array::from_fn(|hop| Cumulative::new(&hops[hop], &live)) });
        let n = live.len();
        let orders: u64 = whole_way.iter().map(Counts::total).sum();
        let enough = [orders >= LEAST_SAMPLES[0] && n >= LEAST_SLICES, venue.orders() >= LEAST_SAMPLES[1]];
        let point = |weights: &[u32]| {
            // A hop may have far fewer samples than there are orders: answers, or stamps of a device.
            let at = |hops: &[Option<Cumulative>; 8], q, least: u64| -> [f64; 8] {
                std::array::from_fn(|hop| {
                    let hop = hops[hop].as_ref().filter(|hop| hop.total() >= least);
                    hop.map_or(f64::NAN, |hop| hop.quantile(weights, q))
                })
            };
            let [few, many] = LEAST_SAMPLES;
            let p99 = if enough[1] { at(&every, 0.99, many) } else { [f64::NAN; 8] };
            Point { p50: at(&clear, 0.5, few), all50: at(&every, 0.5, few), p99 }
        };
        let mut sampled = Sampled {
            whole: Point { p50: [f64::NAN; 8], all50: [f64::NAN; 8], p99: [f64::NAN; 8] },
            parts: Vec::new(),
            replicates: Vec::new(),
            slices: n,
            orders,
            rate: venue.orders() as f64 / profile.seconds().max(1e-9),
            burst: venue.mean_burst(),
        };
        if !enough[0] {
            return sampled;
        }
        sampled.whole = point(&vec![1; n]);
        let part = |k: usize| (0..n).map(|slice| u32::from(slice * PARTS / n == k)).collect::<Vec<u32>>();
        sampled.parts = (0..PARTS).map(|k| point(&part(k))).collect();
        let medians: Vec<f64> = live.iter().map(|&slice| median_bucket(&whole_way[slice])).collect();
        let block = block_length(&medians);
        // Any seed serves; a constant one gives the same answer for the same traces.
        let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
        let redraw = |_| {
            let mut weights = vec![0; n];
            let mut drawn = 0;
            while drawn < n {
                let start = below(&mut rng, n);
                let length = block.min(n - drawn);
                (start..start + length).for_each(|slice| weights[slice % n] += 1);
                drawn += length;
            }
            point(&weights)
        };
        sampled.replicates = (0..REPLICATES).map(redraw).collect();
        sampled
    }
}

impl Cumulative {
    fn new(hop: &[Counts], live: &[usize]) -> Option<Cumulative> {
        let counts: Vec<&Counts> = live.iter().filter_map(|&slice| hop.get(slice)).collect();
        let mut buckets: Vec<u16> = counts.iter().flat_map(|c| c.buckets()).map(|&(bucket, _)| bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let slices = live.len();
        if buckets.is_empty() || counts.len() < slices {
            return None;
        }
        let mut sums = vec![0u32; buckets.len() * slices];
        for (slice, counts) in counts.iter().enumerate() {
            let (mut sum, mut next) = (0u32, counts.buckets().iter().peekable());
            for (row, &bucket) in buckets.iter().enumerate() {
                if let Some((_, n)) = next.next_if(|at| at.0 == bucket) {
                    sum = sum.saturating_add(*n);
                }
                sums[row * slices + slice] = sum;
            }
        }
        Some(Cumulative { buckets, sums, slices })
    }

    /// Samples, of all slices.
    fn total(&self) -> u64 {
        self.sums[self.sums.len() - self.slices..].iter().map(|&sum| u64::from(sum)).sum()
    }

    /// The quantile of the slices taken `weights` times each, interpolated in its bucket.
    fn quantile(&self, weights: &[u32], q: f64) -> f64 {
        let up_to = |row: usize| -> u64 {
            let sums = &self.sums[row * self.slices..][..self.slices];
            sums.iter().zip(weights).map(|(&sum, &weight)| u64::from(sum) * u64::from(weight)).sum()
        };
        let last = self.buckets.len() - 1;
        let total = up_to(last);
        if total == 0 {
            return f64::NAN;
        }
        let rank = q * total as f64;
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = (low + high) / 2;
            if (up_to(middle) as f64) < rank {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let below = if low == 0 { 0 } else { up_to(low - 1) };
        let within = (up_to(low) - below).max(1);
        let (from, to) = Counts::bounds_ns(self.buckets[low]);
        from + (to - from) * ((rank - below as f64) / within as f64).clamp(0.0, 1.0)
    }
}

/// Length of the blocks to draw: as long as slices remember each other, at most a sixth of the run.
fn block_length(medians: &[f64]) -> usize {
    let n = medians.len();
    let mean = medians.iter().sum::<f64>() / n as f64;
    let covariance =
        |lag: usize| -> f64 { (0..n - lag).map(|i| (medians[i] - mean) * (medians[i + lag] - mean)).sum() };
    let variance = covariance(0);
    if variance <= 0.0 {
        return 1;
    }
    let correlations = (1..n / 3).map(|lag| covariance(lag) / variance).take_while(|&r| r > 0.1);
    let memory = 1.0 + 2.0 * correlations.sum::<f64>();
    (memory.ceil() as usize).clamp(1, (n / 6).max(1))
}

fn median_bucket(counts: &Counts) -> f64 {
    let (half, mut sum) = (counts.total() / 2, 0);
    let found = counts.buckets().iter().find(|&&(_, n)| {
        sum += u64::from(n);
        sum > half
    });
    found.map_or(0.0, |&(bucket, _)| f64::from(bucket))
}

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}
