//! Series that Tempo and Pyroscope count over all the spans and profiles that they hold, as a metrics server would hold them.
//!
//! Both answer with a value for each step. Here a sum of steps becomes a counter, so that whatever reads counters reads these.
//! Names begin with the server and a colon, as those of recording rules do: `tempo:server_duration_seconds_sum`,
//! `pyroscope:mutex_delay_seconds_total`.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut all: Vec<Steps> = all.collect();
    for (_, _, steps, _) in &mut all {
        steps.sort_by_key(|(at, _)| *at);
        steps.dedup_by_key(|(at, _)| *at);
    }
    let times: BTreeSet<i64> = all.iter().flat_map(|(_, _, steps, _)| steps.iter().map(|(at, _)| *at)).collect();
    let times: Vec<i64> = times.into_iter().collect();
    for (name, labels, mut steps, meaning) in all {
        if meaning == Meaning::PerStep {
            steps = with_empty_steps(&steps, &times);
        }
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

/// Returns the steps of a sum with zeros around those that the answer has left out: Pyroscope does where there was nothing to
/// add. Read without them, what was waited for in one step would have begun with the last wait before it.
///
/// `times`: of all steps of the answer, ascending, in milliseconds. A program that sends its profiles seldom has its steps far
/// from each other: only a gap that is wider than its usual one is empty.
fn with_empty_steps(steps: &[(i64, f64)], times: &[i64]) -> Vec<(i64, f64)> {
    let distances = |times: &mut dyn Iterator<Item = (i64, i64)>| -> Vec<i64> {
        times.map(|(before, after)| after.saturating_sub(before)).collect()
    };
    let mut of_series = distances(&mut steps.windows(2).map(|pair| (pair[0].0, pair[1].0)));
    of_series.sort_unstable();
    let of_answer = distances(&mut times.windows(2).map(|pair| (pair[0], pair[1]))).into_iter().min();
    let usual = of_series.get(of_series.len() / 2).copied().or(of_answer);
    let (Some(usual), [first, .., last]) = (usual, times) else { return steps.to_vec() };
    let is_gap = |from: i64, until: i64| until.saturating_sub(from) > usual.saturating_add(usual / 2);
    let mut filled: Vec<(i64, f64)> = Vec::with_capacity(steps.len() + 4);
    for (at, value) in steps {
        let empty = at.saturating_sub(usual).max(*first);
        match filled.last() {
            Some((before, _)) if is_gap(*before, *at) => filled.push((empty, 0.0)),
            None if first < at => filled.extend([(*first, 0.0), (empty, 0.0)]),
            _ => {}
        }
        filled.push((*at, *value));
    }
    if let Some((before, _)) = filled.last().filter(|(before, _)| is_gap(*before, *last)) {
        filled.extend([(before.saturating_add(usual), 0.0), (*last, 0.0)]);
    }
    filled.dedup_by_key(|(at, _)| *at);
    filled
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

    /// As Pyroscope answers of a lock that is held in some steps only, beside a program that has something in each.
    #[test]
    fn steps_that_are_left_out_have_nothing() {
        let points_of = |steps: &str| {
            let body = format!(
                r#"{{"series":[{{"labels":[],"points":[{{"timestamp":"0"}},{{"timestamp":"15000"}},{{"timestamp":"90000"}}]}},
                {{"labels":[],"points":[{steps}]}}]}}"#
            );
            let found = of_profiles(body.as_bytes(), "mutex:delay:nanoseconds:contentions:count").unwrap();
            points(&found.series[1])
        };
        let all = |steps: &[(i64, f64)]| {
            let step = |(at, value): &(i64, f64)| format!(r#"{{"timestamp":"{at}000","value":{value}e9}}"#);
            points_of(&steps.iter().map(step).collect::<Vec<String>>().join(","))
        };
        assert_eq!(
            all(&[(15, 0.0), (30, 1.0), (60, 4.0), (75, 4.0)]),
            [(0, 0.0), (15, 0.0), (30, 1.0), (45, 1.0), (60, 5.0), (75, 9.0)]
        );
        assert_eq!(
            all(&[(30, 1.0), (45, 1.0), (60, 1.0)]),
            [(0, 0.0), (15, 0.0), (30, 1.0), (45, 2.0), (60, 3.0), (75, 3.0), (90, 3.0)]
        );
        // Sent once a minute: nothing is left out.
        assert_eq!(all(&[(0, 0.0), (60, 6.0)]), [(0, 0.0), (60, 6.0)]);
        // A single one is as long as the answer's.
        assert_eq!(
            points_of(r#"{"timestamp":"45000","value":1e9}"#),
            [(0, 0.0), (30, 0.0), (45, 1.0), (60, 1.0), (90, 1.0)]
        );
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
