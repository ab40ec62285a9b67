//! Keeping: threads of its own write the tables while the samples are counted; the run exists when all is written.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::model::blocks::BlockSeries;
use crate::model::report::AnalysisReport;
use crate::model::tags::TagSet;
use crate::model::time::Timestamp;
use crate::store::manifest::{FORMAT_VERSION, Manifest};
use crate::store::report_tables;
use crate::store::run_writer::RunWriter;
use crate::store::sample_file::{Gathering, RowGroup, SampleFile, SampleIds};
use crate::store::{Store, StoreError, attempt};
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;

use super::EngineError;
use super::why::{self, Explained};

/// Where a run is kept.
pub struct Keep<'a> {
    pub store: &'a Store,
    /// Unique among all analyses: the folder for this one's data.
    pub attempt: String,
    pub now: Timestamp,
}

impl Keep<'_> {
    pub fn begin(store: &Store, now: Timestamp) -> Keep<'_> {
        Keep { store, attempt: attempt(now), now }
    }
}

/// Blocks that wait for the writing thread; more would only fill the memory.
const WAITING_MAX: usize = 4;

/// Row groups that wait for an encoder, some 3 MB each: k6 writes its metrics of requests in step, so that eight are due at
/// the same moment.
const WAITING_GROUPS_MAX: usize = 8;

/// What the writing thread is given, in the order of the run.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are samples: a box would be one more allocation for each block"
)]
pub enum Keeping {
    Metric(Arc<str>),
    TagSet(u32, Arc<TagSet>),
    Samples { block: SampleBlock, labels: LabelChange, spent: Option<Pool<SampleBlock>> },
    Windows(Vec<Window>),
}

/// What the labels of a block mean, as far as the writing thread does not know it yet.
pub struct LabelChange {
    /// Which decoder of which input gave the labels.
    pub decoder: usize,
    pub begin_anew: bool,
    pub new: Vec<SampleIds>,
}

/// What the writing threads write to.
pub struct Writers<'a> {
    tables: RunWriter<'a>,
    samples: SampleFile<'a>,
}

impl<'a> Writers<'a> {
    pub fn start(keep: &Keep<'a>) -> Result<Writers<'a>, StoreError> {
        let tables = RunWriter::start(keep.store, keep.attempt.clone())?;
        Ok(Writers { tables, samples: SampleFile::start(keep.store, &keep.attempt)? })
    }
}

/// The writing threads, while samples are read.
pub struct Keeper<'scope, 'a> {
    work: SyncSender<Keeping>,
    thread: ScopedJoinHandle<'scope, Result<Writers<'a>, StoreError>>,
}

impl<'scope, 'a: 'scope> Keeper<'scope, 'a> {
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, writers: Writers<'a>) -> Keeper<'scope, 'a> {
        let (work, waiting) = sync_channel(WAITING_MAX);
        let named = Builder::new().name("keep".to_owned());
        let thread =
            named.spawn_scoped(scope, move || write_all(writers, &waiting)).expect("the system starts a thread");
        Keeper { work, thread }
    }

    /// Says whether the threads take more; they do not after an error, which `finish` returns.
    pub fn keep(&self, part: Keeping) -> bool {
        self.work.send(part).is_ok()
    }

    /// Waits until all that was given is written.
    pub fn finish(self) -> Result<Writers<'a>, StoreError> {
        drop(self.work);
        joined(self.thread)
    }
}

fn joined<T>(thread: ScopedJoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Threads that encode samples: at the end of a run, when the others have nothing more to do, each core has one.
const ENCODERS: usize = 2;

fn write_all<'a>(mut writers: Writers<'a>, parts: &Receiver<Keeping>) -> Result<Writers<'a>, StoreError> {
    let Writers { tables, samples } = &mut writers;
    let samples = &*samples;
    std::thread::scope(|scope| {
        let (groups, waiting) = sync_channel(WAITING_GROUPS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let encoders = (0..ENCODERS).map(|_| {
            let (waiting, named) = (waiting.clone(), Builder::new().name("encode".to_owned()));
            named.spawn_scoped(scope, move || encode_all(samples, &waiting)).expect("the system starts a thread")
        });
        let encoders: Vec<_> = encoders.collect();
        // From here on only the encoders hold the other end: when they have failed, nobody waits for them.
        drop(waiting);
        let written = write_tables(tables, samples.gathering(), parts, &groups);
        drop(groups);
        encoders.into_iter().try_for_each(joined)?;
        written
    })?;
    Ok(writers)
}

fn encode_all(samples: &SampleFile, waiting: &Mutex<Receiver<RowGroup>>) -> Result<(), StoreError> {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(group) => samples.append(group)?,
            Err(_) => return Ok(()),
        }
    }
}

/// Ends early, without an error of its own, when the encoders have ended with theirs.
fn write_tables(
    tables: &mut RunWriter,
    mut gathering: Gathering,
    parts: &Receiver<Keeping>,
    groups: &SyncSender<RowGroup>,
) -> Result<(), StoreError> {
    // By decoder, then by label.
    let mut known: Vec<Vec<SampleIds>> = Vec::new();
    let mut encoders_wait = true;
    for part in parts {
        match part {
            Keeping::Metric(name) => gathering.append_metric(name),
            Keeping::TagSet(id, tags) => tables.append_tag_set(id, tags)?,
            Keeping::Windows(mut windows) => tables.append_windows(&mut windows)?,
            Keeping::Samples { block, labels, spent } => {
                if known.len() <= labels.decoder {
                    known.resize_with(labels.decoder + 1, Vec::new);
                }
                let known = &mut known[labels.decoder];
                if labels.begin_anew {
                    known.clear();
                }
                known.extend(labels.new);
                gathering.append(&block, known, |group| encoders_wait &= groups.send(group).is_ok());
                if let Some(spent) = spent {
                    spent.give(block);
                }
            }
        }
        if !encoders_wait {
            return Ok(());
        }
    }
    // When the encoders have failed there is nobody to send to, and nothing to be done about it here.
    gathering.finish().all(|group| groups.send(group).is_ok());
    Ok(())
}

/// Returns the first run of the gravest regression that a report holds.
fn regressed_since(report: &AnalysisReport) -> Option<String> {
    use crate::model::finding::{Direction, Severity};
    let is_regression = |finding: &&crate::model::finding::Finding| {
        finding.kind.is_change_of_system()
            && finding.direction == Direction::Worse
            && finding.severity != Severity::Minor
            && !finding.suspect
    };
    let first = report.findings.iter().find(is_regression)?;
    Some(first.since_run.clone().unwrap_or_else(|| report.run.id.clone()))
}

/// Writes what is known at the end, and makes the run visible.
///
/// `blocks`: none when only a summary was read. `explained`: what the servers said.
pub fn commit(
    writers: Writers,
    aggregate: &Aggregate,
    report: &mut AnalysisReport,
    blocks: &[BlockSeries],
    explained: Option<&Explained>,
    keep: &Keep,
) -> Result<(), EngineError> {
    let attempt = writers.tables.attempt().to_owned();
    let mut tables = vec![writers.samples.finish()?];
    tables.extend(writers.tables.finish(aggregate)?);
    tables.extend(report_tables::write(keep.store, &attempt, report, blocks)?);
    if let Some(explained) = explained {
        tables.extend(why::keep(keep.store, &attempt, explained, report)?);
    }
    keep.store.put_report(&attempt, report)?;
    let values: std::collections::BTreeMap<&str, f64> = report
        .metrics
        .iter()
        .filter(|metric| metric.name == "http_req_duration")
        .flat_map(|metric| metric.values.iter().map(|(name, value)| (name.as_str(), *value)))
        .collect();
    Ok(keep.store.commit(&Manifest {
        format_version: FORMAT_VERSION,
        run_id: report.run.id.clone(),
        attempt,
        kept_at: keep.now,
        test: report.run.test.clone(),
        environment: report.run.environment.clone(),
        commit: report.run.commit.clone(),
        started_at: report.run.started_at,
        ended_at: report.run.ended_at,
        duration_seconds: report.run.duration_seconds,
        verdict: report.verdict.kind,
        partial: report.run.partial,
        totals: report.totals.clone(),
        latency_p95_ms: values.get("p95").copied(),
        regressed_since: regressed_since(report),
        ramp: report.ramp.clone(),
        generator_limited: report.generator.as_ref().is_some_and(|generator| !generator.healthy),
        tables,
    })?)
}
