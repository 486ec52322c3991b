//! Time on the packet's path: the clock, the hops, the records of every order, and what is made of them.

pub mod answers;
pub mod board;
pub mod budget;
pub mod clock;
pub mod drift;
#[cfg(feature = "dpdk")]
pub mod hlog;
pub mod hop;
#[cfg(feature = "dpdk")]
pub mod hops;
pub mod interval;
#[cfg(feature = "dpdk")]
pub mod journaling;
#[cfg(feature = "dpdk")]
pub mod outlet;
pub mod profile;
pub mod record;
#[cfg(feature = "dpdk")]
pub mod recorder;
pub mod snapshot;
pub mod trace;
