//! What lets a CPU sleep or slow down: C-states, governor, turbo, the frequency it runs at.

use super::host::{Host, braces, named};
use super::{About, Again, Check, Found, Look, Profile::NetworkLatency, tmpfile};
use crate::host::files;
use crate::host::ranges::ranges;
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "power.idle_states",
        about: About::HotCpus,
        again: Again::Words,
        why: "leaving C1E takes about 10,000 ns and C6 50,000 to 200,000 (the kernel's tables in intel_idle.c); a core that \
              sleeps also lets caches and uncore slow down",
        tuned: &[NetworkLatency],
        look: idle_states,
    },
    Check {
        id: "power.governor",
        about: About::HotCpus,
        again: Again::Words,
        why: "a core at half its frequency takes twice the time for every instruction, and a change of frequency stops it \
              for 10,000 to 50,000 ns (order of magnitude)",
        tuned: &[NetworkLatency],
        look: governor,
    },
    Check {
        id: "power.turbo",
        about: About::HotCpus,
        again: Again::Words,
        why: "the frequency follows load, temperature and the use of wide vectors: hops vary by 10 to 30 %, hundreds of ns \
              an order, and each change stops the core for 10,000 to 20,000 ns (order of magnitude)",
        tuned: &[],
        look: turbo,
    },
    Check {
        id: "power.frequency",
        about: About::HotCpus,
        again: Again::Never,
        why: "every hop takes longer in proportion: at 2 instead of 3 GHz 6,000 ns for 4,000",
        tuned: &[NetworkLatency],
        look: frequency,
    },
    Check {
        id: "power.virtual",
        about: About::Host,
        again: Again::Never,
        why: "the hypervisor takes the CPU away for 10,000 to 10,000,000 ns when it likes (order of magnitude; steal in the \
              evidence of a run)",
        tuned: &[],
        look: guest,
    },
];

const CPU: &str = "sys/devices/system/cpu";

/// Exit latency of C1 is 2 µs or less on every CPU that the kernel has a table for.
const SHALLOW_US: u64 = 2;

fn idle_states(host: &Host<'_>) -> Look {
    let folder = |cpu: u32| format!("{CPU}/cpu{cpu}/cpuidle");
    if !host.hot().iter().any(|cpu| host.exists(&folder(*cpu))) {
        // Without a driver of idle states there is nothing deeper than HLT: idle=poll, or a hypervisor.
        return match host.exists(CPU) {
            true => Ok(Vec::new()),
            false => Err(format!("/{CPU}")),
        };
    }
    let asked = dma_latency_us(host);
    let mut deep: BTreeMap<(String, u64), Vec<u32>> = BTreeMap::new();
    for &cpu in host.hot() {
        let own = host.number(&format!("{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us")).filter(|us| *us > 0);
        let limit = asked.into_iter().chain(own).min().unwrap_or(u64::MAX);
        for (number, state) in host.numbered(&folder(cpu), "state") {
            let latency = host.number(&format!("{state}/latency")).unwrap_or(0);
            let disabled = host.number(&format!("{state}/disable")).is_some_and(|flags| flags != 0);
            if latency > SHALLOW_US && latency <= limit && !disabled {
                let name = host.line(&format!("{state}/name")).unwrap_or_else(|| format!("state{number}"));
                deep.entry((name, latency)).or_default().push(cpu);
            }
        }
    }
    let Some(((name, latency), cpus)) = deep.iter().max_by_key(|((_, latency), _)| *latency) else {
        return Ok(Vec::new());
    };
    let states: Vec<String> = deep.keys().map(|(name, latency)| format!("{name} {latency} µs")).collect();
    let driver = format!("{CPU}/cpuidle/current_driver");
    Ok(vec![
        Found::warning(format!("{} may sleep as deep as {name}, {latency} µs to wake", named(cpus)))
            .read(format!("{CPU}/cpu{}/cpuidle/state*/{{name,latency,disable}}", cpus[0]), states.join(", "))
            .read(&driver, host.line(&driver).unwrap_or_default())
            .now(format!("sudo cpupower -c {} idle-set -D {SHALLOW_US}", ranges(host.hot())))
            .boot("intel_idle.max_cstate=0 processor.max_cstate=0 idle=poll"),
    ])
}

/// The latency that some program holds `/dev/cpu_dma_latency` open for.
fn dma_latency_us(host: &Host<'_>) -> Option<u64> {
    let raw = files::bytes(host.root, "dev/cpu_dma_latency")?;
    let us = i32::from_ne_bytes(raw.get(..4)?.try_into().ok()?);
    u64::try_from(us).ok()
}

fn governor(host: &Host<'_>) -> Look {
    let path = |cpu: u32| format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor");
    let mut others: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut known = false;
    for &cpu in host.hot() {
        let Some(governor) = host.line(&path(cpu)) else { continue };
        known = true;
        if governor != "performance" {
            others.entry(governor).or_default().push(cpu);
        }
    }
    if !known {
        return Err(format!("/{CPU}/cpu*/cpufreq"));
    }
    let found = others.into_iter().map(|(governor, cpus)| {
        Found::warning(format!("{}: governor {governor}, not performance", named(&cpus)))
            .read(path(cpus[0]), governor)
            .now(format!("echo performance | sudo tee /{CPU}/cpu{}/cpufreq/scaling_governor", braces(&cpus)))
            .for_good(tmpfile(&format!("/{CPU}/cpu*/cpufreq/scaling_governor"), "performance"))
    });
    Ok(found.collect())
}

/// Files that say whether turbo is on: the file, what it says then, and what turns it off.
const TURBO: [(&str, &str, &str); 2] = [("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")];

fn turbo_is_on(host: &Host<'_>) -> Option<(String, bool, &'static str)> {
    TURBO.iter().find_map(|(file, on, off)| {
        let path = format!("{CPU}/{file}");
        let said = host.line(&path)?;
        Some((path, said == *on, *off))
    })
}

fn turbo(host: &Host<'_>) -> Look {
    let (path, on, off) = turbo_is_on(host).ok_or_else(|| format!("/{CPU}/intel_pstate/no_turbo, cpufreq/boost"))?;
    if !on {
        return Ok(Vec::new());
    }
    let found = Found::information("turbo is on: faster, and less even")
        .read(&path, host.line(&path).unwrap_or_default())
        .now(format!("echo {off} | sudo tee /{path}   # if even is worth more than fast"))
        .for_good(tmpfile(&format!("/{path}"), off));
    Ok(vec![found])
}

/// A frequency that is a tenth below the base frequency is not an error of measurement.
fn frequency(host: &Host<'_>) -> Look {
    let no_turbo = turbo_is_on(host).is_some_and(|(_, on, _)| !on);
    let mut slow: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
    let mut known = false;
    for &cpu in host.hot() {
        let khz = |file: &str| host.number(&format!("{CPU}/cpu{cpu}/cpufreq/{file}"));
        let base = khz("base_frequency").or_else(|| khz("cpuinfo_max_freq").filter(|_| no_turbo));
        let (Some(now), Some(base)) = (khz("scaling_cur_freq"), base) else { continue };
        known = true;
        // What another governor chose is that finding's.
        let governor = host.line(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"));
        if now.saturating_mul(10) < base.saturating_mul(9) && governor.as_deref() == Some("performance") {
            slow.entry((now / 1000, base / 1000)).or_default().push(cpu);
        }
    }
    if !known {
        return Err(format!("/{CPU}/cpu*/cpufreq/{{scaling_cur_freq,base_frequency}}"));
    }
    let found = slow.into_iter().map(|((now, base), cpus)| {
        let path = format!("{CPU}/cpu{}/cpufreq/scaling_cur_freq", cpus[0]);
        let limit = format!("{CPU}/cpu{}/cpufreq/scaling_max_freq", cpus[0]);
        Found::warning(format!("{}: {now} MHz, of {base} MHz base frequency", named(&cpus)))
            .read(&path, host.line(&path).unwrap_or_default())
            .read(&limit, host.line(&limit).unwrap_or_default())
            .now(format!("sudo cpupower -c {} frequency-set -d {base}MHz -u {base}MHz", ranges(&cpus)))
            .for_good("firmware settings: power and thermal limits, performance per watt profile off")
    });
    Ok(found.collect())
}

fn guest(host: &Host<'_>) -> Look {
    if host.flags.is_empty() {
        return Err("/proc/cpuinfo".into());
    }
    if !host.guest {
        return Ok(Vec::new());
    }
    let found = Found::information(
        "a virtual machine: frequencies, deep C-states, firmware and the real PCIe links are the hypervisor's and do not \
         show here",
    );
    Ok(vec![found.read("proc/cpuinfo", "flags: hypervisor")])
}
