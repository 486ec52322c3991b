//! The shipped pipeline files, the plans they make, and the errors that broken ones give.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tickpath::market::Symbol;
use tickpath::pipeline::file::{AlarmKind, FileError, Idle, KnownStrategy, PipelineFile, WhenFull, parse_parameters};
use tickpath::pipeline::host::{Cpu, HostFacts, Hugepages};
use tickpath::pipeline::plan::{KillWhen, Link, Mode, Plan, PlanError, Request, Segment, Stage, plan_hash};
use tickpath::pipeline::schema::pipeline_schema;
use tickpath::pipeline::table;
use tickpath::risk::{Limits, Rate, RiskConfig};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(folder().join(name).with_extension("json")).unwrap()
}

fn all_shipped() -> Vec<String> {
    let paths = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut names: Vec<_> = json.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A host of one node with `cpus` CPUs, 8 GiB and no hugepages.
fn laptop(cpus: u32) -> HostFacts {
    HostFacts {
        cpus: (0..cpus).map(|id| Cpu { id, node: 0 }).collect(),
        available_bytes: Some(8 << 30),
        hugepages: Vec::new(),
        device_nodes: BTreeMap::new(),
        process: 77,
    }
}

/// Two nodes of eight CPUs, 1 GiB of 2 MiB hugepages on each, a NIC on node 1.
fn server() -> HostFacts {
    HostFacts {
        cpus: (0..16).map(|id| Cpu { id, node: id / 8 }).collect(),
        available_bytes: Some(64 << 30),
        hugepages: [0, 1].map(|node| Hugepages { node, page_bytes: 2 << 20, free: 512 }).into(),
        device_nodes: BTreeMap::from([("0000:3b:00.0".to_owned(), 1)]),
        process: 77,
    }
}

fn request(mode: Mode, eal_args: &[&str]) -> Request {
    Request { mode, eal_args: eal_args.iter().map(|a| (*a).to_owned()).collect(), capture_ports: Vec::new() }
}

fn replay() -> Request {
    request(Mode::Replay, &[])
}

fn run() -> Request {
    request(Mode::Run, &[])
}

fn value(name: &str) -> Value {
    serde_json::from_str(&shipped(name)).unwrap()
}

fn parse(value: &Value) -> Result<PipelineFile, FileError> {
    PipelineFile::parse(&value.to_string())
}

/// The shipped file on live ports.
fn live(name: &str) -> Value {
    let mut file = value(name);
    for port in file["ports"].as_array_mut().unwrap() {
        let device = match port["name"].as_str().unwrap() {
            "feed" => "0000:3b:00.0".to_owned(),
            other => format!("net_null_{other}"),
        };
        port["driver"] = json!("ethdev");
        port["device"] = json!(device);
    }
    file
}

// ---- plans --------------------------------------------------------------------------------------------------------

#[test]
fn every_shipped_file_plans_for_replay_and_on_live_ports_for_run() {
    let names = all_shipped();
    assert_eq!(names.len(), 11);
    for name in names {
        let file = PipelineFile::parse(&shipped(&name)).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert!(file.about.is_some(), "{name} says what it is for");
        for cpus in [1, 2, 4, 8] {
            let plan = Plan::new(&file, &laptop(cpus), &replay()).unwrap();
            assert_eq!(plan.oversubscribed, cpus as usize <= plan.lcores.len(), "{name} on {cpus} CPUs");
            plan.ready().unwrap();
        }
        let live = parse(&live(&name)).unwrap();
        let plan = Plan::new(&live, &server(), &run()).unwrap();
        plan.ready().unwrap();
        assert!(plan.venues.iter().all(|v| v.when_full == WhenFull::Drop), "{name}");
    }
}

#[test]
fn a_whole_market_takes_less_than_256_mib() {
    for name in all_shipped().iter().filter(|name| name.starts_with("itch")) {
        let plan = Plan::new(&PipelineFile::parse(&shipped(name)).unwrap(), &laptop(8), &replay()).unwrap();
        let book = plan.venues[0].book;
        assert!(book.instruments >= 9_000 && book.orders >= 1_000_000);
        assert!(plan.eal_megabytes() <= 256, "{name}: {} MiB", plan.eal_megabytes());
    }
}

#[test]
fn the_plan_of_the_two_lcore_file_reads_like_this() {
    let mut file = value("itch-2-lcores");
    file["about"] = json!("An example.");
    let plan = Plan::new(&parse(&file).unwrap(), &laptop(4), &replay()).unwrap();
    let text = table::render(&plan);
    let (head, books) = text.split_once("\nnode  ").unwrap();
    let memory = plan.memory[0];
    let lcores: Vec<String> = plan.lcores.iter().map(|l| table::size(l.arena_bytes)).collect();
    let w = lcores.iter().map(String::len).max().unwrap();
    let pool = table::size(plan.pools[0].bytes);
    let expected = format!(
        "\
plan {:016x}, replay
An example.

venue   stage     lcore  cpu  node  burst  link to the next stage
nasdaq  rx            1    1     0     32  fused
        parse         1    1     0      -  ring of 4096 elements on node 0
        strategy      2    2     0      -  fused
        encode        2    2     0      -  fused
        tx            2    2     0     32  -

lcore  cpu  node  idle   {:>w$}  runs
    0    0        sleep  {:>w$}  main: control
    1    1     0  spin   {:>w$}  nasdaq rx to parse
    2    2     0  spin   {:>w$}  nasdaq strategy to tx

port    driver   device  node  rx queues  tx queues  descriptors
feed    capture  -          -          1          0            -
orders  capture  -          -          1          1            -

pool        of             node  mbufs  cache    bytes
tp0.feed0   nasdaq feed       0    512    256  {pool}
tp0.orders  nasdaq orders     0    512    256  {pool}
",
        plan.hash, "memory", "", lcores[0], lcores[1]
    );
    assert_eq!(head, expected);
    let eal = format!(
        "EAL memory {} (of {} MiB given to it, without hugepages), capture windows 256.0 MiB beside it\n\
         EAL arguments: --no-huge --no-pci --file-prefix=tickpath-77 -m {} --lcores=0@0,1@1,2@2\n",
        table::size(memory.total()),
        plan.eal_megabytes(),
        plan.eal_megabytes()
    );
    assert!(books.ends_with(&eal), "{books}");
}

#[test]
fn neighbours_on_one_lcore_are_fused_and_a_return_is_a_second_segment() {
    let mut file = value("itch-1-lcore");
    for (stage, lcore) in [("rx", 3), ("parse", 3), ("strategy", 5), ("encode", 3), ("tx", 3)] {
        file["venues"][0]["stages"][stage]["lcore"] = json!(lcore);
    }
    file["venues"][0]["rings"] = json!({ "strategy_encode": { "depth": 7 } });
    let plan = Plan::new(&parse(&file).unwrap(), &laptop(8), &replay()).unwrap();
    let segment = |first, last| Segment { venue: 0, first, last };
    assert_eq!(plan.lcore(3).unwrap().segments, [segment(Stage::Rx, Stage::Parse), segment(Stage::Encode, Stage::Tx)]);
    assert_eq!(plan.lcore(5).unwrap().segments, [segment(Stage::Strategy, Stage::Strategy)]);
    let links = &plan.venues[0].links;
    assert_eq!((&links.rx_parse, &links.encode_tx), (&Link::Fused, &Link::Fused));
    let rings = links.each().into_iter().filter_map(|(_, link)| match link {
        Link::Ring(ring) => Some((ring.name.as_str(), ring.depth, ring.element_bytes)),
        _ => None,
    });
    let expected = [("tp0.parse_strategy", 4096, 64), ("tp0.strategy_encode", 7, 128), ("tp0.tx_strategy", 1024, 64)];
    assert_eq!(rings.collect::<Vec<_>>(), expected);
    assert_eq!(plan.eal_args.last().unwrap(), "--lcores=0@0,3@3,5@5");
}

#[test]
fn memory_is_placed_on_the_node_that_uses_it() {
    let mut file = live("itch-2-lcores");
    let stages = &mut file["venues"][0]["stages"];
    for (stage, lcore) in [("rx", 8), ("parse", 8), ("strategy", 1), ("encode", 1), ("tx", 1)] {
        stages[stage]["lcore"] = json!(lcore);
    }
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    let pools: Vec<_> = plan.pools.iter().map(|p| (p.name.as_str(), p.node, p.mbufs)).collect();
    // Feed: 1024 descriptors, two bursts of 32, 64 in parse, one cache of 256 and its half. Orders: 1024 both ways.
    assert_eq!(pools, [("tp0.feed0", 1, 1024 + 64 + 64 + 384), ("tp0.orders", 0, 2048 + 64 + 64 + 384)]);
    match &plan.venues[0].links.parse_strategy {
        Link::Ring(ring) => assert_eq!(ring.node, 0, "the consumer's node"),
        other => panic!("{other:?}"),
    }
    let nodes: Vec<u32> = plan.memory.iter().map(|m| m.node).collect();
    assert_eq!(nodes, [0, 1]);
    assert_eq!(plan.eal_args, ["--lcores=0@0,1@1,8@8"]);
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn a_stage_on_another_node_than_its_port_is_warned_of() {
    let plan = Plan::new(&parse(&live("itch-1-lcore")).unwrap(), &server(), &run()).unwrap();
    assert_eq!(plan.warnings, ["venue nasdaq: rx runs on lcore 1 of node 0, and port feed is on node 1"]);
}

#[test]
fn a_small_host_floats_a_replay_and_refuses_a_run() {
    let file = PipelineFile::parse(&shipped("itch-5-lcores")).unwrap();
    let plan = Plan::new(&file, &laptop(2), &replay()).unwrap();
    assert!(plan.oversubscribed);
    assert_eq!(plan.eal_args.last().unwrap(), "--lcores=0@(0-1),(1-5)@(0-1)");
    assert!(plan.lcores.iter().all(|l| l.idle == Idle::Yield && l.cpus == [0, 1]));
    assert_eq!(plan.warnings, ["oversubscribed: 6 lcores float over 2 CPUs and yield; timings mean little"]);

    let live = parse(&live("itch-5-lcores")).unwrap();
    let err = Plan::new(&live, &laptop(2), &run()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "the plan has 5 pipeline lcores and a main lcore, and this process may use 2 CPUs (0-1)"
    );
    // Five lcores on two CPUs by the person's own list: refused too.
    let explicit = request(Mode::Replay, &["--lcores", "(0-5)@(0-1)"]);
    assert!(matches!(Plan::new(&file, &laptop(2), &explicit), Err(PlanError::TooFewCpus { .. })));
}

#[test]
fn an_lcore_under_fifo_has_a_cpu_of_its_own_or_the_scheduler_of_everybody() {
    let mut file = live("itch-2-lcores");
    file["lcores"] = json!([{ "lcore": 2, "fifo": 5 }]);
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    assert_eq!(plan.lcores.iter().map(|lcore| lcore.fifo).collect::<Vec<_>>(), [None, Some(5)]);
    assert!(table::render(&plan).contains("spin, FIFO 5"), "{}", table::render(&plan));
    let warned = |plan: &Plan, words: &str| plan.warnings.iter().any(|warning| warning.starts_with(words));
    assert!(warned(&plan, "lcores 2: under SCHED_FIFO nothing else runs on their CPUs while they poll"));
    file["record"] = json!({ "cpus": [2] });
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    assert!(warned(&plan, "record.cpus are those of lcores under SCHED_FIFO"), "{:?}", plan.warnings);
    // Three lcores on two CPUs.
    let plan = Plan::new(&parse(&file).unwrap(), &laptop(2), &request(Mode::Replay, &[])).unwrap();
    assert!(plan.oversubscribed && plan.lcores.iter().all(|lcore| lcore.fifo.is_none()));
    assert!(warned(&plan, "lcores 2: SCHED_FIFO is left out"), "{:?}", plan.warnings);
    let beside = request(Mode::Run, &["--lcores=0@2,1@1,2@2"]);
    let err = Plan::new(&parse(&file).unwrap(), &server(), &beside).unwrap_err().to_string();
    assert!(err.starts_with("lcore 2 is to run under SCHED_FIFO on CPU 2, and the main lcore there too"), "{err}");
    file["lcores"][0]["idle"] = json!("yield");
    assert!(parse(&file).unwrap_err().to_string().starts_with("lcores[0].idle: `yield` gives the CPU to nothing"));
}

#[test]
fn eal_lists_of_a_person_are_kept_and_held_against_the_file() {
    let file = PipelineFile::parse(&shipped("itch-2-lcores")).unwrap();
    let plan = |args: &[&str]| Plan::new(&file, &laptop(8), &request(Mode::Replay, args));
    let explicit = plan(&["--no-huge", "--lcores=0@7,1@3,2@4"]).unwrap();
    let cpus: Vec<_> = explicit.lcores.iter().map(|l| l.cpus.clone()).collect();
    assert_eq!(cpus, [[3], [4]]);
    let megabytes = explicit.eal_megabytes().to_string();
    assert_eq!(explicit.eal_args, ["-m", &megabytes, "--no-huge", "--lcores=0@7,1@3,2@4"]);
    for (args, part) in [
        (["--no-huge", "-l0-1"].as_slice(), "stages run on lcore 2, and the EAL arguments give lcores 0-1"),
        (&["--no-huge", "-l1-3"], "lcore 1 runs stages, and the EAL arguments make it the main lcore"),
        (&["--no-huge", "--main-lcore=2"], "--main-lcore 2 is an lcore that the pipeline file gives stages to"),
        (&["-l", "nonsense"], "the EAL argument -l nonsense is not a list of lcores"),
    ] {
        let err = plan(args).unwrap_err().to_string();
        assert!(err.starts_with(part), "{args:?}: {err}");
    }
}

#[test]
fn a_host_without_the_memory_gets_the_number_and_the_remedy() {
    let file = PipelineFile::parse(&shipped("itch-1-lcore")).unwrap();
    let poor = HostFacts { available_bytes: Some(64 << 20), ..laptop(4) };
    let plan = Plan::new(&file, &poor, &replay()).unwrap();
    let err = plan.ready().unwrap_err();
    let needed = plan.eal_megabytes() + 256;
    assert_eq!(err.to_string(), format!("the plan needs {needed} MiB of memory, and 64 MiB are available"));
    assert!(err.help().starts_with(&format!("free {} MiB, or lower book.orders", needed - 64)), "{}", err.help());

    let err =
        Plan::new(&file, &laptop(4), &request(Mode::Replay, &["--no-huge", "-m", "16"])).unwrap().ready().unwrap_err();
    assert!(err.to_string().ends_with("and the EAL arguments grant 16 (-m)"), "{err}");

    let live = parse(&live("itch-1-lcore")).unwrap();
    let dry = HostFacts { hugepages: vec![Hugepages { node: 0, page_bytes: 2 << 20, free: 3 }], ..server() };
    let err = Plan::new(&live, &dry, &run()).unwrap().ready().unwrap_err();
    assert!(err.to_string().ends_with("MiB of hugepages on node 0, and 6 MiB are free there"), "{err}");
    let remedy = "| sudo tee /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages";
    assert!(err.help().contains(remedy), "{}", err.help());
}

#[test]
fn a_pool_too_small_for_what_can_be_held_is_made_and_warned_of() {
    let mut file = value("itch-2-lcores");
    file["venues"][0]["pools"] = json!({ "feed": 8 });
    let plan = Plan::new(&parse(&file).unwrap(), &laptop(4), &replay()).unwrap();
    assert_eq!((plan.pools[0].mbufs, plan.pools[0].cache), (8, 2));
    let warning = "venue nasdaq: pools.feed is 8, and 512 can be held at once: allocation may fail (counted)";
    assert_eq!(plan.warnings, [warning]);
}

#[test]
fn a_run_needs_live_ports_and_a_replay_takes_captures_by_name() {
    let file = PipelineFile::parse(&shipped("itch-1-lcore")).unwrap();
    let err = Plan::new(&file, &laptop(4), &run()).unwrap_err();
    assert_eq!(err, PlanError::CaptureInRun { port: "feed".into() });

    let live = parse(&live("itch-1-lcore")).unwrap();
    let bound = Request { capture_ports: vec!["feed".into()], ..replay() };
    let plan = Plan::new(&live, &laptop(4), &bound).unwrap();
    assert_eq!((plan.ports[0].device.as_deref(), plan.ports[0].rx_descriptors), (None, 0));
    let stranger = Request { capture_ports: vec!["fed".into()], ..replay() };
    let err = Plan::new(&live, &laptop(4), &stranger).unwrap_err();
    assert_eq!(err.help(), "did you mean `feed`? ports of the file: feed, orders");
}

#[test]
fn terms_come_from_the_entry_then_from_the_star_then_from_the_market() {
    let mut file = value("itch-1-lcore");
    let symbol = |text: &str| tickpath::market::Symbol::new(text).unwrap();
    let terms = |file: &Value, text: &str| {
        let plan = Plan::new(&parse(file).unwrap(), &laptop(4), &replay()).unwrap();
        plan.venues[0].instruments.terms(symbol(text)).map(|t| (t.lot, t.tick.0))
    };
    file["venues"][0]["instruments"] = json!([{"symbol": "*", "lot": 10}, {"symbol": "BRK.A", "lot": 1, "tick": 0.05}]);
    assert_eq!(terms(&file, "AAPL"), Some((10, 100)));
    assert_eq!(terms(&file, "BRK.A"), Some((1, 500)));
    file["venues"][0]["instruments"] = json!(["AAPL", {"symbol": "MSFT", "tick": 0.0001}]);
    assert_eq!(terms(&file, "AAPL"), Some((100, 100)));
    assert_eq!(terms(&file, "MSFT"), Some((100, 1)));
    assert_eq!(terms(&file, "IBM"), None);
}

#[test]
fn limits_are_an_instrument_s_own_then_those_of_all_in_units_of_the_path() {
    let mut file = live("itch-2-lcores");
    file["venues"][0]["instruments"] = json!(["AAPL", "MSFT", "TSLA"]);
    file["venues"][0]["risk"] = json!({
        "limits": { "collar_percent": 2.5, "notional": 50_000, "duplicate_ms": 3 },
        "instruments": [{ "symbol": "AAPL", "limits": { "notional": 7, "position": 300 } }],
        "restricted": ["TSLA"],
        "gross_notional": 1_000_000,
        "orders_per_second": 950,
        "kill_when": { "alarms": ["feed", "drift"] },
        "kill_file": "/var/lib/tickpath/nasdaq.kill",
    });
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    let risk = &plan.venues[0].risk;
    let all = Limits {
        collar_bp: Some(250),
        notional: Some(500_000_000),
        duplicate_ns: Some(3_000_000),
        ..Limits::default()
    };
    let own = Limits { notional: Some(70_000), position: Some(300), ..all };
    let symbol = |text| Symbol::new(text).unwrap();
    let expected = RiskConfig {
        limits: all,
        instruments: vec![(symbol("AAPL"), own)],
        restricted: vec![symbol("TSLA")],
        gross_notional: Some(10_000_000_000),
        rate: Some(Rate { per_second: 950, burst: 9 }),
        ..RiskConfig::default()
    };
    assert_eq!((&risk.config, risk.slots), (&expected, 8));
    assert_eq!(risk.kill_file.as_deref(), Some("/var/lib/tickpath/nasdaq.kill"));
    let alarms = vec![AlarmKind::Feed, AlarmKind::Drift];
    assert_eq!(risk.kill_when, KillWhen { session_lost_ms: None, lcore_stuck_ms: Some(1000), alarms });
    file["venues"][0]["risk"]["kill_when"] = json!({ "lcore_stuck_ms": 0 });
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    assert_eq!(plan.venues[0].risk.kill_when, KillWhen::default());

    file["venues"][0]["risk"]["restricted"] = json!(["TSLX"]);
    let err = parse(&file).unwrap_err();
    assert_eq!(err.to_string(), "venues[0].risk.restricted[0]: unknown symbol `TSLX`");
    assert!(err.help().unwrap().contains("did you mean `TSLA`?"));
}

#[test]
fn without_limits_a_replay_assumes_every_answer_and_forgets_the_kill_file() {
    let mut file = value("itch-1-lcore");
    file["venues"][0]["risk"] = json!({ "kill_file": "kill", "kill_when": { "alarms": ["clock"] } });
    let plan = Plan::new(&parse(&file).unwrap(), &laptop(4), &replay()).unwrap();
    let risk = &plan.venues[0].risk;
    assert_eq!((&risk.config, risk.assumed, &risk.kill_file), (&RiskConfig::default(), true, &None));
    assert_eq!(risk.kill_when, KillWhen::default());
    assert_eq!(plan.hash, plan_hash(&parse(&value("itch-1-lcore")).unwrap()));
}

#[test]
fn the_hash_is_of_what_is_asked_for_not_of_the_host_or_the_wording() {
    let file = value("itch-2-lcores");
    let hash = |value: &Value| plan_hash(&parse(value).unwrap());
    let plain = hash(&file);
    let mut same = file.clone();
    same["about"] = json!("other words");
    same["venues"][0]["rings"] = json!({ "rx_parse": { "depth": 1024 } });
    assert_eq!(hash(&same), plain);
    let mut moved = file.clone();
    moved["venues"][0]["stages"]["encode"]["lcore"] = json!(1);
    assert_ne!(hash(&moved), plain);
    let plans = [laptop(2), laptop(8)].map(|host| Plan::new(&parse(&file).unwrap(), &host, &replay()).unwrap().hash);
    assert_eq!(plans, [plain; 2]);
}

// ---- errors -------------------------------------------------------------------------------------------------------

/// Sets what `pointer` names; the last step may be new, and `null` removes it.
fn edit(file: &mut Value, pointer: &str, new: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match file.pointer_mut(parent).unwrap() {
        Value::Object(map) if new.is_null() => drop(map.remove(key)),
        Value::Object(map) => drop(map.insert(key.to_owned(), new)),
        Value::Array(list) if key == "-" => list.push(new),
        other => other[key.parse::<usize>().unwrap()] = new,
    }
}

#[test]
fn errors_name_the_path_what_was_found_and_the_nearest_word() {
    #[rustfmt::skip]
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("/venue", json!([]), "venue: unknown key `venue`", "did you mean `venues`?"),
        ("/venues/0/stages/rx/busrt", json!(8), "venues[0].stages.rx.busrt: unknown key `busrt`", "did you mean `burst`? known here: lcore, burst"),
        ("/venues/0/stages/recieve", json!({}), "venues[0].stages.recieve: unknown key `recieve`", "known here: rx, parse, strategy, encode, tx"),
        ("/venues/0/rings", json!({"encode_tx": {"when_full": "drop"}}), "venues[0].rings.encode_tx.when_full: unknown key `when_full`", "known here: depth"),
        ("/venues/0/feed/protocol", json!("itch5"), "venues[0].feed.protocol: unknown value `itch5`", "did you mean `itch50`?"),
        ("/venues/0/feed/ip_checksum", json!("verfy"), "venues[0].feed.ip_checksum: unknown value `verfy`", "did you mean `verify`?"),
        ("/venues/0/feed/lines/0/port", json!("fed"), "venues[0].feed.lines[0].port: unknown port `fed`", "did you mean `feed`? known here: feed, orders"),
        ("/venues/0/orders/port", json!("wire"), "venues[0].orders.port: unknown port `wire`", "known here: feed, orders"),
        ("/venues/0/orders/protocol", json!("fix42"), "venues[0].orders.comp_ids: the protocol `fix42` needs its two ends", "add {\"sender\""),
        ("/venues/0/orders/comp_ids", json!({"sender": "US", "target": "THEM"}), "venues[0].orders.comp_ids: only the protocol `fix42` names its ends", "remove the key"),
        ("/venues/0/orders/comp_ids", json!({"sender": "A=B", "target": "THEM"}), "venues[0].orders.comp_ids.sender: \"A=B\" is not a CompID", ""),
        ("/venues/0/orders/comp_ids", json!({"sender": "US", "target": "SEVENTEEN-LETTERS"}), "venues[0].orders.comp_ids.target: \"SEVENTEEN-LETTERS\" is not a CompID", ""),
        ("/venues/0/strategy/name", json!("quoterr"), "venues[0].strategy.name: unknown strategy `quoterr`", "did you mean `quoter`?"),
        ("/venues/0/strategy/parameters", json!({"levls": 3}), "venues[0].strategy.parameters.levls: unknown key `levls`", "did you mean `levels`?"),
        ("/venues/0/strategy/parameters", json!(3), "venues[0].strategy.parameters: 3 is not an object", "write {}"),
        ("/venues/0/stages/tx", Value::Null, "venues[0].stages: the key `tx` is missing", ""),
        ("/venues/0/stages/rx/burst", json!(0), "venues[0].stages.rx.burst: invalid value: integer `0`, expected a whole number from 1 to 64", ""),
        ("/venues/0/stages/rx/burst", json!(65), "venues[0].stages.rx.burst: invalid value: integer `65`, expected a whole number from 1 to 64", ""),
        ("/venues/0/stages/rx/lcore", json!(-1), "venues[0].stages.rx.lcore: invalid value: integer `-1`, expected a whole number from 0 to 127", ""),
        ("/venues/0/stages/rx/lcore", json!("1"), "venues[0].stages.rx.lcore: invalid type: string \"1\", expected a whole number from 0 to 127", ""),
        ("/venues/0/rings", json!({"rx_parse": {"depth": 0}}), "venues[0].rings.rx_parse.depth: invalid value: integer `0`, expected a whole number from 1 to 1048576", ""),
        ("/venues/0/instruments/0", json!({"symbol": "A", "lot": 0}), "venues[0].instruments[0].lot: invalid value: integer `0`, expected a whole number from 1 to 1000000", ""),
        ("/venues/0/instruments/0", json!({"symbol": "A", "tick": 0}), "venues[0].instruments[0].tick: 0 is not a tick: expected 0.0001 to 1000, a whole number of 0.0001", ""),
        ("/venues/0/instruments/0", json!({"symbol": "A", "tick": 0.00015}), "venues[0].instruments[0].tick: 0.00015 is not a tick", ""),
        ("/venues/0/instruments/0", json!({"symbol": "A", "tik": 0.01}), "venues[0].instruments[0].tik: unknown key `tik`", "did you mean `tick`?"),
        ("/venues/0/instruments/0", json!("NINECHARS"), "venues[0].instruments[0]: \"NINECHARS\" is not a symbol", ""),
        ("/venues/0/instruments/0", json!(7), "venues[0].instruments[0]: invalid type: integer `7`, expected a symbol, or an object with symbol, lot and tick", ""),
        ("/venues/0/instruments", json!([]), "venues[0].instruments: the list is empty", "\"*\""),
        ("/venues/0/instruments", json!(["AAPL", "*"]), "venues[0].instruments[1]: \"*\" comes after single symbols", "put \"*\" first"),
        ("/venues/0/instruments", json!(["A", {"symbol": "A"}]), "venues[0].instruments[1]: A is listed twice", ""),
        ("/venues/0/feed/lines", json!([]), "venues[0].feed.lines: 0 lines", "list 1 to 8 lines"),
        ("/venues/0/feed/lines/0/groups", json!([]), "venues[0].feed.lines[0].groups: 0 groups", ""),
        ("/venues/0/feed/lines/0/groups/0", json!("10.0.0.1:1"), "venues[0].feed.lines[0].groups[0]: \"10.0.0.1:1\" is not a multicast group", ""),
        ("/venues/0/feed/lines/0/groups/-", json!("233.54.12.111:26477"), "venues[0].feed.lines[0].groups[1]: 233.54.12.111:26477 is already listed for port `feed`", ""),
        ("/venues/0/feed/lines/-", json!({"port": "feed", "groups": ["233.1.1.1:1", "233.1.1.2:1"]}), "venues[0].feed.lines[1].groups: 2 groups, but line 0 has 1", ""),
        ("/venues/0/feed/lines/0/queue", json!(1), "venues[0].feed.lines[0].queue: queue 1 of port `feed` is used and queue 0 is not", "from 0 without holes"),
        ("/venues/0/feed/arbitration", json!({"window": 1}), "venues[0].feed.arbitration.window: unknown key `window`", "did you mean `window_us`?"),
        ("/venues/0/feed/arbitration", json!({"packets": 0}), "venues[0].feed.arbitration.packets: invalid value: integer `0`", ""),
        ("/venues/0/feed/recovery", json!({}), "venues[0].feed.recovery: the key `interface` is missing", ""),
        ("/venues/0/feed/recovery", json!({"interface": "10.0.0.1"}), "venues[0].feed.recovery: there is no server to ask", "add \"servers\""),
        ("/venues/0/feed/recovery", json!({"interface": "0.0.0.0"}), "venues[0].feed.recovery.interface: \"0.0.0.0\" is not an address of ours", ""),
        ("/venues/0/feed/recovery", json!({"interface": "10.0.0.1", "servers": ["10.0.0.2"]}), "venues[0].feed.recovery.servers[0]: \"10.0.0.2\" is not a unicast address:port", ""),
        ("/venues/0/feed/recovery", json!({"interface": "10.0.0.1", "servers": vec!["10.0.0.2:1"; 9]}), "venues[0].feed.recovery.servers: 9 servers", "list at most 8"),
        ("/venues/0/orders/source/mac", json!("01:00:5e:00:00:01"), "venues[0].orders.source.mac: \"01:00:5e:00:00:01\" is not a unicast MAC address", ""),
        ("/venues/0/orders/source/mac", json!("2:0:0:0:0:1"), "venues[0].orders.source.mac: \"2:0:0:0:0:1\" is not a unicast MAC address", ""),
        ("/venues/0/orders/source/mac", Value::Null, "venues[0].orders.source: the key `mac` is missing; only the driver `ef_vi` knows it", "add \"mac\""),
        ("/venues/0/orders/source/address", json!("10.0.0.1"), "venues[0].orders.source.address: \"10.0.0.1\" is not a unicast address:port", ""),
        ("/venues/0/orders/port", json!("feed"), "venues[0].orders.queue: queue 0 of port `feed` is already polled by rx of venue `nasdaq`", "of their own"),
        ("/venues/0/book", json!({"instruments": 1}), "venues[0].book.instruments: room for 1 instruments, but 2 are listed", "make it at least 2"),
        ("/venues/0/risk", json!({"limts": {}}), "venues[0].risk.limts: unknown key `limts`", "did you mean `limits`?"),
        ("/venues/0/risk", json!({"limits": {"collar_percent": 0.005}}), "venues[0].risk.limits.collar_percent: 0.005 is not a collar", ""),
        ("/venues/0/risk", json!({"limits": {"position": -1}}), "venues[0].risk.limits.position: invalid value: integer `-1`", ""),
        ("/venues/0/risk", json!({"instruments": [{"symbol": "*", "limits": {}}]}), "venues[0].risk.instruments[0].symbol: \"*\" is no symbol here", "`limits`"),
        ("/venues/0/risk", json!({"instruments": [{"symbol": "A", "limits": {}}, {"symbol": "A", "limits": {}}]}), "venues[0].risk.instruments[1]: A is listed twice", ""),
        ("/venues/0/risk", json!({"burst": 3}), "venues[0].risk.burst: a burst without orders_per_second", "set orders_per_second"),
        ("/venues/0/risk", json!({"slots": 65}), "venues[0].risk.slots: invalid value: integer `65`, expected a whole number from 1 to 64", ""),
        ("/venues/0/risk", json!({"kill_file": ""}), "venues[0].risk.kill_file: an empty path", ""),
        ("/venues/0/risk", json!({"kill_when": {"session_lost_ms": 5}}), "venues[0].risk.kill_when.session_lost_ms: orders go without a session", "orders.session"),
        ("/venues", json!([]), "venues: the list is empty", ""),
        ("/ports", json!([]), "ports: the list is empty", ""),
        ("/ports/1/name", json!("feed"), "ports[1].name: `feed` is already the name of ports[0]", "each name appears once"),
        ("/ports/1/name", json!("a b"), "ports[1].name: \"a b\" is not a name", ""),
        ("/ports/0/driver", json!("ethdev"), "ports[0]: the driver `ethdev` needs a device", "net_null0"),
        ("/ports/0/device", json!("net_null0"), "ports[0]: a capture has no device", "make the driver `ethdev`"),
        ("/lcores", json!([{"lcore": 1}, {"lcore": 1}]), "lcores[1].lcore: `1` is already the lcore of lcores[0]", ""),
        ("/lcores", json!([{"lcore": 1, "idle": "sleep"}]), "lcores[0].idle: unknown value `sleep`", "known here: spin, pause, yield"),
    ];
    for (pointer, new, error, help) in cases {
        let mut file = value("itch-2-lcores");
        if pointer == "/venues/0/book" {
            file["venues"][0]["instruments"] = json!(["*", "AAPL", "MSFT"]);
        }
        edit(&mut file, pointer, new);
        let err = parse(&file).and_then(|file| file.check_strategies(&[QUOTER])).expect_err(pointer);
        assert!(err.to_string().starts_with(error), "{pointer}\n  {err}\n  {error}");
        assert!(err.help().unwrap_or_default().contains(help), "{pointer}: {:?}", err.help());
    }
}

#[test]
fn ethernet_addresses_of_orders_are_written_unless_somebody_else_knows_them() {
    let refused = |change: &dyn Fn(&mut Value), driver: &str| {
        let mut file = value("demo");
        if driver == "ef_vi" {
            file["ports"][2] = json!({ "name": "orders", "driver": "ef_vi", "interface": "enp1s0f0" });
        }
        change(&mut file["venues"][0]["orders"]);
        parse(&file).map_or_else(|err| err.to_string(), |_| "taken".to_owned())
    };
    let next_hop: &dyn Fn(&mut Value) = &|orders| orders["destination"]["mac"] = json!("02:00:00:00:00:02");
    let far: &dyn Fn(&mut Value) = &|orders| orders["destination"]["address"] = json!("192.168.0.1:26400");
    let unsaid: &dyn Fn(&mut Value) = &|orders| drop(orders["source"].as_object_mut().unwrap().remove("mac"));
    let datagrams: &dyn Fn(&mut Value) = &|orders| orders["transport"] = json!("udp");
    for (change, found) in [
        (next_hop, "the transport `tcp` takes no Ethernet address"),
        (far, "there is no gateway"),
        (unsaid, "the key `mac` is missing"),
        (datagrams, "needs the destination's Ethernet address"),
    ] {
        assert!(refused(change, "ethdev").contains(found), "{}", refused(change, "ethdev"));
        assert_eq!(refused(change, "ef_vi"), "taken");
    }
}

#[test]
fn only_a_feed_of_one_sequence_that_is_checked_can_be_recovered() {
    let recovery = json!({ "interface": "10.0.0.1", "servers": ["10.0.0.2:26400"] });
    let refused = |change: &dyn Fn(&mut Value), name: &str| {
        let mut file = value(name);
        file["venues"][0]["feed"]["recovery"] = recovery.clone();
        change(&mut file["venues"][0]["feed"]);
        parse(&file).map_or_else(|err| err.to_string(), |_| "taken".to_owned())
    };
    assert_eq!(refused(&|_| {}, "itch-1-lcore"), "taken");
    let off = refused(&|feed| feed["sequence"] = json!("off"), "itch-1-lcore");
    assert!(off.contains("nothing is missed with \"sequence\": \"off\""), "{off}");
    let two = json!(["233.1.1.1:1", "233.1.1.2:1"]);
    let channels = refused(&|feed| feed["lines"][0]["groups"] = two.clone(), "itch-1-lcore");
    assert!(channels.contains("the feed has 2 channels"), "{channels}");
    let deep = refused(&|_| {}, "deep-1-lcore");
    assert!(deep.contains("only itch50"), "{deep}");
}

#[test]
fn servers_are_asked_in_a_run_and_packets_held_where_there_is_something_to_wait_for() {
    let mut file = value("itch-1-lcore");
    let held = |file: &Value, request: &Request| {
        let plan = Plan::new(&parse(file).unwrap(), &server(), request).unwrap();
        let feed = &plan.venues[0].feed;
        (feed.arbitration.window_us, feed.arbitration.packets, feed.recovery.is_some(), plan.venues[0].arenas.parse)
    };
    let (window, packets, _, alone) = held(&file, &replay());
    assert_eq!((window, packets), (0, 0), "one line has nothing to wait for");
    file["venues"][0]["feed"]["recovery"] = json!({ "interface": "10.0.0.1", "servers": ["10.0.0.2:26400"] });
    assert_eq!(held(&file, &replay()), (0, 0, false, alone));
    let second = json!({ "port": "feed", "groups": ["233.49.196.111:26477"] });
    file["venues"][0]["feed"]["lines"].as_array_mut().unwrap().push(second);
    let (window, packets, recovers, bytes) = held(&file, &replay());
    assert_eq!((window, packets, recovers), (200, 256, false));
    // A frame of 2048 bytes behind 128 of headroom, each.
    assert_eq!(bytes, alone + 256 * 2176);
    for port in file["ports"].as_array_mut().unwrap() {
        let device = format!("net_null_{}", port["name"].as_str().unwrap());
        *port = json!({ "name": port["name"], "driver": "ethdev", "device": device });
    }
    let (window, packets, recovers, bytes) = held(&file, &run());
    assert_eq!((window, packets, recovers), (200, 8192, true));
    assert_eq!(bytes, alone + 8192 * 2176);
}

const QUOTER: KnownStrategy<'static> = KnownStrategy {
    name: "quoter",
    validate: |parameters| {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[derive(Default)]
        struct Parameters {
            #[allow(dead_code)]
            levels: u32,
        }
        parse_parameters::<Parameters>(parameters).map(drop)
    },
};

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let err = PipelineFile::parse("{\n  \"ports\": [,\n").unwrap_err();
    assert_eq!(err.to_string(), "line 2, column 13: expected value");
    let err = PipelineFile::parse(&(shipped("itch-1-lcore") + "x")).unwrap_err();
    assert!(matches!(err, FileError::Syntax { .. }), "{err}");
    assert!(PipelineFile::parse("").is_err());
    assert!(PipelineFile::parse(&"[".repeat(100_000)).is_err());
}

/// The feeds of two venues on one device.
fn sharing() -> Value {
    let mut file = live("two-venues");
    file["venues"][1]["feed"]["lines"][0]["port"] = json!("nasdaq-feed");
    file["ports"].as_array_mut().unwrap().remove(2);
    file["ports"][0]["device"] = json!("0000:3b:00.0");
    file
}

#[test]
fn venues_on_one_device_have_one_lcore_that_receives_for_them() {
    for queue in [0, 1] {
        let mut file = sharing();
        file["venues"][1]["feed"]["lines"][0]["queue"] = json!(queue);
        let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
        let receiver = plan.ports[0].receiver.as_ref().unwrap();
        assert_eq!((receiver.lcore, receiver.burst), (1, 32), "where rx of the first is");
        assert_eq!(receiver.queues, if queue == 0 { vec![0] } else { vec![0, 1] });
        let shares: Vec<_> = receiver.shares.iter().map(|s| (s.venue, s.ring.name.as_str(), s.ring.depth)).collect();
        assert_eq!(shares, [(0, "tp0.share0", 1024), (1, "tp1.share0", 1024)]);
        let pools: Vec<_> = plan.pools.iter().map(|p| (p.name.as_str(), p.node, p.mbufs)).collect();
        // The descriptors of each queue, a burst; of each venue its share, two bursts, 64 in parse; three lcores' caches: rx
        // and parse are on one lcore, so there are two.
        let mbufs = 1024 * (queue + 1) + 32 + 2 * (1024 + 64 + 64) + 2 * 384;
        assert_eq!(pools[0], ("tp.port0", 1, mbufs), "{pools:?}");
        assert!(pools[1..].iter().all(|pool| pool.0.ends_with("orders")), "{pools:?}");
        assert!(plan.venues.iter().all(|venue| venue.feed.lines[0].pool == 0));
        let said = table::render(&plan);
        let unless = if queue == 1 { "unless the device steers, " } else { "" };
        let line = format!("port nasdaq-feed: {unless}lcore 1 receives for nasdaq, iex and gives each");
        assert!(said.contains(&line), "{said}");
        // Its captures are each venue's own.
        let captures = ["nasdaq-feed", "nasdaq-orders", "iex-orders"].map(str::to_owned).into();
        let plan =
            Plan::new(&parse(&file).unwrap(), &server(), &Request { capture_ports: captures, ..replay() }).unwrap();
        assert!(plan.ports[0].receiver.is_none());
        assert_eq!(plan.capture_window_bytes, 512 << 20);
    }
    let mut file = sharing();
    let warned = |file: &Value| {
        let plan = Plan::new(&parse(file).unwrap(), &server(), &run()).unwrap();
        plan.warnings.into_iter().find(|warning| warning.contains("packets of all wait"))
    };
    assert_eq!(warned(&file), None, "lcore 1 only receives and parses");
    file["ports"][0]["receiver"] = json!({ "lcore": 3 });
    let warning = warned(&file).unwrap();
    assert!(warning.starts_with("port nasdaq-feed: lcore 3 receives for 2 venues and decides for iex:"), "{warning}");
    file["ports"][0]["receiver"] = json!({ "lcore": 9, "burst": 64, "depth": 100 });
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    let receiver = plan.ports[0].receiver.as_ref().unwrap();
    assert_eq!((receiver.lcore, receiver.burst, receiver.shares[1].ring.depth), (9, 64, 100));
    let lcore = plan.lcore(9).unwrap();
    assert_eq!((&lcore.receives[..], lcore.segments.len(), plan.venues_of(lcore)), (&[0][..], 0, vec![0, 1]));
    assert_eq!(plan.eal_args, ["--lcores=0@0,1@1,2@2,3@3,9@9"]);
}

#[test]
fn a_venue_alone_on_a_device_polls_all_of_its_queues_itself() {
    let mut file = live("itch-1-lcore");
    let second = json!({ "port": "feed", "queue": 1, "groups": ["233.49.196.111:26477"] });
    file["venues"][0]["feed"]["lines"].as_array_mut().unwrap().push(second);
    let plan = Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap();
    assert!(plan.ports[0].steerable && plan.ports[0].receiver.is_none() && plan.ports[0].rx_queues == 2);
    let inlets: Vec<_> = plan.venues[0].inlets(&plan.ports).iter().map(|inlet| (inlet.0, inlet.1)).collect();
    assert_eq!(inlets, [(0, 0), (0, 1)]);
    // The descriptors of both.
    assert!(plan.pools[0].mbufs > 2048, "{:?}", plan.pools[0]);
    file["venues"][0]["feed"]["lines"][1]["queue"] = json!(0);
    assert!(!Plan::new(&parse(&file).unwrap(), &server(), &run()).unwrap().ports[0].steerable);
}

#[test]
fn what_arrives_on_a_device_belongs_to_one_venue() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut file = sharing();
        change(&mut file);
        parse(&file).map_or_else(|err| err.to_string(), |_| "taken".to_owned())
    };
    assert_eq!(refused(&|_| {}), "taken");
    let same = |file: &mut Value| file["venues"][1]["feed"]["lines"][0]["groups"][0] = json!("233.54.12.111:26477");
    assert_eq!(
        refused(&same),
        "venues[1].feed.lines[0].groups[0]: 233.54.12.111:26477 of port `nasdaq-feed` is already a group of venue `nasdaq`"
    );
    let off = refused(&|file| file["venues"][1]["feed"]["addressing"] = json!("off"));
    assert!(off.starts_with("venues[1].feed.addressing: with `off` nothing tells"), "{off}");
    // A capture is read by each venue.
    let mut capture = value("two-venues");
    capture["venues"][1]["feed"]["lines"][0] = capture["venues"][0]["feed"]["lines"][0].clone();
    assert!(parse(&capture).is_ok());
    capture["ports"][0]["receiver"] = json!({});
    assert!(parse(&capture).unwrap_err().to_string().starts_with("ports[0]: a capture has no device"));
}

#[test]
fn a_name_is_one_venues() {
    let mut file = value("two-venues");
    file["venues"][1]["name"] = json!("nasdaq");
    assert_eq!(parse(&file).unwrap_err().to_string(), "venues[1].name: `nasdaq` is already the name of venues[0]");
}

#[test]
fn a_level_feed_has_no_orders_to_hold() {
    let mut file = value("deep-1-lcore");
    file["venues"][0]["book"] = json!({ "orders": 1000 });
    let err = parse(&file).unwrap_err().to_string();
    assert_eq!(err, "venues[0].book.orders: deep10 is a feed of price levels and has no orders to hold");
}

// ---- schema -------------------------------------------------------------------------------------------------------

/// Every key the schema knows, as `venues[].stages.rx.burst`.
fn schema_keys(schema: &Value, at: &str, keys: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (key, below) in properties {
            let dot = if at.is_empty() { "" } else { "." };
            let path = format!("{at}{dot}{key}");
            assert!(below["description"].is_string(), "{path} has no description");
            keys.insert(path.clone());
            schema_keys(below, &path, keys);
        }
    }
    if schema["items"].is_object() {
        schema_keys(&schema["items"], &format!("{at}[]"), keys);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        schema_keys(choice, at, keys);
    }
}

#[test]
fn the_readme_documents_every_key_once_and_no_other() {
    let mut keys = BTreeSet::new();
    schema_keys(&pipeline_schema(&[]), "", &mut keys);
    // Every hop of a budget has the same two, and an instrument's limits are those of all.
    let keys: BTreeSet<String> = keys
        .into_iter()
        .map(|key| key.replace("risk.instruments[].limits.", "risk.limits."))
        .map(|key| match key.strip_prefix("venues[].budget.").and_then(|below| below.split_once('.')) {
            Some((_, allowance)) => format!("venues[].budget.*.{allowance}"),
            None => key,
        })
        .collect();
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let documented: Vec<String> = rows.map(|(key, _)| key.to_owned()).collect();
    let once: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(once.len(), documented.len(), "a key is documented twice");
    assert_eq!(once, keys);
}

/// What our schema uses of JSON Schema, checked against `value`; the errors, with their paths.
fn violations(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = |choice: &&Value| {
            let mut inner = Vec::new();
            violations(choice, value, at, &mut inner);
            inner.is_empty()
        };
        if choices.iter().find(fits).is_none() {
            found.push(format!("{at}: no choice fits {value}"));
        }
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        found.push(format!("{at}: not {}", schema["const"]));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = |t: &Value| t == kind || (t == "number" && kind == "integer");
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::Array(types) => types.iter().any(allowed),
        one => allowed(one),
    };
    if !fits {
        found.push(format!("{at}: {kind} is not {}", schema["type"]));
    }
    if let Some(number) = value.as_f64() {
        let below = schema["minimum"].as_f64().is_some_and(|min| number < min);
        if below || schema["maximum"].as_f64().is_some_and(|max| number > max) {
            found.push(format!("{at}: {number} out of range"));
        }
    }
    if let Some(object) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(required.as_str().unwrap()) {
                found.push(format!("{at}: {required} is missing"));
            }
        }
        for (key, below) in object {
            match &schema["properties"][key] {
                Value::Null if schema["additionalProperties"] == json!(false) => {
                    found.push(format!("{at}.{key}: unknown"))
                }
                inner => violations(inner, below, &format!("{at}.{key}"), found),
            }
        }
    }
    for (i, below) in value.as_array().into_iter().flatten().enumerate() {
        violations(&schema["items"], below, &format!("{at}[{i}]"), found);
    }
}

#[test]
fn the_schema_accepts_the_shipped_files_and_refuses_broken_ones() {
    let schema = pipeline_schema(&[("quoter", json!({ "type": "object" }))]);
    let check = |value: &Value| {
        let mut found = Vec::new();
        violations(&schema, value, "", &mut found);
        found
    };
    for name in all_shipped() {
        assert_eq!(check(&value(&name)), Vec::<String>::new(), "{name}");
    }
    let mut broken = value("itch-1-lcore");
    broken["venues"][0]["stages"]["rx"]["burst"] = json!(65);
    broken["venues"][0]["stages"]["parse"] = json!({ "lcor": 1 });
    let expected = [
        ".venues[0].stages.parse: \"lcore\" is missing",
        ".venues[0].stages.parse.lcor: unknown",
        ".venues[0].stages.rx.burst: 65 out of range",
    ];
    assert_eq!(check(&broken), expected);
    let strategy = &schema["properties"]["venues"]["items"]["properties"]["strategy"];
    assert_eq!(strategy["properties"]["name"]["enum"], json!(["quoter"]));
}

// ---- whatever is written ------------------------------------------------------------------------------------------

fn any_json() -> impl Strategy<Value = Value> {
    let keys = "[a-z_]{0,8}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pointers to everything in a JSON value.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut below = |key: &str, inner: &Value| {
        let path = format!("{at}/{key}");
        all.push(path.clone());
        places(inner, &path, all);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| below(key, inner)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, inner)| below(&i.to_string(), inner)),
        _ => {}
    }
}

/// Parses `text` and, when it is a pipeline file, plans it: nothing may panic, and a plan must hold together.
fn survive(text: &str) {
    let Ok(file) = PipelineFile::parse(text) else { return };
    for (host, request) in [(laptop(1), replay()), (server(), replay()), (server(), run())] {
        let Ok(plan) = Plan::new(&file, &host, &request) else { continue };
        let stages: usize =
            plan.lcores.iter().flat_map(|l| &l.segments).map(|s| s.last as usize - s.first as usize + 1).sum();
        assert_eq!(stages, plan.venues.len() * 5, "every stage of every venue runs once");
        assert!(plan.eal_args.iter().filter(|a| a.starts_with("--lcores")).count() == 1);
        table::render(&plan);
        serde_json::to_string(&plan).unwrap();
    }
}

proptest! {
    #[test]
    fn any_json_is_refused_or_planned_without_a_panic(value in any_json()) {
        survive(&value.to_string());
    }

    #[test]
    fn a_file_with_one_place_changed_is_refused_or_planned(which: prop::sample::Index, new in any_json()) {
        let mut file = value("two-venues");
        let mut all = Vec::new();
        places(&file, "", &mut all);
        *file.pointer_mut(&all[which.index(all.len())]).unwrap() = new;
        survive(&file.to_string());
    }

    #[test]
    fn a_file_with_numbers_changed_is_refused_or_planned(
        lcores in prop::collection::vec(0u32..130, 5),
        depth in 0u32..1_100_000,
        burst in 0u32..70,
        pool in 0u32..5_000_000,
    ) {
        let mut file = live("two-venues");
        let venue = &mut file["venues"][1];
        for (stage, lcore) in ["rx", "parse", "strategy", "encode", "tx"].iter().zip(lcores) {
            venue["stages"][stage]["lcore"] = json!(lcore);
        }
        venue["stages"]["rx"]["burst"] = json!(burst);
        venue["rings"] = json!({ "parse_strategy": { "depth": depth } });
        venue["pools"] = json!({ "orders": pool });
        survive(&file.to_string());
    }

    #[test]
    fn a_file_cut_or_with_a_byte_changed_is_refused_or_planned(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = shipped("itch-5-lcores").into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        survive(&String::from_utf8_lossy(&bytes));
    }
}
