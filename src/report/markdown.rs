//! The report as Markdown, for a job's summary and for a comment on a pull request, on GitHub and GitLab.

use std::fmt::{Result, Write};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::{Evidence, Finding};
use crate::model::report::{AnalysisReport, EndpointReport, Latency, VerdictKind};
use crate::model::time::Timestamp;

use super::budget_words;
use super::columns::{counted, thousands};
use super::markdown_text::{code, link, long_code, prose};
use super::{early, why, words};

/// GitHub refuses a comment of more letters, of which there are never more than bytes. Its job summaries and GitLab's
/// comments may be longer.
const PAGE_BYTES_MAX: usize = 65_536;
/// Rows of one table, if the page has room for them.
const ROWS_MAX: usize = 200;
const ENDPOINTS_MAX: usize = 20;
/// Lines of one list within a section: a source's rejections, what moved with a finding.
const LISTED_MAX: usize = 8;

/// Returns the report as one page, at most 65,536 bytes whatever the report holds.
///
/// Shows fewer rows until the page fits. With one row each it always does: every name is cut.
pub fn render(report: &AnalysisReport) -> String {
    let mut rows_max = ROWS_MAX;
    loop {
        let mut page = String::new();
        write_page(&mut page, report, rows_max).expect("a String takes everything");
        if page.len() <= PAGE_BYTES_MAX || rows_max == 1 {
            return page;
        }
        rows_max /= 2;
    }
}

fn write_page(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    writeln!(page, "## {}: load test {}\n", words::verdict(report.verdict.kind), code(&report.run.test))?;
    list(page, report.verdict.reasons.iter().map(|reason| prose(reason)), rows_max)?;
    if report.verdict.kind == VerdictKind::Suspect {
        writeln!(page, "\nOne run does not settle it: run the test again.")?;
    }
    write_run(page, report)?;
    write_differences(page, report, rows_max)?;
    write_findings(page, report, rows_max)?;
    write_gone(page, report, rows_max)?;
    write_why(page, report, rows_max)?;
    write_thresholds(page, report, rows_max)?;
    write_objectives(page, report)?;
    write_comparison(page, report, rows_max)?;
    write_endpoints(page, report, rows_max.min(ENDPOINTS_MAX))?;
    write_generator(page, report, rows_max)?;
    write_rejected(page, report, rows_max)?;
    write_skipped(page, report, rows_max)
}

fn write_run(page: &mut String, report: &AnalysisReport) -> Result {
    let (run, totals) = (&report.run, &report.totals);
    let mut parts = vec![format!("run {}", code(&run.id)), format!("environment {}", code(&run.environment))];
    parts.extend(words::period(run.started_at, run.ended_at));
    parts.extend(run.duration_seconds.map(words::duration));
    parts.extend(run.k6_version.as_ref().map(|version| format!("k6 {}", code(version))));
    writeln!(page, "\n{}", parts.join(", "))?;

    let mut parts = Vec::new();
    let rate = totals.requests_per_second.map_or(String::new(), |rate| format!(" ({}/s)", words::short(rate)));
    parts.extend(totals.requests_count.map(|count| format!("{}{rate}", counted(count, "request"))));
    parts.extend(totals.failed_requests_rate.map(|rate| format!("{} failed", words::percent(rate))));
    let due = totals.arrivals_per_second.map_or(String::new(), |rate| format!(" ({}/s due)", words::short(rate)));
    parts.extend(totals.iterations_count.map(|count| counted(count, "iteration") + &due));
    parts.extend(totals.vus_max.map(|vus| format!("at most {} VUs", words::short(vus))));
    parts.extend(totals.checks_failed_count.zip(totals.checks_passed_count).map(|(failed, passed)| {
        format!("{} of {} checks failed", thousands(failed), thousands(passed.saturating_add(failed)))
    }));
    if !parts.is_empty() {
        writeln!(page, "\n{}", parts.join(", "))?;
    }

    let mut parts = Vec::new();
    parts.extend(run.commit.as_ref().map(|commit| format!("commit {}", code(commit))));
    parts.extend(run.branch.as_ref().map(|branch| format!("branch {}", code(branch))));
    parts.extend(run.pull_request.as_ref().map(|number| format!("pull request {}", code(number))));
    parts.extend(run.ci_url.as_ref().map(|url| link("CI run", url).unwrap_or_else(|| code(url))));
    if !parts.is_empty() {
        writeln!(page, "\n{}", parts.join(", "))?;
    }
    if run.partial {
        writeln!(page, "\n**Partial**: the reading was interrupted, or an input is cut.")?;
    }
    Ok(())
}

/// What makes the comparison unfair comes before what it found.
fn write_differences(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    let mut differences = report.baseline.differences.clone();
    let of_comparison = report.comparison.iter().flat_map(|comparison| &comparison.differences);
    differences.extend(of_comparison.filter(|difference| !report.baseline.differences.contains(difference)).cloned());
    if !differences.is_empty() {
        writeln!(page, "\n### The comparison is not fair\n")?;
    }
    list(page, differences.iter().map(|difference| prose(difference)), rows_max)
}

fn write_findings(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    if report.findings.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Findings\n")?;
    let row = |finding: &Finding| {
        let figure = |value| words::figure_of(value, finding.unit, &finding.series);
        vec![
            format!("{} {}", finding.severity.name(), words::direction(finding.direction)),
            prose(&finding.title),
            figure(finding.observed),
            finding.expected.map_or(String::new(), figure),
            finding.change.map_or(String::new(), |change| words::change(&change, finding.unit)),
            when(finding.from, finding.until, finding.since_run.as_deref()),
        ]
    };
    let heads = ["", "Finding", ">Observed", ">Expected", ">Change", "When"];
    table(page, &heads, report.findings.iter().map(row), rows_max)?;
    writeln!(page, "\n<details><summary>Details</summary>\n")?;
    report.findings.iter().take(rows_max).try_for_each(|finding| write_finding(page, report, finding))?;
    writeln!(page, "</details>")
}

/// What was told while the run went on, and is no finding of the whole run.
fn write_gone(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    let gone: Vec<String> = early::gone(report).map(|gone| prose(&gone)).collect();
    if !gone.is_empty() {
        writeln!(page, "\n### Told early\n")?;
    }
    list(page, gone.into_iter(), rows_max)
}

/// The likely causes, each with its evidence and what would refute it.
fn write_why(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    if report.diagnoses.is_empty() && report.unavailable.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Why\n")?;
    for diagnosis in report.diagnoses.iter().take(rows_max) {
        writeln!(page, "- {}", prose(&why::head(diagnosis)))?;
        for clue in diagnosis.evidence.iter().take(LISTED_MAX) {
            writeln!(page, "  - {}", prose(&why::clue(clue)))?;
        }
        writeln!(page, "  - refuted by {}", prose(&why::short(&diagnosis.refuted_by)))?;
    }
    let more = and_more(report.diagnoses.len(), rows_max);
    if !more.is_empty() {
        writeln!(page, "- {}", more.trim_start())?;
    }
    let missing = report.unavailable.iter().map(|missing| {
        format!("{} did not answer: {}", prose(&why::short(&missing.backend)), prose(&why::short(&missing.reason)))
    });
    list(page, missing, rows_max)
}

fn when(from: Option<Timestamp>, until: Option<Timestamp>, since_run: Option<&str>) -> String {
    let since = since_run.map(|run| format!("since run {}", code(run)));
    words::period(from, until).into_iter().chain(since).collect::<Vec<_>>().join(", ")
}

fn write_finding(page: &mut String, report: &AnalysisReport, finding: &Finding) -> Result {
    writeln!(page, "**{}** {}\n", finding.kind.name().replace('_', " "), prose(&finding.title))?;
    writeln!(page, "- of {}, finding {}", code(&words::series(&finding.series)), code(&finding.id))?;
    early::known(report, finding).map_or(Ok(()), |known| writeln!(page, "- {}", prose(&known)))?;
    if !finding.also.is_empty() {
        let also = finding.also.iter().take(LISTED_MAX).map(|series| code(&words::series(series)));
        let also = also.collect::<Vec<_>>().join(", ");
        writeln!(page, "- moved with it: {also}{}", and_more(finding.also.len(), LISTED_MAX))?;
    }
    for evidence in finding.evidence.iter().take(LISTED_MAX) {
        match evidence {
            Evidence::Metric { series, observed, expected, unit, change, note } => {
                let figure = |value| words::figure_of(value, *unit, series);
                let mut parts = vec![format!("{} observed {}", code(&words::series(series)), figure(*observed))];
                parts.extend(expected.map(|expected| format!("expected {}", figure(expected))));
                parts.extend(change.map(|change| words::change(&change, *unit)));
                parts.extend(note.as_ref().map(|note| prose(note)));
                writeln!(page, "- {}", parts.join(", "))?;
            }
            Evidence::Query { sql } => writeln!(page, "- its rows: {}", long_code(sql))?,
        }
    }
    match and_more(finding.evidence.len(), LISTED_MAX) {
        more if more.is_empty() => writeln!(page),
        more => writeln!(page, "- {}\n", more.trim_start()),
    }
}

fn write_thresholds(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Thresholds\n")?;
    // Those that failed are not cut off.
    let (held, failed): (Vec<_>, Vec<_>) = report.thresholds.iter().partition(|threshold| words::held(threshold));
    let rows = failed.into_iter().chain(held).map(|threshold| {
        let state = if words::held(threshold) { "held" } else { "**failed**" };
        let state = match words::disagreement(threshold) {
            Some(judges) => format!("{state}: {judges}"),
            None => state.to_owned(),
        };
        let state = match threshold.over_time.as_ref().and_then(budget_words::over_time) {
            Some(course) => format!("{state}; {course}"),
            None => state,
        };
        let observed = words::threshold_observed(report, threshold);
        let headroom = threshold.headroom.map_or(String::new(), words::headroom);
        vec![code(&words::threshold_name(threshold)), state, observed, headroom]
    });
    table(page, &["Threshold", "", ">Observed", ">Headroom"], rows, rows_max)
}

fn write_objectives(page: &mut String, report: &AnalysisReport) -> Result {
    if report.objectives.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Objectives\n")?;
    report.objectives.iter().try_for_each(|objective| {
        let status = budget_words::status(objective.status);
        writeln!(page, "- **{status}** {}", prose(&budget_words::objective(objective)))
    })
}

fn write_comparison(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    let Some(comparison) = &report.comparison else { return Ok(()) };
    writeln!(page, "\n### Beside the baseline\n")?;
    let runs = match report.baseline.runs.len() as u64 {
        0 => String::new(),
        count => format!(" ({}, {})", prose(&report.baseline.kind), counted(count, "run")),
    };
    writeln!(page, "The baseline is run {}{runs}. {}\n", code(&comparison.base.id), prose(&comparison.method))?;
    let row = |row: &ComparisonRow| {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |v| words::figure_of(v, row.unit, &row.series));
        let mark = match (row.is_found, row.direction) {
            (true, Some(direction)) => format!("**{}**", words::direction(direction)),
            (false, Some(direction)) => words::direction(direction).to_owned(),
            (_, None) => String::new(),
        };
        let change = row.change.map_or(String::new(), |change| words::change(&change, row.unit));
        vec![code(&words::series(&row.series)), figure(row.base), figure(row.current), change, mark]
    };
    let heads = ["Figure", ">Baseline", ">This run", ">Change", ""];
    table(page, &heads, comparison.rows.iter().map(row), rows_max)
}

fn write_endpoints(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    if report.endpoints.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Endpoints\n\nLatency in milliseconds, of the requests that k6 expected to succeed.\n")?;
    let row = |endpoint: &EndpointReport| {
        let latency = |figure: fn(&Latency) -> f64| match &endpoint.latency_ms {
            Some(latency) => words::short(figure(latency)),
            None => "-".to_owned(),
        };
        let failed = endpoint.failed_requests_rate.map_or("-".to_owned(), words::percent);
        let mut row = vec![code(&endpoint_name(endpoint)), thousands(endpoint.requests_count), failed];
        row.extend([latency(|l| l.med), latency(|l| l.p95), latency(|l| l.p99), latency(|l| l.max)]);
        row
    };
    let heads = ["Endpoint", ">Requests", ">Failed", ">med", ">p95", ">p99", ">max"];
    table(page, &heads, report.endpoints.iter().map(row), rows_max)
}

/// Method, name and group; many scripts put the method into the name.
fn endpoint_name(endpoint: &EndpointReport) -> String {
    let method = endpoint.method.as_deref().unwrap_or("");
    let has_method = endpoint.name.strip_prefix(method).is_some_and(|rest| rest.starts_with(' '));
    let parts = [if has_method { "" } else { method }, &endpoint.name, endpoint.group.as_deref().unwrap_or("")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn write_generator(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    let Some(generator) = &report.generator else { return Ok(()) };
    let state =
        if generator.healthy { "The load generator was healthy." } else { "The load generator was in trouble." };
    writeln!(page, "\n### Load generator\n\n{state}")?;
    if !generator.reasons.is_empty() {
        writeln!(page)?;
    }
    list(page, generator.reasons.iter().map(|reason| prose(reason)), rows_max)
}

fn write_rejected(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    let wanting = report.run.sources.iter().filter(|source| source.lines_rejected > 0 || source.truncated);
    let wanting: Vec<_> = wanting.collect();
    if !wanting.is_empty() {
        writeln!(page, "\n### Rejected input\n")?;
    }
    for source in wanting.iter().take(rows_max) {
        let cut = if source.truncated { ", cut at its end" } else { "" };
        let (rejected, read) = (thousands(source.lines_rejected), thousands(source.lines_read));
        writeln!(page, "- {}: {rejected} of {read} lines{cut}", code(&source.name))?;
        for rejection in source.rejections.iter().take(LISTED_MAX.min(rows_max)) {
            writeln!(page, "  - line {}: {}", rejection.line, prose(&rejection.reason))?;
        }
    }
    match and_more(wanting.len(), rows_max) {
        more if more.is_empty() => Ok(()),
        more => writeln!(page, "- {}", more.trim_start()),
    }
}

fn write_skipped(page: &mut String, report: &AnalysisReport, rows_max: usize) -> Result {
    if report.skipped.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n### Not judged\n")?;
    list(
        page,
        report.skipped.iter().map(|skipped| format!("{}: {}", prose(&skipped.what), prose(&skipped.reason))),
        rows_max,
    )
}

/// Writes at most `rows_max` items; the rest is counted.
fn list(page: &mut String, items: impl ExactSizeIterator<Item = String>, rows_max: usize) -> Result {
    let count = items.len();
    for item in items.take(rows_max) {
        writeln!(page, "- {item}")?;
    }
    match and_more(count, rows_max) {
        more if more.is_empty() => Ok(()),
        more => writeln!(page, "- {}", more.trim_start()),
    }
}

/// Writes at most `rows_max` rows; the rest is counted. A head that starts with `>` sets its column to the right.
fn table(page: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>, rows_max: usize) -> Result {
    let names: Vec<&str> = heads.iter().map(|head| head.trim_start_matches('>')).collect();
    let rules: Vec<&str> = heads.iter().map(|head| if head.starts_with('>') { "--:" } else { "---" }).collect();
    writeln!(page, "| {} |\n| {} |", names.join(" | "), rules.join(" | "))?;
    let mut count = 0;
    for row in rows {
        count += 1;
        if count <= rows_max {
            // A bar ends a cell within a code span, too, unless a backslash stands before it.
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            writeln!(page, "| {} |", cells.join(" | "))?;
        }
    }
    match and_more(count, rows_max) {
        more if more.is_empty() => Ok(()),
        more => writeln!(page, "\n{}", more.trim_start()),
    }
}

/// Words how many of `count` are not among the first `shown`; empty when all are.
fn and_more(count: usize, shown: usize) -> String {
    match count.saturating_sub(shown) {
        0 => String::new(),
        more => format!(" and {} more: `report.json` has all", thousands(more as u64)),
    }
}
