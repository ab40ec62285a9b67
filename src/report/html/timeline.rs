//! The run over time: the frame of each chart with its words, and the figures that the script draws.

use std::fmt::{Result, Write};

use crate::model::report::AnalysisReport;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::model::timeline::{Timeline, TimelineSeries};
use crate::report::charts;
use crate::report::columns::counted;
use crate::report::text::second;
use crate::report::words::{duration, percent, short};

use super::escape::name;
use super::{endpoints, section};

/// Figures of single endpoints that a page carries: at five letters each this is a megabyte.
const FIGURES_MAX: usize = 200_000;
const FIGURES_A_STEP: usize = 5;

/// Returns how many endpoints, from the first, can be chosen.
pub fn endpoints_shown(timeline: &Timeline) -> usize {
    let each = (timeline.total.p95_ms.len() * FIGURES_A_STEP).max(1);
    timeline.endpoints.len().min(FIGURES_MAX / each)
}

pub fn charts(page: &mut String, report: &AnalysisReport) -> Result {
    let Some(timeline) = &report.timeline else {
        section(page, "over-time", "Over time", "")?;
        return writeln!(
            page,
            "<p class=\"quiet-line\">Only a summary was read: it does not say how the run went over time.</p></section>"
        );
    };
    let step = duration(f64::from(timeline.step_seconds)).replace(".0 s", " s");
    section(page, "over-time", "Over time", &format!("steps of {step}, times in UTC"))?;
    toolbar(page, report, timeline)?;
    key(page, report)?;
    let total = &timeline.total;
    let ms = |value: f64| format!("{} ms", short(value));
    chart(page, "latency", "Latency", "ms", &extremes("p95", &total.p95_ms, timeline, ms))?;
    chart(
        page,
        "rate",
        "Requests",
        "per second",
        &extremes("The rate", &total.requests_per_second, timeline, |value| format!("{}/s", short(value))),
    )?;
    chart(
        page,
        "failed",
        "Failed requests",
        "% of requests",
        &extremes("The failed share", &total.failed_requests_rate, timeline, percent),
    )?;
    chart(
        page,
        "load",
        "VUs and iterations",
        "VUs; iterations per second",
        &extremes("The number of VUs", &timeline.vus, timeline, short),
    )?;
    if timeline.latency_heat.counts.iter().flatten().any(|count| *count > 0) {
        chart(page, "heat", "Latency distribution", "requests by latency, all endpoints", &most_common(timeline))?;
    }
    writeln!(
        page,
        "<noscript><p class=\"quiet-line\">These charts are still; with scripts they can be zoomed and read off.</p>"
    )?;
    // The heat map has a rectangle for each of its cells, which is too much for a page that most see with scripts.
    charts::over_time(report)
        .iter()
        .filter(|chart| chart.name != "heat")
        .try_for_each(|chart| writeln!(page, "<div class=\"still\">{}</div>", chart.svg))?;
    writeln!(
        page,
        "</noscript><details class=\"as-table\" hidden><summary>The charts as a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The charts as a table\"></div></details></section>"
    )
}

fn toolbar(page: &mut String, report: &AnalysisReport, timeline: &Timeline) -> Result {
    writeln!(
        page,
        "<div class=\"tools over-time-tools\" hidden><label>Show <select id=\"endpoint\"><option value=\"\">all requests</option>"
    )?;
    let shown = endpoints_shown(timeline);
    for (index, endpoint) in report.endpoints.iter().take(shown).enumerate() {
        let method = endpoint.method.as_deref().filter(|method| !endpoint.name.starts_with(method)).unwrap_or("");
        let words = format!("{method} {}", endpoints::shown_name(report, endpoint));
        writeln!(
            page,
            "<option value=\"{index}\">{}</option>",
            super::escape::text(&crate::report::columns::cut_middle(words.trim_start(), 70))
        )?;
    }
    writeln!(
        page,
        "</select></label><span class=\"buttons\"><button type=\"button\" id=\"zoom-in\" aria-label=\"Zoom in\">+</button><button type=\"button\" id=\"zoom-out\" aria-label=\"Zoom out\">−</button><button type=\"button\" id=\"zoom-reset\" disabled>Whole run</button></span><output id=\"at\"></output></div>"
    )?;
    writeln!(
        page,
        "<p class=\"muted help\" id=\"charts-help\" hidden>Drag over a chart to zoom, double click for the whole run. By keyboard: arrows move, + and − zoom, 0 shows the whole run.</p>"
    )?;
    if shown < timeline.endpoints.len() {
        writeln!(
            page,
            "<p class=\"quiet-line\">Only the first {} can be shown over time.</p>",
            counted(shown as u64, "endpoint")
        )?;
    }
    Ok(())
}

/// What is shaded in the charts.
fn key(page: &mut String, report: &AnalysisReport) -> Result {
    let mut keys = Vec::new();
    if report.phases.steady_from.is_some() || report.phases.steady_until.is_some() {
        keys.push("<span><i class=\"swatch hatched\"></i>warm-up and ramp-down: not judged</span>".to_owned());
    }
    if report.findings.iter().any(|finding| finding.from.is_some()) {
        keys.push("<span><i class=\"swatch shaded\"></i>a finding, with its number</span>".to_owned());
    }
    if let Some(comparison) = report.comparison.as_ref().filter(|comparison| comparison.base_timeline.is_some()) {
        keys.push(format!(
            "<span><i class=\"swatch dashed\"></i><b>baseline {}, from its own start</b></span>",
            name(&comparison.base.id, 16)
        ));
    }
    if keys.is_empty() {
        return Ok(());
    }
    writeln!(page, "<p class=\"key muted\">{}</p>", keys.concat())
}

fn chart(page: &mut String, chart_name: &str, title: &str, unit: &str, words: &str) -> Result {
    writeln!(
        page,
        "<figure class=\"chart\" data-chart=\"{chart_name}\"><figcaption><h3 id=\"chart-{chart_name}\">{title}</h3><span class=\"muted\">{unit}</span><div class=\"legend\"></div><p class=\"words muted\">{words}</p></figcaption><div class=\"plot\"></div></figure>"
    )
}

/// What the chart shows, for who does not see it.
fn extremes(what: &str, values: &[Option<f64>], timeline: &Timeline, words: impl Fn(f64) -> String) -> String {
    let known = || values.iter().enumerate().filter_map(|(index, value)| Some((index, (*value)?)));
    let Some((at, most)) = known().max_by(|left, right| left.1.total_cmp(&right.1)) else {
        return format!("{what} is not known.");
    };
    let least = known().map(|(_, value)| value).fold(f64::INFINITY, f64::min);
    if least == most {
        return format!("{what} is {} throughout.", words(most));
    }
    format!("{what} is between {} and {}; greatest at {}.", words(least), words(most), step_time(timeline, at))
}

fn most_common(timeline: &Timeline) -> String {
    let heat = &timeline.latency_heat;
    let sum = |bucket: usize| {
        heat.counts.iter().filter_map(|row| row.get(bucket)).map(|count| u64::from(*count)).sum::<u64>()
    };
    let best = (0..heat.bounds_ms.len().saturating_sub(1)).max_by_key(|bucket| sum(*bucket));
    let bounds = best.and_then(|bucket| Some((heat.bounds_ms.get(bucket)?, heat.bounds_ms.get(bucket + 1)?)));
    bounds.map_or(String::new(), |(low, high)| format!("Most common: {} to {} ms.", short(*low), short(*high)))
}

fn step_time(timeline: &Timeline, index: usize) -> String {
    let seconds = (index as i64).saturating_mul(i64::from(timeline.step_seconds));
    let nanoseconds = seconds.saturating_mul(NANOSECONDS_PER_SECOND);
    let time = Timestamp(timeline.start.0.saturating_add(nanoseconds));
    second(time).get(11..).unwrap_or_default().to_owned()
}

/// Writes the figures of the charts: numbers only, so that no name can be more than words.
pub fn data(page: &mut String, report: &AnalysisReport) -> Result {
    let Some(timeline) = &report.timeline else { return Ok(()) };
    let seconds = |time: Option<Timestamp>| number(time.map(|time| time.seconds_since(timeline.start)));
    write!(
        page,
        "<script type=\"application/json\" id=\"figures\">{{\"start\":{},\"step\":{}",
        timeline.start.0.div_euclid(1_000_000) as f64 / 1000.0,
        timeline.step_seconds
    )?;
    write!(page, ",\"steady\":[{},{}]", seconds(report.phases.steady_from), seconds(report.phases.steady_until))?;
    let spans =
        report.findings.iter().enumerate().filter(|(_, finding)| finding.from.is_some() || finding.until.is_some());
    let spans = spans.map(|(index, finding)| {
        format!("[{},{},{},\"{}\"]", index + 1, seconds(finding.from), seconds(finding.until), finding.severity.name())
    });
    write!(page, ",\"findings\":[{}]", spans.collect::<Vec<_>>().join(","))?;
    load(page, timeline)?;
    write!(page, ",\"total\":{}", series(&timeline.total))?;
    write!(page, ",\"endpoints\":[")?;
    for (index, endpoint) in timeline.endpoints.iter().take(endpoints_shown(timeline)).enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(page, "{comma}{}", series(endpoint))?;
    }
    write!(page, "]")?;
    let heat = &timeline.latency_heat;
    let rows =
        heat.counts.iter().map(|row| format!("[{}]", row.iter().map(u32::to_string).collect::<Vec<_>>().join(",")));
    write!(
        page,
        ",\"heat\":{{\"bounds\":{},\"counts\":[{}]}}",
        numbers(heat.bounds_ms.iter().copied().map(Some)),
        rows.collect::<Vec<_>>().join(",")
    )?;
    if let Some(base) = report.comparison.as_ref().and_then(|comparison| comparison.base_timeline.as_ref()) {
        write!(page, ",\"base\":{{\"step\":{}", base.step_seconds)?;
        load(page, base)?;
        write!(page, ",\"total\":{}}}", series(&base.total))?;
    }
    writeln!(page, "}}</script>")
}

fn load(page: &mut String, timeline: &Timeline) -> Result {
    let lists = [
        ("vus", &timeline.vus),
        ("iterations", &timeline.iterations_per_second),
        ("dropped", &timeline.dropped_iterations_per_second),
    ];
    lists.iter().try_for_each(|(name, values)| write!(page, ",\"{name}\":{}", numbers(values.iter().copied())))
}

fn series(series: &TimelineSeries) -> String {
    let lists = [
        ("rate", &series.requests_per_second),
        ("failed", &series.failed_requests_rate),
        ("med", &series.med_ms),
        ("p95", &series.p95_ms),
        ("p99", &series.p99_ms),
    ];
    let lists: Vec<String> =
        lists.iter().map(|(name, values)| format!("\"{name}\":{}", numbers(values.iter().copied()))).collect();
    format!("{{{}}}", lists.join(","))
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> String {
    let mut list = String::from("[");
    for (index, value) in values.enumerate() {
        if index > 0 {
            list.push(',');
        }
        list.push_str(&number(value));
    }
    list.push(']');
    list
}

/// A number of JSON, shorter than with all its digits; what is no number is null.
fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if !value.is_finite() => "null".to_owned(),
        Some(value) if value != 0.0 && !(1e-5..1e15).contains(&value.abs()) => format!("{value:e}"),
        Some(value) => value.to_string(),
        None => "null".to_owned(),
    }
}
