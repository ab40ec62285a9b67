//! The figures of a run of which only k6's summary is known.

use crate::model::metric::{MetricKind, Unit};
use crate::model::report::{CheckReport, MetricReport};
use crate::model::summary::{Summary, SummaryCheck, SummaryMetric};

use super::figures::{Figures, most_failures_first, totals};

/// Returns what the summary says; endpoints are not in it.
pub fn summary_figures(summary: &Summary) -> Figures {
    let mut metrics: Vec<MetricReport> = summary.metrics.iter().map(metric_report).collect();
    metrics.sort_by(|left, right| left.name.cmp(&right.name));
    let totals = totals(&metrics);
    let checks = summary.checks.iter().map(check_report).collect();
    let (unknown_submetrics, unknown_kinds) = (Vec::new(), Vec::new());
    Figures {
        metrics,
        endpoints: Vec::new(),
        checks: most_failures_first(checks),
        totals,
        unknown_submetrics,
        unknown_kinds,
    }
}

fn check_report(check: &SummaryCheck) -> CheckReport {
    let group = check.path.strip_suffix(&check.name).and_then(|groups| groups.strip_suffix("::"));
    CheckReport {
        name: check.name.clone(),
        group: group.filter(|group| !group.is_empty()).map(str::to_owned),
        passed_count: check.passes,
        failed_count: check.fails,
    }
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
