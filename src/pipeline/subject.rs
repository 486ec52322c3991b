//! What of a host a plan uses, in the words of the host's check. Plan in, [`Subject`] out; pure.

use super::plan::{Plan, Stage};
use crate::host::check::{Fifo, Memory, Port, Subject, Venue};

/// What the check judges for `plan`, made of the pipeline file called `name`. `starting`: this process is about to
/// carry it out.
pub fn subject(plan: &Plan, name: &str, starting: bool) -> Subject {
    // Lcores that float are nobody's hot CPUs.
    let cpus_of = |lcores: &mut dyn Iterator<Item = u32>| {
        let lcores = lcores.filter(|_| !plan.oversubscribed).filter_map(|id| plan.lcore(id));
        let mut cpus: Vec<u32> = lcores.flat_map(|lcore| lcore.cpus.iter().copied()).collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    };
    let venue = |venue: &super::plan::VenuePlan| Venue {
        name: venue.name.clone(),
        cpus: cpus_of(&mut venue.stages.iter().map(|stage| stage.lcore)),
    };
    let ports = plan.ports.iter().enumerate().filter_map(|(index, port)| {
        let device = port.hardware()?.to_owned();
        let card = port.efvi.as_ref().map(|card| card.interface.clone());
        let pollers = plan.venues.iter().flat_map(|venue| {
            let feeds = venue.feed.lines.iter().any(|line| line.port == index);
            let orders = venue.orders.port == index;
            let stages = [(feeds, Stage::Rx), (orders, Stage::Tx)].into_iter().filter(|(polls, _)| *polls);
            stages.map(|(_, stage)| venue.stage(stage).lcore)
        });
        Some(Port {
            name: port.name.clone(),
            interface: card.or_else(|| interface(&plan.eal_args, &device)),
            cpus: cpus_of(&mut pollers.collect::<Vec<_>>().into_iter()),
            device,
        })
    });
    let memory = plan.memory.iter().filter(|_| !plan.no_huge);
    Subject {
        pipeline: Some(name.to_owned()),
        starting,
        running: false,
        hot_cpus: cpus_of(&mut plan.lcores.iter().map(|lcore| lcore.id)),
        fifo: plan.lcores.iter().filter_map(|lcore| lcore.fifo).max().map(|priority| Fifo {
            priority,
            cpus: cpus_of(&mut plan.lcores.iter().filter(|lcore| lcore.fifo.is_some()).map(|lcore| lcore.id)),
        }),
        venues: plan.venues.iter().map(venue).collect(),
        ports: ports.collect(),
        memory: memory.map(|node| Memory { node: node.node, bytes: node.hugepage_bytes() }).collect(),
        hugepage_files: !plan.no_huge && !plan.eal_args.iter().any(|arg| arg == "--in-memory"),
    }
}

/// The kernel's interface behind a vdev: `iface=` of its `--vdev`.
fn interface(eal_args: &[String], device: &str) -> Option<String> {
    let vdev = |arg: &String| {
        let said = arg.strip_prefix("--vdev=").unwrap_or(arg);
        let parameters = said.strip_prefix(device)?.strip_prefix(',')?;
        parameters.split(',').find_map(|parameter| parameter.strip_prefix("iface=")).map(str::to_owned)
    };
    eal_args.iter().find_map(vdev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PipelineFile;
    use crate::pipeline::host::{Cpu, HostFacts, Hugepages};
    use crate::pipeline::plan::{Mode, Request};

    fn plan(eal_args: &str) -> Plan {
        let text = include_str!("../../pipelines/demo.json");
        let host = HostFacts {
            cpus: (0..4).map(|id| Cpu { id, node: 0 }).collect(),
            available_bytes: Some(64 << 30),
            hugepages: vec![Hugepages { node: 0, page_bytes: 2 << 20, free: 4096 }],
            ..HostFacts::default()
        };
        let eal_args = eal_args.split_whitespace().map(str::to_owned).collect();
        let request = Request { mode: Mode::Run, eal_args, capture_ports: Vec::new() };
        Plan::new(&PipelineFile::parse(text).unwrap(), &host, &request).unwrap()
    }

    #[test]
    fn a_plan_is_judged_by_what_it_uses() {
        let plan = plan("--vdev=net_af_packet0,iface=veth0,qpairs=1 --vdev net_af_packet2,iface=veth2");
        let subject = subject(&plan, "demo.json", true);
        assert_eq!(subject.hot_cpus, [1]);
        assert_eq!(subject.venues, [Venue { name: "demo".into(), cpus: vec![1] }]);
        let interfaces: Vec<Option<&str>> = subject.ports.iter().map(|port| port.interface.as_deref()).collect();
        assert_eq!(interfaces, [Some("veth0"), None, Some("veth2")]);
        assert!(subject.ports.iter().all(|port| port.cpus == [1]));
        assert_eq!(subject.memory.len(), 1);
        assert!(subject.memory[0].bytes > plan.memory[0].total() && subject.hugepage_files);
    }

    #[test]
    fn without_hugepages_none_are_asked_for() {
        let subject = subject(&plan("--no-huge -m 2048"), "demo.json", false);
        assert!(subject.memory.is_empty() && !subject.hugepage_files);
    }
}
