//! The way of an order to the exchange, without DPDK: its protocol message ([`Encoder`]) and what carries it
//! ([`UdpTransport`]). And what became of it: the state of every order ([`OrderStates`]). The TCP session will live here.

mod encoder;
mod state;
mod udp;

pub use encoder::{Encoder, EncoderConfig};
pub use state::{Holding, OrderState, OrderStates, Standing, StateCounters, StatesConfig, Totals, Verdict, worth};
pub use udp::{Endpoint, UdpTransport};
