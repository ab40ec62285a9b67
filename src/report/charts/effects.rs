//! The forest plot: each change with its interval, against the band that is as good as no change.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::model::comparison::ComparisonRow;
use crate::model::finding::{Change, Direction, Evidence, Scale};
use crate::model::report::AnalysisReport;
use crate::report::columns::counted;
use crate::report::text_findings::short_name;
use crate::report::words::{EQUIVALENT, point};

use super::{Area, BASELINE, BLUE, GRID, INK, MUTED, ORANGE, drawable, frame, words};

/// More rows could not be read.
const ROWS_MAX: usize = 18;
/// Changes beyond these end in an arrow: one of +900 % would make dots of all others.
const LOWEST: f64 = -0.6;
const HIGHEST: f64 = 1.5;
/// Shares of the way to 100 % between the marks of the axis, and how many marks there may be.
const STEPS: [f64; 5] = [0.05, 0.1, 0.2, 0.5, 1.0];
const MARKS_MAX: f64 = 12.0;

const LEFT: i32 = 400;
const RIGHT: i32 = 1010;
const TOP: i32 = 62;
const BOTTOM: i32 = 386;

/// A change with its interval: of a figure in a finding the one that was judged, else the one beside the baseline.
struct Effect<'r> {
    row: &'r ComparisonRow,
    change: Change,
    low: f64,
    high: f64,
}

/// None where no change has an interval.
pub(super) fn draw<B: DrawingBackend>(area: &Area<B>, report: &AnalysisReport) -> Option<()> {
    let effects = effects(report);
    let shown = &effects[..effects.len().min(ROWS_MAX)];
    let ends = || shown.iter().flat_map(|effect| [effect.low, effect.change.point, effect.high]);
    let low = ends().fold(-2.0 * EQUIVALENT, f64::min).max(LOWEST);
    let high = ends().fold(2.0 * EQUIVALENT, f64::max).min(HIGHEST);
    if shown.is_empty() {
        return None;
    }
    let x = |change: f64| LEFT + ((change.clamp(low, high) - low) / (high - low) * f64::from(RIGHT - LEFT)) as i32;
    frame(area, report, "Changes with their intervals of 95 %")?;
    let more = match effects.len() - shown.len() {
        0 => String::new(),
        more => format!("; {} not shown", counted(more as u64, "smaller change")),
    };
    let band = format!("the band is {:.0} % to both sides: as good as the same{more}", 100.0 * EQUIVALENT);
    area.draw_text(&band, &words(15, &MUTED), (14, 36)).ok()?;
    let corners = [(x(-EQUIVALENT), TOP), (x(EQUIVALENT), BOTTOM)];
    area.draw(&Rectangle::new(corners, BASELINE.mix(0.25).filled())).ok()?;
    axis(area, low, high, &x)?;
    let height = f64::from(BOTTOM - TOP) / shown.len().max(6) as f64;
    for (index, effect) in shown.iter().enumerate() {
        let y = TOP + (height * (index as f64 + 0.5)) as i32;
        draw_effect(area, effect, y, (low, high), &x)?;
    }
    Some(())
}

/// Returns the figures in findings, and one of each other series, each by size.
fn effects(report: &AnalysisReport) -> Vec<Effect<'_>> {
    let rows = report.comparison.iter().flat_map(|comparison| &comparison.rows);
    let mut effects: Vec<Effect> = rows.filter_map(|row| effect(report, row)).collect();
    effects.sort_by(|left, right| {
        let order = |effect: &Effect| (effect.row.is_found, effect.change.point.abs());
        let ((left_found, left_size), (right_found, right_size)) = (order(left), order(right));
        right_found.cmp(&left_found).then(right_size.total_cmp(&left_size))
    });
    effects
}

/// None of a row that is not drawn: other figures of a series than these mostly move as its tail does.
fn effect<'r>(report: &AnalysisReport, row: &'r ComparisonRow) -> Option<Effect<'r>> {
    let change = judged(report, row).or(row.change)?;
    let (low, high) = (change.low?, change.high?);
    let is_shown = row.is_found || matches!(row.series.statistic.as_deref(), Some("p95" | "rate"));
    let is_drawable = change.scale == Scale::Ratio && [change.point, low, high].iter().all(|value| value.is_finite());
    (is_shown && is_drawable).then_some(Effect { row, change, low, high })
}

/// Returns the change of a figure that is in a finding: what a history says of it is surer than what one run does.
fn judged(report: &AnalysisReport, row: &ComparisonRow) -> Option<Change> {
    report.findings.iter().flat_map(|finding| &finding.evidence).find_map(|evidence| match evidence {
        Evidence::Metric { series, change, .. } if row.is_found && *series == row.series => *change,
        _ => None,
    })
}

fn axis<B: DrawingBackend>(area: &Area<B>, low: f64, high: f64, x: &impl Fn(f64) -> i32) -> Option<()> {
    let step = STEPS.into_iter().find(|step| (high - low) / step <= MARKS_MAX)?;
    let (first, last) = ((low / step).ceil() as i32, (high / step).floor() as i32);
    for mark in first..=last {
        let change = f64::from(mark) * step;
        let colour = if mark == 0 { &MUTED } else { &GRID };
        area.draw(&PathElement::new(vec![(x(change), TOP), (x(change), BOTTOM)], colour.stroke_width(1))).ok()?;
        let style = words(15, &MUTED).pos(Pos::new(HPos::Center, VPos::Top));
        let label = if mark == 0 { "0 %".to_owned() } else { format!("{:+.0} %", 100.0 * change) };
        area.draw_text(&label, &style, (x(change), BOTTOM + 8)).ok()?;
    }
    Some(())
}

fn draw_effect<B: DrawingBackend>(
    area: &Area<B>,
    effect: &Effect,
    y: i32,
    (low, high): (f64, f64),
    x: &impl Fn(f64) -> i32,
) -> Option<()> {
    let row = effect.row;
    let colour = match row.direction {
        Some(Direction::Worse) => &ORANGE,
        Some(Direction::Better) => &BLUE,
        Some(Direction::Changed) | None => &MUTED,
    };
    let name = words(15, &INK).pos(Pos::new(HPos::Right, VPos::Center));
    let figure = row.series.statistic.as_deref().unwrap_or_default();
    area.draw_text(&drawable(&format!("{} {figure}", short_name(&row.series))), &name, (LEFT - 14, y)).ok()?;
    area.draw(&PathElement::new(vec![(x(effect.low), y), (x(effect.high), y)], colour.stroke_width(2))).ok()?;
    for end in [effect.low, effect.high].into_iter().filter(|end| (low..=high).contains(end)) {
        area.draw(&PathElement::new(vec![(x(end), y - 4), (x(end), y + 4)], colour.stroke_width(2))).ok()?;
    }
    let at = x(effect.change.point);
    if (low..=high).contains(&effect.change.point) {
        area.draw(&Circle::new((at, y), 5, colour.filled())).ok()?;
    } else {
        let back = if effect.change.point > 0.0 { at - 9 } else { at + 9 };
        area.draw(&Polygon::new(vec![(at, y), (back, y - 5), (back, y + 5)], colour.filled())).ok()?;
    }
    let told = words(15, if row.is_found { colour } else { &MUTED }).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw_text(&drawable(&point(&effect.change, row.unit)), &told, (RIGHT + 14, y)).ok()
}
