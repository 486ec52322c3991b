//! What the control thread looks at while lcores run, and which of it trips a venue's kill switch.
//!
//! In: heartbeats of lcores, what tx says of its session, the recorder's alarms, SIGUSR1. Out: tripped kill words, and a
//! line in the log for every reason, whoever gave it. Each cause trips the switch once, when it begins: who clears the
//! switch knows of it. Stops nothing else.

use super::plan::{KillWhen, Mode, Plan, Stage};
use crate::latency::board::LcoreBoard;
use crate::latency::snapshot::{Alarm, Snapshot};
use crate::risk::KillReason;
use crate::serve::Metrics;
use crate::session::Trouble;
use crate::stages::Shared;
use crate::sys::{signals, thread};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most time between two looks that counts: when the control thread was late, the whole host may have been.
const MOST: Duration = Duration::from_millis(50);

/// Looks at everything; see the module's head.
pub struct Guard<'a> {
    venues: Vec<Venue<'a>>,
    hearts: Vec<Heart>,
    metrics: Option<Arc<Metrics>>,
    /// What the recorder published last.
    snapshot: Option<Arc<Snapshot>>,
}

/// One lcore's heartbeat.
pub struct Heart {
    id: u32,
    board: Arc<LcoreBoard>,
    /// Whose segments it runs, and whom it receives for.
    venues: Vec<usize>,
    pulse: Pulse,
    stuck_for: Duration,
}

struct Venue<'a> {
    name: &'a str,
    /// Its orders go by a session.
    session: bool,
    when: &'a KillWhen,
    shared: &'a Shared,
    /// The lcore that answers order events.
    strategy: u32,
    absence: Absence,
    /// That was logged.
    trouble: Option<Trouble>,
    stuck: bool,
    alarmed: bool,
    misdirected: bool,
    /// Reasons that were logged.
    told: Vec<KillReason>,
}

/// How long an lcore has been in one round. Time in which it wanted a CPU and had none is not its own.
#[derive(Debug, Default)]
struct Pulse {
    beat: u64,
    /// When it was looked at last, and the CPU time it had had by then.
    seen: Option<(Instant, Duration)>,
    stuck_for: Duration,
}

/// How long a session has been down that was up.
#[derive(Debug, Default)]
struct Absence {
    since: Option<Instant>,
    was_up: bool,
    told: bool,
}

impl Heart {
    /// That of lcore `id`, which does something for these venues.
    pub fn new(id: u32, board: Arc<LcoreBoard>, venues: Vec<usize>) -> Heart {
        Heart { id, board, venues, pulse: Pulse::default(), stuck_for: Duration::ZERO }
    }

    fn is_over(&self, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| self.stuck_for >= limit)
    }
}

impl<'a> Guard<'a> {
    /// A guard over the venues of `plan`; without `metrics` there are no alarms.
    pub fn new(plan: &'a Plan, shared: &'a [Arc<Shared>], hearts: Vec<Heart>, metrics: Option<Arc<Metrics>>) -> Self {
        let venues = plan.venues.iter().zip(shared).map(|(venue, shared)| Venue {
            name: &venue.name,
            session: plan.mode == Mode::Run && venue.orders.session.is_some(),
            when: &venue.risk.kill_when,
            shared,
            strategy: venue.stage(Stage::Strategy).lcore,
            absence: Absence::default(),
            trouble: None,
            stuck: false,
            alarmed: false,
            misdirected: false,
            told: Vec::new(),
        });
        let venues: Vec<Venue<'a>> = venues.collect();
        if metrics.is_none() && venues.iter().any(|venue| !venue.when.alarms.is_empty()) {
            log::warn!("without stamps there are no alarms, and none trips a kill switch");
        }
        Guard { venues, hearts, metrics, snapshot: None }
    }

    /// Stages have moved: they are where `plan` has them.
    pub fn moved(&mut self, plan: &Plan) {
        for heart in &mut self.hearts {
            heart.venues = plan.lcore(heart.id).map_or_else(Vec::new, |lcore| plan.venues_of(lcore));
        }
        for (venue, plan) in self.venues.iter_mut().zip(&plan.venues) {
            venue.strategy = plan.stage(Stage::Strategy).lcore;
        }
    }

    /// Look at everything; `stopping`: the end of a session is no loss.
    pub fn look(&mut self, now: Instant, stopping: bool) {
        let signalled = signals::kill_asked();
        for heart in &mut self.hearts {
            heart.stuck_for = match heart.board.heartbeat() {
                Some((id, beat)) => heart.pulse.look(now, beat, || thread::doing(id)),
                None => Duration::ZERO,
            };
        }
        let latest = self.metrics.as_ref().map(|metrics| metrics.snapshot());
        let news = match (&latest, &self.snapshot) {
            (Some(latest), Some(before)) => !Arc::ptr_eq(latest, before),
            (latest, _) => latest.is_some(),
        };
        self.snapshot = latest;
        for (index, venue) in self.venues.iter_mut().enumerate() {
            if signalled {
                venue.shared.kill().trip(KillReason::Signal);
            }
            venue.session(now, stopping);
            venue.lcores(self.hearts.iter().filter(|heart| heart.venues.contains(&index)));
            if let Some(snapshot) = self.snapshot.as_ref().filter(|_| news) {
                venue.alarms(&snapshot.alarms);
            }
            venue.tell();
        }
    }

    /// How the venues stand, on one line.
    pub fn status(&self) -> String {
        let venue = |venue: &Venue<'_>| {
            let killed: Vec<&str> = venue.shared.kill().reasons().map(KillReason::name).collect();
            let state = match killed[..] {
                [] if venue.session && !venue.shared.session().up => "session down".to_owned(),
                [] => "trading".to_owned(),
                _ => format!("killed: {}", killed.join(", ")),
            };
            format!("{} {state}", venue.name)
        };
        self.venues.iter().map(venue).collect::<Vec<_>>().join("; ")
    }

    /// Whether lcore `id` was stuck, by the limit of one of its venues, when it was looked at last.
    pub fn is_stuck(&self, id: u32) -> bool {
        let is_stuck = |heart: &Heart| heart.venues.iter().any(|&venue| heart.is_over(self.venues[venue].limit()));
        self.hearts.iter().any(|heart| heart.id == id && is_stuck(heart))
    }
}

impl Venue<'_> {
    fn limit(&self) -> Option<Duration> {
        self.when.lcore_stuck_ms.map(|ms| Duration::from_millis(ms.into()))
    }

    fn session(&mut self, now: Instant, stopping: bool) {
        let state = self.shared.session();
        if let Some(trouble) = state.trouble.filter(|_| state.trouble != self.trouble) {
            log::error!("venue {}: {trouble}", self.name);
        }
        self.trouble = state.trouble;
        let Some(limit) = self.when.session_lost_ms.filter(|_| !stopping) else { return };
        if self.absence.look(now, state.up, Duration::from_millis(limit.into())) {
            self.shared.kill().trip(KillReason::SessionLost);
        }
    }

    fn lcores<'h>(&mut self, hearts: impl Iterator<Item = &'h Heart>) {
        let limit = self.limit();
        let stuck: Vec<&Heart> = hearts.filter(|heart| heart.is_over(limit)).collect();
        if !self.shared.failed() {
            self.shared.set_deaf(stuck.iter().any(|heart| heart.id == self.strategy));
        }
        let was = std::mem::replace(&mut self.stuck, !stuck.is_empty());
        if let (Some(heart), false) = (stuck.first(), was) {
            log::error!("venue {}: lcore {} has not finished a round for {:?}", self.name, heart.id, heart.stuck_for);
            self.shared.kill().trip(KillReason::LcoreStuck);
        }
    }

    fn alarms(&mut self, alarms: &[Alarm]) {
        let chosen = |alarm: &&Alarm| self.when.alarms.iter().any(|kind| kind.name() == alarm.kind);
        let ours = |alarm: &&Alarm| alarm.venue.is_empty() || alarm.venue == self.name;
        let found = alarms.iter().filter(chosen).find(ours);
        let was = std::mem::replace(&mut self.alarmed, found.is_some());
        if let (Some(alarm), false) = (found, was) {
            log::error!("venue {}: alarm: {}", self.name, alarm.text);
            self.shared.kill().trip(KillReason::Alarm);
        }
    }

    /// Log the reasons that are new, whoever gave them.
    fn tell(&mut self) {
        if self.shared.misdirected() > 0 && !std::mem::replace(&mut self.misdirected, true) {
            log::error!(
                "venue {}: the device puts packets into other queues than its flow rules say, and venues lose them: let them share \
                 one queue in the pipeline file",
                self.name
            );
        }
        let reasons: Vec<KillReason> = self.shared.kill().reasons().collect();
        for reason in reasons.iter().filter(|reason| !self.told.contains(reason)) {
            log::warn!("venue {}: kill switch: {}; only cancels leave", self.name, reason.name());
        }
        if reasons.is_empty() && !self.told.is_empty() {
            log::warn!("venue {}: kill switch cleared", self.name);
        }
        self.told = reasons;
    }
}

impl Pulse {
    /// For how long the round that began with `beat` has lasted.
    fn look(&mut self, now: Instant, beat: u64, doing: impl FnOnce() -> Option<thread::Doing>) -> Duration {
        if beat != self.beat {
            *self = Pulse { beat, ..Pulse::default() };
            return Duration::ZERO;
        }
        let Some(doing) = doing() else { return self.stuck_for };
        if let Some((at, cpu)) = self.seen {
            let elapsed = now.saturating_duration_since(at).min(MOST);
            let ran = doing.cpu.saturating_sub(cpu).min(elapsed);
            self.stuck_for += if doing.runnable { ran } else { elapsed };
        }
        self.seen = Some((now, doing.cpu));
        self.stuck_for
    }
}

impl Absence {
    /// Whether it has now been away for `limit`; true once each time.
    fn look(&mut self, now: Instant, up: bool, limit: Duration) -> bool {
        if up || !self.was_up {
            *self = Absence { was_up: up || self.was_up, ..Absence::default() };
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let lost = now.saturating_duration_since(since) >= limit;
        lost && !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread::Doing;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_lcore_is_stuck_by_its_own_time_and_not_by_what_others_take() {
        let (start, mut pulse) = (Instant::now(), Pulse::default());
        // Looks 10 ms apart: how much CPU time it has had by then, and whether it wants a CPU.
        let mut look = |n: u32, beat: u64, cpu: u32, runnable: bool| {
            pulse.look(start + 10 * MS * n, beat, || Some(Doing { cpu: MS * cpu, runnable }))
        };
        assert_eq!(look(0, 1, 0, true), Duration::ZERO);
        assert_eq!(look(1, 2, 10, true), Duration::ZERO, "it beats");
        assert_eq!(look(2, 2, 20, true), Duration::ZERO, "since when is known from here");
        assert_eq!(look(3, 2, 30, true), 10 * MS, "it runs");
        assert_eq!(look(4, 2, 30, true), 10 * MS, "somebody else has its CPU");
        assert_eq!(look(5, 2, 32, true), 12 * MS, "for most of the time");
        assert_eq!(look(6, 2, 32, false), 22 * MS, "it sleeps in the middle of a round");
        assert_eq!(look(1006, 2, 32, false), 72 * MS, "the control thread was away, and perhaps the host");
        assert_eq!(look(1007, 3, 33, true), Duration::ZERO, "it beats again");
    }

    #[test]
    fn a_session_is_lost_once_after_its_time_and_only_when_it_was_up() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        let mut look = |n: u32, up: bool| absence.look(start + n * MS, up, 10 * MS);
        assert!(!look(0, false) && !look(50, false), "it has yet to come up");
        assert!(!look(60, true));
        assert!(!look(70, false) && !look(79, false));
        assert!(!look(81, true) && !look(90, false), "it came back in time");
        assert!(look(100, false));
        assert!(!look(200, false), "once");
        assert!(!look(201, true) && !look(202, false) && look(212, false), "each time");
    }
}
