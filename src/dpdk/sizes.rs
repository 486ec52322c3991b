//! How much memory DPDK's objects take, as pure arithmetic, so that a plan can add it up before EAL starts.
//!
//! Figures are those of DPDK 22.11 on x86-64 and round up; a test holds them against the installed library.

/// Bytes behind every mbuf of ours that travel with the frame: a type tag and up to [`PRIVATE_VALUE_BYTES`].
pub const PRIVATE_BYTES: usize = 192;

/// The largest value that rides in a frame's private area.
pub const PRIVATE_VALUE_BYTES: usize = PRIVATE_BYTES - 8;

/// Bytes in front of a fresh frame's data (`RTE_PKTMBUF_HEADROOM`).
pub const HEADROOM: usize = 128;

/// `sizeof(struct rte_mbuf)`.
pub(super) const MBUF_BYTES: usize = 128;

/// The page by which cards map memory for themselves, where they do.
pub const PAGE: usize = 4096;

const LINE: usize = 64;

/// An array of RTE_MAX_LCORE caches lies in every pool.
const CACHES: usize = 128 * 9 * 1024;

/// Bytes of hugepage memory that a pool of `n` frames of `data_room` bytes takes: objects, free list, headers.
pub const fn pool_bytes(n: usize, data_room: usize) -> usize {
    n * object_bytes(data_room) + ring_bytes::<u64>(n) + CACHES
}

/// The same of a pool whose frames each lie within one [`PAGE`].
pub const fn pool_bytes_in_pages(n: usize, data_room: usize) -> usize {
    let pages = n.div_ceil(PAGE / object_bytes(data_room));
    // A header for each page, and the page that aligning them takes.
    pages * (PAGE + 256) + PAGE + ring_bytes::<u64>(n) + CACHES
}

const fn object_bytes(data_room: usize) -> usize {
    let lines = (MBUF_BYTES + PRIVATE_BYTES + HEADROOM + data_room).div_ceil(LINE) + 1;
    // EAL spreads objects over memory channels: an odd number of lines (for its default of four channels).
    (lines | 1) * LINE
}

/// Bytes of hugepage memory that a ring of `depth` elements of `T` takes.
pub const fn ring_bytes<T>(depth: usize) -> usize {
    384 + (depth + 1).next_power_of_two() * size_of::<T>()
}
