//! Giving privileges up once everything is open: capabilities and the right to gain any, in every thread of the process,
//! and system calls that no thread needs any more.
//!
//! In: what has to stay, and why. Out: what is gone, in words. Capabilities belong to threads, and EAL has started some of
//! them: a signal makes each give up its own. For the control thread, before lcores begin to poll.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A capability, by its number in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Configures network devices.
    NetAdmin = 12,
    /// Opens raw sockets.
    NetRaw = 13,
    /// Locks memory.
    IpcLock = 14,
    /// Counts events of the CPU.
    Perfmon = 38,
}

impl Capability {
    /// As in capabilities(7).
    pub const fn name(self) -> &'static str {
        match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::NetRaw => "CAP_NET_RAW",
            Capability::IpcLock => "CAP_IPC_LOCK",
            Capability::Perfmon => "CAP_PERFMON",
        }
    }
}

/// What has to stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Capabilities, each with what needs it.
    pub capabilities: Vec<(Capability, String)>,
    /// A driver that takes its program off the device at the end: bpf(2) stays.
    pub bpf: bool,
}

/// What has become of it, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Capabilities that stayed: only those that were there.
    kept: Vec<(Capability, String)>,
    /// System calls that are refused, or why none is.
    refused: Result<usize, String>,
    /// Threads that did not answer and have what they had.
    left_out: usize,
}

/// Give up everything but `needs`, in every thread. What cannot be given up is said, not an error.
pub fn give_up(needs: &Needs) -> Given {
    let had = capabilities("self").unwrap_or(0);
    let mask = needs.capabilities.iter().fold(0, |mask, (capability, _)| mask | 1 << *capability as u32);
    KEEP.store(mask & had, Ordering::SeqCst);
    give_up_own();
    let left_out = tell_others(mask & had);
    let kept =
        needs.capabilities.iter().filter(|(capability, _)| had >> *capability as u32 & 1 != 0).cloned().collect();
    Given { kept, refused: refuse_calls(needs.bpf).map_err(|err| err.to_string()), left_out }
}

/// Effective capabilities of a thread: `self`, or `self/task/ID`.
fn capabilities(thread: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Capabilities that threads are to keep.
static KEEP: AtomicU64 = AtomicU64::new(0);
/// Threads that have answered.
static ANSWERED: AtomicUsize = AtomicUsize::new(0);

/// How long threads may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Every other thread gives up what this one has given up; how many did not.
fn tell_others(keep: u64) -> usize {
    let signal = libc::SIGRTMAX();
    // SAFETY: the handler makes two system calls and adds to an atomic, which a signal may interrupt anything with. The zeroed
    // struct is a valid sigaction with an empty mask.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
    let us = super::thread::id();
    let more = |id: &i32| *id != us && capabilities(&format!("self/task/{id}")).is_some_and(|has| has & !keep != 0);
    let tasks = || -> Vec<i32> {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).filter(more).collect()
    };
    let began = Instant::now();
    loop {
        let left = tasks();
        if left.is_empty() || began.elapsed() > PATIENCE {
            return left.len();
        }
        let before = ANSWERED.load(Ordering::SeqCst);
        // SAFETY: a signal with a handler, to threads of this process; one that is gone is refused.
        let sent =
            left.iter().filter(|id| unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), **id, signal) } == 0);
        let sent = sent.count();
        while ANSWERED.load(Ordering::SeqCst) < before + sent && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // SAFETY: errno is the thread's own; what was interrupted must find it as it was.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    give_up_own();
    // SAFETY: as above.
    unsafe { *errno = before };
    ANSWERED.fetch_add(1, Ordering::SeqCst);
}

/// The calling thread keeps `KEEP` and can gain nothing.
fn give_up_own() {
    /// capset(2), version 3: which thread (0: this one), and its sets in two halves.
    #[repr(C)]
    struct Header(u32, i32);
    const VERSION_3: u32 = 0x2008_0522;
    let keep = KEEP.load(Ordering::SeqCst);
    let half = |shift: u32| {
        let bits = (keep >> shift) as u32;
        // Effective, permitted, inheritable.
        [bits, bits, 0]
    };
    let (header, sets) = (Header(VERSION_3, 0), [half(0), half(32)]);
    // SAFETY: a header and two sets as the version asks for; prctl gets plain numbers.
    unsafe {
        libc::syscall(libc::SYS_capset, &header, sets.as_ptr());
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
}

/// What a trading process has no use for once it runs, and what somebody who has got into it would begin with: other
/// programs, other processes, modules, mounts, namespaces, users, clocks, keys. Not what DPDK, the allocator and threads
/// live by: a list of what is allowed would end a run at the first call that nobody thought of.
const REFUSED: [libc::c_long; 49] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
];

/// Refuse them with EPERM in every thread; how many.
fn refuse_calls(bpf: bool) -> Result<usize, seccompiler::Error> {
    let mut rules: std::collections::BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    if !bpf {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    // A new thread is allowed, a new process is not.
    let thread = libc::CLONE_THREAD as u64;
    let process = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
    let count = rules.len() + 1;
    let filter = |rules, errno: i32| -> Result<BpfProgram, seccompiler::Error> {
        let refuse = SeccompAction::Errno(errno as u32);
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?)
    };
    // The flags of clone3 lie where a filter cannot look: the C library falls back to clone.
    let clone3 = [(libc::SYS_clone3, Vec::new())].into_iter().collect();
    for program in [filter(rules, libc::EPERM)?, filter(clone3, libc::ENOSYS)?] {
        seccompiler::apply_filter_all_threads(&program)?;
    }
    Ok(count)
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kept[..] {
            [] => write!(f, "no capabilities")?,
            kept => {
                for (i, (capability, why)) in kept.iter().enumerate() {
                    write!(f, "{}{} ({why})", if i == 0 { "capabilities only " } else { ", " }, capability.name())?;
                }
            }
        }
        match &self.refused {
            Ok(calls) => write!(f, "; no way to new ones; {calls} system calls refused")?,
            Err(why) => write!(f, "; no way to new ones; no system calls refused: {why}")?,
        }
        match self.left_out {
            0 => Ok(()),
            n => write!(f, "; but {n} threads did not give theirs up"),
        }
    }
}

/// Whether this process may write to a file or folder with the capabilities that it has now.
///
/// # Errors
/// What the kernel says.
pub fn writable(path: &std::path::Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: a string that ends in 0.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
