//! Tempo's answers: the spans of a trace, as OTLP's JSON in its several dialects, and the traces that a search found.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::wire::{self, ATTRIBUTES_MAX, AnswerError, Code, Decimal, Integer, from_json, malformed};
use crate::model::telemetry::{Span, SpanKind};
use crate::model::time::Timestamp;

/// Every span holds the name of its service: so many names of full length are still some hundred megabytes.
const SPANS_MAX: usize = 50_000;

/// What Tempo writes in the place of a root that it does not have.
const ROOT_ABSENT: &str = "<root span not yet received>";

/// One trace, as far as the server had it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In the order of their start; none when the server does not know the trace.
    pub spans: Vec<Span>,
    /// Why spans may be missing, when the server said that some are.
    pub partial: Option<String>,
}

/// A trace that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTrace {
    pub trace_id: [u8; 16],
    pub start: Timestamp,
    /// 0 below one millisecond.
    pub duration_ms: u64,
    /// None while the server has no root span.
    pub root_service: Option<String>,
    pub root_name: Option<String>,
    /// Of the first span that the search was for, when it selected the names.
    pub span_name: Option<String>,
    pub services: BTreeMap<String, SpanCounts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    pub spans_count: u64,
    pub errors_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAnswer {
    trace: Option<RawTrace>,
    #[serde(default)]
    status: Code,
    message: Option<String>,
    batches: Option<Vec<RawResourceSpans>>,
    resource_spans: Option<Vec<RawResourceSpans>>,
}

#[derive(Deserialize)]
struct RawTrace {
    #[serde(default, alias = "resourceSpans")]
    batches: Vec<RawResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResourceSpans {
    #[serde(default)]
    resource: RawAttributes,
    #[serde(default, alias = "instrumentationLibrarySpans")]
    scope_spans: Vec<RawScopeSpans>,
}

#[derive(Default, Deserialize)]
struct RawAttributes {
    #[serde(default)]
    attributes: Vec<RawAttribute>,
}

#[derive(Deserialize)]
struct RawScopeSpans {
    #[serde(default)]
    spans: Vec<RawSpan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpan {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Code,
    start_time_unix_nano: Integer,
    #[serde(default)]
    end_time_unix_nano: Integer,
    #[serde(default)]
    attributes: Vec<RawAttribute>,
    #[serde(default)]
    events: Vec<RawEvent>,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
struct RawEvent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    attributes: Vec<RawAttribute>,
}

#[derive(Default, Deserialize)]
struct RawStatus {
    #[serde(default)]
    code: Code,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct RawAttribute {
    key: String,
    #[serde(default)]
    value: AnyValue,
}

/// OTLP's value of any type, as plain JSON; null when no type is set.
#[derive(Default)]
struct AnyValue(Value);

#[derive(Deserialize)]
struct Values<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = AnyValue;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object with a value under the name of its type")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
                let mut value = Value::Null;
                while let Some(key) = map.next_key::<Cow<str>>()? {
                    value = match &*key {
                        "stringValue" | "bytesValue" => Value::String(wire::cut(map.next_value()?)),
                        "boolValue" => Value::Bool(map.next_value()?),
                        "intValue" => map.next_value::<Integer>()?.0.into(),
                        "doubleValue" => {
                            let Decimal(number) = map.next_value()?;
                            // JSON has no infinity.
                            serde_json::Number::from_f64(number)
                                .map_or_else(|| number.to_string().into(), Value::Number)
                        }
                        "arrayValue" => {
                            let list: Values<AnyValue> = map.next_value()?;
                            list.values.into_iter().map(|AnyValue(value)| value).collect()
                        }
                        "kvlistValue" => {
                            let object: Values<RawAttribute> = map.next_value()?;
                            object.values.into_iter().map(|attribute| (attribute.key, attribute.value.0)).collect()
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                }
                Ok(AnyValue(value))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Reads the answer to `api/v2/traces/<id>` or `api/traces/<id>`, or plain OTLP.
///
/// A span's attributes hold as well: the attributes of its exceptions, `otel.status_description` with the message of its
/// status. A span that ends before it starts, or has no end, lasts no time.
pub fn trace(body: &[u8]) -> Result<Trace, AnswerError> {
    let raw: RawAnswer = from_json("the trace", body)?;
    let batches = match (raw.trace, raw.batches, raw.resource_spans) {
        (Some(trace), _, _) => trace.batches,
        (None, Some(batches), _) | (None, None, Some(batches)) => batches,
        (None, None, None) => return Err(malformed("the trace", "`trace`, `batches` or `resourceSpans`")),
    };
    let is_partial = raw.status.is("PARTIAL", 1);
    let partial = is_partial.then(|| wire::cut(raw.message.unwrap_or_default()));
    let mut spans = Vec::new();
    for (batch_index, batch) in batches.into_iter().enumerate() {
        let mut of_resource = batch.resource.attributes.into_iter();
        let service = of_resource.find(|attribute| attribute.key == "service.name");
        let service = wire::cut(service.and_then(|service| service.value.into_text()).unwrap_or_default());
        for raw in batch.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            if spans.len() == SPANS_MAX {
                return Err(AnswerError::TooMany { place: "the trace".to_owned(), limit: SPANS_MAX, what: "spans" });
            }
            let place = || format!("span {} of resource {batch_index}", spans.len());
            let span = span(raw, &service).map_err(|expected| malformed(place(), expected))?;
            spans.push(span);
        }
    }
    spans.sort_by_key(|span| span.start);
    Ok(Trace { spans, partial })
}

/// Reads the answer to `api/search`. Of the spans that a search shows of each trace, only the first one's name is read.
pub fn search(body: &[u8]) -> Result<Vec<FoundTrace>, AnswerError> {
    #[derive(Deserialize)]
    struct RawSearch {
        traces: Vec<RawFound>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawFound {
        #[serde(rename = "traceID", alias = "traceId")]
        trace_id: String,
        root_service_name: Option<String>,
        root_trace_name: Option<String>,
        #[serde(default)]
        start_time_unix_nano: Integer,
        #[serde(default)]
        duration_ms: Integer,
        #[serde(default)]
        service_stats: BTreeMap<String, RawCounts>,
        #[serde(default)]
        span_sets: Vec<RawSpanSet>,
    }
    #[derive(Deserialize)]
    struct RawSpanSet {
        #[serde(default)]
        spans: Vec<RawMatched>,
    }
    #[derive(Deserialize)]
    struct RawMatched {
        name: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawCounts {
        #[serde(default)]
        span_count: Integer,
        #[serde(default)]
        error_count: Integer,
    }
    let raw: RawSearch = from_json("the search", body)?;
    let found = |(index, raw): (usize, RawFound)| {
        let place = || format!("traces[{index}]");
        let trace_id =
            wire::id(&raw.trace_id).ok_or_else(|| malformed(place(), "`traceID` to be at most 32 digits of hex"))?;
        let count = |count: Integer| u64::try_from(count.0).map_err(|_| malformed(place(), "counts of 0 or more"));
        let mut services = BTreeMap::new();
        for (service, counts) in raw.service_stats {
            let counts =
                SpanCounts { spans_count: count(counts.span_count)?, errors_count: count(counts.error_count)? };
            services.insert(wire::cut(service), counts);
        }
        let has_root = raw.root_service_name.as_deref() != Some(ROOT_ABSENT);
        Ok(FoundTrace {
            trace_id,
            start: Timestamp(raw.start_time_unix_nano.0),
            duration_ms: count(raw.duration_ms)?,
            root_service: raw.root_service_name.filter(|_| has_root).map(wire::cut),
            root_name: raw.root_trace_name.filter(|_| has_root).map(wire::cut),
            span_name: raw.span_sets.into_iter().flat_map(|set| set.spans).find_map(|span| span.name).map(wire::cut),
            services,
        })
    };
    raw.traces.into_iter().enumerate().map(found).collect()
}

fn span(raw: RawSpan, service: &str) -> Result<Span, &'static str> {
    let start = Timestamp(raw.start_time_unix_nano.0);
    let parent_id = match raw.parent_span_id.as_str() {
        "" | "0000000000000000" | "AAAAAAAAAAA=" => None,
        id => Some(wire::id(id).ok_or("`parentSpanId` to be 8 bytes in hex or base64")?),
    };
    let mut attributes = BTreeMap::new();
    // First what says why a span failed: it must not fall victim to the bound.
    for event in raw.events.into_iter().filter(|event| event.name == "exception") {
        add_all(event.attributes, &mut attributes);
    }
    if !raw.status.message.is_empty() {
        add("otel.status_description".to_owned(), raw.status.message, &mut attributes);
    }
    add_all(raw.attributes, &mut attributes);
    Ok(Span {
        trace_id: wire::id(&raw.trace_id).ok_or("`traceId` to be 16 bytes in hex or base64")?,
        span_id: wire::id(&raw.span_id).ok_or("`spanId` to be 8 bytes in hex or base64")?,
        parent_id,
        service: service.to_owned(),
        name: wire::cut(raw.name),
        kind: kind(&raw.kind),
        start,
        end: Timestamp(raw.end_time_unix_nano.0).max(start),
        is_error: raw.status.code.is("STATUS_CODE_ERROR", 2),
        attributes,
    })
}

/// Returns a span's kind; one without a kind is taken for internal, as OTLP asks.
fn kind(kind: &Code) -> SpanKind {
    let kinds = [
        (SpanKind::Server, "SPAN_KIND_SERVER", 2),
        (SpanKind::Client, "SPAN_KIND_CLIENT", 3),
        (SpanKind::Producer, "SPAN_KIND_PRODUCER", 4),
        (SpanKind::Consumer, "SPAN_KIND_CONSUMER", 5),
    ];
    let named = kinds.into_iter().find(|(_, name, number)| kind.is(name, *number));
    named.map_or(SpanKind::Internal, |(kind, ..)| kind)
}

fn add_all(raw: Vec<RawAttribute>, attributes: &mut BTreeMap<String, String>) {
    for attribute in raw {
        if let Some(text) = attribute.value.into_text() {
            add(attribute.key, text, attributes);
        }
    }
}

/// Adds an attribute unless there is one of its name: of several exceptions the first counts, which the others followed.
fn add(key: String, text: String, attributes: &mut BTreeMap<String, String>) {
    if attributes.len() < ATTRIBUTES_MAX {
        attributes.entry(wire::cut(key)).or_insert_with(|| wire::cut(text));
    }
}

impl AnyValue {
    /// Returns a text as it is, a number in its digits, bytes in base64, lists and objects as JSON.
    fn into_text(self) -> Option<String> {
        match self.0 {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace as Tempo 2.8 writes it, with every type of value.
    const V2: &str = r#"{"trace":{"resourceSpans":[{"resource":{"attributes":[
        {"key":"service.version","value":{"stringValue":"0.9.0"}},{"key":"service.name","value":{"stringValue":"payments"}}]},
        "scopeSpans":[{"scope":{"name":"demo.http"},"spans":[
        {"traceId":"B6wq5fz/gRWOBiQqnBhADQ==","spanId":"APBnqgupAtI=","parentSpanId":"APBnqgupAtE=","name":"SELECT","kind":"SPAN_KIND_CLIENT",
         "startTimeUnixNano":"1768471200050000000","endTimeUnixNano":"1768471200040000000","status":{}},
        {"traceId":"B6wq5fz/gRWOBiQqnBhADQ==","spanId":"APBnqgupAtE=","name":"POST /charge","kind":"SPAN_KIND_SERVER",
         "startTimeUnixNano":"1768471200040000000","endTimeUnixNano":"1768471200240000000","attributes":[
         {"key":"status","value":{"intValue":"504"}},{"key":"retry","value":{"boolValue":true}},{"key":"amount","value":{"doubleValue":12.5}},
         {"key":"ratio","value":{"doubleValue":"Infinity"}},{"key":"raw","value":{"bytesValue":"AAE="}},{"key":"nothing","value":{}},
         {"key":"hosts","value":{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":7}]}}},{"key":"none","value":{"arrayValue":{}}},
         {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":false}}]}}}],
         "events":[{"name":"retry","attributes":[{"key":"n","value":{"intValue":"1"}}]},{"timeUnixNano":"1768471200230000000","name":"exception","attributes":[
         {"key":"exception.message","value":{"stringValue":"no answer in 150 ms"}}]},
         {"name":"exception","attributes":[{"key":"exception.message","value":{"stringValue":"gave up"}}]}],
         "status":{"message":"card gateway timed out","code":"STATUS_CODE_ERROR"}}]}]}]},"metrics":{"inspectedBytes":"26671"}}"#;

    #[test]
    fn spans_with_every_type_of_value() {
        let found = trace(V2.as_bytes()).unwrap();
        assert_eq!((found.spans.len(), &found.partial), (2, &None));
        let [server, client] = &found.spans[..] else { panic!() };
        assert_eq!(
            (server.service.as_str(), server.name.as_str(), server.kind),
            ("payments", "POST /charge", SpanKind::Server)
        );
        assert_eq!((server.trace_id[..2].to_vec(), server.parent_id, server.is_error), (vec![0x07, 0xac], None, true));
        assert_eq!(server.end.0 - server.start.0, 200_000_000);
        assert_eq!((client.parent_id, client.kind, client.is_error), (Some(server.span_id), SpanKind::Client, false));
        assert_eq!(client.start, client.end);
        let expected = [
            ("amount", "12.5"),
            ("exception.message", "no answer in 150 ms"),
            ("hosts", r#"["a",7]"#),
            ("map", r#"{"k":false}"#),
            ("none", "[]"),
            ("otel.status_description", "card gateway timed out"),
            ("ratio", "inf"),
            ("raw", "AAE="),
            ("retry", "true"),
            ("status", "504"),
        ];
        let attributes: Vec<_> = server.attributes.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        assert_eq!(attributes, expected);
    }

    #[test]
    fn the_dialects_agree() {
        let inner = &V2[r#"{"trace":"#.len()..V2.rfind(r#","metrics""#).unwrap()];
        let expected = trace(V2.as_bytes()).unwrap();
        let v1 = inner.replace("resourceSpans", "batches");
        let old = v1.replace("scopeSpans", "instrumentationLibrarySpans");
        let plain = inner
            .replace("B6wq5fz/gRWOBiQqnBhADQ==", "07ac2ae5fcff81158e06242a9c18400d")
            .replace("APBnqgupAtE=", "00f067aa0ba902d1")
            .replace("APBnqgupAtI=", "00f067aa0ba902d2")
            .replace(r#""SPAN_KIND_SERVER""#, "2")
            .replace(r#""SPAN_KIND_CLIENT""#, "3")
            .replace(r#""STATUS_CODE_ERROR""#, "2")
            .replace(r#""1768471200040000000""#, "1768471200040000000");
        for dialect in [inner, &v1, &old, &plain] {
            assert_eq!(trace(dialect.as_bytes()).unwrap(), expected, "{}", &dialect[..200]);
        }
        let partial = trace(br#"{"trace":{},"status":"PARTIAL","message":"too large"}"#).unwrap();
        assert_eq!((partial.spans.len(), partial.partial.as_deref()), (0, Some("too large")));
        assert_eq!(trace(br#"{"trace":{},"metrics":{}}"#).unwrap(), Trace::default());
    }

    #[test]
    fn traces_that_a_search_found() {
        let body = br#"{"traces":[
            {"traceID":"7ac2ae5fcff81158e06242a9c18400d","rootServiceName":"cron","rootTraceName":"tick","startTimeUnixNano":"1768471203000000000",
             "spanSet":{"spans":[{"spanID":"0d1fa2fb930651d0","durationNanos":"400000"}],"matched":1},"serviceStats":{"cron":{"spanCount":1}}},
            {"traceID":"8579ef4d41c4cd2f4c00a962f20bf1b8","rootServiceName":"\u003croot span not yet received\u003e","startTimeUnixNano":"1795451669969597330",
             "durationMs":260,"serviceStats":{"gateway":{"spanCount":3,"errorCount":2}}}],"metrics":{"inspectedTraces":3}}"#;
        let found = search(body).unwrap();
        assert_eq!(
            (found[0].trace_id[0], found[0].duration_ms, found[0].root_service.as_deref()),
            (0x07, 0, Some("cron"))
        );
        assert_eq!((found[1].duration_ms, &found[1].root_service, &found[1].root_name), (260, &None, &None));
        assert_eq!(found[1].start, Timestamp(1_795_451_669_969_597_330));
        assert_eq!(found[1].services["gateway"], SpanCounts { spans_count: 3, errors_count: 2 });
        assert!(search(br#"{"traces":[]}"#).unwrap().is_empty());
    }

    #[test]
    fn hostile_answers() {
        let span = |fields: &str| format!(r#"{{"batches":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
        let deep = r#"{"arrayValue":{"values":["#.repeat(50_000);
        let hostile = [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"trace":[1]}"#.to_owned(),
            r#"{"batches":[{"scopeSpans":1}]}"#.to_owned(),
            span(r#""traceId":"1","spanId":"1""#),
            span(r#""traceId":"00","spanId":"1","startTimeUnixNano":1"#),
            span(r#""traceId":"1","spanId":"","startTimeUnixNano":1"#),
            span(r#""traceId":"1","spanId":"00f067aa0ba902b7ff","startTimeUnixNano":1"#),
            span(r#""traceId":"1","spanId":"1","parentSpanId":"!","startTimeUnixNano":1"#),
            span(r#""traceId":"1","spanId":"1","startTimeUnixNano":"18446744073709551615""#),
            span(r#""traceId":"1","spanId":"1","startTimeUnixNano":1.5"#),
            span(&format!(
                r#""traceId":"1","spanId":"1","startTimeUnixNano":1,"attributes":[{{"key":"a","value":{deep}"#
            )),
            span(&format!(
                r#""traceId":"1","spanId":"1","startTimeUnixNano":1}}{}"#,
                r#",{"traceId":"1","spanId":"1","startTimeUnixNano":1"#.repeat(SPANS_MAX) + ""
            )),
        ];
        for body in &hostile {
            let error = trace(body.as_bytes()).expect_err(&body[..body.len().min(120)]);
            assert!(error.to_string().len() < 300, "{error}");
        }
        assert_eq!(trace(hostile[5].as_bytes()).unwrap_err().to_string(), "failed to parse the trace as JSON");
        let expected = "failed to read span 0 of resource 0: expected `traceId` to be 16 bytes in hex or base64";
        assert_eq!(trace(hostile[6].as_bytes()).unwrap_err().to_string(), expected);
        for body in [
            "{}",
            r#"{"traces":[{}]}"#,
            r#"{"traces":[{"traceID":"x"}]}"#,
            r#"{"traces":[{"traceID":"1","durationMs":-1}]}"#,
        ] {
            search(body.as_bytes()).expect_err(body);
        }
    }

    #[test]
    fn attributes_are_bounded() {
        let many: Vec<_> = (0..1000)
            .map(|n| format!(r#"{{"key":"k{n}","value":{{"stringValue":"{}"}}}}"#, "x".repeat(5000)))
            .collect();
        let body = format!(
            r#"{{"batches":[{{"scopeSpans":[{{"spans":[{{"traceId":"1","spanId":"1","startTimeUnixNano":1,"attributes":[{}],
            "status":{{"code":2,"message":"why"}}}}]}}]}}]}}"#,
            many.join(",")
        );
        let span = trace(body.as_bytes()).unwrap().spans.remove(0);
        assert_eq!(
            (span.attributes.len(), span.attributes["otel.status_description"].as_str()),
            (ATTRIBUTES_MAX, "why")
        );
        assert!(span.attributes.values().all(|text| text.len() <= wire::TEXT_BYTES_MAX));
    }
}
