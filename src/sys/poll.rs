//! Waiting for sockets: descriptors and a time in, back when one of them has something or the time is over.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// What to wait for.
#[derive(Default)]
pub struct Interests(Vec<libc::pollfd>);

impl Interests {
    /// Forgets them all and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Wait until there is something to read or to accept, or, when `write` is set, room to write. The descriptor must stay
    /// open until the wait is over.
    pub fn add(&mut self, socket: &impl AsFd, write: bool) {
        let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
        self.0.push(libc::pollfd { fd: socket.as_fd().as_raw_fd(), events, revents: 0 });
    }

    /// Waits at most this long. A signal ends the wait early.
    ///
    /// # Errors
    /// What the kernel says, such as no memory.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: as many pollfd as we say, a valid time, and no signal mask.
        let rc = unsafe { libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, &time, std::ptr::null()) };
        if rc >= 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            err if err.kind() == io::ErrorKind::Interrupted => Ok(()),
            err => Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_wait_ends_when_a_datagram_is_there() {
        let [to, from] = [(); 2].map(|()| UdpSocket::bind(("127.0.0.1", 0)).unwrap());
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        let mut interests = Interests::default();
        interests.add(&to, false);
        interests.wait(Duration::from_secs(3600)).unwrap();
        to.set_nonblocking(true).unwrap();
        assert_eq!(to.recv(&mut [0; 4]).unwrap(), 1);
        interests.clear();
        interests.wait(Duration::ZERO).unwrap();
    }
}
