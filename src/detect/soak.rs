//! Leaks: latency that climbs steadily through a run at like load, and when it will be too high.
//!
//! Only the steady part is judged, where it is long enough to tell a climb from the wandering of every server; what is owed to
//! the load is taken out first, and a load that climbs itself is not judged. A step from one level to another is no climb
//! (`stats::trend`): that is an anomaly.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::ThresholdReport;
use crate::model::threshold::{Aggregation, Expression, Operator, split_metric_filter};
use crate::model::time::Timestamp;
use crate::stats::robust::median;
use crate::stats::trend::{Trend, trend};

use super::anomaly::Signal;
use super::finding_id::finding_id;
use super::like_load::{LoadCurve, LoadSignal, driver};
use super::members::take_up;
use super::moved::name;

/// A shorter run is no soak.
const SECONDS_MIN: f64 = 600.0;
/// The steady part is looked at in so many parts, and has a latency in at least this many of them.
const PARTS_COUNT: usize = 60;
const PARTS_KNOWN_MIN: usize = 45;
/// The chance that a stationary run has any leak.
const CHANCE: f64 = 0.005;
/// A smaller rise over the run is not worth a word, and it is at least half of that beyond doubt.
const RISE_MIN: f64 = 0.10;
const RISE_SURE: f64 = 0.05;
const MAJOR_RISE: f64 = 0.20;
/// Where the load itself goes with the time like this, nothing tells what is owed to which.
const LOAD_CORRELATION_MAX: f64 = 0.5;
/// Anomalies that last for this part of the steady run are the climb seen otherwise.
const ANOMALY_SHARE_MIN: f64 = 0.1;
/// From this percentage on a percentile is a matter of the tail.
const TAIL_PERCENTAGE: f64 = 90.0;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// The steady part of a run.
pub(super) struct Steady<'r> {
    pub test: &'r str,
    /// Of the run's first step.
    pub start: Timestamp,
    pub step_seconds: f64,
    pub from: usize,
    pub until: usize,
}

impl Steady<'_> {
    pub fn time(&self, step: usize) -> Timestamp {
        self.start.after_seconds(step as f64 * self.step_seconds)
    }

    pub fn seconds(&self) -> f64 {
        self.until.saturating_sub(self.from) as f64 * self.step_seconds
    }
}

/// How one figure of one endpoint goes.
struct Climb<'s> {
    signal: &'s Signal,
    statistic: &'static str,
    trend: Trend,
    parts: f64,
    /// Of a part.
    seconds: f64,
}

/// Adds the leak of a run, if there is one, to `findings`; the anomalies that are the same climb become a part of it.
pub(super) fn leak(
    findings: &mut Vec<Finding>,
    steady: &Steady,
    load: &LoadSignal,
    signals: &[Signal],
    thresholds: &[ThresholdReport],
) {
    if steady.seconds() < SECONDS_MIN {
        return;
    }
    let Some(owed) = owed(steady, load, signals) else { return };
    let limit = (CHANCE / (2 * signals.len().max(1)) as f64).ln();
    let climbs = signals.iter().zip(&owed).flat_map(|(signal, owed)| {
        let figures = [("med", &signal.median_ms), ("p95", &signal.p95_ms)];
        figures.into_iter().filter_map(|(statistic, values)| climb(steady, signal, statistic, values, owed))
    });
    let all: Vec<Climb> = climbs.collect();
    let mut climbs: Vec<&Climb> = all.iter().filter(|climb| climb.is_found(limit)).collect();
    // The surest first, and of one endpoint its median before its tail.
    climbs.sort_by(|left, right| left.trend.log_chance.total_cmp(&right.trend.log_chance));
    let Some(surest) = climbs.first().copied() else { return };
    let head = climbs
        .iter()
        .copied()
        .find(|climb| climb.signal == surest.signal && climb.statistic == "med")
        .unwrap_or(surest);
    let of_head: Vec<&Climb> = all.iter().filter(|climb| climb.signal == head.signal).collect();
    let limit = thresholds
        .iter()
        .filter_map(|threshold| of_head.iter().find_map(|climb| reached(head, climb, threshold)))
        .min_by(|left, right| left.1.total_cmp(&right.1));
    let mut found = finding(steady, head, &climbs, limit);
    let tags: Vec<_> = climbs.iter().map(|climb| &climb.signal.series.tags).collect();
    let long = ANOMALY_SHARE_MIN * steady.seconds();
    take_up(&mut found, findings, |finding| {
        let end = finding.until.unwrap_or(steady.time(steady.until));
        let is_long = finding.from.is_some_and(|from| end.seconds_since(from) >= long);
        let is_its = finding.series.tags.is_empty() || tags.contains(&&finding.series.tags);
        finding.kind == FindingKind::Anomaly && finding.series.metric == "http_req_duration" && is_long && is_its
    });
    findings.push(found);
}

/// Returns by signal what the load adds to the logarithm of a latency, step by step; none where the load climbs itself.
fn owed(steady: &Steady, load: &LoadSignal, signals: &[Signal]) -> Option<Vec<Vec<f64>>> {
    let steps = steady.from..steady.until;
    let Some(driver) = driver(load, steady.step_seconds, steady.from, steady.until) else {
        return Some(vec![vec![0.0; steps.len()]; signals.len()]);
    };
    if correlation_with_time(&driver.levels).abs() > LOAD_CORRELATION_MAX {
        return None;
    }
    let of_signal = |signal: &Signal| {
        let known: Vec<(f64, f64)> = steps
            .clone()
            .zip(&driver.levels)
            .filter_map(|(step, level)| Some((logarithm(&signal.median_ms, step)?, *level)))
            .collect();
        let (values, levels): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
        if values.is_empty() {
            return vec![0.0; steps.len()];
        }
        let curve = LoadCurve::of(&values, &levels, driver.error);
        driver.levels.iter().map(|level| curve.owed(*level)).collect()
    };
    Some(signals.iter().map(of_signal).collect())
}

fn logarithm(values: &[Option<f64>], step: usize) -> Option<f64> {
    values.get(step).copied().flatten().filter(|value| *value > 0.0 && value.is_finite()).map(f64::ln)
}

fn correlation_with_time(levels: &[f64]) -> f64 {
    let count = levels.len() as f64;
    let (middle, mean) = (0.5 * (count - 1.0), levels.iter().sum::<f64>() / count.max(1.0));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (index, level) in levels.iter().enumerate() {
        let (x, y) = (index as f64 - middle, level - mean);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    if xx * yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

fn climb<'s>(
    steady: &Steady,
    signal: &'s Signal,
    statistic: &'static str,
    values: &[Option<f64>],
    owed: &[f64],
) -> Option<Climb<'s>> {
    let steps_count = steady.until - steady.from;
    let parts_count = PARTS_COUNT.min(steps_count);
    let of_part = |part: usize| {
        let steps = part * steps_count / parts_count..(part + 1) * steps_count / parts_count;
        let known: Vec<f64> =
            steps.filter_map(|step| Some(logarithm(values, steady.from + step)? - owed[step])).collect();
        (!known.is_empty()).then(|| median(&known))
    };
    let mut parts: Vec<Option<f64>> = (0..parts_count).map(of_part).collect();
    if parts.iter().flatten().count() < PARTS_KNOWN_MIN.min(parts_count) {
        return None;
    }
    // The few gaps are on the line between their neighbours, so that they neither climb nor fall.
    for part in 0..parts.len() {
        if parts[part].is_none() {
            let before = parts[..part].iter().rev().flatten().next().copied();
            let after = parts[part..].iter().flatten().next().copied();
            parts[part] = Some(match (before, after) {
                (Some(before), Some(after)) => 0.5 * (before + after),
                (one, other) => one.or(other)?,
            });
        }
    }
    let trend = trend(&parts.into_iter().flatten().collect::<Vec<f64>>())?;
    Some(Climb { signal, statistic, trend, parts: parts_count as f64, seconds: steady.seconds() / parts_count as f64 })
}

impl Climb<'_> {
    fn is_found(&self, log_chance_max: f64) -> bool {
        let trend = &self.trend;
        let sure = (trend.slope - 1.96 * trend.standard_error) * self.parts;
        trend.is_steady
            && trend.log_chance <= log_chance_max
            && trend.slope * self.parts >= RISE_MIN.ln_1p()
            && sure >= RISE_SURE.ln_1p()
    }

    fn series(&self) -> SeriesReference {
        SeriesReference { statistic: Some(self.statistic.to_owned()), ..self.signal.series.clone() }
    }

    /// As a change an hour.
    fn an_hour(&self) -> Change {
        let parts = SECONDS_PER_HOUR / self.seconds;
        Change::of_logarithm(self.trend.slope * parts, 1.96 * self.trend.standard_error * parts, 0.95)
    }

    fn rise(&self) -> f64 {
        (self.trend.last - self.trend.first).exp_m1()
    }

    fn evidence(&self) -> Evidence {
        Evidence::Metric {
            series: self.series(),
            observed: self.trend.last.exp(),
            expected: Some(self.trend.first.exp()),
            unit: Unit::Milliseconds,
            change: Some(self.an_hour()),
            note: Some("the change is that of an hour, at like load".to_owned()),
        }
    }
}

fn finding(steady: &Steady, head: &Climb, climbs: &[&Climb], limit: Option<(String, f64)>) -> Finding {
    let series = head.series();
    let change = head.an_hour();
    let when = limit.map_or(String::new(), |(limit, seconds)| format!("; {limit} is reached after {}", hours(seconds)));
    let name = name(&series);
    let others = climbs.iter().filter(|climb| climb.signal != head.signal);
    let from = steady.time(steady.from);
    let sql = format!(
        "SELECT date_bin(INTERVAL '1 minute', window_start) AS minute, endpoint, max(p50) AS latency_ms_p50\nFROM windows\n\
         WHERE metric = 'http_req_duration' AND window_start >= TIMESTAMP '{from}'\nGROUP BY minute, endpoint\n\
         ORDER BY endpoint, minute"
    );
    let mut also: Vec<SeriesReference> = Vec::new();
    for climb in climbs.iter().filter(|climb| climb.signal == head.signal).chain(others) {
        if climb.series() != series && !also.contains(&climb.series()) {
            also.push(climb.series());
        }
    }
    Finding {
        id: finding_id(steady.test, FindingKind::Leak, &series, None),
        kind: FindingKind::Leak,
        title: format!(
            "latency of {name} climbs steadily, {:.1} % an hour: from {:.1} ms to {:.1} ms in {}{when}",
            100.0 * change.point,
            head.trend.first.exp(),
            head.trend.last.exp(),
            hours(steady.seconds())
        ),
        severity: if head.rise() >= MAJOR_RISE { Severity::Major } else { Severity::Minor },
        direction: Direction::Worse,
        series,
        also,
        from: Some(from),
        until: Some(steady.time(steady.until)),
        since_run: None,
        suspect: false,
        observed: head.trend.last.exp(),
        expected: Some(head.trend.first.exp()),
        unit: Unit::Milliseconds,
        change: Some(change),
        evidence: climbs.iter().map(|climb| climb.evidence()).chain([Evidence::Query { sql }]).collect(),
    }
}

/// Returns a threshold that `climb`'s figure will break if it goes on as `head` does, and in how many seconds after the run's end.
fn reached(head: &Climb, climb: &Climb, threshold: &ThresholdReport) -> Option<(String, f64)> {
    let expression = Expression::parse(&threshold.expression).ok()?;
    let statistic = match expression.aggregation {
        Aggregation::Percentile(percentage) if percentage >= TAIL_PERCENTAGE => "p95",
        Aggregation::Percentile(_) | Aggregation::Median | Aggregation::Average => "med",
        _ => return None,
    };
    let is_upper = matches!(expression.operator, Operator::Less | Operator::LessOrEqual);
    let (metric, filter) = split_metric_filter(&threshold.metric)?;
    let tags = &climb.signal.series.tags;
    let is_its = metric == "http_req_duration" && filter.iter().all(|(tag, value)| tags.get(tag) == Some(value));
    let room = expression.limit.ln() - climb.trend.last;
    let parts = room / head.trend.slope;
    (statistic == climb.statistic && is_upper && is_its && room > 0.0 && parts.is_finite())
        .then(|| (threshold.expression.clone(), parts * climb.seconds))
}

fn hours(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 5_400.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 360_000.0 => format!("{:.1} h", seconds / SECONDS_PER_HOUR),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::recurring::recurring;
    use crate::stats::draws::Draws;

    /// Two endpoints by the second; each value remembers the one before.
    fn signals(draws: &mut Draws, seconds: usize, memory: f64, is_wild: bool) -> Vec<Signal> {
        let mut series = |level: f64, sigma: f64| -> Vec<Option<f64>> {
            let mut value = 0.0;
            let of_second = |_| {
                // Student's t with three degrees has tails as heavy as servers show.
                let wild = if is_wild { (0.8 * draws.normal().abs()).max(0.3) } else { 1.0 };
                value = memory * value + (1.0 - memory * memory).sqrt() * draws.normal() * wild;
                Some((level + sigma * value).exp())
            };
            (0..seconds).map(of_second).collect()
        };
        let mut signal = |name: &str| Signal {
            series: SeriesReference {
                metric: "http_req_duration".to_owned(),
                tags: [("name".to_owned(), name.to_owned())].into(),
                statistic: None,
            },
            requests_count: vec![20; seconds],
            failed_count: vec![0; seconds],
            median_ms: series(3.0, 0.12),
            p95_ms: series(3.9, 0.2),
        };
        vec![signal("a"), signal("b")]
    }

    #[test]
    fn stationary_runs_neither_leak_nor_recur() {
        let mut draws = Draws::seeded(21);
        let mut alarms = 0;
        for round in 0..240 {
            let (memory, is_wild) = ([0.0, 0.4, 0.7][round % 3], round % 2 == 0);
            let signals = signals(&mut draws, 1_200, memory, is_wild);
            let steady = Steady { test: "soak", start: Timestamp(0), step_seconds: 1.0, from: 0, until: 1_200 };
            let load = LoadSignal { vus: vec![Some(10.0); 1_200], rate_per_second: vec![40.0; 1_200] };
            let mut findings = Vec::new();
            recurring(&mut findings, &steady, &signals);
            leak(&mut findings, &steady, &load, &signals, &[]);
            alarms += usize::from(!findings.is_empty());
        }
        assert!(alarms <= 3, "{alarms} of 240");
    }

    #[test]
    fn a_climb_of_a_fifth_is_found_in_an_hour() {
        let mut draws = Draws::seeded(22);
        let mut found = 0;
        for _ in 0..40 {
            let mut signals = signals(&mut draws, 3_600, 0.4, false);
            for (second, value) in signals[0].median_ms.iter_mut().enumerate() {
                *value = value.map(|value| value * (1.0 + 0.2 * second as f64 / 3_600.0));
            }
            let steady = Steady { test: "soak", start: Timestamp(0), step_seconds: 1.0, from: 0, until: 3_600 };
            let load = LoadSignal { vus: vec![Some(10.0); 3_600], rate_per_second: vec![40.0; 3_600] };
            let mut findings = Vec::new();
            leak(&mut findings, &steady, &load, &signals, &[]);
            let holds = |finding: &Finding| {
                finding.change.is_some_and(|change| change.low < Some(0.2) && change.high > Some(0.2))
            };
            found += usize::from(findings.len() == 1 && holds(&findings[0]));
        }
        assert!(found >= 36, "{found} of 40");
    }
}
