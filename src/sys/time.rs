//! The kernel's clocks that `std` does not give: nanoseconds in, nothing kept, nothing set.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// CLOCK_MONOTONIC_RAW in ns: the kernel's clock without NTP's slewing, and on a TSC host the TSC itself.
pub fn monotonic_raw_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_RAW)
}

/// CLOCK_MONOTONIC in ns: with NTP's slewing, and without the steps of CLOCK_REALTIME.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in ns since 1970.
pub fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// How long ago this process was started, to the kernel's tick of 10 ms; `None` where the kernel does not say.
pub fn since_start() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // proc_pid_stat(5): field 22, in ticks since boot; the name in field 2 may hold anything.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?.parse().ok()?;
    // SAFETY: takes a plain number and touches no memory.
    let hz = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let started_ns = ticks.checked_mul(1_000_000_000)?.checked_div(hz)?;
    read(libc::CLOCK_BOOTTIME).checked_sub(started_ns).map(Duration::from_nanos)
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

/// What a time daemon has told the kernel about CLOCK_REALTIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// How far the clock is believed to be off, in ns; the kernel is working this off by slewing.
    pub offset_ns: i64,
    /// How far off it may be besides, in ns.
    pub error_ns: u64,
}

/// How CLOCK_REALTIME is disciplined; `None` when nobody does (STA_UNSYNC).
pub fn discipline() -> Option<Discipline> {
    // SAFETY: a timex is plain integers; zero is valid, and no mode means that nothing is changed.
    let mut said: libc::timex = unsafe { std::mem::zeroed() };
    // By its own number: the C library asks by that of clock_adjtime, which a run refuses itself.
    // SAFETY: a valid timex to read into.
    let state = unsafe { libc::syscall(libc::SYS_adjtimex, &raw mut said) };
    (state >= 0).then(|| told(&said)).flatten()
}

/// The meaning of adjtimex(2)'s answer. Daemons that estimate no error (systemd-timesyncd) leave `esterror` at 0, and
/// the kernel's bound `maxerror` is all there is.
fn told(said: &libc::timex) -> Option<Discipline> {
    if said.status & libc::STA_UNSYNC != 0 {
        return None;
    }
    let offset_ns = if said.status & libc::STA_NANO != 0 { said.offset } else { said.offset.saturating_mul(1000) };
    let error_us = if said.esterror > 0 { said.esterror } else { said.maxerror };
    Some(Discipline { offset_ns, error_ns: error_us.max(0) as u64 * 1000 })
}

/// The clock of a device, such as a NIC (`/dev/ptp0`).
#[derive(Debug)]
pub struct DeviceClock(File);

impl DeviceClock {
    /// Open it for reading.
    ///
    /// # Errors
    /// What the kernel says: no such device, not allowed, no clock.
    pub fn open(path: &Path) -> io::Result<DeviceClock> {
        let clock = DeviceClock(File::open(path)?);
        clock.ns()?;
        Ok(clock)
    }

    /// Its time in ns, by its own epoch.
    ///
    /// # Errors
    /// What the kernel says, such as a device that is gone.
    pub fn ns(&self) -> io::Result<u64> {
        // FD_TO_CLOCKID of clock_gettime(2): dynamic clocks are the complement of their descriptor, and 3.
        let clock = (!self.0.as_raw_fd() << 3) | 3;
        let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `at` is a valid timespec to write to; an id that is no clock is refused.
        match unsafe { libc::clock_gettime(clock, &mut at) } {
            0 => Ok(nanoseconds(at)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to; these clocks exist on every Linux since 2.6.28, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut at) };
    nanoseconds(at)
}

fn nanoseconds(at: libc::timespec) -> u64 {
    (at.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(at.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timex(status: i32, offset: i64, maxerror: i64, esterror: i64) -> libc::timex {
        // SAFETY: a timex is plain integers.
        let zero: libc::timex = unsafe { std::mem::zeroed() };
        libc::timex { status, offset, maxerror, esterror, ..zero }
    }

    #[test]
    fn discipline_is_told_in_ns_and_only_while_there_is_one() {
        assert_eq!(told(&timex(libc::STA_UNSYNC, 5, 16_000_000, 16_000_000)), None);
        let ntp = Discipline { offset_ns: -7_000, error_ns: 120_000 };
        assert_eq!(told(&timex(libc::STA_PLL, -7, 90_000, 120)), Some(ntp));
        assert_eq!(told(&timex(libc::STA_PLL | libc::STA_NANO, -7_000, 90_000, 120)), Some(ntp));
        assert_eq!(told(&timex(0, 0, 250, 0)), Some(Discipline { offset_ns: 0, error_ns: 250_000 }));
    }

    #[test]
    fn a_file_that_is_no_clock_is_refused() {
        assert!(DeviceClock::open(Path::new("/dev/null")).is_err());
        assert!(DeviceClock::open(Path::new("/dev/ptp-none")).is_err());
    }

    #[test]
    fn the_start_of_this_process_is_before_now_and_after_the_boot() {
        let at = since_start().unwrap();
        assert!(at.as_nanos() < u128::from(read(libc::CLOCK_BOOTTIME)));
        assert!(since_start().unwrap() >= at);
    }

    #[test]
    fn utc_reads_as_iso_8601_without_its_marks() {
        // From the specification of POSIX time: day 20780 is 2026-11-23.
        assert_eq!(utc((20_780 * 86_400 + 3 * 3600 + 23 * 60 + 38) * 1_000_000_000), "20261123T032338Z");
        assert_eq!(utc(999_999_999), "19700101T000000Z");
    }
}
