//! A memory barrier on every thread of this process at once, so that who is on the packet's path needs none.

use std::io;

/// Every thread of this process passes a full memory barrier between the beginning and the end of this call.
///
/// # Errors
/// A kernel that has no membarrier(2), or refuses it.
pub fn everywhere() -> io::Result<()> {
    call(REGISTER_PRIVATE_EXPEDITED)?;
    call(PRIVATE_EXPEDITED)
}

const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

fn call(command: libc::c_int) -> io::Result<()> {
    // SAFETY: a system call of numbers.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
