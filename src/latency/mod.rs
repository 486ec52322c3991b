//! Time on the packet's path: the clock, the hops, the records of every order, and what is made of them.

pub mod budget;
pub mod clock;
pub mod hop;
#[cfg(feature = "dpdk")]
pub mod hops;
pub mod interval;
pub mod record;
pub mod snapshot;
pub mod trace;
