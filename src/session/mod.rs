//! The way of an order to the exchange and of the answer back, without DPDK: its protocol message ([`Encoder`]), what
//! carries it ([`UdpTransport`], or the session of [`OrderSession`]), and the ids it goes by ([`OrderIds`]). And what
//! became of it: the state of every order ([`OrderStates`]).

mod encoder;
mod ids;
mod live;
mod order;
mod ouch;
#[cfg(test)]
mod peer;
mod soup;
mod state;
mod tcp;
mod udp;

pub use encoder::{Encoder, EncoderConfig};
pub use ids::{IdsError, OrderIds};
pub use live::{Live, LiveOrder};
pub use order::{Answered, OrderSession, SessionConfig, SessionCounters, Way};
pub use ouch::{Response, response};
pub use soup::{Broken, Credentials, Happening, LONGEST_SENT, Phase, Silences, SoupClient};
#[cfg(test)]
pub(crate) use state::exchange;
pub use state::{Holding, OrderState, OrderStates, Standing, StateCounters, StatesConfig, Totals, Verdict, worth};
pub use tcp::{HEADERS as TCP_HEADERS, TcpConfig, TcpCounters};
pub use udp::{Endpoint, HEADERS as UDP_HEADERS, UdpTransport};
