//! What drives a live port, where it does not matter what: one type for whoever watches a device, and one for who receives from it.
//!
//! In: a DPDK port or a card's. Out: link, clock and losses; bursts of frames, and an account of what did not become one.

use crate::dpdk::ethdev::{Link, Outages, PortStats, Restarted};
use crate::dpdk::{self, Burst, RxQueue};
#[cfg(feature = "ef_vi")]
use crate::efvi;
use crate::latency::board::Count;

/// Groups of figures: what a card and its queues met, and how its rings stand.
#[cfg(feature = "ef_vi")]
pub(super) const CARD: &str = "card";
#[cfg(feature = "ef_vi")]
pub(super) const CARD_NOW: &str = "card now";

/// A device, away from the path.
#[derive(Clone, Debug)]
pub enum Device {
    /// Of DPDK.
    Ethdev(dpdk::Port),
    /// A card's port that the kernel keeps.
    #[cfg(feature = "ef_vi")]
    Efvi(efvi::Port),
}

/// A receive queue.
pub enum RxPort {
    /// Of a DPDK port.
    Ethdev(RxQueue),
    /// Of a card.
    #[cfg(feature = "ef_vi")]
    Efvi(Box<efvi::RxQueue>),
}

/// What came of starting a device anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anew {
    /// Frames that it had taken and not sent; `None` when it does not tell.
    pub unsent: Option<u64>,
    /// [`Device::resets`] that this was for; `None`: those before it began.
    pub resets: Option<u32>,
    /// Removals likewise.
    pub removals: Option<u32>,
}

impl Device {
    /// Its name: EAL's, or the kernel's.
    pub fn name(&self) -> &str {
        match self {
            Device::Ethdev(port) => port.name(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => port.name(),
        }
    }

    /// The driver behind it, such as `net_pcap`.
    pub fn driver(&self) -> String {
        match self {
            Device::Ethdev(port) => port.driver(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(_) => "ef_vi".to_owned(),
        }
    }

    /// Its link.
    pub fn link(&self) -> Link {
        match self {
            Device::Ethdev(port) => port.link(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => port.link(),
        }
    }

    /// Times that it was reset, or that its events overflowed.
    pub fn resets(&self) -> u32 {
        match self {
            Device::Ethdev(port) => port.resets(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => port.losses(),
        }
    }

    /// How often it was reset, and what came of it.
    pub fn outages(&self) -> Outages {
        match self {
            Device::Ethdev(port) => port.outages(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => port.outages(),
        }
    }

    /// Whether its device was removed and is not there again. Reads a folder: not for the path.
    pub fn is_away(&self) -> bool {
        match self {
            Device::Ethdev(port) => port.is_away(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(_) => false,
        }
    }

    /// Start it anew. May take seconds.
    ///
    /// # Errors
    /// What the driver or the card says; it can be tried again.
    pub fn restart(&self) -> Result<Anew, String> {
        match self {
            Device::Ethdev(port) => {
                let anew = |Restarted { unsent, events }: Restarted| {
                    let [resets, removals] = events.map_or([None; 2], |events| events.map(Some));
                    Anew { unsent, resets, removals }
                };
                port.restart().map(anew).map_err(|err| err.to_string())
            }
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => {
                let anew = |efvi::Renewed { losses, unsent }: efvi::Renewed| Anew {
                    unsent: Some(unsent),
                    resets: Some(losses),
                    removals: None,
                };
                port.renew().map(anew).map_err(|err| err.to_string())
            }
        }
    }

    /// Have the queues of a DPDK port whose device was removed neither give nor take frames any more; a card's know by themselves.
    ///
    /// # Errors
    /// See [`dpdk::Port::give_up`].
    pub fn give_up(&self) -> Result<(), dpdk::DpdkError> {
        match self {
            Device::Ethdev(port) => port.give_up(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(_) => Ok(()),
        }
    }

    /// The clock of its stamps now, in its own ticks; `None` when that cannot be told.
    pub fn read_clock(&self) -> Option<u64> {
        match self {
            Device::Ethdev(port) => port.read_clock(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => port.read_clock(),
        }
    }

    /// Version of its firmware; `None` when that is not told.
    pub fn firmware(&self) -> Option<String> {
        match self {
            Device::Ethdev(port) => port.firmware(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(_) => None,
        }
    }

    /// What it lost; `None` of one that does not count.
    pub fn stats(&self) -> Option<PortStats> {
        match self {
            Device::Ethdev(port) => port.stats().ok(),
            #[cfg(feature = "ef_vi")]
            Device::Efvi(port) => Some(PortStats { imissed: port.missed()?, ..PortStats::default() }),
        }
    }
}

impl RxPort {
    /// Receive at most `max` frames into the spare room of `burst`. Returns how many came.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        match self {
            RxPort::Ethdev(queue) => queue.burst(burst, max),
            #[cfg(feature = "ef_vi")]
            RxPort::Efvi(queue) => queue.burst(burst, max),
        }
    }

    /// The device it belongs to.
    pub fn device(&self) -> Device {
        match self {
            RxPort::Ethdev(queue) => Device::Ethdev(queue.port().clone()),
            #[cfg(feature = "ef_vi")]
            RxPort::Efvi(queue) => Device::Efvi(queue.port().clone()),
        }
    }

    /// Packets that it was told of and that did not become frames.
    pub fn discarded(&self) -> u64 {
        match self {
            RxPort::Ethdev(_) => 0,
            #[cfg(feature = "ef_vi")]
            RxPort::Efvi(queue) => queue.counters().dropped(),
        }
    }
}

/// The account of what cards told of these queues and did not deliver, all together; nothing where no card is among them.
pub(super) fn account<'q>(queues: impl Iterator<Item = &'q RxPort>, each: &mut dyn FnMut(Count, u64)) {
    #[cfg(feature = "ef_vi")]
    {
        let counters = queues.filter_map(|queue| match queue {
            RxPort::Ethdev(_) => None,
            RxPort::Efvi(queue) => Some(*queue.counters()),
        });
        let Some(all) = counters.reduce(efvi::RxCounters::with) else { return };
        for (reason, n) in efvi::RxCounters::REASONS.into_iter().zip(all.discards) {
            each(Count::Dropped(reason), n);
        }
        each(Count::Dropped("longer than a buffer (card)"), all.split);
        let events =
            [("pool empty", all.pool_empty), ("no buffer", all.no_buffer), ("rx stamp out of sync", all.unsynced)];
        events.into_iter().for_each(|(name, n)| each(Count::Figure(CARD, name), n));
        each(Count::Figure(CARD_NOW, "posted"), all.posted);
    }
    #[cfg(not(feature = "ef_vi"))]
    let _ = (queues.count(), each);
}
