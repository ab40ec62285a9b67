//! Why: what the servers said of a run, joined with what was found in it.

use crate::diagnose::{Window, diagnose, times};
use crate::ingest::telemetry::packed::PackError;
use crate::model::report::{AnalysisReport, Skipped};
use crate::store::manifest::{Manifest, TableFile};
use crate::store::{CAPTURE, Store, StoreError};

use super::EngineError;
use super::evidence::{Evidence, Source};

const KEPT_ANSWERS: &str = "the servers' answers beside the run";

/// Looks for the causes of the findings in the servers' answers, and puts them into the report, in the place of earlier ones.
///
/// Returns the answers; none when it is not known when the run took place.
pub fn explain(report: &mut AnalysisReport, source: &Source) -> Result<Option<Evidence>, EngineError> {
    report.skipped.retain(|skipped| skipped.what != "causes" && !skipped.what.starts_with(CAUSE_OF));
    let Some(Times { run, steady }) = times_of(report) else {
        let reason = "it is not known when the run took place: only a summary was given".to_owned();
        report.skipped.push(Skipped { what: "causes".to_owned(), reason });
        return Ok(None);
    };
    let evidence = Evidence::gather(source, &times(&report.findings, steady), run)?;
    let captured = evidence.read()?;
    report.unavailable = captured.telemetry.unavailable.clone();
    let diagnosed = diagnose(&report.findings, steady, &captured.telemetry);
    report.diagnoses = diagnosed.diagnoses;
    let nothing = diagnosed.without_cause.into_iter().map(|(finding, looked_at)| Skipped {
        what: format!("{CAUSE_OF}{finding}"),
        reason: format!("no cause found in what the servers hold: {looked_at}"),
    });
    report.skipped.extend(nothing);
    Ok(Some(evidence))
}

/// When a run took place.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub run: Window,
    /// Without its beginning and end, where the load was another.
    pub steady: Window,
}

/// None of a run of which only a summary is known.
pub fn times_of(report: &AnalysisReport) -> Option<Times> {
    let run = Window { from: report.run.started_at?, until: report.run.ended_at? };
    let phases = &report.phases;
    let steady =
        Window { from: phases.steady_from.unwrap_or(run.from), until: phases.steady_until.unwrap_or(run.until) };
    Some(Times { run, steady })
}

const CAUSE_OF: &str = "the cause of finding ";

/// Returns the answers as what is kept beside a run; where there are too many, says so in the report.
pub fn to_keep(report: &mut AnalysisReport, evidence: &Evidence) -> Result<Option<Vec<u8>>, EngineError> {
    match evidence.pack() {
        Ok(packed) => Ok(Some(packed)),
        Err(error @ PackError::TooLarge) => {
            report.skipped.push(Skipped { what: KEPT_ANSWERS.to_owned(), reason: error.to_string() });
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns what was kept beside an earlier analysis of the same run.
pub fn kept(store: &Store, run_id: &str) -> Result<Option<Source>, StoreError> {
    // A manifest that cannot be read is replaced by this analysis.
    match store.manifest_of(run_id).ok().flatten() {
        Some(manifest) => kept_beside(store, &manifest),
        None => Ok(None),
    }
}

pub fn kept_beside(store: &Store, manifest: &Manifest) -> Result<Option<Source>, StoreError> {
    match manifest.tables.iter().find(|table| table.table == CAPTURE) {
        Some(table) => store.read(&manifest.attempt, &table.file).map(|packed| Some(Source::Packed(packed))),
        None => Ok(None),
    }
}

/// Writes the answers of an attempt; returns them for the manifest.
pub fn keep(store: &Store, attempt: &str, packed: Vec<u8>) -> Result<TableFile, StoreError> {
    let file = format!("{CAPTURE}.tar");
    let bytes = packed.len() as u64;
    store.put(attempt, &file, packed)?;
    Ok(TableFile { table: CAPTURE.to_owned(), file, rows: 0, bytes })
}

/// Asks about a kept run, keeps the answers beside it, and puts the causes into its report.
pub fn explain_kept(
    store: &Store,
    mut manifest: Manifest,
    source: &Source,
) -> Result<(AnalysisReport, Option<Evidence>), EngineError> {
    let mut report = store.report(&manifest)?;
    let evidence = explain(&mut report, source)?;
    if let Some(evidence) = &evidence
        && let Some(packed) = to_keep(&mut report, evidence)?
    {
        let kept = keep(store, &manifest.attempt, packed)?;
        manifest.tables.retain(|table| table.table != CAPTURE);
        manifest.tables.push(kept);
        store.put_report(&manifest.attempt, &report)?;
        store.amend(&manifest)?;
    }
    Ok((report, evidence))
}
