//! Cache lines that more than one lcore writes: found by the addresses of what each of them owns. Pure.

use super::Span;

/// Bytes that one CPU takes from another at once: two lines of 64, because the adjacent-line prefetcher pulls pairs.
pub const PAIR: usize = 128;

/// Memory that one lcore writes, or that several do on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub name: String,
    /// Who writes it: blocks of one owner may share lines.
    pub owner: String,
    /// Where it is.
    pub span: Span,
}

/// Where `value` lies.
pub fn span<T: ?Sized>(value: &T) -> Span {
    Span { from: std::ptr::from_ref(value).addr(), bytes: size_of_val(value) }
}

/// Pairs of blocks of different owners on one pair of lines, a sentence each.
pub fn shared(blocks: &[Block]) -> Vec<String> {
    let mut blocks: Vec<&Block> = blocks.iter().filter(|block| block.span.bytes > 0).collect();
    blocks.sort_by_key(|block| block.span.from);
    let last_pair = |block: &Block| block.span.from.saturating_add(block.span.bytes - 1) / PAIR;
    let mut found = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let near = blocks[at + 1..].iter().take_while(|next| next.span.from / PAIR <= last_pair(block));
        found.extend(near.filter(|next| next.owner != block.owner).map(|next| {
            let line = next.span.from / PAIR * PAIR;
            format!("{} ({}) and {} ({}) share the line at {line:#x}", block.name, block.owner, next.name, next.owner)
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(owner: &str, from: usize, bytes: usize) -> Block {
        Block { name: format!("{owner}@{from}"), owner: owner.into(), span: Span { from, bytes } }
    }

    #[test]
    fn blocks_of_two_owners_on_one_pair_of_lines_are_named() {
        let shares = |a, b| shared(&[a, b]).len();
        assert_eq!(shares(block("a", 0, 128), block("b", 128, 8)), 0);
        assert_eq!(shares(block("a", 0, 129), block("b", 192, 8)), 1);
        assert_eq!(shares(block("b", 64, 8), block("a", 0, 8)), 1);
        assert_eq!(shares(block("a", 0, 8), block("a", 64, 8)), 0);
        assert_eq!(shares(block("a", 0, 0), block("b", 0, 8)), 0);
        let far = [block("a", 0, 1000), block("c", 1024, 8), block("b", 512, 8)];
        assert_eq!(shared(&far), ["a@0 (a) and b@512 (b) share the line at 0x200"]);
    }
}
