//! Asks an instance for its state. In: an address. Out: snapshots, or why there is none. Plain HTTP, no proxy, no redirect.

use crate::latency::snapshot::Snapshot;
use std::error::Error;
use std::io;
use std::time::Duration;
use ureq::Agent;

/// For the whole of one question.
const PATIENCE: Duration = Duration::from_secs(2);
/// Hosts with many venues have some hundred kB.
const LONGEST: u64 = 16 << 20;

/// Asks one instance.
pub struct Client {
    agent: Agent,
    url: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Silence(String);

impl Silence {
    /// For this reason.
    pub fn new(why: &str) -> Silence {
        Silence(why.to_owned())
    }
}

impl Client {
    /// For the instance at `address`, `HOST:PORT`.
    pub fn new(address: &str) -> Client {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // What the environment says of proxies is for other hosts.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("tickpath-top/", env!("CARGO_PKG_VERSION")))
            .build();
        Client { agent: config.into(), url: format!("http://{address}/status") }
    }

    /// The instance's state now.
    ///
    /// # Errors
    /// Nobody listens, answers in time, or what answers is no tickpath.
    pub fn ask(&self) -> Result<Snapshot, Silence> {
        let mut response = self.agent.get(&self.url).call().map_err(|err| silence(&err))?;
        let body = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(|err| silence(&err))?;
        serde_json::from_slice(&body).map_err(|err| Silence(format!("the answer is not tickpath's: {err}")))
    }
}

fn silence(err: &ureq::Error) -> Silence {
    let io = match err {
        ureq::Error::Io(io) => Some(io),
        ureq::Error::Timeout(_) => return Silence("no answer in 2 s".into()),
        ureq::Error::StatusCode(code) => return Silence(format!("the answer is not tickpath's: HTTP status {code}")),
        _ => err.source().and_then(|source| source.downcast_ref::<io::Error>()),
    };
    Silence(match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".into(),
        _ => err.to_string(),
    })
}
