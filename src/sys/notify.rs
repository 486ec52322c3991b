//! The service manager, told of by the protocol of sd_notify(3): states go out as datagrams, to the socket that it names in
//! the environment.
//!
//! Nothing here waits: who tells is the thread that watches the kill switch, and a state that finds no room is told again
//! by who cares.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who started this process and wants to hear of it.
#[derive(Debug)]
pub struct Service {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Service {
    /// That of `NOTIFY_SOCKET`, and of `WATCHDOG_USEC` where that is meant for this process; `None` where nobody asks.
    ///
    /// # Errors
    /// An address that is neither a path nor abstract, or nobody listens there.
    pub fn from_environment() -> io::Result<Option<Service>> {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| ours && *us > 0).map(Duration::from_micros);
        Service::connect(&address, watchdog).map(Some)
    }

    /// The one that listens at `address`: a path, or an abstract name behind `@`.
    ///
    /// # Errors
    /// See [`Service::from_environment`].
    pub fn connect(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Service> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&to)?;
        socket.set_nonblocking(true)?;
        Ok(Service { socket, watchdog })
    }

    /// It restarts, or ends, what says nothing for so long.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Whether these lines of `NAME=VALUE` were taken.
    #[must_use]
    pub fn tell(&self, lines: &str) -> bool {
        self.socket.send(lines.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_whole_by_a_path_and_by_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tickpath-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&by_name).unwrap(), format!("@{name}").into()),
        ] {
            let service = Service::connect(&address, None).unwrap();
            assert!(service.tell("READY=1\nSTATUS=well"));
            let mut bytes = [0; 64];
            let n = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..n], b"READY=1\nSTATUS=well");
        }
        assert!(Service::connect(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[test]
    fn a_manager_that_does_not_read_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let service = Service::connect(path.as_os_str(), None).unwrap();
        let taken = (0..1_000_000).take_while(|_| service.tell("WATCHDOG=1")).count();
        assert!(taken < 1_000_000);
    }
}
