//! Whether the load generator did what the test asked of it: where it did not, the figures are of another test.
//!
//! - Dropped iterations: k6 had no free VU when one was due, so the load was less than asked.
//! - Starvation: with as many VUs as before, far fewer iterations, and the responses do not take long enough to explain
//!   it. Then k6 itself was slow: its processor, its memory, its network.
//! - Gaps: k6 samples its VUs every second. Seconds without any sample are seconds in which it did not run, or in which
//!   its output was lost.
//! - Clock trouble: a clock that was set puts requests into the wrong seconds.
//!
//! VUs at their allocated maximum are no trouble by themselves: with a fixed number of VUs they always are.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::GeneratorReport;
use crate::model::time::Timestamp;
use crate::stats::level::{Demand, excursions};

use super::finding_id::finding_id;
use super::like_load::are_planned;

/// One dropped iteration in a thousand is what the start of a scenario may cost.
const DROPPED_SHARE_MAX: f64 = 0.001;
const DROPPED_SHARE_MAJOR: f64 = 0.01;
const DROPPED_SHARE_CRITICAL: f64 = 0.10;
/// A step of iterations down to 70 % or less.
const STARVED_RATIO: f64 = 0.7;
const STARVED_SECONDS_MIN: f64 = 10.0;
/// The chance of taking chance for starvation, for a run.
const CHANCE: f64 = 0.002;
/// VUs, and requests of each iteration, that may vary without being another load.
const VUS_RATIO_MIN: f64 = 0.9;
const REQUESTS_RATIO: std::ops::Range<f64> = 0.8..1.25;
/// Longer responses explain the loss if they make up at least half of it.
const EXPLAINED_SHARE: f64 = 0.5;
/// One missing second is a sample that fell into its neighbour.
const GAP_SECONDS_MIN: f64 = 3.0;
/// Without samples of the VUs, nobody says whether there was something to be sampled.
const SILENCE_SECONDS_MIN: f64 = 10.0;
const GAP_SECONDS_MAJOR: f64 = 10.0;
const MILLISECONDS_PER_SECOND: f64 = 1000.0;

/// What k6 says of itself, one entry a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GeneratorSignal {
    /// Those that are at work; none where they were not sampled.
    pub vus: Vec<Option<f64>>,
    /// Those that are allocated.
    pub vus_max: Vec<Option<f64>>,
    pub iterations_count: Vec<f64>,
    pub dropped_iterations_count: Vec<f64>,
    pub requests_count: Vec<f64>,
    /// Of all requests that ended in the step, together.
    pub latency_ms_sum: Vec<f64>,
}

/// What reading the stream told of the generator's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Windows that were opened again because samples came later than the allowed lateness.
    pub reopened_windows_count: u64,
    /// Times at which the clock went back or leapt.
    pub steps_count: u64,
}

/// Says whether the generator was healthy, and what was wrong and when.
///
/// `start`: of the first step. `steady`: index of the first steady step, and behind the last, where they are known;
/// starvation is looked for there only, since iterations fall as a test ends.
pub fn generator(
    test: &str,
    start: Timestamp,
    step_seconds: f64,
    steady: Option<(usize, usize)>,
    signal: &GeneratorSignal,
    clock: Clock,
) -> (GeneratorReport, Vec<Finding>) {
    let run = Run { test, start, step_seconds, signal };
    let mut troubles: Vec<Trouble> = Vec::new();
    troubles.extend(run.dropped());
    let (from, until) = steady.unwrap_or((1, signal.iterations_count.len().saturating_sub(1)));
    troubles.extend(run.starved(from, until.min(signal.iterations_count.len())));
    troubles.extend(run.gaps());
    let mut reasons: Vec<String> = troubles.iter().map(|trouble| trouble.reason.clone()).collect();
    if clock.steps_count > 0 {
        reasons.push(format!("the generator's clock was set {} times while it ran", clock.steps_count));
    }
    if clock.reopened_windows_count > 0 {
        reasons.push(format!("samples of {} windows came too late to be in order", clock.reopened_windows_count));
    }
    let is_healthy = clock == Clock::default() && troubles.iter().all(|trouble| trouble.finding.is_none());
    let mut findings: Vec<Finding> = troubles.into_iter().filter_map(|trouble| trouble.finding).collect();
    findings.sort_by_key(|finding| (finding.severity, finding.from));
    (GeneratorReport { healthy: is_healthy, reasons }, findings)
}

/// What was not as it should be; without a finding it is worth a word and no more.
struct Trouble {
    reason: String,
    finding: Option<Finding>,
}

struct Run<'r> {
    test: &'r str,
    start: Timestamp,
    step_seconds: f64,
    signal: &'r GeneratorSignal,
}

/// What is said of a trouble, in the terms of a finding.
struct Facts {
    metric: &'static str,
    severity: Severity,
    observed: f64,
    expected: Option<f64>,
    unit: Unit,
    change: Option<Change>,
}

impl Run<'_> {
    fn dropped(&self) -> Option<Trouble> {
        let dropped = &self.signal.dropped_iterations_count;
        let from = dropped.iter().position(|count| *count > 0.0)?;
        let until = dropped.iter().rposition(|count| *count > 0.0)? + 1;
        let dropped_count: f64 = dropped.iter().sum();
        let due_count = dropped_count + self.signal.iterations_count.iter().sum::<f64>();
        let share = dropped_count / due_count;
        let is_at_max = |step: usize| {
            let pair =
                self.signal.vus.get(step).copied().flatten().zip(self.signal.vus_max.get(step).copied().flatten());
            dropped[step] > 0.0 && pair.is_some_and(|(vus, vus_max)| vus >= vus_max)
        };
        let with_vus = if (from..until).any(is_at_max) { ", with all VUs at work" } else { "" };
        let figures =
            format!("{dropped_count} of {due_count} iterations were dropped ({:.1} %){with_vus}", 100.0 * share);
        let reason = format!("{figures}: the load was less than the test asked for");
        let severity = match share {
            share if share >= DROPPED_SHARE_CRITICAL => Severity::Critical,
            share if share >= DROPPED_SHARE_MAJOR => Severity::Major,
            _ => Severity::Minor,
        };
        let change =
            Change { scale: Scale::Difference, point: share, low: Some(share), high: Some(share), confidence: None };
        let facts = Facts {
            metric: "dropped_iterations",
            severity,
            observed: share,
            expected: Some(0.0),
            unit: Unit::Fraction,
            change: Some(change),
        };
        let finding = (share > DROPPED_SHARE_MAX).then(|| self.finding(from, until, figures, facts));
        Some(Trouble { reason, finding })
    }

    /// Returns the intervals in which the same VUs did far fewer iterations, for no reason that the responses give.
    fn starved(&self, from: usize, until: usize) -> Vec<Trouble> {
        let Some(vus) = self.vus(from, until).filter(|vus| are_planned(vus)) else { return Vec::new() };
        let iterations = &self.signal.iterations_count[from..until];
        // A step without an iteration counts as half of one: its logarithm has to be something.
        let values: Vec<f64> = iterations.iter().map(|count| count.max(0.5).ln()).collect();
        let counts: Vec<f64> = iterations.iter().map(|count| count.max(1.0)).collect();
        let demand = Demand {
            log_chance: CHANCE.ln(),
            steps_min: ((STARVED_SECONDS_MIN / self.step_seconds).ceil() as usize).max(3),
            difference_min: -STARVED_RATIO.ln(),
            difference_sure: -STARVED_RATIO.ln() / 2.0,
            warm_up_steps: 0,
        };
        let found = excursions(&values, &counts, &demand).unwrap_or_default();
        let lower = found.iter().filter(|excursion| excursion.difference < 0.0);
        let starved = lower.filter(|excursion| self.is_starved(&vus, from, excursion.from, excursion.until));
        let troubles = starved.map(|excursion| {
            let ratio = excursion.difference.exp();
            let (from, until) = (from + excursion.from, from + excursion.until);
            let seconds = (until - from) as f64 * self.step_seconds;
            let observed = self.signal.iterations_count[from..until].iter().sum::<f64>() / seconds;
            let figures = format!(
                "{:.0} % fewer iterations with as many VUs, and responses do not explain it, from {} to {}",
                100.0 * (1.0 - ratio),
                self.clock(from),
                self.clock(until)
            );
            let change = Change::of_logarithm(excursion.difference, 1.96 * excursion.standard_error, 0.95);
            let facts = Facts {
                metric: "iterations",
                severity: Severity::Major,
                observed,
                expected: Some(observed / ratio),
                unit: Unit::Count,
                change: Some(change),
            };
            let reason = format!("{figures}: the generator itself was slow");
            Trouble { reason, finding: Some(self.finding(from, until, figures, facts)) }
        });
        troubles.collect()
    }

    /// Says whether an interval's lost iterations are the generator's own fault.
    ///
    /// VUs = iterations per second x seconds of one iteration: where iterations take longer by more than twice what their
    /// requests do, something else took the time. `first`: the step of `vus[0]`.
    fn is_starved(&self, vus: &[f64], first: usize, from: usize, until: usize) -> bool {
        let signal = self.signal;
        let outside = || (0..from).chain(until..vus.len());
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
            sum / f64::from(count.max(1))
        };
        let (vus_in, vus_out) =
            (mean(&mut vus[from..until].iter().copied()), mean(&mut outside().map(|step| vus[step])));
        if vus_in < VUS_RATIO_MIN * vus_out {
            return false;
        }
        // Responses that were waited for in the interval may have come after it: as long after as they took.
        let latency = |step: usize| signal.latency_ms_sum[step] / signal.requests_count[step].max(1.0);
        let end = signal.requests_count.len();
        let slowest_ms = (first + from..(first + 2 * until - from).min(end)).map(latency).fold(0.0, f64::max);
        let late_steps = (slowest_ms / MILLISECONDS_PER_SECOND / self.step_seconds).ceil() as usize;
        let (start, stop) = (first + from, (first + until + late_steps).min(end));
        let iterations_in = mean(&mut signal.iterations_count[start..first + until].iter().copied()).max(0.01);
        let iterations_out = mean(&mut outside().map(|step| signal.iterations_count[first + step]));
        let requests_in = mean(&mut signal.requests_count[start..first + until].iter().copied());
        let requests_out = mean(&mut outside().map(|step| signal.requests_count[first + step]));
        let per_iteration = (requests_in / iterations_in) / (requests_out / iterations_out);
        // Other requests in an iteration: another part of the script, not a slow generator.
        if requests_in > 0.0 && !REQUESTS_RATIO.contains(&per_iteration) {
            return false;
        }
        let steps = (until - from) as f64;
        let waited_in = signal.latency_ms_sum[start..stop].iter().sum::<f64>() / steps / iterations_in;
        let waited_out = mean(&mut outside().map(|step| signal.latency_ms_sum[first + step])) / iterations_out;
        let step_ms = self.step_seconds * MILLISECONDS_PER_SECOND;
        let longer_ms = (vus_in / iterations_in - vus_out / iterations_out) * step_ms;
        waited_in - waited_out < EXPLAINED_SHARE * longer_ms
    }

    /// Returns the VUs of each step, the last known ones where they were not sampled; none where they never were.
    fn vus(&self, from: usize, until: usize) -> Option<Vec<f64>> {
        let known = self.signal.vus.get(from..until)?;
        let mut last = known.iter().flatten().next().copied()?;
        let vus = known.iter().map(|vus| {
            last = vus.unwrap_or(last);
            last
        });
        Some(vus.collect())
    }

    fn gaps(&self) -> Vec<Trouble> {
        let signal = self.signal;
        let is_silent = |step: &usize| {
            let gauges = [&signal.vus, &signal.vus_max];
            let counters = [&signal.iterations_count, &signal.requests_count, &signal.dropped_iterations_count];
            gauges.iter().all(|gauge| gauge.get(*step).copied().flatten().is_none())
                && counters.iter().all(|counter| counter.get(*step).copied().unwrap_or(0.0) == 0.0)
        };
        let has_vus = signal.vus.iter().chain(&signal.vus_max).any(Option::is_some);
        let seconds_min = if has_vus { GAP_SECONDS_MIN } else { SILENCE_SECONDS_MIN };
        let loud: Vec<usize> = (0..signal.iterations_count.len()).filter(|step| !is_silent(step)).collect();
        let silences = loud.windows(2).map(|pair| (pair[0] + 1, pair[1]));
        let long = silences.filter(|(from, until)| (until - from) as f64 * self.step_seconds >= seconds_min);
        let troubles = long.map(|(from, until)| {
            let seconds = (until - from) as f64 * self.step_seconds;
            let figures = format!("no sample for {seconds} s from {} to {}", self.clock(from), self.clock(until));
            let facts = Facts {
                metric: if has_vus { "vus" } else { "iterations" },
                severity: if seconds >= GAP_SECONDS_MAJOR { Severity::Major } else { Severity::Minor },
                observed: seconds * MILLISECONDS_PER_SECOND,
                expected: Some(0.0),
                unit: Unit::Milliseconds,
                change: None,
            };
            let reason = format!("{figures}: the generator did not run, or its output was lost");
            Trouble { reason, finding: Some(self.finding(from, until, figures, facts)) }
        });
        troubles.collect()
    }

    fn finding(&self, from: usize, until: usize, title: String, facts: Facts) -> Finding {
        let series = SeriesReference { metric: facts.metric.to_owned(), tags: [].into(), statistic: None };
        let sql = format!(
            "SELECT window_start, metric, samples_count, sum, last\nFROM windows\n\
             WHERE metric IN ('vus', 'vus_max', 'iterations', 'dropped_iterations')\n  \
             AND window_start >= TIMESTAMP '{}'\n  AND window_start < TIMESTAMP '{}'\nORDER BY window_start, metric",
            self.time(from.saturating_sub(10)),
            self.time(until + 10)
        );
        let figure = Evidence::Metric {
            series: series.clone(),
            observed: facts.observed,
            expected: facts.expected,
            unit: facts.unit,
            change: facts.change,
            note: None,
        };
        let onset = self.time(from);
        Finding {
            id: finding_id(self.test, FindingKind::Generator, &series, Some(onset)),
            kind: FindingKind::Generator,
            title,
            severity: facts.severity,
            direction: Direction::Worse,
            series,
            also: Vec::new(),
            from: Some(onset),
            until: Some(self.time(until)),
            since_run: None,
            suspect: false,
            observed: facts.observed,
            expected: facts.expected,
            unit: facts.unit,
            change: facts.change,
            evidence: vec![figure, Evidence::Query { sql }],
        }
    }

    fn time(&self, step: usize) -> Timestamp {
        self.start.after_seconds(step as f64 * self.step_seconds)
    }

    fn clock(&self, step: usize) -> String {
        self.time(step).clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::NANOSECONDS_PER_SECOND;

    const SECONDS: usize = 120;

    /// Ten VUs whose iterations of one request of 50 ms and a pause take half a second.
    fn closed() -> GeneratorSignal {
        GeneratorSignal {
            vus: vec![Some(10.0); SECONDS],
            vus_max: vec![Some(10.0); SECONDS],
            iterations_count: (0..SECONDS).map(|second| 20.0 + [0.0, 1.0, -1.0][second % 3]).collect(),
            dropped_iterations_count: vec![0.0; SECONDS],
            requests_count: (0..SECONDS).map(|second| 20.0 + [0.0, 1.0, -1.0][second % 3]).collect(),
            latency_ms_sum: vec![1000.0; SECONDS],
        }
    }

    fn check(signal: &GeneratorSignal, clock: Clock, expected: &[(&str, Severity, i64, i64)]) -> GeneratorReport {
        let (report, findings) = generator("shop", Timestamp(0), 1.0, None, signal, clock);
        let seconds = |time: Option<Timestamp>| time.unwrap().0 / NANOSECONDS_PER_SECOND;
        let found: Vec<(&str, Severity, i64, i64)> = findings
            .iter()
            .map(|finding| {
                (finding.series.metric.as_str(), finding.severity, seconds(finding.from), seconds(finding.until))
            })
            .collect();
        assert_eq!(found, expected, "{:?}", report.reasons);
        report
    }

    #[test]
    fn a_fixed_number_of_vus_is_healthy() {
        let report = check(&closed(), Clock::default(), &[]);
        assert_eq!(report, GeneratorReport { healthy: true, reasons: Vec::new() });
        check(&GeneratorSignal::default(), Clock::default(), &[]);
    }

    #[test]
    fn dropped_iterations_are_found() {
        let mut signal = closed();
        signal.dropped_iterations_count[60] = 1.0;
        let report = check(&signal, Clock::default(), &[]);
        assert!(report.healthy && report.reasons.len() == 1, "{report:?}");
        signal.dropped_iterations_count[61..70].fill(10.0);
        let report = check(&signal, Clock::default(), &[("dropped_iterations", Severity::Major, 60, 70)]);
        let expected = "91 of 2491 iterations were dropped (3.7 %), with all VUs at work: the load was less than the test asked for";
        assert_eq!(report, GeneratorReport { healthy: false, reasons: vec![expected.to_owned()] });
    }

    #[test]
    fn starvation_is_told_from_slow_responses() {
        let mut slow_generator = closed();
        for second in 50..80 {
            slow_generator.iterations_count[second] *= 0.5;
            slow_generator.requests_count[second] *= 0.5;
            slow_generator.latency_ms_sum[second] *= 0.5;
        }
        check(&slow_generator, Clock::default(), &[("iterations", Severity::Major, 50, 80)]);
        // Half as many iterations, since each request takes half a second more.
        let mut slow_responses = slow_generator.clone();
        slow_responses.latency_ms_sum[50..80].fill(10.0 * 550.0);
        check(&slow_responses, Clock::default(), &[]);
        // Nothing ends for 20 s, then all that was waited for does.
        let mut hanging = closed();
        hanging.iterations_count[50..70].fill(0.0);
        hanging.requests_count[50..70].fill(0.0);
        hanging.latency_ms_sum[50..70].fill(0.0);
        hanging.requests_count[70] = 10.0;
        hanging.latency_ms_sum[70] = 10.0 * 20_000.0;
        check(&hanging, Clock::default(), &[]);
        let mut fewer_vus = slow_generator;
        fewer_vus.vus[50..80].fill(Some(5.0));
        check(&fewer_vus, Clock::default(), &[]);
    }

    #[test]
    fn gaps_are_found() {
        let mut signal = closed();
        let silence = |signal: &mut GeneratorSignal, seconds: std::ops::Range<usize>| {
            for second in seconds {
                (signal.vus[second], signal.vus_max[second]) = (None, None);
                signal.iterations_count[second] = 0.0;
                signal.requests_count[second] = 0.0;
            }
        };
        silence(&mut signal, 30..32);
        check(&signal, Clock::default(), &[]);
        silence(&mut signal, 30..34);
        let report = check(&signal, Clock::default(), &[("vus", Severity::Minor, 30, 34)]);
        assert!(!report.healthy);
    }

    #[test]
    fn clock_trouble_is_told() {
        let report = check(&closed(), Clock { reopened_windows_count: 3, steps_count: 1 }, &[]);
        assert!(!report.healthy && report.reasons.len() == 2, "{report:?}");
    }
}
