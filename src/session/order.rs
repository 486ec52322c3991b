//! The order session as tx owns it: connection, login, heartbeats, the list of orders that may stand, and what the
//! exchange answers.
//!
//! In: finished messages, frames from the order port, the TSC. Out: frames to send, order events. Comes back by itself
//! after a break, with the next expected sequence number, so that no response is lost. Nothing here waits, allocates or
//! makes a system call after [`OrderSession::new`].

use super::client::{Broken, Client, Credentials, Happening, LONGEST_SENT, Phase, Received, Silences, WallClock};
use super::link::{Link, LinkConfig};
use super::live::{Live, LiveOrder};
use super::ouch::{self, MOST_EVENTS, Response};
use super::protocol::Protocol;
use crate::market::{Order, OrderEvent, OrderEventKind, OrderKind, Refusal};
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What is spoken.
    pub protocol: Protocol,
    /// What carries it.
    pub link: LinkConfig,
    /// Who logs in.
    pub credentials: Credentials,
    /// Silences, in ns.
    pub silences_ns: Silences,
    /// Between attempts to connect, in ns.
    pub retry_ns: u64,
    /// Most orders that may stand.
    pub open_orders: usize,
    /// Orders are for instruments from 0 up to this.
    pub instruments: u32,
    /// ns since 1970 when the session is made.
    pub epoch_ns: u64,
    /// Rate of the TSC.
    pub tsc_hz: f64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a session counts.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct SessionCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl SessionCounters {
            /// Each counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Logins that were accepted.
    logins,
    /// Logins that were refused.
    logins_refused,
    /// Connections that ended without a logout.
    connections_lost,
    /// Of those: the server had been silent for too long.
    silent_server,
    /// Of those: what the server sent was no packet of the protocol, or not the one that came next.
    broken_stream,
    /// Of those: it was one that had come already: the exchange numbers its responses anew.
    numbers_reset,
    /// Heartbeats sent.
    heartbeats,
    /// Responses about orders.
    responses,
    /// Responses that no order here takes: it is not known, or an execution of it was undone or corrected (FIX).
    unknown_orders,
    /// Of those: about executions.
    unknown_executions,
    /// Messages that are none of the protocol.
    malformed,
    /// Messages about no order.
    other_messages,
    /// Orders, and cancels, that the exchange never had: a lost connection took them with it.
    lost_on_the_way,
    /// Orders, and cancels, that were not answered for as long as the exchange may be silent.
    unanswered,
    /// Orders refused because the session was down.
    refused_down,
    /// Orders refused because the list of orders or the connection's buffer was full.
    refused_full,
    /// Orders cancelled from the list without strategy.
    swept,
}

/// How an order leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The frame is finished and may be sent.
    Ahead,
    /// The stack has its bytes: [`OrderSession::flush`] sends them; the frame is not needed.
    Stack,
    /// It does not.
    Refused(Refusal),
}

/// Why no login succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The exchange refuses it.
    Refused,
    /// The exchange numbers its responses anew.
    NumbersReset {
        /// What came next.
        expected: u64,
        /// What came.
        found: u64,
    },
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused => f.write_str(
                "the exchange refuses the login, which is tried again ten times as seldom: look at who logs in, and \
                 whether the exchange still has this session and what it said in it",
            ),
            Trouble::NumbersReset { expected, found } => write!(
                f,
                "the exchange numbers its responses from {found} on, and {expected} is expected: what it said in between \
                 cannot be had, so no order is sent; ask it which orders stand and what was executed, then start this run again"
            ),
        }
    }
}

/// One event, and whether it answers something that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What became of an order.
    pub event: OrderEvent,
    /// Round trips end with it.
    pub answer: bool,
}

/// The session.
#[derive(Debug)]
pub struct OrderSession {
    link: Link,
    client: Client,
    live: Live,
    /// What of the stream has arrived and is no whole packet yet.
    stream: Box<[u8; STREAM]>,
    filled: usize,
    began: u64,
    ticks_a_us: f64,
    /// When the timers are looked at again.
    due: u64,
    period: u64,
    retry: u64,
    retry_at: u64,
    /// When refused cancels were forgotten last.
    retried_at: u64,
    /// When the present connection was asked for.
    asked_at: u64,
    patience: u64,
    closing: Closing,
    trouble: Option<Trouble>,
    doubt: Doubt,
    /// What was sent and perhaps not answered, oldest first; bounded: beyond that it is not watched.
    waiting: VecDeque<Waiting>,
    counters: SessionCounters,
}

/// A message whose answer is waited for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The order,
    id: u64,
    /// and whether it was its cancel.
    cancel: bool,
    /// TSC when it was sent.
    sent_at: u64,
}

/// Orders that lost connections left in doubt: the exchange may not have them, or not their cancels.
#[derive(Clone, Debug, Default)]
struct Doubt {
    /// The greatest id when each question was asked that is not answered yet, oldest first. An answer may be to an earlier
    /// question than the latest, so it settles the oldest; while that leaves anything in doubt, another question is asked.
    bounds: ArrayVec<u64, 16>,
    /// Being settled: up to this id, from this slot of the list on.
    settling: Option<(u64, usize)>,
    /// Of those, the messages with these numbers were not received; of others a refusal may be lost.
    lost: Lost,
}

/// See [`Received`].
#[derive(Clone, Copy, Debug)]
struct Lost {
    first: u32,
    last: u32,
    refusals_too: bool,
}

/// Where everything that was received has been answered.
const UNANSWERED: Lost = Lost { first: 0, last: u32::MAX, refusals_too: false };

impl Default for Lost {
    fn default() -> Lost {
        UNANSWERED
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Not.
    No,
    /// Once nothing stands.
    Wanted,
    /// The logout has left.
    LoggedOut,
    /// Done.
    Closed,
}

/// Bytes of the stream looked at together: several of the longest packets.
const STREAM: usize = 8192;
/// Times the usual wait before a login that can hardly succeed.
const SELDOM: u64 = 10;
/// How often timers are looked at, in ns.
const PERIOD_NS: f64 = 200_000.0;

impl OrderSession {
    /// A session that is down; `now` is the TSC. Allocates; nothing after this does.
    pub fn new(config: &SessionConfig, now: u64) -> OrderSession {
        let ticks = |ns: u64| (ns as f64 * config.tsc_hz / 1e9) as u64;
        let silences = Silences { ours: ticks(config.silences_ns.ours), theirs: ticks(config.silences_ns.theirs) };
        let clock = WallClock { at: now, epoch_ns: config.epoch_ns, hz: config.tsc_hz };
        OrderSession {
            link: Link::new(config.link),
            client: Client::new(&config.protocol, config.credentials.clone(), silences, config.instruments, clock),
            live: Live::new(config.open_orders),
            stream: Box::new([0; STREAM]),
            filled: 0,
            began: now,
            ticks_a_us: config.tsc_hz / 1e6,
            due: now,
            period: (PERIOD_NS * config.tsc_hz / 1e9) as u64,
            retry: ticks(config.retry_ns),
            retry_at: now,
            retried_at: now,
            asked_at: now,
            patience: silences.theirs,
            closing: Closing::No,
            trouble: None,
            doubt: Doubt::default(),
            waiting: VecDeque::with_capacity(config.open_orders),
            counters: SessionCounters::default(),
        }
    }

    /// Whether orders can be sent.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.client.phase() == Phase::Up
    }

    /// Whether its frames have to leave in the order in which they were made, because the other end does not restore it.
    #[inline]
    pub fn keeps_no_order(&self) -> bool {
        self.link.keeps_no_order()
    }

    /// What the stack has to send, and what time asks for: connect, log in, heartbeats. `emit` gets the frames.
    #[inline]
    pub fn poll(&mut self, now: u64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        if now >= self.due {
            self.due = now + self.period;
            self.housekeep(now);
            self.flush(now, emit);
        } else if self.link.is_behind() {
            self.flush(now, emit);
        }
    }

    /// A frame from the order port.
    pub fn receive(&mut self, frame: &[u8], now: u64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        let now = self.micros(now);
        self.link.receive(frame, now, emit);
    }

    /// What has arrived, as far as there is room for `room` events.
    pub fn read(&mut self, rx_tsc: u64, mut room: usize, mut tell: impl FnMut(Answered)) {
        loop {
            while room > 0
                && let Some(event) = self.in_doubt(rx_tsc)
            {
                self.counters.lost_on_the_way += 1;
                room -= 1;
                tell(Answered { event, answer: false });
            }
            self.filled += self.link.read(&mut self.stream[self.filled..]);
            let mut taken = 0;
            while room >= MOST_EVENTS {
                let OrderSession { client, stream, filled, live, counters, doubt, link, trouble, waiting, .. } = self;
                let (retry, retry_at) = (self.retry, &mut self.retry_at);
                let message = match client.take(&stream[taken..*filled], rx_tsc) {
                    Ok(None) => break,
                    Ok(Some((happening, length))) => {
                        taken += length;
                        happening
                    }
                    Err(broken) => {
                        counters.broken_stream += 1;
                        if let Broken::Sequence { expected, found } = broken
                            && found < expected
                        {
                            counters.numbers_reset += 1;
                            *trouble = Some(Trouble::NumbersReset { expected, found });
                        }
                        self.drop_connection(rx_tsc);
                        return;
                    }
                };
                match message {
                    Happening::Nothing => answer(client, link, rx_tsc),
                    Happening::Ended => *retry_at = rx_tsc + SELDOM * retry,
                    Happening::Up => {
                        counters.logins += 1;
                        *trouble = None;
                        // What the last connection left unanswered is settled now.
                        waiting.clear();
                        match client.received() {
                            Received::Unknown if !live.is_empty() || !doubt.bounds.is_empty() => {
                                doubt.asked(live.last());
                                link.send(&ouch::query());
                            }
                            Received::Unknown => {}
                            Received::AllBut { lost, refusals_too } => {
                                doubt.lost = Lost { first: *lost.start(), last: *lost.end(), refusals_too };
                                doubt.settling = Some((live.last(), 0));
                                break;
                            }
                        }
                    }
                    Happening::Refused(_) => {
                        counters.logins_refused += 1;
                        *trouble = Some(Trouble::Refused);
                        *retry_at = rx_tsc + SELDOM * retry;
                    }
                    Happening::Message(message) => {
                        room -= said(client, message, rx_tsc, live, counters, doubt, &mut tell);
                        if let Some((settled, _)) = doubt.settling {
                            if let Some(&last) = doubt.bounds.last()
                                && last > settled
                            {
                                doubt.asked(last);
                                link.send(&ouch::query());
                            }
                            // Before anything that comes after the answer.
                            break;
                        }
                    }
                }
            }
            self.stream.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            if taken == 0 || room < MOST_EVENTS {
                return;
            }
        }
    }

    /// Whether what has arrived was not read for want of room.
    #[inline]
    pub fn has_unread(&self) -> bool {
        self.filled > 0 || self.doubt.settling.is_some()
    }

    /// Send an order whose message lies in `frame` behind the link's headers, which is finished for the wire where it can be.
    #[inline]
    pub fn send(&mut self, order: &Order, frame: &mut [u8], now: u64) -> Way {
        if !self.is_up() {
            self.counters.refused_down += 1;
            return Way::Refused(Refusal::SessionDown);
        }
        if order.kind != OrderKind::Cancel && !self.live.has_room() {
            self.counters.refused_full += 1;
            return Way::Refused(Refusal::NoRoom);
        }
        let headers = self.link.headers();
        let Some(message) = frame.get_mut(headers..) else { return Way::Refused(Refusal::NoRoom) };
        self.client.finish(message);
        let way = if self.link.ahead(frame) {
            Way::Ahead
        } else if self.link.send(&frame[headers.min(frame.len())..]) {
            Way::Stack
        } else {
            self.counters.refused_full += 1;
            return Way::Refused(Refusal::NoRoom);
        };
        let number = self.client.sent(order, now);
        self.wait(Waiting { id: order.id, cancel: order.kind == OrderKind::Cancel, sent_at: now });
        if order.kind == OrderKind::Cancel {
            if let Some(standing) = self.live.order_mut(order.id) {
                (standing.leaving, standing.left) = (true, number);
            }
        } else {
            let Order { instrument, side, qty, .. } = *order;
            if order.kind == OrderKind::Replace {
                self.live.replacing(order.replaced_id, order.id);
            }
            // There is room, and ids rise.
            let (leaving, known) = (false, false);
            self.live.insert(
                order.id,
                LiveOrder { instrument, side, qty, leaving, known, replaced_by: 0, sent: number, left: 0 },
            );
        }
        way
    }

    /// Let the stack send what it has.
    pub fn flush(&mut self, now: u64, emit: &mut dyn FnMut(&[u8]) -> bool) {
        let now = self.micros(now);
        self.link.poll(now, emit);
    }

    /// Cancel orders from the list, at most `most` of them; each that left is told to `left`. True while there are more.
    pub fn sweep(
        &mut self,
        most: usize,
        now: u64,
        emit: &mut dyn FnMut(&[u8]) -> bool,
        mut left: impl FnMut(u64, LiveOrder),
    ) -> bool {
        let (mut n, mut more) = (0, true);
        while n < most && self.is_up() {
            let Some(id) = self.live.next_to_cancel() else {
                more = false;
                break;
            };
            if !self.cancel(id, now) {
                break;
            }
            if let Some(order) = self.live.order(id) {
                left(id, order);
            }
            n += 1;
        }
        if n > 0 {
            self.counters.swept += n as u64;
            self.flush(now, emit);
        }
        more
    }

    /// Log out once nothing stands, and close. True when that is done, or there is no connection.
    pub fn close(&mut self) -> bool {
        if self.closing == Closing::No {
            self.closing = Closing::Wanted;
            self.due = 0;
        }
        self.closing == Closing::Closed
    }

    /// Why no login succeeds, since the last that did.
    #[inline]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Orders that may stand at the exchange.
    pub fn standing(&self) -> usize {
        self.live.len()
    }

    /// What was counted: by the session, and by what carries it.
    pub fn counters(&self) -> (&SessionCounters, ArrayVec<(&'static str, u64), 5>) {
        (&self.counters, self.link.counters())
    }

    /// What time asks for.
    #[cold]
    fn housekeep(&mut self, now: u64) {
        let mut out = [0; LONGEST_SENT];
        if self.closing == Closing::LoggedOut {
            // The server may keep its side open for as long as it likes.
            if self.link.is_flushed() {
                self.closing = Closing::Closed;
            }
            return;
        }
        if self.link.is_closed() {
            self.client.lost();
            if self.closing != Closing::No {
                self.closing = Closing::Closed;
            } else if now >= self.retry_at {
                self.retry_at = now + self.retry;
                self.filled = 0;
                self.client.again();
                self.asked_at = now;
                self.link.connect();
            }
            return;
        }
        if !self.link.is_up() {
            if self.link.is_ended() || now.saturating_sub(self.asked_at) > self.patience {
                self.drop_connection(now);
            }
            return;
        }
        match self.client.phase() {
            Phase::Down => {
                let n = self.client.login(now, &mut out);
                self.link.send(&out[..n]);
            }
            _ if self.client.is_dead(now) => {
                self.counters.silent_server += 1;
                self.drop_connection(now);
            }
            Phase::Up
                if self.closing == Closing::Wanted && self.live.is_empty() && self.link.has_room(LONGEST_SENT) =>
            {
                let n = self.client.logout(now, &mut out);
                self.link.send(&out[..n]);
                self.link.close();
                self.closing = Closing::LoggedOut;
            }
            Phase::Up => {
                if now.saturating_sub(self.retried_at) >= self.retry {
                    self.retried_at = now;
                    self.live.forget_refused_cancels();
                }
                answer(&mut self.client, &mut self.link, now);
                self.chase(now);
                if self.link.has_room(LONGEST_SENT)
                    && let Some(n) = self.client.heartbeat(now, &mut out)
                {
                    self.link.send(&out[..n]);
                    self.counters.heartbeats += 1;
                }
            }
            Phase::Over => {
                self.link.close();
                self.retry_at = now + SELDOM * self.retry;
            }
            Phase::LoggingIn => answer(&mut self.client, &mut self.link, now),
        }
    }

    /// Ask for the cancel of an order that stands. False when there is no room, or the protocol cannot say its id, which
    /// then never left.
    fn cancel(&mut self, id: u64, now: u64) -> bool {
        let mut out = [0; LONGEST_SENT];
        let Some(order) = self.live.order(id) else { return true };
        if !self.link.has_room(LONGEST_SENT) {
            return false;
        }
        let Some((n, number)) = self.client.cancel(id, &order, now, &mut out) else { return false };
        self.link.send(&out[..n]);
        self.wait(Waiting { id, cancel: true, sent_at: now });
        if let Some(order) = self.live.order_mut(id) {
            (order.leaving, order.left) = (true, number);
        }
        true
    }

    /// What a lost connection took with it, once that is known: an order that the exchange never had, or a cancel.
    fn in_doubt(&mut self, now: u64) -> Option<OrderEvent> {
        let (id, order) = loop {
            let (last, from) = self.doubt.settling?;
            let found = self.live.next_in_doubt(from, last);
            self.doubt.settling = found.map(|(at, ..)| (last, at));
            let (at, id, order) = found?;
            let Lost { first, last: end, refusals_too } = self.doubt.lost;
            if (first..=end).contains(&if order.known { order.left } else { order.sent }) {
                break (id, order);
            }
            if refusals_too {
                if order.known {
                    break (id, order);
                }
                // It stands, or was refused: the answer to a cancel tells, once there is room for that.
                if !self.link.has_room(LONGEST_SENT) {
                    return None;
                }
                self.cancel(id, now);
            }
            self.doubt.settling = Some((last, at + 1));
        };
        if order.known {
            if let Some(order) = self.live.order_mut(id) {
                order.leaving = false;
            }
        } else {
            self.live.remove(id);
        }
        let kind = if order.known { OrderEventKind::CancelRejected } else { OrderEventKind::LocalReject };
        let reason = Refusal::SessionDown as u16;
        Some(OrderEvent::local(id, order.instrument, order.side, kind, reason))
    }

    #[inline]
    fn wait(&mut self, message: Waiting) {
        if self.waiting.len() < self.waiting.capacity() {
            self.waiting.push_back(message);
        }
    }

    /// Count what has been waited for for too long. It may still come, so nothing is concluded from it before the next login.
    fn chase(&mut self, now: u64) {
        while let Some(&Waiting { id, cancel, sent_at }) = self.waiting.front() {
            let waits = |order: LiveOrder| if cancel { order.leaving } else { !order.known };
            if self.live.order(id).is_some_and(waits) {
                if now.saturating_sub(sent_at) < self.patience {
                    break;
                }
                self.counters.unanswered += 1;
            }
            self.waiting.pop_front();
        }
    }

    fn drop_connection(&mut self, now: u64) {
        // A server that has said that it is over may leave first.
        let over = self.client.phase() == Phase::Over;
        self.counters.connections_lost += u64::from(!over);
        self.link.abort();
        self.client.lost();
        self.filled = 0;
        let anew = matches!(self.trouble, Some(Trouble::NumbersReset { .. }));
        self.retry_at = now + self.retry * if over || anew { SELDOM } else { 1 };
        self.due = now;
    }

    fn micros(&self, now: u64) -> i64 {
        (now.saturating_sub(self.began) as f64 / self.ticks_a_us) as i64
    }
}

impl Doubt {
    /// A question was asked with orders up to `last` in the list. One too many settles nothing: the next login asks again.
    fn asked(&mut self, last: u64) {
        let _ = self.bounds.try_push(last);
    }
}

/// Say what has to be said to what was taken, as far as there is room: what is not sent must not take a number.
fn answer(client: &mut Client, link: &mut Link, now: u64) {
    let mut out = [0; LONGEST_SENT];
    while link.has_room(LONGEST_SENT)
        && let Some(n) = client.owed(now, &mut out)
    {
        link.send(&out[..n]);
    }
}

/// A sequenced message; how many events it was.
fn said(
    client: &Client,
    message: &[u8],
    rx_tsc: u64,
    live: &mut Live,
    counters: &mut SessionCounters,
    doubt: &mut Doubt,
    tell: &mut impl FnMut(Answered),
) -> usize {
    match client.response(message, rx_tsc, live) {
        Response::Order { events, answer } => {
            counters.responses += 1;
            for (i, event) in events.iter().enumerate() {
                tell(Answered { event: *event, answer: answer && i == 0 });
            }
            return events.len();
        }
        Response::Unknown { executed, .. } => {
            counters.unknown_orders += 1;
            counters.unknown_executions += u64::from(executed);
        }
        Response::Caught => doubt.settling = doubt.bounds.pop_at(0).map(|last| (last, 0)),
        Response::Other => counters.other_messages += 1,
        Response::Malformed => counters.malformed += 1,
    }
    0
}

#[cfg(test)]
mod tests {
    use super::super::peer::{self, Peer};
    use super::super::tcp::HEADERS;
    use super::*;
    use crate::market::{Instrument, Price, Symbol};

    /// A session and an exchange that a test speaks for. A tick is a microsecond.
    struct Day {
        session: OrderSession,
        peer: Peer,
        now: u64,
        to_peer: Vec<Vec<u8>>,
        /// What the exchange was sent, in SoupBinTCP packets.
        heard: Vec<u8>,
        events: Vec<OrderEvent>,
    }

    impl Day {
        fn new() -> Day {
            let config = peer::session(Protocol::Ouch50);
            let session = OrderSession::new(&config, 0);
            Day {
                session,
                peer: Peer::new(1 << 16),
                now: 0,
                to_peer: Vec::new(),
                heard: Vec::new(),
                events: Vec::new(),
            }
        }

        /// Half a millisecond.
        fn turn(&mut self) {
            self.now += 500;
            let Day { session, to_peer, now, .. } = self;
            let mut emit = |frame: &[u8]| {
                to_peer.push(frame.to_vec());
                true
            };
            session.poll(*now, &mut emit);
            while let Some(frame) = self.peer.out.pop_front() {
                session.receive(&frame, *now, &mut emit);
            }
            let events = &mut self.events;
            session.read(*now, 64, |answered| events.push(answered.event));
            for frame in self.to_peer.drain(..) {
                self.peer.poll(self.now as i64, Some(frame));
            }
            self.peer.poll(self.now as i64, None);
            self.heard.extend(self.peer.read());
        }

        fn turns(&mut self, n: usize) {
            (0..n).for_each(|_| self.turn());
        }

        /// Until the exchange has heard `bytes`; forgets what it heard.
        fn hears(&mut self, bytes: &[u8]) {
            for _ in 0..10_000 {
                if self.heard.windows(bytes.len()).any(|heard| heard == bytes) {
                    self.heard.clear();
                    return;
                }
                self.turn();
            }
            panic!("{:?} was not heard, but {:?}", bytes.escape_ascii(), self.heard.escape_ascii());
        }

        fn logged_in(&mut self, sequence: u64) {
            self.hears(b"LALICE secret");
            self.says(&[b"ASESSION1  ".as_slice(), format!("{sequence:>20}").as_bytes()].concat());
            self.turns(4);
            assert!(self.session.is_up());
        }

        /// A SoupBinTCP packet of the exchange.
        fn says(&mut self, packet: &[u8]) {
            self.peer.send(&[&(packet.len() as u16).to_be_bytes()[..], packet].concat());
        }

        /// A sequenced message.
        fn answers(&mut self, message: &[u8]) {
            self.says(&[b"S", message].concat());
            self.turns(4);
        }

        fn sends(&mut self, kind: OrderKind, id: u64, replaced_id: u64) -> Way {
            let order = Order {
                replaced_id,
                price: Price(10_000),
                symbol: Symbol(*b"CVLT    "),
                instrument: Instrument(3),
                qty: 100,
                burst_size: 1,
                ..Order::uncaused(kind, id)
            };
            let message = format!("\0\x07U{:>6}", id);
            let mut frame = [&[0; HEADERS][..], message.as_bytes()].concat();
            let way = self.session.send(&order, &mut frame, self.now);
            if way == Way::Ahead {
                self.to_peer.push(frame);
            }
            way
        }

        fn told(&mut self) -> Vec<(OrderEventKind, u64)> {
            self.events.drain(..).map(|event| (event.kind, event.id)).collect()
        }

        fn cut(&mut self) {
            self.peer.cut(self.now as i64);
        }
    }

    fn accepted(id: u32) -> Vec<u8> {
        let mut m = [b"A".as_slice(), &9u64.to_be_bytes(), &id.to_be_bytes(), b"B", &100u32.to_be_bytes()].concat();
        m.extend([b"CVLT    ".as_slice(), &10_000u64.to_be_bytes(), b"0Y", &77u64.to_be_bytes(), b"PNNL"].concat());
        m.extend([b"1             ".as_slice(), &[0, 0]].concat());
        m
    }

    fn filled(id: u32) -> Vec<u8> {
        let mut m = [b"E".as_slice(), &9u64.to_be_bytes(), &id.to_be_bytes(), &100u32.to_be_bytes()].concat();
        m.extend([&10_000u64.to_be_bytes()[..], b"A", &5u64.to_be_bytes(), &[0, 0]].concat());
        m
    }

    fn cancelled(id: u32) -> Vec<u8> {
        [b"C".as_slice(), &9u64.to_be_bytes(), &id.to_be_bytes(), &100u32.to_be_bytes(), b"U"].concat()
    }

    fn query_response(next: u32) -> Vec<u8> {
        [b"Q".as_slice(), &9u64.to_be_bytes(), &next.to_be_bytes()].concat()
    }

    use OrderEventKind::{Accepted, CancelRejected, Cancelled, Filled, LocalReject};
    use OrderKind::{Cancel, Enter, Replace};

    #[test]
    fn an_order_is_answered_and_a_down_session_takes_none() {
        let mut day = Day::new();
        assert_eq!(day.sends(Enter, 1, 0), Way::Refused(Refusal::SessionDown));
        day.logged_in(1);
        assert_eq!(day.sends(Enter, 2, 0), Way::Ahead);
        day.hears(b"U     2");
        day.answers(&accepted(2));
        assert_eq!((day.told(), day.session.standing()), (vec![(Accepted, 2)], 1));
        day.answers(&filled(2));
        assert_eq!((day.told(), day.session.standing()), (vec![(Filled, 2)], 0));
    }

    #[test]
    fn what_a_break_took_with_it_is_told_once_the_exchange_has_answered_the_rest() {
        let mut day = Day::new();
        day.logged_in(1);
        for id in 1..=3 {
            assert_eq!(day.sends(Enter, id, 0), Way::Ahead);
        }
        day.hears(b"U     3");
        day.answers(&accepted(1));
        day.sends(Cancel, 1, 0);
        day.told();
        // Order 2 has arrived, its answer has not; order 3 and the cancel of 1 are lost.
        day.cut();
        day.turns(4);
        day.logged_in(2);
        day.hears(b"\0\x02UQ");
        day.answers(&accepted(2));
        assert_eq!(day.told(), [(Accepted, 2)]);
        day.answers(&query_response(3));
        let mut told = day.told();
        told.sort_by_key(|at| at.1);
        assert_eq!(told, [(CancelRejected, 1), (LocalReject, 3)]);
        assert_eq!((day.session.standing(), day.session.counters().0.lost_on_the_way), (2, 2));
    }

    #[test]
    fn an_answer_to_an_earlier_question_settles_no_later_doubt() {
        let mut day = Day::new();
        day.logged_in(1);
        day.sends(Enter, 1, 0);
        day.hears(b"U     1");
        day.cut();
        day.turns(4);
        day.logged_in(1);
        day.hears(b"\0\x02UQ");
        day.sends(Enter, 2, 0);
        day.hears(b"U     2");
        // The first question is answered, and the connection breaks before that is read.
        day.cut();
        day.turns(4);
        day.logged_in(1);
        day.hears(b"\0\x02UQ");
        day.answers(&accepted(1));
        day.answers(&query_response(2));
        assert_eq!(day.told(), [(Accepted, 1)], "order 2 is still on its way");
        day.answers(&accepted(2));
        day.answers(&query_response(3));
        assert_eq!((day.told(), day.session.standing()), (vec![(Accepted, 2)], 2));
    }

    #[test]
    fn an_answer_to_a_question_too_many_settles_nothing_that_was_sent_after_it() {
        let mut day = Day::new();
        let again = |day: &mut Day, sequence| {
            day.cut();
            day.turns(4);
            day.logged_in(sequence);
            day.hears(b"\0\x02UQ");
        };
        day.logged_in(1);
        day.sends(Enter, 1, 0);
        again(&mut day, 1);
        day.sends(Enter, 2, 0);
        again(&mut day, 1);
        // Both questions have arrived. After the first answer another is asked.
        day.answers(&accepted(1));
        day.answers(&query_response(2));
        day.hears(b"\0\x02UQ");
        day.answers(&accepted(2));
        day.answers(&query_response(3));
        assert_eq!(day.told(), [(Accepted, 1), (Accepted, 2)]);
        // Its answer is not read before the next break, and order 3 was sent after it was asked.
        day.sends(Enter, 3, 0);
        again(&mut day, 5);
        day.answers(&query_response(3));
        assert_eq!(day.told(), [], "order 3 is still on its way");
        day.answers(&accepted(3));
        day.answers(&query_response(4));
        assert_eq!((day.told(), day.session.standing()), (vec![(Accepted, 3)], 3));
    }

    #[test]
    fn a_sweep_cancels_what_stands_and_a_refused_cancel_waits() {
        let mut day = Day::new();
        day.logged_in(1);
        for id in 1..=3 {
            day.sends(Enter, id, 0);
        }
        day.hears(b"U     3");
        let mut swept = Vec::new();
        let Day { session, to_peer, now, .. } = &mut day;
        let mut emit = |frame: &[u8]| {
            to_peer.push(frame.to_vec());
            true
        };
        assert!(session.sweep(2, *now, &mut emit, |id, _| swept.push(id)), "there is one more");
        assert!(!session.sweep(2, *now, &mut emit, |id, _| swept.push(id)));
        swept.sort_unstable();
        assert_eq!(swept, [1, 2, 3]);
        day.answers(&cancelled(1));
        let refused = [b"I".as_slice(), &9u64.to_be_bytes(), &2u32.to_be_bytes()].concat();
        day.answers(&refused);
        assert_eq!(day.told(), [(Cancelled, 1), (CancelRejected, 2)]);
        let sweep = |day: &mut Day| {
            let mut swept = Vec::new();
            day.session.sweep(9, day.now, &mut |_| true, |id, _| swept.push(id));
            swept
        };
        assert!(sweep(&mut day).is_empty());
        day.turns(400);
        assert_eq!(sweep(&mut day), [2], "after a while");
    }

    #[test]
    fn a_replacement_that_nobody_answers_keeps_nothing_from_closing() {
        let mut day = Day::new();
        day.logged_in(1);
        day.sends(Enter, 1, 0);
        day.sends(Replace, 2, 1);
        day.hears(b"U     2");
        day.answers(&accepted(1));
        day.answers(&filled(1));
        assert_eq!(day.session.standing(), 0);
        assert!(!day.session.close());
        day.hears(b"\0\x01O");
        day.turns(40_000);
        assert!(day.session.close());
    }

    #[test]
    fn what_nobody_answers_is_counted_and_comes_back_after_the_next_login() {
        let mut day = Day::new();
        day.logged_in(1);
        for id in 1..=4 {
            day.sends(Enter, id, 0);
        }
        day.hears(b"U     4");
        (1..=4).for_each(|id| day.answers(&accepted(id)));
        day.sends(Replace, 5, 1);
        day.sends(Cancel, 2, 0);
        day.sends(Cancel, 3, 0);
        day.answers(&cancelled(3));
        day.told();
        // The replacement of 1 and the cancel of 2 are never answered. The exchange may be silent for 15 s.
        while day.session.counters().0.unanswered == 0 {
            day.says(b"H");
            day.turns(1_000);
            assert!(day.now < 17_000_000);
        }
        assert!(day.now > 15_000_000 && day.told().is_empty());
        day.cut();
        day.turns(4);
        day.logged_in(6);
        day.hears(b"\0\x02UQ");
        day.answers(&query_response(5));
        let mut told = day.told();
        told.sort_by_key(|at| at.1);
        assert_eq!(told, [(CancelRejected, 2), (LocalReject, 5)]);
        assert_eq!((day.session.counters().0.unanswered, day.session.standing()), (2, 3));
    }

    #[test]
    fn an_exchange_that_numbers_anew_is_named_and_seldom_asked() {
        let mut day = Day::new();
        day.logged_in(7);
        day.answers(b"S........E");
        day.cut();
        day.turns(4);
        let patience = day.now;
        day.hears(b"LALICE secret    SESSION1                     8");
        assert!(day.now < patience + 150_000);
        day.says(b"ASESSION1                     3");
        day.turns(4);
        day.cut();
        let (told, counters) = (day.session.trouble(), *day.session.counters().0);
        assert_eq!(told, Some(Trouble::NumbersReset { expected: 8, found: 3 }));
        assert_eq!((counters.numbers_reset, counters.broken_stream, counters.logins), (1, 1, 1));
        assert!(told.unwrap().to_string().contains("start this run again"));
        // A tenth of the retries that there were.
        day.turns(1_990);
        assert!(day.heard.is_empty() && !day.session.is_up());
        day.logged_in(8);
        assert_eq!(day.session.trouble(), None);
    }

    #[test]
    fn a_refused_login_is_named_and_seldom_tried_again_though_the_server_hangs_up_first() {
        let mut day = Day::new();
        day.hears(b"LALICE secret");
        day.says(b"JA");
        day.peer.poll(day.now as i64, None);
        day.cut();
        day.turns(4);
        let (told, counters) = (day.session.trouble(), *day.session.counters().0);
        assert_eq!((told, counters.logins_refused), (Some(Trouble::Refused), 1));
        day.heard.clear();
        day.turns(1_990);
        assert!(day.heard.is_empty());
        day.logged_in(1);
        assert_eq!(day.session.trouble(), None);
    }

    #[test]
    fn what_is_no_packet_breaks_the_connection_and_nothing_else() {
        let mut day = Day::new();
        day.logged_in(1);
        day.sends(Enter, 1, 0);
        day.hears(b"U     1");
        day.peer.send(b"\xff\xffS");
        day.turns(10);
        assert!(!day.session.is_up());
        day.cut();
        day.logged_in(1);
        assert_eq!((day.session.counters().0.broken_stream, day.session.standing()), (1, 1));
    }
}
