//! Ports that ef_vi drives, opened for a plan: their queues by port and queue, what watches them, and the kernel sockets that keep
//! their groups joined.
//!
//! A filter directs packets of a group here and joins nothing; the kernel, which keeps the port, speaks IGMP for it.

use super::launch::LaunchError;
use super::plan::Plan;
use crate::dpdk::Mempool;
use crate::port::{Device, OrderPort, RxPort};
use socket2::Socket;
use std::collections::BTreeMap;

/// What was opened.
#[derive(Default)]
pub struct Cards {
    /// Of feeds, and for responses to orders.
    pub rx: BTreeMap<(usize, u16), RxPort>,
    /// Of orders.
    pub tx: BTreeMap<(usize, u16), OrderPort>,
    /// By port.
    pub devices: BTreeMap<usize, Device>,
    /// Kept open until the end.
    _joined: Vec<Socket>,
}

#[cfg(not(feature = "ef_vi"))]
impl Cards {
    /// None: the plan refuses such ports.
    pub fn open(_: &Plan, _: &[Mempool]) -> Result<Cards, LaunchError> {
        Ok(Cards::default())
    }
}

#[cfg(feature = "ef_vi")]
mod opened {
    use super::*;
    use crate::dpdk::ethdev::Offload;
    use crate::efvi::{self, Ctpio, Filter, Port, Protocol, QueueInfo};
    use crate::pipeline::file::{Transport, Wanted};
    use crate::pipeline::plan::{EfviPlan, Mode, PortPlan};
    use socket2::{Domain, InterfaceIndexOrAddress, Type};
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    /// Groups that the kernel lets one socket join, unless it was told otherwise (net.ipv4.igmp_max_memberships).
    const A_SOCKET: usize = 20;

    impl Cards {
        /// Open the ports of `plan` that ef_vi drives.
        ///
        /// # Errors
        /// What a card lacks or refuses; a program that was built on the test double, outside of a test.
        pub fn open(plan: &Plan, pools: &[Mempool]) -> Result<Cards, LaunchError> {
            let mut cards = Cards::default();
            for (at, port) in plan.ports.iter().enumerate() {
                let Some(card) = &port.efvi else { continue };
                if efvi::IS_DOUBLE && std::env::var_os(efvi::DOUBLE_SCRIPT).is_none() {
                    return Err(LaunchError::Driver(format!(
                        "port {:?}: this program was built on the test double of ef_vi and drives no card; install the \
                         onload-devel package and build it again with `cargo build --release --features ef_vi`, which then \
                         says `ef_vi (… real)` in --version",
                        port.name
                    )));
                }
                cards.open_port(plan, at, card, pools)?;
            }
            Ok(cards)
        }

        fn open_port(&mut self, plan: &Plan, at: usize, card: &EfviPlan, pools: &[Mempool]) -> Result<(), LaunchError> {
            let PortPlan { name, rx_descriptors: rx, tx_descriptors: tx, .. } = &plan.ports[at];
            let ctpio = Ctpio { mode: offload(card.ctpio), threshold: card.ctpio_threshold };
            let device = Port::new(&card.interface, ctpio, offload(card.timestamps));
            let lines = || plan.venues.iter().flat_map(|venue| &venue.feed.lines).filter(|line| line.port == at);
            let groups: BTreeSet<Ipv4Addr> = lines().flat_map(|line| &line.groups).map(|group| *group.ip()).collect();
            self._joined.extend(
                join(&card.interface, &groups).map_err(|why| LaunchError::Driver(format!("port {name:?}: {why}")))?,
            );
            let queues: BTreeMap<u16, usize> = lines().map(|line| (line.queue, line.pool)).collect();
            for (queue, pool) in queues {
                let of_queue = lines().filter(|line| line.queue == queue);
                let filters: Vec<Filter> = of_queue
                    .flat_map(|line| line.groups.iter().map(|group| (line.vlan, *group)))
                    .map(|(vlan, local)| Filter { protocol: Protocol::Udp, local, peer: None, vlan })
                    .collect();
                let receiver = device.receiver(&pools[pool], *rx, &filters)?;
                let info = receiver.info();
                tell(name, card, "receives", info.rx_stamps, &info);
                self.rx.insert((at, queue), RxPort::Efvi(Box::new(receiver)));
            }
            for venue in plan.venues.iter().filter(|venue| venue.orders.port == at) {
                let (orders, pool) = (&venue.orders, &pools[venue.orders.pool]);
                let transmitter = device.transmitter(pool, *tx)?;
                let info = transmitter.info();
                let sends = if info.ctpio { "sends by CTPIO, where that loses by DMA" } else { "sends by DMA" };
                tell(name, card, sends, info.tx_stamps, &info);
                self.tx.insert((at, orders.queue), OrderPort::Efvi(Box::new(transmitter)));
                if orders.session.is_none() || plan.mode == Mode::Replay {
                    continue;
                }
                if orders.transport == Transport::Tcp {
                    return Err(LaunchError::Driver(format!(
                        "port {name:?}: a session over TCP needs ARP, which the kernel keeps for itself on a port of ef_vi; \
                         give the orders of venue {} a port with the driver `ethdev`, or the transport `udp`",
                        venue.name
                    )));
                }
                let filter = Filter { protocol: Protocol::Udp, local: orders.source.address, peer: None, vlan: None };
                let inbox = device.receiver(pool, *rx, &[filter])?;
                self.rx.insert((at, orders.queue), RxPort::Efvi(Box::new(inbox)));
            }
            self.devices.insert(at, Device::Efvi(device));
            Ok(())
        }
    }

    fn offload(wanted: Wanted) -> Offload {
        match wanted {
            Wanted::Off => Offload::Off,
            Wanted::Auto => Offload::IfAvailable,
            Wanted::Required => Offload::Required,
        }
    }

    /// Say what came of asking a card for what it may do.
    fn tell(port: &str, card: &EfviPlan, does: &str, stamps: bool, info: &QueueInfo) {
        let stamps = if stamps { "with the card's stamps" } else { "without stamps" };
        let events = if info.merges { ", events merged by firmware that is made for throughput" } else { "" };
        eprintln!("port {port}: {} (ef_vi {}) {does}, {stamps}{events}", card.interface, efvi::version());
    }

    /// Have the kernel join these groups on the interface. On the test double there is no such interface.
    fn join(interface: &str, groups: &BTreeSet<Ipv4Addr>) -> Result<Vec<Socket>, String> {
        let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok();
        let index = match index.and_then(|text| text.trim_end().parse().ok()) {
            Some(index) => InterfaceIndexOrAddress::Index(index),
            None if efvi::IS_DOUBLE => return Ok(Vec::new()),
            None => return Err(format!("there is no interface {interface:?}; `ip link` lists those there are")),
        };
        let mut sockets = Vec::new();
        for some in groups.iter().collect::<Vec<_>>().chunks(A_SOCKET) {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).map_err(|err| format!("no socket: {err}"))?;
            for group in some {
                let joined = socket.join_multicast_v4_n(group, &index);
                joined.map_err(|err| {
                    format!("{interface} does not join {group}: {err}; is the interface up, with an address?")
                })?;
            }
            sockets.push(socket);
        }
        Ok(sockets)
    }
}
