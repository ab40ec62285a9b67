//! What k6's end-of-test summary says, the same for its three shapes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metric::{Contains, MetricKind};
use super::run::SourceKind;

/// One summary. Values that its shape does not hold are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub kind: SourceKind,
    pub duration_seconds: Option<f64>,
    pub k6_version: Option<String>,
    /// When k6 wrote it, RFC 3339; only the machine-readable shape says.
    pub generated_at: Option<String>,
    pub script_sha256: Option<String>,
    /// Sorted by name.
    pub metrics: Vec<SummaryMetric>,
    pub checks: Vec<SummaryCheck>,
    /// Keys that k6 does not write, kept as they are (a framework's `reportMeta`, for example).
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl Summary {
    pub fn metric(&self, name: &str) -> Option<&SummaryMetric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// One metric or sub-metric of a summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryMetric {
    /// With its filter when it is a sub-metric: `http_req_duration{status:200}`.
    pub name: String,
    pub kind: MetricKind,
    pub contains: Contains,
    /// The same names for all shapes: `avg min med max count p90 p95 p99 p99_9` for a trend, `count rate` for a counter,
    /// `rate passes fails` for a rate (`passes` counts the non-zero samples), `value min max` for a gauge.
    pub values: BTreeMap<String, f64>,
    /// In the order of the expression's text.
    pub thresholds: Vec<SummaryThreshold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryThreshold {
    pub expression: String,
    pub passed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryCheck {
    pub name: String,
    /// With the groups before it: `::buy::status is 200`; the bare name where the shape has no path.
    pub path: String,
    pub passes: u64,
    pub fails: u64,
}

/// Returns the name that a percentile has in our reports: 95 is `p95`, 99.9 is `p99_9`.
pub fn percentile_name(percentage: f64) -> String {
    format!("p{percentage}").replace('.', "_")
}
