//! The re-request server: MoldUDP64 requests come in by unicast UDP; each is answered to its sender with as many of the
//! wanted messages as one packet holds. What cannot be answered is counted and not answered.

use super::feed::Feed;
use super::harm::{Lie, Odds, RerequestLies};
use super::mold::{self, Request};
use crate::synth::draw::Draw;
use serde::Serialize;
use std::net::UdpSocket;

/// Stream of draws of lost answers.
const DRAWS: u64 = 1 << 32 | 3;
/// And of lies.
const LIES: u64 = 1 << 32 | 5;

/// See the module's head.
pub struct Rerequests {
    socket: UdpSocket,
    loss: Odds,
    draw: Draw,
    lies: RerequestLies,
    invention: Draw,
    counts: RerequestCounts,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RerequestCounts {
    /// Requests answered.
    pub answered: u64,
    /// Messages in the answers.
    pub messages: u64,
    /// Answers lost on request of the command line.
    pub lost: u64,
    /// Answers that were lies, on request of the command line.
    pub lies: u64,
    /// Requests for what is not published yet, or for nothing.
    pub unanswerable: u64,
    /// Datagrams that are no request, or one of another session.
    pub refused: u64,
}

impl Rerequests {
    /// A server on a socket in non-blocking mode that loses as many of its answers as `loss` says, and lies as `lies` says.
    pub fn new(socket: UdpSocket, loss: Odds, lies: RerequestLies, seed: u64) -> Rerequests {
        let [draw, invention] = [DRAWS, LIES].map(|stream| Draw::new(seed, stream));
        Rerequests { socket, loss, draw, lies, invention, counts: RerequestCounts::default() }
    }

    /// Answers what has arrived.
    pub fn serve(&mut self, feed: &Feed) {
        let mut datagram = [0; mold::PAYLOAD_MAX];
        let mut packet = Vec::new();
        while let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
            let request = Request::read(&datagram[..length]).filter(|request| request.session == feed.session());
            let Some(request) = request else {
                self.counts.refused += 1;
                continue;
            };
            let Some(count) = answer(&request, feed, &mut packet) else {
                self.counts.unanswerable += 1;
                continue;
            };
            let lie = self.lies.strike(&mut self.invention);
            if self.loss.strike(&mut self.draw) {
                self.counts.lost += 1;
                continue;
            }
            if let Some(lie) = lie {
                distort(&mut packet, lie, &request, feed, &mut self.invention);
                self.counts.lies += u64::from(self.socket.send_to(&packet, from).is_ok());
                continue;
            }
            if self.socket.send_to(&packet, from).is_ok() {
                self.counts.answered += 1;
                self.counts.messages += count as u64;
            }
        }
    }

    /// Its socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// What became of requests.
    pub fn counts(&self) -> RerequestCounts {
        self.counts
    }
}

/// Writes the answer to a request and returns how many messages it has; `None` when it would have none.
fn answer(request: &Request, feed: &Feed, packet: &mut Vec<u8>) -> Option<usize> {
    let from = usize::try_from(request.sequence.checked_sub(1)?).ok()?;
    let count = mold::fill(packet, request.session, feed.published(), from, usize::from(request.count));
    (count > 0).then_some(count)
}

/// Makes a lie of an answer.
fn distort(packet: &mut Vec<u8>, lie: Lie, request: &Request, feed: &Feed, draw: &mut Draw) {
    let count = u16::from_be_bytes([packet[18], packet[19]]);
    let (session, from) = (request.session, request.sequence as usize - 1);
    match lie {
        Lie::Session => packet[0] ^= 1,
        Lie::Sequence => {
            let later = request.sequence + 1 + draw.below(1000);
            packet[10..18].copy_from_slice(&later.to_be_bytes());
        }
        Lie::Count => {
            let other = if draw.below(2) == 0 { count - 1 } else { count + 1 + draw.below(100) as u16 };
            packet[18..mold::HEADER].copy_from_slice(&other.to_be_bytes());
        }
        Lie::Beyond => {
            mold::fill(packet, session, feed.published(), from, usize::MAX);
        }
        Lie::Elsewhere => {
            let elsewhere = draw.below(feed.published().len() as u64) as usize;
            mold::fill(packet, session, feed.published(), elsewhere, usize::from(request.count));
        }
        Lie::Truncate => packet.truncate(draw.below(packet.len() as u64) as usize),
        Lie::Garbage => packet.iter_mut().for_each(|byte| *byte = draw.below(256) as u8),
    }
}
