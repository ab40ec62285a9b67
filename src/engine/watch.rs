//! Watching: a run that is read while it goes on, by itself and beside the earlier runs of its test, and whoever is told.
//!
//! Latencies and failures beside the history are looked at by closed windows (`detect::looking`); what stands out within the
//! run by all that is known a second after it ended (`detect::within_run::so_far`), the open windows included, so that
//! nobody waits for samples that may still be late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::detect::looking::{LoadBy, Looking, Running};
use crate::detect::phases::{self, Started};
use crate::detect::tracker::{Change, Tracker};
use crate::detect::within_run;
use crate::model::early_finding::EarlyFinding;
use crate::model::finding::Finding;
use crate::model::report::{AnalysisReport, EndpointReport, RunReport};
use crate::model::series::SeriesKey;
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};
use crate::store::Store;
use crate::tables::aggregate::{self, Aggregate, Load, Window};
use crate::tables::figures::Figures;
use crate::tables::frames::{Frames, Step};

use super::past;

/// k6 writes some times a second: what comes later than this is looked at with the next second.
const LOOKED_AFTER_NS: i64 = NANOSECONDS_PER_SECOND;
/// Looks take at most this part of the time, and none comes sooner than this after the one before.
const LOOKING_SHARE: u32 = 10;
const LOOKED_EVERY: Duration = Duration::from_millis(500);

/// What is told, at once.
#[derive(Debug, Clone)]
pub enum News {
    /// Worse than the earlier runs, as far as the run has come.
    Early(EarlyFinding),
    /// What stands out within the run has changed. `at`: up to when it was looked.
    Change { change: Change, at: Timestamp },
}

/// Who is told.
pub struct Teller(pub Box<dyn Fn(News) + Send + Sync>);

impl std::fmt::Debug for Teller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Teller")
    }
}

/// What looks at a run while it is read.
pub struct Watch<'a> {
    /// None where there are no earlier runs to look by.
    store: Option<&'a Store>,
    /// What is known of it before it begins.
    run: RunReport,
    since: Option<Timestamp>,
    teller: &'a Teller,
    state: State,
    tracker: Tracker,
    looked_second: i64,
    next_look: Instant,
}

enum State {
    /// No window was closed: when the run began is not known.
    Waits,
    Looks(Box<Looking>, Vec<EarlyFinding>),
    /// There are too few earlier runs to look by.
    Sleeps,
}

impl<'a> Watch<'a> {
    /// `store`: none where the run is judged by itself only.
    pub fn new(store: Option<&'a Store>, run: RunReport, since: Option<Timestamp>, teller: &'a Teller) -> Watch<'a> {
        Watch {
            store,
            run,
            since,
            teller,
            state: State::Waits,
            tracker: Tracker::default(),
            looked_second: i64::MIN,
            next_look: Instant::now(),
        }
    }

    /// Takes windows as they are closed, and tells what is known since.
    pub fn closed(&mut self, windows: &[Window], aggregate: &Aggregate) {
        if matches!(self.state, State::Waits)
            && let Some(first) = windows.first()
        {
            self.state = match self.looking(first.start_ns, aggregate) {
                Some(looking) => State::Looks(Box::new(looking), Vec::new()),
                None => State::Sleeps,
            };
        }
        if let State::Looks(looking, told) = &mut self.state {
            for early in looking.take(windows, &aggregate.series) {
                (self.teller.0)(News::Early(early.clone()));
                told.push(early);
            }
        }
    }

    /// Looks at all that is known, when there is a second more of it and time for it. `frames`: of the closed windows.
    pub fn look(&mut self, aggregate: &Aggregate, frames: &mut Frames, watermark_ns: i64) {
        let until_ns = watermark_ns.saturating_sub(LOOKED_AFTER_NS);
        let second = until_ns.div_euclid(NANOSECONDS_PER_SECOND);
        let began = Instant::now();
        if second <= self.looked_second || began < self.next_look {
            return;
        }
        self.looked_second = second;
        let mut load = aggregate.load.clone();
        let open = aggregate.open_until(until_ns).into_iter().map(|window| {
            let key = &aggregate.series[window.series as usize];
            aggregate::note_load(&mut load, &key.metric, window.start_ns, window.last, window.sum);
            (window, key)
        });
        let open: Vec<_> = open.collect();
        let look = |frames: &Frames| within_run::so_far(&self.so_far(aggregate, frames, &load), frames);
        let found = frames.with_open(&open, look);
        let at = Timestamp(second.saturating_mul(NANOSECONDS_PER_SECOND));
        for change in self.tracker.take(found, at) {
            (self.teller.0)(News::Change { change, at });
        }
        self.next_look = began + LOOKED_EVERY.max(began.elapsed() * LOOKING_SHARE);
    }

    /// What the judgement needs to know of the run, by what is known so far.
    fn so_far(&self, aggregate: &Aggregate, frames: &Frames, load: &BTreeMap<i64, Load>) -> AnalysisReport {
        let (started_at, ended_at) = (aggregate.first_ns.map(Timestamp), aggregate.last_ns.map(Timestamp));
        let duration_seconds = ended_at.zip(started_at).map(|(end, start)| end.seconds_since(start));
        let run = RunReport { started_at, ended_at, duration_seconds, ..self.run.clone() };
        let mut figures = Figures { endpoints: endpoints(frames), ..Figures::default() };
        figures.totals.arrivals_per_second = phases::arrivals_per_second(load, started(frames), duration_seconds);
        super::report(run, figures, Vec::new(), phases::phases(load), Vec::new())
    }

    /// Returns what was told of the history, none where nothing could be looked at; and what was told of the run itself.
    pub fn told(self) -> (Option<Vec<EarlyFinding>>, Tracker) {
        let early = match self.state {
            State::Looks(_, told) => Some(told),
            State::Waits | State::Sleeps => None,
        };
        (early, self.tracker)
    }

    fn looking(&mut self, start_ns: i64, aggregate: &Aggregate) -> Option<Looking> {
        self.run.started_at = Some(aggregate.first_ns.map_or(Timestamp(start_ns), Timestamp));
        // A store that cannot be read is said at the end, when the run is judged; until then it is a store without runs.
        let (past, is_by_arrivals) = past::to_look_by(self.store?, &self.run, self.since).ok()?;
        let expected = "http_req_duration{expected_response:true}";
        let mut submetrics = aggregate.metrics.iter().flat_map(|metric| &metric.submetrics);
        let running = Running {
            test: &self.run.test,
            load_by: if is_by_arrivals { LoadBy::Iterations } else { LoadBy::Vus },
            is_expected_apart: submetrics.any(|submetric| submetric.name == expected),
        };
        Looking::of(&past, &running)
    }
}

/// Tells what the judgement of the whole run takes back.
pub fn take_back(tracker: Tracker, findings: &[Finding], ended_at: Option<Timestamp>, teller: &Teller) {
    for change in tracker.end(findings) {
        (teller.0)(News::Change { change, at: ended_at.unwrap_or(Timestamp(0)) });
    }
}

/// Returns the endpoints that have requests, as the report orders them.
fn endpoints(frames: &Frames) -> Vec<EndpointReport> {
    let mut endpoints: Vec<EndpointReport> = Vec::new();
    let requests = frames.series().iter().filter(|series| series.key.metric == "http_reqs");
    for series in requests {
        let SeriesKey { endpoint: Some(name), method, scenario, group, .. } = &series.key else { continue };
        endpoints.push(EndpointReport {
            name: name.clone(),
            is_template: false,
            method: method.clone(),
            scenario: scenario.clone(),
            group: group.clone(),
            requests_count: series.samples_count(),
            failed_requests_rate: None,
            requests_per_second: None,
            latency_ms: None,
            failed_latency_ms: None,
            statuses: Default::default(),
        });
    }
    endpoints
        .sort_by(|left, right| right.requests_count.cmp(&left.requests_count).then_with(|| left.name.cmp(&right.name)));
    endpoints
}

fn started(frames: &Frames) -> Started {
    let steps = |name: &'static str, figure: fn(&Step) -> f64| {
        frames.steps_together(1, move |series| series.key.metric == name, figure).into_iter().flatten()
    };
    let sum = |name| steps(name, |step| step.sum).reduce(|sum, step| sum + step);
    Started {
        allocated_vus: steps("vus_max", |step| step.last).reduce(f64::max),
        iterations_count: sum("iterations"),
        dropped_count: sum("dropped_iterations"),
    }
}
