//! Keeping: a thread of its own writes the tables while the samples are counted; the run exists when all is written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::model::report::AnalysisReport;
use crate::model::tags::TagSet;
use crate::model::time::Timestamp;
use crate::store::manifest::{FORMAT_VERSION, Manifest};
use crate::store::run_writer::{RunWriter, SampleIds};
use crate::store::{Store, StoreError};
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::pool::Pool;
use crate::tables::samples::SampleBlock;

/// Where a run is kept.
pub struct Keep<'a> {
    pub store: &'a Store,
    /// Unique among all analyses: the folder for this one's data.
    pub attempt: String,
    pub now: Timestamp,
}

/// Blocks that wait for the writing thread; more would only fill the memory.
const WAITING_MAX: usize = 4;

/// What the writing thread is given, in the order of the run.
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

/// The writing thread, while samples are read.
pub struct Keeper<'scope, 'a> {
    work: SyncSender<Keeping>,
    thread: ScopedJoinHandle<'scope, Result<RunWriter<'a>, StoreError>>,
}

impl<'scope, 'a: 'scope> Keeper<'scope, 'a> {
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, writer: RunWriter<'a>) -> Keeper<'scope, 'a> {
        let (work, waiting) = sync_channel(WAITING_MAX);
        let named = std::thread::Builder::new().name("keep".to_owned());
        let thread =
            named.spawn_scoped(scope, move || write_all(writer, &waiting)).expect("the system starts a thread");
        Keeper { work, thread }
    }

    /// Says whether the thread takes more; it does not after an error, which `finish` returns.
    pub fn keep(&self, part: Keeping) -> bool {
        self.work.send(part).is_ok()
    }

    /// Waits until all is written but what `RunWriter::finish` adds.
    pub fn finish(self) -> Result<RunWriter<'a>, StoreError> {
        drop(self.work);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_all<'a>(mut writer: RunWriter<'a>, parts: &Receiver<Keeping>) -> Result<RunWriter<'a>, StoreError> {
    // By decoder, then by label.
    let mut known: Vec<Vec<SampleIds>> = Vec::new();
    for part in parts {
        match part {
            Keeping::Metric(name) => writer.append_metric(name),
            Keeping::TagSet(id, tags) => writer.append_tag_set(id, tags)?,
            Keeping::Windows(mut windows) => writer.append_windows(&mut windows)?,
            Keeping::Samples { block, labels, spent } => {
                if known.len() <= labels.decoder {
                    known.resize_with(labels.decoder + 1, Vec::new);
                }
                let known = &mut known[labels.decoder];
                if labels.begin_anew {
                    known.clear();
                }
                known.extend(labels.new);
                writer.append_samples(&block, known)?;
                if let Some(spent) = spent {
                    spent.give(block);
                }
            }
        }
    }
    writer.finish_samples()?;
    Ok(writer)
}

/// Writes what is known at the end, and makes the run visible.
pub fn commit(
    writer: RunWriter,
    aggregate: &Aggregate,
    report: &AnalysisReport,
    keep: &Keep,
) -> Result<(), StoreError> {
    let attempt = writer.attempt().to_owned();
    let tables = writer.finish(aggregate)?;
    let bytes = serde_json::to_vec(report)
        .map_err(|error| StoreError::Write { what: "the report".to_owned(), cause: error.into() })?;
    keep.store.put(&attempt, "report.json", bytes)?;
    let values: std::collections::BTreeMap<&str, f64> = report
        .metrics
        .iter()
        .filter(|metric| metric.name == "http_req_duration")
        .flat_map(|metric| metric.values.iter().map(|(name, value)| (name.as_str(), *value)))
        .collect();
    keep.store.commit(&Manifest {
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
        tables,
    })
}
