//! The recorder's end of the journal: entries of each venue in by rings, blocks of the journal's files out.

use super::outlet::Lost;
use super::trace::{HOLD, Writer};
use crate::dpdk::ring::Consumer;
use crate::journal::{Coder, Slot};
use std::sync::Arc;
use std::time::Instant;

/// Slots taken at a time.
const INTAKE: usize = 4096;
/// Looks at one ring before the next has its turn.
const TURNS: usize = 32;

/// See the module.
pub struct Journaling {
    writer: Writer,
    venues: Vec<Venue>,
    intake: Box<[Slot]>,
    complained: bool,
}

struct Venue {
    name: String,
    ring: Consumer<Slot>,
    lost: Arc<Lost>,
    coder: Coder,
    /// When the first entry came that is in no block.
    since: Option<Instant>,
    /// The file says that entries were lost.
    marked: bool,
}

impl Journaling {
    /// Of venues by their name: what comes from each, and what found no room on the way.
    pub fn new(writer: Writer, venues: Vec<(String, Consumer<Slot>, Arc<Lost>)>) -> Journaling {
        let venues = venues.into_iter().zip(0..).map(|((name, ring, lost), index)| Venue {
            name,
            ring,
            lost,
            coder: Coder::new(index),
            since: None,
            marked: false,
        });
        Journaling {
            writer,
            venues: venues.collect(),
            intake: vec![[0; 4]; INTAKE].into_boxed_slice(),
            complained: false,
        }
    }

    /// Take what the rings hold, and write what is full or has waited. Returns how many slots were taken.
    pub fn drain(&mut self) -> usize {
        let Journaling { writer, venues, intake, complained } = self;
        let mut all = 0;
        for venue in venues {
            for _ in 0..TURNS {
                let n = venue.ring.pop_slice(intake);
                venue.coder.take(&intake[..n]);
                if venue.coder.is_full() {
                    venue.write(writer);
                }
                all += n;
                if n < intake.len() {
                    break;
                }
            }
            if venue.since.is_none() && !venue.coder.is_empty() {
                venue.since = Some(Instant::now());
            }
            let broken = !venue.marked && venue.lost.count() > 0;
            if broken {
                venue.marked = true;
                log::error!(
                    "the journal of venue {} ends: the recorder is slower than its packets; see record.cpus",
                    venue.name
                );
            }
            if broken || venue.since.is_some_and(|since| since.elapsed() >= HOLD) {
                venue.write(writer);
            }
        }
        if let (Some(why), false) = (writer.failure(), *complained) {
            *complained = true;
            log::error!("cannot write the journal; it is of no use from here on: {why}");
        }
        all
    }

    /// Venues whose journal lacks something.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        self.venues.iter().filter(|venue| venue.marked).map(|venue| venue.name.as_str())
    }

    /// Write what waits, and the end of the run. The rings are empty.
    pub fn finish(mut self) {
        for venue in &mut self.venues {
            venue.write(&mut self.writer);
        }
        self.writer.finish();
    }
}

impl Venue {
    fn write(&mut self, writer: &mut Writer) {
        self.since = None;
        if self.marked || !self.coder.is_empty() {
            // A block that the disk refuses is missed by readers: the next says how many entries came before it.
            writer.entries(&self.coder.block(self.marked));
        }
    }
}
