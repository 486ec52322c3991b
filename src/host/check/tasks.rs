//! Threads on hot CPUs, and daemons by name: `/proc/PID/task/TID/{stat,status}`.
//!
//! A thread counts where it ran last. On a CPU that is not isolated anything may come by: that is `cpu.isolated`'s to say,
//! and only what is pinned there is told here.

use super::host::{Host, among, named};
use super::{About, Again, Check, Found, Look, Profile::CpuPartitioning, tmpfile};
use crate::host::files;
use crate::host::ranges::{hex_mask, parse_ranges, ranges};
use std::path::Path;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "cpu.processes",
        about: About::HotCpus,
        again: Again::Whether,
        why: "each time such a thread runs it takes the CPU for 1,000 to 4,000,000 ns and leaves cold caches behind (order \
              of magnitude)",
        tuned: &[CpuPartitioning],
        look: processes,
    },
    Check {
        id: "cpu.kernel_threads",
        about: About::HotCpus,
        again: Again::Whether,
        why: "kernel work that could run anywhere takes the CPU for 2,000 to 100,000 ns at a time (order of magnitude)",
        tuned: &[CpuPartitioning],
        look: kernel_threads,
    },
    Check {
        id: "cpu.workqueues",
        about: About::HotCpus,
        again: Again::Words,
        why: "unbound kernel work may run on the CPU, 2,000 to 100,000 ns at a time (order of magnitude)",
        tuned: &[CpuPartitioning],
        look: workqueues,
    },
];

/// Flag of `proc_pid_stat(5)`'s field 9: a thread of the kernel.
const PF_KTHREAD: u64 = 0x0020_0000;
/// The same field: nobody may change the CPUs it is allowed on.
const PF_NO_SETAFFINITY: u64 = 0x0400_0000;
/// Threads told by name.
const NAMED: usize = 4;

fn processes(host: &Host<'_>) -> Look {
    let threads = on_hot_cpus(host)?;
    let meant = |thread: &&Thread| {
        let isolated = host.isolated.contains(&thread.cpu);
        let pinned = thread.allowed.iter().all(|cpu| host.hot().contains(cpu));
        !thread.kernel && (pinned || (thread.running && isolated))
    };
    let found: Vec<&Thread> = threads.iter().filter(meant).collect();
    let manager =
        format!("CPUAffinity={} in the [Manager] section of /etc/systemd/system.conf", ranges(&host.housekeeping()));
    Ok(told(&found, "run there or are pinned there", "taskset -pc HOUSEKEEPING TID", host, manager))
}

fn kernel_threads(host: &Host<'_>) -> Look {
    let threads = on_hot_cpus(host)?;
    let meant = |thread: &&Thread| {
        let movable = !thread.fixed && thread.allowed.len() > 1;
        thread.kernel && movable && host.nohz_full.contains(&thread.cpu)
    };
    let found: Vec<&Thread> = threads.iter().filter(meant).collect();
    let hot = ranges(host.hot());
    // Since Linux 5.9 `nohz_full` keeps kernel threads that ask for no CPU or node away; the scheduler's domains the rest.
    let parameters = format!("kernel parameter isolcpus=managed_irq,domain,{hot} nohz_full={hot}");
    Ok(told(&found, "could run elsewhere and run there", "sudo taskset -pc HOUSEKEEPING TID", host, parameters))
}

fn workqueues(host: &Host<'_>) -> Look {
    let path = "sys/devices/virtual/workqueue/cpumask";
    let allowed = host.mask(path).ok_or_else(|| format!("/{path}"))?;
    let hot = among(host.hot(), &allowed);
    if hot.is_empty() {
        return Ok(Vec::new());
    }
    let mask = hex_mask(&host.housekeeping());
    let found = Found::warning(format!("unbound kernel work may run on {}", named(&hot)))
        .read(path, host.line(path).unwrap_or_default())
        .now(format!("echo {mask} | sudo tee /{path}"))
        .for_good(tmpfile(&format!("/{path}"), &mask));
    Ok(vec![found])
}

fn told(found: &[&Thread], what: &str, command: &str, host: &Host<'_>, permanent: String) -> Vec<Found> {
    let Some(first) = found.first() else { return Vec::new() };
    let names: Vec<String> =
        found.iter().take(NAMED).map(|t| format!("{} ({}, CPU {})", t.name, t.tid, t.cpu)).collect();
    let more = if found.len() > NAMED { format!(" and {} more", found.len() - NAMED) } else { String::new() };
    let mut cpus: Vec<u32> = found.iter().map(|thread| thread.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let housekeeping = ranges(&host.housekeeping());
    let text = format!("on {} {} threads {what}: {}{more}", named(&cpus), found.len(), names.join(", "));
    let text = if found.len() == 1 { text.replacen("1 threads", "1 thread", 1) } else { text };
    let command = command.replace("HOUSEKEEPING", &housekeeping).replace("TID", &first.tid.to_string());
    vec![
        Found::warning(text)
            .read(format!("proc/{}/task/{}/stat", first.pid, first.tid), format!("processor {}", first.cpu))
            .now(command)
            .for_good(permanent),
    ]
}

/// A thread that ran last on a hot CPU.
pub(super) struct Thread {
    pid: u64,
    tid: u64,
    name: String,
    kernel: bool,
    fixed: bool,
    running: bool,
    cpu: u32,
    allowed: Vec<u32>,
}

fn on_hot_cpus<'h>(host: &'h Host<'_>) -> Result<&'h [Thread], String> {
    let threads = host.threads.get_or_init(|| read(host));
    threads.as_deref().map_err(String::clone)
}

fn read(host: &Host<'_>) -> Result<Vec<Thread>, String> {
    let mut threads = Vec::new();
    let myself = files::link_name(&host.root.join("proc/self"));
    let processes = files::numbered(&host.root.join("proc"), "");
    if processes.is_empty() {
        return Err("/proc/PID".into());
    }
    for (pid, folder) in processes {
        if myself.as_deref() == Some(&pid.to_string()) {
            continue;
        }
        for (tid, task) in files::numbered(&folder.join("task"), "") {
            threads.extend(thread(&task, pid, tid, host.hot()));
        }
    }
    Ok(threads)
}

/// The thread, if it ran last on one of `hot`.
fn thread(task: &Path, pid: u64, tid: u64, hot: &[u32]) -> Option<Thread> {
    let stat = files::text(task, "stat")?;
    // The name in field 2 may hold anything; field 3 follows the last parenthesis.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let cpu = fields.get(39 - 3)?.parse().ok()?;
    if !hot.contains(&cpu) {
        return None;
    }
    let flags: u64 = fields.get(9 - 3)?.parse().ok()?;
    let status = files::text(task, "status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(Thread {
        pid,
        tid,
        name: name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        kernel: flags & PF_KTHREAD != 0,
        fixed: flags & PF_NO_SETAFFINITY != 0,
        running: fields.first() == Some(&"R"),
        cpu,
        allowed: parse_ranges(allowed.trim())?,
    })
}
