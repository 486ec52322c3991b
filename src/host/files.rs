//! Small files of the kernel, read under a folder that tests replace: what is missing or cannot be read is `None`, and no
//! file, however long, is read beyond a bound.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Most that is read of a file: `/proc/cpuinfo` of a thousand CPUs fits.
const FILE_BYTES: u64 = 4 << 20;

/// Most that is read of what a process says of its mappings: of those of a terabyte in hugepages of 2 MB.
const MAPPINGS_BYTES: u64 = 1 << 30;

/// What the file holds.
pub(super) fn bytes(folder: &Path, file: &str) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    File::open(folder.join(file)).ok()?.take(FILE_BYTES).read_to_end(&mut raw).ok()?;
    Some(raw)
}

/// Lines of a file that grows with the mappings of a process; a bad one ends them.
pub(super) fn lines_of_mappings(folder: &Path, file: &str) -> Option<impl Iterator<Item = String>> {
    let file = File::open(folder.join(file)).ok()?.take(MAPPINGS_BYTES);
    Some(BufReader::new(file).split(b'\n').map_while(Result::ok).map(|raw| String::from_utf8_lossy(&raw).into_owned()))
}

/// The same as text; what is not UTF-8 becomes a replacement character.
pub(super) fn text(folder: &Path, file: &str) -> Option<String> {
    bytes(folder, file).map(|raw| String::from_utf8_lossy(&raw).into_owned())
}

/// The text as it is; nothing when it is blank.
pub(super) fn line(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The choice in brackets of `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<String> {
    let (_, after) = text.split_once('[')?;
    line(after.split_once(']')?.0)
}

/// Entries of a folder that are `prefix` and a number (with or without a unit behind it), ascending.
pub(super) fn numbered(folder: &Path, prefix: &str) -> Vec<(u64, PathBuf)> {
    let number = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(prefix)?.trim_end_matches("kB").parse().ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((number(&entry)?, entry.path()))).collect();
    found.sort_unstable();
    found
}

/// The last part of where a link leads, such as the driver of a device.
pub(super) fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_string_lossy().into_owned())
}

/// `0000:3b:00.0` of `3b:00.0` and `0000:3b:00.0`; nothing for any other name, so that a name is never a path.
pub(super) fn pci_address(device: &str) -> Option<String> {
    let device = device.split(',').next()?;
    let full = if device.matches(':').count() == 1 { format!("0000:{device}") } else { device.to_ascii_lowercase() };
    let (domain, rest) = full.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (slot, function) = rest.split_once('.')?;
    let hex = |part: &str, len: std::ops::RangeInclusive<usize>| {
        len.contains(&part.len()) && part.bytes().all(|c| c.is_ascii_hexdigit())
    };
    (hex(domain, 4..=8) && hex(bus, 2..=2) && hex(slot, 2..=2) && hex(function, 1..=1)).then_some(full)
}
