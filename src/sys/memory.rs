//! Advice and first touch for memory that the path will use.

/// Ask for transparent hugepages where a whole one fits. Returns whether the kernel took the advice.
pub fn advise_huge(memory: &mut [u8]) -> bool {
    const HUGE: usize = 2 << 20;
    let skip = memory.as_ptr().align_offset(HUGE);
    let Some(len) = memory.len().checked_sub(skip).map(|len| len / HUGE * HUGE).filter(|len| *len > 0) else {
        return false;
    };
    // SAFETY: the range lies inside the slice; the advice changes page sizes, not contents.
    unsafe { libc::madvise(memory.as_mut_ptr().add(skip).cast(), len, libc::MADV_HUGEPAGE) == 0 }
}

/// Write to every page, so that it exists from now on, keeping what it holds.
pub fn touch(memory: &mut [u8]) {
    for byte in memory.iter_mut().step_by(4096) {
        let at: *mut u8 = byte;
        // SAFETY: `at` is a live byte; volatile so that the store of what is there already is not dropped.
        unsafe { at.write_volatile(at.read_volatile()) }
    }
}
