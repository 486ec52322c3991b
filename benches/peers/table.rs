//! Figures from interleaved rounds, and the table they are printed in.

use std::fmt::Write as _;

/// What one thing cost in each round; a round is timed in pieces shorter than a time slice, so that on a busy machine
/// most pieces are undisturbed.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<Vec<f64>>);

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Ours over the peer's, at most.
    RatioAtMost(f64),
    /// Ours over the peer's, at least.
    RatioAtLeast(f64),
    /// Ours, at most, in the row's unit.
    AtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// What was measured.
    pub what: &'a str,
    /// Of ours and the peer's.
    pub unit: &'a str,
    /// Ours.
    pub ours: Rounds,
    /// The peer's name and its rounds, interleaved with ours.
    pub peer: Option<(&'a str, Rounds)>,
    /// What ours shall be.
    pub target: Option<Target>,
}

impl Rounds {
    /// One more round: the cost of each of its pieces.
    pub fn push(&mut self, pieces: Vec<f64>) {
        self.0.push(pieces);
    }

    /// Rounds of one piece each.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Rounds {
        Rounds(values.into_iter().map(|v| vec![v]).collect())
    }

    /// The median over the rounds of each piece, averaged over the pieces.
    pub fn median(&self) -> f64 {
        self.over_pieces(|sorted| sorted[sorted.len() / 2])
    }

    /// The least of each piece over the rounds, averaged over the pieces.
    pub fn least(&self) -> f64 {
        self.over_pieces(|sorted| sorted[0])
    }

    /// The greatest, likewise.
    pub fn greatest(&self) -> f64 {
        self.over_pieces(|sorted| sorted[sorted.len() - 1])
    }

    fn over_pieces(&self, pick: impl Fn(&[f64]) -> f64) -> f64 {
        let pieces = self.0.iter().map(Vec::len).min().unwrap_or(0);
        let sum: f64 = (0..pieces)
            .map(|i| {
                let mut values: Vec<f64> = self.0.iter().map(|round| round[i]).collect();
                values.sort_by(f64::total_cmp);
                pick(&values)
            })
            .sum();
        sum / pieces.max(1) as f64
    }
}

/// Begin a part.
pub fn part(name: &str, about: &str) {
    println!("\n{name}: {about}");
    println!(
        "  {:<52} {:>8} {:>9} {:>9}  {:<22} {:>9} {:>7}  target",
        "what", "unit", "median", "best", "peer", "median", "ratio"
    );
}

/// Print a line. Of rates (units with `/s`) the best is the greatest.
pub fn row(row: &Row<'_>) {
    let ours = row.ours.median();
    let best = if row.unit.ends_with("/s") { row.ours.greatest() } else { row.ours.least() };
    let mut line = format!("  {:<52} {:>8} {:>9} {:>9}", row.what, row.unit, figure(ours), figure(best));
    let mut ratio = None;
    if let Some((name, rounds)) = &row.peer {
        ratio = Some(ours / rounds.median());
        let _ = write!(line, "  {name:<22} {:>9} {:>7.2}", figure(rounds.median()), ours / rounds.median());
    } else {
        let _ = write!(line, "  {:<22} {:>9} {:>7}", "", "", "");
    }
    if let Some(target) = row.target {
        let (text, met) = match (target, ratio) {
            (Target::RatioAtMost(t), Some(r)) => (format!("<= {t} x"), r <= t),
            (Target::RatioAtLeast(t), Some(r)) => (format!(">= {t} x"), r >= t),
            (Target::AtMost(t), _) => (format!("<= {t}"), ours <= t),
            (Target::RatioAtMost(t) | Target::RatioAtLeast(t), None) => (format!("{t} x, no peer"), true),
        };
        let _ = write!(line, "  {text}{}", if met { "" } else { "  MISSED" });
    }
    println!("{}", line.trim_end());
}

/// A remark under the lines.
pub fn note(text: &str) {
    println!("    {text}");
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.3}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}", v),
        v if v >= 1e3 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}
