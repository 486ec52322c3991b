//! A running process: its program, its libraries, its heap and EAL's memory as regions, and the nodes that its lcores run on.
//!
//! In: files of `/proc/PID` under a root, and the node of each CPU. Out: [`Region`]s by mapping, for a process of whose plan
//! nothing is known, and beside the regions that a plan knows.

use super::maps::Mapping;
use super::{Kind, Region, Span};
use crate::host::files;
use crate::host::ranges::parse_ranges;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A thread of EAL's that runs stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LcoreThread {
    /// Its name, such as `rte-worker-1`.
    pub name: String,
    /// CPUs that it may run on.
    pub cpus: Vec<u32>,
}

/// The lcores of process `process` by the names of its threads, which DPDK has changed twice: `lcore-worker-N`,
/// `rte-worker-N`, `dpdk-workerN`.
pub fn lcores(root: &Path, process: &str) -> Vec<LcoreThread> {
    let tasks = files::numbered(&root.join("proc").join(process).join("task"), "");
    let lcore = |(_, folder): (u64, std::path::PathBuf)| {
        let name = files::line(&files::text(&folder, "comm")?)?;
        let is_lcore = ["lcore-worker", "rte-worker", "dpdk-worker"].iter().any(|prefix| name.starts_with(prefix));
        let status = files::text(&folder, "status")?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(LcoreThread { name, cpus: parse_ranges(cpus.trim())? }).filter(|_| is_lcore)
    };
    tasks.into_iter().filter_map(lcore).collect()
}

/// The nodes that these lcores run on, ascending; `cpu_nodes` is the node of each CPU.
pub fn nodes(lcores: &[LcoreThread], cpu_nodes: &BTreeMap<u32, u32>) -> Vec<u32> {
    let cpus = lcores.iter().flat_map(|lcore| &lcore.cpus);
    cpus.filter_map(|cpu| cpu_nodes.get(cpu).copied()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Libraries that the path calls, beside those of its devices' drivers.
const CALLED: [&str; 7] =
    ["libc", "libm", "librte_eal", "librte_ethdev", "librte_mbuf", "librte_mempool", "librte_mempool_ring"];
/// What the others are called together: DPDK loads all of its drivers.
const OTHERS: &str = "other libraries";

/// What of these mappings every lcore touches: program, variables, heap, libraries; wanted on one of `nodes`. `exe` is where
/// `/proc/PID/exe` leads, `drivers` are those of the ports by DPDK's names. Libraries that the path does not call may lie
/// anywhere.
pub fn program(mappings: &[Mapping], exe: &str, nodes: &[u32], drivers: &[String]) -> Vec<Region> {
    let executable: BTreeSet<&str> = mappings.iter().filter(|m| m.execute).map(|m| m.path.as_str()).collect();
    let mut regions: BTreeMap<(Kind, String), Vec<Span>> = BTreeMap::new();
    // Zeroed variables follow those of the file without a name of their own.
    let mut variables: Option<(Kind, &str, usize)> = None;
    for mapping in mappings {
        let path = mapping.path.as_str();
        let bss = variables.filter(|(_, _, end)| path.is_empty() && mapping.write && *end == mapping.from);
        let found = match (path, bss) {
            (_, Some((kind, of, _))) => Some((kind, of)),
            ("[heap]", _) => Some((Kind::Data, "[heap]")),
            _ if path == exe && mapping.execute => Some((Kind::Text, path)),
            _ if path == exe && mapping.write => Some((Kind::Data, path)),
            _ if path == exe => Some((Kind::Rodata, path)),
            _ if path.starts_with('/') && executable.contains(path) => Some((Kind::Library, path)),
            _ => None,
        };
        variables = found.filter(|_| mapping.write && path != "[heap]").map(|(kind, of)| (kind, of, mapping.to));
        let Some((kind, of)) = found else { continue };
        let name = match of.rsplit('/').next().unwrap_or(of) {
            name if kind == Kind::Library && !is_called(name, drivers) => OTHERS.to_owned(),
            name => name.to_owned(),
        };
        let span = Span { from: mapping.from, bytes: mapping.to - mapping.from };
        regions.entry((kind, name)).or_default().push(span);
    }
    let region = |((kind, name), spans): ((Kind, String), _)| {
        let nodes = if name == OTHERS { Vec::new() } else { nodes.to_vec() };
        Region { name, kind, spans, nodes, page_bytes: 0 }
    };
    regions.into_iter().map(region).collect()
}

/// Whether the path calls a library of this file name: `librte_net_null.so.23.0` for the driver `net_null`.
fn is_called(file: &str, drivers: &[String]) -> bool {
    let name = file.split(".so").next().unwrap_or(file);
    let device = name.strip_prefix("librte_net_").filter(|device| !device.is_empty());
    CALLED.contains(&name) || device.is_some_and(|device| drivers.iter().any(|driver| driver.contains(device)))
}

/// EAL's memory as far as it can be told from the rest: by its files, or by pages of hugetlbfs.
pub fn eal(mappings: &[Mapping]) -> Option<Region> {
    let is_eal = |mapping: &&Mapping| {
        let file = mapping.path.rsplit('/').next().unwrap_or_default();
        mapping.write && (mapping.page_bytes > 4096 || file.contains("map_") || mapping.path.starts_with("/memfd:"))
    };
    let span = |mapping: &Mapping| Span { from: mapping.from, bytes: mapping.to - mapping.from };
    let spans: Vec<Span> = mappings.iter().filter(is_eal).map(span).collect();
    let region = Region { name: "all of EAL's".into(), kind: Kind::Eal, spans, nodes: vec![], page_bytes: 0 };
    Some(region).filter(|region| !region.spans.is_empty())
}

/// The mapping that holds each of these addresses, as a region: where an allocator has put them among others.
pub fn around(mappings: &[Mapping], name: &str, addresses: &[usize], nodes: &[u32]) -> Option<Region> {
    let holds = |mapping: &&Mapping| addresses.iter().any(|at| (mapping.from..mapping.to).contains(at));
    // What all share is judged for all.
    let own = mappings.iter().filter(holds).filter(|mapping| mapping.path != "[heap]");
    let spans: Vec<Span> = own.map(|m| Span { from: m.from, bytes: m.to - m.from }).collect();
    let region = Region { name: name.into(), kind: Kind::Heap, spans, nodes: nodes.to_vec(), page_bytes: 0 };
    Some(region).filter(|region| !region.spans.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{host_nodes, look, maps};
    use super::*;
    use std::fs;

    /// A process on a host of two nodes: lcores on node 1, a library and half of EAL's memory on node 0.
    fn fake() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for node in 0..2 {
            file(&format!("sys/devices/system/node/node{node}/cpulist"), &format!("{}-{}\n", node * 4, node * 4 + 3));
        }
        for (task, name, cpus) in [(17, "tickpath", "0-7"), (18, "rte-worker-1", "5"), (19, "dpdk-worker2", "6")] {
            file(&format!("proc/17/task/{task}/comm"), &format!("{name}\n"));
            file(&format!("proc/17/task/{task}/status"), &format!("Name:\t{name}\nCpus_allowed_list:\t{cpus}\n"));
        }
        let part = |head: &str, kb: u32, page: u32| {
            format!("{head}\nKernelPageSize: {page} kB\nRss: {} kB\n", if page > 4 { 0 } else { kb })
                + &format!("Shared_Hugetlb: {} kB\n", if page > 4 { kb } else { 0 })
        };
        let smaps = [
            part("400000-500000 r-xp 00000000 fe:00 1   /opt/tickpath", 1024, 4),
            part("500000-600000 r--p 00100000 fe:00 1   /opt/tickpath", 1024, 4),
            part("600000-601000 rw-p 00200000 fe:00 1   /opt/tickpath", 4, 4),
            part("601000-603000 rw-p 00000000 00:00 0 ", 8, 4),
            part("700000-710000 rw-p 00000000 00:00 0   [heap]", 64, 4),
            part("7f0000000000-7f0000100000 r-xp 00000000 fe:00 2   /lib/libc.so.6", 1024, 4),
            part("7f0000100000-7f0000101000 rw-p 00100000 fe:00 2   /lib/libc.so.6", 4, 4),
            part("7f0000200000-7f0000201000 rw-p 00000000 00:00 0 ", 4, 4),
            part("7f0000300000-7f0000400000 r--p 00000000 fe:00 3   /usr/lib/locale/C", 1024, 4),
            part("100000000000-100000400000 rw-s 00000000 00:0f 9   /dev/hugepages/rtemap_0", 4096, 2048),
        ];
        file("proc/17/smaps", &smaps.concat());
        file(
            "proc/17/numa_maps",
            "400000 default N1=256 kernelpagesize_kB=4\n500000 default N1=256 kernelpagesize_kB=4\n\
             600000 default N1=1 kernelpagesize_kB=4\n601000 default N1=2 kernelpagesize_kB=4\n\
             700000 default N1=16 kernelpagesize_kB=4\n7f0000000000 default N0=250 N1=6 kernelpagesize_kB=4\n\
             7f0000100000 default N1=1 kernelpagesize_kB=4\n100000000000 default N0=1 N1=1 kernelpagesize_kB=2048\n",
        );
        root
    }

    fn refuses(_: u32, _: usize, _: usize, _: usize) -> std::io::Result<crate::sys::pages::Lying> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn a_process_is_judged_by_the_nodes_that_its_lcores_run_on() {
        let root = fake();
        let lcores = lcores(root.path(), "17");
        assert_eq!(
            lcores.iter().map(|l| (l.name.as_str(), &l.cpus[..])).collect::<Vec<_>>(),
            [("rte-worker-1", &[5][..]), ("dpdk-worker2", &[6])]
        );
        let near = nodes(&lcores, &crate::host::check::cpu_nodes(root.path()));
        assert_eq!(near, [1]);
        let mappings = maps::read(root.path(), "17").unwrap();
        let mut regions = program(&mappings, "/opt/tickpath", &near, &[]);
        let names = regions.iter().map(|region| (region.kind, region.name.as_str(), region.spans.len()));
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                (Kind::Text, "tickpath", 1),
                (Kind::Rodata, "tickpath", 1),
                (Kind::Data, "[heap]", 1),
                (Kind::Data, "tickpath", 2),
                (Kind::Library, "libc.so.6", 2),
            ]
        );
        regions.extend(eal(&mappings));
        let report = look(17, host_nodes(root.path()), &mappings, &regions, refuses);
        assert_eq!((report.host_nodes, report.unknown.clone()), (2, None));
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!(finding.found, "library libc.so.6: 250 pages are not on node 1: node 0: 1000 KiB, node 1: 28 KiB");
        let eal = report.regions.iter().find(|region| region.kind == Kind::Eal).unwrap();
        assert_eq!(eal.nodes, BTreeMap::from([(0, 2 << 20), (1, 2 << 20)]));
        assert_eq!(eal.pages, BTreeMap::from([(2 << 20, 4 << 20)]));
    }

    #[test]
    fn libraries_of_drivers_that_no_port_has_may_lie_anywhere() {
        let drivers = ["net_ixgbe_vf".to_owned(), "mlx5_pci".to_owned()];
        let called = |file| is_called(file, &drivers);
        assert!(called("libc.so.6") && called("librte_net_ixgbe.so.23.0") && called("librte_net_mlx5.so.23.0"));
        assert!(!called("librte_net_ice.so.23.0") && !called("librte_net_.so") && !called("libcrypto.so.3"));
    }

    #[test]
    fn addresses_lead_to_the_mapping_that_an_allocator_put_them_in() {
        let mappings = maps::read(fake().path(), "17").unwrap();
        let found = around(&mappings, "of lcore 1", &[0x7f00_0020_0040, 0x70_0040], &[1]).unwrap();
        assert_eq!(found.spans, [Span { from: 0x7f00_0020_0000, bytes: 4096 }]);
        assert_eq!(around(&mappings, "of lcore 2", &[17], &[1]), None);
    }
}
