//! What a run came to: counts of everything, the final state of every order, positions, books. Text for a person, JSON
//! for a test.

use super::feed::{Feed, LineCounts};
use super::matching::{Counts, Market, OrderState};
use super::rerequest::{RerequestCounts, Rerequests};
use super::session::{OrderSession, SessionCounts};
use super::snapshot::Snapshots;
use crate::market::{Side, Symbol};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Levels a side of the final books.
const BOOK_LEVELS: usize = 10;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Session of the feed and of the orders.
    pub session: String,
    /// The seed.
    pub seed: u64,
    /// Messages published.
    pub messages: u64,
    /// Data packets published, before any harm.
    pub packets: u64,
    /// Heartbeats of each line.
    pub heartbeats: u64,
    /// Line A, then line B.
    pub lines: Vec<LineCounts>,
    /// Re-requests.
    pub rerequests: RerequestCounts,
    /// Snapshots told.
    pub snapshots: u64,
    /// Logins that the snapshot server refused.
    pub snapshot_logins_refused: u64,
    /// Logins and connections of the order session.
    pub order_session: SessionCounts,
    /// Order messages received.
    pub order_messages: u64,
    /// Sequenced messages of the order session.
    pub responses: u64,
    /// What became of the orders.
    pub orders: Counts,
    /// Client orders by final state.
    pub order_states: BTreeMap<String, u64>,
    /// Shares bought less shares sold, by symbol, where there was a trade.
    pub positions: BTreeMap<String, i64>,
    /// Orders in the final books.
    pub live_orders: u64,
}

/// A client order's final state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderLine {
    /// Its number.
    pub urn: u32,
    /// Its symbol.
    pub symbol: String,
    /// `B`, `S`, `T` or `E`.
    pub side: char,
    /// Shares it asked for.
    pub qty: u32,
    /// Its limit, in 1/10,000.
    pub price: u64,
    /// Shares traded.
    pub filled: u32,
    /// Shares that stand.
    pub leaves: u32,
    /// What became of it.
    pub state: OrderState,
}

/// A final book, as `tickpath replay --books` writes it.
#[derive(Serialize)]
struct BookLine<'a> {
    venue: &'a str,
    symbol: String,
    bids: Vec<(u32, u64)>,
    asks: Vec<(u32, u64)>,
    stale: bool,
}

/// Everything a run leaves behind.
pub struct Report {
    /// The account.
    pub summary: Summary,
    /// Every client order, by number.
    pub orders: Vec<OrderLine>,
    /// The final books of the instruments that ever had one, one JSON object each, by locate code.
    pub books: Vec<String>,
}

impl Report {
    /// The report of a run that is over. `venue` is what the books say.
    pub(super) fn new(
        (seed, venue, order_messages): (u64, &str, u64),
        market: &Market,
        feed: &Feed,
        session: &OrderSession,
        rerequests: &Rerequests,
        snapshots: &Snapshots,
    ) -> Report {
        let orders = order_lines(market);
        let mut order_states = BTreeMap::new();
        let mut positions: BTreeMap<String, i64> = BTreeMap::new();
        for order in &orders {
            *order_states.entry(order.state.to_string()).or_default() += 1;
            if order.filled > 0 {
                let shares = i64::from(order.filled);
                *positions.entry(order.symbol.clone()).or_default() += if order.side == 'B' { shares } else { -shares };
            }
        }
        let summary = Summary {
            session: feed.session().escape_ascii().to_string(),
            seed,
            messages: feed.published().len() as u64,
            packets: feed.packets(),
            heartbeats: feed.heartbeats(),
            lines: feed.counts(),
            rerequests: rerequests.counts(),
            snapshots: snapshots.served(),
            snapshot_logins_refused: snapshots.refused(),
            order_session: session.counts(),
            order_messages,
            responses: session.responses(),
            orders: market.counts().clone(),
            order_states,
            positions,
            live_orders: market.book().len() as u64,
        };
        Report { summary, orders, books: book_lines(market, venue) }
    }
}

fn order_lines(market: &Market) -> Vec<OrderLine> {
    let line = |(&urn, order): (&u32, &super::matching::ClientOrder)| OrderLine {
        urn,
        symbol: Symbol(order.terms.symbol).to_string(),
        side: char::from(order.terms.side),
        qty: order.terms.qty,
        price: order.terms.price,
        filled: order.filled,
        leaves: order.leaves,
        state: order.state,
    };
    market.orders().iter().map(line).collect()
}

fn book_lines(market: &Market, venue: &str) -> Vec<String> {
    let book = market.book();
    let touched = book.instruments().filter(|(_, instrument)| instrument.is_touched);
    touched
        .map(|(locate, instrument)| {
            let side = |side| book.levels(locate, side).into_iter().take(BOOK_LEVELS).collect();
            let symbol = Symbol(instrument.symbol).to_string();
            let line = BookLine { venue, symbol, bids: side(Side::Buy), asks: side(Side::Sell), stale: false };
            // Strings and numbers always serialise.
            serde_json::to_string(&line).expect("a book line is plain data")
        })
        .collect()
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrderState::Live => "live",
            OrderState::Filled => "filled",
            OrderState::Cancelled => "cancelled",
            OrderState::Replaced => "replaced",
            OrderState::Rejected => "rejected",
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "session          {}, seed {}", self.session, self.seed)?;
        writeln!(
            f,
            "published        {} messages in {} packets, {} heartbeats",
            self.messages, self.packets, self.heartbeats
        )?;
        for (line, counts) in ["A", "B"].iter().zip(&self.lines) {
            let LineCounts { sent, dropped, duplicated, reordered, delayed, silenced, refused } = counts;
            writeln!(
                f,
                "line {line}           {sent} sent, {dropped} dropped, {duplicated} duplicated, {reordered} reordered, \
                 {delayed} delayed, {silenced} in a silence, {refused} refused by the kernel"
            )?;
        }
        let RerequestCounts { answered, messages, lost, lies, unanswerable, refused } = self.rerequests;
        writeln!(
            f,
            "re-requests      {answered} answered with {messages} messages, {lost} lost, {lies} lies, {unanswerable} for nothing, \
             {refused} refused"
        )?;
        writeln!(f, "snapshots        {}, {} logins refused", self.snapshots, self.snapshot_logins_refused)?;
        let s = &self.order_session;
        writeln!(
            f,
            "logins           {} of {} connections, {} refused, {} responses replayed",
            s.logins, s.connections, s.logins_refused, s.replayed
        )?;
        writeln!(
            f,
            "partings         {} logouts, {} disconnects: {} broken, {} silent, {} cut off; {} taken over",
            s.logouts, s.disconnects, s.broken, s.timeouts, s.cut_off, s.taken_over
        )?;
        writeln!(f, "order messages   {}, {} responses", self.order_messages, self.responses)?;
        let o = &self.orders;
        writeln!(
            f,
            "orders           {} accepted, {} replaced, {} rejected, {} replaces rejected, {} fills of {} shares",
            o.accepted, o.replaced, o.rejected, o.replaces_rejected, o.fills, o.filled_shares
        )?;
        writeln!(
            f,
            "ignored          {} repeats, {} cancels of unknown orders, {} idle cancels, {} unsupported, {} on request",
            o.repeats, o.unknown_cancels, o.idle_cancels, o.unsupported, o.ignored
        )?;
        let states: Vec<String> = self.order_states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "final states     {}", if states.is_empty() { "none".to_owned() } else { states.join(", ") })?;
        let net: i64 = self.positions.values().sum();
        writeln!(f, "positions        {} symbols, net {net} shares", self.positions.len())?;
        writeln!(f, "live orders      {} at the end", self.live_orders)
    }
}
