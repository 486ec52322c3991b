//! A strategy of one's own, with its own `main`: it joins the best bid of every instrument and follows it. Say
//! `"strategy": {"name": "joiner", "parameters": {"shares": 200}}` in a pipeline file, then
//! `cargo run --release --example joiner -- replay PIPELINE CAPTURE`.

use tickpath::Program;
use tickpath::book::Book;
use tickpath::market::{Instrument, OrderEvent, OrderEventKind, Price, Side};
use tickpath::strategy::{BooksLost, Orders, Strategy};

fn main() -> std::process::ExitCode {
    Program::shipped().strategy::<Joiner>().main()
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Size of each bid, at least 1.
    shares: std::num::NonZeroU32,
}

#[derive(Clone, Default)]
struct Bid {
    id: u64,
    before: u64,
    price: Price,
    left: u32,
}

struct Joiner {
    shares: u32,
    bids: Vec<Bid>,
}

impl Strategy for Joiner {
    const NAME: &'static str = "joiner";
    type Parameters = Parameters;

    fn new(parameters: Parameters, instruments: usize) -> Result<Self, String> {
        Ok(Joiner { shares: parameters.shares.get(), bids: vec![Bid::default(); instruments] })
    }

    fn reconfigure(&mut self, parameters: &Parameters) {
        self.shares = parameters.shares.get();
    }

    fn on_book(&mut self, book: &Book<'_>, orders: &mut Orders) {
        let instrument = book.instrument();
        let bid = &mut self.bids[instrument.0 as usize];
        let best = book.best_bid().filter(|_| !book.stale() && !book.crossed() && !book.locked());
        let qty = self.shares;
        let done = match (best, bid.id) {
            (Some(best), 0) => orders.enter(instrument, Side::Buy, qty, best.price),
            (Some(best), id) if best.price != bid.price => orders.replace(instrument, Side::Buy, id, qty, best.price),
            (None, id) if id != 0 => orders.cancel(instrument, Side::Buy, id).map(|()| 0),
            _ => return,
        };
        if let Some(id) = done {
            *bid = Bid { id, before: bid.id, price: best.map_or(Price(0), |best| best.price), left: qty };
        }
    }

    fn on_order_event(&mut self, event: &OrderEvent, _orders: &mut Orders) {
        let bid = &mut self.bids[event.instrument.0 as usize];
        match event.kind {
            OrderEventKind::LocalReject | OrderEventKind::Rejected => (bid.id, bid.price) = (bid.before, Price(0)),
            OrderEventKind::Filled | OrderEventKind::Cancelled if event.id == bid.id => {
                bid.left = bid.left.saturating_sub(event.qty);
                bid.id = if bid.left == 0 { 0 } else { bid.id };
            }
            _ => {}
        }
    }

    fn on_stop(&mut self, orders: &mut Orders) {
        for (i, bid) in self.bids.iter_mut().enumerate().filter(|(_, bid)| bid.id != 0) {
            if orders.cancel(Instrument(i as u32), Side::Buy, bid.id).is_some() {
                (bid.id, bid.before) = (0, bid.id);
            }
        }
    }

    /// Each bid goes with the next event of its instrument: the book is stale or empty then.
    fn on_books_lost(&mut self, _why: BooksLost, _orders: &mut Orders) {}
}
