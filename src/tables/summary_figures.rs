//! The figures of a run of which only k6's summary is known.

use crate::model::metric::{MetricKind, Unit};
use crate::model::report::MetricReport;
use crate::model::summary::{Summary, SummaryMetric};

use super::figures::{Figures, totals};

/// Returns what the summary says; endpoints are not in it.
pub fn summary_figures(summary: &Summary) -> Figures {
    let mut metrics: Vec<MetricReport> = summary.metrics.iter().map(metric_report).collect();
    metrics.sort_by(|left, right| left.name.cmp(&right.name));
    let totals = totals(&metrics);
    Figures { metrics, endpoints: Vec::new(), totals, unknown_submetrics: Vec::new(), unknown_kinds: Vec::new() }
}

fn metric_report(metric: &SummaryMetric) -> MetricReport {
    let mut values = metric.values.clone();
    let count = match metric.kind {
        MetricKind::Trend => values.remove("count").map(|count| count as u64),
        MetricKind::Rate => {
            let sides = metric.values.get("passes").zip(metric.values.get("fails"));
            sides.map(|(passes, fails)| (passes + fails) as u64)
        }
        MetricKind::Counter | MetricKind::Gauge => None,
    };
    let unit = Unit::of(metric.kind, metric.contains);
    MetricReport { name: metric.name.clone(), kind: metric.kind, unit, count, values, quantile_error: 0.0 }
}
