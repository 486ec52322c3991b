//! Any bytes as a block of a journal: no block, or entries that are packed and come back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::journal::code::decode;
use tickpath::journal::{Coder, Item, slots};

fuzz_target!(|bytes: &[u8]| {
    let Some(block) = decode(bytes) else { return };
    let mut rest = &block.slots[..];
    while let Some(first) = rest.first() {
        let length = slots(first).expect("a block is of whole entries");
        if let Some(item) = Item::of(&rest[..length]) {
            std::hint::black_box(item.to_string());
        }
        rest = &rest[length..];
    }
    let mut coder = Coder::new(block.venue);
    coder.take(&block.slots);
    let again = decode(&coder.block(block.lost)).expect("what was packed");
    assert_eq!((again.slots, again.entries), (block.slots, block.entries));
});
