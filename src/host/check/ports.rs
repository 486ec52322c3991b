//! Ports that the kernel keeps (net_af_packet, net_af_xdp, ef_vi): the interface, and but for ef_vi its ring, coalescing and
//! hardware stamps.

use super::host::Host;
use super::solarflare::is_on_efvi;
use super::{About, Again, Check, Found, Look, Port};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "port.interface",
        about: About::Ports,
        again: Again::Words,
        why: "the port does not come up, or nothing arrives on it: no order at all",
        tuned: &[],
        look: interface,
    },
    Check {
        id: "port.ring",
        about: About::Ports,
        again: Again::Never,
        why: "a burst longer than the ring is lost, and what is lost costs a re-request, 1,000,000 ns and more (order of \
              magnitude)",
        tuned: &[],
        look: ring,
    },
    Check {
        id: "port.coalescing",
        about: About::Ports,
        again: Again::Never,
        why: "the card waits so long before it says that a packet is there: 1,000 ns for each microsecond set",
        tuned: &[],
        look: coalescing,
    },
    Check {
        id: "port.stamps",
        about: About::Ports,
        again: Again::Never,
        why: "without the card's stamps the way from the wire to the receive poll is not seen: 500 to 50,000 ns that no \
              report accounts for (order of magnitude)",
        tuned: &[],
        look: stamps,
    },
];

/// Ports with an interface of the kernel's: name and interface.
fn kept<'a>(host: &Host<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    host.subject.ports.iter().filter_map(named)
}

/// Those whose packets come by way of the kernel.
fn received<'a>(host: &Host<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    host.subject.ports.iter().filter(|port| !is_on_efvi(port)).filter_map(named)
}

fn named(port: &Port) -> Option<(&str, &str)> {
    Some((port.name.as_str(), port.interface.as_deref().filter(|name| !name.contains('/'))?))
}

fn interface(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for (port, name) in kept(host) {
        let folder = format!("sys/class/net/{name}");
        if !host.exists("sys/class/net") {
            return Err("/sys/class/net".into());
        }
        if !host.exists(&folder) {
            found.push(
                Found::error(format!("port {port}: there is no interface {name}"))
                    .of(port)
                    .read("sys/class/net", host.entries("sys/class/net").join(" "))
                    .for_good("correct iface= of its --vdev in the EAL arguments"),
            );
        } else if host.line(&format!("{folder}/operstate")).as_deref() == Some("down")
            // The state follows its carrier up to a second later.
            && host.line(&format!("{folder}/carrier")).as_deref() != Some("1")
        {
            found.push(
                Found::error(format!("port {port}: interface {name} is down"))
                    .of(port)
                    .read(format!("{folder}/operstate"), "down")
                    .now(format!("sudo ip link set {name} up"))
                    .for_good(format!(
                        "/etc/systemd/network/tickpath.network: Name={name}, [Link] ActivationPolicy=always-up"
                    )),
            );
        }
    }
    Ok(found)
}

fn ring(host: &Host<'_>) -> Look {
    let found = received(host).filter_map(|(port, name)| {
        let (now, most) = (host.sensors.link)(name).rx_ring?;
        (now < most).then(|| {
            Found::information(format!("port {port}: a receive ring of {now}, and {name} can have {most}"))
                .of(port)
                .read(format!("sys/class/net/{name}"), format!("ethtool -g: rx {now} of {most}"))
                .now(format!("sudo ethtool -G {name} rx {most}"))
                .for_good(format!(
                    "/etc/systemd/network/tickpath.link: OriginalName={name}, [Link] RxBufferSize={most}"
                ))
        })
    });
    Ok(found.collect())
}

fn coalescing(host: &Host<'_>) -> Look {
    let found = received(host).filter_map(|(port, name)| {
        let (us, adaptive) = (host.sensors.link)(name).rx_coalescing?;
        (us > 0 || adaptive).then(|| {
            let how = if adaptive { "as long as it sees fit".into() } else { format!("{us} µs") };
            Found::warning(format!("port {port}: {name} gathers packets for {how}"))
                .of(port)
                .read(format!("sys/class/net/{name}"), format!("ethtool -c: rx-usecs {us}, adaptive-rx {adaptive}"))
                .now(format!("sudo ethtool -C {name} adaptive-rx off rx-usecs 0"))
                .for_good(format!(
                    "/etc/systemd/network/tickpath.link: OriginalName={name}, [Link] RxCoalesceSec=0, \
                     UseAdaptiveRxCoalesce=no"
                ))
        })
    });
    Ok(found.collect())
}

fn stamps(host: &Host<'_>) -> Look {
    let found = received(host).filter_map(|(port, name)| {
        let link = (host.sensors.link)(name);
        (link.can_stamp? && !link.stamps?).then(|| {
            Found::information(format!("port {port}: {name} could stamp what it receives, and does not"))
                .of(port)
                .read(format!("sys/class/net/{name}"), "SIOCGHWTSTAMP: rx_filter none")
                .now(format!("sudo hwstamp_ctl -i {name} -r 1"))
                .for_good(format!("a unit of systemd for it: ExecStart=/usr/sbin/hwstamp_ctl -i {name} -r 1"))
        })
    });
    Ok(found.collect())
}
