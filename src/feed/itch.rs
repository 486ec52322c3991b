//! ITCH 5.0 over MoldUDP64 to elements.
//!
//! Instruments travel as stock locate codes, valid for a day; a table of all 65,536 maps them to indexes. It is filled
//! by the first message that names the symbol beside the locate, so a capture that begins in mid-session works too.

use super::{Carried, Header, Opened, Origin, State, Verdict, Window};
use crate::arena::{Arena, ArenaFull, bytes};
use crate::market::{Element, Instrument, Packet, Price, Side, Status, Symbol};
use crate::wire::itch50::{self, Message};
use crate::wire::moldudp64;

/// Locate codes: all values of a u16.
const LOCATES: usize = 1 << 16;

/// Table entry: no message has named this locate.
const UNNAMED: u32 = 0;

/// Table entry: named, and not subscribed.
const UNWANTED: u32 = 1;

/// Decoder state.
#[derive(Debug)]
pub(super) struct Itch<'m> {
    /// `UNNAMED`, `UNWANTED`, or 2 + index.
    locates: &'m mut [u32; LOCATES],
}

impl<'m> Itch<'m> {
    pub const BYTES: usize = bytes::<u32>(LOCATES);

    pub fn new(arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let locates = arena.slice("stock locates", LOCATES)?;
        Ok(Itch { locates: locates.try_into().expect("as many as were asked for") })
    }

    #[inline]
    pub fn packet(
        &mut self,
        state: &mut State<'_>,
        payload: &[u8],
        head: &Packet,
        window: &mut Window,
        mut ahead: impl FnMut(Instrument, u64),
    ) -> Verdict {
        let Ok(packet) = moldudp64::Packet::parse(payload) else {
            state.counters.bad_header += 1;
            return Verdict::Dropped;
        };
        let mark = window.mark();
        let header = Header {
            session: session(&packet.session()),
            sequence: packet.sequence(),
            count: packet.count(),
            restarts_at_one: false,
            payload,
        };
        let starts = state.counters.session_starts;
        let opened = state.open(&header, head, window);
        if state.counters.session_starts != starts {
            // Locates are of a day; a session is at most that.
            self.forget();
        }
        let skip = match opened {
            Ok(skip) => skip,
            Err(verdict) => return verdict,
        };
        match packet.kind() {
            moldudp64::Kind::Messages => {}
            moldudp64::Kind::Heartbeat => state.counters.heartbeats += 1,
            moldudp64::Kind::EndOfSession => state.counters.ends_of_session += 1,
        }
        let opened = Opened { header: &header, head, mark, skip };
        state.deliver(opened, packet.messages(), window, |state, message, sequence, window| {
            self.message(state, message, sequence, window, &mut ahead);
        })
    }

    /// Locates mean nothing any more until they are named again.
    pub fn forget(&mut self) {
        self.locates.fill(UNNAMED);
    }

    /// `locate` was named elsewhere.
    pub fn learn(&mut self, locate: u16, instrument: Instrument) {
        self.locates[usize::from(locate)] = instrument.0 + 2;
    }

    /// Messages of a snapshot, which have no sequence.
    pub fn snapshot(
        &mut self,
        state: &mut State<'_>,
        payload: &[u8],
        window: &mut Window,
        ahead: &mut impl FnMut(Instrument, u64),
    ) {
        let Ok(packet) = moldudp64::Packet::parse(payload) else { return };
        let (mark, head) = (window.mark(), state.no_frame());
        state.head(0, 0, &head, window);
        for message in packet.messages().filter_map(Result::ok) {
            self.message(state, message, 0, window, ahead);
        }
        state.packets += u64::from(window.close(mark) > 0);
    }

    #[inline(always)]
    pub fn message(
        &mut self,
        state: &mut State<'_>,
        message: &[u8],
        sequence: u64,
        window: &mut Window,
        ahead: &mut impl FnMut(Instrument, u64),
    ) {
        let message = match itch50::parse(message) {
            Ok(message) => message,
            Err(why) => return state.refused(&why, sequence, window),
        };
        state.by_type[usize::from(message.kind())] += 1;
        // Each is written straight into its place: a copy of what was just written would wait for the stores.
        match message {
            Message::AddOrder(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let Some(side) = side(m.side()) else { return state.wrong(sequence, window) };
                let price = Price(i64::from(m.price()));
                ahead(instrument, m.order());
                state.push(Element::Add { instrument, side, qty: m.shares(), order: m.order(), price }, window);
            }
            Message::AddOrderMpid(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let Some(side) = side(m.side()) else { return state.wrong(sequence, window) };
                let price = Price(i64::from(m.price()));
                ahead(instrument, m.order());
                state.push(Element::Add { instrument, side, qty: m.shares(), order: m.order(), price }, window);
            }
            Message::OrderExecuted(m) => {
                let Some(instrument) = self.located(state, m.locate()) else { return };
                ahead(instrument, m.order());
                state.push(Element::Execute { instrument, qty: m.shares(), order: m.order() }, window);
            }
            Message::OrderExecutedPrice(m) => {
                let Some(instrument) = self.located(state, m.locate()) else { return };
                ahead(instrument, m.order());
                state.push(Element::Execute { instrument, qty: m.shares(), order: m.order() }, window);
            }
            Message::OrderCancel(m) => {
                let Some(instrument) = self.located(state, m.locate()) else { return };
                ahead(instrument, m.order());
                state.push(Element::Reduce { instrument, qty: m.shares(), order: m.order() }, window);
            }
            Message::OrderDelete(m) => {
                let Some(instrument) = self.located(state, m.locate()) else { return };
                ahead(instrument, m.order());
                state.push(Element::Delete { instrument, order: m.order() }, window);
            }
            Message::OrderReplace(m) => {
                let Some(instrument) = self.located(state, m.locate()) else { return };
                let price = Price(i64::from(m.price()));
                ahead(instrument, m.order());
                ahead(instrument, m.new_order());
                state.push(
                    Element::Replace { instrument, qty: m.shares(), order: m.order(), new_order: m.new_order(), price },
                    window,
                );
            }
            Message::Trade(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                state.push(Element::Trade { instrument, qty: m.shares(), price: Price(i64::from(m.price())) }, window);
            }
            Message::CrossTrade(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let qty = u32::try_from(m.shares()).unwrap_or(u32::MAX);
                state.push(Element::Trade { instrument, qty, price: Price(i64::from(m.price())) }, window);
            }
            Message::TradingAction(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let status = match m.state() {
                    b'T' => Status::Trading,
                    b'Q' => Status::QuoteOnly,
                    _ => Status::Halted,
                };
                state.push(Element::Status { instrument, status }, window);
            }
            Message::OperationalHalt(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                // Market Q is this one; B and X are the other two of the group.
                if m.market() != b'Q' {
                    return;
                }
                let status = if m.action() == b'T' { Status::Trading } else { Status::Halted };
                state.push(Element::Status { instrument, status }, window);
            }
            Message::RegSho(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let status = if m.action() == b'0' { Status::ShortSaleFree } else { Status::ShortSaleRestricted };
                state.push(Element::Status { instrument, status }, window);
            }
            Message::AuctionCollar(m) => {
                let Some(instrument) = self.named(state, m.locate(), m.stock(), window) else { return };
                let [lower, upper] = [m.lower(), m.upper()].map(|price| Price(i64::from(price)));
                state.push(Element::Collar { instrument, lower, upper }, window);
            }
            Message::StockDirectory(m) => {
                self.named(state, m.locate(), m.stock(), window);
            }
            _ => {}
        }
    }

    /// The instrument of a message that names its stock.
    #[inline(always)]
    fn named(&mut self, state: &mut State<'_>, locate: u16, stock: [u8; 8], window: &mut Window) -> Option<Instrument> {
        match self.locates[usize::from(locate)] {
            UNNAMED | UNWANTED => self.name(state, locate, stock, window),
            entry => Some(Instrument(entry - 2)),
        }
    }

    #[cold]
    #[inline(never)]
    fn name(&mut self, state: &mut State<'_>, locate: u16, stock: [u8; 8], window: &mut Window) -> Option<Instrument> {
        let entry = &mut self.locates[usize::from(locate)];
        if *entry == UNNAMED {
            *entry = state.instrument(Symbol(stock), window).map_or(UNWANTED, |i| i.0 + 2);
            if *entry > UNWANTED {
                let instrument = Instrument(*entry - 2);
                if state.origin == Origin::Server {
                    state.push(Element::Named { instrument, locate }, window);
                }
                return Some(instrument);
            }
        }
        state.counters.unwanted += 1;
        None
    }

    /// The instrument of a message that has only a locate.
    #[inline(always)]
    fn located(&self, state: &mut State<'_>, locate: u16) -> Option<Instrument> {
        match self.locates[usize::from(locate)] {
            UNNAMED => state.counters.unknown_instrument += 1,
            UNWANTED => state.counters.unwanted += 1,
            entry => return Some(Instrument(entry - 2)),
        }
        None
    }
}

/// See [`Carried::by`].
pub(super) fn carried(payload: &[u8]) -> Option<Carried<'_>> {
    let packet = moldudp64::Packet::parse(payload).ok()?;
    Some(Carried {
        session: session(&packet.session()),
        sequence: packet.sequence(),
        restarts_at_one: false,
        messages: packet.messages().map_while(Result::ok).collect(),
    })
}

#[inline]
fn side(letter: u8) -> Option<Side> {
    match letter {
        b'B' => Some(Side::Buy),
        b'S' => Some(Side::Sell),
        _ => None,
    }
}

#[inline]
fn session(name: &[u8; 10]) -> u128 {
    let mut wide = [0; 16];
    wide[..10].copy_from_slice(name);
    u128::from_le_bytes(wide)
}
