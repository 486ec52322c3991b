//! `tickpath top`: a running instance in a terminal.
//!
//! In: the snapshots that an instance serves, and keys. Out: one screen, or one page of plain text. It asks and draws; it
//! changes nothing in the instance it looks at, and outlives it.
//!
//! Reading order: [`Top`] here (what is known and what follows from it), `draw`, `figures` (numbers as text), `client`,
//! `screen` (the terminal and its loop).

mod client;
mod draw;
mod figures;
mod screen;

pub use client::{Client, Silence};
pub use screen::{run, text};

use crate::latency::hop::Hop;
use crate::latency::snapshot::{Snapshot, StageSnapshot, VenueSnapshot};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Intervals that a sparkline reaches back.
pub const HISTORY: usize = 120;

/// An instance that answers and whose state is older than so many of its intervals stands still.
const STALE_INTERVALS: f64 = 5.0;

/// What is known of an instance.
pub struct Top {
    /// Where it is asked.
    address: String,
    now: Option<Known>,
    /// The state before: rates are the difference. `None` for the first of a run.
    before: Option<Snapshot>,
    /// 99th percentiles of past intervals in ns, the last one at the end; `None` for one without orders.
    history: BTreeMap<(String, Hop), VecDeque<Option<f64>>>,
    /// Since when nobody answers, and why.
    silent: Option<(Instant, Silence)>,
    /// Index of the venue that is shown.
    venue: usize,
}

struct Known {
    snapshot: Snapshot,
    /// When this state was first seen.
    at: Instant,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Leave.
    Quit,
    /// The next venue.
    Next,
    /// The one before.
    Previous,
    /// The venue with this index.
    Venue(usize),
}

/// How the instance is.
#[derive(Clone, Debug, PartialEq)]
enum Health {
    /// Never heard of.
    Waiting(String),
    /// It answers.
    Live,
    /// Its run is over.
    Ended,
    /// It answers, and its state is so old.
    Stale(Duration),
    /// It does not answer.
    Lost(Duration, String),
}

impl Top {
    /// Nothing known yet of the instance at `address`.
    pub fn new(address: &str) -> Top {
        Top { address: address.into(), now: None, before: None, history: BTreeMap::new(), silent: None, venue: 0 }
    }

    /// An answer, or the lack of one, at that moment.
    pub fn hear(&mut self, answer: Result<Snapshot, Silence>, at: Instant) {
        let next = match answer {
            Ok(next) => next,
            Err(why) => {
                let since = self.silent.take().map_or(at, |(since, _)| since);
                self.silent = Some((since, why));
                return;
            }
        };
        self.silent = None;
        let Some(known) = &mut self.now else {
            self.follow(&next);
            self.now = Some(Known { snapshot: next, at });
            return;
        };
        if known.snapshot == next {
            return;
        }
        let same_run = known.snapshot.run == next.run && known.snapshot.uptime_seconds <= next.uptime_seconds;
        let was = std::mem::replace(known, Known { snapshot: next.clone(), at }).snapshot;
        if !same_run {
            self.history.clear();
            self.before = None;
        } else if was.uptime_seconds < next.uptime_seconds {
            self.before = Some(was);
        }
        self.follow(&next);
    }

    /// Do what a key asked for; whether to go on.
    pub fn wish(&mut self, wish: Wish) -> bool {
        let venues = self.snapshot().map_or(0, |s| s.venues.len()).max(1);
        self.venue = match wish {
            Wish::Quit => return false,
            Wish::Next => (self.venue + 1) % venues,
            Wish::Previous => (self.venue + venues - 1) % venues,
            Wish::Venue(at) if at < venues => at,
            Wish::Venue(_) => self.venue,
        };
        true
    }

    fn follow(&mut self, next: &Snapshot) {
        self.venue = self.venue.min(next.venues.len().saturating_sub(1));
        for venue in &next.venues {
            for hop in &venue.hops {
                let past = self.history.entry((venue.name.clone(), hop.hop)).or_default();
                past.push_back((hop.interval.count > 0).then_some(hop.interval.p99));
                if past.len() > HISTORY {
                    past.pop_front();
                }
            }
        }
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        self.now.as_ref().map(|known| &known.snapshot)
    }

    fn health(&self, at: Instant) -> Health {
        let Some(known) = &self.now else {
            let why = self.silent.as_ref().map_or(String::new(), |(_, why)| why.to_string());
            return Health::Waiting(why);
        };
        if known.snapshot.ended {
            return Health::Ended;
        }
        if let Some((since, why)) = &self.silent {
            return Health::Lost(at.saturating_duration_since(*since), why.to_string());
        }
        let age = at.saturating_duration_since(known.at);
        let stale = known.snapshot.interval_seconds.max(1.0) * STALE_INTERVALS;
        if age.as_secs_f64() > stale { Health::Stale(age) } else { Health::Live }
    }

    /// Of the venue with this index: how much more `of` it is than in the state before, a second. Over the whole run where
    /// there is no state before.
    fn rate(&self, venue: usize, of: impl Fn(&VenueSnapshot) -> Option<u64>) -> Option<f64> {
        let now = self.snapshot()?;
        let then = self.before.as_ref();
        let seconds = now.uptime_seconds - then.map_or(0.0, |s| s.uptime_seconds);
        let count = of(now.venues.get(venue)?)?;
        let was = then.and_then(|s| s.venues.get(venue)).and_then(&of).unwrap_or(0);
        (seconds > 0.0).then(|| count.saturating_sub(was) as f64 / seconds)
    }

    /// The same of a stage, by its place in the list.
    fn stage_rate(&self, venue: usize, stage: usize, of: impl Fn(&StageSnapshot) -> u64) -> Option<f64> {
        self.rate(venue, |v| v.stages.get(stage).map(&of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::snapshot::{HopSnapshot, Percentiles};

    fn state(run: &str, uptime_seconds: f64, frames: u64) -> Snapshot {
        let interval = Percentiles { count: 1, p99: uptime_seconds, ..Default::default() };
        let hop =
            HopSnapshot { hop: Hop::RxDoorbell, total: interval, interval, budget_p50_ns: None, budget_p99_ns: None };
        let venue = |name: &str| VenueSnapshot { name: name.into(), frames, hops: vec![hop], ..Default::default() };
        Snapshot {
            run: run.into(),
            uptime_seconds,
            interval_seconds: 1.0,
            venues: ["a", "b", "c"].map(venue).to_vec(),
            ..Default::default()
        }
    }

    fn frames(top: &Top) -> Option<f64> {
        top.rate(0, |v| Some(v.frames))
    }

    fn past(top: &Top) -> Vec<Option<f64>> {
        Vec::from(top.history[&("a".to_owned(), Hop::RxDoorbell)].clone())
    }

    #[test]
    fn rates_are_differences_of_states_and_of_the_whole_run_at_first() {
        let (mut top, at) = (Top::new("here"), Instant::now());
        assert_eq!(frames(&top), None);
        top.hear(Ok(state("1", 4.0, 1000)), at);
        assert_eq!(frames(&top), Some(250.0));
        top.hear(Ok(state("1", 6.0, 1800)), at);
        assert_eq!(frames(&top), Some(400.0));
        // Asked again before the next interval ended: nothing is new, and no rate falls to nothing.
        top.hear(Ok(state("1", 6.0, 1800)), at);
        assert_eq!(frames(&top), Some(400.0));
        assert_eq!(past(&top), [Some(4.0), Some(6.0)]);
    }

    #[test]
    fn another_run_begins_anew() {
        let (mut top, at) = (Top::new("here"), Instant::now());
        top.hear(Ok(state("1", 100.0, 1000)), at);
        top.hear(Ok(state("1", 101.0, 2000)), at);
        top.hear(Ok(state("2", 2.0, 10)), at);
        assert_eq!((frames(&top), past(&top)), (Some(5.0), vec![Some(2.0)]));
    }

    #[test]
    fn silence_is_told_and_how_long_and_ends_with_an_answer() {
        let (mut top, at) = (Top::new("here"), Instant::now());
        let later = |seconds| at + Duration::from_secs(seconds);
        let refused = || Err(Silence::new("connection refused"));
        top.hear(refused(), at);
        assert_eq!(top.health(later(1)), Health::Waiting("connection refused".into()));
        top.hear(Ok(state("1", 1.0, 1)), later(2));
        assert_eq!(top.health(later(3)), Health::Live);
        top.hear(refused(), later(4));
        top.hear(refused(), later(5));
        assert_eq!(top.health(later(9)), Health::Lost(Duration::from_secs(5), "connection refused".into()));
        assert_eq!(top.snapshot().unwrap().venues[0].frames, 1);
        top.hear(Ok(state("1", 9.0, 9)), later(9));
        assert_eq!(top.health(later(10)), Health::Live);
        assert_eq!(top.health(later(60)), Health::Stale(Duration::from_secs(51)));
        top.hear(Ok(Snapshot { ended: true, ..state("1", 10.0, 9) }), later(60));
        top.hear(refused(), later(61));
        assert_eq!(top.health(later(90)), Health::Ended);
    }

    #[test]
    fn venues_go_round_and_quit_ends() {
        let mut top = Top::new("here");
        assert!(top.wish(Wish::Next) && top.wish(Wish::Previous));
        top.hear(Ok(state("1", 1.0, 1)), Instant::now());
        let mut seen = Vec::new();
        for wish in [Wish::Next, Wish::Next, Wish::Next, Wish::Previous, Wish::Venue(1), Wish::Venue(7)] {
            assert!(top.wish(wish));
            seen.push(top.venue);
        }
        assert_eq!(seen, [1, 2, 0, 2, 1, 1]);
        assert!(!top.wish(Wish::Quit));
        // A run with fewer venues than the one before.
        let mut fewer = state("2", 1.0, 1);
        fewer.venues.truncate(1);
        top.hear(Ok(fewer), Instant::now());
        assert_eq!(top.venue, 0);
    }

    #[test]
    fn history_is_bounded() {
        let (mut top, at) = (Top::new("here"), Instant::now());
        (1..=HISTORY + 5).for_each(|i| top.hear(Ok(state("1", i as f64, 1)), at));
        assert_eq!((past(&top).len(), past(&top)[0]), (HISTORY, Some(6.0)));
    }
}
