//! The earlier runs that a run is judged by: which of those in the store belong together, and their blocks.

use crate::detect::dated::{DatedRun, dated};
use crate::detect::history::PastRun;
use crate::detect::history_findings::History;
use crate::model::blocks::BlockSeries;
use crate::model::finding::SeriesReference;
use crate::model::history::{HistoryChange, HistoryReport, HistoryRun};
use crate::model::metric::MetricKind;
use crate::model::report::{AnalysisReport, RunReport, Skipped, VerdictKind};
use crate::model::time::Timestamp;
use crate::stats::on_cores::on_cores;
use crate::stats::step::{RUNS_MAX, STEP_RUNS_MAX};
use crate::store::Store;
use crate::store::manifest::Manifest;
use crate::tables::kept_frames;

use super::{EngineError, baseline};

/// What is shown over the runs.
const LATENCY: &str = "http_req_duration";

/// Of runs that were left out, as many are named.
const NAMED_MAX: usize = 3;
/// Of the earlier runs, as many are shown in a report.
const SHOWN_MAX: usize = 199;

/// The earlier runs of a test, oldest first.
pub struct Past {
    pub past: Vec<PastRun>,
    /// Those of regressions that are over, which tell of seasons alone: before a season was known, its bad days were called
    /// regressed, and were over each time.
    pub over: Vec<PastRun>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// Returns the comparable ones of the `earlier` runs.
///
/// Runs of a regression that still stands are kept apart from those before it: at most as many as a step may be old, so that
/// it does not become the usual level by itself. Of one that is over they tell of another program, and are left out.
pub fn past(store: &Store, report: &AnalysisReport, earlier: &[Manifest]) -> Result<Past, EngineError> {
    let mut left_out = Vec::new();
    let mut fit = Vec::new();
    for manifest in earlier {
        match incomparable_because(manifest, report) {
            Some(why) => left_out.push(format!("{} {why}", manifest.run_id)),
            None if manifest.generator_limited => {
                left_out.push(format!("{} was limited by its load generator", manifest.run_id));
            }
            None => fit.push(manifest),
        }
    }
    let mut past = Vec::new();
    let (of_one_level, of_others) = of_one_level(&fit);
    let newest_first: Vec<&Manifest> = of_one_level.into_iter().rev().collect();
    for some in newest_first.chunks(RUNS_MAX) {
        for (manifest, blocks) in some.iter().zip(blocks_of_all(store, some)) {
            match blocks {
                Ok(Some(blocks)) => {
                    let (id, commit, started_at) =
                        (manifest.run_id.clone(), manifest.commit.clone(), manifest.started_at);
                    let (regressed_since, ramp) = (manifest.regressed_since.clone(), manifest.ramp.clone());
                    past.push(PastRun { id, commit, started_at, regressed_since, ramp, blocks });
                }
                Ok(None) => left_out.push(format!("{} has no blocks: only a summary of it is known", manifest.run_id)),
                // Deleted since it was listed, or damaged: no reason to lose the run at hand.
                Err(why) => left_out.push(format!("{} cannot be read: {why}", manifest.run_id)),
            }
        }
        if past.len() >= RUNS_MAX {
            past.truncate(RUNS_MAX);
            break;
        }
    }
    past.reverse();
    let more = left_out.len().saturating_sub(NAMED_MAX);
    let skipped = (!left_out.is_empty()).then(|| Skipped {
        what: format!("{} earlier runs", left_out.len()),
        reason: left_out[..left_out.len() - more].join("; ")
            + &if more > 0 { format!("; and {more} more") } else { String::new() },
    });
    let newest = &of_others[of_others.len().saturating_sub(RUNS_MAX)..];
    // One that cannot be read any more tells of no season, and is missed by nobody.
    let read = newest
        .iter()
        .zip(blocks_of_all(store, newest))
        .filter_map(|(manifest, blocks)| Some(past_run(manifest, blocks.ok().flatten()?)));
    Ok(Past { past, over: read.collect(), skipped: skipped.into_iter().collect() })
}

fn past_run(manifest: &Manifest, blocks: Vec<BlockSeries>) -> PastRun {
    PastRun {
        id: manifest.run_id.clone(),
        commit: manifest.commit.clone(),
        started_at: manifest.started_at,
        regressed_since: manifest.regressed_since.clone(),
        ramp: manifest.ramp.clone(),
        blocks,
    }
}

/// Returns the runs of the test of `run` by which it can be looked at while it goes on, oldest first, and whether an arrival
/// rate made their load.
///
/// How long it will be and what load it will have is not known: they are those that are like the newest one.
pub fn to_look_by(
    store: &Store,
    run: &RunReport,
    since: Option<Timestamp>,
) -> Result<(Vec<PastRun>, bool), EngineError> {
    let mut earlier = baseline::earlier(store, run, since)?;
    // The report at the end says it.
    let _taken_back = baseline::take_back_unfounded(store, &mut earlier);
    // A bad run would make all look usual.
    let is_fit = |manifest: &&Manifest| {
        !manifest.partial
            && !manifest.generator_limited
            && manifest.regressed_since.is_none()
            && manifest.verdict != VerdictKind::Suspect
    };
    let fit: Vec<&Manifest> = earlier.iter().filter(is_fit).collect();
    let Some(newest) = fit.last() else { return Ok((Vec::new(), false)) };
    let is_alike =
        |manifest: &&&Manifest| manifest.incomparable_because(newest.duration_seconds, &newest.totals).is_none();
    let alike: Vec<&Manifest> = fit.iter().rev().filter(is_alike).take(RUNS_MAX).copied().collect();
    let read = alike.iter().zip(blocks_of_all(store, &alike)).filter_map(|(manifest, blocks)| {
        // One that is damaged or gone is left out, as at the end, when that is said.
        let blocks = blocks.ok().flatten()?;
        let (id, started_at) = (manifest.run_id.clone(), manifest.started_at);
        Some(PastRun { id, commit: None, started_at, regressed_since: None, ramp: None, blocks })
    });
    let mut past: Vec<PastRun> = read.collect();
    past.reverse();
    Ok((past, newest.totals.arrivals_per_second.is_some()))
}

fn incomparable_because(manifest: &Manifest, report: &AnalysisReport) -> Option<String> {
    manifest.incomparable_because(report.run.duration_seconds, &report.totals)
}

/// Returns the p95 latency of the newest comparable ones of the `earlier` runs and of `report`'s, with the changes since;
/// none for the first run.
pub fn over_the_runs(earlier: &[Manifest], report: &AnalysisReport) -> Option<HistoryReport> {
    let latency = report.metrics.iter().find(|metric| metric.name == LATENCY && metric.kind == MetricKind::Trend)?;
    let comparable: Vec<&Manifest> =
        earlier.iter().filter(|manifest| incomparable_because(manifest, report).is_none()).collect();
    let mut runs: Vec<HistoryRun> = comparable[comparable.len().saturating_sub(SHOWN_MAX)..]
        .iter()
        .map(|manifest| HistoryRun {
            run: manifest.run_id.clone(),
            started_at: manifest.started_at,
            commit: manifest.commit.clone(),
            value: manifest.latency_p95_ms,
            regressed: manifest.regressed_since.is_some(),
        })
        .collect();
    if runs.is_empty() {
        return None;
    }
    let left_out_count = earlier.len() - runs.len();
    runs.push(HistoryRun {
        run: report.run.id.clone(),
        started_at: report.run.started_at,
        commit: report.run.commit.clone(),
        value: latency.values.get("p95").copied(),
        regressed: false,
    });
    let dated_runs: Vec<DatedRun> =
        runs.iter().map(|run| DatedRun { id: &run.run, commit: run.commit.as_deref(), value: run.value }).collect();
    let id = |index: usize| runs[index].run.clone();
    let changes = dated(&dated_runs).unwrap_or_default().into_iter().map(|change| HistoryChange {
        since_run: id(change.run),
        earliest_run: id(change.earliest),
        latest_run: id(change.latest),
        change: change.change,
    });
    let changes = changes.collect();
    let series = SeriesReference {
        metric: LATENCY.to_owned(),
        tags: std::collections::BTreeMap::new(),
        statistic: Some("p95".to_owned()),
    };
    Some(HistoryReport { series, unit: latency.unit, runs, left_out_count, changes })
}

/// Returns the gravest figure that is worse since an earlier run, over the runs that it was judged by; none where there is none.
pub fn found_over_the_runs(history: &History, earlier: &[Manifest], report: &AnalysisReport) -> Option<HistoryReport> {
    let course = history.course(&report.findings, &report.run.id)?;
    let (newest, before) = course.values.split_last()?;
    let run = |(past, value): (&&PastRun, &f64)| HistoryRun {
        run: past.id.clone(),
        started_at: earlier.iter().find(|manifest| manifest.run_id == past.id).and_then(|manifest| manifest.started_at),
        commit: past.commit.clone(),
        value: Some(*value),
        regressed: past.regressed_since.is_some(),
    };
    let mut runs: Vec<HistoryRun> = course.past.iter().zip(before).map(run).collect();
    let left_out_count = earlier.len().saturating_sub(runs.len());
    runs.push(HistoryRun {
        run: report.run.id.clone(),
        started_at: report.run.started_at,
        commit: report.run.commit.clone(),
        value: Some(*newest),
        regressed: true,
    });
    let finding = course.finding;
    let (earliest_run, latest_run) = course.began;
    let change =
        HistoryChange { since_run: finding.since_run.clone()?, earliest_run, latest_run, change: finding.change? };
    Some(HistoryReport {
        series: finding.series.clone(),
        unit: finding.unit,
        runs,
        left_out_count,
        changes: vec![change],
    })
}

/// Leaves out the runs of regressions that are over, which it returns as well, and the older ones of one that stands.
fn of_one_level<'m>(manifests: &[&'m Manifest]) -> (Vec<&'m Manifest>, Vec<&'m Manifest>) {
    let mut kept: Vec<&Manifest> = Vec::new();
    let mut over: Vec<&Manifest> = Vec::new();
    let mut regressed: Vec<&Manifest> = Vec::new();
    for manifest in manifests.iter().copied() {
        if manifest.regressed_since.is_some() {
            regressed.push(manifest);
        } else {
            over.append(&mut regressed);
            kept.push(manifest);
        }
    }
    // The newest run itself is one more of a step.
    let newest = regressed.len().saturating_sub(STEP_RUNS_MAX - 1);
    kept.extend(&regressed[newest..]);
    (kept, over)
}

/// Reads the blocks of several runs, in their order; of each, or why it cannot be read.
fn blocks_of_all(store: &Store, manifests: &[&Manifest]) -> Vec<Result<Option<Vec<BlockSeries>>, String>> {
    on_cores(manifests.to_vec(), |manifest| blocks(store, manifest).map_err(|error| error.to_string()))
}

fn blocks(store: &Store, manifest: &Manifest) -> Result<Option<Vec<BlockSeries>>, Box<dyn std::error::Error>> {
    let table = manifest.tables.iter().find(|table| table.table == "blocks" && table.rows > 0);
    let Some(table) = table else { return Ok(None) };
    Ok(Some(kept_frames::blocks(store.read(&manifest.attempt, &table.file)?.into())?))
}
