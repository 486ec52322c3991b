//! Signals as flags. SIGINT and SIGTERM: the first asks for a clean drain; the second ends the process as if nobody had
//! asked. SIGUSR1: the kill switch. SIGHUP: the pipeline file is to be read again.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

static KILL: AtomicBool = AtomicBool::new(false);
static FLAG: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());
static HANGUP: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

/// From now on the first SIGINT or SIGTERM sets `flag`, and a second one has its default effect. A file at the limit of
/// its size is an error of its write, not the end of the process.
pub fn set_on_stop(flag: &'static AtomicBool) {
    FLAG.store(std::ptr::from_ref(flag).cast_mut(), Ordering::Release);
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        handle(signal, on_signal, libc::SA_RESETHAND);
    }
}

/// From now on every SIGHUP sets `flag`.
pub fn set_on_hangup(flag: &'static AtomicBool) {
    HANGUP.store(std::ptr::from_ref(flag).cast_mut(), Ordering::Release);
    handle(libc::SIGHUP, on_hangup, 0);
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int), flags: libc::c_int) {
    // SAFETY: the handlers only store to an atomic. The zeroed struct is a valid sigaction with an empty mask.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

/// From now on SIGUSR1 is heard by [`kill_asked`]; before, it ends the process.
pub fn heed_kill() {
    handle(libc::SIGUSR1, on_kill, 0);
}

/// Whether SIGUSR1 has come since the last call.
pub fn kill_asked() -> bool {
    KILL.swap(false, Ordering::Relaxed)
}

extern "C" fn on_kill(_signal: libc::c_int) {
    KILL.store(true, Ordering::Relaxed);
}

extern "C" fn on_signal(_signal: libc::c_int) {
    set(&FLAG);
}

extern "C" fn on_hangup(_signal: libc::c_int) {
    set(&HANGUP);
}

fn set(flag: &AtomicPtr<AtomicBool>) {
    // SAFETY: the pointer is null or came from a `&'static AtomicBool`.
    if let Some(flag) = unsafe { flag.load(Ordering::Acquire).as_ref() } {
        flag.store(true, Ordering::Relaxed);
    }
}
