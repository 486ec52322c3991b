//! What a server may send on the order session, in each protocol: packets of the session, and responses about orders known
//! and unknown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::market::{Instrument, Side};
use tickpath::session::{
    Client, CompIds, Credentials, Happening, LONGEST_SENT, Live, LiveOrder, Protocol, Silences, WallClock,
};

fuzz_target!(|bytes: &[u8]| {
    let ids = CompIds { sender: "US".parse().expect("short"), target: "THEM".parse().expect("short") };
    for protocol in [Protocol::Ouch50, Protocol::Boe20, Protocol::Fix42(ids)] {
        serve(&protocol, bytes);
    }
});

fn serve(protocol: &Protocol, bytes: &[u8]) {
    let credentials = Credentials { user: *b"ALICE   ", password: *b"secret    " };
    let clock = WallClock { at: 0, epoch_ns: 0, hz: 1e9 };
    let mut client = Client::new(protocol, credentials, Silences { ours: 1, theirs: 1 }, 1, clock);
    let mut out = [0; LONGEST_SENT];
    client.login(0, &mut out);
    let mut live = Live::new(64);
    for id in 1..=32 {
        live.insert(id, LiveOrder { instrument: Instrument(0), side: Side::Buy, qty: 100, leaving: id % 2 == 0, known: id % 3 == 0, replaced_by: id / 2 * 3, sent: id as u32, left: id as u32 * 2 });
    }
    let mut rest = bytes;
    while let Ok(Some((happening, length))) = client.take(rest, 1) {
        assert!(length > 0 && length <= rest.len());
        if let Happening::Message(message) = happening {
            client.response(message, 1, &mut live);
        }
        while let Some(n) = client.owed(1, &mut out) {
            assert!(n <= out.len());
        }
        rest = &rest[length..];
    }
    // And as a response, whatever the session says.
    client.response(bytes, 1, &mut live);
    assert!(live.len() <= 32);
}
