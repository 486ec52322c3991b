//! The mappings of a process with page size and NUMA nodes: `/proc/PID/smaps` and `/proc/PID/numa_maps`, joined by
//! address. Takes any content: a line that is not understood is passed over, a mapping without figures has none.

use crate::host::files;
use std::collections::BTreeMap;
use std::path::Path;

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub from: usize,
    /// Address after the last.
    pub to: usize,
    /// It can be written.
    pub write: bool,
    /// It can be executed.
    pub execute: bool,
    /// File or name in brackets; empty for anonymous memory.
    pub path: String,
    /// Bytes of a page, as the kernel accounts for them: 4096, or those of its hugepages.
    pub page_bytes: u64,
    /// Bytes that are in memory.
    pub present_bytes: u64,
    /// Those of them in transparent hugepages.
    pub huge_bytes: u64,
    /// Bytes by node; empty where the kernel does not tell.
    pub nodes: BTreeMap<u32, u64>,
    /// Most processes that a page of it is mapped by; 0 where the kernel does not tell.
    pub mapped_by: u64,
}

impl Mapping {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        (self.to - self.from) as u64
    }

    /// Pages of a file that are not this process's alone, and that it cannot have moved: what it could not write it did not copy.
    pub fn is_shared(&self) -> bool {
        self.path.starts_with('/') && !self.write && self.mapped_by > 1
    }

    /// Bytes by size of the pages they are in.
    pub fn page_sizes(&self) -> BTreeMap<u64, u64> {
        const HUGE: u64 = 2 << 20;
        let huge = self.huge_bytes.min(self.present_bytes);
        let sizes = [(HUGE, huge), (self.page_bytes, self.present_bytes - huge)];
        let mut bytes = BTreeMap::new();
        for (size, n) in sizes.into_iter().filter(|(_, n)| *n > 0) {
            *bytes.entry(size).or_insert(0) += n;
        }
        bytes
    }
}

/// Mappings of a process, ascending; `process` is `self` or a number. `None` when they may not be read.
pub fn read(root: &Path, process: &str) -> Option<Vec<Mapping>> {
    let folder = root.join("proc").join(process);
    let mut mappings = parse_smaps(files::lines_of_mappings(&folder, "smaps")?);
    join_nodes(&mut mappings, files::lines_of_mappings(&folder, "numa_maps").into_iter().flatten());
    Some(mappings)
}

/// proc(5), `/proc/pid/smaps`: a line as in `/proc/pid/maps`, then lines of `Name: NUMBER kB`.
pub fn parse_smaps(lines: impl Iterator<Item = impl AsRef<str>>) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in lines {
        let line = line.as_ref();
        if let Some(mapping) = head(line) {
            mappings.push(mapping);
            continue;
        }
        let Some(last) = mappings.last_mut() else { continue };
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap_or_default(), words.next().and_then(|n| n.parse::<u64>().ok()));
        let Some(bytes) = value.and_then(|kb| kb.checked_mul(1024)) else { continue };
        match name {
            "KernelPageSize:" => last.page_bytes = bytes,
            // Hugetlb pages are not in Rss.
            "Rss:" | "Shared_Hugetlb:" | "Private_Hugetlb:" => {
                last.present_bytes = last.present_bytes.saturating_add(bytes)
            }
            "AnonHugePages:" | "ShmemPmdMapped:" | "FilePmdMapped:" => {
                last.huge_bytes = last.huge_bytes.saturating_add(bytes);
            }
            _ => {}
        }
    }
    // A bound by what the addresses say: whoever adds them up cannot overflow.
    for mapping in &mut mappings {
        mapping.present_bytes = mapping.present_bytes.min(mapping.bytes());
    }
    mappings.sort_by_key(|mapping| mapping.from);
    mappings
}

/// `FROM-TO PERMISSIONS OFFSET DEVICE INODE PATH`
fn head(line: &str) -> Option<Mapping> {
    let (from, rest) = line.split_once('-')?;
    let (to, rest) = rest.split_once(' ')?;
    let address = |text: &str| usize::from_str_radix(text, 16).ok();
    let (from, to) = (address(from)?, address(to)?);
    let permissions = rest.get(..4)?.as_bytes();
    if from >= to {
        return None;
    }
    let path = rest.splitn(5, ' ').nth(4).unwrap_or_default().trim_start();
    let path = path.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(Mapping {
        from,
        to,
        write: permissions[1] == b'w',
        execute: permissions[2] == b'x',
        path,
        ..Mapping::default()
    })
}

/// proc(5), `/proc/pid/numa_maps`: `ADDRESS POLICY` and words, of which `N0=12` counts pages on node 0,
/// `kernelpagesize_kB=4` says how large they are and `mapmax=2` by how many processes a page is mapped at most, where it is not one.
pub fn join_nodes(mappings: &mut [Mapping], lines: impl Iterator<Item = impl AsRef<str>>) {
    for line in lines {
        let mut words = line.as_ref().split_whitespace();
        let Some(from) = words.next().and_then(|word| usize::from_str_radix(word, 16).ok()) else { continue };
        let Ok(at) = mappings.binary_search_by_key(&from, |mapping| mapping.from) else { continue };
        let (mut pages, mut page_bytes, mut mapped_by) = (BTreeMap::new(), 4096, 1);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse::<u64>().ok();
            match (name, name.strip_prefix('N').and_then(|node| node.parse::<u32>().ok()), value) {
                ("kernelpagesize_kB", _, Some(kb)) => page_bytes = kb.saturating_mul(1024),
                ("mapmax", _, Some(most)) => mapped_by = most,
                (_, Some(node), Some(count)) => {
                    pages.insert(node, count);
                }
                _ => {}
            }
        }
        let most = mappings[at].bytes();
        let bytes = |count: u64| count.saturating_mul(page_bytes).min(most);
        mappings[at].mapped_by = mapped_by;
        mappings[at].nodes = pages.into_iter().map(|(node, count)| (node, bytes(count))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Linux 6.1 writes them: a program's text, a heap with a transparent hugepage, hugetlbfs.
    const SMAPS: &str = "\
55d0c8a00000-55d0c8c00000 r-xp 00002000 fe:00 247030                     /opt/my program
Size:               2048 kB
KernelPageSize:        4 kB
Rss:                1024 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me 
55d0ca000000-55d0ca400000 rw-p 00000000 00:00 0                          [heap]
KernelPageSize:        4 kB
Rss:                3072 kB
AnonHugePages:      2048 kB
7f0000000000-7f0000400000 rw-s 00000000 00:0f 99                         /dev/hugepages/rtemap_0 (deleted)
KernelPageSize:     2048 kB
Rss:                   0 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    2048 kB
";
    const NUMA_MAPS: &str = "\
55d0c8a00000 default file=/opt/my\\040program mapped=256 mapmax=2 N0=6 N1=250 kernelpagesize_kB=4
55d0ca000000 prefer:1 heap anon=768 dirty=768 N1=768 kernelpagesize_kB=4
7f0000000000 bind:1 file=/dev/hugepages/rtemap_0\\040(deleted) huge dirty=2 N1=2 kernelpagesize_kB=2048
7f0000900000 default
";

    #[test]
    fn a_mapping_has_its_page_size_and_its_nodes() {
        let mut mappings = parse_smaps(SMAPS.lines());
        join_nodes(&mut mappings, NUMA_MAPS.lines());
        let [text, heap, eal] = &mappings[..] else { panic!("{mappings:?}") };
        assert_eq!((text.path.as_str(), text.execute, text.write), ("/opt/my program", true, false));
        assert_eq!(text.nodes, BTreeMap::from([(0, 6 << 12), (1, 250 << 12)]));
        assert_eq!(text.page_sizes(), BTreeMap::from([(4096, 1 << 20)]));
        assert_eq!(
            [text, heap, eal].map(|mapping| (mapping.mapped_by, mapping.is_shared())),
            [(2, true), (1, false), (1, false)]
        );
        assert_eq!(heap.page_sizes(), BTreeMap::from([(4096, 1 << 20), (2 << 20, 2 << 20)]));
        assert_eq!(heap.nodes, BTreeMap::from([(1, 3 << 20)]));
        assert_eq!(eal.path, "/dev/hugepages/rtemap_0 (deleted)");
        assert_eq!(eal.page_sizes(), BTreeMap::from([(2 << 20, 4 << 20)]));
        assert_eq!(eal.nodes, BTreeMap::from([(1, 4 << 20)]));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_mappings() {
        assert_eq!(read(tempfile::tempdir().unwrap().path(), "17"), None);
    }

    fn line() -> impl Strategy<Value = String> {
        let number = prop_oneof![Just(String::new()), "[0-9a-f]{1,17}", "-?[0-9]{1,30}", ".{0,6}"];
        let head = (number.clone(), number.clone(), "[rwxps -]{0,5}", ".{0,12}");
        let head = head.prop_map(|(from, to, flags, rest)| format!("{from}-{to} {flags} {rest}"));
        let name = prop_oneof![Just("Rss:"), Just("KernelPageSize:"), Just("AnonHugePages:"), Just("Private_Hugetlb:")];
        let figure = (name, number.clone()).prop_map(|(name, n)| format!("{name} {n} kB"));
        let node = (number.clone(), number.clone(), number)
            .prop_map(|(at, node, n)| format!("{at} default N{node}={n} kernelpagesize_kB={n} N={n} ="));
        prop_oneof![head, figure, node, ".{0,40}"]
    }

    proptest! {
        #[test]
        fn any_content_gives_mappings_within_their_addresses(lines in prop::collection::vec(line(), 0..40)) {
            let text = lines.join("\n");
            let mut mappings = parse_smaps(text.lines());
            join_nodes(&mut mappings, text.lines());
            for mapping in mappings {
                prop_assert!(mapping.from < mapping.to);
                prop_assert!(mapping.page_sizes().values().sum::<u64>() <= mapping.bytes());
                prop_assert!(mapping.nodes.values().all(|bytes| *bytes <= mapping.bytes()));
            }
        }
    }
}
