//! What a pipeline file means on a host: every setting resolved, every lcore placed, every byte counted.
//!
//! In: a checked [`PipelineFile`], [`HostFacts`] and what the command line asked for. Out: a [`Plan`], plain data that
//! `launch` carries out and `tickpath plan` prints. A pure function: it reads no file and starts nothing.

use super::eal_args::{EalArgs, ranges};
use super::file::{
    AlarmKind, AllowanceFile, BudgetFile, Check, ChecksumPolicy, CompIdsFile, Driver, Endpoint, FeedFile, FeedProtocol,
    HostCheck, Idle, InstrumentFile, KillWhenFile, LimitsFile, LineFile, Listen, Mac, Name, OrderProtocol,
    PipelineFile, Privileges, ReceiverFile, RecordFile, RiskFile, SessionFile, TextPages, Transport, VenueFile, Wanted,
    WhenFull, nearest,
};
use super::host::HostFacts;
use crate::arena;
use crate::book::BookConfig;
use crate::dpdk::sizes::{HEADROOM, PRIVATE_BYTES, pool_bytes, pool_bytes_in_pages, ring_bytes};
use crate::feed::{self, Feed, FeedConfig};
use crate::journal::Slot;
use crate::latency::budget::{Allowance, Budget};
use crate::latency::hop::Hop;
use crate::latency::record::Record;
use crate::latency::snapshot::DEFAULT_ADDRESS;
use crate::market::{Element, Order, OrderEvent, Price, Symbol};
use crate::risk::{Gate, Limits, Rate, RiskConfig};
use crate::session::{self, Encoder, EncoderConfig, Protocol, StatesConfig};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Everything `launch` needs to know. Indices (`port`, `pool`, `venue`) are positions in the lists of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Replay or run.
    pub mode: Mode,
    /// What the file says of itself.
    pub about: Option<String>,
    /// [`plan_hash`] of the file.
    #[serde(serialize_with = "as_hex")]
    pub hash: u64,
    /// The ports, in the file's order.
    pub ports: Vec<PortPlan>,
    /// The venues, in the file's order.
    pub venues: Vec<VenuePlan>,
    /// The lcores that run stages or are in reserve for them, by id. The main lcore is not one of them.
    pub lcores: Vec<LcorePlan>,
    /// Mbuf pools.
    pub pools: Vec<PoolPlan>,
    /// Lcore of the control thread.
    pub main_lcore: u32,
    /// CPUs the main lcore may run on.
    pub main_cpus: Vec<u32>,
    /// The host has fewer CPUs than the plan has lcores: they float over all CPUs and yield. Timings mean little.
    pub oversubscribed: bool,
    /// EAL has no hugepages and one block of ordinary memory, without nodes.
    pub no_huge: bool,
    /// Arguments for EAL after the program's name: derived ones, then the person's.
    pub eal_args: Vec<String>,
    /// What is recorded, and where it goes.
    pub record: RecordPlan,
    /// Where a run takes commands.
    pub control: Option<String>,
    /// Give up what is not needed any more once everything is open; not in a replay.
    pub drop_privileges: bool,
    /// What a run does about faults of the host.
    pub check: HostCheck,
    /// What it does about memory that lies elsewhere than planned.
    pub placement: HostCheck,
    /// Pages of the program's instructions and constants.
    pub text: TextPages,
    /// Bytes of EAL memory, by node.
    pub memory: Vec<NodeMemory>,
    /// Bytes of ordinary memory beside that: the windows that captures are inflated into.
    pub capture_window_bytes: u64,
    /// Memory that the host lacks. `launch` refuses a plan that has one.
    pub shortfall: Option<Shortfall>,
    /// What a person should know before they trust a timing, a sentence each.
    pub warnings: Vec<String>,
}

/// What the plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Captures in; lossless; may float on a small host.
    Replay,
    /// Live ports; refuses a host that lacks CPUs.
    Run,
}

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Replay or run.
    pub mode: Mode,
    /// Everything that goes to EAL as it is: `--eal-file`, then what stood after `--`.
    pub eal_args: Vec<String>,
    /// Ports that a capture was bound to by name (`NAME=FILE`): driven by it whatever the file says.
    pub capture_ports: Vec<String>,
}

/// One port.
#[derive(Clone, Debug, Serialize)]
pub struct PortPlan {
    /// Name in the file.
    pub name: String,
    /// What drives it in this mode.
    pub driver: Driver,
    /// EAL name; `None` of what EAL does not drive.
    pub device: Option<String>,
    /// What ef_vi drives; `None` of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efvi: Option<EfviPlan>,
    /// NUMA node of the device, where it has one.
    pub node: Option<u32>,
    /// Receive queues in use: 0 to this, exclusive.
    pub rx_queues: u32,
    /// Transmit queues in use: 0 to this, exclusive.
    pub tx_queues: u32,
    /// Receive descriptors of each queue; 0 for a capture.
    pub rx_descriptors: u32,
    /// Transmit descriptors of each queue; 0 for a capture.
    pub tx_descriptors: u32,
    /// Feeds arrive in several queues, each of them one venue's: the device is asked to put each group into its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub steerable: bool,
    /// Who receives, where feeds of several venues arrive on it; `None` where each rx polls its own queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<ReceiverPlan>,
    /// How its groups are joined; `None` where nobody joins them here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub igmp: Option<IgmpPlan>,
}

impl PortPlan {
    /// What the host knows it by: EAL's name of the device, or the kernel's of the interface; `None` of a capture.
    pub fn hardware(&self) -> Option<&str> {
        self.device.as_deref().or(self.efvi.as_ref().map(|card| card.interface.as_str()))
    }
}

/// A card's port that ef_vi drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EfviPlan {
    /// The kernel's name of it.
    pub interface: String,
    /// Whether orders leave by CTPIO.
    pub ctpio: Wanted,
    /// Bytes the card has before it begins to send so.
    pub ctpio_threshold: u16,
    /// Whether it stamps packets.
    pub timestamps: Wanted,
}

/// How the groups of a port are joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IgmpPlan {
    /// Version, 2 or 3.
    pub version: u8,
    /// Our address.
    pub address: Ipv4Addr,
    /// VLAN of the groups.
    pub vlan: Option<u16>,
    /// The groups.
    pub groups: Vec<Ipv4Addr>,
    /// The port's transmit queue for it, behind those of orders.
    pub queue: u16,
}

/// One lcore that receives what arrives on a port for several venues.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiverPlan {
    /// The lcore.
    pub lcore: u32,
    /// Most frames a call to the port.
    pub burst: u16,
    /// Queues of the port that it polls.
    pub queues: Vec<u16>,
    /// Whom it receives for.
    pub shares: Vec<SharePlan>,
}

/// What a receiver has for one venue.
#[derive(Clone, Debug, Serialize)]
pub struct SharePlan {
    /// The venue.
    pub venue: usize,
    /// Frames on their way to its rx.
    pub ring: RingPlan,
}

/// One venue.
#[derive(Clone, Debug, Serialize)]
pub struct VenuePlan {
    /// Name in the file.
    pub name: String,
    /// Its feed.
    pub feed: FeedPlan,
    /// Which instruments, on which terms.
    pub instruments: InstrumentsPlan,
    /// Bounds of the books.
    pub book: BookPlan,
    /// Name of the strategy.
    pub strategy: String,
    /// Its parameters.
    pub parameters: Value,
    /// Its order session.
    pub orders: OrdersPlan,
    /// What its orders must keep to.
    pub risk: RiskPlan,
    /// The stages in packet order; see [`VenuePlan::stage`].
    pub stages: [StagePlan; 5],
    /// What joins them.
    pub links: LinksPlan,
    /// What rx does when the ring to parse is full: always `wait` in a replay.
    pub when_full: WhenFull,
    /// Arena bytes that each stage takes on its lcore.
    pub arenas: ArenasPlan,
    /// Rings from the strategy and the tx stage to the recorder.
    pub records: [RingPlan; 2],
    /// Ring of the journal from the strategy stage to the recorder, where one is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<RingPlan>,
    /// What its hops may take.
    pub budget: Budget,
}

/// The recorder.
#[derive(Clone, Debug, Serialize)]
pub struct RecordPlan {
    /// Folder of trace files; `None` writes none.
    pub trace: Option<String>,
    /// A journal is kept beside them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub journal: bool,
    /// Bytes after which a trace file is followed by the next.
    pub file_bytes: u64,
    /// Seconds after which it is.
    pub file_seconds: u64,
    /// One packet in so many that cause no order; 0 for none.
    pub sample_every: u32,
    /// Length of an interval in ms.
    pub interval_ms: u32,
    /// Between two looks of a run at the host, in s; 0 for none.
    pub check_seconds: u32,
    /// CPUs of its thread.
    pub cpus: Vec<u32>,
    /// Where `/metrics` and `/status` are served.
    pub metrics: Option<std::net::SocketAddr>,
}

/// A venue's feed.
#[derive(Clone, Debug, Serialize)]
pub struct FeedPlan {
    /// Protocol.
    pub protocol: FeedProtocol,
    /// Channels: groups of each line.
    pub channels: usize,
    /// Lines; line 0 is A.
    pub lines: Vec<LinePlan>,
    /// IPv4 header checksums.
    pub ip_checksum: ChecksumPolicy,
    /// UDP checksums.
    pub udp_checksum: ChecksumPolicy,
    /// Destination groups.
    pub addressing: Check,
    /// Sequence numbers.
    pub sequence: Check,
    /// Packets ahead of the sequence.
    pub arbitration: ArbitrationPlan,
    /// Whom to ask for what no line brought; `None` in a replay.
    pub recovery: Option<RecoveryPlan>,
    /// How long it may be silent, in ms; 0 for ever, as in a replay.
    pub silent_after_ms: u32,
}

/// Whom to ask for what no line brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecoveryPlan {
    /// Our address.
    pub interface: Ipv4Addr,
    /// MoldUDP64 re-request servers.
    pub servers: Vec<SocketAddrV4>,
    /// GLIMPSE server.
    pub snapshot: Option<SocketAddrV4>,
    /// How long an answer may take, in ms.
    pub timeout_ms: u32,
    /// Requests after the first for the same messages.
    pub retries: u32,
    /// Most messages that are asked for.
    pub largest_gap: u32,
    /// Messages are missing for so long before books are stale, in µs.
    pub stale_after_us: u32,
}

/// How packets ahead of the sequence are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArbitrationPlan {
    /// Longest wait for what is missing, in µs; 0 for none.
    pub window_us: u32,
    /// Most packets held; 0 without a wait.
    pub packets: u32,
}

/// One line of a feed.
#[derive(Clone, Debug, Serialize)]
pub struct LinePlan {
    /// Port it arrives on.
    pub port: usize,
    /// Its receive queue.
    pub queue: u16,
    /// Pool it is received into.
    pub pool: usize,
    /// VLAN of its packets, where the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Groups; group i is channel i.
    pub groups: Vec<SocketAddrV4>,
}

/// Which instruments a venue books.
#[derive(Clone, Debug, Serialize)]
pub struct InstrumentsPlan {
    /// Terms of every instrument of the feed that is not listed; `None` when only listed ones are booked.
    pub every: Option<Terms>,
    /// Listed instruments, in the file's order.
    pub listed: Vec<ListedInstrument>,
}

/// An instrument the file names.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListedInstrument {
    /// Symbol.
    #[serde(serialize_with = "as_text")]
    pub symbol: Symbol,
    /// Its terms.
    pub terms: Terms,
}

/// Terms of trade of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Shares in a round lot.
    pub lot: u32,
    /// Smallest price step.
    #[serde(serialize_with = "as_units")]
    pub tick: Price,
}

/// Bounds of a venue's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BookPlan {
    /// Instruments.
    pub instruments: u32,
    /// Live orders; 0 for a feed of price levels.
    pub orders: u32,
    /// Levels in line, a side of an instrument.
    pub depth_levels: u32,
    /// Deeper levels, all instruments together.
    pub spill_levels: u32,
}

/// A venue's order session.
#[derive(Clone, Debug, Serialize)]
pub struct OrdersPlan {
    /// Protocol.
    pub protocol: OrderProtocol,
    /// Who speaks to whom, in FIX.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comp_ids: Option<CompIdsFile>,
    /// The two as the session has them.
    #[serde(skip)]
    pub session_protocol: Protocol,
    /// Transport.
    pub transport: Transport,
    /// Port orders leave by.
    pub port: usize,
    /// Its transmit and receive queue.
    pub queue: u16,
    /// Pool order frames are written to and responses received into.
    pub pool: usize,
    /// Our end; without an Ethernet address where it is the card's.
    pub source: EndpointPlan,
    /// The exchange's end; without an Ethernet address where it is asked for by ARP, or the kernel is asked for it.
    pub destination: EndpointPlan,
    /// A session's connections take ports of ours in turn, from the source's to this one.
    pub last_port: u16,
    /// Its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionFile>,
}

/// What a venue's orders must keep to.
#[derive(Clone, Debug, Serialize)]
pub struct RiskPlan {
    /// The limits.
    pub config: RiskConfig,
    /// Orders of an instrument that may stand or be on their way at a time.
    pub slots: u32,
    /// Nobody answers orders: they count as accepted when they are handed down.
    pub assumed: bool,
    /// What trips the kill switch by itself; nothing in a replay.
    pub kill_when: KillWhen,
    /// File that keeps the kill switch tripped; `None` in a replay.
    pub kill_file: Option<String>,
}

/// What trips a venue's kill switch by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KillWhen {
    /// The session, once up, was down for so long.
    pub session_lost_ms: Option<u32>,
    /// One of its lcores has not finished a round for so long.
    pub lcore_stuck_ms: Option<u32>,
    /// These alarms of the recorder.
    pub alarms: Vec<AlarmKind>,
}

/// One end of the order path.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EndpointPlan {
    /// Ethernet address; zeros: not known before launch.
    pub mac: [u8; 6],
    /// IPv4 address and port.
    pub address: SocketAddrV4,
}

impl EndpointPlan {
    /// Its Ethernet address, if it is known.
    pub fn known_mac(&self) -> Option<[u8; 6]> {
        Some(self.mac).filter(|mac| *mac != [0; 6])
    }
}

impl From<EndpointPlan> for session::Endpoint {
    fn from(end: EndpointPlan) -> Self {
        session::Endpoint { mac: end.mac, address: end.address }
    }
}

/// A stage of the path, in packet order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Port to frames.
    Rx,
    /// Frames to market events.
    Parse,
    /// Market events to orders.
    Strategy,
    /// Orders to order frames.
    Encode,
    /// Order frames to the port.
    Tx,
}

/// Where a stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StagePlan {
    /// Which stage.
    pub stage: Stage,
    /// Its lcore.
    pub lcore: u32,
    /// Most frames a call to the port: rx and tx; 0 for the others.
    pub burst: u16,
}

/// The links of a venue.
#[derive(Clone, Debug, Serialize)]
pub struct LinksPlan {
    /// Frames.
    pub rx_parse: Link,
    /// Market events.
    pub parse_strategy: Link,
    /// Orders.
    pub strategy_encode: Link,
    /// Order frames.
    pub encode_tx: Link,
    /// Order events, back to strategy.
    pub tx_strategy: Link,
}

/// What joins two stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// Both stages are on one lcore: a call.
    Fused,
    /// An rte_ring, single producer, single consumer, of exactly `depth` usable slots.
    Ring(RingPlan),
}

/// One ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingPlan {
    /// EAL name, at most 28 characters.
    pub name: String,
    /// Usable slots.
    pub depth: u32,
    /// Bytes of an element.
    pub element_bytes: u32,
    /// Node of its memory: the consumer's.
    pub node: u32,
    /// Bytes it takes.
    pub bytes: u64,
}

/// Arena bytes of a venue's stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArenasPlan {
    /// Symbol tables.
    pub parse: u64,
    /// Books, what was touched, order states and terms.
    pub strategy: u64,
    /// Prebuilt order packets.
    pub encode: u64,
}

/// One lcore.
#[derive(Clone, Debug, Serialize)]
pub struct LcorePlan {
    /// EAL lcore id.
    pub id: u32,
    /// CPUs it may run on: one, unless the host is oversubscribed or the person said otherwise.
    pub cpus: Vec<u32>,
    /// NUMA node of its memory: that of its CPUs, or 0 without hugepages.
    pub node: u32,
    /// NUMA node of its CPUs: what it touches is wanted there.
    pub cpu_node: u32,
    /// What it does without work.
    pub idle: Idle,
    /// Its priority under SCHED_FIFO; `None` under the kernel's usual scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fifo: Option<u32>,
    /// Ports that it receives for several venues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receives: Vec<usize>,
    /// What it runs after that, in this order, round robin.
    pub segments: Vec<Segment>,
    /// Bytes of its arena: the stages it runs, together.
    pub arena_bytes: u64,
}

/// A fused run of one venue's stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Whose.
    pub venue: usize,
    /// First stage.
    pub first: Stage,
    /// Last stage, included.
    pub last: Stage,
}

/// One mbuf pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolPlan {
    /// EAL name, at most 26 characters.
    pub name: String,
    /// Whose.
    pub venue: usize,
    /// What for.
    pub purpose: PoolPurpose,
    /// Node of its memory: the port's, or the rx or encode lcore's where the port has none.
    pub node: u32,
    /// Mbufs.
    pub mbufs: u32,
    /// Mbufs that the descriptors, rings, bursts and caches can hold together: with fewer, allocation can fail (counted).
    pub needed: u32,
    /// Size of each lcore's cache.
    pub cache: u32,
    /// Bytes of private area of each mbuf.
    pub private_bytes: u16,
    /// Bytes of data room of each mbuf, headroom included.
    pub data_room: u16,
    /// Each frame lies within a page of 4 KiB, for a card that knows memory by pages.
    pub in_pages: bool,
    /// Bytes it takes.
    pub bytes: u64,
}

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolPurpose {
    /// Frames of the feed.
    Feed,
    /// Order frames and responses.
    Orders,
}

/// EAL memory on one node, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeMemory {
    /// The node.
    pub node: u32,
    /// Mbuf pools.
    pub pools: u64,
    /// Rings.
    pub rings: u64,
    /// Arenas: books, tables, windows, templates.
    pub arenas: u64,
}

/// Memory that the host lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the plan needs {what}, and {found}")]
pub struct Shortfall {
    /// What is needed, in bytes and in pages where pages count.
    pub what: String,
    /// What the host has.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// Why a file cannot be carried out here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A run needs ports that live packets arrive on.
    #[error("port `{port}` is driven by a capture, and `run` has none")]
    CaptureInRun {
        /// The port.
        port: String,
    },
    /// A driver that this program was built without.
    #[error("port `{port}` is driven by ef_vi, and this program was built without it")]
    NotBuilt {
        /// The port.
        port: String,
    },
    /// A capture was bound to a port that is not in the file.
    #[error("a capture is bound to port `{found}`, which the pipeline file does not have")]
    UnknownPort {
        /// The name given.
        found: String,
        /// The ports there are.
        known: Vec<String>,
    },
    /// Fewer CPUs than lcores, where that is refused.
    #[error("the plan has {lcores} pipeline lcores and a main lcore, and this process may use {cpus} CPUs ({list})")]
    TooFewCpus {
        /// Pipeline lcores.
        lcores: usize,
        /// CPUs.
        cpus: usize,
        /// Which.
        list: String,
    },
    /// EAL arguments that do not fit the file.
    #[error("{found}")]
    EalArgs {
        /// What is wrong.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// Not enough memory.
    #[error(transparent)]
    Memory(#[from] Shortfall),
}

impl PlanError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            PlanError::CaptureInRun { port } => {
                format!("give port `{port}` \"driver\": \"ethdev\" and a \"device\", or use `tickpath replay`")
            }
            PlanError::NotBuilt { port } => format!(
                "build it with `cargo build --release --features ef_vi`, or give port `{port}` \"driver\": \"ethdev\" and a \"device\""
            ),
            PlanError::UnknownPort { found, known } => match nearest(found, known) {
                Some(near) => format!("did you mean `{near}`? ports of the file: {}", known.join(", ")),
                None => format!("ports of the file: {}", known.join(", ")),
            },
            PlanError::TooFewCpus { .. } => {
                "move stages to fewer lcores in the pipeline file, allow the process more CPUs (taskset, cgroup), or use \
                 `tickpath replay` without -l, -c or --lcores, which lets lcores share CPUs"
                    .into()
            }
            PlanError::EalArgs { remedy, .. } => remedy.clone(),
            PlanError::Memory(shortfall) => shortfall.remedy.clone(),
        }
    }
}

/// Bytes of data an mbuf of ours holds behind its headroom: more than a feed's largest frame.
pub const FRAME_ROOM: usize = 2048;
/// Bytes of the window that each capture is inflated into.
pub const CAPTURE_WINDOW_BYTES: u64 = 256 << 20;

impl Plan {
    /// What `file` means on `host`.
    ///
    /// # Errors
    /// [`PlanError`] when it cannot be carried out there. Memory is not an error here but a [`Shortfall`] of the plan,
    /// so that `tickpath plan` can show the rest; see [`Plan::ready`].
    pub fn new(file: &PipelineFile, host: &HostFacts, request: &Request) -> Result<Plan, PlanError> {
        let said = EalArgs::parse(&request.eal_args).map_err(|found| PlanError::EalArgs {
            found,
            remedy: "what follows `--` goes to EAL; see the EAL parameters page of the DPDK guide".into(),
        })?;
        // Without any EAL argument a replay asks for nothing that needs privileges.
        let unprivileged = request.mode == Mode::Replay && request.eal_args.is_empty();
        let no_huge = unprivileged || said.no_huge;

        let mut ports = plan_ports(file, host, request)?;
        let receiving = receiving(file, &ports);
        let placement = place(file, host, request.mode, &said, &receiving)?;
        let home = |node: u32| if no_huge { 0 } else { node };
        let mut lcores = plan_lcores(file, host, &placement, &receiving, &home);
        leaves_main_a_cpu(&lcores, &placement)?;
        let node_of: BTreeMap<u32, u32> = lcores.iter().map(|l| (l.id, l.node)).collect();
        for (&port, &lcore) in &receiving {
            ports[port].receiver = Some(plan_receiver(file, port, lcore, &node_of));
        }

        let mut pools = Vec::new();
        let mut venues = Vec::new();
        for v in 0..file.venues.len() {
            venues.push(plan_venue(v, file, request.mode, &ports, &node_of, &home, &mut pools));
        }
        for lcore in &mut lcores {
            lcore.arena_bytes = arena_bytes(&venues, lcore.id);
        }

        let memory = memory_by_node(&ports, &venues, &lcores, &pools);
        let captures: usize = venues.iter().map(|venue| venue.captures(&ports)).sum();
        let mut plan = Plan {
            mode: request.mode,
            about: file.about.clone(),
            hash: plan_hash(file),
            ports,
            venues,
            lcores,
            pools,
            main_lcore: placement.main,
            main_cpus: placement.main_cpus.clone(),
            oversubscribed: placement.oversubscribed,
            no_huge,
            eal_args: Vec::new(),
            record: plan_record(&file.record, request.mode, &placement.main_cpus),
            control: file.control.clone(),
            drop_privileges: request.mode == Mode::Run && file.privileges == Privileges::Drop,
            check: file.check,
            placement: file.placement,
            text: file.text,
            memory,
            capture_window_bytes: captures as u64 * CAPTURE_WINDOW_BYTES,
            shortfall: None,
            warnings: Vec::new(),
        };
        plan.eal_args = eal_args(&plan, &placement, &said, host, request, unprivileged);
        plan.shortfall = shortfall(&plan, host, &said);
        plan.warnings = warnings(&plan, host);
        plan.warnings.extend(fifo_warnings(file, &plan));
        Ok(plan)
    }

    /// Whether the host has the memory the plan needs.
    ///
    /// # Errors
    /// [`PlanError::Memory`] with the number and the remedy.
    pub fn ready(&self) -> Result<(), PlanError> {
        self.shortfall.clone().map_or(Ok(()), |s| Err(s.into()))
    }

    /// Bytes of EAL memory on all nodes.
    pub fn eal_bytes(&self) -> u64 {
        self.memory.iter().map(NodeMemory::total).sum()
    }

    /// MiB that EAL is to be given: the plan's bytes and what EAL and its heap take themselves.
    pub fn eal_megabytes(&self) -> u64 {
        with_headroom(self.eal_bytes()).div_ceil(1 << 20)
    }

    /// The lcore with EAL id `id`.
    pub fn lcore(&self, id: u32) -> Option<&LcorePlan> {
        self.lcores.iter().find(|l| l.id == id)
    }

    /// The same where the devices of these ports put packets into queues by their groups: nobody receives for several venues.
    pub fn steered(&self, ports: &[usize]) -> Plan {
        let mut plan = self.clone();
        ports.iter().for_each(|&port| plan.ports[port].receiver = None);
        plan.lcores.iter_mut().for_each(|lcore| lcore.receives.retain(|port| !ports.contains(port)));
        plan
    }

    /// The same with Ethernet addresses that were found out, by venue: ours, and that of the next hop of its orders.
    pub fn addressed(mut self, found: &BTreeMap<usize, [[u8; 6]; 2]>) -> Plan {
        for (&venue, &[ours, next]) in found {
            let orders = &mut self.venues[venue].orders;
            (orders.source.mac, orders.destination.mac) = (ours, next);
        }
        self
    }

    /// The venues that an lcore does something for.
    pub fn venues_of(&self, lcore: &LcorePlan) -> Vec<usize> {
        let shares =
            lcore.receives.iter().filter_map(|&port| self.ports[port].receiver.as_ref()).flat_map(|r| &r.shares);
        lcore.segments.iter().map(|segment| segment.venue).chain(shares.map(|share| share.venue)).collect()
    }
}

impl VenuePlan {
    /// Where `stage` runs.
    pub fn stage(&self, stage: Stage) -> &StagePlan {
        &self.stages[stage as usize]
    }

    /// What the feed's packets come by, each once: port, queue, pool. A port with a receiver is one, whatever the queues.
    pub fn inlets(&self, ports: &[PortPlan]) -> Vec<(usize, u16, usize)> {
        let mut inlets: Vec<(usize, u16, usize)> = Vec::new();
        for line in &self.feed.lines {
            let inlet = line.inlet(ports);
            if !inlets.iter().any(|known| (known.0, known.1) == inlet) {
                inlets.push((inlet.0, inlet.1, line.pool));
            }
        }
        inlets
    }

    /// Captures that are read for its feed.
    fn captures(&self, ports: &[PortPlan]) -> usize {
        self.inlets(ports).iter().filter(|inlet| ports[inlet.0].driver == Driver::Capture).count()
    }
}

impl LinePlan {
    /// Port and queue that it comes by; see [`VenuePlan::inlets`].
    pub fn inlet(&self, ports: &[PortPlan]) -> (usize, u16) {
        (self.port, if ports[self.port].receiver.is_some() { 0 } else { self.queue })
    }
}

impl ArbitrationPlan {
    /// The same in the feed's words.
    pub fn config(&self) -> feed::Arbitration {
        feed::Arbitration { window_ns: u64::from(self.window_us) * 1000, packets: self.packets as usize }
    }
}

impl BookPlan {
    /// The same in the book's words.
    pub fn config(&self) -> BookConfig {
        let BookPlan { instruments, orders, depth_levels, spill_levels } = *self;
        BookConfig { instruments, orders, depth_levels, spill_levels }
    }
}

impl RiskPlan {
    /// How much the order states of so many instruments hold.
    pub fn states(&self, instruments: u32) -> StatesConfig {
        StatesConfig { instruments, slots: self.slots, assumed: self.assumed }
    }
}

impl LinksPlan {
    /// Name and link, in packet order.
    pub fn each(&self) -> [(&'static str, &Link); 5] {
        [
            ("rx_parse", &self.rx_parse),
            ("parse_strategy", &self.parse_strategy),
            ("strategy_encode", &self.strategy_encode),
            ("encode_tx", &self.encode_tx),
            ("tx_strategy", &self.tx_strategy),
        ]
    }
}

impl InstrumentsPlan {
    /// Terms of `symbol`, or `None` when it is not to be booked. Looks through the list: for launch, not for the path.
    pub fn terms(&self, symbol: Symbol) -> Option<Terms> {
        self.listed.iter().find(|i| i.symbol == symbol).map(|i| i.terms).or(self.every)
    }
}

impl NodeMemory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.pools + self.rings + self.arenas
    }

    /// The same and what EAL takes beside it: what must be free in hugepages.
    pub fn hugepage_bytes(&self) -> u64 {
        with_headroom(self.total())
    }
}

impl Stage {
    /// All stages in packet order.
    pub const ALL: [Stage; 5] = [Stage::Rx, Stage::Parse, Stage::Strategy, Stage::Encode, Stage::Tx];

    /// The stage's name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Rx => "rx",
            Stage::Parse => "parse",
            Stage::Strategy => "strategy",
            Stage::Encode => "encode",
            Stage::Tx => "tx",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Identity of what a file asks for, whatever the host: 64-bit FNV-1a over `tickpath plan 1\n` and the file as compact
/// JSON with its defaults filled in (those of `book`, `pools`, lots and ticks belong to the program), keys in schema
/// order. What says nothing of the path is left out: `$schema`, `about`, `record`, `control`, `privileges`, `check`, `placement`, the budgets, the kill files and what trips a
/// kill switch.
pub fn plan_hash(file: &PipelineFile) -> u64 {
    let mut file = PipelineFile {
        schema: None,
        control: None,
        privileges: Privileges::default(),
        check: HostCheck::default(),
        placement: HostCheck::default(),
        about: None,
        record: RecordFile::default(),
        ..file.clone()
    };
    for venue in &mut file.venues {
        venue.budget = BudgetFile::default();
        venue.risk.kill_when = KillWhenFile::default();
        venue.risk.kill_file = None;
    }
    // Plain data with string keys: nothing in it can fail to become JSON.
    let json = serde_json::to_vec(&file).expect("a pipeline file is plain data");
    let bytes = b"tickpath plan 1\n".iter().chain(&json);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

// ---- ports --------------------------------------------------------------------------------------------------------

const DESCRIPTORS: u32 = 1024;

/// Bytes that a card has before it begins to send by CTPIO, unless the file says: the least there is.
const CTPIO_THRESHOLD: u16 = 64;
/// Ports of ours that a session on a card takes in turn: it has a filter for each, and the kernel keeps others off them.
const CARD_PORTS: u16 = 32;

/// Frames that net_af_xdp holds for the kernel to fill, whatever the descriptors (libxdp's
/// XSK_RING_PROD__DEFAULT_NUM_DESCS).
const XDP_FILL: u32 = 2048;

fn plan_ports(file: &PipelineFile, host: &HostFacts, request: &Request) -> Result<Vec<PortPlan>, PlanError> {
    let names = || file.ports.iter().map(|p| p.name.as_str());
    if let Some(stranger) = request.capture_ports.iter().find(|bound| !names().any(|n| n == bound.as_str())) {
        let known = names().map(str::to_owned).collect();
        return Err(PlanError::UnknownPort { found: stranger.clone(), known });
    }
    let mut ports = Vec::new();
    for port in &file.ports {
        let bound = request.capture_ports.iter().any(|b| b == port.name.as_str());
        let driver = if bound { Driver::Capture } else { port.driver };
        if driver == Driver::Capture && request.mode == Mode::Run {
            return Err(PlanError::CaptureInRun { port: port.name.to_string() });
        }
        if driver == Driver::EfVi && !cfg!(feature = "ef_vi") {
            return Err(PlanError::NotBuilt { port: port.name.to_string() });
        }
        let live = driver != Driver::Capture;
        let device = port.device.clone().filter(|_| live);
        let efvi = port.interface.clone().filter(|_| driver == Driver::EfVi).map(|interface| EfviPlan {
            interface,
            ctpio: port.ctpio.unwrap_or_default(),
            ctpio_threshold: port.ctpio_threshold.map_or(CTPIO_THRESHOLD, |bytes| bytes.value() as u16),
            timestamps: port.timestamps.unwrap_or_default(),
        });
        let is_xdp = device.as_ref().is_some_and(|device| device.starts_with("net_af_xdp"));
        let descriptors = |set: Option<super::file::Descriptors>| match live {
            true => set.map_or(DESCRIPTORS, |d| d.value()).max(if is_xdp { XDP_FILL } else { 0 }),
            false => 0,
        };
        let feeds =
            file.venues.iter().flat_map(|v| &v.feed.lines).filter(|l| l.port == port.name).map(|l| l.queue.value());
        let orders = file.venues.iter().map(|v| &v.orders).filter(|o| o.port == port.name).map(|o| o.queue.value());
        let order_queues = orders.clone().map(|q| q + 1).max().unwrap_or(0);
        let igmp = port.igmp.as_ref().filter(|_| live).map(|igmp| IgmpPlan {
            version: igmp.version.value() as u8,
            address: igmp.address.0,
            vlan: igmp.vlan.map(|id| id.value() as u16),
            groups: groups(file, &port.name).into_iter().collect(),
            queue: order_queues as u16,
        });
        let igmp = igmp.filter(|igmp| !igmp.groups.is_empty());
        ports.push(PortPlan {
            name: port.name.to_string(),
            driver,
            node: port.hardware().filter(|_| live).and_then(|name| host.device_nodes.get(name)).copied(),
            device,
            efvi,
            rx_queues: feeds.chain(orders).map(|q| q + 1).max().unwrap_or(0),
            tx_queues: order_queues + u32::from(igmp.is_some()),
            igmp,
            rx_descriptors: descriptors(port.rx_descriptors),
            tx_descriptors: descriptors(port.tx_descriptors),
            steerable: live && steerable(file, &port.name),
            receiver: None,
        });
    }
    Ok(ports)
}

/// The groups of all feeds on a port.
fn groups(file: &PipelineFile, port: &Name) -> BTreeSet<Ipv4Addr> {
    let lines = file.venues.iter().flat_map(|venue| &venue.feed.lines).filter(|line| line.port == *port);
    lines.flat_map(|line| &line.groups).map(|group| *group.0.ip()).collect()
}

/// The venues whose feeds arrive on a port, in the file's order.
fn fed_by<'f>(file: &'f PipelineFile, port: &str) -> impl Iterator<Item = (usize, &'f VenueFile)> {
    let port = port.to_owned();
    let fed = move |venue: &VenueFile| venue.feed.lines.iter().any(|line| line.port.as_str() == port);
    file.venues.iter().enumerate().filter(move |(_, venue)| fed(venue))
}

/// Whether feeds arrive on a port in several queues, none of which two venues share.
fn steerable(file: &PipelineFile, port: &Name) -> bool {
    let queues = |venue: &VenueFile| -> BTreeSet<u32> {
        let lines = venue.feed.lines.iter().filter(|line| line.port == *port);
        lines.map(|line| line.queue.value()).collect()
    };
    let of_venues: Vec<BTreeSet<u32>> = file.venues.iter().map(queues).collect();
    let all: BTreeSet<u32> = of_venues.iter().flatten().copied().collect();
    all.len() > 1 && of_venues.iter().map(BTreeSet::len).sum::<usize>() == all.len()
}

/// The devices that feeds of several venues arrive on, and the lcore that receives for them. One venue polls all queues of a device
/// itself, and finds its lines in whichever of them.
fn receiving(file: &PipelineFile, ports: &[PortPlan]) -> BTreeMap<usize, u32> {
    let mut receiving = BTreeMap::new();
    for (at, (port, plan)) in file.ports.iter().zip(ports).enumerate() {
        let mut venues = fed_by(file, &plan.name);
        if let (Driver::Ethdev, Some((_, first)), Some(_)) = (plan.driver, venues.next(), venues.next()) {
            let lcore = port.receiver.as_ref().and_then(|receiver| receiver.lcore);
            receiving.insert(at, lcore.map_or(first.stages.rx.lcore.value(), |lcore| lcore.value()));
        }
    }
    receiving
}

fn plan_receiver(file: &PipelineFile, at: usize, lcore: u32, node_of: &BTreeMap<u32, u32>) -> ReceiverPlan {
    let port = &file.ports[at];
    let ReceiverFile { burst, depth, .. } = port.receiver.clone().unwrap_or_default();
    let lines = file.venues.iter().flat_map(|venue| &venue.feed.lines).filter(|line| line.port == port.name);
    let queues: BTreeSet<u16> = lines.map(|line| line.queue.value() as u16).collect();
    let share = |(venue, file): (usize, &VenueFile)| {
        let (element_bytes, bytes) = ring_size::<FramePointer>(depth.value() as usize);
        let node = node_of[&file.stages.rx.lcore.value()];
        let name = format!("tp{venue}.share{at}");
        let ring =
            RingPlan { name, depth: depth.value(), element_bytes: element_bytes as u32, node, bytes: bytes as u64 };
        SharePlan { venue, ring }
    };
    ReceiverPlan {
        lcore,
        burst: burst.value() as u16,
        queues: queues.into_iter().collect(),
        shares: fed_by(file, port.name.as_str()).map(share).collect(),
    }
}

// ---- lcores -------------------------------------------------------------------------------------------------------

/// Which lcore runs on which CPUs, and the `--lcores` that says so.
struct Placement {
    cpus: BTreeMap<u32, Vec<u32>>,
    main: u32,
    main_cpus: Vec<u32>,
    oversubscribed: bool,
    /// `None` when the person's own arguments say it.
    lcores_arg: Option<String>,
}

fn place(
    file: &PipelineFile,
    host: &HostFacts,
    mode: Mode,
    said: &EalArgs,
    receiving: &BTreeMap<usize, u32>,
) -> Result<Placement, PlanError> {
    let busy = file.venues.iter().flat_map(|v| v.stages.lcores()).chain(receiving.values().copied());
    let ids: BTreeSet<u32> = busy.chain(file.lcores.iter().map(|l| l.lcore.value())).collect();
    let allowed: Vec<u32> = host.cpus.iter().map(|c| c.id).collect();
    if let Some(explicit) = &said.lcores {
        return place_explicit(&ids, explicit, said, &allowed);
    }
    let free_main = (0..).find(|id| !ids.contains(id));
    // The ids are at most 128 numbers: one is free.
    let main = said.main_lcore.or(free_main).expect("some lcore id is free");
    if ids.contains(&main) {
        let found = format!("--main-lcore {main} is an lcore that the pipeline file gives stages to");
        return Err(PlanError::EalArgs {
            found,
            remedy: "leave --main-lcore out, or name an lcore without stages".into(),
        });
    }
    if allowed.len() > ids.len() {
        let (main_cpu, cpus) = pin(&ids, &allowed);
        let pinned = std::iter::once((main, main_cpu)).chain(cpus.iter().map(|(&id, &cpu)| (id, cpu)));
        let list: Vec<String> = pinned.map(|(id, cpu)| format!("{id}@{cpu}")).collect();
        return Ok(Placement {
            cpus: cpus.into_iter().map(|(id, cpu)| (id, vec![cpu])).collect(),
            main,
            main_cpus: vec![main_cpu],
            oversubscribed: false,
            lcores_arg: Some(list.join(",")),
        });
    }
    if mode == Mode::Run {
        return Err(too_few(&ids, &allowed));
    }
    let all = if allowed.is_empty() { vec![0] } else { allowed };
    let ids_list: Vec<u32> = ids.iter().copied().collect();
    let floating = format!("{main}@({0}),({1})@({0})", ranges(&all), ranges(&ids_list));
    Ok(Placement {
        cpus: ids.into_iter().map(|id| (id, all.clone())).collect(),
        main,
        main_cpus: all,
        oversubscribed: true,
        lcores_arg: Some(floating),
    })
}

/// Lcore n on CPU n where all of those are allowed and another is left for main; otherwise the first allowed CPU for
/// main and the next ones in order.
fn pin(ids: &BTreeSet<u32>, allowed: &[u32]) -> (u32, BTreeMap<u32, u32>) {
    let spare = allowed.iter().copied().find(|cpu| !ids.contains(cpu));
    match spare {
        Some(main_cpu) if ids.iter().all(|id| allowed.contains(id)) => {
            (main_cpu, ids.iter().map(|&id| (id, id)).collect())
        }
        _ => (allowed[0], ids.iter().copied().zip(allowed[1..].iter().copied()).collect()),
    }
}

fn place_explicit(
    ids: &BTreeSet<u32>,
    explicit: &BTreeMap<u32, Vec<u32>>,
    said: &EalArgs,
    allowed: &[u32],
) -> Result<Placement, PlanError> {
    let refuse = |found: String, remedy: &str| Err(PlanError::EalArgs { found, remedy: remedy.into() });
    let main = said.main().unwrap_or(0);
    let given = ranges(&explicit.keys().copied().collect::<Vec<_>>());
    let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
    for &id in ids {
        let Some(cpus) = explicit.get(&id) else {
            let found = format!("stages run on lcore {id}, and the EAL arguments give lcores {given}");
            return refuse(found, "add the lcore to the EAL list, or move its stages in the pipeline file");
        };
        if id == main {
            let found = format!("lcore {id} runs stages, and the EAL arguments make it the main lcore");
            return refuse(found, "add one more lcore to the EAL list and name it with --main-lcore");
        }
        for &cpu in cpus {
            let shared = taken.insert(cpu, id).is_some_and(|other| other != id);
            if shared || !allowed.contains(&cpu) {
                return Err(too_few(ids, allowed));
            }
        }
    }
    Ok(Placement {
        cpus: ids.iter().map(|id| (*id, explicit[id].clone())).collect(),
        main,
        main_cpus: explicit.get(&main).cloned().unwrap_or_default(),
        oversubscribed: false,
        lcores_arg: None,
    })
}

fn too_few(ids: &BTreeSet<u32>, allowed: &[u32]) -> PlanError {
    PlanError::TooFewCpus { lcores: ids.len(), cpus: allowed.len(), list: ranges(allowed) }
}

fn plan_lcores(
    file: &PipelineFile,
    host: &HostFacts,
    placement: &Placement,
    receiving: &BTreeMap<usize, u32>,
    home: &dyn Fn(u32) -> u32,
) -> Vec<LcorePlan> {
    let entry = |id: u32| file.lcores.iter().find(|l| l.lcore.value() == id);
    let fifo = |id: u32| Some(entry(id)?.fifo?.value());
    let idle = |id: u32| match entry(id) {
        _ if placement.oversubscribed => Idle::Yield,
        Some(entry) => entry.idle,
        None => Idle::Spin,
    };
    let node = |cpus: &[u32]| host.cpus.iter().find(|c| cpus.contains(&c.id)).map_or(0, |c| c.node);
    let lcore = |(&id, cpus): (&u32, &Vec<u32>)| LcorePlan {
        id,
        node: home(node(cpus)),
        cpu_node: node(cpus),
        cpus: cpus.clone(),
        idle: idle(id),
        // Lcores that float share CPUs: one of them would have them all.
        fifo: fifo(id).filter(|_| !placement.oversubscribed),
        receives: receiving.iter().filter(|(_, lcore)| **lcore == id).map(|(&port, _)| port).collect(),
        segments: segments(file, id),
        arena_bytes: 0,
    };
    placement.cpus.iter().map(lcore).collect()
}

/// Under SCHED_FIFO an lcore has its CPU to itself: control on it would never run.
fn leaves_main_a_cpu(lcores: &[LcorePlan], placement: &Placement) -> Result<(), PlanError> {
    let shared =
        |lcore: &&LcorePlan| lcore.fifo.is_some() && placement.main_cpus.iter().any(|c| lcore.cpus.contains(c));
    match lcores.iter().find(shared) {
        None => Ok(()),
        Some(LcorePlan { id, cpus, .. }) => Err(PlanError::EalArgs {
            found: format!(
                "lcore {id} is to run under SCHED_FIFO on CPU {}, and the main lcore there too: nothing could stop it",
                ranges(cpus)
            ),
            remedy: "give the main lcore a CPU of its own in the EAL list, or leave `fifo` out of the pipeline file"
                .into(),
        }),
    }
}

/// The contiguous runs of each venue's stages on lcore `id`.
fn segments(file: &PipelineFile, id: u32) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (venue, settings) in file.venues.iter().enumerate() {
        let mut open = false;
        for (stage, lcore) in Stage::ALL.into_iter().zip(settings.stages.lcores()) {
            match segments.last_mut() {
                Some(last) if open && lcore == id => last.last = stage,
                _ if lcore == id => segments.push(Segment { venue, first: stage, last: stage }),
                _ => {}
            }
            open = lcore == id;
        }
    }
    segments
}

// ---- venues -------------------------------------------------------------------------------------------------------

#[allow(clippy::too_many_arguments)] // what a venue's plan depends on, each once
fn plan_venue(
    v: usize,
    file: &PipelineFile,
    mode: Mode,
    ports: &[PortPlan],
    node_of: &BTreeMap<u32, u32>,
    home: &dyn Fn(u32) -> u32,
    pools: &mut Vec<PoolPlan>,
) -> VenuePlan {
    let (venue, record) = (&file.venues[v], &file.record);
    let book = plan_book(venue);
    let instruments = plan_instruments(&venue.instruments);
    let answered = mode == Mode::Run && venue.orders.session.is_some();
    let risk = plan_risk(&venue.risk, answered, mode);
    let recovery = plan_recovery(&venue.feed, mode);
    let arbitration = plan_arbitration(&venue.feed, recovery.is_some());
    let links = plan_links(v, venue, node_of, home);
    let port_index = |name: &super::file::Name| {
        // The file's check has found every port name.
        ports.iter().position(|p| p.name == name.as_str()).expect("a checked file names only ports it has")
    };
    let [rx, parse, strategy, encode, tx] = venue.stages.lcores();
    let (rx_burst, tx_burst) = (venue.stages.rx.burst.value(), venue.stages.tx.burst.value());

    // Port, queue, node.
    let line = |line: &LineFile| {
        let port = port_index(&line.port);
        (port, line.queue.value(), home(ports[port].node.unwrap_or(node_of[&rx])))
    };
    let lines: Vec<(usize, u32, u32)> = venue.feed.lines.iter().map(line).collect();
    for port in lines.iter().map(|line| line.0).collect::<BTreeSet<_>>() {
        let shared = &ports[port];
        if let Some(receiver) = shared.receiver.as_ref().filter(|receiver| receiver.shares[0].venue == v) {
            let node = home(shared.node.unwrap_or(node_of[&receiver.lcore]));
            pools.push(shared_pool(file, port, shared, receiver, node));
        }
    }
    let shared_pool = |port: usize| pools.iter().position(|pool| pool.name == shared_pool_name(port));
    let own: Vec<(usize, u32, u32)> = lines.iter().copied().filter(|line| ports[line.0].receiver.is_none()).collect();
    let feed_pools = feed_pools(v, venue, ports, &own, &links);
    // The pools were made for the nodes of these lines.
    let pool_of = |node: u32| pools.len() + feed_pools.iter().position(|p| p.node == node).unwrap_or(0);
    let line_plans = venue.feed.lines.iter().zip(&lines).map(|(line, &(port, queue, node))| LinePlan {
        port,
        queue: queue as u16,
        pool: shared_pool(port).unwrap_or_else(|| pool_of(node)),
        vlan: line.vlan.map(|id| id.value() as u16),
        groups: line.groups.iter().map(|g| g.0).collect(),
    });
    let line_plans: Vec<LinePlan> = line_plans.collect();
    pools.extend(feed_pools);

    let orders_port = port_index(&venue.orders.port);
    let port = &ports[orders_port];
    let held = port.rx_descriptors + port.tx_descriptors + ring_slots(&links.encode_tx) + 2 * tx_burst + HELD_BY_STAGE;
    let orders_node = home(port.node.unwrap_or(node_of[&encode]));
    let wanted = venue.pools.orders.map(|m| m.value());
    let orders_pool =
        pool(format!("tp{v}.orders"), v, PoolPurpose::Orders, orders_node, held, distinct([encode, tx]), wanted);
    pools.push(if port.efvi.is_some() { in_pages(orders_pool) } else { orders_pool });

    let burst = |stage| match stage {
        Stage::Rx => rx_burst as u16,
        Stage::Tx => tx_burst as u16,
        _ => 0,
    };
    let stage = |stage: Stage, lcore| StagePlan { stage, lcore, burst: burst(stage) };
    VenuePlan {
        name: venue.name.to_string(),
        feed: FeedPlan {
            protocol: venue.feed.protocol,
            channels: venue.feed.lines[0].groups.len(),
            lines: line_plans,
            ip_checksum: venue.feed.ip_checksum,
            udp_checksum: venue.feed.udp_checksum,
            addressing: venue.feed.addressing,
            sequence: venue.feed.sequence,
            arbitration,
            recovery,
            silent_after_ms: match mode {
                Mode::Replay => 0,
                Mode::Run => venue.feed.silent_after_ms.map_or(SILENT_MS, |ms| ms.value()),
            },
        },
        arenas: plan_arenas(venue, &instruments, &book, arbitration, &risk),
        risk,
        instruments,
        book,
        strategy: venue.strategy.name.clone(),
        parameters: venue.strategy.parameters.clone(),
        orders: OrdersPlan {
            protocol: venue.orders.protocol,
            comp_ids: venue.orders.comp_ids.clone(),
            session_protocol: venue.orders.session_protocol(),
            transport: venue.orders.transport,
            port: orders_port,
            queue: venue.orders.queue.value() as u16,
            pool: pools.len() - 1,
            source: endpoint(venue.orders.source.mac, venue.orders.source.address),
            destination: endpoint(venue.orders.destination.mac, venue.orders.destination.address),
            last_port: match port.efvi {
                Some(_) => venue.orders.source.address.0.port().saturating_add(CARD_PORTS - 1),
                None => u16::MAX,
            },
            session: venue.orders.session.clone(),
        },
        stages: [
            stage(Stage::Rx, rx),
            stage(Stage::Parse, parse),
            stage(Stage::Strategy, strategy),
            stage(Stage::Encode, encode),
            stage(Stage::Tx, tx),
        ],
        links,
        when_full: match mode {
            Mode::Replay => WhenFull::Wait,
            Mode::Run => venue.rings.rx_parse.when_full,
        },
        records: [("strategy", strategy), ("tx", tx)].map(|(stage, lcore)| {
            let depth = record.ring_depth.value();
            recorder_ring::<Record>(format!("tp{v}.{stage}_records"), depth, home(node_of[&lcore]))
        }),
        journal: record
            .journal
            .then(|| recorder_ring::<Slot>(format!("tp{v}.journal"), JOURNAL_SLOTS, home(node_of[&strategy]))),
        budget: plan_budget(&venue.budget, &venue.stages.lcores()),
    }
}

/// Slots of a journal's ring: a packet takes one, so at four million packets a second the recorder may be away for 30 ms.
const JOURNAL_SLOTS: u32 = (1 << 17) - 1;

/// A ring to the recorder. It lies where it is written: the recorder is in no hurry.
fn recorder_ring<T>(name: String, depth: u32, node: u32) -> RingPlan {
    let (element_bytes, bytes) = ring_size::<T>(depth as usize);
    RingPlan { name, depth, element_bytes: element_bytes as u32, node, bytes: bytes as u64 }
}

/// A venue's budget: what the file says, or the reference figures of a well-tuned host. Those are ranges of a hop's typical
/// time; their upper end is taken for the median and twice that for the 99th percentile, and a hop between two lcores has
/// the time of a ring hop on top.
fn plan_budget(file: &BudgetFile, lcores: &[u32; 5]) -> Budget {
    const RING_NS: f64 = 100.0;
    let ring = |from: Stage, to: Stage| match lcores[from as usize] == lcores[to as usize] {
        true => 0.0,
        false => RING_NS,
    };
    // In ns: receive poll 500, parse 800, book update 400, strategy 5,000 and order construction 500, encode 1,500, transmit
    // submit 500, the whole way 12,000.
    let reference = [
        (Hop::WireRx, file.wire_rx, Some(500.0)),
        (Hop::RxParsed, file.rx_parsed, Some(800.0 + ring(Stage::Rx, Stage::Parse))),
        (Hop::ParsedBook, file.parsed_book, Some(400.0 + ring(Stage::Parse, Stage::Strategy))),
        (Hop::BookDecided, file.book_decided, Some(5_500.0)),
        (Hop::DecidedEncoded, file.decided_encoded, Some(1_500.0 + ring(Stage::Strategy, Stage::Encode))),
        (Hop::EncodedDoorbell, file.encoded_doorbell, Some(500.0 + ring(Stage::Encode, Stage::Tx))),
        (Hop::RxDoorbell, file.rx_doorbell, Some(12_000.0)),
        (Hop::DoorbellAck, file.doorbell_ack, None),
    ];
    let allowance = |(hop, said, reference): (Hop, Option<AllowanceFile>, Option<f64>)| {
        let said = said.map(|a| Allowance { p50_ns: a.p50_ns.value().into(), p99_ns: a.p99_ns.value().into() });
        Some((hop, said.or(reference.map(|ns| Allowance { p50_ns: ns, p99_ns: 2.0 * ns }))?))
    };
    Budget(reference.into_iter().filter_map(allowance).collect())
}

fn plan_record(file: &RecordFile, mode: Mode, main_cpus: &[u32]) -> RecordPlan {
    RecordPlan {
        trace: file.trace.clone(),
        journal: file.journal,
        file_bytes: u64::from(file.file_megabytes.value()) * 1_000_000,
        file_seconds: u64::from(file.file_minutes.value()) * 60,
        sample_every: file.sample_every.value(),
        interval_ms: file.interval_ms.value(),
        check_seconds: file.check_seconds.value(),
        cpus: match file.cpus.is_empty() {
            true => main_cpus.to_vec(),
            false => file.cpus.iter().map(|cpu| cpu.value()).collect(),
        },
        metrics: match (file.metrics, mode) {
            (Some(Listen::At(address)), _) => Some(address),
            (Some(Listen::Off), _) | (None, Mode::Replay) => None,
            (None, Mode::Run) => Some(DEFAULT_ADDRESS),
        },
    }
}

/// A line that waits at a switch for a burst of 64 full frames at 10 Gbit/s is 80 µs behind the other; what is later than
/// more than twice that is lost as far as a quote is concerned.
const WINDOW_US: u32 = 200;
/// In the fastest second published for a feed, 560,000 messages, one to a packet, 112 of them come in a window.
const HELD_PACKETS: u32 = 256;

/// Both protocols send a heartbeat a second; three in a row are not lost by chance.
const SILENT_MS: u32 = 3000;

fn plan_recovery(feed: &FeedFile, mode: Mode) -> Option<RecoveryPlan> {
    let file = feed.recovery.as_ref().filter(|_| mode == Mode::Run)?;
    Some(RecoveryPlan {
        interface: file.interface.0,
        servers: file.servers.iter().map(|server| server.0).collect(),
        snapshot: file.snapshot.map(|server| server.0),
        timeout_ms: file.timeout_ms.value(),
        retries: file.retries.value(),
        largest_gap: file.largest_gap.value(),
        stale_after_us: file.stale_after_us.value(),
    })
}

fn plan_arbitration(feed: &FeedFile, recovers: bool) -> ArbitrationPlan {
    let implied = if feed.lines.len() > 1 { WINDOW_US } else { 0 };
    let window_us = match feed.sequence {
        Check::Verify => feed.arbitration.window_us.map_or(implied, |us| us.value()),
        Check::Off => 0,
    };
    let packets = feed.arbitration.packets.map_or(HELD_PACKETS, |packets| packets.value());
    let packets = if window_us > 0 { packets } else { 0 };
    match &feed.recovery {
        // While servers are asked live packets wait in the same place.
        Some(recovery) if recovers => {
            ArbitrationPlan { window_us, packets: packets.max(recovery.buffer_packets.value()) }
        }
        _ => ArbitrationPlan { window_us, packets },
    }
}

fn endpoint(mac: Option<Mac>, Endpoint(address): Endpoint) -> EndpointPlan {
    EndpointPlan { mac: mac.map_or([0; 6], |mac| mac.0), address }
}

fn plan_instruments(entries: &[InstrumentFile]) -> InstrumentsPlan {
    let standard = Terms { lot: 100, tick: Price(100) };
    let terms = |entry: &InstrumentFile, fallback: Terms| Terms {
        lot: entry.lot.map_or(fallback.lot, |l| l.value()),
        tick: entry.tick.map_or(fallback.tick, |t| t.0),
    };
    let every = entries.iter().find(|e| e.is_every()).map(|e| terms(e, standard));
    let fallback = every.unwrap_or(standard);
    let listed = entries.iter().filter(|e| !e.is_every());
    InstrumentsPlan {
        every,
        listed: listed.map(|e| ListedInstrument { symbol: e.symbol.0, terms: terms(e, fallback) }).collect(),
    }
}

/// More than the 11,214 locate codes seen on a Nasdaq day of 2023.
const WHOLE_MARKET: u32 = 12_288;
const LIVE_ORDERS: u32 = 1 << 20;

fn plan_book(venue: &VenueFile) -> BookPlan {
    let listed = venue.instruments.iter().filter(|i| !i.is_every()).count() as u32;
    let every = venue.instruments.iter().any(InstrumentFile::is_every);
    let implied = if every { WHOLE_MARKET.max(listed) } else { listed };
    let set = &venue.book;
    let instruments = set.instruments.map_or(implied, |i| i.value());
    BookPlan {
        instruments,
        orders: match venue.feed.protocol {
            FeedProtocol::Itch50 => set.orders.map_or(LIVE_ORDERS, |o| o.value()),
            FeedProtocol::Deep10 => 0,
        },
        depth_levels: set.depth_levels.map_or(32, |d| d.value()),
        spill_levels: set.spill_levels.map_or((instruments * 256).clamp(1 << 14, 1 << 20), |s| s.value()),
    }
}

// ---- links --------------------------------------------------------------------------------------------------------

fn plan_links(v: usize, venue: &VenueFile, node_of: &BTreeMap<u32, u32>, home: &dyn Fn(u32) -> u32) -> LinksPlan {
    let [rx, parse, strategy, encode, tx] = venue.stages.lcores();
    let rings = &venue.rings;
    let back = rings.tx_strategy.depth.value();
    let linked = |name: &str, to: u32, depth: u32, size: fn(usize) -> (usize, usize)| {
        let (element_bytes, bytes) = size(depth as usize);
        Link::Ring(RingPlan {
            name: format!("tp{v}.{name}"),
            depth,
            element_bytes: element_bytes as u32,
            node: home(node_of[&to]),
            bytes: bytes as u64,
        })
    };
    let ring = |name: &str, from: u32, to: u32, depth: u32, size: fn(usize) -> (usize, usize)| match from == to {
        true => Link::Fused,
        false => linked(name, to, depth, size),
    };
    LinksPlan {
        rx_parse: ring("rx_parse", rx, parse, rings.rx_parse.depth.value(), ring_size::<FramePointer>),
        parse_strategy: ring(
            "parse_strategy",
            parse,
            strategy,
            rings.parse_strategy.depth.value(),
            ring_size::<Element>,
        ),
        strategy_encode: ring(
            "strategy_encode",
            strategy,
            encode,
            rings.strategy_encode.depth.value(),
            ring_size::<Order>,
        ),
        encode_tx: ring("encode_tx", encode, tx, rings.encode_tx.depth.value(), ring_size::<FramePointer>),
        // Fused only where the three are one run: an encode elsewhere parts tx from strategy even on one lcore.
        tx_strategy: match encode == tx {
            true => ring("tx_strategy", tx, strategy, back, ring_size::<OrderEvent>),
            false => linked("tx_strategy", strategy, back, ring_size::<OrderEvent>),
        },
    }
}

/// A frame travels as the pointer to its mbuf.
type FramePointer = u64;

/// Bytes of an element, and of a ring of `depth` of them.
fn ring_size<T>(depth: usize) -> (usize, usize) {
    (size_of::<T>(), ring_bytes::<T>(depth))
}

fn ring_slots(link: &Link) -> u32 {
    match link {
        Link::Ring(ring) => ring.depth,
        Link::Fused => 0,
    }
}

// ---- pools --------------------------------------------------------------------------------------------------------

/// Mbufs a stage keeps while it waits: a burst of the largest size.
const HELD_BY_STAGE: u32 = 64;
/// Size of an lcore's cache in a pool of derived size.
const CACHE: u32 = 256;

/// The pool of a port that a receiver polls: with every venue's share full there is still an mbuf for every descriptor, so that
/// no venue can take them from another. In the first venue's name.
fn shared_pool(file: &PipelineFile, at: usize, port: &PortPlan, receiver: &ReceiverPlan, node: u32) -> PoolPlan {
    let mut lcores = BTreeSet::from([receiver.lcore]);
    let mut held = port.rx_descriptors * receiver.queues.len() as u32 + u32::from(receiver.burst);
    for SharePlan { venue, ring } in &receiver.shares {
        let venue = &file.venues[*venue];
        let [rx, parse, ..] = venue.stages.lcores();
        lcores.extend([rx, parse]);
        let link = if rx == parse { 0 } else { venue.rings.rx_parse.depth.value() };
        held += ring.depth + link + 2 * venue.stages.rx.burst.value() + HELD_BY_STAGE;
        // No pool has so many; EAL will say so.
        held = held.min(1 << 30);
    }
    let first = receiver.shares[0].venue;
    let wanted = file.venues[first].pools.feed.map(|m| m.value());
    pool(shared_pool_name(at), first, PoolPurpose::Feed, node, held, lcores.len() as u32, wanted)
}

fn shared_pool_name(port: usize) -> String {
    format!("tp.port{port}")
}

/// One pool for each node the venue's feed ports are on, but for those that a receiver polls.
fn feed_pools(
    v: usize,
    venue: &VenueFile,
    ports: &[PortPlan],
    lines: &[(usize, u32, u32)],
    links: &LinksPlan,
) -> Vec<PoolPlan> {
    let [rx, parse, ..] = venue.stages.lcores();
    let burst = venue.stages.rx.burst.value();
    let nodes: BTreeSet<u32> = lines.iter().map(|line| line.2).collect();
    let pool_on = |(i, &node): (usize, &u32)| {
        let on_node = lines.iter().filter(|line| line.2 == node);
        let queues: BTreeSet<(usize, u32)> = on_node.map(|&(port, queue, _)| (port, queue)).collect();
        let descriptors: u32 = queues.iter().map(|&(port, _)| ports[port].rx_descriptors).sum();
        // rx holds a burst that the link has no room for, and parse one that strategy has no room for.
        let held = descriptors + ring_slots(&links.rx_parse) + 2 * burst + HELD_BY_STAGE;
        let wanted = venue.pools.feed.map(|m| m.value());
        let pool = pool(format!("tp{v}.feed{i}"), v, PoolPurpose::Feed, node, held, distinct([rx, parse]), wanted);
        if queues.iter().any(|&(port, _)| ports[port].efvi.is_some()) { in_pages(pool) } else { pool }
    };
    nodes.iter().enumerate().map(pool_on).collect()
}

fn pool(
    name: String,
    venue: usize,
    purpose: PoolPurpose,
    node: u32,
    held: u32,
    lcores: u32,
    wanted: Option<u32>,
) -> PoolPlan {
    // An lcore's cache holds up to 1.5 times its size.
    let needed = held + lcores * CACHE * 3 / 2;
    let mbufs = wanted.unwrap_or(needed);
    // A small pool must not vanish in its caches: together they take half of it at most.
    let cache = if mbufs >= needed { CACHE } else { (mbufs / (3 * lcores)).min(CACHE) };
    PoolPlan {
        name,
        venue,
        purpose,
        node,
        mbufs,
        needed,
        cache,
        private_bytes: PRIVATE_BYTES as u16,
        data_room: (HEADROOM + FRAME_ROOM) as u16,
        in_pages: false,
        bytes: pool_bytes(mbufs as usize, FRAME_ROOM) as u64,
    }
}

/// The same pool for a card.
fn in_pages(pool: PoolPlan) -> PoolPlan {
    PoolPlan { in_pages: true, bytes: pool_bytes_in_pages(pool.mbufs as usize, FRAME_ROOM) as u64, ..pool }
}

fn distinct(lcores: [u32; 2]) -> u32 {
    if lcores[0] == lcores[1] { 1 } else { 2 }
}

// ---- risk ---------------------------------------------------------------------------------------------------------

/// Units of a price in a currency unit.
const PRICE_UNITS: u64 = 10_000;

fn plan_risk(risk: &RiskFile, answered: bool, mode: Mode) -> RiskPlan {
    let rate = |per_second: u32| Rate { per_second, burst: risk.burst.map_or(per_second / 100, |b| b.value()).max(1) };
    let every = limits(&risk.limits, &Limits::default());
    RiskPlan {
        config: RiskConfig {
            limits: every,
            instruments: risk.instruments.iter().map(|own| (own.symbol.0, limits(&own.limits, &every))).collect(),
            restricted: risk.restricted.iter().map(|symbol| symbol.0).collect(),
            open_orders: risk.open_orders.map(|n| n.value()),
            gross_notional: risk.gross_notional.map(|n| u64::from(n.value()) * PRICE_UNITS),
            rate: risk.orders_per_second.map(|n| rate(n.value())),
            tick: risk.tick == Check::Verify,
            lot: risk.lot == Check::Verify,
        },
        slots: risk.slots.value(),
        assumed: !answered,
        kill_when: match mode {
            Mode::Replay => KillWhen::default(),
            Mode::Run => KillWhen {
                session_lost_ms: risk.kill_when.session_lost_ms.map(|ms| ms.value()),
                lcore_stuck_ms: Some(risk.kill_when.lcore_stuck_ms.value()).filter(|ms| *ms > 0),
                alarms: risk.kill_when.alarms.clone(),
            },
        },
        kill_file: risk.kill_file.clone().filter(|_| mode == Mode::Run),
    }
}

/// What a file says, or else what holds for every instrument.
fn limits(file: &LimitsFile, every: &Limits) -> Limits {
    Limits {
        collar_bp: file.collar_percent.map(|p| p.basis_points()).or(every.collar_bp),
        shares: file.shares.map(|n| n.value()).or(every.shares),
        notional: file.notional.map(|n| u64::from(n.value()) * PRICE_UNITS).or(every.notional),
        position: file.position.map(|n| u64::from(n.value())).or(every.position),
        open_orders: file.open_orders.map(|n| n.value()).or(every.open_orders),
        duplicate_ns: file.duplicate_ms.map(|ms| u64::from(ms.value()) * 1_000_000).or(every.duplicate_ns),
    }
}

// ---- arenas -------------------------------------------------------------------------------------------------------

fn plan_arenas(
    venue: &VenueFile,
    instruments: &InstrumentsPlan,
    book: &BookPlan,
    arbitration: ArbitrationPlan,
    risk: &RiskPlan,
) -> ArenasPlan {
    let feed = FeedConfig {
        protocol: match venue.feed.protocol {
            FeedProtocol::Itch50 => feed::Protocol::Itch50,
            FeedProtocol::Deep10 => feed::Protocol::Deep10,
        },
        channels: 1,
        sequence: true,
        symbols: instruments.every.is_none().then(|| instruments.listed.iter().map(|i| i.symbol).collect()),
        limit: book.instruments,
        arbitration: arbitration.config(),
    };
    // Beside the books strategy keeps, for each instrument, the last packet that touched it, its orders, and its terms.
    let touched = arena::bytes::<u32>(book.instruments as usize);
    let encoder = EncoderConfig { protocol: venue.orders.session_protocol(), instruments: book.instruments };
    let orders = risk.states(book.instruments).bytes() + Gate::bytes(book.instruments);
    ArenasPlan {
        parse: Feed::bytes(&feed) as u64,
        strategy: (book.config().bytes() + touched + orders) as u64,
        encode: Encoder::bytes(&encoder) as u64,
    }
}

fn arena_bytes(venues: &[VenuePlan], lcore: u32) -> u64 {
    let on = |venue: &VenuePlan, stage| venue.stage(stage).lcore == lcore;
    let of = |venue: &VenuePlan| {
        let ArenasPlan { parse, strategy, encode } = venue.arenas;
        let parts = [(Stage::Parse, parse), (Stage::Strategy, strategy), (Stage::Encode, encode)];
        parts.into_iter().filter(|&(stage, _)| on(venue, stage)).map(|(_, bytes)| bytes).sum::<u64>()
    };
    venues.iter().map(of).sum()
}

// ---- memory -------------------------------------------------------------------------------------------------------

fn memory_by_node(
    ports: &[PortPlan],
    venues: &[VenuePlan],
    lcores: &[LcorePlan],
    pools: &[PoolPlan],
) -> Vec<NodeMemory> {
    let mut nodes: BTreeMap<u32, NodeMemory> = BTreeMap::new();
    let mut on = |node: u32, add: &dyn Fn(&mut NodeMemory)| {
        add(nodes.entry(node).or_insert(NodeMemory { node, ..NodeMemory::default() }));
    };
    for pool in pools {
        on(pool.node, &|m| m.pools += pool.bytes);
    }
    for (_, link) in venues.iter().flat_map(|v| v.links.each()) {
        if let Link::Ring(ring) = link {
            on(ring.node, &|m| m.rings += ring.bytes);
        }
    }
    let shares = ports.iter().filter_map(|port| port.receiver.as_ref()).flat_map(|receiver| &receiver.shares);
    let to_recorder = venues.iter().flat_map(|v| v.records.iter().chain(&v.journal));
    for ring in to_recorder.chain(shares.map(|share| &share.ring)) {
        on(ring.node, &|m| m.rings += ring.bytes);
    }
    for lcore in lcores {
        on(lcore.node, &|m| m.arenas += lcore.arena_bytes);
    }
    nodes.into_values().collect()
}

/// EAL's own structures, drivers and the ends of its heap: 32 MiB and a sixteenth.
fn with_headroom(bytes: u64) -> u64 {
    bytes + bytes / 16 + (32 << 20)
}

fn shortfall(plan: &Plan, host: &HostFacts, said: &EalArgs) -> Option<Shortfall> {
    if plan.no_huge {
        let granted = said.megabytes.unwrap_or(plan.eal_megabytes());
        if granted < plan.eal_megabytes() {
            return Some(Shortfall {
                what: format!("{} MiB of EAL memory", plan.eal_megabytes()),
                found: format!("the EAL arguments grant {granted} (-m)"),
                remedy: format!("make it -m {}, or leave -m out", plan.eal_megabytes()),
            });
        }
        let needed = (granted << 20) + plan.capture_window_bytes;
        let available = host.available_bytes?;
        return (needed > available).then(|| Shortfall {
            what: format!("{} MiB of memory", needed.div_ceil(1 << 20)),
            found: format!("{} MiB are available", available >> 20),
            remedy: format!("free {} MiB, or {SMALLER}", (needed - available).div_ceil(1 << 20)),
        });
    }
    plan.memory.iter().find_map(|node| hugepage_shortfall(node, host))
}

const SMALLER: &str = "lower book.orders, book.instruments, pools or ring depths in the pipeline file";

fn hugepage_shortfall(node: &NodeMemory, host: &HostFacts) -> Option<Shortfall> {
    let needed = node.hugepage_bytes();
    let here = || host.hugepages.iter().filter(|h| h.node == node.node);
    let free: u64 = here().map(|h| h.free * h.page_bytes).sum();
    if free >= needed {
        return None;
    }
    let page = here().map(|h| h.page_bytes).min().unwrap_or(2 << 20);
    let has = here().find(|h| h.page_bytes == page).map_or(0, |h| h.free);
    let pages = has + (needed - free).div_ceil(page);
    let (n, kb) = (node.node, page >> 10);
    Some(Shortfall {
        what: format!("{} MiB of hugepages on node {n}", needed.div_ceil(1 << 20)),
        found: format!("{} MiB are free there", free >> 20),
        remedy: format!(
            "echo {pages} | sudo tee /sys/devices/system/node/node{n}/hugepages/hugepages-{kb}kB/nr_hugepages (that many \
             beside those in use), or {SMALLER}"
        ),
    })
}

// ---- EAL arguments ------------------------------------------------------------------------------------------------

fn eal_args(
    plan: &Plan,
    placement: &Placement,
    said: &EalArgs,
    host: &HostFacts,
    request: &Request,
    unprivileged: bool,
) -> Vec<String> {
    let mut args = Vec::new();
    if unprivileged {
        args.push("--no-huge".to_owned());
        args.push("--no-pci".to_owned());
        args.push(format!("--file-prefix=tickpath-{}", host.process));
    }
    if plan.no_huge && said.megabytes.is_none() {
        // EAL's own choice without hugepages is 64 MB.
        args.extend(["-m".to_owned(), plan.eal_megabytes().to_string()]);
    }
    if let Some(lcores) = &placement.lcores_arg {
        args.push(format!("--lcores={lcores}"));
        let lowest = plan.lcores.first().is_none_or(|l| placement.main < l.id);
        if !lowest && said.main_lcore.is_none() {
            args.push(format!("--main-lcore={}", placement.main));
        }
    }
    args.extend(request.eal_args.iter().cloned());
    args
}

// ---- what to know before trusting a timing ------------------------------------------------------------------------

fn warnings(plan: &Plan, host: &HostFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.oversubscribed {
        let (lcores, cpus) = (plan.lcores.len() + 1, plan.main_cpus.len());
        let subject = if cpus == 1 { "CPU" } else { "CPUs" };
        warnings.push(format!(
            "oversubscribed: {lcores} lcores float over {cpus} {subject} and yield; timings mean little"
        ));
    }
    let nodes: BTreeSet<u32> = host.cpus.iter().map(|c| c.node).collect();
    if plan.no_huge && nodes.len() > 1 {
        warnings.push("without hugepages memory has no node: on this host of several nodes timings vary".into());
    }
    for lcore in
        plan.lcores.iter().filter(|l| !plan.oversubscribed && plan.main_cpus.iter().any(|c| l.cpus.contains(c)))
    {
        warnings.push(format!("lcore {} shares a CPU with the main lcore", lcore.id));
    }
    for venue in plan.venues.iter().filter(|_| !plan.no_huge) {
        let ends = venue.feed.lines.iter().map(|l| (Stage::Rx, l.port)).chain([(Stage::Tx, venue.orders.port)]);
        for (stage, port) in ends.collect::<BTreeSet<_>>() {
            let port = &plan.ports[port];
            let id = match &port.receiver {
                Some(receiver) if stage == Stage::Rx => receiver.lcore,
                _ => venue.stage(stage).lcore,
            };
            let node = plan.lcore(id).map(|l| l.node);
            if let (Some(port_node), Some(node)) = (port.node, node)
                && port_node != node
            {
                let name = &venue.name;
                warnings.push(format!(
                    "venue {name}: {stage} runs on lcore {id} of node {node}, and port {} is on node {port_node}",
                    port.name
                ));
            }
        }
    }
    for (port, receiver) in plan.ports.iter().filter_map(|port| Some((port, port.receiver.as_ref()?))) {
        let runs = plan.lcore(receiver.lcore).into_iter().flat_map(|lcore| &lcore.segments);
        let decides = |s: &&Segment| (s.first..=s.last).contains(&Stage::Strategy);
        let deciding: Vec<&str> = runs.filter(decides).map(|s| plan.venues[s.venue].name.as_str()).collect();
        if !deciding.is_empty() {
            let unless = if port.steerable { "unless the device steers, " } else { "" };
            warnings.push(format!(
                "port {}: {unless}lcore {} receives for {} venues and decides for {}: packets of all wait meanwhile; set \
                 ports[].receiver.lcore to one without a strategy",
                port.name,
                receiver.lcore,
                receiver.shares.len(),
                deciding.join(", ")
            ));
        }
    }
    for pool in plan.pools.iter().filter(|p| p.mbufs < p.needed) {
        let name = &plan.venues[pool.venue].name;
        let purpose = match pool.purpose {
            PoolPurpose::Feed => "feed",
            PoolPurpose::Orders => "orders",
        };
        warnings.push(format!(
            "venue {name}: pools.{purpose} is {}, and {} can be held at once: allocation may fail (counted)",
            pool.mbufs, pool.needed
        ));
    }
    warnings
}

fn fifo_warnings(file: &PipelineFile, plan: &Plan) -> Vec<String> {
    let wanted: BTreeSet<u32> = file.lcores.iter().filter(|l| l.fifo.is_some()).map(|l| l.lcore.value()).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let lcores = ranges(&Vec::from_iter(wanted));
    if plan.oversubscribed {
        return vec![format!(
            "lcores {lcores}: SCHED_FIFO is left out, as lcores that share CPUs would keep each other from them"
        )];
    }
    let mut warnings = vec![format!(
        "lcores {lcores}: under SCHED_FIFO nothing else runs on their CPUs while they poll, threads of the kernel neither, whose \
         work then waits for ever or until the kernel takes the CPU back (kernel.sched_rt_runtime_us): keep such work away from \
         them (isolcpus, nohz_full, rcu_nocbs)"
    )];
    let taken = |cpu: &u32| plan.lcores.iter().any(|l| l.fifo.is_some() && l.cpus.contains(cpu));
    if plan.record.cpus.iter().all(taken) {
        warnings.push(
            "record.cpus are those of lcores under SCHED_FIFO: the recorder does not run, and records are lost".into(),
        );
    }
    warnings
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

fn as_hex<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

fn as_text<S: Serializer>(symbol: &Symbol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(symbol)
}

fn as_units<S: Serializer>(price: &Price, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(price.0)
}
