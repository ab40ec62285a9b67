//! The stream: from a Kafka topic into the journal, and each run of it through the data path of every other input.
//!
//! One thread polls, one keeps, one looks after the runs, and each run under way has one that reads and judges it
//! (`engine::analyze`), whose inputs are its pods as the journal has them. A run is the work of whoever owns the lowest of
//! its partitions; when that goes to another instance, this one drops the run and the other reads it from the journal.

pub mod counters;
mod intake;
mod lines;
mod progress;
mod run;
mod runs;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::ingest::kafka::access::{Access, AccessError};
use crate::model::report::AnalysisReport;
use crate::model::run::RunLabels;
use crate::store::{Store, StoreError};

use super::live::Live;
use super::watch::News;
use super::{EngineError, Request};
use counters::Counters;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How a topic is read.
#[derive(Debug, Clone)]
pub struct Settings {
    pub topic: String,
    /// Instances that share the work have the same.
    pub group: String,
    /// Under which an instance that was killed goes on at once.
    pub instance: Option<String>,
    /// A run that did not say that it ended has ended after so long without a line.
    pub quiet: Duration,
    /// What was read is kept at least so often, and when there is so much of all partitions.
    pub commit_every: Duration,
    pub commit_bytes: usize,
    /// Runs that are judged at once; more wait in the journal.
    pub runs_at_once: usize,
    /// What is known of runs whose producer does not say.
    pub labels: RunLabels,
    /// Ends when each run so far is reported and the topic is read to its end.
    pub is_until_idle: bool,
}

/// What happens to a run while it streams by.
#[derive(Debug)]
pub enum Told<'r> {
    Began {
        run: &'r str,
        labels: &'r RunLabels,
        live: &'r Arc<Live>,
    },
    News {
        run: &'r str,
        labels: &'r RunLabels,
        news: Box<News>,
    },
    /// `report`: none where nothing of it could be read; `reason` says why.
    Reported {
        run: &'r str,
        report: Option<&'r AnalysisReport>,
        reason: Option<String>,
    },
}

/// What a stream is given by whoever starts it.
pub struct Door<'d> {
    /// How a run is judged that its producer says so much of.
    pub request: &'d (dyn Fn(RunLabels) -> Request + Sync),
    pub tell: &'d (dyn Fn(Told) + Sync),
    pub counters: Arc<Counters>,
    /// Set to end: what was read is kept, the partitions go to other instances, runs under way stay in the journal.
    pub stop: Arc<AtomicBool>,
}

/// Reads a topic until `stop` is set, or something outside fails.
pub fn stream(access: &Access, store: &Arc<Store>, settings: &Settings, door: &Door) -> Result<(), StreamError> {
    let (kept, segments) = channel();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("runs".to_owned());
        let is_over = &is_over;
        let looking = named.spawn_scoped(scope, move || {
            let result = runs::look_after(store, settings, door, segments, is_over);
            // Whatever ended it, nobody looks after the runs any more.
            door.stop.store(true, Ordering::Relaxed);
            result
        });
        let looking = looking.expect("the system starts a thread");
        let read = intake::read(access, store, settings, &door.counters, kept, &door.stop);
        is_over.store(true, Ordering::Relaxed);
        let looked = looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.and(looked)
    })
}
