//! Series that Tempo and Pyroscope count over all the spans and profiles that they hold, as a metrics server would hold them.
//!
//! Both answer with a value for each step. Here a sum of steps becomes a counter, so that whatever reads counters reads these.
//! Names begin with the server and a colon, as those of recording rules do: `tempo:server_duration_seconds_sum`,
//! `pyroscope:mutex_delay_seconds_total`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::prometheus::Metrics;
use super::wire::{self, ATTRIBUTES_MAX, AnswerError, Decimal, Integer, List, from_json};
use crate::model::telemetry::{CountedBy, MetricSeries};
use crate::model::time::Timestamp;

/// More than services times databases.
const SERIES_MAX: usize = 10_000;
/// Servers give at most 11,000.
const POINTS_MAX: usize = 20_000;
const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;
/// What a group is called of which the spans have no such attribute.
const ABSENT: &str = "nil";

/// Both answers have one shape; how they write a label and a point differs.
#[derive(Deserialize)]
struct Answer<Label, Point> {
    #[serde(default = "List::default")]
    series: List<RawSeries<Label, Point>, SERIES_MAX>,
}

#[derive(Deserialize)]
struct RawSeries<Label, Point> {
    #[serde(default = "List::default")]
    labels: List<Label, ATTRIBUTES_MAX>,
    #[serde(default = "List::default", alias = "samples")]
    points: List<Point, POINTS_MAX>,
}

/// What the values of a series mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A rate: as much for each second of the step.
    PerSecond,
    /// A sum over the step.
    PerStep,
    AsItIs,
}

/// Reads the answer of Tempo to `metrics/query_range`; `query`: TraceQL, which says what was counted.
///
/// Rates and sums of durations of server and client spans become counters named as OpenTelemetry names those of HTTP; any other
/// query is the name of its series. Calls of databases are apart from other calls.
pub fn of_spans(body: &[u8], query: &str) -> Result<Metrics, AnswerError> {
    #[derive(Deserialize)]
    struct RawLabel {
        key: String,
        #[serde(default)]
        value: BTreeMap<String, serde_json::Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawSample {
        timestamp_ms: Integer,
        // A sample of 0 has none.
        value: Option<Decimal>,
    }
    let answer: Answer<RawLabel, RawSample> = from_json("the series", body)?;
    let meaning = meaning_of(query);
    let series = answer.series.0.into_iter().map(|raw| {
        let text = |value: BTreeMap<String, serde_json::Value>| match value.into_values().next() {
            Some(serde_json::Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => ABSENT.to_owned(),
        };
        let labels = raw.labels.0.into_iter().map(|label| (label_name(&label.key), wire::cut(text(label.value))));
        let labels: BTreeMap<String, String> =
            labels.filter(|(_, value)| value != ABSENT && !value.is_empty()).collect();
        let points =
            raw.points.0.iter().map(|sample| (sample.timestamp_ms.0, sample.value.map_or(0.0, |value| value.0)));
        let is_database = labels.keys().any(|name| name.starts_with("db_system"));
        let (name, meaning) = match meaning {
            Some((kind, part, meaning)) => {
                let of = if is_database { "_db" } else { "" };
                (CountedBy::Tempo.series(&format!("{kind}{of}_duration_seconds_{part}")), meaning)
            }
            None => (wire::cut(query.to_owned()), Meaning::AsItIs),
        };
        (name, labels, points.collect(), meaning)
    });
    Ok(metrics(series))
}

/// Says which spans a query is of, which part of a histogram it gives, and as what; none where it is of another form.
fn meaning_of(query: &str) -> Option<(&'static str, &'static str, Meaning)> {
    // A selector may hold such a stroke as well: names of services are matched by one.
    let (selected, counted) = query.rsplit_once('|')?;
    let spaceless = |text: &str| text.split_whitespace().collect::<String>();
    let (selected, counted) = (spaceless(selected), spaceless(counted));
    let kind = ["server", "client"].into_iter().find(|kind| selected.contains(&format!("kind={kind}")))?;
    let function = counted.split("by(").next()?;
    match function {
        "rate()" => Some((kind, "count", Meaning::PerSecond)),
        "sum_over_time(duration)" => Some((kind, "sum", Meaning::PerStep)),
        _ => None,
    }
}

/// `resource.service.name` is a service's name in any metric.
fn label_name(key: &str) -> String {
    let name = key.trim_start_matches("resource.").trim_start_matches("span.").trim_start_matches('.');
    wire::cut(name.replace(['.', ':'], "_"))
}

/// Reads the answer of Pyroscope to `SelectSeries`; `profile_type`: of what it is.
///
/// Times and what was allocated become counters, in seconds and bytes; what is held at a time stays as it is.
pub fn of_profiles(body: &[u8], profile_type: &str) -> Result<Metrics, AnswerError> {
    #[derive(Deserialize)]
    struct RawLabel {
        name: String,
        value: String,
    }
    #[derive(Deserialize)]
    struct RawPoint {
        #[serde(default)]
        timestamp: Integer,
        value: Option<Decimal>,
    }
    let answer: Answer<RawLabel, RawPoint> = from_json("the series", body)?;
    let mut parts = profile_type.split(':');
    let (profile, sample, unit) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let subject = if profile == "memory" { sample.to_owned() } else { format!("{profile}_{sample}") };
    let (end, scale, meaning) = match unit {
        "nanoseconds" => ("_seconds_total", 1e-9, Meaning::PerStep),
        "bytes" if sample.starts_with("alloc") => ("_bytes_total", 1.0, Meaning::PerStep),
        "bytes" => ("_bytes", 1.0, Meaning::AsItIs),
        _ => ("", 1.0, Meaning::AsItIs),
    };
    let name = wire::cut(CountedBy::Pyroscope.series(&format!("{subject}{end}")));
    let series = answer.series.0.into_iter().map(|raw| {
        let labels = raw.labels.0.into_iter().map(|label| (wire::cut(label.name), wire::cut(label.value)));
        let points = raw
            .points
            .0
            .iter()
            .map(|point| (point.timestamp.0, scale * point.value.map_or(0.0, |value| value.0)))
            .collect();
        (name.clone(), labels.collect(), points, meaning)
    });
    Ok(metrics(series))
}

type Steps = (String, BTreeMap<String, String>, Vec<(i64, f64)>, Meaning);

/// `all`: name, labels, steps by their milliseconds, and what their values mean.
fn metrics(all: impl Iterator<Item = Steps>) -> Metrics {
    let mut metrics = Metrics::default();
    for (name, labels, mut steps, meaning) in all {
        steps.sort_by_key(|(at, _)| *at);
        steps.dedup_by_key(|(at, _)| *at);
        let step_ms = steps.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).min().unwrap_or_default();
        let mut sum = 0.0;
        let mut points = Vec::with_capacity(steps.len());
        for (at, value) in steps {
            let held = match meaning {
                Meaning::AsItIs => value,
                Meaning::PerStep => sum + value,
                Meaning::PerSecond => sum + value * step_ms as f64 / 1e3,
            };
            match at.checked_mul(NANOSECONDS_PER_MILLISECOND) {
                Some(at) if held.is_finite() => {
                    sum = held;
                    points.push((Timestamp(at), held));
                }
                _ => metrics.dropped_count += 1,
            }
        }
        metrics.series.push(MetricSeries { name, labels, points, is_counter: None });
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::NANOSECONDS_PER_SECOND;

    fn points(series: &MetricSeries) -> Vec<(i64, f64)> {
        series.points.iter().map(|(at, value)| (at.0 / NANOSECONDS_PER_SECOND, *value)).collect()
    }

    #[test]
    fn sums_and_rates_of_spans_become_counters() {
        // As Tempo 2.8 writes them: a zero has no value, and what has no such attribute is `nil`.
        let body = br#"{"series":[
            {"labels":[{"key":"resource.service.name","value":{"stringValue":"cart"}},{"key":"span.db.system","value":{"stringValue":"nil"}}],
             "samples":[{"timestampMs":"20000","value":1.5},{"timestampMs":"10000"},{"timestampMs":"30000","value":0.5}]},
            {"labels":[{"key":"resource.service.name","value":{"stringValue":"cart"}},{"key":"span.db.system","value":{"stringValue":"postgresql"}}],
             "samples":[{"timestampMs":"10000","value":2}]}],"metrics":{}}"#;
        let found =
            of_spans(body, "{ kind = client } | sum_over_time(duration) by (resource.service.name, span.db.system)")
                .unwrap();
        let names: Vec<&str> = found.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["tempo:client_duration_seconds_sum", "tempo:client_db_duration_seconds_sum"]);
        assert_eq!(found.series[0].labels, BTreeMap::from([("service_name".to_owned(), "cart".to_owned())]));
        assert_eq!(points(&found.series[0]), [(10, 0.0), (20, 1.5), (30, 2.0)]);
        assert!(found.series[0].counts_up() && found.series[0].service() == Some("cart"));

        let found =
            of_spans(body, "{resource.service.name=~\"auth|cart\" && kind=server} | rate() by (resource.service.name)")
                .unwrap();
        assert_eq!(found.series[0].name, "tempo:server_duration_seconds_count");
        assert_eq!(points(&found.series[0]), [(10, 0.0), (20, 15.0), (30, 20.0)]);
        let found = of_spans(body, "{} | rate()").unwrap();
        assert_eq!((found.series[0].name.as_str(), found.series[0].points[1].1), ("{} | rate()", 1.5));
    }

    #[test]
    fn series_of_profiles_are_in_seconds_and_bytes() {
        let body = br#"{"series":[{"labels":[{"name":"service_name","value":"auth"}],
            "points":[{"value":2000000000,"timestamp":"1000"},{"value":"NaN","timestamp":"2000"},{"value":1e9,"timestamp":"3000"}]}]}"#;
        let found = of_profiles(body, "process_cpu:cpu:nanoseconds:cpu:nanoseconds").unwrap();
        assert_eq!(
            (found.series[0].name.as_str(), found.dropped_count),
            ("pyroscope:process_cpu_cpu_seconds_total", 1)
        );
        assert_eq!(points(&found.series[0]), [(1, 2.0), (3, 3.0)]);
        let found = of_profiles(body, "memory:inuse_space:bytes:space:bytes").unwrap();
        assert_eq!(
            (found.series[0].name.as_str(), found.series[0].counts_up()),
            ("pyroscope:inuse_space_bytes", false)
        );
        assert_eq!(points(&found.series[0]), [(1, 2e9), (3, 1e9)]);
        let found = of_profiles(body, "").unwrap();
        assert_eq!(found.series[0].name, "pyroscope:_");
    }

    #[test]
    fn other_answers_are_errors() {
        for body in [&b"7"[..], b"{\"series\":{}}", b"{\"series\":[{\"samples\":[{}]}]}", b"\xff"] {
            assert!(of_spans(body, "{}").is_err(), "{}", body.escape_ascii());
        }
        assert!(of_profiles(b"{\"series\":[{\"labels\":[{}]}]}", "").is_err());
        assert_eq!(of_spans(b"{}", "{}").unwrap(), Metrics::default());
    }
}
