//! What makes the comparison of two runs unfair.

use std::collections::BTreeSet;

use crate::model::report::AnalysisReport;
use crate::model::timeline::Timeline;

/// A run that lasts so much longer is another test: caches warm up, leaks grow.
const DURATION_DIFFERENCE: f64 = 0.1;
/// Shorter differences are k6's own: its graceful stop.
const DURATION_SECONDS_MIN: f64 = 3.0;
/// Of the most VUs, or of the iterations that were due.
const LOAD_DIFFERENCE: f64 = 0.05;
/// Of the most load, on average over the run.
const SHAPE_DIFFERENCE: f64 = 0.1;
/// At so many moments the loads of both runs are compared.
const MOMENTS: usize = 20;
/// Two counts alike in the mean differ by 1.1 of their standard deviation on average.
const SHAPE_SIGMAS: f64 = 2.0;
const NAMES_SHOWN: usize = 3;

/// Something besides the system under test that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub words: String,
    /// It may well explain a change.
    pub is_unfair: bool,
}

/// Returns the differences besides the system under test; none when the comparison is fair.
pub fn differences(base: &AnalysisReport, current: &AnalysisReport) -> Vec<Difference> {
    let unfair = unfair_differences(base, current).into_iter().map(|words| Difference { words, is_unfair: true });
    let k6 = match (&base.run.k6_version, &current.run.k6_version) {
        (Some(old), Some(new)) if old != new => Some(format!("another k6: {old}, not {new}")),
        _ => None,
    };
    unfair.chain(k6.map(|words| Difference { words, is_unfair: false })).collect()
}

fn unfair_differences(base: &AnalysisReport, current: &AnalysisReport) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |words: String| differences.push(words);
    let (before, now) = (&base.run, &current.run);
    if before.test != now.test {
        differ(format!("another test: {}, not {}", before.test, now.test));
    }
    if known_and_different(&before.script_sha256, &now.script_sha256) {
        differ("another script: its SHA-256 is not the same".to_owned());
    }
    if before.environment != now.environment {
        differ(format!("another environment: {}, not {}", before.environment, now.environment));
    }
    differences.extend(load_differences(base, current));
    if let Some(words) = endpoint_difference(base, current) {
        differences.push(words);
    }
    for (run, which) in [(before, "the baseline"), (now, "this run")] {
        if run.partial {
            differences.push(format!("{which} is partial"));
        }
    }
    differences
}

fn known_and_different(left: &Option<String>, right: &Option<String>) -> bool {
    left.is_some() && right.is_some() && left != right
}

/// Of duration, load and its course.
fn load_differences(base: &AnalysisReport, current: &AnalysisReport) -> Vec<String> {
    let mut differences = Vec::new();
    if let (Some(old), Some(new)) = (base.run.duration_seconds, current.run.duration_seconds) {
        let difference = (new - old).abs();
        if difference > DURATION_SECONDS_MIN && difference > DURATION_DIFFERENCE * old.max(new) {
            differences.push(format!("another duration: {old:.0} s, not {new:.0} s"));
        }
    }
    differences.extend(if base.totals.arrivals_per_second.or(current.totals.arrivals_per_second).is_some() {
        arrivals_difference(base, current)
    } else {
        vus_difference(base, current)
    });
    differences
}

fn vus_difference(base: &AnalysisReport, current: &AnalysisReport) -> Option<String> {
    match base.totals.vus_max.zip(current.totals.vus_max) {
        Some((old, new)) if (new - old).abs() > LOAD_DIFFERENCE * old.max(new) => {
            Some(format!("another load: at most {old} VUs, not {new}"))
        }
        _ => {
            let (old, new) = base.timeline.as_ref().zip(current.timeline.as_ref())?;
            let at = |timeline: &Timeline, moment: usize| {
                let index = (moment * timeline.vus.len() + timeline.vus.len() / 2) / MOMENTS;
                timeline.vus.get(index).copied().flatten()
            };
            let is_other = apart(|moment| at(old, moment), |moment| at(new, moment)) > SHAPE_DIFFERENCE;
            is_other.then(|| "another load shape: the VUs take another course".to_owned())
        }
    }
}

fn arrivals_difference(base: &AnalysisReport, current: &AnalysisReport) -> Option<String> {
    let due = |report: &AnalysisReport| report.totals.iterations_due_per_second(report.run.duration_seconds);
    match due(base).zip(due(current)) {
        Some((old, new)) if (new - old).abs() > LOAD_DIFFERENCE * old.max(new) => {
            Some(format!("another load: {old:.1} iterations/s, not {new:.1}"))
        }
        _ => {
            let (old, new) = base.timeline.as_ref().zip(current.timeline.as_ref())?;
            // Few iterations a moment are more or fewer by chance.
            let fewest = due(base)?.min(due(current)?) * base.run.duration_seconds? / MOMENTS as f64;
            let by_chance = fewest.max(1.0).sqrt().recip();
            let is_other = apart(|moment| arrivals(old, moment), |moment| arrivals(new, moment))
                > SHAPE_DIFFERENCE.max(SHAPE_SIGMAS * by_chance);
            is_other.then(|| "another load shape: the arrival rate takes another course".to_owned())
        }
    }
}

/// Returns how many iterations were due a second in one of `MOMENTS` equal parts of the run.
fn arrivals(timeline: &Timeline, moment: usize) -> Option<f64> {
    let steps = timeline.iterations_per_second.len();
    let part = moment * steps / MOMENTS..((moment + 1) * steps / MOMENTS).max(moment * steps / MOMENTS + 1);
    let sum = |rates: &[Option<f64>]| rates.get(part.clone()).map(|rates| rates.iter().flatten().sum::<f64>());
    Some((sum(&timeline.iterations_per_second)? + sum(&timeline.dropped_iterations_per_second)?) / part.len() as f64)
}

/// Returns how far two loads are apart on average at the same part of both runs, as a fraction of the most of them.
fn apart(old: impl Fn(usize) -> Option<f64>, new: impl Fn(usize) -> Option<f64>) -> f64 {
    let pairs: Vec<(f64, f64)> = (0..MOMENTS).filter_map(|moment| old(moment).zip(new(moment))).collect();
    let most = pairs.iter().fold(0.0f64, |most, (old, new)| most.max(*old).max(*new));
    // Most moments must be known of both, and a load have been there at all.
    if most <= 0.0 || pairs.len() * 2 < MOMENTS {
        0.0
    } else {
        pairs.iter().map(|(old, new)| (old - new).abs()).sum::<f64>() / pairs.len() as f64 / most
    }
}

fn endpoint_difference(base: &AnalysisReport, current: &AnalysisReport) -> Option<String> {
    if base.endpoints.is_empty() || current.endpoints.is_empty() {
        return None;
    }
    let names = |report: &AnalysisReport| -> BTreeSet<String> {
        report.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect()
    };
    let (old, new) = (names(base), names(current));
    let listed = |names: Vec<&String>| {
        let more = names.len().saturating_sub(NAMES_SHOWN);
        let shown: Vec<&str> = names.into_iter().take(NAMES_SHOWN).map(String::as_str).collect();
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    let (gone, added): (Vec<_>, Vec<_>) = (old.difference(&new).collect(), new.difference(&old).collect());
    let parts = [("only the baseline has ", gone), ("only this run has ", added)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(words, names)| words.to_owned() + &listed(names))
        .collect();
    (!parts.is_empty()).then(|| format!("other endpoints: {}", parts.join("; ")))
}
