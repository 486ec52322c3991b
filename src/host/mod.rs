//! What this host is and what happens on it, read from `/proc` and `/sys` under a root that tests can replace. Reads
//! only; what cannot be read is absent.

pub mod check;
pub mod effect;
pub mod evidence;
mod files;
pub mod fingerprint;
pub mod placement;
pub mod ranges;
pub mod watch;
