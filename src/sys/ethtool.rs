//! Settings of the kernel's network interfaces that no file shows, and counters of their drivers: an interface's name in, what its
//! driver says out.

use std::collections::BTreeMap;
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

/// Counters of an interface that only its driver knows by name.
#[derive(Debug)]
pub struct DriverCounters {
    socket: UdpSocket,
    interface: String,
    /// How many the driver has, and which of them are asked for: place and name.
    all: usize,
    wanted: Vec<(usize, String)>,
}

impl DriverCounters {
    /// Those that `is_wanted` by their names; `None` where the driver has none of them.
    pub fn of(interface: &str, is_wanted: impl Fn(&str) -> bool) -> Option<DriverCounters> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).ok()?;
        let all = count(&socket, interface)?;
        // struct ethtool_gstrings: the command, the set, how many there are, and the names.
        let mut words = vec![0; 3 + ROOM * NAME_BYTES / 4];
        words[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, all as u32]);
        request(&socket, interface, SIOCETHTOOL, &mut words).ok()?;
        let names = bytemuck::cast_slice::<u32, u8>(&words[3..]).chunks(NAME_BYTES).map(name);
        let wanted: Vec<_> = names.take(all).enumerate().filter(|(_, name)| is_wanted(name)).collect();
        (!wanted.is_empty()).then(|| DriverCounters { socket, interface: interface.to_owned(), all, wanted })
    }

    /// What they count now, by their names; nothing when the driver has others by now. A system call: not for the path.
    pub fn read(&self) -> BTreeMap<String, u64> {
        if count(&self.socket, &self.interface) != Some(self.all) {
            return BTreeMap::new();
        }
        // struct ethtool_stats: the command, how many there are, and two words of each.
        let mut words = vec![0; 2 + ROOM * 2];
        words[..2].copy_from_slice(&[ETHTOOL_GSTATS, self.all as u32]);
        if request(&self.socket, &self.interface, SIOCETHTOOL, &mut words).is_err() {
            return BTreeMap::new();
        }
        let counter = |at: usize| u64::from(words[2 + 2 * at]) | u64::from(words[3 + 2 * at]) << 32;
        self.wanted.iter().map(|(at, name)| (name.clone(), counter(*at))).collect()
    }
}

/// By how much counters grew. What was not there before is left out: nobody knows since when it counts.
pub fn grown(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, n): (&String, &u64)| Some((name.clone(), n.saturating_sub(*before.get(name)?)));
    now.iter().filter_map(grown).collect()
}

/// How many counters the driver has; `None` without any, or with more than anybody has.
fn count(socket: &UdpSocket, interface: &str) -> Option<usize> {
    // struct ethtool_sset_info: the command, a gap, a mask of sets, and how many each of them holds.
    let mut words = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0, 0];
    request(socket, interface, SIOCETHTOOL, &mut words).ok()?;
    // The kernel tells as many as the driver has, whatever there is room for: hence twice the room.
    Some(words[4] as usize).filter(|n| words[2] != 0 && (1..=ROOM / 2).contains(n))
}

fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
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
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
const ETH_SS_STATS: u32 = 1;
/// Bytes of a counter's name, and counters that there is room for.
const NAME_BYTES: usize = 32;
const ROOM: usize = 8192;
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

fn request(socket: &UdpSocket, interface: &str, what: libc::c_ulong, words: &mut [u32]) -> io::Result<()> {
    if interface.is_empty() || interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: plain bytes and a pointer; zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: an open socket; the kernel writes at most the struct of this command, which is as long as `words`, or, where that
    // holds as much as a driver has, was half as long a moment ago.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &mut request) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_interface_that_is_not_there_tells_nothing() {
        for name in ["", "tickpath-none", "a-name-that-is-too-long-for-it"] {
            assert_eq!(LinkSettings::read(name), LinkSettings::default());
            assert!(DriverCounters::of(name, |_| true).is_none());
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
    fn counters_of_a_driver_are_those_that_ethtool_prints() {
        let interfaces = std::fs::read_dir("/sys/class/net").unwrap().flatten();
        let of = |entry: std::fs::DirEntry| DriverCounters::of(entry.file_name().to_str()?, |_| true);
        let Some(counters) = interfaces.filter_map(of).next() else {
            println!("skipped: no interface here has counters of its driver's");
            return;
        };
        let before = counters.read();
        let Ok(ethtool) = Command::new("ethtool").args(["-S", &counters.interface]).output() else {
            println!("skipped: ethtool is not installed");
            return;
        };
        let after = counters.read();
        let printed = String::from_utf8(ethtool.stdout).unwrap();
        let printed = printed.lines().filter_map(|line| line.rsplit_once(": "));
        let printed: BTreeMap<&str, u64> = printed.map(|(name, n)| (name.trim(), n.parse().unwrap())).collect();
        assert!(!printed.is_empty() && printed.keys().eq(before.keys()), "{printed:?} {before:?}");
        assert!(printed.iter().all(|(name, n)| (before[*name]..=after[*name]).contains(n)), "{printed:?} {before:?}");
        let one = before.keys().next().unwrap();
        let alone = DriverCounters::of(&counters.interface, |name| name == one).unwrap();
        assert!(alone.read().keys().eq([one]));
        assert!(DriverCounters::of(&counters.interface, |_| false).is_none());
    }

    #[test]
    fn counters_grow_by_what_was_counted_since() {
        let of = |counters: &[(&str, u64)]| counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let before = of(&[("won", 10), ("lost", 5), ("gone", 1)]);
        assert_eq!(grown(&before, &of(&[("won", 12), ("lost", 0), ("new", 7)])), of(&[("won", 2), ("lost", 0)]));
    }

    #[test]
    fn loopback_has_no_ring_to_speak_of() {
        assert_eq!(LinkSettings::read("lo").rx_ring, None);
    }
}
