//! Who else may run on the hot CPUs, by the kernel's own division: isolation, ticks, callbacks, the other thread of a
//! core, nodes.

use super::host::{Host, are, named, without};
use super::{About, Again, Check, Found, Look, Profile::CpuPartitioning};
use crate::host::ranges::{parse_ranges, ranges};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "cpu.isolated",
        about: About::HotCpus,
        again: Again::Words,
        why: "the scheduler may put any thread on the CPU: 1,000 to 3,000 ns for two switches and cold caches, up to \
              4,000,000 ns when that thread uses its slice (order of magnitude)",
        tuned: &[],
        look: isolated,
    },
    Check {
        id: "cpu.nohz_full",
        about: About::HotCpus,
        again: Again::Never,
        why: "the timer interrupts the CPU 100 to 1,000 times a second, for 1,000 to 5,000 ns each (order of magnitude; \
              Documentation/timers/no_hz.rst)",
        tuned: &[CpuPartitioning],
        look: nohz_full,
    },
    Check {
        id: "cpu.rcu_nocbs",
        about: About::HotCpus,
        again: Again::Never,
        why: "RCU callbacks run in soft interrupts of the CPU, 1,000 to 100,000 ns a batch (order of magnitude; \
              kernel-parameters.txt, rcu_nocbs)",
        tuned: &[CpuPartitioning],
        look: rcu_nocbs,
    },
    Check {
        id: "cpu.siblings",
        about: About::HotCpus,
        again: Again::Words,
        why: "two threads of a core share its execution units and L1 and L2 caches: each instruction takes up to twice as \
              long, so thousands of ns an order (order of magnitude)",
        tuned: &[],
        look: siblings,
    },
    Check {
        id: "cpu.nodes",
        about: About::HotCpus,
        again: Again::Never,
        why: "each cache line that passes from one node to the other takes 100 to 300 ns instead of 40 to 80 (order of \
              magnitude; --effect measures it)",
        tuned: &[],
        look: nodes,
    },
    Check {
        id: "cpu.fifo_throttled",
        about: About::Fifo,
        again: Again::Words,
        why: "an lcore that polls is off its CPU for the rest of each period, at the kernel's default 50,000,000 ns in each second \
              (Documentation/scheduler/sched-rt-group.rst)",
        tuned: &[],
        look: fifo_throttled,
    },
];

fn isolated(host: &Host<'_>) -> Look {
    let path = "sys/devices/system/cpu/isolated";
    let boot = host.cpus(path).ok_or_else(|| format!("/{path}"))?;
    let open = without(host.hot(), &host.isolated);
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let hot = ranges(host.hot());
    Ok(vec![
        Found::warning(format!("{} not isolated", are(&open)))
            .read(path, none_or(&boot))
            .now(format!("sudo tuna isolate --cpus={hot}   # once: threads that start later come back"))
            .boot(format!("isolcpus=managed_irq,domain,{hot}")),
    ])
}

fn nohz_full(host: &Host<'_>) -> Look {
    let path = "sys/devices/system/cpu/nohz_full";
    let quiet = host.cpus(path).ok_or_else(|| format!("/{path} (a kernel without CONFIG_NO_HZ_FULL has none)"))?;
    let ticking = without(host.hot(), &quiet);
    if ticking.is_empty() {
        return Ok(Vec::new());
    }
    let hot = ranges(host.hot());
    Ok(vec![
        Found::warning(format!("{} ticking", are(&ticking)))
            .read(path, none_or(&quiet))
            .boot(format!("nohz_full={hot}")),
    ])
}

/// nohz_full implies it (kernel-parameters.txt): where the kernel has that and nobody asked for this, one finding is
/// enough.
fn rcu_nocbs(host: &Host<'_>) -> Look {
    if host.command_line.is_none() {
        return Err("/proc/cmdline".into());
    }
    let asked = host.parameter("rcu_nocbs");
    let mut offloaded = host.parameter_cpus("rcu_nocbs").unwrap_or_default();
    offloaded.extend(&host.nohz_full);
    let burdened = without(host.hot(), &offloaded);
    if burdened.is_empty() || (asked.is_none() && host.exists("sys/devices/system/cpu/nohz_full")) {
        return Ok(Vec::new());
    }
    Ok(vec![
        Found::warning(format!("RCU callbacks run on {}", named(&burdened)))
            .read("proc/cmdline", asked.map_or("no rcu_nocbs".into(), |value| format!("rcu_nocbs={value}")))
            .boot(format!("rcu_nocbs={}", ranges(host.hot()))),
    ])
}

fn siblings(host: &Host<'_>) -> Look {
    let (mut both, mut idle, mut known) = (BTreeSet::new(), BTreeMap::new(), false);
    for &cpu in host.hot() {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let Some(core) = host.line(&path).and_then(|list| parse_ranges(&list)) else { continue };
        known = true;
        for other in core.into_iter().filter(|other| *other != cpu && host.online.contains(other)) {
            if host.hot().contains(&other) {
                both.extend([(cpu.min(other), cpu.max(other))]);
            } else {
                idle.insert(other, path.clone());
            }
        }
    }
    if !known {
        return Err("/sys/devices/system/cpu/cpu*/topology/thread_siblings_list".into());
    }
    let mut found = Vec::new();
    if !both.is_empty() {
        let pairs: Vec<String> = both.iter().map(|(a, b)| format!("{a} and {b}")).collect();
        let mut shared = Found::error(format!("hot CPUs share a core: {}", pairs.join(", ")))
            .for_good("move the stages of one of them to an lcore of another core, in the pipeline file");
        for (a, b) in &both {
            let path = format!("sys/devices/system/cpu/cpu{a}/topology/thread_siblings_list");
            shared = shared.read(path, format!("{a},{b}"));
        }
        found.push(shared);
    }
    if !idle.is_empty() {
        let others: Vec<u32> = idle.keys().copied().collect();
        let mut open = Found::warning(format!("{} the other thread of a hot CPU's core, and online", are(&others)))
            .now(format!("echo 0 | sudo tee /sys/devices/system/cpu/cpu{}/online", super::host::braces(&others)))
            .boot("nosmt   # or offline them at boot: the same command in a unit of systemd");
        if let Some((other, path)) = idle.first_key_value() {
            open = open
                .read(path, host.line(path).unwrap_or_default())
                .read("sys/devices/system/cpu/online", format!("{} (CPU {other} among them)", ranges(&host.online)));
        }
        found.push(open);
    }
    Ok(found)
}

fn nodes(host: &Host<'_>) -> Look {
    if host.nodes.is_empty() {
        return Err("/sys/devices/system/node/node*/cpulist".into());
    }
    let apart = host.subject.venues.iter().filter_map(|venue| {
        let mut by_node: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for cpu in &venue.cpus {
            by_node.entry(*host.nodes.get(cpu)?).or_default().push(*cpu);
        }
        (by_node.len() > 1).then(|| {
            let parts: Vec<String> =
                by_node.iter().map(|(node, cpus)| format!("{} on node {node}", named(cpus))).collect();
            let found = format!("venue {}: its stages are on several nodes: {}", venue.name, parts.join(", "));
            by_node
                .keys()
                .fold(Found::warning(found).of(&venue.name), |found, node| {
                    let path = format!("sys/devices/system/node/node{node}/cpulist");
                    let cpus = host.line(&path).unwrap_or_default();
                    found.read(path, cpus)
                })
                .for_good("give its stages lcores of one node, the port's, in the pipeline file")
        })
    });
    Ok(apart.collect())
}

fn fifo_throttled(host: &Host<'_>) -> Look {
    let path = "proc/sys/kernel/sched_rt_runtime_us";
    let Some(fifo) = &host.subject.fifo else { return Ok(Vec::new()) };
    // -1 for no limit.
    let runtime: i64 = host.must(path)?.parse().map_err(|_| format!("/{path}"))?;
    let period = host.number("proc/sys/kernel/sched_rt_period_us").unwrap_or(1_000_000);
    let Some(rest) = u64::try_from(runtime).ok().and_then(|runtime| period.checked_sub(runtime)).filter(|us| *us > 0)
    else {
        return Ok(Vec::new());
    };
    if !throttles(host) {
        return Ok(Vec::new());
    }
    let found = Found::warning(format!(
        "lcores under SCHED_FIFO on {} are stopped for {rest} µs of every {period}",
        named(&fifo.cpus)
    ))
    .read(path, runtime.to_string())
    .sysctl("kernel.sched_rt_runtime_us", "-1");
    let sysctl = found.permanent.clone().unwrap_or_default();
    Ok(vec![found.for_good(format!(
        "{sysctl}   # on isolated CPUs alone: work of the kernel's that comes to one waits for ever"
    ))])
}

/// Linux 6.12 left the limit to groups: since then what waits for the CPU has its share, and nobody is stopped while nothing does.
fn throttles(host: &Host<'_>) -> bool {
    let release = host.line("proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version < (6, 12)
}

fn none_or(cpus: &[u32]) -> String {
    if cpus.is_empty() { "none".into() } else { ranges(cpus) }
}
