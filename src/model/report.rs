//! AnalysisReport: what one analysis says, in the form that other programs rely on.
//!
//! A quantity that does not exist is absent or null, never 0 and never NaN.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::diagnosis::Diagnosis;
use super::early_finding::EarlyFinding;
use super::exhibit::Exhibits;
use super::finding::{Change, Finding, SeriesReference};
use super::history::HistoryReport;
use super::metric::{MetricKind, Unit};
use super::ramp::Ramp;
use super::run::SourceReport;
use super::telemetry::Unavailable;
use super::time::Timestamp;
use super::timeline::Timeline;

pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisReport {
    pub schema_version: u32,
    pub run: RunReport,
    pub verdict: Verdict,
    pub totals: Totals,
    pub metrics: Vec<MetricReport>,
    pub endpoints: Vec<EndpointReport>,
    /// Most failures first.
    #[serde(default)]
    pub checks: Vec<CheckReport>,
    pub thresholds: Vec<ThresholdReport>,
    /// By severity, then by size; one cause is one finding.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What was told while the run went on, first thing first; none where nobody watched, or there was no history to look by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<Vec<EarlyFinding>>,
    pub phases: Phases,
    pub baseline: BaselineReport,
    /// Beside the baseline, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// What `tidemark.toml` asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<ObjectiveReport>,
    /// None unless the load climbs, by planned VUs or by an arrival rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// None with an arrival rate, which leaves nothing out, and where VUs are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinated_omission: Option<CoordinatedOmission>,
    /// The latency over the runs of the test; none for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryReport>,
    /// None where the samples do not tell: only a summary was read.
    #[serde(default)]
    pub generator: Option<GeneratorReport>,
    /// None where only a summary was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// What was not judged, and why.
    pub skipped: Vec<Skipped>,
    /// The likely causes of findings, where the servers' telemetry is known: by finding, the likeliest first.
    #[serde(default)]
    pub diagnoses: Vec<Diagnosis>,
    /// Requests whose traces k6 knows, of each part of the run: the slowest of every endpoint, and some like any other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traced: Vec<TracedRequest>,
    /// What is drawn beside the causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhibits: Option<Exhibits>,
    /// Where the evidence can be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grafana: Option<Grafana>,
    /// Questions to the servers that got no answer.
    #[serde(default)]
    pub unavailable: Vec<Unavailable>,
}

/// A request whose trace k6 knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracedRequest {
    /// When it ended.
    pub at: Timestamp,
    pub endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub milliseconds: f64,
    /// 32 hexadecimal digits.
    pub trace_id: String,
}

/// Where Grafana is, and how it names its data sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grafana {
    pub url: String,
    /// The uid of a data source by its type: `prometheus`, `tempo`, `loki`, `grafana-pyroscope-datasource`. One that is not here has
    /// its type as its uid.
    #[serde(default)]
    pub datasources: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    pub id: String,
    pub test: String,
    pub environment: String,
    /// The first sample's time; none when only a summary was read, which does not say.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k6_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Of the source control and the CI job that the run came from, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_url: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub sources: Vec<SourceReport>,
    /// The reading was interrupted, or an input was cut.
    pub partial: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub kind: VerdictKind,
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    Pass,
    Regressed,
    ThresholdsFailed,
    Suspect,
    Inconclusive,
}

impl VerdictKind {
    pub fn name(self) -> &'static str {
        match self {
            VerdictKind::Pass => "pass",
            VerdictKind::Regressed => "regressed",
            VerdictKind::ThresholdsFailed => "thresholds_failed",
            VerdictKind::Suspect => "suspect",
            VerdictKind::Inconclusive => "inconclusive",
        }
    }
}

/// An estimate for a test whose VUs wait for each response: what the latency of its steady part would have been, had requests
/// kept coming while some took long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoordinatedOmission {
    /// From one request of a VU to its next, as it usually is.
    pub interval_ms: f64,
    /// Of all VUs at that interval.
    pub intended_requests_per_second: f64,
    /// Requests that were due while their VU waited: an estimate.
    pub omitted_requests_count: u64,
    pub measured_requests_count: u64,
    pub latency_ms_p95: f64,
    pub latency_ms_p99: f64,
    pub estimated_latency_ms_p95: f64,
    pub estimated_latency_ms_p99: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub requests_count: Option<u64>,
    pub failed_requests_count: Option<u64>,
    pub failed_requests_rate: Option<f64>,
    pub requests_per_second: Option<f64>,
    pub iterations_count: Option<u64>,
    pub checks_passed_count: Option<u64>,
    pub checks_failed_count: Option<u64>,
    pub vus_max: Option<f64>,
    /// Iterations that were due a second, the dropped ones among them; none unless an arrival rate made the load. Then the
    /// VUs are no plan, but as many as the responses keep waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals_per_second: Option<f64>,
    pub data_sent_bytes: Option<f64>,
    pub data_received_bytes: Option<f64>,
}

impl Totals {
    /// Returns the iterations that were due a second, else those that there were.
    pub fn iterations_due_per_second(&self, duration_seconds: Option<f64>) -> Option<f64> {
        let seconds = duration_seconds.filter(|seconds| *seconds > 0.0);
        self.arrivals_per_second.or_else(|| Some(self.iterations_count? as f64 / seconds?))
    }
}

/// One metric or sub-metric over the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricReport {
    /// With its filter when it is a sub-metric: `http_req_duration{status:200}`.
    pub name: String,
    pub kind: MetricKind,
    pub unit: Unit,
    /// Samples; none where only a summary was read that does not say.
    pub count: Option<u64>,
    /// Named as in `summary::SummaryMetric::values`.
    pub values: BTreeMap<String, f64>,
    /// The most that a percentile here may be wrong, as a fraction of it; 0 when it is exact.
    pub quantile_error: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointReport {
    pub name: String,
    /// Part of the URL was replaced by a placeholder, or many endpoints were put together.
    pub is_template: bool,
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub requests_count: u64,
    pub failed_requests_rate: Option<f64>,
    pub requests_per_second: Option<f64>,
    /// Of the requests that k6 expected to succeed; none when there were none.
    pub latency_ms: Option<Latency>,
    /// Of the requests that k6 did not expect to succeed; none when there were none.
    pub failed_latency_ms: Option<Latency>,
    pub statuses: BTreeMap<String, u64>,
}

/// One check of the script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    pub name: String,
    /// k6's path of groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub passed_count: u64,
    pub failed_count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    pub avg: f64,
    pub med: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdReport {
    pub metric: String,
    pub expression: String,
    pub passed: bool,
    /// None when the metric had no sample, or when only k6's own verdict is known.
    pub observed: Option<f64>,
    /// How far inside the limit, as a fraction of it; negative beyond it.
    pub headroom: Option<f64>,
    pub abort_on_fail: bool,
    /// k6's own verdict, where a summary of the whole run holds it. Where it is another than `passed`, the verdict says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k6_passed: Option<bool>,
    /// How it went while the run went on; none where the samples of single seconds do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_time: Option<ThresholdOverTime>,
    /// Who judged: the samples, or k6 in its summary.
    pub judged_by: ThresholdJudge,
}

/// A threshold asked of each window of the run, each long enough to have samples enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdOverTime {
    pub windows_count: u64,
    pub broken_windows_count: u64,
    /// Of all windows together, and of the broken ones.
    pub judged_seconds: f64,
    pub broken_seconds: f64,
    /// The longest time without a window that held; none where all did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_until: Option<Timestamp>,
    /// What the threshold compares, in its worst window.
    pub worst: f64,
}

/// One objective: which part of the requests may be bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    pub name: String,
    /// None: of all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Requests that take longer are bad, as well as those that fail; none: only those that fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// The part that is to be good, such as 0.999.
    pub objective: f64,
    /// What the error budget is for.
    pub window_days: f64,
}

/// How fast a run used an error budget up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveReport {
    #[serde(flatten)]
    pub objective: Objective,
    pub bad_count: u64,
    pub count: u64,
    /// The part of bad requests beside the part that may be: 1 uses the budget up in its window.
    pub burn_rate: f64,
    /// 95 % interval of the burn rate.
    pub low: f64,
    pub high: f64,
    pub status: ObjectiveStatus,
    /// The highest burn rate of a window with requests enough, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_burn_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveStatus {
    /// The budget lasts.
    Held,
    /// It does not.
    Burning,
    /// The interval of the burn rate holds 1.
    NotEnoughRequests,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdJudge {
    Samples,
    Summary,
}

/// When the load was steady: before it the run warms up, after it the load goes down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phases {
    pub steady_from: Option<Timestamp>,
    pub steady_until: Option<Timestamp>,
    pub rule: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineReport {
    /// `none`, `history`, `pinned` or `file`.
    pub kind: String,
    pub runs: Vec<String>,
    pub comparable: bool,
    /// What makes the comparison unfair.
    pub differences: Vec<String>,
    /// The least change that this comparison would have found, by series.
    #[serde(default)]
    pub detectable: Vec<Detectable>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detectable {
    pub series: SeriesReference,
    pub change: Change,
    /// The chance that a change of this size is found.
    pub power: f64,
    /// How many runs with a change of +5 % it takes to find that with this chance, where a history was judged; none: more
    /// than it looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_needed: Option<u32>,
}

/// Whether the load generator did what the test asked of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReport {
    pub healthy: bool,
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    pub what: String,
    pub reason: String,
}
