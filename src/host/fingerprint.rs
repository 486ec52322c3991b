//! The fingerprint of a run: everything about program and host that can make one run slower than another, as a flat list
//! of facts. It goes into every trace, and the difference of two is the first thing that a comparison looks at.
//!
//! In: the files of `/proc`, `/sys` and `/dev` under a root, the hot CPUs and the devices. Out: facts by dotted name, one
//! line each. It changes nothing and runs nothing; a fact that cannot be read is absent, and an empty list is `none`.
//!
//! N is a CPU or a NUMA node, SIZE a page size, PORT a port's name in the pipeline file:
//!
//! | key | what it says | from |
//! |---|---|---|
//! | `kernel.release` | release | `/proc/sys/kernel/osrelease` |
//! | `kernel.version` | build and preemption model | `/proc/sys/kernel/version` |
//! | `kernel.cmdline` | command line | `/proc/cmdline` |
//! | `kernel.nmi_watchdog` | 1: a perf interrupt a CPU every few seconds | `/proc/sys/kernel/nmi_watchdog` |
//! | `kernel.timer_migration` | 1: timers may move to other CPUs | `/proc/sys/kernel/timer_migration` |
//! | `kernel.sched_rt_runtime_us` | µs a second (by default) that real-time threads may have; -1: all | `/proc/sys/kernel/sched_rt_runtime_us` |
//! | `kernel.workqueue_cpus` | mask of CPUs for unbound kernel work | `/sys/devices/virtual/workqueue/cpumask` |
//! | `kernel.clocksource` | the kernel's clock | `/sys/devices/system/clocksource/clocksource0/current_clocksource` |
//! | `host.hypervisor` | `present` or `none` | `/proc/cpuinfo`, flag `hypervisor` |
//! | `host.vendor`, `host.product` | maker and model of the machine | `/sys/class/dmi/id/{sys_vendor,product_name}` |
//! | `host.bios` | firmware of the machine | `/sys/class/dmi/id/bios_version` |
//! | `cpu.model`, `cpu.microcode` | of all CPUs; several are joined by ` + ` | `/proc/cpuinfo` |
//! | `cpu.count` | CPUs online | `/proc/cpuinfo` |
//! | `cpu.smt` | `on`, `off`, `forceoff`, `notsupported` … | `/sys/devices/system/cpu/smt/control` |
//! | `cpu.turbo` | `on` or `off` | `/sys/devices/system/cpu/{intel_pstate/no_turbo,cpufreq/boost}` |
//! | `cpu.pstate` | mode of the vendor's frequency driver | `/sys/devices/system/cpu/{intel,amd}_pstate/status` |
//! | `cpu.idle_driver`, `cpu.idle_governor` | who puts CPUs to sleep | `/sys/devices/system/cpu/cpuidle/current_{driver,governor}` |
//! | `cpu.max_cstate.intel_idle`, `cpu.max_cstate.acpi` | deepest C-state allowed at boot | `/sys/module/{intel_idle,processor}/parameters/max_cstate` |
//! | `cpu.dma_latency_us` | exit latency that programs have asked for; it rules out deeper C-states; `none`: nobody has | `/dev/cpu_dma_latency` |
//! | `cpu.isolated`, `cpu.nohz_full` | CPUs without scheduler balancing, without ticks | `/sys/devices/system/cpu/{isolated,nohz_full}` |
//! | `cpuN.governor`, `cpuN.scaling_driver` | who sets its frequency | `/sys/devices/system/cpu/cpuN/cpufreq/` |
//! | `cpuN.min_khz`, `cpuN.max_khz` | limits of its frequency | the same |
//! | `cpuN.energy_preference` | energy against performance | the same |
//! | `cpuN.siblings` | other CPUs of its core | `/sys/devices/system/cpu/cpuN/topology/thread_siblings_list` |
//! | `cpuN.node` | its NUMA node | `/sys/devices/system/cpu/cpuN/nodeN` |
//! | `cpuN.idle_states`, `cpuN.idle_disabled` | its C-states, and those turned off | `/sys/devices/system/cpu/cpuN/cpuidle/` |
//! | `cpuN.resume_latency_us` | limit of its C-states by exit latency; 0: no limit | `/sys/devices/system/cpu/cpuN/power/pm_qos_resume_latency_us` |
//! | `cpuN.irqs` | interrupts whose affinity allows it | `/proc/irq/*/smp_affinity_list` |
//! | `irq.default_affinity` | mask for interrupts to come | `/proc/irq/default_smp_affinity` |
//! | `memory.thp`, `memory.thp_defrag` | transparent hugepages | `/sys/kernel/mm/transparent_hugepage/` |
//! | `memory.numa_balancing` | 1: pages are unmapped to see who uses them | `/proc/sys/kernel/numa_balancing` |
//! | `memory.ksm` | 1: equal pages are merged | `/sys/kernel/mm/ksm/run` |
//! | `nodeN.hugepages_SIZE` | pages in the pool, in use or not | `/sys/devices/system/node/nodeN/hugepages/` |
//! | `port.PORT.device` | EAL's name of the device | the caller |
//! | `port.PORT.driver` | kernel driver it is bound to | `/sys/bus/pci/devices/*/driver` |
//! | `port.PORT.id` | vendor and device | `/sys/bus/pci/devices/*/{vendor,device}` |
//! | `port.PORT.firmware` | where the kernel shows it (mlx5) | `/sys/bus/pci/devices/*/infiniband/*/fw_ver` |
//! | `port.PORT.pcie_speed`, `port.PORT.pcie_max_speed` | of its link now, and at best | `/sys/bus/pci/devices/*/{current,max}_link_speed` |
//! | `port.PORT.pcie_width`, `port.PORT.pcie_max_width` | lanes now, and at best | `/sys/bus/pci/devices/*/{current,max}_link_width` |
//! | `port.PORT.node` | its NUMA node; -1: the firmware does not say | `/sys/bus/pci/devices/*/numa_node` |
//!
//! The caller adds what it knows of the program by [`Fingerprint::insert`]. Three kinds of keys are compared in their own
//! way: see [`diff`].

use super::files::{bytes, chosen, line, link_name, numbered, pci_address, text};
use super::ranges::{parse_ranges, ranges};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Facts by dotted name, such as `kernel.release` or `cpu2.governor`. A fact that could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub BTreeMap<String, String>);

/// What of the host a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// CPUs of the path.
    pub hot_cpus: Vec<u32>,
    /// Name of each port in the pipeline file, and EAL's name of its device.
    pub devices: Vec<(String, String)>,
}

/// One fact that two runs do not share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name.
    pub key: String,
    /// What the first says, if anything.
    pub a: Option<String>,
    /// What the second says, if anything.
    pub b: Option<String>,
}

impl Fingerprint {
    /// The facts of the host whose files lie under `root`: `/`, or a test's folder. A few hundred small files.
    pub fn read(root: &Path, subject: &Subject) -> Fingerprint {
        let mut facts = Fingerprint::default();
        for (key, path, value) in FILES {
            facts.add(key, text(root, path).and_then(|text| value(&text)));
        }
        facts.cpu_info(root);
        facts.cpu_power(root);
        facts.hugepages(root);
        let interrupts = interrupts(root);
        for &cpu in &subject.hot_cpus {
            facts.hot_cpu(root, cpu);
            facts.add(&format!("cpu{cpu}.irqs"), interrupts.as_ref().map(|all| allowed_on(all, cpu)));
        }
        for (port, device) in &subject.devices {
            facts.device(root, port, device);
        }
        facts
    }

    /// Add a fact, or replace it. The value becomes one line of at most 4096 bytes: white space is folded, control
    /// characters go.
    pub fn insert(&mut self, key: impl Into<String>, value: impl AsRef<str>) {
        self.0.insert(key.into(), clean(value.as_ref()));
    }

    fn add(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    fn cpu_info(&mut self, root: &Path) {
        let Some(text) = text(root, "proc/cpuinfo") else { return };
        let field = |name: &str| {
            let mut found = BTreeSet::new();
            for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
                if key.trim() == name {
                    found.insert(value.trim().to_owned());
                }
            }
            found
        };
        let several = |found: BTreeSet<String>| found.into_iter().collect::<Vec<_>>().join(" + ");
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        self.add("cpu.model", filled(several(field("model name"))));
        self.add("cpu.microcode", filled(several(field("microcode"))));
        let count =
            text.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor")).count();
        self.add("cpu.count", (count > 0).then(|| count.to_string()));
        if let Some(flags) = field("flags").first() {
            let guest = flags.split_whitespace().any(|flag| flag == "hypervisor");
            self.insert("host.hypervisor", if guest { "present" } else { "none" });
        }
    }

    fn cpu_power(&mut self, root: &Path) {
        let on = |path: &str, yes: &str| {
            let said = text(root, path)?;
            Some(if said.trim() == yes { "on" } else { "off" }.to_owned())
        };
        let turbo = on("sys/devices/system/cpu/intel_pstate/no_turbo", "0")
            .or_else(|| on("sys/devices/system/cpu/cpufreq/boost", "1"));
        self.add("cpu.turbo", turbo);
        let status =
            |vendor: &str| text(root, &format!("sys/devices/system/cpu/{vendor}_pstate/status")).and_then(|t| line(&t));
        self.add("cpu.pstate", status("intel").or_else(|| status("amd")));
        // Four bytes, a native i32: what the tightest of all programs has asked for. Opening it asks for nothing yet.
        let latency =
            bytes(root, "dev/cpu_dma_latency").and_then(|raw| Some(i32::from_ne_bytes(raw.get(..4)?.try_into().ok()?)));
        // PM_QOS_CPU_LATENCY_DEFAULT_VALUE: nobody has.
        let limit = |us| if us == 2_000_000_000 { "none".into() } else { format!("{us}") };
        self.add("cpu.dma_latency_us", latency.map(limit));
    }

    fn hot_cpu(&mut self, root: &Path, cpu: u32) {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}");
        for (key, file) in [
            ("governor", "cpufreq/scaling_governor"),
            ("scaling_driver", "cpufreq/scaling_driver"),
            ("min_khz", "cpufreq/scaling_min_freq"),
            ("max_khz", "cpufreq/scaling_max_freq"),
            ("energy_preference", "cpufreq/energy_performance_preference"),
            ("resume_latency_us", "power/pm_qos_resume_latency_us"),
        ] {
            self.add(&format!("cpu{cpu}.{key}"), text(root, &format!("{folder}/{file}")).and_then(|text| line(&text)));
        }
        let siblings = text(root, &format!("{folder}/topology/thread_siblings_list")).and_then(|list| {
            let others: Vec<u32> = parse_ranges(list.trim())?.into_iter().filter(|&id| id != cpu).collect();
            Some(or_none(ranges(&others)))
        });
        self.add(&format!("cpu{cpu}.siblings"), siblings);
        let node = numbered(&root.join(&folder), "node").first().map(|(node, _)| node.to_string());
        self.add(&format!("cpu{cpu}.node"), node);
        let states = numbered(&root.join(format!("{folder}/cpuidle")), "state");
        if states.is_empty() {
            return;
        }
        let (mut all, mut off) = (Vec::new(), Vec::new());
        for (number, folder) in states {
            let name = text(&folder, "name").and_then(|text| line(&text)).unwrap_or_else(|| format!("state{number}"));
            if text(&folder, "disable").is_some_and(|said| !matches!(said.trim(), "" | "0")) {
                off.push(name.clone());
            }
            all.push(name);
        }
        self.insert(format!("cpu{cpu}.idle_states"), all.join(","));
        self.insert(format!("cpu{cpu}.idle_disabled"), or_none(off.join(",")));
    }

    fn hugepages(&mut self, root: &Path) {
        for (node, folder) in numbered(&root.join("sys/devices/system/node"), "node") {
            for (kilobytes, size) in numbered(&folder.join("hugepages"), "hugepages-") {
                let pages = text(&size, "nr_hugepages").and_then(|text| line(&text));
                self.add(&format!("node{node}.hugepages_{kilobytes}kB"), pages);
            }
        }
    }

    fn device(&mut self, root: &Path, port: &str, device: &str) {
        self.insert(format!("port.{port}.device"), device);
        let Some(address) = pci_address(device) else { return };
        let folder = root.join("sys/bus/pci/devices").join(address);
        let mut add = |key: &str, value| self.add(&format!("port.{port}.{key}"), value);
        add("driver", link_name(&folder.join("driver")));
        let file = |name: &str| text(&folder, name).and_then(|text| line(&text));
        add("id", file("vendor").zip(file("device")).map(|(vendor, device)| format!("{vendor}:{device}")));
        for (key, name) in [
            ("pcie_speed", "current_link_speed"),
            ("pcie_max_speed", "max_link_speed"),
            ("pcie_width", "current_link_width"),
            ("pcie_max_width", "max_link_width"),
            ("node", "numa_node"),
        ] {
            add(key, file(name));
        }
        let mut functions: Vec<_> = fs::read_dir(folder.join("infiniband")).into_iter().flatten().flatten().collect();
        functions.sort_by_key(fs::DirEntry::file_name);
        let firmware = functions.first().and_then(|function| text(&function.path(), "fw_ver"));
        add("firmware", firmware.and_then(|text| line(&text)));
    }
}

/// What differs, by key.
///
/// Compared in their own way are: keys that begin with `run.`, which tell one run from another (a process id, a start
/// time) and never differ here; `eal.arguments`, without the value of `--file-prefix`, which holds a process id; and
/// `tsc.hz`, a measurement, which differs from 0.1 % on.
pub fn diff(a: &Fingerprint, b: &Fingerprint) -> Vec<Difference> {
    let keys: BTreeSet<&String> = a.0.keys().chain(b.0.keys()).collect();
    let differs = |key: &&String| match (a.0.get(*key), b.0.get(*key)) {
        _ if key.starts_with("run.") => false,
        (Some(a), Some(b)) => !same(key, a, b),
        _ => true,
    };
    let difference = |key: &String| Difference { key: key.clone(), a: a.0.get(key).cloned(), b: b.0.get(key).cloned() };
    keys.into_iter().filter(differs).map(difference).collect()
}

fn same(key: &str, a: &str, b: &str) -> bool {
    match key {
        "tsc.hz" => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= a.abs().max(b.abs()) * 1e-3,
            _ => a == b,
        },
        "eal.arguments" => without_prefix(a).eq(without_prefix(b)),
        _ => a == b,
    }
}

/// The words of a command line without `--file-prefix X` and `--file-prefix=X`.
fn without_prefix(argv: &str) -> impl Iterator<Item = &str> {
    let mut value_follows = false;
    argv.split_whitespace().filter(move |word| {
        let drop = value_follows || *word == "--file-prefix" || word.starts_with("--file-prefix=");
        value_follows = *word == "--file-prefix";
        !drop
    })
}

/// Name, file under the root, and how its text becomes a value.
type FileFact = (&'static str, &'static str, fn(&str) -> Option<String>);

const FILES: &[FileFact] = &[
    ("kernel.release", "proc/sys/kernel/osrelease", line),
    ("kernel.version", "proc/sys/kernel/version", line),
    ("kernel.cmdline", "proc/cmdline", line),
    ("kernel.nmi_watchdog", "proc/sys/kernel/nmi_watchdog", line),
    ("kernel.timer_migration", "proc/sys/kernel/timer_migration", line),
    ("kernel.sched_rt_runtime_us", "proc/sys/kernel/sched_rt_runtime_us", line),
    ("kernel.workqueue_cpus", "sys/devices/virtual/workqueue/cpumask", line),
    ("kernel.clocksource", "sys/devices/system/clocksource/clocksource0/current_clocksource", line),
    ("host.vendor", "sys/class/dmi/id/sys_vendor", line),
    ("host.product", "sys/class/dmi/id/product_name", line),
    ("host.bios", "sys/class/dmi/id/bios_version", line),
    ("cpu.smt", "sys/devices/system/cpu/smt/control", line),
    ("cpu.idle_driver", "sys/devices/system/cpu/cpuidle/current_driver", line),
    ("cpu.idle_governor", "sys/devices/system/cpu/cpuidle/current_governor", line),
    ("cpu.max_cstate.intel_idle", "sys/module/intel_idle/parameters/max_cstate", line),
    ("cpu.max_cstate.acpi", "sys/module/processor/parameters/max_cstate", line),
    ("cpu.isolated", "sys/devices/system/cpu/isolated", cpu_list),
    ("cpu.nohz_full", "sys/devices/system/cpu/nohz_full", cpu_list),
    ("irq.default_affinity", "proc/irq/default_smp_affinity", line),
    ("memory.thp", "sys/kernel/mm/transparent_hugepage/enabled", chosen),
    ("memory.thp_defrag", "sys/kernel/mm/transparent_hugepage/defrag", chosen),
    ("memory.numa_balancing", "proc/sys/kernel/numa_balancing", line),
    ("memory.ksm", "sys/kernel/mm/ksm/run", line),
];

/// Longest value, in bytes: a kernel's command line is no longer.
const VALUE_BYTES: usize = 4096;
/// Longest list of interrupts, in bytes.
const LIST_BYTES: usize = 160;
/// A CPU list; kernels write an empty one as nothing or as `(null)`.
fn cpu_list(text: &str) -> Option<String> {
    let text = text.trim();
    Some(or_none(if text == "(null)" { String::new() } else { text.to_owned() }))
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

fn clean(value: &str) -> String {
    let printable: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut folded = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    folded.truncate(folded.floor_char_boundary(VALUE_BYTES));
    folded
}

/// Every interrupt with the CPUs that may take it, ascending; `None` where the kernel does not tell.
fn interrupts(root: &Path) -> Option<Vec<(u32, Vec<u32>)>> {
    let folder = root.join("proc/irq");
    if !folder.is_dir() {
        return None;
    }
    let cpus = |(irq, folder): (u64, std::path::PathBuf)| {
        let list = text(&folder, "smp_affinity_list")?;
        Some((u32::try_from(irq).ok()?, parse_ranges(list.trim())?))
    };
    Some(numbered(&folder, "").into_iter().filter_map(cpus).collect())
}

/// The interrupts that may run on `cpu`, as ranges. A list too long to print ends with how many there are and a
/// checksum of all, so that a change behind the end still shows.
fn allowed_on(interrupts: &[(u32, Vec<u32>)], cpu: u32) -> String {
    let here = interrupts.iter().filter(|(_, cpus)| cpus.binary_search(&cpu).is_ok());
    let numbers: Vec<u32> = here.map(|(irq, _)| *irq).collect();
    let list = or_none(ranges(&numbers));
    if list.len() <= LIST_BYTES {
        return list;
    }
    let mut crc = flate2::Crc::new();
    crc.update(list.as_bytes());
    let shown = list[..LIST_BYTES].rsplit_once(',').map_or("", |(shown, _)| shown);
    format!("{shown},… ({} in all, checksum {:08x})", numbers.len(), crc.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Host {
            Host(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Host {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        fn read(&self, hot_cpus: &[u32], devices: &[(&str, &str)]) -> Fingerprint {
            let devices = devices.iter().map(|(port, device)| ((*port).into(), (*device).into())).collect();
            Fingerprint::read(self.0.path(), &Subject { hot_cpus: hot_cpus.to_vec(), devices })
        }
    }

    fn of(facts: &[(&str, &str)]) -> Fingerprint {
        Fingerprint(facts.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    /// A host as a well-tuned server shows itself.
    fn server() -> Host {
        let host = Host::new();
        host.file("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
            .file("proc/cmdline", "BOOT_IMAGE=/vmlinuz  isolcpus=2-3\tnohz_full=2-3\n")
            .file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Xeon  6\nmicrocode\t: 0x21\nflags\t\t: fpu tsc\n\nprocessor\t: 2\nmodel name\t: Xeon  6\nmicrocode\t: 0x20\n")
            .file("proc/sys/kernel/numa_balancing", "0\n")
            .file("sys/devices/system/cpu/isolated", "2-3\n")
            .file("sys/devices/system/cpu/nohz_full", "(null)\n")
            .file("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n")
            .file("sys/devices/system/cpu/intel_pstate/status", "passive\n")
            .file("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n")
            .file("sys/module/intel_idle/parameters/max_cstate", "1\n")
            .file("dev/cpu_dma_latency", 0i32.to_ne_bytes())
            .file("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n")
            .file("sys/devices/system/cpu/cpu2/cpufreq/scaling_driver", "intel_cpufreq\n")
            .file("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,34\n")
            .file("sys/devices/system/cpu/cpu2/node1/cpulist", "2\n")
            .file("sys/devices/system/cpu/cpu2/cpuidle/state0/name", "POLL\n")
            .file("sys/devices/system/cpu/cpu2/cpuidle/state0/disable", "0\n")
            .file("sys/devices/system/cpu/cpu2/cpuidle/state10/name", "C6\n")
            .file("sys/devices/system/cpu/cpu2/cpuidle/state10/disable", "1\n")
            .file("sys/devices/system/cpu/cpu2/cpuidle/state2/name", "C1E\n")
            .file("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3\n")
            .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
            .file("sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages", "8\n")
            .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
            .file("proc/irq/default_smp_affinity", "3\n");
        for irq in 2..=15 {
            host.file(&format!("proc/irq/{irq}/smp_affinity_list"), "0-3\n");
        }
        host.file("proc/irq/24/smp_affinity_list", "2\n").file("proc/irq/25/smp_affinity_list", "garbage\n");
        let nic = "sys/bus/pci/devices/0000:3b:00.0";
        for (name, value) in [
            ("vendor", "0x15b3"),
            ("device", "0x1019"),
            ("current_link_speed", "8.0 GT/s PCIe"),
            ("max_link_speed", "16.0 GT/s PCIe"),
            ("current_link_width", "8"),
            ("max_link_width", "16"),
            ("numa_node", "-1"),
            ("infiniband/mlx5_0/fw_ver", "16.35.2000"),
        ] {
            host.file(&format!("{nic}/{name}"), format!("{value}\n"));
        }
        std::os::unix::fs::symlink("../../../bus/pci/drivers/mlx5_core", host.0.path().join(nic).join("driver"))
            .unwrap();
        host
    }

    #[test]
    fn facts_come_from_the_files_of_the_kernel() {
        let found = server().read(&[2, 3], &[("md", "3b:00.0"), ("replayed", "net_pcap0")]);
        let expected = of(&[
            ("cpu.count", "2"),
            ("cpu.dma_latency_us", "0"),
            ("cpu.idle_driver", "intel_idle"),
            ("cpu.isolated", "2-3"),
            ("cpu.max_cstate.intel_idle", "1"),
            ("cpu.microcode", "0x20 + 0x21"),
            ("cpu.model", "Xeon 6"),
            ("cpu.nohz_full", "none"),
            ("cpu.pstate", "passive"),
            ("cpu.turbo", "off"),
            ("cpu2.governor", "performance"),
            ("cpu2.idle_disabled", "C6"),
            ("cpu2.idle_states", "POLL,C1E,C6"),
            ("cpu2.irqs", "2-15,24"),
            ("cpu2.node", "1"),
            ("cpu2.scaling_driver", "intel_cpufreq"),
            ("cpu2.siblings", "34"),
            ("cpu3.irqs", "2-15"),
            ("cpu3.siblings", "none"),
            ("host.hypervisor", "none"),
            ("irq.default_affinity", "3"),
            ("kernel.clocksource", "tsc"),
            ("kernel.cmdline", "BOOT_IMAGE=/vmlinuz isolcpus=2-3 nohz_full=2-3"),
            ("kernel.release", "6.1.0-18-amd64"),
            ("memory.numa_balancing", "0"),
            ("memory.thp", "madvise"),
            ("node1.hugepages_1048576kB", "8"),
            ("port.md.device", "3b:00.0"),
            ("port.md.driver", "mlx5_core"),
            ("port.md.firmware", "16.35.2000"),
            ("port.md.id", "0x15b3:0x1019"),
            ("port.md.node", "-1"),
            ("port.md.pcie_max_speed", "16.0 GT/s PCIe"),
            ("port.md.pcie_max_width", "16"),
            ("port.md.pcie_speed", "8.0 GT/s PCIe"),
            ("port.md.pcie_width", "8"),
            ("port.replayed.device", "net_pcap0"),
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_host_that_tells_nothing_has_no_facts_but_what_the_caller_knows() {
        assert_eq!(Host::new().read(&[0], &[]), Fingerprint::default());
        let mut facts = Host::new().read(&[], &[("md", "../../../etc/passwd:0:0.0")]);
        facts.insert("program.version", " 0.1.0\n");
        assert_eq!(facts, of(&[("port.md.device", "../../../etc/passwd:0:0.0"), ("program.version", "0.1.0")]));
    }

    #[test]
    fn every_fact_of_this_host_is_in_the_table() {
        let documented: BTreeSet<String> = include_str!("fingerprint.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `")?.split(" | ").next())
            .flat_map(|keys| keys.split(['`', ',']).map(str::trim).filter(|key| !key.is_empty()).collect::<Vec<_>>())
            .map(String::from)
            .collect();
        let here = Fingerprint::read(
            Path::new("/"),
            &Subject { hot_cpus: vec![0], devices: vec![("PORT".into(), "net_null0".into())] },
        );
        let found = [here, server().read(&[2, 3], &[("PORT", "3b:00.0")])];
        for key in found.iter().flat_map(|facts| facts.0.keys()) {
            let (head, rest) = key.split_once('.').unwrap();
            let head = match head.trim_end_matches(|c: char| c.is_ascii_digit()) {
                same if same == head => head.to_owned(),
                name => format!("{name}N"),
            };
            let rest = if rest.starts_with("hugepages_") { "hugepages_SIZE" } else { rest };
            assert!(documented.contains(&format!("{head}.{rest}")), "{key} is not in the table");
        }
        assert!(found[0].0.contains_key("kernel.release") && found[0].0.contains_key("cpu.count"), "{found:?}");
    }

    #[test]
    fn reading_the_same_host_twice_finds_no_difference() {
        let subject = Subject { hot_cpus: vec![0, 1], devices: vec![] };
        let read = || Fingerprint::read(Path::new("/"), &subject);
        assert_eq!(diff(&read(), &read()), []);
    }

    #[test]
    fn a_difference_names_the_fact_and_both_values() {
        let a = of(&[("cpu2.governor", "performance"), ("kernel.release", "6.1"), ("memory.thp", "never")]);
        let b = of(&[("cpu2.governor", "powersave"), ("kernel.release", "6.1"), ("cpu.turbo", "on")]);
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            Difference { key: "cpu.turbo".into(), a: None, b: some("on") },
            Difference { key: "cpu2.governor".into(), a: some("performance"), b: some("powersave") },
            Difference { key: "memory.thp".into(), a: some("never"), b: None },
        ];
        assert_eq!(diff(&a, &b), expected);
    }

    #[test]
    fn what_only_tells_runs_apart_is_no_difference() {
        let a =
            of(&[("run.pid", "17"), ("eal.arguments", "-l 1 --file-prefix=tickpath-17"), ("tsc.hz", "2445426001.2")]);
        let b = of(&[("run.id", "x"), ("eal.arguments", "-l 1 --file-prefix tickpath-18"), ("tsc.hz", "2445425999.0")]);
        assert_eq!(diff(&a, &b), []);
        let keys = |b: &[(&str, &str)]| diff(&a, &of(b)).into_iter().map(|d| d.key).collect::<Vec<_>>();
        assert_eq!(
            keys(&[("eal.arguments", "-l 2 --file-prefix=tickpath-17"), ("tsc.hz", "2445426001.2")]),
            ["eal.arguments"]
        );
        assert_eq!(keys(&[("eal.arguments", "-l 1"), ("tsc.hz", "2440000000")]), ["tsc.hz"]);
        assert_eq!(keys(&[("eal.arguments", "-l 1"), ("tsc.hz", "unknown")]), ["tsc.hz"]);
    }

    #[test]
    fn a_long_list_of_interrupts_is_short_and_still_tells_changes() {
        let spread = |last: u32| (0..400).chain([last]).map(|i| (i * 2, vec![1])).collect::<Vec<_>>();
        let (a, b) = (allowed_on(&spread(1000), 1), allowed_on(&spread(1001), 1));
        assert!(a.starts_with("0,2,4,") && a.contains("(401 in all") && a.len() < LIST_BYTES + 50, "{a}");
        assert_ne!(a, b);
        assert_eq!(allowed_on(&spread(1000), 2), "none");
    }

    proptest! {
        // Each case writes some thirty files.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_content_gives_facts_of_one_short_line(content in prop::collection::vec(any::<u8>(), 0..600), cpu: u32, device in ".{0,40}") {
            let host = Host::new();
            for (_, path, _) in FILES {
                host.file(path, &content);
            }
            for path in ["proc/cpuinfo", "dev/cpu_dma_latency", "proc/irq/7/smp_affinity_list", "sys/devices/system/cpu/cpufreq/boost"] {
                host.file(path, &content);
            }
            host.file(&format!("sys/devices/system/cpu/cpu{cpu}/cpuidle/state0/name"), &content);
            for value in host.read(&[cpu], &[("p", &device)]).0.values() {
                prop_assert!(value.len() <= VALUE_BYTES && !value.chars().any(char::is_control));
            }
        }
    }
}
