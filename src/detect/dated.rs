//! The changes of a test's whole history, dated to runs.

use crate::model::finding::{Change, Scale};
use crate::stats::change_point::change_points;

use super::resampled::CONFIDENCE;

/// One figure of a test's runs, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct DatedRun<'r> {
    pub id: &'r str,
    pub commit: Option<&'r str>,
    /// None, 0 and less are gaps.
    pub value: Option<f64>,
}

/// From one run on the figure was another.
#[derive(Debug, Clone, PartialEq)]
pub struct DatedChange {
    /// Index of the first run of it.
    pub run: usize,
    /// With 95 % confidence it began with one of these runs.
    pub earliest: usize,
    pub latest: usize,
    pub change: Change,
}

/// Returns the changes, oldest first; none where there are too few runs to tell.
pub fn dated(runs: &[DatedRun]) -> Option<Vec<DatedChange>> {
    let logarithm = |run: &DatedRun| run.value.filter(|value| *value > 0.0).map_or(f64::NAN, f64::ln);
    let values: Vec<f64> = runs.iter().map(logarithm).collect();
    let dated = change_points(&values)?.changes.into_iter().map(|change| DatedChange {
        run: change.index,
        earliest: change.earliest,
        latest: change.latest,
        change: Change {
            scale: Scale::Ratio,
            point: change.step.point.exp_m1(),
            low: Some(change.step.low.exp_m1()),
            high: Some(change.step.high.exp_m1()),
            confidence: Some(CONFIDENCE),
        },
    });
    Some(dated.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_dated_and_too_few_runs_say_nothing() {
        let ids: Vec<String> = (0..20).map(|run| format!("run-{run}")).collect();
        let noise = [0.01, -0.012, 0.004, -0.006, 0.011, -0.003, 0.0];
        let value = |run: usize| Some(100.0 * f64::exp(noise[run % 7]) * if run < 12 { 1.0 } else { 1.2 });
        let runs: Vec<DatedRun> =
            (0..20).map(|run| DatedRun { id: &ids[run], commit: None, value: value(run) }).collect();
        let changes = dated(&runs).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].run, 12);
        let Change { low, high, .. } = changes[0].change;
        assert!(low < Some(0.2) && high > Some(0.2) && low > Some(0.1), "{:?}", changes[0]);
        assert_eq!(dated(&runs[..9]), None);
        let gaps: Vec<DatedRun> = runs.iter().map(|run| DatedRun { value: Some(0.0), ..*run }).collect();
        assert_eq!(dated(&gaps), None);
    }
}
