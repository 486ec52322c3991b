//! The state on DPDK's telemetry socket: `/tickpath/info`, `/tickpath/stages`, `/tickpath/links`, `/tickpath/hops`.
//!
//! In: what [`Metrics`] was told last. Out: answers of whole numbers, times in ns, because the socket knows no fractions.
//! The last three take a venue's name as parameter, `/tickpath/stages,nasdaq`; stages then come with every reason for a
//! drop. An lcore never waits for an answer: it reads a state that is swapped as a whole.

use super::Metrics;
use crate::dpdk::telemetry::{Answer, Dict, Value, fit, register as register_command};
use crate::dpdk::{DpdkError, Eal};
use crate::latency::snapshot::{HopSnapshot, Snapshot, StageSnapshot, VenueSnapshot};
use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// The state that is shown; dropped, the commands answer that there is none.
pub struct Shown(());

/// Commands outlive whoever registered them.
static STATE: ArcSwapOption<Metrics> = ArcSwapOption::const_empty();

/// Show `metrics` on the socket of `eal`. Once at a time in a process.
///
/// # Errors
/// DPDK has no room for more commands.
pub fn show(eal: &Eal, metrics: Arc<Metrics>) -> Result<Shown, DpdkError> {
    const VENUE: &str = "Parameter: a venue's name";
    let commands: [(&str, String, Answer); 4] = [
        ("/tickpath/info", "The run, its venues and what is wrong with it. No parameter".into(), |_| of_state(info)),
        ("/tickpath/stages", format!("What went in, out and was dropped, by stage. {VENUE}"), |venue| {
            of_state(|state| stages(state, venue))
        }),
        ("/tickpath/links", format!("How full the rings between stages are and were. {VENUE}"), |venue| {
            of_state(|state| links(state, venue))
        }),
        ("/tickpath/hops", format!("Times of the last interval and their budget, in ns. {VENUE}"), |venue| {
            of_state(|state| hops(state, venue))
        }),
    ];
    STATE.store(Some(metrics));
    for (name, help, answer) in commands {
        register_command(eal, name, &help, answer)?;
    }
    Ok(Shown(()))
}

impl Drop for Shown {
    fn drop(&mut self) {
        STATE.store(None);
    }
}

fn of_state(answer: impl FnOnce(&Snapshot) -> Dict) -> Dict {
    match &*STATE.load() {
        Some(metrics) => answer(&metrics.snapshot()),
        None => error("nothing runs now".into()),
    }
}

fn info(state: &Snapshot) -> Dict {
    let text = |text: &str| Value::Text(text.to_owned());
    let number = |n: u64| Value::Number(n);
    let dict: [(&str, Value); 13] = [
        ("version", text(&state.version)),
        ("run", text(&state.run)),
        ("command", text(&state.command)),
        ("plan_hash", text(&state.plan_hash)),
        ("uptime_seconds", number(state.uptime_seconds as u64)),
        ("ended", number(state.ended.into())),
        ("oversubscribed", number(state.oversubscribed.into())),
        ("tsc_hz", number(state.interval.clock.tsc_hz as u64)),
        ("records", number(state.recorder.records)),
        ("records_lost", number(state.recorder.lost_ring + state.recorder.lost_disk)),
        ("frames", number(state.venues.iter().map(|v| v.frames).sum())),
        ("venues", Value::List(state.venues.iter().map(|v| v.name.clone()).collect())),
        ("alarms", Value::List(alarms(state))),
    ];
    dict.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn alarms(state: &Snapshot) -> Vec<String> {
    const MOST: usize = 32;
    let mut texts: Vec<String> = state.alarms.iter().take(MOST).map(|a| a.text.clone()).collect();
    if state.alarms.len() > MOST {
        texts.push(format!("and {} more", state.alarms.len() - MOST));
    }
    texts
}

fn stages(state: &Snapshot, venue: &str) -> Dict {
    let full = !venue.is_empty();
    of_venue(state, venue, |v| v.stages.iter().map(|s| (s.stage.clone(), stage(s, full))).collect())
}

fn stage(s: &StageSnapshot, full: bool) -> Value {
    let mut dict = vec![("lcore", s.lcore.into()), ("in", s.incoming), ("out", s.outgoing), ("held", s.held)];
    dict.push(("bursts", s.bursts));
    let mut dict: Dict = dict.into_iter().map(|(name, n)| (name.to_owned(), Value::Number(n))).collect();
    let dropped = match full {
        true => Value::Dict(fit(s.dropped.iter().map(|(reason, n)| (reason.clone(), Value::Number(*n))).collect())),
        false => Value::Number(s.dropped.values().sum()),
    };
    dict.push(("dropped".into(), dropped));
    Value::Dict(dict)
}

fn links(state: &Snapshot, venue: &str) -> Dict {
    of_venue(state, venue, |v| {
        let links = state.interval.links.iter().filter(|l| l.venue == v.name);
        let numbers = |entries: [(&str, u64); 3]| {
            Value::Dict(entries.map(|(name, n)| (name.to_owned(), Value::Number(n))).to_vec())
        };
        links
            .map(|l| (l.link.clone(), numbers([("slots", l.depth), ("fill", l.fill), ("high_water", l.high_water)])))
            .collect()
    })
}

fn hops(state: &Snapshot, venue: &str) -> Dict {
    of_venue(state, venue, |v| v.hops.iter().map(|h| (h.hop.key().to_owned(), hop(h))).collect())
}

fn hop(h: &HopSnapshot) -> Value {
    let p = &h.interval;
    let ns = |ns: f64| Some(ns.round() as u64);
    let entries = [
        ("count", Some(p.count)),
        ("p50_ns", ns(p.p50)),
        ("p99_ns", ns(p.p99)),
        ("p999_ns", ns(p.p999)),
        ("max_ns", ns(p.max)),
        ("budget_p50_ns", h.budget_p50_ns.and_then(ns)),
        ("budget_p99_ns", h.budget_p99_ns.and_then(ns)),
    ];
    let known = entries.into_iter().filter_map(|(name, n)| Some((name.to_owned(), Value::Number(n?))));
    Value::Dict(known.collect())
}

/// What `of` a venue there is, or of all of them under `venue/…`.
fn of_venue(state: &Snapshot, name: &str, of: impl Fn(&VenueSnapshot) -> Dict) -> Dict {
    if name.is_empty() {
        let prefixed = |v: &VenueSnapshot| {
            let venue = v.name.clone();
            of(v).into_iter().map(move |(name, value)| (format!("{venue}/{name}"), value))
        };
        return state.venues.iter().flat_map(prefixed).collect();
    }
    match state.venues.iter().find(|v| v.name == name) {
        Some(venue) => of(venue),
        None => {
            let names: Vec<&str> = state.venues.iter().map(|v| v.name.as_str()).collect();
            error(format!("no venue {name}; there are {}", names.join(", ")))
        }
    }
}

fn error(text: String) -> Dict {
    vec![("error".into(), Value::Text(text))]
}
