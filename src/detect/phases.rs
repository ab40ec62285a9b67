//! When the load was steady, from the VUs and the iterations of each second.

use std::collections::BTreeMap;

use crate::model::report::{MetricReport, Phases};
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::tables::aggregate::Load;

use super::like_load::are_planned;

/// The share of the most VUs from which the load counts as reached.
const LEVEL: f64 = 0.9;
/// The share of the median rate from which an arrival rate counts as reached; it varies more than VUs do.
const RATE_LEVEL: f64 = 0.8;
/// Seconds over which the rate is averaged: iterations of some seconds' length come in bursts.
const RATE_SECONDS: usize = 5;

/// With fewer VUs at work than this part of those that are allocated, they were not what was planned.
const ALLOCATED_SHARE: f64 = 0.5;

/// Thirty days: longer than any soak test, short enough for a list of its seconds.
const SPAN_SECONDS_MAX: i64 = 30 * 86_400;

const RULE: &str = "steady from the first to the last second with at least 90 % of the most VUs; where the VUs never change, \
or flicker as with an arrival rate, with at least 80 % of the median iteration rate over 5 s";

/// `load`: by the start of each second, in nanoseconds.
pub fn phases(load: &BTreeMap<i64, Load>) -> Phases {
    let vus: Vec<(i64, f64)> = load.iter().filter_map(|(start, load)| Some((*start, load.vus?))).collect();
    let most = vus.iter().map(|(_, vus)| *vus).fold(0.0, f64::max);
    let changes = vus.iter().any(|(_, vus)| *vus < LEVEL * most);
    // With an arrival rate `vus` counts those that wait for a response: it flickers, and says nothing of the load.
    let is_planned = are_planned(&vus.iter().map(|(_, vus)| *vus).collect::<Vec<_>>());
    let steady = if most > 0.0 && changes && is_planned {
        span(&vus, LEVEL * most)
    } else {
        steady_rate(load).or_else(|| span(&vus, 0.0))
    };
    let (from, until) = steady.unzip();
    Phases { steady_from: from.map(Timestamp), steady_until: until.map(Timestamp), rule: RULE.to_owned() }
}

/// What the generator says of the iterations of a run, as far as it does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Started {
    /// The most that were allocated.
    pub allocated_vus: Option<f64>,
    pub iterations_count: Option<f64>,
    pub dropped_count: Option<f64>,
}

impl Started {
    /// `metrics`: of the whole run.
    pub fn of(metrics: &[MetricReport]) -> Started {
        let value = |metric: &str, value: &str| {
            metrics.iter().find(|known| known.name == metric).and_then(|metric| metric.values.get(value).copied())
        };
        Started {
            allocated_vus: value("vus_max", "max"),
            iterations_count: value("iterations", "count"),
            dropped_count: value("dropped_iterations", "count"),
        }
    }
}

/// Returns the iterations that were due a second, if an arrival rate made the load; none where the VUs did.
pub fn arrivals_per_second(load: &BTreeMap<i64, Load>, started: Started, duration_seconds: Option<f64>) -> Option<f64> {
    let vus: Vec<f64> = load.values().filter_map(|load| load.vus).collect();
    let most = vus.iter().copied().fold(0.0, f64::max);
    let is_idle = started.allocated_vus.is_some_and(|allocated| most < ALLOCATED_SHARE * allocated);
    if vus.is_empty() || are_planned(&vus) && !is_idle {
        return None;
    }
    // Each VU that is at work as the run ends has one more.
    let under_way = vus.last().copied().unwrap_or(0.0);
    let due = started.iterations_count? + started.dropped_count.unwrap_or(0.0) + under_way;
    duration_seconds.filter(|seconds| *seconds > 0.0).map(|seconds| due / seconds)
}

fn steady_rate(load: &BTreeMap<i64, Load>) -> Option<(i64, i64)> {
    let (first, last) = (*load.first_key_value()?.0, *load.last_key_value()?.0);
    // A clock that jumps by years leaves a span with hardly a sample in it: there is no rate to speak of.
    let span_seconds = last.saturating_sub(first) / NANOSECONDS_PER_SECOND;
    if span_seconds > SPAN_SECONDS_MAX {
        return None;
    }
    // A second without an iteration has no entry, and counts as none.
    let seconds: Vec<i64> = (first..=last).step_by(NANOSECONDS_PER_SECOND as usize).collect();
    let rates: Vec<f64> = seconds.iter().map(|start| load.get(start).map_or(0.0, |load| load.iterations)).collect();
    if rates.len() < 4 * RATE_SECONDS {
        return None;
    }
    let smooth: Vec<f64> =
        rates.windows(RATE_SECONDS).map(|window| window.iter().sum::<f64>() / RATE_SECONDS as f64).collect();
    let mut sorted = smooth.clone();
    sorted.sort_by(f64::total_cmp);
    let level = RATE_LEVEL * sorted[sorted.len() / 2];
    let from = smooth.iter().position(|rate| *rate >= level)?;
    let until = smooth.iter().rposition(|rate| *rate >= level)? + RATE_SECONDS;
    Some((seconds[from], seconds[until - 1] + NANOSECONDS_PER_SECOND))
}

/// Returns the start of the first second at `level` or above, and the end of the last.
fn span(series: &[(i64, f64)], level: f64) -> Option<(i64, i64)> {
    let mut high = series.iter().filter(|(_, value)| *value >= level).map(|(start, _)| *start);
    let from = high.next()?;
    Some((from, high.next_back().unwrap_or(from).saturating_add(NANOSECONDS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vus: &[f64], iterations: &[f64], expected_seconds: Option<(i64, i64)>) {
        let load = vus.iter().zip(iterations).enumerate().map(|(second, (vus, iterations))| {
            (second as i64 * NANOSECONDS_PER_SECOND, Load { vus: Some(*vus), iterations: *iterations })
        });
        let phases = phases(&load.collect());
        let seconds = |time: Option<Timestamp>| time.map(|time| time.0 / NANOSECONDS_PER_SECOND);
        assert_eq!(seconds(phases.steady_from).zip(seconds(phases.steady_until)), expected_seconds);
    }

    #[test]
    fn ramps_are_left_out() {
        check(&[1.0, 5.0, 9.5, 10.0, 10.0, 6.0, 1.0], &[0.0; 7], Some((2, 5)));
        check(&[], &[], None);
        check(&[3.0, 3.0], &[1.0, 1.0], Some((0, 2)));
        let arrival = [[0.0; 10], [20.0; 10], [20.0; 10], [20.0; 10]].concat();
        check(&[30.0; 40], &arrival, Some((9, 40)));
        let flickering: Vec<f64> = (0..40).map(|second| [2.0, 0.0, 1.0, 3.0, 1.0][second % 5]).collect();
        check(&flickering, &arrival, Some((9, 40)));
    }
}
