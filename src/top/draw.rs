//! The screen: what [`Top`] knows, as tables. In: an area of any size. Out: its cells. What does not fit is left out from
//! the bottom up, and a list that was cut says by how much.
//!
//! Over budget and alarms are marked by a sign beside the colour, so that they are seen without colours too.

use super::{Health, Top, figures};
use crate::latency::hop::Hop;
use crate::latency::interval::{LcoreEvidence, LinkEvidence};
use crate::latency::snapshot::{HopSnapshot, HostFact, Snapshot, StageSnapshot, VenueSnapshot};
use crate::sys::time;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table, Widget};
use std::time::Instant;

/// From this height on there is room for evidence, and an empty line between tables.
const ROOMY: u16 = 40;
/// Lines that drops and alarms have at least, where there are some.
const DROP_LINES: u16 = 2;
const ALARM_LINES: u16 = 3;
/// Lines that faults of the host have at most.
const HOST_LINES: u16 = 3;

const KEYS: &str = "q quit";
const KEYS_VENUES: &str = "q quit   Tab, 1-9 venue";

impl Top {
    /// The screen: the page, and the keys in the last line.
    pub fn draw(&self, at: Instant, area: Rect, buffer: &mut Buffer) {
        let [page, last] = area.layout(&Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]));
        self.page(at, page, buffer);
        let several = self.snapshot().is_some_and(|s| s.venues.len() > 1);
        Line::from(if several { KEYS_VENUES } else { KEYS }).dim().render(last, buffer);
    }

    fn page(&self, at: Instant, area: Rect, buffer: &mut Buffer) {
        let mut page = Page { rest: area, buffer, roomy: area.height >= ROOMY };
        let Some(snapshot) = self.head(at, &mut page) else { return };
        let Some(venue) = snapshot.venues.get(self.venue) else { return };
        self.venue(snapshot, self.venue, &mut page);
        if !page.roomy {
            let alarms = snapshot.alarms.len().min(usize::from(ALARM_LINES)) as u16;
            let for_drops = page.rest.height.saturating_sub(alarms);
            self.drops(self.venue, for_drops.min(DROP_LINES), &mut page);
            alarms_list(snapshot, &mut page);
            return;
        }
        self.drops(self.venue, DROP_LINES * 2, &mut page);
        page.gap();
        alarms_list(snapshot, &mut page);
        page.gap();
        self.venues(snapshot, &mut page);
        lcores(snapshot, &mut page);
        links(snapshot, venue, &mut page);
        memory(snapshot, &mut page);
    }

    /// Everything, every venue in full, as `--once` prints it.
    pub(super) fn print(&self, at: Instant, area: Rect, buffer: &mut Buffer) {
        let mut page = Page { rest: area, buffer, roomy: true };
        let Some(snapshot) = self.head(at, &mut page) else { return };
        for (at, venue) in snapshot.venues.iter().enumerate() {
            self.venue(snapshot, at, &mut page);
            self.drops(at, u16::MAX, &mut page);
            page.gap();
            links(snapshot, venue, &mut page);
        }
        lcores(snapshot, &mut page);
        memory(snapshot, &mut page);
        page.gap();
        alarms_list(snapshot, &mut page);
    }

    /// What the instance is and how it is; its state, if there is one.
    fn head(&self, at: Instant, page: &mut Page<'_>) -> Option<&Snapshot> {
        page.list("", &self.title(&self.health(at)), 2);
        let snapshot = self.snapshot()?;
        let mut items = recorder(snapshot);
        if !page.roomy {
            items.extend(snapshot.host.faults().filter(|fact| fact.changed_ns.is_some()).map(fault));
        }
        page.list("", &items, 2);
        let faults: Vec<Span<'_>> = snapshot.host.faults().map(fault).collect();
        if page.roomy && !faults.is_empty() {
            page.list("host", &faults, HOST_LINES);
        }
        if snapshot.oversubscribed {
            page.lines(vec![Line::from("! fewer CPUs than lcores: times say nothing").yellow()]);
        }
        page.gap();
        Some(snapshot)
    }

    /// A venue's figures down to its hops.
    fn venue(&self, snapshot: &Snapshot, at: usize, page: &mut Page<'_>) {
        let venue = &snapshot.venues[at];
        let mut items = vec![Span::from(venue.name.clone()).bold()];
        if snapshot.venues.len() > 1 {
            items.push(format!("{} of {}", at + 1, snapshot.venues.len()).into());
        }
        items.push(format!("frames {}", rate(self.rate(at, |v| Some(v.frames)))).into());
        items.push(format!("orders {}", rate(self.rate(at, |v| Some(v.orders)))).into());
        if self.before.is_none() {
            items.push("means since the start".into());
        }
        if venue.negative > 0 {
            items.push(wrong(format!("{} out of order", figures::count(venue.negative as f64))));
        }
        items.extend(troubles(venue));
        page.list("venue", &items, 2);
        for (name, items) in [("trade", trade(venue)), ("lines", lines(venue))] {
            if page.roomy && !items.is_empty() {
                page.list(name, &items, 2);
            }
        }
        self.stages(snapshot, at, page);
        page.gap();
        self.hops(venue, page);
        page.gap();
    }

    fn title(&self, health: &Health) -> Vec<Span<'static>> {
        let mut items = vec![Span::from("tickpath").bold()];
        if let Some(s) = self.snapshot() {
            items = vec![Span::from(format!("tickpath {} {}", s.command, s.run)).bold()];
            items.push(format!("up {}", figures::stretch(s.uptime_seconds)).into());
        }
        match health {
            Health::Waiting(why) => {
                items.push(Span::from(format!("waiting for {}", self.address)).yellow());
                items.extend((!why.is_empty()).then(|| why.clone().into()));
            }
            Health::Live => items.push(Span::from("live").green()),
            Health::Ended => items.extend([Span::from("ended").cyan(), "this is its last state".into()]),
            Health::Stale(age) => {
                items.push(wrong("stands still".into()).bold());
                items.push(format!("it answers, and its state is {} old", figures::stretch(age.as_secs_f64())).into());
            }
            Health::Lost(silence, why) => {
                let silence = figures::stretch(silence.as_secs_f64());
                items.push(wrong("gone".into()).bold());
                items.push(format!("no answer from {} for {silence}: {why}", self.address).into());
            }
        }
        items
    }

    fn stages(&self, snapshot: &Snapshot, venue_at: usize, page: &mut Page<'_>) {
        let venue = &snapshot.venues[venue_at];
        const COLUMNS: [Column; 11] = [
            left("stage", 8),
            number_column("lcore", 5),
            number_column("in/s", 6),
            number_column("out/s", 6),
            number_column("dropped/s", 9),
            number_column("dropped", 7),
            number_column("held", 6),
            number_column("burst", 5),
            number_column("busy", 6),
            number_column("ring", 6),
            number_column("high", 6),
        ];
        let rows = venue.stages.iter().enumerate().map(|(at, stage)| {
            let of = |of: fn(&StageSnapshot) -> u64| self.stage_rate(venue_at, at, of);
            let (incoming, bursts) = (of(|s| s.incoming), of(|s| s.bursts));
            let burst = match (incoming, bursts) {
                (Some(incoming), Some(bursts)) if bursts > 0.0 => figures::count(incoming / bursts),
                _ => "-".into(),
            };
            let lcore = snapshot.interval.lcores.iter().find(|l| l.lcore == stage.lcore);
            let ring =
                snapshot.interval.links.iter().find(|l| l.venue == venue.name && l.link == link_into(&stage.stage));
            let filled = |n: fn(&LinkEvidence) -> u64| {
                ring.and_then(|l| figures::share(n(l) as f64, l.depth as f64)).unwrap_or_else(|| "-".into())
            };
            let dropped: u64 = stage.dropped.values().sum();
            [
                Cell::from(stage.stage.clone()),
                right(stage.lcore.to_string()),
                right(number(incoming)),
                right(number(of(|s| s.outgoing))),
                right(number(of(|s| s.dropped.values().sum()))),
                right(figures::count(dropped as f64)),
                right(figures::count(stage.held as f64)),
                right(burst),
                right(busy(lcore)),
                right(filled(|l| l.fill)),
                right(filled(|l| l.high_water)),
            ]
        });
        page.table(&COLUMNS, rows);
    }

    fn hops(&self, venue: &VenueSnapshot, page: &mut Page<'_>) {
        if venue.hops.is_empty() {
            page.lines(vec!["no order has been measured yet".into()]);
            return;
        }
        let mut columns = [
            left("hop", 16),
            number_column("p50", 9),
            number_column("p99", 9),
            number_column("p99.9", 9),
            number_column("p50 ≤", 8),
            number_column("p99 ≤", 8),
            left("p99 of late", super::HISTORY as u16),
        ];
        let taken: u16 = columns[..6].iter().map(|column| column.width + 1).sum();
        let room = page.rest.width.saturating_sub(taken).min(columns[6].width);
        columns[6].width = room;
        let rows = venue.hops.iter().map(|hop| {
            let past = self.history.get(&(venue.name.clone(), hop.hop));
            let spark = past.map_or(String::new(), |p| figures::spark(p.iter().copied(), room.into()));
            let budget = |ns: Option<f64>| right(ns.map_or("-".into(), figures::time));
            let [p50, p99, p999] = measured(hop);
            let name = Cell::from(hop.hop.name());
            [name, p50, p99, p999, budget(hop.budget_p50_ns), budget(hop.budget_p99_ns), Cell::from(spark)]
        });
        page.table(&columns, rows);
    }

    fn drops(&self, venue_at: usize, lines: u16, page: &mut Page<'_>) {
        let Some(venue) = self.snapshot().and_then(|s| s.venues.get(venue_at)) else { return };
        let mut reasons: Vec<(f64, u64, String)> = Vec::new();
        for (at, stage) in venue.stages.iter().enumerate() {
            for (reason, n) in stage.dropped.iter().filter(|(_, n)| **n > 0) {
                let now = self.stage_rate(venue_at, at, |s| s.dropped.get(reason).copied().unwrap_or(0));
                let text = format!("{} {reason} {} ({})", stage.stage, figures::count(*n as f64), rate(now));
                reasons.push((now.unwrap_or(0.0), *n, text));
            }
        }
        // What drops now comes first, then what dropped most.
        reasons.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let mut items: Vec<Span<'_>> = reasons.into_iter().map(|reason| reason.2.into()).collect();
        if items.is_empty() {
            items.push("none".into());
        }
        page.list("drops", &items, lines);
    }

    fn venues(&self, snapshot: &Snapshot, page: &mut Page<'_>) {
        if snapshot.venues.len() < 2 {
            return;
        }
        let rows = snapshot.venues.iter().enumerate().map(|(at, venue)| {
            let whole = venue.hops.iter().find(|h| h.hop == Hop::RxDoorbell);
            let [p50, p99, p999] = whole.map_or_else(|| [(); 3].map(|()| right("-".into())), measured);
            let dropped = self.rate(at, |v| Some(v.stages.iter().flat_map(|s| s.dropped.values()).sum()));
            [
                Cell::from(venue.name.clone()),
                right(number(self.rate(at, |v| Some(v.frames)))),
                right(number(self.rate(at, |v| Some(v.orders)))),
                right(number(dropped)),
                p50,
                p99,
                p999,
            ]
        });
        const COLUMNS: [Column; 7] = [
            left("venue", 16),
            number_column("frames/s", 8),
            number_column("orders/s", 8),
            number_column("dropped/s", 9),
            number_column("rx→doorbell p50", 15),
            number_column("p99", 9),
            number_column("p99.9", 9),
        ];
        page.table(&COLUMNS, rows);
        page.gap();
    }
}

/// p50, p99 and p99.9 of the last interval: red and with a sign where they are over budget.
fn measured(hop: &HopSnapshot) -> [Cell<'static>; 3] {
    let p = &hop.interval;
    // Stamps of a clock that is not fitted are there and cannot be subtracted.
    if hop.hop == Hop::WireRx && hop.total.count == 0 {
        return ["unsynced", "", ""].map(|text| right(text.into()));
    }
    if p.count == 0 {
        return [(); 3].map(|()| right("-".into()));
    }
    let against = |ns: f64, budget: Option<f64>| match budget {
        Some(most) if ns > most => {
            Cell::from(Text::from(format!("!{}", figures::time(ns))).right_aligned()).red().bold()
        }
        _ => right(figures::time(ns)),
    };
    [against(p.p50, hop.budget_p50_ns), against(p.p99, hop.budget_p99_ns), against(p.p999, None)]
}

/// What keeps a venue from trading, or should.
fn troubles(venue: &VenueSnapshot) -> Vec<Span<'static>> {
    let mut items = Vec::new();
    if !venue.killed.is_empty() {
        items.push(wrong(format!("KILLED ({}): only cancels leave", venue.killed.join(", "))).bold());
    }
    if venue.figure("tx", "session", "up") == Some(0) {
        items.push(wrong("session down".into()));
    }
    if venue.figure("parse", "state", "silent") == Some(1) {
        items.push(wrong("feed silent".into()));
    }
    if let Some(n) = venue.figure("strategy", "orders", "impossible").filter(|n| *n > 0) {
        items.push(wrong(format!("{n} impossible answers")));
    }
    items
}

/// Session, orders and positions, where there is a session.
fn trade(venue: &VenueSnapshot) -> Vec<Span<'static>> {
    let Some(up) = venue.figure("tx", "session", "up") else { return Vec::new() };
    let counts = [
        ("standing", venue.figure("tx", "session", "standing")),
        ("filled", venue.figure("strategy", "became", "filled")),
        ("rejected", venue.figure("strategy", "became", "rejected")),
        ("lost connections", venue.figure("tx", "session events", "connections_lost").filter(|n| *n > 0)),
        ("positions", Some(venue.held_instruments)),
    ];
    let counts =
        counts.into_iter().filter_map(|(name, n)| Some(format!("{name} {}", figures::count(n? as f64)).into()));
    [if up == 0 { "session down".into() } else { "session up".into() }].into_iter().chain(counts).collect()
}

/// What each line was worth, where there are several; and what was recovered.
fn lines(venue: &VenueSnapshot) -> Vec<Span<'static>> {
    const NAMES: [&str; 8] = ["line A", "line B", "line C", "line D", "line E", "line F", "line G", "line H"];
    let of = |line: &str, name: &str| venue.figure("parse", line, name);
    let won: u64 = NAMES.iter().filter_map(|line| of(line, "won")).sum();
    let mut items = Vec::new();
    if of("line B", "won").is_some() {
        for line in NAMES {
            let (Some(first), Some(lost)) = (of(line, "won"), of(line, "lost")) else { continue };
            let share = figures::share(first as f64, won as f64).unwrap_or_else(|| "-".into());
            let lead = of(line, "lead_ns").zip(of(line, "leads")).and_then(|(ns, n)| ns.checked_div(n));
            let lead = figures::time(lead.unwrap_or(0) as f64);
            let name = &line["line ".len()..];
            items.push(format!("{name} first {share} by {lead}, lost {}", figures::count(lost as f64)).into());
        }
    }
    for name in ["lost_messages", "recovered_messages", "snapshots"] {
        if let Some(n) = of("feed", name).filter(|n| *n > 0) {
            items.push(format!("{} {}", name.replace('_', " "), figures::count(n as f64)).into());
        }
    }
    items
}

fn recorder(snapshot: &Snapshot) -> Vec<Span<'static>> {
    let (r, clock) = (&snapshot.recorder, &snapshot.interval.clock);
    let mut items = vec![format!("records {}", figures::count(r.records as f64)).into()];
    for (lost, why) in [(r.lost_ring, "ring full"), (r.lost_disk, "disk")] {
        if lost > 0 {
            items.push(wrong(format!("lost {}: {why}", figures::count(lost as f64))));
        }
    }
    if clock.tsc_hz > 0.0 {
        let rate = match (&clock.independent, clock.independent_ppm) {
            (Some(name), Some(ppm)) => format!("{ppm:+.1} ppm by {name}"),
            _ => "rate unverified".into(),
        };
        items.push(format!("TSC {:.6} GHz, {rate}", clock.tsc_hz / 1e9).into());
    }
    let unsynced = clock.devices.iter().filter(|device| device.residual_ns.is_none());
    items.extend(unsynced.map(|device| wrong(format!("clock of {} unsynchronised", device.port))));
    items
}

/// A fault of the host: what came while it ran with its time of day, marked.
fn fault(fact: &HostFact) -> Span<'static> {
    match fact.changed_ns.map(time::utc) {
        None => fact.id.clone().into(),
        // `20261123T032338Z`
        Some(at) => wrong(format!("{} since {}:{}:{} UTC", fact.id, &at[9..11], &at[11..13], &at[13..15])),
    }
}

fn and_more(n: usize) -> String {
    format!("and {n} more")
}

/// What a person should look at, seen with and without colours.
fn wrong(text: String) -> Span<'static> {
    Span::from(format!("! {text}")).red()
}

fn alarms_list(snapshot: &Snapshot, page: &mut Page<'_>) {
    let room = usize::from(page.rest.height);
    let alarms = &snapshot.alarms;
    let line = |text: String| Line::from(wrong(text));
    let shown = if alarms.len() > room { room.saturating_sub(1) } else { alarms.len() };
    let mut lines: Vec<Line<'_>> = alarms[..shown].iter().map(|a| line(a.text.clone())).collect();
    if shown < alarms.len() {
        lines.push(line(and_more(alarms.len() - shown)));
    }
    if alarms.is_empty() && page.roomy {
        lines.push(Line::from("no alarms").dim());
    }
    page.lines(lines);
}

fn lcores(snapshot: &Snapshot, page: &mut Page<'_>) {
    let seconds = snapshot.interval_seconds;
    let per_second = |n: Option<u64>| match n {
        Some(n) if seconds > 0.0 => figures::count(n as f64 / seconds),
        _ => "-".into(),
    };
    let share = |ns: Option<u64>| ns.and_then(|ns| figures::share(ns as f64 / 1e9, seconds)).unwrap_or("-".into());
    let rows = snapshot.interval.lcores.iter().map(|l| {
        [
            l.lcore.to_string(),
            l.cpu.map_or("-".into(), |cpu| cpu.to_string()),
            per_second(Some(l.polls)),
            busy(Some(l)),
            per_second(l.timer_ticks),
            per_second(l.interrupts),
            per_second(l.involuntary_switches),
            share(l.run_queue_wait_ns),
            share(l.steal_ns),
            per_second(l.page_faults),
            per_second(l.cache_misses),
        ]
        .map(right)
    });
    const COLUMNS: [Column; 11] = [
        number_column("lcore", 5),
        number_column("cpu", 3),
        number_column("polls/s", 7),
        number_column("busy", 5),
        number_column("ticks/s", 7),
        number_column("irqs/s", 6),
        number_column("preempted", 9),
        number_column("waited", 6),
        number_column("stolen", 6),
        number_column("faults/s", 8),
        number_column("misses/s", 8),
    ];
    page.table(&COLUMNS, rows);
    page.gap();
}

fn links(snapshot: &Snapshot, venue: &VenueSnapshot, page: &mut Page<'_>) {
    const BAR: usize = 40;
    let rows: Vec<_> = snapshot
        .interval
        .links
        .iter()
        .filter(|l| l.venue == venue.name)
        .map(|l| {
            let cells = |n: u64| (n as usize * BAR).div_ceil(l.depth.max(1) as usize).min(BAR);
            let (fill, high) = (cells(l.fill), cells(l.high_water));
            let bar: String = (0..BAR)
                .map(|i| {
                    if i < fill {
                        '█'
                    } else if i < high {
                        '░'
                    } else {
                        '·'
                    }
                })
                .collect();
            [
                Cell::from(l.link.replace('_', "→")),
                Cell::from(bar),
                right(figures::count(l.fill as f64)),
                right(figures::count(l.high_water as f64)),
                right(figures::count(l.depth as f64)),
            ]
        })
        .collect();
    if !rows.is_empty() {
        const COLUMNS: [Column; 5] = [
            left("ring", 16),
            left("█ now  ░ most ever", BAR as u16),
            number_column("now", 6),
            number_column("most", 6),
            number_column("slots", 6),
        ];
        page.table(&COLUMNS, rows);
        page.gap();
    }
}

fn memory(snapshot: &Snapshot, page: &mut Page<'_>) {
    let interval = &snapshot.interval;
    let pools = interval.pools.iter().map(|p| {
        let share = figures::share(p.in_use as f64, p.size as f64).unwrap_or("-".into());
        format!("{} {} of {} ({share})", p.pool, figures::count(p.in_use as f64), figures::count(p.size as f64)).into()
    });
    let ports = interval.ports.iter().map(|p| {
        let text = format!("{} missed {} without mbuf {} errors {}", p.port, p.missed, p.no_mbuf, p.errors);
        if p.missed + p.no_mbuf + p.errors > 0 { wrong(text) } else { text.into() }
    });
    for (name, list) in [("pools", pools.collect::<Vec<Span<'_>>>()), ("ports", ports.collect())] {
        if !list.is_empty() {
            page.list(name, &list, 4);
        }
    }
}

/// The link whose elements a stage takes.
fn link_into(stage: &str) -> &'static str {
    match stage {
        "parse" => "rx_parse",
        "strategy" => "parse_strategy",
        "encode" => "strategy_encode",
        "tx" => "encode_tx",
        _ => "",
    }
}

/// Share of polls that found something.
fn busy(lcore: Option<&LcoreEvidence>) -> String {
    let share = lcore.and_then(|l| figures::share(l.polls.saturating_sub(l.empty_polls) as f64, l.polls as f64));
    share.unwrap_or_else(|| "-".into())
}

fn number(rate: Option<f64>) -> String {
    rate.map_or("-".into(), figures::count)
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |n| format!("{}/s", figures::count(n)))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Text::from(text).right_aligned())
}

/// A column of a table.
struct Column {
    title: &'static str,
    width: u16,
    side: Alignment,
}

const fn left(title: &'static str, width: u16) -> Column {
    Column { title, width, side: Alignment::Left }
}

const fn number_column(title: &'static str, width: u16) -> Column {
    Column { title, width, side: Alignment::Right }
}

/// An area that is filled from the top.
struct Page<'a> {
    rest: Rect,
    buffer: &'a mut Buffer,
    roomy: bool,
}

impl Page<'_> {
    /// Lines; one that is too long ends in an ellipsis.
    fn lines(&mut self, lines: Vec<Line<'_>>) {
        for line in lines {
            let long = line.width() > usize::from(self.rest.width);
            line.render(self.rest, self.buffer);
            if long && self.rest.area() > 0 {
                self.buffer[(self.rest.right() - 1, self.rest.y)].set_symbol("…");
            }
            self.down(1);
        }
    }

    /// A name and its items, whole ones, in at most so many lines; then how many are left.
    fn list<'i>(&mut self, name: &'static str, items: &[Span<'i>], most: u16) {
        const BETWEEN: &str = "   ";
        let most = usize::from(most.min(self.rest.height));
        let indent = if name.is_empty() { 0 } else { 7 };
        let mut lines: Vec<Vec<&Span<'i>>> = vec![Vec::new()];
        let mut left = 0;
        for (at, item) in items.iter().enumerate() {
            let (last_line, behind) = (lines.len() >= most, items.len() - at - 1);
            let line = lines.last_mut().expect("there is one from the start and none is taken away");
            let used: usize = line.iter().map(|item| item.width() + BETWEEN.len()).sum();
            // On the last line room is kept for saying what is left.
            let kept = if last_line && behind > 0 { BETWEEN.len() + and_more(behind).len() } else { 0 };
            let fits = indent + used + item.width() + kept <= usize::from(self.rest.width);
            if fits || (line.is_empty() && !(last_line && behind > 0)) {
                line.push(item);
            } else if last_line {
                left = behind + 1;
                break;
            } else {
                lines.push(vec![item]);
            }
        }
        let last = lines.len() - 1;
        let text = |(at, items): (usize, Vec<&Span<'i>>)| {
            let mut items: Vec<Span<'i>> = items.into_iter().cloned().collect();
            if at == last && left > 0 {
                items.push(and_more(left).into());
            }
            let name = format!("{:indent$}", if at == 0 { name } else { "" });
            let spaced = items.into_iter().enumerate().flat_map(|(i, item)| {
                let between = if i == 0 { "" } else { BETWEEN };
                [Span::from(between), item]
            });
            Line::from_iter(std::iter::once(Span::from(name).bold()).chain(spaced))
        };
        self.lines(lines.into_iter().enumerate().map(text).take(most).collect());
    }

    fn table<'r, const N: usize>(&mut self, columns: &[Column; N], rows: impl IntoIterator<Item = [Cell<'r>; N]>) {
        let rows: Vec<Row<'_>> = rows.into_iter().map(Row::new).collect();
        let height = rows.len() as u16 + 1;
        let titles = columns.iter().map(|column| Cell::from(Text::from(column.title).alignment(column.side)));
        let header = Row::new(titles).style(Style::new().bold().underlined());
        let widths = columns.iter().map(|column| Constraint::Length(column.width));
        let area = Rect { height: height.min(self.rest.height), ..self.rest };
        Table::new(rows, widths).header(header).column_spacing(1).render(area, self.buffer);
        self.down(height);
    }

    fn gap(&mut self) {
        if self.roomy {
            self.down(1);
        }
    }

    fn down(&mut self, lines: u16) {
        let lines = lines.min(self.rest.height);
        self.rest = Rect { y: self.rest.y + lines, height: self.rest.height - lines, ..self.rest };
    }
}
