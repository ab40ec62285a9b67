//! What stands out within one run, from its frames: the signals of its endpoints and of its load, and what they say.

use std::collections::HashMap;
use std::ops::Range;

use crate::model::finding::Finding;
use crate::model::ramp::{Load, Ramp};
use crate::model::report::{AnalysisReport, CoordinatedOmission, GeneratorReport, Skipped};
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::stats::sketch::Sketch;
use crate::tables::frames::{FrameSeries, Frames, Step};
use crate::tables::siblings::Siblings;
use crate::tables::timeline::is_of;

use super::anomaly::{self, Signal, anomalies};
use super::collapse::{Work, collapse};
use super::erratic::erratic;
use super::generator::{Clock, GeneratorSignal, generator};
use super::like_load::LoadSignal;
use super::omission::{omission, omitted};
use super::recurring::recurring;
use super::saturation::{RampSignal, ramp};
use super::siblings::siblings as outlying_siblings;
use super::soak::{Steady, leak};
use super::subjects::endpoint_reference;

/// Arrivals are averaged over.
const ARRIVALS_SECONDS: f64 = 5.0;

pub struct WithinRun {
    pub findings: Vec<Finding>,
    pub generator: GeneratorReport,
    /// None unless the load climbs.
    pub ramp: Option<Ramp>,
    /// None with an arrival rate.
    pub omission: Option<CoordinatedOmission>,
    pub skipped: Vec<Skipped>,
}

/// What a run shows over time: columns of one entry a step.
struct Seen {
    start: Timestamp,
    step_seconds: f64,
    /// Index of the first steady step, and behind the last, where they are known.
    steady: Option<(usize, usize)>,
    generator: GeneratorSignal,
    requests_per_second: Vec<f64>,
    /// Of all requests.
    median_ms: Vec<Option<f64>>,
    /// What made the load, and how much of it there was.
    kind: Load,
    climbing: Vec<Option<f64>>,
    load: LoadSignal,
    /// By endpoint.
    signals: Vec<Signal>,
}

impl Seen {
    /// `report`: its endpoints and phases are known.
    fn of(report: &AnalysisReport, frames: &Frames) -> Seen {
        let start = Timestamp(frames.start_ns().unwrap_or_default());
        let step_seconds = frames.step_seconds as f64;
        let lasts = |name: &str| frames.steps_together(1, |series| series.key.metric == name, |step| step.last);
        let sums = |name: &str| or_zeros(frames.steps_together(1, |series| series.key.metric == name, |step| step.sum));
        let requests_count = sums("http_reqs");
        let requests_per_second: Vec<f64> = requests_count.iter().map(|count| count / step_seconds).collect();
        let latency = frames.steps_together(1, is_latency, |step| (step.sum, step.sketch.quantile(0.5)));
        let generator = GeneratorSignal {
            vus: lasts("vus"),
            vus_max: lasts("vus_max"),
            iterations_count: sums("iterations"),
            dropped_iterations_count: sums("dropped_iterations"),
            requests_count,
            latency_ms_sum: latency.iter().map(|step| step.map_or(0.0, |(sum, _)| sum)).collect(),
        };
        // With an arrival rate the load is what was due: what ends a second is no more than there is room for.
        let (kind, climbing) = match report.totals.arrivals_per_second {
            Some(_) => (Load::Arrivals, due_per_second(&generator, step_seconds)),
            None => (Load::Vus, generator.vus.clone()),
        };
        let rate_per_second = match kind {
            Load::Arrivals => climbing.iter().map(|due| due.unwrap_or(0.0)).collect(),
            Load::Vus => requests_per_second.clone(),
        };
        let load = LoadSignal { vus: generator.vus.clone(), rate_per_second };
        let signals = report.endpoints.iter().map(|endpoint| {
            let is_its = |series: &FrameSeries, name: &str| series.key.metric == name && is_of(&series.key, endpoint);
            let counts = |name: &str, count: fn(&Step) -> u32| {
                or_zeros(frames.steps_together(1, |series| is_its(series, name), count))
            };
            let quantiles = |step: &Step| [0.5, 0.95].map(|p| step.sketch.quantile(p));
            let latency = frames.steps_together(1, |series| is_its(series, "http_req_duration"), quantiles);
            Signal {
                series: endpoint_reference("http_req_duration", endpoint),
                requests_count: counts("http_reqs", |step| step.sum as u32),
                failed_count: counts("http_req_failed", |step| step.nonzero_count as u32),
                median_ms: latency.iter().map(|step| (*step)?[0]).collect(),
                p95_ms: latency.iter().map(|step| (*step)?[1]).collect(),
            }
        });
        Seen {
            start,
            step_seconds,
            steady: steady(report, start, frames.step_seconds, frames.steps_count()),
            requests_per_second,
            median_ms: latency.into_iter().map(|step| step?.1).collect(),
            kind,
            climbing,
            load,
            signals: signals.collect(),
            generator,
        }
    }
}

/// The chance of a false alarm at one look of a run that goes on. It is looked at every second, but what one look finds the
/// next one nearly always finds, too: that a whole hour is silent takes far less than its looks one by one.
const CHANCE_SO_FAR: f64 = anomaly::CHANCE / 20.0;

/// Returns the anomalies of a run that goes on, and the generator's troubles, by all that is known of it so far.
///
/// What needs a whole run is not looked for: leaks, recurring spikes, scenarios that go another way.
pub fn so_far(report: &AnalysisReport, frames: &Frames) -> Vec<Finding> {
    let seen = Seen::of(report, frames);
    let Seen { start, step_seconds, steady, .. } = seen;
    let test = &report.run.test;
    let (_, troubles) = generator(test, start, step_seconds, steady, &seen.generator, Clock::default());
    let found = anomalies(test, start, step_seconds, steady, &seen.load, &seen.signals, CHANCE_SO_FAR);
    let (mut findings, _) = found.into_parts();
    findings.extend(troubles);
    findings
}

/// `report`: its endpoints and phases are known.
pub fn within_run(report: &AnalysisReport, frames: &Frames, siblings: &Siblings, clock: Clock) -> WithinRun {
    let seen = Seen::of(report, frames);
    let Seen { start, step_seconds, steady, .. } = seen;
    let test = &report.run.test;
    let (generator, troubles) = generator(test, start, step_seconds, steady, &seen.generator, clock);
    let found = anomalies(test, start, step_seconds, steady, &seen.load, &seen.signals, anomaly::CHANCE);
    let (mut findings, mut skipped) = found.into_parts();
    findings.extend(troubles);
    let mut left_out = None;
    if let Some((from, until)) = steady {
        let steady = Steady { test, start, step_seconds, from, until };
        let work = Work {
            load: &seen.climbing,
            is_vus: seen.kind == Load::Vus,
            requests_per_second: &seen.requests_per_second,
            scenarios: &spans_of_scenarios(frames),
        };
        collapse(&mut findings, &steady, &work);
        erratic(&mut findings, &steady, &seen.signals);
        if seen.kind == Load::Vus {
            let latency = latency_within(frames, from..until);
            left_out = omission(&steady, &seen.generator.vus, &seen.requests_per_second, &latency);
            findings.extend(left_out.as_ref().and_then(|omission| omitted(&steady, omission)));
        }
        recurring(&mut findings, &steady, &seen.signals);
        leak(&mut findings, &steady, &seen.load, &seen.signals, &report.thresholds);
        let (kinds, given_up) = siblings.kinds(frames);
        skipped.extend(outlying_siblings(&mut findings, &steady, &kinds, &given_up));
    }
    let ramp_signal =
        RampSignal { load: seen.climbing, median_ms: seen.median_ms, requests_per_second: seen.requests_per_second };
    let ramp = ramp(seen.kind, start, step_seconds, &ramp_signal);
    WithinRun { findings, generator, ramp, omission: left_out, skipped }
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

/// Returns the first and the last step with requests of each scenario.
fn spans_of_scenarios(frames: &Frames) -> Vec<(usize, usize)> {
    let mut spans: HashMap<&Option<String>, (usize, usize)> = HashMap::new();
    for series in frames.series().iter().filter(|series| series.key.metric == "http_reqs") {
        let steps = frames.steps_of(series, 1, |_| ());
        let known = || (0..steps.len()).filter(|step| steps[*step].is_some());
        let Some((first, last)) = known().next().zip(known().next_back()) else { continue };
        let span = spans.entry(&series.key.scenario).or_insert((first, last));
        *span = (span.0.min(first), span.1.max(last));
    }
    spans.into_values().collect()
}

/// Returns the iterations that were due a second, averaged over some seconds: they start in bursts.
///
/// What started is what ended and what is under way more than before: each VU that is at work has one iteration.
fn due_per_second(signal: &GeneratorSignal, step_seconds: f64) -> Vec<Option<f64>> {
    let mut under_way = 0.0;
    let due: Vec<f64> = (0..signal.iterations_count.len())
        .map(|step| {
            let before = under_way;
            under_way = signal.vus.get(step).copied().flatten().unwrap_or(before);
            let due = signal.iterations_count[step] + signal.dropped_iterations_count[step] + under_way - before;
            due / step_seconds
        })
        .collect();
    let reach = (ARRIVALS_SECONDS / step_seconds / 2.0).ceil() as usize;
    let around = |step: usize| {
        let near = &due[step.saturating_sub(reach)..(step + reach + 1).min(due.len())];
        Some((near.iter().sum::<f64>() / near.len() as f64).max(0.0))
    };
    (0..due.len()).map(around).collect()
}

fn is_latency(series: &FrameSeries) -> bool {
    series.key.metric == "http_req_duration"
}

/// Returns the latency of all requests in some steps.
fn latency_within(frames: &Frames, steps: Range<usize>) -> Sketch {
    let mut all = Sketch::default();
    frames.each_step(1, frames.series().iter().filter(|series| is_latency(series)), |index, step| {
        if let Some(step) = step.filter(|_| steps.contains(&index)) {
            all.merge(&step.sketch);
        }
    });
    all
}

fn or_zeros<T: Default>(steps: Vec<Option<T>>) -> Vec<T> {
    steps.into_iter().map(Option::unwrap_or_default).collect()
}
