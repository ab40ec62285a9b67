//! Throughput that collapses within a run: far fewer requests end than the same load brought before.
//!
//! The load is what the test asked for: VUs, or with an arrival rate the iterations that were due. Where requests took longer or
//! failed at that time, the collapse is a part of that finding; alone it stands where requests hang, or are refused before k6
//! counts them. What the generator lost by itself is the generator's finding. Only a load that holds is judged here: of one
//! that climbs, `saturation` speaks.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::stats::level::{Demand, Excursion, excursions};

use super::finding_id::finding_id;
use super::like_load::are_planned;
use super::soak::Steady;
use super::subjects::reference;

/// The chance that a stationary run has a collapse.
const CHANCE: f64 = 0.002;
/// Requests down to 80 % or less, and to less than 90 % beyond doubt.
const RATIO: f64 = 0.8;
const RATIO_SURE: f64 = 0.9;
const MAJOR_RATIO: f64 = 0.5;
const SECONDS_MIN: f64 = 5.0;
const STEPS_MIN: usize = 3;
const WARM_UP_SECONDS: f64 = 30.0;
const WARM_UP_SHARE_MAX: f64 = 0.25;
/// Load that varies by more, from its 10th to its 90th percentile, is no load that holds.
const LOAD_RATIO_MAX: f64 = 1.3;
/// In a collapse the load is at least this part of what it was.
const LOAD_KEPT: f64 = 0.9;

/// What the test asked for and what came of it, one entry a step.
pub(super) struct Work<'w> {
    /// VUs, or iterations due a second; none where it is not known.
    pub load: &'w [Option<f64>],
    /// VUs are a plan or an answer; iterations that are due are always a plan.
    pub is_vus: bool,
    pub requests_per_second: &'w [f64],
    /// First and last step with requests, of each scenario: one that begins or ends changes what a VU does.
    pub scenarios: &'w [(usize, usize)],
}

/// Adds collapses to `findings`, or to the finding that they are a part of.
pub(super) fn collapse(findings: &mut Vec<Finding>, steady: &Steady, work: &Work) {
    for found in collapses(steady, work).unwrap_or_default() {
        let (from, until) = (steady.time(steady.from + found.from), steady.time(steady.from + found.until));
        let overlaps = |finding: &Finding| {
            let end = finding.until.unwrap_or(steady.time(steady.until));
            finding.direction == Direction::Worse
                && finding.from.is_some_and(|start| {
                    let shared = end.0.min(until.0) - start.0.max(from.0);
                    2 * shared >= (until.0 - from.0).min(end.0 - start.0)
                })
        };
        if findings.iter().any(|finding| finding.kind == FindingKind::Generator && overlaps(finding)) {
            continue;
        }
        let own = finding(steady, work, &found);
        match findings.iter_mut().find(|finding| finding.kind == FindingKind::Anomaly && overlaps(finding)) {
            Some(cause) => {
                cause.also.push(own.series);
                cause.evidence.extend(own.evidence);
            }
            None => findings.push(own),
        }
    }
}

fn collapses(steady: &Steady, work: &Work) -> Option<Vec<Excursion>> {
    let steps = steady.from..steady.until.min(work.requests_per_second.len());
    let load: Vec<f64> = work.load.get(steps.clone())?.iter().copied().collect::<Option<Vec<f64>>>()?;
    let requests = work.requests_per_second.get(steps.clone())?;
    let mut sorted = load.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or(0.0);
    let holds = at(0.1) > 0.0 && at(0.9) <= LOAD_RATIO_MAX * at(0.1) && (!work.is_vus || are_planned(&load));
    let margin = (steps.len() as f64 * 0.05) as usize;
    let are_there =
        work.scenarios.iter().all(|(first, last)| *first <= steps.start + margin && *last + margin + 1 >= steps.end);
    if !holds || !are_there {
        return None;
    }
    let counts: Vec<f64> = requests.iter().map(|rate| (rate * steady.step_seconds).max(1.0)).collect();
    // Turned, so that fewer is more: a slow start is a warm-up. A step without a request counts as half of one.
    let least = 0.5 / steady.step_seconds;
    let values: Vec<f64> =
        requests.iter().zip(&load).map(|(rate, load)| (load.max(1e-9) / rate.max(least)).ln()).collect();
    let warm_up = (WARM_UP_SECONDS / steady.step_seconds).min(WARM_UP_SHARE_MAX * values.len() as f64);
    let demand = Demand {
        log_chance: CHANCE.ln(),
        steps_min: ((SECONDS_MIN / steady.step_seconds).ceil() as usize).max(STEPS_MIN),
        difference_min: -RATIO.ln(),
        difference_sure: -RATIO_SURE.ln(),
        warm_up_steps: warm_up as usize,
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let usual = mean(&load);
    let mut found = excursions(&values, &counts, &demand)?;
    found.retain(|found| found.difference > 0.0 && mean(&load[found.from..found.until]) >= LOAD_KEPT * usual);
    Some(found)
}

fn finding(steady: &Steady, work: &Work, found: &Excursion) -> Finding {
    let (first, behind) = (steady.from + found.from, steady.from + found.until);
    let (from, until) = (steady.time(first), steady.time(behind));
    let ratio = (-found.difference).exp();
    let within = &work.requests_per_second[first..behind];
    let observed = within.iter().sum::<f64>() / within.len().max(1) as f64;
    let change = Change::of_logarithm(-found.difference, 1.96 * found.standard_error, 0.95);
    let series = SeriesReference { statistic: Some("rate".to_owned()), ..reference("http_reqs", Vec::new()) };
    let load = if work.is_vus { "with as many VUs" } else { "with as many iterations due" };
    let title =
        format!("{:.0} % fewer requests {load}, from {} to {}", 100.0 * (1.0 - ratio), from.clock(), until.clock());
    let sql = format!(
        "SELECT window_start, sum(sum) AS requests_count\nFROM windows\nWHERE metric = 'http_reqs'\n  \
         AND window_start >= TIMESTAMP '{from}' AND window_start < TIMESTAMP '{until}'\nGROUP BY window_start ORDER BY window_start"
    );
    let evidence = Evidence::Metric {
        series: series.clone(),
        observed,
        expected: Some(observed / ratio),
        unit: Unit::Count,
        change: Some(change),
        note: Some(format!("requests a second {load}")),
    };
    Finding {
        id: finding_id(steady.test, FindingKind::Anomaly, &series, Some(from)),
        kind: FindingKind::Anomaly,
        title,
        severity: if ratio <= MAJOR_RATIO { Severity::Major } else { Severity::Minor },
        direction: Direction::Worse,
        series,
        also: Vec::new(),
        from: Some(from),
        until: Some(until),
        since_run: None,
        suspect: false,
        observed,
        expected: Some(observed / ratio),
        unit: Unit::Count,
        change: Some(change),
        evidence: vec![evidence, Evidence::Query { sql }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::stats::draws::Draws;

    const STEPS: usize = 300;

    fn steady() -> Steady<'static> {
        Steady { test: "t", start: Timestamp(1_700_000_000_000_000_000), step_seconds: 1.0, from: 5, until: STEPS - 5 }
    }

    /// Requests of 20 VUs on a server that remembers; `share`: of the usual ones, by second.
    fn requests(seed: u64, share: &dyn Fn(usize) -> f64) -> Vec<f64> {
        let mut draws = Draws::seeded(seed);
        let server = draws.wandering(0.3, STEPS);
        let of_step = |(step, server): (usize, &f64)| {
            f64::from(draws.count((40.0 * (0.05 * server).exp() * share(step)).max(1e-6)))
        };
        server.iter().enumerate().map(of_step).collect()
    }

    fn found(requests_per_second: &[f64], load: &[Option<f64>], scenarios: &[(usize, usize)]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let work = Work { load, is_vus: true, requests_per_second, scenarios };
        collapse(&mut findings, &steady(), &work);
        findings
    }

    #[test]
    fn fewer_requests_with_as_many_vus_are_found_and_dated() {
        let vus = vec![Some(20.0); STEPS];
        for seed in 0..10 {
            for (share, ratio) in [(0.3, 0.3), (0.0, 0.02)] {
                let requests = requests(seed, &|step| if (150..180).contains(&step) { share } else { 1.0 });
                let findings = found(&requests, &vus, &[(0, STEPS - 1)]);
                assert_eq!(findings.len(), 1, "{findings:#?}");
                let second = |time: Option<Timestamp>| time.unwrap().seconds_since(steady().start);
                let (from, until) = (second(findings[0].from), second(findings[0].until));
                assert!((from - 150.0).abs() <= 2.0 && (until - 180.0).abs() <= 2.0, "{from} to {until}");
                let change = findings[0].change.unwrap();
                assert!((1.0 + change.point) / ratio < 1.4 && findings[0].severity == Severity::Major, "{change:?}");
            }
        }
    }

    #[test]
    fn what_is_no_collapse_is_none() {
        let vus = vec![Some(20.0); STEPS];
        let whole = [(0, STEPS - 1)];
        let alarms = (100..400).filter(|seed| !found(&requests(*seed, &|_| 1.0), &vus, &whole).is_empty()).count();
        assert!(alarms <= 3, "{alarms} of 300");
        let halved = requests(1, &|step| if step >= 150 { 0.5 } else { 1.0 });
        // Half of the VUs, or another scenario: another load.
        let fewer: Vec<Option<f64>> = (0..STEPS).map(|step| Some(if step >= 150 { 10.0 } else { 20.0 })).collect();
        assert!(found(&halved, &fewer, &whole).is_empty());
        assert!(found(&halved, &vus, &[(0, 150), (150, STEPS - 1)]).is_empty());
        assert!(found(&halved, &vec![None; STEPS], &whole).is_empty());
        assert_eq!(found(&halved, &vus, &whole).len(), 1);
    }

    #[test]
    fn it_is_a_part_of_the_anomaly_of_that_time() {
        let vus = vec![Some(20.0); STEPS];
        let requests = requests(1, &|step| if (150..180).contains(&step) { 0.4 } else { 1.0 });
        let work = Work { load: &vus, is_vus: true, requests_per_second: &requests, scenarios: &[] };
        let mut findings = Vec::new();
        collapse(&mut findings, &steady(), &work);
        let mut latency = findings.remove(0);
        latency.series = reference("http_req_duration", Vec::new());
        let (mut with_latency, evidence_count) = (vec![latency.clone()], latency.evidence.len());
        collapse(&mut with_latency, &steady(), &work);
        assert_eq!((with_latency.len(), with_latency[0].also.len()), (1, 1));
        assert!(with_latency[0].evidence.len() > evidence_count);
        // What the generator lost by itself is its own finding.
        let mut by_generator = vec![Finding { kind: FindingKind::Generator, ..latency }];
        collapse(&mut by_generator, &steady(), &work);
        assert!(by_generator.len() == 1 && by_generator[0].also.is_empty());
    }
}
