//! The market: the generated (or captured) market's messages and the clients' requests come in, what is published on the
//! feed and what is answered to the client goes out. Price-time priority, one book for both. Knows nothing of sockets.
//!
//! Clients' orders are on the feed as any others are: Add, Execute, Cancel, Delete and Replace, with references of a stream
//! of their own. The generated market does not know of them and is not asked to change; where the two meet, its messages
//! are rewritten so that whoever rebuilds the book from the feed finds one that never crosses:
//!
//! * A client's order that crosses executes the generated orders it meets. What the generated market later says of shares
//!   that are gone already is not published: an execution or a cancel shrinks to what is left, a delete of nothing is left
//!   out, a replace of nothing becomes an add.
//! * A generated order that would cross a client's is taken for the rest of a larger one: the client's is executed in
//!   full first, then the generated one is added as it is.
//! * A generated execution passes client orders at a better price only after they were executed in full; one at the
//!   same price that is older takes as many shares besides.
//!
//! A halt cancels the instrument's client orders, and so does the close of the day.

use super::batch::Batch;
use super::book::{Book, Standing};
use super::harm::OrderHarm;
use super::orders::{IMMEDIATE_OR_CANCEL, MAX_PRICE, MAX_QTY, Request, Response, Terms, cancel, reject};
use crate::market::Side;
use crate::synth::draw::Draw;
use crate::wire::itch50::{self, Message};
use serde::Serialize;
use std::collections::BTreeMap;

/// First reference and first match number of client orders: beyond any that a market of a day reaches,
/// and within the 40 bits that a book of this program keeps.
const FIRST_OF_OURS: u64 = 1 << 39;
/// Offset of the shares in an execution and in a cancel (ITCH 5.0).
const SHARES: usize = 19;

/// What one step brought about.
#[derive(Debug, Default)]
pub struct Output {
    /// The exchange's time of the step, ns since midnight.
    pub now_ns: u64,
    /// For the feed.
    pub feed: Batch,
    /// For the client.
    pub responses: Vec<Response>,
    /// Nobody is told of the request.
    pub is_silent: bool,
}

impl Output {
    /// Empty again, for a step at `now_ns`.
    pub fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.feed.clear();
        self.responses.clear();
        self.is_silent = false;
    }
}

/// A client's order, standing or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOrder {
    /// What it says.
    pub terms: Terms,
    /// Shares traded.
    pub filled: u32,
    /// Shares that stand.
    pub leaves: u32,
    /// What became of it.
    pub state: OrderState,
    /// The exchange's number, 0 when it was refused.
    reference: u64,
    locate: u16,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It stands.
    Live,
    /// All of it was traded.
    Filled,
    /// What was not traded was taken off.
    Cancelled,
    /// Another stands in its place.
    Replaced,
    /// It was refused.
    Rejected,
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New orders accepted.
    pub accepted: u64,
    /// Orders replaced.
    pub replaced: u64,
    /// New orders refused.
    pub rejected: u64,
    /// Replacements refused.
    pub replaces_rejected: u64,
    /// Refusals by reason of OUCH, in hexadecimal.
    pub reject_reasons: BTreeMap<String, u64>,
    /// Cancels by reason of OUCH, partial ones too.
    pub cancel_reasons: BTreeMap<char, u64>,
    /// Executions of client orders.
    pub fills: u64,
    /// Shares in them.
    pub filled_shares: u64,
    /// Numbers not above the last: ignored as repeats.
    pub repeats: u64,
    /// Cancels of orders that do not stand: ignored.
    pub unknown_cancels: u64,
    /// Cancels that would leave as many shares as stand or more: ignored.
    pub idle_cancels: u64,
    /// Modifications: not offered.
    pub unsupported: u64,
    /// Replacements that met an order just executed, on request.
    pub crossed_replaces: u64,
    /// Replacements and cancels that were forgotten without a word, on request.
    pub ignored: u64,
    /// Messages of the generated market left out, because a client had taken the shares.
    pub left_out: u64,
    /// Messages of the generated market that were changed for the same reason.
    pub rewritten: u64,
}

/// See the module's head.
pub struct Market {
    book: Book,
    orders: BTreeMap<u32, ClientOrder>,
    last_urn: u32,
    references: u64,
    matches: u64,
    is_open: bool,
    harm: OrderHarm,
    draw: Draw,
    oblivion: Draw,
    counts: Counts,
}

impl Market {
    /// A market without instruments, open for orders.
    pub fn new(seed: u64, harm: OrderHarm) -> Market {
        Market {
            book: Book::default(),
            orders: BTreeMap::new(),
            last_urn: 0,
            references: FIRST_OF_OURS,
            matches: FIRST_OF_OURS,
            is_open: true,
            harm,
            draw: Draw::new(seed, DRAWS),
            oblivion: Draw::new(seed, OBLIVION),
            counts: Counts::default(),
        }
    }

    /// The public's book.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Client orders by number.
    pub fn orders(&self) -> &BTreeMap<u32, ClientOrder> {
        &self.orders
    }

    /// What became of the requests.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The generated market says something.
    pub fn generated(&mut self, message: &[u8], out: &mut Output) {
        // What this version of ITCH does not have is published as it is and changes nothing.
        let Ok(parsed) = itch50::parse(message) else { return out.feed.push(message) };
        match parsed {
            Message::StockDirectory(m) => {
                self.book.instrument_mut(m.locate(), m.stock()).directory = Some(message.to_vec());
                out.feed.push(message);
            }
            Message::TradingAction(m) => {
                self.book.instrument_mut(m.locate(), m.stock()).action = Some(message.to_vec());
                out.feed.push(message);
                self.cancel_if_halted(m.locate(), out);
            }
            Message::OperationalHalt(m) if m.market() == b'Q' => {
                self.book.instrument_mut(m.locate(), m.stock()).is_operationally_halted = m.action() == b'H';
                out.feed.push(message);
                self.cancel_if_halted(m.locate(), out);
            }
            Message::SystemEvent(m) if m.event() == MARKET_CLOSE => {
                out.feed.push(message);
                self.close(out);
            }
            Message::AddOrder(m) => {
                let add = Add {
                    reference: m.order(),
                    locate: m.locate(),
                    side: side(m.side()),
                    price: m.price(),
                    shares: m.shares(),
                };
                self.book.instrument_mut(m.locate(), m.stock());
                self.generated_add(add, message, out);
            }
            Message::AddOrderMpid(m) => {
                let add = Add {
                    reference: m.order(),
                    locate: m.locate(),
                    side: side(m.side()),
                    price: m.price(),
                    shares: m.shares(),
                };
                self.book.instrument_mut(m.locate(), m.stock());
                self.generated_add(add, message, out);
            }
            Message::OrderExecuted(m) => self.generated_execution(m.order(), m.shares(), message, out),
            Message::OrderExecutedPrice(m) => self.generated_execution(m.order(), m.shares(), message, out),
            Message::OrderCancel(m) => self.generated_cancel(&m, out),
            Message::OrderDelete(m) => self.generated_delete(m.order(), message, out),
            Message::OrderReplace(m) => self.generated_replace(&m, out),
            _ => out.feed.push(message),
        }
    }

    /// A client asks for something.
    pub fn request(&mut self, request: &Request, out: &mut Output) {
        let [replace, cancel] =
            [self.harm.ignore_replace, self.harm.ignore_cancel].map(|odds| odds.strike(&mut self.oblivion));
        out.is_silent = match request {
            Request::Replace { .. } => replace,
            Request::Cancel { .. } => cancel,
            _ => false,
        };
        if out.is_silent {
            self.counts.ignored += 1;
            return;
        }
        match *request {
            Request::Enter { urn, terms } => self.enter(urn, terms, out),
            Request::Replace { original, urn, qty, price, time_in_force, display, sweep, client_id } => {
                let changed = |old: Terms| Terms { qty, price, time_in_force, display, sweep, client_id, ..old };
                self.replace(original, urn, client_id, changed, out);
            }
            Request::Cancel { urn, qty } => self.cancel(urn, qty, out),
            Request::Query => out.responses.push(Response::Query { next: self.last_urn.saturating_add(1) }),
            Request::Modify { .. } => self.counts.unsupported += 1,
        }
    }

    /// Every client order is cancelled.
    pub fn cancel_all(&mut self, reason: u8, out: &mut Output) {
        self.cancel_where(|_| true, reason, out);
    }

    /// The day is over: every client order is cancelled and none is accepted any more.
    pub fn close(&mut self, out: &mut Output) {
        self.is_open = false;
        self.cancel_all(cancel::TIMEOUT, out);
    }
}

/// System event: end of market hours.
const MARKET_CLOSE: u8 = b'M';
/// Stream of draws of the market: the generator has 0 to 15 and multiples of 16, the lines have the two before this.
const DRAWS: u64 = 1 << 32 | 2;
/// And of requests that are forgotten.
const OBLIVION: u64 = 1 << 32 | 6;

/// A generated order that arrives.
struct Add {
    reference: u64,
    locate: u16,
    side: Side,
    price: u32,
    shares: u32,
}

/// The generated market.
impl Market {
    fn generated_add(&mut self, add: Add, message: &[u8], out: &mut Output) {
        let Add { reference, locate, side, price, shares } = add;
        self.meet(locate, side, price, out);
        self.book.add(reference, locate, side, price, shares, None);
        out.feed.push(message);
    }

    fn generated_execution(&mut self, reference: u64, shares: u32, message: &[u8], out: &mut Output) {
        let Some(order) = self.book.order(reference) else { return out.feed.push(message) };
        self.pass(&order, shares, out);
        let left = self.book.take_generated(reference, shares);
        self.publish_shrunk(message, shares, left, out);
    }

    fn generated_cancel(&mut self, m: &itch50::OrderCancel<'_>, out: &mut Output) {
        let Some(order) = self.book.order(m.order()) else { return out.feed.push(m.bytes()) };
        let left = self.book.take_generated(m.order(), m.shares());
        if left > 0 && left == order.shares && self.book.order(m.order()).is_some() {
            // Nothing of it is left to the public, and an order of no shares does not stand.
            self.counts.rewritten += 1;
            return self.publish_delete(m.order(), m.locate(), out);
        }
        self.publish_shrunk(m.bytes(), m.shares(), left, out);
    }

    fn generated_delete(&mut self, reference: u64, message: &[u8], out: &mut Output) {
        if self.book.order(reference).is_none() || self.book.remove_generated(reference) > 0 {
            out.feed.push(message);
        } else {
            self.counts.left_out += 1;
        }
    }

    fn generated_replace(&mut self, m: &itch50::OrderReplace<'_>, out: &mut Output) {
        let Some(old) = self.book.order(m.order()) else { return out.feed.push(m.bytes()) };
        self.meet(old.locate, old.side, m.price(), out);
        let left = self.book.remove_generated(m.order());
        self.book.add(m.new_order(), old.locate, old.side, m.price(), m.shares(), None);
        if left > 0 {
            return out.feed.push(m.bytes());
        }
        self.counts.rewritten += 1;
        self.publish_add(m.new_order(), old.locate, old.side, m.price(), m.shares(), out);
    }

    /// An execution or a cancel of `asked` shares of which the public still saw `left`.
    fn publish_shrunk(&mut self, message: &[u8], asked: u32, left: u32, out: &mut Output) {
        if left == asked {
            out.feed.push(message);
        } else if left == 0 {
            self.counts.left_out += 1;
        } else {
            self.counts.rewritten += 1;
            let mut shrunk = message.to_vec();
            shrunk[SHARES..SHARES + 4].copy_from_slice(&left.to_be_bytes());
            out.feed.push(&shrunk);
        }
    }

    /// Executes the client orders that an order of `side` at `price` would cross.
    fn meet(&mut self, locate: u16, side: Side, price: u32, out: &mut Output) {
        while let Some((_, order)) = self.book.best(locate, side.opposite()) {
            let Some(urn) = order.owner.filter(|_| crosses(side, price, order.price)) else { return };
            let number = self.match_number();
            self.fill_standing(urn, order.shares, number, out);
        }
    }

    /// Executes the client orders that stand before a generated one of which `shares` are executed.
    fn pass(&mut self, order: &Standing, shares: u32, out: &mut Output) {
        for reference in self.book.clients_before(order) {
            let Some(Standing { price, shares: leaves, owner: Some(urn), .. }) = self.book.order(reference) else {
                continue;
            };
            let fill = if price == order.price { shares.min(leaves) } else { leaves };
            let number = self.match_number();
            self.fill_standing(urn, fill, number, out);
        }
    }

    fn cancel_if_halted(&mut self, locate: u16, out: &mut Output) {
        if !self.book.instrument(locate).is_some_and(|instrument| instrument.is_trading()) {
            self.cancel_where(|order| order.locate == locate, cancel::HALTED, out);
        }
    }
}

/// Clients.
impl Market {
    fn enter(&mut self, urn: u32, terms: Terms, out: &mut Output) {
        let whim = self.harm.reject.strike(&mut self.draw);
        if !self.is_new(urn) {
            return;
        }
        let locate = match self.check(&terms, whim) {
            Ok(locate) => locate,
            Err(reason) => {
                self.counts.rejected += 1;
                self.refuse(urn, terms, reason, out);
                return;
            }
        };
        self.counts.accepted += 1;
        let reference = self.open(urn, terms, locate);
        out.responses.push(Response::Accepted { urn, terms, reference });
        self.execute(urn, out);
        self.rest(urn, None, out);
    }

    fn replace(
        &mut self,
        original: u32,
        urn: u32,
        client_id: [u8; 14],
        changed: impl FnOnce(Terms) -> Terms,
        out: &mut Output,
    ) {
        let whim = self.harm.reject.strike(&mut self.draw);
        let crossed = self.harm.cross_replace.strike(&mut self.draw);
        if !self.is_new(urn) {
            return;
        }
        if let Some(old) = self.live(original).filter(|_| crossed) {
            self.counts.crossed_replaces += 1;
            let number = self.match_number();
            self.fill_standing(original, old.leaves, number, out);
        }
        let checked = match self.live(original) {
            Some(old) => {
                let terms = changed(old.terms);
                self.check(&terms, whim).map(|locate| (old, terms, locate)).map_err(|reason| (terms, reason))
            }
            None => Err((Terms { client_id, ..NO_TERMS }, reject::NO_REPLACE)),
        };
        let (old, terms, locate) = match checked {
            Ok(checked) => checked,
            Err((terms, reason)) => {
                self.counts.replaces_rejected += 1;
                self.refuse(urn, terms, reason, out);
                return;
            }
        };
        self.counts.replaced += 1;
        self.book.take(old.reference, old.leaves);
        self.settle(original, OrderState::Replaced);
        let reference = self.open(urn, terms, locate);
        out.responses.push(Response::Replaced { original, urn, terms, reference });
        let marketable = self.opposite_crossed(urn).is_some();
        if marketable || terms.time_in_force == IMMEDIATE_OR_CANCEL {
            self.publish_delete(old.reference, locate, out);
            self.execute(urn, out);
            self.rest(urn, None, out);
        } else {
            self.rest(urn, Some(old.reference), out);
        }
    }

    fn cancel(&mut self, urn: u32, qty: u32, out: &mut Output) {
        let Some(order) = self.live(urn) else {
            self.counts.unknown_cancels += 1;
            return;
        };
        if qty >= order.leaves {
            self.counts.idle_cancels += 1;
            return;
        }
        self.take_off(urn, order.leaves - qty, cancel::USER, out);
    }

    /// Whether a number rises above all before; if not, it is a repeat.
    fn is_new(&mut self, urn: u32) -> bool {
        let is_new = urn > self.last_urn;
        self.counts.repeats += u64::from(!is_new);
        self.last_urn = self.last_urn.max(urn);
        is_new
    }

    /// The instrument of an order that can be taken, or the reason why not.
    fn check(&self, terms: &Terms, whim: bool) -> Result<u16, u16> {
        if !self.is_open {
            return Err(reject::CLOSED);
        }
        let locate = self.book.locate(&terms.symbol).ok_or(reject::BAD_SYMBOL)?;
        let trades = self.book.instrument(locate).is_some_and(|instrument| instrument.is_trading());
        match terms {
            _ if !matches!(terms.side, b'B' | b'S' | b'T' | b'E') => Err(reject::BAD_SIDE),
            Terms { qty, .. } if !(1..=MAX_QTY).contains(qty) => Err(reject::BAD_QUANTITY),
            Terms { price, .. } if !(1..=MAX_PRICE).contains(price) => Err(reject::BAD_PRICE),
            _ if !trades => Err(reject::HALTED),
            _ if whim => Err(reject::OTHER),
            _ => Ok(locate),
        }
    }

    fn refuse(&mut self, urn: u32, terms: Terms, reason: u16, out: &mut Output) {
        *self.counts.reject_reasons.entry(format!("{reason:#04x}")).or_default() += 1;
        let state = OrderState::Rejected;
        self.orders.insert(urn, ClientOrder { terms, filled: 0, leaves: 0, state, reference: 0, locate: 0 });
        out.responses.push(Response::Rejected { urn, reason, client_id: terms.client_id });
    }

    /// Records an order that was taken; returns its reference.
    fn open(&mut self, urn: u32, terms: Terms, locate: u16) -> u64 {
        self.references += 1;
        let reference = self.references;
        let state = OrderState::Live;
        self.orders.insert(urn, ClientOrder { terms, filled: 0, leaves: terms.qty, state, reference, locate });
        reference
    }

    /// Executes what an order that has just arrived meets on the other side.
    fn execute(&mut self, urn: u32, out: &mut Output) {
        while let Some((reference, other)) = self.opposite_crossed(urn) {
            let Some(order) = self.live(urn) else { return };
            let shares = order.leaves.min(other.shares);
            let number = self.match_number();
            match other.owner {
                Some(owner) => self.fill_standing(owner, shares, number, out),
                None => {
                    self.book.take(reference, shares);
                    self.publish_execution(reference, other.locate, shares, number, out);
                }
            }
            self.fill(urn, shares, other.price, b'R', number, out);
        }
    }

    /// The best order of the other side, if a live order's limit reaches it.
    fn opposite_crossed(&self, urn: u32) -> Option<(u64, Standing)> {
        let order = self.live(urn)?;
        let side = side(order.terms.side);
        let best = self.book.best(order.locate, side.opposite())?;
        crosses(side, limit(&order.terms), best.1.price).then_some(best)
    }

    /// What is left of an order that has just arrived joins the book, in the place of order `replaced` if there is one.
    fn rest(&mut self, urn: u32, replaced: Option<u64>, out: &mut Output) {
        // Drawn for every order, whether it comes to rest or not.
        let partial = self.harm.partial_fill.strike(&mut self.draw);
        let part = self.draw.below(u64::from(u32::MAX));
        let Some(order) = self.live(urn) else { return };
        let ClientOrder { terms, leaves, reference, locate, .. } = order;
        if terms.time_in_force == IMMEDIATE_OR_CANCEL {
            self.settle(urn, OrderState::Cancelled);
            self.report_cancel(urn, leaves, cancel::IMMEDIATE, out);
            return;
        }
        let (side, price) = (side(terms.side), limit(&terms));
        self.book.add(reference, locate, side, price, leaves, Some(urn));
        match replaced {
            Some(old) => self.publish_replace(old, reference, locate, price, leaves, out),
            None => self.publish_add(reference, locate, side, price, leaves, out),
        }
        if partial && leaves > 1 {
            let shares = 1 + (part % u64::from(leaves - 1)) as u32;
            let number = self.match_number();
            self.fill_standing(urn, shares, number, out);
        }
    }

    /// Executes shares of a client's order that stands, at its limit.
    fn fill_standing(&mut self, urn: u32, shares: u32, number: u64, out: &mut Output) {
        let Some(order) = self.live(urn) else { return };
        self.book.take(order.reference, shares);
        self.publish_execution(order.reference, order.locate, shares, number, out);
        self.fill(urn, shares, limit(&order.terms), b'A', number, out);
    }

    fn fill(&mut self, urn: u32, qty: u32, price: u32, liquidity: u8, match_number: u64, out: &mut Output) {
        let Some(order) = self.orders.get_mut(&urn) else { return };
        order.filled += qty;
        order.leaves -= qty;
        if order.leaves == 0 {
            order.state = OrderState::Filled;
        }
        self.counts.fills += 1;
        self.counts.filled_shares += u64::from(qty);
        let price = u64::from(price);
        out.responses.push(Response::Executed { urn, qty, price, liquidity, match_number });
    }

    fn cancel_where(&mut self, which: impl Fn(&ClientOrder) -> bool, reason: u8, out: &mut Output) {
        let live = self.orders.iter().filter(|(_, order)| order.state == OrderState::Live && which(order));
        let live: Vec<(u32, u32)> = live.map(|(&urn, order)| (urn, order.leaves)).collect();
        for (urn, leaves) in live {
            self.take_off(urn, leaves, reason, out);
        }
    }

    /// Takes shares off a standing order; with the last of them it is gone.
    fn take_off(&mut self, urn: u32, shares: u32, reason: u8, out: &mut Output) {
        let Some(order) = self.live(urn) else { return };
        self.book.take(order.reference, shares);
        if shares == order.leaves {
            self.settle(urn, OrderState::Cancelled);
            self.publish_delete(order.reference, order.locate, out);
        } else {
            self.orders.insert(urn, ClientOrder { leaves: order.leaves - shares, ..order });
            self.publish_cancel(order.reference, order.locate, shares, out);
        }
        self.report_cancel(urn, shares, reason, out);
    }

    fn report_cancel(&mut self, urn: u32, qty: u32, reason: u8, out: &mut Output) {
        *self.counts.cancel_reasons.entry(char::from(reason)).or_default() += 1;
        out.responses.push(Response::Canceled { urn, qty, reason });
    }

    /// Ends an order.
    fn settle(&mut self, urn: u32, state: OrderState) {
        if let Some(order) = self.orders.get_mut(&urn) {
            order.leaves = 0;
            order.state = state;
        }
    }

    fn live(&self, urn: u32) -> Option<ClientOrder> {
        self.orders.get(&urn).copied().filter(|order| order.state == OrderState::Live)
    }

    fn match_number(&mut self) -> u64 {
        self.matches += 1;
        self.matches
    }
}

/// What client orders say on the feed.
impl Market {
    fn publish_add(&self, order: u64, locate: u16, side: Side, price: u32, shares: u32, out: &mut Output) {
        let Some(instrument) = self.book.instrument(locate) else { return };
        let (stock, side) = (instrument.symbol, letter(side));
        let add =
            itch50::AddOrderRepr { locate, tracking: 0, timestamp: out.now_ns, order, side, shares, stock, price };
        out.feed.push(&add.to_bytes());
    }

    fn publish_execution(&self, order: u64, locate: u16, shares: u32, match_number: u64, out: &mut Output) {
        let execution =
            itch50::OrderExecutedRepr { locate, tracking: 0, timestamp: out.now_ns, order, shares, match_number };
        out.feed.push(&execution.to_bytes());
    }

    fn publish_cancel(&self, order: u64, locate: u16, shares: u32, out: &mut Output) {
        out.feed
            .push(&itch50::OrderCancelRepr { locate, tracking: 0, timestamp: out.now_ns, order, shares }.to_bytes());
    }

    fn publish_delete(&self, order: u64, locate: u16, out: &mut Output) {
        out.feed.push(&itch50::OrderDeleteRepr { locate, tracking: 0, timestamp: out.now_ns, order }.to_bytes());
    }

    fn publish_replace(&self, order: u64, new_order: u64, locate: u16, price: u32, shares: u32, out: &mut Output) {
        let replace =
            itch50::OrderReplaceRepr { locate, tracking: 0, timestamp: out.now_ns, order, new_order, shares, price };
        out.feed.push(&replace.to_bytes());
    }
}

/// Terms of a replacement whose original is not there.
const NO_TERMS: Terms = Terms {
    side: b' ',
    qty: 0,
    symbol: [b' '; 8],
    price: 0,
    time_in_force: b' ',
    display: b' ',
    capacity: b' ',
    sweep: b' ',
    cross: b' ',
    client_id: [b' '; 14],
};

/// Whether an order of `side` at `price` reaches one of the other side.
fn crosses(side: Side, price: u32, other: u32) -> bool {
    match side {
        Side::Buy => price >= other,
        Side::Sell => price <= other,
    }
}

/// Side of an order: what does not buy sells, short or not.
fn side(letter: u8) -> Side {
    if letter == b'B' { Side::Buy } else { Side::Sell }
}

fn letter(side: Side) -> u8 {
    match side {
        Side::Buy => b'B',
        Side::Sell => b'S',
    }
}

/// The limit of an order that was accepted: then it is at most [`MAX_PRICE`], which fits.
fn limit(terms: &Terms) -> u32 {
    terms.price as u32
}

#[cfg(test)]
mod tests {
    use super::super::harm::Odds;
    use super::*;

    const A: [u8; 8] = *b"A       ";
    const NOW: u64 = 34_200_000_000_000;

    /// A market, and what each step of it says.
    struct Floor {
        market: Market,
        out: Output,
    }

    impl Floor {
        fn new(harm: OrderHarm) -> Floor {
            let mut floor = Floor { market: Market::new(1, harm), out: Output::default() };
            let directory = itch50::StockDirectoryRepr {
                locate: 1,
                tracking: 0,
                timestamp: 0,
                stock: A,
                market_category: b'Q',
                financial_status: b'N',
                round_lot: 100,
                round_lots_only: b'N',
                classification: b'C',
                subtype: *b"Z ",
                authenticity: b'P',
                short_sale_threshold: b'N',
                ipo: b'N',
                luld_tier: b'1',
                etp: b'N',
                etp_leverage: 0,
                inverse: b'N',
            };
            floor.says(&directory.to_bytes());
            floor.action(b'T');
            floor
        }

        fn says(&mut self, message: &[u8]) {
            self.out.begin(NOW);
            self.market.generated(message, &mut self.out);
        }

        fn action(&mut self, state: u8) {
            let action = itch50::TradingActionRepr {
                locate: 1,
                tracking: 0,
                timestamp: 0,
                stock: A,
                state,
                reserved: b' ',
                reason: *b"    ",
            };
            self.says(&action.to_bytes());
        }

        fn add(&mut self, order: u64, side: u8, price: u32, shares: u32) {
            let add =
                itch50::AddOrderRepr { locate: 1, tracking: 0, timestamp: 0, order, side, shares, stock: A, price };
            self.says(&add.to_bytes());
        }

        fn execute(&mut self, order: u64, shares: u32) {
            let execution =
                itch50::OrderExecutedRepr { locate: 1, tracking: 0, timestamp: 0, order, shares, match_number: 5 };
            self.says(&execution.to_bytes());
        }

        fn asks(&mut self, request: Request) {
            self.out.begin(NOW);
            self.market.request(&request, &mut self.out);
        }

        fn enter(&mut self, urn: u32, side: u8, price: u64, qty: u32) {
            self.asks(Request::Enter { urn, terms: terms(side, price, qty) });
        }

        fn replace(&mut self, original: u32, urn: u32, price: u64, qty: u32) {
            let (time_in_force, display, sweep, client_id) = (b'0', b'Y', b'N', [b'x'; 14]);
            self.asks(Request::Replace { original, urn, qty, price, time_in_force, display, sweep, client_id });
        }

        /// What the last step published: type, reference (from 1 for those of clients) and shares.
        fn published(&self) -> Vec<(char, u64, u32)> {
            let ours = |order: u64| if order > FIRST_OF_OURS { order - FIRST_OF_OURS } else { order };
            let told = |message: &[u8]| match itch50::parse(message).unwrap() {
                Message::AddOrder(m) => ('A', ours(m.order()), m.shares()),
                Message::OrderExecuted(m) => ('E', ours(m.order()), m.shares()),
                Message::OrderCancel(m) => ('X', ours(m.order()), m.shares()),
                Message::OrderDelete(m) => ('D', ours(m.order()), 0),
                Message::OrderReplace(m) => ('U', ours(m.order()), m.shares()),
                other => (other.kind() as char, 0, 0),
            };
            self.out.feed.iter().map(told).collect()
        }

        #[track_caller]
        fn answered(&self, expected: &[Response]) {
            assert_eq!(self.out.responses, expected);
        }

        fn order(&self, urn: u32) -> (OrderState, u32, u32) {
            let order = &self.market.orders()[&urn];
            (order.state, order.filled, order.leaves)
        }
    }

    fn terms(side: u8, price: u64, qty: u32) -> Terms {
        Terms {
            side,
            qty,
            symbol: A,
            price,
            time_in_force: b'0',
            display: b'Y',
            capacity: b'P',
            sweep: b'N',
            cross: b'N',
            client_id: [b'x'; 14],
        }
    }

    fn accepted(urn: u32, terms: Terms, number: u64) -> Response {
        Response::Accepted { urn, terms, reference: FIRST_OF_OURS + number }
    }

    fn executed(urn: u32, qty: u32, price: u64, liquidity: u8, number: u64) -> Response {
        Response::Executed { urn, qty, price, liquidity, match_number: FIRST_OF_OURS + number }
    }

    #[test]
    fn an_order_that_reaches_nothing_rests_on_the_feed() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.add(10, b'S', 1_000_000, 100);
        floor.enter(1, b'B', 999_900, 200);
        floor.answered(&[accepted(1, terms(b'B', 999_900, 200), 1)]);
        assert_eq!(floor.published(), [('A', 1, 200)]);
        assert_eq!(floor.market.book().levels(1, Side::Buy), [(999_900, 200)]);
    }

    #[test]
    fn an_order_that_crosses_takes_what_is_there_and_rests_with_the_rest() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.add(10, b'S', 1_000_000, 100);
        floor.add(11, b'S', 1_000_100, 50);
        floor.add(12, b'S', 1_000_200, 70);
        floor.enter(1, b'B', 1_000_100, 200);
        floor.answered(&[
            accepted(1, terms(b'B', 1_000_100, 200), 1),
            executed(1, 100, 1_000_000, b'R', 1),
            executed(1, 50, 1_000_100, b'R', 2),
        ]);
        assert_eq!(floor.published(), [('E', 10, 100), ('E', 11, 50), ('A', 1, 50)]);
        assert_eq!(floor.order(1), (OrderState::Live, 150, 50));
        // Its market has not heard: what it says of shares that are gone is left out.
        floor.execute(10, 40);
        assert_eq!(floor.published(), []);
        floor.execute(10, 60);
        assert_eq!((floor.published(), floor.market.book().order(10)), (vec![], None));
    }

    #[test]
    fn what_is_said_of_shares_partly_gone_shrinks() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.add(10, b'S', 1_000_000, 100);
        floor.enter(1, b'B', 1_000_000, 70);
        floor.execute(10, 50);
        assert_eq!(floor.published(), [('E', 10, 30)]);
        let cancel = itch50::OrderCancelRepr { locate: 1, tracking: 0, timestamp: 0, order: 10, shares: 20 };
        floor.says(&cancel.to_bytes());
        assert_eq!(floor.published(), []);
        // A shadow that is replaced comes back as a new order.
        let replace = itch50::OrderReplaceRepr {
            locate: 1,
            tracking: 0,
            timestamp: 0,
            order: 10,
            new_order: 20,
            shares: 500,
            price: 1_000_300,
        };
        floor.says(&replace.to_bytes());
        assert_eq!(floor.published(), [('A', 20, 500)]);

        floor.enter(2, b'B', 1_000_300, 450);
        let cancel = itch50::OrderCancelRepr { locate: 1, tracking: 0, timestamp: 0, order: 20, shares: 60 };
        floor.says(&cancel.to_bytes());
        assert_eq!(floor.published(), [('D', 20, 0)]);
        floor.says(&itch50::OrderDeleteRepr { locate: 1, tracking: 0, timestamp: 0, order: 20 }.to_bytes());
        assert_eq!((floor.published(), floor.market.book().len()), (vec![], 0));
    }

    #[test]
    fn a_generated_order_that_would_cross_executes_ours_first() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'S', 1_000_200, 30);
        floor.enter(2, b'T', 1_000_100, 20);
        floor.add(10, b'B', 1_000_200, 100);
        floor.answered(&[executed(2, 20, 1_000_100, b'A', 1), executed(1, 30, 1_000_200, b'A', 2)]);
        assert_eq!(floor.published(), [('E', 2, 20), ('E', 1, 30), ('A', 10, 100)]);
        assert_eq!(floor.order(1), (OrderState::Filled, 30, 0));
    }

    #[test]
    fn a_generated_execution_does_not_pass_a_better_or_an_older_order_of_ours() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'B', 1_000_000, 80);
        floor.add(10, b'B', 1_000_000, 100);
        floor.enter(2, b'B', 1_000_100, 40);
        floor.enter(3, b'B', 1_000_000, 60);
        floor.execute(10, 50);
        floor.answered(&[executed(2, 40, 1_000_100, b'A', 1), executed(1, 50, 1_000_000, b'A', 2)]);
        assert_eq!(floor.published(), [('E', 2, 40), ('E', 1, 50), ('E', 10, 50)]);
        assert_eq!((floor.order(1), floor.order(3)), ((OrderState::Live, 50, 30), (OrderState::Live, 0, 60)));
    }

    #[test]
    fn cancels_say_what_shall_remain() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'B', 1_000_000, 80);
        floor.asks(Request::Cancel { urn: 1, qty: 30 });
        floor.answered(&[Response::Canceled { urn: 1, qty: 50, reason: b'U' }]);
        assert_eq!(floor.published(), [('X', 1, 50)]);
        floor.asks(Request::Cancel { urn: 1, qty: 30 });
        floor.answered(&[]);
        floor.asks(Request::Cancel { urn: 1, qty: 0 });
        floor.answered(&[Response::Canceled { urn: 1, qty: 30, reason: b'U' }]);
        assert_eq!(floor.published(), [('D', 1, 0)]);
        floor.asks(Request::Cancel { urn: 1, qty: 0 });
        floor.answered(&[]);
        assert_eq!((floor.market.counts().idle_cancels, floor.market.counts().unknown_cancels), (1, 1));
    }

    #[test]
    fn a_replacement_loses_its_place_and_may_trade_at_once() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.add(10, b'S', 1_000_000, 100);
        floor.enter(1, b'B', 999_000, 80);
        floor.replace(1, 2, 999_100, 60);
        let at = |price, qty| terms(b'B', price, qty);
        floor.answered(&[Response::Replaced {
            original: 1,
            urn: 2,
            terms: at(999_100, 60),
            reference: FIRST_OF_OURS + 2,
        }]);
        assert_eq!(floor.published(), [('U', 1, 60)]);
        floor.replace(2, 3, 1_000_000, 120);
        let replaced =
            Response::Replaced { original: 2, urn: 3, terms: at(1_000_000, 120), reference: FIRST_OF_OURS + 3 };
        floor.answered(&[replaced, executed(3, 100, 1_000_000, b'R', 1)]);
        assert_eq!(floor.published(), [('D', 2, 0), ('E', 10, 100), ('A', 3, 20)]);
        assert_eq!((floor.order(1).0, floor.order(2).0), (OrderState::Replaced, OrderState::Replaced));
        // What no longer stands cannot be replaced, and what is refused leaves the original as it was.
        floor.replace(1, 4, 1_000_000, 120);
        floor.answered(&[Response::Rejected { urn: 4, reason: 0x15, client_id: [b'x'; 14] }]);
        floor.replace(3, 5, 0, 120);
        floor.answered(&[Response::Rejected { urn: 5, reason: 0x1D, client_id: [b'x'; 14] }]);
        assert_eq!(floor.order(3), (OrderState::Live, 100, 20));
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_its_reason() {
        let mut floor = Floor::new(OrderHarm::default());
        let refused = |floor: &Floor| {
            let bytes = floor.out.responses[0].bytes(NOW);
            (bytes[0], u16::from_be_bytes([bytes[13], bytes[14]]))
        };
        let mut urn = 0;
        let mut enter = |floor: &mut Floor, terms: Terms| {
            urn += 1;
            floor.asks(Request::Enter { urn, terms });
            refused(floor)
        };
        let good = terms(b'B', 1, 1);
        assert_eq!(enter(&mut floor, Terms { symbol: *b"NONE    ", ..good }), (b'J', 0x17));
        assert_eq!(enter(&mut floor, Terms { qty: 0, ..good }), (b'J', 0x13));
        assert_eq!(enter(&mut floor, Terms { qty: 1_000_000, ..good }), (b'J', 0x13));
        assert_eq!(enter(&mut floor, Terms { price: 0, ..good }), (b'J', 0x1D));
        assert_eq!(enter(&mut floor, Terms { price: 1_999_999_901, ..good }), (b'J', 0x1D));
        assert_eq!(enter(&mut floor, Terms { side: b'X', ..good }), (b'J', 0x09));
        floor.action(b'P');
        assert_eq!(enter(&mut floor, good), (b'J', 0x07));
        floor.action(b'T');
        floor.out.begin(NOW);
        floor.market.close(&mut floor.out);
        assert_eq!(enter(&mut floor, good), (b'J', 0x02));
        assert_eq!(floor.market.counts().rejected, 8);
    }

    #[test]
    fn a_number_that_does_not_rise_is_ignored() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(5, b'B', 1_000_000, 80);
        for urn in [5, 4] {
            floor.enter(urn, b'B', 1_000_000, 80);
            floor.answered(&[]);
        }
        floor.replace(5, 5, 1_000_000, 80);
        floor.answered(&[]);
        assert_eq!((floor.market.counts().repeats, floor.market.book().len()), (3, 1));
    }

    #[test]
    fn the_rest_of_an_immediate_order_is_cancelled() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.add(10, b'S', 1_000_000, 100);
        let terms = Terms { time_in_force: b'3', ..terms(b'B', 1_000_000, 150) };
        floor.asks(Request::Enter { urn: 1, terms });
        let cancelled = Response::Canceled { urn: 1, qty: 50, reason: b'I' };
        floor.answered(&[accepted(1, terms, 1), executed(1, 100, 1_000_000, b'R', 1), cancelled]);
        assert_eq!((floor.published(), floor.order(1)), (vec![('E', 10, 100)], (OrderState::Cancelled, 100, 0)));
    }

    #[test]
    fn a_halt_cancels_what_stands() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'B', 1_000_000, 80);
        floor.action(b'H');
        floor.answered(&[Response::Canceled { urn: 1, qty: 80, reason: b'H' }]);
        assert_eq!(floor.published(), [('H', 0, 0), ('D', 1, 0)]);
    }

    #[test]
    fn our_orders_trade_with_each_other() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'B', 1_000_000, 80);
        floor.enter(2, b'S', 1_000_000, 30);
        let sell = terms(b'S', 1_000_000, 30);
        floor.answered(&[
            accepted(2, sell, 2),
            executed(1, 30, 1_000_000, b'A', 1),
            executed(2, 30, 1_000_000, b'R', 1),
        ]);
        assert_eq!(floor.published(), [('E', 1, 30)]);
    }

    #[test]
    fn harm_refuses_fills_in_part_and_crosses_a_replacement() {
        let mut floor = Floor::new(OrderHarm { reject: Odds::ALWAYS, ..OrderHarm::default() });
        floor.enter(1, b'B', 1_000_000, 80);
        floor.answered(&[Response::Rejected { urn: 1, reason: 0x0F, client_id: [b'x'; 14] }]);

        let mut floor = Floor::new(OrderHarm { partial_fill: Odds::ALWAYS, ..OrderHarm::default() });
        floor.enter(1, b'B', 1_000_000, 80);
        let (state, filled, leaves) = floor.order(1);
        assert_eq!((state, filled + leaves), (OrderState::Live, 80));
        assert!((1..80).contains(&filled));
        assert_eq!(floor.published(), [('A', 1, 80), ('E', 1, filled)]);

        let mut floor = Floor::new(OrderHarm { cross_replace: Odds::ALWAYS, ..OrderHarm::default() });
        floor.enter(1, b'B', 1_000_000, 80);
        floor.replace(1, 2, 1_000_100, 80);
        let rejected = Response::Rejected { urn: 2, reason: 0x15, client_id: [b'x'; 14] };
        floor.answered(&[executed(1, 80, 1_000_000, b'A', 1), rejected]);
        assert_eq!((floor.published(), floor.market.counts().crossed_replaces), (vec![('E', 1, 80)], 1));
    }

    #[test]
    fn nothing_stands_after_the_close() {
        let mut floor = Floor::new(OrderHarm::default());
        floor.enter(1, b'B', 1_000_000, 80);
        floor.out.begin(NOW);
        floor.market.close(&mut floor.out);
        floor.answered(&[Response::Canceled { urn: 1, qty: 80, reason: b'T' }]);
        assert_eq!((floor.published(), floor.order(1)), (vec![('D', 1, 0)], (OrderState::Cancelled, 0, 0)));
    }
}
