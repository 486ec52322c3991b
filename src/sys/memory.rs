//! Advice and first touch for memory that the path will use.

/// Put fresh, zeroed, private pages, hugepages where the kernel has them, in place of the whole 2 MB pages of `memory`.
/// For memory that the kernel would never back with hugepages as it is, such as a shared file's. Returns whether the
/// kernel did; if not, the memory is as it was.
pub fn replace_by_huge(memory: &mut [u8]) -> bool {
    let Some(range) = whole_huge_pages(memory) else { return false };
    let (at, len) = (range.as_mut_ptr().cast(), range.len());
    // SAFETY: the range lies inside an exclusive slice of bytes, for which any content, zero too, is valid; whoever
    // gave the memory finds readable and writable pages at the same place when it comes back.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        libc::mmap(at, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) == at
            && libc::madvise(at, len, libc::MADV_HUGEPAGE) == 0
    }
}

/// Write to every page, so that it exists from now on, keeping what it holds.
pub fn touch(memory: &mut [u8]) {
    // A first read maps a huge page of zeros, of which older kernels (6.1) make small pages at the first write.
    let skip = memory.as_ptr().align_offset(4096).min(memory.len());
    populate(memory[skip..].as_mut_ptr().expose_provenance(), (memory.len() - skip) / 4096 * 4096);
    for byte in memory.iter_mut().step_by(4096) {
        let at: *mut u8 = byte;
        // SAFETY: `at` is a live byte; volatile so that the store of what is there already is not dropped.
        unsafe { at.write_volatile(at.read_volatile()) }
    }
}

/// Have every page of a writable range exist from now on, what it holds unchanged. Kernels before Linux 5.14 do nothing.
pub fn populate(from: usize, len: usize) {
    // SAFETY: takes page faults ahead of their time, and changes no content; a range that is not mapped is refused.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(from), len, libc::MADV_POPULATE_WRITE) };
}

/// Have what is allocated from now on, up to 32 MB at a time, in the heap of the thread that asks for it, and not in mappings
/// of its own that nobody can tell from others.
pub fn keep_in_heaps() {
    /// The most that glibc takes.
    const MOST: libc::c_int = 32 << 20;
    // A heap that shrinks unmaps pages, of which every CPU of the process is told by an interrupt: it keeps what it has.
    // SAFETY: sets numbers of the allocator's.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MOST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
    }
}

/// The part of `memory` that hugepages can hold.
fn whole_huge_pages(memory: &mut [u8]) -> Option<&mut [u8]> {
    const HUGE: usize = 2 << 20;
    let skip = memory.as_ptr().align_offset(HUGE);
    let len = memory.len().checked_sub(skip)? / HUGE * HUGE;
    (len > 0).then(|| &mut memory[skip..skip + len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_populated_is_there_and_unchanged() {
        let mut memory = Vec::<u8>::with_capacity(8 << 20);
        let (from, len) = (memory.as_mut_ptr().expose_provenance().next_multiple_of(4096), 4 << 20);
        memory.push(7);
        populate(from, len);
        match crate::sys::pages::lying(0, from, len, 4096) {
            // Another name for "this kernel is too old".
            Ok(found) if found.absent > 0 => println!("skipped: the kernel does not populate"),
            Ok(found) => assert_eq!(found.nodes.values().sum::<usize>(), len / 4096),
            Err(err) => println!("skipped: the kernel does not tell nodes of pages: {err}"),
        }
        assert_eq!(memory, [7]);
    }

    #[test]
    fn whole_huge_pages_become_zero_and_the_rest_stays() {
        let mut memory = vec![7u8; 7 << 20];
        let inner = whole_huge_pages(&mut memory).unwrap();
        let (from, len) = (inner.as_ptr() as usize, inner.len());
        let from = from - memory.as_ptr() as usize;
        if !replace_by_huge(&mut memory) {
            println!("skipped: this kernel has no transparent hugepages");
            return;
        }
        touch(&mut memory);
        assert!(memory[..from].iter().chain(&memory[from + len..]).all(|&byte| byte == 7));
        assert!(memory[from..from + len].iter().all(|&byte| byte == 0));
        assert!(!replace_by_huge(&mut memory[..1 << 20]));
    }
}
