//! The latencies and the throughput that moved between two runs, put together: one cause is one finding.

use crate::model::finding::{Direction, Evidence, Finding, FindingKind, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::AnalysisReport;

use super::finding_id::finding_id;
use super::subjects::{CHANGE_MIN, Moved, Side, Subject, size_of};

/// From here on a change is major, and critical.
const MAJOR_RATIO: f64 = 1.1;
const CRITICAL_RATIO: f64 = 2.0;

/// Puts what moved together into one finding: the endpoints whose change overlaps with the largest of them, and what is
/// made of them.
pub(super) fn latency_findings(
    current: Side,
    base: Side,
    found: &[&Subject],
    with_latency: &[&Subject],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut with_latency = with_latency.to_vec();
    for direction in [Direction::Worse, Direction::Better] {
        let of_direction = found.iter().filter(|subject| subject.direction() == Some(direction)).copied();
        let (mut wholes, mut parts): (Vec<&Subject>, Vec<&Subject>) =
            of_direction.partition(|subject| !is_endpoint(subject));
        parts.sort_by(|left, right| size(right).total_cmp(&size(left)));
        while let Some(largest) = parts.first().copied() {
            let (mut together, apart): (Vec<&Subject>, Vec<&Subject>) =
                parts.into_iter().partition(|part| overlap(largest, part));
            parts = apart;
            // What is made of all requests moves with those that moved, whatever its size.
            let whole = std::mem::take(&mut wholes);
            let (whole, others): (Vec<&Subject>, Vec<&Subject>) = whole
                .into_iter()
                .partition(|whole| whole.series.metric == "http_req_duration" || overlap(largest, whole));
            wholes = others;
            if together.len() > 1 && whole.iter().any(|whole| whole.series.metric == "http_req_duration") {
                together.splice(0..0, whole);
            } else {
                together.extend(whole);
            }
            together.extend(with_latency.drain(..).filter(|_| direction == Direction::Worse));
            findings.extend(latency_finding(current, base, direction, &together));
        }
        for whole in wholes {
            let mut together = vec![whole];
            together.extend(with_latency.drain(..).filter(|_| direction == Direction::Worse));
            findings.extend(latency_finding(current, base, direction, &together));
        }
    }
    findings
}

fn is_endpoint(subject: &Subject) -> bool {
    subject.series.metric == "http_req_duration" && subject.series.tags.contains_key("name")
}

fn size(subject: &Subject) -> f64 {
    subject.shown().map_or(0.0, size_of)
}

/// Says whether one change could explain both.
fn overlap(left: &Subject, right: &Subject) -> bool {
    let interval = |subject: &Subject| {
        let moved = subject.shown()?;
        let reach = 1.96 * moved.deviation?;
        Some((moved.log() - reach, moved.log() + reach))
    };
    match (interval(left), interval(right)) {
        (Some(left), Some(right)) => left.0 <= right.1 && right.0 <= left.1,
        _ => false,
    }
}

/// `together`: the subject that heads the finding, then what moved with it.
fn latency_finding(current: Side, base: Side, direction: Direction, together: &[&Subject]) -> Option<Finding> {
    let head = together.first()?;
    let shown = head.shown()?;
    let change = shown.change?;
    let with = |subject: &Subject, moved: &Moved| SeriesReference {
        statistic: Some(moved.statistic.to_owned()),
        ..subject.series.clone()
    };
    let moved_alike = |moved: &&Moved| {
        moved.statistic != shown.statistic && moved.log() * shown.log() > 0.0 && size_of(moved) >= CHANGE_MIN
    };
    let mut also: Vec<SeriesReference> =
        head.figures.iter().filter(moved_alike).map(|moved| with(head, moved)).collect();
    let others = together[1..].iter().filter_map(|subject| Some((*subject, subject.shown()?)));
    also.extend(others.clone().map(|(subject, moved)| with(subject, moved)));
    let evidence_of = |subject: &Subject, moved: &Moved| {
        Some(Evidence::Metric {
            series: with(subject, moved),
            observed: moved.current?,
            expected: moved.base,
            unit: subject.unit,
            change: moved.change,
            note: None,
        })
    };
    let mut evidence: Vec<Evidence> = head.figures.iter().filter_map(|moved| evidence_of(head, moved)).collect();
    evidence.extend(others.filter_map(|(subject, moved)| evidence_of(subject, moved)));
    evidence.push(Evidence::Query { sql: latency_query(head, base.report, current.report) });
    let endpoints_count = together.iter().filter(|subject| is_endpoint(subject)).count();
    let who = match (head.series.tags.get("name"), endpoints_count) {
        (Some(name), 0 | 1) => format!("latency of {name}"),
        (Some(_), count) => format!("latency of {count} endpoints"),
        (None, 0 | 1) if head.series.metric == "http_req_duration" => "latency".to_owned(),
        (None, count) if head.series.metric == "http_req_duration" => format!("latency, of {count} endpoints"),
        (None, _) => head.series.metric.clone(),
    };
    let severity = match direction {
        Direction::Worse if change.point + 1.0 >= CRITICAL_RATIO => Severity::Critical,
        Direction::Worse if change.point + 1.0 >= MAJOR_RATIO => Severity::Major,
        _ => Severity::Minor,
    };
    let series = with(head, shown);
    Some(Finding {
        id: finding_id(&current.report.run.test, FindingKind::Latency, &head.series, None),
        kind: FindingKind::Latency,
        title: format!(
            "{who} {:+.0} %: {} is {}, was {}",
            change.point * 100.0,
            shown.statistic,
            ms(shown.current),
            ms(shown.base)
        ),
        severity,
        direction,
        series,
        also,
        from: None,
        until: None,
        since_run: None,
        suspect: false,
        observed: shown.current?,
        expected: shown.base,
        unit: head.unit,
        change: Some(change),
        evidence,
    })
}

fn ms(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| {
        let decimals = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        format!("{value:.decimals$} ms")
    })
}

pub(super) fn throughput_finding(test: &str, subject: &Subject, moved: &Moved) -> Finding {
    let fell = moved.log() < 0.0;
    let point = moved.change.map_or(0.0, |change| change.point);
    let severity = match point {
        _ if !fell => Severity::Minor,
        _ if point <= -0.5 => Severity::Critical,
        _ if 1.0 + point <= 1.0 / MAJOR_RATIO => Severity::Major,
        _ => Severity::Minor,
    };
    let (observed, expected) = (moved.current.unwrap_or(0.0), moved.base);
    Finding {
        id: finding_id(test, FindingKind::Throughput, &subject.series, None),
        kind: FindingKind::Throughput,
        title: format!(
            "throughput {:+.0} %: {observed:.1} requests a second, were {:.1}",
            point * 100.0,
            expected.unwrap_or(0.0)
        ),
        severity,
        direction: if fell { Direction::Worse } else { Direction::Better },
        series: SeriesReference { statistic: Some(moved.statistic.to_owned()), ..subject.series.clone() },
        also: Vec::new(),
        from: None,
        until: None,
        since_run: None,
        suspect: false,
        observed,
        expected,
        unit: Unit::Count,
        change: moved.change,
        evidence: vec![Evidence::Metric {
            series: subject.series.clone(),
            observed,
            expected,
            unit: Unit::Count,
            change: moved.change,
            note: Some("requests a second".to_owned()),
        }],
    }
}

/// What shows the latency of both runs window by window.
fn latency_query(head: &Subject, base: &AnalysisReport, current: &AnalysisReport) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let endpoint =
        head.series.tags.get("name").map_or(String::new(), |name| format!(" AND endpoint = {}", quoted(name)));
    format!(
        "SELECT run_id, endpoint, sum(samples_count) AS samples_count, sketch_percentile(sketch, 0.95) AS p95 FROM windows \
         WHERE metric = {}{endpoint} AND run_id IN ({}, {}) GROUP BY run_id, endpoint ORDER BY endpoint, p95",
        quoted(&head.series.metric),
        quoted(&base.run.id),
        quoted(&current.run.id)
    )
}
