//! What we ask of the kernel directly, because `std` does not: clocks, CPU affinity, where pages lie, memory
//! advice, events of threads.
//!
//! Small wrappers over libc, used at launch and by control threads; never on the packet's path.

pub mod affinity;
pub mod memory;
pub mod pages;
pub mod perf;
pub mod quiet;
pub mod signals;
pub mod socket;
pub mod thread;
pub mod time;
