//! Likely causes as cards: who, what, how likely, by what evidence, and what would refute it.

use std::fmt::{Result, Write};

use crate::model::diagnosis::Diagnosis;
use crate::model::report::AnalysisReport;
use crate::report::columns::counted;
use crate::report::why;
use crate::report::words::percent;

use super::escape::{name, text};
use super::section;

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
    writeln!(page, "</p><h3 id=\"cause-{number}-h\">{}</h3>", text(&why::short(&cause.what)))?;
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Evidence of cause {number}\"><table class=\"stack\"><thead><tr><th scope=\"col\">Evidence</th><th scope=\"col\" class=\"n\">Healthy</th><th scope=\"col\" class=\"n\">Then</th><th scope=\"col\">Note</th></tr></thead><tbody>"
    )?;
    for clue in cause.evidence.iter().take(CLUES_SHOWN) {
        let row = why::row(clue);
        writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\" data-l=\"Healthy\">{}</td><td class=\"n\" data-l=\"Then\">{}</td><td data-l=\"Note\">{}</td></tr>",
            text(&row.what),
            row.healthy.map_or("-".to_owned(), |healthy| text(&healthy)),
            text(&row.faulty),
            text(&row.note)
        )?;
    }
    writeln!(
        page,
        "</tbody></table></div><p class=\"muted\">Score {}. It would be refuted by {}.</p></article>",
        percent(cause.score),
        text(&why::short(&cause.refuted_by))
    )
}

fn ordinal(rank: u32) -> String {
    match rank {
        1 => String::new(),
        2 => "second ".to_owned(),
        3 => "third ".to_owned(),
        rank => format!("{rank}th "),
    }
}
