//! The command line: which commands there are and what each takes. Plain data; `cmd` does the work.

use crate::control::Command as ControlCommand;
use crate::exchange::{LineHarm, Odds, RerequestLies, Start, harm};
use crate::latency::hop::Hop;
use crate::latency::snapshot::DEFAULT_ADDRESS;
use crate::pingpong::PAYLOAD_BYTES;
use crate::pipeline::file::Listen;
use crate::port::capture::Speed;
use clap::{Args, Parser, Subcommand};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

/// From market data to orders on pinned DPDK lcores.
#[derive(Parser, Debug)]
#[command(name = "tickpath", version = crate::version::LONG, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Replay captures through a pipeline and print what became of every packet
    Replay(ReplayArgs),
    /// Run a pipeline on live ports until SIGINT or SIGTERM
    Run(RunArgs),
    /// Print what a pipeline file means on this host, without starting anything
    Plan(PlanArgs),
    /// Say whether this host is fit for a pipeline, what it is not costs, and how to mend it
    Check(CheckArgs),
    /// Print the JSON Schema of the pipeline file
    Schema(SchemaArgs),
    /// Generate a capture of Nasdaq TotalView-ITCH 5.0 market data from a seed
    Synth(SynthArgs),
    /// Be an exchange to trade against: feed, re-requests, snapshots and order entry on kernel sockets, until SIGINT or SIGTERM
    Exchange(Box<ExchangeArgs>),
    /// Play ping-pong over a wire, check every payload, and print how long half a round trip takes
    Pingpong(PingpongArgs),
    /// Say what traces hold: each hop against its budget, over the run, and the slowest orders
    Report(ReportArgs),
    /// Watch a running instance in the terminal
    Top(TopArgs),
    /// Tell a running pipeline what to do, over its control socket
    Ctl(CtlArgs),
}

/// Arguments for EAL.
#[derive(Args, Clone, Debug, Default)]
pub struct EalOptions {
    /// EAL arguments from a file, one a line, # for comments; may be given again
    #[arg(long = "eal-file", value_name = "FILE")]
    pub eal_files: Vec<PathBuf>,
    /// Arguments handed to EAL as they are, after those of the files
    #[arg(last = true, value_name = "EAL ARGS")]
    pub eal_args: Vec<String>,
}

/// What is recorded and where it goes.
#[derive(Args, Clone, Debug, Default)]
pub struct RecordOptions {
    /// Write every order's record to trace files in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "no_stamps")]
    pub trace: Option<PathBuf>,
    /// Write a journal beside the trace: what every decision depended on, for `replay --journal`
    #[arg(long)]
    pub write_journal: bool,
    /// Serve /metrics and /status here, or nowhere: off
    #[arg(long, value_name = "ADDRESS:PORT|off")]
    pub metrics: Option<Listen>,
    /// Hold the run against these traces while it goes on, and raise an alarm when it is slower; may be given again
    #[arg(long, value_name = "TRACE", conflicts_with = "no_stamps")]
    pub against: Vec<PathBuf>,
    /// Take no time stamps on the path: no records, no hop table
    #[arg(long)]
    pub no_stamps: bool,
    /// Take the stamps of receive and doorbell alone: to measure what the others cost
    #[arg(long, hide = true, conflicts_with_all = ["no_stamps", "trace"])]
    pub end_stamps: bool,
    /// Lose time before the stamp at the end of a hop, such as rx_parsed=2us: for tests of the measurement
    #[arg(long, value_name = "HOP=TIME", value_parser = parse_injected, hide = true)]
    pub inject_delay: Vec<(Hop, u64)>,
    /// Take an lcore's tables from another NUMA node than its CPU's, such as 3=0: for tests of the placement
    #[arg(long, value_name = "LCORE=NODE", value_parser = parse_misplaced, hide = true)]
    pub inject_node: Vec<(u32, u32)>,
    /// Hold the TSC against a clock, too, that is as many ppm fast as this file says: for tests of the watch over the clocks
    #[arg(long, value_name = "FILE", hide = true)]
    pub inject_clock: Option<PathBuf>,
    /// Take the nodes of CPUs, and what checks, watch and fingerprint say of the host, from files under this folder: for tests of them
    #[arg(long, default_value = "/", value_name = "DIR", hide = true)]
    pub host_root: PathBuf,
}

/// `tickpath ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// The socket: "control" in the pipeline file
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,
    /// What to do
    #[arg(value_parser = parse_command, value_name = "status|kill|clear|cancel-all|drain|reload|pause|resume|memory")]
    pub command: ControlCommand,
    /// Only this venue. After reload: let the file hold from the first packet of this sequence or a later one
    #[arg(value_name = "VENUE|SEQUENCE")]
    pub venue: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `tickpath replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    /// Captures (pcap or pcapng, .gz too), in order. FILE goes to every capture port, NAME=FILE,FILE to port NAME
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<String>,
    /// Make the decisions of this journal's run again (a .tpjournal file, or a folder with those of one run): the captures are of
    /// its feed. Each order is held against that run's; exit code 1 when one is not the same
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["speed", "laps", "max_idle", "reloads", "trace", "write_journal", "against"])]
    pub journal: Option<PathBuf>,
    /// With --journal: end behind this order and show what it was decided on
    #[arg(long, value_name = "[VENUE:]ID", value_parser = parse_order, requires = "journal")]
    pub order: Option<(Option<String>, u64)>,
    /// Write the order frames to this capture; with several venues to one each, OUT.<venue>.pcap
    #[arg(long, value_name = "OUT.pcap")]
    pub orders: Option<PathBuf>,
    /// How fast: max, or a multiple of the captured pace such as 1x or 0.5x
    #[arg(long, default_value = "max", value_name = "SPEED")]
    pub speed: Speed,
    /// How often the captures are replayed; each lap is a new session
    #[arg(long = "loop", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub laps: u64,
    /// Write the final books here, one JSON object an instrument and line
    #[arg(long, value_name = "FILE")]
    pub books: Option<PathBuf>,
    /// Write the summary here as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Shorten gaps of a paced replay to this, such as 100ms
    #[arg(long, value_parser = parse_duration_ns, value_name = "DURATION")]
    pub max_idle: Option<u64>,
    /// Change to this pipeline file at the first packet of this sequence or a later one, as `ctl reload` does; may be given again
    #[arg(long = "reload-at", value_parser = parse_reload, value_name = "SEQUENCE=FILE")]
    pub reloads: Vec<(u64, PathBuf)>,
    /// What is recorded.
    #[command(flatten)]
    pub record: RecordOptions,
    /// EAL's arguments.
    #[command(flatten)]
    pub eal: EalOptions,
}

/// `tickpath run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    /// Write the final books here, one JSON object an instrument and line
    #[arg(long, value_name = "FILE")]
    pub books: Option<PathBuf>,
    /// Write the summary here as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// What is recorded.
    #[command(flatten)]
    pub record: RecordOptions,
    /// EAL's arguments.
    #[command(flatten)]
    pub eal: EalOptions,
}

/// `tickpath plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Print what a reload would change, from this file's plan to PIPELINE's
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Plan for `run` or `replay`; unless given, `replay` when a port is a capture
    #[arg(long = "for", value_name = "COMMAND")]
    pub mode: Option<PlanFor>,
    /// EAL's arguments.
    #[command(flatten)]
    pub eal: EalOptions,
}

/// `tickpath check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "The exit code is 0 when there is nothing but information, 1 for a warning, 2 for an error.")]
pub struct CheckArgs {
    /// Pipeline file: judge what it uses. Without one, the host as such
    pub pipeline: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Read /proc, /sys, /dev and /etc under this folder
    #[arg(long, default_value = "/", value_name = "DIR")]
    pub root: PathBuf,
    /// Measure too, on the hot CPUs and one other, for so many seconds: gaps, hops, TSC offsets, memory
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600), conflicts_with = "root")]
    pub effect: Option<u32>,
    /// Say where the memory of this running process lies, in place of the host's fitness. With PIPELINE: by the regions of its
    /// plan, which its control socket tells
    #[arg(long, value_name = "PID", conflicts_with = "effect")]
    pub pid: Option<u32>,
    /// Print no report but a script that sets this host up for PIPELINE until the next boot; it takes --dry-run and --undo
    #[arg(long, requires = "pipeline", conflicts_with_all = ["json", "effect"])]
    pub script: bool,
    /// EAL's arguments.
    #[command(flatten)]
    pub eal: EalOptions,
}

/// The command a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFor {
    /// `tickpath replay`
    Replay,
    /// `tickpath run`
    Run,
}

/// `tickpath schema`.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {}

/// `tickpath report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Trace files (*.tptrace), or folders of them
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// Compare with these traces: the exit code is 0 for the same, 1 for a regression, 2 for cannot tell
    #[arg(long, num_args = 1.., value_name = "BASELINE", conflicts_with_all = ["html", "csv", "parquet"])]
    pub against: Vec<PathBuf>,
    /// How many of the slowest orders of each run are shown
    #[arg(long, default_value_t = 10, value_parser = parse_slowest, value_name = "N")]
    pub slowest: usize,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the report here as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write every record here as a line of CSV; - is standard output, in place of the report
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write every record here as Parquet; needs a program built with the feature parquet
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
}

/// What drives the ports of `tickpath pingpong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PingpongDriver {
    /// DPDK.
    Ethdev,
    /// ef_vi, beside the kernel's driver.
    #[value(name = "ef_vi")]
    EfVi,
}

/// What a port alone is to `tickpath pingpong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PingpongRole {
    /// Its wire leads back to itself, as net_ring's does: a frame crosses it once.
    Loop,
    /// The end that sends first; another program is the other.
    Ping,
    /// The end that answers, until SIGINT or SIGTERM.
    Pong,
}

/// `tickpath pingpong`.
#[derive(Args, Clone, Debug)]
pub struct PingpongArgs {
    /// What drives the ports
    #[arg(long, value_enum, default_value_t = PingpongDriver::Ethdev)]
    pub driver: PingpongDriver,
    /// EAL's name of a port, such as 0000:3b:00.0 or net_ring0; twice for both ends of a wire, ping first
    #[arg(long, value_name = "PORT", required_unless_present = "interface", conflicts_with = "interface")]
    pub port: Vec<String>,
    /// With --driver ef_vi: the kernel's name of an interface; twice for both ends
    #[arg(long, value_name = "INTERFACE")]
    pub interface: Vec<String>,
    /// With --driver ef_vi: let the card fetch frames, and never write them to it (CTPIO)
    #[arg(long, requires = "interface")]
    pub no_ctpio: bool,
    /// With --driver ef_vi: bytes that the card has before it begins to send
    #[arg(long, default_value_t = 64, value_name = "N", requires = "interface")]
    pub ctpio_threshold: u16,
    /// What a port alone is; unless given, a loop
    #[arg(long, value_enum)]
    pub role: Option<PingpongRole>,
    /// Round trips
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub count: u64,
    /// Round trips before those that count
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub warmup: u64,
    /// Bytes of payload behind 42 bytes of headers; both ends take the same
    #[arg(long, default_value_t = 64, value_parser = parse_payload, value_name = "N")]
    pub bytes: usize,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Arguments for EAL
    #[command(flatten)]
    pub eal: EalOptions,
}

/// Protocols that `tickpath synth` speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SynthProtocol {
    /// Nasdaq TotalView-ITCH 5.0 over MoldUDP64.
    Itch50,
    /// IEX DEEP 1.0 over IEX-TP.
    Deep10,
}

/// `tickpath synth`.
#[derive(Args, Clone, Debug)]
pub struct SynthArgs {
    /// Capture to write
    #[arg(value_name = "OUT.pcap")]
    pub out: PathBuf,
    /// What the packets speak: Nasdaq ITCH over MoldUDP64, or the same market as price levels, IEX DEEP over IEX-TP
    #[arg(long, value_enum, default_value_t = SynthProtocol::Itch50)]
    pub protocol: SynthProtocol,
    /// Everything follows from it: the same seed and options give the same bytes on every machine
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// ITCH messages of the whole stream
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: u64,
    /// Symbols
    #[arg(long, default_value_t = 100)]
    pub symbols: u32,
    /// Message types: day, all, or weights such as A=43,D=42,U=9
    #[arg(long, default_value = "day")]
    pub mix: String,
    /// Most orders that stand at one time; unless given, a twentieth of the messages, at most a million
    #[arg(long, value_name = "N")]
    pub live_orders: Option<u32>,
    /// Mean messages a second
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub rate: u64,
    /// Messages in every packet; unless given, few in most and up to a full packet in some
    #[arg(long, value_name = "N")]
    pub messages_per_packet: Option<u16>,
    /// Multicast group and UDP port; unless given, 233.54.12.111:26477 for ITCH and 224.2.3.10:16648 for DEEP
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub group: Option<SocketAddrV4>,
    /// VLAN id
    #[arg(long, default_value_t = 141)]
    pub vlan: u16,
    /// The same packets again on a second line, to 233.49.196.111:26477 or this group and port, on VLAN 142
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "233.49.196.111:26477"
    )]
    pub second_line: Option<SocketAddrV4>,
    /// How far the second line runs behind, in ns
    #[arg(long, default_value_t = 5_000, value_name = "NS", requires = "second_line")]
    pub second_line_delay: u64,
    /// Packets that only the second line loses
    #[arg(long, default_value_t = 0, value_name = "N", requires = "second_line")]
    pub second_line_loss: u32,
    /// Break the session off after this share of the messages and begin another
    #[arg(long, value_name = "SHARE")]
    pub session_change: Option<f64>,
    /// Packets that never arrive
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub gaps: u32,
    /// Packets that arrive twice
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub duplicates: u32,
    /// Packets that arrive after their successor
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub reorder: u32,
    /// Packets that are cut short
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub truncate: u32,
    /// Packets with a wrong IPv4 header checksum
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub bad_ip_checksums: u32,
    /// Packets with a wrong UDP checksum
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub bad_udp_checksums: u32,
    /// Write what was sent, and what harm was done, here as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// `tickpath exchange`.
#[derive(Args, Clone, Debug)]
pub struct ExchangeArgs {
    /// The market and all harm follow from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// ITCH messages of the generated market
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub messages: u64,
    /// Symbols of the generated market
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub symbols: u32,
    /// Message types of the generated market: day, all, or weights such as A=43,D=42,U=9
    #[arg(long, default_value = "day")]
    pub mix: String,
    /// Most generated orders that stand at one time; unless given, a twentieth of the messages, at most a million
    #[arg(long, value_name = "N")]
    pub live_orders: Option<u32>,
    /// Mean messages a second of the generated market
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub rate: u64,
    /// Messages in every packet of the generated market; unless given, few in most and up to a full packet in some
    #[arg(long, value_name = "N")]
    pub messages_per_packet: Option<u16>,
    /// Publish the messages of captures of MoldUDP64 in place of a generated market; may be given again
    #[arg(long = "capture", value_name = "CAPTURE", conflicts_with_all = ["messages", "symbols", "mix", "live_orders", "rate", "messages_per_packet"])]
    pub captures: Vec<PathBuf>,
    /// How fast the market is told: max, or a multiple of its own pace such as 1x or 0.5x
    #[arg(long, default_value = "1x", value_name = "SPEED")]
    pub speed: Speed,

    /// Address that the feed leaves by
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST, value_name = "ADDRESS")]
    pub interface: Ipv4Addr,
    /// Address that line B leaves by, if not the same
    #[arg(long, value_name = "ADDRESS")]
    pub interface_b: Option<Ipv4Addr>,
    /// Address of the re-request and snapshot servers and of order entry, if not the same
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Ipv4Addr>,
    /// Time to live of multicast: routers it may pass, and one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..256), value_name = "N")]
    pub ttl: u32,
    /// Where line A of the feed goes, a group or one host
    #[arg(long, default_value = "233.54.12.111:26477", value_name = "ADDRESS:PORT")]
    pub line_a: SocketAddrV4,
    /// Where line B goes
    #[arg(long, default_value = "233.49.196.111:26477", value_name = "ADDRESS:PORT")]
    pub line_b: SocketAddrV4,
    /// There is no line B
    #[arg(long, conflicts_with_all = ["line_b", "interface_b", "harm_b"])]
    pub one_line: bool,
    /// UDP port of the re-request server; 0 for any, printed at start
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub rerequest_port: u16,
    /// TCP port of the snapshot server; 0 for any
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub snapshot_port: u16,
    /// What order entry speaks
    #[arg(long, value_enum, default_value_t, value_name = "PROTOCOL")]
    pub orders_protocol: crate::exchange::Protocol,
    /// TCP port of order entry; 0 for any
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub orders_port: u16,
    /// UDP port on which the same order packets are taken in datagrams, in a session or without a login: for labs; 0 for any
    #[arg(long, value_name = "PORT")]
    pub orders_udp_port: Option<u16>,
    /// Probability that one of those datagrams is lost, either way
    #[arg(long, default_value = "0", requires = "orders_udp_port", value_name = "P")]
    pub orders_udp_loss: Odds,
    /// Name of the session, of the feed and of the orders
    #[arg(long, default_value = "TICKPATH01", value_name = "NAME")]
    pub session: String,
    /// Venue that the final books are said to be of
    #[arg(long, default_value = "exchange", value_name = "NAME")]
    pub venue: String,
    /// Who may log in: a file with the user on its first line and the password on its second; unless given,
    /// TICKPATH_EXCHANGE_USER and TICKPATH_EXCHANGE_PASSWORD of the environment
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,

    /// Send heartbeats after this time without a packet
    #[arg(long, default_value = "1s", value_parser = harm::duration, value_name = "DURATION")]
    pub heartbeat: Duration,
    /// Close the connection of a client that is silent for this long
    #[arg(long, default_value = "15s", value_parser = harm::duration, value_name = "DURATION")]
    pub idle: Duration,
    /// Cancel the orders of a client this long after it is gone, or never
    #[arg(long, default_value = "0s", value_parser = parse_cancel_after, value_name = "DURATION|never")]
    pub cancel_after: CancelAfter,
    /// Begin the market after this time, or with the first login
    #[arg(long, default_value = "0s", value_parser = parse_start, value_name = "DURATION|login")]
    pub start: Start,
    /// Hold the market open before its close until a client has logged in and out, or is gone for as long as --idle
    #[arg(long)]
    pub hold: bool,
    /// After the market's close, say so for this long and wait this long for a client that broke off
    #[arg(long, default_value = "1s", value_parser = harm::duration, value_name = "DURATION")]
    pub linger: Duration,
    /// End after this many order messages
    #[arg(long, value_name = "N")]
    pub orders: Option<u64>,

    /// Harm to line A by probability: drop=0.01,duplicate=0.01,reorder=0.01,delay=0.01,delay-by=2ms
    #[arg(long, value_name = "LIST")]
    pub harm_a: Option<LineHarm>,
    /// Harm to line B
    #[arg(long, value_name = "LIST")]
    pub harm_b: Option<LineHarm>,
    /// The feed falls silent when this many messages were published
    #[arg(long, requires = "silent_for", value_name = "N")]
    pub silent_at: Option<u64>,
    /// How long it is silent; what is published meanwhile is lost on both lines
    #[arg(long, requires = "silent_at", value_parser = harm::duration, value_name = "DURATION")]
    pub silent_for: Option<Duration>,
    /// Probability that a re-request is not answered
    #[arg(long, default_value = "0", value_name = "P")]
    pub rerequest_loss: Odds,
    /// Lies of the re-request server by probability:
    /// session=0.1,sequence=0.1,count=0.1,beyond=0.1,elsewhere=0.1,truncate=0.1,garbage=0.1
    #[arg(long, value_name = "LIST")]
    pub rerequest_lies: Option<RerequestLies>,
    /// Probability that a new order or a replacement is refused
    #[arg(long, default_value = "0", value_name = "P")]
    pub reject: Odds,
    /// Probability that an order that comes to rest is executed in part at once
    #[arg(long, default_value = "0", value_name = "P")]
    pub partial_fill: Odds,
    /// Probability that an order is executed just before its replacement arrives
    #[arg(long, default_value = "0", value_name = "P")]
    pub cross_replace: Odds,
    /// Probability that a replacement is forgotten without a word
    #[arg(long, default_value = "0", value_name = "P")]
    pub ignore_replace: Odds,
    /// Probability that a cancel is
    #[arg(long, default_value = "0", value_name = "P")]
    pub ignore_cancel: Odds,
    /// Break the order session off after every so many order messages
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub disconnect_every: Option<u64>,
    /// Break it off after these order messages
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub disconnect_at: Vec<u64>,
    /// Send what is no packet on the order session after these order messages
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub garbage_at: Vec<u64>,
    /// Send the header of a packet of 65,535 bytes, and no more, after these order messages
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub oversize_at: Vec<u64>,

    /// Write the account here as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Write every order's final state here, one JSON object an order and line
    #[arg(long, value_name = "FILE")]
    pub order_states: Option<PathBuf>,
    /// Write the final books here, one JSON object an instrument and line
    #[arg(long, value_name = "FILE")]
    pub books: Option<PathBuf>,
}

/// When the orders of a client that is gone are cancelled; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelAfter(pub Option<Duration>);

fn parse_cancel_after(text: &str) -> Result<CancelAfter, String> {
    if text == "never" { Ok(CancelAfter(None)) } else { harm::duration(text).map(|after| CancelAfter(Some(after))) }
}

fn parse_start(text: &str) -> Result<Start, String> {
    if text == "login" { Ok(Start::Login) } else { harm::duration(text).map(Start::After) }
}

/// `tickpath top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Where the instance serves its metrics, HOST:PORT
    #[arg(default_value_t = DEFAULT_ADDRESS.to_string(), value_parser = parse_host_port)]
    pub address: String,
    /// Print one page of plain text and end
    #[arg(long)]
    pub once: bool,
}

fn parse_host_port(text: &str) -> Result<String, String> {
    // What has another character may not be where a URL ends its host.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok() => {
            Ok(text.into())
        }
        _ => Err("expected HOST:PORT, such as 127.0.0.1:9464".into()),
    }
}

/// `4711`, or `nasdaq:4711`.
fn parse_order(text: &str) -> Result<(Option<String>, u64), String> {
    let (venue, id) = text.rsplit_once(':').map_or((None, text), |(venue, id)| (Some(venue.to_owned()), id));
    let id = id.parse().map_err(|_| format!("an order id expected, or VENUE:ID; found {text:?}"))?;
    Ok((venue, id))
}

fn parse_duration_ns(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let parsed = UNITS.iter().find_map(|(unit, ns)| Some(text.strip_suffix(unit)?.trim().parse::<f64>().ok()? * ns));
    match parsed {
        Some(ns) if (0.0..=1e18).contains(&ns) => Ok(ns as u64),
        _ => Err("expected a number and a unit, such as 100ms, 5us or 1s".into()),
    }
}

fn parse_injected(text: &str) -> Result<(Hop, u64), String> {
    let expected = || "expected a hop and a time, such as rx_parsed=2us".to_owned();
    let (hop, time) = text.split_once('=').ok_or_else(expected)?;
    let hop = Hop::SOFTWARE.into_iter().find(|known| known.key() == hop).ok_or_else(expected)?;
    Ok((hop, parse_duration_ns(time)?))
}

fn parse_misplaced(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('=').and_then(|(lcore, node)| Some((lcore.parse().ok()?, node.parse().ok()?)));
    numbers.ok_or_else(|| "expected an lcore and a NUMA node, such as 3=0".to_owned())
}

fn parse_command(text: &str) -> Result<ControlCommand, String> {
    let found = ControlCommand::ALL.into_iter().find(|command| command.name() == text);
    found.ok_or_else(|| {
        let known: Vec<&str> = ControlCommand::ALL.iter().map(|command| command.name()).collect();
        format!("expected {}", known.join(", "))
    })
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let (least, most) = (PAYLOAD_BYTES.start(), PAYLOAD_BYTES.end());
    text.parse().ok().filter(|n| PAYLOAD_BYTES.contains(n)).ok_or_else(|| format!("expected {least} to {most}"))
}

fn parse_reload(text: &str) -> Result<(u64, PathBuf), String> {
    let parsed = text.split_once('=').and_then(|(at, file)| Some((at.parse().ok()?, PathBuf::from(file))));
    parsed.ok_or_else(|| "expected SEQUENCE=FILE, such as 250000=tomorrow.json".to_owned())
}

fn parse_slowest(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n <= 10_000).ok_or_else(|| "expected a number up to 10000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn replay(args: &[&str]) -> Result<ReplayArgs, clap::Error> {
        let line = ["tickpath", "replay", "p.json"].iter().chain(args);
        match Cli::try_parse_from(line)?.command {
            Command::Replay(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_for_eal_untouched() {
        let args = replay(&["a.pcap", "feed=b.pcap,c.pcap", "--loop", "3", "--", "-l", "0-1", "--", "--help"]).unwrap();
        assert_eq!(args.captures, ["a.pcap", "feed=b.pcap,c.pcap"]);
        assert_eq!(args.laps, 3);
        assert_eq!(args.eal.eal_args, ["-l", "0-1", "--", "--help"]);
    }

    #[test]
    fn speeds_and_durations_are_read_as_written() {
        assert_eq!(replay(&["a.pcap"]).unwrap().speed, Speed::Max);
        assert_eq!(replay(&["a.pcap", "--speed", "0.5x"]).unwrap().speed, Speed::Factor(0.5));
        assert!(replay(&["a.pcap", "--speed", "fast"]).is_err());
        let durations = [("100ms", 100_000_000), ("5us", 5_000), ("1.5s", 1_500_000_000), ("7ns", 7)];
        for (text, ns) in durations {
            assert_eq!(parse_duration_ns(text), Ok(ns));
        }
        for wrong in ["", "5", "ms", "-1s", "infs"] {
            assert!(parse_duration_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_are_given_by_hop() {
        let args =
            replay(&["a.pcap", "--inject-delay", "rx_parsed=2us", "--inject-delay", "book_decided=80ns"]).unwrap();
        assert_eq!(args.record.inject_delay, [(Hop::RxParsed, 2000), (Hop::BookDecided, 80)]);
        for wrong in ["rx_doorbell=1us", "2us", "rx_parsed=x2", "rx_parsed=fast"] {
            assert!(replay(&["a.pcap", "--inject-delay", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn top_looks_at_a_host_and_port() {
        let top = |args: &[&str]| match Cli::try_parse_from(["tickpath", "top"].iter().chain(args))?.command {
            Command::Top(args) => Ok::<_, clap::Error>((args.address, args.once)),
            other => panic!("{other:?}"),
        };
        assert_eq!(top(&[]).unwrap(), ("127.0.0.1:9464".into(), false));
        for address in ["10.0.0.1:80", "[::1]:9464", "trader-3.lan:9464"] {
            assert_eq!(top(&[address, "--once"]).unwrap(), (address.into(), true));
        }
        for wrong in ["9464", "host", ":9464", "host:99999", "http://host:1", "a/b:1", "a@b:1"] {
            assert!(top(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_needs_a_capture_and_at_least_one_lap() {
        assert!(replay(&[]).is_err());
        assert!(replay(&["a.pcap", "--loop", "0"]).is_err());
    }
}
