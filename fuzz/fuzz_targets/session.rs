//! What a server may send on the order session: SoupBinTCP packets, and OUCH 5.0 responses about orders known and unknown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::market::{Instrument, Side};
use tickpath::session::{Credentials, Happening, Live, LONGEST_SENT, Silences, SoupClient, LiveOrder, response};

fuzz_target!(|bytes: &[u8]| {
    let credentials = Credentials { user: *b"ALICE ", password: *b"secret    " };
    let mut client = SoupClient::new(credentials, Silences { ours: 1, theirs: 1 });
    client.login(0, &mut [0; LONGEST_SENT]);
    let mut live = Live::new(64);
    for id in 1..=32 {
        live.insert(id, LiveOrder { instrument: Instrument(0), side: Side::Buy, qty: 100, leaving: id % 2 == 0, known: id % 3 == 0, replaced_by: id / 2 * 3 });
    }
    let mut rest = bytes;
    while let Ok(Some((happening, length))) = client.take(rest, 1) {
        assert!(length > 0 && length <= rest.len());
        if let Happening::Message(message) = happening {
            response(message, 1, &mut live);
        }
        rest = &rest[length..];
    }
    assert!(live.len() <= 32);
});
