//! The journal: everything that a strategy's decisions depended on, in the order in which it came, and each decision.
//!
//! Strategy writes [`Slot`]s of 32 bytes, a few an entry; [`code`] packs them into blocks of a file; [`read`] brings them
//! back. Of a packet that a line brought only its place in the feed is written: its messages are in a capture of the feed,
//! where [`messages`] finds them. What no line brought (recovered messages, a snapshot, what parse said of missing ones)
//! is written whole. `docs/journal.md` describes the bytes. Knows nothing of DPDK, and never panics on any bytes.

pub mod code;
pub mod messages;
pub mod read;

pub use code::Coder;
pub use messages::{Listen, Messages};
pub use read::{End, Entries, Journal};

use crate::feed::MAX_LINES;
use crate::market::{
    Element, Instrument, Order, OrderEvent, OrderEventKind, OrderKind, Packet, Price, Refusal, Side, Status, Symbol,
};
use arrayvec::ArrayVec;
use std::fmt;

/// Version of the entries that this program writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// What an entry is made of. The lowest byte of an entry's first word says what it is.
pub type Slot = [u64; 4];

/// Most slots of an entry.
pub const MAX_SLOTS: usize = 16;
/// Bytes of a piece of parameters that fit an entry.
pub const MAX_PIECE: usize = (MAX_SLOTS - 1) * size_of::<Slot>();

/// An entry as it was written.
pub type Entry = ArrayVec<Slot, MAX_SLOTS>;

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Input: the head of a packet.
    Packet(Head),
    /// An element of the packet, so many elements before its end (1 is the last): one that no message says, or of a packet
    /// that no line brought.
    Element(u16, Element),
    /// Input: something became of an order, while so many elements of the packet had not been applied.
    Event(u16, OrderEvent),
    /// A decision, and what became of it.
    Order(Decision),
    /// Input: the strategy was asked to cancel what stands.
    Stop,
    /// Input: parameters were changed, while so many elements of the packet had not been applied.
    Parameters(u16, Piece),
}

/// A packet as strategy took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// No line brought it: its elements follow.
    pub whole: bool,
    /// See [`Packet::session`].
    pub session: u16,
    /// Elements in it.
    pub count: u16,
    /// Sequence domain.
    pub channel: u16,
    /// Its first message.
    pub sequence: u64,
    /// The time strategy and risk knew, in ns.
    pub arrival_ns: u64,
}

/// An order that a strategy asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Enter, replace or cancel.
    pub kind: OrderKind,
    /// Its side.
    pub side: Side,
    /// Why it was not handed down; `None` when it was.
    pub refused: Option<Refusal>,
    /// Client order id.
    pub id: u64,
    /// Replace: the standing order that goes.
    pub replaced_id: u64,
    /// Limit.
    pub price: Price,
    /// Of which instrument.
    pub instrument: Instrument,
    /// Shares.
    pub qty: u32,
    /// Its symbol.
    pub symbol: Symbol,
    /// First sequence number of the causing packet.
    pub sequence: u64,
    /// Its arrival.
    pub arrival_ns: u64,
}

/// A piece of the JSON text of new parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which change it is.
    pub number: u32,
    /// No piece follows.
    pub last: bool,
    /// The text's bytes.
    pub text: Vec<u8>,
}

pub(crate) const PACKET: u64 = 1;
const ELEMENT: u64 = 2;
pub(crate) const EVENT: u64 = 3;
pub(crate) const ORDER: u64 = 4;
const STOP: u64 = 5;
const PARAMETERS: u64 = 6;

/// A refusal's number where there was none.
const PASSED: u16 = u16::MAX;

const KINDS: [OrderKind; 3] = [OrderKind::Enter, OrderKind::Replace, OrderKind::Cancel];
const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const EVENTS: [OrderEventKind; 8] = [
    OrderEventKind::LocalReject,
    OrderEventKind::Accepted,
    OrderEventKind::Replaced,
    OrderEventKind::Filled,
    OrderEventKind::Cancelled,
    OrderEventKind::Rejected,
    OrderEventKind::CancelRejected,
    OrderEventKind::CancelPending,
];
const STATUSES: [Status; 5] =
    [Status::Trading, Status::Halted, Status::QuoteOnly, Status::ShortSaleRestricted, Status::ShortSaleFree];

/// The entry of a packet's head.
#[inline(always)]
pub fn packet(head: &Packet) -> [Slot; 1] {
    let whole = u64::from(head.line == MAX_LINES as u8);
    let [session, count] = [head.session, head.count].map(u64::from);
    let first = PACKET | whole << 8 | session << 16 | count << 32 | u64::from(head.channel) << 48;
    [[first, head.sequence, head.arrival_ns, 0]]
}

/// The entry of an element, `remaining` before the packet's end.
pub fn element(remaining: u16, element: &Element) -> [Slot; 2] {
    let none = Instrument(0);
    let side = |side: Side| side as u64;
    // Number, instrument, then up to four words of its own.
    let (code, of, [a, b, c, d]) = match *element {
        // A head is an entry of its own and never inside a packet.
        Element::Packet(_) => (0, none, [0; 4]),
        Element::Add { order, instrument, qty, price, side: at } => {
            (1, instrument, [order, price.0 as u64, qty.into(), side(at)])
        }
        Element::Execute { order, instrument, qty } => (2, instrument, [order, 0, qty.into(), 0]),
        Element::Reduce { order, instrument, qty } => (3, instrument, [order, 0, qty.into(), 0]),
        Element::Delete { order, instrument } => (4, instrument, [order, 0, 0, 0]),
        Element::Replace { order, instrument, qty, price, new_order } => {
            (5, instrument, [order, price.0 as u64, qty.into(), new_order])
        }
        Element::Level { price, instrument, qty, side: at, complete } => {
            (6, instrument, [u64::from(complete), price.0 as u64, qty.into(), side(at)])
        }
        Element::SessionStart => (7, none, [0; 4]),
        Element::Gap { expected, found } => (8, none, [expected, found, 0, 0]),
        Element::Late => (9, none, [0; 4]),
        Element::Healed => (10, none, [0; 4]),
        Element::Define { instrument, symbol } => (11, instrument, [u64::from_le_bytes(symbol.0), 0, 0, 0]),
        Element::Named { instrument, locate } => (12, instrument, [locate.into(), 0, 0, 0]),
        Element::Trade { instrument, qty, price } => (13, instrument, [0, price.0 as u64, qty.into(), 0]),
        Element::Status { instrument, status } => (14, instrument, [status as u64, 0, 0, 0]),
        Element::Collar { instrument, lower, upper } => (15, instrument, [lower.0 as u64, upper.0 as u64, 0, 0]),
    };
    let first = ELEMENT | code << 8 | u64::from(remaining) << 16 | u64::from(of.0) << 32;
    [[first, a, b, c], [d, 0, 0, 0]]
}

/// The entry of an order event, `remaining` elements before the end of the packet.
pub fn event(remaining: u16, event: &OrderEvent) -> [Slot; 2] {
    let OrderEvent { id, replaced_id, price, rx_tsc, exchange_ns, match_id, instrument, qty, reason, kind, side } =
        *event;
    let first = EVENT | (kind as u64) << 8 | u64::from(remaining) << 16 | (side as u64) << 32 | u64::from(reason) << 48;
    let last = u64::from(instrument.0) | u64::from(qty) << 32;
    [[first, id, replaced_id, price.0 as u64], [rx_tsc, exchange_ns, match_id, last]]
}

/// The entry of an order, and of why it was not handed down.
pub fn decision(order: &Order, refused: Option<Refusal>) -> [Slot; 2] {
    let verdict = u64::from(refused.map_or(PASSED, |refusal| refusal as u16));
    let first = ORDER | (order.kind as u64) << 8 | verdict << 16 | (order.side as u64) << 32;
    let what = u64::from(order.instrument.0) | u64::from(order.qty) << 32;
    let symbol = u64::from_le_bytes(order.symbol.0);
    [[first, order.id, order.replaced_id, order.price.0 as u64], [what, symbol, order.sequence, order.arrival_ns]]
}

/// The entry of having been asked to cancel what stands.
pub const fn stop() -> [Slot; 1] {
    [[STOP, 0, 0, 0]]
}

/// The entries of change `number` of the parameters to those in `json`, `remaining` elements before the end of the packet.
pub fn parameters(remaining: u16, number: u32, json: &[u8]) -> impl Iterator<Item = Entry> {
    let pieces = json.len().div_ceil(MAX_PIECE).max(1);
    (0..pieces).map(move |at| {
        let text = &json[at * MAX_PIECE..json.len().min((at + 1) * MAX_PIECE)];
        let last = u64::from(at + 1 == pieces);
        let mut entry = Entry::new();
        let first = PARAMETERS | last << 8 | u64::from(remaining) << 16 | u64::from(number) << 32;
        entry.push([first, text.len() as u64, 0, 0]);
        for part in text.chunks(size_of::<Slot>()) {
            let mut bytes = [0; size_of::<Slot>()];
            bytes[..part.len()].copy_from_slice(part);
            entry.push(bytemuck::cast(bytes));
        }
        entry
    })
}

/// Slots of the entry that begins with `first`; `None` when there is no such entry.
pub fn slots(first: &Slot) -> Option<usize> {
    match first[0] & 0xff {
        PACKET | STOP => Some(1),
        ELEMENT | EVENT | ORDER => Some(2),
        PARAMETERS if first[1] <= MAX_PIECE as u64 => {
            Some(1 + usize::try_from(first[1]).ok()?.div_ceil(size_of::<Slot>()))
        }
        _ => None,
    }
}

impl Item {
    /// What an entry says; `None` when it is none that this version writes.
    pub fn of(entry: &[Slot]) -> Option<Item> {
        let first = entry.first()?;
        if slots(first)? != entry.len() {
            return None;
        }
        let remaining = (first[0] >> 16) as u16;
        Some(match first[0] & 0xff {
            PACKET => Item::Packet(Head {
                whole: first[0] >> 8 & 0xff != 0,
                session: (first[0] >> 16) as u16,
                count: (first[0] >> 32) as u16,
                channel: (first[0] >> 48) as u16,
                sequence: first[1],
                arrival_ns: first[2],
            }),
            ELEMENT => Item::Element(remaining, element_of(first, &entry[1])?),
            EVENT => Item::Event(remaining, event_of(first, &entry[1])?),
            ORDER => Item::Order(decision_of(first, &entry[1])?),
            STOP => Item::Stop,
            _ => {
                let bytes: &[u8] = bytemuck::cast_slice(&entry[1..]);
                let text = bytes.get(..usize::try_from(first[1]).ok()?)?;
                let text = text.to_vec();
                Item::Parameters(
                    remaining,
                    Piece { number: (first[0] >> 32) as u32, last: first[0] >> 8 & 1 != 0, text },
                )
            }
        })
    }

    /// Whether it is something that strategy was told, and not what it made of that.
    pub fn is_input(&self) -> bool {
        !matches!(self, Item::Element(..) | Item::Order(_))
    }

    /// Elements of the packet at hand that had not been applied when it came.
    pub fn remaining(&self) -> u16 {
        match self {
            Item::Event(remaining, _) | Item::Parameters(remaining, _) | Item::Element(remaining, _) => *remaining,
            Item::Packet(_) | Item::Order(_) | Item::Stop => 0,
        }
    }
}

/// Whether an element is one that decoding a message does not tell: it is in the journal though a line brought its packet.
pub fn is_kept(element: &Element) -> bool {
    matches!(
        element,
        Element::SessionStart
            | Element::Gap { .. }
            | Element::Late
            | Element::Healed
            | Element::Define { .. }
            | Element::Named { .. }
    )
}

fn element_of(first: &Slot, second: &Slot) -> Option<Element> {
    let instrument = Instrument((first[0] >> 32) as u32);
    let ([_, a, b, c], d) = (*first, second[0]);
    let (price, qty) = (Price(b as i64), c as u32);
    let side = || SIDES.get(usize::try_from(d).ok()?).copied();
    Some(match first[0] >> 8 & 0xff {
        1 => Element::Add { order: a, instrument, qty, price, side: side()? },
        2 => Element::Execute { order: a, instrument, qty },
        3 => Element::Reduce { order: a, instrument, qty },
        4 => Element::Delete { order: a, instrument },
        5 => Element::Replace { order: a, instrument, qty, price, new_order: d },
        6 => Element::Level { price, instrument, qty, side: side()?, complete: a != 0 },
        7 => Element::SessionStart,
        8 => Element::Gap { expected: a, found: b },
        9 => Element::Late,
        10 => Element::Healed,
        11 => Element::Define { instrument, symbol: Symbol(a.to_le_bytes()) },
        12 => Element::Named { instrument, locate: a as u16 },
        13 => Element::Trade { instrument, qty, price },
        14 => Element::Status { instrument, status: *STATUSES.get(usize::try_from(a).ok()?)? },
        15 => Element::Collar { instrument, lower: Price(a as i64), upper: Price(b as i64) },
        _ => return None,
    })
}

fn event_of(first: &Slot, second: &Slot) -> Option<OrderEvent> {
    Some(OrderEvent {
        id: first[1],
        replaced_id: first[2],
        price: Price(first[3] as i64),
        rx_tsc: second[0],
        exchange_ns: second[1],
        match_id: second[2],
        instrument: Instrument(second[3] as u32),
        qty: (second[3] >> 32) as u32,
        reason: (first[0] >> 48) as u16,
        kind: *EVENTS.get((first[0] >> 8 & 0xff) as usize)?,
        side: *SIDES.get((first[0] >> 32 & 0xff) as usize)?,
    })
}

fn decision_of(first: &Slot, second: &Slot) -> Option<Decision> {
    Some(Decision {
        kind: *KINDS.get((first[0] >> 8 & 0xff) as usize)?,
        side: *SIDES.get((first[0] >> 32 & 0xff) as usize)?,
        refused: match (first[0] >> 16) as u16 {
            PASSED => None,
            number => Some(*Refusal::ALL.get(usize::from(number))?),
        },
        id: first[1],
        replaced_id: first[2],
        price: Price(first[3] as i64),
        instrument: Instrument(second[0] as u32),
        qty: (second[0] >> 32) as u32,
        symbol: Symbol(second[1].to_le_bytes()),
        sequence: second[2],
        arrival_ns: second[3],
    })
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Packet(Head { whole, count, channel, sequence, arrival_ns, .. }) => {
                let from = if *whole { " that no line brought" } else { "" };
                write!(
                    f,
                    "packet{from} of channel {channel}, message {sequence}, {count} events, arrival {arrival_ns} ns"
                )
            }
            Item::Element(_, element) => write!(f, "event {element:?}"),
            Item::Event(_, event) => {
                let OrderEvent { id, kind, qty, price, reason, .. } = event;
                write!(f, "order {id}: {kind:?}, {qty} @ {:.4}, reason {reason}", price.0 as f64 / 1e4)
            }
            Item::Order(decision) => decision.fmt(f),
            Item::Stop => f.write_str("asked to cancel what stands"),
            Item::Parameters(_, piece) => write!(f, "change {} of the parameters", piece.number),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { id, qty, replaced_id, .. } = self;
        let price = self.price.0 as f64 / 1e4;
        let side = if self.side == Side::Buy { "buy" } else { "sell" };
        match self.kind {
            OrderKind::Enter => write!(f, "order {id}: {side} {qty} {} @ {price:.4}", self.symbol)?,
            OrderKind::Replace => {
                write!(f, "order {id} in place of {replaced_id}: {side} {qty} {} @ {price:.4}", self.symbol)?;
            }
            OrderKind::Cancel => write!(f, "cancel of order {id}, {}", self.symbol)?,
        }
        match self.refused {
            Some(refusal) => write!(f, ", refused: {}", refusal.name()),
            None => f.write_str(", handed down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements() -> Vec<Element> {
        let (instrument, qty, price, side) = (Instrument(7), 300, Price(-12), Side::Sell);
        vec![
            Element::Add { order: 1, instrument, qty, price, side },
            Element::Execute { order: 2, instrument, qty },
            Element::Reduce { order: 3, instrument, qty },
            Element::Delete { order: 4, instrument },
            Element::Replace { order: 5, instrument, qty, price, new_order: u64::MAX },
            Element::Level { price, instrument, qty, side, complete: true },
            Element::SessionStart,
            Element::Gap { expected: 9, found: 12 },
            Element::Late,
            Element::Healed,
            Element::Define { instrument, symbol: Symbol(*b"AAPL    ") },
            Element::Named { instrument, locate: 65_535 },
            Element::Trade { instrument, qty, price },
            Element::Status { instrument, status: Status::ShortSaleFree },
            Element::Collar { instrument, lower: Price(1), upper: Price(2) },
        ]
    }

    #[test]
    fn every_element_comes_back_as_it_was() {
        for e in elements() {
            assert_eq!(Item::of(&element(3, &e)), Some(Item::Element(3, e)));
        }
    }

    #[test]
    fn heads_events_and_decisions_come_back_as_they_were() {
        let head = Packet {
            arrival_ns: 5,
            channel: 300,
            count: 9,
            session: 0xbeef,
            sequence: u64::MAX,
            line: MAX_LINES as u8,
            ..Packet::default()
        };
        let expected = Head { whole: true, session: 0xbeef, count: 9, channel: 300, sequence: u64::MAX, arrival_ns: 5 };
        assert_eq!(Item::of(&packet(&head)), Some(Item::Packet(expected)));
        for kind in EVENTS {
            let told = OrderEvent {
                id: 1,
                replaced_id: 2,
                price: Price(3),
                rx_tsc: 4,
                exchange_ns: 5,
                match_id: 6,
                instrument: Instrument(7),
                qty: 8,
                reason: 0xabcd,
                kind,
                side: Side::Sell,
            };
            assert_eq!(Item::of(&event(17, &told)), Some(Item::Event(17, told)));
        }
        assert_eq!(Item::of(&stop()), Some(Item::Stop));
    }

    #[test]
    fn parameters_of_any_length_come_back_in_pieces() {
        for length in [0, 1, 31, 32, 33, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE] {
            let json: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let (mut text, mut ended) = (Vec::new(), false);
            for entry in parameters(2, 5, &json) {
                assert_eq!(slots(&entry[0]), Some(entry.len()));
                let Some(Item::Parameters(2, piece)) = Item::of(&entry) else { panic!("a piece") };
                assert!(piece.number == 5 && !ended);
                text.extend(piece.text);
                ended = piece.last;
            }
            assert!(ended && text == json, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_an_entry_or_none(words in prop::collection::vec(any::<[u64; 4]>(), 0..MAX_SLOTS), kind in 0u64..8) {
            let mut words = words;
            if let Some(first) = words.first_mut() {
                first[0] = first[0] & !0xff | kind;
            }
            if let Some(item) = Item::of(&words) {
                prop_assert!(!item.to_string().is_empty());
            }
        }
    }
}
