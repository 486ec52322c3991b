//! Messages that no line brought, asked for again: what parse misses comes in, the messages or a whole snapshot go back.
//!
//! One ordinary thread a venue with sockets of the kernel, away from the path. Parse tells it what is missing through one
//! ring ([`Link`]) and takes the messages from another, in buffers of fixed size; it never waits for either. The thread
//! believes no server: an answer for another session, of other messages than were asked for, or of messages that are
//! none, is counted and ignored, and the next server is asked. It knows nothing of books.

mod glimpse;
mod mold;
mod thread;

pub use glimpse::{Broken, Event, Reader};
pub use mold::{Answer, Refused, check};
pub use thread::{Login, Recovery, Settings};

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a buffer: a MoldUDP64 packet that fills an Ethernet frame.
pub const ROOM: usize = 1472;

/// Asks on their way to the thread. Each makes the one before it void, so that more are never of use.
const ASKS: usize = 16;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Messages `from .. to`.
    Messages {
        /// The first.
        from: u64,
        /// The one after the last.
        to: u64,
    },
    /// All that stands now.
    Snapshot,
}

/// One ask of parse.
#[derive(Clone, Copy, Debug)]
struct Ask {
    ticket: u32,
    /// Session of the feed, as MoldUDP64 writes it.
    session: [u8; 10],
    wanted: Wanted,
}

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A MoldUDP64 packet of messages that were missing.
    Messages,
    /// A snapshot begins: what came of an earlier one is void.
    SnapshotBegins,
    /// A MoldUDP64 packet of messages of the snapshot; its sequence says nothing.
    Snapshot,
    /// The snapshot is complete; the feed goes on with this message.
    SnapshotEnds(u64),
    /// No server had it.
    Failed,
}

/// One buffer on its way to parse.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    ticket: u32,
    /// What it is.
    pub what: What,
    length: u16,
    bytes: [u8; ROOM],
}

impl Delivery {
    /// The packet.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the thread counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Each counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((concat!("recovery_", stringify!($name)), self.$name.load(Ordering::Relaxed)),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Requests sent.
    requests,
    /// Answers taken.
    answers,
    /// Answers refused, for any reason but that they came twice.
    refused,
    /// Requests that no answer came to in time.
    timeouts,
    /// Messages handed to parse.
    messages,
    /// Snapshots begun.
    snapshots,
    /// Snapshots that broke off.
    snapshots_broken,
    /// Messages of snapshots handed to parse.
    snapshot_messages,
    /// Asks that no server could answer.
    failed,
}

fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Parse's end.
#[derive(Debug)]
pub struct Link {
    asks: rtrb::Producer<Ask>,
    deliveries: rtrb::Consumer<Delivery>,
    current: Arc<AtomicU32>,
    ticket: u32,
    counters: Arc<Counters>,
}

/// The thread's end.
#[derive(Debug)]
pub struct Desk {
    asks: rtrb::Consumer<Ask>,
    deliveries: rtrb::Producer<Delivery>,
    current: Arc<AtomicU32>,
    counters: Arc<Counters>,
}

/// Both ends, with room for so many deliveries on their way. Allocates once.
pub fn link(deliveries: usize) -> (Link, Desk) {
    let (ask, asks) = rtrb::RingBuffer::new(ASKS);
    let (deliver, delivered) = rtrb::RingBuffer::new(deliveries);
    let (current, counters) = (Arc::<AtomicU32>::default(), Arc::<Counters>::default());
    let link =
        Link { asks: ask, deliveries: delivered, current: current.clone(), ticket: 0, counters: counters.clone() };
    (link, Desk { asks, deliveries: deliver, current, counters })
}

impl Link {
    /// Ask for something; what was asked for before is no longer wanted. False when the thread has not taken what was
    /// asked for long ago: it hangs.
    pub fn ask(&mut self, session: [u8; 10], wanted: Wanted) -> bool {
        self.forget();
        self.asks.push(Ask { ticket: self.ticket, session, wanted }).is_ok()
    }

    /// What was asked for is no longer wanted.
    pub fn forget(&mut self) {
        self.ticket = self.ticket.wrapping_add(1);
        self.current.store(self.ticket, Ordering::Release);
    }

    /// The next delivery of what is wanted now; others are thrown away.
    pub fn delivery(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.pop().ok()?;
            if delivery.ticket == self.ticket {
                return Some(delivery);
            }
        }
    }

    /// What the thread counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
