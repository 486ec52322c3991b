//! Moving a venue's stages to other lcores while everything runs.
//!
//! In: the plan that runs and the one that is wanted, which [`super::diff`] found possible. The venue's intake pauses, its
//! segments are taken from their lcores and polled here until nothing is between them, then they are taken apart, joined
//! anew, and given to the lcores of the new plan. What the port receives meanwhile waits in the port. Rings that the new
//! layout needs are made before anything is touched, so that a lack of memory changes nothing. Other venues of the same
//! lcores wait for as long as a list is changed.

use super::plan::{LcorePlan, Link, LinksPlan, Plan, RingPlan, Segment as SegmentPlan, Stage, VenuePlan};
use crate::dpdk::ring::spsc;
use crate::dpdk::{DpdkError, Eal, Mempool, Socket};
use crate::latency::board::{Board, Boards};
use crate::latency::recorder::Gauges;
use crate::risk::KillReason;
use crate::stages::{Dock, Ends, Flag, Flags, Idle, Links, Loose, Placed, Segment, Shared};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a venue may take to come to rest before its layout is left as it is.
const SETTLE: Duration = Duration::from_millis(300);

/// What the segments of a venue set when they have drained, by their last stage.
pub type Drained = BTreeMap<Stage, Arc<Flag>>;

/// Where every segment is.
pub struct Layout<'d, 'm> {
    eal: &'d Eal,
    docks: &'d BTreeMap<u32, Dock<'m>>,
    boards: &'d BTreeMap<u32, Boards>,
    shared: &'d [Arc<Shared>],
    gauges: Gauges,
    /// By venue: what its segments set when they have drained, by their last stage.
    drained: Vec<Drained>,
    /// By venue: what its stages get frames from, and give them back to.
    pools: Vec<Vec<Mempool>>,
    /// Rings made since the start: names are used once, because who watches a ring keeps it.
    made: u32,
}

/// What is there to move with: the rings that the layout of a venue needs and has not.
pub struct Prepared(Links);

/// A venue whose stages stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum Restless {
    /// Something stays between its stages.
    #[error(
        "venue {0}: not at rest in time, so its stages stay where they are; see whether its order port takes frames"
    )]
    Unsettled(String),
    /// An lcore that does not finish its round.
    #[error("venue {0}: an lcore is stuck, so its stages stay where they are")]
    Stuck(String),
    /// One of its stages panicked.
    #[error("venue {0}: a stage panicked, so its stages stay where they are")]
    Failed(String),
}

impl<'d, 'm> Layout<'d, 'm> {
    /// The layout that these docks have; `drained` and `pools` by venue.
    pub fn new(
        eal: &'d Eal,
        docks: &'d BTreeMap<u32, Dock<'m>>,
        boards: &'d BTreeMap<u32, Boards>,
        shared: &'d [Arc<Shared>],
        gauges: Gauges,
        drained: Vec<Drained>,
        pools: Vec<Vec<Mempool>>,
    ) -> Self {
        Layout { eal, docks, boards, shared, gauges, drained, pools, made: 0 }
    }

    /// Whether every segment of a venue has drained.
    pub fn has_drained(&self, venue: usize) -> bool {
        self.drained[venue].values().all(|flag| flag.load(Ordering::Acquire))
    }

    /// Whether nothing more will leave for a venue.
    pub fn has_closed(&self, venue: usize) -> bool {
        self.drained[venue].get(&Stage::Tx).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// Make the rings for `venue`'s new layout.
    ///
    /// # Errors
    /// EAL has no memory for them.
    pub fn prepare(&mut self, from: &VenuePlan, to: &VenuePlan) -> Result<Prepared, DpdkError> {
        let (from, to) = (&from.links, &to.links);
        Ok(Prepared(Links {
            rx_parse: self.ring(&from.rx_parse, &to.rx_parse)?,
            parse_strategy: self.ring(&from.parse_strategy, &to.parse_strategy)?,
            strategy_encode: self.ring(&from.strategy_encode, &to.strategy_encode)?,
            encode_tx: self.ring(&from.encode_tx, &to.encode_tx)?,
            tx_strategy: self.ring(&from.tx_strategy, &to.tx_strategy)?,
        }))
    }

    /// Both ends of the ring that `to` asks for, if `from` has not got it.
    fn ring<T: Send>(&mut self, from: &Link, to: &Link) -> Result<Ends<T>, DpdkError> {
        let Link::Ring(RingPlan { name, depth, node, .. }) = to else { return Ok((None, None)) };
        if stays(from, to) {
            return Ok((None, None));
        }
        self.made += 1;
        let suffix = format!("~{}", self.made);
        let kept = name.len().min(dpdk_sys::SHIM_RING_NAME_MAX as usize - suffix.len());
        let name = format!("{}{suffix}", &name[..kept]);
        let (producer, consumer) = spsc(self.eal, &name, *depth as usize, Socket::Node(*node))?;
        Ok((Some(producer), Some(consumer)))
    }

    /// Move the stages of venue number `venue` to where `to` has them. `wake` launches an lcore that has gone to sleep.
    /// Returns how long the venue's intake was paused.
    ///
    /// # Errors
    /// [`Restless`], and everything is as it was.
    pub fn carry_out(
        &mut self,
        venue: usize,
        prepared: Prepared,
        from: &VenuePlan,
        to: &Plan,
        wake: &mut dyn FnMut(u32),
    ) -> Result<Duration, Restless> {
        let shared = &self.shared[venue];
        let wanted = &to.venues[venue];
        let began = Instant::now();
        shared.pause_intake();
        let targets = to.lcores.iter().filter(|lcore| lcore.segments.iter().any(|segment| segment.venue == venue));
        let (mut taken, stuck) = self.take(venue, &targets.map(|lcore| lcore.id).collect::<Vec<_>>());
        let settled = !stuck && !shared.failed() && settle(&mut taken);
        // The stages were polled here, so this lcore's caches have frames too.
        self.pools[venue].iter().for_each(Mempool::flush);
        if !settled {
            for (lcore, placed) in taken {
                self.place(lcore, placed, wake);
            }
            shared.resume_intake();
            let name = from.name.clone();
            return Err(match stuck {
                true => Restless::Stuck(name),
                false if shared.failed() => Restless::Failed(name),
                false => Restless::Unsettled(name),
            });
        }
        let (stages, core, links) = apart(taken, prepared, &from.links, &wanted.links);
        self.watch(&from.name, &links);
        let places = to.lcores.iter().flat_map(|lcore: &LcorePlan| lcore.segments.iter().map(|s| (lcore.id, *s)));
        let places: Vec<(u32, SegmentPlan)> = places.filter(|(_, segment)| segment.venue == venue).collect();
        let (segments, drained) = together(stages, core, links, wanted, &places);
        self.drained[venue] = drained;
        for (lcore, segment) in segments {
            self.place(lcore, Placed::new(venue, segment), wake);
        }
        shared.resume_intake();
        let paused = began.elapsed();
        self.show();
        Ok(paused)
    }

    /// What lcores do without work, from now on.
    pub fn set_idle(&self, plan: &Plan) {
        for lcore in &plan.lcores {
            if let Some(mut berth) = self.docks.get(&lcore.id).and_then(Dock::hold) {
                berth.idle = idle(lcore.idle);
            }
        }
    }

    /// The venue's segments, and whether an lcore that has some, or is to get some, is stuck.
    fn take(&self, venue: usize, targets: &[u32]) -> (Vec<(u32, Placed<'m>)>, bool) {
        let (mut taken, mut stuck) = (Vec::new(), false);
        for (lcore, dock) in self.docks {
            let Some(mut berth) = dock.hold() else {
                stuck |=
                    targets.contains(lcore) || self.boards[lcore].segments.load().iter().any(|(of, _)| *of == venue);
                continue;
            };
            let (mine, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut berth.placed).into_iter().partition(|p| p.venue == venue);
            berth.placed = others;
            if !mine.is_empty() {
                berth.left.extend(self.pools[venue].iter().cloned());
            }
            taken.extend(mine.into_iter().map(|placed| (*lcore, placed)));
        }
        (taken, stuck)
    }

    fn place(&self, lcore: u32, placed: Placed<'m>, wake: &mut dyn FnMut(u32)) {
        // The diff let no lcore through that has no dock.
        let Some(mut berth) = self.docks[&lcore].hold() else {
            // It was not a moment ago. Half a venue cannot go on; the others can.
            log::error!("lcore {lcore} is stuck, and a stage was to move there: its venue ends");
            self.shared[placed.venue].kill().trip(KillReason::LcoreStuck);
            self.shared[placed.venue].abort();
            return;
        };
        berth.placed.push(placed);
        let asleep = std::mem::take(&mut berth.asleep);
        drop(berth);
        if asleep {
            wake(lcore);
        }
    }

    /// Tell who watches which rings venue `name` has now.
    fn watch(&self, name: &str, links: &Links) {
        let others = self.gauges.load();
        let others = others.iter().filter(|gauge| gauge.0 != name).cloned();
        let own = links.gauges().map(|(link, gauge)| (name.to_owned(), link, gauge));
        self.gauges.store(Arc::new(others.chain(own).collect()));
    }

    /// Tell who watches where each segment's numbers are shown now: first where there are more, so that none is missing.
    fn show(&self) {
        let list = |lcore: &u32| -> Option<Vec<(usize, Arc<Board>)>> {
            Some(self.docks[lcore].hold()?.placed.iter().map(|p| (p.venue, p.board.clone())).collect())
        };
        let lists = self.boards.iter().filter_map(|(lcore, boards)| Some((boards, list(lcore)?)));
        let mut lists: Vec<_> = lists.collect();
        lists.sort_by_key(|(boards, list)| list.len() <= boards.segments.load().len());
        lists.into_iter().for_each(|(boards, list)| boards.segments.store(Arc::new(list)));
    }
}

/// As stages know it.
pub fn idle(idle: super::file::Idle) -> Idle {
    match idle {
        super::file::Idle::Spin => Idle::Spin,
        super::file::Idle::Pause => Idle::Pause,
        super::file::Idle::Yield => Idle::Yield,
    }
}

/// Whether a link needs nothing new.
fn stays(from: &Link, to: &Link) -> bool {
    match (from, to) {
        (Link::Ring(from), Link::Ring(to)) => from.depth == to.depth,
        (Link::Fused, Link::Fused) => true,
        _ => false,
    }
}

/// Poll until nothing is between the segments. False when that takes too long, or one panics: its lcore does then what is
/// to be done with it.
fn settle(taken: &mut [(u32, Placed<'_>)]) -> bool {
    let until = Instant::now() + SETTLE;
    loop {
        let mut work = 0;
        for (_, placed) in taken.iter_mut() {
            match catch_unwind(AssertUnwindSafe(|| placed.segment.poll())) {
                Ok(n) => work += n,
                Err(_) => {
                    placed.over = !placed.segment.fail();
                    return false;
                }
            }
        }
        // What a poll passes on may be there only for the next segment's.
        if work == 0 && taken.iter().all(|(_, placed)| placed.segment.is_settled()) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
    }
}

/// The stages, the segment that the strategy stays in, and all ends of rings, the new ones in place of the old.
fn apart<'m>(
    taken: Vec<(u32, Placed<'m>)>,
    Prepared(fresh): Prepared,
    from: &LinksPlan,
    to: &LinksPlan,
) -> (Loose<'m>, Box<dyn Segment<'m> + 'm>, Links) {
    let (mut stages, mut links, mut core) = (Loose::default(), Links::default(), None);
    for (_, Placed { mut segment, .. }) in taken {
        segment.swap_ends(&mut links);
        stages.gather(segment.take_apart());
        if segment.has_strategy() {
            core = Some(segment);
        }
    }
    renew(&mut links.rx_parse, fresh.rx_parse, &from.rx_parse, &to.rx_parse);
    renew(&mut links.parse_strategy, fresh.parse_strategy, &from.parse_strategy, &to.parse_strategy);
    renew(&mut links.strategy_encode, fresh.strategy_encode, &from.strategy_encode, &to.strategy_encode);
    renew(&mut links.encode_tx, fresh.encode_tx, &from.encode_tx, &to.encode_tx);
    renew(&mut links.tx_strategy, fresh.tx_strategy, &from.tx_strategy, &to.tx_strategy);
    // Every venue has the five stages, on whatever lcores.
    (stages, core.expect("a venue has a strategy"), links)
}

fn renew<T: Send>(ends: &mut Ends<T>, fresh: Ends<T>, from: &Link, to: &Link) {
    if !stays(from, to) {
        *ends = fresh;
    }
}

/// The segments of the new plan with their lcores, and what they set when they have drained.
#[allow(clippy::type_complexity)] // a list of pairs, and a list
fn together<'m>(
    mut stages: Loose<'m>,
    mut core: Box<dyn Segment<'m> + 'm>,
    mut links: Links,
    venue: &VenuePlan,
    places: &[(u32, SegmentPlan)],
) -> (Vec<(u32, Box<dyn Segment<'m> + 'm>)>, Drained) {
    let burst = |stage| usize::from(venue.stage(stage).burst);
    if let Some(rx) = &mut stages.rx {
        rx.set_burst(burst(Stage::Rx));
    }
    if let Some(tx) = &mut stages.tx {
        tx.set_burst(burst(Stage::Tx));
    }
    let drained: Drained = places.iter().map(|(_, s)| (s.last, Arc::default())).collect();
    let mut segments = Vec::new();
    let mut home = None;
    for (lcore, SegmentPlan { first, last, .. }) in places {
        let here = |stage| (*first..=*last).contains(&stage);
        let own = Loose {
            rx: stages.rx.take_if(|_| here(Stage::Rx)),
            parse: stages.parse.take_if(|_| here(Stage::Parse)),
            encode: stages.encode.take_if(|_| here(Stage::Encode)),
            tx: stages.tx.take_if(|_| here(Stage::Tx)),
        };
        let upstream = super::launch::before(*first).map(|stage| drained[&stage].clone());
        let flags = Flags { upstream, drained: drained[last].clone() };
        if here(Stage::Strategy) {
            core.fit(own, flags);
            home = Some(*lcore);
        } else {
            segments.push((*lcore, core.beside(own, flags)));
        }
    }
    segments.extend(home.map(|lcore| (lcore, core)));
    segments.iter_mut().for_each(|(_, segment)| segment.swap_ends(&mut links));
    (segments, drained)
}
