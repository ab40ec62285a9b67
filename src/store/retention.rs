//! What is deleted to keep a store small: a decision over manifests, then the steps that carry it out.
//!
//! Each step can be cut short anywhere: a run loses its manifest before its data, and its manifest stops naming the
//! samples before they go, so no reader is sent to a file that is gone. What a killed deletion left is found by the next.

use std::collections::HashMap;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use crate::model::time::Timestamp;

use super::manifest::{Manifest, TableFile};
use super::{CAPTURE, Store, StoreError, claim};

/// Tables that hold each thing that happened, and the servers' answers as they came; all others are small.
const DETAILS: [&str; 4] = ["samples", "spans", "logs", CAPTURE];
const SECONDS_PER_DAY: f64 = 86_400.0;

/// What is to stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest runs of each test and environment; none keeps all.
    pub keep_runs: Option<usize>,
    /// How long after its start a run keeps its samples, and of what the servers said spans, log lines and raw answers; none is for
    /// ever.
    pub samples_days: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Run,
    Samples,
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    pub manifest: Manifest,
    pub part: Part,
    pub age_days: f64,
    pub bytes: u64,
}

/// Returns what `retention` does not keep of `manifests`, in their order.
///
/// `manifests`: oldest first. A run is as old as its start, or, where its input does not tell, as its keeping.
pub fn deletions(manifests: &[Manifest], retention: Retention, now: Timestamp) -> Vec<Deletion> {
    let mut newer_counts: HashMap<(&str, &str), usize> = HashMap::new();
    let mut found = Vec::new();
    for manifest in manifests.iter().rev() {
        let newer_count = newer_counts.entry((&manifest.test, &manifest.environment)).or_default();
        let is_kept = retention.keep_runs.is_none_or(|keep| *newer_count < keep);
        *newer_count += 1;
        let age_days = now.seconds_since(Timestamp(manifest.order_key().0)) / SECONDS_PER_DAY;
        let is_old = retention.samples_days.is_some_and(|days| age_days > f64::from(days));
        let bytes = |tables: &mut dyn Iterator<Item = &TableFile>| tables.map(|table| table.bytes).sum();
        let (part, bytes) = if !is_kept {
            (Part::Run, bytes(&mut manifest.tables.iter()))
        } else if is_old && manifest.tables.iter().any(is_detail) {
            (Part::Samples, bytes(&mut manifest.tables.iter().filter(|table| is_detail(table))))
        } else {
            continue;
        };
        found.push(Deletion { manifest: manifest.clone(), part, age_days, bytes });
    }
    found.reverse();
    found
}

fn is_detail(table: &TableFile) -> bool {
    DETAILS.contains(&&*table.table)
}

fn file_of(table: &str) -> String {
    if table == CAPTURE { format!("{table}.tar") } else { format!("{table}.parquet") }
}

impl Store {
    /// Deletes a run, or its samples; says false when another process replaced or deletes it, and leaves it to that.
    pub fn delete(&self, deletion: &Deletion) -> Result<bool, StoreError> {
        let planned = &deletion.manifest;
        let path = self.manifest_path(&planned.run_id);
        let write = |cause: object_store::Error| StoreError::Write {
            what: format!("the deletion of {path}"),
            cause: cause.into(),
        };
        let lock = self.lock_runs()?;
        let now = self.manifest_at(&path)?;
        if now.as_ref().is_none_or(|now| now.attempt != planned.attempt) {
            return Ok(false);
        }
        // Killed between manifest and data, this deletion leaves a claim that nobody holds: a sign to delete the rest.
        let claim = self.claim_under_lock(&planned.attempt)?;
        if claim.is_none() && self.folder.is_some() {
            return Ok(false);
        }
        match deletion.part {
            Part::Run => {
                self.runtime.block_on(self.objects.delete(&path)).map_err(write)?;
                drop(lock);
                self.delete_attempt(&planned.attempt)?;
            }
            Part::Samples => {
                let tables = planned.tables.iter().filter(|table| !is_detail(table)).cloned().collect();
                self.put_manifest(&Manifest { tables, ..planned.clone() })?;
                drop(lock);
                DETAILS.iter().try_for_each(|table| self.delete_file(&planned.attempt, &file_of(table)))?;
            }
        }
        Ok(true)
    }

    /// Deletes the samples that a killed deletion left: their run's manifest no longer names them.
    pub fn delete_unnamed_samples(&self, manifests: &[Manifest]) -> Result<(), StoreError> {
        let without: HashMap<_, _> = manifests
            .iter()
            .flat_map(|manifest| {
                let is_named = |table: &str| manifest.tables.iter().any(|named| named.table == table);
                let unnamed = DETAILS.iter().filter(move |table| !is_named(table));
                unnamed.map(|table| {
                    let file = file_of(table);
                    (self.attempt_path(&manifest.attempt, &file), (&manifest.attempt, file))
                })
            })
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let folder = self.root.clone().join("data");
        let read = |cause: object_store::Error| StoreError::Read { what: folder.to_string(), cause: cause.into() };
        let metas: Vec<_> = self.runtime.block_on(self.objects.list(Some(&folder)).try_collect()).map_err(read)?;
        let mut left = metas.iter().filter_map(|meta| without.get(&meta.location));
        left.try_for_each(|(attempt, file)| {
            // One that is being written right now is named in a moment.
            let claim = self.claim(attempt)?;
            if claim.is_none() && self.folder.is_some() { Ok(()) } else { self.delete_file(attempt, file) }
        })
    }

    fn delete_file(&self, attempt: &str, file: &str) -> Result<(), StoreError> {
        let path = self.attempt_path(attempt, file);
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::Write { what: format!("the deletion of {path}"), cause: error.into() }),
        }
    }

    /// Nobody else replaces or deletes a manifest while the result lives. None for a bucket, which has no locks.
    pub(super) fn lock_runs(&self) -> Result<Option<std::fs::File>, StoreError> {
        let lock = self.folder.as_deref().map(claim::lock_runs).transpose();
        lock.map_err(|error| StoreError::Write { what: "the lock of the runs".to_owned(), cause: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use crate::model::report::{Totals, VerdictKind};
    use crate::store::manifest::{FORMAT_VERSION, TableFile};

    use super::*;

    const DAY_NS: i64 = 86_400_000_000_000;

    fn run(id: &str, test: &str, started_day: Option<i64>, kept_day: i64, tables: &[&str]) -> Manifest {
        let table = |name: &&str| TableFile { table: name.to_string(), file: String::new(), rows: 1, bytes: 10 };
        Manifest {
            format_version: FORMAT_VERSION,
            run_id: id.to_owned(),
            attempt: format!("attempt-{id}"),
            kept_at: Timestamp(kept_day * DAY_NS),
            test: test.to_owned(),
            environment: "staging".to_owned(),
            commit: None,
            started_at: started_day.map(|day| Timestamp(day * DAY_NS)),
            ended_at: None,
            duration_seconds: None,
            verdict: VerdictKind::Pass,
            partial: false,
            totals: Totals::default(),
            latency_p95_ms: None,
            regressed_since: None,
            ramp: None,
            generator_limited: false,
            tables: tables.iter().map(table).collect(),
        }
    }

    fn check(retention: Retention, expected: &[(&str, Part, u64)]) {
        let both = ["samples", "windows"];
        let asked = ["windows", "host_metrics", "spans", "capture"];
        let runs = [
            run("a", "shop", Some(10), 99, &both),
            run("b", "shop", Some(20), 99, &both),
            run("c", "pay", Some(30), 99, &both),
            run("d", "shop", None, 40, &["windows"]),
            run("f", "asked", Some(60), 99, &asked),
            run("e", "shop", Some(90), 99, &both),
        ];
        let found = deletions(&runs, retention, Timestamp(100 * DAY_NS));
        let found: Vec<_> =
            found.iter().map(|found| (found.manifest.run_id.as_str(), found.part, found.bytes)).collect();
        assert_eq!(found, expected, "{retention:?}");
    }

    #[test]
    fn runs_are_kept_by_test_and_environment_and_samples_by_age() {
        use Part::{Run, Samples};
        check(Retention::default(), &[]);
        check(Retention { keep_runs: Some(4), samples_days: None }, &[]);
        check(Retention { keep_runs: Some(2), samples_days: None }, &[("a", Run, 20), ("b", Run, 20)]);
        check(Retention { keep_runs: Some(1), samples_days: None }, &[("a", Run, 20), ("b", Run, 20), ("d", Run, 10)]);
        // A run is exactly as old as the limit: it stays.
        check(Retention { keep_runs: None, samples_days: Some(80) }, &[("a", Samples, 10)]);
        check(
            Retention { keep_runs: Some(3), samples_days: Some(10) },
            &[("a", Run, 20), ("b", Samples, 10), ("c", Samples, 10), ("f", Samples, 20)],
        );
        check(Retention { keep_runs: None, samples_days: Some(90) }, &[]);
    }
}
