//! The kernel's clocks that `std` does not give: nanoseconds in, nothing kept.

/// CLOCK_MONOTONIC_RAW in ns: the kernel's clock without NTP's slewing, and on a TSC host the TSC itself.
pub fn monotonic_raw_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_RAW)
}

/// CLOCK_REALTIME in ns since 1970.
pub fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// A moment in ns since 1970 as UTC, `20261123T032338Z`: sorts as it should and fits into a file name.
pub fn utc(ns: u64) -> String {
    let seconds = (ns / 1_000_000_000) as libc::time_t;
    // SAFETY: a zeroed tm is valid, and both pointers are to locals.
    let at = unsafe {
        let mut at: libc::tm = std::mem::zeroed();
        libc::gmtime_r(&seconds, &mut at);
        at
    };
    let (year, month) = (at.tm_year + 1900, at.tm_mon + 1);
    format!("{year:04}{month:02}{:02}T{:02}{:02}{:02}Z", at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to; both clocks exist on every Linux since 2.6.28, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn utc_reads_as_iso_8601_without_its_marks() {
        // From the specification of POSIX time: day 20780 is 2026-11-23.
        assert_eq!(super::utc((20_780 * 86_400 + 3 * 3600 + 23 * 60 + 38) * 1_000_000_000), "20261123T032338Z");
        assert_eq!(super::utc(999_999_999), "19700101T000000Z");
    }
}
