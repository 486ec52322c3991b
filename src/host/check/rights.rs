//! What this process may do, where it is about to become the path: locked memory and capabilities.

use super::host::Host;
use super::solarflare::is_on_efvi;
use super::{About, Again, Check, Found, Look, nics};
use crate::host::files;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "rights.memlock",
        about: About::Hugepages,
        again: Again::Never,
        why: "vfio pins what the card may reach, and is refused: the port does not come up, no order at all",
        tuned: &[],
        look: memlock,
    },
    Check {
        id: "rights.capabilities",
        about: About::Ports,
        again: Again::Never,
        why: "the port does not come up: no order at all",
        tuned: &[],
        look: capabilities,
    },
    Check {
        id: "rights.fifo",
        about: About::Fifo,
        again: Again::Never,
        why: "the kernel refuses lcores SCHED_FIFO, and the run does not start: no order at all",
        tuned: &[],
        look: fifo,
    },
];

/// Numbers of `capabilities(7)`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;
const CAP_BPF: u32 = 39;

fn effective(host: &Host<'_>) -> Option<u64> {
    let status = files::text(host.root, "proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

const LIMITS: &str = "proc/self/limits";

/// A limit of this process, and the line that says so; `None` for `unlimited`, which is no number.
fn soft_limit(host: &Host<'_>, name: &str) -> Result<(Option<u64>, String), String> {
    let text = files::text(host.root, LIMITS).ok_or_else(|| format!("/{LIMITS}"))?;
    let line = text.lines().find(|line| line.starts_with(name)).ok_or_else(|| format!("/{LIMITS}"))?;
    let soft = line[name.len()..].split_whitespace().next().and_then(|soft| soft.parse().ok());
    Ok((soft, line.to_owned()))
}

fn memlock(host: &Host<'_>) -> Look {
    let pins = host.subject.ports.iter().any(|port| files::pci_address(&port.device).is_some());
    if !host.subject.starting || !pins {
        return Ok(Vec::new());
    }
    let (limit, line) = soft_limit(host, "Max locked memory")?;
    let need: u64 = host.subject.memory.iter().map(|memory| memory.bytes).sum();
    let free = effective(host).is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1);
    match limit {
        Some(limit) if limit < need && !free => Ok(vec![
            Found::error(format!("this process may lock {} MiB of memory, and needs {}", limit >> 20, need >> 20))
                .read(LIMITS, line)
                .now("ulimit -l unlimited   # as root, in the shell that starts tickpath")
                .for_good("LimitMEMLOCK=infinity in the unit of systemd"),
        ]),
        _ => Ok(Vec::new()),
    }
}

fn capabilities(host: &Host<'_>) -> Look {
    let sockets = |port: &super::Port| port.interface.is_some() && !is_on_efvi(port);
    let ports = host.subject.ports.iter().filter(|port| sockets(port) || nics::bifurcated(host, port));
    let kept: Vec<&super::Port> = ports.collect();
    if !host.subject.starting || kept.is_empty() {
        return Ok(Vec::new());
    }
    let mask = effective(host).ok_or("/proc/self/status")?;
    let held = |bit: u32| mask >> bit & 1 == 1;
    let xdp = kept.iter().any(|port| port.device.starts_with("net_af_xdp"));
    // CAP_BPF came with Linux 5.8; CAP_SYS_ADMIN, which did for it before, still does.
    let old = host.number("proc/sys/kernel/cap_last_cap").is_some_and(|last| last < u64::from(CAP_BPF));
    let needs = [
        ("CAP_NET_RAW", true, held(CAP_NET_RAW)),
        ("CAP_NET_ADMIN", xdp, held(CAP_NET_ADMIN)),
        (if old { "CAP_SYS_ADMIN" } else { "CAP_BPF" }, xdp, held(CAP_BPF) || held(CAP_SYS_ADMIN)),
    ];
    let missing: Vec<&str> =
        needs.iter().filter(|(_, needed, held)| *needed && !*held).map(|(name, ..)| *name).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let names = missing.join(" ");
    let setcap = missing.join(",").to_lowercase();
    Ok(vec![
        Found::error(format!("this process lacks {names}, which ports {} need", list(&kept)))
            .read("proc/self/status", format!("CapEff: {mask:016x}"))
            .now(format!("sudo setcap {setcap}+ep $(command -v tickpath)"))
            .for_good(format!("AmbientCapabilities={names} in the unit of systemd")),
    ])
}

fn fifo(host: &Host<'_>) -> Look {
    let Some(fifo) = host.subject.fifo.as_ref().filter(|_| host.subject.starting) else { return Ok(Vec::new()) };
    let (limit, line) = soft_limit(host, "Max realtime priority")?;
    let free = effective(host).is_some_and(|mask| mask >> CAP_SYS_NICE & 1 == 1);
    let priority = fifo.priority;
    match limit {
        Some(limit) if limit < u64::from(priority) && !free => Ok(vec![
            Found::error(format!(
                "this process may run under SCHED_FIFO at priority {limit} at most, and lcores want {priority}"
            ))
            .read(LIMITS, line)
            .read("proc/self/status", "CapEff without CAP_SYS_NICE")
            .now(format!("ulimit -r {priority}   # as root, in the shell that starts tickpath"))
            .for_good(format!("LimitRTPRIO={priority} in the unit of systemd")),
        ]),
        _ => Ok(Vec::new()),
    }
}

fn list(ports: &[&super::Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}
