//! Prometheus' answers: series of a query, exemplars, values of a label; and what Loki borrows of their form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{self, AnswerError, Decimal, List, from_json, malformed, time_of_seconds};
use crate::model::telemetry::MetricSeries;
use crate::model::time::Timestamp;

/// More series than anyone looks at; each takes half a kilobyte before its first point.
const SERIES_MAX: usize = 100_000;

/// The series of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Without a name where the query computed something and so lost `__name__`.
    pub series: Vec<MetricSeries>,
    /// Points that were NaN or infinite.
    pub dropped_count: u64,
    /// Such as that only a part of the stores answered.
    pub warnings: Vec<String>,
}

/// The exemplars of one series: requests that were measured and traced.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarSeries {
    pub name: String,
    /// Without `__name__`.
    pub labels: BTreeMap<String, String>,
    pub exemplars: Vec<Exemplar>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    pub trace_id: [u8; 16],
    /// In the unit of its series.
    pub value: f64,
    pub at: Timestamp,
}

/// The exemplars of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exemplars {
    pub series: Vec<ExemplarSeries>,
    /// Exemplars without a trace id or with a value that is not finite.
    pub dropped_count: u64,
}

/// Reads the answer to `query` or `query_range`: a matrix or a vector.
///
/// A native histogram becomes two series, `…_count` and `…_sum`, as its classic form has them; its buckets are left out.
pub fn metrics(body: &[u8]) -> Result<Metrics, AnswerError> {
    let envelope = envelope(body)?;
    let warnings = envelope.warnings.into_iter().flatten().map(|warning| wire::cut(warning.into_owned())).collect();
    let data: QueryData = from_json("`data`", envelope.data.get().as_bytes())?;
    Ok(Metrics { warnings, ..data.metrics()? })
}

/// Reads the answer to `query_exemplars`.
pub fn exemplars(body: &[u8]) -> Result<Exemplars, AnswerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawSeries {
        #[serde(default)]
        series_labels: BTreeMap<String, String>,
        exemplars: Vec<RawExemplar>,
    }
    #[derive(Deserialize)]
    struct RawExemplar {
        #[serde(default)]
        labels: BTreeMap<String, String>,
        value: Decimal,
        timestamp: f64,
    }
    let raw: List<RawSeries, SERIES_MAX> = from_json("`data`", envelope(body)?.data.get().as_bytes())?;
    let mut found = Exemplars::default();
    for (series_index, raw) in raw.0.into_iter().enumerate() {
        let (name, labels) = name_and_labels(raw.series_labels);
        let mut exemplars = Vec::with_capacity(raw.exemplars.len());
        for exemplar in raw.exemplars {
            let at = time_of_seconds(exemplar.timestamp)
                .ok_or_else(|| malformed(format!("data[{series_index}].exemplars"), "a time within 1678 to 2261"))?;
            match wire::trace_id_in(&exemplar.labels) {
                Some(trace_id) if exemplar.value.0.is_finite() => {
                    exemplars.push(Exemplar { trace_id, value: exemplar.value.0, at });
                }
                _ => found.dropped_count += 1,
            }
        }
        found.series.push(ExemplarSeries { name, labels, exemplars });
    }
    Ok(found)
}

/// Reads the answer to `label/<name>/values`, `labels` or any other that is a list of texts.
pub fn label_values(body: &[u8]) -> Result<Vec<String>, AnswerError> {
    let values: Vec<String> = from_json("`data`", envelope(body)?.data.get().as_bytes())?;
    Ok(values.into_iter().map(wire::cut).collect())
}

/// Reads the answer to `metadata`: of each metric whether it counts up; none for types such as `unknown`.
pub fn counters(body: &[u8]) -> Result<BTreeMap<String, bool>, AnswerError> {
    #[derive(Deserialize)]
    struct RawMetadata<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let raw: BTreeMap<String, Vec<RawMetadata>> = from_json("`data`", envelope(body)?.data.get().as_bytes())?;
    let counts_up = |kinds: &[RawMetadata]| match &*kinds.first()?.kind {
        "counter" => Some(true),
        "gauge" | "info" | "stateset" => Some(false),
        _ => None,
    };
    let known = raw.into_iter().filter_map(|(name, kinds)| Some((name, counts_up(&kinds)?)));
    Ok(known.take(SERIES_MAX).collect())
}

/// Reads the answer to `series`: the labels of each, with `__name__`.
pub fn label_sets(body: &[u8]) -> Result<Vec<BTreeMap<String, String>>, AnswerError> {
    let sets: List<BTreeMap<String, String>, SERIES_MAX> = from_json("`data`", envelope(body)?.data.get().as_bytes())?;
    Ok(sets.0.into_iter().map(wire::cut_all).collect())
}

pub(super) struct Envelope<'a> {
    pub data: &'a RawValue,
    warnings: Option<Vec<Cow<'a, str>>>,
}

/// Takes an answer out of its envelope, which Loki has as well.
pub(super) fn envelope(body: &[u8]) -> Result<Envelope<'_>, AnswerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw<'a> {
        #[serde(borrow)]
        status: Cow<'a, str>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        error: Option<String>,
        error_type: Option<String>,
        #[serde(borrow)]
        warnings: Option<Vec<Cow<'a, str>>>,
    }
    let raw: Raw = from_json("the answer", body)?;
    if raw.status != "success" {
        let message = match (raw.error_type, raw.error) {
            (Some(kind), Some(error)) => format!("{kind}: {error}"),
            (kind, error) => error.or(kind).unwrap_or_else(|| "it gave no reason".to_owned()),
        };
        return Err(AnswerError::Refused { message: wire::cut(message) });
    }
    let data = raw.data.ok_or_else(|| malformed("the answer", "`data` beside `status`"))?;
    Ok(Envelope { data, warnings: raw.warnings })
}

/// What stands in `data` of a matrix or vector.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryData {
    result_type: String,
    result: List<RawSample, SERIES_MAX>,
}

#[derive(Deserialize)]
struct RawSample {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, Decimal)>,
    value: Option<(f64, Decimal)>,
    #[serde(default)]
    histograms: Vec<(f64, RawHistogram)>,
    histogram: Option<(f64, RawHistogram)>,
}

#[derive(Deserialize)]
struct RawHistogram {
    count: Decimal,
    sum: Decimal,
}

impl QueryData {
    pub(super) fn metrics(self) -> Result<Metrics, AnswerError> {
        if !matches!(self.result_type.as_str(), "matrix" | "vector") {
            return Err(malformed("data.resultType", "`matrix` or `vector`"));
        }
        let mut metrics = Metrics::default();
        for (series_index, sample) in self.result.0.into_iter().enumerate() {
            let place = || format!("data.result[{series_index}]");
            let (name, labels) = name_and_labels(sample.metric);
            let values = || sample.values.iter().chain(&sample.value).map(|(at, value)| (*at, value.0));
            let histograms = || sample.histograms.iter().chain(&sample.histogram);
            let counts = histograms().map(|(at, histogram)| (*at, histogram.count.0));
            let sums = histograms().map(|(at, histogram)| (*at, histogram.sum.0));
            let has_histograms = histograms().next().is_some();
            if has_histograms {
                metrics.push(format!("{name}_count"), &labels, counts, place)?;
                metrics.push(format!("{name}_sum"), &labels, sums, place)?;
            }
            if !has_histograms || values().next().is_some() {
                metrics.push(name, &labels, values(), place)?;
            }
        }
        Ok(metrics)
    }
}

impl Metrics {
    fn push(
        &mut self,
        name: String,
        labels: &BTreeMap<String, String>,
        points: impl Iterator<Item = (f64, f64)>,
        place: impl Fn() -> String,
    ) -> Result<(), AnswerError> {
        let mut held = Vec::with_capacity(points.size_hint().0);
        for (seconds, value) in points {
            let at = time_of_seconds(seconds).ok_or_else(|| malformed(place(), "times within 1678 to 2261"))?;
            if value.is_finite() {
                held.push((at, value));
            } else {
                self.dropped_count += 1;
            }
        }
        if !held.is_sorted_by_key(|(at, _)| *at) {
            held.sort_by_key(|(at, _)| *at);
        }
        self.series.push(MetricSeries { name, labels: labels.clone(), points: held, is_counter: None });
        Ok(())
    }
}

fn name_and_labels(mut labels: BTreeMap<String, String>) -> (String, BTreeMap<String, String>) {
    let name = labels.remove("__name__").map(wire::cut).unwrap_or_default();
    (name, wire::cut_all(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp(milliseconds * 1_000_000)
    }

    #[test]
    fn matrix_without_what_is_not_finite() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up","job":"shop"},"values":[[1795451624.825,"1"],[1795451625.825,"NaN"],[1795451626.825,"+Inf"],[1795451627,"1e-05"]]},
            {"metric":{},"values":[[1795451625,"2"],[1795451624,"-Inf"],[1795451624,"3"]]}]},"warnings":["one store is away"]}"#;
        let found = metrics(body).unwrap();
        assert_eq!((found.dropped_count, found.warnings), (3, vec!["one store is away".to_owned()]));
        let up = &found.series[0];
        assert_eq!((up.name.as_str(), up.labels["job"].as_str(), up.labels.len()), ("up", "shop", 1));
        assert_eq!(up.points, [(at(1_795_451_624_825), 1.0), (at(1_795_451_627_000), 1e-5)]);
        assert_eq!(found.series[1].name, "");
        assert_eq!(found.series[1].points, [(at(1_795_451_624_000), 3.0), (at(1_795_451_625_000), 2.0)]);
    }

    #[test]
    fn vector_and_native_histograms() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"h"},"histogram":[1,{"count":"5","sum":"1.25","buckets":[[0,"1","2","5"]]}]},
            {"metric":{"__name__":"g"},"value":[1,"7"]}]}}"#;
        let found = metrics(body).unwrap().series;
        let found: Vec<_> = found.iter().map(|series| (series.name.as_str(), series.points[0].1)).collect();
        assert_eq!(found, [("h_count", 5.0), ("h_sum", 1.25), ("g", 7.0)]);
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"h"},"histograms":[[1,{"count":"5","sum":"NaN"}],[2,{"count":"6","sum":"2"}]]}]}}"#;
        let found = metrics(body).unwrap();
        assert_eq!((found.series[0].points.len(), found.series[1].points.len(), found.dropped_count), (2, 1, 1));
    }

    #[test]
    fn exemplars_with_their_traces() {
        let body = br#"{"status":"success","data":[{"seriesLabels":{"__name__":"h","service":"gateway"},"exemplars":[
            {"labels":{"trace_id":"d5a0e4539bd8d836d260430269e9d97b"},"value":"0.004233794","timestamp":1795451624.940},
            {"labels":{"traceID":"7ac2ae5fcff81158e06242a9c18400d"},"value":"6","timestamp":1795451624},
            {"labels":{},"value":"6","timestamp":1795451624},
            {"labels":{"trace_id":"1"},"value":"NaN","timestamp":1795451624}]}]}"#;
        let found = exemplars(body).unwrap();
        assert_eq!((found.dropped_count, found.series.len()), (2, 1));
        let series = &found.series[0];
        assert_eq!((series.name.as_str(), series.labels["service"].as_str()), ("h", "gateway"));
        assert_eq!(series.exemplars.len(), 2);
        assert_eq!((series.exemplars[0].value, series.exemplars[0].at), (0.004233794, at(1_795_451_624_940)));
        assert_eq!(series.exemplars[1].trace_id[..2], [0x07, 0xac]);
    }

    #[test]
    fn values_of_a_label() {
        let found = label_values(br#"{"status":"success","data":["go_goroutines","up"]}"#).unwrap();
        assert_eq!(found, ["go_goroutines", "up"]);
    }

    #[test]
    fn refusals_and_hostile_answers() {
        let refused = br#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#;
        let message = r#"the server refused: bad_data: invalid parameter "query""#;
        assert_eq!(metrics(refused).unwrap_err().to_string(), message);
        assert_eq!(exemplars(refused).unwrap_err().to_string(), message);
        let deep = format!(r#"{{"status":"success","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let series = |values: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":{values}}}]}}}}"#
            )
        };
        let hostile = [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"status":"success"}"#.to_owned(),
            r#"{"status":"success","data":null}"#.to_owned(),
            r#"{"status":"error"}"#.to_owned(),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.to_owned(),
            r#"{"status":"success","data":{"resultType":"scalar","result":[]}}"#.to_owned(),
            deep,
            series(r#"[[1,"one"]]"#),
            series(r#"[[1]]"#),
            series(r#"[[1,"1",2]]"#),
            series(r#"[["1","1"]]"#),
            series(r#"[[1e300,"1"]]"#),
            series(r#"[[1,null]]"#),
            series(r#"[[1,"1"]"#),
        ];
        for body in &hostile {
            let error = metrics(body.as_bytes()).expect_err(&body[..body.len().min(80)]);
            assert!(error.to_string().len() < 300, "{error}");
            exemplars(body.as_bytes()).unwrap_err();
            label_values(body.as_bytes()).unwrap_err();
        }
    }
}
