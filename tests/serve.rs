//! What Prometheus and `tickpath top` read: every number is there, promtool has no complaint, and a histogram is what an
//! independent count says.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/state.rs"]
mod state;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tickpath::latency::hop::Hop;
use tickpath::latency::snapshot::Snapshot;
use tickpath::serve::{BUCKETS, Metrics, Server};

const VENUES: [&str; 2] = ["nasdaq", "iex"];

fn full() -> Metrics {
    let metrics = Metrics::new(&VENUES);
    metrics.publish(Arc::new(state::running()));
    metrics.observe(0, Hop::RxDoorbell, 18_000.0);
    metrics
}

/// Every sample: the name with its labels as written, and the value.
fn samples(exposition: &str) -> BTreeMap<String, f64> {
    let lines = exposition.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let mut samples = BTreeMap::new();
    for (name, value) in parsed {
        assert_eq!(samples.insert(name.clone(), value), None, "{name} is there twice");
    }
    samples
}

#[test]
fn promtool_has_no_complaint() {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Some(mut child) = common::tool(&mut command, "prometheus") else { return };
    child.stdin.take().unwrap().write_all(full().exposition().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn every_number_of_a_snapshot_is_served() {
    // Every number becomes another one, so that a value found is the value of that field and of no other.
    let mut json = serde_json::to_value(state::running()).unwrap();
    let mut expected = Vec::new();
    renumber(&mut json, "", &mut expected);
    assert!(expected.len() > 100, "{}", expected.len());
    let snapshot: Snapshot = serde_json::from_value(json).unwrap();
    let metrics = Metrics::new(&VENUES);
    let hz = snapshot.interval.clock.tsc_hz;
    metrics.publish(Arc::new(snapshot));
    let served: Vec<f64> = samples(&metrics.exposition()).into_values().collect();
    for (path, value) in expected {
        let value = if path.ends_with(".lag_ticks") { value / hz } else { value };
        let close = |found: &f64| (found - value).abs() <= value.abs() * 1e-12;
        assert!(served.iter().any(close), "{path} = {value} is not served");
    }
}

/// Gives every number below `value` one of its own and says what it should be served as.
fn renumber(value: &mut Value, path: &str, expected: &mut Vec<(String, f64)>) {
    // TSC values are of no use outside; the histograms have `total`; `recorder` counts records since the start.
    const NOT_SERVED: [&str; 5] = [".from_tsc", ".to_tsc", ".total", ".interval.records", ".interval.records_lost"];
    // Labels, not values.
    const LABELS: [&str; 1] = [".lcore"];
    if NOT_SERVED.iter().chain(&LABELS).any(|end| path.ends_with(end)) {
        return;
    }
    match value {
        Value::Object(map) => {
            map.iter_mut().for_each(|(key, inner)| renumber(inner, &format!("{path}.{key}"), expected));
        }
        Value::Array(list) => {
            list.iter_mut().enumerate().for_each(|(i, inner)| renumber(inner, &format!("{path}[{i}]"), expected));
        }
        Value::Number(_) => {
            let number = 10_007 + 3 * expected.len() as u64;
            *value = number.into();
            let of_hop = path.contains(".hops[") && !path.ends_with(".count");
            let unit = match () {
                () if path.ends_with("_ns") || of_hop => 1e-9,
                () if path.ends_with("_ppm") => 1e-6,
                // Prices are in 1/10,000.
                () if path.ends_with(".gross") => 1e-4,
                () => 1.0,
            };
            expected.push((path.to_owned(), number as f64 * unit));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn samples_carry_the_labels_and_units_that_a_query_needs() {
    let served = samples(&full().exposition());
    for (name, value) in [
        (r#"tickpath_orders_total{venue="iex"}"#, 61_000.0),
        (r#"tickpath_stage_dropped_total{venue="nasdaq",stage="strategy",unit="orders",reason="risk"}"#, 41.0),
        (r#"tickpath_stage_dropped_total{venue="iex",stage="strategy",unit="orders",reason="no_room"}"#, 0.0),
        (r#"tickpath_stage_info{venue="iex",stage="tx",lcore="10"}"#, 1.0),
        (r#"tickpath_killed{venue="iex",reason="session lost"}"#, 0.0),
        (r#"tickpath_session_up{venue="iex"}"#, 1.0),
        (r#"tickpath_gross_notional{venue="iex"}"#, 123_456.0),
        (r#"tickpath_position_shares{venue="iex",symbol="AAPL"}"#, -300.0),
        (r#"tickpath_line_won_total{venue="iex",line="B"}"#, 250.0),
        (r#"tickpath_hop_interval_seconds{venue="nasdaq",hop="rx_doorbell",percentile="50"}"#, 18e-6),
        (r#"tickpath_hop_budget_seconds{venue="iex",hop="rx_doorbell",percentile="99"}"#, 36e-6),
        (r#"tickpath_lcore_interrupts_total{lcore="1",kind="timer"}"#, 1.0),
        (r#"tickpath_lcore_named_interrupts_total{lcore="6",name="TLB"}"#, 3.0),
        (r#"tickpath_lcore_run_queue_wait_seconds_total{lcore="6"}"#, 0.008),
        (r#"tickpath_link_fill{venue="iex",link="rx_parse"}"#, 900.0),
        (r#"tickpath_port_missed_total{port="iex-feed"}"#, 33.0),
        (r#"tickpath_port_resets_total{port="iex-feed"}"#, 3.0),
        (r#"tickpath_port_restarts_total{port="iex-feed"}"#, 2.0),
        (r#"tickpath_port_restarts_failed_total{port="iex-feed"}"#, 5.0),
        (r#"tickpath_port_unsent_total{port="iex-feed"}"#, 7.0),
        (r#"tickpath_clock_independent_ratio{clock="realtime"}"#, -3.5e-6),
        (r#"tickpath_host_check{id="irq.irqbalance",severity="error"}"#, 1.0),
        (r#"tickpath_host_check{id="power.governor",severity="warning"}"#, 0.0),
        (r#"tickpath_host_check_changed_timestamp_seconds{id="irq.irqbalance",severity="error"}"#, 1_795_404_218.0),
        ("tickpath_host_look_seconds", 0.0031),
        ("tickpath_clock_verified", 1.0),
        (r#"tickpath_recorder_lost_total{cause="ring"}"#, 12.0),
        (r#"tickpath_alarms{kind="clock",venue="",hop=""}"#, 2.0),
        (r#"tickpath_alarms{kind="budget",venue="iex",hop="rx_parsed"}"#, 1.0),
        (r#"tickpath_hop_seconds_count{hop="wire_rx",venue="iex"}"#, 0.0),
    ] {
        let found = served.get(name).copied().unwrap_or_else(|| panic!("no {name}"));
        assert!((found - value).abs() <= value.abs() * 1e-12, "{name}: {found}, expected {value}");
    }
    let build = format!("tickpath_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(served.keys().any(|name| name.starts_with(&build)));
}

#[test]
fn what_cannot_be_known_has_no_sample() {
    let mut snapshot = state::running();
    snapshot.interval.lcores.iter_mut().for_each(|lcore| lcore.cache_misses = None);
    snapshot.interval.clock.independent_ppm = None;
    snapshot.venues[0].hops.iter_mut().for_each(|hop| hop.interval = Default::default());
    let metrics = Metrics::new(&VENUES);
    metrics.publish(Arc::new(snapshot));
    let served = samples(&metrics.exposition());
    let has = |start: &str| served.keys().any(|name| name.starts_with(start));
    assert!(!has(r#"tickpath_host_check_changed_timestamp_seconds{id="cpu.isolated""#));
    assert!(!has("tickpath_lcore_cache_misses_total") && !has("tickpath_clock_independent_ratio"));
    assert!(
        !has(r#"tickpath_hop_interval_seconds{venue="nasdaq""#) && has(r#"tickpath_hop_interval_seconds{venue="iex""#)
    );
    assert_eq!(served["tickpath_clock_verified"], 0.0);
}

#[test]
fn evidence_of_intervals_adds_up_to_counters() {
    let metrics = Metrics::new(&VENUES);
    let mut snapshot = state::running();
    for _ in 0..3 {
        snapshot.interval.to_tsc += 1;
        metrics.publish(Arc::new(snapshot.clone()));
    }
    metrics.publish(Arc::new(snapshot));
    let served = samples(&metrics.exposition());
    assert_eq!(served[r#"tickpath_lcore_polls_total{lcore="1"}"#], 27_000_000.0);
    assert_eq!(served[r#"tickpath_port_missed_total{port="iex-feed"}"#], 99.0);
    assert_eq!(served[r#"tickpath_orders_total{venue="iex"}"#], 61_000.0);
}

#[test]
fn histograms_say_what_an_independent_count_says() {
    let metrics = Metrics::new(&VENUES);
    // A walk over eight decades, from 3 ns to 2 s, and bounds themselves, which belong to their own bucket.
    let mut times: Vec<f64> = (0..5000).map(|i| 3.0 * (2e9_f64 / 3.0).powf(f64::from(i) / 4999.0)).collect();
    times.extend([100.0, 250.0, 10_000_000.0]);
    for ns in &times {
        metrics.observe(1, Hop::BookDecided, *ns);
    }
    for spoiled in [f64::NAN, -1.0] {
        metrics.observe(1, Hop::BookDecided, spoiled);
    }
    metrics.observe(2, Hop::BookDecided, 1.0);
    let served = samples(&metrics.exposition());
    let of = |part: &str| format!(r#"tickpath_hop_seconds_{part}{{hop="book_decided",venue="iex""#);
    for bound in BUCKETS {
        let name = format!("{},le=\"{bound}\"}}", of("bucket"));
        // Half a picosecond: the bound in ns is not exact in binary.
        let expected = times.iter().filter(|ns| **ns <= bound * 1e9 + 5e-4).count();
        assert_eq!(served[&name], expected as f64, "{name}");
    }
    let close = |found: f64, expected: f64| (found - expected).abs() <= expected * 1e-9;
    assert_eq!(served[&format!("{},le=\"+Inf\"}}", of("bucket"))], times.len() as f64);
    assert_eq!(served[&format!("{}}}", of("count"))], times.len() as f64);
    assert!(close(served[&format!("{}}}", of("sum"))], times.iter().sum::<f64>() * 1e-9));
    assert_eq!(served[r#"tickpath_hop_seconds_count{hop="book_decided",venue="nasdaq"}"#], 0.0);
}

#[test]
fn buckets_resolve_100_ns_to_10_ms_four_a_decade_or_better() {
    let fine: Vec<f64> = BUCKETS.into_iter().filter(|b| (100e-9..=10e-3).contains(b)).collect();
    assert_eq!((fine[0], fine[fine.len() - 1], BUCKETS[BUCKETS.len() - 1]), (100e-9, 10e-3, 1.0));
    // 10^(1/4) is 1.78.
    assert!(fine.windows(2).all(|pair| pair[1] / pair[0] <= 1.78 && pair[0] < pair[1]), "{fine:?}");
}

#[test]
fn no_observation_is_lost_to_a_scrape() {
    let metrics = Metrics::new(&VENUES);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..200_000 {
                metrics.observe(0, Hop::RxParsed, f64::from(i % 1000));
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let served = samples(&metrics.exposition());
            let count = served[r#"tickpath_hop_seconds_count{hop="rx_parsed",venue="nasdaq"}"#];
            assert_eq!(served[r#"tickpath_hop_seconds_bucket{hop="rx_parsed",venue="nasdaq",le="+Inf"}"#], count);
        }
    });
    let served = samples(&metrics.exposition());
    assert_eq!(served[r#"tickpath_hop_seconds_count{hop="rx_parsed",venue="nasdaq"}"#], 200_000.0);
}

fn server() -> Server {
    Server::start("127.0.0.1:0".parse().unwrap(), Arc::new(full()), || ()).unwrap()
}

/// The whole answer to a request, head and body.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn metrics_status_and_index_are_served_and_nothing_else() {
    let server = server();
    let (head, body) = get(server.address(), "/metrics");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.starts_with("# HELP tickpath_hop_seconds "), "{body}");
    let (head, body) = get(server.address(), "/status?pretty");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(serde_json::from_str::<Snapshot>(&body).unwrap(), state::running());
    let (head, body) = get(server.address(), "/");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(body.contains("/metrics") && body.contains("/status"), "{body}");
    for path in ["/metrics/", "/favicon.ico", "/../etc/passwd"] {
        assert!(get(server.address(), path).0.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}");
    }
}

#[test]
fn head_has_no_body_and_other_methods_are_refused() {
    let server = server();
    let head = ask(server.address(), "HEAD /status HTTP/1.1\r\nHost: here\r\n\r\n");
    let length = serde_json::to_vec(&state::running()).unwrap().len();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(&format!("content-length: {length}\r\n")),
        "{head}"
    );
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(server.address(), &format!("{method} /metrics HTTP/1.1\r\nHost: here\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
}

#[test]
fn an_address_in_use_is_named_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let Err(err) = Server::start(address, Arc::new(full()), || ()) else { panic!("it was taken") };
    assert!(err.to_string().starts_with(&format!("cannot serve metrics on {address}: ")), "{err}");
    assert!(err.help().unwrap().contains("another port"), "{err}");
}

#[test]
fn the_thread_runs_what_it_is_told_first_and_is_gone_with_the_server() {
    let first = Arc::new(AtomicBool::new(false));
    let said = first.clone();
    let metrics = Arc::new(full());
    let on_thread = move || {
        assert_eq!(std::thread::current().name(), Some("tickpath-http"));
        said.store(true, Ordering::Release);
    };
    let server = Server::start("127.0.0.1:0".parse().unwrap(), metrics.clone(), on_thread).unwrap();
    let address = server.address();
    get(address, "/");
    assert!(first.load(Ordering::Acquire));
    drop(server);
    assert_eq!(Arc::strong_count(&metrics), 1);
    assert!(TcpStream::connect(address).is_err());
}
