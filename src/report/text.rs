//! A report as a terminal shows it: the verdict first, what stands against the figures, then tables.

use super::{HopReport, Report, RunReport, Trade, VenueReport, Wire};
use crate::latency::hop::Hop;
use crate::latency::snapshot::Percentiles;
use crate::pipeline::table::Table;
use std::fmt::Write;

/// Columns of a waterfall's bar.
const BAR: usize = 40;
/// Columns of a series.
const SPARKS: usize = 48;

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for (i, run) in report.runs.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        self::run(run, &mut out);
    }
    for refused in &report.refused {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "not read: {refused}");
    }
    out
}

/// A time as a person reads it: three or four digits and a unit.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        a if a < 999.5 => (ns, "ns"),
        a if a < 999.5e3 => (ns / 1e3, "µs"),
        a if a < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    match value.abs() {
        a if a < 9.995 => format!("{value:.2} {unit}"),
        a if a < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A count with its thousands apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What the run was, in one line.
pub(super) fn about(run: &RunReport) -> String {
    let mut words = vec![run.command.clone()];
    if !run.captures.is_empty() {
        let names: Vec<&str> = run.captures.iter().map(|capture| capture.name.as_str()).collect();
        words.push(format!("of {} at {}", names.join(", "), run.speed));
    }
    words.push(format!("for {:.3} s", run.to_seconds - run.from_seconds));
    let files = if run.files == 1 { "1 file".to_owned() } else { format!("{} files", run.files) };
    let clock = &run.clock;
    let fit = format!("TSC {:.6} GHz ± {:.2} ppm", clock.tsc_hz / 1e9, clock.error_ppm);
    let verified = if clock.verified { ", rate verified" } else { ", rate unverified" };
    format!("{}; plan {}; {files}; {fit}{verified}", words.join(" "), run.plan_hash)
}

fn run(run: &RunReport, out: &mut String) {
    let _ = writeln!(out, "run {}: {}", run.run, about(run));
    let _ = writeln!(out, "{}", run.verdict.headline);
    for caveat in &run.caveats {
        let _ = writeln!(out, "warning: {caveat}");
    }
    run.host_changes().for_each(|change| _ = writeln!(out, "{change}"));
    for venue in &run.venues {
        self::venue(run, venue, out);
    }
    if !run.slowest.is_empty() {
        let _ = writeln!(out, "\nslowest orders");
        for (i, trade) in run.slowest.iter().enumerate() {
            self::trade(i + 1, trade, out);
        }
    }
}

fn venue(run: &RunReport, venue: &VenueReport, out: &mut String) {
    let _ = write!(out, "\n{}: {} orders", venue.name, count(venue.orders));
    if venue.orders > 0 {
        let _ = write!(out, ", mean burst {:.2}", venue.mean_burst);
    }
    let _ = writeln!(out, "; ns, ! is over budget");
    if venue.hops.is_empty() {
        return;
    }
    let mut table = Table::new("hop< count> min> p50> budget> p90> p99> budget> p99.9> p99.99> max> share>");
    if venue.wire == Wire::Unsynchronised {
        let mut cells: [String; 12] = Default::default();
        cells[0] = Hop::WireRx.name().to_owned();
        cells[1] = "unsynchronised".to_owned();
        table.row(cells);
    }
    for hop in &venue.hops {
        table.row(row(hop));
    }
    if venue.sampled.rx_decided.count > 0 {
        let name = format!("sampled packets, 1 in {}: rx→decided", venue.sampled.every);
        table.row(figures(name, &venue.sampled.rx_decided));
    }
    out.push_str(&table.render());
    let points = |of: fn(&super::SliceFigures) -> f64| {
        let series = venue.series.points.iter();
        series.filter_map(|point| point.hops.get(&Hop::RxDoorbell).map(of)).collect::<Vec<f64>>()
    };
    let (p50, p99) = (points(|figures| figures.p50), points(|figures| figures.p99));
    if p50.len() > 1 {
        let length = run.to_seconds - run.from_seconds;
        for (name, values) in [("p50", p50), ("p99", p99)] {
            let (low, high) = values.iter().fold((f64::MAX, 0f64), |(l, h), v| (l.min(*v), h.max(*v)));
            let (low, high) = (time(low), time(high));
            let _ = writeln!(out, "rx→doorbell {name} over {length:.3} s  {}  {low} … {high}", sparks(&values));
        }
    }
}

fn row(hop: &HopReport) -> [String; 12] {
    let mut cells = figures(hop.hop.name().to_owned(), &hop.ns);
    if let Some(budget) = hop.budget {
        cells[4] = format!("{}{}", number(budget.p50_ns), if hop.over_p50 { " !" } else { "  " });
        cells[7] = format!("{}{}", number(budget.p99_ns), if hop.over_p99 { " !" } else { "  " });
    }
    if let Some(share) = hop.share {
        cells[11] = format!("{:.1} %", share * 100.0);
    }
    cells
}

fn figures(name: String, ns: &Percentiles) -> [String; 12] {
    let [min, p50, p90, p99, p999, p9999, max] =
        [ns.min, ns.p50, ns.p90, ns.p99, ns.p999, ns.p9999, ns.max].map(number);
    [name, count(ns.count), min, p50, String::new(), p90, p99, String::new(), p999, p9999, max, String::new()]
}

/// ns in a column: a decimal only where it says something.
fn number(ns: f64) -> String {
    if ns < 99.95 { format!("{ns:.1}") } else { count(ns.round() as u64) }
}

fn trade(place: usize, trade: &Trade, out: &mut String) {
    let _ = writeln!(out, "{place}. {}", title(trade));
    let mut before = 0.0;
    for (hop, ns) in Hop::SOFTWARE.into_iter().zip(trade.hops_ns.into_iter().flatten()) {
        let [from, to] =
            [before, before + ns].map(|at| (at / trade.total_ns.max(f64::MIN_POSITIVE) * BAR as f64).round() as usize);
        let bar = if to > from { "█".repeat(to - from) } else { "▏".to_owned() };
        let _ = writeln!(out, "   {:<17} {:>8}  {:from$}{bar}", hop.name(), time(ns), "");
        before += ns;
    }
    for line in around(trade) {
        let _ = writeln!(out, "   {line}");
    }
}

/// One order in one line.
pub(super) fn title(trade: &Trade) -> String {
    let price = trade.price as f64 / 1e4;
    let what = match trade.order {
        "cancel" => format!("cancel of {}", trade.symbol),
        order => format!("{order} {} {} {} @ {price:.2}", trade.side, count(u64::from(trade.qty)), trade.symbol),
    };
    let Trade { venue, order_id, at_seconds, .. } = trade;
    format!("{} {venue}, {what}, order {order_id}, {at_seconds:.6} s into the run", time(trade.total_ns))
}

/// What was around it, a line each.
pub(super) fn around(trade: &Trade) -> Vec<String> {
    let mut lines = Vec::new();
    let burst = format!("packet {} of a burst of {}", u32::from(trade.burst_position) + 1, trade.burst_size);
    let rings =
        trade.rings.iter().map(|(name, waiting, slots)| format!("{name} {waiting} of {}", count(u64::from(*slots))));
    let rings: Vec<String> = rings.collect();
    let rings = if rings.is_empty() { String::new() } else { format!("; waiting in rings: {}", rings.join(", ")) };
    let wire = trade.wire_ns.map(|ns| format!("; wire→rx {}", time(ns))).unwrap_or_default();
    lines.push(format!("{burst}{rings}{wire}"));
    match &trade.near {
        None => {}
        Some(near) if near.facts.is_empty() => {
            lines.push("nothing that this host tells of happened to its lcores in that interval".to_owned())
        }
        Some(near) => lines.extend(near.facts.iter().cloned()),
    }
    lines.extend(trade.replay.iter().map(|command| format!("again: {command}")));
    lines
}

/// Values as blocks of eight heights from 0 to the greatest; of neighbours that share a column, the greatest.
fn sparks(values: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let columns = values.len().min(SPARKS);
    let column = |i: usize| {
        let range = i * values.len() / columns..(i + 1) * values.len() / columns;
        let value = values[range].iter().copied().fold(0.0, f64::max);
        HEIGHTS[((value / high * 8.0) as usize).min(7)]
    };
    (0..columns).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts_are_written_as_people_read_them() {
        let times =
            [(0.0, "0.00 ns"), (9.994, "9.99 ns"), (99.96, "100 ns"), (999.6, "1.00 µs"), (37_000.0, "37.0 µs")];
        for (ns, text) in times.into_iter().chain([(2.5e6, "2.50 ms"), (1e9, "1.00 s"), (61e9, "61.0 s")]) {
            assert_eq!(time(ns), text);
        }
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(sparks(&[0.0, 4.0, 8.0]), "▁▅█");
        assert_eq!(sparks(&[1.0; 1000]).chars().count(), SPARKS);
    }
}
