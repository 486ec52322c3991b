//! A frame: one packet in one mbuf, owned, freed when dropped.
//!
//! Fields are read in place, at the offsets of the installed headers; no call per packet. Bytes are writable only
//! while nobody else holds the mbuf. A frame of several segments is read by its first and refused by the stages.

use super::Eal;
use super::sizes::{MBUF_BYTES, PRIVATE_BYTES, PRIVATE_VALUE_BYTES};
use crate::cpu;
use arrayvec::ArrayVec;
use std::any::TypeId;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Frames in a burst at most.
pub const BURST: usize = 64;

/// Frames on their way from one call to the next.
pub type Burst = ArrayVec<Frame, BURST>;

/// One packet. As large as a pointer; goes back to its pool when dropped.
#[repr(transparent)]
pub struct Frame(NonNull<dpdk_sys::rte_mbuf>);

/// What the device found out about a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: verify it.
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
    /// It is not in the packet, but the data is known to be intact.
    None,
}

/// The area behind the mbuf of every pool of ours. A null `kind` (a pool is zeroed) means nothing was written.
#[repr(C)]
struct Private {
    kind: Option<&'static TypeId>,
    value: [MaybeUninit<u8>; PRIVATE_VALUE_BYTES],
}

const _: () = {
    assert!(size_of::<Private>() == PRIVATE_BYTES && PRIVATE_BYTES.is_multiple_of(8));
    assert!(dpdk_sys::SHIM_MBUF_SIZE as usize == MBUF_BYTES);
    assert!(dpdk_sys::SHIM_MBUF_HEADROOM as usize == super::sizes::HEADROOM);
    assert!(size_of::<Option<Frame>>() == 8);
};

// SAFETY: a mbuf has no tie to a thread; any lcore may use and free it.
unsafe impl Send for Frame {}

/// Which flag of a mbuf says that it has a stamp. 0, which no frame has, until a driver puts stamps.
static STAMP_FLAG: AtomicU64 = AtomicU64::new(0);
/// Where the stamp lies in a mbuf; written before the flag.
static STAMP_OFFSET: AtomicU32 = AtomicU32::new(0);

/// Ask DPDK where drivers put receive stamps: once a driver has arranged that, it holds for the process.
pub(super) fn look_up_stamps(_eal: &Eal) {
    let (mut offset, mut flag) = (0, 0);
    // SAFETY: two places for numbers; EAL is running while `_eal` lives.
    if unsafe { dpdk_sys::shim_rx_stamp(&mut offset, &mut flag) } == 0 {
        STAMP_OFFSET.store(offset, Ordering::Relaxed);
        STAMP_FLAG.store(flag, Ordering::Release);
    }
}

/// Give a whole burst back to its pool with one call.
#[inline]
pub fn free_burst(burst: &mut Burst) {
    let n = burst.len();
    // SAFETY: the burst holds `n` owned mbufs (Frame is transparent over the pointer) and forgets them here.
    unsafe {
        burst.set_len(0);
        dpdk_sys::shim_mbuf_free_bulk(burst.as_mut_ptr().cast(), n as u32);
    }
}

impl Frame {
    /// # Safety
    /// The mbuf is live, comes from a pool of ours, and the caller gives up one reference to it.
    #[inline]
    pub unsafe fn from_raw(mbuf: NonNull<dpdk_sys::rte_mbuf>) -> Frame {
        Frame(mbuf)
    }

    /// The mbuf. It stays the frame's.
    #[inline]
    pub fn as_ptr(&self) -> *mut dpdk_sys::rte_mbuf {
        self.0.as_ptr()
    }

    /// Bytes of the first segment: the whole packet unless [`Frame::segments`] says otherwise.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `data_len` bytes at `data` are the mbuf's, which lives as long as the frame.
        unsafe { std::slice::from_raw_parts(self.data(), self.data_len().into()) }
    }

    /// The bytes for writing; `None` when another reference, or another mbuf, shares them.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.is_exclusive() {
            return None;
        }
        // SAFETY: as in `bytes`, and the frame is the only reference to the mbuf and its buffer.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data(), self.data_len().into()) })
    }

    /// Bytes of the packet over all segments.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: an u32 at the headers' own offset.
        unsafe { self.field::<u32>(dpdk_sys::SHIM_MBUF_PKT_LEN).read() as usize }
    }

    /// Number of segments; 1 unless the packet outgrew the pool's data room.
    #[inline]
    pub fn segments(&self) -> usize {
        // SAFETY: an u16 at the headers' own offset.
        unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_NB_SEGS).read().into() }
    }

    /// EAL's number of the port it came in on.
    #[inline]
    pub fn port(&self) -> u16 {
        // SAFETY: an u16 at the headers' own offset.
        unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_PORT).read() }
    }

    /// Room in front of the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.data_off().into()
    }

    /// Room behind the data of the first segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.buf_len()) - usize::from(self.data_off()) - usize::from(self.data_len())
    }

    /// `n` more bytes behind the data, with whatever they held. `None` when there is no room, or the frame is shared
    /// or segmented.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = usize::from(self.data_len());
        if n > self.tailroom() || !self.set_len(len + n) {
            return None;
        }
        // SAFETY: `set_len` found the frame exclusive and the buffer long enough.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data().add(len), n) })
    }

    /// `n` more bytes in front of the data, with whatever they held. `None` as for [`Frame::append`].
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() || !self.is_exclusive() || self.segments() != 1 {
            return None;
        }
        let off = self.data_off() - n as u16;
        let len = usize::from(self.data_len()) + n;
        // SAFETY: the frame is exclusive; the new start lies inside the headroom, so `len` bytes still end where they did.
        unsafe {
            self.field::<u16>(dpdk_sys::SHIM_MBUF_DATA_OFF).write(off);
            self.write_len(len);
            Some(std::slice::from_raw_parts_mut(self.data(), n))
        }
    }

    /// Make the packet `len` bytes long; new bytes hold whatever they held. False, and nothing changed, when the buffer
    /// is shorter or the frame is shared or segmented.
    #[inline]
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let room = usize::from(self.buf_len()) - usize::from(self.data_off());
        if len > room || !self.is_exclusive() || self.segments() != 1 {
            return false;
        }
        // SAFETY: the frame is exclusive and `len` bytes fit behind the data offset.
        unsafe { self.write_len(len) };
        true
    }

    /// The VLAN tag (TCI) that the device took out of the packet.
    #[inline]
    pub fn vlan_stripped(&self) -> Option<u16> {
        if self.flags() & dpdk_sys::SHIM_MBUF_F_RX_VLAN_STRIPPED == 0 {
            return None;
        }
        // SAFETY: an u16 at the headers' own offset.
        Some(unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_VLAN_TCI).read() })
    }

    /// The stamp that the device or its driver put on the frame, in a clock and a unit of its own.
    #[inline]
    pub fn stamp(&self) -> Option<u64> {
        if self.flags() & STAMP_FLAG.load(Ordering::Acquire) == 0 {
            return None;
        }
        // SAFETY: with a flag there is an offset, that of an u64 which drivers and DPDK agreed on.
        Some(unsafe { self.field::<u64>(STAMP_OFFSET.load(Ordering::Relaxed)).read() })
    }

    /// Put a device's stamp on the frame, as its driver would. Nothing happens before [`super::Mempool::stamped`].
    #[inline]
    pub fn set_stamp(&mut self, stamp: u64) {
        let flag = STAMP_FLAG.load(Ordering::Acquire);
        if flag == 0 {
            return;
        }
        // SAFETY: as in `stamp`; an u64 at the headers' own offset, and nobody but the frame's holder writes either.
        unsafe {
            self.field::<u64>(STAMP_OFFSET.load(Ordering::Relaxed)).write(stamp);
            self.field::<u64>(dpdk_sys::SHIM_MBUF_OL_FLAGS).write(self.flags() | flag);
        }
    }

    /// Where the data is, for a device that reads or writes it.
    #[inline]
    pub fn data_at(&self) -> *mut u8 {
        self.data()
    }

    /// A device has written `len` bytes into this empty frame, `skip` bytes behind where its data begins. False, and nothing
    /// changed, when they do not fit or the frame is shared.
    #[inline]
    #[must_use]
    pub fn received(&mut self, skip: usize, len: usize) -> bool {
        if skip + len > self.tailroom() || self.data_len() != 0 || !self.is_exclusive() {
            return false;
        }
        // SAFETY: the frame is exclusive and empty, and both fit behind the data offset.
        unsafe {
            self.field::<u16>(dpdk_sys::SHIM_MBUF_DATA_OFF).write(self.data_off() + skip as u16);
            self.write_len(len);
        }
        true
    }

    /// What the device says of the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> Checksum {
        match self.flags() & dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK {
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD => Checksum::Good,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_BAD => Checksum::Bad,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_NONE => Checksum::None,
            _ => Checksum::Unknown,
        }
    }

    /// What the device says of the UDP or TCP checksum.
    #[inline]
    pub fn l4_checksum(&self) -> Checksum {
        match self.flags() & dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK {
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD => Checksum::Good,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD => Checksum::Bad,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_NONE => Checksum::None,
            _ => Checksum::Unknown,
        }
    }

    /// Let `value` travel with the frame, in place of what travelled before.
    #[inline]
    pub fn set_private<T: Copy + Send + 'static>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= PRIVATE_VALUE_BYTES) };
        let area = self.private_area();
        // SAFETY: the area lies behind every mbuf of ours, its value holds a `T` (asserted above) at any alignment, and
        // nobody but the frame's holder touches it.
        unsafe {
            (&raw mut (*area).value).cast::<T>().write_unaligned(value);
            (&raw mut (*area).kind).write(Some(const { &TypeId::of::<T>() }));
        }
    }

    /// The `T` that travels with the frame; `None` when the last value put in was of another type. A frame keeps what
    /// it carried when it returns to its pool, so a fresh frame may show its last passenger: write before you read.
    #[inline]
    pub fn private<T: Copy + Send + 'static>(&self) -> Option<T> {
        const { assert!(size_of::<T>() <= PRIVATE_VALUE_BYTES) };
        let area = self.private_area();
        // SAFETY: `kind` is null from the pool's creation or was written by `set_private`, and then names the type of
        // the value beside it.
        unsafe {
            match (*area).kind {
                Some(kind) if *kind == TypeId::of::<T>() => {
                    Some((&raw const (*area).value).cast::<T>().read_unaligned())
                }
                _ => None,
            }
        }
    }

    /// Ask for the line with lengths and flags.
    #[inline(always)]
    pub fn prefetch_header(&self) {
        cpu::prefetch(self.as_ptr());
    }

    /// Ask for the first line of the data. Reads the header line: prefetch that earlier.
    #[inline(always)]
    pub fn prefetch_data(&self) {
        cpu::prefetch(self.data());
    }

    /// Ask for the line where [`Frame::private`] begins.
    #[inline(always)]
    pub fn prefetch_private(&self) {
        cpu::prefetch(self.private_area());
    }

    /// Whether this frame is the only reference to its mbuf and the buffer is the mbuf's own.
    #[inline]
    fn is_exclusive(&self) -> bool {
        // SAFETY: an u16 at the headers' own offset, which DPDK too accesses atomically.
        let references = unsafe { AtomicU16::from_ptr(self.field::<u16>(dpdk_sys::SHIM_MBUF_REFCNT)) };
        // Acquire: see what the last other holder wrote before it let go.
        references.load(Ordering::Acquire) == 1
            && self.flags() & (dpdk_sys::SHIM_MBUF_F_INDIRECT | dpdk_sys::SHIM_MBUF_F_EXTERNAL) == 0
    }

    /// # Safety
    /// The frame is exclusive, has one segment, and `len` bytes fit behind the data offset.
    #[inline]
    unsafe fn write_len(&mut self, len: usize) {
        // SAFETY: both lengths at the headers' own offsets; the caller vouches for `len`.
        unsafe {
            self.field::<u16>(dpdk_sys::SHIM_MBUF_DATA_LEN).write(len as u16);
            self.field::<u32>(dpdk_sys::SHIM_MBUF_PKT_LEN).write(len as u32);
        }
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        // SAFETY: the data offset lies inside the buffer.
        unsafe { self.field::<*mut u8>(dpdk_sys::SHIM_MBUF_BUF_ADDR).read().add(self.data_off().into()) }
    }

    #[inline]
    fn data_off(&self) -> u16 {
        // SAFETY: an u16 at the headers' own offset.
        unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_DATA_OFF).read() }
    }

    #[inline]
    fn data_len(&self) -> u16 {
        // SAFETY: an u16 at the headers' own offset.
        unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_DATA_LEN).read() }
    }

    #[inline]
    fn buf_len(&self) -> u16 {
        // SAFETY: an u16 at the headers' own offset.
        unsafe { self.field::<u16>(dpdk_sys::SHIM_MBUF_BUF_LEN).read() }
    }

    #[inline]
    fn flags(&self) -> u64 {
        // SAFETY: an u64 at the headers' own offset.
        unsafe { self.field::<u64>(dpdk_sys::SHIM_MBUF_OL_FLAGS).read() }
    }

    #[inline]
    fn private_area(&self) -> *mut Private {
        // SAFETY: every pool of ours puts PRIVATE_BYTES behind the mbuf.
        unsafe { self.as_ptr().byte_add(MBUF_BYTES).cast() }
    }

    /// The field of type `T` at one of the offsets the shim exports (and whose sizes it asserts).
    #[inline]
    fn field<T>(&self, offset: u32) -> *mut T {
        // SAFETY: the offset lies inside the mbuf.
        unsafe { self.as_ptr().byte_add(offset as usize).cast() }
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the frame owns one reference and gives it up here.
        unsafe { dpdk_sys::shim_mbuf_free(self.as_ptr()) }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes, {} segments)", self.len(), self.segments())
    }
}
