//! Where frames come from and go to: a NIC's queue or a capture, one interface, static dispatch.

use bytemuck::{Pod, Zeroable};

pub mod capture;
#[cfg(feature = "dpdk")]
mod device;
#[cfg(feature = "dpdk")]
mod feed;
mod groups;
#[cfg(feature = "dpdk")]
mod order;
#[cfg(feature = "dpdk")]
mod share;

#[cfg(feature = "dpdk")]
pub use device::{Anew, Device, RxPort};
#[cfg(feature = "dpdk")]
pub(crate) use feed::mark;
#[cfg(feature = "dpdk")]
pub use feed::{Feed, FeedCounters, FeedPort};
pub use groups::{Groups, Owner};
#[cfg(feature = "dpdk")]
pub use order::OrderPort;
#[cfg(feature = "dpdk")]
pub use share::{Portion, Share, share};

/// What the port says about a received frame: it travels in the frame's private area from rx to parse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Arrival {
    /// ns since 1970: the capture's stamp, or the TSC at the receive burst by one multiplication.
    pub arrival_ns: u64,
    /// TSC after the receive burst; 0 when stamps are off.
    pub rx_tsc: u64,
    /// When it was on the wire, in the domain that `stamp_domain` says; 0 without a stamp.
    pub stamp: u64,
    /// Replay lap, from 0; always 0 on a NIC.
    pub lap: u32,
    /// Frames in the receive burst.
    pub burst_size: u16,
    /// This frame's position in it, from 0.
    pub burst_position: u16,
    /// Which of the venue's (port, queue) lines, in the order of the pipeline file.
    pub port: u8,
    /// [`Arrival::NEW_SESSION`] or nothing.
    pub flags: u8,
    /// [`StampDomain`](crate::latency::record::StampDomain) as a number.
    pub stamp_domain: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

impl Arrival {
    /// The first frame of this line in a replay lap other than the first: sequences and books begin anew. With several
    /// lines each of them says so; the first to do it after [`Arrival::lap`] rose begins the session.
    pub const NEW_SESSION: u8 = 1;
}

const _: () = assert!(size_of::<Arrival>() <= 64);
