//! Which NUMA node each page of a range lies on, as the kernel tells it, and moving a range to a node.

use std::collections::BTreeMap;
use std::io;

const PAGE: usize = 4096;

/// Where the pages of a range lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lying {
    /// Pages by node.
    pub nodes: BTreeMap<u32, usize>,
    /// Pages that are on no node: never touched, or swapped out.
    pub absent: usize,
}

/// Pages by NUMA node over the range of `len` bytes at `at`. Pages never touched are on no node and not counted.
///
/// # Errors
/// What the kernel says, such as a kernel without NUMA support.
pub fn nodes(at: *const u8, len: usize) -> io::Result<BTreeMap<u32, usize>> {
    Ok(lying(0, at as usize, len, PAGE)?.nodes)
}

/// Where the pages of `page` bytes of process `pid` (0: this one) lie, over the range of `len` bytes at `from`.
///
/// # Errors
/// What the kernel says: `ENOSYS` without NUMA support, `EPERM` for a process of somebody else.
pub fn lying(pid: u32, from: usize, len: usize, page: usize) -> io::Result<Lying> {
    let page = page.max(PAGE);
    let start = from / page * page;
    let count = from.saturating_add(len).saturating_sub(start).div_ceil(page);
    let mut found = Lying::default();
    // In pieces, so that a gigabyte does not need megabytes of pointers.
    const PIECE: usize = 4096;
    for first in (0..count).step_by(PIECE) {
        let n = PIECE.min(count - first);
        let pointers: Vec<usize> = (first..first + n).map(|i| start.wrapping_add(i * page)).collect();
        let mut status = vec![0i32; n];
        // SAFETY: `n` addresses and `n` places for an answer; without target nodes the call only looks.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                pid,
                n,
                pointers.as_ptr(),
                std::ptr::null::<i32>(),
                status.as_mut_ptr(),
                0,
            )
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        for node in status {
            match u32::try_from(node) {
                Ok(node) => *found.nodes.entry(node).or_insert(0) += 1,
                Err(_) => found.absent += 1,
            }
        }
    }
    Ok(found)
}

/// Have the pages of the range of `len` bytes at `from` on `node`: those that are there and that no other process uses are
/// moved, and those to come are taken there as long as it has any. What the range holds stays as it is.
///
/// # Errors
/// What the kernel says: `EIO` when some pages stayed where they were. Of a node that the host has not got it says nothing, and
/// nothing changes.
pub fn bind(from: usize, len: usize, node: u32) -> io::Result<()> {
    const WORDS: usize = 16;
    let mut mask = [0u64; WORDS];
    let Some(word) = mask.get_mut(node as usize / 64) else { return Err(io::ErrorKind::InvalidInput.into()) };
    *word = 1 << (node % 64);
    let start = from / PAGE * PAGE;
    let len = from.saturating_add(len).saturating_sub(start);
    /// linux/mempolicy.h
    const MPOL_MF_STRICT: u32 = 1;
    const MPOL_MF_MOVE: u32 = 2;
    // SAFETY: a mask of as many bits as said; policies and moves of pages change no content.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start,
            len,
            libc::MPOL_PREFERRED,
            mask.as_ptr(),
            WORDS * 64,
            MPOL_MF_STRICT | MPOL_MF_MOVE,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_touched_page_has_a_node() {
        let mut memory = vec![1u8; 64 * PAGE];
        crate::sys::memory::touch(&mut memory);
        let found = match nodes(memory.as_ptr(), memory.len()) {
            Ok(found) => found,
            Err(err) => return println!("skipped: the kernel does not tell nodes of pages: {err}"),
        };
        let total: usize = found.values().sum();
        assert!((64..=65).contains(&total), "{found:?}");
    }

    #[test]
    fn what_is_bound_to_a_node_lies_there_and_is_unchanged() {
        let mut memory = vec![7u8; 64 * PAGE];
        let (at, len) = (memory.as_mut_ptr() as usize, memory.len());
        // Every Linux host with NUMA has a node that this process uses already.
        let node = match nodes(memory.as_ptr(), len) {
            Ok(found) => *found.keys().next().unwrap(),
            Err(err) => return println!("skipped: the kernel does not tell nodes of pages: {err}"),
        };
        if let Err(err) = bind(at, len, node) {
            return println!("skipped: this process may not bind memory: {err}");
        }
        assert_eq!(nodes(memory.as_ptr(), len).unwrap().into_keys().collect::<Vec<_>>(), [node]);
        assert!(memory.iter().all(|&byte| byte == 7));
        assert!(bind(at, len, u32::MAX).is_err());
    }

    #[test]
    fn pages_that_are_not_there_are_absent() {
        // Nothing is ever mapped in the first page.
        match lying(0, 0, 4 * PAGE, PAGE) {
            Ok(found) => assert_eq!(found, Lying { nodes: BTreeMap::new(), absent: 4 }),
            Err(err) => println!("skipped: the kernel does not tell nodes of pages: {err}"),
        }
    }
}
