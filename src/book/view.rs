//! What a strategy sees of a book: levels best first, read in place.

use super::levels::{Levels, Sides};
use crate::market::{Instrument, Price, Side};

/// A price level: what stands there, summed over its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The price.
    pub price: Price,
    /// Shares, at least 1.
    pub qty: u64,
}

/// One instrument's book at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Book<'b> {
    pub(super) instrument: Instrument,
    pub(super) sides: Sides<'b>,
    pub(super) stale: bool,
    pub(super) complete: bool,
}

impl<'b> Book<'b> {
    /// Whose book.
    #[inline]
    pub fn instrument(&self) -> Instrument {
        self.instrument
    }

    /// Messages were lost, or did not fit, since the session started: the levels may be wrong and must not be quoted on.
    #[inline]
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// False in the middle of an atomic event of a level feed: the levels are between two states.
    #[inline]
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Bids, highest first.
    #[inline]
    pub fn bids(&self) -> Levels<'b> {
        self.side(Side::Buy)
    }

    /// Asks, lowest first.
    #[inline]
    pub fn asks(&self) -> Levels<'b> {
        self.side(Side::Sell)
    }

    /// Levels of `side`, best first.
    #[inline]
    pub fn side(&self, side: Side) -> Levels<'b> {
        self.sides.levels(side)
    }

    /// Shares at the best levels of `side`, as many as there are weights, each times its weight, the best times the first. What
    /// many levels weigh together is cheapest asked of this.
    #[inline]
    pub fn weigh(&self, side: Side, weights: &[u32]) -> u64 {
        self.sides.weigh(side, weights)
    }

    /// The highest bid.
    #[inline]
    pub fn best_bid(&self) -> Option<Level> {
        self.bids().next()
    }

    /// The lowest ask.
    #[inline]
    pub fn best_ask(&self) -> Option<Level> {
        self.asks().next()
    }

    /// The best bid is above the best ask.
    #[inline]
    pub fn crossed(&self) -> bool {
        matches!((self.best_bid(), self.best_ask()), (Some(bid), Some(ask)) if bid.price > ask.price)
    }

    /// The best bid equals the best ask.
    #[inline]
    pub fn locked(&self) -> bool {
        matches!((self.best_bid(), self.best_ask()), (Some(bid), Some(ask)) if bid.price == ask.price)
    }
}
