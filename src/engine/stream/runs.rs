//! The runs of a stream: which there are, whose they are, when they end, and what is done then.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::detect::tracker::Change;
use crate::engine::live::Live;
use crate::engine::watch::{News, Teller};
use crate::engine::{self, EngineError, Keep, Request};
use crate::ingest::input::{self, Input};
use crate::model::finding::Severity;
use crate::model::report::{AnalysisReport, Skipped};
use crate::model::run::{RunLabels, SourceKind};
use crate::model::time::Timestamp;
use crate::store::journal::{Reported, SegmentIndex, SegmentName};
use crate::store::retention::{Deletion, Part};
use crate::store::{Store, StoreError};

use super::lines::{Ending, Failure, Pod, PodLines};
use super::{Door, Settings, StreamError, Told};

const LOOKED_EVERY: Duration = Duration::from_millis(100);
/// How often the store is asked what other instances have kept.
const LISTED_EVERY: Duration = Duration::from_secs(1);
/// What is noted of a report, in case that its run is sent once more, is kept so long, and looked at so often.
const NOTED_KEPT_SECONDS: f64 = 90.0 * 24.0 * 3600.0;
const NOTED_LOOKED_EVERY: Duration = Duration::from_secs(3600);
/// Lines of a run that ended in silence are kept so long, in case that the rest comes.
const SILENT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A run of which the journal has something.
#[derive(Debug)]
struct Run {
    pods: BTreeMap<String, Arc<Pod>>,
    partitions: BTreeSet<i32>,
    /// When something of it came last.
    latest: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is not ours, or waits for its turn.
    Waits,
    /// A thread of `Work` reads it.
    Read,
    Reported(Reported),
}

/// A run that is read and judged.
struct Work<'scope> {
    run: String,
    pods: Vec<(String, Arc<Pod>)>,
    is_dropped: Arc<AtomicBool>,
    exit_code: Arc<OnceLock<i32>>,
    labels: RunLabels,
    news: Receiver<News>,
    live: Arc<Live>,
    /// Findings that are told and not over.
    open: HashMap<String, Severity>,
    thread: ScopedJoinHandle<'scope, Result<AnalysisReport, EngineError>>,
}

/// What the runs that have ended had.
#[derive(Debug, Default)]
struct Ended {
    samples: u64,
    rejected_lines: u64,
    late_windows: u64,
}

struct Runs<'d> {
    store: &'d Arc<Store>,
    settings: &'d Settings,
    door: &'d Door<'d>,
    runs: HashMap<String, Run>,
    /// The segments that are known, each with its runs.
    by_segment: BTreeMap<SegmentName, Vec<String>>,
    /// Partitions of which all that the broker had is kept, and known here.
    settled: BTreeSet<i32>,
    ended: Ended,
}

/// Looks after the runs until `is_over` is set.
pub fn look_after(
    store: &Arc<Store>,
    settings: &Settings,
    door: &Door,
    segments: Receiver<(SegmentName, SegmentIndex)>,
    is_over: &AtomicBool,
) -> Result<(), StreamError> {
    let mut runs = Runs {
        store,
        settings,
        door,
        runs: HashMap::new(),
        by_segment: BTreeMap::new(),
        settled: BTreeSet::new(),
        ended: Ended::default(),
    };
    std::thread::scope(|scope| {
        let mut works: Vec<Work> = Vec::new();
        let mut looked = || -> Result<(), StreamError> {
            let (mut listed, mut forgot) = (None, None);
            while !is_over.load(Ordering::Relaxed) {
                // Asked first: what was kept of these is among the segments then.
                let at_end = door.counters.partitions_at_end();
                match segments.recv_timeout(LOOKED_EVERY) {
                    Ok((name, index)) => runs.take(name, &index)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOKED_EVERY),
                }
                while let Ok((name, index)) = segments.try_recv() {
                    runs.take(name, &index)?;
                }
                runs.settled = at_end;
                if listed.is_none_or(|listed: Instant| listed.elapsed() >= LISTED_EVERY) {
                    listed = Some(Instant::now());
                    runs.list()?;
                    runs.ask_for_reports()?;
                    runs.delete_segments()?;
                    if forgot.is_none_or(|forgot: Instant| forgot.elapsed() >= NOTED_LOOKED_EVERY) {
                        forgot = Some(Instant::now());
                        runs.forget_reported()?;
                    }
                }
                runs.look(scope, &mut works)?;
                if settings.is_until_idle && works.is_empty() && runs.is_idle() {
                    return Ok(());
                }
            }
            Ok(())
        };
        let result = looked();
        for work in works {
            work.is_dropped.store(true, Ordering::Relaxed);
        }
        result
    })
}

impl<'d> Runs<'d> {
    /// Takes the segments that other instances, or earlier lives of this one, have kept.
    fn list(&mut self) -> Result<(), StreamError> {
        for name in &self.store.segments(&self.settings.topic)? {
            if !self.by_segment.contains_key(name)
                && let Some(index) = self.store.segment_index(name)?
            {
                self.take(name.clone(), &index)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, name: SegmentName, index: &SegmentIndex) -> Result<(), StreamError> {
        if self.by_segment.contains_key(&name) {
            return Ok(());
        }
        let mut of_segment = Vec::new();
        for section in &index.sections {
            let run = match self.runs.get_mut(&section.run) {
                Some(run) => run,
                None => {
                    let reported = self.store.reported(&self.settings.topic, &section.run)?;
                    let state = reported.map_or(State::Waits, State::Reported);
                    self.runs.entry(section.run.clone()).or_insert(Run {
                        pods: BTreeMap::new(),
                        partitions: BTreeSet::new(),
                        latest: Instant::now(),
                        state,
                    })
                }
            };
            run.latest = Instant::now();
            run.partitions.insert(name.partition);
            if !run.is_whole() {
                run.pods.entry(section.pod.clone()).or_default().add(&name, section);
            }
            of_segment.push(section.run.clone());
        }
        self.by_segment.insert(name, of_segment);
        Ok(())
    }

    /// Ends what has ended, and starts what is ours.
    fn look<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        works: &mut Vec<Work<'scope>>,
    ) -> Result<(), StreamError>
    where
        'd: 'scope,
    {
        let mut index = 0;
        while index < works.len() {
            self.pass_on(&mut works[index]);
            if works[index].thread.is_finished() {
                let work = works.swap_remove(index);
                self.finish(work)?;
            } else {
                self.look_at(&works[index]);
                index += 1;
            }
        }
        let owned = self.door.counters.owned_partitions();
        let mut waiting: Vec<&String> =
            self.runs.iter().filter(|(_, run)| self.is_due(run, &owned)).map(|(key, _)| key).collect();
        waiting.sort_by_key(|key| self.runs[*key].latest);
        let waiting: Vec<String> = waiting.into_iter().cloned().collect();
        for key in waiting {
            if works.len() >= self.settings.runs_at_once {
                break;
            }
            // Another instance may have reported it since somebody asked.
            match self.store.reported(&self.settings.topic, &key)? {
                Some(reported) if reported.is_whole => {
                    if let Some(run) = self.runs.get_mut(&key) {
                        run.note(reported);
                    }
                }
                _ => works.push(self.start(scope, key)),
            }
        }
        let open = self.runs.values().filter(|run| !matches!(run.state, State::Reported(_))).count();
        self.door.counters.open_runs_count.store(open as u64, Ordering::Relaxed);
        self.count(works);
        Ok(())
    }

    /// Tells what a run's thread has found.
    fn pass_on(&self, work: &mut Work) {
        while let Ok(news) = work.news.try_recv() {
            let said = match &news {
                News::Early(_) => "early",
                News::Change { change: Change::Opened(finding), .. } => {
                    work.open.insert(finding.id.clone(), finding.severity);
                    "opened"
                }
                News::Change { change: Change::Grew(finding), .. } => {
                    work.open.insert(finding.id.clone(), finding.severity);
                    "grew"
                }
                News::Change { change: Change::Closed(finding), .. } => {
                    work.open.remove(&finding.id);
                    "closed"
                }
                News::Change { change: Change::Withdrawn { told, .. }, .. } => {
                    work.open.remove(&told.id);
                    "withdrawn"
                }
            };
            self.door.counters.count_finding(said);
            (self.door.tell)(Told::News { run: &work.run, labels: &work.labels, news: Box::new(news) });
        }
    }

    /// Adds up what the runs under way have read, to what those before have.
    fn count(&self, works: &[Work]) {
        let counters = &self.door.counters;
        let sum = |of: fn(&Live) -> &AtomicU64| -> u64 {
            works.iter().map(|work| of(&work.live).load(Ordering::Relaxed)).sum()
        };
        let ended = &self.ended;
        counters.samples_count.store(ended.samples + sum(|live| &live.samples_count), Ordering::Relaxed);
        let rejected = ended.rejected_lines + sum(|live| &live.rejected_lines_count);
        counters.rejected_lines_count.store(rejected, Ordering::Relaxed);
        let late = ended.late_windows + sum(|live| &live.late_windows_count);
        counters.late_windows_count.store(late, Ordering::Relaxed);
        counters.open_windows_count.store(sum(|live| &live.open_windows_count), Ordering::Relaxed);
        let mut open =
            BTreeMap::from([Severity::Critical, Severity::Major, Severity::Minor].map(|severity| (severity, 0)));
        for severity in works.iter().flat_map(|work| work.open.values()) {
            *open.entry(*severity).or_default() += 1;
        }
        *counters.open_findings.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// Says whether a run is ours to read, and can be begun.
    fn is_due(&self, run: &Run, owned: &BTreeSet<i32>) -> bool {
        let has_more = !matches!(run.state, State::Read) && !run.is_reported();
        let is_numbered = run.pods.values().any(|pod| pod.is_numbered());
        let is_known = match run.pods_count() {
            Some(_) => run.has_all_pods(),
            None => !is_numbered || run.pods.values().any(|pod| pod.about().is_some()),
        };
        run.is_of(owned) && has_more && (is_known || self.is_quiet(run))
    }

    fn is_quiet(&self, run: &Run) -> bool {
        // While there is more to read, a part of the run may lie in it.
        self.door.counters.owned_partitions().is_subset(&self.settled) && run.latest.elapsed() >= self.settings.quiet
    }

    fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, key: String) -> Work<'scope>
    where
        'd: 'scope,
    {
        let run = self.runs.get_mut(&key).expect("the run was found by this key");
        run.state = State::Read;
        let mut pods: Vec<(String, Arc<Pod>)> =
            run.pods.iter().map(|(name, pod)| (name.clone(), pod.clone())).collect();
        pods.sort_by_key(|(name, pod)| (pod.about().map_or(u32::MAX, |about| about.place), name.clone()));
        pods.iter().for_each(|(_, pod)| pod.end_as(Ending::Open));
        let labels = pods.iter().find_map(|(_, pod)| pod.about()).map(|about| about.labels).unwrap_or_default();
        let labels = with_defaults(labels, &self.settings.labels);
        let (news, heard) = channel();
        let (is_dropped, exit_code) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let mut request = (self.door.request)(labels.clone());
        // Whoever hears of it may have gone: the report says it again.
        request.teller = Some(Teller(Box::new(move |told| drop(news.send(told)))));
        request.k6_exit_code = exit_code.clone();
        request.is_dropped = Some(is_dropped.clone());
        let live = Arc::new(Live::default());
        request.live = Some(live.clone());
        (self.door.tell)(Told::Began { run: &key, labels: &labels, live: &live });
        if pods.iter().any(|(_, pod)| !pod.is_numbered()) {
            let reason = "the records came without the headers of `tidemark forward`: they cannot tell";
            let what = "repeated samples, the run's end, and the kinds and thresholds of its metrics".to_owned();
            request.left_out.push(Skipped { what, reason: reason.to_owned() });
        }
        let (store, of_thread) = (self.store.clone(), pods.clone());
        let partitions_count = self.door.counters.partitions_count.load(Ordering::Relaxed);
        let named = Builder::new().name("run".to_owned());
        let thread = named
            .spawn_scoped(scope, move || judge(&store, &of_thread, partitions_count, request))
            .expect("the system starts a thread");
        Work { run: key, pods, is_dropped, exit_code, labels, news: heard, live, open: HashMap::new(), thread }
    }

    /// Tells a run under way what has become known: that all of its pods are there, that it ended, or that it is not ours.
    fn look_at(&self, work: &Work) {
        let Some(run) = self.runs.get(&work.run) else { return };
        // With a pod more, the run is read anew: its place among the others is known only now.
        if !run.is_of(&self.door.counters.owned_partitions()) || run.pods.len() > work.pods.len() {
            work.is_dropped.store(true, Ordering::Relaxed);
            return;
        }
        work.pods.iter().for_each(|(_, pod)| pod.settle(&self.settled));
        let ends: Option<Vec<_>> = work.pods.iter().map(|(_, pod)| pod.end()).collect();
        // Only when all have told: k6 ends each pod with a code of its own, and the gravest counts.
        if let Some(code) = ends.iter().flatten().filter_map(|end| end.k6_exit_code).max() {
            // The same each time.
            let _ = work.exit_code.set(code);
        }
        let ending = match ends {
            _ if self.is_quiet(run) => Ending::Quiet,
            Some(_) if run.has_all_pods() => Ending::AtEnd,
            _ => return,
        };
        work.pods.iter().for_each(|(_, pod)| pod.end_as(ending));
    }

    fn finish(&mut self, mut work: Work) -> Result<(), StreamError> {
        self.pass_on(&mut work);
        let result = work.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.ended.samples += work.live.samples_count.load(Ordering::Relaxed);
        self.ended.rejected_lines += work.live.rejected_lines_count.load(Ordering::Relaxed);
        self.ended.late_windows += work.live.late_windows_count.load(Ordering::Relaxed);
        let Some(run) = self.runs.get_mut(&work.run) else { return Ok(()) };
        let (report, reason) = match result {
            Ok(report) => (Some(report), None),
            Err(error @ EngineError::NothingRead { .. }) => (None, Some(error.to_string())),
            Err(EngineError::Dropped) => {
                run.state = State::Waits;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let lines_count = run.lines_count();
        let run_id = report.as_ref().map(|report| report.run.id.clone());
        let is_whole = work.pods.iter().all(|(_, pod)| pod.is_whole());
        let earlier = self.store.reported(&self.settings.topic, &work.run)?.and_then(|earlier| earlier.run_id);
        let repeated = work.pods.iter().map(|(_, pod)| pod.repeated_lines_count.swap(0, Ordering::Relaxed));
        let counters = &self.door.counters;
        counters.repeated_lines_count.fetch_add(repeated.sum(), Ordering::Relaxed);
        counters.reports_count.fetch_add(1, Ordering::Relaxed);
        (self.door.tell)(Told::Reported { run: &work.run, report: report.as_ref(), reason });
        let at = SystemTime::now().into();
        let reported = Reported { run: work.run, run_id, is_whole, lines_count, at };
        self.store.note_reported(&self.settings.topic, &reported)?;
        if let Some(earlier) = earlier.filter(|earlier| Some(earlier) != reported.run_id.as_ref()) {
            self.delete_run(&earlier)?;
        }
        if let Some(run) = self.runs.get_mut(&reported.run) {
            run.note(reported);
        }
        Ok(())
    }

    /// Deletes the report of less than what came until now.
    fn delete_run(&self, run_id: &str) -> Result<(), StoreError> {
        let Some(manifest) = self.store.manifest_of(run_id)? else { return Ok(()) };
        let deletion = Deletion { manifest, part: Part::Run, age_days: 0.0, bytes: 0 };
        self.store.delete(&deletion).map(drop)
    }

    /// Asks whether others have reported what waits here.
    fn ask_for_reports(&mut self) -> Result<(), StoreError> {
        for (key, run) in &mut self.runs {
            if matches!(run.state, State::Waits)
                && run.latest.elapsed() >= LISTED_EVERY
                && let Some(reported) = self.store.reported(&self.settings.topic, key)?
            {
                run.note(reported);
            }
        }
        Ok(())
    }

    /// Deletes the segments of our partitions that no run needs any more, but the last of each.
    fn delete_segments(&mut self) -> Result<(), StoreError> {
        let owned = self.door.counters.owned_partitions();
        let now = Timestamp::from(SystemTime::now());
        let is_done = |key: &String| self.runs.get(key).is_none_or(|run| run.is_done(now));
        let mut gone = Vec::new();
        let mut names = self.by_segment.iter().peekable();
        while let Some((name, runs)) = names.next() {
            let is_last = names.peek().is_none_or(|(next, _)| next.partition != name.partition);
            if !is_last && owned.contains(&name.partition) && runs.iter().all(is_done) {
                gone.push(name.clone());
            }
        }
        for name in gone {
            self.store.delete_segment(&name)?;
            self.by_segment.remove(&name);
        }
        // What is noted of their reports is in the store: a service that runs for months remembers no run for ever.
        let known: HashSet<&String> = self.by_segment.values().flatten().collect();
        self.runs.retain(|key, run| known.contains(key) || !run.is_done(now));
        Ok(())
    }

    /// Forgets reports of long ago.
    fn forget_reported(&self) -> Result<(), StoreError> {
        let before = Timestamp::from(SystemTime::now()).after_seconds(-NOTED_KEPT_SECONDS);
        let still_there = self.by_segment.values().flatten().map(String::as_str);
        let count = self.store.forget_reported(&self.settings.topic, still_there, before)?;
        if count > 0 {
            tracing::info!(count, "what was noted of old reports was deleted");
        }
        Ok(())
    }

    /// Says whether all that the topic holds for us was read, and every run of it is reported.
    fn is_idle(&self) -> bool {
        let owned = self.door.counters.owned_partitions();
        let all_read = !owned.is_empty() && owned.is_subset(&self.settled);
        all_read && self.runs.values().all(Run::is_reported)
    }
}

impl Run {
    fn note(&mut self, reported: Reported) {
        if reported.is_whole {
            // Whatever comes of it now has come before.
            self.pods.clear();
        }
        self.state = State::Reported(reported);
    }

    fn reported(&self) -> Option<&Reported> {
        match &self.state {
            State::Reported(reported) => Some(reported),
            State::Waits | State::Read => None,
        }
    }

    /// Says whether all that its pods sent is in its report.
    fn is_whole(&self) -> bool {
        self.reported().is_some_and(|reported| reported.is_whole)
    }

    /// Says whether all that came of it is in its report.
    fn is_reported(&self) -> bool {
        self.is_whole() || self.reported().is_some_and(|reported| self.lines_count() <= reported.lines_count)
    }

    /// Says whether nobody needs its lines any more.
    fn is_done(&self, now: Timestamp) -> bool {
        let is_old = |reported: &Reported| now.seconds_since(reported.at) > SILENT_KEPT.as_secs_f64();
        self.is_whole() || self.reported().is_some_and(is_old)
    }

    /// Says whether who owns these partitions judges it: of all instances that have parts of it, one.
    fn is_of(&self, owned: &BTreeSet<i32>) -> bool {
        self.partitions.first().is_some_and(|lowest| owned.contains(lowest))
    }

    /// Returns how many pods it has; none where no producer knows.
    fn pods_count(&self) -> Option<u32> {
        self.pods.values().filter_map(|pod| pod.about()?.pods_count).max()
    }

    fn has_all_pods(&self) -> bool {
        self.pods_count().is_some_and(|count| self.pods.len() >= count as usize)
    }

    fn lines_count(&self) -> u64 {
        self.pods.values().map(|pod| pod.lines_count()).sum()
    }
}

/// Reads a run's pods to their end, keeps and judges it.
fn judge(
    store: &Arc<Store>,
    pods: &[(String, Arc<Pod>)],
    partitions_count: usize,
    request: Request,
) -> Result<AnalysisReport, EngineError> {
    let stop = request.is_dropped.clone().unwrap_or_default();
    let failure = Arc::new(Failure::default());
    let decoders = (std::thread::available_parallelism().map_or(1, usize::from) / pods.len()).max(1);
    let input = |(name, pod): &(String, Arc<Pod>)| {
        let lines = PodLines::new(store.clone(), pod.clone(), partitions_count, failure.clone(), stop.clone());
        Input::Samples(input::of_lines(name.clone(), SourceKind::Kafka, Box::new(lines), decoders, stop.clone()))
    };
    let inputs = pods.iter().map(input).collect();
    let keep = Keep::begin(store, SystemTime::now().into());
    let _claim = store.claim(&keep.attempt)?;
    let result = engine::analyze(inputs, &request, Some(keep), &AtomicBool::new(false));
    match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure.into()),
        None => Ok(result?.report),
    }
}

/// Fills what the producer does not say.
fn with_defaults(labels: RunLabels, defaults: &RunLabels) -> RunLabels {
    let mut tags = defaults.tags.clone();
    tags.extend(labels.tags);
    RunLabels {
        test: labels.test.or_else(|| defaults.test.clone()),
        environment: labels.environment.or_else(|| defaults.environment.clone()),
        commit: labels.commit.or_else(|| defaults.commit.clone()),
        branch: labels.branch.or_else(|| defaults.branch.clone()),
        pull_request: labels.pull_request.or_else(|| defaults.pull_request.clone()),
        ci_url: labels.ci_url.or_else(|| defaults.ci_url.clone()),
        tags,
    }
}
