//! L2 books of one venue: order-by-order or price-level events in, aggregated price levels out, exact at full depth.
//!
//! Everything lives in slices of an [`Arena`](crate::arena::Arena) taken at launch: a head per instrument, one table of
//! live orders, one array of levels. All three are bounded. An event that does not fit marks its instrument stale and
//! is counted; a stale book takes further events as well as it can and stays stale until the session restarts. Books that
//! are late are stale too, until nothing is missing any more. Nothing here allocates, panics on input, or knows the feed's protocol.
//!
//! A whole market's books miss every cache, so [`Books::apply`] is cheap only for an element announced before: call
//! [`Books::prefetch`] when it is decoded and [`Books::prefetch_levels`] a few elements ahead of its turn.

mod levels;
mod orders;
mod view;

pub use levels::Levels;
pub use view::{Book, Level};

use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Element, Instrument, Price, Side};
use bytemuck::{Pod, Zeroable};
use levels::{Ladder, LevelPool, Refused, Sides};
use orders::{Missing, NoRoom, OrderTable, Standing};

/// Highest price a book holds, in 1/10,000: 1,717,986.9183. (ITCH 5.0 ends at 200,000.0000.)
pub const MAX_PRICE: Price = Price(levels::MAX_PRICE as i64);

/// Most shares a level holds: 536,870,911. (An order of OUCH 5.0 ends at 999,999.)
pub const MAX_LEVEL_QTY: u64 = levels::MAX_QTY;

/// How much a venue's books hold. All of it is taken from the arena at launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookConfig {
    /// Instruments, indices `0..instruments`; at most 65,536.
    pub instruments: u32,
    /// Live orders over all instruments; 0 for feeds of price levels.
    pub orders: u32,
    /// Levels of each side held in place behind the 64 ticks at its touch, rounded up to a multiple of 8 (a cache line), at
    /// least 8.
    pub depth_levels: u32,
    /// Levels in the pool shared by the sides that are deeper than `depth_levels`.
    pub spill_levels: u32,
}

/// What the books met, in events since launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookCounters {
    /// Execute, Reduce, Delete or Replace of an order that does not stand. No effect: captures may begin in mid-session.
    pub unknown_order: u64,
    /// Add or Replace with a reference that already stands. The standing order is kept and the new one ignored.
    pub duplicate_order: u64,
    /// An event whose order stands in another instrument than the event says. No effect.
    pub wrong_instrument: u64,
    /// An instrument index outside the configured range. No effect.
    pub unknown_instrument: u64,
    /// Execute or Reduce of more shares than stood. The order left the book.
    pub overfilled: u64,
    /// Add or Replace of 0 shares. The new order is not added.
    pub zero_qty: u64,
    /// A price below 0 or above [`MAX_PRICE`]. The instrument became stale.
    pub price_out_of_range: u64,
    /// A level would exceed [`MAX_LEVEL_QTY`]. The instrument became stale.
    pub level_overflow: u64,
    /// No room for another live order. The instrument became stale.
    pub order_table_full: u64,
    /// No slot for an order near enough to where it is looked up, or its reference has more than 40 bits. The instrument
    /// became stale.
    pub probe_too_long: u64,
    /// No room for another deep level. The instrument became stale.
    pub level_pool_full: u64,
    /// Gaps, each of which made every book stale.
    pub gaps: u64,
    /// Times that every book was stale until what was missing had come.
    pub late: u64,
    /// Session starts, each of which emptied every book.
    pub session_starts: u64,
}

impl BookCounters {
    /// Each counter with its name, for summaries and metrics.
    pub fn each(&self, see: &mut dyn FnMut(&'static str, u64)) {
        see("unknown_order", self.unknown_order);
        see("duplicate_order", self.duplicate_order);
        see("wrong_instrument", self.wrong_instrument);
        see("unknown_instrument", self.unknown_instrument);
        see("overfilled", self.overfilled);
        see("zero_qty", self.zero_qty);
        see("price_out_of_range", self.price_out_of_range);
        see("level_overflow", self.level_overflow);
        see("order_table_full", self.order_table_full);
        see("probe_too_long", self.probe_too_long);
        see("level_pool_full", self.level_pool_full);
        see("gaps", self.gaps);
        see("late", self.late);
        see("session_starts", self.session_starts);
    }
}

/// The books of one venue, owned by its strategy stage.
#[derive(Debug)]
pub struct Books<'m> {
    heads: &'m mut [Head],
    levels: LevelPool<'m>,
    orders: OrderTable<'m>,
    /// Session number; a head or an order of another session is as good as empty.
    session: u32,
    /// [`LOST`] and [`LATE`], each of which makes every book stale.
    stale: u8,
    counters: BookCounters,
}

/// Per instrument, a cache line: where its levels are.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Head {
    ladder: Ladder,
    session: u32,
    flags: u32,
}

/// Messages were lost in this session.
const LOST: u8 = 1;
/// Messages may still come before the next.
const LATE: u8 = 2;

const STALE: u32 = 1;
/// In the middle of an atomic event: the last level update was not `complete`.
const INCOMPLETE: u32 = 2;

impl BookConfig {
    /// Bytes that [`Books::new`] takes from the arena, exactly.
    pub fn bytes(&self) -> usize {
        arena::bytes::<Head>(self.instruments as usize)
            + LevelPool::bytes(self.instruments, self.depth_levels, self.spill_levels)
            + OrderTable::bytes(self.orders)
    }
}

impl<'m> Books<'m> {
    /// Empty books in memory from `arena`.
    ///
    /// # Errors
    /// [`ArenaFull`] when fewer than [`BookConfig::bytes`] are left.
    ///
    /// # Panics
    /// When there are more than 65,536 instruments.
    pub fn new(config: &BookConfig, arena: &mut Arena<'m>) -> Result<Books<'m>, ArenaFull> {
        assert!(config.instruments <= 1 << 16, "an order remembers its instrument in 16 bits");
        Ok(Books {
            heads: arena.slice("book heads", config.instruments as usize)?,
            levels: LevelPool::new(config.instruments, config.depth_levels, config.spill_levels, arena)?,
            orders: OrderTable::new(config.orders, arena)?,
            session: 1,
            stale: 0,
            counters: BookCounters::default(),
        })
    }

    /// First announcement, when an event is decoded: asks for its order's slot and its instrument's head. An event that
    /// replaces an order announces both.
    #[inline(always)]
    pub fn prefetch(&self, instrument: Instrument, order: u64) {
        self.orders.prefetch(order);
        cpu::prefetch(self.heads.as_ptr().wrapping_add(instrument.0 as usize));
    }

    /// Second announcement, a few elements before `element`'s turn: asks for the touch of both sides, the one that will
    /// change and the one that a decision will look at too. Reads the head that [`prefetch`](Self::prefetch) asked for,
    /// and not the order, which may still be on its way: so their misses overlap.
    #[inline(always)]
    pub fn prefetch_levels(&self, element: &Element) {
        if let Some(instrument) = element.hint()
            && let Some(head) = self.heads.get(instrument.0 as usize)
        {
            self.levels.prefetch(&head.ladder, instrument);
        }
    }

    /// Take one element; the instrument whose book it changed, or concerned while stale, is returned.
    /// [`Element::Gap`], [`Element::SessionStart`], [`Element::Late`] and [`Element::Healed`] concern every instrument and return none, like elements that
    /// do not touch books.
    #[inline(always)]
    pub fn apply(&mut self, element: &Element) -> Option<Instrument> {
        match *element {
            Element::Add { instrument, side, qty, order, price } => self.add(instrument, side, qty, order, price),
            Element::Execute { instrument, qty, order } | Element::Reduce { instrument, qty, order } => {
                self.reduce(instrument, order, qty)
            }
            Element::Delete { instrument, order } => self.take(instrument, order).map(|_| instrument),
            Element::Replace { instrument, qty, order, new_order, price } => {
                let side = self.take(instrument, order)?;
                self.add(instrument, side, qty, new_order, price);
                Some(instrument)
            }
            Element::Level { instrument, side, complete, qty, price } => {
                self.level(instrument, side, complete, qty, price)
            }
            Element::Gap { .. } => {
                self.stale |= LOST;
                self.counters.gaps += 1;
                None
            }
            Element::Late => {
                self.stale |= LATE;
                self.counters.late += 1;
                None
            }
            Element::Healed => {
                self.stale &= !LATE;
                None
            }
            Element::SessionStart => {
                self.restart();
                None
            }
            Element::Packet(_) | Element::Define { .. } | Element::Named { .. } | Element::Trade { .. } => None,
            Element::Status { .. } | Element::Collar { .. } => None,
        }
    }

    /// The book of `instrument`; an instrument outside the configured range has an empty, stale one.
    #[inline]
    pub fn book(&self, instrument: Instrument) -> Book<'_> {
        match self.heads.get(instrument.0 as usize) {
            Some(head) if head.session == self.session => Book {
                instrument,
                sides: self.levels.sides(&head.ladder, instrument),
                stale: self.stale != 0 || head.flags & STALE != 0,
                complete: head.flags & INCOMPLETE == 0,
            },
            head => Book { instrument, sides: Sides::NONE, stale: self.stale != 0 || head.is_none(), complete: true },
        }
    }

    /// How many instruments these books were made for.
    pub fn instruments(&self) -> u32 {
        self.heads.len() as u32
    }

    /// Orders that stand now, over all instruments.
    pub fn live_orders(&self) -> u32 {
        self.orders.live()
    }

    /// What was met so far.
    pub fn counters(&self) -> &BookCounters {
        &self.counters
    }

    #[inline(always)]
    fn add(&mut self, instrument: Instrument, side: Side, qty: u32, order: u64, price: Price) -> Option<Instrument> {
        let head = head(self.heads, &mut self.levels, self.session, instrument, &mut self.counters)?;
        if qty == 0 {
            self.counters.zero_qty += 1;
            return None;
        }
        let Some(price) = levels::in_range(price) else {
            self.counters.price_out_of_range += 1;
            head.flags |= STALE;
            return Some(instrument);
        };
        let vacancy = match self.orders.vacancy(order) {
            Ok(vacancy) => vacancy,
            Err(why) => {
                let counter = match why {
                    NoRoom::Duplicate => {
                        self.counters.duplicate_order += 1;
                        return None;
                    }
                    NoRoom::ProbeTooLong => &mut self.counters.probe_too_long,
                    NoRoom::Full => &mut self.counters.order_table_full,
                };
                *counter += 1;
                head.flags |= STALE;
                return Some(instrument);
            }
        };
        let more = |shares: u64| match shares + u64::from(qty) {
            shares if shares > MAX_LEVEL_QTY => Err(Refused::LevelOverflow),
            shares => Ok(shares),
        };
        // The order enters the table only when its shares are in a level, so levels are always the sum of the table.
        match self.levels.update(&mut head.ladder, instrument, side, price, more) {
            Ok(()) => self.orders.fill(vacancy, instrument, order, Standing::new(price, side, qty)),
            Err(why) => refuse(why, head, &mut self.counters),
        }
        Some(instrument)
    }

    #[inline(always)]
    fn reduce(&mut self, instrument: Instrument, order: u64, qty: u32) -> Option<Instrument> {
        let at = self.find(instrument, order)?;
        let standing = self.orders.standing(at);
        let (price, side, stands) = (standing.price(), standing.side(), standing.qty());
        if qty < stands {
            self.orders.reduce(at, qty);
        } else {
            self.counters.overfilled += u64::from(qty > stands);
            self.orders.remove(at);
        }
        self.take_shares(instrument, side, price, qty.min(stands));
        Some(instrument)
    }

    /// The order leaves the table and the book; the side it stood on is returned.
    #[inline(always)]
    fn take(&mut self, instrument: Instrument, order: u64) -> Option<Side> {
        let at = self.find(instrument, order)?;
        let standing = self.orders.standing(at);
        let (price, side, qty) = (standing.price(), standing.side(), standing.qty());
        self.orders.remove(at);
        self.take_shares(instrument, side, price, qty);
        Some(side)
    }

    #[inline(always)]
    fn find(&mut self, instrument: Instrument, order: u64) -> Option<usize> {
        match self.orders.find(instrument, order) {
            Ok(at) => Some(at),
            Err(why) => {
                match why {
                    Missing::Unknown => self.counters.unknown_order += 1,
                    Missing::OtherInstrument => self.counters.wrong_instrument += 1,
                }
                None
            }
        }
    }

    #[inline(always)]
    fn take_shares(&mut self, instrument: Instrument, side: Side, price: u64, qty: u32) {
        // A standing order of this session has a head of this session: `add` made it.
        let Some(head) = self.heads.get_mut(instrument.0 as usize) else { return };
        // Orders that stand are the sum of their levels, so a level has that many, unless a feed mixes order and level
        // events: then what is there goes.
        let fewer = |shares: u64| Ok(shares.saturating_sub(qty.into()));
        let _ = self.levels.update(&mut head.ladder, instrument, side, price, fewer);
    }

    #[inline(always)]
    fn level(
        &mut self,
        instrument: Instrument,
        side: Side,
        complete: bool,
        qty: u32,
        price: Price,
    ) -> Option<Instrument> {
        let head = head(self.heads, &mut self.levels, self.session, instrument, &mut self.counters)?;
        head.flags = if complete { head.flags & !INCOMPLETE } else { head.flags | INCOMPLETE };
        let Some(price) = levels::in_range(price) else {
            self.counters.price_out_of_range += 1;
            head.flags |= STALE;
            return Some(instrument);
        };
        let exactly = |_| if qty > MAX_LEVEL_QTY as u32 { Err(Refused::LevelOverflow) } else { Ok(qty.into()) };
        if let Err(why) = self.levels.update(&mut head.ladder, instrument, side, price, exactly) {
            refuse(why, head, &mut self.counters);
        }
        Some(instrument)
    }

    fn restart(&mut self) {
        self.counters.session_starts += 1;
        self.stale &= !LOST;
        self.levels.clear();
        self.orders.clear();
        self.session = self.session.wrapping_add(1);
        if self.session == 0 {
            // Heads of 4 billion sessions ago would pass for this one's.
            self.heads.fill(Head::zeroed());
            self.session = 1;
        }
    }
}

/// The head of `instrument`, emptied first when it was last used in another session.
#[inline(always)]
fn head<'h>(
    heads: &'h mut [Head],
    levels: &mut LevelPool<'_>,
    session: u32,
    instrument: Instrument,
    counters: &mut BookCounters,
) -> Option<&'h mut Head> {
    let Some(head) = heads.get_mut(instrument.0 as usize) else {
        counters.unknown_instrument += 1;
        return None;
    };
    if head.session != session {
        *head = Head { ladder: levels.empty(instrument), session, flags: 0 };
    }
    Some(head)
}

#[cold]
fn refuse(why: Refused, head: &mut Head, counters: &mut BookCounters) {
    head.flags |= STALE;
    match why {
        Refused::PoolFull => counters.level_pool_full += 1,
        Refused::LevelOverflow => counters.level_overflow += 1,
    }
}

#[cfg(test)]
mod tests;
