//! The difference of two profiles as a flame graph: each frame as wide as it is in the window that is asked about, red where it has
//! more than when all was well, blue where it has less. SVG that needs no script; a frame's title has its figures.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::telemetry::Profile;
use crate::report::columns::cut_middle;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const TOP: f64 = 44.0;
/// Narrower frames are not drawn: nobody could point at them.
const NARROWEST: f64 = 0.4;
const DEEPEST: usize = 200;
const LETTER: f64 = 6.6;
const NAME_COLUMNS: usize = 160;

/// One frame: what both profiles have in it and below, per second.
#[derive(Debug, Default)]
struct Frame {
    healthy: f64,
    observed: f64,
    below: BTreeMap<String, Frame>,
}

/// Returns the graph; `title`: what it is of. `unit`: of a value a second, and what one of it is divided by.
pub fn difference(healthy: &Profile, observed: &Profile, title: &str, unit: (&str, f64)) -> String {
    let mut root = Frame::default();
    add(&mut root, healthy, |frame, value| frame.healthy += value);
    add(&mut root, observed, |frame, value| frame.observed += value);
    let depth = depth_of(&root).min(DEEPEST);
    let height = TOP + ROW * depth as f64 + 12.0;
    let mut svg = String::new();
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\
         <text x=\"8\" y=\"18\" font-size=\"14\" fill=\"#1b1f24\">{}</text>\
         <text x=\"8\" y=\"35\" fill=\"#57606a\">as wide as in the window; red: more than when healthy, blue: less</text>",
        escaped(&cut_middle(title, NAME_COLUMNS))
    );
    svg.push_str(&head);
    let widest = root.observed.max(f64::MIN_POSITIVE);
    let mut canvas = Canvas { svg, per_unit: WIDTH / widest, unit };
    let mut x = 0.0;
    for (name, frame) in &root.below {
        canvas.draw(name, frame, x, 0);
        x += frame.observed * canvas.per_unit;
    }
    canvas.svg.push_str("</svg>\n");
    canvas.svg
}

struct Canvas<'u> {
    svg: String,
    per_unit: f64,
    unit: (&'u str, f64),
}

impl Canvas<'_> {
    fn draw(&mut self, name: &str, frame: &Frame, x: f64, depth: usize) {
        let width = frame.observed * self.per_unit;
        if width < NARROWEST || depth >= DEEPEST {
            return;
        }
        let y = TOP + ROW * depth as f64;
        let (unit, scale) = self.unit;
        let figure = |value: f64| format!("{:.4} {unit}", value / scale);
        let name = cut_middle(name, NAME_COLUMNS);
        let title = format!("{name}: {} when healthy, {} then", figure(frame.healthy), figure(frame.observed));
        let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
        let shown = if letters < 3 { String::new() } else { cut_middle(&name, letters) };
        // A String takes everything.
        let _ = write!(
            self.svg,
            "<g><title>{}</title><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{}\" rx=\"2\"/>\
             <text x=\"{:.2}\" y=\"{:.2}\" fill=\"#1b1f24\">{}</text></g>",
            escaped(&title),
            (width - 0.5).max(0.2),
            ROW - 1.0,
            colour(frame),
            x + 3.0,
            y + 12.5,
            escaped(&shown)
        );
        let mut left = x;
        for (name, below) in &frame.below {
            self.draw(name, below, left, depth + 1);
            left += below.observed * self.per_unit;
        }
    }
}

fn add(root: &mut Frame, profile: &Profile, put: impl Fn(&mut Frame, f64)) {
    let nanoseconds = profile.until.0.saturating_sub(profile.from.0).max(1) as f64;
    let seconds = (nanoseconds / 1e9).max(1.0);
    for (stack, value) in &profile.stacks {
        let value = *value as f64 / seconds;
        put(root, value);
        let mut at = &mut *root;
        for function in stack.iter().take(DEEPEST) {
            let Some(name) = profile.functions.get(*function as usize) else { break };
            at = at.below.entry(name.clone()).or_default();
            put(at, value);
        }
    }
}

fn depth_of(frame: &Frame) -> usize {
    frame.below.values().map(|below| 1 + depth_of(below)).max().unwrap_or(0)
}

/// From blue over grey to red, by the part of the frame that came or went.
fn colour(frame: &Frame) -> String {
    let most = frame.observed.max(frame.healthy).max(f64::MIN_POSITIVE);
    let moved = ((frame.observed - frame.healthy) / most).clamp(-1.0, 1.0);
    let mix = |grey: f64, end: f64| (grey + (end - grey) * moved.abs()) as u8;
    let (red, green, blue) = if moved >= 0.0 { (241.0, 120.0, 105.0) } else { (120.0, 165.0, 235.0) };
    format!("#{:02x}{:02x}{:02x}", mix(222.0, red), mix(224.0, green), mix(228.0, blue))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn profile(stacks: &[(&[u32], i64)]) -> Profile {
        Profile {
            service: "auth".to_owned(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            from: Timestamp(0),
            until: Timestamp(10_000_000_000),
            functions: ["main.serve", "main.hash", "<script>alert(1)</script>"].map(str::to_owned).to_vec(),
            stacks: stacks.iter().map(|(stack, value)| (stack.to_vec(), *value)).collect(),
        }
    }

    #[test]
    fn what_grew_is_red_and_as_wide_as_it_is() {
        let healthy = profile(&[(&[0, 1], 1_000_000_000), (&[0, 2], 5_000_000_000)]);
        let observed = profile(&[(&[0, 1], 5_000_000_000), (&[0, 2], 5_000_000_000)]);
        let svg = difference(&healthy, &observed, "auth <b>", ("s a second", 1e9));
        assert!(
            svg.contains("<title>main.hash: 0.1000 s a second when healthy, 0.5000 s a second then</title>"),
            "{svg}"
        );
        // Half of the width, and far from grey.
        assert!(svg.contains("width=\"599.50\" height=\"17.00\" fill=\"#ed8c81\""), "{svg}");
        assert!(!svg.contains("<script>") && !svg.contains("<b>"), "{svg}");
        assert!(difference(&profile(&[]), &profile(&[]), "", ("", 1.0)).ends_with("</svg>\n"));
    }
}
