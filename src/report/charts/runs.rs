//! One figure over the runs of a test, with the runs since which it was another.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::model::history::{HistoryReport, HistoryRun};
use crate::model::report::AnalysisReport;
use crate::report::columns::counted;
use crate::report::text::second;
use crate::report::text_findings::short_name;
use crate::report::words::{EQUIVALENT, figure, point};

use super::{Area, BASELINE, BLUE, GRID, INK, MOST, MUTED, ORANGE, drawable, frame, words};

const LEFT: i32 = 96;
const RIGHT: i32 = 1176;
const TOP: i32 = 84;
const BOTTOM: i32 = 380;

/// Returns the band that is as good as the same as the runs before: around the middle of those that did not regress.
pub fn band(history: &HistoryReport) -> Option<(f64, f64)> {
    let before = history.runs.split_last()?.1.iter().filter(|run| !run.regressed);
    let mut values: Vec<f64> = before.filter_map(known).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2)?;
    Some((middle * (1.0 - EQUIVALENT), middle * (1.0 + EQUIVALENT)))
}

/// Returns the value of a run that can be drawn.
pub fn known(run: &HistoryRun) -> Option<f64> {
    run.value.filter(|value| value.is_finite() && value.abs() <= MOST)
}

/// None where there is no earlier run with the figure.
pub(super) fn draw<B: DrawingBackend>(area: &Area<B>, report: &AnalysisReport) -> Option<()> {
    let history = report.history.as_ref()?;
    let runs = &history.runs;
    let (band_low, band_high) = band(history)?;
    let values = || runs.iter().filter_map(known).chain([band_low, band_high]);
    let (least, most) =
        values().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    let room = 0.06 * (most - least);
    let (low, high) = (least - room, most + room);
    if high <= low {
        return None;
    }
    let width = f64::from(RIGHT - LEFT) / runs.len() as f64;
    let x = |run: usize| LEFT + (width * (run as f64 + 0.5)) as i32;
    let y = |value: f64| BOTTOM - ((value - low) / (high - low) * f64::from(BOTTOM - TOP)) as i32;
    let figure_name = history.series.statistic.as_deref().unwrap_or_default();
    let title = format!("{} {figure_name} over {}", short_name(&history.series), counted(runs.len() as u64, "run"));
    frame(area, report, &drawable(&title))?;
    let band = format!("the band is {:.0} % around the runs before: as good as the same", 100.0 * EQUIVALENT);
    area.draw_text(&band, &words(15, &MUTED), (14, 36)).ok()?;
    let corners = [(LEFT, y(band_high)), (RIGHT, y(band_low))];
    area.draw(&Rectangle::new(corners, BASELINE.mix(0.25).filled())).ok()?;
    area.draw(&PathElement::new(vec![(LEFT, BOTTOM), (RIGHT, BOTTOM)], GRID.stroke_width(1))).ok()?;
    for value in [least, most] {
        let style = words(15, &MUTED).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw_text(&figure(value, history.unit), &style, (LEFT - 10, y(value))).ok()?;
    }
    for change in &history.changes {
        let Some(run) = runs.iter().position(|run| run.run == change.since_run) else { continue };
        let at = x(run) - (0.5 * width) as i32;
        area.draw(&PathElement::new(vec![(at, TOP - 6), (at, BOTTOM)], ORANGE.stroke_width(2))).ok()?;
        let is_left = at < (LEFT + RIGHT) / 2;
        let side = if is_left { HPos::Left } else { HPos::Right };
        let style = words(15, &ORANGE).pos(Pos::new(side, VPos::Bottom));
        let told = format!("{} since {}", point(&change.change, history.unit), change.since_run);
        area.draw_text(&drawable(&told), &style, (if is_left { at } else { at - 2 }, TOP - 8)).ok()?;
    }
    for stretch in runs.iter().enumerate().collect::<Vec<_>>().split(|(_, run)| known(run).is_none()) {
        let points: Vec<(i32, i32)> =
            stretch.iter().filter_map(|(index, run)| Some((x(*index), y(known(run)?)))).collect();
        area.draw(&PathElement::new(points, MUTED.stroke_width(1))).ok()?;
    }
    for (index, run) in runs.iter().enumerate() {
        let Some(value) = known(run) else { continue };
        let is_newest = index + 1 == runs.len();
        let colour = if run.regressed { &ORANGE } else { &BLUE };
        let (at, size) = ((x(index), y(value)), if is_newest { 6 } else { 3 });
        area.draw(&Circle::new(at, size, colour.filled())).ok()?;
        if is_newest {
            area.draw(&Circle::new(at, size + 3, INK.stroke_width(1))).ok()?;
        }
    }
    let day = |run: &HistoryRun| run.started_at.and_then(|start| second(start).get(..10).map(str::to_owned));
    for (run, at, side) in [(runs.first(), LEFT, HPos::Left), (runs.last(), RIGHT, HPos::Right)] {
        if let Some(day) = run.and_then(day) {
            let style = words(15, &MUTED).pos(Pos::new(side, VPos::Top));
            area.draw_text(&day, &style, (at, BOTTOM + 8)).ok()?;
        }
    }
    Some(())
}
