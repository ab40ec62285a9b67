//! What stands out within one run, from its frames: the signals of its endpoints and of its load, and what they say.

use crate::model::finding::Finding;
use crate::model::report::{AnalysisReport, GeneratorReport, Skipped};
use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::tables::frames::{Frames, Step};
use crate::tables::timeline::is_of;

use super::anomaly::{Signal, anomalies};
use super::generator::{Clock, GeneratorSignal, generator};
use super::like_load::LoadSignal;
use super::subjects::endpoint_reference;

pub struct WithinRun {
    pub findings: Vec<Finding>,
    pub generator: GeneratorReport,
    pub skipped: Vec<Skipped>,
}

/// `report`: its endpoints and phases are known.
pub fn within_run(report: &AnalysisReport, frames: &Frames, clock: Clock) -> WithinRun {
    let start = Timestamp(frames.start_ns().unwrap_or_default());
    let step_seconds = frames.step_seconds as f64;
    let steady = steady(report, start, frames.step_seconds, frames.steps_count());
    let of = |is_its: &dyn Fn(&SeriesKey) -> bool| frames.steps_together(1, |series| is_its(&series.key));
    let metric = |name: &'static str| of(&move |key| key.metric == name);
    let requests = metric("http_reqs");
    let load = LoadSignal {
        vus: lasts(&metric("vus")),
        requests_per_second: sums(&requests).into_iter().map(|count| count / step_seconds).collect(),
    };
    let signals: Vec<Signal> = report
        .endpoints
        .iter()
        .map(|endpoint| {
            let steps = |name: &str| of(&|key| key.metric == name && is_of(key, endpoint));
            let latency = steps("http_req_duration");
            let quantile = |p: f64| latency.iter().map(|step| step.as_ref()?.sketch.quantile(p)).collect();
            Signal {
                series: endpoint_reference("http_req_duration", endpoint),
                requests_count: sums(&steps("http_reqs")).into_iter().map(|count| count as u32).collect(),
                failed_count: counts(&steps("http_req_failed"), |step| step.nonzero_count),
                median_ms: quantile(0.5),
                p95_ms: quantile(0.95),
            }
        })
        .collect();
    let generator_signal = GeneratorSignal {
        vus: load.vus.clone(),
        vus_max: lasts(&metric("vus_max")),
        iterations_count: sums(&metric("iterations")),
        dropped_iterations_count: sums(&metric("dropped_iterations")),
        requests_count: sums(&requests),
        latency_ms_sum: sums(&metric("http_req_duration")),
    };
    let test = &report.run.test;
    let (generator, troubles) = generator(test, start, step_seconds, steady, &generator_signal, clock);
    let (mut findings, skipped) = anomalies(test, start, step_seconds, steady, &load, &signals).into_parts();
    findings.extend(troubles);
    WithinRun { findings, generator, skipped }
}

/// Returns the index of the first step that is steady as a whole, and behind the last; none where it is not known.
fn steady(report: &AnalysisReport, start: Timestamp, step_seconds: i64, steps_count: usize) -> Option<(usize, usize)> {
    let (from, until) = report.phases.steady_from.zip(report.phases.steady_until)?;
    let step_ns = step_seconds * NANOSECONDS_PER_SECOND;
    let steps = |time: Timestamp| (time.0 - start.0).max(0);
    let from = (steps(from) as u64).div_ceil(step_ns as u64) as usize;
    let until = (steps(until) / step_ns) as usize;
    (from < until.min(steps_count)).then_some((from, until.min(steps_count)))
}

fn sums(steps: &[Option<Step>]) -> Vec<f64> {
    steps.iter().map(|step| step.as_ref().map_or(0.0, |step| step.sum)).collect()
}

fn counts(steps: &[Option<Step>], count: impl Fn(&Step) -> u64) -> Vec<u32> {
    steps.iter().map(|step| step.as_ref().map_or(0, |step| count(step) as u32)).collect()
}

fn lasts(steps: &[Option<Step>]) -> Vec<Option<f64>> {
    steps.iter().map(|step| step.as_ref().map(|step| step.last)).collect()
}
