//! The parts of the text report that came with judgement: findings, the comparison, the load generator.

use std::fmt::{Result, Write};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::{Direction, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, Detectable};

use super::columns::{counted, cut_middle, pad};
use super::text::{Colour, paragraph};
use super::{early, words};

const FINDINGS_SHOWN: usize = 20;
const DETECTABLE_SHOWN: usize = 6;
const ROWS_SHOWN: usize = 16;
const ALSO_SHOWN: usize = 8;
const SERIES_COLUMNS: usize = 32;

/// What makes the comparison unfair, before anything that rests on it.
pub fn differences(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let differences = &report.baseline.differences;
    if differences.is_empty() {
        return Ok(());
    }
    let heading = if report.baseline.comparable { "Besides the system, this differs" } else { "Not a fair comparison" };
    writeln!(text, "\n{}", colour.heading(heading))?;
    differences.iter().try_for_each(|difference| paragraph(text, "  ", &cut_middle(difference, 300)))
}

pub fn findings(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    if report.findings.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", colour.heading("Findings"))?;
    for finding in report.findings.iter().take(FINDINGS_SHOWN) {
        let code = match (finding.direction, finding.severity) {
            (Direction::Better, _) => "32",
            (_, Severity::Critical | Severity::Major) => "31",
            _ => "33",
        };
        let mark = pad(finding.severity.name(), 9);
        let title = super::columns::wrapped(&cut_middle(&finding.title, 400), 88);
        let (first, rest) = title.split_first().expect("no text is one empty line");
        writeln!(text, "  {}{first}", colour.paint(&mark, code))?;
        rest.iter().try_for_each(|line| writeln!(text, "           {line}"))?;
        paragraph(text, "           ", &words::facts(finding))?;
        early::known(report, finding).map_or(Ok(()), |known| paragraph(text, "           ", &known))?;
        if !finding.also.is_empty() {
            paragraph(text, "           ", &format!("with it: {}", also(&finding.also)))?;
        }
    }
    match report.findings.len().saturating_sub(FINDINGS_SHOWN) {
        0 => Ok(()),
        more => writeln!(text, "  and {}: --format json has all", counted(more as u64, "more finding")),
    }
}

/// What was told while the run went on, and is no finding of the whole run.
pub fn gone(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    for (index, gone) in early::gone(report).enumerate() {
        if index == 0 {
            writeln!(text, "\n{}", colour.heading("Told early"))?;
        }
        paragraph(text, "  ", &gone)?;
    }
    Ok(())
}

/// Words what moved with a finding, the figures of one series together: `avg, med of GET /report; http_reqs rate`.
fn also(series: &[SeriesReference]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for series in series {
        let (name, statistic) = (short_name(series), series.statistic.as_deref().unwrap_or(""));
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, statistics)) => statistics.push(statistic),
            None => groups.push((name, vec![statistic])),
        }
    }
    let words = |(name, statistics): &(String, Vec<&str>)| match statistics.join(", ") {
        statistics if statistics.is_empty() => name.clone(),
        statistics => format!("{statistics} of {name}"),
    };
    let shown: Vec<String> = groups.iter().take(ALSO_SHOWN).map(words).collect();
    let more = groups.len().saturating_sub(ALSO_SHOWN);
    shown.join("; ") + &if more > 0 { format!("; and {more} more") } else { String::new() }
}

/// The endpoint or check of a series, as the table of endpoints calls it; else its metric.
pub(super) fn short_name(series: &SeriesReference) -> String {
    let tag = |name: &str| series.tags.get(name).filter(|value| !value.is_empty());
    match (tag("check"), tag("name"), tag("method")) {
        (Some(check), ..) => words::name(&format!("check {check}")),
        (_, Some(name), Some(method)) if !name.starts_with(method.as_str()) => words::name(&format!("{method} {name}")),
        (_, Some(name), _) => words::name(name),
        _ => series.metric.clone(),
    }
}

/// The figures that are found, then those of all requests.
pub fn comparison(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let Some(comparison) = &report.comparison else { return Ok(()) };
    let base = report.baseline.runs.first().map_or(comparison.base.id.as_str(), String::as_str);
    let heading = pad(&format!("Compared with {}", cut_middle(base, 18)), SERIES_COLUMNS + 2);
    writeln!(text, "\n{}{:>11}{:>11}  change", colour.heading(&heading), "before", "now")?;
    let is_of_all = |row: &&ComparisonRow| row.is_found || !row.series.tags.contains_key("name") && row.base.is_some();
    let (mut rows, mut shown): (Vec<&ComparisonRow>, usize) = (comparison.rows.iter().filter(is_of_all).collect(), 0);
    rows.sort_by_key(|row| !row.is_found);
    for row in rows.iter().take(ROWS_SHOWN) {
        let value =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| words::figure_of(value, row.unit, &row.series));
        let change = row.change.map_or(String::new(), |change| words::change(&change, row.unit));
        let code = match row.direction {
            Some(Direction::Worse) => "31",
            Some(Direction::Better) => "32",
            _ => "",
        };
        let change = if code.is_empty() { change } else { colour.paint(&change, code) };
        let statistic = row.series.statistic.as_deref().unwrap_or("");
        let is_of_endpoint = row.series.metric == "http_req_failed" && row.series.tags.contains_key("name");
        let failed = if is_of_endpoint { "failed " } else { "" };
        let series = format!("{} {}{}", short_name(&row.series), failed, statistic);
        let series = pad(&cut_middle(&series, SERIES_COLUMNS - 1), SERIES_COLUMNS);
        writeln!(text, "  {series}{:>11}{:>11}  {change}", value(row.base), value(row.current))?;
        shown += 1;
    }
    match comparison.rows.len() - shown {
        0 => Ok(()),
        more => writeln!(text, "  and {}: --format json has all", counted(more as u64, "more figure")),
    }
}

/// What would have been found, so that silence means something: of all requests, then what is known best.
pub fn detectable(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let mut all: Vec<&Detectable> = report.baseline.detectable.iter().collect();
    let Some(first) = all.first() else { return Ok(()) };
    writeln!(text, "\n{}", colour.heading(&format!("Found with a chance of {}", words::percent(first.power))))?;
    // A change of many points says that hardly anything is known; those of all requests come first in any case.
    all.sort_by_key(|one| !one.series.tags.is_empty());
    for one in all.iter().take(DETECTABLE_SHOWN) {
        let what = match (one.series.metric.as_str(), one.series.statistic.as_deref()) {
            ("http_req_failed", _) if one.series.tags.is_empty() => "failed requests".to_owned(),
            ("http_req_failed", _) => format!("failed requests of {}", short_name(&one.series)),
            ("checks", _) => format!("failed {}", short_name(&one.series)),
            (_, statistic) => format!("{} of {}", statistic.unwrap_or("all"), short_name(&one.series)),
        };
        let needed = one.runs_needed.map_or(String::new(), |runs| format!("; +5 % takes {runs} runs"));
        let more = if one.change.point > 0.0 { " or more" } else { "" };
        paragraph(text, "  ", &format!("{what}: {}{more}{needed}", words::point(&one.change, Unit::Fraction)))?;
    }
    match all.len().saturating_sub(DETECTABLE_SHOWN) {
        0 => Ok(()),
        more => writeln!(text, "  and {}: --format json has all", counted(more as u64, "more figure")),
    }
}

pub fn generator(text: &mut String, report: &AnalysisReport, colour: Colour) -> Result {
    let Some(generator) = report.generator.as_ref().filter(|generator| !generator.reasons.is_empty()) else {
        return Ok(());
    };
    let heading = if generator.healthy { "Load generator" } else { "Load generator: in trouble" };
    writeln!(text, "\n{}", colour.heading(heading))?;
    generator.reasons.iter().try_for_each(|reason| paragraph(text, "  ", &cut_middle(reason, 300)))
}
