//! Pages: hugepages where the plan needs them, and what moves, merges or compacts pages under a running program.

use super::host::Host;
use super::{About, Again, Check, Found, Look, Profile::NetworkLatency, tmpfile};
use std::os::unix::fs::MetadataExt;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "memory.hugepages",
        about: About::Hugepages,
        again: Again::Words,
        why: "the plan does not start; on pages of 4 kB instead each TLB miss adds 20 to 50 ns, several a message (order of \
              magnitude)",
        tuned: &[],
        look: hugepages,
    },
    Check {
        id: "memory.hugepages_at_boot",
        about: About::Hugepages,
        again: Again::Never,
        why: "pages asked for later may not be found in fragmented memory after a restart, and then nothing starts; where \
              they are, no ns are lost",
        tuned: &[],
        look: hugepages_at_boot,
    },
    Check {
        id: "memory.hugetlbfs",
        about: About::Hugepages,
        again: Again::Never,
        why: "EAL maps hugepages as files and does not start without the mount: no order at all",
        tuned: &[],
        look: hugetlbfs,
    },
    Check {
        id: "memory.leftovers",
        about: About::Host,
        again: Again::Never,
        why: "files of a program that ended hold hugepages: the next start may find too few, and no order leaves",
        tuned: &[],
        look: leftovers,
    },
    Check {
        id: "memory.thp",
        about: About::Host,
        again: Again::Words,
        why: "khugepaged copies and remaps pages of running programs: faults of 100,000 ns and more, and TLB shootdowns of \
              2,000 to 10,000 ns on every CPU of the process (order of magnitude)",
        tuned: &[NetworkLatency],
        look: thp,
    },
    Check {
        id: "memory.thp_defrag",
        about: About::Host,
        again: Again::Words,
        why: "a page fault waits while memory is compacted: 100,000 to 10,000,000 ns (order of magnitude; \
              Documentation/admin-guide/mm/transhuge.rst)",
        tuned: &[],
        look: thp_defrag,
    },
    Check {
        id: "memory.numa_balancing",
        about: About::Host,
        again: Again::Words,
        why: "pages are unmapped to see who uses them: a fault of 1,000 to 5,000 ns a page, on the path too (order of \
              magnitude; Documentation/admin-guide/sysctl/kernel.rst)",
        tuned: &[NetworkLatency],
        look: numa_balancing,
    },
    Check {
        id: "memory.ksm",
        about: About::Host,
        again: Again::Words,
        why: "merging equal pages write-protects them: a fault of 1,000 to 5,000 ns at the next write (order of magnitude)",
        tuned: &[],
        look: ksm,
    },
];

const NODES: &str = "sys/devices/system/node";

/// Hugepages of one size on a node: kB of a page, how many there are, how many are free.
struct Pages {
    kb: u64,
    all: u64,
    free: u64,
}

fn pages(host: &Host<'_>, node: u32) -> Vec<Pages> {
    let sizes = host.numbered(&format!("{NODES}/node{node}/hugepages"), "hugepages-").into_iter();
    let pages = |(kb, folder): (u64, String)| {
        let number = |file: &str| host.number(&format!("{folder}/{file}"));
        Some(Pages { kb, all: number("nr_hugepages")?, free: number("free_hugepages")? })
    };
    sizes.filter_map(pages).collect()
}

fn hugepages(host: &Host<'_>) -> Look {
    let mut found = Vec::new();
    for need in &host.subject.memory {
        let node = need.node;
        let sizes = pages(host, node);
        let Some(smallest) = sizes.first() else { return Err(format!("/{NODES}/node{node}/hugepages")) };
        // A plan that runs has taken its own.
        let (counted, are) = if host.subject.running { ("nr_hugepages", "there") } else { ("free_hugepages", "free") };
        let of = |size: &Pages| if host.subject.running { size.all } else { size.free };
        let free: u64 = sizes.iter().map(|size| of(size).saturating_mul(size.kb << 10)).sum();
        if free >= need.bytes {
            continue;
        }
        let (kb, missing) = (smallest.kb, (need.bytes - free).div_ceil(smallest.kb << 10));
        let path = format!("{NODES}/node{node}/hugepages/hugepages-{kb}kB/nr_hugepages");
        let total = smallest.all + missing;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        found.push(
            Found::error(format!(
                "node {node}: {} MiB of hugepages are {are}, and the plan needs {}",
                free >> 20,
                mib(need.bytes)
            ))
            .of(&node.to_string())
            .read(path.replace("nr_hugepages", counted), of(smallest).to_string())
            .now(format!("echo {total} | sudo tee /{path}"))
            .boot(format!("hugepages={node}:{total}   # pages of {kb} kB; by node since Linux 5.16")),
        );
    }
    Ok(found)
}

fn hugepages_at_boot(host: &Host<'_>) -> Look {
    if host.command_line.is_none() {
        return Err("/proc/cmdline".into());
    }
    let there = |need: &&super::Memory| pages(host, need.node).iter().any(|size| size.free > 0);
    let Some(need) = host.subject.memory.iter().find(there) else { return Ok(Vec::new()) };
    if host.parameter("hugepages").is_some() {
        return Ok(Vec::new());
    }
    let found = Found::information("hugepages were taken after boot")
        .read("proc/cmdline", "no hugepages=")
        .boot(format!("hugepages={}:{}", need.node, pages(host, need.node).first().map_or(0, |size| size.all)));
    Ok(vec![found])
}

/// Where hugetlbfs is mounted, relative to the root.
fn mounts(host: &Host<'_>) -> Result<Vec<String>, String> {
    let text = crate::host::files::text(host.root, "proc/mounts").ok_or("/proc/mounts")?;
    let mount = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let place = words.next()?.trim_start_matches('/').to_owned();
        (words.next() == Some("hugetlbfs") && !place.split('/').any(|part| part == "..")).then_some(place)
    };
    Ok(text.lines().filter_map(mount).collect())
}

fn hugetlbfs(host: &Host<'_>) -> Look {
    if !host.subject.hugepage_files || !mounts(host)?.is_empty() {
        return Ok(Vec::new());
    }
    let found = Found::error("no hugetlbfs is mounted, and the EAL arguments lack --in-memory")
        .read("proc/mounts", "no hugetlbfs")
        .now("sudo mkdir -p /dev/hugepages && sudo mount -t hugetlbfs hugetlbfs /dev/hugepages")
        .for_good("add --in-memory to the EAL arguments; or systemctl enable dev-hugepages.mount");
    Ok(vec![found])
}

/// EAL holds a lock on each of its files while it lives.
fn leftovers(host: &Host<'_>) -> Look {
    let Some(locks) = crate::host::files::text(host.root, "proc/locks") else { return Err("/proc/locks".into()) };
    // `1: FLOCK ADVISORY READ PID MAJOR:MINOR:INODE 0 EOF`
    let locked: Vec<&str> =
        locks.lines().filter_map(|line| line.split_whitespace().find(|word| word.matches(':').count() == 2)).collect();
    let mut found = Vec::new();
    for mount in mounts(host)? {
        let held = |name: &String| {
            let inode = std::fs::symlink_metadata(host.root.join(&mount).join(name)).map(|file| file.ino());
            inode.is_ok_and(|inode| {
                locked.iter().any(|lock| lock.rsplit(':').next() == Some(inode.to_string().as_str()))
            })
        };
        let files: Vec<String> =
            host.entries(&mount).into_iter().filter(|name| name.contains("map_") && !held(name)).collect();
        if let Some(first) = files.first() {
            found.push(
                Found::warning(format!("{} files that nobody has locked hold hugepages in /{mount}", files.len()))
                    .of(&mount)
                    .read(format!("{mount}/{first}"), "not in /proc/locks")
                    .now(format!("sudo rm /{mount}/*map_*   # once no DPDK program runs"))
                    .for_good("add --in-memory to the EAL arguments: nothing is left behind"),
            );
        }
    }
    Ok(found)
}

const THP: &str = "sys/kernel/mm/transparent_hugepage";

fn thp(host: &Host<'_>) -> Look {
    let path = format!("{THP}/enabled");
    if host.chosen(&path)? != "always" {
        return Ok(Vec::new());
    }
    let found = Found::warning("transparent hugepages are made of any program's memory")
        .read(&path, host.line(&path).unwrap_or_default())
        .now(format!("echo never | sudo tee /{path}"))
        .boot("transparent_hugepage=never");
    Ok(vec![found])
}

fn thp_defrag(host: &Host<'_>) -> Look {
    let path = format!("{THP}/defrag");
    if host.chosen(&path)? != "always" || host.chosen(&format!("{THP}/enabled"))? == "never" {
        return Ok(Vec::new());
    }
    let found = Found::warning("page faults wait for transparent hugepages to be made")
        .read(&path, host.line(&path).unwrap_or_default())
        .now(format!("echo never | sudo tee /{path}"))
        .for_good(tmpfile(&format!("/{path}"), "never"));
    Ok(vec![found])
}

fn numa_balancing(host: &Host<'_>) -> Look {
    let path = "proc/sys/kernel/numa_balancing";
    if host.node_count() < 2 || host.must(path)? == "0" {
        return Ok(Vec::new());
    }
    let found = Found::warning("the kernel samples which node uses which page")
        .read(path, host.line(path).unwrap_or_default())
        .sysctl("kernel.numa_balancing", "0");
    let sysctl = found.permanent.clone().unwrap_or_default();
    Ok(vec![found.for_good(format!("{sysctl}; or kernel parameter numa_balancing=disable"))])
}

fn ksm(host: &Host<'_>) -> Look {
    let path = "sys/kernel/mm/ksm/run";
    if host.must(path)? != "1" {
        return Ok(Vec::new());
    }
    let found = Found::warning("equal pages of programs are merged")
        .read(path, "1")
        .now(format!("echo 2 | sudo tee /{path}"))
        .for_good(tmpfile(&format!("/{path}"), "0"));
    Ok(vec![found])
}
