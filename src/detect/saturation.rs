//! Saturation: from which load on does the system under test only get slower, and is that earlier than it was.
//!
//! Looked for in runs whose load climbs: by planned VUs, or by an arrival rate. While there is room, latency hardly depends on
//! the load; from the knee on requests wait for each other, and with a closed model latency grows as fast as the VUs
//! (Little's law: VUs = requests a second x seconds, and the requests a second are at their most). So the median latency is two
//! lines over the load, which meet at the knee (`stats::broken_line`). With an open model requests pile up instead: what ends a
//! second follows what is due up to the knee, and no farther.
//!
//! That a ramp saturates is no fault: tests are made to find it. That it does so earlier than in the runs before is one; it
//! is judged as a latency is, by the same model, with a run's ln of the knee as its figure. A run that does not saturate counts
//! as one whose knee is its top.

use crate::model::finding::{Change, Direction, Evidence, Finding, FindingKind, Scale, SeriesReference, Severity};
use crate::model::metric::Unit;
use crate::model::ramp::{Knee, Load, Ramp};
use crate::model::report::{AnalysisReport, Skipped};
use crate::model::time::Timestamp;
use crate::stats::broken_line::{BrokenLine, POINTS_MIN, broken_line};
use crate::stats::normal;
use crate::stats::regression::{self, Decision, Level};
use crate::stats::robust::median;
use crate::stats::run_statistic::RunStatistic;
use crate::stats::shrink::DeviationPrior;

use super::finding_id::finding_id;
use super::history::{PastRun, RUNS_MIN};
use super::history_findings::History;
use super::members::take_up;
use super::resampled::CONFIDENCE;
use super::subjects::{BETWEEN_RUNS, CHANGE_MIN, reference};

/// A climb has at least so many steps, and such a part of the run.
const CLIMB_STEPS_MIN: usize = 20;
const CLIMB_SHARE_MIN: f64 = 0.2;
/// It begins below this part of its top, and hardly ever falls.
const BOTTOM_SHARE_MAX: f64 = 0.5;
const FALLS_SHARE_MAX: f64 = 0.1;
const FALLS_PARTS: usize = 20;
/// From here on the top is reached; of what follows there a part as long as this one of the climb belongs to it.
const TOP_SHARE: f64 = 0.98;
const PLATEAU_SHARE: f64 = 0.25;
/// The latency is looked at in so many parts of the climb at most.
const POINTS_MAX: usize = 40;
/// Steps that a part has at least.
const STEPS_A_POINT: usize = 2;
/// One ramp in ten thousand without a bend may show one: the place of a knee is searched for, which makes the test easier.
const KNEE_CHANCE: f64 = 1e-4;
/// A knee matters if latency at the top is higher than that at the knee by this factor, and climbs so much faster behind it.
const RISE_MIN: f64 = 1.15;
const BEND_MIN: f64 = 2.0;
/// Where throughput at the top is hardly more than at the knee, it stands still.
const STANDSTILL: f64 = 1.1;
/// How well a knee can be known at best, and how well it is known that a run had none, as standard errors of ln.
const KNEE_ERROR_MIN: f64 = 0.01;
const NO_KNEE_ERROR: f64 = 0.03;
/// What a pair of runs has to be beyond, if there is no history: one in two hundred, to one side.
const PAIR_CHANCE: f64 = 0.005;
/// What stands out may begin a little before the knee.
const KNEE_SECONDS: f64 = 10.0;
/// Where the latency below both knees has risen by more, saturation alone does not explain it.
const BOTTOM_RISE_MAX: f64 = 1.15;

/// A run's load and what it met, one entry a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RampSignal {
    pub load: Vec<Option<f64>>,
    pub median_ms: Vec<Option<f64>>,
    pub requests_per_second: Vec<f64>,
}

/// Returns what a run shows whose load climbs; none of another one.
///
/// `start`: of the first step.
pub fn ramp(load: Load, start: Timestamp, step_seconds: f64, signal: &RampSignal) -> Option<Ramp> {
    let mut last = signal.load.iter().flatten().next().copied()?;
    let levels: Vec<f64> = signal
        .load
        .iter()
        .map(|level| {
            last = level.unwrap_or(last);
            last
        })
        .collect();
    let (from, until) = climb(&levels)?;
    let known =
        |step: &usize| signal.median_ms.get(*step).copied().flatten().filter(|latency| *latency > 0.0).is_some();
    let steps: Vec<usize> = (from..until).filter(known).collect();
    let points_count = POINTS_MAX.min(steps.len() / STEPS_A_POINT);
    if points_count < POINTS_MIN {
        return None;
    }
    let points = (0..points_count).map(|point| {
        let part = &steps[point * steps.len() / points_count..(point + 1) * steps.len() / points_count];
        let mean = part.iter().map(|step| levels[*step]).sum::<f64>() / part.len() as f64;
        let latencies: Vec<f64> = part.iter().filter_map(|step| signal.median_ms[*step]).collect();
        let rates = part.iter().filter_map(|step| signal.requests_per_second.get(*step));
        (mean, (median(&latencies), rates.sum::<f64>() / part.len() as f64))
    });
    let (loads, (latencies, rates)): (Vec<f64>, (Vec<f64>, Vec<f64>)) = points.unzip();
    let top = levels[from..until].iter().copied().fold(0.0, f64::max);
    let ends = points_count.div_ceil(10).max(2);
    let at_bottom = median(&latencies[..ends]);
    let at_top = median(&latencies[points_count - ends..]);
    let latency_at = |load: f64| {
        let near =
            loads.iter().zip(&latencies).min_by(|left, right| (left.0 - load).abs().total_cmp(&(right.0 - load).abs()));
        near.map_or(at_bottom, |(_, latency)| *latency)
    };
    let bends = |line: &BrokenLine| line.log_chance <= KNEE_CHANCE.ln() && at_top >= RISE_MIN * latency_at(line.knee);
    // With an arrival rate what ends stands still at the knee; latency then grows by the square.
    let by_rate = || {
        let lost: Vec<f64> = rates.iter().map(|rate| -rate).collect();
        let line = broken_line(&loads, &lost).filter(|line| line.slope_after > line.slope_before / BEND_MIN);
        line.filter(bends)
    };
    let by_latency = || {
        let is_steeper = |line: &BrokenLine| line.slope_after > BEND_MIN * line.slope_before.max(0.0);
        broken_line(&loads, &latencies).filter(is_steeper).filter(bends)
    };
    let line = if load == Load::Arrivals { by_rate().or_else(by_latency) } else { by_latency() };
    let knee = line.map(|line| {
        let at = (from..until).find(|step| levels[*step] > line.knee).unwrap_or(until);
        let mean = |steps: std::ops::Range<usize>| {
            let rates = signal.requests_per_second.get(steps).unwrap_or_default();
            rates.iter().sum::<f64>() / rates.len().max(1) as f64
        };
        let reach = ((until - from) / 20).max(1);
        Knee {
            load: line.knee,
            low: line.low,
            high: line.high,
            at: start.after_seconds(at as f64 * step_seconds),
            latency_ms: latency_at(line.knee),
            requests_per_second: mean(at.saturating_sub(reach)..(at + reach).min(until)),
            requests_per_second_at_top: mean(until - reach..until),
        }
    });
    Some(Ramp { load, top, latency_at_bottom_ms: at_bottom, latency_at_top_ms: at_top, knee })
}

/// Returns the first step of a climb, and behind the last; none where the load does not climb.
fn climb(levels: &[f64]) -> Option<(usize, usize)> {
    let top = levels.iter().copied().fold(0.0, f64::max);
    let from = levels.iter().position(|level| *level > 0.0)?;
    let reached = levels.iter().position(|level| *level >= TOP_SHARE * top)?;
    let steps_count = (reached + 1).checked_sub(from)?;
    // In parts, since an arrival rate flickers.
    let parts: Vec<f64> = levels[from..=reached]
        .chunks(steps_count.div_ceil(FALLS_PARTS))
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect();
    let falls: f64 = parts.windows(2).map(|pair| (pair[0] - pair[1]).max(0.0)).sum();
    let is_climb = steps_count >= CLIMB_STEPS_MIN
        && steps_count as f64 >= CLIMB_SHARE_MIN * levels.len() as f64
        && levels[from] <= BOTTOM_SHARE_MAX * top
        && falls <= FALLS_SHARE_MAX * top;
    let plateau = (PLATEAU_SHARE * steps_count as f64) as usize;
    let at_top = levels[reached..].iter().take(plateau).take_while(|level| **level >= TOP_SHARE * top).count();
    is_climb.then_some((from, reached + at_top.max(1)))
}

/// Says that a run saturates, which is worth knowing and no fault; what stands out beyond the knee is part of it.
pub fn saturates(findings: &mut Vec<Finding>, test: &str, ramp: &Ramp, until: Option<Timestamp>) {
    let Some(knee) = &ramp.knee else { return };
    let stands = if knee.requests_per_second_at_top <= STANDSTILL * knee.requests_per_second {
        format!(", and requests stay at {:.0}/s", knee.requests_per_second_at_top)
    } else {
        String::new()
    };
    let title = format!(
        "saturates at {:.0} of {:.0} {}: beyond, the median latency rises from {:.1} ms to {:.1} ms{stands}",
        knee.load,
        ramp.top,
        ramp.load.unit(),
        knee.latency_ms,
        ramp.latency_at_top_ms
    );
    let mut saturates =
        Finding { from: Some(knee.at), until, ..finding(test, ramp, knee.load, None, Direction::Changed, title) };
    take_up(&mut saturates, findings, |finding| is_beyond(finding, knee));
    findings.push(saturates);
}

/// Says whether something stands out where the system under test has no more room.
fn is_beyond(finding: &Finding, knee: &Knee) -> bool {
    let is_late = finding.from.is_some_and(|from| from.seconds_since(knee.at) >= -KNEE_SECONDS);
    finding.kind == FindingKind::Anomaly && finding.direction == Direction::Worse && is_late
}

/// A ramp and the name of its run.
type Named<'r> = (&'r str, &'r Ramp);

/// Says whether a run saturates earlier than before, and what else of its findings that explains. `base`: of the run that it is
/// compared with.
pub fn beside(report: &mut AnalysisReport, history: &History, base: Option<&Ramp>) {
    let Some(ramp) = report.ramp.clone() else { return };
    if let Some(base) = base.filter(|_| history.judged.is_empty()) {
        report.skipped.extend(unsure_of_pair(&mut report.findings, &ramp, base));
    }
    if let Some(earlier) = saturates_earlier(report, &history.past, base) {
        let before: Vec<&Ramp> = history.past.iter().filter_map(|run| run.ramp.as_ref()).chain(base).collect();
        explain(&mut report.findings, earlier, &ramp, &before);
    }
}

/// Says whether `report`'s run saturates earlier than those before it: by `past`, oldest first, or where it is short, by `base`.
fn saturates_earlier(report: &AnalysisReport, past: &[PastRun], base: Option<&Ramp>) -> Option<Finding> {
    let ramp = report.ramp.as_ref()?;
    let earlier: Vec<Named> = past
        .iter()
        .filter_map(|run| Some((run.id.as_str(), run.ramp.as_ref()?)))
        .filter(|(_, earlier)| earlier.load == ramp.load)
        .collect();
    let usual = past.iter().filter(|run| run.regressed_since.is_none() && run.ramp.is_some()).count();
    if usual >= RUNS_MIN { by_history(report, ramp, past, &earlier) } else { by_pair(report, ramp, base?) }
}

fn by_history(report: &AnalysisReport, ramp: &Ramp, past: &[PastRun], earlier: &[Named]) -> Option<Finding> {
    let runs: Vec<RunStatistic> = earlier.iter().map(|(_, ramp)| statistic(ramp)).chain([statistic(ramp)]).collect();
    let judgement = regression::judge(&Level::of(&runs, &[], DeviationPrior::LEVEL)?, None, DeviationPrior::SHAPE);
    let is_alone = match judgement.decision {
        Decision::Regressed | Decision::Jumped => false,
        Decision::Suspect => true,
        Decision::Unchanged => return None,
    };
    let (later, low, high) = if is_alone {
        let reach = 1.96 * judgement.departure_deviation;
        (judgement.departure, judgement.departure - reach, judgement.departure + reach)
    } else {
        (judgement.effect, judgement.low, judgement.high)
    };
    let change = ratio(-later, -high, -low);
    if change.point > -CHANGE_MIN {
        return None;
    }
    // A change that nobody has accepted keeps the date that it once got.
    let first = earlier.len().checked_sub(judgement.runs_since - 1).and_then(|index| earlier.get(index));
    let regressed = past.iter().find(|run| first.is_some_and(|(id, _)| *id == run.id));
    let first = regressed.and_then(|run| run.regressed_since.as_deref()).or(first.map(|(id, _)| *id));
    let since = match first {
        _ if is_alone => format!("in this run alone after {} earlier ones", earlier.len()),
        Some(run) => format!("since run {run}"),
        None => "in this run, farther off than any bad run before".to_owned(),
    };
    Some(Finding {
        suspect: is_alone,
        since_run: (!is_alone).then(|| first.unwrap_or(&report.run.id).to_owned()),
        ..earlier_finding(report, ramp, change, Some(&since))
    })
}

fn by_pair(report: &AnalysisReport, ramp: &Ramp, base: &Ramp) -> Option<Finding> {
    let (old, new) = (statistic(base), statistic(ramp));
    let variance = old.standard_error.powi(2) + new.standard_error.powi(2) + 2.0 * BETWEEN_RUNS.powi(2);
    let (later, deviation) = (new.value - old.value, variance.sqrt());
    let reach = 1.96 * deviation;
    let change = ratio(-later, -later - reach, -later + reach);
    let is_earlier = base.load == ramp.load && normal::upper_tail(later / deviation) <= PAIR_CHANCE;
    (is_earlier && change.point <= -CHANGE_MIN).then(|| earlier_finding(report, ramp, change, None))
}

/// The figure of a run: an earlier knee is worse, so it is larger.
fn statistic(ramp: &Ramp) -> RunStatistic {
    match &ramp.knee {
        Some(knee) if knee.load > 0.0 => {
            let error = (knee.high / knee.low.max(f64::MIN_POSITIVE)).ln() / (2.0 * 1.96);
            RunStatistic { value: -knee.load.ln(), standard_error: error.clamp(KNEE_ERROR_MIN, 1.0) }
        }
        _ => RunStatistic { value: -ramp.top.max(f64::MIN_POSITIVE).ln(), standard_error: NO_KNEE_ERROR },
    }
}

fn ratio(point: f64, low: f64, high: f64) -> Change {
    Change {
        scale: Scale::Ratio,
        point: point.exp_m1(),
        low: Some(low.exp_m1()),
        high: Some(high.exp_m1()),
        confidence: Some(CONFIDENCE),
    }
}

fn earlier_finding(report: &AnalysisReport, ramp: &Ramp, change: Change, since: Option<&str>) -> Finding {
    let now = ramp.knee.as_ref().map_or(ramp.top, |knee| knee.load);
    let before = now / (1.0 + change.point);
    let since = since.map_or(String::new(), |since| format!(", {since}"));
    let title = format!("saturates earlier: at {now:.0} {}, {before:.0} before{since}", ramp.load.unit());
    Finding {
        severity: Severity::Major,
        change: Some(change),
        from: ramp.knee.as_ref().map(|knee| knee.at),
        ..finding(&report.run.test, ramp, now, Some(before), Direction::Worse, title)
    }
}

fn finding(test: &str, ramp: &Ramp, now: f64, before: Option<f64>, direction: Direction, title: String) -> Finding {
    let series = SeriesReference { statistic: Some("knee".to_owned()), ..reference(metric(ramp.load), Vec::new()) };
    let interval =
        ramp.knee.as_ref().map(|knee| format!("95 %: {:.1} to {:.1} {}", knee.low, knee.high, ramp.load.unit()));
    let evidence = Evidence::Metric {
        series: series.clone(),
        observed: now,
        expected: before,
        unit: Unit::None,
        change: None,
        note: interval,
    };
    let sql = "SELECT window_start, metric, samples_count, last, sketch_percentile(sketch, 0.5) AS median\nFROM windows\n\
               WHERE metric IN ('vus', 'iterations', 'http_req_duration')\nORDER BY window_start, metric";
    Finding {
        id: finding_id(test, FindingKind::Saturation, &series, None),
        kind: FindingKind::Saturation,
        title,
        severity: Severity::Minor,
        direction,
        series,
        also: Vec::new(),
        from: None,
        until: None,
        since_run: None,
        suspect: false,
        observed: now,
        expected: before,
        unit: Unit::None,
        change: None,
        evidence: vec![evidence, Evidence::Query { sql: sql.to_owned() }],
    }
}

fn metric(load: Load) -> &'static str {
    match load {
        Load::Vus => "vus",
        Load::Arrivals => "iterations",
    }
}

/// Puts what an earlier saturation explains into its finding: one cause is one finding.
///
/// Latency and throughput over a whole ramp change when its upper part does; where latency below the knee has risen as well,
/// they say something of their own.
fn explain(findings: &mut Vec<Finding>, mut earlier: Finding, ramp: &Ramp, before: &[&Ramp]) {
    let bottoms: Vec<f64> = before.iter().map(|ramp| ramp.latency_at_bottom_ms).collect();
    let is_all = bottoms.is_empty() || ramp.latency_at_bottom_ms <= BOTTOM_RISE_MAX * median(&bottoms);
    let is_slower = |finding: &Finding| {
        let is_its = matches!(finding.kind, FindingKind::Latency | FindingKind::Throughput | FindingKind::Drift);
        is_all && is_its && finding.direction == Direction::Worse
    };
    for member in take_up(&mut earlier, findings, is_slower) {
        // What runs agree on does not become doubtful because the knee alone is.
        if earlier.suspect && member.since_run.is_some() {
            earlier.suspect = false;
            earlier.since_run = member.since_run;
        }
    }
    // Where it saturates is said once.
    findings.retain(|finding| finding.kind != FindingKind::Saturation);
    findings.push(earlier);
}

/// Takes back what two saturating ramps alone say of latency and throughput: beyond the knee requests wait for each other, so
/// that a run with 2 % less room is slower by half. A history knows how far that goes; a pair does not.
fn unsure_of_pair(findings: &mut Vec<Finding>, ramp: &Ramp, base: &Ramp) -> Option<Skipped> {
    if ramp.knee.is_none() || base.knee.is_none() {
        return None;
    }
    let count = findings.len();
    findings.retain(|finding| !matches!(finding.kind, FindingKind::Latency | FindingKind::Throughput));
    (findings.len() < count).then(|| Skipped {
        what: "latency and throughput of saturating ramps".to_owned(),
        reason: "beyond the knee a little less room makes them much worse, and two runs do not tell how much: from the fifth run \
                 on they are judged"
            .to_owned(),
    })
}
