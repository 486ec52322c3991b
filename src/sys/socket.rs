//! A socket that nobody but its owner can connect to, from its first moment on.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Listen at `path`, with access for the owner alone. For the control thread before others make files: the process's
/// mask for new files is narrowed meanwhile.
pub fn private_listener(path: &Path) -> io::Result<UnixListener> {
    // SAFETY: umask cannot fail and touches no memory.
    let before = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    listener
}
