//! The few instructions the path uses directly: time-stamp counter, prefetch, pause. x86-64 only.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tickpath reads the x86-64 time-stamp counter; no other architecture is supported");

use std::arch::x86_64::{_MM_HINT_T0, _mm_pause, _mm_prefetch, _rdtsc};

/// The time-stamp counter, unordered with the instructions around it (`rdtsc`, not `rdtscp`: half the price).
#[inline(always)]
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC and Linux leaves it enabled in user mode.
    unsafe { _rdtsc() }
}

/// Ask for the cache line of `at` in every cache level. Never faults, whatever the address.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    // SAFETY: PREFETCHT0 is a hint; it does not fault and does not change what the program sees.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Tell the core that this is a spin-wait.
#[inline(always)]
pub fn pause() {
    // PAUSE is a hint, a NOP on old CPUs.
    _mm_pause();
}
