//! The account of time: how many more seconds a second each service took in the faulty time, and what it spent them on.
//!
//! A healthy figure is scaled to the faulty time's requests, so that more load is no cause. What was added is held against how much
//! the healthy time varies by itself, by its median: a part of it may not be healthy.

use crate::stats::robust::{MAD_TO_SIGMA, median};

use super::contrast::{Contrast, Window};
use super::traces::mean;
use super::vitals::{Vital, Vitals};

/// Less was not added for sure, in standard errors.
pub const SURE: f64 = 4.0;
/// Steps that follow each other are alike: blocks of them hardly are.
const BLOCK_SECONDS: f64 = 5.0;
const HEALTHY_BLOCKS_MIN: usize = 3;
/// Of a median, beside that of a mean: pi / 2.
const MEDIAN_VARIANCE: f64 = 1.57;
/// Requests may become more or fewer by so much before their ratio says nothing.
const LOAD_RATIO_MAX: f64 = 5.0;
/// Less than so large a part of the healthy figure, and than so many seconds a second, is nothing for sure: a spread of twenty blocks
/// is no more than a guess, and clocks and scrapes are coarse.
const VARIATION_MIN: f64 = 0.2;
const TIME_VARIATION_MIN: f64 = 0.002;
/// Of the whole shift, from which on a series has moved.
const MOVED_SHARE: f64 = 0.5;
/// Steps in a row that show it, and how many of those that follow do: one wild step is not the beginning.
const MOVED_STEPS: usize = 2;
const FOLLOWING_STEPS: usize = 8;
const FOLLOWING_MOVED_MIN: usize = 6;

/// One figure on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Added {
    /// Scaled to the faulty time's requests.
    pub healthy: f64,
    pub faulty: f64,
    /// Of the difference.
    pub standard_error: f64,
}

impl Added {
    pub fn difference(self) -> f64 {
        self.faulty - self.healthy
    }

    /// Returns the difference in standard errors.
    pub fn sigmas(self) -> f64 {
        self.difference() / self.standard_error
    }

    pub fn is_sure(self) -> bool {
        self.sigmas() >= SURE
    }
}

/// Compares a series of steps; `load_ratio`: of the faulty time's requests to the healthy time's. None where a side is not known.
pub fn added(vitals: &Vitals, values: &[f64], contrast: &Contrast, load_ratio: f64) -> Option<Added> {
    let blocks_of = |window: Window| blocks(vitals.within(values, window), vitals.step_seconds);
    let healthy: Vec<f64> = contrast.healthy.iter().flat_map(|window| blocks_of(*window)).collect();
    let faulty = blocks_of(contrast.faulty);
    if healthy.len() < HEALTHY_BLOCKS_MIN || faulty.is_empty() {
        return None;
    }
    // Some of what is called healthy may not be: k6 sees an end, and the servers still have it.
    let middle = median(&healthy);
    let off: Vec<f64> = healthy.iter().map(|value| (value - middle).abs()).collect();
    let spread = MAD_TO_SIGMA * median(&off) * load_ratio;
    let (before, after) = (middle * load_ratio, mean(&faulty));
    let floor = (VARIATION_MIN * before.abs()).max(TIME_VARIATION_MIN);
    let error = spread * (MEDIAN_VARIANCE / healthy.len() as f64 + 1.0 / faulty.len() as f64).sqrt();
    Some(Added { healthy: before, faulty: after, standard_error: error.max(floor / SURE) })
}

/// Returns the means of blocks of seconds that follow each other; the last one may be shorter.
fn blocks(values: impl Iterator<Item = f64>, step_seconds: f64) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let steps = (BLOCK_SECONDS / step_seconds).round().max(1.0) as usize;
    values.chunks(steps).map(mean).collect()
}

/// Returns how many times the requests of a service there were; 1 where that is not known.
pub fn load_ratio(vitals: &Vitals, service: &str, contrast: &Contrast) -> f64 {
    let ratio = vitals.get(service, Vital::Requests).and_then(|requests| {
        let known = added(vitals, requests, contrast, 1.0)?;
        (known.healthy > 0.0).then_some(known.faulty / known.healthy)
    });
    ratio.filter(|ratio| (1.0 / LOAD_RATIO_MAX..LOAD_RATIO_MAX).contains(ratio)).unwrap_or(1.0)
}

/// Returns the first step at which a series has moved half of the way, and stays there for a moment; looked for from one faulty
/// length before the faulty time on.
pub fn onset(vitals: &Vitals, values: &[f64], contrast: &Contrast, added: Added) -> Option<usize> {
    let level = added.healthy + MOVED_SHARE * added.difference();
    let is_up = added.difference() > 0.0;
    let earliest = contrast.faulty.from.after_seconds(-contrast.faulty.seconds());
    (0..values.len()).find(|step| {
        let has_moved = |value: &&f64| if is_up { **value >= level } else { **value <= level };
        let near = values.iter().skip(*step).take(MOVED_STEPS);
        // Near the end of the faulty time fewer follow.
        let following = values.iter().zip(0usize..).skip(*step).take(FOLLOWING_STEPS);
        let following: Vec<&f64> =
            following.filter(|(_, at)| vitals.time(*at) < contrast.faulty.until).map(|(value, _)| value).collect();
        let most = FOLLOWING_MOVED_MIN * following.len() / FOLLOWING_STEPS;
        vitals.time(*step) >= earliest
            && vitals.time(*step) < contrast.faulty.until
            && near.clone().count() == MOVED_STEPS
            && near.clone().all(|value| has_moved(&value))
            && following.into_iter().filter(has_moved).count() >= most
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

    fn window(from: i64, until: i64) -> Window {
        Window { from: Timestamp(from * NANOSECONDS_PER_SECOND), until: Timestamp(until * NANOSECONDS_PER_SECOND) }
    }

    #[test]
    fn more_load_is_no_cause_and_noise_is_not_sure() {
        let vitals = Vitals::of_values(Vital::Answering, Vec::new());
        let contrast = Contrast::of(window(60, 80), window(0, 100), &[]);
        let values: Vec<f64> = (0..100)
            .map(|step| if (60..80).contains(&step) { 0.6 } else { 0.3 } + 0.01 * f64::from(step % 3))
            .collect();
        let plain = added(&vitals, &values, &contrast, 1.0).unwrap();
        assert!((plain.difference() - 0.3).abs() < 0.01 && plain.is_sure(), "{plain:?}");
        let at_like_load = added(&vitals, &values, &contrast, 2.0).unwrap();
        assert!(at_like_load.difference().abs() < 0.02 && !at_like_load.is_sure(), "{at_like_load:?}");
        assert_eq!(onset(&vitals, &values, &contrast, plain), Some(60));
        let wild: Vec<f64> = (0..100).map(|step| f64::from((step * 7919) % 13)).collect();
        assert!(!added(&vitals, &wild, &contrast, 1.0).unwrap().is_sure());
        assert_eq!(added(&vitals, &[f64::NAN; 100], &contrast, 1.0), None);
    }
}
