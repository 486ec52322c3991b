//! Several sources come in, one stream goes out: merged by lap and stamp, whatever the loaders' speed, and paced.

use super::pace::{Lateness, Pace, Pacer};
use super::source::{CaptureSource, Head, Key, Next, Warning};

/// The captures behind the lines of one feed.
pub struct Replay {
    lines: Vec<Line>,
    pacer: Option<Pacer>,
}

struct Line {
    source: CaptureSource,
    /// Its loader was behind when last asked.
    starved: bool,
    source_late: u64,
    delivered: bool,
}

impl Replay {
    /// Replay these sources together on a TSC of `hz`.
    pub fn new(sources: Vec<CaptureSource>, pace: Pace, hz: f64) -> Replay {
        let line = |source| Line { source, starved: false, source_late: 0, delivered: false };
        Replay { lines: sources.into_iter().map(line).collect(), pacer: Pacer::new(pace, hz) }
    }

    /// Whether anything but the speed of the caller paces it: then [`Replay::burst`] wants the time.
    #[inline]
    pub fn is_paced(&self) -> bool {
        self.pacer.is_some()
    }

    /// Hand out at most `max` packets that are due at `now_tsc`, in order, each with the line it belongs to and the TSC at
    /// which it was due (0 without a pace). `deliver` says whether it took the packet; one that it did not take waits. Returns how many were taken. When a loader is
    /// behind, every line waits for it: the order never depends on who was faster.
    #[inline]
    pub fn burst(&mut self, max: usize, now_tsc: u64, mut deliver: impl FnMut(usize, &Next<'_>, u64) -> bool) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some((index, before)) = self.turn() else { break };
            let line = &mut self.lines[index];
            while taken < max {
                let Some(next) = line.source.peek() else { break };
                if (next.key(), index) > before {
                    break;
                }
                let due = self.pacer.as_mut().map(|pacer| pacer.due(next.record.stamp_ns, next.restarts(), now_tsc));
                let due_tsc = due.map_or(0, |due| due.tsc);
                if (due.is_some() && due_tsc > now_tsc) || !deliver(index, &next, due_tsc) {
                    return taken;
                }
                if let (Some(pacer), Some(due)) = (&mut self.pacer, due) {
                    pacer.release(due, now_tsc);
                }
                line.source.advance();
                (line.delivered, line.starved) = (true, false);
                taken += 1;
            }
        }
        taken
    }

    /// Whether every source has ended.
    pub fn ended(&self) -> bool {
        self.lines.iter().all(|line| line.source.ended())
    }

    /// Whether every loader is as far ahead as it can be.
    pub fn primed(&self) -> bool {
        self.lines.iter().all(|line| line.source.primed())
    }

    /// Laps that a line has delivered to their end.
    pub fn laps_done(&self, line: usize) -> u32 {
        self.lines[line].source.laps_done()
    }

    /// Times that a line's next packet was wanted, after its first, and its loader was behind.
    pub fn source_late(&self, line: usize) -> u64 {
        self.lines[line].source_late
    }

    /// How late paced packets were.
    pub fn lateness(&self) -> Lateness {
        self.pacer.map(|pacer| pacer.lateness()).unwrap_or_default()
    }

    /// What was wrong with the files of all lines; complete once everything has ended.
    pub fn warnings(&self) -> Vec<Warning> {
        self.lines.iter().flat_map(|line| line.source.warnings()).collect()
    }

    /// The line whose packet is next, and the first place that is no longer its turn to fill: the head of the line after
    /// it. `None` when all have ended or one is behind. Of equal stamps, the lower line's goes first.
    #[inline]
    fn turn(&mut self) -> Option<(usize, (Key, usize))> {
        const NEVER: (Key, usize) = (Key { lap: u32::MAX, stamp_ns: u64::MAX }, usize::MAX);
        let (mut first, mut second) = (NEVER, NEVER);
        for (index, line) in self.lines.iter_mut().enumerate() {
            let head = match line.source.head() {
                Head::At(key) => (key, index),
                Head::End => continue,
                Head::Starved => {
                    line.source_late += u64::from(line.delivered && !line.starved);
                    line.starved = true;
                    return None;
                }
            };
            if head < first {
                (first, second) = (head, first);
            } else if head < second {
                second = head;
            }
        }
        (first != NEVER).then_some((first.1, second))
    }
}
