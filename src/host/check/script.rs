//! The set-up script of a subject: which CPUs are hot and how many hugepages are needed where come in, a shell script that
//! sets the host so goes out. Pure: it runs nothing.

use super::Subject;
use crate::host::ranges::ranges;

const HOST_SETUP: &str = include_str!("../../../dpdk-config/host-setup");

/// Bytes of the hugepages that host-setup takes.
const PAGE: u64 = 2 << 20;

/// `dpdk-config/host-setup` with the arguments of `subject`; it takes `--dry-run` and `--undo`. `None` without hot CPUs.
pub fn script(subject: &Subject) -> Option<String> {
    if subject.hot_cpus.is_empty() {
        return None;
    }
    let pages = subject.memory.iter().map(|need| format!(" --hugepages {}:{}", need.node, need.bytes.div_ceil(PAGE)));
    let arguments = format!("--cpus {}{}", ranges(&subject.hot_cpus), pages.collect::<String>());
    let (shell, rest) = HOST_SETUP.split_once('\n')?;
    Some(format!("{shell}\nset -- {arguments} \"$@\"\n{rest}"))
}
