//! What is shipped for Grafana and Prometheus, and the list of metrics, against the metrics that there are.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/state.rs"]
mod state;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tickpath::latency::hop::Hop;
use tickpath::serve::{HOP, Kind, Metrics, catalogue};

fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap()
}

/// Names of an exposition with their labels.
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new(&["nasdaq", "iex"]);
    metrics.observe(0, Hop::RxDoorbell, 18_000.0);
    metrics.publish(Arc::new(state::running()));
    let exposition = metrics.exposition();
    let mut exposed = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, labels) in exposition.lines().filter(|l| !l.starts_with('#')).flat_map(uses) {
        exposed.entry(name).or_default().extend(labels);
    }
    exposed
}

/// Metrics in an expression, with the labels that are matched right behind each.
fn uses(expression: &str) -> Vec<(String, Vec<String>)> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("tickpath_") {
        let name: String = expression[at..].chars().take_while(|c| part_of_name(*c)).collect();
        let behind = &expression[at + name.len()..];
        let matchers = behind.strip_prefix('{').and_then(|inside| Some(inside.split_once('}')?.0)).unwrap_or("");
        // No value that is matched holds a comma.
        let label = |matcher: &str| matcher.split(['=', '!']).next().unwrap().trim().to_owned();
        found.push((name, matchers.split(',').map(label).filter(|label| !label.is_empty()).collect()));
    }
    found
}

/// Every metric of `expression` is exposed, and so is every label of it. `instance` and `job` are Prometheus's own.
fn assert_exposed(expression: &str, exposed: &BTreeMap<String, BTreeSet<String>>) {
    for (name, labels) in uses(expression) {
        let known = exposed.get(&name).unwrap_or_else(|| panic!("no metric {name}: {expression}"));
        for label in labels {
            let own = ["instance", "job"].contains(&label.as_str());
            assert!(own || known.contains(&label), "{name} has no label {label}: {expression}");
        }
    }
}

/// Every text below `value` that is an expression of the query language.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner {
                    Value::String(text) if key == "expr" || key == "definition" => found.push(text.clone()),
                    _ => expressions(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| expressions(inner, found)),
        _ => {}
    }
}

fn dashboard() -> Vec<String> {
    let mut found = Vec::new();
    expressions(&serde_json::from_str(&text("dashboards/tickpath.json")).unwrap(), &mut found);
    found
}

fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Some(child) = common::tool(&mut command, "prometheus") else { return };
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_metric_of_dashboard_and_alerts_exists() {
    let exposed = exposed();
    let dashboard = dashboard();
    assert!(dashboard.len() > 30, "{}", dashboard.len());
    dashboard.iter().for_each(|expression| assert_exposed(expression, &exposed));
    let alerts = text("dashboards/alerts.yml");
    let rules: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(rules.len(), alerts.matches("- alert: ").count());
    rules.iter().for_each(|rule| assert_exposed(rule, &exposed));
    let tests = text("dashboards/alerts.test.yml");
    let series: Vec<&str> = tests.lines().filter_map(|line| line.trim().strip_prefix("- series: ")).collect();
    assert!(series.len() > 10);
    series.iter().for_each(|series| assert_exposed(series, &exposed));
}

#[test]
fn every_metric_is_on_the_dashboard_or_said_not_to_be() {
    // Of no use in a curve: what they say stands beside the curves, or selects them.
    const ELSEWHERE: [&str; 16] = [
        "tickpath_run_info",
        "tickpath_interval_seconds",
        "tickpath_oversubscribed",
        "tickpath_misplaced_pages",
        "tickpath_ended",
        "tickpath_stage_outgoing_total",
        "tickpath_stage_held",
        "tickpath_stage_info",
        "tickpath_hop_interval_values",
        "tickpath_lcore_cpu",
        "tickpath_host_check_changed_timestamp_seconds",
        "tickpath_host_looks_total",
        "tickpath_host_look_seconds",
        "tickpath_clock_tsc_hertz",
        "tickpath_recorder_written_bytes_total",
        "tickpath_recorder_files_total",
    ];
    let shown: BTreeSet<String> = dashboard().iter().flat_map(|e| uses(e)).map(|(name, _)| name).collect();
    let missing: Vec<&str> = catalogue().iter().map(|f| f.name).filter(|name| !shown.contains(*name)).collect();
    assert_eq!(missing, ELSEWHERE);
}

#[test]
fn promtool_accepts_the_rules_and_they_fire_when_they_should() {
    let rules = shipped("dashboards/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    let tests = shipped("dashboards/alerts.test.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()]);
}

#[test]
fn promtool_accepts_every_query_of_the_dashboard() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let queries = dashboard().into_iter().filter(|query| !query.starts_with("label_values("));
    for (i, query) in queries.enumerate() {
        let query = query.replace("$__rate_interval", "1m").replace('\'', "''");
        writeln!(rules, "      - record: query:{i}\n        expr: '{query}'").unwrap();
    }
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()]);
}

#[test]
fn the_dashboard_has_panels_that_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&text("dashboards/tickpath.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && at("x") + at("w") <= 24, "{}", panel["title"]);
        for (x, y) in (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))) {
            assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
        }
    }
}

#[test]
fn the_list_of_metrics_is_that_of_the_program() {
    let mut table = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    let (name, help, labels) = HOP;
    let mut row = |name: &str, kind: &str, labels: &[&str], help: &str| {
        let base = name.strip_suffix("_total").unwrap_or(name);
        let unit = ["seconds", "bytes", "ratio", "hertz"].into_iter().find(|unit| base.ends_with(unit)).unwrap_or("");
        writeln!(table, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", ")).unwrap();
    };
    row(name, "histogram", &labels, help);
    for family in catalogue() {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        row(family.name, kind, &family.labels, family.help);
    }
    assert!(text("docs/metrics.md").contains(&table), "docs/metrics.md must hold this table:\n\n{table}");
}
