//! The `comparison-*.md` of layout 1, byte for byte, with the rows that layout 1 loses.
//!
//! Layout 1 looks for `rate` of `http_req_failed` and `checks`, which k6's summaries call `value`: error rate and check
//! pass rate never appear there. Everything else is as its `auto-compare.js` writes it, JavaScript's rounding included.

use crate::model::report::AnalysisReport;

use super::markdown_text::plain_name;

/// What is compared: one run with those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout1Comparison {
    pub client: String,
    /// Without `.ts`.
    pub test: String,
    /// RFC 3339 in UTC with milliseconds, as JavaScript's `toISOString` writes it.
    pub date: String,
    pub current: Layout1Summary,
    /// The newest first; the table compares with it.
    pub baselines: Vec<Layout1Summary>,
}

/// The figures of one summary file; none where the file does not have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout1Summary {
    pub file_name: String,
    pub response_avg_ms: Option<f64>,
    pub response_p95_ms: Option<f64>,
    pub response_p99_ms: Option<f64>,
    pub requests_per_second: Option<f64>,
    /// Failed requests, 0 to 1.
    pub error_rate: Option<f64>,
    /// Checks that passed, 0 to 1.
    pub check_pass_rate: Option<f64>,
    pub iterations_count: Option<f64>,
    pub vus_max: Option<f64>,
}

impl Layout1Summary {
    pub fn of(file_name: String, report: &AnalysisReport) -> Layout1Summary {
        let value = |metric: &str, name: &str| {
            report.metrics.iter().find(|report| report.name == metric)?.values.get(name).copied()
        };
        Layout1Summary {
            file_name,
            response_avg_ms: value("http_req_duration", "avg"),
            response_p95_ms: value("http_req_duration", "p95"),
            response_p99_ms: value("http_req_duration", "p99"),
            requests_per_second: value("http_reqs", "rate"),
            error_rate: value("http_req_failed", "rate"),
            check_pass_rate: value("checks", "rate"),
            iterations_count: value("iterations", "count"),
            vus_max: value("vus", "max"),
        }
    }
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    Lower,
    Higher,
}

struct Metric {
    name: &'static str,
    unit: &'static str,
    good: Good,
    /// Fractions are shown in percent.
    scale: f64,
    of: fn(&Layout1Summary) -> Option<f64>,
}

const METRICS: [Metric; 8] = [
    metric("Response Time (avg)", "ms", Good::Lower, 1.0, |summary| summary.response_avg_ms),
    metric("Response Time (p95)", "ms", Good::Lower, 1.0, |summary| summary.response_p95_ms),
    metric("Response Time (p99)", "ms", Good::Lower, 1.0, |summary| summary.response_p99_ms),
    metric("Throughput", "req/s", Good::Higher, 1.0, |summary| summary.requests_per_second),
    metric("Error Rate", "%", Good::Lower, 100.0, |summary| summary.error_rate),
    metric("Check Pass Rate", "%", Good::Higher, 100.0, |summary| summary.check_pass_rate),
    metric("Iterations", "", Good::Higher, 1.0, |summary| summary.iterations_count),
    metric("Virtual Users (max)", "", Good::Higher, 1.0, |summary| summary.vus_max),
];

const fn metric(
    name: &'static str,
    unit: &'static str,
    good: Good,
    scale: f64,
    of: fn(&Layout1Summary) -> Option<f64>,
) -> Metric {
    Metric { name, unit, good, scale, of }
}

/// Changes that are listed.
const TOP: usize = 3;
/// A change is listed above this, in percent.
const LISTED_ABOVE: f64 = 1.0;
/// A change has a verdict above this, in percent.
const STEADY_UP_TO: f64 = 5.0;

struct Row<'a> {
    metric: &'static Metric,
    baseline_name: &'a str,
    current: f64,
    baseline: f64,
    /// 0 where the baseline is 0.
    percent: f64,
}

impl Row<'_> {
    fn is_better(&self) -> bool {
        match self.metric.good {
            Good::Lower => self.current < self.baseline,
            Good::Higher => self.current > self.baseline,
        }
    }

    fn change(&self) -> String {
        let sign = if self.percent > 0.0 { "+" } else { "" };
        format!("{sign}{}%", to_fixed_2(self.percent))
    }

    fn value(&self, value: f64) -> String {
        // A unit that is empty keeps its space.
        format!("{} {}", to_fixed_2(value), self.metric.unit)
    }
}

/// Returns the report; its table is empty where there is no baseline, for which layout 1 writes no file at all.
pub fn render(comparison: &Layout1Comparison) -> String {
    let Layout1Comparison { client, test, date, current, baselines } = comparison;
    let name = |summary: &Layout1Summary| plain_name(&summary.file_name);
    let mut text = format!(
        "# Performance Comparison Report\n\n**Client**: {}\n**Test**: {}\n**Date**: {}\n**Current Result**: {}\n\n\
         ## Baselines Compared\n\n",
        plain_name(client),
        plain_name(test),
        plain_date(date),
        name(current),
    );
    for (index, baseline) in baselines.iter().enumerate() {
        text += &format!("{}. {}\n", index + 1, name(baseline));
    }
    text += "\n## Top 3 Improvements\n\n";
    text += &top(current, baselines, |row| row.is_better(), "✅", "No significant improvements detected.\n");
    text += "## Top 3 Degradations\n\n";
    // Layout 1 looks at the sign of the difference, and an unchanged figure is in neither list.
    let is_worse = |row: &Row| row.current != row.baseline && !row.is_better();
    text += &top(current, baselines, is_worse, "⚠️", "No significant degradations detected. ✅\n");
    text += "## Detailed Comparison\n\n";
    text += "| Metric | Current | Baseline | Change | Status |\n|--------|---------|----------|--------|--------|\n";
    for row in METRICS.iter().filter_map(|metric| row(metric, current, baselines.first()?)) {
        let status = match row.percent.abs() > STEADY_UP_TO {
            false => "➡️",
            true if row.is_better() => "✅",
            true => "❌",
        };
        let (now, before) = (row.value(row.current), row.value(row.baseline));
        text += &format!("| {} | {now} | {before} | {} | {status} |\n", row.metric.name, row.change());
    }
    text
}

/// The largest changes over all baselines together: one metric may fill the list.
fn top(
    current: &Layout1Summary,
    baselines: &[Layout1Summary],
    is_listed: fn(&Row) -> bool,
    mark: &str,
    none: &str,
) -> String {
    let of_metric = |metric| baselines.iter().filter_map(move |baseline| row(metric, current, baseline));
    let mut rows: Vec<Row> = METRICS.iter().flat_map(of_metric).collect();
    rows.retain(|row| is_listed(row) && row.percent.abs() > LISTED_ABOVE);
    // Stable, as JavaScript's: of equal changes the first metric comes first, then the newest baseline.
    rows.sort_by(|one, other| other.percent.abs().total_cmp(&one.percent.abs()));
    if rows.is_empty() {
        return none.to_owned();
    }
    let mut text = String::new();
    for (index, row) in rows.iter().take(TOP).enumerate() {
        let (now, before) = (row.value(row.current), row.value(row.baseline));
        text += &format!("### {}. {}\n\n", index + 1, row.metric.name);
        text += &format!("- **Current**: {now}\n- **Baseline**: {before} ({})\n", plain_name(row.baseline_name));
        text += &format!("- **Change**: {} {mark}\n\n", row.change());
    }
    text
}

fn row<'a>(metric: &'static Metric, current: &Layout1Summary, baseline: &'a Layout1Summary) -> Option<Row<'a>> {
    let current = (metric.of)(current)? * metric.scale;
    let base = (metric.of)(baseline)? * metric.scale;
    let percent = if base == 0.0 { 0.0 } else { (current - base) / base * 100.0 };
    Some(Row { metric, baseline_name: &baseline.file_name, current, baseline: base, percent })
}

/// A date is shown as it is, also with its colons.
fn plain_date(date: &str) -> String {
    let is_date = date.chars().all(|letter| letter.is_ascii_digit() || "TZ:.-".contains(letter));
    if is_date { date.to_owned() } else { plain_name(date) }
}

/// JavaScript's `Number.prototype.toFixed(2)` (ECMA-262, 21.1.3.3): exact, and of two nearest the larger one, so that
/// 0.125 is 0.13; Rust takes the even one.
fn to_fixed_2(value: f64) -> String {
    let size = value.abs();
    // -0 has no sign there, but what rounds to 0 from below keeps it.
    let sign = if value < 0.0 { "-" } else { "" };
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if size.is_infinite() {
        return format!("{sign}Infinity");
    }
    if size >= 1e21 {
        return format!("{sign}{size:e}").replace('e', "e+");
    }
    // Half a hundredth is k / 200, and a binary fraction is one only where it is an odd number of eighths.
    let eighths = size * 8.0;
    if eighths < 2f64.powi(53) && eighths % 2.0 == 1.0 {
        let hundredths = (eighths as u128 * 25).div_ceil(2);
        return format!("{sign}{}.{:02}", hundredths / 100, hundredths % 100);
    }
    format!("{sign}{size:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_javascript() {
        // node 20: (x).toFixed(2)
        for (value, expected) in [
            (0.125, "0.13"),
            (0.375, "0.38"),
            (0.625, "0.63"),
            (-0.125, "-0.13"),
            (2.5, "2.50"),
            (1.005, "1.00"),
            (8.345, "8.35"),
            (10.235, "10.23"),
            (-0.001, "-0.00"),
            (-0.0, "0.00"),
            (1e20, "100000000000000000000.00"),
            (1.5e21, "1.5e+21"),
            (-1e21, "-1e+21"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(to_fixed_2(value), expected, "{value}");
        }
    }

    /// The text is what layout 1 wrote of two smoke runs; the values are any that round to it.
    #[test]
    fn as_layout_1_writes_it() {
        let summary = |file_name: &str, response_avg_ms, vus_max| Layout1Summary {
            file_name: file_name.into(),
            response_avg_ms: Some(response_avg_ms),
            vus_max: Some(vus_max),
            ..Layout1Summary::default()
        };
        let comparison = Layout1Comparison {
            client: "demo".into(),
            test: "smoke".into(),
            date: "2026-11-22T21:10:05.898Z".into(),
            current: summary("k6-summary-2026-11-22_21-09-59-252Z.json", 44.46175, 3.0),
            baselines: vec![summary("k6-summary-2026-11-22_21-09-13-576Z.json", 2.439, 3.0)],
        };
        let expected = "# Performance Comparison Report\n\n\
            **Client**: demo\n\
            **Test**: smoke\n\
            **Date**: 2026-11-22T21:10:05.898Z\n\
            **Current Result**: k6-summary-2026-11-22_21-09-59-252Z.json\n\n\
            ## Baselines Compared\n\n\
            1. k6-summary-2026-11-22_21-09-13-576Z.json\n\n\
            ## Top 3 Improvements\n\n\
            No significant improvements detected.\n\
            ## Top 3 Degradations\n\n\
            ### 1. Response Time (avg)\n\n\
            - **Current**: 44.46 ms\n\
            - **Baseline**: 2.44 ms (k6-summary-2026-11-22_21-09-13-576Z.json)\n\
            - **Change**: +1722.95% ⚠️\n\n\
            ## Detailed Comparison\n\n\
            | Metric | Current | Baseline | Change | Status |\n\
            |--------|---------|----------|--------|--------|\n\
            | Response Time (avg) | 44.46 ms | 2.44 ms | +1722.95% | ❌ |\n\
            | Virtual Users (max) | 3.00  | 3.00  | 0.00% | ➡️ |\n";
        assert_eq!(render(&comparison), expected);
    }
}
