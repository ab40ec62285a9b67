//! How far a history of runs wanders by chance, while it may hold changes, trends and memory from run to run.
//!
//! Everything is taken from differences of runs that are one and two apart: a change touches one or two of them, a trend
//! moves all alike. Of noise that remembers `memory` of the last run (first-order autoregressive, variance v), differences
//! one apart have the variance 2 v (1 - memory), two apart 2 v (1 - memory^2); their ratio is 1 + memory.

use super::normal;
use super::robust::median;

/// Fewer runs say too little of their noise: one that remembers 0.6 of the run before would show changes too often.
pub const RUNS_MIN: usize = 10;

/// So many changes there may be for each run, at least one; as many of the largest differences are left out. All others are
/// noise.
const CHANGES_SHARE: f64 = 0.01;

/// A history that remembers more than this of the last run is taken to change its level, not to wander about one.
///
/// No noise in between is told apart from changes: a long memory looks like slow changes of level. Noise that remembers 0.6
/// has to pass as noise, with room for the estimate's error.
const MEMORY_MAX: f64 = 0.75;

/// In a short history chance hides memory: so many standard errors of a correlation are added, in favour of noise.
///
/// Found by simulation: noise that remembers 0.6, normal or with heavy tails, shows changes in up to 2.2 % of histories of
/// 10 to 120 runs with 1.5 of them, in up to 1.1 % with two.
const MEMORY_ERRORS: f64 = 2.0;

/// A memory that is overrated makes the variance that follows from the differences too large: it is no more than this many
/// times that about the best two levels.
///
/// Noise that remembers 0.6 of the run before looks 37 % less about two levels than it is in 20 runs, and 13 % in 120, by
/// simulation; 1.5 makes up for that.
const TWO_LEVELS_RATIO: f64 = 1.5;

/// The noise of a history, in the square of its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunNoise {
    /// Of one run.
    pub variance: f64,
    /// Correlation of neighbours, 0 to `MEMORY_MAX`, never less than is likely.
    pub memory: f64,
    /// Of a mean over many runs, times their number.
    pub long_run: f64,
}

impl RunNoise {
    /// Estimates it; `values` oldest first, all finite. Fewer than `RUNS_MIN` have none.
    pub fn of(values: &[f64]) -> Option<RunNoise> {
        if values.len() < RUNS_MIN {
            return None;
        }
        let apart = |lag: usize| values.iter().zip(&values[lag..]).map(|(left, right)| right - left).collect();
        // A change lies between one pair of neighbours, and between two pairs of runs that are two apart.
        let changes_count = (CHANGES_SHARE * values.len() as f64).ceil() as usize;
        let (near, far) = (trimmed_variance(apart(1), changes_count), trimmed_variance(apart(2), 2 * changes_count));
        let ratio = if near > 0.0 { far / near } else { 1.0 };
        let error = (values.len() as f64).sqrt().recip();
        let memory = (ratio - 1.0 + MEMORY_ERRORS * error).clamp(0.0, MEMORY_MAX);
        let variance = (near / (2.0 * (1.0 - memory))).min(TWO_LEVELS_RATIO * around_two_levels(values));
        Some(RunNoise { variance, memory, long_run: variance * (1.0 + memory) / (1.0 - memory) })
    }
}

/// Returns the variance about two levels, one before and one after the run where that is least.
fn around_two_levels(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let total: f64 = values.iter().sum();
    let mean = total / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let (mut before, mut between_most) = (0.0, 0.0_f64);
    for (at, value) in values.iter().enumerate().take(values.len() - 1) {
        before += value - mean;
        let before_count = at as f64 + 1.0;
        between_most = between_most.max(before * before * count / (before_count * (count - before_count)));
    }
    (squares - between_most).max(0.0) / (count - 3.0)
}

/// Returns the variance of normal differences from all but the largest ones.
fn trimmed_variance(differences: Vec<f64>, left_out_count: usize) -> f64 {
    let center = median(&differences);
    let mut squares: Vec<f64> = differences.iter().map(|difference| (difference - center).powi(2)).collect();
    squares.sort_unstable_by(f64::total_cmp);
    let kept = &squares[..squares.len() - left_out_count];
    let mean = kept.iter().sum::<f64>() / kept.len().max(1) as f64;
    mean / kept_variance(left_out_count as f64 / squares.len() as f64)
}

/// Returns E[Z^2 | |Z| < q] of a standard normal Z, with q such that `share` lies beyond: 1 - 2 q phi(q) / (1 - share).
fn kept_variance(share: f64) -> f64 {
    let limit = normal::quantile(1.0 - 0.5 * share);
    let density = (-0.5 * limit * limit).exp() / std::f64::consts::TAU.sqrt();
    1.0 - 2.0 * limit * density / (1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    /// Expected values: SciPy, `scipy.stats`, `q = norm.ppf(1 - share / 2); truncnorm(-q, q).var()`.
    #[test]
    fn known_answers() {
        for (share, expected) in [(0.01, 0.9247558993726853), (0.05, 0.7588416170698973), (0.2, 0.4377245949036388)] {
            assert!((kept_variance(share) - expected).abs() < 1e-6, "{share}");
        }
    }

    /// Expected values: those that the numbers were drawn with; what is left out for changes is not left out for noise.
    #[test]
    fn memory_is_seen_and_changes_are_not() {
        let mut draws = Draws::seeded(1);
        for memory in [0.0, 0.3, 0.6] {
            let mut values = draws.wandering(memory, 4000);
            values
                .iter_mut()
                .enumerate()
                .for_each(|(at, value)| *value += (at / 400 % 2) as f64 * 20.0 + 0.01 * at as f64);
            let noise = RunNoise::of(&values).unwrap();
            assert!((noise.variance - 1.0).abs() < 0.2, "{noise:?}");
            assert!((noise.memory - memory - MEMORY_ERRORS / 4000f64.sqrt()).abs() < 0.06, "{noise:?}");
            assert!((noise.long_run / ((1.0 + memory) / (1.0 - memory)) - 1.0).abs() < 0.5, "{noise:?}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!(RunNoise::of(&[1.0; RUNS_MIN - 1]), None);
        assert_eq!(RunNoise::of(&[7.0; 100]).map(|noise| noise.long_run), Some(0.0));
    }
}
