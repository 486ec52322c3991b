//! Charts: figures in, SVG out. Static labels and numbers only, so nothing in them needs escaping.

use super::{EvidencePoint, VenueReport};
use crate::latency::hop::Hop;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Inner size of a chart, in CSS pixels.
const SIZE: (u32, u32) = (620, 300);
/// Size of a strip of evidence.
const STRIP: (u32, u32) = (620, 46);
const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
const FAINT: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const FONT: (&str, u32) = ("sans-serif", 12);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Colour of a hop, the same in all charts and bars; told apart by colour-blind readers too (Okabe and Ito).
pub fn colour(hop: Hop) -> &'static str {
    match hop {
        Hop::WireRx => "#999999",
        Hop::RxParsed => "#0072b2",
        Hop::ParsedBook => "#e69f00",
        Hop::BookDecided => "#009e73",
        Hop::DecidedEncoded => "#cc79a7",
        Hop::EncodedDoorbell => "#56b4e9",
        Hop::RxDoorbell => "#222222",
        Hop::DoorbellAck => "#d55e00",
    }
}

/// Times by percentile, both axes logarithmic: one line a hop, a cross where its budget lies.
pub fn curves(venue: &VenueReport) -> String {
    let points = || venue.hops.iter().flat_map(|hop| &hop.curve);
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-9).log10();
    let right = points().map(|(quantile, _)| nines(*quantile)).fold(2.0, f64::max);
    let budgets = || venue.hops.iter().filter_map(|hop| hop.budget).flat_map(|budget| [budget.p50_ns, budget.p99_ns]);
    let positive = points().map(|(_, ns)| *ns).chain(budgets()).filter(|ns| *ns > 0.0);
    let (low, high) = positive.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), ns| (low.min(ns), high.max(ns)));
    draw(SIZE, |area| {
        let axis = (low.max(1.0).min(high) * 0.8..high * 1.3).log_scale();
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..right, axis)?;
        chart
            .configure_mesh()
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .label_style(FONT.into_font().color(&GREY))
            .x_labels(right as usize + 1)
            .x_label_formatter(&|nines| percentile(*nines))
            .y_label_formatter(&|ns| super::text::time(*ns))
            .draw()?;
        for hop in &venue.hops {
            let width = if hop.hop == Hop::RxDoorbell { 3 } else { 2 };
            let style = ShapeStyle::from(&rgb(hop.hop)).stroke_width(width);
            let curve = hop.curve.iter().map(|(quantile, ns)| (nines(*quantile), ns.max(low.max(1.0) * 0.8)));
            chart.draw_series(LineSeries::new(curve, style))?;
            if let Some(budget) = hop.budget {
                let at = [(nines(0.5), budget.p50_ns), (nines(0.99), budget.p99_ns)];
                chart.draw_series(at.map(|at| Cross::new(at, 4, style)))?;
            }
        }
        Ok(())
    })
}

/// End-to-end median and 99th percentile over the run, times logarithmic, budgets as dashed lines.
pub fn series(venue: &VenueReport, seconds: (f64, f64)) -> String {
    let hop = Hop::RxDoorbell;
    let points: Vec<(f64, f64, f64)> = venue
        .series
        .points
        .iter()
        .filter_map(|point| point.hops.get(&hop).map(|figures| (point.at_seconds, figures.p50, figures.p99)))
        .collect();
    let budget = venue.hops.iter().find(|measured| measured.hop == hop).and_then(|measured| measured.budget);
    let promised = budget.map_or([0.0; 2], |budget| [budget.p50_ns, budget.p99_ns]);
    let high = points.iter().map(|(_, _, p99)| *p99).chain(promised).fold(1.0, f64::max);
    let low = points.iter().map(|(_, p50, _)| *p50).fold(high, f64::min).max(1.0);
    // Whole decades, so that the axis has more than one label.
    let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf((high * 1.01).log10().ceil()));
    let (from, to) = stretch(seconds);
    draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(26)
            .y_label_area_size(58)
            .build_cartesian_2d(from..to, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .label_style(FONT.into_font().color(&GREY))
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&|at| format!("{} s", (at * 1e6).round() / 1e6))
            .y_label_formatter(&|ns| super::text::time(*ns))
            .draw()?;
        let styles =
            [ShapeStyle::from(&rgb(hop)).stroke_width(2), ShapeStyle::from(&rgb(Hop::DoorbellAck)).stroke_width(2)];
        for (style, ns) in styles.iter().zip(promised).filter(|(_, ns)| *ns > 0.0) {
            chart.draw_series(DashedLineSeries::new([(from, ns), (to, ns)], 4, 4, style.stroke_width(1)))?;
        }
        // A line needs two points; a run of one slice has a level.
        let level = |of: fn(&(f64, f64, f64)) -> f64| match points.as_slice() {
            [only] => vec![(from, of(only)), (to, of(only))],
            many => many.iter().map(|point| (point.0, of(point))).collect(),
        };
        chart.draw_series(LineSeries::new(level(|point| point.1), styles[0]))?;
        chart.draw_series(LineSeries::new(level(|point| point.2), styles[1]))?;
        Ok(())
    })
}

/// One quantity of the evidence over the run, as bars from nothing to the most, or to `top` if that is more; `None` when it
/// never happened.
pub fn strip(
    points: &[EvidencePoint],
    seconds: (f64, f64),
    top: f64,
    of: impl Fn(&EvidencePoint) -> f64,
) -> Option<(String, f64)> {
    let most = points.iter().map(&of).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let (from, to) = stretch(seconds);
    let svg = draw(STRIP, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(66)
            .margin_right(8)
            .margin_top(4)
            .build_cartesian_2d(from..to, 0.0..most.max(top))?;
        let bars = points.iter().map(|point| {
            let (left, right) = (point.from_seconds.clamp(from, to), point.to_seconds.clamp(from, to));
            Rectangle::new([(left, 0.0), (right, of(point))], GREY.filled())
        });
        chart.draw_series(bars)?;
        chart.draw_series(LineSeries::new([(from, 0.0), (to, 0.0)], GREY))?;
        Ok(())
    });
    Some((svg, most))
}

fn draw(size: (u32, u32), paint: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    // It paints into a string: there is nothing that could refuse it.
    let _ = paint(&area).and_then(|()| area.present());
    drop(area);
    svg
}

/// Never empty: charts need a width.
fn stretch((from, to): (f64, f64)) -> (f64, f64) {
    if to > from { (from, to) } else { (from, from + 1e-6) }
}

fn percentile(nines: f64) -> String {
    match nines.round() as usize {
        0 => "min".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        n => format!("99.{} %", "9".repeat(n - 2)),
    }
}

fn rgb(hop: Hop) -> RGBColor {
    let hex = u32::from_str_radix(&colour(hop)[1..], 16).unwrap_or_default();
    RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}
