//! Lists of CPUs and interrupts as the kernel and EAL write them: `0-3,7` to numbers and back. Pure.

/// `sorted` as ranges: `0-3,7`.
pub fn ranges(sorted: &[u32]) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < sorted.len() {
        let first = sorted[i];
        while i + 1 < sorted.len() && sorted[i + 1] == sorted[i] + 1 {
            i += 1;
        }
        let comma = if out.is_empty() { "" } else { "," };
        out += &match sorted[i] {
            last if last == first => format!("{comma}{first}"),
            last => format!("{comma}{first}-{last}"),
        };
        i += 1;
    }
    out
}

/// The CPU ids that text such as `0-3,7` (a kernel CPU list) means, ascending, each once.
pub fn parse_ranges(text: &str) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > MAX_ID || ids.len() > MAX_LISTED {
            return None;
        }
        ids.extend(first..=last);
    }
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

/// The CPU ids that a hexadecimal mask means, ascending; words of 32 may be parted by commas, as the kernel does.
pub fn parse_mask(text: &str) -> Option<Vec<u32>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text).replace(',', "");
    if digits.is_empty() || digits.len() > (MAX_ID as usize + 1) / 4 {
        return None;
    }
    let mut ids = Vec::new();
    for (i, digit) in digits.chars().rev().enumerate() {
        let bits = digit.to_digit(16)?;
        ids.extend((0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| i as u32 * 4 + bit));
    }
    Some(ids)
}

/// CPUs as such a mask.
pub fn hex_mask(ids: &[u32]) -> String {
    let mut words = vec![0u32; ids.iter().max().map_or(1, |id| *id as usize / 32 + 1)];
    for id in ids {
        words[*id as usize / 32] |= 1 << (id % 32);
    }
    let mut words = words.into_iter().rev();
    let first = words.next().map(|word| format!("{word:x}")).unwrap_or_default();
    words.fold(first, |text, word| format!("{text},{word:08x}"))
}

/// More CPUs than a Linux host has; a bound so that `0-4000000000` costs nothing.
const MAX_ID: u32 = 8191;
/// Every CPU several times: more is no list but an attack.
const MAX_LISTED: usize = 4 * (MAX_ID as usize + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_they_are_read() {
        for text in ["0", "0-1", "0-3,7", "1,3,5-6"] {
            assert_eq!(ranges(&parse_ranges(text).unwrap()), text);
        }
    }

    #[test]
    fn masks_are_written_as_they_are_read() {
        for (mask, ids) in [("0", vec![]), ("c", vec![2, 3]), ("1,00000000,80000001", vec![0, 31, 64])] {
            assert_eq!(parse_mask(mask), Some(ids.clone()));
            assert_eq!(hex_mask(&ids), mask);
        }
        assert_eq!(parse_mask("0x16"), Some(vec![1, 2, 4]));
        for wrong in ["", "g", "0x", &"f".repeat(4096)] {
            assert_eq!(parse_mask(wrong), None);
        }
    }

    #[test]
    fn a_list_beyond_any_host_is_refused_early() {
        assert_eq!(parse_ranges("0-4000000000"), None);
        assert_eq!(parse_ranges(&vec!["0-8191"; 9_000].join(",")), None);
    }
}
