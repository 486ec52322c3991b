//! What stops an order: the kill switch.

mod kill;

pub use kill::{Kill, KillFile, KillReason};
