//! Objectives: how fast a run used an error budget up.
//!
//! The burn rate is the part of bad requests beside the part that may be bad; at 1 the budget lasts as long as it is for (Beyer
//! and others 2018, "The Site Reliability Workbook", chapter 5: alerting on SLOs). A load test is one long window, since nobody
//! knows what comes before and after it; the workbook's limits of 14.4 (2 % of a month's budget in an hour) and 6 (5 % in six
//! hours) say how grave it is. The interval is Wilson's (1927), so that one failure at low traffic is no incident: a budget burns
//! only where the whole interval lies above 1.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::{Objective, ObjectiveReport, ObjectiveStatus};
use crate::stats::failures::{Failures, wilson};
use crate::stats::sketch::middle_of;
use crate::tables::frames::{FrameSeries, Frames, Step};

use super::finding_id::finding_id;

/// Fewer bad requests may be one moment's.
const BAD_MIN: u64 = 3;
const FAST_BURN: f64 = 14.4;
const SLOW_BURN: f64 = 6.0;
/// A window of the course holds so many requests that this many bad ones are still within the objective.
const BAD_WITHIN: f64 = 1.0;
const WINDOW_SECONDS_MIN: i64 = 10;

/// Judges each objective by the run's steps; latency limits are met to within the 0.4 % of a sketch.
pub fn objectives(asked: &[Objective], frames: &Frames) -> Vec<ObjectiveReport> {
    asked.iter().map(|objective| judged(objective, frames)).collect()
}

fn judged(objective: &Objective, frames: &Frames) -> ObjectiveReport {
    let steps = counted(objective, frames);
    let allowed = (1.0 - objective.objective).max(f64::MIN_POSITIVE);
    let sum = Failures::sum(steps.iter().copied());
    let rate = sum.rate();
    let (low, high) = wilson(rate, sum.count as f64);
    let status = match () {
        () if low > allowed && sum.failed_count >= BAD_MIN => ObjectiveStatus::Burning,
        () if high <= allowed => ObjectiveStatus::Held,
        () => ObjectiveStatus::NotEnoughRequests,
    };
    let worst = worst(&steps, allowed, frames.step_seconds);
    let time = |step: usize| frames.time(step);
    ObjectiveReport {
        objective: objective.clone(),
        bad_count: sum.failed_count,
        count: sum.count,
        burn_rate: rate / allowed,
        low: low / allowed,
        high: high / allowed,
        status,
        worst_burn_rate: worst.map(|(_, _, rate)| rate / allowed),
        worst_from: worst.map(|(from, _, _)| time(from)),
        worst_until: worst.map(|(_, until, _)| time(until)),
    }
}

/// Returns the bad requests of each step: those that failed, and of the others those that took too long.
fn counted(objective: &Objective, frames: &Frames) -> Vec<Failures> {
    let is_its = |metric: &'static str| {
        move |series: &FrameSeries| {
            series.key.metric == metric
                && objective.endpoint.as_ref().is_none_or(|name| series.key.endpoint.as_ref() == Some(name))
        }
    };
    let failed = frames.steps_together(1, is_its("http_req_failed"), |step| (step.nonzero_count, step.count));
    let slow = match objective.latency_ms {
        None => vec![None; failed.len()],
        Some(limit) => {
            let beyond = |step: &Step| {
                let slow = step.sketch.buckets().iter().filter(|(bucket, _)| middle_of(*bucket) > limit);
                slow.map(|(_, count)| count).sum::<u64>()
            };
            frames.steps_together(1, is_its("http_req_duration"), beyond)
        }
    };
    let of_step = |(failed, slow): (Option<(u64, u64)>, Option<u64>)| {
        let (bad, all) = failed.unwrap_or_default();
        Failures { failed_count: (bad + slow.unwrap_or_default()).min(all), count: all }
    };
    failed.into_iter().zip(slow).map(of_step).collect()
}

/// Returns the first step, the one behind the last, and the rate of the window with the highest rate.
fn worst(steps: &[Failures], allowed: f64, step_seconds: i64) -> Option<(usize, usize, f64)> {
    let enough = (BAD_WITHIN / allowed).ceil();
    let mut windows = Vec::new();
    let (mut from, mut sum) = (0, Failures::default());
    for (index, step) in steps.iter().enumerate() {
        sum = Failures::sum([sum, *step].into_iter());
        if sum.count as f64 >= enough && (index + 1 - from) as i64 * step_seconds >= WINDOW_SECONDS_MIN {
            windows.push((from, index + 1, sum.rate()));
            (from, sum) = (index + 1, Failures::default());
        }
    }
    windows.into_iter().filter(|(_, _, rate)| *rate > 0.0).max_by(|left, right| left.2.total_cmp(&right.2))
}

/// Returns a finding for each objective whose budget burns.
pub fn burning(test: &str, objectives: &[ObjectiveReport]) -> Vec<Finding> {
    objectives.iter().filter(|one| one.status == ObjectiveStatus::Burning).map(|one| finding(test, one)).collect()
}

fn finding(test: &str, burning: &ObjectiveReport) -> Finding {
    let objective = &burning.objective;
    let name = objective.endpoint.iter().map(|endpoint| ("name".to_owned(), endpoint.clone()));
    let metric = if objective.latency_ms.is_some() { "http_req_duration" } else { "http_req_failed" };
    let series = SeriesReference {
        metric: metric.to_owned(),
        tags: name.collect(),
        statistic: Some(format!("objective {}", objective.name)),
    };
    let (allowed, rate) =
        (1.0 - objective.objective, Failures { failed_count: burning.bad_count, count: burning.count }.rate());
    let lasts = objective.window_days / burning.burn_rate;
    let lasts = if lasts < 2.0 { format!("{:.1} hours", 24.0 * lasts) } else { format!("{lasts:.1} days") };
    let what = objective.latency_ms.map_or("failed".to_owned(), |limit| format!("failed or took more than {limit} ms"));
    let severity = match burning.burn_rate {
        rate if rate >= FAST_BURN => Severity::Critical,
        rate if rate >= SLOW_BURN => Severity::Major,
        _ => Severity::Minor,
    };
    let title = format!(
        "objective {}: {:.2} % of requests {what}, and {:.2} % may: {:.1} times the budget, which at this rate is gone in {lasts} \
         of {} days",
        objective.name,
        100.0 * rate,
        100.0 * allowed,
        burning.burn_rate,
        objective.window_days
    );
    let change = Change {
        scale: Scale::Difference,
        point: rate - allowed,
        low: Some(burning.low * allowed - allowed),
        high: Some(burning.high * allowed - allowed),
        confidence: Some(0.95),
    };
    let figure = Evidence::Metric {
        series: series.clone(),
        observed: rate,
        expected: Some(allowed),
        unit: Unit::Fraction,
        change: Some(change),
        note: Some(format!("{} of {} were bad", burning.bad_count, burning.count)),
    };
    Finding {
        id: finding_id(test, FindingKind::Objective, &series, None),
        kind: FindingKind::Objective,
        title,
        severity,
        direction: Direction::Worse,
        series,
        also: Vec::new(),
        from: burning.worst_from,
        until: burning.worst_until,
        since_run: None,
        suspect: false,
        observed: rate,
        expected: Some(allowed),
        unit: Unit::Fraction,
        change: Some(change),
        evidence: vec![figure],
    }
}
