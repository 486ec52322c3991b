//! The host while a pipeline runs: irqbalance that came back, an interrupt that moved to a hot CPU, a governor, a PCIe link
//! that lost lanes.
//!
//! In: the checks that are made again (`docs/check.md`), at an interval, on a thread of low priority off the hot CPUs. Out:
//! what is found now, for metrics and for those who look, and news of it with their time, for the log and the trace. It
//! changes nothing, and what cannot be read for a while has not changed.

use super::check::{Finding, Repeated, Severity, Subject};
use crate::latency::interval::{HostChange, News};
use crate::latency::snapshot::{HostFact, HostSnapshot};
use crate::sys::{thread, time};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// News that nobody has taken: more are forgotten.
const MOST_NEWS: usize = 1024;

/// What has been found so far.
pub struct Watch {
    checks: Repeated,
    looks: u64,
    facts: BTreeMap<Key, HostFact>,
}

/// A finding: what sets it apart from others of its check. The worst come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    severity: std::cmp::Reverse<Severity>,
    id: &'static str,
    /// See [`Finding::of`].
    of: String,
}

impl Watch {
    /// Watch what `subject` uses of the host under `root`.
    pub fn new(root: &Path, subject: Subject) -> Watch {
        Watch { checks: Repeated::new(root, subject), looks: 0, facts: BTreeMap::new() }
    }

    /// Look once. Returns what is new at this time, in ns since 1970.
    pub fn look(&mut self, now_ns: u64) -> Vec<HostChange> {
        let (findings, unread) = self.checks.look();
        let mut found: BTreeMap<Key, Finding> = BTreeMap::new();
        for finding in findings {
            found.entry(Key::of(&finding)).or_insert(finding);
        }
        let first = self.looks == 0;
        self.looks += 1;
        let mut changes = Vec::new();
        let mut note = |key: &Key, news: News, found: &str| {
            let (id, severity) = (key.id.to_owned(), key.severity.0);
            changes.push(HostChange { at_ns: now_ns, id, severity, news, found: found.to_owned() });
        };
        for (key, fact) in &mut self.facts {
            let unknown = || unread.iter().any(|unread| unread.id == key.id);
            match found.remove(key) {
                Some(finding) if !fact.stands => {
                    (fact.stands, fact.changed_ns, fact.found) = (true, Some(now_ns), finding.found);
                    note(key, News::Appeared, &fact.found);
                }
                Some(finding) => {
                    let before = std::mem::replace(&mut fact.found, finding.found);
                    if before != fact.found && Repeated::is_news(key.id) {
                        fact.changed_ns = Some(now_ns);
                        note(key, News::Changed, &fact.found);
                    }
                }
                None if fact.stands && !unknown() => {
                    (fact.stands, fact.changed_ns) = (false, Some(now_ns));
                    note(key, News::Gone, &fact.found);
                }
                None => {}
            }
        }
        for (key, finding) in found {
            note(&key, if first { News::AtStart } else { News::Appeared }, &finding.found);
            let fact = HostFact {
                id: key.id.to_owned(),
                severity: key.severity.0,
                found: finding.found,
                stands: true,
                changed_ns: (!first).then_some(now_ns),
            };
            self.facts.insert(key, fact);
        }
        changes
    }

    /// Everything that is or was found, the worst first.
    pub fn facts(&self) -> Vec<HostFact> {
        self.facts.values().cloned().collect()
    }
}

impl Key {
    fn of(finding: &Finding) -> Key {
        Key { severity: std::cmp::Reverse(finding.severity), id: finding.id, of: finding.of.clone() }
    }
}

/// What a [`Watcher`] has to show.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<(HostSnapshot, Vec<HostChange>)>>);

impl Shown {
    /// The state after the last look, and the news since this was last asked for.
    pub fn take(&self) -> (HostSnapshot, Vec<HostChange>) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (shown.0.clone(), std::mem::take(&mut shown.1))
    }
}

/// The thread, while it runs. Dropped, it stops and is waited for.
#[derive(Debug)]
pub struct Watcher {
    shown: Shown,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Look now and every `interval`; `first` runs on the thread before anything else and moves it where it may run.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(mut watch: Watch, interval: Duration, first: impl FnOnce() + Send + 'static) -> io::Result<Watcher> {
        let shown = Shown::default();
        let (stop, stopped) = mpsc::channel();
        let show = shown.clone();
        let thread = std::thread::Builder::new().name("host-watch".into()).spawn(move || {
            first();
            loop {
                let cpu = || thread::doing(thread::id()).map_or(Duration::ZERO, |doing| doing.cpu);
                let before = cpu();
                let changes = watch.look(time::realtime_ns());
                let look_cpu_ns = cpu().saturating_sub(before).as_nanos() as u64;
                changes.iter().for_each(tell);
                let snapshot = HostSnapshot { looks: watch.looks, look_cpu_ns, facts: watch.facts() };
                let mut show = show.0.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_NEWS - show.1.len();
                show.1.extend(changes.into_iter().take(room));
                show.0 = snapshot;
                drop(show);
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        })?;
        Ok(Watcher { shown, stop: Some(stop), thread: Some(thread) })
    }

    /// What it has to show.
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then, and ends nothing but the watch.
            let _ = thread.join();
        }
    }
}

/// A line in the log, which has the time. What stood at the start was said before it.
fn tell(change: &HostChange) {
    let level = match (change.news, change.severity) {
        (News::AtStart, _) => return,
        (_, Severity::Information) => log::Level::Info,
        (News::Gone, _) | (_, Severity::Warning) => log::Level::Warn,
        (_, Severity::Error) => log::Level::Error,
    };
    log::log!(level, "host: {change}");
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{CARD, Tree, subject, tuned};
    use super::*;

    const GOVERNOR: &str = "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor";

    fn watch(host: &Tree) -> Watch {
        Watch::new(host.path(), subject())
    }

    fn said(changes: &[HostChange]) -> Vec<(&str, Severity, News)> {
        changes.iter().map(|change| (change.id.as_str(), change.severity, change.news)).collect()
    }

    #[test]
    fn what_comes_and_goes_is_news_once_with_its_time() {
        let host = tuned();
        let mut watch = watch(&host);
        assert_eq!(watch.look(1), []);
        host.process(90, "irqbalance", 'S', 0, 0, "0-1");
        let news = watch.look(2);
        assert_eq!(said(&news), [("irq.irqbalance", Severity::Warning, News::Appeared)]);
        assert_eq!(news[0].at_ns, 2);
        assert_eq!(watch.look(3), []);
        let fact =
            |watch: &Watch| watch.facts().into_iter().map(|fact| (fact.stands, fact.changed_ns)).collect::<Vec<_>>();
        assert_eq!(fact(&watch), [(true, Some(2))]);
        host.remove("proc/90");
        assert_eq!(said(&watch.look(4)), [("irq.irqbalance", Severity::Warning, News::Gone)]);
        assert_eq!((watch.look(5), fact(&watch)), (vec![], vec![(false, Some(4))]));
    }

    #[test]
    fn what_stood_at_the_start_is_known_and_has_no_time() {
        let host = tuned();
        host.file("proc/sys/kernel/nmi_watchdog", "1\n").file("proc/sys/kernel/watchdog_cpumask", "0-15\n");
        let mut watch = watch(&host);
        assert_eq!(said(&watch.look(1)), [("kernel.nmi_watchdog", Severity::Warning, News::AtStart)]);
        assert_eq!(watch.facts()[0].changed_ns, None);
        assert_eq!(watch.look(2), []);
    }

    #[test]
    fn another_interrupt_on_a_hot_cpu_is_news_beside_one_that_was_there() {
        let host = tuned();
        let mut watch = watch(&host);
        let deliver = |irq: u32| {
            host.file(&format!("proc/irq/{irq}/smp_affinity_list"), "3\n")
                .file(&format!("proc/irq/{irq}/effective_affinity_list"), "3\n")
                .file(&format!("sys/kernel/irq/{irq}/actions"), "eth9-rx\n");
        };
        deliver(24);
        watch.look(1);
        deliver(26);
        let news = watch.look(2);
        assert_eq!(said(&news), [("irq.delivered", Severity::Warning, News::Changed)]);
        assert!(news[0].found.contains("24,26"), "{}", news[0].found);
    }

    #[test]
    fn a_noisy_thread_is_news_when_it_comes_and_not_whenever_it_is_another() {
        let host = tuned();
        let mut watch = watch(&host);
        watch.look(1);
        host.process(77, "noisy", 'R', 0, 3, "0-15");
        assert_eq!(said(&watch.look(2)), [("cpu.processes", Severity::Warning, News::Appeared)]);
        host.remove("proc/77");
        host.process(78, "other", 'R', 0, 4, "0-15");
        assert_eq!(watch.look(3), []);
        assert!(watch.facts()[0].found.contains("other (78, CPU 4)"));
    }

    #[test]
    fn links_of_two_ports_are_two_findings() {
        let host = tuned();
        let second = CARD.replace("3b:00.0", "3b:00.1");
        for (name, value) in [("current_link_speed", "16.0 GT/s PCIe"), ("max_link_speed", "16.0 GT/s PCIe")] {
            host.file(&format!("{second}/{name}"), value);
        }
        host.file(&format!("{second}/current_link_width"), "16").file(&format!("{second}/max_link_width"), "16");
        host.link("sys/bus/pci/devices/0000:3b:00.1", "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1");
        let mut subject = subject();
        let port =
            super::super::check::Port { name: "more".into(), device: "3b:00.1".into(), ..subject.ports[0].clone() };
        subject.ports.push(port);
        let mut watch = Watch::new(host.path(), subject);
        assert_eq!(watch.look(1), []);
        for (at, card) in [(2, CARD), (3, &second)] {
            host.file(&format!("{card}/current_link_width"), "4");
            assert_eq!(said(&watch.look(at)), [("nic.link", Severity::Error, News::Appeared)], "{card}");
        }
    }

    #[test]
    fn hugepages_of_two_nodes_are_two_findings() {
        let host = tuned();
        let pages = |node: u32| format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
        let mut subject = subject();
        subject.memory.push(super::super::check::Memory { node: 1, bytes: 1 << 30 });
        let mut watch = Watch::new(host.path(), subject);
        assert_eq!(watch.look(1), []);
        for (at, node) in [(2, 0), (3, 1)] {
            host.file(&pages(node), "500\n");
            let news = watch.look(at);
            assert_eq!(said(&news), [("memory.hugepages", Severity::Error, News::Appeared)]);
            assert!(news[0].found.starts_with(&format!("node {node}: ")), "{}", news[0].found);
        }
        host.file(&pages(0), "1024\n");
        assert_eq!(said(&watch.look(4)), [("memory.hugepages", Severity::Error, News::Gone)]);
        assert_eq!(watch.facts().iter().map(|fact| fact.stands).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn interrupts_on_two_hot_cpus_are_two_findings() {
        let host = tuned();
        let mut watch = watch(&host);
        watch.look(1);
        for (at, irq, cpu) in [(2, 26, 3), (3, 24, 4)] {
            host.file(&format!("proc/irq/{irq}/smp_affinity_list"), format!("{cpu}\n"))
                .file(&format!("proc/irq/{irq}/effective_affinity_list"), format!("{cpu}\n"))
                .file(&format!("sys/kernel/irq/{irq}/actions"), "eth9-rx\n");
            assert_eq!(said(&watch.look(at)), [("irq.delivered", Severity::Warning, News::Appeared)]);
        }
    }

    #[test]
    fn what_cannot_be_read_for_a_while_has_not_changed() {
        let host = tuned();
        let governors = || (2..=5).map(|cpu| GOVERNOR.replace("cpu3", &format!("cpu{cpu}")));
        host.file(GOVERNOR, "powersave\n");
        let mut watch = watch(&host);
        watch.look(1);
        governors().for_each(|path| host.remove(&path));
        assert_eq!(watch.look(2), []);
        assert!(watch.facts()[0].stands);
        governors().for_each(|path| _ = host.file(&path, "performance\n"));
        assert_eq!(said(&watch.look(3)), [("power.governor", Severity::Warning, News::Gone)]);
    }

    #[test]
    fn hugepages_that_the_run_has_taken_are_not_missing() {
        let host = tuned();
        let pages = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
        host.file(&format!("{pages}/free_hugepages"), "0\n");
        let mut watch = watch(&host);
        assert_eq!(watch.look(1), []);
        // The plan has 1 GiB there: 512 pages.
        host.file(&format!("{pages}/nr_hugepages"), "500\n");
        assert_eq!(said(&watch.look(2)), [("memory.hugepages", Severity::Error, News::Appeared)]);
    }

    #[test]
    fn a_look_asks_no_cpu_for_its_frequency_and_reads_no_log() {
        let host = tuned();
        let mut watch = watch(&host);
        watch.look(1);
        // Each of them alone would be a finding.
        host.file("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "1200000\n")
            .file("proc/cpuinfo", "flags : tsc\n")
            .file("dev/kmsg", "4,9,9,-;tsc: Marking TSC unstable due to clocksource watchdog\n");
        assert_eq!(watch.look(2), []);
    }

    #[test]
    fn the_thread_shows_what_it_finds_and_ends_when_it_is_dropped() {
        let host = tuned();
        host.file(GOVERNOR, "powersave\n");
        let watcher = Watcher::start(watch(&host), Duration::from_millis(1), || {}).unwrap();
        let shown = watcher.shown();
        let next_news = || {
            loop {
                let (snapshot, news) = shown.take();
                if !news.is_empty() {
                    return (snapshot, news);
                }
                std::thread::yield_now();
            }
        };
        let (snapshot, news) = next_news();
        assert_eq!(said(&news), [("power.governor", Severity::Warning, News::AtStart)]);
        assert_eq!(snapshot.faults().count(), 1);
        host.file(GOVERNOR, "performance\n");
        let (snapshot, news) = next_news();
        assert_eq!(said(&news), [("power.governor", Severity::Warning, News::Gone)]);
        assert!(snapshot.looks > 1 && snapshot.faults().count() == 0);
    }
}
