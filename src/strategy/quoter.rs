//! The shipped strategy.

use super::{BooksLost, Orders, Strategy};
use crate::book::Book;
use crate::market::OrderEvent;

/// Quotes both sides around a fair price.
#[derive(Debug)]
pub struct Quoter {}

/// Parameters of the [`Quoter`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuoterParameters {}

impl Strategy for Quoter {
    const NAME: &'static str = "quoter";
    type Parameters = QuoterParameters;

    fn new(_parameters: QuoterParameters, _instruments: usize) -> Result<Self, String> {
        Ok(Quoter {})
    }

    fn on_book(&mut self, _book: &Book<'_>, _orders: &mut Orders) {}

    fn on_order_event(&mut self, _event: &OrderEvent, _orders: &mut Orders) {}

    fn on_books_lost(&mut self, _why: BooksLost, _orders: &mut Orders) {}
}
