//! What a changed pipeline file means for a pipeline that runs: keep, reconfigure, move, or refuse.
//!
//! In: the plan that runs and the one that is wanted. Out: a [`Diff`]. A pure function: it starts and changes nothing.

use super::plan::{Plan, PoolPlan, Stage};
use crate::host::ranges::ranges;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The way from one plan to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// By venue.
    pub venues: Vec<VenueDiff>,
    /// What lcores do without work, where that changes: id, and the change in words.
    pub idle: Vec<String>,
    /// What cannot be done while it runs, with the reason. If there is any, nothing is done.
    pub refused: Vec<String>,
}

/// What becomes of a venue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VenueDiff {
    /// Its name.
    pub venue: String,
    /// Parameters of its strategy that change: where, from what, to what.
    pub parameters: Vec<String>,
    /// Limits that change.
    pub limits: Vec<String>,
    /// Stages that move, and bursts and rings that change: the venue rests while that is done.
    pub layout: Vec<String>,
}

impl VenueDiff {
    /// Nothing changes.
    pub fn is_kept(&self) -> bool {
        self.parameters.is_empty() && self.limits.is_empty() && self.layout.is_empty()
    }
}

impl Diff {
    /// The way from `old`, which runs, to `new`.
    pub fn new(old: &Plan, new: &Plan) -> Diff {
        let mut diff = Diff::default();
        let names = |plan: &Plan| plan.venues.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
        if names(old) != names(new) {
            let (old, new) = (names(old).join(", "), names(new).join(", "));
            diff.refused.push(format!("venues: {old} → {new}: venues come and go with a restart"));
            return diff;
        }
        diff.venues = names(old).into_iter().map(|venue| VenueDiff { venue, ..VenueDiff::default() }).collect();
        // Plain data with string keys: nothing in it can fail to become JSON.
        let json = |plan: &Plan| serde_json::to_value(plan).expect("a plan is plain data");
        compare(&json(old), &json(new), &mut Vec::new(), &mut |path, old, new| diff.sort(path, old, new));
        for ((venue, from), to) in diff.venues.iter().zip(&old.venues).zip(&new.venues) {
            // Where nothing is set a hop has more time when a ring lies in it: a run keeps the budget it began with.
            if venue.layout.is_empty() && from.budget != to.budget {
                diff.refused.push(format!("venue {}: budget: needs a restart", venue.venue));
            }
        }
        diff.places(old, new);
        diff.pools(old, new);
        diff
    }

    /// Nothing changes, and nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.venues.iter().all(VenueDiff::is_kept) && self.idle.is_empty() && self.refused.is_empty()
    }

    /// One difference where it belongs.
    fn sort(&mut self, path: &[Step<'_>], old: &Value, new: &Value) {
        use Step::{At, Key};
        let said = |from: usize| format!("{}: {} → {}", text(&path[from..]), short(old), short(new));
        match path {
            // Derived from what is compared anyway, or looked at with more understanding below.
            [Key("hash" | "about" | "warnings" | "memory" | "eal_args" | "shortfall" | "capture_window_bytes"), ..]
            | [Key("main_lcore" | "main_cpus" | "oversubscribed" | "lcores" | "pools"), ..]
            | [Key("record"), Key("cpus"), ..]
            | [Key("venues"), At(_), Key("arenas" | "budget"), ..]
            | [Key("venues"), At(_), Key("records"), At(_), Key("node")] => {}
            [Key("venues"), At(venue), Key("parameters"), ..] => self.venues[*venue].parameters.push(said(2)),
            [Key("venues"), At(venue), Key("risk"), Key("config"), rest @ ..] => {
                let limit = format!("risk.{}: {} → {}", text(rest), short(old), short(new));
                self.venues[*venue].limits.push(limit);
            }
            [Key("venues"), At(venue), Key("stages"), At(stage), Key(what)] => {
                let stage = Stage::ALL[*stage];
                self.venues[*venue].layout.push(format!("{stage}.{what}: {} → {}", short(old), short(new)));
            }
            [Key("venues"), At(venue), Key("links"), Key(link), ..] => {
                // One line a ring, whatever changes of it.
                let line = match (path.last(), old.as_str(), new.as_str()) {
                    (Some(Key("depth")), ..) => format!("{link}.depth: {} → {}", short(old), short(new)),
                    (_, Some(_), None) => format!("{link}: fused → ring"),
                    (_, None, Some(_)) => format!("{link}: ring → fused"),
                    _ => return,
                };
                self.venues[*venue].layout.push(line);
            }
            _ => self.refused.push(format!("{}: needs a restart", said(0))),
        }
    }

    /// Lcores that stages move to, and what lcores do without work.
    fn places(&mut self, old: &Plan, new: &Plan) {
        let known = ranges(&old.lcores.iter().map(|l| l.id).collect::<Vec<_>>());
        for lcore in &new.lcores {
            if old.lcore(lcore.id).is_some_and(|was| was.fifo != lcore.fifo) {
                self.refused.push(format!("lcore {}: fifo: needs a restart", lcore.id));
            }
            match old.lcore(lcore.id) {
                None => self.refused.push(format!(
                    "lcore {} is none of this run's ({known}): name it in \"lcores\" of the file it starts with, to have it in reserve",
                    lcore.id
                )),
                Some(was) if was.idle != lcore.idle => {
                    self.idle.push(format!("lcore {} idle: {:?} → {:?}", lcore.id, was.idle, lcore.idle).to_lowercase());
                }
                Some(_) => {}
            }
        }
        for (venue, wanted) in old.venues.iter().zip(&new.venues) {
            for stage in Stage::ALL {
                let (from, to) = (venue.stage(stage).lcore, wanted.stage(stage).lcore);
                let (Some(here), Some(there)) = (old.lcore(from), old.lcore(to)) else { continue };
                if here.node != there.node {
                    let nodes = format!("node {}, and lcore {to} is on node {}", here.node, there.node);
                    self.refused
                        .push(format!("venue {}: memory of {stage} is on {nodes}: needs a restart", venue.name));
                }
            }
        }
    }

    /// Whether pools are large enough for the rings there will be.
    fn pools(&mut self, old: &Plan, new: &Plan) {
        let same = |a: &PoolPlan, b: &PoolPlan| (a.venue, a.purpose, &a.name) == (b.venue, b.purpose, &b.name);
        for pool in &new.pools {
            let Some(has) = old.pools.iter().find(|p| same(p, pool)) else {
                self.refused.push(format!("pool {}: needs a restart", pool.name));
                continue;
            };
            if pool.mbufs != has.mbufs && pool.mbufs != pool.needed {
                let counts = format!("mbufs: {} → {}", has.mbufs, pool.mbufs);
                self.refused.push(format!("pool {}: {counts}: needs a restart", pool.name));
            }
            // One that was made too small on purpose may stay so.
            if pool.needed > has.mbufs && has.mbufs >= has.needed {
                let remedy = "set venues[].pools in the file it starts with";
                let counts = format!("needs {} mbufs then, and has {}", pool.needed, has.mbufs);
                self.refused.push(format!("pool {}: {counts}: {remedy}", pool.name));
            }
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for venue in &self.venues {
            if venue.is_kept() {
                writeln!(f, "{}: keep", venue.venue)?;
            }
            for (what, lines) in
                [("reconfigure", &venue.parameters), ("reconfigure", &venue.limits), ("move", &venue.layout)]
            {
                for line in lines {
                    writeln!(f, "{}: {what} {line}", venue.venue)?;
                }
            }
        }
        for line in &self.idle {
            writeln!(f, "{line}")?;
        }
        for line in &self.refused {
            writeln!(f, "refused: {line}")?;
        }
        Ok(())
    }
}

/// A step of a path into JSON.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    At(usize),
}

/// Call `differs` for every leaf that is not the same; a list that changes its length is one.
fn compare<'a>(
    old: &'a Value,
    new: &'a Value,
    path: &mut Vec<Step<'a>>,
    differs: &mut impl FnMut(&[Step<'_>], &Value, &Value),
) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                path.push(Step::Key(key));
                let of = |map: &'a serde_json::Map<String, Value>| map.get(key).unwrap_or(&Value::Null);
                compare(of(old), of(new), path, differs);
                path.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                path.push(Step::At(at));
                compare(old, new, path, differs);
                path.pop();
            }
        }
        _ => differs(path, old, new),
    }
}

fn text(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::At(at) => text.push_str(&format!("[{at}]")),
        }
    }
    text
}

/// A value in so many words that it fits a line.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
