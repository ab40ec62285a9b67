//! Two runs side by side: which figures moved, how far, how sure that is, and which of them are one finding.

use crate::model::comparison::{Comparison, ComparisonRow};
use crate::model::finding::{Change, Direction, Finding, Scale, SeriesReference};
use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, Detectable, Skipped};
use crate::stats::run_season::Cycle;
use crate::stats::{multiplicity, normal};

use super::comparability::differences;
use super::history_findings::{Asked, History};
use super::rates;
use super::shifts::{latency_findings, throughput_finding};
use super::subjects::{
    BETWEEN_RUNS, CHANGE_MIN, FALSE_DISCOVERY_RATE, Moved, Side, Subject, latency_subjects, reference, size_of,
    throughput, trend_subjects,
};

/// The chance with which a change that is called detectable would be found.
const POWER: f64 = 0.8;

/// What two runs side by side say.
pub struct Compared {
    pub comparison: Comparison,
    pub findings: Vec<Finding>,
    /// The least change of each judged latency that would have been found.
    pub detectable: Vec<Detectable>,
    /// Nothing but the system under test is known to differ, or only what explains no change.
    pub is_fair: bool,
    pub skipped: Vec<Skipped>,
}

/// Compares `current` with `base`; every change is from the base to the current run.
///
/// `history`: what it judged is found by it, not by the base alone.
pub fn compare(base: Side, current: Side, history: &History) -> Compared {
    let mut latencies = latency_subjects(base, current);
    let trends = trend_subjects(base, current);
    latencies.extend(trends);
    let rates = rates::rates(base, current, &history.past);
    let throughput = throughput(base, current);
    let mut findings = rates.findings;
    for asked in [Asked::Stands, Asked::Suspect, Asked::Drifts] {
        let mut asked_for = found(base, current, history, (&latencies, throughput.as_ref()), asked);
        // A figure that stands on another level is not suspected of it as well, nor of a drift.
        asked_for.retain(|finding| !findings.iter().any(|known| has_in_common(known, finding)));
        findings.extend(asked_for);
    }
    sort(&mut findings);
    let mut subjects: Vec<&Subject> = latencies.iter().collect();
    subjects.extend(&throughput);
    let mut rows: Vec<ComparisonRow> = subjects.iter().flat_map(|subject| rows_of(subject, &findings)).collect();
    rows.splice(0..0, rates.rows);
    rows.extend(plain_rows(base.report, current.report));
    let has_intervals = rows.iter().any(|row| row.change.is_some_and(|change| change.low.is_some()));
    let of_latency = |subject: &Subject| history.detectable(subject).or_else(|| detectable(subject));
    let mut detectable: Vec<Detectable> = latencies.iter().filter_map(of_latency).collect();
    detectable.extend(rates.detectable);
    let differences = differences(base.report, current.report);
    let is_fair = differences.iter().all(|difference| !difference.is_unfair);
    let comparison = Comparison {
        base: base.report.run.clone(),
        differences: differences.into_iter().map(|difference| difference.words).collect(),
        rows,
        method: method(has_intervals, history),
        base_timeline: base.report.timeline.clone(),
    };
    let mut skipped = Vec::new();
    if !has_intervals {
        let reason = "a summary, or a run of few seconds, tells no spread over time: plain differences are shown, and \
                      judged by what two runs differ by themselves";
        skipped.push(Skipped { what: "intervals of the changes".to_owned(), reason: reason.to_owned() });
    }
    Compared { comparison, findings, detectable, is_fair, skipped }
}

/// Returns the findings about latencies, other trends and the throughput, in answer to what is asked of the history.
fn found(
    base: Side,
    current: Side,
    history: &History,
    (latencies, throughput): (&[Subject], Option<&Subject>),
    asked: Asked,
) -> Vec<Finding> {
    let run = &current.report.run;
    let latencies: Vec<Subject> = latencies.iter().map(|subject| history.applied(subject, asked)).collect();
    let throughput = throughput.map(|subject| history.applied(subject, asked));
    let p_values: Vec<f64> = latencies.iter().map(Subject::p_value).collect();
    let stands = multiplicity::rejected(&p_values, FALSE_DISCOVERY_RATE);
    let is_large = |subject: &Subject| subject.strongest().is_some_and(|moved| size_of(moved) >= CHANGE_MIN);
    let found: Vec<&Subject> = latencies
        .iter()
        .zip(stands)
        .filter(|(subject, stands)| *stands && is_large(subject))
        .map(|(subject, _)| subject)
        .collect();
    let (mut findings, mut with_latency) = (Vec::new(), Vec::new());
    if let Some(subject) = &throughput {
        let slower = found.iter().any(|subject| subject.direction() == Some(Direction::Worse));
        let is_found = subject.p_value() <= FALSE_DISCOVERY_RATE && is_large(subject);
        match subject.strongest() {
            // With a fixed number of VUs slower answers are fewer requests: one cause, one finding.
            Some(moved) if is_found && slower && moved.log() < 0.0 => with_latency.push(subject),
            Some(moved) if is_found => findings.push(throughput_finding(&run.test, subject, moved)),
            _ => {}
        }
    }
    findings.extend(latency_findings(current, base, &found, &with_latency));
    history.annotate(&mut findings, asked, &run.id, &run.test);
    findings
}

fn has_in_common(left: &Finding, right: &Finding) -> bool {
    let series = |finding: &Finding| -> Vec<SeriesReference> {
        std::iter::once(&finding.series).chain(&finding.also).cloned().collect()
    };
    let left = series(left);
    series(right).iter().any(|series| left.contains(series))
}

/// Orders by severity, then errors first, then by size.
pub fn sort(findings: &mut [Finding]) {
    let size = |finding: &Finding| finding.change.map_or(0.0, |change| change.point.abs());
    findings.sort_by(|left, right| {
        (left.severity, left.kind).cmp(&(right.severity, right.kind)).then_with(|| size(right).total_cmp(&size(left)))
    });
}

/// Returns the least rise of the judged figure that is known best which would be found with a chance of `POWER`.
fn detectable(subject: &Subject) -> Option<Detectable> {
    let surest = |left: &&Moved, right: &&Moved| {
        left.deviation.unwrap_or(f64::INFINITY).total_cmp(&right.deviation.unwrap_or(f64::INFINITY))
    };
    let moved = subject.judged().min_by(surest)?;
    // As far out as the test asks for so many figures, and once more as far as the power asks for.
    let out = normal::quantile(1.0 - FALSE_DISCOVERY_RATE / 2.0 / subject.judged().count() as f64);
    let point = ((out + normal::quantile(POWER)) * moved.deviation?).exp() - 1.0;
    let change = Change::plain(Scale::Ratio, point.max(CHANGE_MIN));
    let series = SeriesReference { statistic: Some(moved.statistic.to_owned()), ..subject.series.clone() };
    Some(Detectable { series, change, power: POWER, runs_needed: None })
}

fn method(has_intervals: bool, history: &History) -> String {
    let chance = if has_intervals {
        "Intervals hold the true change with 95 %: both runs are cut into at most 24 blocks of time, and pairs of blocks are \
         drawn again 400 times. "
    } else {
        "Without samples of both runs there are no intervals. "
    };
    let between = match history.past.len() {
        0 => format!(
            "Two runs of one system are taken to differ by {:.0} % (standard deviation) by themselves.",
            BETWEEN_RUNS * 100.0
        ),
        runs_count => format!(
            "Findings are judged by {runs_count} earlier runs: a Bayesian model of a step at one of the newest runs, of single \
             bad runs and of a slow drift; how far runs differ by themselves is taken from those runs. Of runs without a \
             change fewer than one in 100 is called regressed, however many were judged before: a limit that tightened from \
             run to run would go blind over the years. The table compares with the last run alone."
        ),
    };
    format!(
        "{chance}{between}{} A latency is judged by its median, p95 and, from 2,000 requests on, p99; of all latency findings at \
         most 5 % are false, in expectation (Benjamini-Hochberg); changes below {:.0} % are not findings.",
        season(history),
        CHANGE_MIN * 100.0
    )
}

/// Says what of the earlier runs' cycles was taken out; nothing where there is none.
fn season(history: &History) -> String {
    let of = |cycle: Cycle| history.judged.iter().any(|judged| judged.season == Some(cycle));
    let names = [
        (Cycle::Weekends, "weekends"),
        (Cycle::Weekdays, "the days of the week"),
        (Cycle::TimesOfDay, "the times of the day"),
    ];
    let names: Vec<&str> = names.into_iter().filter(|(cycle, _)| of(*cycle)).map(|(_, name)| name).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        " The earlier runs differ by {} (analysis of variance, p < 0.0005, times in UTC): where a figure does, that part is taken \
         out of it before it is judged.",
        names.join(" and by ")
    )
}

fn rows_of(subject: &Subject, findings: &[Finding]) -> Vec<ComparisonRow> {
    let row = |moved: &Moved| {
        let series = SeriesReference { statistic: Some(moved.statistic.to_owned()), ..subject.series.clone() };
        let is_found = findings.iter().any(|finding| finding.series == series || finding.also.contains(&series));
        let less_is_better = subject.unit == Unit::Milliseconds;
        let is_sure = is_found || subject.is_judged && moved.p_value <= FALSE_DISCOVERY_RATE;
        let direction = match moved.change.filter(|_| is_sure) {
            None => None,
            Some(change) if (change.point > 0.0) == less_is_better => Some(Direction::Worse),
            Some(_) => Some(Direction::Better),
        };
        ComparisonRow {
            series,
            unit: subject.unit,
            base: moved.base,
            current: moved.current,
            change: moved.change,
            direction,
            is_found,
        }
    };
    subject.figures.iter().map(row).collect()
}

/// What is shown and not judged: the load.
fn plain_rows(base: &AnalysisReport, current: &AnalysisReport) -> Vec<ComparisonRow> {
    let iterations = |report: &AnalysisReport| report.totals.iterations_count.map(|count| count as f64);
    let figures = [
        ("iterations", "count", Unit::Count, iterations(base), iterations(current)),
        ("vus", "max", Unit::None, base.totals.vus_max, current.totals.vus_max),
        ("data_received", "count", Unit::Bytes, base.totals.data_received_bytes, current.totals.data_received_bytes),
    ];
    let row = |(metric, statistic, unit, base, current): (&str, &str, Unit, Option<f64>, Option<f64>)| {
        let change = base
            .zip(current)
            .filter(|(base, _)| *base > 0.0)
            .map(|(base, current)| Change::plain(Scale::Ratio, current / base - 1.0));
        let series = SeriesReference { statistic: Some(statistic.to_owned()), ..reference(metric, Vec::new()) };
        ComparisonRow { series, unit, base, current, change, direction: None, is_found: false }
    };
    figures.into_iter().filter(|figure| figure.3.is_some() || figure.4.is_some()).map(row).collect()
}
