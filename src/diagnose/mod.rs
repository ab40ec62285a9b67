//! Why: the causes of what was found, from what the servers said meanwhile. Pure: values in, values out.
//!
//! Each finding with a time is a contrast between that time and the healthy rest of the run. What the servers show and k6 does not
//! notice, a leak, a wait or a storm of log lines, is told without a finding. Where nothing was added for sure there is no cause, and what was looked at is said.

mod account;
mod causes;
mod clues;
mod contrast;
pub mod drawn;
mod functions;
mod growth;
pub mod labelled;
mod logs;
pub mod look;
mod moved_most;
mod score;
pub mod skew;
mod storm;
mod strangers;
mod traces;
mod vitals;
mod waits;

use crate::model::diagnosis::{CauseKind, Clue, Diagnosis};
use crate::model::finding::{Direction, Finding, FindingKind};
use crate::model::telemetry::Telemetry;
use crate::model::time::Timestamp;

pub use contrast::Window;
pub use functions::FunctionChange;
pub use vitals::is_vital;

use causes::{Cause, Scene};
use contrast::Contrast;
use growth::Growth;
use storm::Storm;
use vitals::{Vital, Vitals};

/// Causes of one finding that are told.
const CAUSES_MAX: usize = 3;
/// Findings whose times overlap by so large a part of the shorter one have one cause.
const SAME_TIME: f64 = 0.5;
/// Lines of a request that is slow or fails.
const LINES_PER_REQUEST_MAX: f64 = 3.0;
/// Parts of a run in which nothing was found.
const EQUAL_PARTS: u32 = 4;
/// Profiles are sent every 10 or 15 s.
const PART_SECONDS_MIN: f64 = 5.0;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// What was found, and what was looked at where nothing was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnosed {
    pub diagnoses: Vec<Diagnosis>,
    /// Of findings without a cause: their ids, and what was looked at.
    pub without_cause: Vec<(String, String)>,
}

/// Looks for the causes of the findings of a run that got worse.
///
/// `run`: its steady part, or all of it. A finding without a time within the run is none to look at: the whole run is alike.
pub fn diagnose(findings: &[Finding], run: Window, telemetry: &Telemetry) -> Diagnosed {
    let vitals = Vitals::of(&telemetry.metrics, run);
    let mut diagnosed = Diagnosed::default();
    let timed: Vec<(&Finding, Window)> =
        findings.iter().filter_map(|finding| Some((finding, time_of(finding, run)?))).collect();
    let storms = storm::storms(telemetry, run);
    let (mut told, mut explained): (Vec<Window>, Vec<Window>) = (Vec::new(), Vec::new());
    for (finding, window) in &timed {
        if told.iter().any(|other| is_same_time(*other, *window)) {
            continue;
        }
        told.push(*window);
        let others: Vec<Window> =
            timed.iter().map(|(_, other)| *other).filter(|other| !is_same_time(*other, *window)).collect();
        let contrast = Contrast::of(*window, run, &others);
        let scene = Scene::of(telemetry, &vitals, &contrast);
        let is_of_failures = timed.iter().any(|(other, time)| is_same_time(*time, *window) && tells_failures(other));
        let mut causes = if is_of_failures { scene.of_failures() } else { Vec::new() };
        for cause in scene.of_time() {
            match causes.iter_mut().find(|known| known.service == cause.service) {
                Some(known) => known.take_in(cause),
                None => causes.push(cause),
            }
        }
        let is_unconventional =
            telemetry.spans.is_empty() && vitals.services().iter().all(|service| vitals.own(service).is_none());
        if causes.is_empty() && is_unconventional {
            causes.extend(strangers::far_ahead(&telemetry.metrics, &vitals, &contrast));
        }
        if causes.is_empty() {
            diagnosed.without_cause.push((finding.id.clone(), looked_at(telemetry, &scene)));
        }
        let of_this_time = storms.iter().filter(|storm| is_same_time(*window, storm.window));
        for storm in of_this_time.filter(|storm| is_beyond_requests(storm, &vitals)) {
            causes.insert(0, log_storm(telemetry, &vitals, run, storm));
        }
        if !causes.is_empty() {
            explained.push(*window);
        }
        let ranked = causes.into_iter().take(CAUSES_MAX).zip(1..);
        diagnosed.diagnoses.extend(ranked.map(|(cause, rank)| told_as(cause, Some(finding.id.clone()), rank)));
    }
    for grown in growth::growing(&vitals) {
        // Requests that wait hold memory.
        let is_known = diagnosed.diagnoses.iter().any(|known| known.service == grown[0].service);
        if !is_known {
            let cause = leak(telemetry, &vitals, run, &grown);
            diagnosed.diagnoses.push(told_as(cause, None, 1));
        }
    }
    for wait in waits::waiting(&vitals, run) {
        let is_known = diagnosed.diagnoses.iter().any(|known| known.service == wait.service);
        if !is_known {
            let contrast = Contrast::of(wait.window, run, &[]);
            let cause = Scene::of(telemetry, &vitals, &contrast).waits(&wait.service, wait.vital);
            explained.push(wait.window);
            diagnosed.diagnoses.push(told_as(cause, None, 1));
        }
    }
    for storm in &storms {
        // What is said while something else goes wrong is a part of that.
        let is_known = explained.iter().any(|window| is_same_time(*window, storm.window));
        if !is_known {
            let cause = log_storm(telemetry, &vitals, run, storm);
            diagnosed.diagnoses.push(told_as(cause, None, 1));
        }
    }
    for clue in diagnosed.diagnoses.iter_mut().flat_map(|cause| &mut cause.evidence) {
        if let Clue::Metric { metric, query, .. } = clue {
            *query = telemetry.metric_queries.get(metric).cloned();
        }
    }
    diagnosed
}

/// Returns the times of those findings that have a part of the run to themselves.
pub fn times(findings: &[Finding], run: Window) -> Vec<Window> {
    findings.iter().filter_map(|finding| time_of(finding, run)).collect()
}

/// Returns the parts of a run that are asked about, in order: the times that something was found at and what lies between them,
/// and equal parts where nothing was.
pub fn parts(times: &[Window], run: Window) -> Vec<Window> {
    let mut edges: Vec<Timestamp> = times.iter().flat_map(|time| [time.from, time.until]).collect();
    if edges.is_empty() {
        let part = run.seconds() / f64::from(EQUAL_PARTS);
        edges.extend((1..EQUAL_PARTS).map(|index| run.from.after_seconds(part * f64::from(index))));
    }
    edges.retain(|edge| *edge > run.from && *edge < run.until);
    edges.push(run.from);
    edges.sort_unstable();
    // Edges of findings that are told together lie close to each other.
    edges.dedup_by(|next, before| next.seconds_since(*before) < PART_SECONDS_MIN);
    if edges.len() > 1 && edges.last().is_some_and(|last| run.until.seconds_since(*last) < PART_SECONDS_MIN) {
        edges.pop();
    }
    edges.push(run.until);
    edges.windows(2).map(|edge| Window { from: edge[0], until: edge[1] }).collect()
}

fn time_of(finding: &Finding, run: Window) -> Option<Window> {
    let is_of_system = !matches!(finding.kind, FindingKind::Generator | FindingKind::CoordinatedOmission);
    let from = finding.from.filter(|_| finding.direction == Direction::Worse && is_of_system)?;
    let window = Window { from, until: finding.until.unwrap_or(run.until).min(run.until) };
    // What lasts for the whole run has no healthy part beside it.
    (window.seconds() > 0.0 && Contrast::of(window, run, &[]).healthy_seconds() > 0.0).then_some(window)
}

fn is_same_time(left: Window, right: Window) -> bool {
    left.shared_seconds(right) >= SAME_TIME * left.seconds().min(right.seconds())
}

fn tells_failures(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::ErrorRate | FindingKind::Checks)
        || std::iter::once(&finding.series).chain(&finding.also).any(|series| series.metric == "http_req_failed")
}

fn told_as(cause: Cause, finding: Option<String>, rank: u32) -> Diagnosis {
    Diagnosis {
        finding,
        beside_run: None,
        rank,
        service: cause.service,
        kind: cause.kind,
        what: cause.what,
        endpoint: cause.endpoint,
        function: cause.function,
        span: cause.span,
        score: score::score(cause.share, cause.explained),
        evidence: cause.clues,
        refuted_by: cause.refuted_by,
    }
}

/// `grown`: of one service, what holds the rest first.
fn leak(telemetry: &Telemetry, vitals: &Vitals, run: Window, grown: &[Growth]) -> Cause {
    let growth = &grown[0];
    let contrast = Contrast::of(growth.window, run, &[]);
    let kind = if growth.vital == Vital::Goroutines { "goroutine" } else { "inuse_space" };
    let profile = functions::difference(&telemetry.profiles, &growth.service, kind, &contrast);
    let function = profile.as_ref().and_then(|profile| profile.function());
    let by = function.map_or(String::new(), |function| format!(", kept by {}", function.name));
    // Megabytes are read, bytes are not.
    let (scale, unit) = if growth.vital == Vital::Memory { (MEBIBYTE, " MiB") } else { (1.0, "") };
    let figure = |value: f64| format!("{:.1}", value / scale);
    let interval =
        growth.interval.map_or(String::new(), |(low, high)| format!(" ({} to {})", figure(low), figure(high)));
    let what = format!(
        "{} of {} grows by {}{interval}{unit} a second, from {:.0} to {:.0}{unit}, and stays{by}",
        growth.vital.name(),
        growth.service,
        figure(growth.per_second),
        growth.before / scale,
        growth.after / scale
    );
    let clue = |growth: &Growth| Clue::Metric {
        service: growth.service.clone(),
        metric: vitals.sources.get(&(growth.service.clone(), growth.vital)).cloned().unwrap_or_default(),
        what: growth.vital.name().to_owned(),
        unit: growth.vital.unit().to_owned(),
        healthy: growth.before,
        faulty: growth.after,
        moved_at: Some(growth.window.from),
        query: None,
    };
    let mut clues: Vec<Clue> = grown.iter().map(clue).collect();
    clues.extend(profile.as_ref().and_then(|profile| clues::profile_clue(&growth.service, profile)));
    Cause {
        service: growth.service.clone(),
        kind: CauseKind::Memory,
        share: 1.0,
        explained: 1.0,
        what,
        endpoint: None,
        function: function.map(|function| function.name.clone()),
        span: None,
        clues,
        refuted_by: clues::refutation(CauseKind::Memory).to_owned(),
    }
}

/// Says whether a service writes more lines than one or two for each of its requests, which slow or failing ones may have.
fn is_beyond_requests(storm: &Storm, vitals: &Vitals) -> bool {
    let requests = vitals.get(&storm.service, Vital::Requests);
    let requests =
        requests.map_or(0.0, |requests| traces::mean(&vitals.within(requests, storm.window).collect::<Vec<f64>>()));
    storm.lines_per_second > LINES_PER_REQUEST_MAX * requests
}

fn log_storm(telemetry: &Telemetry, vitals: &Vitals, run: Window, storm: &Storm) -> Cause {
    let contrast = Contrast::of(storm.window, run, &[]);
    let scene = Scene::of(telemetry, vitals, &contrast);
    let clues = scene.log_clues(&storm.service);
    let most = clues.iter().find_map(|clue| match clue {
        Clue::Log { template, .. } => Some(format!(": {template}")),
        _ => None,
    });
    Cause {
        service: storm.service.clone(),
        kind: CauseKind::LogStorm,
        share: 1.0,
        explained: 1.0,
        what: format!(
            "{} writes {:.0} log lines a second from {} to {}, {:.1} otherwise{}",
            storm.service,
            storm.lines_per_second,
            storm.window.from.clock(),
            storm.window.until.clock(),
            storm.usual_per_second,
            most.unwrap_or_default()
        ),
        endpoint: None,
        function: None,
        span: None,
        clues,
        refuted_by: clues::refutation(CauseKind::LogStorm).to_owned(),
    }
}

fn looked_at(telemetry: &Telemetry, scene: &Scene) -> String {
    format!(
        "looked at the time, processor, locks, pools, database and errors of {} services, {} healthy and {} other traces, {} profiles and {} log lines",
        scene.vitals.services().len(),
        scene.traces.healthy_count,
        scene.traces.faulty_count,
        telemetry.profiles.len(),
        telemetry.logs.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{SeriesReference, Severity};
    use crate::model::metric::Unit;
    use crate::model::telemetry::{MetricSeries, Span, SpanKind};
    use crate::model::time::NANOSECONDS_PER_SECOND;
    use crate::stats::draws::Draws;

    const RUN_SECONDS: i64 = 120;
    const FAULT: std::ops::Range<i64> = 60..85;

    fn time(second: i64) -> Timestamp {
        Timestamp(1_700_000_000 * NANOSECONDS_PER_SECOND + second * NANOSECONDS_PER_SECOND)
    }

    fn run() -> Window {
        Window { from: time(0), until: time(RUN_SECONDS) }
    }

    fn finding(metric: &str) -> Finding {
        Finding {
            id: "f".to_owned(),
            kind: FindingKind::Anomaly,
            title: String::new(),
            severity: Severity::Major,
            direction: Direction::Worse,
            series: SeriesReference { metric: metric.to_owned(), tags: Default::default(), statistic: None },
            also: Vec::new(),
            from: Some(time(FAULT.start)),
            until: Some(time(FAULT.end)),
            since_run: None,
            suspect: false,
            observed: 1.0,
            expected: None,
            unit: Unit::Milliseconds,
            change: None,
            evidence: Vec::new(),
        }
    }

    /// A counter that rises by so much a second, and differently in the time of the fault.
    fn counter(draws: &mut Draws, name: &str, labels: &[(&str, &str)], usual: f64, then: f64) -> MetricSeries {
        let mut sum = 0.0;
        let points = (0..=RUN_SECONDS).map(|second| {
            let rate = if FAULT.contains(&second) { then } else { usual };
            sum += rate * (0.1 * draws.normal()).exp();
            (time(second), sum)
        });
        MetricSeries {
            name: name.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            points: points.collect(),
            is_counter: None,
        }
    }

    const ANSWERING: &str = "http_server_request_duration_seconds_sum";
    const CALLING: &str = "http_client_request_duration_seconds_sum";
    const REQUESTS: &str = "http_server_request_duration_seconds_count";

    /// A gate that calls a cart; `slow`: seconds a second that are added in the cart, `sign`: the metric that grows with it.
    fn system(seed: u64, slow: f64, sign: &str) -> Telemetry {
        let draws = &mut Draws::seeded(seed);
        let (gate, cart) = (&[("service", "gate")][..], &[("service", "cart")][..]);
        let metrics = vec![
            counter(draws, REQUESTS, gate, 50.0, 50.0),
            counter(draws, REQUESTS, cart, 20.0, 20.0),
            counter(draws, ANSWERING, gate, 0.5, 0.5 + slow),
            counter(draws, ANSWERING, cart, 0.2, 0.2 + slow),
            counter(draws, CALLING, &[("service", "gate"), ("service_peer_name", "cart")], 0.22, 0.22 + slow),
            counter(draws, "process_cpu_seconds_total", gate, 0.1, 0.1),
            counter(draws, "process_cpu_seconds_total", cart, 0.1, 0.1),
            counter(draws, sign, cart, 0.01, 0.01 + 0.8 * slow),
        ];
        Telemetry { metrics, ..Telemetry::default() }
    }

    #[test]
    fn by_metrics_alone_the_slow_service_and_what_it_waits_for_are_told() {
        for (sign, kind) in [
            ("go_sync_mutex_wait_total_seconds_total", CauseKind::Lock),
            ("connection_pool_wait_seconds_sum", CauseKind::Pool),
            ("db_client_operation_duration_seconds_sum", CauseKind::SlowQuery),
            ("container_cpu_cfs_throttled_seconds_total", CauseKind::Cpu),
            ("nobody_knows_this_total", CauseKind::SlowDependency),
        ] {
            for seed in 0..5 {
                let found = diagnose(&[finding("http_req_duration")], run(), &system(seed, 1.0, sign));
                let causes: Vec<(&str, CauseKind)> =
                    found.diagnoses.iter().map(|cause| (cause.service.as_str(), cause.kind)).collect();
                assert_eq!(causes, [("cart", kind)], "{sign}, seed {seed}");
                assert_eq!(found.diagnoses[0].finding.as_deref(), Some("f"));
            }
        }
    }

    #[test]
    fn a_way_that_is_much_longer_is_the_cause_and_a_busy_machine_is_none() {
        let told = |seed: u64, way: f64| {
            // Both ends see the same requests.
            let alike = |name: &str, labels: &[(&str, &str)], usual: f64, then: f64| {
                counter(&mut Draws::seeded(seed), name, labels, usual, then)
            };
            let calls = &[("service", "gate"), ("service_peer_name", "cart")][..];
            let metrics = vec![
                alike(ANSWERING, &[("service", "gate")], 0.5, 0.48 + way),
                alike(ANSWERING, &[("service", "cart")], 0.2, 0.2),
                alike(CALLING, calls, 0.22, 0.2 + way),
            ];
            let found =
                diagnose(&[finding("http_req_duration")], run(), &Telemetry { metrics, ..Telemetry::default() });
            found.diagnoses.iter().map(|cause| (cause.service.clone(), cause.kind)).collect::<Vec<_>>()
        };
        for seed in 0..10 {
            assert_eq!(told(seed, 0.1), [("cart".to_owned(), CauseKind::Network)], "seed {seed}");
            assert_eq!(told(seed, 0.033), [], "seed {seed}");
        }
    }

    #[test]
    fn a_sure_wait_tells_of_few_slow_requests_among_many() {
        let told = |sign: &str, kind: CauseKind| {
            let is_told = |seed: &u64| {
                let found = diagnose(&[finding("http_req_duration")], run(), &system(*seed, 0.024, sign));
                assert!(found.diagnoses.iter().all(|cause| (cause.service.as_str(), cause.kind) == ("cart", kind)));
                !found.diagnoses.is_empty()
            };
            (0..20).filter(is_told).count()
        };
        let by_database = told("db_client_operation_duration_seconds_sum", CauseKind::SlowQuery);
        let by_itself = told("nobody_knows_this_total", CauseKind::SlowDependency);
        assert!(by_database >= 12 && by_itself <= 2, "{by_database}, {by_itself} of 20");
    }

    /// A gate's request of which the cart takes so many milliseconds.
    fn trace(at: i64, cart_ms: i64) -> Vec<Span> {
        let of = |id: u8, service: &str, kind: SpanKind, from_ms: i64, until_ms: i64| Span {
            trace_id: [at as u8; 16],
            span_id: [id; 8],
            parent_id: (id > 1).then(|| [id - 1; 8]),
            service: service.to_owned(),
            name: format!("{service} {id}"),
            kind,
            start: time(at).after_seconds(from_ms as f64 / 1e3),
            end: time(at).after_seconds(until_ms as f64 / 1e3),
            is_error: false,
            attributes: Default::default(),
        };
        vec![
            of(1, "gate", SpanKind::Server, 0, cart_ms + 4),
            of(2, "gate", SpanKind::Client, 1, cart_ms + 3),
            of(3, "cart", SpanKind::Server, 2, cart_ms + 2),
        ]
    }

    #[test]
    fn of_a_few_traces_one_span_is_longer_and_no_cause_unless_several_times() {
        let told = |faulty_ms: i64| {
            let is_told = |seed: &u64| {
                let mut telemetry = system(*seed, 0.024, "nobody_knows_this_total");
                let healthy = (1..=12).flat_map(|nth| trace(4 * nth, 4));
                telemetry.spans = healthy.chain([63, 70, 77].into_iter().flat_map(|at| trace(at, faulty_ms))).collect();
                let found = diagnose(&[finding("http_req_duration")], run(), &telemetry);
                assert!(found.diagnoses.iter().all(|cause| cause.service == "cart"), "{:?}", found.diagnoses);
                !found.diagnoses.is_empty()
            };
            (0..20).filter(is_told).count()
        };
        let (twice, ten_times) = (told(8), told(40));
        assert!(twice <= 2 && ten_times >= 12, "{twice}, {ten_times} of 20");
    }

    #[test]
    fn a_healthy_system_has_no_cause_and_says_what_was_looked_at() {
        for seed in 0..40 {
            let found = diagnose(
                &[finding("http_req_duration")],
                run(),
                &system(seed, 0.0, "go_sync_mutex_wait_total_seconds_total"),
            );
            assert_eq!(found.diagnoses, [], "seed {seed}");
            assert!(found.without_cause[0].1.contains("2 services"), "{:?}", found.without_cause);
        }
        assert_eq!(diagnose(&[], run(), &system(1, 1.0, "x_total")), Diagnosed::default());
        let nothing = diagnose(&[finding("http_req_duration")], run(), &Telemetry::default());
        assert!(nothing.diagnoses.is_empty() && nothing.without_cause.len() == 1);
    }

    #[test]
    fn a_run_is_asked_about_in_parts() {
        let seconds = |findings: &[Finding]| -> Vec<(f64, f64)> {
            let since = |at: Timestamp| at.seconds_since(time(0));
            parts(&times(findings, run()), run()).iter().map(|part| (since(part.from), since(part.until))).collect()
        };
        let of = |from: i64, until: i64| Finding { from: Some(time(from)), until: Some(time(until)), ..finding("x") };
        assert_eq!(seconds(&[]), [(0.0, 30.0), (30.0, 60.0), (60.0, 90.0), (90.0, 120.0)]);
        assert_eq!(seconds(&[of(60, 85), of(62, 85)]), [(0.0, 60.0), (60.0, 85.0), (85.0, 120.0)]);
        assert_eq!(seconds(&[of(3, 116), of(500, 900)]), [(0.0, 120.0)]);
        let point = Window { from: time(0), until: time(0) };
        assert_eq!(parts(&[], point), [point]);
    }

    #[test]
    fn a_finding_of_the_whole_run_has_nothing_to_be_held_against() {
        let whole = Finding { from: Some(time(0)), until: None, ..finding("http_req_duration") };
        let timeless = Finding { from: None, until: None, ..finding("http_req_duration") };
        let better = Finding { direction: Direction::Better, ..finding("http_req_duration") };
        let found = diagnose(&[whole, timeless, better], run(), &system(1, 1.0, "nobody_knows_this_total"));
        assert_eq!(found, Diagnosed::default());
    }
}
