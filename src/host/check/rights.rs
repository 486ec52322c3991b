//! What this process may do, where it is about to become the path: locked memory and capabilities.

use super::host::Host;
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
];

/// Numbers of `capabilities(7)`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

fn effective(host: &Host<'_>) -> Option<u64> {
    let status = files::text(host.root, "proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn memlock(host: &Host<'_>) -> Look {
    let pins = host.subject.ports.iter().any(|port| files::pci_address(&port.device).is_some());
    if !host.subject.starting || !pins {
        return Ok(Vec::new());
    }
    let path = "proc/self/limits";
    let text = files::text(host.root, path).ok_or_else(|| format!("/{path}"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("Max locked memory")).ok_or_else(|| format!("/{path}"))?;
    // `unlimited`, which is no number, is enough.
    let limit: Option<u64> = line.split_whitespace().next().and_then(|soft| soft.parse().ok());
    let need: u64 = host.subject.memory.iter().map(|memory| memory.bytes).sum();
    let free = effective(host).is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1);
    match limit {
        Some(limit) if limit < need && !free => Ok(vec![
            Found::error(format!("this process may lock {} MiB of memory, and needs {}", limit >> 20, need >> 20))
                .read(path, format!("Max locked memory {line}"))
                .now("ulimit -l unlimited   # as root, in the shell that starts tickpath")
                .for_good("LimitMEMLOCK=infinity in the unit of systemd"),
        ]),
        _ => Ok(Vec::new()),
    }
}

fn capabilities(host: &Host<'_>) -> Look {
    let ports = host.subject.ports.iter().filter(|port| port.interface.is_some() || nics::bifurcated(host, port));
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

fn list(ports: &[&super::Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}
