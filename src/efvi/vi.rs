//! One virtual interface: opened, told of memory and filters, closed. The one owner of what the shim allocates.
//!
//! In: settings, pools. Out: the shim's handle, for the queue that owns it, and the card's address of a frame's data.

use super::{EfviError, Filter, Protocol};
use crate::dpdk::Mempool;
use efvi_sys::{efvi_shim, efvi_shim_config, efvi_shim_info, efvi_shim_trouble};
use std::ffi::CString;
use std::ptr::{self, NonNull};

/// A VI. Dropping it takes its filters away, then the VI itself, its memory, its domain and its handle: every frame the card held
/// is the program's again.
pub(super) struct Vi {
    shim: NonNull<efvi_shim>,
    pub info: efvi_shim_info,
    interface: String,
    memory: Vec<Registered>,
}

/// A stretch of memory that the card knows.
struct Registered {
    from: usize,
    bytes: usize,
    /// The card's address of each page.
    dma: Vec<u64>,
}

// SAFETY: nothing of a VI is tied to a thread; it is used by one at a time, because every call takes `&mut` or is asked by its
// owner.
unsafe impl Send for Vi {}

impl Vi {
    pub fn open(interface: &str, config: efvi_shim_config) -> Result<Vi, EfviError> {
        let name = CString::new(interface).ok().filter(|_| (1..libc::IFNAMSIZ).contains(&interface.len()));
        let name = name.ok_or_else(|| EfviError::Name(interface.to_owned()))?;
        let config = efvi_shim_config { interface: name.as_ptr(), ..config };
        let (mut shim, mut info) = (ptr::null_mut(), efvi_shim_info::default());
        // SAFETY: a name that ends with NUL and lives through the call, and two places to write to.
        let rc = unsafe { efvi_sys::efvi_shim_open(&config, &mut shim, &mut info) };
        match NonNull::new(shim) {
            Some(shim) => Ok(Vi { shim, info, interface: interface.to_owned(), memory: Vec::new() }),
            None => Err(EfviError::open(interface, info.step, rc)),
        }
    }

    /// Let the card have the memory of a pool, whose frames each lie within a page, and which the caller keeps longer than this.
    pub fn register(&mut self, pool: &Mempool) -> Result<(), EfviError> {
        for (from, bytes) in pages(pool.chunks()) {
            let mut dma = vec![0; bytes / efvi_sys::PAGE];
            let at = ptr::with_exposed_provenance_mut(from);
            // SAFETY: whole pages of memory of a pool, which outlives the VI, and room for an address of each.
            let rc = unsafe { efvi_sys::efvi_shim_register(self.raw(), at, bytes, dma.as_mut_ptr()) };
            if rc < 0 {
                return Err(EfviError::register(&self.interface, rc));
            }
            self.memory.push(Registered { from, bytes, dma });
        }
        Ok(())
    }

    /// Direct packets to this VI, until it is dropped.
    pub fn filter(&mut self, filter: &Filter) -> Result<(), EfviError> {
        let protocol = match filter.protocol {
            Protocol::Udp => libc::IPPROTO_UDP,
            Protocol::Tcp => libc::IPPROTO_TCP,
        };
        let order = |address: std::net::Ipv4Addr| u32::from_ne_bytes(address.octets());
        let (peer, peer_port) = filter.peer.map_or((0, 0), |peer| (order(*peer.ip()), peer.port().to_be()));
        let (address, port) = (order(*filter.local.ip()), filter.local.port().to_be());
        let vlan = filter.vlan.map_or(-1, i32::from);
        // SAFETY: numbers only.
        let rc = unsafe { efvi_sys::efvi_shim_filter(self.raw(), protocol, address, port, peer, peer_port, vlan) };
        if rc < 0 { Err(EfviError::filter(&self.interface, filter.to_string(), rc)) } else { Ok(()) }
    }

    /// The card's address of data; `None` of memory that was not registered.
    #[inline]
    pub fn dma(&self, at: *const u8) -> Option<u64> {
        let at = at.addr();
        let memory = self.memory.iter().find(|memory| at.wrapping_sub(memory.from) < memory.bytes)?;
        let offset = at - memory.from;
        Some(memory.dma[offset / efvi_sys::PAGE] | (offset % efvi_sys::PAGE) as u64)
    }

    #[inline]
    pub fn raw(&self) -> *mut efvi_shim {
        self.shim.as_ptr()
    }

    /// What went wrong so far.
    pub fn trouble(&self) -> efvi_shim_trouble {
        let mut trouble = efvi_shim_trouble::default();
        // SAFETY: an open VI and a place to write to.
        unsafe { efvi_sys::efvi_shim_trouble(self.raw(), &mut trouble) };
        trouble
    }
}

impl Drop for Vi {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        unsafe { efvi_sys::efvi_shim_close(self.raw()) }
    }
}

/// Whole pages over these stretches, neighbours as one.
fn pages(mut chunks: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    chunks.sort_unstable();
    let mut pages: Vec<(usize, usize)> = Vec::new();
    for (at, bytes) in chunks {
        let from = at / efvi_sys::PAGE * efvi_sys::PAGE;
        let end = (at + bytes).next_multiple_of(efvi_sys::PAGE);
        match pages.last_mut() {
            Some(last) if from <= last.0 + last.1 => last.1 = last.1.max(end - last.0),
            _ => pages.push((from, end - from)),
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn memory_is_registered_by_whole_pages_once() {
        assert_eq!(
            pages(vec![(0x2040, 0xfc0), (0x1000, 0x1000), (0x5010, 0x20)]),
            [(0x1000, 0x2000), (0x5000, 0x1000)]
        );
        assert_eq!(pages(vec![(0x1f00, 0x200), (0x2100, 0x100)]), [(0x1000, 0x2000)]);
        assert!(pages(Vec::new()).is_empty());
    }
}
