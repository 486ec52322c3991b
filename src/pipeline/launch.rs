//! From a plan to running lcores and back: the only place where the pieces meet.
//!
//! Opens captures (so that a bad file is told before anything else happens), initialises EAL, creates pools, ports,
//! rings and memory on the nodes the plan says, builds each venue's chains, runs them, waits until they have drained,
//! and gives everything back in the opposite order. Decides nothing: that is the plan.

use super::cards::Cards;
use super::carrier::Carrier;
use super::file::{self, Check, ChecksumPolicy, Driver, FeedProtocol, HostCheck, WhenFull as WhenFullFile};
use super::follow::{FollowError, Following};
use super::guard::{Guard, Heart};
use super::layout::{Layout, idle};
use super::multicast::{self, Membership};
use super::notice::Notices;
use super::placement::{self, Launched, Owned};
use super::plan::{
    FRAME_ROOM, LcorePlan, LinePlan, Link, Mode, Plan, PortPlan, RingPlan, Segment as SegmentPlan, SharePlan, Stage,
    VenuePlan,
};
use super::record;
use super::reload::{CHANGES, Reloads, Scripted};
use super::report::{PortReport, RunFacts, Summary, VenueReport};
use super::session::{self, LoginError};
use super::subject::subject;
use super::table;
use crate::arena::{Arena, ArenaFull};
use crate::book::{BookConfig, Books};
use crate::control::{Control, ControlError, Reach, Request, VenueHandle};
use crate::dpdk::ethdev::Multicast;
use crate::dpdk::flow::Rule;
use crate::dpdk::ring::{Consumer, spsc};
use crate::dpdk::sizes::HEADROOM;
use crate::dpdk::{DpdkError, Eal, Lcore, Mempool, Region, Socket, ethdev, lcore};
use crate::feed::{Feed, FeedConfig, HealConfig, Protocol};
use crate::host::check::Severity;
use crate::host::placement::lines::{Block, span};
use crate::host::placement::{Region as PathRegion, Report, Span};
use crate::host::watch::{Watch, Watcher};
use crate::journal::Slot;
use crate::latency::board::{Ask, Boards, LcoreBoard};
use crate::latency::clock::Clock;
use crate::latency::drift::Live;
use crate::latency::hlog::Hlog;
use crate::latency::hop::Hop;
use crate::latency::journaling::Journaling;
use crate::latency::outlet::{Lost, Outlet};
use crate::latency::profile::Profile;
use crate::latency::record::Record;
use crate::latency::recorder::{Gauges, LcoreParts, Recorder, RecorderParts, VenueParts};
use crate::latency::trace::{Header, JournalHeader, Rotation, TraceError, VenueBeginning, Writer};
use crate::market::OrderLimits;
use crate::port::capture::{CaptureError, CaptureSink, CaptureSource, Pace, SourceOptions, Speed};
use crate::port::{self, Device, FeedPort, Groups, OrderPort, Owner, RxPort, Share};
use crate::program::Program;
use crate::recovery::{self, Login, Recovery};
use crate::risk::{Gate, Kill, KillFile, KillReason};
use crate::serve::{Metrics, ServeError, Server, telemetry};
use crate::session::{
    DATAGRAM_HEADERS, Encoder, EncoderConfig, IdsError, OrderIds, OrderSession, OrderStates, TCP_HEADERS, UDP_HEADERS,
    UdpTransport,
};
use crate::stages::{
    Chain, Dock, Encode, EncodeParts, Ends, Flag, Flags, Follow, FollowParts, Group, Inbox, Journal, Links, Listening,
    Outbox, Parse, ParseParts, Placed, Receiver, ReceiverParts, Rx, RxParts, Sampler, Segment, SessionParts, Shared,
    Stamps, StrategyParts, Transport, Tx, TxParts, Verify, WhenFull, changes,
};
use crate::strategy::{InstrumentSpec, Orders};
use crate::sys::notify::Service;
use crate::sys::privileges::{self, Capability, Needs};
use crate::sys::{affinity, memory, thread, time};
use crate::wire::igmp;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Most order messages that one packet may cause: four for each of the instruments that a full packet can touch.
const ORDERS_A_PACKET: usize = 1024;

/// Elements decoded ahead of the book.
const WINDOW: usize = 512;

/// Packets on their way from a re-request or snapshot server to parse.
const DELIVERIES: usize = 1024;

/// How long a run may take to drain and to cancel what stands, once it was told to stop: a port that takes nothing would
/// take for ever.
const DRAIN: Duration = Duration::from_secs(5);

/// And how long, after that, an lcore may take to finish its round.
const GRACE: Duration = Duration::from_secs(5);

/// How often the control thread looks.
const LOOK: Duration = Duration::from_millis(5);
/// The longest wait for a change that waits for no packet, before who asked for it is answered.
const HAPPENS: Duration = Duration::from_millis(200);

/// The longest wait for captures to fill their windows before the first poll.
const HEAD_START: Duration = Duration::from_secs(2);

/// How a plan is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Captures by port name.
    pub captures: BTreeMap<String, Vec<PathBuf>>,
    /// Laps and window of every capture.
    pub source: SourceOptions,
    /// Pace of the captures.
    pub pace: Pace,
    /// Where order frames are written; `None` counts them.
    pub orders: Option<PathBuf>,
    /// Runs that this one is held against while it goes on; its own beginning when there are none.
    pub baseline: Vec<Profile>,
    /// Levels a side of the final books to gather; 0 for none.
    pub book_levels: usize,
    /// Changed files that are to hold from a place in the feed on.
    pub reloads: Vec<Scripted>,
    /// Which stamps are taken on the path; without any, no order is recorded.
    pub stamps: Stamping,
    /// The pipeline file by its name, and its text: a journal quotes them.
    pub pipeline: (String, String),
    /// A journal that takes the place of ports, rx and parse.
    pub follow: Option<Following>,
    /// Root of the host's files that the fingerprint is read from, and that are looked at again while it runs: another than
    /// `/` for tests.
    pub host_root: PathBuf,
    /// A file that says how many ppm a clock is off that the TSC is held against: for tests of the watch over the clocks.
    pub injected_clock: Option<PathBuf>,
    /// Time to be lost on purpose before a stage's stamp, by the stage that the hop leads to: for tests of the measurement.
    pub delays: BTreeMap<Hop, u64>,
}

/// Which stamps are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamping {
    /// None, and the TSC is not read on the path.
    Off,
    /// Receive and doorbell: to measure what the others cost.
    Ends,
    /// One at every hop.
    #[default]
    All,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Frames done.
    pub frames: u64,
    /// Orders sent.
    pub orders: u64,
    /// Since the first poll.
    pub elapsed: Duration,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    /// The whole.
    pub summary: Summary,
    /// By venue.
    pub venues: Vec<VenueReport>,
}

/// Why a plan could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A capture could not be read or written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// DPDK refused.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// A stage needs more memory than the plan gave it.
    #[error("{0}: the plan counted too little")]
    Arena(#[from] ArenaFull),
    /// A capture port has no capture.
    #[error("port {0:?} is a capture port and no capture was given for it; add FILE or {0}=FILE to the command line")]
    NoCapture(String),
    /// A port that takes frames from a device in a replay, or from a file in a run.
    #[error("{0}")]
    Driver(String),
    /// It cannot be told whether the kill switch was left tripped.
    #[error("cannot look for the kill file {path:?} of venue {venue}: {why}; give this user access to its folder")]
    KillFile {
        /// Whose.
        venue: String,
        /// Its path.
        path: String,
        /// The kernel's words.
        #[source]
        why: std::io::Error,
    },
    /// A card refused.
    #[cfg(feature = "ef_vi")]
    #[error(transparent)]
    Efvi(#[from] crate::efvi::EfviError),
    /// The strategy refused its parameters.
    #[error("venue {venue}: strategy {strategy:?}: {why}")]
    Strategy {
        /// Whose.
        venue: String,
        /// Its name.
        strategy: String,
        /// Its own words.
        why: String,
    },
    /// The kernel gives no thread for the recorder.
    #[error("cannot start the recorder's thread: {0}; see the limits of this user (ulimit -u) and of its cgroup")]
    Recorder(#[source] std::io::Error),
    /// Nobody can be asked for lost messages.
    #[error(
        "venue {venue}: cannot ask for lost messages from {interface}: {err}; recovery.interface is an IPv4 address of this host"
    )]
    Recovery {
        /// Whose.
        venue: String,
        /// Where requests were to leave from.
        interface: std::net::Ipv4Addr,
        /// The kernel's words.
        #[source]
        err: std::io::Error,
    },
    /// Credentials that a snapshot server cannot be told.
    #[error("{variable}: a user of at most 6 and a password of at most 10 ASCII characters expected, as user:password")]
    SnapshotLogin {
        /// Environment variable that has them.
        variable: String,
    },
    /// Metrics cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The trace cannot be written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The journal cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Nobody to log in as.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No order ids.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// A changed file that a replay cannot change to.
    #[error("--reload-at: {0}")]
    Reload(String),
    /// No commands can be taken.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Memory of the path lies elsewhere than planned, and the pipeline file says `strict`.
    #[error(
        "{0} faults of where memory lies are errors (above: wanted and found); mend them, or start all the same with \
         \"placement\": \"warn\""
    )]
    Placement(usize),
    /// The kernel does not let an lcore run under SCHED_FIFO.
    #[error(
        "lcore {lcore} may not run under SCHED_FIFO at priority {priority}: {err}; give this process CAP_SYS_NICE (setcap \
         cap_sys_nice+ep) or RLIMIT_RTPRIO {priority} (ulimit -r, LimitRTPRIO= of systemd, --ulimit rtprio= of docker), or leave \
         `fifo` of the lcore out of the pipeline file"
    )]
    Fifo {
        /// Which.
        lcore: u32,
        /// Its priority.
        priority: u32,
        /// The kernel's words.
        #[source]
        err: std::io::Error,
    },
    /// An lcore stopped by a panic.
    #[error("{panicked}; this is a defect of tickpath or of the strategy{}", left_standing(*standing))]
    Panic {
        /// Which, and what it said.
        panicked: lcore::Panicked,
        /// Orders that may stand at exchanges all the same.
        standing: u64,
    },
}

/// What [`crate::program::Program`] makes a segment of: the stages that the segment runs are there, others are `None`.
pub struct SegmentParts<'m> {
    /// Frames in.
    pub rx: Option<Rx>,
    /// Frames to elements.
    pub parse: Option<Parse<'m>>,
    /// Elements to orders: parts, since the strategy itself is made by the registry.
    pub strategy: Option<(StrategyParts<'m>, Orders)>,
    /// Orders to frames.
    pub encode: Option<Encode<'m>>,
    /// Frames out.
    pub tx: Option<Tx>,
    /// A journal in place of rx and parse.
    pub follow: Option<FollowParts<'m>>,
    /// Nothing comes any more, nothing is left.
    pub flags: Flags,
    /// Control.
    pub shared: Arc<Shared>,
}

impl<'m> SegmentParts<'m> {
    /// The segment of these parts with this strategy.
    ///
    /// # Errors
    /// The strategy's own.
    pub fn segment<S: crate::strategy::Strategy>(
        mut self,
        strategy: impl FnOnce(usize) -> Result<S, String>,
    ) -> Result<Box<dyn Segment<'m> + 'm>, String> {
        let follow = self.follow.take();
        let chain = self.chain(strategy)?;
        Ok(match follow {
            Some(follow) => Box::new(Follow::new(chain, follow)),
            None => Box::new(chain),
        })
    }

    /// The chain of these parts with this strategy.
    pub fn chain<S: crate::strategy::Strategy>(
        self,
        strategy: impl FnOnce(usize) -> Result<S, String>,
    ) -> Result<Chain<'m, S>, String> {
        let stage = match self.strategy {
            Some((parts, orders)) => {
                let strategy = strategy(parts.touched.len())?;
                Some(crate::stages::StrategyStage::new(parts, strategy, orders))
            }
            None => None,
        };
        Ok(Chain {
            rx: self.rx,
            parse: self.parse,
            strategy: stage,
            encode: self.encode,
            tx: self.tx,
            flags: self.flags,
            shared: self.shared,
            failed: false,
        })
    }
}

/// What tells a run to stop or to change.
#[derive(Clone, Copy)]
pub struct Controls<'a> {
    /// Set to end it: a clean drain.
    pub stop: &'static AtomicBool,
    /// Set to have the pipeline file read again.
    pub hangup: &'static AtomicBool,
    /// Reads it.
    pub read_again: &'a dyn Fn() -> Result<Plan, String>,
}

impl Controls<'_> {
    /// A run that `stop` ends and nothing changes.
    pub fn only(stop: &'static AtomicBool) -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Controls { stop, hangup: &NEVER, read_again: &|| Err("there is no file to read again".to_owned()) }
    }
}

/// Run a plan to its end. `progress` is called some hundred times a second on this thread.
///
/// # Errors
/// See [`LaunchError`]. Files given for output are complete or absent.
pub fn launch(
    plan: &Plan,
    program: &Program,
    options: &Options,
    controls: &Controls<'_>,
    mut progress: impl FnMut(&Progress),
) -> Result<Outcome, LaunchError> {
    let stop = controls.stop;
    let text = placement::copy_text(plan);
    let clock = Clock::fit();
    let mut sources = open_captures(plan, options)?;
    let mut sinks = open_sinks(plan, options)?;

    let eal = Eal::init("tickpath", &plan.eal_args)?;
    let pools = plan
        .pools
        .iter()
        .map(|p| {
            let make = if p.in_pages { Mempool::frames_in_pages } else { Mempool::frames };
            make(&eal, &p.name, p.mbufs, p.cache, p.data_room - HEADROOM as u16, Socket::Node(p.node))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let report_pools = plan.ports.iter().enumerate().filter(|(_, port)| port.igmp.is_some()).map(|(at, _)| {
        let name = format!("tp.igmp{at}");
        Ok((at, Mempool::frames(&eal, &name, multicast::MBUFS, 0, FRAME_ROOM as u16, Socket::Any)?))
    });
    let report_pools = report_pools.collect::<Result<Vec<_>, DpdkError>>()?;
    let mut devices = Devices::open(plan, &eal, &pools)?;

    // Loaders get a head start, so that a replay measures the pipeline and not the inflating of a file.
    let patience = Instant::now() + HEAD_START;
    while !sources.values().all(CaptureSource::primed) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }

    let mut regions = Vec::new();
    for lcore in &plan.lcores {
        let name = format!("arena-{}", lcore.id);
        regions.push(Region::new(&eal, &name, lcore.arena_bytes as usize, Socket::Node(lcore.node))?);
    }
    let watched = devices.watched(plan);
    let header = record::header(
        plan,
        options,
        &clock,
        record::fingerprint(plan, &options.host_root, eal.argv(), &regions, &watched),
    );
    let mut run = record::snapshot(plan, &header);
    // A replay as fast as it goes is over before there is anything to hold it against.
    let paced = plan.mode == Mode::Run || options.pace.speed != Speed::Max;
    let live = (paced && options.stamps != Stamping::Off).then(|| Live::new(&header, options.baseline.clone()));
    let trace = plan
        .record
        .trace
        .as_ref()
        .filter(|_| options.stamps != Stamping::Off)
        .map(|folder| open_trace(folder, plan, header.clone()));
    let trace = trace.transpose()?;
    let serving = serve(plan, options, &eal)?;
    let arenas_at: Vec<(String, Span)> = regions.iter().map(placement::arena).collect();
    let mut arenas: Vec<Arena<'_>> = regions.iter_mut().map(|r| Arena::new(r.lines_mut())).collect();
    let shared: Vec<Arc<Shared>> = plan.venues.iter().map(|_| Arc::default()).collect();
    let mut wiring = Vec::new();
    for venue in &plan.venues {
        wiring.push(Wiring::new(venue, &eal, options.stamps != Stamping::Off, plan.mode == Mode::Replay)?);
    }
    let gauges = |(venue, wiring): (&VenuePlan, &Wiring)| -> Vec<_> {
        wiring.links.gauges().map(|(link, gauge)| (venue.name.clone(), link, gauge)).collect()
    };
    let links = Gauges::new(ArcSwap::from_pointee(plan.venues.iter().zip(&wiring).flat_map(gauges).collect()));
    let (outboxes, inboxes): (Vec<Outbox>, Vec<Inbox>) =
        plan.venues.iter().map(|_| changes(CHANGES.max(options.reloads.len()))).unzip();
    for (wiring, inbox) in wiring.iter_mut().zip(inboxes) {
        wiring.changes = Some(inbox);
    }

    // They end when this does, after the stages.
    let mut recoveries: Vec<Recovery> = Vec::new();
    let ask = Ask::default();
    let mut ids = Vec::new();
    let mut beginnings = vec![VenueBeginning::default(); plan.venues.len()];
    let mut docks: BTreeMap<u32, Dock<'_>> = BTreeMap::new();
    let mut boards: BTreeMap<u32, Boards> = BTreeMap::new();
    let mut owned = Vec::new();
    memory::keep_in_heaps();
    let drained: BTreeMap<(usize, Stage), Arc<Flag>> =
        plan.lcores.iter().flat_map(|l| &l.segments).map(|s| ((s.venue, s.last), Arc::default())).collect();
    // What was planned goes on to be what a changed file is held against.
    let planned = plan;
    let plan = &planned.steered(&devices.steered).addressed(&devices.cards.hops);
    table::port_lines(plan).iter().for_each(|line| eprintln!("{line}"));
    let (mut receivers, mut shares) = match options.follow {
        None => receivers(plan, &eal, &mut devices, &shared, &clock, options)?,
        Some(_) => Default::default(),
    };
    for (lcore, arena) in plan.lcores.iter().zip(&mut arenas) {
        // On the lcore itself: what its stages allocate comes from a heap of its own, and is touched first by it.
        let build = || -> Result<_, LaunchError> {
            let mut placed = Vec::new();
            for segment in &lcore.segments {
                let mut builder = Builder {
                    plan,
                    index: segment.venue,
                    venue: &plan.venues[segment.venue],
                    options,
                    clock: &clock,
                    pools: &pools,
                    wiring: &mut wiring[segment.venue],
                    sources: &mut sources,
                    sinks: &mut sinks,
                    devices: &mut devices,
                    shares: &mut shares,
                    ids: &mut ids,
                    beginning: &mut beginnings[segment.venue],
                    kill: shared[segment.venue].kill(),
                    shared: &shared[segment.venue],
                    recoveries: &mut recoveries,
                };
                let upstream = before(segment.first).map(|stage| drained[&(segment.venue, stage)].clone());
                let flags = Flags { upstream, drained: drained[&(segment.venue, segment.last)].clone() };
                let parts = builder.parts(segment, flags, arena)?;
                let venue = &plan.venues[segment.venue];
                let refused =
                    |why| LaunchError::Strategy { venue: venue.name.clone(), strategy: venue.strategy.clone(), why };
                let entry = program.named(&venue.strategy).ok_or_else(|| refused("not in this program".to_owned()))?;
                let built = (entry.build)(&venue.parameters, parts).map_err(refused)?;
                placed.push(Placed::new(segment.venue, built));
            }
            Ok((placed, Arc::<LcoreBoard>::default(), thread::stack()))
        };
        let built = lcore::on(&eal, Lcore::new(lcore.id), build);
        let (placed, board, stack) = built.map_err(|panicked| LaunchError::Panic { panicked, standing: 0 })???;
        let memory = || placed.iter().map(Placed::memory);
        owned.push(Owned {
            lcore: lcore.id,
            stack: stack.map(|(from, bytes)| Span { from, bytes }),
            segments: memory().map(|[segment, _]| segment).collect(),
            boards: memory().map(|[_, board]| board).chain([span(&*board)]).collect(),
        });
        let shown: Vec<_> = placed.iter().map(|p| (p.venue, p.board.clone())).collect();
        let segments = Arc::new(ArcSwap::from_pointee(shown));
        boards.insert(lcore.id, Boards { lcore: board, segments });
        docks.insert(lcore.id, Dock::new(idle(lcore.idle), receivers.remove(&lcore.id).unwrap_or_default(), placed));
    }

    let proof = (plan.placement != HostCheck::Off).then(|| {
        let common = common(plan, &shared, &ask, &docks);
        let drivers = watched.iter().map(|(_, port)| port.driver()).collect();
        placement::prove(plan, &eal, &Launched { arenas: arenas_at, owned, common, text: &text, drivers })
    });
    let (touched, proof): (Vec<PathRegion>, Option<Report>) =
        proof.map_or_else(Default::default, |(regions, report)| (regions, Some(report)));
    if let Some(report) = &proof {
        run.misplaced = report.misplaced().into_iter().map(|(kind, pages)| (kind.name().to_owned(), pages)).collect();
        said_where(plan, report)?;
    }

    let handle = |((venue, shared), outbox): ((&VenuePlan, &Arc<Shared>), &Outbox)| -> Result<_, LaunchError> {
        Ok(VenueHandle {
            name: venue.name.clone(),
            kill: shared.kill().clone(),
            shared: shared.clone(),
            session: plan.mode == Mode::Run && venue.orders.session.is_some(),
            trading: outbox.trading().clone(),
            kill_file: open_kill_file(venue, shared.kill())?.map(Mutex::new),
        })
    };
    let handles = plan.venues.iter().zip(&shared).zip(&outboxes).map(handle);
    let handles: Vec<VenueHandle> = handles.collect::<Result<_, _>>()?;
    let handles = Arc::new(handles);
    let (requests, requested) = mpsc::channel();
    let _control = match &plan.control {
        Some(path) if plan.mode == Mode::Run => {
            let metrics = serving.as_ref().map(|serving| serving.metrics.clone());
            let latest = Box::new(move || metrics.as_ref().map(|metrics| metrics.snapshot()));
            let reach = Reach { venues: handles.clone(), stop, latest, requests: requests.clone(), memory: touched };
            Some(Control::start(Path::new(path), reach, keep_off_the_path(plan))?)
        }
        _ => None,
    };
    let journal = match &plan.record.trace {
        Some(folder) if plan.record.journal => {
            let (file, pipeline) = options.pipeline.clone();
            let version = crate::journal::VERSION;
            let journal = Some(JournalHeader { version, file, pipeline, venues: beginnings });
            let writer = Writer::journal(Path::new(folder), Header { journal, ..header }, rotation(plan))?;
            let venues = plan.venues.iter().zip(&mut wiring);
            let venues = venues.filter_map(|(venue, wiring)| {
                let (ring, lost) = wiring.journaled.take()?;
                Some((venue.name.clone(), ring, lost))
            });
            Some(Journaling::new(writer, venues.collect()))
        }
        _ => None,
    };
    schedule(plan, &eal)?;
    if plan.mode == Mode::Run {
        run.privileges = give_up_privileges(plan);
        eprintln!("privileges: {}", run.privileges);
    }
    let watcher = match plan.record.check_seconds {
        seconds @ 1.. if plan.mode == Mode::Run => {
            let watch = Watch::new(&options.host_root, subject(plan, &options.pipeline.0, false));
            let interval = Duration::from_secs(seconds.into());
            Some(Watcher::start(watch, interval, record::background(plan)).map_err(LaunchError::Recorder)?)
        }
        _ => None,
    };
    let recorder = RecorderParts {
        venues: plan
            .venues
            .iter()
            .zip(&mut wiring)
            .zip(&shared)
            .map(|((venue, wiring), shared)| wiring.recorded(plan, venue, shared.kill()))
            .collect(),
        lcores: plan.lcores.iter().map(|lcore| watch(lcore, &boards[&lcore.id])).collect(),
        links: links.clone(),
        pools: pools.clone(),
        devices: watched.clone(),
        clock,
        injected_clock: options.injected_clock.clone(),
        interval: Duration::from_millis(plan.record.interval_ms.into()),
        ask: ask.clone(),
        run,
        trace,
        journal,
        live,
        host: watcher.as_ref().map(Watcher::shown),
        metrics: serving.as_ref().map(|serving| serving.metrics.clone()),
    };
    let recorder = Recorder::start(recorder, record::background(plan)).map_err(LaunchError::Recorder)?;
    let began = Instant::now();
    let mut reloads = Reloads::new(program, planned, outboxes);
    for Scripted { from_sequence, plan } in &options.reloads {
        reloads.take(plan.clone(), *from_sequence).map_err(LaunchError::Reload)?;
    }
    let by_venue =
        |venue| drained.iter().filter(|(at, _)| at.0 == venue).map(|(at, flag)| (at.1, flag.clone())).collect();
    let flags = (0..plan.venues.len()).map(by_venue).collect();
    let hearts =
        plan.lcores.iter().map(|lcore| Heart::new(lcore.id, boards[&lcore.id].lcore.clone(), plan.venues_of(lcore)));
    let metrics = serving.as_ref().map(|serving| serving.metrics.clone());
    let trading: Vec<_> = handles.iter().map(|handle| handle.trading.clone()).collect();
    let carrier = Carrier::new(plan, if plan.mode == Mode::Run { watched } else { Vec::new() }, &trading);
    let memberships = memberships(plan, &mut devices, &report_pools, &shared);
    let mut running = Running {
        memberships,
        carrier,
        steered: devices.steered.clone(),
        mode: plan.mode,
        docks: &docks,
        boards: &boards,
        ask: &ask,
        shared: &shared,
        layout: Layout::new(&eal, &docks, &boards, &shared, links, flags, pools_by_venue(plan, &pools)),
        reloads,
        requested,
        controls,
        guard: Guard::new(plan, &shared, hearts.collect(), metrics),
        notices: (plan.mode == Mode::Run).then(|| notices(&boards)).flatten(),
    };
    let ran = run_lcores(&eal, &mut running, &mut |progressed: &Progress| {
        handles.iter().for_each(VenueHandle::remember);
        progress(progressed);
    });
    // Also what a panic tripped.
    handles.iter().for_each(VenueHandle::remember);
    ran?;
    let recorded = recorder.finish();
    let wall_seconds = began.elapsed().as_secs_f64();
    let interrupted = plan.mode == Mode::Replay && stop.load(Ordering::Relaxed);
    let undrained = (0..plan.venues.len()).any(|venue| !running.layout.has_drained(venue));
    if let late @ 1.. = running.reloads.pending() {
        log::warn!("{late} changes still waited for their packet when the run ended");
    }
    let links_told = running.carrier.told();
    std::mem::take(&mut running.memberships).into_iter().for_each(Membership::leave);
    drop(running);

    let mut venues: Vec<VenueReport> =
        plan.venues.iter().map(|v| VenueReport::new(&v.name, options.book_levels)).collect();
    let (mut placed, mut received) = (Vec::new(), Vec::new());
    for berth in docks.into_values().map(Dock::into_berth) {
        placed.extend(berth.placed);
        received.extend(berth.receivers.iter().map(PortReport::new));
    }
    for Placed { venue, segment, .. } in &placed {
        segment.report(&mut venues[*venue]);
    }
    venues.iter_mut().for_each(VenueReport::in_packet_order);
    for ((report, hops), venue) in venues.iter_mut().zip(recorded.hops).zip(&plan.venues) {
        (report.hops, report.budget) = (hops, venue.budget.clone());
    }
    let mut clock = clock;
    clock.refine();
    for Placed { segment, .. } in placed {
        // What an interrupted replay wrote would look complete: unfinished files vanish with their segment.
        if !interrupted {
            segment.finish()?;
        }
    }
    drop(wiring);
    drop(devices);
    let mbufs_in_use = pools.iter().map(|p| p.lost() as u64).sum();
    let facts = RunFacts {
        eal_argv: eal.argv().to_vec(),
        interrupted,
        undrained,
        plan_hash: format!("{:016x}", plan.hash),
        oversubscribed: plan.oversubscribed,
        mbufs_in_use,
        ports: received,
        warnings: links_told,
        wall_seconds,
        recorder: recorded.last.recorder,
        placement: proof,
    };
    Ok(Outcome { summary: Summary::new(&venues, &clock, facts), venues })
}

/// What several lcores or control write on purpose.
fn common(plan: &Plan, shared: &[Arc<Shared>], ask: &Ask, docks: &BTreeMap<u32, Dock<'_>>) -> Vec<Block> {
    let block = |name: &str, owner: String, span| Block { name: name.to_owned(), owner, span };
    let venues = plan.venues.iter().zip(shared).flat_map(|(venue, shared)| {
        let owner = |what: &str| format!("{what} of venue {}", venue.name);
        let kill = block("kill word", owner("kill word"), shared.kill().lines());
        [block("words between lcores", owner("words"), span(&**shared)), kill]
    });
    let docks = docks.iter().map(|(lcore, dock)| block("dock", format!("dock {lcore}"), span(dock)));
    venues.chain(docks).chain([block("question for numbers", "recorder".to_owned(), ask.lines())]).collect()
}

/// Tell where memory lies, and refuse to go on with an error where the pipeline file says so. A replay goes on.
fn said_where(plan: &Plan, report: &Report) -> Result<(), LaunchError> {
    if plan.mode == Mode::Replay {
        log::info!("{}", report.brief().trim_end());
        return Ok(());
    }
    eprint!("{}", report.brief());
    match report.findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
        errors @ 1.. if plan.placement == HostCheck::Strict => Err(LaunchError::Placement(errors)),
        _ => Ok(()),
    }
}

/// The file that remembers a venue's kill switch, if it has one. When the file is there, the venue starts tripped.
fn open_kill_file(venue: &VenuePlan, kill: &Kill) -> Result<Option<KillFile>, LaunchError> {
    let Some(path) = &venue.risk.kill_file else { return Ok(None) };
    let file = KillFile::open(Path::new(path), kill);
    let file = file.map_err(|why| LaunchError::KillFile { venue: venue.name.clone(), path: path.clone(), why })?;
    if kill.is_tripped() {
        log::warn!("venue {} starts with its kill switch tripped: clear it, or remove {path}, to trade", venue.name);
    }
    Ok(Some(file))
}

/// What the control thread watches and changes while lcores run.
struct Running<'a, 'm> {
    /// Of the groups of ports.
    memberships: Vec<Membership>,
    /// Links of devices, and devices that were reset.
    carrier: Carrier,
    /// Ports whose devices sort packets by their groups.
    steered: Vec<usize>,
    mode: Mode,
    docks: &'a BTreeMap<u32, Dock<'m>>,
    boards: &'a BTreeMap<u32, Boards>,
    ask: &'a Ask,
    shared: &'a [Arc<Shared>],
    layout: Layout<'a, 'm>,
    reloads: Reloads<'a>,
    requested: mpsc::Receiver<Request>,
    controls: &'a Controls<'a>,
    guard: Guard<'a>,
    notices: Option<Notices>,
}

impl Running<'_, '_> {
    /// What was asked for since the last call.
    fn serve(&mut self, wake: &mut dyn FnMut(u32)) {
        if self.controls.hangup.swap(false, Ordering::Relaxed) {
            match self.reload(0, wake) {
                Ok(lines) => lines.iter().for_each(|line| log::warn!("reload: {line}")),
                Err(why) => log::error!("reload: nothing changed: {why}"),
            }
        }
        while let Ok(Request { from_sequence, answer }) = self.requested.try_recv() {
            let said = self.reload(from_sequence, wake);
            // Who asked may have gone.
            let _ = answer.try_send(said);
        }
        self.move_stages(wake).iter().for_each(|line| log::warn!("reload: {line}"));
    }

    fn move_stages(&mut self, wake: &mut dyn FnMut(u32)) -> Vec<String> {
        let notices = &mut self.notices;
        let mut feed = || notices.iter_mut().for_each(|notices| notices.feed(Instant::now()));
        let said = self.reloads.move_stages(&mut self.layout, wake, &mut feed);
        if !said.is_empty() {
            self.guard.moved(&self.reloads.laid_out().steered(&self.steered));
        }
        said
    }

    fn reload(&mut self, from_sequence: u64, wake: &mut dyn FnMut(u32)) -> Result<Vec<String>, String> {
        self.notices.iter_mut().for_each(Notices::reloading);
        let plan = (self.controls.read_again)()?;
        let mut lines = self.reloads.take(plan, from_sequence)?;
        // Mostly the change has happened by then, and the answer can tell of the move.
        let until = Instant::now() + HAPPENS;
        while from_sequence == 0 && self.reloads.pending() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            self.guard.look(Instant::now(), false);
            self.notices.iter_mut().for_each(|notices| notices.feed(Instant::now()));
            lines.extend(self.move_stages(wake));
        }
        Ok(lines)
    }

    /// Tell the service manager how it goes, if there is one.
    fn notify(&mut self, stopping: bool) {
        let guard = &self.guard;
        self.notices.iter_mut().for_each(|notices| notices.look(Instant::now(), stopping, || guard.status()));
    }

    /// Whether a venue has drained, or was told to give up.
    fn is_over(&self, venue: usize) -> bool {
        self.shared[venue].aborted() || self.layout.has_drained(venue)
    }

    fn standing(&self) -> u64 {
        self.shared.iter().map(|shared| shared.session().standing).sum()
    }
}

fn run_lcores(
    eal: &Eal,
    running: &mut Running<'_, '_>,
    progress: &mut impl FnMut(&Progress),
) -> Result<(), LaunchError> {
    let (docks, boards, ask, shared) = (running.docks, running.boards, running.ask, running.shared);
    let panics = lcore::scope(eal, |scope| -> Result<(), DpdkError> {
        let launch = |id: u32| {
            let (dock, board) = (&docks[&id], &boards[&id].lcore);
            scope.launch(Lcore::new(id), move || {
                board.begin(thread::id());
                crate::stages::run(dock, ask, board);
            })
        };
        for id in docks.keys() {
            launch(*id)?;
        }
        let mut wake = |id: u32| {
            // It has left its dock and is on its way back to EAL.
            let until = Instant::now() + GRACE;
            while scope.running().contains(&Lcore::new(id)) && Instant::now() < until {
                std::thread::yield_now();
            }
            if let Err(err) = launch(id) {
                log::error!("lcore {id} does not start again, and the run ends: {err}");
                for shared in shared {
                    shared.kill().trip(KillReason::LcoreStuck);
                    shared.abort();
                }
            }
        };
        let began = Instant::now();
        let (mut stopped_at, mut polling) = (None, false);
        let venues = || 0..shared.len();
        while !venues().all(|venue| running.is_over(venue)) {
            std::thread::sleep(LOOK);
            let elapsed = began.elapsed();
            let failed = shared.iter().any(|s| s.failed());
            let stopping = failed || running.controls.stop.load(Ordering::Relaxed);
            running.guard.look(Instant::now(), stopping);
            let anew = running.carrier.look(Instant::now());
            for membership in &mut running.memberships {
                if anew.iter().any(|device| device == membership.device()) {
                    membership.join_again(Instant::now());
                }
                membership.look(Instant::now());
            }
            running.notify(stopping);
            if !polling && boards.values().all(|board| board.lcore.has_polled()) {
                polling = true;
                first_poll(running.mode);
            }
            if stopping {
                shared.iter().for_each(|s| s.close_intake());
                let late = stopped_at.get_or_insert(elapsed).saturating_add(DRAIN) < elapsed;
                if late && (failed || running.mode == Mode::Run) {
                    shared.iter().for_each(|s| s.abort());
                }
                // What is before the segment that panicked has nobody to hand on to.
                let lost = |venue: &usize| shared[*venue].failed() && running.layout.has_closed(*venue);
                venues().filter(lost).for_each(|venue| shared[venue].abort());
            } else {
                running.serve(&mut wake);
            }
            let sum = |of: fn(&Shared) -> u64| shared.iter().map(|s| of(s)).sum();
            progress(&Progress { frames: sum(Shared::frames), orders: sum(Shared::orders), elapsed });
        }
        running.notify(true);
        let ended = Instant::now();
        loop {
            let left: Vec<u32> = scope.running().iter().map(|lcore| lcore.id()).collect();
            if left.is_empty() {
                break;
            }
            running.guard.look(Instant::now(), true);
            if ended.elapsed() > GRACE || left.iter().all(|id| running.guard.is_stuck(*id)) {
                leave_behind(&left, running.standing());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    });
    match panics {
        Ok(inner) => Ok(inner?),
        Err(panicked) => Err(LaunchError::Panic { panicked, standing: running.standing() }),
    }
}

/// Say that a run polls, and how long it took to come to that.
fn first_poll(mode: Mode) {
    if let (Mode::Run, Some(took)) = (mode, time::since_start()) {
        eprintln!("every lcore polls, {:.2} s after the start", took.as_secs_f64());
    }
}

/// The service manager that started this process, if one did.
fn notices(boards: &BTreeMap<u32, Boards>) -> Option<Notices> {
    let service = Service::from_environment().unwrap_or_else(|err| {
        log::warn!("the service manager hears nothing of this run: NOTIFY_SOCKET: {err}");
        None
    });
    Some(Notices::new(service?, boards.values().map(|board| board.lcore.clone()).collect()))
}

/// End the process beside lcores that do not return: what they use cannot be given back.
fn leave_behind(lcores: &[u32], standing: u64) -> ! {
    let ids = lcores.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    eprintln!("error: stuck, and did not return when told to: lcore {ids}{}", left_standing(standing));
    thread::leave(1)
}

fn left_standing(orders: u64) -> String {
    match orders {
        0 => String::new(),
        n => format!("; {n} orders may still stand: cancel them at the exchange"),
    }
}

/// Where stages of one venue on different lcores meet, each other and who watches or changes them.
#[derive(Default)]
struct Wiring {
    links: Links,
    changes: Option<Inbox>,
    sampler: Option<Outlet>,
    recorder: Option<Outlet>,
    sources: Vec<(Consumer<Record>, Arc<Lost>)>,
    journal: Option<Journal>,
    journaled: Option<(Consumer<Slot>, Arc<Lost>)>,
}

impl Wiring {
    /// Rings to the recorder too, if it is to get anything. `lossless`: nothing of a journal may be lost.
    fn new(venue: &VenuePlan, eal: &Eal, record: bool, lossless: bool) -> Result<Self, DpdkError> {
        let links = &venue.links;
        let mut sources = Vec::new();
        let mut outlets = [None, None];
        for (RingPlan { name, depth, node, .. }, outlet) in venue.records.iter().zip(&mut outlets).filter(|_| record) {
            let (producer, consumer) = spsc(eal, name, *depth as usize, Socket::Node(*node))?;
            let (made, lost) = Outlet::new(producer);
            *outlet = Some(made);
            sources.push((consumer, lost));
        }
        let [sampler, recorder] = outlets;
        let (mut journal, mut journaled) = (None, None);
        if let Some(RingPlan { name, depth, node, .. }) = &venue.journal {
            let (producer, consumer) = spsc::<Slot>(eal, name, *depth as usize, Socket::Node(*node))?;
            let (made, lost) = Journal::new(producer, lossless);
            (journal, journaled) = (Some(made), Some((consumer, lost)));
        }
        Ok(Wiring {
            sampler,
            recorder,
            sources,
            journal,
            journaled,
            changes: None,
            links: Links {
                rx_parse: ends(&links.rx_parse, eal)?,
                parse_strategy: ends(&links.parse_strategy, eal)?,
                strategy_encode: ends(&links.strategy_encode, eal)?,
                encode_tx: ends(&links.encode_tx, eal)?,
                tx_strategy: ends(&links.tx_strategy, eal)?,
            },
        })
    }

    /// What the recorder takes of it.
    fn recorded(&mut self, plan: &Plan, venue: &VenuePlan, kill: &Kill) -> VenueParts {
        let sources = std::mem::take(&mut self.sources);
        let port = |line: &LinePlan| plan.ports[line.port].name.clone();
        let orders = plan.ports[venue.orders.port].name.clone();
        let ports = venue.feed.lines.iter().map(port).chain([orders]).collect();
        let (name, budget, kill) = (venue.name.clone(), venue.budget.clone(), kill.clone());
        VenueParts { name, budget, kill, sources, ports }
    }
}

fn ends<T: Send>(link: &Link, eal: &Eal) -> Result<Ends<T>, DpdkError> {
    match link {
        Link::Fused => Ok((None, None)),
        Link::Ring(RingPlan { name, depth, node, .. }) => {
            let (producer, consumer) = spsc(eal, name, *depth as usize, Socket::Node(*node))?;
            Ok((Some(producer), Some(consumer)))
        }
    }
}

/// Queues of DPDK devices, each handed out once.
struct Devices {
    /// Ports that put packets into queues by their groups.
    steered: Vec<usize>,
    rx: BTreeMap<(usize, u16), ethdev::RxQueue>,
    tx: BTreeMap<(usize, u16), ethdev::TxQueue>,
    cards: Cards,
}

impl Devices {
    fn open(plan: &Plan, eal: &Eal, pools: &[Mempool]) -> Result<Self, LaunchError> {
        let cards = Cards::open(plan, pools)?;
        let mut devices = Devices { steered: Vec::new(), rx: BTreeMap::new(), tx: BTreeMap::new(), cards };
        for (at, port) in plan.ports.iter().enumerate() {
            let (Driver::Ethdev, Some(device)) = (port.driver, &port.device) else { continue };
            let pool_of = |queue: u32| {
                let line = plan
                    .venues
                    .iter()
                    .flat_map(|v| &v.feed.lines)
                    .find(|l| l.port == at && u32::from(l.queue) == queue);
                let orders =
                    plan.venues.iter().map(|v| &v.orders).find(|o| o.port == at && u32::from(o.queue) == queue);
                line.map(|l| l.pool).or(orders.map(|o| o.pool))
            };
            let mut rx: Vec<_> = (0..port.rx_queues)
                .filter_map(pool_of)
                .map(|pool| ethdev::RxConfig { pool: pools[pool].clone(), descriptors: port.rx_descriptors as u16 })
                .collect();
            let opened = ethdev::Port::open(eal, device)?;
            let queues = usize::from(opened.max_rx_queues());
            if (port.receiver.is_some() || port.steerable) && queues < rx.len() {
                log::warn!(
                    "port {} ({device}) has {queues} receive queues of {}: all is received in them",
                    port.name,
                    rx.len()
                );
                rx.truncate(queues);
            }
            let config = ethdev::PortConfig {
                rx,
                tx: (0..port.tx_queues).map(|queue| tx_descriptors(port, queue)).collect(),
                checksum: ethdev::Offload::IfAvailable,
                timestamp: ethdev::Offload::IfAvailable,
                multicast: macs(plan, at),
                ..ethdev::PortConfig::default()
            };
            let started = opened.start(&config)?;
            eprintln!("port {}: {device} ({}): {}", port.name, started.port.driver(), negotiated(&started));
            if port.steerable && queues >= port.rx_queues as usize {
                let rules = rules(plan, at);
                match started.port.steer(&rules) {
                    Ok(()) => {
                        eprintln!("port {}: {device} steers {} groups to their queues", port.name, rules.len());
                        devices.steered.push(at);
                    }
                    Err(why) => eprintln!("port {}: {device} does not steer: {why}", port.name),
                }
            }
            devices.rx.extend(started.rx.into_iter().enumerate().map(|(queue, q)| ((at, queue as u16), q)));
            devices.tx.extend(started.tx.into_iter().enumerate().map(|(queue, q)| ((at, queue as u16), q)));
        }
        Ok(devices)
    }

    /// Each device once, by its port's name.
    fn watched(&self, plan: &Plan) -> Vec<(String, Device)> {
        let queues = self.rx.iter().map(|(at, queue)| (at.0, queue.port()));
        let queues = queues.chain(self.tx.iter().map(|(at, queue)| (at.0, queue.port())));
        let ports = queues.map(|(at, port)| (at, Device::Ethdev(port.clone())));
        let all: BTreeMap<usize, Device> = ports.chain(self.cards.devices.clone()).collect();
        all.into_iter().map(|(port, device)| (plan.ports[port].name.clone(), device)).collect()
    }

    /// A receive queue of a device, whatever drives it.
    fn receiver(&mut self, at: (usize, u16)) -> Option<RxPort> {
        self.cards.rx.remove(&at).or_else(|| self.rx.remove(&at).map(RxPort::Ethdev))
    }

    /// A transmit queue of a device, likewise.
    fn transmitter(&mut self, at: (usize, u16)) -> Option<OrderPort> {
        self.cards.tx.remove(&at).or_else(|| self.tx.remove(&at).map(OrderPort::Ethdev))
    }
}

/// What came of asking a device for what it may do.
fn negotiated(started: &ethdev::Started) -> String {
    let checksums = if started.checksum { "in the device" } else { "in software" };
    let stamps = if started.timestamp { "the device's stamp" } else { "no stamp asked of the device" };
    let multicast = match started.multicast {
        Multicast::Unchanged => "no multicast wanted",
        Multicast::Filtered => "multicast of the feeds' groups",
        Multicast::All => "all multicast, as it does not filter",
        Multicast::Promiscuous => "every frame, as it does not filter",
    };
    format!("checksums verified {checksums}, {stamps}, VLAN tags left in frames, {multicast}")
}

fn tx_descriptors(port: &PortPlan, queue: u32) -> u16 {
    match &port.igmp {
        Some(igmp) if u32::from(igmp.queue) == queue => multicast::DESCRIPTORS,
        _ => port.tx_descriptors as u16,
    }
}

/// Where the groups of the feeds on a port go.
fn rules(plan: &Plan, port: usize) -> Vec<Rule> {
    let lines = plan.venues.iter().flat_map(|venue| &venue.feed.lines).filter(|line| line.port == port);
    let rules = lines
        .flat_map(|line| line.groups.iter().map(|group| Rule { group: *group, vlan: line.vlan, queue: line.queue }));
    rules.collect()
}

/// Ethernet addresses of what the feeds on a port listen to, and of routers' queries to all.
fn macs(plan: &Plan, port: usize) -> Vec<[u8; 6]> {
    let lines = plan.venues.iter().flat_map(|venue| &venue.feed.lines).filter(|line| line.port == port);
    let groups: BTreeSet<[u8; 6]> = lines.flat_map(|line| &line.groups).map(|group| igmp::mac(*group.ip())).collect();
    let queries = Some(igmp::mac(Ipv4Addr::new(224, 0, 0, 1))).filter(|_| !groups.is_empty());
    groups.into_iter().chain(queries).collect()
}

/// What keeps the groups of ports, and the pools of its frames, which outlive the devices.
fn memberships(
    plan: &Plan,
    devices: &mut Devices,
    pools: &[(usize, Mempool)],
    shared: &[Arc<Shared>],
) -> Vec<Membership> {
    let membership = |(at, pool): &(usize, Mempool)| {
        let igmp = plan.ports[*at].igmp.as_ref()?;
        let queue = devices.tx.remove(&(*at, igmp.queue))?;
        let venues = plan.venues.iter().zip(shared);
        let heard = venues.filter(|(venue, _)| venue.feed.lines.iter().any(|line| line.port == *at));
        Some(Membership::new(igmp, queue, pool.clone(), heard.map(|(_, shared)| shared.clone()).collect()))
    };
    pools.iter().filter_map(membership).collect()
}

/// By lcore: what receives for several venues. By venue and port: what it gives them.
type Receivers = (BTreeMap<u32, Vec<Receiver>>, BTreeMap<(usize, usize), Share>);

/// Of every port that one lcore receives for several venues: the receiver, and what the venues have of it.
fn receivers(
    plan: &Plan,
    eal: &Eal,
    devices: &mut Devices,
    shared: &[Arc<Shared>],
    clock: &Clock,
    options: &Options,
) -> Result<Receivers, LaunchError> {
    let (mut receivers, mut shares) = Receivers::default();
    for (at, port) in plan.ports.iter().enumerate() {
        let Some(receiver) = &port.receiver else { continue };
        let (mut groups, mut venues) = (Vec::new(), Vec::new());
        for (place, SharePlan { venue, ring }) in receiver.shares.iter().enumerate() {
            let inlets = plan.venues[*venue].inlets(&plan.ports);
            for line in plan.venues[*venue].feed.lines.iter().filter(|line| line.port == at) {
                let owner = Owner { venue: place as u16, line: position(&inlets, line.inlet(&plan.ports)) };
                groups.extend(line.groups.iter().map(|group| (*group, owner)));
            }
            let ends = spsc(eal, &ring.name, ring.depth as usize, Socket::Node(ring.node))?;
            let (portion, share) = port::share(ends);
            venues.push((portion, shared[*venue].clone()));
            shares.insert((*venue, at), share);
        }
        let parts = ReceiverParts {
            port: port.name.clone(),
            // A device with fewer queues has everything in those it has.
            queues: receiver.queues.iter().filter_map(|queue| devices.rx.remove(&(at, *queue))).collect(),
            groups: Groups::new(&groups),
            venues,
            burst: receiver.burst.into(),
            scale: clock.scale(),
            stamps: options.stamps != Stamping::Off,
        };
        receivers.entry(receiver.lcore).or_default().push(Receiver::new(parts));
    }
    Ok((receivers, shares))
}

/// Which of a venue's inlets this is. The file has at most eight lines a feed.
fn position(inlets: &[(usize, u16, usize)], inlet: (usize, u16)) -> u8 {
    // Every line's inlet is in the list that was made of the lines.
    inlets.iter().position(|known| (known.0, known.1) == inlet).unwrap_or(0) as u8
}

/// Builds the parts of one segment.
struct Builder<'b> {
    plan: &'b Plan,
    index: usize,
    venue: &'b VenuePlan,
    options: &'b Options,
    clock: &'b Clock,
    pools: &'b [Mempool],
    wiring: &'b mut Wiring,
    sources: &'b mut Sources,
    sinks: &'b mut BTreeMap<String, CaptureSink>,
    devices: &'b mut Devices,
    shares: &'b mut BTreeMap<(usize, usize), Share>,
    /// Held until the run is over.
    ids: &'b mut Vec<OrderIds>,
    beginning: &'b mut VenueBeginning,
    kill: &'b Kill,
    shared: &'b Arc<Shared>,
    recoveries: &'b mut Vec<Recovery>,
}

impl Builder<'_> {
    fn parts<'m>(
        &mut self,
        segment: &SegmentPlan,
        flags: Flags,
        arena: &mut Arena<'m>,
    ) -> Result<SegmentParts<'m>, LaunchError> {
        let runs = |stage: Stage| (segment.first..=segment.last).contains(&stage);
        if self.options.follow.is_some() {
            return self.following(arena, flags);
        }
        Ok(SegmentParts {
            rx: runs(Stage::Rx).then(|| self.rx()).transpose()?,
            parse: runs(Stage::Parse).then(|| self.parse(arena)).transpose()?,
            strategy: runs(Stage::Strategy).then(|| self.strategy(arena)).transpose()?,
            encode: runs(Stage::Encode).then(|| self.encode(arena)).transpose()?,
            tx: runs(Stage::Tx).then(|| self.tx()).transpose()?,
            follow: None,
            flags,
            shared: self.shared.clone(),
        })
    }

    /// A venue on one lcore, fed by a journal.
    fn following<'m>(&mut self, arena: &mut Arena<'m>, flags: Flags) -> Result<SegmentParts<'m>, LaunchError> {
        let follow = self.options.follow.as_ref().map(|follow| -> Result<FollowParts<'m>, LaunchError> {
            let (at, beginning) = follow.venue(&self.venue.name)?;
            *self.beginning = beginning;
            Ok(FollowParts {
                entries: follow.journal.entries(at),
                messages: follow.messages(self.venue)?,
                feed: Feed::new(&feed_config(self.venue), arena)?,
                until: follow.until(&self.venue.name),
                changed: follow.changed(&self.venue.name),
            })
        });
        let follow = follow.transpose()?;
        self.wiring.journal = Some(Journal::kept());
        Ok(SegmentParts {
            rx: None,
            parse: None,
            strategy: Some(self.strategy(arena)?),
            encode: Some(self.encode(arena)?),
            tx: Some(self.tx()?),
            follow,
            flags,
            shared: self.shared.clone(),
        })
    }

    /// How the stage at the end of `hop` takes its stamp.
    fn stamps(&self, hop: Hop) -> Stamps {
        match (self.options.stamps, self.options.delays.get(&hop)) {
            (Stamping::Off, _) => Stamps::OFF,
            (Stamping::Ends, _) if hop != Hop::EncodedDoorbell => Stamps::OFF,
            (_, None) => Stamps::ON,
            (_, Some(&ns)) => Stamps::after(self.clock.ns_to_ticks(ns)),
        }
    }

    fn rx(&mut self) -> Result<Rx, LaunchError> {
        let mut lines = Vec::new();
        let mut first_pool = None;
        for (port, queue, pool) in self.venue.inlets(&self.plan.ports) {
            let feed = match self.plan.ports[port].driver {
                Driver::Capture => {
                    let name = &self.plan.ports[port].name;
                    let missing = || LaunchError::NoCapture(name.clone());
                    FeedPort::Capture(self.sources.remove(&(self.index, port, queue)).ok_or_else(missing)?)
                }
                Driver::EfVi => FeedPort::Queue(self.device(port, queue, |d| d.receiver((port, queue)))?),
                Driver::Ethdev => match self.shares.remove(&(self.index, port)) {
                    Some(share) => FeedPort::Shared(share),
                    // The device has fewer queues, and everything is in those it has.
                    None if self.plan.ports[port].steerable && !self.devices.rx.contains_key(&(port, queue)) => {
                        FeedPort::Nothing
                    }
                    None => FeedPort::Queue(self.device(port, queue, |d| d.receiver((port, queue)))?),
                },
            };
            lines.push(feed);
            first_pool.get_or_insert(pool);
        }
        let when_full = match self.venue.when_full {
            WhenFullFile::Drop => WhenFull::Drop,
            WhenFullFile::Wait => WhenFull::Wait,
        };
        let parts = RxParts {
            feed: port::Feed::new(lines, self.options.pace, self.clock),
            // The file has at least one line a feed.
            pool: self.pools[first_pool.unwrap_or(0)].clone(),
            out: self.wiring.links.rx_parse.0.take(),
            burst: usize::from(self.venue.stage(Stage::Rx).burst),
            when_full,
            stamps: self.options.stamps != Stamping::Off,
        };
        Ok(Rx::new(parts, self.shared.clone()))
    }

    fn parse<'m>(&mut self, arena: &mut Arena<'m>) -> Result<Parse<'m>, LaunchError> {
        let venue = self.venue;
        let inlets = venue.inlets(&self.plan.ports);
        let steered = inlets.iter().filter(|inlet| self.devices.steered.contains(&inlet.0));
        let elsewhere = steered.flat_map(|inlet| rules(self.plan, inlet.0)).map(|rule| (rule.group, Owner::default()));
        let elsewhere = Groups::new(&elsewhere.collect::<Vec<_>>());
        let ports = &self.plan.ports;
        let mut groups = Vec::new();
        let mut listen = |line: usize, port: u8| {
            for (channel, group) in venue.feed.lines[line].groups.iter().enumerate() {
                let (address, udp_port) = (*group.ip(), group.port());
                groups.push(Group { port, address, udp_port, line: line as u8, channel: channel as u8 });
            }
        };
        let places: Vec<(u8, usize)> =
            venue.feed.lines.iter().map(|line| (position(&inlets, line.inlet(ports)), line.port)).collect();
        places.iter().enumerate().for_each(|(line, (own, _))| listen(line, *own));
        // A device that does not sort packets has a line's in whichever of the venue's queues. Behind each line's own.
        for (line, (own, port)) in places.iter().enumerate().filter(|(_, (_, port))| ports[*port].steerable) {
            let others = inlets.iter().enumerate().filter(|(at, inlet)| inlet.0 == *port && *at != usize::from(*own));
            others.for_each(|(at, _)| listen(line, at as u8));
        }
        let verify = |policy| match policy {
            ChecksumPolicy::Verify => Verify::Drop,
            ChecksumPolicy::Count => Verify::Count,
            ChecksumPolicy::Off => Verify::Off,
        };
        let parts = ParseParts {
            input: self.wiring.links.rx_parse.1.take(),
            out: self.wiring.links.parse_strategy.0.take(),
            feed: self.healing(Feed::new(&feed_config(venue), arena)?)?,
            groups,
            elsewhere,
            addressing: venue.feed.addressing == Check::Verify,
            ip_checksum: verify(venue.feed.ip_checksum),
            udp_checksum: verify(venue.feed.udp_checksum),
            stamps: self.stamps(Hop::RxParsed),
            window: WINDOW,
            live: (self.plan.mode == Mode::Run).then(|| Listening {
                scale: self.clock.scale(),
                silent_after_ns: u64::from(venue.feed.silent_after_ms) * 1_000_000,
            }),
        };
        Ok(Parse::new(parts, self.shared.clone()))
    }

    /// The feed and, where it is wanted, the thread that asks for what no line brings.
    fn healing<'m>(&mut self, feed: Feed<'m>) -> Result<Feed<'m>, LaunchError> {
        let Some(recovery) = &self.venue.feed.recovery else { return Ok(feed) };
        let config = HealConfig {
            stale_after_ns: u64::from(recovery.stale_after_us) * 1000,
            largest_gap: recovery.largest_gap.into(),
            snapshot: recovery.snapshot.is_some(),
        };
        let settings = recovery::Settings {
            interface: recovery.interface,
            servers: recovery.servers.clone(),
            snapshot: recovery.snapshot,
            login: snapshot_login(&self.venue.name)?,
            timeout: Duration::from_millis(recovery.timeout_ms.into()),
            retries: recovery.retries,
        };
        let (link, desk) = recovery::link(DELIVERIES);
        let started = Recovery::start(settings, desk, keep_off_the_path(self.plan));
        let interface = recovery.interface;
        let failed = |err| LaunchError::Recovery { venue: self.venue.name.clone(), interface, err };
        self.recoveries.push(started.map_err(failed)?);
        Ok(feed.healed_by(link, config))
    }

    fn strategy<'m>(&mut self, arena: &mut Arena<'m>) -> Result<(StrategyParts<'m>, Orders), LaunchError> {
        let venue = self.venue;
        let book = &venue.book;
        let config = BookConfig {
            instruments: book.instruments,
            orders: book.orders,
            depth_levels: book.depth_levels,
            spill_levels: book.spill_levels,
        };
        let instruments = book.instruments as usize;
        let spec = |symbol, terms: &super::plan::Terms| InstrumentSpec { symbol, lot: terms.lot, tick: terms.tick };
        let specs: Vec<_> = venue.instruments.listed.iter().map(|i| spec(i.symbol, &i.terms)).collect();
        let (listed, default_spec) = match (&venue.instruments.every, specs.first()) {
            (Some(terms), _) => (0, spec(crate::market::Symbol([b' '; 8]), terms)),
            (None, Some(first)) => (specs.len(), *first),
            (None, None) => (
                0,
                InstrumentSpec { symbol: crate::market::Symbol([b' '; 8]), lot: 100, tick: crate::market::Price(100) },
            ),
        };
        // The journal says what the gate read: what is sent again is nobody else's to stop.
        let kill = if self.options.follow.is_some() { Kill::default() } else { self.kill.clone() };
        let parts = StrategyParts {
            input: self.wiring.links.parse_strategy.1.take(),
            out: self.wiring.links.strategy_encode.0.take(),
            events: self.wiring.links.tx_strategy.1.take(),
            books: Books::new(&config, arena)?,
            gate: Gate::new(venue.risk.config.clone(), kill, book.instruments, arena)?,
            states: OrderStates::new(&venue.risk.states(book.instruments), arena)?,
            touched: arena.slice("touched instruments", instruments)?,
            specs,
            listed,
            default_spec,
            lossless: self.plan.mode == Mode::Replay,
            cancel_at_end: self.plan.mode == Mode::Run,
            book_stamps: self.stamps(Hop::ParsedBook),
            stamps: self.stamps(Hop::BookDecided),
            sampler: match self.plan.record.sample_every {
                0 => None,
                every => self.wiring.sampler.take().map(|outlet| Sampler { outlet, venue: self.index as u16, every }),
            },
            // Each venue has one strategy.
            changes: self.wiring.changes.take().unwrap_or_else(|| changes(1).1),
            journal: self.wiring.journal.take(),
        };
        let limits = venue.orders.session_protocol.limits();
        if self.options.follow.is_none() {
            *self.beginning = VenueBeginning { first_id: 1, last_id: limits.id, assumed: venue.risk.assumed };
        }
        if let Some(session) = venue.orders.session.as_ref().filter(|_| self.has_session()) {
            let ids = OrderIds::reserve(Path::new(&session.ids), limits.id)?;
            (self.beginning.first_id, self.beginning.last_id) = (ids.first, ids.last);
            self.ids.push(ids);
        }
        let limits = OrderLimits { id: self.beginning.last_id, ..limits };
        Ok((parts, Orders::new(ORDERS_A_PACKET, instruments).from(self.beginning.first_id).within(limits)))
    }

    fn encode<'m>(&mut self, arena: &mut Arena<'m>) -> Result<Encode<'m>, LaunchError> {
        let venue = self.venue;
        let config = EncoderConfig { protocol: venue.orders.session_protocol, instruments: venue.book.instruments };
        let parts = EncodeParts {
            input: self.wiring.links.strategy_encode.1.take(),
            out: self.wiring.links.encode_tx.0.take(),
            pool: self.pools[venue.orders.pool].clone(),
            headers: match (self.has_session(), venue.orders.transport) {
                (false, _) => UDP_HEADERS,
                (true, file::Transport::Udp) => DATAGRAM_HEADERS,
                (true, file::Transport::Tcp) => TCP_HEADERS,
            },
            encoder: Encoder::new(&config, arena)?,
            stamps: self.stamps(Hop::DecidedEncoded),
        };
        Ok(Encode::new(parts))
    }

    fn tx(&mut self) -> Result<Tx, LaunchError> {
        let venue = self.venue;
        let orders = &venue.orders;
        let at = (orders.port, orders.queue);
        let port = match self.plan.ports[orders.port].driver {
            Driver::Capture => {
                let sink = self.sinks.remove(&venue.name).unwrap_or_else(CaptureSink::counting);
                OrderPort::Capture(sink)
            }
            Driver::Ethdev | Driver::EfVi => self.device(orders.port, orders.queue, |d| d.transmitter(at))?,
        };
        let transport = match &orders.session {
            Some(session) if self.has_session() => {
                let inbox = self.device(orders.port, orders.queue, |d| d.receiver(at))?;
                let config = session::config(venue, session, self.clock)?;
                let pool = self.pools[orders.pool].clone();
                let session = OrderSession::new(&config, crate::cpu::rdtsc());
                Transport::Session(Box::new(SessionParts { session, inbox, pool }))
            }
            _ => {
                let (from, to) = (orders.source.into(), orders.destination.into());
                Transport::Udp(UdpTransport::new(from, to, &orders.session_protocol))
            }
        };
        let parts = TxParts {
            input: self.wiring.links.encode_tx.1.take(),
            events: self.wiring.links.tx_strategy.0.take(),
            port,
            transport,
            burst: usize::from(venue.stage(Stage::Tx).burst),
            stamps: self.stamps(Hop::EncodedDoorbell),
            recorder: self.wiring.recorder.take().map(|outlet| (outlet, self.index as u16)),
            kill: self.kill.clone(),
            line: venue.feed.lines.len() as u8,
        };
        Ok(Tx::new(parts, self.shared.clone()))
    }

    /// Whether the venue's orders go by a session: not in a replay, which has no exchange.
    fn has_session(&self) -> bool {
        self.plan.mode == Mode::Run && self.venue.orders.session.is_some()
    }

    fn device<Q>(
        &mut self,
        port: usize,
        queue: u16,
        take: impl FnOnce(&mut Devices) -> Option<Q>,
    ) -> Result<Q, LaunchError> {
        take(self.devices).ok_or_else(|| {
            let name = &self.plan.ports[port].name;
            LaunchError::Driver(format!("port {name:?} has no queue {queue} left; two stages cannot share one"))
        })
    }
}

/// What a venue's feed decoder is made of.
pub fn feed_config(venue: &VenuePlan) -> FeedConfig {
    FeedConfig {
        protocol: match venue.feed.protocol {
            FeedProtocol::Itch50 => Protocol::Itch50,
            FeedProtocol::Deep10 => Protocol::Deep10,
        },
        channels: venue.feed.channels,
        sequence: venue.feed.sequence == Check::Verify,
        symbols: match venue.instruments.every {
            Some(_) => None,
            None => Some(venue.instruments.listed.iter().map(|i| i.symbol).collect()),
        },
        limit: venue.book.instruments,
        arbitration: venue.feed.arbitration.config(),
    }
}

/// What a venue's snapshot server is told: `user:password` in the environment, or blanks.
fn snapshot_login(venue: &str) -> Result<Login, LaunchError> {
    let variable = format!("TICKPATH_SNAPSHOT_{}", venue.to_ascii_uppercase().replace('-', "_"));
    let said = std::env::var(&variable).unwrap_or_else(|_| ":".to_owned());
    let login = said.split_once(':').and_then(|(user, password)| Login::new(user, password));
    login.ok_or(LaunchError::SnapshotLogin { variable })
}

pub(super) fn before(stage: Stage) -> Option<Stage> {
    let at = Stage::ALL.iter().position(|s| *s == stage)?;
    at.checked_sub(1).map(|at| Stage::ALL[at])
}

/// Captures by venue, port and queue: each venue reads its own, also where another has the same.
type Sources = BTreeMap<(usize, usize, u16), CaptureSource>;

fn open_captures(plan: &Plan, options: &Options) -> Result<Sources, LaunchError> {
    let mut sources = Sources::new();
    if options.follow.is_some() {
        return Ok(sources);
    }
    let inlets = |(venue, plan_of): (usize, &VenuePlan)| {
        plan_of.inlets(&plan.ports).into_iter().map(move |(port, queue, _)| (venue, port, queue))
    };
    for (venue, port, queue) in plan.venues.iter().enumerate().flat_map(inlets) {
        let PortCapture { name, files } = match capture_of(plan, options, port)? {
            Some(capture) => capture,
            None => continue,
        };
        log::debug!("port {name} queue {queue}: {} captures", files.len());
        let source = CaptureSource::open(files, options.source, keep_off_the_path(plan))?;
        sources.insert((venue, port, queue), source);
    }
    Ok(sources)
}

struct PortCapture<'a> {
    name: &'a str,
    files: &'a [PathBuf],
}

fn capture_of<'a>(plan: &'a Plan, options: &'a Options, port: usize) -> Result<Option<PortCapture<'a>>, LaunchError> {
    let port = &plan.ports[port];
    match (plan.mode, port.driver) {
        (_, Driver::Ethdev | Driver::EfVi) => Ok(None),
        (Mode::Run, Driver::Capture) => Err(LaunchError::Driver(format!(
            "port {:?} is a capture port; `run` takes live ports: give it the driver \"ethdev\", or use `replay`",
            port.name
        ))),
        (Mode::Replay, Driver::Capture) => match options.captures.get(&port.name) {
            Some(files) => Ok(Some(PortCapture { name: &port.name, files })),
            None => Err(LaunchError::NoCapture(port.name.clone())),
        },
    }
}

fn open_sinks(plan: &Plan, options: &Options) -> Result<BTreeMap<String, CaptureSink>, LaunchError> {
    let mut sinks = BTreeMap::new();
    let Some(out) = &options.orders else { return Ok(sinks) };
    for (venue, path) in plan.venues.iter().zip(order_files(plan, out)) {
        let sink = CaptureSink::create(&path, keep_off_the_path(plan))?;
        sinks.insert(venue.name.clone(), sink);
    }
    Ok(sinks)
}

/// Put lcores under SCHED_FIFO where the plan has them so: by their own threads, once what they build has started threads of its
/// own, and while there are privileges for it. A replay where that is not permitted goes on without.
fn schedule(plan: &Plan, eal: &Eal) -> Result<(), LaunchError> {
    for (lcore, priority) in plan.lcores.iter().filter_map(|lcore| Some((lcore.id, lcore.fifo?))) {
        let set = lcore::on(eal, Lcore::new(lcore), || thread::run_fifo(priority));
        match set.map_err(|panicked| LaunchError::Panic { panicked, standing: 0 })?? {
            Ok(()) => eprintln!("lcore {lcore} runs under SCHED_FIFO at priority {priority}"),
            Err(err) if plan.mode == Mode::Replay => log::warn!("lcore {lcore} does not run under SCHED_FIFO: {err}"),
            Err(err) => return Err(LaunchError::Fifo { lcore, priority, err }),
        }
    }
    Ok(())
}

/// What has become of the process's privileges, in words.
fn give_up_privileges(plan: &Plan) -> String {
    if !plan.drop_privileges {
        return "kept, as the pipeline file says".to_owned();
    }
    let given = privileges::give_up(&needs(plan)).to_string();
    let kill_files = plan.venues.iter().filter_map(|venue| Path::new(venue.risk.kill_file.as_ref()?).parent());
    for folder in plan.record.trace.iter().map(Path::new).chain(kill_files) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Err(err) = privileges::writable(folder) {
            log::warn!("without privileges {} cannot be written: {err}; make it this user's", folder.display());
        }
    }
    given
}

/// What ports and the recorder need until the end. Of devices that were not seen at work, what such drivers ask for.
fn needs(plan: &Plan) -> Needs {
    let mut needs = Needs::default();
    needs.capabilities.push((Capability::Perfmon, "the recorder counts cache misses".to_owned()));
    for device in plan.ports.iter().filter_map(|port| port.device.as_deref()) {
        let why = || format!("{device} may be configured anew");
        match device.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "net_null" | "net_ring" | "net_pcap" | "net_af_packet" => {}
            "net_af_xdp" => {
                let why = format!("{device} takes its program off the interface at the end");
                needs.capabilities.push((Capability::NetAdmin, why));
                needs.bpf = true;
            }
            _ => {
                let all = [Capability::NetAdmin, Capability::NetRaw, Capability::IpcLock];
                needs.capabilities.extend(all.map(|capability| (capability, why())));
            }
        }
    }
    for card in plan.ports.iter().filter_map(|port| port.efvi.as_ref()) {
        let why = || format!("queues of {} may be opened anew", card.interface);
        let all = [Capability::NetAdmin, Capability::NetRaw, Capability::IpcLock];
        needs.capabilities.extend(all.map(|capability| (capability, why())));
    }
    needs
}

/// What the stages of each venue get frames from, and give them back to.
fn pools_by_venue(plan: &Plan, pools: &[Mempool]) -> Vec<Vec<Mempool>> {
    let of = |venue: &VenuePlan| {
        let feeds = venue.feed.lines.iter().map(|line| line.pool);
        let all: BTreeSet<usize> = feeds.chain([venue.orders.pool]).collect();
        all.into_iter().map(|at| pools[at].clone()).collect()
    };
    plan.venues.iter().map(of).collect()
}

/// What the recorder watches of one lcore.
fn watch(lcore: &LcorePlan, boards: &Boards) -> LcoreParts {
    LcoreParts { id: lcore.id, cpus: lcore.cpus.clone(), boards: boards.clone() }
}

/// Metrics, and who shows them until it is dropped: DPDK's telemetry socket, and an HTTP server where one is wanted.
/// Nothing of it without stamps.
fn serve(plan: &Plan, options: &Options, eal: &Eal) -> Result<Option<Serving>, LaunchError> {
    if options.stamps == Stamping::Off {
        return Ok(None);
    }
    let names: Vec<&str> = plan.venues.iter().map(|venue| venue.name.as_str()).collect();
    let metrics = Arc::new(Metrics::new(&names));
    let server = match plan.record.metrics {
        Some(address) => Some(Server::start(address, metrics.clone(), record::background(plan))?),
        None => None,
    };
    if let Some(server) = &server {
        log::info!("metrics are served on http://{}/metrics", server.address());
    }
    let shown = telemetry::show(eal, metrics.clone())?;
    Ok(Some(Serving { metrics, _server: server, _shown: shown }))
}

/// See [`serve`].
struct Serving {
    metrics: Arc<Metrics>,
    _server: Option<Server>,
    _shown: telemetry::Shown,
}

/// The run's first trace file and its interval log, in `folder`.
fn open_trace(folder: &str, plan: &Plan, header: Header) -> Result<(Writer, Hlog), TraceError> {
    let folder = Path::new(folder);
    let run = header.run.clone();
    let writer = Writer::create(folder, header, rotation(plan))?;
    let path = folder.join(format!("{run}.hlog"));
    let log = Hlog::create(&path, &run).map_err(|err| TraceError::Io { doing: "create", path, err })?;
    Ok((writer, log))
}

/// When a file of the recorder's is followed by the next.
fn rotation(plan: &Plan) -> Rotation {
    Rotation { max_bytes: plan.record.file_bytes, max_age: Duration::from_secs(plan.record.file_seconds) }
}

/// What an ordinary thread does first: move to the main lcore's CPUs, away from the stages. Where the kernel refuses,
/// the thread stays where it is and only costs time.
fn keep_off_the_path(plan: &Plan) -> impl FnOnce() + Send + 'static {
    let cpus: affinity::CpuSet = plan.main_cpus.iter().map(|&cpu| cpu as usize).collect();
    move || match Vec::from_iter(&cpus)[..] {
        [&id] => {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        _ => {
            let _ = affinity::set(&cpus);
        }
    }
}

/// The orders file of each venue: `out` itself with one venue, `OUT.<venue>.pcap` with several.
pub fn order_files(plan: &Plan, out: &Path) -> Vec<PathBuf> {
    let single = plan.venues.len() == 1;
    plan.venues.iter().map(|v| if single { out.to_owned() } else { with_venue(out, &v.name) }).collect()
}

/// `orders.pcap` and `iex` → `orders.iex.pcap`.
fn with_venue(out: &Path, venue: &str) -> PathBuf {
    let extension = out.extension().map(|e| e.to_string_lossy().into_owned());
    match extension {
        Some(extension) => out.with_extension(format!("{venue}.{extension}")),
        None => out.with_extension(venue),
    }
}
