//! The judgement of one run: what stands out within it, what changed since its baseline, and the verdict.

use crate::model::finding::Finding;
use crate::model::report::{AnalysisReport, BaselineReport, Skipped};
use crate::tables::frames::Frames;

use super::compare::{Side, compare, sort};
use super::verdict::verdict;
use super::within_run::within_run;

/// The run that another one is judged against.
pub struct Base<'r> {
    pub side: Side<'r>,
    pub kind: BaseKind,
    /// The id of a kept run, else the name of the file.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseKind {
    /// The last comparable run of the history.
    History,
    /// The user named a kept run.
    Pinned,
    /// The user gave a file.
    File,
}

impl BaseKind {
    pub fn name(self) -> &'static str {
        match self {
            BaseKind::History => "history",
            BaseKind::Pinned => "pinned",
            BaseKind::File => "file",
        }
    }
}

/// Judges the run of `report`, whose figures and thresholds are known: fills in its findings, baseline, comparison,
/// generator and verdict.
///
/// `base`: or why there is none. `k6_exit_code`: what k6 ended with, where the user said so.
pub fn judge(
    report: &mut AnalysisReport,
    frames: Option<&Frames>,
    base: Result<Base, Skipped>,
    k6_exit_code: Option<i32>,
) {
    let mut findings: Vec<Finding> = Vec::new();
    if let Some(frames) = frames {
        let within = within_run(report, frames);
        findings.extend(within.findings);
        report.generator = Some(within.generator);
        report.skipped.extend(within.skipped);
    }
    match base {
        Ok(base) => {
            let compared = compare(base.side, Side { report, frames });
            findings.extend(compared.findings);
            report.skipped.extend(compared.skipped);
            let differences = compared.comparison.differences.clone();
            let (kind, runs) = (base.kind.name().to_owned(), vec![base.name]);
            let comparable = compared.is_fair;
            report.baseline = BaselineReport { kind, runs, comparable, differences, detectable: Vec::new() };
            report.comparison = Some(compared.comparison);
        }
        Err(reason) => report.skipped.push(reason),
    }
    sort(&mut findings);
    report.findings = findings;
    report.verdict = verdict(report, k6_exit_code);
}
