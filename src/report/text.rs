//! The report for eyes: at most 100 columns, colour only when asked for.

use std::fmt::{Result, Write};

use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, EndpointReport, ThresholdJudge, ThresholdReport, VerdictKind};
use crate::model::threshold::split_metric_filter;
use crate::model::time::Timestamp;

use super::budget_words;
use super::columns::{counted, cut_middle, pad, thousands, wrapped};
use super::text_findings;
use super::why;
use super::words::{duration, grouped, short};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Off,
    On,
}

pub const COLUMNS: usize = 100;
const NAME_COLUMNS: usize = 36;
const THRESHOLD_COLUMNS: usize = 66;
/// Rows of endpoints that a terminal is asked to show.
const ENDPOINTS_SHOWN: usize = 40;
const REJECTIONS_SHOWN: usize = 5;

/// Returns the report as text, ending in a line end.
pub fn render(report: &AnalysisReport, colour: Colour) -> String {
    let mut text = String::new();
    render_into(&mut text, report, colour).expect("a String takes everything");
    text
}

impl Colour {
    pub fn paint(self, words: &str, code: &str) -> String {
        match self {
            Colour::On => format!("\x1b[{code}m{words}\x1b[0m"),
            Colour::Off => words.to_owned(),
        }
    }

    pub fn heading(self, words: &str) -> String {
        self.paint(words, "1")
    }
}

fn render_into(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let code = match report.verdict.kind {
        VerdictKind::Pass => "1;32",
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => "1;31",
        VerdictKind::Suspect | VerdictKind::Inconclusive => "1;33",
    };
    let verdict = report.verdict.kind.name().replace('_', " ").to_uppercase();
    writeln!(text, "{}", colour.paint(&verdict, code))?;
    report.verdict.reasons.iter().try_for_each(|reason| paragraph(text, "  ", reason))?;
    run(text, report, colour)?;
    text_findings::differences(text, report, colour)?;
    text_findings::findings(text, report, colour)?;
    text_findings::gone(text, report, colour)?;
    why(text, report, colour)?;
    text_findings::comparison(text, report, colour)?;
    thresholds(text, report, colour)?;
    objectives(text, report, colour)?;
    endpoints(text, report, colour)?;
    text_findings::generator(text, report, colour)?;
    text_findings::detectable(text, report, colour)?;
    rejected(text, report, colour)?;
    if !report.skipped.is_empty() {
        writeln!(text, "\n{}", colour.heading("Not judged"))?;
    }
    for skipped in &report.skipped {
        paragraph(text, "  ", &format!("{}: {}", cut_middle(&skipped.what, 400), skipped.reason))?;
    }
    Ok(())
}

/// The likely causes, each with its evidence and what would refute it.
fn why(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    if report.diagnoses.is_empty() && report.unavailable.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", colour.heading("Why"))?;
    for diagnosis in &report.diagnoses {
        paragraph(text, "  ", &format!("{}. {}", diagnosis.rank, why::head(diagnosis)))?;
        diagnosis.evidence.iter().try_for_each(|clue| paragraph(text, "     ", &why::clue(clue)))?;
        paragraph(text, "     ", &format!("refuted by: {}", diagnosis.refuted_by))?;
    }
    for missing in &report.unavailable {
        paragraph(
            text,
            "  ",
            &format!("{} did not answer: {}", why::short(&missing.backend), why::short(&missing.reason)),
        )?;
    }
    Ok(())
}

/// Writes `words` within the columns; lines after the first stand two columns further in.
pub fn paragraph(text: &mut String, indent: &str, words: &str) -> Result {
    for (index, line) in wrapped(words, COLUMNS - indent.len() - 2).iter().enumerate() {
        let further = if index > 0 { "  " } else { "" };
        writeln!(text, "{indent}{further}{line}")?;
    }
    Ok(())
}

fn run(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let (run, totals) = (&report.run, &report.totals);
    let (test, environment) = (cut_middle(&run.test, 26), cut_middle(&run.environment, 20));
    let heading = colour.heading(&format!("Run {}", cut_middle(&run.id, 16)));
    writeln!(text, "\n{heading}  test {test}  environment {environment}")?;
    let duration = run.duration_seconds.map_or(String::new(), |seconds| format!(" ({})", duration(seconds)));
    match (run.started_at, run.ended_at) {
        (Some(start), Some(end)) => {
            let (start, end) = (second(start), second(end));
            let end = if start.get(..10) == end.get(..10) { &end[11..] } else { &end[..] };
            writeln!(text, "  {start} to {end} UTC{duration}")?;
        }
        (None, Some(end)) => writeln!(text, "  ended before {} UTC{duration}", second(end))?,
        _ if run.duration_seconds.is_some() => writeln!(text, "  lasted{duration}")?,
        _ => {}
    }
    let count = |value: Option<u64>| value.map_or("-".to_owned(), thousands);
    let rate = totals.requests_per_second.map_or("-".to_owned(), |rate| format!("{}/s", grouped(rate, 1)));
    let failed = totals.failed_requests_rate.map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    let (requests, iterations) = (count(totals.requests_count), count(totals.iterations_count));
    let vus = totals.vus_max.map_or("-".to_owned(), |vus| grouped(vus, 0));
    // With an arrival rate the VUs are no plan.
    let due = totals.arrivals_per_second.map_or(String::new(), |rate| format!(" ({}/s due)", grouped(rate, 1)));
    writeln!(text, "  requests {requests} ({rate}), failed {failed}; iterations {iterations}{due}; VUs at most {vus}")?;
    if let (Some(passed), Some(failed)) = (totals.checks_passed_count, totals.checks_failed_count) {
        writeln!(text, "  checks passed {}, failed {}", thousands(passed), thousands(failed))?;
    }
    if run.partial {
        writeln!(text, "  {}", colour.paint("PARTIAL: the reading was interrupted, or an input is cut", "33"))?;
    }
    Ok(())
}

fn thresholds(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    let heading = colour.heading(&pad("Thresholds", 75));
    writeln!(text, "\n{heading}{:>13}{:>11}", "observed", "headroom")?;
    for threshold in &report.thresholds {
        let mark = if threshold.passed { colour.paint("held  ", "32") } else { colour.paint("failed", "31") };
        let what = cut_middle(&format!("{} {}", threshold.metric, threshold.expression), THRESHOLD_COLUMNS);
        let observed = match threshold.observed {
            Some(observed) => format!("{}{}", short(observed), unit_of(report, threshold)),
            None if threshold.judged_by == ThresholdJudge::Summary => "-".to_owned(),
            None => "no sample".to_owned(),
        };
        let headroom = threshold.headroom.map_or(String::new(), |headroom| format!("{:+.0} %", headroom * 100.0));
        let line = format!("  {mark} {}{observed:>13}{headroom:>11}", pad(&what, THRESHOLD_COLUMNS));
        writeln!(text, "{}", line.trim_end())?;
        if let Some(course) = threshold.over_time.as_ref().and_then(budget_words::over_time) {
            writeln!(text, "         {course}")?;
        }
    }
    Ok(())
}

fn objectives(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    if report.objectives.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", colour.heading("Objectives"))?;
    report.objectives.iter().try_for_each(|objective| {
        let status = budget_words::status(objective.status);
        paragraph(text, "  ", &format!("{status}  {}", budget_words::objective(objective)))
    })
}

/// What an observed value is in; nothing for what the expression itself counts or divides.
fn unit_of(report: &AnalysisReport, threshold: &ThresholdReport) -> &'static str {
    let name = split_metric_filter(&threshold.metric).map_or(threshold.metric.as_str(), |(name, _)| name);
    let unit = report.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.unit);
    if unit == Some(Unit::Milliseconds) { " ms" } else { "" }
}

fn endpoints(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    if report.endpoints.is_empty() {
        return Ok(());
    }
    let heads = ["requests", "failed", "med", "p95", "p99", "max"];
    let heads: String = heads.iter().map(|head| format!("{head:>10}")).collect();
    let name = pad("Endpoints (ms, expected responses)", NAME_COLUMNS + 2);
    writeln!(text, "\n{}{heads}", colour.heading(&name))?;
    let origin = common_origin(&report.endpoints);
    let mut shown = report.endpoints.iter().take(ENDPOINTS_SHOWN);
    shown.try_for_each(|endpoint| endpoint_line(text, endpoint, origin, colour))?;
    if let Some(origin) = origin {
        writeln!(text, "  URLs are of {}", cut_middle(origin, 80))?;
    }
    match report.endpoints.len().saturating_sub(ENDPOINTS_SHOWN) {
        0 => Ok(()),
        more => writeln!(text, "  and {} more: --format json has all", thousands(more as u64)),
    }
}

/// Returns the scheme and host of all endpoints that are URLs, if they have only one.
pub(super) fn common_origin(endpoints: &[EndpointReport]) -> Option<&str> {
    let mut origins = endpoints.iter().filter_map(|endpoint| {
        let host = endpoint.name.find("://")? + 3;
        let path = endpoint.name[host..].find('/')?;
        Some(&endpoint.name[..host + path])
    });
    let first = origins.next()?;
    origins.all(|origin| origin == first).then_some(first)
}

fn endpoint_line(text: &mut String, endpoint: &EndpointReport, origin: Option<&str>, colour: Colour) -> Result {
    let method = endpoint.method.as_deref().unwrap_or("");
    // Many scripts put the method into the name.
    let has_method = endpoint.name.strip_prefix(method).is_some_and(|rest| rest.starts_with(' '));
    let name = origin.and_then(|origin| endpoint.name.strip_prefix(origin)).unwrap_or(&endpoint.name);
    let parts = [if has_method { "" } else { method }, name, endpoint.group.as_deref().unwrap_or("")];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let name = cut_middle(&parts.join(" "), NAME_COLUMNS - 1);
    let failed = endpoint.failed_requests_rate.map_or("-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    let failed = match endpoint.failed_requests_rate {
        Some(rate) if rate > 0.0 => colour.paint(&format!("{failed:>10}"), "33"),
        _ => format!("{failed:>10}"),
    };
    write!(text, "  {}{:>10}{failed}", pad(&name, NAME_COLUMNS), thousands(endpoint.requests_count))?;
    match &endpoint.latency_ms {
        Some(latency) => {
            let figures = [latency.med, latency.p95, latency.p99, latency.max];
            figures.iter().try_for_each(|figure| write!(text, "{:>10}", short(*figure)))?;
        }
        None => write!(text, "{:>40}", "no request succeeded")?,
    }
    writeln!(text)
}

fn rejected(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let wanting: Vec<_> =
        report.run.sources.iter().filter(|source| source.lines_rejected > 0 || source.truncated).collect();
    if !wanting.is_empty() {
        writeln!(text, "\n{}", colour.heading("Rejected input"))?;
    }
    for source in wanting {
        let cut = if source.truncated { ", cut at its end" } else { "" };
        let (rejected, read) = (thousands(source.lines_rejected), thousands(source.lines_read));
        writeln!(text, "  {}: {rejected} of {read} lines{cut}", cut_middle(&source.name, 56))?;
        for rejection in source.rejections.iter().take(REJECTIONS_SHOWN) {
            paragraph(text, "    ", &format!("line {}: {}", rejection.line, cut_middle(&rejection.reason, 160)))?;
        }
        match source.lines_rejected.saturating_sub(REJECTIONS_SHOWN as u64) {
            0 => {}
            more => writeln!(text, "    and {} more", counted(more, "line"))?,
        }
    }
    Ok(())
}

/// To the second; the year first, as in every list of runs.
pub fn second(time: Timestamp) -> String {
    time.to_string().chars().take(19).map(|letter| if letter == 'T' { ' ' } else { letter }).collect()
}
