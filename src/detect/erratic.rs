//! Latency that becomes erratic within a run: its level holds, but it varies more from second to second.
//!
//! What a step's median is off the middle of the steps around it is squared and averaged over blocks of steps; the logarithm of
//! that is a series whose excursions are parts in which the latency varies more, or less. A median of few requests varies more by
//! chance, so each is weighed by its requests. Endpoints with many requests a second show it in their p95 as well; then it is a
//! part of that anomaly.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::stats::level::{Demand, Excursion, excursions};
use crate::stats::noise;
use crate::stats::robust::median;

use super::anomaly::Signal;
use super::finding_id::finding_id;
use super::moved::name;
use super::soak::Steady;

/// Steps of a block, and those around that a median's middle is of, to both sides.
const BLOCK_STEPS: usize = 5;
const AROUND_STEPS: usize = 10;
/// Fewer blocks are no part of the run, but chance.
const BLOCKS_MIN: usize = 3;
/// The chance that a stationary run has any of it.
const CHANCE: f64 = 0.002;
/// Half as much again, and a fifth more beyond doubt.
const RATIO_MIN: f64 = 1.5;
const RATIO_SURE: f64 = 1.2;
const MAJOR_RATIO: f64 = 3.0;
/// Where requests themselves become more or fewer by more than that, from the 10th to the 90th percentile of the blocks, the weights
/// would decide.
const COUNT_RATIO_MAX: f64 = 2.0;
/// A variation below that many percent is a clock's resolution.
const DEVIATION_MIN: f64 = 0.01;
const WARM_UP_SHARE: f64 = 0.25;

struct Erratic<'s> {
    signal: &'s Signal,
    found: Excursion,
    /// Standard deviation of the step's median as ln, in that part.
    deviation: f64,
}

impl Erratic<'_> {
    fn series(&self) -> SeriesReference {
        SeriesReference { statistic: Some("deviation".to_owned()), ..self.signal.series.clone() }
    }

    fn evidence(&self) -> Evidence {
        let change = Change::of_logarithm(self.found.difference, 1.96 * self.found.standard_error, 0.95);
        Evidence::Metric {
            series: self.series(),
            observed: self.deviation,
            expected: Some(self.deviation / self.found.difference.exp()),
            unit: Unit::Fraction,
            change: Some(change),
            note: Some("standard deviation of the median from step to step, as a part of it".to_owned()),
        }
    }
}

/// Adds parts in which latency is more erratic to `findings`, or to the anomaly of the same time.
pub(super) fn erratic(findings: &mut Vec<Finding>, steady: &Steady, signals: &[Signal]) {
    let log_chance = (CHANCE / signals.len().max(1) as f64).ln();
    let mut all: Vec<Erratic> = signals.iter().flat_map(|signal| of_signal(steady, signal, log_chance)).collect();
    all.sort_by(|left, right| left.found.log_chance.total_cmp(&right.found.log_chance));
    while !all.is_empty() {
        let (span, head) = (all[0].found, all.remove(0));
        let is_with = |other: &Erratic| other.found.from < span.until && other.found.until > span.from;
        let (with, rest): (Vec<Erratic>, Vec<Erratic>) = all.into_iter().partition(is_with);
        all = rest;
        let own = finding(steady, &head, &with);
        let overlaps = |finding: &Finding| {
            let end = finding.until.unwrap_or(steady.time(steady.until));
            finding.kind == FindingKind::Anomaly
                && finding.series.metric == own.series.metric
                && finding.from.is_some_and(|start| own.until.is_some_and(|until| start < until))
                && own.from.is_some_and(|from| end > from)
        };
        match findings.iter_mut().find(|finding| overlaps(finding)) {
            Some(cause) => {
                cause.also.extend(std::iter::once(own.series).chain(own.also));
                cause.evidence.extend(own.evidence.into_iter().filter(|one| matches!(one, Evidence::Metric { .. })));
            }
            None => findings.push(own),
        }
    }
}

/// Returns the parts in which one endpoint is more erratic than in the rest.
fn of_signal<'s>(steady: &Steady, signal: &'s Signal, log_chance: f64) -> Vec<Erratic<'s>> {
    let Some(blocks) = Blocks::of(steady, signal) else { return Vec::new() };
    let demand = Demand {
        log_chance,
        steps_min: BLOCKS_MIN,
        difference_min: RATIO_MIN.ln(),
        difference_sure: RATIO_SURE.ln(),
        warm_up_steps: (WARM_UP_SHARE * blocks.values.len() as f64) as usize,
    };
    let evenly = vec![1.0; blocks.values.len()];
    let mut found = excursions(&blocks.values, &evenly, &demand).unwrap_or_default();
    found.retain(|found| found.difference > 0.0);
    let erratic = found.into_iter().map(|found| Erratic {
        signal,
        deviation: median(&blocks.deviations[found.from..found.until]),
        found: Excursion { from: found.from * BLOCK_STEPS, until: found.until * BLOCK_STEPS, ..found },
    });
    erratic.collect()
}

/// How far the medians are off, by block.
struct Blocks {
    /// ln of the weighed standard deviation.
    values: Vec<f64>,
    /// The plain one.
    deviations: Vec<f64>,
}

impl Blocks {
    fn of(steady: &Steady, signal: &Signal) -> Option<Blocks> {
        let steps = steady.from..steady.until.min(signal.median_ms.len());
        let counts: Vec<f64> =
            signal.requests_count.get(steps.clone())?.iter().map(|count| f64::from(*count)).collect();
        let logs: Vec<Option<f64>> =
            signal.median_ms[steps].iter().map(|ms| ms.filter(|ms| *ms > 0.0).map(f64::ln)).collect();
        if logs.len() < noise::STEPS_MIN * BLOCK_STEPS {
            return None;
        }
        let off = |step: usize| {
            let around = step.saturating_sub(AROUND_STEPS)..(step + AROUND_STEPS + 1).min(logs.len());
            let known: Vec<f64> = logs[around].iter().flatten().copied().collect();
            Some((logs[step]? - median(&known), counts[step]))
        };
        let off: Vec<Option<(f64, f64)>> = (0..logs.len()).map(off).collect();
        let of_block = |block: &[Option<(f64, f64)>]| {
            let known: Vec<&(f64, f64)> = block.iter().flatten().collect();
            let mean = |value: &dyn Fn(f64, f64) -> f64| {
                known.iter().map(|(off, count)| value(*off, *count)).sum::<f64>() / known.len() as f64
            };
            // One step without a request may be missing.
            (known.len() + 1 >= BLOCK_STEPS)
                .then(|| (mean(&|off, count| off * off * count), mean(&|off, _| off * off), mean(&|_, count| count)))
        };
        let blocks: Vec<(f64, f64, f64)> = off.chunks_exact(BLOCK_STEPS).map(of_block).collect::<Option<_>>()?;
        let mut per_block: Vec<f64> = blocks.iter().map(|(_, _, count)| *count).collect();
        per_block.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| per_block[(share * (per_block.len() - 1) as f64) as usize];
        let least = DEVIATION_MIN * DEVIATION_MIN;
        (at(0.9) <= COUNT_RATIO_MAX * at(0.1)).then(|| Blocks {
            values: blocks.iter().map(|(weighed, _, count)| 0.5 * weighed.max(least * count).ln()).collect(),
            deviations: blocks.iter().map(|(_, plain, _)| plain.max(least).sqrt()).collect(),
        })
    }
}

fn finding(steady: &Steady, head: &Erratic, with: &[Erratic]) -> Finding {
    let (from, until) = (steady.time(steady.from + head.found.from), steady.time(steady.from + head.found.until));
    let ratio = head.found.difference.exp();
    let whose = match with.len() {
        0 => name(&head.signal.series),
        more => format!("{} endpoints", more + 1),
    };
    let series = head.series();
    let sql = format!(
        "SELECT window_start, endpoint, p50 AS latency_ms_p50\nFROM windows\nWHERE metric = 'http_req_duration'\n  \
         AND window_start >= TIMESTAMP '{from}' AND window_start < TIMESTAMP '{until}'\nORDER BY endpoint, window_start"
    );
    let evidence = std::iter::once(head).chain(with).map(Erratic::evidence);
    Finding {
        id: finding_id(steady.test, FindingKind::Anomaly, &series, Some(from)),
        kind: FindingKind::Anomaly,
        title: format!(
            "latency of {whose} varies {ratio:.1} times as much from second to second, from {} to {}",
            from.clock(),
            until.clock()
        ),
        severity: if ratio >= MAJOR_RATIO { Severity::Major } else { Severity::Minor },
        direction: Direction::Worse,
        series,
        also: with.iter().map(Erratic::series).collect(),
        from: Some(from),
        until: Some(until),
        since_run: None,
        suspect: false,
        observed: head.deviation,
        expected: Some(head.deviation / ratio),
        unit: Unit::Fraction,
        change: Some(Change::of_logarithm(head.found.difference, 1.96 * head.found.standard_error, 0.95)),
        evidence: evidence.chain([Evidence::Query { sql }]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::stats::draws::Draws;

    const STEPS: usize = 600;

    fn steady() -> Steady<'static> {
        Steady {
            test: "t",
            start: Timestamp(1_700_000_000_000_000_000),
            step_seconds: 1.0,
            from: 10,
            until: STEPS - 10,
        }
    }

    /// Some requests a second on a server that remembers; `sigma`: of a request's ln, by second; `level`: times the latency.
    fn signal(seed: u64, rate: f64, sigma: &dyn Fn(usize) -> f64, level: &dyn Fn(usize) -> f64) -> Signal {
        let mut draws = Draws::seeded(seed);
        let server = draws.wandering(0.3, STEPS);
        let mut signal = Signal {
            series: SeriesReference {
                metric: "http_req_duration".to_owned(),
                tags: [("name".to_owned(), format!("e{seed}"))].into(),
                statistic: None,
            },
            requests_count: Vec::new(),
            failed_count: vec![0; STEPS],
            median_ms: Vec::new(),
            p95_ms: vec![None; STEPS],
        };
        for (step, server) in server.iter().enumerate() {
            let count = draws.count(rate).max(1);
            let error = 1.25 * sigma(step) / f64::from(count).sqrt();
            signal.requests_count.push(count);
            signal.median_ms.push(Some(20.0 * level(step) * (0.03 * server + error * draws.normal()).exp()));
        }
        signal
    }

    fn found(signals: &[Signal]) -> Vec<Finding> {
        let mut findings = Vec::new();
        erratic(&mut findings, &steady(), signals);
        findings
    }

    #[test]
    fn a_wilder_part_of_a_run_is_found_with_its_size() {
        for seed in 0..10 {
            let wild = |step: usize| if (300..400).contains(&step) { 1.2 } else { 0.4 };
            let signals = [signal(seed, 8.0, &wild, &|_| 1.0), signal(seed + 50, 8.0, &wild, &|_| 1.0)];
            let findings = found(&signals);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            let second = |time: Option<Timestamp>| time.unwrap().seconds_since(steady().start);
            let (from, until) = (second(findings[0].from), second(findings[0].until));
            assert!((from - 300.0).abs() <= 15.0 && (until - 400.0).abs() <= 15.0, "{from} to {until}");
            let change = findings[0].change.unwrap();
            assert!(change.low.unwrap() < 2.2 && change.high.unwrap() > 1.4, "{change:?}");
            assert_eq!(findings[0].also.len(), 1);
        }
    }

    #[test]
    fn what_does_not_vary_more_is_not_told() {
        let runs = |level: &dyn Fn(usize) -> f64, rate: f64| {
            let is_loud = |seed: &u64| !found(&[signal(*seed, rate, &|_| 0.5, level)]).is_empty();
            (100..250).filter(is_loud).count()
        };
        let (few, many) = (runs(&|_| 1.0, 4.0), runs(&|_| 1.0, 200.0));
        let steps = runs(&|step| if step > 300 { 2.0 } else { 1.0 }, 8.0);
        let climbs = runs(&|step| 1.0 + step as f64 / STEPS as f64, 8.0);
        assert!(few + many + steps + climbs <= 4, "{few}, {many}, {steps}, {climbs} of 150 each");
        let calmer = |step: usize| if step > 300 { 0.2 } else { 0.8 };
        assert!(found(&[signal(1, 8.0, &calmer, &|_| 1.0)]).is_empty());
    }
}
