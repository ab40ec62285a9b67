//! Two runs side by side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Change, Direction, SeriesReference};
use super::metric::Unit;
use super::report::RunReport;
use super::timeline::Timeline;

/// The run beside its baseline; every change is from the baseline to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    pub base: RunReport,
    /// What makes the comparison unfair comes first in a report: another script, load shape, environment, k6 or duration.
    pub differences: Vec<String>,
    pub rows: Vec<ComparisonRow>,
    /// How the changes were judged, in plain words.
    pub method: String,
    /// The baseline over time, for pictures; none where it has no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_timeline: Option<Timeline>,
}

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparisonRow {
    pub series: SeriesReference,
    pub unit: Unit,
    /// None where the run does not have it.
    pub base: Option<f64>,
    pub current: Option<f64>,
    /// None where either is missing.
    pub change: Option<Change>,
    /// Which way it moved; none where the evidence does not tell.
    pub direction: Option<Direction>,
    /// It is part of a finding.
    pub is_found: bool,
}
