//! The run among the earlier ones of its test, as a picture that needs no script.

use std::fmt::{Result, Write};

use crate::model::history::{HistoryReport, HistoryRun};
use crate::model::report::AnalysisReport;
use crate::report::charts::runs::{band, known};
use crate::report::columns::counted;
use crate::report::words::{figure, point, series};

use super::escape::{name, text};
use super::section;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 76.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 30.0;

pub fn history(page: &mut String, report: &AnalysisReport) -> Result {
    let Some(history) = report.history.as_ref().filter(|history| history.runs.len() > 1) else { return Ok(()) };
    section(page, "history", "Over the runs", &counted(history.runs.len() as u64, "run"))?;
    let left_out = match history.left_out_count {
        0 => String::new(),
        count => format!(
            " {} of another load or duration, partial, or older still: not shown.",
            counted(count as u64, "run")
        ),
    };
    let is_whole = history.series.tags.is_empty() && history.series.statistic.as_deref() == Some("p95");
    let judged = if is_whole { "" } else { " as it was judged, the middle of its blocks of time" };
    writeln!(
        page,
        "<p class=\"muted\">{} of each run{judged}, oldest first. The band is 5 % to both sides of the middle of the runs before, which \
         is as good as the same; a change is dated by a line.{left_out}</p>",
        text(&series(&history.series))
    )?;
    page.push_str("<figure class=\"runs\" tabindex=\"0\" aria-label=\"The latency over the runs\">");
    picture(page, history)?;
    page.push_str("</figure>\n");
    if !history.changes.is_empty() {
        page.push_str("<ul>");
        for change in &history.changes {
            let perhaps = if change.earliest_run == change.latest_run {
                String::new()
            } else {
                format!(" (from {} to {} with 95 %)", name(&change.earliest_run, 20), name(&change.latest_run, 20))
            };
            let commit =
                history.runs.iter().find(|run| run.run == change.since_run).and_then(|run| run.commit.as_ref());
            let commit = commit.map_or(String::new(), |commit| format!(", commit {}", name(commit, 40)));
            let words = text(&point(&change.change, history.unit));
            writeln!(page, "<li>{words} since run {}{commit}{perhaps}</li>", name(&change.since_run, 20))?;
        }
        page.push_str("</ul>\n");
    }
    writeln!(page, "</section>")
}

fn picture(page: &mut String, history: &HistoryReport) -> Result {
    let runs = &history.runs;
    let band = band(history);
    let ends = || runs.iter().filter_map(known).chain(band.into_iter().flat_map(|(low, high)| [low, high]));
    let (least, most) =
        ends().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    // Halves, since the distance of two floats may be none.
    let span = if most > least { 0.5 * most - 0.5 * least } else { 1.0 };
    let x = |index: usize| LEFT + (WIDTH - LEFT - 12.0) * (index as f64 + 0.5) / runs.len() as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (0.5 * value - 0.5 * least) / span);
    let label = format!("{} over {}", series(&history.series), counted(runs.len() as u64, "run"));
    write!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", text(&label))?;
    if let Some((low, high)) = band {
        write!(
            page,
            "<rect class=\"band\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            y(high),
            WIDTH - LEFT - 12.0,
            (y(low) - y(high)).max(1.0)
        )?;
    }
    if least <= most {
        for value in [least, most] {
            let words = text(&figure(value, history.unit));
            write!(page, "<text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{words}</text>", LEFT - 8.0, y(value) + 4.0)?;
        }
    }
    for change in &history.changes {
        if let Some(index) = runs.iter().position(|run| run.run == change.since_run) {
            let at = x(index) - 0.5 * (x(1) - x(0));
            write!(page, "<path class=\"change\" d=\"M{at:.1} {TOP}V{:.1}\"/>", HEIGHT - BOTTOM)?;
        }
    }
    write!(page, "<path class=\"line\" d=\"{}\"/>", line(runs, &x, &y))?;
    for (index, run) in runs.iter().enumerate() {
        let Some(value) = known(run) else { continue };
        let class = match (run.regressed, index + 1 == runs.len()) {
            (true, _) => "bad",
            (false, true) => "now",
            (false, false) => "before",
        };
        write!(
            page,
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\"><title>{}</title></circle>",
            x(index),
            y(value),
            if index + 1 == runs.len() { 6 } else { 3 },
            text(&title(run, value, history))
        )?;
    }
    let day =
        |run: &HistoryRun| run.started_at.map(|start| crate::report::text::second(start).chars().take(10).collect());
    let days: [Option<String>; 2] = [runs.first().and_then(day), runs.last().and_then(day)];
    for (words, (at, class)) in days.iter().zip([(LEFT, "from"), (WIDTH - 12.0, "end")]) {
        if let Some(words) = words {
            write!(page, "<text x=\"{at}\" y=\"{:.1}\" class=\"{class}\">{}</text>", HEIGHT - 8.0, text(words))?;
        }
    }
    page.push_str("</svg>");
    Ok(())
}

/// A gap where a run does not have the figure.
fn line(runs: &[HistoryRun], x: &dyn Fn(usize) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for (index, run) in runs.iter().enumerate() {
        let value = known(run);
        if let Some(value) = value {
            path += &format!("{}{:.1} {:.1}", if is_drawing { 'L' } else { 'M' }, x(index), y(value));
        }
        is_drawing = value.is_some();
    }
    path
}

fn title(run: &HistoryRun, value: f64, history: &HistoryReport) -> String {
    let start = run.started_at.map_or(String::new(), |start| format!(", {} UTC", crate::report::text::second(start)));
    let commit = run.commit.as_ref().map_or(String::new(), |commit| format!(", commit {commit}"));
    format!("{}: {}{start}{commit}", run.run, figure(value, history.unit))
}
