//! What is compared of two runs: latencies, other trends and the throughput, each figure with how sure its change is.

use std::collections::BTreeMap;

use crate::model::finding::{Change, Direction, Scale, SeriesReference};
use crate::model::metric::{MetricKind, Unit};
use crate::model::report::{AnalysisReport, EndpointReport, Latency};
use crate::stats::normal::upper_tail;
use crate::stats::on_cores::on_cores;
use crate::tables::frames::{FrameSeries, Frames, LEFT_OUT, Step};
use crate::tables::timeline::is_of;

use super::resampled::{CONFIDENCE, ChanceError, Paired};

/// How far two runs of the same system are taken to be apart by themselves, as a standard deviation of ln: an assumption,
/// since a pair cannot tell; a history can.
pub(super) const BETWEEN_RUNS: f64 = 0.03;
/// Of all findings, the share that may be false.
pub(super) const FALSE_DISCOVERY_RATE: f64 = 0.05;
/// A smaller change of a latency or a rate matters to nobody.
pub(super) const CHANGE_MIN: f64 = 0.05;
/// The statistics of a trend, and the quantiles among them.
const STATISTICS: [(&str, Option<f64>); 6] =
    [("avg", None), ("med", Some(0.5)), ("p90", Some(0.9)), ("p95", Some(0.95)), ("p99", Some(0.99)), ("max", None)];
/// A trend is judged by these: the middle, the tail, and the far tail where enough requests reach it.
const JUDGED: [&str; 3] = ["med", "p95", "p99"];
const FAR_TAIL_SAMPLES_MIN: f64 = 2_000.0;
/// Made of requests and pauses: shown, not judged.
const ITERATIONS: &str = "iteration_duration";

/// A run, with its frames where they are known.
#[derive(Clone, Copy)]
pub struct Side<'r> {
    pub report: &'r AnalysisReport,
    pub frames: Option<&'r Frames>,
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
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub series: SeriesReference,
    pub unit: Unit,
    pub figures: Vec<Moved>,
    pub is_judged: bool,
    pub requests_count: f64,
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

pub(super) fn size_of(moved: &Moved) -> f64 {
    moved.change.map_or(0.0, |change| change.point.abs())
}

impl Subject {
    /// The chance that the strongest of the judged figures is as far off by chance, for their number.
    pub fn p_value(&self) -> f64 {
        let judged: Vec<f64> = self.judged().map(|moved| moved.p_value).collect();
        if judged.is_empty() {
            return f64::NAN;
        }
        judged.iter().fold(1.0, |least: f64, p| least.min(*p * judged.len() as f64))
    }

    pub fn judged(&self) -> impl Iterator<Item = &Moved> {
        let any_judged =
            self.figures.iter().any(|moved| JUDGED.contains(&moved.statistic) && moved.deviation.is_some());
        self.figures.iter().filter(move |moved| {
            let is_far = moved.statistic == "p99" && self.requests_count < FAR_TAIL_SAMPLES_MIN;
            let is_judged = JUDGED.contains(&moved.statistic) && !is_far || !any_judged && moved.statistic != "max";
            self.is_judged && is_judged && moved.deviation.is_some()
        })
    }

    /// The judged figure that is least likely by chance.
    pub fn strongest(&self) -> Option<&Moved> {
        self.judged().min_by(|left, right| left.p_value.total_cmp(&right.p_value))
    }

    pub fn direction(&self) -> Option<Direction> {
        let log = self.strongest()?.log();
        Some(if log > 0.0 { Direction::Worse } else { Direction::Better })
    }

    /// The figure to show: p95 when it moved as surely, else the strongest.
    pub fn shown(&self) -> Option<&Moved> {
        let strongest = self.strongest()?;
        let moved_too = |moved: &&Moved| {
            moved.p_value <= FALSE_DISCOVERY_RATE && moved.log() * strongest.log() > 0.0 && size_of(moved) >= CHANGE_MIN
        };
        self.figures.iter().find(|moved| moved.statistic == "p95").filter(moved_too).or(Some(strongest))
    }
}

/// The latency of all requests, then of each endpoint that both runs have.
pub(super) fn latency_subjects(base: Side, current: Side) -> Vec<Subject> {
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
    let of_endpoint = |endpoint: &EndpointReport| {
        let before = base.report.endpoints.iter().find(|before| is_same(before, endpoint))?;
        let (old, new) = (before.latency_ms.as_ref()?, endpoint.latency_ms.as_ref()?);
        let is_its = |series: &FrameSeries| series.key.metric == "http_req_duration" && is_of(&series.key, endpoint);
        let counts = [before, endpoint].map(|endpoint| Some(endpoint.requests_count as f64));
        let latencies = [latency_values(old), latency_values(new)];
        let series = endpoint_reference("http_req_duration", endpoint);
        Some(subject(series, Unit::Milliseconds, latencies, counts, paired(base, current, is_its)))
    };
    subjects.extend(on_cores(current.report.endpoints.iter().collect(), of_endpoint).into_iter().flatten());
    subjects
}

/// The script's own trends, and those of other protocols.
pub(super) fn trend_subjects(base: Side, current: Side) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for metric in &current.report.metrics {
        let is_plain =
            metric.kind == MetricKind::Trend && !metric.name.contains('{') && metric.name != "http_req_duration";
        let is_plain = is_plain && !LEFT_OUT.contains(&metric.name.as_str());
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
        subject.is_judged = metric.unit == Unit::Milliseconds && metric.name != ITERATIONS;
        subjects.push(subject);
    }
    subjects
}

pub(super) fn throughput(base: Side, current: Side) -> Option<Subject> {
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
    Some(Change::plain(Scale::Difference, point))
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
    // The extreme of a run says little of it, and has no error that blocks could tell.
    let is_extreme = statistic == "max";
    let change = match error {
        Some(_) if !is_extreme => Change::of_logarithm(log, reach * deviation, CONFIDENCE),
        _ => Change::plain(Scale::Ratio, current / base - 1.0),
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

/// Failed among requests, for `Paired::of_difference`.
pub(super) fn nonzero_of(step: &Step) -> (f64, f64) {
    (step.nonzero_count as f64, step.count as f64)
}
