//! Failed requests and failed checks of two runs: whether more of them fail, and by how much.

use crate::model::comparison::ComparisonRow;
use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::report::{AnalysisReport, CheckReport, Detectable, EndpointReport};
use crate::stats::failures::Failures;
use crate::stats::on_cores::on_cores;
use crate::stats::special::binomial_tail;
use crate::tables::frames::{FrameSeries, Step};
use crate::tables::timeline::is_of;

use super::finding_id::finding_id;
use super::history::PastRun;
use super::history_findings::key_of;
use super::rate_history::{ByHistory, RateHistories};
use super::resampled::CONFIDENCE;
use super::subjects::{Side, endpoint_reference, is_same, nonzero_of, paired, reference};

/// A smaller rise is not told apart from the failures that every network has.
pub(super) const RISE_MIN: f64 = 0.001;
/// From here on a rise is major, and critical; where nothing failed before, a major one is critical.
const MAJOR_RISE: f64 = 0.01;
const CRITICAL_RISE: f64 = 0.05;
/// Fewer failures may be one moment's.
pub(super) const FAILURES_MIN: u64 = 3;
/// The chance of a false alarm, for each of errors and checks.
const FALSE_ALARM: f64 = 0.01;

pub struct Rates {
    pub findings: Vec<Finding>,
    pub rows: Vec<ComparisonRow>,
    /// The least rise of each rate that the earlier runs would have shown.
    pub detectable: Vec<Detectable>,
}

/// One rate of both runs.
struct RateSubject {
    series: SeriesReference,
    base: Failures,
    current: Failures,
    change: Change,
    is_found: bool,
    /// Of the current rate, by what varies within the run.
    variance: f64,
    /// Where there are enough earlier runs, they decide.
    by_history: Option<ByHistory>,
}

/// Compares the rates at which requests and checks fail; `past`: earlier runs, oldest first, which judge where they are enough.
pub fn rates(base: Side, current: Side, past: &[PastRun]) -> Rates {
    let test = &current.report.run.test;
    let histories = RateHistories::of(past);
    let mut rates = Rates { findings: Vec::new(), rows: Vec::new(), detectable: Vec::new() };
    let (errors, endpoints) = (errors(base, current), endpoint_errors(base, current));
    rates.add(test, FindingKind::ErrorRate, errors, endpoints, &histories);
    let (checks, each) = (checks(base, current), each_check(base, current));
    rates.add(test, FindingKind::Checks, checks, each, &histories);
    rates
}

impl Rates {
    /// `whole`: of the run; `parts`: of its endpoints or of each check.
    fn add(
        &mut self,
        test: &str,
        kind: FindingKind,
        whole: Option<RateSubject>,
        parts: Vec<RateSubject>,
        histories: &RateHistories,
    ) {
        let all: Vec<RateSubject> = whole.into_iter().chain(parts).collect();
        let judged = on_cores(all, |subject| subject.judged_by(histories));
        self.detectable.extend(judged.iter().filter_map(|(_, detectable)| detectable.clone()));
        let all: Vec<RateSubject> = judged.into_iter().map(|(subject, _)| subject).collect();
        let found: Vec<&RateSubject> = all.iter().filter(|subject| subject.is_found).collect();
        for direction in [Direction::Worse, Direction::Better] {
            let mut of_direction: Vec<&RateSubject> =
                found.iter().copied().filter(|subject| subject.direction() == direction).collect();
            // The whole heads the finding; a part alone may be found when it is small beside the rest.
            of_direction.sort_by(|left, right| {
                let is_part = |subject: &RateSubject| !subject.series.tags.is_empty();
                is_part(left)
                    .cmp(&is_part(right))
                    .then_with(|| right.change.point.abs().total_cmp(&left.change.point.abs()))
            });
            self.findings.extend(finding(test, kind, direction, &of_direction));
        }
        self.rows.extend(all.iter().map(row));
    }
}

impl RateSubject {
    /// Lets the earlier runs decide, if there are enough of them; with the least rise that they would have shown.
    fn judged_by(mut self, histories: &RateHistories) -> (RateSubject, Option<Detectable>) {
        let Some(history) = histories.of_rate(&key_of(&self.series)) else { return (self, None) };
        let by_history = history.judge(self.current, self.variance);
        let detectable = history.detectable(&self.series, self.current);
        (self.is_found, self.change) = (by_history.is_found, by_history.change);
        self.by_history = Some(by_history);
        (self, detectable)
    }

    /// What failed before.
    fn before(&self) -> Failures {
        self.by_history.as_ref().map_or(self.base, |by_history| by_history.before)
    }

    fn direction(&self) -> Direction {
        if self.change.point > 0.0 { Direction::Worse } else { Direction::Better }
    }

    /// `error`: of the difference, from blocks of time.
    fn new(series: SeriesReference, base: Failures, current: Failures, error: Option<(f64, f64)>) -> RateSubject {
        let point = current.rate() - base.rate();
        let interval = error.map(|(standard_error, reach)| {
            let reach = reach * standard_error.max(binomial_error(base, current));
            ((point - reach).max(-1.0), (point + reach).min(1.0))
        });
        let change = Change {
            scale: Scale::Difference,
            point,
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            confidence: interval.map(|_| CONFIDENCE),
        };
        let (more, less) = if point > 0.0 { (current, base) } else { (base, current) };
        let excludes_zero = interval.is_none_or(|(low, high)| low > 0.0 || high < 0.0 || less.failed_count == 0);
        let is_found = point.abs() >= RISE_MIN
            && more.failed_count >= FAILURES_MIN
            && excludes_zero
            && chance(more, less) <= FALSE_ALARM;
        let variance = error.map_or(0.0, |(standard_error, _)| standard_error.powi(2)).max(binomial_variance(current));
        RateSubject { series, base, current, change, is_found, variance, by_history: None }
    }
}

/// The standard error of a difference of two rates were all independent; with one failure and one success added to each
/// side, so that it is not 0 where nothing failed (Agresti and Caffo's interval).
fn binomial_error(left: Failures, right: Failures) -> f64 {
    (binomial_variance(left) + binomial_variance(right)).sqrt()
}

fn binomial_variance(failures: Failures) -> f64 {
    let count = failures.count as f64 + 2.0;
    let rate = (failures.failed_count as f64 + 1.0) / count;
    rate * (1.0 - rate) / count
}

/// The chance that so many or more of all failures fall on the side of `more` when both fail at one rate: the binomial tail.
fn chance(more: Failures, less: Failures) -> f64 {
    let total = more.failed_count + less.failed_count;
    let share = more.count as f64 / (more.count + less.count) as f64;
    binomial_tail(total, more.failed_count, share)
}

fn errors(base: Side, current: Side) -> Option<RateSubject> {
    let failures = |report: &AnalysisReport| {
        let count = report.totals.requests_count?;
        failures_of(report.totals.failed_requests_rate?, count)
    };
    let is_its = |series: &FrameSeries| series.key.metric == "http_req_failed";
    let error = difference_error(base, current, is_its, nonzero_of);
    Some(RateSubject::new(
        rate_of(reference("http_req_failed", Vec::new())),
        failures(base.report)?,
        failures(current.report)?,
        error,
    ))
}

fn rate_of(series: SeriesReference) -> SeriesReference {
    SeriesReference { statistic: Some("rate".to_owned()), ..series }
}

/// The rate of `checks` is k6's word for those that passed.
fn failed_rate_of(series: SeriesReference) -> SeriesReference {
    SeriesReference { statistic: Some("failed_rate".to_owned()), ..series }
}

fn failures_of(rate: f64, count: u64) -> Option<Failures> {
    (count > 0).then(|| Failures { failed_count: (rate * count as f64).round() as u64, count })
}

fn endpoint_errors(base: Side, current: Side) -> Vec<RateSubject> {
    let of = |endpoint: &EndpointReport| failures_of(endpoint.failed_requests_rate?, endpoint.requests_count);
    let subject = |endpoint: &EndpointReport| {
        let before = base.report.endpoints.iter().find(|before| is_same(before, endpoint))?;
        let is_its = |series: &FrameSeries| series.key.metric == "http_req_failed" && is_of(&series.key, endpoint);
        let error = difference_error(base, current, is_its, nonzero_of);
        Some(RateSubject::new(
            rate_of(endpoint_reference("http_req_failed", endpoint)),
            of(before)?,
            of(endpoint)?,
            error,
        ))
    };
    on_cores(current.report.endpoints.iter().collect(), subject).into_iter().flatten().collect()
}

fn checks(base: Side, current: Side) -> Option<RateSubject> {
    let failures = |report: &AnalysisReport| {
        let (passed, failed) = report.totals.checks_passed_count.zip(report.totals.checks_failed_count)?;
        (passed + failed > 0).then_some(Failures { failed_count: failed, count: passed + failed })
    };
    let error = difference_error(base, current, |series| series.key.metric == "checks", zero_of);
    Some(RateSubject::new(
        failed_rate_of(reference("checks", Vec::new())),
        failures(base.report)?,
        failures(current.report)?,
        error,
    ))
}

fn each_check(base: Side, current: Side) -> Vec<RateSubject> {
    let of = |check: &CheckReport| {
        let (failed_count, count) = (check.failed_count, check.passed_count + check.failed_count);
        (count > 0).then_some(Failures { failed_count, count })
    };
    let subject = |check: &CheckReport| {
        let is_same = |before: &&CheckReport| (&before.name, &before.group) == (&check.name, &check.group);
        let before = base.report.checks.iter().find(is_same)?;
        let is_its = |series: &FrameSeries| {
            series.key.metric == "checks"
                && series.key.check.as_ref() == Some(&check.name)
                && series.key.group == check.group
        };
        let error = difference_error(base, current, is_its, zero_of);
        let mut tags = vec![("check", check.name.clone())];
        tags.extend(check.group.clone().map(|group| ("group", group)));
        Some(RateSubject::new(failed_rate_of(reference("checks", tags)), of(before)?, of(check)?, error))
    };
    on_cores(current.report.checks.iter().collect(), subject).into_iter().flatten().collect()
}

/// Failed among checks: a check that fails is a zero.
fn zero_of(step: &Step) -> (f64, f64) {
    ((step.count - step.nonzero_count) as f64, step.count as f64)
}

/// Returns the standard error of a difference of rates, and how many of it an interval reaches to each side.
fn difference_error(
    base: Side,
    current: Side,
    is_its: impl Fn(&FrameSeries) -> bool,
    ratio: impl Fn(&Step) -> (f64, f64),
) -> Option<(f64, f64)> {
    let error = paired(base, current, is_its)?.of_difference(ratio)?;
    Some((error.standard_error, error.reach()))
}

fn finding(test: &str, kind: FindingKind, direction: Direction, together: &[&RateSubject]) -> Option<Finding> {
    let (head, others) = together.split_first()?;
    let (before, now) = (head.before().rate(), head.current.rate());
    let rise = head.change.point;
    let severity = match rise {
        _ if direction != Direction::Worse => Severity::Minor,
        _ if rise >= CRITICAL_RISE || head.before().failed_count == 0 && rise >= MAJOR_RISE => Severity::Critical,
        _ if rise >= MAJOR_RISE || head.before().failed_count == 0 => Severity::Major,
        _ => Severity::Minor,
    };
    let what = match (kind, head.series.tags.get("name").or_else(|| head.series.tags.get("check"))) {
        (FindingKind::Checks, None) => "checks".to_owned(),
        (FindingKind::Checks, Some(name)) => format!("check {name}"),
        (_, None) => "requests".to_owned(),
        (_, Some(name)) => format!("requests of {name}"),
    };
    let evidence = |subject: &&RateSubject| Evidence::Metric {
        series: subject.series.clone(),
        observed: subject.current.rate(),
        expected: Some(subject.before().rate()),
        unit: Unit::Fraction,
        change: Some(subject.change),
        note: Some(note(subject)),
    };
    let by_history = head.by_history.as_ref();
    let is_suspect = direction == Direction::Worse && by_history.is_some_and(|by_history| by_history.is_suspect);
    let runs = by_history.map_or(String::new(), |by_history| match (&by_history.since_run, by_history.runs_count) {
        _ if is_suspect => {
            format!(", in this run alone after {} earlier ones, some of them bad", by_history.runs_count)
        }
        (Some(run), _) => format!(", since run {run}"),
        (None, runs_count) => format!(" in {runs_count} runs"),
    });
    let since_run = by_history.and_then(|by_history| by_history.since_run.clone());
    Some(Finding {
        id: finding_id(test, kind, &head.series, None),
        kind,
        title: format!("{:.2} % of {what} failed, {:.2} % before{runs}", now * 100.0, before * 100.0),
        severity,
        direction,
        series: head.series.clone(),
        also: others.iter().map(|subject| subject.series.clone()).collect(),
        from: None,
        until: None,
        since_run,
        suspect: is_suspect,
        observed: now,
        expected: Some(before),
        unit: Unit::Fraction,
        change: Some(head.change),
        evidence: together.iter().map(evidence).collect(),
    })
}

fn note(subject: &RateSubject) -> String {
    let before = subject.before();
    let runs =
        subject.by_history.as_ref().map_or(String::new(), |by_history| format!(" in {} runs", by_history.runs_count));
    format!(
        "{} of {} failed, {} of {} before{runs}",
        subject.current.failed_count, subject.current.count, before.failed_count, before.count
    )
}

/// Of the two runs side by side, whatever the earlier ones say.
fn row(subject: &RateSubject) -> ComparisonRow {
    ComparisonRow {
        series: subject.series.clone(),
        unit: Unit::Fraction,
        base: Some(subject.base.rate()),
        current: Some(subject.current.rate()),
        change: Some(subject.change),
        direction: subject.is_found.then(|| subject.direction()),
        is_found: subject.is_found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_the_binomial_tail() {
        // R: pbinom(6, 10, 0.5, lower.tail = FALSE), pbinom(4, 5, 0.5, lower.tail = FALSE), pbinom(299, 500, 0.5, FALSE)
        let failures = |failed_count| Failures { failed_count, count: 1_000 };
        for (more, less, expected) in [(7, 3, 0.171875), (5, 0, 0.03125), (300, 200, 4.470033e-6)] {
            let found = chance(failures(more), failures(less));
            assert!((found / expected - 1.0).abs() < 1e-4, "{found} is not {expected}");
        }
        let many =
            chance(Failures { failed_count: 6_000, count: 10_000 }, Failures { failed_count: 5_900, count: 10_000 });
        // Exact, by Python's integers: sum of comb(11900, k) / 2^11900 for k from 6000 on.
        assert!((many / 0.182063 - 1.0).abs() < 1e-5, "{many}");
    }

    #[test]
    fn what_is_found() {
        let found = |base: (u64, u64), current: (u64, u64)| {
            let [base, current] = [base, current].map(|(failed_count, count)| Failures { failed_count, count });
            RateSubject::new(reference("http_req_failed", Vec::new()), base, current, None).is_found
        };
        assert!(found((0, 1_000), (99, 1_000)));
        assert!(found((99, 1_000), (0, 1_000)));
        assert!(!found((0, 1_000), (2, 1_000)));
        assert!(!found((50, 1_000), (55, 1_000)));
        assert!(!found((0, 1_000_000), (50, 1_000_000)));
    }
}
