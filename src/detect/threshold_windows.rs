//! Thresholds over time: how long one was broken while the run went on, whatever it is at the end.
//!
//! A window is as long as it takes until enough samples are in it, so that one failure at low traffic breaks nothing: for a
//! percentile so many that five lie beyond it, for a rate so many that three failures still hold, else twenty; and ten seconds at
//! least.

use crate::model::metric::MetricKind;
use crate::model::report::{MetricReport, ThresholdJudge, ThresholdOverTime, ThresholdReport};
use crate::model::series::SeriesKey;
use crate::model::threshold::{Aggregation, Expression, Operator, split_metric_filter};
use crate::tables::frames::{Frames, Step};

/// A shorter window is a moment.
const WINDOW_SECONDS_MIN: i64 = 10;
const SAMPLES_MIN: f64 = 20.0;
/// So many samples lie beyond a percentile, and so many may fail before a rate breaks.
const BEYOND_MIN: f64 = 5.0;
const FAILURES_HELD: f64 = 3.0;
/// With fewer windows there is no course.
const WINDOWS_MIN: usize = 3;

/// Says of each threshold that was judged from samples how it went over time, where its series are known by step.
///
/// The latency of requests that k6 did not expect to succeed is in no step, so that of `http_req_duration` as a whole is that of
/// the others here.
pub fn over_time(thresholds: &mut [ThresholdReport], metrics: &[MetricReport], frames: &Frames) {
    for threshold in thresholds.iter_mut().filter(|threshold| threshold.judged_by == ThresholdJudge::Samples) {
        threshold.over_time = course(threshold, metrics, frames);
    }
}

fn course(threshold: &ThresholdReport, metrics: &[MetricReport], frames: &Frames) -> Option<ThresholdOverTime> {
    let expression = Expression::parse(&threshold.expression).ok()?;
    let (metric, filter) = split_metric_filter(&threshold.metric)?;
    let is_its = |key: &SeriesKey| key.metric == metric && filter.iter().all(|(tag, value)| has(key, tag, value));
    // A tag that no series keeps would match none.
    if filter.iter().any(|(tag, _)| !KEPT.contains(&tag.as_str())) {
        return None;
    }
    let samples_min = samples_min(expression)?;
    let kind = metrics.iter().find(|known| known.name == threshold.metric)?.kind;
    let fits = if expression.aggregation == Aggregation::Rate { MetricKind::Rate } else { MetricKind::Trend };
    if kind != fits {
        return None;
    }
    let time = |step: usize| frames.time(step);
    let mut windows: Vec<(usize, usize, f64)> = Vec::new();
    let (mut from, mut sum) = (0, Step::default());
    frames.each_step(1, frames.series().iter().filter(|series| is_its(&series.key)), |index, step| {
        if let Some(step) = step {
            sum.merge(step);
        }
        let is_long = (index + 1 - from) as i64 * frames.step_seconds >= WINDOW_SECONDS_MIN;
        if is_long && sum.count as f64 >= samples_min {
            windows.extend(value(&sum, expression.aggregation).map(|value| (from, index + 1, value)));
            (from, sum) = (index + 1, Step::default());
        }
    });
    if windows.len() < WINDOWS_MIN {
        return None;
    }
    let is_broken = |(_, _, value): &&(usize, usize, f64)| !expression.holds(*value);
    let seconds = |(from, until, _): &(usize, usize, f64)| ((until - from) as i64 * frames.step_seconds) as f64;
    let longest =
        windows.split(|window| !is_broken(&window)).filter(|stretch| !stretch.is_empty()).max_by(|left, right| {
            let length = |stretch: &[(usize, usize, f64)]| stretch.iter().map(seconds).sum::<f64>();
            length(left).total_cmp(&length(right))
        });
    let is_upper = matches!(expression.operator, Operator::Less | Operator::LessOrEqual);
    let worst = windows
        .iter()
        .map(|(_, _, value)| *value)
        .max_by(|left, right| if is_upper { left.total_cmp(right) } else { right.total_cmp(left) })?;
    Some(ThresholdOverTime {
        windows_count: windows.len() as u64,
        broken_windows_count: windows.iter().filter(is_broken).count() as u64,
        judged_seconds: windows.iter().map(seconds).sum(),
        broken_seconds: windows.iter().filter(is_broken).map(seconds).sum(),
        longest_from: longest.map(|stretch| time(stretch[0].0)),
        longest_until: longest.map(|stretch| time(stretch[stretch.len() - 1].1)),
        worst,
    })
}

/// Tags by which the steps of a run are kept apart.
const KEPT: [&str; 6] = ["name", "method", "scenario", "group", "expected_response", "check"];

fn has(key: &SeriesKey, tag: &str, value: &str) -> bool {
    match tag {
        "name" => key.endpoint.as_deref() == Some(value),
        "method" => key.method.as_deref() == Some(value),
        "scenario" => key.scenario.as_deref() == Some(value),
        "group" => key.group.as_deref() == Some(value),
        "check" => key.check.as_deref() == Some(value),
        "expected_response" => key.metric == "http_req_duration" && value == "true",
        _ => false,
    }
}

/// Returns how many samples a window needs; none where a window says nothing: what is counted over the run.
fn samples_min(expression: Expression) -> Option<f64> {
    match expression.aggregation {
        Aggregation::Percentile(percentage) => Some(SAMPLES_MIN.max(BEYOND_MIN / (1.0 - percentage / 100.0).max(1e-4))),
        Aggregation::Average | Aggregation::Median | Aggregation::Maximum => Some(SAMPLES_MIN),
        Aggregation::Rate => {
            let allowed = expression.limit.min(1.0 - expression.limit);
            (0.0..=1.0).contains(&expression.limit).then(|| SAMPLES_MIN.max(FAILURES_HELD / allowed.max(1e-6)))
        }
        Aggregation::Minimum | Aggregation::Count | Aggregation::Value => None,
    }
}

fn value(sum: &Step, aggregation: Aggregation) -> Option<f64> {
    match aggregation {
        Aggregation::Percentile(percentage) => sum.sketch.quantile(percentage / 100.0),
        Aggregation::Median => sum.sketch.quantile(0.5),
        Aggregation::Maximum => sum.sketch.quantile(1.0),
        Aggregation::Average => Some(sum.sum / sum.count as f64),
        Aggregation::Rate => Some(sum.nonzero_rate()),
        Aggregation::Minimum | Aggregation::Count | Aggregation::Value => None,
    }
}
