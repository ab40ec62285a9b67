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
use super::progress::Progress;
use super::run::{Run, State};
use super::{Door, Settings, StreamError, Told};

const LOOKED_EVERY: Duration = Duration::from_millis(25);
/// How often the store is asked what other instances have kept.
const LISTED_EVERY: Duration = Duration::from_secs(1);
/// What is noted of a report, in case that its run is sent once more, is kept so long, and looked at so often.
const NOTED_KEPT_SECONDS: f64 = 90.0 * 24.0 * 3600.0;
const NOTED_LOOKED_EVERY: Duration = Duration::from_secs(3600);

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
    progress: Progress,
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
        progress: Progress::new(),
        ended: Ended::default(),
    };
    std::thread::scope(|scope| {
        let mut works: Vec<Work> = Vec::new();
        let mut looked = || -> Result<(), StreamError> {
            let (mut listed, mut forgot) = (None, None);
            while !is_over.load(Ordering::Relaxed) {
                // Asked first: what was kept of these is among the segments then.
                let reach = door.counters.reach();
                match segments.recv_timeout(LOOKED_EVERY) {
                    Ok((name, index)) => runs.take(name, &index)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOKED_EVERY),
                }
                while let Ok((name, index)) = segments.try_recv() {
                    runs.take(name, &index)?;
                }
                runs.progress.note_reach(reach);
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
        self.progress.note_segment(&name, index.next_offset);
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
        let mut waiting: Vec<&String> =
            self.runs.iter().filter(|(_, run)| self.is_due(run)).map(|(key, _)| key).collect();
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
    fn is_due(&self, run: &Run) -> bool {
        let has_more = !matches!(run.state, State::Read) && !run.is_reported();
        let is_numbered = run.pods.values().any(|pod| pod.is_numbered());
        let is_known = match run.pods_count() {
            Some(_) => run.has_all_pods(),
            None => !is_numbered || run.pods.values().any(|pod| pod.about().is_some()),
        };
        self.is_ours(run) && has_more && (is_known || self.is_quiet(run))
    }

    /// Of all instances that have parts of a run, the one that owns the lowest partition of it judges it.
    fn is_ours(&self, run: &Run) -> bool {
        run.partitions.first().is_some_and(|lowest| self.progress.owns(*lowest))
    }

    fn is_quiet(&self, run: &Run) -> bool {
        // While there is more to read, a part of the run may lie in it; also where the partitions have just changed hands.
        let since = run.latest.max(self.progress.owned_since);
        self.progress.is_read_until(since + self.settings.quiet, &self.door.counters)
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
        if !self.is_ours(run) || run.pods.len() > work.pods.len() {
            work.is_dropped.store(true, Ordering::Relaxed);
            return;
        }
        work.pods.iter().for_each(|(_, pod)| pod.note_reach(&self.progress.reach));
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
        // What came while it was judged is not in it.
        let lines_count = work.pods.iter().map(|(_, pod)| pod.read_lines_count.load(Ordering::Relaxed)).sum();
        let run_id = report.as_ref().map(|report| report.run.id.clone());
        let has_all_pods = run.pods_count().is_some_and(|count| work.pods.len() >= count as usize);
        let is_whole = has_all_pods && work.pods.iter().all(|(_, pod)| pod.is_whole());
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
        let now = Timestamp::from(SystemTime::now());
        let is_done = |key: &String| self.runs.get(key).is_none_or(|run| run.is_done(now));
        let mut gone = Vec::new();
        let mut names = self.by_segment.iter().peekable();
        while let Some((name, runs)) = names.next() {
            let is_last = names.peek().is_none_or(|(next, _)| next.partition != name.partition);
            if !is_last && self.progress.owns(name.partition) && runs.iter().all(is_done) {
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
        let since = self.progress.latest.max(self.progress.owned_since);
        self.runs.values().all(Run::is_reported) && self.progress.is_read_until(since, &self.door.counters)
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::stream::counters::{Counters, Reach};
    use crate::model::stream::{About, PodEnd};
    use crate::store::journal::{Appended, Marks, SegmentDraft};

    const WITHIN: Duration = Duration::from_secs(60);

    fn settings() -> Settings {
        Settings {
            topic: "k6".to_owned(),
            group: "group".to_owned(),
            instance: None,
            quiet: Duration::from_millis(300),
            commit_every: Duration::from_secs(1),
            commit_bytes: 1 << 20,
            runs_at_once: 2,
            labels: RunLabels::default(),
            is_until_idle: false,
        }
    }

    /// Keeps a pod of two, whole, as the only segment of a partition.
    fn kept_pod(store: &Store, place: u32) -> (SegmentName, SegmentIndex) {
        let line = |second: u32| {
            let time = format!("2026-01-01T00:00:{second:02}Z");
            format!(r#"{{"metric":"m","type":"Point","data":{{"time":"{time}","value":1,"tags":{{}}}}}}"#) + "\n"
        };
        let text: String = (0..10).map(line).collect();
        let about = About { pods_count: Some(2), place, ..About::default() };
        let end = PodEnd { lines_count: 10, is_cut: false, k6_exit_code: None };
        let mut draft = SegmentDraft::default();
        let marks = Marks { about: Some(about), end: Some(end) };
        draft.append("run", &format!("pod {place}"), Some(0), text.as_bytes(), marks);
        let name = SegmentName { topic: "k6".to_owned(), partition: place as i32, epoch: 0, first_offset: 0 };
        let encoded = store.encoded_segment(&name, draft, 1).unwrap();
        let Appended::Kept(index) = store.append_segment(&name, &encoded).unwrap() else { panic!("it is free") };
        (name, index)
    }

    #[test]
    fn a_pod_that_comes_after_a_silence_is_in_the_report_that_replaces_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(folder.path().to_str().unwrap()).unwrap());
        let counters = Arc::<Counters>::default();
        // Both partitions are ours, and rest at their end.
        let always = Some(Instant::now() + WITHIN);
        *counters.reach.lock().unwrap() = Reach::from([(0, always), (1, always)]);
        let (reported, reports) = channel();
        let reported = Mutex::new(reported);
        let tell = |told: Told| {
            if let Told::Reported { report, .. } = told {
                reported.lock().unwrap().send(report.unwrap().run.sources.len()).unwrap();
            }
        };
        let request = |labels| Request { labels, ..Request::default() };
        let door = Door { request: &request, tell: &tell, counters, stop: Arc::default() };
        let (kept, segments) = channel();
        let (settings, is_over) = (settings(), AtomicBool::new(false));
        let noted = || store.reported("k6", "run").unwrap().map(|reported| (reported.is_whole, reported.lines_count));
        // Compared when nobody looks any more: what fails has to end.
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| look_after(&store, &settings, &door, segments, &is_over));
            for place in 0..2 {
                // Who looks, and has failed, hears nothing.
                let _ = kept.send(kept_pod(&store, place));
                let pods_count = reports.recv_timeout(WITHIN);
                let until = Instant::now() + WITHIN;
                while noted().is_none_or(|(_, lines)| lines < 10 * u64::from(place + 1)) && Instant::now() < until {
                    std::thread::sleep(LOOKED_EVERY);
                }
                seen.push((pods_count, noted()));
            }
            is_over.store(true, Ordering::Relaxed);
            looking.join().unwrap().unwrap();
        });
        assert_eq!(seen, [(Ok(1), Some((false, 10))), (Ok(2), Some((true, 20)))]);
        assert_eq!(store.manifests().unwrap().0.len(), 1, "the report of one pod is gone");
    }
}
