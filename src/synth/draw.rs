//! Seeded draws: uniform, weighted and heavy-tailed, from one ChaCha stream. Integers only, so that a seed gives the
//! same bytes on every machine whatever its floating-point library.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One independent stream of draws of a seed.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// Stream number `stream` of `seed`; streams of one seed are independent.
    pub fn new(seed: u64, stream: u64) -> Draw {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Draw(rng)
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn word(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Choice among up to 2^32 things by integer weight, in constant time (Walker's and Vose's alias method).
pub(super) struct Weighted {
    /// Per column: chance in 2^32 of staying in it, and where to go otherwise.
    columns: Vec<(u32, u32)>,
}

impl Weighted {
    /// A chooser of `0..weights.len()`. At least one weight must be positive.
    pub fn new(weights: &[u64]) -> Weighted {
        let n = weights.len() as u128;
        let total: u128 = weights.iter().map(|&w| u128::from(w)).sum();
        debug_assert!(total > 0);
        let mut share: Vec<u128> = weights.iter().map(|&w| u128::from(w) * n).collect();
        let mut columns: Vec<(u32, u32)> = (0..weights.len() as u32).map(|i| (u32::MAX, i)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|&i| share[i] < total);
        while let (Some(&s), Some(&l)) = (small.last(), large.last()) {
            small.pop();
            columns[s] = (((share[s] << 32) / total) as u32, l as u32);
            share[l] -= total - share[s];
            if share[l] < total {
                large.pop();
                small.push(l);
            }
        }
        Weighted { columns }
    }

    pub fn pick(&self, draw: &mut Draw) -> usize {
        let word = draw.word();
        let column = (((word >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (stay, other) = self.columns[column];
        // A full column is its own alias, so the one value in 2^32 that misses `stay` lands on it all the same.
        if (word as u32) < stay { column } else { other as usize }
    }
}

/// A heavy-tailed draw of at least 1: octave `k` (values from 2^k to 2^(k+1), uniform inside) comes `keep` / 2^16 times as
/// often as octave `k - 1`; the last octave is the limit.
pub(super) struct Heavy {
    /// Chance in 2^32 of an octave up to and including this one.
    cumulative: Vec<u64>,
    mean: u64,
}

impl Heavy {
    pub fn new(keep: u64, octaves: u32) -> Heavy {
        let weights: Vec<u64> =
            std::iter::successors(Some(1u64 << 40), |w| Some((w * keep) >> 16)).take(octaves as usize).collect();
        let total: u128 = weights.iter().map(|&w| u128::from(w)).sum();
        let mut sum = 0u128;
        let cumulative = weights
            .iter()
            .map(|&w| {
                sum += u128::from(w);
                ((sum << 32) / total) as u64
            })
            .collect();
        let mean: u128 = weights.iter().enumerate().map(|(k, &w)| (u128::from(w) * 3) << (k + 15)).sum();
        Heavy { cumulative, mean: (mean / total) as u64 }
    }

    /// A draw with 16 fraction bits.
    pub fn fixed(&self, draw: &mut Draw) -> u64 {
        let word = draw.word();
        let octave = self.cumulative.iter().take_while(|&&c| c <= word >> 32).count();
        (((1 << 32) | (word & 0xFFFF_FFFF)) << octave) >> 16
    }

    /// A whole number.
    pub fn whole(&self, draw: &mut Draw) -> u64 {
        self.fixed(draw) >> 16
    }

    /// Mean of [`fixed`](Self::fixed), with its 16 fraction bits.
    pub fn mean(&self) -> u64 {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_choice_follows_its_weights() {
        let weights = [1, 0, 7, 2, 90];
        let chooser = Weighted::new(&weights);
        let mut draw = Draw::new(1, 0);
        let mut seen = [0u64; 5];
        (0..100_000).for_each(|_| seen[chooser.pick(&mut draw)] += 1);
        assert_eq!(seen[1], 0);
        for (seen, weight) in seen.iter().zip(weights) {
            assert!(seen.abs_diff(weight * 1000) <= 60 + weight * 30, "{seen} for weight {weight}");
        }
    }

    #[test]
    fn a_heavy_draw_has_the_mean_it_claims() {
        let heavy = Heavy::new(30_000, 10);
        let mut draw = Draw::new(3, 0);
        let sum: u64 = (0..200_000).map(|_| heavy.fixed(&mut draw)).sum();
        let mean = sum / 200_000;
        assert!(mean.abs_diff(heavy.mean()) < heavy.mean() / 20, "{mean} against {}", heavy.mean());
    }

    #[test]
    fn streams_of_a_seed_differ_and_repeat() {
        let first = |seed, stream| Draw::new(seed, stream).below(u64::MAX);
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }
}
