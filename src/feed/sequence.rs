//! Sequence numbers of one channel, carried by one or more lines: what of a packet is new, what was lost, when a
//! session begins.
//!
//! The first packet is taken as it comes. A packet of the past is a duplicate; a packet from the future is a gap,
//! whose healing (arbitration window, re-requests, snapshots) will sit behind [`Admit::gap`]. A restart is told by a
//! changed session id (MoldUDP64) or by a line whose own sequence falls back to 1 (IEX-TP, which keeps the id).

/// The most lines that may carry a channel.
pub const MAX_LINES: usize = 8;

/// What to do with a packet of `count` messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admit {
    /// A new session begins with this packet.
    pub start: bool,
    /// Messages `.0 .. .1` never arrived.
    pub gap: Option<(u64, u64)>,
    /// Messages at the front that are known already.
    pub skip: u64,
    /// The packet is of a session that has been left: ignore it whole.
    pub late: bool,
}

/// How far a line's own sequence may fall back and still be called reordered. Further is a restart whose first packet
/// was lost.
const REORDERED: u64 = 4096;

/// Packets in a row of the session that was left, after which leaving it is held for the mistake: one datagram with a
/// foreign or damaged session id must not silence a feed.
const WINS_BACK: u32 = 32;

/// Sequence state of one channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channel {
    session: Option<u128>,
    previous: Option<u128>,
    /// Where the previous session stood when it was left.
    previous_next: u64,
    /// Packets of the previous session since the last one of this.
    late: u32,
    next: u64,
    restarts: u32,
    lines: [Line; MAX_LINES],
}

/// What is known of one line: its own next sequence, and how many restarts it has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    next: u64,
    restarts: u32,
}

impl Channel {
    /// Judge the packet that holds messages `sequence .. sequence + count` of `session`.
    /// `restarts_at_one`: whether this protocol restarts by falling back to sequence 1.
    #[inline]
    pub fn admit(&mut self, line: usize, session: u128, sequence: u64, count: u64, restarts_at_one: bool) -> Admit {
        let mut verdict = Admit::default();
        match self.session {
            Some(current) if current == session => self.late = 0,
            None => {
                self.session = Some(session);
                self.next = sequence;
            }
            Some(_) if self.previous == Some(session) => {
                self.late += 1;
                if self.late < WINS_BACK {
                    return Admit { late: true, ..verdict };
                }
                let missing = (self.previous_next.min(sequence), sequence);
                *self = Channel { session: Some(session), next: sequence, ..Channel::default() };
                verdict.start = true;
                verdict.gap = Some(missing);
            }
            Some(current) => {
                let previous_next = self.next;
                *self =
                    Channel { session: Some(session), previous: Some(current), previous_next, ..Channel::default() };
                self.next = sequence;
                verdict.start = true;
            }
        }
        let of_line = &mut self.lines[line];
        if of_line.next == 0 {
            // First heard now: whatever restarted before is not this line's to repeat.
            of_line.restarts = self.restarts;
        }
        let fell_back = of_line.next > 1 && (sequence == 1 || of_line.next > sequence.saturating_add(REORDERED));
        if restarts_at_one && fell_back {
            of_line.restarts += 1;
            if of_line.restarts > self.restarts {
                self.restarts = of_line.restarts;
                self.next = 1;
                verdict.start = true;
            }
        }
        let end = sequence.saturating_add(count);
        of_line.next = end;
        if of_line.restarts < self.restarts {
            // This line still delivers what came before a restart that another line has already shown.
            return Admit { late: true, ..verdict };
        }
        if sequence > self.next {
            verdict.gap = Some((self.next, sequence));
            self.next = sequence;
        }
        verdict.skip = (self.next - sequence).min(count);
        verdict
    }

    /// Whether the packet that holds messages `sequence .. sequence + count` is simply the next one, as nearly all are.
    /// If so it is admitted whole, as [`admit`](Self::admit) would; if not, nothing happened.
    #[inline(always)]
    pub fn follows(&mut self, line: usize, session: u128, sequence: u64, count: u64) -> bool {
        let Line { next, restarts } = self.lines[line];
        // A line whose own sequence is ahead of this packet may be showing a restart.
        let next_one = self.session == Some(session)
            && sequence == self.next
            && (1..=sequence).contains(&next)
            && restarts == self.restarts;
        if next_one {
            self.late = 0;
            self.lines[line].next = sequence.saturating_add(count);
        }
        next_one
    }

    /// The messages before `next` have been delivered.
    #[inline]
    pub fn delivered(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Forget everything: the next packet is taken as it comes.
    pub fn reset(&mut self) {
        *self = Channel::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(c: &mut Channel, line: usize, session: u128, sequence: u64, count: u64, one: bool) -> Admit {
        let mut short = c.clone();
        let a = c.admit(line, session, sequence, count, one);
        if short.follows(line, session, sequence, count) {
            assert_eq!((a, &*c), (Admit::default(), &short), "what follows is admitted whole");
        }
        if !a.late {
            c.delivered(sequence + count);
        }
        a
    }

    #[test]
    fn a_capture_that_begins_in_mid_session_is_taken_as_it_comes() {
        let mut c = Channel::default();
        assert_eq!(feed(&mut c, 0, 1, 14_764_496, 3, false), Admit::default());
        assert_eq!(feed(&mut c, 0, 1, 14_764_499, 1, false), Admit::default());
    }

    #[test]
    fn the_next_packet_follows_and_no_other() {
        let mut c = Channel::default();
        assert!(!c.follows(0, 1, 10, 5), "the first of a session");
        feed(&mut c, 0, 1, 10, 5, false);
        for (line, session, sequence) in [(0, 1, 16), (0, 1, 14), (0, 2, 15), (1, 1, 15)] {
            assert!(!c.follows(line, session, sequence, 2), "{line} {session} {sequence}");
        }
        assert!(c.follows(0, 1, 15, 2));
        c.delivered(17);
        assert!(c.follows(0, 1, 17, 0), "a heartbeat");
        assert!(c.follows(0, 1, 17, 1));
    }

    #[test]
    fn the_second_line_gives_only_what_is_new() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 10, 5, false);
        assert_eq!(feed(&mut c, 1, 1, 10, 5, false).skip, 5);
        assert_eq!(feed(&mut c, 1, 1, 13, 4, false).skip, 2);
        assert_eq!(feed(&mut c, 0, 1, 15, 2, false).skip, 2);
    }

    #[test]
    fn a_gap_names_what_is_missing_and_goes_on() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 10, 5, false);
        assert_eq!(feed(&mut c, 0, 1, 20, 1, false).gap, Some((15, 20)));
        assert_eq!(feed(&mut c, 0, 1, 21, 1, false).gap, None);
    }

    #[test]
    fn a_heartbeat_shows_a_gap_too() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 10, 5, false);
        assert_eq!(feed(&mut c, 0, 1, 16, 0, false).gap, Some((15, 16)));
    }

    #[test]
    fn a_new_session_starts_and_the_old_one_is_late() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 10, 5, false);
        assert!(feed(&mut c, 0, 2, 1, 5, false).start);
        assert!(feed(&mut c, 1, 1, 15, 5, false).late);
        assert!(!feed(&mut c, 1, 2, 1, 6, false).start);
    }

    #[test]
    fn falling_back_to_one_restarts_once_for_all_lines() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 1, 5, true);
        feed(&mut c, 1, 1, 1, 5, true);
        assert!(feed(&mut c, 0, 1, 1, 0, true).start);
        assert!(feed(&mut c, 1, 1, 6, 1, true).late);
        assert!(!feed(&mut c, 0, 1, 1, 0, true).start, "heartbeats at 1 do not restart again");
        assert!(!feed(&mut c, 1, 1, 1, 2, true).start, "the second line follows");
        assert_eq!(feed(&mut c, 0, 1, 1, 2, true).skip, 2);
    }

    #[test]
    fn a_restart_whose_first_packet_was_lost_is_a_restart_with_a_gap() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 1, 50_000, true);
        let a = feed(&mut c, 0, 1, 3, 2, true);
        assert_eq!((a.start, a.gap, a.skip), (true, Some((1, 3)), 0));
        assert_eq!(feed(&mut c, 0, 1, 5, 1, true), Admit::default());
    }

    #[test]
    fn a_line_first_heard_after_a_restart_counts_at_once() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 1, 50, true);
        assert!(feed(&mut c, 0, 1, 1, 2, true).start);
        assert_eq!(feed(&mut c, 1, 1, 3, 4, true), Admit::default());
    }

    #[test]
    fn a_foreign_session_id_does_not_silence_the_feed() {
        let mut c = Channel::default();
        feed(&mut c, 0, 1, 100, 1, false);
        assert!(feed(&mut c, 0, 0xdead, 7, 1, false).start);
        for i in 1..u64::from(WINS_BACK) {
            assert!(feed(&mut c, 0, 1, 100 + i, 1, false).late);
        }
        let back = feed(&mut c, 0, 1, 132, 1, false);
        assert_eq!((back.late, back.start, back.gap), (false, true, Some((101, 132))));
        assert_eq!(feed(&mut c, 0, 1, 133, 1, false), Admit::default());
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        let mut c = Channel::default();
        c.admit(0, 1, u64::MAX, u64::MAX, true);
        c.delivered(u64::MAX);
        assert_eq!(c.admit(0, 1, u64::MAX, 7, true).skip, 0);
        let a = c.admit(0, 1, 0, 7, true);
        assert_eq!((a.start, a.skip), (true, 1));
    }
}
