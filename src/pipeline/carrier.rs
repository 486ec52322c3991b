//! Links of devices, and devices that were reset or removed: a venue whose orders cannot leave, or whose feed has lost every line,
//! pauses until they are back.
//!
//! In: what drivers say of their links, asked ten times a second by the control thread (drivers without interrupts, and
//! those whose interrupts got lost, answer as well), of resets and of removals. Out: the pause of venues, a device that was reset
//! started anew by a thread of its own (a driver may take seconds), one that was removed given back to the kernel and started
//! once it is there again, a line in the log at each change, and what the summary says of it.

use super::plan::Plan;
use crate::dpdk::ethdev::{Link, Outages};
use crate::port::{self, Anew};
use crate::stages::Trading;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);
/// Twice as long after each attempt to start a device anew that failed,
const RETRY: Duration = Duration::from_millis(100);
/// and no longer than this.
const RETRY_MOST: Duration = Duration::from_secs(30);
/// A device that is reset again within this time has not come to rest: it is not started at once.
const CALM: Duration = Duration::from_secs(10);

/// Looks at every device.
pub struct Carrier {
    devices: Vec<Device>,
    venues: Vec<Venue>,
    next: Instant,
}

struct Device {
    name: String,
    port: port::Device,
    /// Its link, as it said last; up until it says otherwise, as some drivers never say.
    up: bool,
    lost: u32,
    /// Resets that were seen to,
    resets: u32,
    /// and removals.
    removals: u64,
    state: State,
}

/// How far a device is that was reset or removed. `tries` went before in vain.
enum State {
    /// A reset before `calm_from` is one more of a row.
    Runs {
        calm_from: Instant,
        tries: u32,
    },
    Waits {
        until: Instant,
        tries: u32,
    },
    Starts {
        thread: JoinHandle<Attempt>,
        tries: u32,
    },
    /// It was removed, and is not there.
    Away,
}

/// What an attempt to start a device anew came to, and how long it took.
type Attempt = (Result<Anew, String>, Duration);

struct Venue {
    name: String,
    feeds: BTreeSet<String>,
    orders: String,
    trading: Arc<Trading>,
    paused: bool,
}

impl Carrier {
    /// Over these devices, by their ports' names, and the venues of `plan`.
    pub fn new(plan: &Plan, devices: Vec<(String, port::Device)>, trading: &[Arc<Trading>]) -> Carrier {
        let name = |port: usize| plan.ports[port].name.clone();
        let venues = plan.venues.iter().zip(trading).map(|(venue, trading)| Venue {
            name: venue.name.clone(),
            feeds: venue.feed.lines.iter().map(|line| name(line.port)).collect(),
            orders: name(venue.orders.port),
            trading: trading.clone(),
            paused: false,
        });
        let now = Instant::now();
        let device = |(name, port): (String, port::Device)| {
            let state = State::Runs { calm_from: now, tries: 0 };
            let (resets, removals) = (port.resets(), port.outages().removals);
            Device { name, resets, removals, port, up: true, lost: 0, state }
        };
        Carrier { devices: devices.into_iter().map(device).collect(), venues: venues.collect(), next: now }
    }

    /// Look, when it is time. Returns the devices that have just been started anew.
    pub fn look(&mut self, now: Instant) -> Vec<String> {
        let mut anew = Vec::new();
        if now < self.next && !self.devices.iter().any(Device::has_news) {
            return anew;
        }
        self.next = now + EVERY;
        for device in &mut self.devices {
            if device.look(now) {
                anew.push(device.port.name().to_owned());
            }
        }
        for venue in &mut self.venues {
            let works = |name: &String| self.devices.iter().find(|d| d.name == *name).is_none_or(Device::works);
            let paused = !works(&venue.orders) || !venue.feeds.iter().any(works);
            if paused != venue.paused {
                venue.paused = paused;
                venue.trading.set_link(!paused);
                let does = if paused { "pauses: no link" } else { "resumes: its links are back" };
                log::error!("venue {} {does}", venue.name);
            }
        }
        anew
    }

    /// What happened to links: a line for each device that lost its own or was reset.
    pub fn told(&self) -> Vec<String> {
        let told = |Device { name, lost, port, state, .. }: &Device| {
            let Outages { resets, restarts, restarts_failed, unsent, removals } = port.outages();
            let links = format!("port {name}: losses of its link {lost}, resets {resets}");
            let anew =
                format!(", started anew {restarts}, attempts that failed {restarts_failed}, frames unsent {unsent}");
            let removed = if removals > 0 { format!(", removals {removals}") } else { String::new() };
            let anew = if resets + removals > 0 { anew } else { String::new() };
            let missing = if matches!(state, State::Runs { .. }) { "" } else { ", not back at the end" };
            (u64::from(*lost) + resets + removals > 0).then(|| links + &removed + &anew + missing)
        };
        self.devices.iter().filter_map(told).collect()
    }
}

impl Device {
    fn works(&self) -> bool {
        self.up && matches!(self.state, State::Runs { .. })
    }

    /// Something that is not to wait until the next look.
    fn has_news(&self) -> bool {
        match &self.state {
            State::Runs { .. } => self.port.resets() != self.resets || self.port.outages().removals != self.removals,
            State::Waits { .. } | State::Away => false,
            State::Starts { thread, .. } => thread.is_finished(),
        }
    }

    /// True when it has just been started anew.
    fn look(&mut self, now: Instant) -> bool {
        // While it is started anew the driver answers nobody.
        if matches!(self.state, State::Runs { .. } | State::Waits { .. }) {
            self.look_at_removals(now);
        }
        let started = self.look_at_resets(now);
        if matches!(self.state, State::Runs { .. }) {
            self.look_at_link();
        }
        started
    }

    fn look_at_removals(&mut self, now: Instant) {
        let removals = self.port.outages().removals;
        if removals == self.removals {
            return;
        }
        self.removals = removals;
        // No burst begins any more, also where one that is stuck does not end.
        let stuck = self.port.give_up().err().map_or_else(String::new, |err| format!(" ({err})"));
        log::error!("port {}: the device was removed; it is started when it is there again{stuck}", self.name);
        // At once, however long the wait for another try was: the kernel may wait until it has the device back.
        self.state = State::Waits { until: now, tries: 0 };
    }

    fn look_at_link(&mut self) {
        let link = self.port.link();
        // One that never tells is not down.
        let up = matches!(link, Link::Up | Link::Untold);
        if up != self.up {
            self.up = up;
            self.lost += u32::from(!up);
            let is = match link {
                Link::Gone => "the device is gone",
                Link::Down => "link down",
                Link::Up | Link::Untold => "link up",
            };
            log::error!("port {}: {is}", self.name);
        }
    }

    fn look_at_resets(&mut self, now: Instant) -> bool {
        let resets = self.port.resets();
        match self.state {
            State::Runs { calm_from, tries } if resets != self.resets => {
                self.was_reset(now, if now < calm_from { tries + 1 } else { 0 });
            }
            _ => {}
        }
        match self.state {
            State::Waits { until, tries } if now >= until => {
                // What it says from here on is news.
                self.resets = resets;
                self.begin(now, tries);
            }
            State::Starts { ref thread, .. } if thread.is_finished() => return self.end(now),
            State::Away if !self.port.is_away() => self.begin(now, 0),
            _ => {}
        }
        false
    }

    fn was_reset(&mut self, now: Instant, tries: u32) {
        log::error!("port {}: the device was reset, and is started anew", self.name);
        self.state = State::Waits { until: now + patience(tries), tries };
    }

    fn begin(&mut self, now: Instant, tries: u32) {
        let port = self.port.clone();
        let attempt = move || {
            let began = Instant::now();
            (port.restart(), began.elapsed())
        };
        self.state = match std::thread::Builder::new().name("restart".to_owned()).spawn(attempt) {
            Ok(thread) => State::Starts { thread, tries },
            Err(err) => {
                log::error!("port {}: no thread to start it anew: {err}", self.name);
                State::Waits { until: now + patience(tries + 1), tries: tries + 1 }
            }
        };
    }

    /// True when it runs.
    fn end(&mut self, now: Instant) -> bool {
        let State::Starts { thread, tries } = self.take_state(now) else { return false };
        let name = &self.name;
        let failed = match thread.join() {
            Ok((Ok(Anew { unsent, resets, removals }), took)) => {
                self.resets = resets.unwrap_or(self.resets);
                self.removals = removals.map_or(self.removals, u64::from);
                let unsent = unsent
                    .map_or_else(|| "what it had not sent is not known".to_owned(), |n| format!("{n} frames unsent"));
                log::error!("port {name}: started anew in {took:.1?}, {unsent}");
                self.state = State::Runs { calm_from: now + CALM, tries };
                return true;
            }
            Ok((Err(err), _)) if self.port.is_away() => {
                log::error!("port {name}: {err}");
                self.state = State::Away;
                return false;
            }
            Ok((Err(err), took)) => format!("{err} (after {took:.1?})"),
            Err(_) => "a panic".to_owned(),
        };
        let wait = patience(tries + 1);
        log::error!("port {name}: did not start anew, and is tried again in {wait:?}: {failed}");
        self.state = State::Waits { until: now + wait, tries: tries + 1 };
        false
    }

    fn take_state(&mut self, now: Instant) -> State {
        std::mem::replace(&mut self.state, State::Runs { calm_from: now, tries: 0 })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let State::Starts { thread, .. } = self.take_state(Instant::now()) {
            // It has the device; what it came to matters no more.
            let _ = thread.join();
        }
    }
}

/// Before the next attempt, after so many in a row.
fn patience(tries: u32) -> Duration {
    match tries {
        0 => Duration::ZERO,
        _ => RETRY.saturating_mul(1 << (tries - 1).min(16)).min(RETRY_MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_ever_further_apart_up_to_half_a_minute() {
        let ms = |tries| patience(tries).as_millis();
        assert_eq!([ms(0), ms(1), ms(2), ms(9), ms(10), ms(40)], [0, 100, 200, 25_600, 30_000, 30_000]);
    }
}
