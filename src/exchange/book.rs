//! The book that the public sees: every standing order of every instrument, by price and time, whether the generated market
//! or a client of ours entered it.
//!
//! The generated market does not know of our clients, so a generated order is counted twice: the shares the public sees
//! and those its own market still believes in. A client may have taken all of the first; then the order is a shadow that
//! stands nowhere and waits for its market to remove it.

use crate::market::Side;
use std::collections::{BTreeMap, HashMap};

/// Standing orders and the instruments they are in.
#[derive(Default)]
pub struct Book {
    instruments: BTreeMap<u16, Instrument>,
    locates: HashMap<[u8; 8], u16>,
    orders: HashMap<u64, Standing>,
    arrivals: u64,
}

/// An order of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its instrument.
    pub locate: u16,
    /// Its side.
    pub side: Side,
    /// Its limit.
    pub price: u32,
    /// Shares the public sees; 0 in a shadow.
    pub shares: u32,
    /// The client order behind it; `None` when it is a generated one.
    pub owner: Option<u32>,
    /// Shares the generated market believes in; those of a client's order are 0.
    generated: u32,
    arrival: u64,
}

/// What is known of an instrument.
pub struct Instrument {
    /// Symbol, space-padded.
    pub symbol: [u8; 8],
    /// Its directory message.
    pub directory: Option<Vec<u8>>,
    /// Its latest trading action message.
    pub action: Option<Vec<u8>>,
    /// This market alone has halted it.
    pub is_operationally_halted: bool,
    /// Its book ever changed.
    pub is_touched: bool,
    /// Key and arrival of each order, best and oldest first.
    sides: [BTreeMap<(i64, u64), u64>; 2],
}

impl Instrument {
    /// Offset of the state in a trading action message.
    const STATE: usize = 19;

    /// Whether orders are taken. An instrument that the day opened with is halted until its trading action says otherwise;
    /// one first seen in mid-session trades.
    pub fn is_trading(&self) -> bool {
        let by_action = match &self.action {
            Some(action) => action.get(Instrument::STATE) == Some(&b'T'),
            None => self.directory.is_none(),
        };
        by_action && !self.is_operationally_halted
    }

    /// Price levels of a side, best first: price and shares.
    fn levels(&self, side: Side, orders: &HashMap<u64, Standing>) -> Vec<(u32, u64)> {
        let mut levels: Vec<(u32, u64)> = Vec::new();
        for order in self.sides[side as usize].values().filter_map(|reference| orders.get(reference)) {
            match levels.last_mut().filter(|level| level.0 == order.price) {
                Some(level) => level.1 += u64::from(order.shares),
                None => levels.push((order.price, u64::from(order.shares))),
            }
        }
        levels
    }
}

impl Book {
    /// The instrument of a locate code, made when it is new.
    pub fn instrument_mut(&mut self, locate: u16, symbol: [u8; 8]) -> &mut Instrument {
        self.locates.entry(symbol).or_insert(locate);
        self.instruments.entry(locate).or_insert_with(|| Instrument {
            symbol,
            directory: None,
            action: None,
            is_operationally_halted: false,
            is_touched: false,
            sides: [BTreeMap::new(), BTreeMap::new()],
        })
    }

    /// The instrument of a locate code.
    pub fn instrument(&self, locate: u16) -> Option<&Instrument> {
        self.instruments.get(&locate)
    }

    /// Every instrument, by locate code.
    pub fn instruments(&self) -> impl Iterator<Item = (u16, &Instrument)> {
        self.instruments.iter().map(|(&locate, instrument)| (locate, instrument))
    }

    /// The locate code of a symbol.
    pub fn locate(&self, symbol: &[u8; 8]) -> Option<u16> {
        self.locates.get(symbol).copied()
    }

    /// The order of a reference, shadows included.
    pub fn order(&self, reference: u64) -> Option<Standing> {
        self.orders.get(&reference).copied()
    }

    /// Orders that stand, shadows not included.
    pub fn len(&self) -> usize {
        self.instruments.values().flat_map(|i| &i.sides).map(BTreeMap::len).sum()
    }

    /// Whether none stands.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The best and oldest order of a side, with its reference.
    pub fn best(&self, locate: u16, side: Side) -> Option<(u64, Standing)> {
        let (_, &reference) = self.instruments.get(&locate)?.sides[side as usize].first_key_value()?;
        Some((reference, self.order(reference)?))
    }

    /// Enters an order into an instrument that is known. One without shares, or with a reference that stands, is ignored.
    pub fn add(&mut self, reference: u64, locate: u16, side: Side, price: u32, shares: u32, owner: Option<u32>) {
        let Some(instrument) = self.instruments.get_mut(&locate) else { return };
        if shares == 0 || self.orders.contains_key(&reference) {
            return;
        }
        self.arrivals += 1;
        let generated = if owner.is_some() { 0 } else { shares };
        let order = Standing { locate, side, price, shares, owner, generated, arrival: self.arrivals };
        instrument.is_touched = true;
        instrument.sides[side as usize].insert(key(&order), reference);
        self.orders.insert(reference, order);
    }

    /// Takes up to `shares` off what the public sees; returns how many. An order without shares no longer stands.
    pub fn take(&mut self, reference: u64, shares: u32) -> u32 {
        let Some(order) = self.orders.get_mut(&reference) else { return 0 };
        let taken = shares.min(order.shares);
        order.shares -= taken;
        let order = *order;
        if order.shares == 0 {
            if let Some(instrument) = self.instruments.get_mut(&order.locate) {
                instrument.sides[order.side as usize].remove(&key(&order));
            }
            if order.generated == 0 {
                self.orders.remove(&reference);
            }
        }
        taken
    }

    /// The generated market takes `shares` off an order of its own; returns how many of them the public still saw.
    pub fn take_generated(&mut self, reference: u64, shares: u32) -> u32 {
        let Some(order) = self.orders.get_mut(&reference) else { return 0 };
        order.generated = order.generated.saturating_sub(shares);
        if order.generated == 0 && order.shares == 0 {
            self.orders.remove(&reference);
            return 0;
        }
        self.take(reference, shares)
    }

    /// The generated market removes an order of its own; returns the shares the public still saw.
    pub fn remove_generated(&mut self, reference: u64) -> u32 {
        self.take_generated(reference, u32::MAX)
    }

    /// Client orders that stand before an order on its own side, best and oldest first: their references.
    pub fn clients_before(&self, order: &Standing) -> Vec<u64> {
        let Some(instrument) = self.instruments.get(&order.locate) else { return Vec::new() };
        let before = instrument.sides[order.side as usize].range(..key(order)).map(|(_, &reference)| reference);
        before.filter(|reference| self.orders.get(reference).is_some_and(|order| order.owner.is_some())).collect()
    }

    /// Every standing order of an instrument, bids before asks, best and oldest first.
    pub fn standing(&self, locate: u16) -> impl Iterator<Item = (u64, Standing)> {
        let sides = self.instruments.get(&locate).into_iter().flat_map(|instrument| &instrument.sides);
        sides.flat_map(BTreeMap::values).filter_map(|&reference| Some((reference, self.order(reference)?)))
    }

    /// Price levels of a side, best first: price and shares.
    pub fn levels(&self, locate: u16, side: Side) -> Vec<(u32, u64)> {
        self.instruments.get(&locate).map_or_else(Vec::new, |instrument| instrument.levels(side, &self.orders))
    }
}

/// Where an order is on its side: best price first, then oldest.
fn key(order: &Standing) -> (i64, u64) {
    let price = i64::from(order.price);
    (if order.side == Side::Buy { -price } else { price }, order.arrival)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let mut book = Book::default();
        book.instrument_mut(1, *b"A       ");
        for (reference, side, price, shares, owner) in [
            (10, Side::Buy, 100, 5, None),
            (11, Side::Buy, 101, 6, None),
            (12, Side::Buy, 101, 7, Some(1)),
            (13, Side::Buy, 102, 8, Some(2)),
            (14, Side::Sell, 104, 9, None),
            (15, Side::Sell, 103, 4, None),
        ] {
            book.add(reference, 1, side, price, shares, owner);
        }
        book
    }

    #[test]
    fn sides_are_in_price_time_order() {
        let book = book();
        let references = |side| book.standing(1).filter(|o| o.1.side == side).map(|o| o.0).collect::<Vec<_>>();
        assert_eq!((references(Side::Buy), references(Side::Sell)), (vec![13, 11, 12, 10], vec![15, 14]));
        assert_eq!(book.levels(1, Side::Buy), [(102, 8), (101, 13), (100, 5)]);
        assert_eq!(book.best(1, Side::Sell).map(|(reference, _)| reference), Some(15));
        assert_eq!(book.clients_before(&book.order(10).unwrap()), [13, 12]);
        assert_eq!(book.clients_before(&book.order(11).unwrap()), [13]);
    }

    #[test]
    fn a_taken_generated_order_is_a_shadow_until_its_market_removes_it() {
        let mut book = book();
        assert_eq!(book.take(15, 3), 3);
        assert_eq!(book.take_generated(15, 2), 1);
        assert_eq!(book.best(1, Side::Sell).map(|(reference, _)| reference), Some(14));
        assert_eq!(book.order(15).map(|order| order.shares), Some(0));
        assert_eq!(book.remove_generated(15), 0);
        assert_eq!(book.order(15), None);
        assert_eq!((book.remove_generated(14), book.len()), (9, 4));
    }

    #[test]
    fn a_clients_order_leaves_no_shadow() {
        let mut book = book();
        assert_eq!((book.take(13, 99), book.order(13)), (8, None));
    }
}
