//! What the servers said while a run went on: metrics, spans, profiles and log lines, as plain values.
//!
//! All of it came from outside: names and texts are cut to a bound where they are decoded, and escaped where they are shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// One time series of a metrics server, as its answer held it: a counter is still a counter.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSeries {
    pub name: String,
    /// Without `__name__`.
    pub labels: BTreeMap<String, String>,
    /// In the order of time; finite values only.
    pub points: Vec<(Timestamp, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    Server,
    Client,
    Producer,
    Consumer,
    Internal,
}

/// One operation of one service within a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// None for the root; of k6's own root often only the id is known.
    pub parent_id: Option<[u8; 8]>,
    pub service: String,
    /// The operation, such as `GET /cart/{id}`.
    pub name: String,
    pub kind: SpanKind,
    pub start: Timestamp,
    pub end: Timestamp,
    pub is_error: bool,
    /// Of the span, its status and its exceptions: `http.route`, `db.query.text`, `exception.message`.
    pub attributes: BTreeMap<String, String>,
}

/// A profile of one service over a window, as stacks of functions.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub service: String,
    /// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
    pub profile_type: String,
    pub from: Timestamp,
    pub until: Timestamp,
    pub functions: Vec<String>,
    /// Each stack from the root on, as indices into `functions`, with what was spent in its last one itself.
    pub stacks: Vec<(Vec<u32>, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    pub at: Timestamp,
    pub service: String,
    pub level: Option<String>,
    pub message: String,
    pub trace_id: Option<[u8; 16]>,
    pub labels: BTreeMap<String, String>,
}

/// A question that got no answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unavailable {
    /// `prometheus`, `tempo`, `pyroscope` or `loki`.
    pub backend: String,
    pub reason: String,
}

/// What all servers said of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    pub metrics: Vec<MetricSeries>,
    pub spans: Vec<Span>,
    pub profiles: Vec<Profile>,
    pub logs: Vec<LogLine>,
    pub unavailable: Vec<Unavailable>,
}
