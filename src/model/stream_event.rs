//! What happens to a run while it streams by: one message for each change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::early_finding::EarlyFinding;
use super::finding::Finding;
use super::report::Verdict;
use super::time::Timestamp;

/// Raised when a field is renamed or goes.
pub const EVENT_SCHEMA_VERSION: u32 = 1;

/// One message: on stdout, on the topic of findings, to a webhook, as a server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Event of a stream")]
pub struct StreamEvent {
    pub schema_version: u32,
    /// As its producer calls the run: a header of its records, or the tag testid or run_id.
    pub run: String,
    pub test: String,
    pub environment: String,
    /// When it was said.
    pub at: Timestamp,
    /// Up to when in the run was looked; none where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_until: Option<Timestamp>,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Its first lines are there. Said again when another instance takes the run over.
    RunBegan,
    /// The run is worse than the earlier ones of its test, as far as it has come.
    FindingEarly { finding: Box<EarlyFinding> },
    /// Something stands out that did not before.
    FindingOpened { finding: Box<Finding> },
    /// It lasts, or is larger or smaller than was said; of the same id.
    FindingGrew { finding: Box<Finding> },
    /// It is over, and stays a finding.
    FindingClosed { finding: Box<Finding> },
    /// It went away: what came since does not bear it out. `replaced_by`: the finding that says the same with another
    /// beginning, or of more series.
    FindingWithdrawn {
        finding: Box<Finding>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced_by: Option<String>,
    },
    /// It has ended, and its report is in the store.
    RunReported {
        run_id: String,
        verdict: Verdict,
        /// Ids of the report's findings.
        findings: Vec<String>,
        /// Some of what its pods wrote is missing.
        partial: bool,
    },
    /// It has ended, and there is no report.
    RunUnreadable { reason: String },
}
