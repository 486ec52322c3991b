//! The gate that every order passes, or does not, before it leaves the strategy's lcore.
//!
//! In: an order, the touch of its book, the venue's order states. Out: leave, or a [`Refusal`]. Knows one time, the
//! arrival of the packet that caused the order, so a replay refuses what the run refused. Never allocates, waits, or looks
//! at anything but its own memory and that of the instrument. Cancels always pass; they use up the rate.
//!
//! What may still trade counts as if it will: a position is taken together with every share of that side in flight,
//! so that no sequence of fills, refusals and answers in between can take it beyond its limit.

use super::{Kill, Limits, Rate, RiskConfig};
use crate::arena::{self, Arena, ArenaFull};
use crate::book::Book;
use crate::cpu;
use crate::market::{Instrument, Order, OrderKind, Price, Refusal, Side, Status, Symbol};
use crate::session::{OrderStates, worth};
use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;

/// The gate of one venue.
#[derive(Debug)]
pub struct Gate<'m> {
    terms: &'m mut [Terms],
    set: LimitSet,
    bucket: Bucket,
    kill: Kill,
}

/// Limits, made ready for a gate.
#[derive(Debug)]
pub struct LimitSet {
    /// Of every instrument without its own first, then of single ones.
    limits: Box<[Limits]>,
    /// Which of them are whose, and whether it is restricted, by symbol.
    own: BTreeMap<[u8; 8], (u32, bool)>,
    config: RiskConfig,
}

/// The best prices of a book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// Highest bid.
    pub bid: Option<Price>,
    /// Lowest ask.
    pub ask: Option<Price>,
    /// The book cannot be trusted.
    pub stale: bool,
}

/// What is known of one instrument.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Terms {
    /// Collar of an auction; 0 for none.
    lower: i64,
    upper: i64,
    tick: Step,
    lot: Step,
    /// Which of the limits.
    limits: u32,
    flags: u32,
    /// The tick itself; 0 for none.
    tick_units: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Terms>() == 64);

impl Terms {
    #[inline(always)]
    fn is_on_tick(&self, price: i64) -> bool {
        match u32::try_from(price) {
            Ok(price) => self.tick.divides(price),
            // Dearer than 429,496.7295, or no price.
            Err(_) => price > 0 && self.tick_units > 0 && price % i64::from(self.tick_units) == 0,
        }
    }
}

/// Tells multiples of a number without a division: n is one of d if n times the reciprocal, modulo 2^64, is below it
/// (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019, section 3.2). Zeroed it has no multiples.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Step {
    reciprocal: u64,
    below: u64,
}

impl Step {
    /// Multiples of `step`; none of 0.
    fn of(step: u32) -> Step {
        match step {
            0 => Step { reciprocal: 0, below: 0 },
            // Its reciprocal would be 2^64, which is 0.
            1 => Step { reciprocal: 0, below: 1 },
            _ => {
                let reciprocal = u64::MAX / u64::from(step) + 1;
                Step { reciprocal, below: reciprocal }
            }
        }
    }

    #[inline(always)]
    fn divides(&self, n: u32) -> bool {
        u64::from(n).wrapping_mul(self.reciprocal) < self.below
    }
}

const HALTED: u32 = 1;
const SHORT_RESTRICTED: u32 = 2;
const RESTRICTED: u32 = 4;
/// Quotes are taken for an auction.
const AUCTION: u32 = 8;

/// A token bucket without tokens: when the next message is due if all of them came at the rate. (The generic cell rate
/// algorithm of ATM, ITU-T I.371.)
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Between messages; 0 without a limit.
    interval_ns: u64,
    /// How far ahead of that a burst may come.
    ahead_ns: u64,
    due_ns: u64,
}

impl Touch {
    /// That of `book`.
    #[inline]
    pub fn of(book: &Book<'_>) -> Touch {
        let price = |level: Option<crate::book::Level>| level.map(|level| level.price);
        Touch { bid: price(book.best_bid()), ask: price(book.best_ask()), stale: book.stale() }
    }

    /// What `side` would trade against, or join where there is nothing to trade against.
    #[inline]
    fn reference(&self, side: Side) -> Option<Price> {
        match side {
            Side::Buy => self.ask.or(self.bid),
            Side::Sell => self.bid.or(self.ask),
        }
    }
}

impl LimitSet {
    /// The limits of `config`.
    pub fn new(config: RiskConfig) -> LimitSet {
        let limits = std::iter::once(config.limits).chain(config.instruments.iter().map(|own| own.1)).collect();
        let mut own: BTreeMap<[u8; 8], (u32, bool)> =
            config.instruments.iter().zip(1..).map(|((symbol, _), at)| (symbol.0, (at, false))).collect();
        for symbol in &config.restricted {
            own.entry(symbol.0).or_default().1 = true;
        }
        LimitSet { limits, own, config }
    }
}

impl<'m> Gate<'m> {
    /// Bytes that [`Gate::new`] takes from the arena.
    pub const fn bytes(instruments: u32) -> usize {
        arena::bytes::<Terms>(instruments as usize)
    }

    /// A gate with these limits. Every instrument is taken to trade until the feed says otherwise.
    ///
    /// # Errors
    /// [`ArenaFull`] when fewer than [`Gate::bytes`] are left.
    pub fn new(config: RiskConfig, kill: Kill, instruments: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        Ok(Gate {
            terms: arena.slice("terms of instruments", instruments as usize)?,
            bucket: config.rate.map(Bucket::new).unwrap_or_default(),
            set: LimitSet::new(config),
            kill,
        })
    }

    /// The venue's kill word.
    pub fn kill(&self) -> &Kill {
        &self.kill
    }

    /// From now on these limits hold; `set` has the old ones then. Every instrument has to be [defined](Gate::define)
    /// again. The rate goes on from what was used of the old one at `now_ns`, at worst with nothing left.
    pub fn swap_limits(&mut self, set: &mut LimitSet, now_ns: u64) {
        std::mem::swap(&mut self.set, set);
        let bucket = self.set.config.rate.map(Bucket::new).unwrap_or_default();
        self.bucket = Bucket { due_ns: self.bucket.due_ns.min(bucket.empty(now_ns)), ..bucket };
    }

    /// Ask for the memory that a check of `instrument` will want.
    #[inline(always)]
    pub fn prefetch(&self, instrument: Instrument) {
        cpu::prefetch(self.terms.as_ptr().wrapping_add(instrument.0 as usize));
    }

    /// `instrument` goes by this symbol, and trades in these lots and ticks.
    pub fn define(&mut self, instrument: Instrument, symbol: Symbol, lot: u32, tick: Price) {
        let Some(terms) = self.terms.get_mut(instrument.0 as usize) else { return };
        let (own, restricted) = self.set.own.get(&symbol.0).copied().unwrap_or_default();
        terms.limits = own;
        terms.lot = Step::of(lot);
        terms.tick_units = u32::try_from(tick.0).unwrap_or(0);
        terms.tick = Step::of(terms.tick_units);
        terms.flags &= !RESTRICTED;
        if restricted {
            terms.flags |= RESTRICTED;
        }
    }

    /// The trading state changed. Trading ends an auction and its collar. In a quotation period orders may be sent:
    /// the exchange holds them for the auction.
    pub fn status(&mut self, instrument: Instrument, status: Status) {
        let Some(terms) = self.terms.get_mut(instrument.0 as usize) else { return };
        match status {
            Status::Trading => {
                terms.flags &= !(HALTED | AUCTION);
                (terms.lower, terms.upper) = (0, 0);
            }
            Status::Halted => terms.flags |= HALTED,
            Status::QuoteOnly => terms.flags = (terms.flags & !HALTED) | AUCTION,
            Status::ShortSaleRestricted => terms.flags |= SHORT_RESTRICTED,
            Status::ShortSaleFree => terms.flags &= !SHORT_RESTRICTED,
        }
    }

    /// A new session of the feed begins at `now_ns`. In a replay's next lap time runs anew: the bucket is empty then at
    /// worst, and not until the time of the last lap is reached again.
    pub fn session(&mut self, now_ns: u64) {
        self.bucket.due_ns = self.bucket.due_ns.min(self.bucket.empty(now_ns));
    }

    /// The prices of the next auction in `instrument` lie between these, both included.
    pub fn collar(&mut self, instrument: Instrument, lower: Price, upper: Price) {
        let Some(terms) = self.terms.get_mut(instrument.0 as usize) else { return };
        (terms.lower, terms.upper) = (lower.0, upper.0);
    }

    /// Whether `order` may leave. One that may has used up its part of the rate; nothing else changes.
    ///
    /// # Errors
    /// The first thing that forbids it.
    #[inline]
    pub fn check(&mut self, order: &Order, touch: &Touch, states: &OrderStates<'_>) -> Result<(), Refusal> {
        if order.kind != OrderKind::Cancel {
            self.judge(order, touch, states)?;
        }
        self.bucket.take(order.arrival_ns);
        Ok(())
    }

    /// The same of an order that is no cancel, and nothing is used up.
    ///
    /// # Errors
    /// As above.
    // Not inlined, so that what a rehearsal brings into the caches is the code that judges an order.
    #[inline(never)]
    pub fn judge(&self, order: &Order, touch: &Touch, states: &OrderStates<'_>) -> Result<(), Refusal> {
        if self.kill.is_tripped() {
            return Err(Refusal::Killed);
        }
        let Some(terms) = self.terms.get(order.instrument.0 as usize) else { return Err(Refusal::Restricted) };
        let limits = &self.set.limits[terms.limits as usize];
        permitted(order, touch, terms)?;
        self.bounded(order, touch, terms, limits)?;
        self.affordable(order, touch, states, terms, limits)?;
        if !self.bucket.has_room(order.arrival_ns) {
            return Err(Refusal::Rate);
        }
        Ok(())
    }

    /// Whether the position of `instrument` is beyond its limit: only an exchange that fills more than was asked can do
    /// that.
    pub fn exceeded(&self, instrument: Instrument, states: &OrderStates<'_>) -> bool {
        let Some(terms) = self.terms.get(instrument.0 as usize) else { return false };
        let position = states.holding(instrument).map_or(0, |holding| holding.position().unsigned_abs());
        self.set.limits[terms.limits as usize].position.is_some_and(|most| position > most)
    }

    /// Is the order by itself one that we mean to send?
    #[inline]
    fn bounded(&self, order: &Order, touch: &Touch, terms: &Terms, limits: &Limits) -> Result<(), Refusal> {
        let price = order.price.0;
        // No instrument is traded that was not defined: a step of 0 fits nothing.
        if self.set.config.tick && !terms.is_on_tick(price) {
            return Err(Refusal::Tick);
        }
        if self.set.config.lot && !terms.lot.divides(order.qty) {
            return Err(Refusal::Lot);
        }
        if order.qty == 0 || limits.shares.is_some_and(|most| order.qty > most) {
            return Err(Refusal::Shares);
        }
        if limits.notional.is_some_and(|most| worth(order.qty, price) > u128::from(most)) {
            return Err(Refusal::Notional);
        }
        if let Some(percent) = limits.collar_bp {
            let Some(Price(reference)) = touch.reference(order.side) else { return Err(Refusal::PriceCollar) };
            let through = if order.side == Side::Buy { price - reference } else { reference - price };
            if i128::from(through) * 10_000 > i128::from(reference) * i128::from(percent) {
                return Err(Refusal::PriceCollar);
            }
        }
        Ok(())
    }

    /// With what stands and what is held, would it be too much?
    #[inline]
    fn affordable(
        &self,
        order: &Order,
        touch: &Touch,
        states: &OrderStates<'_>,
        terms: &Terms,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let Some(holding) = states.holding(order.instrument) else { return Err(Refusal::NoSlot) };
        // What is replaced counts until the exchange answers, unless nobody answers: then it is gone at once.
        let (mut replaced, mut goes) = (order.kind == OrderKind::Enter, (0, 0));
        for other in states.standing(order.instrument) {
            if other.id() == order.replaced_id && order.kind == OrderKind::Replace {
                replaced = other.may_be_replaced() && other.side() == order.side;
                if states.assumed() {
                    goes = (other.leaves(), worth(other.leaves(), other.price().0));
                }
            } else if other.side() != order.side {
                let meets = match order.side {
                    Side::Buy => order.price >= other.price(),
                    Side::Sell => order.price <= other.price(),
                };
                if meets {
                    return Err(Refusal::SelfMatch);
                }
            } else if (other.price(), other.leaves()) == (order.price, order.qty)
                && limits.duplicate_ns.is_some_and(|ns| order.arrival_ns.saturating_sub(other.sent_ns()) < ns)
            {
                return Err(Refusal::Duplicate);
            }
        }
        if !replaced {
            return Err(Refusal::NotStanding);
        }
        if goes.0 == 0 && !states.room(order.instrument) {
            return Err(Refusal::NoSlot);
        }
        let venue = states.venue();
        if order.kind == OrderKind::Enter
            && (limits.open_orders.is_some_and(|most| holding.orders() >= most)
                || self.set.config.open_orders.is_some_and(|most| venue.orders >= most))
        {
            return Err(Refusal::OpenOrders);
        }
        let in_flight = i128::from(holding.open(order.side)) + i128::from(order.qty) - i128::from(goes.0);
        let position = i128::from(holding.position());
        let after = if order.side == Side::Buy { position + in_flight } else { in_flight - position };
        if limits.position.is_some_and(|most| after > i128::from(most)) {
            return Err(Refusal::Position);
        }
        // Regulation SHO, rule 201 (17 CFR 242.201(b)(1)(i)): while the test is on, no short sale at or below the national
        // best bid. The book's is at most that, so this is the least that can be asked; the exchange asks the rest.
        if order.side == Side::Sell
            && terms.flags & SHORT_RESTRICTED != 0
            && after > 0
            && touch.bid.is_none_or(|bid| order.price <= bid)
        {
            return Err(Refusal::ShortSale);
        }
        let gross = venue.gross + worth(order.qty, order.price.0) - goes.1;
        if self.set.config.gross_notional.is_some_and(|most| gross > u128::from(most)) {
            return Err(Refusal::GrossNotional);
        }
        Ok(())
    }
}

/// May anyone trade this, now, at this price?
#[inline]
fn permitted(order: &Order, touch: &Touch, terms: &Terms) -> Result<(), Refusal> {
    if terms.flags & (RESTRICTED | HALTED) != 0 {
        let restricted = terms.flags & RESTRICTED != 0;
        return Err(if restricted { Refusal::Restricted } else { Refusal::Halted });
    }
    if touch.stale {
        return Err(Refusal::Stale);
    }
    if terms.flags & AUCTION != 0 && terms.upper != 0 && !(terms.lower..=terms.upper).contains(&order.price.0) {
        return Err(Refusal::AuctionCollar);
    }
    Ok(())
}

impl Bucket {
    /// Rounded so that the rate is never exceeded.
    fn new(rate: Rate) -> Bucket {
        let interval_ns = 1_000_000_000u64.div_ceil(u64::from(rate.per_second.max(1)));
        Bucket { interval_ns, ahead_ns: interval_ns * u64::from(rate.burst.max(1) - 1), due_ns: 0 }
    }

    #[inline]
    fn has_room(&self, now_ns: u64) -> bool {
        self.interval_ns == 0 || self.due_ns <= now_ns.saturating_add(self.ahead_ns)
    }

    /// One message more. An empty bucket stays empty: messages that must go run up no debt.
    #[inline]
    fn take(&mut self, now_ns: u64) {
        let due = self.due_ns.max(now_ns).saturating_add(self.interval_ns);
        self.due_ns = due.min(self.empty(now_ns)).max(self.due_ns);
    }

    /// What an empty bucket is due.
    #[inline]
    fn empty(&self, now_ns: u64) -> u64 {
        now_ns.saturating_add(self.ahead_ns + self.interval_ns)
    }
}

#[cfg(test)]
mod tests;
