//! One ITCH 5.0 message: every field is read, and emitting them gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::itch50::{Message, length, parse};

macro_rules! emit {
    ($message:expr, $out:expr, $($Variant:ident)*) => {
        match $message { $( Message::$Variant(m) => m.repr().emit($out), )* }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = parse(bytes) else { return };
    assert_eq!(length(message.kind()), Some(bytes.len()));
    let mut out = [0; 64];
    let written = emit!(message, &mut out, SystemEvent StockDirectory TradingAction RegSho ParticipantPosition
        BreakerLevels BreakerStatus IpoQuoting AuctionCollar OperationalHalt AddOrder AddOrderMpid OrderExecuted
        OrderExecutedPrice OrderCancel OrderDelete OrderReplace Trade CrossTrade BrokenTrade Imbalance RetailInterest
        DirectListing);
    assert_eq!(&out[..written.expect("room for the longest message")], bytes);
});
