//! The whole pipeline on one lcore: packets a second beside a testpmd that merely receives or swaps addresses, and the
//! time from receive to doorbell of packets that cause orders.

use super::process::{pipelines, replay, testpmd};
use super::table::{Rounds, Row, Target, note, row};
use super::{Context, Failure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tickpath::synth::{Config, write_pcap};

pub fn throughput(context: &mut Context) -> Result<(), Failure> {
    let (rounds, seconds) = if context.quick { (2, 2) } else { (5, 3) };
    let (itch, packets) = context.itch_capture()?;
    let itch = Versus {
        what: "ITCH, 500 symbols, quoting, against rxonly",
        pipeline: "itch-1-lcore.json",
        capture: itch,
        packets,
        mode: "rxonly",
        at_least: 0.25,
        seconds,
    };
    itch.run(context, rounds)?;
    let Some(deep) = deep_capture(context)? else {
        note("DEEP is left out: TICKPATH_CAPTURES is not set");
        return Ok(());
    };
    let deep = Versus {
        what: "IEX DEEP sample, against macswap",
        pipeline: "deep-1-lcore.json",
        capture: deep,
        packets: 60_000,
        mode: "macswap",
        at_least: 0.4,
        seconds: if context.quick { 2 } else { 5 },
    };
    deep.run(context, rounds)
}

pub fn latency(context: &mut Context) -> Result<(), Failure> {
    let messages = if context.quick { 100_000 } else { 300_000 };
    let config = Config { messages, symbols: 500, ..Config::default() };
    let capture = write(context, "paced.pcap", &config)?;
    let capture = capture.display().to_string();
    let folder = context.folder.path();
    let one_by_one = one_by_one(folder)?;
    let rounds = if context.quick { 1 } else { 3 };
    let [mut paced, mut flat_out] = [(); 2].map(|()| Vec::new());
    for _ in 0..rounds {
        paced.push(Hops::of(&replay(folder, &one_by_one, &[&capture, "--speed", "1x"])?));
        flat_out.push(Hops::of(&replay(folder, "itch-1-lcore.json", &[&capture])?));
    }
    for (name, runs, target) in [
        ("paced as captured: rx to doorbell, p50", &paced, Some(Target::AtMost(1000.0))),
        ("as fast as it goes: rx to doorbell, p50", &flat_out, None),
    ] {
        let ours = Rounds::of(runs.iter().map(|hops| hops.p50));
        row(&Row { what: name, unit: "ns", ours, peer: None, target });
        let last = runs.last().expect("there is a round");
        note(&format!(
            "{} orders, bursts of {:.1} on average; p99 {:.0} ns; hops at p50: {}",
            last.orders, last.burst, last.p99, last.each
        ));
    }
    Ok(())
}

/// Everything recorded and written, beside no stamps at all; and the stamps between receive and doorbell by themselves.
pub fn cost(context: &mut Context) -> Result<(), Failure> {
    let messages = if context.quick { 100_000 } else { 300_000 };
    let config = Config { messages, symbols: 500, ..Config::default() };
    let capture = write(context, "cost.pcap", &config)?;
    let capture = capture.display().to_string();
    let folder = context.folder.path();
    let one_by_one = one_by_one(folder)?;
    let trace = folder.join("traces").display().to_string();
    let recorded = ["--trace", &trace, "--metrics", "127.0.0.1:0"];
    let rounds = if context.quick { 1 } else { 5 };
    let [mut paced, mut paced_bare, mut flat_out, mut flat_out_bare] = [(); 4].map(|()| Vec::new());
    let (mut added, mut lost) = (Vec::new(), 0);
    for _ in 0..rounds {
        let run = |pipeline: &str, options: &[&str]| {
            let arguments: Vec<&str> = [capture.as_str()].into_iter().chain(options.iter().copied()).collect();
            replay(folder, pipeline, &arguments)
        };
        let with = |options: &[&'static str]| options.iter().copied().chain(recorded).collect::<Vec<&str>>();
        let all = run(&one_by_one, &with(&["--speed", "1x"]))?;
        let ends = run(&one_by_one, &["--speed", "1x", "--end-stamps"])?;
        added.push(Hops::of(&all).p50 - Hops::of(&ends).p50);
        lost += all["recorder"]["lost_ring"].as_u64().unwrap_or(0);
        paced.push(wall_rate(&all));
        paced_bare.push(wall_rate(&run(&one_by_one, &["--speed", "1x", "--no-stamps"])?));
        flat_out.push(wall_rate(&run("itch-1-lcore.json", &with(&["--loop", "10"]))?));
        flat_out_bare.push(wall_rate(&run("itch-1-lcore.json", &["--loop", "10", "--no-stamps"])?));
    }
    let of = |rounds: Vec<f64>| Rounds::of(rounds);
    let versus = |what, ours, bare, target| {
        row(&Row { what, unit: "pkt/s", ours: of(ours), peer: Some(("--no-stamps", of(bare))), target });
    };
    versus("paced, every order recorded, traced and in metrics", paced, paced_bare, Some(Target::RatioAtLeast(0.95)));
    let what = "the same: what it adds to rx to doorbell at p50";
    row(&Row { what, unit: "ns", ours: of(added), peer: None, target: Some(Target::AtMost(100.0)) });
    versus("as fast as it goes, likewise", flat_out, flat_out_bare, None);
    note(&format!(
        "{lost} records of the paced runs were lost; the addition is against stamps of receive and doorbell alone"
    ));
    Ok(())
}

/// The shipped pipeline, receiving one packet at a time.
fn one_by_one(folder: &Path) -> Result<String, Failure> {
    let shipped = pipelines().join("itch-1-lcore.json");
    let failed = |e| Failure::Io(shipped.display().to_string(), e);
    let text = std::fs::read(&shipped).map_err(failed)?;
    let mut file: Value = serde_json::from_slice(&text).map_err(|e| Failure::Other(e.to_string()))?;
    file["venues"][0]["stages"]["rx"]["burst"] = 1.into();
    let path = folder.join("one-by-one.json");
    std::fs::write(&path, file.to_string()).map_err(failed)?;
    Ok(path.display().to_string())
}

struct Versus {
    what: &'static str,
    pipeline: &'static str,
    capture: PathBuf,
    packets: u64,
    mode: &'static str,
    at_least: f64,
    seconds: u64,
}

impl Versus {
    fn run(&self, context: &Context, rounds: usize) -> Result<(), Failure> {
        let folder = context.folder.path();
        let capture = self.capture.display().to_string();
        // Sized by a first run, so that a round lasts about as long as testpmd's.
        let trial = replay(folder, self.pipeline, &[&capture, "--loop", "10"])?;
        let laps = (rate(&trial) * self.seconds as f64 / self.packets as f64).ceil().max(1.0).to_string();
        let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = trial;
        for _ in 0..rounds {
            last = replay(folder, self.pipeline, &[&capture, "--loop", &laps])?;
            ours.push(rate(&last));
            bare.push(rate(&replay(folder, self.pipeline, &[&capture, "--loop", &laps, "--no-stamps"])?));
            theirs.push(testpmd(folder, self.mode, &self.capture, self.packets, self.seconds)?);
        }
        let target = Some(Target::RatioAtLeast(self.at_least));
        let name = format!("testpmd {}", self.mode);
        let peer = |rounds: &Vec<f64>| Some((name.as_str(), Rounds::of(rounds.iter().copied())));
        row(&Row {
            what: self.what,
            unit: "pkt/s",
            ours: Rounds::of(ours.iter().copied()),
            peer: peer(&theirs),
            target,
        });
        let ours = Rounds::of(bare.iter().copied());
        row(&Row { what: "  the same without stamps", unit: "pkt/s", ours, peer: peer(&theirs), target: None });
        let packets = last["packets"].as_f64().unwrap_or(0.0);
        let messages: f64 = sum(&last["messages"]);
        let orders: f64 = sum(&last["orders"]);
        note(&format!(
            "{:.1} messages and {:.3} orders a packet, {:.0} ns a packet; source late {} times",
            messages / packets,
            orders / packets,
            1e9 / rate(&last),
            late(&last)
        ));
        Ok(())
    }
}

/// What a summary says of the way from receive to doorbell.
struct Hops {
    orders: u64,
    p50: f64,
    p99: f64,
    burst: f64,
    each: String,
}

impl Hops {
    fn of(summary: &Value) -> Hops {
        let rows = summary["hops"].as_object().and_then(|venues| venues.values().next()).cloned().unwrap_or_default();
        let rows = rows.as_array().cloned().unwrap_or_default();
        let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let whole = rows.last().cloned().unwrap_or_default();
        let each = rows.iter().map(|r| format!("{} {:.0}", r["hop"].as_str().unwrap_or("?"), number(r, "p50_ns")));
        Hops {
            orders: whole["count"].as_u64().unwrap_or(0),
            p50: number(&whole, "p50_ns"),
            p99: number(&whole, "p99_ns"),
            burst: summary["mean_burst"].as_object().and_then(|v| v.values().next()?.as_f64()).unwrap_or(f64::NAN),
            each: each.collect::<Vec<_>>().join(", "),
        }
    }
}

fn rate(summary: &Value) -> f64 {
    summary["packets"].as_f64().unwrap_or(0.0) / summary["seconds"].as_f64().unwrap_or(f64::INFINITY)
}

/// By the time that is known without stamps too.
fn wall_rate(summary: &Value) -> f64 {
    summary["packets"].as_f64().unwrap_or(0.0) / summary["wall_seconds"].as_f64().unwrap_or(f64::INFINITY)
}

fn sum(map: &Value) -> f64 {
    map.as_object().map_or(0.0, |map| map.values().filter_map(Value::as_f64).sum())
}

fn late(summary: &Value) -> u64 {
    let venues = summary["counters"].as_object().into_iter().flat_map(|venues| venues.values());
    let counters = venues.filter_map(Value::as_object).flatten();
    counters.filter(|(name, _)| name.ends_with("source late")).filter_map(|(_, n)| n.as_u64()).sum()
}

fn write(context: &Context, name: &str, config: &Config) -> Result<PathBuf, Failure> {
    let path = context.folder.path().join(name);
    let file = std::fs::File::create(&path).map_err(|e| Failure::Io(path.display().to_string(), e))?;
    write_pcap(config, std::io::BufWriter::new(file)).map_err(|e| Failure::Other(e.to_string()))?;
    Ok(path)
}

/// IEX's sample, inflated: testpmd reads no .gz.
fn deep_capture(context: &Context) -> Result<Option<PathBuf>, Failure> {
    let Some(folder) = std::env::var_os("TICKPATH_CAPTURES") else { return Ok(None) };
    let packed = Path::new(&folder).join("iex-deep10/sample-first-60000.pcap.gz");
    let path = context.folder.path().join("deep.pcap");
    let failed = |e| Failure::Io(packed.display().to_string(), e);
    let file = std::fs::File::open(&packed).map_err(failed)?;
    let mut out = std::fs::File::create(&path).map_err(failed)?;
    std::io::copy(&mut flate2::read::GzDecoder::new(file), &mut out).map_err(failed)?;
    Ok(Some(path))
}
