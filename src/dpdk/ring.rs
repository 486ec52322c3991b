//! A ring from one lcore to one other: `rte_ring`, single producer, single consumer, elements by value.
//!
//! [`spsc`] makes both ends. What is pushed comes out in order; what does not fit stays with the caller. Elements still
//! inside when both ends are gone are dropped. No end ever waits.

use super::error::why;
use super::mempool::checked_name;
use super::sizes::ring_bytes;
use super::{DpdkError, Eal, Socket};
use crate::sys::memory;
use arrayvec::ArrayVec;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

/// The sending end. One thread at a time holds it.
#[derive(Debug)]
pub struct Producer<T: Send> {
    ring: Arc<Ring<T>>,
    high_water: u32,
}

/// The receiving end. One thread at a time holds it.
#[derive(Debug)]
pub struct Consumer<T: Send> {
    ring: Arc<Ring<T>>,
}

/// Room in the ring itself, to be filled in order. What has been pushed becomes visible when `fill` returns.
#[derive(Debug)]
pub struct Slots<'a, T> {
    first: &'a mut [MaybeUninit<T>],
    second: &'a mut [MaybeUninit<T>],
    filled: usize,
}

/// How full a ring is, for who watches it.
#[derive(Clone)]
pub struct Gauge(Arc<dyn Fill>);

trait Fill: Send + Sync {
    fn len(&self) -> usize;
    fn capacity(&self) -> usize;
}

#[derive(Debug)]
struct Ring<T> {
    raw: NonNull<dpdk_sys::rte_ring>,
    capacity: u32,
    _elements: PhantomData<T>,
    _eal: Eal,
}

// SAFETY: one producer and one consumer may use an SP/SC ring at once, and `spsc` gives out one of each.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; each end takes `&mut self` to move elements.
unsafe impl<T: Send> Sync for Ring<T> {}

/// A ring of exactly `depth` elements on `socket` (the consumer's is the right one). Names are unique and have at most
/// 28 bytes.
///
/// # Errors
/// Names and depths out of range; memory that EAL does not have.
pub fn spsc<T: Send>(
    eal: &Eal,
    name: &str,
    depth: usize,
    socket: Socket,
) -> Result<(Producer<T>, Consumer<T>), DpdkError> {
    const { assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(4), "rte_ring counts in 32-bit words") };
    let c_name = checked_name("ring", name, dpdk_sys::SHIM_RING_NAME_MAX as usize)?;
    // RTE_RING_SZ_MASK is 2³¹ - 1; a quarter of that leaves byte counts in range.
    let Some(capacity) = u32::try_from(depth).ok().filter(|depth| (1..=1 << 29).contains(depth)) else {
        return Err(DpdkError::Argument {
            what: format!("ring `{name}`"),
            problem: format!("wants a depth from 1 to {}; found {depth}", 1 << 29),
        });
    };
    // SAFETY: a NUL-terminated name, an element size that is a multiple of 4; EAL is running while `eal` lives.
    let raw = unsafe {
        dpdk_sys::rte_ring_create_elem(
            c_name.as_ptr(),
            size_of::<T>() as u32,
            capacity,
            socket.raw(),
            dpdk_sys::SHIM_RING_SPSC,
        )
    };
    let Some(raw) = NonNull::new(raw) else {
        return Err(DpdkError::Memory {
            what: format!("the ring `{name}` of {depth} elements of {} bytes", size_of::<T>()),
            bytes: ring_bytes::<T>(depth),
            socket: socket.to_string(),
            said: why(0),
            remedy: eal.memory_remedy(),
        });
    };
    if !eal.has_hugepages() {
        // Small pages are taken at the first touch: not on the path.
        // SAFETY: the ring has so many bytes and nobody else yet.
        memory::touch(unsafe { std::slice::from_raw_parts_mut(raw.as_ptr().cast(), ring_bytes::<T>(depth)) });
    }
    let ring = Arc::new(Ring { raw, capacity, _elements: PhantomData, _eal: eal.clone() });
    Ok((Producer { ring: Arc::clone(&ring), high_water: 0 }, Consumer { ring }))
}

impl<T: Send> Producer<T> {
    /// Send one element; a full ring gives it back.
    #[inline]
    pub fn push(&mut self, element: T) -> Result<(), T> {
        // SAFETY: the element is readable, and forgotten when it has moved.
        if unsafe { self.send(&raw const element, 1) } == 1 {
            std::mem::forget(element);
            return Ok(());
        }
        Err(element)
    }

    /// Send as many as fit, from the front; the rest stays. Returns how many went.
    #[inline]
    pub fn push_burst<const N: usize>(&mut self, burst: &mut ArrayVec<T, N>) -> usize {
        let len = burst.len();
        // SAFETY: `len` elements are readable; those that moved are cut off without being dropped, the rest moves up.
        unsafe {
            let sent = self.send(burst.as_ptr(), len);
            burst.set_len(0);
            if sent < len {
                let all = burst.as_mut_ptr();
                std::ptr::copy(all.add(sent), all, len - sent);
                burst.set_len(len - sent);
            }
            sent
        }
    }

    /// Send copies of as many as fit, from the front. Returns how many went.
    #[inline]
    pub fn push_slice(&mut self, elements: &[T]) -> usize
    where
        T: Copy,
    {
        // SAFETY: the slice is readable and its elements are `Copy`.
        unsafe { self.send(elements.as_ptr(), elements.len()) }
    }

    /// Build up to `max` elements in the ring itself. They become visible when `build` returns (or unwinds).
    #[inline]
    pub fn fill<R>(&mut self, max: usize, build: impl FnOnce(&mut Slots<'_, T>) -> R) -> R {
        const { assert!(align_of::<T>() <= dpdk_sys::SHIM_CACHE_LINE as usize, "a ring is aligned to a cache line") };
        let span = self.ring.produce_start(max);
        // SAFETY: a reservation of `T`s, open until `reserved` is dropped.
        let (first, second) = unsafe { parts(&span) };
        let slots = Slots { first, second, filled: 0 };
        let mut reserved = Reserved { producer: self, left: span.left + span.len, slots };
        build(&mut reserved.slots)
    }

    /// Elements that fit now.
    #[inline]
    pub fn free(&self) -> usize {
        // SAFETY: the ring lives while `self` does.
        unsafe { dpdk_sys::shim_ring_free_count(self.ring.raw.as_ptr()) as usize }
    }

    /// Elements it holds at most.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.ring.capacity as usize
    }

    /// A gauge of this ring.
    pub fn gauge(&self) -> Gauge
    where
        T: 'static,
    {
        Gauge(self.ring.clone())
    }

    /// The most elements that were ever seen inside, as counted when something was sent.
    pub fn high_water(&self) -> usize {
        self.high_water as usize
    }

    /// Move `n` elements at `from` into the ring; returns how many, from the front, now belong to it.
    ///
    /// # Safety
    /// `n` elements are readable at `from`, and the caller forgets those that moved.
    #[inline]
    unsafe fn send(&mut self, from: *const T, n: usize) -> usize {
        let n = n.min(self.capacity()) as u32;
        // SAFETY: the ring holds `T`s, this is its one producer, and `n` elements are readable. Bytes are copied, at any
        // alignment.
        let moved = unsafe { dpdk_sys::shim_ring_push(self.ring.raw.as_ptr(), from.cast(), size_of::<T>() as u32, n) };
        self.note((moved >> 32) as u32);
        moved as u32 as usize
    }

    #[inline]
    fn note(&mut self, left: u32) {
        self.high_water = self.high_water.max(self.ring.capacity - left);
    }
}

impl<T: Send> Consumer<T> {
    /// Receive one element.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let mut element = MaybeUninit::<T>::uninit();
        // SAFETY: room for one; it is initialised when one was received.
        unsafe { (self.receive(element.as_mut_ptr(), 1) == 1).then(|| element.assume_init()) }
    }

    /// Receive into the spare room of `burst`. Returns how many came.
    #[inline]
    pub fn pop_burst<const N: usize>(&mut self, burst: &mut ArrayVec<T, N>) -> usize {
        self.pop_at_most(burst, N)
    }

    /// Receive at most `max` into the spare room of `burst`. Returns how many came.
    #[inline]
    pub fn pop_at_most<const N: usize>(&mut self, burst: &mut ArrayVec<T, N>, max: usize) -> usize {
        let len = burst.len();
        // SAFETY: N - len elements of room lie behind `len`, and those received are initialised.
        unsafe {
            let received = self.receive(burst.as_mut_ptr().add(len), max.min(N - len));
            burst.set_len(len + received);
            received
        }
    }

    /// Receive over the elements of `into`, from the front. Returns how many came.
    #[inline]
    pub fn pop_slice(&mut self, into: &mut [T]) -> usize
    where
        T: Copy,
    {
        // SAFETY: the slice is writable and its elements need no drop.
        unsafe { self.receive(into.as_mut_ptr(), into.len()) }
    }

    /// Read up to `max` elements where they lie (the second part is behind the ring's wrap), then release them all.
    #[inline]
    pub fn consume<R>(&mut self, max: usize, read: impl FnOnce(&[T], &[T]) -> R) -> R
    where
        T: Copy,
    {
        const { assert!(align_of::<T>() <= dpdk_sys::SHIM_CACHE_LINE as usize, "a ring is aligned to a cache line") };
        let span = self.ring.consume_start(max);
        let taken = Taken { consumer: self, len: span.len };
        // SAFETY: the span is `len` filled elements in two parts, which stay the consumer's until `taken` is dropped.
        let result = unsafe {
            let (first, second) = parts::<T>(&span);
            read(first.assume_init_ref(), second.assume_init_ref())
        };
        drop(taken);
        result
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements waiting.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: the ring lives while `self` does.
        unsafe { dpdk_sys::shim_ring_count(self.ring.raw.as_ptr()) as usize }
    }

    /// Elements it holds at most.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.ring.capacity as usize
    }

    /// Move up to `n` elements to `into`; returns how many.
    ///
    /// # Safety
    /// `into` has room for `n` elements, and none there needs a drop.
    #[inline]
    unsafe fn receive(&mut self, into: *mut T, n: usize) -> usize {
        let n = n.min(self.capacity()) as u32;
        // SAFETY: the ring holds `T`s, this is its one consumer, and `n` elements are writable. Bytes are copied, at any
        // alignment.
        let moved = unsafe { dpdk_sys::shim_ring_pop(self.ring.raw.as_ptr(), into.cast(), size_of::<T>() as u32, n) };
        moved as u32 as usize
    }
}

impl<T> Slots<'_, T> {
    /// Put one element behind the last; a full reservation gives it back.
    #[inline]
    pub fn push(&mut self, element: T) -> Result<(), T> {
        let at = self.filled;
        let slot = match self.first.get_mut(at) {
            Some(slot) => slot,
            None => match self.second.get_mut(at - self.first.len()) {
                Some(slot) => slot,
                None => return Err(element),
            },
        };
        slot.write(element);
        self.filled += 1;
        Ok(())
    }

    /// Elements that can still be pushed.
    #[inline]
    pub fn room(&self) -> usize {
        self.first.len() + self.second.len() - self.filled
    }
}

/// A reservation under way: published when dropped, so that a panic in between leaves the ring whole.
struct Reserved<'a, T: Send> {
    producer: &'a mut Producer<T>,
    left: u32,
    slots: Slots<'a, T>,
}

impl<T: Send> Drop for Reserved<'_, T> {
    fn drop(&mut self) {
        let filled = self.slots.filled as u32;
        // SAFETY: a reservation is open, at least `filled` long, and its first `filled` elements are initialised.
        unsafe { dpdk_sys::shim_ring_produce_finish(self.producer.ring.raw.as_ptr(), filled) }
        self.producer.note(self.left - filled);
    }
}

/// Elements being read: released when dropped.
struct Taken<'a, T: Send> {
    consumer: &'a mut Consumer<T>,
    len: u32,
}

impl<T: Send> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        // SAFETY: exactly `len` elements were taken by consume_start.
        unsafe { dpdk_sys::shim_ring_consume_finish(self.consumer.ring.raw.as_ptr(), self.len) }
    }
}

impl Gauge {
    /// Elements waiting at about this moment.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Elements it holds at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T: Send> Fill for Ring<T> {
    fn len(&self) -> usize {
        // SAFETY: the ring lives while `self` does; the count reads two words and changes nothing.
        unsafe { dpdk_sys::shim_ring_count(self.raw.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl<T> Ring<T> {
    #[inline]
    fn produce_start(&self, n: usize) -> Span {
        let mut span = MaybeUninit::<Span>::uninit();
        // SAFETY: the ring lives; only the one producer gets here; the shim fills every field.
        unsafe {
            let n = n.min(self.capacity as usize) as u32;
            dpdk_sys::shim_ring_produce_start(self.raw.as_ptr(), size_of::<T>() as u32, n, span.as_mut_ptr());
            span.assume_init()
        }
    }

    #[inline]
    fn consume_start(&self, n: usize) -> Span {
        let mut span = MaybeUninit::<Span>::uninit();
        // SAFETY: the ring lives; only the one consumer gets here; the shim fills every field.
        unsafe {
            let n = n.min(self.capacity as usize) as u32;
            dpdk_sys::shim_ring_consume_start(self.raw.as_ptr(), size_of::<T>() as u32, n, span.as_mut_ptr());
            span.assume_init()
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            loop {
                let span = self.consume_start(1);
                if span.len == 0 {
                    break;
                }
                // SAFETY: one filled element, read out once and then released.
                unsafe {
                    let element = span.first.cast::<T>().read_unaligned();
                    dpdk_sys::shim_ring_consume_finish(self.raw.as_ptr(), 1);
                    drop(element);
                }
            }
        }
        // SAFETY: both ends are gone.
        unsafe { dpdk_sys::rte_ring_free(self.raw.as_ptr()) }
    }
}

type Span = dpdk_sys::shim_span;

/// The parts of a span of `T`.
///
/// # Safety
/// The span was reserved in a ring of `T` (aligned to no more than a cache line) and stays reserved for `'a`.
#[inline]
unsafe fn parts<'a, T>(span: &Span) -> (&'a mut [MaybeUninit<T>], &'a mut [MaybeUninit<T>]) {
    let (first, len) = (span.first_len as usize, span.len as usize);
    if len == 0 {
        return (&mut [], &mut []);
    }
    // SAFETY: `first` elements begin at `span.first` and the others at `span.second`, both inside the ring.
    unsafe {
        let head = std::slice::from_raw_parts_mut(span.first.cast(), first);
        if first == len {
            return (head, &mut []);
        }
        (head, std::slice::from_raw_parts_mut(span.second.cast(), len - first))
    }
}
