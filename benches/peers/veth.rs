//! Tick to order over veth, as the exchange's end of the wire has it: the pipeline over net_af_packet and net_af_xdp beside
//! a program on kernel sockets that does the same with the same code. Shows what software costs, and nothing of a NIC.

use super::process::{TICKPATH, cpus, on_all_cpus, pipelines};
use super::sockets;
use super::table::{Rounds, Row, note, row};
use super::{Context, Failure};
use pcap_file::pcap::PcapReader;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tickpath::wire::{ethernet, ipv4, moldudp64};

/// Who trades.
#[derive(Clone, Copy)]
enum Trader {
    /// `tickpath run` over this driver.
    Tickpath(&'static str),
    /// The program on kernel sockets.
    Sockets,
}

/// What one run came to, in ns.
struct Times {
    p50: f64,
    p99: f64,
    count: usize,
}

/// One packet a millisecond, so that an order follows from the latest.
const RATE: u64 = 1000;

pub fn run(context: &mut Context) -> Result<(), Failure> {
    let id = Command::new("id").arg("-u").output().map_err(|e| Failure::Io("id".into(), e))?;
    if id.stdout != b"0\n" {
        return Err(Failure::Other("it makes network namespaces, which needs root".into()));
    }
    let (rounds, seconds) = if context.quick { (1, 4) } else { (5, 8) };
    let traders = [Trader::Tickpath("net_af_packet"), Trader::Tickpath("net_af_xdp"), Trader::Sockets];
    let mut times: [Vec<Times>; 3] = Default::default();
    let mut failed: [Option<Failure>; 3] = Default::default();
    for _ in 0..rounds {
        for ((trader, times), failed) in traders.iter().zip(&mut times).zip(&mut failed) {
            match trade(*trader, context.folder.path(), seconds) {
                _ if failed.is_some() => {}
                Ok(round) => times.push(round),
                Err(failure) => *failed = Some(failure),
            }
        }
    }
    let [packet, xdp, sockets] = &times;
    if let [.., Some(failure)] = failed {
        return Err(failure);
    }
    for ((name, ours), failed) in [("net_af_packet", packet), ("net_af_xdp", xdp)].into_iter().zip(&failed) {
        if let Some(failure) = failed {
            note(&format!("{name} could not be measured: {failure}"));
            continue;
        }
        for (figure, of) in [("p50", (|t| t.p50) as fn(&Times) -> f64), ("p99", |t| t.p99)] {
            row(&Row {
                what: &format!("tick to order over {name}, {figure}"),
                unit: "ns",
                ours: Rounds::of(ours.iter().map(of)),
                peer: Some(("kernel sockets", Rounds::of(sockets.iter().map(of)))),
                target: None,
            });
        }
        note(&format!("{} orders, {} of the peer's", orders(ours), orders(sockets)));
    }
    note(
        "a veth has no NIC: what is compared is software, and the kernel's part of it on both ends is in every figure",
    );
    Ok(())
}

fn orders(times: &[Times]) -> usize {
    times.iter().map(|round| round.count).sum()
}

/// Processes and namespaces of one run; they end with it.
struct Lab {
    name: String,
    children: Vec<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for mut child in self.children.drain(..).rev() {
            end(&mut child);
        }
        let _ = veth("down", &self.name);
    }
}

fn trade(trader: Trader, folder: &Path, seconds: u64) -> Result<Times, Failure> {
    let mut lab = Lab { name: format!("tpb{}", std::process::id()), children: Vec::new() };
    veth("up", &lab.name)?;
    let [tick_file, order_file] = ["ticks.pcap", "orders.pcap"].map(|name| folder.join(name));
    for (device, file) in [("x1", &tick_file), ("x3", &order_file)] {
        let mut dump = within(&lab, 'x', "tcpdump");
        dump.args(["-q", "-U", "--time-stamp-precision=nano", "-i", device, "-w"]).arg(file);
        lab.children.push(start(dump)?);
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut exchange = within(&lab, 'x', TICKPATH);
    exchange.args(["exchange", "--seed", "1", "--symbols", "100", "--messages-per-packet", "1", "--start", "login"]);
    exchange.args(["--interface", "10.77.1.1", "--interface-b", "10.77.2.1", "--orders-port", "26400"]);
    exchange.args(["--rate", &RATE.to_string(), "--messages", &(RATE * (seconds + 60)).to_string()]);
    exchange.env("TICKPATH_EXCHANGE_USER", "demo").env("TICKPATH_EXCHANGE_PASSWORD", "demo");
    lab.children.push(start(exchange)?);
    std::thread::sleep(Duration::from_millis(300));
    let command = match trader {
        Trader::Tickpath(driver) => tickpath(&lab, driver, folder)?,
        Trader::Sockets => {
            veth("kernel", &lab.name)?;
            let itself = std::env::current_exe().map_err(|e| Failure::Io("this program".into(), e))?;
            let mut command = within(&lab, 'h', &itself.display().to_string());
            command.args([sockets::WORD, &cpus()[1].to_string()]);
            command
        }
    };
    let log = folder.join("trader.log");
    let mut trader = start_into(command, &log)?;
    std::thread::sleep(Duration::from_secs(seconds + 2));
    let ended = trader.try_wait().ok().flatten();
    end(&mut trader);
    if let Some(status) = ended {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let said: Vec<&str> = text.lines().rev().take(3).collect();
        return Err(Failure::Other(format!("it ended by itself ({status}): {}", said.join(" | "))));
    }
    drop(lab);
    measure(&tick_file, &order_file)
}

/// `tickpath run` on the demo's file, without what the peer does not do: recovery.
fn tickpath(lab: &Lab, driver: &str, folder: &Path) -> Result<Command, Failure> {
    let demo = pipelines().join("demo.json");
    let text = std::fs::read_to_string(&demo).map_err(|e| Failure::Io(demo.display().to_string(), e))?;
    let text = text.replace("net_af_packet", driver);
    let mut file: Value = serde_json::from_str(&text).map_err(|e| Failure::Other(e.to_string()))?;
    let venue = &mut file["venues"][0];
    if let Some(feed) = venue["feed"].as_object_mut() {
        feed.remove("recovery");
    }
    venue["orders"]["session"]["ids"] = json!(folder.join("ids"));
    file["control"] = json!(folder.join("control"));
    let path: PathBuf = folder.join("veth.json");
    std::fs::write(&path, file.to_string()).map_err(|e| Failure::Io(path.display().to_string(), e))?;
    let [control, worker] = cpus();
    let mut command = within(lab, 'h', TICKPATH);
    command.arg("run").arg(&path).args(["--", "--no-huge", "-m", "512", "--no-pci", "--lcores"]);
    command.arg(format!("0@{control},1@{worker}")).arg(format!("--file-prefix={}", lab.name));
    for port in 0..3 {
        command.arg(format!("--vdev={driver}{port},iface=h{}", port + 1));
    }
    command.env("TICKPATH_LOGIN_DEMO", "demo:demo");
    Ok(command)
}

fn within(lab: &Lab, side: char, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("{}-{side}", lab.name), program]);
    command
}

fn veth(what: &str, name: &str) -> Result<(), Failure> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/veth");
    let output = Command::new(script).args([what, name]).output().map_err(|e| Failure::Io(script.into(), e))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::Other(format!("scripts/veth {what}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn start(mut command: Command) -> Result<Child, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    on_all_cpus(|| command.spawn()).map_err(|e| Failure::Io(format!("{:?}", command.get_program()), e))
}

fn start_into(mut command: Command, log: &Path) -> Result<Child, Failure> {
    let file = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = file.map_err(|e| Failure::Io(log.display().to_string(), e))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    on_all_cpus(|| command.spawn()).map_err(|e| Failure::Io(format!("{:?}", command.get_program()), e))
}

/// Ask it to end; `ip netns exec` is the program itself by now.
fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    for _ in 0..50 {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// What happened at the exchange's end.
enum Moment {
    /// A packet of messages left on the first line.
    Tick,
    /// The exchange said something of an order: what follows may be the answer to that.
    Said,
    /// An order arrived.
    Order,
}

/// From each tick to the first order after it, where nothing else may have caused that.
fn measure(ticks: &Path, orders: &Path) -> Result<Times, Failure> {
    let mut moments = Vec::new();
    for file in [ticks, orders] {
        let open = File::open(file).map_err(|e| Failure::Io(file.display().to_string(), e))?;
        let bad = |e: pcap_file::PcapError| Failure::Other(format!("{}: {e}", file.display()));
        let mut reader = PcapReader::new(std::io::BufReader::new(open)).map_err(bad)?;
        // The last record may be cut short.
        while let Some(Ok(packet)) = reader.next_packet() {
            moments.extend(moment(&packet.data).map(|moment| (packet.timestamp.as_nanos() as u64, moment)));
        }
    }
    moments.sort_by_key(|(at, _)| *at);
    let mut times = Vec::new();
    let mut tick = None;
    for (at, moment) in moments {
        match moment {
            Moment::Tick => tick = Some(at),
            Moment::Said => tick = None,
            Moment::Order => times.extend(tick.take().map(|tick| (at - tick) as f64)),
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    match (at(0.5), at(0.99)) {
        (Some(p50), Some(p99)) if times.len() >= 100 => Ok(Times { p50, p99, count: times.len() }),
        _ => Err(Failure::Other(format!("{} orders followed a tick; too few", times.len()))),
    }
}

fn moment(frame: &[u8]) -> Option<Moment> {
    let ip = ipv4::Packet::parse(ethernet::Frame::parse(frame).ok()?.payload()).ok()?;
    let payload = ip.payload();
    if ip.header().protocol() == ipv4::UDP {
        let mold = moldudp64::Packet::parse(payload.get(8..)?).ok()?;
        return (mold.count() > 0).then_some(Moment::Tick);
    }
    // TCP: the data offset is in words of four bytes.
    let data = payload.get(usize::from(payload.get(12)? >> 4) * 4..).filter(|data| data.len() > 3)?;
    match data[2] {
        _ if ip.src().octets() == [10, 77, 1, 1] => Some(Moment::Said),
        b'U' => Some(Moment::Order),
        _ => None,
    }
}
