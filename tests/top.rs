//! `tickpath top`: what is on its screen, and that it gives the terminal back.
#![cfg(feature = "dpdk")]

mod common;
#[path = "common/state.rs"]
mod state;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use std::io::{BufRead, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickpath::latency::hop::Hop;
use tickpath::latency::snapshot::{Alarm, Snapshot};
use tickpath::serve::{Metrics, Server};
use tickpath::top::{Silence, Top, Wish};

/// Three states a second apart: 500 orders and 20,000 frames a second, and a growing 99th percentile.
fn watching() -> (Top, Instant) {
    let (mut top, at) = (Top::new("127.0.0.1:9464"), Instant::now());
    for i in 0..3_u32 {
        let mut snapshot = state::running();
        snapshot.uptime_seconds += f64::from(i);
        for venue in &mut snapshot.venues {
            venue.frames += 20_000 * u64::from(i);
            venue.orders += 500 * u64::from(i);
            venue.stages[0].incoming += 20_000 * u64::from(i);
            venue.stages[0].bursts += 10_000 * u64::from(i);
            *venue.stages[1].dropped.get_mut("truncated").unwrap() += 12 * u64::from(i);
            venue.hops.iter_mut().for_each(|hop| hop.interval.p99 *= 1.0 + f64::from(i) / 100.0);
        }
        top.hear(Ok(snapshot), at);
    }
    (top, at)
}

fn screen(top: &Top, at: Instant, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| top.draw(at, frame.area(), frame.buffer_mut())).unwrap();
    terminal.backend().clone()
}

fn lines(screen: &TestBackend) -> Vec<String> {
    let buffer = screen.buffer();
    let rows = buffer.content().chunks(usize::from(buffer.area.width));
    rows.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

/// The first line that begins with `start`.
fn line<'l>(lines: &'l [String], start: &str) -> &'l str {
    lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}:\n{}", lines.join("\n")))
}

/// Cells between the columns of a line, blanks gone.
fn figures(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_small_screen_has_the_path_from_rx_to_doorbell_and_what_is_wrong() {
    let (top, at) = watching();
    let lines = lines(&screen(&top, at, 80, 24));
    assert_eq!(lines[0], "tickpath run 20261123T032338Z-1234   up 1:02:07   live");
    assert_eq!(lines[1], "records 61.0k   ! lost 12: ring full   TSC 2.100000 GHz, -3.5 ppm by realtime");
    // date -u -d @1795404218
    assert_eq!(lines[2], "! clock of iex-feed unsynchronised   ! irq.irqbalance since 03:23:38 UTC");
    assert_eq!(lines[3], "venue  nasdaq   1 of 2   frames 20.0k/s   orders 500/s   ! 7 out of order");
    // lcore, in/s, out/s, dropped/s, dropped, held, burst, busy, ring, high
    let stages = ["rx 1 20.0k 0 0 17 3 2 10 % - -", "parse 2 0 0 12 1,026 3 - - 0.3 % 6.3 %"];
    for stage in stages {
        assert_eq!(figures(line(&lines, figures(stage)[0])), figures(stage));
    }
    // p50, p99, p99.9, the budget of p50 and of p99, and one bar of each interval seen.
    let hops =
        ["rx→parsed 1.0 us 1.4 us 2.0 us 1.1 us 2.0 us ███", "rx→doorbell 18.0 us 25.7 us 36.0 us 19.8 us 36.0 us ███"];
    for hop in hops {
        assert_eq!(figures(line(&lines, figures(hop)[0])), figures(hop));
    }
    assert_eq!(line(&lines, "drops"), "drops  parse truncated 26 (12/s)   parse foreign 1,000 (0/s)");
    assert!(lines.iter().any(|l| l == "! 12 records lost: a ring was full"), "{lines:?}");
    assert_eq!(lines[23], "q quit   Tab, 1-9 venue");
}

#[test]
fn a_large_screen_has_the_evidence_too() {
    let (mut top, at) = watching();
    top.wish(Wish::Next);
    let lines = lines(&screen(&top, at, 160, 50));
    // lcore, cpu, polls/s, busy, ticks/s, irqs/s, preempted, waited, stolen, faults/s, misses/s
    let lcore = "6 7 8.00M 95 % 1 4 2 0.8 % 4.0 % 5 123.5k";
    assert!(lines.iter().any(|l| figures(l) == figures(lcore)), "{lines:#?}");
    let ring = line(&lines, "encode→tx");
    assert!(ring.contains("█··") && figures(ring)[2..] == ["1", "2", "1,023"], "{ring}");
    assert_eq!(line(&lines, "host"), "host   ! irq.irqbalance since 03:23:38 UTC   cpu.isolated");
    assert_eq!(line(&lines, "pools"), "pools  feed-0 1,200 of 8,191 (15 %)");
    let trade = "trade  session up   standing 13   filled 77   rejected 2   lost connections 1   positions 1";
    assert_eq!(line(&lines, "trade"), trade);
    let both = "lines  A first 75 % by 2.0 us, lost 9   B first 25 % by 500 ns, lost 12   recovered messages 40";
    assert_eq!(line(&lines, "lines"), both);
    assert!(line(&lines, "ports").ends_with("! iex-feed missed 33 without mbuf 4 errors 1"));
    assert_eq!(figures(line(&lines, "iex "))[..4], ["iex", "20.0k", "500", "12"]);
}

#[test]
fn hops_over_budget_are_marked_and_only_they() {
    let (mut top, at) = watching();
    for (venue, over) in [(0, false), (1, true)] {
        top.wish(Wish::Venue(venue));
        let screen = screen(&top, at, 80, 24);
        let lines = lines(&screen);
        for hop in Hop::SOFTWARE.into_iter().chain([Hop::RxDoorbell]) {
            let row = lines.iter().position(|l| l.starts_with(&format!("{} ", hop.name()))).unwrap();
            let p50 = figures(&lines[row])[1];
            assert_eq!(p50.starts_with('!'), over, "{}", lines[row]);
            // p99 as well; p99.9 has no budget.
            assert_eq!(lines[row].matches('!').count(), if over { 2 } else { 0 }, "{}", lines[row]);
            let cell = lines[row].chars().position(|c| c == p50.chars().next().unwrap()).unwrap();
            assert_eq!(screen.buffer()[(cell as u16, row as u16)].fg == Color::Red, over);
        }
    }
}

#[test]
fn no_number_is_cut_by_its_column() {
    let mut snapshot = state::running();
    let huge = u64::MAX / 4;
    for venue in &mut snapshot.venues {
        for stage in &mut venue.stages {
            (stage.lcore, stage.incoming, stage.outgoing, stage.held, stage.bursts) =
                (127, huge, huge, 999_949, 1 << 20);
            stage.dropped.values_mut().for_each(|n| *n = 999_949_999);
        }
        for hop in &mut venue.hops {
            let p = &mut hop.interval;
            (p.p50, p.p99, p.p999) = (999_949.0, 999_994_000.0, 12_345e9);
            (hop.budget_p50_ns, hop.budget_p99_ns) = (Some(999_940.0), Some(999_990_000.0));
        }
    }
    for lcore in &mut snapshot.interval.lcores {
        (lcore.lcore, lcore.cpu, lcore.polls, lcore.empty_polls) = (127, Some(255), 999_949_999, 1);
        lcore.interrupts = Some(999_949);
        lcore.cache_misses = Some(999_949_999);
    }
    let mut top = Top::new("127.0.0.1:9464");
    let at = Instant::now();
    top.hear(Ok(snapshot), at);
    for venue in 0..2 {
        top.wish(Wish::Venue(venue));
        // 50 lines show every table, and 300 columns are more than any needs.
        let (narrow, wide) = (lines(&screen(&top, at, 80, 50)), lines(&screen(&top, at, 300, 50)));
        let wide: Vec<Vec<&str>> = wide.iter().map(|l| figures(l)).collect();
        // Lists go on in another line instead.
        let list = |l: &String| l.contains('(') || l.starts_with("venue  ");
        let table = |l: &&String| !list(l) && ["999.9", "12345", "/s "].iter().any(|part| l.contains(part));
        let cut: Vec<&String> = narrow.iter().filter(table).filter(|l| !wide.contains(&figures(l))).collect();
        assert!(cut.is_empty(), "{cut:#?}");
        // The tables' heads, five stages, six hops, two venues and two lcores.
        assert!(narrow.iter().filter(table).count() >= 14, "{narrow:#?}");
    }
}

#[test]
fn any_size_is_drawn_on_and_what_is_cut_says_so() {
    let (top, at) = watching();
    for width in (0..90).step_by(6).chain([1, 300]) {
        for height in (0..45).step_by(3).chain([1, 300]) {
            screen(&top, at, width, height);
        }
    }
    let alarm = |i| Alarm { kind: "loss".into(), text: format!("{} {i}", "x".repeat(100)), ..Alarm::default() };
    let mut snapshot = state::running();
    snapshot.alarms = (0..30).map(alarm).collect();
    snapshot.venues.truncate(1);
    snapshot.venues[0].stages[0].dropped = (0..20).map(|i| (format!("some_reason_{i}"), 5)).collect();
    let mut top = Top::new("127.0.0.1:9464");
    top.hear(Ok(snapshot), at);
    let lines = lines(&screen(&top, at, 80, 24));
    let alarms: Vec<&String> = lines.iter().filter(|l| l.starts_with("! x")).collect();
    assert!(alarms.len() >= 2 && alarms.iter().all(|l| l.ends_with("x…")), "{lines:#?}");
    assert_eq!(line(&lines, "! and"), format!("! and {} more", 30 - alarms.len()));
    let drops = lines.iter().position(|l| l.starts_with("drops")).unwrap();
    let shown = lines[drops..drops + 2].concat().matches("(").count();
    // Three of the other stages drop something, too: 20 and foreign, truncated, risk.
    assert!(lines[drops + 1].ends_with(&format!("and {} more", 23 - shown)), "{lines:#?}");
    assert_eq!(lines[23], "q quit");
}

#[test]
fn it_says_that_an_instance_is_gone_and_keeps_its_last_figures() {
    let (mut top, at) = watching();
    let refused = || Err::<Snapshot, _>(Silence::new("connection refused"));
    top.hear(refused(), at);
    let gone = lines(&screen(&top, at + Duration::from_secs(12), 80, 24));
    assert_eq!(gone[0], "tickpath run 20261123T032338Z-1234   up 1:02:07   ! gone");
    assert_eq!(gone[1], "no answer from 127.0.0.1:9464 for 12 s: connection refused");
    assert!(line(&gone, "rx→doorbell").contains("18.0 us"));
    top.hear(Ok(Snapshot { uptime_seconds: 3.0, run: "another".into(), ..state::running() }), at);
    assert_eq!(lines(&screen(&top, at, 80, 24))[0], "tickpath run another   up 3 s   live");

    let mut never = Top::new("127.0.0.1:9464");
    never.hear(refused(), at);
    assert_eq!(lines(&screen(&never, at, 80, 24))[0], "tickpath   waiting for 127.0.0.1:9464   connection refused");
}

#[test]
fn a_device_clock_that_is_not_fitted_reads_unsynced() {
    let mut snapshot = state::running();
    let mut wire = snapshot.venues[0].hops[0];
    wire.hop = Hop::WireRx;
    (wire.total, wire.interval) = Default::default();
    snapshot.venues[0].hops.insert(0, wire);
    let mut top = Top::new("127.0.0.1:9464");
    let at = Instant::now();
    top.hear(Ok(snapshot), at);
    assert_eq!(figures(line(&lines(&screen(&top, at, 80, 24)), "wire→rx"))[..2], ["wire→rx", "unsynced"]);
}

/// The state of [`state::running`], served.
fn served(address: &str) -> Server {
    let metrics = Metrics::new(&["nasdaq", "iex"]);
    metrics.publish(Arc::new(state::running()));
    Server::start(address.parse().unwrap(), Arc::new(metrics), || ()).unwrap()
}

fn tickpath() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tickpath"))
}

#[test]
fn once_prints_every_venue_as_text_and_ends() {
    let server = served("127.0.0.1:0");
    // A proxy of the environment is not asked.
    let mut command = tickpath();
    command.args(["top", "--once", &server.address().to_string()]).env("http_proxy", "http://127.0.0.1:1");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains('\x1b') && text.ends_with("! the rate is unverified\n"), "{text}");
    for start in ["venue  nasdaq", "venue  iex"] {
        assert_eq!(text.lines().filter(|l| l.starts_with(start)).count(), 1, "{text}");
    }
    assert_eq!(text.lines().filter(|l| l.starts_with("rx→doorbell ")).count(), 2, "{text}");
}

#[test]
fn what_cannot_be_shown_is_told_in_a_sentence() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = tickpath().args(["top", "--once", &nobody]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with(&format!("error: nothing to show from {nobody}: connection refused\nhelp: ")), "{said}");

    let output = tickpath().args(["top", &nobody]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.starts_with("error: standard output is no terminal\nhelp: `--once` "), "{said}");
    assert!(output.stdout.is_empty());

    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = foreign.accept().unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let output = tickpath().args(["top", "--once", &address]).output().unwrap();
    answer.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the answer is not tickpath's"), "{said}");
}

/// A shell on a pseudo-terminal of 24 lines and 80 columns, which `script` keeps.
struct Pty {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Pty {
    /// Runs `tickpath top ADDRESS` between two questions for the terminal's settings. `None` without `script`.
    fn top(address: &str) -> Option<Pty> {
        Pty::of(&format!("{} top {address}", env!("CARGO_BIN_EXE_tickpath")))
    }

    /// The same of another command.
    fn of(command: &str) -> Option<Pty> {
        let top = format!("echo pid=$$,; exec {command}");
        let line = format!(
            "stty rows 24 cols 80; echo before=$(stty -g); sh -c '{top}'; echo status=$?; echo after=$(stty -g)"
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = common::tool(&mut command, "bsdutils")?;
        let (keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(String::new()));
        let all = seen.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut part) {
                *all.lock().unwrap() += &String::from_utf8_lossy(&part[..n]);
            }
        });
        Some(Pty { child, keys, seen })
    }

    /// Waits until `text` is written after what was seen up to `from`; where it ends.
    fn wait(&self, from: usize, text: &str) -> usize {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if let Some(at) = seen[from..].find(text) {
                return from + at + text.len();
            }
            assert!(Instant::now() < patience, "no {text:?} in {:?}", &seen[from..]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What stood between `name=` and the end of that line or a comma.
    fn value(&self, name: &str) -> String {
        let at = self.wait(0, &format!("{name}="));
        let end = |c: char| c == ',' || c == '\r' || c == '\n';
        let seen = self.seen.lock().unwrap();
        seen[at..].split(end).next().unwrap().to_owned()
    }

    /// The terminal is as it was, and the program ended with success.
    fn assert_restored(self) {
        assert_eq!(self.ended(), "0");
    }

    /// The program's exit code, after making sure that the terminal is as it was.
    fn ended(mut self) -> String {
        let after = self.wait(0, "after=");
        self.wait(after, "\n");
        assert!(self.child.wait().unwrap().success());
        assert_eq!(self.value("before"), self.value("after"));
        let seen = self.seen.lock().unwrap();
        // Alternate screen entered and left; cursor hidden and shown.
        for (on, off) in [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")] {
            assert!(seen.rfind(on).unwrap() < seen.rfind(off).unwrap(), "{seen:?}");
        }
        drop(seen);
        self.value("status")
    }
}

#[test]
fn the_terminal_is_as_it_was_after_a_key_or_a_signal() {
    let server = served("127.0.0.1:0");
    let address = server.address().to_string();
    for key in ["q", "\x03", "\x1b"] {
        let Some(mut pty) = Pty::top(&address) else { return };
        pty.wait(0, "live");
        pty.keys.write_all(key.as_bytes()).unwrap();
        pty.assert_restored();
    }
    let Some(pty) = Pty::top(&address) else { return };
    pty.wait(0, "live");
    let pid = pty.value("pid");
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    pty.assert_restored();
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_printed() {
    const CHILD: &str = "TICKPATH_TEST_TOP_PANICS";
    if let Ok(address) = std::env::var(CHILD) {
        std::thread::spawn(move || tickpath::top::run(&address, &AtomicBool::new(false)));
        // The parent has seen the screen.
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
        panic!("on purpose");
    }
    let server = served("127.0.0.1:0");
    let test = std::env::current_exe().unwrap();
    let child = format!(
        "env {CHILD}={} RUST_BACKTRACE=0 {} a_panic_gives_the_terminal_back_before_it_is_printed --exact --nocapture",
        server.address(),
        test.display()
    );
    let Some(mut pty) = Pty::of(&child) else { return };
    let live = pty.wait(0, "live");
    // Raw mode: Enter is a carriage return, and a line ends with the other one.
    pty.keys.write_all(b"\n").unwrap();
    let left = pty.wait(live, "\x1b[?1049l");
    pty.wait(left, "on purpose");
    assert_eq!(pty.ended(), "101");
}

#[test]
fn it_outlives_the_instance_and_finds_the_next_one() {
    let server = served("127.0.0.1:0");
    let address = server.address().to_string();
    let Some(mut pty) = Pty::top(&address) else { return };
    let live = pty.wait(0, "live");
    drop(server);
    let gone = pty.wait(live, "gone");
    let _next = served(&address);
    pty.wait(gone, "live");
    pty.keys.write_all(b"q").unwrap();
    pty.assert_restored();
}
