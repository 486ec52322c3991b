//! tx: frames onto the order port, and what comes back from it.
//!
//! In: frames from encode, fused or by ring, their headers blank; the order port's received frames. Out: complete frames
//! at the port's doorbell; order events for strategy. Owns the order port and everything below the protocol message:
//! headers patched from a template over UDP, or connection, login and the list of live orders of a session. Copies the
//! order out before the call, because accepted frames are the driver's, and hands its record with every stamp to the
//! recorder after it. A frame that the port refuses stays here and is tried again; an order that the session does not
//! take, or that finds the port's device being started anew, goes back to strategy as a local reject. None is lost.

use super::{Ledger, Links, SessionState, Shared, Stamps};
use crate::cpu::rdtsc;
use crate::dpdk::ring::{Consumer, Producer};
use crate::dpdk::{Burst, Frame, Mempool, free_burst};
use crate::latency::board::{Account, Count, Entry};
use crate::latency::outlet::Outlet;
use crate::latency::record::{Kind, Record, StampDomain};
use crate::market::{Order, OrderEvent, OrderEventKind, OrderKind, Refusal};
use crate::port::{OrderPort, RxPort};
use crate::risk::Kill;
use crate::session::{Answered, OrderSession, UDP_HEADERS, UdpTransport, Way};
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Events that wait for strategy on this lcore; the port is not read while there is no room,
const EVENTS: usize = 256;
/// and no order is taken beyond so many, which may all be refused.
const MOST_EVENTS: usize = 1024;
/// Most events of one response.
const EVENTS_A_MESSAGE: usize = 2;
/// Frames taken from the order port at a time.
const INTAKE: usize = 32;
/// Cancels of a sweep a poll.
const SWEEP: usize = 32;

/// Settings of one tx stage.
pub struct TxParts {
    /// From encode on another lcore; `None` when fused.
    pub input: Option<Consumer<Frame>>,
    /// Responses and local events for strategy on another lcore; `None` when it takes them from [`Tx::event`].
    pub events: Option<Producer<OrderEvent>>,
    /// Where frames go.
    pub port: OrderPort,
    /// What carries messages.
    pub transport: Transport,
    /// Most frames a doorbell, 1 to 64.
    pub burst: usize,
    /// How the doorbell's stamp is taken.
    pub stamps: Stamps,
    /// To the recorder, as this venue.
    pub recorder: Option<(Outlet, u16)>,
    /// Whether only cancels may leave.
    pub kill: Kill,
    /// What records call the order port where they name a feed line: the number after the last of those.
    pub line: u8,
}

/// What carries order messages.
pub enum Transport {
    /// One datagram a message, without a session: nothing comes back.
    Udp(UdpTransport),
    /// A session with the exchange.
    Session(Box<SessionParts>),
}

/// A session and what it needs of the order port.
pub struct SessionParts {
    /// Connection, login, live orders.
    pub session: OrderSession,
    /// Where the exchange's frames arrive.
    pub inbox: RxPort,
    /// Frames for what is not an order: acknowledgements, logins, heartbeats.
    pub pool: Mempool,
}

/// The stage.
pub struct Tx {
    parts: TxParts,
    frames: Burst,
    records: ArrayVec<Order, 64>,
    stamps_ns: ArrayVec<u64, 64>,
    /// Frames of the session's own, and orders that it sends by them.
    own: Burst,
    by_stack: ArrayVec<Order, 64>,
    events: VecDeque<OrderEvent>,
    received: Burst,
    incoming: u64,
    sent: u64,
    bursts: u64,
    refusals: u64,
    foreign: u64,
    refused: u64,
    /// What stands is being cancelled because it was asked for.
    sweeping: bool,
    /// What was said of the session last.
    said: SessionState,
    /// Sent messages by kind.
    pub kinds: [u64; 3],
    /// TSC of the last doorbell; 0 without stamps.
    pub last_tsc: u64,
    shared: Arc<Shared>,
}

impl Tx {
    /// A stage over its parts.
    pub fn new(parts: TxParts, shared: Arc<Shared>) -> Self {
        Tx {
            parts,
            frames: Burst::new(),
            records: ArrayVec::new(),
            stamps_ns: ArrayVec::new(),
            own: Burst::new(),
            by_stack: ArrayVec::new(),
            events: VecDeque::with_capacity(MOST_EVENTS + INTAKE),
            received: Burst::new(),
            incoming: 0,
            sent: 0,
            bursts: 0,
            refusals: 0,
            foreign: 0,
            refused: 0,
            sweeping: false,
            said: SessionState::default(),
            kinds: [0; 3],
            last_tsc: 0,
            shared,
        }
    }

    /// What the exchange says; then, alone: send what the ring holds, at most one burst; fused: try refused frames
    /// again. Returns what was done.
    pub fn poll(&mut self) -> usize {
        let TxParts { port, recorder, line, .. } = &mut self.parts;
        port.poll(|frame, stamp| {
            if let (Some((outlet, venue)), Some(order)) = (recorder.as_mut(), frame.private::<Order>()) {
                outlet.push(wire(&order, *venue, *line, stamp));
            }
        });
        let mut work = match self.parts.transport {
            Transport::Udp(_) => 0,
            Transport::Session(_) => self.converse(),
        };
        if !self.events.is_empty() {
            self.pass_events();
            if !self.events.is_empty() && self.shared.is_deaf() {
                self.shared.count_missed(self.events.len() as u64);
                self.events.clear();
            }
        }
        self.sweeping |= self.shared.cancel_asked();
        if self.sweeping || self.parts.kill.is_tripped() {
            work += self.sweep();
            self.withdraw();
        } else if self.parts.port.rests() {
            self.withdraw();
        }
        while self.frames.len() < self.parts.burst && self.has_room() {
            let Some(ring) = self.parts.input.as_mut() else { break };
            let Some(frame) = ring.pop() else { break };
            let waiting = u16::try_from(1 + ring.len()).unwrap_or(u16::MAX);
            self.take(frame, waiting);
        }
        work += self.doorbell();
        if let Transport::Session(parts) = &self.parts.transport {
            let (up, standing, trouble) =
                (parts.session.is_up(), parts.session.standing() as u64, parts.session.trouble());
            let state = SessionState { up, standing, trouble };
            if state != self.said {
                self.said = state;
                self.shared.say_session(&state);
            }
        }
        work
    }

    /// Make room for another frame, by the doorbell if the burst is full. False when the port takes none.
    #[inline]
    pub fn make_room(&mut self) -> bool {
        let full = self.frames.len() >= self.parts.burst || !self.has_room();
        !full || (self.doorbell() > 0 && self.has_room())
    }

    /// Room for an order that the stack sends, or that is refused.
    #[inline]
    fn has_room(&self) -> bool {
        !self.by_stack.is_full() && self.events.len() < MOST_EVENTS
    }

    /// Finish a frame and queue it for the next doorbell. The caller has asked [`Tx::make_room`].
    #[inline]
    pub fn queue(&mut self, frame: Frame) {
        self.take(frame, 0);
    }

    /// Finish a frame of encode's that is to go nowhere, and take it back. The port is left alone: a driver may make a system call
    /// of an empty burst, and a card's queue has warm-ups of its own. Over a session nothing is done: what it sends, it keeps.
    #[inline(never)]
    pub fn rehearse(&mut self, order: &Order, mut frame: Frame) {
        let Transport::Udp(transport) = &self.parts.transport else { return };
        if !self.frames.is_empty() {
            return;
        }
        let transport = transport.clone();
        // As a cancel, which no kill switch keeps back.
        frame.set_private(Order { kind: OrderKind::Cancel, ..*order });
        self.take(frame, 0);
        self.incoming -= 1;
        self.frames.clear();
        self.stamps_ns.clear();
        self.records.clear();
        self.parts.transport = Transport::Udp(transport);
    }

    // Not inlined, so that what a rehearsal brings into the caches is the code that an order's frame goes through.
    #[inline(never)]
    fn take(&mut self, mut frame: Frame, waiting: u16) {
        self.incoming += 1;
        let Some(mut order) = frame.private::<Order>() else {
            // encode writes it into every frame; a frame without it did not come from encode.
            self.foreign += 1;
            return;
        };
        order.waiting[3] = waiting;
        let Some(bytes) = frame.bytes_mut() else {
            // A frame of encode's is nobody else's and has one segment.
            self.foreign += 1;
            return;
        };
        if order.kind != OrderKind::Cancel
            && let Some(why) = self.holds_back()
        {
            self.refused += 1;
            self.tell(refusal(&order, why));
            return;
        }
        match &mut self.parts.transport {
            Transport::Udp(transport) => transport.finish(bytes, UDP_HEADERS),
            Transport::Session(parts) => match parts.session.send(&order, bytes, rdtsc()) {
                Way::Ahead => {}
                Way::Stack => {
                    self.by_stack.push(order);
                    return;
                }
                Way::Refused(why) => {
                    self.refused += 1;
                    self.tell(refusal(&order, why));
                    return;
                }
            },
        }
        self.frames.push(frame);
        self.stamps_ns.push(order.arrival_ns);
        self.records.push(order);
    }

    /// Hand queued frames to the port. Returns how many orders left.
    #[inline]
    pub fn doorbell(&mut self) -> usize {
        let mut n = 0;
        if !self.frames.is_empty() && self.may_lead() {
            n = self.parts.port.burst(&mut self.frames, &self.stamps_ns);
            let doorbell_tsc = self.parts.stamps.take();
            self.stamps_ns.drain(..n);
            self.refusals += self.frames.len() as u64;
            let Tx { parts, records, kinds, .. } = self;
            for order in records.drain(..n) {
                kinds[order.kind as usize] += 1;
                if let Some((outlet, venue)) = &mut parts.recorder {
                    outlet.push(sent(&order, *venue, doorbell_tsc));
                }
            }
            self.left(n, doorbell_tsc);
        }
        if !self.by_stack.is_empty() || !self.own.is_empty() {
            n += self.doorbell_of_the_stack();
        }
        n
    }

    /// Whether orders may leave before the session's own frames; over TCP they do.
    #[inline]
    fn may_lead(&mut self) -> bool {
        if self.own.is_empty() || !self.keeps_no_order() {
            return true;
        }
        let (arrivals, frames) = ([0; 64], self.own.len());
        self.parts.port.burst(&mut self.own, &arrivals[..frames]);
        self.own.is_empty()
    }

    /// Whether orders wait that nothing of the session's own may overtake.
    fn may_not_be_overtaken(&self) -> bool {
        !self.frames.is_empty() && self.keeps_no_order()
    }

    fn keeps_no_order(&self) -> bool {
        self.session().is_some_and(OrderSession::keeps_no_order)
    }

    fn left(&mut self, n: usize, doorbell_tsc: u64) {
        self.sent += n as u64;
        self.bursts += u64::from(n > 0);
        if n > 0 {
            self.last_tsc = doorbell_tsc;
            self.shared.count_orders(n as u64);
        }
    }

    /// The stack's own frames, and the orders it carries.
    #[cold]
    #[inline(never)]
    fn doorbell_of_the_stack(&mut self) -> usize {
        let waits = self.may_not_be_overtaken();
        let Tx { parts: TxParts { transport, port, .. }, own, by_stack, .. } = self;
        if let Transport::Session(parts) = transport
            && !by_stack.is_empty()
        {
            let SessionParts { session, pool, .. } = &mut **parts;
            session.flush(rdtsc(), &mut |bytes| !waits && copy_out(pool, own, bytes));
        }
        let arrivals = [0; 64];
        port.burst(own, &arrivals[..own.len()]);
        self.refusals += self.own.len() as u64;
        let doorbell_tsc = self.parts.stamps.take();
        let n = self.by_stack.len();
        let Tx { parts, by_stack, kinds, .. } = self;
        for order in by_stack.drain(..) {
            kinds[order.kind as usize] += 1;
            if let Some((outlet, venue)) = &mut parts.recorder {
                outlet.push(sent(&order, *venue, doorbell_tsc));
            }
        }
        self.left(n, doorbell_tsc);
        n
    }

    /// The session's part of a poll: what it has to send, what arrived, what that means.
    fn converse(&mut self) -> usize {
        let room = match &self.parts.events {
            // What waits here goes first.
            Some(ring) => {
                if self.events.is_empty() {
                    ring.free()
                } else {
                    0
                }
            }
            None => EVENTS.saturating_sub(self.events.len()),
        };
        // The acknowledgements of cancels must be heard, whether strategy listens or not.
        let room = if room < EVENTS_A_MESSAGE && self.shared.is_deaf() { EVENTS } else { room };
        let waits = self.may_not_be_overtaken();
        let Tx { parts, own, received, events, shared, .. } = self;
        let Transport::Session(session_parts) = &mut parts.transport else { return 0 };
        let SessionParts { session, inbox, pool } = &mut **session_parts;
        let now = rdtsc();
        session.poll(now, &mut |bytes| !waits && copy_out(pool, own, bytes));
        if room < EVENTS_A_MESSAGE {
            return 0;
        }
        let n = inbox.burst(received, INTAKE);
        let rx_tsc = if n > 0 { rdtsc() } else { now };
        let mut stamp = None;
        for frame in received.iter() {
            stamp = frame.stamp();
            session.receive(frame.bytes(), rx_tsc, &mut |bytes| !waits && copy_out(pool, own, bytes));
        }
        free_burst(received);
        if n == 0 && !session.has_unread() {
            return 0;
        }
        let TxParts { events: ring, recorder, line, .. } = parts;
        session.read(rx_tsc, room, |answered| {
            if let Some((outlet, venue)) = recorder
                && let Some(record) = response(&answered, *venue, *line, stamp)
            {
                outlet.push(record);
            }
            match ring {
                // There was room above, and this lcore is the ring's only producer; or nobody listens.
                Some(ring) => {
                    if ring.push(answered.event).is_err() {
                        shared.count_missed(1);
                    }
                }
                None => events.push_back(answered.event),
            }
        });
        n
    }

    /// Cancel what stands without strategy, some of it a call. Returns how many cancels left.
    #[cold]
    fn sweep(&mut self) -> usize {
        let waits = self.may_not_be_overtaken();
        let Tx { parts: TxParts { transport, recorder, .. }, own, kinds, shared, .. } = self;
        let Transport::Session(parts) = transport else {
            self.sweeping = false;
            return 0;
        };
        let SessionParts { session, pool, .. } = &mut **parts;
        let (most, now, mut n) = (SWEEP.min(own.remaining_capacity()), rdtsc(), 0);
        let mut emit = |bytes: &[u8]| !waits && copy_out(pool, own, bytes);
        // Without a session what stands is cancelled when it is back.
        self.sweeping &= session.sweep(most, now, &mut emit, |id, order| {
            n += 1;
            kinds[OrderKind::Cancel as usize] += 1;
            if let Some((outlet, venue)) = recorder {
                outlet.push(Record {
                    kind: Kind::Sent as u8,
                    venue: *venue,
                    instrument: order.instrument.0,
                    order_id: id,
                    doorbell_tsc: now,
                    order_kind: OrderKind::Cancel as u8,
                    side: order.side as u8,
                    ..Record::default()
                });
            }
        });
        shared.count_orders(n as u64);
        n
    }

    /// Take back what the port has not taken yet and may not leave any more. Over a session a frame's bytes are in the
    /// connection's stream already: it leaves, and its cancel after it.
    fn withdraw(&mut self) {
        if self.frames.is_empty() || !matches!(self.parts.transport, Transport::Udp(_)) {
            return;
        }
        let Some(why) = self.holds_back() else { return };
        for at in (0..self.frames.len()).rev() {
            if self.records[at].kind == OrderKind::Cancel {
                continue;
            }
            drop(self.frames.remove(at));
            self.stamps_ns.remove(at);
            let order = self.records.remove(at);
            self.refused += 1;
            self.tell(refusal(&order, why));
        }
    }

    /// Why nothing but cancels may leave: an order that waited for a device to be started anew would be late.
    #[inline]
    fn holds_back(&self) -> Option<Refusal> {
        match self.parts.kill.is_tripped() {
            true => Some(Refusal::Killed),
            false => self.parts.port.rests().then_some(Refusal::NoRoom),
        }
    }

    /// The next event for strategy on this lcore.
    #[inline]
    pub fn event(&mut self) -> Option<OrderEvent> {
        self.events.pop_front()
    }

    /// An event of tx's own.
    fn tell(&mut self, event: OrderEvent) {
        // A ring without room keeps it here until there is some.
        self.events.push_back(event);
        self.pass_events();
    }

    fn pass_events(&mut self) {
        let Some(ring) = &mut self.parts.events else { return };
        while let Some(event) = self.events.front() {
            if ring.push(*event).is_err() {
                return;
            }
            self.events.pop_front();
        }
    }

    /// Nothing will be sent any more: log out, once nothing stands. True when that is done, and all has left.
    pub fn close(&mut self) -> bool {
        let closed = match &mut self.parts.transport {
            Transport::Udp(_) => true,
            Transport::Session(parts) => parts.session.close(),
        };
        closed && self.parts.port.is_settled()
    }

    /// Nothing held and nothing to be had.
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty()
            && self.own.is_empty()
            && self.by_stack.is_empty()
            && self.events.is_empty()
            && self.is_settled()
    }

    /// Nothing on its way from encode: at most what the port did not take, and events for strategy.
    pub fn is_settled(&self) -> bool {
        self.parts.input.as_ref().is_none_or(Consumer::is_empty)
    }

    /// See [`super::Segment::swap_ends`].
    pub fn swap_ends(&mut self, links: &mut Links) {
        std::mem::swap(&mut self.parts.input, &mut links.encode_tx.1);
        std::mem::swap(&mut self.parts.events, &mut links.tx_strategy.0);
    }

    /// Most frames a doorbell from now on, 1 to 64.
    pub fn set_burst(&mut self, burst: usize) {
        self.parts.burst = burst;
    }

    /// Frames in = sent + refused + held.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(self)
    }

    /// Times a frame was offered to the port and refused for the moment.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Messages sent of one kind.
    pub fn sent(&self, kind: OrderKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// The session, for its counters.
    pub fn session(&self) -> Option<&OrderSession> {
        match &self.parts.transport {
            Transport::Udp(_) => None,
            Transport::Session(parts) => Some(&parts.session),
        }
    }

    /// The port, to finish it.
    pub fn into_port(self) -> OrderPort {
        self.parts.port
    }
}

impl Account for Tx {
    fn account(&self, each: &mut dyn FnMut(Entry, u64)) {
        let mut each = |count, n| each(Entry { stage: "tx", unit: "frames", count }, n);
        each(Count::In, self.incoming);
        each(Count::Out, self.sent);
        each(Count::Dropped("no order record"), self.foreign);
        each(Count::Dropped("refused (local reject)"), self.refused);
        each(Count::Held, (self.frames.len() + self.by_stack.len()) as u64);
        each(Count::Bursts, self.bursts);
        self.parts.port.account(&mut each);
        let Some(session) = self.session() else { return };
        each(Count::Figure("session", "up"), session.is_up().into());
        each(Count::Figure("session", "standing"), session.standing() as u64);
        let (session, link) = session.counters();
        for (name, n) in session.named().chain(link) {
            each(Count::Figure("session events", name), n);
        }
        each(Count::Figure("session events", "events_strategy_missed"), self.shared.missed());
    }
}

/// A frame of the session's, into the burst of those; false when there is no frame or no room.
fn copy_out(pool: &Mempool, own: &mut Burst, bytes: &[u8]) -> bool {
    if own.is_full() {
        return false;
    }
    let Some(mut frame) = pool.alloc() else { return false };
    // A frame keeps what it carried: of an order that left long ago nothing is to be told again.
    frame.set_private(());
    let Some(room) = frame.append(bytes.len()) else { return false };
    room.copy_from_slice(bytes);
    own.push(frame);
    true
}

/// What strategy is told of an order that did not leave.
fn refusal(order: &Order, why: Refusal) -> OrderEvent {
    // Of a cancel its order must not be thought gone.
    let kind = match order.kind {
        OrderKind::Cancel => OrderEventKind::CancelRejected,
        OrderKind::Enter | OrderKind::Replace => OrderEventKind::LocalReject,
    };
    OrderEvent::local(order.id, order.instrument, order.side, kind, why as u16)
}

/// What the recorder is told of a response; `None` when it neither answers anything nor fills an order.
fn response(answered: &Answered, venue: u16, line: u8, stamp: Option<u64>) -> Option<Record> {
    let event = &answered.event;
    let (kind, order_kind) = match event.kind {
        OrderEventKind::Filled => (Kind::Filled, OrderKind::Enter),
        _ if !answered.answer => return None,
        OrderEventKind::Replaced => (Kind::Acknowledged, OrderKind::Replace),
        OrderEventKind::Cancelled | OrderEventKind::CancelRejected | OrderEventKind::CancelPending => {
            (Kind::Acknowledged, OrderKind::Cancel)
        }
        _ => (Kind::Acknowledged, OrderKind::Enter),
    };
    Some(Record {
        kind: kind as u8,
        venue,
        instrument: event.instrument.0,
        order_id: event.id,
        rx_tsc: event.rx_tsc,
        stamp: stamp.unwrap_or(0),
        stamp_domain: stamp.map_or(StampDomain::None, |_| StampDomain::Device) as u8,
        price: event.price.0,
        qty: event.qty,
        line,
        order_kind: order_kind as u8,
        side: event.side as u8,
        ..Record::default()
    })
}

/// What the recorder is told of an order's frame that the card has put on the wire.
fn wire(order: &Order, venue: u16, line: u8, stamp: u64) -> Record {
    Record {
        kind: Kind::Wire as u8,
        stamp_domain: StampDomain::Device as u8,
        venue,
        instrument: order.instrument.0,
        order_id: order.id,
        stamp,
        line,
        order_kind: order.kind as u8,
        side: order.side as u8,
        ..Record::default()
    }
}

/// What the recorder is told of an order that left.
#[inline]
fn sent(order: &Order, venue: u16, doorbell_tsc: u64) -> Record {
    Record {
        kind: Kind::Sent as u8,
        stamp_domain: order.stamp_domain,
        venue,
        instrument: order.instrument.0,
        order_id: order.id,
        sequence: order.sequence,
        arrival_ns: order.arrival_ns,
        stamp: order.stamp,
        rx_tsc: order.rx_tsc,
        parsed_tsc: order.parsed_tsc,
        book_tsc: order.book_tsc,
        decided_tsc: order.decided_tsc,
        encoded_tsc: order.encoded_tsc,
        doorbell_tsc,
        symbol: order.symbol.0,
        price: order.price.0,
        qty: order.qty,
        burst_size: order.burst_size,
        burst_position: order.burst_position,
        occupancy: order.waiting,
        line: order.line,
        channel: order.channel,
        order_kind: order.kind as u8,
        side: order.side as u8,
        reserved: [0; 4],
    }
}
