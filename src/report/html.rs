//! The report as one page: words and tables as HTML that need no script, charts that can be zoomed, no request to any network.

use std::fmt::{Result, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::model::report::{AnalysisReport, VerdictKind};

use super::flame;

mod comparison;
mod endpoints;
pub mod escape;
mod exhibits;
mod findings;
mod history;
mod marks;
mod method;
mod summary;
mod thresholds;
mod timeline;
mod why;

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
    why::why(page, report)?;
    thresholds::thresholds(page, report)?;
    thresholds::objectives(page, report)?;
    history::history(page, report)?;
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
        "<script>{CHARTS_SCRIPT}</script>\n<script>{SCRIPT}</script>\n<script>{}</script>\n<!--\n{CHARTS_LICENCE}\n-->\n</body>\n</html>\n",
        flame::SCRIPT
    )
}

fn head(page: &mut String, report: &AnalysisReport) -> Result {
    let style = format!("{CHARTS_STYLE}{STYLE}");
    let (test, environment) = (text(&report.run.test), text(&report.run.environment));
    let verdict = summary::verdict_name(report.verdict.kind);
    writeln!(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    // Nothing is loaded, and no script runs but these three, whatever a name in the report holds.
    writeln!(
        page,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src {}; script-src {} {} {}; \
         base-uri 'none'; form-action 'none'\">",
        content_hash(&style),
        content_hash(CHARTS_SCRIPT),
        content_hash(SCRIPT),
        content_hash(flame::SCRIPT)
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
        ("why", "Why", !report.diagnoses.is_empty()),
        ("thresholds", "Thresholds", !report.thresholds.is_empty()),
        ("history", "Over the runs", report.history.is_some()),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::time::Timestamp;
    use crate::report::sample::{HOSTILE, report, summary_only};

    /// Returns the page without what its scripts and styles are made of, which no report reaches.
    fn markup(page: &str) -> String {
        [CHARTS_SCRIPT, SCRIPT, CHARTS_STYLE, STYLE].iter().fold(page.to_owned(), |page, asset| page.replace(asset, ""))
    }

    /// Returns the names of all tags, in their order.
    fn tags(page: &str) -> Vec<String> {
        let markup = markup(page);
        let names = markup.split('<').skip(1).map(|tag| {
            let end =
                tag.find(|letter: char| !letter.is_alphanumeric() && !"/!-".contains(letter)).unwrap_or(tag.len());
            tag[..end].to_owned()
        });
        names.collect()
    }

    fn attribute_values<'a>(markup: &'a str, attribute: &str) -> Vec<&'a str> {
        let opening = format!(" {attribute}=\"");
        markup.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn hostile_names_are_words() {
        // A name of the same length, so that both are shortened alike.
        for name in HOSTILE {
            let plain = "x".repeat(name.chars().count());
            let (page, expected) = (render(&report(3, 5, name, 1.5)), render(&report(3, 5, &plain, 1.5)));
            let (found, expected) = (tags(&page), tags(&expected));
            // A picture of a chart has an element a line of its words; the page around it is the same.
            let around = |tags: &[String]| tags.iter().filter(|tag| !tag.contains("text")).cloned().collect::<Vec<_>>();
            assert_eq!(around(&found), around(&expected), "{name:?}");
            let harmful = |letter: char| {
                letter.is_control() && letter != '\n'
                    || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            assert!(!markup(&page).contains(harmful), "{name:?}");
        }
    }

    #[test]
    fn long_names_do_not_swell_the_page() {
        let long = "x".repeat(10_240);
        let (page, plain) = (render(&report(50, 5, &long, 1.5)), render(&report(50, 5, "x", 1.5)));
        assert!(page.len() < plain.len() + 600_000, "{} and {} bytes", page.len(), plain.len());
    }

    #[test]
    fn an_hour_of_fifty_endpoints_is_small() {
        let page = render(&report(50, 360, "https://shop.example.test/catalogue/{id}", 123.4));
        assert!(page.len() < 1_500_000, "{} bytes", page.len());
    }

    #[test]
    fn figures_of_many_endpoints_are_bounded() {
        let page = render(&report(2000, 360, "x", 123.4));
        assert!(page.contains("Only the first 111 endpoints can be shown over time"));
        assert!(page.len() < 7_000_000, "{} bytes", page.len());
    }

    #[test]
    fn nothing_is_loaded() {
        let mut report = report(3, 5, "x", 1.5);
        report.run.ci_url = Some("https://ci.test/1".to_owned());
        let page = render(&report);
        let markup = markup(&page);
        for href in attribute_values(&markup, "href") {
            let is_inside =
                href.starts_with('#') || href.starts_with("data:image/svg+xml,") || href == "https://ci.test/1";
            let is_inside = is_inside || href.starts_with("https://grafana.test/explore?");
            assert!(is_inside, "{href}");
        }
        for attribute in ["src", "srcset", "action", "poster", "style", "onclick"] {
            assert!(attribute_values(&markup, attribute).is_empty(), "{attribute}");
        }
        for style in [CHARTS_STYLE, STYLE] {
            assert!(!style.contains("url(") && !style.contains("@import"));
        }
        report.run.ci_url = Some("javascript:alert(1)".to_owned());
        assert!(!render(&report).contains("href=\"javascript"));
    }

    #[test]
    fn scripts_do_not_end_early() {
        for asset in [CHARTS_SCRIPT, SCRIPT, CHARTS_STYLE, STYLE] {
            assert!(!asset.contains("</script") && !asset.contains("</style"));
            assert!(!asset.contains("<!--"));
        }
        assert!(!CHARTS_LICENCE.contains("--"));
    }

    #[test]
    fn ids_are_unique_and_what_is_referred_to_is_there() {
        for report in [report(3, 5, "x", 1.5), summary_only()] {
            let markup = markup(&render(&report));
            let ids = attribute_values(&markup, "id");
            let unique: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(ids.len(), unique.len());
            for attribute in ["aria-labelledby", "href", "data-copy"] {
                let references = attribute_values(&markup, attribute).into_iter();
                let inside = references.map(|id| id.trim_start_matches('#')).filter(|id| !id.contains(':'));
                inside.for_each(|id| assert!(unique.contains(id), "{attribute} {id}"));
            }
        }
    }

    #[test]
    fn a_summary_alone_says_what_is_missing() {
        let page = render(&summary_only());
        for words in ["Nothing was found", "The test sets no threshold.", "Only a summary was read", "Not compared"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!markup(&page).contains("NaN"));
    }

    #[test]
    fn every_verdict_has_its_words_and_its_shape() {
        let kinds = [
            VerdictKind::Pass,
            VerdictKind::Regressed,
            VerdictKind::ThresholdsFailed,
            VerdictKind::Suspect,
            VerdictKind::Inconclusive,
        ];
        let shapes: BTreeSet<String> = kinds.iter().map(|kind| marks::verdict(*kind)).collect();
        let names: BTreeSet<&str> = kinds.iter().map(|kind| summary::verdict_name(*kind)).collect();
        assert_eq!((shapes.len(), names.len()), (5, 5));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn any_report_has_a_page(
            name in any::<String>(),
            value in any::<f64>(),
            sizes in (0usize..4, 0usize..6),
            times in (any::<i64>(), any::<i64>(), any::<i64>()),
            steps in (any::<u32>(), any::<u32>()),
            cut in 0usize..6,
        ) {
            let mut report = report(sizes.0, sizes.1, &name, value);
            report.phases.steady_from = Some(Timestamp(times.0));
            report.findings[0].from = Some(Timestamp(times.1));
            report.findings[0].until = Some(Timestamp(times.2));
            report.run.ended_at = Some(Timestamp(times.2));
            if let Some(timeline) = &mut report.timeline {
                timeline.start = Timestamp(times.0);
                (timeline.step_seconds, timeline.steps_count) = steps;
                // Lists that do not go together.
                timeline.endpoints.truncate(cut);
                timeline.vus.truncate(cut);
                timeline.latency_heat.counts.truncate(cut);
                timeline.latency_heat.bounds_ms.truncate(cut * 8);
            }
            let page = render(&report);
            prop_assert!(page.ends_with("</html>\n"));
        }
    }
}
