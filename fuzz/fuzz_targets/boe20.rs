//! A BOE 2 stream in either direction: every message emits the header it has, and its optional fields are within it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::boe20::{
    CANCEL_ORDER_FIELDS, MODIFY_ORDER_FIELDS, Message, NEW_ORDER_FIELDS, RETURN_FIELDS, header, parse_client_id,
};

fuzz_target!(|bytes: &[u8]| {
    let mut stream = bytes;
    while let Ok(message) = Message::parse(stream) {
        let found = message.header();
        let emitted = header(found.kind(), found.unit(), found.sequence(), message.body().len()).expect("it was said");
        assert_eq!(emitted, stream[..emitted.len()]);
        for fixed in [0, 20, 25, 30, 37, 38, 40, 59, 90] {
            for sizes in [NEW_ORDER_FIELDS, MODIFY_ORDER_FIELDS, CANCEL_ORDER_FIELDS, RETURN_FIELDS] {
                let Ok(options) = message.options(fixed, sizes) else { continue };
                for bit in (0..9).flat_map(|bitfield| (0..8).map(move |bit| (bitfield, bit))) {
                    if let Some(field) = options.field(bit) {
                        assert!(field.len() <= message.body().len());
                    }
                }
            }
        }
        if let Some(text) = message.body().first_chunk() {
            parse_client_id(text);
        }
        stream = &stream[message.length()..];
    }
});
