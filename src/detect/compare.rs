//! Two runs side by side: which figures moved, how far, how sure that is, and which of them are one finding.

use std::collections::BTreeMap;

use crate::model::comparison::{Comparison, ComparisonRow};
use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::{MetricKind, Unit};
use crate::model::report::{AnalysisReport, EndpointReport, Latency, Skipped};
use crate::stats::multiplicity;
use crate::stats::normal::upper_tail;
use crate::tables::frames::{FrameSeries, Frames, Step};
use crate::tables::timeline::is_of;

use super::comparability::differences;
use super::finding_id::finding_id;
use super::rates;
use super::resampled::{CONFIDENCE, ChanceError, Paired};

/// Two runs of the same system are so far apart by themselves, as a standard deviation of ln: a pair cannot tell, a
/// history can. Of true pairs of k6 runs against one server on one machine: 0.01 to 0.04.
pub const BETWEEN_RUNS: f64 = 0.03;
/// Of all findings, the share that may be false.
const FALSE_DISCOVERY_RATE: f64 = 0.05;
/// A smaller change of a latency or a rate matters to nobody.
const CHANGE_MIN: f64 = 0.05;
/// From here on a change is major, and critical.
const MAJOR_RATIO: f64 = 1.1;
const CRITICAL_RATIO: f64 = 2.0;
/// The statistics of a trend, and the quantiles among them.
const STATISTICS: [(&str, Option<f64>); 6] =
    [("avg", None), ("med", Some(0.5)), ("p90", Some(0.9)), ("p95", Some(0.95)), ("p99", Some(0.99)), ("max", None)];
/// A trend is judged by these: the middle, the tail, and the far tail where enough requests reach it.
const JUDGED: [&str; 3] = ["med", "p95", "p99"];
const FAR_TAIL_SAMPLES_MIN: f64 = 2_000.0;
/// Trends that are only parts of a request, or made of requests and pauses.
const NOT_JUDGED: [&str; 8] = [
    "http_req_blocked",
    "http_req_connecting",
    "http_req_tls_handshaking",
    "http_req_sending",
    "http_req_waiting",
    "http_req_receiving",
    "iteration_duration",
    "group_duration",
];

/// A run, with its frames where they are known.
#[derive(Clone, Copy)]
pub struct Side<'r> {
    pub report: &'r AnalysisReport,
    pub frames: Option<&'r Frames>,
}

/// What two runs side by side say.
pub struct Compared {
    pub comparison: Comparison,
    pub findings: Vec<Finding>,
    /// Nothing but the system under test is known to differ, or only what explains no change.
    pub is_fair: bool,
    pub skipped: Vec<Skipped>,
}

/// One figure of both runs, and how sure its change is.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub statistic: &'static str,
    pub base: Option<f64>,
    pub current: Option<f64>,
    pub change: Option<Change>,
    /// Of the change by chance, between runs included: on the scale of ln for a ratio. None where nothing is to judge.
    pub deviation: Option<f64>,
    /// Two-sided.
    pub p_value: f64,
}

/// A series of both runs.
pub(super) struct Subject {
    pub series: SeriesReference,
    pub unit: Unit,
    pub figures: Vec<Moved>,
    pub is_judged: bool,
    pub requests_count: f64,
}

/// Compares `current` with `base`; every change is from the base to the current run.
pub fn compare(base: Side, current: Side) -> Compared {
    let mut latencies = latency_subjects(base, current);
    let trends = trend_subjects(base, current);
    latencies.extend(trends);
    let rates = rates::rates(base, current);
    let throughput = throughput(base, current);
    let p_values: Vec<f64> = latencies.iter().map(Subject::p_value).collect();
    let stands = multiplicity::rejected(&p_values, FALSE_DISCOVERY_RATE);
    let found: Vec<&Subject> = latencies
        .iter()
        .zip(stands)
        .filter(|(subject, stands)| *stands && subject.strongest().is_some_and(|moved| size_of(moved) >= CHANGE_MIN))
        .map(|(subject, _)| subject)
        .collect();
    let mut findings = rates.findings;
    let mut with_latency = Vec::new();
    if let Some(subject) = &throughput {
        let slower = found.iter().any(|subject| subject.direction() == Some(Direction::Worse));
        let is_found = subject.p_value() <= FALSE_DISCOVERY_RATE
            && subject.strongest().is_some_and(|moved| size_of(moved) >= CHANGE_MIN);
        match subject.strongest() {
            // With a fixed number of VUs slower answers are fewer requests: one cause, one finding.
            Some(moved) if is_found && slower && moved.log() < 0.0 => with_latency.push(subject),
            Some(moved) if is_found => findings.push(throughput_finding(&current.report.run.test, subject, moved)),
            _ => {}
        }
    }
    findings.extend(latency_findings(current, base, &found, &with_latency));
    sort(&mut findings);
    let mut subjects: Vec<&Subject> = latencies.iter().collect();
    subjects.extend(&throughput);
    let mut rows: Vec<ComparisonRow> = subjects.iter().flat_map(|subject| rows_of(subject, &findings)).collect();
    rows.splice(0..0, rates.rows);
    rows.extend(plain_rows(base.report, current.report));
    let has_intervals = rows.iter().any(|row| row.change.is_some_and(|change| change.low.is_some()));
    let differences = differences(base.report, current.report);
    let is_fair = differences.iter().all(|difference| !difference.is_unfair);
    let comparison = Comparison {
        base: base.report.run.clone(),
        differences: differences.into_iter().map(|difference| difference.words).collect(),
        rows,
        method: method(has_intervals),
        base_timeline: base.report.timeline.clone(),
    };
    let mut skipped = Vec::new();
    if !has_intervals {
        let reason = "a summary, or a run of few seconds, tells no spread over time: plain differences are shown, and \
                      judged by what two runs differ by themselves";
        skipped.push(Skipped { what: "intervals of the changes".to_owned(), reason: reason.to_owned() });
    }
    Compared { comparison, findings, is_fair, skipped }
}

/// Orders by severity, then errors first, then by size.
pub fn sort(findings: &mut [Finding]) {
    let size = |finding: &Finding| finding.change.map_or(0.0, |change| change.point.abs());
    findings.sort_by(|left, right| {
        (left.severity, left.kind).cmp(&(right.severity, right.kind)).then_with(|| size(right).total_cmp(&size(left)))
    });
}

fn method(has_intervals: bool) -> String {
    let chance = if has_intervals {
        "Intervals hold the true change with 95 %: both runs are cut into at most 24 blocks of time, and pairs of blocks are \
         drawn again 400 times. "
    } else {
        "Without samples of both runs there are no intervals. "
    };
    format!(
        "{chance}Two runs of one system are taken to differ by {:.0} % (standard deviation) by themselves. A latency is \
         judged by its median, p95 and, from 2,000 requests on, p99; of all latency findings at most 5 % are false, in \
         expectation (Benjamini-Hochberg); changes below {:.0} % are not findings.",
        BETWEEN_RUNS * 100.0,
        CHANGE_MIN * 100.0
    )
}

impl Moved {
    /// ln(current / base).
    pub fn log(&self) -> f64 {
        match self.change {
            Some(Change { scale: Scale::Ratio, point, .. }) => (1.0 + point).ln(),
            _ => 0.0,
        }
    }
}

fn size_of(moved: &Moved) -> f64 {
    moved.change.map_or(0.0, |change| change.point.abs())
}

impl Subject {
    /// The chance that the strongest of the judged figures is as far off by chance, for their number.
    fn p_value(&self) -> f64 {
        let judged: Vec<f64> = self.judged().map(|moved| moved.p_value).collect();
        if judged.is_empty() {
            return f64::NAN;
        }
        judged.iter().fold(1.0, |least: f64, p| least.min(*p * judged.len() as f64))
    }

    fn judged(&self) -> impl Iterator<Item = &Moved> {
        let any_judged =
            self.figures.iter().any(|moved| JUDGED.contains(&moved.statistic) && moved.deviation.is_some());
        self.figures.iter().filter(move |moved| {
            let is_far = moved.statistic == "p99" && self.requests_count < FAR_TAIL_SAMPLES_MIN;
            let is_judged = JUDGED.contains(&moved.statistic) && !is_far || !any_judged && moved.statistic != "max";
            self.is_judged && is_judged && moved.deviation.is_some()
        })
    }

    /// The judged figure that is least likely by chance.
    fn strongest(&self) -> Option<&Moved> {
        self.judged().min_by(|left, right| left.p_value.total_cmp(&right.p_value))
    }

    fn direction(&self) -> Option<Direction> {
        let log = self.strongest()?.log();
        Some(if log > 0.0 { Direction::Worse } else { Direction::Better })
    }

    /// The figure to show: p95 when it moved as surely, else the strongest.
    fn shown(&self) -> Option<&Moved> {
        let strongest = self.strongest()?;
        let moved_too = |moved: &&Moved| {
            moved.p_value <= FALSE_DISCOVERY_RATE && moved.log() * strongest.log() > 0.0 && size_of(moved) >= CHANGE_MIN
        };
        self.figures.iter().find(|moved| moved.statistic == "p95").filter(moved_too).or(Some(strongest))
    }
}

/// The latency of all requests, then of each endpoint that both runs have.
fn latency_subjects(base: Side, current: Side) -> Vec<Subject> {
    let mut subjects = Vec::new();
    // A failure that is answered at once must not flatter the latency.
    let expected = "http_req_duration{expected_response:true}";
    let name = if [base, current].iter().all(|side| values(side.report, expected).is_some()) {
        expected
    } else {
        "http_req_duration"
    };
    if let (Some(old), Some(new)) = (values(base.report, name), values(current.report, name)) {
        let tags = if name == expected { vec![("expected_response", "true".to_owned())] } else { Vec::new() };
        let series = reference("http_req_duration", tags);
        let counts = [base, current].map(|side| samples_count(side.report, name));
        let is_its = |series: &FrameSeries| series.key.metric == "http_req_duration";
        subjects.push(subject(series, Unit::Milliseconds, [old, new], counts, paired(base, current, is_its)));
    }
    for endpoint in &current.report.endpoints {
        let Some(before) = base.report.endpoints.iter().find(|before| is_same(before, endpoint)) else { continue };
        let (Some(old), Some(new)) = (&before.latency_ms, &endpoint.latency_ms) else { continue };
        let is_its = |series: &FrameSeries| series.key.metric == "http_req_duration" && is_of(&series.key, endpoint);
        let counts = [before, endpoint].map(|endpoint| Some(endpoint.requests_count as f64));
        let latencies = [latency_values(old), latency_values(new)];
        let series = endpoint_reference("http_req_duration", endpoint);
        subjects.push(subject(series, Unit::Milliseconds, latencies, counts, paired(base, current, is_its)));
    }
    subjects
}

/// The script's own trends, and those of other protocols.
fn trend_subjects(base: Side, current: Side) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for metric in &current.report.metrics {
        let is_plain =
            metric.kind == MetricKind::Trend && !metric.name.contains('{') && metric.name != "http_req_duration";
        let Some(old) = values(base.report, &metric.name).filter(|_| is_plain) else { continue };
        let is_its = |series: &FrameSeries| series.key.metric == metric.name;
        let counts = [base, current].map(|side| samples_count(side.report, &metric.name));
        let mut subject = subject(
            reference(&metric.name, Vec::new()),
            metric.unit,
            [old, metric.values.clone()],
            counts,
            paired(base, current, is_its),
        );
        // Only of a time it is known that more is worse.
        subject.is_judged = metric.unit == Unit::Milliseconds && !NOT_JUDGED.contains(&metric.name.as_str());
        subjects.push(subject);
    }
    subjects
}

fn throughput(base: Side, current: Side) -> Option<Subject> {
    let rate = |side: Side| side.report.totals.requests_per_second.filter(|rate| *rate > 0.0);
    let (old, new) = (rate(base)?, rate(current)?);
    let is_its = |series: &FrameSeries| series.key.metric == "http_reqs";
    let error = paired(base, current, is_its).and_then(|paired| paired.of_sum(|step| step.sum));
    let counts = [base, current].map(|side| side.report.totals.requests_count.map(|count| count as f64));
    let moved = moved("rate", old, new, error, counts);
    let requests_count = counts[1].unwrap_or(0.0);
    let series = reference("http_reqs", Vec::new());
    Some(Subject { series, unit: Unit::Count, figures: vec![moved], is_judged: true, requests_count })
}

pub(super) fn paired(base: Side, current: Side, is_its: impl Fn(&FrameSeries) -> bool) -> Option<Paired> {
    Paired::cut(base.frames?, current.frames?, is_its)
}

fn subject(
    series: SeriesReference,
    unit: Unit,
    values: [BTreeMap<String, f64>; 2],
    counts: [Option<f64>; 2],
    paired: Option<Paired>,
) -> Subject {
    let ps: Vec<f64> = STATISTICS.iter().filter_map(|(_, p)| *p).collect();
    let errors = paired.map(|paired| paired.of_trend(&ps));
    // `of_trend` gives the average first, then the quantiles in their order; the maximum has no error.
    let error = |index: usize| errors.as_ref().and_then(|errors| *errors.get(index)?);
    let figures = STATISTICS.iter().enumerate().filter_map(|(index, (statistic, _))| {
        let [base, current] = values.each_ref().map(|values| values.get(*statistic).copied());
        match (base, current) {
            (None, None) => None,
            (Some(base), Some(current)) if base > 0.0 && current > 0.0 => {
                Some(moved(statistic, base, current, error(index), counts))
            }
            _ => Some(Moved {
                statistic,
                base,
                current,
                change: difference(base, current),
                deviation: None,
                p_value: f64::NAN,
            }),
        }
    });
    let requests_count = counts.into_iter().flatten().fold(f64::INFINITY, f64::min);
    let requests_count = if requests_count.is_finite() { requests_count } else { 0.0 };
    Subject { series, unit, figures: figures.collect(), is_judged: true, requests_count }
}

/// A plain difference of what cannot be a ratio.
fn difference(base: Option<f64>, current: Option<f64>) -> Option<Change> {
    let point = current? - base?;
    Some(Change { scale: Scale::Difference, point, low: None, high: None, confidence: None })
}

/// `base`, `current`: above 0. `counts`: samples of both.
fn moved(
    statistic: &'static str,
    base: f64,
    current: f64,
    error: Option<ChanceError>,
    counts: [Option<f64>; 2],
) -> Moved {
    let log = (current / base).ln();
    let between = 2.0 * BETWEEN_RUNS * BETWEEN_RUNS;
    let (deviation, reach) = match error {
        Some(error) => ((error.standard_error.powi(2) + between).sqrt(), error.reach()),
        None => ((unseen_variance(statistic, counts) + between).sqrt(), 1.96),
    };
    let interval = error.map(|_| [log - reach * deviation, log + reach * deviation].map(|end| end.exp() - 1.0));
    // The extreme of a run says little of it, and has no error that blocks could tell.
    let is_extreme = statistic == "max";
    let interval = interval.filter(|_| !is_extreme);
    let change = Change {
        scale: Scale::Ratio,
        point: current / base - 1.0,
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        confidence: interval.map(|_| CONFIDENCE),
    };
    // Fewer blocks reach further for the same confidence: the same holds for the chance.
    let z = log.abs() / deviation * 1.96 / reach;
    Moved {
        statistic,
        base: Some(base),
        current: Some(current),
        change: Some(change),
        deviation: (!is_extreme).then_some(deviation),
        p_value: if is_extreme { f64::NAN } else { 2.0 * upper_tail(z) },
    }
}

/// The variance of ln of a statistic when only the number of samples is known: of a log-normal with sigma 1, the spread of
/// a busy service. Of a quantile p it is p (1 - p) / (n phi(z)^2).
fn unseen_variance(statistic: &str, counts: [Option<f64>; 2]) -> f64 {
    let of_one = match statistic {
        "avg" | "rate" => 1.72,
        "med" => 1.57,
        "p90" => 2.92,
        "p95" => 4.47,
        _ => 13.9,
    };
    counts.into_iter().flatten().map(|count| of_one / count.max(1.0)).sum()
}

/// Puts what moved together into one finding: the endpoints whose change overlaps with the largest of them, and what is
/// made of them.
fn latency_findings(current: Side, base: Side, found: &[&Subject], with_latency: &[&Subject]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut with_latency = with_latency.to_vec();
    for direction in [Direction::Worse, Direction::Better] {
        let of_direction = found.iter().filter(|subject| subject.direction() == Some(direction)).copied();
        let (mut wholes, mut parts): (Vec<&Subject>, Vec<&Subject>) =
            of_direction.partition(|subject| !is_endpoint(subject));
        parts.sort_by(|left, right| size(right).total_cmp(&size(left)));
        while let Some(largest) = parts.first().copied() {
            let (mut together, apart): (Vec<&Subject>, Vec<&Subject>) =
                parts.into_iter().partition(|part| overlap(largest, part));
            parts = apart;
            // What is made of all requests moves with those that moved, whatever its size.
            let whole = std::mem::take(&mut wholes);
            let (whole, others): (Vec<&Subject>, Vec<&Subject>) = whole
                .into_iter()
                .partition(|whole| whole.series.metric == "http_req_duration" || overlap(largest, whole));
            wholes = others;
            if together.len() > 1 && whole.iter().any(|whole| whole.series.metric == "http_req_duration") {
                together.splice(0..0, whole);
            } else {
                together.extend(whole);
            }
            together.extend(with_latency.drain(..).filter(|_| direction == Direction::Worse));
            findings.extend(latency_finding(current, base, direction, &together));
        }
        for whole in wholes {
            let mut together = vec![whole];
            together.extend(with_latency.drain(..).filter(|_| direction == Direction::Worse));
            findings.extend(latency_finding(current, base, direction, &together));
        }
    }
    findings
}

fn is_endpoint(subject: &Subject) -> bool {
    subject.series.metric == "http_req_duration" && subject.series.tags.contains_key("name")
}

fn size(subject: &Subject) -> f64 {
    subject.shown().map_or(0.0, size_of)
}

/// Says whether one change could explain both.
fn overlap(left: &Subject, right: &Subject) -> bool {
    let interval = |subject: &Subject| {
        let moved = subject.shown()?;
        let reach = 1.96 * moved.deviation?;
        Some((moved.log() - reach, moved.log() + reach))
    };
    match (interval(left), interval(right)) {
        (Some(left), Some(right)) => left.0 <= right.1 && right.0 <= left.1,
        _ => false,
    }
}

/// `together`: the subject that heads the finding, then what moved with it.
fn latency_finding(current: Side, base: Side, direction: Direction, together: &[&Subject]) -> Option<Finding> {
    let head = together.first()?;
    let shown = head.shown()?;
    let change = shown.change?;
    let with = |subject: &Subject, moved: &Moved| SeriesReference {
        statistic: Some(moved.statistic.to_owned()),
        ..subject.series.clone()
    };
    let moved_alike = |moved: &&Moved| {
        moved.statistic != shown.statistic && moved.log() * shown.log() > 0.0 && size_of(moved) >= CHANGE_MIN
    };
    let mut also: Vec<SeriesReference> =
        head.figures.iter().filter(moved_alike).map(|moved| with(head, moved)).collect();
    let others = together[1..].iter().filter_map(|subject| Some((*subject, subject.shown()?)));
    also.extend(others.clone().map(|(subject, moved)| with(subject, moved)));
    let evidence_of = |subject: &Subject, moved: &Moved| {
        Some(Evidence::Metric {
            series: with(subject, moved),
            observed: moved.current?,
            expected: moved.base,
            unit: subject.unit,
            change: moved.change,
            note: None,
        })
    };
    let mut evidence: Vec<Evidence> = head.figures.iter().filter_map(|moved| evidence_of(head, moved)).collect();
    evidence.extend(others.filter_map(|(subject, moved)| evidence_of(subject, moved)));
    evidence.push(Evidence::Query { sql: latency_query(head, base.report, current.report) });
    let endpoints_count = together.iter().filter(|subject| is_endpoint(subject)).count();
    let who = match (head.series.tags.get("name"), endpoints_count) {
        (Some(name), 0 | 1) => format!("latency of {name}"),
        (Some(_), count) => format!("latency of {count} endpoints"),
        (None, 0 | 1) if head.series.metric == "http_req_duration" => "latency".to_owned(),
        (None, count) if head.series.metric == "http_req_duration" => format!("latency, of {count} endpoints"),
        (None, _) => head.series.metric.clone(),
    };
    let severity = match direction {
        Direction::Worse if change.point + 1.0 >= CRITICAL_RATIO => Severity::Critical,
        Direction::Worse if change.point + 1.0 >= MAJOR_RATIO => Severity::Major,
        _ => Severity::Minor,
    };
    let series = with(head, shown);
    Some(Finding {
        id: finding_id(&current.report.run.test, FindingKind::Latency, &head.series, None),
        kind: FindingKind::Latency,
        title: format!(
            "{who} {:+.0} %: {} is {}, was {}",
            change.point * 100.0,
            shown.statistic,
            ms(shown.current),
            ms(shown.base)
        ),
        severity,
        direction,
        series,
        also,
        from: None,
        until: None,
        since_run: None,
        observed: shown.current?,
        expected: shown.base,
        unit: head.unit,
        change: Some(change),
        evidence,
    })
}

fn ms(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| {
        let decimals = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        format!("{value:.decimals$} ms")
    })
}

fn throughput_finding(test: &str, subject: &Subject, moved: &Moved) -> Finding {
    let fell = moved.log() < 0.0;
    let point = moved.change.map_or(0.0, |change| change.point);
    let severity = match point {
        _ if !fell => Severity::Minor,
        _ if point <= -0.5 => Severity::Critical,
        _ if 1.0 + point <= 1.0 / MAJOR_RATIO => Severity::Major,
        _ => Severity::Minor,
    };
    let (observed, expected) = (moved.current.unwrap_or(0.0), moved.base);
    Finding {
        id: finding_id(test, FindingKind::Throughput, &subject.series, None),
        kind: FindingKind::Throughput,
        title: format!(
            "throughput {:+.0} %: {observed:.1} requests a second, were {:.1}",
            point * 100.0,
            expected.unwrap_or(0.0)
        ),
        severity,
        direction: if fell { Direction::Worse } else { Direction::Better },
        series: SeriesReference { statistic: Some(moved.statistic.to_owned()), ..subject.series.clone() },
        also: Vec::new(),
        from: None,
        until: None,
        since_run: None,
        observed,
        expected,
        unit: Unit::Count,
        change: moved.change,
        evidence: vec![Evidence::Metric {
            series: subject.series.clone(),
            observed,
            expected,
            unit: Unit::Count,
            change: moved.change,
            note: Some("requests a second".to_owned()),
        }],
    }
}

/// What shows the latency of both runs window by window.
fn latency_query(head: &Subject, base: &AnalysisReport, current: &AnalysisReport) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let endpoint =
        head.series.tags.get("name").map_or(String::new(), |name| format!(" AND endpoint = {}", quoted(name)));
    format!(
        "SELECT run_id, endpoint, sum(samples_count) AS requests_count, sketch_percentile(sketch, 0.95) AS p95 FROM windows \
         JOIN series USING (run_id, series_id) WHERE metric = {}{endpoint} AND run_id IN ({}, {}) GROUP BY run_id, endpoint",
        quoted(&head.series.metric),
        quoted(&base.run.id),
        quoted(&current.run.id)
    )
}

pub(super) fn reference(metric: &str, tags: Vec<(&str, String)>) -> SeriesReference {
    let tags = tags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    SeriesReference { metric: metric.to_owned(), tags, statistic: None }
}

pub(super) fn endpoint_reference(metric: &str, endpoint: &EndpointReport) -> SeriesReference {
    let mut tags = vec![("name", endpoint.name.clone())];
    let optional = [("method", &endpoint.method), ("scenario", &endpoint.scenario), ("group", &endpoint.group)];
    tags.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    reference(metric, tags)
}

pub(super) fn is_same(left: &EndpointReport, right: &EndpointReport) -> bool {
    (&left.name, &left.method, &left.scenario, &left.group)
        == (&right.name, &right.method, &right.scenario, &right.group)
}

fn values(report: &AnalysisReport, metric: &str) -> Option<BTreeMap<String, f64>> {
    let report = report.metrics.iter().find(|report| report.name == metric && report.kind == MetricKind::Trend)?;
    (!report.values.is_empty()).then(|| report.values.clone())
}

fn latency_values(latency: &Latency) -> BTreeMap<String, f64> {
    let Latency { avg, med, p90, p95, p99, max } = *latency;
    [("avg", avg), ("med", med), ("p90", p90), ("p95", p95), ("p99", p99), ("max", max)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// How many samples a trend has; for one of requests of which only an export is known, how many requests.
fn samples_count(report: &AnalysisReport, metric: &str) -> Option<f64> {
    let known = report.metrics.iter().find(|report| report.name == metric)?.count;
    let requests = report.totals.requests_count.filter(|_| metric.starts_with("http_req"));
    known.or(requests).map(|count| count as f64)
}

fn rows_of(subject: &Subject, findings: &[Finding]) -> Vec<ComparisonRow> {
    let row = |moved: &Moved| {
        let series = SeriesReference { statistic: Some(moved.statistic.to_owned()), ..subject.series.clone() };
        let is_found = findings.iter().any(|finding| finding.series == series || finding.also.contains(&series));
        let less_is_better = subject.unit == Unit::Milliseconds;
        let is_sure = moved.p_value <= FALSE_DISCOVERY_RATE;
        let direction = match moved.change {
            None => None,
            Some(_) if !is_sure || !subject.is_judged => Some(Direction::Changed),
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
        let ratio = |base: f64, current: f64| Change {
            scale: Scale::Ratio,
            point: current / base - 1.0,
            low: None,
            high: None,
            confidence: None,
        };
        let change = base.zip(current).filter(|(base, _)| *base > 0.0).map(|(base, current)| ratio(base, current));
        let series = SeriesReference { statistic: Some(statistic.to_owned()), ..reference(metric, Vec::new()) };
        ComparisonRow {
            series,
            unit,
            base,
            current,
            change,
            direction: change.map(|_| Direction::Changed),
            is_found: false,
        }
    };
    figures.into_iter().filter(|figure| figure.3.is_some() || figure.4.is_some()).map(row).collect()
}

/// Failed among requests, for `Paired::of_difference`.
pub(super) fn nonzero_of(step: &Step) -> (f64, f64) {
    (step.nonzero_count as f64, step.count as f64)
}
