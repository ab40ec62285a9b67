//! The judgement of one run: what stands out within it, what changed since its baseline, and the verdict.

use crate::model::finding::FindingKind;
use crate::model::report::{AnalysisReport, BaselineReport, Skipped};
use crate::tables::frames::Frames;
use crate::tables::siblings::Siblings;

use super::compare::{compare, sort};
use super::generator::Clock;
use super::history_findings::History;
use super::looking::confirm;
use super::objectives::burning;
use super::saturation;
use super::subjects::Side;
use super::verdict::verdict;
use super::within_run::{WithinRun, within_run};

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

/// Says whether such findings come from the run itself, whatever it is judged against.
fn is_of_this_run_alone(kind: FindingKind) -> bool {
    use FindingKind::{Anomaly, CoordinatedOmission, Generator, Leak};
    matches!(kind, Leak | Anomaly | Generator | CoordinatedOmission)
}

/// Says what stands out within the run of `report`, whose figures, endpoints and phases are known.
pub fn judge_within(report: &mut AnalysisReport, frames: &Frames, siblings: &Siblings, clock: Clock) {
    let WithinRun { findings, generator, ramp, omission, skipped } = within_run(report, frames, siblings, clock);
    report.findings.extend(findings);
    report.ramp = ramp;
    report.coordinated_omission = omission;
    report.generator = Some(generator);
    report.skipped.extend(skipped);
}

/// Says what changed since `base`, or why there is none, and gives the verdict.
///
/// What was found within the run stays; what was said of another baseline is replaced. `history`: the earlier runs besides
/// `base`, if it is the last of them. `k6_exit_code`: what k6 ended with, where the user said so.
pub fn judge_against(
    report: &mut AnalysisReport,
    frames: Option<&Frames>,
    base: Result<Base, Skipped>,
    history: &History,
    k6_exit_code: Option<i32>,
) {
    report.findings.retain(|finding| is_of_this_run_alone(finding.kind));
    let end = report.run.ended_at;
    report.findings.extend(burning(&report.run.test, &report.objectives));
    if let Some(ramp) = &report.ramp {
        saturation::saturates(&mut report.findings, &report.run.test, ramp, end);
    }
    match base {
        Ok(base) => {
            let base_ramp = base.side.report.ramp.clone();
            let compared = compare(base.side, Side { report, frames }, history);
            report.findings.extend(compared.findings);
            report.skipped.extend(compared.skipped);
            let differences = compared.comparison.differences.clone();
            let kind = base.kind.name().to_owned();
            // The last one that is a measure comes first: the table is beside it.
            let others = history.past.iter().rev().filter(|run| run.regressed_since.is_none() && run.id != base.name);
            let others = others.map(|run| run.id.clone());
            let runs = std::iter::once(base.name.clone()).chain(others).collect();
            let (comparable, detectable) = (compared.is_fair, compared.detectable);
            report.baseline = BaselineReport { kind, runs, comparable, differences, detectable };
            report.comparison = Some(compared.comparison);
            saturation::beside(report, history, base_ramp.as_ref());
        }
        Err(reason) => report.skipped.push(reason),
    }
    sort(&mut report.findings);
    confirm(report);
    report.verdict = verdict(report, k6_exit_code);
}
