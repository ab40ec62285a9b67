//! What a k6 metric is: its name, kind, unit, thresholds and sub-metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tags::TagSet;

/// The four kinds of k6 metrics, which decide how samples are aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    Counter,
    Gauge,
    Rate,
    Trend,
}

impl MetricKind {
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Rate => "rate",
            MetricKind::Trend => "trend",
        }
    }
}

/// What the values of a metric are, in k6's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contains {
    Default,
    /// Milliseconds.
    Time,
    /// Bytes.
    Data,
}

/// The unit of a metric's values in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "bytes")]
    Bytes,
    #[serde(rename = "count")]
    Count,
    #[serde(rename = "fraction")]
    Fraction,
    #[serde(rename = "none")]
    None,
}

impl Unit {
    pub fn of(kind: MetricKind, contains: Contains) -> Unit {
        match (kind, contains) {
            (_, Contains::Time) => Unit::Milliseconds,
            (_, Contains::Data) => Unit::Bytes,
            (MetricKind::Rate, _) => Unit::Fraction,
            (MetricKind::Counter, _) => Unit::Count,
            _ => Unit::None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
            Unit::Count => "count",
            Unit::Fraction => "fraction",
            Unit::None => "none",
        }
    }
}

/// A threshold as k6 was told it, not yet parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdSource {
    /// For example `p(95)<500`.
    pub expression: String,
    pub abort_on_fail: bool,
    /// k6's `delayAbortEval`, for example `10s`.
    pub delay_abort_eval: Option<String>,
}

/// The part of a metric whose samples carry all of `tags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submetric {
    /// For example `http_req_duration{expected_response:true}`.
    pub name: String,
    pub tags: TagSet,
}

/// What a run says of one metric: k6's `Metric` line, or the same facts from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricDeclaration {
    pub name: String,
    pub kind: MetricKind,
    pub contains: Contains,
    pub thresholds: Vec<ThresholdSource>,
    pub submetrics: Vec<Submetric>,
}

/// Returns the kind and unit of one of k6's own metrics; none for a script's.
///
/// For inputs that do not say (CSV, Kafka). Source: k6 2.2, `metrics/builtin.go` and the modules' own metrics.
pub fn builtin(name: &str) -> Option<(MetricKind, Contains)> {
    use Contains::{Data, Default, Time};
    use MetricKind::{Counter, Gauge, Rate, Trend};
    let declared = match name {
        "vus" | "vus_max" => (Gauge, Default),
        "iterations" | "dropped_iterations" | "http_reqs" => (Counter, Default),
        "ws_sessions" | "ws_msgs_sent" | "ws_msgs_received" => (Counter, Default),
        "checks" | "http_req_failed" | "browser_http_req_failed" => (Rate, Default),
        "data_sent" | "data_received" | "browser_data_sent" | "browser_data_received" => (Counter, Data),
        "iteration_duration" | "group_duration" | "grpc_req_duration" => (Trend, Time),
        "http_req_duration" | "http_req_blocked" | "http_req_connecting" | "http_req_tls_handshaking" => (Trend, Time),
        "http_req_sending" | "http_req_waiting" | "http_req_receiving" => (Trend, Time),
        "ws_ping" | "ws_session_duration" | "ws_connecting" => (Trend, Time),
        "browser_http_req_duration" | "browser_web_vital_fcp" | "browser_web_vital_lcp" => (Trend, Time),
        "browser_web_vital_ttfb" | "browser_web_vital_inp" => (Trend, Time),
        "browser_web_vital_cls" => (Trend, Default),
        _ => return None,
    };
    Some(declared)
}
