//! Which summaries are of the run whose samples were read, and k6's own verdicts beside ours.

use crate::model::metric::MetricKind;
use crate::model::report::{Skipped, ThresholdReport};
use crate::model::run::{SourceKind, SourceReport};
use crate::model::summary::{Summary, SummaryMetric};
use crate::tables::aggregate::Aggregate;

/// A summary and the file that it is from.
pub type Given = (Summary, SourceReport);

/// Counters that every summary has, and of which those of pods add up.
const COUNTERS: [&str; 2] = ["http_reqs", "iterations"];

/// Trends whose extremes tell two runs with the same counts apart.
const TRENDS: [&str; 2] = ["http_req_duration", "iteration_duration"];

/// Figures that two summaries must share to be taken for the same.
const SHARED_FIGURES_MIN: usize = 5;

/// k6's CSV has six decimals.
const CSV_ERROR: f64 = 1e-6;

/// The summaries of the run, and what is to be said of the others.
#[derive(Debug)]
pub struct Own<'s> {
    pub summaries: Vec<&'s Summary>,
    pub skipped: Vec<Skipped>,
}

/// Keeps one of the summaries that k6 wrote of the same run in several shapes, and names the others.
///
/// The shape that says most stays: handleSummary's data, then an export, then the machine-readable one.
pub fn distinct(given: Vec<Given>) -> (Vec<Given>, Vec<Skipped>) {
    let rank = |summary: &Summary| match summary.kind {
        SourceKind::K6HandleSummary => 0,
        SourceKind::K6SummaryExport => 1,
        _ => 2,
    };
    let mut order: Vec<usize> = (0..given.len()).collect();
    order.sort_by_key(|index| rank(&given[*index].0));
    let (mut kept, mut skipped): (Vec<usize>, Vec<Skipped>) = (Vec::new(), Vec::new());
    for index in order {
        let (summary, source) = &given[index];
        match kept.iter().find(|other| is_same_run(&given[**other].0, summary)) {
            None => kept.push(index),
            Some(other) => {
                let reason = format!("the summary of the same run as {}, which is used instead", given[*other].1.name);
                skipped.push(Skipped { what: source.name.clone(), reason });
            }
        }
    }
    let given = given.into_iter().enumerate().filter(|(index, _)| kept.contains(index));
    (given.map(|(_, given)| given).collect(), skipped)
}

/// Says whether two summaries have the same figures, as far as both have them.
fn is_same_run(left: &Summary, right: &Summary) -> bool {
    let mut shared_count = 0;
    for metric in &left.metrics {
        let Some(other) = right.metric(&metric.name) else { continue };
        // A counter's rate is over k6's clock, which goes on between two summaries.
        let figures = metric.values.iter().filter(|(name, _)| metric.kind != MetricKind::Counter || *name != "rate");
        for (name, value) in figures {
            match other.values.get(name) {
                Some(same) if same == value => shared_count += 1,
                Some(_) => return false,
                None => {}
            }
        }
    }
    shared_count >= SHARED_FIGURES_MIN
}

/// Returns the summaries that are of the run which was read: all together, as those of pods, or else one alone.
pub fn own<'s>(aggregate: &Aggregate, given: &'s [Given]) -> Own<'s> {
    let all: Vec<&Given> = given.iter().collect();
    let fitting = if fits(aggregate, &all) {
        all
    } else {
        let alone: Vec<&Given> = given.iter().filter(|one| fits(aggregate, &[*one])).collect();
        if alone.len() == 1 { alone } else { Vec::new() }
    };
    let is_own = |source: &SourceReport| fitting.iter().any(|(_, own)| own.name == source.name);
    let others: Vec<&str> =
        given.iter().filter(|(_, source)| !is_own(source)).map(|(_, source)| source.name.as_str()).collect();
    let reason = "its requests and iterations are not those of the samples: it is of another run";
    let skipped = if others.is_empty() {
        Vec::new()
    } else {
        vec![Skipped { what: others.join(", "), reason: reason.to_owned() }]
    };
    Own { summaries: fitting.into_iter().map(|(summary, _)| summary).collect(), skipped }
}

fn fits(aggregate: &Aggregate, given: &[&Given]) -> bool {
    let told = |name: &str, figure: &str| -> Vec<f64> {
        let metrics = given.iter().filter_map(|(summary, _)| summary.metric(name));
        metrics.filter_map(|metric: &SummaryMetric| metric.values.get(figure).copied()).collect()
    };
    let cells = |name: &'static str| {
        let is_its = move |metric: u32| *aggregate.metrics[metric as usize].name == *name;
        aggregate.cells.iter().filter(move |cell| is_its(cell.metric) && cell.count > 0)
    };
    let counts_fit = COUNTERS.into_iter().all(|name| {
        let counted: f64 = cells(name).map(|cell| cell.sum.value()).sum();
        counted == told(name, "count").iter().sum::<f64>()
    });
    let extremes_fit = TRENDS.into_iter().all(|name| {
        let (least, most) = (told(name, "min"), told(name, "max"));
        // `--summary-trend-stats` may leave both out.
        if least.len() < given.len() || most.len() < given.len() || cells(name).next().is_none() {
            return true;
        }
        let is_close = |left: f64, right: f64| (left - right).abs() <= CSV_ERROR;
        let (seen_least, seen_most) = (cells(name).map(|cell| cell.min), cells(name).map(|cell| cell.max));
        is_close(seen_least.fold(f64::INFINITY, f64::min), least.into_iter().fold(f64::INFINITY, f64::min))
            && is_close(seen_most.fold(f64::NEG_INFINITY, f64::max), most.into_iter().fold(f64::NEG_INFINITY, f64::max))
    });
    counts_fit && extremes_fit
}

/// Notes k6's own verdict beside ours where one summary of the whole run tells it.
///
/// The summaries of pods do not: k6 judged each pod by its own part. Where that gave another verdict it is returned.
pub fn add_k6_verdicts(thresholds: &mut [ThresholdReport], own: &[&Summary]) -> Vec<Skipped> {
    let verdicts = |metric: &str, expression: &str| -> Vec<bool> {
        let metrics = own.iter().filter_map(|summary| summary.metric(metric));
        let verdicts = metrics.flat_map(|metric| &metric.thresholds);
        verdicts.filter(|verdict| verdict.expression == expression).map(|verdict| verdict.passed).collect()
    };
    let mut others = Vec::new();
    for threshold in thresholds {
        let by_k6 = verdicts(&threshold.metric, &threshold.expression);
        if let ([_], [passed]) = (own, by_k6.as_slice()) {
            threshold.k6_passed = Some(*passed);
        }
        let other = by_k6.iter().filter(|passed| **passed != threshold.passed).count();
        if own.len() > 1 && other > 0 {
            let (what, pods) = (format!("{} {}", threshold.metric, threshold.expression), own.len());
            others.push(format!("{what} {} in {other} of {pods}", if threshold.passed { "failed" } else { "held" }));
        }
    }
    if others.is_empty() {
        return Vec::new();
    }
    let reason =
        format!("each pod is judged by its own part only, here by all samples together: {}", others.join("; "));
    vec![Skipped { what: "k6's own verdicts".to_owned(), reason }]
}
