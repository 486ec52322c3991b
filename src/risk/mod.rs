//! What stands between a decision and the wire: the [`Gate`] with its limits, and the kill switch ([`Kill`]).
//!
//! The gate asks [`OrderStates`](crate::session::OrderStates) what is held and what stands, and changes nothing there.

mod gate;
mod kill;
mod limits;

pub use gate::{Gate, LimitSet, Touch};
pub use kill::{Kill, KillFile, KillReason};
pub use limits::{Limits, Rate, RiskConfig};
