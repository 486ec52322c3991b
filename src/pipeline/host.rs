//! The facts about a host that a plan depends on: CPUs this process may use and their nodes, free memory, hugepages.
//!
//! In: the files of `/sys` and `/proc` under a root (so that tests can give them another) and the process's affinity
//! mask. Out: [`HostFacts`]. It changes nothing; a fact that cannot be read is absent, not an error.

use super::eal_args::parse_ranges;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a plan wants to know about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// CPUs this process may run on or pin its threads to, ascending.
    pub cpus: Vec<Cpu>,
    /// Bytes that new programs can have without swapping (MemAvailable); `None` when unknown.
    pub available_bytes: Option<u64>,
    /// Hugepages by node and size.
    pub hugepages: Vec<Hugepages>,
    /// NUMA node of devices, by EAL name. A device that is not here has no node of its own.
    pub device_nodes: BTreeMap<String, u32>,
    /// Number that makes the EAL file prefix unique: the process id.
    pub process: u32,
}

/// One CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Kernel number.
    pub id: u32,
    /// NUMA node.
    pub node: u32,
}

/// Hugepages of one size on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// NUMA node.
    pub node: u32,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages not in use.
    pub free: u64,
}

impl HostFacts {
    /// The facts of this host, with the nodes of `devices` (EAL names).
    pub fn read<'d>(devices: impl IntoIterator<Item = &'d str>) -> HostFacts {
        HostFacts::read_under(Path::new("/"), devices)
    }

    /// The same under another root than `/`. The affinity mask is `Cpus_allowed_list` of `proc/self/status` there.
    pub fn read_under<'d>(root: &Path, devices: impl IntoIterator<Item = &'d str>) -> HostFacts {
        let nodes = cpu_nodes(root);
        let status = read(root, "proc/self/status");
        let allowed = field(&status, "Cpus_allowed_list:").and_then(parse_ranges).unwrap_or_default();
        let allowed = with_isolated(root, allowed);
        HostFacts {
            cpus: allowed.iter().map(|&id| Cpu { id, node: nodes.get(&id).copied().unwrap_or(0) }).collect(),
            available_bytes: available_bytes(root),
            hugepages: hugepages(root),
            device_nodes: devices.into_iter().filter_map(|d| Some((d.to_owned(), device_node(root, d)?))).collect(),
            process: std::process::id(),
        }
    }
}

/// `allowed`, and the CPUs isolated at boot: no process starts with them in its mask, and each may pin threads to them,
/// within its cpuset.
fn with_isolated(root: &Path, mut allowed: Vec<u32>) -> Vec<u32> {
    let isolated = parse_ranges(read(root, "sys/devices/system/cpu/isolated").trim()).unwrap_or_default();
    let cpuset = ["cpuset.cpus.effective", "cpuset/cpuset.effective_cpus"]
        .iter()
        .find_map(|file| parse_ranges(read(root, &format!("sys/fs/cgroup/{file}")).trim()));
    allowed.extend(isolated.into_iter().filter(|cpu| cpuset.as_ref().is_none_or(|cpuset| cpuset.contains(cpu))));
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

fn read(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join(file)).unwrap_or_default()
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// MemAvailable, or what is left of the cgroup's limit (containers) if that is less.
fn available_bytes(root: &Path) -> Option<u64> {
    let meminfo = read(root, "proc/meminfo");
    let kilobytes = field(&meminfo, "MemAvailable:")?.strip_suffix("kB")?.trim();
    let host = kilobytes.parse::<u64>().ok()? * 1024;
    let cgroup = |file: &str| read(root, &format!("sys/fs/cgroup/{file}")).trim().parse::<u64>().ok();
    match (cgroup("memory.max"), cgroup("memory.current")) {
        (Some(limit), Some(used)) => Some(host.min(limit.saturating_sub(used))),
        _ => Some(host),
    }
}

fn node_dirs(root: &Path) -> Vec<(u32, std::path::PathBuf)> {
    let Ok(entries) = fs::read_dir(root.join("sys/devices/system/node")) else { return Vec::new() };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("node")?.parse().ok();
    let mut nodes: Vec<_> = entries.flatten().filter_map(|e| Some((number(&e.path())?, e.path()))).collect();
    nodes.sort_unstable();
    nodes
}

fn cpu_nodes(root: &Path) -> BTreeMap<u32, u32> {
    let mut nodes = BTreeMap::new();
    for (node, dir) in node_dirs(root) {
        let cpus = parse_ranges(read(&dir, "cpulist").trim()).unwrap_or_default();
        nodes.extend(cpus.into_iter().map(|cpu| (cpu, node)));
    }
    nodes
}

fn hugepages(root: &Path) -> Vec<Hugepages> {
    let mut found = Vec::new();
    for (node, dir) in node_dirs(root) {
        let Ok(sizes) = fs::read_dir(dir.join("hugepages")) else { continue };
        for size in sizes.flatten() {
            let name = size.file_name();
            let kilobytes =
                name.to_str().and_then(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok());
            let free = read(&size.path(), "free_hugepages").trim().parse().ok();
            if let (Some(kilobytes), Some(free)) = (kilobytes, free) {
                found.push(Hugepages { node, page_bytes: kilobytes * 1024, free });
            }
        }
    }
    found.sort_unstable_by_key(|h| (h.node, h.page_bytes));
    found
}

fn device_node(root: &Path, device: &str) -> Option<u32> {
    // Only PCI devices and the kernel's interfaces have a place; a vdev's name is not a file there. -1 means that the firmware does not say.
    let full = if device.matches(':').count() == 1 { format!("0000:{device}") } else { device.to_owned() };
    if full.contains('/') {
        return None;
    }
    let node = |path: String| read(root, &path).trim().parse().ok();
    node(format!("sys/bus/pci/devices/{full}/numa_node"))
        .or_else(|| node(format!("sys/class/net/{full}/device/numa_node")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_the_files_of_the_kernel() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/status", "Name:\tx\nCpus_allowed_list:\t1-2,9\n");
        write("proc/meminfo", "MemTotal: 8 kB\nMemAvailable:    2048 kB\n");
        write("sys/devices/system/node/node0/cpulist", "0-7\n");
        write("sys/devices/system/node/node1/cpulist", "8-15\n");
        write("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "12\n");
        write("sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
        write("sys/bus/pci/devices/0000:00:05.0/numa_node", "-1\n");
        let facts = HostFacts::read_under(root.path(), ["3b:00.0", "0000:00:05.0", "net_null0"]);
        let cpus = [(1, 0), (2, 0), (9, 1)].map(|(id, node)| Cpu { id, node });
        assert_eq!(facts.cpus, cpus);
        assert_eq!(facts.available_bytes, Some(2 << 20));
        assert_eq!(facts.hugepages, [Hugepages { node: 1, page_bytes: 2 << 20, free: 12 }]);
        assert_eq!(facts.device_nodes, BTreeMap::from([("3b:00.0".to_owned(), 1)]));
    }

    #[test]
    fn isolated_cpus_may_be_used_within_the_cpuset() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let cpus = || HostFacts::read_under(root.path(), []).cpus.iter().map(|cpu| cpu.id).collect::<Vec<_>>();
        write("proc/self/status", "Cpus_allowed_list:\t0-1\n");
        write("sys/devices/system/cpu/isolated", "\n");
        assert_eq!(cpus(), [0, 1]);
        write("sys/devices/system/cpu/isolated", "2-5\n");
        assert_eq!(cpus(), [0, 1, 2, 3, 4, 5]);
        write("sys/fs/cgroup/cpuset.cpus.effective", "0-3\n");
        assert_eq!(cpus(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_host_that_tells_nothing_gives_no_facts() {
        let root = tempfile::tempdir().unwrap();
        let facts = HostFacts::read_under(root.path(), []);
        assert!(facts.cpus.is_empty() && facts.available_bytes.is_none() && facts.hugepages.is_empty());
    }
}
