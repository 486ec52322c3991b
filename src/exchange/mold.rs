//! MoldUDP64 1.0 as its server speaks it: published messages become downstream packets, a request's bytes become what is
//! asked for. Written from the specification's offsets and apart from `wire::moldudp64`, so that each checks the other.

use super::batch::Batch;

/// Largest UDP payload: 1,500 bytes of Ethernet less IPv4 and UDP headers.
pub const PAYLOAD_MAX: usize = 1472;
/// Bytes of the downstream header, and of a whole request.
pub const HEADER: usize = 20;
/// Count that says "end of session".
pub const END_OF_SESSION: u16 = 0xFFFF;

/// What a receiver asks for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Session, ASCII.
    pub session: [u8; 10],
    /// First wanted sequence number.
    pub sequence: u64,
    /// Wanted messages.
    pub count: u16,
}

impl Request {
    /// The request that a datagram holds: 20 bytes exactly, else `None`.
    pub fn read(datagram: &[u8]) -> Option<Request> {
        if datagram.len() != HEADER {
            return None;
        }
        let (session, rest) = datagram.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some(Request { session: *session, sequence: u64::from_be_bytes(*sequence), count: u16::from_be_bytes(*count) })
    }
}

/// Writes into `packet` as many of `messages` from position `from` on as one packet holds, at most `most`; returns how
/// many. Position 0 has sequence number 1. Without a message it is a heartbeat.
pub fn fill(packet: &mut Vec<u8>, session: [u8; 10], messages: &Batch, from: usize, most: usize) -> usize {
    control(packet, session, from as u64 + 1, 0);
    let mut count = 0;
    while count < most.min(usize::from(END_OF_SESSION) - 1) {
        let Some(message) = messages.message(from + count) else { break };
        if packet.len() + 2 + message.len() > PAYLOAD_MAX {
            break;
        }
        packet.extend((message.len() as u16).to_be_bytes());
        packet.extend(message);
        count += 1;
    }
    packet[18..HEADER].copy_from_slice(&(count as u16).to_be_bytes());
    count
}

/// Writes a packet without messages: a heartbeat (`count` 0) or the end of the session. `sequence` is the next one.
pub fn control(packet: &mut Vec<u8>, session: [u8; 10], sequence: u64, count: u16) {
    packet.clear();
    packet.extend(session);
    packet.extend(sequence.to_be_bytes());
    packet.extend(count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_laid_out_as_the_specification_says() {
        let mut messages = Batch::default();
        messages.push(b"AB");
        messages.push(b"C");
        let mut packet = Vec::new();
        assert_eq!(fill(&mut packet, *b"000010059B", &messages, 0, 9), 2);
        assert_eq!(packet, b"000010059B\0\0\0\0\0\0\0\x01\0\x02\0\x02AB\0\x01C");
        assert_eq!(fill(&mut packet, *b"000010059B", &messages, 1, 9), 1);
        assert_eq!(packet, b"000010059B\0\0\0\0\0\0\0\x02\0\x01\0\x01C");
        assert_eq!(fill(&mut packet, *b"000010059B", &messages, 2, 9), 0);
        assert_eq!(packet, b"000010059B\0\0\0\0\0\0\0\x03\0\0");
        control(&mut packet, *b"000010059B", 3, END_OF_SESSION);
        assert_eq!(packet, b"000010059B\0\0\0\0\0\0\0\x03\xff\xff");
    }

    #[test]
    fn a_packet_ends_before_it_outgrows_ethernet() {
        let mut messages = Batch::default();
        (0..100).for_each(|_| messages.push(&[0; 50]));
        let mut packet = Vec::new();
        // 20 + 27 × 52 = 1,424; one more would be 1,476.
        assert_eq!(fill(&mut packet, [b' '; 10], &messages, 0, 99), 27);
        assert_eq!(packet.len(), 1424);
    }

    #[test]
    fn a_request_has_twenty_bytes() {
        let bytes = b"000010059B\0\0\0\0\0\0\x01\x02\0\x09";
        assert_eq!(Request::read(bytes), Some(Request { session: *b"000010059B", sequence: 258, count: 9 }));
        assert_eq!(Request::read(&bytes[..19]), None);
        assert_eq!(Request::read(&[&bytes[..], b"x"].concat()), None);
    }
}
