//! The shipped strategy: a quote on both sides of a fair price, moved when the fair price has moved far enough.
//!
//! Book changes and order events come in; enters, replaces and cancels go out. It works on *intended* state: an order
//! counts as live when it is handed over, and a reject restores what stood before: the order handed over before it, if
//! it never left, and the one the exchange confirmed last, if the exchange refused. A side whose cancel is on its way is
//! not quoted until that is answered, so that no more than one quote a side can stand. What it will not quote on (a stale,
//! crossed, locked or one-sided book, a halted instrument) it pulls its quotes from, and counts.
//!
//! The fair price, all of it in fixed point (1/65,536 of 1/10,000):
//!
//! * the depth of a side is the sum of its first `levels` levels, each weighing `level_decay_percent` less than the one
//!   before; the imbalance is (bid depth − ask depth) / (bid depth + ask depth), from −1 to 1;
//! * the weighted mid is the mid, moved by the imbalance times half the market's spread;
//! * two signals move it further: the imbalance, and the distance of the weighted mid from its own moving average;
//! * an inventory moves it against itself.

use super::{BooksLost, InstrumentSpec, Orders, Strategy};
use crate::book::{Book, MAX_PRICE};
use crate::cpu;
use crate::market::{Instrument, OrderEvent, OrderEventKind, Price, Refusal, Side, Status};

/// Most cancels a packet when every quote has to go.
const SWEEP_CANCELS: u32 = 64;
/// Most instruments looked at for that.
const SWEEP_INSTRUMENTS: usize = 1024;
/// So many instruments before one is looked at, its memory is asked for.
const SWEEP_AHEAD: usize = 8;

/// Fraction bits of a fixed-point price. A price has 34 bits, so products with 12-bit factors fit an `i64`.
const FRACTION: u32 = 16;
/// Fraction bits of factors.
const FACTOR: u32 = 12;

const HALTED: u16 = 1;
/// A pull came back: try again.
const PULL: u16 = 2;
/// The moving average holds a price of this session.
const AVERAGED: u16 = 4;
/// Shares are held or owed.
const POSITION: u16 = 8;
/// Per side: a cancel is on its way.
const LEAVING: [u16; 2] = [16, 32];

const NO_ORDER: u64 = 0;

/// Parameters of the [`Quoter`]. Every one has a default.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuoterParameters {
    /// Levels of each side that are weighed: 1 to 16.
    #[schemars(range(min = 1, max = 16))]
    pub levels: u32,
    /// How much less each level weighs than the better one before it, in percent: 0 (all alike) to 100 (only the touch).
    #[schemars(range(max = 100))]
    pub level_decay_percent: u32,
    /// How far a full imbalance moves the fair price, in percent of a tick: -10,000 to 10,000.
    #[schemars(range(min = -10_000, max = 10_000))]
    pub imbalance_percent: i32,
    /// How much of its distance from the moving average is added to the weighted mid, in percent: -100 (quote the average) to 100 (follow the trend).
    #[schemars(range(min = -100, max = 100))]
    pub trend_percent: i32,
    /// Length of the exponential moving average, in changes of the book: 1 to 4,000.
    #[schemars(range(min = 1, max = 4_000))]
    pub average_changes: u32,
    /// How far a full position moves the fair price against itself, in ticks: 0 to 1,000.
    #[schemars(range(max = 1_000))]
    pub skew_ticks: u32,
    /// Distance of each quote from the fair price, in ticks: 1 to 10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub half_spread_ticks: u32,
    /// A quote stays until it is this far from where it should be, in ticks: 1 to 10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub requote_ticks: u32,
    /// Size of a quote, in round lots: 1 to 9,999.
    #[schemars(range(min = 1, max = 9_999))]
    pub quote_lots: u32,
    /// Largest position, long or short, in round lots: 1 to 100,000. Quotes shrink as it is approached.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_position_lots: u32,
}

impl Default for QuoterParameters {
    fn default() -> Self {
        QuoterParameters {
            levels: 5,
            level_decay_percent: 40,
            imbalance_percent: 50,
            trend_percent: 25,
            average_changes: 32,
            skew_ticks: 4,
            half_spread_ticks: 2,
            requote_ticks: 1,
            quote_lots: 1,
            max_position_lots: 10,
        }
    }
}

/// Quotes both sides of every instrument it is told of.
#[derive(Debug)]
pub struct Quoter {
    parameters: QuoterParameters,
    /// Weight of each level, in 1/256.
    weights: [u32; 16],
    /// So many of them are more than 0.
    weighed: usize,
    /// Weight of a new price in the moving average, in 1/4,096.
    alpha: i64,
    /// `trend_percent` in 1/4,096.
    trend: i64,
    quotes: Box<[Quotes]>,
    /// All instruments from this one on have not been named: nothing stands in them.
    named: usize,
    /// Times that every book was lost; quotes decided on before the last time have to go. It wraps around after more
    /// losses, each with its packet, than the search takes packets to go round.
    losses: u16,
    why: BooksLost,
    /// Where the search for quotes that have to go stands; it goes round.
    sweep: usize,
    /// Instruments it has still to look at.
    to_sweep: usize,
    counters: Counters,
}

/// One instrument: what decisions need in the first line, what answers need in the others.
#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Quotes {
    /// Per side: the order that is meant to stand, id 0 for none.
    ids: [u64; 2],
    prices: [i64; 2],
    qtys: [u32; 2],
    /// Per side: shares to quote, whole lots within the position limit.
    sizes: [u32; 2],
    /// Moving average of the weighted mid, fixed point.
    average: i64,
    /// Step of prices; 0: not quoted.
    tick: u32,
    flags: u16,
    /// `losses` when this instrument was last decided on.
    losses: u16,
    /// Per side: what was meant to stand before the last order was handed over.
    before: [Quote; 2],
    /// Per side: what the exchange confirmed last, while it stands.
    confirmed: [Quote; 2],
    /// Shares held, short negative.
    position: i32,
    lot: u32,
}

/// One quote; id 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Quote {
    id: u64,
    price: i64,
    qty: u32,
}

const _: () = assert!(std::mem::offset_of!(Quotes, before) == 64 && size_of::<Quotes>() == 192);

#[derive(Debug, Default)]
struct Counters {
    quotes_entered: u64,
    replaced: u64,
    cancelled: u64,
    pulled_crossed: u64,
    pulled_stale: u64,
    pulled_one_sided: u64,
    pulled_halted: u64,
    pulled_restart: u64,
    pulled_limit: u64,
    pulled_stop: u64,
    fills: u64,
    rejects: u64,
    local_rejects: u64,
    cancel_rejects: u64,
    no_room: u64,
}

impl Strategy for Quoter {
    const NAME: &'static str = "quoter";
    type Parameters = QuoterParameters;

    fn new(parameters: QuoterParameters, instruments: usize) -> Result<Self, String> {
        let p = &parameters;
        within("levels", p.levels, 1, 16)?;
        within("level_decay_percent", p.level_decay_percent, 0, 100)?;
        within("imbalance_percent", p.imbalance_percent, -10_000, 10_000)?;
        within("trend_percent", p.trend_percent, -100, 100)?;
        within("average_changes", p.average_changes, 1, 4_000)?;
        within("skew_ticks", p.skew_ticks, 0, 1_000)?;
        within("half_spread_ticks", p.half_spread_ticks, 1, 10_000)?;
        within("requote_ticks", p.requote_ticks, 1, 10_000)?;
        within("quote_lots", p.quote_lots, 1, 9_999)?;
        within("max_position_lots", p.max_position_lots, 1, 100_000)?;
        let mut quoter = Quoter {
            weights: [0; 16],
            weighed: 0,
            alpha: 0,
            trend: 0,
            quotes: vec![Quotes::default(); instruments].into_boxed_slice(),
            named: 0,
            losses: 0,
            why: BooksLost::SessionStart,
            sweep: 0,
            to_sweep: 0,
            counters: Counters::default(),
            parameters: QuoterParameters::default(),
        };
        quoter.reconfigure(&parameters);
        Ok(quoter)
    }

    fn reconfigure(&mut self, parameters: &QuoterParameters) {
        self.parameters.clone_from(parameters);
        let p = &self.parameters;
        let mut weight = 256;
        self.weights = [0; 16];
        for slot in &mut self.weights[..p.levels as usize] {
            *slot = weight;
            weight = weight * (100 - p.level_decay_percent) / 100;
        }
        self.weighed = self.weights.iter().take_while(|weight| **weight > 0).count();
        self.alpha = (2 << FACTOR) / (i64::from(p.average_changes) + 1);
        self.trend = (i64::from(p.trend_percent) << FACTOR) / 100;
    }

    fn on_instrument(&mut self, instrument: Instrument, spec: &InstrumentSpec) {
        let largest = i32::MAX as u32 / self.parameters.max_position_lots.max(self.parameters.quote_lots);
        let Some(quotes) = self.quotes.get_mut(instrument.0 as usize) else { return };
        let more = (instrument.0 as usize + 1).saturating_sub(self.named);
        self.named += more;
        // Who goes round goes round them too.
        self.to_sweep += if self.to_sweep > 0 { more } else { 0 };
        // A step or lot beyond reason: not quoted, rather than computed wrongly.
        quotes.tick = u32::try_from(spec.tick.0).ok().filter(|&tick| tick <= 10_000_000).unwrap_or(0);
        quotes.lot = spec.lot;
        if spec.lot == 0 || spec.lot > largest {
            quotes.tick = 0;
        }
        quotes.size(&self.parameters);
    }

    #[inline]
    fn prefetch(&self, instrument: Instrument) {
        if let Some(quotes) = self.quotes.get(instrument.0 as usize) {
            cpu::prefetch(quotes);
        }
    }

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        let instrument = book.instrument();
        let Some(quotes) = self.quotes.get_mut(instrument.0 as usize) else { return };
        if quotes.tick == 0 || !book.complete() {
            return;
        }
        if quotes.losses != self.losses {
            quotes.losses = self.losses;
            quotes.flags &= !AVERAGED;
        }
        quotes.flags &= !PULL;
        let counters = &mut self.counters;
        let touch = (book.best_bid(), book.best_ask());
        let pulled = match touch {
            _ if book.stale() => Some(&mut counters.pulled_stale),
            (Some(bid), Some(ask)) if bid.price >= ask.price => Some(&mut counters.pulled_crossed),
            (Some(_), Some(_)) if quotes.flags & HALTED == 0 => None,
            (Some(_), Some(_)) => Some(&mut counters.pulled_halted),
            _ => Some(&mut counters.pulled_one_sided),
        };
        let (None, (Some(bid), Some(ask))) = (&pulled, touch) else {
            let pulled = pulled.expect("a book with a side missing has a reason above");
            *pulled += quotes.pull(instrument, orders, &mut counters.cancelled);
            if quotes.flags & PULL != 0 {
                self.to_sweep = self.named;
            }
            return;
        };
        let (bid, ask) = (bid.price.0, ask.price.0);

        let weights = &self.weights[..self.weighed];
        let [buys, sells] = [Side::Buy, Side::Sell].map(|side| book.weigh(side, weights) as i64);
        // These have at most 29 + 8 + 4 bits; with no weight on what stands the sides count as equal.
        let imbalance = ((buys - sells) << FACTOR) / (buys + sells).max(1);
        let weighted = ((bid + ask) << (FRACTION - 1)) + (((ask - bid) * imbalance) << (FRACTION - FACTOR - 1));
        if quotes.flags & AVERAGED == 0 {
            quotes.average = weighted;
            quotes.flags |= AVERAGED;
        }
        let distance = weighted - quotes.average;
        quotes.average += (distance * self.alpha) >> FACTOR;
        let fair = weighted + ((distance * self.trend) >> FACTOR) + quotes.lean(imbalance, &self.parameters);
        quotes.requote(instrument, fair, bid, ask, &self.parameters, orders, counters);
    }

    fn on_status(&mut self, instrument: Instrument, status: Status, orders: &mut Orders) {
        let Some(quotes) = self.quotes.get_mut(instrument.0 as usize) else { return };
        match status {
            Status::Trading => quotes.flags &= !HALTED,
            Status::Halted | Status::QuoteOnly => {
                quotes.flags |= HALTED;
                self.counters.pulled_halted += quotes.pull(instrument, orders, &mut self.counters.cancelled);
                if quotes.flags & PULL != 0 {
                    self.to_sweep = self.named;
                }
            }
            Status::ShortSaleRestricted | Status::ShortSaleFree => {}
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _orders: &mut Orders) {
        match event.kind {
            OrderEventKind::LocalReject => self.counters.local_rejects += 1,
            OrderEventKind::Rejected => self.counters.rejects += 1,
            OrderEventKind::CancelRejected => self.counters.cancel_rejects += 1,
            OrderEventKind::Filled => self.counters.fills += 1,
            _ => {}
        }
        let Some(quotes) = self.quotes.get_mut(event.instrument.0 as usize) else { return };
        quotes.learn(event);
        if event.kind == OrderEventKind::Filled {
            quotes.size(&self.parameters);
        }
        if quotes.flags & PULL != 0 {
            self.to_sweep = self.named;
        }
    }

    fn on_books_lost(&mut self, why: BooksLost, _orders: &mut Orders) {
        self.losses = self.losses.wrapping_add(1);
        self.why = why;
        self.to_sweep = self.named;
    }

    fn on_stop(&mut self, orders: &mut Orders) {
        for (i, quotes) in self.quotes.iter_mut().enumerate() {
            if orders.room() < 2 {
                return;
            }
            let instrument = Instrument(i as u32);
            // After a pause the average is of another time.
            quotes.flags &= !AVERAGED;
            self.counters.pulled_stop += quotes.pull(instrument, orders, &mut self.counters.cancelled);
        }
    }

    #[inline]
    fn on_packet(&mut self, orders: &mut Orders) {
        if self.to_sweep > 0 {
            self.sweep(orders);
        }
    }

    fn counters(&self, see: &mut dyn FnMut(&'static str, u64)) {
        let c = &self.counters;
        see("quotes_entered", c.quotes_entered);
        see("replaced", c.replaced);
        see("cancelled", c.cancelled);
        see("pulled_crossed", c.pulled_crossed);
        see("pulled_stale", c.pulled_stale);
        see("pulled_one_sided", c.pulled_one_sided);
        see("pulled_halted", c.pulled_halted);
        see("pulled_restart", c.pulled_restart);
        see("pulled_limit", c.pulled_limit);
        see("pulled_stop", c.pulled_stop);
        see("fills", c.fills);
        see("rejects", c.rejects);
        see("local_rejects", c.local_rejects);
        see("cancel_rejects", c.cancel_rejects);
        see("no_room", c.no_room);
    }
}

impl Quoter {
    /// Pull a bounded piece of what has to go.
    #[cold]
    fn sweep(&mut self, orders: &mut Orders) {
        let mut cancels = 0;
        for _ in 0..SWEEP_INSTRUMENTS.min(self.to_sweep) {
            if let Some(ahead) = self.quotes.get(self.sweep + SWEEP_AHEAD) {
                cpu::prefetch(ahead);
            }
            let Some(quotes) = self.quotes.get_mut(self.sweep) else { return };
            if quotes.losses != self.losses || quotes.flags & PULL != 0 {
                if cancels + 2 > SWEEP_CANCELS || orders.room() < 2 {
                    return;
                }
                let pulled = quotes.pull(Instrument(self.sweep as u32), orders, &mut self.counters.cancelled);
                cancels += pulled as u32;
                match self.why {
                    BooksLost::Gap | BooksLost::Late => self.counters.pulled_stale += pulled,
                    BooksLost::SessionStart => self.counters.pulled_restart += pulled,
                }
                quotes.losses = self.losses;
                quotes.flags &= !AVERAGED;
            }
            self.sweep = if self.sweep + 1 >= self.named { 0 } else { self.sweep + 1 };
            self.to_sweep -= 1;
        }
    }
}

impl Quotes {
    /// How far the imbalance and the position move the fair price.
    #[inline]
    fn lean(&self, imbalance: i64, p: &QuoterParameters) -> i64 {
        let tick = i64::from(self.tick);
        let mut lean = (imbalance * tick * i64::from(p.imbalance_percent) / 100) << (FRACTION - FACTOR);
        if self.flags & POSITION != 0 {
            let full = i64::from(p.max_position_lots) * i64::from(self.lot);
            let share = (i64::from(self.position).clamp(-full, full) << FACTOR) / full;
            lean -= (share * i64::from(p.skew_ticks) * tick) << (FRACTION - FACTOR);
        }
        lean
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // one decision, all of its facts
    fn requote(
        &mut self,
        instrument: Instrument,
        fair: i64,
        best_bid: i64,
        best_ask: i64,
        p: &QuoterParameters,
        orders: &mut Orders,
        counters: &mut Counters,
    ) {
        let tick = i64::from(self.tick);
        let away = (i64::from(p.half_spread_ticks) * tick) << FRACTION;
        // Wanted prices, not yet on the grid; never through the market's other side.
        let wanted = [(fair - away) >> FRACTION, (fair + away) >> FRACTION];
        let bounds = [best_ask - tick, best_bid + tick];
        let sizes = self.sizes;
        let slack = i64::from(p.requote_ticks) * tick;
        let moved = |side: usize| {
            let price = self.prices[side];
            let through = if side == 0 { price > bounds[0] } else { price < bounds[1] };
            self.ids[side] == NO_ORDER
                || through
                || (wanted[side] - price).abs() >= slack
                || self.qtys[side] > sizes[side]
        };
        let (buy, sell) = (moved(0), moved(1));
        if !buy && !sell {
            return;
        }
        let mut moves = [buy, sell];
        if orders.room() < 2 {
            counters.no_room += 1;
            return;
        }
        let targets = [
            wanted[0].min(bounds[0]).div_euclid(tick) * tick,
            (wanted[1].max(bounds[1]) + tick - 1).div_euclid(tick) * tick,
        ];
        let lands = |side: usize| if moves[side] { targets[side] } else { self.prices[side] };
        if lands(0) >= lands(1) {
            moves = [true; 2];
        }
        // The side in the way of the other goes first, so that own quotes do not meet in between either.
        let up = self.ids[1] != NO_ORDER && targets[0] >= self.prices[1];
        for side in if up { [Side::Sell, Side::Buy] } else { [Side::Buy, Side::Sell] } {
            let i = side as usize;
            if !moves[i] || self.flags & LEAVING[i] != 0 {
                continue;
            }
            let (price, qty) = (targets[i], sizes[i]);
            if qty == 0 || price <= 0 || price > MAX_PRICE.0 {
                counters.pulled_limit += self.pull_side(instrument, side, orders, &mut counters.cancelled);
            } else if self.ids[i] == NO_ORDER {
                if let Some(id) = orders.enter(instrument, side, qty, Price(price)) {
                    self.stands(i, id, price, qty);
                    counters.quotes_entered += 1;
                }
            } else if price != self.prices[i] || qty < self.qtys[i] {
                match orders.replace(instrument, side, self.ids[i], qty, Price(price)) {
                    Some(id) => {
                        self.stands(i, id, price, qty);
                        counters.replaced += 1;
                    }
                    // There is room: the session cannot say it, and what stands is out of place.
                    None => counters.pulled_limit += self.pull_side(instrument, side, orders, &mut counters.cancelled),
                }
            }
        }
    }

    /// Shares to quote on each side, at this position.
    fn size(&mut self, p: &QuoterParameters) {
        let lot = i64::from(self.lot);
        let (quote, most) = (i64::from(p.quote_lots) * lot, i64::from(p.max_position_lots) * lot);
        let position = i64::from(self.position);
        self.sizes = [most - position, most + position].map(|left| {
            if left >= quote {
                return quote as u32;
            }
            (left.max(0) / lot.max(1) * lot) as u32
        });
        self.flags = if position == 0 { self.flags & !POSITION } else { self.flags | POSITION };
    }

    /// Pull both sides; how many quotes went. Those that found no room go in the next sweep.
    #[inline]
    fn pull(&mut self, instrument: Instrument, orders: &mut Orders, cancelled: &mut u64) -> u64 {
        self.flags &= !PULL;
        if self.ids == [NO_ORDER; 2] {
            return 0;
        }
        let pulled = self.pull_side(instrument, Side::Buy, orders, cancelled)
            + self.pull_side(instrument, Side::Sell, orders, cancelled);
        if self.ids != [NO_ORDER; 2] {
            self.flags |= PULL;
        }
        pulled
    }

    fn pull_side(&mut self, instrument: Instrument, side: Side, orders: &mut Orders, cancelled: &mut u64) -> u64 {
        let i = side as usize;
        if self.ids[i] == NO_ORDER {
            return 0;
        }
        if orders.cancel(instrument, side, self.ids[i]).is_none() {
            return 0;
        }
        self.stands(i, NO_ORDER, 0, 0);
        self.flags |= LEAVING[i];
        *cancelled += 1;
        1
    }

    /// From now on this is meant to stand.
    #[inline]
    fn stands(&mut self, i: usize, id: u64, price: i64, qty: u32) {
        self.before[i] = Quote { id: self.ids[i], price: self.prices[i], qty: self.qtys[i] };
        (self.ids[i], self.prices[i], self.qtys[i]) = (id, price, qty);
    }

    /// From now on this is meant to stand, and nothing is on its way.
    fn settle(&mut self, i: usize, quote: Quote) {
        (self.ids[i], self.prices[i], self.qtys[i]) = (quote.id, quote.price, quote.qty);
        self.before[i] = Quote::default();
        self.flags &= !LEAVING[i];
    }

    /// What an event says about the orders.
    fn learn(&mut self, event: &OrderEvent) {
        let i = event.side as usize;
        let standing = event.id == self.ids[i];
        // What leaves was meant to stand until its cancel was handed over.
        let leaving = self.flags & LEAVING[i] != 0 && event.id == self.before[i].id;
        match event.kind {
            OrderEventKind::Accepted | OrderEventKind::Replaced => {
                self.confirmed[i] = Quote { id: event.id, price: event.price.0, qty: event.qty };
                if standing {
                    self.qtys[i] = event.qty;
                } else if event.id == self.before[i].id {
                    self.before[i].qty = event.qty;
                }
            }
            // It never left, or its cancel did not: what it was to change still stands.
            OrderEventKind::LocalReject if standing || leaving => {
                let pull = leaving || !passing(event.reason);
                self.settle(i, self.before[i]);
                self.flags |= if pull && self.ids[i] != NO_ORDER { PULL } else { 0 };
            }
            // What the exchange confirmed last still stands; if that was to go, it still has to.
            OrderEventKind::Rejected if standing || leaving => {
                self.settle(i, self.confirmed[i]);
                self.flags |= if leaving && self.ids[i] != NO_ORDER { PULL } else { 0 };
            }
            // It stands. To ask again at once would be refused again: the next decision will.
            OrderEventKind::CancelRejected if leaving => {
                let confirmed = self.confirmed[i];
                self.settle(i, if confirmed.id == NO_ORDER { self.before[i] } else { confirmed });
            }
            OrderEventKind::LocalReject | OrderEventKind::Rejected => {}
            OrderEventKind::CancelRejected | OrderEventKind::CancelPending => {}
            OrderEventKind::Cancelled => self.take_off(i, event),
            OrderEventKind::Filled => {
                let shares = i32::try_from(event.qty).unwrap_or(i32::MAX);
                self.position = match event.side {
                    Side::Buy => self.position.saturating_add(shares),
                    Side::Sell => self.position.saturating_sub(shares),
                };
                self.take_off(i, event);
            }
        }
    }

    /// Shares of an order went, by a fill or a cancel.
    fn take_off(&mut self, i: usize, event: &OrderEvent) {
        if event.id == self.ids[i] {
            self.qtys[i] = self.qtys[i].saturating_sub(event.qty);
            if self.qtys[i] == 0 {
                self.ids[i] = NO_ORDER;
            }
        }
        for quote in [&mut self.before[i], &mut self.confirmed[i]] {
            if event.id != quote.id {
                continue;
            }
            quote.qty = quote.qty.saturating_sub(event.qty);
            if quote.qty == 0 {
                *quote = Quote::default();
            }
        }
        if self.before[i].id == NO_ORDER {
            self.flags &= !LEAVING[i];
        }
    }
}

/// Whether a refusal is of this moment, so that what stands may stay until the next attempt.
fn passing(reason: u16) -> bool {
    [Refusal::NoRoom, Refusal::SessionDown, Refusal::NoSlot, Refusal::NotStanding, Refusal::Rate]
        .iter()
        .any(|refusal| *refusal as u16 == reason)
}

fn within<T: PartialOrd + std::fmt::Display>(name: &str, found: T, least: T, most: T) -> Result<(), String> {
    if found < least || found > most {
        return Err(format!("{name} is {found}; expected {least} to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{self, Arena};
    use crate::book::{BookConfig, Books};
    use crate::market::{Element, Order, OrderKind, OrderLimits, Packet, Symbol};

    const TICK: i64 = 100;

    /// A quoter, its books and what it asked for.
    struct Desk<'m> {
        books: Books<'m>,
        quoter: Quoter,
        orders: Orders,
        /// What the exchange has not answered: it does before the next decision.
        unanswered: Vec<Order>,
    }

    impl Desk<'_> {
        fn level(&mut self, instrument: u32, side: Side, price: i64, qty: u32) {
            let instrument = Instrument(instrument);
            self.books.apply(&Element::Level { instrument, side, complete: true, qty, price: Price(price) });
        }

        fn book(&mut self, instrument: u32, bid: i64, ask: i64) {
            self.level(instrument, Side::Buy, bid, 500);
            self.level(instrument, Side::Sell, ask, 500);
        }

        fn decide(&mut self, instrument: u32) -> Vec<Order> {
            self.answer();
            self.decide_unanswered(instrument)
        }

        fn decide_unanswered(&mut self, instrument: u32) -> Vec<Order> {
            self.orders.clear();
            self.quoter.on_book(&self.books.book(Instrument(instrument)), &mut self.orders);
            self.collect()
        }

        fn packet(&mut self) -> Vec<Order> {
            self.answer();
            self.orders.clear();
            self.quoter.on_packet(&mut self.orders);
            self.collect()
        }

        fn collect(&mut self) -> Vec<Order> {
            let orders = self.orders.pending().to_vec();
            self.unanswered.extend(&orders);
            orders
        }

        /// Everything went as asked.
        fn answer(&mut self) {
            let all = std::mem::take(&mut self.unanswered);
            self.go_as_asked(all);
        }

        fn go_as_asked(&mut self, orders: Vec<Order>) {
            for order in orders {
                let (kind, qty) = match order.kind {
                    Enter => (Accepted, order.qty),
                    Replace => (Replaced, order.qty),
                    Cancel => (Cancelled, u32::MAX),
                };
                self.tell(&order, kind, qty, Refusal::NoRoom);
            }
        }

        fn event(&mut self, order: &Order, kind: OrderEventKind, qty: u32) {
            let about = |other: &Order| (other.id, other.kind) == (order.id, order.kind);
            let (this, others) = std::mem::take(&mut self.unanswered).into_iter().partition(about);
            self.unanswered = others;
            if matches!(kind, Filled | Cancelled) {
                self.go_as_asked(this);
            }
            self.tell(order, kind, qty, Refusal::NoRoom);
        }

        fn tell(&mut self, order: &Order, kind: OrderEventKind, qty: u32, refusal: Refusal) {
            let Order { id, price, instrument, side, .. } = *order;
            let event = OrderEvent {
                id,
                price,
                instrument,
                qty,
                kind,
                side,
                replaced_id: 0,
                rx_tsc: 0,
                exchange_ns: 0,
                match_id: 0,
                reason: refusal as u16,
            };
            self.quoter.on_order_event(&event, &mut self.orders);
        }

        fn counter(&self, name: &str) -> u64 {
            let mut found = None;
            self.quoter.counters(&mut |n, value| found = if n == name { Some(value) } else { found });
            found.unwrap_or_else(|| panic!("no counter {name}"))
        }
    }

    /// No opinion: quotes a tick around the mid.
    fn plain() -> QuoterParameters {
        QuoterParameters {
            imbalance_percent: 0,
            trend_percent: 0,
            half_spread_ticks: 2,
            requote_ticks: 1,
            ..QuoterParameters::default()
        }
    }

    fn desk(parameters: QuoterParameters, room: usize, test: impl FnOnce(&mut Desk<'_>)) {
        let config = BookConfig { instruments: 200, orders: 0, depth_levels: 8, spill_levels: 0 };
        let mut region = arena::heap(config.bytes());
        let books = Books::new(&config, &mut Arena::new(&mut region)).unwrap();
        let mut quoter = Quoter::new(parameters, 200).unwrap();
        let mut orders = Orders::new(room, 200);
        orders.begin(&Packet::default());
        let spec = InstrumentSpec { symbol: Symbol(*b"TEST    "), lot: 100, tick: Price(TICK) };
        (0..200).for_each(|i| quoter.on_instrument(Instrument(i), &spec));
        test(&mut Desk { books, quoter, orders, unanswered: Vec::new() });
    }

    fn told(orders: &[Order]) -> Vec<(OrderKind, Side, i64, u32)> {
        orders.iter().map(|o| (o.kind, o.side, o.price.0, o.qty)).collect()
    }

    use OrderEventKind::{Accepted, CancelRejected, Cancelled, Filled, LocalReject, Rejected, Replaced};
    use OrderKind::{Cancel, Enter, Replace};
    use Side::{Buy, Sell};

    #[test]
    fn both_sides_are_quoted_around_the_mid() {
        desk(plain(), 8, |desk| {
            desk.book(3, 99_000, 101_000);
            assert_eq!(told(&desk.decide(3)), [(Enter, Buy, 99_800, 100), (Enter, Sell, 100_200, 100)]);
            assert_eq!(desk.counter("quotes_entered"), 2);
        });
    }

    #[test]
    fn a_quote_that_the_session_cannot_say_in_its_new_place_is_pulled() {
        desk(plain(), 8, |desk| {
            desk.book(3, 99_000, 101_000);
            desk.decide(3);
            let limits = OrderLimits { id: 99, qty: 999, price: Price(101_000) };
            desk.orders = std::mem::replace(&mut desk.orders, Orders::new(1, 1)).within(limits);
            desk.level(3, Buy, 99_000, 0);
            desk.level(3, Sell, 101_000, 0);
            desk.book(3, 100_000, 102_000);
            // The bid goes to 100,800, beyond the ask that stood; the ask would go to 101,200.
            assert_eq!(told(&desk.decide(3)), [(Cancel, Sell, 0, 0), (Replace, Buy, 100_800, 100)]);
            assert_eq!((desk.counter("pulled_limit"), desk.orders.unsayable()), (1, 1));
        });
    }

    #[test]
    fn the_weighted_mid_leans_to_the_thin_side() {
        desk(plain(), 8, |desk| {
            desk.level(0, Buy, 99_000, 300);
            desk.level(0, Sell, 101_000, 100);
            // Imbalance (300 - 100) / 400 = 1/2 moves the mid by half of 1,000.
            assert_eq!(told(&desk.decide(0)), [(Enter, Buy, 100_300, 100), (Enter, Sell, 100_700, 100)]);
        });
    }

    #[test]
    fn deeper_levels_weigh_less() {
        desk(QuoterParameters { levels: 2, level_decay_percent: 50, ..plain() }, 8, |desk| {
            desk.level(0, Buy, 99_000, 100);
            desk.level(0, Buy, 98_000, 400);
            desk.level(0, Buy, 97_000, 9_999);
            desk.level(0, Sell, 101_000, 100);
            // Depths 100 + 400 / 2 and 100: imbalance 1/2.
            assert_eq!(told(&desk.decide(0)), [(Enter, Buy, 100_300, 100), (Enter, Sell, 100_700, 100)]);
        });
    }

    #[test]
    fn the_imbalance_signal_moves_the_fair_price_in_ticks() {
        desk(QuoterParameters { imbalance_percent: 800, ..plain() }, 8, |desk| {
            desk.level(0, Buy, 99_000, 300);
            desk.level(0, Sell, 101_000, 100);
            // Half an imbalance of 8 ticks: 400 above the case without the signal, ask and bid alike.
            assert_eq!(told(&desk.decide(0)), [(Enter, Buy, 100_700, 100), (Enter, Sell, 101_100, 100)]);
        });
    }

    #[test]
    fn the_moving_average_follows_at_its_length() {
        desk(QuoterParameters { trend_percent: -100, average_changes: 3, requote_ticks: 1, ..plain() }, 8, |desk| {
            desk.book(0, 99_000, 101_000);
            desk.decide(0);
            desk.level(0, Buy, 99_000, 0);
            desk.level(0, Sell, 101_000, 0);
            desk.book(0, 99_800, 101_800);
            // -100 %: quote the average before this change, 100,000 although the mid is 100,800.
            assert_eq!(told(&desk.decide(0)), []);
            // A length of 3 takes half of the way: 100,400.
            assert_eq!(told(&desk.decide(0)), [(Replace, Sell, 100_600, 100), (Replace, Buy, 100_200, 100)]);
        });
    }

    #[test]
    fn a_small_move_does_not_requote_and_a_large_one_does() {
        desk(QuoterParameters { requote_ticks: 3, ..plain() }, 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            desk.level(0, Sell, 101_000, 0);
            desk.level(0, Sell, 101_400, 500);
            assert_eq!(told(&desk.decide(0)), []);
            desk.level(0, Sell, 101_400, 0);
            desk.level(0, Sell, 101_800, 500);
            let second = desk.decide(0);
            // The ask makes room for the bid, which goes where the ask stood.
            assert_eq!(told(&second), [(Replace, Sell, 100_600, 100), (Replace, Buy, 100_200, 100)]);
            assert_eq!([second[1].replaced_id, second[0].replaced_id], [first[0].id, first[1].id]);
            assert_eq!(desk.counter("replaced"), 2);
        });
    }

    #[test]
    fn quotes_stay_on_their_side_of_the_market_and_on_the_grid() {
        desk(QuoterParameters { imbalance_percent: 10_000, ..plain() }, 8, |desk| {
            desk.level(0, Buy, 99_950, 10_000);
            desk.level(0, Sell, 100_050, 1);
            let orders = desk.decide(0);
            assert!(orders[0].price.0 < 100_050 && orders[0].price.0 % TICK == 0, "{orders:?}");
            assert!(orders[1].price.0 > 99_950 && orders[1].price.0 % TICK == 0, "{orders:?}");
        });
    }

    #[test]
    fn a_crossed_a_locked_and_a_one_sided_book_pull_the_quotes() {
        for (bid, ask, counter) in [
            (102_000, 101_000, "pulled_crossed"),
            (101_000, 101_000, "pulled_crossed"),
            (0, 101_000, "pulled_one_sided"),
        ] {
            desk(plain(), 8, |desk| {
                desk.book(0, 99_000, 101_000);
                let stood = desk.decide(0);
                desk.level(0, Buy, 99_000, 0);
                if bid > 0 {
                    desk.level(0, Buy, bid, 100);
                }
                assert_eq!(ask, 101_000);
                let pulled = desk.decide(0);
                assert_eq!(told(&pulled), [(Cancel, Buy, 0, 0), (Cancel, Sell, 0, 0)]);
                assert_eq!([pulled[0].id, pulled[1].id], [stood[0].id, stood[1].id]);
                assert_eq!((desk.counter(counter), desk.counter("cancelled")), (2, 2));
                assert_eq!(desk.decide(0), [], "once");
                desk.level(0, Buy, bid, 0);
                desk.level(0, Buy, 99_000, 500);
                assert_eq!(desk.decide(0).len(), 2, "quoted again when the book is whole");
            });
        }
    }

    #[test]
    fn a_gap_pulls_every_quote_in_bounded_pieces() {
        desk(plain(), 256, |desk| {
            for i in 0..200 {
                desk.book(i, 99_000, 101_000);
                assert_eq!(desk.decide(i).len(), 2);
            }
            desk.books.apply(&Element::Gap { expected: 1, found: 2 });
            desk.quoter.on_books_lost(BooksLost::Gap, &mut desk.orders);
            // An instrument that is heard of first pulls its own.
            assert_eq!(told(&desk.decide(150)), [(Cancel, Buy, 0, 0), (Cancel, Sell, 0, 0)]);
            let mut pulled = 2;
            for _ in 0..7 {
                let piece = desk.packet();
                assert!(piece.len() <= 64 && piece.iter().all(|o| o.kind == Cancel));
                pulled += piece.len();
            }
            assert_eq!(pulled, 400);
            assert_eq!(desk.packet(), []);
            assert_eq!(desk.counter("pulled_stale"), 400);
            assert_eq!(desk.decide(7), [], "a stale book is not quoted");
        });
    }

    #[test]
    fn a_restart_pulls_what_is_not_quoted_anew() {
        desk(plain(), 64, |desk| {
            desk.book(0, 99_000, 101_000);
            desk.book(1, 99_000, 101_000);
            desk.decide(0);
            desk.decide(1);
            desk.books.apply(&Element::SessionStart);
            desk.quoter.on_books_lost(BooksLost::SessionStart, &mut desk.orders);
            desk.book(1, 99_000, 101_000);
            assert_eq!(desk.decide(1), [], "it stands where it should");
            let pulled = desk.packet();
            assert_eq!(told(&pulled), [(Cancel, Buy, 0, 0), (Cancel, Sell, 0, 0)]);
            assert!(pulled.iter().all(|o| o.instrument == Instrument(0)));
            assert_eq!(desk.counter("pulled_restart"), 2);
        });
    }

    #[test]
    fn a_halt_pulls_and_trading_resumes() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            desk.decide(0);
            desk.orders.clear();
            desk.quoter.on_status(Instrument(0), Status::Halted, &mut desk.orders);
            assert_eq!(told(&desk.collect()), [(Cancel, Buy, 0, 0), (Cancel, Sell, 0, 0)]);
            assert_eq!(desk.decide(0), []);
            desk.quoter.on_status(Instrument(0), Status::Trading, &mut desk.orders);
            assert_eq!(desk.decide(0).len(), 2);
            assert_eq!(desk.counter("pulled_halted"), 2);
        });
    }

    #[test]
    fn a_local_reject_restores_what_stood_before() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let entered = desk.decide(0);
            desk.event(&entered[0], LocalReject, 0);
            let again = desk.decide(0);
            assert_eq!(told(&again), [(Enter, Buy, 99_800, 100)], "a rejected enter is entered again");
            assert!(again[0].id > entered[1].id);

            desk.level(0, Sell, 101_000, 0);
            desk.level(0, Sell, 103_000, 500);
            let moved = desk.decide(0);
            assert_eq!(told(&moved), [(Replace, Sell, 101_200, 100), (Replace, Buy, 100_800, 100)]);
            desk.event(&moved[0], LocalReject, 0);
            let again = desk.decide(0);
            assert_eq!(told(&again), [(Replace, Sell, 101_200, 100)]);
            assert_eq!(again[0].replaced_id, entered[1].id, "the order from before still stands");
            assert_eq!(desk.counter("local_rejects"), 2);
        });
    }

    #[test]
    fn a_cancel_that_came_back_is_tried_again() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            desk.decide(0);
            desk.level(0, Buy, 99_000, 0);
            let pulled = desk.decide(0);
            desk.event(&pulled[1], LocalReject, 0);
            let again = desk.packet();
            assert_eq!((told(&again), again[0].id), (vec![(Cancel, Sell, 0, 0)], pulled[1].id));
            assert_eq!(desk.packet(), []);
        });
    }

    #[test]
    fn without_room_nothing_is_forgotten() {
        desk(plain(), 3, |desk| {
            for i in 0..2 {
                desk.book(i, 99_000, 101_000);
                assert_eq!(desk.decide(i).len(), 2);
                desk.level(i, Buy, 99_000, 0);
            }
            desk.orders.clear();
            for i in 0..2 {
                desk.quoter.on_book(&desk.books.book(Instrument(i)), &mut desk.orders);
            }
            assert_eq!(desk.orders.pending().len(), 3);
            assert_eq!(told(&desk.packet()), [(Cancel, Sell, 0, 0)]);
        });
    }

    #[test]
    fn fills_skew_the_fair_price_and_limit_the_size() {
        let parameters = QuoterParameters { skew_ticks: 10, quote_lots: 2, max_position_lots: 4, ..plain() };
        desk(parameters, 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            assert_eq!(told(&first), [(Enter, Buy, 99_800, 200), (Enter, Sell, 100_200, 200)]);
            desk.event(&first[0], Filled, 200);
            // Half of the limit: 5 ticks down; room for 2 lots more.
            let second = desk.decide(0);
            assert_eq!(told(&second), [(Enter, Buy, 99_300, 200), (Replace, Sell, 99_700, 200)]);
            desk.event(&second[0], Filled, 150);
            desk.event(&second[0], Filled, 50);
            assert_eq!(told(&desk.decide(0)), [(Replace, Sell, 99_200, 200)], "at the limit one side is quoted");
            assert_eq!(desk.counter("fills"), 3);
        });
    }

    #[test]
    fn a_fill_of_the_order_being_replaced_counts_as_position() {
        desk(QuoterParameters { max_position_lots: 1, ..plain() }, 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            desk.level(0, Sell, 101_000, 0);
            desk.level(0, Sell, 103_000, 500);
            let moved = desk.decide(0);
            desk.event(&first[0], Filled, 100);
            desk.event(&moved[1], Rejected, 0);
            desk.event(&moved[0], Replaced, 100);
            // Long one lot, the limit: nothing stands on the bid and nothing may.
            assert!(desk.decide(0).iter().all(|o| o.side == Sell));
        });
    }

    #[test]
    fn an_order_cancelled_by_the_exchange_is_entered_again() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            desk.event(&first[1], Cancelled, 100);
            assert_eq!(told(&desk.decide(0)), [(Enter, Sell, 100_200, 100)]);
        });
    }

    #[test]
    fn an_order_cancelled_in_part_stands_with_the_rest() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            desk.event(&first[1], Cancelled, 60);
            assert_eq!(desk.decide(0), [], "40 shares of it stand where they should");
            desk.event(&first[1], Cancelled, 40);
            assert_eq!(told(&desk.decide(0)), [(Enter, Sell, 100_200, 100)]);
        });
    }

    /// Moves the ask far enough for both quotes to move.
    fn move_ask(desk: &mut Desk<'_>, from: i64, to: i64) {
        desk.level(0, Sell, from, 0);
        desk.level(0, Sell, to, 500);
    }

    #[test]
    fn a_chain_of_refused_replacements_ends_at_what_the_exchange_confirmed() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            move_ask(desk, 101_000, 103_000);
            let second = desk.decide(0);
            move_ask(desk, 103_000, 105_000);
            let third = desk.decide_unanswered(0);
            assert_eq!(third[1].replaced_id, second[1].id, "on what is meant to stand");
            // The bid: the first replacement is refused, and the second with it.
            desk.event(&second[1], Rejected, 0);
            desk.event(&third[1], Rejected, 0);
            let again = desk.decide(0);
            assert_eq!(told(&again), [(Replace, Buy, 101_800, 100)]);
            assert_eq!(again[0].replaced_id, first[0].id);
        });
    }

    #[test]
    fn what_stands_again_after_it_was_pulled_is_pulled_again() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            move_ask(desk, 101_000, 103_000);
            let second = desk.decide(0);
            desk.level(0, Buy, 99_000, 0);
            let pulled = desk.decide_unanswered(0);
            assert_eq!(pulled[0].id, second[1].id);
            // The replacement that was cancelled never stood: the first bid does.
            desk.event(&second[1], Rejected, 0);
            desk.unanswered.clear();
            let again = desk.packet();
            assert_eq!(told(&again), [(Cancel, Buy, 0, 0)]);
            assert_eq!(again[0].id, first[0].id);
        });
    }

    #[test]
    fn a_side_is_not_quoted_while_its_cancel_is_on_its_way() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            desk.decide(0);
            desk.level(0, Buy, 99_000, 0);
            assert_eq!(desk.decide(0).len(), 2);
            desk.level(0, Buy, 99_000, 500);
            assert_eq!(desk.decide_unanswered(0), []);
            assert_eq!(desk.decide(0).len(), 2, "both are answered");
        });
    }

    #[test]
    fn an_order_that_cannot_be_cancelled_stands_and_is_pulled_by_the_next_decision() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            desk.level(0, Buy, 99_000, 0);
            let pulled = desk.decide(0);
            desk.event(&pulled[1], CancelRejected, 0);
            assert_eq!(desk.packet(), [], "not at once: it would be refused again");
            let again = desk.decide(0);
            assert_eq!((told(&again), again[0].id), (vec![(Cancel, Sell, 0, 0)], first[1].id));
            assert_eq!(desk.counter("cancel_rejects"), 1);
        });
    }

    #[test]
    fn what_risk_will_not_let_move_is_pulled() {
        desk(plain(), 8, |desk| {
            desk.book(0, 99_000, 101_000);
            let first = desk.decide(0);
            move_ask(desk, 101_000, 103_000);
            let moved = desk.decide(0);
            desk.unanswered.clear();
            desk.tell(&moved[1], LocalReject, 0, Refusal::PriceCollar);
            desk.tell(&moved[0], LocalReject, 0, Refusal::Rate);
            let pulled = desk.packet();
            assert_eq!(pulled[0].id, first[0].id);
        });
    }

    #[test]
    fn cheap_instruments_are_never_bid_at_nothing() {
        desk(plain(), 8, |desk| {
            desk.book(0, 100, 200);
            let orders = desk.decide(0);
            assert_eq!(told(&orders), [(Enter, Sell, 400, 100)]);
        });
    }

    #[test]
    fn an_instrument_without_a_specification_is_not_quoted() {
        desk(plain(), 8, |desk| {
            let spec = InstrumentSpec { symbol: Symbol(*b"BAD     "), lot: 0, tick: Price(0) };
            desk.quoter.on_instrument(Instrument(5), &spec);
            desk.book(5, 99_000, 101_000);
            assert_eq!(desk.decide(5), []);
        });
    }

    #[test]
    fn own_quotes_never_cross_each_other() {
        let parameters = QuoterParameters { half_spread_ticks: 1, requote_ticks: 40, ..QuoterParameters::default() };
        desk(parameters, 8, |desk| {
            let mut random = 1u64;
            let mut standing = [0i64, i64::MAX];
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (bid, width) = (90_000 + (random >> 40) as i64 % 100 * 50, 50 + (random >> 50) as i64 % 30 * 50);
                desk.books.apply(&Element::SessionStart);
                desk.level(0, Buy, bid, 1 + (random >> 33) as u32 % 1000);
                desk.level(0, Sell, bid + width, 1 + (random >> 20) as u32 % 1000);
                for order in desk.decide(0) {
                    let i = order.side as usize;
                    standing[i] = if order.kind == Cancel { [0, i64::MAX][i] } else { order.price.0 };
                    assert!(standing[0] < standing[1], "{standing:?}");
                    if random >> 60 == 3 {
                        desk.event(&order, Filled, 100);
                        standing[i] = [0, i64::MAX][i];
                    }
                }
            }
        });
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let err = Quoter::new(QuoterParameters { levels: 17, ..plain() }, 1).unwrap_err();
        assert_eq!(err, "levels is 17; expected 1 to 16");
        let err = serde_json::from_str::<QuoterParameters>(r#"{"half_spred_ticks": 2}"#).unwrap_err();
        assert!(err.to_string().contains("half_spread_ticks"), "{err}");
        assert_eq!(serde_json::from_str::<QuoterParameters>("{}").unwrap(), QuoterParameters::default());
    }

    #[test]
    fn the_largest_prices_and_sizes_do_not_overflow() {
        let parameters = QuoterParameters {
            trend_percent: -100,
            average_changes: 1,
            imbalance_percent: 10_000,
            half_spread_ticks: 10_000,
            skew_ticks: 1_000,
            max_position_lots: 100_000,
            ..QuoterParameters::default()
        };
        desk(parameters, 8, |desk| {
            let spec = InstrumentSpec { symbol: Symbol(*b"BIG     "), lot: 20_000, tick: Price(10_000_000) };
            desk.quoter.on_instrument(Instrument(0), &spec);
            for (bid, ask) in [(0, MAX_PRICE.0), (MAX_PRICE.0 - 1, MAX_PRICE.0), (0, 1)] {
                desk.books.apply(&Element::SessionStart);
                desk.level(0, Buy, bid, (1 << 29) - 1);
                desk.level(0, Sell, ask, (1 << 29) - 1);
                for order in desk.decide(0) {
                    assert!(order.price.0 > 0 && order.price.0 <= MAX_PRICE.0);
                    desk.event(&order, Filled, order.qty);
                    desk.event(&order, Filled, u32::MAX);
                }
            }
        });
    }
}
