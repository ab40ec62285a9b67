//! A diagnosis: a likely cause of a finding, with the evidence for it and what would refute it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::Evidence;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// The id of the finding that it explains; none: the servers saw what k6 did not.
    pub finding: Option<String>,
    /// 1 is the likeliest cause of its finding.
    pub rank: u32,
    pub service: String,
    pub kind: CauseKind,
    /// The cause in one plain sentence without a full stop.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// From 0 to 1: how often a cause with such evidence was the planted one, as far as that was measured.
    pub score: f64,
    pub evidence: Vec<Evidence>,
    /// What would show that it is not the cause.
    pub refuted_by: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// More CPU work in a function.
    Cpu,
    /// Requests wait for a lock.
    Lock,
    SlowQuery,
    /// Requests wait for a connection of a pool.
    Pool,
    /// Memory that grows.
    Memory,
    /// Garbage collection.
    Gc,
    /// It waits for something outside that got slow.
    SlowDependency,
    /// Calls that are not answered in time.
    Timeout,
    Errors,
    LogStorm,
    Network,
    /// The load generator itself.
    Generator,
    Unknown,
}

impl CauseKind {
    pub fn name(self) -> &'static str {
        match self {
            CauseKind::Cpu => "cpu",
            CauseKind::Lock => "lock",
            CauseKind::SlowQuery => "slow_query",
            CauseKind::Pool => "pool",
            CauseKind::Memory => "memory",
            CauseKind::Gc => "gc",
            CauseKind::SlowDependency => "slow_dependency",
            CauseKind::Timeout => "timeout",
            CauseKind::Errors => "errors",
            CauseKind::LogStorm => "log_storm",
            CauseKind::Network => "network",
            CauseKind::Generator => "generator",
            CauseKind::Unknown => "unknown",
        }
    }
}
