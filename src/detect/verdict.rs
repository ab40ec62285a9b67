//! The verdict on a run, with its reasons: never a silent pass.

use crate::model::report::{ThresholdReport, Verdict, VerdictKind};

/// k6's exit codes that speak of the system under test: 99 a threshold failed, 110 the script called `exec.test.fail`.
const K6_THRESHOLDS_FAILED: i32 = 99;
const K6_TEST_FAILED: i32 = 110;

/// `k6_exit_code`: what k6 ended with, where the user said so.
pub fn verdict(thresholds: &[ThresholdReport], k6_exit_code: Option<i32>) -> Verdict {
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
    if !reasons.is_empty() {
        return Verdict { kind: VerdictKind::ThresholdsFailed, reasons };
    }
    if thresholds.is_empty() {
        let reason = "no threshold is known and no baseline was compared: nothing to judge the run by".to_owned();
        return Verdict { kind: VerdictKind::Inconclusive, reasons: vec![reason] };
    }
    let held = match thresholds.len() {
        1 => "the one threshold held".to_owned(),
        count => format!("all {count} thresholds held"),
    };
    Verdict { kind: VerdictKind::Pass, reasons: vec![held, "not compared with earlier runs".to_owned()] }
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
