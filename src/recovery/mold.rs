//! An answer of a MoldUDP64 re-request server: a datagram comes in, the wanted messages in it go out, or why none of it is
//! believed. Pure.

use super::ROOM;
use crate::wire::{Error, itch50, moldudp64};

/// The longest message taken: one that a buffer holds.
const LONGEST: usize = ROOM - moldudp64::HEADER - 2;

/// An answer whose every message was looked at.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    packet: moldudp64::Packet<'a>,
    known: usize,
    wanted: usize,
    /// The message after the last of [`Answer::messages`].
    pub next: u64,
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no MoldUDP64 packet.
    #[error("{0}")]
    Header(Error),
    /// It is of another session.
    #[error("the answer is of another session")]
    Session,
    /// It has no messages.
    #[error("the answer has no messages")]
    Empty,
    /// It begins after the first message asked for, or behind the last.
    #[error("messages from {wanted} on expected, from {found} on found")]
    Range {
        /// First message asked for.
        wanted: u64,
        /// First message found.
        found: u64,
    },
    /// All of it has come before.
    #[error("the answer came twice")]
    Known,
    /// A message runs past its end, or is none of ITCH 5.0.
    #[error("message {index} of the answer: {why}")]
    Message {
        /// Its place, from 0.
        index: u16,
        /// What is wrong with it.
        why: Error,
    },
}

/// Whether `bytes` answers a request for messages `next .. to` of `session`: at least with the first of them. What it has
/// beyond `to` is left out.
///
/// # Errors
/// Why it does not.
pub fn check<'a>(bytes: &'a [u8], session: &[u8; 10], next: u64, to: u64) -> Result<Answer<'a>, Refused> {
    let packet = moldudp64::Packet::parse(bytes).map_err(Refused::Header)?;
    if packet.session() != *session {
        return Err(Refused::Session);
    }
    if packet.count() == 0 {
        return Err(Refused::Empty);
    }
    let (first, end) = (packet.sequence(), packet.sequence().saturating_add(packet.count().into()));
    if first > next || first >= to {
        return Err(Refused::Range { wanted: next, found: first });
    }
    if end <= next {
        return Err(Refused::Known);
    }
    for (index, message) in (0..).zip(packet.messages()) {
        if let Err(why) = message.and_then(looks_right) {
            return Err(Refused::Message { index, why });
        }
    }
    let next_after = end.min(to);
    // Both are less than the count, which is 16 bits.
    Ok(Answer { packet, known: (next - first) as usize, wanted: (next_after - next) as usize, next: next_after })
}

impl<'a> Answer<'a> {
    /// The messages that were asked for, in order.
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> {
        // All of them were looked at.
        self.packet.messages().filter_map(Result::ok).skip(self.known).take(self.wanted)
    }
}

/// Whether a message may be handed on: one of ITCH 5.0, or of a type that is skipped by its length.
pub(super) fn looks_right(message: &[u8]) -> Result<(), Error> {
    if message.len() > LONGEST {
        return Err(Error::no_room(message.len(), LONGEST));
    }
    match itch50::parse(message) {
        Ok(_) | Err(Error::UnknownType(_)) => Ok(()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: &[u8; 10] = b"SESSION-AA";

    /// Session, first sequence, count, then system events (`S`, 12 bytes) with the last byte their place.
    fn packet(first: u64, count: u16, present: u16) -> Vec<u8> {
        let mut bytes = [&SESSION[..], &first.to_be_bytes(), &count.to_be_bytes()].concat();
        (0..present).for_each(|at| bytes.extend([&b"\0\x0cS\0\0\0\0\0\0\0\0\0\0"[..], &[at as u8]].concat()));
        bytes
    }

    fn taken(bytes: &[u8], next: u64, to: u64) -> Result<(Vec<u8>, u64), Refused> {
        check(bytes, SESSION, next, to).map(|answer| (answer.messages().map(|m| m[11]).collect(), answer.next))
    }

    #[test]
    fn an_answer_gives_what_was_asked_for_and_no_more() {
        assert_eq!(taken(&packet(10, 4, 4), 10, 14), Ok((vec![0, 1, 2, 3], 14)));
        assert_eq!(taken(&packet(10, 4, 4), 10, 20), Ok((vec![0, 1, 2, 3], 14)), "a short one is asked for again");
        assert_eq!(taken(&packet(10, 4, 4), 12, 20), Ok((vec![2, 3], 14)));
        assert_eq!(taken(&packet(10, 4, 4), 11, 13), Ok((vec![1, 2], 13)));
    }

    #[test]
    fn a_server_that_lies_is_not_believed() {
        let mut other = packet(10, 1, 1);
        other[0] = b'X';
        assert_eq!(taken(&other, 10, 14), Err(Refused::Session));
        assert_eq!(taken(&packet(11, 4, 4), 10, 14), Err(Refused::Range { wanted: 10, found: 11 }));
        assert_eq!(taken(&packet(6, 4, 4), 10, 14), Err(Refused::Known));
        assert_eq!(taken(&packet(10, 0, 0), 10, 14), Err(Refused::Empty));
        assert_eq!(taken(&packet(10, 0xffff, 0), 10, 14), Err(Refused::Empty));
        assert!(matches!(taken(&packet(10, 4, 3), 10, 14), Err(Refused::Message { index: 3, .. })));
        assert!(matches!(taken(&packet(10, 1, 1)[..19], 10, 14), Err(Refused::Header(_))));
        // A known type of another length.
        let mut wrong = packet(10, 1, 1);
        wrong[22] = b'A';
        assert!(matches!(taken(&wrong, 10, 14), Err(Refused::Message { index: 0, why: Error::WrongLength { .. } })));
    }

    proptest! {
        #[test]
        fn whatever_comes_at_most_what_was_asked_for_is_taken(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            mold: bool,
            first in 0u64..20,
            count in 0u16..6,
            next in 0u64..20,
            wanted in 1u64..20,
        ) {
            let bytes = if mold { [&packet(first, count, 4)[..], &bytes].concat() } else { bytes };
            if let Ok((messages, after)) = taken(&bytes, next, next + wanted) {
                prop_assert!(after > next && after <= next + wanted);
                prop_assert_eq!(messages.len() as u64, after - next);
            }
        }
    }
}
