//! The kernel's clocks that `std` does not give: nanoseconds in, nothing kept.

/// CLOCK_MONOTONIC_RAW in ns: the kernel's clock without NTP's slewing, and on a TSC host the TSC itself.
pub fn monotonic_raw_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_RAW)
}

/// CLOCK_REALTIME in ns since 1970.
pub fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to; both clocks exist on every Linux since 2.6.28, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}
