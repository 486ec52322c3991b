//! Every metric: name, type, labels, meaning and where its value comes from. One expression each, and nowhere else.
//!
//! In: the last snapshot and the sums of all intervals. Out: families of samples. Names end in their unit; units are
//! seconds, bytes and ratios, as Prometheus asks. `docs/metrics.md` holds the same list.

use super::totals::Totals;
use crate::latency::hop::Hop;
use crate::latency::interval::LcoreEvidence;
use crate::latency::snapshot::{Percentiles, Snapshot, StageSnapshot, VenueSnapshot};
use crate::risk::KillReason;
use crate::version;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// The histograms of hops: name, meaning, labels. [`super::Metrics`] owns them.
pub const HOP: (&str, &str, [&str; 2]) = (
    "tickpath_hop_seconds",
    "Time that a hop of an order's way took. wire_rx stays empty while the stamps of the device are not synchronised.",
    ["venue", "hop"],
);

/// What a metric is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Meaning.
    pub help: &'static str,
    /// Labels.
    pub labels: Vec<&'static str>,
    /// Values of the labels, and the sample.
    pub samples: Vec<(Vec<String>, f64)>,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process starts again.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What families are made of.
pub struct View<'a> {
    /// The last state.
    pub snapshot: &'a Snapshot,
    /// Sums of all intervals.
    pub totals: &'a Totals,
}

/// Every family but [`HOP`], without samples: what there can be.
pub fn catalogue() -> Vec<Family> {
    let view = View { snapshot: &Snapshot::default(), totals: &Totals::default() };
    let without = |family: Family| Family { samples: Vec::new(), ..family };
    all(&view).into_iter().map(without).collect()
}

/// All families but [`HOP`], also those that have no samples now.
pub fn all(view: &View<'_>) -> Vec<Family> {
    let mut all = program(view);
    all.extend(stages(view));
    all.extend(trading(view));
    all.extend(feed(view));
    all.extend(hops(view));
    all.extend(lcores(view));
    all.extend(host(view));
    all.extend(memory(view));
    all.extend(devices(view));
    all.extend(cards(view));
    all.extend(clock(view));
    all.extend(recorder(view));
    all
}

fn program(view: &View<'_>) -> Vec<Family> {
    let s = view.snapshot;
    let mut alarms = BTreeMap::<_, f64>::new();
    for alarm in &s.alarms {
        let hop = alarm.hop.map_or("", Hop::key).to_owned();
        *alarms.entry([alarm.kind.clone(), alarm.venue.clone(), hop]).or_default() += 1.0;
    }
    vec![
        gauge(
            "tickpath_build_info",
            "Always 1: what this binary is.",
            ["version", "revision", "dpdk"],
            [([env!("CARGO_PKG_VERSION"), version::REVISION, version::DPDK].map(str::to_owned), 1.0)],
        ),
        gauge(
            "tickpath_run_info",
            "Always 1: which run of which plan this is; run is also in the names of its trace files.",
            ["run", "command", "plan_hash"],
            (!s.run.is_empty()).then(|| ([s.run.clone(), s.command.clone(), s.plan_hash.clone()], 1.0)),
        ),
        gauge("tickpath_uptime_seconds", "Time since the first poll.", [], [([], s.uptime_seconds)]),
        gauge(
            "tickpath_interval_seconds",
            "Length of the last interval, over which tickpath_hop_interval_seconds is taken.",
            [],
            [([], s.interval_seconds)],
        ),
        gauge(
            "tickpath_oversubscribed",
            "1 when the host has fewer CPUs than the plan has lcores: times say nothing then.",
            [],
            [([], flag(s.oversubscribed))],
        ),
        gauge(
            "tickpath_misplaced_pages",
            "Pages of the path that lay on another node than wanted before the first poll. No series where nobody asked.",
            ["kind"],
            s.misplaced.iter().map(|(kind, pages)| ([kind.clone()], *pages as f64)),
        ),
        gauge("tickpath_ended", "1 when the run has ended and this is its last state.", [], [([], flag(s.ended))]),
        gauge(
            "tickpath_alarms",
            "Standing alarms. No series while nothing is wrong; venue and hop are empty where an alarm is of the whole.",
            ["kind", "venue", "hop"],
            alarms,
        ),
    ]
}

fn stages(view: &View<'_>) -> Vec<Family> {
    let venues = &view.snapshot.venues;
    let by_venue = |of: fn(&VenueSnapshot) -> u64| venues.iter().map(move |v| ([v.name.clone()], of(v) as f64));
    let stages = || venues.iter().flat_map(|v| v.stages.iter().map(move |s| (v, s)));
    let labels = |v: &VenueSnapshot, s: &StageSnapshot| [v.name.clone(), s.stage.clone(), s.unit.clone()];
    let by_stage = |of: fn(&StageSnapshot) -> u64| stages().map(move |(v, s)| (labels(v, s), of(s) as f64));
    let dropped = stages().flat_map(|(v, s)| {
        s.dropped.iter().map(move |(reason, n)| {
            let [venue, stage, unit] = labels(v, s);
            ([venue, stage, unit, reason.clone()], *n as f64)
        })
    });
    const STAGE: [&str; 3] = ["venue", "stage", "unit"];
    vec![
        counter("tickpath_frames_total", "Frames that parse is done with.", ["venue"], by_venue(|v| v.frames)),
        counter("tickpath_orders_total", "Order messages sent.", ["venue"], by_venue(|v| v.orders)),
        counter(
            "tickpath_records_out_of_order_total",
            "Records whose stamps were out of order: TSCs that disagree. Their hops are not measured.",
            ["venue"],
            by_venue(|v| v.negative),
        ),
        counter("tickpath_stage_incoming_total", "What came into a stage.", STAGE, by_stage(|s| s.incoming)),
        counter("tickpath_stage_outgoing_total", "What a stage passed on.", STAGE, by_stage(|s| s.outgoing)),
        counter(
            "tickpath_stage_dropped_total",
            "What a stage dropped, by reason. in = out + dropped + held.",
            ["venue", "stage", "unit", "reason"],
            dropped,
        ),
        gauge("tickpath_stage_held", "What a stage holds now.", STAGE, by_stage(|s| s.held)),
        counter(
            "tickpath_stage_bursts_total",
            "Bursts that were not empty; incoming over bursts is the mean burst. 0 for stages without bursts.",
            STAGE,
            by_stage(|s| s.bursts),
        ),
        gauge(
            "tickpath_stage_info",
            "Always 1: which lcore runs a stage.",
            ["venue", "stage", "lcore"],
            stages().map(|(v, s)| ([v.name.clone(), s.stage.clone(), s.lcore.to_string()], 1.0)),
        ),
    ]
}

fn trading(view: &View<'_>) -> Vec<Family> {
    let venues = &view.snapshot.venues;
    let one = |stage: &'static str, group: &'static str, name: &'static str| {
        venues.iter().filter_map(move |v| Some(([v.name.clone()], v.figure(stage, group, name)? as f64)))
    };
    let each = |stage: &'static str, group: &'static str| {
        let of = move |v: &'_ VenueSnapshot| -> Vec<([String; 2], f64)> {
            v.figures(stage, group).map(|(name, n)| ([v.name.clone(), name.to_owned()], n as f64)).collect()
        };
        venues.iter().flat_map(of)
    };
    let killed = venues.iter().flat_map(|v| {
        KillReason::ALL.map(|reason| {
            let reason = reason.name();
            ([v.name.clone(), reason.to_owned()], flag(v.killed.iter().any(|killed| killed == reason)))
        })
    });
    let positions = venues
        .iter()
        .flat_map(|v| v.positions.iter().map(|(symbol, shares)| ([v.name.clone(), symbol.clone()], *shares as f64)));
    let held = venues.iter().map(|v| ([v.name.clone()], v.held_instruments as f64));
    // Prices are in 1/10,000.
    let gross = one("strategy", "orders", "gross").map(|(venue, n)| (venue, n / 1e4));
    vec![
        gauge(
            "tickpath_killed",
            "1 for every reason for which the kill switch is tripped: only cancels leave.",
            ["venue", "reason"],
            killed,
        ),
        gauge(
            "tickpath_session_up",
            "1 while orders can be sent. No series without an order session.",
            ["venue"],
            one("tx", "session", "up"),
        ),
        gauge(
            "tickpath_session_standing_orders",
            "Orders that may stand at the exchange, as tx knows them.",
            ["venue"],
            one("tx", "session", "standing"),
        ),
        counter(
            "tickpath_session_events_total",
            "What the order session met: logins, connections_lost, numbers_reset, unanswered, swept, segments_repeated and others.",
            ["venue", "event"],
            each("tx", "session events"),
        ),
        gauge(
            "tickpath_open_orders",
            "Orders that stand, as strategy knows them.",
            ["venue"],
            one("strategy", "orders", "open"),
        ),
        gauge(
            "tickpath_gross_notional",
            "Worth of positions and open orders, long and short alike, in currency units.",
            ["venue"],
            gross,
        ),
        counter(
            "tickpath_order_events_total",
            "What became of orders: accepted, replaced, filled, cancelled, rejected and others.",
            ["venue", "event"],
            each("strategy", "became"),
        ),
        counter(
            "tickpath_order_events_late_total",
            "Answers that came again, or to an order that was gone. Without effect.",
            ["venue"],
            one("strategy", "orders", "late"),
        ),
        counter(
            "tickpath_order_events_impossible_total",
            "Answers that cannot be: ours and the exchange's view of an order differ.",
            ["venue"],
            one("strategy", "orders", "impossible"),
        ),
        gauge(
            "tickpath_position_shares",
            "Shares held, short negative: the 32 largest positions of a venue, by the fills since the start.",
            ["venue", "symbol"],
            positions,
        ),
        gauge("tickpath_position_instruments", "Instruments with a position.", ["venue"], held),
    ]
}

fn feed(view: &View<'_>) -> Vec<Family> {
    let venues = &view.snapshot.venues;
    let lines = |name: &'static str| {
        let of = move |v: &'_ VenueSnapshot| -> Vec<([String; 2], f64)> {
            let parse = v.stages.iter().filter(|s| s.stage == "parse").flat_map(|s| &s.figures);
            let line = |(group, figures): (&String, &BTreeMap<String, u64>)| {
                let line = group.strip_prefix("line ")?.to_owned();
                Some(([v.name.clone(), line], *figures.get(name)? as f64))
            };
            parse.filter_map(line).collect()
        };
        venues.iter().flat_map(of)
    };
    let events = venues.iter().flat_map(|v| {
        v.figures("parse", "feed").map(|(name, n)| ([v.name.clone(), name.to_owned()], n as f64)).collect::<Vec<_>>()
    });
    let silent = venues.iter().filter_map(|v| Some(([v.name.clone()], v.figure("parse", "state", "silent")? as f64)));
    const LINE: [&str; 2] = ["venue", "line"];
    vec![
        gauge("tickpath_feed_silent", "1 while no line has brought anything for too long.", ["venue"], silent),
        counter(
            "tickpath_feed_events_total",
            "What the feed and its recovery met: gaps, lost_messages, recovered_messages, snapshots, recovery_requests and others.",
            ["venue", "event"],
            events,
        ),
        counter("tickpath_line_packets_total", "Packets that a line brought.", LINE, lines("packets")),
        counter("tickpath_line_won_total", "Messages that a line brought first.", LINE, lines("won")),
        counter("tickpath_line_lost_total", "Messages that a line passed over.", LINE, lines("lost")),
        counter("tickpath_line_leads_total", "Packets of a line whose lead was timed.", LINE, lines("leads")),
        counter(
            "tickpath_line_lead_seconds_total",
            "By how much they came before the next line's; over tickpath_line_leads_total it is the mean lead.",
            LINE,
            lines("lead_ns").map(|(at, ns)| (at, seconds(ns))),
        ),
    ]
}

fn hops(view: &View<'_>) -> Vec<Family> {
    type Of = fn(&Percentiles) -> f64;
    const PERCENTILES: [(&str, Of); 7] = [
        ("0", |p| p.min),
        ("50", |p| p.p50),
        ("90", |p| p.p90),
        ("99", |p| p.p99),
        ("99.9", |p| p.p999),
        ("99.99", |p| p.p9999),
        ("100", |p| p.max),
    ];
    let hops = || view.snapshot.venues.iter().flat_map(|v| v.hops.iter().map(move |h| (v.name.clone(), h)));
    let measured = hops().filter(|(_, h)| h.interval.count > 0).flat_map(|(venue, h)| {
        PERCENTILES.map(|(at, of)| ([venue.clone(), h.hop.key().to_owned(), at.to_owned()], seconds(of(&h.interval))))
    });
    let budget = hops().flat_map(|(venue, h)| {
        [("50", h.budget_p50_ns), ("99", h.budget_p99_ns)]
            .into_iter()
            .filter_map(move |(at, ns)| Some(([venue.clone(), h.hop.key().to_owned(), at.to_owned()], seconds(ns?))))
    });
    vec![
        gauge(
            "tickpath_hop_interval_seconds",
            "Percentiles of a hop in the last interval, measured to three digits; 0 is the least and 100 the greatest. \
             No series while there were no orders.",
            ["venue", "hop", "percentile"],
            measured,
        ),
        gauge(
            "tickpath_hop_interval_values",
            "How many times of a hop the last interval has.",
            ["venue", "hop"],
            hops().map(|(venue, h)| ([venue, h.hop.key().to_owned()], h.interval.count as f64)),
        ),
        gauge(
            "tickpath_hop_budget_seconds",
            "What a hop may take by the pipeline file or the reference host.",
            ["venue", "hop", "percentile"],
            budget,
        ),
    ]
}

fn lcores(view: &View<'_>) -> Vec<Family> {
    let lcores = || view.totals.lcores.values();
    let each =
        |of: fn(&LcoreEvidence) -> Option<f64>| lcores().filter_map(move |l| Some(([l.lcore.to_string()], of(l)?)));
    let interrupts = lcores().flat_map(|l| {
        [("timer", l.timer_ticks), ("other", l.interrupts)]
            .into_iter()
            .filter_map(|(kind, n)| Some(([l.lcore.to_string(), kind.to_owned()], n? as f64)))
    });
    let named = lcores()
        .flat_map(|l| l.interrupt_names.iter().map(|(name, n)| ([l.lcore.to_string(), name.clone()], *n as f64)));
    const LCORE: [&str; 1] = ["lcore"];
    vec![
        gauge("tickpath_lcore_cpu", "CPU that an lcore last ran on.", LCORE, each(|l| l.cpu.map(f64::from))),
        counter("tickpath_lcore_polls_total", "Rounds of an lcore's poll loop.", LCORE, each(|l| Some(l.polls as f64))),
        counter(
            "tickpath_lcore_empty_polls_total",
            "Rounds of an lcore's poll loop that found nothing.",
            LCORE,
            each(|l| Some(l.empty_polls as f64)),
        ),
        counter(
            "tickpath_lcore_interrupts_total",
            "Interrupts of an lcore's CPU: its timer's, and all others.",
            ["lcore", "kind"],
            interrupts,
        ),
        counter(
            "tickpath_lcore_named_interrupts_total",
            "Interrupts of an lcore's CPU by the name in /proc/interrupts, over the intervals in which they were among \
             the most frequent.",
            ["lcore", "name"],
            named,
        ),
        counter(
            "tickpath_lcore_voluntary_switches_total",
            "Times an lcore's thread gave its CPU away: it yields, or made a system call that waits.",
            LCORE,
            each(|l| l.voluntary_switches.map(|n| n as f64)),
        ),
        counter(
            "tickpath_lcore_involuntary_switches_total",
            "Times an lcore's thread was taken off its CPU against its will.",
            LCORE,
            each(|l| l.involuntary_switches.map(|n| n as f64)),
        ),
        counter(
            "tickpath_lcore_run_queue_wait_seconds_total",
            "Time an lcore's thread was runnable and did not run.",
            LCORE,
            each(|l| l.run_queue_wait_ns.map(|ns| seconds(ns as f64))),
        ),
        counter(
            "tickpath_lcore_page_faults_total",
            "Page faults of an lcore's thread, with and without I/O.",
            LCORE,
            each(|l| l.page_faults.map(|n| n as f64)),
        ),
        counter(
            "tickpath_lcore_steal_seconds_total",
            "Time the hypervisor took from an lcore's CPU.",
            LCORE,
            each(|l| l.steal_ns.map(|ns| seconds(ns as f64))),
        ),
        counter(
            "tickpath_lcore_cache_misses_total",
            "Last-level cache load misses of an lcore's thread, where the kernel counts them.",
            LCORE,
            each(|l| l.cache_misses.map(|n| n as f64)),
        ),
    ]
}

fn host(view: &View<'_>) -> Vec<Family> {
    let host = &view.snapshot.host;
    let (mut stands, mut changed) = (BTreeMap::<_, f64>::new(), BTreeMap::<_, f64>::new());
    for fact in &host.facts {
        let labels = [fact.id.clone(), fact.severity.name().to_owned()];
        let found = stands.entry(labels.clone()).or_default();
        *found = found.max(flag(fact.stands));
        if let Some(ns) = fact.changed_ns {
            let at = changed.entry(labels).or_default();
            *at = at.max(seconds(ns as f64));
        }
    }
    const CHECK: [&str; 2] = ["id", "severity"];
    vec![
        gauge(
            "tickpath_host_check",
            "1 for what a check of the host finds now, 0 for what it found since the start and does no longer.",
            CHECK,
            stands,
        ),
        gauge(
            "tickpath_host_check_changed_timestamp_seconds",
            "When that changed last, since 1970. No series for what has stood since the start.",
            CHECK,
            changed,
        ),
        counter(
            "tickpath_host_looks_total",
            "How often the host was looked at since the start.",
            [],
            [([], host.looks as f64)],
        ),
        gauge(
            "tickpath_host_look_seconds",
            "CPU time of the last look, off the hot CPUs.",
            [],
            [([], seconds(host.look_cpu_ns as f64))],
        ),
    ]
}

fn memory(view: &View<'_>) -> Vec<Family> {
    let interval = &view.snapshot.interval;
    let links = || interval.links.iter().map(|l| ([l.venue.clone(), l.link.clone()], l));
    let pools = || interval.pools.iter().map(|p| ([p.pool.clone()], p));
    const LINK: [&str; 2] = ["venue", "link"];
    vec![
        gauge(
            "tickpath_link_slots",
            "Usable slots of a ring between two stages.",
            LINK,
            links().map(|(at, l)| (at, l.depth as f64)),
        ),
        gauge(
            "tickpath_link_fill",
            "Elements in a ring at the end of the last interval.",
            LINK,
            links().map(|(at, l)| (at, l.fill as f64)),
        ),
        gauge(
            "tickpath_link_high_water",
            "Most elements that were ever in a ring.",
            LINK,
            links().map(|(at, l)| (at, l.high_water as f64)),
        ),
        gauge("tickpath_pool_mbufs", "Mbufs of a pool.", ["pool"], pools().map(|(at, p)| (at, p.size as f64))),
        gauge(
            "tickpath_pool_in_use",
            "Mbufs of a pool that are out.",
            ["pool"],
            pools().map(|(at, p)| (at, p.in_use as f64)),
        ),
    ]
}

fn devices(view: &View<'_>) -> Vec<Family> {
    let ports = || view.totals.ports.iter().map(|(name, p)| ([name.clone()], p));
    const PORT: [&str; 1] = ["port"];
    vec![
        counter(
            "tickpath_port_missed_total",
            "Frames that found no descriptor: the lcore of rx was late.",
            PORT,
            ports().map(|(at, p)| (at, p.missed as f64)),
        ),
        counter(
            "tickpath_port_no_mbuf_total",
            "Frames that found no mbuf: the pool was empty.",
            PORT,
            ports().map(|(at, p)| (at, p.no_mbuf as f64)),
        ),
        counter(
            "tickpath_port_errors_total",
            "Frames that the device received with errors.",
            PORT,
            ports().map(|(at, p)| (at, p.errors as f64)),
        ),
        counter(
            "tickpath_port_resets_total",
            "Times that a device said it was reset.",
            PORT,
            ports().map(|(at, p)| (at, p.resets as f64)),
        ),
        counter(
            "tickpath_port_restarts_total",
            "Times that a device was started anew after it was reset or removed.",
            PORT,
            ports().map(|(at, p)| (at, p.restarts as f64)),
        ),
        counter(
            "tickpath_port_restarts_failed_total",
            "Attempts to start a device anew that failed: its venues stay paused, and it is tried again.",
            PORT,
            ports().map(|(at, p)| (at, p.restarts_failed as f64)),
        ),
        counter(
            "tickpath_port_unsent_total",
            "Frames that a device had taken and not counted as sent when it was reset. They are gone.",
            PORT,
            ports().map(|(at, p)| (at, p.unsent as f64)),
        ),
        counter(
            "tickpath_port_removals_total",
            "Times that a device said it was removed: it is started when it is there again.",
            PORT,
            ports().map(|(at, p)| (at, p.removals as f64)),
        ),
        counter(
            "tickpath_port_ctpio_total",
            "What the driver of a port by ef_vi counted of CTPIO, by its names; of the whole port, and up to a second late.",
            ["port", "counter"],
            ports()
                .flat_map(|([port], p)| p.ctpio.iter().map(move |(name, n)| ([port.clone(), name.clone()], *n as f64))),
        ),
    ]
}

/// Of ports that ef_vi drives.
fn cards(view: &View<'_>) -> Vec<Family> {
    let venues = &view.snapshot.venues;
    let events = ["rx", "tx"].into_iter().flat_map(|stage| {
        venues.iter().flat_map(move |v| {
            let of = move |(event, n): (&str, u64)| ([v.name.clone(), stage.to_owned(), event.to_owned()], n as f64);
            v.figures(stage, "card").map(of)
        })
    });
    let now = |stage: &'static str, name: &'static str| {
        venues.iter().filter_map(move |v| Some(([v.name.clone()], v.figure(stage, "card now", name)? as f64)))
    };
    let hz = view.snapshot.interval.clock.tsc_hz;
    let lag = now("tx", "lag_ticks").filter(|_| hz > 0.0).map(|(venue, ticks)| (venue, ticks / hz));
    vec![
        counter(
            "tickpath_card_events_total",
            "What ports by ef_vi met: frames sent by CTPIO or by the fallback, failed, an empty pool, stamps out of sync and others.",
            ["venue", "stage", "event"],
            events,
        ),
        gauge(
            "tickpath_card_posted_buffers",
            "Receive buffers that a card has. No series without a port by ef_vi, here and below.",
            ["venue"],
            now("rx", "posted"),
        ),
        gauge(
            "tickpath_card_outstanding_frames",
            "Frames handed to a card whose completion was not taken yet.",
            ["venue"],
            now("tx", "outstanding"),
        ),
        gauge(
            "tickpath_card_completion_lag_seconds",
            "The longest time since the start from the doorbell to the completion's being taken.",
            ["venue"],
            lag,
        ),
    ]
}

fn clock(view: &View<'_>) -> Vec<Family> {
    let clock = &view.snapshot.interval.clock;
    let fitted = clock.tsc_hz > 0.0;
    let independent = clock.independent_ppm.map(|ppm| ([clock.independent.clone().unwrap_or_default()], ppm / 1e6));
    vec![
        gauge(
            "tickpath_clock_tsc_hertz",
            "Ticks of the TSC in a second, fitted against CLOCK_MONOTONIC_RAW.",
            [],
            fitted.then_some(([], clock.tsc_hz)),
        ),
        gauge(
            "tickpath_clock_error_ratio",
            "How far off that fit may be.",
            [],
            fitted.then_some(([], clock.error_ppm / 1e6)),
        ),
        gauge(
            "tickpath_clock_verified",
            "1 when a clock independent of the TSC could be asked about its rate; 0: the rate is unverified. A clock is asked only \
             once it has run evenly, and at about the rate of time, for eight readings.",
            [],
            fitted.then_some(([], flag(clock.independent_ppm.is_some()))),
        ),
        gauge(
            "tickpath_clock_independent_ratio",
            "How far the TSC's rate is off by that clock.",
            ["clock"],
            independent,
        ),
        gauge(
            "tickpath_clock_device_synchronised",
            "1 when the stamps of a device's clock can be put on the TSC; while it is 0, wire_rx has no times.",
            ["port"],
            clock.devices.iter().map(|d| ([d.port.clone()], flag(d.residual_ns.is_some()))),
        ),
        gauge(
            "tickpath_clock_device_residual_seconds",
            "How wrong a stamp of a device's clock may come out on the TSC.",
            ["port"],
            clock.devices.iter().filter_map(|d| Some(([d.port.clone()], seconds(d.residual_ns?)))),
        ),
        gauge(
            "tickpath_clock_warnings",
            "What is wrong with the clock, as a number; /status has the sentences.",
            [],
            [([], clock.warnings.len() as f64)],
        ),
    ]
}

fn recorder(view: &View<'_>) -> Vec<Family> {
    let r = &view.snapshot.recorder;
    vec![
        counter("tickpath_recorder_records_total", "Records taken from the rings.", [], [([], r.records as f64)]),
        counter(
            "tickpath_recorder_lost_total",
            "Records lost: their ring was full, or the disk was full or slow.",
            ["cause"],
            [("ring", r.lost_ring), ("disk", r.lost_disk)].map(|(cause, n)| ([cause.to_owned()], n as f64)),
        ),
        counter("tickpath_recorder_written_bytes_total", "Bytes of trace written.", [], [([], r.bytes as f64)]),
        counter("tickpath_recorder_files_total", "Trace files begun.", [], [([], r.files as f64)]),
    ]
}

fn counter<const N: usize>(
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    samples: impl IntoIterator<Item = ([String; N], f64)>,
) -> Family {
    family(name, Kind::Counter, help, labels, samples)
}

fn gauge<const N: usize>(
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    samples: impl IntoIterator<Item = ([String; N], f64)>,
) -> Family {
    family(name, Kind::Gauge, help, labels, samples)
}

fn family<const N: usize>(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: [&'static str; N],
    samples: impl IntoIterator<Item = ([String; N], f64)>,
) -> Family {
    let samples = samples.into_iter().map(|(values, value)| (values.to_vec(), value)).collect();
    Family { name, kind, help, labels: labels.to_vec(), samples }
}

fn seconds(ns: f64) -> f64 {
    ns / 1e9
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

impl From<Family> for MetricFamily {
    fn from(family: Family) -> MetricFamily {
        let labelled = |values: Vec<String>| {
            let pair = |(name, value): (&&str, String)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value);
                pair
            };
            Metric::from_label(family.labels.iter().zip(values).map(pair).collect())
        };
        let metrics = family.samples.into_iter().map(|(values, value)| {
            let mut metric = labelled(values);
            match family.kind {
                Kind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                Kind::Gauge => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        let mut out = MetricFamily::default();
        out.set_name(family.name.to_owned());
        out.set_help(family.help.to_owned());
        out.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        out.set_metric(metrics.collect());
        out
    }
}
