//! Links of devices: a venue whose orders cannot leave, or whose feed has lost every line, pauses until they are back.
//!
//! In: what drivers say of their links, asked ten times a second by the control thread (drivers without interrupts, and
//! those whose interrupts got lost, answer as well). Out: the pause of venues, a line in the log at each change, and what the summary
//! says of it.

use super::plan::Plan;
use crate::dpdk::ethdev::Link;
use crate::port;
use crate::stages::Trading;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);

/// Looks at every device.
pub struct Carrier {
    devices: Vec<Device>,
    venues: Vec<Venue>,
    next: Instant,
}

struct Device {
    name: String,
    port: port::Device,
    /// What it said last; up until it says otherwise, as some drivers never say.
    up: bool,
    lost: u32,
    resets: u32,
}

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
        let device =
            |(name, port): (String, port::Device)| Device { name, resets: port.resets(), port, up: true, lost: 0 };
        let devices = devices.into_iter().map(device).collect();
        Carrier { devices, venues: venues.collect(), next: Instant::now() }
    }

    /// Look, when it is time.
    pub fn look(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        self.devices.iter_mut().for_each(Device::look);
        for venue in &mut self.venues {
            let up = |name: &String| self.devices.iter().find(|device| device.name == *name).is_none_or(|d| d.up);
            let paused = !up(&venue.orders) || !venue.feeds.iter().any(up);
            if paused != venue.paused {
                venue.paused = paused;
                venue.trading.set_link(!paused);
                let does = if paused { "pauses: no link" } else { "resumes: its links are back" };
                log::error!("venue {} {does}", venue.name);
            }
        }
    }

    /// What happened to links: a line for each device that lost its own or was reset.
    pub fn told(&self) -> Vec<String> {
        let told = |Device { name, lost, port, .. }: &Device| {
            let resets = port.resets();
            (*lost + resets > 0).then(|| format!("port {name}: losses of its link {lost}, resets {resets}"))
        };
        self.devices.iter().filter_map(told).collect()
    }
}

impl Device {
    fn look(&mut self) {
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
        let resets = self.port.resets();
        if resets != self.resets {
            self.resets = resets;
            log::error!(
                "port {}: the device was reset; it may receive nothing until this program is restarted",
                self.name
            );
        }
    }
}
