//! What we ask of the kernel directly, because `std` does not: clocks, CPU affinity, barriers, where pages lie, memory
//! advice, hugepages for the program itself, events of threads, waiting for sockets, the way out of multicast, the next hop of a route,
//! giving privileges up; and the service manager.
//!
//! Small wrappers over libc, used at launch and by control threads; never on the packet's path.

pub mod affinity;
#[cfg(feature = "dpdk")]
pub mod barrier;
pub mod ethtool;
pub mod memory;
pub mod multicast;
pub mod next_hop;
#[cfg(feature = "dpdk")]
pub mod notify;
pub mod pages;
pub mod perf;
pub mod poll;
#[cfg(feature = "dpdk")]
pub mod privileges;
pub mod quiet;
pub mod signals;
pub mod socket;
pub mod text;
pub mod thread;
pub mod time;
