//! `tickpath synth`: a made-up capture, whole or not at all, and the account of what is in it.

use super::output::{self, Whole, unwritable};
use super::{Failure, print};
use crate::cli::{SynthArgs, SynthProtocol};
use crate::program::Program;
use crate::synth::{Config, Damage, Error, Line, Protocol, SecondLine, write_pcap};
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the capture, then its account.
pub fn execute(args: SynthArgs, _program: &Program) -> Result<ExitCode, Failure> {
    let config = config(&args)?;
    let outputs: Vec<PathBuf> = std::iter::once(&args.out).chain(&args.summary).cloned().collect();
    output::check(&[], &outputs)?;
    let mut capture = Whole::create(&args.out)?;
    let account = args.summary.as_deref().map(Whole::create).transpose()?;
    let written = write_pcap(&config, BufWriter::with_capacity(1 << 20, capture.file()));
    let summary = written.map_err(|err| match err {
        Error::Write(_) => unwritable(&args.out, &err),
        refused => Failure::input(refused.to_string(), None),
    })?;
    capture.complete()?;
    if let Some(file) = account {
        // Numbers under string keys: nothing in it can fail to become JSON.
        file.write(&serde_json::to_vec_pretty(&summary).expect("an account is plain data"))?;
    }
    print(&format!("{summary}wrote            {}\n", args.out.display()))
}

fn config(args: &SynthArgs) -> Result<Config, Failure> {
    let line = |to: std::net::SocketAddrV4, vlan| Line { group: *to.ip(), port: to.port(), vlan };
    let protocol = match args.protocol {
        SynthProtocol::Itch50 => Protocol::Itch50,
        SynthProtocol::Deep10 => Protocol::Deep10,
    };
    let default = Line::of(protocol);
    let group = args.group.unwrap_or(std::net::SocketAddrV4::new(default.group, default.port));
    Ok(Config {
        protocol,
        seed: args.seed,
        messages: args.messages,
        symbols: args.symbols,
        mix: args.mix.parse().map_err(|err| Failure::input(format!("--mix: {err}"), None))?,
        live_orders: args.live_orders,
        rate: args.rate,
        messages_per_packet: args.messages_per_packet,
        line: line(group, args.vlan),
        second_line: args.second_line.map(|to| SecondLine {
            line: line(to, SecondLine::default().line.vlan),
            delay_ns: args.second_line_delay,
            loss: args.second_line_loss,
        }),
        session_change: args.session_change,
        damage: Damage {
            gaps: args.gaps,
            duplicates: args.duplicates,
            reorder: args.reorder,
            truncate: args.truncate,
            bad_ip_checksum: args.bad_ip_checksums,
            bad_udp_checksum: args.bad_udp_checksums,
        },
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn run(args: &str) -> Result<ExitCode, Failure> {
        let cli = Cli::try_parse_from(args.split(' ')).map_err(|err| Failure::input(err.to_string(), None))?;
        let Command::Synth(args) = cli.command else { panic!("{args} is not synth") };
        execute(args, &Program::shipped())
    }

    #[test]
    fn the_capture_and_its_account_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (out, summary) = (folder.path().join("a.pcap"), folder.path().join("a.json"));
        let (out_text, summary_text) = (out.display(), summary.display());
        let options = "--seed 7 --messages 9000 --symbols 3 --gaps 2 --second-line --second-line-loss 1";
        run(&format!("tickpath synth {out_text} {options} --summary {summary_text}")).unwrap();
        let account: serde_json::Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
        assert_eq!(account["seed"], 7);
        assert_eq!(account["injected"].as_array().unwrap().len(), 3);
        assert_eq!(account["messages"]["R"], 3);
        assert!(std::fs::metadata(out).unwrap().len() > 9_000 * 20);
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.pcap");
        let failure = run(&format!("tickpath synth {} --messages 10", out.display())).unwrap_err();
        assert!(matches!(failure, Failure::Input { .. }), "{failure}");
        let failure = run(&format!("tickpath synth {} --mix R=1", out.display())).unwrap_err();
        assert!(failure.to_string().starts_with("--mix: \"R\" is not a message type"), "{failure}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let failure = run("tickpath synth /nonexistent/a.pcap --messages 1000").unwrap_err();
        assert!(failure.to_string().starts_with("cannot write /nonexistent/a.pcap: "), "{failure}");
    }
}
