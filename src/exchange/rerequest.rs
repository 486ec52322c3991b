//! The re-request server: MoldUDP64 requests come in by unicast UDP; each is answered to its sender with as many of the
//! wanted messages as one packet holds. What cannot be answered is counted and not answered.

use super::feed::Feed;
use super::harm::Odds;
use super::mold::{self, Request};
use crate::synth::draw::Draw;
use serde::Serialize;
use std::net::UdpSocket;

/// Stream of draws of lost answers.
const DRAWS: u64 = 1 << 32 | 3;

/// See the module's head.
pub struct Rerequests {
    socket: UdpSocket,
    loss: Odds,
    draw: Draw,
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
    /// Requests for what is not published yet, or for nothing.
    pub unanswerable: u64,
    /// Datagrams that are no request, or one of another session.
    pub refused: u64,
}

impl Rerequests {
    /// A server on a socket in non-blocking mode that loses as many of its answers as `loss` says.
    pub fn new(socket: UdpSocket, loss: Odds, seed: u64) -> Rerequests {
        Rerequests { socket, loss, draw: Draw::new(seed, DRAWS), counts: RerequestCounts::default() }
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
            if self.loss.strike(&mut self.draw) {
                self.counts.lost += 1;
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
