//! Why: what the servers said of a run, joined with what was found in it.

use crate::diagnose::{Diagnosed, Window, diagnose, drawn, parts, times};
use crate::ingest::telemetry::packed::PackError;
use crate::model::diagnosis::Clue;
use crate::model::exhibit::Exhibits;
use crate::model::finding::{Direction, Finding};
use crate::model::report::{AnalysisReport, Grafana, Skipped, TracedRequest};
use crate::model::telemetry::Telemetry;
use crate::model::time::Timestamp;
use crate::store::manifest::{Manifest, TableFile};
use crate::store::{CAPTURE, Store, StoreError, telemetry_tables};
use crate::tables::aggregate::Aggregate;
use crate::tables::traced::Traced;

use super::EngineError;
use super::evidence::{Evidence, Source};

const KEPT_ANSWERS: &str = "the servers' answers beside the run";

/// Looks for the causes of the findings in the servers' answers, and puts them into the report, in the place of earlier ones.
///
/// `store`: where an earlier run's answers are looked up, for what is slower through the whole run. Returns what the servers said;
/// none when it is not known when the run took place.
pub fn explain(
    report: &mut AnalysisReport,
    source: &Source,
    store: Option<&Store>,
) -> Result<Option<Explained>, EngineError> {
    let is_ours = |what: &str| what == CAUSES || what.starts_with(CAUSE_OF) || what.starts_with(CLOCK_OF);
    report.skipped.retain(|skipped| !is_ours(&skipped.what));
    let Some(Times { run, steady }) = times_of(report) else {
        let reason = "it is not known when the run took place: only a summary was given".to_owned();
        report.skipped.push(Skipped { what: CAUSES.to_owned(), reason });
        return Ok(None);
    };
    let evidence = Evidence::gather(source, &times(&report.findings, steady), run, &report.traced)?;
    let (telemetry, skews) = evidence.read()?;
    report.unavailable = telemetry.unavailable.clone();
    report.skipped.extend(skews.iter().filter(|skew| skew.seconds.abs() >= SKEW_TOLD_SECONDS).map(|skew| {
        let (seconds, calls) = (skew.seconds.abs(), skew.calls_count);
        let way = if skew.seconds > 0.0 { "ahead of" } else { "behind" };
        let reason = format!("it is {seconds:.1} s {way} that of its callers, by {calls} calls: its spans, profiles and log lines are moved");
        Skipped { what: format!("{CLOCK_OF}{}", skew.service), reason }
    }));
    let diagnosed = diagnose(&report.findings, steady, &telemetry);
    report.diagnoses = diagnosed.diagnoses;
    let mut exhibits = drawn::draw(&report.diagnoses, &report.findings, steady, &telemetry);
    let mut without_cause = diagnosed.without_cause;
    if let Some(store) = store
        && let Some(base) = earlier_run(report, store)?
    {
        let beside = beside_earlier(report, steady, &telemetry, base);
        let offset = report.diagnoses.len() as u32;
        exhibits.take_in(beside.exhibits, offset);
        report.diagnoses.extend(beside.diagnosed.diagnoses);
        without_cause.extend(beside.diagnosed.without_cause);
    }
    report.exhibits = Some(exhibits).filter(|exhibits| !exhibits.is_empty());
    let nothing = without_cause.into_iter().map(|(finding, looked_at)| Skipped {
        what: format!("{CAUSE_OF}{finding}"),
        reason: format!("no cause found in what the servers hold: {looked_at}"),
    });
    report.skipped.extend(nothing);
    Ok(Some(Explained { evidence, telemetry }))
}

/// Requests of a part that are looked up: a server of traces may take 50 ms for each.
const TRACED_OF_PART_MAX: usize = 20;

/// Returns the requests whose traces k6 knows, of each part of the run that the servers are asked about.
pub fn traced(report: &AnalysisReport, traced: &Traced, aggregate: &Aggregate) -> Vec<TracedRequest> {
    let Some(Times { run, steady }) = times_of(report) else { return Vec::new() };
    let parts = parts(&times(&report.findings, steady), run);
    let parts: Vec<(Timestamp, Timestamp)> = parts.iter().map(|part| (part.from, part.until)).collect();
    traced.of_parts(&parts, TRACED_OF_PART_MAX, &aggregate.series)
}

/// What the servers said of an earlier run, and when its load was steady.
struct Base {
    run_id: String,
    telemetry: Telemetry,
    steady: Window,
}

/// Says whether a finding is of the whole run: only an earlier one is healthy beside it.
fn is_of_whole_run(finding: &Finding) -> bool {
    finding.from.is_none() && finding.direction == Direction::Worse && finding.kind.is_change_of_system()
}

/// Returns the last earlier run that the run was judged by, that came before the change, and beside which the servers' answers are
/// kept; none where nothing needs it.
fn earlier_run(report: &AnalysisReport, store: &Store) -> Result<Option<Base>, EngineError> {
    let whole: Vec<&Finding> = report.findings.iter().filter(|finding| is_of_whole_run(finding)).collect();
    if whole.is_empty() {
        return Ok(None);
    }
    let changed = whole.iter().filter_map(|finding| finding.since_run.as_deref());
    let changed: Vec<&str> = changed.collect();
    let mut candidates = Vec::new();
    for id in &report.baseline.runs {
        if let Some(manifest) = store.manifest_of(id).ok().flatten() {
            candidates.push(manifest);
        }
    }
    candidates.sort_by_cached_key(Manifest::order_key);
    let first_bad = candidates.iter().position(|manifest| changed.contains(&manifest.run_id.as_str()));
    candidates.truncate(first_bad.unwrap_or(candidates.len()));
    for manifest in candidates.iter().rev() {
        let Some(source) = kept_beside(store, manifest)? else { continue };
        let Some(times) = times_of(&store.report(manifest)?) else { continue };
        let (telemetry, _) = Evidence::gather(&source, &[], times.run, &[])?.read()?;
        return Ok(Some(Base { run_id: manifest.run_id.clone(), telemetry, steady: times.steady }));
    }
    Ok(None)
}

struct Beside {
    diagnosed: Diagnosed,
    exhibits: Exhibits,
}

/// Looks for the causes of what is worse through the whole run, with the earlier run moved right before it as its healthy part.
fn beside_earlier(report: &AnalysisReport, steady: Window, telemetry: &Telemetry, base: Base) -> Beside {
    let Base { run_id, telemetry: mut together, steady: base_steady } = base;
    let shift = steady.from.seconds_since(base_steady.until);
    together.shift(shift);
    together.take_in(telemetry.clone());
    together.metric_queries = telemetry.metric_queries.clone();
    together.log_query = telemetry.log_query.clone();
    let whole = report.findings.iter().filter(|finding| is_of_whole_run(finding)).cloned();
    let findings: Vec<Finding> =
        whole.map(|finding| Finding { from: Some(steady.from), until: Some(steady.until), ..finding }).collect();
    let window = Window { from: base_steady.from.after_seconds(shift), until: steady.until };
    let mut diagnosed = diagnose(&findings, window, &together);
    // What no finding tells was told of this run already.
    diagnosed.diagnoses.retain(|cause| cause.finding.is_some());
    let mut exhibits = drawn::draw(&diagnosed.diagnoses, &findings, window, &together);
    // Two runs have no axis of time in common.
    exhibits.signals.clear();
    exhibits.healthy_is_earlier(shift);
    for cause in &mut diagnosed.diagnoses {
        cause.beside_run = Some(run_id.clone());
        for clue in &mut cause.evidence {
            match clue {
                Clue::Metric { moved_at, .. } => *moved_at = None,
                Clue::Profile { healthy_from, healthy_until, .. } => {
                    (*healthy_from, *healthy_until) =
                        (healthy_from.after_seconds(-shift), healthy_until.after_seconds(-shift));
                }
                _ => {}
            }
        }
    }
    Beside { diagnosed, exhibits }
}

/// What the servers said, as they said it and as values.
#[derive(Debug)]
pub struct Explained {
    pub evidence: Evidence,
    pub telemetry: Telemetry,
}

/// When a run took place.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub run: Window,
    /// Without its beginning and end, where the load was another.
    pub steady: Window,
}

/// None of a run of which only a summary is known.
pub fn times_of(report: &AnalysisReport) -> Option<Times> {
    let run = Window { from: report.run.started_at?, until: report.run.ended_at? };
    let phases = &report.phases;
    let steady =
        Window { from: phases.steady_from.unwrap_or(run.from), until: phases.steady_until.unwrap_or(run.until) };
    Some(Times { run, steady })
}

const CAUSES: &str = "causes";
const CAUSE_OF: &str = "the cause of finding ";
const CLOCK_OF: &str = "the clock of ";
/// A smaller difference is corrected, and nobody needs to know.
const SKEW_TOLD_SECONDS: f64 = 1.0;

/// Writes what the servers said into the data of an attempt, as they said it and as tables; returns the files for the manifest.
///
/// Where there is too much to keep it as it was said, says so in the report.
pub fn keep(
    store: &Store,
    attempt: &str,
    explained: &Explained,
    report: &mut AnalysisReport,
) -> Result<Vec<TableFile>, EngineError> {
    let mut tables = telemetry_tables::write(store, attempt, &explained.telemetry)?;
    match explained.evidence.pack() {
        Ok(packed) => {
            let (file, bytes) = (format!("{CAPTURE}.tar"), packed.len() as u64);
            store.put(attempt, &file, packed)?;
            tables.push(TableFile { table: CAPTURE.to_owned(), file, rows: 0, bytes });
        }
        Err(error @ PackError::TooLarge) => {
            report.skipped.push(Skipped { what: KEPT_ANSWERS.to_owned(), reason: error.to_string() });
        }
        Err(error) => return Err(error.into()),
    }
    Ok(tables)
}

/// Returns what was kept beside an earlier analysis of the same run.
pub fn kept(store: &Store, run_id: &str) -> Result<Option<Source>, StoreError> {
    // A manifest that cannot be read is replaced by this analysis.
    match store.manifest_of(run_id).ok().flatten() {
        Some(manifest) => kept_beside(store, &manifest),
        None => Ok(None),
    }
}

pub fn kept_beside(store: &Store, manifest: &Manifest) -> Result<Option<Source>, StoreError> {
    match manifest.tables.iter().find(|table| table.table == CAPTURE) {
        Some(table) => store.read(&manifest.attempt, &table.file).map(|packed| Some(Source::Packed(packed))),
        None => Ok(None),
    }
}

/// Asks about a kept run, keeps what the servers say beside it, and puts the causes into its report.
pub fn explain_kept(
    store: &Store,
    mut manifest: Manifest,
    source: &Source,
    grafana: Option<Grafana>,
) -> Result<(AnalysisReport, Option<Explained>), EngineError> {
    let mut report = store.report(&manifest)?;
    report.grafana = grafana;
    let explained = explain(&mut report, source, Some(store))?;
    let _claim = store.claim(&manifest.attempt)?;
    if let Some(explained) = &explained {
        let kept = keep(store, &manifest.attempt, explained, &mut report)?;
        let is_of_servers =
            |table: &TableFile| table.table == CAPTURE || telemetry_tables::NAMES.contains(&&*table.table);
        manifest.tables.retain(|table| !is_of_servers(table));
        manifest.tables.extend(kept);
        store.put_report(&manifest.attempt, &report)?;
        store.amend(&manifest)?;
    }
    Ok((report, explained))
}
