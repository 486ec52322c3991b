//! Zeroed memory of EAL on one NUMA node, for books, encoder tables and templates: what an `Arena` is cut from.
//!
//! Every page is touched at once, so that the path takes no page fault, and the kernel can be asked where each lies.

use super::error::why;
use super::{DpdkError, Eal, Socket};
use crate::arena::Line;
use crate::sys::{memory, pages};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr::NonNull;

/// Memory on one NUMA node, given back when dropped.
#[derive(Debug)]
pub struct Region {
    at: NonNull<Line>,
    lines: usize,
    name: String,
    _eal: Eal,
}

// SAFETY: a region is plain memory with one owner.
unsafe impl Send for Region {}
// SAFETY: shared access reads plain memory.
unsafe impl Sync for Region {}

const HUGE_PAGE: usize = 2 << 20;

impl Region {
    /// `bytes` zeroed bytes on `socket`, rounded up to cache lines; from 2 MB on, aligned to a hugepage.
    ///
    /// # Errors
    /// Memory that EAL does not have, with the number and the remedy.
    pub fn new(eal: &Eal, name: &str, bytes: usize, socket: Socket) -> Result<Region, DpdkError> {
        let lines = bytes.div_ceil(size_of::<Line>()).max(1);
        let size = lines * size_of::<Line>();
        let align = if size >= HUGE_PAGE { HUGE_PAGE } else { size_of::<Line>() };
        // EAL does not keep the type name.
        let label = CString::default();
        // SAFETY: a power-of-two alignment; EAL is running while `eal` lives.
        let raw = unsafe { dpdk_sys::rte_zmalloc_socket(label.as_ptr(), size, align as u32, socket.raw()) };
        let Some(at) = NonNull::new(raw.cast::<Line>()) else {
            return Err(DpdkError::Memory {
                what: format!("the region `{name}`"),
                bytes: size,
                socket: socket.to_string(),
                said: why(0),
                remedy: eal.memory_remedy(),
            });
        };
        let mut region = Region { at, lines, name: name.to_owned(), _eal: eal.clone() };
        if !eal.has_hugepages() {
            // Without hugepages EAL's memory is a shared file in 4 KB pages, and books are bound by TLB misses (3 to 5
            // times slower in a virtual machine). Where the kernel refuses, everything still works.
            memory::replace_by_huge(region.bytes_mut());
        }
        memory::touch(region.bytes_mut());
        Ok(region)
    }

    /// Its memory, for an `Arena`.
    pub fn lines_mut(&mut self) -> &mut [Line] {
        // SAFETY: `lines` lines at `at` are the region's alone, initialised (zeroed) from the start.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.lines) }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.lines * size_of::<Line>()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> usize {
        self.at.as_ptr().addr()
    }

    /// How many of its 4 KB pages the kernel has put on each NUMA node.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn nodes(&self) -> std::io::Result<BTreeMap<u32, usize>> {
        pages::nodes(self.at.as_ptr().cast(), self.bytes())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.lines_mut())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated by rte_zmalloc_socket, and slices of it borrow the region.
        unsafe { dpdk_sys::rte_free(self.at.as_ptr().cast()) }
    }
}
