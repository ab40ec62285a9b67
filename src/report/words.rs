//! One wording of figures, changes, periods and findings, so that all forms of the report agree to the digit.

use sha2::{Digest, Sha256};

use crate::model::finding::{Change, Direction, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, ThresholdJudge, ThresholdReport, VerdictKind};
use crate::model::threshold::split_metric_filter;
use crate::model::time::Timestamp;

use super::columns::{counted, cut_middle, thousands};
use super::text::second;

/// A change within it, to both sides, is none that anyone would act on: it is no finding either.
pub const EQUIVALENT: f64 = 0.05;

/// Columns that a name from outside gets.
const NAME_COLUMNS: usize = 80;
/// Columns that a sentence gets: reasons and titles hold names from outside, too.
const SENTENCE_COLUMNS: usize = 400;

/// How much weight a finding or threshold has in this report; every form marks it by this alone, so that none of them
/// shows red where the verdict does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is why the run fell short, or part of it.
    Fails,
    /// It would fail the run, but the verdict says that the evidence does not suffice.
    Unconfirmed,
    /// It is worse, but the run passes with it.
    Warns,
    /// It is better, or only other than before.
    Notes,
}

/// A threshold that failed, or a finding.
pub struct Problem<'a> {
    pub kind: FindingKind,
    pub weight: Weight,
    /// What it is of, without measured figures: the same in every run.
    pub subject: String,
    /// The whole of it, in one line.
    pub told: String,
    /// The same in every run that shows it.
    pub fingerprint: String,
    /// None: it is a threshold.
    pub finding: Option<&'a Finding>,
}

/// Returns what there is to mark in the run, thresholds first, then the findings in the report's order.
///
/// A finding that repeats a failed threshold is left out: it would be marked twice.
pub fn problems(report: &AnalysisReport) -> Vec<Problem<'_>> {
    let failed: Vec<&ThresholdReport> = report.thresholds.iter().filter(|threshold| !held(threshold)).collect();
    let thresholds = failed.iter().map(|threshold| Problem {
        kind: FindingKind::Threshold,
        weight: Weight::Fails,
        subject: threshold_name(threshold),
        told: threshold_told(report, threshold),
        fingerprint: threshold_fingerprint(report, threshold),
        finding: None,
    });
    let is_repeated = |finding: &&Finding| {
        finding.kind == FindingKind::Threshold
            && failed.iter().any(|threshold| metric_of(&threshold.metric) == metric_of(&finding.series.metric))
    };
    let findings = report.findings.iter().filter(|finding| !is_repeated(finding)).map(|finding| Problem {
        kind: finding.kind,
        weight: finding_weight(report, finding),
        subject: series(&finding.series),
        told: told(finding),
        fingerprint: name(&finding.id),
        finding: Some(finding),
    });
    thresholds.chain(findings).collect()
}

pub fn finding_weight(report: &AnalysisReport, finding: &Finding) -> Weight {
    let weight = weight(report.verdict.kind, finding.direction, finding.severity);
    // What one run alone shows fails nothing, whatever else did.
    if finding.suspect { weight.max(Weight::Unconfirmed) } else { weight }
}

fn weight(verdict: VerdictKind, direction: Direction, severity: Severity) -> Weight {
    match (direction, severity) {
        (Direction::Better | Direction::Changed, _) => Weight::Notes,
        (Direction::Worse, Severity::Minor) => Weight::Warns,
        (Direction::Worse, Severity::Critical | Severity::Major) => match verdict {
            VerdictKind::Regressed | VerdictKind::ThresholdsFailed => Weight::Fails,
            VerdictKind::Suspect | VerdictKind::Inconclusive => Weight::Unconfirmed,
            VerdictKind::Pass => Weight::Warns,
        },
    }
}

pub fn verdict_weight(verdict: VerdictKind) -> Weight {
    match verdict {
        VerdictKind::Regressed | VerdictKind::ThresholdsFailed => Weight::Fails,
        VerdictKind::Suspect | VerdictKind::Inconclusive => Weight::Unconfirmed,
        VerdictKind::Pass => Weight::Notes,
    }
}

/// Words a verdict as the terminal does: `THRESHOLDS FAILED`.
pub fn verdict(verdict: VerdictKind) -> String {
    verdict.name().replace('_', " ").to_uppercase()
}

/// Returns the verdict's reasons in one line.
pub fn reasons(report: &AnalysisReport) -> String {
    let reasons: Vec<String> =
        report.verdict.reasons.iter().take(REASONS_TOLD).map(|reason| sentence(reason)).collect();
    match report.verdict.reasons.len().saturating_sub(REASONS_TOLD) {
        0 => reasons.join("; "),
        more => format!("{}; and {}", reasons.join("; "), counted(more as u64, "more reason")),
    }
}

/// Reasons that one line holds.
const REASONS_TOLD: usize = 10;

pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Worse => "worse",
        Direction::Better => "better",
        Direction::Changed => "changed",
    }
}

/// Says whether a threshold held by both judges, as the verdict asks.
pub fn held(threshold: &ThresholdReport) -> bool {
    threshold.passed && threshold.k6_passed != Some(false)
}

pub fn threshold_name(threshold: &ThresholdReport) -> String {
    name(&format!("{} {}", threshold.metric, threshold.expression))
}

pub fn threshold_told(report: &AnalysisReport, threshold: &ThresholdReport) -> String {
    let state = if held(threshold) { "held" } else { "failed" };
    let headroom =
        threshold.headroom.map_or(String::new(), |headroom| format!(", headroom {}", self::headroom(headroom)));
    let judges = disagreement(threshold).map_or(String::new(), |judges| format!(" ({judges})"));
    let observed = threshold_observed(report, threshold);
    format!("threshold {} {state}: observed {observed}{headroom}{judges}", threshold_name(threshold))
}

/// Says where our judgement and k6's are not the same.
pub fn disagreement(threshold: &ThresholdReport) -> Option<&'static str> {
    match (threshold.passed, threshold.k6_passed) {
        (true, Some(false)) => Some("k6's summary says that it failed, but by the samples it held"),
        (false, Some(true)) => Some("by the samples it failed, but k6's summary says that it held"),
        _ => None,
    }
}

/// Words what a threshold saw as its expression does: a rate stays a fraction.
pub fn threshold_observed(report: &AnalysisReport, threshold: &ThresholdReport) -> String {
    let metric = metric_of(&threshold.metric);
    let unit = report.metrics.iter().find(|known| known.name == metric).map(|known| known.unit);
    match threshold.observed {
        Some(observed) if unit == Some(Unit::Milliseconds) => figure(observed, Unit::Milliseconds),
        Some(observed) => figure(observed, Unit::None),
        None if threshold.judged_by == ThresholdJudge::Summary => "not known".to_owned(),
        None => "no sample".to_owned(),
    }
}

/// Words how far inside its limit a value is: `+20 %`.
pub fn headroom(headroom: f64) -> String {
    match headroom * 100.0 {
        percent if percent.abs() < HUGE => format!("{percent:+.0} %"),
        percent => format!("{} %", signed(percent)),
    }
}

fn threshold_fingerprint(report: &AnalysisReport, threshold: &ThresholdReport) -> String {
    fingerprint(&[&report.run.test, FindingKind::Threshold.name(), &threshold.metric, &threshold.expression])
}

/// Returns 16 hexadecimal digits that are the same wherever `parts` are.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first: ("ab", "c") is not ("a", "bc").
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn metric_of(name: &str) -> &str {
    split_metric_filter(name).map_or(name, |(metric, _)| metric)
}

/// Words a finding whole: what it is, observed, expected, the change and when.
pub fn told(finding: &Finding) -> String {
    format!("{}: {}", sentence(&finding.title), facts(finding))
}

/// Words the figures of a finding.
pub fn facts(finding: &Finding) -> String {
    let unit = |value| figure_of(value, finding.unit, &finding.series);
    let mut facts = vec![format!("observed {}", unit(finding.observed))];
    facts.extend(finding.expected.map(|expected| format!("expected {}", unit(expected))));
    facts.extend(finding.change.map(|change| self::change(&change, finding.unit)));
    facts.extend(period(finding.from, finding.until));
    facts.extend(finding.since_run.as_ref().map(|run| format!("since run {}", name(run))));
    match finding.also.len() as u64 {
        0 => {}
        moved => facts.push(format!("{} moved with it", counted(moved, "other figure"))),
    }
    facts.join(", ")
}

/// Words a series as k6 does in its thresholds: `http_req_duration{method:POST,name:/pay} p95`.
pub fn series(series: &SeriesReference) -> String {
    let tags: Vec<String> = series.tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let filter = if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) };
    let statistic = series.statistic.as_ref().map_or(String::new(), |statistic| format!(" {statistic}"));
    name(&format!("{}{filter}{statistic}", series.metric))
}

/// Words a value of a series: a count's rate is a second's.
pub fn figure_of(value: f64, unit: Unit, series: &SeriesReference) -> String {
    let is_rate = unit == Unit::Count && series.statistic.as_deref() == Some("rate") && value.is_finite();
    format!("{}{}", figure(value, unit), if is_rate { "/s" } else { "" })
}

/// Words a value with its unit: `312.4 ms`, `5.67 %`, `1.20 MB`.
pub fn figure(value: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return "not known".to_owned();
    }
    match unit {
        Unit::Milliseconds => format!("{} ms", short(value)),
        Unit::Fraction => percent(value),
        Unit::Bytes => bytes(value),
        Unit::Count | Unit::None => short(value),
    }
}

/// Words a fraction in percent: `9.90 %`, `43.7 %`, `100 %`.
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    match percent.abs() {
        _ if !percent.is_finite() => "not known".to_owned(),
        size if size >= HUGE => format!("{} %", short(percent)),
        _ if percent.fract() == 0.0 => format!("{} %", grouped(percent, 0)),
        size if size >= 10.0 => format!("{} %", grouped(percent, 1)),
        size if size >= 0.01 => format!("{percent:.2} %"),
        _ => format!("{} %", short(percent)),
    }
}

/// In steps of 1000, as k6 does.
pub fn bytes(value: f64) -> String {
    let steps = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let step = steps.into_iter().find(|(size, _)| value.abs() >= *size);
    step.map_or_else(|| format!("{} bytes", short(value)), |(size, unit)| format!("{} {unit}", short(value / size)))
}

/// Words a change with its interval: `+30 % (95 %: +27 % to +33 %)`; `unit` is that of what changed.
pub fn change(change: &Change, unit: Unit) -> String {
    let point = point(change, unit);
    let Some(interval) = interval(change, unit) else { return point };
    let confidence = change.confidence.map_or(String::new(), |confidence| format!("{}: ", percent(confidence)));
    format!("{point} ({confidence}{interval})")
}

/// Words how far a figure has moved: `+30 %`.
pub fn point(change: &Change, unit: Unit) -> String {
    moved_by(change.point, change.scale, unit)
}

/// Words the interval that holds the true change: `+27 % to +33 %`; none where it is not known.
pub fn interval(change: &Change, unit: Unit) -> Option<String> {
    let [low, high] = [change.low?, change.high?].map(|end| moved_by(end, change.scale, unit));
    Some(format!("{} to {high}", low.strip_suffix(" points").unwrap_or(&low)))
}

/// From 1 % to 3 % is `+2.0 points`: `+2 %` would say another thing.
fn moved_by(value: f64, scale: Scale, unit: Unit) -> String {
    match scale {
        _ if !value.is_finite() => "not known".to_owned(),
        // Less than that is nothing that a run could show.
        Scale::Ratio if value.abs() < 5e-5 => "0 %".to_owned(),
        Scale::Ratio if value.abs() < 5e-4 => format!("{:+.2} %", value * 100.0),
        Scale::Ratio => format!("{} %", signed(value * 100.0)),
        Scale::Difference if unit == Unit::Fraction => format!("{} points", signed(value * 100.0)),
        Scale::Difference if value > 0.0 => format!("+{}", figure(value, unit)),
        Scale::Difference => figure(value, unit),
    }
}

/// With its sign, and as many digits as a change of this size asks for.
fn signed(value: f64) -> String {
    let text = match value.abs() {
        _ if !value.is_finite() => return "not known".to_owned(),
        size if size >= HUGE => short(value),
        size if size >= 9.95 => grouped(value, 0),
        size if size >= 0.05 => format!("{value:.1}"),
        _ if value == 0.0 => "0".to_owned(),
        _ => short(value),
    };
    if value > 0.0 { format!("+{text}") } else { text }
}

/// Words a time span as far as it is known; the day of the end only where it is another.
pub fn period(from: Option<Timestamp>, until: Option<Timestamp>) -> Option<String> {
    match (from.map(second), until.map(second)) {
        (Some(from), Some(until)) => {
            let until = if from.get(..10) == until.get(..10) { until.get(11..).unwrap_or(&until) } else { &until };
            Some(format!("{from} to {until} UTC"))
        }
        (Some(from), None) => Some(format!("from {from} UTC on")),
        (None, Some(until)) => Some(format!("until {until} UTC")),
        (None, None) => None,
    }
}

/// Words a duration: `29.3 s`, `12 min 05 s`, `3 h 07 min`.
pub fn duration(seconds: f64) -> String {
    if !(0.0..HUGE).contains(&seconds) {
        return format!("{} s", figure(seconds, Unit::None));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=119 => format!("{:.1} s", seconds.abs()),
        120..=7199 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Returns a name from outside in one line, without what steers a terminal or turns the line around, its middle left
/// out when it is long. Never empty.
pub fn name(text: &str) -> String {
    clean(text, NAME_COLUMNS)
}

/// As `name`, for a sentence.
pub fn sentence(text: &str) -> String {
    clean(text, SENTENCE_COLUMNS)
}

fn clean(text: &str, columns: usize) -> String {
    let letters: String = match text.chars().nth(2 * columns) {
        None => text.chars().map(shown).collect(),
        // Marks that join the letter before them take no column: thousands of them would still be one.
        Some(_) => {
            let tail = text.char_indices().rev().nth(columns - 1).map_or("", |(start, _)| &text[start..]);
            text.chars().take(columns).chain(['…']).chain(tail.chars()).map(shown).collect()
        }
    };
    let cut = cut_middle(&letters, columns);
    if cut.trim().is_empty() { "(no name)".to_owned() } else { cut }
}

/// Marks of direction, invisible letters and what XML cannot hold, beyond those that `cut_middle` replaces.
fn shown(letter: char) -> char {
    match letter {
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{ad}' | '\u{feff}' => '\u{fffd}',
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        _ if u32::from(letter) & 0xfffe == 0xfffe => '\u{fffd}',
        _ => letter,
    }
}

/// What is larger has an exponent.
const HUGE: f64 = 1e8;

/// With `decimals`, and the whole part grouped by three.
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let whole = whole.parse().map_or(whole.to_owned(), thousands);
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}")
}

/// As many digits as say something, without an exponent for what people meet.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if !value.is_finite() => "not known".to_owned(),
        _ if magnitude >= HUGE => format!("{value:.3e}"),
        _ if value == 0.0 => "0".to_owned(),
        _ if value.fract() == 0.0 => grouped(value, 0),
        _ if magnitude >= 1e5 => grouped(value, 0),
        _ if magnitude >= 100.0 => grouped(value, 1),
        _ if magnitude >= 1.0 => grouped(value, 2),
        _ if magnitude >= 1e-4 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn figures_have_their_unit() {
        for (value, unit, expected) in [
            (312.44, Unit::Milliseconds, "312.4 ms"),
            (0.0, Unit::Milliseconds, "0 ms"),
            (0.0567, Unit::Fraction, "5.67 %"),
            (0.437, Unit::Fraction, "43.7 %"),
            (1.0, Unit::Fraction, "100 %"),
            (0.00001, Unit::Fraction, "0.0010 %"),
            (999.0, Unit::Bytes, "999 bytes"),
            (1_200_000.0, Unit::Bytes, "1.20 MB"),
            (1_234_567.0, Unit::Count, "1,234,567"),
            (0.00123, Unit::None, "0.0012"),
            (f64::NAN, Unit::Milliseconds, "not known"),
        ] {
            assert_eq!(figure(value, unit), expected);
        }
        assert_eq!([0.5, 29.349, 725.0, 11_220.0].map(duration), ["0.5 s", "29.3 s", "12 min 05 s", "3 h 07 min"]);
    }

    #[test]
    fn a_count_that_is_a_rate_is_a_second_s() {
        let series = |statistic: Option<&str>| SeriesReference {
            metric: "http_reqs".into(),
            tags: BTreeMap::new(),
            statistic: statistic.map(str::to_owned),
        };
        assert_eq!(figure_of(21.844, Unit::Count, &series(Some("rate"))), "21.84/s");
        assert_eq!(figure_of(21.0, Unit::Count, &series(Some("count"))), "21");
    }

    #[test]
    fn changes_have_their_interval() {
        let check = |scale, point, interval: Option<(f64, f64)>, unit, expected: &str| {
            let (low, high) = (interval.map(|ends| ends.0), interval.map(|ends| ends.1));
            let change = Change { scale, point, low, high, confidence: interval.map(|_| 0.95) };
            assert_eq!(super::change(&change, unit), expected);
        };
        let ms = Unit::Milliseconds;
        check(Scale::Ratio, 0.3, Some((0.27, 0.33)), ms, "+30 % (95 %: +27 % to +33 %)");
        check(Scale::Ratio, -0.0512, Some((-0.1, -0.004)), ms, "-5.1 % (95 %: -10 % to -0.4 %)");
        check(Scale::Ratio, 17.2295, None, ms, "+1,723 %");
        check(Scale::Ratio, 0.0, None, ms, "0 %");
        check(Scale::Ratio, -0.000293, None, ms, "-0.03 %");
        check(Scale::Ratio, -0.000029, None, ms, "0 %");
        check(Scale::Ratio, 0.0995, None, ms, "+10 %");
        check(Scale::Difference, 0.099, Some((0.08, 0.12)), Unit::Fraction, "+9.9 points (95 %: +8.0 to +12 points)");
        check(Scale::Difference, 12.3, None, ms, "+12.30 ms");
        check(Scale::Difference, -12.3, None, ms, "-12.30 ms");
        check(Scale::Ratio, f64::INFINITY, None, ms, "not known");
    }

    #[test]
    fn nothing_is_red_where_the_verdict_is_not() {
        use Direction::{Better, Changed, Worse};
        use Severity::{Critical, Major, Minor};
        use VerdictKind::{Inconclusive, Pass, Regressed, Suspect, ThresholdsFailed};
        for (verdict, direction, severity, expected) in [
            (Regressed, Worse, Critical, Weight::Fails),
            (Regressed, Worse, Major, Weight::Fails),
            (ThresholdsFailed, Worse, Major, Weight::Fails),
            (Regressed, Worse, Minor, Weight::Warns),
            (Regressed, Better, Critical, Weight::Notes),
            (Regressed, Changed, Major, Weight::Notes),
            (Suspect, Worse, Critical, Weight::Unconfirmed),
            (Inconclusive, Worse, Major, Weight::Unconfirmed),
            (Inconclusive, Worse, Minor, Weight::Warns),
            (Pass, Worse, Critical, Weight::Warns),
        ] {
            assert_eq!(weight(verdict, direction, severity), expected, "{verdict:?} {direction:?} {severity:?}");
        }
    }

    #[test]
    fn names_from_outside_stay_in_their_line() {
        for (text, expected) in [
            ("a\nb\u{202e}c\u{200f}d\u{ffff}", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"),
            ("", "(no name)"),
            ("  ", "(no name)"),
            ("GET /pay", "GET /pay"),
        ] {
            assert_eq!(name(text), expected);
        }
        let marks = "\u{301}".repeat(5_000);
        assert!(name(&marks).chars().count() <= 2 * NAME_COLUMNS + 1);
        assert_eq!(name(&"x".repeat(10_000)).chars().count(), NAME_COLUMNS);
    }

    #[test]
    fn periods_as_far_as_they_are_known() {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let (start, end, next) =
            (time("2026-11-22T20:59:43.6Z"), time("2026-11-22T21:03:12Z"), time("2026-11-23T00:00:00Z"));
        for (from, until, expected) in [
            (start, end, Some("2026-11-22 20:59:43 to 21:03:12 UTC")),
            (start, next, Some("2026-11-22 20:59:43 to 2026-11-23 00:00:00 UTC")),
            (start, None, Some("from 2026-11-22 20:59:43 UTC on")),
            (None, end, Some("until 2026-11-22 21:03:12 UTC")),
            (None, None, None),
        ] {
            assert_eq!(period(from, until).as_deref(), expected);
        }
    }
}
