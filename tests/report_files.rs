//! What `tickpath report` writes beside its report: rows and a page, whole or absent, and errors that say what to do.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/traces.rs"]
mod traces;

use std::path::Path;
use std::process::{Command, Output};
use tickpath::latency::hop::Hop;
use tickpath::latency::record::Record;
use traces::{ACKNOWLEDGED, SAMPLED, START, US, header, order, trace};

fn report(args: &[&str], trace: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickpath"));
    command.arg("report").args(args).arg(trace).output().expect("the binary was built with the test")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn records() -> Vec<Record> {
    let sent = order(7, START + 10 * US, [2, 4, 6, 8, 10]);
    let due = Record { stamp: sent.rx_tsc - 100, stamp_domain: 2, order_kind: 1, side: 1, ..sent };
    let answer = Record { kind: ACKNOWLEDGED, order_id: 7, rx_tsc: sent.doorbell_tsc + 5 * US, ..Record::default() };
    let sampled = Record { kind: SAMPLED, order_id: 0, ..order(0, START + 20 * US, [20, 20, 20, 0, 0]) };
    vec![due, answer, sampled]
}

#[test]
fn csv_has_one_line_a_record_with_its_spans_in_ns() {
    let folder = trace(header(&[]), &records(), &[]);
    let output = report(&["--csv", "-"], folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert_eq!(rows.len(), 3);
    let cell = |row: usize, name: &str| rows[row][names.iter().position(|known| *known == name).unwrap()];
    let sent = [
        ("run", "20260102T030405Z-7"),
        ("kind", "sent"),
        ("venue", "nasdaq"),
        ("symbol", "AAPL"),
        ("order_id", "7"),
        ("order", "replace"),
        ("side", "sell"),
        ("price", "1872300"),
        ("sequence", "70"),
        ("rx_ns", "1767322645000010000"),
        ("burst_size", "4"),
        ("wire_rx_ns", "50.0"),
        ("rx_parsed_ns", "1.0"),
        ("parsed_book_ns", "2.0"),
        ("book_decided_ns", "3.0"),
        ("decided_encoded_ns", "4.0"),
        ("encoded_doorbell_ns", "5.0"),
        ("rx_doorbell_ns", "15.0"),
        ("doorbell_ack_ns", ""),
    ];
    for (name, value) in sent {
        assert_eq!(cell(0, name), value, "{name}");
    }
    assert_eq!(
        (cell(1, "kind"), cell(1, "doorbell_ack_ns"), cell(1, "rx_doorbell_ns")),
        ("acknowledged", "5000.0", "")
    );
    let sampled =
        [("kind", "sampled"), ("symbol", "AAPL"), ("order", ""), ("book_decided_ns", "10.0"), ("rx_doorbell_ns", "")];
    for (name, value) in sampled {
        assert_eq!(cell(2, name), value, "{name}");
    }
    // A file gets the same, and standard output the report.
    let rows = folder.path().join("rows.csv");
    let output = report(&["--csv", rows.to_str().unwrap()], folder.path());
    assert!(output.stdout.starts_with(b"run 20260102T030405Z-7: replay of itch.pcap at 1x"));
    assert_eq!(std::fs::read_to_string(rows).unwrap(), text);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let orders: Vec<Record> = (0..1000).map(|i| order(i + 1, START + i * US, [200, 300 + i, 200, 200, 200])).collect();
    let folder = trace(header(&[(Hop::ParsedBook, 100.0, 200.0)]), &orders, &[]);
    let page = folder.path().join("page.html");
    let output = report(&["--html", page.to_str().unwrap()], folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(page).unwrap();
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for elsewhere in ["http:", "https:", "<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(page.matches("<svg").count() >= 2 && page.contains("Over budget: parsed→book p50 of nasdaq is"));
    for (opened, closed) in
        [("<div", "</div>"), ("<table", "</table>"), ("<svg", "</svg>"), ("<p", "</p>"), ("<tr", "</tr>")]
    {
        let count = |tag: &str| {
            page.match_indices(tag)
                .filter(|(at, _)| !page[at + tag.len()..].starts_with(|c: char| c.is_alphanumeric()))
                .count()
        };
        assert_eq!(count(opened), page.matches(closed).count(), "{opened}");
    }
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_and_harms_no_trace() {
    let folder = trace(header(&[]), &records(), &[]);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&file).unwrap();
    let over = report(&["--csv", file.to_str().unwrap()], folder.path());
    assert_eq!(over.status.code(), Some(2), "{}", stderr(&over));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let absent = folder.path().join("absent/page.html");
    assert_eq!(report(&["--html", absent.to_str().unwrap()], folder.path()).status.code(), Some(1));
    let both = report(&["--json", "--csv", "-"], folder.path());
    assert_eq!(both.status.code(), Some(2));
    assert!(stderr(&both).contains("give --csv a file"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_trace_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let pcap = folder.path().join("itch.pcap");
    std::fs::write(&pcap, b"\xd4\xc3\xb2\xa1\x02\0\x04\0").unwrap();
    for (path, found) in [(pcap.as_path(), "is not a trace: it is a pcap capture"), (folder.path(), "no trace in")] {
        let output = report(&[], path);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains(found) && said.contains("help: name trace files (*.tptrace)"), "{said}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_that_is_not_built_in_is_said_and_leaves_no_file() {
    let folder = trace(header(&[]), &records(), &[]);
    let out = folder.path().join("rows.parquet");
    let output = report(&["--parquet", out.to_str().unwrap()], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cargo build --release --features parquet"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// The query of docs/report.md, word for word, over files of two runs.
#[cfg(feature = "parquet")]
#[test]
fn the_query_of_the_document_gives_what_the_records_say() {
    let document = include_str!("../docs/report.md");
    let query = document.split_once("```sql\n").and_then(|(_, rest)| rest.split_once("```")).expect("a query").0;
    let out = tempfile::tempdir().unwrap();
    std::fs::create_dir(out.path().join("fleet")).unwrap();
    // Two runs of 101 orders: end to end 100 + i ns, and i + 1000 of the other.
    for (run, base) in [("a", 100), ("b", 1000)] {
        let orders = (0..=100).map(|i| order(i + 1, START + i * US, [100, 2 * (base - 50 + i) - 100, 40, 40, 20]));
        let mut header = header(&[]);
        header.run = format!("20260102T030405Z-{run}");
        let folder = trace(header, &orders.collect::<Vec<_>>(), &[]);
        let file = out.path().join(format!("fleet/{run}.parquet"));
        let output = report(&["--parquet", file.to_str().unwrap()], folder.path());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let script = format!("import duckdb\nfor row in duckdb.sql('''{query}''').fetchall(): print(*row)");
    let output = Command::new("python3").args(["-c", &script]).current_dir(out.path()).output();
    let missing = match &output {
        Ok(output) => stderr(output).contains("No module named 'duckdb'"),
        Err(_) => true,
    };
    if missing {
        assert!(std::env::var_os("TICKPATH_CAPTURES_REQUIRED").is_none_or(|v| v != "1"), "python3 has no duckdb");
        println!("skipped: python3 has no duckdb; pip install duckdb");
        return;
    }
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = "20260102T030405Z-b nasdaq 101 1050.0 1099.0\n20260102T030405Z-a nasdaq 101 150.0 199.0\n";
    assert_eq!(said, expected);
}
