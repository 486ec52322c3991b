//! `tickpath exchange`: the counterpart to trade against. Its addresses on the first line, its account at the end.

use super::output::{self, Whole};
use super::{Failure, print};
use crate::cli::{CancelAfter, ExchangeArgs};
use crate::exchange::{Config, Credentials, Error, Exchange, OrderHarm, Silence, soup};
use crate::synth;
use crate::sys::signals;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

static STOP: AtomicBool = AtomicBool::new(false);

/// Trade until told to stop or the day is over, then write the files asked for.
pub fn execute(args: ExchangeArgs) -> Result<ExitCode, Failure> {
    let config = config(&args)?;
    let outputs: Vec<PathBuf> =
        [&args.summary, &args.order_states, &args.books].into_iter().flatten().cloned().collect();
    let inputs: Vec<&Path> = args.captures.iter().map(PathBuf::as_path).collect();
    output::check(&inputs, &outputs)?;
    let [summary, order_states, books] =
        [&args.summary, &args.order_states, &args.books].map(|path| path.as_deref().map(Whole::create).transpose());
    let (summary, order_states, books) = (summary?, order_states?, books?);

    signals::set_on_stop(&STOP);
    let exchange = Exchange::bind(config)?;
    let addresses = exchange.addresses().map_err(|err| Failure::failed(err.to_string(), None))?;
    print(&line(&addresses))?;
    let report = exchange.run(&STOP)?;
    if let Some(file) = books {
        file.write(report.books.iter().map(|book| format!("{book}\n")).collect::<String>().as_bytes())?;
    }
    if let Some(file) = order_states {
        file.write(report.orders.iter().map(line).collect::<String>().as_bytes())?;
    }
    if let Some(file) = summary {
        // Plain data with string keys: nothing in it can fail to become JSON.
        let json = serde_json::to_string_pretty(&report.summary).expect("an account is plain data") + "\n";
        file.write(json.as_bytes())?;
    }
    print(&report.summary.to_string())
}

fn config(args: &ExchangeArgs) -> Result<Config, Failure> {
    let market = synth::Config {
        seed: args.seed,
        messages: args.messages,
        symbols: args.symbols,
        mix: args.mix.parse().map_err(|err| Failure::input(format!("--mix: {err}"), None))?,
        live_orders: args.live_orders,
        rate: args.rate,
        messages_per_packet: args.messages_per_packet,
        ..synth::Config::default()
    };
    let CancelAfter(cancel_after) = args.cancel_after;
    let session = soup::field(&args.session).ok_or_else(|| {
        let found = format!("--session: {:?} is no session name", args.session);
        Failure::input(found, "take 1 to 10 letters or digits".to_owned())
    })?;
    Ok(Config {
        market,
        captures: args.captures.clone(),
        speed: args.speed,
        session,
        venue: args.venue.clone(),
        interface: args.interface,
        interface_b: args.interface_b,
        listen: args.listen,
        ttl: args.ttl,
        line_a: args.line_a,
        line_b: (!args.one_line).then_some(args.line_b),
        rerequest_port: args.rerequest_port,
        snapshot_port: args.snapshot_port,
        orders_protocol: args.orders_protocol,
        orders_port: args.orders_port,
        orders_udp_port: args.orders_udp_port,
        orders_udp_loss: args.orders_udp_loss,
        heartbeat: args.heartbeat,
        idle: args.idle,
        cancel_after,
        start: args.start,
        hold: args.hold,
        linger: args.linger,
        max_orders: args.orders,
        line_harm: [args.harm_a.unwrap_or_default(), args.harm_b.unwrap_or_default()],
        silence: args.silent_at.zip(args.silent_for).map(|(at, lasts)| Silence { at, lasts }),
        rerequest_loss: args.rerequest_loss,
        rerequest_lies: args.rerequest_lies.unwrap_or_default(),
        order_harm: OrderHarm {
            reject: args.reject,
            partial_fill: args.partial_fill,
            cross_replace: args.cross_replace,
            ignore_replace: args.ignore_replace,
            ignore_cancel: args.ignore_cancel,
            disconnect_every: args.disconnect_every,
            disconnect_at: args.disconnect_at.clone(),
            garbage_at: args.garbage_at.clone(),
            oversize_at: args.oversize_at.clone(),
        },
        ..Config::new(credentials(args.credentials.as_deref())?)
    })
}

/// User and password, from the file or the environment. What they are is never said.
fn credentials(file: Option<&Path>) -> Result<Credentials, Failure> {
    const HELP: &str = "give --credentials a file with the user on its first line and the password on its second, or set \
                        TICKPATH_EXCHANGE_USER and TICKPATH_EXCHANGE_PASSWORD";
    let [user, password] = match file {
        Some(path) => {
            let unreadable = |err| Failure::input(format!("cannot read {}: {err}", path.display()), HELP.to_owned());
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            let mut lines = text.lines().map(|line| line.trim().to_owned());
            [lines.next(), lines.next()]
        }
        None => ["TICKPATH_EXCHANGE_USER", "TICKPATH_EXCHANGE_PASSWORD"].map(|name| std::env::var(name).ok()),
    };
    let (Some(user), Some(password)) = (user, password) else {
        return Err(Failure::input("no user and password for logins", HELP.to_owned()));
    };
    Credentials::new(&user, &password).ok_or_else(|| {
        let help =
            "take a user of 1 to 8 (over SoupBinTCP: 6) and a password of 1 to 10 printable characters without spaces";
        Failure::input("the user or the password cannot be logged in with", help.to_owned())
    })
}

/// Plain data as one line of JSON.
fn line(data: &impl Serialize) -> String {
    // Strings and numbers always serialise.
    serde_json::to_string(data).expect("plain data") + "\n"
}

impl From<Error> for Failure {
    fn from(err: Error) -> Failure {
        match err {
            Error::Wait(_) => Failure::failed(err.to_string(), None),
            err => Failure::input(err.to_string(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Credentials, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        credentials(Some(file.path()))
    }

    #[test]
    fn credentials_are_two_lines_and_never_part_of_an_error() {
        assert!(with("TRADER\nsecret\n").unwrap() == Credentials::new("TRADER", "secret").unwrap());
        for wrong in ["", "TRADER", "TRADER\n\n", "TRADER\nmuch-too-long\n", "TOOLONGER\nsecret\n", "TRADER\nse cret\n"]
        {
            let failure = with(wrong).err().unwrap();
            assert!(matches!(failure, Failure::Input { .. }));
            let said = format!("{failure} {:?}", failure.help());
            assert!(!said.contains("TOOLONGER") && !said.contains("too-long") && !said.contains("se cret"), "{said}");
        }
    }
}
