//! Charts of a run as SVG and PNG, for what shows no page: tickets, chats, documents.

mod effects;
pub mod runs;

use std::sync::LazyLock;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::model::report::AnalysisReport;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::model::timeline::{Heat, Timeline};

use super::columns::cut_middle;
use super::text::second;
use super::words::{percent, short};

/// One chart; `name` is that of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    pub name: &'static str,
    pub svg: String,
}

/// In pixels: as wide as a page of text shows it sharp.
const SIZE: (u32, u32) = (1200, 420);
const FONT: &str = "sans-serif";
/// Inter 4 (SIL Open Font License 1.1, beside it), Latin letters and signs only.
static INTER: &[u8] = include_bytes!("charts/Inter-Regular-subset.ttf");

const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
const MUTED: RGBColor = RGBColor(0x5a, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xe3, 0xe5, 0xe8);
/// Told apart by who sees no red or no green; a dash tells the third from both in grey, too.
const BLUE: RGBColor = RGBColor(0x2f, 0x6f, 0xc4);
const ORANGE: RGBColor = RGBColor(0xb8, 0x50, 0x12);
const PURPLE: RGBColor = RGBColor(0x70, 0x4a, 0x94);
const BASELINE: RGBColor = RGBColor(0x9a, 0xa4, 0xaf);
/// Seconds between the marks of the time axis; beyond them, whole days.
const TIME_STEPS: [u64; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 10_800, 21_600];
/// Marks of the time axis that stand apart.
const TIMES_MAX: f64 = 13.0;
/// What lies beyond these is no figure of a load test, and an axis cannot be divided there.
const LEAST: f64 = 1e-9;
const MOST: f64 = 1e15;
/// Shades of the heat map, from few requests to many.
const HEAT_SHADES: u32 = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    Latency,
    Rate,
    Failed,
    Load,
    Heat,
    Effects,
    Runs,
}

/// Those over the run's own time come first.
const PICTURES: [(&str, Picture); 7] = [
    ("latency", Picture::Latency),
    ("rate", Picture::Rate),
    ("failed", Picture::Failed),
    ("load", Picture::Load),
    ("heat", Picture::Heat),
    ("effects", Picture::Effects),
    ("runs", Picture::Runs),
];
const OVER_TIME_COUNT: usize = 5;

/// Returns the charts that the report has figures for.
pub fn charts(report: &AnalysisReport) -> Vec<Chart> {
    drawn(report, &PICTURES)
}

/// Returns those over the run's own time: none where only a summary was read.
pub fn over_time(report: &AnalysisReport) -> Vec<Chart> {
    drawn(report, &PICTURES[..OVER_TIME_COUNT])
}

fn drawn(report: &AnalysisReport, pictures: &[(&'static str, Picture)]) -> Vec<Chart> {
    pictures.iter().filter_map(|(name, picture)| Some(Chart { name, svg: svg(report, *picture)? })).collect()
}

/// Returns the chart of that name as PNG.
pub fn png(report: &AnalysisReport, name: &str) -> Option<Vec<u8>> {
    let (_, picture) = PICTURES.iter().find(|(known, _)| *known == name)?;
    let (width, height) = SIZE;
    let mut pixels = vec![255; (width * height * 3) as usize];
    draw_on(BitMapBackend::with_buffer(&mut pixels, SIZE), report, *picture)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

fn svg(report: &AnalysisReport, picture: Picture) -> Option<String> {
    let mut svg = String::new();
    draw_on(SVGBackend::with_string(&mut svg, SIZE), report, picture)?;
    Some(svg)
}

/// None where there is nothing to draw; to draw into memory does not fail otherwise.
fn draw_on<B: DrawingBackend>(backend: B, report: &AnalysisReport, picture: Picture) -> Option<()> {
    static IS_REGISTERED: LazyLock<bool> = LazyLock::new(|| register_font(FONT, FontStyle::Normal, INTER).is_ok());
    if !*IS_REGISTERED {
        return None;
    }
    let area = backend.into_drawing_area();
    match picture {
        Picture::Effects => effects::draw(&area, report)?,
        Picture::Runs => runs::draw(&area, report)?,
        Picture::Heat => heat(&area, report, report.timeline.as_ref()?)?,
        Picture::Latency | Picture::Rate | Picture::Failed | Picture::Load => {
            lines(&area, report, report.timeline.as_ref()?, picture)?;
        }
    }
    area.present().ok()
}

/// One line of a chart.
struct Line<'a> {
    label: &'static str,
    values: &'a [Option<f64>],
    step_seconds: u32,
    colour: RGBColor,
    width: u32,
    is_dashed: bool,
}

/// A chart of lines that share one axis.
struct Lines<'a> {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line<'a>>,
    words: fn(f64) -> String,
}

fn lines_of<'a>(report: &'a AnalysisReport, timeline: &'a Timeline, picture: Picture) -> Lines<'a> {
    let base = report.comparison.as_ref().and_then(|comparison| comparison.base_timeline.as_ref());
    let line = |label, values: &'a [Option<f64>], colour, width, is_dashed| Line {
        label,
        values,
        step_seconds: timeline.step_seconds,
        colour,
        width,
        is_dashed,
    };
    let total = &timeline.total;
    let mut lines = Vec::new();
    if let Some(base) = base {
        let (label, values) = match picture {
            Picture::Latency => ("p95 of the baseline", &base.total.p95_ms),
            Picture::Rate => ("baseline", &base.total.requests_per_second),
            Picture::Failed => ("baseline", &base.total.failed_requests_rate),
            _ => ("VUs of the baseline", &base.vus),
        };
        lines.push(Line { step_seconds: base.step_seconds, ..line(label, values, BASELINE, 1, true) });
    }
    let (title, unit): (_, _) = match picture {
        Picture::Latency => {
            lines.push(line("med", &total.med_ms, BLUE, 2, false));
            lines.push(line("p95", &total.p95_ms, ORANGE, 2, false));
            lines.push(line("p99", &total.p99_ms, PURPLE, 1, true));
            ("Latency", "ms")
        }
        Picture::Rate => {
            lines.push(line("requests", &total.requests_per_second, BLUE, 2, false));
            ("Requests", "per second")
        }
        Picture::Failed => {
            lines.push(line("failed", &total.failed_requests_rate, ORANGE, 2, false));
            ("Failed requests", "% of requests")
        }
        _ => {
            lines.push(line("VUs", &timeline.vus, BLUE, 2, false));
            lines.push(line("iterations/s", &timeline.iterations_per_second, PURPLE, 1, false));
            lines.push(line("dropped iterations/s", &timeline.dropped_iterations_per_second, ORANGE, 2, true));
            ("VUs and iterations", "VUs; iterations per second")
        }
    };
    // A picture cannot place what is no number.
    lines.retain(|line| line.values.iter().flatten().any(|value| value.is_finite()));
    Lines { title, unit, lines, words: if picture == Picture::Failed { percent } else { short } }
}

type Area<B> = DrawingArea<B, Shift>;

fn lines<B: DrawingBackend>(
    area: &Area<B>,
    report: &AnalysisReport,
    timeline: &Timeline,
    picture: Picture,
) -> Option<()> {
    let chart = lines_of(report, timeline, picture);
    let own = |line: &Line| line.step_seconds == timeline.step_seconds && line.colour != BASELINE;
    if !chart.lines.iter().any(own) {
        return None;
    }
    let values = chart.lines.iter().flat_map(|line| line.values.iter().flatten());
    let most = values.copied().filter(|value| value.is_finite()).fold(0.0, f64::max).min(MOST);
    let top = if most > LEAST { most * 1.08 } else { 1.0 };
    let seconds = length_seconds(timeline);
    frame(area, report, &format!("{}, {}", chart.title, chart.unit))?;
    let mut context = ChartBuilder::on(area)
        .margin(10)
        .margin_top(52)
        .margin_right(24)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(TimeAxis::of(timeline), 0.0..top)
        .ok()?;
    mesh(&mut context, timeline, chart.words)?;
    shade_phases(&context, report, timeline, (0.0, top))?;
    let spans = findings(report, timeline);
    for (_, span) in &spans {
        // What lasts most of the run would tint the whole chart.
        let opacity = if span.until - span.from > seconds / 2.0 { 0.04 } else { 0.12 };
        shade(&context, span, (0.0, top), ORANGE.mix(opacity))?;
    }
    for line in &chart.lines {
        for points in stretches(line, seconds, top) {
            let style = line.colour.stroke_width(line.width);
            match points[..] {
                [point] => context.draw_series([Circle::new(point, 2, line.colour.filled())]).ok().map(|_| ())?,
                _ if line.is_dashed => {
                    context.draw_series(DashedLineSeries::new(points, 6, 4, style)).ok().map(|_| ())?
                }
                _ => context.draw_series(LineSeries::new(points, style)).ok().map(|_| ())?,
            }
        }
    }
    mark_findings(area, &context, &spans, top)?;
    legend(area, &chart.lines)
}

/// Returns the line's points, parted where a step has no value.
fn stretches(line: &Line, seconds: f64, top: f64) -> Vec<Vec<(f64, f64)>> {
    let step = f64::from(line.step_seconds);
    let point = |(index, value): (usize, &Option<f64>)| {
        let at = (index as f64 + 0.5) * step;
        value.filter(|value| value.is_finite() && at <= seconds).map(|value| (at, value.clamp(0.0, top)))
    };
    let points: Vec<Option<(f64, f64)>> = line.values.iter().enumerate().map(point).collect();
    points
        .split(Option::is_none)
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| stretch.iter().flatten().copied().collect())
        .collect()
}

fn length_seconds(timeline: &Timeline) -> f64 {
    f64::from(timeline.steps_count.max(1)) * f64::from(timeline.step_seconds.max(1))
}

/// The white ground, the title, and whose run it is.
fn frame<B: DrawingBackend>(area: &Area<B>, report: &AnalysisReport, title: &str) -> Option<()> {
    area.fill(&WHITE).ok()?;
    area.draw_text(title, &words(20, &INK), (14, 10)).ok()?;
    let (test, environment) = (drawable(&report.run.test), drawable(&report.run.environment));
    let right = words(15, &MUTED).pos(Pos::new(HPos::Right, VPos::Top));
    area.draw_text(&format!("{test}, {environment}; time in UTC"), &right, (SIZE.0 as i32 - 24, 14)).ok()
}

/// What the font has no letter for becomes a question mark.
fn drawable(words: &str) -> String {
    let has_letter = |letter: char| matches!(letter, ' '..='~' | '\u{a0}'..='\u{17f}' | '…');
    cut_middle(words, 40).chars().map(|letter| if has_letter(letter) { letter } else { '?' }).collect()
}

fn words(size: i32, colour: &'static RGBColor) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font()).color(colour)
}

type Cartesian<'a, B, Y> = ChartContext<'a, B, Cartesian2d<TimeAxis, Y>>;

/// Seconds from the start of the run, marked at times that people count in.
struct TimeAxis {
    scale: RangedCoordf64,
    length_seconds: f64,
    marks: Vec<f64>,
}

impl TimeAxis {
    fn of(timeline: &Timeline) -> TimeAxis {
        let length_seconds = length_seconds(timeline);
        let days = (1..).map(|days| days * 86_400);
        let is_wide_enough = |step: &u64| length_seconds / *step as f64 <= TIMES_MAX;
        let step = TIME_STEPS.into_iter().chain(days.take(10_000)).find(is_wide_enough);
        let step = step.map_or(length_seconds, |step| step as f64);
        let since_midnight_ns = timeline.start.0.rem_euclid(86_400 * NANOSECONDS_PER_SECOND);
        let since_midnight = since_midnight_ns as f64 / NANOSECONDS_PER_SECOND as f64;
        let first = (since_midnight / step).ceil() * step - since_midnight;
        let marks = (0..=TIMES_MAX as u32).map(|index| first + f64::from(index) * step);
        let marks = marks.take_while(|mark| *mark <= length_seconds).collect();
        TimeAxis { scale: (0.0..length_seconds).into(), length_seconds, marks }
    }
}

impl Ranged for TimeAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, seconds: &f64, limit: (i32, i32)) -> i32 {
        self.scale.map(seconds, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.length_seconds
    }
}

fn mesh<B, Y>(context: &mut Cartesian<B, Y>, timeline: &Timeline, format: fn(f64) -> String) -> Option<()>
where
    B: DrawingBackend,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let is_minutes = length_seconds(timeline) >= 600.0;
    let time = |seconds: &f64| {
        let nanoseconds = (*seconds * NANOSECONDS_PER_SECOND as f64).round() as i64;
        let time = second(Timestamp(timeline.start.0.saturating_add(nanoseconds)));
        time.get(11..if is_minutes { 16 } else { 19 }).unwrap_or_default().to_owned()
    };
    context
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(TIMES_MAX as usize + 1)
        .y_labels(6)
        .label_style(words(15, &MUTED))
        .x_label_formatter(&time)
        .y_label_formatter(&|value| format(*value))
        .draw()
        .ok()
}

/// Where a span of time lies in the chart, in seconds from its start.
struct Span {
    from: f64,
    until: f64,
}

/// Returns the findings that have a time, each with its number.
fn findings(report: &AnalysisReport, timeline: &Timeline) -> Vec<(usize, Span)> {
    let seconds = length_seconds(timeline);
    let at = |time: Timestamp| time.seconds_since(timeline.start).clamp(0.0, seconds);
    let numbered = report.findings.iter().zip(1..);
    let span = |from: Timestamp, until: Option<Timestamp>| Span { from: at(from), until: until.map_or(seconds, at) };
    numbered.filter_map(|(finding, number)| Some((number, span(finding.from?, finding.until)))).collect()
}

/// Greys what was not judged.
fn shade_phases<B, Y>(
    context: &Cartesian<B, Y>,
    report: &AnalysisReport,
    timeline: &Timeline,
    height: (f64, f64),
) -> Option<()>
where
    B: DrawingBackend,
    Y: Ranged<ValueType = f64>,
{
    let seconds = length_seconds(timeline);
    let at = |time: Timestamp| time.seconds_since(timeline.start).clamp(0.0, seconds);
    let before = report.phases.steady_from.map(|from| Span { from: 0.0, until: at(from) });
    let after = report.phases.steady_until.map(|until| Span { from: at(until), until: seconds });
    before.into_iter().chain(after).try_for_each(|span| shade(context, &span, height, MUTED.mix(0.16)))
}

fn shade<B, Y>(context: &Cartesian<B, Y>, span: &Span, height: (f64, f64), colour: RGBAColor) -> Option<()>
where
    B: DrawingBackend,
    Y: Ranged<ValueType = f64>,
{
    let corners = [(span.from, height.0), (span.until, height.1)];
    context.plotting_area().draw(&Rectangle::new(corners, colour.filled())).ok()
}

/// Draws a bar above each finding's time, with its number; numbers that would lie on each other are put together.
fn mark_findings<B, Y>(area: &Area<B>, context: &Cartesian<B, Y>, spans: &[(usize, Span)], top: f64) -> Option<()>
where
    B: DrawingBackend,
    Y: Ranged<ValueType = f64>,
{
    let place = |seconds: f64| context.plotting_area().map_coordinate(&(seconds, top));
    let mut labels: Vec<((i32, i32), String)> = Vec::new();
    for (number, span) in spans {
        let (left, right) = (place(span.from), place(span.until));
        let bar = [left, (right.0.max(left.0 + 2), left.1 + 3)];
        area.draw(&Rectangle::new(bar, ORANGE.filled())).ok()?;
        match labels.iter_mut().find(|(other, _)| (other.0 - left.0).abs() < 16) {
            Some((_, words)) => words.push_str(&format!(", {number}")),
            None => labels.push((left, number.to_string())),
        }
    }
    labels
        .iter()
        .try_for_each(|((left, top), label)| area.draw_text(label, &words(14, &ORANGE), (left + 3, top + 7)).ok())
}

/// Names the lines above the chart.
fn legend<B: DrawingBackend>(area: &Area<B>, lines: &[Line]) -> Option<()> {
    let mut left = 84;
    for line in lines {
        let style = line.colour.stroke_width(line.width.max(2));
        let ends = if line.is_dashed { vec![(0, 9), (13, 22)] } else { vec![(0, 22)] };
        for (from, until) in ends {
            area.draw(&PathElement::new(vec![(left + from, 43), (left + until, 43)], style)).ok()?;
        }
        let style = words(15, &INK);
        area.draw_text(line.label, &style, (left + 28, 34)).ok()?;
        let (width, _) = area.estimate_text_size(line.label, &style).ok()?;
        left += 28 + width as i32 + 24;
    }
    Some(())
}

fn heat<B: DrawingBackend>(area: &Area<B>, report: &AnalysisReport, timeline: &Timeline) -> Option<()> {
    let heat = &timeline.latency_heat;
    let most = heat.counts.iter().flatten().copied().max().filter(|most| *most > 0)?;
    let (low, high) = (*heat.bounds_ms.first()?, *heat.bounds_ms.last()?);
    let is_scale = low > LEAST && high < MOST && heat.bounds_ms.is_sorted_by(|left, right| left < right);
    if !is_scale {
        return None;
    }
    frame(area, report, "Latency distribution, requests by latency in ms")?;
    let seconds = length_seconds(timeline);
    let mut context = ChartBuilder::on(area)
        .margin(10)
        .margin_top(40)
        .margin_right(24)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(TimeAxis::of(timeline), (low..high).log_scale())
        .ok()?;
    mesh(&mut context, timeline, short)?;
    let plot = context.plotting_area();
    for cell in cells(heat, most) {
        let step = f64::from(timeline.step_seconds);
        let (from, until) = ((cell.from as f64 * step).min(seconds), (cell.until as f64 * step).min(seconds));
        let corners = [(from, heat.bounds_ms[cell.bucket]), (until, heat.bounds_ms[cell.bucket + 1])];
        plot.draw(&Rectangle::new(corners, shade_colour(cell.shade).filled())).ok()?;
    }
    shade_phases(&context, report, timeline, (low, high))?;
    mark_findings(area, &context, &findings(report, timeline), high)
}

/// Steps of one bucket, one behind the other, that have the same shade.
struct Cell {
    bucket: usize,
    from: usize,
    until: usize,
    shade: u32,
}

fn cells(heat: &Heat, most: u32) -> Vec<Cell> {
    let shade = |count: u32| match count {
        0 => 0,
        // The logarithm: a bucket with a hundredth of the requests must still be seen.
        _ => 1 + (f64::from(count).ln_1p() / f64::from(most).ln_1p() * f64::from(HEAT_SHADES - 1)) as u32,
    };
    let mut cells: Vec<Cell> = Vec::new();
    for bucket in 0..heat.bounds_ms.len() - 1 {
        for (step, row) in heat.counts.iter().enumerate() {
            let shade = row.get(bucket).map_or(0, |count| shade(*count));
            match cells.last_mut() {
                Some(last) if last.bucket == bucket && last.until == step && last.shade == shade => last.until += 1,
                _ => cells.push(Cell { bucket, from: step, until: step + 1, shade }),
            }
        }
    }
    cells.retain(|cell| cell.shade > 0);
    cells
}

/// From a light to a dark blue: the order is seen without colour, too.
fn shade_colour(shade: u32) -> RGBColor {
    let part = f64::from(shade) / f64::from(HEAT_SHADES);
    let mix = |from: f64, until: f64| (from + (until - from) * part) as u8;
    RGBColor(mix(226.0, 8.0), mix(236.0, 40.0), mix(250.0, 104.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{HOSTILE, report, summary_only};

    #[test]
    fn a_run_over_time_has_all_charts() {
        let report = report(2, 60, "checkout", 120.0);
        let charts = charts(&report);
        let names: Vec<&str> = charts.iter().map(|chart| chart.name).collect();
        assert_eq!(names, ["latency", "rate", "failed", "load", "heat", "effects", "runs"]);
        let svg = &charts[0].svg;
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        for words in ["Latency, ms", "p95 of the baseline", "checkout, checkout; time in UTC"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn what_does_not_exist_is_not_drawn() {
        assert_eq!(charts(&summary_only()), []);
        assert_eq!(png(&summary_only(), "latency"), None);
        assert_eq!(over_time(&report(0, 0, "x", 1.0)), []);
        assert_eq!(png(&report(1, 5, "x", 1.0), "no chart"), None);
        assert!(charts(&report(1, 5, "x", f64::NAN)).iter().all(|chart| chart.name == "heat"));
    }

    #[test]
    fn a_png_has_the_size_of_the_chart() {
        let bytes = png(&report(1, 30, "x", 1.0), "heat").expect("it has a heat map");
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("it is a PNG");
        assert_eq!((reader.info().width, reader.info().height), SIZE);
    }

    #[test]
    fn hostile_names_are_words() {
        for name in HOSTILE {
            for chart in charts(&report(1, 5, name, 1.5)) {
                let elements = chart.svg.split('<').skip(1).map(|tag| tag.split([' ', '>', '\n', '/']).next());
                let known = ["svg", "rect", "text", "line", "polyline", "polygon", "circle", ""];
                elements.flatten().for_each(|element| assert!(known.contains(&element), "{name:?}: {element}"));
            }
        }
    }

    #[test]
    fn figures_of_any_size_are_drawn() {
        for value in [0.0, 1e-320, 1e-12, 1e12, 1e300, f64::MAX, -1.0, f64::INFINITY] {
            let report = report(1, 5, "x", value);
            charts(&report).iter().for_each(|chart| assert!(chart.svg.len() < 200_000));
        }
    }
}
