//! The environment abstraction layer: started once per process from an argument list, cleaned up when the last owner
//! of anything built on it is gone.
//!
//! EAL pins the calling thread to its main lcore; whoever starts control threads afterwards sets their affinity
//! (`sys::affinity`). It never parses arguments itself: what EAL says about them is what the user reads.

use super::{DpdkError, eal_log};
use std::ffi::{CString, c_char};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The running EAL. Clones are owners; the last one to go cleans up.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Running>);

/// An EAL lcore id. Which CPU it runs on is for `--lcores` to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lcore(u32);

/// Where memory shall lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// Wherever EAL finds it.
    Any,
    /// On this NUMA node.
    Node(u32),
}

#[derive(Debug)]
struct Running {
    argv: Vec<String>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Start EAL as `program args…`. Its log goes to the `log` crate from here on.
    ///
    /// # Errors
    /// When EAL refuses, with its own words; when it was started before in this process; when it leaves arguments over.
    pub fn init(program: &str, args: &[String]) -> Result<Eal, DpdkError> {
        let argv: Vec<String> = std::iter::once(program.to_owned()).chain(args.iter().cloned()).collect();
        let failed = |said: String| DpdkError::Init { argv: argv.join(" "), said };
        let Ok(strings) = argv.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>() else {
            return Err(failed("an argument contains a NUL byte".into()));
        };
        let count = i32::try_from(strings.len()).map_err(|_| failed("too many arguments".into()))?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(failed("it was started before in this process, and it starts only once".into()));
        }
        eal_log::capture();
        // EAL keeps pointers into argv for the life of the process: both the strings and the array are leaked.
        let pointers: Vec<*mut c_char> =
            strings.into_iter().map(CString::into_raw).chain([std::ptr::null_mut()]).collect();
        let quiet = crate::sys::quiet::Stdout::new();
        // SAFETY: a NULL-terminated argv of `count` leaked strings, and this is the only call in this process.
        let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.leak().as_mut_ptr()) };
        drop(quiet);
        eal_log::release(parsed >= 0);
        if parsed < 0 {
            return Err(failed(refusal()));
        }
        let eal = Eal(Arc::new(Running { argv: argv.clone() }));
        let left: Vec<&str> = argv.iter().skip(1 + parsed as usize).map(String::as_str).collect();
        if !left.is_empty() {
            return Err(failed(format!("it did not take `{}`: EAL arguments are options", left.join(" "))));
        }
        Ok(eal)
    }

    /// What EAL was started with, program name first.
    pub fn argv(&self) -> &[String] {
        &self.0.argv
    }

    /// The control lcore, the one that called [`Eal::init`].
    pub fn main_lcore(&self) -> Lcore {
        // SAFETY: EAL is running while `self` lives.
        Lcore(unsafe { dpdk_sys::rte_get_main_lcore() })
    }

    /// Every other lcore, by rising id.
    pub fn workers(&self) -> Vec<Lcore> {
        let mut found = Vec::new();
        let mut id = u32::MAX;
        loop {
            // SAFETY: EAL is running; u32::MAX (-1) means "from the first", as RTE_LCORE_FOREACH_WORKER writes it.
            id = unsafe { dpdk_sys::rte_get_next_lcore(id, 1, 0) };
            if id >= dpdk_sys::SHIM_MAX_LCORE {
                return found;
            }
            found.push(Lcore(id));
        }
    }

    /// Whether EAL's memory is hugepages (false under `--no-huge`).
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: EAL is running while `self` lives.
        unsafe { dpdk_sys::rte_eal_has_hugepages() != 0 }
    }

    /// What to do when memory runs out, depending on how EAL was started.
    pub(super) fn memory_remedy(&self) -> &'static str {
        if self.has_hugepages() {
            "reserve more hugepages on that node (dpdk-hugepages.py --setup 2G, or hugepages= on the kernel command \
             line) and see that --socket-mem or -m allows them"
        } else {
            "raise -m (megabytes of EAL memory under --no-huge)"
        }
    }
}

/// Why EAL did not start: its own words, for its errno is not reliable then; and a remedy where it names none.
fn refusal() -> String {
    let said = match eal_log::take_errors() {
        said if said.is_empty() => super::error::why(0),
        said => said,
    };
    if said.contains("another primary process") {
        return said + "; give each process a name of its own: --file-prefix=NAME";
    }
    if !said.to_lowercase().contains("hugepage") {
        return said;
    }
    said + "; reserve hugepages (dpdk-hugepages.py --setup 2G, as root), or do without: --no-huge -m 512"
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: every pool, ring, port and region holds the Eal, so none is left; lcores are joined by their scope.
        let rc = unsafe { dpdk_sys::rte_eal_cleanup() };
        if rc != 0 {
            log::warn!(target: "dpdk", "EAL did not clean up after itself: {}", super::error::why(rc));
        }
    }
}

impl Lcore {
    /// The lcore of that id; whether EAL has it shows when it is launched.
    pub const fn new(id: u32) -> Lcore {
        Lcore(id)
    }

    /// EAL's id of it.
    pub const fn id(self) -> u32 {
        self.0
    }

    /// The NUMA node of its CPU. EAL must be running.
    pub fn socket(self, _eal: &Eal) -> Socket {
        // SAFETY: EAL is running; ids beyond its table are refused by the range check.
        match self.0 {
            id if id < dpdk_sys::SHIM_MAX_LCORE => Socket::Node(unsafe { dpdk_sys::rte_lcore_to_socket_id(id) }),
            _ => Socket::Any,
        }
    }
}

impl Socket {
    /// DPDK's number for it (-1: any).
    pub(super) fn raw(self) -> i32 {
        match self {
            Socket::Any => -1,
            Socket::Node(node) => node as i32,
        }
    }

    /// From DPDK's number (negative: unknown, so any).
    pub(super) fn from_raw(node: i32) -> Socket {
        u32::try_from(node).map_or(Socket::Any, Socket::Node)
    }
}

impl fmt::Display for Lcore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Socket::Any => f.write_str("any NUMA node"),
            Socket::Node(node) => write!(f, "NUMA node {node}"),
        }
    }
}
