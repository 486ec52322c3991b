//! A host made of files on which nothing is wrong, for tests of what is said when something goes wrong.

#![allow(dead_code)]

use std::path::Path;

/// The address of its card.
pub const CARD: &str = "0000:3b:00.0";

const CPU1: &str = "sys/devices/system/cpu/cpu1";
const NODE: &str = "sys/devices/system/node/node0";
const SLOT: &str = "sys/devices/pci0000:3a/0000:3a:00.0";

/// Replace a file under `root` as a whole, as the kernel's files change.
pub fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Four CPUs, of which CPU 1 is the path's, a node with 2 GiB of hugepages, and a card for DPDK.
pub fn tuned(root: &Path) {
    let cpu1 = |file: &str| format!("{CPU1}/{file}");
    let pages = |file: &str| format!("{NODE}/hugepages/hugepages-2048kB/{file}");
    let slot = |file: &str| format!("{SLOT}/{file}");
    let card = |file: &str| format!("{SLOT}/{CARD}/{file}");
    for (path, content) in [
        ("proc/cmdline".into(), "isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1 hugepages=0:1024"),
        ("proc/cpuinfo".into(), "processor : 0\nvendor_id : GenuineIntel\nflags : tsc constant_tsc nonstop_tsc"),
        ("proc/meminfo".into(), "MemTotal: 67108864 kB\nMemAvailable: 67108864 kB"),
        ("proc/mounts".into(), "hugetlbfs /dev/hugepages hugetlbfs rw 0 0"),
        ("proc/locks".into(), ""),
        ("proc/self/limits".into(), "Max locked memory         unlimited            unlimited            bytes"),
        ("proc/self/status".into(), "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3"),
        ("proc/1/comm".into(), "systemd"),
        ("proc/irq/default_smp_affinity".into(), "d"),
        ("proc/irq/24/smp_affinity_list".into(), "0"),
        ("proc/irq/24/effective_affinity_list".into(), "0"),
        ("proc/sys/vm/stat_interval".into(), "120"),
        ("proc/sys/kernel/nmi_watchdog".into(), "0"),
        ("proc/sys/kernel/soft_watchdog".into(), "0"),
        ("proc/sys/kernel/watchdog_cpumask".into(), "0,2-3"),
        ("proc/sys/kernel/numa_balancing".into(), "0"),
        ("dev/kmsg".into(), "6,1,0,-;Linux version 6.1"),
        ("dev/hugepages/.keep".into(), ""),
        ("sys/devices/system/cpu/online".into(), "0-3"),
        ("sys/devices/system/cpu/isolated".into(), "1"),
        ("sys/devices/system/cpu/nohz_full".into(), "1"),
        ("sys/devices/virtual/workqueue/cpumask".into(), "d"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource".into(), "tsc"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource".into(), "tsc hpet acpi_pm"),
        ("sys/kernel/mm/transparent_hugepage/enabled".into(), "always madvise [never]"),
        ("sys/kernel/mm/transparent_hugepage/defrag".into(), "always defer [madvise] never"),
        ("sys/kernel/mm/ksm/run".into(), "0"),
        (cpu1("topology/thread_siblings_list"), "1"),
        (cpu1("cpufreq/scaling_governor"), "performance"),
        (cpu1("cpufreq/scaling_cur_freq"), "3000000"),
        (cpu1("cpufreq/base_frequency"), "3000000"),
        (format!("{NODE}/cpulist"), "0-3"),
        (pages("nr_hugepages"), "1024"),
        (pages("free_hugepages"), "1024"),
        (slot("max_link_speed"), "16.0 GT/s PCIe"),
        (slot("max_link_width"), "16"),
        (card("class"), "0x020000"),
        (card("numa_node"), "0"),
        (card("current_link_speed"), "16.0 GT/s PCIe"),
        (card("max_link_speed"), "16.0 GT/s PCIe"),
        (card("current_link_width"), "16"),
        (card("max_link_width"), "16"),
        (card("link/l1_aspm"), "0"),
    ] {
        write(root, &path, &format!("{content}\n"));
    }
    for (link, target) in [
        (card("driver"), "../../../../bus/pci/drivers/vfio-pci"),
        (card("iommu_group"), "../../../../kernel/iommu_groups/17"),
        (format!("sys/bus/pci/devices/{CARD}"), &format!("../../../devices/pci0000:3a/0000:3a:00.0/{CARD}")),
    ] {
        let link = root.join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        // It is there already when a fault is mended.
        let _ = std::os::unix::fs::symlink(target, link);
    }
}
