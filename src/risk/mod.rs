//! What stands between a decision and the wire: the kill switch ([`Kill`]).

mod kill;

pub use kill::{Kill, KillFile, KillReason};
