//! A DPDK port: opened by its EAL name, configured and started once, closed for good when its last queue is gone.
//!
//! In: what the caller wants of queues, pools and offloads. Out: one [`RxQueue`] or [`TxQueue`] value per hardware
//! queue, each for one lcore at a time. What the device cannot do is an error or, where the caller allowed it, said. A device
//! that was reset, or was removed and is there again, is started anew under its queues ([`Port::restart`]).

use super::flow::Rule;
use super::frame::look_up_stamps;
use super::gate::{self, Gate};
use super::hotplug::Slot;
use super::mempool::checked_name;
use super::{Burst, DpdkError, Eal, Mempool, Socket};
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A port. Clones and queues are owners; the last one to go stops and closes the device.
#[derive(Clone, Debug)]
pub struct Port(pub(super) Arc<Device>);

/// What a port shall be.
#[derive(Clone, Debug, Default)]
pub struct PortConfig {
    /// One receive queue each.
    pub rx: Vec<RxConfig>,
    /// One transmit queue each: descriptors wanted (0: the driver's default).
    pub tx: Vec<u16>,
    /// Have the device verify IPv4 and UDP checksums.
    pub checksum: Offload,
    /// Have the device stamp received frames: [`super::Frame::stamp`].
    pub timestamp: Offload,
    /// Receive every frame on the wire.
    pub promiscuous: bool,
    /// Receive the multicast frames to these addresses; where the driver does not filter, every multicast frame, and where it
    /// has no such mode, every frame on the wire. Nothing is done without any.
    pub multicast: Vec<[u8; 6]>,
    /// Largest IP packet; `None` leaves the driver's.
    pub mtu: Option<u16>,
}

/// One receive queue.
#[derive(Clone, Debug)]
pub struct RxConfig {
    /// Where its frames come from.
    pub pool: Mempool,
    /// Descriptors wanted (0: the driver's default); the device may round.
    pub descriptors: u16,
}

/// How much an offload is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Not.
    #[default]
    Off,
    /// If the device has it; [`Started`] says whether.
    IfAvailable,
    /// Or fail.
    Required,
}

/// A port that runs.
#[derive(Debug)]
pub struct Started {
    /// The port, for its counters.
    pub port: Port,
    /// Its receive queues, in the order of the configuration.
    pub rx: Vec<RxQueue>,
    /// Its transmit queues, likewise.
    pub tx: Vec<TxQueue>,
    /// Whether the device verifies checksums. False: verify in software.
    pub checksum: bool,
    /// Which multicast frames the device lets through.
    pub multicast: Multicast,
    /// Whether the device stamps frames because it was asked to. Some drivers, such as net_pcap, do so unasked.
    pub timestamp: bool,
}

/// Which multicast frames a device lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multicast {
    /// As it was: no address was asked for.
    Unchanged,
    /// Those asked for.
    Filtered,
    /// All.
    All,
    /// Every frame, whatever its address.
    Promiscuous,
}

/// What a driver says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Up.
    Up,
    /// Down.
    Down,
    /// The device was pulled out.
    Gone,
    /// Nothing.
    Untold,
}

/// One receive queue of a running port.
#[derive(Debug)]
pub struct RxQueue {
    queue: u16,
    gate: Arc<Gate>,
    device: Port,
}

/// One transmit queue of a running port.
#[derive(Debug)]
pub struct TxQueue {
    queue: u16,
    gate: Arc<Gate>,
    device: Port,
}

/// What came of starting a device anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// Frames that it had taken and not counted as sent; `None` when it did not tell its counters any more.
    pub unsent: Option<u64>,
    /// Resets and removals so far, of a device that was taken out of EAL and put in again: what was told of the one that went.
    pub events: Option<[u32; 2]>,
}

/// How often a port was out of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outages {
    /// Times that the device said it was reset.
    pub resets: u64,
    /// Times that it was started anew,
    pub restarts: u64,
    /// or was to be and did not start.
    pub restarts_failed: u64,
    /// Frames that it had taken and not counted as sent when it was started anew.
    pub unsent: u64,
    /// Times that the device said it was removed.
    pub removals: u64,
}

/// Counters of a port since it was opened, also over resets of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub ipackets: u64,
    /// Frames transmitted.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes transmitted.
    pub obytes: u64,
    /// Frames the device dropped because nobody fetched them in time.
    pub imissed: u64,
    /// Frames received in error.
    pub ierrors: u64,
    /// Frames that failed to be transmitted.
    pub oerrors: u64,
    /// Frames lost because their pool was empty.
    pub rx_nombuf: u64,
}

#[derive(Debug)]
pub(super) struct Device {
    /// [`OUT`] while it is taken out of EAL.
    pub(super) id: AtomicU16,
    name: String,
    pub(super) info: dpdk_sys::shim_port_info,
    /// From the first configuration call on: the device may hold memory of ours.
    pub(super) configured: AtomicBool,
    pub(super) started: AtomicBool,
    /// It said that it was removed, and is not to be used before it has been taken out of EAL and put in again.
    pub(super) gone: AtomicBool,
    /// It may have flow rules.
    pub(super) steered: AtomicBool,
    /// Held by whoever has the driver do something beside bursts.
    set_up: Mutex<SetUp>,
    counted: Mutex<Counted>,
    restarts: AtomicU32,
    restarts_failed: AtomicU32,
    unsent: AtomicU64,
    /// Resets and removals that EAL's number of it does not count, because it had another. Held while the number changes.
    pub(super) events_before: Mutex<[u32; 2]>,
    eal: Eal,
}

/// What a device was configured as, and is again when it is started anew.
#[derive(Debug, Default)]
pub(super) struct SetUp {
    /// The device keeps pointers into the pools until it is closed.
    config: PortConfig,
    rx_offloads: u64,
    pub(super) rules: Vec<Rule>,
    /// Of the receive queues,
    rx: Vec<Arc<Gate>>,
    /// and of the transmit queues that somebody has.
    tx: Vec<Arc<Gate>>,
    /// Of all transmit queues together.
    tx_descriptors: u64,
    /// Frames that were not sent in this outage; `None` when that is not known.
    unsent: Option<u64>,
    /// Where EAL finds it; `None` when it does not tell.
    pub(super) slot: Option<Slot>,
}

/// Counters that go on where a reset device begins at zero.
#[derive(Debug, Default)]
pub(super) struct Counted {
    before: [u64; 8],
    last: [u64; 8],
}

impl Counted {
    /// All in all, now that the device says this.
    fn add(&mut self, now: [u64; 8]) -> PortStats {
        for ((before, last), now) in self.before.iter_mut().zip(&mut self.last).zip(now) {
            if now < *last {
                *before += *last;
            }
            *last = now;
        }
        self.total()
    }

    /// The device begins at zero.
    pub(super) fn begin_anew(&mut self) {
        self.before.iter_mut().zip(std::mem::take(&mut self.last)).for_each(|(before, last)| *before += last);
    }

    fn total(&self) -> PortStats {
        let [ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf] =
            std::array::from_fn(|at| self.before[at] + self.last[at]);
        PortStats { ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf }
    }
}

/// Ports that have an owner, by EAL's number.
static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// No port has this number: what is asked of it fails.
pub(super) const OUT: u16 = u16::MAX;

/// Names of every port EAL has.
pub fn names(_eal: &Eal) -> Vec<String> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        // SAFETY: EAL is running while `_eal` lives; numbers beyond the table give the table's size.
        id = unsafe { dpdk_sys::rte_eth_find_next(id) };
        let mut name = [0; 64]; // RTE_ETH_NAME_MAX_LEN
        // SAFETY: room for the longest name; an id that is no port is refused.
        if unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) } != 0 {
            return found;
        }
        found.push(text(&name));
        id += 1;
    }
}

impl Port {
    /// Take the port of that EAL name (a PCI address or a vdev's name).
    ///
    /// # Errors
    /// No such port (with those that exist), a port somebody holds already, a driver that does not answer.
    pub fn open(eal: &Eal, name: &str) -> Result<Port, DpdkError> {
        checked_name("port", name, 63)?;
        let Some(id) = by_name(name) else {
            return Err(DpdkError::NoPort { name: name.to_owned(), known: names(eal) });
        };
        let info = described(name, id)?;
        let mut taken = taken();
        if taken.contains(&id) {
            return Err(DpdkError::PortTaken { name: name.to_owned() });
        }
        taken.push(id);
        Ok(Port(Arc::new(Device {
            id: AtomicU16::new(id),
            name: name.to_owned(),
            info,
            configured: AtomicBool::new(false),
            started: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            steered: AtomicBool::new(false),
            set_up: Mutex::default(),
            counted: Mutex::default(),
            restarts: AtomicU32::new(0),
            restarts_failed: AtomicU32::new(0),
            unsent: AtomicU64::new(0),
            events_before: Mutex::default(),
            eal: eal.clone(),
        })))
    }

    /// Configure the port and start it.
    ///
    /// # Errors
    /// What the device lacks, with its limits; what the driver says.
    pub fn start(self, config: &PortConfig) -> Result<Started, DpdkError> {
        let (checksum, timestamp) = self.check(config)?;
        if self.0.configured.swap(true, Ordering::SeqCst) {
            return Err(self.unsupported("was configured before; a port is started once"));
        }
        let rx_offloads = if checksum { CHECKSUM_OFFLOADS } else { 0 }
            | if timestamp { dpdk_sys::SHIM_RX_OFFLOAD_TIMESTAMP } else { 0 };
        let mut all = config.clone();
        if matches!(self.driver().as_str(), "net_af_xdp" | "net_tap") {
            // They take as many queues out as in; what nobody asked for stays unused.
            all.tx.resize(config.tx.len().max(config.rx.len()), 0);
        }
        if self.driver() == "net_af_xdp" {
            // What the kernel has not filled, or not sent, is never given back.
            config.rx.iter().for_each(|queue| queue.pool.keep_from());
        }
        let gate = |_| {
            let gate = Gate::default();
            gate.lead_to(self.id());
            Arc::new(gate)
        };
        let gates = |n: usize| (0..n).map(gate).collect::<Vec<Arc<Gate>>>();
        let (rx, tx) = (gates(config.rx.len()), gates(config.tx.len()));
        let multicast = {
            let mut set_up = self.set_up();
            let slot = Slot::of(self.id());
            if slot.is_none() {
                log::warn!(
                    "port `{}` does not tell where its device is: once removed it does not come back",
                    self.name()
                );
            }
            let unsent = Some(0);
            *set_up =
                SetUp { config: all, rx_offloads, rx: rx.clone(), tx: tx.clone(), unsent, slot, ..SetUp::default() };
            let multicast = self.bring_up(&mut set_up)?;
            self.listen(set_up.slot.as_ref());
            multicast
        };
        look_up_stamps(&self.0.eal);
        let rx_queue = |(queue, gate)| RxQueue { queue, gate, device: self.clone() };
        let tx_queue = |(queue, gate)| TxQueue { queue, gate, device: self.clone() };
        Ok(Started {
            rx: (0..).zip(rx).map(rx_queue).collect(),
            tx: (0..).zip(tx).map(tx_queue).collect(),
            checksum,
            multicast,
            timestamp,
            port: self,
        })
    }

    /// Start a device anew that says it was reset, as it was started, with its flow rules; one that was removed
    /// ([`Port::give_up`]) is taken out of EAL, and put in again and started if it is there. From the beginning of this on its
    /// queues neither give nor take frames, until it has succeeded. What the device held is gone. Takes as long as the driver
    /// does, which may be seconds.
    ///
    /// # Errors
    /// What the driver says; an lcore that is stuck in a burst; a device that is not there ([`Port::is_away`]). The queues
    /// rest, and it can be tried again.
    pub fn restart(&self) -> Result<Restarted, DpdkError> {
        let mut set_up = self.set_up();
        let restarted = self.start_anew(&mut set_up);
        match &restarted {
            Ok(_) => _ = self.0.restarts.fetch_add(1, Ordering::Relaxed),
            Err(DpdkError::Away { .. }) => {}
            Err(_) => _ = self.0.restarts_failed.fetch_add(1, Ordering::Relaxed),
        }
        restarted
    }

    fn start_anew(&self, set_up: &mut SetUp) -> Result<Restarted, DpdkError> {
        let gates = self.shut(set_up)?;
        if self.0.started.load(Ordering::SeqCst) {
            set_up.unsent = set_up.unsent.zip(self.unsent(set_up)).map(|(before, now)| before + now);
        }
        let mut events = None;
        // net_af_packet gives up its sockets when it is stopped, and would start without.
        if self.0.gone.load(Ordering::SeqCst) || self.driver() == "net_af_packet" {
            self.take_out(set_up)?;
            events = Some(self.put_in(set_up)?);
            gates.iter().for_each(|gate| gate.lead_to(self.id()));
        } else {
            self.0.flush();
            self.reset()?;
        }
        self.bring_up(set_up)?;
        self.put_rules(&set_up.rules)
            .map_err(|why| self.unsupported(format!("does not take its flow rules again: {why}")))?;
        // Counters that began anew are seen to, before they have grown beyond what they were.
        let _ = self.count();
        gates.iter().for_each(|gate| gate.open());
        Ok(Restarted { unsent: set_up.unsent.replace(0), events })
    }

    /// The device was removed: no burst begins any more, nothing is asked of it, and [`Port::restart`] takes it out of EAL.
    ///
    /// # Errors
    /// An lcore that is stuck in a burst. It can be tried again.
    pub fn give_up(&self) -> Result<(), DpdkError> {
        let set_up = self.set_up();
        self.0.gone.store(true, Ordering::SeqCst);
        self.shut(&set_up).map(drop)
    }

    fn shut(&self, set_up: &SetUp) -> Result<Vec<Arc<Gate>>, DpdkError> {
        let gates: Vec<_> = set_up.rx.iter().chain(&set_up.tx).cloned().collect();
        gate::shut(&gates).map_err(|err| self.unsupported(format!("is not at rest: {err}")))?;
        Ok(gates)
    }

    /// What the device took and has not sent, counted once; `None` when it does not tell, or is not to be believed.
    fn unsent(&self, set_up: &SetUp) -> Option<u64> {
        if self.0.gone.load(Ordering::SeqCst) {
            return None;
        }
        let out = self.count().ok()?;
        let handed = set_up.tx.iter().map(|gate| gate.handed()).sum();
        let known = self.0.unsent.load(Ordering::Relaxed);
        let unsent = held(handed, out.opackets + out.oerrors + known, set_up.tx_descriptors);
        self.0.unsent.fetch_add(unsent, Ordering::Relaxed);
        Some(unsent)
    }

    /// By the driver's own reset or, in one that has none, by stopping the port.
    fn reset(&self) -> Result<(), DpdkError> {
        let id = self.id();
        // SAFETY: an open port; the gates of its queues are shut.
        let rc = match unsafe { dpdk_sys::rte_eth_dev_reset(id) } {
            // SAFETY: as above.
            rc if rc == -libc::ENOTSUP => unsafe { dpdk_sys::rte_eth_dev_stop(id) },
            rc => rc,
        };
        self.done("was not reset", rc)?;
        // One that did not stop still holds frames.
        self.0.started.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Configure and start it.
    fn bring_up(&self, set_up: &mut SetUp) -> Result<Multicast, DpdkError> {
        let (id, config) = (self.id(), &set_up.config);
        self.configure(config, set_up.rx_offloads)?;
        set_up.tx_descriptors = self.set_up_queues(config, set_up.rx_offloads)?;
        // SAFETY: a configured port.
        self.done("did not start", unsafe { dpdk_sys::rte_eth_dev_start(id) })?;
        self.0.started.store(true, Ordering::SeqCst);
        if config.promiscuous {
            // SAFETY: a running port.
            self.done("did not become promiscuous", unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) })?;
        }
        self.let_through(&config.multicast)
    }

    pub(super) fn set_up(&self) -> MutexGuard<'_, SetUp> {
        self.0.set_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`PortConfig::multicast`].
    fn let_through(&self, macs: &[[u8; 6]]) -> Result<Multicast, DpdkError> {
        if macs.is_empty() {
            return Ok(Multicast::Unchanged);
        }
        let id = self.id();
        // SAFETY: a running port and as many addresses as are announced.
        if unsafe { dpdk_sys::shim_port_multicast(id, macs.as_ptr(), macs.len() as u32) } == 0 {
            return Ok(Multicast::Filtered);
        }
        // SAFETY: a running port.
        if unsafe { dpdk_sys::rte_eth_allmulticast_enable(id) } == 0 {
            return Ok(Multicast::All);
        }
        // A driver without the one, such as net_af_packet, has the other, which is more of the same.
        // SAFETY: a running port.
        let rc = unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) };
        self.done("receives neither single multicast groups, nor all of them, nor everything", rc)?;
        Ok(Multicast::Promiscuous)
    }

    /// EAL's name of it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// EAL's number of it: what [`super::Frame::port`] shows. Another one after it was taken out of EAL and put in again.
    pub fn id(&self) -> u16 {
        self.0.id.load(Ordering::Relaxed)
    }

    /// The driver behind it, such as `net_pcap`.
    pub fn driver(&self) -> String {
        text(&self.0.info.driver)
    }

    /// The NUMA node it sits on; [`Socket::Any`] when the device does not say.
    pub fn socket(&self) -> Socket {
        Socket::from_raw(self.0.info.numa_node)
    }

    /// Its MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.0.info.mac
    }

    /// Receive queues it can have.
    pub fn max_rx_queues(&self) -> u16 {
        self.0.info.rx_queues_max
    }

    /// Whether the device can verify IPv4 and UDP checksums.
    pub fn has_checksum(&self) -> bool {
        self.0.info.rx_offloads & CHECKSUM_OFFLOADS == CHECKSUM_OFFLOADS
    }

    /// Whether the device can stamp received frames.
    pub fn has_rx_timestamp(&self) -> bool {
        self.0.info.rx_offloads & dpdk_sys::SHIM_RX_OFFLOAD_TIMESTAMP != 0
    }

    /// Its link. Waits for nothing but the end of [`Port::restart`]; a system call in some drivers: not for the path.
    pub fn link(&self) -> Link {
        let _driver = self.set_up();
        if self.id() == OUT {
            return Link::Gone;
        }
        // SAFETY: an open port.
        match unsafe { dpdk_sys::shim_port_link(self.id()) } {
            0 => Link::Down,
            rc if rc == -libc::ENODEV => Link::Gone,
            rc if rc < 0 => Link::Untold,
            _ => Link::Up,
        }
    }

    /// Times that the device said it was reset, since it was started.
    pub fn resets(&self) -> u32 {
        self.events()[0]
    }

    /// Resets and removals, over all numbers that it had.
    pub(super) fn events(&self) -> [u32; 2] {
        let before = self.events_before();
        let now = counted(self.id());
        std::array::from_fn(|at| before[at].wrapping_add(now[at]))
    }

    pub(super) fn events_before(&self) -> MutexGuard<'_, [u32; 2]> {
        self.0.events_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Have its resets and removals counted.
    pub(super) fn listen(&self, slot: Option<&Slot>) {
        let device = slot.map_or(std::ptr::null(), |slot| slot.name.as_ptr());
        // SAFETY: an open port, and a name that ends with NUL or none.
        let rc = unsafe { dpdk_sys::shim_port_count_events(self.id(), device) };
        if rc != 0 {
            let why = super::error::why(rc);
            log::warn!("port `{}`: not every reset or removal of the device will be heard of: {why}", self.name());
        }
    }

    /// How often it was reset, and what came of it.
    pub fn outages(&self) -> Outages {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed).into();
        let [resets, removals] = self.events().map(u64::from);
        Outages {
            resets,
            restarts: load(&self.0.restarts),
            restarts_failed: load(&self.0.restarts_failed),
            unsent: self.0.unsent.load(Ordering::Relaxed),
            removals,
        }
    }

    /// The device's clock now, in its own ticks: that of the stamps it puts on frames. `None` when the driver cannot tell;
    /// then its stamps cannot be compared with anything of this host, or while it is started anew. Crosses PCIe: not for the path.
    pub fn read_clock(&self) -> Option<u64> {
        let _driver = self.0.set_up.try_lock().ok().filter(|_| self.id() != OUT)?;
        let mut ticks = 0;
        // SAFETY: an open port and a place for the clock.
        let rc = unsafe { dpdk_sys::rte_eth_read_clock(self.id(), &mut ticks) };
        (rc == 0).then_some(ticks)
    }

    /// Version of the device's firmware; `None` when the driver does not tell.
    pub fn firmware(&self) -> Option<String> {
        let _driver = self.set_up();
        if self.id() == OUT {
            return None;
        }
        let mut version = [0; 256];
        // SAFETY: an open port, and room for as many bytes as are announced; a longer version is refused.
        let rc = unsafe { dpdk_sys::rte_eth_dev_fw_version_get(self.id(), version.as_mut_ptr(), version.len() as _) };
        (rc == 0).then(|| text(&version)).filter(|version| !version.is_empty())
    }

    /// Its counters; while it is started anew, or does not tell after an outage, those before. A system call in some drivers: not for the path.
    ///
    /// # Errors
    /// What the driver says.
    pub fn stats(&self) -> Result<PortStats, DpdkError> {
        match self.0.set_up.try_lock() {
            Ok(_driver) if !self.0.gone.load(Ordering::SeqCst) => match self.count() {
                Err(_) if self.outages() != Outages::default() => Ok(self.counted().total()),
                counted => counted,
            },
            _ => Ok(self.counted().total()),
        }
    }

    fn count(&self) -> Result<PortStats, DpdkError> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: an open port and a place for its counters.
        self.done("does not tell its counters", unsafe { dpdk_sys::rte_eth_stats_get(self.id(), &mut raw) })?;
        Ok(self.counted().add([
            raw.ipackets,
            raw.opackets,
            raw.ibytes,
            raw.obytes,
            raw.imissed,
            raw.ierrors,
            raw.oerrors,
            raw.rx_nombuf,
        ]))
    }

    pub(super) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hold what is wanted against what the device has: whether checksums and stamps shall be offloaded.
    fn check(&self, config: &PortConfig) -> Result<(bool, bool), DpdkError> {
        let info = &self.0.info;
        for (kind, wanted, most) in
            [("receive", config.rx.len(), info.rx_queues_max), ("transmit", config.tx.len(), info.tx_queues_max)]
        {
            if wanted > usize::from(most) {
                return Err(self.unsupported(format!("has {most} {kind} queues and {wanted} are wanted")));
            }
        }
        if let Some(mtu) = config.mtu.filter(|mtu| *mtu > info.mtu_max && info.mtu_max != 0) {
            return Err(self.unsupported(format!("carries an MTU of at most {} and {mtu} is wanted", info.mtu_max)));
        }
        let offload = |wanted, there: bool, lacks: &str| match wanted {
            Offload::Required if !there => Err(self.unsupported(lacks)),
            wanted => Ok(wanted != Offload::Off && there),
        };
        let software = "does not verify IPv4 and UDP checksums; allow software verification";
        let unstamped = "does not stamp received frames; do without device stamps";
        Ok((
            offload(config.checksum, self.has_checksum(), software)?,
            offload(config.timestamp, self.has_rx_timestamp(), unstamped)?,
        ))
    }

    fn configure(&self, config: &PortConfig, rx_offloads: u64) -> Result<(), DpdkError> {
        let (rx, tx) = (config.rx.len() as u16, config.tx.len() as u16);
        // SAFETY: a port that is not running, and counts that `check` found within its limits.
        let rc =
            unsafe { dpdk_sys::shim_port_configure(self.id(), rx, tx, rx_offloads, 0, config.mtu.unwrap_or_default()) };
        self.done("could not be configured", rc)
    }

    /// Returns how many transmit descriptors there are.
    fn set_up_queues(&self, config: &PortConfig, rx_offloads: u64) -> Result<u64, DpdkError> {
        let id = self.id();
        let socket = self.0.info.numa_node;
        for (queue, rx) in config.rx.iter().enumerate() {
            let (descriptors, _) = self.descriptors(rx.descriptors, 0)?;
            // SAFETY: a configured port, a queue within its count, a pool that `SetUp` holds until the device is closed.
            let rc = unsafe {
                let pool = rx.pool.raw();
                dpdk_sys::shim_rx_queue_setup(id, queue as u16, descriptors, socket, rx_offloads, pool)
            };
            self.done(&format!("could not set up receive queue {queue} of {descriptors} descriptors"), rc)?;
        }
        let mut all = 0;
        for (queue, wanted) in config.tx.iter().enumerate() {
            let (_, descriptors) = self.descriptors(0, *wanted)?;
            // SAFETY: a configured port and a queue within its count.
            let rc = unsafe { dpdk_sys::shim_tx_queue_setup(id, queue as u16, descriptors, socket, 0) };
            self.done(&format!("could not set up transmit queue {queue} of {descriptors} descriptors"), rc)?;
            all += u64::from(descriptors);
        }
        Ok(all)
    }

    /// Numbers of descriptors that the device takes, nearest to those wanted.
    fn descriptors(&self, rx: u16, tx: u16) -> Result<(u16, u16), DpdkError> {
        let or_default = |n| if n == 0 { 512 } else { n };
        let (mut rx_n, mut tx_n) = (or_default(rx), or_default(tx));
        // SAFETY: an open port and two places for numbers.
        let rc = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id(), &mut rx_n, &mut tx_n) };
        self.done("does not tell its descriptor limits", rc)?;
        for (kind, wanted, found) in [("receive", rx, rx_n), ("transmit", tx, tx_n)] {
            if wanted != 0 && wanted != found {
                log::warn!("port `{}`: {wanted} {kind} descriptors are wanted, the device takes {found}", self.name());
            }
        }
        Ok((rx_n, tx_n))
    }

    pub(super) fn done(&self, what: &str, rc: i32) -> Result<(), DpdkError> {
        if rc == 0 {
            return Ok(());
        }
        Err(DpdkError::call(format!("the DPDK port `{}` ({}) {what}", self.name(), self.driver()), rc))
    }

    pub(super) fn unsupported(&self, problem: impl Into<String>) -> DpdkError {
        DpdkError::Unsupported { port: self.name().to_owned(), driver: self.driver(), problem: problem.into() }
    }
}

const CHECKSUM_OFFLOADS: u64 = dpdk_sys::SHIM_RX_OFFLOAD_IPV4_CKSUM | dpdk_sys::SHIM_RX_OFFLOAD_UDP_CKSUM;

impl RxQueue {
    /// Receive at most `max` frames into the spare room of `burst`. Returns how many came: none while the device is started
    /// anew. Some drivers give nothing for a room below 4 or 8.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        if !self.gate.enter() {
            return 0;
        }
        let len = burst.len();
        let room = burst.remaining_capacity().min(max) as u16;
        // SAFETY: a running port's queue behind its open gate, used through this one value; `room` slots lie behind `len` and
        // those received hold mbufs of a pool of ours.
        let received = unsafe {
            let slots = burst.as_mut_ptr().add(len).cast();
            let received = usize::from(dpdk_sys::shim_rx_burst(self.gate.port(), self.queue, slots, room));
            burst.set_len(len + received);
            received
        };
        self.gate.leave();
        received
    }

    /// The port it belongs to.
    pub fn port(&self) -> &Port {
        &self.device
    }
}

impl TxQueue {
    /// Hand frames to the device, from the front; those it does not take stay in the burst. Returns how many went: none while
    /// the device is started anew.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        if !self.gate.enter() {
            return 0;
        }
        let len = burst.len();
        // SAFETY: a running port's queue behind its open gate, used through this one value; the device owns what it accepts,
        // the rest moves to the front.
        let sent = unsafe {
            let all = burst.as_mut_ptr();
            let sent = usize::from(dpdk_sys::shim_tx_burst(self.gate.port(), self.queue, all.cast(), len as u16));
            burst.set_len(0);
            if sent < len {
                std::ptr::copy(all.add(sent), all, len - sent);
                burst.set_len(len - sent);
            }
            sent
        };
        self.gate.count(sent);
        self.gate.leave();
        sent
    }

    /// Whether it takes nothing, because its device is being started anew, or is gone.
    #[inline]
    pub fn rests(&self) -> bool {
        self.gate.is_shut()
    }

    /// The port it belongs to.
    pub fn port(&self) -> &Port {
        &self.device
    }
}

impl Device {
    /// Take all flow rules away.
    pub(super) fn flush(&self) {
        if self.steered.swap(false, Ordering::SeqCst) {
            // SAFETY: a running port. What cannot be taken away goes with the device.
            let _ = unsafe { dpdk_sys::shim_flow_flush(self.id.load(Ordering::Relaxed)) };
        }
    }

    /// A closed device is gone from EAL for good, so one that was only looked at stays open.
    pub(super) fn close(&self) {
        if !self.configured.load(Ordering::SeqCst) {
            return;
        }
        self.flush();
        let id = self.id.load(Ordering::Relaxed);
        // SAFETY: no queue is in use: each holds the port, so none is left, or its gate is shut. Closing gives the device's
        // frames back to their pools, which are dropped after this.
        let (stopped, closed) = unsafe {
            let stopped = if self.started.load(Ordering::SeqCst) { dpdk_sys::rte_eth_dev_stop(id) } else { 0 };
            (stopped, dpdk_sys::rte_eth_dev_close(id))
        };
        if stopped != 0 || closed != 0 {
            log::warn!("port `{}` did not stop cleanly: {}", self.name, super::error::why(stopped.min(closed)));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.close();
        taken().retain(|taken| *taken != *self.id.get_mut());
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Resets and removals that were counted under a number.
pub(super) fn counted(id: u16) -> [u32; 2] {
    // SAFETY: any number.
    unsafe { [dpdk_sys::shim_port_resets(id), dpdk_sys::shim_port_removals(id)] }
}

/// See [`TAKEN`].
pub(super) fn taken() -> MutexGuard<'static, Vec<u16>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// EAL's number of the port of that name.
pub(super) fn by_name(name: &str) -> Option<u16> {
    let (name, mut id) = (CString::new(name).ok()?, 0);
    // SAFETY: a name that ends with NUL and a place for the number.
    (unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } == 0).then_some(id)
}

/// What a port says of itself.
pub(super) fn described(name: &str, id: u16) -> Result<dpdk_sys::shim_port_info, DpdkError> {
    let mut info = dpdk_sys::shim_port_info::default();
    // SAFETY: EAL runs where there is a port's number; a number that is none is refused; a place for the description.
    match unsafe { dpdk_sys::shim_port_info(id, &mut info) } {
        0 => Ok(info),
        rc => Err(DpdkError::call(format!("the DPDK port `{name}` does not describe itself"), rc)),
    }
}

/// Of so many frames that a device took: those that are neither out nor known to be lost. It holds as many as it has
/// descriptors; what it counts otherwise than we do is none of them.
fn held(handed: u64, gone: u64, descriptors: u64) -> u64 {
    handed.saturating_sub(gone).min(descriptors)
}

pub(super) fn text(chars: &[c_char]) -> String {
    // SAFETY: an i8 is a byte; the slice is as long.
    let bytes = unsafe { std::slice::from_raw_parts(chars.as_ptr().cast::<u8>(), chars.len()) };
    CStr::from_bytes_until_nul(bytes).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_where_a_device_begins_at_zero() {
        let mut counted = Counted::default();
        let says = |ipackets, opackets| [ipackets, opackets, 0, 0, 0, 0, 0, 0];
        let mut seen = |ipackets, opackets| {
            let all = counted.add(says(ipackets, opackets));
            (all.ipackets, all.opackets)
        };
        assert_eq!([seen(10, 5), seen(12, 5), seen(0, 0), seen(3, 7)], [(10, 5), (12, 5), (12, 5), (15, 12)]);
        assert_eq!((counted.total().ipackets, counted.total().opackets), (15, 12));
    }

    #[test]
    fn what_a_device_holds_is_what_it_took_and_has_neither_sent_nor_lost() {
        assert_eq!(held(100, 97, 512), 3);
        assert_eq!(held(100, 100, 512), 0);
        assert_eq!(held(100, 130, 512), 0, "it counts frames that are not ours");
        assert_eq!(held(10_000, 0, 512), 512, "it counts none");
    }
}
