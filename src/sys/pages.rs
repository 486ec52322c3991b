//! Which NUMA node each page of a range lies on, as the kernel tells it.

use std::collections::BTreeMap;
use std::io;

const PAGE: usize = 4096;

/// Pages by NUMA node over the range of `len` bytes at `at`. Pages never touched are on no node and not counted.
///
/// # Errors
/// What the kernel says, such as a kernel without NUMA support.
pub fn nodes(at: *const u8, len: usize) -> io::Result<BTreeMap<u32, usize>> {
    let start = at as usize / PAGE * PAGE;
    let count = (at as usize + len - start).div_ceil(PAGE);
    let mut found = BTreeMap::new();
    // In pieces, so that a gigabyte does not need megabytes of pointers.
    const PIECE: usize = 4096;
    for first in (0..count).step_by(PIECE) {
        let n = PIECE.min(count - first);
        let pointers: Vec<usize> = (first..first + n).map(|i| start + i * PAGE).collect();
        let mut status = vec![0i32; n];
        // SAFETY: `n` addresses and `n` places for an answer; without target nodes the call only looks.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
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
        for node in status.into_iter().filter_map(|node| u32::try_from(node).ok()) {
            *found.entry(node).or_insert(0) += 1;
        }
    }
    Ok(found)
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
}
