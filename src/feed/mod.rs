//! A feed turns UDP payloads into elements: it owns sequence state, the symbol filter and the protocol's decoder.
//!
//! In: the payload of one datagram and where it came from. Out: a `Packet` element and its events in a [`Window`].
//! Knows nothing of DPDK, and never fails: what it cannot use it counts. A packet ahead of its channel's sequence is
//! held for a while, in which what is missing may come on another line, or late on the same. A message that is lost,
//! whether on the wire, in a truncated packet or because its length is wrong, makes the venue's books stale.

mod deep;
mod heal;
mod hold;
mod itch;
mod sequence;
mod symbols;
mod window;

pub use heal::HealConfig;
pub use sequence::{Admit, Channel, LineCounters, MAX_LINES};
pub use symbols::{Lookup, Symbols};
pub use window::{MAX_PACKET_ELEMENTS, Window};

use crate::arena::{Arena, ArenaFull};
use crate::market::{Element, Instrument, Packet, Symbol};
use crate::recovery::{Link, What};
use crate::wire;
use heal::{Heal, Turn};
use hold::{Hold, Kept, Popped, Slot};
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
    /// How packets ahead of the sequence are held.
    pub arbitration: Arbitration,
}

/// How packets ahead of the sequence are held until what is missing has come, message by message, on any line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arbitration {
    /// Longest wait, in ns of arrival, from the first packet beyond a gap; 0 announces a gap at once.
    pub window_ns: u64,
    /// Most packets held, all channels together. When there is no room for another, the wait is over for the first of them.
    pub packets: usize,
}

/// What time it is for the packets that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// That of a packet which comes next, or live that of the clock, in ns of arrival: waits that last longer are over.
    Packet(u64),
    /// Between the packets of a replay: no time passes, but there may be room now for what is ready.
    Idle,
    /// No packet will come: every wait is over.
    End,
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
    /// It is ahead of its channel and waits for what is missing: [`Feed::settle`] says what becomes of it.
    Held,
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
    /// Packets that were held because messages before them were missing.
    held_packets,
    /// Waits that ended early because no more packets could be held.
    held_full,
    /// Held packets that were dropped because no more could be held; a snapshot has their messages.
    held_dropped,
    /// Messages that no line brought and a server did.
    recovered_messages,
    /// Snapshots that took the place of all books.
    snapshots,
    /// Times that books were late: messages were missing for too long, or the feed was silent.
    late,
    /// Times that the feed was silent for too long.
    silences,
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
    /// The next packet is not to be taken for the one that simply follows: something is held, or wanted of it.
    attention: bool,
    restart: bool,
    window_ns: u64,
    hold: Hold<'m>,
    /// Where the packet that is looked at comes from.
    origin: Origin,
    heal: Option<Heal>,
    /// Strategy has been told that books are late.
    late: bool,
    /// Nothing comes.
    silent: bool,
    /// Arrival of the latest packet that came while something was held.
    now: u64,
    /// Restarts seen by each channel, and by the venue: the first channel to pass the venue's count clears the books,
    /// the others follow it.
    starts: Vec<u32>,
    epoch: u32,
    counters: Counters,
    by_type: Box<[u64; 256]>,
    /// Packets left in the window.
    packets: u64,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A line.
    Line,
    /// It was held and has its turn.
    Held,
    /// A re-request or snapshot server.
    Server,
}

impl<'m> Feed<'m> {
    /// Bytes that a feed takes from the arena.
    pub fn bytes(config: &FeedConfig) -> usize {
        let limit = config.symbols.as_ref().map_or(config.limit, |list| list.len() as u32);
        let own = match config.protocol {
            Protocol::Itch50 => itch::Itch::BYTES,
            Protocol::Deep10 => 0,
        };
        Symbols::bytes(limit) + own + Hold::bytes(config.arbitration.packets)
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
            attention: false,
            restart: false,
            window_ns: config.arbitration.window_ns,
            hold: Hold::new(config.arbitration.packets, config.channels.max(1), arena)?,
            origin: Origin::Line,
            heal: None,
            late: false,
            silent: false,
            now: 0,
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

    /// The same, and what no line brings is asked for through `link`: instead of being announced at the end of the wait, a
    /// gap is healed by servers, and everything later waits for it. A session is missed from its first message on. For
    /// feeds of one channel that check sequence numbers.
    #[must_use]
    pub fn healed_by(mut self, link: Link, config: HealConfig) -> Self {
        self.state.channels.fill(Channel::from_one());
        self.state.heal = Some(Heal::new(link, config));
        self
    }

    /// The next packet begins a new lap of a replay: sequences and books start again. Nothing is held any more: see
    /// [`Moment::End`].
    pub fn new_session(&mut self) {
        self.state.channels.iter_mut().for_each(Channel::reset);
        self.state.starts.fill(0);
        self.state.epoch = 0;
        self.state.restart = true;
        self.state.attention = true;
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

    /// Decode one message by itself, without judging its place: for who knows already which messages were taken, and has
    /// kept what no message says ([`Element::Gap`] and the like, which may come out of it and are not to be used).
    pub fn message(&mut self, message: &[u8], window: &mut Window) {
        match &mut self.decoder {
            Decoder::Itch(itch) => itch.message(&mut self.state, message, 0, window, &mut |_, _| {}),
            Decoder::Deep(deep) => deep.message(&mut self.state, message, 0, window, &mut |_, _| {}),
        }
    }

    /// Take in what an element says of instruments that no message here has said.
    pub fn learn(&mut self, element: &Element) {
        match (*element, &mut self.decoder) {
            (Element::Define { symbol, .. }, _) => drop(self.state.symbols.lookup(symbol)),
            (Element::Named { instrument, locate }, Decoder::Itch(itch)) => itch.learn(locate, instrument),
            (Element::SessionStart, Decoder::Itch(itch)) => itch.forget(),
            _ => {}
        }
    }

    /// Whether [`settle`](Self::settle) is to be asked before the next packet.
    #[inline(always)]
    pub fn is_unsettled(&self) -> bool {
        self.state.attention
    }

    /// Decode what was held and need not be held any longer, each as a packet of its own that arrives now; `each` is told
    /// what became of it. False when `window` has no room for another packet: then come back when it has.
    #[cold]
    pub fn settle(
        &mut self,
        moment: Moment,
        window: &mut Window,
        mut ahead: impl FnMut(Instrument, u64),
        mut each: impl FnMut(Verdict),
    ) -> bool {
        while window.has_room() {
            if let Some(channel) = self.state.due(moment) {
                each(self.release(channel, window, &mut ahead));
            } else if !self.deliver(moment, window, &mut ahead) {
                self.state.tell(moment, window);
                self.state.attend();
                return window.has_room();
            }
        }
        false
    }

    /// No line has brought anything for too long: at `now_ns`, books are late until one does.
    #[cold]
    pub fn fell_silent(&mut self, now_ns: u64, window: &mut Window) {
        let state = &mut self.state;
        if state.silent {
            return;
        }
        state.silent = true;
        state.counters.silences += 1;
        state.now = state.now.max(now_ns);
        state.go_late(window);
        state.attend();
    }

    /// Whether nothing has come since [`fell_silent`](Self::fell_silent).
    pub fn is_silent(&self) -> bool {
        self.state.silent
    }

    /// What the servers' thread counts, where there is one.
    pub fn recovery(&self) -> Option<&crate::recovery::Counters> {
        self.state.heal.as_ref().map(|heal| heal.link.counters())
    }

    /// Packets that are held.
    pub fn held(&self) -> usize {
        self.state.hold.len()
    }

    /// What `line` delivered, all channels together.
    pub fn line(&self, line: usize) -> LineCounters {
        let mut all = LineCounters::default();
        self.state.channels.iter().for_each(|channel| all.add(channel.line(line.min(MAX_LINES - 1))));
        all
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

    /// It is the turn of the first packet that `channel` holds.
    #[inline(never)]
    fn release(&mut self, channel: usize, window: &mut Window, ahead: impl FnMut(Instrument, u64)) -> Verdict {
        let Some(Popped { slot, bytes: (from, to) }) = self.state.hold.pop(channel) else { return Verdict::Dropped };
        let arrival_ns = slot.head.arrival_ns.max(self.state.now);
        let head = Packet { arrival_ns, ..slot.head };
        let bytes = self.state.hold.lend();
        (self.state.origin, self.state.attention) = (Origin::Held, true);
        let verdict = self.packet(&bytes[from..to], &head, window, ahead);
        self.state.origin = Origin::Line;
        self.state.hold.returned(bytes);
        verdict
    }

    /// Take what a server has for us. False when there is nothing.
    fn deliver(&mut self, moment: Moment, window: &mut Window, mut ahead: impl FnMut(Instrument, u64)) -> bool {
        let Some(heal) = &mut self.state.heal else { return false };
        let Some(delivery) = heal.link.delivery() else { return false };
        if let Moment::Packet(now) = moment {
            self.state.now = self.state.now.max(now);
        }
        let next = self.state.channels[0].next();
        match delivery.what {
            What::Messages => {
                (self.state.origin, self.state.attention) = (Origin::Server, true);
                let head = self.state.no_frame();
                self.packet(delivery.payload(), &head, window, ahead);
                self.state.origin = Origin::Line;
                let after = self.state.channels[0].next();
                self.state.counters.recovered_messages += after.saturating_sub(next);
            }
            What::SnapshotBegins => {
                // Late before empty, so that no book is taken for whole while it is filled.
                self.state.go_late(window);
                self.state.announce(&[Element::SessionStart], window);
                if let Decoder::Itch(itch) = &mut self.decoder {
                    // It names again whatever is spoken of afterwards.
                    itch.forget();
                }
                heal_of(&mut self.state).begun(next);
                // Until it is complete every message of a line is one of the future.
                self.state.channels[0].jump(0);
            }
            What::Snapshot => {
                if let Decoder::Itch(itch) = &mut self.decoder {
                    self.state.origin = Origin::Server;
                    itch.snapshot(&mut self.state, delivery.payload(), window, &mut ahead);
                    self.state.origin = Origin::Line;
                }
            }
            What::SnapshotEnds(sequence) if self.state.channels[0].may_go_on_with(sequence) => {
                self.state.channels[0].jump(sequence);
                self.state.counters.snapshots += 1;
                heal_of(&mut self.state).loaded();
            }
            What::SnapshotEnds(_) | What::Failed => {
                let (session, first) =
                    (self.state.session(), self.state.hold.first(0).map_or(next, |slot| slot.sequence));
                if let Some(stood) = heal_of(&mut self.state).failed(session, first) {
                    // Books are empty, or half filled: they are lost whatever comes next.
                    let found = first.max(stood);
                    self.state.counters.gaps += 1;
                    self.state.counters.lost_messages += found - stood;
                    self.state.announce(&[Element::Gap { expected: stood, found }], window);
                    self.state.channels[0].jump(found);
                }
            }
        }
        true
    }
}

/// What a packet of a feed carries, whatever came before it.
#[derive(Debug)]
pub struct Carried<'p> {
    /// Its session.
    pub session: u128,
    /// Sequence number of its first message.
    pub sequence: u64,
    /// Its protocol restarts within a session by falling back to sequence 1.
    pub restarts_at_one: bool,
    /// Its messages, those before the first that is cut short.
    pub messages: Vec<&'p [u8]>,
}

impl<'p> Carried<'p> {
    /// The packet in `payload`; `None` when its header is none of the protocol's.
    pub fn by(protocol: Protocol, payload: &'p [u8]) -> Option<Carried<'p>> {
        match protocol {
            Protocol::Itch50 => itch::carried(payload),
            Protocol::Deep10 => deep::carried(payload),
        }
    }
}

/// Sixteen bits that tell a channel's sessions apart: of the session's id, and how often it was restarted.
#[inline(always)]
pub fn session_mark(session: u128, restarts: u32) -> u16 {
    let folded = (session as u64 ^ (session >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((folded >> 48) as u16).wrapping_add(restarts as u16)
}

/// The state of healing, where a delivery came through its link.
fn heal_of<'s>(state: &'s mut State<'_>) -> &'s mut Heal {
    // A delivery comes through the link that is in it.
    state.heal.as_mut().expect("what was delivered came through a link")
}

/// What the transport's header says of a packet.
struct Header<'p> {
    session: u128,
    sequence: u64,
    count: u16,
    restarts_at_one: bool,
    /// The packet itself.
    payload: &'p [u8],
}

/// A packet that was opened in the window.
struct Opened<'h> {
    header: &'h Header<'h>,
    head: &'h Packet,
    mark: usize,
    /// Messages at its front that are known already.
    skip: u64,
}

impl State<'_> {
    /// Judge a packet by its header; open it in the window with what the judgement means for the books, and return how
    /// many messages to skip. The verdict, when nothing of it is to be decoded now.
    #[inline(always)]
    fn open(&mut self, header: &Header<'_>, head: &Packet, window: &mut Window) -> Result<u64, Verdict> {
        let expected = !self.attention
            && match self.channels.get_mut(head.channel as usize) {
                Some(channel) if self.sequenced => {
                    let line = usize::from(head.line).min(MAX_LINES - 1);
                    channel.follows(line, header.session, header.sequence, header.count.into())
                }
                _ => !self.sequenced,
            };
        if expected {
            self.head(header.sequence, self.mark(header, head), head, window);
            return Ok(0);
        }
        self.judge(header, head, window)
    }

    /// The same for a packet that is not simply the next one, or that comes while something is held.
    #[cold]
    #[inline(never)]
    fn judge(&mut self, header: &Header<'_>, head: &Packet, window: &mut Window) -> Result<u64, Verdict> {
        let opened = self.open_whole(header, head, window);
        self.attend();
        opened
    }

    /// Whether the next packet needs more than a look at its sequence.
    fn attend(&mut self) {
        self.attention = self.restart
            || self.hold.len() > 0
            || self.late
            || self.silent
            || self.heal.as_ref().is_some_and(Heal::is_busy)
            || (self.sequenced && self.channels.iter().any(Channel::wants_time));
    }

    fn open_whole(&mut self, header: &Header<'_>, head: &Packet, window: &mut Window) -> Result<u64, Verdict> {
        let count = u64::from(header.count);
        self.silent &= self.origin != Origin::Line;
        let admit = if self.sequenced { self.admit(header, head, window)? } else { Admit::default() };
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
            return Err(Verdict::Dropped);
        }
        self.head(header.sequence.wrapping_add(admit.skip), self.mark(header, head), head, window);
        if restart {
            self.counters.session_starts += 1;
            self.push(Element::SessionStart, window);
        }
        if let Some((expected, found)) = admit.gap {
            self.lose(expected, found, window);
        }
        Ok(admit.skip)
    }

    /// What its channel says of a packet that arrives, or that was held and has its turn.
    fn admit(&mut self, header: &Header<'_>, head: &Packet, window: &mut Window) -> Result<Admit, Verdict> {
        let count = u64::from(header.count);
        let at = head.channel as usize;
        let line = usize::from(head.line).min(MAX_LINES - 1);
        let Some(channel) = self.channels.get_mut(at) else {
            self.counters.bad_header += 1;
            return Err(Verdict::Dropped);
        };
        let mut heard = Admit::default();
        if self.origin == Origin::Server {
            // Asked for in order and handed on in order: what does not touch what was taken is of no use any more.
            let end = header.sequence.saturating_add(count);
            if !(header.sequence..end).contains(&channel.next()) {
                return Err(Verdict::Dropped);
            }
        }
        if self.origin == Origin::Line {
            let known = channel.session().is_some();
            self.now = self.now.max(head.arrival_ns);
            heard = channel.hear(line, header.session, header.sequence, count, header.restarts_at_one);
            if heard.late {
                self.counters.late_packets += 1;
                return Err(Verdict::Dropped);
            }
            if heard.start {
                // What waits in the session that ends has nothing left to wait for.
                self.counters.late_packets += self.hold.clear(at);
            }
            let ahead = header.sequence > channel.next();
            if let Some(heal) = &mut self.heal
                && (heard.start || !known)
            {
                heal.restart();
                if ahead {
                    self.begin_late(heard.start, window);
                }
            }
            if ahead && (self.heal.is_some() || (self.window_ns > 0 && !heard.start)) {
                match self.hold.insert(at, header.sequence, count, head, header.payload) {
                    Kept::Yes => {
                        self.counters.held_packets += 1;
                        return Err(Verdict::Held);
                    }
                    Kept::Known => {
                        self.counters.duplicate_packets += 1;
                        self.counters.duplicate_messages += count;
                        return Err(Verdict::Dropped);
                    }
                    Kept::NoRoom => self.counters.held_full += 1,
                }
            }
        }
        let channel = &mut self.channels[at];
        let placed = channel.place(header.sequence, count);
        let new = count - placed.skip;
        if self.origin != Origin::Server {
            channel.won(line, new);
            channel.time(line, header.sequence, count, new, head.arrival_ns);
        }
        Ok(Admit { start: heard.start, gap: heard.gap.or(placed.gap), ..placed })
    }

    /// The channel whose first packet has its turn: nothing is missing before it, or the wait is over. The former go
    /// first, because they were ready before this moment.
    fn due(&mut self, moment: Moment) -> Option<usize> {
        if let Some(heal) = &mut self.heal {
            heal.reached(self.channels[0].next());
        }
        let channels = 0..self.channels.len();
        let is_ready =
            |&at: &usize| self.hold.first(at).is_some_and(|first| first.sequence <= self.channels[at].next());
        channels.clone().find(is_ready).or_else(|| {
            let mut channels = channels;
            channels.find(|&at| self.is_over(moment, at))
        })
    }

    /// Whether the wait for what is missing before the first packet that `channel` holds is over.
    fn is_over(&mut self, moment: Moment, channel: usize) -> bool {
        let Some(&Slot { sequence, since, .. }) = self.hold.first(channel) else { return false };
        let now = match moment {
            Moment::Idle => return false,
            Moment::End => return true,
            Moment::Packet(now) => now,
        };
        let full = self.hold.is_full();
        let deadline = since.saturating_add(self.window_ns);
        if now <= deadline && self.window_ns > 0 && !full {
            return false;
        }
        // Not later than the wait could last, so that it makes no difference which packet, or clock, told that it is over.
        self.now = self.now.max(deadline.min(now));
        let session = self.session();
        let turn = match &mut self.heal {
            None => Turn::Announce,
            Some(heal) => heal.turn(session, self.channels[channel].next(), sequence, since, full),
        };
        match turn {
            Turn::Announce => self.counters.held_full += u64::from(full),
            Turn::Drop => {
                self.hold.pop(channel);
                self.counters.held_dropped += 1;
            }
            Turn::Wait => {}
        }
        turn == Turn::Announce
    }

    /// Tell strategy when books have become late, and when they are not any more.
    fn tell(&mut self, moment: Moment, window: &mut Window) {
        let busy = self.heal.as_ref().is_some_and(Heal::is_busy);
        if self.late && !busy && !self.silent && self.hold.len() == 0 {
            self.late = false;
            self.announce(&[Element::Healed], window);
            if let Some(heal) = &mut self.heal {
                heal.healed();
            }
        } else if let (Some(heal), Moment::Packet(now)) = (&self.heal, moment)
            && busy
            && now.saturating_sub(heal.since) > heal.config.stale_after_ns
        {
            self.now = self.now.max(now);
            self.go_late(window);
        }
    }

    fn go_late(&mut self, window: &mut Window) {
        if !self.late {
            self.late = true;
            self.counters.late += 1;
            self.announce(&[Element::Late], window);
        }
    }

    /// The first packet heard of a session, `new` or the first of all, is not the session's first: books are late until
    /// what is missing has come.
    fn begin_late(&mut self, new: bool, window: &mut Window) {
        // Late before empty, as with a snapshot.
        self.go_late(window);
        if new {
            self.counters.session_starts += 1;
            self.announce(&[Element::SessionStart], window);
        }
    }

    /// Elements that no frame brought, as a packet.
    fn announce(&mut self, elements: &[Element], window: &mut Window) {
        let (mark, head) = (window.mark(), self.no_frame());
        self.head(self.channels[0].next(), 0, &head, window);
        elements.iter().for_each(|element| self.push(*element, window));
        self.packets += u64::from(window.close(mark) > 0);
    }

    /// What is said of a packet that came in no frame: nothing of it was timed.
    fn no_frame(&self) -> Packet {
        Packet { arrival_ns: self.now, line: MAX_LINES as u8, ..Packet::default() }
    }

    /// The session as MoldUDP64 writes it.
    fn session(&self) -> [u8; 10] {
        let wide = self.channels[0].session().unwrap_or_default().to_le_bytes();
        let mut name = [0; 10];
        name.copy_from_slice(&wide[..10]);
        name
    }

    /// What tells the session of a packet from others of its channel.
    #[inline(always)]
    fn mark(&self, header: &Header<'_>, head: &Packet) -> u16 {
        session_mark(header.session, self.channels.get(head.channel as usize).map_or(0, Channel::restarts))
    }

    /// The head of a packet, as yet without elements.
    #[inline(always)]
    fn head(&mut self, sequence: u64, session: u16, head: &Packet, window: &mut Window) {
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
            session,
            stamp,
        };
        self.push(Element::Packet(opened), window);
    }

    /// Hand each message of the packet opened at `mark` to `decode`, but for the first `skip`, and close the packet.
    #[inline(always)]
    fn deliver<'p>(
        &mut self,
        opened: Opened<'_>,
        mut messages: impl Iterator<Item = Result<&'p [u8], wire::Error>>,
        window: &mut Window,
        mut decode: impl FnMut(&mut Self, &'p [u8], u64, &mut Window),
    ) -> Verdict {
        let Opened { header, head, mark, skip } = opened;
        let mut next = header.sequence;
        while next.wrapping_sub(header.sequence) < skip {
            match messages.next() {
                Some(Ok(_)) => next = next.wrapping_add(1),
                Some(Err(_)) => next = self.truncated(next, header, head, skip, window),
                None => break,
            }
        }
        for message in messages {
            match message {
                Ok(message) => {
                    decode(self, message, next, window);
                    next = next.wrapping_add(1);
                }
                Err(_) => next = self.truncated(next, header, head, skip, window),
            }
        }
        if self.sequenced {
            self.channels[head.channel as usize].delivered(next);
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

    /// The packet ended before message `next`: what it announced beyond is gone, or may come on another line, where that is
    /// waited for. Returns the sequence to go on with.
    #[cold]
    fn truncated(&mut self, next: u64, header: &Header<'_>, head: &Packet, skip: u64, window: &mut Window) -> u64 {
        self.counters.truncated_packets += 1;
        let end = header.sequence.saturating_add(header.count.into()).max(next);
        if self.sequenced {
            let line = usize::from(head.line).min(MAX_LINES - 1);
            let missing = end - next.max(header.sequence.saturating_add(skip)).min(end);
            self.channels[head.channel as usize].cut(line, missing);
            if self.window_ns > 0 || self.heal.is_some() {
                return next;
            }
        }
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
mod tests;
