//! What a run was like, in bounded memory: records and evidence come in as they stream by, and what goes out is, for
//! each venue and hop, one histogram for each slice of the run, beside what the host did in that slice. Slices are kept
//! apart because neighbouring samples share their cause: only whole stretches of time can be resampled. Never reads a
//! file or a clock.
//!
//! Histograms, not reservoirs: a p99 needs every sample of a slice, two slices merge without loss when the run outgrows
//! its slices, and a bucket's width (at most 1/64 of its value) is interpolated, so that a shift of 3 % shows.

use super::answers::Answers;
use super::hop::{self, Hop};
use super::interval::{HostChange, Interval};
use super::record::{Kind, Record};
use super::trace::{CaptureId, Header, VenueHeader};
use crate::host::fingerprint::Fingerprint;
use std::collections::BTreeMap;

/// Most slices of a run. When it outgrows them every two become one, so a long run has at least half as many.
pub const MAX_SLICES: usize = 128;
/// Length of a slice of a short run.
const FIRST_SLICE_NS: f64 = 10e6;
/// Buckets of a histogram: values to 2^[`TOP_BIT`] units, [`PER_OCTAVE`] for each doubling.
const BUCKETS: usize = ((TOP_BIT - OCTAVE_BITS + 1) << OCTAVE_BITS) as usize;
const OCTAVE_BITS: u32 = 6;
const PER_OCTAVE: u32 = 1 << OCTAVE_BITS;
/// 2^38 quarters of a nanosecond: 68 seconds.
const TOP_BIT: u32 = 38;
/// Resolution of the smallest values.
const UNITS_PER_NS: f64 = 4.0;
/// Most warnings of the clock that are kept.
const MOST_WARNINGS: usize = 8;
/// Most news of the host that are kept.
const MOST_HOST: usize = 64;
/// Filled buckets of a histogram that has none.
const EMPTY: (usize, usize) = (BUCKETS, 0);

/// A run, or a stretch of one.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Id of the run.
    pub run: String,
    /// `replay` or `run`.
    pub command: String,
    /// What was replayed.
    pub captures: Vec<CaptureId>,
    /// How fast.
    pub speed: String,
    /// Fewer CPUs than lcores.
    pub oversubscribed: bool,
    /// Program and host.
    pub fingerprint: Fingerprint,
    /// Fitted rate of the TSC.
    pub tsc_hz: f64,
    /// What the clock's watch complained about, each once.
    pub clock_warnings: Vec<String>,
    /// What the checks of the host said while it ran.
    pub host: Vec<HostChange>,
    /// Length of a slice.
    pub slice_ns: f64,
    /// Slices, the last of them not full.
    pub slices: usize,
    /// By venue, in the header's order.
    pub venues: Vec<VenueProfile>,
    /// By lcore: what happened to it in each slice.
    pub lcores: BTreeMap<u32, Vec<LcoreSlice>>,
    /// By lcore: the CPU that it was last seen on.
    pub cpus: BTreeMap<u32, u32>,
    /// By lcore: interrupts other than the timer's, by name.
    pub interrupt_names: BTreeMap<u32, BTreeMap<String, u64>>,
    /// Records whose stamps were out of order.
    pub negative: u64,
    /// Records lost before they could be seen.
    pub lost: u64,
}

/// One venue of a run.
#[derive(Clone, Debug, Default)]
pub struct VenueProfile {
    /// Its name, rings, lcores and budget.
    pub header: VenueHeader,
    /// Every order: by hop ([`Hop::index`]), by slice.
    pub hops: [Vec<Counts>; 8],
    /// What took part in no waiting for another order: of the first packet of a burst, the way of its first order up to
    /// its message, and the way of its last order from there to the doorbell. Between, an order waits for those before it
    /// to be encoded, then for those after it, and a later packet waits for the earlier ones: what one stage takes would
    /// count twice, or be blamed on another. rx→doorbell is here the sum of the hops.
    pub clear: [Vec<Counts>; 8],
    /// By slice.
    pub load: Vec<LoadSlice>,
    /// Most elements that an order's packet or the order found in a ring (rx→parse … encode→tx), by slice.
    pub ring_fill: Vec<[u16; 4]>,
}

/// Non-empty buckets of a log-bucketed histogram and their counts, in the order of their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u16, u32)>);

/// What caused orders in a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSlice {
    /// Orders sent.
    pub orders: u64,
    /// Sum of the sizes of the receive bursts that caused them.
    pub bursts: u64,
}

/// What happened to one lcore in a slice; an interval's counts are spread evenly over the time that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LcoreSlice {
    /// Part of the slice that evidence covers, in ns.
    pub covered_ns: f64,
    /// By [`Evidence::index`]: interrupts and the like as counts, times in ns. NaN where the host does not tell.
    pub amount: [f64; Evidence::ALL.len()],
}

/// What can be counted of an lcore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Time it was runnable and did not run.
    RunQueueWait,
    /// Time the hypervisor took.
    Steal,
    /// Times it was taken off its CPU.
    InvoluntarySwitches,
    /// Interrupts other than the timer's.
    Interrupts,
    /// Timer interrupts.
    TimerTicks,
    /// Page faults.
    PageFaults,
    /// Last-level cache load misses.
    CacheMisses,
}

impl Evidence {
    /// All.
    pub const ALL: [Evidence; 7] = [
        Evidence::RunQueueWait,
        Evidence::Steal,
        Evidence::InvoluntarySwitches,
        Evidence::Interrupts,
        Evidence::TimerTicks,
        Evidence::PageFaults,
        Evidence::CacheMisses,
    ];

    /// Its place in [`Evidence::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Evidence::RunQueueWait => "run-queue wait",
            Evidence::Steal => "steal",
            Evidence::InvoluntarySwitches => "involuntary switches",
            Evidence::Interrupts => "interrupts",
            Evidence::TimerTicks => "timer ticks",
            Evidence::PageFaults => "page faults",
            Evidence::CacheMisses => "cache misses",
        }
    }

    /// Measured in ns, not in times.
    pub const fn is_time(self) -> bool {
        matches!(self, Evidence::RunQueueWait | Evidence::Steal)
    }
}

/// Makes a [`Profile`] of what streams by.
#[derive(Clone, Debug)]
pub struct ProfileBuilder {
    profile: Profile,
    units_per_tick: f64,
    ns_per_tick: f64,
    slice_ticks: u64,
    /// TSC at the begin of slice 0; unknown before the first record.
    origin: Option<u64>,
    /// Evidence that came before the first record.
    early: Vec<Interval>,
    open: Vec<Open>,
    answers: Answers,
}

/// The slice of a venue that records fall into now, uncompressed.
#[derive(Clone, Debug)]
struct Open {
    slice: usize,
    /// By hop, of every order; then by hop, without waiting for others.
    hops: [Box<[u32]>; 16],
    /// First and last bucket that is filled.
    filled: [(usize, usize); 16],
    /// The first order and the latest one of the latest packet that was the first of its burst.
    packet: Option<(Record, Record)>,
}

/// Which orders are counted: the place of their first histogram in [`Open`].
const EVERY: usize = 0;
const CLEAR: usize = 8;

impl Counts {
    /// Samples.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|&(_, n)| u64::from(n)).sum()
    }

    /// Non-empty buckets and their counts. [`Counts::bounds_ns`] tells what a bucket holds.
    pub fn buckets(&self) -> &[(u16, u32)] {
        &self.0
    }

    /// Least value of a bucket and that of the next, in ns.
    pub fn bounds_ns(bucket: u16) -> (f64, f64) {
        let edge = |bucket: u32| {
            let octave = bucket >> OCTAVE_BITS;
            let within = u64::from(bucket & (PER_OCTAVE - 1));
            let units = if octave == 0 { within } else { (u64::from(PER_OCTAVE) + within) << (octave - 1) };
            units as f64 / UNITS_PER_NS
        };
        (edge(u32::from(bucket)), edge(u32::from(bucket) + 1))
    }

    fn add(&mut self, other: &Counts) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let (mut mine, mut theirs) = (std::mem::take(&mut self.0).into_iter().peekable(), other.0.iter().peekable());
        while let Some(&(bucket, _)) = mine.peek() {
            while let Some(&&next) = theirs.peek().filter(|next| next.0 < bucket) {
                self.0.push(next);
                theirs.next();
            }
            // The loop's condition found it.
            let Some((bucket, n)) = mine.next() else { break };
            let more = theirs.next_if(|next| next.0 == bucket).map_or(0, |next| next.1);
            self.0.push((bucket, n.saturating_add(more)));
        }
        self.0.extend(theirs);
    }
}

impl VenueProfile {
    /// Samples of a hop.
    pub fn samples(&self, hop: Hop) -> u64 {
        self.hops[hop.index()].iter().map(Counts::total).sum()
    }

    /// Orders of the run.
    pub fn orders(&self) -> u64 {
        self.load.iter().map(|slice| slice.orders).sum()
    }

    /// Mean receive burst of the packets that caused orders.
    pub fn mean_burst(&self) -> f64 {
        let bursts: u64 = self.load.iter().map(|slice| slice.bursts).sum();
        bursts as f64 / self.orders().max(1) as f64
    }
}

impl Profile {
    /// How long it was, in seconds; its last slice counts as full.
    pub fn seconds(&self) -> f64 {
        self.slices as f64 * self.slice_ns / 1e9
    }
}

impl ProfileBuilder {
    /// Of the run that `header` heads.
    pub fn new(header: &Header) -> ProfileBuilder {
        // Without a rate a tick counts as a nanosecond: the figures are in ticks, and the comparison of such runs holds.
        let ns_per_tick = if header.clock.tsc_hz > 0.0 { 1e9 / header.clock.tsc_hz } else { 1.0 };
        let venue = |header: &VenueHeader| VenueProfile { header: header.clone(), ..VenueProfile::default() };
        ProfileBuilder {
            profile: Profile {
                run: header.run.clone(),
                command: header.command.clone(),
                captures: header.captures.clone(),
                speed: header.speed.clone(),
                oversubscribed: header.oversubscribed,
                fingerprint: header.fingerprint.clone(),
                tsc_hz: header.clock.tsc_hz,
                slice_ns: FIRST_SLICE_NS,
                venues: header.venues.iter().map(venue).collect(),
                ..Profile::default()
            },
            units_per_tick: ns_per_tick * UNITS_PER_NS,
            ns_per_tick,
            slice_ticks: (FIRST_SLICE_NS / ns_per_tick).max(1.0) as u64,
            origin: None,
            early: Vec::new(),
            open: header.venues.iter().map(|_| Open::default()).collect(),
            answers: Answers::default(),
        }
    }

    /// Take in one record. Those of venues that the header does not know are left out, as are packets that caused no
    /// order: another share of them in another run would look like a shift.
    pub fn record(&mut self, record: &Record) {
        let venue = usize::from(record.venue);
        if venue >= self.open.len() {
            return;
        }
        match record.kind() {
            Some(Kind::Sent) => {
                self.answers.sent(record);
                self.sent(venue, record);
            }
            Some(Kind::Acknowledged | Kind::Filled) => self.acknowledged(venue, record),
            _ => {}
        }
    }

    /// Take in what the host did in an interval.
    pub fn interval(&mut self, interval: &Interval) {
        self.profile.lost = self.profile.lost.saturating_add(interval.records_lost);
        for warning in &interval.clock.warnings {
            note_once(&mut self.profile.clock_warnings, warning);
        }
        let room = MOST_HOST.saturating_sub(self.profile.host.len());
        self.profile.host.extend(interval.host.iter().take(room).cloned());
        if self.origin.is_some() {
            self.spread(interval);
        } else if self.early.len() < MAX_SLICES {
            self.early.push(interval.clone());
        }
    }

    /// The run so far; the builder goes on.
    pub fn profile(&mut self) -> Profile {
        for venue in 0..self.open.len() {
            self.packet_is_over(venue);
            self.close(venue);
        }
        let mut profile = self.profile.clone();
        let slices = profile.slices;
        for venue in &mut profile.venues {
            let hops = venue.hops.iter_mut().chain(&mut venue.clear);
            hops.for_each(|hop| hop.resize(slices, Counts::default()));
            venue.load.resize(slices, LoadSlice::default());
            venue.ring_fill.resize(slices, [0; 4]);
        }
        profile.lcores.values_mut().for_each(|lcore| lcore.resize(slices, LcoreSlice::default()));
        profile
    }

    /// The run.
    pub fn finish(mut self) -> Profile {
        self.profile()
    }

    fn sent(&mut self, venue: usize, record: &Record) {
        if record.rx_tsc == 0 {
            // No packet caused it: a cancel at the end, an answer to a fill.
            return;
        }
        let Some(spans) = hop::software(record) else {
            self.profile.negative += 1;
            return;
        };
        if self.origin.is_none() {
            self.origin = Some(record.rx_tsc);
            for interval in std::mem::take(&mut self.early) {
                self.spread(&interval);
            }
        }
        match &mut self.open[venue].packet {
            Some((_, last)) if last.rx_tsc == record.rx_tsc => {
                if record.burst_position == 0 {
                    *last = *record;
                }
            }
            _ => {
                self.packet_is_over(venue);
                self.open[venue].packet = (record.burst_position == 0).then_some((*record, *record));
            }
        }
        let slice = self.slice_of(record.rx_tsc);
        self.turn_to(venue, slice);
        self.count_all(venue, EVERY, record, spans);
        let at = &mut self.profile.venues[venue];
        at.load[slice].orders += 1;
        at.load[slice].bursts += u64::from(record.burst_size);
        for (most, seen) in at.ring_fill[slice].iter_mut().zip(record.occupancy) {
            *most = (*most).max(seen);
        }
    }

    fn acknowledged(&mut self, venue: usize, record: &Record) {
        let Ok(Some(ticks)) = self.answers.answered(record) else { return };
        let slice = self.slice_of(record.rx_tsc);
        self.turn_to(venue, slice);
        for which in [EVERY, CLEAR] {
            self.count(venue, which + Hop::DoorbellAck.index(), ticks);
        }
    }

    /// The packet of which the latest orders were has no more of them.
    fn packet_is_over(&mut self, venue: usize) {
        let Some((first, last)) = self.open[venue].packet.take() else { return };
        let (Some(mut spans), Some(to_doorbell)) = (hop::software(&first), hop::software(&last)) else { return };
        spans[4] = to_doorbell[4];
        let slice = self.slice_of(first.rx_tsc);
        self.turn_to(venue, slice);
        self.count_all(venue, CLEAR, &first, spans);
    }

    fn count_all(&mut self, venue: usize, which: usize, record: &Record, spans: [u64; 5]) {
        for (hop, ticks) in Hop::SOFTWARE.into_iter().zip(spans) {
            self.count(venue, which + hop.index(), ticks);
        }
        self.count(venue, which + Hop::RxDoorbell.index(), spans.iter().sum());
        if let Some(ticks) = hop::wire(record) {
            self.count(venue, which + Hop::WireRx.index(), ticks);
        }
    }

    fn count(&mut self, venue: usize, histogram: usize, ticks: u64) {
        let units = (ticks as f64 * self.units_per_tick) as u64;
        let (open, bucket) = (&mut self.open[venue], bucket_of(units));
        let (first, last) = &mut open.filled[histogram];
        (*first, *last) = ((*first).min(bucket), (*last).max(bucket));
        let n = &mut open.hops[histogram][bucket];
        *n = n.saturating_add(1);
    }

    /// The slice that a moment falls into; the run's slices grow to hold it.
    fn slice_of(&mut self, tsc: u64) -> usize {
        let since = tsc.saturating_sub(self.origin.unwrap_or(tsc));
        while since / self.slice_ticks >= MAX_SLICES as u64 {
            self.halve();
        }
        let slice = (since / self.slice_ticks) as usize;
        self.profile.slices = self.profile.slices.max(slice + 1);
        slice
    }

    /// Make `slice` the one that the venue's records fall into.
    fn turn_to(&mut self, venue: usize, slice: usize) {
        if self.open[venue].slice != slice {
            self.close(venue);
            self.open[venue].slice = slice;
        }
        let at = &mut self.profile.venues[venue];
        if at.load.len() <= slice {
            at.load.resize(slice + 1, LoadSlice::default());
            at.ring_fill.resize(slice + 1, [0; 4]);
        }
    }

    fn close(&mut self, venue: usize) {
        let Open { slice, hops, filled, .. } = &mut self.open[venue];
        let VenueProfile { hops: every, clear, .. } = &mut self.profile.venues[venue];
        for ((open, filled), closed) in hops.iter_mut().zip(filled).zip(every.iter_mut().chain(clear)) {
            let (first, last) = std::mem::replace(filled, EMPTY);
            let Some(open) = open.get_mut(first..=last) else { continue };
            let counts = open.iter().enumerate().filter(|(_, n)| **n > 0);
            // There are fewer buckets than 2^16.
            let counts = Counts(counts.map(|(at, n)| ((first + at) as u16, *n)).collect());
            open.fill(0);
            if closed.len() <= *slice {
                closed.resize(*slice + 1, Counts::default());
            }
            closed[*slice].add(&counts);
        }
    }

    /// Make every two slices one.
    fn halve(&mut self) {
        for venue in 0..self.open.len() {
            self.close(venue);
            self.open[venue].slice /= 2;
        }
        fn fold<T: Clone>(slices: &mut Vec<T>, add: impl Fn(&mut T, &T)) {
            let folded = slices.chunks(2).map(|pair| {
                let mut first = pair[0].clone();
                pair[1..].iter().for_each(|second| add(&mut first, second));
                first
            });
            *slices = folded.collect();
        }
        for venue in &mut self.profile.venues {
            venue.hops.iter_mut().chain(&mut venue.clear).for_each(|hop| fold(hop, Counts::add));
            fold(&mut venue.load, |a, b| {
                a.orders += b.orders;
                a.bursts += b.bursts;
            });
            fold(&mut venue.ring_fill, |a, b| *a = std::array::from_fn(|i| a[i].max(b[i])));
        }
        self.profile.lcores.values_mut().for_each(|lcore| fold(lcore, LcoreSlice::add));
        self.slice_ticks *= 2;
        self.profile.slice_ns *= 2.0;
        self.profile.slices = self.profile.slices.div_ceil(2);
    }

    /// Spread an interval's evidence over the slices that it covers.
    fn spread(&mut self, interval: &Interval) {
        let origin = self.origin.unwrap_or(interval.from_tsc);
        let (from, to) = (interval.from_tsc.max(origin), interval.to_tsc);
        if from >= to {
            return;
        }
        let last = self.slice_of(to - 1);
        let first = self.slice_of(from);
        let length = (interval.to_tsc - interval.from_tsc) as f64;
        for lcore in &interval.lcores {
            if let Some(cpu) = lcore.cpu {
                self.profile.cpus.insert(lcore.lcore, cpu);
            }
            let names = self.profile.interrupt_names.entry(lcore.lcore).or_default();
            for (name, n) in &lcore.interrupt_names {
                *names.entry(name.clone()).or_default() += n;
            }
            let told = |amount: Option<u64>| amount.map_or(f64::NAN, |amount| amount as f64);
            let whole: [f64; 7] = Evidence::ALL.map(|evidence| {
                told(match evidence {
                    Evidence::RunQueueWait => lcore.run_queue_wait_ns,
                    Evidence::Steal => lcore.steal_ns,
                    Evidence::InvoluntarySwitches => lcore.involuntary_switches,
                    Evidence::Interrupts => lcore.interrupts,
                    Evidence::TimerTicks => lcore.timer_ticks,
                    Evidence::PageFaults => lcore.page_faults,
                    Evidence::CacheMisses => lcore.cache_misses,
                })
            });
            let slices = self.profile.lcores.entry(lcore.lcore).or_default();
            slices.resize(slices.len().max(last + 1), LcoreSlice::default());
            for (slice, at) in slices.iter_mut().enumerate().take(last + 1).skip(first) {
                let begin = origin + slice as u64 * self.slice_ticks;
                let covered = (to.min(begin + self.slice_ticks) - from.max(begin)) as f64;
                let part = LcoreSlice {
                    covered_ns: covered * self.ns_per_tick,
                    amount: whole.map(|amount| amount * covered / length),
                };
                at.add(&part);
            }
        }
    }
}

impl LcoreSlice {
    fn add(&mut self, other: &LcoreSlice) {
        self.covered_ns += other.covered_ns;
        self.amount = std::array::from_fn(|i| self.amount[i] + other.amount[i]);
    }
}

impl Default for Open {
    fn default() -> Self {
        let hops = std::array::from_fn(|_| vec![0; BUCKETS].into_boxed_slice());
        Open { slice: 0, hops, filled: [EMPTY; 16], packet: None }
    }
}

/// Add a warning unless there is one of its wording, whatever its figures, or there are many.
pub fn note_once(warnings: &mut Vec<String>, warning: &str) {
    let wording =
        |text: &str| text.split(|c: char| c.is_ascii_digit() || c == '.').map(str::to_owned).collect::<String>();
    if warnings.len() < MOST_WARNINGS && !warnings.iter().any(|known| wording(known) == wording(warning)) {
        warnings.push(warning.to_owned());
    }
}

fn bucket_of(units: u64) -> usize {
    let units = units.min((1 << TOP_BIT) - 1);
    let octave = (u64::BITS - units.leading_zeros()).saturating_sub(OCTAVE_BITS);
    match octave {
        0 => units as usize,
        _ => ((octave << OCTAVE_BITS) as usize) + ((units >> (octave - 1)) as usize & (PER_OCTAVE as usize - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::interval::LcoreEvidence;

    fn header() -> Header {
        let mut header = Header { venues: vec![VenueHeader::default()], ..Header::default() };
        header.clock.tsc_hz = 1e9;
        header
    }

    fn sent(rx_tsc: u64, spans: [u64; 5]) -> Record {
        let mut at = rx_tsc;
        let mut next = |ticks| {
            at += ticks;
            at
        };
        let [parsed_tsc, book_tsc, decided_tsc, encoded_tsc, doorbell_tsc] = spans.map(&mut next);
        Record {
            kind: Kind::Sent as u8,
            order_id: rx_tsc,
            burst_size: 2,
            rx_tsc,
            parsed_tsc,
            book_tsc,
            decided_tsc,
            encoded_tsc,
            doorbell_tsc,
            ..Record::default()
        }
    }

    #[test]
    fn a_bucket_holds_its_value_and_is_narrow() {
        let mut before = None;
        for units in (0..4096).chain((12..38).flat_map(|bit| [1 << bit, (1 << bit) + (1 << (bit - 1)), (2 << bit) - 1]))
        {
            let bucket = bucket_of(units) as u16;
            let (from, to) = Counts::bounds_ns(bucket);
            let ns = units as f64 / UNITS_PER_NS;
            assert!(from <= ns && ns < to, "{ns} in {from}..{to}");
            assert!(to - from <= (from / 64.0).max(0.25), "{from}..{to}");
            assert!(before.is_none_or(|before| before <= bucket));
            before = Some(bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_run_outgrows_its_slices_without_losing_a_sample() {
        let mut builder = ProfileBuilder::new(&header());
        // 100 s in steps of 1 ms, the last ones out of order as two rings deliver them.
        for ms in 0..100_000u64 {
            let ms = if (98_304..99_328).contains(&ms) { ms ^ 512 } else { ms };
            builder.record(&sent(5_000_000 + ms * 1_000_000, [100, 200, 300, 400, 500]));
        }
        let profile = builder.finish();
        let venue = &profile.venues[0];
        assert!((MAX_SLICES / 2..=MAX_SLICES).contains(&profile.slices), "{}", profile.slices);
        assert_eq!(venue.orders(), 100_000);
        for hop in Hop::SOFTWARE.into_iter().chain([Hop::RxDoorbell]) {
            assert_eq!(venue.samples(hop), 100_000);
            assert_eq!(venue.hops[hop.index()].len(), profile.slices);
        }
        assert_eq!(venue.samples(Hop::WireRx), 0);
        assert_eq!(venue.mean_burst(), 2.0);
        let full = (profile.slice_ns / 1e6) as u64;
        assert!(venue.load[..profile.slices - 1].iter().all(|slice| slice.orders == full));
    }

    #[test]
    fn evidence_is_spread_over_the_time_it_covers() {
        let mut builder = ProfileBuilder::new(&header());
        let lcore = LcoreEvidence { lcore: 3, interrupts: Some(1000), ..LcoreEvidence::default() };
        let interval =
            |from_tsc, to_tsc| Interval { from_tsc, to_tsc, lcores: vec![lcore.clone()], ..Interval::default() };
        // Half of the first interval lies before the first record.
        builder.interval(&interval(0, 2_000_000_000));
        builder.record(&sent(1_000_000_000, [1; 5]));
        builder.interval(&interval(2_000_000_000, 3_000_000_000));
        let profile = builder.finish();
        let slices = &profile.lcores[&3];
        let interrupts = Evidence::Interrupts.index();
        let total: f64 = slices.iter().map(|slice| slice.amount[interrupts]).sum();
        let covered: f64 = slices.iter().map(|slice| slice.covered_ns).sum();
        assert!((total - 1500.0).abs() < 1e-6 && (covered - 2e9).abs() < 1.0, "{total} {covered}");
        assert!((slices[slices.len() * 3 / 4].amount[interrupts] - profile.slice_ns / 1e6).abs() < 1e-6);
        assert!(slices[0].amount[Evidence::Steal.index()].is_nan());
    }

    #[test]
    fn an_order_that_others_waited_for_is_told_from_those_that_waited() {
        let mut builder = ProfileBuilder::new(&header());
        let order = |rx_tsc, burst_position, encode: u64, doorbell: u64| Record {
            burst_position,
            ..sent(rx_tsc, [10, 10, 10, encode, doorbell])
        };
        // Two orders of one packet, one of the next packet of the burst, then another burst.
        for record in [order(1000, 0, 100, 105), order(1000, 0, 200, 6), order(1000, 1, 300, 5), order(2000, 0, 90, 6)]
        {
            builder.record(&record);
        }
        let profile = builder.finish();
        let venue = &profile.venues[0];
        let values = |counts: &Counts| counts.buckets().iter().map(|at| Counts::bounds_ns(at.0).0).collect::<Vec<_>>();
        let encode = Hop::DecidedEncoded.index();
        assert_eq!(values(&venue.hops[encode][0]).len(), 4);
        assert_eq!(values(&venue.clear[encode][0]), [90.0, 100.0]);
        assert_eq!(values(&venue.clear[Hop::EncodedDoorbell.index()][0]), [6.0]);
        assert_eq!(values(&venue.clear[Hop::RxDoorbell.index()][0]), [126.0, 136.0]);
    }

    #[test]
    fn an_answer_finds_its_order_and_stamps_out_of_order_are_counted() {
        let mut builder = ProfileBuilder::new(&header());
        let order = sent(1000, [10; 5]);
        builder.record(&order);
        let answer =
            |order_id, rx_tsc| Record { kind: Kind::Acknowledged as u8, order_id, rx_tsc, ..Record::default() };
        builder.record(&answer(1000, 1050 + 7000));
        builder.record(&answer(999, 9000));
        builder.record(&Record { book_tsc: 1, ..order });
        // Caused by no packet: neither a time nor an error.
        builder.record(&Record { rx_tsc: 0, parsed_tsc: 0, order_id: 5, ..order });
        let profile = builder.finish();
        assert_eq!(profile.negative, 1);
        let answers = &profile.venues[0].hops[Hop::DoorbellAck.index()][0];
        assert_eq!(answers.total(), 1);
        let (from, to) = Counts::bounds_ns(answers.buckets()[0].0);
        assert!(from <= 7000.0 && 7000.0 < to);
    }
}
