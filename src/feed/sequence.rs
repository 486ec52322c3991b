//! Sequence numbers of one channel, carried by one or more lines: what of a packet is new, what was lost, when a
//! session begins, and what each line was worth.
//!
//! The first packet is taken as it comes. A packet of the past is a duplicate; a packet from the future is a gap, unless
//! the caller holds it back until what is missing has come: then it asks [`Channel::hear`] when the packet arrives and
//! [`Channel::place`] when its turn comes. A restart is told by a changed session id (MoldUDP64) or by a line whose own
//! sequence falls back to 1 (IEX-TP, which keeps the id).

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

/// What a line delivered, and how it compares with the others. The counts are of all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Packets.
    pub packets: u64,
    /// Messages that this line brought first.
    pub won: u64,
    /// Messages that this line passed over and never brought. Those that no line brought are lost messages of the feed too.
    pub lost: u64,
    /// Packets whose lead was timed: those that this line brought first, one at a time.
    pub leads: u64,
    /// Sum of their leads over the next line to bring the same, in ns of arrival.
    pub lead_ns: u64,
    /// The longest of them.
    pub lead_max_ns: u64,
}

impl LineCounters {
    /// Sums, and the longer of the longest leads.
    pub fn add(&mut self, other: &LineCounters) {
        self.packets += other.packets;
        self.won += other.won;
        self.lost += other.lost;
        self.leads += other.leads;
        self.lead_ns += other.lead_ns;
        self.lead_max_ns = self.lead_max_ns.max(other.lead_max_ns);
    }
}

/// How far a line's own sequence may fall back and still be called reordered. Further is a restart whose first packet
/// was lost.
const REORDERED: u64 = 4096;

/// Packets in a row of the session that was left, after which leaving it is held for the mistake: one datagram with a
/// foreign or damaged session id must not silence a feed.
const WINS_BACK: u32 = 32;

/// Messages that a snapshot may be ahead of the lines: those of the fastest second published for a feed, twice.
const AHEAD: u64 = 1 << 20;

/// Holes in a line's own sequence that are remembered, so that a packet that comes after a later one is not taken for lost.
const HOLES: usize = 4;

/// Duplicates between two packets whose lead is timed.
const TIMED_EVERY: u32 = 64;

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
    timing: Timing,
    /// A session whose first packet is not its first message has a gap.
    from_one: bool,
}

/// What is known of one line: its own next sequence, and how many restarts it has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    next: u64,
    restarts: u32,
    counters: LineCounters,
    holes: [(u64, u64); HOLES],
}

/// The one packet whose lead is being timed.
#[derive(Clone, Debug, Default, PartialEq)]
enum Timing {
    /// So many duplicates more until the next one.
    Rest(u32),
    /// The next packet that brings something new.
    #[default]
    Wanted,
    /// This message, which a line brought at that time.
    Under { message: u64, line: usize, at_ns: u64 },
}

impl Channel {
    /// A channel that misses all messages from 1 on, instead of taking the first packet as it comes.
    pub fn from_one() -> Channel {
        Channel { from_one: true, ..Channel::default() }
    }

    /// Judge the packet that holds messages `sequence .. sequence + count` of `session` and take it at once.
    /// `restarts_at_one`: whether this protocol restarts by falling back to sequence 1.
    #[inline]
    pub fn admit(&mut self, line: usize, session: u128, sequence: u64, count: u64, restarts_at_one: bool) -> Admit {
        let heard = self.hear(line, session, sequence, count, restarts_at_one);
        if heard.late {
            return heard;
        }
        let placed = self.place(sequence, count);
        self.won(line, count - placed.skip);
        Admit { start: heard.start, gap: heard.gap.or(placed.gap), ..placed }
    }

    /// Take note of a packet that arrived on `line`: whether it is late, whether it starts a session, and a gap that no
    /// other packet can fill.
    pub fn hear(&mut self, line: usize, session: u128, sequence: u64, count: u64, restarts_at_one: bool) -> Admit {
        let mut verdict = Admit::default();
        self.lines[line].counters.packets += 1;
        match self.session {
            Some(current) if current == session => self.late = 0,
            None => {
                self.session = Some(session);
                self.next = if self.from_one { 1 } else { sequence };
            }
            Some(_) if self.previous == Some(session) => {
                self.late += 1;
                if self.late < WINS_BACK {
                    return Admit { late: true, ..verdict };
                }
                if !self.from_one {
                    verdict.gap = Some((self.previous_next.min(sequence), sequence));
                }
                let next = if self.from_one { 1 } else { sequence };
                *self = Channel { session: Some(session), next, ..self.anew() };
                verdict.start = true;
            }
            Some(current) => {
                *self = Channel {
                    session: Some(session),
                    previous: Some(current),
                    previous_next: self.next,
                    next: if self.from_one { 1 } else { sequence },
                    ..self.anew()
                };
                verdict.start = true;
            }
        }
        let of_line = &mut self.lines[line];
        if of_line.next == 0 {
            // First heard now: whatever restarted before is not this line's to repeat.
            of_line.restarts = self.restarts;
            of_line.next = sequence;
        }
        let fell_back = of_line.next > 1 && (sequence == 1 || of_line.next > sequence.saturating_add(REORDERED));
        if restarts_at_one && fell_back {
            of_line.next = 1;
            of_line.holes = Default::default();
            of_line.restarts += 1;
            if of_line.restarts > self.restarts {
                self.restarts = of_line.restarts;
                self.next = 1;
                self.timing = Timing::default();
                verdict.start = true;
            }
        }
        of_line.follow(sequence, sequence.saturating_add(count));
        // This line still delivers what came before a restart that another line has already shown.
        verdict.late = of_line.restarts < self.restarts;
        verdict
    }

    /// It is the turn of messages `sequence .. sequence + count`: which of them are new, and what is missing before them.
    pub fn place(&mut self, sequence: u64, count: u64) -> Admit {
        let mut verdict = Admit::default();
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
        let of_line = &mut self.lines[line];
        // A line whose own sequence is ahead of this packet may be showing a restart; one that is behind has lost some.
        let next_one = self.session == Some(session)
            && sequence == self.next
            && sequence == of_line.next
            && of_line.restarts == self.restarts;
        if next_one {
            self.late = 0;
            of_line.next = sequence.saturating_add(count);
            of_line.counters.packets += 1;
            of_line.counters.won += count;
        }
        next_one
    }

    /// The messages before `next` have been delivered.
    #[inline]
    pub fn delivered(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// The next message that has not been taken.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The messages before `next` came otherwise than in packets.
    pub fn jump(&mut self, next: u64) {
        self.next = next;
    }

    /// Whether message `next` can be one that the feed goes on with: not far beyond what the lines have brought.
    pub fn may_go_on_with(&self, next: u64) -> bool {
        let heard = self.lines.iter().map(|line| line.next).max().unwrap_or(0);
        (1..=heard.saturating_add(AHEAD)).contains(&next)
    }

    /// How often this session has fallen back to its first message.
    #[inline(always)]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The session, once a packet has come.
    pub fn session(&self) -> Option<u128> {
        self.session
    }

    /// `line` was the first to bring so many messages.
    pub fn won(&mut self, line: usize, messages: u64) {
        let counters = &mut self.lines[line].counters;
        counters.won = counters.won.wrapping_add(messages);
    }

    /// A packet of `line` was cut short: so many messages that it had been the first to bring were not in it.
    pub fn cut(&mut self, line: usize, messages: u64) {
        let counters = &mut self.lines[line].counters;
        counters.won = counters.won.wrapping_sub(messages);
        counters.lost = counters.lost.wrapping_add(messages);
    }

    /// Whether the next packet that brings something new is to be told to [`time`](Self::time).
    pub fn wants_time(&self) -> bool {
        self.timing == Timing::Wanted
    }

    /// A packet of messages `sequence .. sequence + count`, `new` of them, came on `line` at `at_ns`.
    pub fn time(&mut self, line: usize, sequence: u64, count: u64, new: u64, at_ns: u64) {
        let end = sequence.saturating_add(count);
        match self.timing {
            Timing::Rest(left) if count > new => {
                self.timing = if left > 1 { Timing::Rest(left - 1) } else { Timing::Wanted };
            }
            Timing::Wanted if new > 0 => self.timing = Timing::Under { message: end.saturating_sub(1), line, at_ns },
            Timing::Under { message, line: first, at_ns: since } if line != first && end > message => {
                // A line that is past it without having it has lost it: no time can be told.
                if sequence <= message {
                    let counters = &mut self.lines[first].counters;
                    let lead = at_ns.saturating_sub(since);
                    counters.leads += 1;
                    counters.lead_ns += lead;
                    counters.lead_max_ns = counters.lead_max_ns.max(lead);
                }
                self.timing = Timing::Rest(TIMED_EVERY);
            }
            _ => {}
        }
    }

    /// What `line` delivered.
    pub fn line(&self, line: usize) -> &LineCounters {
        &self.lines[line].counters
    }

    /// Forget everything but the counters: the next packet is taken as it comes.
    pub fn reset(&mut self) {
        *self = self.anew();
    }

    /// The channel as a new session finds it.
    fn anew(&self) -> Channel {
        let lines = self.lines.map(|line| Line { counters: line.counters, ..Line::default() });
        Channel { lines, from_one: self.from_one, ..Channel::default() }
    }
}

impl Line {
    /// Messages `sequence .. end` came on it.
    fn follow(&mut self, sequence: u64, end: u64) {
        if sequence > self.next {
            self.counters.lost = self.counters.lost.wrapping_add(sequence - self.next);
            self.holes.rotate_right(1);
            self.holes[0] = (self.next, sequence);
        } else if sequence < self.next {
            for hole in &mut self.holes {
                let (from, to) = (hole.0.max(sequence), hole.1.min(end));
                if from < to {
                    self.counters.lost = self.counters.lost.wrapping_sub(to - from);
                    // What is left of the larger part; the other is given up for lost.
                    *hole = if from - hole.0 > hole.1 - to { (hole.0, from) } else { (to, hole.1) };
                }
            }
        }
        self.next = self.next.max(end);
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
