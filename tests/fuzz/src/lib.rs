//! What the fuzz targets of the three summary shapes share: whatever can be read can be judged, and reads the same again.

use serde_json::{Map, Value, json};
use tidemark::detect::thresholds;
use tidemark::ingest::k6_summary;
use tidemark::model::metric::MetricKind;
use tidemark::model::summary::{Summary, SummaryMetric};
use tidemark::tables::summary_figures::summary_figures;

/// Reads a summary and checks what holds for all shapes; none when it is none.
pub fn read_and_judge(bytes: &[u8]) -> Option<Summary> {
    let summary = k6_summary::parse(bytes).ok()?;
    assert!(summary.metrics.is_sorted_by(|left, right| left.name <= right.name));
    for metric in &summary.metrics {
        assert!(metric.values.values().all(|value| value.is_finite()), "{metric:?}");
    }
    let figures = summary_figures(&summary);
    let judged = thresholds::of_summary(&summary, &figures.metrics);
    let told = summary.metrics.iter().map(|metric| metric.thresholds.len()).sum::<usize>();
    assert_eq!(judged.len(), told, "every verdict of k6 is kept");
    let kept = serde_json::to_vec(&summary).expect("a summary is JSON");
    let again: Summary = serde_json::from_slice(&kept).expect("and is read again");
    assert_same(&again.metrics, &summary.metrics);
    assert_eq!(again.checks, summary.checks);
    Some(summary)
}

/// Writes the metrics as handleSummary's data have them, and reads that: metrics with their kinds come out as they are.
pub fn assert_same_as_handle_summary(summary: &Summary) {
    let metrics: Map<String, Value> =
        summary.metrics.iter().map(|metric| (metric.name.clone(), handle_metric(metric))).collect();
    if metrics.len() < summary.metrics.len() {
        return; // The machine-readable shape is a list, and may name a metric twice.
    }
    let state = json!({ "testRunDurationMs": 1000.0 });
    let written = json!({ "metrics": metrics, "state": state }).to_string();
    let again = k6_summary::parse(written.as_bytes()).expect("handleSummary's data");
    assert_same(&again.metrics, &summary.metrics);
}

/// `serde_json` without its feature `float_roundtrip` may read the last bit of a number otherwise than it was written.
fn assert_same(left: &[SummaryMetric], right: &[SummaryMetric]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!((&left.name, left.kind, &left.thresholds), (&right.name, right.kind, &right.thresholds));
        assert_eq!(left.contains, right.contains);
        assert!(left.values.keys().eq(right.values.keys()), "{left:?} {right:?}");
        for (name, value) in &left.values {
            let (value, other) = (*value, right.values[name]);
            assert!((value - other).abs() <= 4.0 * f64::EPSILON * other.abs(), "{name}: {value} {other}");
        }
    }
}

fn handle_metric(metric: &SummaryMetric) -> Value {
    let values: Map<String, Value> = metric.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let verdicts = metric.thresholds.iter();
    let verdicts: Map<String, Value> =
        verdicts.map(|verdict| (verdict.expression.clone(), json!({ "ok": verdict.passed }))).collect();
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Rate => "rate",
        MetricKind::Trend => "trend",
    };
    json!({ "type": kind, "contains": metric.contains, "values": values, "thresholds": verdicts })
}
