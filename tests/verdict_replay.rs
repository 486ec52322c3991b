//! The verdict's truth on this machine: real replays, something known done to some of them, and what is made of it.
//! One repetition in an ordinary run of the tests, which only says that nothing false is claimed; `make verdict` repeats
//! it and prints the rates.

#![cfg(feature = "dpdk")]

mod common;
#[path = "common/replay.rs"]
mod replay;
#[path = "common/verdict.rs"]
mod verdict;

use replay::{finish, synth, tickpath, two_cpus};
use serde_json::json;
use std::path::PathBuf;
use tickpath::latency::drift::{Comparison, Finding, Meaning, State, Verdict};
use tickpath::latency::hop::Hop;
use verdict::{BASELINE, Bench, NOW, Neighbour, delays, findings, pipeline, report};

/// In each second of a replay.
const PACKETS: u32 = 250_000;

/// What is done to runs of now.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Nothing,
    OneHop,
    AllHops,
    Neighbour,
    FactAndHop,
}

impl Done {
    const ALL: [Done; 5] = [Done::Nothing, Done::OneHop, Done::AllHops, Done::Neighbour, Done::FactAndHop];

    /// Options of the replay. `medians` of the hops of the software, in ns, say what is proportional to them.
    fn options(self, medians: &[(Hop, f64)]) -> Vec<String> {
        match self {
            Done::Nothing | Done::Neighbour => Vec::new(),
            Done::OneHop => delays(&[(Hop::DecidedEncoded, 1000.0)]),
            Done::AllHops => delays(medians),
            Done::FactAndHop => delays(&[(Hop::BookDecided, 1000.0)]),
        }
    }

    fn is_right(self, comparison: &Comparison) -> bool {
        let verdict = comparison.verdict;
        let slower: Vec<&Finding> = findings(comparison).filter(|finding| finding.slower).collect();
        let only = |meaning, hop| slower.iter().all(|at| at.meaning == meaning && at.hop == hop) && !slower.is_empty();
        match self {
            Done::Nothing => verdict == Verdict::Same,
            Done::OneHop => only(Meaning::Stage, Some(Hop::DecidedEncoded)),
            Done::AllHops => slower.iter().any(|at| at.meaning == Meaning::Frequency),
            Done::Neighbour => slower.iter().any(|at| at.meaning == Meaning::Interruption && !at.evidence.is_empty()),
            Done::FactAndHop => {
                let changed = slower.iter().all(|at| !at.changed.is_empty());
                only(Meaning::Stage, Some(Hop::BookDecided)) && changed
            }
        }
    }
}

/// Share of what was added to the software's hops that is `hop`'s, counting every hop, sure or not.
fn share(comparison: &Comparison, hop: Hop) -> f64 {
    let hops = || comparison.venues.iter().flat_map(|venue| &venue.hops).filter(|at| Hop::SOFTWARE.contains(&at.hop));
    let added: f64 = hops().map(|at| at.p50.own.max(0.0)).sum();
    hops().filter(|at| at.hop == hop).map(|at| at.p50.own).sum::<f64>() / added
}

fn now(bench: &Bench, done: Done, medians: &[(Hop, f64)]) -> PathBuf {
    let mut file = pipeline();
    if done == Done::FactAndHop {
        file["venues"][0]["pools"] = json!({ "feed": 4095, "orders": 2047 });
    }
    let _neighbour = (done == Done::Neighbour).then(Neighbour::new);
    bench.run(&file, &done.options(medians))
}

fn repetitions() -> usize {
    std::env::var("TICKPATH_VERDICT").ok().map_or(1, |n| n.parse().expect("TICKPATH_VERDICT is a number"))
}

#[test]
fn what_was_done_to_a_replay_is_what_is_found() {
    if !two_cpus() {
        return;
    }
    let (bench, n) = (Bench::new(PACKETS), repetitions());
    // A single repetition, beside other tests, looks at what a busy machine cannot hide.
    let cases = if n > 1 { &Done::ALL[..] } else { &[Done::OneHop] };
    let medians = bench.medians();
    let mut marks = vec![[0usize; 3]; cases.len()];
    let mut shares = Vec::new();
    for _ in 0..n {
        let mut baseline = Vec::new();
        let mut changed: Vec<Vec<PathBuf>> = vec![Vec::new(); cases.len()];
        for turn in 0..BASELINE {
            baseline.push(bench.run(&pipeline(), &[]));
            if turn % (BASELINE / NOW) == 0 {
                for (traces, done) in changed.iter_mut().zip(cases) {
                    traces.push(now(&bench, *done, &medians));
                }
            }
        }
        for ((done, traces), marks) in cases.iter().zip(&changed).zip(&mut marks) {
            let (comparison, code, text) = report(traces, &baseline);
            assert_eq!(code, i32::from(comparison.verdict.exit_code()));
            assert!(text.starts_with("fingerprint: "), "{text}");
            if comparison.fingerprint.is_empty() {
                assert!(findings(&comparison).all(|at| at.changed.is_empty()), "{text}");
            }
            let right = done.is_right(&comparison);
            let silent = comparison.verdict == Verdict::CannotTell && findings(&comparison).count() == 0;
            marks[if right {
                0
            } else if silent {
                2
            } else {
                1
            }] += 1;
            if matches!(done, Done::OneHop) && right {
                shares.push(share(&comparison, Hop::DecidedEncoded));
            }
            if !right {
                println!("--- {done:?}\n{text}");
            }
        }
        for folder in baseline.iter().chain(changed.iter().flatten()) {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    for (done, [right, wrong, open]) in cases.iter().zip(&marks) {
        println!("{:<12} right {right}, wrong {wrong}, cannot tell {open}, of {n}", format!("{done:?}"));
    }
    shares.sort_by(f64::total_cmp);
    if let (Some(least), Some(median)) = (shares.first(), shares.get(shares.len() / 2)) {
        println!("of a known delay in one hop, attributed to it: median {median:.3}, least {least:.3}");
    }
    for (done, [right, wrong, open]) in cases.iter().zip(marks) {
        if n == 1 {
            assert_eq!(wrong, 0, "{done:?}");
            continue;
        }
        assert!(right * 4 >= n * 3, "{done:?}: right {right} of {n}");
        assert!(wrong * 10 <= n, "{done:?}: wrong {wrong} of {n}");
        assert!(open * 4 <= n, "{done:?}: cannot tell {open} of {n}");
        assert!(shares[shares.len() / 2] >= 0.95, "{shares:?}");
    }
}

/// The exit code is for CI, so it has to be right about what is no comparison, too.
#[test]
fn what_is_no_comparison_is_code_2_and_says_why() {
    if !two_cpus() {
        return;
    }
    let bench = Bench::new(PACKETS);
    let first = bench.run(&pipeline(), &[]);
    let other =
        Bench { capture: synth(bench.folder.path(), "b.pcap", "--seed 8 --messages 24000 --rate 12000").0, ..bench };
    let second = other.run(&pipeline(), &[]);
    let (comparison, code, text) = report(&[second], std::slice::from_ref(&first));
    assert_eq!((comparison.verdict, code), (Verdict::CannotTell, 2));
    assert!(text.contains("different captures") && text.contains("b.pcap"), "{text}");
    assert!(comparison.venues.iter().flat_map(|v| &v.hops).all(|at| at.p50.state == State::Same), "{text}");

    let mut itself = tickpath();
    itself.arg("report").arg(&first).arg("--against").arg(&first);
    let output = finish(itself);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("both sides"), "{output:?}");
}
