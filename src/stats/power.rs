//! What a history could show: the chance that a change of a given size would convict, so that silence means something.

use super::normal::upper_tail;
use super::regression::{CONVICTION, STEP_PRIOR};
use super::step::{EFFECT_SCALE, NoiseWeight, STEP_RUNS_MAX, student_3};

/// A change is found when more runs than one show it.
const RUNS_SINCE_MIN: usize = 2;
/// No effect that a table of power is asked for is larger, as ln.
const EFFECT_MAX: f64 = 3.0;

/// The runs next to a step's first one explain it nearly as well, and all convict together: found by simulation, where the chance
/// that is given here is that of the histories which were convicted.
const ONSETS_ALIKE: f64 = 3.0;

/// What is known of a series between runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History<'n> {
    /// Weights sum to 1.
    pub noise: &'n [NoiseWeight],
    /// Of a run's figure, by what varies within the run.
    pub standard_error: f64,
    pub runs_count: usize,
}

/// Returns the chance that a change of `change` (as ln, upwards) convicts once `runs_since` runs have it.
///
/// The difference of two means is normal about the change. It convicts where the evidence of a step outweighs that of no
/// change by what the prior and the threshold demand; both evidences are summed over the sizes that the noise may have.
pub fn chance_of_conviction(history: History, change: f64, runs_since: usize) -> f64 {
    if history.runs_count == 0 || !(RUNS_SINCE_MIN..=STEP_RUNS_MAX).contains(&runs_since) || !change.is_finite() {
        return 0.0;
    }
    let errors: Vec<(f64, f64)> =
        history.noise.iter().map(|noise| (history.standard_error_of_change(noise, runs_since), noise.weight)).collect();
    let limit = convicting(&errors);
    errors.iter().map(|(error, weight)| weight * upper_tail((limit - change) / error)).sum::<f64>().clamp(0.0, 1.0)
}

/// Returns how many runs with a change of `change` (as ln) convict it with `chance`; none where as many as are looked at do
/// not.
pub fn runs_needed(history: History, change: f64, chance: f64) -> Option<usize> {
    (RUNS_SINCE_MIN..=STEP_RUNS_MAX).find(|runs_since| chance_of_conviction(history, change, *runs_since) >= chance)
}

impl History<'_> {
    fn standard_error_of_change(&self, noise: &NoiseWeight, runs_since: usize) -> f64 {
        let of_mean = |count: usize| {
            let between = noise.deviation.powi(2) * memory_inflation(noise.memory, count);
            (between + self.standard_error.powi(2)) / count as f64
        };
        (of_mean(self.runs_count) + of_mean(runs_since)).max(f64::MIN_POSITIVE).sqrt()
    }
}

/// Returns by how much memory inflates the variance of a mean of `count` values of a first-order autoregression:
/// 1 + 2 sum over lags l of (1 - l / count) memory^l.
fn memory_inflation(memory: f64, count: usize) -> f64 {
    // Far lags add nothing that could be seen.
    let lags = 1..count.min(64);
    1.0 + 2.0 * lags.map(|lag| (1.0 - lag as f64 / count as f64) * memory.powi(lag as i32)).sum::<f64>()
}

/// Returns the smallest difference of means that convicts, by bisection.
fn convicting(errors: &[(f64, f64)]) -> f64 {
    let is_enough = |difference: f64| {
        let sum =
            |density: &dyn Fn(f64) -> f64| errors.iter().map(|(error, weight)| weight * density(*error)).sum::<f64>();
        let by_step = sum(&|error| student_3(difference, EFFECT_SCALE.hypot(error)));
        let by_chance =
            sum(&|error| (-0.5 * (difference / error).powi(2)).exp() / error / std::f64::consts::TAU.sqrt());
        let prior = ONSETS_ALIKE * STEP_PRIOR / STEP_RUNS_MAX as f64 / (1.0 - STEP_PRIOR);
        prior * by_step > CONVICTION / (1.0 - CONVICTION) * by_chance
    };
    let (mut low, mut high) = (0.0, EFFECT_MAX);
    while high - low > 1e-4 {
        let middle = 0.5 * (low + high);
        if is_enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(noise: &[NoiseWeight]) -> History<'_> {
        History { noise, standard_error: 0.005, runs_count: 20 }
    }

    #[test]
    fn larger_changes_and_more_runs_are_found_sooner() {
        let noise = [
            NoiseWeight { deviation: 0.03, memory: 0.1, weight: 0.7 },
            NoiseWeight { deviation: 0.05, memory: 0.5, weight: 0.3 },
        ];
        let chance = |change, runs_since| chance_of_conviction(history(&noise), change, runs_since);
        for pair in [0.0, 0.02, 0.05, 0.1, 0.2, 0.5].windows(2) {
            assert!(chance(pair[0], 3) < chance(pair[1], 3), "{pair:?}");
        }
        assert!(chance(0.1, 2) < chance(0.1, 5));
        assert!(chance(0.0, 3) < 0.01 && chance(0.5, 3) > 0.99);
        assert_eq!(chance(0.5, 1), 0.0);
        assert_eq!(chance(f64::NAN, 3), 0.0);
        assert_eq!(runs_needed(history(&noise), 0.01, 0.8), None);
        assert_eq!(runs_needed(history(&noise), 0.5, 0.8), Some(2));
        assert_eq!(chance_of_conviction(History { runs_count: 0, ..history(&noise) }, 0.5, 3), 0.0);
    }

    /// Expected values: the closed form, 1 + 2/k sum of (k - l) r^l; for two values 1 + r, for many (1 + r) / (1 - r).
    #[test]
    fn memory_inflates_a_mean() {
        assert_eq!(memory_inflation(0.5, 1), 1.0);
        assert_eq!(memory_inflation(0.5, 2), 1.5);
        assert!((memory_inflation(0.5, 100_000) - 3.0).abs() < 1e-3);
    }
}
