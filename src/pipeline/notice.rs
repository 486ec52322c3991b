//! What the service manager hears of a run: that every lcore polls, that they all still do, how the venues stand, that the
//! pipeline file is read again, that it stops.
//!
//! In: the lcores' heartbeats, and a line about the venues. Out: states to [`Service`]. The watchdog is fed only when every
//! lcore has begun another round since it was fed last, so one that is stuck, or starved of its CPU, is found by who
//! started the process, whatever this process thinks of itself.

use crate::latency::board::LcoreBoard;
use crate::sys::notify::Service;
use crate::sys::time;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the line about the venues may change.
const STATUS: Duration = Duration::from_secs(1);
/// The watchdog is fed so many times before it would bite.
const FEEDS: u32 = 4;

/// See the module's head.
pub struct Notices {
    service: Service,
    lcores: Vec<Arc<LcoreBoard>>,
    /// It was told what it waits for.
    settled: bool,
    stopping: bool,
    status: String,
    status_due: Instant,
    /// Heartbeats when the watchdog was fed.
    fed: Vec<Option<u64>>,
    feed_due: Instant,
}

impl Notices {
    /// Of a run on these lcores.
    pub fn new(service: Service, lcores: Vec<Arc<LcoreBoard>>) -> Notices {
        let (now, fed) = (Instant::now(), vec![None; lcores.len()]);
        Notices {
            service,
            lcores,
            settled: false,
            stopping: false,
            status: String::new(),
            status_due: now,
            fed,
            feed_due: now,
        }
    }

    /// Tell what there is to tell; `status` says how the venues stand.
    pub fn look(&mut self, now: Instant, stopping: bool, status: impl FnOnce() -> String) {
        if stopping {
            self.stopping = self.stopping || self.service.tell("STOPPING=1");
            return;
        }
        if !self.settled {
            self.settled = self.lcores.iter().all(|lcore| lcore.has_polled()) && self.service.tell("READY=1");
        }
        if !self.settled {
            return;
        }
        if now >= self.status_due {
            self.status_due = now + STATUS;
            let status = status();
            if status != self.status && self.service.tell(&format!("STATUS={status}")) {
                self.status = status;
            }
        }
        self.feed(now);
    }

    /// The pipeline file is about to be read again. The next look says that it was.
    pub fn reloading(&mut self) {
        // The manager holds this time against its own of the request.
        let since = time::monotonic_ns() / 1000;
        // Where there is no room the manager learns of the reload by its end.
        let _ = self.service.tell(&format!("RELOADING=1\nMONOTONIC_USEC={since}"));
        self.settled = false;
    }

    /// Feed the watchdog when it is time: [`Notices::look`] does, and who keeps it from being called for longer.
    pub fn feed(&mut self, now: Instant) {
        let Some(limit) = self.service.watchdog().filter(|_| now >= self.feed_due) else { return };
        let beats: Vec<Option<u64>> = self.lcores.iter().map(|lcore| lcore.heartbeat().map(|(_, beat)| beat)).collect();
        // One that has returned has nothing left to do.
        let alive = beats.iter().zip(&self.fed).all(|(beat, fed)| beat.is_none() || beat != fed);
        if alive && self.service.tell("WATCHDOG=1") {
            self.fed = beats;
            self.feed_due = now + limit / FEEDS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    const WATCHDOG: Duration = Duration::from_secs(40);
    const SECOND: Duration = Duration::from_secs(1);

    /// A manager, and notices of a run on two lcores.
    fn run() -> (tempfile::TempDir, UnixDatagram, Notices, [Arc<LcoreBoard>; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let service = Service::connect(path.as_os_str(), Some(WATCHDOG)).unwrap();
        let lcores: [Arc<LcoreBoard>; 2] = Default::default();
        let notices = Notices::new(service, lcores.to_vec());
        (folder, manager, notices, lcores)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 256];
        let next = || {
            let n = manager.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn it_is_ready_when_the_last_lcore_has_finished_a_round() {
        let (_folder, manager, mut notices, [a, b]) = run();
        let now = Instant::now();
        a.begin(1);
        a.beat(100);
        notices.look(now, false, String::new);
        b.begin(2);
        b.beat(1);
        notices.look(now, false, String::new);
        assert_eq!(heard(&manager), Vec::<String>::new(), "the second is in its first round");
        b.beat(2);
        notices.look(now, false, || "x trades".into());
        assert_eq!(heard(&manager), ["READY=1", "STATUS=x trades", "WATCHDOG=1"]);
        notices.look(now, false, || unreachable!("not twice a second"));
        assert_eq!(heard(&manager), Vec::<String>::new());
    }

    #[test]
    fn the_watchdog_is_fed_while_every_heart_beats() {
        let (_folder, manager, mut notices, [a, b]) = run();
        let start = Instant::now();
        let mut look = |second: u32, beats: [u64; 2]| {
            for (lcore, beat) in [&a, &b].into_iter().zip(beats) {
                lcore.begin(1);
                lcore.beat(beat);
            }
            notices.look(start + SECOND * second, false, String::new);
            heard(&manager).iter().filter(|state| *state == "WATCHDOG=1").count()
        };
        assert_eq!(look(0, [10, 10]), 1);
        assert_eq!(look(5, [11, 11]), 0, "a quarter of its time is ten seconds");
        assert_eq!(look(10, [12, 12]), 1);
        assert_eq!(look(20, [13, 12]), 0, "the second is stuck");
        assert_eq!(look(30, [14, 12]), 0);
        assert_eq!(look(31, [15, 13]), 1, "it was late");
        b.end();
        a.beat(16);
        notices.look(start + SECOND * 60, false, String::new);
        assert_eq!(heard(&manager), ["WATCHDOG=1"], "one that has returned is not stuck");
    }

    #[test]
    fn a_reload_ends_with_being_ready_again_and_a_stop_is_told_once() {
        let (_folder, manager, mut notices, [a, b]) = run();
        [&a, &b].into_iter().for_each(|lcore| lcore.beat(2));
        let now = Instant::now();
        notices.look(now, false, String::new);
        heard(&manager);
        notices.reloading();
        [&a, &b].into_iter().for_each(|lcore| lcore.beat(3));
        let later = now + WATCHDOG / 2;
        notices.feed(later);
        notices.feed(later);
        notices.look(later, false, String::new);
        let said = heard(&manager);
        assert!(said[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
        assert_eq!(said[1..], ["WATCHDOG=1", "READY=1"], "a long reload is not what it bites for");
        for _ in 0..2 {
            notices.look(now, true, String::new);
        }
        assert_eq!(heard(&manager), ["STOPPING=1"]);
    }
}
