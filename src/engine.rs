//! The data path: rows in, windows closed, rows kept, the run judged, the report made.
//!
//! A finished file, a growing one, stdin and the pods of one run all take this path; nothing else joins the rooms.

pub mod baseline;
pub mod evidence;
pub mod forward;
mod keeping;
pub mod live;
pub mod observe;
mod past;
pub mod query;
mod reading;
mod run_id;
pub mod stream;
pub mod watch;
pub mod why;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::detect::generator::Clock;
use crate::detect::history::{self, PastRun};
use crate::detect::history_findings::History;
use crate::detect::judge::{judge_against, judge_within};
use crate::detect::objectives::objectives;
use crate::detect::phases::Started;
use crate::detect::tracker::Tracker;
use crate::detect::{phases, summaries, threshold_windows, thresholds};
use crate::ingest::input::{Input, SampleInput};
use crate::ingest::servers::RecordError;
use crate::ingest::telemetry::capture::CaptureError;
use crate::ingest::telemetry::packed::PackError;
use crate::model::blocks::BlockSeries;
use crate::model::metric::{MetricDeclaration, MetricKind, Submetric, ThresholdSource, Unit, builtin};
use crate::model::report::{
    AnalysisReport, BaselineReport, Grafana, MetricReport, Objective, Phases, RunReport, SCHEMA_VERSION, Skipped,
    ThresholdReport, Verdict, VerdictKind,
};
use crate::model::run::{RunLabels, SourceReport};
use crate::model::summary::{Summary, SummaryMetric};
use crate::model::tags::TagSet;
use crate::model::threshold::split_metric_filter;
use crate::model::time::Timestamp;
use crate::stats::failure_rate::HISTORY_RUNS_MIN;
use crate::store::StoreError;
use crate::tables::aggregate::Aggregate;
use crate::tables::blocks::blocks;
use crate::tables::figures::{Figures, figures};
use crate::tables::frames::Frames;
use crate::tables::summary_figures::summary_figures;
use crate::tables::timeline::timeline;

use baseline::{Baseline, KnownRun};
use evidence::Source;
pub use keeping::Keep;
use keeping::{Keeper, Writers, commit};
use live::Live;
use reading::{Reading, Session};
use run_id::id_of;
use watch::{Teller, Watch};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{name} holds no k6 sample: {reason}; expected what `k6 run --out json=FILE` writes")]
    NothingRead { name: String, reason: String },
    #[error("several summaries and no samples: each is a run of its own, so give one at a time ({names})")]
    SeveralSummaries { names: String },
    #[error("failed to keep values that must be read twice")]
    Spill(#[source] std::io::Error),
    #[error("nobody wants the run any more")]
    Dropped,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("failed to pack the servers' answers")]
    Pack(#[from] PackError),
    #[error("failed to hold the servers' answers")]
    Answers(#[source] std::io::Error),
}

/// What the user says of the run, and what the clock says.
#[derive(Debug, Default)]
pub struct Request {
    pub labels: RunLabels,
    /// Thresholds besides those in the inputs, by metric or sub-metric.
    pub thresholds: thresholds::Thresholds,
    /// What of the requests may be bad.
    pub objectives: Vec<Objective>,
    /// What k6 ended with: known when the inputs have ended, at the latest.
    pub k6_exit_code: Arc<OnceLock<i32>>,
    /// Set by who wants no more of the run: then nothing is judged, and nothing kept.
    pub is_dropped: Option<Arc<AtomicBool>>,
    /// What of the inputs was not read, and why.
    pub left_out: Vec<Skipped>,
    pub baseline: Baseline,
    /// Where the evidence can be looked up.
    pub grafana: Option<Grafana>,
    /// Who watches while the run is read.
    pub live: Option<Arc<Live>>,
    /// Where what the servers said about the run comes from; none: what was kept beside an earlier analysis of it.
    pub evidence: Option<Source>,
    /// Who is told what is known before the end; none where the end is near anyway.
    pub teller: Option<Teller>,
}

/// A run that was read and judged.
#[derive(Debug)]
pub struct Analysis {
    pub report: AnalysisReport,
    /// None when only a summary was read.
    pub frames: Option<Frames>,
}

/// Reads the inputs to their end, keeps the run where `keep` says, judges it and returns the report.
///
/// `stop`: set when the user interrupts; what was read so far is judged and marked partial. After an error nothing of
/// the run is left in the store.
pub fn analyze(
    inputs: Vec<Input>,
    request: &Request,
    keep: Option<Keep>,
    stop: &AtomicBool,
) -> Result<Analysis, EngineError> {
    let result = read_and_judge(inputs, request, keep.as_ref(), stop);
    if let (Err(_), Some(keep)) = (&result, &keep) {
        // The first error is the one to tell; what this cannot delete is deleted as abandoned later.
        let _ = keep.store.delete_attempt(&keep.attempt);
    }
    result
}

fn read_and_judge(
    inputs: Vec<Input>,
    request: &Request,
    keep: Option<&Keep>,
    stop: &AtomicBool,
) -> Result<Analysis, EngineError> {
    let (mut samples, mut given) = (Vec::new(), Vec::new());
    for input in inputs {
        match input {
            Input::Samples(input) => samples.push(input),
            Input::Summary(summary, source) => given.push((summary, source)),
        }
    }
    let (summaries, copies) = summaries::distinct(given);
    let writers = keep.map(Writers::start).transpose()?;
    let Read { aggregate, mut report, frames, writers, tracker } = match (samples.is_empty(), summaries.as_slice()) {
        (true, [(summary, source)]) => {
            let report = of_summary(summary, source, request);
            Read { aggregate: Aggregate::new(0), report, frames: None, writers, tracker: Tracker::default() }
        }
        (true, _) => {
            let names: Vec<&str> = summaries.iter().map(|(_, source)| source.name.as_str()).collect();
            return Err(EngineError::SeveralSummaries { names: names.join(", ") });
        }
        (false, _) => {
            let watch = watch(keep, request);
            read_samples(samples, &summaries, request, (writers, watch), stop)?
        }
    };
    report.skipped.extend(request.left_out.iter().cloned().chain(copies));
    let blocks = frames.as_ref().map(blocks).unwrap_or_default();
    let found;
    let mut history = History::default();
    let mut earlier = Vec::new();
    let base = match &request.baseline {
        Baseline::Given(known) => Ok(known.base()),
        Baseline::None => Err("--baseline none".to_owned()),
        Baseline::Automatic { since } => match keep {
            Some(keep) => {
                earlier = baseline::earlier(keep.store, &report.run, *since)?;
                report.skipped.extend(baseline::take_back_unfounded(keep.store, &mut earlier));
                let past::Past { past, over, skipped } = past::past(keep.store, &report, &earlier)?;
                report.skipped.extend(skipped);
                report.history = past::over_the_runs(&earlier, &report);
                history = history_of(past, &over, &blocks, &report);
                // The run that the table is beside is one of the level before.
                let first = history.first_of_step();
                let before = earlier.iter().position(|run| Some(run.run_id.as_str()) == first).unwrap_or(earlier.len());
                found = baseline::automatic(keep.store, &report, &earlier[..before])?;
                found.as_ref().map(KnownRun::base).map_err(|skipped| skipped.reason.clone())
            }
            None => Err("without a store there are no earlier runs".to_owned()),
        },
    };
    let base = base.map_err(|reason| Skipped { what: baseline::WHAT.to_owned(), reason });
    judge_against(&mut report, frames.as_ref(), base, &history, request.k6_exit_code.get().copied());
    if let Some(teller) = &request.teller {
        watch::take_back(tracker, &report.findings, report.run.ended_at, teller);
    }
    if let Some(found) = past::found_over_the_runs(&history, &earlier, &report) {
        report.history = Some(found);
    }
    let kept_answers = match (&request.evidence, keep) {
        (None, Some(keep)) => why::kept(keep.store, &report.run.id)?,
        _ => None,
    };
    let explained = match request.evidence.as_ref().or(kept_answers.as_ref()) {
        Some(source) => why::explain(&mut report, source, keep.map(|keep| keep.store))?,
        None => None,
    };
    report.grafana = request.grafana.clone().filter(|_| explained.is_some());
    if let (Some(writers), Some(keep)) = (writers, keep) {
        commit(writers, &aggregate, &mut report, &blocks, explained.as_ref(), keep)?;
    }
    Ok(Analysis { report, frames })
}

/// Judges the run by its earlier ones: its requests, and what the script measures in milliseconds.
fn history_of(past: Vec<PastRun>, over: &[PastRun], blocks: &[BlockSeries], report: &AnalysisReport) -> History {
    let is_own = |metric: &&MetricReport| {
        metric.kind == MetricKind::Trend && metric.unit == Unit::Milliseconds && builtin(&metric.name).is_none()
    };
    let trends: Vec<&str> = report.metrics.iter().filter(is_own).map(|metric| metric.name.as_str()).collect();
    let judged = history::judge(&past, over, blocks, report.run.started_at, &trends);
    // Rates and ramps are judged by fewer runs than latencies.
    if judged.is_empty() && past.len() < HISTORY_RUNS_MIN { History::default() } else { History { past, judged } }
}

/// Judges a known run against another one; what its report said of its own baseline is replaced.
pub fn compare(base: &KnownRun, current: KnownRun) -> AnalysisReport {
    let KnownRun { mut report, frames, .. } = current;
    report.skipped.retain(|skipped| skipped.what != baseline::WHAT);
    judge_against(&mut report, frames.as_ref(), Ok(base.base()), &History::default(), None);
    report
}

/// What was read of a run, before it is judged.
struct Read<'a> {
    aggregate: Aggregate,
    report: AnalysisReport,
    frames: Option<Frames>,
    writers: Option<Writers<'a>>,
    /// What was told of the run while it went on.
    tracker: Tracker,
}

/// Watches the run where somebody is told.
fn watch<'a>(keep: Option<&Keep<'a>>, request: &'a Request) -> Option<Watch<'a>> {
    let teller = request.teller.as_ref()?;
    let run = run_report(String::new(), request);
    Some(match request.baseline {
        Baseline::Automatic { since } => Watch::new(keep.map(|keep| keep.store), run, since, teller),
        Baseline::Given(_) | Baseline::None => Watch::new(None, run, None, teller),
    })
}

/// Reads while a thread of its own writes; returns when both are done.
fn read_samples<'a>(
    samples: Vec<SampleInput>,
    summaries: &[(Summary, SourceReport)],
    request: &Request,
    (writers, watch): (Option<Writers<'a>>, Option<Watch<'a>>),
    stop: &AtomicBool,
) -> Result<Read<'a>, EngineError> {
    std::thread::scope(|scope| {
        let keeper = writers.map(|writers| Keeper::start(scope, writers));
        let inputs: Vec<String> = samples.iter().map(|input| input.name.clone()).collect();
        let mut session = Session::new(&inputs, keeper, request.live.clone(), watch);
        let declared = summaries.iter().flat_map(|(summary, _)| declarations(summary));
        let readings = session.read(samples, declared);
        if request.is_dropped.as_ref().is_some_and(|is_dropped| is_dropped.load(Ordering::Relaxed)) {
            return Err(EngineError::Dropped);
        }
        let readings = readings?;
        let (keeper, (early, tracker)) = (session.keeper(), session.told());
        let Session { mut aggregate, content, frames, siblings, traced, .. } = session;
        let interrupted = stop.load(Ordering::Relaxed);
        let report = of_samples(&mut aggregate, content.run_id(), &readings, summaries, request, interrupted);
        let writers = keeper.map(Keeper::finish).transpose()?;
        let mut report = report.map_err(EngineError::Spill)?;
        report.early = early;
        report.timeline = timeline(&frames, &report.endpoints);
        threshold_windows::over_time(&mut report.thresholds, &report.metrics, &frames);
        report.objectives = objectives(&request.objectives, &frames);
        let clock = Clock { reopened_windows_count: aggregate.reopened_count, steps_count: 0 };
        judge_within(&mut report, &frames, &siblings, clock);
        report.traced = why::traced(&report, &traced, &aggregate);
        Ok(Read { aggregate, report, frames: Some(frames), writers, tracker })
    })
}

/// Returns the figures and thresholds of a run whose samples were read to their end.
fn of_samples(
    aggregate: &mut Aggregate,
    run_id: String,
    readings: &[Reading],
    summaries: &[(Summary, SourceReport)],
    request: &Request,
    interrupted: bool,
) -> std::io::Result<AnalysisReport> {
    let (started_at, ended_at) = (aggregate.first_ns.map(Timestamp), aggregate.last_ns.map(Timestamp));
    let summaries::Own { summaries: own, skipped: others } = summaries::own(aggregate, summaries);
    // k6's own clock, where one summary tells it; else what the samples span.
    let by_k6 = own.first().filter(|_| own.len() == 1).and_then(|summary| summary.duration_seconds);
    let by_samples = ended_at.zip(started_at).map(|(end, start)| end.seconds_since(start));
    let duration_seconds = by_k6.or(by_samples).filter(|seconds| *seconds > 0.0);
    let all_thresholds = all_thresholds(aggregate, &own, request);
    let mut figures = figures(aggregate, duration_seconds, &thresholds::percentages(&all_thresholds))?;
    let (mut thresholds, mut skipped) = thresholds::judge(&all_thresholds, &figures.metrics);
    skipped.extend(blind_spots(aggregate, &figures, &all_thresholds));
    skipped.extend(others);
    skipped.extend(summaries::add_k6_verdicts(&mut thresholds, &own));
    let mut sources: Vec<SourceReport> = readings.iter().map(Reading::report).collect();
    sources.extend(summaries.iter().map(|(_, source)| source.clone()));
    let run = RunReport {
        started_at,
        ended_at,
        duration_seconds,
        partial: interrupted || sources.iter().any(|source| source.truncated),
        k6_version: own.iter().find_map(|summary| summary.k6_version.clone()),
        script_sha256: own.iter().find_map(|summary| summary.script_sha256.clone()),
        sources,
        ..run_report(run_id, request)
    };
    let phases = phases::phases(&aggregate.load);
    figures.totals.arrivals_per_second =
        phases::arrivals_per_second(&aggregate.load, Started::of(&figures.metrics), run.duration_seconds);
    Ok(report(run, figures, thresholds, phases, skipped))
}

/// Returns the figures and thresholds of a run of which only k6's summary is known.
fn of_summary(summary: &Summary, source: &SourceReport, request: &Request) -> AnalysisReport {
    let figures = summary_figures(summary);
    let thresholds = thresholds::of_summary(summary, &figures.metrics);
    let id = id_of(&serde_json::to_vec(&(&summary.metrics, &summary.checks)).unwrap_or_default());
    let run = RunReport {
        ended_at: summary.generated_at.as_deref().and_then(|time| time.parse().ok()),
        duration_seconds: summary.duration_seconds,
        k6_version: summary.k6_version.clone(),
        script_sha256: summary.script_sha256.clone(),
        sources: vec![source.clone()],
        ..run_report(id, request)
    };
    let reason = "only a summary was given: endpoints, windows and phases need k6's JSON or CSV output".to_owned();
    let skipped = vec![Skipped { what: "endpoints, windows, phases".to_owned(), reason }];
    report(run, figures, thresholds, Phases::default(), skipped)
}

/// What a run's report says before any input was read.
fn run_report(id: String, request: &Request) -> RunReport {
    let RunLabels { test, environment, commit, branch, pull_request, ci_url, tags } = request.labels.clone();
    RunReport {
        id,
        test: test.unwrap_or_else(|| "default".to_owned()),
        environment: environment.unwrap_or_else(|| "default".to_owned()),
        started_at: None,
        ended_at: None,
        duration_seconds: None,
        k6_version: None,
        script_sha256: None,
        commit,
        branch,
        pull_request,
        ci_url,
        tags,
        sources: Vec::new(),
        partial: false,
    }
}

fn report(
    run: RunReport,
    figures: Figures,
    thresholds: Vec<ThresholdReport>,
    phases: Phases,
    skipped: Vec<Skipped>,
) -> AnalysisReport {
    let baseline = BaselineReport {
        kind: "none".to_owned(),
        runs: Vec::new(),
        comparable: false,
        differences: Vec::new(),
        detectable: Vec::new(),
    };
    AnalysisReport {
        schema_version: SCHEMA_VERSION,
        run,
        // Said by `judge`, which sees the whole report.
        verdict: Verdict { kind: VerdictKind::Inconclusive, reasons: Vec::new() },
        totals: figures.totals,
        metrics: figures.metrics,
        endpoints: figures.endpoints,
        checks: figures.checks,
        thresholds,
        findings: Vec::new(),
        early: None,
        phases,
        baseline,
        comparison: None,
        objectives: Vec::new(),
        ramp: None,
        diagnoses: Vec::new(),
        traced: Vec::new(),
        exhibits: None,
        grafana: None,
        unavailable: Vec::new(),
        coordinated_omission: None,
        history: None,
        generator: None,
        timeline: None,
        skipped,
    }
}

/// Returns what a summary says of the kinds and sub-metrics of its metrics.
fn declarations(summary: &Summary) -> Vec<MetricDeclaration> {
    let declaration = |metric: &SummaryMetric| {
        let (name, filter) = split_metric_filter(&metric.name)?;
        let is_submetric = metric.name != name;
        let submetric = Submetric { name: metric.name.clone(), tags: TagSet::from_pairs(filter) };
        Some(MetricDeclaration {
            name: name.to_owned(),
            kind: metric.kind,
            contains: metric.contains,
            thresholds: Vec::new(),
            submetrics: if is_submetric { vec![submetric] } else { Vec::new() },
        })
    };
    summary.metrics.iter().filter_map(declaration).collect()
}

/// Returns the thresholds of the request, of the stream and of the run's own summaries.
fn all_thresholds(aggregate: &Aggregate, own: &[&Summary], request: &Request) -> thresholds::Thresholds {
    let mut all = request.thresholds.clone();
    let mut add = |name: &str, source: ThresholdSource| {
        let known: &mut Vec<ThresholdSource> = all.entry(name.to_owned()).or_default();
        if !known.iter().any(|old| old.expression == source.expression) {
            known.push(source);
        }
    };
    for metric in &aggregate.metrics {
        metric.thresholds.iter().for_each(|threshold| add(&metric.name, threshold.clone()));
    }
    for metric in own.iter().flat_map(|summary| &summary.metrics) {
        for threshold in &metric.thresholds {
            let expression = threshold.expression.clone();
            add(&metric.name, ThresholdSource { expression, abort_on_fail: false, delay_abort_eval: None });
        }
    }
    all
}

/// Names what the figures do not show.
fn blind_spots(aggregate: &Aggregate, figures: &Figures, thresholds: &thresholds::Thresholds) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    let mut skip = |what: &str, reason: String| skipped.push(Skipped { what: what.to_owned(), reason });
    for name in &figures.unknown_submetrics {
        skip(name, "too many tag sets came before its declaration".to_owned());
    }
    for name in &figures.unknown_kinds {
        skip(name, "the input does not tell its kind: shown as a trend".to_owned());
    }
    // k6 makes a sub-metric for each threshold on one, and this one by itself.
    let made_by_threshold =
        |name: &str| name != "http_req_duration{expected_response:true}" && !thresholds.contains_key(name);
    let submetrics = aggregate.metrics.iter().flat_map(|metric| &metric.submetrics);
    let unknown: Vec<&str> = submetrics.map(|sub| sub.name.as_str()).filter(|name| made_by_threshold(name)).collect();
    if !unknown.is_empty() {
        let reason =
            "k6's JSON names these sub-metrics, but not their thresholds: give the run's summary as well, or --threshold".to_owned();
        skip(&format!("thresholds of {}", unknown.join(", ")), reason);
    }
    if aggregate.overflow_count > 0 {
        let examples = aggregate.overflow_examples.join(", ");
        skip(
            &format!("{} endpoints, checks or metrics", aggregate.overflow_count),
            format!("too many: put together as (other); for example {examples}"),
        );
    }
    if aggregate.reopened_count > 0 {
        let reason =
            "their samples came more than 10 s late, as after a step of the clock: each has several rows in windows";
        skip(&format!("{} windows", aggregate.reopened_count), reason.to_owned());
    }
    skipped
}
