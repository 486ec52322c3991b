//! What servers send when asked for lost messages: a datagram as an answer to a request, and a stream as a snapshot. Of an
//! answer at most what was asked for is taken; a stream says the same in whatever pieces it comes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tickpath::recovery::{Broken, Event, Reader, check};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[piece, session, wanted], rest)) = bytes.split_first_chunk() else { return };
    answer(rest, session.is_multiple_of(2), wanted);
    let whole = snapshot(rest, rest.len().max(1));
    assert_eq!(snapshot(rest, usize::from(piece).max(1)), whole);
});

fn answer(bytes: &[u8], same_session: bool, wanted: u8) {
    let mut session = [b' '; 10];
    if let (true, Some(own)) = (same_session, bytes.first_chunk()) {
        session = *own;
    }
    let next = bytes.get(10..18).map_or(1, |sequence| u64::from_be_bytes(sequence.try_into().expect("eight")));
    let to = next.saturating_add(wanted.into());
    if let Ok(answer) = check(bytes, &session, next, to) {
        assert!(answer.next > next && answer.next <= to);
        assert_eq!(answer.messages().count() as u64, answer.next - next);
    }
}

/// All that a stream says before it ends or is given up, in pieces of so many bytes.
fn snapshot(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Broken>) {
    let (mut reader, mut said) = (Reader::default(), Vec::new());
    for piece in stream.chunks(piece) {
        let mut left = piece;
        while !left.is_empty() {
            let room = reader.room();
            let n = left.len().min(room.len());
            assert!(n > 0, "a reader that wants more has room for it");
            room[..n].copy_from_slice(&left[..n]);
            reader.wrote(n);
            left = &left[n..];
            loop {
                match reader.next() {
                    Ok(Some(Event::Message(message))) => said.push(message.to_vec()),
                    Ok(Some(event)) => said.push(format!("{event:?}").into_bytes()),
                    Ok(None) => break,
                    Err(broken) => return (said, Some(broken)),
                }
            }
        }
    }
    (said, None)
}
