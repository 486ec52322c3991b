//! The test double's own interface (tests/efvi/double.h): how a test programs it, and what it reads back.
//!
//! Every call may be made at any time and from any thread, but for [`reset`]. The double ends the process when the interface of
//! ef_vi is misused.

extern crate std;

use core::ffi::{c_char, c_int, c_void};
use std::ffi::CString;
use std::vec::Vec;

/// Of one interface since it was made; see `struct efvi_double_counters`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub offered: u64,
    pub filtered: u64,
    pub matched: u64,
    pub delivered: u64,
    pub discarded_crc: u64,
    pub discarded_csum: u64,
    pub discarded_trunc: u64,
    pub no_descriptor: u64,
    pub lost: u64,
    pub waiting: u64,
    pub unplayed: u64,
    pub sent: u64,
    pub ctpio_won: u64,
    pub ctpio_lost: u64,
    pub ctpio_poisoned: u64,
    pub rx_held: u64,
    pub tx_held: u64,
    pub unreleased: u64,
}

unsafe extern "C" {
    fn efvi_double_script(text: *const c_char) -> c_int;
    fn efvi_double_reset();
    fn efvi_double_counters(interface: *const c_char, out: *mut Counters) -> c_int;
    fn efvi_double_offer(interface: *const c_char, frame: *const c_void, len: usize, stamp_ns: u64) -> c_int;
    fn efvi_double_taken(interface: *const c_char, out: *mut c_void, room: usize, stamp_ns: *mut u64) -> usize;
    fn efvi_double_node(interface: *const c_char) -> c_int;
}

/// A name or a script without a NUL in it.
fn c_text(text: &str) -> CString {
    CString::new(text).expect("scripts and names of interfaces have no NUL")
}

/// Runs a script. What is wrong with it is on stderr.
///
/// # Errors
/// The negative errno.
pub fn script(text: &str) -> Result<(), c_int> {
    // SAFETY: a text that ends with NUL and lives until the call returns; so with the names below.
    match unsafe { efvi_double_script(c_text(text).as_ptr()) } {
        0 => Ok(()),
        rc => Err(rc),
    }
}

/// Forgets every interface. Ends the process while anything is open.
pub fn reset() {
    // SAFETY: no argument.
    unsafe { efvi_double_reset() }
}

/// What an interface counted; `None` without such an interface.
pub fn counters(interface: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    // SAFETY: and a place for the counters.
    let rc = unsafe { efvi_double_counters(c_text(interface).as_ptr(), &mut counters) };
    (rc == 0).then_some(counters)
}

/// A frame arrives by the wire, stamped with these ns since 1970. False while the wire waits.
pub fn offer(interface: &str, frame: &[u8], stamp_ns: u64) -> bool {
    // SAFETY: the frame lives until the call returns, which copies it.
    let rc = unsafe { efvi_double_offer(c_text(interface).as_ptr(), frame.as_ptr().cast(), frame.len(), stamp_ns) };
    rc == 0
}

/// The oldest frame that was transmitted and kept, and its stamp.
pub fn taken(interface: &str) -> Option<(Vec<u8>, u64)> {
    let (mut frame, mut stamp_ns) = (std::vec![0; 9216], 0);
    let (room, at) = (frame.len(), frame.as_mut_ptr().cast());
    // SAFETY: as much room as is said.
    let len = unsafe { efvi_double_taken(c_text(interface).as_ptr(), at, room, &mut stamp_ns) };
    frame.truncate(len);
    (len > 0).then_some((frame, stamp_ns))
}

/// The memory node of an interface.
pub fn node(interface: &str) -> Option<u32> {
    // SAFETY: as above.
    u32::try_from(unsafe { efvi_double_node(c_text(interface).as_ptr()) }).ok()
}
