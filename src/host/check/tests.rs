//! Hosts made of files: one that is perfectly tuned, and the same with each fault alone.

use super::script as script_of;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;

/// A host made of files.
pub(in crate::host) struct Tree(tempfile::TempDir);

pub(in crate::host) const CARD: &str = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";
const CPU: &str = "sys/devices/system/cpu";
const CMDLINE: &str = "BOOT_IMAGE=/vmlinuz isolcpus=managed_irq,domain,2-5 nohz_full=2-5 rcu_nocbs=2-5 irqaffinity=0-1,6-15 \
    intel_idle.max_cstate=0 processor.max_cstate=0 idle=poll transparent_hugepage=never numa_balancing=disable skew_tick=1 \
    nosoftlockup nmi_watchdog=0 audit=0 mce=ignore_ce tsc=reliable clocksource=tsc intel_iommu=on iommu=pt \
    default_hugepagesz=2M hugepages=0:1024";

const LIMITS: &str = "\
Max locked memory         unlimited            unlimited            bytes
Max realtime priority     10                   10                   
";

impl Tree {
    fn new() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Tree {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub fn remove(&self, path: &str) {
        let path = self.0.path().join(path);
        fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
    }

    /// A process of one thread.
    pub fn process(&self, pid: u32, name: &str, state: char, flags: u64, cpu: u32, allowed: &str) -> &Tree {
        let task = format!("proc/{pid}/task/{pid}");
        // proc_pid_stat(5): 9 flags, 39 processor.
        let stat = format!("{pid} ({name}) {state} 1 1 1 0 -1 {flags} {}{cpu} 0 0\n", "0 ".repeat(29));
        self.file(&format!("proc/{pid}/comm"), format!("{name}\n"))
            .file(&format!("{task}/stat"), stat)
            .file(&format!("{task}/status"), format!("Name:\t{name}\nCpus_allowed_list:\t{allowed}\n"))
    }

    fn look(&self, subject: &Subject) -> Report {
        check(self.0.path(), TUNED_LINKS, subject)
    }
}

const TUNED_LINKS: Sensors = Sensors {
    link: |_| LinkSettings {
        rx_ring: Some((4096, 4096)),
        rx_coalescing: Some((0, false)),
        can_stamp: Some(true),
        stamps: Some(true),
        firmware: None,
    },
    ef_vi: || None,
};

/// Two sockets of eight CPUs; CPUs 2 to 5 are the path's.
pub(in crate::host) fn tuned() -> Tree {
    let host = Tree::new();
    host.file("proc/cmdline", format!("{CMDLINE}\n"))
        .file(
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n",
        )
        .file("proc/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n")
        .file("proc/locks", "")
        .file("proc/self/limits", LIMITS)
        .file("proc/self/status", "CapEff:\t0000000000002000\n")
        .file("dev/kmsg", "6,1,0,-;Linux version 6.1\n")
        .file("dev/hugepages/.keep", "")
        .file(&format!("{CPU}/online"), "0-15\n")
        .file(&format!("{CPU}/isolated"), "2-5\n")
        .file(&format!("{CPU}/nohz_full"), "2-5\n")
        .file(&format!("{CPU}/intel_pstate/no_turbo"), "1\n")
        .file(&format!("{CPU}/vulnerabilities/meltdown"), "Not affected\n")
        .file("sys/devices/virtual/workqueue/cpumask", "ffc3\n")
        .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
        .file("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")
        .file("sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n")
        .file("sys/kernel/mm/ksm/run", "0\n")
        .file("proc/irq/default_smp_affinity", "ffc3\n")
        .file("proc/irq/0/smp_affinity_list", "0-15\n")
        .file("proc/irq/24/smp_affinity_list", "0-1\n")
        .file("proc/irq/24/effective_affinity_list", "1\n")
        .file("sys/kernel/irq/24/actions", "nvme0q0\n")
        .file("proc/irq/25/smp_affinity_list", "0-15\n")
        .file("sys/kernel/irq/25/actions", "\n")
        .file("proc/sys/vm/stat_interval", "120\n")
        .file("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        .file("proc/sys/kernel/sched_rt_period_us", "1000000\n")
        .file("proc/sys/kernel/sched_rt_runtime_us", "-1\n")
        .process(1, "systemd", 'S', 0x400100, 0, "0-1,6-15")
        .process(40, "migration/2", 'S', 0x0420_8040, 2, "2")
        // PF_NO_SETAFFINITY: it could run elsewhere, and nobody may send it there.
        .process(41, "kworker/u32:1", 'I', 0x0420_8060, 3, "0-15");
    for (name, value) in
        [("nmi_watchdog", "0"), ("soft_watchdog", "0"), ("watchdog_cpumask", "0-1,6-15"), ("numa_balancing", "0")]
    {
        host.file(&format!("proc/sys/kernel/{name}"), format!("{value}\n"));
    }
    for (node, cpus) in [(0, "0-7"), (1, "8-15")] {
        let node = format!("sys/devices/system/node/node{node}");
        host.file(&format!("{node}/cpulist"), format!("{cpus}\n"))
            .file(&format!("{node}/hugepages/hugepages-2048kB/nr_hugepages"), "1024\n")
            .file(&format!("{node}/hugepages/hugepages-2048kB/free_hugepages"), "1024\n");
    }
    for cpu in 2..=5 {
        let at = format!("{CPU}/cpu{cpu}");
        host.file(&format!("{at}/topology/thread_siblings_list"), format!("{cpu}\n"))
            .file(&format!("{at}/cpufreq/scaling_governor"), "performance\n")
            .file(&format!("{at}/cpufreq/scaling_cur_freq"), "2995000\n")
            .file(&format!("{at}/cpufreq/scaling_max_freq"), "3000000\n")
            .file(&format!("{at}/cpufreq/base_frequency"), "3000000\n")
            .file(&format!("sys/devices/system/machinecheck/machinecheck{cpu}/check_interval"), "0\n");
    }
    card(&host);
    host.file("sys/class/net/eth9/operstate", "up\n");
    host
}

/// A card on vfio-pci below a bridge that can do as much.
fn card(host: &Tree) {
    let bridge = CARD.rsplit_once('/').unwrap().0;
    for (name, value) in [("max_link_speed", "16.0 GT/s PCIe"), ("max_link_width", "16")] {
        host.file(&format!("{bridge}/{name}"), format!("{value}\n"));
    }
    for (name, value) in [
        ("class", "0x020000"),
        ("numa_node", "0"),
        ("current_link_speed", "16.0 GT/s PCIe"),
        ("max_link_speed", "16.0 GT/s PCIe"),
        ("current_link_width", "16"),
        ("max_link_width", "16"),
        ("link/l1_aspm", "0"),
    ] {
        host.file(&format!("{CARD}/{name}"), format!("{value}\n"));
    }
    host.file(&format!("{CARD}/config"), config(1, 2, 0))
        .file(&format!("{bridge}/config"), config(2, 2, 0))
        .link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/vfio-pci")
        .link(&format!("{CARD}/iommu_group"), "../../../../kernel/iommu_groups/17")
        .file("sys/kernel/iommu_groups/17/type", "DMA\n")
        .link("sys/bus/pci/devices/0000:3b:00.0", "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0");
}

/// Configuration space: payloads of 128 << `supported` possible, 128 << 1 in use, and so on.
fn config(supported: u16, read_request: u16, aspm: u8) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[0x34] = 0x40;
    bytes[0x40] = 0x10;
    bytes[0x44] = supported as u8;
    bytes[0x48..0x4a].copy_from_slice(&(1 << 5 | read_request << 12).to_le_bytes());
    bytes[0x50] = aspm;
    bytes
}

pub(in crate::host) fn subject() -> Subject {
    let port = |name: &str, device: &str, interface: Option<&str>| Port {
        name: name.into(),
        device: device.into(),
        interface: interface.map(Into::into),
        cpus: vec![2, 3],
    };
    Subject {
        pipeline: Some("p.json".into()),
        starting: true,
        running: false,
        hot_cpus: vec![2, 3, 4, 5],
        fifo: Some(Fifo { priority: 10, cpus: vec![3, 4] }),
        venues: vec![Venue { name: "nasdaq".into(), cpus: vec![2, 3, 4, 5] }],
        ports: vec![port("feed", "3b:00.0", None), port("orders", "net_af_packet0", Some("eth9"))],
        memory: vec![Memory { node: 0, bytes: 1 << 30 }],
        hugepage_files: true,
    }
}

/// CPU 3's queue of a disk, which came to each CPU so often.
fn idle_queue(host: &Tree, counts: &str) {
    host.file("proc/irq/31/smp_affinity_list", "3\n")
        .file("proc/irq/31/effective_affinity_list", "3\n")
        .file("sys/kernel/irq/31/actions", "nvme0q4\n")
        .file("sys/kernel/irq/31/per_cpu_count", format!("{counts}\n"));
}

/// A check's id, how bad, and what is done to the tuned host.
type Fault = (&'static str, Severity, fn(&Tree));

use Severity::{Error, Information, Warning};

const FAULTS: &[Fault] = &[
    ("cpu.isolated", Warning, |t| _ = t.file(&format!("{CPU}/isolated"), "2-3\n")),
    ("cpu.nohz_full", Warning, |t| _ = t.file(&format!("{CPU}/nohz_full"), "(null)\n")),
    ("cpu.rcu_nocbs", Warning, |t| {
        t.remove(&format!("{CPU}/nohz_full"));
        t.file("proc/cmdline", CMDLINE.replace("rcu_nocbs=2-5", ""));
    }),
    ("cpu.siblings", Error, |t| _ = t.file(&format!("{CPU}/cpu2/topology/thread_siblings_list"), "2-3\n")),
    ("cpu.siblings", Warning, |t| _ = t.file(&format!("{CPU}/cpu2/topology/thread_siblings_list"), "2,10\n")),
    ("cpu.nodes", Warning, |t| {
        t.file("sys/devices/system/node/node0/cpulist", "0-4,6-7")
            .file("sys/devices/system/node/node1/cpulist", "5,8-15");
    }),
    ("cpu.fifo_throttled", Warning, |t| _ = t.file("proc/sys/kernel/sched_rt_runtime_us", "950000\n")),
    ("cpu.processes", Warning, |t| _ = t.process(77, "noisy (x) y", 'R', 0, 3, "0-15")),
    ("cpu.processes", Warning, |t| _ = t.process(77, "pinned", 'S', 0, 3, "3")),
    ("cpu.kernel_threads", Warning, |t| _ = t.process(78, "kswapd0", 'S', 0x20_0000, 3, "0-15")),
    ("cpu.workqueues", Warning, |t| _ = t.file("sys/devices/virtual/workqueue/cpumask", "ffff\n")),
    ("power.idle_states", Warning, |t| {
        for (n, name, latency) in [(0, "POLL", 0), (1, "C1", 2), (2, "C6", 133)] {
            let state = format!("{CPU}/cpu4/cpuidle/state{n}");
            t.file(&format!("{state}/name"), name).file(&format!("{state}/latency"), latency.to_string());
            t.file(&format!("{state}/disable"), "0\n");
        }
    }),
    ("power.governor", Warning, |t| _ = t.file(&format!("{CPU}/cpu3/cpufreq/scaling_governor"), "powersave\n")),
    ("power.turbo", Information, |t| _ = t.file(&format!("{CPU}/intel_pstate/no_turbo"), "0\n")),
    ("power.frequency", Warning, |t| _ = t.file(&format!("{CPU}/cpu3/cpufreq/scaling_cur_freq"), "1200000\n")),
    ("power.virtual", Information, |t| {
        t.file("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : tsc constant_tsc nonstop_tsc hypervisor\n");
    }),
    ("irq.delivered", Warning, |t| {
        t.file("proc/irq/24/smp_affinity_list", "0-3").file("proc/irq/24/effective_affinity_list", "3");
    }),
    ("irq.delivered", Warning, |t| idle_queue(t, "0,0,0,5,0,0")),
    ("irq.delivered", Information, |t| idle_queue(t, "9,9,0,0,0,0")),
    ("irq.allowed", Information, |t| _ = t.file("proc/irq/24/smp_affinity_list", "0-3\n")),
    ("irq.default", Information, |t| _ = t.file("proc/irq/default_smp_affinity", "ffff\n")),
    ("irq.irqbalance", Warning, |t| _ = t.process(90, "irqbalance", 'S', 0, 0, "0-1")),
    ("irq.irqbalance_enabled", Warning, |t| {
        t.link(
            "etc/systemd/system/multi-user.target.wants/irqbalance.service",
            "/lib/systemd/system/irqbalance.service",
        );
    }),
    ("kernel.nmi_watchdog", Warning, |t| {
        t.file("proc/sys/kernel/nmi_watchdog", "1\n").file("proc/sys/kernel/watchdog_cpumask", "0-15\n");
    }),
    ("kernel.soft_watchdog", Warning, |t| {
        t.file("proc/sys/kernel/soft_watchdog", "1\n").file("proc/sys/kernel/watchdog_cpumask", "0-15\n");
    }),
    ("kernel.stat_interval", Information, |t| _ = t.file("proc/sys/vm/stat_interval", "1\n")),
    ("kernel.machine_check", Information, |t| {
        t.file("sys/devices/system/machinecheck/machinecheck3/check_interval", "12c\n");
    }),
    ("kernel.skew_tick", Information, |t| _ = t.file("proc/cmdline", CMDLINE.replace("skew_tick=1", ""))),
    ("kernel.audit", Warning, |t| {
        t.file("proc/cmdline", CMDLINE.replace("audit=0", "")).process(91, "auditd", 'S', 0, 0, "0-1");
    }),
    ("kernel.mitigations", Information, |t| {
        _ = t.file(&format!("{CPU}/vulnerabilities/meltdown"), "Mitigation: PTI\n")
    }),
    ("memory.hugepages", Error, |t| {
        t.file("sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "511\n");
    }),
    ("memory.hugepages_at_boot", Information, |t| _ = t.file("proc/cmdline", CMDLINE.replace("hugepages=0:1024", ""))),
    ("memory.hugetlbfs", Error, |t| _ = t.file("proc/mounts", "tmpfs /dev/shm tmpfs rw 0 0\n")),
    ("memory.leftovers", Warning, |t| _ = t.file("dev/hugepages/rtemap_0", "")),
    ("memory.thp", Warning, |t| _ = t.file("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")),
    ("memory.thp_defrag", Warning, |t| {
        t.file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        t.file("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer never\n");
    }),
    ("memory.numa_balancing", Warning, |t| _ = t.file("proc/sys/kernel/numa_balancing", "1\n")),
    ("memory.ksm", Warning, |t| _ = t.file("sys/kernel/mm/ksm/run", "1\n")),
    ("clock.tsc_flags", Error, |t| _ = t.file("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : tsc constant_tsc\n")),
    ("clock.unstable", Error, |t| {
        t.file("dev/kmsg", "4,9,9,-;tsc: Marking TSC unstable due to clocksource watchdog\n");
        t.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
    }),
    ("clock.source", Error, |t| {
        t.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
    }),
    ("clock.source", Information, |t| {
        t.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n");
    }),
    ("clock.phc", Information, |t| _ = t.file("sys/class/net/eth9/device/ptp/ptp0/clock_name", "x\n")),
    ("nic.present", Error, |t| t.remove("sys/bus/pci/devices/0000:3b:00.0")),
    ("nic.driver", Error, |t| {
        t.link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/ixgbe")
            .file("sys/kernel/iommu_groups/17/type", "identity\n");
    }),
    ("nic.node", Error, |t| _ = t.file(&format!("{CARD}/numa_node"), "1\n")),
    ("nic.node", Information, |t| _ = t.file(&format!("{CARD}/numa_node"), "-1\n")),
    ("nic.link", Error, |t| _ = t.file(&format!("{CARD}/current_link_speed"), "2.5 GT/s PCIe\n")),
    ("nic.link", Error, |t| _ = t.file(&format!("{CARD}/current_link_width"), "4\n")),
    ("nic.link", Warning, |t| {
        t.file(&format!("{CARD}/current_link_width"), "8\n");
        t.file(&format!("{}/max_link_width", CARD.rsplit_once('/').unwrap().0), "8\n");
    }),
    ("nic.payload", Information, |t| _ = t.file(&format!("{CARD}/config"), config(1, 0, 0))),
    ("nic.aspm", Warning, |t| _ = t.file(&format!("{CARD}/link/l1_aspm"), "1\n")),
    ("nic.iommu", Error, |t| t.remove(&format!("{CARD}/iommu_group"))),
    ("nic.iommu", Warning, |t| _ = t.link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/mlx5_core")),
    ("port.interface", Error, |t| t.remove("sys/class/net/eth9")),
    ("port.interface", Error, |t| _ = t.file("sys/class/net/eth9/operstate", "down\n")),
    ("rights.memlock", Error, |t| _ = t.file("proc/self/limits", LIMITS.replacen("unlimited", "8388608", 1))),
    ("rights.fifo", Error, |t| _ = t.file("proc/self/limits", LIMITS.replacen("10", "9", 1))),
    ("rights.capabilities", Error, |t| _ = t.file("proc/self/status", "CapEff:\t0000000000000000\n")),
    ("tuned.cores", Warning, |t| {
        t.file("etc/tuned/active_profile", "cpu-partitioning\n");
        t.file("etc/tuned/cpu-partitioning-variables.conf", "# isolated_cores=2-5\nisolated_cores=2-3\n");
    }),
];

fn told(report: &Report) -> Vec<(&'static str, Severity)> {
    report.findings.iter().map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn a_tuned_host_has_no_finding_and_everything_of_it_is_readable() {
    let report = tuned().look(&subject());
    assert_eq!(told(&report), [], "{report}");
    assert_eq!(report.unread, []);
    assert_eq!(report.boot.unwrap().missing, Vec::<String>::new());
    assert_eq!(report.tuned, Tuned::default());
}

#[test]
fn each_fault_alone_is_found_and_nothing_else() {
    for (id, severity, harm) in FAULTS {
        let host = tuned();
        harm(&host);
        let report = host.look(&subject());
        assert_eq!(told(&report), [(*id, *severity)], "{report}");
        let finding = &report.findings[0];
        assert!(!finding.evidence.is_empty() && finding.why.contains("ns") || finding.why.contains("no order"), "{id}");
        assert!(finding.until_reboot.is_some() || finding.permanent.is_some() || *id == "power.virtual", "{id}");
    }
}

#[test]
fn settings_of_an_interface_are_judged() {
    let look = |link| check(tuned().0.path(), Sensors { link, ..TUNED_LINKS }, &subject());
    let ring = look(|_| LinkSettings { rx_ring: Some((512, 4096)), ..LinkSettings::default() });
    assert_eq!(told(&ring), [("port.ring", Information)]);
    let slow = look(|_| LinkSettings { rx_coalescing: Some((50, false)), ..LinkSettings::default() });
    assert_eq!(told(&slow), [("port.coalescing", Warning)]);
    let blind = look(|_| LinkSettings { can_stamp: Some(true), stamps: Some(false), ..LinkSettings::default() });
    assert_eq!(told(&blind), [("port.stamps", Information)]);
}

#[test]
fn a_card_that_the_kernel_keeps_is_judged_by_its_interface() {
    let host = tuned();
    host.link("sys/class/net/eth9/device", &format!("../../../{}", CARD.strip_prefix("sys/").unwrap()))
        .link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/ixgbe")
        .file("sys/kernel/iommu_groups/17/type", "identity\n");
    let mut kept = subject();
    kept.ports.remove(0);
    let look = || told(&check(host.path(), Sensors::none(), &kept));
    assert_eq!(look(), [], "its driver is the kernel's to choose");
    host.file(&format!("{CARD}/current_link_width"), "8\n");
    assert_eq!(look(), [("nic.link", Error)]);
    host.file(&format!("{CARD}/current_link_width"), "16\n").file(&format!("{CARD}/numa_node"), "1\n");
    assert_eq!(look(), [("nic.node", Error)]);
}

#[test]
fn ports_on_ef_vi_need_their_device_and_are_told_of_their_firmware() {
    let host = tuned();
    let mut on_efvi = subject();
    on_efvi.ports[1] = Port { device: "eth9".into(), interface: Some("eth9".into()), ..on_efvi.ports[1].clone() };
    let look = |link| told(&check(host.path(), Sensors { link, ..TUNED_LINKS }, &on_efvi));
    let quick = |_: &str| LinkSettings { firmware: Some((1, 1)), ..LinkSettings::default() };
    assert_eq!(look(quick), [("efvi.device", Error)]);
    host.file("dev/sfc_char", "");
    assert_eq!(look(quick), []);
    let full = |_: &str| LinkSettings { firmware: Some((0, 1)), ..LinkSettings::default() };
    assert_eq!(look(full), [("efvi.firmware", Information)]);
    // What the kernel would do with its packets, and may do for this process, is of no concern.
    host.file("proc/self/status", "CapEff:\t0000000000000000\n");
    assert_eq!(look(|_| LinkSettings { rx_ring: Some((512, 4096)), ..LinkSettings::default() }), []);
}

#[test]
fn ports_on_ef_vi_need_drivers_of_their_librarys_release_and_frames_in_hugepages() {
    let host = tuned();
    host.file("dev/sfc_char", "");
    let mut on_efvi = subject();
    let eth9 = Port { device: "eth9".into(), interface: Some("eth9".into()), ..on_efvi.ports[1].clone() };
    on_efvi.ports[1] = eth9.clone();
    let look = |subject: &Subject, ef_vi| check(host.path(), Sensors { ef_vi, ..TUNED_LINKS }, subject);
    const RELEASE: fn() -> Option<String> = || Some("9.2.1.14 ".into());
    const OWN: fn() -> Option<String> = || Some("24d0c2a7 2026-07-24 v9_2 ".into());
    let unread = look(&on_efvi, RELEASE);
    assert_eq!((told(&unread), unread.unread[0].id), (vec![], "efvi.release"));
    for (drivers, ef_vi, found) in [
        ("9.2.1.14", RELEASE, None),
        ("9.2.0.7", RELEASE, Some(Warning)),
        ("9.1.0.3", RELEASE, Some(Error)),
        ("v9_2", OWN, Some(Warning)),
        ("8.1.3.40", OWN, Some(Error)),
        ("24d0c2a7 2026-07-24 v9_2", OWN, None),
        ("local", OWN, Some(Warning)),
    ] {
        host.file("sys/module/onload/version", format!("{drivers}\n"));
        let report = look(&on_efvi, ef_vi);
        assert_eq!(told(&report), Vec::from_iter(found.map(|severity| ("efvi.release", severity))), "{report}");
        // A program without the library opens no such port, and a host without such a port has nothing to fit.
        assert_eq!((told(&look(&on_efvi, || None)), told(&look(&subject(), ef_vi))), (vec![], vec![]));
    }
    host.file("sys/module/onload/version", "9.2.1.14\n").file("proc/sys/vm/nr_hugepages", "0\n");
    // No port of DPDK, which would have it refused.
    on_efvi.ports = vec![eth9];
    assert_eq!(told(&look(&on_efvi, RELEASE)), []);
    on_efvi.memory.clear();
    assert_eq!(told(&look(&on_efvi, RELEASE)), [("efvi.hugepages", Warning)]);
}

#[test]
fn every_check_has_a_fault_that_shows_it() {
    let shown: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.0).collect();
    let elsewhere = BTreeSet::from([
        "port.ring",
        "port.coalescing",
        "port.stamps",
        "nic.sfc_char",
        "efvi.device",
        "efvi.release",
        "efvi.hugepages",
        "efvi.firmware",
    ]);
    let all: BTreeSet<&str> = ids().map(|(id, _)| id).collect();
    assert_eq!(&shown | &elsewhere, all);
}

#[test]
fn irqbalance_is_an_error_where_nothing_spares_the_hot_cpus() {
    let host = laptop();
    let of = |host: &Tree| told(&host.look(&laptop_subject())).into_iter().find(|(id, _)| id.starts_with("irq.irqb"));
    assert_eq!(of(&host), Some(("irq.irqbalance", Error)));
    for ban in ["IRQBALANCE_BANNED_CPULIST=1", "IRQBALANCE_BANNED_CPUS=\"00000002\""] {
        host.file("etc/default/irqbalance", format!("# settings\n{ban}\n"));
        assert_eq!(of(&host), None, "{ban}");
    }
}

#[test]
fn a_tsc_that_is_in_doubt_is_not_to_be_declared_reliable() {
    let line = |host: &Tree| host.look(&subject()).boot.unwrap().line;
    assert!(line(&tuned()).contains("tsc=reliable clocksource=tsc"));
    for (id, _, harm) in FAULTS.iter().filter(|fault| matches!(fault.0, "clock.tsc_flags" | "clock.unstable")) {
        let host = tuned();
        harm(&host);
        assert!(!line(&host).contains("tsc"), "{id}");
    }
}

#[test]
fn what_a_port_needs_of_the_kernel_is_missed_by_name() {
    let host = tuned();
    let lacks = |starts: &Subject, capabilities: u64| {
        host.file("proc/self/status", format!("CapEff:\t{capabilities:016x}\n"));
        let found = host.look(starts).findings.into_iter().find(|finding| finding.id == "rights.capabilities");
        found.and_then(|finding| finding.permanent)
    };
    let named = |names: &str| Some(format!("AmbientCapabilities={names} in the unit of systemd"));
    // capabilities(7): CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_SYS_ADMIN 21, CAP_BPF 39.
    let mut card = subject();
    card.ports.truncate(1);
    assert_eq!(lacks(&card, 0), None);
    host.link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/mlx5_core");
    assert_eq!(lacks(&card, 0), named("CAP_NET_RAW"));
    assert_eq!(lacks(&card, 1 << 13), None);
    let mut xdp = subject();
    xdp.ports[1].device = "net_af_xdp0".into();
    assert_eq!(lacks(&xdp, 1 << 13), named("CAP_NET_ADMIN CAP_BPF"));
    assert_eq!(lacks(&xdp, 1 << 12 | 1 << 13 | 1 << 39), None);
    assert_eq!(lacks(&xdp, 1 << 12 | 1 << 13 | 1 << 21), None);
    host.file("proc/sys/kernel/cap_last_cap", "37\n");
    assert_eq!(lacks(&xdp, 1 << 12 | 1 << 13), named("CAP_SYS_ADMIN"));
}

#[test]
fn lcores_under_fifo_are_not_said_to_be_stopped_by_a_kernel_that_does_not_stop_them() {
    let host = tuned();
    let runtime = "proc/sys/kernel/sched_rt_runtime_us";
    host.file(runtime, "900000\n");
    let found = &host.look(&subject()).findings[0].found;
    assert!(found.contains("CPUs 3-4 are stopped for 100000 µs of every 1000000"), "{found}");
    host.file("proc/sys/kernel/osrelease", "6.12.3\n");
    assert_eq!(told(&host.look(&subject())), []);
    host.file("proc/sys/kernel/osrelease", "5.15.0-91-generic\n").file(runtime, "1000000\n");
    assert_eq!(told(&host.look(&subject())), []);
    // capabilities(7): CAP_SYS_NICE is 23.
    host.file("proc/self/limits", LIMITS.replacen("10", "0", 1))
        .file("proc/self/status", "CapEff:\t0000000000802000\n");
    assert_eq!(told(&host.look(&subject())), []);
}

#[test]
fn irqbalance_that_is_masked_does_not_come_back() {
    let host = tuned();
    host.link(
        "etc/systemd/system/multi-user.target.wants/irqbalance.service",
        "/lib/systemd/system/irqbalance.service",
    )
    .link("etc/systemd/system/irqbalance.service", "/dev/null");
    assert_eq!(told(&host.look(&subject())), []);
}

/// Four cores of two threads, as a distribution leaves them; CPU 1 is to be hot.
fn laptop() -> Tree {
    let host = tuned();
    host.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet splash\n")
        .file(&format!("{CPU}/online"), "0-7\n")
        .file(&format!("{CPU}/isolated"), "\n")
        .file(&format!("{CPU}/nohz_full"), "(null)\n")
        .file(&format!("{CPU}/intel_pstate/no_turbo"), "0\n")
        .file(&format!("{CPU}/vulnerabilities/meltdown"), "Mitigation: PTI\n")
        .file(&format!("{CPU}/cpu1/topology/thread_siblings_list"), "1,5\n")
        .file(&format!("{CPU}/cpu1/cpufreq/scaling_governor"), "powersave\n")
        .file(&format!("{CPU}/cpu1/cpufreq/scaling_cur_freq"), "800000\n")
        .file(&format!("{CPU}/cpu1/cpufreq/base_frequency"), "1900000\n")
        .file(&format!("{CPU}/cpu1/cpuidle/state3/latency"), "1048\n")
        .file(&format!("{CPU}/cpu1/cpuidle/state3/name"), "C10\n")
        .file("sys/devices/virtual/workqueue/cpumask", "ff\n")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
        .file("proc/irq/default_smp_affinity", "ff\n")
        .file("proc/irq/24/smp_affinity_list", "0-7\n")
        .file("proc/irq/24/effective_affinity_list", "0\n")
        .file("proc/sys/vm/stat_interval", "1\n")
        .file("proc/sys/kernel/nmi_watchdog", "1\n")
        .file("proc/sys/kernel/soft_watchdog", "1\n")
        .file("proc/sys/kernel/watchdog_cpumask", "0-7\n")
        .file("sys/devices/system/machinecheck/machinecheck1/check_interval", "12c\n")
        .file("sys/devices/system/node/node0/cpulist", "0-7\n")
        .process(500, "irqbalance", 'S', 0, 0, "0-7")
        .process(501, "firefox", 'R', 0, 1, "0-7");
    host.remove("sys/devices/system/node/node1");
    host
}

fn laptop_subject() -> Subject {
    Subject { pipeline: Some("p.json".into()), hot_cpus: vec![1], ..Subject::default() }
}

#[test]
fn an_untuned_laptop_is_told_each_fact_once() {
    let report = laptop().look(&laptop_subject());
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.id).collect();
    let expected = [
        "irq.irqbalance",
        "cpu.isolated",
        "cpu.nohz_full",
        "cpu.siblings",
        "cpu.workqueues",
        "power.idle_states",
        "power.governor",
        "kernel.nmi_watchdog",
        "kernel.soft_watchdog",
        "power.turbo",
        "irq.allowed",
        "irq.default",
        "kernel.stat_interval",
        "kernel.machine_check",
        "kernel.mitigations",
    ];
    assert_eq!(found, expected, "{report}");
    let line = report.boot.unwrap().line;
    assert!(line.starts_with("isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1 irqaffinity=0,2-7 "), "{line}");
    // cpu-partitioning includes network-latency.
    let settles = |profile| report.tuned.settles[&profile].iter().copied().collect::<Vec<_>>();
    let latency = ["kernel.nmi_watchdog", "kernel.stat_interval", "power.governor", "power.idle_states"];
    assert_eq!(settles(Profile::NetworkLatency), latency);
    assert!(settles(Profile::CpuPartitioning).contains(&"cpu.nohz_full"));
    assert!(settles(Profile::CpuPartitioning).contains(&"power.governor"));
}

#[test]
fn a_virtual_machine_is_not_blamed_for_what_it_cannot_show() {
    let host = tuned();
    host.file("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : tsc constant_tsc nonstop_tsc hypervisor\n");
    for gone in ["cpu2/cpufreq", "cpu3/cpufreq", "cpu4/cpufreq", "cpu5/cpufreq", "intel_pstate"] {
        host.remove(&format!("{CPU}/{gone}"));
    }
    for gone in ["current_link_speed", "config", "link"] {
        host.remove(&format!("{CARD}/{gone}"));
    }
    let report = host.look(&subject());
    assert_eq!(told(&report), [("power.virtual", Information)], "{report}");
    let unread: Vec<&str> = report.unread.iter().map(|unread| unread.id).collect();
    assert_eq!(unread, ["power.governor", "power.turbo", "power.frequency"]);
    assert!(report.to_string().contains("not readable here:\n  power.governor"), "{report}");
}

#[test]
fn a_socket_of_several_nodes_is_judged_by_its_nodes() {
    // An EPYC with NPS4: sixteen CPUs on four nodes; the card is on the second.
    let host = tuned();
    for (node, cpus) in [(0, "0-3"), (1, "4-7"), (2, "8-11"), (3, "12-15")] {
        host.file(&format!("sys/devices/system/node/node{node}/cpulist"), cpus);
    }
    host.file("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : tsc constant_tsc nonstop_tsc\n");
    host.file(&format!("{CARD}/numa_node"), "1\n");
    let found = told(&host.look(&subject()));
    assert_eq!(found, [("nic.node", Error), ("cpu.nodes", Warning)]);
}

#[test]
fn a_container_that_shows_little_gets_little_said() {
    let host = Tree::new();
    host.file("proc/1/comm", "app\n").file("proc/cpuinfo", "flags : tsc constant_tsc nonstop_tsc\n");
    let report = host.look(&subject());
    assert_eq!(told(&report), [], "{report}");
    assert!(report.unread.iter().any(|unread| unread.id == "cpu.isolated"));
    assert_eq!(report.worst(), None);
}

#[test]
fn without_a_pipeline_the_isolated_cpus_and_every_card_are_judged_and_cards_inform() {
    let host = tuned();
    host.file(&format!("{CARD}/current_link_width"), "4\n");
    let subject = Subject::host(host.0.path());
    assert_eq!(subject.hot_cpus, [2, 3, 4, 5]);
    assert_eq!(subject.ports.len(), 1);
    assert_eq!(told(&host.look(&subject)), [("nic.link", Information)]);
    host.file(&format!("{CARD}/current_link_width"), "16\n");
    host.link(&format!("{CARD}/driver"), "../../../../bus/pci/drivers/sfc");
    host.file("sys/kernel/iommu_groups/17/type", "identity\n");
    assert_eq!(told(&host.look(&subject)), [("nic.sfc_char", Information)]);
}

#[test]
fn a_report_is_text_and_json_with_evidence_and_both_remedies() {
    let host = tuned();
    host.file("sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "12\n");
    let report = host.look(&subject());
    let text = report.to_string();
    let nodes = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB";
    // 1 GiB are 512 pages of 2 MB; 12 are free and 1012 in use.
    for part in [
        "error       memory.hugepages         node 0: 24 MiB of hugepages are free, and the plan needs 1024\n"
            .to_owned(),
        format!("read      {nodes}/free_hugepages: 12\n"),
        format!("now       echo 1524 | sudo tee {nodes}/nr_hugepages\n"),
        "for good  kernel parameter hugepages=0:1524".to_owned(),
        "1 error, 0 warnings, 0 for information\n".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is not in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["id"], "memory.hugepages");
    assert_eq!(json["findings"][0]["severity"], "error");
    assert_eq!(json["findings"][0]["evidence"][0]["value"], "12");
    assert_eq!(json["subject"]["hot_cpus"], serde_json::json!([2, 3, 4, 5]));
    assert_eq!(report.worst(), Some(Error));
    let brief = report.brief();
    assert!(brief.starts_with("error: memory.hugepages: node 0: 24 MiB"), "{brief}");
    assert_eq!(tuned().look(&subject()).brief(), "");
}

#[test]
fn hugepage_files_that_a_living_program_has_locked_are_no_leftovers() {
    use std::os::unix::fs::MetadataExt;
    let host = tuned();
    host.file("dev/hugepages/rtemap_0", "");
    let inode = fs::metadata(host.0.path().join("dev/hugepages/rtemap_0")).unwrap().ino();
    host.file("proc/locks", format!("1: FLOCK  ADVISORY  READ 4242 00:2a:{inode} 0 EOF\n"));
    assert_eq!(told(&host.look(&subject())), []);
}

/// What the kernel does by itself when these files are written.
fn as_the_kernel_shows(host: &Tree) {
    let text = |path: &str| fs::read_to_string(host.path().join(path)).unwrap_or_default();
    for choice in ["enabled", "defrag"].map(|name| format!("sys/kernel/mm/transparent_hugepage/{name}")) {
        let chosen = text(&choice);
        if !chosen.contains('[') {
            host.file(&choice, format!("[{}]", chosen.trim()));
        }
    }
    for irq in [24, 31] {
        let allowed = text(&format!("proc/irq/{irq}/smp_affinity_list"));
        if !allowed.is_empty() {
            host.file(&format!("proc/irq/{irq}/effective_affinity_list"), allowed.split([',', '-']).next().unwrap());
        }
    }
    if text(&format!("{CPU}/cpu10/online")) == "0\n" {
        host.file(&format!("{CPU}/online"), "0-9,11-15\n");
        host.file(&format!("{CPU}/cpu2/topology/thread_siblings_list"), "2\n");
    }
    let pages = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
    host.file(&format!("{pages}/free_hugepages"), text(&format!("{pages}/nr_hugepages")));
}

#[test]
fn what_the_script_of_a_plan_has_set_is_found_to_be_right() {
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), script_of(&subject()).unwrap()).unwrap();
    let run = |host: &Tree| {
        let mut bash = std::process::Command::new("bash");
        let output = bash.arg(script.path()).env("HOST_ROOT", host.path()).env_remove("STATE").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let settled = [
        "cpu.workqueues",
        "power.idle_states",
        "power.governor",
        "irq.delivered",
        "irq.allowed",
        "irq.default",
        "kernel.nmi_watchdog",
        "kernel.soft_watchdog",
        "kernel.stat_interval",
        "kernel.machine_check",
        "memory.thp",
        "memory.thp_defrag",
        "memory.numa_balancing",
        "memory.ksm",
    ];
    let few_pages: Fault = ("memory.hugepages", Error, |t| {
        let pages = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
        t.file(&format!("{pages}/nr_hugepages"), "16\n").file(&format!("{pages}/free_hugepages"), "16\n");
    });
    let sibling: Fault = ("cpu.siblings", Warning, |t| {
        t.file(&format!("{CPU}/cpu2/topology/thread_siblings_list"), "2,10\n")
            .file(&format!("{CPU}/cpu10/online"), "1\n");
    });
    let faults = FAULTS.iter().filter(|fault| settled.contains(&fault.0)).chain([&few_pages, &sibling]);
    let faults: Vec<&Fault> = faults.collect();
    assert!(settled.iter().all(|id| faults.iter().any(|fault| fault.0 == *id)));
    let untuned = tuned();
    for (id, _, harm) in faults {
        let host = tuned();
        harm(&host);
        harm(&untuned);
        assert!(run(&host).contains(" -> "), "{id}");
        as_the_kernel_shows(&host);
        assert_eq!(told(&host.look(&subject())), [], "{id}");
        assert!(!run(&host).contains(" -> "), "{id} is set twice");
    }
    assert!(told(&untuned.look(&subject())).len() >= 12, "all of them at once");
    run(&untuned);
    as_the_kernel_shows(&untuned);
    assert_eq!(told(&untuned.look(&subject())), []);
}

#[test]
fn this_host_is_checked_without_a_word_about_what_it_does_not_show() {
    let hot_cpus = vec![0];
    let subject = Subject { pipeline: Some("p.json".into()), hot_cpus, ..Subject::default() };
    let report = check(Path::new("/"), Sensors::here(), &subject);
    let known: BTreeSet<&str> = ids().map(|(id, _)| id).collect();
    for finding in &report.findings {
        assert!(known.contains(finding.id) && !finding.found.contains('\n'), "{report}");
    }
    let frequencies = Path::new("/sys/devices/system/cpu/cpu0/cpufreq").exists();
    assert!(frequencies || report.findings.iter().all(|finding| finding.id != "power.governor"), "{report}");
    println!("{report}");
}

#[test]
fn the_documentation_names_every_check_once() {
    let text = include_str!("../../../docs/check.md");
    let mut documented: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|row| row.0)).collect();
    let mut known: Vec<&str> = ids().map(|(id, _)| id).collect();
    for check in all() {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}` |", check.id))).unwrap_or_default();
        assert_eq!(row.contains(" | yes | "), check.again != Again::Never, "{row}");
    }
    // Those of a process, not of the host.
    documented.retain(|id| !id.starts_with("placement."));
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
}

proptest! {
    // Each case writes some hundred files.
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_content_of_any_file_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        words in "[0-9a-fx,;:N() \n-]{0,40}",
        turn in 0usize..1000,
    ) {
        let hostile: [&[u8]; 10] = [
            &bytes, words.as_bytes(), b"", b"18446744073709551615", b"-9223372036854775808", b"0-8191", b"4294967295-0", b"[", b"1 () R 1",
            b"=0x,-",
        ];
        // The same in every file, then something else in each.
        for mixed in [false, true] {
            let host = tuned();
            for (at, file) in files(host.path()).iter().enumerate() {
                let content = hostile[if mixed { (at * 7 + turn) % hostile.len() } else { turn % 2 }];
                fs::write(file, content).unwrap();
                // A folder where a file is expected.
                if mixed && at % 23 == turn % 23 {
                    fs::remove_file(file).unwrap();
                    fs::create_dir(file).unwrap();
                }
            }
            let report = host.look(&subject());
            for finding in &report.findings {
                prop_assert!(finding.evidence.iter().all(|e| !e.value.chars().any(char::is_control)));
            }
            prop_assert!(report.to_string().lines().count() > report.findings.len());
            crate::host::watch::Watch::new(host.path(), subject()).look(1);
            Subject::host(host.path());
        }
    }
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    files
}
