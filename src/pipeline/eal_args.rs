//! What a person's EAL arguments already settle: which lcores, which main lcore, hugepages or not, how much memory.
//!
//! In: the words after `--`. Out: [`EalArgs`]. It reads the few options that a plan depends on and leaves the rest to
//! EAL; it changes nothing.

use crate::host::ranges::parse_mask;
pub use crate::host::ranges::{parse_ranges, ranges};
use std::collections::BTreeMap;

/// What EAL arguments say about lcores and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalArgs {
    /// Lcores and the CPUs of each, from `-l`, `-c` or `--lcores`; `None` when there is none of them.
    pub lcores: Option<BTreeMap<u32, Vec<u32>>>,
    /// `--main-lcore`.
    pub main_lcore: Option<u32>,
    /// `--no-huge`.
    pub no_huge: bool,
    /// `-m`, in MiB.
    pub megabytes: Option<u64>,
}

impl EalArgs {
    /// What `args` say.
    ///
    /// # Errors
    /// The argument whose value cannot be understood, with what was expected.
    pub fn parse(args: &[String]) -> Result<EalArgs, String> {
        let mut said = EalArgs::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "--no-huge" {
                said.no_huge = true;
                continue;
            }
            let Some((option, attached)) = split_option(arg) else { continue };
            let value = match attached {
                Some(value) => value,
                None => rest.next().ok_or_else(|| format!("the EAL argument {option} has no value"))?,
            };
            let refused = |expected: &str| format!("the EAL argument {option} {value} is not {expected}");
            match option {
                "-l" | "--lcores" => {
                    let lcores = parse_lcores(value)
                        .ok_or_else(|| refused("a list of lcores, such as 1-3,5 or 0@0,(1-2)@(4-5)"))?;
                    said.lcores = Some(lcores);
                }
                "-c" => {
                    let ids = parse_mask(value).filter(|ids| !ids.is_empty());
                    let ids = ids.ok_or_else(|| refused("a hexadecimal mask"))?;
                    said.lcores = Some(ids.into_iter().map(|id| (id, vec![id])).collect());
                }
                "--main-lcore" => said.main_lcore = Some(value.parse().map_err(|_| refused("an lcore id"))?),
                _ => said.megabytes = Some(value.parse().map_err(|_| refused("a number of megabytes"))?),
            }
        }
        Ok(said)
    }

    /// The lcore EAL will make its main one.
    pub fn main(&self) -> Option<u32> {
        let first = self.lcores.as_ref().and_then(|lcores| lcores.keys().next().copied());
        self.main_lcore.or(first)
    }
}

fn split_option(arg: &str) -> Option<(&str, Option<&str>)> {
    for long in ["--lcores", "--main-lcore"] {
        if let Some(rest) = arg.strip_prefix(long) {
            if rest.is_empty() {
                return Some((long, None));
            }
            return rest.strip_prefix('=').map(|value| (long, Some(value)));
        }
    }
    for short in ["-l", "-c", "-m"] {
        if let Some(rest) = arg.strip_prefix(short) {
            return Some((short, (!rest.is_empty()).then_some(rest)));
        }
    }
    None
}

/// EAL's grammar: `1,2@(5-7),(3-5)@(0,2),(0,6),7-8`. A group without `@` shares the CPUs of its own numbers.
fn parse_lcores(text: &str) -> Option<BTreeMap<u32, Vec<u32>>> {
    let mut lcores = BTreeMap::new();
    let mut rest = text;
    loop {
        let grouped = rest.starts_with('(');
        let (ids, after) = parse_set(rest)?;
        let (cpus, after) = match after.strip_prefix('@') {
            Some(cpus) => parse_set(cpus).map(|(cpus, after)| (Some(cpus), after))?,
            None => (grouped.then(|| ids.clone()), after),
        };
        for id in ids {
            lcores.insert(id, cpus.clone().unwrap_or_else(|| vec![id]));
        }
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(lcores),
            None => return None,
        }
    }
}

fn parse_set(text: &str) -> Option<(Vec<u32>, &str)> {
    if let Some(inside) = text.strip_prefix('(') {
        let (list, after) = inside.split_once(')')?;
        return Some((parse_ranges(list)?, after));
    }
    let end = text.find([',', '@']).unwrap_or(text.len());
    Some((parse_ranges(&text[..end])?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<EalArgs, String> {
        EalArgs::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn reads_the_lcore_list_of_the_eal_guide() {
        // The example of the EAL parameters page of the DPDK guide.
        let said = parse(&["--lcores", "1,2@(5-7),(3-5)@(0,2),(0,6),7-8"]).unwrap();
        let expected = [
            (0, vec![0, 6]),
            (1, vec![1]),
            (2, vec![5, 6, 7]),
            (3, vec![0, 2]),
            (4, vec![0, 2]),
            (5, vec![0, 2]),
            (6, vec![0, 6]),
            (7, vec![7]),
            (8, vec![8]),
        ];
        assert_eq!(said.lcores, Some(BTreeMap::from(expected)));
        assert_eq!(said.main(), Some(0));
    }

    #[test]
    fn reads_every_spelling_of_the_options_it_knows_and_skips_the_others() {
        let three = Some(BTreeMap::from([(1, vec![1]), (2, vec![2]), (4, vec![4])]));
        for args in [["-l", "1-2,4"], ["-c", "0x16"], ["--lcores", "1,2,4"]] {
            assert_eq!(parse(&args).unwrap().lcores, three, "{args:?}");
        }
        for args in ["-l1-2,4", "-c16", "--lcores=1-2,4"] {
            assert_eq!(parse(&[args]).unwrap().lcores, three, "{args}");
        }
        let said = parse(&["--vdev=net_null0", "--no-huge", "-m", "512", "--main-lcore=3"]).unwrap();
        assert_eq!(said, EalArgs { lcores: None, main_lcore: Some(3), no_huge: true, megabytes: Some(512) });
    }

    #[test]
    fn a_list_that_means_nothing_is_refused() {
        for list in ["", "a", "3-1", "1,,2", "(1", "1@", "1)2", "0-4000000000"] {
            assert!(parse(&["-l", list]).is_err(), "{list:?}");
        }
        assert_eq!(parse(&["--lcores"]), Err("the EAL argument --lcores has no value".into()));
    }
}
