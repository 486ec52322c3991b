//! Traces held against a baseline: files in, by one pass over each, the profiles of their runs out. What these mean is
//! `latency::drift`'s to say.

use crate::latency::profile::{Profile, ProfileBuilder};
use crate::latency::trace::{Block, Found, Run, TraceError};

/// What each run was like, the earliest first.
///
/// # Errors
/// A file that can no longer be read.
pub fn profiles(found: &Found) -> Result<Vec<Profile>, TraceError> {
    found.runs.iter().map(profile).collect()
}

fn profile(run: &Run) -> Result<Profile, TraceError> {
    let mut builder = ProfileBuilder::new(&run.header);
    let mut reader = run.read();
    while let Some(block) = reader.next()? {
        match block {
            Block::Records(records) => records.iter().for_each(|record| builder.record(record)),
            Block::Interval(interval) => builder.interval(&interval),
            // A later fit differs by parts in a million, and a shift matters from three in a hundred on.
            Block::Clock(_) | Block::Journal(_) | Block::End => {}
        }
    }
    let losses = reader.losses();
    let mut profile = builder.finish();
    let lost = losses.records_missing + losses.damage.records_damaged + losses.damage.records_unwritten;
    profile.lost = profile.lost.saturating_add(lost);
    Ok(profile)
}
