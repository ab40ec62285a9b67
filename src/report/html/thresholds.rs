//! Thresholds with their headroom: how far inside, or beyond, the limit.

use std::fmt::{Result, Write};

use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, ObjectiveStatus, ThresholdJudge, ThresholdReport};
use crate::model::threshold::{Aggregation, Expression, split_metric_filter};
use crate::report::budget_words;
use crate::report::columns::counted;
use crate::report::words::{figure, headroom};

use super::escape::{name, text};
use super::{endpoints, marks, section};

pub fn thresholds(page: &mut String, report: &AnalysisReport) -> Result {
    if report.thresholds.is_empty() {
        section(page, "thresholds", "Thresholds", "")?;
        return writeln!(page, "<p class=\"quiet-line\">The test sets no threshold.</p></section>");
    }
    let failed = report.thresholds.iter().filter(|threshold| !threshold.passed).count() as u64;
    let all = counted(report.thresholds.len() as u64, "threshold");
    let note = if failed == 0 { format!("{all}, all held") } else { format!("{failed} of {all} failed") };
    section(page, "thresholds", "Thresholds", &note)?;
    let has_bars = report.thresholds.iter().any(|threshold| threshold.headroom.is_some());
    let scale = if has_bars {
        "<th scope=\"col\"><span class=\"ends\"><span>beyond</span><span>limit</span><span>inside</span></span></th>"
    } else {
        "<td></td>"
    };
    writeln!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table: thresholds\"><table class=\"stack\"><thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Threshold</th><th scope=\"col\" class=\"n\">Observed</th><th scope=\"col\" class=\"n\">Headroom</th>{scale}</tr></thead><tbody>"
    )?;
    // What failed first; the sort is stable.
    let mut sorted: Vec<&ThresholdReport> = report.thresholds.iter().collect();
    sorted.sort_by_key(|threshold| threshold.passed);
    sorted.into_iter().try_for_each(|threshold| row(page, report, threshold))?;
    writeln!(page, "</tbody></table></div></section>")
}

/// Error budgets, and how fast the run used them up.
pub fn objectives(page: &mut String, report: &AnalysisReport) -> Result {
    if report.objectives.is_empty() {
        return Ok(());
    }
    let burning = report.objectives.iter().filter(|one| one.status == ObjectiveStatus::Burning).count() as u64;
    section(
        page,
        "objectives",
        "Objectives",
        &format!("{burning} of {} burn", counted(report.objectives.len() as u64, "budget")),
    )?;
    writeln!(page, "<ul>")?;
    for objective in &report.objectives {
        let tone = match objective.status {
            ObjectiveStatus::Held => "good",
            ObjectiveStatus::Burning => "bad",
            ObjectiveStatus::NotEnoughRequests => "warn",
        };
        let status = budget_words::status(objective.status);
        writeln!(
            page,
            "<li><span class=\"{tone}\">{status}</span> {}</li>",
            text(&budget_words::objective(objective))
        )?;
    }
    writeln!(page, "</ul></section>")
}

fn row(page: &mut String, report: &AnalysisReport, threshold: &ThresholdReport) -> Result {
    let (tone, word) = if threshold.passed { ("good", "held") } else { ("bad", "failed") };
    let observed = match threshold.observed {
        Some(observed) => figure(observed, unit_of(report, threshold)),
        None if threshold.judged_by == ThresholdJudge::Summary => "not in the summary".to_owned(),
        None => "no sample".to_owned(),
    };
    write!(page, "<tr><td class=\"result {tone}\">{}{word}</td>", marks::held(threshold.passed))?;
    let metric = endpoints::without_origin(report, &threshold.metric);
    write!(
        page,
        "<th scope=\"row\"><code>{}</code> <code class=\"expression\">{}</code>",
        name(&metric, 90),
        name(&threshold.expression, 60)
    )?;
    let mut notes = Vec::new();
    if threshold.k6_passed.is_some_and(|passed| passed != threshold.passed) {
        notes.push(if threshold.passed {
            "k6's own summary says that it failed"
        } else {
            "k6's own summary says that it held"
        });
    }
    if threshold.judged_by == ThresholdJudge::Summary {
        notes.push("judged by k6");
    }
    if threshold.abort_on_fail {
        notes.push("ends the run when it fails");
    }
    let course = threshold.over_time.as_ref().and_then(budget_words::over_time);
    notes.extend(course.as_deref());
    if !notes.is_empty() {
        write!(page, "<small class=\"muted\">{}</small>", notes.join("; "))?;
    }
    let (words, bar) = match threshold.headroom {
        Some(inside) => (format!("<span class=\"{tone}\">{}</span>", headroom(inside)), marks::headroom(inside)),
        None => ("-".to_owned(), String::new()),
    };
    writeln!(
        page,
        "</th><td class=\"n\" data-l=\"Observed\">{observed}</td><td class=\"n\" data-l=\"Headroom\">{words}</td><td data-l=\"\">{bar}</td></tr>"
    )
}

/// What an observed value is in. A count or a rate that the expression itself makes of the samples has no unit of its own.
fn unit_of(report: &AnalysisReport, threshold: &ThresholdReport) -> Unit {
    let metric = split_metric_filter(&threshold.metric).map_or(threshold.metric.as_str(), |(metric, _)| metric);
    let unit = report.metrics.iter().find(|known| known.name == metric).map_or(Unit::None, |known| known.unit);
    let aggregation = Expression::parse(&threshold.expression).ok().map(|expression| expression.aggregation);
    match (aggregation, unit) {
        (Some(Aggregation::Rate), Unit::Fraction) => Unit::Fraction,
        (Some(Aggregation::Count | Aggregation::Rate), Unit::Bytes) => Unit::Bytes,
        (Some(Aggregation::Count | Aggregation::Rate) | None, _) => Unit::None,
        (Some(_), unit) => unit,
    }
}
