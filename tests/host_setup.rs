//! dpdk-config/host-setup on a host made of files: it says what it would do, does it once, and takes it back.
#![cfg(feature = "dpdk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [(&str, &str, &str); 14] = [
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "16", "600"),
    ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "512", "512"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never", "never"),
    ("proc/sys/kernel/numa_balancing", "1", "0"),
    ("proc/sys/vm/stat_interval", "1", "120"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", "performance"),
    ("sys/devices/system/cpu/cpu3/cpuidle/state1/disable", "0", "0"),
    ("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0", "1"),
    ("sys/devices/system/machinecheck/machinecheck3/check_interval", "12c", "0"),
    ("sys/devices/virtual/workqueue/cpumask", "00ff,ffffff83", "00ff,ffffff83"),
    ("proc/irq/default_smp_affinity", "ff,ffffffff", "ff,ffffff83"),
    (
        "proc/irq/24/smp_affinity_list",
        "0-39",
        "0,1,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39",
    ),
    ("proc/irq/25/smp_affinity_list", "0-1", "0-1"),
    ("sys/devices/system/cpu/online", "0-39", "0-39"),
];

fn setup(root: &Path, args: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dpdk-config/host-setup");
    Command::new(script).env("HOST_ROOT", root).env_remove("STATE").args(args).output().unwrap()
}

fn values(root: &Path) -> BTreeMap<&'static str, String> {
    let value = |file: &str| fs::read_to_string(root.join(file)).unwrap().trim().to_owned();
    FILES.iter().map(|(file, ..)| (*file, value(file))).collect()
}

#[test]
fn a_host_is_set_up_once_and_put_back() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    for (file, before, _) in FILES {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), format!("{before}\n")).unwrap();
    }
    for (state, us) in [("state1", "2"), ("state2", "133")] {
        fs::write(root.join(format!("sys/devices/system/cpu/cpu3/cpuidle/{state}/latency")), us).unwrap();
    }
    let before = values(root);
    let asked = ["--cpus", "2-6", "--hugepages", "0:600", "--hugepages", "1:40"];
    let run = |more: &[&str]| {
        let output = setup(root, &[&asked[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = run(&["--dry-run"]);
    assert!(told.contains("nr_hugepages: 16 -> 600\n") && !told.contains("node1"), "{told}");
    assert_eq!(values(root), before);

    assert_eq!(run(&[]), told);
    let expected: BTreeMap<&str, String> = FILES.iter().map(|(file, _, after)| (*file, (*after).to_owned())).collect();
    assert_eq!(values(root), expected);
    assert!(!run(&[]).contains("->"));

    let undone = setup(root, &["--undo"]);
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    // A choice is written by its name alone; the kernel shows the brackets.
    let mut back = before;
    back.insert("sys/kernel/mm/transparent_hugepage/enabled", "madvise".into());
    assert_eq!(values(root), back);
    assert_eq!(setup(root, &["--undo"]).stdout, b"nothing to undo\n");
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let host = tempfile::tempdir().unwrap();
    for wrong in [&["--cpus", "all"][..], &["--cpu", "2"], &["--hugepages", "0:1"]] {
        assert_eq!(setup(host.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}
