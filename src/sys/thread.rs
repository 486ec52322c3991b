//! The calling thread, as the kernel knows it.

/// Its id, as in `/proc/self/task`.
pub fn id() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Yield to everything else on its CPUs: nice value 10. Where the kernel refuses, it stays what it was.
pub fn step_back() {
    // SAFETY: sets a number of the calling thread; 0 is that thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}

#[cfg(test)]
mod tests {
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
