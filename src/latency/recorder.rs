//! The recorder: one thread of low priority, on CPUs of its own. Records of every stage come in by SPSC rings; histograms,
//! trace files, metrics and alarms go out.
//!
//! It never touches the packet's path: it reads atomics that lcores fill when asked, and what the kernel says of them. When
//! it is slow, records are lost and counted, never packets.

use super::answers::Answers;
use super::board::{Ask, Boards, Count};
use super::budget::Budget;
use super::clock::{Clock, DeviceClock, Scale, Watch};
use super::drift::Live;
use super::hlog::Hlog;
use super::hop::Hop;
use super::hops::{HopTable, ns_of};
use super::interval::{
    ClockEvidence, DeviceClockEvidence, Interval, LcoreEvidence, LinkEvidence, PoolEvidence, PortEvidence,
};
use super::journaling::Journaling;
use super::outlet::Lost;
use super::record::{Kind, Record, StampDomain};
use super::snapshot::{Alarm, HopSnapshot, HostSnapshot, RecorderSnapshot, Snapshot, StageSnapshot, VenueSnapshot};
use super::trace::{ClockFit, Writer};
use crate::cpu::rdtsc;
use crate::dpdk::Mempool;
use crate::dpdk::ethdev::Outages;
use crate::dpdk::ring::{Consumer, Gauge};
use crate::host::evidence::{Sampler, Thread};
use crate::host::watch::Shown;
use crate::market::{Side, Symbol};
use crate::port::Device;
use crate::risk::Kill;
use crate::serve::Metrics;
use crate::sys::{affinity, ethtool};
use arc_swap::ArcSwap;
use bytemuck::Zeroable;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the rings: long enough to cost nothing, short enough that a ring of 4,096 takes two million orders
/// a second.
const NAP: Duration = Duration::from_millis(2);

/// Lcores are asked for their numbers so long before an interval ends.
const ASK_AHEAD: Duration = Duration::from_millis(10);

/// Clocks are looked at so often, at most.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

/// Readings of a device's clock at a time.
const CLOCK_TRIES: usize = 5;

/// An independent clock that is no further away vouches for the rate: crystals are good to some 100 ppm.
const AGREEMENT_PPM: f64 = 200.0;

/// A device's stamp may come out so wrong on the TSC and still be called synchronised.
const DEVICE_BOUND_NS: u64 = 1000;

/// Records taken at a time.
const INTAKE: usize = 256;

/// Looks at one ring before the next has its turn.
const TURNS: usize = 32;

/// Rings between stages: venue's name, link's name, the ring.
pub type Gauges = Arc<ArcSwap<Vec<(String, &'static str, Gauge)>>>;

/// What the recorder watches.
pub struct RecorderParts {
    /// By venue.
    pub venues: Vec<VenueParts>,
    /// By lcore.
    pub lcores: Vec<LcoreParts>,
    /// They change when stages move.
    pub links: Gauges,
    /// Pools of frames.
    pub pools: Vec<Mempool>,
    /// Devices, by the port's name in the file.
    pub devices: Vec<(String, Device)>,
    /// TSC's rate.
    pub clock: Clock,
    /// See [`Injected`](super::clock::Injected).
    pub injected_clock: Option<PathBuf>,
    /// How often what is shown is renewed.
    pub interval: Duration,
    /// Asks lcores for their numbers.
    pub ask: Ask,
    /// What snapshots say of the run as a whole.
    pub run: Snapshot,
    /// Trace files and the interval log, if they are wanted.
    pub trace: Option<(Writer, Hlog)>,
    /// The journal, if it is wanted.
    pub journal: Option<Journaling>,
    /// Holds the run against its budget, and against a baseline or its own beginning.
    pub live: Option<Live>,
    /// What the checks of the host say that are made again, if any are.
    pub host: Option<Shown>,
    /// Who is told of every hop and every interval.
    pub metrics: Option<Arc<Metrics>>,
}

/// One lcore.
pub struct LcoreParts {
    /// EAL lcore id.
    pub id: u32,
    /// CPUs it may run on.
    pub cpus: Vec<u32>,
    /// Its numbers.
    pub boards: Boards,
}

/// One venue.
pub struct VenueParts {
    /// Its name.
    pub name: String,
    /// What its hops may take.
    pub budget: Budget,
    /// Port of each line, by its name in the file; then the order port.
    pub ports: Vec<String>,
    /// Its kill switch.
    pub kill: Kill,
    /// Records in, and what found no room on the way.
    pub sources: Vec<(Consumer<Record>, Arc<Lost>)>,
}

/// The thread, while it runs. Dropped, it stops and is waited for.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Recorded>>,
}

/// What is left when it has stopped.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// By venue.
    pub hops: Vec<HopTable>,
    /// The last state.
    pub last: Snapshot,
}

impl Recorder {
    /// Start the thread; `first` runs on it before anything else and moves it where it may run.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(parts: RecorderParts, first: impl FnOnce() + Send + 'static) -> io::Result<Recorder> {
        let stop = Arc::<AtomicBool>::default();
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            first();
            State::new(parts).run(&until)
        })?;
        Ok(Recorder { stop, thread: Some(thread) })
    }

    /// Take what is left in the rings, finish the files, and end. The lcores have returned.
    ///
    /// # Panics
    /// The thread's own panic goes on here.
    pub fn finish(mut self) -> Recorded {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(recorded)) => recorded,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Recorded::default(),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then, and who drops it is on the way out already.
            let _ = thread.join();
        }
    }
}

/// Positions that a snapshot shows.
const POSITIONS: usize = 32;

/// What the fills of one venue amount to.
#[derive(Default)]
struct Positions(BTreeMap<u32, (Option<Symbol>, i64)>);

impl Positions {
    /// An order's symbol, or a fill's shares.
    fn record(&mut self, record: &Record) {
        match record.kind() {
            Some(Kind::Sent) if record.symbol != [0; 8] => {
                self.0.entry(record.instrument).or_default().0 = Some(Symbol(record.symbol));
            }
            Some(Kind::Filled) => {
                let (_, shares) = self.0.entry(record.instrument).or_default();
                *shares += if record.side == Side::Buy as u8 { 1 } else { -1 } * i64::from(record.qty);
            }
            _ => {}
        }
    }

    /// The largest, by symbol, or `?` and the instrument's index where its orders' records were lost; and how many there
    /// are.
    fn largest(&self) -> (BTreeMap<String, i64>, u64) {
        let mut held: Vec<(u32, Option<Symbol>, i64)> =
            self.0.iter().map(|(i, (symbol, n))| (*i, *symbol, *n)).collect();
        held.retain(|(.., shares)| *shares != 0);
        held.sort_by_key(|(.., shares)| Reverse(shares.unsigned_abs()));
        let name = |i: u32, symbol: Option<Symbol>| symbol.map_or_else(|| format!("?{i}"), |symbol| symbol.to_string());
        let shown = held.iter().take(POSITIONS).map(|(i, symbol, shares)| (name(*i, *symbol), *shares));
        (shown.collect(), held.len() as u64)
    }
}

struct State {
    parts: RecorderParts,
    /// By venue.
    positions: Vec<Positions>,
    /// This interval's, by venue.
    hops: Vec<HopTable>,
    total: Vec<HopTable>,
    intake: Box<[Record]>,
    began: Instant,
    from: Instant,
    from_tsc: u64,
    records: u64,
    records_before: u64,
    lost_before: u64,
    polls_before: Vec<(u64, u64)>,
    devices_before: Vec<PortEvidence>,
    /// What the kernel says of the lcores' threads, once all of them run.
    sampler: Option<Sampler>,
    watch: Watch,
    clock: ClockEvidence,
    clock_checked: Option<Instant>,
    /// By device of the parts.
    device_clocks: Vec<DeviceClock>,
    answers: Answers,
    host: HostSnapshot,
    /// The disk refused, and that was said.
    complained: bool,
    last: Snapshot,
}

impl State {
    fn new(parts: RecorderParts) -> State {
        let bound = parts.clock.ns_to_ticks(DEVICE_BOUND_NS);
        let tables = || parts.venues.iter().map(|_| HopTable::default()).collect();
        State {
            positions: parts.venues.iter().map(|_| Positions::default()).collect(),
            hops: tables(),
            total: tables(),
            intake: vec![Record::zeroed(); INTAKE].into_boxed_slice(),
            began: Instant::now(),
            from: Instant::now(),
            from_tsc: rdtsc(),
            records: 0,
            records_before: 0,
            lost_before: 0,
            polls_before: vec![(0, 0); parts.lcores.len()],
            devices_before: Vec::new(),
            sampler: None,
            watch: Watch::host(&parts.clock, &affinity::current().unwrap_or_default(), parts.injected_clock.as_deref()),
            clock: ClockEvidence::default(),
            clock_checked: None,
            answers: Answers::default(),
            host: HostSnapshot::default(),
            device_clocks: parts.devices.iter().map(|_| DeviceClock::new(bound)).collect(),
            complained: false,
            last: parts.run.clone(),
            parts,
        }
    }

    fn run(mut self, stop: &AtomicBool) -> Recorded {
        let scale = self.parts.clock.scale();
        let mut asked = false;
        loop {
            // Read before the rings are: what was pushed before the flag is then seen.
            let stopping = stop.load(Ordering::Acquire);
            let took = self.drain(&scale) + self.parts.journal.as_mut().map_or(0, Journaling::drain);
            if self.sampler.is_none() {
                self.sampler = sampler(&self.parts.lcores);
            }
            if stopping && took == 0 {
                break;
            }
            let elapsed = self.from.elapsed();
            if !asked && elapsed + ASK_AHEAD >= self.parts.interval {
                self.parts.ask.refresh();
                asked = true;
            }
            if elapsed >= self.parts.interval {
                self.close_interval();
                asked = false;
            }
            if took < INTAKE && !stopping {
                std::thread::sleep(NAP);
            }
        }
        self.close_interval();
        self.last.ended = true;
        if let Some((mut writer, _)) = self.parts.trace.take() {
            writer.clock(&self.fitted());
            let account = &mut self.last.recorder;
            let counters = writer.finish();
            (account.bytes, account.lost_disk) = (counters.bytes, counters.lost);
        }
        if let Some(journal) = self.parts.journal.take() {
            journal.finish();
        }
        Recorded { hops: self.total, last: self.last }
    }

    /// Take what the rings hold. Returns how many records that were.
    fn drain(&mut self, scale: &Scale) -> usize {
        let State { parts, positions, hops, intake, device_clocks, answers, .. } = self;
        let mut all = 0;
        for (index, (venue, hops)) in parts.venues.iter_mut().zip(hops).enumerate() {
            let metrics = parts.metrics.as_deref();
            let tell = |hop: Hop, ticks: u64| {
                if let Some(metrics) = metrics {
                    metrics.observe(index, hop, scale.ticks_to_ns(ticks) as f64);
                }
            };
            for (ring, _) in &mut venue.sources {
                for _ in 0..TURNS {
                    let n = ring.pop_slice(intake);
                    let stamped = intake[..n].iter_mut().filter(|r| r.domain() == StampDomain::Device);
                    stamped.for_each(|record| fit(record, &venue.ports, &parts.devices, device_clocks));
                    for record in &intake[..n] {
                        match record.kind() {
                            Some(Kind::Sent) => answers.sent(record),
                            Some(Kind::Acknowledged | Kind::Filled) => {
                                if let Ok(Some(ticks)) = answers.answered(record) {
                                    hops.answered(ticks);
                                    tell(Hop::DoorbellAck, ticks);
                                }
                            }
                            _ => {}
                        }
                        hops.record(record, tell);
                        positions[index].record(record);
                    }
                    if let Some(live) = &mut parts.live {
                        intake[..n].iter().for_each(|record| live.record(record));
                    }
                    if let Some((writer, _)) = &mut parts.trace {
                        writer.records(&intake[..n]);
                    }
                    all += n;
                    if n < intake.len() {
                        break;
                    }
                }
            }
        }
        if let Some((writer, _)) = &mut parts.trace {
            writer.tick();
        }
        self.records += all as u64;
        all
    }

    fn lost(&self) -> u64 {
        self.parts.venues.iter().flat_map(|v| &v.sources).map(|(_, lost)| lost.count()).sum()
    }

    fn close_interval(&mut self) {
        let interval = self.interval();
        let lost = interval.records_lost;
        self.write(&interval);
        if let Some(live) = &mut self.parts.live {
            live.interval(&interval).iter().for_each(|(level, said)| log::log!(*level, "{said}"));
        }
        let venues: Vec<VenueSnapshot> = (0..self.parts.venues.len()).map(|v| self.venue(v)).collect();
        let alarms = self.alarms(&venues, lost);
        self.last = Snapshot {
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            interval_seconds: self.from.elapsed().as_secs_f64(),
            venues,
            interval,
            recorder: self.account(),
            alarms,
            host: self.host.clone(),
            ..self.parts.run.clone()
        };
        if let Some(metrics) = &self.parts.metrics {
            metrics.publish(Arc::new(self.last.clone()));
        }
        self.hops.iter_mut().for_each(HopTable::clear);
        self.from = Instant::now();
        self.from_tsc = self.last.interval.to_tsc;
        self.records_before = self.records;
    }

    /// The interval into the files.
    fn write(&mut self, interval: &Interval) {
        let State { parts, hops, began, from, complained, .. } = self;
        let Some((writer, log)) = &mut parts.trace else { return };
        writer.interval(interval);
        let (scale, since, length) = (parts.clock.scale(), *from - *began, from.elapsed());
        let logged =
            parts.venues.iter().zip(hops).try_for_each(|(v, h)| log.interval(&v.name, h, &scale, since, length));
        let failed = writer.failure().map(ToString::to_string).or(logged.err().map(|err| err.to_string()));
        match (&failed, &complained) {
            (Some(why), false) => {
                log::error!("cannot write the trace, records are lost until there is room again: {why}");
            }
            (None, true) => log::warn!("the trace can be written again"),
            _ => {}
        }
        *complained = failed.is_some();
    }

    /// The clock as it is known by now.
    fn fitted(&self) -> ClockFit {
        let ClockEvidence { tsc_hz, error_ppm, independent_ppm, .. } = self.clock;
        let verified = independent_ppm.is_some_and(|ppm| ppm.abs() <= AGREEMENT_PPM);
        ClockFit { tsc_hz, error_ppm, verified, ..self.parts.clock.fitted() }
    }

    /// `lost`: records of this interval that found their ring full.
    fn alarms(&self, venues: &[VenueSnapshot], lost: u64) -> Vec<Alarm> {
        let alarm = |kind: &str, text: String| Alarm { kind: kind.to_owned(), text, ..Alarm::default() };
        let mut alarms: Vec<Alarm> = self.parts.live.iter().flat_map(Live::alarms).collect();
        alarms.extend(self.clock.warnings.iter().map(|w| alarm("clock", w.clone())));
        for venue in venues.iter().filter(|venue| venue.figure("parse", "state", "silent") == Some(1)) {
            let text = format!("venue {}: the feed is silent", venue.name);
            alarms.push(Alarm { venue: venue.name.clone(), ..alarm("feed", text) });
        }
        if lost > 0 {
            alarms.push(alarm("recorder", format!("{lost} records of the last interval found their ring full")));
        }
        let broken = self.parts.journal.iter().flat_map(Journaling::broken);
        alarms.extend(broken.map(|venue| alarm("journal", format!("the journal of venue {venue} lacks entries"))));
        if self.complained {
            alarms.push(alarm("recorder", "the trace cannot be written: records are lost".to_owned()));
        }
        alarms
    }

    fn account(&self) -> RecorderSnapshot {
        let written = self.parts.trace.as_ref().map(|(writer, _)| writer.counters()).unwrap_or_default();
        RecorderSnapshot {
            records: self.records,
            lost_ring: self.lost(),
            lost_disk: written.lost,
            bytes: written.bytes,
            files: written.files,
        }
    }

    /// Look at the clocks, once a second at most; say what is wrong when it begins and when it ends.
    fn check_clocks(&mut self) {
        if self.clock_checked.is_some_and(|at| at.elapsed() < CLOCK_CHECK) {
            return;
        }
        self.clock_checked = Some(Instant::now());
        let mut now = self.watch.check();
        for ((port, device), clock) in self.parts.devices.iter().zip(&mut self.device_clocks) {
            let reading = || {
                let before_tsc = rdtsc();
                let ticks = device.read_clock()?;
                Some((rdtsc() - before_tsc, ticks, before_tsc))
            };
            // The tightest of a few says most.
            let Some((width, ticks, before_tsc)) = (0..CLOCK_TRIES).filter_map(|_| reading()).min() else { continue };
            clock.add(ticks, before_tsc, before_tsc + width);
            let residual = clock.residual_ticks().map(|ticks| ns_of(&self.parts.clock, ticks));
            now.devices.push(DeviceClockEvidence { port: port.clone(), residual_ns: residual });
        }
        // The same fault has other figures every second.
        let words = |warning: &String| warning.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let known: Vec<String> = self.clock.warnings.iter().map(words).collect();
        for warning in now.warnings.iter().filter(|warning| !known.contains(&words(warning))) {
            log::warn!("clock: {warning}");
        }
        self.clock = now;
    }

    /// What happened since the last one.
    fn interval(&mut self) -> Interval {
        self.check_clocks();
        let (host, host_news) = self.parts.host.as_ref().map(Shown::take).unwrap_or_default();
        self.host = host;
        let State { parts, polls_before, devices_before, .. } = self;
        let none = |lcore: &LcoreParts| LcoreEvidence { lcore: lcore.id, ..LcoreEvidence::default() };
        let mut lcores: Vec<LcoreEvidence> = match &mut self.sampler {
            Some(sampler) => sampler.sample(),
            None => parts.lcores.iter().map(none).collect(),
        };
        for ((lcore, of), before) in parts.lcores.iter().zip(&mut lcores).zip(polls_before) {
            let (polls, empty) = lcore.boards.lcore.polls();
            let (polls_before, empty_before) = std::mem::replace(before, (polls, empty));
            (of.polls, of.empty_polls) = (polls - polls_before, empty - empty_before);
        }
        let high_water = |venue: &str, link: &str| {
            let lists: Vec<_> = parts.lcores.iter().map(|lcore| lcore.boards.segments.load()).collect();
            let boards = lists.iter().flat_map(|list| list.iter());
            let of = boards.filter(|(name, _)| parts.venues[*name].name == venue);
            let numbers = of.flat_map(|(_, board)| board.read());
            numbers
                .filter(|(entry, _)| matches!(entry.count, Count::HighWater(name) if name == link))
                .map(|n| n.1)
                .max()
        };
        let link = |(venue, link, ring): &(String, &'static str, Gauge)| LinkEvidence {
            venue: venue.clone(),
            link: (*link).to_owned(),
            depth: ring.capacity() as u64,
            fill: ring.len() as u64,
            high_water: high_water(venue, link).unwrap_or(0),
        };
        let links = parts.links.load().iter().map(link).collect();
        let pool =
            |p: &Mempool| PoolEvidence { pool: p.name().to_owned(), in_use: p.in_use() as u64, size: p.size() as u64 };
        let pools = parts.pools.iter().map(pool).collect();
        let devices: Vec<PortEvidence> = parts.devices.iter().filter_map(|(name, port)| device(name, port)).collect();
        let since = |now: &PortEvidence| {
            let before = devices_before.iter().find(|before| before.port == now.port).cloned().unwrap_or_default();
            PortEvidence {
                port: now.port.clone(),
                missed: now.missed.saturating_sub(before.missed),
                no_mbuf: now.no_mbuf.saturating_sub(before.no_mbuf),
                errors: now.errors.saturating_sub(before.errors),
                resets: now.resets - before.resets,
                restarts: now.restarts - before.restarts,
                restarts_failed: now.restarts_failed - before.restarts_failed,
                unsent: now.unsent - before.unsent,
                removals: now.removals - before.removals,
                // What a driver has counted before the first look is of the time before the start.
                ctpio: ethtool::grown(&before.ctpio, &now.ctpio),
            }
        };
        let ports = devices.iter().map(since).collect();
        *devices_before = devices;
        // Looked at once, so that what is lost while the interval is written counts in the next.
        let lost_now = self.lost();
        let (records, lost) = (self.records - self.records_before, lost_now - self.lost_before);
        self.lost_before = lost_now;
        Interval {
            from_tsc: self.from_tsc,
            to_tsc: rdtsc(),
            lcores,
            links,
            pools,
            ports,
            records,
            clock: self.clock.clone(),
            host: host_news,
            records_lost: lost,
        }
    }

    fn venue(&mut self, venue: usize) -> VenueSnapshot {
        let State { parts, positions, hops, total, .. } = self;
        let VenueParts { name, budget, kill, .. } = &parts.venues[venue];
        let (positions, held_instruments) = positions[venue].largest();
        total[venue].merge(&hops[venue]);
        let hop = |hop: Hop| HopSnapshot {
            hop,
            total: total[venue].percentiles(hop, &parts.clock),
            interval: hops[venue].percentiles(hop, &parts.clock),
            budget_p50_ns: budget.of(hop).map(|a| a.p50_ns),
            budget_p99_ns: budget.of(hop).map(|a| a.p99_ns),
        };
        let stages = stages(&parts.lcores, venue);
        let out = |stage: &str, of: fn(&StageSnapshot) -> u64| stages.iter().find(|s| s.stage == stage).map_or(0, of);
        VenueSnapshot {
            name: name.clone(),
            frames: out("parse", |s| s.incoming - s.held),
            orders: out("tx", |s| s.outgoing),
            hops: Hop::ALL.into_iter().map(hop).filter(|h| h.total.count > 0).collect(),
            negative: total[venue].negative,
            killed: kill.reasons().map(|reason| reason.name().to_owned()).collect(),
            positions,
            held_instruments,
            stages,
        }
    }
}

/// Put a stamp of a device's clock on the TSC, if that clock is synchronised.
fn fit(record: &mut Record, lines: &[String], devices: &[(String, Device)], clocks: &[DeviceClock]) {
    let Some(port) = lines.get(usize::from(record.line)) else { return };
    let Some(device) = devices.iter().position(|(name, _)| name == port) else { return };
    if let Some(tsc) = clocks[device].to_tsc(record.stamp) {
        (record.stamp, record.stamp_domain) = (tsc, StampDomain::FittedTsc as u8);
    }
}

/// One venue's stages in packet order, as their boards show them.
fn stages(lcores: &[LcoreParts], venue: usize) -> Vec<StageSnapshot> {
    const ORDER: [&str; 5] = ["rx", "parse", "strategy", "encode", "tx"];
    let mut stages: Vec<StageSnapshot> = Vec::new();
    for LcoreParts { id, boards, .. } in lcores {
        let boards = boards.segments.load();
        for (entry, n) in boards.iter().filter(|(of, _)| *of == venue).flat_map(|(_, board)| board.read()) {
            let at = stages.iter().position(|s| s.stage == entry.stage).unwrap_or_else(|| {
                let (stage, unit) = (entry.stage.to_owned(), entry.unit.to_owned());
                stages.push(StageSnapshot { stage, unit, lcore: *id, ..StageSnapshot::default() });
                stages.len() - 1
            });
            let stage = &mut stages[at];
            match entry.count {
                Count::In => stage.incoming = n,
                Count::Out => stage.outgoing = n,
                Count::Held => stage.held = n,
                Count::Bursts => stage.bursts = n,
                Count::Dropped(reason) => drop(stage.dropped.insert(reason.to_owned(), n)),
                Count::Figure(group, name) => {
                    stage.figures.entry(group.to_owned()).or_default().insert(name.to_owned(), n);
                }
                Count::HighWater(_) => {}
            }
        }
    }
    stages.sort_by_key(|stage| ORDER.iter().position(|name| *name == stage.stage));
    stages
}

/// Watches the lcores' threads; `None` until all of them run. On a kernel without cache-miss events those are left out.
fn sampler(lcores: &[LcoreParts]) -> Option<Sampler> {
    let thread = |l: &LcoreParts| Some(Thread { lcore: l.id, tid: l.boards.lcore.thread()?, cpus: l.cpus.clone() });
    let mut sampler = Sampler::new(Path::new("/"), lcores.iter().map(thread).collect::<Option<_>>()?);
    if let Err(why) = sampler.count_cache_misses() {
        log::info!("cache misses are not counted: {why}");
    }
    Some(sampler)
}

/// What a device has lost so far; `None` for one that does not count.
fn device(name: &str, port: &Device) -> Option<PortEvidence> {
    let stats = port.stats()?;
    let Outages { resets, restarts, restarts_failed, unsent, removals } = port.outages();
    Some(PortEvidence {
        port: name.to_owned(),
        missed: stats.imissed,
        no_mbuf: stats.rx_nombuf,
        errors: stats.ierrors,
        resets,
        restarts,
        restarts_failed,
        unsent,
        removals,
        ctpio: ctpio(port),
    })
}

/// What the driver of a card counted of CTPIO; nothing of other ports.
fn ctpio(port: &Device) -> BTreeMap<String, u64> {
    match port {
        Device::Ethdev(_) => BTreeMap::new(),
        #[cfg(feature = "ef_vi")]
        Device::Efvi(port) => port.ctpio(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_whose_orders_were_not_seen_stay_apart_and_are_named_when_the_symbol_is_known() {
        let bought = |instrument, qty| {
            let (kind, side) = (Kind::Filled as u8, Side::Buy as u8);
            Record { kind, instrument, qty, side, ..Record::default() }
        };
        let mut positions = Positions::default();
        positions.record(&bought(7, 100));
        positions.record(&bought(9, 40));
        let unnamed = BTreeMap::from([("?7".to_owned(), 100), ("?9".to_owned(), 40)]);
        assert_eq!(positions.largest(), (unnamed, 2));
        let symbol = *b"AAPL    ";
        positions.record(&Record { kind: Kind::Sent as u8, instrument: 7, symbol, ..Record::default() });
        let named = BTreeMap::from([("AAPL".to_owned(), 100), ("?9".to_owned(), 40)]);
        assert_eq!(positions.largest(), (named, 2));
    }
}
