//! From the file a person writes to a running pipeline: [`file`] (what was written) → [`plan`] (what it means on this
//! host, a pure function) → launch (the side effects).
//!
//! In: JSON text and facts about the host. Out: a [`plan::Plan`]. Nothing here but `host` reads the system, and
//! nothing but `launch` changes it.

#[cfg(feature = "dpdk")]
mod cards;
#[cfg(feature = "dpdk")]
mod carrier;
pub mod diff;
pub mod eal_args;
pub mod file;
#[cfg(feature = "dpdk")]
pub mod follow;
#[cfg(feature = "dpdk")]
mod guard;
pub mod host;
#[cfg(feature = "dpdk")]
pub mod launch;
#[cfg(feature = "dpdk")]
mod layout;
#[cfg(feature = "dpdk")]
mod multicast;
#[cfg(feature = "dpdk")]
mod notice;
#[cfg(feature = "dpdk")]
mod placement;
pub mod plan;
#[cfg(feature = "dpdk")]
mod record;
#[cfg(feature = "dpdk")]
pub mod reload;
#[cfg(feature = "dpdk")]
pub mod report;
pub mod schema;
#[cfg(feature = "dpdk")]
mod session;
pub mod subject;
pub mod table;

pub use file::{FileError, PipelineFile};
pub use host::HostFacts;
pub use plan::{Plan, PlanError};
