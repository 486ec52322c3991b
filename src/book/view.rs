//! What a strategy sees of a book: levels best first, read in place.

use super::levels::{self, LINE};
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
    /// Behind a line of zeros, each.
    pub(super) bids: &'b [u64],
    pub(super) asks: &'b [u64],
    pub(super) stale: bool,
    pub(super) complete: bool,
}

/// Levels of one side, best first.
#[derive(Clone, Debug)]
pub struct Levels<'b> {
    words: std::slice::Iter<'b, u64>,
    side: Side,
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
        Levels { words: self.bids[LINE..].iter(), side: Side::Buy }
    }

    /// Asks, lowest first.
    #[inline]
    pub fn asks(&self) -> Levels<'b> {
        Levels { words: self.asks[LINE..].iter(), side: Side::Sell }
    }

    /// Levels of `side`, best first.
    #[inline]
    pub fn side(&self, side: Side) -> Levels<'b> {
        match side {
            Side::Buy => self.bids(),
            Side::Sell => self.asks(),
        }
    }

    /// Shares at the eight best levels of `side`, best last; 0 where there is none. What many levels weigh together is
    /// cheapest asked of this.
    #[inline]
    pub fn best_eight(&self, side: Side) -> [u64; 8] {
        let words = if side == Side::Buy { self.bids } else { self.asks };
        let best: &[u64; LINE] = words.last_chunk().expect("a line of zeros comes before the levels");
        best.map(|word| word & levels::MAX_QTY)
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

impl Iterator for Levels<'_> {
    type Item = Level;

    #[inline]
    fn next(&mut self) -> Option<Level> {
        // Stored best last.
        self.words.next_back().map(|&word| levels::level(self.side, word))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.words.size_hint()
    }
}

impl ExactSizeIterator for Levels<'_> {}
