//! dpdk-config/host-setup on a host made of files: it says what it would do, does it once, and takes it back.
#![cfg(feature = "dpdk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [(&str, &str, &str); 17] = [
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "16", "600"),
    ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "512", "512"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never", "never"),
    ("proc/sys/kernel/numa_balancing", "1", "0"),
    ("proc/sys/vm/stat_interval", "1", "120"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", "performance"),
    ("sys/devices/system/cpu/cpu3/cpuidle/state1/disable", "0", "0"),
    ("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0", "1"),
    ("sys/devices/system/machinecheck/machinecheck3/check_interval", "12c", "0"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3,23", "3,23"),
    ("sys/devices/system/cpu/cpu23/online", "1", "0"),
    ("sys/devices/system/cpu/isolated", "2-5", "2-5"),
    ("sys/devices/virtual/workqueue/cpumask", "00ff,ff7fff83", "00ff,ff7fff83"),
    ("proc/irq/default_smp_affinity", "ff,ffffffff", "ff,ff7fff83"),
    (
        "proc/irq/24/smp_affinity_list",
        "0-39",
        "0,1,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39",
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

/// A thread of its own process, as proc(5) shows it.
fn thread(root: &Path, id: u32, name: &str, flags: u32, allowed: &str) {
    let task = root.join(format!("proc/{id}/task/{id}"));
    fs::create_dir_all(&task).unwrap();
    // Field 9 are the flags, field 22 the start.
    let stat = format!("{id} ({name}) S 1 1 1 0 -1 {flags} {}{} 0\n", "0 ".repeat(12), 7000 + id);
    fs::write(task.join("stat"), stat).unwrap();
    fs::write(task.join("status"), format!("Name:\t{name}\nCpus_allowed_list:\t{allowed}\n")).unwrap();
}

fn allowed(root: &Path, id: u32) -> String {
    let status = fs::read_to_string(root.join(format!("proc/{id}/task/{id}/status"))).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().to_owned()
}

#[test]
fn threads_that_may_run_elsewhere_are_kept_off_isolated_cpus_until_it_is_undone() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    for (file, text) in [("online", "0-7"), ("isolated", "2-3")] {
        let file = root.join("sys/devices/system/cpu").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{text}\n")).unwrap();
    }
    thread(root, 500, "anywhere) (", 0, "0-7");
    thread(root, 501, "elsewhere", 0, "0-1,4-7");
    thread(root, 502, "rte-worker-2", 0, "2");
    thread(root, 503, "kworker/2:1", 0x20_0000, "0-7");
    thread(root, 504, "gone", 0, "0-3");
    // What taskset does: -pc LIST TID.
    let taskset = root.join("taskset");
    let edit = r#"sed -i "s/^Cpus_allowed_list:.*/Cpus_allowed_list:\t$2/" "$HOST_ROOT/proc/$3/task/$3/status""#;
    fs::write(&taskset, format!("#!/bin/sh\n{edit}\n")).unwrap();
    fs::set_permissions(&taskset, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dpdk-config/host-setup");
        let mut command = Command::new(script);
        let output = command.env("HOST_ROOT", root).env("TASKSET", &taskset).env_remove("STATE").args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let all = || [500, 501, 502, 503, 504].map(|id| allowed(root, id));
    let before = all();
    let told = run(&["--cpus", "2-3", "--dry-run"]);
    assert!(told.contains("thread 500 (anywhere) (): CPUs 0-7 -> 0,1,4,5,6,7\n"), "{told}");
    assert_eq!(all(), before);
    let done = run(&["--cpus", "2-3"]);
    assert_eq!(done, told);
    assert_eq!(all(), ["0,1,4,5,6,7", "0-1,4-7", "2", "0-7", "0,1"]);
    assert!(done.contains("thread 502 (rte-worker-2): on CPUs 2 and nowhere else; left to whoever"), "{done}");
    assert!(!run(&["--cpus", "2-3"]).contains(" -> "));
    // Its number is another's by now.
    let stat = root.join("proc/504/task/504/stat");
    fs::write(&stat, fs::read_to_string(&stat).unwrap().replace("7504", "9999")).unwrap();
    run(&["--undo"]);
    assert_eq!(all(), ["0-7", "0-1,4-7", "2", "0-7", "0,1"]);
}

#[test]
fn the_other_threads_of_hot_cores_stay_where_nothing_else_is_left() {
    let host = tempfile::tempdir().unwrap();
    let cpus = host.path().join("sys/devices/system/cpu");
    for cpu in 0..4 {
        fs::create_dir_all(cpus.join(format!("cpu{cpu}/topology"))).unwrap();
        fs::write(cpus.join(format!("cpu{cpu}/online")), "1\n").unwrap();
        let core = format!("{},{}\n", cpu % 2, cpu % 2 + 2);
        fs::write(cpus.join(format!("cpu{cpu}/topology/thread_siblings_list")), core).unwrap();
    }
    fs::write(cpus.join("online"), "0-3\n").unwrap();
    let online =
        || (0..4).map(|cpu| fs::read_to_string(cpus.join(format!("cpu{cpu}/online"))).unwrap()).collect::<String>();
    assert!(String::from_utf8_lossy(&setup(host.path(), &["--cpus", "0-1"]).stdout).contains("stay online"));
    assert_eq!(online(), "1\n1\n1\n1\n");
    assert!(setup(host.path(), &["--cpus", "1"]).status.success());
    assert_eq!(online(), "1\n1\n1\n0\n");
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let host = tempfile::tempdir().unwrap();
    for wrong in [&["--cpus", "all"][..], &["--cpu", "2"], &["--hugepages", "0:1"]] {
        assert_eq!(setup(host.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}
