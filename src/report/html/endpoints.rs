//! Endpoints as a table that sorts and filters, and how an endpoint is named on the page.

use std::collections::BTreeMap;
use std::fmt::{Result, Write};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::SeriesReference;
use crate::model::report::{AnalysisReport, EndpointReport};
use crate::report::columns::{counted, thousands};
use crate::report::text::common_origin;
use crate::report::words::{percent, point, short};

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
    let columns = Columns::of(report);
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table: endpoints\"><table id=\"endpoint-table\" class=\"stack wide\" data-sortable><thead><tr>"
    )?;
    let heads = [
        ("Endpoint", "text", true),
        ("Requests", "number", true),
        ("Rate /s", "number", true),
        ("Failed", "number", true),
        ("Med", "number", true),
        ("p95", "number", true),
        ("p99", "number", true),
        ("Max", "number", true),
        ("p95 failed", "number", columns.has_failed_latency),
        ("p95 change", "number", !columns.changes.is_empty()),
        ("p95 over time", "", report.timeline.is_some()),
        ("Statuses", "text", true),
    ];
    for (label, kind, _) in heads.iter().filter(|(_, _, is_there)| *is_there) {
        let class = match *kind {
            "number" => " class=\"n\"",
            "" => " class=\"over-time\"",
            _ => "",
        };
        let sort = if kind.is_empty() { String::new() } else { format!(" data-sort=\"{kind}\"") };
        write!(page, "<th scope=\"col\"{class}{sort}>{label}</th>")?;
    }
    writeln!(page, "</tr></thead><tbody>")?;
    for (index, endpoint) in report.endpoints.iter().enumerate() {
        row(page, report, &columns, index, endpoint)?;
    }
    writeln!(page, "</tbody></table></div></section>")
}

/// What the table shows only where it tells endpoints apart.
struct Columns<'a> {
    has_scenario: bool,
    has_failed_latency: bool,
    /// How p95 moved, by the endpoint's place in the report.
    changes: BTreeMap<usize, &'a ComparisonRow>,
}

impl Columns<'_> {
    fn of(report: &AnalysisReport) -> Columns<'_> {
        let rows = report.comparison.iter().flat_map(|comparison| &comparison.rows);
        let is_p95 = |row: &&ComparisonRow| {
            row.series.metric == "http_req_duration" && row.series.statistic.as_deref() == Some("p95")
        };
        let first = report.endpoints.first().map(|endpoint| &endpoint.scenario);
        Columns {
            has_scenario: report.endpoints.iter().any(|endpoint| Some(&endpoint.scenario) != first),
            has_failed_latency: report.endpoints.iter().any(|endpoint| endpoint.failed_latency_ms.is_some()),
            changes: rows.filter(is_p95).filter_map(|row| Some((index_of(report, &row.series)?, row))).collect(),
        }
    }
}

fn row(
    page: &mut String,
    report: &AnalysisReport,
    columns: &Columns,
    index: usize,
    endpoint: &EndpointReport,
) -> Result {
    let shown = shown_name(report, endpoint);
    write!(page, "<tr><th scope=\"row\" data-v=\"{}\">{}", text(&shown), method(endpoint))?;
    write!(page, "{}", name(&shown, NAME_COLUMNS))?;
    let scenario = endpoint.scenario.iter().filter(|_| columns.has_scenario);
    let place = scenario.chain(&endpoint.group).filter(|words| !words.is_empty()).map(|words| name(words, 40));
    let place: Vec<String> = place.collect();
    if !place.is_empty() {
        write!(page, "<small class=\"muted\">{}</small>", place.join(", "))?;
    }
    write!(page, "</th>")?;
    let count = endpoint.requests_count;
    write!(page, "<td class=\"n\" data-l=\"Requests\" data-v=\"{count}\">{}</td>", thousands(count))?;
    cell(page, "Rate /s", endpoint.requests_per_second, short, "")?;
    let tone = if endpoint.failed_requests_rate == Some(0.0) { "muted" } else { "" };
    cell(page, "Failed", endpoint.failed_requests_rate, percent, tone)?;
    let latency = endpoint.latency_ms.as_ref();
    cell(page, "Med", latency.map(|latency| latency.med), short, "")?;
    cell(page, "p95", latency.map(|latency| latency.p95), short, "strong")?;
    cell(page, "p99", latency.map(|latency| latency.p99), short, "")?;
    cell(page, "Max", latency.map(|latency| latency.max), short, "")?;
    if columns.has_failed_latency {
        cell(page, "p95 failed", endpoint.failed_latency_ms.as_ref().map(|latency| latency.p95), short, "")?;
    }
    if !columns.changes.is_empty() {
        change_cell(page, columns.changes.get(&index).copied())?;
    }
    over_time(page, report, index, &shown)?;
    writeln!(page, "<td data-l=\"Statuses\" class=\"statuses\">{}</td></tr>", statuses(endpoint))
}

fn change_cell(page: &mut String, row: Option<&ComparisonRow>) -> Result {
    let moved = row.and_then(|row| Some((row, row.change.as_ref()?)));
    let Some((row, moved)) = moved else { return cell(page, "p95 change", None, short, "") };
    let (tone, words) = marks::direction(row.direction);
    let words = if tone == "even" { String::new() } else { format!(" <small>{words}</small>") };
    cell(page, "p95 change", Some(moved.point), |_| format!("{}{words}", point(moved, row.unit)), tone)
}

/// The endpoint's p95 as a small line; with a script, it leads to the charts.
fn over_time(page: &mut String, report: &AnalysisReport, index: usize, shown: &str) -> Result {
    let Some(timeline) = &report.timeline else { return Ok(()) };
    let spark = timeline.endpoints.get(index).and_then(|series| marks::spark(&series.p95_ms, ""));
    let spark = spark.unwrap_or_default();
    write!(page, "<td data-l=\"p95 over time\" class=\"over-time\">")?;
    if index < timeline::endpoints_shown(timeline) {
        write!(
            page,
            "<button type=\"button\" class=\"quiet show-endpoint\" data-endpoint=\"{index}\" aria-label=\"Show {} over time\" hidden></button>",
            text(shown)
        )?;
    }
    write!(page, "<span class=\"plain\">{spark}</span></td>")
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
    let shown = by_count.iter().take(STATUSES_SHOWN).enumerate();
    // Of the most common, the count is nearly that of all requests.
    let shown = shown.map(|(index, (status, count))| {
        let times = if index > 0 { format!(" × {}", thousands(**count)) } else { String::new() };
        let comma = if index + 1 < by_count.len() { ", " } else { "" };
        format!("<span>{}{times}{comma}</span> ", name(status, 12))
    });
    let more = by_count.len().saturating_sub(STATUSES_SHOWN);
    let more = if more > 0 { format!("{more} more") } else { String::new() };
    shown.collect::<String>() + &more
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

/// Words which figure of which samples: `p95 of http_req_duration, GET https://shop/cart`.
///
/// `name` and `method` say by themselves what they are; any other tag is named.
fn series(series: &SeriesReference) -> String {
    let statistic = series.statistic.as_ref().map_or(String::new(), |statistic| format!("{statistic} of "));
    let tag = |name: &str| series.tags.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let endpoint = match (tag("method"), tag("name")) {
        // Many scripts put the method into the name.
        (Some(method), Some(name)) if !name.starts_with(method) => Some(format!("{method} {name}")),
        (_, Some(name)) => Some(name.to_owned()),
        (Some(method), None) => Some(method.to_owned()),
        (None, None) => None,
    };
    let others =
        series.tags.iter().filter(|(name, value)| !matches!(name.as_str(), "name" | "method") && !value.is_empty());
    let others = others.map(|(name, value)| format!("{name} {value}"));
    let parts: Vec<String> = endpoint.into_iter().chain(others).collect();
    let comma = if parts.is_empty() { "" } else { ", " };
    format!("{statistic}{}{comma}{}", series.metric, parts.join(", "))
}
