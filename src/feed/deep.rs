//! IEX DEEP 1.0 over IEX-TP to elements.
//!
//! Symbols travel in every message. A price level update carries a flag that ends an atomic event; only then is the
//! book consistent. The protocol keeps its session id and begins again at sequence 1.

use super::{Carried, Header, Opened, State, Verdict, Window};
use crate::market::{Element, Instrument, Packet, Price, Side, Status, Symbol};
use crate::wire::deep10::{self, Message};
use crate::wire::iextp;

/// Decoder without state of its own.
#[derive(Debug)]
pub(super) struct Deep;

impl Deep {
    #[inline]
    pub fn packet(
        &self,
        state: &mut State<'_>,
        payload: &[u8],
        head: &Packet,
        window: &mut Window,
        mut ahead: impl FnMut(Instrument, u64),
    ) -> Verdict {
        let segment = match iextp::Segment::parse(payload) {
            Ok(segment) if segment.header().protocol() == iextp::DEEP => segment,
            _ => {
                state.counters.bad_header += 1;
                return Verdict::Dropped;
            }
        };
        let iex = segment.header();
        let count = iex.count();
        let mark = window.mark();
        let header = Header {
            session: session(segment),
            sequence: iex.sequence() as u64,
            count,
            restarts_at_one: true,
            payload,
        };
        let skip = match state.open(&header, head, window) {
            Ok(skip) => skip,
            Err(verdict) => return verdict,
        };
        if count == 0 {
            state.counters.heartbeats += 1;
        }
        // Nothing but a message's symbol says where its instrument is found: that memory is asked for of all at once.
        for message in segment.messages().flatten() {
            if let Some(symbol) = deep10::symbol(message) {
                state.symbols.prefetch(Symbol(symbol));
            }
        }
        let opened = Opened { header: &header, head, mark, skip };
        state.deliver(opened, segment.messages(), window, |state, message, sequence, window| {
            self.message(state, message, sequence, window, &mut ahead);
        })
    }

    #[inline(always)]
    pub fn message(
        &self,
        state: &mut State<'_>,
        message: &[u8],
        sequence: u64,
        window: &mut Window,
        ahead: &mut impl FnMut(Instrument, u64),
    ) {
        let message = match deep10::parse(message) {
            Ok(message) => message,
            Err(why) => return state.refused(&why, sequence, window),
        };
        state.by_type[usize::from(message.kind())] += 1;
        match message {
            Message::BuyLevel(m) => level(state, Side::Buy, m, window, ahead),
            Message::SellLevel(m) => level(state, Side::Sell, m, window, ahead),
            Message::Trade(m) => {
                if let Some(instrument) = wanted(state, m.symbol(), window) {
                    state.push(Element::Trade { instrument, qty: m.size(), price: Price(m.price()) }, window);
                }
            }
            Message::TradingStatus(m) => {
                let status = if m.status() == b'T' { Status::Trading } else { Status::Halted };
                said(state, m.symbol(), status, window, ahead);
            }
            Message::ShortSaleTest(m) => {
                let status = if m.status() == 0 { Status::ShortSaleFree } else { Status::ShortSaleRestricted };
                said(state, m.symbol(), status, window, ahead);
            }
            _ => {}
        }
    }
}

/// See [`Carried::by`].
pub(super) fn carried(payload: &[u8]) -> Option<Carried<'_>> {
    let segment = iextp::Segment::parse(payload).ok().filter(|segment| segment.header().protocol() == iextp::DEEP)?;
    Some(Carried {
        session: session(segment),
        sequence: segment.header().sequence() as u64,
        restarts_at_one: true,
        messages: segment.messages().map_while(Result::ok).collect(),
    })
}

#[inline(always)]
fn session(segment: iextp::Segment<'_>) -> u128 {
    u128::from(segment.header().session()) << 32 | u128::from(segment.header().channel())
}

#[inline(always)]
fn level(
    state: &mut State<'_>,
    side: Side,
    m: deep10::PriceLevel<'_>,
    window: &mut Window,
    ahead: &mut impl FnMut(Instrument, u64),
) {
    let Some(instrument) = wanted(state, m.symbol(), window) else { return };
    ahead(instrument, 0);
    let price = Price(m.price());
    state.push(Element::Level { instrument, side, complete: m.complete(), qty: m.size(), price }, window);
}

/// The exchange said something of an instrument: strategy and risk gate will look at what they know of it.
#[inline(always)]
fn said(
    state: &mut State<'_>,
    symbol: [u8; 8],
    status: Status,
    window: &mut Window,
    ahead: &mut impl FnMut(Instrument, u64),
) {
    let Some(instrument) = wanted(state, symbol, window) else { return };
    ahead(instrument, 0);
    state.push(Element::Status { instrument, status }, window);
}

#[inline]
fn wanted(state: &mut State<'_>, symbol: [u8; 8], window: &mut Window) -> Option<Instrument> {
    let found = state.instrument(Symbol(symbol), window);
    if found.is_none() {
        state.counters.unwanted += 1;
    }
    found
}
