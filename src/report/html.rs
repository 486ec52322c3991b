//! A report as one page that needs nothing else: no script, no font, no network. The verdict comes first, then what stands
//! against the figures, then each venue: its table, where the time goes, its curves; then the slowest orders and the host.

use super::charts::{self, colour};
use super::text::{about, around, count, time, title};
use super::{EvidencePoint, HopReport, Report, RunReport, Trade, VenueReport, Verdict, Waterfall, Wire};
use crate::latency::hop::Hop;
use crate::latency::snapshot::Percentiles;
use std::fmt::Write;

/// Excesses that the verdict lists; the tables mark all.
const MOST_EXCEEDED: usize = 6;

/// The page.
pub fn render(report: &Report) -> String {
    let title = report.runs.first().map(|run| escape(&run.run)).unwrap_or_default();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>tickpath report {title}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        include_str!("page.css")
    );
    report.runs.iter().for_each(|run| self::run(run, &mut out));
    for refused in &report.refused {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "<p class=\"note\">not read: {}</p>", escape(refused));
    }
    let _ = writeln!(out, "<p class=\"note\">made by tickpath {}</p>\n</body>\n</html>", escape(&report.version));
    out
}

fn run(run: &RunReport, out: &mut String) {
    let _ = writeln!(out, "<h1>Run {}</h1>\n<p class=\"quiet\">{}</p>", escape(&run.run), escape(&about(run)));
    verdict(&run.verdict, run.oversubscribed, out);
    let items: String = run
        .caveats
        .iter()
        .cloned()
        .chain(run.host_changes())
        .map(|text| format!("<li>{}</li>", escape(&text)))
        .collect();
    if !items.is_empty() {
        let _ = writeln!(out, "<div class=\"caveats\"><ul>{items}</ul></div>");
    }
    run.venues.iter().for_each(|venue| self::venue(run, venue, out));
    if !run.slowest.is_empty() {
        let _ = writeln!(out, "<h2>Slowest orders</h2>\n{}", legend(&Hop::SOFTWARE));
        run.slowest.iter().enumerate().for_each(|(i, trade)| self::trade(i + 1, trade, out));
    }
    host(run, out);
    let facts: String =
        run.fingerprint.iter().map(|(k, v)| format!("<tr><td>{}</td><td>{}</td></tr>", escape(k), escape(v))).collect();
    if !facts.is_empty() {
        let n = run.fingerprint.len();
        let _ = writeln!(
            out,
            "<details><summary>Fingerprint: {n} facts of program and host</summary><table class=\"facts\">{facts}</table></details>"
        );
    }
}

fn verdict(verdict: &Verdict, oversubscribed: bool, out: &mut String) {
    let class = match (oversubscribed || verdict.unknown, verdict.exceeded.is_empty()) {
        (true, _) => "",
        (false, true) => "within",
        (false, false) => "over",
    };
    let _ = write!(out, "<div class=\"verdict {class}\"><strong>{}</strong>", escape(&verdict.headline));
    if verdict.exceeded.len() > 1 {
        out.push_str("<ul>");
        for excess in verdict.exceeded.iter().take(MOST_EXCEEDED) {
            let [ns, budget] = [excess.ns, excess.budget_ns].map(time);
            let (venue, hop, figure) = (escape(&excess.venue), excess.hop.name(), excess.figure);
            let times = excess.ns / excess.budget_ns.max(f64::MIN_POSITIVE);
            let _ = write!(out, "<li>{venue} {hop} {figure}: {ns}, promised {budget} ({times:.2}×)</li>");
        }
        if let Some(more) = verdict.exceeded.len().checked_sub(MOST_EXCEEDED).filter(|more| *more > 0) {
            let _ = write!(out, "<li>and {more} more</li>");
        }
        out.push_str("</ul>");
    }
    out.push_str("</div>\n");
}

fn venue(run: &RunReport, venue: &VenueReport, out: &mut String) {
    let burst = if venue.orders > 0 { format!(", mean burst {:.2}", venue.mean_burst) } else { String::new() };
    let _ = writeln!(out, "<h2>{}: {} orders{burst}</h2>", escape(&venue.name), count(venue.orders));
    if venue.hops.is_empty() {
        out.push_str("<p class=\"quiet\">No order was measured.</p>\n");
        return;
    }
    table(venue, out);
    let hops: Vec<Hop> = venue.hops.iter().map(|hop| hop.hop).collect();
    out.push_str("<div class=\"pair\">\n");
    venue.waterfalls.iter().for_each(|waterfall| self::waterfall(waterfall, out));
    let seconds = (run.from_seconds, run.to_seconds);
    let _ = writeln!(
        out,
        "<div><h3>Time by percentile</h3>{}{}<p class=\"note\">A cross is a budget.</p></div>",
        charts::curves(venue),
        legend(&hops)
    );
    let _ = writeln!(
        out,
        "<div><h3>rx→doorbell over the run</h3>{}<p class=\"legend note\"><span>{}p50</span><span>{}p99</span>\
         <span>dashed: budget</span></p></div>\n</div>",
        charts::series(venue, seconds),
        swatch(colour(Hop::RxDoorbell)),
        swatch(colour(Hop::DoorbellAck)),
    );
}

fn table(venue: &VenueReport, out: &mut String) {
    out.push_str(
        "<div class=\"scroll\"><table>\n<tr><th>hop</th><th>share</th><th>p50</th><th class=\"budget\">budget</th><th>p99</th><th class=\"budget\">budget</th>\
         <th>min</th><th>p90</th><th>p99.9</th><th>p99.99</th><th>max</th><th>count</th></tr>\n",
    );
    if venue.wire == Wire::Unsynchronised {
        let name = Hop::WireRx.name();
        let _ = writeln!(
            out,
            "<tr><td>{}{name}</td><td colspan=\"11\" style=\"text-align:left\">unsynchronised</td></tr>",
            swatch(colour(Hop::WireRx))
        );
    }
    for hop in &venue.hops {
        self::row(hop, out);
    }
    let sampled = &venue.sampled;
    if sampled.rx_decided.count > 0 {
        let name = format!("{}packets without an order, 1 in {}: rx→decided", swatch("transparent"), sampled.every);
        let _ = writeln!(out, "<tr><td>{name}</td><td></td>{}</tr>", figures(&sampled.rx_decided, [None; 2]));
    }
    out.push_str("</table></div>\n<p class=\"note\">Share: of the orders whose whole time is around the median.</p>\n");
}

fn row(hop: &HopReport, out: &mut String) {
    let class = if hop.hop == Hop::RxDoorbell { " class=\"sum\"" } else { "" };
    let share = hop.share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default();
    let budget = hop.budget.map(|budget| [(budget.p50_ns, hop.over_p50), (budget.p99_ns, hop.over_p99)]);
    let cells = figures(&hop.ns, budget.map_or([None; 2], |figures| figures.map(Some)));
    let _ =
        writeln!(out, "<tr{class}><td>{}{}</td><td>{share}</td>{cells}</tr>", swatch(colour(hop.hop)), hop.hop.name());
}

fn figures(ns: &Percentiles, budget: [Option<(f64, bool)>; 2]) -> String {
    let mut cells = String::new();
    for (ns, budget) in [ns.p50, ns.p99].into_iter().zip(budget) {
        let class = if budget.is_some_and(|(_, over)| over) { " class=\"over\"" } else { "" };
        let promised = budget.map(|(ns, _)| time(ns)).unwrap_or_default();
        let _ = write!(cells, "<td{class}>{}</td><td class=\"budget\">{promised}</td>", time(ns));
    }
    for ns in [ns.min, ns.p90, ns.p999, ns.p9999, ns.max] {
        let _ = write!(cells, "<td>{}</td>", time(ns));
    }
    let _ = write!(cells, "<td>{}</td>", count(ns.count));
    cells
}

fn waterfall(waterfall: &Waterfall, out: &mut String) {
    let name = if waterfall.figure == "p50" { "Orders around the median" } else { "Orders around p99" };
    let [from, to] = [waterfall.from, waterfall.to].map(|quantile| quantile * 100.0);
    let total = time(waterfall.total_ns);
    let _ = writeln!(
        out,
        "<div><h3>{name}: {total}</h3><p class=\"note\">means of those between {from:.1} % and {to:.1} %, which add up</p><div class=\"fall\">"
    );
    let mut before = 0.0;
    for (hop, ns) in Hop::SOFTWARE.into_iter().zip(waterfall.hops_ns) {
        let percent = |ns: f64| ns / waterfall.total_ns.max(f64::MIN_POSITIVE) * 100.0;
        let _ = writeln!(
            out,
            "<div>{}</div><div class=\"track\"><span style=\"left:{:.2}%;width:{:.2}%;background:{}\"></span></div><div class=\"ns\">{}</div>",
            hop.name(),
            percent(before),
            percent(ns),
            colour(hop),
            time(ns)
        );
        before += ns;
    }
    out.push_str("</div></div>\n");
}

fn trade(place: usize, trade: &Trade, out: &mut String) {
    let _ =
        write!(out, "<div class=\"trade\"><div><b>{place}.</b> {}</div><div class=\"stack\">", escape(&title(trade)));
    for (hop, ns) in Hop::SOFTWARE.into_iter().zip(trade.hops_ns.into_iter().flatten()) {
        let percent = ns / trade.total_ns.max(f64::MIN_POSITIVE) * 100.0;
        let label = if percent > 9.0 { time(ns) } else { String::new() };
        let (colour, name) = (colour(hop), hop.name());
        let _ = write!(
            out,
            "<span style=\"width:{percent:.2}%;background:{colour}\" title=\"{name} {}\">{label}</span>",
            time(ns)
        );
    }
    let _ = writeln!(out, "</div><div class=\"note\">{}</div></div>", escape(&around(trade).join("; ")));
}

fn host(run: &RunReport, out: &mut String) {
    /// Name, what the axis reaches at least, the figure, how it is written.
    type Quantity = (&'static str, f64, fn(&EvidencePoint) -> f64, fn(f64) -> String);
    const WHAT: [Quantity; 8] = [
        ("interrupts without the timer's", 0.0, |p| p.interrupts.unwrap_or(0) as f64, |n| count(n as u64)),
        ("involuntary context switches", 0.0, |p| p.involuntary_switches.unwrap_or(0) as f64, |n| count(n as u64)),
        ("waiting for a CPU", 0.0, |p| p.run_queue_wait_ns.unwrap_or(0) as f64, time),
        ("stolen by the hypervisor", 0.0, |p| p.steal_ns.unwrap_or(0) as f64, time),
        ("page faults", 0.0, |p| p.page_faults.unwrap_or(0) as f64, |n| count(n as u64)),
        ("fullest ring", 1.0, |p| p.ring_fill, |n| format!("{:.1} % full", n * 100.0)),
        ("frames that devices lost", 0.0, |p| p.frames_lost as f64, |n| count(n as u64)),
        ("records lost", 0.0, |p| p.records_lost as f64, |n| count(n as u64)),
    ];
    if run.evidence.is_empty() {
        return;
    }
    out.push_str("<h2>What the host did</h2>\n<p class=\"note\">All lcores of the pipeline together, by interval; what never happened is not shown.</p>\n<div class=\"pair\">");
    for (name, top, of, write) in WHAT {
        if let Some((svg, most)) = charts::strip(&run.evidence, (run.from_seconds, run.to_seconds), top, of) {
            let _ = writeln!(out, "<div class=\"strip\"><p>{name}, at most {}</p>{svg}</div>", write(most));
        }
    }
    out.push_str("</div>\n");
}

fn legend(hops: &[Hop]) -> String {
    let item = |hop: &Hop| format!("<span>{}{}</span>", swatch(colour(*hop)), hop.name());
    format!("<p class=\"legend note\">{}</p>", hops.iter().map(item).collect::<String>())
}

fn swatch(colour: &str) -> String {
    format!("<span class=\"swatch\" style=\"background:{colour}\"></span>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_trace_cannot_become_markup() {
        let hostile = "<script>alert(\"&\")</script>";
        let venue = VenueReport { name: hostile.into(), ..VenueReport::default() };
        let trade = Trade { venue: hostile.into(), symbol: hostile.into(), order: "enter", ..Trade::default() };
        let run = RunReport {
            run: hostile.into(),
            caveats: vec![hostile.into()],
            venues: vec![venue],
            slowest: vec![trade],
            fingerprint: [(hostile.into(), hostile.into())].into(),
            ..RunReport::default()
        };
        let page = render(&Report { runs: vec![run], refused: vec![hostile.into()], ..Report::default() });
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;"));
    }
}
