//! The verdict on a run, with its reasons: never a silent pass.

use crate::model::report::{ThresholdReport, Verdict, VerdictKind};

/// k6's exit codes that speak of the system under test: 99 a threshold failed, 110 the script called `exec.test.fail`.
const K6_THRESHOLDS_FAILED: i32 = 99;
const K6_TEST_FAILED: i32 = 110;

/// `k6_exit_code`: what k6 ended with, where the user said so.
pub fn verdict(thresholds: &[ThresholdReport], k6_exit_code: Option<i32>) -> Verdict {
    let failed: Vec<&ThresholdReport> = thresholds.iter().filter(|threshold| !threshold.passed).collect();
    let mut reasons: Vec<String> = failed.iter().map(|threshold| failure(threshold)).collect();
    match k6_exit_code {
        Some(K6_THRESHOLDS_FAILED) if failed.is_empty() => {
            reasons.push("k6 ended with 99: a threshold failed that the given files do not hold".to_owned());
        }
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

fn failure(threshold: &ThresholdReport) -> String {
    let ThresholdReport { metric, expression, observed, .. } = threshold;
    match observed {
        Some(observed) => format!("threshold failed: {metric} {expression}, observed {observed}"),
        None => format!("threshold failed: {metric} {expression}"),
    }
}
