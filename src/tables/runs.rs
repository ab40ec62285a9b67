//! The table `runs`: one row a kept run, from what its manifest says.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::model::report::{Totals, VerdictKind};
use crate::model::time::Timestamp;

use super::schemas;

/// What is known of a run without opening its tables.
#[derive(Debug, Clone)]
pub struct RunFacts {
    pub run_id: String,
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
    /// Rows of the table `samples`; 0 once they are pruned.
    pub samples_count: u64,
    pub kept_at: Timestamp,
}

/// Returns the table's rows, in the order of `runs`.
pub fn rows(runs: &[RunFacts]) -> Result<RecordBatch, ArrowError> {
    let texts =
        |of: fn(&RunFacts) -> Option<&str>| -> ArrayRef { Arc::new(runs.iter().map(of).collect::<StringArray>()) };
    let times = |of: fn(&RunFacts) -> Option<Timestamp>| -> ArrayRef {
        let times = runs.iter().map(|run| of(run).map(|time| time.0));
        Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
    };
    let numbers =
        |of: fn(&RunFacts) -> Option<f64>| -> ArrayRef { Arc::new(runs.iter().map(of).collect::<Float64Array>()) };
    let counts = |of: fn(&RunFacts) -> Option<u64>| -> ArrayRef {
        Arc::new(runs.iter().map(|run| of(run).map(|count| count as i64)).collect::<Int64Array>())
    };
    let columns = vec![
        texts(|run| Some(&run.run_id)),
        texts(|run| Some(&run.test)),
        texts(|run| Some(&run.environment)),
        texts(|run| run.commit.as_deref()),
        times(|run| run.started_at),
        times(|run| run.ended_at),
        numbers(|run| run.duration_seconds),
        texts(|run| Some(run.verdict.name())),
        Arc::new(runs.iter().map(|run| Some(run.partial)).collect::<BooleanArray>()),
        counts(|run| run.totals.requests_count),
        counts(|run| run.totals.failed_requests_count),
        numbers(|run| run.totals.failed_requests_rate),
        numbers(|run| run.totals.requests_per_second),
        numbers(|run| run.latency_p95_ms),
        counts(|run| run.totals.iterations_count),
        counts(|run| run.totals.checks_passed_count),
        counts(|run| run.totals.checks_failed_count),
        numbers(|run| run.totals.vus_max),
        numbers(|run| run.totals.data_sent_bytes),
        numbers(|run| run.totals.data_received_bytes),
        counts(|run| Some(run.samples_count)),
        times(|run| Some(run.kept_at)),
    ];
    RecordBatch::try_new(schemas::runs(), columns)
}
