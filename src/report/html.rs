//! The report as one page: words and tables as HTML that need no script, charts that can be zoomed, no request to any network.

use std::fmt::{Result, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::model::report::{AnalysisReport, VerdictKind};

mod comparison;
mod endpoints;
mod escape;
mod findings;
mod marks;
mod method;
mod summary;
mod thresholds;
mod timeline;

use escape::text;

/// uPlot 1.6 draws the charts; its licence lies beside it, and in the page behind the script.
const CHARTS_SCRIPT: &str = include_str!("page/uPlot.iife.min.js");
const CHARTS_STYLE: &str = include_str!("page/uPlot.min.css");
const CHARTS_LICENCE: &str = include_str!("page/uPlot-LICENSE.txt");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// Returns the whole page; everything that it needs is in it.
pub fn render(report: &AnalysisReport) -> String {
    let mut page = String::with_capacity(1 << 20);
    render_into(&mut page, report).expect("a String takes everything");
    page
}

fn render_into(page: &mut String, report: &AnalysisReport) -> Result {
    head(page, report)?;
    bar(page, report)?;
    page.push_str("<main id=\"main\">\n");
    summary::verdict(page, report)?;
    summary::figures(page, report)?;
    comparison::unfair(page, report)?;
    findings::findings(page, report)?;
    thresholds::thresholds(page, report)?;
    timeline::charts(page, report)?;
    endpoints::endpoints(page, report)?;
    comparison::comparison(page, report)?;
    method::metrics(page, report)?;
    method::rejected(page, report)?;
    method::judged(page, report)?;
    page.push_str("</main>\n");
    writeln!(
        page,
        "<footer>Made by Tidemark {} from one report. Nothing here was loaded from a network.</footer>",
        env!("CARGO_PKG_VERSION")
    )?;
    timeline::data(page, report)?;
    write!(
        page,
        "<script>{CHARTS_SCRIPT}</script>\n<script>{SCRIPT}</script>\n<!--\n{CHARTS_LICENCE}\n-->\n</body>\n</html>\n"
    )
}

fn head(page: &mut String, report: &AnalysisReport) -> Result {
    let style = format!("{CHARTS_STYLE}{STYLE}");
    let (test, environment) = (text(&report.run.test), text(&report.run.environment));
    let verdict = summary::verdict_name(report.verdict.kind);
    writeln!(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    // Nothing is loaded, and no script runs but these two, whatever a name in the report holds.
    writeln!(
        page,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src {}; script-src {} {}; \
         base-uri 'none'; form-action 'none'\">",
        content_hash(&style),
        content_hash(CHARTS_SCRIPT),
        content_hash(SCRIPT)
    )?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(page, "<meta name=\"color-scheme\" content=\"light dark\">")?;
    writeln!(page, "<meta name=\"generator\" content=\"Tidemark {}\">", env!("CARGO_PKG_VERSION"))?;
    writeln!(page, "<title>{verdict}: {test}, {environment}</title>")?;
    writeln!(page, "<link rel=\"icon\" href=\"data:image/svg+xml,{}\">", marks::icon(report.verdict.kind))?;
    writeln!(page, "<style>{style}</style>\n</head>\n<body>")
}

/// What a Content-Security-Policy names an inline script or style by.
fn content_hash(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

/// The bar that stays at the top: which run, its verdict, and the way to each section.
fn bar(page: &mut String, report: &AnalysisReport) -> Result {
    let kind = report.verdict.kind;
    writeln!(
        page,
        "<a class=\"skip\" href=\"#main\">Skip to the verdict</a>\n<header class=\"bar\"><div class=\"bar-inside\">"
    )?;
    let (test, environment) = (escape::name(&report.run.test, 32), escape::name(&report.run.environment, 20));
    write!(
        page,
        "<a class=\"bar-run\" href=\"#main\"><span class=\"pill {}\">{}{}</span>",
        tone(kind),
        marks::verdict(kind),
        summary::verdict_name(kind)
    )?;
    writeln!(page, "<span class=\"bar-test\">{test} <span class=\"muted\">{environment}</span></span></a>")?;
    writeln!(page, "<nav aria-label=\"Sections\">")?;
    let sections = [
        ("findings", "Findings", !report.findings.is_empty()),
        ("thresholds", "Thresholds", !report.thresholds.is_empty()),
        ("over-time", "Over time", report.timeline.is_some()),
        ("endpoints", "Endpoints", !report.endpoints.is_empty()),
        ("comparison", "Comparison", report.comparison.is_some()),
        ("judged", "How judged", true),
    ];
    for (id, name, _) in sections.iter().filter(|(_, _, is_there)| *is_there) {
        write!(page, "<a href=\"#{id}\">{name}</a>")?;
    }
    writeln!(page, "</nav><button type=\"button\" id=\"theme\" class=\"quiet\" hidden>Dark</button></div></header>")
}

/// The class that colours what speaks of the verdict.
fn tone(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Pass => "good",
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => "bad",
        VerdictKind::Suspect | VerdictKind::Inconclusive => "warn",
    }
}

/// Opens a section with its heading; `note` stands beside it, and is plain words.
fn section(page: &mut String, id: &str, heading: &str, note: &str) -> Result {
    write!(
        page,
        "<section id=\"{id}\" aria-labelledby=\"{id}-h\">\n<div class=\"head\"><h2 id=\"{id}-h\">{heading}</h2>"
    )?;
    if !note.is_empty() {
        write!(page, "<p class=\"muted\">{}</p>", text(note))?;
    }
    writeln!(page, "</div>")
}
