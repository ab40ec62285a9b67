//! What is drawn beside the causes: flame graphs, traces as waterfalls, signals on one axis, the graph of services.

use std::fmt::{Result, Write};

use crate::model::exhibit::{
    Exhibits, FlameDifference, Period, ServiceCall, ServiceGraph, Signal, Signals, TraceDrawn, TracePair,
};
use crate::model::time::Timestamp;
use crate::report::columns::{counted, cut_middle};
use crate::report::{flame, why};

use super::escape::text;

const WIDTH: f64 = 1100.0;
const NAME_COLUMNS: usize = 120;
/// Room for the names beside bars and lines.
const NAMES: f64 = 330.0;
const LETTERS: usize = 50;

/// Draws what belongs to the cause at `index`.
pub fn of_cause(page: &mut String, exhibits: &Exhibits, index: u32) -> Result {
    for drawn in exhibits.signals.iter().filter(|drawn| drawn.diagnosis == index) {
        signals(page, drawn)?;
    }
    for drawn in exhibits.flames.iter().filter(|drawn| drawn.diagnosis == index) {
        flames(page, drawn)?;
    }
    for drawn in exhibits.traces.iter().filter(|drawn| drawn.diagnosis == index) {
        traces(page, drawn)?;
    }
    Ok(())
}

fn flames(page: &mut String, drawn: &FlameDifference) -> Result {
    writeln!(page, "<details class=\"exhibit\"><summary>Flame graph: {}</summary>", text(&flame::title(drawn)))?;
    page.push_str(&flame::within_page(drawn));
    if drawn.left_out_count > 0 {
        let left_out = counted(drawn.left_out_count, "narrower frame");
        writeln!(page, "<p class=\"muted\">{left_out} left out.</p>")?;
    }
    writeln!(page, "</details>")
}

fn traces(page: &mut String, pair: &TracePair) -> Result {
    writeln!(
        page,
        "<details class=\"exhibit\"><summary>Trace {} beside a healthy one</summary>",
        text(&why::short(&pair.faulty.trace_id))
    )?;
    let longest = pair.healthy.iter().chain([&pair.faulty]).map(|trace| trace.duration_ms).fold(0.0, f64::max);
    waterfall(page, "Then", &pair.faulty, longest)?;
    match &pair.healthy {
        Some(healthy) => waterfall(page, "Healthy", healthy, longest)?,
        None => writeln!(page, "<p class=\"muted\">No healthy trace came in the same way.</p>")?,
    }
    writeln!(page, "</details>")
}

const BAR_ROW: f64 = 20.0;

/// Both traces have one scale, so that their bars can be compared.
fn waterfall(page: &mut String, when: &str, trace: &TraceDrawn, longest_ms: f64) -> Result {
    let height = BAR_ROW * (trace.spans.len() as f64 + 1.0) + 4.0;
    let id = text(&why::short(&trace.trace_id));
    let label =
        format!("{when}: trace {id}, {:.1} ms, {}", trace.duration_ms, counted(trace.spans.len() as u64, "span"));
    writeln!(page, "<p class=\"strong\">{label}, at {} UTC</p>", trace.started_at.clock())?;
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><svg class=\"drawn\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"
    )?;
    let per_ms = (WIDTH - NAMES - 70.0) / longest_ms.max(f64::MIN_POSITIVE);
    for (span, row) in trace.spans.iter().zip(1u32..) {
        let y = BAR_ROW * f64::from(row) - 4.0;
        let indent = 10.0 * f64::from(span.depth.min(12));
        let marks = format!("{}{}", if span.is_suspect { "▶ " } else { "" }, if span.is_error { "✖ " } else { "" });
        let name = format!("{marks}{} {}", why::short(&span.service), why::short(&span.operation));
        let letters = LETTERS - (indent / 6.6) as usize;
        let class = if span.is_suspect { "suspect" } else { "plain" };
        let (x, width) = (NAMES + span.start_ms.max(0.0) * per_ms, (span.duration_ms * per_ms).max(1.0));
        write!(
            page,
            "<g class=\"{class}\"><title>{}: {:.2} ms, {:.2} ms by itself</title><text x=\"{indent:.0}\" y=\"{y:.1}\">{}</text>\
             <rect x=\"{x:.2}\" y=\"{:.1}\" width=\"{width:.2}\" height=\"13\" rx=\"2\"/><text class=\"figure\" x=\"{:.2}\" y=\"{y:.1}\">{:.1} ms</text></g>",
            text(&cut_middle(&name, NAME_COLUMNS)),
            span.duration_ms,
            span.own_ms,
            text(&cut_middle(&name, letters)),
            y - 10.5,
            x + width + 4.0,
            span.duration_ms
        )?;
    }
    writeln!(page, "</svg></div>")?;
    if trace.left_out_count > 0 {
        writeln!(page, "<p class=\"muted\">{} left out.</p>", counted(trace.left_out_count, "shorter span"))?;
    }
    Ok(())
}

const SIGNAL_ROW: f64 = 44.0;

fn signals(page: &mut String, drawn: &Signals) -> Result {
    let height = SIGNAL_ROW * drawn.signals.len() as f64 + 24.0;
    let moved = drawn.signals.iter().filter_map(|signal| {
        let at = signal.moved_at?;
        Some(format!("{} {} at {}", why::short(&signal.service), why::short(&signal.what), at.clock()))
    });
    let order: Vec<String> = moved.collect();
    writeln!(page, "<details class=\"exhibit\" open><summary>What moved, in that order</summary>")?;
    let label =
        format!("Signals from {} to {} UTC; {}", drawn.run.from.clock(), drawn.run.until.clock(), order.join("; "));
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Signals over time\"><svg class=\"drawn\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        text(&label)
    )?;
    let axis = Axis::of(drawn.run);
    let (from, until) = (axis.x(drawn.window.from), axis.x(drawn.window.until));
    write!(
        page,
        "<rect class=\"window\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.1}\"/>",
        (until - from).max(1.0),
        height - 20.0
    )?;
    for (signal, row) in drawn.signals.iter().zip(0u32..) {
        one_signal(page, signal, drawn, &axis, SIGNAL_ROW * f64::from(row))?;
    }
    for (at, anchor) in [
        (drawn.run.from, "start"),
        (drawn.window.from, "middle"),
        (drawn.window.until, "middle"),
        (drawn.run.until, "end"),
    ] {
        write!(
            page,
            "<text class=\"figure\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            axis.x(at),
            height - 5.0,
            at.clock()
        )?;
    }
    writeln!(page, "</svg></div></details>")
}

/// Seconds of a run on the width beside the names.
struct Axis {
    from: Timestamp,
    per_second: f64,
}

impl Axis {
    fn of(run: Period) -> Axis {
        let seconds = run.until.seconds_since(run.from).max(f64::MIN_POSITIVE);
        Axis { from: run.from, per_second: (WIDTH - NAMES) / seconds }
    }

    fn x(&self, at: Timestamp) -> f64 {
        (NAMES + at.seconds_since(self.from) * self.per_second).clamp(NAMES, WIDTH)
    }
}

fn one_signal(page: &mut String, signal: &Signal, drawn: &Signals, axis: &Axis, top: f64) -> Result {
    let known = || signal.values.iter().flatten().copied();
    let (least, most) = (known().fold(0.0, f64::min), known().fold(0.0, f64::max));
    let y = |value: f64| top + 40.0 - 32.0 * (value - least) / (most - least).max(f64::MIN_POSITIVE);
    let name = format!("{}: {}", why::short(&signal.service), why::short(&signal.what));
    write!(page, "<text x=\"0\" y=\"{:.1}\">{}</text>", top + 18.0, text(&cut_middle(&name, LETTERS)))?;
    let since = signal.moved_at.map_or(String::new(), |at| format!("moved at {}, ", at.clock()));
    let figures = format!("{since}at most {}", why::figure(most, &signal.unit));
    write!(page, "<text class=\"figure\" x=\"0\" y=\"{:.1}\">{}</text>", top + 34.0, text(&figures))?;
    let mut path = String::new();
    let mut is_down = false;
    for (value, step) in signal.values.iter().zip(0u32..) {
        let x = NAMES + (f64::from(step) + 0.5) * drawn.step_seconds * axis.per_second;
        match value {
            Some(value) => {
                write!(path, "{}{x:.1} {:.1}", if is_down { "L" } else { "M" }, y(*value))?;
                is_down = true;
            }
            None => is_down = false,
        }
    }
    write!(page, "<path d=\"{path}\"/>")?;
    match signal.moved_at {
        Some(at) => write!(page, "<path class=\"onset\" d=\"M{0:.1} {1:.1}v34\"/>", axis.x(at), top + 6.0),
        None => Ok(()),
    }
}

const BOX_WIDTH: f64 = 150.0;
const BOX_HEIGHT: f64 = 34.0;
const COLUMN: f64 = 260.0;
const LINE: f64 = 58.0;

/// Services by the calls that lie before them, from left to right.
pub fn services(page: &mut String, graph: &ServiceGraph) -> Result {
    let columns = graph.services.iter().map(|service| service.depth + 1).max().unwrap_or(1);
    let mut rows: Vec<u32> = vec![0; columns as usize];
    let places: Vec<(&str, f64, f64)> = graph
        .services
        .iter()
        .map(|service| {
            let row = &mut rows[service.depth as usize];
            *row += 1;
            // Every other column stands lower, so that lines past a column are seen between its boxes.
            let lower = if service.depth % 2 == 1 { LINE / 2.0 } else { 0.0 };
            (service.name.as_str(), COLUMN * f64::from(service.depth), LINE * f64::from(*row - 1) + lower)
        })
        .collect();
    // Room for a bend at the right.
    let width = COLUMN * f64::from(columns - 1) + BOX_WIDTH + 64.0;
    let height = LINE * (f64::from(rows.iter().copied().max().unwrap_or(1)) + 0.5);
    let place = |name: &str| places.iter().find(|(known, ..)| *known == name);
    let calls: Vec<String> = graph
        .calls
        .iter()
        .map(|call| format!("{} calls {}{}", why::short(&call.caller), why::short(&call.callee), waits(call)))
        .collect();
    writeln!(page, "<details class=\"exhibit\" open><summary>Which service calls which</summary>")?;
    write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Graph of services\"><svg class=\"drawn graph\" viewBox=\"-2 -2 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        text(&calls.join("; "))
    )?;
    for call in &graph.calls {
        let (Some((_, from_x, from_y)), Some((_, to_x, to_y))) = (place(&call.caller), place(&call.callee)) else {
            continue;
        };
        let (x0, y0) = (from_x + BOX_WIDTH, from_y + BOX_HEIGHT / 2.0);
        // What goes back, in a circle of calls, comes in from the right.
        let is_back = to_x <= from_x;
        let (x1, y1) = (if is_back { to_x + BOX_WIDTH } else { *to_x }, to_y + BOX_HEIGHT / 2.0);
        let (bend, tip) = if is_back { (x0.max(x1) + 60.0, "l7 -4v8z") } else { ((x0 + x1) / 2.0, "l-7 -4v8z") };
        let class = if is_slower(call) { "call slower" } else { "call" };
        write!(
            page,
            "<g class=\"{class}\"><title>{}</title><path d=\"M{x0:.1} {y0:.1}C{bend:.1} {y0:.1} {bend:.1} {y1:.1} {x1:.1} {y1:.1}\"/>\
             <path class=\"tip\" d=\"M{x1:.1} {y1:.1}{tip}\"/></g>",
            text(&format!("{} calls {}{}", why::short(&call.caller), why::short(&call.callee), waits(call)))
        )?;
    }
    for (service, (_, x, y)) in graph.services.iter().zip(&places) {
        let class = if service.is_suspect { "service suspect" } else { "service" };
        let mark = if service.is_suspect { "▶ " } else { "" };
        let name = format!("{mark}{}", why::short(&service.name));
        write!(
            page,
            "<g class=\"{class}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
            text(&cut_middle(&name, NAME_COLUMNS)),
            x + BOX_WIDTH / 2.0,
            y + 21.5,
            text(&cut_middle(&name, 20))
        )?;
    }
    writeln!(page, "</svg></div><ul class=\"calls\">")?;
    let mut slower: Vec<&ServiceCall> = graph.calls.iter().filter(|call| is_slower(call)).collect();
    let more = |call: &ServiceCall| call.faulty_ms.unwrap_or(0.0) - call.healthy_ms.unwrap_or(0.0);
    slower.sort_by(|left, right| more(right).total_cmp(&more(left)));
    for call in slower.into_iter().take(8) {
        writeln!(
            page,
            "<li>{}</li>",
            text(&format!("{} waits for {}{}", why::short(&call.caller), why::short(&call.callee), waits(call)))
        )?;
    }
    writeln!(page, "</ul></details>")
}

/// From which on a call is drawn as slower.
const SLOWER: f64 = 1.5;
const SLOWER_MS: f64 = 2.0;

fn is_slower(call: &ServiceCall) -> bool {
    call.healthy_ms
        .zip(call.faulty_ms)
        .is_some_and(|(healthy, faulty)| faulty > (SLOWER * healthy).max(healthy + SLOWER_MS))
}

fn waits(call: &ServiceCall) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1} ms"));
    if call.healthy_ms.is_none() && call.faulty_ms.is_none() {
        return String::new();
    }
    format!(", {} when healthy, {} then", ms(call.healthy_ms), ms(call.faulty_ms))
}
