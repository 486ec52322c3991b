//! A port of a card: its settings, and what there is to know of it away from the path.
//!
//! In: an interface's kernel name. Out: receiving and transmitting queues, each a virtual interface of its own; link, clock and losses
//! for whoever watches. The kernel keeps the port: ARP, IGMP and whatever no filter takes stay with it.

use super::queue::{Ended, Renew};
use super::receive::RxRing;
use super::transmit::TxRing;
use super::vi::Vi;
use super::{EfviError, RxQueue, TxQueue};
use crate::dpdk::Mempool;
use crate::dpdk::ethdev::{Link, Offload, Outages};
use crate::sys::ethtool::DriverCounters;
use efvi_sys::efvi_shim_config;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

/// A port. Clones and queues are owners.
#[derive(Clone)]
pub struct Port(Arc<Shared>);

/// How orders leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ctpio {
    /// Whether the processor writes frames to the card itself.
    pub mode: Offload,
    /// Bytes the card has before it begins to send, 64 or more; 65,535: all of them.
    pub threshold: u16,
}

/// Which packets come here and not to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of which protocol.
    pub protocol: Protocol,
    /// To where: a group, or an address of ours. A group has to be joined besides.
    pub local: SocketAddrV4,
    /// From where; anybody when `None`.
    pub peer: Option<SocketAddrV4>,
    /// With which VLAN tag; `None`: untagged, or whatever the card's firmware makes of it.
    pub vlan: Option<u16>,
}

/// What runs over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// What came of asking a card for a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u32,
    /// It sends by CTPIO.
    pub ctpio: bool,
    /// It stamps what it receives.
    pub rx_stamps: bool,
    /// It stamps what it transmits.
    pub tx_stamps: bool,
    /// It tells of received packets several at a time: its firmware is made for throughput, not for latency.
    pub merges: bool,
    /// Variant of the firmware that receives, by ef_vi's number; `None` when it does not tell.
    pub rx_variant: Option<u64>,
}

/// What queues tell whoever watches.
pub(super) struct Shared {
    interface: String,
    ctpio: Ctpio,
    stamps: Offload,
    clock: Option<File>,
    counters: Option<DriverCounters>,
    /// Queues that a card which was reset, or could not transmit, has ended; and event queues that overflowed.
    resets: AtomicU32,
    overflows: AtomicU32,
    /// Of those, how many have not gone on yet.
    lost: AtomicU32,
    restarts: AtomicU32,
    restarts_failed: AtomicU32,
    /// Frames that the card had of transmitting queues that it ended.
    unsent: AtomicU64,
    /// Of those, how many [`Port::renew`] has told of.
    unsent_told: AtomicU64,
    desks: Mutex<Vec<Weak<dyn Renew>>>,
}

/// What came of opening queues anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Losses of queues that it mended, all together: [`Port::losses`] when it began.
    pub losses: u32,
    /// Frames that the card had of transmitting queues, since the last time.
    pub unsent: u64,
}

impl Shared {
    pub fn add_desk(&self, desk: Weak<dyn Renew>) {
        self.desks().push(desk);
    }

    /// A queue has lost its ring.
    pub fn ended(&self, ended: Ended) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.unsent.fetch_add(ended.unsent, Ordering::Relaxed);
        // Last: whoever sees the loss finds the ring on its desk.
        self.overflows.fetch_add(ended.overflows, Ordering::Release);
        self.resets.fetch_add(ended.resets, Ordering::Release);
    }

    /// A queue has another ring.
    pub fn went_on(&self) {
        self.lost.fetch_sub(1, Ordering::Relaxed);
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Weak<dyn Renew>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    /// The port of that interface. Nothing is asked of the card before the first queue.
    pub fn new(interface: &str, ctpio: Ctpio, stamps: Offload) -> Port {
        Port(Arc::new(Shared {
            interface: interface.to_owned(),
            ctpio,
            stamps,
            clock: clock_of(interface).and_then(|path| File::open(path).ok()),
            counters: DriverCounters::of(interface, |name| name.contains("ctpio_")),
            resets: AtomicU32::new(0),
            overflows: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            restarts: AtomicU32::new(0),
            restarts_failed: AtomicU32::new(0),
            unsent: AtomicU64::new(0),
            unsent_told: AtomicU64::new(0),
            desks: Mutex::default(),
        }))
    }

    /// A queue that receives what these filters match, into frames of `pool`, with a ring of `slots` (a power of two).
    ///
    /// # Errors
    /// What the card lacks or refuses, and what to do.
    pub fn receiver(&self, pool: &Mempool, slots: u32, filters: &[Filter]) -> Result<RxQueue, EfviError> {
        let (pool, filters) = (pool.clone(), filters.to_vec());
        RxQueue::open(self, move |port| port.rx_ring(&pool, slots, &filters))
    }

    fn rx_ring(&self, pool: &Mempool, slots: u32, filters: &[Filter]) -> Result<RxRing, EfviError> {
        let buffer_bytes = pool.data_room().min(MOST_BUFFER);
        let mut vi = self.open(efvi_shim_config {
            rx_slots: slots as i32,
            buffer_bytes: buffer_bytes as u32,
            rx_stamps: wanted(self.0.stamps),
            ..self.config()
        })?;
        let needed = vi.info.mtu as usize + ETHERNET + vi.info.prefix_bytes as usize;
        if needed > buffer_bytes {
            let problem = format!(
                "frames of {} bytes are too small for its MTU of {}, which takes {needed}; lower the MTU (ip link set {} mtu 1500)",
                buffer_bytes, vi.info.mtu, self.0.interface
            );
            return Err(EfviError::Frames { interface: self.0.interface.clone(), problem });
        }
        vi.register(pool)?;
        let mut ring = RxRing::new(vi, pool.clone(), self.name());
        // Only now, so that the first packet finds a buffer.
        ring.filter(filters)?;
        Ok(ring)
    }

    /// A queue that transmits frames of `pool`, with a ring of `slots` (a power of two).
    ///
    /// # Errors
    /// What the card lacks or refuses, and what to do.
    pub fn transmitter(&self, pool: &Mempool, slots: u32) -> Result<TxQueue, EfviError> {
        let pool = pool.clone();
        TxQueue::open(self, move |port| port.tx_ring(&pool, slots))
    }

    fn tx_ring(&self, pool: &Mempool, slots: u32) -> Result<TxRing, EfviError> {
        let mut vi = self.open(efvi_shim_config {
            tx_slots: slots as i32,
            ctpio: wanted(self.0.ctpio.mode),
            ctpio_threshold: self.0.ctpio.threshold.into(),
            tx_stamps: wanted(self.0.stamps),
            ..self.config()
        })?;
        vi.register(pool)?;
        Ok(TxRing::new(vi, pool.clone()))
    }

    /// Open virtual interfaces for the queues that have lost theirs, with their filters; each queue goes on at its next poll. May take
    /// as long as the card is away.
    ///
    /// # Errors
    /// What the card refuses. The queues rest, and it can be tried again.
    pub fn renew(&self) -> Result<Renewed, EfviError> {
        // Queues of a card that was reset find out one after the other.
        std::thread::sleep(GATHER);
        let shared = &self.0;
        let (losses, unsent) = (self.losses(), shared.unsent.load(Ordering::Relaxed));
        let mut desks: Vec<Arc<dyn Renew>> = shared.desks().iter().filter_map(Weak::upgrade).collect();
        // What is lost is closed before anything is opened: it may stand in the way.
        desks.retain(|desk| desk.clear());
        let renewed = desks.iter().try_for_each(|desk| desk.renew(self));
        let count = if renewed.is_ok() { &shared.restarts } else { &shared.restarts_failed };
        count.fetch_add(1, Ordering::Relaxed);
        renewed.map(|()| Renewed { losses, unsent: unsent - shared.unsent_told.swap(unsent, Ordering::Relaxed) })
    }

    /// The kernel's name of it.
    pub fn name(&self) -> &str {
        &self.0.interface
    }

    /// Its link, as the kernel sees it; gone while a queue is lost. Reads a file: not for the path.
    pub fn link(&self) -> Link {
        if self.0.lost.load(Ordering::Relaxed) > 0 {
            return Link::Gone;
        }
        match fs::read_to_string(class(&self.0.interface).join("carrier")).as_deref().map(str::trim_end) {
            Ok("1") => Link::Up,
            Ok(_) => Link::Down,
            // The kernel refuses to tell of an interface that is down; one that it does not know cannot be told of.
            Err(_) if class(&self.0.interface).exists() => Link::Down,
            Err(_) => Link::Untold,
        }
    }

    /// Queues that the card has ended: it was reset, or could not send a frame.
    pub fn resets(&self) -> u32 {
        self.0.resets.load(Ordering::Acquire)
    }

    /// Queues whose events overflowed: nobody had polled them in time.
    pub fn overflows(&self) -> u32 {
        self.0.overflows.load(Ordering::Acquire)
    }

    /// Queues that were lost, for either reason.
    pub fn losses(&self) -> u32 {
        self.resets() + self.overflows()
    }

    /// How often queues were lost, and what came of it.
    pub fn outages(&self) -> Outages {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed).into();
        Outages {
            resets: self.losses().into(),
            restarts: load(&self.0.restarts),
            restarts_failed: load(&self.0.restarts_failed),
            unsent: self.0.unsent.load(Ordering::Relaxed),
            removals: 0,
        }
    }

    /// The card's clock now, in ns: that of its stamps. `None` where the kernel has no such clock for the interface, or this user may
    /// not read it. A system call: not for the path.
    pub fn read_clock(&self) -> Option<u64> {
        let file = self.0.clock.as_ref()?;
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // CLOCKFD of linux/posix-timers.h.
        let clock = !file.as_raw_fd() << 3 | 3;
        // SAFETY: a place for the time; the kernel refuses a number that is no clock.
        let rc = unsafe { libc::clock_gettime(clock, &mut now) };
        (rc == 0).then(|| now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    /// What the driver counts of CTPIO by its names (`ctpio_success`, `ctpio_fallback`, `ctpio_poison` and others): of the whole port,
    /// by whomever, and up to a second ago. Nothing of a card without it. A system call: not for the path.
    pub fn ctpio(&self) -> BTreeMap<String, u64> {
        self.0.counters.as_ref().map(DriverCounters::read).unwrap_or_default()
    }

    /// Packets that the card lost because no buffer was posted, by the kernel's count of the whole port.
    pub fn missed(&self) -> Option<u64> {
        let path = class(&self.0.interface).join("statistics/rx_missed_errors");
        fs::read_to_string(path).ok()?.trim_end().parse().ok()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    fn open(&self, config: efvi_shim_config) -> Result<Vi, EfviError> {
        Vi::open(&self.0.interface, config)
    }

    fn config(&self) -> efvi_shim_config {
        efvi_shim_config {
            interface: std::ptr::null(),
            rx_slots: 0,
            tx_slots: 0,
            buffer_bytes: 0,
            ctpio_threshold: 0,
            ctpio: efvi_sys::OFF,
            rx_stamps: efvi_sys::OFF,
            tx_stamps: efvi_sys::OFF,
            reserved: 0,
        }
    }
}

/// Bytes of a receive buffer at most: the card's descriptor has no room for more.
const MOST_BUFFER: usize = 8 * 1024;
/// How long queues of one card have to find out that it was reset.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes of an Ethernet header with a VLAN tag.
const ETHERNET: usize = 18;

impl QueueInfo {
    pub(super) fn of(vi: &Vi) -> QueueInfo {
        let info = &vi.info;
        QueueInfo {
            mac: info.mac,
            mtu: info.mtu,
            ctpio: info.ctpio != 0,
            rx_stamps: info.rx_stamps != 0,
            tx_stamps: info.tx_stamps != 0,
            merges: info.merges != 0,
            rx_variant: Some(info.rx_variant).filter(|variant| *variant != u64::MAX),
        }
    }
}

fn wanted(offload: Offload) -> u8 {
    match offload {
        Offload::Off => efvi_sys::OFF,
        Offload::IfAvailable => efvi_sys::AUTO,
        Offload::Required => efvi_sys::REQUIRED,
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({:?})", self.name())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        };
        write!(f, "{protocol} to {}", self.local)?;
        if let Some(peer) = self.peer {
            write!(f, " from {peer}")?;
        }
        self.vlan.map_or(Ok(()), |vlan| write!(f, " in VLAN {vlan}"))
    }
}

fn class(interface: &str) -> PathBuf {
    Path::new("/sys/class/net").join(interface)
}

/// The device file of the interface's hardware clock.
fn clock_of(interface: &str) -> Option<PathBuf> {
    let clocks: io::Result<fs::ReadDir> = fs::read_dir(class(interface).join("device/ptp"));
    let name = clocks.ok()?.flatten().next()?.file_name();
    Some(Path::new("/dev").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_says_what_it_matches() {
        let local = "233.54.12.111:26477".parse().unwrap();
        let filter = Filter { protocol: Protocol::Udp, local, peer: None, vlan: Some(7) };
        assert_eq!(filter.to_string(), "UDP to 233.54.12.111:26477 in VLAN 7");
        let peer = Some("10.0.1.1:26400".parse().unwrap());
        let filter = Filter { protocol: Protocol::Tcp, local: "10.0.0.1:40000".parse().unwrap(), peer, vlan: None };
        assert_eq!(filter.to_string(), "TCP to 10.0.0.1:40000 from 10.0.1.1:26400");
    }

    #[test]
    fn a_port_the_kernel_does_not_know_tells_nothing() {
        let ctpio = Ctpio { mode: Offload::IfAvailable, threshold: 64 };
        let port = Port::new("tickpath-none", ctpio, Offload::IfAvailable);
        assert_eq!((port.link(), port.read_clock(), port.missed(), port.resets()), (Link::Untold, None, None, 0));
        assert!(port.ctpio().is_empty());
    }
}
