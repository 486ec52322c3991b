//! The way of an order to the exchange and of the answer back, without DPDK: its protocol message ([`Encoder`]), what
//! carries it ([`UdpTransport`], or the session of [`OrderSession`]), and the ids it goes by ([`OrderIds`]). And what
//! became of it: the state of every order ([`OrderStates`]).

mod boe;
mod client;
mod datagrams;
mod encoder;
mod fix;
mod ids;
mod link;
mod live;
mod order;
mod ouch;
#[cfg(test)]
pub(crate) mod peer;
mod protocol;
mod soup;
mod state;
mod tcp;
mod udp;

pub use client::{Broken, Client, Credentials, Happening, LONGEST_SENT, Phase, Received, Silences, WallClock};
pub use datagrams::HEADERS as DATAGRAM_HEADERS;
#[cfg(test)]
pub(crate) use encoder::tests::order;
pub use ids::{IdsError, OrderIds};
pub use link::LinkConfig;
pub use live::{Live, LiveOrder};
pub use order::{Answered, OrderSession, SessionConfig, SessionCounters, Trouble, Way};
pub use ouch::{Response, response};
pub use protocol::{CompId, CompIds, Encoder, EncoderConfig, Numbers, Protocol};
#[cfg(test)]
pub(crate) use state::exchange;
pub use state::{Holding, OrderState, OrderStates, Standing, StateCounters, StatesConfig, Totals, Verdict, worth};
pub use tcp::{HEADERS as TCP_HEADERS, TcpConfig};
pub use udp::{Endpoint, HEADERS as UDP_HEADERS, UdpTransport};
