//! The way of an order to the exchange, without DPDK: its protocol message ([`Encoder`]) and what carries it
//! ([`UdpTransport`]). The TCP session and the order state machine will live here.

mod encoder;
mod udp;

pub use encoder::{Encoder, EncoderConfig};
pub use udp::{Endpoint, UdpTransport};
