//! What can go wrong in the DPDK layer, each as a sentence with its remedy.

use super::eal_log;
use std::ffi::CStr;

/// An error of the DPDK layer.
#[derive(Debug, thiserror::Error)]
pub enum DpdkError {
    /// `rte_eal_init` failed or was called twice.
    #[error("EAL did not start: {said}\n  its arguments: {argv}")]
    Init {
        /// Arguments handed to EAL, as one line.
        argv: String,
        /// EAL's own words.
        said: String,
    },
    /// Memory of EAL was exhausted.
    #[error("{what} needs {} MB of EAL memory on {socket} and EAL could not give them ({said}); {remedy}", .bytes.div_ceil(1 << 20))]
    Memory {
        /// What asked.
        what: String,
        /// Bytes asked for.
        bytes: usize,
        /// Which NUMA node.
        socket: String,
        /// EAL's own words or its errno.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A name that DPDK cannot hold.
    #[error("the name `{name}` of a {what} must have 1 to {max} bytes and no NUL")]
    Name {
        /// Kind of object.
        what: &'static str,
        /// The name.
        name: String,
        /// The longest allowed.
        max: usize,
    },
    /// An argument out of range.
    #[error("{what}: {problem}")]
    Argument {
        /// Which object.
        what: String,
        /// Expected and found.
        problem: String,
    },
    /// No such port.
    #[error(
        "there is no DPDK port named `{name}`; EAL has {}; name a PCI address that is bound to its driver \
         or add one with --vdev",
        list(.known)
    )]
    NoPort {
        /// The name asked for.
        name: String,
        /// Ports that exist.
        known: Vec<String>,
    },
    /// A port that somebody holds already.
    #[error("the DPDK port `{name}` is in use already; a port has one owner")]
    PortTaken {
        /// Its name.
        name: String,
    },
    /// The device lacks something that was asked for.
    #[error("the DPDK port `{port}` ({driver}) {problem}")]
    Unsupported {
        /// Port name.
        port: String,
        /// Driver name.
        driver: String,
        /// What is lacking and what to do.
        problem: String,
    },
    /// The device of a port that was removed is not there.
    #[error("the device of the DPDK port `{port}` is not there, or no driver has it")]
    Away {
        /// Port name.
        port: String,
    },
    /// A DPDK call failed.
    #[error("{what}: {said}")]
    Call {
        /// What was being done.
        what: String,
        /// EAL's last error line, or the errno in words.
        said: String,
    },
    /// An lcore that cannot be launched.
    #[error("lcore {lcore} cannot be launched: {problem}; EAL's worker lcores are {}", list(.workers))]
    Launch {
        /// EAL lcore id.
        lcore: u32,
        /// Why not.
        problem: &'static str,
        /// Lcores that can be.
        workers: Vec<String>,
    },
}

impl DpdkError {
    /// A failed call that returned `rc` (0 or positive: the reason is in `rte_errno`).
    pub(super) fn call(what: impl Into<String>, rc: i32) -> DpdkError {
        DpdkError::Call { what: what.into(), said: why(rc) }
    }
}

/// EAL's last error line with the errno in words; `rc` ≥ 0 means that `rte_errno` holds the code.
pub(super) fn why(rc: i32) -> String {
    // SAFETY: reads the calling thread's errno.
    let errno = if rc < 0 { -rc } else { unsafe { dpdk_sys::shim_errno() } };
    // SAFETY: rte_strerror returns a NUL-terminated string for any number, in storage of the calling thread.
    let words = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) }.to_string_lossy();
    match eal_log::take_errors() {
        said if said.is_empty() => words.into_owned(),
        said => format!("{said} ({words})"),
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
