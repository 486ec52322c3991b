//! The state of every order of one venue, and what may still come of it.
//!
//! In: orders as they are handed down, and order events. Out: which events are real, so that the strategy hears of nothing
//! twice and of nothing that cannot be; and per instrument and for the venue the position, the shares that may still
//! trade, their worth, and how many orders stand. Never allocates, never panics on what an exchange says: what cannot be
//! is counted by kind.
//!
//! ```text
//!   enter ──▶ pending new ──accepted──▶ live ◀──────── cancel refused ──────── pending cancel
//!                  │                    │  │ └──────── cancel ────────────────────▶ ▲ │
//!              rejected              replace └── filled or cancelled to the last share ┴──▶ gone
//!                  ▼                    ▼
//!                gone            pending replace ── replaced ──▶ gone, the replacement is live
//!                                       └────────── refused ───▶ live, as it was
//! ```
//!
//! Partial fills and partial cancels are a quantity, not a state. Until the exchange answers, a replacement counts *beside*
//! what it replaces: the old order may trade first, to the last share but one, and the new one still be entered in full.
//! When an order is gone before its replacement was entered there is nothing to replace, and an exchange may drop the
//! request without a word (OUCH 5.0 does): the replacement is then an [`orphan`](OrderStates::orphan), gone too.
//!
//! An instrument's orders lie together in slots of its own, so that what is asked of them touches few cache lines.

use crate::arena::{self, Arena, ArenaFull};
use crate::cpu;
use crate::market::{Instrument, Order, OrderEvent, OrderEventKind, OrderKind, Price, Side};
use bytemuck::{Pod, Zeroable};

/// How much an [`OrderStates`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatesConfig {
    /// Instruments, indices `0..instruments`.
    pub instruments: u32,
    /// Orders of one instrument that may stand or be on their way at a time, replacements on their way included: 1 to 64.
    pub slots: u32,
    /// Nobody answers: an order counts as accepted, a replacement as entered and a cancel as done when it is handed down.
    pub assumed: bool,
}

/// The orders of one venue.
#[derive(Debug)]
pub struct OrderStates<'m> {
    holdings: &'m mut [Holding],
    slots: &'m mut [Standing],
    /// Slots of one instrument.
    per_instrument: usize,
    fills: Fills<'m>,
    assumed: bool,
    venue: Totals,
    /// Ids handed down so far: the lowest and the highest.
    ids: (u64, u64),
    counters: StateCounters,
}

/// What one instrument amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Holding {
    /// What the position cost, at the limits of the orders that made it (×1/10,000).
    cost: u128,
    /// Shares held, short negative.
    position: i64,
    /// Shares that may still trade: bought, sold.
    open: [u64; 2],
    /// Slots in use.
    used: u64,
    /// Orders that stand; a replacement on its way counts with what it replaces.
    orders: u32,
    reserved: [u32; 3],
}

/// What the whole venue amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Shares that may still trade: bought, sold.
    pub open: [u64; 2],
    /// Positions at the limits of the orders that made them, and open orders at theirs, all counted as positive (×1/10,000).
    pub gross: u128,
    /// Orders that stand; a replacement on its way counts with what it replaces.
    pub orders: u32,
}

/// An order that stands or may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Standing {
    /// Its id.
    id: u64,
    /// The limit asked for.
    price: i64,
    /// Arrival of the packet that caused it.
    sent_ns: u64,
    /// The order it is to replace; 0 for none.
    replaces: u64,
    /// When the exchange took shares off it last; its time never runs backward. 0 for never.
    cancelled_ns: u64,
    /// Shares that may still trade.
    leaves: u32,
    /// `NEW`, `REPLACEMENT` or `LIVE`.
    state: u8,
    side: u8,
    /// `REPLACED` and `CANCELLING`.
    flags: u8,
    reserved: u8,
}

const _: () = assert!(size_of::<Holding>() == 64 && size_of::<Standing>() == 48);

/// On its way, or accepted and not answered yet.
const NEW: u8 = 1;
/// On its way in the place of another.
const REPLACEMENT: u8 = 2;
const LIVE: u8 = 3;

/// A replacement of it is on its way.
const REPLACED: u8 = 1;
/// A cancel of all of it is on its way.
const CANCELLING: u8 = 2;

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// Handed down, not answered.
    PendingNew,
    /// It stands, perhaps filled in part.
    Live,
    /// It stands, and a replacement is on its way.
    PendingReplace,
    /// It stands, and a cancel is on its way.
    PendingCancel,
}

/// What an event turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happened.
    Real,
    /// It happened, and with it an order went: ask for [orphans](OrderStates::orphan).
    Ended,
    /// It was known already, or crossed with something that made it void. To be ignored.
    Late,
    /// It cannot be, and was counted. To be ignored.
    Impossible,
}

/// What orders met, in events since launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounters {
    /// Answers that came again, or to an order that was gone: after a new login, or crossed on the way. No effect.
    pub late: u64,
    /// Replacements that went with the order they were to replace.
    pub orphans: u64,
    /// Impossible: an event about an order that was never sent. No effect.
    pub unknown_order: u64,
    /// Impossible: a fill of an order that was gone, of a match not seen lately. No effect.
    pub late_fill: u64,
    /// Impossible: a fill of more shares than stood. The position follows it, the order is gone.
    pub overfill: u64,
    /// Impossible: a cancel of more shares than stood. The order is gone.
    pub overcancel: u64,
    /// Impossible: a fill or cancel of no shares. No effect.
    pub nothing: u64,
    /// Impossible: an acceptance of more shares than were asked for. They are taken as said.
    pub grown: u64,
    /// Impossible: a fill or cancel of an order before it was accepted. It counts as accepted.
    pub early: u64,
    /// Impossible: an answer that does not fit the order's state. No effect.
    pub misfit: u64,
    /// Orders handed down that there was no slot for, or replacements of what does not stand. They are not followed.
    pub untracked: u64,
}

impl StateCounters {
    /// Each counter with its name, for summaries and metrics.
    pub fn each(&self, see: &mut dyn FnMut(&'static str, u64)) {
        see("order events late", self.late);
        see("orphaned replacements", self.orphans);
        see("impossible: unknown order", self.unknown_order);
        see("impossible: late fill", self.late_fill);
        see("impossible: overfill", self.overfill);
        see("impossible: overcancel", self.overcancel);
        see("impossible: nothing", self.nothing);
        see("impossible: grown", self.grown);
        see("impossible: early", self.early);
        see("impossible: misfit", self.misfit);
        see("orders untracked", self.untracked);
    }

    /// Everything that cannot be.
    pub fn impossible(&self) -> u64 {
        let StateCounters { unknown_order, late_fill, overfill, overcancel, nothing, grown, early, misfit, .. } = *self;
        unknown_order + late_fill + overfill + overcancel + nothing + grown + early + misfit
    }
}

impl StatesConfig {
    /// Bytes that [`OrderStates::new`] takes from the arena, exactly.
    pub fn bytes(&self) -> usize {
        let instruments = self.instruments as usize;
        arena::bytes::<Holding>(instruments)
            + arena::bytes::<Standing>(instruments * self.slots as usize)
            + arena::bytes::<Match>(FILLS)
    }
}

impl<'m> OrderStates<'m> {
    /// No orders and no positions, in memory from `arena`.
    ///
    /// # Errors
    /// [`ArenaFull`] when fewer than [`StatesConfig::bytes`] are left.
    ///
    /// # Panics
    /// When there are no slots or more than 64.
    pub fn new(config: &StatesConfig, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        assert!((1..=64).contains(&config.slots), "the slots in use are bits of a word");
        let (instruments, slots) = (config.instruments as usize, config.slots as usize);
        Ok(OrderStates {
            holdings: arena.slice("holdings", instruments)?,
            slots: arena.slice("orders that stand", instruments * slots)?,
            per_instrument: slots,
            fills: Fills { matches: arena.slice("recent fills", FILLS)? },
            assumed: config.assumed,
            venue: Totals::default(),
            ids: (u64::MAX, 0),
            counters: StateCounters::default(),
        })
    }

    /// Ask for the memory that an order of `instrument` will want.
    #[inline(always)]
    pub fn prefetch(&self, instrument: Instrument) {
        let i = instrument.0 as usize;
        cpu::prefetch(self.holdings.as_ptr().wrapping_add(i));
        cpu::prefetch(self.slots.as_ptr().wrapping_add(i * self.per_instrument));
    }

    /// What `instrument` amounts to; `None` when there is no such instrument.
    #[inline]
    pub fn holding(&self, instrument: Instrument) -> Option<&Holding> {
        self.holdings.get(instrument.0 as usize)
    }

    /// What the venue amounts to.
    #[inline]
    pub fn venue(&self) -> &Totals {
        &self.venue
    }

    /// What orders met.
    pub fn counters(&self) -> &StateCounters {
        &self.counters
    }

    /// Nobody answers: a replacement takes the place of the old order when it is handed down.
    #[inline]
    pub fn assumed(&self) -> bool {
        self.assumed
    }

    /// Whether another order of `instrument` finds a slot.
    #[inline]
    pub fn room(&self, instrument: Instrument) -> bool {
        self.holding(instrument).is_some_and(|holding| (holding.used.trailing_ones() as usize) < self.per_instrument)
    }

    /// The orders of `instrument` that stand or may stand, in no order.
    #[inline]
    pub fn standing(&self, instrument: Instrument) -> impl Iterator<Item = &Standing> {
        let i = instrument.0 as usize;
        let used = self.holdings.get(i).map_or(0, |holding| holding.used);
        let slots = self.slots.get(i * self.per_instrument..).unwrap_or_default();
        Bits(used).filter_map(move |bit| slots.get(bit))
    }

    /// The order `id` of `instrument`, if it stands or may stand.
    #[inline]
    pub fn find(&self, instrument: Instrument, id: u64) -> Option<&Standing> {
        self.standing(instrument).find(|order| order.id == id)
    }

    /// `order` was handed down. Where nobody answers, the answer that is assumed; it is applied already.
    pub fn sent(&mut self, order: &Order) -> Option<OrderEvent> {
        let Some(i) = self.index(order.instrument) else {
            self.counters.untracked += 1;
            return None;
        };
        let answer =
            |kind, qty| OrderEvent { price: order.price, qty, ..blank(order.id, order.instrument, order.side, kind) };
        match order.kind {
            OrderKind::Enter => {
                self.entered(i, order, 0)?;
                self.assumed.then(|| answer(OrderEventKind::Accepted, order.qty))
            }
            OrderKind::Replace => {
                let Some(old) = self.slot(i, order.replaced_id) else {
                    self.counters.untracked += 1;
                    return None;
                };
                if !self.assumed {
                    self.slots[old].flags |= REPLACED;
                    self.entered(i, order, order.replaced_id)?;
                    return None;
                }
                self.remove(i, old);
                self.entered(i, order, 0)?;
                Some(OrderEvent { replaced_id: order.replaced_id, ..answer(OrderEventKind::Replaced, order.qty) })
            }
            OrderKind::Cancel => {
                let slot = self.slot(i, order.id)?;
                if !self.assumed {
                    self.slots[slot].flags |= if order.qty == 0 { CANCELLING } else { 0 };
                    return None;
                }
                let off = self.slots[slot].leaves.saturating_sub(order.qty);
                self.take_off(i, slot, off);
                Some(OrderEvent { price: Price(0), ..answer(OrderEventKind::Cancelled, off) })
            }
        }
    }

    /// Apply an event. Only a real one is for the strategy.
    pub fn apply(&mut self, event: &OrderEvent) -> Verdict {
        let found = self.index(event.instrument).and_then(|i| Some((i, self.slot(i, event.id)?)));
        let Some((i, slot)) = found else { return self.unfound(event) };
        let Standing { leaves, state, flags, replaces, cancelled_ns, .. } = self.slots[slot];
        match event.kind {
            OrderEventKind::Accepted | OrderEventKind::Replaced if state == LIVE => self.late(),
            OrderEventKind::Accepted if state == NEW => self.answered(i, slot, event.qty),
            OrderEventKind::Replaced if state == REPLACEMENT && event.replaced_id == replaces => {
                self.promote(i, slot);
                self.answered(i, slot, event.qty)
            }
            OrderEventKind::Accepted | OrderEventKind::Replaced => self.misfit(),
            OrderEventKind::Filled | OrderEventKind::Cancelled if event.qty == 0 => {
                self.counters.nothing += 1;
                Verdict::Impossible
            }
            OrderEventKind::Filled if self.fills.seen(event.id, event.match_id) => self.late(),
            OrderEventKind::Filled => {
                self.fills.remember(event.id, event.match_id);
                self.early(i, slot);
                self.counters.overfill += u64::from(event.qty > leaves);
                self.traded(i, slot, event.qty);
                self.take_off(i, slot, event.qty.min(leaves))
            }
            OrderEventKind::Cancelled if (1..=cancelled_ns).contains(&event.exchange_ns) => self.late(),
            OrderEventKind::Cancelled => {
                self.slots[slot].cancelled_ns = event.exchange_ns;
                self.early(i, slot);
                self.counters.overcancel += u64::from(event.qty > leaves);
                self.take_off(i, slot, event.qty.min(leaves))
            }
            OrderEventKind::Rejected | OrderEventKind::LocalReject if state == NEW || state == REPLACEMENT => {
                self.remove(i, slot);
                self.stands_again(i, replaces);
                Verdict::Ended
            }
            OrderEventKind::LocalReject | OrderEventKind::CancelRejected if flags & CANCELLING != 0 => {
                self.slots[slot].flags &= !CANCELLING;
                Verdict::Real
            }
            OrderEventKind::LocalReject if self.assumed => {
                self.remove(i, slot);
                Verdict::Ended
            }
            OrderEventKind::CancelRejected => self.late(),
            OrderEventKind::Rejected | OrderEventKind::LocalReject => self.misfit(),
            OrderEventKind::CancelPending => Verdict::Real,
        }
    }

    /// After an order of `instrument` went: a replacement that has nothing to replace any more, as the event that tells the
    /// strategy of it. To be asked until there is none.
    pub fn orphan(&mut self, instrument: Instrument) -> Option<OrderEvent> {
        let i = self.index(instrument)?;
        let stands = |id| self.slot(i, id).is_some();
        let slot = self.in_use(i).find(|&s| self.slots[s].state == REPLACEMENT && !stands(self.slots[s].replaces))?;
        let Standing { id, side, .. } = self.slots[slot];
        self.remove(i, slot);
        self.counters.orphans += 1;
        let side = if side == Side::Buy as u8 { Side::Buy } else { Side::Sell };
        Some(blank(id, instrument, side, OrderEventKind::Rejected))
    }

    fn index(&self, instrument: Instrument) -> Option<usize> {
        Some(instrument.0 as usize).filter(|i| *i < self.holdings.len())
    }

    /// Positions in `slots` of what instrument `i` has there.
    fn in_use(&self, i: usize) -> impl Iterator<Item = usize> + use<> {
        let first = i * self.per_instrument;
        Bits(self.holdings[i].used).map(move |bit| first + bit)
    }

    fn slot(&self, i: usize, id: u64) -> Option<usize> {
        self.in_use(i).find(|&slot| self.slots[slot].id == id)
    }

    /// `None` when there was no slot.
    fn entered(&mut self, i: usize, order: &Order, replaces: u64) -> Option<()> {
        let holding = &mut self.holdings[i];
        let free = holding.used.trailing_ones() as usize;
        if free >= self.per_instrument {
            self.counters.untracked += 1;
            return None;
        }
        holding.used |= 1 << free;
        holding.open[order.side as usize] += u64::from(order.qty);
        self.venue.open[order.side as usize] += u64::from(order.qty);
        self.venue.gross += worth(order.qty, order.price.0);
        if replaces == 0 {
            holding.orders += 1;
            self.venue.orders += 1;
        }
        self.ids = (self.ids.0.min(order.id), self.ids.1.max(order.id));
        self.slots[i * self.per_instrument + free] = Standing {
            id: order.id,
            price: order.price.0,
            sent_ns: order.arrival_ns,
            replaces,
            cancelled_ns: 0,
            leaves: order.qty,
            state: match replaces {
                0 if self.assumed => LIVE,
                0 => NEW,
                _ => REPLACEMENT,
            },
            side: order.side as u8,
            flags: 0,
            reserved: 0,
        };
        Some(())
    }

    /// An answer says how many shares stand.
    fn answered(&mut self, i: usize, slot: usize, stands: u32) -> Verdict {
        let order = &mut self.slots[slot];
        order.state = LIVE;
        let (leaves, side, price) = (order.leaves, usize::from(order.side), order.price);
        if stands > leaves {
            let more = stands - leaves;
            order.leaves = stands;
            self.counters.grown += 1;
            self.holdings[i].open[side] += u64::from(more);
            self.venue.open[side] += u64::from(more);
            self.venue.gross += worth(more, price);
        }
        self.take_off(i, slot, leaves.saturating_sub(stands))
    }

    /// A replacement is in the place of what it replaces, which is gone.
    fn promote(&mut self, i: usize, slot: usize) {
        let replaced = std::mem::take(&mut self.slots[slot].replaces);
        self.slots[slot].state = LIVE;
        self.holdings[i].orders += 1;
        self.venue.orders += 1;
        if let Some(old) = self.slot(i, replaced) {
            self.remove(i, old);
        }
    }

    /// Something happened to an order that was not answered yet.
    fn early(&mut self, i: usize, slot: usize) {
        match self.slots[slot].state {
            REPLACEMENT => self.promote(i, slot),
            NEW => self.slots[slot].state = LIVE,
            _ => return,
        }
        self.counters.early += 1;
    }

    /// A replacement of `id` was refused.
    fn stands_again(&mut self, i: usize, id: u64) {
        if let Some(slot) = self.slot(i, id) {
            self.slots[slot].flags &= !REPLACED;
        }
    }

    fn traded(&mut self, i: usize, slot: usize, qty: u32) {
        let order = self.slots[slot];
        let holding = &mut self.holdings[i];
        self.venue.gross -= holding.cost;
        let signed = if order.side == Side::Buy as u8 { i64::from(qty) } else { -i64::from(qty) };
        let held = holding.position.unsigned_abs();
        let against = if (holding.position < 0) == (signed < 0) { 0 } else { held.min(u64::from(qty)) };
        if against > 0 {
            holding.cost -= holding.cost * u128::from(against) / u128::from(held);
        }
        // No more than `qty` shares remain.
        holding.cost += worth(qty - against as u32, order.price);
        holding.position = holding.position.saturating_add(signed);
        self.venue.gross += holding.cost;
    }

    /// `qty` shares of an order can trade no more; with the last of them it is gone.
    fn take_off(&mut self, i: usize, slot: usize, qty: u32) -> Verdict {
        let order = &mut self.slots[slot];
        order.leaves -= qty;
        let (side, price, left) = (usize::from(order.side), order.price, order.leaves);
        self.holdings[i].open[side] -= u64::from(qty);
        self.venue.open[side] -= u64::from(qty);
        self.venue.gross -= worth(qty, price);
        if left > 0 {
            return Verdict::Real;
        }
        self.remove(i, slot);
        Verdict::Ended
    }

    fn remove(&mut self, i: usize, slot: usize) {
        let Standing { leaves, side, price, state, .. } = self.slots[slot];
        let holding = &mut self.holdings[i];
        holding.used &= !(1 << (slot - i * self.per_instrument));
        holding.open[usize::from(side)] -= u64::from(leaves);
        self.venue.open[usize::from(side)] -= u64::from(leaves);
        self.venue.gross -= worth(leaves, price);
        if state != REPLACEMENT {
            holding.orders -= 1;
            self.venue.orders -= 1;
        }
    }

    /// An event about an order that neither stands nor may.
    fn unfound(&mut self, event: &OrderEvent) -> Verdict {
        let sent = (self.ids.0..=self.ids.1).contains(&event.id);
        let counter = match event.kind {
            _ if !sent => &mut self.counters.unknown_order,
            OrderEventKind::Filled if !self.fills.seen(event.id, event.match_id) => &mut self.counters.late_fill,
            _ => return self.late(),
        };
        *counter += 1;
        Verdict::Impossible
    }

    fn late(&mut self) -> Verdict {
        self.counters.late += 1;
        Verdict::Late
    }

    fn misfit(&mut self) -> Verdict {
        self.counters.misfit += 1;
        Verdict::Impossible
    }
}

impl Holding {
    /// Shares held, short negative.
    #[inline]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Shares of `side` that may still trade.
    #[inline]
    pub fn open(&self, side: Side) -> u64 {
        self.open[side as usize]
    }

    /// Orders that stand; a replacement on its way counts with what it replaces.
    #[inline]
    pub fn orders(&self) -> u32 {
        self.orders
    }

    /// What the position cost, at the limits of the orders that made it (×1/10,000).
    pub fn cost(&self) -> u128 {
        self.cost
    }
}

impl Standing {
    /// Its id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its side.
    #[inline]
    pub fn side(&self) -> Side {
        if self.side == Side::Buy as u8 { Side::Buy } else { Side::Sell }
    }

    /// The limit asked for.
    #[inline]
    pub fn price(&self) -> Price {
        Price(self.price)
    }

    /// Shares that may still trade.
    #[inline]
    pub fn leaves(&self) -> u32 {
        self.leaves
    }

    /// Arrival of the packet that caused it, in ns.
    #[inline]
    pub fn sent_ns(&self) -> u64 {
        self.sent_ns
    }

    /// Where it is in its life.
    pub fn state(&self) -> OrderState {
        match self.state {
            _ if self.flags & CANCELLING != 0 => OrderState::PendingCancel,
            _ if self.flags & REPLACED != 0 => OrderState::PendingReplace,
            LIVE => OrderState::Live,
            _ => OrderState::PendingNew,
        }
    }

    /// Neither a replacement nor a cancel of it is on its way.
    #[inline]
    pub fn may_be_replaced(&self) -> bool {
        self.flags == 0
    }
}

/// An event of this host's own making, without quantity.
fn blank(id: u64, instrument: Instrument, side: Side, kind: OrderEventKind) -> OrderEvent {
    OrderEvent::local(id, instrument, side, kind, 0)
}

/// What `qty` shares at `price` are worth; exact.
#[inline]
pub fn worth(qty: u32, price: i64) -> u128 {
    u128::from(qty) * u128::from(price.unsigned_abs())
}

/// The bits that are set, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        (bit < 64).then(|| {
            self.0 &= self.0 - 1;
            bit
        })
    }
}

/// Fills that are remembered.
const FILLS: usize = 1 << 13;
/// Fills of one bucket: a cache line.
const WAYS: usize = 4;

/// The fills of late, by order and match: one that comes again, as after a new login, is known. Both sides of a match
/// have its number, so the order belongs to the key.
#[derive(Debug)]
struct Fills<'m> {
    matches: &'m mut [Match],
}

/// One fill; order 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Match {
    order: u64,
    number: u64,
}

impl Fills<'_> {
    /// Where the bucket of a fill begins.
    fn bucket(order: u64, number: u64) -> usize {
        // Fibonacci hashing: the top bits of a product with 2⁶⁴/φ.
        let hash = (order ^ number.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> (64 - (FILLS / WAYS).ilog2())) as usize * WAYS
    }

    fn seen(&self, order: u64, number: u64) -> bool {
        let first = Self::bucket(order, number);
        self.matches[first..first + WAYS].contains(&Match { order, number })
    }

    /// The oldest of its bucket is forgotten.
    fn remember(&mut self, order: u64, number: u64) {
        let first = Self::bucket(order, number);
        let bucket = &mut self.matches[first..first + WAYS];
        bucket.rotate_right(1);
        bucket[0] = Match { order, number };
    }
}

#[cfg(test)]
pub(crate) mod exchange;
#[cfg(test)]
mod tests;
