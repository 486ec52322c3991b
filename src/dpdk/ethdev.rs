//! A DPDK port: opened by its EAL name, configured and started once, closed for good when its last queue is gone.
//!
//! In: what the caller wants of queues, pools and offloads. Out: one [`RxQueue`] or [`TxQueue`] value per hardware
//! queue, each for one lcore at a time. What the device cannot do is an error or, where the caller allowed it, said.

use super::frame::look_up_stamps;
use super::mempool::checked_name;
use super::{Burst, DpdkError, Eal, Mempool, Socket};
use std::ffi::{CStr, c_char};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    port: u16,
    queue: u16,
    device: Port,
}

/// One transmit queue of a running port.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    device: Port,
}

/// Counters of a port since it was opened.
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
    id: u16,
    name: String,
    info: dpdk_sys::shim_port_info,
    /// From the first configuration call on: the device may hold memory of ours.
    configured: AtomicBool,
    started: AtomicBool,
    /// It may have flow rules.
    pub(super) steered: AtomicBool,
    pools: Mutex<Vec<Mempool>>,
    eal: Eal,
}

/// Ports that have an owner, by EAL's number.
static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

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
        let c_name = checked_name("port", name, 63)?;
        let mut id = 0;
        // SAFETY: a NUL-terminated name and a place for the number; EAL is running while `eal` lives.
        if unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) } != 0 {
            return Err(DpdkError::NoPort { name: name.to_owned(), known: names(eal) });
        }
        let mut info = dpdk_sys::shim_port_info::default();
        // SAFETY: a port that exists and a place for its description.
        let rc = unsafe { dpdk_sys::shim_port_info(id, &mut info) };
        if rc != 0 {
            return Err(DpdkError::call(format!("the DPDK port `{name}` does not describe itself"), rc));
        }
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains(&id) {
            return Err(DpdkError::PortTaken { name: name.to_owned() });
        }
        taken.push(id);
        Ok(Port(Arc::new(Device {
            id,
            name: name.to_owned(),
            info,
            configured: AtomicBool::new(false),
            started: AtomicBool::new(false),
            steered: AtomicBool::new(false),
            pools: Mutex::default(),
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
        self.configure(&all, rx_offloads)?;
        self.set_up_queues(&all, rx_offloads)?;
        let id = self.0.id;
        // SAFETY: a configured port.
        self.done("did not start", unsafe { dpdk_sys::rte_eth_dev_start(id) })?;
        self.0.started.store(true, Ordering::SeqCst);
        // SAFETY: a running port. What does not tell of resets has none.
        let _ = unsafe { dpdk_sys::shim_port_count_resets(id) };
        look_up_stamps(&self.0.eal);
        if config.promiscuous {
            // SAFETY: a running port.
            self.done("did not become promiscuous", unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) })?;
        }
        let multicast = self.let_through(&config.multicast)?;
        let queues = |n: usize| 0..n as u16;
        Ok(Started {
            rx: queues(config.rx.len()).map(|queue| RxQueue { port: id, queue, device: self.clone() }).collect(),
            tx: queues(config.tx.len()).map(|queue| TxQueue { port: id, queue, device: self.clone() }).collect(),
            checksum,
            multicast,
            timestamp,
            port: self,
        })
    }

    /// See [`PortConfig::multicast`].
    fn let_through(&self, macs: &[[u8; 6]]) -> Result<Multicast, DpdkError> {
        if macs.is_empty() {
            return Ok(Multicast::Unchanged);
        }
        let id = self.0.id;
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

    /// EAL's number of it: what [`super::Frame::port`] shows.
    pub fn id(&self) -> u16 {
        self.0.id
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

    /// Its link. Does not wait; a system call in some drivers: not for the path.
    pub fn link(&self) -> Link {
        // SAFETY: an open port.
        match unsafe { dpdk_sys::shim_port_link(self.0.id) } {
            0 => Link::Down,
            rc if rc == -libc::ENODEV => Link::Gone,
            rc if rc < 0 => Link::Untold,
            _ => Link::Up,
        }
    }

    /// Times that the device said it was reset, since it was started.
    pub fn resets(&self) -> u32 {
        // SAFETY: any number.
        unsafe { dpdk_sys::shim_port_resets(self.0.id) }
    }

    /// The device's clock now, in its own ticks: that of the stamps it puts on frames. `None` when the driver cannot tell;
    /// then its stamps cannot be compared with anything of this host. Crosses PCIe: not for the path.
    pub fn read_clock(&self) -> Option<u64> {
        let mut ticks = 0;
        // SAFETY: an open port and a place for the clock.
        let rc = unsafe { dpdk_sys::rte_eth_read_clock(self.0.id, &mut ticks) };
        (rc == 0).then_some(ticks)
    }

    /// Version of the device's firmware; `None` when the driver does not tell.
    pub fn firmware(&self) -> Option<String> {
        let mut version = [0; 256];
        // SAFETY: an open port, and room for as many bytes as are announced; a longer version is refused.
        let rc = unsafe { dpdk_sys::rte_eth_dev_fw_version_get(self.0.id, version.as_mut_ptr(), version.len() as _) };
        (rc == 0).then(|| text(&version)).filter(|version| !version.is_empty())
    }

    /// Its counters. A system call in some drivers: not for the path.
    ///
    /// # Errors
    /// What the driver says.
    pub fn stats(&self) -> Result<PortStats, DpdkError> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: an open port and a place for its counters.
        self.done("does not tell its counters", unsafe { dpdk_sys::rte_eth_stats_get(self.0.id, &mut raw) })?;
        Ok(PortStats {
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            ibytes: raw.ibytes,
            obytes: raw.obytes,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
        })
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
            unsafe { dpdk_sys::shim_port_configure(self.0.id, rx, tx, rx_offloads, 0, config.mtu.unwrap_or_default()) };
        self.done("could not be configured", rc)
    }

    fn set_up_queues(&self, config: &PortConfig, rx_offloads: u64) -> Result<(), DpdkError> {
        let id = self.0.id;
        let socket = self.0.info.numa_node;
        for (queue, rx) in config.rx.iter().enumerate() {
            let (descriptors, _) = self.descriptors(rx.descriptors, 0)?;
            // The device keeps pointers into the pool until it is closed.
            self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).push(rx.pool.clone());
            // SAFETY: a configured port, a queue within its count, a pool that the device holds until it is closed.
            let rc = unsafe {
                let pool = rx.pool.raw();
                dpdk_sys::shim_rx_queue_setup(id, queue as u16, descriptors, socket, rx_offloads, pool)
            };
            self.done(&format!("could not set up receive queue {queue} of {descriptors} descriptors"), rc)?;
        }
        for (queue, wanted) in config.tx.iter().enumerate() {
            let (_, descriptors) = self.descriptors(0, *wanted)?;
            // SAFETY: a configured port and a queue within its count.
            let rc = unsafe { dpdk_sys::shim_tx_queue_setup(id, queue as u16, descriptors, socket, 0) };
            self.done(&format!("could not set up transmit queue {queue} of {descriptors} descriptors"), rc)?;
        }
        Ok(())
    }

    /// Numbers of descriptors that the device takes, nearest to those wanted.
    fn descriptors(&self, rx: u16, tx: u16) -> Result<(u16, u16), DpdkError> {
        let or_default = |n| if n == 0 { 512 } else { n };
        let (mut rx_n, mut tx_n) = (or_default(rx), or_default(tx));
        // SAFETY: an open port and two places for numbers.
        let rc = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.0.id, &mut rx_n, &mut tx_n) };
        self.done("does not tell its descriptor limits", rc)?;
        for (kind, wanted, found) in [("receive", rx, rx_n), ("transmit", tx, tx_n)] {
            if wanted != 0 && wanted != found {
                log::warn!("port `{}`: {wanted} {kind} descriptors are wanted, the device takes {found}", self.name());
            }
        }
        Ok((rx_n, tx_n))
    }

    fn done(&self, what: &str, rc: i32) -> Result<(), DpdkError> {
        if rc == 0 {
            return Ok(());
        }
        Err(DpdkError::call(format!("the DPDK port `{}` ({}) {what}", self.name(), self.driver()), rc))
    }

    fn unsupported(&self, problem: impl Into<String>) -> DpdkError {
        DpdkError::Unsupported { port: self.name().to_owned(), driver: self.driver(), problem: problem.into() }
    }
}

const CHECKSUM_OFFLOADS: u64 = dpdk_sys::SHIM_RX_OFFLOAD_IPV4_CKSUM | dpdk_sys::SHIM_RX_OFFLOAD_UDP_CKSUM;

impl RxQueue {
    /// Receive at most `max` frames into the spare room of `burst`. Returns how many came. Some drivers give nothing for
    /// a room below 4 or 8.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let len = burst.len();
        let room = burst.remaining_capacity().min(max) as u16;
        // SAFETY: a running port's queue, used through this one value; `room` slots lie behind `len` and those received
        // hold mbufs of a pool of ours.
        unsafe {
            let slots = burst.as_mut_ptr().add(len).cast();
            let received = usize::from(dpdk_sys::shim_rx_burst(self.port, self.queue, slots, room));
            burst.set_len(len + received);
            received
        }
    }

    /// The port it belongs to.
    pub fn port(&self) -> &Port {
        &self.device
    }
}

impl TxQueue {
    /// Hand frames to the device, from the front; those it does not take stay in the burst. Returns how many went.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        let len = burst.len();
        // SAFETY: a running port's queue, used through this one value; the device owns what it accepts, the rest moves
        // to the front.
        unsafe {
            let all = burst.as_mut_ptr();
            let sent = usize::from(dpdk_sys::shim_tx_burst(self.port, self.queue, all.cast(), len as u16));
            burst.set_len(0);
            if sent < len {
                std::ptr::copy(all.add(sent), all, len - sent);
                burst.set_len(len - sent);
            }
            sent
        }
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
            let _ = unsafe { dpdk_sys::shim_flow_flush(self.id) };
        }
    }

    /// A closed device is gone from EAL for good, so one that was only looked at stays open.
    fn close(&self) {
        if !self.configured.load(Ordering::SeqCst) {
            return;
        }
        self.flush();
        // SAFETY: every queue holds the port, so none is in use. Closing gives the device's frames back to their pools,
        // which are dropped after this.
        let (stopped, closed) = unsafe {
            let stopped = if self.started.load(Ordering::SeqCst) { dpdk_sys::rte_eth_dev_stop(self.id) } else { 0 };
            (stopped, dpdk_sys::rte_eth_dev_close(self.id))
        };
        if stopped != 0 || closed != 0 {
            log::warn!("port `{}` did not stop cleanly: {}", self.name, super::error::why(stopped.min(closed)));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.close();
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|taken| *taken != self.id);
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn text(chars: &[c_char]) -> String {
    // SAFETY: an i8 is a byte; the slice is as long.
    let bytes = unsafe { std::slice::from_raw_parts(chars.as_ptr().cast::<u8>(), chars.len()) };
    CStr::from_bytes_until_nul(bytes).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
