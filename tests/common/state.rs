//! A running pipeline's state, made by hand: two venues, one of them in trouble.

use std::collections::BTreeMap;
use tickpath::host::check::Severity;
use tickpath::latency::hop::Hop;
use tickpath::latency::interval::*;
use tickpath::latency::snapshot::*;

pub fn running() -> Snapshot {
    Snapshot {
        version: "tickpath 0.1.0 (revision 0123456789ab)".into(),
        run: "20261123T032338Z-1234".into(),
        command: "run".into(),
        plan_hash: "00c0ffee00c0ffee".into(),
        privileges: "no capabilities".into(),
        misplaced: BTreeMap::from([("arena".into(), 0), ("library".into(), 250)]),
        uptime_seconds: 3725.5,
        interval_seconds: 1.0,
        oversubscribed: false,
        ended: false,
        venues: vec![venue("nasdaq", 1, 1.0), venue("iex", 6, 2.1)],
        interval: interval(),
        recorder: RecorderSnapshot { records: 61_000, lost_ring: 12, lost_disk: 0, bytes: 7_808_000, files: 2 },
        alarms: vec![
            alarm("budget", "iex", Some(Hop::RxDoorbell), "iex rx→doorbell: p50 37.8 us, budget 18.0 us"),
            alarm("budget", "iex", Some(Hop::RxParsed), "iex rx→parsed: p50 2.1 us, budget 1.0 us"),
            alarm("recorder", "", None, "12 records lost: a ring was full"),
            alarm("clock", "", None, "the clocksource is hpet: stamps of CPUs may disagree, spans may be negative"),
            alarm("clock", "", None, "the rate is unverified"),
        ],
        host: HostSnapshot {
            looks: 372,
            look_cpu_ns: 3_100_000,
            facts: vec![
                fact("irq.irqbalance", Severity::Error, "irqbalance runs", true, Some(1_795_404_218_000_000_000)),
                fact("cpu.isolated", Severity::Warning, "CPUs 2-6 are not isolated", true, None),
                fact("power.governor", Severity::Warning, "CPU 3: powersave", false, Some(1_795_404_200_000_000_000)),
                fact("power.turbo", Severity::Information, "turbo is on", true, None),
            ],
        },
    }
}

fn fact(id: &str, severity: Severity, found: &str, stands: bool, changed_ns: Option<u64>) -> HostFact {
    HostFact { id: id.into(), severity, found: found.into(), stands, changed_ns }
}

fn alarm(kind: &str, venue: &str, hop: Option<Hop>, text: &str) -> Alarm {
    Alarm { kind: kind.into(), venue: venue.into(), hop, text: text.into() }
}

fn venue(name: &str, lcore: u32, slow: f64) -> VenueSnapshot {
    let stage = |at: u32, stage: &str, unit: &str, incoming, bursts, dropped: &[(&str, u64)]| StageSnapshot {
        stage: stage.into(),
        lcore: lcore + at,
        unit: unit.into(),
        incoming,
        outgoing: incoming - dropped.iter().map(|d| d.1).sum::<u64>() - 3,
        dropped: dropped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
        held: 3,
        bursts,
        figures: figures(stage),
    };
    let hops = Hop::SOFTWARE.into_iter().chain([Hop::RxDoorbell]).enumerate().map(|(i, hop)| {
        let budget = if hop == Hop::RxDoorbell { 18_000.0 } else { 1000.0 * (i + 1) as f64 };
        let p50 = budget * slow;
        let interval = Percentiles {
            count: 500,
            min: p50 / 2.0,
            p50,
            p90: p50 * 1.2,
            p99: p50 * 1.4,
            p999: p50 * 2.0,
            p9999: p50 * 3.0,
            max: p50 * 9.0,
        };
        let total = Percentiles { count: 61_000, ..interval };
        HopSnapshot { hop, total, interval, budget_p50_ns: Some(budget * 1.1), budget_p99_ns: Some(budget * 2.0) }
    });
    VenueSnapshot {
        name: name.into(),
        frames: 18_234_567,
        orders: 61_000,
        stages: vec![
            stage(0, "rx", "frames", 18_234_600, 9_000_000, &[("ring_full", 17), ("too_long", 0)]),
            stage(1, "parse", "frames", 18_234_580, 9_000_000, &[("foreign", 1000), ("truncated", 2)]),
            stage(2, "strategy", "orders", 61_050, 0, &[("risk", 41), ("no_room", 0)]),
            stage(3, "encode", "orders", 61_006, 0, &[("pool_empty", 0)]),
            stage(4, "tx", "orders", 61_003, 60_000, &[("kill_switch", 0)]),
        ],
        hops: hops.collect(),
        negative: 7,
        killed: Vec::new(),
        positions: BTreeMap::from([("AAPL".to_owned(), -300)]),
        held_instruments: 1,
    }
}

/// What a stage has beside its ledger: a card, a session that is up, and two lines.
fn figures(stage: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let groups: &[(&str, &[(&str, u64)])] = match stage {
        "rx" => &[("card now", &[("posted", 511)])],
        "parse" => &[
            ("state", &[("silent", 0)]),
            ("feed", &[("gaps", 3), ("recovered_messages", 40), ("snapshots", 0)]),
            ("line A", &[("packets", 900), ("won", 750), ("lost", 9), ("leads", 700), ("lead_ns", 1_400_000)]),
            ("line B", &[("packets", 890), ("won", 250), ("lost", 12), ("leads", 200), ("lead_ns", 100_000)]),
        ],
        "strategy" => &[
            ("became", &[("filled", 77), ("rejected", 2)]),
            ("orders", &[("open", 12), ("gross", 1_234_560_000), ("late", 1), ("impossible", 0)]),
        ],
        "tx" => &[
            ("session", &[("up", 1), ("standing", 13)]),
            ("session events", &[("logins", 2), ("connections_lost", 1)]),
            ("card", &[("sent by CTPIO", 90), ("sent by the fallback", 10)]),
            ("card now", &[("outstanding", 3), ("lag_ticks", 6_000)]),
        ],
        _ => &[],
    };
    let group = |figures: &[(&str, u64)]| figures.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    groups.iter().map(|(name, figures)| ((*name).to_owned(), group(figures))).collect()
}

fn interval() -> Interval {
    let lcore = |lcore: u32, polls, empty_polls| LcoreEvidence {
        lcore,
        cpu: Some(lcore + 1),
        polls,
        empty_polls,
        timer_ticks: Some(1),
        interrupts: Some(4),
        interrupt_names: BTreeMap::from([("TLB".to_owned(), 3), ("RES".to_owned(), 1)]),
        voluntary_switches: Some(6),
        involuntary_switches: Some(2),
        run_queue_wait_ns: Some(8_000_000),
        page_faults: Some(5),
        steal_ns: Some(40_000_000),
        cache_misses: Some(123_456),
    };
    let link = |venue: &str, link: &str, fill, high_water| LinkEvidence {
        venue: venue.into(),
        link: link.into(),
        depth: 1023,
        fill,
        high_water,
    };
    Interval {
        from_tsc: 1_000_000_000,
        to_tsc: 3_100_000_000,
        lcores: vec![lcore(1, 9_000_000, 8_100_000), lcore(6, 8_000_000, 400_000)],
        links: vec![
            link("nasdaq", "rx_parse", 3, 64),
            link("nasdaq", "parse_strategy", 0, 31),
            link("iex", "rx_parse", 900, 1023),
            link("iex", "encode_tx", 1, 2),
        ],
        pools: vec![PoolEvidence { pool: "feed-0".into(), in_use: 1200, size: 8191 }],
        ports: vec![
            PortEvidence {
                port: "nasdaq-feed".into(),
                ctpio: BTreeMap::from([("ctpio_success".into(), 90), ("ctpio_poison".into(), 2)]),
                ..PortEvidence::default()
            },
            PortEvidence {
                port: "iex-feed".into(),
                missed: 33,
                no_mbuf: 4,
                errors: 1,
                resets: 3,
                restarts: 2,
                restarts_failed: 5,
                unsent: 7,
                removals: 1,
                ctpio: BTreeMap::new(),
            },
        ],
        clock: ClockEvidence {
            tsc_hz: 2_100_000_321.5,
            error_ppm: 0.6,
            independent_ppm: Some(-3.5),
            independent: Some("realtime".into()),
            warnings: vec!["the clocksource is hpet".into()],
            devices: vec![
                DeviceClockEvidence { port: "nasdaq-feed".into(), residual_ns: Some(35.0) },
                DeviceClockEvidence { port: "iex-feed".into(), residual_ns: None },
            ],
        },
        host: Vec::new(),
        records: 500,
        records_lost: 12,
    }
}
