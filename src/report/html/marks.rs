//! Small pictures within the words: a mark for each verdict and severity, told apart by shape before colour; bars of headroom
//! and of intervals; a series as a line without axes.

use std::fmt::Write;

use crate::model::finding::{Change, Direction, Scale, Severity};
use crate::model::report::VerdictKind;
use crate::report::words::EQUIVALENT;

/// Points of a line without axes: more are not seen in so little room.
const SPARK_POINTS: usize = 60;

/// A tick in a circle, a cross in an octagon, a bar in a square, an exclamation mark in a triangle, a question in a ring.
pub fn verdict(kind: VerdictKind) -> String {
    mark(verdict_shape(kind))
}

fn verdict_shape(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Pass => "<circle cx='12' cy='12' r='11'/><path class='cut' d='M6.5 12.5l3.7 3.7 7.3-8'/>",
        VerdictKind::Regressed => {
            "<path d='M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z'/><path class='cut' d='M8 8l8 8M16 8l-8 8'/>"
        }
        VerdictKind::ThresholdsFailed => {
            "<rect x='1.5' y='1.5' width='21' height='21' rx='3'/><path class='cut' d='M5.5 14h13M12 17.5V6.5M8.5 10L12 6.5l3.5 3.5'/>"
        }
        VerdictKind::Suspect => "<path d='M12 1.5L23.5 22H.5z'/><path class='cut' d='M12 9v6M12 18v.6'/>",
        VerdictKind::Inconclusive => {
            "<circle cx='12' cy='12' r='11'/><path class='cut' d='M8.7 9.3a3.3 3.3 0 1 1 5 2.8c-1.2.7-1.7 1.3-1.7 2.6M12 18v.5'/>"
        }
    }
}

pub fn severity(severity: Severity) -> String {
    mark(match severity {
        Severity::Critical => "<path d='M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z'/>",
        Severity::Major => "<path d='M12 1.5L23.5 22H.5z'/>",
        Severity::Minor => "<circle cx='12' cy='12' r='8'/>",
    })
}

pub fn held(passed: bool) -> String {
    verdict(if passed { VerdictKind::Pass } else { VerdictKind::Regressed })
}

fn mark(shape: &str) -> String {
    format!("<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">{}</svg>", shape.replace('\'', "\""))
}

/// Returns the verdict's mark as the path of a data URL.
pub fn icon(kind: VerdictKind) -> String {
    let colour = match kind {
        VerdictKind::Pass => "0b6e69",
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => "b3261e",
        VerdictKind::Suspect | VerdictKind::Inconclusive => "8a5a00",
    };
    let shape = verdict_shape(kind).replace("class='cut'", "fill='none' stroke='white' stroke-width='3'");
    let svg = format!("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='#{colour}'>{shape}</svg>");
    svg.replace('<', "%3C").replace('>', "%3E").replace('#', "%23").replace(' ', "%20")
}

/// Returns how the words of a direction are coloured, and the arrow that says it without colour.
pub fn direction(direction: Option<Direction>) -> (&'static str, &'static str) {
    match direction {
        Some(Direction::Worse) => ("bad", "worse"),
        Some(Direction::Better) => ("good", "better"),
        Some(Direction::Changed) | None => ("even", "no clear change"),
    }
}

/// Draws a change and its interval around zero, a ratio's against the band that is as good as the same; what goes beyond `reach` to either side ends in an arrow.
pub fn interval(change: &Change, tone: &str, reach: f64) -> String {
    const WIDTH: f64 = 140.0;
    let middle = WIDTH / 2.0;
    let room = middle - 6.0;
    let at = |value: f64| if reach > 0.0 { middle + (value / reach).clamp(-1.0, 1.0) * room } else { middle };
    let mut svg = format!(
        "<svg class=\"interval {tone}\" viewBox=\"0 0 {WIDTH} 16\" width=\"{WIDTH}\" height=\"16\" aria-hidden=\"true\">\
         <path class=\"axis\" d=\"M2 8H{:.0}\"/><path class=\"zero\" d=\"M{middle} 1V15\"/>",
        WIDTH - 2.0
    );
    if change.scale == Scale::Ratio {
        let (from, until) = (at(-EQUIVALENT), at(EQUIVALENT));
        let width = until - from;
        push(
            &mut svg,
            format_args!("<rect class=\"band\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"16\"/>"),
        );
    }
    if let (Some(low), Some(high)) = (change.low, change.high) {
        let (from, until) = (at(low), at(high));
        push(
            &mut svg,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"5\" width=\"{:.1}\" height=\"6\" rx=\"3\"/>",
                (until - from).max(2.0)
            ),
        );
    }
    let point = at(change.point);
    if change.point.abs() > reach * 1.001 {
        let (tip, back) = if change.point > 0.0 { (WIDTH, WIDTH - 7.0) } else { (0.0, 7.0) };
        push(&mut svg, format_args!("<path class=\"point\" d=\"M{tip} 8L{back} 3.5V12.5z\"/></svg>"));
    } else {
        push(&mut svg, format_args!("<circle class=\"point\" cx=\"{point:.1}\" cy=\"8\" r=\"4\"/></svg>"));
    }
    svg
}

/// Draws headroom from the limit in the middle: to the right inside it, to the left beyond it; a whole limit fills one half.
pub fn headroom(headroom: f64) -> String {
    const WIDTH: f64 = 160.0;
    let middle = WIDTH / 2.0;
    let length = (headroom.abs().min(1.0) * middle).max(2.0);
    let (from, tone) = if headroom < 0.0 { (middle - length, "bad") } else { (middle, "good") };
    format!(
        "<svg class=\"headroom {tone}\" viewBox=\"0 0 {WIDTH} 16\" width=\"{WIDTH}\" height=\"16\" aria-hidden=\"true\">\
         <rect class=\"track\" x=\"0\" y=\"5\" width=\"{WIDTH}\" height=\"6\" rx=\"3\"/>\
         <rect x=\"{from:.1}\" y=\"5\" width=\"{length:.1}\" height=\"6\" rx=\"1.5\"/><path class=\"zero\" d=\"M{middle} 0V16\"/></svg>"
    )
}

/// Draws a series from zero to its greatest value; a step without a value is a gap. None where nothing is to be drawn.
pub fn spark(values: &[Option<f64>], tone: &str) -> Option<String> {
    let known = || values.iter().flatten().copied().filter(|value| value.is_finite());
    let most = known().fold(0.0, f64::max);
    if known().count() < 2 {
        return None;
    }
    let a_point = values.len().div_ceil(SPARK_POINTS);
    // The greatest of the steps that share a point: a mean would hide the peak that the picture is for.
    let greatest = |steps: &[Option<f64>]| steps.iter().flatten().copied().reduce(f64::max);
    let points: Vec<Option<f64>> = values.chunks(a_point).map(greatest).collect();
    let step = 100.0 / (points.len().max(2) - 1) as f64;
    let mut path = String::new();
    let mut pen_is_down = false;
    for (index, point) in points.iter().enumerate() {
        if let Some(value) = point.filter(|value| value.is_finite()) {
            let height = if most > 0.0 { value.max(0.0) / most } else { 0.0 };
            let letter = if pen_is_down { 'L' } else { 'M' };
            push(&mut path, format_args!("{letter}{:.1} {:.1}", index as f64 * step, 22.0 - height * 20.0));
        }
        pen_is_down = point.is_some();
    }
    Some(format!(
        "<svg class=\"spark {tone}\" viewBox=\"0 0 100 24\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path d=\"{path}\"/></svg>"
    ))
}

fn push(svg: &mut String, words: std::fmt::Arguments) {
    svg.write_fmt(words).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lifts_the_pen() {
        let svg = spark(&[Some(1.0), Some(2.0), None, Some(1.0), Some(0.0)], "").unwrap();
        assert!(svg.contains("M0.0 12.0L25.0 2.0M75.0 12.0L100.0 22.0"), "{svg}");
        assert_eq!(spark(&[None, Some(1.0)], ""), None);
    }

    #[test]
    fn bars_stay_within_their_room() {
        let change = Change { scale: Scale::Ratio, point: 9.0, low: Some(-1e300), high: Some(1e300), confidence: None };
        let svg = interval(&change, "bad", 1.0);
        assert!(svg.contains("<rect x=\"6.0\" y=\"5\" width=\"128.0\""), "{svg}");
        assert!(headroom(-50.0).contains("<rect x=\"0.0\" y=\"5\" width=\"80.0\""));
        assert!(headroom(0.25).contains("<rect x=\"80.0\" y=\"5\" width=\"20.0\""));
    }
}
