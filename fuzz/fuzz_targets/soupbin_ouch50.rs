//! A SoupBinTCP stream in either direction, with OUCH 5.0 messages in its data packets; and the bytes as an OUCH message
//! by themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::ouch50::{Inbound, Outbound, Tag, parse_inbound, parse_outbound};
use tickpath::wire::soupbin::{ClientPacket, Frame, ServerPacket};

macro_rules! emit {
    ($message:expr, $Enum:ident, $tags:expr, $out:expr, $($View:ident)*) => {
        match $message { $( $Enum::$View(m, _) => m.repr().emit($tags, $out), )* }
    };
}

fuzz_target!(|bytes: &[u8]| {
    messages(bytes);
    let mut stream = bytes;
    while let Ok(frame) = Frame::parse(stream) {
        let taken = &stream[..frame.length()];
        if let Ok(packet) = ClientPacket::parse(frame) {
            same_bytes(taken, |out| packet.emit(out).expect("room: the stream held it"));
        }
        if let Ok(packet) = ServerPacket::parse(frame) {
            same_bytes(taken, |out| packet.emit(out).expect("room: the stream held it"));
        }
        messages(frame.payload());
        stream = &stream[frame.length()..];
    }
});

/// Emits into as many bytes as were parsed, and finds the same.
fn same_bytes(bytes: &[u8], emit: impl FnOnce(&mut [u8]) -> usize) {
    let mut out = vec![0; bytes.len()];
    assert_eq!(emit(&mut out), bytes.len());
    assert_eq!(out, bytes);
}

fn messages(bytes: &[u8]) {
    if let Ok(message) = parse_inbound(bytes)
        && let Ok(tags) = message.appendage().collect::<Result<Vec<Tag<'_>>, _>>()
    {
        let mut out = vec![0; bytes.len() + 2];
        let written = emit!(message, Inbound, &tags, &mut out,
            EnterOrder ReplaceOrder CancelOrder ModifyOrder AccountQuery);
        same_fields(bytes, &out[..written.expect("room: the message held it")]);
    }
    if let Ok(message) = parse_outbound(bytes)
        && let Ok(tags) = message.appendage().collect::<Result<Vec<Tag<'_>>, _>>()
    {
        let mut out = vec![0; bytes.len() + 2];
        let written = emit!(message, Outbound, &tags, &mut out, SystemEvent Accepted Replaced Canceled
            SelfMatchCanceled Executed BrokenTrade Rejected CancelPending CancelRejected PriorityUpdate Modified Restated
            QueryResponse);
        let written = written.expect("room: the message held it");
        // `D` may hold a byte between its fields and its appendage that is stepped over and not emitted.
        if !matches!(message, Outbound::SelfMatchCanceled(..)) {
            same_fields(bytes, &out[..written]);
        }
    }
}

/// The length of an empty appendage may have been absent, or present where it needs not be.
fn same_fields(parsed: &[u8], emitted: &[u8]) {
    let shared = parsed.len().min(emitted.len());
    assert_eq!(parsed[..shared], emitted[..shared]);
    assert!(parsed[shared..].iter().chain(&emitted[shared..]).all(|&byte| byte == 0));
}
