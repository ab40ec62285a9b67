//! The verdict on a run, with its reasons: never a silent pass.

use crate::model::finding::{Direction, Finding, FindingKind, Severity};
use crate::model::report::{AnalysisReport, ThresholdReport, Verdict, VerdictKind};

/// k6's exit codes that speak of the system under test: 99 a threshold failed, 110 the script called `exec.test.fail`.
const K6_THRESHOLDS_FAILED: i32 = 99;
const K6_TEST_FAILED: i32 = 110;

/// More reasons would only repeat the findings.
const REASONS_MAX: usize = 5;

/// `report`: all but its verdict is known. `k6_exit_code`: what k6 ended with, where the user said so.
pub fn verdict(report: &AnalysisReport, k6_exit_code: Option<i32>) -> Verdict {
    let mut failures = threshold_failures(&report.thresholds, k6_exit_code);
    // However small: what the team has agreed on is broken beyond doubt.
    let objectives = report.findings.iter().filter(|finding| finding.kind == FindingKind::Objective);
    failures.extend(at_most(objectives.map(|finding| finding.title.clone()).collect()));
    let worse = titles(&report.findings, FindingKind::is_change_of_system);
    let is_failure = |kind| matches!(kind, FindingKind::ErrorRate | FindingKind::Checks);
    let fails_more = !titles(&report.findings, is_failure).is_empty();
    let mut suspect = suspects(&report.findings);
    suspect.extend(titles(&report.findings, |kind| {
        matches!(kind, FindingKind::Drift | FindingKind::Leak | FindingKind::Anomaly)
    }));
    let generator =
        report.generator.iter().filter(|generator| !generator.healthy).flat_map(|generator| &generator.reasons);
    let generator: Vec<String> = generator.map(|reason| format!("load generator: {reason}")).collect();
    let of = |kind, reasons: Vec<Vec<String>>| Verdict { kind, reasons: reasons.concat() };
    if !failures.is_empty() {
        return of(VerdictKind::ThresholdsFailed, vec![failures, worse, generator]);
    }
    let is_limited = !titles(&report.findings, |kind| kind == FindingKind::Generator).is_empty();
    if !worse.is_empty() && (fails_more || report.baseline.comparable && !is_limited) {
        return of(VerdictKind::Regressed, vec![worse, beside(report), generator]);
    }
    if !worse.is_empty() {
        // A generator in trouble is slow by itself, and sends another load: only failures are the system's for sure.
        let (first, then) = if is_limited { (generator, beside(report)) } else { (beside(report), generator) };
        return of(VerdictKind::Inconclusive, vec![first, worse, then]);
    }
    if !suspect.is_empty() && !is_limited {
        return of(VerdictKind::Suspect, vec![suspect, beside(report), generator]);
    }
    if !generator.is_empty() {
        return of(VerdictKind::Inconclusive, vec![generator, suspect, beside(report)]);
    }
    if report.thresholds.is_empty() && report.baseline.runs.is_empty() {
        let reason = "no threshold is known and no earlier run to compare with: nothing to judge the run by".to_owned();
        return Verdict { kind: VerdictKind::Inconclusive, reasons: vec![reason] };
    }
    let held = match report.thresholds.len() {
        0 => "no threshold is known".to_owned(),
        1 => "the one threshold held".to_owned(),
        count => format!("all {count} thresholds held"),
    };
    of(VerdictKind::Pass, vec![vec![held], beside(report)])
}

/// Returns the titles of what got worse, without what is minor.
fn titles(findings: &[Finding], is_asked: impl Fn(FindingKind) -> bool) -> Vec<String> {
    let is_worse = |finding: &&Finding| is_asked(finding.kind) && is_grave(finding) && !finding.suspect;
    at_most(findings.iter().filter(is_worse).map(|finding| finding.title.clone()).collect())
}

/// Returns the titles of what this run alone shows.
fn suspects(findings: &[Finding]) -> Vec<String> {
    let is_suspect = |finding: &&Finding| finding.suspect && is_grave(finding);
    at_most(findings.iter().filter(is_suspect).map(|finding| finding.title.clone()).collect())
}

fn is_grave(finding: &Finding) -> bool {
    finding.direction == Direction::Worse && finding.severity != Severity::Minor
}

fn at_most(titles: Vec<String>) -> Vec<String> {
    match titles.len().saturating_sub(REASONS_MAX) {
        0 => titles,
        more => titles.into_iter().take(REASONS_MAX).chain([format!("and {more} more")]).collect(),
    }
}

/// Words what the run was compared with.
fn beside(report: &AnalysisReport) -> Vec<String> {
    let Some(run) = report.baseline.runs.first() else { return vec!["not compared with earlier runs".to_owned()] };
    let with = match report.baseline.runs.len() {
        _ if report.baseline.kind == "file" => run.clone(),
        1 => format!("run {run}"),
        count => format!("the {count} comparable runs before, of which {run} is the last"),
    };
    let fairness = match report.baseline.differences.as_slice() {
        [] => String::new(),
        differences if report.baseline.comparable => format!(" ({})", differences.join("; ")),
        differences => format!(", which is not a fair comparison: {}", differences.join("; ")),
    };
    let worse = titles(&report.findings, FindingKind::is_change_of_system);
    let words = if worse.is_empty() { "not worse than" } else { "compared with" };
    vec![format!("{words} {with}{fairness}")]
}

fn threshold_failures(thresholds: &[ThresholdReport], k6_exit_code: Option<i32>) -> Vec<String> {
    let failed = thresholds.iter().filter(|threshold| !threshold.passed || threshold.k6_passed == Some(false));
    let mut reasons: Vec<String> = failed.map(failure).collect();
    match k6_exit_code {
        Some(K6_THRESHOLDS_FAILED) if reasons.is_empty() => reasons.push(failed_unseen(thresholds)),
        Some(0) if !reasons.is_empty() => reasons.push(
            "k6 ended with 0, as if all had held: were they given by --threshold, or k6 run with --no-thresholds?"
                .to_owned(),
        ),
        Some(K6_TEST_FAILED) => reasons.push("k6 ended with 110: the script called exec.test.fail".to_owned()),
        _ => {}
    }
    reasons
}

/// Words a threshold that failed by our judgement, by k6's own, or by both.
fn failure(threshold: &ThresholdReport) -> String {
    let ThresholdReport { metric, expression, observed, .. } = threshold;
    let observed = observed.map_or(String::new(), |observed| format!(", observed {observed}"));
    let disagreement = match (threshold.passed, threshold.k6_passed) {
        (true, Some(false)) => ": k6's summary says so, but by the samples it held",
        (false, Some(true)) => ": by the samples, but k6's summary says that it held",
        _ => "",
    };
    format!("threshold failed: {metric} {expression}{observed}{disagreement}")
}

/// k6 ended with 99, and no known threshold failed.
fn failed_unseen(thresholds: &[ThresholdReport]) -> String {
    let all_known = !thresholds.is_empty() && thresholds.iter().all(|threshold| threshold.k6_passed.is_some());
    let what = if all_known {
        "every threshold held, by the samples and by k6's summary: is the exit code of this run?"
    } else {
        "a threshold failed that the given files do not hold"
    };
    format!("k6 ended with 99: {what}")
}
