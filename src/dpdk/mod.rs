//! Safe owners over DPDK: EAL, frame pools, frames, rings, ports, lcores, hugepage regions.
//!
//! In: EAL arguments and plain sizes. Out: values whose `Drop` gives everything back in the right order, because
//! every owner holds the [`Eal`] and what it was built on. Nothing here knows a protocol or a pipeline.
//!
//! Reading order: `eal`, `mempool`, `frame`, `ring`, `ethdev`, `gate`, `lcore`, `region`, `telemetry`. [`eal_file`] and [`sizes`] are pure
//! and build without DPDK.

pub mod eal_file;
pub mod sizes;

#[cfg(feature = "dpdk")]
mod eal;
#[cfg(feature = "dpdk")]
mod eal_log;
#[cfg(feature = "dpdk")]
mod error;
#[cfg(feature = "dpdk")]
pub mod ethdev;
#[cfg(feature = "dpdk")]
pub mod flow;
#[cfg(feature = "dpdk")]
mod frame;
#[cfg(feature = "dpdk")]
mod gate;
#[cfg(feature = "dpdk")]
mod hotplug;
#[cfg(feature = "dpdk")]
pub mod lcore;
#[cfg(feature = "dpdk")]
mod mempool;
#[cfg(feature = "dpdk")]
pub mod memzone;
#[cfg(feature = "dpdk")]
mod region;
#[cfg(feature = "dpdk")]
pub mod ring;
#[cfg(feature = "dpdk")]
pub mod telemetry;

#[cfg(feature = "dpdk")]
pub use self::{
    eal::{Eal, Lcore, Socket},
    error::DpdkError,
    ethdev::{Port, RxQueue, TxQueue},
    frame::{BURST, Burst, Checksum, Frame, free_burst},
    mempool::Mempool,
    region::Region,
};
