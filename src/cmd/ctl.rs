//! `tickpath ctl`: a command to a running pipeline.

use super::Failure;
use crate::cli::CtlArgs;
use crate::control::{Answer, Command, ask};
use std::fmt::Write;
use std::process::ExitCode;

/// Send the command and print the answer.
pub fn execute(args: CtlArgs) -> Result<ExitCode, Failure> {
    let command =
        [Some(args.command.name()), args.venue.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let answer = ask(&args.socket, &command).map_err(|err| Failure::input(err.to_string(), None))?;
    if let Some(error) = answer.error {
        return Err(Failure::input(error, None));
    }
    if args.json {
        // Plain data: it always becomes JSON.
        super::print(&(serde_json::to_string_pretty(&answer).expect("an answer is plain data") + "\n"))?;
    } else {
        super::print(&text(args.command, &answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A string takes whatever is written to it.
fn text(command: Command, answer: &Answer) -> String {
    let mut text: String = answer.changes.iter().map(|line| format!("{line}\n")).collect();
    if command == Command::Status && !answer.privileges.is_empty() {
        let _ = writeln!(text, "privileges: {}", answer.privileges);
    }
    for fact in answer.host.iter().filter(|_| command == Command::Status) {
        let _ = writeln!(text, "host: {fact}");
    }
    for venue in answer.venues.iter().filter(|_| command != Command::Memory) {
        let state = match &venue.killed[..] {
            [] if venue.paused => "paused: only cancels leave".to_owned(),
            [] => "trading".to_owned(),
            reasons => format!("KILLED ({}): only cancels leave", reasons.join(", ")),
        };
        let _ = write!(text, "{}: {state}; {} frames, {} orders", venue.name, venue.frames, venue.orders);
        if let Some(session) = venue.session {
            let up = if session.up { "up" } else { "down" };
            let _ = write!(text, "; session {up}, {} orders may stand", session.standing);
            if let Some(trouble) = session.trouble {
                let _ = write!(text, "; {trouble}");
            }
        }
        text.push('\n');
        for (what, n) in venue.counts.iter().filter(|_| command == Command::Status) {
            let _ = writeln!(text, "  {what}: {n}");
        }
    }
    for region in answer.memory.iter().flat_map(|(_, regions)| regions) {
        let bytes: usize = region.spans.iter().map(|span| span.bytes).sum();
        let nodes: Vec<String> = region.nodes.iter().map(u32::to_string).collect();
        let _ = writeln!(
            text,
            "{} {}: {bytes} bytes, wanted on node {}",
            region.kind.name(),
            region.name,
            nodes.join(" or ")
        );
    }
    text
}
