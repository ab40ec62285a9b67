//! A finding while the run goes on: that it is worse than its history, as far as it has come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::{Change, FindingKind, SeriesReference};
use super::metric::Unit;
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyFinding {
    /// That of the finding which says the same of the whole run, if the end confirms it.
    pub id: String,
    pub kind: FindingKind,
    pub series: SeriesReference,
    /// The end of the last window that was looked at.
    pub at: Timestamp,
    /// From the run's first window on.
    pub after_seconds: f64,
    /// Seconds that were looked at.
    pub windows_count: u32,
    /// So far, beside the earlier runs at the same time of theirs.
    pub change: Change,
    pub unit: Unit,
    /// Evidence against one more run like the earlier ones, its share of the whole run's included: it is told from 100 on.
    pub e_value: f64,
    /// Earlier runs that it is beside.
    pub runs_count: u32,
    /// The id of the finding of the whole run that says so, too; none: it went away, or is
    /// no more than a bad run may be by all earlier ones, or the run was not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
}
