//! Where multicast leaves the host: a socket and an interface's address in.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// Sends the socket's multicast out of the interface that has this address, whatever the routing table says.
///
/// # Errors
/// What the kernel says, such as no interface with this address.
pub fn set_interface(socket: &UdpSocket, interface: Ipv4Addr) -> io::Result<()> {
    let address = libc::in_addr { s_addr: u32::from_ne_bytes(interface.octets()) };
    let length = size_of::<libc::in_addr>() as libc::socklen_t;
    // SAFETY: an open descriptor and an in_addr as long as we say.
    let rc = unsafe {
        let value = (&raw const address).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MULTICAST_IF, value, length)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_no_interface_is_refused() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        assert!(set_interface(&socket, Ipv4Addr::LOCALHOST).is_ok());
        assert!(set_interface(&socket, Ipv4Addr::new(192, 0, 2, 1)).is_err());
    }
}
