//! A pool of frames: fixed in number and size at launch, on one NUMA node, shared by every lcore.
//!
//! Frames point into their pool. A pool whose last owner goes while frames are out is kept, with an error in the log:
//! memory lost at exit is better than a frame that dangles.

use super::error::why;
use super::sizes::{HEADROOM, PAGE, PRIVATE_BYTES, pool_bytes, pool_bytes_in_pages};
use super::{Burst, DpdkError, Eal, Frame, Socket};
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pool of [`Frame`]s. Clones are owners of the same pool.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    name: String,
    size: u32,
    data_room: u16,
    /// A driver keeps some of its frames for good.
    kept_from: AtomicBool,
    eal: Eal,
}

// SAFETY: rte_mempool is safe for any number of threads (multi-producer, multi-consumer, per-lcore caches).
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Mempool {
    /// A pool of `n` frames with room for `data_room` bytes each behind the headroom, `cache` of them kept per lcore
    /// (0 to 512, at most two thirds of `n`). The name has at most 25 bytes and is unique.
    ///
    /// # Errors
    /// Names and sizes out of range; memory that EAL does not have, with the number and the remedy.
    pub fn frames(
        eal: &Eal,
        name: &str,
        n: u32,
        cache: u32,
        data_room: u16,
        socket: Socket,
    ) -> Result<Mempool, DpdkError> {
        Mempool::create(eal, name, (n, cache, data_room), socket, false)
    }

    /// The same with every frame within one [`PAGE`]: for cards that take buffers by pages of memory they know.
    ///
    /// # Errors
    /// As [`Mempool::frames`]; a frame that is larger than a page.
    pub fn frames_in_pages(
        eal: &Eal,
        name: &str,
        n: u32,
        cache: u32,
        data_room: u16,
        socket: Socket,
    ) -> Result<Mempool, DpdkError> {
        Mempool::create(eal, name, (n, cache, data_room), socket, true)
    }

    fn create(
        eal: &Eal,
        name: &str,
        (n, cache, data_room): (u32, u32, u16),
        socket: Socket,
        in_pages: bool,
    ) -> Result<Mempool, DpdkError> {
        let c_name = checked_name("frame pool", name, dpdk_sys::SHIM_MEMPOOL_NAME_MAX as usize)?;
        let room = usize::from(data_room) + HEADROOM;
        if n == 0 || room > usize::from(u16::MAX) || cache > dpdk_sys::SHIM_MEMPOOL_CACHE_MAX || cache > n * 2 / 3 {
            return Err(DpdkError::Argument {
                what: format!("frame pool `{name}`"),
                problem: format!(
                    "wants at least 1 frame, a cache of at most 512 and two thirds of the frames, and at most {} bytes \
                     a frame; found {n} frames, a cache of {cache}, {data_room} bytes",
                    usize::from(u16::MAX) - HEADROOM
                ),
            });
        }
        let (c_str, private, room, node) = (c_name.as_ptr(), PRIVATE_BYTES as u16, room as u16, socket.raw());
        // SAFETY: a NUL-terminated name and sizes in range; EAL is running while `eal` lives.
        let raw = unsafe {
            match in_pages {
                true => dpdk_sys::shim_pool_create_in_pages(c_str, n, cache, private, room, node, PAGE as u32),
                false => dpdk_sys::shim_pool_create(c_str, n, cache, private, room, node),
            }
        };
        let Some(raw) = NonNull::new(raw) else {
            return Err(DpdkError::Memory {
                what: format!("the frame pool `{name}` of {n} frames"),
                bytes: if in_pages { pool_bytes_in_pages } else { pool_bytes }(n as usize, data_room.into()),
                socket: socket.to_string(),
                said: why(0),
                remedy: eal.memory_remedy(),
            });
        };
        let (name, kept_from, eal) = (name.to_owned(), AtomicBool::new(false), eal.clone());
        Ok(Mempool(Arc::new(Pool { raw, name, size: n, data_room, kept_from, eal })))
    }

    /// An empty frame, or `None` when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Frame> {
        // SAFETY: the pool lives while `self` does; the mbuf is ours alone.
        NonNull::new(unsafe { dpdk_sys::shim_mbuf_alloc(self.raw()) }).map(|mbuf| unsafe { Frame::from_raw(mbuf) })
    }

    /// `n` empty frames behind those in `burst`, all or none. False when the pool has fewer, or the burst has no room.
    #[inline]
    #[must_use]
    pub fn alloc_bulk(&self, burst: &mut Burst, n: usize) -> bool {
        if n > burst.remaining_capacity() {
            return false;
        }
        let len = burst.len();
        // SAFETY: `n` free slots lie behind `len`; a slot is a mbuf pointer (Frame is transparent over one), and all
        // `n` are filled when 0 is returned.
        unsafe {
            let slots = burst.as_mut_ptr().add(len).cast::<*mut dpdk_sys::rte_mbuf>();
            let ok = dpdk_sys::shim_mbuf_alloc_bulk(self.raw(), slots, n as u32) == 0;
            if ok {
                burst.set_len(len + n);
            }
            ok
        }
    }

    /// Give the frames that the calling lcore's cache keeps back to the pool: for an lcore that is done with it. Not for the path.
    pub fn flush(&self) {
        // SAFETY: the pool lives while `self` does; a cache is its lcore's alone, and this is that lcore.
        unsafe { dpdk_sys::shim_pool_flush(self.raw()) }
    }

    /// Frames that are out. Walks every lcore's cache: not for the path.
    pub fn in_use(&self) -> usize {
        // SAFETY: the pool lives while `self` does.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.raw()) as usize }
    }

    /// Once everything that uses it is gone: frames that somebody has lost. Unknown, and 0, of a pool that a driver keeps
    /// frames of.
    pub fn lost(&self) -> usize {
        if self.0.kept_from.load(Ordering::Relaxed) { 0 } else { self.in_use() }
    }

    /// A driver that does not give all its frames back when its port is closed is given this pool.
    pub(super) fn keep_from(&self) {
        self.0.kept_from.store(true, Ordering::Relaxed);
    }

    /// Frames that are left, those in lcore caches included. Not for the path.
    pub fn available(&self) -> usize {
        // SAFETY: the pool lives while `self` does.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw()) as usize }
    }

    /// Frames it was made with.
    pub fn size(&self) -> usize {
        self.0.size as usize
    }

    /// Bytes a frame holds behind its headroom.
    pub fn data_room(&self) -> usize {
        self.0.data_room.into()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The stretches of memory that hold its frames, as addresses and lengths. Not for the path.
    pub fn chunks(&self) -> Vec<(usize, usize)> {
        // SAFETY: the pool lives while `self` does; no room is offered, so nothing is written.
        let room = unsafe { dpdk_sys::shim_pool_chunks(self.raw(), std::ptr::null_mut(), 0) };
        let mut chunks = vec![dpdk_sys::shim_chunk { at: std::ptr::null(), bytes: 0 }; room as usize];
        // SAFETY: room for as many as said; a pool's memory does not change.
        unsafe { dpdk_sys::shim_pool_chunks(self.raw(), chunks.as_mut_ptr(), room) };
        chunks.into_iter().map(|chunk| (chunk.at.addr(), chunk.bytes)).collect()
    }

    /// Have room for device stamps in its frames: [`Frame::set_stamp`] works from then on.
    ///
    /// # Errors
    /// No room is left in mbufs.
    pub fn stamped(&self) -> Result<(), DpdkError> {
        // SAFETY: EAL is running while the pool lives.
        let rc = unsafe { dpdk_sys::shim_rx_stamp_register() };
        super::frame::look_up_stamps(&self.0.eal);
        if rc == 0 { Ok(()) } else { Err(DpdkError::call("no room for stamps in mbufs", 0)) }
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut dpdk_sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool is not freed yet.
        let out = unsafe { dpdk_sys::rte_mempool_in_use_count(self.raw.as_ptr()) };
        if out > 0 {
            let (name, size) = (&self.name, self.size);
            match self.kept_from.load(Ordering::Relaxed) {
                true => log::debug!("its driver keeps {out} of {size} frames of frame pool `{name}`"),
                false => {
                    log::error!("frame pool `{name}` is dropped with {out} of {size} frames still out: it is kept")
                }
            }
            std::mem::forget(self.eal.clone());
            return;
        }
        // SAFETY: no frame is out and this was the last owner, so nothing points into the pool.
        unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) }
    }
}

/// A name that DPDK can hold, as a C string.
pub(super) fn checked_name(what: &'static str, name: &str, max: usize) -> Result<CString, DpdkError> {
    match CString::new(name) {
        Ok(c_name) if (1..=max).contains(&name.len()) => Ok(c_name),
        _ => Err(DpdkError::Name { what, name: name.to_owned(), max }),
    }
}
