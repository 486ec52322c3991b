//! Safe owners over ef_vi: a port of a Solarflare or AMD card, its receiving and its transmitting virtual interfaces.
//!
//! In: the name of an interface that the kernel keeps, pools whose frames lie within pages, groups to receive. Out: frames
//! without a copy, the card's stamps, and an account of every frame that was not delivered. A virtual interface (VI) either receives
//! or transmits, so that each has one owner on one lcore. Knows no protocol, no pipeline, and no header of ef_vi: those are behind
//! `efvi_sys`.
//!
//! Reading order: `port`, `queue`, `receive`, `transmit`, `vi`, `error`.

mod error;
mod port;
mod queue;
mod receive;
mod transmit;
mod vi;

pub use self::{
    error::EfviError,
    port::{Ctpio, Filter, Port, Protocol, QueueInfo, Renewed},
    queue::{RxQueue, TxQueue},
    receive::RxCounters,
    transmit::{Sent, TxCounters},
};

use std::ffi::CStr;

/// Whether this program was built on the test double of ef_vi: it drives no card.
pub const IS_DOUBLE: bool = efvi_sys::IS_DOUBLE;

/// Names the script of the test double, which has no interface without one.
pub const DOUBLE_SCRIPT: &str = "TICKPATH_EFVI_DOUBLE";

/// Version of the library, in its own words.
pub fn version() -> String {
    // SAFETY: the library returns a string of its own that ends with NUL and never changes.
    unsafe { CStr::from_ptr(efvi_sys::efvi_shim_version()) }.to_string_lossy().into_owned()
}
