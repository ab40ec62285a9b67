//! What of a latency is owed to the load: latency is judged at like load.
//!
//! Load that the test asked for drives latency; load that answers to latency does not. VUs are asked for where they move
//! in few long sweeps, and are an answer where they flicker: with an arrival rate, k6's `vus` counts those that wait for a
//! response. The request rate is asked for with an arrival rate, and with VUs it falls as latency rises. So a latency may
//! only rise with its load: what falls is never explained by it.

use crate::stats::monotone::{Knot, height, rising};
use crate::stats::noise;

/// The load of a run, one entry a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadSignal {
    /// k6's `vus`; none where it was not sampled.
    pub vus: Vec<Option<f64>>,
    /// Requests, or with an arrival rate the iterations that were due.
    pub rate_per_second: Vec<f64>,
}

/// Load that varies by less, from its 5th to its 95th percentile, is one load.
const LOAD_RATIO_MIN: f64 = 1.15;
/// VUs that turn around more often than in one of so many changes flicker.
const CHANGES_PER_TURN: usize = 5;
/// Turns that any planned load may have, even if it changes seldom.
const TURNS_MIN: usize = 4;
/// Over which the rate is averaged at least: iterations come in bursts.
const RATE_SECONDS: f64 = 5.0;
/// Arrivals are random: the average is over this many requests (one of 40 is its error), or a part of the steps.
const RATE_REQUESTS: f64 = 1600.0;
const RATE_SHARE_MAX: f64 = 0.05;
/// From the 5th to the 95th percentile of normal data, in sigma.
const SIGMAS_OF_RANGE: f64 = 3.29;
/// Levels of load that are told apart at most, and steps that one has at least.
const LEVELS_MAX: usize = 16;
const STEPS_PER_LEVEL_MIN: usize = 5;
/// Levels that differ by less are one.
const SAME_LEVEL: f64 = 0.02;

/// The load that drives latency.
#[derive(Debug, Clone, PartialEq)]
pub struct Driver {
    /// Its logarithm, by step.
    pub levels: Vec<f64>,
    /// Standard error of each.
    pub error: f64,
}

/// Returns the load that drives latency in the steps `from..until`; none where the load is one.
pub fn driver(load: &LoadSignal, step_seconds: f64, from: usize, until: usize) -> Option<Driver> {
    planned_vus(load, from, until).or_else(|| rate(load, step_seconds, from, until))
}

fn planned_vus(load: &LoadSignal, from: usize, until: usize) -> Option<Driver> {
    let known = load.vus.get(from..until)?;
    let mut last = known.iter().flatten().next().copied()?;
    let vus: Vec<f64> = known
        .iter()
        .map(|vus| {
            last = vus.unwrap_or(last);
            last
        })
        .collect();
    if !are_planned(&vus) {
        return None;
    }
    // No VU and one VU are one load: nothing else happens meanwhile.
    let levels: Vec<f64> = vus.iter().map(|vus| vus.max(1.0).ln()).collect();
    (range(&levels) > LOAD_RATIO_MIN.ln()).then_some(Driver { levels, error: 0.0 })
}

/// Says whether VUs move as a plan says, in few long sweeps, and not as responses come and go.
pub fn are_planned(vus: &[f64]) -> bool {
    let changes: Vec<f64> = vus.windows(2).map(|pair| pair[1] - pair[0]).filter(|change| *change != 0.0).collect();
    let turns = changes.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
    turns <= TURNS_MIN.max(changes.len() / CHANGES_PER_TURN)
}

fn rate(load: &LoadSignal, step_seconds: f64, from: usize, until: usize) -> Option<Driver> {
    let rates = load.rate_per_second.get(from..until)?;
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let seconds = (RATE_REQUESTS / mean).min(RATE_SHARE_MAX * rates.len() as f64 * step_seconds).max(RATE_SECONDS);
    let reach = (seconds / step_seconds / 2.0).round() as usize;
    let smooth = |index: usize| {
        let near = &rates[index.saturating_sub(reach)..(index + reach + 1).min(rates.len())];
        near.iter().sum::<f64>() / near.len() as f64
    };
    let smoothed: Vec<f64> = (0..rates.len()).map(smooth).collect();
    let counted = mean * step_seconds * (2 * reach + 1) as f64;
    let error = counted.max(1.0).sqrt().recip();
    let levels: Vec<f64> = smoothed.iter().map(|rate| rate.max(1.0 / step_seconds).ln()).collect();
    // Random arrivals alone vary by some, too.
    (range(&levels) > LOAD_RATIO_MIN.ln() + SIGMAS_OF_RANGE * error).then_some(Driver { levels, error })
}

fn range(levels: &[f64]) -> f64 {
    let mut sorted = levels.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or(0.0);
    at(0.95) - at(0.05)
}

/// How latency follows the load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadCurve {
    knots: Vec<Knot>,
    /// Of the curve, over all steps.
    middle: f64,
    /// Standard error of a level.
    error: f64,
}

impl LoadCurve {
    /// Puts a curve through the medians of steps at like load; it never falls as the load rises.
    ///
    /// `values`: logarithms of latency; `levels`: of the load, as long.
    pub fn of(values: &[f64], levels: &[f64], error: f64) -> LoadCurve {
        let knots = alike(levels).into_iter().map(|group| {
            let heights = group.iter().map(|index| values[*index]).collect();
            let x = group.iter().map(|index| levels[*index]).sum::<f64>() / group.len() as f64;
            Knot { x, y: middle(heights), weight: group.len() as f64 }
        });
        let knots = rising(&knots.collect::<Vec<_>>());
        let middle = middle(levels.iter().map(|level| height(&knots, *level)).collect());
        LoadCurve { knots, middle, error }
    }

    /// Returns what the load adds to a value at this level, 0 in the middle of the run.
    pub fn owed(&self, level: f64) -> f64 {
        height(&self.knots, level) - self.middle
    }

    /// Returns how far an interval is from the other steps at the same load; none where there are too few of them.
    ///
    /// `values`: logarithms, without what is owed to the load. Slower steps are held against those at the same load or
    /// more, faster ones against those at the same or less: where VUs wait for responses, they send fewer requests while
    /// these are slow. Where an interval has the run's highest load to itself, no curve can tell what is owed to it. Where
    /// the curve is steep, a small error of the load is a large one of latency:
    /// as much is taken from the difference.
    pub fn difference_at_like_load(&self, values: &[f64], levels: &[f64], from: usize, until: usize) -> Option<f64> {
        let inside_middle = middle(values[from..until].to_vec());
        let is_slower = inside_middle > middle([&values[..from], &values[until..]].concat());
        let mut inside = levels[from..until].to_vec();
        inside.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| inside[((share * inside.len() as f64) as usize).min(inside.len() - 1)];
        let (low, high) = (at(INNER_SHARE), at(1.0 - INNER_SHARE));
        let is_like = |index: &usize| {
            if is_slower { levels[*index] >= low - SAME_LEVEL } else { levels[*index] <= high + SAME_LEVEL }
        };
        let outside: Vec<f64> =
            (0..from).chain(until..values.len()).filter(is_like).map(|index| values[index]).collect();
        let enough = (LIKE_SHARE_MIN * (until - from) as f64).max(STEPS_PER_LEVEL_MIN as f64);
        if (outside.len() as f64) < enough {
            return None;
        }
        let reach = ERRORS_OF_LOAD * self.error;
        let rise = |level: f64| self.owed(level + reach) - self.owed(level - reach);
        let doubt = [low, at(0.5), high].map(rise).into_iter().fold(0.0, f64::max);
        let difference = inside_middle - middle(outside);
        Some(difference.signum() * (difference.abs() - doubt).max(0.0))
    }
}

/// The load of an interval, without its lowest and highest tenth.
const INNER_SHARE: f64 = 0.1;
/// Steps at like load, as a share of the interval's, that make a comparison.
const LIKE_SHARE_MIN: f64 = 0.25;
/// How wrong a level may be, in standard errors, up or down.
const ERRORS_OF_LOAD: f64 = 2.5;

/// Returns the steps in groups of like load, from the lowest load to the highest.
fn alike(levels: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by(|left, right| levels[*left].total_cmp(&levels[*right]));
    let size = (levels.len() / LEVELS_MAX).max(STEPS_PER_LEVEL_MIN);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let is_same = |group: &Vec<usize>| group.len() < size || levels[index] - levels[group[0]] < SAME_LEVEL;
        match groups.last_mut().filter(|group| is_same(group)) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    // A last group of a few steps would follow them wherever they go.
    if let Some(last) = groups.pop_if(|last| last.len() < STEPS_PER_LEVEL_MIN) {
        match groups.last_mut() {
            Some(group) => group.extend(last),
            None => groups.push(last),
        }
    }
    groups
}

fn middle(mut values: Vec<f64>) -> f64 {
    noise::middle(&mut values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    fn signal(vus: impl Fn(usize) -> f64, rate: impl Fn(usize) -> f64) -> LoadSignal {
        LoadSignal {
            vus: (0..200).map(|step| Some(vus(step))).collect(),
            rate_per_second: (0..200).map(rate).collect(),
        }
    }

    #[test]
    fn the_driver_is_what_the_test_asked_for() {
        let level =
            |signal: &LoadSignal, step: usize| driver(signal, 1.0, 0, 200).map(|driver| driver.levels[step].exp());
        let is_near =
            |level: Option<f64>, expected: f64| level.is_some_and(|level| (level / expected - 1.0).abs() < 0.05);
        let ramp = |step: usize| 1.0 + step as f64 / 2.0;
        assert_eq!(driver(&signal(|_| 10.0, |_| 50.0), 1.0, 0, 200), None);
        assert!(is_near(level(&signal(|step| ramp(step).round(), |_| 50.0), 100), 51.0));
        assert!(is_near(level(&signal(|_| 10.0, ramp), 100), 51.0));
        // With an arrival rate, VUs flicker.
        let mut draws = Draws::seeded(6);
        let flicker: Vec<f64> = (0..200).map(|_| f64::from(draws.count(2.0))).collect();
        assert_eq!(driver(&signal(|step| flicker[step], |_| 50.0), 1.0, 0, 200), None);
        assert!(is_near(level(&signal(|step| flicker[step], ramp), 100), 51.0));
        // So do random arrivals.
        let arrivals: Vec<f64> = (0..200).map(|_| f64::from(draws.count(20.0))).collect();
        assert_eq!(driver(&signal(|_| 10.0, |step| arrivals[step]), 1.0, 0, 200), None);
        assert_eq!(driver(&LoadSignal::default(), 1.0, 0, 0), None);
    }

    #[test]
    fn the_curve_rises_only() {
        let levels: Vec<f64> = (0..100).map(|step| f64::from(step % 50) / 50.0).collect();
        let follows: Vec<f64> = levels.iter().map(|level| 3.0 + 2.0 * level).collect();
        let curve = LoadCurve::of(&follows, &levels, 0.0);
        assert!((curve.owed(0.9) - curve.owed(0.1) - 1.6).abs() < 0.2, "{curve:?}");
        let falls: Vec<f64> = levels.iter().map(|level| 3.0 - 2.0 * level).collect();
        let curve = LoadCurve::of(&falls, &levels, 0.0);
        assert_eq!(curve.owed(0.9), curve.owed(0.1));
    }

    #[test]
    fn the_highest_load_has_nothing_beside_it() {
        let levels: Vec<f64> = (0..100).map(|step| if step < 60 { 0.0 } else { 1.0 }).collect();
        let values: Vec<f64> = levels.iter().map(|level| 3.0 + level).collect();
        let curve = LoadCurve::of(&values, &levels, 0.0);
        assert_eq!(curve.difference_at_like_load(&values, &levels, 60, 100), None);
        assert!(curve.difference_at_like_load(&values, &levels, 10, 30).is_some());
    }
}
