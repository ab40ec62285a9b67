//! The manifest of a run: what a list of runs shows, and where the run's data lies.

use serde::{Deserialize, Serialize};

use crate::model::report::{Totals, VerdictKind};
use crate::model::time::Timestamp;

/// Raised when older programs could no longer read what is written.
pub const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: u32,
    pub run_id: String,
    /// The folder below `data/`.
    pub attempt: String,
    /// When the analysis was kept.
    pub kept_at: Timestamp,
    pub test: String,
    pub environment: String,
    pub commit: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub duration_seconds: Option<f64>,
    pub verdict: VerdictKind,
    pub partial: bool,
    pub totals: Totals,
    pub latency_p95_ms: Option<f64>,
    /// The first run of a regression that this run still shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regressed_since: Option<String>,
    /// The load generator was in trouble, so that the figures are not the system's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generator_limited: bool,
    /// File names within the attempt's folder, with their rows.
    pub tables: Vec<TableFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    pub table: String,
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
}

impl Manifest {
    /// Runs are ordered by when they ran; a run whose input does not tell, by when it was kept.
    pub fn order_key(&self) -> (i64, String) {
        (self.started_at.unwrap_or(self.kept_at).0, self.run_id.clone())
    }
}
