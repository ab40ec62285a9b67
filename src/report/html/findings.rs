//! Findings as cards: what stands out, since when, how far from what was expected, and by what evidence.

use std::fmt::{Result, Write};

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Severity};
use crate::model::metric::Unit;
use crate::model::report::AnalysisReport;
use crate::model::time::Timestamp;
use crate::report::columns::{counted, thousands};
use crate::report::early;
use crate::report::text::second;
use crate::report::words::{figure, interval, percent, point};

use super::escape::{lines, name, text};
use super::{endpoints, marks, section};

/// Cards on a page; a report with more has them in its JSON.
const FINDINGS_SHOWN: usize = 200;
const ALSO_SHOWN: usize = 3;
const SERIES_COLUMNS: usize = 90;

pub fn findings(page: &mut String, report: &AnalysisReport) -> Result {
    if report.findings.is_empty() {
        section(page, "findings", "Findings", "")?;
        // To find nothing and not to have looked are two things.
        let not_judged =
            if report.skipped.is_empty() { "" } else { ", but <a href=\"#judged\">not all was judged</a>" };
        writeln!(page, "<p class=\"quiet-line\">Nothing was found{not_judged}.</p>")?;
        gone(page, report)?;
        return writeln!(page, "</section>");
    }
    let counts = [Severity::Critical, Severity::Major, Severity::Minor].map(|severity| {
        let count = report.findings.iter().filter(|finding| finding.severity == severity).count();
        (count > 0).then(|| format!("{} {}", thousands(count as u64), severity.name()))
    });
    section(page, "findings", "Findings", &counts.into_iter().flatten().collect::<Vec<_>>().join(", "))?;
    for (index, finding) in report.findings.iter().take(FINDINGS_SHOWN).enumerate() {
        card(page, report, index + 1, finding)?;
    }
    if let Some(more @ 1..) = report.findings.len().checked_sub(FINDINGS_SHOWN) {
        writeln!(
            page,
            "<p class=\"quiet-line\">And {}: the JSON report has all.</p>",
            counted(more as u64, "more finding")
        )?;
    }
    gone(page, report)?;
    writeln!(page, "</section>")
}

/// What was told while the run went on, and is no finding of the whole run.
fn gone(page: &mut String, report: &AnalysisReport) -> Result {
    early::gone(report).try_for_each(|gone| writeln!(page, "<p class=\"quiet-line\">{}</p>", text(&gone)))
}

fn kind_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::ErrorRate => "Failed requests",
        FindingKind::Checks => "Checks",
        FindingKind::Threshold => "Threshold",
        FindingKind::Objective => "Objective",
        FindingKind::Saturation => "Saturation",
        FindingKind::Latency => "Latency",
        FindingKind::Throughput => "Throughput",
        FindingKind::Drift => "Slow drift",
        FindingKind::Leak => "Climbs",
        FindingKind::Anomaly => "Within this run",
        FindingKind::Generator => "Load generator",
        FindingKind::CoordinatedOmission => "What was not sent",
    }
}

fn card(page: &mut String, report: &AnalysisReport, number: usize, finding: &Finding) -> Result {
    let severity = finding.severity.name();
    let is_better = finding.direction == Direction::Better;
    let tone = if is_better { " is-better" } else { "" };
    writeln!(
        page,
        "<article class=\"finding {severity}{tone}\" id=\"finding-{number}\" aria-labelledby=\"finding-{number}-h\">"
    )?;
    write!(
        page,
        "<p class=\"finding-head\"><span class=\"severity\">{}{severity}</span>",
        marks::severity(finding.severity)
    )?;
    write!(page, "<span>{}</span>", kind_name(finding.kind))?;
    if is_better {
        write!(page, "<span class=\"good\">better</span>")?;
    }
    if let Some(when) = when(finding) {
        write!(page, "<span class=\"muted when\">{when}</span>")?;
    }
    writeln!(
        page,
        "</p><h3 id=\"finding-{number}-h\"><span class=\"number\">{number}</span> {}</h3>",
        text(&finding.title)
    )?;
    figures(page, report, number, finding)?;
    write!(
        page,
        "<p class=\"series muted\">{}",
        name(&endpoints::series_words(report, &finding.series), SERIES_COLUMNS)
    )?;
    if let Some(run) = &finding.since_run {
        write!(page, "; first seen in run {}", name(run, 20))?;
    }
    if let Some(known) = early::known(report, finding) {
        write!(page, "; {}", text(&known))?;
    }
    writeln!(page, "</p>")?;
    also(page, report, finding)?;
    evidence(page, report, number, finding)?;
    writeln!(page, "</article>")
}

fn when(finding: &Finding) -> Option<String> {
    let time = |time: Timestamp| second(time).get(11..).unwrap_or_default().to_owned();
    match (finding.from, finding.until) {
        (Some(from), Some(until)) => Some(format!("{} to {} UTC", second(from), time(until))),
        (Some(from), None) => Some(format!("from {} UTC", second(from))),
        (None, Some(until)) => Some(format!("until {} UTC", second(until))),
        (None, None) => None,
    }
}

fn figures(page: &mut String, report: &AnalysisReport, number: usize, finding: &Finding) -> Result {
    write!(
        page,
        "<div class=\"finding-figures\"><p><span class=\"label\">Observed</span><strong>{}</strong></p>",
        figure(finding.observed, finding.unit)
    )?;
    if let Some(expected) = finding.expected {
        write!(page, "<p><span class=\"label\">Expected</span><span>{}</span></p>", figure(expected, finding.unit))?;
    }
    if let Some(moved) = &finding.change {
        let (tone, _) = marks::direction(Some(finding.direction));
        write!(
            page,
            "<p><span class=\"label\">Change</span><strong class=\"{tone}\">{}</strong></p>",
            point(moved, finding.unit)
        )?;
        if let Some(between) = interval(moved, finding.unit) {
            let confidence = moved
                .confidence
                .map_or("Interval".to_owned(), |confidence| format!("{} interval", percent(confidence)));
            let bar = marks::interval(moved, tone, reach(moved));
            write!(
                page,
                "<p><span class=\"label\">{confidence}</span><span>{bar}<span class=\"between\">{between}</span></span></p>"
            )?;
        }
    }
    show_button(page, report, number, finding)?;
    writeln!(page, "</div>")
}

/// Half the width of an interval's own picture.
fn reach(change: &Change) -> f64 {
    let ends = [Some(change.point), change.low, change.high];
    ends.into_iter().flatten().map(f64::abs).filter(|end| end.is_finite()).fold(0.0, f64::max)
}

fn also(page: &mut String, report: &AnalysisReport, finding: &Finding) -> Result {
    if finding.also.is_empty() {
        return Ok(());
    }
    let words = |index: usize| name(&endpoints::series_words(report, &finding.also[index]), SERIES_COLUMNS);
    if finding.also.len() <= ALSO_SHOWN {
        let all: Vec<String> = (0..finding.also.len()).map(words).collect();
        return writeln!(page, "<p class=\"also\">Moved with it: {}</p>", all.join("; "));
    }
    write!(
        page,
        "<details class=\"also\"><summary>{} moved with it</summary><ul>",
        counted(finding.also.len() as u64, "figure")
    )?;
    (0..finding.also.len()).try_for_each(|index| write!(page, "<li>{}</li>", words(index)))?;
    writeln!(page, "</ul></details>")
}

fn evidence(page: &mut String, report: &AnalysisReport, number: usize, finding: &Finding) -> Result {
    let figures: Vec<&Evidence> =
        finding.evidence.iter().filter(|one| matches!(one, Evidence::Metric { .. })).collect();
    if !figures.is_empty() {
        let open = if finding.severity == Severity::Minor { "" } else { " open" };
        write!(page, "<details{open}><summary>Evidence: {}</summary>", counted(figures.len() as u64, "figure"))?;
        write!(
            page,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Evidence of finding {number}\"><table class=\"stack\"><thead><tr><th scope=\"col\">Figure</th><th scope=\"col\" class=\"n\">Observed</th><th scope=\"col\" class=\"n\">Expected</th><th scope=\"col\" class=\"n\">Change</th><th scope=\"col\">Interval</th><th scope=\"col\">Note</th></tr></thead><tbody>"
        )?;
        let widest = figures.iter().filter_map(|one| match one {
            Evidence::Metric { change, .. } => change.as_ref().map(reach),
            Evidence::Query { .. } => None,
        });
        let widest = widest.fold(0.0, f64::max);
        figures.iter().try_for_each(|one| evidence_row(page, report, finding, one, widest))?;
        writeln!(page, "</tbody></table></div></details>")?;
    }
    for (index, one) in finding.evidence.iter().enumerate() {
        if let Evidence::Query { sql } = one {
            let id = format!("sql-{number}-{}", index + 1);
            writeln!(
                page,
                "<details class=\"sql\"><summary>The rows behind it, by <code>tidemark query</code></summary><div class=\"sql-box\"><pre tabindex=\"0\" role=\"region\" aria-label=\"SQL of finding {number}\"><code id=\"{id}\">{}</code></pre><button type=\"button\" class=\"quiet copy\" data-copy=\"{id}\" hidden>Copy</button></div></details>",
                lines(sql)
            )?;
        }
    }
    Ok(())
}

fn evidence_row(page: &mut String, report: &AnalysisReport, finding: &Finding, one: &Evidence, reach: f64) -> Result {
    let Evidence::Metric { series, observed, expected, unit, change: moved, note } = one else { return Ok(()) };
    let expected = expected.map_or("-".to_owned(), |expected| figure(expected, *unit));
    let (tone, _) = marks::direction(Some(finding.direction));
    let (words, bar) = match moved {
        Some(moved) => (point(moved, *unit), interval_cell(moved, *unit, tone, reach)),
        None => ("-".to_owned(), String::new()),
    };
    writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td class=\"n\" data-l=\"Observed\">{}</td><td class=\"n\" data-l=\"Expected\">{expected}</td><td class=\"n\" data-l=\"Change\">{words}</td><td data-l=\"Interval\">{bar}</td><td data-l=\"Note\">{}</td></tr>",
        name(&endpoints::series_words(report, series), SERIES_COLUMNS),
        figure(*observed, *unit),
        note.as_ref().map_or(String::new(), |note| text(note)),
    )
}

/// The interval as a bar, and in words.
pub fn interval_cell(moved: &Change, unit: Unit, tone: &str, reach: f64) -> String {
    match interval(moved, unit) {
        Some(between) => format!("{}<span class=\"between\">{between}</span>", marks::interval(moved, tone, reach)),
        None => String::new(),
    }
}

/// The button that shows the finding's time and endpoint in the charts.
fn show_button(page: &mut String, report: &AnalysisReport, number: usize, finding: &Finding) -> Result {
    let Some(timeline) = &report.timeline else { return Ok(()) };
    let endpoint = endpoints::index_of(report, &finding.series).filter(|index| *index < timeline.endpoints.len());
    if finding.from.is_none() && endpoint.is_none() {
        return Ok(());
    }
    let seconds =
        |time: Option<Timestamp>| time.map_or(String::new(), |time| time.seconds_since(timeline.start).to_string());
    let endpoint = endpoint.map_or(String::new(), |index| index.to_string());
    writeln!(
        page,
        "<button type=\"button\" class=\"quiet show\" data-from=\"{}\" data-until=\"{}\" data-endpoint=\"{endpoint}\" hidden>Show over time<span class=\"unseen\">, finding {number}</span></button>",
        seconds(finding.from),
        seconds(finding.until)
    )
}
