//! Events of one thread, counted by the kernel (`perf_event_open`): a thread's id and an event in, a running total out.
//!
//! A read goes to the CPU that the thread runs on by an inter-processor interrupt of about a microsecond, so nobody reads
//! more often than about once a second. The thread itself does nothing for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

/// What is counted, in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    kind: u32,
    config: u64,
}

impl Event {
    /// Loads that missed the last-level cache (`PERF_COUNT_HW_CACHE_LL`, read, miss).
    pub const LLC_LOAD_MISSES: Event = Event { kind: 3, config: 2 | 1 << 16 };
    /// Misses of the last-level cache, as the CPU's maker defines them (`PERF_COUNT_HW_CACHE_MISSES`).
    pub const CACHE_MISSES: Event = Event { kind: 0, config: 3 };
    /// Page faults (`PERF_COUNT_SW_PAGE_FAULTS`): counted by the kernel itself, so there on every host.
    pub const PAGE_FAULTS: Event = Event { kind: 1, config: 2 };
}

/// The kernel does not count this here.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel offers no cache-miss event to this process ({0}); a virtual machine often has none, elsewhere lower \
     kernel.perf_event_paranoid to 2 or give the program CAP_PERFMON"
)]
pub struct Unavailable(#[source] io::Error);

/// One event of one thread.
#[derive(Debug)]
pub struct Counter(File);

impl Counter {
    /// Count `event` of the thread `tid` (0: the calling one) from now on, on whatever CPU it runs.
    ///
    /// # Errors
    /// What the kernel says: no such event on this CPU, not allowed, no such thread.
    pub fn open(tid: i32, event: Event) -> io::Result<Counter> {
        let attributes = Attributes {
            kind: event.kind,
            size: size_of::<Attributes>() as u32,
            config: event.config,
            read_format: TOTAL_TIME_ENABLED | TOTAL_TIME_RUNNING,
            flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            ..Attributes::default()
        };
        // SAFETY: the attributes are as large as they say; any CPU, no group, a descriptor that is closed on exec.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, tid, -1, -1, CLOSE_ON_EXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Counter(unsafe { File::from_raw_fd(fd as i32) }))
    }

    /// Count the cache misses of the thread `tid`: [`Event::LLC_LOAD_MISSES`] or, where the CPU cannot tell these,
    /// [`Event::CACHE_MISSES`].
    ///
    /// # Errors
    /// Neither is there, with the reason of the second.
    pub fn cache_misses(tid: i32) -> Result<Counter, Unavailable> {
        Counter::open(tid, Event::LLC_LOAD_MISSES)
            .or_else(|_| Counter::open(tid, Event::CACHE_MISSES))
            .map_err(Unavailable)
    }

    /// Events so far. Where the CPU has fewer counters than are asked for, an estimate, which may fall a little.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&mut self) -> io::Result<u64> {
        let mut raw = [0; 24];
        self.0.read_exact(&mut raw)?;
        Ok(total(raw))
    }
}

/// The kernel's answer in the format asked for: count, ns enabled, ns counted.
fn total(raw: [u8; 24]) -> u64 {
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| raw[at + i]));
    let (count, enabled, running) = (word(0), word(8), word(16));
    if running == 0 || running >= enabled {
        return count;
    }
    let whole = u128::from(count) * u128::from(enabled) / u128::from(running);
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// The first version of `struct perf_event_attr` (`linux/perf_event.h`), which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64, "PERF_ATTR_SIZE_VER0");

const TOTAL_TIME_ENABLED: u64 = 1 << 0;
const TOTAL_TIME_RUNNING: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const CLOSE_ON_EXEC: u64 = 1 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(words: [u64; 3]) -> [u8; 24] {
        bytemuck::cast(words)
    }

    #[test]
    fn a_count_that_ran_half_the_time_is_doubled() {
        assert_eq!(total(raw([1000, 80, 80])), 1000);
        assert_eq!(total(raw([1000, 80, 40])), 2000);
        assert_eq!(total(raw([0, 80, 0])), 0);
        assert_eq!(total(raw([u64::MAX, u64::MAX, 1])), u64::MAX);
    }

    #[test]
    fn faults_of_another_thread_are_counted() {
        let (to_main, from_thread) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: asks for the calling thread's own id.
            to_main.send(unsafe { libc::gettid() }).unwrap();
            wait.recv().unwrap();
            touch_fresh_pages(256);
            to_main.send(0).unwrap();
            wait.recv().unwrap();
        });
        let tid = from_thread.recv().unwrap();
        let counter = Counter::open(tid, Event::PAGE_FAULTS);
        let faults = counter.map(|mut counter| {
            let before = counter.read().unwrap();
            go.send(()).unwrap();
            from_thread.recv().unwrap();
            counter.read().unwrap() - before
        });
        let _ = (go.send(()), go.send(()));
        thread.join().unwrap();
        match faults {
            // A page that is read before it is written may fault twice.
            Ok(faults) => assert!((256..2560).contains(&faults), "{faults} faults for 256 pages"),
            Err(err) => println!("skipped: this process may not count events: {err}"),
        }
    }

    fn touch_fresh_pages(pages: usize) {
        let len = pages * 4096;
        // SAFETY: a mapping of our own, as long as the slice, small pages only, gone before anyone else could see it.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            libc::madvise(at, len, libc::MADV_NOHUGEPAGE);
            (0..pages).for_each(|page| at.cast::<u8>().add(page * 4096).write_volatile(1));
            libc::munmap(at, len);
        }
    }

    #[test]
    fn a_host_without_cache_events_says_what_to_do() {
        match Counter::cache_misses(0) {
            Ok(mut counter) => assert!(counter.read().is_ok()),
            Err(err) => assert!(err.to_string().contains("perf_event_paranoid"), "{err}"),
        }
        assert!(Counter::open(i32::MAX, Event::PAGE_FAULTS).is_err(), "there is no such thread");
    }
}
