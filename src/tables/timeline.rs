//! A run's timeline: its frames put together into so many steps as a picture can show.

use std::collections::BTreeMap;

use crate::model::report::EndpointReport;
use crate::model::series::SeriesKey;
use crate::model::time::Timestamp;
use crate::model::timeline::{Heat, Timeline, TimelineSeries};
use crate::stats::sketch::RELATIVE_ERROR;

use super::frames::{FrameSeries, Frames, Step};

/// What a picture of 1,400 pixels shows apart.
const STEPS_MAX: usize = 360;
/// Steps that people count in, in seconds; longer ones are whole days.
const STEPS_SECONDS: [u32; 16] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600];
const DAY_SECONDS: u32 = 86_400;
/// Rows of the heat map.
const HEAT_BUCKETS: usize = 40;
/// Of figures in a picture.
const DIGITS: i32 = 4;

/// Returns the timeline of a run, with one series for each of `endpoints`; none when it has no frame.
pub fn timeline(frames: &Frames, endpoints: &[EndpointReport]) -> Option<Timeline> {
    let start_ns = frames.start_ns()?;
    let frames_a_step = frames_a_step(frames);
    let step_seconds = frames_a_step as u32 * frames.step_seconds as u32;
    let seconds = f64::from(step_seconds);
    let steps_count = frames.steps_count().div_ceil(frames_a_step);
    let of = |metric: &str, figure: &dyn Fn(&Step) -> f64| {
        frames.steps_together(frames_a_step, |series| series.key.metric == metric, |step| short(figure(step)))
    };
    let rate = |step: &Step| step.sum / seconds;
    let series = |endpoint| timeline_series(frames, frames_a_step, endpoint, seconds);
    Some(Timeline {
        start: Timestamp(start_ns),
        step_seconds,
        steps_count: steps_count as u32,
        vus: of("vus", &|step| step.last),
        iterations_per_second: of("iterations", &rate),
        dropped_iterations_per_second: of("dropped_iterations", &rate),
        failed_checks_rate: of("checks", &|step| 1.0 - step.nonzero_rate()),
        total: series(None),
        endpoints: endpoints.iter().map(|endpoint| series(Some(endpoint))).collect(),
        latency_heat: heat(frames, frames_a_step),
        quantile_error: RELATIVE_ERROR,
    })
}

/// Says whether a series is of the requests of `endpoint`.
pub fn is_of(key: &SeriesKey, endpoint: &EndpointReport) -> bool {
    key.endpoint.as_deref() == Some(&endpoint.name)
        && key.method == endpoint.method
        && key.scenario == endpoint.scenario
        && key.group == endpoint.group
}

fn frames_a_step(frames: &Frames) -> usize {
    let span_seconds = frames.steps_count() as u64 * frames.step_seconds as u64;
    let is_enough = |seconds: &u64| {
        seconds.is_multiple_of(frames.step_seconds as u64) && span_seconds.div_ceil(*seconds) <= STEPS_MAX as u64
    };
    let days = (1..).map(|days| days * u64::from(DAY_SECONDS));
    // A step of days may be no multiple of a frame's: then as many frames as are needed.
    let nice = STEPS_SECONDS.into_iter().map(u64::from).chain(days.take(3650)).find(is_enough);
    nice.map_or(frames.steps_count().div_ceil(STEPS_MAX), |seconds| (seconds / frames.step_seconds as u64) as usize)
}

/// `endpoint`: none for all of them. `seconds`: of a step.
fn timeline_series(
    frames: &Frames,
    frames_a_step: usize,
    endpoint: Option<&EndpointReport>,
    seconds: f64,
) -> TimelineSeries {
    let is_its = |series: &FrameSeries, metric: &str| {
        series.key.metric == metric && endpoint.is_none_or(|endpoint| is_of(&series.key, endpoint))
    };
    let of = |metric: &str, figure: &dyn Fn(&Step) -> f64| {
        frames.steps_together(frames_a_step, |series| is_its(series, metric), |step| short(figure(step)))
    };
    let quantiles = |step: &Step| [0.5, 0.95, 0.99].map(|p| short(step.sketch.quantile(p).unwrap_or(f64::NAN)));
    let latency = frames.steps_together(frames_a_step, |series| is_its(series, "http_req_duration"), quantiles);
    let [med_ms, p95_ms, p99_ms] =
        [0, 1, 2].map(|which| latency.iter().map(|quantiles| quantiles.map(|quantiles| quantiles[which])).collect());
    TimelineSeries {
        requests_per_second: of("http_reqs", &|step| step.sum / seconds),
        failed_requests_rate: of("http_req_failed", &Step::nonzero_rate),
        med_ms,
        p95_ms,
        p99_ms,
    }
}

/// Spreads what was measured over buckets of equal ratio.
fn heat(frames: &Frames, frames_a_step: usize) -> Heat {
    let is_latency = |series: &FrameSeries| series.key.metric == "http_req_duration";
    let above_zero = |step: &Step| step.sketch.values().filter(|(ms, _)| *ms > 0.0).collect();
    let steps = frames.steps_together(frames_a_step, is_latency, above_zero);
    let steps: Vec<Vec<(f64, u64)>> = steps.into_iter().map(Option::unwrap_or_default).collect();
    let values = || steps.iter().flatten().map(|(ms, _)| *ms);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if most <= 0.0 {
        return Heat::default();
    }
    // The bounds stand clear of the least and the greatest value, of which a sketch knows only the bucket.
    let (low, high) = (least * (1.0 - RELATIVE_ERROR), most * (1.0 + 2.0 * RELATIVE_ERROR));
    let ratio = (high / low).ln() / HEAT_BUCKETS as f64;
    let bucket = |ms: f64| (((ms / low).ln() / ratio) as usize).min(HEAT_BUCKETS - 1);
    let row = |step: &Vec<(f64, u64)>| {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        step.iter().for_each(|(ms, count)| *counts.entry(bucket(*ms)).or_default() += count);
        let count = |bucket: usize| counts.get(&bucket).copied().unwrap_or(0).min(u64::from(u32::MAX)) as u32;
        (0..HEAT_BUCKETS).map(count).collect()
    };
    let bounds_ms = (0..=HEAT_BUCKETS).map(|bound| short(low * (ratio * bound as f64).exp())).collect();
    Heat { bounds_ms, counts: steps.iter().map(row).collect() }
}

/// Rounds to what a picture shows.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = DIGITS - 1 - value.abs().log10().floor() as i32;
    // By text: a product with a power of ten would leave seventeen digits.
    if (0..=30).contains(&scale) {
        format!("{value:.scale$}", scale = scale as usize).parse().unwrap_or(value)
    } else {
        format!("{value:.3e}").parse().unwrap_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        for (value, expected) in
            [(0.0, 0.0), (123.456, 123.5), (0.000123456, 0.0001235), (98766.0, 98770.0), (-1.23456, -1.235)]
        {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn steps_are_those_people_count_in() {
        use crate::model::time::NANOSECONDS_PER_SECOND;
        use crate::tables::aggregate::Window;
        for (seconds, expected) in [(1, 1), (360, 1), (361, 2), (3600, 10), (7200, 20), (40_000, 120 / 8)] {
            let mut frames = Frames::default();
            let key = SeriesKey::of("vus", &Default::default());
            for second in 0..seconds {
                let start_ns = second * NANOSECONDS_PER_SECOND;
                let (sum, min, max, last) = (1.0, 1.0, 1.0, 1.0);
                let window = Window {
                    start_ns,
                    series: 0,
                    count: 1,
                    sum,
                    min,
                    max,
                    last,
                    nonzero_count: 1,
                    percentiles: None,
                    sketch: None,
                };
                frames.add(&window, &key);
            }
            assert_eq!(frames_a_step(&frames), expected, "{seconds}");
        }
    }
}
