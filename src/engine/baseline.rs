//! What a run is judged against: a run of the store, found or named, or one that was read from files.

use std::collections::HashMap;

use crate::detect::history::RUNS_MIN;
use crate::detect::judge::{Base, BaseKind};
use crate::detect::subjects::Side;
use crate::model::finding::{Direction, Finding, FindingKind};
use crate::model::report::{AnalysisReport, RunReport, Skipped, VerdictKind};
use crate::model::time::Timestamp;
use crate::store::manifest::Manifest;
use crate::store::{Store, StoreError};
use crate::tables::frames::Frames;
use crate::tables::kept_frames;

use super::EngineError;

/// What is looked for, in the list of what was not judged.
pub const WHAT: &str = "the change since earlier runs";

/// What `analyze` compares the run with.
#[derive(Debug, Default)]
pub enum Baseline {
    /// The comparable earlier runs of the store; none that started before `since`, where another level was accepted.
    Automatic {
        since: Option<Timestamp>,
    },
    #[default]
    None,
    Given(Box<KnownRun>),
}

/// A run that was judged before, or was read for this.
#[derive(Debug)]
pub struct KnownRun {
    pub report: AnalysisReport,
    /// None when only a summary of it is known.
    pub frames: Option<Frames>,
    pub kind: BaseKind,
    /// The id of a kept run, else the name of the file.
    pub name: String,
}

impl KnownRun {
    pub fn base(&self) -> Base<'_> {
        let side = Side { report: &self.report, frames: self.frames.as_ref() };
        Base { side, kind: self.kind, name: self.name.clone() }
    }
}

/// Returns a kept run.
pub fn kept(store: &Store, manifest: &Manifest, kind: BaseKind) -> Result<KnownRun, EngineError> {
    let report = store.report(manifest)?;
    let table = |name: &str| manifest.tables.iter().find(|table| table.table == name);
    let frames =
        match (table("series"), table("windows")) {
            // A run of which only a summary is known has no window.
            (Some(series), Some(windows)) if windows.rows > 0 => {
                let read = |file: &str| store.read(&manifest.attempt, file);
                let frames = kept_frames::frames(read(&series.file)?.into(), read(&windows.file)?.into());
                Some(frames.map_err(|cause| StoreError::Read {
                    what: format!("run {}", manifest.run_id),
                    cause: cause.into(),
                })?)
            }
            _ => None,
        };
    Ok(KnownRun { report, frames, kind, name: manifest.run_id.clone() })
}

/// Returns the newest comparable one of the `earlier` runs, oldest first, or says why there is none.
///
/// A run that regressed, or whose thresholds failed, is no measure for the next one; one that is suspect is the last choice.
pub fn automatic(
    store: &Store,
    report: &AnalysisReport,
    earlier: &[Manifest],
) -> Result<Result<KnownRun, Skipped>, EngineError> {
    let run = &report.run;
    if earlier.is_empty() {
        let reason = format!("no earlier run of test {} in environment {} is in the store", run.test, run.environment);
        return Ok(Err(Skipped { what: WHAT.to_owned(), reason }));
    }
    let is_suspect = |manifest: &&Manifest| manifest.verdict == VerdictKind::Suspect;
    let (suspect, others): (Vec<&Manifest>, Vec<&Manifest>) = earlier.iter().rev().partition(is_suspect);
    let mut unfit = None;
    for manifest in others.into_iter().chain(suspect) {
        match unfit_because(manifest, report) {
            None => match kept(store, manifest, BaseKind::History) {
                Ok(known) => return Ok(Ok(known)),
                // Deleted since it was listed, or damaged: no reason to lose the run at hand.
                Err(error) => {
                    unfit = unfit.or(Some(format!("the last run before, {}, cannot be read: {error}", manifest.run_id)))
                }
            },
            Some(why) => unfit = unfit.or(Some(format!("the last run before, {}, {why}", manifest.run_id))),
        }
    }
    let reason =
        format!("no earlier run is comparable: {}", unfit.expect("there is an earlier run, and each is unfit"));
    Ok(Err(Skipped { what: WHAT.to_owned(), reason }))
}

/// Returns the kept runs of the same test and environment that began before `run`, oldest first.
///
/// `since`: earlier ones are left out, and a regression that began no later is none any more: it was accepted.
pub fn earlier(store: &Store, run: &RunReport, since: Option<Timestamp>) -> Result<Vec<Manifest>, EngineError> {
    let (mut manifests, _) = store.manifests()?;
    let started: HashMap<String, Timestamp> = manifests
        .iter()
        .map(|manifest| (manifest.run_id.clone(), manifest.started_at.unwrap_or(manifest.kept_at)))
        .collect();
    for manifest in &mut manifests {
        // Older programs did not say since when.
        if manifest.verdict == VerdictKind::Regressed && manifest.regressed_since.is_none() {
            manifest.regressed_since = Some(manifest.run_id.clone());
        }
    }
    if let Some(since) = since {
        manifests.retain(|manifest| manifest.started_at.unwrap_or(manifest.kept_at) >= since);
        for manifest in &mut manifests {
            let began = manifest.regressed_since.as_ref().and_then(|first| started.get(first));
            if began.is_some_and(|began| *began <= since) {
                manifest.regressed_since = None;
            }
        }
    }
    manifests.retain(|manifest| {
        let is_before = run.started_at.is_none_or(|start| manifest.started_at.is_none_or(|other| other < start));
        manifest.test == run.test && manifest.environment == run.environment && manifest.run_id != run.id && is_before
    });
    mark_regressions(&mut manifests);
    Ok(manifests)
}

/// Marks the runs between the first of a regression and its conviction: they were only suspect when they were judged.
fn mark_regressions(manifests: &mut [Manifest]) {
    for last in (0..manifests.len()).rev() {
        let Some(since) = manifests[last].regressed_since.clone() else { continue };
        let first = manifests[..last].iter().rposition(|manifest| manifest.run_id == since).unwrap_or(last);
        for manifest in &mut manifests[first..last] {
            manifest.regressed_since.get_or_insert_with(|| since.clone());
        }
    }
}

/// Takes back regressions that rest on a single run, once a history's number of runs has shown them: then it is that run which
/// was another one, and all of them are judged anew by the history. Returns what to say of it.
///
/// What fails in a run stays a regression until it is accepted: no run is needed before it to know that it is wrong.
pub fn take_back_unfounded(store: &Store, earlier: &mut [Manifest]) -> Vec<Skipped> {
    let regressed = |run: &Manifest| run.regressed_since.is_some();
    let mut taken_back = Vec::new();
    let mut from = 0;
    while let Some(offset) = earlier[from..].iter().position(regressed) {
        let first = from + offset;
        let until = first + earlier[first..].iter().take_while(|run| regressed(run)).count();
        from = until;
        let measure = &earlier[first];
        let is_alike = |run: &&Manifest| run.incomparable_because(measure.duration_seconds, &measure.totals).is_none();
        let before = earlier[..first].iter().filter(|run| !regressed(run)).filter(is_alike).count();
        let count = earlier[first..until].iter().filter(is_alike).count();
        // A report that cannot be read takes nothing back.
        let fails = || store.report(measure).map_or(true, |report| report.findings.iter().any(is_of_failures));
        if before != 1 || count < RUNS_MIN || fails() {
            continue;
        }
        taken_back.push(Skipped {
            what: format!("the regression since {}", measure.run_id),
            reason: format!(
                "it rests on one earlier run, and {count} runs show it: that one was another, and these are the usual level"
            ),
        });
        earlier[first..until].iter_mut().for_each(|run| run.regressed_since = None);
    }
    taken_back
}

fn is_of_failures(finding: &Finding) -> bool {
    finding.direction == Direction::Worse && matches!(finding.kind, FindingKind::ErrorRate | FindingKind::Checks)
}

/// Says why a run is no measure for another one; none when it is.
fn unfit_because(manifest: &Manifest, report: &AnalysisReport) -> Option<String> {
    if manifest.regressed_since.is_some() || manifest.verdict == VerdictKind::ThresholdsFailed {
        return Some(format!("ended as {}", manifest.verdict.name()));
    }
    if manifest.generator_limited {
        return Some("was limited by its load generator".to_owned());
    }
    manifest.incomparable_because(report.run.duration_seconds, &report.totals)
}
