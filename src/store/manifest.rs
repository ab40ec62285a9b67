//! The manifest of a run: what a list of runs shows, and where the run's data lies.

use serde::{Deserialize, Serialize};

use crate::model::ramp::Ramp;
use crate::model::report::{Totals, VerdictKind};
use crate::model::time::Timestamp;

/// A run that lasts so much longer, or has so many more VUs, is no comparable run.
const DIFFERENCE_MAX: f64 = 0.1;

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
    /// Where its load climbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
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

    /// Says why the run is no measure for one of that duration and with these totals; none when it is.
    ///
    /// Where an arrival rate made the load, the VUs are what the system under test makes of it, and do not tell.
    pub fn incomparable_because(&self, duration_seconds: Option<f64>, totals: &Totals) -> Option<String> {
        let differ = |old: Option<f64>, new: Option<f64>| {
            let (old, new) = old.zip(new)?;
            ((new - old).abs() > DIFFERENCE_MAX * old.max(new)).then_some((old, new))
        };
        if self.partial {
            return Some("is partial".to_owned());
        }
        if let Some((old, new)) = differ(self.duration_seconds, duration_seconds) {
            return Some(format!("took {old:.0} s, this one {new:.0} s"));
        }
        if self.totals.arrivals_per_second.or(totals.arrivals_per_second).is_some() {
            let old = self.totals.iterations_due_per_second(self.duration_seconds);
            let rates = differ(old, totals.iterations_due_per_second(duration_seconds));
            return rates.map(|(old, new)| format!("was to start {old:.1} iterations/s, this one {new:.1}"));
        }
        differ(self.totals.vus_max, totals.vus_max).map(|(old, new)| format!("had at most {old} VUs, this one {new}"))
    }
}
