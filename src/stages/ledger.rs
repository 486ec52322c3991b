//! Conservation: what came into a stage left it, was dropped for a reason, or is still held.

use crate::latency::board::{Account, Count};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// One stage's account.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// The stage.
    pub stage: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// What came in.
    #[serde(rename = "in")]
    pub incoming: u64,
    /// What was passed on.
    #[serde(rename = "out")]
    pub outgoing: u64,
    /// What was dropped, by reason; reasons that never happened are left out.
    #[serde(serialize_with = "as_map")]
    pub dropped: Vec<(&'static str, u64)>,
    /// What is still inside.
    pub held: u64,
}

impl Ledger {
    /// An account of `incoming` things.
    pub fn new(stage: &'static str, unit: &'static str, incoming: u64) -> Self {
        Ledger { stage, unit, incoming, outgoing: 0, dropped: Vec::new(), held: 0 }
    }

    /// The account of one stage's numbers.
    pub fn of(stage: &dyn Account) -> Self {
        let mut ledger = Ledger::new("", "", 0);
        stage.account(&mut |entry, n| {
            (ledger.stage, ledger.unit) = (entry.stage, entry.unit);
            match entry.count {
                Count::In => ledger.incoming = n,
                Count::Out => ledger.outgoing = n,
                Count::Held => ledger.held = n,
                Count::Dropped(reason) if n > 0 => ledger.dropped.push((reason, n)),
                Count::Dropped(_) | Count::Bursts | Count::HighWater(_) | Count::Figure(..) => {}
            }
        });
        ledger
    }

    /// How many were passed on.
    #[must_use]
    pub fn out(mut self, n: u64) -> Self {
        self.outgoing = n;
        self
    }

    /// How many were dropped for a reason.
    #[must_use]
    pub fn dropped(mut self, reason: &'static str, n: u64) -> Self {
        if n > 0 {
            self.dropped.push((reason, n));
        }
        self
    }

    /// How many are still inside.
    #[must_use]
    pub fn held(mut self, n: u64) -> Self {
        self.held = n;
        self
    }

    /// Sum of all reasons.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.iter().map(|d| d.1).sum()
    }

    /// in = out + dropped + held.
    pub fn balances(&self) -> bool {
        self.incoming == self.outgoing + self.total_dropped() + self.held
    }
}

fn as_map<S: Serializer>(pairs: &[(&'static str, u64)], s: S) -> Result<S::Ok, S::Error> {
    let mut map = s.serialize_map(Some(pairs.len()))?;
    for (reason, n) in pairs {
        map.serialize_entry(reason, n)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_balances_only_when_everything_is_somewhere() {
        let l = Ledger::new("parse", "frames", 10).out(6).dropped("truncated", 3).dropped("fragment", 0).held(1);
        assert!(l.balances());
        assert_eq!(l.dropped.len(), 1);
        assert!(!l.clone().held(0).balances());
    }
}
