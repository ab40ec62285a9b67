//! The figures of a whole run: per metric, sub-metric and endpoint, exact, from the cells.

use std::collections::BTreeMap;
use std::io;

use crate::model::metric::{MetricKind, Unit};
use crate::model::report::{CheckReport, EndpointReport, Latency, MetricReport, Totals};
use crate::model::series::SeriesKey;
use crate::model::summary::percentile_name;
use crate::stats::sum::Sum;

use super::aggregate::{Aggregate, Cell, OTHER};
use super::selection::{Group, quantiles};

/// In percent. Divided by 100 as k6 does, since the last bit depends on it.
const PERCENTAGES: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];
const LATENCY_PERCENTAGES: [f64; 4] = [50.0, 90.0, 95.0, 99.0];

#[derive(Debug, Default)]
pub struct Figures {
    /// Metrics and sub-metrics, sorted by name.
    pub metrics: Vec<MetricReport>,
    /// Most requests first.
    pub endpoints: Vec<EndpointReport>,
    /// Most failures first.
    pub checks: Vec<CheckReport>,
    pub totals: Totals,
    /// Sub-metrics whose samples cannot be told from others.
    pub unknown_submetrics: Vec<String>,
    /// Metrics whose kind no line told.
    pub unknown_kinds: Vec<String>,
}

/// A metric or sub-metric, before its percentiles are known.
struct Wanted {
    name: String,
    metric: usize,
    cells: Vec<u32>,
    percentages: Vec<f64>,
}

/// What tells one endpoint from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct EndpointKey {
    name: String,
    method: Option<String>,
    scenario: Option<String>,
    group: Option<String>,
}

/// The cells of one endpoint.
#[derive(Debug, Default)]
struct EndpointCells {
    requests: Vec<u32>,
    failed: Vec<u32>,
    expected_latency: Vec<u32>,
    unexpected_latency: Vec<u32>,
}

/// Computes the figures after the last window was closed.
///
/// `duration_seconds`: of the run, for rates; none when there is none. `more_percentages`: by the name of a metric or
/// sub-metric, what its thresholds ask for besides the usual ones.
pub fn figures(
    aggregate: &mut Aggregate,
    duration_seconds: Option<f64>,
    more_percentages: &BTreeMap<String, Vec<f64>>,
) -> io::Result<Figures> {
    let mut unknown_submetrics = Vec::new();
    let wanted = wanted_metrics(aggregate, more_percentages, &mut unknown_submetrics);
    let endpoints = endpoint_cells(aggregate);
    let mut groups: Vec<Group> = wanted.iter().map(|wanted| group(&wanted.cells, &wanted.percentages)).collect();
    for cells in endpoints.values() {
        groups.push(group(&cells.expected_latency, &LATENCY_PERCENTAGES));
        groups.push(group(&cells.unexpected_latency, &LATENCY_PERCENTAGES));
    }
    let mut spill = std::mem::take(&mut aggregate.values);
    let answers = quantiles(&groups, &aggregate.cells, &mut spill)?;
    let (of_metrics, of_endpoints) = answers.split_at(wanted.len());
    let metrics: Vec<MetricReport> = wanted
        .iter()
        .zip(of_metrics)
        .map(|(wanted, answer)| metric_report(aggregate, wanted, answer.as_deref(), duration_seconds))
        .collect();
    let mut endpoints: Vec<EndpointReport> = endpoints
        .iter()
        .zip(of_endpoints.chunks(2))
        .map(|((key, cells), answers)| endpoint_report(aggregate, key, cells, answers, duration_seconds))
        .collect();
    endpoints
        .sort_by(|left, right| right.requests_count.cmp(&left.requests_count).then_with(|| left.name.cmp(&right.name)));
    let checks = checks(aggregate);
    let mut totals = totals(&metrics);
    // Samples were read, and none of them was of a request.
    totals.requests_count.get_or_insert(0);
    let unknown_kinds = aggregate.metrics.iter().filter(|metric| metric.kind.is_none());
    let mut unknown_kinds: Vec<String> = unknown_kinds.map(|metric| metric.name.to_string()).collect();
    // Not in the order in which they came, which several inputs do not have.
    unknown_kinds.sort();
    Ok(Figures { metrics, endpoints, checks, totals, unknown_submetrics, unknown_kinds })
}

fn group(cells: &[u32], percentages: &[f64]) -> Group {
    Group { cells: cells.to_vec(), quantiles: percentages.iter().map(|percentage| percentage / 100.0).collect() }
}

fn wanted_metrics(aggregate: &Aggregate, more: &BTreeMap<String, Vec<f64>>, unknown: &mut Vec<String>) -> Vec<Wanted> {
    let mut cells_of_metric = vec![Vec::new(); aggregate.metrics.len()];
    for (index, cell) in aggregate.cells.iter().enumerate() {
        cells_of_metric[cell.metric as usize].push(index as u32);
    }
    let mut wanted = Vec::new();
    for (index, metric) in aggregate.metrics.iter().enumerate() {
        let mut add = |name: &str, cells: Vec<u32>| {
            let mut percentages = PERCENTAGES.to_vec();
            percentages.extend(more.get(name).into_iter().flatten());
            wanted.push(Wanted { name: name.to_owned(), metric: index, cells, percentages });
        };
        add(&metric.name, cells_of_metric[index].clone());
        for (submetric_index, submetric) in metric.submetrics.iter().enumerate() {
            let member = |cell: &&u32| aggregate.is_member(&aggregate.cells[**cell as usize], submetric_index);
            if cells_of_metric[index].iter().any(|cell| member(&cell).is_none()) {
                unknown.push(submetric.name.clone());
                continue;
            }
            add(
                &submetric.name,
                cells_of_metric[index].iter().filter(|cell| member(cell) == Some(true)).copied().collect(),
            );
        }
    }
    wanted.sort_by(|left, right| left.name.cmp(&right.name));
    wanted
}

/// The cells together.
struct Union {
    count: u64,
    nonzero_count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

fn union<'a>(cells: impl Iterator<Item = &'a Cell>) -> Union {
    let mut sum = Sum::default();
    let mut union = Union { count: 0, nonzero_count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
    for cell in cells {
        union.count += cell.count;
        union.nonzero_count += cell.nonzero_count;
        union.min = union.min.min(cell.min);
        union.max = union.max.max(cell.max);
        sum.merge(cell.sum);
    }
    union.sum = sum.value();
    union
}

fn metric_report(
    aggregate: &Aggregate,
    wanted: &Wanted,
    percentiles: Option<&[f64]>,
    duration_seconds: Option<f64>,
) -> MetricReport {
    let state = &aggregate.metrics[wanted.metric];
    let kind = state.kind.unwrap_or(MetricKind::Trend);
    let union = union(wanted.cells.iter().map(|cell| &aggregate.cells[*cell as usize]));
    let mut values = BTreeMap::new();
    let mut put = |name: &str, value: f64| {
        if value.is_finite() {
            values.insert(name.to_owned(), value);
        }
    };
    match kind {
        MetricKind::Counter => {
            put("count", union.sum);
            if let Some(seconds) = duration_seconds {
                put("rate", union.sum / seconds);
            }
        }
        MetricKind::Rate if union.count > 0 => {
            put("rate", union.nonzero_count as f64 / union.count as f64);
            put("passes", union.nonzero_count as f64);
            put("fails", (union.count - union.nonzero_count) as f64);
        }
        MetricKind::Gauge if union.count > 0 => {
            let (value, min, max) = gauge(aggregate, wanted, &union);
            put("value", value);
            put("min", min);
            put("max", max);
        }
        MetricKind::Trend if union.count > 0 => {
            put("avg", union.sum / union.count as f64);
            put("min", union.min);
            put("max", union.max);
            for (percentage, value) in wanted.percentages.iter().zip(percentiles.unwrap_or_default()) {
                let name = if *percentage == 50.0 { "med".to_owned() } else { percentile_name(*percentage) };
                put(&name, *value);
            }
        }
        _ => {}
    }
    let unit = Unit::of(kind, state.contains);
    MetricReport { name: wanted.name.clone(), kind, unit, count: Some(union.count), values, quantile_error: 0.0 }
}

/// Returns the last, least and greatest value. The VUs of several inputs of one run add up, second by second.
fn gauge(aggregate: &Aggregate, wanted: &Wanted, union: &Union) -> (f64, f64, f64) {
    let several_sources = aggregate.sources_count > 1 && wanted.name == "vus";
    let vus: Vec<f64> = aggregate.load.values().filter_map(|load| load.vus).filter(|_| several_sources).collect();
    if let Some(last) = vus.last() {
        return (
            *last,
            vus.iter().copied().fold(f64::INFINITY, f64::min),
            vus.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
    }
    let last = wanted.cells.iter().map(|cell| &aggregate.cells[*cell as usize]).max_by_key(|cell| cell.last_window_ns);
    (last.map_or(f64::NAN, |cell| cell.last), union.min, union.max)
}

fn endpoint_cells(aggregate: &Aggregate) -> BTreeMap<EndpointKey, EndpointCells> {
    let mut endpoints: BTreeMap<EndpointKey, EndpointCells> = BTreeMap::new();
    for (index, cell) in aggregate.cells.iter().enumerate() {
        let SeriesKey { metric, endpoint: Some(name), method, scenario, group, expected_response, .. } =
            &aggregate.series[cell.series as usize]
        else {
            continue;
        };
        let list: fn(&mut EndpointCells) -> &mut Vec<u32> = match (metric.as_str(), expected_response) {
            ("http_reqs", _) => |cells| &mut cells.requests,
            ("http_req_failed", _) => |cells| &mut cells.failed,
            ("http_req_duration", Some(false)) => |cells| &mut cells.unexpected_latency,
            ("http_req_duration", _) => |cells| &mut cells.expected_latency,
            _ => continue,
        };
        let key = EndpointKey {
            name: name.clone(),
            method: method.clone(),
            scenario: scenario.clone(),
            group: group.clone(),
        };
        list(endpoints.entry(key).or_default()).push(index as u32);
    }
    endpoints
}

fn endpoint_report(
    aggregate: &Aggregate,
    key: &EndpointKey,
    cells: &EndpointCells,
    percentiles: &[Option<Vec<f64>>],
    duration_seconds: Option<f64>,
) -> EndpointReport {
    let of = |indices: &[u32]| union(indices.iter().map(|cell| &aggregate.cells[*cell as usize]));
    let latency = |indices: &[u32], answer: &Option<Vec<f64>>| {
        let union = of(indices);
        let [med, p90, p95, p99] = answer.as_deref()?.try_into().ok()?;
        Some(Latency { avg: union.sum / union.count as f64, med, p90, p95, p99, max: union.max })
    };
    let mut statuses = BTreeMap::new();
    for cell in cells.requests.iter().map(|cell| &aggregate.cells[*cell as usize]) {
        let status = cell.status.as_deref().unwrap_or("none");
        *statuses.entry(status.to_owned()).or_insert(0) += cell.sum.value() as u64;
    }
    let requests = of(&cells.requests).sum;
    let failed = of(&cells.failed);
    EndpointReport {
        name: key.name.clone(),
        is_template: key.name == OTHER
            || key.name.contains("://") && key.name.contains(crate::model::endpoint::PLACEHOLDER),
        method: key.method.clone(),
        scenario: key.scenario.clone(),
        group: key.group.clone(),
        requests_count: requests as u64,
        failed_requests_rate: (failed.count > 0).then(|| failed.nonzero_count as f64 / failed.count as f64),
        requests_per_second: duration_seconds.map(|seconds| requests / seconds),
        latency_ms: latency(&cells.expected_latency, &percentiles[0]),
        failed_latency_ms: latency(&cells.unexpected_latency, &percentiles[1]),
        statuses,
    }
}

fn checks(aggregate: &Aggregate) -> Vec<CheckReport> {
    let mut checks: BTreeMap<(&str, Option<&str>), CheckReport> = BTreeMap::new();
    for cell in &aggregate.cells {
        let SeriesKey { metric, check: Some(name), group, .. } = &aggregate.series[cell.series as usize] else {
            continue;
        };
        if metric != "checks" {
            continue;
        }
        let check = checks.entry((name, group.as_deref())).or_insert_with(|| CheckReport {
            name: name.clone(),
            group: group.clone(),
            passed_count: 0,
            failed_count: 0,
        });
        check.passed_count += cell.nonzero_count;
        check.failed_count += cell.count - cell.nonzero_count;
    }
    most_failures_first(checks.into_values().collect())
}

/// Then by name.
pub(super) fn most_failures_first(mut checks: Vec<CheckReport>) -> Vec<CheckReport> {
    checks.sort_by(|left, right| {
        right
            .failed_count
            .cmp(&left.failed_count)
            .then_with(|| (&left.name, &left.group).cmp(&(&right.name, &right.group)))
    });
    checks
}

/// `metrics`: sorted by name.
pub(super) fn totals(metrics: &[MetricReport]) -> Totals {
    let value = |metric: &str, name: &str| {
        let index = metrics.binary_search_by(|report| report.name.as_str().cmp(metric)).ok()?;
        metrics[index].values.get(name).copied()
    };
    let count = |metric: &str, name: &str| value(metric, name).map(|value| value as u64);
    Totals {
        requests_count: count("http_reqs", "count"),
        failed_requests_count: count("http_req_failed", "passes"),
        failed_requests_rate: value("http_req_failed", "rate"),
        requests_per_second: value("http_reqs", "rate"),
        iterations_count: count("iterations", "count"),
        checks_passed_count: count("checks", "passes"),
        checks_failed_count: count("checks", "fails"),
        vus_max: value("vus", "max"),
        // Said by `detect::phases`, which sees the course of the VUs.
        arrivals_per_second: None,
        data_sent_bytes: value("data_sent", "count"),
        data_received_bytes: value("data_received", "count"),
    }
}
