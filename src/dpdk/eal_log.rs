//! EAL's log lines become lines of the `log` crate (target `dpdk`), and the last errors are kept for error messages.
//!
//! While EAL starts, its lines are held back: a failed start shows them once, inside the error.

use std::ffi::c_char;
use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Error lines kept for the next error message.
const KEPT_ERRORS: usize = 4;

static STATE: Mutex<State> = Mutex::new(State { line: String::new(), held: None, errors: Vec::new() });

struct State {
    /// Text after the last newline.
    line: String,
    /// Lines of a start that is under way.
    held: Option<Vec<(log::Level, String)>>,
    /// Error lines since [`take_errors`].
    errors: Vec<String>,
}

/// Route EAL's log through here from now on, and hold it until [`release`].
pub(super) fn capture() {
    lock().held = Some(Vec::new());
    // SAFETY: `receive` has the signature of shim_log_line and never unwinds.
    let rc = unsafe { dpdk_sys::shim_log_capture(Some(receive)) };
    if rc != 0 {
        log::warn!(target: "dpdk", "EAL's log could not be captured; it goes to stderr");
    }
}

/// Pass on what was held: at its own level after a good start, as debug output when an error carries it.
pub(super) fn release(started: bool) {
    let held = lock().held.take();
    for (level, line) in held.into_iter().flatten() {
        let level = if started { level } else { level.max(log::Level::Debug) };
        log::log!(target: "dpdk", level, "{line}");
    }
}

/// Error lines since the last call, joined; empty when there were none.
pub(super) fn take_errors() -> String {
    take(&mut lock().errors).join("; ")
}

unsafe extern "C" fn receive(level: u32, text: *const c_char, len: usize) {
    // SAFETY: the stream hands over `len` readable bytes for the time of this call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    // A logger that panics must not unwind through C.
    let _ = std::panic::catch_unwind(|| add(level, &String::from_utf8_lossy(bytes)));
}

fn add(level: u32, text: &str) {
    let severity = severity(level);
    for piece in text.split_inclusive('\n') {
        let mut state = lock();
        state.line.push_str(piece.trim_end_matches('\n'));
        if !piece.ends_with('\n') {
            return;
        }
        let line = take(&mut state.line);
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        if severity == log::Level::Error {
            if state.errors.len() == KEPT_ERRORS {
                state.errors.remove(0);
            }
            state.errors.push(line.to_owned());
        }
        // What rte_panic says is followed by abort: it cannot wait.
        let fatal = level <= dpdk_sys::RTE_LOG_CRIT;
        match &mut state.held {
            Some(held) if !fatal => held.push((severity, line.to_owned())),
            _ => {
                drop(state);
                log::log!(target: "dpdk", severity, "{line}");
            }
        }
    }
}

/// EAL's "info" is chatter to us; its "notice" is what it says unasked.
fn severity(level: u32) -> log::Level {
    match level {
        0..=dpdk_sys::RTE_LOG_ERR => log::Level::Error,
        dpdk_sys::RTE_LOG_WARNING => log::Level::Warn,
        dpdk_sys::RTE_LOG_NOTICE => log::Level::Info,
        dpdk_sys::RTE_LOG_INFO => log::Level::Debug,
        _ => log::Level::Trace,
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
