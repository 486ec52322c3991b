//! Blocks of EAL's memory by name: what pools, rings and drivers' queues are made of.

use super::Eal;
use std::ffi::CStr;

/// A block of memory with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memzone {
    /// DPDK's name for it: `RG_` and a ring's name, `MP_` and a pool's, `eth_p0_q0_` and what a driver calls it.
    pub name: String,
    /// Its address.
    pub from: usize,
    /// Its length.
    pub bytes: usize,
}

/// All there are.
pub fn all(_eal: &Eal) -> Vec<Memzone> {
    // Some more than there were a moment ago: nobody else makes any at launch.
    // SAFETY: no room is offered, so nothing is written; EAL is running while `_eal` lives.
    let room = unsafe { dpdk_sys::shim_memzones(std::ptr::null_mut(), 0) } + 16;
    let mut zones = vec![dpdk_sys::shim_memzone::default(); room as usize];
    // SAFETY: room for as many as said.
    let found = unsafe { dpdk_sys::shim_memzones(zones.as_mut_ptr(), room) };
    zones.truncate(found.min(room) as usize);
    let memzone = |zone: dpdk_sys::shim_memzone| {
        // SAFETY: `c_char` is a byte, and the array is as long as it says.
        let name = unsafe { std::slice::from_raw_parts(zone.name.as_ptr().cast::<u8>(), zone.name.len()) };
        let name = CStr::from_bytes_until_nul(name).map(CStr::to_string_lossy).unwrap_or_default().into_owned();
        Memzone { name, from: zone.addr.addr(), bytes: zone.len }
    };
    zones.into_iter().map(memzone).collect()
}
