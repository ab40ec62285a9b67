//! What was told while the run went on: how it is told then, and how a report tells it afterwards.

use crate::detect::tracker::Change;
use crate::model::early_finding::EarlyFinding;
use crate::model::finding::{Finding, FindingKind};
use crate::model::report::AnalysisReport;
use crate::model::time::Timestamp;

use super::columns::counted;
use super::words;

/// Words an early finding in one line, for whoever watches.
pub fn told(early: &EarlyFinding) -> String {
    let what = if early.kind == FindingKind::ErrorRate { "more requests fail" } else { "slower" };
    let runs = counted(u64::from(early.runs_count), "earlier run");
    format!("after {}: {what} than in {runs}, {}", words::duration(early.after_seconds), moved(early))
}

/// Words in one line what has changed of the findings of a run that goes on, for whoever watches.
pub fn changed(change: &Change, at: Timestamp) -> String {
    let clock = at.clock();
    match change {
        Change::Opened(finding) => format!("at {clock}: {}", finding.title),
        Change::Grew(finding) => format!("at {clock}, now: {}", finding.title),
        Change::Closed(finding) => format!("at {clock}, over: {}", finding.title),
        Change::Withdrawn { told, replaced_by: Some(_) } => format!("at {clock}, better known since: {}", told.title),
        Change::Withdrawn { told, replaced_by: None } => format!("at {clock}, went away: {}", told.title),
    }
}

/// Says how early a finding of the whole run was known: `known after 3 min 00 s of 20 min 00 s`; none where it was not told.
pub fn known(report: &AnalysisReport, finding: &Finding) -> Option<String> {
    let confirmed = |early: &&EarlyFinding| early.confirmed_by.as_ref() == Some(&finding.id);
    let first = report.early.iter().flatten().find(confirmed)?;
    let of = report.run.duration_seconds.map_or(String::new(), |seconds| format!(" of {}", words::duration(seconds)));
    Some(format!("known after {}{of}", words::duration(first.after_seconds)))
}

/// Words what was told early and is no finding of the whole run.
pub fn gone(report: &AnalysisReport) -> impl Iterator<Item = String> {
    let gone = report.early.iter().flatten().filter(|early| early.confirmed_by.is_none());
    gone.map(|early| {
        let after = words::duration(early.after_seconds);
        if is_still_so(report, early) {
            let why = "by all earlier runs the whole of it is no more than a bad run may be: run it again";
            return format!("told after {after}, and still so at the end, but {why}: {}", moved(early));
        }
        format!("told after {after}, but it went away: {}", moved(early))
    })
}

/// Says whether the figure is surely worse than in the run before, the whole run taken together.
fn is_still_so(report: &AnalysisReport, early: &EarlyFinding) -> bool {
    let rows = report.comparison.iter().flat_map(|comparison| &comparison.rows);
    let mut rows = rows.filter(|row| row.series == early.series);
    rows.any(|row| row.change.and_then(|change| change.low).is_some_and(|low| low > 0.0))
}

fn moved(early: &EarlyFinding) -> String {
    format!("{} {}", words::series(&early.series), words::change(&early.change, early.unit))
}
