//! What a journal makes of a pipeline file: its venues each on one lcore, without ports, fed from the journal and captures
//! of the feed; and what the file says otherwise than the one that the journal was written with.

use super::file::{Check, ChecksumPolicy, PipelineFile, VenueFile};
use super::launch::feed_config;
use super::plan::{Plan, VenuePlan};
use crate::journal::{Journal, Listen, Messages};
use crate::latency::trace::{TraceError, VenueBeginning};
use crate::port::capture::CaptureError;
use crate::version::REVISION;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A journal to be followed.
#[derive(Clone, Debug)]
pub struct Following {
    /// It.
    pub journal: Journal,
    /// Captures of the feed: lists of files that follow each other.
    pub captures: Vec<Vec<PathBuf>>,
    /// End behind this order, and show it: of the venue named, or of any.
    pub until: Option<(Option<String>, u64)>,
    /// What has changed in the pipeline file, by venue.
    pub changed: Vec<(String, Vec<String>)>,
}

/// Why a journal cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Of other venues.
    #[error(
        "the journal is of the venues {found}, and the pipeline file has a venue {expected:?}; give the file it was written with"
    )]
    Venue {
        /// In the file.
        expected: String,
        /// In the journal.
        found: String,
    },
    /// Packets without a place.
    #[error("venue {0}: messages are found by their sequence numbers, and feed.sequence is \"off\"")]
    NoSequence(String),
}

impl Following {
    /// The journal at `path` and captures as the command line names them: `FILE`, or `NAME=FILE,FILE`.
    ///
    /// # Errors
    /// There is no journal there, or it cannot be read.
    pub fn open(
        path: &Path,
        captures: &[String],
        until: Option<(Option<String>, u64)>,
        file: &PipelineFile,
    ) -> Result<Following, FollowError> {
        let journal = Journal::open(path)?;
        let (mut bare, mut lists) = (Vec::new(), Vec::new());
        for capture in captures {
            match capture.split_once('=').filter(|_| !Path::new(capture).exists()) {
                None => bare.push(PathBuf::from(capture)),
                Some((_, files)) => lists.push(files.split(',').map(PathBuf::from).collect()),
            }
        }
        lists.push(bare);
        // A file that cannot be read any more has been told by then, as the one on the command line.
        let then = PipelineFile::parse(&journal.beginning().pipeline).ok();
        let was =
            |venue: &VenueFile| then.iter().flat_map(|file| &file.venues).find(|was| was.name == venue.name).cloned();
        let changed =
            file.venues.iter().filter_map(|venue| Some((venue.name.to_string(), changes(&was(venue)?, venue))));
        Ok(Following { changed: changed.collect(), journal, captures: lists, until })
    }

    /// The file as it is planned: every venue on its strategy's lcore, nothing recorded.
    #[must_use]
    pub fn file(file: &PipelineFile) -> PipelineFile {
        let mut file = file.clone();
        (file.record.trace, file.record.journal) = (None, false);
        for venue in &mut file.venues {
            let lcore = venue.stages.strategy.lcore;
            let stages = &mut venue.stages;
            (stages.rx.lcore, stages.parse.lcore) = (lcore, lcore);
            (stages.encode.lcore, stages.tx.lcore) = (lcore, lcore);
        }
        file
    }

    /// Plan the orders' states as they were in the journal's run.
    ///
    /// # Errors
    /// The journal is of other venues.
    pub fn apply(&self, plan: &mut Plan) -> Result<(), FollowError> {
        for venue in &mut plan.venues {
            venue.risk.assumed = self.venue(&venue.name)?.1.assumed;
            if venue.feed.sequence == Check::Off {
                return Err(FollowError::NoSequence(venue.name.clone()));
            }
        }
        Ok(())
    }

    /// A venue's index in the journal, and how it began.
    ///
    /// # Errors
    /// The journal is of other venues.
    pub fn venue(&self, name: &str) -> Result<(u16, VenueBeginning), FollowError> {
        let venues = &self.journal.header().venues;
        let at = venues.iter().position(|venue| venue.name == name);
        let beginning = at.and_then(|at| Some((at as u16, *self.journal.beginning().venues.get(at)?)));
        beginning.ok_or_else(|| FollowError::Venue {
            expected: name.to_owned(),
            found: venues.iter().map(|venue| venue.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The messages of a venue's feed.
    ///
    /// # Errors
    /// A capture cannot be read.
    pub fn messages(&self, venue: &VenuePlan) -> Result<Messages, FollowError> {
        let mut groups = Vec::new();
        if venue.feed.addressing == Check::Verify {
            for (line, plan) in (0..).zip(&venue.feed.lines) {
                groups.extend((0..).zip(&plan.groups).map(|(channel, group)| (*group, line, channel)));
            }
        }
        let listen = Listen {
            protocol: feed_config(venue).protocol,
            groups,
            ip_checksum: venue.feed.ip_checksum == ChecksumPolicy::Verify,
            udp_checksum: venue.feed.udp_checksum == ChecksumPolicy::Verify,
        };
        Ok(Messages::open(self.captures.clone(), listen)?)
    }

    /// The order that `venue` is to be followed to, if it is one of that venue.
    pub fn until(&self, venue: &str) -> Option<u64> {
        self.until.as_ref().filter(|(of, _)| of.as_ref().is_none_or(|of| of == venue)).map(|(_, id)| *id)
    }

    /// What has changed for `venue`, as warnings.
    pub fn changed(&self, venue: &str) -> Vec<String> {
        let changed = self.changed.iter().filter(|(of, _)| of == venue).flat_map(|(_, paths)| paths);
        let changed =
            changed.map(|path| format!("the pipeline file has changed since the journal was written: {path}"));
        let program = self.journal.header().fingerprint.0.get("tickpath.revision").filter(|was| **was != REVISION);
        let program = program.map(|was| format!("the journal was written by another program, of revision {was}"));
        changed.chain(program).collect()
    }
}

/// What decisions depend on that differs between two versions of a venue: the JSON path and both values.
fn changes(was: &VenueFile, is: &VenueFile) -> Vec<String> {
    let json = |venue: &VenueFile| {
        let mut venue = venue.clone();
        venue.risk.kill_file = None;
        // Plain data with string keys: nothing in it can fail to become JSON.
        serde_json::to_value(&venue).expect("a venue is plain data")
    };
    let (was, is) = (json(was), json(is));
    let mut found = Vec::new();
    for key in ["instruments", "book", "strategy", "risk"] {
        compare(key, &was[key], &is[key], &mut found);
    }
    found
}

fn compare(path: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().for_each(|key| compare(&format!("{path}.{key}"), &was[key], &is[key], found));
        }
        _ if was == is => {}
        _ => found.push(format!("{path} was {was} and is {is}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changed_is_told_by_its_path() {
        let (was, is) = (json!({"a": {"b": 1, "c": [2]}, "d": 3}), json!({"a": {"b": 1, "c": [4]}, "e": 5}));
        let mut found = Vec::new();
        compare("strategy", &was, &is, &mut found);
        assert_eq!(
            found,
            ["strategy.a.c was [2] and is [4]", "strategy.d was 3 and is null", "strategy.e was null and is 5"]
        );
    }
}
