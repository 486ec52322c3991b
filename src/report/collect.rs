//! One pass over a run: blocks in, a [`RunReport`] out. Memory depends on venues and digits, not on the trace's length.
//! Everything is kept in ticks until the end, because the last fit of the clock holds for the whole run.

use super::composition::Composition;
use super::evidence::Evidence;
use super::series::Slices;
use super::slowest::{Slow, Slowest, near};
use super::{
    Excess, HopReport, HostNews, LossCounts, Near, RecordCounts, Report, RunReport, Sampled, Trade, VenueReport,
    Verdict, Waterfall, Wire,
};
use crate::latency::answers::Answers;
use crate::latency::hop::{self, Hop};
use crate::latency::hops::{HopTable, percentiles};
use crate::latency::interval::{HostChange, Interval};
use crate::latency::profile::note_once;
use crate::latency::record::{Kind, Record, StampDomain};
use crate::latency::trace::{
    Block, ClockFit, Damage, Found, Header, Losses, Reader, Run, TraceError, VenueHeader, journal_of,
};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, BTreeSet};

/// Fewer values have no 99th percentile to speak of.
const ENOUGH_FOR_P99: u64 = 100;
/// Most news of the host that are kept.
const MOST_HOST: usize = 1024;
/// Stretches of the end-to-end distribution whose mean order is shown.
const STRETCHES: [(&str, f64, f64); 2] = [("p50", 0.45, 0.55), ("p99", 0.989, 0.991)];

/// What the traces say, with the `slowest` orders of each run.
///
/// # Errors
/// A file that can no longer be read, or a run whose clock has no rate.
pub fn read(found: &Found, slowest: usize) -> Result<Report, TraceError> {
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runs: found.runs.iter().map(|run| read_run(run, slowest)).collect::<Result<_, _>>()?,
        refused: found.refused.iter().map(ToString::to_string).collect(),
    })
}

fn read_run(run: &Run, slowest: usize) -> Result<RunReport, TraceError> {
    let mut collector = Collector::new(&run.header, slowest);
    let mut reader = run.read();
    while let Some(block) = reader.next()? {
        match block {
            Block::Records(records) => records.iter().for_each(|record| collector.record(record)),
            Block::Interval(interval) => collector.interval(*interval),
            Block::Clock(fit) => collector.clock = fit,
            Block::Journal(_) | Block::End => {}
        }
    }
    let losses = reader.losses();
    if !(collector.clock.tsc_hz.is_finite() && collector.clock.tsc_hz > 0.0) {
        let path = run.files.first().map(|file| file.path.clone()).unwrap_or_default();
        return Err(TraceError::Head { path, found: "its clock has no rate".to_owned() });
    }
    Ok(collector.report(run, &losses))
}

struct Collector<'h> {
    header: &'h Header,
    clock: ClockFit,
    venues: Vec<VenueCollector>,
    slowest: Slowest,
    answers: Answers,
    evidence: Evidence,
    counts: RecordCounts,
    recorder_lost: u64,
    warnings: Vec<String>,
    host: Vec<HostChange>,
    /// By port: how wrong a stamp of its clock may be at worst, in ns.
    residuals: BTreeMap<String, f64>,
    /// Earliest and latest stamp.
    stretch: Option<(u64, u64)>,
}

struct VenueCollector {
    hops: HopTable,
    composition: Composition,
    slices: Slices,
    /// By [`Hop::SOFTWARE`], and rx→decided.
    sampled: [Histogram<u64>; 4],
    /// Orders and packets with a stamp of a device's clock that was not fitted then.
    unsynchronised: u64,
    unmatched: u64,
}

impl VenueCollector {
    fn new(hz: f64) -> VenueCollector {
        // Three digits are within what a histogram accepts (0 to 5).
        let span = || Histogram::new(3).expect("three digits are valid");
        VenueCollector {
            hops: HopTable::default(),
            composition: Composition::default(),
            slices: Slices::new(hz),
            sampled: std::array::from_fn(|_| span()),
            unsynchronised: 0,
            unmatched: 0,
        }
    }
}

impl<'h> Collector<'h> {
    fn new(header: &'h Header, slowest: usize) -> Collector<'h> {
        Collector {
            header,
            clock: header.clock,
            venues: header.venues.iter().map(|_| VenueCollector::new(header.clock.tsc_hz)).collect(),
            slowest: Slowest::new(slowest),
            answers: Answers::default(),
            evidence: Evidence::default(),
            counts: RecordCounts::default(),
            recorder_lost: 0,
            warnings: Vec::new(),
            host: Vec::new(),
            residuals: BTreeMap::new(),
            stretch: None,
        }
    }

    #[inline]
    fn record(&mut self, record: &Record) {
        let (Some(kind), Some(venue)) = (record.kind(), self.venues.get_mut(usize::from(record.venue))) else {
            self.counts.unknown += 1;
            return;
        };
        match kind {
            Kind::Sent => {
                self.counts.sent += 1;
                self.answers.sent(record);
                if record.rx_tsc == 0 {
                    self.counts.uncaused += 1;
                    return;
                }
                venue.hops.record(record, |hop, ticks| venue.slices.record(record.rx_tsc, hop, ticks));
                let spans = hop::software(record);
                if let Some(spans) = spans {
                    venue.composition.record(spans);
                }
                if spans.is_some() || hop::unstamped(record) {
                    self.slowest.record(record, spans, record.doorbell_tsc - record.rx_tsc);
                    seen(&mut self.stretch, record.rx_tsc, record.doorbell_tsc);
                }
            }
            Kind::Wire => self.counts.wire += 1,
            Kind::Acknowledged | Kind::Filled => {
                let count = if kind == Kind::Filled { &mut self.counts.filled } else { &mut self.counts.acknowledged };
                *count += 1;
                match self.answers.answered(record) {
                    Ok(Some(ticks)) => {
                        venue.hops.answered(ticks);
                        venue.slices.record(record.rx_tsc, Hop::DoorbellAck, ticks);
                    }
                    Ok(None) => {}
                    Err(_) => venue.unmatched += 1,
                }
            }
            Kind::Sampled => {
                self.counts.sampled += 1;
                let stamps = [record.rx_tsc, record.parsed_tsc, record.book_tsc, record.decided_tsc];
                if stamps.is_sorted() {
                    let [rx, parsed, book, decided] = stamps;
                    for (span, ticks) in
                        venue.sampled.iter_mut().zip([parsed - rx, book - parsed, decided - book, decided - rx])
                    {
                        // A histogram that grows takes any value.
                        let _ = span.record(ticks);
                    }
                    seen(&mut self.stretch, rx, decided);
                }
            }
        }
        let received = matches!(kind, Kind::Sent | Kind::Sampled);
        venue.unsynchronised += u64::from(received && record.domain() == StampDomain::Device);
    }

    fn interval(&mut self, interval: Interval) {
        self.recorder_lost = self.recorder_lost.saturating_add(interval.records_lost);
        for warning in &interval.clock.warnings {
            note_once(&mut self.warnings, warning);
        }
        for device in &interval.clock.devices {
            if let Some(ns) = device.residual_ns {
                let worst = self.residuals.entry(device.port.clone()).or_insert(ns);
                *worst = worst.max(ns);
            }
        }
        let room = MOST_HOST.saturating_sub(self.host.len());
        self.host.extend(interval.host.iter().take(room).cloned());
        self.evidence.record(&interval);
        self.slowest.interval(interval);
    }

    fn report(self, run: &Run, losses: &Losses) -> RunReport {
        let (clock, header) = (self.clock, self.header);
        // An earlier stamp than the start's is of a CPU whose TSC is behind: less than nothing.
        let seconds = move |tsc: u64| (tsc as f64 - clock.anchor_tsc as f64) / clock.tsc_hz;
        let (from, to) = self.stretch.unwrap_or((clock.anchor_tsc, clock.anchor_tsc));
        let venues: Vec<VenueReport> =
            header.venues.iter().zip(&self.venues).map(|(h, v)| venue(h, v, header, clock)).collect();
        let slowest = self.slowest.sorted();
        let again = again(run);
        let loss_counts = LossCounts {
            recorder: self.recorder_lost,
            unwritten: losses.damage.records_unwritten,
            damaged: losses.damage.records_damaged,
            damaged_bytes: losses.damage.bytes_skipped,
            missing: losses.records_missing,
        };
        let mut caveats = Vec::new();
        clock_caveats(header, &clock, &self.warnings, &mut caveats);
        loss_caveats(run, losses, &loss_counts, &self.counts, &mut caveats);
        venue_caveats(&venues, &mut caveats);
        let residual = |(port, ns): (&String, &f64)| {
            format!("stamps of the clock of port {port} are up to {} wrong on the host's", super::text::time(*ns))
        };
        caveats.extend(self.residuals.iter().map(residual));
        RunReport {
            run: header.run.clone(),
            command: header.command.clone(),
            started_ns: header.started_ns,
            from_seconds: seconds(from),
            to_seconds: seconds(to),
            plan_hash: header.plan_hash.clone(),
            captures: header.captures.clone(),
            speed: header.speed.clone(),
            files: run.files.len(),
            verdict: verdict(&venues, header.oversubscribed),
            caveats,
            host: self.host.iter().map(|change| news(change, header.started_ns)).collect(),
            oversubscribed: header.oversubscribed,
            clock,
            records: self.counts,
            losses: loss_counts,
            venues,
            slowest: slowest.iter().map(|slow| trade(slow, header, &clock, seconds, again.as_deref())).collect(),
            evidence: self.evidence.points(seconds),
            fingerprint: header.fingerprint.0.clone(),
        }
    }
}

fn news(change: &HostChange, started_ns: u64) -> HostNews {
    HostNews { at_seconds: (change.at_ns as f64 - started_ns as f64) / 1e9, change: change.clone() }
}

fn seen(stretch: &mut Option<(u64, u64)>, from: u64, to: u64) {
    let (begin, end) = stretch.get_or_insert((from, to));
    (*begin, *end) = ((*begin).min(from), (*end).max(to));
}

fn venue(venue: &VenueHeader, collected: &VenueCollector, header: &Header, clock: ClockFit) -> VenueReport {
    let hz = clock.tsc_hz;
    let ns = |ticks: f64| ticks / hz * 1e9;
    let waterfalls: Vec<Waterfall> = STRETCHES
        .into_iter()
        .filter(|(figure, ..)| *figure != "p99" || collected.hops.span(Hop::RxDoorbell).len() >= ENOUGH_FOR_P99)
        .filter_map(|(figure, from, to)| {
            let hops_ns = collected.composition.mean(from..to)?.map(ns);
            Some(Waterfall { figure, from, to, total_ns: hops_ns.iter().sum(), hops_ns })
        })
        .collect();
    let measured = Hop::ALL.into_iter().filter(|hop| !collected.hops.span(*hop).is_empty());
    let hops: Vec<HopReport> = measured
        .map(|hop| {
            let span = collected.hops.span(hop);
            let figures = percentiles(span, hz);
            let budget = venue.budget.of(hop);
            let part = Hop::SOFTWARE.iter().position(|known| *known == hop);
            let median = waterfalls.first().filter(|median| median.total_ns > 0.0);
            HopReport {
                hop,
                ns: figures,
                budget,
                over_p50: budget.is_some_and(|budget| figures.p50 > budget.p50_ns),
                over_p99: budget.is_some_and(|budget| figures.p99 > budget.p99_ns) && figures.count >= ENOUGH_FOR_P99,
                share: part.zip(median).map(|(part, median)| median.hops_ns[part] / median.total_ns),
                curve: curve(span).into_iter().map(|(quantile, ticks)| (quantile, ns(ticks as f64))).collect(),
            }
        })
        .collect();
    let wire = match (collected.hops.span(Hop::WireRx).is_empty(), collected.unsynchronised) {
        (false, _) => Wire::Measured,
        (true, 0) => Wire::None,
        (true, _) => Wire::Unsynchronised,
    };
    let [.., rx_decided] = &collected.sampled;
    let seconds = |tsc: u64| (tsc as f64 - clock.anchor_tsc as f64) / hz;
    let sampled = Hop::SOFTWARE.into_iter().zip(&collected.sampled[..3]).filter(|(_, span)| !span.is_empty());
    VenueReport {
        name: venue.name.clone(),
        orders: collected.hops.span(Hop::RxDoorbell).len(),
        mean_burst: collected.hops.mean_burst(),
        negative: collected.hops.negative,
        hops,
        wire,
        unsynchronised: collected.unsynchronised,
        answers_unmatched: collected.unmatched,
        sampled: Sampled {
            every: header.sample_every,
            rx_decided: percentiles(rx_decided, hz),
            hops: sampled.map(|(hop, span)| (hop, percentiles(span, hz))).collect(),
        },
        waterfalls,
        series: collected.slices.figures(seconds, hz),
    }
}

/// Quantiles at which a curve is drawn: ten for each halving of what is left, up to the last value.
fn curve(span: &Histogram<u64>) -> Vec<(f64, u64)> {
    let least = 1.0 / span.len() as f64;
    let mut left = 1.0;
    let mut points = Vec::new();
    while left > least && points.len() < 500 {
        points.push((1.0 - left, span.value_at_quantile(1.0 - left)));
        left *= 0.5f64.powf(0.1);
    }
    points.push((1.0 - least, span.max()));
    points
}

fn verdict(venues: &[VenueReport], oversubscribed: bool) -> Verdict {
    let mut exceeded = Vec::new();
    let mut budgets = 0;
    for venue in venues {
        for hop in &venue.hops {
            let Some(budget) = hop.budget else { continue };
            budgets += 1;
            let figures =
                [("p50", hop.over_p50, hop.ns.p50, budget.p50_ns), ("p99", hop.over_p99, hop.ns.p99, budget.p99_ns)];
            for (figure, _, ns, budget_ns) in figures.into_iter().filter(|(_, over, ..)| *over) {
                exceeded.push(Excess { venue: venue.name.clone(), hop: hop.hop, figure, ns, budget_ns });
            }
        }
    }
    // Single hops before the sum, which names no place; medians before tails, which few orders see; then by time.
    let rank = |excess: &Excess| (excess.hop == Hop::RxDoorbell, excess.figure);
    exceeded.sort_by(|a, b| rank(a).cmp(&rank(b)).then((b.ns - b.budget_ns).total_cmp(&(a.ns - a.budget_ns))));
    let unknown = budgets == 0;
    let headline = match exceeded.first() {
        _ if venues.iter().all(|venue| venue.hops.is_empty()) => "No order was measured.".to_owned(),
        _ if unknown => "No budget is stated: nothing to hold these figures against.".to_owned(),
        None => "Every hop is within its budget.".to_owned(),
        Some(worst) => {
            let more = match exceeded.len() {
                1 => String::new(),
                n => format!(", and {} more figures are over budget", n - 1),
            };
            let more = if exceeded.len() == 2 { ", and 1 more figure is over budget".to_owned() } else { more };
            let [ns, budget] = [worst.ns, worst.budget_ns].map(super::text::time);
            format!(
                "Over budget: {} {} of {} is {ns}, promised {budget}{more}.",
                worst.hop.name(),
                worst.figure,
                worst.venue
            )
        }
    };
    let headline = match oversubscribed {
        true => format!("Oversubscribed: these times say nothing about the pipeline. {headline}"),
        false => headline,
    };
    Verdict { headline, exceeded, unknown }
}

fn clock_caveats(header: &Header, clock: &ClockFit, warnings: &[String], out: &mut Vec<String>) {
    if header.oversubscribed {
        out.push("oversubscribed: there were fewer CPUs than lcores, so times hold waits for a CPU".to_owned());
    }
    if !clock.verified {
        let error = clock.error_ppm;
        out.push(format!(
            "rate unverified: no clock but the TSC's own vouches for its rate (fit within {error:.2} ppm of that)"
        ));
    }
    out.extend(warnings.iter().map(|warning| format!("clock: {warning}")));
}

fn loss_caveats(run: &Run, losses: &Losses, counts: &LossCounts, records: &RecordCounts, out: &mut Vec<String>) {
    let Damage { bytes_skipped, torn_tail, records_damaged, unknown_blocks, .. } = losses.damage;
    if counts.recorder > 0 {
        let text = "records were lost by the recorder, its rings or the disk were full: percentiles miss them";
        out.push(format!("{} {text}", counts.recorder));
    }
    if counts.unwritten > 0 {
        out.push(format!("{} records were not written: the disk was full or failed", counts.unwritten));
    }
    if bytes_skipped > torn_tail {
        out.push(format!(
            "{} bytes of the files are damaged: {records_damaged} records are lost",
            bytes_skipped - torn_tail
        ));
    } else if records_damaged > 0 || torn_tail > 0 {
        out.push(format!(
            "a file ends in the middle of a block: {torn_tail} bytes, {records_damaged} records are lost"
        ));
    }
    if !run.missing.is_empty() {
        let list: Vec<String> = run.missing.iter().take(10).map(u32::to_string).collect();
        let more = if run.missing.len() > 10 { " …" } else { "" };
        out.push(format!("files {}{more} of the run are missing: {} records", list.join(", "), losses.records_missing));
    } else if losses.records_missing > 0 {
        out.push(format!("{} records are missing between two files", losses.records_missing));
    }
    if losses.unfinished {
        out.push("the run has no end: it was killed, is still going, or its last file is missing".to_owned());
    }
    if unknown_blocks + records.unknown > 0 {
        let text = "blocks or records are of a later version, or of an unknown venue, and were passed over";
        out.push(format!("{} {text}", unknown_blocks + records.unknown));
    }
}

fn venue_caveats(venues: &[VenueReport], out: &mut Vec<String>) {
    for VenueReport { name, negative, answers_unmatched, wire, unsynchronised, .. } in venues {
        if *negative > 0 {
            out.push(format!(
                "{name}: {negative} orders have stamps out of order (TSCs that disagree) and are in no hop"
            ));
        }
        if *answers_unmatched > 0 {
            out.push(format!(
                "{name}: {answers_unmatched} answers are to orders that are not in the trace, or were sent long before"
            ));
        }
        match wire {
            Wire::Unsynchronised => {
                out.push(format!("{name}: wire→rx is unsynchronised: the device's clock is not fitted to the host's"))
            }
            Wire::Measured if *unsynchronised > 0 => out.push(format!(
                "{name}: wire→rx leaves out {unsynchronised} packets from before the device's clock was fitted"
            )),
            Wire::Measured | Wire::None => {}
        }
    }
}

/// The command that makes the decisions of a run again, up to the order's id; `None` without a journal beside the trace.
fn again(run: &Run) -> Option<String> {
    let path = journal_of(run)?;
    let header = Reader::open(&path).ok()?.header().clone();
    let captures: BTreeSet<&str> = header.captures.iter().map(|capture| capture.name.as_str()).collect();
    let captures = match captures.is_empty() {
        true => "CAPTURE…".to_owned(),
        false => captures.into_iter().map(quoted).collect::<Vec<_>>().join(" "),
    };
    let [file, path] = [&*header.journal?.file, &*path.to_string_lossy()].map(quoted);
    Some(format!("tickpath replay {file} {captures} --journal {path} --order "))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn trade(slow: &Slow, header: &Header, clock: &ClockFit, seconds: impl Fn(u64) -> f64, again: Option<&str>) -> Trade {
    const RINGS: [&str; 4] = ["rx→parse", "parse→strategy", "strategy→encode", "encode→tx"];
    let record = &slow.record;
    let ns = |ticks: u64| ticks as f64 / clock.tsc_hz * 1e9;
    // The collector takes no record of a venue that the header does not have.
    let venue = &header.venues[usize::from(record.venue)];
    let rings = RINGS.into_iter().zip(record.occupancy).zip(venue.rings);
    let interval = slow.interval.as_ref().map(|interval| {
        let (from_seconds, to_seconds) = (seconds(interval.from_tsc), seconds(interval.to_tsc));
        Near { from_seconds, to_seconds, facts: near(interval, venue, to_seconds - from_seconds) }
    });
    Trade {
        venue: venue.name.clone(),
        order_id: record.order_id,
        symbol: symbol(record),
        order: order_kind(record),
        side: side(record),
        price: record.price,
        qty: record.qty,
        sequence: record.sequence,
        at_seconds: seconds(record.rx_tsc),
        total_ns: ns(slow.total),
        hops_ns: slow.spans.map(|spans| spans.map(ns)),
        wire_ns: hop::wire(record).map(ns),
        burst_size: record.burst_size,
        burst_position: record.burst_position,
        rings: rings.filter_map(|((name, waiting), slots)| Some((name, waiting, slots?))).collect(),
        near: interval,
        replay: again.map(|again| format!("{again}{}:{}", venue.name, record.order_id)),
    }
}

/// Without its padding; bytes that are no text are replaced.
pub(super) fn symbol(record: &Record) -> String {
    String::from_utf8_lossy(&record.symbol).trim_end_matches([' ', '\0']).to_owned()
}

/// `enter`, `replace`, `cancel`; empty for a number that this version does not know.
pub(super) fn order_kind(record: &Record) -> &'static str {
    ["enter", "replace", "cancel"].get(usize::from(record.order_kind)).copied().unwrap_or("")
}

/// `buy`, `sell`; empty for a number that this version does not know.
pub(super) fn side(record: &Record) -> &'static str {
    ["buy", "sell"].get(usize::from(record.side)).copied().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::snapshot::Percentiles;

    #[test]
    fn a_curve_rises_to_the_greatest_value() {
        let mut span = Histogram::new(3).unwrap();
        (1..=1000u64).for_each(|value| span.record(value).unwrap());
        let curve = curve(&span);
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{curve:?}");
        assert_eq!((curve[0].1, curve.last().unwrap().1), (1, 1000));
        let one = {
            let mut h = Histogram::<u64>::new(3).unwrap();
            h.record(7).unwrap();
            h
        };
        assert_eq!(super::curve(&one), [(0.0, 7)]);
        assert_eq!(percentiles(&Histogram::new(3).unwrap(), 1.0), Percentiles::default());
    }
}
