//! What of a latency is owed to the load: latency is judged at like load.
//!
//! Load that the test asked for drives latency; load that answers to latency does not. VUs are asked for where they move
//! in few long sweeps, and are an answer where they flicker: with an arrival rate, k6's `vus` counts those that wait for a
//! response. The request rate is asked for with an arrival rate, and with VUs it falls as latency rises. So a latency may
//! only rise with its load: what falls is never explained by it.

use crate::stats::monotone::{Knot, height, rising};

/// The load of a run, one entry a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadSignal {
    /// k6's `vus`; none where it was not sampled.
    pub vus: Vec<Option<f64>>,
    pub requests_per_second: Vec<f64>,
}

/// Load that varies by less, from its 5th to its 95th percentile, is one load.
const LOAD_RATIO_MIN: f64 = 1.15;
/// VUs that turn around more often than in one of so many changes flicker.
const CHANGES_PER_TURN: usize = 5;
/// Turns that any planned load may have, even if it changes seldom.
const TURNS_MIN: usize = 4;
/// Over which the rate is averaged: arrivals are random, iterations come in bursts.
const RATE_SECONDS: f64 = 5.0;
/// From the 5th to the 95th percentile of normal data, in sigma.
const SIGMAS_OF_RANGE: f64 = 3.29;
/// Levels of load that are told apart at most, and steps that one has at least.
const LEVELS_MAX: usize = 16;
const STEPS_PER_LEVEL_MIN: usize = 5;
/// Levels that differ by less are one.
const SAME_LEVEL: f64 = 0.02;

/// Returns the logarithm of the load that drives latency, by step of `from..until`; none where the load is one.
pub fn driver(load: &LoadSignal, step_seconds: f64, from: usize, until: usize) -> Option<Vec<f64>> {
    planned_vus(load, from, until).or_else(|| rate(load, step_seconds, from, until))
}

fn planned_vus(load: &LoadSignal, from: usize, until: usize) -> Option<Vec<f64>> {
    let known = load.vus.get(from..until)?;
    let mut last = known.iter().flatten().next().copied()?;
    let vus: Vec<f64> = known
        .iter()
        .map(|vus| {
            last = vus.unwrap_or(last);
            last
        })
        .collect();
    let changes: Vec<f64> = vus.windows(2).map(|pair| pair[1] - pair[0]).filter(|change| *change != 0.0).collect();
    let turns = changes.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
    if turns > TURNS_MIN.max(changes.len() / CHANGES_PER_TURN) {
        return None;
    }
    // No VU and one VU are one load: nothing else happens meanwhile.
    let levels: Vec<f64> = vus.iter().map(|vus| vus.max(1.0).ln()).collect();
    (range(&levels) > LOAD_RATIO_MIN.ln()).then_some(levels)
}

fn rate(load: &LoadSignal, step_seconds: f64, from: usize, until: usize) -> Option<Vec<f64>> {
    let rates = load.requests_per_second.get(from..until)?;
    let reach = (RATE_SECONDS / step_seconds / 2.0).round() as usize;
    let smooth = |index: usize| {
        let near = &rates[index.saturating_sub(reach)..(index + reach + 1).min(rates.len())];
        near.iter().sum::<f64>() / near.len() as f64
    };
    let smoothed: Vec<f64> = (0..rates.len()).map(smooth).collect();
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let counted = mean * step_seconds * (2 * reach + 1) as f64;
    // What random arrivals alone would vary by.
    let by_chance = SIGMAS_OF_RANGE / counted.max(1.0).sqrt();
    let levels: Vec<f64> = smoothed.iter().map(|rate| rate.max(1.0 / step_seconds).ln()).collect();
    (range(&levels) > LOAD_RATIO_MIN.ln() + by_chance).then_some(levels)
}

fn range(levels: &[f64]) -> f64 {
    let mut sorted = levels.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or(0.0);
    at(0.95) - at(0.05)
}

/// Returns what the load adds to each value, 0 in the middle of it.
///
/// `values`: logarithms; `levels`: of the load, as long. The curve goes through the medians of steps at like load.
pub fn owed_to_load(values: &[f64], levels: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| levels[*left].total_cmp(&levels[*right]));
    let size = (values.len() / LEVELS_MAX).max(STEPS_PER_LEVEL_MIN);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let is_same = |group: &Vec<usize>| {
            let first = group.first().map_or(f64::NEG_INFINITY, |first| levels[*first]);
            group.len() < size || levels[index] - first < SAME_LEVEL
        };
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
    let knots = groups.iter().map(|group| {
        let mut heights: Vec<f64> = group.iter().map(|index| values[*index]).collect();
        heights.sort_unstable_by(f64::total_cmp);
        let x = group.iter().map(|index| levels[*index]).sum::<f64>() / group.len() as f64;
        Knot { x, y: heights[heights.len() / 2], weight: group.len() as f64 }
    });
    let curve = rising(&knots.collect::<Vec<_>>());
    let owed: Vec<f64> = levels.iter().map(|level| height(&curve, *level)).collect();
    let mut sorted = owed.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    owed.iter().map(|owed| owed - middle).collect()
}
