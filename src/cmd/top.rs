//! `tickpath top`: a running instance in the terminal, or one page of it as text.

use super::{Failure, print};
use crate::cli::TopArgs;
use crate::sys::signals;
use crate::top::{self, Client};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

static STOP: AtomicBool = AtomicBool::new(false);

/// Show until told to stop; with `--once`, print and end.
pub fn execute(args: TopArgs) -> Result<ExitCode, Failure> {
    let address = &args.address;
    if args.once {
        let asked = Client::new(address).ask();
        let snapshot = asked.map_err(|why| {
            let help = "`tickpath run` and `tickpath replay` serve there while they run, unless told otherwise";
            Failure::failed(format!("nothing to show from {address}: {why}"), help.to_owned())
        })?;
        return print(&top::text(address, snapshot));
    }
    if !std::io::stdout().is_terminal() {
        let help = "`--once` prints one page of plain text";
        return Err(Failure::input("standard output is no terminal", help.to_owned()));
    }
    signals::set_on_stop(&STOP);
    match top::run(address, &STOP) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(err) => Err(Failure::failed(format!("the terminal failed: {err}"), None)),
    }
}
