//! A run of which the journal has something: what is known of it, and whether that is in a report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::time::Timestamp;
use crate::store::journal::Reported;

use super::lines::Pod;

/// Lines of a run that ended in silence are kept so long, in case that the rest comes.
const SILENT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A run of which the journal has something.
#[derive(Debug)]
pub struct Run {
    pub pods: BTreeMap<String, Arc<Pod>>,
    pub partitions: BTreeSet<i32>,
    /// When something of it came last.
    pub latest: Instant,
    pub state: State,
}

#[derive(Debug)]
pub enum State {
    /// It is not ours, or waits for its turn.
    Waits,
    /// A thread of `Work` reads it.
    Read,
    Reported(Reported),
}

impl Run {
    pub fn note(&mut self, reported: Reported) {
        if reported.is_whole {
            // Whatever comes of it now has come before.
            self.pods.clear();
        }
        self.state = State::Reported(reported);
    }

    fn reported(&self) -> Option<&Reported> {
        match &self.state {
            State::Reported(reported) => Some(reported),
            State::Waits | State::Read => None,
        }
    }

    /// Says whether all that its pods sent is in its report.
    pub fn is_whole(&self) -> bool {
        self.reported().is_some_and(|reported| reported.is_whole)
    }

    /// Says whether all that came of it is in its report. What comes of a pod that is, to its end, has come before.
    pub fn is_reported(&self) -> bool {
        let has_all = |reported: &Reported| {
            self.lines_count() <= reported.lines_count || self.pods.values().all(|pod| pod.is_whole())
        };
        self.is_whole() || self.reported().is_some_and(has_all)
    }

    /// Says whether nobody needs its lines any more.
    pub fn is_done(&self, now: Timestamp) -> bool {
        let is_old = |reported: &Reported| now.seconds_since(reported.at) > SILENT_KEPT.as_secs_f64();
        self.is_whole() || self.reported().is_some_and(is_old)
    }

    /// Returns how many pods it has; none where no producer knows.
    pub fn pods_count(&self) -> Option<u32> {
        self.pods.values().filter_map(|pod| pod.about()?.pods_count).max()
    }

    pub fn has_all_pods(&self) -> bool {
        self.pods_count().is_some_and(|count| self.pods.len() >= count as usize)
    }

    pub fn lines_count(&self) -> u64 {
        self.pods.values().map(|pod| pod.lines_count()).sum()
    }
}
