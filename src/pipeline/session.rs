//! What a session of the plan needs from outside: who logs in, and what cannot be known before launch. Reads a file or
//! the environment; what it reads goes into the session and nowhere else.

use super::file::{SendWay, SessionFile, Transport};
use super::plan::{OrdersPlan, VenuePlan};
use crate::latency::clock::Clock;
use crate::session::{Credentials, LinkConfig, Protocol, SessionConfig, Silences, TcpConfig};
use std::os::unix::fs::PermissionsExt;

/// Bytes of each direction of a connection that are kept: a second of the busiest order flow.
const BUFFER: usize = 1 << 20;

/// Why nobody can log in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file cannot be read.
    #[error("venue {venue}: cannot read the credentials {file}: {err}")]
    Unreadable {
        /// Whose.
        venue: String,
        /// The file.
        file: String,
        /// What the system says.
        err: std::io::Error,
    },
    /// Others may read it.
    #[error("venue {venue}: the credentials {file} may be read by others than their owner: chmod 600 {file}")]
    Exposed {
        /// Whose.
        venue: String,
        /// The file.
        file: String,
    },
    /// There is neither file nor variable.
    #[error(
        "venue {venue}: nobody to log in as: set orders.session.credentials, or the variable {variable}, to USER:PASSWORD"
    )]
    Nobody {
        /// Whose.
        venue: String,
        /// The variable's name.
        variable: String,
    },
    /// It does not fit the protocol.
    #[error(
        "venue {venue}: {place} is not USER:PASSWORD with at most {user} and 10 printable characters, as {protocol} has them"
    )]
    Unfit {
        /// Whose.
        venue: String,
        /// Where it is from.
        place: String,
        /// What sets the limits,
        protocol: &'static str,
        /// and that of the user.
        user: usize,
    },
}

/// The settings of a venue's session.
///
/// # Errors
/// See [`LoginError`].
pub fn config(venue: &VenuePlan, session: &SessionFile, clock: &Clock) -> Result<SessionConfig, LoginError> {
    let orders = &venue.orders;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let now = crate::cpu::rdtsc();
    Ok(SessionConfig {
        protocol: orders.session_protocol,
        link: link(orders, session, now),
        credentials: credentials(&venue.name, &orders.session_protocol, session, &|name| std::env::var(name).ok())?,
        silences_ns: Silences { ours: ns(session.heartbeat_ms.value()), theirs: ns(session.silence_ms.value()) },
        retry_ns: ns(session.retry_ms.value()),
        open_orders: session.open_orders.value() as usize,
        instruments: venue.book.instruments,
        epoch_ns: clock.scale().ns(now),
        tsc_hz: clock.hz(),
    })
}

/// What carries a venue's session; `seed` differs from start to start.
fn link(orders: &OrdersPlan, session: &SessionFile, seed: u64) -> LinkConfig {
    match orders.transport {
        Transport::Udp => LinkConfig::Datagrams {
            from: orders.source.into(),
            last_port: orders.last_port,
            to: orders.destination.into(),
            buffer: BUFFER,
        },
        Transport::Tcp => LinkConfig::Tcp(TcpConfig {
            mac: orders.source.mac,
            source: orders.source.address,
            last_port: orders.last_port,
            prefix: session.prefix.value() as u8,
            gateway: session.gateway,
            next_hop: orders.destination.known_mac(),
            destination: orders.destination.address,
            buffer: BUFFER,
            // First sequence numbers must not be those of the connection before a restart.
            seed,
            ahead: session.send == SendWay::Ahead,
        }),
    }
}

fn credentials(
    venue: &str,
    protocol: &Protocol,
    session: &SessionFile,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Credentials, LoginError> {
    let venue = venue.to_owned();
    let (text, place) = match &session.credentials {
        Some(file) => {
            let unreadable = |err| LoginError::Unreadable { venue: venue.clone(), file: file.clone(), err };
            let mode = std::fs::metadata(file).map_err(unreadable)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(LoginError::Exposed { venue, file: file.clone() });
            }
            (std::fs::read_to_string(file).map_err(unreadable)?, file.clone())
        }
        None => {
            let name = format!("TICKPATH_LOGIN_{}", venue.to_uppercase().replace('-', "_"));
            match variable(&name) {
                Some(text) => (text, name),
                None => return Err(LoginError::Nobody { venue, variable: name }),
            }
        }
    };
    let fit = |text: &str, out: &mut [u8]| {
        let fits = !text.is_empty() && text.len() <= out.len() && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            out[..text.len()].copy_from_slice(text.as_bytes());
        }
        fits
    };
    let (mut user, mut password) = ([b' '; 8], [b' '; 10]);
    let (most, protocol) = match protocol {
        Protocol::Ouch50 => (6, "SoupBinTCP"),
        Protocol::Boe20 => (8, "BOE"),
        Protocol::Fix42(_) => (8, "a FIX logon of this program"),
    };
    match text.trim_end().split_once([':', '\n']) {
        Some((u, p)) if fit(u.trim_end(), &mut user[..most]) && fit(p, &mut password) => {
            Ok(Credentials { user, password })
        }
        _ => Err(LoginError::Unfit { venue, place, protocol, user: most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn session(credentials: Option<String>) -> SessionFile {
        let mut file: SessionFile = serde_json::from_value(serde_json::json!({ "ids": "ids" })).unwrap();
        file.credentials = credentials;
        file
    }

    #[test]
    fn who_logs_in_comes_from_the_environment_or_a_private_file() {
        let environment = |name: &str| (name == "TICKPATH_LOGIN_NASDAQ_A").then(|| "ALICE:secret".to_owned());
        let expected = Credentials { user: *b"ALICE   ", password: *b"secret    " };
        assert_eq!(credentials("nasdaq-a", &Protocol::Ouch50, &session(None), &environment).unwrap(), expected);
        assert!(
            credentials("iex", &Protocol::Ouch50, &session(None), &environment)
                .unwrap_err()
                .to_string()
                .contains("TICKPATH_LOGIN_IEX")
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let name = path.to_str().unwrap().to_owned();
        let read = || credentials("iex", &Protocol::Ouch50, &session(Some(name.clone())), &environment);
        assert!(matches!(read(), Err(LoginError::Unreadable { .. })));
        fs::write(&path, "ALICE:secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(), Err(LoginError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read().unwrap(), expected);
        fs::write(&path, "ALICE\r\nsecret\r\n").unwrap();
        assert_eq!(read().unwrap(), expected);
        for wrong in ["", "ALICE", "ALICES_:x", "ALICE:elevenchars", ":secret", "AL ICE:secret"] {
            fs::write(&path, wrong).unwrap();
            let error = read().unwrap_err();
            assert!(matches!(error, LoginError::Unfit { .. }), "{wrong}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
