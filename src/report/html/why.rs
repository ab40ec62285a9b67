//! Likely causes as cards: who, what, how likely, by what evidence, and what would refute it.

use std::fmt::{Result, Write};

use crate::model::diagnosis::{Clue, Diagnosis};
use crate::model::exhibit::Period;
use crate::model::report::AnalysisReport;
use crate::report::columns::counted;
use crate::report::grafana::{self, Lookup};
use crate::report::why;
use crate::report::words::percent;

use super::escape::{link, name, text};
use super::{exhibits, section};

const CAUSES_SHOWN: usize = 50;
const CLUES_SHOWN: usize = 20;
const SERVICE_COLUMNS: usize = 60;

pub fn why(page: &mut String, report: &AnalysisReport) -> Result {
    if report.diagnoses.is_empty() && report.unavailable.is_empty() {
        return Ok(());
    }
    section(page, "why", "Why", &counted(report.diagnoses.len() as u64, "likely cause"))?;
    report
        .diagnoses
        .iter()
        .take(CAUSES_SHOWN)
        .enumerate()
        .try_for_each(|(index, cause)| card(page, report, index + 1, cause))?;
    if let Some(graph) = report.exhibits.as_ref().and_then(|exhibits| exhibits.services.as_ref()) {
        exhibits::services(page, graph)?;
    }
    if let Some(more @ 1..) = report.diagnoses.len().checked_sub(CAUSES_SHOWN) {
        writeln!(
            page,
            "<p class=\"quiet-line\">And {}: the JSON report has all.</p>",
            counted(more as u64, "more cause")
        )?;
    }
    for missing in report.unavailable.iter().take(CAUSES_SHOWN) {
        writeln!(
            page,
            "<p class=\"quiet-line\">{} did not answer: {}</p>",
            name(&missing.backend, 20),
            text(&why::short(&missing.reason))
        )?;
    }
    writeln!(page, "</section>")
}

fn card(page: &mut String, report: &AnalysisReport, number: usize, cause: &Diagnosis) -> Result {
    let kind = cause.kind.name().replace('_', " ");
    writeln!(page, "<article class=\"finding major\" id=\"cause-{number}\" aria-labelledby=\"cause-{number}-h\">")?;
    write!(
        page,
        "<p class=\"finding-head\"><span>{}</span><span>{kind}</span>",
        name(&cause.service, SERVICE_COLUMNS)
    )?;
    let of_finding = |id: &String| report.findings.iter().position(|finding| finding.id == *id);
    match cause.finding.as_ref().map(of_finding) {
        Some(Some(index)) => {
            let number = index + 1;
            write!(
                page,
                "<span class=\"muted\">{}likeliest cause of <a href=\"#finding-{number}\">finding {number}</a></span>",
                ordinal(cause.rank)
            )?;
        }
        Some(None) => {}
        None => write!(page, "<span class=\"muted\">seen by the servers alone</span>")?,
    }
    if let Some(run) = &cause.beside_run {
        write!(page, "<span class=\"muted\">healthy figures are of run {}</span>", name(run, SERVICE_COLUMNS))?;
    }
    writeln!(page, "</p><h3 id=\"cause-{number}-h\">{}</h3>", text(&why::short(&cause.what)))?;
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Evidence of cause {number}\"><table class=\"stack\"><thead><tr><th scope=\"col\">Evidence</th><th scope=\"col\" class=\"n\">Healthy</th><th scope=\"col\" class=\"n\">Then</th><th scope=\"col\">Note</th></tr></thead><tbody>"
    )?;
    for clue in cause.evidence.iter().take(CLUES_SHOWN) {
        let row = why::row(clue);
        let found_by = grafana::lookup(clue).map_or(String::new(), |lookup| found_by(report, clue, &lookup));
        writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\" data-l=\"Healthy\">{}</td><td class=\"n\" data-l=\"Then\">{}</td><td data-l=\"Note\">{}{found_by}</td></tr>",
            text(&row.what),
            row.healthy.map_or("-".to_owned(), |healthy| text(&healthy)),
            text(&row.faulty),
            text(&row.note)
        )?;
    }
    writeln!(
        page,
        "</tbody></table></div><p class=\"muted\">Score {}. It would be refuted by {}.</p>",
        percent(cause.score),
        text(&why::short(&cause.refuted_by))
    )?;
    if let Some(exhibits) = &report.exhibits {
        exhibits::of_cause(page, exhibits, number as u32 - 1)?;
    }
    writeln!(page, "</article>")
}

/// The query that got a piece of evidence, and where Grafana shows it.
fn found_by(report: &AnalysisReport, clue: &Clue, lookup: &Lookup) -> String {
    let query = text(&why::short(&lookup.query));
    let code = format!("<code class=\"query\" title=\"{}\">{query}</code>", text(lookup.source));
    let period = match clue {
        Clue::Profile { faulty_from, faulty_until, .. } => Some(Period { from: *faulty_from, until: *faulty_until }),
        Clue::SpanProfile { from, until, .. } => Some(Period { from: *from, until: *until }),
        _ => report.run.started_at.zip(report.run.ended_at).map(|(from, until)| Period { from, until }),
    };
    let address = report.grafana.as_ref().zip(period).map(|(grafana, period)| grafana::link(grafana, lookup, period));
    let link = address.as_deref().and_then(link).map(|url| format!(" <a href=\"{url}\">Grafana</a>"));
    format!("{code}{}", link.unwrap_or_default())
}

fn ordinal(rank: u32) -> String {
    match rank {
        1 => String::new(),
        2 => "second ".to_owned(),
        3 => "third ".to_owned(),
        rank => format!("{rank}th "),
    }
}
