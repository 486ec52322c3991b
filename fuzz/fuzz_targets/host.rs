//! Any bytes as files of the kernel. A host that has them is judged, whatever they say; a list of CPUs, a mask, or the mappings
//! of a process that are understood in them keep to what was written.
//!
//! The input is cut at each byte 0xff. The first byte of a part says which file of a plausible host it replaces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tickpath::host::check::{Fifo, Memory, Port, Sensors, Subject, Venue, check};
use tickpath::host::fingerprint::{self, Fingerprint};
use tickpath::host::placement::{host_nodes, instance, look, maps};
use tickpath::host::ranges::{hex_mask, parse_mask, parse_ranges, ranges};
use tickpath::host::watch::Watch;

const CARD: &str = "sys/bus/pci/devices/0000:3b:00.0";

const FILES: [(&str, &str); 60] = [
    ("proc/cmdline", "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 hugepages=0:64 audit=0\n"),
    ("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : tsc constant_tsc nonstop_tsc\n"),
    ("proc/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n"),
    ("proc/locks", "1: FLOCK ADVISORY READ 42 00:2a:17 0 EOF\n"),
    ("proc/self/limits", "Max locked memory  1 1 bytes\nMax realtime priority 0 0\n"),
    ("proc/self/status", "CapEff:\t0000000000002000\n"),
    ("proc/90/comm", "irqbalance\n"),
    (
        "proc/90/task/90/stat",
        "90 (a (b) c) R 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 3 0\n",
    ),
    ("proc/90/task/90/status", "Name:\tx\nCpus_allowed_list:\t0-3\n"),
    ("proc/90/task/90/comm", "rte-worker-2\n"),
    ("proc/90/smaps", "1000-3000 r-xp 00000000 fe:00 1 /opt/x\nKernelPageSize: 4 kB\nRss: 8 kB\n"),
    ("proc/90/numa_maps", "1000 default N0=1 N1=1 mapmax=2 kernelpagesize_kB=4\n"),
    ("proc/irq/24/smp_affinity_list", "0-3\n"),
    ("proc/irq/24/effective_affinity_list", "3\n"),
    ("proc/irq/default_smp_affinity", "f\n"),
    ("proc/sys/kernel/nmi_watchdog", "1\n"),
    ("proc/sys/kernel/soft_watchdog", "1\n"),
    ("proc/sys/kernel/watchdog_cpumask", "0-3\n"),
    ("proc/sys/kernel/numa_balancing", "1\n"),
    ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
    ("proc/sys/kernel/sched_rt_runtime_us", "950000\n"),
    ("proc/sys/kernel/sched_rt_period_us", "1000000\n"),
    ("proc/sys/vm/stat_interval", "1\n"),
    ("dev/kmsg", "4,9,9,-;tsc: Marking TSC unstable due to clocksource watchdog\n"),
    ("dev/hugepages/rtemap_0", ""),
    ("etc/default/irqbalance", "IRQBALANCE_BANNED_CPULIST=2\n"),
    ("etc/tuned/active_profile", "cpu-partitioning\n"),
    ("etc/tuned/cpu-partitioning-variables.conf", "isolated_cores=2\n"),
    ("sys/kernel/irq/24/actions", "eth9-rx\n"),
    ("sys/kernel/irq/24/per_cpu_count", "0,0,0,5\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer never\n"),
    ("sys/kernel/mm/ksm/run", "1\n"),
    ("sys/kernel/iommu_groups/17/type", "DMA\n"),
    ("sys/class/net/eth9/operstate", "down\n"),
    ("sys/class/net/eth9/carrier", "0\n"),
    ("sys/class/net/eth9/device/ptp/ptp0/clock_name", "x\n"),
    ("sys/devices/virtual/workqueue/cpumask", "f\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/isolated", "2\n"),
    ("sys/devices/system/cpu/nohz_full", "2\n"),
    ("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n"),
    ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq", "1200000\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/base_frequency", "3000000\n"),
    ("sys/devices/system/cpu/cpu2/cpuidle/state2/latency", "133\n"),
    ("sys/devices/system/machinecheck/machinecheck2/check_interval", "12c\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
    ("sys/devices/system/node/node0/cpulist", "0-2\n"),
    ("sys/devices/system/node/node1/cpulist", "3\n"),
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "64\n"),
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "1\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/class", "0x020000\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/current_link_speed", "2.5 GT/s PCIe\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/max_link_speed", "16.0 GT/s PCIe\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/max_link_width", "16\n"),
    ("sys/bus/pci/devices/0000:3b:00.0/config", "\0"),
];

/// The host, made once.
static HOST: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("tickpath-fuzz-host-{}", std::process::id()));
    for (path, content) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file under the root")).expect("a folder to write to");
        fs::write(path, content).expect("a file to write to");
    }
    fs::write(root.join(CARD).join("current_link_width"), "4\n").expect("a file to write to");
    for (link, to) in [("driver", "../../../drivers/mlx5_core"), ("iommu_group", "../../../../kernel/iommu_groups/17")]
    {
        // It is there when an earlier process had this number.
        let _ = std::os::unix::fs::symlink(to, root.join(CARD).join(link));
    }
    root
});

fuzz_target!(|bytes: &[u8]| {
    let root = HOST.as_path();
    let parts: Vec<(usize, &[u8])> = bytes
        .split(|byte| *byte == 0xff)
        .filter_map(|part| part.split_first().map(|(file, content)| (usize::from(*file) % FILES.len(), content)))
        .collect();
    parts.iter().for_each(|(file, content)| fs::write(root.join(FILES[*file].0), content).expect("a file to write to"));
    judge(root);
    parts
        .iter()
        .for_each(|(file, _)| fs::write(root.join(FILES[*file].0), FILES[*file].1).expect("a file to write to"));

    let text = String::from_utf8_lossy(bytes);
    if let Some(cpus) = parse_ranges(&text) {
        assert_eq!(parse_ranges(&ranges(&cpus)), Some(cpus));
    }
    if let Some(cpus) = parse_mask(&text) {
        assert_eq!(parse_mask(&hex_mask(&cpus)), Some(cpus));
    }
    let mut mappings = maps::parse_smaps(text.lines());
    maps::join_nodes(&mut mappings, text.lines());
    for mapping in &mappings {
        assert!(mapping.from < mapping.to && mapping.nodes.values().all(|bytes| *bytes <= mapping.bytes()));
        assert!(mapping.page_sizes().values().sum::<u64>() <= mapping.bytes());
    }
});

/// Everything that is read of a host.
fn judge(root: &Path) {
    let port = |name: &str, device: &str, interface: Option<&str>| Port {
        name: name.into(),
        device: device.into(),
        interface: interface.map(Into::into),
        cpus: vec![2],
    };
    let subject = Subject {
        pipeline: Some("p.json".into()),
        starting: true,
        hot_cpus: vec![2, 3],
        fifo: Some(Fifo { priority: 10, cpus: vec![3] }),
        venues: vec![Venue { name: "venue".into(), cpus: vec![2, 3] }],
        ports: vec![port("feed", "3b:00.0", None), port("orders", "net_af_packet0", Some("eth9"))],
        memory: vec![Memory { node: 0, bytes: 1 << 30 }],
        hugepage_files: true,
        ..Subject::default()
    };
    let report = check(root, Sensors::none(), &subject);
    for finding in &report.findings {
        assert!(finding.evidence.iter().all(|evidence| !evidence.value.chars().any(char::is_control)), "{finding:?}");
    }
    std::hint::black_box((report.to_string(), Subject::host(root)));
    std::hint::black_box(Watch::new(root, subject).look(1));
    let path = fingerprint::Subject { hot_cpus: vec![2, 3], devices: vec![("feed".into(), "3b:00.0".into())] };
    std::hint::black_box(Fingerprint::read(root, &path));
    let Some(mappings) = maps::read(root, "90") else { return };
    let nodes = instance::nodes(&instance::lcores(root, "90"), &tickpath::host::check::cpu_nodes(root));
    let mut regions = instance::program(&mappings, "/opt/x", &nodes, &[]);
    regions.extend(instance::eal(&mappings));
    let report = look(90, host_nodes(root), &mappings, &regions, |_, _, _, _| Err(io::ErrorKind::Unsupported.into()));
    std::hint::black_box(report.to_string());
}
