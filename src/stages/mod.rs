//! The five stages in packet order, the chain that fuses neighbours, and the one poll loop.
//!
//! A stage has one file, one state struct, and does a bounded amount of work a call. Two neighbours on the same lcore
//! are fused: one calls the other. On different lcores an SPSC ring lies between; the stage code is the same. A
//! [`Chain`] is a fused run of one venue's stages; an lcore polls an ordered list of them, of any venues, round robin.

mod change;
mod dock;
mod encode;
mod follow;
mod journal;
mod ledger;
mod links;
mod parse;
mod receiver;
mod rx;
mod stamp;
mod strategy;
mod tx;

pub use change::{Change, Inbox, Outbox, Trading, changes};
pub use dock::{Berth, Dock, Held, Placed};
pub use encode::{Encode, EncodeParts};
pub use follow::{Follow, FollowParts, Followed};
pub use journal::Journal;
pub use ledger::Ledger;
pub use links::{Ends, Flag, Flags, Links, Loose};
pub use parse::{Group, Listening, Parse, ParseCounters, ParseParts, Verify};
pub use receiver::{Receiver, ReceiverParts};
pub use rx::{Rx, RxParts, WhenFull};
pub use stamp::Stamps;
pub use strategy::{Sampler, StrategyParts, StrategyStage};
pub use tx::{SessionParts, Transport, Tx, TxParts};

use crate::cpu;
use crate::latency::board::{Account, Ask, Entry, LcoreBoard};
use crate::market::{Order, OrderEvent};
use crate::risk::{Kill, KillReason};
use crate::session::Trouble;
use crate::strategy::Strategy;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What an lcore does when a round of polls did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll again at once.
    Spin,
    /// One PAUSE first.
    Pause,
    /// Give the CPU away: for lcores that share one.
    Yield,
}

/// What lcores and the control thread tell each other, one for a venue. Each word on lines of its own.
#[derive(Debug, Default)]
pub struct Shared {
    intake: Padded<AtomicU8>,
    abort: Padded<AtomicBool>,
    frames: Padded<AtomicU64>,
    orders: Padded<AtomicU64>,
    cancel_all: Padded<AtomicBool>,
    session: Padded<AtomicU64>,
    numbers: Padded<[AtomicU64; 2]>,
    failed: Padded<AtomicBool>,
    deaf: Padded<AtomicBool>,
    missed: Padded<AtomicU64>,
    queries: Padded<AtomicU64>,
    misdirected: Padded<AtomicU64>,
    kill: Kill,
}

/// Rx receives,
const OPEN: u8 = 0;
/// does not for now,
const PAUSED: u8 = 1;
/// or not any more.
const CLOSED: u8 = 2;
/// What tx says of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// Orders can be sent.
    pub up: bool,
    /// Orders that may stand at the exchange.
    pub standing: u64,
    /// Why no login succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

impl SessionState {
    /// In a word, but for the numbers of a trouble.
    fn word(&self) -> u64 {
        let trouble = match self.trouble {
            None => 0,
            Some(Trouble::Refused) => 1,
            Some(Trouble::NumbersReset { .. }) => 2,
        };
        self.standing << 3 | trouble << 1 | u64::from(self.up)
    }
}

/// Two lines, because the adjacent-line prefetcher pulls pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

const _: () = assert!(size_of::<Padded<AtomicU64>>() == 128 && size_of::<Padded<AtomicU8>>() == 128);
const _: () = assert!(align_of::<Shared>() == 128 && align_of::<Flag>() == 128 && align_of::<Trading>() == 128);
const _: () = assert!(align_of::<Chain<'static, crate::strategy::Quoter>>() == 128);

impl Shared {
    /// Ask rx to receive no more; what is in flight drains.
    pub fn close_intake(&self) {
        self.intake.0.store(CLOSED, Ordering::Relaxed);
    }

    /// Ask rx to leave what comes in the port until [`Shared::resume_intake`].
    pub fn pause_intake(&self) {
        // A closed one stays closed.
        let _ = self.intake.0.compare_exchange(OPEN, PAUSED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Rx may receive again.
    pub fn resume_intake(&self) {
        let _ = self.intake.0.compare_exchange(PAUSED, OPEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Ask every lcore of the venue to return now, drained or not.
    pub fn abort(&self) {
        self.close_intake();
        self.abort.0.store(true, Ordering::Relaxed);
    }

    /// The venue's kill switch.
    pub fn kill(&self) -> &Kill {
        &self.kill
    }

    /// Ask tx to cancel what stands at the exchange.
    pub fn cancel_all(&self) {
        self.cancel_all.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since the last call.
    #[inline]
    fn cancel_asked(&self) -> bool {
        self.cancel_all.0.load(Ordering::Relaxed) && self.cancel_all.0.swap(false, Ordering::Relaxed)
    }

    /// The order session, as tx said last; down without one.
    pub fn session(&self) -> SessionState {
        let word = self.session.0.load(Ordering::Acquire);
        let [expected, found] = [0, 1].map(|at: usize| self.numbers.0[at].load(Ordering::Relaxed));
        let trouble = match word >> 1 & 3 {
            0 => None,
            1 => Some(Trouble::Refused),
            _ => Some(Trouble::NumbersReset { expected, found }),
        };
        SessionState { up: word & 1 != 0, standing: word >> 3, trouble }
    }

    #[inline]
    fn say_session(&self, state: &SessionState) {
        if let Some(Trouble::NumbersReset { expected, found }) = state.trouble {
            self.numbers.0[0].store(expected, Ordering::Relaxed);
            self.numbers.0[1].store(found, Ordering::Relaxed);
        }
        self.session.0.store(state.word(), Ordering::Release);
    }

    /// Whether one of the venue's segments panicked.
    pub fn failed(&self) -> bool {
        self.failed.0.load(Ordering::Acquire)
    }

    /// Whether strategy takes no order events: tx then drops those that find no room, rather than stop reading its port.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.0.store(deaf, Ordering::Relaxed);
    }

    #[inline]
    fn is_deaf(&self) -> bool {
        self.deaf.0.load(Ordering::Relaxed)
    }

    /// Order events that strategy will never see: it cannot be trusted with orders any more.
    pub fn missed(&self) -> u64 {
        self.missed.0.load(Ordering::Relaxed)
    }

    #[cold]
    fn count_missed(&self, n: u64) {
        self.missed.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Queries of multicast routers that were seen on a port of the venue's feed.
    pub fn queries(&self) -> u64 {
        self.queries.0.load(Ordering::Relaxed)
    }

    #[cold]
    fn count_query(&self) {
        self.queries.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames that a device was to put into another queue.
    pub fn misdirected(&self) -> u64 {
        self.misdirected.0.load(Ordering::Relaxed)
    }

    #[cold]
    fn count_misdirected(&self) {
        self.misdirected.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames that parse has finished with.
    pub fn frames(&self) -> u64 {
        self.frames.0.load(Ordering::Relaxed)
    }

    /// Order messages that tx has sent.
    pub fn orders(&self) -> u64 {
        self.orders.0.load(Ordering::Relaxed)
    }

    /// Whether the venue was told to stop before it had drained.
    pub fn aborted(&self) -> bool {
        self.abort.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn intake_closed(&self) -> bool {
        self.intake.0.load(Ordering::Relaxed) == CLOSED
    }

    #[inline]
    fn intake_open(&self) -> bool {
        self.intake.0.load(Ordering::Relaxed) == OPEN
    }

    // Each counter has one writer, so a load and a store suffice.
    #[inline]
    fn count_frames(&self, n: u64) {
        self.frames.0.store(self.frames.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    #[inline]
    fn count_orders(&self, n: u64) {
        self.orders.0.store(self.orders.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }
}

/// What lies below strategy on the same lcore.
pub struct Down<'a, 'm> {
    encode: Option<&'a mut Encode<'m>>,
    tx: Option<&'a mut Tx>,
}

impl Down<'_, '_> {
    /// Nothing: an order finds no room. For benches and tests of what lies above.
    pub const fn none() -> Self {
        Down { encode: None, tx: None }
    }

    #[inline]
    fn encode(&mut self, order: &Order) -> bool {
        match &mut self.encode {
            Some(encode) => encode.encode(order, self.tx.as_deref_mut()),
            None => false,
        }
    }

    /// What tx on this lcore has to say to strategy.
    #[inline]
    fn event(&mut self) -> Option<OrderEvent> {
        self.tx.as_mut().and_then(|tx| tx.event())
    }

    #[inline]
    fn ring_doorbell(&mut self) {
        if let (Some(_), Some(tx)) = (&self.encode, &mut self.tx) {
            tx.doorbell();
        }
    }
}

/// What an lcore polls: one indirect call a segment a round.
pub trait Segment<'m>: Send + Account {
    /// Do a bounded amount of work; 0 when there was none.
    fn poll(&mut self) -> usize;

    /// Called after some idle rounds: go through what an order goes through with the last one, and let nothing come of it. Orders are
    /// rare, so what only they use would be in no cache when one is decided.
    fn rehearse(&mut self) {}

    /// Called after an idle round: true once nothing can come any more and nothing is held.
    fn is_drained(&mut self) -> bool;

    /// Told to return undrained.
    fn is_aborted(&self) -> bool;

    /// It panicked: its venue's kill switch is tripped, and from now on it polls tx alone, if it has one, which cancels
    /// what stands. False when it had failed before: nothing more can be done with it.
    fn fail(&mut self) -> bool;

    /// Add what this segment's stages counted.
    fn report(&self, into: &mut crate::pipeline::report::VenueReport);

    /// Finish the ports: writers joined, files complete.
    ///
    /// # Errors
    /// A port's output could not be completed.
    fn finish(self: Box<Self>) -> Result<(), crate::port::capture::CaptureError>;

    /// Nothing is between its stages, and nothing waits to leave its last one but frames that the order port did not
    /// take: it can be taken apart.
    fn is_settled(&self) -> bool;

    /// Exchange the ends of rings that its stages have for those in `links`.
    fn swap_ends(&mut self, links: &mut Links);

    /// Give up every stage but the strategy.
    fn take_apart(&mut self) -> Loose<'m>;

    /// Whether the strategy is here.
    fn has_strategy(&self) -> bool;

    /// Take these stages beside the strategy.
    fn fit(&mut self, stages: Loose<'m>, flags: Flags);

    /// A segment of these stages, of the same venue, without the strategy.
    fn beside(&self, stages: Loose<'m>, flags: Flags) -> Box<dyn Segment<'m> + 'm>;
}

/// A fused run of one venue's stages: a contiguous part of rx → parse → strategy → encode → tx. On lines of its own.
#[repr(align(128))]
pub struct Chain<'m, S> {
    /// Frames in.
    pub rx: Option<Rx>,
    /// Frames to elements.
    pub parse: Option<Parse<'m>>,
    /// Elements to orders.
    pub strategy: Option<StrategyStage<'m, S>>,
    /// Orders to frames.
    pub encode: Option<Encode<'m>>,
    /// Frames out.
    pub tx: Option<Tx>,
    /// Nothing comes any more, nothing is left.
    pub flags: Flags,
    /// Control.
    pub shared: Arc<Shared>,
    /// It panicked, and polls tx alone.
    pub failed: bool,
}

impl<'m, S: Strategy> Segment<'m> for Chain<'m, S> {
    #[inline]
    fn poll(&mut self) -> usize {
        if self.failed {
            return self.tx.as_mut().map_or(0, Tx::poll);
        }
        // Tail first, so that what waits for room gets it before more comes.
        let Chain { rx, parse, strategy, encode, tx, .. } = self;
        let mut work = 0;
        if let Some(tx) = tx {
            work += tx.poll();
        }
        if let Some(encode) = encode {
            work += encode.poll(tx.as_mut());
        }
        let mut down = Down { encode: encode.as_mut(), tx: tx.as_mut() };
        if let Some(strategy) = strategy {
            work += strategy.poll(&mut down);
        }
        match (parse, strategy) {
            (Some(parse), Some(strategy)) => {
                work += parse.take(rx.as_mut());
                work += parse.decode(|instrument, order| strategy.prefetch(instrument, order));
                let n = strategy.apply(parse.window().rest(), &mut down);
                parse.window().take(n);
                parse.release();
                work + n
            }
            (Some(parse), None) => {
                work += parse.take(rx.as_mut());
                work += parse.decode(|_, _| {});
                work += parse.push();
                parse.release();
                work
            }
            (None, Some(strategy)) => work + strategy.take(&mut down),
            (None, None) => work + rx.as_mut().map_or(0, Rx::poll),
        }
    }

    fn rehearse(&mut self) {
        let Chain { strategy, encode, tx, failed: false, .. } = self else { return };
        if let Some(strategy) = strategy {
            strategy.rehearse();
        }
        if let Some(encode) = encode {
            encode.rehearse(tx.as_mut());
        }
    }

    fn is_drained(&mut self) -> bool {
        if self.failed {
            let done = self.tx.as_mut().is_none_or(|tx| tx.is_idle() && tx.close());
            self.flags.drained.store(done, Ordering::Release);
            return done;
        }
        // Upstream's flag is read before the rings are looked at: what it pushed before the flag is then visible.
        let closed = match &self.flags.upstream {
            Some(flag) => flag.load(Ordering::Acquire),
            None => self.rx.as_mut().is_none_or(Rx::finished),
        };
        if closed && let Some(parse) = &mut self.parse {
            parse.upstream_ended();
        }
        let idle = closed
            && self.parse.as_ref().is_none_or(Parse::is_idle)
            && self.strategy.as_ref().is_none_or(StrategyStage::is_idle)
            && self.encode.as_ref().is_none_or(Encode::is_idle)
            && self.tx.as_ref().is_none_or(Tx::is_idle);
        if !idle {
            return false;
        }
        if let Some(strategy) = &mut self.strategy
            && !strategy.close(&mut Down { encode: self.encode.as_mut(), tx: self.tx.as_mut() })
        {
            return false;
        }
        if self.tx.as_mut().is_some_and(|tx| !tx.close()) {
            return false;
        }
        self.flags.drained.store(true, Ordering::Release);
        true
    }

    fn is_aborted(&self) -> bool {
        self.shared.aborted()
    }

    fn fail(&mut self) -> bool {
        self.shared.kill().trip(KillReason::LcorePanic);
        if self.strategy.is_some() {
            self.shared.set_deaf(true);
        }
        self.shared.failed.0.store(true, Ordering::Release);
        if self.failed {
            // Nobody is to wait for it.
            self.flags.drained.store(true, Ordering::Release);
        }
        !std::mem::replace(&mut self.failed, true)
    }

    fn report(&self, into: &mut crate::pipeline::report::VenueReport) {
        if let Some(rx) = &self.rx {
            into.rx(rx);
        }
        if let Some(parse) = &self.parse {
            into.parse(parse);
        }
        if let Some(strategy) = &self.strategy {
            into.strategy(strategy);
        }
        if let Some(encode) = &self.encode {
            into.encode(encode);
        }
        if let Some(tx) = &self.tx {
            into.tx(tx);
        }
    }

    fn finish(self: Box<Self>) -> Result<(), crate::port::capture::CaptureError> {
        // The sink first: an error of the source's end must not leave the output half-written.
        if let Some(tx) = self.tx {
            tx.into_port().finish()?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.parse.as_ref().is_none_or(Parse::is_settled)
            && self.strategy.as_ref().is_none_or(StrategyStage::is_idle)
            && self.encode.as_ref().is_none_or(Encode::is_idle)
            && self.tx.as_ref().is_none_or(Tx::is_settled)
    }

    fn swap_ends(&mut self, links: &mut Links) {
        let Chain { rx, parse, strategy, encode, tx, .. } = self;
        if let Some(rx) = rx {
            rx.swap_ends(links);
        }
        if let Some(parse) = parse {
            parse.swap_ends(links);
        }
        if let Some(strategy) = strategy {
            strategy.swap_ends(links);
        }
        if let Some(encode) = encode {
            encode.swap_ends(links);
        }
        if let Some(tx) = tx {
            tx.swap_ends(links);
        }
    }

    fn take_apart(&mut self) -> Loose<'m> {
        Loose { rx: self.rx.take(), parse: self.parse.take(), encode: self.encode.take(), tx: self.tx.take() }
    }

    fn has_strategy(&self) -> bool {
        self.strategy.is_some()
    }

    fn fit(&mut self, stages: Loose<'m>, flags: Flags) {
        let Loose { rx, parse, encode, tx } = stages;
        (self.rx, self.parse, self.encode, self.tx, self.flags) = (rx, parse, encode, tx, flags);
    }

    fn beside(&self, stages: Loose<'m>, flags: Flags) -> Box<dyn Segment<'m> + 'm> {
        let Loose { rx, parse, encode, tx } = stages;
        let shared = self.shared.clone();
        Box::new(Chain::<'m, S> { rx, parse, strategy: None, encode, tx, flags, shared, failed: false })
    }
}

impl<S: Strategy> Account for Chain<'_, S> {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let Chain { rx, parse, strategy, encode, tx, .. } = self;
        let stages: [Option<&dyn Account>; 5] = [
            rx.as_ref().map(|s| s as _),
            parse.as_ref().map(|s| s as _),
            strategy.as_ref().map(|s| s as _),
            encode.as_ref().map(|s| s as _),
            tx.as_ref().map(|s| s as _),
        ];
        stages.into_iter().flatten().for_each(|stage| stage.account(each));
    }
}

/// The poll loop of one lcore. Polls what lies in its dock round robin, receivers first; a round that did nothing is followed by the idle
/// policy. A segment that is told to abort is polled no more. Returns when the others have drained, or none is there.
/// Makes no system call unless the policy is [`Idle::Yield`], and allocates nothing.
///
/// # Panics
/// With the panic of a segment, after everything is over: until then the others go on, and what is left of that one
/// cancels what stands.
pub fn run(dock: &Dock<'_>, ask: &Ask, board: &LcoreBoard) {
    // An lcore that is launched again counts on.
    let (polls, empty) = board.polls();
    let mut round = Round { polls, empty, ..Round::default() };
    let mut panicked = None;
    loop {
        let mut berth = dock.enter();
        berth.asleep = false;
        berth.left.drain(..).for_each(|pool| pool.flush());
        match catch_unwind(AssertUnwindSafe(|| rounds(dock, &mut berth, &mut round, ask, board))) {
            Ok(Left::Wanted) => {}
            Ok(Left::Ended) => {
                board.end();
                berth.asleep = true;
                break;
            }
            // What a panic left half done is never polled again, except tx.
            Err(panic) => {
                match berth.placed.get_mut(round.at) {
                    Some(placed) => placed.over = !placed.segment.fail(),
                    None => berth.receivers.iter_mut().for_each(Receiver::fail),
                }
                panicked.get_or_insert(panic);
            }
        }
    }
    if let Some(panic) = panicked {
        resume_unwind(panic);
    }
}

/// Where an lcore's loop is.
#[derive(Default)]
struct Round {
    /// The segment whose turn it is; [`RECEIVERS`] while that is a receiver.
    at: usize,
    turn: u64,
    polls: u64,
    empty: u64,
}

/// Idle rounds between two rehearsals: some 10 us.
const REHEARSAL: u64 = 256;

/// No segment's place.
const RECEIVERS: usize = usize::MAX;

/// Why an lcore leaves its dock.
enum Left {
    /// Control wants it.
    Wanted,
    /// There is nothing more to do.
    Ended,
}

/// See [`run`].
fn rounds(dock: &Dock<'_>, berth: &mut Berth<'_>, round: &mut Round, ask: &Ask, board: &LcoreBoard) -> Left {
    let publish = |placed: &[Placed<'_>], round: &Round| {
        board.publish(round.polls, round.empty);
        for Placed { segment, board, .. } in placed {
            // Through the box: the segment itself is what the board was made for.
            board.publish(&**segment);
        }
    };
    while !dock.is_wanted() {
        let now = ask.turn();
        if now != round.turn {
            round.turn = now;
            publish(&berth.placed, round);
        }
        round.polls += 1;
        board.beat(round.polls);
        let mut work = 0;
        for receiver in &mut berth.receivers {
            round.at = RECEIVERS;
            work += receiver.poll();
        }
        for (at, placed) in berth.placed.iter_mut().enumerate() {
            placed.over |= placed.segment.is_aborted();
            if !placed.over {
                round.at = at;
                work += placed.segment.poll();
            }
        }
        if work > 0 {
            continue;
        }
        round.empty += 1;
        let mut drained = berth.receivers.iter_mut().all(Receiver::has_ended);
        for (at, placed) in berth.placed.iter_mut().enumerate().filter(|(_, placed)| !placed.over) {
            round.at = at;
            drained &= placed.segment.is_drained();
        }
        if drained {
            publish(&berth.placed, round);
            return Left::Ended;
        }
        if round.empty.is_multiple_of(REHEARSAL) && berth.idle != Idle::Yield {
            for (at, placed) in berth.placed.iter_mut().enumerate().filter(|(_, placed)| !placed.over) {
                round.at = at;
                placed.segment.rehearse();
            }
        }
        match berth.idle {
            Idle::Spin => {}
            Idle::Pause => cpu::pause(),
            Idle::Yield => std::thread::yield_now(),
        }
    }
    publish(&berth.placed, round);
    Left::Wanted
}
