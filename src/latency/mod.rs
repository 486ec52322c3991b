//! Time on the packet's path: the clock.

pub mod clock;
#[cfg(feature = "dpdk")]
pub mod hops;
