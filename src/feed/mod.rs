//! A feed turns UDP payloads into elements: it owns sequence state, the symbol filter and the protocol's decoder.
//!
//! In: the payload of one datagram and where it came from. Out: a `Packet` element and its events in a [`Window`].
//! Knows nothing of DPDK, and never fails: what it cannot use it counts. A message that is lost, whether on the wire,
//! in a truncated packet or because its length is wrong, makes the venue's books stale.

mod deep;
mod itch;
mod sequence;
mod symbols;
mod window;

pub use sequence::{Admit, Channel, MAX_LINES};
pub use symbols::{Lookup, Symbols};
pub use window::{MAX_PACKET_ELEMENTS, Window};

use crate::arena::{Arena, ArenaFull};
use crate::market::{Element, Instrument, Packet, Symbol};
use crate::wire;
use std::collections::BTreeMap;

/// Feed protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Nasdaq TotalView-ITCH 5.0 over MoldUDP64.
    Itch50,
    /// IEX DEEP 1.0 over IEX-TP.
    Deep10,
}

/// Settings of a feed.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// What it speaks.
    pub protocol: Protocol,
    /// Sequence domains.
    pub channels: usize,
    /// Find gaps and duplicates; off: every packet is taken as it comes.
    pub sequence: bool,
    /// Wanted symbols in index order; `None` wants all, up to `limit`.
    pub symbols: Option<Vec<Symbol>>,
    /// Bound on instruments when all are wanted.
    pub limit: u32,
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The window holds its packet.
    Elements,
    /// It was accepted and held nothing for this venue's books.
    Nothing,
    /// It was a heartbeat, a duplicate, or not understood: counted in [`Counters`].
    Dropped,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a feed counts.
        #[derive(Clone, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets without messages that tell the next sequence.
    heartbeats,
    /// Packets that say the session is over.
    ends_of_session,
    /// Packets that brought nothing new.
    duplicate_packets,
    /// Messages skipped because they were known.
    duplicate_messages,
    /// Times that messages went missing.
    gaps,
    /// Messages that went missing.
    lost_messages,
    /// Sessions that began after the first.
    session_starts,
    /// Packets of a session that had been left.
    late_packets,
    /// Packets whose feed header is cut short or wrong.
    bad_header,
    /// Packets that end before the messages they announce.
    truncated_packets,
    /// Messages of unknown type, skipped by their length.
    unknown_types,
    /// Messages whose length does not fit their type.
    wrong_length,
    /// Messages about instruments that are not subscribed.
    unwanted,
    /// Messages about an instrument that the feed never named.
    unknown_instrument,
    /// Messages about instruments beyond the table's bound.
    instruments_full,
    /// Elements that found no room in the window; cannot happen while a frame fits an mbuf.
    window_full,
}

/// One venue's feed.
#[derive(Debug)]
pub struct Feed<'m> {
    decoder: Decoder<'m>,
    state: State<'m>,
}

/// The protocol's own state.
#[derive(Debug)]
enum Decoder<'m> {
    Itch(itch::Itch<'m>),
    Deep(deep::Deep),
}

/// What every protocol shares.
#[derive(Debug)]
struct State<'m> {
    symbols: Symbols<'m>,
    channels: Vec<Channel>,
    sequenced: bool,
    restart: bool,
    /// Restarts seen by each channel, and by the venue: the first channel to pass the venue's count clears the books,
    /// the others follow it.
    starts: Vec<u32>,
    epoch: u32,
    counters: Counters,
    by_type: Box<[u64; 256]>,
    /// Packets left in the window.
    packets: u64,
}

impl<'m> Feed<'m> {
    /// Bytes that a feed takes from the arena.
    pub fn bytes(config: &FeedConfig) -> usize {
        let limit = config.symbols.as_ref().map_or(config.limit, |list| list.len() as u32);
        let own = match config.protocol {
            Protocol::Itch50 => itch::Itch::BYTES,
            Protocol::Deep10 => 0,
        };
        Symbols::bytes(limit) + own
    }

    /// A feed that has seen nothing.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`Feed::bytes`] left.
    pub fn new(config: &FeedConfig, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let state = State {
            symbols: Symbols::new(config.symbols.as_deref(), config.limit, arena)?,
            channels: vec![Channel::default(); config.channels.max(1)],
            sequenced: config.sequence,
            restart: false,
            starts: vec![0; config.channels.max(1)],
            epoch: 0,
            counters: Counters::default(),
            by_type: Box::new([0; 256]),
            packets: 0,
        };
        let decoder = match config.protocol {
            Protocol::Itch50 => Decoder::Itch(itch::Itch::new(arena)?),
            Protocol::Deep10 => Decoder::Deep(deep::Deep),
        };
        Ok(Feed { decoder, state })
    }

    /// The next packet begins a new lap of a replay: sequences and books start again.
    pub fn new_session(&mut self) {
        self.state.channels.iter_mut().for_each(Channel::reset);
        self.state.starts.fill(0);
        self.state.epoch = 0;
        self.state.restart = true;
    }

    /// Decode one payload into `window`, which has room for a packet. Of `head`, everything but sequence and count is
    /// passed on as it is. The instrument of each book event, and each of its orders, is told to `ahead` at once, so that
    /// their memory can be asked for; a price level has order 0.
    #[inline]
    pub fn packet(
        &mut self,
        payload: &[u8],
        head: &Packet,
        window: &mut Window,
        ahead: impl FnMut(Instrument, u64),
    ) -> Verdict {
        match &mut self.decoder {
            Decoder::Itch(itch) => itch.packet(&mut self.state, payload, head, window, ahead),
            Decoder::Deep(deep) => deep.packet(&mut self.state, payload, head, window, ahead),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// `Packet` elements made: accepted packets, and heartbeats that showed a gap or a restart.
    pub fn packets(&self) -> u64 {
        self.state.packets
    }

    /// Accepted messages by type, named by their type byte.
    pub fn messages(&self) -> BTreeMap<String, u64> {
        let seen = self.state.by_type.iter().enumerate().filter(|(_, n)| **n > 0);
        seen.map(|(kind, n)| ((kind as u8).escape_ascii().to_string(), *n)).collect()
    }
}

/// What the transport's header says of a packet.
struct Header {
    session: u128,
    sequence: u64,
    count: u16,
    restarts_at_one: bool,
}

/// A packet that was opened in the window.
struct Opened<'h> {
    header: &'h Header,
    mark: usize,
    channel: u32,
    /// Messages at its front that are known already.
    skip: u64,
}

impl State<'_> {
    /// Judge a packet by its header; open it in the window with what the judgement means for the books.
    /// `None`: nothing of it is new. Otherwise how many messages to skip.
    #[inline(always)]
    fn open(&mut self, header: &Header, head: &Packet, window: &mut Window) -> Option<u64> {
        let expected = !self.restart
            && match self.channels.get_mut(head.channel as usize) {
                Some(channel) if self.sequenced => {
                    let line = usize::from(head.line).min(MAX_LINES - 1);
                    channel.follows(line, header.session, header.sequence, header.count.into())
                }
                _ => !self.sequenced,
            };
        if expected {
            self.head(header.sequence, head, window);
            return Some(0);
        }
        self.judge(header, head, window)
    }

    /// The same for a packet that is not simply the next one.
    #[cold]
    #[inline(never)]
    fn judge(&mut self, header: &Header, head: &Packet, window: &mut Window) -> Option<u64> {
        let count = u64::from(header.count);
        let admit = if self.sequenced {
            let Some(channel) = self.channels.get_mut(head.channel as usize) else {
                self.counters.bad_header += 1;
                return None;
            };
            let line = usize::from(head.line).min(MAX_LINES - 1);
            channel.admit(line, header.session, header.sequence, count, header.restarts_at_one)
        } else {
            Admit::default()
        };
        if admit.late {
            self.counters.late_packets += 1;
            return None;
        }
        self.counters.duplicate_messages += admit.skip;
        let mut restart = std::mem::take(&mut self.restart);
        if admit.start {
            let starts = &mut self.starts[head.channel as usize];
            *starts += 1;
            if *starts > self.epoch {
                self.epoch = *starts;
                restart = true;
            }
        }
        if count > 0 && admit.skip == count && !restart {
            self.counters.duplicate_packets += 1;
            return None;
        }
        self.head(header.sequence.wrapping_add(admit.skip), head, window);
        if restart {
            self.counters.session_starts += 1;
            self.push(Element::SessionStart, window);
        }
        if let Some((expected, found)) = admit.gap {
            self.lose(expected, found, window);
        }
        Some(admit.skip)
    }

    /// The head of a packet, as yet without elements.
    #[inline(always)]
    fn head(&mut self, sequence: u64, head: &Packet, window: &mut Window) {
        // Field by field into its place: a copy of what was just written would wait for the stores.
        let Packet { arrival_ns, rx_tsc, parsed_tsc, burst_size, burst_position, line, channel, .. } = *head;
        let Packet { waiting, stamp, stamp_domain, .. } = *head;
        let opened = Packet {
            arrival_ns,
            channel,
            count: 0,
            burst_size,
            rx_tsc,
            parsed_tsc,
            sequence,
            burst_position,
            line,
            stamp_domain,
            waiting,
            stamp,
        };
        self.push(Element::Packet(opened), window);
    }

    /// Hand each message of the packet opened at `mark` to `decode`, but for the first `skip`, and close the packet.
    #[inline(always)]
    fn deliver<'p>(
        &mut self,
        opened: Opened<'_>,
        messages: impl Iterator<Item = Result<&'p [u8], wire::Error>>,
        window: &mut Window,
        mut decode: impl FnMut(&mut Self, &'p [u8], u64, &mut Window),
    ) -> Verdict {
        let Opened { header, mark, channel, skip } = opened;
        let mut next = header.sequence;
        for message in messages {
            match message {
                Ok(message) => {
                    if next.wrapping_sub(header.sequence) >= skip {
                        decode(self, message, next, window);
                    }
                    next = next.wrapping_add(1);
                }
                Err(_) => next = self.truncated(next, header, window),
            }
        }
        if self.sequenced {
            self.channels[channel as usize].delivered(next);
        }
        let elements = window.close(mark) > 0;
        self.packets += u64::from(elements);
        // A heartbeat is in the ledger as such, even when it showed a gap and so made elements.
        match (header.count, elements) {
            (0, _) => Verdict::Dropped,
            (_, true) => Verdict::Elements,
            (_, false) => Verdict::Nothing,
        }
    }

    /// A message that cannot be decoded: of a type unknown, or as good as lost.
    #[cold]
    fn refused(&mut self, why: &wire::Error, sequence: u64, window: &mut Window) {
        match why {
            wire::Error::UnknownType(kind) => {
                self.counters.unknown_types += 1;
                self.by_type[usize::from(*kind)] += 1;
            }
            _ => self.wrong(sequence, window),
        }
    }

    /// A message with a length or a value that the specification does not have: as good as lost.
    #[cold]
    fn wrong(&mut self, sequence: u64, window: &mut Window) {
        self.counters.wrong_length += 1;
        self.lose(sequence, sequence.wrapping_add(1).max(sequence), window);
    }

    /// The packet ended before message `next`: what it announced beyond is gone. Returns the sequence after it.
    #[cold]
    fn truncated(&mut self, next: u64, header: &Header, window: &mut Window) -> u64 {
        self.counters.truncated_packets += 1;
        let end = header.sequence.saturating_add(header.count.into()).max(next);
        self.lose(next, end, window);
        end
    }

    /// Messages `expected .. found` are gone.
    #[cold]
    fn lose(&mut self, expected: u64, found: u64, window: &mut Window) {
        self.counters.lost_messages += found - expected;
        // A packet full of broken messages is one gap, so that it cannot overfill the window.
        if let Some(Element::Gap { found: end, .. }) = window.last()
            && *end == expected
        {
            *end = found;
            return;
        }
        self.counters.gaps += 1;
        self.push(Element::Gap { expected, found }, window);
    }

    #[inline(always)]
    fn push(&mut self, element: Element, window: &mut Window) {
        if !window.push(element) {
            self.counters.window_full += 1;
        }
    }

    /// The instrument of a symbol, defined in the window at first sight.
    #[inline]
    fn instrument(&mut self, symbol: Symbol, window: &mut Window) -> Option<Instrument> {
        match self.symbols.lookup(symbol) {
            Lookup::Known(instrument) => Some(instrument),
            Lookup::New(instrument) => {
                self.push(Element::Define { instrument, symbol }, window);
                Some(instrument)
            }
            Lookup::Unwanted => None,
            Lookup::Full => {
                self.counters.instruments_full += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::heap;
    use crate::market::Price;

    #[test]
    fn a_packet_of_broken_messages_is_one_gap_and_fits_the_window() {
        let config = FeedConfig { protocol: Protocol::Itch50, channels: 1, sequence: true, symbols: None, limit: 4 };
        let mut region = heap(Feed::bytes(&config));
        let mut feed = Feed::new(&config, &mut Arena::new(&mut region)).unwrap();
        let mut window = Window::new(0);
        // MoldUDP64: session, first sequence, count, then a thousand messages of no length.
        let payload = [&b"SESSION-AA"[..], &7u64.to_be_bytes(), &1000u16.to_be_bytes(), &[0; 2000]].concat();
        assert_eq!(feed.packet(&payload, &Packet::default(), &mut window, |_, _| {}), Verdict::Elements);
        assert_eq!(window.rest()[1..], [Element::Gap { expected: 7, found: 1007 }]);
        let c = feed.counters();
        assert_eq!((c.wrong_length, c.gaps, c.lost_messages, c.window_full), (1000, 1, 1000, 0));
    }
    #[test]
    fn an_auction_collar_says_its_lowest_and_highest_price() {
        let config = FeedConfig { protocol: Protocol::Itch50, channels: 1, sequence: true, symbols: None, limit: 4 };
        let mut region = heap(Feed::bytes(&config));
        let mut feed = Feed::new(&config, &mut Arena::new(&mut region)).unwrap();
        let mut window = Window::new(0);
        // J: locate 9, tracking, time, AAPL, reference 1.0000, upper 1.1000, lower 0.9000, no extension.
        let prices = [10_000u32, 11_000, 9_000, 0].map(u32::to_be_bytes).concat();
        let collar = [&b"J"[..], &9u16.to_be_bytes(), &[0; 8], b"AAPL    ", &prices].concat();
        let head = [&b"SESSION-AA"[..], &1u64.to_be_bytes(), &1u16.to_be_bytes()].concat();
        let payload = [&head[..], &(collar.len() as u16).to_be_bytes(), &collar].concat();
        assert_eq!(feed.packet(&payload, &Packet::default(), &mut window, |_, _| {}), Verdict::Elements);
        let (instrument, [lower, upper]) = (Instrument(0), [9_000, 11_000].map(Price));
        assert_eq!(window.rest().last(), Some(&Element::Collar { instrument, lower, upper }));
    }
}
