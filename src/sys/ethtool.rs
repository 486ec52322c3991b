//! Settings of the kernel's network interfaces that no file shows: an interface's name in, what its driver says out.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Settings of an interface; `None` where the driver does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Descriptors of a receive ring, and the most there can be.
    pub rx_ring: Option<(u32, u32)>,
    /// Microseconds that received packets are gathered for, and whether the driver adapts that.
    pub rx_coalescing: Option<(u32, bool)>,
    /// It can stamp every packet it receives.
    pub can_stamp: Option<bool>,
    /// It stamps packets it receives.
    pub stamps: Option<bool>,
    /// Which firmware receives and which transmits, where a card tells its data paths apart (Solarflare).
    pub firmware: Option<(u32, u32)>,
}

impl LinkSettings {
    /// What the driver of `interface` says now.
    pub fn read(interface: &str) -> LinkSettings {
        let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else { return LinkSettings::default() };
        // struct ethtool_ringparam, ethtool_coalesce, ethtool_ts_info and ethtool_drvinfo of linux/ethtool.h, in words.
        let ring: Option<[u32; 9]> = ethtool(&socket, interface, ETHTOOL_GRINGPARAM).ok();
        let coalesce: Option<[u32; 23]> = ethtool(&socket, interface, ETHTOOL_GCOALESCE).ok();
        let stamping: Option<[u32; 11]> = ethtool(&socket, interface, ETHTOOL_GET_TS_INFO).ok();
        // struct hwtstamp_config of linux/net_tstamp.h: flags, tx_type, rx_filter.
        let driver: Option<[u32; 49]> = ethtool(&socket, interface, ETHTOOL_GDRVINFO).ok();
        let mut config = [0u32; 3];
        let asked = request(&socket, interface, SIOCGHWTSTAMP, &mut config);
        LinkSettings {
            rx_ring: ring.map(|ring| (ring[5], ring[1])),
            rx_coalescing: coalesce.map(|coalesce| (coalesce[1], coalesce[10] != 0)),
            can_stamp: stamping.map(|info| info[7] & 1 << HWTSTAMP_FILTER_ALL != 0),
            stamps: asked.ok().map(|()| config[2] != 0),
            // Behind the command and two names of 32 bytes.
            firmware: driver.and_then(|words| data_paths(bytemuck::cast_slice(&words[17..25]))),
        }
    }
}

/// `8.2.2.1006 rx1 tx1`: what the driver sfc appends to the version of a card's firmware, in hexadecimal.
fn data_paths(version: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(version).ok()?.trim_end_matches('\0');
    let path = |name: &str| {
        let word = text.split_whitespace().find_map(|word| word.strip_prefix(name))?;
        u32::from_str_radix(word, 16).ok()
    };
    Some((path("rx")?, path("tx")?))
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCOALESCE: u32 = 0x0e;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
const HWTSTAMP_FILTER_ALL: u32 = 1;
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const SIOCGHWTSTAMP: libc::c_ulong = 0x89b1;

/// The driver's answer to a command, which stands in its first word.
fn ethtool<const N: usize>(socket: &UdpSocket, interface: &str, command: u32) -> io::Result<[u32; N]> {
    let mut words = [0; N];
    words[0] = command;
    request(socket, interface, SIOCETHTOOL, &mut words)?;
    Ok(words)
}

fn request<const N: usize>(
    socket: &UdpSocket,
    interface: &str,
    what: libc::c_ulong,
    words: &mut [u32; N],
) -> io::Result<()> {
    if interface.is_empty() || interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: plain bytes and a pointer; zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: an open socket; the kernel writes at most the struct of this command, which is as long as `words`.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &mut request) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_tells_nothing() {
        for name in ["", "tickpath-none", "a-name-that-is-too-long-for-it"] {
            assert_eq!(LinkSettings::read(name), LinkSettings::default());
        }
    }

    #[test]
    fn data_paths_are_told_by_the_end_of_a_version() {
        assert_eq!(data_paths(b"8.2.2.1006 rx1 tx1\0\0\0\0"), Some((1, 1)));
        assert_eq!(data_paths(b"7.6.9.1004 rx0 tx3c\0"), Some((0, 0x3c)));
        for other in [&b"22.31.1014 (MT_0000000010)\0"[..], b"\0\0", b"rx1", b"8.2 rx1 txn"] {
            assert_eq!(data_paths(other), None);
        }
    }

    #[test]
    fn loopback_has_no_ring_to_speak_of() {
        assert_eq!(LinkSettings::read("lo").rx_ring, None);
    }
}
