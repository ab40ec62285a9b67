//! Why: what the servers said of a run, joined with what was found in it.

use crate::diagnose::{Window, diagnose, drawn, times};
use crate::ingest::telemetry::packed::PackError;
use crate::model::report::{AnalysisReport, Grafana, Skipped};
use crate::model::telemetry::Telemetry;
use crate::store::manifest::{Manifest, TableFile};
use crate::store::{CAPTURE, Store, StoreError, telemetry_tables};

use super::EngineError;
use super::evidence::{Evidence, Source};

const KEPT_ANSWERS: &str = "the servers' answers beside the run";

/// Looks for the causes of the findings in the servers' answers, and puts them into the report, in the place of earlier ones.
///
/// Returns what the servers said; none when it is not known when the run took place.
pub fn explain(report: &mut AnalysisReport, source: &Source) -> Result<Option<Explained>, EngineError> {
    report.skipped.retain(|skipped| skipped.what != "causes" && !skipped.what.starts_with(CAUSE_OF));
    let Some(Times { run, steady }) = times_of(report) else {
        let reason = "it is not known when the run took place: only a summary was given".to_owned();
        report.skipped.push(Skipped { what: "causes".to_owned(), reason });
        return Ok(None);
    };
    let evidence = Evidence::gather(source, &times(&report.findings, steady), run)?;
    let telemetry = evidence.read()?.telemetry;
    report.unavailable = telemetry.unavailable.clone();
    let diagnosed = diagnose(&report.findings, steady, &telemetry);
    report.diagnoses = diagnosed.diagnoses;
    let exhibits = drawn::draw(&report.diagnoses, &report.findings, steady, &telemetry);
    report.exhibits = Some(exhibits).filter(|exhibits| !exhibits.is_empty());
    let nothing = diagnosed.without_cause.into_iter().map(|(finding, looked_at)| Skipped {
        what: format!("{CAUSE_OF}{finding}"),
        reason: format!("no cause found in what the servers hold: {looked_at}"),
    });
    report.skipped.extend(nothing);
    Ok(Some(Explained { evidence, telemetry }))
}

/// What the servers said, as they said it and as values.
#[derive(Debug)]
pub struct Explained {
    pub evidence: Evidence,
    pub telemetry: Telemetry,
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

/// Writes what the servers said into the data of an attempt, as they said it and as tables; returns the files for the manifest.
///
/// Where there is too much to keep it as it was said, says so in the report.
pub fn keep(
    store: &Store,
    attempt: &str,
    explained: &Explained,
    report: &mut AnalysisReport,
) -> Result<Vec<TableFile>, EngineError> {
    let mut tables = telemetry_tables::write(store, attempt, &explained.telemetry)?;
    match explained.evidence.pack() {
        Ok(packed) => {
            let (file, bytes) = (format!("{CAPTURE}.tar"), packed.len() as u64);
            store.put(attempt, &file, packed)?;
            tables.push(TableFile { table: CAPTURE.to_owned(), file, rows: 0, bytes });
        }
        Err(error @ PackError::TooLarge) => {
            report.skipped.push(Skipped { what: KEPT_ANSWERS.to_owned(), reason: error.to_string() });
        }
        Err(error) => return Err(error.into()),
    }
    Ok(tables)
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

/// Asks about a kept run, keeps what the servers say beside it, and puts the causes into its report.
pub fn explain_kept(
    store: &Store,
    mut manifest: Manifest,
    source: &Source,
    grafana: Option<Grafana>,
) -> Result<(AnalysisReport, Option<Explained>), EngineError> {
    let mut report = store.report(&manifest)?;
    report.grafana = grafana;
    let explained = explain(&mut report, source)?;
    let _claim = store.claim(&manifest.attempt)?;
    if let Some(explained) = &explained {
        let kept = keep(store, &manifest.attempt, explained, &mut report)?;
        let is_of_servers =
            |table: &TableFile| table.table == CAPTURE || telemetry_tables::NAMES.contains(&&*table.table);
        manifest.tables.retain(|table| !is_of_servers(table));
        manifest.tables.extend(kept);
        store.put_report(&manifest.attempt, &report)?;
        store.amend(&manifest)?;
    }
    Ok((report, explained))
}
