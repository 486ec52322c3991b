//! The kernel's own chores on hot CPUs: watchdogs, statistics, machine-check polling, ticks in step, audit, mitigations.

use super::host::{Host, among, named};
use super::{About, Again, Check, Found, Look, Profile::CpuPartitioning, Profile::NetworkLatency, tmpfile};
use crate::host::ranges::ranges;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "kernel.nmi_watchdog",
        about: About::HotCpus,
        again: Again::Words,
        why: "a performance counter interrupts each CPU every few seconds, 1,000 to 5,000 ns, and is not free for \
              measurements (order of magnitude)",
        tuned: &[CpuPartitioning, NetworkLatency],
        look: |host| watchdog(host, "nmi_watchdog"),
    },
    Check {
        id: "kernel.soft_watchdog",
        about: About::HotCpus,
        again: Again::Words,
        why: "every 4 s a timer wakes the CPU's migration thread: an interrupt and two switches, 3,000 to 10,000 ns (order \
              of magnitude; kernel/watchdog.c)",
        tuned: &[CpuPartitioning],
        look: |host| watchdog(host, "soft_watchdog"),
    },
    Check {
        id: "kernel.stat_interval",
        about: About::HotCpus,
        again: Again::Words,
        why: "so often a kernel worker folds the CPU's memory statistics: two switches and 2,000 to 10,000 ns (order of \
              magnitude)",
        tuned: &[CpuPartitioning, NetworkLatency],
        look: stat_interval,
    },
    Check {
        id: "kernel.machine_check",
        about: About::HotCpus,
        again: Again::Words,
        why: "corrected errors are polled for on each CPU by a timer, every 300 s unless set: 5,000 to 50,000 ns (order of \
              magnitude)",
        tuned: &[CpuPartitioning],
        look: machine_check,
    },
    Check {
        id: "kernel.skew_tick",
        about: About::HotCpus,
        again: Again::Never,
        why: "ticks of all CPUs fall together and contend for the kernel's locks: 1,000 to 10,000 ns now and then (order of \
              magnitude; kernel-parameters.txt, skew_tick)",
        tuned: &[NetworkLatency],
        look: skew_tick,
    },
    Check {
        id: "kernel.audit",
        about: About::Host,
        again: Again::Never,
        why: "every system call of every program takes 50 to 500 ns longer while rules are loaded; the path makes none after \
              launch (order of magnitude)",
        tuned: &[],
        look: audit,
    },
    Check {
        id: "kernel.mitigations",
        about: About::Host,
        again: Again::Never,
        why: "each entry into the kernel takes 100 to 1,000 ns longer; the path itself makes none, interrupts on its CPUs do \
              (order of magnitude)",
        tuned: &[],
        look: mitigations,
    },
];

fn watchdog(host: &Host<'_>, name: &str) -> Look {
    let path = format!("proc/sys/kernel/{name}");
    let on = host.must(&path)?;
    let cpumask = "proc/sys/kernel/watchdog_cpumask";
    let watched = host.cpus(cpumask).unwrap_or_else(|| host.online.clone());
    let hot = among(host.hot(), &watched);
    if on == "0" || hot.is_empty() {
        return Ok(Vec::new());
    }
    let parameter = if name == "nmi_watchdog" { "nmi_watchdog=0" } else { "nosoftlockup" };
    let found = Found::warning(format!("{name} watches {}", named(&hot)))
        .read(&path, &on)
        .read(cpumask, ranges(&watched))
        .sysctl(&format!("kernel.{name}"), "0");
    let sysctl = found.permanent.clone().unwrap_or_default();
    Ok(vec![found.for_good(format!("{sysctl}; or kernel parameter {parameter}"))])
}

/// What tuned's profiles set, and more is as good.
const STAT_INTERVAL_S: u64 = 10;

fn stat_interval(host: &Host<'_>) -> Look {
    let path = "proc/sys/vm/stat_interval";
    let seconds = host.number(path).ok_or_else(|| format!("/{path}"))?;
    if seconds >= STAT_INTERVAL_S {
        return Ok(Vec::new());
    }
    let found = Found::information(format!("memory statistics are folded every {seconds} s"))
        .read(path, seconds.to_string())
        .sysctl("vm.stat_interval", "120");
    Ok(vec![found])
}

fn machine_check(host: &Host<'_>) -> Look {
    let folder = "sys/devices/system/machinecheck";
    let mut known = false;
    let mut polled = Vec::new();
    for &cpu in host.hot() {
        let number = |file: &str| host.number(&format!("{folder}/machinecheck{cpu}/{file}"));
        // In hexadecimal where it is more than nine; only zero counts.
        let interval = host.line(&format!("{folder}/machinecheck{cpu}/check_interval"));
        known |= interval.is_some();
        if interval.is_some_and(|interval| interval != "0") && number("ignore_ce") != Some(1) {
            polled.push(cpu);
        }
    }
    match (&polled[..], known) {
        (_, false) => Err(format!("/{folder}/machinecheck*/check_interval")),
        ([], true) => Ok(Vec::new()),
        ([first, ..], true) => {
            let path = format!("{folder}/machinecheck{first}/check_interval");
            let value = host.line(&path).unwrap_or_default();
            let found = Found::information(format!("corrected machine checks are polled for on {}", named(&polled)))
                .read(&path, value)
                .now(format!("echo 0 | sudo tee /{path}   # the interval is every CPU's"))
                .boot(format!("mce=ignore_ce   # or {}", tmpfile(&format!("/{path}"), "0")));
            Ok(vec![found])
        }
    }
}

fn skew_tick(host: &Host<'_>) -> Look {
    if host.command_line.is_none() {
        return Err("/proc/cmdline".into());
    }
    if host.parameter("skew_tick") == Some("1") || host.hot().len() < 2 {
        return Ok(Vec::new());
    }
    let found = Found::information("ticks of the CPUs fall together");
    Ok(vec![found.read("proc/cmdline", "no skew_tick=1").boot("skew_tick=1")])
}

fn audit(host: &Host<'_>) -> Look {
    let off = host.command_line.is_none() || matches!(host.parameter("audit"), Some("0" | "off"));
    match host.process("auditd") {
        Some(pid) if !off => Ok(vec![
            Found::warning("auditd runs")
                .read(format!("proc/{pid}/comm"), "auditd")
                .now("sudo auditctl -e 0")
                .boot("audit=0"),
        ]),
        _ => Ok(Vec::new()),
    }
}

fn mitigations(host: &Host<'_>) -> Look {
    let folder = "sys/devices/system/cpu/vulnerabilities";
    if !host.exists(folder) {
        return Err(format!("/{folder}"));
    }
    let mitigated =
        |name: &String| host.line(&format!("{folder}/{name}")).is_some_and(|said| said.starts_with("Mitigation"));
    let names: Vec<String> = host.entries(folder).into_iter().filter(mitigated).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = Found::information("mitigations of CPU faults are on")
        .read(format!("{folder}/*"), format!("Mitigation: {}", names.join(", ")))
        .boot("mitigations=off   # only where every program on the host is trusted");
    Ok(vec![found])
}
