//! Spikes that come back at equal distances: a cron job, a collector of garbage, a cache that expires.
//!
//! Each endpoint's median and p95 are held against their own middle around; what is far above it, for few steps, is a spike. Where spikes are
//! regular (`stats::recurrence`), they are one finding with their period, in place of the anomalies that single ones would be.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::stats::recurrence::{EVENTS_MIN, Recurrence, recurrence};
use crate::stats::robust::{MAD_TO_SIGMA, median};

use super::anomaly::Signal;
use super::finding_id::finding_id;
use super::members::take_up;
use super::moved::name;
use super::soak::Steady;

/// Steps around that the middle is of, to both sides.
const AROUND_STEPS: usize = 20;
/// A spike is as far above it, in sigma, and at least by this factor.
const SPIKE_SIGMAS: f64 = 3.5;
const SPIKE_RATIO_MIN: f64 = 1.25;
/// Spikes that a step or two lies between are one.
const GAP_STEPS: usize = 2;
/// What is high for a larger part of the time is no spike.
const SHARE_MAX: f64 = 0.4;
/// Requests in a typical step, without which its p95 is its slowest request.
const REQUESTS_MIN: f64 = 5.0;
/// The chance that a stationary run has spikes that look like a clock's, over all endpoints.
const CHANCE: f64 = 0.002;
const MAJOR_RATIO: f64 = 1.5;

struct Spikes<'s> {
    signal: &'s Signal,
    statistic: &'static str,
    /// First step of each that belongs to the period, and behind its last.
    spans: Vec<(usize, usize)>,
    found: Recurrence,
    /// Median of the highest value in each, and of the middle around.
    high_ms: f64,
    usual_ms: f64,
}

/// Adds what comes back to `findings`; anomalies that are single spikes of it become a part of it.
pub(super) fn recurring(findings: &mut Vec<Finding>, steady: &Steady, signals: &[Signal]) {
    let limit = (CHANCE / (2 * signals.len().max(1)) as f64).ln();
    let of_signal = |signal| {
        let both = ["med", "p95"].into_iter().filter_map(move |statistic| spikes(steady, signal, statistic));
        both.min_by(|left, right| left.found.log_chance.total_cmp(&right.found.log_chance))
    };
    let mut all: Vec<Spikes> = signals.iter().filter_map(of_signal).collect();
    all.retain(|spikes| spikes.found.log_chance <= limit);
    all.sort_by(|left, right| left.found.log_chance.total_cmp(&right.found.log_chance));
    let Some(head) = all.first() else { return };
    let period = |spikes: &Spikes| spikes.found.period;
    let others: Vec<&Spikes> =
        all[1..].iter().filter(|other| (period(other) / period(head) - 1.0).abs() < 0.1).collect();
    let mut found = finding(steady, head, &others);
    let spans: Vec<(i64, i64)> = std::iter::once(head)
        .chain(others.iter().copied())
        .flat_map(|spikes| &spikes.spans)
        .map(|(from, until)| (steady.time(*from).0, steady.time(*until).0))
        .collect();
    let longest = period(head) * steady.step_seconds;
    take_up(&mut found, findings, |finding| {
        let Some((from, until)) = finding.from.zip(finding.until) else { return false };
        let overlaps = spans.iter().any(|(start, end)| from.0 < *end && until.0 > *start);
        finding.kind == FindingKind::Anomaly
            && finding.direction == Direction::Worse
            && finding.series.metric == "http_req_duration"
            && overlaps
            && until.seconds_since(from) <= longest
    });
    findings.push(found);
}

fn spikes<'s>(steady: &Steady, signal: &'s Signal, statistic: &'static str) -> Option<Spikes<'s>> {
    let (figure, requests_min) =
        if statistic == "p95" { (&signal.p95_ms, REQUESTS_MIN) } else { (&signal.median_ms, 1.0) };
    let steps = steady.from..steady.until.min(figure.len());
    let counts: Vec<f64> = signal.requests_count.get(steps.clone())?.iter().map(|count| f64::from(*count)).collect();
    if median(&counts) < requests_min {
        return None;
    }
    let values: Vec<Option<f64>> =
        figure.get(steps)?.iter().map(|value| value.filter(|value| *value > 0.0).map(f64::ln)).collect();
    let middle: Vec<f64> = (0..values.len())
        .map(|step| {
            let around = step.saturating_sub(AROUND_STEPS)..(step + AROUND_STEPS + 1).min(values.len());
            let known: Vec<f64> = values[around].iter().flatten().copied().collect();
            if known.is_empty() { 0.0 } else { median(&known) }
        })
        .collect();
    let off: Vec<Option<f64>> =
        values.iter().zip(&middle).map(|(value, middle)| value.map(|value| value - middle)).collect();
    let sizes: Vec<f64> = off.iter().flatten().map(|off| off.abs()).collect();
    if sizes.len() < 2 * AROUND_STEPS {
        return None;
    }
    let limit = (SPIKE_SIGMAS * MAD_TO_SIGMA * median(&sizes)).max(SPIKE_RATIO_MIN.ln());
    let high: Vec<usize> = (0..off.len()).filter(|step| off[*step].is_some_and(|off| off > limit)).collect();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for step in high {
        match spans.last_mut() {
            Some((_, until)) if step <= *until + GAP_STEPS => *until = step + 1,
            _ => spans.push((step, step + 1)),
        }
    }
    let lengths: usize = spans.iter().map(|(from, until)| until - from).sum();
    if spans.len() < EVENTS_MIN || lengths as f64 > SHARE_MAX * off.len() as f64 {
        return None;
    }
    let onsets: Vec<f64> = spans.iter().map(|(from, _)| *from as f64).collect();
    let found = recurrence(&onsets, 1.0)?;
    let spans: Vec<(usize, usize)> = found.events.iter().map(|event| spans[*event]).collect();
    let highest = |(from, until): &(usize, usize)| {
        values[*from..*until].iter().flatten().fold(f64::MIN, |most, value| most.max(*value))
    };
    let high_ms = median(&spans.iter().map(highest).collect::<Vec<f64>>()).exp();
    let usual_ms = median(&spans.iter().map(|(from, _)| middle[*from]).collect::<Vec<f64>>()).exp();
    let spans = spans.into_iter().map(|(from, until)| (steady.from + from, steady.from + until)).collect();
    Some(Spikes { signal, statistic, spans, found, high_ms, usual_ms })
}

fn finding(steady: &Steady, head: &Spikes, others: &[&Spikes]) -> Finding {
    let series_of = |spikes: &Spikes| SeriesReference {
        statistic: Some(spikes.statistic.to_owned()),
        ..spikes.signal.series.clone()
    };
    let series = series_of(head);
    let seconds = |steps: f64| steps * steady.step_seconds;
    let lengths: Vec<f64> = head.spans.iter().map(|(from, until)| (until - from) as f64).collect();
    let (period, error) = (seconds(head.found.period), seconds(head.found.standard_error));
    let ratio = head.high_ms / head.usual_ms;
    let whose = match others.len() {
        0 => name(&series),
        more => format!("{} endpoints", more + 1),
    };
    let figure = if head.statistic == "p95" { "p95 latency" } else { "latency" };
    let first = steady.time(head.spans.first().map_or(steady.from, |(from, _)| *from));
    let last = steady.time(head.spans.last().map_or(steady.until, |(_, until)| *until));
    let clock = first.clock();
    let evidence = |spikes: &&Spikes| Evidence::Metric {
        series: series_of(spikes),
        observed: spikes.high_ms,
        expected: Some(spikes.usual_ms),
        unit: Unit::Milliseconds,
        change: Some(Change::plain(Scale::Ratio, spikes.high_ms / spikes.usual_ms - 1.0)),
        note: Some(format!("every {:.1} s, {} times", seconds(spikes.found.period), spikes.spans.len())),
    };
    let sql = format!(
        "SELECT window_start, endpoint, p50 AS latency_ms_p50, p95 AS latency_ms_p95\nFROM windows\nWHERE metric = 'http_req_duration'\n  \
         AND window_start >= TIMESTAMP '{first}' AND window_start < TIMESTAMP '{last}'\nORDER BY endpoint, window_start"
    );
    Finding {
        id: finding_id(steady.test, FindingKind::Anomaly, &series, None),
        kind: FindingKind::Anomaly,
        title: format!(
            "{figure} of {whose} {ratio:.1} times as high for {:.0} s every {period:.1} s (95 %: {:.1} to {:.1}), {} times from \
             {clock} on",
            seconds(median(&lengths)),
            period - 1.96 * error,
            period + 1.96 * error,
            head.spans.len()
        ),
        severity: if ratio >= MAJOR_RATIO { Severity::Major } else { Severity::Minor },
        direction: Direction::Worse,
        series,
        also: others.iter().map(|other| series_of(other)).collect(),
        from: Some(first),
        until: Some(last),
        since_run: None,
        suspect: false,
        observed: head.high_ms,
        expected: Some(head.usual_ms),
        unit: Unit::Milliseconds,
        change: Some(Change::plain(Scale::Ratio, ratio - 1.0)),
        evidence: std::iter::once(&head).chain(others).map(evidence).chain([Evidence::Query { sql }]).collect(),
    }
}
