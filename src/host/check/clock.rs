//! The clock: whether the kernel trusts the TSC, which the path's stamps are.

use super::host::Host;
use super::{About, Again, Check, Found, Look};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "clock.tsc_flags",
        about: About::Host,
        again: Again::Never,
        why: "the counter changes its rate or stops when a CPU sleeps: stamps are off by any number of ns",
        tuned: &[],
        look: tsc_flags,
    },
    Check {
        id: "clock.unstable",
        about: About::Host,
        again: Again::Never,
        why: "counters of two CPUs may differ: stamps taken on two lcores are off by any number of ns, and each reading of \
              another clock takes 700 to 1,500 ns (order of magnitude)",
        tuned: &[],
        look: unstable,
    },
    Check {
        id: "clock.source",
        about: About::Host,
        again: Again::Words,
        why: "each reading of the kernel's clock takes 700 to 1,500 ns by HPET or PM timer, instead of 20 to 30 (order of \
              magnitude), and the kernel left the TSC for a reason",
        tuned: &[],
        look: source,
    },
    Check {
        id: "clock.phc",
        about: About::Ports,
        again: Again::Never,
        why: "stamps of the card drift from the host's clock by up to 50,000 ns a second (a free crystal of 50 ppm)",
        tuned: &[],
        look: phc,
    },
];

const SOURCES: &str = "sys/devices/system/clocksource/clocksource0";

fn tsc_flags(host: &Host<'_>) -> Look {
    if host.flags.is_empty() {
        return Err("/proc/cpuinfo".into());
    }
    let missing: Vec<&str> = ["constant_tsc", "nonstop_tsc"].into_iter().filter(|f| !host.flags.contains(*f)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let remedy = match host.guest {
        true => "the hypervisor: pass the CPU through (-cpu host,migratable=off, invtsc)",
        false => "a CPU of this century's second decade",
    };
    let found = Found::error(format!("the TSC lacks {}", missing.join(" and ")));
    Ok(vec![found.read("proc/cpuinfo", format!("flags without {}", missing.join(", "))).for_good(remedy)])
}

/// What the kernel logs when it gives the TSC up (arch/x86/kernel/tsc.c, kernel/time/clocksource.c).
const COMPLAINTS: [&str; 3] = ["Marking TSC unstable", "clocksource 'tsc' as unstable", "TSC found unstable"];

/// The first of them in the kernel's log; an error where that may not be read.
fn complaint(host: &Host<'_>) -> Result<Option<String>, String> {
    let log = kernel_log(host).ok_or("/dev/kmsg (as root, or with kernel.dmesg_restrict=0)")?;
    Ok(log.into_iter().find(|line| COMPLAINTS.iter().any(|text| line.contains(text))))
}

fn unstable(host: &Host<'_>) -> Look {
    let Some(line) = complaint(host)? else { return Ok(Vec::new()) };
    // `6,339,5140900,-;message`
    let message = line.split_once(';').map_or(line.as_str(), |(_, message)| message);
    let found = Found::error("the kernel has called the TSC unstable since it was booted")
        .read("dev/kmsg", message)
        .for_good("new firmware, or another machine; tsc=reliable only where --effect finds no offset between CPUs");
    Ok(vec![found])
}

fn source(host: &Host<'_>) -> Look {
    let path = format!("{SOURCES}/current_clocksource");
    let current = host.must(&path)?;
    // Then that is the finding, and this is what follows.
    if current == "tsc" || (!host.subject.running && matches!(complaint(host), Ok(Some(_)))) {
        return Ok(Vec::new());
    }
    let available = format!("{SOURCES}/available_clocksource");
    let there = host.line(&available).unwrap_or_default();
    let severity = match current.as_str() {
        // They are the TSC with the hypervisor's scale, read without a system call.
        "kvm-clock" | "hyperv_clocksource_tsc_page" | "xen" => Found::information,
        _ => Found::error,
    };
    let mut found = severity(format!("the kernel's clock is {current}, not the TSC"))
        .read(&path, &current)
        .read(&available, &there)
        .boot("clocksource=tsc tsc=reliable   # after --effect found no offset between CPUs");
    if there.split_whitespace().any(|name| name == "tsc") {
        found = found.now(format!("echo tsc | sudo tee /{path}"));
    }
    Ok(vec![found])
}

fn phc(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for port in &host.subject.ports {
        let folder = match (&port.interface, crate::host::files::pci_address(&port.device)) {
            (Some(name), _) if !name.contains('/') => format!("sys/class/net/{name}/device/ptp"),
            (_, Some(address)) => format!("sys/bus/pci/devices/{address}/ptp"),
            _ => continue,
        };
        let Some(clock) = host.entries(&folder).into_iter().next() else { continue };
        let daemons = ["ptp4l", "phc2sys", "sfptpd"];
        if daemons.iter().any(|daemon| host.process(daemon).is_some()) {
            continue;
        }
        found.push(
            Found::information(format!("port {}: nobody sets its clock {clock}", port.name))
                .of(&port.name)
                .read(format!("{folder}/{clock}"), "present")
                .read("proc/*/comm", format!("none of {}", daemons.join(", ")))
                .now(format!("sudo phc2sys -s CLOCK_REALTIME -c /dev/{clock} -O 0 &"))
                .for_good("systemctl enable ptp4l@INTERFACE phc2sys@INTERFACE, of linuxptp"),
        );
    }
    Ok(found)
}

/// The records of the kernel's log, which gives one a read and would wait after the last; `None` where it may not be
/// read. A plain file in its place is one record.
fn kernel_log(host: &Host<'_>) -> Option<Vec<String>> {
    const RECORDS: usize = 100_000;
    let path = host.root.join("dev/kmsg");
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let (mut records, mut buffer) = (Vec::new(), vec![0; 8192]);
    while records.len() < RECORDS {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => records.push(String::from_utf8_lossy(&buffer[..n]).into_owned()),
            // A record was overwritten while it was its turn.
            Err(err) if err.kind() == ErrorKind::BrokenPipe => {}
            Err(err) if err.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(records)
}
