//! What stands behind the judgement: all metrics, what could not be read, what was not judged, and how it was judged.

use std::fmt::{Result, Write};

use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, MetricReport};
use crate::model::run::SourceKind;
use crate::report::columns::{counted, thousands};
use crate::report::text::second;
use crate::report::words::{self, bytes, figure, percent, short};

use super::escape::{name, text};
use super::{endpoints, section};

/// In the order of k6's own summary; any other value comes behind.
const TREND_VALUES: [&str; 8] = ["avg", "min", "med", "max", "p90", "p95", "p99", "p99_9"];
const REJECTIONS_SHOWN: usize = 100;

pub fn metrics(page: &mut String, report: &AnalysisReport) -> Result {
    if report.metrics.is_empty() {
        return Ok(());
    }
    section(page, "metrics", "All metrics", "")?;
    writeln!(page, "<details><summary>{} and their values</summary>", counted(report.metrics.len() as u64, "metric"))?;
    let is_trend = |metric: &&MetricReport| metric.values.contains_key("avg") || metric.values.contains_key("med");
    let (trends, others): (Vec<&MetricReport>, Vec<&MetricReport>) = report.metrics.iter().partition(is_trend);
    if !trends.is_empty() {
        write!(
            page,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table: trends\"><table class=\"metrics\"><thead><tr><th scope=\"col\">Trend</th><th scope=\"col\" class=\"n\">Samples</th>"
        )?;
        TREND_VALUES
            .iter()
            .try_for_each(|value| write!(page, "<th scope=\"col\" class=\"n\">{}</th>", value.replace('_', ".")))?;
        writeln!(page, "</tr></thead><tbody>")?;
        for metric in trends {
            write!(page, "<tr><th scope=\"row\">{}</th>", metric_name(report, metric))?;
            write!(page, "<td class=\"n\">{}</td>", metric.count.map_or("-".to_owned(), thousands))?;
            for name in TREND_VALUES {
                let value = metric.values.get(name).map_or("-".to_owned(), |value| figure(*value, metric.unit));
                write!(page, "<td class=\"n\">{value}</td>")?;
            }
            writeln!(page, "</tr>")?;
        }
        writeln!(page, "</tbody></table></div>")?;
    }
    if !others.is_empty() {
        writeln!(
            page,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Counters, rates and gauges\"><table><thead><tr><th scope=\"col\">Metric</th><th scope=\"col\">Kind</th><th scope=\"col\">Values</th></tr></thead><tbody>"
        )?;
        for metric in others {
            let values = metric.values.iter().map(|(value_name, value)| {
                format!("{} <b>{}</b>", name(value_name, 20), other_value(metric, value_name, *value))
            });
            writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
                metric_name(report, metric),
                metric.kind.name(),
                values.collect::<Vec<_>>().join(", ")
            )?;
        }
        writeln!(page, "</tbody></table></div>")?;
    }
    writeln!(page, "</details></section>")
}

fn metric_name(report: &AnalysisReport, metric: &MetricReport) -> String {
    format!("<code>{}</code>", name(&endpoints::without_origin(report, &metric.name), 80))
}

fn other_value(metric: &MetricReport, value_name: &str, value: f64) -> String {
    match (value_name, metric.unit) {
        ("rate", Unit::Fraction) => percent(value),
        ("rate", unit) => format!("{}/s", figure(value, unit)),
        ("passes" | "fails", _) => short(value),
        (_, unit) => figure(value, unit),
    }
}

pub fn rejected(page: &mut String, report: &AnalysisReport) -> Result {
    let sources = &report.run.sources;
    if sources.is_empty() {
        return Ok(());
    }
    let (read, rejected) = sources
        .iter()
        .fold((0, 0), |(read, rejected), source| (read + source.lines_read, rejected + source.lines_rejected));
    let note = match rejected {
        0 => format!("{}, every line was used", counted(sources.len() as u64, "input")),
        _ => format!("{} of {} could not be used", thousands(rejected), counted(read, "line")),
    };
    section(page, "input", "Input", &note)?;
    writeln!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table: inputs\"><table class=\"stack\"><thead><tr><th scope=\"col\">Input</th><th scope=\"col\">Kind</th><th scope=\"col\" class=\"n\">Size</th><th scope=\"col\" class=\"n\">Lines</th><th scope=\"col\" class=\"n\">Rejected</th><th scope=\"col\">SHA-256</th></tr></thead><tbody>"
    )?;
    for source in sources {
        let tone = if source.lines_rejected > 0 { "bad" } else { "" };
        let cut = if source.truncated { " <small class=\"warn\">cut at its end</small>" } else { "" };
        writeln!(
            page,
            "<tr><th scope=\"row\">{}{cut}</th><td data-l=\"Kind\">{}</td><td class=\"n\" data-l=\"Size\">{}</td><td class=\"n\" data-l=\"Lines\">{}</td><td class=\"n {tone}\" data-l=\"Rejected\">{}</td><td data-l=\"SHA-256\">{}</td></tr>",
            name(&source.name, 80),
            kind_name(source.kind),
            bytes(source.bytes as f64),
            thousands(source.lines_read),
            thousands(source.lines_rejected),
            source.sha256.as_ref().map_or(
                "<span class=\"muted\">not taken: above 64 MiB</span>".to_owned(),
                |hash| format!("<code>{}</code>", name(hash, 20))
            ),
        )?;
    }
    writeln!(page, "</tbody></table></div>")?;
    for source in sources.iter().filter(|source| !source.rejections.is_empty()) {
        let shown = source.rejections.len().min(REJECTIONS_SHOWN);
        write!(
            page,
            "<details><summary>Rejected lines of {}</summary><ul class=\"rejections\">",
            name(&source.name, 60)
        )?;
        for rejection in &source.rejections[..shown] {
            write!(
                page,
                "<li><span class=\"line\">line {}</span> {}</li>",
                thousands(rejection.line),
                text(&rejection.reason)
            )?;
        }
        if let Some(more @ 1..) = source.lines_rejected.checked_sub(shown as u64) {
            write!(page, "<li>and {}</li>", counted(more, "more line"))?;
        }
        writeln!(page, "</ul></details>")?;
    }
    writeln!(page, "</section>")
}

fn kind_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::K6Json => "k6 JSON",
        SourceKind::Kafka => "k6 JSON from Kafka",
        SourceKind::K6Csv => "k6 CSV",
        SourceKind::K6SummaryExport => "k6 summary (export)",
        SourceKind::K6HandleSummary => "k6 summary (handleSummary)",
        SourceKind::K6MachineSummary => "k6 summary (machine-readable)",
    }
}

/// What was not judged and why, then how the rest was.
pub fn judged(page: &mut String, report: &AnalysisReport) -> Result {
    section(page, "judged", "How it was judged", "")?;
    if !report.skipped.is_empty() {
        writeln!(page, "<h3>Not judged</h3><ul class=\"skipped\">")?;
        report.skipped.iter().try_for_each(|skipped| {
            writeln!(
                page,
                "<li>{}: {}</li>",
                name(&endpoints::without_origin(report, &skipped.what), 120),
                text(&skipped.reason)
            )
        })?;
        writeln!(page, "</ul>")?;
    }
    writeln!(page, "<dl class=\"method\">")?;
    let mut point = |label: &str, html: String| writeln!(page, "<div><dt>{label}</dt><dd>{html}</dd></div>");
    let phases = &report.phases;
    if let (Some(from), Some(until)) = (phases.steady_from, phases.steady_until) {
        point("Steady load", format!("{} to {} UTC", second(from), second(until).get(11..).unwrap_or_default()))?;
    }
    if !phases.rule.is_empty() {
        point("Phases", text(&phases.rule))?;
    }
    if let Some(comparison) = &report.comparison {
        point("Comparison", text(&comparison.method))?;
    }
    let detectable: Vec<String> = report
        .baseline
        .detectable
        .iter()
        .map(|one| {
            let needed = one.runs_needed.map_or(String::new(), |runs| format!("; +5 % takes {runs} runs"));
            format!(
                "<li>{}: {} with a chance of {}{needed}</li>",
                name(&endpoints::series_words(report, &one.series), 90),
                words::point(&one.change, Unit::Fraction),
                percent(one.power)
            )
        })
        .collect();
    if !detectable.is_empty() {
        point("Least change found", format!("<ul>{}</ul>", detectable.concat()))?;
    }
    if !report.baseline.runs.is_empty() {
        let comparable = if report.baseline.comparable { "" } else { "Not comparable. " };
        let runs: Vec<String> =
            report.baseline.runs.iter().take(50).map(|run| format!("<code>{}</code>", name(run, 20))).collect();
        point("Baseline runs", format!("{comparable}{}", runs.join(" ")))?;
    }
    if let Some(generator) = report.generator.as_ref().filter(|generator| generator.healthy) {
        point(
            "Load generator",
            if generator.reasons.is_empty() {
                "did what the test asked of it".to_owned()
            } else {
                text(&generator.reasons.join("; "))
            },
        )?;
    }
    let error = report.metrics.iter().map(|metric| metric.quantile_error).fold(0.0, f64::max);
    let whole =
        if error == 0.0 { "exact, by k6's own interpolation".to_owned() } else { format!("within {}", percent(error)) };
    let over_time = report
        .timeline
        .as_ref()
        .map_or(String::new(), |timeline| format!("; over time within {}", percent(timeline.quantile_error)));
    if report.metrics.iter().any(|metric| metric.values.contains_key("p95")) {
        point("Percentiles", format!("{whole}{over_time}"))?;
    }
    writeln!(page, "</dl></section>")
}
