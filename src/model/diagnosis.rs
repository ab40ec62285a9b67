//! A diagnosis: a likely cause of a finding, with the evidence for it and what would refute it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// The id of the finding that it explains; none: the servers saw what k6 did not.
    pub finding: Option<String>,
    /// The earlier run that the healthy figures are of; none: they are of the rest of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside_run: Option<String>,
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
    pub evidence: Vec<Clue>,
    /// What would show that it is not the cause.
    pub refuted_by: String,
}

/// One piece of evidence: what a server said of the time of the finding, beside what it said of the healthy time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Clue {
    /// A metric, or what was reckoned from it; the healthy figure is scaled to as many requests.
    Metric {
        service: String,
        /// As the server names it.
        metric: String,
        what: String,
        unit: String,
        healthy: f64,
        faulty: f64,
        /// When it had moved half of the way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved_at: Option<Timestamp>,
        /// What the server was asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
    },
    /// The time of an operation in which nothing below it was at work, on average over the traces that were read.
    Span {
        service: String,
        operation: String,
        entrance: String,
        own_ms_healthy: f64,
        own_ms_faulty: f64,
        traces_healthy_count: u64,
        traces_faulty_count: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A trace in which it is to be seen.
    Trace { trace_id: String, own_ms: f64 },
    /// A function in profiles of two windows, its callees included; in the unit of the profile, per second.
    Profile {
        service: String,
        profile_type: String,
        function: String,
        healthy_per_second: f64,
        faulty_per_second: f64,
        healthy_from: Timestamp,
        healthy_until: Timestamp,
        faulty_from: Timestamp,
        faulty_until: Timestamp,
    },
    /// A function in what the slow requests themselves spent, its callees included.
    SpanProfile {
        service: String,
        profile_type: String,
        function: String,
        /// Of all that these spans spent, from 0 to 1.
        share: f64,
        spans_count: u64,
        from: Timestamp,
        until: Timestamp,
    },
    /// Log lines that are the same but for their values.
    Log {
        service: String,
        level: String,
        template: String,
        healthy_per_second: f64,
        faulty_per_second: f64,
        /// One line of the time of the finding.
        example: String,
        /// What the server was asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
    },
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
