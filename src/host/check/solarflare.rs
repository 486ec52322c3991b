//! Ports on ef_vi: the driver's character device, drivers and library of one release, pages of the frames, and the firmware that
//! the card runs.
//!
//! A port on ef_vi is one whose device is the kernel's interface itself: EAL has no such names.

use super::host::Host;
use super::{About, Again, Check, Found, Look, Port};
use crate::host::files;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "efvi.device",
        about: About::Ports,
        again: Again::Never,
        why: "ef_vi cannot open the card: the port does not come up, no order at all",
        tuned: &[],
        look: device,
    },
    Check {
        id: "efvi.release",
        about: About::Ports,
        again: Again::Never,
        why: "the driver refuses a library whose structs are another release's: the port does not come up, no order at all",
        tuned: &[],
        look: release,
    },
    Check {
        id: "efvi.hugepages",
        about: About::Ports,
        again: Again::Never,
        why: "a frame's page of 4 kB misses in the TLB, and in the IOMMU's where it translates: 20 to 50 ns each (order of \
              magnitude)",
        tuned: &[],
        look: hugepages,
    },
    Check {
        id: "efvi.firmware",
        about: About::Ports,
        again: Again::Never,
        why: "each frame goes through more of the card's firmware, and received packets may be told of in batches: 10 to 1,000 \
              ns (order of magnitude)",
        tuned: &[],
        look: firmware,
    },
];

/// Whether a port is on ef_vi: what the kernel does with its interface's packets is then nobody's concern.
pub(super) fn is_on_efvi(port: &Port) -> bool {
    port.interface.as_ref() == Some(&port.device)
}

/// Ports on ef_vi: name and interface.
fn ports<'a>(host: &Host<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let ports = host.subject.ports.iter().filter(|port| is_on_efvi(port));
    ports.map(|port| (port.name.as_str(), port.device.as_str()))
}

fn device(host: &Host<'_>) -> Look {
    let path = "dev/sfc_char";
    let found = ports(host).filter(|_| !host.exists(path)).map(|(port, name)| {
        let driver = format!("sys/class/net/{name}/device/driver");
        let bound = files::link_name(&host.root.join(&driver)).unwrap_or_else(|| "none".to_owned());
        Found::error(format!("port {port}: ef_vi opens {name} through /dev/sfc_char, which does not exist"))
            .read(path, "absent")
            .read(driver, bound)
            .now("sudo modprobe sfc_char")
            .for_good("install OpenOnload; /etc/modules-load.d/tickpath.conf: sfc_char")
    });
    Ok(found.collect())
}

/// Version of the library that this program was linked with; `None` without one.
#[cfg(feature = "ef_vi")]
pub(super) fn library() -> Option<String> {
    (!crate::efvi::IS_DOUBLE).then(crate::efvi::version)
}

#[cfg(not(feature = "ef_vi"))]
pub(super) fn library() -> Option<String> {
    None
}

fn release(host: &Host<'_>) -> Look {
    const DRIVERS: &str = "sys/module/onload/version";
    let Some((port, library)) = ports(host).next().and_then(|(port, _)| Some((port, (host.sensors.ef_vi)()?))) else {
        return Ok(Vec::new());
    };
    let drivers = host.must(DRIVERS)?;
    if library.split_whitespace().eq(drivers.split_whitespace()) {
        return Ok(Vec::new());
    }
    let what =
        format!("port {port}: this program has ef_vi of Onload {}, and the drivers are of {drivers}", library.trim());
    // A fix of a release leaves its structs alone.
    let differ = matches!((branch(&library), branch(&drivers)), (Some(ours), Some(theirs)) if ours != theirs);
    let found = if differ { Found::error(what) } else { Found::warning(what) };
    Ok(vec![
        found
            .read(DRIVERS, drivers)
            .now("sudo onload_tool reload   # where newer drivers are installed than are loaded")
            .for_good(
                "install onload-devel of the drivers' release, and build this program again with --features ef_vi",
            ),
    ])
}

/// Major and minor number of a release: of `9.2.1.14`, or of `v9_2` behind a commit and its day.
fn branch(version: &str) -> Option<(u32, u32)> {
    let number = |word: &str| {
        let mut parts = word.trim_start_matches('v').split(['.', '_']).map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    version.split_whitespace().find_map(number)
}

fn hugepages(host: &Host<'_>) -> Look {
    let pages = "proc/sys/vm/nr_hugepages";
    // Without a plan nobody knows where its frames would lie.
    let found =
        ports(host).filter(|_| host.subject.pipeline.is_some() && host.subject.memory.is_empty()).map(|(port, _)| {
            Found::warning(format!(
                "port {port}: its frames lie in pages of 4 kB, because EAL is started without hugepages"
            ))
            .of(port)
            .read(pages, host.line(pages).unwrap_or_else(|| "absent".to_owned()))
            .for_good("take --no-huge out of the EAL arguments; the check then says how many hugepages the plan needs")
        });
    Ok(found.collect())
}

fn firmware(host: &Host<'_>) -> Look {
    let found = ports(host).filter_map(|(port, name)| {
        // MC_CMD_GET_CAPABILITIES of the card's commands: data path 1 is the one for low latency.
        let (rx, tx) = (host.sensors.link)(name).firmware.filter(|paths| *paths != (1, 1))?;
        Some(
            Found::information(format!("port {port}: {name} does not run the firmware for low latency"))
                .read(
                    format!("sys/class/net/{name}"),
                    format!("ethtool -i: firmware rx{rx:x} tx{tx:x}, and not rx1 tx1"),
                )
                .for_good(format!("sudo sfboot --adapter={name} firmware-variant=ultra-low-latency, and a reboot")),
        )
    });
    Ok(found.collect())
}
