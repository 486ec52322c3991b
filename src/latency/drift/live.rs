//! The verdict while a run goes on: the recorder's records and intervals come in, alarms and sentences for the log go out.
//!
//! The run is cut into stretches of ten seconds. The last three are compared with a baseline: runs that were loaded, or,
//! without any, the run's own first two minutes. The same comparison made every ten seconds for a day would cry wolf, so
//! it has to be surer than a single one, and an alarm comes and goes only when several in a row agree. Without records
//! nothing is said.

use super::{BudgetReport, Comparison, Meaning, Runs, Verdict};
use crate::latency::hop::Hop;
use crate::latency::interval::{HostChange, Interval, News};
use crate::latency::profile::{Profile, ProfileBuilder};
use crate::latency::record::Record;
use crate::latency::snapshot::Alarm;
use crate::latency::trace::Header;
use log::Level;
use std::collections::BTreeMap;

/// Length of a stretch.
const STRETCH_SECONDS: f64 = 10.0;
/// Stretches that are compared.
const NOW: usize = 3;
/// Stretches of a run that are its own baseline.
const LEARNED: usize = 12;
/// Comparisons in a row that raise an alarm, or clear it.
const AGREED: i32 = 3;
/// Comparisons in a row that cannot tell before that is said: a moment of slowness makes three of them noisy.
const DOUBTED: i32 = 6;
/// Chance of a false claim, of a single comparison's: as many are made in three minutes.
const CHANCE: f64 = 0.05;

/// Watches a run. Feed it from one thread, off the packet's path.
#[derive(Debug)]
pub struct Live {
    header: Header,
    stretch_ticks: u64,
    baseline: Runs,
    /// The baseline is the run's own beginning and not complete yet.
    learning: bool,
    now: Runs,
    open: ProfileBuilder,
    /// What the host's checks have found so far and still find, whenever that was.
    host: Vec<HostChange>,
    /// TSC at which the open stretch began.
    began: Option<u64>,
    watched: BTreeMap<Key, Watched>,
    /// What the last comparison came to, for those who want to know more than alarms say.
    last: Option<Comparison>,
    /// Comparisons in a row that could not tell.
    in_doubt: i32,
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: &'static str,
    venue: String,
    hop: Option<Hop>,
    /// The meaning's place, or the percentile.
    what: u8,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    /// Comparisons in a row that found it; negative when they did not.
    streak: i32,
    raised: bool,
    text: String,
}

impl Live {
    /// Watch the run that `header` heads against `baseline`; against its own beginning when that is empty.
    pub fn new(header: &Header, baseline: Vec<Profile>) -> Live {
        let hz = if header.clock.tsc_hz > 0.0 { header.clock.tsc_hz } else { 1e9 };
        Live {
            header: header.clone(),
            stretch_ticks: (STRETCH_SECONDS * hz) as u64,
            learning: baseline.is_empty(),
            baseline: baseline.into_iter().collect(),
            now: Runs::default(),
            open: ProfileBuilder::new(header),
            host: Vec::new(),
            began: None,
            watched: BTreeMap::new(),
            last: None,
            in_doubt: 0,
        }
    }

    /// Take in one record.
    pub fn record(&mut self, record: &Record) {
        self.open.record(record);
    }

    /// Take in what the host did in an interval, and judge when a stretch is full. Returns sentences for the log: what
    /// changed since they were last asked for, mostly nothing. Which of them are warnings, their level says.
    pub fn interval(&mut self, interval: &Interval) -> Vec<(Level, String)> {
        self.open.interval(interval);
        for change in &interval.host {
            self.host.retain(|known| (&known.id, known.severity) != (&change.id, change.severity));
            self.host.extend((change.news != News::Gone).then(|| change.clone()));
        }
        let began = *self.began.get_or_insert(interval.from_tsc);
        if interval.to_tsc.saturating_sub(began) < self.stretch_ticks {
            return Vec::new();
        }
        self.began = Some(interval.to_tsc);
        let mut full = std::mem::replace(&mut self.open, ProfileBuilder::new(&self.header)).finish();
        full.host.clone_from(&self.host);
        if full.venues.iter().all(|venue| venue.orders() == 0) {
            return Vec::new();
        }
        self.judge(full)
    }

    /// What is wrong now.
    pub fn alarms(&self) -> Vec<Alarm> {
        let raised = self.watched.iter().filter(|(_, watched)| watched.raised);
        let alarm = |(key, watched): (&Key, &Watched)| Alarm {
            kind: key.kind.to_owned(),
            venue: key.venue.clone(),
            hop: key.hop,
            text: watched.text.clone(),
        };
        raised.map(alarm).collect()
    }

    /// The last comparison; `None` before there is a baseline.
    pub fn last(&self) -> Option<&Comparison> {
        self.last.as_ref()
    }

    fn judge(&mut self, stretch: Profile) -> Vec<(Level, String)> {
        let mut found = BTreeMap::new();
        self.now.push(stretch.clone());
        self.now.keep_last(NOW);
        over_budget(&self.now.against_budget(), &mut found);
        let mut said = Vec::new();
        if self.learning {
            self.baseline.push(stretch);
            if self.baseline.profiles().len() == LEARNED {
                self.learning = false;
                self.now = Runs::default();
                let learned = LEARNED as f64 * STRETCH_SECONDS;
                said.push((Level::Info, format!("drift: from now on held against its own first {learned:.0} s")));
            }
        } else if self.now.profiles().len() == NOW {
            let comparison = self.now.against(&self.baseline, CHANCE);
            drifted(&comparison, &mut found);
            said.extend(self.doubt(&comparison));
            self.last = Some(comparison);
        }
        said.extend(self.note(found));
        said
    }

    /// A sentence when it begins to be unable to tell, and when that ends.
    fn doubt(&mut self, comparison: &Comparison) -> Option<(Level, String)> {
        let before = self.in_doubt;
        self.in_doubt = if comparison.verdict == Verdict::CannotTell { before.saturating_add(1) } else { 0 };
        let why = || comparison.cannot_tell.first().map_or("", String::as_str);
        match (before, self.in_doubt) {
            (_, DOUBTED) => Some((Level::Warn, format!("drift: cannot tell: {}", why()))),
            (DOUBTED.., 0) => Some((Level::Info, "drift: it can be told again".to_owned())),
            _ => None,
        }
    }

    /// Count agreement, raise and clear.
    fn note(&mut self, mut found: BTreeMap<Key, String>) -> Vec<(Level, String)> {
        let mut said = Vec::new();
        for (key, watched) in &mut self.watched {
            match found.remove(key) {
                Some(text) => (watched.streak, watched.text) = (watched.streak.max(0) + 1, text),
                None => watched.streak = watched.streak.min(0) - 1,
            }
        }
        let new = |(key, text): (Key, String)| (key, Watched { streak: 1, raised: false, text });
        self.watched.extend(found.into_iter().map(new));
        for (key, watched) in &mut self.watched {
            let of = if key.venue.is_empty() { key.kind.to_owned() } else { format!("{}: {}", key.kind, key.venue) };
            if watched.streak >= AGREED && !watched.raised {
                watched.raised = true;
                said.push((Level::Warn, format!("{of}: {}", watched.text)));
            } else if watched.streak <= -AGREED && watched.raised {
                watched.raised = false;
                said.push((Level::Info, format!("{of}: over: {}", watched.text)));
            }
        }
        self.watched.retain(|_, watched| watched.raised || watched.streak > -AGREED);
        said
    }
}

fn over_budget(report: &BudgetReport, found: &mut BTreeMap<Key, String>) {
    for over in &report.over {
        let key = Key { kind: "budget", venue: over.venue.clone(), hop: Some(over.hop), what: over.percentile };
        let (hop, percentile) = (over.hop.name(), over.percentile);
        let text = format!(
            "p{percentile} of {hop} is {:.0} ns, {:.1} times its budget of {:.0} ns",
            over.measured_ns, over.times, over.budget_ns
        );
        found.insert(key, text);
    }
}

fn drifted(comparison: &Comparison, found: &mut BTreeMap<Key, String>) {
    for venue in &comparison.venues {
        for finding in venue.findings.iter().filter(|finding| finding.is_regression()) {
            let what = match finding.meaning {
                Meaning::Stage => 0,
                Meaning::Frequency => 1,
                Meaning::Arrival => 2,
                // The hop whose tail is worst may be another every time.
                Meaning::Interruption => 3,
                Meaning::Exchange => 4,
            };
            let hop = finding.hop.filter(|_| finding.meaning != Meaning::Interruption);
            let mut text = finding.text.clone();
            for cited in finding.evidence.iter().take(1) {
                text += &format!("; evidence: {cited}");
            }
            for change in finding.host.iter().take(1) {
                text += &format!("; host: {change}");
            }
            found.insert(Key { kind: "drift", venue: venue.name.clone(), hop, what }, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::budget::{Allowance, Budget};
    use crate::latency::record::Kind;
    use crate::latency::trace::{ClockFit, VenueHeader};

    /// Seconds of a calm host with 500 orders each, and what is added to the third hop in each of them.
    fn play(live: &mut Live, from: u64, seconds: u64, added: impl Fn(u64) -> u64) -> Vec<String> {
        let mut said = Vec::new();
        for second in from..from + seconds {
            for order in 0..500u64 {
                let rx_tsc = second * 1_000_000_000 + order * 2_000_000;
                let at = |hops: u64| rx_tsc + (0..hops).map(|hop| 100 + order * (hop + 3) % 41).sum::<u64>();
                live.record(&Record {
                    kind: Kind::Sent as u8,
                    rx_tsc,
                    parsed_tsc: at(1),
                    book_tsc: at(2),
                    decided_tsc: at(3) + added(second),
                    encoded_tsc: at(4) + added(second),
                    doorbell_tsc: at(5) + added(second),
                    burst_size: 1,
                    ..Record::default()
                });
            }
            let (from_tsc, to_tsc) = (second * 1_000_000_000, (second + 1) * 1_000_000_000);
            let sentences = live.interval(&Interval { from_tsc, to_tsc, ..Interval::default() });
            said.extend(sentences.into_iter().map(|(_, sentence)| sentence));
        }
        said
    }

    fn header(budget: Budget) -> Header {
        let venue = VenueHeader { name: "v".into(), lcores: [1, 2, 3, 4, 5], budget, ..VenueHeader::default() };
        Header {
            command: "run".into(),
            clock: ClockFit { tsc_hz: 1e9, ..ClockFit::default() },
            venues: vec![venue],
            ..Header::default()
        }
    }

    #[test]
    fn a_run_that_slows_down_is_told_against_its_own_beginning_once() {
        let mut live = Live::new(&header(Budget::default()), Vec::new());
        let said = play(&mut live, 0, 240, |_| 0);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("its own first 120 s") && live.alarms().is_empty());
        let change = |id: &str, found: &str| HostChange {
            id: id.into(),
            news: News::Appeared,
            found: found.into(),
            ..HostChange::default()
        };
        let host = vec![change("irq.irqbalance", "irqbalance runs"), change("power.governor", "CPU 3: powersave")];
        let (from_tsc, to_tsc) = (240_000_000_000, 240_000_000_000);
        live.interval(&Interval { from_tsc, to_tsc, host, ..Interval::default() });
        let said = play(&mut live, 240, 120, |_| 400);
        let [alarm] = &live.alarms()[..] else { panic!("{:?}", live.alarms()) };
        assert_eq!((alarm.kind.as_str(), alarm.venue.as_str(), alarm.hop), ("drift", "v", Some(Hop::BookDecided)));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("the median of book→decided is slower by 4"), "{said:?}");
        // What moves medians, and not what interrupts now and then.
        assert!(said[0].ends_with("; host: power.governor appeared: CPU 3: powersave"), "{said:?}");
        let said = play(&mut live, 360, 120, |_| 0);
        assert!(said.len() == 1 && said[0].contains("over") && live.alarms().is_empty(), "{said:?}");
    }

    #[test]
    fn a_moment_of_slowness_raises_nothing() {
        let mut live = Live::new(&header(Budget::default()), Vec::new());
        play(&mut live, 0, 240, |_| 0);
        let said = play(&mut live, 240, 120, |second| if second < 245 { 400 } else { 0 });
        assert!(said.is_empty() && live.alarms().is_empty(), "{said:?}");
    }

    #[test]
    fn a_hop_over_its_budget_is_told_before_there_is_a_baseline() {
        let budget = Budget([(Hop::BookDecided, Allowance { p50_ns: 60.0, p99_ns: 1000.0 })].into());
        let mut live = Live::new(&header(budget), Vec::new());
        let said = play(&mut live, 0, 60, |_| 0);
        let [alarm] = &live.alarms()[..] else { panic!("{:?}", live.alarms()) };
        assert_eq!((alarm.kind.as_str(), alarm.hop), ("budget", Some(Hop::BookDecided)));
        // 100 to 140 ns, evenly: twice the budget.
        assert!(said[0].contains("2.0 times its budget of 60 ns"), "{said:?}");
    }

    #[test]
    fn with_a_loaded_baseline_the_first_half_minute_is_judged() {
        let mut live = Live::new(&header(Budget::default()), Vec::new());
        play(&mut live, 0, 120, |_| 0);
        let own = live.baseline.profiles().to_vec();
        assert_eq!(own.len(), LEARNED);
        let mut next = Live::new(&header(Budget::default()), own);
        let said = play(&mut next, 0, 60, |_| 400);
        assert!(said.len() == 1 && said[0].contains("book→decided"), "{said:?}");
        assert_eq!(next.last().map(|comparison| comparison.verdict), Some(Verdict::Regression));
    }
}
