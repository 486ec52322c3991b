//! A FIX 4.2 stream: every message that is taken has the sum it says, and its fields are within it. And the bytes as the
//! body of a message with the right length and sum, which hardly any input has by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::fix42::{BEGIN, Message, number, seal};

fuzz_target!(|bytes: &[u8]| {
    messages(bytes);
    if bytes.len() < 900 {
        let mut message = [BEGIN, b"9=000\x01", bytes, &[0; 7]].concat();
        let end = message.len() - 7;
        seal(&mut message, end);
        messages(&message);
        // A number changes the sum as it must, wherever it is written.
        number(&mut message, 123_456_789);
        if bytes.len() > 17 {
            let sum = message[..end].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
            assert_eq!(&message[end..], format!("10={sum:03}\x01").as_bytes());
        }
    }
});

fn messages(mut stream: &[u8]) {
    while let Ok(message) = Message::parse(stream) {
        assert!(message.length() <= stream.len());
        for (tag, value) in message.fields() {
            assert!(!value.is_empty() && value.len() < message.length());
            message.number(tag);
            message.price(tag);
            message.time_of_day_ns(tag);
        }
        stream = &stream[message.length()..];
    }
}
