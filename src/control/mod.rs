//! Commands to a running pipeline, over a Unix-domain socket that only its owner may use.
//!
//! In: a line of text a connection, `COMMAND [VENUE]`. Out: a line of JSON. The thread behind it shares only atomics with
//! the stages; nothing that connects, or does not read its answer, can make one wait.

mod client;

pub use client::{ClientError, ask};

use crate::host::placement::Region;
use crate::latency::snapshot::{HostFact, Snapshot};
use crate::risk::{Kill, KillFile, KillReason};
use crate::stages::{SessionState, Shared, Trading};
use crate::sys::socket::private_listener;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest command.
const LONGEST: usize = 1024;
/// How long one connection may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the main thread may take for what it is asked: less than who asks waits.
const LONGEST_CHANGE: Duration = Duration::from_secs(4);
/// How long a strategy may take to hear that it is to pause, before it is said how it is.
const HEARD: Duration = Duration::from_millis(500);
/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;
/// How often the thread looks whether it is wanted.
const PERIOD: Duration = Duration::from_millis(20);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// How it stands.
    Status,
    /// Trip the kill switch: only cancels leave, and what stands is cancelled.
    Kill,
    /// Clear it.
    Clear,
    /// Cancel what stands, and go on.
    CancelAll,
    /// Stop as SIGTERM does: close the intake, drain, cancel, log out.
    Drain,
    /// Read the pipeline file again and change to it, as SIGHUP does.
    Reload,
    /// Cancel what stands, and send nothing but cancels until it is resumed. Books go on.
    Pause,
    /// Trade again.
    Resume,
    /// Which memory the path uses, and where it is wanted: for `tickpath check --pid`.
    Memory,
}

impl Command {
    /// All, in the order of the help.
    pub const ALL: [Command; 9] = [
        Command::Status,
        Command::Kill,
        Command::Clear,
        Command::CancelAll,
        Command::Drain,
        Command::Reload,
        Command::Pause,
        Command::Resume,
        Command::Memory,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Status => "status",
            Command::Kill => "kill",
            Command::Clear => "clear",
            Command::CancelAll => "cancel-all",
            Command::Drain => "drain",
            Command::Reload => "reload",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Memory => "memory",
        }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Why nothing was done; `None` when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The venues it was done to, as they are afterwards.
    #[serde(default)]
    pub venues: Vec<VenueState>,
    /// What changed, a line each.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What became of the process's privileges.
    #[serde(default)]
    pub privileges: String,
    /// The process, and the regions of its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<(u32, Vec<Region>)>,
    /// What the host is found to have now that costs latency, the worst first.
    #[serde(default)]
    pub host: Vec<HostFact>,
}

/// How a venue stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenueState {
    /// Its name.
    pub name: String,
    /// Why only cancels leave; empty when it trades.
    pub killed: Vec<String>,
    /// It is paused.
    #[serde(default)]
    pub paused: bool,
    /// Frames that parse has finished with.
    pub frames: u64,
    /// Order messages that left.
    pub orders: u64,
    /// Its order session; `None` without one.
    #[serde(default)]
    pub session: Option<SessionState>,
    /// Ledger counts, of the latest interval: by stage and what is counted.
    #[serde(default)]
    pub counts: Vec<(String, u64)>,
}

/// One venue, as commands reach it.
#[derive(Debug)]
pub struct VenueHandle {
    /// Its name.
    pub name: String,
    /// Its kill switch.
    pub kill: Kill,
    /// What its lcores are told.
    pub shared: Arc<Shared>,
    /// Its orders go by a session, so that tx knows what stands.
    pub session: bool,
    /// Where a trip is remembered.
    pub kill_file: Option<Mutex<KillFile>>,
    /// Whether it is to trade, and does.
    pub trading: Arc<Trading>,
}

impl VenueHandle {
    /// Write the kill file, if there is something to remember. What goes wrong is logged: the switch works without.
    pub fn remember(&self) {
        let Some(file) = &self.kill_file else { return };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.keep(&self.kill) {
            Ok(true) => log::warn!("venue {}: trading stopped; {} remembers it", self.name, file.path().display()),
            Ok(false) => {}
            Err(err) => log::error!("venue {}: cannot write {}: {err}", self.name, file.path().display()),
        }
    }

    fn clear(&self) -> io::Result<()> {
        let refuse = |why: String| Err(io::Error::other(why));
        if self.shared.failed() {
            return refuse("one of its lcores panicked, and the run is ending".to_owned());
        }
        match self.shared.missed() {
            0 => {}
            n => return refuse(format!("its strategy was stuck and missed {n} order events: restart it")),
        }
        match &self.kill_file {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).clear(&self.kill),
            None => {
                self.kill.clear();
                Ok(())
            }
        }
    }
}

/// What commands reach.
pub struct Reach {
    /// The venues.
    pub venues: Arc<Vec<VenueHandle>>,
    /// Set to end the run.
    pub stop: &'static AtomicBool,
    /// What the recorder published last.
    pub latest: Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>,
    /// To the main thread, which changes what runs.
    pub requests: mpsc::Sender<Request>,
    /// The regions of the path, as they were launched.
    pub memory: Vec<Region>,
}

/// What the main thread is asked for, which alone changes what runs: to read the file again.
#[derive(Debug)]
pub struct Request {
    /// It is to hold from the first packet of this sequence or a later one; 0: at once.
    pub from_sequence: u64,
    /// Where the answer goes: what changed, a line each, or why nothing did.
    pub answer: mpsc::SyncSender<Result<Vec<String>, String>>,
}

/// The socket and its thread; both end with it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another run listens there.
    #[error("control socket {}: another run listens there; give each its own", .0.display())]
    InUse(PathBuf),
    /// It cannot be made.
    #[error("control socket {}: {err}; give a path that this user may write and that is at most 107 bytes long", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        err: io::Error,
    },
}

impl Control {
    /// Listen at `path`; the thread runs `first` before anything else.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn start(path: &Path, reach: Reach, first: impl FnOnce() + Send + 'static) -> Result<Control, ControlError> {
        let io = |err| ControlError::Io { path: path.to_owned(), err };
        if UnixStream::connect(path).is_ok() {
            return Err(ControlError::InUse(path.to_owned()));
        }
        // Nobody listens: what is there is left from a run that died.
        match std::fs::symlink_metadata(path) {
            Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                std::fs::remove_file(path).map_err(io)?;
            }
            Ok(_) => return Err(io(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"))),
            Err(_) => {}
        }
        let listener = private_listener(path).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let over = Arc::new(AtomicBool::new(false));
        let watched = over.clone();
        let thread = std::thread::Builder::new().name("tp-control".into()).spawn(move || {
            first();
            serve(&listener, &reach, &watched);
        });
        let thread = thread.map_err(io)?;
        Ok(Control { path: path.to_owned(), over, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the socket is removed all the same.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Each connection has a thread of its own: a kill does not wait for a reload.
fn serve(listener: &UnixListener, reach: &Reach, over: &AtomicBool) {
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !over.load(Ordering::Relaxed) {
            if open.load(Ordering::Acquire) >= CONNECTIONS {
                std::thread::sleep(PERIOD);
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    open.fetch_add(1, Ordering::AcqRel);
                    let open = &open;
                    scope.spawn(move || {
                        // A connection that breaks off has itself to blame.
                        let _ = converse(stream, reach);
                        open.fetch_sub(1, Ordering::AcqRel);
                    });
                }
                Err(_) => std::thread::sleep(PERIOD),
            }
        }
    });
}

fn converse(stream: UnixStream, reach: &Reach) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(line) = command(&stream)? else { return Ok(()) };
    let answer = answer(&line, reach);
    // Plain data: it always becomes JSON.
    let text = serde_json::to_string(&answer).expect("an answer is plain data") + "\n";
    (&stream).write_all(text.as_bytes())
}

/// The line that says what is wanted; `None` when it did not come whole in time, or at all.
fn command(mut stream: &UnixStream) -> io::Result<Option<String>> {
    let until = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || line.len() >= LONGEST {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let mut some = [0; 256];
        let n = stream.read(&mut some)?;
        line.extend(&some[..n]);
        // Half a command may be another command.
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
        }
        if n == 0 {
            return Ok(None);
        }
    }
}

fn answer(line: &str, reach: &Reach) -> Answer {
    let refuse = |error: String| Answer { error: Some(error), ..Answer::default() };
    let mut words = line.split_whitespace();
    let (word, venue, more) = (words.next().unwrap_or(""), words.next(), words.next());
    let names = || reach.venues.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(command) = Command::ALL.into_iter().find(|command| command.name() == word) else {
        let known: Vec<&str> = Command::ALL.iter().map(|command| command.name()).collect();
        return refuse(format!("no command {word:?}; there are {}", known.join(", ")));
    };
    // A file is for all venues; the word after `reload` is the sequence from which it is to hold.
    let from_sequence = match (command, venue.map(str::parse::<u64>)) {
        (Command::Reload, Some(Err(_))) => {
            return refuse(format!("{venue:?} is no sequence; expected reload [SEQUENCE]"));
        }
        (Command::Reload, Some(Ok(sequence))) => sequence,
        _ => 0,
    };
    let venue = venue.filter(|_| command != Command::Reload);
    if let Some(more) = more {
        return refuse(format!("{more:?} comes after the venue; expected COMMAND [VENUE]"));
    }
    let chosen: Vec<&VenueHandle> = reach.venues.iter().filter(|v| venue.is_none_or(|name| v.name == name)).collect();
    if let (Some(name), true) = (venue, chosen.is_empty()) {
        return refuse(format!("no venue {name:?}; there are {}", names()));
    }
    if command == Command::Drain && venue.is_some() {
        return refuse("drain ends the whole run; a venue cannot be drained by itself".to_owned());
    }
    let mut changes = Vec::new();
    if command == Command::Reload {
        match ask_main(reach, from_sequence) {
            Ok(lines) => changes = lines,
            Err(why) => return refuse(format!("nothing changed: {why}")),
        }
    }
    for handle in &chosen {
        match command {
            Command::Status | Command::Reload | Command::Memory => {}
            Command::Pause | Command::Resume => handle.trading.set(command == Command::Resume),
            Command::Kill => {
                handle.kill.trip(KillReason::Command);
                handle.remember();
            }
            Command::Clear => {
                if let Err(err) = handle.clear() {
                    return refuse(format!("venue {}: cannot clear it: {err}", handle.name));
                }
            }
            Command::CancelAll if !handle.session => {
                let why =
                    "its orders go by udp: nobody knows what stands but its strategy, which cancels when it is drained";
                return refuse(format!("venue {}: {why}", handle.name));
            }
            Command::CancelAll => handle.shared.cancel_all(),
            Command::Drain => reach.stop.store(true, Ordering::Relaxed),
        }
        if !matches!(command, Command::Status | Command::Memory) {
            log::info!("{} {}: asked for on the control socket", command.name(), handle.name);
        }
    }
    if matches!(command, Command::Pause | Command::Resume) {
        // Strategy hears of it between two packets; one that does not is said to be as it is.
        let until = Instant::now() + HEARD;
        let wanted = command == Command::Pause;
        while chosen.iter().any(|handle| handle.trading.is_paused() != wanted) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let latest = (reach.latest)();
    let state = |handle: &&VenueHandle| VenueState {
        name: handle.name.clone(),
        paused: handle.trading.is_paused(),
        killed: handle.kill.reasons().map(|reason| reason.name().to_owned()).collect(),
        frames: handle.shared.frames(),
        orders: handle.shared.orders(),
        session: handle.session.then(|| handle.shared.session()),
        counts: latest.as_deref().map(|snapshot| counts(snapshot, &handle.name)).unwrap_or_default(),
    };
    let privileges = latest.as_ref().map(|snapshot| snapshot.privileges.clone()).unwrap_or_default();
    let memory = (command == Command::Memory).then(|| (std::process::id(), reach.memory.clone()));
    let host = latest.iter().flat_map(|snapshot| snapshot.host.faults().cloned()).collect();
    Answer { error: None, venues: chosen.iter().map(state).collect(), privileges, host, changes, memory }
}

/// Have the main thread read the file again.
fn ask_main(reach: &Reach, from_sequence: u64) -> Result<Vec<String>, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    let gone = || "the run is ending".to_owned();
    reach.requests.send(Request { from_sequence, answer }).map_err(|_| gone())?;
    match answered.recv_timeout(LONGEST_CHANGE) {
        Ok(said) => said,
        Err(mpsc::RecvTimeoutError::Timeout) => Err("so far, but it is still under way: see the log".to_owned()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
    }
}

/// What the ledger of a venue said last, what is not 0.
fn counts(snapshot: &Snapshot, venue: &str) -> Vec<(String, u64)> {
    let venue = snapshot.venues.iter().find(|v| v.name == venue);
    let stages = venue.into_iter().flat_map(|v| &v.stages);
    let mut counts = Vec::new();
    for stage in stages {
        let dropped = stage.dropped.iter().map(|(reason, n)| (format!("{} dropped: {reason}", stage.stage), *n));
        counts.extend(dropped.filter(|(_, n)| *n > 0));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn venues() -> Arc<Vec<VenueHandle>> {
        let handle = |name: &str| VenueHandle {
            name: name.into(),
            kill: Kill::default(),
            shared: Arc::default(),
            session: name == "nasdaq",
            trading: Arc::default(),
            kill_file: None,
        };
        Arc::new(vec![handle("nasdaq"), handle("iex")])
    }

    fn start(path: &Path, venues: &Arc<Vec<VenueHandle>>) -> Result<Control, ControlError> {
        // Nobody is there to change anything.
        let (requests, _) = mpsc::channel();
        let reach =
            Reach { venues: venues.clone(), stop: &STOP, latest: Box::new(|| None), requests, memory: Vec::new() };
        Control::start(path, reach, || {})
    }

    #[test]
    fn commands_reach_the_venue_they_name_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let venues = venues();
        let control = start(&path, &venues).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let killed = ask(&path, "kill nasdaq").unwrap();
        assert_eq!(
            (killed.venues[0].name.as_str(), &killed.venues[0].killed[..]),
            ("nasdaq", &["command".to_owned()][..])
        );
        assert!(venues[0].kill.is_tripped() && !venues[1].kill.is_tripped());
        let status = ask(&path, "status").unwrap();
        assert_eq!(status.venues.iter().map(|v| v.killed.len()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((status.venues[0].session, status.venues[1].session), (Some(SessionState::default()), None));
        ask(&path, "clear").unwrap();
        assert!(!venues[0].kill.is_tripped());
        assert!(ask(&path, "kill lse").unwrap().error.unwrap().contains("there are nasdaq, iex"));
        assert!(ask(&path, "cancel-all iex").unwrap().error.unwrap().contains("udp"));
        assert!(ask(&path, "cancel-all nasdaq").unwrap().error.is_none());
        assert!(ask(&path, "explode").unwrap().error.unwrap().contains("status, kill, clear"));
        assert!(ask(&path, "").unwrap().error.is_some());
        assert!(ask(&path, "reload soon").unwrap().error.unwrap().contains("no sequence"));
        assert!(ask(&path, "reload").unwrap().error.unwrap().contains("ending"));
        assert!(ask(&path, "pause lse").unwrap().error.unwrap().contains("there are nasdaq, iex"));
        assert!(!STOP.load(Ordering::Relaxed));
        assert!(ask(&path, "drain nasdaq").unwrap().error.is_some() && !STOP.load(Ordering::Relaxed));
        ask(&path, "drain").unwrap();
        assert!(STOP.load(Ordering::Relaxed));
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn who_says_nothing_or_too_much_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let venues = venues();
        let _control = start(&path, &venues).unwrap();
        let _silent = UnixStream::connect(&path).unwrap();
        // Half a command is none: the rest of it would have named the venue.
        let mut half = UnixStream::connect(&path).unwrap();
        half.write_all(b"kill").unwrap();
        drop(half);
        let mut loud = UnixStream::connect(&path).unwrap();
        // It may be refused before all of it is written.
        let _ = loud.write_all(&vec![b'x'; 1 << 20]);
        assert!(ask(&path, "status").unwrap().error.is_none());
        assert!(venues.iter().all(|venue| !venue.kill.is_tripped()));
    }

    #[test]
    fn a_socket_in_use_is_refused_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let venues = venues();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _control = start(&path, &venues).unwrap();
        assert!(matches!(start(&path, &venues), Err(ControlError::InUse(_))));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(start(&file, &venues).unwrap_err().to_string().contains("no socket"));
        assert!(file.exists());
    }
}
