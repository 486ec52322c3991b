//! What others may see of a running pipeline: Prometheus metrics and the state as JSON, over HTTP.
//!
//! In: times of hops as the recorder finds them and a [`Snapshot`](crate::latency::snapshot::Snapshot) once an interval.
//! Out: answers to whoever asks. Nothing here touches a stage, and nobody who asks can make the recorder wait.
//!
//! Reading order: `metrics`, `families` (every metric in one place), `totals`, `http`.

mod families;
mod http;
mod metrics;
mod totals;

pub use families::{Family, HOP, Kind, catalogue};
pub use http::{ServeError, Server};
pub use metrics::{BUCKETS, Metrics};

/// Where `run` and `replay` serve and `top` looks, unless told otherwise.
pub const DEFAULT_ADDRESS: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
