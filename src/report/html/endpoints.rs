//! Endpoints as a table that sorts and filters, and how an endpoint is named on the page.

use std::collections::BTreeMap;
use std::fmt::{Result, Write};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::SeriesReference;
use crate::model::report::{AnalysisReport, EndpointReport};
use crate::report::columns::{counted, thousands};
use crate::report::figures::{change, percent, series, short};
use crate::report::text::common_origin;

use super::escape::{name, text};
use super::{marks, section, timeline};

/// Statuses of one endpoint that its row shows.
const STATUSES_SHOWN: usize = 4;
const NAME_COLUMNS: usize = 80;

pub fn endpoints(page: &mut String, report: &AnalysisReport) -> Result {
    if report.endpoints.is_empty() {
        section(page, "endpoints", "Endpoints", "")?;
        return writeln!(page, "<p class=\"quiet-line\">What was read does not tell endpoints apart.</p></section>");
    }
    section(page, "endpoints", "Endpoints", &counted(report.endpoints.len() as u64, "endpoint"))?;
    write!(page, "<p class=\"muted\">Latency in milliseconds, of the requests that k6 expected to succeed.")?;
    if let Some(origin) = common_origin(&report.endpoints) {
        write!(page, " URLs are of {}.", name(origin, NAME_COLUMNS))?;
    }
    writeln!(
        page,
        "</p><div class=\"tools\" hidden><label>Filter <input type=\"search\" id=\"filter\" placeholder=\"name, method, status\" autocomplete=\"off\" spellcheck=\"false\"></label><label class=\"narrow-only\">Sort by <select id=\"sort\"></select></label><output id=\"filtered\" class=\"muted\" aria-live=\"polite\"></output></div>"
    )?;
    let changes = changes(report);
    let columns = [
        ("Endpoint", "text", true),
        ("Requests", "number", true),
        ("Rate /s", "number", true),
        ("Failed", "number", true),
        ("Med", "number", true),
        ("p95", "number", true),
        ("p99", "number", true),
        ("Max", "number", true),
        ("p95 of failed", "number", report.endpoints.iter().any(|endpoint| endpoint.failed_latency_ms.is_some())),
        ("p95 vs baseline", "number", !changes.is_empty()),
        ("p95 over time", "", report.timeline.is_some()),
        ("Statuses", "text", true),
    ];
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Endpoints\"><table id=\"endpoint-table\" class=\"stack wide\" data-sortable><thead><tr>"
    )?;
    for (label, kind, _) in columns.iter().filter(|(_, _, is_there)| *is_there) {
        let class = if *kind == "number" { " class=\"n\"" } else { "" };
        let sort = if kind.is_empty() { String::new() } else { format!(" data-sort=\"{kind}\"") };
        write!(page, "<th scope=\"col\"{class}{sort}>{label}</th>")?;
    }
    writeln!(page, "</tr></thead><tbody>")?;
    for (index, endpoint) in report.endpoints.iter().enumerate() {
        row(page, report, index, endpoint, &changes)?;
    }
    writeln!(page, "</tbody></table></div></section>")
}

fn row(
    page: &mut String,
    report: &AnalysisReport,
    index: usize,
    endpoint: &EndpointReport,
    changes: &BTreeMap<(&str, Option<&str>), &ComparisonRow>,
) -> Result {
    let shown = shown_name(report, endpoint);
    write!(page, "<tr data-e=\"{index}\"><th scope=\"row\" data-v=\"{}\">{}", text(&shown), method(endpoint))?;
    write!(page, "{}", name(&shown, NAME_COLUMNS))?;
    let place: Vec<String> = [&endpoint.scenario, &endpoint.group]
        .into_iter()
        .flatten()
        .filter(|words| !words.is_empty())
        .map(|words| name(words, 40))
        .collect();
    if !place.is_empty() {
        write!(page, "<small class=\"muted\">{}</small>", place.join(", "))?;
    }
    write!(page, "</th>")?;
    let count = endpoint.requests_count;
    write!(page, "<td class=\"n\" data-l=\"Requests\" data-v=\"{count}\">{}</td>", thousands(count))?;
    cell(page, "Rate /s", endpoint.requests_per_second, short, "")?;
    let tone = if endpoint.failed_requests_rate.is_some_and(|rate| rate > 0.0) { "bad" } else { "" };
    cell(page, "Failed", endpoint.failed_requests_rate, percent, tone)?;
    let latency = endpoint.latency_ms.as_ref();
    cell(page, "Med", latency.map(|latency| latency.med), short, "")?;
    cell(page, "p95", latency.map(|latency| latency.p95), short, "strong")?;
    cell(page, "p99", latency.map(|latency| latency.p99), short, "")?;
    cell(page, "Max", latency.map(|latency| latency.max), short, "")?;
    if report.endpoints.iter().any(|endpoint| endpoint.failed_latency_ms.is_some()) {
        cell(page, "p95 of failed", endpoint.failed_latency_ms.as_ref().map(|latency| latency.p95), short, "")?;
    }
    if !changes.is_empty() {
        match changes.get(&(endpoint.name.as_str(), endpoint.method.as_deref())) {
            Some(row) => {
                let (tone, words) = marks::direction(row.direction);
                let moved = row.change.as_ref().map_or("-".to_owned(), |moved| change(moved, row.unit));
                let point = row.change.as_ref().map_or(String::new(), |moved| moved.point.to_string());
                let words = if tone == "even" { String::new() } else { format!(" <small>{words}</small>") };
                write!(
                    page,
                    "<td class=\"n {tone}\" data-l=\"p95 vs baseline\" data-v=\"{point}\">{moved}{words}</td>"
                )?;
            }
            None => write!(page, "<td class=\"n\" data-l=\"p95 vs baseline\" data-v=\"\">-</td>")?,
        }
    }
    if let Some(timeline) = &report.timeline {
        let spark =
            timeline.endpoints.get(index).and_then(|series| marks::spark(&series.p95_ms, "")).unwrap_or_default();
        let is_shown = index < timeline::endpoints_shown(timeline);
        let button = if is_shown {
            format!(
                "<button type=\"button\" class=\"quiet show-endpoint\" data-endpoint=\"{index}\" aria-label=\"Show {} over time\" hidden>{spark}</button>",
                text(&shown)
            )
        } else {
            String::new()
        };
        // Without a script the picture alone stands there.
        write!(
            page,
            "<td data-l=\"p95 over time\" class=\"over-time\">{button}<span class=\"plain\">{spark}</span></td>"
        )?;
    }
    writeln!(page, "<td data-l=\"Statuses\" class=\"statuses\">{}</td></tr>", statuses(endpoint))
}

fn cell(page: &mut String, label: &str, value: Option<f64>, words: impl Fn(f64) -> String, class: &str) -> Result {
    match value {
        Some(value) => {
            write!(page, "<td class=\"n {class}\" data-l=\"{label}\" data-v=\"{value}\">{}</td>", words(value))
        }
        None => write!(page, "<td class=\"n\" data-l=\"{label}\" data-v=\"\">-</td>"),
    }
}

fn statuses(endpoint: &EndpointReport) -> String {
    let mut by_count: Vec<(&String, &u64)> = endpoint.statuses.iter().collect();
    by_count.sort_by(|left, right| right.1.cmp(left.1));
    let shown = by_count
        .iter()
        .take(STATUSES_SHOWN)
        .map(|(status, count)| format!("{} <small>× {}</small>", name(status, 12), thousands(**count)));
    let mut shown: Vec<String> = shown.collect();
    if by_count.len() > STATUSES_SHOWN {
        shown.push(format!("<small>{} more</small>", by_count.len() - STATUSES_SHOWN));
    }
    shown.join(", ")
}

/// Returns how p95 of each endpoint moved, by name and method.
fn changes(report: &AnalysisReport) -> BTreeMap<(&str, Option<&str>), &ComparisonRow> {
    let rows = report.comparison.iter().flat_map(|comparison| &comparison.rows);
    let p95 =
        rows.filter(|row| row.series.metric == "http_req_duration" && row.series.statistic.as_deref() == Some("p95"));
    p95.filter_map(|row| {
        let tag = |name: &str| row.series.tags.get(name).map(String::as_str);
        Some(((tag("name")?, tag("method")), row))
    })
    .collect()
}

/// Returns the endpoint that a series is of, by its place in the report.
pub fn index_of(report: &AnalysisReport, series: &SeriesReference) -> Option<usize> {
    let name = series.tags.get("name")?;
    let same = |wanted: Option<&String>, is: &Option<String>| wanted.is_none_or(|wanted| is.as_ref() == Some(wanted));
    report.endpoints.iter().position(|endpoint| {
        endpoint.name == *name
            && same(series.tags.get("method"), &endpoint.method)
            && same(series.tags.get("scenario"), &endpoint.scenario)
            && same(series.tags.get("group"), &endpoint.group)
    })
}

/// Returns the method as a label, unless the name says it.
fn method(endpoint: &EndpointReport) -> String {
    match &endpoint.method {
        Some(method) if !method.is_empty() && !endpoint.name.starts_with(method.as_str()) => {
            format!("<span class=\"verb\">{}</span> ", name(method, 10))
        }
        _ => String::new(),
    }
}

/// Returns the endpoint's name without what all have in common.
pub fn shown_name(report: &AnalysisReport, endpoint: &EndpointReport) -> String {
    without_origin(report, &endpoint.name)
}

/// Returns the series in words, without the origin that all endpoints have in common.
pub fn series_words(report: &AnalysisReport, reference: &SeriesReference) -> String {
    without_origin(report, &series(reference))
}

pub fn without_origin(report: &AnalysisReport, words: &str) -> String {
    match common_origin(&report.endpoints) {
        Some(origin) => words.replacen(origin, "", 1),
        None => words.to_owned(),
    }
}
