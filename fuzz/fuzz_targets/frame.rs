//! A whole frame, as rx hands it to parse: Ethernet, IPv4, UDP, MoldUDP64, ITCH 5.0.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::wire::{ethernet, ipv4, itch50, moldudp64, udp};

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = ethernet::Frame::parse(bytes) else { return };
    let mut header = [0; ethernet::HEADER + 2 * ethernet::TAG];
    let length = frame.repr().emit(&mut header).expect("room for two tags");
    assert_eq!(header[..length], bytes[..length]);

    let Ok(packet) = ipv4::Packet::parse(frame.payload()) else { return };
    packet.checksum_fits();
    packet.is_fragment();
    let Ok(datagram) = udp::Datagram::parse(packet.payload()) else { return };
    datagram.checksum(packet.src(), packet.dst());
    let Ok(mold) = moldudp64::Packet::parse(datagram.payload()) else { return };
    for message in mold.messages().filter_map(Result::ok) {
        if let Ok(message) = itch50::parse(message) {
            std::hint::black_box((message.kind(), message.locate(), message.timestamp()));
        }
    }
});
