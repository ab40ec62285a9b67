//! What is seen first: the verdict with its reasons, the facts of the run, its key figures.

use std::fmt::{Result, Write};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::Direction;
use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, VerdictKind};
use crate::report::columns::{counted, thousands};
use crate::report::text::second;
use crate::report::words::{bytes, duration, figure, grouped, percent, point, short};

use super::escape::{link, name, text};
use super::{marks, tone};

/// Reasons that are shown at once; the others can be opened.
const REASONS_SHOWN: usize = 6;
const FACT_COLUMNS: usize = 48;

pub fn verdict_name(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Pass => "Passed",
        VerdictKind::Regressed => "Regressed",
        VerdictKind::ThresholdsFailed => "Thresholds failed",
        VerdictKind::Suspect => "Suspect",
        VerdictKind::Inconclusive => "Inconclusive",
    }
}

/// What the verdict means, for who sees it the first time.
fn meaning(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Pass => "Nothing that was judged speaks against this run.",
        VerdictKind::Regressed => "This run is worse than its baseline, by more than chance explains.",
        VerdictKind::ThresholdsFailed => "The test's own limits were not kept.",
        VerdictKind::Suspect => "This run looks worse, but one run is no proof: run it again.",
        VerdictKind::Inconclusive => "There is too little evidence to pass or to fail this run.",
    }
}

pub fn verdict(page: &mut String, report: &AnalysisReport) -> Result {
    let kind = report.verdict.kind;
    writeln!(page, "<section id=\"verdict\" class=\"verdict {}\" aria-labelledby=\"verdict-h\">", tone(kind))?;
    writeln!(
        page,
        "<div class=\"verdict-words\"><p class=\"eyebrow\">{} <span class=\"muted\">on</span> {}</p>",
        name(&report.run.test, 60),
        name(&report.run.environment, 40)
    )?;
    writeln!(page, "<h1 id=\"verdict-h\">{}<span>{}</span></h1>", marks::verdict(kind), verdict_name(kind))?;
    writeln!(page, "<p class=\"meaning\">{}</p>", meaning(kind))?;
    let (shown, more) = report.verdict.reasons.split_at(report.verdict.reasons.len().min(REASONS_SHOWN));
    reasons(page, shown)?;
    if !more.is_empty() {
        write!(page, "<details><summary>{}</summary>", counted(more.len() as u64, "more reason"))?;
        reasons(page, more)?;
        writeln!(page, "</details>")?;
    }
    if report.run.partial {
        writeln!(page, "<p class=\"notice\">Partial: the reading was interrupted, or an input is cut.</p>")?;
    }
    if let Some(generator) = report.generator.as_ref().filter(|generator| !generator.healthy) {
        let reasons = generator.reasons.iter().map(|reason| text(reason)).collect::<Vec<_>>().join("; ");
        writeln!(page, "<p class=\"notice\">The load generator was in trouble: {reasons}</p>")?;
    }
    writeln!(page, "</div>")?;
    facts(page, report)?;
    writeln!(page, "</section>")
}

fn reasons(page: &mut String, reasons: &[String]) -> Result {
    if reasons.is_empty() {
        return Ok(());
    }
    write!(page, "<ul class=\"reasons\">")?;
    reasons.iter().try_for_each(|reason| write!(page, "<li>{}</li>", text(reason)))?;
    writeln!(page, "</ul>")
}

fn facts(page: &mut String, report: &AnalysisReport) -> Result {
    let run = &report.run;
    writeln!(page, "<dl class=\"facts\">")?;
    let mut fact = |label: &str, html: String| write!(page, "<div><dt>{label}</dt><dd>{html}</dd></div>");
    match (run.started_at, run.ended_at) {
        (Some(start), Some(end)) => {
            let (start, end) = (second(start), second(end));
            let end = if start.get(..10) == end.get(..10) { end.get(11..).unwrap_or("") } else { &end };
            fact("When", format!("{start} to {end} UTC"))?;
        }
        (None, Some(end)) => fact("When", format!("ended before {} UTC", second(end)))?,
        (Some(start), None) => fact("When", format!("from {} UTC", second(start)))?,
        (None, None) => {}
    }
    if let Some(seconds) = run.duration_seconds {
        fact("Duration", duration(seconds))?;
    }
    let baseline = &report.baseline;
    let beside = match (baseline.runs.len() as u64, baseline.kind.as_str()) {
        (0, "none") => "none".to_owned(),
        (0, kind) => text(kind),
        (count, kind) => format!("{} ({})", text(kind), counted(count, "run")),
    };
    fact("Baseline", beside)?;
    let mut words = |label: &str, value: &Option<String>| match value {
        Some(value) => fact(label, name(value, FACT_COLUMNS)),
        None => Ok(()),
    };
    words("Branch", &run.branch)?;
    words("Commit", &run.commit)?;
    words("Pull request", &run.pull_request)?;
    words("k6", &run.k6_version)?;
    if let Some(url) = &run.ci_url {
        let shown = name(url, FACT_COLUMNS);
        let html = link(url).map(|href| format!("<a href=\"{href}\" rel=\"noreferrer\">{shown}</a>"));
        fact("CI job", html.unwrap_or(shown))?;
    }
    fact("Run", name(&run.id, FACT_COLUMNS))?;
    let tags: Vec<String> =
        run.tags.iter().map(|(key, value)| format!("{} {}", name(key, 24), name(value, 32))).collect();
    if !tags.is_empty() {
        fact("Tags", tags.join(", "))?;
    }
    writeln!(page, "</dl>")
}

/// One key figure, with what it was before and how it went.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    spark: Option<String>,
    change: Option<String>,
}

pub fn figures(page: &mut String, report: &AnalysisReport) -> Result {
    let tiles = tiles(report);
    if tiles.is_empty() {
        return Ok(());
    }
    writeln!(page, "<section class=\"tiles\" aria-label=\"Key figures\">")?;
    for tile in tiles {
        write!(page, "<div class=\"tile\"><p class=\"label\">{}</p><p class=\"value\">{}</p>", tile.label, tile.value)?;
        if let Some(change) = tile.change {
            write!(page, "<p class=\"delta\">{change}</p>")?;
        }
        write!(page, "<p class=\"muted\">{}</p>{}", tile.note, tile.spark.unwrap_or_default())?;
        writeln!(page, "</div>")?;
    }
    writeln!(page, "</section>")
}

fn tiles(report: &AnalysisReport) -> Vec<Tile> {
    let totals = &report.totals;
    let timeline = report.timeline.as_ref();
    let mut tiles = Vec::new();
    let mut tile = |label, value: Option<String>, note: String, spark: Option<&[Option<f64>]>, tone, change| {
        let spark = spark.and_then(|values| marks::spark(values, tone));
        tiles.extend(value.map(|value| Tile { label, value, note, spark, change }));
    };
    let rate = totals.requests_per_second.map(|rate| format!("{} <small>/s</small>", short(rate)));
    let requests = totals.requests_count.map_or(String::new(), |count| counted(count, "request"));
    let total = timeline.map(|timeline| &timeline.total);
    tile(
        "Request rate",
        rate,
        requests,
        total.map(|total| &total.requests_per_second[..]),
        "",
        moved(report, "http_reqs", "rate"),
    );
    let failed = totals.failed_requests_rate.map(percent);
    let count = totals.failed_requests_count.map_or(String::new(), |count| counted(count, "failed request"));
    tile(
        "Failed",
        failed,
        count,
        total.map(|total| &total.failed_requests_rate[..]),
        "bad",
        moved(report, "http_req_failed", "rate"),
    );
    let (p95, note) = latency(report);
    tile("Latency p95", p95, note, total.map(|total| &total.p95_ms[..]), "", moved(report, "http_req_duration", "p95"));
    let checks = match (totals.checks_passed_count, totals.checks_failed_count) {
        (Some(passed), Some(failed)) if passed + failed > 0 => Some((passed, failed)),
        _ => None,
    };
    let held = checks.map(|(passed, failed)| percent(passed as f64 / (passed + failed) as f64));
    let note = checks.map_or(String::new(), |(passed, failed)| {
        format!("{} failed of {}", thousands(failed), thousands(passed + failed))
    });
    tile(
        "Checks held",
        held,
        note,
        timeline
            .map(|timeline| &timeline.failed_checks_rate[..])
            .filter(|rates| rates.iter().flatten().any(|rate| *rate > 0.0)),
        "bad",
        moved(report, "checks", "rate"),
    );
    let vus = totals.vus_max.map(|vus| grouped(vus, 0));
    let due = totals.arrivals_per_second.map_or(String::new(), |rate| format!(", {}/s due", short(rate)));
    let iterations = totals.iterations_count.map_or(String::new(), |count| counted(count, "iteration") + &due);
    tile("VUs at most", vus, iterations, timeline.map(|timeline| &timeline.vus[..]), "", None);
    let received = totals.data_received_bytes.map(bytes);
    let sent = totals.data_sent_bytes.map_or(String::new(), |sent| format!("{} sent", bytes(sent)));
    tile("Received", received, sent, None, "", None);
    tiles
}

/// Returns the p95 of the requests that k6 expected to succeed, else of all, with other percentiles beside it.
fn latency(report: &AnalysisReport) -> (Option<String>, String) {
    let names = ["http_req_duration{expected_response:true}", "http_req_duration"];
    let found = names.iter().find_map(|name| report.metrics.iter().find(|metric| metric.name == *name));
    let Some(metric) = found else { return (None, String::new()) };
    let value = |name: &str| metric.values.get(name).map(|value| format!("{name} {}", short(*value)));
    let note: Vec<String> = ["med", "p99", "max"].into_iter().filter_map(value).collect();
    let p95 = metric.values.get("p95").map(|p95| format!("{} <small>ms</small>", short(*p95)));
    (p95, note.join(", "))
}

/// Returns how a figure of the whole run moved against the baseline.
fn moved(report: &AnalysisReport, metric: &str, statistic: &str) -> Option<String> {
    let rows = &report.comparison.as_ref()?.rows;
    let is_whole = |row: &&ComparisonRow| {
        row.series.metric == metric
            && row.series.statistic.as_deref().is_none_or(|name| name == statistic)
            && row.series.tags.keys().all(|tag| tag == "expected_response")
    };
    let row = rows.iter().find(is_whole)?;
    let (tone, words) = marks::direction(row.direction);
    let (moved, base) = (row.change.as_ref()?, row.base?);
    let unit = if row.unit == Unit::None { Unit::Count } else { row.unit };
    let words = if row.direction == Some(Direction::Changed) { String::new() } else { format!(", {words}") };
    Some(format!(
        "<span class=\"{tone}\">{}{words}</span> <span class=\"muted\">from {}</span>",
        point(moved, unit),
        figure(base, unit)
    ))
}
