//! Zeroed slices cut from one region of memory, handed out once at launch and never returned.
//!
//! A region (hugepage memory on the socket of the lcore that reads it, or a plain vector in a test) becomes an
//! [`Arena`]; books, encoder tables and windows take their slices from it. Nothing is freed piecemeal and nothing
//! is allocated after launch.

use bytemuck::{Pod, Zeroable};

/// One cache line of raw memory: the unit in which a region is cut.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line([u64; 8]);

/// What is left of a region. Slices live as long as the region (`'m`), not as long as the arena.
#[derive(Debug, Default)]
pub struct Arena<'m> {
    rest: &'m mut [Line],
}

/// A region too small for what was asked of it. A plan computes sizes with [`bytes`], so this is a defect of the plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the memory region has {left} bytes left and {what} needs {needed}")]
pub struct ArenaFull {
    /// What the slice was for.
    pub what: &'static str,
    /// Bytes asked for.
    pub needed: usize,
    /// Bytes left.
    pub left: usize,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x?}", self.0)
    }
}

/// Bytes that a slice of `len` elements of `T` takes in an arena: whole cache lines.
pub const fn bytes<T>(len: usize) -> usize {
    (len * size_of::<T>()).next_multiple_of(size_of::<Line>())
}

/// A plain vector of lines with room for `bytes`, for tests, tools and benchmarks.
pub fn heap(bytes: usize) -> Vec<Line> {
    vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())]
}

impl<'m> Arena<'m> {
    /// An arena over a zeroed region.
    pub fn new(region: &'m mut [Line]) -> Self {
        Arena { rest: region }
    }

    /// Bytes not yet handed out.
    pub fn left(&self) -> usize {
        size_of_val(self.rest)
    }

    /// The next `len` elements of `T`, all zero, starting on a cache line.
    ///
    /// # Errors
    /// [`ArenaFull`] when the region has fewer bytes left than [`bytes`]`::<T>(len)`.
    pub fn slice<T: Pod>(&mut self, what: &'static str, len: usize) -> Result<&'m mut [T], ArenaFull> {
        const { assert!(align_of::<T>() <= align_of::<Line>()) };
        let needed = bytes::<T>(len);
        let lines = needed / size_of::<Line>();
        let rest = std::mem::take(&mut self.rest);
        if lines > rest.len() {
            let left = size_of_val(rest);
            self.rest = rest;
            return Err(ArenaFull { what, needed, left });
        }
        let (mine, rest) = rest.split_at_mut(lines);
        self.rest = rest;
        if len == 0 {
            return Ok(&mut []);
        }
        let whole: &'m mut [u8] = bytemuck::cast_slice_mut(mine);
        Ok(bytemuck::cast_slice_mut(&mut whole[..len * size_of::<T>()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_zeroed_aligned_and_apart() {
        let mut region = heap(bytes::<u32>(17) + bytes::<u64>(3));
        let mut arena = Arena::new(&mut region);
        let a = arena.slice::<u32>("a", 17).unwrap();
        let b = arena.slice::<u64>("b", 3).unwrap();
        assert!(a.iter().all(|&x| x == 0) && b.iter().all(|&x| x == 0));
        assert_eq!(b.as_ptr() as usize % 64, 0);
        a.fill(u32::MAX);
        assert_eq!(b, [0; 3]);
        assert_eq!(arena.left(), 0);
    }

    #[test]
    fn a_full_region_says_who_asked_and_keeps_its_rest() {
        let mut region = heap(64);
        let mut arena = Arena::new(&mut region);
        let err = arena.slice::<u64>("orders", 9).unwrap_err();
        assert_eq!(err, ArenaFull { what: "orders", needed: 128, left: 64 });
        assert!(arena.slice::<u64>("levels", 8).is_ok());
    }
}
