//! From what moved to findings: all that moved at once is one finding, with the others beside it.
//!
//! Moves belong together when they overlap for at least half of the shorter one, and both are for the worse or both for
//! the better. The surest one says when it began and ended.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

use super::anomaly::Signal;
use super::finding_id::finding_id;

/// Twice as long, or one more request in twenty fails: users notice.
const CRITICAL_RATIO: f64 = 2.0;
const CRITICAL_FAILED_DIFFERENCE: f64 = 0.05;
/// A quarter longer, or one more request in a hundred fails.
const MAJOR_RATIO: f64 = 1.25;
const MAJOR_FAILED_DIFFERENCE: f64 = 0.01;
/// Seconds that the evidence shows before and after.
const MARGIN_SECONDS: i64 = 60;
/// Endpoints that the evidence asks for by name; beyond, it asks for all.
const ENDPOINTS_NAMED_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Statistic {
    FailedRate,
    Median,
    P95,
}

/// One statistic of one endpoint that was not as usual for some steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moved {
    /// None: of all endpoints together.
    pub signal: Option<usize>,
    pub statistic: Statistic,
    pub from: usize,
    pub until: usize,
    /// In milliseconds, or a fraction.
    pub observed: f64,
    pub expected: f64,
    pub change: Change,
    /// The smaller, the surer.
    pub log_chance: f64,
}

/// What the findings say of the run that they are of.
pub(super) struct Run<'r> {
    pub test: &'r str,
    pub start: Timestamp,
    pub step_seconds: f64,
    /// Behind the last judged step.
    pub until: usize,
    pub signals: &'r [Signal],
}

/// Returns one finding for each group, by severity, then by size.
///
/// `company`: how an endpoint moved in a given interval, which alone would have been too little to be found.
pub(super) fn findings(
    run: &Run,
    moved: Vec<Moved>,
    company: &dyn Fn(usize, usize, usize) -> Option<Moved>,
) -> Vec<Finding> {
    let mut groups: Vec<(Moved, Vec<Moved>)> =
        groups(moved).into_iter().map(|group| (group[0].clone(), group)).collect();
    for (lead, group) in &mut groups {
        for signal in 0..run.signals.len() {
            let is_in =
                group.iter().any(|moved| moved.signal == Some(signal) && moved.statistic != Statistic::FailedRate);
            let own = if is_in { None } else { company(signal, lead.from, lead.until) };
            group.extend(own.filter(|own| own.is_worse() == lead.is_worse()));
        }
        // All together says no more than the endpoints do, unless none of them does.
        for statistic in [Statistic::Median, Statistic::FailedRate] {
            if group.iter().any(|moved| moved.signal.is_some() && moved.statistic == statistic) {
                group.retain(|moved| moved.signal.is_some() || moved.statistic != statistic);
            }
        }
    }
    let mut findings: Vec<(Finding, f64)> = groups.iter().map(|(lead, group)| finding(run, lead, group)).collect();
    findings.sort_by(|left, right| left.0.severity.cmp(&right.0.severity).then(right.1.total_cmp(&left.1)));
    findings.into_iter().map(|(finding, _)| finding).collect()
}

/// All together are surer than the surest endpoint by this factor where several moved at once: their moves add up. Less,
/// and they are but the shadow of endpoints that moved one after the other.
const TOGETHER_SURER: f64 = 1.3;

/// Returns the groups, each with its surest move first.
fn groups(mut moved: Vec<Moved>) -> Vec<Vec<Moved>> {
    let unsure = |moved: &Moved| moved.log_chance / if moved.signal.is_none() { TOGETHER_SURER } else { 1.0 };
    moved.sort_by(|left, right| unsure(left).total_cmp(&unsure(right)));
    let mut groups: Vec<Vec<Moved>> = Vec::new();
    for moved in moved {
        match groups.iter_mut().find(|group| moved.belongs_to(&group[0])) {
            Some(group) => group.push(moved),
            None => groups.push(vec![moved]),
        }
    }
    groups
}

impl Moved {
    fn is_worse(&self) -> bool {
        self.change.point > 0.0
    }

    fn belongs_to(&self, lead: &Moved) -> bool {
        let shared = self.until.min(lead.until).saturating_sub(self.from.max(lead.from));
        let shorter = (self.until - self.from).min(lead.until - lead.from);
        2 * shared >= shorter && self.is_worse() == lead.is_worse()
    }

    fn severity(&self) -> Severity {
        let (size, critical, major) = match self.statistic {
            Statistic::FailedRate => (self.change.point, CRITICAL_FAILED_DIFFERENCE, MAJOR_FAILED_DIFFERENCE),
            _ => (1.0 + self.change.point, CRITICAL_RATIO, MAJOR_RATIO),
        };
        match size {
            // The slowest requests alone are not all users.
            size if size >= critical && self.statistic != Statistic::P95 => Severity::Critical,
            size if size >= major => Severity::Major,
            _ => Severity::Minor,
        }
    }

    fn unit(&self) -> Unit {
        if self.statistic == Statistic::FailedRate { Unit::Fraction } else { Unit::Milliseconds }
    }

    fn series(&self, run: &Run) -> SeriesReference {
        let tags = self.signal.map(|signal| run.signals[signal].series.tags.clone()).unwrap_or_default();
        let (metric, statistic) = match self.statistic {
            Statistic::FailedRate => ("http_req_failed", None),
            Statistic::Median => ("http_req_duration", Some("med")),
            Statistic::P95 => ("http_req_duration", Some("p95")),
        };
        SeriesReference { metric: metric.to_owned(), tags, statistic: statistic.map(str::to_owned) }
    }

    fn evidence(&self, run: &Run) -> Evidence {
        Evidence::Metric {
            series: self.series(run),
            observed: self.observed,
            expected: Some(self.expected),
            unit: self.unit(),
            change: Some(self.change),
            note: Some(format!("from {} to {}", run.time(self.from).clock(), run.time(self.until).clock())),
        }
    }
}

impl Run<'_> {
    fn time(&self, step: usize) -> Timestamp {
        self.start.after_seconds(step as f64 * self.step_seconds)
    }

    fn requests_count(&self, moved: &Moved) -> u64 {
        moved.signal.map_or(0, |signal| self.signals[signal].requests_total())
    }
}

/// Returns a group's finding, and its size for the order.
fn finding(run: &Run, lead: &Moved, group: &[Moved]) -> (Finding, f64) {
    let (from, until) = (lead.from, lead.until);
    // Failures before latency, medians before the slowest, much used endpoints before others.
    let mut order: Vec<&Moved> = group.iter().collect();
    order.sort_by_key(|moved| (moved.severity(), moved.statistic, std::cmp::Reverse(run.requests_count(moved))));
    let main = order.remove(0);
    order.sort_by_key(|moved| {
        (moved.statistic != main.statistic, moved.statistic, std::cmp::Reverse(run.requests_count(moved)))
    });
    let direction = if main.is_worse() { Direction::Worse } else { Direction::Better };
    let all: Vec<&Moved> = std::iter::once(main).chain(order.iter().copied()).collect();
    let mut evidence: Vec<Evidence> = all.iter().map(|moved| moved.evidence(run)).collect();
    evidence.push(Evidence::Query { sql: sql(run, &all, from, until) });
    let mut also: Vec<SeriesReference> = Vec::new();
    for series in order.iter().map(|moved| moved.series(run)) {
        if series != main.series(run) && !also.contains(&series) {
            also.push(series);
        }
    }
    let finding = Finding {
        id: finding_id(run.test, FindingKind::Anomaly, &main.series(run), Some(run.time(from))),
        kind: FindingKind::Anomaly,
        title: title(run, main, &all, from, until),
        severity: if main.is_worse() { main.severity() } else { Severity::Minor },
        direction,
        series: main.series(run),
        also,
        from: Some(run.time(from)),
        until: (until < run.until).then(|| run.time(until)),
        since_run: None,
        suspect: false,
        observed: main.observed,
        expected: Some(main.expected),
        unit: main.unit(),
        change: Some(main.change),
        evidence,
    };
    (finding, main.change.point.abs())
}

fn title(run: &Run, main: &Moved, all: &[&Moved], from: usize, until: usize) -> String {
    let mut signals: Vec<usize> =
        all.iter().filter(|moved| moved.statistic == main.statistic).filter_map(|moved| moved.signal).collect();
    signals.sort_unstable();
    signals.dedup();
    let whose = match signals.as_slice() {
        [] => format!("all {} endpoints together", run.signals.len()),
        [one] => name(&run.signals[*one].series),
        several => format!("{} endpoints", several.len()),
    };
    let to = if until < run.until { format!("to {}", run.time(until).clock()) } else { "to the end".to_owned() };
    let when = format!("from {} {to}", run.time(from).clock());
    let figure = if main.statistic == Statistic::P95 { "p95 latency" } else { "latency" };
    let change = main.change.point;
    match main.statistic {
        Statistic::FailedRate => {
            let (observed, expected) = (percent(main.observed), percent(main.expected));
            format!("{observed} of the requests to {whose} failed {when}, {expected} otherwise")
        }
        _ if change >= CRITICAL_RATIO - 1.0 => format!("{figure} of {whose} {:.1} times as high {when}", 1.0 + change),
        _ if change > 0.0 => format!("{figure} of {whose} {:.0} % higher {when}", 100.0 * change),
        _ => format!("{figure} of {whose} {:.0} % lower {when}", -100.0 * change),
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// Returns the endpoint's method and name, as far as it has them.
pub(super) fn name(series: &SeriesReference) -> String {
    let parts = ["method", "name"].iter().filter_map(|tag| series.tags.get(*tag));
    let name = parts.map(String::as_str).collect::<Vec<_>>().join(" ");
    if name.is_empty() { series.tags.values().cloned().collect::<Vec<_>>().join(" ") } else { name }
}

/// Returns the question that shows the seconds of the anomaly and those around it.
fn sql(run: &Run, all: &[&Moved], from: usize, until: usize) -> String {
    let margin = MARGIN_SECONDS * NANOSECONDS_PER_SECOND;
    let (before, after) = (run.time(from).0.saturating_sub(margin), run.time(until).0.saturating_add(margin));
    let mut names: Vec<String> = Vec::new();
    for signal in all.iter().filter_map(|moved| moved.signal) {
        if let Some(name) = run.signals[signal].series.tags.get("name") {
            let quoted = format!("'{}'", name.replace('\'', "''"));
            if !names.contains(&quoted) {
                names.push(quoted);
            }
        }
    }
    let is_named = !names.is_empty() && names.len() <= ENDPOINTS_NAMED_MAX;
    let endpoints = if is_named { format!("\n  AND endpoint IN ({})", names.join(", ")) } else { String::new() };
    let is_failure = all.first().is_some_and(|moved| moved.change.scale == Scale::Difference);
    let (columns, metric) = if is_failure {
        ("nonzero_count AS failed_requests_count", "metric = 'http_req_failed'")
    } else {
        (
            "p50 AS latency_ms_p50, p95 AS latency_ms_p95",
            "metric = 'http_req_duration'\n  AND expected_response IS DISTINCT FROM false",
        )
    };
    format!(
        "SELECT window_start, endpoint, method, samples_count AS requests_count, {columns}\nFROM windows\n\
         WHERE {metric}{endpoints}\n  AND window_start >= TIMESTAMP '{}'\n  AND window_start < TIMESTAMP '{}'\n\
         ORDER BY endpoint, method, window_start",
        Timestamp(before),
        Timestamp(after)
    )
}
