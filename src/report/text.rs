//! The report for eyes: at most 100 columns, colour only when asked for.

use std::fmt::Write;

use crate::model::report::{AnalysisReport, EndpointReport, ThresholdReport, VerdictKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Off,
    On,
}

const NAME_WIDTH: usize = 38;

/// Returns the report as text, ending in a line end.
pub fn render(report: &AnalysisReport, colour: Colour) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    render_into(&mut text, report, colour).expect("a String takes everything");
    text
}

fn render_into(text: &mut String, report: &AnalysisReport, colour: Colour) -> std::fmt::Result {
    let paint = |words: &str, code: &str| match colour {
        Colour::On => format!("\x1b[{code}m{words}\x1b[0m"),
        Colour::Off => words.to_owned(),
    };
    let code = match report.verdict.kind {
        VerdictKind::Pass => "1;32",
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => "1;31",
        VerdictKind::Suspect | VerdictKind::Inconclusive => "1;33",
    };
    let verdict = report.verdict.kind.name().replace('_', " ").to_uppercase();
    writeln!(text, "{}", paint(&verdict, code))?;
    for reason in &report.verdict.reasons {
        writeln!(text, "  {reason}")?;
    }
    let run = &report.run;
    writeln!(text, "\nRun {}  test {}  environment {}", run.id, run.test, run.environment)?;
    if let (Some(start), Some(end), Some(seconds)) = (run.started_at, run.ended_at, run.duration_seconds) {
        writeln!(text, "  {start} to {end} ({seconds:.1} s)")?;
    }
    totals(text, report)?;
    if !report.thresholds.is_empty() {
        writeln!(text, "\nThresholds{:>88}", "observed   headroom")?;
        report.thresholds.iter().try_for_each(|threshold| threshold_line(text, threshold, &paint))?;
    }
    if !report.endpoints.is_empty() {
        let heads = ["requests", "failed", "med", "p95", "p99", "max"];
        write!(text, "\n{:<NAME_WIDTH$}", "Endpoints (latency in ms)")?;
        heads.iter().try_for_each(|head| write!(text, "{head:>10}"))?;
        writeln!(text)?;
        report.endpoints.iter().take(ENDPOINTS_SHOWN).try_for_each(|endpoint| endpoint_line(text, endpoint))?;
        if report.endpoints.len() > ENDPOINTS_SHOWN {
            writeln!(text, "  and {} more: --format json has all", report.endpoints.len() - ENDPOINTS_SHOWN)?;
        }
    }
    rest(text, report)
}

/// Rows of endpoints that a terminal is asked to show.
const ENDPOINTS_SHOWN: usize = 40;

fn totals(text: &mut String, report: &AnalysisReport) -> std::fmt::Result {
    let totals = &report.totals;
    let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let rate = totals.requests_per_second.map_or("-".to_owned(), |rate| format!("{rate:.1}/s"));
    let failed = totals.failed_requests_rate.map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    let (requests, iterations) = (count(totals.requests_count), count(totals.iterations_count));
    let vus = totals.vus_max.map_or("-".to_owned(), |vus| vus.to_string());
    writeln!(text, "  requests {requests} ({rate}), failed {failed}; iterations {iterations}; VUs at most {vus}")?;
    if let (Some(passed), Some(failed)) = (totals.checks_passed_count, totals.checks_failed_count) {
        writeln!(text, "  checks passed {passed}, failed {failed}")?;
    }
    Ok(())
}

fn threshold_line(
    text: &mut String,
    threshold: &ThresholdReport,
    paint: &dyn Fn(&str, &str) -> String,
) -> std::fmt::Result {
    let mark = if threshold.passed { paint("held  ", "32") } else { paint("failed", "31") };
    let what = cut(&format!("{} {}", threshold.metric, threshold.expression), 66);
    let observed = threshold.observed.map_or("no sample".to_owned(), short);
    let headroom = threshold.headroom.map_or(String::new(), |headroom| format!("{:+.0} %", headroom * 100.0));
    writeln!(text, "  {mark} {what:<66} {observed:>11} {headroom:>10}")
}

fn endpoint_line(text: &mut String, endpoint: &EndpointReport) -> std::fmt::Result {
    let method = endpoint.method.as_deref().unwrap_or("");
    let group = endpoint.group.as_deref().unwrap_or("");
    // Many scripts put the method into the name.
    let method = if endpoint.name.starts_with(method) { "" } else { method };
    let name = cut(format!("{method} {} {group}", endpoint.name).trim_start(), NAME_WIDTH - 3);
    let failed = endpoint.failed_requests_rate.map_or("-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    write!(text, "  {name:<width$}{:>10}{failed:>10}", endpoint.requests_count, width = NAME_WIDTH - 2)?;
    match &endpoint.latency_ms {
        Some(latency) => {
            let figures = [latency.med, latency.p95, latency.p99, latency.max];
            figures.iter().try_for_each(|figure| write!(text, "{:>10}", short(*figure)))?;
        }
        None => write!(text, "{:>40}", "no request succeeded")?,
    }
    writeln!(text)
}

fn rest(text: &mut String, report: &AnalysisReport) -> std::fmt::Result {
    let wanting: Vec<_> =
        report.run.sources.iter().filter(|source| source.lines_rejected > 0 || source.truncated).collect();
    if !wanting.is_empty() {
        writeln!(text, "\nRejected input")?;
    }
    for source in wanting {
        let cut = if source.truncated { ", cut at its end" } else { "" };
        writeln!(text, "  {}: {} of {} lines{cut}", source.name, source.lines_rejected, source.lines_read)?;
        for rejection in source.rejections.iter().take(5) {
            writeln!(text, "    line {}: {}", rejection.line, self::cut(&rejection.reason, 84))?;
        }
    }
    if !report.skipped.is_empty() {
        writeln!(text, "\nNot judged")?;
    }
    for skipped in &report.skipped {
        writeln!(text, "  {}: {}", cut(&skipped.what, 60), skipped.reason)?;
    }
    Ok(())
}

/// Four significant figures at most, without an exponent for what people meet.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if value.fract() == 0.0 && magnitude < 1e9 => format!("{value:.0}"),
        _ if magnitude >= 1e9 => format!("{value:.3e}"),
        _ if magnitude >= 100.0 => format!("{value:.1}"),
        _ if magnitude >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Takes control characters out and shortens to `width` columns.
fn cut(words: &str, width: usize) -> String {
    let clean: Vec<char> = words.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if clean.len() <= width {
        return clean.into_iter().collect::<String>().trim_end().to_owned();
    }
    clean[..width - 1].iter().chain(['…'].iter()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_names_are_cut() {
        let figures = [0.0, 0.00123, 1.5, 12.345, 1234.5, 5e10];
        assert_eq!(
            figures.map(short),
            ["0", "0.0012", "1.50", "12.35", "1234.5", "50000000000"].map(|text: &str| if text.len() > 9 {
                "5.000e10".to_owned()
            } else {
                text.to_owned()
            })
        );
        assert_eq!(cut("abc\u{1b}def", 6), "abc\u{fffd}d…");
    }
}
