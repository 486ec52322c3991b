//! What `tickpath report` says of traces whose content is known, held against figures computed here from the records.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/traces.rs"]
mod traces;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tickpath::latency::hop::Hop;
use tickpath::latency::interval::{ClockEvidence, DeviceClockEvidence, Interval, LcoreEvidence, LinkEvidence};
use tickpath::latency::record::Record;
use tickpath::latency::trace::{ClockFit, Header, Rotation, VenueHeader, Writer};
use traces::{ACKNOWLEDGED, FILLED, SAMPLED, START, US, WIRE, header, order, trace};

fn report(args: &[&str], trace: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickpath"));
    command.arg("report").args(args).arg(trace).output().expect("the binary was built with the test")
}

fn json(trace: &Path) -> Value {
    let output = report(&["--json"], trace);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(args: &[&str], trace: &Path) -> String {
    let output = report(args, trace);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn hop<'v>(venue: &'v Value, name: &str) -> &'v Value {
    let hops = venue["hops"].as_array().unwrap();
    hops.iter().find(|hop| hop["hop"] == name).unwrap_or_else(|| panic!("no {name} in {venue}"))
}

/// Orders a millisecond apart whose hops are all different and in no order.
fn scattered(count: u64) -> Vec<Record> {
    let spans = |i: u64| [7919, 104_729, 1_299_709, 15_485_863, 49_979_687].map(|prime| 200 + i * prime % 5000);
    (0..count).map(|i| order(i + 1, START + (i + 1) * 1000 * US, spans(i))).collect()
}

/// The value that `share` of the values do not exceed.
fn percentile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
    values[rank - 1] as f64
}

#[test]
fn percentiles_are_those_of_the_records_and_shares_add_up() {
    let records = scattered(20_000);
    let folder = trace(header(&[]), &records, &[]);
    let report = json(folder.path());
    let venue = &report["runs"][0]["venues"][0];
    type Span = (&'static str, fn(&Record) -> u64);
    let spans: [Span; 6] = [
        ("rx_parsed", |r| r.parsed_tsc - r.rx_tsc),
        ("parsed_book", |r| r.book_tsc - r.parsed_tsc),
        ("book_decided", |r| r.decided_tsc - r.book_tsc),
        ("decided_encoded", |r| r.encoded_tsc - r.decided_tsc),
        ("encoded_doorbell", |r| r.doorbell_tsc - r.encoded_tsc),
        ("rx_doorbell", |r| r.doorbell_tsc - r.rx_tsc),
    ];
    for (name, span) in spans {
        let mut values: Vec<u64> = records.iter().map(span).collect();
        let found = hop(venue, name);
        assert_eq!(found["count"], 20_000);
        let shares =
            [("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0)];
        for (key, share) in shares {
            // Two ticks are a nanosecond; three digits are kept.
            let expected = percentile(&mut values, share) / 2.0;
            let ns = found[key].as_f64().unwrap();
            assert!((ns / expected - 1.0).abs() < 2e-3, "{name} {key}: {ns} is not {expected}");
        }
    }
    let shares: f64 = venue["hops"].as_array().unwrap().iter().filter_map(|hop| hop["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert_eq!(hop(venue, "rx_doorbell")["share"], Value::Null);
    let medians = venue["waterfalls"].as_array().unwrap();
    let mut totals: Vec<u64> = records.iter().map(|r| r.doorbell_tsc - r.rx_tsc).collect();
    for (waterfall, share) in medians.iter().zip([0.5, 0.99]) {
        let (total, expected) = (waterfall["total_ns"].as_f64().unwrap(), percentile(&mut totals, share) / 2.0);
        assert!((total / expected - 1.0).abs() < 0.03, "{total} is not near {expected}");
    }
}

#[test]
fn the_hop_that_breaks_its_budget_is_named_first_and_marked() {
    let mut records: Vec<Record> = (0..1000).map(|i| order(i + 1, START + i * US, [200, 200, 200, 200, 200])).collect();
    let budget = Hop::SOFTWARE.map(|hop| (hop, 110.0, 120.0));
    let budget = [budget.as_slice(), &[(Hop::RxDoorbell, 520.0, 600.0)]].concat();
    let folder = trace(header(&budget), &records, &[]);
    let run = &json(folder.path())["runs"][0];
    assert_eq!(run["verdict"]["headline"], "Every hop is within its budget.");
    assert_eq!(run["caveats"].as_array().unwrap().len(), 0, "{}", run["caveats"]);

    // Half of the orders take 300 ns more in one hop.
    for (i, record) in records.iter_mut().enumerate().filter(|(i, _)| i % 2 == 0) {
        *record = order(i as u64 + 1, record.rx_tsc, [200, 200, 800, 200, 200]);
    }
    let folder = trace(header(&budget), &records, &[]);
    let run = &json(folder.path())["runs"][0];
    let exceeded: Vec<(&str, &str)> = run["verdict"]["exceeded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["hop"].as_str().unwrap(), e["figure"].as_str().unwrap()))
        .collect();
    assert_eq!(exceeded, [("book_decided", "p99"), ("rx_doorbell", "p99")]);
    let said = text(&[], folder.path());
    let headline =
        "Over budget: book→decided p99 of nasdaq is 400 ns, promised 120 ns, and 1 more figure is over budget.";
    assert!(said.contains(headline), "{said}");
    let marked: Vec<&str> = said.lines().skip(4).filter(|line| line.contains(" !")).collect();
    assert!(marked.len() == 2 && marked[0].starts_with("book→decided"), "{said}");

    // A 99th percentile of fewer than 100 values is nobody's.
    let folder = trace(header(&budget), &records[1..100], &[]);
    assert!(text(&[], folder.path()).contains("Every hop is within its budget."));
    let folder = trace(header(&[]), &records, &[]);
    assert!(text(&[], folder.path()).contains("No budget is stated"));
}

#[test]
fn wire_to_rx_is_a_number_only_where_the_stamp_is_of_the_hosts_clock() {
    let mut records = scattered(200);
    records.iter_mut().for_each(|record| (record.stamp, record.stamp_domain) = (record.rx_tsc - 700, 2));
    let folder = trace(header(&[]), &records, &[]);
    let report = json(folder.path());
    let venue = &report["runs"][0]["venues"][0];
    assert_eq!((&venue["wire"], &hop(venue, "wire_rx")["count"]), (&"measured".into(), &200.into()));
    let p50 = hop(venue, "wire_rx")["p50"].as_f64().unwrap();
    assert!((p50 / 350.0 - 1.0).abs() < 2e-3, "{p50}");

    records.iter_mut().for_each(|record| record.stamp_domain = 1);
    let folder = trace(header(&[]), &records, &[]);
    let report = json(folder.path());
    let venue = &report["runs"][0]["venues"][0];
    assert_eq!(venue["wire"], "unsynchronised");
    assert!(venue["hops"].as_array().unwrap().iter().all(|hop| hop["hop"] != "wire_rx"));
    let said = text(&[], folder.path());
    let line = said.lines().find(|line| line.starts_with("wire→rx")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["wire→rx", "unsynchronised"]);
    assert!(said.contains("warning: nasdaq: wire→rx is unsynchronised"));

    // The device's clock was fitted after the first fifty.
    records.iter_mut().skip(50).for_each(|record| record.stamp_domain = 3);
    let device = |ns| DeviceClockEvidence { port: "feed".into(), residual_ns: ns };
    let clock = |ns| ClockEvidence { devices: vec![device(ns)], ..ClockEvidence::default() };
    let interval = |ns| Interval { clock: clock(ns), ..Interval::default() };
    let folder = trace(header(&[]), &records, &[interval(None), interval(Some(80.0)), interval(Some(25.0))]);
    let report = json(folder.path());
    assert_eq!(hop(&report["runs"][0]["venues"][0], "wire_rx")["count"], 150);
    let said = text(&[], folder.path());
    assert!(said.contains("wire→rx leaves out 50 packets from before the device's clock was fitted"), "{said}");
    assert!(said.contains("stamps of the clock of port feed are up to 80.0 ns wrong on the host's"), "{said}");
}

#[test]
fn orders_stamped_at_both_ends_only_have_their_whole_time_and_no_hop() {
    let ends = |i: u64| {
        let whole = order(i + 1, START + i * US, [200 + i; 5]);
        Record { parsed_tsc: 0, book_tsc: 0, decided_tsc: 0, encoded_tsc: 0, ..whole }
    };
    let folder = trace(header(&[]), &(0..200).map(ends).collect::<Vec<_>>(), &[]);
    let report = json(folder.path());
    let (run, venue) = (&report["runs"][0], &report["runs"][0]["venues"][0]);
    let hops: Vec<&str> = venue["hops"].as_array().unwrap().iter().map(|hop| hop["hop"].as_str().unwrap()).collect();
    assert_eq!((hops, &venue["orders"], &venue["negative"]), (vec!["rx_doorbell"], &200.into(), &0.into()));
    assert_eq!((&run["slowest"][0]["total_ns"], &run["slowest"][0]["hops_ns"]), (&997.5.into(), &Value::Null));
    let out = folder.path().join("page.html");
    let said = text(&["--html", out.to_str().unwrap(), "--csv", "-"], folder.path());
    assert!(said.lines().nth(1).unwrap().ends_with(",,,,,,500.0,"), "{said}");
}

#[test]
fn answers_are_joined_to_their_orders_by_venue_and_order_id() {
    let mut header = header(&[]);
    header.venues.push(VenueHeader { name: "iex".into(), ..VenueHeader::default() });
    let sent = order(7, START + US, [200; 5]);
    let answer = |kind, venue, order_id, ticks: u64| Record {
        kind,
        venue,
        order_id,
        rx_tsc: sent.doorbell_tsc + ticks,
        ..Record::default()
    };
    let records = [
        sent,
        Record { venue: 1, ..sent },
        answer(WIRE, 0, 7, 0),
        // A fill answers nothing that was asked.
        answer(FILLED, 1, 7, 5000),
        answer(ACKNOWLEDGED, 1, 7, 9000),
        answer(ACKNOWLEDGED, 0, 7, 4000),
        answer(FILLED, 0, 7, 50_000),
        answer(ACKNOWLEDGED, 0, 8, 1),
        answer(9, 0, 7, 1),
        answer(ACKNOWLEDGED, 5, 7, 1),
    ];
    let folder = trace(header, &records, &[]);
    let report = json(folder.path());
    let run = &report["runs"][0];
    for (venue, ns, unmatched) in [(0, 2000.0, 1), (1, 4500.0, 0)] {
        let venue = &run["venues"][venue];
        let ack = hop(venue, "doorbell_ack");
        assert_eq!((&ack["count"], &venue["answers_unmatched"]), (&1.into(), &unmatched.into()));
        assert!((ack["p50"].as_f64().unwrap() / ns - 1.0).abs() < 2e-3, "{ack}");
    }
    let counts =
        ["sent", "wire", "acknowledged", "filled", "unknown"].map(|kind| run["records"][kind].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 3, 2, 2]);
}

#[test]
fn packets_without_an_order_have_a_line_of_their_own_and_change_no_hop() {
    let mut records = scattered(300);
    let sampled = |i: u64| Record { kind: SAMPLED, order_id: 0, ..order(0, START + i * US, [100, 300, 600, 0, 0]) };
    records.extend((0..500).map(sampled));
    // An order that no packet caused, and one whose stamps disagree.
    records.push(Record { rx_tsc: 0, parsed_tsc: 0, book_tsc: 0, ..order(900, START + US, [200; 5]) });
    records.push(Record { parsed_tsc: START, ..order(901, START + US, [200; 5]) });
    let folder = trace(header(&[]), &records, &[]);
    let report = json(folder.path());
    let (run, venue) = (&report["runs"][0], &report["runs"][0]["venues"][0]);
    assert_eq!((&venue["sampled"]["rx_decided"]["count"], &venue["orders"]), (&500.into(), &300.into()));
    assert_eq!((&run["records"]["uncaused"], &venue["negative"]), (&1.into(), &1.into()));
    let p50 = venue["sampled"]["rx_decided"]["p50"].as_f64().unwrap();
    assert!((p50 / 500.0 - 1.0).abs() < 2e-3, "{p50}");
    let said = text(&[], folder.path());
    assert!(
        said.contains("sampled packets, 1 in 64: rx→decided") && said.contains("1 orders have stamps out of order"),
        "{said}"
    );
}

#[test]
fn the_slowest_orders_are_shown_with_what_was_near_them() {
    let mut records = scattered(5000);
    let slow = Record {
        burst_size: 32,
        burst_position: 11,
        occupancy: [900, 0, 0, 0],
        side: 1,
        ..order(4711, START + 4_000_500 * US, [2000, 40_000_000, 300, 300, 300])
    };
    records.insert(4000, slow);
    let interval = |second: u64, switches| Interval {
        from_tsc: START + second * 1_000_000 * US,
        to_tsc: START + (second + 1) * 1_000_000 * US,
        lcores: vec![
            LcoreEvidence { lcore: 3, cpu: Some(1), involuntary_switches: Some(switches), ..LcoreEvidence::default() },
            // Not of this venue.
            LcoreEvidence { lcore: 9, interrupts: Some(1_000_000), ..LcoreEvidence::default() },
        ],
        links: vec![LinkEvidence {
            venue: "nasdaq".into(),
            link: "rx_parse".into(),
            depth: 1024,
            fill: 0,
            high_water: 1000,
        }],
        ..Interval::default()
    };
    let folder = trace(header(&[]), &records, &[interval(3, 1), interval(4, 23), interval(5, 2)]);
    let report = json(folder.path());
    let slowest = report["runs"][0]["slowest"].as_array().unwrap();
    assert_eq!((slowest.len(), &slowest[0]["order_id"]), (10, &4711.into()));
    let mut totals: Vec<u64> = records.iter().map(|r| r.doorbell_tsc - r.rx_tsc).collect();
    totals.sort_unstable_by(|a, b| b.cmp(a));
    let shown: Vec<f64> = slowest.iter().map(|trade| trade["total_ns"].as_f64().unwrap()).collect();
    assert_eq!(shown, totals[..10].iter().map(|ticks| *ticks as f64 / 2.0).collect::<Vec<_>>());
    let facts = slowest[0]["near"]["facts"].as_array().unwrap();
    assert_eq!(facts[0], "lcore 3 on CPU 1 in 1.000 s: 23 involuntary switches");
    assert_eq!(facts[1], "ring rx_parse has been up to 1000 of 1024 full since the start");
    assert_eq!(facts.len(), 2);
    let said = text(&["--slowest", "1"], folder.path());
    for expected in [
        "1. 20.0 ms nasdaq, enter sell 100 AAPL @ 187.23, order 4711, 4.000500 s into the run",
        "packet 12 of a burst of 32; waiting in rings: rx→parse 900 of 1,024",
        "lcore 3 on CPU 1 in 1.000 s: 23 involuntary switches",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(!said.contains("\n2. ") && !text(&["--slowest", "0"], folder.path()).contains("slowest orders"));
}

#[test]
fn what_stands_against_the_figures_is_said_at_the_top() {
    let clock = ClockEvidence { warnings: vec!["the TSC is no constant one".into()], ..ClockEvidence::default() };
    let interval = Interval { records_lost: 12, clock, ..Interval::default() };
    let header =
        Header { oversubscribed: true, clock: ClockFit { verified: false, ..header(&[]).clock }, ..header(&[]) };
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 30_000, ..Rotation::default() };
    let mut writer = Writer::create(folder.path(), header, rotation).unwrap();
    for chunk in scattered(1000).chunks(100) {
        writer.records(chunk);
        writer.interval(&interval);
    }
    // Killed: no end of the run.
    drop(writer);
    let file = |number: u32| folder.path().join(format!("20260102T030405Z-7-{number:04}.tptrace"));
    std::fs::remove_file(file(1)).unwrap();
    let mut bytes = std::fs::read(file(2)).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(file(2), bytes).unwrap();
    let said = text(&[], folder.path());
    let warnings: Vec<&str> = said.lines().take_while(|line| !line.is_empty()).collect();
    for expected in [
        "Oversubscribed: these times say nothing about the pipeline. No budget is stated",
        "warning: oversubscribed: there were fewer CPUs than lcores",
        "warning: rate unverified: no clock but the TSC's own vouches for its rate",
        "warning: clock: the TSC is no constant one",
        "records were lost by the recorder",
        "bytes of the files are damaged: 100 records are lost",
        "warning: files 1 of the run are missing: 200 records",
        "warning: the run has no end",
    ] {
        assert!(warnings.iter().any(|line| line.contains(expected)), "{expected}\n{said}");
    }
    let report = json(folder.path());
    assert_eq!(report["runs"][0]["venues"][0]["orders"], 700);
    assert_eq!(report["runs"][0]["losses"]["damaged"], 100);
    assert_eq!(report["runs"][0]["losses"]["missing"], 200);
}

#[test]
fn the_last_fit_of_the_clock_holds_for_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), header(&[]), Rotation::default()).unwrap();
    writer.records(&[order(1, START + US, [4000; 5])]);
    writer.clock(&ClockFit { tsc_hz: 4e9, verified: true, ..header(&[]).clock });
    writer.finish();
    let report = json(folder.path());
    let ns = report["runs"][0]["slowest"][0]["total_ns"].as_f64().unwrap();
    assert_eq!((ns, &report["runs"][0]["clock"]["tsc_hz"]), (5000.0, &4e9.into()));
}

#[test]
fn figures_over_the_run_show_when_something_changed() {
    // Ten seconds; from the sixth on, one hop takes twice its time.
    let spans = |i: u64| if i < 5000 { [1000; 5] } else { [1000, 1000, 2000, 1000, 1000] };
    let records: Vec<Record> = (0..10_000).map(|i| order(i + 1, START + i * 1000 * US, spans(i))).collect();
    let folder = trace(header(&[]), &records, &[]);
    let series = &json(folder.path())["runs"][0]["venues"][0]["series"];
    let points = series["points"].as_array().unwrap();
    let slice = series["slice_seconds"].as_f64().unwrap();
    assert!((60..=128).contains(&points.len()), "{}", points.len());
    let (mut orders, mut slow) = (0, 0);
    for point in points {
        let decided = &point["hops"]["book_decided"];
        orders += decided["count"].as_u64().unwrap();
        let (at, p50) = (point["at_seconds"].as_f64().unwrap(), decided["p50"].as_f64().unwrap());
        if !(5.0 - slice..5.0).contains(&at) {
            let expected = if at < 5.0 { 500.0 } else { 1000.0 };
            assert!((p50 / expected - 1.0).abs() < 0.01, "{p50} at {at}");
            slow += u32::from(at >= 5.0);
        }
    }
    assert!(orders == 10_000 && slow > 30);
}

#[test]
fn every_output_is_made_of_a_trace_without_a_record_too() {
    let folder = trace(header(&[]), &[], &[]);
    let out = tempfile::tempdir().unwrap();
    let [page, rows] = ["page.html", "rows.csv"].map(|name| out.path().join(name).to_str().unwrap().to_owned());
    assert!(text(&["--html", &page, "--csv", &rows], folder.path()).contains("No order was measured."));
    assert!(std::fs::read_to_string(&page).unwrap().contains("No order was measured."));
    assert_eq!(std::fs::read_to_string(&rows).unwrap(), "");
    assert_eq!(json(folder.path())["runs"][0]["venues"][0]["orders"], 0);
}
