//! An IEX-TP segment and its DEEP messages; and the bytes as a DEEP message by themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::deep10::{self, Message};
use tickpath::wire::iextp::{Builder, Position, Segment};

macro_rules! emit {
    ($message:expr, $out:expr, $($Variant:ident)*) => {
        match $message { $( Message::$Variant(m) => m.repr().emit($out), )* }
    };
}

fuzz_target!(|bytes: &[u8]| {
    message(bytes);
    let Ok(segment) = Segment::parse(bytes) else { return };
    let header = segment.header();
    let position = Position {
        protocol: header.protocol(),
        channel: header.channel(),
        session: header.session(),
        stream_offset: header.stream_offset(),
        sequence: header.sequence(),
        send_time: header.send_time(),
    };
    let mut out = vec![0; bytes.len()];
    let mut builder = Builder::new(&mut out, position).expect("room for a header");
    let mut whole = true;
    for block in segment.messages() {
        match block {
            Ok(block) => {
                message(block);
                builder.push(block).expect("room: the segment held it");
            }
            Err(_) => whole = false,
        }
    }
    let length = builder.finish();
    if whole {
        let again = Segment::parse(&out[..length]).expect("a built segment parses");
        assert!(again.messages().eq(segment.messages()));
    }
});

fn message(bytes: &[u8]) {
    let Ok(message) = deep10::parse(bytes) else { return };
    let mut out = [0; 96];
    let written = emit!(message, &mut out, SystemEvent SecurityDirectory TradingStatus RetailLiquidity OperationalHalt
        ShortSaleTest SecurityEvent BuyLevel SellLevel Trade TradeBreak OfficialPrice Auction)
    .expect("room for the longest message");
    assert_eq!(Some(written), deep10::length(message.kind()));
    assert_eq!(out[..written], bytes[..written]);
}
