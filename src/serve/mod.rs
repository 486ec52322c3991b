//! What others may see of a running pipeline: Prometheus metrics and the state as JSON over HTTP, and the same figures on
//! DPDK's telemetry socket.
//!
//! In: times of hops as the recorder finds them and a [`Snapshot`](crate::latency::snapshot::Snapshot) once an interval.
//! Out: answers to whoever asks. Nothing here touches a stage, and nobody who asks can make the recorder wait.
//!
//! Reading order: `metrics`, `families` (every metric in one place), `totals`, `http`, `telemetry`.

mod families;
mod http;
mod metrics;
pub mod telemetry;
mod totals;

pub use crate::latency::snapshot::DEFAULT_ADDRESS;
pub use families::{Family, HOP, Kind, catalogue};
pub use http::{ServeError, Server};
pub use metrics::{BUCKETS, Metrics};
