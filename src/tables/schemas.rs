//! The schema of every table that is kept, in one place. Units are in the columns' names.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The first column of every table that SQL sees.
pub const RUN_ID: &str = "run_id";

/// UTC, nanoseconds.
fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// One row a sample, in row groups of one metric each, nearly by time within one.
pub fn samples() -> SchemaRef {
    schema(vec![
        required("time", time()),
        required("metric", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
        required("value", DataType::Float64),
        required("series_id", DataType::UInt32),
        required("tag_set_id", DataType::UInt32),
        // k6's metadata (trace_id, vu, iter) as a JSON object.
        optional("metadata", DataType::Utf8),
    ])
}

/// One row a set of tags, as k6 wrote them, with the endpoint that they belong to.
pub fn tag_sets() -> SchemaRef {
    schema(vec![
        required("tag_set_id", DataType::UInt32),
        optional("endpoint", DataType::Utf8),
        optional("method", DataType::Utf8),
        optional("status", DataType::Utf8),
        optional("scenario", DataType::Utf8),
        optional("group", DataType::Utf8),
        optional("expected_response", DataType::Boolean),
        optional("check", DataType::Utf8),
        optional("error_code", DataType::Utf8),
        required("tags", tags()),
    ])
}

/// Name to value.
pub fn tags() -> DataType {
    let entry = DataType::Struct(vec![required("keys", DataType::Utf8), optional("values", DataType::Utf8)].into());
    DataType::Map(Arc::new(required("entries", entry)), false)
}

/// One row a series: what is judged together.
pub fn series() -> SchemaRef {
    schema(vec![
        required("series_id", DataType::UInt32),
        required("metric", DataType::Utf8),
        required("kind", DataType::Utf8),
        required("unit", DataType::Utf8),
        optional("endpoint", DataType::Utf8),
        optional("method", DataType::Utf8),
        optional("scenario", DataType::Utf8),
        optional("group", DataType::Utf8),
        optional("expected_response", DataType::Boolean),
        optional("check", DataType::Utf8),
    ])
}

/// One row a second and series with samples; a second without samples has no row: a gap, not a zero.
///
/// A second whose samples came later than the allowed lateness has a row for each time it was closed.
pub fn windows() -> SchemaRef {
    schema(vec![
        required("window_start", time()),
        required("series_id", DataType::UInt32),
        required("samples_count", DataType::UInt64),
        required("nonzero_count", DataType::UInt64),
        required("sum", DataType::Float64),
        required("min", DataType::Float64),
        required("max", DataType::Float64),
        required("last", DataType::Float64),
        // Exact, of this window alone; of trends only.
        optional("p50", DataType::Float64),
        optional("p90", DataType::Float64),
        optional("p95", DataType::Float64),
        optional("p99", DataType::Float64),
        // Of trends: `stats::sketch`, for percentiles over many windows when the samples are gone.
        optional("sketch", DataType::Binary),
    ])
}

/// One row a series and block, of which a run has 12 to 23 of equal length; a block without samples has no row.
///
/// A row without an endpoint is of all series of the metric together.
pub fn blocks() -> SchemaRef {
    schema(vec![
        required("metric", DataType::Utf8),
        optional("endpoint", DataType::Utf8),
        optional("method", DataType::Utf8),
        optional("scenario", DataType::Utf8),
        optional("group", DataType::Utf8),
        // From 0.
        required("block", DataType::UInt32),
        required("block_seconds", DataType::UInt32),
        required("samples_count", DataType::UInt64),
        required("nonzero_count", DataType::UInt64),
        required("sum", DataType::Float64),
        // Within 1/256 of themselves; of trends only.
        optional("p50", DataType::Float64),
        optional("p95", DataType::Float64),
        optional("p99", DataType::Float64),
    ])
}

/// One row a metric or sub-metric over the whole run: its figures in the report, each in the metric's unit.
pub fn metrics() -> SchemaRef {
    schema(vec![
        required("metric", DataType::Utf8),
        required("kind", DataType::Utf8),
        required("unit", DataType::Utf8),
        optional("samples_count", DataType::Int64),
        // Of a trend.
        optional("avg", DataType::Float64),
        // Of a trend or a gauge.
        optional("min", DataType::Float64),
        optional("med", DataType::Float64),
        optional("max", DataType::Float64),
        optional("p90", DataType::Float64),
        optional("p95", DataType::Float64),
        optional("p99", DataType::Float64),
        optional("p99_9", DataType::Float64),
        // Of a counter.
        optional("total", DataType::Float64),
        optional("per_second", DataType::Float64),
        // Of a rate, a fraction; its passes are the samples that are not 0.
        optional("rate", DataType::Float64),
        optional("passes_count", DataType::Int64),
        optional("fails_count", DataType::Int64),
        // Of a gauge, the last.
        optional("value", DataType::Float64),
        // The most that a percentile may be wrong, as a fraction of it; 0 when it is exact.
        required("quantile_error", DataType::Float64),
    ])
}

/// One row a threshold, as it was judged.
pub fn thresholds() -> SchemaRef {
    schema(vec![
        required("metric", DataType::Utf8),
        required("expression", DataType::Utf8),
        required("passed", DataType::Boolean),
        optional("observed", DataType::Float64),
        // How far inside the limit, as a fraction of it; negative beyond it.
        optional("headroom", DataType::Float64),
        required("abort_on_fail", DataType::Boolean),
        // `samples`, or `summary` when only k6's own verdict is known.
        required("judged_by", DataType::Utf8),
    ])
}

/// One row a point of a metric that a server of metrics kept of the system under test.
pub fn host_metrics() -> SchemaRef {
    schema(vec![
        required("time", time()),
        required("metric", DataType::Utf8),
        // By the label that names one.
        optional("service", DataType::Utf8),
        // As the server gave it: a counter is a counter.
        required("value", DataType::Float64),
        // Of a counter: its rise a second since the point before; null at the first.
        optional("rate_per_second", DataType::Float64),
        required("labels", tags()),
    ])
}

/// One row a span of the traces that were asked for, which are not all.
pub fn spans() -> SchemaRef {
    schema(vec![
        required("start", time()),
        required("end", time()),
        required("service", DataType::Utf8),
        required("operation", DataType::Utf8),
        // `server`, `client`, `producer`, `consumer` or `internal`.
        required("kind", DataType::Utf8),
        required("duration_ms", DataType::Float64),
        // In which nothing below it was at work.
        required("own_ms", DataType::Float64),
        required("is_error", DataType::Boolean),
        // In hex.
        required("trace_id", DataType::Utf8),
        required("span_id", DataType::Utf8),
        optional("parent_span_id", DataType::Utf8),
        required("attributes", tags()),
    ])
}

/// One row a function of a profile of a service over a window.
pub fn profiles() -> SchemaRef {
    schema(vec![
        required("window_start", time()),
        required("window_end", time()),
        required("service", DataType::Utf8),
        // `process_cpu:cpu:nanoseconds:cpu:nanoseconds`
        required("profile_type", DataType::Utf8),
        required("function", DataType::Utf8),
        // Over the window, in `unit`: by itself, and with what it called.
        required("self_value", DataType::Int64),
        required("total_value", DataType::Int64),
        required("unit", DataType::Utf8),
    ])
}

/// One row a log line.
pub fn logs() -> SchemaRef {
    schema(vec![
        required("time", time()),
        required("service", DataType::Utf8),
        optional("level", DataType::Utf8),
        required("message", DataType::Utf8),
        // What it says, with its words that hold a digit blank: lines of one place in a program are alike.
        required("template", DataType::Utf8),
        // In hex.
        optional("trace_id", DataType::Utf8),
        required("labels", tags()),
    ])
}

/// One row a run, from the manifests: in memory only.
pub fn runs() -> SchemaRef {
    schema(vec![
        required("run_id", DataType::Utf8),
        required("test", DataType::Utf8),
        required("environment", DataType::Utf8),
        optional("commit", DataType::Utf8),
        optional("started_at", time()),
        optional("ended_at", time()),
        optional("duration_seconds", DataType::Float64),
        required("verdict", DataType::Utf8),
        // The reading was interrupted, or an input was cut.
        required("partial", DataType::Boolean),
        optional("requests_count", DataType::Int64),
        optional("failed_requests_count", DataType::Int64),
        optional("failed_requests_rate", DataType::Float64),
        optional("requests_per_second", DataType::Float64),
        optional("latency_p95_ms", DataType::Float64),
        optional("iterations_count", DataType::Int64),
        optional("checks_passed_count", DataType::Int64),
        optional("checks_failed_count", DataType::Int64),
        optional("vus_max", DataType::Float64),
        optional("data_sent_bytes", DataType::Float64),
        optional("data_received_bytes", DataType::Float64),
        required("samples_count", DataType::Int64),
        required("kept_at", time()),
    ])
}
