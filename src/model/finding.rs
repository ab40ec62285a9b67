//! A finding: one thing that stands out or has changed, how much, since when, and by what evidence.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Unit;
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Derived from test, kind, series and onset: the same in a live finding, in the report and in a ticket.
    pub id: String,
    pub kind: FindingKind,
    /// One sentence without a full stop.
    pub title: String,
    pub severity: Severity,
    pub direction: Direction,
    pub series: SeriesReference,
    /// What moved with it: other statistics and other series of the same cause.
    pub also: Vec<SeriesReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The first run that shows it, where a history was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_run: Option<String>,
    /// One run shows it, and one bad run among good ones is no regression: another run would tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
    /// In `unit`.
    pub observed: f64,
    /// In `unit`: of the baseline, or of the rest of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    pub unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    pub evidence: Vec<Evidence>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Requests fail that did not fail before.
    ErrorRate,
    /// Checks fail that held before.
    Checks,
    /// A threshold of k6 failed.
    Threshold,
    /// More requests are bad than an objective allows.
    Objective,
    /// The system under test gets slower from some load on, or from a lower one than before.
    Saturation,
    /// Requests take longer, or shorter, than in the baseline.
    Latency,
    /// Fewer, or more, requests a second than in the baseline.
    Throughput,
    /// A little more from run to run, although no two neighbours differ.
    Drift,
    /// Through this run latency climbs steadily.
    Leak,
    /// Part of this run stands out from the rest of it.
    Anomaly,
    /// The load generator itself was in trouble.
    Generator,
    /// Requests that were due were not sent while others were waited for, so percentiles flatter.
    CoordinatedOmission,
}

impl FindingKind {
    /// Says whether it is a regression when it is worse than in earlier runs.
    pub fn is_change_of_system(self) -> bool {
        use FindingKind::{Checks, ErrorRate, Latency, Saturation, Throughput};
        matches!(self, ErrorRate | Checks | Saturation | Latency | Throughput)
    }

    pub fn name(self) -> &'static str {
        match self {
            FindingKind::ErrorRate => "error_rate",
            FindingKind::Checks => "checks",
            FindingKind::Threshold => "threshold",
            FindingKind::Objective => "objective",
            FindingKind::Saturation => "saturation",
            FindingKind::Latency => "latency",
            FindingKind::Throughput => "throughput",
            FindingKind::Drift => "drift",
            FindingKind::Leak => "leak",
            FindingKind::Anomaly => "anomaly",
            FindingKind::Generator => "generator",
            FindingKind::CoordinatedOmission => "coordinated_omission",
        }
    }
}

/// How much it matters; the order is that of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Critical,
    Major,
    Minor,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Major => "major",
            Severity::Minor => "minor",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Worse,
    Better,
    /// Neither: it only is not what it was.
    Changed,
}

/// Which figure of which samples.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SeriesReference {
    pub metric: String,
    /// What tells the series from others of its metric, such as `name` and `method`; none: the whole run.
    pub tags: BTreeMap<String, String>,
    /// For example `p95`; absent where the series has only one figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
}

/// How far one figure is from another, with the interval that holds the true change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub scale: Scale,
    pub point: f64,
    /// None where no interval can be known, as between two summaries.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Of the interval, as a fraction.
    pub confidence: Option<f64>,
}

impl Change {
    /// A change of which no interval is known.
    pub fn plain(scale: Scale, point: f64) -> Change {
        Change { scale, point, low: None, high: None, confidence: None }
    }

    /// A ratio from its logarithm, which is known to `reach` on either side with that `confidence`.
    pub fn of_logarithm(logarithm: f64, reach: f64, confidence: f64) -> Change {
        Change {
            scale: Scale::Ratio,
            point: logarithm.exp() - 1.0,
            low: Some((logarithm - reach).exp() - 1.0),
            high: Some((logarithm + reach).exp() - 1.0),
            confidence: Some(confidence),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// new / old - 1: 0.30 is +30 %.
    Ratio,
    /// new - old: 0.099 is from 0 % to 9.9 %.
    Difference,
}

/// What a finding rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// One figure beside what was expected of it.
    Metric {
        series: SeriesReference,
        observed: f64,
        expected: Option<f64>,
        unit: Unit,
        change: Option<Change>,
        /// Other finding kinds may share a cause; this figure's own words, such as `in 180 of 180 windows`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// What `tidemark query` shows the rows with.
    Query { sql: String },
}
