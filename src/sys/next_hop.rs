//! Whose Ethernet address a packet gets on its way out of an interface: the kernel decides the route and knows the neighbour.
//!
//! In: an interface, our address, a destination. Out: the neighbour's address, for whoever sends frames without asking by ARP. Where
//! the kernel does not know it yet, an empty datagram to the neighbour's port 9 (discard) makes it ask. For launch: it may wait.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long a neighbour may take to answer the kernel, which asks once a second.
const PATIENCE: Duration = Duration::from_secs(3);
const DISCARD: u16 = 9;

/// Why there is no next hop.
#[derive(Debug, thiserror::Error)]
pub enum NextHopError {
    /// The kernel has no such interface.
    #[error("there is no interface {0:?}; `ip link` lists those there are")]
    Interface(String),
    /// Nothing leads there.
    #[error(
        "the kernel has no route from {source_address} to {destination} out of {interface}: {said}; add one (ip route add \
         {destination} via GATEWAY dev {interface})"
    )]
    Route {
        /// Out of which interface,
        interface: String,
        /// from where,
        source_address: Ipv4Addr,
        /// to where.
        destination: Ipv4Addr,
        /// What the kernel says.
        said: String,
    },
    /// The neighbour does not answer.
    #[error(
        "{neighbour}, which is next on the way to {destination}, does not answer ARP on {interface}; see to it that it is up and reachable (ip neigh)"
    )]
    Silent {
        /// On which interface,
        interface: String,
        /// who,
        neighbour: Ipv4Addr,
        /// and for whom.
        destination: Ipv4Addr,
    },
    /// The kernel cannot be asked.
    #[error("the kernel cannot be asked for the way to {destination}: {err}")]
    Ask {
        /// To where.
        destination: Ipv4Addr,
        /// What it says.
        err: io::Error,
    },
}

/// The Ethernet address that frames from `source` to `destination` get out of `interface`.
///
/// # Errors
/// See [`NextHopError`].
pub fn next_hop(interface: &str, source: Ipv4Addr, destination: Ipv4Addr) -> Result<[u8; 6], NextHopError> {
    let index = interface_index(interface).ok_or_else(|| NextHopError::Interface(interface.to_owned()))?;
    let ask = |err| NextHopError::Ask { destination, err };
    let routed = gateway(&route(index, source, destination).map_err(ask)?);
    let gateway = routed.map_err(|said| NextHopError::Route {
        interface: interface.to_owned(),
        source_address: source,
        destination,
        said,
    })?;
    let neighbour = gateway.unwrap_or(destination);
    let known = || -> Result<Option<[u8; 6]>, NextHopError> {
        let table = std::fs::read_to_string("/proc/net/arp").map_err(ask)?;
        Ok(neighbour_in(&table, interface, neighbour))
    };
    let until = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        if let Some(mac) = known()? {
            return Ok(mac);
        }
        if !std::mem::replace(&mut asked, true) {
            provoke(interface, source, neighbour).map_err(ask)?;
        }
        if Instant::now() > until {
            return Err(NextHopError::Silent { interface: interface.to_owned(), neighbour, destination });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel's number of an interface.
pub fn interface_index(interface: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?;
    text.trim_end().parse().ok()
}

/// Have the kernel ask for the neighbour's Ethernet address.
fn provoke(interface: &str, source: Ipv4Addr, neighbour: Ipv4Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&std::net::SocketAddrV4::new(source, 0).into())?;
    // It goes no further than to the neighbour.
    socket.set_ttl_v4(1)?;
    socket.send_to(&[], &std::net::SocketAddrV4::new(neighbour, DISCARD).into()).map(drop)
}

// Numbers of linux/netlink.h and linux/rtnetlink.h.
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const UNICAST: u8 = 1;
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const MESSAGE: usize = 16;
const ROUTE: usize = MESSAGE + 12;

/// The kernel's answer, a netlink message, to which route a packet takes.
fn route(interface: u32, source: Ipv4Addr, destination: Ipv4Addr) -> io::Result<Vec<u8>> {
    let mut ask = Vec::with_capacity(64);
    ask.extend([0; 4]);
    ask.extend(GET_ROUTE.to_ne_bytes());
    ask.extend(REQUEST.to_ne_bytes());
    // Sequence and port; then struct rtmsg: the family, the bits of both addresses, and nothing else.
    ask.extend([0; 8]);
    ask.extend([libc::AF_INET as u8, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (attribute, value) in
        [(DESTINATION, destination.octets()), (SOURCE, source.octets()), (INTERFACE, interface.to_ne_bytes())]
    {
        ask.extend(8u16.to_ne_bytes());
        ask.extend(attribute.to_ne_bytes());
        ask.extend(value);
    }
    let length = ask.len() as u32;
    ask[..4].copy_from_slice(&length.to_ne_bytes());
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&ask)?;
    let mut answer = vec![0; 8192];
    let length = socket.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Where a route leads: to a gateway, or to the destination itself. Otherwise what the kernel says.
fn gateway(answer: &[u8]) -> Result<Option<Ipv4Addr>, String> {
    let short = || "its answer is cut short".to_owned();
    let word = |at: usize| answer.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match word(4).ok_or_else(short)? {
        ERROR => {
            let code = answer.get(MESSAGE..MESSAGE + 4).ok_or_else(short)?;
            let errno = -i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
            return Err(io::Error::from_raw_os_error(errno).to_string());
        }
        NEW_ROUTE => {}
        other => return Err(format!("it answers with a message of type {other}")),
    }
    match answer.get(MESSAGE + 7).ok_or_else(short)? {
        &UNICAST => {}
        _ => return Err("it is this host's own, or not to be reached".to_owned()),
    }
    let mut at = ROUTE;
    while let (Some(length), Some(attribute)) = (word(at), word(at + 2)) {
        if attribute == GATEWAY {
            let value = answer.get(at + 4..at + 8).ok_or_else(short)?;
            return Ok(Some(Ipv4Addr::new(value[0], value[1], value[2], value[3])));
        }
        at += usize::from(length.max(4)).next_multiple_of(4);
    }
    Ok(None)
}

/// What the kernel's table of neighbours (`/proc/net/arp`) has of one: its Ethernet address, once it is complete.
fn neighbour_in(table: &str, interface: &str, neighbour: Ipv4Addr) -> Option<[u8; 6]> {
    const COMPLETE: u32 = 2;
    table.lines().skip(1).find_map(|line| {
        let [address, _, flags, mac, _, device] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let ours = device == interface && address.parse() == Ok(neighbour) && flags & COMPLETE != 0;
        let mut bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mac = std::array::from_fn(|_| bytes.next()?.ok());
        let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] = mac else { return None };
        ours.then_some([a, b, c, d, e, f])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_known_once_its_entry_is_complete() {
        // As Linux 6.1 printed it.
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.254       0x1         0x2         52:54:00:12:35:02     *        enp1s0f0
10.0.0.254       0x1         0x2         52:54:00:12:35:03     *        enp1s0f1
10.0.0.9         0x1         0x0         00:00:00:00:00:00     *        enp1s0f0
10.0.0.7         0x1         0x6         02:00:00:00:00:07     *        enp1s0f0
";
        let of = |interface, last| neighbour_in(table, interface, Ipv4Addr::new(10, 0, 0, last));
        assert_eq!(of("enp1s0f0", 254), Some([0x52, 0x54, 0, 0x12, 0x35, 2]));
        assert_eq!(of("enp1s0f1", 254), Some([0x52, 0x54, 0, 0x12, 0x35, 3]));
        assert_eq!(of("enp1s0f0", 7), Some([2, 0, 0, 0, 0, 7]));
        assert_eq!((of("enp1s0f0", 9), of("enp1s0f1", 7)), (None, None));
    }

    #[test]
    fn what_is_no_way_to_a_neighbour_is_said_in_the_kernels_words() {
        let near = Ipv4Addr::LOCALHOST;
        let none = next_hop("tickpath-none", near, near).unwrap_err().to_string();
        assert!(none.contains("there is no interface") && none.contains("ip link"), "{none}");
        let own = next_hop("lo", near, near).unwrap_err().to_string();
        assert!(own.contains("this host's own") && own.contains("ip route add 127.0.0.1"), "{own}");
        // TEST-NET-1 is nobody's address, so no packet comes from there.
        let foreign = next_hop("lo", Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)).unwrap_err();
        assert!(matches!(foreign, NextHopError::Route { .. }), "{foreign}");
        assert_eq!(gateway(&[0; 5]), Err("its answer is cut short".to_owned()));
    }
}
