//! The data path: rows in, windows closed, rows kept, the run judged, the report made.
//!
//! A finished file, a growing one, stdin and the pods of one run all take this path; nothing else joins the rooms.

pub mod query;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::detect::{phases, thresholds, verdict};
use crate::ingest::input::{Input, SampleInput};
use crate::model::metric::{MetricDeclaration, Submetric, ThresholdSource};
use crate::model::report::{
    AnalysisReport, BaselineReport, Phases, RunReport, SCHEMA_VERSION, Skipped, ThresholdReport,
};
use crate::model::run::{REJECTIONS_NAMED_MAX, Rejection, RunLabels, SourceReport};
use crate::model::summary::{Summary, SummaryMetric};
use crate::model::tags::TagSet;
use crate::model::threshold::split_metric_filter;
use crate::model::time::Timestamp;
use crate::store::manifest::{FORMAT_VERSION, Manifest};
use crate::store::report_tables;
use crate::store::run_writer::{RunWriter, SampleColumns};
use crate::store::{Store, StoreError};
use crate::tables::aggregate::{Aggregate, Window};
use crate::tables::figures::{Figures, figures};
use crate::tables::samples::{Label, SampleBlock};
use crate::tables::summary_figures::summary_figures;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{name} holds no k6 sample: {reason}; expected what `k6 run --out json=FILE` writes")]
    NothingRead { name: String, reason: String },
    #[error("several summaries and no samples: each is a run of its own, so give one at a time")]
    SeveralSummaries,
    #[error("failed to keep values that must be read twice")]
    Spill(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the user says of the run, and what the clock says.
#[derive(Debug, Default)]
pub struct Request {
    pub labels: RunLabels,
    /// Thresholds besides those in the inputs, by metric or sub-metric.
    pub thresholds: thresholds::Thresholds,
    pub k6_exit_code: Option<i32>,
}

/// Where a run is kept.
pub struct Keep<'a> {
    pub store: &'a Store,
    /// Unique among all analyses: the folder for this one's data.
    pub attempt: String,
    pub now: Timestamp,
}

/// Tag sets remembered by content; beyond it they are given new ids, which costs only space.
const TAG_SETS_REMEMBERED_MAX: usize = 100_000;

/// What a label of one decoder means in this run.
#[derive(Debug, Clone, Copy)]
struct Known {
    metric: u32,
    series: u32,
    tag_set: u32,
    cell: u32,
    /// Of the metric and the tags, for the run's id.
    hash: u64,
}

/// One input while it is read.
struct Reading {
    input: SampleInput,
    /// By decoder, then by label.
    known: Vec<Vec<Known>>,
    latest_ns: i64,
    lines: u64,
    rejected: u64,
    rejections: Vec<Rejection>,
    ended: bool,
}

/// Everything that is known of a run while it is read.
struct Session<'a> {
    aggregate: Aggregate,
    writer: Option<RunWriter<'a>>,
    tag_sets: HashMap<Arc<TagSet>, u32>,
    next_tag_set: u32,
    windows: Vec<Window>,
    /// Sums over all samples of two hashes each: the same for any order of the same samples.
    content: [u64; 2],
    samples_count: u64,
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
) -> Result<AnalysisReport, EngineError> {
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
) -> Result<AnalysisReport, EngineError> {
    let (mut samples, mut summaries) = (Vec::new(), Vec::new());
    for input in inputs {
        match input {
            Input::Samples(input) => samples.push(input),
            Input::Summary(summary, source) => summaries.push((summary, source)),
        }
    }
    let writer = keep.map(|keep| RunWriter::start(keep.store, keep.attempt.clone())).transpose()?;
    let mut session = Session::new(Aggregate::new(samples.len() as u32), writer);
    let report = match (samples.is_empty(), summaries.as_slice()) {
        (true, [(summary, source)]) => judge_summary(summary, source, request),
        (true, _) => return Err(EngineError::SeveralSummaries),
        (false, _) => {
            let readings = session.read(samples, &summaries)?;
            let interrupted = stop.load(Ordering::Relaxed);
            session.judge(&readings, &summaries, request, interrupted).map_err(EngineError::Spill)?
        }
    };
    if let (Some(writer), Some(keep)) = (session.writer, keep) {
        commit(writer, &session.aggregate, &report, keep)?;
    }
    Ok(report)
}

/// Words why no input gave a sample, by the first line that was rejected.
fn nothing_because(readings: &[Reading]) -> String {
    if readings.iter().all(|reading| reading.input.progress.bytes_read.load(Ordering::Relaxed) == 0) {
        return "it is empty".to_owned();
    }
    let reports = readings.iter().map(Reading::report);
    let first = reports.flat_map(|report| report.rejections).next();
    first.map_or("its lines are empty".to_owned(), |rejection| format!("line {}: {}", rejection.line, rejection.reason))
}

/// Returns the input that is furthest behind, so that pods go on side by side in the time of the run.
fn next_to_read(readings: &[Reading]) -> Option<usize> {
    let open = readings.iter().enumerate().filter(|(_, reading)| !reading.ended);
    open.min_by_key(|(_, reading)| reading.latest_ns).map(|(index, _)| index)
}

impl Reading {
    fn new(input: SampleInput) -> Reading {
        let known = vec![Vec::new(); input.stream.decoders()];
        Reading { input, known, latest_ns: i64::MIN, lines: 0, rejected: 0, rejections: Vec::new(), ended: false }
    }

    fn reject(&mut self, line: u64, reason: String) {
        if self.rejections.len() < REJECTIONS_NAMED_MAX {
            self.rejections.push(Rejection { line, reason });
        }
    }

    fn report(&self) -> SourceReport {
        let end = self.input.stream.end();
        let mut rejections = self.rejections.clone();
        if let Some(reason) = &end.reason {
            rejections.push(Rejection { line: self.lines + 1, reason: format!("the input ends early: {reason}") });
        }
        SourceReport {
            name: self.input.name.clone(),
            kind: self.input.kind,
            bytes: self.input.progress.bytes_read.load(Ordering::Relaxed),
            sha256: self.input.progress.sha256(),
            lines_read: self.lines,
            lines_rejected: self.rejected,
            truncated: end.truncated,
            rejections,
        }
    }
}

impl<'a> Session<'a> {
    fn new(aggregate: Aggregate, writer: Option<RunWriter<'a>>) -> Session<'a> {
        let (tag_sets, windows) = (HashMap::new(), Vec::new());
        Session { aggregate, writer, tag_sets, next_tag_set: 0, windows, content: [0; 2], samples_count: 0 }
    }

    /// Reads all samples; the summaries say of which kinds and sub-metrics they are.
    fn read(
        &mut self,
        inputs: Vec<SampleInput>,
        summaries: &[(Summary, SourceReport)],
    ) -> Result<Vec<Reading>, EngineError> {
        for declaration in summaries.iter().flat_map(|(summary, _)| declarations(summary)) {
            // A summary of another run may contradict; the samples' own word comes first, and it is left out below.
            let _ = self.aggregate.declare(&declaration);
        }
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let mut readings: Vec<Reading> = inputs.into_iter().map(Reading::new).collect();
        while let Some(index) = next_to_read(&readings) {
            self.read_block(&mut readings[index], index as u32)?;
            let watermark = readings.iter().filter(|reading| !reading.ended).map(|reading| reading.latest_ns).min();
            self.close_windows(watermark.unwrap_or(i64::MAX))?;
        }
        if self.samples_count == 0 {
            return Err(EngineError::NothingRead { name: names.join(", "), reason: nothing_because(&readings) });
        }
        self.close_windows(i64::MAX)?;
        Ok(readings)
    }

    fn read_block(&mut self, reading: &mut Reading, source: u32) -> Result<(), EngineError> {
        let Some((decoder, block)) = reading.input.stream.next_block() else {
            reading.ended = true;
            return Ok(());
        };
        for rejection in &block.rejections {
            reading.reject(reading.lines + rejection.line, rejection.reason.clone());
        }
        reading.rejected += block.rejections_count;
        for declaration in &block.declarations {
            if let Err(reason) = self.aggregate.declare(declaration) {
                reading.rejected += 1;
                reading.reject(reading.lines + 1, reason);
            }
        }
        reading.lines += block.lines_count;
        if block.labels_begin_anew {
            reading.known[decoder].clear();
        }
        for label in &block.new_labels {
            let known = self.know(label, source)?;
            reading.known[decoder].push(known);
        }
        if let Some(latest) = block.times_ns.iter().max() {
            reading.latest_ns = reading.latest_ns.max(*latest);
        }
        self.take_samples(&block, &reading.known[decoder])
    }

    fn know(&mut self, label: &Label, source: u32) -> Result<Known, EngineError> {
        let cell = self.aggregate.cell_of(label, source);
        let (series, metric) = (self.aggregate.cells[cell as usize].series, self.aggregate.cells[cell as usize].metric);
        if self.tag_sets.len() >= TAG_SETS_REMEMBERED_MAX {
            self.tag_sets.clear();
        }
        let tag_set = match self.tag_sets.get(&label.tags) {
            Some(id) => *id,
            None => {
                let id = self.next_tag_set;
                self.next_tag_set += 1;
                self.tag_sets.insert(label.tags.clone(), id);
                if let Some(writer) = &mut self.writer {
                    writer.append_tag_set(id, label.tags.clone())?;
                }
                id
            }
        };
        Ok(Known { metric, series, tag_set, cell, hash: label_hash(label) })
    }

    fn take_samples(&mut self, block: &SampleBlock, known: &[Known]) -> Result<(), EngineError> {
        let column = |of: fn(&Known) -> u32| -> Vec<u32> {
            block.labels.iter().map(|label| of(&known[*label as usize])).collect()
        };
        let cells = column(|known| known.cell);
        for row in 0..block.rows() {
            let hash = known[block.labels[row] as usize].hash;
            let first = mix(hash ^ (block.times_ns[row] as u64).rotate_left(32)) ^ block.values[row].to_bits();
            self.content[0] = self.content[0].wrapping_add(mix(first));
            self.content[1] = self.content[1].wrapping_add(mix(first ^ 0x9e37_79b9_7f4a_7c15));
        }
        self.samples_count += block.rows() as u64;
        self.aggregate.push(&block.times_ns, &cells, &block.values);
        if let Some(writer) = &mut self.writer {
            let columns = SampleColumns {
                times_ns: &block.times_ns,
                values: &block.values,
                metrics: &column(|known| known.metric),
                series: &column(|known| known.series),
                tag_sets: &column(|known| known.tag_set),
                metadata: &block.metadata,
            };
            writer.append_samples(&columns, &self.aggregate)?;
        }
        Ok(())
    }

    fn close_windows(&mut self, watermark_ns: i64) -> Result<(), EngineError> {
        if watermark_ns == i64::MAX {
            self.aggregate.close_all(&mut self.windows).map_err(EngineError::Spill)?;
        } else {
            self.aggregate.close_until(watermark_ns, &mut self.windows).map_err(EngineError::Spill)?;
        }
        match &mut self.writer {
            Some(writer) => writer.append_windows(&mut self.windows)?,
            None => self.windows.clear(),
        }
        Ok(())
    }

    fn judge(
        &mut self,
        readings: &[Reading],
        summaries: &[(Summary, SourceReport)],
        request: &Request,
        interrupted: bool,
    ) -> std::io::Result<AnalysisReport> {
        let aggregate = &mut self.aggregate;
        let (started_at, ended_at) = (aggregate.first_ns.map(Timestamp), aggregate.last_ns.map(Timestamp));
        let own = own_summaries(aggregate, summaries);
        // k6's own clock, where one summary tells it; else what the samples span.
        let by_k6 = own.first().filter(|_| own.len() == 1).and_then(|summary| summary.duration_seconds);
        let by_samples = ended_at.zip(started_at).map(|(end, start)| end.seconds_since(start));
        let duration_seconds = by_k6.or(by_samples).filter(|seconds| *seconds > 0.0);
        let all_thresholds = all_thresholds(aggregate, &own, request);
        let figures = figures(aggregate, duration_seconds, &thresholds::percentages(&all_thresholds))?;
        let (thresholds, mut skipped) = thresholds::judge(&all_thresholds, &figures.metrics);
        skipped.extend(blind_spots(aggregate, &figures, &all_thresholds));
        if own.len() < summaries.len() {
            let names: Vec<&str> = summaries.iter().map(|(_, source)| source.name.as_str()).collect();
            let reason = "its requests and iterations are not those of the samples: it is of another run".to_owned();
            skipped.push(Skipped { what: names.join(", "), reason });
        }
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
            ..run_report(self.run_id(), request)
        };
        let phases = phases::phases(&self.aggregate.load);
        Ok(report(run, figures, thresholds, phases, skipped, request))
    }

    /// Returns an id made of the samples alone: the same for a file, its gzip, a pipe, or its lines dealt to three files.
    fn run_id(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.samples_count.to_le_bytes());
        self.content.iter().for_each(|sum| hasher.update(sum.to_le_bytes()));
        hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Judges a run of which only k6's summary is known.
fn judge_summary(summary: &Summary, source: &SourceReport, request: &Request) -> AnalysisReport {
    let figures = summary_figures(summary);
    let thresholds = thresholds::of_summary(summary, &figures.metrics);
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&(&summary.metrics, &summary.checks)).unwrap_or_default());
    let id = hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
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
    report(run, figures, thresholds, Phases::default(), skipped, request)
}

/// What a run's report says before any input was read.
fn run_report(id: String, request: &Request) -> RunReport {
    let RunLabels { test, environment, commit, tags } = request.labels.clone();
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
    request: &Request,
) -> AnalysisReport {
    let baseline =
        BaselineReport { kind: "none".to_owned(), runs: Vec::new(), comparable: false, differences: Vec::new() };
    AnalysisReport {
        schema_version: SCHEMA_VERSION,
        run,
        verdict: verdict::verdict(&thresholds, request.k6_exit_code),
        totals: figures.totals,
        metrics: figures.metrics,
        endpoints: figures.endpoints,
        thresholds,
        phases,
        baseline,
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

/// Returns the summaries if they are of the run that was read: together they count its requests and iterations.
fn own_summaries<'s>(aggregate: &Aggregate, summaries: &'s [(Summary, SourceReport)]) -> Vec<&'s Summary> {
    let all: Vec<&Summary> = summaries.iter().map(|(summary, _)| summary).collect();
    let counted = |name: &str| -> f64 {
        let cells = aggregate.cells.iter().filter(|cell| *aggregate.metrics[cell.metric as usize].name == *name);
        cells.map(|cell| cell.sum.value()).sum()
    };
    let told = |name: &str| -> f64 { all.iter().filter_map(|summary| summary.metric(name)?.values.get("count")).sum() };
    let fits = ["http_reqs", "iterations"].iter().all(|name| counted(name) == told(name));
    if fits { all } else { Vec::new() }
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

fn label_hash(label: &Label) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(label.metric.as_bytes());
    // An empty tag and an absent one are the same in CSV.
    for (name, value) in label.tags.iter().filter(|(_, value)| !value.is_empty()) {
        hasher.update([0]);
        hasher.update(name.as_bytes());
        hasher.update([1]);
        hasher.update(value.as_bytes());
    }
    u64::from_le_bytes(hasher.finalize()[..8].try_into().expect("eight of 32 bytes"))
}

/// Spreads every bit over the whole word: the finaliser of MurmurHash3 (Appleby, public domain).
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

fn commit(writer: RunWriter, aggregate: &Aggregate, report: &AnalysisReport, keep: &Keep) -> Result<(), EngineError> {
    let attempt = writer.attempt().to_owned();
    let mut tables = writer.finish(aggregate)?;
    tables.extend(report_tables::write(keep.store, &attempt, report)?);
    let bytes = serde_json::to_vec(report)
        .map_err(|error| StoreError::Write { what: "the report".to_owned(), cause: error.into() })?;
    keep.store.put(&attempt, "report.json", bytes)?;
    let values: BTreeMap<&str, f64> = report
        .metrics
        .iter()
        .filter(|metric| metric.name == "http_req_duration")
        .flat_map(|metric| metric.values.iter().map(|(name, value)| (name.as_str(), *value)))
        .collect();
    keep.store.commit(&Manifest {
        format_version: FORMAT_VERSION,
        run_id: report.run.id.clone(),
        attempt,
        kept_at: keep.now,
        test: report.run.test.clone(),
        environment: report.run.environment.clone(),
        commit: report.run.commit.clone(),
        started_at: report.run.started_at,
        ended_at: report.run.ended_at,
        duration_seconds: report.run.duration_seconds,
        verdict: report.verdict.kind,
        partial: report.run.partial,
        totals: report.totals.clone(),
        latency_p95_ms: values.get("p95").copied(),
        tables,
    })?;
    Ok(())
}
