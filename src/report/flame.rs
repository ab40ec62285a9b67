//! The difference of two profiles as a flame graph: each frame as wide as it is in the window that is asked about, red with + where it
//! has more than when all was well, blue with - where it has less. A picture without a script; with `page/flame.js` it can be zoomed.

use std::fmt::Write;

use crate::model::exhibit::{FlameDifference, FlameFrame};
use crate::report::columns::cut_middle;

use super::html::escape::text;
use super::why;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
/// Narrower frames are not drawn: nobody could point at them.
const NARROWEST: f64 = 0.4;
const LETTER: f64 = 6.6;
const NAME_COLUMNS: usize = 160;
/// Of the wider side, a change that is marked.
const MARKED: f64 = 0.1;
/// Above a picture that stands alone.
const HEAD: f64 = 44.0;

/// Makes the pictures of a page zoom, by mouse and by keyboard.
pub const SCRIPT: &str = include_str!("page/flame.js");
const LEGEND: &str = "as wide as in the window; red, +: more than when healthy; blue, -: less";

/// Returns what the picture is of, in one line.
pub fn title(difference: &FlameDifference) -> String {
    format!(
        "{} of {}, {} to {} UTC, beside {} to {}",
        why::short(&difference.profile_type),
        why::short(&difference.service),
        difference.faulty.from.clock(),
        difference.faulty.until.clock(),
        difference.healthy.from.clock(),
        difference.healthy.until.clock()
    )
}

/// Returns a file that any viewer of pictures shows.
pub fn picture(difference: &FlameDifference) -> String {
    let height = HEAD + height(difference);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <text x=\"8\" y=\"18\" font-size=\"14\" fill=\"#1b1f24\">{}</text>\
         <text x=\"8\" y=\"35\" fill=\"#57606a\">{LEGEND}</text><g transform=\"translate(0 {HEAD})\">",
        text(&cut_middle(&title(difference), NAME_COLUMNS))
    );
    draw(&mut svg, difference);
    svg.push_str("</g></svg>\n");
    svg
}

/// Returns a page of its own, in which the picture can be zoomed; it needs nothing else.
pub fn page(difference: &FlameDifference) -> String {
    const STYLE: &str = "body{margin:16px;font:14px/1.5 system-ui,sans-serif;background:#fff;color:#1b1f24}\
        svg{width:100%;height:auto;font-size:11px}svg g{cursor:pointer}svg .at rect{stroke:#1b1f24;stroke-width:1.5}\
        p{margin:0 0 8px}.told{min-height:3em}";
    let title = text(&title(difference));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<p>{title}</p>\n{}<script>{SCRIPT}</script>\n</body>\n</html>\n",
        within_page(difference)
    )
}

/// Returns the picture as a part of a page, with the line that tells the frame that is pointed at.
pub fn within_page(difference: &FlameDifference) -> String {
    let mut svg = format!(
        "<div class=\"flame\"><p class=\"muted\">{LEGEND}. Click a frame, or move with the arrow keys and press Enter, to zoom; Escape shows all.</p>\
         <svg class=\"flame-graph\" viewBox=\"0 0 {WIDTH} {}\" role=\"application\" tabindex=\"0\" aria-label=\"Flame graph: {}\">",
        height(difference),
        text(&title(difference))
    );
    draw(&mut svg, difference);
    svg.push_str("</svg><p class=\"told muted\" aria-live=\"polite\"></p></div>\n");
    svg
}

fn height(difference: &FlameDifference) -> f64 {
    let rows = placed(difference).iter().map(|(frame, ..)| frame.depth + 1).max().unwrap_or(0);
    ROW * f64::from(rows) + 6.0
}

/// Returns the frames that are wide enough, with where they begin and how wide they are.
fn placed(difference: &FlameDifference) -> Vec<(&FlameFrame, f64, f64)> {
    let whole: f64 =
        difference.frames.iter().filter(|frame| frame.depth == 0).map(|frame| frame.faulty_per_second).sum();
    let per_unit = WIDTH / whole.max(f64::MIN_POSITIVE);
    let mut placed = Vec::new();
    // Where the next frame of each depth begins.
    let mut left: Vec<f64> = vec![0.0];
    for frame in &difference.frames {
        let depth = frame.depth as usize;
        let Some(x) = left.get(depth).copied() else { continue };
        let width = frame.faulty_per_second * per_unit;
        left[depth] += width;
        left.truncate(depth + 1);
        left.push(x);
        if width >= NARROWEST {
            placed.push((frame, x, width));
        }
    }
    placed
}

fn draw(svg: &mut String, difference: &FlameDifference) {
    for (frame, x, width) in placed(difference) {
        draw_frame(svg, frame, &difference.profile_type, x, width);
    }
}

fn draw_frame(svg: &mut String, frame: &FlameFrame, profile_type: &str, x: f64, width: f64) {
    let y = ROW * f64::from(frame.depth);
    let figure = |value: f64| why::per_second(value, profile_type);
    let name = format!("{}{}", mark(frame), cut_middle(&frame.function, NAME_COLUMNS));
    let title =
        format!("{name}: {} when healthy, {} then", figure(frame.healthy_per_second), figure(frame.faulty_per_second));
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    let shown = if letters < 3 { String::new() } else { cut_middle(&name, letters) };
    // A String takes everything.
    let _ = write!(
        svg,
        "<g data-x=\"{x:.2}\" data-w=\"{width:.2}\" data-d=\"{}\"><title>{}</title><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" \
         height=\"{:.2}\" fill=\"{}\" rx=\"2\"/><text x=\"{:.2}\" y=\"{:.2}\" fill=\"#1b1f24\">{}</text></g>",
        frame.depth,
        text(&title),
        (width - 0.5).max(0.2),
        ROW - 1.0,
        colour(frame),
        x + 3.0,
        y + 12.5,
        text(&shown)
    );
}

/// From -1, all of it went, to 1, all of it came.
fn moved(frame: &FlameFrame) -> f64 {
    let (healthy, faulty) = (frame.healthy_per_second, frame.faulty_per_second);
    ((faulty - healthy) / faulty.max(healthy).max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0)
}

fn mark(frame: &FlameFrame) -> &'static str {
    match moved(frame) {
        moved if moved > MARKED => "+ ",
        moved if moved < -MARKED => "- ",
        _ => "",
    }
}

/// From blue over grey to red, by the part of the frame that came or went.
fn colour(frame: &FlameFrame) -> String {
    let moved = moved(frame);
    let mix = |grey: f64, end: f64| (grey + (end - grey) * moved.abs()) as u8;
    let (red, green, blue) = if moved >= 0.0 { (241.0, 120.0, 105.0) } else { (120.0, 165.0, 235.0) };
    format!("#{:02x}{:02x}{:02x}", mix(222.0, red), mix(224.0, green), mix(228.0, blue))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::exhibit::Period;
    use crate::model::time::Timestamp;

    fn difference(frames: &[(u32, &str, f64, f64)]) -> FlameDifference {
        let period = Period { from: Timestamp(0), until: Timestamp(10_000_000_000) };
        let frame = |(depth, function, healthy, faulty): &(u32, &str, f64, f64)| FlameFrame {
            depth: *depth,
            function: (*function).to_owned(),
            healthy_per_second: *healthy,
            faulty_per_second: *faulty,
        };
        FlameDifference {
            diagnosis: 0,
            service: "auth <b>".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            healthy: period,
            faulty: period,
            frames: frames.iter().map(frame).collect(),
            left_out_count: 0,
        }
    }

    #[test]
    fn what_grew_is_red_and_marked_and_as_wide_as_it_is() {
        let two = difference(&[
            (0, "main.serve", 6e8, 1e9),
            (1, "main.hash", 1e8, 5e8),
            (1, "<script>alert(1)</script>", 5e8, 5e8),
            // Of a depth that nothing led to.
            (7, "lost", 1e8, 1e8),
        ]);
        for svg in [picture(&two), within_page(&two), page(&two)] {
            let title = "<title>+ main.hash: 0.1000 s a second when healthy, 0.5000 s a second then</title>";
            assert!(svg.contains(title), "{svg}");
            // Half of the width, and far from grey.
            assert!(svg.contains("width=\"599.50\" height=\"17.00\" fill=\"#ed8c81\""), "{svg}");
            assert!(svg.contains("<rect x=\"600.00\"") && !svg.contains("lost"), "{svg}");
            assert!(!svg.contains("<script>alert") && !svg.contains("<b>"), "{svg}");
        }
        assert!(picture(&difference(&[])).ends_with("</svg>\n"));
    }
}
