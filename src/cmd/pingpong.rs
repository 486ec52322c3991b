//! `tickpath pingpong`: half round trips of a bare driver, every payload checked.

use super::{Failure, print};
use crate::cli::{PingpongArgs, PingpongDriver, PingpongRole};
use crate::dpdk::ethdev::{PortConfig, RxConfig};
use crate::dpdk::{DpdkError, Eal, Mempool, Port, RxQueue, TxQueue, lcore};
#[cfg(feature = "ef_vi")]
use crate::dpdk::{Socket, ethdev::Offload};
#[cfg(feature = "ef_vi")]
use crate::efvi;
use crate::latency::clock::Clock;
use crate::pingpong::{Ball, Broken, Rounds, Tally, Way, Wire, ping, pong};
use crate::sys::{ethtool, signals};
use crate::wire::igmp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Frames of each end: both rings full, and some on their way.
const FRAMES: u32 = 2047;
const DESCRIPTORS: u16 = 512;
const DATA_ROOM: u16 = 2048;
/// How long a card may keep counters from its driver, and some.
const COUNTED: Duration = Duration::from_millis(1_200);

#[cfg(feature = "ef_vi")]
const IS_DOUBLE: bool = efvi::IS_DOUBLE;
#[cfg(not(feature = "ef_vi"))]
const IS_DOUBLE: bool = false;

static STOP: AtomicBool = AtomicBool::new(false);

/// Play. Exit code 1 when a frame was lost or damaged.
pub fn execute(args: PingpongArgs) -> Result<ExitCode, Failure> {
    let names = match args.driver {
        PingpongDriver::Ethdev => &args.port,
        PingpongDriver::EfVi => &args.interface,
    };
    if names.is_empty() {
        let help = "ports of DPDK are named by --port, those of ef_vi by --driver ef_vi --interface".to_owned();
        return Err(Failure::input("no port of this driver is named", help));
    }
    if names.len() > 2 || (names.len() == 2 && args.role.is_some()) {
        let help = "name two for both ends in this process, or one with --role".to_owned();
        return Err(Failure::input(format!("{} ports, and a wire has two ends", names.len()), help));
    }
    let eal = Eal::init("tickpath", &args.eal.gather()?)?;
    signals::set_on_stop(&STOP);
    match args.driver {
        PingpongDriver::Ethdev => {
            let ends = names.iter().map(|name| End::open(&eal, name, args.bytes)).collect::<Result<_, _>>()?;
            play(&eal, ends, &args, names)
        }
        PingpongDriver::EfVi => on_efvi(&eal, &args, names),
    }
}

#[cfg(feature = "ef_vi")]
fn on_efvi(eal: &Eal, args: &PingpongArgs, names: &[String]) -> Result<ExitCode, Failure> {
    if efvi::IS_DOUBLE {
        eprintln!("THIS IS THE TEST DOUBLE OF ef_vi: no card, no wire, and no figure of either");
    }
    let ends = names.iter().map(|name| End::open_efvi(eal, name, args)).collect::<Result<_, _>>()?;
    play(eal, ends, args, names)
}

#[cfg(not(feature = "ef_vi"))]
fn on_efvi(_: &Eal, _: &PingpongArgs, _: &[String]) -> Result<ExitCode, Failure> {
    let help = "build it with: cargo build --release --features ef_vi".to_owned();
    Err(Failure::input("this program was built without ef_vi", help))
}

fn play<W: Wire + Send>(
    eal: &Eal,
    mut ends: Vec<End<W>>,
    args: &PingpongArgs,
    names: &[String],
) -> Result<ExitCode, Failure> {
    let other = if ends.len() == 2 { ends.pop() } else { None };
    let end = ends.pop().expect("one port at least was named");
    let driver = end.driver.clone();
    let (role, tally) = match other {
        Some(other) => ("both", both(eal, end, other, args)?),
        None => alone(end, args)?,
    };
    let report = Report::new(args, driver, names, role, &tally);
    print(&match args.json {
        // Plain data with string keys: nothing in it can fail to become JSON.
        true => serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n",
        false => report.to_string(),
    })?;
    Ok(if tally.damaged + tally.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One end of a wire.
struct End<W> {
    wire: W,
    pool: Mempool,
    ball: Ball,
    driver: String,
}

impl End<(RxQueue, TxQueue)> {
    fn open(eal: &Eal, name: &str, payload: usize) -> Result<Self, DpdkError> {
        let port = Port::open(eal, name)?;
        let (mac, driver) = (port.mac(), port.driver());
        let pool = Mempool::frames(eal, &format!("pingpong {}", port.id()), FRAMES, 0, DATA_ROOM, port.socket())?;
        let multicast = [Way::Ping, Way::Pong].map(|way| igmp::mac(*way.group().ip())).to_vec();
        let rx = vec![RxConfig { pool: pool.clone(), descriptors: DESCRIPTORS }];
        let mut started = port.start(&PortConfig { rx, tx: vec![DESCRIPTORS], multicast, ..PortConfig::default() })?;
        let wire = (started.rx.remove(0), started.tx.remove(0));
        Ok(End { wire, pool, ball: Ball { payload, mac }, driver })
    }
}

#[cfg(feature = "ef_vi")]
impl End<(efvi::RxQueue, efvi::TxQueue)> {
    fn open_efvi(eal: &Eal, name: &str, args: &PingpongArgs) -> Result<Self, Failure> {
        let mode = if args.no_ctpio { Offload::Off } else { Offload::IfAvailable };
        let port = efvi::Port::new(name, efvi::Ctpio { mode, threshold: args.ctpio_threshold }, Offload::Off);
        let pool =
            |way: &str| Mempool::frames_in_pages(eal, &format!("pp {name} {way}"), FRAMES, 0, DATA_ROOM, Socket::Any);
        let (out, into) = (pool("out")?, pool("in")?);
        let filters = [Way::Ping, Way::Pong].map(|way| efvi::Filter {
            protocol: efvi::Protocol::Udp,
            local: way.group(),
            peer: None,
            vlan: None,
        });
        let refused = |err: efvi::EfviError| Failure::input(err.to_string(), None);
        let tx = port.transmitter(&out, DESCRIPTORS.into()).map_err(refused)?;
        let rx = port.receiver(&into, DESCRIPTORS.into(), &filters).map_err(refused)?;
        let ball = Ball { payload: args.bytes, mac: tx.info().mac };
        Ok(End { wire: (rx, tx), pool: out, ball, driver: format!("ef_vi {}", efvi::version()) })
    }
}

impl<W: Wire> End<W> {
    fn ping(&mut self, args: &PingpongArgs, passes: u64) -> Result<Tally, Broken> {
        let rounds = Rounds { warmup: args.warmup, count: args.count, passes };
        let before = self.wire.driver();
        let tally = ping(&mut self.wire, &self.pool, self.ball, rounds, Clock::fit().scale(), &STOP)?;
        Ok(self.counted(tally, &before))
    }

    fn pong(&mut self) -> Result<Tally, Broken> {
        let before = self.wire.driver();
        let tally = pong(&mut self.wire, &self.pool, self.ball, &STOP)?;
        Ok(self.counted(tally, &before))
    }

    /// With which way frames left: by our account, and by the driver's.
    fn counted(&mut self, mut tally: Tally, before: &BTreeMap<String, u64>) -> Tally {
        tally.ctpio = self.wire.ctpio();
        if !before.is_empty() {
            thread::sleep(COUNTED);
            tally.driver = ethtool::grown(before, &self.wire.driver());
        }
        tally
    }
}

fn alone<W: Wire>(mut end: End<W>, args: &PingpongArgs) -> Result<(&'static str, Tally), Failure> {
    Ok(match args.role.unwrap_or(PingpongRole::Loop) {
        PingpongRole::Loop => ("loop", end.ping(args, 1)?),
        PingpongRole::Ping => ("ping", end.ping(args, 2)?),
        PingpongRole::Pong => ("pong", end.pong()?),
    })
}

/// Ping here, on the main lcore, and pong on the first other one.
fn both<W: Wire + Send>(eal: &Eal, mut end: End<W>, mut other: End<W>, args: &PingpongArgs) -> Result<Tally, Failure> {
    let Some(worker) = eal.workers().first().copied() else {
        let help = "give EAL a CPU for each end: -l 0-1".to_owned();
        return Err(Failure::input("two ends need two lcores, and EAL has one", help));
    };
    let mut answered = None;
    let played = lcore::scope(eal, |scope| {
        let (answered, other) = (&mut answered, &mut other);
        scope.launch(worker, move || *answered = Some(other.pong()))?;
        let tally = end.ping(args, 2);
        STOP.store(true, Ordering::Relaxed);
        Ok::<_, DpdkError>(tally)
    });
    let tally = played.map_err(|panicked| Failure::failed(panicked.to_string(), None))??;
    // It ran to its end, or the scope had said so.
    let answered = answered.expect("the other end has left its tally")?;
    let mut tally = tally?;
    tally.damaged += answered.damaged;
    tally.foreign += answered.foreign;
    tally.answered = answered.answered;
    for (name, n) in answered.driver {
        *tally.driver.entry(name).or_default() += n;
    }
    tally.ctpio = tally.ctpio.zip(answered.ctpio).map(|(there, back)| (there.0 + back.0, there.1 + back.1));
    Ok(tally)
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    driver: String,
    /// No card, no wire, and no figure of either.
    test_double: bool,
    ports: Vec<String>,
    role: &'static str,
    payload_bytes: usize,
    rounds: u64,
    lost: u64,
    late: u64,
    damaged: u64,
    foreign: u64,
    answered: u64,
    half_round_trip_ns: Option<Figures>,
    ctpio: Option<CtpioFrames>,
    /// What the driver counted of CTPIO meanwhile, by its names: of the whole ports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    driver_counters: BTreeMap<String, u64>,
}

/// How frames left, where the processor writes them to the card itself.
#[derive(Serialize)]
struct CtpioFrames {
    won: u64,
    fallbacks: u64,
}

/// Of all rounds but those of the warm-up.
#[derive(Serialize)]
struct Figures {
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
    mean: f64,
}

impl Report {
    fn new(args: &PingpongArgs, driver: String, names: &[String], role: &'static str, tally: &Tally) -> Report {
        let half = &tally.half_ns;
        Report {
            driver,
            test_double: args.driver == PingpongDriver::EfVi && IS_DOUBLE,
            ports: names.to_vec(),
            role,
            payload_bytes: args.bytes,
            rounds: half.len(),
            lost: tally.lost,
            late: tally.late,
            damaged: tally.damaged,
            foreign: tally.foreign,
            answered: tally.answered,
            half_round_trip_ns: (!half.is_empty()).then(|| Figures {
                min: half.min(),
                p50: half.value_at_quantile(0.5),
                p90: half.value_at_quantile(0.9),
                p99: half.value_at_quantile(0.99),
                p999: half.value_at_quantile(0.999),
                max: half.max(),
                mean: half.mean(),
            }),
            ctpio: tally.ctpio.map(|(won, fallbacks)| CtpioFrames { won, fallbacks }),
            driver_counters: tally.driver.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { driver, ports, role, payload_bytes, rounds, .. } = self;
        writeln!(
            f,
            "{role} on {} ({driver}): {rounds} rounds of {payload_bytes} bytes of payload",
            ports.join(" and ")
        )?;
        if let Some(half) = &self.half_round_trip_ns {
            writeln!(
                f,
                "half round trip, ns: min {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}, mean {:.0}",
                half.min, half.p50, half.p90, half.p99, half.p999, half.max, half.mean
            )?;
        }
        if let Some(CtpioFrames { won, fallbacks }) = &self.ctpio {
            writeln!(f, "{won} frames left by CTPIO, {fallbacks} by its fallback")?;
        }
        let counters = self.driver_counters.iter().filter(|(_, n)| **n > 0);
        let counters: Vec<String> = counters.map(|(name, n)| format!("{name} {n}")).collect();
        if !counters.is_empty() {
            writeln!(f, "by the driver, of the whole ports: {}", counters.join(", "))?;
        }
        if self.test_double {
            writeln!(f, "ON THE TEST DOUBLE: no card, no wire, and no figure of either")?;
        }
        let Report { lost, late, damaged, foreign, answered, .. } = self;
        writeln!(f, "{lost} lost, {late} late, {damaged} damaged, {foreign} of others, {answered} answered")
    }
}

impl From<DpdkError> for Failure {
    fn from(err: DpdkError) -> Failure {
        Failure::input(err.to_string(), None)
    }
}

impl From<Broken> for Failure {
    fn from(err: Broken) -> Failure {
        Failure::failed(err.to_string(), None)
    }
}
