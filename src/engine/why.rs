//! Why: what the servers said of a run, joined with what was found in it.

use std::path::Path;

use crate::diagnose::{Window, diagnose};
use crate::ingest::telemetry::capture;
use crate::model::report::{AnalysisReport, Skipped};

use super::EngineError;

/// Looks for the causes of the findings in a folder of the servers' answers, and puts them into the report.
pub fn explain(report: &mut AnalysisReport, folder: &Path) -> Result<(), EngineError> {
    let captured = capture::read(folder)?;
    report.unavailable = captured.telemetry.unavailable.clone();
    let begin = report.phases.steady_from.or(report.run.started_at);
    let end = report.phases.steady_until.or(report.run.ended_at);
    let Some((from, until)) = begin.zip(end) else {
        let reason = "it is not known when the run took place: only a summary was given".to_owned();
        report.skipped.push(Skipped { what: "causes".to_owned(), reason });
        return Ok(());
    };
    let diagnosed = diagnose(&report.findings, Window { from, until }, &captured.telemetry);
    report.diagnoses = diagnosed.diagnoses;
    let nothing = diagnosed.without_cause.into_iter().map(|(finding, looked_at)| Skipped {
        what: format!("the cause of finding {finding}"),
        reason: format!("no cause found in what the servers hold: {looked_at}"),
    });
    report.skipped.extend(nothing);
    Ok(())
}
