//! The program's own instructions and constants in hugepages: a copy of what the file holds, put in the same place.

use super::pages;
use std::io;

const HUGE: usize = 2 << 20;

/// A part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First address.
    pub from: usize,
    /// Length.
    pub len: usize,
    /// Instructions; if not, constants.
    pub execute: bool,
}

/// Put a copy in transparent hugepages in place of the whole 2 MB pages of the program's instructions and constants, on
/// `node` where one is given. Returns the parts that were replaced. Every byte stays what it was, so threads may run
/// meanwhile; profilers that look symbols up by file no longer find those of the copy.
///
/// # Errors
/// What the kernel says of the first part that it refuses; later ones are as they were. The last step takes the old pages away
/// before it puts the new ones there: a kernel that cannot finish it ends the process.
pub fn in_huge_pages(node: Option<u32>) -> io::Result<Vec<Part>> {
    let mut replaced = Vec::new();
    for part in program() {
        match replace(part, node) {
            Ok(part) => replaced.extend(part),
            Err(err) if replaced.is_empty() => return Err(err),
            Err(_) => break,
        }
    }
    Ok(replaced)
}

/// The read-only segments of the program itself, which dl_iterate_phdr(3) lists first.
fn program() -> Vec<Part> {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, parts: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the C library hands over a valid entry with so many headers, and what `program` gave it.
        let (info, parts) = unsafe { (&*info, &mut *parts.cast::<Vec<Part>>()) };
        // SAFETY: as above.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let fixed = headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0);
        parts.extend(fixed.map(|h| Part {
            from: (info.dlpi_addr + h.p_vaddr) as usize,
            len: h.p_memsz as usize,
            execute: h.p_flags & libc::PF_X != 0,
        }));
        1
    }
    let mut parts = Vec::<Part>::new();
    // SAFETY: the vector outlives the call, which ends after the first entry.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut parts).cast()) };
    parts
}

fn replace(Part { from, len, execute }: Part, node: Option<u32>) -> io::Result<Option<Part>> {
    let first = from.next_multiple_of(HUGE);
    let Some(len) = (from + len).checked_sub(first).map(|left| left / HUGE * HUGE).filter(|len| *len > 0) else {
        return Ok(None);
    };
    let refused = |at: *mut libc::c_void| if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) };
    let protection = libc::PROT_READ | if execute { libc::PROT_EXEC } else { 0 };
    // SAFETY: a reservation of its own, in which the copy lies at a multiple of a hugepage. A read-only segment of a program
    // is readable and nobody writes it; mremap puts the copy in its place in one step, during which a thread that runs
    // there faults, waits for the kernel, and goes on with the same bytes.
    unsafe {
        let room = len + HUGE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let reserved =
            refused(libc::mmap(std::ptr::null_mut(), room, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0))?;
        let copy = reserved.byte_add(reserved.align_offset(HUGE));
        let give_back = |err| {
            libc::munmap(reserved, room);
            Err(err)
        };
        if libc::madvise(copy, len, libc::MADV_HUGEPAGE) != 0 {
            return give_back(io::Error::last_os_error());
        }
        if let Some(node) = node {
            // Where the kernel refuses, the copy lies where this thread runs.
            let _ = pages::bind(copy.addr(), len, node);
        }
        // Written before it is read: after a first read older kernels (6.1) make small pages of it.
        std::ptr::copy_nonoverlapping(std::ptr::with_exposed_provenance::<u8>(first), copy.cast(), len);
        if libc::mprotect(copy, len, protection) != 0 {
            return give_back(io::Error::last_os_error());
        }
        let place = std::ptr::with_exposed_provenance_mut::<libc::c_void>(first);
        let moved = libc::mremap(copy, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, place);
        if let Err(err) = refused(moved) {
            return give_back(err);
        }
        // What is left of the reservation before and behind the copy.
        libc::munmap(reserved, copy.byte_offset_from(reserved) as usize);
        libc::munmap(copy.byte_add(len), room - len - copy.byte_offset_from(reserved) as usize);
    }
    Ok(Some(Part { from: first, len, execute }))
}
