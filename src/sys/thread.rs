//! Threads, as the kernel knows them.

use std::io;
use std::time::Duration;

/// The calling thread's id, as in `/proc/self/task`.
pub fn id() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// The stack of the calling thread: its address and length, with the variables of the thread at its end. `None` where the C
/// library does not say.
pub fn stack() -> Option<(usize, usize)> {
    let (mut at, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are written before they are read, and destroyed once; the thread is this one.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let rc = libc::pthread_attr_getstack(&attributes, &mut at, &mut len);
        libc::pthread_attr_destroy(&mut attributes);
        (rc == 0).then_some((at.addr(), len))
    }
}

/// Yield to everything else on its CPUs: nice value 10. Where the kernel refuses, it stays what it was.
pub fn step_back() {
    // SAFETY: sets a number of the calling thread; 0 is that thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}

/// Run the calling thread under SCHED_FIFO at `priority`, 1 to 99. Threads that it starts later do not.
///
/// # Errors
/// The kernel's: it wants CAP_SYS_NICE, or a RLIMIT_RTPRIO of `priority` at least.
pub fn run_fifo(priority: u32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::try_from(priority).map_err(io::Error::other)? };
    // SAFETY: `parameters` is read before the call returns; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a thread of this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing {
    /// CPU time it has had.
    pub cpu: Duration,
    /// It has a CPU or wants one; if not, it waits for something else.
    pub runnable: bool,
}

/// What the thread with this id does; `None` when there is no such thread.
pub fn doing(id: i32) -> Option<Doing> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
    // proc(5): after the name, which may hold anything, comes the state.
    let runnable = stat.rsplit_once(") ")?.1.starts_with('R');
    // pthread_getcpuclockid(3) makes it so: the complement of the thread's id, CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED.
    let clock = (!id << 3) | 4 | 2;
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid timespec to write to; a thread that is gone is refused.
    let rc = unsafe { libc::clock_gettime(clock, &mut at) };
    let cpu = Duration::new(u64::try_from(at.tv_sec).ok()?, u32::try_from(at.tv_nsec).ok()?);
    (rc == 0).then_some(Doing { cpu, runnable })
}

/// End the process at once, whatever its threads do: no destructor runs, and nothing that is buffered is written.
pub fn leave(code: i32) -> ! {
    // SAFETY: never returns, so nothing after it can be wrong.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_computes_uses_cpu_time_and_one_that_waits_does_not() {
        let [(told, tell), (to_hold, hold)] = [mpsc::channel(), mpsc::channel()];
        let thread = std::thread::spawn(move || {
            told.send(super::id()).unwrap();
            let mut spun = 0u64;
            while hold.try_recv().is_err() {
                spun = std::hint::black_box(spun + 1);
            }
            hold.recv().unwrap();
        });
        let id = tell.recv().unwrap();
        let at_first = super::doing(id).unwrap();
        while super::doing(id).unwrap().cpu < at_first.cpu + std::time::Duration::from_millis(5) {
            std::thread::yield_now();
        }
        assert!(super::doing(id).unwrap().runnable);
        to_hold.send(id).unwrap();
        while super::doing(id).unwrap().runnable {
            std::thread::yield_now();
        }
        let waiting = super::doing(id).unwrap().cpu;
        assert_eq!(super::doing(id).unwrap().cpu, waiting);
        to_hold.send(id).unwrap();
        thread.join().unwrap();
        assert_eq!(super::doing(id), None);
    }

    #[test]
    fn what_a_thread_has_on_its_stack_lies_there() {
        let (at, len) = std::thread::spawn(|| {
            let here = 0u8;
            let (at, len) = super::stack().unwrap();
            assert!((at..at + len).contains(&(&raw const here).addr()));
            (at, len)
        })
        .join()
        .unwrap();
        assert!(len >= 1 << 20 && !(at..at + len).contains(&(&raw const at).addr()), "another thread's");
    }

    #[test]
    fn a_thread_runs_under_fifo_and_what_it_starts_does_not() {
        // proc(5): fields 40, the priority, and 41, the policy, of which SCHED_FIFO is 1.
        let scheduled = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", super::id())).unwrap();
            stat.rsplit_once(')').unwrap().1.split_whitespace().skip(37).take(2).collect::<Vec<_>>().join(" ")
        };
        let thread = std::thread::spawn(move || {
            super::run_fifo(3)?;
            Ok::<_, std::io::Error>((scheduled(), std::thread::spawn(scheduled).join().unwrap()))
        });
        match thread.join().unwrap() {
            Ok(found) => assert_eq!(found, ("3 1".to_owned(), "0 0".to_owned())),
            Err(err) => println!("skipped: {err}"),
        }
    }

    #[test]
    fn a_thread_that_steps_back_is_nicer_than_before() {
        let nice = std::thread::spawn(|| {
            super::step_back();
            let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", super::id())).unwrap();
            // proc(5): field 19, counted from 1; the name in parentheses is the second.
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned()
        });
        assert_eq!(nice.join().unwrap(), "10");
    }
}
