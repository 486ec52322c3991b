//! Where decisions are made: book changes and order events in, orders out.
//!
//! A [`Strategy`] knows one time, [`Orders::arrival_ns`], and nothing of threads, rings or protocols; the same calls in
//! the same order make the same orders, which is what makes a replay worth comparing. It may allocate in
//! [`Strategy::new`] and nowhere else. The shipped one is [`Quoter`].

mod orders;
mod quoter;

pub use orders::Orders;
pub use quoter::{Quoter, QuoterParameters};

use crate::book::Book;
use crate::market::{Instrument, OrderEvent, Price, Status, Symbol};

/// A trading strategy over the instruments of one venue.
///
/// For each packet the stage calls [`on_books_lost`](Self::on_books_lost), [`on_status`](Self::on_status) and
/// [`on_book`](Self::on_book) as its events ask, each touched book once, after the packet's last event, and then
/// [`on_packet`](Self::on_packet). [`on_order_event`](Self::on_order_event) comes between packets.
pub trait Strategy: Sized + Send + 'static {
    /// Its name in a pipeline file: `"strategy": {"name": NAME, "parameters": {…}}`.
    const NAME: &'static str;

    /// Its parameters in a pipeline file; the JSON Schema of the file is made from this.
    type Parameters: serde::de::DeserializeOwned + schemars::JsonSchema + Send;

    /// A strategy for instruments `0..instruments`. It may allocate here, and nowhere else. This runs on the lcore that
    /// will run the strategy, so that its memory is near: a thread that is started here inherits that CPU, and has to leave it.
    ///
    /// # Errors
    /// A sentence that names the parameter, the value found and the values expected.
    fn new(parameters: Self::Parameters, instruments: usize) -> Result<Self, String>;

    /// These parameters hold from the next packet on: the file was changed while it ran. A strategy could be made of them,
    /// so they are within their ranges. [`on_instrument`](Self::on_instrument) follows for every instrument that has been
    /// told. Nothing may be allocated here.
    fn reconfigure(&mut self, parameters: &Self::Parameters);

    /// An instrument was seen for the first time; precedes every other call about it. After a restart of the session
    /// and after new parameters it may be told again.
    fn on_instrument(&mut self, _instrument: Instrument, _spec: &InstrumentSpec) {}

    /// A hint that `instrument` will be asked about shortly: prefetch its state.
    #[inline]
    fn prefetch(&self, _instrument: Instrument) {}

    /// A packet changed this book. It may be stale, crossed or empty.
    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders);

    /// The trading state of an instrument changed.
    fn on_status(&mut self, _instrument: Instrument, _status: Status, _orders: &mut Orders) {}

    /// Something became of an order.
    fn on_order_event(&mut self, event: &OrderEvent, orders: &mut Orders);

    /// No book can be trusted any more (each is stale or empty): quotes should be pulled. There are more of them than
    /// one packet's orders, so begin here and go on in [`on_packet`](Self::on_packet).
    fn on_books_lost(&mut self, why: BooksLost, orders: &mut Orders);

    /// The venue closes or is paused. Cancel what stands, as far as there is room; it is asked again until it asks for
    /// nothing. A paused venue may trade again: [`on_book`](Self::on_book), which is not called meanwhile, is called again
    /// then. Not called at the end of a replay.
    fn on_stop(&mut self, orders: &mut Orders);

    /// The packet is done: the place for work in bounded pieces.
    #[inline]
    fn on_packet(&mut self, _orders: &mut Orders) {}

    /// Its counters, each with its name.
    fn counters(&self, _see: &mut dyn FnMut(&'static str, u64)) {}
}

/// What a strategy is told about an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentSpec {
    /// Its symbol.
    pub symbol: Symbol,
    /// Shares in a round lot, at least 1.
    pub lot: u32,
    /// Smallest step between prices, above 0.
    pub tick: Price,
}

/// Why every book was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BooksLost {
    /// Messages were lost: books are stale until the session restarts.
    Gap,
    /// Messages are missing, or the feed is silent: books are stale until what is missing has come.
    Late,
    /// A new session: books are empty.
    SessionStart,
}
