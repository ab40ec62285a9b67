//! A run over time, coarse enough for a picture: equal steps from its first second to its last.
//!
//! Figures have four significant digits. A step without a sample is null, never 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The start of the first step.
    pub start: Timestamp,
    pub step_seconds: u32,
    pub steps_count: u32,
    /// The last value within each step.
    pub vus: Vec<Option<f64>>,
    pub iterations_per_second: Vec<Option<f64>>,
    /// Iterations that k6 had no VU for, a second.
    pub dropped_iterations_per_second: Vec<Option<f64>>,
    /// Failed checks among all checks of the step, 0 to 1.
    pub failed_checks_rate: Vec<Option<f64>>,
    /// All requests together.
    pub total: TimelineSeries,
    /// In the order of `AnalysisReport::endpoints`, and as many.
    pub endpoints: Vec<TimelineSeries>,
    /// How the latency of all requests is spread in each step.
    pub latency_heat: Heat,
    /// The most that a percentile here may be wrong, as a fraction of it.
    pub quantile_error: f64,
}

/// The requests of one endpoint, one entry a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineSeries {
    pub requests_per_second: Vec<Option<f64>>,
    /// 0 to 1.
    pub failed_requests_rate: Vec<Option<f64>>,
    /// Of the requests that k6 expected to succeed, in milliseconds.
    pub med_ms: Vec<Option<f64>>,
    pub p95_ms: Vec<Option<f64>>,
    pub p99_ms: Vec<Option<f64>>,
}

/// Counts by step and by latency.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heat {
    /// Bounds of the latency buckets in milliseconds, ascending; one more than there are buckets.
    pub bounds_ms: Vec<f64>,
    /// By step, then by bucket: requests.
    pub counts: Vec<Vec<u32>>,
}
