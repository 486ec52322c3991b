//! CPU sets of threads. EAL pins the thread that starts it, and threads inherit: control threads set theirs here.

use std::collections::BTreeSet;
use std::io;

/// CPUs by the kernel's numbers.
pub type CpuSet = BTreeSet<usize>;

/// CPUs the calling thread may run on.
///
/// # Errors
/// What the kernel says.
pub fn current() -> io::Result<CpuSet> {
    let mut raw = Mask::empty();
    // SAFETY: the mask is as large as we say; 0 is the calling thread.
    let rc = unsafe { libc::sched_getaffinity(0, size_of::<Mask>(), raw.0.as_mut_ptr().cast()) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..MAX_CPUS).filter(|cpu| raw.has(*cpu)).collect())
}

/// Let the calling thread run on these CPUs only.
///
/// # Errors
/// An empty set, or CPUs that do not exist or are not allowed here.
pub fn set(cpus: &CpuSet) -> io::Result<()> {
    let mut raw = Mask::empty();
    for cpu in cpus {
        if *cpu >= MAX_CPUS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("CPU {cpu} is beyond {}", MAX_CPUS - 1)));
        }
        raw.0[cpu / 64] |= 1 << (cpu % 64);
    }
    // SAFETY: the mask is as large as we say; 0 is the calling thread.
    let rc = unsafe { libc::sched_setaffinity(0, size_of::<Mask>(), raw.0.as_ptr().cast()) };
    if rc != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const MAX_CPUS: usize = 8192;

/// The kernel's mask: one bit a CPU, in longs.
struct Mask([u64; MAX_CPUS / 64]);

impl Mask {
    fn empty() -> Mask {
        Mask([0; MAX_CPUS / 64])
    }

    fn has(&self, cpu: usize) -> bool {
        self.0[cpu / 64] & (1 << (cpu % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_the_set_it_asked_for_and_may_return() {
        std::thread::spawn(|| {
            let all = current().unwrap();
            let one = CpuSet::from([*all.first().unwrap()]);
            set(&one).unwrap();
            assert_eq!(current().unwrap(), one);
            set(&all).unwrap();
            assert_eq!(current().unwrap(), all);
            assert!(set(&CpuSet::new()).is_err());
        })
        .join()
        .unwrap();
    }
}
