//! Why: the causes of what was found, from what the servers said meanwhile. Pure: values in, values out.
//!
//! Each finding with a time is a contrast between that time and the healthy rest of the run. What the servers show and k6 does not
//! notice, a leak or a storm of log lines, is told without a finding. Where nothing was added for sure there is no cause, and what was looked at is said.

mod account;
mod causes;
mod contrast;
mod functions;
mod growth;
pub mod labelled;
mod logs;
pub mod look;
mod moved_most;
mod storm;
mod strangers;
mod traces;
mod vitals;

use crate::model::diagnosis::{CauseKind, Clue, Diagnosis};
use crate::model::finding::{Direction, Finding, FindingKind};
use crate::model::telemetry::Telemetry;

pub use contrast::Window;
pub use functions::FunctionChange;

use causes::{Cause, Scene};
use contrast::Contrast;
use growth::Growth;
use storm::Storm;
use vitals::Vitals;

/// Causes of one finding that are told.
const CAUSES_MAX: usize = 3;
/// Findings whose times overlap by so large a part of the shorter one have one cause.
const SAME_TIME: f64 = 0.5;
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
        if !causes.is_empty() {
            explained.push(*window);
        }
        let ranked = causes.into_iter().take(CAUSES_MAX).zip(1..);
        diagnosed.diagnoses.extend(ranked.map(|(cause, rank)| told_as(cause, Some(finding.id.clone()), rank)));
    }
    for growth in growth::growing(&vitals) {
        let is_known =
            diagnosed.diagnoses.iter().any(|known| known.service == growth.service && known.kind == CauseKind::Gc);
        if !is_known {
            let cause = leak(telemetry, &vitals, run, &growth);
            diagnosed.diagnoses.push(told_as(cause, None, 1));
        }
    }
    for storm in storm::storms(&telemetry.logs, run) {
        // What is said while something else goes wrong is a part of that.
        let is_known = explained.iter().any(|window| is_same_time(*window, storm.window));
        if !is_known {
            let cause = log_storm(telemetry, &vitals, run, &storm);
            diagnosed.diagnoses.push(told_as(cause, None, 1));
        }
    }
    diagnosed
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
        rank,
        service: cause.service,
        kind: cause.kind,
        what: cause.what,
        endpoint: cause.endpoint,
        function: cause.function,
        span: cause.span,
        score: cause.share * (0.5 + 0.5 * cause.explained),
        evidence: cause.clues,
        refuted_by: cause.refuted_by,
    }
}

fn leak(telemetry: &Telemetry, vitals: &Vitals, run: Window, growth: &Growth) -> Cause {
    let contrast = Contrast::of(growth.window, run, &[]);
    let profile = functions::difference(&telemetry.profiles, &growth.service, "inuse_space", &contrast);
    let function = profile.as_ref().and_then(|profile| profile.function());
    let by = function.map_or(String::new(), |function| format!(", kept by {}", function.name));
    let what = format!(
        "memory of {} grows by {:.1} MiB a second, from {:.0} to {:.0} MiB, and stays{by}",
        growth.service,
        growth.bytes_per_second / MEBIBYTE,
        growth.bytes_before / MEBIBYTE,
        growth.bytes_after / MEBIBYTE
    );
    let metric = vitals.sources.get(&(growth.service.clone(), vitals::Vital::Memory)).cloned().unwrap_or_default();
    let mut clues = vec![Clue::Metric {
        service: growth.service.clone(),
        metric,
        what: vitals::Vital::Memory.name().to_owned(),
        unit: vitals::Vital::Memory.unit().to_owned(),
        healthy: growth.bytes_before,
        faulty: growth.bytes_after,
        moved_at: Some(growth.window.from),
    }];
    clues.extend(profile.as_ref().and_then(|profile| causes::profile_clue(&growth.service, profile)));
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
        refuted_by: causes::refutation(CauseKind::Memory).to_owned(),
    }
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
        refuted_by: causes::refutation(CauseKind::LogStorm).to_owned(),
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
