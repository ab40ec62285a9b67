//! Anomalies within one run: intervals in which requests took longer, or failed more often, than in the rest of it.
//!
//! - Only the steady part is judged where it is known: warm-up and ramp-down are left out by the rule of `phases`. Where
//!   it is not known, all steps but the first and the last are, which are hardly ever full. What is slow at the start of
//!   the judged part, and not for long, is a warm-up, too (`warm_up_steps`).
//! - Latency is judged at like load: what it owes to the load is taken out first (`like_load`). Failures are judged at any
//!   load: none are expected.
//! - Each endpoint is judged by itself, so that another mix of endpoints is no anomaly; then all are once more together,
//!   each against its own usual latency, so that a weak shift of many is found.
//! - Medians are judged, and 95th percentiles where a step has enough requests for one.
//! - The chance that a stationary run has any anomaly is what the caller demands, over all series, places and lengths.

use crate::model::finding::{Change, Finding, Scale, SeriesReference};
use crate::model::report::Skipped;
use crate::model::time::Timestamp;
use crate::stats::count_scan::{self, bursts};
use crate::stats::level::{self, Excursion, difference, excursions};
use crate::stats::noise::{self, STEPS_MIN};

use super::like_load::{Driver, LoadCurve, LoadSignal, driver};
use super::moved::{Moved, Run, Statistic, findings};
use super::outcome::Outcome;

/// The chance that anything at all is found in a run in which nothing happened.
pub const CHANCE: f64 = 0.02;
/// The part of it that is for failures; the rest is for latency.
const CHANCE_OF_FAILURES: f64 = 0.25;
/// A latency that moves by less than 10 % is not worth a word.
const LATENCY_RATIO_MIN: f64 = 1.10;
/// It has to be more than 5 % beyond doubt: servers drift by a few percent, and then no test of zero change is silent.
const LATENCY_RATIO_SURE: f64 = 1.05;
/// Requests that fail in addition, as a fraction of all: fewer than one in 200 is for thresholds to judge.
const FAILED_DIFFERENCE_MIN: f64 = 0.005;
/// Where requests fail all the time, a burst is half as many more.
const FAILED_RATIO_MIN: f64 = 1.5;
/// The shortest anomaly: a pause of one second is none.
const SECONDS_MIN: f64 = 5.0;
const ANOMALY_STEPS_MIN: usize = 3;
/// The longest warm-up: 30 s, in long runs a tenth of the judged part, in short ones no more than a quarter of it.
const WARM_UP_SECONDS: f64 = 30.0;
const WARM_UP_SHARE: f64 = 0.1;
const WARM_UP_SHARE_MAX: f64 = 0.25;
/// Requests in a typical step from which its 95th percentile is more than its slowest request.
const REQUESTS_FOR_P95: f64 = 20.0;
/// The chance at which an endpoint counts as moved, too, in an interval that others showed.
const CHANCE_OF_COMPANY: f64 = 0.001;
/// Both ends of an interval of 95 %, in standard errors.
const SIGMAS_OF_INTERVAL: f64 = 1.96;

const WHAT: &str = "anomalies within the run";

/// The requests of one endpoint, one entry a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// `http_req_duration` with the tags of the endpoint.
    pub series: SeriesReference,
    /// All requests, also those that failed.
    pub requests_count: Vec<u32>,
    pub failed_count: Vec<u32>,
    /// Of the requests that k6 expected to succeed; none in a step without one.
    pub median_ms: Vec<Option<f64>>,
    pub p95_ms: Vec<Option<f64>>,
}

/// Returns the anomalies of a run, one finding for all that moved at once.
///
/// `start`: of the first step. `steady`: index of the first steady step, and behind the last, where they are known.
/// All signals and the load have as many steps. `chance`: that anything is found in a run in which nothing happened.
pub fn anomalies(
    test: &str,
    start: Timestamp,
    step_seconds: f64,
    steady: Option<(usize, usize)>,
    load: &LoadSignal,
    signals: &[Signal],
    chance: f64,
) -> Outcome {
    let steps_count = signals.iter().map(|signal| signal.requests_count.len()).min().unwrap_or(0);
    let (from, until) = steady.unwrap_or((1, steps_count.saturating_sub(1)));
    let until = until.min(steps_count);
    if signals.iter().all(|signal| signal.requests_count.iter().all(|count| *count == 0)) {
        return Outcome::skipped(WHAT, "there is no request");
    }
    if until.saturating_sub(from) < STEPS_MIN {
        let known = if steady.is_some() { "the steady part has" } else { "there are" };
        let reason =
            format!("{known} {} steps of {step_seconds} s, and {STEPS_MIN} are needed", until.saturating_sub(from));
        return Outcome::skipped(WHAT, reason);
    }
    let driver = driver(load, step_seconds, from, until);
    let judged = Judged { from, until, step_seconds, driver, chance };
    let tracks = tracks(&judged, signals);
    let mut moved = latency_moves(&judged, &tracks);
    let failed = failure_moves(&judged, signals);
    let skipped = not_judged(signals, &tracks);
    // Without a series there is nothing that could have moved.
    if tracks.is_empty() && failed.is_none() {
        return Outcome::skipped(WHAT, format!("no endpoint has requests in {STEPS_MIN} steps of the judged part"));
    }
    moved.extend(failed.unwrap_or_default());
    let run = Run { test, start, step_seconds, until, signals };
    let company = |signal: usize, from: usize, until: usize| company(&tracks, signal, from, until);
    let findings: Vec<Finding> = findings(&run, moved, &company);
    Outcome::Judged { findings, skipped }
}

/// The steps that are judged, and the load that drives latency in them, where it varies.
struct Judged {
    from: usize,
    until: usize,
    step_seconds: f64,
    /// By step from `from` on.
    driver: Option<Driver>,
    /// That anything is found where nothing happened.
    chance: f64,
}

impl Judged {
    fn len(&self) -> usize {
        self.until - self.from
    }

    fn steps_min(&self) -> usize {
        ((SECONDS_MIN / self.step_seconds).ceil() as usize).max(ANOMALY_STEPS_MIN)
    }

    fn warm_up_steps(&self) -> usize {
        let steps = (WARM_UP_SECONDS / self.step_seconds).max(WARM_UP_SHARE * self.len() as f64);
        steps.min(WARM_UP_SHARE_MAX * self.len() as f64) as usize
    }
}

/// The steps of one statistic that have a value, without what is owed to the load.
struct Track {
    /// None: all endpoints together.
    signal: Option<usize>,
    statistic: Statistic,
    /// Logarithms of milliseconds.
    values: Vec<f64>,
    /// The requests that each value rests on.
    counts: Vec<f64>,
    /// Of each value, ascending.
    steps: Vec<usize>,
    /// As `values`, with what is owed to the load.
    raw: Vec<f64>,
    /// Of the load at each value, and how latency follows it; where it varies.
    load: Option<(Vec<f64>, LoadCurve)>,
}

impl Track {
    fn of(judged: &Judged, signal: Option<usize>, statistic: Statistic, rows: Vec<(usize, f64, f64)>) -> Track {
        let steps: Vec<usize> = rows.iter().map(|(step, _, _)| *step).collect();
        let raw: Vec<f64> = rows.iter().map(|(_, value, _)| *value).collect();
        let counts = rows.iter().map(|(_, _, count)| *count).collect();
        let load = judged.driver.as_ref().map(|driver| {
            let levels: Vec<f64> = steps.iter().map(|step| driver.levels[step - judged.from]).collect();
            let curve = LoadCurve::of(&raw, &levels, driver.error);
            (levels, curve)
        });
        let values = match &load {
            Some((levels, curve)) => raw.iter().zip(levels).map(|(value, level)| value - curve.owed(*level)).collect(),
            None => raw.clone(),
        };
        Track { signal, statistic, values, counts, steps, raw, load }
    }

    /// Returns the values of a step range as a range of indices.
    fn indices(&self, from: usize, until: usize) -> (usize, usize) {
        let index = |step: usize| self.steps.partition_point(|other| *other < step);
        (index(from), index(until))
    }

    /// Says whether an excursion is one beside the steps with the same load, too.
    fn is_at_like_load(&self, excursion: &Excursion) -> bool {
        let Some((levels, curve)) = &self.load else { return true };
        let difference = curve.difference_at_like_load(&self.values, levels, excursion.from, excursion.until);
        difference.is_some_and(|difference| difference * excursion.difference.signum() >= LATENCY_RATIO_MIN.ln())
    }

    fn moved(&self, excursion: &Excursion) -> Moved {
        let ratio = excursion.difference.exp();
        let reach = SIGMAS_OF_INTERVAL * excursion.standard_error;
        let change = Change::of_logarithm(excursion.difference, reach, 0.95);
        let observed = middle(&self.raw[excursion.from..excursion.until]).exp();
        Moved {
            signal: self.signal,
            statistic: self.statistic,
            from: self.steps[excursion.from],
            until: self.steps[excursion.until - 1] + 1,
            observed,
            expected: observed / ratio,
            change,
            log_chance: excursion.log_chance,
        }
    }
}

/// Returns what can be judged: medians and 95th percentiles by endpoint, then the median of all together.
fn tracks(judged: &Judged, signals: &[Signal]) -> Vec<Track> {
    let rows = |signal: &Signal, values: &[Option<f64>]| -> Vec<(usize, f64, f64)> {
        let row = |step: usize| {
            let value = values.get(step).copied().flatten().filter(|value| value.is_finite() && *value > 0.0)?;
            let count = signal.requests_count[step].saturating_sub(signal.failed_count[step]);
            (count > 0).then_some((step, value.ln(), f64::from(count)))
        };
        (judged.from..judged.until).filter_map(row).collect()
    };
    let medians: Vec<Vec<(usize, f64, f64)>> = signals.iter().map(|signal| rows(signal, &signal.median_ms)).collect();
    let together = together(judged, &medians);
    let mut tracks = Vec::new();
    for (index, (signal, medians)) in signals.iter().zip(medians).enumerate() {
        if medians.len() < STEPS_MIN {
            continue;
        }
        let counts: Vec<f64> = medians.iter().map(|(_, _, count)| *count).collect();
        let has_p95 = middle(&counts) >= REQUESTS_FOR_P95;
        tracks.push(Track::of(judged, Some(index), Statistic::Median, medians));
        if has_p95 {
            tracks.push(Track::of(judged, Some(index), Statistic::P95, rows(signal, &signal.p95_ms)));
        }
    }
    if signals.len() > 1 && together.len() >= STEPS_MIN {
        tracks.push(Track::of(judged, None, Statistic::Median, together));
    }
    tracks
}

/// Returns by step what all endpoints together would take if the mix of requests were the same all the time.
///
/// That is: what is usual on average, and how far the endpoints are from what is usual for each, weighted by requests.
fn together(judged: &Judged, medians: &[Vec<(usize, f64, f64)>]) -> Vec<(usize, f64, f64)> {
    let mut sums = vec![(0.0, 0.0); judged.len()];
    let (mut usual_sum, mut usual_count) = (0.0, 0.0);
    for rows in medians {
        let usual = middle(&rows.iter().map(|(_, value, _)| *value).collect::<Vec<_>>());
        for (step, value, count) in rows {
            let sum = &mut sums[step - judged.from];
            *sum = (sum.0 + count * (value - usual), sum.1 + count);
            (usual_sum, usual_count) = (usual_sum + count * usual, usual_count + count);
        }
    }
    let rows = sums.iter().enumerate().filter(|(_, (_, count))| *count > 0.0);
    rows.map(|(step, (sum, count))| (judged.from + step, usual_sum / usual_count + sum / count, *count)).collect()
}

fn latency_moves(judged: &Judged, tracks: &[Track]) -> Vec<Moved> {
    let demand = level::Demand {
        log_chance: (judged.chance * (1.0 - CHANCE_OF_FAILURES) / tracks.len().max(1) as f64).ln(),
        steps_min: judged.steps_min(),
        difference_min: LATENCY_RATIO_MIN.ln(),
        difference_sure: LATENCY_RATIO_SURE.ln(),
        warm_up_steps: judged.warm_up_steps(),
    };
    let of_track = |track: &Track| {
        let found = excursions(&track.values, &track.counts, &demand).unwrap_or_default();
        let found = found.iter().filter(|excursion| track.is_at_like_load(excursion));
        found.map(|excursion| track.moved(excursion)).collect::<Vec<_>>()
    };
    tracks.iter().flat_map(of_track).collect()
}

/// Returns how one endpoint moved in an interval that others showed, if it did.
fn company(tracks: &[Track], signal: usize, from: usize, until: usize) -> Option<Moved> {
    let track = tracks.iter().find(|track| track.signal == Some(signal) && track.statistic == Statistic::Median)?;
    let (first, last) = track.indices(from, until);
    if first >= last || last - first == track.values.len() {
        return None;
    }
    let excursion = difference(&track.values, &track.counts, first, last)?;
    let is_moved =
        excursion.log_chance < CHANCE_OF_COMPANY.ln() && excursion.difference.abs() >= LATENCY_RATIO_MIN.ln();
    let is_moved = is_moved && track.is_at_like_load(&excursion);
    is_moved.then(|| track.moved(&excursion))
}

/// Returns the bursts of failures; none where nothing says whether a request failed, because there is no request.
fn failure_moves(judged: &Judged, signals: &[Signal]) -> Option<Vec<Moved>> {
    let range = |counts: &[u32]| -> Vec<f64> {
        counts[judged.from..judged.until].iter().map(|count| f64::from(*count)).collect()
    };
    let events: Vec<(Vec<f64>, Vec<f64>)> =
        signals.iter().map(|signal| (range(&signal.failed_count), range(&signal.requests_count))).collect();
    let total = |counts: &[f64]| counts.iter().sum::<f64>();
    if events.iter().all(|(_, requests)| total(requests) == 0.0) {
        return None;
    }
    let failing: Vec<usize> = (0..signals.len()).filter(|index| total(&events[*index].0) > 0.0).collect();
    let is_several = signals.len() > 1 && !failing.is_empty();
    let demand = count_scan::Demand {
        log_chance: (judged.chance * CHANCE_OF_FAILURES / (failing.len() + usize::from(is_several)).max(1) as f64).ln(),
        steps_min: judged.steps_min(),
        difference_min: FAILED_DIFFERENCE_MIN,
        ratio_min: FAILED_RATIO_MIN,
    };
    let of = |signal: Option<usize>, failed: &[f64], requests: &[f64], usual: &[f64]| -> Vec<Moved> {
        let found = bursts(failed, requests, usual, &demand);
        found.iter().map(|burst| failed_more(judged, signal, burst, requests)).collect()
    };
    let mut moved: Vec<Moved> = failing
        .iter()
        .flat_map(|index| of(Some(*index), &events[*index].0, &events[*index].1, &events[*index].1))
        .collect();
    if is_several {
        let mut sums = vec![(0.0, 0.0, 0.0); judged.len()];
        for (failed, requests) in &events {
            // What is usual for each endpoint: where the mix changes, so does what is expected of it.
            let rate = total(failed) / total(requests).max(1.0);
            for ((sum, failed), requests) in sums.iter_mut().zip(failed).zip(requests) {
                *sum = (sum.0 + failed, sum.1 + requests, sum.2 + rate * requests);
            }
        }
        let column = |pick: fn(&(f64, f64, f64)) -> f64| sums.iter().map(pick).collect::<Vec<f64>>();
        moved.extend(of(None, &column(|sum| sum.0), &column(|sum| sum.1), &column(|sum| sum.2)));
    }
    Some(moved)
}

fn failed_more(judged: &Judged, signal: Option<usize>, burst: &count_scan::Burst, requests: &[f64]) -> Moved {
    let requests_count: f64 = requests[burst.from..burst.until].iter().sum();
    let variance = burst.clustering * burst.rate * (1.0 - burst.rate) / requests_count.max(1.0);
    let (point, sigmas) = (burst.rate - burst.usual_rate, SIGMAS_OF_INTERVAL * variance.sqrt());
    let change = Change {
        scale: Scale::Difference,
        point,
        low: Some(point - sigmas),
        high: Some((point + sigmas).min(1.0)),
        confidence: Some(0.95),
    };
    Moved {
        signal,
        statistic: Statistic::FailedRate,
        from: judged.from + burst.from,
        until: judged.from + burst.until,
        observed: burst.rate,
        expected: burst.usual_rate,
        change,
        log_chance: burst.log_chance,
    }
}

/// Returns what was too sparse to be judged by itself.
fn not_judged(signals: &[Signal], tracks: &[Track]) -> Vec<Skipped> {
    let without = |statistic: Statistic| -> usize {
        let has =
            |index: &usize| tracks.iter().any(|track| track.signal == Some(*index) && track.statistic == statistic);
        (0..signals.len()).filter(|index| !has(index)).count()
    };
    let (no_median, no_p95) = (without(Statistic::Median), without(Statistic::P95));
    let lines = [
        (
            no_median,
            "latency",
            format!("requests in fewer than {STEPS_MIN} steps: judged together with the others only"),
        ),
        (
            no_p95,
            "p95",
            format!("fewer than {REQUESTS_FOR_P95} requests in a typical step: no 95th percentile to judge"),
        ),
    ];
    let lines = lines.into_iter().filter(|(count, _, _)| *count > 0);
    lines
        .map(|(count, name, reason)| {
            let endpoints = if count == 1 { "endpoint" } else { "endpoints" };
            Skipped { what: format!("{WHAT}: {name} of {count} {endpoints} of {}", signals.len()), reason }
        })
        .collect()
}

impl Signal {
    pub(super) fn requests_total(&self) -> u64 {
        self.requests_count.iter().map(|count| u64::from(*count)).sum()
    }
}

fn middle(values: &[f64]) -> f64 {
    noise::middle(&mut values.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Direction, Evidence, Severity};
    use crate::stats::draws::Draws;

    const START: Timestamp = Timestamp(1_700_000_000_000_000_000);
    const SIGMA: f64 = 0.5;

    /// A run whose latency is log-normal, with two endpoints and a server that remembers.
    struct Shape {
        len: usize,
        /// All requests in a second; the first endpoint has three quarters of them.
        rate: f64,
        seed: u64,
    }

    type ByEndpointAndStep<'f> = &'f dyn Fn(usize, usize) -> f64;

    /// `times`: as high is latency. `failing`: of the requests. `load`: times `rate`, and of 20 VUs.
    fn draw(
        shape: &Shape,
        times: ByEndpointAndStep,
        failing: ByEndpointAndStep,
        load: &dyn Fn(usize) -> f64,
    ) -> (Vec<Signal>, LoadSignal) {
        let mut draws = Draws::seeded(shape.seed);
        let server: Vec<f64> = draws.wandering(0.3, shape.len).iter().map(|value| 0.05 * value).collect();
        let signals = [("search", 0.75, 4.0), ("pay", 0.25, 5.5)].into_iter().enumerate().map(
            |(endpoint, (name, share, usual))| {
                let mut signal = Signal {
                    series: SeriesReference {
                        metric: "http_req_duration".to_owned(),
                        tags: [("name".to_owned(), name.to_owned())].into(),
                        statistic: None,
                    },
                    requests_count: Vec::new(),
                    failed_count: Vec::new(),
                    median_ms: Vec::new(),
                    p95_ms: Vec::new(),
                };
                for (step, server) in server.iter().enumerate() {
                    let count = draws.count(shape.rate * share * load(step)).max(1);
                    let failed = draws.count(f64::from(count) * failing(endpoint, step)).min(count - 1);
                    // The median of a sample is nearly normal, with pi / 2 times the variance of the mean; the 95th
                    // percentile with 4.5 times.
                    let error = SIGMA / f64::from(count - failed).sqrt();
                    let level = usual + server + times(endpoint, step).ln();
                    signal.requests_count.push(count);
                    signal.failed_count.push(failed);
                    signal.median_ms.push(Some((level + 1.25 * error * draws.normal()).exp()));
                    signal.p95_ms.push(Some((level + 1.645 * SIGMA + 2.11 * error * draws.normal()).exp()));
                }
                signal
            },
        );
        let load = LoadSignal {
            vus: (0..shape.len).map(|step| Some((20.0 * load(step)).round())).collect(),
            rate_per_second: (0..shape.len).map(|step| shape.rate * load(step)).collect(),
        };
        (signals.collect(), load)
    }

    fn judge(signals: &[Signal], load: &LoadSignal) -> Vec<Finding> {
        anomalies("shop", START, 1.0, Some((0, signals[0].requests_count.len())), load, signals, CHANCE).into_parts().0
    }

    fn within(window: std::ops::Range<usize>, value: f64, elsewhere: f64) -> impl Fn(usize, usize) -> f64 {
        move |_, step| if window.contains(&step) { value } else { elsewhere }
    }

    fn seconds(time: Option<Timestamp>) -> Option<f64> {
        time.map(|time| time.seconds_since(START))
    }

    fn none(_: usize, _: usize) -> f64 {
        0.0
    }

    fn once(_: usize, _: usize) -> f64 {
        1.0
    }

    #[test]
    fn a_slow_window_of_both_endpoints_is_one_finding() {
        let shape = Shape { len: 900, rate: 100.0, seed: 1 };
        let (signals, load) = draw(&shape, &within(400..580, 3.5, 1.0), &none, &|_| 1.0);
        let [finding] = judge(&signals, &load).try_into().unwrap();
        assert_eq!((seconds(finding.from), seconds(finding.until)), (Some(400.0), Some(580.0)));
        assert!((2.2..2.8).contains(&finding.change.unwrap().point), "{finding:?}");
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.series.tags["name"], "search");
        assert!(finding.also.iter().any(|series| series.tags["name"] == "pay"), "{finding:?}");
        assert!(
            finding.title.starts_with("latency of 2 endpoints 3.")
                && finding.title.ends_with("from 22:20:00 to 22:23:00"),
            "{}",
            finding.title
        );
        assert!(matches!(finding.evidence.last(), Some(Evidence::Query { .. })));
    }

    #[test]
    fn a_step_is_dated_and_lasts() {
        let shape = Shape { len: 120, rate: 40.0, seed: 2 };
        let (signals, load) = draw(&shape, &within(80..120, 1.4, 1.0), &none, &|_| 1.0);
        let [finding] = judge(&signals, &load).try_into().unwrap();
        assert!((seconds(finding.from).unwrap() - 80.0).abs() <= 3.0, "{finding:?}");
        assert_eq!((finding.until, finding.severity), (None, Severity::Major));
    }

    #[test]
    fn one_endpoint_alone_is_named() {
        let shape = Shape { len: 300, rate: 40.0, seed: 3 };
        let times = |endpoint: usize, step: usize| if endpoint == 1 && (100..130).contains(&step) { 0.5 } else { 1.0 };
        let (signals, load) = draw(&shape, &times, &none, &|_| 1.0);
        let [finding] = judge(&signals, &load).try_into().unwrap();
        assert_eq!((finding.series.tags["name"].as_str(), finding.direction), ("pay", Direction::Better));
        assert_eq!(finding.severity, Severity::Minor);
    }

    #[test]
    fn failures_are_found_with_the_latency_that_moved() {
        let shape = Shape { len: 300, rate: 40.0, seed: 4 };
        let (signals, load) = draw(&shape, &within(100..160, 2.0, 1.0), &within(100..160, 0.1, 0.0), &|_| 1.0);
        let [finding] = judge(&signals, &load).try_into().unwrap();
        assert_eq!(finding.series.metric, "http_req_failed");
        assert!(finding.also.iter().any(|series| series.metric == "http_req_duration"), "{finding:?}");
        assert!((finding.observed - 0.1).abs() < 0.03 && finding.expected == Some(0.0), "{finding:?}");
    }

    #[test]
    fn latency_that_follows_the_load_is_silent() {
        let ramp = |step: usize| 0.1 + 0.9 * (1.0 - (step as f64 / 150.0 - 1.0).abs());
        let follows = |_: usize, step: usize| 1.0 / (1.0 - 0.8 * ramp(step));
        let shape = Shape { len: 300, rate: 100.0, seed: 5 };
        let (signals, load) = draw(&shape, &follows, &none, &ramp);
        assert_eq!(judge(&signals, &load), []);
        let arrival_rate = LoadSignal { vus: vec![Some(50.0); 300], ..load };
        assert_eq!(judge(&signals, &arrival_rate), []);
    }

    #[test]
    fn vus_that_wait_do_not_hide_what_they_wait_for() {
        let shape = Shape { len: 300, rate: 100.0, seed: 6 };
        let rate = |step: usize| if (100..200).contains(&step) { 1.0 / 3.0 } else { 1.0 };
        let (signals, load) = draw(&shape, &within(100..200, 3.0, 1.0), &none, &rate);
        let load = LoadSignal { vus: vec![Some(20.0); 300], ..load };
        assert_eq!(judge(&signals, &load).len(), 1);
    }

    #[test]
    fn bad_seconds_and_another_mix_are_silent() {
        let shape = Shape { len: 300, rate: 100.0, seed: 7 };
        let (mut signals, load) = draw(&shape, &|_, step| if step % 97 == 50 { 8.0 } else { 1.0 }, &none, &|_| 1.0);
        assert_eq!(judge(&signals, &load), []);
        // The slow endpoint gets three times the requests.
        signals[1].requests_count[150..].iter_mut().for_each(|count| *count *= 3);
        assert_eq!(judge(&signals, &load), []);
    }

    /// By `CHANCE`, 2 of 100 runs may show something; more than 5 would once in sixty times.
    #[test]
    fn stationary_runs_are_silent() {
        let is_loud = |seed: u64| {
            let (signals, load) = draw(&Shape { len: 120, rate: 30.0, seed }, &once, &none, &|_| 1.0);
            !judge(&signals, &load).is_empty()
        };
        let loud_count = (100..200).filter(|seed| is_loud(*seed)).count();
        assert!(loud_count <= 5, "{loud_count} of 100");
    }

    #[test]
    fn silence_has_a_reason() {
        let outcome = |len: usize, rate: f64, steady: Option<(usize, usize)>| {
            let (mut signals, load) = draw(&Shape { len, rate, seed: 8 }, &once, &none, &|_| 1.0);
            if rate == 0.0 {
                signals.iter_mut().for_each(|signal| signal.requests_count.fill(0));
            }
            anomalies("shop", START, 1.0, steady, &load, &signals, CHANCE)
        };
        let reason = |outcome: Outcome| match outcome {
            Outcome::Skipped(skipped) => skipped.reason,
            judged => panic!("{judged:?}"),
        };
        assert_eq!(reason(outcome(15, 50.0, None)), "there are 13 steps of 1 s, and 20 are needed");
        assert_eq!(reason(outcome(99, 50.0, Some((10, 20)))), "the steady part has 10 steps of 1 s, and 20 are needed");
        assert_eq!(reason(outcome(99, 0.0, None)), "there is no request");
        assert_eq!(
            reason(anomalies("shop", START, 1.0, None, &LoadSignal::default(), &[], CHANCE)),
            "there is no request"
        );
        let (_, skipped) = outcome(99, 20.0, None).into_parts();
        assert_eq!(skipped.len(), 1, "{skipped:?}");
    }
}
