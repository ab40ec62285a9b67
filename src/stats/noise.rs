//! How far a series wanders by chance alone, when it may hold shifts, outliers and memory from step to step.
//!
//! The noise of a median over `count` requests has two parts: that of the requests, which falls with their count, and
//! that of the server, which does not. Steps near each other are alike on real servers, so a mean over many steps is
//! less sure than their number promises: `long_run` says by how much.

use super::robust::MAD_TO_SIGMA;

/// Distances beyond three sigma count as three sigma: shifts and single bad seconds are not noise.
const CLIP: f64 = 3.0;
/// What the clip takes from the variance of normal data: E[min(Z^2, 9)].
const CLIPPED_VARIANCE: f64 = 0.995;
/// A spread below half a percent is that of a clock's resolution, not of a server.
const SIGMA_MIN: f64 = 0.005;
/// Steps that a series has at least: fewer pairs of neighbours do not show their likeness.
pub const STEPS_MIN: usize = 20;
/// Counts whose spread is less than this tell nothing about what of the noise falls with them.
const COUNT_RATIO_MIN: f64 = 1.3;

/// The noise of one series of logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Variance of one request, as far as more requests in a step lessen it.
    pub of_requests: f64,
    /// Variance of a step that more requests do not lessen.
    pub of_steps: f64,
    /// How much larger the variance of a long mean is than without memory; 1 or more.
    pub long_run: f64,
    /// Of the estimate of `long_run`.
    pub degrees_of_freedom: f64,
}

impl Noise {
    /// Estimates it from the distances of steps that are a few steps apart, of which a shift touches few.
    ///
    /// `values`, `counts`: as long as each other, counts above 0. None of fewer than `STEPS_MIN`.
    pub fn of(values: &[f64], counts: &[f64]) -> Option<Noise> {
        if values.len() < STEPS_MIN {
            return None;
        }
        let lags = lags(values.len());
        let (of_requests, of_steps) = parts(values, counts, lags + 1);
        let variances: Vec<f64> = counts.iter().map(|count| of_steps + of_requests / count).collect();
        let at = |lag: usize| clipped_variance(&squares(values, &variances, lag));
        let far_lags = (lags + 1..=2 * lags).step_by(lags.div_ceil(FAR_LAGS_MAX));
        let far = far_lags.clone().map(at).sum::<f64>() / far_lags.count() as f64;
        // Equal values have no spread to compare, and no memory that matters.
        let unlike = |near: f64| if far > 0.0 { near / far } else { 1.0 };
        let correlation: Vec<f64> = (1..=lags).map(|lag| 1.0 - unlike(at(lag))).collect();
        // Data with two modes have a small MAD and a large spread; the mean of neighbours' distances sees it.
        let scale = far * spread_of_modes(&squares(values, &variances, 1)).max(1.0);
        let (of_requests, of_steps) = (of_requests * scale, of_steps * scale);
        Some(Noise {
            of_requests,
            of_steps: of_steps.max(SIGMA_MIN * SIGMA_MIN),
            long_run: long_run(&correlation, values.len()),
            degrees_of_freedom: DEGREES_PER_LAG * (values.len() as f64 / lags as f64 - 2.0).max(1.0),
        })
    }

    /// Returns the variance of a step with `count` requests.
    pub fn variance(&self, count: f64) -> f64 {
        self.of_steps + self.of_requests / count
    }
}

/// The variance of a sum over `lags` lags is like that of a mean of `n / lags` squares, and somewhat better with the
/// weights below: the chances that `level` demands were kept with it in simulations.
const DEGREES_PER_LAG: f64 = 1.5;

/// Returns how far memory is looked for: it grows with the cube root of the length, the usual rule for such sums.
fn lags(steps_count: usize) -> usize {
    ((steps_count as f64).cbrt() as usize).clamp(2, 12)
}

/// Returns the factor of the variance of a long mean: the larger of two estimates.
///
/// The weighted sum of the correlations sees any kind of memory but is cut short; the other one takes it for granted
/// that memory fades by the same factor each step. In a short series chance hides memory, so the benefit of the doubt
/// is one standard error of a correlation, and against the finding.
fn long_run(correlation: &[f64], steps_count: usize) -> f64 {
    let lags = correlation.len() as f64;
    let weighted =
        correlation.iter().zip(1..).map(|(correlation, lag)| (1.0 - f64::from(lag) / (lags + 1.0)) * correlation);
    let summed = 1.0 + 2.0 * weighted.sum::<f64>();
    let first = (correlation[0] + (steps_count as f64).sqrt().recip()).clamp(0.0, CORRELATION_MAX);
    summed.max((1.0 + first) / (1.0 - first))
}

/// Beyond it, a mean over the whole run says next to nothing.
const CORRELATION_MAX: f64 = 0.9;

/// Returns what of the variance falls with the requests' count, and what does not.
///
/// Both follow from the spread where counts are low and where they are high, and are relative: `Noise::of` scales them.
fn parts(values: &[f64], counts: &[f64], lag: usize) -> (f64, f64) {
    let shares: Vec<f64> =
        counts.iter().zip(&counts[lag..]).map(|(left, right)| (1.0 / left + 1.0 / right) / 2.0).collect();
    let squares = squares(values, &vec![1.0; values.len()], lag);
    let middle = middle(&mut shares.clone());
    let pairs = || shares.iter().copied().zip(squares.iter().copied());
    let (few, many): (Vec<_>, Vec<_>) = pairs().partition(|(share, _)| *share > middle);
    let mean_share = |half: &[(f64, f64)]| half.iter().map(|(share, _)| share).sum::<f64>() / half.len().max(1) as f64;
    let (few_share, many_share) = (mean_share(&few), mean_share(&many));
    if few.len().min(many.len()) < STEPS_MIN / 2 || few_share < COUNT_RATIO_MIN * many_share {
        return (0.0, clipped_variance(&squares).max(SIGMA_MIN * SIGMA_MIN));
    }
    let variance = |half: &[(f64, f64)]| clipped_variance(&half.iter().map(|(_, square)| *square).collect::<Vec<_>>());
    let (few_variance, many_variance) = (variance(&few), variance(&many));
    let of_requests = ((few_variance - many_variance) / (few_share - many_share)).clamp(0.0, few_variance / few_share);
    let of_steps = (many_variance - of_requests * many_share).max(0.0);
    if of_requests + of_steps <= 0.0 { (0.0, SIGMA_MIN * SIGMA_MIN) } else { (of_requests, of_steps) }
}

/// Returns the squared distances of all steps from those `lag` later, in units of their variance.
fn squares(values: &[f64], variances: &[f64], lag: usize) -> Vec<f64> {
    let later = values.iter().zip(variances).skip(lag);
    let pairs = values.iter().zip(variances).zip(later);
    pairs
        .map(|((value, variance), (later, later_variance))| (later - value).powi(2) / (variance + later_variance))
        .collect()
}

/// Returns the variance without what shifts and outliers add to it.
fn clipped_variance(squares: &[f64]) -> f64 {
    bounded_mean(squares, limit(squares)) / CLIPPED_VARIANCE
}

/// Returns how much larger the variance is if no distance counts for more than if both of its steps were clipped.
fn spread_of_modes(squares: &[f64]) -> f64 {
    let limit = limit(squares);
    bounded_mean(squares, 2.0 * limit) / bounded_mean(squares, limit).max(f64::MIN_POSITIVE)
}

fn bounded_mean(squares: &[f64], limit: f64) -> f64 {
    squares.iter().map(|square| square.min(limit)).sum::<f64>() / squares.len().max(1) as f64
}

/// Returns the square of the largest distance that is taken for noise.
fn limit(squares: &[f64]) -> f64 {
    let mut some: Vec<f64> =
        squares.iter().copied().step_by(squares.len().div_ceil(SQUARES_FOR_LIMIT).max(1)).collect();
    // Where most distances are 0, the median of them tells nothing, the mean does.
    let typical = match middle(&mut some) {
        0.0 => (squares.iter().map(|square| square.sqrt()).sum::<f64>() / squares.len().max(1) as f64).powi(2),
        typical => typical,
    };
    ((CLIP * MAD_TO_SIGMA).powi(2) * typical).max(f64::MIN_POSITIVE)
}

/// Of a long series, as many distances tell well enough where to clip.
const SQUARES_FOR_LIMIT: usize = 1000;
/// Far lags that are looked at: they are all alike, and each takes time.
const FAR_LAGS_MAX: usize = 6;

/// Returns the middle one, the upper of two; 0 of none. The order of `values` is lost.
pub fn middle(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let half = values.len() / 2;
    *values.select_nth_unstable_by(half, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::draws::Draws;

    /// Expected values: those that the numbers were drawn with. The variance of a long mean of numbers that remember half
    /// of the last one is (1 + 0.5) / (1 - 0.5) = 3 times that of independent ones.
    #[test]
    fn memory_is_seen_and_shifts_are_not() {
        let mut draws = Draws::seeded(1);
        for (memory, expected) in [(0.0, 1.0), (0.5, 3.0)] {
            let mut values = draws.wandering(memory, 4000);
            let noise = Noise::of(&values, &[1.0; 4000]).unwrap();
            assert!((noise.variance(1.0) - 1.0).abs() < 0.1, "{noise:?}");
            assert!((noise.long_run / expected - 1.0).abs() < 0.15, "{noise:?}");
            // A shift touches few of the distances, and none of them for more than three sigma.
            values[1000..1500].iter_mut().for_each(|value| *value += 50.0);
            values[3000] = 1e6;
            let noise = Noise::of(&values, &[1.0; 4000]).unwrap();
            assert!((noise.variance(1.0) - 1.0).abs() < 0.2, "{noise:?}");
            assert!((1.0..1.6).contains(&(noise.long_run / expected)), "{noise:?}");
        }
    }

    #[test]
    fn what_falls_with_the_count_is_told_apart() {
        let mut draws = Draws::seeded(2);
        let counts: Vec<f64> = (0..4000).map(|step| if step % 100 < 50 { 4.0 } else { 64.0 }).collect();
        let values: Vec<f64> =
            counts.iter().map(|count: &f64| 0.8 * draws.normal() / count.sqrt() + 0.1 * draws.normal()).collect();
        let noise = Noise::of(&values, &counts).unwrap();
        assert!((noise.of_requests / 0.64 - 1.0).abs() < 0.15, "{noise:?}");
        assert!((noise.of_steps / 0.01 - 1.0).abs() < 0.4, "{noise:?}");
    }

    #[test]
    fn edges() {
        assert_eq!(Noise::of(&[1.0; STEPS_MIN - 1], &[1.0; STEPS_MIN - 1]), None);
        let of_equal = Noise::of(&[7.0; 100], &[3.0; 100]).unwrap();
        assert!(of_equal.variance(3.0) > 0.0 && of_equal.variance(3.0).is_finite(), "{of_equal:?}");
        assert!(of_equal.long_run >= 1.0 && of_equal.long_run.is_finite(), "{of_equal:?}");
    }
}
