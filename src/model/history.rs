//! One figure of a test over its runs, with the runs since which it was another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Change, SeriesReference};
use super::metric::Unit;
use super::time::Timestamp;

/// Where a figure is worse since an earlier run, the gravest of them, as it was judged: the middle of its blocks of time.
/// Else the p95 latency of all requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReport {
    pub series: SeriesReference,
    pub unit: Unit,
    /// Oldest first; the last one is the run that the report is of.
    pub runs: Vec<HistoryRun>,
    /// Earlier runs that are not shown: of another load or duration, partial, or older than the newest that count.
    #[serde(default)]
    pub left_out_count: usize,
    /// Oldest first; none where there are too few runs to date a change.
    pub changes: Vec<HistoryChange>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryRun {
    pub run: String,
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// None where the run does not have the figure.
    pub value: Option<f64>,
    /// It shows a regression that nobody has accepted.
    pub regressed: bool,
}

/// From one run on the figure was another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryChange {
    pub since_run: String,
    /// With 95 % confidence it began with one of the runs from here..
    pub earliest_run: String,
    /// ..to here.
    pub latest_run: String,
    pub change: Change,
}
