//! The run beside its baseline: what makes the comparison unfair, then each figure of both.

use std::fmt::{Result, Write};

use crate::model::comparison::{Comparison, ComparisonRow};
use crate::model::finding::{Direction, Scale};
use crate::model::report::AnalysisReport;
use crate::report::columns::counted;
use crate::report::words::{EQUIVALENT, figure, point};

use super::escape::{name, text};
use super::{endpoints, findings, marks, section};

/// Changes beyond this are drawn as an arrow: one row of +900 % would make all others dots.
const REACH_MAX: f64 = 1.0;
const SERIES_COLUMNS: usize = 90;

/// What makes the comparison unfair, before anything that rests on it.
pub fn unfair(page: &mut String, report: &AnalysisReport) -> Result {
    let compared = report.comparison.as_ref().map_or(&[][..], |comparison| &comparison.differences);
    let mut differences: Vec<&String> = report.baseline.differences.iter().collect();
    differences.extend(compared.iter().filter(|one| !report.baseline.differences.contains(one)));
    if differences.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<section class=\"unfair\" aria-labelledby=\"unfair-h\"><h2 id=\"unfair-h\">Read the comparison with care</h2><p>The runs differ in more than the system under test:</p><ul>"
    )?;
    differences.iter().try_for_each(|difference| writeln!(page, "<li>{}</li>", text(difference)))?;
    writeln!(page, "</ul></section>")
}

pub fn comparison(page: &mut String, report: &AnalysisReport) -> Result {
    let Some(comparison) = &report.comparison else {
        section(page, "comparison", "Comparison", "")?;
        return writeln!(page, "<p class=\"quiet-line\">Not compared with another run.</p></section>");
    };
    let moved_count = comparison.rows.iter().filter(|row| is_moved(row)).count();
    let note = format!("{moved_count} of {} moved", counted(comparison.rows.len() as u64, "figure"));
    section(page, "comparison", "Beside the baseline", &note)?;
    let base = &comparison.base;
    write!(page, "<p class=\"muted\">Baseline: run {}", name(&base.id, 20))?;
    if let Some(start) = base.started_at {
        write!(page, ", {} UTC", crate::report::text::second(start))?;
    }
    for words in [&base.branch, &base.commit, &base.k6_version].into_iter().flatten() {
        write!(page, ", {}", name(words, 40))?;
    }
    writeln!(
        page,
        ". Intervals hold the true change with 95 %; the grey band, {:.0} % to both sides of none, is as good as the same.</p>",
        100.0 * EQUIVALENT
    )?;
    if comparison.rows.is_empty() {
        return writeln!(page, "<p class=\"quiet-line\">The two runs have no figure in common.</p></section>");
    }
    let (moved, even): (Vec<&ComparisonRow>, Vec<&ComparisonRow>) =
        comparison.rows.iter().partition(|row| is_moved(row));
    if !moved.is_empty() {
        table(page, report, comparison, &moved)?;
    }
    if !even.is_empty() {
        // Where nothing moved there is nothing else to look at.
        let open = if moved.is_empty() { " open" } else { "" };
        let even_count = counted(even.len() as u64, "figure");
        writeln!(page, "<details{open}><summary>{even_count} without a clear change</summary>")?;
        table(page, report, comparison, &even)?;
        writeln!(page, "</details>")?;
    }
    writeln!(page, "</section>")
}

fn table(page: &mut String, report: &AnalysisReport, comparison: &Comparison, rows: &[&ComparisonRow]) -> Result {
    let label =
        if rows.iter().any(|row| is_moved(row)) { "figures that moved" } else { "figures without a clear change" };
    writeln!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table: {label}\"><table class=\"stack\" data-sortable><thead><tr><th scope=\"col\" data-sort=\"text\">Figure</th><th scope=\"col\" class=\"n\" data-sort=\"number\">Baseline</th><th scope=\"col\" class=\"n\" data-sort=\"number\">This run</th><th scope=\"col\" class=\"n\" data-sort=\"number\">Change</th><th scope=\"col\">Interval</th><th scope=\"col\" data-sort=\"text\">Judged</th></tr></thead><tbody>"
    )?;
    let (ratio, difference) = (reach(comparison, Scale::Ratio), reach(comparison, Scale::Difference));
    for one in rows {
        let reach = if one.change.is_some_and(|change| change.scale == Scale::Ratio) { ratio } else { difference };
        row(page, report, one, reach)?;
    }
    writeln!(page, "</tbody></table></div>")
}

fn is_moved(row: &ComparisonRow) -> bool {
    matches!(row.direction, Some(Direction::Worse | Direction::Better))
}

/// Half the width of the interval pictures: one scale for all rows, so that they can be compared by eye.
fn reach(comparison: &Comparison, scale: Scale) -> f64 {
    let changes = comparison.rows.iter().filter_map(|row| row.change.as_ref()).filter(|change| change.scale == scale);
    let ends = changes.flat_map(|change| [Some(change.point), change.low, change.high]).flatten();
    ends.map(f64::abs).filter(|end| end.is_finite()).fold(0.0, f64::max).min(REACH_MAX)
}

fn row(page: &mut String, report: &AnalysisReport, row: &ComparisonRow, reach: f64) -> Result {
    let (tone, words) = marks::direction(row.direction);
    let class = if is_moved(row) { "" } else { " class=\"even-row\"" };
    let words = if row.change.is_none() { "not comparable" } else { words };
    let found = if row.is_found { " <small class=\"muted\">(in a finding)</small>" } else { "" };
    let value = |value: Option<f64>| value.map_or("-".to_owned(), |value| figure(value, row.unit));
    let raw = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let moved = row.change.as_ref();
    writeln!(
        page,
        "<tr{class}><th scope=\"row\">{}</th><td class=\"n\" data-l=\"Baseline\" data-v=\"{}\">{}</td><td class=\"n\" data-l=\"This run\" data-v=\"{}\">{}</td><td class=\"n {tone}\" data-l=\"Change\" data-v=\"{}\">{}</td><td data-l=\"Interval\">{}</td><td class=\"{tone}\" data-l=\"Judged\">{words}{found}</td></tr>",
        name(&endpoints::series_words(report, &row.series), SERIES_COLUMNS),
        raw(row.base),
        value(row.base),
        raw(row.current),
        value(row.current),
        raw(moved.map(|moved| moved.point)),
        moved.map_or("-".to_owned(), |moved| point(moved, row.unit)),
        moved.map_or(String::new(), |moved| findings::interval_cell(moved, row.unit, tone, reach)),
    )
}
