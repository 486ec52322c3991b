//! Any bytes as a trace file: refused with an error that can be printed, or read to the end with every byte accounted for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use tickpath::latency::trace::{Block, Reader};

/// Bytes of a head, and of a record.
const HEAD: u64 = 32;
const RECORD: u64 = 128;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = match Reader::new(Path::new("fuzzed"), bytes) {
        Ok(reader) => reader,
        Err(err) => {
            std::hint::black_box((err.to_string(), err.help()));
            return;
        }
    };
    let json = u32::from_le_bytes(bytes[24..28].try_into().expect("there is a head"));
    let mut good = HEAD + u64::from(json);
    while let Some(block) = reader.next().expect("memory can be read") {
        good += HEAD;
        if let Block::Records(records) = block {
            good += records.len() as u64 * RECORD;
        }
    }
    let damage = reader.damage();
    // The payloads of evidence are not told, so this is a bound.
    assert!(good + damage.bytes_skipped <= bytes.len() as u64);
    assert!(damage.torn_tail <= damage.bytes_skipped);
});
