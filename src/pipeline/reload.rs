//! A changed pipeline file while it runs: what changes, and carrying it out.
//!
//! In: plans of changed files (read again on request, or known from the start of a replay), pauses and resumptions of venues. Out:
//! changes to strategies, moved stages, and an answer in words. All or nothing is decided before anything is done: a file
//! with an error, or with something that needs a restart, changes nothing.

use super::diff::Diff;
use super::layout::Layout;
use super::plan::{LcorePlan, Link, LinksPlan, Plan, Stage};
use crate::program::Program;
use crate::risk::LimitSet;
use crate::stages::{Change, Outbox};
use std::collections::VecDeque;

/// Changes on their way to one venue, at most; a replay that knows more of them from the start makes room for those.
pub const CHANGES: usize = 64;

/// A changed file of a replay.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// It holds from the first packet of this sequence or a later one.
    pub from_sequence: u64,
    /// What it means.
    pub plan: Plan,
}

/// Carries changes out.
pub struct Reloads<'a> {
    program: &'a Program,
    /// As it runs now, or will when all that is on its way has happened.
    plan: Plan,
    outboxes: Vec<Outbox>,
    /// Layouts that wait until every venue has come to a change of this number.
    waiting: VecDeque<(Vec<u64>, Plan)>,
    /// As the stages lie now.
    laid_out: Plan,
}

impl<'a> Reloads<'a> {
    /// Nothing changed yet: `plan` runs.
    pub fn new(program: &'a Program, plan: &Plan, outboxes: Vec<Outbox>) -> Self {
        Reloads { program, plan: plan.clone(), laid_out: plan.clone(), outboxes, waiting: VecDeque::new() }
    }

    /// Take `plan` for what is to run from `from_sequence` on. What changes parameters is on its way at once; stages move in
    /// [`Reloads::move_stages`].
    ///
    /// # Errors
    /// Everything that needs a restart, parameters that the strategy refuses, too many changes on their way. Nothing has
    /// changed then.
    pub fn take(&mut self, mut plan: Plan, from_sequence: u64) -> Result<Vec<String>, String> {
        let diff = Diff::new(&self.plan, &plan);
        if !diff.refused.is_empty() {
            return Err(diff.refused.join("; "));
        }
        if diff.is_empty() {
            return Ok(vec!["nothing changes".to_owned()]);
        }
        adopt(&mut plan, &self.plan);
        let mut changes = Vec::new();
        for (at, (venue, outbox)) in diff.venues.iter().zip(&mut self.outboxes).enumerate() {
            let wanted = &plan.venues[at];
            let parse = self.program.named(&wanted.strategy).map(|entry| entry.parse);
            let parameters = match (venue.parameters.is_empty(), parse) {
                (false, Some(parse)) => {
                    Some(parse(&wanted.parameters).map_err(|why| format!("venue {}: {why}", venue.venue))?)
                }
                _ => None,
            };
            let limits = (!venue.limits.is_empty()).then(|| Box::new(LimitSet::new(wanted.risk.config.clone())));
            // Also for a move alone: it waits for its packet behind this.
            if !venue.is_kept() {
                outbox.refuses(from_sequence).map_err(|why| format!("venue {}: {why}", venue.venue))?;
                changes.push((at, Change { from_sequence, parameters, limits }));
            }
        }
        for (at, change) in changes {
            // There was room above, and nobody else sends.
            self.outboxes[at].send(change);
        }
        if diff.venues.iter().any(|venue| !venue.layout.is_empty()) || !diff.idle.is_empty() {
            let after = self.outboxes.iter().map(Outbox::sent).collect();
            self.waiting.push_back((after, plan.clone()));
        }
        self.plan = plan;
        Ok(diff.to_string().lines().map(str::to_owned).collect())
    }

    /// The plan that the stages lie by now.
    pub fn laid_out(&self) -> &Plan {
        &self.laid_out
    }

    /// Changes that still wait for their packet.
    pub fn pending(&mut self) -> u64 {
        self.outboxes.iter_mut().map(|outbox| outbox.sent() - outbox.applied()).sum::<u64>() + self.waiting.len() as u64
    }

    /// Move the stages whose turn has come; `between` is called after each venue, which may take most of a second. Says of each
    /// venue what became of it.
    pub fn move_stages(
        &mut self,
        layout: &mut Layout<'_, '_>,
        wake: &mut dyn FnMut(u32),
        between: &mut dyn FnMut(),
    ) -> Vec<String> {
        let mut said = Vec::new();
        while let Some((after, _)) = self.waiting.front() {
            if self.outboxes.iter_mut().zip(after).any(|(outbox, after)| outbox.applied() < *after) {
                break;
            }
            // It is there: it was looked at.
            let Some((_, plan)) = self.waiting.pop_front() else { break };
            said.extend(self.lay_out(plan, layout, wake, between));
        }
        said
    }

    fn lay_out(
        &mut self,
        plan: Plan,
        layout: &mut Layout<'_, '_>,
        wake: &mut dyn FnMut(u32),
        between: &mut dyn FnMut(),
    ) -> Vec<String> {
        let diff = Diff::new(&self.laid_out, &plan);
        let moving = |at: &usize| !diff.venues[*at].layout.is_empty();
        let mut prepared = Vec::new();
        for at in (0..plan.venues.len()).filter(moving) {
            match layout.prepare(&self.laid_out.venues[at], &plan.venues[at]) {
                Ok(rings) => prepared.push((at, rings)),
                Err(err) => return self.stay(vec![format!("stages stay where they are: {err}")]),
            }
        }
        let mut said = Vec::new();
        for (at, rings) in prepared {
            let moved = layout.carry_out(at, rings, &self.laid_out.venues[at], &plan, wake);
            between();
            match moved {
                Ok(paused) => {
                    self.laid_out.venues[at] = plan.venues[at].clone();
                    for (was, lcore) in self.laid_out.lcores.iter_mut().zip(&plan.lcores) {
                        was.segments.retain(|segment| segment.venue != at);
                        was.segments.extend(lcore.segments.iter().filter(|segment| segment.venue == at));
                    }
                    said.push(format!("venue {}: moved; its intake paused for {paused:.1?}", plan.venues[at].name));
                }
                Err(err) => {
                    said.push(err.to_string());
                    return self.stay(said);
                }
            }
        }
        if !diff.idle.is_empty() {
            layout.set_idle(&plan);
        }
        for (was, lcore) in self.laid_out.lcores.iter_mut().zip(&plan.lcores) {
            was.idle = lcore.idle;
        }
        said
    }

    /// The stages stay where they lie, whatever was wanted: what comes next is a change from there.
    fn stay(&mut self, mut said: Vec<String>) -> Vec<String> {
        if !self.waiting.is_empty() {
            said.push(format!("{} later layouts are given up with it", self.waiting.len()));
            self.waiting.clear();
        }
        self.plan.lcores.clone_from(&self.laid_out.lcores);
        for (venue, laid_out) in self.plan.venues.iter_mut().zip(&self.laid_out.venues) {
            (venue.stages, venue.links) = (laid_out.stages, laid_out.links.clone());
            venue.budget.clone_from(&laid_out.budget);
        }
        said
    }
}

/// What a run keeps, whatever the file says: its lcores with their CPUs and nodes, and its pools.
fn adopt(plan: &mut Plan, running: &Plan) {
    let lcores = running.lcores.iter().map(|has| match plan.lcore(has.id) {
        Some(wanted) => LcorePlan { cpus: has.cpus.clone(), node: has.node, cpu_node: has.cpu_node, ..wanted.clone() },
        None => LcorePlan { segments: Vec::new(), ..has.clone() },
    });
    plan.lcores = lcores.collect();
    plan.pools.clone_from(&running.pools);
    for venue in &mut plan.venues {
        let node = |stage| running.lcore(venue.stages[stage as usize].lcore).map_or(0, |lcore| lcore.node);
        let nodes = [Stage::Parse, Stage::Strategy, Stage::Encode, Stage::Tx, Stage::Strategy].map(node);
        let LinksPlan { rx_parse, parse_strategy, strategy_encode, encode_tx, tx_strategy } = &mut venue.links;
        // A ring lies where its consumer is.
        for (link, node) in [rx_parse, parse_strategy, strategy_encode, encode_tx, tx_strategy].into_iter().zip(nodes) {
            if let Link::Ring(ring) = link {
                ring.node = node;
            }
        }
    }
}
