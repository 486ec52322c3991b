//! The pipeline file as it is written: JSON text in, a checked [`PipelineFile`] out, or an error that names the JSON
//! path, what was found, what was expected and the nearest known word.
//!
//! Syntax, types, ranges and everything that one file can contradict in itself are settled here. It never looks at the
//! host (that is `plan`) and knows no strategy by name: those are passed in.

use crate::feed::MAX_LINES;
use crate::market::{Price, Symbol};
use crate::session::{CompId, CompIds, Protocol};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

/// A Tickpath pipeline: ports, lcores and venues. Durations, addresses and sizes say their units in the key's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tickpath pipeline")]
pub struct PipelineFile {
    /// Where an editor finds the schema of this file. Not read by tickpath.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What the file is for, in a sentence; printed by `plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The ports that feeds arrive on and orders leave by.
    pub ports: Vec<PortFile>,
    /// Settings of single lcores. An lcore not listed here spins when it is idle. One that is listed and runs no stage is in reserve: stages
    /// may be moved there while the pipeline runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lcores: Vec<LcoreFile>,
    /// What is recorded of every order, and where it goes. Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: RecordFile,
    /// Path of a Unix-domain socket on which a run takes the commands of `tickpath ctl`. Only its owner may use it.
    /// Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// What a `run` does with its privileges once everything is open.
    /// Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileges: Privileges,
    /// What a run does about the host's faults that are found before it starts. Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub check: HostCheck,
    /// What a run does when memory of the path does not lie where it should once it is launched: on another node, or in
    /// smaller pages. Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: HostCheck,
    /// In which pages the program's own instructions and constants lie.
    #[serde(default, skip_serializing_if = "is_default")]
    pub text: TextPages,
    /// The venues: each is one chain of stages from its feed to its orders.
    pub venues: Vec<VenueFile>,
}

/// What a run does about faults of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum HostCheck {
    /// Do not start while one is an error.
    Strict,
    /// Say them and start.
    #[default]
    Warn,
    /// Do not look.
    Off,
}

/// Pages of the program's instructions and constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TextPages {
    /// Those of its file in the page cache, on whichever node that lies.
    #[default]
    File,
    /// A copy in transparent hugepages, on the lcores' node where they have one in common.
    Huge,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct PortFile {
    /// Name by which the rest of the file, and `NAME=FILE` on the command line, means this port.
    pub name: Name,
    /// What drives it.
    pub driver: Driver,
    /// EAL name of the device (a PCI address such as `0000:3b:00.0`, or a vdev such as `net_null0`). Required with the
    /// driver `ethdev`, refused with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Kernel name of the interface, such as `enp1s0f0`. Required with the driver `ef_vi`, refused with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whether orders leave by CTPIO: the processor writes them to the card. Only with the driver `ef_vi`; `auto` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctpio: Option<Wanted>,
    /// Bytes the card has before it begins to send by CTPIO; 65535: all of a frame. Only with the driver `ef_vi`; 64 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctpio_threshold: Option<CtpioThreshold>,
    /// Whether the card stamps what it receives and transmits. Only with the driver `ef_vi`; `auto` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<Wanted>,
    /// Receive descriptors of each queue. Not with captures; a power of two from 512 to 4096 with `ef_vi`; 1024 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_descriptors: Option<Descriptors>,
    /// Transmit descriptors of each queue. Not with captures; a power of two from 512 to 2048 with `ef_vi`; 1024 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_descriptors: Option<Descriptors>,
    /// Who receives when feeds of several venues arrive on the port. Only with the driver `ethdev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<ReceiverFile>,
    /// Join the groups of the feeds on the port, where the kernel does not own it. Only with the driver `ethdev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub igmp: Option<IgmpFile>,
}

/// How groups are joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct IgmpFile {
    /// Version of IGMP.
    #[serde(default = "version_3")]
    pub version: IgmpVersion,
    /// Our IPv4 address on the feed's network.
    pub address: Interface,
    /// VLAN of the groups; none unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}

/// Who receives for several venues: one lcore, which gives every packet to the venue that listens to its group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ReceiverFile {
    /// Its EAL lcore id. Unless set: that of rx of the first venue on the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lcore: Option<LcoreId>,
    /// Most frames a call to the port.
    pub burst: Burst,
    /// Frames that wait for each venue at most: what comes for it beyond that is dropped and counted.
    pub depth: Depth,
}

/// What drives a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Driver {
    /// A capture file on the feed side, a capture file or a counter on the order side. For replays.
    Capture,
    /// A DPDK device: any PMD or vdev.
    Ethdev,
    /// A Solarflare or AMD card by ef_vi, in programs that were built with it. The kernel keeps the port.
    #[serde(rename = "ef_vi")]
    EfVi,
}

impl Driver {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Driver::Capture => "capture",
            Driver::Ethdev => "ethdev",
            Driver::EfVi => "ef_vi",
        }
    }
}

impl PortFile {
    /// What the host knows it by: EAL's name of the device, or the kernel's of the interface; `None` of a capture.
    pub fn hardware(&self) -> Option<&str> {
        self.device.as_deref().or(self.interface.as_deref())
    }
}

/// How much something of a card is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Wanted {
    /// Not.
    Off,
    /// Where the card has it.
    #[default]
    Auto,
    /// Or do not start.
    Required,
}

/// Settings of one lcore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct LcoreFile {
    /// Its EAL lcore id.
    pub lcore: LcoreId,
    /// What it does when a round of its stages finds no work.
    #[serde(default)]
    pub idle: Idle,
    /// Its thread runs under SCHED_FIFO at this priority: nothing but interrupts and what has a higher one takes its CPU, and nothing of a
    /// lower one gets it while it polls. Unless set: the kernel's usual scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fifo: Option<FifoPriority>,
}

/// What an lcore does when a round of its stages finds no work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Idle {
    /// Poll again at once: the lowest latency, a whole CPU.
    #[default]
    Spin,
    /// Execute PAUSE and poll again: kinder to the other hyperthread.
    Pause,
    /// Give the CPU away with a system call: for hosts with fewer CPUs than lcores.
    Yield,
}

/// The record of every order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RecordFile {
    /// Folder that trace files are written to; none are unless it is set, here or by `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Write a journal beside the trace: what every decision depended on, so that `replay --journal` can make them again.
    #[serde(skip_serializing_if = "is_default")]
    pub journal: bool,
    /// A trace file is followed by the next after so many megabytes (10⁶ bytes).
    pub file_megabytes: FileMegabytes,
    /// And after so many minutes.
    pub file_minutes: FileMinutes,
    /// One packet in so many, of those that cause no order, is recorded too; 0 for none.
    pub sample_every: SampleEvery,
    /// How often histograms, evidence and metrics are renewed, in ms.
    pub interval_ms: IntervalMs,
    /// How often a run makes those checks of the host again that cost little, in s; 0 never.
    pub check_seconds: CheckSeconds,
    /// Records that the ring from each strategy and tx stage to the recorder holds; what does not fit is lost and counted.
    pub ring_depth: Depth,
    /// CPUs of the recorder's thread; unless set, the main lcore's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<Cpu>,
    /// Address and port that serve `/metrics` and `/status`, or `off`. Unless set: `127.0.0.1:9464` for `run`, `off` for
    /// `replay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Listen>,
}

/// What a hop may take, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct AllowanceFile {
    /// Median.
    pub p50_ns: Nanoseconds,
    /// 99th percentile.
    pub p99_ns: Nanoseconds,
}

/// What the hops of a venue's orders may take. Unless set: the reference figures of a well-tuned host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct BudgetFile {
    /// Wire, or the moment a paced replay was due, to the receive burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rx: Option<AllowanceFile>,
    /// Receive burst to parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_parsed: Option<AllowanceFile>,
    /// Parsed to the packet's last event in the book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parsed_book: Option<AllowanceFile>,
    /// Book to decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_decided: Option<AllowanceFile>,
    /// Decision to the finished message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_encoded: Option<AllowanceFile>,
    /// Message to the transmit doorbell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoded_doorbell: Option<AllowanceFile>,
    /// Receive burst to doorbell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_doorbell: Option<AllowanceFile>,
    /// Doorbell to the exchange's first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doorbell_ack: Option<AllowanceFile>,
}

/// One venue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct VenueFile {
    /// Its name, as printed and as part of file names.
    pub name: Name,
    /// The market data it listens to.
    pub feed: FeedFile,
    /// Which instruments are booked and quoted: symbols, or objects with a lot and a tick. `"*"` means every instrument of
    /// the feed; it comes first, and entries after it only change the lot and tick of the symbols they name.
    pub instruments: Vec<InstrumentFile>,
    /// Bounds of the order book's memory. Nothing grows after start.
    #[serde(default)]
    pub book: BookFile,
    /// Who decides.
    pub strategy: StrategyFile,
    /// Where orders go.
    pub orders: OrdersFile,
    /// What an order must keep to before it leaves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub risk: RiskFile,
    /// Which lcore runs which stage. Neighbours on one lcore are fused into calls, others are joined by a ring.
    pub stages: StagesFile,
    /// Rings between stages on different lcores. What is said of a ring counts for nothing while its stages share an lcore.
    #[serde(default)]
    pub rings: RingsFile,
    /// Numbers of mbufs, where the derived ones do not suit.
    #[serde(default)]
    pub pools: PoolsFile,
    /// What the hops of its orders may take. Not part of the plan's hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub budget: BudgetFile,
}

/// The market data of a venue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct FeedFile {
    /// What the feed speaks.
    pub protocol: FeedProtocol,
    /// The lines that carry it: one, or A and B (and more) with the same messages. VLAN tags need no mention.
    pub lines: Vec<LineFile>,
    /// What to do about an IPv4 header checksum that is wrong.
    #[serde(default)]
    pub ip_checksum: ChecksumPolicy,
    /// What to do about a UDP checksum that is wrong. 0 means that the sender computed none, and passes.
    #[serde(default)]
    pub udp_checksum: ChecksumPolicy,
    /// Whether packets to other groups are dropped and counted. With `off` every UDP packet is taken as channel 0 of the
    /// line it arrived on.
    #[serde(default)]
    pub addressing: Check,
    /// Whether gaps and duplicates are found from sequence numbers. With `off` every packet is taken as it comes.
    #[serde(default)]
    pub sequence: Check,
    /// How long a message that is missing on one line may take to come on another, or late on the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub arbitration: ArbitrationFile,
    /// Whom to ask, in a `run`, for messages that no line brought. Without it they are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryFile>,
    /// In a `run`, a feed that has brought nothing on any line for so many ms is silent, and its books are stale until it
    /// speaks again; 0 for never. Unless set: 3000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_after_ms: Option<SilentMs>,
}

/// Whom to ask for messages that no line brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct RecoveryFile {
    /// Our IPv4 address that requests leave from; the kernel's, not a port's of this file.
    pub interface: Interface,
    /// MoldUDP64 re-request servers, as `address:port`, the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Endpoint>,
    /// GLIMPSE server, as `address:port`, for gaps that are too large or that no re-request heals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Endpoint>,
    /// How long an answer may take, in ms.
    #[serde(default = "timeout_of_50_ms")]
    pub timeout_ms: TimeoutMs,
    /// Requests after the first for the same messages, each to the next server, and attempts at a snapshot after the first.
    #[serde(default = "three_retries")]
    pub retries: Retries,
    /// Most messages that are asked for; more are left to the snapshot.
    #[serde(default = "largest_gap_of_50_000")]
    pub largest_gap: LargestGap,
    /// Live packets held meanwhile; when there is no room for more, a snapshot is asked for.
    #[serde(default = "buffer_of_8192")]
    pub buffer_packets: HeldPackets,
    /// Books are stale, and quotes pulled, when messages have been missing for so long, in µs.
    #[serde(default = "stale_after_1000_us")]
    pub stale_after_us: WindowUs,
}

/// How messages of several lines become one sequence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct ArbitrationFile {
    /// Longest wait for missing messages, in µs of arrival; packets beyond them are held so long. 0 takes a gap as it comes.
    /// Unless set: 200 with several lines, 0 with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_us: Option<WindowUs>,
    /// Most packets held; beyond that the wait is over. Unless set: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<HeldPackets>,
}

/// Feed protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FeedProtocol {
    /// Nasdaq TotalView-ITCH 5.0 over MoldUDP64.
    Itch50,
    /// IEX DEEP 1.0 over IEX-TP.
    Deep10,
}

/// One line of a feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct LineFile {
    /// The port it arrives on.
    pub port: Name,
    /// The port's receive queue. The queues in use on a port are numbered from 0 without holes. Venues may share one: on a
    /// device, each group then belongs to one of them.
    #[serde(default)]
    pub queue: Queue,
    /// VLAN id that its packets are tagged with: only the device's flow rules need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// Multicast groups as `address:port`. Group i of every line carries channel i.
    pub groups: Vec<Group>,
}

/// What to do about a wrong checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ChecksumPolicy {
    /// Drop the packet and count it.
    #[default]
    Verify,
    /// Count it and take the packet.
    Count,
    /// Do not look.
    Off,
}

/// Whether something is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Check {
    /// It is.
    #[default]
    Verify,
    /// It is not.
    Off,
}

/// One instrument, or all of them: `"MSFT"`, `{"symbol": "AAPL", "lot": 100, "tick": 0.01}`, `"*"`.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentFile {
    /// Symbol as the feed writes it, without padding; `*` for every instrument.
    pub symbol: SymbolText,
    /// Shares in a round lot; 100 unless set, or what `*` says.
    pub lot: Option<Lot>,
    /// Smallest price step; 0.01 unless set, or what `*` says.
    pub tick: Option<Tick>,
}

/// Bounds of a venue's books.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct BookFile {
    /// Instruments. Unless set: those listed, or 12288 with `"*"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruments: Option<Instruments>,
    /// Live orders, all instruments together. Unless set: 1048576. Refused for a feed of price levels (deep10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<LiveOrders>,
    /// Price levels a side of an instrument that are kept in place behind the 64 ticks at its touch; multiples of 8 fill whole cache
    /// lines. Unless set: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_levels: Option<DepthLevels>,
    /// Deeper price levels, all instruments together. Unless set: 256 an instrument, but at least
    /// 16384 and at most 1048576.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spill_levels: Option<SpillLevels>,
}

/// The strategy of a venue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct StrategyFile {
    /// Its name, as its `Strategy::NAME`.
    pub name: String,
    /// Its parameters; `{}` takes all defaults. The keys belong to the strategy.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
}

/// Where a venue's orders go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct OrdersFile {
    /// What the order session speaks.
    pub protocol: OrderProtocol,
    /// What carries it.
    pub transport: Transport,
    /// The port orders leave by and responses arrive on.
    pub port: Name,
    /// The port's transmit queue. Numbered from 0 without holes, together with the feed lines on the port.
    #[serde(default)]
    pub queue: Queue,
    /// Our end.
    pub source: EndpointFile,
    /// The exchange's end.
    pub destination: DestinationFile,
    /// Who speaks to whom, for the protocol `fix42`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comp_ids: Option<CompIdsFile>,
    /// How the session is kept. Over `tcp` there is one; over `udp`, without this key, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionFile>,
}

impl OrdersFile {
    /// What the session speaks.
    pub fn session_protocol(&self) -> Protocol {
        match (self.protocol, &self.comp_ids) {
            (OrderProtocol::Ouch50, _) => Protocol::Ouch50,
            (OrderProtocol::Boe20, _) => Protocol::Boe20,
            (OrderProtocol::Fix42, ids) => {
                // Checked: FIX has them.
                let [sender, target] = ids.as_ref().map(|ids| [ids.sender.0, ids.target.0]).unwrap_or_default();
                Protocol::Fix42(CompIds { sender, target })
            }
        }
    }
}

/// The two ends as FIX calls them: 1 to 16 printable characters without space or `=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct CompIdsFile {
    /// SenderCompID of what we send.
    pub sender: CompIdText,
    /// TargetCompID: the exchange.
    pub target: CompIdText,
}

/// A session with the exchange. Who logs in is told apart from it: by the file of `credentials`, or by the environment
/// variable TICKPATH_LOGIN_ and the venue's name (in capitals, `_` for `-`), as USER:PASSWORD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct SessionFile {
    /// File that remembers which order ids are used, so that a restart uses none of them again. Written at every start.
    pub ids: String,
    /// File with USER:PASSWORD, or with one on each of two lines, that nobody but its owner may read. Unless set: the
    /// environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Bits of our network's prefix. Without meaning over `udp` and on a port of `ef_vi`, where the kernel's routes hold.
    #[serde(default = "prefix_of_24")]
    pub prefix: PrefixBits,
    /// Where to send what is not for our network; likewise. Unless set: everything is on our network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// After so long without having sent anything, a heartbeat.
    #[serde(default = "a_second")]
    pub heartbeat_ms: IntervalMs,
    /// After so long without having received anything, a new connection.
    #[serde(default = "fifteen_seconds")]
    pub silence_ms: IntervalMs,
    /// Between attempts to connect.
    #[serde(default = "a_second")]
    pub retry_ms: IntervalMs,
    /// Which way an order leaves.
    #[serde(default)]
    pub send: SendWay,
    /// Most orders that may stand at one time.
    #[serde(default = "many_orders")]
    pub open_orders: OpenOrders,
}

/// Which way an order's segment leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SendWay {
    /// Finished from a template, ahead of the TCP stack.
    #[default]
    Ahead,
    /// Made by the TCP stack.
    Stack,
}

/// Order-entry protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OrderProtocol {
    /// Nasdaq OUCH 5.0 in SoupBinTCP packets.
    Ouch50,
    /// Cboe BOE, version 2.
    Boe20,
    /// FIX 4.2.
    Fix42,
}

/// What carries order packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Transport {
    /// One UDP datagram an order packet. Without a session nothing is answered; the one over datagrams is for labs: no
    /// exchange but the simulated one speaks it. In a replay, which has no exchange: as without a session.
    Udp,
    /// A session over TCP, which this program speaks itself. In a replay: as `udp`.
    Tcp,
}

/// One end of the order path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct EndpointFile {
    /// Ethernet address, as `02:00:00:00:00:01`; unicast. On a port of `ef_vi`, unless set: the card's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// IPv4 address and port, as `10.0.0.1:40000`; unicast.
    pub address: Endpoint,
}

/// The exchange's end of the order path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct DestinationFile {
    /// Ethernet address of the exchange, or of the gateway on the way there, as `02:00:00:00:00:01`; unicast. On a port of `ef_vi`,
    /// unless set: what the kernel knows or finds out. On others over TCP it is asked for by ARP instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// IPv4 address and port, as `10.0.1.1:26400`; unicast.
    pub address: Endpoint,
}

/// What an order must keep to before it leaves. A limit that is not set is not checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RiskFile {
    /// Limits of each instrument.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: LimitsFile,
    /// Instruments with limits of their own; what these do not set is as in `limits`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instruments: Vec<InstrumentLimitsFile>,
    /// Symbols that no order may be sent for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restricted: Vec<SymbolText>,
    /// Orders of the venue that may stand at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<Count>,
    /// Worth of all positions and open orders together, long and short alike, in currency units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gross_notional: Option<Count>,
    /// New and replacing orders a second, by the arrival of the packets that cause them. Cancels count and always pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_per_second: Option<OrdersPerSecond>,
    /// How many of them may come at once. Unless set: a hundredth of `orders_per_second`, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<OrdersPerSecond>,
    /// Whether prices must be whole ticks.
    pub tick: Check,
    /// Whether shares must be whole lots.
    pub lot: Check,
    /// Orders of an instrument that may stand or be on their way at a time, replacements included.
    pub slots: Slots,
    /// What trips the venue's kill switch by itself, beside a limit found exceeded and an lcore that panics. Not part of the
    /// plan's hash, and without effect in a replay.
    #[serde(skip_serializing_if = "is_default")]
    pub kill_when: KillWhenFile,
    /// File that keeps the kill switch tripped across a restart: written when it trips; while it is there a run starts
    /// tripped. Not part of the plan's hash, and without effect in a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_file: Option<String>,
}

/// What becomes of capabilities and of system calls that are not needed any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Privileges {
    /// They are given up.
    #[default]
    Drop,
    /// They stay.
    Keep,
}

/// What trips a kill switch by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct KillWhenFile {
    /// The order session, once it was up, has been down for so long, in ms. Unless set: it never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_lost_ms: Option<SilentMs>,
    /// An lcore of the venue has not finished a round of polls for so long, in ms; 0: it never is. Time in which it waits for a
    /// CPU does not count.
    pub lcore_stuck_ms: StuckMs,
    /// Alarms that trip it when they begin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<AlarmKind>,
}

/// An alarm of the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AlarmKind {
    /// A hop is over its budget.
    Budget,
    /// A hop has drifted from the baseline.
    Drift,
    /// Something is wrong with the clock.
    Clock,
    /// Records are lost.
    Recorder,
    /// The feed is silent.
    Feed,
}

impl AlarmKind {
    /// As in [`Alarm::kind`](crate::latency::snapshot::Alarm).
    pub const fn name(self) -> &'static str {
        match self {
            AlarmKind::Budget => "budget",
            AlarmKind::Drift => "drift",
            AlarmKind::Clock => "clock",
            AlarmKind::Recorder => "recorder",
            AlarmKind::Feed => "feed",
        }
    }
}

/// Limits of one instrument.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LimitsFile {
    /// How far a price may lie through the best price of the other side (of its own side where there is none), in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collar_percent: Option<CollarPercent>,
    /// Shares of an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<Count>,
    /// Worth of an order, in currency units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notional: Option<Count>,
    /// Shares held, long or short, once everything that may still trade on one side has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Count>,
    /// Orders that may stand at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<Count>,
    /// For how long the same order (side, price, shares) is refused while one of it stands, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_ms: Option<Milliseconds>,
}

/// An instrument with limits of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct InstrumentLimitsFile {
    /// Its symbol.
    pub symbol: SymbolText,
    /// Its limits.
    pub limits: LimitsFile,
}

/// Which lcore runs which stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct StagesFile {
    /// Takes frames from the feed lines.
    pub rx: BurstStageFile,
    /// Turns frames into market events.
    pub parse: StageFile,
    /// Keeps the books and decides.
    pub strategy: StageFile,
    /// Writes order messages.
    pub encode: StageFile,
    /// Puts order frames on the wire.
    pub tx: BurstStageFile,
}

/// A stage that talks to a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct BurstStageFile {
    /// EAL lcore id that runs it.
    pub lcore: LcoreId,
    /// Most frames a call to the port.
    #[serde(default = "burst_of_32")]
    pub burst: Burst,
}

/// A stage between links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct StageFile {
    /// EAL lcore id that runs it.
    pub lcore: LcoreId,
}

/// The rings of a venue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RingsFile {
    /// Frames from rx to parse: the only link that may lose anything.
    pub rx_parse: LossyRingFile,
    /// Market events from parse to strategy.
    pub parse_strategy: EventRingFile,
    /// Orders from strategy to encode.
    pub strategy_encode: RingFile,
    /// Order frames from encode to tx.
    pub encode_tx: RingFile,
    /// Order events from tx back to strategy.
    pub tx_strategy: RingFile,
}

/// The ring between rx and parse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LossyRingFile {
    /// Frames it holds.
    pub depth: Depth,
    /// What rx does when it is full. A replay always waits.
    pub when_full: WhenFull,
}

/// What rx does when the ring to parse is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WhenFull {
    /// Drop the newest frames and count them; parse sees a gap.
    #[default]
    Drop,
    /// Keep them and stop polling the port; the device's descriptors fill next.
    Wait,
}

/// The ring between parse and strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct EventRingFile {
    /// Elements of 64 bytes it holds. Parse waits when it is full.
    pub depth: Depth,
}

/// Any other ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RingFile {
    /// Elements it holds. The stage before it waits when it is full.
    pub depth: Depth,
}

/// Numbers of mbufs of a venue's pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct PoolsFile {
    /// Mbufs of each pool the feed is received into. Unless set: derived from descriptors, rings, bursts and caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Mbufs>,
    /// Mbufs of the pool that order frames are written to and responses received into. Unless set: derived likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Mbufs>,
}

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Within<const MIN: u32, const MAX: u32>(u32);

/// EAL lcore id; DPDK is built for 128.
pub type LcoreId = Within<0, 127>;
/// Priority under SCHED_FIFO: below the kernel's threaded interrupts, which have 50.
pub type FifoPriority = Within<1, 49>;
/// Most frames of a burst.
pub type Burst = Within<1, 64>;
/// Usable slots of a ring.
pub type Depth = Within<1, 1_048_576>;
/// Queue of a port.
pub type Queue = Within<0, 255>;
/// Descriptors of a queue.
pub type Descriptors = Within<32, 32_768>;
/// Bytes of a frame that a card waits for.
pub type CtpioThreshold = Within<64, 65_535>;
/// Version of IGMP.
pub type IgmpVersion = Within<2, 3>;
/// Id of a VLAN.
pub type VlanId = Within<1, 4094>;
/// Shares in a round lot.
pub type Lot = Within<1, 1_000_000>;
/// Instruments of a venue.
pub type Instruments = Within<1, 65_536>;
/// Live orders of a venue.
pub type LiveOrders = Within<1, 268_435_456>;
/// Levels kept in line a side.
pub type DepthLevels = Within<1, 256>;
/// Levels of the pool of deep levels.
pub type SpillLevels = Within<0, 16_777_216>;
/// Megabytes of a trace file.
pub type FileMegabytes = Within<1, 65_536>;
/// Minutes of a trace file.
pub type FileMinutes = Within<1, 10_080>;
/// One packet in so many; 0 for none.
pub type SampleEvery = Within<0, 1_000_000_000>;
/// How long an answer may take, in ms.
pub type TimeoutMs = Within<1, 10_000>;
/// Requests after the first.
pub type Retries = Within<0, 100>;
/// Messages that one ask may be about.
pub type LargestGap = Within<1, 100_000_000>;
/// How long a feed may be silent, in ms; 0 for ever.
pub type SilentMs = Within<0, 3_600_000>;
/// Milliseconds after which an lcore is stuck.
pub type StuckMs = Within<0, 60_000>;
/// A wait for missing messages, in µs.
pub type WindowUs = Within<0, 1_000_000>;
/// Packets that are held while messages before them are missing.
pub type HeldPackets = Within<1, 65_536>;
/// Length of an interval in ms.
pub type IntervalMs = Within<50, 60_000>;
/// A time in s, up to a day.
pub type CheckSeconds = Within<0, 86_400>;
/// Kernel number of a CPU.
pub type Cpu = Within<0, 8_191>;
/// A time in ns, up to a second.
pub type Nanoseconds = Within<1, 1_000_000_000>;
/// A limit: shares, orders or currency units.
pub type Count = Within<0, { u32::MAX }>;
/// Order messages a second.
pub type OrdersPerSecond = Within<1, 10_000_000>;
/// Orders of an instrument.
pub type Slots = Within<1, 64>;
/// A time in ms, up to an hour.
pub type Milliseconds = Within<1, 3_600_000>;
/// Mbufs of a pool.
pub type Mbufs = Within<1, 4_194_303>;
/// Bits of a network's prefix.
pub type PrefixBits = Within<1, 31>;
/// Orders that may stand at one time.
pub type OpenOrders = Within<1, 1_048_576>;

/// Name of a port or venue: 1 to 24 letters, digits, `-` or `_`, so that it can be part of a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A symbol without padding; `*` stands for every instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SymbolText(pub Symbol);

/// A SenderCompID or TargetCompID: 1 to 16 printable characters without `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompIdText(pub CompId);

/// Price step: a number of currency units that is a whole number of 1/10,000.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Tick(pub Price);

/// Percent: a whole number of 1/100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct CollarPercent(u32);

/// IPv4 multicast address and UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(pub SocketAddrV4);

/// IPv4 unicast address and UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(pub SocketAddrV4);

/// IPv4 address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(pub Ipv4Addr);

/// Where something is served: an address and port, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

/// Unicast Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A strategy as the file's check needs to know it.
#[derive(Clone, Copy)]
pub struct KnownStrategy<'a> {
    /// The name that files use.
    pub name: &'a str,
    /// Says what is wrong with parameters, the path relative to them.
    pub validate: fn(&Value) -> Result<(), FileError>,
}

/// What is wrong with a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is not JSON.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The JSON parser's words.
        message: String,
    },
    /// A word that is not known where it stands: a key, a protocol, a port, a strategy.
    #[error("{at}: unknown {what} `{found}`")]
    Unknown {
        /// JSON path.
        at: String,
        /// What kind of word it was taken for.
        what: &'static str,
        /// The word.
        found: String,
        /// The known words.
        known: Vec<String>,
    },
    /// A value or a combination that cannot be.
    #[error("{at}: {found}")]
    Invalid {
        /// JSON path.
        at: String,
        /// What was found, and why it cannot be.
        found: String,
        /// What to write instead.
        remedy: String,
    },
}

impl FileError {
    /// What to do about it, as a sentence without a full stop; `None` when the error says it all.
    pub fn help(&self) -> Option<String> {
        match self {
            FileError::Syntax { .. } => {
                Some("the pipeline file is plain JSON, without comments or trailing commas".into())
            }
            FileError::Unknown { found, known, .. } => {
                let list = known.join(", ");
                Some(match nearest(found, known) {
                    Some(near) => format!("did you mean `{near}`? known here: {list}"),
                    None if known.is_empty() => "nothing is known here".into(),
                    None => format!("known here: {list}"),
                })
            }
            FileError::Invalid { remedy, .. } if remedy.is_empty() => None,
            FileError::Invalid { remedy, .. } => Some(remedy.clone()),
        }
    }
}

impl FileError {
    /// The same error, its path below `parent`.
    fn under(mut self, parent: &str) -> FileError {
        if let FileError::Unknown { at, .. } | FileError::Invalid { at, .. } = &mut self {
            *at = match at.as_str() {
                "" | "." => parent.to_owned(),
                below if below.starts_with('[') => format!("{parent}{below}"),
                below => format!("{parent}.{below}"),
            };
        }
        self
    }
}

impl PipelineFile {
    /// The file that `text` spells, free of contradictions.
    ///
    /// # Errors
    /// The first thing that is wrong, with its JSON path. Strategies are not known here: see [`check_strategies`](Self::check_strategies).
    pub fn parse(text: &str) -> Result<PipelineFile, FileError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let file: PipelineFile = serde_path_to_error::deserialize(&mut json).map_err(shape_error)?;
        json.end().map_err(|err| syntax_error(&err))?;
        check_ports(&file)?;
        check_venues(&file)?;
        check_queues(&file)?;
        check_groups(&file)?;
        check_lcores(&file)?;
        Ok(file)
    }

    /// Every strategy is one of `known` and takes its parameters.
    ///
    /// # Errors
    /// The first venue whose strategy is unknown or refuses its parameters.
    pub fn check_strategies(&self, known: &[KnownStrategy<'_>]) -> Result<(), FileError> {
        for (v, venue) in self.venues.iter().enumerate() {
            let Some(strategy) = known.iter().find(|k| k.name == venue.strategy.name) else {
                return Err(FileError::Unknown {
                    at: format!("venues[{v}].strategy.name"),
                    what: "strategy",
                    found: venue.strategy.name.clone(),
                    known: known.iter().map(|k| k.name.to_owned()).collect(),
                });
            };
            let at = format!("venues[{v}].strategy.parameters");
            (strategy.validate)(&venue.strategy.parameters).map_err(|err| err.under(&at))?;
        }
        Ok(())
    }
}

/// A strategy's parameters from what the file says.
///
/// # Errors
/// What is wrong with them, the path relative to them.
pub fn parse_parameters<P: de::DeserializeOwned>(parameters: &Value) -> Result<P, FileError> {
    serde_path_to_error::deserialize(parameters).map_err(shape_error)
}

impl InstrumentFile {
    /// Whether this entry stands for every instrument.
    pub fn is_every(&self) -> bool {
        self.symbol.0 == EVERY
    }
}

/// The word of `known` that `found` was probably meant to be.
pub fn nearest<'k>(found: &str, known: &'k [String]) -> Option<&'k str> {
    let lower = found.to_ascii_lowercase();
    let (best, score) = known
        .iter()
        .map(|k| (k, strsim::jaro_winkler(&lower, &k.to_ascii_lowercase())))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    (score >= 0.7).then_some(best.as_str())
}

const EVERY: Symbol = Symbol(*b"*       ");
/// Re-request servers of a venue: more could not be asked while it matters.
const MAX_SERVERS: usize = 8;
/// Channels are counted in a byte on the parse → strategy link.
const MAX_CHANNELS: usize = 256;

fn no_parameters() -> Value {
    Value::Object(serde_json::Map::new())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for RiskFile {
    fn default() -> Self {
        RiskFile {
            limits: LimitsFile::default(),
            instruments: Vec::new(),
            restricted: Vec::new(),
            open_orders: None,
            gross_notional: None,
            orders_per_second: None,
            burst: None,
            tick: Check::Verify,
            lot: Check::Verify,
            slots: Within(8),
            kill_when: KillWhenFile::default(),
            kill_file: None,
        }
    }
}

impl Default for KillWhenFile {
    fn default() -> Self {
        KillWhenFile { session_lost_ms: None, lcore_stuck_ms: Within(1_000), alarms: Vec::new() }
    }
}

fn timeout_of_50_ms() -> TimeoutMs {
    Within(50)
}

fn three_retries() -> Retries {
    Within(3)
}

fn largest_gap_of_50_000() -> LargestGap {
    Within(50_000)
}

fn buffer_of_8192() -> HeldPackets {
    Within(8192)
}

fn stale_after_1000_us() -> WindowUs {
    Within(1000)
}

fn burst_of_32() -> Burst {
    Within(32)
}

fn version_3() -> IgmpVersion {
    Within(3)
}

fn prefix_of_24() -> PrefixBits {
    Within(24)
}

fn a_second() -> IntervalMs {
    Within(1_000)
}

fn fifteen_seconds() -> IntervalMs {
    Within(15_000)
}

fn many_orders() -> OpenOrders {
    Within(65_536)
}

impl Default for RecordFile {
    fn default() -> Self {
        RecordFile {
            trace: None,
            journal: false,
            file_megabytes: Within(256),
            file_minutes: Within(60),
            sample_every: Within(64),
            interval_ms: Within(1000),
            check_seconds: Within(10),
            ring_depth: Within(4096),
            cpus: Vec::new(),
            metrics: None,
        }
    }
}

impl Default for ReceiverFile {
    fn default() -> Self {
        ReceiverFile { lcore: None, burst: burst_of_32(), depth: Within(1024) }
    }
}

impl Default for LossyRingFile {
    fn default() -> Self {
        LossyRingFile { depth: Within(1024), when_full: WhenFull::Drop }
    }
}

impl Default for EventRingFile {
    fn default() -> Self {
        EventRingFile { depth: Within(4096) }
    }
}

impl Default for RingFile {
    fn default() -> Self {
        RingFile { depth: Within(1024) }
    }
}

// ---- contradictions -----------------------------------------------------------------------------------------------

fn check_ports(file: &PipelineFile) -> Result<(), FileError> {
    if file.ports.is_empty() {
        return invalid("ports", "the list is empty", "list the ports that feeds arrive on and orders leave by");
    }
    let mut names = BTreeMap::new();
    let (mut devices, mut interfaces) = (BTreeMap::new(), BTreeMap::new());
    for (i, port) in file.ports.iter().enumerate() {
        unique(&mut names, &port.name, i, "ports", "name")?;
        let of_cards = [port.interface.is_some(), port.ctpio_threshold.is_some()].contains(&true)
            || [port.ctpio, port.timestamps].iter().any(Option::is_some);
        if of_cards && port.driver != Driver::EfVi {
            let found = "only the driver `ef_vi` has an interface, ctpio, ctpio_threshold and timestamps";
            return invalid(format!("ports[{i}]"), found, "remove them, or make the driver `ef_vi`");
        }
        match (port.driver, &port.device) {
            (Driver::Ethdev, None) => {
                let remedy = "add \"device\": the EAL name of the device, such as 0000:3b:00.0 or net_null0";
                return invalid(format!("ports[{i}]"), "the driver `ethdev` needs a device", remedy);
            }
            (Driver::Ethdev, Some(device)) => {
                if device.is_empty() || device.len() > 63 || !device.bytes().all(|b| b.is_ascii_graphic()) {
                    let found = format!("{device:?} is not an EAL device name");
                    return invalid(
                        format!("ports[{i}].device"),
                        found,
                        "write it as EAL prints it, such as 0000:3b:00.0 or net_null0",
                    );
                }
                unique(&mut devices, device, i, "ports", "device")?;
            }
            (Driver::EfVi, _) => {
                check_card(i, port)?;
                if let Some(interface) = &port.interface {
                    unique(&mut interfaces, interface, i, "ports", "interface")?;
                }
            }
            (Driver::Capture, None)
                if port.rx_descriptors.is_none()
                    && port.tx_descriptors.is_none()
                    && port.receiver.is_none()
                    && port.igmp.is_none() => {}
            (Driver::Capture, _) => {
                let remedy =
                    "remove device, rx_descriptors, tx_descriptors, receiver and igmp, or make the driver `ethdev`";
                let found = "a capture has no device, no descriptors, no receiver and no groups to join";
                return invalid(format!("ports[{i}]"), found, remedy);
            }
        }
    }
    Ok(())
}

fn check_card(i: usize, port: &PortFile) -> Result<(), FileError> {
    let Some(interface) = &port.interface else {
        let remedy = "add \"interface\": the kernel's name of it, such as enp1s0f0";
        return invalid(format!("ports[{i}]"), "the driver `ef_vi` needs an interface", remedy);
    };
    if !(1..16).contains(&interface.len()) || !interface.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        let found = format!("{interface:?} is not the name of an interface");
        return invalid(format!("ports[{i}].interface"), found, "write it as `ip link` prints it, such as enp1s0f0");
    }
    if port.device.is_some() || port.receiver.is_some() || port.igmp.is_some() {
        let found =
            "a port of ef_vi has no device, no receiver and no igmp: the card sorts packets, the kernel joins groups";
        return invalid(format!("ports[{i}]"), found, "remove device, receiver and igmp, or make the driver `ethdev`");
    }
    for (key, descriptors, most) in
        [("rx_descriptors", port.rx_descriptors, 4096), ("tx_descriptors", port.tx_descriptors, 2048)]
    {
        let Some(n) = descriptors.map(|n| n.value()) else { continue };
        if !n.is_power_of_two() || !(512..=most).contains(&n) {
            let remedy = format!("the card's rings have a power of two from 512 to {most}");
            return invalid(format!("ports[{i}].{key}"), n.to_string(), remedy);
        }
    }
    Ok(())
}

fn check_venues(file: &PipelineFile) -> Result<(), FileError> {
    if file.venues.is_empty() {
        return invalid("venues", "the list is empty", "describe at least one venue");
    }
    let mut names = BTreeMap::new();
    for (v, venue) in file.venues.iter().enumerate() {
        let at = format!("venues[{v}]");
        unique(&mut names, &venue.name, v, "venues", "name")?;
        check_feed(file, &format!("{at}.feed"), &venue.feed)?;
        check_instruments(&format!("{at}.instruments"), &venue.instruments)?;
        check_book(&format!("{at}.book"), venue)?;
        if !venue.strategy.parameters.is_object() {
            let found = format!("{} is not an object", venue.strategy.parameters);
            return invalid(format!("{at}.strategy.parameters"), found, "write {} for all defaults");
        }
        known_port(file, &format!("{at}.orders.port"), &venue.orders.port)?;
        check_orders(file, &format!("{at}.orders"), &venue.orders)?;
        check_risk(&format!("{at}.risk"), venue)?;
    }
    Ok(())
}

fn check_orders(file: &PipelineFile, at: &str, orders: &OrdersFile) -> Result<(), FileError> {
    let by_card = file.ports.iter().any(|port| port.name == orders.port && port.driver == Driver::EfVi);
    if orders.source.mac.is_none() && !by_card {
        let remedy = "add \"mac\": our Ethernet address on the port, such as 02:00:00:00:00:01";
        return invalid(format!("{at}.source"), "the key `mac` is missing; only the driver `ef_vi` knows it", remedy);
    }
    match (orders.protocol, &orders.comp_ids) {
        (OrderProtocol::Fix42, None) => {
            let remedy =
                "add {\"sender\": …, \"target\": …}: SenderCompID and TargetCompID as the exchange has agreed them";
            return invalid(format!("{at}.comp_ids"), "the protocol `fix42` needs its two ends", remedy);
        }
        (OrderProtocol::Ouch50 | OrderProtocol::Boe20, Some(_)) => {
            let remedy = "remove the key, or make the protocol `fix42`";
            return invalid(format!("{at}.comp_ids"), "only the protocol `fix42` names its ends", remedy);
        }
        _ => {}
    }
    match (orders.transport, orders.destination.mac, &orders.session) {
        (Transport::Udp, None, _) if !by_card => {
            let remedy = "add \"mac\": the exchange's, or the gateway's, such as 02:00:00:00:01:01";
            invalid(format!("{at}.destination"), "the transport `udp` needs the destination's Ethernet address", remedy)
        }
        (Transport::Udp, _, _) => Ok(()),
        (Transport::Tcp, Some(_), _) if !by_card => {
            let remedy = "remove the key: the address is asked for by ARP";
            invalid(format!("{at}.destination.mac"), "the transport `tcp` takes no Ethernet address", remedy)
        }
        (Transport::Tcp, _, None) => {
            let remedy = "add {\"ids\": FILE}, where FILE will remember the order ids that are used";
            invalid(format!("{at}.session"), "the transport `tcp` needs a session", remedy)
        }
        // The kernel's routes hold.
        (Transport::Tcp, _, Some(_)) if by_card => Ok(()),
        (Transport::Tcp, _, Some(session)) => {
            let prefix = session.prefix.value();
            let network = |address: Ipv4Addr| u32::from(address) >> (32 - prefix);
            let here = network(*orders.source.address.0.ip());
            let there = *orders.destination.address.0.ip();
            match session.gateway {
                None if network(there) != here => {
                    let found =
                        format!("{there} is not on our network, a prefix of {prefix} bits, and there is no gateway");
                    invalid(format!("{at}.destination.address"), found, "add session.gateway, or mend session.prefix")
                }
                Some(gateway) if network(gateway) != here => {
                    let found = format!("{gateway} is not on our network, a prefix of {prefix} bits");
                    invalid(format!("{at}.session.gateway"), found, "name a gateway on it, or mend session.prefix")
                }
                _ => Ok(()),
            }
        }
    }
}

fn check_feed(file: &PipelineFile, at: &str, feed: &FeedFile) -> Result<(), FileError> {
    if feed.lines.is_empty() || feed.lines.len() > MAX_LINES {
        let found = format!("{} lines", feed.lines.len());
        return invalid(format!("{at}.lines"), found, format!("list 1 to {MAX_LINES} lines"));
    }
    let channels = feed.lines[0].groups.len();
    let mut taken = BTreeSet::new();
    for (l, line) in feed.lines.iter().enumerate() {
        let at = format!("{at}.lines[{l}]");
        known_port(file, &format!("{at}.port"), &line.port)?;
        if line.groups.is_empty() || line.groups.len() > MAX_CHANNELS {
            let found = format!("{} groups", line.groups.len());
            return invalid(format!("{at}.groups"), found, format!("list 1 to {MAX_CHANNELS} groups, one a channel"));
        }
        if line.groups.len() != channels {
            let found = format!("{} groups, but line 0 has {channels}", line.groups.len());
            return invalid(format!("{at}.groups"), found, "list the same channels in the same order on every line");
        }
        for (g, group) in line.groups.iter().enumerate() {
            if !taken.insert((&line.port, group)) {
                let found = format!("{} is already listed for port `{}`", group.0, line.port);
                return invalid(format!("{at}.groups[{g}]"), found, "a group of a port is one channel of one line");
            }
        }
    }
    match &feed.recovery {
        Some(recovery) => check_recovery(&format!("{at}.recovery"), feed, recovery),
        None => Ok(()),
    }
}

fn check_recovery(at: &str, feed: &FeedFile, recovery: &RecoveryFile) -> Result<(), FileError> {
    if feed.protocol != FeedProtocol::Itch50 {
        return invalid(at, "only itch50 has re-request and snapshot servers", "remove the key");
    }
    if feed.sequence == Check::Off {
        let found = "nothing is missed with \"sequence\": \"off\"";
        return invalid(at, found, "remove the key, or let sequences be verified");
    }
    let channels = feed.lines[0].groups.len();
    if channels != 1 {
        let found = format!("servers know one sequence, and the feed has {channels} channels");
        return invalid(at, found, "remove the key, or make a venue of each channel");
    }
    if recovery.servers.len() > MAX_SERVERS {
        let found = format!("{} servers", recovery.servers.len());
        return invalid(format!("{at}.servers"), found, format!("list at most {MAX_SERVERS}"));
    }
    if recovery.servers.is_empty() && recovery.snapshot.is_none() {
        return invalid(at, "there is no server to ask", "add \"servers\", \"snapshot\" or both");
    }
    Ok(())
}

fn check_instruments(at: &str, instruments: &[InstrumentFile]) -> Result<(), FileError> {
    if instruments.is_empty() {
        return invalid(at, "the list is empty", "list symbols, or \"*\" for every instrument of the feed");
    }
    let mut seen = BTreeSet::new();
    for (i, instrument) in instruments.iter().enumerate() {
        if !seen.insert(instrument.symbol.0) {
            return invalid(format!("{at}[{i}]"), format!("{} is listed twice", instrument.symbol), "list it once");
        }
        if instrument.is_every() && i > 0 {
            let remedy = "put \"*\" first (entries after it change the lot and tick of single symbols), or remove it";
            return invalid(format!("{at}[{i}]"), "\"*\" comes after single symbols", remedy);
        }
    }
    Ok(())
}

fn check_book(at: &str, venue: &VenueFile) -> Result<(), FileError> {
    if venue.feed.protocol == FeedProtocol::Deep10 && venue.book.orders.is_some() {
        let found = "deep10 is a feed of price levels and has no orders to hold";
        return invalid(format!("{at}.orders"), found, "remove the key");
    }
    let listed = venue.instruments.iter().filter(|i| !i.is_every()).count();
    if let Some(room) = venue.book.instruments.filter(|room| (room.value() as usize) < listed) {
        let found = format!("room for {room} instruments, but {listed} are listed");
        return invalid(format!("{at}.instruments"), found, format!("make it at least {listed}, or remove the key"));
    }
    Ok(())
}

fn check_risk(at: &str, venue: &VenueFile) -> Result<(), FileError> {
    let risk = &venue.risk;
    let own =
        risk.instruments.iter().map(|i| i.symbol).enumerate().map(|(i, s)| (format!("instruments[{i}].symbol"), s));
    let restricted = risk.restricted.iter().enumerate().map(|(i, &s)| (format!("restricted[{i}]"), s));
    let every = venue.instruments.iter().any(InstrumentFile::is_every);
    for (key, symbol) in own.chain(restricted) {
        if symbol.0 == EVERY {
            let remedy = "name single symbols; what holds for every instrument is in `limits`";
            return invalid(format!("{at}.{key}"), "\"*\" is no symbol here", remedy);
        }
        if !every && !venue.instruments.iter().any(|listed| listed.symbol == symbol) {
            return Err(FileError::Unknown {
                at: format!("{at}.{key}"),
                what: "symbol",
                found: symbol.to_string(),
                known: venue.instruments.iter().map(|listed| listed.symbol.to_string()).collect(),
            });
        }
    }
    for (i, instrument) in risk.instruments.iter().enumerate() {
        if risk.instruments[..i].iter().any(|other| other.symbol == instrument.symbol) {
            let found = format!("{} is listed twice", instrument.symbol);
            return invalid(format!("{at}.instruments[{i}]"), found, "list it once");
        }
    }
    if risk.burst.is_some() && risk.orders_per_second.is_none() {
        let remedy = "set orders_per_second too, or remove the key";
        return invalid(format!("{at}.burst"), "a burst without orders_per_second limits nothing", remedy);
    }
    if risk.kill_when.session_lost_ms.is_some() && venue.orders.session.is_none() {
        let remedy = "remove the key, or add orders.session";
        return invalid(format!("{at}.kill_when.session_lost_ms"), "orders go without a session", remedy);
    }
    if risk.kill_file.as_deref() == Some("") {
        return invalid(format!("{at}.kill_file"), "an empty path", "name a file in a folder that exists");
    }
    Ok(())
}

/// What arrives on a device goes to one venue, by its group.
fn check_groups(file: &PipelineFile) -> Result<(), FileError> {
    let mut owners: BTreeMap<(&Name, Group), usize> = BTreeMap::new();
    let mut on_port: BTreeMap<&Name, BTreeSet<usize>> = BTreeMap::new();
    let devices: BTreeSet<&Name> = file.ports.iter().filter(|p| p.driver != Driver::Capture).map(|p| &p.name).collect();
    for (v, venue) in file.venues.iter().enumerate() {
        for (l, line) in venue.feed.lines.iter().enumerate().filter(|(_, line)| devices.contains(&line.port)) {
            on_port.entry(&line.port).or_default().insert(v);
            for (g, group) in line.groups.iter().enumerate() {
                let other = *owners.entry((&line.port, *group)).or_insert(v);
                if other != v {
                    let owner = &file.venues[other].name;
                    let found = format!("{} of port `{}` is already a group of venue `{owner}`", group.0, line.port);
                    let at = format!("venues[{v}].feed.lines[{l}].groups[{g}]");
                    return invalid(at, found, "a group of a device belongs to one venue");
                }
            }
        }
    }
    for venues in on_port.values().filter(|venues| venues.len() > 1) {
        if let Some(v) = venues.iter().find(|v| file.venues[**v].feed.addressing == Check::Off) {
            let found = "with `off` nothing tells its packets from those of other venues on the same device";
            return invalid(
                format!("venues[{v}].feed.addressing"),
                found,
                "make it `verify`, or give it a port of its own",
            );
        }
    }
    Ok(())
}

/// Every queue is polled for feeds or by one venue's tx, and a port's queues have no holes: a hole is a queue nobody empties.
fn check_queues(file: &PipelineFile) -> Result<(), FileError> {
    let mut polled: BTreeMap<(&Name, u32), (usize, &'static str)> = BTreeMap::new();
    let mut claims = Vec::new();
    for (v, venue) in file.venues.iter().enumerate() {
        for (l, line) in venue.feed.lines.iter().enumerate() {
            claims.push((&line.port, line.queue.value(), (v, "rx"), format!("venues[{v}].feed.lines[{l}].queue")));
        }
        let orders = &venue.orders;
        claims.push((&orders.port, orders.queue.value(), (v, "tx"), format!("venues[{v}].orders.queue")));
    }
    for (port, queue, who, at) in &claims {
        match polled.entry((*port, *queue)) {
            Entry::Vacant(free) => drop(free.insert(*who)),
            // Lines may share a queue: their groups tell them apart. On a card the queue is the venue's own.
            Entry::Occupied(taken)
                if (taken.get().1, who.1) == ("rx", "rx")
                    && (taken.get().0 == who.0
                        || !file.ports.iter().any(|p| p.name == **port && p.driver == Driver::EfVi)) => {}
            Entry::Occupied(taken) => {
                let (other, stage) = *taken.get();
                let found = format!(
                    "queue {queue} of port `{port}` is already polled by {stage} of venue `{}`",
                    file.venues[other].name
                );
                return invalid(at, found, "give each venue's feed and orders a queue, or a port, of their own");
            }
        }
    }
    for (port, queue, _, at) in &claims {
        if *queue > 0 && !polled.contains_key(&(*port, queue - 1)) {
            let found = format!("queue {queue} of port `{port}` is used and queue {} is not", queue - 1);
            return invalid(at, found, "number the queues of a port from 0 without holes");
        }
    }
    Ok(())
}

fn check_lcores(file: &PipelineFile) -> Result<(), FileError> {
    let mut seen = BTreeMap::new();
    for (i, entry) in file.lcores.iter().enumerate() {
        unique(&mut seen, &entry.lcore, i, "lcores", "lcore")?;
        if entry.fifo.is_some() && entry.idle == Idle::Yield {
            let found = "`yield` gives the CPU to nothing of a lower priority, so under `fifo` to nobody";
            return invalid(format!("lcores[{i}].idle"), found, "spin or pause there, or leave `fifo` out");
        }
    }
    Ok(())
}

fn known_port(file: &PipelineFile, at: &str, name: &Name) -> Result<(), FileError> {
    if file.ports.iter().any(|p| p.name == *name) {
        return Ok(());
    }
    Err(FileError::Unknown {
        at: at.to_owned(),
        what: "port",
        found: name.0.clone(),
        known: file.ports.iter().map(|p| p.name.0.clone()).collect(),
    })
}

fn unique<'a, T: Ord + fmt::Display + ?Sized>(
    seen: &mut BTreeMap<&'a T, usize>,
    value: &'a T,
    index: usize,
    list: &str,
    key: &str,
) -> Result<(), FileError> {
    match seen.insert(value, index) {
        None => Ok(()),
        Some(first) => {
            let found = format!("`{value}` is already the {key} of {list}[{first}]");
            invalid(format!("{list}[{index}].{key}"), found, format!("each {key} appears once"))
        }
    }
}

fn invalid<T>(at: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Result<T, FileError> {
    Err(FileError::Invalid { at: at.into(), found: found.into(), remedy: remedy.into() })
}

impl StagesFile {
    /// Lcores of rx, parse, strategy, encode and tx.
    pub fn lcores(&self) -> [u32; 5] {
        let StagesFile { rx, parse, strategy, encode, tx } = self;
        [rx.lcore, parse.lcore, strategy.lcore, encode.lcore, tx.lcore].map(Within::value)
    }
}

// ---- from the JSON parser's errors to ours ------------------------------------------------------------------------

fn shape_error(err: serde_path_to_error::Error<serde_json::Error>) -> FileError {
    let path = err.path().to_string();
    let err = err.into_inner();
    if !err.is_data() {
        return syntax_error(&err);
    }
    let message = err.to_string();
    // serde_json appends the place; the path says it better.
    let message = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
    for (prefix, what) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some((found, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.split_once('`')) else {
            continue;
        };
        let known = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        return FileError::Unknown { at: path, what, found: found.to_owned(), known };
    }
    let found = match message.strip_prefix("missing field `") {
        Some(key) => format!("the key `{} is missing", key),
        None => message.to_owned(),
    };
    FileError::Invalid { at: path, found, remedy: String::new() }
}

fn syntax_error(err: &serde_json::Error) -> FileError {
    let message = err.to_string();
    let message = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
    FileError::Syntax { line: err.line(), column: err.column(), message: message.to_owned() }
}

// ---- values -------------------------------------------------------------------------------------------------------

impl<const MIN: u32, const MAX: u32> Within<MIN, MAX> {
    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// `value` if it lies in the range.
    pub const fn new(value: u32) -> Option<Self> {
        if value >= MIN && value <= MAX { Some(Within(value)) } else { None }
    }
}

impl<const MAX: u32> Default for Within<0, MAX> {
    fn default() -> Self {
        Within(0)
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Within<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Within<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> Visitor<'_> for Number<MIN, MAX> {
            type Value = Within<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
                let fits = u32::try_from(v).ok().and_then(Within::new);
                fits.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(v), &self))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
                Err(E::invalid_value(de::Unexpected::Signed(v), &self))
            }
        }
        deserializer.deserialize_u64(Number::<MIN, MAX>)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Within<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("from_{MIN}_to_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// Schemas of values that have a JSON type and a rule.
macro_rules! value_schema {
    ($($type:ident: $schema:tt)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

value_schema! {
    Name: { "type": "string", "pattern": r"^[A-Za-z0-9_-]{1,24}$" }
    SymbolText: { "type": "string", "pattern": r"^[!-~]{1,8}$" }
    CompIdText: { "type": "string", "pattern": r"^[!-<>-~]{1,16}$" }
    CollarPercent: { "type": "number", "minimum": 0.01, "maximum": 1000 }
    Tick: { "type": "number", "minimum": 0.0001, "maximum": 1000 }
    Group: { "type": "string", "pattern": r"^\d+\.\d+\.\d+\.\d+:\d+$" }
    Endpoint: { "type": "string", "pattern": r"^\d+\.\d+\.\d+\.\d+:\d+$" }
    Interface: { "type": "string", "pattern": r"^\d+\.\d+\.\d+\.\d+$" }
    Listen: { "type": "string", "pattern": r"^(off|.+:\d+)$" }
    Mac: { "type": "string", "pattern": r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$" }
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fits = (1..=24).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Ok(Name(text));
        }
        Err(format!("{text:?} is not a name: expected 1 to 24 letters, digits, - or _"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for SymbolText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for SymbolText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Symbol::new(&text)
            .map(SymbolText)
            .ok_or_else(|| format!("{text:?} is not a symbol: expected 1 to 8 printable ASCII characters, or *"))
    }
}

impl From<SymbolText> for String {
    fn from(symbol: SymbolText) -> String {
        symbol.to_string()
    }
}

impl TryFrom<String> for CompIdText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=');
        CompId::from(&text).ok().filter(|_| fits).map(CompIdText).ok_or_else(|| {
            format!("{text:?} is not a CompID: expected 1 to 16 printable ASCII characters without space or =")
        })
    }
}

impl From<CompIdText> for String {
    fn from(id: CompIdText) -> String {
        id.0.to_string()
    }
}

impl TryFrom<f64> for Tick {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        let units = (number * 10_000.0).round();
        // A decimal such as 0.0005 has no exact double: allow for its last bits, not for a fifth decimal.
        let whole = (number * 10_000.0 - units).abs() < 1e-6;
        if whole && (1.0..=10_000_000.0).contains(&units) {
            return Ok(Tick(Price(units as i64)));
        }
        Err(format!("{number} is not a tick: expected 0.0001 to 1000, a whole number of 0.0001"))
    }
}

impl CollarPercent {
    /// In 1/100 percent.
    pub const fn basis_points(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for CollarPercent {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        let units = (number * 100.0).round();
        let whole = (number * 100.0 - units).abs() < 1e-6;
        if whole && (1.0..=100_000.0).contains(&units) {
            return Ok(CollarPercent(units as u32));
        }
        Err(format!("{number} is not a collar: expected 0.01 to 1000 percent, a whole number of 0.01"))
    }
}

impl From<CollarPercent> for f64 {
    fn from(percent: CollarPercent) -> f64 {
        f64::from(percent.0) / 100.0
    }
}

impl From<Tick> for f64 {
    fn from(tick: Tick) -> f64 {
        tick.0.0 as f64 / 10_000.0
    }
}

impl TryFrom<String> for Group {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<SocketAddrV4>() {
            Ok(address) if address.ip().is_multicast() && address.port() != 0 => Ok(Group(address)),
            _ => Err(format!("{text:?} is not a multicast group: expected address:port, as in 233.54.12.111:26477")),
        }
    }
}

impl From<Group> for String {
    fn from(group: Group) -> String {
        group.0.to_string()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<SocketAddrV4>() {
            Ok(address) if unicast(address) => Ok(Endpoint(address)),
            _ => Err(format!("{text:?} is not a unicast address:port: expected one such as 10.0.0.1:40000")),
        }
    }
}

fn unicast(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_multicast() && !ip.is_unspecified() && !ip.is_broadcast()
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.0.to_string()
    }
}

impl TryFrom<String> for Interface {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_multicast() && !address.is_unspecified() && !address.is_broadcast() => {
                Ok(Interface(address))
            }
            _ => Err(format!("{text:?} is not an address of ours: expected one such as 10.0.0.1")),
        }
    }
}

impl From<Interface> for String {
    fn from(interface: Interface) -> String {
        interface.0.to_string()
    }
}

impl FromStr for Listen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("off", _) => Ok(Listen::Off),
            (_, Ok(address)) => Ok(Listen::At(address)),
            _ => Err(format!("{text:?} is not an address: expected one such as 127.0.0.1:9464, or off")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        match listen {
            Listen::Off => "off".into(),
            Listen::At(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_mac(&text)
            .map(Mac)
            .ok_or_else(|| format!("{text:?} is not a unicast MAC address: expected one such as 02:00:00:00:00:01"))
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    let group_bit = bytes[0] & 1;
    (parts.next().is_none() && group_bit == 0 && bytes != [0; 6]).then_some(bytes)
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// The object form of an instrument.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct InstrumentObject {
    /// Symbol as the feed writes it, without padding; `*` for every instrument.
    symbol: SymbolText,
    /// Shares in a round lot. Unless set: what `*` says, or 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lot: Option<Lot>,
    /// Smallest price step, in currency units. Unless set: what `*` says, or 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tick: Option<Tick>,
}

impl Serialize for InstrumentFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InstrumentFile { symbol, lot, tick } = *self;
        if lot.is_none() && tick.is_none() {
            return symbol.serialize(serializer);
        }
        InstrumentObject { symbol, lot, tick }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InstrumentFile {
    // Not an untagged enum: that would lose the path and the known keys of a mistake inside the object.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = InstrumentFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a symbol, or an object with symbol, lot and tick")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<InstrumentFile, E> {
                let symbol = SymbolText::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(InstrumentFile { symbol, lot: None, tick: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InstrumentFile, A::Error> {
                let InstrumentObject { symbol, lot, tick } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(InstrumentFile { symbol, lot, tick })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for InstrumentFile {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Instrument".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let symbol = SymbolText::json_schema(generator);
        let object = InstrumentObject::json_schema(generator);
        json_schema!({ "anyOf": [symbol, object] })
    }
}
