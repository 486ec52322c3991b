//! What BOE and FIX say of an order beyond what the market says: responses come in, and each order's terms, what is left of
//! it and what was executed of it and of those it replaced are kept.
//!
//! In both protocols the quantity of a replacement is that of the whole order, what was executed included; the market's is
//! what shall stand.

use super::orders::{Request, Response, Terms};
use std::collections::BTreeMap;

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says; its quantity is what stood first.
    pub terms: Terms,
    /// Shares of the whole order, executed ones of those it came in place of included.
    pub whole: u32,
    /// Shares that are left.
    pub leaves: u32,
    /// Shares executed, also of the orders it came in place of.
    pub executed: u32,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Blotter {
    lines: BTreeMap<u32, Line>,
    /// What was asked for last: a refusal is of it.
    asked: Option<Request>,
}

impl Blotter {
    /// The request as the market takes it.
    pub fn asks(&mut self, request: Request) -> Request {
        let request = match request {
            Request::Replace { original, urn, qty, price, time_in_force, display, sweep, client_id } => {
                let executed = self.lines.get(&original).map_or(0, |line| line.executed);
                let qty = qty.saturating_sub(executed);
                Request::Replace { original, urn, qty, price, time_in_force, display, sweep, client_id }
            }
            request => request,
        };
        self.asked = Some(request);
        request
    }

    /// What the last request was, of which a refusal speaks.
    pub fn asked(&self) -> Option<Request> {
        self.asked
    }

    /// An order that stands or has stood.
    pub fn line(&self, urn: u32) -> Option<Line> {
        self.lines.get(&urn).copied()
    }

    /// The order of a response, as it is after it.
    pub fn apply(&mut self, response: &Response) -> Option<Line> {
        match *response {
            Response::Accepted { urn, terms, .. } => {
                let line = Line { terms, whole: terms.qty, leaves: terms.qty, executed: 0 };
                self.lines.insert(urn, line);
                Some(line)
            }
            Response::Replaced { original, urn, terms, .. } => {
                let executed = self.lines.get(&original).map_or(0, |line| line.executed);
                let line = Line { terms, whole: terms.qty + executed, leaves: terms.qty, executed };
                self.lines.insert(urn, line);
                Some(line)
            }
            Response::Canceled { urn, qty, .. } => {
                let line = self.lines.get_mut(&urn)?;
                line.leaves = line.leaves.saturating_sub(qty);
                Some(*line)
            }
            Response::Executed { urn, qty, .. } => {
                let line = self.lines.get_mut(&urn)?;
                line.leaves = line.leaves.saturating_sub(qty);
                line.executed += qty;
                Some(*line)
            }
            Response::System { .. } | Response::Query { .. } | Response::Rejected { .. } => None,
        }
    }
}
