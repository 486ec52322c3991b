//! A MoldUDP64 packet: its blocks end in order or in one error, and building it anew gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::moldudp64::{Builder, Kind, Packet};

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let messages: Vec<_> = packet.messages().collect();
    assert!(messages.len() <= packet.count().into());
    let Ok(messages) = messages.iter().copied().collect::<Result<Vec<_>, _>>() else {
        assert!(messages[..messages.len() - 1].iter().all(Result::is_ok));
        return;
    };
    let mut out = vec![0; bytes.len()];
    let mut builder = Builder::new(&mut out, packet.session(), packet.sequence()).expect("room for a header");
    for message in &messages {
        builder.push(message).expect("room: the packet held it");
    }
    let length = match packet.kind() {
        Kind::EndOfSession => builder.finish_session(),
        Kind::Messages | Kind::Heartbeat => builder.finish(),
    };
    assert_eq!(out[..length], bytes[..length]);
});
