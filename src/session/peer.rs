//! For tests: a server on an unmodified TCP stack of its own, frames in and frames out.

use super::{Credentials, LinkConfig, Protocol, SessionConfig, Silences, TcpConfig};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Where the server listens.
pub const ADDRESS: &str = "10.0.0.2:26400";
const PORT: u16 = 26400;

/// A client of that server.
pub fn tcp() -> TcpConfig {
    TcpConfig {
        mac: [2, 0, 0, 0, 0, 1],
        source: "10.0.0.1:40000".parse().unwrap(),
        last_port: u16::MAX,
        prefix: 24,
        gateway: None,
        next_hop: None,
        destination: ADDRESS.parse().unwrap(),
        buffer: 1 << 16,
        seed: 7,
        ahead: true,
    }
}

/// Its session, by a TSC that counts microseconds.
pub fn session(protocol: Protocol) -> SessionConfig {
    SessionConfig {
        protocol,
        link: LinkConfig::Tcp(tcp()),
        credentials: Credentials { user: *b"ALICE   ", password: *b"secret    " },
        silences_ns: Silences { ours: 1_000_000_000, theirs: 15_000_000_000 },
        retry_ns: 100_000_000,
        open_orders: 64,
        instruments: 8,
        epoch_ns: 0,
        tsc_hz: 1e6,
    }
}

pub struct Peer {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Frames on their way to the client.
    pub out: VecDeque<Vec<u8>>,
}

struct Device<'a> {
    frame: Option<Vec<u8>>,
    out: &'a mut VecDeque<Vec<u8>>,
}

struct Owned(Vec<u8>);
struct Out<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Owned {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl phy::Device for Device<'_> {
    type RxToken<'t>
        = Owned
    where
        Self: 't;
    type TxToken<'t>
        = Out<'t>
    where
        Self: 't;
    fn receive(&mut self, _: Instant) -> Option<(Owned, Out<'_>)> {
        Some((Owned(self.frame.take()?), Out(self.out)))
    }
    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        Some(Out(self.out))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl Peer {
    /// Listening, with so many bytes of receive window.
    pub fn new(window: usize) -> Peer {
        let mut out = VecDeque::new();
        let settings = Config::new(HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 2])));
        let mut interface = Interface::new(settings, &mut Device { frame: None, out: &mut out }, Instant::ZERO);
        interface.update_ip_addrs(|a| a.push(IpCidr::Ipv4(Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, 2), 24))).unwrap());
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(vec![0; window]), tcp::SocketBuffer::new(vec![0; 1 << 16]));
        socket.set_ack_delay(None);
        socket.listen(PORT).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Peer { interface, sockets, handle, out }
    }

    /// A frame arrives, or time passes.
    pub fn poll(&mut self, now_us: i64, frame: Option<Vec<u8>>) {
        let Peer { interface, sockets, out, .. } = self;
        interface.poll(Instant::from_micros(now_us), &mut Device { frame, out }, sockets);
    }

    /// What the client has sent since.
    pub fn read(&mut self) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = self.socket().recv_slice(&mut bytes) {
            all.extend(&bytes[..n]);
        }
        all
    }

    pub fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.socket().send_slice(bytes), Ok(bytes.len()));
    }

    /// Bytes that the client has not acknowledged.
    pub fn unacknowledged(&mut self) -> usize {
        self.socket().send_queue()
    }

    /// Break the connection off, and listen for another.
    pub fn cut(&mut self, now_us: i64) {
        self.socket().abort();
        self.poll(now_us, None);
        self.socket().listen(PORT).unwrap();
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}
