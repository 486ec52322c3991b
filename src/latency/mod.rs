//! Time on the packet's path: the clock.

pub mod clock;
pub mod hops;
