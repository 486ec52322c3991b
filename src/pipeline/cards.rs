//! Ports that ef_vi drives, opened for a plan: their queues by port and queue, what watches them, and the kernel sockets that keep
//! their groups joined and the ports of their sessions ours.
//!
//! A filter directs packets here and does nothing else: the kernel, which keeps the port, speaks IGMP and ARP for it, and knows the
//! next hop of orders.

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
    /// Ethernet addresses by venue: ours, and that of the next hop of its orders.
    pub hops: BTreeMap<usize, [[u8; 6]; 2]>,
    /// Kept open until the end.
    _sockets: Vec<Socket>,
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
    use crate::pipeline::plan::{EfviPlan, Mode, OrdersPlan, PortPlan};
    use crate::sys::next_hop::{interface_index, next_hop};
    use socket2::{Domain, InterfaceIndexOrAddress, Type};
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddrV4};

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
            let failed = |why: String| LaunchError::Driver(format!("port {name:?}: {why}"));
            self._sockets.extend(join(&card.interface, &groups).map_err(failed)?);
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
            for (index, venue) in plan.venues.iter().enumerate().filter(|(_, venue)| venue.orders.port == at) {
                let (orders, pool) = (&venue.orders, &pools[venue.orders.pool]);
                let transmitter = device.transmitter(pool, *tx)?;
                let info = transmitter.info();
                let sends = if info.ctpio { "sends by CTPIO, where that loses by DMA" } else { "sends by DMA" };
                tell(name, card, sends, info.tx_stamps, &info);
                self.tx.insert((at, orders.queue), OrderPort::Efvi(Box::new(transmitter)));
                if plan.mode == Mode::Replay {
                    continue;
                }
                let of_venue =
                    |why| LaunchError::Driver(format!("port {name:?}, orders of venue {}: {why}", venue.name));
                let ends = ends(&card.interface, orders, info.mac).map_err(of_venue)?;
                self.hops.insert(index, ends);
                if orders.session.is_none() {
                    continue;
                }
                self._sockets.extend(keep_ports(&card.interface, orders).map_err(of_venue)?);
                let inbox = device.receiver(pool, *rx, &answers(orders))?;
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

    /// Ethernet addresses of a venue's orders: ours, which is the card's, and that of the next hop.
    fn ends(interface: &str, orders: &OrdersPlan, card: [u8; 6]) -> Result<[[u8; 6]; 2], String> {
        let ours = orders.source.known_mac().unwrap_or(card);
        if orders.session.is_some() && ours != card {
            let [ours, card] = [ours, card].map(ethernet);
            return Err(format!(
                "orders.source.mac is {ours}, and answers go to the card, which is {card}: remove the key"
            ));
        }
        let (source, destination) = (*orders.source.address.ip(), *orders.destination.address.ip());
        let next = match orders.destination.known_mac() {
            Some(mac) => mac,
            None => {
                let next = next_hop(interface, source, destination).map_err(|why| {
                    format!("{why}, or name the next hop's Ethernet address as orders.destination.mac")
                })?;
                eprintln!("{interface}: orders to {destination} go to {}, as the kernel knows", ethernet(next));
                next
            }
        };
        Ok([ours, next])
    }

    fn ethernet(mac: [u8; 6]) -> String {
        mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// What comes from the exchange to any of a session's ports, one after the other.
    fn answers(orders: &OrdersPlan) -> Vec<Filter> {
        let protocol = if orders.transport == Transport::Tcp { Protocol::Tcp } else { Protocol::Udp };
        ours(orders)
            .map(|local| Filter { protocol, local, peer: Some(orders.destination.address), vlan: None })
            .collect()
    }

    fn ours(orders: &OrdersPlan) -> impl Iterator<Item = SocketAddrV4> {
        let source = orders.source.address;
        (source.port()..=orders.last_port).map(move |port| SocketAddrV4::new(*source.ip(), port))
    }

    /// Have the kernel give a session's ports to nobody else. On the test double nobody may have our address.
    fn keep_ports(interface: &str, orders: &OrdersPlan) -> Result<Vec<Socket>, String> {
        if efvi::IS_DOUBLE && interface_index(interface).is_none() {
            return Ok(Vec::new());
        }
        let kind = if orders.transport == Transport::Tcp { Type::STREAM } else { Type::DGRAM };
        let keep = |local: SocketAddrV4| {
            let socket = Socket::new(Domain::IPV4, kind, None).map_err(|err| format!("no socket: {err}"))?;
            let remedy = match socket.bind(&local.into()) {
                Ok(()) => return Ok(socket),
                Err(err) if err.kind() == std::io::ErrorKind::AddrNotAvailable => {
                    format!(
                        "{err}; the kernel answers ARP for it once it has it: ip address add {}/24 dev {interface}",
                        local.ip()
                    )
                }
                Err(err) => format!(
                    "{err}; a session takes the ports from {} to {} in turn: end the program that has it (ss -an), or choose others",
                    orders.source.address.port(),
                    orders.last_port
                ),
            };
            Err(format!("{local} is not ours: {remedy}"))
        };
        ours(orders).map(keep).collect()
    }

    /// Have the kernel join these groups on the interface. On the test double there is no such interface.
    fn join(interface: &str, groups: &BTreeSet<Ipv4Addr>) -> Result<Vec<Socket>, String> {
        let index = match interface_index(interface) {
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
