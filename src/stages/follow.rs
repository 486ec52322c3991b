//! A journal in place of rx and parse: strategy is told what the journal's run was told, in the same order, and every
//! decision is held against that run's.
//!
//! In: the entries of one venue, and the messages of its feed from captures. Out: the same orders, by the same stages, or
//! the first difference. Goes on only while everything was the same: what comes behind a difference proves nothing. The
//! last input of a journal that does not end in order is left out, because its outcome may be missing.

use super::{Chain, Down, Flags, Links, Loose, Segment, StrategyStage};
use crate::feed::{Feed, MAX_LINES, Window};
use crate::journal::{self, Decision, End, Entries, Entry, Head, Item, Messages, Slot};
use crate::latency::board::{Account, Entry as Counted};
use crate::market::{Element, Packet};
use crate::strategy::Strategy;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;

/// Inputs handed to strategy a poll.
const STEPS: usize = 64;

/// What a journal is followed by.
pub struct FollowParts<'m> {
    /// The journal's entries of the venue.
    pub entries: Entries,
    /// The feed, as far as lines brought it.
    pub messages: Messages,
    /// Its decoder. Judges no sequence: the journal knows what was taken.
    pub feed: Feed<'m>,
    /// End behind this order, and show it.
    pub until: Option<u64>,
    /// What is not as it was in the journal's run, told beside a difference.
    pub changed: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Followed {
    /// Packets that strategy took.
    pub packets: u64,
    /// Order events, fills included.
    pub order_events: u64,
    /// Orders it asked for, refused ones included: each of them as in the journal's run.
    pub orders: u64,
    /// The first difference; `None` when everything was the same.
    pub difference: Option<String>,
    /// How the journal ends; `None` when it was not followed to its end.
    pub end: Option<String>,
    /// The order asked for and what it came from, a line each.
    pub shown: Vec<String>,
    /// What the captures had wrong, and what has changed since the journal's run.
    pub warnings: Vec<String>,
}

/// Why it does not go on.
enum Halt {
    /// The journal is at its end, or the order asked for was shown.
    Done,
    /// Something is not the same.
    Differs(String),
}

/// The stage.
pub struct Follow<'m, S> {
    chain: Chain<'m, S>,
    source: Source<'m>,
}

/// Everything but the stages below.
struct Source<'m> {
    parts: FollowParts<'m>,
    window: Window,
    /// The entry after those of this step.
    next: Option<Entry>,
    begun: bool,
    /// The journal's entries of this step: an input, and what came of it.
    recorded: Vec<Slot>,
    again: Vec<Slot>,
    head: Head,
    /// Elements of the packet that strategy has been handed.
    at: u16,
    /// The next message that may belong to it.
    sequence: u64,
    /// Elements that the journal has, by their place in the packet.
    kept: VecDeque<(u16, Element)>,
    decoded: VecDeque<Element>,
    batch: Vec<Element>,
    applied: usize,
    halted: bool,
    followed: Followed,
}

impl<'m, S: Strategy> Follow<'m, S> {
    /// Over a chain of strategy, encode and tx, whose strategy keeps its journal.
    pub fn new(chain: Chain<'m, S>, parts: FollowParts<'m>) -> Self {
        let followed = Followed { warnings: parts.changed.clone(), ..Followed::default() };
        let head = Head { whole: false, session: 0, count: 0, channel: 0, sequence: 0, arrival_ns: 0 };
        let source = Source {
            parts,
            window: Window::new(0),
            next: None,
            begun: false,
            recorded: Vec::new(),
            again: Vec::new(),
            head,
            at: 0,
            sequence: 0,
            kept: VecDeque::new(),
            decoded: VecDeque::new(),
            batch: Vec::new(),
            applied: 0,
            halted: false,
            followed,
        };
        Follow { chain, source }
    }
}

impl Source<'_> {
    /// Hand the next input to strategy, once it has applied all of the last. Returns whether there may be another.
    fn step<S: Strategy>(&mut self, strategy: &mut StrategyStage<'_, S>, down: &mut Down<'_, '_>) -> bool {
        match self.advance(strategy, down) {
            Ok(()) => true,
            Err(halt) => {
                self.halted = true;
                if let Halt::Differs(difference) = halt {
                    self.followed.difference = Some(difference);
                }
                if let (Some(id), true) = (self.parts.until, self.followed.shown.is_empty() && self.followed.is_same())
                {
                    self.followed.shown.push(format!("order {id} is not in the journal of this venue"));
                }
                self.followed.warnings.extend(self.parts.messages.warnings().iter().cloned());
                false
            }
        }
    }

    fn advance<S: Strategy>(
        &mut self,
        strategy: &mut StrategyStage<'_, S>,
        down: &mut Down<'_, '_>,
    ) -> Result<(), Halt> {
        self.compare(strategy)?;
        let (input, verdicts) = self.read()?;
        if let Some(journal) = strategy.journal() {
            journal.tell(verdicts.into_iter());
        }
        match &input {
            Item::Packet(head) => self.open(head)?,
            Item::Event(_, event) => strategy.order_event(event, down),
            Item::Stop => drop(strategy.stop(down)),
            Item::Parameters(_, piece) => {
                let why = "before a reload, a pause or a resumption, which no journal can do again";
                self.followed.end = Some(format!("{why} (change {})", piece.number));
                return Err(Halt::Done);
            }
            // `read` stops before an input.
            Item::Element(..) | Item::Order(_) => {}
        }
        let next = self.next.as_deref().and_then(Item::of);
        let left = next.map_or(0, |next| next.remaining());
        while self.at < self.head.count.saturating_sub(left) {
            let element = self.element()?;
            self.batch.push(element);
            self.at += 1;
        }
        Ok(())
    }

    /// The next input and what became of the orders after it. Everything up to the input behind it is read.
    fn read(&mut self) -> Result<(Item, Vec<Option<crate::market::Refusal>>), Halt> {
        if !self.begun {
            self.begun = true;
            self.next = self.entry()?;
        }
        let input = self.next.take().ok_or(Halt::Done)?;
        let unreadable = || Halt::Differs("the journal holds an entry that this program does not know".to_owned());
        let item = Item::of(&input).filter(Item::is_input).ok_or_else(unreadable)?;
        self.recorded.clear();
        self.recorded.extend(input);
        let count = match &item {
            Item::Packet(head) => head.count,
            _ => self.head.count,
        };
        let mut verdicts = Vec::new();
        loop {
            let Some(entry) = self.entry()? else {
                // Its outcome may be missing.
                let whole = self.parts.entries.end() == Some(&End::InOrder);
                return if whole { Ok((item, verdicts)) } else { Err(Halt::Done) };
            };
            match Item::of(&entry).ok_or_else(unreadable)? {
                Item::Element(remaining, element) => self.kept.push_back((count.saturating_sub(remaining), element)),
                Item::Order(Decision { refused, .. }) => verdicts.push(refused),
                _ => {
                    self.next = Some(entry);
                    return Ok((item, verdicts));
                }
            }
            self.recorded.extend(entry);
        }
    }

    fn entry(&mut self) -> Result<Option<Entry>, Halt> {
        let entry = self.parts.entries.next().map_err(|err| Halt::Differs(err.to_string()))?;
        if entry.is_none() {
            self.followed.end = Some(match self.parts.entries.end() {
                Some(End::InOrder) | None => "as the run did, in order".to_owned(),
                Some(End::Unfinished) => "where the run was killed, or is still going".to_owned(),
                Some(End::Broken(why)) => format!("before the run did: {why}"),
            });
        }
        Ok(entry)
    }

    /// A packet begins.
    fn open(&mut self, head: &Head) -> Result<(), Halt> {
        if self.at != self.head.count || !self.decoded.is_empty() {
            let Head { channel, sequence, .. } = self.head;
            return Err(Halt::Differs(format!(
                "the capture says more in the packet of message {sequence} of channel {channel} than the run was told"
            )));
        }
        (self.head, self.at, self.sequence) = (*head, 0, head.sequence);
        self.batch.push(Element::Packet(Packet {
            arrival_ns: head.arrival_ns,
            channel: head.channel.into(),
            count: head.count,
            sequence: head.sequence,
            session: head.session,
            line: if head.whole { MAX_LINES as u8 } else { 0 },
            ..Packet::default()
        }));
        Ok(())
    }

    /// The next element of the packet: from the journal, or from the capture.
    fn element(&mut self) -> Result<Element, Halt> {
        let Head { whole, session, channel, .. } = self.head;
        if let Some((_, element)) = self.kept.pop_front_if(|(at, _)| *at == self.at) {
            self.parts.feed.learn(&element);
            return Ok(element);
        }
        if whole {
            return Err(Halt::Differs("an event of a packet that no line brought is not in the journal".to_owned()));
        }
        loop {
            if let Some(element) = self.decoded.pop_front() {
                return Ok(element);
            }
            let sequence = self.sequence;
            let Some(message) = self.parts.messages.find(channel, session, sequence) else {
                return Err(Halt::Differs(format!(
                    "message {sequence} of channel {channel} is in no capture; give those of every line, from the beginning \
                     of the run to its end"
                )));
            };
            self.parts.feed.message(message, &mut self.window);
            self.sequence += 1;
            let told = self.window.rest();
            self.decoded.extend(told.iter().filter(|element| !journal::is_kept(element)));
            let n = told.len();
            self.window.take(n);
        }
    }

    /// Hold what strategy made of the last input against the journal.
    fn compare<S: Strategy>(&mut self, strategy: &mut StrategyStage<'_, S>) -> Result<(), Halt> {
        self.batch.clear();
        self.applied = 0;
        let Source { recorded, again, .. } = self;
        again.clear();
        if let Some(journal) = strategy.journal() {
            journal.take(again);
        }
        if again != recorded {
            return Err(Halt::Differs(self.difference()));
        }
        let mut shown = None;
        for entry in cut(&self.recorded) {
            match entry[0][0] & 0xff {
                journal::PACKET => self.followed.packets += 1,
                journal::EVENT => self.followed.order_events += 1,
                journal::ORDER => {
                    self.followed.orders += 1;
                    if self.parts.until == Some(entry[0][1]) {
                        shown = Item::of(entry);
                    }
                }
                _ => {}
            }
        }
        let Some(Item::Order(decision)) = shown else { return Ok(()) };
        let input = self.recorded.first().and_then(|first| Item::of(&self.recorded[..journal::slots(first)?]));
        self.followed.shown = vec![decision.to_string()];
        self.followed.shown.extend(input.map(|input| format!("decided on {input}")));
        let book = strategy.books().book(decision.instrument);
        let best = |levels: crate::book::Levels<'_>| -> String {
            let some: Vec<String> =
                levels.take(3).map(|level| format!("{} @ {:.4}", level.qty, level.price.0 as f64 / 1e4)).collect();
            if some.is_empty() { "nothing".to_owned() } else { some.join(", ") }
        };
        self.followed.shown.push(format!("bids {}; asks {}", best(book.bids()), best(book.asks())));
        Err(Halt::Done)
    }

    /// The first entry that is not the same, in words.
    fn difference(&self) -> String {
        let (recorded, again): (Vec<_>, Vec<_>) = (cut(&self.recorded).collect(), cut(&self.again).collect());
        let at = recorded.iter().zip(&again).take_while(|(a, b)| a == b).count();
        let said = |entries: &[&[Slot]]| {
            let item = entries.get(at).map(|entry| Item::of(entry));
            item.map_or("nothing".to_owned(), |item| item.map_or("nonsense".to_owned(), |item| item.to_string()))
        };
        let after = recorded.first().and_then(|entry| Item::of(entry));
        let after = after.map_or(String::new(), |input| format!(", on {input}"));
        format!("after {} orders{after}: the run has {}; now {}", self.followed.orders, said(&recorded), said(&again))
    }
}

/// Slots as entries.
fn cut(slots: &[Slot]) -> impl Iterator<Item = &[Slot]> {
    let mut rest = slots;
    std::iter::from_fn(move || {
        let length = journal::slots(rest.first()?)?.min(rest.len());
        let (entry, behind) = rest.split_at(length);
        rest = behind;
        Some(entry)
    })
}

impl<'m, S: Strategy> Segment<'m> for Follow<'m, S> {
    fn poll(&mut self) -> usize {
        if self.chain.failed {
            return self.chain.poll();
        }
        let Follow { chain: Chain { strategy, encode, tx, shared, .. }, source } = self;
        let Some(strategy) = strategy else { return 0 };
        let mut work = tx.as_mut().map_or(0, |tx| tx.poll());
        let mut down = Down { encode: encode.as_mut(), tx: tx.as_mut() };
        work += strategy.poll(&mut down);
        for _ in 0..STEPS {
            if source.applied < source.batch.len() {
                let n = strategy.apply(&source.batch[source.applied..], &mut down);
                source.applied += n;
                work += n;
            }
            if source.halted || source.applied < source.batch.len() || !strategy.is_clear() {
                break;
            }
            if shared.intake_closed() || !source.step(strategy, &mut down) {
                source.halted = true;
                break;
            }
            shared.count_frames(1);
            work += 1;
        }
        work
    }

    fn is_drained(&mut self) -> bool {
        if self.chain.failed {
            return self.chain.is_drained();
        }
        let Chain { strategy, encode, tx, .. } = &self.chain;
        let idle = self.source.halted
            && strategy.as_ref().is_none_or(StrategyStage::is_idle)
            && encode.as_ref().is_none_or(super::Encode::is_idle)
            && tx.as_ref().is_none_or(super::Tx::is_idle);
        self.chain.flags.drained.store(idle, Ordering::Release);
        idle
    }

    fn fail(&mut self) -> bool {
        self.source.halted = true;
        self.chain.fail()
    }

    fn is_aborted(&self) -> bool {
        self.chain.is_aborted()
    }

    fn report(&self, into: &mut crate::pipeline::report::VenueReport) {
        into.followed(&self.source.followed, self.chain.strategy.as_ref().map_or(0, StrategyStage::packets));
        self.chain.report(into);
    }

    // A journal is followed where it began: nothing moves.

    fn is_settled(&self) -> bool {
        false
    }

    fn swap_ends(&mut self, _: &mut Links) {}

    fn take_apart(&mut self) -> Loose<'m> {
        Loose::default()
    }

    fn has_strategy(&self) -> bool {
        true
    }

    fn fit(&mut self, _: Loose<'m>, _: Flags) {}

    fn beside(&self, stages: Loose<'m>, flags: Flags) -> Box<dyn Segment<'m> + 'm> {
        self.chain.beside(stages, flags)
    }

    fn finish(self: Box<Self>) -> Result<(), crate::port::capture::CaptureError> {
        Box::new(self.chain).finish()
    }
}

impl<S: Strategy> Account for Follow<'_, S> {
    fn account(&self, each: &mut dyn FnMut(Counted, u64)) {
        self.chain.account(each);
    }
}

impl Followed {
    /// Nothing was different.
    pub fn is_same(&self) -> bool {
        self.difference.is_none()
    }
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Followed { packets, order_events, orders, difference, end, shown, .. } = self;
        match difference {
            None => writeln!(
                f,
                "  journal   {packets} packets, {order_events} order events, {orders} orders, all identical"
            )?,
            Some(difference) => writeln!(f, "  journal   NOT THE SAME {difference}")?,
        }
        if let (Some(end), None) = (end, difference) {
            writeln!(f, "  journal   ends {end}")?;
        }
        shown.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
