//! The other end of the control socket: a command goes out, an answer comes back.

use super::Answer;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot reach {}: {err}; is the pipeline running, with \"control\" in its file?", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        err: io::Error,
    },
    /// It says something else.
    #[error("{} answered {found:?}, which is no answer of this version", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// What came.
        found: String,
    },
}

/// Send a command to the socket at `path`.
///
/// # Errors
/// See [`ClientError`]. A command that was refused is an [`Answer`] with an error.
pub fn ask(path: &Path, command: &str) -> Result<Answer, ClientError> {
    let unreachable = |err| ClientError::Unreachable { path: path.to_owned(), err };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable)?;
    stream.write_all(format!("{command}\n").as_bytes()).map_err(unreachable)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(unreachable)?;
    serde_json::from_str(&text).map_err(|_| ClientError::Foreign { path: path.to_owned(), found: text })
}
