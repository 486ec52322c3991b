//! Membership in the groups of a port that the kernel does not own: joined at the start, reported now and then and whenever
//! a router asks, left at the end.
//!
//! In: the plan, and queries that parse or a receiver saw on the port. Out: IGMP frames on a transmit queue of its own, from
//! the control thread. Touches nothing of the packet's path.

use super::plan::IgmpPlan;
use crate::dpdk::{Burst, Mempool, TxQueue};
use crate::stages::Shared;
use crate::wire::ethernet::{Tag, Tags};
use crate::wire::igmp::{FRAME, GROUPS, Host, Say};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A join is said so many times: RFC 3376 section 8.1, the robustness variable.
const JOINS: u32 = 2;
/// So long apart: RFC 3376 section 8.11.
const BETWEEN_JOINS: Duration = Duration::from_secs(1);
/// Unasked, so that a switch that listens for reports goes on forwarding where no router asks: half of the usual
/// query interval.
const UNASKED: Duration = Duration::from_secs(60);

/// Mbufs that a port's reports come from: more than the device can keep.
pub const MBUFS: u32 = 255;
/// Descriptors of its queue.
pub const DESCRIPTORS: u16 = 64;

/// Membership of one port.
pub struct Membership {
    host: Host,
    version: u8,
    groups: Vec<Ipv4Addr>,
    queue: TxQueue,
    pool: Mempool,
    /// Where queries are counted: the venues of the port.
    heard: Vec<Arc<Shared>>,
    queries: u64,
    joins: u32,
    next: Instant,
    /// What the device has not taken yet.
    waiting: Burst,
}

impl Membership {
    /// Of a port, by this queue and pool; nothing is sent before the first [`Membership::look`].
    pub fn new(plan: &IgmpPlan, queue: TxQueue, pool: Mempool, heard: Vec<Arc<Shared>>) -> Membership {
        let tags = plan.vlan.map_or(Tags::None, |id| Tags::One(Tag::vlan(id)));
        Membership {
            host: Host { mac: queue.port().mac(), address: plan.address, tags },
            version: plan.version,
            groups: plan.groups.clone(),
            queue,
            pool,
            heard,
            queries: 0,
            joins: JOINS,
            next: Instant::now(),
            waiting: Burst::new(),
        }
    }

    /// Report what is due.
    pub fn look(&mut self, now: Instant) {
        let queries = self.heard.iter().map(|shared| shared.queries()).sum();
        let asked = queries != self.queries;
        if asked || now >= self.next {
            self.queries = queries;
            let joining = self.joins > 0;
            self.joins = self.joins.saturating_sub(1);
            self.next = now + if self.joins > 0 { BETWEEN_JOINS } else { UNASKED };
            self.report(if joining { Say::Join } else { Say::Listen });
        }
        self.send();
    }

    /// EAL's name of its device.
    pub fn device(&self) -> &str {
        self.queue.port().name()
    }

    /// Join again: a switch may have forgotten a device whose link was gone.
    pub fn join_again(&mut self, now: Instant) {
        (self.joins, self.next) = (JOINS, now);
    }

    /// Leave every group.
    pub fn leave(mut self) {
        self.report(Say::Leave);
        self.send();
    }

    fn report(&mut self, say: Say) {
        let mut bytes = [0; FRAME];
        let Membership { host, groups, .. } = self;
        let host = *host;
        for groups in groups.clone().chunks(if self.version == 2 { 1 } else { GROUPS }) {
            let length = match (self.version, say) {
                (2, Say::Leave) => host.v2_leave(groups[0], &mut bytes),
                (2, _) => host.v2_report(groups[0], &mut bytes),
                _ => host.v3_report(say, groups, &mut bytes),
            };
            // `FRAME` has room for any.
            self.push(&bytes[..length.unwrap_or(0)]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.waiting.is_full() {
            self.send();
        }
        // What a device does not take is said again when it is due.
        let Some(mut frame) = self.pool.alloc().filter(|_| !self.waiting.is_full()) else { return };
        if let Some(room) = frame.append(bytes.len()) {
            room.copy_from_slice(bytes);
            self.waiting.push(frame);
        }
    }

    fn send(&mut self) {
        if !self.waiting.is_empty() {
            self.queue.burst(&mut self.waiting);
        }
    }
}
