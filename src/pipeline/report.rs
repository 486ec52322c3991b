//! What a run did, gathered from the stages once their lcores have returned: the summary as plain data, as JSON and as
//! text a person reads.

use crate::host::placement::Report;
use crate::latency::board::{Account, Count};
use crate::latency::budget::Budget;
use crate::latency::clock::Clock;
use crate::latency::hops::{HopRow, HopTable, ns_of};
use crate::latency::snapshot::RecorderSnapshot;
use crate::market::OrderKind;
use crate::port::Device;
use crate::report::text::count as grouped;
use crate::stages::{Encode, Followed, Ledger, Parse, Receiver, Rx, StrategyStage, Tx};
use crate::strategy::Strategy;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// What one venue did.
#[derive(Clone, Debug, Default)]
pub struct VenueReport {
    /// Its name.
    pub name: String,
    /// Frames received.
    pub packets: u64,
    /// Messages accepted, by type.
    pub messages: BTreeMap<String, u64>,
    /// Sequence state and everything else the feed counted.
    pub feed: BTreeMap<&'static str, u64>,
    /// Orders sent: enter, replace, cancel.
    pub orders: [u64; 3],
    /// What the books and the strategy counted.
    pub strategy: BTreeMap<String, u64>,
    /// What ports and pools counted.
    pub ports: BTreeMap<String, u64>,
    /// What the order session counted.
    pub session: BTreeMap<String, u64>,
    /// Shares held at the end, short negative, by symbol.
    pub positions: BTreeMap<String, i64>,
    /// Conservation, in packet order.
    pub ledger: Vec<Ledger>,
    /// `Packet` elements that parse made and that strategy applied.
    pub elements: [u64; 2],
    /// The hop table.
    pub hops: HopTable,
    /// What the hops may take.
    pub budget: Budget,
    /// TSC of the first burst received; 0 when there was none.
    pub first_tsc: u64,
    /// TSC of the last doorbell; 0 when there was none.
    pub last_tsc: u64,
    /// Things the user should know about the input.
    pub warnings: Vec<String>,
    /// Final books, one JSON line an instrument, in the order of first sight.
    pub books: Vec<String>,
    /// Levels a side wanted in `books`; 0 gathers none.
    pub book_levels: usize,
    /// What came of following a journal, where one was followed.
    pub followed: Option<Followed>,
}

impl VenueReport {
    /// A report to be filled by the venue's segments.
    pub fn new(name: &str, book_levels: usize) -> Self {
        VenueReport { name: name.to_owned(), book_levels, ..Self::default() }
    }

    /// What rx and its ports counted.
    pub fn rx(&mut self, rx: &Rx) {
        self.ledger.push(rx.ledger());
        self.first_tsc = rx.first_tsc();
        self.packets += rx.ledger().incoming;
        let feed = rx.feed();
        for line in 0..feed.lines() {
            let c = feed.counters(line);
            let named = [
                ("bytes", c.bytes),
                ("cut by the capture", c.truncated),
                ("too long for an mbuf", c.too_long),
                ("pool empty", c.pool_empty),
                ("source late", c.source_late),
                ("laps", if c.laps > 1 { c.laps } else { 0 }),
            ];
            for (what, n) in named {
                self.ports.insert(format!("line {line} {what}"), n);
            }
        }
        self.ports.insert("packets paced over 1 us late".to_owned(), feed.lateness().over_1us);
        for device in feed.devices() {
            for (what, n) in losses(&device) {
                self.ports.insert(format!("device {} {what}", device.name()), n);
            }
            self.warnings.extend(losses_told(&device));
        }
        self.warnings.extend(feed.warnings().iter().map(ToString::to_string));
        self.card(rx);
    }

    /// What the card met whose port is this stage's.
    fn card(&mut self, stage: &impl Account) {
        stage.account(&mut |entry, n| {
            if let Count::Figure("card", event) = entry.count {
                self.ports.insert(format!("card {event}"), n);
            }
        });
    }

    /// What parse and its feed counted.
    pub fn parse(&mut self, parse: &Parse<'_>) {
        self.ledger.push(parse.ledger());
        self.elements[0] = parse.feed().packets();
        let counters = parse.feed().counters();
        self.messages = parse.feed().messages();
        self.feed.extend(counters.named());
        self.feed.insert("ip_checksum_wrong_passed", parse.counters().ip_checksum_passed);
        self.feed.insert("udp_checksum_wrong_passed", parse.counters().udp_checksum_passed);
        self.feed.extend(parse.feed().recovery().into_iter().flat_map(|counters| counters.named()));
        let lines = parse.lines();
        for line in (0..lines).filter(|_| lines > 1) {
            let c = parse.feed().line(line);
            let named = [
                ("packets", c.packets),
                ("won", c.won),
                ("lost", c.lost),
                ("lead mean ns", c.lead_ns.checked_div(c.leads).unwrap_or(0)),
                ("lead max ns", c.lead_max_ns),
            ];
            // At most eight.
            let letter = char::from(b'A' + line as u8);
            self.ports.extend(named.map(|(what, n)| (format!("line {letter} {what}"), n)));
        }
    }

    /// What the books and the strategy counted, and the books themselves when wanted.
    pub fn strategy<S: Strategy>(&mut self, stage: &StrategyStage<'_, S>) {
        self.ledger.push(stage.ledger());
        self.elements[1] = stage.packets();
        stage.strategy().counters(&mut |name, n| {
            self.strategy.insert(format!("{} {name}", S::NAME), n);
        });
        stage.books().counters().each(&mut |name, n| {
            self.strategy.insert(format!("book {name}"), n);
        });
        stage.states().counters().each(&mut |name, n| {
            self.strategy.insert(name.to_owned(), n);
        });
        self.strategy.insert("orders refused by collector".to_owned(), stage.refused_by_collector());
        self.strategy.insert("orders the session cannot say".to_owned(), stage.unsayable());
        if let Some((entries, lost)) = stage.journaled().filter(|_| self.followed.is_none()) {
            self.strategy.insert("journal entries".to_owned(), entries);
            if lost > 0 {
                self.warnings.push(format!(
                    "the journal of venue {} ends after {entries} entries: the way to the recorder was full",
                    self.name
                ));
            }
        }
        self.positions = stage.positions();
        if self.book_levels > 0 {
            self.books = stage.book_lines(&self.name, self.book_levels);
        }
    }

    /// What came of following a journal, before the stages report.
    pub fn followed(&mut self, followed: &Followed, packets_applied: u64) {
        self.packets = followed.packets;
        // No parse made them: the journal did.
        self.elements[0] = packets_applied;
        self.warnings.extend(followed.warnings.iter().cloned());
        self.followed = Some(followed.clone());
    }

    /// What encode counted.
    pub fn encode(&mut self, encode: &Encode<'_>) {
        self.ledger.push(encode.ledger());
        self.ports.insert("order pool empty".to_owned(), encode.pool_empty());
    }

    /// What tx counted.
    pub fn tx(&mut self, tx: &Tx) {
        self.ledger.push(tx.ledger());
        self.orders = [OrderKind::Enter, OrderKind::Replace, OrderKind::Cancel].map(|kind| tx.sent(kind));
        self.ports.insert("tx refusals".to_owned(), tx.refusals());
        self.last_tsc = tx.last_tsc;
        self.card(tx);
        let Some(session) = tx.session() else { return };
        let (session, link) = session.counters();
        for (name, n) in session.named().chain(link) {
            self.session.insert(name.replace('_', " "), n);
        }
    }

    /// Put the ledger into packet order: segments report in the order of their lcores.
    pub fn in_packet_order(&mut self) {
        const ORDER: [&str; 5] = ["rx", "parse", "strategy", "encode", "tx"];
        self.ledger.sort_by_key(|l| ORDER.iter().position(|stage| *stage == l.stage));
    }

    /// All order messages.
    pub fn total_orders(&self) -> u64 {
        self.orders.iter().sum()
    }

    /// All messages.
    pub fn total_messages(&self) -> u64 {
        self.messages.values().sum()
    }

    /// Whether every stage's account balances and what one stage passed on is what the next took in.
    pub fn is_conserved(&self) -> bool {
        let at = |stage: &str| self.ledger.iter().find(|l| l.stage == stage);
        let joined = |a: &str, b: &str| match (at(a), at(b)) {
            (Some(a), Some(b)) => a.outgoing == b.incoming,
            _ => true,
        };
        self.ledger.iter().all(Ledger::balances)
            && self.elements[0] == self.elements[1]
            && joined("rx", "parse")
            && joined("strategy", "encode")
            && joined("encode", "tx")
    }
}

/// What a device lost before anybody saw it. One that does not count cannot be asked; what it lost then shows as a gap.
fn losses(device: &Device) -> impl Iterator<Item = (&'static str, u64)> {
    let stats = device.stats().into_iter();
    stats.flat_map(|s| [("missed", s.imissed), ("errors", s.ierrors), ("without mbuf", s.rx_nombuf)])
}

fn losses_told(device: &Device) -> impl Iterator<Item = String> {
    let told = |(what, n)| format!("device {} lost packets before rx: {what} {n}", device.name());
    losses(device).filter(|(_, n)| *n > 0).map(told)
}

/// What one lcore received on a port for several venues.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport {
    /// The port's name.
    pub port: String,
    /// What became of it: what it passed on is what the venues' rx took in or had no room for.
    pub ledger: Ledger,
    /// What the device lost before.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl PortReport {
    /// What a receiver counted.
    pub fn new(receiver: &Receiver) -> PortReport {
        let warnings = receiver.device().iter().flat_map(losses_told).collect();
        PortReport { port: receiver.port().to_owned(), ledger: receiver.ledger(), warnings }
    }
}

/// The summary of a run: `--summary`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Frames received, all venues.
    pub packets: u64,
    /// Messages accepted by type, all venues.
    pub messages: BTreeMap<String, u64>,
    /// Order messages sent, all venues.
    pub orders: Orders,
    /// First receive to last doorbell, in seconds; without stamps, as `wall_seconds`.
    pub seconds: f64,
    /// First poll to the last lcore's return, in seconds.
    pub wall_seconds: f64,
    /// Conservation by venue and stage.
    pub ledger: BTreeMap<String, Vec<Ledger>>,
    /// Ports that one lcore received for several venues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortReport>,
    /// Hop table by venue.
    pub hops: BTreeMap<String, Vec<HopRow>>,
    /// Mean receive burst of the packets that caused orders, by venue: a time without it says little.
    pub mean_burst: BTreeMap<String, f64>,
    /// Shares held at the end, short negative, by venue and symbol; what was filled, so nothing in a replay.
    pub positions: BTreeMap<String, BTreeMap<String, i64>>,
    /// What came of following a journal, by venue.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub journal: BTreeMap<String, Followed>,
    /// Everything else that was counted, by venue.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Arguments as EAL got them.
    pub eal_argv: Vec<String>,
    /// Hash of the plan: equal for equal settings on any host.
    pub plan_hash: String,
    /// The host has fewer CPUs than the plan has lcores: times say nothing.
    pub oversubscribed: bool,
    /// Every ledger balances.
    pub conserved: bool,
    /// A signal ended the run before its captures did.
    pub interrupted: bool,
    /// It was told to stop and had not drained when it had to: what the ledger calls held is lost, and orders may stand.
    pub undrained: bool,
    /// What the user should know about the input.
    pub warnings: Vec<String>,
    /// Frames still out of their pools at exit; must be 0.
    pub mbufs_in_use: u64,
    /// What the recorder took, lost and wrote.
    pub recorder: RecorderSnapshot,
    /// Where the path's memory lay before the first poll, as the kernel told it; absent where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Report>,
    /// TSC rate in Hz, fitted against CLOCK_MONOTONIC_RAW.
    pub tsc_hz: f64,
    /// Error of that fit, in ppm.
    pub tsc_error_ppm: f64,
}

/// Order messages by kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Orders {
    /// New orders.
    pub enter: u64,
    /// Replacements.
    pub replace: u64,
    /// Cancels.
    pub cancel: u64,
}

/// What [`Summary::new`] cannot find in the venues' reports.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Arguments as EAL got them.
    pub eal_argv: Vec<String>,
    /// Hash of the plan.
    pub plan_hash: String,
    /// Fewer CPUs than lcores.
    pub oversubscribed: bool,
    /// A signal ended it before its captures did.
    pub interrupted: bool,
    /// It was told to stop and had not drained when it had to: what the ledger calls held is lost, and orders may stand.
    pub undrained: bool,
    /// Frames still out of their pools.
    pub mbufs_in_use: u64,
    /// Ports that one lcore received for several venues.
    pub ports: Vec<PortReport>,
    /// What else the user should know.
    pub warnings: Vec<String>,
    /// Wall time of the run, used where no stamps were taken.
    pub wall_seconds: f64,
    /// The recorder's account.
    pub recorder: RecorderSnapshot,
    /// Where memory lay before the first poll.
    pub placement: Option<Report>,
}

impl Summary {
    /// Sum up a run.
    pub fn new(venues: &[VenueReport], clock: &Clock, facts: RunFacts) -> Summary {
        let mut messages = BTreeMap::new();
        let mut orders = Orders::default();
        for venue in venues {
            for (kind, n) in &venue.messages {
                *messages.entry(kind.clone()).or_default() += n;
            }
            orders.enter += venue.orders[0];
            orders.replace += venue.orders[1];
            orders.cancel += venue.orders[2];
        }
        let by_venue = |counters: &VenueReport| {
            let feed = counters.feed.iter().map(|(k, n)| (format!("feed {k}"), *n));
            let rest =
                counters.strategy.iter().chain(&counters.session).chain(&counters.ports).map(|(k, n)| (k.clone(), *n));
            feed.chain(rest).collect()
        };
        let first = venues.iter().map(|v| v.first_tsc).filter(|&t| t != 0).min();
        let last = venues.iter().map(|v| v.last_tsc).max().unwrap_or(0);
        let seconds = match first {
            Some(first) if last > first => ns_of(clock, last - first) / 1e9,
            _ => facts.wall_seconds,
        };
        Summary {
            packets: venues.iter().map(|v| v.packets).sum(),
            messages,
            orders,
            seconds,
            wall_seconds: facts.wall_seconds,
            ledger: venues.iter().map(|v| (v.name.clone(), v.ledger.clone())).collect(),
            hops: venues.iter().map(|v| (v.name.clone(), v.hops.rows(clock, &v.budget))).collect(),
            mean_burst: venues.iter().map(|v| (v.name.clone(), v.hops.mean_burst())).collect(),
            positions: venues.iter().map(|v| (v.name.clone(), v.positions.clone())).collect(),
            journal: venues.iter().filter_map(|v| Some((v.name.clone(), v.followed.clone()?))).collect(),
            counters: venues.iter().map(|v| (v.name.clone(), by_venue(v))).collect(),
            eal_argv: facts.eal_argv,
            plan_hash: facts.plan_hash,
            oversubscribed: facts.oversubscribed,
            conserved: venues.iter().all(VenueReport::is_conserved)
                && facts.ports.iter().all(|port| port.ledger.balances()),
            interrupted: facts.interrupted,
            undrained: facts.undrained,
            warnings: venues
                .iter()
                .flat_map(|v| &v.warnings)
                .chain(facts.ports.iter().flat_map(|port| &port.warnings))
                .chain(&facts.warnings)
                .cloned()
                .collect(),
            ports: facts.ports,
            mbufs_in_use: facts.mbufs_in_use,
            recorder: facts.recorder,
            placement: facts.placement,
            tsc_hz: clock.hz(),
            tsc_error_ppm: clock.error_ppm(),
        }
    }
}

/// The summary as text.
pub struct Text<'a> {
    /// The whole.
    pub summary: &'a Summary,
    /// Its parts.
    pub venues: &'a [VenueReport],
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.summary;
        for venue in self.venues {
            venue_text(f, venue, s)?;
        }
        for PortReport { port, ledger, .. } in &s.ports {
            writeln!(f, "port {port}")?;
            ledger_text(f, std::slice::from_ref(ledger))?;
            writeln!(f)?;
        }
        let orders = s.orders.enter + s.orders.replace + s.orders.cancel;
        let messages: u64 = s.messages.values().sum();
        writeln!(
            f,
            "total: {} packets, {} messages, {} orders in {:.3} s ({} packets/s, {} messages/s)",
            grouped(s.packets),
            grouped(messages),
            grouped(orders),
            s.seconds,
            grouped(rate(s.packets, s.seconds)),
            grouped(rate(messages, s.seconds)),
        )?;
        if s.recorder.files > 0 {
            let r = &s.recorder;
            let (records, files) = (grouped(r.records - r.lost_disk), r.files);
            writeln!(f, "trace: {records} records, {} bytes in {files} file{}", grouped(r.bytes), plural(files))?;
        }
        if s.recorder.lost_disk > 0 {
            writeln!(f, "trace: {} records could not be written and are lost", grouped(s.recorder.lost_disk))?;
        }
        if s.recorder.lost_ring > 0 {
            let (lost, all) = (s.recorder.lost_ring, s.recorder.lost_ring + s.recorder.records);
            writeln!(f, "recorder: {} of {} records found their ring full and are lost", grouped(lost), grouped(all))?;
        }
        if s.oversubscribed {
            writeln!(f, "oversubscribed: fewer CPUs than lcores; the times above are not worth comparing")?;
        }
        if s.undrained {
            writeln!(f, "not drained: what the ledger calls held is lost, and orders may still stand")?;
        }
        if s.interrupted {
            writeln!(f, "interrupted: the captures were not replayed to their end, and no file was written")?;
        }
        for warning in &s.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let verdict = if s.conserved {
            "balanced: every packet received and every order is accounted for"
        } else {
            "NOT BALANCED"
        };
        writeln!(f, "ledger {verdict}; {} mbufs in use at exit; plan {}", s.mbufs_in_use, s.plan_hash)
    }
}

fn venue_text(f: &mut fmt::Formatter<'_>, v: &VenueReport, s: &Summary) -> fmt::Result {
    writeln!(f, "venue {}", v.name)?;
    if let Some(followed) = &v.followed {
        write!(f, "{followed}")?;
    }
    let packets = v.packets.max(1) as f64;
    writeln!(
        f,
        "  {} packets, {} messages ({:.2} a packet), {} orders ({:.4} a packet)",
        grouped(v.packets),
        grouped(v.total_messages()),
        v.total_messages() as f64 / packets,
        grouped(v.total_orders()),
        v.total_orders() as f64 / packets,
    )?;
    let kinds: Vec<String> = v.messages.iter().map(|(kind, n)| format!("{kind} {}", grouped(*n))).collect();
    wrapped(f, "messages", &kinds)?;
    let nonzero = |map: &mut dyn Iterator<Item = (String, u64)>| -> Vec<String> {
        map.filter(|(_, n)| *n > 0).map(|(k, n)| format!("{} {}", k.replace('_', " "), grouped(n))).collect()
    };
    wrapped(f, "feed", &nonzero(&mut v.feed.iter().map(|(k, n)| ((*k).to_owned(), *n))))?;
    let orders =
        [format!("enter {}", v.orders[0]), format!("replace {}", v.orders[1]), format!("cancel {}", v.orders[2])];
    wrapped(f, "orders", &orders)?;
    wrapped(f, "strategy", &nonzero(&mut v.strategy.iter().map(|(k, n)| (k.clone(), *n))))?;
    wrapped(f, "session", &nonzero(&mut v.session.iter().map(|(k, n)| (k.clone(), *n))))?;
    wrapped(f, "ports", &nonzero(&mut v.ports.iter().map(|(k, n)| (k.clone(), *n))))?;
    ledger_text(f, &v.ledger)?;
    let Some(rows) = s.hops.get(&v.name).filter(|rows| !rows.is_empty()) else {
        return writeln!(f);
    };
    writeln!(
        f,
        "  {:<16} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>10}  {:>15}",
        "hop (ns)", "orders", "min", "p50", "p90", "p99", "p99.9", "max", "budget p50, p99"
    )?;
    for r in rows {
        let budget = r.budget_ns.map_or_else(String::new, |[p50, p99]| format!("{p50:.0}, {p99:.0}"));
        writeln!(
            f,
            "  {:<16} {:>9} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>9.0} {:>10.0}  {:>15}{}",
            r.hop,
            r.count,
            r.min_ns,
            r.p50_ns,
            r.p90_ns,
            r.p99_ns,
            r.p999_ns,
            r.max_ns,
            budget,
            if r.over_budget { "  OVER" } else { "" },
        )?;
    }
    writeln!(f, "  packets that caused orders came in bursts of {:.1} on average", v.hops.mean_burst())?;
    if v.hops.negative > 0 {
        writeln!(
            f,
            "  {} orders had stamps out of order (TSCs that disagree) and are not in the table",
            v.hops.negative
        )?;
    }
    writeln!(f)
}

fn ledger_text(f: &mut fmt::Formatter<'_>, ledger: &[Ledger]) -> fmt::Result {
    writeln!(f, "  {:<9} {:>14} = {:>14} + {:>10} + {:>6}", "ledger", "in", "out", "dropped", "held")?;
    for l in ledger {
        let mut why = String::new();
        for (reason, n) in &l.dropped {
            let _ = write!(why, "  {reason} {}", grouped(*n));
        }
        writeln!(
            f,
            "  {:<9} {:>14} = {:>14} + {:>10} + {:>6}  {}{why}{}",
            l.stage,
            grouped(l.incoming),
            grouped(l.outgoing),
            grouped(l.total_dropped()),
            l.held,
            l.unit,
            if l.balances() { "" } else { "  DOES NOT BALANCE" },
        )?;
    }
    Ok(())
}

/// `label` and items, folded at about 110 columns; nothing when there are none.
fn wrapped(f: &mut fmt::Formatter<'_>, label: &str, items: &[String]) -> fmt::Result {
    let mut line = String::new();
    let mut label = label;
    for item in items {
        if !line.is_empty() && line.chars().count() + item.chars().count() > 96 {
            writeln!(f, "  {label:<9} {line}")?;
            label = "";
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(" · ");
        }
        line.push_str(item);
    }
    if line.is_empty() { Ok(()) } else { writeln!(f, "  {label:<9} {line}") }
}

fn rate(n: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 }
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}
