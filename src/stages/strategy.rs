//! strategy: elements into books, book changes into orders.
//!
//! In: elements from parse, fused or by ring; order events from tx. Out: orders. Owns the books, the risk gate that every
//! order passes on its way out, and the state of every order; an order event that cannot be, or came before, goes no
//! further than that. A decision is made at
//! the end of a packet, once for each instrument it touched, in the order of first touch — so neither the burst nor the
//! layout can change it — and each decision's orders go down to the doorbell before the next is made. Never blocks: an
//! order without room comes back as a local reject in the same poll, or (in a replay, which is lossless) waits here
//! and stops the intake of elements.

use super::{Change, Down, Inbox, Journal, Ledger, Links, Stamps};
use crate::book::Books;
use crate::dpdk::ring::{Consumer, Producer};
use crate::feed::{MAX_LINES, MAX_PACKET_ELEMENTS};
use crate::journal::is_kept;
use crate::latency::board::{Account, Count, Entry};
use crate::latency::outlet::Outlet;
use crate::latency::record::{Kind, Record};
use crate::market::{Element, Instrument, Order, OrderEvent, OrderEventKind, OrderKind, Packet, Refusal, Symbol};
use crate::risk::{Gate, KillReason, Touch};
use crate::session::{OrderStates, Verdict};
use crate::strategy::{BooksLost, InstrumentSpec, Orders, Strategy};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;

/// Elements between asking for a side's memory and applying the event.
const LEVELS_AHEAD: usize = 6;

/// Most order events taken in a poll.
const EVENTS_A_POLL: usize = 256;
/// Rounds that a snapshot waits for the recorder: a second or two.
const PATIENCE: u32 = 1 << 23;

/// Elements taken from the ring at a time.
const INTAKE: usize = 128;

/// Settings of one strategy stage.
#[derive(Debug)]
pub struct StrategyParts<'m> {
    /// From parse on another lcore; `None` when fused.
    pub input: Option<Consumer<Element>>,
    /// Towards encode on another lcore; `None` when fused.
    pub out: Option<Producer<Order>>,
    /// From tx on another lcore; `None` when tx is below on this one.
    pub events: Option<Consumer<OrderEvent>>,
    /// The books.
    pub books: Books<'m>,
    /// What every order passes before it leaves.
    pub gate: Gate<'m>,
    /// What became of each.
    pub states: OrderStates<'m>,
    /// Epoch of the last packet that touched each instrument.
    pub touched: &'m mut [u32],
    /// Lot and tick of the symbols named in the pipeline file.
    pub specs: Vec<InstrumentSpec>,
    /// The first so many instruments are those of `specs`, in its order; 0 when the feed names them (`*`).
    pub listed: usize,
    /// Lot and tick of instruments that are not listed.
    pub default_spec: InstrumentSpec,
    /// Keep orders that have no room (replay) instead of rejecting them.
    pub lossless: bool,
    /// Have what stands cancelled before the end.
    pub cancel_at_end: bool,
    /// How `book_tsc` is taken.
    pub book_stamps: Stamps,
    /// How `decided_tsc` is taken.
    pub stamps: Stamps,
    /// Packets that cause no order, some of them, to the recorder.
    pub sampler: Option<Sampler>,
    /// Changes that control asks for while it runs.
    pub changes: Inbox,
    /// What decisions depend on, and they, to the recorder.
    pub journal: Option<Journal>,
}

/// Tells the recorder of one in so many packets that cause no order.
#[derive(Debug)]
pub struct Sampler {
    /// To the recorder.
    pub outlet: Outlet,
    /// The venue's index.
    pub venue: u16,
    /// One packet in so many.
    pub every: u32,
}

/// The stage, generic over the strategy so that its callbacks inline.
#[derive(Debug)]
pub struct StrategyStage<'m, S> {
    parts: StrategyParts<'m>,
    strategy: S,
    orders: Orders,
    known: Vec<InstrumentSpec>,
    /// The instruments to decide on, and room for one that was there already.
    changed: Box<[Instrument]>,
    changes: usize,
    epoch: u32,
    remaining: u16,
    /// Every element of this packet goes into the journal.
    whole: bool,
    /// Rounds in which the journal had no room.
    waited: u32,
    intake: Box<[Element]>,
    taken: usize,
    filled: usize,
    waiting: VecDeque<Order>,
    /// What the strategy is to be told of the orders it has just asked for.
    answers: VecDeque<OrderEvent>,
    closed: bool,
    /// The order that left last and was no cancel, for rehearsals.
    last: Option<Order>,
    /// The next change, and the sequence it waits for; `u64::MAX` while there is none.
    coming: Option<Change>,
    change_from: u64,
    /// The venue does not trade for now.
    paused: bool,
    /// Nothing stands that a pause has to pull.
    pulled: bool,
    /// Changes that a journal cannot do again.
    changed_so_far: u32,
    /// The strategy was asked to cancel what stands.
    stopped: bool,
    /// Packets until the next one is sampled.
    unsampled: u32,
    /// Orders decided before this packet.
    decided_before: u64,
    packets: u64,
    decided: u64,
    sent: u64,
    /// Orders that never left, by reason.
    refused: [u64; Refusal::ALL.len()],
    /// What became of orders, by kind of event.
    became: [u64; BECAME.len()],
}

/// Names of order events, in the order of [`OrderEventKind`].
const BECAME: [&str; 8] =
    ["not_sent", "accepted", "replaced", "filled", "cancelled", "rejected", "cancel_rejected", "cancel_pending"];

impl<'m, S: Strategy> StrategyStage<'m, S> {
    /// A stage over its parts. Allocates all it will ever need.
    pub fn new(mut parts: StrategyParts<'m>, strategy: S, orders: Orders) -> Self {
        let instruments = parts.touched.len();
        let capacity = orders.capacity();
        for (i, spec) in parts.specs.iter().take(parts.listed).enumerate() {
            parts.gate.define(Instrument(i as u32), spec.symbol, spec.lot, spec.tick);
        }
        StrategyStage {
            strategy,
            orders,
            known: (0..instruments)
                .map(|i| if i < parts.listed { parts.specs[i] } else { parts.default_spec })
                .collect(),
            changed: vec![Instrument(0); instruments.min(MAX_PACKET_ELEMENTS) + 1].into_boxed_slice(),
            changes: 0,
            epoch: 0,
            remaining: 0,
            whole: false,
            waited: 0,
            intake: vec![Element::SessionStart; INTAKE].into_boxed_slice(),
            taken: 0,
            filled: 0,
            waiting: VecDeque::with_capacity(capacity),
            answers: VecDeque::with_capacity(capacity),
            closed: false,
            last: None,
            coming: None,
            change_from: u64::MAX,
            paused: false,
            pulled: false,
            changed_so_far: 0,
            stopped: false,
            unsampled: parts.sampler.as_ref().map_or(u32::MAX, |sampler| sampler.every),
            decided_before: 0,
            packets: 0,
            decided: 0,
            sent: 0,
            refused: [0; Refusal::ALL.len()],
            became: [0; BECAME.len()],
            parts,
        }
    }

    /// Orders that wait for room, changes that wait for no packet, then order events. Returns what was done.
    #[inline]
    pub fn poll(&mut self, down: &mut Down<'_, '_>) -> usize {
        let mut work = self.flush(down);
        if let Some(journal) = &mut self.parts.journal {
            journal.flush();
        }
        self.look_for_change();
        let pause = self.parts.changes.pause_wanted();
        if pause != self.paused && self.remaining == 0 {
            self.pause(pause);
        }
        if self.change_from == 0 && self.remaining == 0 {
            self.change(0);
        }
        if self.paused && !self.pulled && self.remaining == 0 {
            work += self.pull(down);
        }
        // What the strategy asks for may be answered at once: not for ever.
        for _ in 0..EVENTS_A_POLL {
            let Some(event) = self.parts.events.as_mut().and_then(Consumer::pop).or_else(|| down.event()) else {
                break;
            };
            self.order_event(&event, down);
            work += 1;
        }
        work
    }

    /// Alone: apply what the ring holds, at most one intake. Returns the elements applied.
    pub fn take(&mut self, down: &mut Down<'_, '_>) -> usize {
        let mut intake = std::mem::take(&mut self.intake);
        if self.taken == self.filled {
            self.taken = 0;
            if let Some(ring) = &mut self.parts.input {
                self.filled = ring.pop_slice(&mut intake);
                if self.filled > 0 {
                    self.orders.waited(u16::try_from(self.filled + ring.len()).unwrap_or(u16::MAX));
                }
            }
            intake[..self.filled].iter().for_each(|element| self.announce(element));
        }
        let n = self.apply(&intake[self.taken..self.filled], down);
        self.taken += n;
        self.intake = intake;
        n
    }

    /// Ask for the memory that an event of `order` and the decision after it will want.
    #[inline(always)]
    pub fn prefetch(&self, instrument: Instrument, order: u64) {
        self.parts.books.prefetch(instrument, order);
        self.strategy.prefetch(instrument);
    }

    /// Apply elements in order until they end or an order has no room. Returns how many were applied.
    #[inline]
    pub fn apply(&mut self, elements: &[Element], down: &mut Down<'_, '_>) -> usize {
        if (self.parts.lossless || self.whole) && self.waits_for_journal() {
            return 0;
        }
        for element in elements.iter().take(LEVELS_AHEAD) {
            self.parts.books.prefetch_levels(element);
        }
        let mut at = 0;
        while let Some(element) = elements.get(at) {
            if !self.waiting.is_empty() {
                break;
            }
            if let Some(ahead) = elements.get(at + LEVELS_AHEAD) {
                self.parts.books.prefetch_levels(ahead);
            }
            at += 1;
            match element {
                Element::Packet(head) => self.begin(head),
                _ => self.event(element, down),
            }
        }
        at
    }

    /// Whether the journal has to be written first. What comes from a server comes faster than that, while books are stale and
    /// nobody is in a hurry; but a recorder that is stuck is not waited for.
    #[cold]
    #[inline(never)]
    fn waits_for_journal(&mut self) -> bool {
        let full = self.parts.journal.as_mut().is_some_and(|journal| !journal.has_room());
        self.waited = if full { self.waited + 1 } else { 0 };
        full && (self.parts.lossless || self.waited < PATIENCE)
    }

    /// What [`prefetch`](Self::prefetch) is told by parse on the same lcore.
    #[inline]
    fn announce(&self, element: &Element) {
        match *element {
            Element::Add { order, instrument, .. }
            | Element::Execute { order, instrument, .. }
            | Element::Reduce { order, instrument, .. }
            | Element::Delete { order, instrument, .. } => self.prefetch(instrument, order),
            Element::Replace { order, instrument, new_order, .. } => {
                self.prefetch(instrument, order);
                self.prefetch(instrument, new_order);
            }
            Element::Level { instrument, .. } => self.prefetch(instrument, 0),
            _ => {}
        }
    }

    /// A response or local event, for the strategy if it is real.
    pub fn order_event(&mut self, event: &OrderEvent, down: &mut Down<'_, '_>) {
        if let Some(journal) = &mut self.parts.journal {
            journal.event(self.remaining, event);
        }
        let verdict = self.parts.states.apply(event);
        if !matches!(verdict, Verdict::Real | Verdict::Ended) {
            return;
        }
        self.became[event.kind as usize] += 1;
        if event.kind == OrderEventKind::Filled && self.parts.gate.exceeded(event.instrument, &self.parts.states) {
            self.parts.gate.kill().trip(KillReason::Limit);
        }
        self.pulled = false;
        // No packet causes what the strategy does about it.
        self.orders.begin(&Packet { arrival_ns: self.orders.arrival_ns(), ..Packet::default() });
        self.strategy.on_order_event(event, &mut self.orders);
        if verdict == Verdict::Ended {
            while let Some(orphan) = self.parts.states.orphan(event.instrument) {
                self.strategy.on_order_event(&orphan, &mut self.orders);
            }
        }
        self.hand_down(down);
    }

    /// After the last element: have what stands cancelled, in pieces. True when nothing was left to cancel and, where
    /// somebody answers, the last order's end was answered.
    pub fn close(&mut self, down: &mut Down<'_, '_>) -> bool {
        if self.closed || !self.parts.cancel_at_end {
            return self.is_journaled();
        }
        // What finds no room waits: nothing comes after it. No packet is the cause.
        self.parts.lossless = true;
        let asked = self.stop(down);
        let states = &self.parts.states;
        self.closed = !asked && (states.assumed() || states.venue().orders == 0);
        if let Some(journal) = &mut self.parts.journal {
            journal.flush();
        }
        self.closed && self.is_journaled()
    }

    /// Have what stands cancelled, as far as there is room. Whether the strategy asked for anything.
    pub(super) fn stop(&mut self, down: &mut Down<'_, '_>) -> bool {
        self.orders.begin(&Packet { arrival_ns: self.orders.arrival_ns(), ..Packet::default() });
        self.strategy.on_stop(&mut self.orders);
        let asked = !self.orders.pending().is_empty();
        if let Some(journal) = &mut self.parts.journal
            && (asked || !self.stopped)
        {
            // It is asked until the last answer has come: times that made nothing are left out.
            journal.stop();
        }
        self.stopped = true;
        self.hand_down(down);
        asked
    }

    /// Its journal, if it keeps one.
    pub(super) fn journal(&mut self) -> Option<&mut Journal> {
        self.parts.journal.as_mut()
    }

    /// Entries that the journal took and that it lost, if there is one.
    pub fn journaled(&self) -> Option<(u64, u64)> {
        self.parts.journal.as_ref().map(Journal::entries)
    }

    /// No order waits for room.
    pub(super) fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    fn is_journaled(&self) -> bool {
        self.parts.journal.as_ref().is_none_or(Journal::is_flushed)
    }

    /// See [`super::Segment::swap_ends`].
    pub fn swap_ends(&mut self, links: &mut Links) {
        std::mem::swap(&mut self.parts.input, &mut links.parse_strategy.1);
        std::mem::swap(&mut self.parts.out, &mut links.strategy_encode.0);
        std::mem::swap(&mut self.parts.events, &mut links.tx_strategy.1);
    }

    /// Nothing held and nothing to be had.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.taken == self.filled
            && self.parts.input.as_ref().is_none_or(Consumer::is_empty)
            && self.parts.events.as_ref().is_none_or(Consumer::is_empty)
            && self.is_journaled()
    }

    /// Orders decided = handed to encode + refused, by reason + held.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// Packets applied.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The books.
    pub fn books(&self) -> &Books<'m> {
        &self.parts.books
    }

    /// The state of its orders.
    pub fn states(&self) -> &OrderStates<'m> {
        &self.parts.states
    }

    /// The strategy, for its counters.
    pub fn strategy(&self) -> &S {
        &self.strategy
    }

    /// Specification of each instrument index seen; others hold the default.
    pub fn instruments(&self) -> &[InstrumentSpec] {
        &self.known
    }

    /// Shares held at the end, short negative, of each symbol that has any.
    pub fn positions(&self) -> BTreeMap<String, i64> {
        let held = (0..self.known.len()).filter_map(|i| {
            let holding = self.parts.states.holding(Instrument(i as u32))?;
            Some((self.known[i].symbol.to_string(), holding.position()))
        });
        held.filter(|(_, position)| *position != 0).collect()
    }

    /// The final books as JSON lines, at most `levels` a side: of listed instruments and of those whose book ever changed.
    pub fn book_lines(&self, venue: &str, levels: usize) -> Vec<String> {
        let listed = self.parts.listed;
        let wanted = |i: &usize| *i < listed || self.parts.touched[*i] != 0;
        (0..self.known.len()).filter(wanted).map(|i| self.book_line(venue, i, levels)).collect()
    }

    fn book_line(&self, venue: &str, instrument: usize, levels: usize) -> String {
        let book = self.parts.books.book(Instrument(instrument as u32));
        let side = |of: crate::book::Levels<'_>| -> Vec<(i64, u64)> {
            of.take(levels).map(|level| (level.price.0, level.qty)).collect()
        };
        let line = BookLine {
            venue,
            symbol: self.known[instrument].symbol.to_string(),
            bids: side(book.bids()),
            asks: side(book.asks()),
            stale: book.stale(),
        };
        // Strings and numbers always serialise.
        serde_json::to_string(&line).expect("a book line is plain data")
    }

    /// Orders that were refused because the order session cannot say them.
    pub fn unsayable(&self) -> u64 {
        self.orders.unsayable()
    }

    /// Orders that the strategy's collector refused because one callback asked for too many.
    pub fn refused_by_collector(&self) -> u64 {
        self.orders.refused()
    }

    #[inline]
    fn look_for_change(&mut self) {
        if self.coming.is_none() {
            self.coming = self.parts.changes.take();
            self.change_from = self.coming.as_ref().map_or(u64::MAX, |change| change.from_sequence);
        }
    }

    /// Make every change that is to be made at `sequence`.
    #[cold]
    #[inline(never)]
    fn change(&mut self, sequence: u64) {
        while let Some(mut change) = self.coming.take_if(|change| change.from_sequence <= sequence) {
            if let Some(limits) = &mut change.limits {
                self.parts.gate.swap_limits(limits, self.orders.arrival_ns());
                for (i, known) in self.known.iter().enumerate() {
                    self.parts.gate.define(Instrument(i as u32), known.symbol, known.lot, known.tick);
                }
            }
            let parameters = change.parameters.as_deref().and_then(|any| any.downcast_ref::<S::Parameters>());
            if let Some(parameters) = parameters {
                self.strategy.reconfigure(parameters);
                let named = |known: &InstrumentSpec| known.symbol != Symbol([b' '; 8]);
                for (i, known) in self.known.iter().enumerate().filter(|(_, known)| named(known)) {
                    self.strategy.on_instrument(Instrument(i as u32), known);
                }
            }
            if change.limits.is_some() || change.parameters.is_some() {
                self.journal_change();
            }
            self.parts.changes.done(change);
            self.look_for_change();
        }
    }

    #[cold]
    fn pause(&mut self, paused: bool) {
        (self.paused, self.pulled) = (paused, false);
        self.parts.changes.say_paused(paused);
        self.journal_change();
    }

    /// What it changes to is control's: a journal is followed to here and no further.
    fn journal_change(&mut self) {
        self.changed_so_far += 1;
        if let Some(journal) = &mut self.parts.journal {
            journal.parameters(self.remaining, self.changed_so_far, b"");
        }
    }

    /// Paused: have what stands cancelled, in pieces. Returns the orders asked for.
    #[cold]
    fn pull(&mut self, down: &mut Down<'_, '_>) -> usize {
        self.orders.begin(&Packet { arrival_ns: self.orders.arrival_ns(), ..Packet::default() });
        self.strategy.on_stop(&mut self.orders);
        let asked = self.orders.pending().len();
        self.hand_down(down);
        self.pulled = asked == 0;
        asked
    }

    #[inline(always)]
    fn begin(&mut self, head: &Packet) {
        if head.sequence >= self.change_from {
            self.change(head.sequence);
        }
        if let Some(journal) = &mut self.parts.journal {
            journal.packet(head);
            self.whole = head.line == MAX_LINES as u8;
        }
        self.orders.begin(head);
        self.decided_before = self.decided;
        self.remaining = head.count;
        // 0 means never touched.
        self.epoch = self.epoch.wrapping_add(1).max(1);
    }

    #[inline(always)]
    fn event(&mut self, element: &Element, down: &mut Down<'_, '_>) {
        if self.whole {
            self.journal_element(element);
        }
        match element {
            Element::Status { instrument, status } => {
                self.parts.gate.status(*instrument, *status);
                self.strategy.on_status(*instrument, *status, &mut self.orders);
                self.hand_down(down);
            }
            Element::Define { .. }
            | Element::SessionStart
            | Element::Gap { .. }
            | Element::Collar { .. }
            | Element::Late
            | Element::Healed => self.rarely(element, down),
            Element::Packet(_) | Element::Named { .. } | Element::Trade { .. } => {}
            _ => {
                if let Some(instrument) = self.parts.books.apply(element) {
                    self.touch(instrument);
                }
            }
        }
        self.remaining = self.remaining.saturating_sub(1);
        if self.remaining == 0 {
            self.end_of_packet(down);
        }
    }

    /// Remember to decide on `instrument`, once a packet. Whether it is the packet's first touch is anyone's guess: no
    /// branch.
    #[inline(always)]
    fn touch(&mut self, instrument: Instrument) {
        let last = &mut self.parts.touched[instrument.0 as usize];
        if let Some(place) = self.changed.get_mut(self.changes) {
            *place = instrument;
            self.changes += usize::from(*last != self.epoch);
            *last = self.epoch;
        }
    }

    #[cold]
    #[inline(never)]
    fn journal_element(&mut self, element: &Element) {
        if let Some(journal) = &mut self.parts.journal {
            journal.element(self.remaining, element);
        }
    }

    #[cold]
    #[inline(never)]
    fn rarely(&mut self, element: &Element, down: &mut Down<'_, '_>) {
        if !self.whole && is_kept(element) {
            self.journal_element(element);
        }
        match element {
            Element::Define { instrument, symbol } => {
                let known = &mut self.known[instrument.0 as usize];
                known.symbol = *symbol;
                if let Some(listed) = self.parts.specs.iter().find(|spec| spec.symbol == *symbol) {
                    *known = *listed;
                }
                self.parts.gate.define(*instrument, *symbol, known.lot, known.tick);
                self.orders.define(*instrument, *symbol);
                self.strategy.on_instrument(*instrument, known);
            }
            Element::Collar { instrument, lower, upper } => self.parts.gate.collar(*instrument, *lower, *upper),
            Element::SessionStart => {
                self.parts.gate.session(self.orders.arrival_ns());
                self.books_lost(element, BooksLost::SessionStart, down);
            }
            Element::Gap { .. } => self.books_lost(element, BooksLost::Gap, down),
            Element::Late => self.books_lost(element, BooksLost::Late, down),
            Element::Healed => drop(self.parts.books.apply(element)),
            _ => {}
        }
    }

    #[cold]
    fn books_lost(&mut self, element: &Element, why: BooksLost, down: &mut Down<'_, '_>) {
        self.parts.books.apply(element);
        self.strategy.on_books_lost(why, &mut self.orders);
        self.hand_down(down);
    }

    #[inline]
    fn end_of_packet(&mut self, down: &mut Down<'_, '_>) {
        self.packets += 1;
        if self.parts.book_stamps.on() && self.changes > 0 {
            self.orders.booked(self.parts.book_stamps.take());
        }
        for i in 0..self.changes {
            let instrument = self.changed[i];
            let book = self.parts.books.book(instrument);
            if !book.complete() {
                continue;
            }
            self.parts.gate.prefetch(instrument);
            self.parts.states.prefetch(instrument);
            if self.paused {
                continue;
            }
            self.strategy.on_book(&book, &mut self.orders);
            self.hand_down(down);
        }
        self.changes = 0;
        self.strategy.on_packet(&mut self.orders);
        self.hand_down(down);
        self.unsampled -= 1;
        if self.unsampled == 0 {
            self.sample();
        }
    }

    /// Tell the recorder of this packet, or of the next, if this one caused an order.
    #[cold]
    #[inline(never)]
    fn sample(&mut self) {
        self.unsampled = 1;
        let Some(sampler) = self.parts.sampler.as_mut() else {
            self.unsampled = u32::MAX;
            return;
        };
        // Nor one that nobody received: what was recovered, or held too long.
        if self.decided != self.decided_before || self.orders.cause().rx_tsc == 0 {
            return;
        }
        self.unsampled = sampler.every;
        let decided_tsc = Stamps::ON.take();
        let Packet { arrival_ns, channel, rx_tsc, parsed_tsc, sequence, stamp, stamp_domain, .. } =
            *self.orders.cause();
        let Packet { burst_size, burst_position, line, waiting, .. } = *self.orders.cause();
        let book_tsc = match self.orders.book_tsc() {
            0 => decided_tsc,
            booked => booked,
        };
        sampler.outlet.push(Record {
            kind: Kind::Sampled as u8,
            venue: sampler.venue,
            occupancy: [waiting, self.orders.waiting(), 0, 0],
            channel: channel as u8,
            arrival_ns,
            stamp,
            stamp_domain,
            rx_tsc,
            parsed_tsc,
            book_tsc,
            decided_tsc,
            sequence,
            burst_size,
            burst_position,
            line,
            ..Record::default()
        });
    }

    /// After a callback: pass on what it asked for, which mostly is nothing.
    #[inline(always)]
    fn hand_down(&mut self, down: &mut Down<'_, '_>) {
        if !self.orders.pending().is_empty() {
            self.pass_on(down);
        }
    }

    /// Pass on what the last callback asked for and the gate lets through, ring the doorbell, and tell the strategy what
    /// became of it where that is known at once: a refusal, or where nobody answers, the answer that is assumed.
    #[inline(never)]
    fn pass_on(&mut self, down: &mut Down<'_, '_>) {
        let decided_tsc = self.parts.stamps.take();
        for order in self.orders.pending() {
            order.decided_tsc = decided_tsc;
            if order.book_tsc == 0 {
                // Caused by no book: a status, lost books, an order event.
                order.book_tsc = decided_tsc;
            }
            let order = *order;
            let StrategyParts { books, gate, states, out, lossless, journal, .. } = &mut self.parts;
            self.decided += 1;
            // Following a run: what the kill word was, and whether there was room, nothing else can tell.
            let told = journal.as_mut().and_then(Journal::told);
            match told {
                Some(Some(Refusal::Killed)) => drop(gate.kill().trip(KillReason::Before)),
                Some(_) => gate.kill().clear(),
                None => {}
            }
            let touch = match order.kind {
                OrderKind::Cancel => Touch::default(),
                OrderKind::Enter | OrderKind::Replace => Touch::of(&books.book(order.instrument)),
            };
            let checked = match self.paused && order.kind != OrderKind::Cancel {
                true => Err(Refusal::Paused),
                false => gate.check(&order, &touch, states),
            };
            let passed = checked.and_then(|()| {
                if told == Some(Some(Refusal::NoRoom)) {
                    return Err(Refusal::NoRoom);
                }
                if self.waiting.is_empty() && pass(out, down, &order) {
                    self.sent += 1;
                } else if *lossless && self.waiting.len() < self.waiting.capacity() {
                    self.waiting.push_back(order);
                } else {
                    return Err(Refusal::NoRoom);
                }
                Ok(())
            });
            if let Some(journal) = journal {
                journal.decision(&order, passed.err());
            }
            match passed {
                Ok(()) => {
                    self.answers.extend(states.sent(&order));
                    if order.kind != OrderKind::Cancel {
                        self.last = Some(order);
                    }
                }
                Err(refusal) => {
                    self.refused[refusal as usize] += 1;
                    self.answers.push_back(local_reject(&order, refusal));
                }
            }
        }
        self.orders.hand_on();
        down.ring_doorbell();
        while let Some(event) = self.answers.pop_front() {
            // What the strategy asks for now waits for the next packet, and is refused until then: it could go round for
            // ever.
            let StrategyStage { strategy, orders, .. } = self;
            orders.closed(|orders| strategy.on_order_event(&event, orders));
        }
    }

    /// Have the gate judge the last order once more, and nothing come of it.
    #[inline(never)]
    pub fn rehearse(&self) {
        let Some(order) = &self.last else { return };
        let StrategyParts { books, gate, states, .. } = &self.parts;
        let _ = black_box(gate.judge(order, &Touch::of(&books.book(order.instrument)), states));
    }

    #[inline]
    fn flush(&mut self, down: &mut Down<'_, '_>) -> usize {
        let mut n = 0;
        while let Some(order) = self.waiting.front() {
            if !pass(&mut self.parts.out, down, order) {
                break;
            }
            self.waiting.pop_front();
            self.sent += 1;
            n += 1;
        }
        if n > 0 {
            down.ring_doorbell();
        }
        n
    }
}

impl<S: Strategy> Account for StrategyStage<'_, S> {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "strategy", unit: "orders", count }, n);
        each(Count::In, self.decided);
        each(Count::Out, self.sent);
        for (refusal, n) in Refusal::ALL.into_iter().zip(self.refused) {
            each(Count::Dropped(refusal.name()), n);
        }
        each(Count::Held, self.waiting.len() as u64);
        for (name, n) in BECAME.into_iter().zip(self.became) {
            each(Count::Figure("became", name), n);
        }
        let states = &self.parts.states;
        let venue = states.venue();
        each(Count::Figure("orders", "open"), venue.orders.into());
        each(Count::Figure("orders", "gross"), u64::try_from(venue.gross).unwrap_or(u64::MAX));
        each(Count::Figure("orders", "late"), states.counters().late);
        each(Count::Figure("orders", "impossible"), states.counters().impossible());
        if let Some(ring) = &self.parts.out {
            each(Count::HighWater("strategy_encode"), ring.high_water() as u64);
        }
    }
}

/// A line of `--books`. Prices in 1/10,000.
#[derive(Serialize)]
struct BookLine<'a> {
    venue: &'a str,
    symbol: String,
    bids: Vec<(i64, u64)>,
    asks: Vec<(i64, u64)>,
    stale: bool,
}

/// One order to the ring, or to encode on this lcore. False when there is no room.
#[inline]
fn pass(out: &mut Option<Producer<Order>>, down: &mut Down<'_, '_>, order: &Order) -> bool {
    match out {
        Some(ring) => ring.push(*order).is_ok(),
        None => down.encode(order),
    }
}

fn local_reject(order: &Order, refusal: Refusal) -> OrderEvent {
    OrderEvent::local(order.id, order.instrument, order.side, OrderEventKind::LocalReject, refusal as u16)
}
