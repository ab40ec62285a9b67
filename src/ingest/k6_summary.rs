//! k6's end-of-test summary in each of its three shapes, recognised by content.
//!
//! | shape | recognised by | thresholds | a rate's figures |
//! |---|---|---|---|
//! | `--summary-export` | `metrics`, figures beside `thresholds` | true: crossed | `value passes fails` |
//! | handleSummary data | `metrics` with `values`, `state`, `options` | `ok` true: held | `rate passes fails` |
//! | machine-readable | `results` with `metrics` as a list | none | `rate matches total` |

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::model::metric::{Contains, MetricKind, builtin};
use crate::model::run::SourceKind;
use crate::model::summary::{Summary, SummaryCheck, SummaryMetric, SummaryThreshold, percentile_name};

/// Keys that an error names of a file that is no summary.
const KEYS_NAMED_MAX: usize = 12;

/// Letters of a key that an error names.
const KEY_LETTERS_MAX: usize = 40;

/// Why bytes are not a summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    #[error("failed to parse the summary as JSON")]
    Json(#[from] serde_json::Error),
    #[error("not a k6 summary, which is an object with k6's `metrics` or `results`: this is {found}")]
    NotSummary { found: String },
    #[error("failed to read the summary at {place}: expected {expected}")]
    Malformed { place: String, expected: &'static str },
}

/// Reads a summary of any of the three shapes.
///
/// Metrics are sorted by name, checks by path. Figures that are null (k6 has no JSON for an infinity) are absent. What
/// stands beside the figures of an export's metric and is no number is left out. The machine-readable shape has no metric
/// `checks`: its `checks_succeeded` is given that name, since it holds the same samples. Its `checks_total` and
/// `checks_failed` follow from it and are left out.
pub fn parse(bytes: &[u8]) -> Result<Summary, SummaryError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let document = match serde_json::from_slice(bytes)? {
        Value::Object(document) => document,
        other => return Err(SummaryError::NotSummary { found: described(&other).to_owned() }),
    };
    let mut summary = match shape(&document) {
        Some(SourceKind::K6MachineSummary) => machine_summary(&document)?,
        Some(kind) => export_or_handle_summary(kind, &document)?,
        None => return Err(SummaryError::NotSummary { found: keys_found(&document) }),
    };
    summary.metrics.sort_by(|left, right| left.name.cmp(&right.name));
    summary.checks.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(summary)
}

fn shape(document: &Map<String, Value>) -> Option<SourceKind> {
    if document.get("results").and_then(|results| results.get("metrics")).is_some_and(Value::is_array) {
        return Some(SourceKind::K6MachineSummary);
    }
    let metrics = document.get("metrics")?.as_object()?;
    if !metrics.values().all(Value::is_object) {
        return None;
    }
    let has_values = metrics.values().any(|metric| metric.get("values").is_some_and(Value::is_object));
    let has_state = document.get("state").and_then(|state| state.get("testRunDurationMs")).is_some();
    if has_values || has_state {
        return Some(SourceKind::K6HandleSummary);
    }
    // Any program may write an object named `metrics`: some of it must be k6's.
    let is_k6s = document.contains_key("root_group") || metrics.keys().any(|name| builtin(base_name(name)).is_some());
    is_k6s.then_some(SourceKind::K6SummaryExport)
}

fn export_or_handle_summary(kind: SourceKind, document: &Map<String, Value>) -> Result<Summary, SummaryError> {
    let is_handle = kind == SourceKind::K6HandleSummary;
    let known: &[&str] = if is_handle {
        &["metrics", "root_group", "options", "state", "setup_data"]
    } else {
        &["metrics", "root_group", "setup_data"]
    };
    let none = Map::new();
    let metrics = document.get("metrics").and_then(Value::as_object).unwrap_or(&none);
    let trend_keys = trend_keys(metrics);
    let metrics = metrics.iter().filter_map(|(name, metric)| Some((name, metric.as_object()?)));
    let metrics =
        metrics.map(
            |(name, metric)| {
                if is_handle { declared_metric(name, metric) } else { export_metric(name, metric, &trend_keys) }
            },
        );
    let mut checks = Vec::new();
    if let Some(root) = document.get("root_group") {
        collect_checks(root, "", &mut checks)?;
    }
    let milliseconds = document.get("state").and_then(|state| state.get("testRunDurationMs")).and_then(Value::as_f64);
    Ok(Summary {
        kind,
        duration_seconds: milliseconds.filter(|_| is_handle).map(|milliseconds| milliseconds / 1e3),
        k6_version: None,
        generated_at: None,
        script_sha256: None,
        metrics: metrics.collect::<Result<_, _>>()?,
        checks,
        extra: extra(document, known),
    })
}

fn machine_summary(document: &Map<String, Value>) -> Result<Summary, SummaryError> {
    let results = document.get("results");
    let declared = |metric: &Value| {
        let metric = metric.as_object().ok_or_else(|| malformed("results.metrics", "objects"))?;
        let name = metric.get("name").and_then(Value::as_str).ok_or_else(|| malformed("results.metrics", "a name"))?;
        declared_metric(name, metric)
    };
    let listed = results.and_then(|results| results.get("metrics")).and_then(Value::as_array);
    let mut metrics = listed.into_iter().flatten().map(declared).collect::<Result<Vec<_>, _>>()?;

    let of_checks = results.and_then(|results| results.get("checks"));
    let totals = of_checks.and_then(|checks| checks.get("metrics")).and_then(Value::as_array);
    let succeeded = totals.into_iter().flatten().find(|metric| metric.get("name") == Some(&"checks_succeeded".into()));
    if let Some(succeeded) = succeeded
        && metrics.iter().all(|metric| metric.name != "checks")
    {
        metrics.push(SummaryMetric { name: "checks".to_owned(), ..declared(succeeded)? });
    }
    let mut checks = Vec::new();
    if let Some(list) = of_checks.and_then(|checks| checks.get("results")) {
        for (key, check) in members(list) {
            checks.push(summary_check(key, check, None)?);
        }
    }

    let text_of = |object: &str, keys: &[&str]| {
        let object = document.get(object)?;
        keys.iter().find_map(|key| object.get(key)?.as_str()).map(str::to_owned)
    };
    let duration = document.get("config").and_then(|config| config.get("duration"));
    let script = text_of("config", &["script"]);
    Ok(Summary {
        kind: SourceKind::K6MachineSummary,
        duration_seconds: duration.and_then(Value::as_f64),
        // k6's own schema says the second of each pair; k6 2.2.0 writes the first.
        k6_version: text_of("metadata", &["k6_version", "k6Version"]),
        generated_at: text_of("metadata", &["generated_at", "generatedAt"]),
        script_sha256: script.map(|script| sha256(script.as_bytes())),
        metrics,
        checks,
        extra: extra(document, &["version", "metadata", "config", "results"]),
    })
}

/// Reads a metric that says its type and has its figures in `values`.
fn declared_metric(name: &str, metric: &Map<String, Value>) -> Result<SummaryMetric, SummaryError> {
    let none = Map::new();
    let values = match metric.get("values") {
        Some(Value::Object(values)) => values,
        None | Some(Value::Null) => &none,
        Some(_) => return Err(malformed(&format!("{name:?}"), "`values` to be an object")),
    };
    let known = builtin(base_name(name));
    let kind = match metric.get("type") {
        Some(kind) => serde_json::from_value(kind.clone())
            .map_err(|_| malformed(&format!("{name:?}"), "`type` to be counter, gauge, rate or trend"))?,
        None => known.map_or_else(|| inferred_kind(&keys_of(values), &BTreeSet::new()), |(kind, _)| kind),
    };
    let contains = metric.get("contains").and_then(|contains| serde_json::from_value(contains.clone()).ok());
    Ok(SummaryMetric {
        name: name.to_owned(),
        kind,
        contains: contains.or(known.map(|(_, contains)| contains)).unwrap_or(Contains::Default),
        values: values_by_name(kind, values),
        thresholds: thresholds(name, metric)?,
    })
}

/// Reads a metric of `--summary-export`, which says neither its type nor its unit.
fn export_metric(
    name: &str,
    metric: &Map<String, Value>,
    trend_keys: &BTreeSet<&str>,
) -> Result<SummaryMetric, SummaryError> {
    let inferred = || (inferred_kind(&keys_of(metric), trend_keys), Contains::Default);
    let (kind, contains) = builtin(base_name(name)).unwrap_or_else(inferred);
    Ok(SummaryMetric {
        name: name.to_owned(),
        kind,
        contains,
        values: values_by_name(kind, metric),
        thresholds: thresholds(name, metric)?,
    })
}

/// Returns the figures that this run's trends have: those of any of k6's own trends, since all trends have the same.
fn trend_keys(metrics: &Map<String, Value>) -> BTreeSet<&str> {
    let is_trend = |name: &str| builtin(base_name(name)).is_some_and(|(kind, _)| kind == MetricKind::Trend);
    let trend = metrics.iter().find(|(name, _)| is_trend(name)).and_then(|(_, metric)| metric.as_object());
    trend.map(keys_of).unwrap_or_default()
}

/// Infers a metric's kind from the names of its figures.
///
/// `--summary-trend-stats` may ask for any of a trend's figures, `count` alone as well, which a counter also has (and no
/// `rate` when the run took no time): `trend_keys` tells them apart. The names that only the other kinds have decide
/// before.
fn inferred_kind(keys: &BTreeSet<&str>, trend_keys: &BTreeSet<&str>) -> MetricKind {
    if keys.contains("passes") || keys.contains("fails") || keys.contains("matches") {
        MetricKind::Rate
    } else if keys.contains("value") {
        MetricKind::Gauge
    } else if keys.contains("rate") || (keys.len() == 1 && keys.contains("count") && keys != trend_keys) {
        MetricKind::Counter
    } else {
        MetricKind::Trend
    }
}

fn keys_of(figures: &Map<String, Value>) -> BTreeSet<&str> {
    // A null is a figure, too: an infinity, for which JSON has no form.
    figures.iter().filter(|(_, value)| value.is_number() || value.is_null()).map(|(key, _)| key.as_str()).collect()
}

fn values_by_name(kind: MetricKind, figures: &Map<String, Value>) -> BTreeMap<String, f64> {
    let number = |key: &str| figures.get(key).and_then(Value::as_f64).filter(|value| value.is_finite());
    let mut values = BTreeMap::new();
    for key in figures.keys() {
        let Some(value) = number(key) else { continue };
        match (kind, key.as_str()) {
            (MetricKind::Rate, "value") => values.insert("rate".to_owned(), value),
            (MetricKind::Rate, "matches") => values.insert("passes".to_owned(), value),
            (MetricKind::Rate, "total") => {
                let fails = number("matches").map(|matches| value - matches).filter(|fails| fails.is_finite());
                fails.and_then(|fails| values.insert("fails".to_owned(), fails))
            }
            (MetricKind::Trend, key) => values.insert(trend_value_name(key), value),
            (_, key) => values.insert(key.to_owned(), value),
        };
    }
    values
}

/// Returns our name of a trend's figure: `p(99.9)` and `p99.9` are `p99_9`; the others keep k6's.
fn trend_value_name(key: &str) -> String {
    let percentage = key
        .strip_prefix('p')
        .map(|rest| rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(rest).parse::<f64>());
    match percentage {
        Some(Ok(percentage)) if (0.0..=100.0).contains(&percentage) => percentile_name(percentage),
        _ => key.to_owned(),
    }
}

/// Returns the thresholds of a metric in the order of their texts.
fn thresholds(name: &str, metric: &Map<String, Value>) -> Result<Vec<SummaryThreshold>, SummaryError> {
    let expected = "each threshold to be true, false, or an object with `ok`";
    let list = match metric.get("thresholds") {
        Some(Value::Object(list)) => list,
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(_) => return Err(malformed(&format!("{name:?}"), expected)),
    };
    let mut thresholds = Vec::new();
    for (expression, outcome) in list {
        let passed = match outcome {
            // In an export, true says that the threshold was crossed.
            Value::Bool(crossed) => Some(!crossed),
            _ => outcome.get("ok").and_then(Value::as_bool),
        };
        let passed = passed.ok_or_else(|| malformed(&format!("{name:?}"), expected))?;
        thresholds.push(SummaryThreshold { expression: expression.clone(), passed });
    }
    thresholds.sort_by(|left, right| left.expression.cmp(&right.expression));
    Ok(thresholds)
}

/// Adds the checks of a group and of the groups within. The depth is bounded: `serde_json` refuses more than 128 levels.
fn collect_checks(group: &Value, parent_path: &str, checks: &mut Vec<SummaryCheck>) -> Result<(), SummaryError> {
    let path = match group.get("path").and_then(Value::as_str) {
        Some(path) => path.to_owned(),
        None => parent_path.to_owned(),
    };
    for (key, check) in group.get("checks").into_iter().flat_map(members) {
        checks.push(summary_check(key, check, Some(&path))?);
    }
    for (key, inner) in group.get("groups").into_iter().flat_map(members) {
        let name = inner.get("name").and_then(Value::as_str).or(key).unwrap_or_default();
        collect_checks(inner, &format!("{path}::{name}"), checks)?;
    }
    Ok(())
}

/// `group_path`: of the group around the check, where the shape has groups.
fn summary_check(key: Option<&str>, check: &Value, group_path: Option<&str>) -> Result<SummaryCheck, SummaryError> {
    let name = check.get("name").and_then(Value::as_str).or(key);
    let name = name.ok_or_else(|| malformed("a check", "a name"))?;
    let count = |key: &str| {
        let count = check.get(key).and_then(whole_number);
        count.ok_or_else(|| malformed(&format!("check {name:?}"), "`passes` and `fails` to be counts"))
    };
    let path = match (check.get("path").and_then(Value::as_str), group_path) {
        (Some(path), _) => path.to_owned(),
        (None, Some(group)) => format!("{group}::{name}"),
        (None, None) => name.to_owned(),
    };
    Ok(SummaryCheck { name: name.to_owned(), path, passes: count("passes")?, fails: count("fails")? })
}

/// Returns the members of a list, or those of a map with their keys.
fn members(value: &Value) -> Vec<(Option<&str>, &Value)> {
    match value {
        Value::Array(list) => list.iter().map(|member| (None, member)).collect(),
        Value::Object(map) => map.iter().map(|(key, member)| (Some(key.as_str()), member)).collect(),
        _ => Vec::new(),
    }
}

/// Reads `12` and `12.0`: a program that wrote the summary again may have made a float of it.
fn whole_number(value: &Value) -> Option<u64> {
    /// Beyond it f64 does not hold every whole number.
    const EXACT_MAX: f64 = (1u64 << 53) as f64;
    let whole = |number: &f64| *number >= 0.0 && *number <= EXACT_MAX && number.fract() == 0.0;
    value.as_u64().or_else(|| value.as_f64().filter(whole).map(|number| number as u64))
}

fn extra(document: &Map<String, Value>, known: &[&str]) -> BTreeMap<String, Value> {
    let unknown = document.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the name without a sub-metric's filter.
fn base_name(name: &str) -> &str {
    name.split_once('{').map_or(name, |(base, _)| base)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn malformed(place: &str, expected: &'static str) -> SummaryError {
    SummaryError::Malformed { place: place.to_owned(), expected }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn keys_found(document: &Map<String, Value>) -> String {
    if document.is_empty() {
        return "an empty object".to_owned();
    }
    let short = |key: &String| format!("{:?}", key.chars().take(KEY_LETTERS_MAX).collect::<String>());
    let named: Vec<String> = document.keys().take(KEYS_NAMED_MAX).map(short).collect();
    let more = document.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("an object with the keys {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording in `data/`, made by a true k6; see the README there.
    fn recording(name: &str) -> Summary {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        parse(&bytes).unwrap()
    }

    fn metric(text: &str, name: &str) -> SummaryMetric {
        parse(text.as_bytes()).unwrap().metric(name).unwrap().clone()
    }

    fn values(metric: &SummaryMetric) -> Vec<(&str, f64)> {
        metric.values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }

    /// Both files are from one k6 process; the figures are read in k6's console.txt, or in the file itself.
    #[test]
    fn an_export_and_handle_summary_of_one_run_say_the_same() {
        let export = recording("checkout/summary-export.json");
        let handle = recording("checkout/handle-summary.json");
        assert_eq!((export.kind, handle.kind), (SourceKind::K6SummaryExport, SourceKind::K6HandleSummary));
        assert_eq!(export.checks, handle.checks);
        assert!(handle.duration_seconds.is_some_and(|seconds| (30.0..31.0).contains(&seconds)));
        assert_eq!(export.duration_seconds, None);
        assert_eq!(export.metrics.len(), handle.metrics.len());
        for (left, right) in export.metrics.iter().zip(&handle.metrics) {
            assert_eq!((&left.name, left.kind, &left.values), (&right.name, right.kind, &right.values));
            assert_eq!(left.thresholds, right.thresholds, "{}", left.name);
        }
        let names = |metric: &str| export.metric(metric).unwrap().values.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names("http_req_duration"), "avg count max med min p90 p95 p99 p99_9");
        assert_eq!(names("http_req_failed"), "fails passes rate");
        assert_eq!(names("http_reqs"), "count rate");
        assert_eq!(names("stock_left"), "max min value");
    }

    /// The README of the recording names the four thresholds that fail on purpose.
    #[test]
    fn the_thresholds_that_failed() {
        let expected = [
            ("checks{group:::checkout}", "rate>0.99"),
            ("http_req_duration", "p(95)<30"),
            ("http_req_duration{name:POST /pay}", "p(95)<150"),
            ("http_req_failed", "rate<0.02"),
        ];
        for name in ["checkout/summary-export.json", "checkout/handle-summary.json"] {
            let summary = recording(name);
            let metrics = summary.metrics.iter();
            let all = metrics.flat_map(|metric| metric.thresholds.iter().map(move |threshold| (metric, threshold)));
            let failed = all.filter(|(_, threshold)| !threshold.passed);
            let failed: Vec<_> =
                failed.map(|(metric, threshold)| (metric.name.as_str(), threshold.expression.as_str())).collect();
            assert_eq!(failed, expected, "{name}");
        }
    }

    #[test]
    fn the_machine_readable_shape() {
        let summary = recording("machine-summary/summary-export.json");
        assert_eq!(summary, recording("machine-summary/handle-summary.json"), "they differ in order and spacing only");
        assert_eq!(summary.kind, SourceKind::K6MachineSummary);
        assert_eq!(summary.k6_version.as_deref(), Some("2.2.0"));
        assert!(summary.generated_at.is_some_and(|time| time.parse::<crate::model::time::Timestamp>().is_ok()));
        assert!(summary.duration_seconds.is_some_and(|seconds| (10.0..11.0).contains(&seconds)));
        let script = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/machine-summary/script.ts")).unwrap();
        assert_eq!(summary.script_sha256, Some(sha256(&script)));
        assert!(summary.extra.is_empty());

        let summary = recording("machine-summary/summary-export.json");
        let checks = summary.metric("checks").unwrap();
        let passes: u64 = summary.checks.iter().map(|check| check.passes).sum();
        let fails: u64 = summary.checks.iter().map(|check| check.fails).sum();
        let rate = passes as f64 / (passes + fails) as f64;
        assert_eq!(values(checks), [("fails", fails as f64), ("passes", passes as f64), ("rate", rate)]);
        assert_eq!(checks.kind, MetricKind::Rate);
        assert!(summary.metric("http_req_duration").unwrap().values.contains_key("p95"));
        assert!(summary.checks.iter().all(|check| check.path == check.name), "the shape has no groups");
    }

    #[test]
    fn what_a_framework_adds_is_kept() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/layout-2");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let path = files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).last().unwrap();
        let summary = parse(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(summary.kind, SourceKind::K6SummaryExport);
        assert_eq!(summary.extra.keys().collect::<Vec<_>>(), ["generatorHealth", "reportMeta", "schemaVersion"]);
        assert_eq!(summary.extra["reportMeta"]["exitCode"], 99);
        assert_eq!(summary.metrics, recording("checkout/summary-export.json").metrics);
    }

    /// The figures are in the recording's `summary-export.json`; the kinds in its `script.ts`.
    #[test]
    fn unusual_metrics() {
        let summary = recording("unusual/summary-export.json");
        let kind = |name: &str| summary.metric(name).unwrap().kind;
        for (name, expected) in [
            ("balance", MetricKind::Gauge),
            ("flags", MetricKind::Rate),
            ("huge", MetricKind::Counter),
            ("moved_kilograms", MetricKind::Counter),
            ("payload_bytes", MetricKind::Trend),
            ("unbounded", MetricKind::Trend),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
        assert_eq!(
            values(summary.metric("unbounded").unwrap()),
            [("count", 3.0), ("med", 1.0)],
            "infinities are absent"
        );
        assert_eq!(summary.metric("late_trend").unwrap().values["p99_99"], 8.99980000089998);
        assert_eq!(summary.metric("flags").unwrap().values["rate"], 0.75);
        let check = summary.checks.iter().find(|check| check.name == "always").unwrap();
        assert_eq!((check.path.as_str(), check.passes), ("::Größe 📦::inner \"quoted\"::always", 10));
    }

    #[test]
    fn every_recording_is_a_summary() {
        for name in ["aborted/summary-export.json", "clean/summary-export.json", "history/1/summary-export.json"] {
            let summary = recording(name);
            assert!(
                summary.metric("http_req_duration").is_some_and(|metric| metric.contains == Contains::Time),
                "{name}"
            );
        }
    }

    #[test]
    fn a_trend_of_odd_figures_is_told_from_a_counter() {
        let only_count = r#"{"root_group":{},"metrics":{"http_req_duration":{"count":3},"render":{"count":2},
            "orders":{"count":2,"rate":0.5},"depth":{"value":1,"min":0,"max":2}}}"#;
        assert_eq!(metric(only_count, "render").kind, MetricKind::Trend);
        assert_eq!(metric(only_count, "orders").kind, MetricKind::Counter);
        assert_eq!(metric(only_count, "depth").kind, MetricKind::Gauge);
        let extremes = r#"{"root_group":{},"metrics":{"http_req_duration":{"min":1,"max":2,"p(0.5)":1},
            "render":{"min":1,"max":2,"p(0.5)":1},"orders":{"count":2}}}"#;
        assert_eq!(values(&metric(extremes, "render")), [("max", 2.0), ("min", 1.0), ("p0_5", 1.0)]);
        assert_eq!(metric(extremes, "render").kind, MetricKind::Trend);
        assert_eq!(metric(extremes, "orders").kind, MetricKind::Counter, "k6 sets no rate when the run took no time");
    }

    /// The infinity was kept as null, and what was kept could not be read again.
    #[test]
    fn a_difference_beyond_f64_is_absent() {
        let text = r#"{"results":{"metrics":[{"name":"a","type":"rate","values":{"matches":-1e308,"total":1e308}}]}}"#;
        assert_eq!(values(&metric(text, "a")), [("passes", -1e308)]);
    }

    #[test]
    fn what_is_no_summary_says_why() {
        let check = |text: &str, expected: &str| {
            let message = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        };
        check("", "JSON");
        check("{\"metrics\":{", "JSON");
        check("[]", "this is a list");
        check("{}", "this is an empty object");
        check("{\"openapi\":\"3.1\",\"paths\":{}}", "the keys \"openapi\", \"paths\"");
        check("{\"metrics\":{\"cpu\":{\"value\":1}}}", "the keys \"metrics\"");
        check("{\"metrics\":{\"http_reqs\":5},\"root_group\":{}}", "the keys");
        check("{\"metrics\":{\"vus\":{\"value\":1,\"thresholds\":{\"value<2\":\"yes\"}}}}", "threshold");
        check("{\"metrics\":{\"a\":{\"type\":\"sum\",\"values\":{}}}}", "`type`");
        check("{\"metrics\":{},\"root_group\":{\"checks\":{\"a\":{\"passes\":-1,\"fails\":0}}}}", "check \"a\"");
        check("{\"results\":{\"metrics\":[3]}}", "objects");
        check("{\"metrics\":{\"vus\":{\"value\":1e999}}}", "JSON");
        check(&"[".repeat(100_000), "JSON");
        check(&format!("{{\"metrics\":{{}},\"root_group\":{}", "{\"groups\":[".repeat(100_000)), "JSON");
    }

    proptest::proptest! {
        #[test]
        fn no_cut_or_changed_summary_panics(at in 0usize..9_000, byte: u8, cut: bool) {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/checkout/handle-summary.json");
            let mut bytes = std::fs::read(path).unwrap();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            std::hint::black_box(parse(&bytes).is_ok());
        }
    }
}
