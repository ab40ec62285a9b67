//! k6's thresholds, judged again from the samples: equal to k6's own verdict at the end of the run.

use std::collections::BTreeMap;

use crate::model::metric::{MetricKind, ThresholdSource};
use crate::model::report::{MetricReport, Skipped, ThresholdJudge, ThresholdReport};
use crate::model::summary::{Summary, SummaryMetric, percentile_name};
use crate::model::threshold::{Aggregation, Expression};

/// Thresholds by the name of their metric or sub-metric.
pub type Thresholds = BTreeMap<String, Vec<ThresholdSource>>;

/// Returns the percentages that the thresholds ask for, by metric or sub-metric.
pub fn percentages(thresholds: &Thresholds) -> BTreeMap<String, Vec<f64>> {
    let asked = |sources: &Vec<ThresholdSource>| -> Vec<f64> {
        let expressions = sources.iter().filter_map(|source| Expression::parse(&source.expression).ok());
        expressions
            .filter_map(|expression| match expression.aggregation {
                Aggregation::Percentile(percentage) => Some(percentage),
                _ => None,
            })
            .collect()
    };
    thresholds.iter().map(|(name, sources)| (name.clone(), asked(sources))).collect()
}

/// Judges every threshold; what cannot be judged is skipped with its reason.
pub fn judge(thresholds: &Thresholds, metrics: &[MetricReport]) -> (Vec<ThresholdReport>, Vec<Skipped>) {
    let (mut reports, mut skipped) = (Vec::new(), Vec::new());
    for (name, sources) in thresholds {
        let metric = metrics.iter().find(|metric| metric.name == *name);
        for source in sources {
            let expression = Expression::parse(&source.expression);
            let judged = expression.map_err(|error| error.to_string()).and_then(|expression| {
                let metric = metric.ok_or("no sample of this metric, nor its kind, is known")?;
                let observed = observed(metric, expression.aggregation)?;
                Ok((expression, observed))
            });
            match judged {
                Ok((expression, observed)) => reports.push(report(name, source, expression, observed)),
                Err(reason) => {
                    skipped.push(Skipped { what: format!("threshold {name}: {}", source.expression), reason })
                }
            }
        }
    }
    (reports, skipped)
}

/// Returns k6's own verdicts, as its summary holds them.
pub fn of_summary(summary: &Summary, metrics: &[MetricReport]) -> Vec<ThresholdReport> {
    let of_metric = |metric: &SummaryMetric| {
        let figures = metrics.iter().find(|figures| figures.name == metric.name);
        let verdicts = metric.thresholds.iter().map(|threshold| {
            let expression = Expression::parse(&threshold.expression).ok();
            let seen = expression.zip(figures).and_then(|(expression, figures)| {
                let observed = observed(figures, expression.aggregation).ok()?;
                observed.compared.filter(|_| observed.is_real)
            });
            ThresholdReport {
                metric: metric.name.clone(),
                expression: threshold.expression.clone(),
                passed: threshold.passed,
                observed: seen,
                headroom: expression.zip(seen).and_then(|(expression, seen)| expression.headroom(seen)),
                abort_on_fail: false,
                k6_passed: Some(threshold.passed),
                over_time: None,
                judged_by: ThresholdJudge::Summary,
            }
        });
        verdicts.collect::<Vec<_>>()
    };
    summary.metrics.iter().flat_map(of_metric).collect()
}

/// What a threshold sees: the figure that k6 compares, and whether it was ever observed.
struct Observed {
    compared: Option<f64>,
    is_real: bool,
}

/// k6 2.2, `metrics/thresholds.go`: a sink without samples is 0, but a rate without samples passes.
fn observed(metric: &MetricReport, aggregation: Aggregation) -> Result<Observed, String> {
    let name = match (metric.kind, aggregation) {
        (MetricKind::Counter, Aggregation::Count) => "count".to_owned(),
        (MetricKind::Counter | MetricKind::Rate, Aggregation::Rate) => "rate".to_owned(),
        (MetricKind::Gauge, Aggregation::Value) => "value".to_owned(),
        (MetricKind::Trend, Aggregation::Average) => "avg".to_owned(),
        (MetricKind::Trend, Aggregation::Minimum) => "min".to_owned(),
        (MetricKind::Trend, Aggregation::Maximum) => "max".to_owned(),
        (MetricKind::Trend, Aggregation::Median | Aggregation::Percentile(50.0)) => "med".to_owned(),
        (MetricKind::Trend, Aggregation::Percentile(percentage)) => percentile_name(percentage),
        (kind, aggregation) => return Err(format!("a {} has no {aggregation}", kind.name())),
    };
    match metric.values.get(&name) {
        Some(value) => Ok(Observed { compared: Some(*value), is_real: metric.count != Some(0) }),
        None if metric.count == Some(0) && metric.kind == MetricKind::Rate => {
            Ok(Observed { compared: None, is_real: false })
        }
        None if metric.count == Some(0) => Ok(Observed { compared: Some(0.0), is_real: false }),
        None => Err(format!("{aggregation} of it is not known")),
    }
}

fn report(metric: &str, source: &ThresholdSource, expression: Expression, observed: Observed) -> ThresholdReport {
    let real = observed.compared.filter(|_| observed.is_real);
    ThresholdReport {
        metric: metric.to_owned(),
        expression: source.expression.clone(),
        passed: observed.compared.is_none_or(|value| expression.holds(value)),
        observed: real,
        headroom: real.and_then(|value| expression.headroom(value)),
        abort_on_fail: source.abort_on_fail,
        k6_passed: None,
        over_time: None,
        judged_by: ThresholdJudge::Samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::Unit;

    fn metric(name: &str, kind: MetricKind, count: u64, values: &[(&str, f64)]) -> MetricReport {
        let values = values.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        MetricReport { name: name.into(), kind, unit: Unit::None, count: Some(count), values, quantile_error: 0.0 }
    }

    fn check(expression: &str, metric: &MetricReport, expected: Option<bool>) {
        let source = ThresholdSource { expression: expression.into(), abort_on_fail: false, delay_abort_eval: None };
        let thresholds = Thresholds::from([(metric.name.clone(), vec![source])]);
        let (reports, skipped) = judge(&thresholds, std::slice::from_ref(metric));
        assert_eq!(reports.first().map(|report| report.passed), expected, "{expression}");
        assert_eq!(skipped.is_empty(), expected.is_some());
    }

    #[test]
    fn as_k6_judges() {
        let trend = metric("t", MetricKind::Trend, 3, &[("p95", 10.0), ("med", 4.0), ("p99_9", 12.0)]);
        check("p(95)<10.5", &trend, Some(true));
        check("p(95)<10", &trend, Some(false));
        check("p(50)>=4", &trend, Some(true));
        check("p(99.9)===12", &trend, Some(true));
        check("rate<1", &trend, None);
        check("what<1", &trend, None);
        // Without samples: a trend and a counter are 0, a rate passes.
        check("avg>0", &metric("t", MetricKind::Trend, 0, &[]), Some(false));
        check("p(95)<500", &metric("t", MetricKind::Trend, 0, &[]), Some(true));
        check("count>0", &metric("c", MetricKind::Counter, 0, &[("count", 0.0)]), Some(false));
        check("rate>0.99", &metric("r", MetricKind::Rate, 0, &[]), Some(true));
    }
}
