//! Loki's answers: log lines with the labels of their stream, or series that a query counted from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::prometheus::{Metrics, QueryData, envelope};
use super::wire::{self, ATTRIBUTES_MAX, AnswerError, Decimal, Integer, List, from_json, time_of_seconds};
use crate::model::telemetry::{BLANK, LogLine, LogPattern, SERVICE_LABELS};
use crate::model::time::Timestamp;

/// Loki itself refuses to send more than 5000 lines unless it is told otherwise.
const LINES_MAX: usize = 100_000;

/// Every line holds its stream's labels: with so many bytes of them an answer still fits into memory.
const LABEL_BYTES_MAX: usize = 256 << 20;

const LEVEL_LABELS: [&str; 3] = ["level", "detected_level", "severity_text"];

#[derive(Debug, Clone, PartialEq)]
pub enum LogAnswer {
    /// In the order of time.
    Lines(Vec<LogLine>),
    Metrics(Metrics),
}

#[derive(Deserialize)]
struct RawStream {
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: List<RawEntry, LINES_MAX>,
}

struct RawEntry {
    at: Timestamp,
    line: String,
    metadata: BTreeMap<String, String>,
}

/// Reads the answer to `query` or `query_range`: streams, a matrix or a vector.
///
/// A line's labels are those of its stream and its structured metadata. Its message is the line as it came. Its level is in
/// lower case. Where no label has a trace id, the first one that is written in the line counts.
pub fn logs(body: &[u8]) -> Result<LogAnswer, AnswerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        result_type: String,
        #[serde(borrow)]
        result: &'a RawValue,
    }
    let data = envelope(body)?.data.get().as_bytes();
    let Data { result_type, result } = from_json("`data`", data)?;
    if result_type != "streams" {
        let data: QueryData = from_json("`data`", data)?;
        return data.metrics().map(LogAnswer::Metrics);
    }
    let streams: List<RawStream, LINES_MAX> = from_json("`data.result`", result.get().as_bytes())?;
    let mut lines = Vec::new();
    let mut label_bytes_count = 0;
    for (stream_index, raw) in streams.0.into_iter().enumerate() {
        let too_many =
            |limit, what| AnswerError::TooMany { place: format!("data.result[{stream_index}]"), limit, what };
        let stream =
            raw.stream.into_iter().take(ATTRIBUTES_MAX).map(|(name, value)| (wire::cut(name), wire::cut(value)));
        let stream: BTreeMap<_, _> = stream.collect();
        let stream_bytes = stream.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        label_bytes_count += stream_bytes * raw.values.0.len();
        if label_bytes_count > LABEL_BYTES_MAX {
            return Err(too_many(LABEL_BYTES_MAX, "bytes of labels on all lines"));
        }
        if lines.len() + raw.values.0.len() > LINES_MAX {
            return Err(too_many(LINES_MAX, "lines"));
        }
        lines.extend(raw.values.0.into_iter().map(|entry| line(entry, &stream)));
    }
    lines.sort_by_key(|line| line.at);
    Ok(LogAnswer::Lines(lines))
}

/// Reads the answer to `patterns`, of one service's lines; `<_>` stands for values.
pub fn patterns(body: &[u8], service: &str) -> Result<Vec<LogPattern>, AnswerError> {
    #[derive(Deserialize)]
    struct RawPattern {
        pattern: String,
        level: Option<String>,
        #[serde(default)]
        samples: List<(f64, Decimal), LINES_MAX>,
    }
    let raw: List<RawPattern, LINES_MAX> = from_json("`data`", envelope(body)?.data.get().as_bytes())?;
    let patterns = raw.0.into_iter().map(|raw| {
        let count = |(at, count): &(f64, Decimal)| {
            Some((time_of_seconds(*at)?, count.0)).filter(|(_, count)| *count > 0.0 && count.is_finite())
        };
        let mut counts: Vec<(Timestamp, f64)> = raw.samples.0.iter().filter_map(count).collect();
        counts.sort_by_key(|(at, _)| *at);
        counts.dedup_by_key(|(at, _)| *at);
        let level =
            raw.level.map(|level| level.to_ascii_lowercase()).filter(|level| !level.is_empty() && level != "unknown");
        LogPattern { service: service.to_owned(), level, text: wire::cut(raw.pattern.replace("<_>", BLANK)), counts }
    });
    Ok(patterns.collect())
}

fn line(entry: RawEntry, stream: &BTreeMap<String, String>) -> LogLine {
    let mut labels = stream.clone();
    for (name, value) in entry.metadata {
        if labels.len() == ATTRIBUTES_MAX {
            break;
        }
        labels.entry(wire::cut(name)).or_insert_with(|| wire::cut(value));
    }
    // Loki itself writes `service_name`, and `unknown_service` into it when it found none.
    let service = SERVICE_LABELS.iter().filter_map(|name| labels.get(*name));
    let service = service.filter(|name| !name.is_empty() && !name.starts_with("unknown_service"));
    let level = LEVEL_LABELS.iter().filter_map(|name| labels.get(*name));
    let level = level.map(|level| level.to_ascii_lowercase()).find(|level| !level.is_empty() && level != "unknown");
    LogLine {
        at: entry.at,
        service: service.into_iter().next().cloned().unwrap_or_default(),
        level,
        trace_id: wire::trace_id_in(&labels).or_else(|| trace_id_in_text(&entry.line)),
        message: wire::cut(entry.line),
        labels,
    }
}

/// Finds `trace_id=<32 digits>` in a line, in any spelling of the key, between JSON's quotes or in a format of its own.
fn trace_id_in_text(text: &str) -> Option<[u8; 16]> {
    let keys = memchr::memmem::find_iter(text.as_bytes(), "race").map(|at| &text.as_bytes()[at + "race".len()..]);
    let values = keys.filter_map(|rest| {
        let rest = ["_id", "Id", "ID", "id"].iter().find_map(|end| rest.strip_prefix(end.as_bytes()))?;
        let marks_count = rest.iter().take(8).take_while(|byte| b"\\\"'=: ".contains(byte)).count();
        let rest = if marks_count > 0 { &rest[marks_count..] } else { return None };
        let digits_count = rest.iter().take(33).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = if digits_count == 32 { std::str::from_utf8(&rest[..32]).ok()? } else { return None };
        wire::id(digits)
    });
    values.into_iter().next()
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RawEntry;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a list of nanoseconds, a line and perhaps metadata")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<RawEntry, A::Error> {
                let Integer(at) = parts.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let line = parts.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let metadata: Option<Metadata> = parts.next_element()?;
                while parts.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEntry {
                    at: Timestamp(at),
                    line,
                    metadata: metadata.map(|Metadata(held)| held).unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// Metadata of one line: flat, or in groups (`structuredMetadata`, `parsed`) when the question asked for categories.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Member {
            Value(String),
            Group(BTreeMap<String, String>),
        }
        let mut flat = BTreeMap::new();
        for (name, member) in BTreeMap::<String, Member>::deserialize(deserializer)? {
            match member {
                Member::Value(value) => drop(flat.insert(name, value)),
                Member::Group(group) => flat.extend(group),
            }
        }
        Ok(Metadata(flat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(streams: &str) -> Vec<LogLine> {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"streams","result":{streams},"stats":{{}}}}}}"#);
        match logs(body.as_bytes()).unwrap() {
            LogAnswer::Lines(lines) => lines,
            LogAnswer::Metrics(metrics) => panic!("{metrics:?}"),
        }
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn lines_of_all_streams_in_the_order_of_time() {
        let found = lines(
            r#"[{"stream":{"detected_level":"error","level":"error","namespace":"shop","service_name":"checkout","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"},
                 "values":[["1768471225000000000","level=error msg=\"charge failed\""]]},
                {"stream":{"service_name":"unknown_service","app":"cart","detected_level":"WARN"},
                 "values":[["1768471224000000000","slow",{"structuredMetadata":{"traceID":"7ac2ae5fcff81158e06242a9c18400d"},"parsed":{"order":"7"}}],
                           [1768471223000000000,"second",{"pod":"a-1"}]]},
                {"stream":{},"values":[]},{"stream":{"detected_level":"unknown"},"values":[["1","first"]]}]"#,
        );
        let seen: Vec<_> =
            found.iter().map(|line| (line.message.as_str(), line.service.as_str(), line.level.as_deref())).collect();
        let expected = [
            ("first", "", None),
            ("second", "cart", Some("warn")),
            ("slow", "cart", Some("warn")),
            (r#"level=error msg="charge failed""#, "checkout", Some("error")),
        ];
        assert_eq!(seen, expected);
        assert_eq!((found[1].labels["pod"].as_str(), found[2].labels["order"].as_str()), ("a-1", "7"));
        assert_eq!((found[0].trace_id, found[3].trace_id), (None, wire::id(TRACE)));
        assert_eq!(found[2].trace_id.unwrap()[0], 0x07);
        assert_eq!(found[3].at, Timestamp(1_768_471_225_000_000_000));
    }

    #[test]
    fn trace_ids_within_lines() {
        for (text, is_found) in [
            (r#"{"message":"m","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"060f576e22bc9957"}"#, true),
            (r#"{\"traceId\": \"4bf92f3577b34da6a3ce929d0e0e4736\"}"#, true),
            ("trace failed, traceID=4bf92f3577b34da6a3ce929d0e0e4736 order=1", true),
            ("TraceId: 4bf92f3577b34da6a3ce929d0e0e4736", true),
            ("trace_id=4bf92f3577b34da6a3ce929d0e0e4736a", false),
            ("trace_id=4bf9é", false),
            ("trace_id4bf92f3577b34da6a3ce929d0e0e4736", false),
            ("trace_id=00000000000000000000000000000000", false),
            ("trace_id", false),
            ("", false),
        ] {
            assert_eq!(trace_id_in_text(text), wire::id(TRACE).filter(|_| is_found), "{text}");
        }
    }

    #[test]
    fn series_that_a_query_counted() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"level":"info","service":"auth"},"values":[[1795451624.825,"5"],[1795451629.825,"6"]]}],"stats":{}}}"#;
        let LogAnswer::Metrics(found) = logs(body).unwrap() else { panic!() };
        assert_eq!((found.series[0].labels["service"].as_str(), found.series[0].points.len()), ("auth", 2));
    }

    #[test]
    fn hostile_answers() {
        let streams =
            |result: &str| format!(r#"{{"status":"success","data":{{"resultType":"streams","result":{result}}}}}"#);
        let repeated = |count: usize| vec![r#"["1","x"]"#; count].join(",");
        let heavy: Vec<_> = (0..64).map(|n| format!(r#""k{n}":"{}""#, "v".repeat(4000))).collect();
        let hostile = [
            String::new(),
            "parse error at line 1, col 15".to_owned(),
            r#"{"status":"success","data":{"resultType":"streams"}}"#.to_owned(),
            r#"{"status":"success","data":{"resultType":"tables","result":[]}}"#.to_owned(),
            r#"{"status":"error","error":"limit"}"#.to_owned(),
            streams("{}"),
            streams("[1]"),
            streams(r#"[{"stream":{"a":1}}]"#),
            streams(r#"[{"stream":{},"values":[[]]}]"#),
            streams(r#"[{"stream":{},"values":[["1"]]}]"#),
            streams(r#"[{"stream":{},"values":[["x","line"]]}]"#),
            streams(r#"[{"stream":{},"values":[["99999999999999999999","line"]]}]"#),
            streams(r#"[{"stream":{},"values":[["1","line",{"a":{"b":{}}}]]}]"#),
            streams(&format!(r#"[{{"stream":{{}},"values":[{}]}}]"#, repeated(LINES_MAX + 1))),
            streams(&format!(r#"[{{"stream":{{{}}},"values":[{}]}}]"#, heavy.join(","), repeated(2000))),
            streams(&"[".repeat(100_000)),
        ];
        for body in &hostile {
            let error = logs(body.as_bytes()).expect_err(&body[..body.len().min(120)]);
            assert!(error.to_string().len() < 300, "{error}");
        }
        assert!(logs(hostile[14].as_bytes()).unwrap_err().to_string().contains("bytes of labels"));
    }
}
