//! Tickpath beside its peers: a table of what each step costs, ours and theirs from interleaved rounds of one run.
//!
//! `benches/run [PART…] [--quick]` builds and runs it; without a part all of them run. Nothing here asserts a time: a
//! target is printed beside the figure. Captures of the real feeds are used when TICKPATH_CAPTURES names their folder.

mod books;
mod decode;
mod driver;
mod gate;
mod path;
mod ports;
mod process;
mod rings;
mod sockets;
mod stream;
mod table;
mod veth;

use std::path::PathBuf;
use std::process::ExitCode;
use tickpath::dpdk::{DpdkError, Eal};

/// A part: its name, what it measures, and how.
struct Part {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Context) -> Result<(), Failure>,
}

const PARTS: [Part; 9] = [
    // First, because EAL leaves the process, and so what it starts, on one CPU.
    Part { name: "path", about: "the whole pipeline on one lcore, beside testpmd", run: path::throughput },
    Part { name: "hops", about: "receive to doorbell of packets that cause orders", run: path::latency },
    Part { name: "cost", about: "what recording every order costs", run: path::cost },
    Part { name: "decode", about: "ITCH 5.0 to fields and to elements, beside the itchy crate", run: decode::run },
    Part { name: "books", about: "decode and book, through the code the stages run", run: books::run },
    Part { name: "gate", about: "what the risk gate costs an order", run: gate::run },
    Part { name: "rings", about: "what a hop between stages costs, beside rtrb", run: rings::run },
    Part { name: "ports", about: "a packet received and freed: captures beside net_pcap", run: ports::run },
    Part {
        name: "veth",
        about: "tick to order over veth, beside kernel sockets, as the exchange sees it; as root",
        run: veth::run,
    },
];

/// What parts share.
pub struct Context {
    /// Fewer rounds, smaller streams.
    pub quick: bool,
    /// Where temporary captures go.
    pub folder: tempfile::TempDir,
    eal: Option<Eal>,
}

/// What can go wrong on the way to a figure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// DPDK refused.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// A file or a process.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// Anything else, in a sentence.
    #[error("{0}")]
    Other(String),
}

impl Context {
    /// EAL, started at first use: it pins the thread, and a process starts it only once.
    pub fn eal(&mut self) -> Result<Eal, Failure> {
        if let Some(eal) = &self.eal {
            return Ok(eal.clone());
        }
        let cpus = process::cpus();
        let mut args = process::no_privilege(1024, &format!("tickpath-bench-{}", std::process::id()));
        args.push("--lcores".into());
        args.push(format!("0@{},1@{}", cpus[0], cpus[1]));
        args.push("--vdev".into());
        let (capture, _) = self.itch_capture()?;
        args.push(format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()));
        let eal = Eal::init("peers", &args)?;
        self.eal = Some(eal.clone());
        Ok(eal)
    }

    /// A capture of realistic ITCH, made once, and the packets in it.
    pub fn itch_capture(&self) -> Result<(PathBuf, u64), Failure> {
        let path = self.folder.path().join("itch.pcap");
        let packets = self.folder.path().join("itch.packets");
        if !path.exists() {
            // Long enough that the opening, which causes most orders, does not outweigh the day.
            let config = tickpath::synth::Config { messages: 600_000, symbols: 500, ..Default::default() };
            let file = std::fs::File::create(&path).map_err(|e| Failure::Io(path.display().to_string(), e))?;
            let summary = tickpath::synth::write_pcap(&config, std::io::BufWriter::new(file))
                .map_err(|e| Failure::Other(e.to_string()))?;
            let _ = std::fs::write(&packets, summary.packets[0].to_string());
        }
        let count = std::fs::read_to_string(&packets).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((path, count))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [sockets::WORD, cpu] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let Err(failure) = sockets::trade(cpu);
        eprintln!("{failure}");
        return ExitCode::FAILURE;
    }
    let quick = arguments.iter().any(|a| a == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|w| !PARTS.iter().any(|p| p.name == w.as_str())) {
        let known: Vec<&str> = PARTS.iter().map(|p| p.name).collect();
        eprintln!("there is no part {unknown:?}; the parts are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(err) => {
            eprintln!("no temporary folder: {err}");
            return ExitCode::FAILURE;
        }
    };
    let mut context = Context { quick, folder, eal: None };
    println!("{}", process::machine());
    let mut failed = false;
    for part in PARTS.iter().filter(|p| wanted.is_empty() || wanted.iter().any(|w| *w == p.name)) {
        table::part(part.name, part.about);
        let before = process::clock();
        if let Err(failure) = (part.run)(&mut context) {
            println!("  {} could not be measured: {failure}", part.name);
            failed = true;
        }
        table::note(&format!(
            "the CPU gave this thread {before:.1} GHz before this part and {:.1} after",
            process::clock()
        ));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
