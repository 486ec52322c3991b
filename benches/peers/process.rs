//! Other programs, started, timed and read: tickpath itself, and dpdk-testpmd as the peer.

use super::Failure;
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tickpath::sys::affinity::{self, CpuSet};

/// The program beside this bench, built with the same profile.
pub const TICKPATH: &str = env!("CARGO_BIN_EXE_tickpath");

/// Two CPUs of this process: control, and the one that works. The same twice when there is only one.
pub fn cpus() -> [usize; 2] {
    let mut all = allowed().iter().copied();
    let first = all.next().unwrap_or(0);
    [first, all.next().unwrap_or(first)]
}

/// The CPUs that this process began with: EAL leaves the thread that starts it on one of them.
fn allowed() -> &'static CpuSet {
    static ALLOWED: OnceLock<CpuSet> = OnceLock::new();
    ALLOWED.get_or_init(|| affinity::current().unwrap_or_default())
}

/// Do `work`, which starts a process, on all CPUs: a process inherits its parent's.
pub fn on_all_cpus<R>(work: impl FnOnce() -> R) -> R {
    let before = affinity::current();
    let _ = affinity::set(allowed());
    let result = work();
    if let Ok(before) = before {
        let _ = affinity::set(&before);
    }
    result
}

/// EAL arguments that work everywhere.
pub fn no_privilege(megabytes: u32, prefix: &str) -> Vec<String> {
    let megabytes = megabytes.to_string();
    let args = ["--no-huge", "-m", &megabytes, "--no-pci", "--file-prefix", prefix];
    args.map(String::from).to_vec()
}

/// The folder of the shipped pipeline files.
pub fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

/// The facts that figures depend on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let of = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
    };
    let virtual_machine = if info.contains("hypervisor") { ", virtual" } else { "" };
    let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let [control, worker] = cpus();
    format!(
        "machine: {} at {} MHz{virtual_machine}, {} CPUs, L3 {}; Linux {}, transparent hugepages {huge}, load {}; \
         control on CPU {control}, work on CPU {worker}",
        of("model name"),
        of("cpu MHz"),
        std::thread::available_parallelism().map_or(1, usize::from),
        read("/sys/devices/system/cpu/cpu0/cache/index3/size").trim(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

/// The summary of a replay with these arguments, the work on the second CPU.
pub fn replay(folder: &Path, pipeline: &str, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
    let summary = folder.join("summary.json");
    // An absolute path stays as it is.
    let pipeline = pipelines().join(pipeline);
    let [control, worker] = cpus();
    let mut eal = no_privilege(512, &format!("tickpath-bench-{}-replay", std::process::id()));
    eal.extend(["--lcores".into(), format!("0@{control},1@{worker}")]);
    let mut command = Command::new(TICKPATH);
    command.arg("replay").arg(pipeline).args(arguments).arg("--summary").arg(&summary).arg("--").args(eal);
    let output = on_all_cpus(|| command.output()).map_err(|e| Failure::Io(TICKPATH.into(), e))?;
    if !output.status.success() {
        return Err(Failure::Other(format!("the replay failed: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let text = std::fs::read(&summary).map_err(|e| Failure::Io(summary.display().to_string(), e))?;
    serde_json::from_slice(&text).map_err(|e| Failure::Other(format!("the summary is not JSON: {e}")))
}

/// Packets a second that testpmd receives from `capture` in this forwarding mode, for about `seconds`. net_pcap keeps
/// all `packets` of the file in mbufs and hands out copies for ever.
pub fn testpmd(folder: &Path, mode: &str, capture: &Path, packets: u64, seconds: u64) -> Result<f64, Failure> {
    let out: PathBuf = folder.join("testpmd.out");
    let file = || File::create(&out).map_err(|e| Failure::Io(out.display().to_string(), e));
    let [control, worker] = cpus();
    let mbufs = packets + 16_384;
    // Without hugepages testpmd's pool puts one mbuf on each 4 KB page.
    let megabytes = ((mbufs * 4_200) >> 20) as u32 + 128;
    let mut eal = no_privilege(megabytes, &format!("tickpath-bench-{}-testpmd", std::process::id()));
    eal.extend(["--lcores".into(), format!("0@{control},1@{worker}"), "--vdev".into()]);
    // Without a tx file net_pcap drops what is sent to it.
    eal.push(format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()));
    let own = [
        format!("--forward-mode={mode}"),
        format!("--total-num-mbufs={mbufs}"),
        "--auto-start".into(),
        "--stats-period=1".into(),
        "--no-lsc-interrupt".into(),
        "--burst=32".into(),
    ];
    let stdout = file()?;
    let stderr = stdout.try_clone().map_err(|e| Failure::Io("testpmd's output".into(), e))?;
    let mut command = Command::new("dpdk-testpmd");
    command.args(eal).arg("--").args(own).stdin(Stdio::null()).stderr(stderr).stdout(stdout);
    let mut child = on_all_cpus(|| command.spawn())
        .map_err(|e| Failure::Io("dpdk-testpmd (Debian's package dpdk-dev or dpdk)".into(), e))?;
    std::thread::sleep(Duration::from_secs(seconds + 2));
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    let _ = child.wait();
    let text = std::fs::read(&out).map_err(|e| Failure::Io(out.display().to_string(), e))?;
    let text = String::from_utf8_lossy(&text);
    let mut rates: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split("Rx-pps:").nth(1)?.split_whitespace().next()?.parse().ok())
        .filter(|&rate: &f64| rate > 0.0)
        .collect();
    if rates.is_empty() {
        let said: Vec<&str> = text.lines().rev().take(5).collect();
        return Err(Failure::Other(format!("testpmd said nothing of packets: {}", said.join(" | "))));
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// Cycles a ns that this thread gets now, in work that waits for itself: on a machine shared with others far fewer than
/// the label says, and every figure in ns is to be read with it.
pub fn clock() -> f64 {
    const STEPS: u32 = 5_000_000;
    let mut state = black_box(0x9e37_79b9_7f4a_7c15u64);
    let start = Instant::now();
    for _ in 0..STEPS {
        // Six instructions of one cycle, each of which needs the one before.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    6.0 * f64::from(STEPS) / start.elapsed().as_nanos() as f64
}
