//! Cards of the ports: where they are plugged, what drives them, how wide their link is, whose memory they may reach.

use super::host::{Host, named};
use super::{About, Again, Check, Found, Look, Port, pci};
use crate::host::files;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "nic.present",
        about: About::Ports,
        again: Again::Words,
        why: "the port does not come up: no order at all",
        tuned: &[],
        look: present,
    },
    Check {
        id: "nic.driver",
        about: About::Ports,
        again: Again::Never,
        why: "DPDK cannot drive it: the port does not come up; or a stray program may write anywhere by it, at no ns",
        tuned: &[],
        look: driver,
    },
    Check {
        id: "nic.node",
        about: About::Ports,
        again: Again::Never,
        why: "each descriptor and the head of each frame come from the other socket's memory: 100 to 200 ns more a line, 300 \
              to 1,000 an order (order of magnitude; --effect measures it)",
        tuned: &[],
        look: node,
    },
    Check {
        id: "nic.link",
        about: About::Ports,
        again: Again::Words,
        why: "each frame takes longer to cross the link in proportion, 100 to 1,000 ns at a quarter of its width, and bursts \
              queue behind one another (order of magnitude)",
        tuned: &[],
        look: link,
    },
    Check {
        id: "nic.payload",
        about: About::Ports,
        again: Again::Never,
        why: "frames and descriptors cross the link in more and smaller pieces: 10 to 100 ns a frame (order of magnitude)",
        tuned: &[],
        look: payload,
    },
    Check {
        id: "nic.aspm",
        about: About::Ports,
        again: Again::Never,
        why: "a link that slept takes 1,000 to 60,000 ns to wake, at the first packet after a pause (exit latencies of PCI \
              Express, L0s and L1)",
        tuned: &[],
        look: aspm,
    },
    Check {
        id: "nic.iommu",
        about: About::Ports,
        again: Again::Never,
        why: "each address the card uses is looked up: 50 to 500 ns where its cache of translations misses (order of \
              magnitude); without an IOMMU vfio-pci does not start at all",
        tuned: &[],
        look: iommu,
    },
    Check {
        id: "nic.sfc_char",
        about: About::Ports,
        again: Again::Never,
        why: "programs on ef_vi do not start, and the kernel's path takes some 10,000 ns more each way (order of magnitude)",
        tuned: &[],
        look: sfc_char,
    },
];

const DEVICES: &str = "sys/bus/pci/devices";

/// Drivers that give a whole device to a program.
const USER_SPACE: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];
/// Drivers beside which DPDK drives the device.
const BIFURCATED: [&str; 3] = ["mlx5_core", "mlx4_core", "mana"];

/// Every network device on PCI: its interface's name, or else its address, and its address.
pub(super) fn all(root: &Path) -> Vec<(String, String)> {
    let folder = root.join(DEVICES);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let address = entry.file_name().into_string().ok()?;
            let class = files::text(&entry.path(), "class")?;
            // PCI Code and ID Assignment: class 02h is a network controller; of virtio the class is its own.
            class.trim().starts_with("0x02").then_some(())?;
            let mut names = std::fs::read_dir(entry.path().join("net")).into_iter().flatten().flatten();
            let name = names.next().map(|name| name.file_name().to_string_lossy().into_owned());
            Some((name.unwrap_or_else(|| address.clone()), address))
        })
        .collect();
    found.sort_unstable();
    found
}

/// The kernel's driver keeps the port's card, and DPDK drives it beside.
pub(super) fn bifurcated(host: &Host<'_>, port: &Port) -> bool {
    let Some(address) = files::pci_address(&port.device) else { return false };
    let driver = files::link_name(&host.root.join(DEVICES).join(address).join("driver"));
    driver.is_some_and(|name| BIFURCATED.contains(&name.as_str()))
}

/// A port's card: the port, its address, its folder, and whether it is below an interface that the kernel keeps.
struct Card<'a> {
    port: &'a Port,
    address: String,
    folder: String,
    kept: bool,
}

fn cards<'a>(host: &Host<'a>) -> Vec<Card<'a>> {
    let below = |interface: &String| {
        let device = host.root.join("sys/class/net").join(interface).join("device");
        files::pci_address(&files::link_name(&device)?)
    };
    let card = |port: &'a Port| {
        let own = files::pci_address(&port.device);
        let kept = own.is_none();
        let address = own.or_else(|| port.interface.as_ref().filter(|name| !name.contains('/')).and_then(below))?;
        Some(Card { port, folder: format!("{DEVICES}/{address}"), address, kept })
    };
    host.subject.ports.iter().filter_map(card).collect()
}

/// Cards that are there.
fn plugged<'a>(host: &Host<'a>) -> impl Iterator<Item = Card<'a>> {
    let here: Vec<Card<'a>> = cards(host).into_iter().filter(|card| host.exists(&card.folder)).collect();
    here.into_iter()
}

impl Card<'_> {
    fn driver(&self, host: &Host<'_>) -> Option<String> {
        files::link_name(&host.root.join(&self.folder).join("driver"))
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The folder of the bridge above it.
    fn above(&self, host: &Host<'_>) -> Option<PathBuf> {
        host.real(&self.folder)?.parent().map(Path::to_owned)
    }

    fn express(&self, host: &Host<'_>) -> Result<pci::Express, String> {
        let config = self.file("config");
        let bytes = files::bytes(host.root, &config).and_then(|bytes| pci::express(&bytes));
        bytes.ok_or_else(|| format!("/{config} beyond 64 bytes (as root)"))
    }
}

fn present(host: &Host<'_>) -> Look {
    if !host.exists(DEVICES) {
        return Err(format!("/{DEVICES}"));
    }
    let missing = cards(host).into_iter().filter(|card| !host.exists(&card.folder)).map(|card| {
        Found::error(format!("port {}: there is no device {}", card.port.name, card.address))
            .of(&card.port.name)
            .read(DEVICES, format!("{} devices, not this one", host.entries(DEVICES).len()))
            .for_good("correct \"device\" in the pipeline file: `dpdk-devbind.py --status` lists what there is")
    });
    Ok(missing.collect())
}

fn driver(host: &Host<'_>) -> Look {
    // What the kernel drives is as it should be where no plan wants it.
    if host.subject.pipeline.is_none() {
        return Ok(Vec::new());
    }
    let wrong = plugged(host).filter(|card| !card.kept).filter_map(|card| {
        let (driver, address, port) = (card.driver(host), &card.address, &card.port.name);
        let name = driver.as_deref().unwrap_or("none");
        if name == USER_SPACE[0] || BIFURCATED.contains(&name) {
            return None;
        }
        let severity = if USER_SPACE.contains(&name) { Found::information } else { Found::error };
        let what = match driver.is_some() {
            _ if USER_SPACE.contains(&name) => format!("port {port}: {name} protects no memory from it; vfio-pci does"),
            true => format!("port {port}: the kernel drives it, with {name}"),
            false => format!("port {port}: no driver is bound to it"),
        };
        Some(
            severity(what)
                .of(port)
                .read(card.file("driver"), name)
                .now(format!("sudo modprobe vfio-pci && sudo dpdk-devbind.py -b vfio-pci {address}"))
                .for_good(format!("sudo driverctl set-override {address} vfio-pci")),
        )
    });
    Ok(wrong.collect())
}

fn node(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for card in plugged(host).filter(|_| host.node_count() > 1) {
        let path = card.file("numa_node");
        let Ok(own) = host.must(&path)?.parse::<i64>() else { continue };
        let mut elsewhere: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for cpu in &card.port.cpus {
            match host.nodes.get(cpu) {
                Some(node) if i64::from(*node) != own => elsewhere.entry(*node).or_default().push(*cpu),
                _ => {}
            }
        }
        let port = &card.port.name;
        if own < 0 && !card.port.cpus.is_empty() {
            found.push(
                Found::information(format!("port {port}: the firmware does not say which node it is on"))
                    .of(port)
                    .read(&path, "-1")
                    .for_good("firmware settings: ACPI SRAT and _PXM on; else look at the board's manual"),
            );
        } else if let Some((node, cpus)) = elsewhere.first_key_value() {
            let cpulist = format!("sys/devices/system/node/node{own}/cpulist");
            let near = host.line(&cpulist).unwrap_or_default();
            found.push(
                Found::error(format!("port {port} is on node {own}, and polled from {} of node {node}", named(cpus)))
                    .of(port)
                    .read(&path, own.to_string())
                    .read(&cpulist, &near)
                    .for_good(format!("give its stages CPUs of node {own} in the pipeline file: {near}")),
            );
        }
    }
    Ok(found)
}

/// `16.0 GT/s PCIe` as 16.0; nothing for `Unknown`.
fn speed(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok().filter(|gt: &f64| *gt > 0.0)
}

fn link(host: &Host<'_>) -> Look {
    let (mut found, mut unread) = (Vec::new(), None);
    for card in plugged(host) {
        let lanes = |file: &str| host.number(&card.file(file)).filter(|lanes| (1..=32).contains(lanes));
        let rate = |file: &str| host.line(&card.file(file)).as_deref().and_then(speed);
        let now = rate("current_link_speed").zip(lanes("current_link_width"));
        let best = rate("max_link_speed").zip(lanes("max_link_width"));
        let (Some((speed_now, lanes_now)), Some((speed_best, lanes_best))) = (now, best) else {
            unread = Some(format!("/{}", card.file("current_link_speed")));
            continue;
        };
        if speed_now >= speed_best && lanes_now >= lanes_best {
            continue;
        }
        let above = card.above(host);
        let slot = above.as_deref().and_then(|above| {
            let lanes = files::text(above, "max_link_width")?.trim().parse::<u64>().ok()?;
            Some((speed(&files::text(above, "max_link_speed")?)?, lanes))
        });
        let by_slot =
            slot.is_some_and(|(speed, lanes)| speed_now >= speed.min(speed_best) && lanes_now >= lanes.min(lanes_best));
        let (severity, cause, remedy): (fn(String) -> Found, _, _) = match by_slot {
            true => (Found::warning, "; its slot gives no more", "move the card to a slot that gives what it can take"),
            false => (
                Found::error,
                "",
                "reseat the card, and look at the slot's bifurcation, power management and errors (lspci -vv, dmesg)",
            ),
        };
        let what = format!(
            "port {}: PCIe link at {speed_now} GT/s x{lanes_now}, of {speed_best} GT/s x{lanes_best}{cause}",
            card.port.name
        );
        let mut degraded = severity(what).of(&card.port.name);
        for file in ["current_link_speed", "max_link_speed", "current_link_width", "max_link_width"] {
            degraded = degraded.read(card.file(file), host.line(&card.file(file)).unwrap_or_default());
        }
        found.push(degraded.for_good(remedy));
    }
    match unread {
        // A virtual device has no link to be slow.
        Some(path) if found.is_empty() && !host.guest => Err(path),
        _ => Ok(found),
    }
}

/// What a request of DPDK's descriptor rings fits into.
const READ_REQUEST: u32 = 512;

fn payload(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for card in plugged(host) {
        let Ok(own) = card.express(host) else {
            // Not every device has the capability; who may not read it cannot tell.
            return match host.guest {
                true => Ok(found),
                false => card.express(host).map(|_| found),
            };
        };
        let above = card.above(host).and_then(|above| pci::express(&files::bytes(&above, "config")?));
        let possible = above.map_or(own.payload, |above| above.payload_supported.min(own.payload_supported));
        if own.payload >= possible && own.read_request >= READ_REQUEST {
            continue;
        }
        let what = format!(
            "port {}: payloads of {} bytes where {possible} are possible, reads of {}",
            card.port.name, own.payload, own.read_request
        );
        found.push(
            Found::information(what)
                .of(&card.port.name)
                .read(card.file("config"), format!("payload {}, read request {}", own.payload, own.read_request))
                .boot("pci=pcie_bus_perf   # each as large as its path allows"),
        );
    }
    Ok(found)
}

fn aspm(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for card in plugged(host) {
        let states: Vec<String> =
            host.entries(&card.file("link")).into_iter().filter(|name| name.ends_with("_aspm")).collect();
        let on = |name: &&String| host.line(&card.file(&format!("link/{name}"))).as_deref() == Some("1");
        let (path, value) = match states.iter().find(on) {
            Some(name) => (card.file(&format!("link/{name}")), "1".to_owned()),
            None if !states.is_empty() => continue,
            None => match card.express(host) {
                Ok(express) if express.aspm != 0 => (card.file("config"), format!("ASPM {:#04b}", express.aspm)),
                Ok(_) => continue,
                Err(_) if host.guest => continue,
                Err(what) => return Err(what),
            },
        };
        let policy = "sys/module/pcie_aspm/parameters/policy";
        found.push(
            Found::warning(format!("port {}: its link may sleep (ASPM)", card.port.name))
                .of(&card.port.name)
                .read(path, value)
                .read(policy, host.line(policy).unwrap_or_default())
                .now(format!("echo performance | sudo tee /{policy}"))
                .boot("pcie_aspm.policy=performance   # or ASPM off in the firmware's settings"),
        );
    }
    Ok(found)
}

fn iommu(host: &Host<'_>) -> Look {
    let switch = if host.intel { "intel_iommu=on iommu=pt" } else { "iommu=pt" };
    let mut found = Vec::new();
    for card in plugged(host) {
        let (driver, port) = (card.driver(host).unwrap_or_default(), &card.port.name);
        let group = files::link_name(&host.root.join(&card.folder).join("iommu_group"));
        let group_file = |file: &str| {
            let path = format!("sys/kernel/iommu_groups/{}/{file}", group.as_deref()?);
            Some((host.line(&path)?, path))
        };
        if driver == USER_SPACE[0] {
            let nobody = group_file("name").filter(|(name, _)| name == "vfio-noiommu");
            if let Some((name, path)) = nobody {
                let what = format!("port {port}: vfio-pci without an IOMMU protects no memory from it");
                found.push(Found::information(what).of(port).read(path, name).boot(switch));
            } else if group.is_none() {
                let unsafe_mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
                found.push(
                    Found::error(format!("port {port}: bound to vfio-pci, and in no IOMMU group"))
                        .of(port)
                        .read(card.file("iommu_group"), "absent")
                        .read(unsafe_mode, host.line(unsafe_mode).unwrap_or_default())
                        .now(format!("echo 1 | sudo tee /{unsafe_mode}   # then bind it again; protects no memory"))
                        .boot(switch),
                );
            }
        } else if let Some((kind, path)) = group_file("type").filter(|(kind, _)| kind.starts_with("DMA")) {
            found.push(
                Found::warning(format!("port {port}: the IOMMU translates what it does under the kernel's driver"))
                    .of(port)
                    .read(path, kind)
                    .boot("iommu=pt"),
            );
        }
    }
    Ok(found)
}

fn sfc_char(host: &Host<'_>) -> Look {
    let solarflare = plugged(host).find(|card| card.driver(host).as_deref() == Some("sfc"));
    let Some(card) = solarflare.filter(|_| !host.exists("dev/sfc_char")) else { return Ok(Vec::new()) };
    // With a plan the binding itself is the finding.
    if host.subject.pipeline.is_some() {
        return Ok(Vec::new());
    }
    let found = Found::information(format!("port {}: a Solarflare card without the module sfc_char", card.port.name))
        .read("dev/sfc_char", "absent")
        .now("sudo modprobe sfc_char")
        .for_good("install OpenOnload; /etc/modules-load.d/tickpath.conf: sfc_char");
    Ok(vec![found])
}
