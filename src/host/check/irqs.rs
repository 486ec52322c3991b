//! Interrupts against the hot CPUs: where each is delivered, where it may be, where new ones will be, and irqbalance.

use super::host::{Host, among, named, without};
use super::{About, Again, Check, Found, Look, Profile::CpuPartitioning};
use crate::host::files;
use crate::host::ranges::{hex_mask, parse_mask, parse_ranges, ranges};
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "irq.delivered",
        about: About::HotCpus,
        again: Again::Words,
        why: "each interrupt stops the CPU for 1,000 to 10,000 ns, with its soft interrupt up to 100,000 (order of \
              magnitude)",
        tuned: &[CpuPartitioning],
        look: delivered,
    },
    Check {
        id: "irq.allowed",
        about: About::HotCpus,
        again: Again::Words,
        why: "any change of load, link or CPU may move it to a hot CPU, where each costs 1,000 to 10,000 ns (order of \
              magnitude)",
        tuned: &[CpuPartitioning],
        look: allowed,
    },
    Check {
        id: "irq.default",
        about: About::HotCpus,
        again: Again::Words,
        why: "interrupts of devices that start later may come to a hot CPU: 1,000 to 10,000 ns each (order of magnitude)",
        tuned: &[CpuPartitioning],
        look: default,
    },
    Check {
        id: "irq.irqbalance",
        about: About::HotCpus,
        again: Again::Words,
        why: "it moves interrupts to hot CPUs every 10 s: 1,000 to 10,000 ns for each interrupt (order of magnitude; \
              irqbalance(1))",
        tuned: &[CpuPartitioning],
        look: irqbalance,
    },
    Check {
        id: "irq.irqbalance_enabled",
        about: About::HotCpus,
        again: Again::Never,
        why: "it comes back with the next boot or update and moves interrupts to hot CPUs: 1,000 to 10,000 ns each (order \
              of magnitude)",
        tuned: &[CpuPartitioning],
        look: irqbalance_enabled,
    },
];

/// A numbered interrupt that something handles.
struct Irq {
    number: u32,
    name: String,
    allowed: Vec<u32>,
    /// Where the controller sends it; the same as `allowed` where the kernel does not tell.
    delivered: Vec<u32>,
}

/// IRQ 0 and 2 are the timer's and the cascade's of the old controller: nothing comes by them any more and the kernel
/// refuses to move them.
fn irqs(host: &Host<'_>) -> Result<Vec<Irq>, String> {
    let folder = "proc/irq";
    if !host.exists(folder) {
        return Err(format!("/{folder}"));
    }
    let mut irqs = Vec::new();
    for (number, at) in host.numbered(folder, "") {
        let Ok(number) = u32::try_from(number) else { continue };
        let list = |file: &str| host.line(&format!("{at}/{file}")).and_then(|list| parse_ranges(&list));
        let Some(allowed) = list("smp_affinity_list") else { continue };
        let kernel = format!("sys/kernel/irq/{number}");
        let name = host.line(&format!("{kernel}/actions")).unwrap_or_default();
        let unused = name.is_empty() && host.exists(&kernel);
        if unused || number == 0 || number == 2 {
            continue;
        }
        let delivered = list("effective_affinity_list").unwrap_or_else(|| match &allowed[..] {
            [one] => vec![*one],
            _ => Vec::new(),
        });
        irqs.push(Irq { number, name, allowed, delivered });
    }
    Ok(irqs)
}

fn delivered(host: &Host<'_>) -> Look {
    let hits = irqs(host)?.into_iter().filter(|irq| !among(&irq.delivered, host.hot()).is_empty());
    let (queues, others): (Vec<Irq>, Vec<Irq>) = hits.partition(|irq| idle(host, irq));
    let mut found = told(host, others, "delivered to", "effective_affinity_list", |irq| &irq.delivered);
    found.extend(told(host, queues, IDLE, "smp_affinity_list", |irq| &irq.allowed));
    Ok(found)
}

/// A queue's that the kernel gave to hot CPUs alone, as it does for each CPU of NVMe and of cards of many queues, and
/// that has not come to any of them.
fn idle(host: &Host<'_>, irq: &Irq) -> bool {
    // A count for each possible CPU, from 0.
    let counts = host.line(&format!("sys/kernel/irq/{}/per_cpu_count", irq.number)).unwrap_or_default();
    let counts: Vec<&str> = counts.split(',').collect();
    without(&irq.allowed, host.hot()).is_empty()
        && host.hot().iter().all(|cpu| counts.get(*cpu as usize).is_some_and(|count| *count == "0"))
}

fn allowed(host: &Host<'_>) -> Look {
    let hits = irqs(host)?.into_iter().filter(|irq| {
        let delivered = !among(&irq.delivered, host.hot()).is_empty();
        !delivered && !among(&irq.allowed, host.hot()).is_empty()
    });
    Ok(told(host, hits.collect(), "allowed on", "smp_affinity_list", |irq| &irq.allowed))
}

/// See [`idle`].
const IDLE: &str = "bound to, and never came to,";

/// One finding for all: IRQs by the hot CPUs they reach.
fn told(host: &Host<'_>, irqs: Vec<Irq>, verb: &str, file: &str, reach: fn(&Irq) -> &Vec<u32>) -> Vec<Found> {
    let mut by_cpus: BTreeMap<Vec<u32>, Vec<&Irq>> = BTreeMap::new();
    for irq in &irqs {
        by_cpus.entry(among(reach(irq), host.hot())).or_default().push(irq);
    }
    let found = by_cpus.iter().map(|(cpus, irqs)| {
        let numbers: Vec<u32> = irqs.iter().map(|irq| irq.number).collect();
        let mut names: Vec<&str> = irqs.iter().map(|irq| irq.name.as_str()).filter(|name| !name.is_empty()).collect();
        names.dedup();
        let more = if names.len() > 4 { format!(" and {} more", names.len() - 4) } else { String::new() };
        names.truncate(4);
        let (noun, is) = if numbers.len() == 1 { ("IRQ", "is") } else { ("IRQs", "are") };
        let who = if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) };
        let path = format!("proc/irq/{}/{file}", numbers[0]);
        let housekeeping = ranges(&host.housekeeping());
        let severity = if verb == "delivered to" { Found::warning } else { Found::information };
        let found = severity(format!("{noun} {}{who} {is} {verb} {}", ranges(&numbers), named(cpus)))
            .of(&ranges(cpus))
            .read(&path, host.line(&path).unwrap_or_default());
        if verb == IDLE {
            return found
                .read(format!("sys/kernel/irq/{}/per_cpu_count", numbers[0]), format!("0 on {}", named(host.hot())))
                .for_good("nothing: it stays away while nothing on these CPUs asks its device for anything");
        }
        found
            .now(format!(
                "for i in {}; do echo {housekeeping} | sudo tee /proc/irq/$i/smp_affinity_list; done   # a managed one \
                 refuses: isolcpus=managed_irq",
                ranges(&numbers).replace(',', " ").split(' ').map(each).collect::<Vec<_>>().join(" ")
            ))
            .boot(format!("irqaffinity={housekeeping} isolcpus=managed_irq,domain,{}", ranges(host.hot())))
    });
    found.collect()
}

fn each(range: &str) -> String {
    range.split_once('-').map_or(range.to_owned(), |(first, last)| format!("{{{first}..{last}}}"))
}

fn default(host: &Host<'_>) -> Look {
    let path = "proc/irq/default_smp_affinity";
    let mask = host.mask(path).ok_or_else(|| format!("/{path}"))?;
    let hot = among(host.hot(), &mask);
    if hot.is_empty() {
        return Ok(Vec::new());
    }
    let housekeeping = host.housekeeping();
    let found = Found::information(format!("new interrupts may be placed on {}", named(&hot)))
        .read(path, host.line(path).unwrap_or_default())
        .now(format!("echo {} | sudo tee /{path}", hex_mask(&housekeeping)))
        .boot(format!("irqaffinity={}", ranges(&housekeeping)));
    Ok(vec![found])
}

/// Where distributions keep its settings.
const SETTINGS: [&str; 2] = ["etc/default/irqbalance", "etc/sysconfig/irqbalance"];

fn irqbalance(host: &Host<'_>) -> Look {
    let Some(pid) = host.process("irqbalance") else { return Ok(Vec::new()) };
    if without(host.hot(), &banned(host)).is_empty() {
        return Ok(Vec::new());
    }
    // Since 1.0.8 it leaves isolated and tickless CPUs out unless it is given a list of its own.
    let spared = host.hot().iter().all(|cpu| host.isolated.contains(cpu) || host.nohz_full.contains(cpu));
    let (severity, but): (fn(String) -> Found, _) = match spared {
        true => (Found::warning, ", though versions since 1.0.8 spare isolated CPUs"),
        false => (Found::error, ""),
    };
    let hot = ranges(host.hot());
    let found = severity(format!("irqbalance runs and is not told to spare {}{but}", named(host.hot())))
        .read(format!("proc/{pid}/comm"), "irqbalance")
        .now("sudo systemctl stop irqbalance")
        .for_good(format!(
            "sudo systemctl disable --now irqbalance && sudo systemctl mask irqbalance; or /etc/default/irqbalance: \
             IRQBALANCE_BANNED_CPULIST={hot}"
        ));
    Ok(vec![found])
}

fn irqbalance_enabled(host: &Host<'_>) -> Look {
    let path = "etc/systemd/system/multi-user.target.wants/irqbalance.service";
    let runs = host.process("irqbalance").is_some();
    let masked = files::link_name(&host.root.join("etc/systemd/system/irqbalance.service")).as_deref() == Some("null");
    let there = host.root.join(path).symlink_metadata().is_ok();
    if runs || masked || !there || without(host.hot(), &banned(host)).is_empty() {
        return Ok(Vec::new());
    }
    let found = Found::warning("irqbalance does not run and is enabled: it is back with the next boot")
        .read(path, "present")
        .for_good("sudo systemctl disable irqbalance && sudo systemctl mask irqbalance");
    Ok(vec![found])
}

/// CPUs that irqbalance is told to spare.
fn banned(host: &Host<'_>) -> Vec<u32> {
    let mut cpus = Vec::new();
    for text in SETTINGS.iter().filter_map(|path| files::text(host.root, path)) {
        for line in text.lines().map(str::trim) {
            let value = |name: &str| line.strip_prefix(name).map(|value| value.trim().trim_matches('"'));
            cpus.extend(value("IRQBALANCE_BANNED_CPULIST=").and_then(parse_ranges).unwrap_or_default());
            cpus.extend(value("IRQBALANCE_BANNED_CPUS=").and_then(parse_mask).unwrap_or_default());
        }
    }
    cpus
}
