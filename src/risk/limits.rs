//! What the gate holds orders against, as plain data: made by the plan, read at launch.

use crate::market::Symbol;
use serde::{Serialize, Serializer};

/// A venue's limits. The default has none: then only the checks that need no number are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RiskConfig {
    /// Of every instrument that has none of its own.
    pub limits: Limits,
    /// Of single instruments, complete.
    #[serde(serialize_with = "by_text")]
    pub instruments: Vec<(Symbol, Limits)>,
    /// Instruments that no order may be sent for.
    #[serde(serialize_with = "as_texts")]
    pub restricted: Vec<Symbol>,
    /// Orders of the venue that may stand at a time.
    pub open_orders: Option<u32>,
    /// Worth of all positions and open orders (×1/10,000).
    pub gross_notional: Option<u64>,
    /// Order messages a second, and how many may come at once.
    pub rate: Option<Rate>,
    /// Prices are whole ticks.
    pub tick: bool,
    /// Shares are whole lots.
    pub lot: bool,
}

/// Limits of one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// How far a price may lie through the book, in 1/100 percent.
    pub collar_bp: Option<u32>,
    /// Shares of an order.
    pub shares: Option<u32>,
    /// Worth of an order (×1/10,000).
    pub notional: Option<u64>,
    /// Shares held, long or short, if everything that may trade on one side does.
    pub position: Option<u64>,
    /// Orders that may stand at a time.
    pub open_orders: Option<u32>,
    /// For how long an order may not be sent again while the same one stands, in ns.
    pub duplicate_ns: Option<u64>,
}

/// A rate of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, at least 1.
    pub burst: u32,
}

impl Default for RiskConfig {
    fn default() -> Self {
        RiskConfig {
            limits: Limits::default(),
            instruments: Vec::new(),
            restricted: Vec::new(),
            open_orders: None,
            gross_notional: None,
            rate: None,
            tick: true,
            lot: true,
        }
    }
}

fn by_text<S: Serializer>(pairs: &[(Symbol, Limits)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(symbol, limits)| (symbol.to_string(), limits)))
}

fn as_texts<S: Serializer>(symbols: &[Symbol], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(symbols.iter().map(Symbol::to_string))
}
