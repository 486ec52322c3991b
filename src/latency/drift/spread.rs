//! How far two sets of runs may lie apart by chance: estimates come in, an interval goes out.
//!
//! The variance of runs is that of the runs themselves, moderated by a prior as empirical Bayes does it (Smyth, *Linear
//! models and empirical Bayes methods for assessing differential expression*, 2004): three runs alone know their spread
//! so badly that every tenth comparison would be far too sure. The prior is what the parts of the runs differ by.

/// Weight of the prior, in runs; the second where there are fewer than [`KNOWN_RUNS`], so that it is nearly all there is.
const PRIOR_RUNS: [f64; 2] = [3.0, 8.0];
/// With fewer runs their spread is unknown: the prior's variance is taken so many times.
const UNKNOWN: f64 = 2.0;
/// Runs of a baseline from which their spread is taken to be known.
pub const KNOWN_RUNS: usize = 3;

/// What one figure was in each run, on a scale on which differences are compared (logarithms).
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By baseline run.
    pub baseline: Vec<f64>,
    /// By run of now.
    pub now: Vec<f64>,
    /// Mean variance of a baseline run's figure by the resampling of its slices.
    pub within_baseline: f64,
    /// The same of now.
    pub within_now: f64,
    /// Mean variance among the parts of a run.
    pub among_parts: f64,
    /// So many times that variance is expected among runs: 1, or more of a figure that wanders and so strays further
    /// between runs than within one.
    pub wander: f64,
}

/// A difference and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Now minus baseline.
    pub value: f64,
    /// Standard error.
    pub error: f64,
    /// Degrees of freedom.
    pub freedom: u32,
}

impl Figures {
    /// Their difference; `floor` is the least standard deviation that runs are believed to have.
    pub fn difference(&self, floor: f64) -> Difference {
        let (k, m) = (self.baseline.len() as f64, self.now.len() as f64);
        let (mean_k, square_k) = moments(&self.baseline);
        let (mean_m, square_m) = moments(&self.now);
        // A part is shorter than a run, and so its figure is noisier by itself.
        let noise = super::sample::PARTS as f64 * self.within_baseline.max(self.within_now);
        let known = self.baseline.len() >= KNOWN_RUNS;
        let parts = ((self.among_parts - noise) * self.wander).max(floor * floor);
        let prior = if known { parts } else { UNKNOWN * parts.max(floor * floor * 9.0) };
        let weight = PRIOR_RUNS[usize::from(!known)];
        let freedom = weight + (k - 1.0) + (m - 1.0);
        let among = (weight * (prior + self.within_baseline) + square_k + square_m) / freedom;
        let excess = (self.within_now - self.within_baseline).max(0.0);
        let variance = among.max(self.within_baseline) / k + (among + excess).max(self.within_now) / m;
        Difference { value: mean_m - mean_k, error: variance.sqrt(), freedom: freedom as u32 }
    }
}

impl Difference {
    /// Half the width of the interval that misses the truth with the chance `alpha`.
    pub fn half_width(&self, alpha: f64) -> f64 {
        self.error * student_t(alpha, self.freedom)
    }
}

/// Mean, and sum of the squared deviations from it.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum())
}

/// Variance of values.
pub fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    if values.len() < 2 { 0.0 } else { moments(&values).1 / (values.len() - 1) as f64 }
}

/// The value that Student's t exceeds, on either side, with the chance `alpha`.
fn student_t(alpha: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    // 80 halvings of a million are below the resolution of a double.
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if outside(middle, freedom) > alpha { low = middle } else { high = middle }
    }
    high
}

/// Chance that |t| is greater (Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4).
fn outside(t: f64, freedom: u32) -> f64 {
    let angle = (t / f64::from(freedom).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    let (mut term, mut sum) = if odd { (cosine, 0.0) } else { (1.0, 0.0) };
    let mut power = if odd { 1 } else { 0 };
    while power + 2 <= freedom {
        sum += term;
        term *= f64::from(power + 1) / f64::from(power + 2) * cosine * cosine;
        power += 2;
    }
    let inside = if odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum };
    1.0 - inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_is_that_of_the_tables() {
        // Percentage points of the t-distribution, NIST/SEMATECH e-Handbook, 1.3.6.7.2; the last is the normal's.
        let table = [(0.05, 1, 12.706), (0.05, 3, 3.182), (0.01, 4, 4.604), (0.002, 7, 4.785), (0.1, 10, 1.812)];
        for (alpha, freedom, t) in table {
            assert!((student_t(alpha, freedom) - t).abs() < 6e-4, "{alpha} {freedom}: {}", student_t(alpha, freedom));
        }
        assert!((student_t(0.05, 10_000) - 1.960).abs() < 1e-3);
    }

    #[test]
    fn a_spread_that_three_runs_show_widens_the_interval() {
        let figures = |baseline: &[f64]| Figures { baseline: baseline.to_vec(), now: vec![0.1], ..Figures::default() };
        let calm = figures(&[0.0, 0.001, -0.001]).difference(0.01);
        let wild = figures(&[0.0, 0.2, -0.2]).difference(0.01);
        assert!((calm.value - 0.1).abs() < 1e-12 && (wild.value - 0.1).abs() < 1e-12);
        assert!(calm.half_width(0.01) < 0.1 && wild.half_width(0.01) > 0.1, "{calm:?} {wild:?}");
        let alone = figures(&[0.0]).difference(0.01);
        assert!(alone.half_width(0.01) > 3.0 * calm.half_width(0.01), "{alone:?} {calm:?}");
    }
}
