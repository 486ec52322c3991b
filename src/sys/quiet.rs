//! Standard output turned off for a while: EAL prints its whole usage text there when it refuses an argument, and the
//! error that matters would be lost above it.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Standard output goes nowhere while this lives. Meant for the start of a process, before other threads print.
#[derive(Debug)]
pub struct Stdout(Option<OwnedFd>);

impl Stdout {
    /// Turn it off. Where that fails, it stays on.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Stdout {
        let _ = std::io::stdout().flush();
        let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") else { return Stdout(None) };
        // SAFETY: duplicates a descriptor of this process.
        let copy = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3) };
        if copy < 0 {
            return Stdout(None);
        }
        // SAFETY: `copy` was just made and nobody else has it.
        let saved = unsafe { OwnedFd::from_raw_fd(copy) };
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(nowhere.as_raw_fd(), libc::STDOUT_FILENO) };
        Stdout(Some(saved))
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        let Some(saved) = &self.0 else { return };
        // SAFETY: C's buffer must be emptied into nowhere before the descriptor is restored.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(saved.as_raw_fd(), libc::STDOUT_FILENO) };
    }
}
