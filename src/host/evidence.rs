//! What happened to the CPUs and threads of the path between two moments.
//!
//! In: the path's threads, `/proc/interrupts`, `/proc/stat` and `/proc/self/task/TID/{status,schedstat,stat}` under a
//! root, and the kernel's cache-miss events where it has any. Out: what each lcore suffered since the last call. What
//! cannot be read is `None`; what goes backwards, because a CPU left or a thread began anew, is 0. For the recorder: it
//! reads files, and never runs on a hot CPU's time but for [`Sampler::count_cache_misses`].
//!
//! Files stay open and are read into one buffer, so a call costs a few reads a thread; on a host with many CPUs most of
//! it is the kernel writing `/proc/interrupts`.

use crate::latency::interval::LcoreEvidence;
use crate::sys::perf::{Counter, Unavailable};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One thread of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// EAL lcore id.
    pub lcore: u32,
    /// The kernel's thread id.
    pub tid: i32,
    /// CPUs it may run on.
    pub cpus: Vec<u32>,
}

/// Counters of the path's threads and CPUs as they were at the last call.
#[derive(Debug)]
pub struct Sampler {
    threads: Vec<Watched>,
    cpus: Cpus,
    interrupts: Kept,
    stat: Kept,
    buffer: Vec<u8>,
}

impl Sampler {
    /// Watch these threads of the calling process from now on. `root` is `/`, or a test's folder.
    pub fn new(root: &Path, threads: Vec<Thread>) -> Sampler {
        let mut cpus: Vec<u32> = threads.iter().flat_map(|thread| thread.cpus.iter().copied()).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let mut sampler = Sampler {
            threads: threads.into_iter().map(|thread| Watched::new(root, thread)).collect(),
            cpus: Cpus::new(cpus),
            interrupts: Kept::new(root.join("proc/interrupts")),
            stat: Kept::new(root.join("proc/stat")),
            buffer: Vec::new(),
        };
        sampler.sample();
        sampler
    }

    /// Count cache misses too. Each later call then interrupts every hot CPU once, for about a microsecond, to read its
    /// counter.
    ///
    /// # Errors
    /// The kernel has no such event, or not for this process: nothing is counted, everything else goes on.
    pub fn count_cache_misses(&mut self) -> Result<(), Unavailable> {
        let open = |thread: &Watched| {
            let mut counter = Counter::cache_misses(thread.thread.tid)?;
            let now = counter.read().ok();
            Ok((counter, Delta(now)))
        };
        let counters: Vec<_> = self.threads.iter().map(open).collect::<Result<_, Unavailable>>()?;
        for (thread, counter) in self.threads.iter_mut().zip(counters) {
            thread.cache_misses = Some(counter);
        }
        Ok(())
    }

    /// What happened since the last call, by thread in their order. `polls` and `empty_polls` are the caller's to fill.
    pub fn sample(&mut self) -> Vec<LcoreEvidence> {
        if self.interrupts.read(&mut self.buffer) {
            self.cpus.interrupts(&self.buffer);
        } else {
            self.cpus.forget_interrupts();
        }
        let readable = self.stat.read(&mut self.buffer);
        self.cpus.steal(if readable { &self.buffer } else { b"" });
        let (cpus, buffer) = (&self.cpus, &mut self.buffer);
        self.threads.iter_mut().map(|thread| thread.sample(cpus, buffer)).collect()
    }
}

/// A thread, its files and its last totals.
#[derive(Debug)]
struct Watched {
    thread: Thread,
    status: Kept,
    schedstat: Kept,
    stat: Kept,
    voluntary: Delta,
    involuntary: Delta,
    wait_ns: Delta,
    faults: Delta,
    cache_misses: Option<(Counter, Delta)>,
}

impl Watched {
    fn new(root: &Path, thread: Thread) -> Watched {
        let folder = root.join("proc/self/task").join(thread.tid.to_string());
        Watched {
            thread,
            status: Kept::new(folder.join("status")),
            schedstat: Kept::new(folder.join("schedstat")),
            stat: Kept::new(folder.join("stat")),
            voluntary: Delta::default(),
            involuntary: Delta::default(),
            wait_ns: Delta::default(),
            faults: Delta::default(),
            cache_misses: None,
        }
    }

    fn sample(&mut self, cpus: &Cpus, buffer: &mut Vec<u8>) -> LcoreEvidence {
        let switches = if self.status.read(buffer) { context_switches(buffer) } else { (None, None) };
        let wait = self.schedstat.read(buffer).then(|| words(buffer).nth(1).and_then(number)).flatten();
        let stat = if self.stat.read(buffer) { thread_stat(buffer) } else { ThreadStat::default() };
        let only = match self.thread.cpus[..] {
            [cpu] => Some(cpu),
            _ => None,
        };
        let cpu = stat.cpu.or(only);
        let happened = cpu.and_then(|cpu| cpus.of(cpu));
        let misses = self.cache_misses.as_mut().and_then(|(counter, last)| last.since(counter.read().ok()));
        LcoreEvidence {
            lcore: self.thread.lcore,
            cpu,
            timer_ticks: happened.and_then(|cpu| cpu.timer),
            interrupts: happened.and_then(|cpu| cpu.others),
            interrupt_names: happened.map(|cpu| cpus.names(cpu)).unwrap_or_default(),
            steal_ns: happened.and_then(|cpu| cpu.steal_ns),
            voluntary_switches: self.voluntary.since(switches.0),
            involuntary_switches: self.involuntary.since(switches.1),
            run_queue_wait_ns: self.wait_ns.since(wait),
            page_faults: self.faults.since(stat.faults),
            cache_misses: misses,
            ..LcoreEvidence::default()
        }
    }
}

/// What happened on the watched CPUs between the last two readings.
#[derive(Debug)]
struct Cpus {
    cpus: Vec<Cpu>,
    /// Which column of `/proc/interrupts` is which of `cpus`; a scratch list.
    columns: Vec<Option<usize>>,
    rows: Vec<Row>,
    /// Rows by label.
    places: HashMap<Vec<u8>, usize>,
}

#[derive(Debug, Default)]
struct Cpu {
    id: u32,
    /// It had a column in the last reading.
    seen: bool,
    /// It has one in this.
    here: bool,
    timer: Option<u64>,
    others: Option<u64>,
    /// Row and count, most first.
    busiest: [Option<(usize, u64)>; NAMED],
    steal: Delta,
    steal_ns: Option<u64>,
}

/// One line of `/proc/interrupts`.
#[derive(Debug)]
struct Row {
    name: String,
    /// Totals, by watched CPU; 0 before it was first seen.
    last: Vec<u64>,
}

/// Interrupts told by name.
const NAMED: usize = 3;
/// More lines than any host has.
const MAX_ROWS: usize = 16_384;
/// Longest name, in characters.
const NAME_CHARS: usize = 64;
/// A tick of `/proc/stat` is 1/USER_HZ, which is 100 to programs on x86-64 whatever the kernel's own HZ.
const STEAL_TICK_NS: u64 = 10_000_000;

impl Cpus {
    fn new(ids: Vec<u32>) -> Cpus {
        let cpus = ids.into_iter().map(|id| Cpu { id, ..Cpu::default() }).collect();
        Cpus { cpus, columns: Vec::new(), rows: Vec::new(), places: HashMap::new() }
    }

    fn of(&self, cpu: u32) -> Option<&Cpu> {
        self.place(cpu).map(|place| &self.cpus[place])
    }

    fn place(&self, cpu: u32) -> Option<usize> {
        self.cpus.binary_search_by_key(&cpu, |cpu| cpu.id).ok()
    }

    fn names(&self, cpu: &Cpu) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (row, count) in cpu.busiest.iter().flatten() {
            *names.entry(self.rows[*row].name.clone()).or_default() += count;
        }
        names
    }

    fn forget_interrupts(&mut self) {
        for cpu in &mut self.cpus {
            *cpu = Cpu { id: cpu.id, steal: cpu.steal, ..Cpu::default() };
        }
    }

    /// A heading with one column an online CPU, then a line an interrupt: label, colon, counts, description.
    fn interrupts(&mut self, text: &[u8]) {
        for cpu in &mut self.cpus {
            *cpu = Cpu { id: cpu.id, seen: cpu.here, steal: cpu.steal, ..Cpu::default() };
        }
        let mut lines = text.split(|&byte| byte == b'\n');
        self.columns.clear();
        for word in words(lines.next().unwrap_or_default()) {
            let id = word.strip_prefix(b"CPU").and_then(number).and_then(|id| u32::try_from(id).ok());
            let place = id.and_then(|id| self.place(id));
            self.columns.push(place);
        }
        for place in self.columns.iter().flatten() {
            let cpu = &mut self.cpus[*place];
            cpu.here = true;
            if cpu.seen {
                (cpu.timer, cpu.others) = (Some(0), Some(0));
            }
        }
        for line in lines {
            self.interrupt(line);
        }
    }

    fn interrupt(&mut self, line: &[u8]) -> Option<()> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (label, mut rest) = (line[..colon].trim_ascii(), &line[colon + 1..]);
        // Totals of the host, not of a CPU.
        if matches!(label, b"ERR" | b"MIS") {
            return None;
        }
        let row = self.row(label)?;
        for column in 0..self.columns.len() {
            let (word, after) = first_word(rest);
            // A line with fewer counts than there are CPUs is no CPU's.
            if !word.first().is_some_and(u8::is_ascii_digit) {
                return None;
            }
            rest = after;
            let Some(place) = self.columns[column] else { continue };
            let count = number(word)?;
            let last = std::mem::replace(&mut self.rows[row].last[place], count);
            let cpu = &mut self.cpus[place];
            // A CPU that is new had a past that nobody has seen.
            if cpu.seen {
                cpu.add(label, row, count.saturating_sub(last));
            }
        }
        let name = interrupt_name(label, rest);
        if self.rows[row].name.as_bytes() != name {
            self.rows[row].name = printable(name);
        }
        Some(())
    }

    fn row(&mut self, label: &[u8]) -> Option<usize> {
        if let Some(row) = self.places.get(label) {
            return Some(*row);
        }
        if self.rows.len() == MAX_ROWS {
            return None;
        }
        self.places.insert(label.to_vec(), self.rows.len());
        self.rows.push(Row { name: String::new(), last: vec![0; self.cpus.len()] });
        Some(self.rows.len() - 1)
    }

    /// Lines `cpuN user nice system idle iowait irq softirq steal …`, in ticks; the CPUs come first.
    fn steal(&mut self, text: &[u8]) {
        for cpu in &mut self.cpus {
            cpu.steal_ns = None;
        }
        for line in text.split(|&byte| byte == b'\n').take_while(|line| line.starts_with(b"cpu")) {
            let mut words = words(line);
            let id = words.next().and_then(|word| number(word.strip_prefix(b"cpu")?));
            let place = id.and_then(|id| self.place(u32::try_from(id).ok()?));
            if let (Some(place), Some(ticks)) = (place, words.nth(7).and_then(number)) {
                let cpu = &mut self.cpus[place];
                cpu.steal_ns = cpu.steal.since(Some(ticks)).map(|ticks| ticks.saturating_mul(STEAL_TICK_NS));
            }
        }
    }
}

impl Cpu {
    fn add(&mut self, label: &[u8], row: usize, count: u64) {
        let sum = if label == b"LOC" { &mut self.timer } else { &mut self.others };
        *sum = Some(sum.unwrap_or(0).saturating_add(count));
        if label == b"LOC" || count == 0 {
            return;
        }
        let less = |place: &Option<(usize, u64)>| place.is_none_or(|(_, most)| most < count);
        if let Some(at) = self.busiest.iter().position(less) {
            self.busiest[at..].rotate_right(1);
            self.busiest[at] = Some((row, count));
        }
    }
}

/// A total that should only grow, as it was last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Delta(Option<u64>);

impl Delta {
    /// Growth since the last call; `None` unless both were there.
    fn since(&mut self, now: Option<u64>) -> Option<u64> {
        let last = std::mem::replace(&mut self.0, now);
        Some(now?.saturating_sub(last?))
    }
}

/// A file of the kernel that is read again and again.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Option<File>,
}

/// Most that is read of a file.
const FILE_BYTES: usize = 16 << 20;

impl Kept {
    fn new(path: PathBuf) -> Kept {
        Kept { path, file: None }
    }

    /// Fill `buffer` with what the file says now; false when it says nothing.
    fn read(&mut self, buffer: &mut Vec<u8>) -> bool {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &self.file else { return false };
        buffer.resize(buffer.capacity().max(8192), 0);
        let mut len = 0;
        loop {
            match file.read_at(&mut buffer[len..], len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The thread has ended; its id may come back.
                    self.file = None;
                    return false;
                }
            }
            if len == buffer.len() {
                if len >= FILE_BYTES {
                    break;
                }
                buffer.resize(len * 2, 0);
            }
        }
        buffer.truncate(len);
        len > 0
    }
}

/// What `/proc/self/task/TID/stat` tells.
#[derive(Default)]
struct ThreadStat {
    faults: Option<u64>,
    cpu: Option<u32>,
}

/// Fields 10 (minflt), 12 (majflt) and 39 (processor) of proc_pid_stat(5). The name in field 2 may hold anything, so
/// fields are counted from the last parenthesis on, behind which field 3 begins.
fn thread_stat(text: &[u8]) -> ThreadStat {
    let Some(name_end) = text.iter().rposition(|&byte| byte == b')') else { return ThreadStat::default() };
    let field = |n: usize| words(&text[name_end + 1..]).nth(n - 3).and_then(number);
    let faults = field(10).zip(field(12)).map(|(minor, major)| minor.saturating_add(major));
    ThreadStat { faults, cpu: field(39).and_then(|cpu| u32::try_from(cpu).ok()) }
}

/// Voluntary and other context switches of `/proc/self/task/TID/status`.
fn context_switches(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let mut found = (None, None);
    // They are its last lines.
    for line in text.rsplit(|&byte| byte == b'\n') {
        let value = |name: &[u8]| line.strip_prefix(name).and_then(|rest| number(rest.trim_ascii()));
        found.0 = found.0.or_else(|| value(b"voluntary_ctxt_switches:"));
        found.1 = found.1.or_else(|| value(b"nonvoluntary_ctxt_switches:"));
        if let (Some(_), Some(_)) = found {
            break;
        }
    }
    found
}

/// What an interrupt is called: the devices of a numbered one, which stand behind its chip and its line there; the
/// description of the others.
fn interrupt_name<'t>(label: &'t [u8], description: &'t [u8]) -> &'t [u8] {
    let whole = description.trim_ascii();
    let devices = first_word(first_word(whole).1).1.trim_ascii();
    match label.iter().all(u8::is_ascii_digit) {
        true if !devices.is_empty() => devices,
        _ if !whole.is_empty() => whole,
        _ => label,
    }
}

fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_CHARS).collect()
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The first word and what follows it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()))
}

/// Digits only, as a number that fits.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        sum.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Host {
            Host(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, content: impl AsRef<[u8]>) {
            let path = self.0.path().join("proc").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn thread(&self, tid: i32, voluntary: u64, involuntary: u64, wait: u64, faults: (u64, u64), cpu: u32) {
            let task = format!("self/task/{tid}");
            self.file(
                &format!("{task}/status"),
                format!(
                    "Name:\tx\nvoluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n"
                ),
            );
            self.file(&format!("{task}/schedstat"), format!("123456 {wait} 99\n"));
            let (minor, major) = faults;
            // proc_pid_stat(5): 10 minflt, 12 majflt, 39 processor; the name holds what it likes.
            self.file(
                &format!("{task}/stat"),
                format!("{tid} (a) b (c) R 1 1 1 0 -1 64 {minor} 0 {major} 0 9 9 0 0 20 0 5 0 77 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 17 {cpu} 0 0 0\n"),
            );
        }

        fn sampler(&self, threads: &[(u32, i32, &[u32])]) -> Sampler {
            let thread = |&(lcore, tid, cpus): &(u32, i32, &[u32])| Thread { lcore, tid, cpus: cpus.to_vec() };
            Sampler::new(self.0.path(), threads.iter().map(thread).collect())
        }
    }

    const BEFORE: &str = "           CPU0       CPU2       
 24:          1          5  IO-APIC   5-edge      ACPI:Ged
 36:          0         90 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0, other dev
 41:        100         40 IR-PCI-MSI 524288-edge      mlx5_comp1@pci:0000:3b:00.0
NMI:          0          2   Non-maskable interrupts
LOC:    7076776    6128494   Local timer interrupts
RES:     337914     281433   Rescheduling interrupts
CAL:    1203137    1046817   Function call interrupts
ERR:          0
MIS:          0
";
    const AFTER: &str = "           CPU0       CPU2       
 24:          1          6  IO-APIC   5-edge      ACPI:Ged
 36:          0         95 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0, other dev
 41:        500         80 IR-PCI-MSI 524288-edge      mlx5_comp1@pci:0000:3b:00.0
 42:          7          4 IR-PCI-MSI 524289-edge      fresh
NMI:          0          2   Non-maskable interrupts
LOC:    7076976    6129494   Local timer interrupts
RES:     337914     281436   Rescheduling interrupts
CAL:    1203137    1046817   Function call interrupts
ERR:          5
MIS:          0
";

    #[test]
    fn an_lcore_gets_what_happened_to_its_thread_and_its_cpu() {
        let host = Host::new();
        host.file("interrupts", BEFORE);
        host.file("stat", "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu2 1 2 3 4 5 6 7 20 0 0\nintr 5\n");
        host.thread(71, 4, 10, 1_000, (50, 1), 2);
        let mut sampler = host.sampler(&[(5, 71, &[2])]);
        host.file("interrupts", AFTER);
        host.file("stat", "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 9 0 0\ncpu2 1 2 3 4 5 6 7 23 0 0\nintr 9\n");
        host.thread(71, 5, 13, 51_000, (53, 3), 2);
        let expected = LcoreEvidence {
            lcore: 5,
            cpu: Some(2),
            polls: 0,
            empty_polls: 0,
            timer_ticks: Some(1000),
            // 1 of line 24, 5 of 36, 40 of 41, 4 of 42, 3 of RES.
            interrupts: Some(53),
            interrupt_names: BTreeMap::from([
                ("mlx5_comp1@pci:0000:3b:00.0".into(), 40),
                ("virtio1-req.0, other dev".into(), 5),
                ("fresh".into(), 4),
            ]),
            voluntary_switches: Some(1),
            involuntary_switches: Some(3),
            run_queue_wait_ns: Some(50_000),
            page_faults: Some(5),
            steal_ns: Some(30_000_000),
            cache_misses: None,
        };
        assert_eq!(sampler.sample(), [expected]);
        let still = &sampler.sample()[0];
        assert_eq!((still.timer_ticks, still.interrupts, still.page_faults), (Some(0), Some(0), Some(0)));
        assert!(still.interrupt_names.is_empty());
    }

    #[test]
    fn lcores_keep_their_order_and_a_moving_one_is_found_on_its_cpu() {
        let host = Host::new();
        host.file("interrupts", BEFORE);
        host.thread(8, 0, 0, 0, (0, 0), 0);
        host.thread(7, 0, 0, 0, (0, 0), 0);
        let mut sampler = host.sampler(&[(9, 8, &[0]), (1, 7, &[2, 0])]);
        host.file("interrupts", AFTER);
        host.thread(7, 0, 0, 0, (0, 0), 2);
        let lcores: Vec<_> = sampler.sample().iter().map(|e| (e.lcore, e.cpu, e.timer_ticks)).collect();
        assert_eq!(lcores, [(9, Some(0), Some(200)), (1, Some(2), Some(1000))]);
    }

    #[test]
    fn a_cpu_that_leaves_and_returns_tells_no_history() {
        let host = Host::new();
        host.file("interrupts", BEFORE);
        let mut sampler = host.sampler(&[(0, 1, &[0]), (2, 3, &[2])]);
        let timers = |sampler: &mut Sampler| sampler.sample().iter().map(|e| e.timer_ticks).collect::<Vec<_>>();
        host.file("interrupts", "           CPU0       \nLOC:    7076777   Local timer interrupts\nERR: 7\n");
        assert_eq!(timers(&mut sampler), [Some(1), None]);
        host.file("interrupts", AFTER);
        assert_eq!(timers(&mut sampler), [Some(199), None]);
        host.file("interrupts", BEFORE);
        assert_eq!(timers(&mut sampler), [Some(0), Some(0)], "backwards is nothing");
    }

    #[test]
    fn what_is_not_there_is_absent_until_it_is() {
        let host = Host::new();
        let mut sampler = host.sampler(&[(0, 1, &[0])]);
        let nothing = LcoreEvidence { cpu: Some(0), ..LcoreEvidence::default() };
        assert_eq!(sampler.sample(), [nothing]);
        host.thread(1, 1, 1, 1, (1, 1), 0);
        assert_eq!(sampler.sample()[0].page_faults, None, "a first reading has nothing before it");
        host.thread(1, 1, 9, 1, (1, 2), 0);
        let second = &sampler.sample()[0];
        assert_eq!((second.page_faults, second.involuntary_switches), (Some(1), Some(8)));
        assert_eq!(host.sampler(&[(0, 1, &[])]).sample()[0].timer_ticks, None);
    }

    #[test]
    fn this_thread_shows_up_with_what_it_does() {
        let link = fs::read_link("/proc/thread-self").unwrap();
        let tid: i32 = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let cpus = crate::sys::affinity::current().unwrap().into_iter().map(|cpu| cpu as u32).collect();
        let mut sampler = Sampler::new(Path::new("/"), vec![Thread { lcore: 0, tid, cpus }]);
        let counting = sampler.count_cache_misses().is_ok();
        std::thread::sleep(std::time::Duration::from_millis(1));
        let evidence = &sampler.sample()[0];
        assert!(evidence.voluntary_switches >= Some(1), "a sleep is a voluntary switch: {evidence:?}");
        assert!(evidence.cpu.is_some() && evidence.page_faults.is_some(), "{evidence:?}");
        assert_eq!(evidence.cache_misses.is_some(), counting);
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("CPU0".into()),
            Just("cpu0".into()),
            Just("LOC:".into()),
            Just(")".into()),
            "[0-9]{1,22}",
            ".{0,6}"
        ];
        let line = prop::collection::vec(word, 0..45).prop_map(|words: Vec<String>| words.join(" "));
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n").into_bytes())
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_harm(
            contents in prop::collection::vec(prop_oneof![lines(), prop::collection::vec(any::<u8>(), 0..300)], 1..5)
        ) {
            let mut cpus = Cpus::new(vec![0, 2]);
            for text in &contents {
                cpus.interrupts(text);
                cpus.steal(text);
                let _ = (thread_stat(text), context_switches(text));
                for cpu in &cpus.cpus {
                    let named: u128 = cpu.busiest.iter().flatten().map(|(_, count)| u128::from(*count)).sum();
                    prop_assert!(named <= cpu.others.unwrap_or(0).into() || cpu.others == Some(u64::MAX));
                    prop_assert!(cpus.names(cpu).keys().all(|name| name.chars().count() <= NAME_CHARS));
                }
            }
        }

        #[test]
        fn interrupts_are_counted_whatever_their_table(
            rows in prop::collection::btree_map("[A-Z]{3}|[1-9][0-9]{0,3}", ((0u64..1 << 40, 0u64..1 << 40), (0u64..1 << 40, 0u64..1 << 40)), 0..20)
        ) {
            let table = |after: bool| {
                let mut text = "CPU1 CPU7\n".to_owned();
                for (label, (before, grown)) in &rows {
                    let (a, b) = if after { (before.0 + grown.0, before.1 + grown.1) } else { *before };
                    text += &format!("{label}: {a} {b} chip 1-edge dev\n");
                }
                text
            };
            let mut cpus = Cpus::new(vec![7]);
            cpus.interrupts(table(false).as_bytes());
            cpus.interrupts(table(true).as_bytes());
            let sum = |timer: bool| rows.iter().filter(|(l, _)| !matches!(l.as_str(), "ERR" | "MIS") && (*l == "LOC") == timer).map(|(_, (_, grown))| grown.1).sum();
            prop_assert_eq!((cpus.cpus[0].timer, cpus.cpus[0].others), (Some(sum(true)), Some(sum(false))));
        }
    }
}
