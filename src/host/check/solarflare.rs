//! Ports on ef_vi: the driver's character device, and the firmware that the card runs.
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
