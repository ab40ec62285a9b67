//! A run: one execution of a k6 test, and what it was read from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the user says of a run; the samples do not know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLabels {
    /// The test that this is a run of.
    pub test: Option<String>,
    pub environment: Option<String>,
    pub commit: Option<String>,
    pub branch: Option<String>,
    /// Its number, or a merge request's.
    pub pull_request: Option<String>,
    /// The CI job that the run came from.
    pub ci_url: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// The forms in which k6 gives its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    K6Json,
    K6Csv,
    K6SummaryExport,
    K6HandleSummary,
    K6MachineSummary,
    /// Lines of k6's JSON, or its extension's, that came by a topic.
    Kafka,
}

/// A line that could not be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// Counted from 1.
    pub line: u64,
    pub reason: String,
}

/// What was read from one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceReport {
    pub name: String,
    pub kind: SourceKind,
    /// As it lies on the disk or came down the pipe, before it was decompressed.
    pub bytes: u64,
    /// Of the same bytes; none for an input of more than 64 MiB, whose hash would take as long as its analysis.
    pub sha256: Option<String>,
    pub lines_read: u64,
    pub lines_rejected: u64,
    /// The input ended within a line or within its compressed form.
    pub truncated: bool,
    /// The first rejections; `lines_rejected` counts all.
    pub rejections: Vec<Rejection>,
}

/// The most rejections that a report names for one source; beyond it they are counted only.
pub const REJECTIONS_NAMED_MAX: usize = 100;
